"Laws of synthetic people: a picture belongs to its index, joints lie on the body, hidden is hidden."
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as cocomask
from pycocotools.coco import COCO

from semipose.data import synth
from semipose.data.synth import (EASY, HARD, MEDIUM, Difficulty, Dice, SyntheticPeople, Parts, Shapes, arrange,
                                 make_people, raster, render, write_synth)
from semipose.errors import UserError
from semipose.skeletons import COCO17

J = {name: k for k, name in enumerate(COCO17.joints)}
CALM = Difficulty(pose=0., yaw=0., clutter=0., noise=0.)
SMALL = (64, 48)


def same(a: SyntheticPeople, b: SyntheticPeople, at=slice(None)):
    return all(torch.equal(getattr(a, f)[at], getattr(b, f)) for f in SyntheticPeople.__dataclass_fields__)


def ball(center, radius, colour=(1., 0., 0.), kind=3.):
    "One part per picture: a ball at (B,3) px"
    S, center = Shapes(), center.double()
    S.add(center, center, radius, radius, torch.tensor(colour, dtype=torch.float64).expand(len(center), 3), kind=kind)
    return S.stack()


def with_ball(scene, center, radius, **kw):
    "The scene with one more thing in it"
    things = torch.tensor([scene.scale.shape[1]])
    return replace(scene, parts=Parts.join([scene.parts, ball(center, radius, **kw)]),
                   layer=torch.cat([scene.layer, things]))


# ---- numbers ----

@pytest.mark.parametrize("difficulty,people", [(EASY, 1), (HARD, 2)])
def test_a_picture_is_a_function_of_its_index_alone(difficulty, people):
    all_of_them = make_people(torch.arange(20), 3, SMALL, difficulty, people)
    some = torch.tensor([17, 2, 2, 11, 0])
    assert same(all_of_them, make_people(some, 3, SMALL, difficulty, people), some)
    assert same(all_of_them, make_people(torch.tensor([19]), 3, SMALL, difficulty, people), [19])


def test_seeds_and_indices_give_different_people():
    a, b = make_people(torch.arange(8), 0, SMALL), make_people(torch.arange(8), 1, SMALL)
    poses = torch.cat([a.xy, b.xy]).flatten(1)
    assert (torch.cdist(poses, poses) + 99*torch.eye(16)).min() > 5, "sixteen people, no two alike"
    two = make_people(torch.arange(4), 0, SMALL, people=2)
    about_hips = two.xy - two.xy[:, :, 11:13].mean(2, keepdim=True)
    assert (about_hips[:, 0] - about_hips[:, 1]).abs().amax((1, 2)).min() > 3, "nor two in one picture"


def test_dice_are_fair_and_names_do_not_know_each_other():
    dice = Dice(torch.arange(20_000), seed=5)
    u = torch.stack([dice("a"), dice("b"), Dice(torch.arange(20_000), seed=6)("a"),
                     Dice(torch.arange(20_000), 5, who=1)("a"), *dice("c", n=2).unbind(1)])
    counts = torch.stack([torch.histc(row, 10, 0, 1) for row in u])
    assert (counts/2000 - 1).abs().max() < .1
    assert (torch.corrcoef(u) - torch.eye(len(u))).abs().max() < .03


# ---- geometry of one part ----

