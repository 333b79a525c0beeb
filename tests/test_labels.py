"""What a labelling tool says: read to the last digit, in every dialect of COCO; and what changed between two files."""
import json
from dataclasses import replace

import numpy as np
import pytest

from semipose.data.coco import read_coco
from semipose.data.labels import (as_labels, boxes_of_labels, changes, coco_of, read_coco_labels, same_pictures,
                                  write_coco_labels)
from semipose.errors import UserError
from semipose.skeletons import COCO17, Skeleton

JOINTS = ["head", "left_paw", "right_paw"]
CATEGORY = dict(id=1, name="mouse", supercategory="", keypoints=JOINTS, skeleton=[[1, 2], [1, 3]])


def written(folder, d, name="labels.json"):
    (folder / name).write_text(json.dumps(d))
    return folder / name


def people(seed=0, n=6, files=5, score=False, named=False, K=17):
    "Random people in 200 x 160 pictures; the last picture is empty"
    g = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        vis = g.choice([0, 1, 2], K, p=[.2, .2, .6])
        vis[:2] = 2
        low, side = g.uniform(0, 60, 2), g.uniform(60, 90, 2)
        rows.append(dict(image=i % (files - 1), xy=low + g.uniform(.05, .95, (K, 2)) * side, vis=vis,
                         box=[*low, *side], area=float(g.uniform(500, 3000)),
                         name=f"m{i // (files - 1)}" if named else "", sure=g.uniform(.1, 1) if score else None,
                         score=np.where(vis > 0, g.uniform(0, 1, K), np.nan) if score else None))
    return as_labels(COCO17, [f"{chr(97 + f)}/im_{f}.jpg" for f in range(files)], rows, [(160, 200)] * files)


def alike(a, b, tol=0.):
    np.testing.assert_allclose(b.xy, a.xy, atol=tol, rtol=0)
    np.testing.assert_array_equal(b.vis, a.vis)
    assert b.files == a.files and b.skeleton.joints == a.skeleton.joints
    np.testing.assert_array_equal(b.image, a.image)


# ---- COCO ----

@pytest.mark.parametrize("seed", range(4))
def test_coco_loses_nothing(tmp_path, seed):
    a = people(seed, score=seed % 2 == 0, named=seed > 1)
    a.crowd[1], a.info = True, dict(description="by a test")
    if seed == 3: a = replace(a, skeleton=Skeleton("odd", a.skeleton.joints, ((0, 16),), ((1, 2),),
                                                   tuple(np.linspace(.02, .2, 17)), mirror=True))
    assert not write_coco_labels(a, tmp_path / "a.json")
    b = read_coco_labels(tmp_path / "a.json")
    alike(a, b)
    for k in ("box", "area", "crowd", "sure", "score", "sizes"): np.testing.assert_array_equal(getattr(b, k),
        getattr(a, k), err_msg=k)
    assert b.names == a.names and b.skeleton == a.skeleton and b.info["description"] == "by a test" and not b.notes


def test_what_is_written_is_what_tools_ask_for(tmp_path):
    a = people(score=True)
    a.vis[0, 5], a.xy[0, 5] = 0, 0
    d = json.loads(json.dumps(coco_of(a), allow_nan=False))       # no NaN: JavaScript reads none
    (category,) = d["categories"]
    assert category["id"] == 1 and min(map(min, category["skeleton"])) == 1
    assert category["keypoints"] == list(COCO17.joints)
    assert [i["id"] for i in d["images"]] == [1, 2, 3, 4, 5]
    assert [o["id"] for o in d["annotations"]] == list(range(1, 7))
    for o in d["annotations"]:
        assert o["iscrowd"] == 0 and o["segmentation"] == [] and len(o["bbox"]) == 4
        assert o["area"] > 0 and o["category_id"] == 1
        keys = np.array(o["keypoints"]).reshape(-1, 3)
        assert o["num_keypoints"] == (keys[:, 2] > 0).sum() and (keys[keys[:, 2] == 0] == 0).all()
        assert all(isinstance(v, int) for v in o["keypoints"][2::3])
        assert len(o["scores"]) == 17 and 0 < o["score"] <= 1


def test_training_reads_what_is_written(tmp_path):
    a = people()
    from PIL import Image
    for f in a.files:
        (tmp_path / f).parent.mkdir(exist_ok=True)
        Image.new("RGB", (200, 160)).save(tmp_path / f)
    write_coco_labels(a, tmp_path / "a.json")
    p = read_coco(tmp_path / "a.json", keep_all=True)
    assert len(p) == len(a) and p.files == a.files
    i, j = np.argsort(p.ids), np.arange(len(a))
    np.testing.assert_allclose(p.xy[i], a.xy[j], atol=1e-4)
    np.testing.assert_array_equal(p.vis[i], a.vis[j])


