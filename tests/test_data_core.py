"""Laws of people and crops: a crop is where the matrix says it is, to a tenth of a pixel; memory changes nothing."""
import numpy as np
import pytest
import torch
from PIL import Image

from semipose.data import core
from semipose.data.core import GREY, Crops, People, cut, read_picture
from semipose.errors import UserError
from semipose.geometry import crop_matrix, invert, move, warp
from semipose.skeletons import COCO17


def people(folder, files, image, box, xy=None, vis=None):
    n = len(image)
    xy = np.zeros((n, 17, 2), np.float32) if xy is None else np.asarray(xy, np.float32)
    vis = np.full((n, 17), 2, np.uint8) if vis is None else np.asarray(vis, np.uint8)
    box = np.asarray(box, np.float32).reshape(n, 4)
    return People(COCO17, folder, list(files), np.asarray(image, np.int64), np.arange(len(files)) + 100,
                  np.arange(n) + 1,
                  box, xy, vis, box[:, 2] * box[:, 3], np.zeros(n, bool))


def spot(at, size, sigma):
    "A black picture with one bright round dot at image px `at`"
    y, x = np.mgrid[: size[0], : size[1]]
    a = 255 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 2 / sigma**2)
    return Image.fromarray(a.round().astype(np.uint8)).convert("RGB")


def center(a, near, reach):
    "Centre of mass (x,y) of a (H,W) array within `reach` px of `near`"
    y, x = np.mgrid[: a.shape[0], : a.shape[1]]
    w = a * ((abs(x - near[0]) <= reach) & (abs(y - near[1]) <= reach))
    return np.array([(w * x).sum(), (w * y).sum()]) / w.sum()


# box (image px) of a 900x700 picture cut to 64x48: image px per crop px is pad * h / 64
@pytest.mark.parametrize(
    "box, at",
    [
        ((300, 200, 20, 30), (307.3, 216.8)),  # enlarged
        ((300.4, 200.7, 38.4, 51.2), (310.25, 233.5)),  # one to one
        ((250.3, 130.6, 150, 256), (331.7, 250.2)),  # shrunk by 5
        ((20.3, 30.6, 700, 614.4), (411.2, 305.9)),  # shrunk by 14 and more
        ((-60, 400, 192, 256), (55.1, 540.4)),  # leaves the picture on the left, shrunk by 5
        ((800, -70, 192, 256), (860.6, 60.3)),  # on the right and at the top
        ((-200.5, 500.2, 700, 614.4), (190.7, 530.1)),  # at the corner, shrunk by 14 and more
    ],
)
def test_a_dot_is_found_where_its_joint_moves(tmp_path, box, at):
    scale = 1.25 * max(box[2] / 48, box[3] / 64)
    sigma = max(3, 1.5 * scale)
    spot(at, (700, 900), sigma).save(tmp_path / "a.png")
    xy = np.zeros((1, 17, 2))
    xy[0, 5] = at
    crop = Crops(people(tmp_path, ["a.png"], [0], [box], xy), (64, 48))[0]
    assert crop["image"].shape == (3, *Crops(people(tmp_path, ["a.png"], [0], [box]), (64, 48)).room)
    want = crop["xy"][5].numpy()
    got = center(crop["image"][0].numpy().astype(float), want, min(4.5 * sigma / scale, 12))
    assert abs(got - want).max() < 0.1


def test_enlarging_agrees_with_the_warp_every_view_uses():
    rng = np.random.default_rng(0)
    a = torch.from_numpy(rng.integers(0, 256, (1, 3, 60, 80))).float()
    M = crop_matrix(torch.tensor([[30.0, 20.0, 14.0, 20.0]]), (64, 48), 1.25)
    ours = cut(Image.fromarray(a[0].permute(1, 2, 0).byte().numpy()), M[0].numpy(), (64, 48))
    theirs = warp(a, M, (64, 48))[0].permute(1, 2, 0)
    assert (torch.from_numpy(ours.astype(np.float32)) - theirs).abs().max() < 2


