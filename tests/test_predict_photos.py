"""Laws of prediction on files: the joints evaluation would find, in upright pixels, in the photo's own colours;
whole or not at all."""
import importlib
import json
import types
from dataclasses import fields

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from semipose.data import video as reader
from semipose.codecs import DARK, Gaussian
from semipose.data.core import Crops
from semipose.data.pictures import read_boxes, read_pictures
from semipose.draw import paint_people
from semipose.errors import UserError
from semipose.photos import Drawing, Inference, Photo, list_photos, look_at, predict_photos
from semipose.predict import predict_all
from semipose.skeletons import Skeleton

TRIO = Skeleton("trio", ("left", "right", "top"), ((0, 2), (1, 2)), ((0, 1),), (0.05,) * 3)
SIZE, CODEC = (64, 48), DARK(1.5, 4)


class Eye(nn.Module):
    "Joint k is where colour k is brightest"

    def forward(self, x):
        return x[..., ::4, ::4]


def scene(people, size=(120, 160)):
    "A dark picture with three soft dots per person, red, green and blue"
    y, x = np.mgrid[: size[0], : size[1]]
    a = np.zeros((*size, 3))
    for xy in people:
        for k, (px, py) in enumerate(xy):
            a[..., k] += 250 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 2 / 5**2)
    return Image.fromarray(a.clip(0, 255).round().astype(np.uint8))


A = [(30.0, 40.0), (50.0, 44.0), (38.0, 70.0)]  # in the box 10 20 60 80
B = [(100.0, 30.0), (130.0, 36.0), (116.0, 80.0)]  # in the box 85 10 60 90
BOXES = [[10, 20, 60, 80], [85, 10, 60, 90]]


def answer(net, *args, **kw):
    "`predict_photos` with its settings side by side"
    part = lambda cls: cls(**{f.name: kw.pop(f.name) for f in fields(cls) if f.name in kw})
    return predict_photos(net, CODEC, SIZE, TRIO, *args, how=part(Inference), drawing=part(Drawing), **kw)


see = lambda *args, **kw: answer(Eye(), *args, **kw)
joints = lambda r: np.array(r["keypoints"]).reshape(-1, 3)


