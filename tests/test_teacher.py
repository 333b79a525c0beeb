"""An outside model's joints become hard pseudo labels of our people: by picture, by box, by name, by score."""
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import semipose.data.detect as detect
from semipose.data.core import People
from semipose.data.labels import as_labels, write_coco_labels
from semipose.data.teacher import OUTSIDE, ask_function, outside, overlaps, pair_up, read_teacher, taught_by
from semipose.errors import UserError
from semipose.skeletons import COCO17, MPII16, Skeleton


def ours(boxes, image, files=("a.jpg", "b.jpg", "c.jpg"), skeleton=COCO17, folder=Path("."), sizes=None):
    n, K = len(boxes), len(skeleton)
    return People(skeleton, folder, list(files), np.array(image), np.arange(len(files)) + 11, np.arange(n) + 1,
                  np.array(boxes, np.float32), np.zeros((n, K, 2), np.float32),
                  np.zeros((n, K), np.uint8), np.ones(n, np.float32), np.zeros(n, bool), sizes)


def entry(x, score=.9, K=17, **kw):
    return dict(image_id=11, file_name="a.jpg", category_id=1, score=.8,
                keypoints=[v for k in range(K) for v in (x + k, 50., score)], bbox=[x, 0, 40, 100]) | kw


def file(folder, rows, name="found.json"):
    (folder / name).write_text(json.dumps(rows))
    return folder / name


TWO = ours([[0, 0, 40, 100], [30, 0, 40, 100], [0, 0, 40, 100]], [0, 0, 1])


def test_each_person_gets_the_answer_of_its_own_box(tmp_path):
    "in the other order, a little moved, one that is nobody, one picture without an answer"
    rows = [entry(33.), entry(2.), entry(200.), entry(5., file_name="z.jpg", image_id=9)]
    taught = taught_by(TWO, read_teacher(file(tmp_path, rows)))
    assert taught.people.xy[:2, 0, 0].tolist() == [2,
                                                   33] and (taught.people.vis[:2]
                                                            == 2).all() and (taught.people.vis[2]
                                                                == 0).all() and (taught.people.xy[2] == 0).all()
    assert {n.about: n.count for n in taught.notes} == {"pictures": 1, "people": 1, "left over": 2, "gate": 34}
    assert taught.people.box is TWO.box and len(taught.people) == len(TWO)


def test_no_answer_is_used_twice():
    found = as_labels(COCO17, ["a.jpg"], [dict(image=0, xy=np.full((17, 2), 9.), vis=[2] * 17, box=[15, 0, 40, 100])])
    row, _ = pair_up(TWO, found, .3)
    assert sorted(row[:2].tolist()) == [-1, 0]


def test_pictures_are_found_by_name_then_by_id(tmp_path):
    rows = [entry(1., file_name=None), entry(2., image_id=12, file_name=None)]
    taught = outside(file(tmp_path, rows), TWO)                     # ids of our own folder
    assert (taught.people.vis > 0).any(1).tolist() == [True, False, True]
    coco = ours([[0, 0, 40, 100]], [0], ["x/000000000011.jpg"])
    assert (taught_by(coco, read_teacher(file(tmp_path, rows))).people.vis == 2).all()      # COCO's rule


def test_the_gate_is_a_gate(tmp_path):
    keys = [v for k in range(17) for v in (10. + k, 50., k / 16)]
    path = file(tmp_path, [entry(0., keypoints=keys)])
    for gate in (.25, .5, .9):
        taught = taught_by(TWO, read_teacher(path), gate)
        assert ((taught.people.vis[0] > 0) == (np.arange(17) / 16 >= gate)).all()
        assert (taught.people.xy[0][taught.people.vis[0] == 0] == 0).all()
    with pytest.raises(UserError, match="lower gate"): taught_by(TWO, read_teacher(path), 1.1)


def test_a_data_set_is_matched_by_the_names_of_joints(tmp_path):
    "MPII's 16 joints on COCO's 17: what it does not have stays without a label"
    xy = np.arange(32.).reshape(16, 2) + 5
    write_coco_labels(as_labels(MPII16, ["a.jpg"],
                                [dict(image=0, xy=xy, vis=[2] * 16, box=[0, 0, 40, 100], score=np.full(16, .7))]),
                                tmp_path / "set.json")
    taught = taught_by(TWO, read_teacher(tmp_path / "set.json"))
    knee = COCO17.joints.index("left_knee")
    assert (taught.people.xy[0, knee].tolist() == xy[MPII16.joints.index("left_knee")].tolist()
            and taught.people.vis[0, COCO17.joints.index("nose")] == 0)
    assert {n.about: n.count for n in taught.notes}["joints"] == 5


