"""Laws of MPII, AI Challenger, Leeds Sports Pose and mixtures: what the published file says is what arrives."""
import json

import numpy as np
import published as pub
import pytest
import torch
from semipose.data.aic import find_aic, read_aic
from semipose.data.core import FILL, Crops, mix, to_skeleton
from semipose.data.lsp import read_lsp, read_lsp_folder
from semipose.data.mpii import head_size, mpii_boxes, read_mpii, read_mpii_json, read_mpii_mat
from semipose.data.sets import kind_of, read_any, read_any_train_val, read_any_unlabeled
from semipose.data.streams import Split, Streams, split_seeded
from semipose.errors import UserError
from semipose.skeletons import AIC14, COCO17, LSP14, MPII16, UNION24

pytest.importorskip("scipy")


def fails(call, *words):
    with pytest.raises(UserError) as e:
        call()
    text = str(e.value)
    assert "\n" not in text and text.endswith((".", "?")) and len(text) < 600, text
    assert all(w in text for w in words), text


def of(people, name, xy):
    "The row of the person in picture `name` whose first seen joint is nearest"
    rows = [i for i in range(len(people)) if people[i].file == name]
    return min(rows, key=lambda i: abs(people.xy[i] - xy).sum())


# ---- MPII ----

def hrnet_crop(center, scale, size):
    "HRNet's crop, from its description: centre down by 15 px of scale, a square of 250 px of scale, pixels from 0"
    middle = np.array([center[0], center[1] + 15 * scale]) - 1
    return lambda p: (p - middle) * size / (1.25 * scale * 200) + size / 2


@pytest.mark.parametrize("form", ["json", "mat"])
def test_mpii_arrives_as_published(tmp_path, form):
    t = pub.mpii_truth(7)
    path = pub.mpii_json(tmp_path, t) if form == "json" else pub.mpii_mat(tmp_path / "mpii_human_pose_v1_u12_1.mat", t)
    pub.pictures(tmp_path / "images", sorted(set(t["image"])))
    people = read_mpii(tmp_path, "train")
    assert people.skeleton == MPII16 and len(people) == 7 and people.folder == tmp_path / "images" and path.is_file()
    vis = np.where(t["vis"] > 0, 2, 0) if form == "json" else t["vis"]  # only MATLAB's file knows who is hidden
    assert np.array_equal(people.vis, vis)
    assert np.allclose(people.xy, (t["xy"] - 1) * (vis > 0)[..., None], atol=1e-4)  # MATLAB counts from 1
    assert [p.file for p in people] == t["image"] and people.picture(6).getpixel((0, 0)) == (36, 36, 36)
    M = Crops(people, (256, 256)).matrix().numpy()
    for i in range(7):
        want = hrnet_crop(t["center"][i], t["scale"][i], 256)
        for p in ([0.0, 0.0], [150.0, 90.0]):
            roomy = M[i] @ np.array([*p, 1])  # the roomy crop has a quarter more on every side
            assert np.allclose(roomy[:2] - 64, want(np.array(p)), atol=0.02)
    marked = [people.xy[i][vis[i] > 0] for i in range(7)]
    assert np.allclose(people.area, [FILL * 1.3**2 * np.prod(s.max(0) - s.min(0)) for s in marked], rtol=1e-4)


def test_both_forms_of_mpii_are_the_same_people(tmp_path):
    t = pub.mpii_truth(6, seed=2)
    t["vis"][t["vis"] == 1] = 2
    a = read_mpii_json(pub.mpii_json(tmp_path, t, "valid", gt=True))
    b = read_mpii_mat(pub.mpii_mat(tmp_path / "mpii_human_pose_v1_u12_1.mat", t))
    for k in ("xy", "vis", "box", "area", "image", "head"):
        assert np.allclose(getattr(a, k), getattr(b, k), atol=1e-4), k
    assert a.files == b.files