@pytest.fixture
def two(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    scene([A, B]).save(folder / "a.png")
    scene([B]).save(folder / "b.png")
    (tmp_path / "boxes.json").write_text(json.dumps({"a.png": BOXES, "b.png": BOXES[1]}))
    return folder


def test_everybody_is_found_where_they_are(two, tmp_path):
    out = see(two, tmp_path / "boxes.json", tmp_path / "out")
    assert [r["file_name"] for r in out] == ["a.png", "a.png", "b.png"] and [r["image_id"] for r in out] == [1, 1, 2]
    for r, truth in zip(out, (A, B, B)):
        assert abs(joints(r)[:, :2] - truth).max() < 1 and (joints(r)[:, 2] > 0.5).all() and r["category_id"] == 1
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["a.heat.png", "a.png", "b.heat.png", "b.png", "predictions.json"]
    assert json.loads((tmp_path / "out/predictions.json").read_text()) == out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["boxes.json", "in", "out"]  # nothing else is left


def test_joints_are_those_that_evaluation_finds_whatever_the_batch(two, tmp_path):
    people = read_pictures(two, TRIO, tmp_path / "boxes.json")
    want = predict_all(Eye(), Crops(people, SIZE), SIZE, CODEC, flip=TRIO)
    for batch in (1, 2, 64):
        got = np.array([joints(r) for r in see(two, tmp_path / "boxes.json", flip=True, batch=batch)])
        assert np.allclose(got[..., :2], want.xy, atol=0.006) and np.allclose(got[..., 2], want.score, atol=1e-4)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16"])
def test_pictures_of_every_kind(tmp_path, mode):
    im, suffix = scene([A]), ".tif" if mode == "CMYK" else ".png"
    im = Image.fromarray((np.asarray(im.convert("L")).astype(np.uint16) * 257)) if mode == "I;16" else im.convert(mode)
    im.save(tmp_path / f"a{suffix}")
    (r,) = see(tmp_path / f"a{suffix}", BOXES[0], tmp_path / "out")
    assert np.isfinite(joints(r)).all() and Image.open(tmp_path / "out/a.png").mode == "RGB"
    if mode in ("RGBA", "CMYK", "P"):
        assert abs(joints(r)[:, :2] - A).max() < 3


@pytest.mark.parametrize("flag, turn", [(3, 2), (6, 1), (8, -1)])
def test_a_phone_s_photo_stands_upright_and_so_do_its_joints(tmp_path, flag, turn):
    upright = scene([A])
    exif = Image.Exif()
    exif[0x0112] = flag
    Image.fromarray(np.ascontiguousarray(np.rot90(np.asarray(upright), turn))).save(tmp_path / "phone.png", exif=exif)
    upright.save(tmp_path / "plain.png")
    phone, plain = (see(tmp_path / f"{n}.png", BOXES[0], tmp_path / n)[0] for n in ("phone", "plain"))
    assert phone["keypoints"] == plain["keypoints"] and abs(joints(phone)[:, :2] - A).max() < 1
    drawn = [np.asarray(Image.open(tmp_path / n / f"{n}{kind}.png")) for n in ("phone", "plain")
             for kind in ("", ".heat")]
    assert np.array_equal(drawn[0], drawn[2]) and np.array_equal(drawn[1], drawn[3])


def test_lines_and_heat_lie_on_the_joints_at_any_size(tmp_path):
    scene([A]).resize((1920, 1440), Image.Resampling.BICUBIC).save(tmp_path / "large.png")
    scene([A]).save(tmp_path / "small.png")
    for name, scale, box in (("large", 12, np.array(BOXES[0]) * 12), ("small", 1, BOXES[0])):
        (r,) = see(tmp_path / f"{name}.png", box, tmp_path / name, longest=800)
        a = np.asarray(Image.open(tmp_path / name / f"{name}.png")).astype(int)
        assert max(a.shape) == (800 if name == "large" else 640)
        z = a.shape[1] / (160 * scale)
        heat = np.asarray(Image.open(tmp_path / name / f"{name}.heat.png")).astype(int).sum(-1)
        for (x, y), color in zip((joints(r)[:, :2] + 0.5) * z - 0.5, ("56B4E9", "E69F00", "F0E442")):
            # the dot has its side's colour
            assert abs(a[round(y), round(x)] - [int(color[i : i + 2], 16) for i in (0, 2, 4)]).max() < 12
            assert heat[round(y), round(x)] > 2 * np.median(heat)


@pytest.mark.parametrize("side, longest", [(1600, 800), (160, 1600)])
def test_a_heatmap_pixel_glows_where_it_was_seen(side, longest):
    class One(nn.Module):
        def forward(self, x):
            return nn.functional.one_hot(torch.tensor(5 * 12 + 7), 16 * 12).float().view(1, 1, 16, 12).repeat(len(x), 3,
                1, 1)

    photo = Photo("a.png", None, [[0.3 * side, 0.2 * side, 0.3 * side, 0.4 * side]],
                  image=Image.new("RGB", (side, side)))
    (seen,) = look_at(One(), Gaussian(2.0, 4, shift=False), SIZE, [photo], longest=longest)
    y, x = np.unravel_index(seen.heat.argmax(), seen.heat.shape)
    assert abs((np.array([x, y]) - (seen.zoom - 1) / 2) / seen.zoom - seen.xy[0, 0]).max() < 0.6 / seen.zoom


@pytest.mark.parametrize("form", ["COCO file", "list"])
def test_results_carry_the_category_of_the_boxes(form, tmp_path):
    "an evaluation beside the file whose boxes they are finds them"
    scene([A]).save(tmp_path / "a.png")
    box = dict(bbox=list(map(float, BOXES[0])), category_id=3)
    d = dict(images=[dict(id=7, file_name="a.png")], categories=[dict(id=3, name="person")],
             annotations=[dict(box, id=1, image_id=7)])
    (tmp_path / "boxes.json").write_text(json.dumps(d if form == "COCO file" else [dict(box, file_name="a.png")]))
    (r,) = see(tmp_path / "a.png", tmp_path / "boxes.json")
    assert r["category_id"] == 3
    (r,) = see(tmp_path / "a.png", BOXES[0])
    assert r["category_id"] == 1


def test_joints_never_taught_are_neither_written_nor_drawn(tmp_path):
    scene([A]).save(tmp_path / "a.png")
    (r,) = see(tmp_path / "a.png", BOXES[0], joints=[True, False, True])
    assert joints(r)[1].tolist() == [0, 0, 0] and abs(joints(r)[[0, 2], :2] - np.array(A)[[0, 2]]).max() < 1
    assert r["score"] == pytest.approx(joints(r)[[0, 2], 2].mean(), abs=1e-3)
    blank = np.zeros((40, 40, 3))
    xy = np.array([[[5, 5], [35, 5], [5, 35]]])
    assert paint_people(blank, xy, None, TRIO, joints=[True, False, True])[:, 20:].max() == 0
    assert paint_people(blank, xy, None, TRIO)[:, 20:].max() > 0.5


def test_unsure_joints_are_hollow():
    blank, xy = np.zeros((90, 90, 3)), np.array([[[20.0, 20.0], [70.0, 20.0], [45.0, 70.0]]])
    a = paint_people(blank, xy, np.array([[0.1, 0.9, 0.9]]), TRIO, size=4)
    assert a[20, 20].max() < 0.6 * a[20, 70].max()


def test_without_boxes_a_picture_is_one_person(two):
    out = see(two)
    assert [r["bbox"] for r in out] == [[0, 0, 160, 120]] * 2


def test_ids_are_those_of_the_boxes_file(two, tmp_path):
    coco = dict(images=[dict(id=0, file_name="b.png"), dict(id=9, file_name="a.png")],
                annotations=[dict(id=1, image_id=0, bbox=BOXES[0]), dict(id=2, image_id=9, bbox=BOXES[1])])
    (tmp_path / "c.json").write_text(json.dumps(coco))
    assert [(r["file_name"], r["image_id"]) for r in see(two, tmp_path / "c.json")] == [("a.png", 9), ("b.png", 0)]


def broken(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])  # its head is sound