def test_marks_of_visibility_are_no_scores(tmp_path):
    keys = [v for k in range(17) for v in (10. + k, 50., (0, 1, 2)[k % 3])]
    taught = taught_by(TWO, read_teacher(file(tmp_path, [entry(0., keypoints=keys)])))
    assert ((taught.people.vis[0] > 0) == (np.arange(17) % 3 > 0)).all() and "scores" in {n.about for n in taught.notes}


def test_whole_pictures_need_no_overlap(tmp_path):
    "without boxes of ours each picture is one person, and the model's own tight box is that person's"
    p = ours([[0, 0, 300, 200]] * 2, [0, 1], sizes=np.array([(200, 300)] * 3))
    taught = taught_by(p, read_teacher(file(tmp_path, [entry(100., bbox=[100, 20, 40, 100])])))
    assert (taught.people.vis[0] == 2).all()


def test_without_a_box_the_joints_say_where(tmp_path):
    rows = [entry(2., bbox=None, keypoints=[v for k in range(17) for v in (2 + 2. * k, 6. * k, .9)])]
    assert (taught_by(TWO, read_teacher(file(tmp_path, rows))).people.vis[0] == 2).all()


@pytest.mark.parametrize("rows, words", [
    ([entry(0., file_name="z.jpg", image_id=99)], "none of the 3 unlabelled people"),
    ([entry(500.)], "share too little"), ([entry(0., keypoints=[1, 2])], "entry 1"),
    ([entry(0.), entry(0., K=16)], "entry 2"), ([entry(0., K=3)], "3 joints"), ([], "not a COCO results"),
    ([dict(entry(0.), file_name=None, image_id="x")], "image_id")])
def test_a_mismatch_is_told(tmp_path, rows, words):
    with pytest.raises(UserError, match=words): taught_by(TWO, read_teacher(file(tmp_path, rows)))


def test_other_joints_and_no_file_are_told(tmp_path):
    fly = Skeleton("fly", ("wing", "leg"), (), (), (.05, .05))
    found = as_labels(fly, ["a.jpg"], [dict(image=0, xy=np.ones((2, 2)), vis=[2, 2])], source="x.json")
    with pytest.raises(UserError, match="rename them alike"): taught_by(TWO, found)
    with pytest.raises(UserError, match="no such file"): outside(tmp_path / "none.json", TWO)


def test_joints_of_ones_own_are_taken_in_order_where_no_set_is_known(tmp_path):
    fly = Skeleton("fly", ("wing", "leg", "eye"), (), (), (.05,) * 3)
    p = ours([[0, 0, 40, 100]], [0], skeleton=fly)
    assert outside(file(tmp_path, [entry(3., K=3)]), p).people.xy[0].tolist() == [[3, 50], [4, 50], [5, 50]]


def test_a_function_is_asked_a_picture_at_a_time(tmp_path, monkeypatch):
    for f in "ab": Image.new("RGB", (80, 100), "white").save(tmp_path / f"{f}.jpg")
    (tmp_path / "my_teacher.py").write_text(
        "import numpy as np\nasked = []\ndef find(picture, boxes):\n    asked.append((picture.size, len(boxes)))\n"
        "    return np.stack([np.concatenate([np.tile(b[:2] + b[2:]/2, (17, 1)), np.full((17, 1), .9)], 1) for b in "
        "boxes])\n"
        "def bad(picture, boxes): return np.zeros((1, 2, 3))\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(detect.sys.modules, "my_teacher", raising=False)
    p = replace(TWO, folder=tmp_path)
    taught = outside("my_teacher:find", p)
    assert taught.people.xy[:, 0].tolist() == [[20, 50], [50, 50], [20, 50]] and (taught.people.vis == 2).all()
    assert detect.sys.modules["my_teacher"].asked == [((80, 100), 2), ((80, 100), 1)]
    with pytest.raises(UserError, match=r"\(2, 17, 3\)"): outside("my_teacher:bad", p)
    with pytest.raises(UserError, match="nothing called"): outside("my_teacher:none", p)


def test_a_function_may_leave_joints_out():
    answer = lambda picture, boxes: np.where(np.arange(17)[None, :, None] < 3, np.nan, np.full((len(boxes), 17, 3), .7))
    p = ours([[0, 0, 40, 100]], [0])
    p.picture = lambda i: Image.new("RGB", (9, 9))
    assert (taught_by(p, ask_function(answer, p)).people.vis[0] > 0).tolist() == [False] * 3 + [True] * 14


def test_overlaps_are_those_of_areas():
    assert overlaps(np.array([[0., 0, 10, 10]]),
                    np.array([[0., 0, 10, 10], [5, 0, 10, 10], [20, 20, 5, 5]])).round(4).tolist() == [[1, .3333, 0]]


def test_such_rows_say_what_they_are():
    assert "not comparable" in OUTSIDE
