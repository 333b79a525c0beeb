"""Formats of labelling tools: a round trip loses nothing that both sides can say, and what one cannot say is a
sentence."""
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import semipose.data.formats as formats
from semipose.data.formats import (FACTS, FORMATS, convert, format_of, held, read_labels, read_yolo,
                                   unsaid, write_labels, write_yolo)
from semipose.data.labels import as_labels
from semipose.errors import UserError
from semipose.skeletons import COCO17, Skeleton
from test_labels import alike, people

ENDS = dict(coco="a.json", labelstudio="b.json", yolo="yolo", csv="c.csv", sleap="d.slp")
TEXT = [k for k in ENDS if k != "sleap"]
KINDS = [*TEXT, pytest.param("sleap", marks=pytest.mark.skipif(not formats.importlib.util.find_spec("sleap_io"),
                                                               reason="sleap-io is not installed"))]
TOL = dict(labelstudio=1e-11, yolo=1e-11)


def pictures(folder: Path, labels):
    for f, (h, w) in zip(labels.files, labels.sizes):
        (folder / f).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (int(w), int(h))).save(folder / f)
    return folder


def rich(seed=0, **kw):
    a = people(seed, score=True, named=True, **kw)
    a.crowd[0] = True
    a.vis[2, 3:5], a.xy[2, 3:5] = 0, 0
    a.score[2, 3:5] = .1
    sk = replace(a.skeleton, limbs=((0, 5), (5, 6)), flips=((1, 2), (3, 4)), sigmas=tuple(np.linspace(.02, .2, 17)))
    return replace(a, skeleton=sk, vis=np.where(np.arange(6)[:, None] == 5, 0, a.vis),
                   xy=np.where(np.arange(6)[:, None, None] == 5, 0, a.xy),
                   score=np.where(np.arange(6)[:, None] == 5, np.nan, a.score))


def same_facts(a, b, says, tol):
    "Whatever the format can hold came back"
    rows = [i for i in range(len(a)) if "bare" in says or (a.vis[i] > 0).any()]
    assert len(b) == len(rows)
    near = lambda k, x, y: np.testing.assert_allclose(y, x, atol=tol, rtol=0, err_msg=k)
    match = [next(j for j in range(len(b)) if b.image[j] == a.image[i]
                  and np.allclose(np.where(a.vis[i][:, None] > 0, a.xy[i], 0), b.xy[j], atol=1e-6)) for i in rows]
    b = b.subset(match)
    a = a.subset(rows)
    near("xy", a.xy, b.xy)
    np.testing.assert_array_equal(b.vis, a.vis if "hidden" in says else 2 * (a.vis > 0))
    assert b.skeleton.joints == a.skeleton.joints
    if "boxes" in says: near("box", a.box, b.box)
    if "areas" in says: near("area", a.area, b.area)
    if "crowds" in says: np.testing.assert_array_equal(a.crowd, b.crowd)
    if "scores" in says: near("score", np.where(a.vis > 0, a.score, 0), np.where(a.vis > 0, b.score, 0))
    if "unsure" in says: near("unsure", a.score, b.score)
    if "sure" in says: np.testing.assert_allclose(b.sure, a.sure, rtol=1e-6)       # SLEAP keeps a float32
    if "names" in says and any(a.names): assert b.names == a.names
    if "empty" in says: assert b.files == a.files
    if "sizes" in says: np.testing.assert_array_equal(b.sizes, a.sizes)
    for fact in ("limbs", "flips", "sigmas"):
        if fact in says: assert set(getattr(b.skeleton, fact)) == set(getattr(a.skeleton, fact)), fact


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_a_round_trip_keeps_what_the_format_says_and_names_the_rest(tmp_path, kind, seed):
    a = rich(seed)
    a.folder = pictures(tmp_path / "pics", a)
    if kind == "sleap": a.score[~np.isfinite(a.score) & (a.vis > 0)] = .5
    notes = write_labels(a, tmp_path / ENDS[kind], kind, a.folder)
    b = read_labels(tmp_path / ENDS[kind], kind)
    says = FORMATS[kind].says
    same_facts(a, b, says, TOL.get(kind, 0.))
    told = {n.about for n in notes}
    lost = {fact for fact, (n, _) in held(a).items() if n and fact not in says}
    assert lost == told & set(FACTS) and all(n.text for n in notes)
    assert kind == "coco" or lost


