"Laws of the tables that tell where a run is right and wrong"
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from semipose.data.coco import read_coco, to_coco, write_json
from semipose.data.synth import DIFFICULTIES, make_people, write_synth
from semipose.detail import Submission, as_rows, detail, draw_worst, facing_of, measures, person_in, submit, tables
from semipose.errors import Note, UserError
from semipose.evaluate.mpii import lsp_pck, pckh
from semipose.data.mpii import head_size
from semipose.predict import Prediction
from semipose.protocols import protocol
from semipose.run import Answers, answers_of, evaluate_run, prepare, train
from semipose.skeletons import COCO17, LSP14, MPII16, UNION24, waving

SAMPLE = Path(__file__).parents[1] / "data/sample"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return write_synth(tmp_path_factory.mktemp("d") / "drawn", 5, 20, seed=4, size=(96, 72),
                       difficulty=DIFFICULTIES["hard"], people=2, progress=False)


def some(skeleton, n=40, head=None, seed=0):
    from semipose.data.core import People
    rng = np.random.default_rng(seed)
    true = np.tile(np.array(waving(skeleton)) * 300, (n, 1, 1)).astype(np.float32)
    vis = rng.integers(0, 3, (n, len(skeleton))).astype(np.uint8)
    return People(skeleton, Path("."), ["a.jpg"], np.zeros(n, int), np.ones(1, int), np.arange(n) + 1,
                  np.tile([0., 0, 300, 300], (n, 1)), true * (vis > 0)[..., None], vis,
                  np.full(n, 4e4), np.zeros(n, bool), head=head), rng


def test_facing_is_that_of_the_drawing(drawn):
    for split, n, first in (("train", 5, 0), ("val", 20, 2**40)):
        people = read_coco(drawn / f"person_keypoints_{split}.json", drawn / "images" / split, keep_all=True)
        want = make_people(torch.arange(n) + first, 4, (96, 72), DIFFICULTIES["hard"], 2).facing.numpy().ravel()
        assert np.allclose(facing_of(people), want) and np.abs(np.diff(want)).max() > .5
        order = np.random.default_rng(0).permutation(len(people))
        assert np.allclose(facing_of(people.subset(order)), want[order])
    assert (facing_of(read_coco(SAMPLE / "person_keypoints_val.json", SAMPLE)) is None
            or (SAMPLE / "synth.json").exists())


def test_people_with_heads_are_measured_as_mpii_does():
    head = np.tile([0., 0, 30, 40], (40, 1))
    head[3] = np.nan
    p, rng = some(MPII16, head=head)
    xy = p.xy + rng.normal(0, 6, p.xy.shape)
    got, want = tables(p, xy), pckh(xy, p.xy, p.vis, head_size(p))
    assert ({m: t["published"] for m, t in got.items()} == {m: pytest.approx(t) for m, t in want.items()}
            and set(got) == {"PCKh@0.5", "PCKh@0.1"})
    assert got["PCKh@0.1"]["published"]["Mean"] < got["PCKh@0.5"]["published"]["Mean"] - 20
    off = xy.copy()
    off[:, [MPII16.joints.index("pelvis"), MPII16.joints.index("thorax")]] += 999   # in the groups, not in the mean
    away = tables(p, off)["PCKh@0.5"]
    assert away["published"]["Mean"] == got["PCKh@0.5"]["published"]["Mean"] and away["groups"]["pelvis"]["share"] == 0
    assert set(measures(replace(p, head=None))) == {"PCK@0.2"} == set(
        measures(replace(p, head=np.full((40, 4), np.nan))))


def test_groups_partition_the_joints_that_were_asked():
    p, rng = some(LSP14)
    facing = rng.uniform(-1, 1, 40)
    xy = p.xy + rng.normal(0, 15, p.xy.shape)
    table = tables(p, torch.from_numpy(xy), facing)["PCK@0.2"]
    assert table["published"] == pytest.approx(lsp_pck(xy, p.xy, p.vis))
    g = table["groups"]
    hits = lambda names: sum(g[n]["share"] * g[n]["joints"] for n in names)
    every = g["all"]["share"] * g["all"]["joints"]
    for names in (("visible", "hidden"), ("from the front", "sideways", "from behind"),
                  [n for n in g if n.split("_")[0] in " ".join(LSP14.joints)]):
        assert hits(names) == pytest.approx(every) and sum(g[n]["joints"] for n in names) == g["all"]["joints"]
    assert "from behind" not in tables(p, xy)["PCK@0.2"]["groups"]
    seen = np.where((p.vis == 2)[..., None], p.xy, p.xy + 9999)
    g = tables(p, seen)["PCK@0.2"]["groups"]
    assert g["visible"]["share"] == 100 and g["hidden"]["share"] == 0
    with pytest.raises(UserError, match="does not fit 40 people with 14 joints"):
        tables(p, xy[:3])