def test_a_broken_picture_costs_itself_alone(two, tmp_path):
    "cut short, or no picture at all: the others' results are those that they have without it"
    scene([A]).save(two / "c.png")
    want = [r for r in see(two) if r["file_name"] != "b.png"]
    for how in (broken, lambda path: path.write_bytes(b"no picture")):
        scene([B]).save(two / "b.png")
        whole = (two / "b.png").read_bytes()
        how(two / "b.png")
        told = []
        out = see(two, out=tmp_path / "out", batch=1, replace=True, note=told.append)
        assert out == want and json.loads((tmp_path / "out/predictions.json").read_text()) == want and out.looked == 2
        failed = json.loads((tmp_path / "out/failed.json").read_text())
        assert (failed == out.failed and [f["file"] for f in failed] == ["b.png"] and told == [failed[0]["why"]]
                and "cannot be read" in told[0])
        assert (tmp_path / "out/c.heat.png").exists()
        with pytest.raises(UserError, match="unfinished.*--resume.*--replace"):
            see(two, out=tmp_path / "out")
        (two / "b.png").write_bytes(whole)  # mended
        mended = see(two, out=tmp_path / "out", batch=1, resume=True)
        assert [r["image_id"] for r in mended] == [1, 2, 3] and mended == see(two) and not mended.failed
        assert sorted(p.name
            for p in (tmp_path / "out").iterdir()) == sorted([f"{n}{k}.png" for n in "abc" for k in ("", ".heat")]
                                                             + ["predictions.json"])
    with pytest.warns(UserWarning, match="b.png"):
        broken(two / "b.png")
        assert see(two) == want, "nothing is written: the same"


