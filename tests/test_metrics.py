"Laws of the metrics: our OKS is pycocotools' OKS; PCK counts what is annotated and measured"
import contextlib, io, math
import numpy as np, pytest, torch
from pathlib import Path
from semipose.metrics import by_facing, by_joint, by_visibility, mean_pck, oks, pck, shares, torso
from semipose.skeletons import AIC14, COCO17, Skeleton


REAL = Path(__file__).resolve().parents[2] / "shared/data/coco-eval"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real annotations (shared/data/coco-eval beside the checkout) "
                                                    "are not on this machine")


def people(N, seed=0):
    rng = np.random.default_rng(seed)
    xy = rng.random((N, 17, 2)) * 200
    vis = rng.integers(0, 3, (N, 17))
    vis[:, 0] = 2
    area = rng.random(N) * 2e4 + 100
    return xy, vis, area


@pytest.mark.parametrize("noise", [0., 3., 30.])
def test_oks_is_pycocotools(noise):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    xy, vis, area = people(12)
    guess = xy[::-1] * .02 + xy * .98 + noise * np.random.default_rng(1).standard_normal(xy.shape)
    flat = lambda p, v: np.concatenate([p, np.asarray(v)[..., None]], -1).reshape(-1).tolist()
    gt = dict(images=[dict(id=1)], categories=[dict(id=1, name="person")], annotations=[
        dict(id=i + 1, image_id=1, category_id=1, bbox=[0, 0, 200, 200], area=area[i], iscrowd=0,
             keypoints=flat(xy[i], vis[i]), num_keypoints=int((vis[i] > 0).sum()))
        for i in range(len(xy))])
    dt = [dict(image_id=1, category_id=1, keypoints=flat(guess[i], np.ones(17)), score=1 - .01 * i)
          for i in range(len(xy))]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(); truth.dataset = gt; truth.createIndex()
        ev = COCOeval(truth, truth.loadRes(dt), "keypoints")
    ev.params.imgIds, ev.params.catIds = [1], [1]
    ev._prepare()
    theirs = ev.computeOks(1, 1)  # (dt by score, gt)
    t = torch.as_tensor
    ours = oks(t(guess.copy())[:, None], t(xy)[None], t(vis)[None], t(area)[None], COCO17.sigmas)
    assert np.abs(ours.numpy() - theirs).max() < 1e-9
    ours32 = oks(t(guess.copy()).float(), t(xy).float(), t(vis), t(area).float(), COCO17.sigmas)
    assert np.abs(ours32.numpy() - np.diagonal(theirs)).max() < 1e-5


def test_oks_counts_annotated_joints_only():
    xy, vis, area = map(torch.as_tensor, people(6))
    base = oks(xy + 4, xy, vis, area, COCO17.sigmas)
    junk = torch.where(vis[..., None] > 0, xy + 4, torch.full_like(xy, float("nan")))
    assert torch.equal(oks(junk, xy, vis, area, COCO17.sigmas),
                       base), "what is predicted for an unknown joint is nobody's business"
    assert torch.equal(oks(xy, xy, vis, area, COCO17.sigmas), torch.ones(6, dtype=torch.float64))
    assert torch.equal(oks(xy + 4, xy, vis.clamp(max=1), area, COCO17.sigmas),
                       base), "hidden joints count like seen ones"
    assert oks(xy, xy, vis * 0, area, COCO17.sigmas).tolist() == [0.] * 6