def on_boxes(folder):
    "true boxes as a detector's, sure of all: the evaluation on true boxes; the detector's doubts change the ranking"
    file = next(f for f in SAMPLE.rglob("person_keypoints_val*.json"))
    truth, said = json.loads(file.read_text()), answers_of(folder / "run", device="cpu", progress=False)
    found = [dict(image_id=a["image_id"], category_id=1, bbox=a["bbox"], score=1.) for a in truth["annotations"]]
    (folder / "boxes.json").write_text(json.dumps(found))
    kw = dict(images=said.people.folder, info=file, truth=file, device="cpu", progress=False)
    sure = submit(folder / "run", folder / "boxes.json", out=folder / "out", **kw)
    want = evaluate_run(folder / "run", device="cpu", progress=False)
    for net in want:
        assert (sure[net]["people"] == len(found)
                and all(sure[net][k] == pytest.approx(want[net][k], abs=1e-6) for k in ("AP", "AR", "AP50", "APL")))
    half = [dict(f, score=.5) for f in found]
    (folder / "boxes.json").write_text(json.dumps(half))
    submit(folder / "run", folder / "boxes.json", out=folder / "half", **dict(kw, truth=None))
    score = lambda where: np.array([r["score"] for r in json.loads((folder / where / "net1.json").read_text())])
    assert (np.allclose(score("half"), score("out") / 2)
            and {f.name for f in (folder / "out").iterdir()} == {"net1.json", "net2.json", "ensemble.json"})


@pytest.mark.parametrize("of", [COCO17, UNION24], ids=["coco17", "union24"])
def test_a_submission_is_what_was_asked_for(of, tmp_path, monkeypatch, recwarn):
    """Somebody in each of four pictures, found twice, and a crowd; a network (of the union too) that never learned
    the nose"""
    import semipose.detail as room
    one, _ = some(COCO17, 5)
    true = replace(one, files=[f"{i}.jpg" for i in range(5)], image=np.arange(5), image_ids=np.arange(5) + 1,
                   crowd=np.arange(5) == 4)
    true.vis[:] = np.where(np.arange(17) == 0, 0, 2) * ~true.crowd[:, None]
    true.xy[:] = np.array(waving(COCO17))[None] * 300 * (true.vis > 0)[..., None]
    boxes, truth = tmp_path / "boxes.json", tmp_path / "truth.json"
    write_json(truth, to_coco(true))
    # surest of the crowd
    write_json(boxes, [dict(image_id=i + 1, category_id=1, bbox=[0, 0, 300, 300], score=s + .1 * (i == 4))
                       for i in range(5) for s in (.8, .4)])
    net, told = torch.nn.ModuleList([torch.nn.Identity()]), []
    net.stride = 4
    supervised = np.array([j in COCO17.joints and j != "nose" for j in of.joints])
    monkeypatch.setattr(room, "load_run", lambda *a: (net, protocol("demo"), of, dict(supervised=supervised.tolist())))
    at = [of.joints.index(j) for j in COCO17.joints]
    def answer(peers, crops, size, codec, **asked):
        told.append(dict(asked, people=len(crops)))
        xy, score = torch.full((len(crops), len(of), 2), 9999.), torch.full((len(crops), len(of)), .5)
        xy[:, at] = torch.tensor(np.array(waving(COCO17)) * 300, dtype=torch.float32)
        score[:, at[1]] = .1     # too unsure to count
        return [Prediction(xy, score)]*2
    monkeypatch.setattr(room, "predict_all", answer)
    kw = dict(info=truth, truth=truth, progress=False)
    got = room.submit("run", boxes, out=tmp_path / "out", **kw)
    assert list(got) == ["net 1", "ensemble"] and got["net 1"]["people"] == 5, "of two alike the surer one stays"
    results = json.loads((tmp_path / "out/net1.json").read_text())
    assert ([r["score"] for r in results] == pytest.approx([.8 * .5] * 4 + [.9 * .5])
            and [r["image_id"] for r in results] == [1, 2, 3, 4, 5])
    # COCO's joints in COCO's order, whatever the network's are
    keys = np.array(results[0]["keypoints"]).reshape(17, 3)
    assert (np.allclose(keys[1:, :2], true.xy[0, 1:], atol=.01) and keys[0, 2] == 0
            and np.allclose(keys[0, :2], true.xy[0, 1:].mean(0), atol=.01))
    assert got["ensemble"]["AP"] == pytest.approx(100) and got["ensemble"][
        "APM"] == -1, "a crowd is ignored; nobody is of medium size"
    room.submit("run", boxes, out=tmp_path / "bare", info=truth, progress=False)
    assert (tmp_path / "bare/net1.json").read_text() == (
        tmp_path / "out/net1.json").read_text(), "without the truth, for a server"
    assert room.submit("run", boxes, how=Submission(nms=None), **kw)["net 1"]["people"] == 10
    assert (room.submit("run", boxes, how=Submission(min_score=.6, nms=None), **kw)["net 1"]["people"]
            == 5 == told[-1]["people"])
    assert told[-1]["flip"] is None and not told[-1]["shift"] and told[-1]["which"] == "all"
    room.submit("run", boxes, how=Submission(flip=True, shift=True), **kw)
    assert told[-1]["flip"] == of.flip_index and told[-1]["shift"] is True
    assert got["net 1"]["joints"] == 16 and not [w for w in recwarn if issubclass(w.category, Note)]
    true.vis[:4, 0], true.xy[:4, 0] = 2, np.array(waving(COCO17))[0] * 300
    write_json(truth, to_coco(true))
    with pytest.warns(Note) as said: again = room.submit("run", boxes, **kw)
    assert again["net 1"]["joints"] == 17 and again["net 1"]["AP"] < 100
    assert ("All 17 annotated joints of" in text_of(said, "joints of") and "1 of them the run was not "
            "taught" in text_of(said, "joints of"))
    supervised[:] = False
    with pytest.raises(UserError, match="learned none of the joints"):
        room.submit("run", boxes, **kw)