@pytest.mark.parametrize("src", TEXT)
@pytest.mark.parametrize("dst", TEXT)
def test_between_any_two_what_both_can_say_survives(tmp_path, src, dst):
    a = rich(1)
    a.folder = pictures(tmp_path / "pics", a)
    write_labels(a, tmp_path / ("1" + ENDS[src]), src, a.folder)
    read, notes = convert(tmp_path / ("1" + ENDS[src]), tmp_path / ("2" + ENDS[dst]), dst, src, images=a.folder)
    b = read_labels(tmp_path / ("2" + ENDS[dst]), dst)
    same_facts(read, b, FORMATS[dst].says - {"boxes", "areas", "sizes"},
               TOL.get(dst, 0.))       # where the first has no box, the second is given one
    both = FORMATS[src].says & FORMATS[dst].says
    same_facts(a if "bare" in both else a.subset((a.vis > 0).any(1)), b.subset((b.vis > 0).any(1))
               if "bare" not in both else b, both, 1e-10)


def test_nothing_to_lose_is_no_note():
    a = people()
    assert [n.about for n in unsaid(replace(a, skeleton=COCO17), frozenset(FACTS), "x")] == []
    assert held(as_labels(COCO17, ["a.jpg"], [dict(image=0, xy=np.ones((17, 2)), vis=[2] * 17)])) == {k: (0, v[1])
        for k, v in held(
        as_labels(COCO17, ["a.jpg"], [dict(image=0, xy=np.ones((17, 2)), vis=[2] * 17)])).items()}


# ---- Label Studio ----

def task(*regions, kind="annotations", image="/data/upload/3/0a1b2c3d-cat.jpg", **more):
    return dict(id=5, data=dict(image=image), **{kind: [dict(result=list(regions), **more)]})


def box(id, x, y, w, h, **more):
    return dict(id=id, type="rectanglelabels", from_name="b", to_name="image", original_width=200,
                original_height=100, image_rotation=0,
                value=dict(x=x, y=y, width=w, height=h, rotation=0, rectanglelabels=["person"]), **more)


def point(joint, x, y, parent=None, id="", **more):
    return dict(id=id or f"{joint}{x}", type="keypointlabels", from_name="k", to_name="image", original_width=200,
                original_height=100, image_rotation=0,
                value=dict(x=x, y=y, width=.5, keypointlabels=[joint]), **({"parentID": parent} if parent else {}),
                **more)


def studio(folder, *tasks):
    (folder / "ls.json").write_text(json.dumps(list(tasks)))
    return read_labels(folder / "ls.json")


def test_label_studio_percent_is_px_and_only_points_are_joints(tmp_path):
    a = studio(tmp_path, task(box("p", 10, 10, 40, 80), point("nose", 25, 50, "p"),
                              dict(type="brushlabels", value={}), dict(type="choices", value=dict(choices=["good"]))))
    assert a.files == ["cat.jpg"] and a.sizes.tolist() == [[100, 200]] and a.xy[0, 0].tolist() == [50,
        50] and a.box.tolist() == [[20, 10, 80, 80]]


def test_a_joint_drawn_anew_goes_to_the_smallest_box_that_lacks_it(tmp_path):
    parts = box("big", 0, 0, 100, 100), box("small", 40, 40, 20, 20), point("nose", 50, 50, "small"), point("nose",
        52, 52, origin="manual"), point("left_eye", 50, 45, origin="manual")
    a = studio(tmp_path, task(*parts))
    nose, eye = a.skeleton.joints.index("nose"), a.skeleton.joints.index("left_eye")
    small = int(np.argmin(a.box[:, 2]))
    assert a.xy[small, nose].tolist() == [100, 50] and a.xy[1 - small, nose].tolist() == [104,
        52] and a.vis[small, eye] == 2 and a.vis[1 - small, eye] == 0
    assert {n.about: n.count for n in a.notes} == dict(adopted=2, touched=2)


def test_a_joint_that_fits_nobody_is_counted(tmp_path):
    a = studio(tmp_path, task(box("p", 10, 10, 20, 20), point("nose", 15, 15, "p"), point("nose", 16, 15)))
    assert (a.vis > 0).sum() == 1 and {n.about: n.count for n in a.notes} == dict(stray=1)