def test_people_without_joints_are_measured_by_their_box_as_pycocotools_does():
    "Nothing is lost inside the box enlarged threefold; beyond it, the distance to that"
    from pycocotools.cocoeval import COCOeval
    xy, vis, area = people(4)
    vis[1:], box = 0, np.array([[20., 30., 40., 60.], [20., 30., 40., 60.], [150., 10., 9., 90.], [0., 0., 300., 300.]])
    guess = np.random.default_rng(2).uniform(-200, 500, (10, 17, 2))
    flat = lambda p, v: np.concatenate([p, np.asarray(v)[..., None]], -1).reshape(-1).tolist()
    ev = COCOeval(None, None, "keypoints")
    ev._gts[1, 1] = [dict(keypoints=flat(xy[i], vis[i]), bbox=box[i].tolist(), area=area[i]) for i in range(4)]
    ev._dts[1, 1] = [dict(keypoints=flat(g, np.ones(17)), score=1 - .01 * i) for i, g in enumerate(guess)]
    theirs, t = ev.computeOks(1, 1), torch.as_tensor
    ours = oks(t(guess)[:, None], t(xy)[None], t(vis)[None], t(area)[None], COCO17.sigmas, t(box)[None]).numpy()
    assert np.abs(ours - theirs).max() < 1e-12 and np.ptp(ours[:, 1]) > .1
    # left and upper edge of the large box, inside it, its far corner
    edges = t([[-20., -30.], [80.1, 50.], [100., 150.]])[:, None].expand(-1, 17, -1)
    assert (ours[:, 3] == 1).all() and oks(edges, t(xy[1]), t(vis[1]), t(area[1]), COCO17.sigmas,
                                           t(box[1])).tolist() == [1.] * 3


def test_oks_of_a_joint_at_two_sigma():
    "One joint off by 2 sigma sqrt(area) scores exp(-1/2)"
    area, s = torch.tensor(400.), .1
    d = 2 * s * 20.
    got = oks(torch.tensor([[d, 0.]]), torch.zeros(1, 2), torch.ones(1), area, [s])
    assert got.item() == pytest.approx(math.exp(-.5), abs=1e-6)


def test_pck_threshold_and_weight():
    true = torch.rand(3, 17, 2, generator=torch.Generator().manual_seed(0)) * 100
    vis = torch.full((3, 17), 2); vis[0, :5] = 0; vis[1, 3] = 1
    norm = torch.tensor([50., 100., float("nan")])
    off = true + torch.tensor([0., 15.])
    hits, weight = pck(off, true, vis, norm)
    assert not hits[0].any() and hits[1].all(), "15 px are too far for a person of 50, near enough for one of 100"
    assert weight[0].sum() == 12 and weight[1].sum() == 17 and weight[2].sum() == 0 and not hits[2].any()
    assert mean_pck(off, true, vis, norm) == pytest.approx(17 / 29)
    assert mean_pck(true, true, vis, norm) == 1 and math.isnan(mean_pck(true, true, vis * 0, norm))
    assert mean_pck(off, true, vis, 100.) == 1
    edge = torch.zeros(1, 17, 2) + torch.tensor([3., 4.])
    assert pck(edge, edge * 0, vis[2:], 10.,
               .5)[0].all() and not pck(edge, edge * 0, vis[2:], 9.99, .5)[0].any(), "a joint on the threshold is found"


def test_pck_does_not_depend_on_the_photo_s_size():
    true = torch.rand(4, 17, 2, generator=torch.Generator().manual_seed(0)) * 100
    off, vis = true + 9 * torch.randn(4, 17, 2, generator=torch.Generator().manual_seed(1)), torch.full((4, 17), 2)
    a, b = (mean_pck(s * off, s * true, vis, torso(s * true, vis)) for s in (1., 8.))
    assert a == b and 0 < a < 1


def test_torso_diagonals():
    at = {j: k for k, j in enumerate(COCO17.joints)}
    xy = torch.zeros(4, 17, 2)
    xy[:, at["left_shoulder"]], xy[:, at["right_hip"]] = torch.tensor([0., 0.]), torch.tensor([30., 40.])
    xy[:, at["right_shoulder"]], xy[:, at["left_hip"]] = torch.tensor([0., 0.]), torch.tensor([60., 80.])
    vis = torch.full((4, 17), 1)
    vis[1, at["left_shoulder"]] = 0
    vis[2, at["left_hip"]] = 0
    vis[3, [at["left_hip"], at["right_hip"]]] = 0
    got = torso(xy, vis)
    assert got[:3].tolist() == [50., 100., 50.] and got[3].isnan()
    assert torso(torch.rand(2, 14, 2), torch.ones(2, 14), AIC14).isfinite().all(), "joints are found by name"
    dot = Skeleton("dot", ("a", "b", "c"), (), (), (.1,) * 3)
    xy = torch.tensor([[[5., 5.], [5., 35.], [45., 5.]]]).repeat(3, 1, 1)
    got = torso(xy, torch.tensor([[1, 2, 2], [2, 2, 0], [0, 0, 2]]), dot)
    assert (got[:2].tolist() == pytest.approx([50 / 3, 10.])
            and got[2].isnan()), "no torso: a third of the annotated joints' extent"