@pytest.mark.parametrize("seed", range(24))
def test_a_part_is_the_union_of_its_balls(seed):
    "Against brute force: the nearest of 1000 stretched balls along the axis, also where it points at the camera"
    g = torch.Generator().manual_seed(seed)
    rand = lambda *n: torch.rand(*n, generator=g, dtype=torch.float64)
    frame, stretch, size = torch.linalg.qr(rand(3, 3) - .5)[0], .6 + rand(3), (24, 20)
    a, b = 8 + 6*rand(3), 8 + 6*rand(3)
    if seed % 2: b = a + torch.tensor([.5, -.3, 9.*(-1)**(seed//2)])
    ra, rb = 2 + 3*rand(1), 1 + 3*rand(1)
    S = Shapes()
    S.add(a[None], b[None], ra, rb, a[None]*0, frame[None], tuple(stretch[:, None]))
    key = raster(S.stack(), torch.tensor([0]), 1, size)[0, 0]
    y, x = torch.meshgrid((torch.arange(48) + .5)/2 - .5, (torch.arange(40) + .5)/2 - .5, indexing="ij")
    W, t = frame.T/stretch[:, None], torch.linspace(0, 1, 1000, dtype=torch.float64)[:, None, None]
    p, r = a + (b-a)*t[..., None], ra + (rb-ra)*t                                        # ball centres, radii
    d, z = (torch.stack([x, y, 0*x], -1) - p) @ W.T, W[:, 2]                              # |d + s z| = r at depth s
    half = d @ z/(z @ z)
    root = half**2 - ((d*d).sum(-1) - r**2)/(z @ z)
    depth = torch.where(root > 0, -half - root.clamp(min=0).sqrt(), torch.inf).amin(0)
    sure = (root.amax(0).abs() > .05)                                                    # not at the very rim
    assert torch.equal((key != synth._NOTHING)[sure], (depth < torch.inf)[sure])
    inside = sure & (depth < torch.inf)
    assert inside.sum() > 40 and (synth._depth(key, size) - depth)[inside].abs().max() < .02


# ---- joints ----

@pytest.mark.parametrize("joint", ["left_wrist", "right_knee", "nose"])
def test_a_ball_at_a_joint_is_visible_at_its_pixel(joint):
    "The centre of gravity of a ball before the joint is the joint: whole numbers are pixel centres"
    scene = arrange(torch.arange(12), size=(96, 72), difficulty=replace(CALM, scale=(.6, .7)))
    at = scene.joints[:, 0, J[joint]].clone()
    at[:, 2] = -200.
    red, blue = (render(with_ball(scene, at, 3., colour=c)).image.float() for c in ((1., 0., 0.), (0., 0., 1.)))
    weight = (red - blue).abs().sum(1)                                                    # 0 but on the ball
    y, x = torch.meshgrid(torch.arange(96.), torch.arange(72.), indexing="ij")
    middle = torch.stack([(weight*v).sum((1, 2))/weight.sum((1, 2)) for v in (x, y)], -1)
    assert (middle - render(scene).xy[:, 0, J[joint]]).abs().max() < .15


def test_visible_joints_lie_on_their_person():
    d = make_people(torch.arange(150), 1, SMALL, Difficulty(pose=1., yaw=180., clutter=1.))
    x, y = d.xy[:, 0].round().long().unbind(-1)
    inside = (d.vis[:, 0] > 0)
    on = d.mask[torch.arange(150)[:, None], 0, y.clamp(0, 63), x.clamp(0, 47)]
    body = torch.arange(17) >= 5  # the tip of a nose may stand clear of every pixel
    assert on[inside & body].float().mean() > .995 and on[inside].float().mean() > .97


def test_the_kit_colours_the_limbs_of_its_side():
    "Between hip and knee: cool on the left, warm on the right, so joints belong to the limbs of their side"
    d = make_people(torch.arange(60), 2, (96, 72), replace(CALM, cues=1.))
    def warmth(side):
        p = (d.xy[:, 0, J[side+"_hip"]]*.6 + d.xy[:, 0, J[side+"_knee"]]*.4).round().long()
        pixel = d.image[torch.arange(60), :, p[:, 1], p[:, 0]].float()
        return pixel[:, 0] - pixel[:, 2]
    assert (warmth("right") > 30).all() and (warmth("left") < -5).all()
    assert not (make_people(torch.arange(60), 2, (96, 72),
                            replace(CALM, cues=0.)).image == d.image).flatten(1).all(1).any()


def test_a_moved_elbow_moves_only_its_arm():
    dice = Dice(torch.arange(6), 1)
    angle, build = synth.sample_pose(dice), synth.sample_build(dice)
    zero = dice("yaw")*0
    p, _ = synth.bones(angle, build, zero, zero)
    q, _ = synth.bones(angle | dict(elbow_l=angle["elbow_l"] + 40), build, zero, zero)
    moved = {j for j in p if not torch.allclose(p[j], q[j])}
    assert moved == {"wrist_l"} and (p["wrist_l"] - q["wrist_l"]).norm(dim=1).min() > .05
    length = lambda s: (s["wrist_l"] - s["elbow_l"]).norm(dim=1)
    torch.testing.assert_close(length(p), length(q))


def test_facing_tells_left_from_right():
    d = make_people(torch.arange(200), 4, (32, 24), replace(CALM, yaw=180.))
    facing, shoulders = d.facing[:, 0], d.xy[:, 0, J["left_shoulder"], 0] - d.xy[:, 0, J["right_shoulder"], 0]
    assert (shoulders[facing > .3] > 0).all() and (shoulders[facing < -.3] < 0).all() and (facing > .3).any()
    assert (facing < -.3).any()
    assert (make_people(torch.arange(50), 4, (32, 24), CALM).facing > .9).all(), "yaw 0 looks at us"


# ---- hidden or seen ----

def turned(degrees, monkeypatch, n=12):
    "People standing at ease, all turned alike"
    real, fixed = Dice.__call__, dict(yaw=degrees/180, archetype=0.)
    def loaded(self, name, *a, **k):
        return real(self, name, *a, **k) if name not in fixed else torch.full_like(real(self, name), fixed[name])
    monkeypatch.setattr(Dice, "__call__", loaded)
    return make_people(torch.arange(n), 0, (128, 96), Difficulty(pose=0., yaw=180., clutter=0.)).vis[:, 0]


def test_faces_are_visible_from_the_front_and_hidden_from_behind(monkeypatch):
    front, back = turned(0., monkeypatch), turned(180., monkeypatch)
    face, joints = [J["nose"], J["left_eye"],
                    J["right_eye"]], [J[s+j] for s in ("left_", "right_") for j in ("shoulder", "hip", "knee")]
    assert (front[:, face] == 2).all() and (back[:, face] == 1).all()
    assert (front[:, joints] == 2).float().mean() > .97 and (back[:, joints] == 2).float().mean() > .97


def test_the_far_side_of_somebody_sideways_is_hidden(monkeypatch):
    "At yaw 90 the front points to the picture's right, so the right side is near"
    vis = turned(90., monkeypatch)
    trunk = lambda side: vis[:, [J[side+"shoulder"], J[side+"hip"], J[side+"ear"]]]
    assert (trunk("left_") == 1).all() and (trunk("right_") == 2).float().mean() > .9


def test_what_stands_in_front_hides_and_what_stands_behind_does_not():
    scene, k = arrange(torch.arange(30), size=(96, 72), difficulty=CALM), J["left_wrist"]
    at, before = scene.joints[:, 0, k].clone(), render(scene)
    at[:, 2] = -150.
    front = render(with_ball(scene, at, 6.))
    at[:, 2] = 150.
    behind = render(with_ball(scene, at, 6.))
    assert (before.vis[:, 0, k] == 2).sum() > 15
    assert (front.vis[:, 0, k] == 1).all(), "a ball before the wrist hides it"
    assert torch.equal(behind.vis, before.vis), "a ball behind changes nothing"
    far = (before.xy[:, 0] - before.xy[:, 0, k:k+1]).norm(dim=-1) > 8
    assert torch.equal(front.vis[:, 0][far], before.vis[:, 0][far]), "nor does it hide joints elsewhere"
    for field in ("mask", "box", "area", "xy"):
        assert torch.equal(getattr(front, field), getattr(before, field)), f"{field} is amodal"


def test_the_nearer_person_hides_the_farther():
    scene = arrange(torch.arange(10), size=(96, 72), difficulty=CALM, people=2)
    alone, n = render(scene), int((scene.layer == 0).sum())
    # the second behind the first
    shift = (scene.joints[:, 0, 11:13].mean(1) - scene.joints[:, 1, 11:13].mean(1))*torch.tensor([1., 1., 0.])
    for end in (scene.parts.a, scene.parts.b): end[:, n:2*n] += shift[:, None]
    scene.joints[:, 1] += shift[:, None]
    d = render(scene)
    assert torch.equal(d.vis[:, 0], alone.vis[:, 0]), "who stands in front is seen as before"
    x, y = d.xy[:, 1].round().long().unbind(-1)
    covered = torch.stack([d.mask[torch.arange(10)[:, None], 0, (y+j).clamp(0, 95), (x+i).clamp(0, 71)]
                           for i in (-1, 0, 1) for j in (-1, 0, 1)])
    inside = d.vis[:, 1] > 0
    assert (covered.all(0) & inside).sum() > 40 and (d.vis[:, 1][covered.all(0) & inside] == 1).all()
    nobody = lambda r: torch.where(scene.layer == 0, -1e4, r)  # a negative radius covers nothing
    solo = render(replace(scene, parts=replace(scene.parts, ra=nobody(scene.parts.ra), rb=nobody(scene.parts.rb))))
    free = ~covered.any(0) & inside
    assert free.sum() > 30 and torch.equal(d.vis[:, 1][free],
                                           solo.vis[:, 1][free]), "beside the first, the second is seen as if alone"


def test_outside_the_picture_is_zero():
    d = make_people(torch.arange(60), 0, SMALL, replace(HARD, scale=(1.3, 1.5)))
    (x, y) = d.xy[:, 0].unbind(-1)
    inside = (x > -.5) & (x < 47.5) & (y > -.5) & (y < 63.5)
    assert torch.equal(d.vis[:, 0] > 0, inside) and (~inside).sum() > 50


# ---- masks, boxes, areas ----

def test_the_mask_is_what_changes_with_the_clothes():
    scene = arrange(torch.arange(12), 3, (96, 72), replace(CALM, pose=.5, yaw=90.))
    people = scene.layer == 0
    extra = ((torch.arange(17) >= 13) & (torch.arange(17) < 16))  # the colour of the shirt's pattern
    def dyed(c):
        dye = lambda v: torch.where(people[None, :, None], c, v)
        parts = replace(scene.parts, colour=dye(scene.parts.colour), colour2=dye(scene.parts.colour2))
        return render(replace(scene, parts=parts, torso=torch.where(extra, c, scene.torso)))
    dark, light = dyed(.1), dyed(.9)
    changed = (dark.image != light.image).any(1)
    mask = dark.mask[:, 0]
    wider = torch.nn.functional.max_pool2d(mask.float(), 3, 1, 1).bool()
    assert changed[mask].float().mean() > .999 and not changed[~wider].any()


@pytest.mark.parametrize("difficulty,people", [(EASY, 1), (HARD, 1), (MEDIUM, 3)])
def test_box_and_area_are_pycocotools_of_the_mask(difficulty, people):
    d = make_people(torch.arange(12), 0, SMALL, difficulty, people)
    for i in range(12):
        for p in range(people):
            rle = cocomask.encode(np.asfortranarray(d.mask[i, p].numpy().astype(np.uint8)))
            assert d.area[i, p] == cocomask.area(rle) and d.box[i, p].tolist() == cocomask.toBbox(rle).tolist()


def test_harder_is_harder():
    hidden = [float((make_people(torch.arange(120), 0, SMALL, d).vis == 1).float().mean())
              for d in (EASY, MEDIUM, HARD)]
    assert hidden[0] < .1 < hidden[1] < hidden[2]


@pytest.mark.parametrize("field,value", [("pose", 1.5), ("clutter", -.1), ("scale", (1., .5))])
def test_difficulty_knows_its_scales(field, value):
    with pytest.raises(UserError, match=field): replace(EASY, **{field: value})


def test_what_cannot_be_made_is_an_error():
    with pytest.raises(UserError, match="people"): make_people(torch.arange(2), people=0)
    with pytest.raises(UserError, match="size"): make_people(torch.arange(2), size=(96, 4))


# ---- the folder ----

KEYS = {"id", "image_id", "category_id", "iscrowd", "segmentation", "bbox", "area", "num_keypoints", "keypoints"}


@pytest.mark.parametrize("difficulty,people", [(EASY, 1), (HARD, 2)])
def test_a_folder_reads_back_as_it_was_made(tmp_path, capsys, difficulty, people):
    folder = write_synth(tmp_path/"people", train=5, val=3, seed=7, size=SMALL, difficulty=difficulty, people=people)
    first = dict(train=0, val=2**40)
    for split, n in (("train", 5), ("val", 3)):
        coco = COCO(folder/f"person_keypoints_{split}.json")
        d = make_people(torch.arange(n) + first[split], 7, SMALL, difficulty, people)
        assert len(coco.imgs) == n and len(coco.anns) == n*people and coco.cats[1]["keypoints"] == list(COCO17.joints)
        for i, image in enumerate(coco.loadImgs(sorted(coco.imgs))):
            pixels = np.asarray(Image.open(folder/"images"/split/image["file_name"]), dtype=float)
            assert pixels.shape == (image["height"], image["width"], 3)
            lost = np.abs(pixels - d.image[i].permute(1, 2, 0).numpy()).mean()
            assert lost < (6 if difficulty is EASY else 9), "as far as JPEG keeps noise"
            for p, note in enumerate(coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))):
                k = np.array(note["keypoints"]).reshape(17, 3)
                vis = d.vis[i, p].numpy()
                assert set(note) == KEYS and (k[:, 2] == vis).all() and note["num_keypoints"] == (vis > 0).sum()
                assert note["iscrowd"] == 0
                assert np.abs(k[vis > 0, :2] - d.xy[i, p].numpy()[vis > 0]).max() < .006 and (k[vis == 0] == 0).all()
                assert note["bbox"] == d.box[i, p].tolist() and note["area"] == d.area[i, p].item()


def test_our_reader_finds_the_folder(tmp_path):
    from semipose.data.coco import find_coco, read_coco
    folder = write_synth(tmp_path/"people", train=4, val=2, size=SMALL, progress=False)
    for split, n in (("train", 4), ("val", 2)):
        people = read_coco(*find_coco(folder, split))
        assert len(people) == n and all(Path(people.path(i)).is_file()
                                        for i in range(n)) and people.skeleton.joints == COCO17.joints


def tree(folder):
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*")
            if p.is_file()}