def test_without_boxes_a_picture_has_one_person(tmp_path):
    a = studio(tmp_path, task(point("nose", 15, 15), point("left_eye", 16, 15)),
               task(point("nose", 1, 1), image="b.jpg"))
    assert len(a) == 2 and np.isnan(a.box).all() and (a.vis > 0).sum(1).tolist() == [2, 1]


def test_an_annotation_counts_before_a_prediction_and_a_skipped_one_not(tmp_path):
    t = task(point("nose", 10, 10), was_cancelled=True)
    t["predictions"] = [dict(result=[point("nose", 20, 20, score=.5)])]
    a = studio(tmp_path, t)
    assert a.xy[0, 0].tolist() == [40, 20] and a.score[0, 0] == .5 and [n.about for n in a.notes] == ["predicted"]
    t["annotations"].append(dict(result=[point("nose", 30, 30)]))
    assert studio(tmp_path, t).xy[0, 0].tolist() == [60, 30]


def test_a_turned_box_is_read_upright(tmp_path):
    b = box("p", 50, 0, 10, 40)
    b["value"]["rotation"] = 90       # about its upper left corner
    a = studio(tmp_path, task(b, point("nose", 40, 10, "p")))
    np.testing.assert_allclose(a.box, [[60, 0, 40, 20]], atol=1e-9)


@pytest.mark.parametrize("name, want", [("a/b.jpg", "a/b.jpg"), ("/data/local-files/?d=x/b.jpg", "x/b.jpg"),
                                        ("https://h.org/p/b%20c.jpg?k=1", "p/b c.jpg"),
                                        ("s3://bucket/p/b.jpg", "p/b.jpg")])
def test_pictures_by_their_names(tmp_path, name, want):
    assert studio(tmp_path, task(point("nose", 1, 1), image=name)).files == [want]


def test_json_min_and_a_turned_picture_are_told(tmp_path):
    (tmp_path / "ls.json").write_text(json.dumps([dict(id=1, image="a.jpg", kp=[])]))
    with pytest.raises(UserError, match="JSON-MIN"): read_labels(tmp_path / "ls.json")
    p = dict(point("nose", 1, 1), image_rotation=90)
    with pytest.raises(UserError, match="90 degrees"): studio(tmp_path, task(p))


# ---- YOLO ----

def test_no_line_of_yolo_leaves_its_picture(tmp_path):
    "one joint outside drops a picture there: clipped within 1 %, else not annotated"
    a = people(3)
    a.xy[0, 0], a.xy[1, 0], a.xy[2, 1], a.vis[:3, :2] = (201.5, 30), (-60, 30), (40, 160.9), 2
    a.box[0] = (150, 20, 70, 200)
    a.folder = pictures(tmp_path / "pics", a)
    notes = {n.text: n.count for n in write_yolo(a, tmp_path / "y", a.folder) if n.about == "outside"}
    assert sorted(notes.values()) == [1, 2]
    for f in (tmp_path / "y/labels").rglob("*.txt"):
        for line in f.read_text().splitlines():
            v = np.array(line.split(), float)
            assert len(v) == 5 + 3 * 17 and (v[1:5] >= 0).all() and (v[1:5] <= 1).all() and v[0] == 0
            keys = v[5:].reshape(-1, 3)
            assert ((keys[:, :2] >= 0) & (keys[:, :2] <= 1)).all() and (keys[keys[:, 2] == 0]
                == 0).all() and set(keys[:, 2]) <= {0, 1, 2}
            assert (v[1:3] - v[3:5] / 2 > -1e-9).all() and (v[1:3] + v[3:5] / 2 < 1 + 1e-9).all()
    b = read_yolo(tmp_path / "y")
    assert b.vis[[i for i in range(len(b)) if b.image[i] == a.image[1]][0], 0] == 0


def test_a_yolo_set_as_others_write_it(tmp_path):
    "splits, a list of classes, two numbers for each joint, no names of joints, a picture without a file"
    for f in ("train/images/a.jpg", "train/images/b.jpg", "valid/images/c.jpg"):
        (tmp_path / f).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 100)).save(tmp_path / f)
    (tmp_path / "train/labels").mkdir()
    (tmp_path / "train/labels/a.txt").write_text("0 .5 .5 .2 .4 .1 .2 0 0 .3 .5\n1 .5 .5 .1 .1 0 0 0 0 0 0\n")
    (tmp_path / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\nkpt_shape: [3, 2]\nflip_idx: "
                                        "[0, 2, 1]\nnc: 2\nnames: ['person', 'car']\n")
    a = read_labels(tmp_path)
    assert a.vis.tolist() == [[2, 0, 2]] and a.xy[0, 0].tolist() == [20,
                                                                     20] and a.skeleton.flips == ((1,
                                                                         2),) and len(a.files) == 3
    np.testing.assert_allclose(a.box, [[80, 30, 40, 40]])
    assert {n.about for n in a.notes} == {"names", "pictures", "left out"}