def test_shrinking_sees_every_pixel():
    a = (np.indices((400, 400)).sum(0) % 2 * 255).astype(np.uint8)  # a chessboard of single pixels
    M = crop_matrix(torch.tensor([[100.0, 100.0, 192.0, 256.0]]), (64, 48), 1.25)[0].numpy()
    out = cut(Image.fromarray(a).convert("RGB"), M, (64, 48))
    inside = out[8:-8, 8:-8]
    assert abs(inside.astype(int) - 127).max() < 12  # skipping pixels would give 0 and 255


def test_the_plain_crop_is_a_slice_of_the_roomy_one(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    crops = Crops(people(tmp_path, ["a.png"], [0], [[90, 40, 66.5, 90.25]]), (64, 48))
    plain = cut(read_picture(tmp_path / "a.png"),
                crop_matrix(torch.from_numpy(crops.people.box), (64, 48))[0].numpy(), (64, 48))
    assert crops.room == (96, 72)
    assert abs(crops[0]["image"].permute(1, 2, 0).numpy()[16:80, 12:60].astype(int) - plain).max() <= 1


def test_outside_the_picture_is_mean_grey(tmp_path):
    Image.new("RGB", (100, 100), "white").save(tmp_path / "a.png")
    crops = Crops(people(tmp_path, ["a.png"], [0], [[-30, 20, 60, 80]]), (64, 48))
    # the picture's left edge
    image, edge = crops[0]["image"], move(torch.tensor([[[-0.5, 50.0]]]), crops.M)[0, 0, 0].item()
    assert (image[:, :, : int(edge) - 1].permute(1, 2, 0) == torch.tensor(GREY)).all()
    row = image[:, 48, int(edge) + 2 : int(edge) + 20]
    assert (row == 255).all()
    assert GREY == (124, 116, 104), "ImageNet's mean red, green, blue, which a network sees as nearly 0"


def test_the_matrix_takes_joints_there_and_back(tmp_path):
    rng = np.random.default_rng(1)
    xy, box = rng.uniform(0, 600, (5, 17, 2)), np.array([[10, 20, 30, 300], [0, 0, 640, 480], [3, 4, 5, 6],
                                                         [100, 50, 200, 40], [9, 9, 90, 90]])
    vis = rng.integers(0, 3, (5, 17))
    crops = Crops(people(tmp_path, ["a"], [0] * 5, box, xy, vis), (256, 192))
    back = move(crops.xy, invert(crops.matrix()))
    visible = vis > 0
    assert np.allclose(back.numpy()[visible], xy[visible], atol=1e-2)
    assert (crops.xy[~torch.from_numpy(visible)] == 0).all()
    assert torch.equal(crops.matrix([3, 1]), crops.M[[3, 1]])


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (50 + i, 60 - i, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    image = [0, 2, 1, 0, 3, 2, 0]
    box = rng.uniform(0, 20, (7, 4)) + [0, 0, 15, 20]
    return people(tmp_path, [f"{i}.png" for i in range(4)], image, box, rng.uniform(0, 50, (7, 17, 2)),
                  rng.integers(0, 3, (7, 17)))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(torch.as_tensor(a[k]), torch.as_tensor(b[k])) for k in a)


def test_memory_changes_nothing(folder):
    crops = Crops(folder, (32, 24))
    held = crops.cache(progress=False)
    for rows in ([3, 0, 3], [6], torch.tensor([5, 1, 0]), [-1, 2], list(range(7))):
        assert same(crops.batch(rows), held.batch(rows))
    for i in range(7):
        assert same(crops[i], held[i])
    assert torch.equal(crops.batch([5, 3])["image"][1], crops[3]["image"])  # batches keep the order asked for
    assert held.cache() is held and held.image.dtype == torch.uint8


def test_a_subset_of_memory_is_the_same_people_and_copies_nothing(folder):
    crops = Crops(folder, (32, 24))
    held = crops.cache(progress=False)
    for rows in (np.array([6, 2, 4]), slice(1, 4), folder.vis[:, 0] > 0, np.array([], dtype=int), []):
        a, b = Crops(folder.subset(rows), (32, 24)), held.subset(rows)
        assert len(a) == len(b) and same(a.batch(range(len(a))), b.batch(range(len(b))))
        assert b.image.data_ptr() == held.image.data_ptr()
    twice = held.subset([6, 2, 4]).subset([2, 0])
    assert same(twice.batch([0, 1]) | dict(index=torch.tensor([4, 6])), held.batch([4, 6]))


def test_a_picture_of_several_people_is_read_once(folder, monkeypatch):
    read = []
    monkeypatch.setattr(core, "read_picture", lambda path, *how: read.append(path.name) or read_picture(path, *how))
    Crops(folder, (32, 24)).batch([0, 1, 3, 6, 5, 0])
    assert sorted(read) == ["0.png", "2.png"]
    read.clear()
    Crops(folder, (32, 24)).cache(progress=False)
    assert sorted(read) == ["0.png", "1.png", "2.png", "3.png"]


def test_what_does_not_fit_into_memory_is_refused_before_it_is_tried(folder, monkeypatch):
    monkeypatch.setattr(core, "free_memory", lambda: 1000)
    with pytest.raises(UserError, match=r"7 crops of 48x36 .* smaller size\.$"):
        Crops(folder, (32, 24)).cache()


def test_what_fits_depends_on_what_is_free_and_what_is_allowed(folder, monkeypatch):
    crops, need = Crops(folder, (32, 24)), 7 * 3 * 48 * 36
    for free, most, fits in ((need / 0.89, np.inf, True), (need / 0.91, np.inf, False), (np.inf, need, True),
                             (np.inf, need - 1, False)):
        monkeypatch.setattr(core, "free_memory", lambda free=free: free)
        assert crops.fits(most) == fits


def test_files_that_were_read_take_no_memory_from_a_container(monkeypatch):
    "the system drops what it has of them as soon as somebody needs the room"
    files = {"/sys/fs/cgroup/memory.max": "1000", "/sys/fs/cgroup/memory.current": "900",
            "/sys/fs/cgroup/memory.stat": "anon 300\nfile 600\ninactive_file 500\nactive_file 100\n",
            "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 8 kB\n"}
    def read(path, *a, **kw):
        if str(path) not in files: raise FileNotFoundError(path)
        return files[str(path)]
    monkeypatch.setattr(core.Path, "read_text", read)
    assert core.free_memory() == 600
    files["/sys/fs/cgroup/memory.max"] = "max"
    assert core.free_memory() == 8 * 1024
    files.clear()
    assert core.free_memory() == np.inf


def test_people_remember_what_they_are(folder):
    one = folder.subset(np.array([4, 0]))
    assert len(one) == 2 and one[0].file == "3.png" and one[0].image_id == 103 and one[0].id == 5
    assert np.array_equal(one[1].xy, folder.xy[0]) and one.path(1).name == "0.png"
    bare = folder.unlabeled()
    assert not bare.supervised.any() and len(bare.posed) == 0
    assert np.array_equal(bare.box, folder.box) and folder.supervised.any()
    folder.vis[:, :5] = 0
    assert folder.supervised.tolist() == [False] * 5 + [True] * 12


def test_posed_leaves_out_crowds_flat_boxes_and_people_without_joints(folder):
    folder.vis[:] = 2
    folder.vis[1], folder.box[2, 2], folder.crowd[3] = 0, 0, True
    assert folder.posed.tolist() == [0, 4, 5, 6]


RED = np.zeros((8, 8, 3), np.uint8) + np.array([200, 100, 50], np.uint8)


@pytest.mark.parametrize("mode, name, value", [
    ("L", "a.png", (124, 124, 124)), ("LA", "a.png", (124, 124, 124)), ("P", "a.png", (200, 100, 50)),
    ("RGBA", "a.png", (200, 100, 50)),
    ("CMYK", "a.tif", (200, 100, 50)), ("1", "a.png", None), ("YCbCr", "a.jpg", (200, 100, 50)),
])
def test_every_kind_of_picture_is_rgb(tmp_path, mode, name, value):
    im = Image.fromarray(RED).convert(mode, palette=Image.Palette.ADAPTIVE)
    im.save(tmp_path / name)
    got = np.asarray(read_picture(tmp_path / name))
    assert got.shape == (8, 8, 3) and got.dtype == np.uint8
    if value is not None:
        assert abs(got.astype(int) - value).max() <= 3


def test_sixteen_bits_are_scaled_not_cut_off(tmp_path):
    Image.fromarray(np.full((8, 8), 30000, np.uint16)).save(tmp_path / "a.png")
    assert (np.asarray(read_picture(tmp_path / "a.png")) == 30000 // 257).all()


UPRIGHT = np.arange(20 * 10 * 3, dtype=np.uint8).reshape(10, 20, 3)  # 20 wide, 10 high
STORED = {1: UPRIGHT, 2: UPRIGHT[:, ::-1], 3: UPRIGHT[::-1, ::-1], 4: UPRIGHT[::-1], 5: UPRIGHT.transpose(1, 0, 2),
          6: np.rot90(UPRIGHT, 1), 7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(UPRIGHT, -1)}


def flagged(path, a, flag):
    exif = Image.Exif()
    exif[0x0112] = flag
    Image.fromarray(np.ascontiguousarray(a)).save(path, exif=exif)
    return path


@pytest.mark.parametrize("flag", STORED)
def test_the_camera_flag_is_obeyed_on_request_and_else_ignored_as_in_coco(tmp_path, flag):
    path = flagged(tmp_path / "a.png", STORED[flag], flag)
    assert np.array_equal(np.asarray(read_picture(path)), STORED[flag])
    assert np.array_equal(np.asarray(read_picture(path, upright=True)), UPRIGHT)


def test_the_annotated_size_says_which_pixels_were_annotated(tmp_path):
    path = flagged(tmp_path / "a.png", STORED[6], 6)  # stored 10 wide, 20 high
    assert np.array_equal(np.asarray(read_picture(path, size=(20, 10))), STORED[6])
    assert np.array_equal(np.asarray(read_picture(path, size=(10, 20))), UPRIGHT)
    with pytest.raises(UserError, match="20 px wide and 10 px high.*40 x 20.*width"):
        read_picture(path, size=(20, 40))
    # the size decides where it can
    assert np.array_equal(np.asarray(read_picture(path, upright=True, size=(20, 10))), STORED[6])


@pytest.mark.parametrize("flag", (2, 3, 4, 5, 6, 7, 8))
def test_what_the_size_does_not_show_the_people_decide(tmp_path, flag):
    square = UPRIGHT[:, :10]
    stored = next(np.ascontiguousarray(a)
                  for a in (f(square) for f in (np.fliplr, np.flipud, lambda a: a[::-1, ::-1], np.rot90,
                                                lambda a: np.rot90(a, 3),
                  lambda a: a.transpose(1, 0, 2), lambda a: a[::-1, ::-1].transpose(1, 0, 2)))
                  if turned_back(a, flag, square))
    path = flagged(tmp_path / "a.png", stored, flag)
    for size in (None, (10, 10)):
        assert np.array_equal(np.asarray(read_picture(path, False, size)), stored)
        assert np.array_equal(np.asarray(read_picture(path, True, size)), square)
    assert core.glance(path) == ((10, 10), core._TURNS[flag])


def turned_back(stored, flag, upright):
    return np.array_equal(np.asarray(Image.fromarray(np.ascontiguousarray(stored)).transpose(core._TURNS[flag])),
                          upright)


def test_a_glance_says_what_reading_says(tmp_path):
    for flag, a in STORED.items():
        path = flagged(tmp_path / f"{flag}.jpg", a, flag)
        size, way = core.glance(path)
        assert size == a.shape[:2] and core.turned(size, way) == UPRIGHT.shape[:2]
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    assert core.glance(tmp_path / "b.jpg") is None and core.glance(tmp_path / "none.jpg") is None


def test_people_labelled_upright_are_cut_from_the_upright_picture(tmp_path):
    flagged(tmp_path / "a.png", np.rot90(np.asarray(spot((37, 12), (60, 80), 3)), 1), 6)
    xy = np.zeros((1, 17, 2))
    xy[0, 5] = 37, 12
    who = people(tmp_path, ["a.png"], [0], [(20, 0, 30, 40)], xy)
    for sizes, upright, found in ((np.array([[60, 80]]), False, True), (None, True, True),
                                  (np.array([[80, 60]]), False, False), (None, False, False)):
        who.sizes, who.upright = sizes, upright
        crop = Crops(who, (64, 48)).cache(progress=False)[0]
        x, y = crop["xy"][5].round().int().tolist()
        assert (crop["image"][0, y, x] > 230) == found


def test_a_damaged_flag_is_no_flag(tmp_path, monkeypatch):
    Image.fromarray(UPRIGHT).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "getexif", lambda self: 1 / 0)
    assert read_picture(tmp_path / "a.png", upright=True).size == (20, 10)


def test_white_shows_through_what_is_transparent(tmp_path):
    a = np.full((8, 8, 4), 200, np.uint8)
    a[:, :4, 3], a[:, 4:, 3] = 0, 255
    Image.fromarray(a).save(tmp_path / "a.png")
    got = np.asarray(read_picture(tmp_path / "a.png"))
    assert (got[:, :4] == 255).all() and (got[:, 4:] == 200).all()
    Image.fromarray(a).quantize(4).save(tmp_path / "p.png")  # a palette with transparent entries
    got = np.asarray(read_picture(tmp_path / "p.png")).astype(int)
    assert (got[:, :4] > 250).all() and abs(got[:, 4:] - 200).max() < 4


def test_hold_out_sets_whole_pictures_aside_whatever_their_order():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 30, 100)
    who = people(".", [f"{i}.jpg" for i in range(30)], image, np.tile([0, 0, 9, 9], (100, 1)))
    train, val = core.hold_out(who, .25, seed=3)
    assert not set(train.image) & set(val.image) and sorted([*train.ids, *val.ids]) == who.ids.tolist()
    assert 25 <= len(val) <= 32  # at least the share, and not a picture more than needed
    o = rng.permutation(100)
    assert sorted(core.hold_out(who.subset(o), .25, seed=3)[1].ids) == val.ids.tolist()
    assert sorted(core.hold_out(who, .25, seed=4)[1].ids) != val.ids.tolist()
    for share in (.001, .999):
        assert all(map(len, core.hold_out(who, share)))  # never nobody
    who.vis[who.image % 2 > 0] = 0  # only people with joints count, and only their pictures are set aside
    train, val = core.hold_out(who, .5, seed=0)
    assert set(val.image % 2) == {0} and len(val) >= len(who.posed) / 2