def test_roboflow(tmp_path):
    "ids from 0, a class without joints first, names with a hash"
    d = dict(images=[dict(id=0, file_name="cat_jpg.rf.0123456789abcdef0123456789abcdef.jpg", height=640, width=640,
                          extra=dict(name="cat.jpg"))],
             categories=[dict(id=0, name="mice", supercategory="none"), dict(CATEGORY, supercategory="mice")],
             annotations=[dict(id=0, image_id=0, category_id=1, bbox=[1, 2, 30.5, 40], area=1220., segmentation=[],
                               iscrowd=0, keypoints=[5.5, 6, 2, 7, 8.25, 1, 0, 0, 0])])
    a = read_coco_labels(written(tmp_path, d))
    assert len(a) == 1 and a.vis.tolist() == [[2, 1, 0]] and a.xy[0, 1].tolist() == [7, 8.25] and not a.notes
    assert same_pictures(["x/cat.jpg", "dog.jpg"], a.files) == {0: 0}


def test_coco_annotator(tmp_path):
    "a box of four zeros, classes that nobody used, fields of its own"
    d = dict(images=[dict(id=7, file_name="a.jpg", path="/datasets/a.jpg", dataset_id=1, height=50, width=60,
                          annotated=True)],
             categories=[dict(id=1, name="bird", keypoints=["beak"], skeleton=[]),
                         dict(CATEGORY, id=2, keypoint_colors=["#000"])],
             annotations=[dict(id=3, image_id=7, category_id=2, segmentation=[], area=0, bbox=[0, 0, 0, 0],
                               iscrowd=False, isbbox=False, color="#fff",
                               keypoints=[10, 10, 2, 20, 30, 2, 0, 0, 0], num_keypoints=2, metadata={})])
    a = read_coco_labels(written(tmp_path, d))
    assert np.isnan(a.box).all() and [n.about for n in a.notes] == ["boxes"]
    x, y, w, h = boxes_of_labels(a)[0]
    assert x < 10 and y < 10 and x + w > 20 and y + h > 30
    notes = write_coco_labels(a, tmp_path / "b.json")
    assert {n.about for n in notes} == {"boxes", "area"}
    assert (read_coco(
                      # the reader of training refuses the first file, and takes this one
                      tmp_path / "b.json").box[:, 2:] > 0).all()


def test_cvat(tmp_path):
    "a place behind v = 0, tracks in attributes"
    d = dict(licenses=[dict(name="", id=0, url="")], info=dict(contributor="", date_created=""), categories=[CATEGORY],
             images=[dict(id=1, width=60, height=50, file_name="a.png", license=0, flickr_url="", coco_url="",
                          date_captured=0)],
             annotations=[dict(id=1, image_id=1, category_id=1, segmentation=[], area=200., bbox=[1., 2., 10., 20.],
                               iscrowd=0, num_keypoints=2,
                               attributes=dict(occluded=False, track_id=4, keyframe=True),
                               keypoints=[1., 2., 2., 3.5, 4.25, 1., 9., 9., 0.])])
    a = read_coco_labels(written(tmp_path, d))
    assert a.vis.tolist() == [[2, 1, 0]] and a.xy[0, 2].tolist() == [0, 0] and a.names == ["4"]
    assert [(n.about, n.count) for n in a.notes] == [("joints", 1)]


def test_joints_at_the_corner_are_none(tmp_path):
    d = dict(images=[dict(id=1, file_name="a.png")], categories=[CATEGORY],
             annotations=[dict(id=1, image_id=1, category_id=1, bbox=[5, 5, 9, 9],
                               keypoints=[0, 0, 2, 6, 6, 2, 0, 0, 1])])
    a = read_coco_labels(written(tmp_path, d))
    assert a.vis.tolist() == [[0, 2, 0]] and [(n.about, n.count, n.of) for n in a.notes] == [("origin", 2, 3)]