def test_heads_are_mpiis_own_measure(tmp_path):
    t = pub.mpii_truth(6)
    people = read_mpii_json(pub.mpii_json(tmp_path, t, "valid", gt=True))
    assert np.allclose(head_size(people), 0.6 * np.linalg.norm(t["head"][:, 1] - t["head"][:, 0], axis=1), rtol=1e-5)
    assert np.allclose(people.head[:, :2], t["head"][:, 0] - 1)
    assert np.allclose(head_size(people.subset([4, 1])), head_size(people)[[4, 1]])  # a head stays with its person
    mm = read_mpii_json(pub.mpii_json(tmp_path / "mm", t, "val", True, "annotations/mpii_{}.json",
                                      "annotations/mpii_gt_{}.mat"))
    assert np.allclose(mm.head, people.head)
    fails(lambda: head_size(read_mpii_json(pub.mpii_json(tmp_path / "bare", t))), "gt_valid.mat", ".mat")


def test_heads_of_other_people_are_refused(tmp_path):
    t = pub.mpii_truth(6)
    path = pub.mpii_json(tmp_path, t, "valid", gt=True)
    rows = json.loads(path.read_text())
    path.write_text(json.dumps(rows[:5]))
    fails(lambda: read_mpii_json(path), "gt_valid.mat", "5 people", "fetch")
    path.write_text(json.dumps(rows[::-1]))
    fails(lambda: read_mpii_json(path), "gt_valid.mat", "pos_gt_src")


def test_people_without_joints_are_only_for_those_who_ask(tmp_path):
    t = pub.mpii_truth(6)
    t["vis"][2] = 0
    path = pub.mpii_json(tmp_path, t)
    assert len(read_mpii_json(path)) == 5 and len(read_mpii_json(path, keep_all=True)) == 6
    mat = pub.mpii_mat(tmp_path / "mpii_human_pose_v1_u12_1.mat", pub.mpii_truth(6))
    # one more in each of 3 pictures; nobody of the test set
    assert len(read_mpii_mat(mat)) == 6 and len(read_mpii_mat(mat, keep_all=True)) == 9


def test_without_centre_and_scale_the_joints_give_the_box(tmp_path):
    t = pub.mpii_truth(3)
    t["scale"][1], t["center"][1] = -1, -1
    people = read_mpii_json(pub.mpii_json(tmp_path, t))
    marked = people.xy[1][people.vis[1] > 0]
    e = marked.max(0) - marked.min(0)
    assert np.allclose(people.box[1], [*(marked.min(0) - 0.15 * e), *(1.3 * e)], atol=1e-3)
    assert np.allclose(people.box[[0, 2]], mpii_boxes(t["center"][[0, 2]], t["scale"][[0, 2]]), atol=1e-4)


MPII_WRONG = {
    "image": (7, "a picture"), "center": ([1, "2"], "x and y"), "scale": (None, "a number"),
    "joints": ([[1, 2]] * 15, "16 pairs"), "joints_vis": ([1] * 15 + [2], "16 numbers"),
}


@pytest.mark.parametrize("field", MPII_WRONG)
def test_a_wrong_field_of_mpii_is_one_sentence(tmp_path, field):
    path = pub.mpii_json(tmp_path, pub.mpii_truth(4))
    rows = json.loads(path.read_text())
    value, words = MPII_WRONG[field]
    rows[2][field] = value
    path.write_text(json.dumps(rows))
    fails(lambda: read_mpii_json(path), "train.json", f'"{field}" of entry 3', words)
    del rows[2][field]
    path.write_text(json.dumps(rows))
    fails(lambda: read_mpii_json(path), f'"{field}" of entry 3', "None")


def test_other_files_are_not_taken_for_mpii(tmp_path):
    (tmp_path / "mpii_human_pose_v1.mat").write_bytes(b"cut short")
    fails(lambda: read_mpii(tmp_path), "mpii_human_pose_v1.mat", "not a whole MATLAB file")
    from scipy.io import savemat
    savemat(tmp_path / "mpii_human_pose_v1.mat", dict(joints=np.zeros(3)))
    fails(lambda: read_mpii(tmp_path), '"RELEASE"')
    (tmp_path / "x.json").write_text("{}")
    fails(lambda: read_mpii_json(tmp_path / "x.json"), "list of people")
    t = pub.mpii_truth(4)
    t["vis"][:] = 0
    fails(lambda: read_mpii_json(pub.mpii_json(tmp_path, t)), "nobody")