def test_a_picture_listed_twice_stays_with_itself():
    names = [f"{i // 2}.jpg" for i in range(40)]  # two ids each, as some tools write them
    who = people(".", names, np.arange(40), np.tile([0, 0, 9, 9], (40, 1)))
    for seed in range(5):
        train, val = core.hold_out(who, .25, seed)
        assert len(val) == 10 and not {p.file for p in train} & {p.file for p in val}
    who.files = [f if i % 2 else f"./{f}" for i, f in enumerate(names)]  # however it is written
    assert not {p.file.removeprefix("./")
                for p in core.hold_out(who, .25)[0]} & {p.file.removeprefix("./") for p in core.hold_out(who, .25)[1]}
    who.files, alike = [f"{i}.jpg" for i in range(40)], np.arange(40) // 4  # copies under other names
    train, val = core.hold_out(who, .25, 0, alike)
    assert not set(alike[train.image]) & set(alike[val.image]) and len(val) == 12
    lone = people(".", ["a.jpg"] * 4, np.arange(4), np.tile([0, 0, 9, 9], (4, 1)))
    with pytest.raises(UserError, match="labelled people are in 1 picture"):
        core.hold_out(lone)


def test_a_crop_far_larger_than_its_picture_allocates_what_it_samples(tmp_path, monkeypatch):
    def new(mode, size, *args):
        assert size[0] * size[1] < 1e8, f"a sheet of {size} px"  # it would be 50 GB
        return plain(mode, size, *args)
    plain = core.Image.new
    monkeypatch.setattr(core.Image, "new", new)
    im = spot((30, 40), (90, 120), 20)
    for box in ((-30000, -30000, 60000, 60000), (0, 0, 9e6, 9e6)):
        crops = Crops(people(tmp_path, ["a.png"], [0], [box]), (256, 192))
        got = core.cut(im, crops.M[0].numpy(), crops.room)
        assert got.shape == (*crops.room, 3) and (got == core.GREY).mean() > .999
    for s in (4.0, 11.3):  # both roads lead to the same crop
        M = np.array([[1 / s, 0, 20.3], [0, 1 / s, 15.1], [0, 0, 1]])
        corner = [(-.5 - M[k, 2]) * s + .5 for k in (0, 1)]
        assert abs(core.cut(im, M, (48, 64)).astype(int) - core._far(im, corner, s, (48, 64), core.GREY)).max() <= 2


