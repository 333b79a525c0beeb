"""Laws of meaning: what files of labels hold together is read as it was meant, refused, or noted with a count."""
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from semipose.data import coco, core
from semipose.data.coco import (OUTLINES, copies, find_coco, part_of, read_coco, read_json, read_train_val,
                                to_coco, write_json)
from semipose.data.core import Crops
from semipose.data.pictures import Boxes, read_boxes, read_pictures
from semipose.data.reading import Reading, look_over, reading
from semipose.data.sets import read_any, read_any_train_val, read_any_unlabeled
from semipose.errors import UserError
from semipose.evaluate.coco import coco_eval, evaluate_results
from semipose.skeletons import COCO17, Skeleton

REAL = Path(__file__).resolve().parents[2] / "shared/data"
SAMPLE = Path(__file__).resolve().parent.parent / "data/sample"
real = pytest.mark.skipif(not REAL.is_dir(),
                          reason="the real data (shared/data beside the checkout) is not on this machine")
LAMP = dict(id=3, name="lamp", keypoints=["base", "elbow", "head", "left_rim", "right_rim"],
            skeleton=[[1, 2], [2, 3], [3, 4], [3, 5]])
SK = Skeleton.from_coco(LAMP)


def picture(path, size=(120, 160), seed=0, flag=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if flag:
        exif[0x0112] = flag
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path, exif=exif)


def lamps(n=12, sized=True, seed=0):
    "What a sound file holds: one lamp in each of `n` pictures, 160 px wide and 120 high"
    rng = np.random.default_rng(seed)
    corner, side = rng.integers(5, 60, (n, 2)), rng.integers(30, 55, (n, 2))
    xy = corner[:, None] + rng.uniform(.05, .95, (n, 5, 2)) * side[:, None]
    size = dict(width=160, height=120) if sized else {}
    notes = [dict(id=i + 1, image_id=i, category_id=3, iscrowd=0, bbox=[*map(int, corner[i]), *map(int, side[i])],
                  area=float(side[i].prod() * .5),
                  keypoints=[v for x, y in xy[i].round(1).tolist() for v in (x, y, 2)]) for i in range(n)]
    return dict(images=[dict(id=i, file_name=f"{i:02d}.png", **size) for i in range(n)], annotations=notes,
                categories=[dict(LAMP)])


