"""Everything a user can get wrong with data: one sentence with file, field and remedy, and nothing half-written."""
import copy
import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from semipose.codecs import Gaussian
from semipose.data.coco import find_coco, read_coco, read_train_val
from semipose.data.core import Crops, hold_out
from semipose.data.pictures import parse_box, read_boxes, read_pictures
from semipose.data.streams import split_seeded
from semipose.errors import UserError
from semipose.photos import Inference, predict_photos
from semipose.skeletons import Skeleton, by_names

LAMP = dict(id=3, name="lamp", keypoints=["base", "elbow", "head", "left_rim", "right_rim"],
            skeleton=[[1, 2], [2, 3], [3, 4], [3, 5]])
KEYS = [3, 3, 2, 9, 9, 2, 12, 4, 1, 0, 0, 0, 15, 5, 2]
GOOD = dict(images=[dict(id=i, file_name=f"{i}.png", width=40, height=30) for i in range(3)],
            annotations=[dict(id=i, image_id=i, category_id=3, bbox=[2, 2, 15, 10], area=70, iscrowd=0, keypoints=KEYS)
                         for i in range(3)], categories=[LAMP])
SK = Skeleton.from_coco(LAMP)


@pytest.fixture
def mine(tmp_path):
    "labels.json and photos/ beside it, both sound"
    (tmp_path / "photos").mkdir()
    for i in range(3):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (30, 40, 3),
                                                          dtype=np.uint8)).save(tmp_path / f"photos/{i}.png")
    (tmp_path / "labels.json").write_text(json.dumps(GOOD))
    return tmp_path


def fails(call, *words):
    "The sentence, checked for what every sentence must have"
    with pytest.raises(UserError) as e:
        call()
    text = str(e.value)
    assert "\n" not in text and text.endswith((".", "?")) and len(text) < 700, text
    assert not [w for w in words if w not in text], f"{text!r} does not say {[w for w in words if w not in text]}"
    assert any(sign in text for sign in (";", ": ", "?")), f"{text!r} has no remedy"
    return text


def test_the_sound_one_is_read(mine):
    train, val, _ = read_train_val(labels=mine / "labels.json", share=0.3)
    assert (len(train), len(val)) == (2, 1) and len(Crops(train, (32, 24)).cache(progress=False)) == 2


# ---- one field of the JSON is wrong: where, what it becomes (KeyError: it is not there), what the sentence must name

