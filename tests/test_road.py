"""The road from a folder of photographs to a comparison: whom a usual export makes labelled, unlabelled and validated on."""
import json, shutil
from pathlib import Path

import numpy as np, pytest, torch
from PIL import Image

from semipose.data.coco import write_json
from semipose.data.sets import box_share
from semipose.errors import UserError
from semipose.folder import open_run
from semipose.people import as_begun, keys_of as keys, prepare, save_who
from semipose.protocols import protocol
from semipose.recipe import at, recipe_of

TINY = "--net tiny --size 32x32 --batch 4 --start-steps 0 --steps 2 --every 1 --device cpu".split()
NAMES = ["nose", "left_hand", "right_hand", "left_foot", "right_foot", "tail"]      # six joints of one's own


def export(folder, listed=60, labelled=20, side=.4, boxed=(), seed=0):
    "A labelling tool's export: `listed` pictures, the first `labelled` of them annotated, boxes `side` of a picture wide"
    rng, images, anns = np.random.default_rng(seed), [], []
    (folder / "photos").mkdir(parents=True)
    for i in range(listed):
        Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(folder / "photos" / f"{i:02d}.png")
        images.append(dict(id=i + 1, file_name=f"{i:02d}.png", width=80, height=60))
        box = [4 + i % 9, 5, 80 * side, 60 * side]
        at = rng.uniform(box[:2], np.add(box[:2], box[2:]), (6, 2)).round(1)
        keys = [v for x, y in at for v in (float(x), float(y), 2)]
        if i < labelled or i in boxed:
            anns.append(dict(id=i + 1, image_id=i + 1, category_id=1, bbox=box, area=box[2] * box[3], iscrowd=0,
                             keypoints=keys if i < labelled else [0] * 18, num_keypoints=6 * (i < labelled)))
    cat = dict(id=1, name="mouse", keypoints=NAMES, skeleton=[[1, 6]])
    write_json(folder / "labels.json", dict(images=images, annotations=anns, categories=[cat]))
    return folder


def boxes_for(folder, which, path):
    "One person in each of some pictures"
    write_json(path, {f"{i:02d}.png": [[5, 6, 30, 24]] for i in which})
    return path


def line(out): return next(t for t in out.splitlines() if t.startswith("People: "))
def pictures(crops): return {crops.people.files[i] for i in crops.people.image}


# ---- pictures that are listed and not annotated ----

def test_listed_pictures_with_boxes_are_the_unlabelled_ones(tmp_path, capsys):
    "16 + 40 + 4 = 60, and whom validation measures nobody learns from"
    d = export(tmp_path / "d")
    data = prepare(protocol("folder", size=(32, 32)), d, boxes=boxes_for(d, range(20, 60), tmp_path / "b.json"))
    text = capsys.readouterr().out
    assert line(text).startswith("People: 16 labelled + 40 unlabelled + 4 validation people, in 16 + 40 + 4 pictures")
    assert len(data.labeled) == 16 and pictures(data.unlabeled) == {f"{i:02d}.png" for i in range(20, 60)}
    assert not data.unlabeled.vis.any() and "left out" not in text.lower()
    assert np.array_equal(data.unlabeled.people.box[0], [5, 6, 30, 24])


def test_labels_left_unused_are_unlabelled_ones_too(tmp_path, capsys):
    d = export(tmp_path / "d")
    data = prepare(protocol("folder", labels=10, size=(32, 32)), d, boxes=boxes_for(d, range(20, 60), tmp_path / "b.json"))
    assert line(capsys.readouterr().out).startswith("People: 10 labelled + 46 unlabelled + 4 validation people")
    mine = {data.train.files[i] for i in data.train.image[data.split.labeled]}
    assert not mine & pictures(data.unlabeled) and len(data.unlabeled) == 46


def test_without_boxes_listed_pictures_are_left_out_in_a_sentence(tmp_path, capsys):
    "labelled people fill 16 % of their pictures: a whole photograph is none of them"
    data = prepare(protocol("folder", size=(32, 32)), export(tmp_path / "d"))
    text = capsys.readouterr().out
    assert line(text).startswith("People: 16 labelled + 0 unlabelled + 4 validation people, in 16 + 0 + 4 pictures")
    assert "nobody has a joint: 40. All are left out: the networks are top-down, each person needs a bounding box" in text
    assert "labelled people fill 16 % of theirs" in text and "semipose boxes" in text and "--detector" in text
    assert data.others is None and [n.count for _, n in data.reading.notes if n.about == "unannotated"] == [40]


def test_where_people_fill_their_pictures_whole_ones_are_people(tmp_path, capsys):
    data = prepare(protocol("folder", size=(32, 32)), export(tmp_path / "d", side=.8))
    assert line(capsys.readouterr().out).startswith("People: 16 labelled + 40 unlabelled + 4 validation people")
    assert np.array_equal(np.unique(data.unlabeled.people.box, axis=0), [[0, 0, 80, 60]])
    assert round(box_share(data.train), 2) == .64


def test_boxes_that_were_drawn_without_joints_are_used(tmp_path, capsys):
    data = prepare(protocol("folder", size=(32, 32)), export(tmp_path / "d", boxed=range(20, 50)))
    text = capsys.readouterr().out
    assert line(text).startswith("People: 16 labelled + 30 unlabelled + 4 validation people")
    assert "nobody has a joint: 40. 10 are left out" in text
    assert pictures(data.unlabeled) == {f"{i:02d}.png" for i in range(20, 50)}