def test_without_scipy_the_json_form_is_read_and_the_mat_says_what_is_missing(tmp_path, monkeypatch):
    import importlib
    import importlib.util
    path, plain, spec = pub.mpii_json(tmp_path, pub.mpii_truth(4), "valid",
                                      gt=True), importlib.import_module, importlib.util.find_spec

    def without(name, *a):
        if name.startswith("scipy"):
            raise ImportError(name)
        return plain(name, *a)
    monkeypatch.setattr(importlib, "import_module", without)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "scipy" else spec(name, *a))
    assert read_mpii_json(path).head is None
    fails(lambda: read_mpii_mat(tmp_path / "annot/gt_valid.mat"), "scipy", "JSON form")


# ---- AI Challenger ----

def test_aic_arrives_as_published(tmp_path):
    t = pub.aic_truth(7)
    path = pub.aic_json(tmp_path, t)
    pub.pictures(path.parent / "keypoint_train_images_20170902", [f"{n}.jpg" for n in sorted(set(t["image"]))])
    people = read_aic(find_aic(tmp_path, "train"))
    assert people.skeleton == AIC14 and [p.file for p in people] == [f"{n}.jpg" for n in t["image"]]
    assert np.array_equal(people.vis, np.choose(t["flag"] - 1, [2, 1, 0]))
    assert np.array_equal(people.xy, t["xy"] * (t["flag"] < 3)[..., None])
    assert np.array_equal(people.box, np.concatenate([t["box"][:, :2], t["box"][:, 2:] - t["box"][:, :2]], 1))
    assert np.array_equal(people.area, people.box[:, 2] * people.box[:, 3])  # the official script measures by the box
    assert people.picture(6).getpixel((0, 0)) == (36, 36, 36)
    assert find_aic(path.parent, "train") == path
    fails(lambda: find_aic(tmp_path, "val"), "keypoint_validation_annotations")
    pub.aic_json(tmp_path, t, "train", "20180101")
    fails(lambda: find_aic(tmp_path, "train"), "holds 2 files")


def test_aics_unfinished_people(tmp_path):
    t = pub.aic_truth(5)
    path = pub.aic_json(tmp_path, t)
    rows = json.loads(path.read_text())
    del rows[0]["keypoint_annotations"]["human2"]  # a box whose joints nobody marked
    rows[1]["human_annotations"]["human1"] = [9, 9, 9, 40]  # no inside
    x1, y1, x2, y2 = rows[2]["human_annotations"]["human1"]
    rows[2]["human_annotations"]["human1"] = [x2, y1, x1, y2]  # corners in another order
    path.write_text(json.dumps(rows))
    people = read_aic(path)
    assert len(people) == 4 and len(read_aic(path, keep_all=True)) == 5
    marked = people.xy[1][people.vis[1] > 0]
    assert (people.box[1, :2] <= marked.min(0)).all() and (people.box[1, :2] + people.box[1, 2:] >= marked.max(0)).all()
    assert people.box[3].tolist() == [x1, y1, x2 - x1, y2 - y1]


@pytest.mark.parametrize("spoil, words", [
    (lambda o: o.pop("image_id"), ['"image_id" of entry 2']),
    (lambda o: o.update(human_annotations=[]), ['"human_annotations" of picture', "object"]),
    (lambda o: o["human_annotations"].update(human1=[1, 2, 3]), ['"human1"', "4 numbers"]),
    (lambda o: o["human_annotations"].pop("human1"), ['"human1"', "no box"]),
    (lambda o: o["keypoint_annotations"].update(human1=[1] * 41), ['"human1"', "42 numbers"]),
    (lambda o: o["keypoint_annotations"].update(human1=[1, 2, None] * 14), ['"human1"', "42 numbers"]),
    (lambda o: o["keypoint_annotations"].update(human1=[1, 2, 0] * 14), ["not 1, 2 or 3", "in picture"]),
])
def test_a_wrong_field_of_aic_is_one_sentence(tmp_path, spoil, words):
    path = pub.aic_json(tmp_path, pub.aic_truth(5))
    rows = json.loads(path.read_text())
    spoil(rows[1])
    path.write_text(json.dumps(rows))
    fails(lambda: read_aic(path), "annotations_20170909.json", *words)