@pytest.mark.parametrize("line, words", [("0 .5 .5 .2", "needs 14"), ("0 .5 x .2 .4 1 1 1 1 1 1 1 1 1", "no number"),
                                         ("0 .5 .5 .2 .4 1 1 7 1 1 1 1 1 1", "0, 1 or 2")])
def test_bad_lines_are_told(tmp_path, line, words):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "images/a.jpg")
    (tmp_path / "data.yaml").write_text("path: .\ntrain: images\nkpt_shape: [3, 3]\nnames: {0: person}\n")
    (tmp_path / "labels/a.txt").write_text(line + "\n")
    with pytest.raises(UserError, match=words) as e: read_labels(tmp_path)
    assert "a.txt: line 1" in str(e.value)


def test_sizes_are_needed_and_asked_for(tmp_path):
    a = replace(people(), sizes=np.zeros((5, 2), int))
    for kind in ("yolo", "labelstudio"):
        with pytest.raises(UserError, match="--images"): write_labels(a, tmp_path / ENDS[kind], kind)


# ---- DeepLabCut ----

def test_deeplabcut_tables(tmp_path):
    "three columns for a name; several animals and a body part of the scene"
    (tmp_path / "CollectedData_me.csv").write_text(
        "scorer,,,me,me,me,me,me,me,me,me,me,me\nindividuals,,,m1,m1,m1,m1,m2,m2,m2,m2,single,single\n"
        "bodyparts,,,nose,nose,tail,tail,nose,nose,tail,tail,corner,corner\ncoords,,,x,y,x,y,x,y,x,y,x,y\n"
        "labeled-data,vid,img1.png,1.5,2,3,4,,,,,9,9\nlabeled-data,vid,img2.png,,,,,5,6,,,,\nlabeled-data,vid,img3.png,,,,,,,,,,\n")
    a = read_labels(tmp_path / "CollectedData_me.csv")
    assert a.files == [f"labeled-data/vid/img{i}.png" for i in (1, 2, 3)] and a.skeleton.joints == ("nose", "tail",
        "corner")
    assert a.names == ["m1", "single", "m2"] and a.vis.tolist() == [[2, 2, 0], [0, 0, 2],
                                                                    [2, 0, 0]] and a.info["scorer"] == "me"
    write_labels(a, tmp_path / "again.csv")
    b = read_labels(tmp_path / "again.csv")
    alike(a, b)
    assert b.names == a.names and "single,single" in (tmp_path / "again.csv").read_text() and b.info["scorer"] == "me"


def test_lightning_pose_predictions(tmp_path):
    (tmp_path / "p.csv").write_text(
                                    "scorer,hm,hm,hm,set\nbodyparts,paw,paw,paw,\ncoords,x,y,likelihood,\nlabeled-data/a/1.png,1.25,2.5,0.75,train\n")
    a = read_labels(tmp_path / "p.csv")
    assert a.xy.tolist() == [[[1.25, 2.5]]] and a.score.tolist() == [[.75]] and a.files == [
        "labeled-data/a/1.png"] and a.names == [""]


def test_one_animal_needs_no_individuals(tmp_path):
    a = people(n=4)
    write_labels(a, tmp_path / "a.csv")
    assert "individuals" not in (tmp_path / "a.csv").read_text() and "likelihood" not in (
        tmp_path / "a.csv").read_text()
    alike(replace(a, vis=2 * (a.vis > 0).astype(np.uint8)), read_labels(tmp_path / "a.csv"))


def test_several_without_names_are_numbered(tmp_path):
    a = people(n=8)
    write_labels(a, tmp_path / "a.csv")
    b = read_labels(tmp_path / "a.csv")
    assert [n.about for n in write_labels(a, tmp_path / "b.csv") if n.about == "names"] == ["names"]
    assert len(b) == 8 and set(b.names) == {"individual1", "individual2"}


