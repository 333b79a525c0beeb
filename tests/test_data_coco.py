"""Laws of reading and writing COCO: what is written is read, in COCO's order; what is wrong is said in one sentence."""
import json
from pathlib import Path

import numpy as np
import pytest

from semipose.data.coco import (find_coco, read_coco, read_detections, read_train_val, slim, to_coco,
                                write_coco, write_json)
from semipose.data.core import Crops, People
from semipose.errors import UserError
from semipose.skeletons import COCO17, LSP14

REAL = Path(__file__).resolve().parents[2] / "shared/data"
real = pytest.mark.skipif(not REAL.is_dir(),
                          reason="the real data (shared/data beside the checkout) is not on this machine")


@pytest.fixture
def folk():
    rng = np.random.default_rng(0)
    vis = rng.integers(0, 3, (6, 17)).astype(np.uint8)
    vis[4] = 0  # nobody's joints
    xy = (rng.integers(0, 4000, (6, 17, 2)) / 100).astype(np.float32) * (vis > 0)[..., None]
    box = (rng.integers(100, 4000, (6, 4)) / 100).astype(np.float32)
    crowd = np.array([0, 0, 1, 0, 0, 0], bool)
    return People(COCO17, Path("."), ["a.jpg", "b.jpg", "c.jpg"], np.array([0, 0, 1, 1, 2, 2]), np.array([30, 10, 20]),
                  np.arange(6) + 7,
                  box, xy, vis, (box[:, 2] * box[:, 3] * 50).round() / 100, crowd)


def pictures(n=3):
    return [np.full((40 + i, 50, 3), 60 * i, np.uint8) for i in range(n)]


def test_what_is_written_is_read(tmp_path, folk):
    path = write_coco(tmp_path, "val", folk, pictures())
    assert find_coco(tmp_path, "val") == (path, tmp_path / "images/val")
    got = read_coco(*find_coco(tmp_path, "val"), keep_all=True)
    assert got.skeleton == COCO17 and got.files == folk.files and got.sizes.tolist() == [[40, 50], [41, 50], [42, 50]]
    for k in ("image", "image_ids", "ids", "vis", "crowd"):
        assert np.array_equal(getattr(got, k), getattr(folk, k)), k
    for k in ("box", "xy", "area"):
        assert np.allclose(getattr(got, k), getattr(folk, k), atol=0.006), k
    crop = Crops(got, (32, 24)).batch([5, 0])  # the pictures are there
    assert crop["image"].shape == (2, 3, 48, 36)
    assert read_coco(path).folder == tmp_path / "images/val"  # found without being told