def written(folder, d, name="labels.json", pictures=True, scale=1, seed=0):
    for i, o in enumerate(d["images"] if pictures else ()):
        picture(folder / "images" / o["file_name"], (120 // scale, 160 // scale), i + 100 * seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(d))
    return folder / name


def about(people, word):
    return [n for n in people.notes if n.about == word]


def fails(call, *words):
    with pytest.raises(UserError) as e:
        call()
    text = str(e.value)
    assert "\n" not in text and text.endswith((".", "?")) and not [w for w in words if w not in text], text
    return text


def test_the_sound_one_leaves_no_note(tmp_path):
    people = read_coco(written(tmp_path, lamps()), keep_all=True)
    assert people.notes == () == look_over(people) and len(people) == 12
    assert str(reading(train=people)) == "Read: 12 people in 12 pictures to train on."


# ---- JSON ----

NUMBERS = st.recursive(st.lists(st.integers(-9, 99) | st.floats(0, 99), max_size=4),
                       lambda inner: st.lists(inner, max_size=3), max_leaves=8)
SHAPES = NUMBERS | st.none() | st.fixed_dictionaries(dict(counts=st.text('[]{},":\\ segmentation', max_size=12),
                                                          size=st.just([4, 5])))
TEXT = st.text('[]{},":\\ x1', max_size=8) | st.sampled_from(['"segmentation": [[1, 2]],', "segmentation",
                                                              '\\"segmentation\\":[1]'])
FIELDS = st.dictionaries(TEXT, TEXT | NUMBERS, max_size=4)


@settings(max_examples=300, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(before=FIELDS, shape=SHAPES, after=FIELDS, indent=st.sampled_from([None, 1]))
def test_outlines_are_skipped_wherever_they_stand(tmp_path_factory, before, shape, after, indent):
    path = tmp_path_factory.getbasetemp() / "outlines.json"
    other = {k: v for k, v in (before | after).items() if not k.endswith("segmentation")}
    a = {**{k: other[k] for k in before if k in other}, "segmentation": shape,
         **{k: other[k] for k in after if k in other and k not in before}}
    d = dict(annotations=[a, dict(segmentation=shape), [a]])
    path.write_text(json.dumps(d, indent=indent))
    forget = lambda o: {k: v for k, v in o.items() if k != "segmentation"}
    assert read_json(path, forget, OUTLINES) == json.loads(path.read_text(), object_hook=forget)


@pytest.mark.parametrize("shape", ([[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]], [], [[]], [[[1, 2]], [3]],
                                   [[1.5, 2], [], [3e1]]))
def test_a_file_that_ends_in_outlines_is_read(tmp_path, shape):
    d = lamps()
    plain = read_coco(written(tmp_path, d))
    for a in d["annotations"]:
        a["segmentation"] = shape
    assert np.array_equal(read_coco(written(tmp_path, d, pictures=False)).xy, plain.xy)


@pytest.mark.parametrize("name, content, words", [
    ("a.csv", b"scorer,a,a,b\nbodyparts,nose,nose,tail\n", ("table", "keypoint file")),
    ("a.json", b"frame;x;y;v\n1;2;3;4\n", ("table",)),
    ("a.xml", b"<?xml version='1.0'?><annotations/>", ("XML", "COCO keypoints")),
    ("a.slp", b"\x89HDF\r\n\x1a\n" + bytes(99), ("HDF5", "sleap-io")),
    ("a.zip.json", b"PK\x03\x04" + bytes(99), ("zip", "unpack")),
    ("a.jpg", b"\xff\xd8\xff\xe0", ("picture",)),
    ("a.txt", b"0 0.5 0.5 0.1 0.2\n0 .1 .2 .3 .4\n", ("YOLO",)),
])
def test_another_kind_of_file_is_called_by_its_name(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    for call in (read_coco, read_any, lambda p: read_train_val(labels=p), read_boxes):
        assert "cut short" not in fails(lambda call=call: call(tmp_path / name), name, "is not JSON but", *words)
    if name[-4:] in coco.FOREIGN:
        fails(lambda: read_any(tmp_path), name, "COCO keypoint file")
    (tmp_path / "half.json").write_text(json.dumps(lamps())[:500])
    fails(lambda: read_coco(tmp_path / "half.json"), "cut short")


# ---- places, boxes, areas ----

def test_joints_at_the_origin_are_not_annotated(tmp_path):
    d = lamps()
    for i in (2, 5):
        d["annotations"][i]["keypoints"][3:6] = 0, 0, 2  # the box is elsewhere
    people = read_coco(written(tmp_path, d), keep_all=True)
    assert (people.vis[[2, 5], 1] == 0).all() and people.vis.sum() == 2 * 58
    (note,) = about(people, "origin")
    assert (note.count, note.of) == (2, 60) and "0.01" in note.text
    for a in d["annotations"]:
        a.update(bbox=[0, 0, 160, 120])  # a whole picture, as many tools have it: the corner is in every box
    # twice it may be true, and is said
    assert (read_coco(written(tmp_path, d, pictures=False)).vis[[2, 5], 1] == 2).all()
    assert "People with a joint at exactly (0, 0)" in about(read_coco(tmp_path / "labels.json"), "origin")[0].text
    d["annotations"][7]["keypoints"][6:9] = 0, 0, 1
    people = read_coco(written(tmp_path, d, pictures=False))
    assert people.vis[[2, 5, 7], [1, 1, 2]].tolist() == [0, 0, 0] and about(people, "origin")[0].count == 3


@pytest.mark.parametrize("what", ("bbox", "keypoints", "both"))
def test_shares_of_the_picture_are_refused(tmp_path, what):
    d = lamps(sized=False)
    for a in d["annotations"]:
        if what != "keypoints":
            a["bbox"] = [v / s for v, s in zip(a["bbox"], (160, 120, 160, 120))]
        if what != "bbox":
            a["keypoints"] = [v if i % 3 == 2 else v / (160, 120)[i % 3] for i, v in enumerate(a["keypoints"])]
    path = written(tmp_path, d)
    for keep_all in (False, True):
        fails(lambda keep_all=keep_all: read_coco(path, keep_all=keep_all), "between 0 and 1",
             '"bbox"' if what != "keypoints" else '"keypoints"', "width")
    if what != "keypoints":
        fails(lambda: read_boxes(path), "between 0 and 1")


@pytest.mark.parametrize("sized", (True, False))
def test_boxes_as_corners_are_refused(tmp_path, sized):
    d = lamps(sized=sized, n=20)
    for a in d["annotations"]:
        x, y, w, h = a["bbox"]
        a["bbox"] = [x + 40, y + 10, x + w + 40, y + h + 10]
        a["keypoints"] = [v if i % 3 == 2 else v + (40, 10)[i % 3] for i, v in enumerate(a["keypoints"])]
    path = written(tmp_path, d)
    fails(lambda: read_coco(path), "corners", "x2 - x1")
    fails(lambda: read_pictures(tmp_path / "images", SK, path), "corners", "x2 - x1")


def test_true_boxes_are_not_taken_for_corners():
    rng = np.random.default_rng(0)
    size = np.tile([120, 160], (400, 1))
    for grow in (1.0, 1.6):  # boxes with wide margins reach beyond their pictures too
        corner, side = rng.uniform(0, 60, (400, 2)), rng.uniform(20, 60, (400, 2))
        xy = corner[:, None] + rng.uniform(0, 1, (400, 9, 2)) * side[:, None]
        box = np.concatenate([corner - (grow - 1) * side / 2, side * grow], 1)
        assert not coco.are_corners(box, size, xy, np.full((400, 9), 2)) and not coco.are_corners(box, size)
    whole = np.tile([0.0, 0, 160, 120], (400, 1))  # crops of one person each: both readings are one
    assert not coco.are_corners(whole, size, xy, np.full((400, 9), 2))


def test_corners_of_people_who_fill_their_pictures():
    "few reach beyond, and joints keep to one side of boxes so read; joints that do so anyway (heads) raise no alarm"
    rng = np.random.default_rng(0)
    size = np.tile([120, 160], (400, 1))
    first, last = rng.uniform(2, 40, (400, 2)), np.array([160, 120]) - rng.uniform(18, 50, (400, 2))
    share, v = rng.uniform(0.1, 0.9, (400, 9, 2)), np.full((400, 9), 2)
    share[:, :2] = [[0.1, 0.1], [0.9, 0.9]]
    box, corners = np.concatenate([first, last - first], 1), np.concatenate([first, last], 1)
    xy = first[:, None] + share * (last - first)[:, None]
    assert (corners[:, :2] + corners[:, 2:] > size[:, ::-1] + 2).any(1).mean() < 0.5
    assert coco.are_corners(corners, size, xy, v) and not coco.are_corners(box, size, xy, v)
    heads = first[:, None] + share * [1, 0.3] * (last - first)[:, None]
    assert not coco.are_corners(box, size, heads, v)


def test_pictures_of_another_scale_are_refused(tmp_path):
    d = lamps(sized=False)
    assert len(read_coco(written(tmp_path / "sound", d))) == 12
    path = written(tmp_path / "small", d, scale=4)
    fails(lambda: read_coco(path), "outside their pictures", "scale")
    fails(lambda: read_train_val(labels=path), "outside their pictures")
    one = lamps(sized=False)
    one["annotations"][3].update(bbox=[150, 100, 100, 100])
    (note,) = about(read_coco(written(tmp_path / "one", one)), "scale")
    assert (note.count, note.of) == (1, 12)


def test_a_table_is_looked_over(tmp_path):
    from dataclasses import replace
    people = read_coco(written(tmp_path, lamps()))
    counted = lambda p: {n.about: n.count for n in look_over(p)}
    assert counted(replace(people, area=np.where(np.arange(12) < 3, 9e5,
                                                 people.area).astype(np.float32))) == dict(area=3)
    far = people.xy.copy()
    far[4] += 500
    wrong = look_over(replace(people, xy=far))
    assert [(n.about, n.count) for n in wrong] == [("joints", 1), ("joints", 5), ("joints", 5)]
    box = people.box.copy()
    box[6, 2:] = 900
    assert ("boxes", 1) in [(n.about, n.count) for n in look_over(replace(people, box=box))]


# ---- the camera's flag ----

def test_every_picture_is_turned_as_its_own_entry_says(tmp_path):
    "One entry without width and height must not change how the others are read"
    d = lamps(n=6)
    for i, o in enumerate(d["images"]):
        picture(tmp_path / "images" / o["file_name"], (160, 120), i, flag=6)  # on its side; labelled upright, 160 wide
    for k in ("width", "height"):
        del d["images"][2][k]
    (tmp_path / "labels.json").write_text(json.dumps(d))
    people = read_coco(tmp_path / "labels.json")
    assert people.sizes[[0, 1, 3, 4, 5]].tolist() == [[120, 160]] * 5 and people.upright
    assert all(people.picture(i).size == (160, 120) for i in range(6))
    (note,) = about(people, "camera")
    five, six = (f"{n} labelled as seen upright" in note.text for n in (5, 6))
    assert (note.count, note.of) == (6, 6) and five or six


@pytest.mark.parametrize("flag", (2, 3, 4))
@pytest.mark.parametrize("others", (None, "upright", "stored"))
def test_half_turns_follow_the_file_and_else_what_tools_show(tmp_path, flag, others):
    d = lamps(n=6)
    for i, o in enumerate(d["images"]):
        side = others is not None and i > 2
        picture(tmp_path / "images" / o["file_name"], (160, 120) if side and others == "upright" else (120, 160), i,
                flag=6 if side else flag)
    (tmp_path / "labels.json").write_text(json.dumps(d))
    people = read_coco(tmp_path / "labels.json")
    plain, turned = (core.read_picture(people.path(0), up).tobytes() for up in (False, True))
    assert people.upright == (others != "stored") and plain != turned
    assert people.picture(0).tobytes() == (turned if people.upright else plain)
    assert people.picture(4).size == (160, 120)
    assert "3 do not show it" in about(people, "camera")[0].text or others is None
    if others is None:  # as prediction on the same folder sees it
        bare_people = read_pictures(tmp_path / "images", SK)
        assert all(bare_people.picture(i).tobytes() == people.picture(i).tobytes() for i in range(6))


def test_boxes_show_how_a_picture_without_size_was_labelled(tmp_path):
    d = lamps(n=4, sized=False)
    for i, o in enumerate(d["images"]):
        picture(tmp_path / "images" / o["file_name"], (160, 120) if i else (120, 160), i, flag=6)
        # beyond 120 px: 160 is the width
        d["annotations"][i].update(bbox=[125, 20, 30, 40], keypoints=[130, 30, 2] * 5)
    (tmp_path / "labels.json").write_text(json.dumps(d))
    people = read_coco(tmp_path / "labels.json")
    assert people.upright and [people.picture(i).size for i in range(4)] == [(160, 120)] * 4
    assert people.sizes.tolist() == [[120, 160]] * 4


# ---- who is in two places ----

def test_a_picture_under_two_ids_is_in_one_part(tmp_path):
    d = lamps(n=20)
    again = [dict(o, id=o["id"] + 100) for o in d["images"]]
    d["annotations"] += [dict(a, id=a["id"] + 100, image_id=a["image_id"] + 100) for a in d["annotations"]]
    d["images"] += again
    train, val, _ = read_train_val(labels=written(tmp_path, d))
    assert not {p.file for p in train} & {p.file for p in val} and len(train) + len(val) == 40
    assert about(train, "twice")[0].count == 20


def test_two_pictures_of_one_name_are_not_one(tmp_path):
    d = lamps(n=6)
    d["images"] += [dict(o, id=o["id"] + 100) for o in d["images"]]
    d["annotations"] += [dict(a, id=a["id"] + 100, image_id=a["image_id"] + 100) for a in d["annotations"]]
    for video in ("a", "b"):
        for o in d["images"]:
            picture(tmp_path / "frames" / video / o["file_name"], seed=len(video))
    (tmp_path / "labels.json").write_text(json.dumps(d))
    for images in (None, tmp_path / "frames"):
        fails(lambda images=images: read_coco(tmp_path / "labels.json", images), "file_name", "00.png",
             "folder in front")
    for i, o in enumerate(d["images"]):
        o["file_name"] = f"{'ab'[i // 6]}/{o['file_name']}"
    (tmp_path / "labels.json").write_text(json.dumps(d))
    people = read_coco(tmp_path / "labels.json", tmp_path / "frames")
    assert len({p.file for p in people}) == 12 and all(people.path(i).exists() for i in range(12))
    other = lamps(n=6)
    other["images"].append(dict(other["images"][0], id=99, width=999))
    fails(lambda: read_coco(written(tmp_path / "c", other)), "different sizes")


def test_nobody_is_trained_on_whose_picture_is_validated_on(tmp_path):
    d = lamps(n=12)
    few = dict(d, images=d["images"][:4], annotations=d["annotations"][:4])
    a, b = written(tmp_path / "d", d, "train.json"), written(tmp_path / "d", few, "val.json", pictures=False)
    train, val, _ = read_train_val(tmp_path / "d")
    assert [p.file for p in train] == [f"{i:02d}.png"
                                       for i in range(4, 12)] and len(val) == 4 and about(train, "shared")[0].count == 4
    b.write_text(a.read_text())
    fails(lambda: read_train_val(tmp_path / "d"), "all 12 pictures", "validate")
    fails(lambda: read_train_val(labels=a, val=b), "all 12 pictures")
    shutil.copytree(tmp_path / "d/images", tmp_path / "e/images")  # copies, under other names
    for i, o in enumerate(few["images"]):
        shutil.move(tmp_path / "e/images" / o["file_name"], tmp_path / f"e/images/copy{i}.png")
    few = dict(few, images=[dict(o, file_name=f"copy{i}.png") for i, o in enumerate(few["images"])])
    train, val, _ = read_train_val(labels=a, val=written(tmp_path / "e", few, pictures=False))
    assert [p.file for p in train] == [f"{i:02d}.png" for i in range(4, 12)]
    both = lamps(n=12)
    for i in range(6):
        shutil.copy(tmp_path / "d/images" / f"{i:02d}.png", tmp_path / "d/images" / f"{i + 6:02d}.png")
    for seed in range(4):
        train, val, _ = read_train_val(labels=written(tmp_path / "d", both, pictures=False), seed=seed)
        assert not {int(p.file[:2]) % 6 for p in train} & {int(p.file[:2]) % 6 for p in val}


def test_blank_pictures_are_not_copies(tmp_path):
    for i in range(3):
        Image.new("RGB", (40, 30)).save(tmp_path / f"{i}.png")
        picture(tmp_path / f"{i}.jpg", seed=i)
    assert copies([*map(str, tmp_path.iterdir()), str(tmp_path / "none.png")]) == {}
    shutil.copy(tmp_path / "1.jpg", tmp_path / "9.jpg")
    assert copies(sorted(map(str, tmp_path.iterdir()))) == {str(tmp_path / "9.jpg"): str(tmp_path / "1.jpg")}


@pytest.mark.parametrize("train, val", [
    ("train.json", "validation.json"), ("labels.json", "test.json"),
    ("person_keypoints_train.json", "person_keypoints_validation.json"),
    ("annotations/person_keypoints_Train.json", "annotations/person_keypoints_Validation.json"),
    ("my_train.json", "my_dev.json"),
    ("train/_annotations.coco.json", "valid/_annotations.coco.json"),
    ("annotations/train.json", "annotations/test.json"), ("koitrain.json", "koival.json"),
])
def test_validation_goes_by_many_names(tmp_path, train, val):
    for name, seed, n in ((train, 1, 8), (val, 2, 5)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        d = lamps(n)
        for o in d["images"]:
            o["file_name"] = f"{seed}{o['file_name']}"
            picture(tmp_path / "images" / o["file_name"], seed=int(o["file_name"][:3]))
            if "/_" in name:
                picture((tmp_path / name).parent / o["file_name"], seed=int(o["file_name"][:3]))
        (tmp_path / name).write_text(json.dumps(d))
    assert [find_coco(tmp_path, s)[0].relative_to(tmp_path).as_posix() for s in ("train", "val")] == [train, val]
    a, b, note = read_any_train_val(tmp_path)
    assert (len(a), len(b)) == (8, 5) and Path(val).name in note and all(p.path(0).exists() for p in (a, b))


def test_a_validation_file_without_pictures_is_as_none(tmp_path):
    "as `semipose synth --val 0` wrote it once; where it is asked for by name, it is refused"
    d = lamps()
    written(tmp_path, d).rename(tmp_path / "person_keypoints_train.json")
    alone = read_train_val(tmp_path)
    (tmp_path / "person_keypoints_val.json").write_text(json.dumps(dict(d, images=[], annotations=[])))
    train, val, note = read_train_val(tmp_path)
    assert (train.ids.tolist(), val.ids.tolist(), note) == (alone[0].ids.tolist(), alone[1].ids.tolist(), alone[2])
    assert "person_keypoints_val.json, which lists no picture" in about(train, "unused")[0].text
    fails(lambda: read_train_val(tmp_path, val=tmp_path / "person_keypoints_val.json"), "person_keypoints_val.json",
         '"images" is empty')


def test_names_speak_of_parts():
    parts = dict(train2017="train", training="train", trainval=None, val2017="val", Validation="validation",
                 valley=None, latest=None, default=None)
    assert {k: part_of(k) for k in parts} == parts and part_of("person_keypoints_test-dev2017") == "dev"


def test_cvats_export_is_found(tmp_path):
    path = written(tmp_path / "annotations", lamps(), "person_keypoints_default.json", pictures=False)
    for o in lamps()["images"]:
        picture(tmp_path / "images/default" / o["file_name"], seed=o["id"])
    for split in ("train", "val"):
        assert find_coco(tmp_path, split) == (path, tmp_path / "images/default")
    train, val, note = read_any_train_val(tmp_path)
    assert len(train) + len(val) == 12 and "person_keypoints_default.json is the only file" in note
    assert train.path(0).exists()
    write_json(tmp_path / "annotations/person_keypoints_other.json", lamps())
    fails(lambda: find_coco(tmp_path, "train"), "person_keypoints_default.json", "person_keypoints_other.json",
         "pass one of them")


def test_backslashes_are_slashes_where_nothing_else_is_there(tmp_path):
    d = lamps(n=4)
    for o in d["images"]:
        o["file_name"] = f"a/{o['file_name']}"
    path = written(tmp_path, d)
    for o in d["images"]:
        o["file_name"] = o["file_name"].replace("/", "\\")
    path.write_text(json.dumps(d))
    people = read_coco(path, tmp_path / "images")
    assert people.files[0] == "a/00.png" and people.path(0).exists() and about(people, "names")[0].count == 4
    assert len(read_pictures(tmp_path / "images", SK, path)) == 4
    for i in range(4):
        shutil.copy(tmp_path / f"images/a/{i:02d}.png", tmp_path / f"images/a\\{i:02d}.png")  # a name can hold one
    assert read_coco(path, tmp_path / "images").files[0] == "a\\00.png"


# ---- outlines, ids ----

def outlined(d, crowd, **joints):
    for i, a in enumerate(list(d["annotations"])):
        x, y, w, h = a["bbox"]
        d["annotations"].append(dict(**joints, id=1000 + i, image_id=a["image_id"], category_id=3,
                                     bbox=[x - 1, y + 1, w + 1, h], area=9,
                                     iscrowd=crowd, segmentation=[[1, 2, 3, 4, 5, 6]]))
    return d


@pytest.mark.parametrize("joints", ({}, dict(keypoints=[]), dict(keypoints=None)))
@pytest.mark.parametrize("crowd", (0, 1))
def test_outlines_beside_joints_are_neither_people_nor_crowds(tmp_path, crowd, joints):
    d = lamps()
    plain = read_coco(written(tmp_path, d), keep_all=True)
    got = read_coco(written(tmp_path, outlined(lamps(), crowd, **joints), pictures=False), keep_all=True)
    assert got.ids.tolist() == plain.ids.tolist() and not got.crowd.any() and about(got, "outlines")[0].count == 12
    rng = np.random.default_rng(0)
    guess = plain.xy + rng.normal(0, 3, plain.xy.shape)
    guess[::3] += 60
    assert coco_eval(got, guess, np.ones((12, 5))) == coco_eval(plain, guess, np.ones((12, 5)))
    assert 0 < coco_eval(plain, guess, np.ones((12, 5)))["AP"] < .9


def test_true_crowds_and_people_without_joints_stay(tmp_path):
    d = lamps()
    d["annotations"] += [dict(id=100, image_id=0, category_id=3, bbox=[100, 60, 50, 50], area=9, iscrowd=1,
                              keypoints=[0] * 15),
                         dict(id=101, image_id=1, category_id=3, bbox=[110, 70, 40, 40], area=900, iscrowd=0)]
    every = read_coco(written(tmp_path, d), keep_all=True)
    assert every.crowd.sum() == 1 and set(every.ids) == {*range(1, 13), 100, 101}
    assert [(n.about, n.count) for n in every.notes] == [("outlines", 1)]
    assert "detections on them count neither way" in every.notes[0].text


def test_the_first_person_is_found_though_ids_count_from_0(tmp_path):
    d = lamps()
    for i, a in enumerate(d["annotations"]):
        a["id"] = i
    people = read_coco(written(tmp_path, d), keep_all=True)
    assert people.ids.tolist() == list(range(12))
    assert evaluate_results(people, perfect(people))["AP"] == pytest.approx(1)
    out = to_coco(people)
    assert [a["id"] for a in out["annotations"]] == list(range(1, 13))  # what we write serves every evaluation
    again = read_coco(written(tmp_path / "again", out), keep_all=True)
    assert np.array_equal(again.box, people.box) and to_coco(again)["annotations"] == out["annotations"]


def perfect(people):
    keys = np.concatenate([people.xy, np.ones((*people.xy.shape[:2], 1))], -1).reshape(len(people), -1).tolist()
    return [dict(image_id=int(people.image_ids[people.image[i]]), category_id=1, keypoints=k, score=1.)
            for i, k in enumerate(keys)]


def test_num_keypoints_and_more_may_be_missing(tmp_path):
    d = lamps()
    full = [dict(a, num_keypoints=5) for a in d["annotations"]]
    assert "num_keypoints" not in d["annotations"][0]
    for a in d["annotations"]:
        del a["iscrowd"]
    bare, filled = read_coco(written(tmp_path, d),
                           keep_all=True), read_coco(written(tmp_path / "t", dict(d, annotations=full)), keep_all=True)
    guess = perfect(bare)
    assert evaluate_results(bare, guess) == evaluate_results(filled, guess)
    assert evaluate_results(bare, guess)["AP"] == pytest.approx(1)


def test_sixteen_bits_of_a_matrix_do_not_run_over(tmp_path):
    "MPII and LSP store joints in whatever type is smallest: 1 is taken from them, and 0 - 1 is not 65535"
    scipy = pytest.importorskip("scipy.io")
    from semipose.data.lsp import read_lsp
    rng = np.random.default_rng(0)
    a = rng.integers(0, 250, (14, 3, 4))
    a[:, 2] = rng.integers(0, 2, (14, 4))
    for i in range(4):
        picture(tmp_path / f"images/im{i + 1:05d}.jpg", seed=i)
    got = {}
    for kind in (np.float64, np.int16, np.uint16, np.uint8):
        scipy.savemat(tmp_path / "joints.mat", dict(joints=a.astype(kind)))
        got[kind] = read_lsp(tmp_path / "joints.mat")
        for k in ("xy", "vis", "box", "area"):
            assert np.array_equal(getattr(got[kind], k), getattr(got[np.float64], k)), (kind, k)
    assert got[np.uint8].xy.max() <= 250 and got[np.uint8].xy.min() >= -1


# ---- boxes ----

def test_a_box_belongs_to_the_picture_of_its_whole_name(tmp_path):
    for cam in ("cam1", "cam2"):
        for i in range(3):
            picture(tmp_path / cam / f"{i}.png", seed=i)
    (tmp_path / "one.json").write_text(json.dumps({f"cam1/{i}.png": [[i, 0, 50, 50]] for i in range(3)}))
    (tmp_path / "both.json").write_text(json.dumps({f"{cam}/{i}.png": [[10 * c, i, 50, 50]]
                                                    for c, cam in enumerate(("cam1", "cam2")) for i in range(3)}))
    (tmp_path / "bare.json").write_text(json.dumps({f"{i}.png": [[i, 0, 50, 50]] for i in range(3)}))
    people = read_pictures(tmp_path, SK, tmp_path / "one.json")
    assert {p.file for p in people} == {f"cam1/{i}.png" for i in range(3)}
    for cam, x in (("cam1", 0), ("cam2", 10)):  # each folder by itself: its own name tells
        people = read_pictures(tmp_path / cam, SK, tmp_path / "both.json")
        assert people.box[:, 0].tolist() == [x] * 3 and people.box[:, 1].tolist() == [0, 1, 2]
    # those pictures are beside it
    fails(lambda: read_pictures(tmp_path / "cam2", SK, tmp_path / "one.json"), "none of its boxes")
    fails(lambda: read_pictures(tmp_path, SK, tmp_path / "bare.json"), "none of its boxes")  # either could be meant
    people = read_pictures(tmp_path / "cam2", SK, tmp_path / "bare.json")
    assert people.box[:, 0].tolist() == [0, 1, 2]
    far = {f"/elsewhere/{k}": v for k, v in json.loads((tmp_path / "both.json").read_text()).items()}
    (tmp_path / "far.json").write_text(json.dumps(far))
    assert len(read_pictures(tmp_path, SK, tmp_path / "far.json")) == 6  # labelled on another machine
    lone = {"elsewhere/7.png": [[1, 2, 30, 40]], "0.png": [[1, 2, 30, 40]], "x/9.png": [[1, 2, 3, 4]]}
    picture(tmp_path / "cam1/in/7.png")
    (tmp_path / "lone.json").write_text(json.dumps(lone))
    people = read_pictures(tmp_path, SK, tmp_path / "lone.json")
    assert [p.file for p in people] == ["cam1/in/7.png"] and [n.count for n in people.notes] == [1, 1]


def test_matching_is_fast_and_keeps_every_entry_whole():
    import time
    names = [f"{i % 7}/{i // 7}.png" for i in range(30000)]
    table, began = Boxes({n: dict(boxes=[[i, 0, 1, 1]], id=i, size=None)
                          for i, n in enumerate(names)}), time.perf_counter()
    assert [o["id"] for o in table.match(names, [f"/d/{n}" for n in names]).values()] == list(range(30000))
    far = Boxes({f"/elsewhere/{n}": o for n, o in table.items()})
    assert [o["id"] for o in far.match(names, [f"/d/{n}" for n in names]).values()] == list(range(30000))
    assert time.perf_counter() - began < 20


def detected(n=10):
    "People and balls, sure and not"
    d = lamps(n)
    d["categories"] = [dict(id=1, name="person"), dict(id=37, name="sports ball")]
    found = [(i, c, s) for i in range(n) for c, s in ((1, .9), (37, .9), (37, .8), (1, .001))]
    d["annotations"] = [dict(id=j, image_id=i, category_id=c, bbox=[5, 5, 50, 60], score=s)
                        for j, (i, c, s) in enumerate(found)]
    return d


def test_of_a_detectors_file_people_are_taken_and_the_rest_is_counted(tmp_path):
    path = written(tmp_path, detected())
    people = read_pictures(tmp_path / "images", COCO17, path)
    assert len(people) == 10 and sorted(n.count for n in people.notes) == [10, 20]
    assert len(read_any_unlabeled(tmp_path / "images", COCO17, path, min_score=0)) == 20
    listed = [dict(file_name=f"{a['image_id']:02d}.png", bbox=a["bbox"], score=a["score"], category_id=a["category_id"])
              for a in detected()["annotations"]]
    (tmp_path / "list.json").write_text(json.dumps(listed))
    assert len(read_pictures(tmp_path / "images", COCO17, tmp_path / "list.json")) == 10
    results = [dict(image_id=a["image_id"], category_id=a["category_id"], bbox=a["bbox"], score=a["score"])
               for a in detected()["annotations"]]
    (tmp_path / "results.json").write_text(json.dumps(results))
    people = read_any_unlabeled(tmp_path / "images", COCO17, tmp_path / "results.json", info=path)
    assert len(people) == 10 and [n.count for n in people.notes] == [10]
    d = detected()
    d["categories"] = [dict(id=1, name="cat"), dict(id=37, name="dog")]
    fails(lambda: read_boxes(written(tmp_path / "cats", d, pictures=False)), "cat", "dog", "keep one")
    # whose joints are learned
    assert len(read_pictures(tmp_path / "images", Skeleton("dog", ("nose",), (), (), (.1,)),
                             tmp_path / "cats/labels.json")) == 20
    for a in d["annotations"]:
        a["score"] = .1
    fails(lambda: read_boxes(written(tmp_path / "weak", dict(d, categories=[dict(id=1, name="person")]),
                                    pictures=False)), '"score"', "0.3")


def test_people_without_joints_are_people_without_labels(tmp_path):
    d = lamps(n=30)
    for a in d["annotations"][2:20]:
        a["keypoints"] = [0] * 15
    for a in d["annotations"][20:]:
        del a["keypoints"]
    d["annotations"].append(dict(d["annotations"][5], id=99, iscrowd=1))
    written(tmp_path, d)
    people = read_any_unlabeled(tmp_path, SK)
    assert len(people) == 30 and not people.vis.any() and len(Crops(people, (32, 24)).batch([0, 29])["image"]) == 2
    assert len(read_any(tmp_path)) == 2


# ---- the paragraph ----

def test_what_was_read_is_noted_and_kept(tmp_path, capsys):
    from semipose.protocols import Protocol
    from semipose.run import prepare, train
    d = lamps(n=16)
    for a in d["annotations"][:6]:
        a["area"] = 0
    d["annotations"][7]["bbox"] = []
    written(tmp_path / "d", d)
    (tmp_path / "d/old.csv").write_text("a,b\n")
    picture(tmp_path / "d/images/more.png")
    p = Protocol("small", "Small", labels=6, size=(32, 32), net="tiny", width=8, batch=(2, 2), steps=2, every=2,
                 start_steps=0)
    data = prepare(p, tmp_path / "d", 0)
    text = capsys.readouterr().out
    assert text.index("People: ") < text.index("Read: ") and "Area missing: 6 of 15" in text
    assert 'without "bbox", 1 of 16' in text
    assert "Seen and not used: old.csv" in text and "that no label names: 1 of 17" in text
    assert len(text.splitlines()) < 10
    train("supervised", p, data, tmp_path / "run", 0, device="cpu", progress=False)
    kept = Reading.load(tmp_path / "run/reading.json")
    assert str(kept) == str(data.reading) and str(kept) in text and kept.counts["train"]["people"] == len(data.train)
    (tmp_path / "run/reading.json").write_text("{}")
    fails(lambda: Reading.load(tmp_path / "run/reading.json"), "reading.json", "counts")


def test_unlabelled_pictures_that_are_validated_on_are_noted():
    train, val, _ = read_any_train_val(SAMPLE)
    assert reading(train=train, val=val).notes == ()
    assert [n.count for _, n in reading(train=train, val=val, unlabeled=val.unlabeled()).notes] == [16]


@real
@pytest.mark.parametrize("where, lines", [("lsp", 0), ("mirror-mouse", 1), ("coco-mini", 2), ("coco-small", 3),
                                          ("mocap/person_keypoints_val.json", 1),
                                          ("coco-eval/val2017-subset.json", 3)])
def test_real_files_raise_no_false_alarm(where, lines):
    place = REAL / where
    train, val, _ = read_any_train_val(*((None, place) if place.is_file() else (place,)))
    found = [n for _, n in reading(train=train, val=val).notes]
    assert {n.about for n in found} <= {"left out", "files", "pictures"}, [n.text for n in found]
    assert len(found) == lines, [n.text for n in found]