def test_a_bad_picture_is_one_sentence(tmp_path, folder):
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8 not a picture")
    whole = tmp_path / "c.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)).save(whole)
    whole.write_bytes(whole.read_bytes()[:2000])
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "d.tif")
    for name in ("b.jpg", "c.jpg", "d.tif", "missing.jpg"):
        with pytest.raises(UserError, match=rf"{name}: .*\.$") as e:
            read_picture(tmp_path / name)
        assert "\n" not in str(e.value)
    folder.files[2] = "gone.png"
    with pytest.raises(UserError, match="gone.png"):
        Crops(folder, (32, 24)).cache(progress=False)


# ---- archives and boxes from joints ----

def zipped(folder, name="p.zip", inside="p/"):
    import zipfile
    with zipfile.ZipFile(folder.folder / name, "w") as z:
        for f in folder.files:
            z.write(folder.folder / f, inside + f)
    return folder.folder / name


def in_zip(folder):
    from dataclasses import replace
    return replace(folder, folder=core.find_inside(zipped(folder), folder.files[0])[0])


def test_pictures_in_an_archive_are_the_pictures(folder):
    packed = in_zip(folder)
    assert packed.folder.parts[-2:] == ("p.zip", "p")
    a, b = Crops(folder, (32, 24)), Crops(packed, (32, 24))
    assert same(a.batch(range(7)), b.batch(range(7)))
    assert same(a.batch([3]), b.cache(progress=False, workers=3).batch([3]))
    assert core.is_there(packed.path(0)) and not core.is_there(packed.folder / "none.png")
    assert core.read_bytes(packed.path(0)) == folder.path(0).read_bytes()