@pytest.mark.parametrize("text, words", [("a,b\n1,2\n", "scorer, bodyparts"),
                                         ("scorer,m,m\nbodyparts,n,n\ncoords,x,y\na.png,1,x\n", "line 4"),
                                         ("scorer,m,m\nbodyparts,n,n\ncoords,x,y\na.png,1,1\na.png,2,2\n", "a.png"),
                                         ("scorer,m,m\nbodyparts,n,n\ncoords,x,y\n,1,1\n", "names no picture")])
def test_bad_tables_are_told(tmp_path, text, words):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=words): read_labels(tmp_path / "t.csv")


# ---- which format ----

def test_formats_are_guessed_and_asked_for(tmp_path):
    (tmp_path / "c.json").write_text(" {}")
    (tmp_path / "l.json").write_text(" []")
    assert [format_of(tmp_path / f) for f in ("c.json", "l.json", "x.csv", "x.slp", "folder", "data.yaml",
                                              "new.json")] == ["coco", "labelstudio", "csv", "sleap", "yolo", "yolo",
                                                               "coco"]
    with pytest.raises(UserError, match="choose one of"): format_of("x", "pascal")
    with pytest.raises(UserError, match="--format"): format_of("x.xml")


def test_a_file_is_not_written_over_itself(tmp_path):
    write_labels(people(), tmp_path / "a.json")
    with pytest.raises(UserError, match="another name"): convert(tmp_path / "a.json", tmp_path / "a.json")


def test_a_missing_package_is_told(tmp_path, monkeypatch):
    real = formats.importlib.import_module
    def gone(name, *args):
        if name in ("sleap_io", "yaml"): raise ImportError
        return real(name, *args)
    monkeypatch.setattr(formats.importlib, "import_module", gone)
    with pytest.raises(UserError, match="pip install sleap-io"): read_labels(tmp_path / "a.slp")
    (tmp_path / "data.yaml").write_text("a: 1")
    with pytest.raises(UserError, match="pip install pyyaml"): read_labels(tmp_path / "data.yaml")


def test_a_skeleton_of_ones_own_keeps_its_joints(tmp_path):
    sk = Skeleton("fly", ["wing_L", "wing_R", "abdomen"], ((0, 2),), ((0, 1),), (.05,) * 3)
    a = as_labels(sk, ["a.jpg"], [dict(image=0, xy=[[1.1, 2], [3, 4], [5, 6]], vis=[2, 2, 2])], [(10, 20)])
    for kind in ("coco", "labelstudio", "csv"):
        write_labels(a, tmp_path / ENDS[kind], kind)
        b = read_labels(tmp_path / ENDS[kind], kind)
        assert b.skeleton.joints == sk.joints and b.skeleton.flips == sk.flips, kind


def test_training_points_to_convert(tmp_path):
    "what training does not read is told with the verb that makes it readable"
    from semipose.data.coco import read_coco
    (tmp_path / "ls.json").write_text(json.dumps([task(point("nose", 1, 1))]))
    (tmp_path / "dlc.csv").write_text("scorer,m,m\nbodyparts,n,n\ncoords,x,y\na.png,1,1\n")
    (tmp_path / "yolo.txt").write_text("0 0.5 0.5 0.1 0.2\n0 .1 .2 .3 .4\n")
    (tmp_path / "a.slp").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))
    for name in ("ls.json", "dlc.csv", "yolo.txt", "a.slp"):
        with pytest.raises(UserError, match="semipose convert"): read_coco(tmp_path / name)


def test_many_pictures_take_no_square_of_time(tmp_path):
    "what she has is thousands of pictures: the whole road stays linear"
    import time
    n, K = 1500, 17
    g = np.random.default_rng(0)
    rows = [dict(image=i, xy=g.uniform(1, 90, (K, 2)), vis=[2] * K, box=[0, 0, 95, 95]) for i in range(n)]
    a = as_labels(COCO17, [f"im/{i:06d}.jpg" for i in range(n)], rows, [(100, 100)] * n)
    from semipose.data.labels import changes
    begun = time.process_time()
    for kind in ("coco", "labelstudio", "csv"): write_labels(a, tmp_path / ENDS[kind], kind)
    assert changes(a, read_labels(tmp_path / ENDS["coco"])).people["the same"] == n
    assert len(a.only(a.files[::2])) == n // 2
    assert time.process_time() - begun < 20