def test_the_same_recipe_is_not_made_twice_and_another_is_refused(tmp_path, monkeypatch):
    make = lambda **k: write_synth(tmp_path/"people", **(dict(train=3, val=1, size=SMALL) | k))
    make()
    before = tree(tmp_path)
    monkeypatch.setattr(synth, "make_people", None)  # from here on making people would fail
    make()
    for change in (dict(train=4), dict(seed=1), dict(difficulty=HARD), dict(size=(48, 64)), dict(people=2)):
        with pytest.raises(UserError, match=f"differs in {next(iter(change))}") as e: make(**change)
        assert str(e.value).count(". ") == 0 and str(tmp_path) in str(e.value)
    assert tree(tmp_path) == before


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path/"mine").mkdir()
    (tmp_path/"mine"/"thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="mine already exists"): write_synth(tmp_path/"mine", train=1, val=0)
    assert [p.name for p in tmp_path.rglob("*")] == ["mine", "thesis.txt"]
    (tmp_path/"empty").mkdir()
    assert (write_synth(tmp_path/"empty", train=1, val=1,
                        size=SMALL)/"synth.json").is_file(), "an empty folder is as good as none"


def test_a_write_that_broke_off_leaves_nothing(tmp_path, monkeypatch):
    real, calls = Image.Image.save, []
    def save(self, *a, **k):
        calls.append(1)
        if len(calls) > 2: raise OSError("disk full")
        return real(self, *a, **k)
    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match="disk full"): write_synth(tmp_path/"people", train=4, val=1, size=SMALL)
    assert len(calls) == 3 and not list(tmp_path.iterdir())