@pytest.mark.parametrize("change, words", [
    (lambda d: d.pop("images"), '"images"'), (lambda d: d["categories"][0].pop("keypoints"), '"keypoints"'),
    (lambda d: d["annotations"][0].update(keypoints=[1, 2]), "9 numbers"),
    (lambda d: d["annotations"][0].update(keypoints=[1, 2, 3] * 3), "0, 1 or 2"),
    (lambda d: d["annotations"][0].update(image_id=5), "picture 5"),
    (lambda d: d["images"].append(d["images"][0]), 'same "id"'),
    (lambda d: d["images"][0].update(file_name=3), '"file_name"'),
    (lambda d: d["annotations"][0].update(bbox="all"), '"bbox"'),
    (lambda d: (d["categories"].append(dict(CATEGORY, id=2, keypoints=["a"])),
                d["annotations"].append(dict(id=2, image_id=1, category_id=2, keypoints=[1, 1, 2]))), "2 categories"),
])
def test_a_bad_file_is_told_in_a_sentence(tmp_path, change, words):
    d = dict(images=[dict(id=1, file_name="a.png")], categories=[dict(CATEGORY)],
             annotations=[dict(id=1, image_id=1, category_id=1, bbox=[5, 5, 9, 9], keypoints=[1, 1, 2] * 3)])
    change(d)
    with pytest.raises(UserError, match=words) as e: read_coco_labels(written(tmp_path, d))
    assert "labels.json" in str(e.value)


# ---- changes ----

def test_nothing_changed_is_nothing_changed():
    a = people(n=8)
    found = changes(a, a)
    assert found.people == {"the same": 8, "changed": 0, "added": 0,
                            "removed": 0} and found.joints["the same"] == (a.vis > 0).sum() and not found.notes
    assert found.pictures == 5 and not len(found.moved) and not found.by_joint


def test_each_kind_of_change_is_counted():
    a = people(n=8)
    b = replace(a, xy=a.xy.copy(), vis=a.vis.copy())
    b.vis[:, 0] = a.vis[:, 0]
    b.xy[0, 0] += (3, 4)
    b.vis[1, 1], b.xy[1, 1] = 0, 0
    k = next(k for k in range(17) if a.vis[2, k] == 0)
    b.vis[2, k], b.xy[2, k] = 2, (30, 30)
    b.vis[3, 0] = 1
    b = b.subset(np.array([5, 4, 3, 2, 1, 0, 6]))        # another order, and one gone
    found = changes(a, b)
    assert found.people == {"the same": 3, "changed": 4, "added": 0, "removed": 1}
    assert (found.joints["moved"], found.joints["added"], found.joints["removed"],
            found.joints["seen or hidden"]) == (1, 1, 1, 1)
    assert found.moved.round(6).tolist() == [5.]
    assert changes(b, a).people["added"] == 1 and changes(b, a).people["removed"] == 0


def test_a_picture_that_is_not_in_the_second_file_removes_nobody():
    a = people(n=8)
    found = changes(a, a.only(a.files[:2]))
    assert found.pictures == 2 and found.people["removed"] == 0


def test_what_a_tool_does_to_everybody_is_named():
    a = people(n=8)
    order = list(range(16, -1, -1))
    sk = Skeleton("x", [COCO17.joints[k] for k in order], (), (), (.1,) * 17)
    b = replace(a, skeleton=sk, xy=a.xy[:, order].round(), vis=np.where(a.vis == 1, 2, a.vis)[:, order],
                area=a.box[:, 2] * a.box[:, 3])
    found = changes(a, b)
    assert {n.about for n in found.notes} == {"names", "whole", "area", "hidden"} and found.joints["moved"] == 0


def test_pictures_of_another_size_are_compared_in_px_of_the_first():
    a = people(n=4)
    b = replace(a, sizes=np.full((5, 2), (320, 600)), xy=a.xy * (3, 2), box=a.box * (3, 2, 3, 2), area=a.area * 6)
    found = changes(a, b)
    assert found.people["the same"] == 4 and [n.about for n in found.notes] == ["scale"]


def test_renamed_pictures_are_found():
    before = ["a/1.jpg", "b/1.jpg", "cat.png"]
    assert same_pictures(before, ["b/1.jpg", "a/1.jpg"]) == {0: 1, 1: 0}
    assert same_pictures(before, ["x/b/1.jpg", "deadbeef-cat.png"]) == {0: 1, 1: 2}
    assert same_pictures(before, ["1.jpg"]) == {}       # could be either


def test_other_pictures_or_joints_are_refused():
    a = people()
    with pytest.raises(UserError, match="none of its 5 pictures"): changes(a,
        replace(a, files=list("vwxyz"), source="b.json"))
    other = replace(a, skeleton=Skeleton("x", [f"q{k}" for k in range(17)], (), (), (.1,) * 17), source="b.json")
    with pytest.raises(UserError, match="none of its joints"): changes(a, other)