def test_where_nothing_can_be_read_nothing_is_left(two, tmp_path):
    for f in two.iterdir():
        broken(f)
    for sources in (two, two / "b.png"):
        with pytest.raises(UserError, match="cannot be read"):
            see(sources, out=tmp_path / "deep/out", note=list)
    (tmp_path / "t.png").write_text("text")
    with pytest.raises(UserError, match="t.png.*not a picture"):
        see(tmp_path / "t.png", out=tmp_path / "deep/out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["boxes.json", "in", "t.png"]


class Mortal(Eye):
    "Ends in the middle of a run, as Ctrl-C does"

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def forward(self, x):
        if self.calls == 0:
            raise KeyboardInterrupt
        self.calls -= 1
        return super().forward(x)


Mortal.__name__ = "Eye"  # the same network, for the fingerprint


def many(tmp_path, n=7):
    folder = tmp_path / "in"
    folder.mkdir(exist_ok=True)
    for i in range(n):
        scene([A]).rotate(7 * i).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize("calls", [1, 2, 3])
@pytest.mark.parametrize("torn", [False, True])
def test_a_resumed_prediction_equals_an_unbroken_one(tmp_path, calls, torn):
    folder, out = many(tmp_path), tmp_path / "out"
    broken(folder / "2.png")
    kw = dict(batch=2, note=list) | (dict(draw=False, heat=False) if torn else {})
    want = see(folder, BOXES, tmp_path / "whole", **kw)
    with pytest.raises(KeyboardInterrupt):
        answer(Mortal(calls), folder, BOXES, out, **kw)
    kept = (out / "predictions.jsonl.part").read_text().splitlines()
    assert not (out / "predictions.json").exists() and len(kept) > calls, "what was found is kept"
    if torn:  # a power cut tears a line, a kill leaves half a picture
        with open(out / "predictions.jsonl.part", "a") as f:
            f.write(json.dumps(dict(at=[6, None], id=7, results=[], last=False)) + "\n" + '{"at": [5, nul')
        (out / ".5.png.999999.part").write_text("half")
    for wrong, field in ((dict(flip=True), "flip"), (dict(sure=.5), "drawing"),
                         (dict(joints=[True, True, False]), "joints")):
        with pytest.raises(UserError, match=f"begun with other {field}.*--replace"):
            see(folder, BOXES, out, resume=True, **kw, **wrong)
    assert see(folder, BOXES, out, resume=True, **kw) == want
    assert (out / "predictions.json").read_bytes() == (tmp_path / "whole/predictions.json").read_bytes()
    files = lambda where: {p.name: p.read_bytes() for p in where.rglob("*") if p.name != "predictions.jsonl.part"}
    assert files(out) == files(tmp_path / "whole")


def test_what_is_done_is_not_done_again(tmp_path):
    folder, out, seen = many(tmp_path), tmp_path / "out", []

    class Counts(Eye):
        def forward(self, x):
            seen.append(len(x))
            return super().forward(x)

    Counts.__name__ = "Eye"
    with pytest.raises(KeyboardInterrupt):
        answer(Mortal(2), folder, out=out, batch=2, heat=False)
    (out / "1.png").unlink()  # lost with the power
    answer(Counts(), folder, out=out, batch=2, heat=False, resume=True)
    assert sum(seen) == 4 and (out / "1.png").exists()
    with pytest.raises(UserError, match="nothing left to do"):
        see(folder, out=out, resume=True)


def test_another_network_does_not_go_on(tmp_path):
    "fingerprints are of weights, not of names"
    folder, out = many(tmp_path, 4), tmp_path / "out"
    nets = [nn.Sequential(nn.Conv2d(3, 3, 1), Eye()) for _ in range(2)]
    calls = []
    def stop(*_):
        calls.append(1)
        if len(calls) > 2: raise KeyboardInterrupt
    nets[0].register_forward_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        answer(nets[0], folder, out=out, batch=1)
    with pytest.raises(UserError, match="other networks:"):
        answer(nets[1], folder, out=out, batch=1, resume=True)


def test_a_killed_process_leaves_what_it_found_and_nothing_hidden(tmp_path):
    import os, signal, subprocess, sys, time
    folder, out = many(tmp_path), tmp_path / "out"
    code = f"""
import sys, time; sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_predict_photos import *
class Slow(Eye):
    n = 0
    def forward(self, x):
        Slow.n += 1
        if Slow.n > 2: time.sleep(60)
        return super().forward(x)
Slow.__name__ = 'Eye'
answer(Slow(), {str(folder)!r}, out={str(out)!r}, batch=2)
"""
    process, part = subprocess.Popen([sys.executable, "-c", code]), out / "predictions.jsonl.part"
    end = time.monotonic() + 60
    while time.monotonic() < end and not (part.exists() and part.read_text().count("\n") >= 5): time.sleep(.05)
    with pytest.raises(UserError, match="another process"):
        see(folder, out=out, resume=True, batch=2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == -signal.SIGTERM
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]
    assert see(folder, out=out, resume=True, batch=2) == see(folder, batch=2)
    assert not [p for p in out.iterdir() if p.name.startswith(".")]


def test_a_run_that_found_nothing_does_not_block_its_folder(tmp_path):
    folder = many(tmp_path, 2)
    with pytest.raises(KeyboardInterrupt):
        answer(Mortal(0), folder, out=tmp_path / "x/out")
    assert not (tmp_path / "x").exists()
    (tmp_path / "out").mkdir()   # killed before its first batch
    (tmp_path / "out/.lock").touch()
    (tmp_path / "out/predictions.jsonl.part").write_text("{}\n")
    assert see(folder, out=tmp_path / "out") == see(folder)


def test_without_pictures_the_results_are_alone_and_the_same(two, tmp_path):
    assert see(two, out=tmp_path / "out", draw=False, heat=False) == see(two)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["predictions.json"]


def test_drawn_pictures_never_share_a_name(tmp_path, monkeypatch):
    fake_video(monkeypatch, ["cv2"])
    for name in ("a.png", "a.jpg", "a.heat.png", "clip_000001.png", "b/a.png"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True, parents=True)
        scene([A]).save(tmp_path / "in" / name)
    for name in ("clip.mp4", "clip.avi"): (tmp_path / name).write_bytes(b"x")
    out = see([tmp_path / "in", tmp_path / "clip.mp4", tmp_path / "clip.avi"], out=tmp_path / "out")
    assert len(out) == 15 and len(list((tmp_path / "out").rglob("*.png"))) == 30


# ---- several folders


def cams(tmp_path):
    for cam in ("x/cam1", "x/cam2", "y/cam1"):
        (tmp_path / cam).mkdir(parents=True)
        for n in range(2): scene([A]).save(tmp_path / cam / f"{n}.png")
    return [tmp_path / c for c in ("x/cam1", "x/cam2", "y/cam1")]


def coco(tmp_path, boxes):
    d = dict(images=[dict(id=50 + i, file_name=name) for i, name in enumerate(boxes)],
             annotations=[dict(id=i, image_id=50 + i, bbox=b) for i, b in enumerate(boxes.values())])
    (tmp_path / "c.json").write_text(json.dumps(d))
    return tmp_path / "c.json"


def test_a_box_stays_in_its_folder(tmp_path):
    "whole names, whatever was given: folders, files, the folder above; ids go with them"
    one, two, other = cams(tmp_path)
    boxes = coco(tmp_path, {"cam2/0.png": BOXES[0], "y/cam1/0.png": BOXES[1], "x/cam1/1.png": [1, 2, 30, 40]})
    for sources in ([one, two, other], [two, one, other], [*one.iterdir(), *two.iterdir(), *other.iterdir()], tmp_path,
                    [tmp_path / "x", tmp_path / "y"]):
        got = {(str(p.path.relative_to(tmp_path)), p.id): p.boxes for p in list_photos(sources, boxes, list)}
        assert {k: v for k, v in got.items() if v} == {("x/cam2/0.png", 50): [BOXES[0]],
            ("y/cam1/0.png", 51): [BOXES[1]], ("x/cam1/1.png", 52): [[1, 2, 30, 40]]}
        assert len({p.file for p in list_photos(sources)}) == 6 == len({i for _, i in got})


def test_a_box_of_the_folder_beside_is_not_taken(tmp_path):
    "of one picture alone too; and a name that carries more folders than ours is told by its end"
    one, two, _ = cams(tmp_path)
    named = lambda *names: coco(tmp_path, dict.fromkeys(names, BOXES[0]))
    for given in (two, two / "0.png"):
        with pytest.raises(UserError, match="none of its boxes is in a picture that was given"):
            list_photos(given, named("cam1/0.png"))
    photos = list_photos(tmp_path / "x", named("images/cam1/0.png"))
    assert [p.file for p in photos if len(p.boxes)] == ["cam1/0.png"]


def test_names_carry_as_many_folders_as_it_takes(tmp_path):
    one, two, other = cams(tmp_path)
    assert [p.file for p in list_photos(one)] == ["0.png", "1.png"]
    assert [p.file for p in list_photos([one, two])] == ["cam1/0.png", "cam1/1.png", "cam2/0.png", "cam2/1.png"]
    assert [p.file for p in list_photos([one, other])] == ["x/cam1/0.png", "x/cam1/1.png", "y/cam1/0.png",
                                                           "y/cam1/1.png"]
    assert [p.file for p in list_photos([one / "0.png", two / "0.png"])] == ["cam1/0.png", "cam2/0.png"]
    assert [p.file for p in list_photos([one / "0.png", two / "1.png"])] == ["0.png", "1.png"]
    assert [p.file for p in list_photos([one, one / "0.png"])] == ["cam1/0.png", "cam1/1.png"], "the same picture once"
    out = see([one, other], out=tmp_path / "out", heat=False)
    assert ([r["file_name"] for r in out] == ["x/cam1/0.png", "x/cam1/1.png", "y/cam1/0.png", "y/cam1/1.png"]
            and len(list((tmp_path / "out").rglob("*.png"))) == 4)


def test_a_box_that_could_mean_two_pictures_is_refused(tmp_path):
    one, two, _ = cams(tmp_path)
    with pytest.raises(UserError, match='"0.png" could mean cam1/0.png or cam2/0.png.*folders'):
        list_photos([one, two], coco(tmp_path, {"0.png": BOXES[0]}))
    (one / "deep").mkdir()
    scene([A]).save(one / "deep/0.png")
    got = {p.file: p.boxes for p in list_photos(one, coco(tmp_path, {"0.png": BOXES[0]}))}
    assert got == {"0.png": [BOXES[0]], "1.png": [], "deep/0.png": []}, "the one that bears that very name"


def test_what_is_not_looked_at_is_told(two, tmp_path):
    (two / "clip.mp4").write_bytes(b"x")
    (two / "notes.txt").write_text("x")
    told = []
    list_photos(two, coco(tmp_path, {"a.png": BOXES[0], "nobody.png": BOXES[1]}), told.append)
    assert (len(told) == 2 and "1 videos or pictures of other kinds" in told[0] and "1 of its 2 pictures are not "
            "among those given" in told[1])


def test_what_is_there_is_not_written_over_unless_asked(two, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("keep")
    with pytest.raises(UserError, match="not empty"):
        see(two, out=tmp_path / "out")
    see(two, out=tmp_path / "out", replace=True, heat=False)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "b.png", "mine.txt", "predictions.json"]


def test_a_picture_without_boxes_has_no_people_and_is_drawn_as_it_is(two, tmp_path):
    (tmp_path / "one.json").write_text(json.dumps({"b.png": BOXES}))
    out = see(two, tmp_path / "one.json", tmp_path / "out")
    assert [r["file_name"] for r in out] == ["b.png"] * 2
    small = np.asarray(Image.open(two / "a.png").resize((640, 480), Image.Resampling.BICUBIC))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/a.png")), small)


# ---- videos


def fake_video(monkeypatch, installed):
    "The packages named are there and read five frames"
    def cv2():
        class Capture:
            def __init__(self, path): self.left = 5
            def read(self):
                self.left -= 1
                return self.left >= 0, np.asarray(scene([A]))[..., ::-1] if self.left >= 0 else None
            def release(self): pass
        return types.SimpleNamespace(VideoCapture=Capture)

    def av():
        frame = types.SimpleNamespace(to_image=lambda: scene([A]).rotate(-90, expand=True), rotation=90)
        class Open:
            def __init__(self, path): pass
            def __enter__(self): return types.SimpleNamespace(decode=lambda video: iter([frame] * 5))
            def __exit__(self, *args): pass
        return types.SimpleNamespace(open=Open)

    made = dict(av=av, cv2=cv2)
    made["imageio.v3"] = lambda: types.SimpleNamespace(imiter=lambda path, **kw: iter([np.asarray(scene([A]))] * 5))
    def load(name):
        if name not in installed: raise ImportError(name)
        return made[name]()
    monkeypatch.setattr(reader, "importlib", types.SimpleNamespace(import_module=load))


@pytest.mark.parametrize("package", ["av", "cv2", "imageio.v3"])
def test_frames_of_a_video(tmp_path, monkeypatch, package):
    fake_video(monkeypatch, [package])
    (tmp_path / "clip.mp4").write_bytes(b"x")
    out = see(tmp_path / "clip.mp4", BOXES, tmp_path / "out", every=2)
    assert [r["frame"] for r in out] == [0, 0, 2, 2, 4, 4] and [r["image_id"] for r in out] == [1, 1, 2, 2, 3, 3]
    assert all(abs(joints(r)[:, :2] - A).max() < 1 for r in out[::2])  # upright, and red is red
    assert (tmp_path / "out/clip_000004.heat.png").exists()


def test_a_real_video_where_a_decoder_is_installed(tmp_path):
    cv2 = pytest.importorskip("cv2")
    clip = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5, (160, 120))
    for _ in range(3): clip.write(np.asarray(scene([A]))[..., ::-1].copy())
    clip.release()
    out = see(tmp_path / "clip.avi", BOXES[0])
    assert len(out) == 3 and all(abs(joints(r)[:, :2] - A).max() < 1.5 for r in out)