def text_of(said, words): return " ".join(str(w.message) for w in said if words in str(w.message))


def test_a_submission_carries_the_number_that_a_person_has(tmp_path, monkeypatch):
    """the file that is written gives pycocotools' reader the numbers that were printed; without a truth, the boxes'
    own number"""
    import semipose.detail as room
    from semipose.evaluate.coco import coco_eval_files
    true, _ = some(COCO17, 4)
    true = replace(true, files=[f"{i}.jpg" for i in range(4)], image=np.arange(4), image_ids=np.arange(4) + 1,
                   crowd=np.zeros(4, bool))
    true.vis[:] = 2
    true.xy[:] = np.array(waving(COCO17))[None] * 300
    boxes, truth = tmp_path / "boxes.json", tmp_path / "truth.json"
    def files(person, found, area=True):
        d = to_coco(true)
        d["categories"] = [dict(id=8, name="ball"), dict(d["categories"][0], id=person)]
        for a in d["annotations"]: a.update(category_id=person), area or a.pop("area")
        write_json(truth, d)
        write_json(boxes, [dict(image_id=i + 1, category_id=c, bbox=[0, 0, 300, 300], score=.8 - .1 * n)
                           for i in range(4) for n, c in enumerate(found)])
    net = torch.nn.ModuleList([torch.nn.Identity()])
    net.stride = 4
    monkeypatch.setattr(room, "load_run", lambda *a: (net, protocol("demo"), COCO17, dict(supervised=[True] * 17)))
    right = torch.tensor(np.array(waving(COCO17)) * 300, dtype=torch.float32)
    monkeypatch.setattr(room,
        "predict_all", lambda peers, crops, *a, **kw: [Prediction(right.expand(len(crops), 17, 2) + 2,
                                                                  torch.full((len(crops), 17), .5))] * 2)
    ask = lambda truth=truth, **kw: room.submit("run", boxes, info=tmp_path / "truth.json", truth=truth,
                                                out=tmp_path / "out", progress=False, **kw)
    for person, found, written, kw in ((3, [1], 3, {}), (3, [3], 3, {}), (1, [1, 2, 3], 1, {}), (3, [2, 3], 3, {}),
                                       (3, [7, 5], 3, dict(how=Submission(category=7))), (1, [4], 1, {})):
        files(person, found)
        got = ask(**kw)
        assert (got["net 1"]["people"] == 4
                and {r["category_id"] for r in json.loads((tmp_path / "out/net1.json").read_text())} == {written})
        assert (coco_eval_files(truth, tmp_path / "out/net1.json")["AP"] * 100 == pytest.approx(got["net 1"]["AP"])
                and got["net 1"]["AP"] > 99)
    assert (ask(truth=None)["net 1"] == dict(people=4)
            and json.loads((tmp_path / "out/net1.json").read_text())[0]["category_id"] == 4)
    files(3, [1, 3])
    with pytest.raises(UserError, match="its boxes are of the categories 1, 3; say which of them is a person with "
                       "--category"):
        ask()
    files(1, [2, 3])
    with pytest.raises(UserError, match="categories 2, 3; say which"): ask()
    assert person_in(boxes, 3) == 3
    files(3, [3], area=False)   # what `eval` reads, `submit` reads
    with pytest.warns(Note, match="truth.json: the area of 4 of 4 people is 0.53 of their box"):
        assert ask()["ensemble"]["AP"] > 99