def test_unannotated_joints_have_no_place(tmp_path, folk):
    folk.xy[folk.vis == 0] = 99
    d = to_coco(folk)
    keys = np.array([a["keypoints"] for a in d["annotations"]]).reshape(6, 17, 3)
    assert (keys[..., :2][keys[..., 2] == 0] == 0).all()  # neither on paper
    for a in d["annotations"]:
        a["keypoints"] = [99 if i % 3 < 2 and not a["keypoints"][i // 3 * 3 + 2] else v
                          for i, v in enumerate(a["keypoints"])]
    (tmp_path / "x.json").write_text(json.dumps(d))
    got = read_coco(tmp_path / "x.json", keep_all=True)
    # nor in memory, where another tool wrote something
    assert (got.xy[got.vis == 0] == 0).all() and (got.xy[got.vis > 0] != 0).any()


def test_training_leaves_out_crowds_and_people_without_joints(tmp_path, folk):
    path = write_coco(tmp_path, "train", folk)
    assert read_coco(path).ids.tolist() == [7, 8, 10, 12]
    few = int((folk.vis[0] > 0).sum())
    assert read_coco(path, min_joints=few
                     + 1).ids.tolist() == [i for i, v in zip(folk.ids, folk.vis) if (v > 0).sum() > few and i != 9]


def test_people_come_in_cocos_order(tmp_path, folk):
    d = to_coco(folk)
    d["annotations"] = [d["annotations"][i] for i in (5, 2, 1, 4, 0, 3)]
    (tmp_path / "x.json").write_text(json.dumps(d))
    # by picture as listed in "images", then as the annotations are listed
    assert read_coco(tmp_path / "x.json", keep_all=True).ids.tolist() == [8, 7, 9, 10, 12, 11]


def test_joints_stay_with_their_person_and_picture(tmp_path, folk):
    d = to_coco(folk)
    d["annotations"].reverse()
    (tmp_path / "x.json").write_text(json.dumps(d))
    got = read_coco(tmp_path / "x.json", keep_all=True)
    for p in got:
        (i,) = np.flatnonzero(folk.ids == p.id)
        assert np.allclose(p.xy, folk.xy[i], atol=0.006) and p.image_id == folk[i].image_id and p.file == folk[i].file


def spoil(d, where, key, value):
    for k in where:
        d = d[k]
    if value is KeyError:
        del d[key]
    else:
        d[key] = value


A = ("annotations", 3)
DEFECTS = {  # where, field, value, what the sentence must name
    "no joints in the category": (("categories", 0), "keypoints", KeyError,
                                  ["keypoints", "17 joints", "coco17 or ap10k17"]),
    "no annotations": ((), "annotations", KeyError, ['"annotations"']),
    "no categories": ((), "categories", 3, ['"categories"']),
    "a picture without name": (("images", 1), "file_name", KeyError, ['"images"', '"file_name"']),
    "pictures with one id": (("images", 1), "id", 30, ['"images"', '"id"']),
    "too few joints": (A, "keypoints", [1, 2, 2] * 14, ["annotation 10", '"keypoints"', "51"]),
    "joints are text": (A, "keypoints", "none", ["annotation 10", '"keypoints"']),
    "v is a score": (A, "keypoints", [1, 2, 0.7] * 17, ["annotation 10", '"keypoints"', "0, 1 or 2"]),
    "a box of three": (A, "bbox", [1, 2, 3], ["annotation 10", '"bbox"', "3 entries"]),
    "a negative box": (A, "bbox", [1, 2, -3, 30], ["annotation 10", '"bbox"', "negative"]),
    "a missing picture": (A, "image_id", 77, ["annotation 10", '"image_id"', '"images"']),
    "no picture": (A, "image_id", KeyError, ['"image_id"']),
    "ids that repeat": (A, "id", 8, ["annotation 8", '"id"']),
}


@pytest.mark.parametrize("what", DEFECTS)
def test_a_defect_is_one_sentence_with_file_field_and_remedy(tmp_path, folk, what):
    where, key, value, named = DEFECTS[what]
    d = to_coco(folk)
    spoil(d, where, key, value)
    (tmp_path / "mine.json").write_text(json.dumps(d))
    with pytest.raises(UserError) as e:
        read_coco(tmp_path / "mine.json")
    message = str(e.value)
    assert "mine.json" in message and "\n" not in message and message.endswith(".")
    assert len(message.replace(str(tmp_path), "")) < 260
    assert all(n in message for n in named), message
    assert ";" in message or ":" in message  # the remedy


def test_other_defects(tmp_path, folk):
    (tmp_path / "text.json").write_text("{'images': ...")
    (tmp_path / "list.json").write_text("[1, 2]")
    for path, message in [("missing.json", "no such file"), ("text.json", "not JSON"), ("list.json", "not a COCO"),
                       ("", "is a folder")]:
        with pytest.raises(UserError, match=message):
            read_coco(tmp_path / path)
    path = write_coco(tmp_path, "train", folk, pictures())
    with pytest.raises(UserError, match="17 joints and the skeleton .* 14"):
        read_coco(path, skeleton=LSP14)
    with pytest.raises(UserError, match="no such picture folder"):
        read_coco(path, tmp_path / "nowhere")
    assert read_coco(path, tmp_path).folder == tmp_path / "images/train"  # inside the folder given
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(UserError, match='does not hold "a.jpg"'):
        read_coco(path, tmp_path / "elsewhere")
    with pytest.raises(UserError, match="nobody in it has 18"):
        read_coco(path, min_joints=18)
    two = to_coco(folk)
    two["categories"] = [two["categories"][0] | dict(id=i, name=n, keypoints=two["categories"][0]["keypoints"][i:])
                         for i, n in enumerate(("cat", "dog"))]
    (tmp_path / "two.json").write_text(json.dumps(two))
    with pytest.raises(UserError, match="cat, dog"):
        read_coco(tmp_path / "two.json")


@pytest.mark.parametrize("area", (KeyError, None, 0, -3, .3, 1))
def test_a_missing_area_is_filled_for_everybody_alike_and_noted(tmp_path, folk, area):
    d = to_coco(folk)
    spoil(d, ("annotations", 0), "area", area)
    (tmp_path / "x.json").write_text(json.dumps(d))
    train, every = read_coco(tmp_path / "x.json"), read_coco(tmp_path / "x.json", keep_all=True)
    assert np.allclose(every.area, [.53 * folk.box[0, 2:].prod(), *folk.area[1:]],
                       atol=.1) and train.area[0] == every.area[0]
    (note,) = (n for n in every.notes if n.about == "area")
    assert (note.count, note.of) == (1, 6) and "0.53 of the box" in note.text
    assert ("or less" in note.text) == (area not in (None, KeyError))
    if area in (None, KeyError):
        with pytest.raises(UserError, match='annotation 7 has no "area"'):
            read_coco(tmp_path / "x.json", keep_all=True, fill=None)


def test_other_categories_are_left_alone(tmp_path, folk):
    d = to_coco(folk)
    d["categories"].append(dict(id=2, name="dog"))
    d["annotations"] += [dict(id=99, image_id=30, category_id=2, bbox=[0, 0, 1, 1])]
    (tmp_path / "x.json").write_text(json.dumps(d))
    assert 99 not in read_coco(tmp_path / "x.json", keep_all=True).ids


@pytest.mark.parametrize("json_name, images", [
    ("person_keypoints_val.json", "images"),
    ("person_keypoints_val.json", "images/val"),
    ("person_keypoints.json", "images"),
    ("annotations/person_keypoints_val2017.json", "val2017"),
    ("annotations/person_keypoints_val2017.json", "images/val2017"),
    ("annotations/person_keypoints_val.json", "images/val"),
])
def test_layouts_are_found(tmp_path, folk, json_name, images):
    (tmp_path / images).mkdir(parents=True)
    (tmp_path / images / "a.jpg").touch()
    path = tmp_path / json_name
    path.parent.mkdir(exist_ok=True)
    write_json(path, to_coco(folk))
    assert find_coco(tmp_path, "val") == (path, tmp_path / images)
    assert find_coco(path, "val") == (path, tmp_path / images)
    assert read_coco(path).folder == tmp_path / images


def test_a_split_that_is_not_there_is_an_error(tmp_path, folk):
    write_coco(tmp_path, "train", folk)
    with pytest.raises(UserError, match='no "val" people .*person_keypoints_val.json'):
        find_coco(tmp_path, "val")
    with pytest.raises(UserError, match="no such data folder"):
        find_coco(tmp_path / "nowhere", "val")


def test_json_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, [1])
    with pytest.raises(TypeError):
        write_json(path, [2, {3}])  # a set has no JSON

    def full(*_):
        raise OSError(28, "no space left")
    monkeypatch.setattr("semipose.files.os.replace", full)
    with pytest.raises(UserError, match="The disk is full.*the older one is kept"):
        write_json(path, [2])
    assert json.loads(path.read_text()) == [1] and [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_the_annotations_come_after_the_pictures(tmp_path, folk):
    with pytest.raises(ValueError):
        write_coco(tmp_path, "train", folk, pictures(2))  # one picture is missing
    assert not list(tmp_path.glob("*.json"))


LAMP = dict(id=3, name="lamp", keypoints=["base", "elbow", "head", "left_rim", "right_rim"],
            skeleton=[[1, 2], [2, 3], [3, 4], [3, 5]])


def lamps(folder, name="labels.json", n=10, pictures="photos", **changes):
    "A labelling tool's export: no area, no sigmas, no flips, two lamps in a picture"
    images = [dict(id=i, file_name=f"{i}.png", width=40, height=30) for i in range(n)]
    keys = [[x, 3, 2, x + 6, 9, 2, x + 9, 4, 1, 0, 0, 0, x + 12, 5, 2] for x in (3, 18)]
    notes = [dict(id=i, image_id=i // 2, category_id=3, bbox=[2 + 15 * (i % 2), 2, 15, 10], keypoints=keys[i % 2])
             for i in range(2 * n)]
    (folder / pictures).mkdir(parents=True, exist_ok=True)
    for o in images:
        from PIL import Image
        Image.new("RGB", (40, 30), (20 * o["id"], 99, 99)).save(folder / pictures / o["file_name"])
    (folder / name).write_text(json.dumps(dict(images=images, annotations=notes, categories=[LAMP | changes])))
    return folder / name


def test_one_file_of_labels_anywhere_becomes_two_sets(tmp_path):
    labels = lamps(tmp_path / "a")
    labels = labels.rename(tmp_path / "labels of mine.json")
    train, val, note = read_train_val(tmp_path / "a/photos", labels, share=.3, seed=2)
    assert (len(train), len(val)) == (14, 6) and not set(train.image) & set(val.image)
    assert "6 of its 20 labelled people (3 pictures, a choice with seed 2)" in note and "labels of mine.json" in note
    assert train.skeleton.name == "lamp" and train.skeleton.flips == ((3, 4),)
    assert train.skeleton.sigmas == (.05, .05, .026, .05, .05)
    assert np.allclose(val.area, .53 * 150) and Crops(train, (32, 24)).batch([0, 13])["image"].shape[0] == 2
    # the pictures are inside the folder that is given
    again = read_train_val(tmp_path / "a", labels, share=.3, seed=2)[0]
    assert again.ids.tolist() == train.ids.tolist() and again.folder == train.folder
    other = read_train_val(tmp_path / "a", labels, share=.3, seed=3)[1]
    assert other.ids.tolist() != val.ids.tolist()


def test_two_files_of_labels_stay_two(tmp_path):
    a, b = lamps(tmp_path / "a", n=4), lamps(tmp_path / "b", "val.json", n=3)
    train, val, note = read_train_val(labels=a, val=b)
    assert (len(train), len(val), train.folder,
            val.folder) == (8, 6, tmp_path / "a/photos", tmp_path / "b/photos") and "val.json" in note
    lamps(tmp_path / "c", "val.json", keypoints=["1", "2", "3", "4", "5"])
    with pytest.raises(UserError, match="val.json.*same joints"):
        read_train_val(labels=a, val=tmp_path / "c/val.json")


def test_what_is_passed_goes_before_what_the_file_says(tmp_path):
    people = read_train_val(labels=lamps(tmp_path, sigmas=[.1] * 5), sigmas=.04, flips=[("right_rim", "left_rim")])[0]
    assert set(people.skeleton.sigmas) == {.04} and people.skeleton.flips == ((4, 3),)


@pytest.mark.parametrize("pictures", ["photos", ".", "images", "images/labels", "labels"])
def test_a_lone_file_of_any_name_is_found_with_its_pictures(tmp_path, pictures):
    path = lamps(tmp_path, pictures=pictures)
    assert read_coco(*find_coco(tmp_path, "train")).path(0).exists()
    assert find_coco(tmp_path, "val")[0] == path and read_train_val(tmp_path)[0].path(0).exists()
    (tmp_path / "more.json").write_text("{}")
    with pytest.raises(UserError, match="labels.json, more.json"):
        find_coco(tmp_path, "train")


@real
def test_leeds_sports_pose_has_twelve_joints():
    train, val = (read_coco(*find_coco(REAL / "lsp", s)) for s in ("train", "val"))
    assert (len(train), len(val)) == (3217, 412) and train.skeleton == COCO17
    assert train.supervised.tolist() == [False] * 5 + [True] * 12 and train.path(0).exists() and val.path(0).exists()


@real
def test_coco_itself_is_read_as_documented():
    mini = read_coco(*find_coco(REAL / "coco-mini", "val"))
    assert (len(mini), len(mini.files)) == (167, 72) and all(mini.path(i).exists() for i in range(len(mini)))
    every = read_coco(REAL / "coco-eval/val2017-subset.json", keep_all=True)
    assert (len(every), len(every.posed), every.crowd.sum(), len(every.files)) == (2213, 1354, 49, 538)


# ---- archives, detectors, size ----

def packed(path, folder, inside):
    import zipfile
    with zipfile.ZipFile(path, "w") as z:
        for f in sorted(Path(folder).iterdir()):
            z.write(f, f"{inside}/{f.name}")
        z.writestr(f"{inside}/", "")
    return path


def test_cocos_archives_are_read_in_place(tmp_path, folk):
    write_coco(tmp_path / "made", "train2017", folk, pictures())
    (tmp_path / "made/annotations").mkdir()
    made = tmp_path / "made"
    (made / "person_keypoints_train2017.json").rename(made / "annotations/person_keypoints_train2017.json")
    plain = read_coco(tmp_path / "made/annotations/person_keypoints_train2017.json", tmp_path / "made/images/train2017")
    for top in ("all", "mixed"):
        (tmp_path / top).mkdir()
        packed(tmp_path / top / "train2017.zip", tmp_path / "made/images/train2017", "train2017")
    packed(tmp_path / "all/annotations_trainval2017.zip", tmp_path / "made/annotations", "annotations")
    (tmp_path / "made/annotations").rename(tmp_path / "mixed/annotations")
    for top in ("all", "mixed"):
        people = read_coco(*find_coco(tmp_path / top, "train"))
        assert people.folder == tmp_path / top / "train2017.zip/train2017"
        assert np.array_equal(np.asarray(people.picture(2)),
                              np.asarray(plain.picture(2))) and people.ids.tolist() == plain.ids.tolist()
        assert read_coco(find_coco(tmp_path / top, "train")[0]).folder == people.folder  # looked for
        # given
        assert read_coco(find_coco(tmp_path / top, "train")[0],
                         tmp_path / top / "train2017.zip").folder == people.folder
    (tmp_path / "other").mkdir()
    empty = packed(tmp_path / "other.zip", tmp_path / "other", "other")
    with pytest.raises(UserError, match='other.zip does not hold "a.jpg"'):
        read_coco(find_coco(tmp_path / "mixed", "train")[0], empty)


def detected(tmp_path, folk, **changes):
    "A detector's results on the three pictures of `folk`, not in their order"
    write_coco(tmp_path, "val", folk, pictures())
    rows = [dict(image_id=i, category_id=c, bbox=b, score=s) for i, c, b, s in (
        (20, 1, [1.5, 2, 20, 30], .9), (30, 1, [0, 0, 10, 12], .4), (30, 1, [5, 5, 30, 20], .8),
        (30, 3, [5, 5, 30, 20], .99), (10, 1, [5, 5, 0, 20], .7))]
    if changes:
        rows[2] |= changes
    (tmp_path / "dt.json").write_text(json.dumps(rows))
    return tmp_path / "dt.json", tmp_path / "person_keypoints_val.json"


def test_a_detectors_boxes_become_people_with_scores(tmp_path, folk):
    dt, info = detected(tmp_path, folk)
    people = read_detections(dt, info)
    # by picture, then as listed; a box without inside is left out
    assert people.image_ids.tolist() == [30, 10, 20] and people.ids.tolist() == [2, 3, 1]
    assert people.box.tolist() == [[0, 0, 10, 12], [5, 5, 30, 20],
                                   [1.5, 2, 20, 30]] and np.allclose(people.box_score, [.4, .8, .9])
    assert [p.file for p in people] == ["a.jpg", "a.jpg",
                                        "c.jpg"] and not people.vis.any() and people.skeleton == COCO17
    assert np.allclose(people.area, .53 * people.box[:, 2] * people.box[:, 3])
    assert read_detections(dt, info, min_score=.8).ids.tolist() == [3, 1]
    assert read_detections(dt, info, category=3).ids.tolist() == [4]
    assert len(read_detections(dt, info,
                               category=None)) == 4 and len(read_detections(dt, info, skeleton=LSP14).skeleton) == 14
    assert Crops(people, (32, 24)).batch([0, 2])["image"].shape == (2, 3, 48, 36)


def test_without_names_pictures_are_called_as_cocos(tmp_path, folk):
    dt, _ = detected(tmp_path, folk)
    (tmp_path / "unlabeled2017").mkdir()
    for i in (10, 20, 30):
        (tmp_path / f"unlabeled2017/{i:012d}.jpg").touch()
    people = read_detections(dt, images=tmp_path / "unlabeled2017")
    assert people.path(0) == tmp_path / "unlabeled2017/000000000020.jpg" and people.sizes is None
    assert len(people.files) == 2
    people = read_detections(dt, images=packed(tmp_path / "unlabeled2017.zip", tmp_path / "unlabeled2017",
                                               "unlabeled2017"))
    assert people.path(2) == tmp_path / "unlabeled2017.zip/unlabeled2017/000000000030.jpg"


def test_cocos_unlabelled_pictures_are_found_by_their_own_list(tmp_path, folk):
    from semipose.data.sets import read_any_unlabeled
    dt, info = detected(tmp_path, folk)
    d = json.loads(info.read_text())
    (tmp_path / "annotations").mkdir()
    named = json.dumps(dict(images=d["images"], categories=[]))
    (tmp_path / "annotations/image_info_unlabeled2017.json").write_text(named)
    packed(tmp_path / "unlabeled2017.zip", tmp_path / "images/val", "unlabeled2017")
    people = read_any_unlabeled(tmp_path / "unlabeled2017.zip", LSP14, dt, min_score=.5)
    assert people.skeleton == LSP14 and people.ids.tolist() == [3, 1] and people.picture(0).size == (50, 40)
    assert people.sizes.tolist()[0] == [40, 50]


def test_how_sure_the_detector_was_reaches_evaluation(tmp_path, folk):
    from semipose.evaluate.coco import evaluate_results, to_results
    folk.vis[:], folk.crowd[:] = 2, False
    folk.image[:] = 0
    write_coco(tmp_path, "val", folk, pictures())
    truth = read_coco(tmp_path / "person_keypoints_val.json", keep_all=True)
    right, wrong = np.linspace(.9, .6, 6).tolist(), np.linspace(.5, .2, 6).tolist()
    rows = [dict(image_id=30, category_id=1, bbox=[1, 1, 20, 20], score=s) for s in [*right, *wrong]]
    (tmp_path / "dt.json").write_text(json.dumps(rows))
    people = read_detections(tmp_path / "dt.json", tmp_path / "person_keypoints_val.json")
    xy = np.concatenate([truth.xy, truth.xy + 9000])  # the second six are nowhere near anybody
    results = to_results(people, xy, np.full((12, 17), .5), people.box_score, nms=None)
    assert np.allclose([r["score"] for r in results], .5 * people.box_score)
    sure = evaluate_results(truth, results)["AP"]
    people.box_score = 1 - people.box_score
    assert sure > evaluate_results(truth,
                                   to_results(people, xy, np.full((12, 17), .5), people.box_score, nms=None))["AP"] + .2


@pytest.mark.parametrize("changes, words", [
    (dict(image_id="30"), ['number 3', '"image_id"', "whole number"]),
    (dict(image_id=77), ['"image_id" 77', "person_keypoints_val.json"]),
    (dict(score=None), ["number 3", '"score"']), (dict(score=float("nan")), ["number 3", '"score"']),
    (dict(bbox=[1, 2, 3]), ["number 3", '"bbox"', "[1.0, 2.0, 3.0]"]),
    (dict(bbox=[1, 2, True, 3]), ["number 3", '"bbox"']), (dict(bbox=None), ["number 3", '"bbox"']),
    (dict(bbox=[900, 2, 30, 3]), ['"bbox"', "picture 30", "outside"]),
])
def test_a_bad_detection_is_one_sentence(tmp_path, folk, changes, words):
    dt, info = detected(tmp_path, folk, **changes)
    with pytest.raises(UserError) as e:
        read_detections(dt, info)
    assert "dt.json" in str(e.value) and "\n" not in str(e.value) and all(w in str(e.value) for w in words), e.value


def test_other_bad_results(tmp_path, folk):
    dt, info = detected(tmp_path, folk)
    with pytest.raises(UserError, match="no box of category 1 has a \"score\" of 0.95"):
        read_detections(dt, info, min_score=.95)
    with pytest.raises(UserError, match="not a COCO results file"):
        read_detections(info, info)
    with pytest.raises(UserError, match='no list "images"'):
        read_detections(dt, dt)


def test_outlines_change_nothing_and_cost_nothing(tmp_path, folk):
    path = write_coco(tmp_path, "train", folk, pictures())
    plain, d = read_coco(path, keep_all=True), json.loads(path.read_text())
    tricky = 'a "segmentation": [1, 2], in a \\ name'
    d["images"][0]["file_name"] = d["images"][0]["coco_url"] = tricky
    shapes = [[[1.5, 2, 3e1, -4, 5, 6]], [], dict(counts=[1, 2, 3], size=[4, 5]), [[1, 2, 3], [4, 5, 6]], [[7]], None]
    # the first field, or the last
    d["annotations"] = [(dict(segmentation=s) | a if i % 2 else a | dict(segmentation=s))
                        for i, (a, s) in enumerate(zip(d["annotations"], shapes))]
    for indent in (None, 1):
        path.write_text(json.dumps(d, indent=indent))
        got = read_coco(path, keep_all=True)
        assert got.files[0] == tricky.replace("\\", "/")
        for k in ("image", "ids", "xy", "vis", "box", "area", "crowd"):
            assert np.array_equal(getattr(got, k), getattr(plain, k)), k


def test_annotations_that_are_not_people_keep_no_outlines():
    a = slim(dict(segmentation=[1], coco_url="x", id=3, bbox=[1, 2, 3, 4.5], keypoints=[1, 2, True]))
    assert set(a) == {"id", "bbox", "keypoints"} and list(a["bbox"]) == [1, 2, 3, 4.5]
    assert a["keypoints"] == [1, 2, True]  # True is no number: an error later


def test_a_size_that_is_not_known_is_not_written(folk):
    folk.sizes = np.array([[40, 50], [0, 0], [42, 50]])
    images = to_coco(folk)["images"]
    assert ["width" in o for o in images] == [True, False, True] and images[2]["height"] == 42