def test_without_a_decoder_the_sentence_says_what_to_install(tmp_path, monkeypatch):
    fake_video(monkeypatch, [])
    (tmp_path / "clip.mp4").write_bytes(b"x")
    with pytest.raises(UserError, match=r"clip.mp4: .* pip install av"):
        see(tmp_path / "clip.mp4", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- videos whose header lies, and whose times are uneven


def write_video(path, times, codec="mpeg4", options=None):
    "Frames of 64x48 at these seconds; frame n has the n-th of ten greys"
    av = pytest.importorskip("av")
    from fractions import Fraction
    with av.open(str(path), "w", options=options or {}) as f:
        s = f.add_stream(codec, rate=25)
        s.width, s.height, s.pix_fmt = 64, 48, "yuv420p"
        s.time_base = s.codec_context.time_base = Fraction(1, 25 if path.suffix == ".avi" else 1000)
        for n, t in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 + 20 * (n % 10), np.uint8), "rgb24")
            frame.pts, frame.time_base = round(t / s.time_base), s.time_base
            for p in s.encode(frame): f.mux(p)
        for p in s.encode(): f.mux(p)
    return path


def only(monkeypatch, package):
    "The other packages are not there"
    pytest.importorskip(package)
    real = reader.importlib.import_module
    def load(name):
        if name != package: raise ImportError(name)
        return real(name)
    monkeypatch.setattr(reader, "importlib", types.SimpleNamespace(import_module=load))