def test_validation_does_not_depend_on_the_training_set(tmp_path):
    a, b = (write_synth(tmp_path/name, train=n, val=2, size=SMALL) for name, n in (("a", 1), ("b", 3)))
    assert (a/"images/val/000002.jpg").read_bytes() == (b/"images/val/000002.jpg").read_bytes()
    notes = lambda folder: json.loads((folder/"person_keypoints_val.json").read_text())["annotations"]
    assert notes(a) == notes(b)


def test_the_committed_sample_is_what_is_made_today():
    folder = Path(__file__).parent.parent/"data"/"sample"
    recipe = json.loads((folder/"synth.json").read_text())
    assert recipe["drawing"] == synth._VERSION, "the pictures have changed: remove data/sample and run notebook 12"
    d = make_people(torch.arange(0, 48, 6), recipe["seed"], recipe["size"], Difficulty(**recipe["difficulty"]))
    coco = json.loads((folder/"person_keypoints_train.json").read_text())
    for i in range(8):
        pixels = np.asarray(Image.open(folder/"images/train"/coco["images"][6*i]["file_name"]), dtype=float)
        assert np.abs(pixels - d.image[i].permute(1, 2, 0).numpy()).mean() < 5
        joints = np.array(coco["annotations"][6*i]["keypoints"]).reshape(17, 3)[:, :2]
        assert np.abs(joints - d.xy[i, 0].numpy()).max() < .006
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 300_000


def test_without_face_only_the_annotation_changes(tmp_path):
    "the same pictures; nose, eyes and ears are not annotated, all else is; a folder with faces is another folder"
    a, b = (write_synth(tmp_path/name, train=3, val=1, seed=7, size=SMALL, face=face)
            for name, face in (("a", True), ("b", False)))
    for split in ("train", "val"):
        x, y = (json.loads((f/f"person_keypoints_{split}.json").read_text())["annotations"] for f in (a, b))
        for p, q in zip(x, y):
            assert q["keypoints"] == [0]*15 + p["keypoints"][15:]
            assert q["num_keypoints"] == sum(v > 0 for v in q["keypoints"][2::3]) and q["bbox"] == p["bbox"]
        pictures = lambda folder, split=split: [f.read_bytes() for f in sorted((folder/"images"/split).iterdir())]
        assert pictures(a) == pictures(b)
    for folder, face in ((a, False), (b, True)):
        with pytest.raises(UserError, match="differs in face"):
            write_synth(folder, train=3, val=1, seed=7, size=SMALL, face=face)