def test_workers_read_an_archive_at_once(folder):
    import pickle
    from semipose.data.streams import Streams
    packed = pickle.loads(pickle.dumps(in_zip(folder)))
    packed.picture(0)  # the archive is open in this process before others are begun
    plain = list(Streams(Crops(folder, (32, 24)), None, (3, 0), steps=24))
    read = list(Streams(Crops(packed, (32, 24)), None, (3, 0), steps=24, num_workers=3))
    assert all(torch.equal(a[0]["labeled"], b[0]["labeled"]) for a, b in zip(plain, read)) and len(read) == 24


def test_every_process_opens_an_archive_for_itself(folder, monkeypatch):
    path = zipped(folder)
    mine = core.archive(path)
    assert core.archive(path) is mine
    monkeypatch.setattr(core.os, "getpid", lambda: -1)
    assert core.archive(path) is not mine


def test_an_archive_that_changed_is_opened_again(folder):
    import zipfile
    path = zipped(folder)
    assert not core.is_there(path / "new.txt")
    with zipfile.ZipFile(path, "a") as z:
        z.writestr("new.txt", "here")
    assert core.read_bytes(path / "new.txt") == b"here"


def test_a_bad_archive_is_one_sentence(folder):
    packed = in_zip(folder)
    with pytest.raises(UserError, match=r"p.zip/p/gone.png: there is no such picture.*\.$"):
        read_picture(packed.folder / "gone.png")
    data = bytearray((folder.folder / "p.zip").read_bytes())
    at = data.index(folder.path(0).read_bytes()[30:200])
    data[at:at + 50] = b"x" * 50
    (folder.folder / "q.zip").write_bytes(data)
    with pytest.raises(UserError, match=r"0.png is damaged inside its archive .*fetch q.zip again\.$"):
        read_picture(folder.folder / "q.zip/p/0.png")
    (folder.folder / "r.zip").write_bytes(data[:500])
    with pytest.raises(UserError, match=r"r.zip is not a whole zip archive"):
        read_picture(folder.folder / "r.zip/p/0.png")
    (folder.folder / "plain.zip").mkdir()  # a folder may be called so
    Image.new("RGB", (5, 5)).save(folder.folder / "plain.zip/a.png")
    assert read_picture(folder.folder / "plain.zip/a.png").size == (5, 5)
    assert core.in_archive(folder.folder / "plain.zip/a.png") is None


