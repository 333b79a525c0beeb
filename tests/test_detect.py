"""A folder of photographs becomes a file of boxes that prediction and training read; a detector is any function."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import semipose.data.detect as detect
from semipose.data.detect import (DETECTOR, detector_of, find_boxes, folder_boxes, onnx_detector, own_function, rows_of,
                                  torchvision_detector)
from semipose.data.pictures import read_boxes, read_pictures
from semipose.data.sets import read_any_unlabeled
from semipose.data.teacher import TAKES
from semipose.errors import UserError
from semipose.skeletons import COCO17


def red(picture):
    "Finds each red rectangle: one for each column of red"
    a = np.asarray(picture)
    mask = (a[..., 0] > 200) & (a[..., 1] < 50)
    xs = np.flatnonzero(mask.any(0))
    out = []
    for part in np.split(xs, np.flatnonzero(np.diff(xs) > 1) + 1) if len(xs) else ():
        ys = np.flatnonzero(mask[:, part[0]])
        out.append([part[0], ys[0], len(part), len(ys), .9 if len(part) > 20 else .4])
    return out


@pytest.fixture
def folder(tmp_path):
    "Two people, nobody, one of whom the detector is not sure, a picture on its side, a broken file"
    top = tmp_path / "pics"
    (top / "sub").mkdir(parents=True)
    def draw(name, *boxes, size=(200, 120), **kw):
        im = Image.new("RGB", size, "white")
        for x, y, w, h in boxes: im.paste((255, 0, 0), (x, y, x + w, y + h))
        im.save(top / name, **kw)
    draw("a.png", (10, 20, 40, 60), (100, 10, 50, 90))
    draw("b.png")
    draw("sub/c.png", (10, 20, 10, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    draw("side.png", (10, 20, 40, 60), exif=exif)
    (top / "broken.png").write_bytes(b"no picture")
    return top


def mine(monkeypatch, folder, source):
    (folder / "my_finder.py").write_text(source)
    monkeypatch.chdir(folder)
    monkeypatch.delitem(detect.sys.modules, "my_finder", raising=False)


def test_boxes_are_what_predict_and_train_read(folder, tmp_path):
    told = []
    find = find_boxes(folder, red, .5, note=told.append)
    detect.write_boxes(find, tmp_path / "boxes.json", "red", .5)
    assert {f: len(b) for f, b in find.boxes.items()} == {"a.png": 2, "b.png": 0, "side.png": 1,
                                                          "sub/c.png": 0} and list(find.failed) == [
                                                              "broken.png"] and "broken.png" in told[0]
    d = json.loads((tmp_path / "boxes.json").read_text())
    assert [i["file_name"] for i in d["images"]] == ["a.png", "side.png"]
    assert d["info"]["nobody"] == 2 and d["info"]["pictures"] == 4 and d["info"]["detector"] == "red"
    assert read_boxes(tmp_path / "boxes.json")["a.png"]["boxes"] == [[10, 20, 40, 60], [100, 10, 50, 90]]
    (folder / "broken.png").unlink()
    for people in (read_pictures(folder, COCO17, tmp_path / "boxes.json"),
                   read_any_unlabeled(folder, COCO17, tmp_path / "boxes.json")):
        assert len(people) == 3 and people.sizes[people.image[-1]].tolist() == [200,
            120]      # the one on its side is upright, and so is its box
        assert people.box[-1].tolist() == [120 - 20 - 60, 10, 60, 40]
    assert "3 people in 2 of 4 pictures (1 with several); in 2 nobody" in str(find) and "1 could not be read" in str(
        find)


def test_the_threshold_is_a_threshold(folder):
    (folder / "broken.png").unlink()
    assert [len(b) for b in find_boxes(folder, red, .3).boxes.values()] == [2, 0, 1, 1]


def test_nobody_at_all_is_told(tmp_path):
    (tmp_path / "p").mkdir()
    Image.new("RGB", (30, 30)).save(tmp_path / "p/a.png")
    found = find_boxes(tmp_path / "p", red)
    with pytest.raises(UserError, match="--min-score"): detect.write_boxes(found, tmp_path / "b.json")
    assert not (tmp_path / "b.json").exists()


def test_a_function_of_ones_own(folder, tmp_path, monkeypatch):
    (folder / "broken.png").unlink()
    mine(monkeypatch, folder, "import numpy as np\ndef find(picture):\n    return [[0, 0, picture.width/2, "
                              "picture.height]]\n")
    found = folder_boxes(folder, tmp_path / "out/b.json", "my_finder:find")
    assert all(len(b) == 1 and b[0, 4] == 1 for b in found.boxes.values())
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["b.json", "b.png"]
    assert Image.open(tmp_path / "out/b.png").width > 400


@pytest.mark.parametrize("name, words", [("no_such_module_here:f", "cannot be imported"),
                                         ("my_finder:nothing", "nothing called"), ("my_finder:n", "no function"),
                                         ("yolo99", "in torchvision"),
                                         ("none.onnx", "no such ONNX")])
def test_a_wrong_name_is_told(folder, monkeypatch, name, words):
    mine(monkeypatch, folder, "n = 3\n")
    with pytest.raises(UserError, match=words): detector_of(name)


def test_a_function_that_breaks_is_told_with_its_line(folder, monkeypatch):
    "it is given PIL's picture: who takes an array for granted reads how to make one, and no traceback"
    mine(monkeypatch, folder, "def half(picture):\n    h, w = picture.shape[:2]\n    return [[0, 0, w, h, 1]]\n")
    told = r"my_finder:half ended in AttributeError.*line 2\).*np.asarray\(picture\)"
    with pytest.raises(UserError, match=told) as e:
        detector_of("my_finder:half")[1](Image.new("RGB", (9, 9)))
    assert isinstance(e.value.__cause__, AttributeError)
    with pytest.raises(UserError, match="outside teacher|boxes, and returns x, y, score"):
        own_function("my_finder:half", TAKES)(Image.new("RGB", (9, 9)))


@pytest.mark.parametrize("answer", [[[1, 2, 3]], "boxes", [[1, 2, 3, float("nan")]], {"boxes": 1},
                                    [[1, 2, 3, 4], [1, 2]]])
def test_a_wrong_answer_is_told(answer):
    with pytest.raises(UserError, match="x, y, width, height"): rows_of(answer, Image.new("RGB", (9, 9)), "mine:f")


def test_an_answer_is_kept_inside_its_picture():
    rows = rows_of(torch.tensor([[-5., -5., 20., 20., .7], [90., 10., 50., 50., .6], [200., 1., 5., 5., .9]]),
                   Image.new("RGB", (100, 80)), "x")
    np.testing.assert_allclose(rows, [[0, 0, 15, 15, .7], [90, 10, 10, 50, .6]], atol=1e-6)
    assert rows_of(None, Image.new("RGB", (9, 9)), "x").shape == rows_of([], Image.new("RGB", (9, 9)),
        "x").shape == (0, 5)


def test_what_was_stopped_goes_on(folder, tmp_path):
    (folder / "broken.png").unlink()
    journal, seen = tmp_path / "j", []
    def tired(picture):
        if len(seen) == 2: raise KeyboardInterrupt
        seen.append(picture)
        return red(picture)
    with pytest.raises(KeyboardInterrupt): find_boxes(folder, tired, journal=journal)
    again = []
    found = find_boxes(folder, lambda p: again.append(p) or red(p), journal=journal)
    assert len(again) == 2 and [len(b) for b in found.boxes.values()] == [2, 0, 1, 0]
    anew = []
    find_boxes(folder, lambda p: anew.append(p) or red(p), min_score=.3,
               journal=journal)       # another threshold: nothing of it counts
    assert len(anew) == 4


# ---- torchvision's ----

@pytest.fixture(scope="module")
def two_classes(tmp_path_factory):
    from torchvision.models import get_model
    torch.manual_seed(0)
    net = get_model(DETECTOR, weights=None, weights_backbone=None, num_classes=2)
    torch.nn.init.normal_(net.roi_heads.box_predictor.cls_score.weight, std=.2)
    path = tmp_path_factory.mktemp("w") / "net.pth"
    torch.save(dict(model=net.state_dict()), path)
    return path, net.eval()


def test_torchvision_with_weights_of_a_file(two_classes, tmp_path):
    path, net = two_classes
    find = torchvision_detector(weights=path)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (160, 120, 3), dtype=np.uint8))
    rows = find(picture)
    with torch.no_grad(): o = net([torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1) / 255.])[0]
    assert rows.shape[1] == 5 and len(rows) == (o["labels"] == 1).sum() > 0
    np.testing.assert_allclose(rows[:, :2] + rows[:, 2:4], o["boxes"][:, 2:], rtol=1e-4)
    name, _ = detector_of(None, path)
    assert name == f"{DETECTOR}, net.pth"


def test_weights_that_do_not_fit_are_told(tmp_path, two_classes):
    torch.save(dict(a=torch.zeros(1)), tmp_path / "x.pth")
    (tmp_path / "y.pth").write_bytes(b"nothing")
    for name, words in (("x.pth", "does not fit"), ("y.pth", "cannot be read"), ("z.pth", "no such file")):
        with pytest.raises(UserError, match=words): torchvision_detector(weights=tmp_path / name)
    with pytest.raises(UserError, match="does not fit"): torchvision_detector("ssdlite320_mobilenet_v3_large",
        two_classes[0])


def test_where_the_network_is_closed_the_remedy_is_told(monkeypatch):
    from urllib.error import URLError

    import torchvision.models as models
    def closed(name, **kw): raise URLError("no way out")
    monkeypatch.setattr(models, "get_model", closed)
    with pytest.raises(UserError, match="--detector-weights") as e: torchvision_detector()
    assert "no way out" in str(e.value)


# ---- ONNX ----

def constant_net(path: Path, outputs: dict, size=(64, 64)):
    "A network that always answers the same"
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper
    nodes, values = [], []
    for name, a in outputs.items():
        nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(a)))
        values.append(helper.make_tensor_value_info(name, TensorProto.INT64 if a.dtype.kind == "i"
                                                    else TensorProto.FLOAT, a.shape))
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, *size))],
                              values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_three_layouts_of_onnx_find_the_same_person(tmp_path):
    "a picture of 200 x 100 in an input of 64 x 64: 0.32 px per px, 16 px of margin above"
    corners = np.array([[16, 24, 32, 40], [0, 16, 8, 24]], np.float32)
    raw = np.zeros((1, 4 + 3, 10), np.float32)
    raw[0, :4, 2], raw[0, 4, 2] = (24, 32, 16, 16), .8
    raw[0, :4, 5], raw[0, 4, 5] = (24.4, 32, 16, 16), .6        # the same one again
    raw[0, :4, 7], raw[0, 6, 7] = (4, 20, 8, 8), .9             # something else
    layouts = dict(torchvision=dict(boxes=corners, labels=np.array([1, 3]), scores=np.array([.8, .9], np.float32)),
                   raw=dict(out=raw),
                   inside=dict(out=np.concatenate([corners, [[.8, 0], [.9, 2]]], 1, dtype=np.float32)[None]))
    for name, outputs in layouts.items():
        rows = onnx_detector(constant_net(tmp_path / f"{name}.onnx", outputs))(Image.new("RGB", (200, 100)))
        np.testing.assert_allclose(rows, [[50, 25, 50, 50, .8]], atol=1e-4, err_msg=name)


def test_another_layout_is_told(tmp_path):
    find = onnx_detector(constant_net(tmp_path / "x.onnx", dict(a=np.zeros((3, 3), np.float32))))
    with pytest.raises(UserError, match=r"\(3, 3\)"): find(Image.new("RGB", (20, 20)))