def test_boxes_that_are_nobody_s_are_refused(tmp_path):
    d = export(tmp_path / "d", listed=20)
    with pytest.raises(UserError, match="and there are none: neither is --unlabeled given"):
        prepare(protocol("folder", size=(32, 32)), d, boxes=boxes_for(d, range(20, 30), tmp_path / "b.json"))


def test_a_published_protocol_trains_on_whom_it_did(tmp_path):
    "listed pictures are COCO's pictures without people, too"
    for name in ("coco-1k", "lsp-200", "demo"): assert not protocol(name).unannotated
    assert prepare(protocol("lsp-200", labels=8, size=(32, 32)), export(tmp_path / "d", side=.8)).others is None


# ---- validation pictures are never learned from ----

@pytest.mark.parametrize("how", ["pictures", "folder", "boxes", "copy"])
def test_validation_pictures_are_never_unlabelled_ones(tmp_path, capsys, how):
    d = export(tmp_path / "d")
    if how == "copy": shutil.copytree(d / "photos", tmp_path / "copy")
    place = dict(pictures=d / "photos", folder=d, boxes=d / "photos", copy=tmp_path / "copy")[how]
    boxes = boxes_for(d, range(60), tmp_path / "b.json") if how == "boxes" else None
    data = prepare(protocol("folder", size=(32, 32)), d, unlabeled=place, boxes=boxes)
    text, own = capsys.readouterr().out, {data.val.files[i] for i in data.val.image}
    n = 16 if how == "folder" else 56
    assert line(text).startswith(f"People: 16 labelled + {n} unlabelled + 4 validation people, in 16 + {n} + 4 pictures")
    assert not {Path(f).name for f in pictures(data.unlabeled)} & own and len(data.unlabeled) == n
    assert f"Left out of the unlabelled people: 4 in 4 of {n + 4} pictures, which are validated on." in text
    assert ("without a bounding box: 40 of 60" in text) == (how == "folder")


def test_only_validation_pictures_are_refused(tmp_path):
    d = export(tmp_path / "d")
    own = prepare(protocol("folder", size=(32, 32)), d, progress=False).val
    (tmp_path / "v").mkdir()
    for i in own.image: shutil.copy(d / "photos" / own.files[i], tmp_path / "v")
    with pytest.raises(UserError, match="all 4 unlabelled pictures are validated on"):
        prepare(protocol("folder", size=(32, 32)), d, unlabeled=tmp_path / "v")


# ---- whole photographs beside tight people ----

def test_whole_photographs_beside_tight_people_are_told(tmp_path, capsys):
    d, more = export(tmp_path / "d"), export(tmp_path / "more", listed=12, seed=1) / "photos"
    prepare(protocol("folder", size=(32, 32)), d, unlabeled=more)
    text = capsys.readouterr().out
    assert "Whole photographs are taken as people: 12 of 12, while the labelled people fill 16 % of theirs" in text
    assert all(w in text for w in ("top-down", "bounding box", "semipose boxes", "--detector"))
    prepare(protocol("folder", size=(32, 32)), d, unlabeled=more, boxes=boxes_for(more, range(12), tmp_path / "b.json"))
    assert "Whole photographs" not in capsys.readouterr().out
    prepare(protocol("folder", size=(32, 32)), export(tmp_path / "e", side=.8), unlabeled=more)
    assert "Whole photographs" not in capsys.readouterr().out, "people who fill their pictures are alike"


# ---- and later ----

@pytest.mark.parametrize("boxes", [True, False])
def test_a_run_goes_on_though_more_has_been_labelled_since(tmp_path, boxes):
    "the pictures that it learned from without labels carry labels by now: it keeps them, and their order"
    d, run, side = export(tmp_path / "d", listed=30, side=.4 if boxes else .8), tmp_path / "run", .4 if boxes else .8
    p = protocol("folder", size=(32, 32), labels=10)
    more = dict(boxes=boxes_for(d, range(20, 30), tmp_path / "b.json")) if boxes else {}
    recipe = at(recipe_of("naive", p, d, **more), run)
    begun = prepare(p, d, progress=False, **more)
    open_run(run, recipe)
    begun.split.save(run / "split.json"), save_who(run / "who.json", begun)
    full = json.loads((export(tmp_path / "x", listed=30, labelled=30, side=side) / "labels.json").read_text())
    (d / "labels.json").write_text(json.dumps(full))
    today = prepare(p, d, progress=False, begun=begun.skeleton, **more)
    assert today.others is None or len(today.others) != len(begun.others)
    again = as_begun(run, recipe, today, p, progress=False)
    assert len(again.others) == 16 and keys(again.train) == keys(begun.train) and keys(again.val) == keys(begun.val)
    for rows in ([0, 9], [15]): assert torch.equal(again.others.batch(rows)["image"], begun.others.batch(rows)["image"])
    (d / "photos" / "25.png").unlink()
    with pytest.raises(UserError, match="unlabelled people are not those|no such picture"):
        as_begun(run, recipe, prepare(p, d, progress=False, begun=begun.skeleton, **more), p, progress=False)