PACKAGES = ["av", "cv2", "imageio.v3"]
UNEVEN = [0, .04, .08, .5, .9, 1., 1.04, 2., 2.52, 2.56]


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_uneven_times_leave_the_numbers_right(tmp_path, monkeypatch, package, suffix):
    path = write_video(tmp_path / f"clip{suffix}", UNEVEN)
    only(monkeypatch, package)
    told = []
    got = [(n, round((np.asarray(im).mean() - 20) / 20)) for n, _, im in reader.frames(path, note=told.append)]
    assert got == [(n, n) for n in range(10)] and not told
    assert [n for n, *_ in reader.frames(path, 3, done={3})] == [0, 6, 9]


@pytest.mark.parametrize("package, suffix",
    [(p, s) for p in PACKAGES for s in (".mp4", ".avi", ".mkv") if (p, s) != ("imageio.v3", ".mkv")])
def test_a_video_cut_short_says_how_many_frames_were_announced_and_read(tmp_path, monkeypatch, package, suffix):
    whole = write_video(tmp_path / f"whole{suffix}", [n / 25 for n in range(100)], options=dict(movflags="faststart")
                        if suffix == ".mp4" else None)
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    only(monkeypatch, package)
    told = []
    assert len(list(reader.frames(whole, note=told.append))) == 100 and not told
    out = see([path, whole], out=tmp_path / "out", draw=False, heat=False, note=told.append)
    read = sum(r["file_name"] == path.name for r in out)
    assert 20 < read < 80 and sum(r["file_name"] == whole.name
                                  for r in out) == 100, "what could be read is kept, and the next file is read"
    (failed,) = out.failed
    # ffmpeg counts from the file's size there
    announced = "60" if (package, suffix) == ("imageio.v3", ".avi") else "100"
    assert told == [failed["why"]] and f" {read}" in told[0] and f" {announced}" in told[0] and "cut" in failed["file"]