A, I, C = ("annotations", 1), ("images", 1), ("categories", 0)
gone, nan = KeyError, float("nan")
FIELDS = {
    "images missing": (("images",), gone, '"images"'),
    "images a dict": (("images",), {}, '"images"'),
    "an image is text": (I, "1.png", '"images"', "entry 2"),
    "image id text": ((*I, "id"), "one", '"id"', '"images"'),
    "image id true": ((*I, "id"), True, '"id"'),
    "image id gone": ((*I, "id"), gone, '"id"'),
    "image ids twice": ((*I, "id"), 0, '"id"', '"images"'),
    "image id huge": ((*I, "id"), 10**30, '"id"'),
    "file_name gone": ((*I, "file_name"), gone, '"file_name"'),
    "file_name a number": ((*I, "file_name"), 5, '"file_name"', "5"),
    "file_name empty": ((*I, "file_name"), "", '"file_name"'),
    "height text": ((*I, "height"), "30", '"height"', "1.png"),
    "width negative": ((*I, "width"), -40, '"width"', "-40"),
    "width alone": ((*I, "height"), gone, '"height"'),
    "annotations null": (("annotations",), None, '"annotations"'),
    "an annotation is a list": (A, [1], '"annotations"', "entry 2"),
    "nobody": (("annotations",), [], "nobody", "keypoints"),
    "annotation id text": ((*A, "id"), "x", '"id"', "'x'"),
    "annotation id a list": ((*A, "id"), [], '"id"'),
    "annotation ids twice": ((*A, "id"), 0, '"id"', "annotation 0"),
    "image_id unknown": ((*A, "image_id"), 77, '"image_id"', "annotation 1"),
    "image_id text": ((*A, "image_id"), "1", '"image_id"', "annotation 1"),
    "image_id gone": ((*A, "image_id"), gone, '"image_id"'),
    "category unknown": ((*A, "category_id"), 9, '"category_id"', "9", "[3]"),
    "category a list": ((*A, "category_id"), [3], '"category_id"'),
    "box of three": ((*A, "bbox"), [1, 2, 3], '"bbox"', "4 numbers"),
    "box of text": ((*A, "bbox"), list("1234"), '"bbox"', "'1'"),
    "box is text": ((*A, "bbox"), "1234", '"bbox"', "'1234'"),
    "box a dict": ((*A, "bbox"), dict(x=1, y=2, w=3, h=4), '"bbox"'),
    "box with nan": ((*A, "bbox"), [nan, 2, 15, 10], '"bbox"'),
    "box endless": ((*A, "bbox"), [2, 2, float("inf"), 10], '"bbox"'),
    "box beyond float32": ((*A, "bbox"), [2, 2, 1e300, 10], '"bbox"'),
    "box with true": ((*A, "bbox"), [True, 2, 15, 10], '"bbox"', "True"),
    "box huge": ((*A, "bbox"), [2, 2, 10**400, 10], '"bbox"', "too large"),
    "box negative": ((*A, "bbox"), [2, 2, -15, 10], '"bbox"', "negative"),
    "box outside": ((*A, "bbox"), [41, 2, 15, 10], '"bbox"', "outside its picture"),
    "box below": ((*A, "bbox"), [2, 31, 15, 10], '"bbox"', "outside its picture"),
    "box above": ((*A, "bbox"), [2, -20, 15, 10], '"bbox"', "outside its picture"),
    "area text": ((*A, "area"), "70", '"area"', "'70'"),
    "area nan": ((*A, "area"), nan, '"area"'),
    "crowd text": ((*A, "iscrowd"), "no", '"iscrowd"', "0 or 1"),
    "joints short": ((*A, "keypoints"), KEYS[:12], '"keypoints"', "12 entries", "15 numbers"),
    "joints nested": ((*A, "keypoints"), [KEYS[:3]] * 15, '"keypoints"', "[3, 3, 2]"),
    "a joint is text": ((*A, "keypoints"), ["3", *KEYS[1:]], '"keypoints"', "'3'"),
    "a joint is null": ((*A, "keypoints"), [None, *KEYS[1:]], '"keypoints"', "None"),
    "a joint is nan": ((*A, "keypoints"), [nan, *KEYS[1:]], '"keypoints"', "without a place"),
    "v is 3": ((*A, "keypoints"), [3, 3, 3, *KEYS[3:]], '"keypoints"', "0, 1 or 2"),
    "v is a score": ((*A, "keypoints"), [3, 3, 0.9, *KEYS[3:]], '"keypoints"', "0, 1 or 2"),
    "categories empty": (("categories",), [], '"keypoints"'),
    "a category is text": (C, "lamp", '"categories"', "entry 1"),
    "category without joints": ((*C, "keypoints"), gone, '"keypoints"'),
    "joints' names one text": ((*C, "keypoints"), "base", "'keypoints'"),
    "a joint's name a number": ((*C, "keypoints"), ["a", "b", "c", "d", 5], "'keypoints'"),
    "a joint's name empty": ((*C, "keypoints"), ["a", "b", "c", "d", " "], "'joints'"),
    "a joint twice": ((*C, "keypoints"), ["a", "b", "c", "d", "a"], "'a' twice"),
    "joints that do not fit": ((*C, "keypoints"), ["a", "b", "c", "d"], '"keypoints"', "needs 12"),
    "limbs text": ((*C, "skeleton"), "all", "'skeleton'"),
    "flip unknown": ((*C, "flips"), [["left_rim", "rim"]], "'flips'", "'rim'"),
    "flip out of range": ((*C, "flips"), [[3, 5]], "'flips'", "0 to 4"),
    "flip used twice": ((*C, "flips"), [[3, 4], [4, 2]], "'flips'", "twice"),
    "flips a number": ((*C, "flips"), 4, "'flips'"),
    "sigmas too few": ((*C, "sigmas"), [0.1] * 4, "'sigmas'", "5 positive"),
    "sigma zero": ((*C, "sigmas"), [0.1] * 4 + [0], "'sigmas'"),
    "sigma text": ((*C, "sigmas"), ["a"] * 5, "'sigmas'"),
    "category id text": ((*C, "id"), "3", '"id"', "category"),
}


def spoilt(where, value):
    d = copy.deepcopy(GOOD)
    at = d
    for k in where[:-1]:
        at = at[k]
    if value is gone:
        del at[where[-1]]
    else:
        at[where[-1]] = value
    return d


@pytest.mark.parametrize("what", FIELDS)
def test_a_wrong_field_is_named(mine, what):
    where, value, *words = FIELDS[what]
    (mine / "labels.json").write_text(json.dumps(spoilt(where, value)))
    fails(lambda: read_coco(mine / "labels.json"), "labels.json", *words)