def test_files_are_found_in_folders_and_archives(tmp_path):
    import zipfile
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        for n in ("x/1.jpg", "y/z/1.jpg", "y/11.jpg", "1.jpg"):
            z.writestr(n, "")
    with zipfile.ZipFile(tmp_path / "a.zip") as z:
        z.extractall(tmp_path / "a")
    for top in (tmp_path / "a.zip", tmp_path / "a"):
        assert core.find_inside(top, "1.jpg") == [top, top / "x", top / "y/z"]
        assert core.find_inside(top / "y", "1.jpg") == [top / "y/z"]
        assert core.find_inside(top, "z/1.jpg") == [top / "y"] and core.find_inside(top, "2.jpg") == []


def test_a_box_goes_around_the_joints_that_are_known():
    xy = np.zeros((2, 17, 2), np.float32)
    xy[0, 3:6] = (10, 20), (40, 80), (500, 900)
    vis = np.zeros((2, 17), np.uint8)
    vis[0, 3:5] = 2, 1
    assert np.allclose(core.joint_box(xy, vis), [[10 - 4.5, 20 - 9, 30 * 1.3, 60 * 1.3], [0, 0, 0, 0]])
    assert np.allclose(core.joint_box(xy, vis, 0)[0], [10, 20, 30, 60])