@pytest.mark.parametrize("error", [False, True])
def test_a_frame_that_breaks_costs_the_rest_of_its_video_alone(tmp_path, monkeypatch, error):
    "without a decoder: stand-ins that end early, or in an error of their own"
    fake_video(monkeypatch, ["cv2"])
    made = reader.importlib.import_module("cv2")
    made.CAP_PROP_FRAME_COUNT = 7
    def get(self, what): return 5 + 4 * (self.path.endswith("b.mp4")) if what == 7 else 0
    def read(self):
        self.left -= 1
        if error and self.left < 2 and self.path.endswith("b.mp4"): raise RuntimeError("no frame!")
        return self.left >= 0, np.asarray(scene([A]))[..., ::-1] if self.left >= 0 else None
    def init(self, path): self.left, self.path = 5, path
    for name, f in (("get", get), ("read", read), ("__init__", init)): setattr(made.VideoCapture, name, f)
    monkeypatch.setattr(reader, "importlib",
        types.SimpleNamespace(import_module=lambda name: made if name == "cv2"
                              else importlib.import_module(f"not.{name}")))
    for name in "abc": (tmp_path / f"{name}.mp4").write_bytes(b"x")
    told = []
    out = see([tmp_path / f"{n}.mp4" for n in "abc"], BOXES[0], tmp_path / "out", draw=False, heat=False,
              note=told.append)
    n = 3 if error else 5
    assert ([(r["file_name"], r["frame"]) for r in out] == [("a.mp4", i) for i in range(5)]
            + [("b.mp4", i) for i in range(n)] + [("c.mp4", i) for i in range(5)])
    assert len({r["image_id"] for r in out}) == len(out) and len(told) == 1
    assert ("after 3 of 9 announced frames ('no frame!')" in told[0] if error else "9 frames are announced and 5 "
            "could be read" in told[0])


def test_a_header_that_tells_only_a_length():
    from semipose.data.video import Header
    assert (Header(None, 4., 2.4, 60).short() == "4.00 s are announced, about 100 frames, and 2.40 s could be read, "
            "60 frames")
    assert Header(None, 4., 4., 100).short() is Header(None, 4., 3.99, 10).short() is Header(None, None, 4.,
        9).short() is Header(100, None, None, 100).short() is None
    assert Header(100, 4., 4., 99).short() == "100 frames are announced and 99 could be read"