# ---- files, folders and calls

def text(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def two_kinds(p):
    crane = LAMP | dict(id=4, name="crane", keypoints=list("abcde"))
    (p / "two.json").write_text(json.dumps(GOOD | dict(categories=[LAMP, crane])))
    return p / "two.json"


def other_joints(p):
    return text(p / "v.json", json.dumps(spoilt((*C, "keypoints"), list("abcde"))))


def another_size(p):
    Image.new("RGB", (20, 20)).save(p / "photos/1.png")
    return Crops(read_coco(p / "labels.json"), (32, 24)).cache(progress=False)


def cut_short(p):
    (p / "photos/1.png").write_bytes((p / "photos/1.png").read_bytes()[:900])
    return Crops(read_coco(p / "labels.json"), (32, 24)).cache(progress=False)


def with_picture(p, content):
    text(p / "photos/1.png", content)
    return Crops(read_coco(p / "labels.json"), (32, 24)).cache(progress=False)


def boxes(p, content):
    return read_pictures(p / "photos", SK,
                         text(p / "boxes.json", content if isinstance(content, str) else json.dumps(content)))


class Blank(torch.nn.Module):
    def forward(self, x): return x.new_zeros(len(x), 5, 16, 12)


def see(p, *args, out=True, skeleton=SK, **kw):
    return predict_photos(Blank(), Gaussian(2.0, 4), (64, 48), skeleton, *args, out=p / "out" if out is True
                          else out, **kw)


CALLS = {
    "no such file": (lambda p: read_coco(p / "none.json"), "none.json", "no such file"),
    "a folder": (lambda p: read_coco(p), "is a folder"),
    "a file inside a file": (lambda p: read_coco(p / "labels.json/x.json"), "x.json", "cannot be read"),
    "empty": (lambda p: read_coco(text(p / "e.json", "")), "e.json", "empty"),
    "blank": (lambda p: read_coco(text(p / "e.json", " \n")), "e.json", "empty"),
    "not JSON": (lambda p: read_coco(text(p / "t.json", "{'images': [")), "t.json", "not JSON"),
    "binary": (lambda p: read_coco(text(p / "b.json", b"\xff\xd8\xff\xe0")), "b.json", "not JSON"),
    "too deep": (lambda p: read_coco(text(p / "d.json", "[" * 10**5)), "d.json", "not JSON"),
    "a list": (lambda p: read_coco(text(p / "l.json", "[1]")), "l.json", "not a COCO"),
    "a number": (lambda p: read_coco(text(p / "n.json", "7")), "n.json", "not a COCO"),
    "null": (lambda p: read_coco(text(p / "n.json", "null")), "n.json", "not a COCO"),
    "two kinds with joints": (lambda p: read_coco(two_kinds(p)), "two.json", "lamp, crane"),
    "categories with one id": (
        lambda p: read_coco(text(p / "c.json", json.dumps(GOOD | dict(categories=[LAMP, dict(id=3, name="x")])))),
        "c.json", '"categories"', '"id"'),
    "picture folder missing": (lambda p: read_coco(p / "labels.json", p / "nowhere"), "nowhere", "0.png"),
    "picture folder empty": (lambda p: (p / "x").mkdir() or read_coco(p / "labels.json", p / "x"), "x", "0.png"),
    "data folder missing": (lambda p: find_coco(p / "nowhere"), "nowhere", "no such data folder"),
    "data folder without labels": (lambda p: find_coco(p / "photos"), "photos", "person_keypoints_train.json"),
    "nothing asked": (lambda p: read_train_val(), "labels", "data"),
    "a share of 1": (lambda p: read_train_val(labels=p / "labels.json", share=1), "share=1"),
    "one labelled picture": (lambda p: hold_out(read_coco(p / "labels.json").subset([0])), "1 picture", "two or more"),
    "other joints in validation": (lambda p: read_train_val(labels=p / "labels.json", val=other_joints(p)), "v.json",
                                   "same joints"),
    "sigmas of wrong number": (lambda p: read_coco(p / "labels.json", sigmas=[0.1] * 3), "labels.json", "'sigmas'",
                               "5 positive"),
    "sigmas negative": (lambda p: read_coco(p / "labels.json", sigmas=-0.1), "labels.json", "'sigmas'"),
    "flips unknown": (lambda p: read_coco(p / "labels.json", flips=[("left_rim", "nose")]), "labels.json", "'nose'"),
    "a limb by an unknown name": (lambda p: by_names("lamp", ["a", "b"], "a-c"), "'limbs'", "'c'"),
    "more labels than people": (lambda p: split_seeded(read_coco(p / "labels.json"), 4), "labels=4", "3 people"),
    "no labels": (lambda p: split_seeded(read_coco(p / "labels.json"), 0), "labels=0"),
    "picture gone": (lambda p: (p / "photos/1.png").unlink()
                     or Crops(read_coco(p / "labels.json"), (32, 24)).cache(progress=False), "1.png", "file_name"),
    "picture cut short": (cut_short, "1.png", "cannot be read"),
    "picture without bytes": (lambda p: with_picture(p, b""), "1.png", "not a picture"),
    "picture is text": (lambda p: with_picture(p, "hello"), "1.png", "not a picture"),
    "picture of another size": (another_size, "1.png", "20 px wide", "40 x 30", '"width"'),
    "unlabelled folder missing": (lambda p: read_pictures(p / "nowhere", SK), "nowhere", "no such folder"),
    "unlabelled folder empty": (lambda p: (p / "x").mkdir() or read_pictures(p / "x", SK), "x", "jpg"),
    "unlabelled not a picture": (lambda p: text(p / "photos/1.png", "x") and read_pictures(p / "photos", SK), "1.png",
                                 "not a picture"),
    "unlabelled empty": (lambda p: text(p / "photos/9.jpg", "") and read_pictures(p / "photos", SK), "9.jpg", "empty"),
    "boxes missing": (lambda p: read_boxes(p / "none.json"), "none.json", "no such file"),
    "boxes a number": (lambda p: boxes(p, 3), "boxes.json", "file_name"),
    "boxes none": (lambda p: boxes(p, []), "boxes.json", "no box"),
    "boxes without names": (lambda p: boxes(p, [dict(image_id=1, bbox=[1, 2, 3, 4])]), "boxes.json", '"file_name"'),
    "boxes of three": (lambda p: boxes(p, {"0.png": [[1, 2, 3]]}), "boxes.json", "0.png", "width"),
    "boxes flat": (lambda p: boxes(p, {"0.png": [1, 2, 0, 4]}), "boxes.json", "0.png", "no inside"),
    "boxes of text": (lambda p: boxes(p, {"0.png": [["1", "2", "3", "4"]]}), "boxes.json", "0.png"),
    "boxes nan": (lambda p: boxes(p, '{"0.png": [NaN, 2, 3, 4]}'), "boxes.json", "0.png"),
    "boxes outside": (lambda p: boxes(p, {"0.png": [50, 2, 3, 4]}), "boxes.json", "0.png", "outside", "40 px wide"),
    "boxes of other pictures": (lambda p: boxes(p, {"cat.png": [1, 2, 3, 4]}), "boxes.json", "cat.png", "file_name"),
    "boxes not lists": (lambda p: boxes(p, {"0.png": "all"}), "boxes.json", "0.png"),
    "boxes of no image": (lambda p: boxes(p, dict(images=[], annotations=[dict(image_id=1, bbox=[1, 2, 3, 4])])),
                          "boxes.json", '"image_id"'),
    "boxes' images wrong": (lambda p: boxes(p, dict(images=[1], annotations=[])), "boxes.json", '"images"'),
    "boxes on the picture as stored": (
        lambda p: boxes(p, GOOD | dict(images=[dict(o, width=30, height=40) for o in GOOD["images"]])),
        "boxes.json", '"height"', "upright"),
    "--box of three": (lambda p: parse_box("1,2,3"), "--box 1,2,3", "x,y,width,height"),
    "--box of words": (lambda p: parse_box("left"), "--box left"),
    "--box flat": (lambda p: parse_box("1,2,3,0"), "--box", "no inside"),
    "--box nan": (lambda p: parse_box("nan,2,3,4"), "--box"),
    "--box too many": (lambda p: parse_box("1,2,3,4,5"), "--box"),
    "box outside the photo": (lambda p: see(p, p / "photos/0.png", [90, 0, 5, 5]), "outside"),
    "no such photo": (lambda p: see(p, p / "nowhere.jpg"), "nowhere.jpg"),
    "neither photo nor video": (lambda p: see(p, p / "labels.json"), "labels.json", "neither"),
    "nothing to look at": (lambda p: see(p, []), "nothing"),
    "results over a file": (lambda p: see(p, p / "photos", out=p / "labels.json"), "labels.json", "is a file"),
    "results over something": (lambda p: see(p, p / "photos", out=p / "photos"), "photos", "not empty"),
    "networks of another skeleton": (lambda p: see(p, p / "photos", skeleton=by_names("two", ["a", "b"], "a-b")),
                                     "5 joints", "two has 2"),
    "every 0th frame": (lambda p: see(p, p / "photos", how=Inference(every=0)), "every=0"),
    "joints of another skeleton": (lambda p: see(p, p / "photos", how=Inference(joints=[True] * 4)), "joints", "5"),
}


@pytest.mark.parametrize("what", CALLS)
def test_a_wrong_call_is_an_error(mine, what):
    call, *words = CALLS[what]
    fails(lambda: call(mine), *words)
    assert not (mine / "out").exists() and not [p for p in mine.rglob(".*")]  # nothing half-written


UNFINISHED = {  # one annotation is: where, what it becomes; what the note must name
    "box gone": (("bbox",), gone, '"bbox"'),
    "box empty": (("bbox",), [], '"bbox"'),
    "box null": (("bbox",), None, '"bbox"'),
    "box flat": (("bbox",), [2, 2, 0, 10], '"bbox"'),
    "joints gone": (("keypoints",), gone, "without joints"),
    "joints empty": (("keypoints",), [], "without joints"),
    "joints null": (("keypoints",), None, "without joints"),
    "joints unknown": (("keypoints",), [0] * 15, "without annotated joints"),
}


@pytest.mark.parametrize("what", UNFINISHED)
def test_an_unfinished_annotation_is_left_out_and_counted(mine, what):
    where, value, word = UNFINISHED[what]
    (mine / "labels.json").write_text(json.dumps(spoilt((*A, *where), value)))
    people, every = read_coco(mine / "labels.json"), read_coco(mine / "labels.json", keep_all=True)
    assert people.ids.tolist() == every.subset(every.posed).ids.tolist() == [0, 2]
    assert [n.count for n in people.notes if word in n.text] == [1]
    train, val, _ = read_train_val(labels=mine / "labels.json", share=.3)
    assert sorted([*train.ids, *val.subset(val.posed).ids]) == [0, 2]
    d = copy.deepcopy(GOOD)
    for a in d["annotations"]:
        a.pop(where[0], None) if value is gone else a.update({where[0]: value})
    (mine / "labels.json").write_text(json.dumps(d))
    fails(lambda: read_coco(mine / "labels.json"), "labels.json")  # where all are so, it is no data


def test_there_are_enough_of_them():
    assert len(FIELDS) + len(CALLS) >= 110


# ---- whatever happens to a file

VALUES = st.sampled_from([None, True, -1, 0, 1, 3, 10**25, 1.5, nan, float("inf"), 1e300, "", "x", "3", [], [1],
                          [[1, 2]], {}, dict(id=1), "0.png", [0] * 15, ["a"] * 5])


def places(d, at=()):
    "Every place inside a JSON value"
    yield at
    for k, v in d.items() if isinstance(d, dict) else enumerate(d) if isinstance(d, list) else ():
        yield from places(v, (*at, k))


@settings(max_examples=200, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_mutated_file_is_read_or_an_error(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "mutated"
    folder.mkdir(exist_ok=True)
    d = copy.deepcopy(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        everywhere = [at for at in places(d) if at]
        if not everywhere:
            break
        *way, last = data.draw(st.sampled_from(everywhere))
        at = d
        for k in way:
            at = at[k]
        kind = data.draw(st.sampled_from(["replace", "replace", "delete", "double"]))
        if kind == "delete":
            del at[last]
        elif kind == "double" and isinstance(at, list):
            at.append(copy.deepcopy(at[last]))
        else:
            at[last] = copy.deepcopy(data.draw(VALUES))
    (folder / "labels.json").write_text(json.dumps(d))
    for keep_all in (False, True):
        try:
            people = read_coco(folder / "labels.json", keep_all=keep_all)
        except UserError as e:
            assert "labels.json" in str(e) and "\n" not in str(e)
        else:
            assert np.isfinite(people.box).all() and np.isfinite(people.xy).all()
            assert not len(people) or len(people.vis[0]) == len(people.skeleton)
            assert (people.image >= 0).all() and (people.image < len(people.files)).all()
            assert np.isfinite(people.area).all()
    try:
        assert all(len(b) == 4 for o in read_boxes(folder / "labels.json").values() for b in o["boxes"])
    except UserError as e:
        assert "labels.json" in str(e)
