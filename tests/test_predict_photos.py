"""Laws of prediction on files: the joints evaluation would find, in upright pixels, in the photo's own colours; whole or not at all."""
import json
import types

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from semipose import photos
from semipose.codecs import DARK, Gaussian
from semipose.data.core import Crops
from semipose.data.pictures import read_boxes, read_pictures
from semipose.draw import paint_people
from semipose.errors import UserError
from semipose.photos import Photo, list_photos, look_at, predict_photos
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
see = lambda *args, **kw: predict_photos(Eye(), CODEC, SIZE, TRIO, *args, **kw)
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
    drawn = [np.asarray(Image.open(tmp_path / n / f"{n}{kind}.png")) for n in ("phone", "plain") for kind in ("", ".heat")]
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
            assert abs(a[round(y), round(x)] - [int(color[i : i + 2], 16) for i in (0, 2, 4)]).max() < 12  # the dot has its side's colour
            assert heat[round(y), round(x)] > 2 * np.median(heat)


@pytest.mark.parametrize("side, longest", [(1600, 800), (160, 1600)])
def test_a_heatmap_pixel_glows_where_it_was_seen(side, longest):
    class One(nn.Module):
        def forward(self, x):
            return nn.functional.one_hot(torch.tensor(5 * 12 + 7), 16 * 12).float().view(1, 1, 16, 12).repeat(len(x), 3, 1, 1)

    photo = Photo("a.png", None, [[0.3 * side, 0.2 * side, 0.3 * side, 0.4 * side]], image=Image.new("RGB", (side, side)))
    (seen,) = look_at(One(), Gaussian(2.0, 4, shift=False), SIZE, [photo], longest=longest)
    y, x = np.unravel_index(seen.heat.argmax(), seen.heat.shape)
    assert abs((np.array([x, y]) - (seen.zoom - 1) / 2) / seen.zoom - seen.xy[0, 0]).max() < 0.6 / seen.zoom


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


def test_a_broken_picture_leaves_nothing_behind(two, tmp_path):
    whole = (two / "b.png").read_bytes()
    (two / "b.png").write_bytes(whole[: len(whole) // 2])  # its head is sound
    with pytest.raises(UserError, match="b.png"):
        see(two, tmp_path / "boxes.json", tmp_path / "out", batch=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["boxes.json", "in"]


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
    made["imageio.v3"] = lambda: types.SimpleNamespace(imiter=lambda path: iter([np.asarray(scene([A]))] * 5))
    def load(name):
        if name not in installed: raise ImportError(name)
        return made[name]()
    monkeypatch.setattr(photos, "importlib", types.SimpleNamespace(import_module=load))


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
    {"images": [dict(id=1, file_name="in/a.png")], "annotations": [dict(image_id=1, bbox=b) for b in BOXES] + [dict(image_id=1, bbox=[0, 0, 9, 9], iscrowd=1)]},
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
    (tmp_path / "b.json").write_text(json.dumps({f"in/{i}.jpg": [box] for i in range(n)} | {"in/twice.jpg": [box], "on/twice.jpg": [box], "top.jpg": [box]}))
    table, began = read_boxes(tmp_path / "b.json"), time.perf_counter()
    assert all(boxes_of(f"{i}.jpg", (9, 9), table) == [box] for i in range(0, n, 10)) and not any(boxes_of(f"none{i}.jpg", (9, 9), table) for i in range(2000))
    assert time.perf_counter() - began < 2, "it was over a minute"
    assert boxes_of("twice.jpg", (9, 9), table) == [] and boxes_of("on/twice.jpg", (9, 9), table) == [box] == boxes_of("deep/top.jpg", (9, 9), table)
    assert boxes_of("a/0.jpg", (9, 9), dict(table)) == [box], "a plain dict will do"


def test_results_that_are_there_are_told_with_the_remedy(tmp_path):
    from semipose.photos import _free
    (tmp_path / "predictions.json").write_text("[]")
    with pytest.raises(UserError, match="write over its results with --replace"): _free(tmp_path, False)
    _free(tmp_path, True)