def test_a_resumed_video_equals_an_unbroken_one(tmp_path, monkeypatch):
    fake_video(monkeypatch, ["cv2"])
    for name in ("a.mp4", "b.mp4"): (tmp_path / name).write_bytes(b"x")
    clips, kw = [tmp_path / "a.mp4", tmp_path / "b.mp4"], dict(batch=3, draw=False, heat=False)
    want = see(clips, out=tmp_path / "whole", **kw)
    for calls in (1, 2, 3):
        out = tmp_path / f"out{calls}"
        with pytest.raises(KeyboardInterrupt):
            answer(Mortal(calls), clips, out=out, **kw)
        assert (see(clips, out=out, resume=True, **kw) == want
                and (out / "predictions.json").read_bytes() == (tmp_path / "whole/predictions.json").read_bytes())
    with pytest.raises(KeyboardInterrupt):
        answer(Mortal(2), clips, out=tmp_path / "lost", batch=3, heat=False)
    # a frame whose picture is gone is looked at again, and keeps its number and id
    (tmp_path / "lost/a_000001.png").unlink()
    assert see(clips, out=tmp_path / "lost", resume=True, batch=3, heat=False) == want


# ---- folders as unlabelled people


def test_a_folder_is_looked_through_in_order(tmp_path):
    for name in ("b/2.JPG", "b/1.webp", "a.bmp", "c.tiff", ".hidden/x.png", "b/.x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        scene([A]).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    people = read_pictures(tmp_path, TRIO)
    assert people.files == ["a.bmp", "b/1.webp", "b/2.JPG", "c.tiff"] and people.box.tolist() == [[0, 0, 160, 120]] * 4
    assert not people.vis.any() and Crops(people, SIZE).cache(progress=False).image.shape == (4, 3, 96, 72)
    assert [p.file for p in list_photos([tmp_path])] == people.files


@pytest.mark.parametrize("content", [
    {"images": [dict(id=1, file_name="in/a.png")], "annotations": [dict(image_id=1, bbox=b) for b in BOXES]
     + [dict(image_id=1, bbox=[0, 0, 9, 9], iscrowd=1)]},
    [dict(file_name="in/a.png", bbox=b, score=0.9) for b in BOXES], {"in/a.png": BOXES}])
def test_boxes_in_three_kinds_of_file(two, tmp_path, content):
    (tmp_path / "b.json").write_text(json.dumps(content))
    assert read_boxes(tmp_path / "b.json")["in/a.png"]["boxes"] == BOXES
    people = read_pictures(tmp_path, TRIO, tmp_path / "b.json")
    assert people.box.tolist() == BOXES and [people.path(i).name for i in (0, 1)] == ["a.png", "a.png"]


def test_unlabelled_photos_stand_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("flagged", "plain"):
        (tmp_path / name).mkdir()
    scene([A], (160, 120)).save(tmp_path / "plain/a.png")
    scene([A], (160, 120)).rotate(90, expand=True).save(tmp_path / "flagged/a.png", exif=exif)
    flagged, plain = (read_pictures(tmp_path / name, TRIO) for name in ("flagged", "plain"))
    assert flagged.box.tolist() == plain.box.tolist() == [[0, 0, 120, 160]]
    assert torch.equal(Crops(flagged, SIZE)[0]["image"], Crops(plain, SIZE)[0]["image"])


def test_many_boxes_are_looked_up_quickly(tmp_path):
    "by the last part of a name too, where only one can be meant: one look at the table for all pictures"
    import time
    from semipose.data.pictures import boxes_of
    n, box = 20_000, [1., 2., 3., 4.]
    (tmp_path / "b.json").write_text(json.dumps({f"in/{i}.jpg": [box] for i in range(n)}
                                                | {"in/twice.jpg": [box], "on/twice.jpg": [box], "top.jpg": [box]}))
    table, began = read_boxes(tmp_path / "b.json"), time.perf_counter()
    assert (all(boxes_of(f"{i}.jpg", (9, 9), table) == [box] for i in range(0, n, 10))
            and not any(boxes_of(f"none{i}.jpg", (9, 9), table) for i in range(2000)))
    assert time.perf_counter() - began < 2, "it was over a minute"
    assert (boxes_of("twice.jpg", (9, 9), table) == []
            and boxes_of("on/twice.jpg", (9, 9), table) == [box] == boxes_of("deep/top.jpg", (9, 9), table))
    assert boxes_of("a/0.jpg", (9, 9), dict(table)) == [box], "a plain dict will do"


def test_results_that_are_there_are_told_with_the_remedy(tmp_path):
    from semipose.photos import _free
    (tmp_path / "predictions.json").write_text("[]")
    with pytest.raises(UserError, match="write over its results with --replace"): _free(tmp_path, False)
    _free(tmp_path, True)