# ---- Leeds Sports Pose ----

def lsp_truth(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(5, 55, (n, 14, 2)).round(2), rng.integers(0, 2, (n, 14))


def test_the_third_number_means_hidden_in_one_and_visible_in_the_other(tmp_path):
    xy, third = lsp_truth(6)
    small, extended = read_lsp(pub.lsp_mat(tmp_path, xy,
                                           third)), read_lsp(pub.lsp_mat(tmp_path, xy, third, True, "lspet_dataset"))
    assert small.skeleton == extended.skeleton == LSP14
    assert np.array_equal(small.vis, 2 - third) and np.array_equal(extended.vis, 2 * third)
    assert np.allclose(small.xy, xy, atol=1e-5) and np.allclose(extended.xy, xy * third[..., None], atol=1e-5)
    e = xy.max(1) - xy.min(1)
    assert np.allclose(small.box, np.concatenate([xy.min(1) - 0.15 * e, 1.3 * e], 1), atol=1e-3)
    assert np.allclose(small.area, 0.53 * small.box[:, 2] * small.box[:, 3])
    assert small[3].file == "im0004.jpg" and extended[3].file == "im00004.jpg"
    assert small.picture(3).getpixel((0, 0)) == extended.picture(3).getpixel((0, 0)) == (36, 36, 36)


def test_lsps_halves_and_the_extension(tmp_path):
    xy, third = lsp_truth(6)
    path = pub.lsp_mat(tmp_path, xy, third)
    assert read_lsp(path, split="train").ids.tolist() == [1, 2,
                                                          3] and read_lsp(path, split="val").ids.tolist() == [4, 5, 6]
    more = pub.lsp_mat(tmp_path, xy[:4], np.ones((4, 14)), True, "lspet_dataset")
    fails(lambda: read_lsp(more, split="val"), "all of the extended set is for training")
    train, val = (read_lsp_folder(tmp_path, s) for s in ("train", "val"))
    assert len(train) == 7 and len(val) == 3 and np.allclose(val.xy, xy[3:], atol=1e-5)
    assert train.picture(0).getpixel((0, 0)) == (9, 9, 9)
    assert sorted({p.file.split("/")[0] for p in train}) == ["lsp_dataset", "lspet_dataset"]
    assert len(set(train.ids)) == 7


def test_other_arrays_are_not_lsp(tmp_path):
    from scipy.io import savemat
    path = pub.lsp_mat(tmp_path, *lsp_truth(2))
    savemat(path, dict(joints=np.zeros((2, 16, 3))))
    fails(lambda: read_lsp(path), '"joints"', "3 x 14")
    savemat(path, dict(points=np.zeros((2, 16, 3))))
    fails(lambda: read_lsp(path), '"joints"')
    (tmp_path / "lsp_dataset/images/im0001.jpg").unlink()
    savemat(path, dict(joints=np.zeros((3, 14, 2))))
    fails(lambda: read_lsp(path), "im0001.jpg")


# ---- mixing ----

def sets(tmp_path, seed=0):
    m, a = tmp_path / "mpii", tmp_path / "deep/aic"
    t = pub.mpii_truth(6, seed)
    pub.mpii_mat(m / "mpii_human_pose_v1_u12_1.mat", t)
    pub.pictures(m / "images", sorted(set(t["image"])))
    u = pub.aic_truth(8, seed)
    path = pub.aic_json(a, u)
    pub.pictures(path.parent / "keypoint_train_images_20170902", [f"{n}.jpg" for n in sorted(set(u["image"]))])
    return m, a


def test_a_mixture_is_its_parts(tmp_path):
    parts = [read_any(p) for p in sets(tmp_path)]
    both, at = mix(*parts), 0
    assert both.skeleton == UNION24 and len(both) == 14
    for p in parts:
        rows = np.arange(at, at + len(p))
        for k, j in enumerate(p.skeleton.joints):
            i = UNION24.joints.index(j)
            assert np.array_equal(both.xy[rows, i], p.xy[:, k]) and np.array_equal(both.vis[rows, i], p.vis[:, k])
        lost = [i for i, j in enumerate(UNION24.joints) if j not in p.skeleton.joints]
        assert not both.vis[rows][:, lost].any() and not both.xy[rows][:, lost].any()  # weight 0
        for k in ("box", "area", "crowd"):
            assert np.array_equal(getattr(both, k)[rows], getattr(p, k))
        for r, i in zip(rows, range(len(p))):
            assert both.path(r).resolve() == p.path(i).resolve() and both.picture(r).tobytes() == p.picture(i).tobytes()
        at += len(p)
    assert len(set(both.ids)) == 14 and len(set(both.image_ids)) == len(both.files)
    names = {j for p in parts for j in p.skeleton.joints}
    assert set(np.array(UNION24.joints)[both.supervised]) == names - {"nose"} and not both.supervised[:5].any()


def test_ids_that_nobody_shares_stay(tmp_path):
    a, b = (read_any(p) for p in sets(tmp_path))
    b.ids, b.image_ids = b.ids + 100, b.image_ids + 100
    both = mix(a, b)
    assert both.ids.tolist() == [*a.ids, *b.ids] and both.image_ids.tolist() == [*a.image_ids, *b.image_ids]
    b.ids = b.ids - 200
    assert len(set(mix(a, b, a).ids)) == 20 and mix(a).ids.tolist() == a.ids.tolist()


def test_columns_that_one_set_lacks_are_filled(tmp_path):
    a, b = (read_any(p) for p in sets(tmp_path))
    b.box_score, b.sizes = np.linspace(0, 1, 8).astype(np.float32), np.tile([300, 400], (len(b.files), 1))
    both = mix(a, b)
    assert np.allclose(both.box_score, [*np.ones(6), *b.box_score]) and np.isnan(both.head[6:]).all()
    assert np.array_equal(both.head[:6], a.head)
    # 0: not known, so not checked
    assert both.sizes[: len(a.files)].tolist() == [[0, 0]] * len(a.files) and both.picture(0).size == (400, 300)
    b.sizes[:] = 7
    with pytest.raises(UserError, match="7 x 7"):
        mix(a, b).picture(13)


def test_sets_that_are_placed_otherwise_are_mixed_and_stay_as_they_are(tmp_path):
    from dataclasses import replace
    from PIL import Image
    a, b = (read_any(p) for p in sets(tmp_path))
    flag = Image.Exif()
    flag[0x0112] = 3
    for p in (a, b):
        for f in p.files:
            Image.open(p.folder / f).save(p.folder / f, exif=flag)
    a, b = replace(a, notes=("one",)), replace(b, upright=True, notes=("two", "one"))
    both = mix(a, b)
    assert both.notes == ("one", "two") and both.upright.tolist() == [False] * len(a.files) + [True] * len(b.files)
    for i in range(len(both)):
        assert both.picture(i).tobytes() == (a.picture(i) if i < len(a) else b.picture(i - len(a))).tobytes()
    assert mix(a, a).upright is False and mix(both, b).upright.sum() == 2 * len(b.files)


def test_what_cannot_be_mixed_is_an_error(tmp_path):
    from semipose.skeletons import Skeleton
    a, _ = (read_any(p) for p in sets(tmp_path))
    lamp = Skeleton("lamp", ("base", "rim"), (), (), (.1, .1))
    fails(lambda: mix(to_skeleton(a, MPII16), skeleton=lamp), "none of its joints", "lamp")
    fails(mix, "nothing to mix")


def test_mpii_trains_beside_aic(tmp_path):
    m, a = sets(tmp_path)
    train, val, note = read_any_train_val(m, share=.3)
    crops = Crops(train, (64, 64))
    pictures = read_any_unlabeled(a, train.skeleton)
    assert len(pictures) == 8 and not pictures.supervised.any() and pictures.skeleton == MPII16
    x, y = Streams(crops, Crops(pictures, (64, 64)), (3, 5), steps=4).at(1)
    assert x["labeled"].shape[0] == 3 and x["unlabeled"].shape[0] == 5 and y["vis"].shape == (3, 16)
    assert len(train) + len(val) == 6 and "has no validation people" in note
    train, val, note = read_any_train_val([m, a], share=.3)  # both labelled
    assert train.skeleton == val.skeleton == UNION24 and len(train) + len(val) == 14
    assert not {train.path(i) for i in range(len(train))} & {val.path(i) for i in range(len(val))}
    split = split_seeded(train, 4, seed=1)
    split.save(tmp_path / "split.json")
    assert Split.load(tmp_path / "split.json", train).labeled.tolist() == split.labeled.tolist()
    y = Streams(Crops(train, (64, 64)), None, (len(train), 0), steps=1).at(0)[1]
    assert torch.equal((y["vis"] > 0).any(0), torch.from_numpy(train.supervised))


# ---- one function for all ----

def test_every_kind_is_recognised(tmp_path):
    m, a = sets(tmp_path)
    pub.mpii_json(tmp_path / "hrnet", pub.mpii_truth(4))
    path = pub.mpii_json(tmp_path / "hrnet", pub.mpii_truth(3, 1), "valid")
    lsp = pub.lsp_mat(tmp_path / "leeds", *lsp_truth(4))
    both = pub.aic_json(tmp_path / "challenge",
                        pub.aic_truth(4)), pub.aic_json(tmp_path / "challenge", pub.aic_truth(3, 1),
                                                        "validation", "20170911")
    kinds = {m: "mpii", m / "mpii_human_pose_v1_u12_1.mat": "mpii", tmp_path / "hrnet": "mpii", path: "mpii", a: "aic",
             both[0]: "aic", both[0].parent: "aic", lsp: "lsp",
             tmp_path / "leeds": "lsp", tmp_path / "challenge/nothing": "coco"}
    assert {p: kind_of(p) for p in kinds} == kinds
    assert len(read_any(tmp_path / "hrnet", "val")) == 3 and read_any(path).skeleton == MPII16
    fails(lambda: kind_of(tmp_path), "several data sets (mpii, aic)")
    train, val, note = read_any_train_val(tmp_path / "hrnet")
    assert (len(train), len(val), note) == (4, 3, "Validation people come from valid.json.")
    train, val, note = read_any_train_val(tmp_path / "challenge")
    assert (len(train), len(val), note) == (4, 3, "Validation people come from "
                                                  "keypoint_validation_annotations_20170911.json.")
    train, val, note = read_any_train_val(tmp_path / "leeds")
    assert (len(train), len(val)) == (2, 2) and "second half" in note
    train, val, note = read_any_train_val(labels=both[0], share=.3)
    assert len(train) + len(val) == 4 and "annotations_20170909.json has no validation" in note
    assert not {p.file for p in train} & {p.file for p in val}
    union = read_any(m, skeleton=UNION24)
    assert union.skeleton == UNION24 and np.array_equal(union.vis, mix(read_any(m)).vis)


def test_what_is_not_recognised_is_one_sentence(tmp_path):
    fails(lambda: read_any(tmp_path), "COCO", "MPII", "AI Challenger", "joints.mat")
    fails(lambda: read_any_train_val(tmp_path), "COCO", "MPII", "AI Challenger", "joints.mat")
    fails(lambda: read_any(tmp_path / "nowhere"), "no such data folder")
    (tmp_path / "annotations").mkdir()
    fails(lambda: read_any(tmp_path), "person_keypoints_train.json")
    fails(lambda: read_any_train_val(), "no labels")
    fails(lambda: read_any_train_val(["a", "b"], labels="c.json"), "one data set")


def test_coco_folders_are_read_as_before():
    from pathlib import Path
    from semipose.data.coco import read_train_val
    sample = Path(__file__).resolve().parent.parent / "data/sample"
    a, b = read_any_train_val(sample), read_train_val(sample)
    assert a[2] == b[2] and all(np.array_equal(x.xy, y.xy) and x.ids.tolist() == y.ids.tolist()
                                for x, y in zip(a[:2], b[:2]))
    assert a[0].skeleton == COCO17


def test_validation_keeps_those_whom_training_leaves_out(tmp_path):
    for split in ("train", "valid"):
        t = pub.mpii_truth(4)
        t["vis"][1] = 0
        pub.mpii_json(tmp_path, t, split)
    train, val, _ = read_any_train_val(tmp_path)
    assert (len(train), len(val), len(val.posed)) == (3, 4, 3)