@pytest.mark.parametrize("limbs", [((0, 1), (1, 2)), ()])
def test_the_worst_people_of_any_skeleton_are_drawn(tmp_path, limbs):
    from PIL import Image
    from semipose.skeletons import Skeleton
    Image.new("RGB", (300, 300)).save(tmp_path / "a.jpg")
    tail = Skeleton("tail", ("root", "left_tip", "right_tip"), limbs, ((1, 2),), (.05,) * 3)
    p, rng = some(COCO17, 5)
    p = replace(p, skeleton=tail, folder=tmp_path, xy=p.xy[:, :3], vis=np.full((5, 3), 2, np.uint8))
    fig = draw_worst(p, p.xy + rng.normal(0, 20, p.xy.shape), 3)
    assert len(fig.axes) == 3 and fig._repr_png_()[:4] == b"\x89PNG"
    lost = p.xy.copy()
    lost[3] = np.nan
    assert "OKS 0.00" in draw_worst(p, lost, 1).axes[0].get_title(), "who was not found at all comes first"


def test_a_run_in_detail_agrees_with_its_evaluation(tmp_path):
    small = replace(protocol("demo"), name="small", title="small", data=None, labels=8, size=(32, 32), width=8,
                    batch=(4, 4), start_steps=4, start_every=2, steps=4, every=2)
    train("posedual_jc", small, prepare(small, SAMPLE, 0, progress=False), tmp_path / "run", 0, device="cpu",
          progress=False)
    for kw in (dict(), dict(split="train", flip=True)):
        said = answers_of(tmp_path / "run", device="cpu", progress=False, **kw)
        want = evaluate_run(tmp_path / "run", device="cpu", progress=False, **kw)
        told = detail(said)
        assert list(told) == list(want) == ["net 1", "net 2", "ensemble"] and len(said.rows) == want["net 1"]["people"]
        for net, t in told.items():
            assert t["errors"]["as it is"]["AP"] == pytest.approx(want[net]["AP"], abs=1e-6)
            assert t["PCK@0.2"]["groups"]["all"]["share"] == pytest.approx(want[net]["PCK@0.2"], abs=1e-4)
    on_boxes(tmp_path)
    assert json.loads(json.dumps(told)) == told
    shown = as_rows(told)
    assert [len(r) for r in shown.values()] == [3, len(told["net 1"]["PCK@0.2"]["groups"]), 6, 6]
    assert shown["AP if one kind were mended"][0] == dict(errors="as it is",
                                                          **{n: t["errors"]["as it is"]["AP"] for n, t in told.items()})
    every = {n: t["PCK@0.2"]["groups"]["all"] for n, t in told.items()}
    assert shown["Joints found, PCK@0.2, %"][0] == dict(joints="all", asked=every["net 1"]["joints"],
                                                        **{n: g["share"] for n, g in every.items()})
    assert draw_worst(said.people.subset(said.rows), said.found["net 1"].xy,
                      3).axes[0].get_title().startswith("OKS 0.0")


def test_other_joints_are_matched_by_name(tmp_path):
    from semipose.skeletons import UNION24
    p, rng = some(COCO17)
    from semipose.data.core import to_skeleton
    q = to_skeleton(p, UNION24)
    xy = rng.uniform(0, 300, q.xy.shape)
    at = [UNION24.joints.index(j) for j in COCO17.joints]
    one, other = tables(q, xy)["PCK@0.2"]["groups"], tables(p, xy[:, at])["PCK@0.2"]["groups"]
    assert one == {k: pytest.approx(v) for k, v in other.items()}


def test_kinds_of_error_are_those_put_in(drawn):
    p = read_coco(drawn / "person_keypoints_val.json", drawn / "images/val", keep_all=True)
    mirror = list(COCO17.flip_index)
    xy = np.where(p.vis[:, mirror, None] > 0, p.xy[:, mirror], p.xy).astype(np.float64)
    rows = p.posed
    told = detail(Answers(p, rows, {"net 1": Prediction(torch.from_numpy(xy[rows]), torch.ones(len(rows), 17))}))[
        "net 1"]
    e = told["errors"]
    # narrow hips are near their partners
    assert e["miss"]["share"] == e["swap"]["share"] == 0 and e["inversion"]["share"] > 30 and e["jitter"]["share"] < 20
    assert e["inversion"]["AP"] > 90 and e["inversion"]["gain"] > 30 and "from behind" in told["PCK@0.2"]["groups"]