def test_scores_and_heads_stay_with_their_people(folder):
    folder.box_score, folder.head = np.arange(7, dtype=np.float32), np.arange(28, dtype=np.float32).reshape(7, 4)
    some = folder.subset([5, 2])
    assert some.box_score.tolist() == [5, 2] and some.head[:, 0].tolist() == [20, 8]
    assert folder.unlabeled().box_score is folder.box_score


# ---- halves ----

def half_people(n=6, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.uniform(10, 60, (n, 17, 2))).float(), torch.full((n, 17), 2)


def test_a_half_body_is_centred_on_its_joints_and_half_as_large_again():
    xy, vis = half_people()
    upper = torch.tensor([True, False] * 3)
    M = core.half_body(xy, vis, upper, COCO17, (64, 48))
    there = move(xy, M)
    for i in range(6):
        part = there[i, :11] if upper[i] else there[i, 11:]  # COCO's first eleven joints are above the hips
        assert torch.allclose(part.mean(0), torch.tensor([24.0, 32.0]), atol=1e-3)
        e = part.amax(0) - part.amin(0)
        assert torch.isclose(torch.maximum(e[0] / 48, e[1] / 64) * 1.5, torch.tensor(1.0), atol=1e-4)


def test_half_bodies_are_for_people_with_joints_enough():
    from semipose.geometry import window
    xy, vis = half_people()
    upper, plain = torch.ones(6, dtype=torch.bool), window((64, 48))[0]
    vis[0, 8:] = 0  # eight joints: stays whole
    vis[1, :9], vis[1, 9:] = 0, 2  # eight again, of both halves
    vis[2, 2:11] = 0  # two of the upper half, so the lower one is shown
    vis[3] = 0
    vis[4, 3:11] = 0  # three are enough, and the middle is theirs alone
    M = core.half_body(xy, vis, upper, COCO17, (64, 48), least=7)
    assert torch.allclose(move(xy, M)[4, :3].mean(0), torch.tensor([24.0, 32.0]), atol=1e-3)
    assert not torch.equal(M[1], plain) and not torch.equal(M[0], plain)
    M = core.half_body(xy, vis, upper, COCO17, (64, 48))
    assert torch.equal(M[0], plain) and torch.equal(M[1], plain) and torch.equal(M[3], plain)
    M = core.half_body(xy, vis, upper, COCO17, (64, 48), least=6)
    assert torch.allclose(move(xy, M)[2, 11:].mean(0), torch.tensor([24.0, 32.0]), atol=1e-3)
    assert torch.isfinite(M).all()
    for names in (("a", "b"), ("left_hip", "right_hip")):
        from semipose.skeletons import Skeleton
        with pytest.raises(UserError, match="no halves"):
            core.half_body(xy[:, :2], vis[:, :2], upper, Skeleton("x", names, (), (), (.1, .1)), (64, 48))