@real
def test_oks_is_pycocotools_on_val2017():
    "Random detections on every picture: crowds, people without joints, equal scores, more than 20 in a picture"
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    rng, t = np.random.default_rng(0), torch.as_tensor
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(REAL / "val2017-subset.json"))
        found = []
        for i, a in enumerate(truth.dataset["annotations"]):
            for _ in range(1 if i % 40 else 25):
                k = np.array(a["keypoints"], float).reshape(-1, 3)
                x, y, w, h = a["bbox"]
                near = np.where(k[:, 2:] > 0, k[:, :2], rng.uniform(-1, 2, (17, 2)) * [w, h]
                                + [x, y]) + rng.normal(0, rng.choice([1, 10, 60]), (17, 2))
                found.append(dict(image_id=a["image_id"], category_id=1,
                                  keypoints=np.c_[near, np.ones(17)].reshape(-1).tolist(),
                                  score=int(rng.integers(0, 5)) / 5))
        ev = COCOeval(truth, truth.loadRes(found), "keypoints")
        ev.evaluate()
    pairs, no_joints, crowds, full, worst = 0, 0, 0, 0, 0.
    for (image, cat), theirs in ev.ious.items():
        gts, dts = ev._gts[image, cat], ev._dts[image, cat]
        if not len(theirs): continue
        dts = [dts[i] for i in np.argsort([-d["score"] for d in dts], kind="mergesort")[:20]]
        key = np.array([g["keypoints"] for g in gts], float).reshape(-1, 17, 3)
        guess = np.array([d["keypoints"] for d in dts], float).reshape(-1, 17, 3)[..., :2]
        ours = oks(t(guess)[:, None], t(key[None, ..., :2]), t(key[None, ..., 2]),
                   t(np.array([[g["area"] for g in gts]], float)), COCO17.sigmas,
                   t(np.array([[g["bbox"] for g in gts]], float)))
        worst = max(worst, np.abs(ours.numpy() - theirs).max())
        pairs, full = pairs + theirs.size, full + (len(dts) == 20)
        no_joints += (key[..., 2] == 0).all(1).sum() * len(dts)
        crowds += sum(g["iscrowd"] for g in gts)
    counts = worst, pairs, no_joints, crowds, full
    assert worst < 1e-9 and pairs > 10_000 and no_joints > 3000 and crowds > 40 and full > 30, counts


def test_shares_are_means_of_parts():
    g = torch.Generator().manual_seed(0)
    hits, vis = torch.rand(30, 17, generator=g) > .4, torch.randint(0, 3, (30, 17), generator=g)
    facing = torch.rand(30, generator=g) * 2 - 1
    weight = (vis > 0).float()
    parts = {**by_joint(COCO17), **by_visibility(vis), **by_facing(facing)}
    got = shares(hits, weight, parts)
    assert list(by_joint(COCO17)) == ["nose", "eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"]
    want = {k: [0, 0] for k in got}
    for b in range(30):
        for k in range(17):
            if vis[b, k] == 0: continue
            names = [COCO17.joints[k].split("_")[-1], "visible" if vis[b, k] == 2 else "hidden",
                     "from the front" if facing[b] > 1 / 3 else "from behind" if facing[b] < -1 / 3 else "sideways"]
            for name in names: want[name] = [want[name][0] + int(hits[b, k]), want[name][1] + 1]
    for name, (right, n) in want.items():
        assert got[name][1] == n and got[name][0] == pytest.approx(right / n)
    assert math.isnan(shares(hits, weight * 0, parts)["nose"][0]) and shares(hits, weight * 0, parts)["nose"][1] == 0
