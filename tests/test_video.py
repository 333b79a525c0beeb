"""Laws of video: frames counted and upright, people linked, motion followed, batches that can be taken up again,
truth in every frame."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import compare_video
from semipose.codecs import Gaussian
from semipose.data import video as reader
from semipose.data.core import Crops
from semipose.data.moving import Filming, Shots, clip_frames, clips_recipe, draw_frames, write_clips
from semipose.data.pairs import Film, FilmStreams, Pairs
from semipose.data.streams import Streams
from semipose.data.tracks import (between, cut_clips, find_cuts, in_video, link, list_clips, pairs, read_clips,
                                  read_filmed)
from semipose.data.video import frames, write_video
from semipose.errors import UserError
from semipose.evaluate.video import jitter, triples
from semipose.geometry import affine, compose, invert, move
from semipose.motion import (APART, assemble, carry_along, carry_joints, chain, dis, flows, follow, pixels,
                             redraw, trust, whole_way)
from semipose.overlay import overlay, smooth, smooth_results, track_results
from semipose.skeletons import COCO17
from semipose.views import A30, A60, carry, plain

REAL = Path(__file__).parent.parent.parent / "shared/data"
needs = lambda name: pytest.mark.skipif(not (REAL / name).is_dir(), reason=f"{name} is not on this machine")
SIZE, CODEC, FLIPS = (64, 48), Gaussian(1.5, 2), COCO17.flip_index
STILL = Filming(cut=0.0)
quiet = lambda _: None


# ---- frames ----


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    pytest.importorskip("av")
    return compare_video.clips(tmp_path_factory.mktemp("numbered"), 24)


@pytest.mark.parametrize("package", ["av", "cv2"])
@pytest.mark.parametrize("kind", ["even", "uneven", "late", "transport", "rotated"])
def test_the_frame_called_n_shows_n(numbered, monkeypatch, package, kind):
    pytest.importorskip(package)
    real = reader.importlib.import_module
    def load(name):
        if name not in (package, "av") or package == "cv2" and name == "av": raise ImportError(name)
        return real(name)
    monkeypatch.setattr(reader, "importlib", type("importlib", (), dict(import_module=staticmethod(load))))
    got = list(frames(numbered[kind], note=quiet))
    assert [compare_video.number(np.asarray(f.image)) for f in got] == [f.number for f in got] == list(range(24))
    assert {f.image.size for f in got} == {(320, 240)}, "upright"
    if package == "av":
        times = np.array([f.time for f in got])
        assert (times[0] == 0 and (np.diff(times) > 0).all()
                and (kind == "uneven" or np.allclose(times, np.arange(24) / 25, atol=2e-3)))


def test_a_damaged_frame_is_left_out_and_keeps_its_number(numbered):
    said = []
    got = list(frames(numbered["cut short"], note=said.append))
    assert [compare_video.number(np.asarray(f.image)) for f in got] == [f.number for f in got] and len(said) == 1
    assert f"24 frames are announced and {len(got)} could be read" in said[0] and "damaged" in said[0]


def grey(n, size=(40, 60)):
    return np.full((*size, 3), 10 * n, np.uint8)


def test_a_folder_of_numbered_frames_is_a_video(tmp_path):
    for n in (2, 10, 1): Image.fromarray(grey(n)).save(tmp_path / f"shot_{n}.png")
    said = []
    assert ([(f.number, np.asarray(f.image)[0, 0, 0]) for f in frames(tmp_path, note=said.append)]
            == [(0, 10), (1, 20), (2, 100)])
    assert "jump 1 times" in said[0]
    Image.fromarray(grey(3, (40, 61))).save(tmp_path / "shot_11.png")
    with pytest.raises(UserError, match="frame 3 is 61 x 40 px and those before it are 60 x 40"):
        list(frames(tmp_path, note=quiet))
    Image.fromarray(grey(3)).save(tmp_path / "cover.png")
    with pytest.raises(UserError, match='"cover.png" has no number'): list(frames(tmp_path, note=quiet))


def test_every_fault_is_one_sentence(tmp_path):
    pytest.importorskip("av")
    write_video(tmp_path / "a.mp4", map(grey, range(8)))
    data = (tmp_path / "a.mp4").read_bytes()
    faults = (("empty.mp4", b"", "is empty"), ("short.mp4", data[: len(data) // 2], "cut short"),
              ("codec.mp4", data.replace(b"avc1", b"zzzz"), "cannot decode"))
    for name, b, words in faults:
        (tmp_path / name).write_bytes(b)
        with pytest.raises(UserError, match=words) as e: list(frames(tmp_path / name, note=quiet))
        assert name in str(e.value) and "\n" not in str(e.value)
    with pytest.raises(UserError, match="picture 2 has the shape"):
        write_video(tmp_path / "b.mp4", [grey(0), grey(0, (40, 64))])
    with pytest.raises(UserError, match="not one picture"): write_video(tmp_path / "b.mp4", [])
    assert not (tmp_path / "b.mp4").exists(), "whole or not at all"


def test_a_clip_of_another_size_in_the_middle_is_told(tmp_path):
    av = pytest.importorskip("av")
    parts = [tmp_path / f"{n}.ts" for n in "ab"]
    for p, size in zip(parts, ((48, 64), (64, 96))):
        with av.open(str(p), "w") as f:
            s = f.add_stream("mpeg2video", rate=25)
            s.height, s.width, s.pix_fmt = *size, "yuv420p"
            for n in range(6):
                for q in s.encode(av.VideoFrame.from_ndarray(grey(n, size), "rgb24")): f.mux(q)
            for q in s.encode(): f.mux(q)
    (tmp_path / "both.ts").write_bytes(b"".join(p.read_bytes() for p in parts))
    with pytest.raises(UserError, match="is 96 x 64 px and those before it are 64 x 48"):
        list(frames(tmp_path / "both.ts", note=quiet))


def test_writing_keeps_odd_sizes_readable(tmp_path):
    pytest.importorskip("av")
    assert write_video(tmp_path / "odd.mp4", [grey(n, (41, 61)) for n in range(5)]) == 5
    got = [np.asarray(f.image) for f in frames(tmp_path / "odd.mp4")]
    assert len(got) == 5 and got[0].shape == (42, 62, 3) and abs(int(got[4][20, 20, 0]) - 40) < 4


# ---- synthetic people that move ----


def test_a_frame_depends_on_seed_clip_and_number_alone():
    many = draw_frames([3, 17, 3, 9], [5, 2, 20, 0], seed=1)
    for i, (c, f) in enumerate(((3, 5), (17, 2), (3, 20), (9, 0))):
        one = draw_frames([c], [f], seed=1)
        assert all(torch.equal(getattr(many, k)[i], getattr(one, k)[0]) for k in ("image", "xy", "vis", "box", "area"))
    assert not torch.equal(many.xy, draw_frames([3, 17, 3, 9], [5, 2, 20, 0], seed=2).xy)


def test_motion_is_smooth_but_for_cuts():
    n = torch.arange(24)
    xy = torch.stack([draw_frames(torch.full_like(n, c), n, filming=STILL).xy[:, 0] for c in range(6)])
    assert xy.diff(dim=1).norm(dim=-1).mean() > 0.3, "they do move"
    assert xy.diff(dim=1).diff(dim=1).norm(dim=-1).mean() < 0.5 * xy.diff(dim=1).norm(dim=-1).mean()
    cut = torch.stack([draw_frames(torch.full_like(n, c), n, filming=Filming(cut=1.0)).xy[:, 0] for c in range(6)])
    jumps = cut.diff(dim=1).norm(dim=-1).mean(-1)
    assert (jumps.amax(1) > 3 * jumps.median(1).values).all(), "each has its cut"


def test_halves_of_a_frame_lie_between_frames():
    "paths are functions of time: the moment between two frames is between them"
    t = torch.linspace(0, 20, 81).double()
    s = Shots(torch.full_like(t, 4).long(), t, 0, torch.zeros_like(t).long())
    p = s.path(9.0, lambda d: d("x", -1.0, 1.0))
    assert p.diff().diff().diff().abs().max() < 0.01 and p.max() - p.min() > 0.2


def test_clips_on_the_disk_say_the_truth(tmp_path):
    folder = write_clips(tmp_path / "a", 2, 1, length=8, filming=Filming(cut=1.0))
    again = write_clips(tmp_path / "b", 2, 1, length=8, filming=Filming(cut=1.0))
    names = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    assert all((folder / p).read_bytes() == (again / p).read_bytes() for p in names) and len(names) == 24 + 3
    people = read_filmed(folder / "person_keypoints_train.json")
    d = clip_frames(1, clips_recipe(2, 1, 8, filming=Filming(cut=1.0)))
    assert np.abs(people.xy[8:] - d.xy[:, 0].numpy() * (d.vis[:, 0, :, None] > 0).numpy()).max() < 0.006
    assert len(set(people.track[8:])) == 2 and list(people.frame[:9]) == [*range(8), 0]
    with pytest.raises(UserError, match="length"): write_clips(folder, 2, 1, length=9, filming=Filming(cut=1.0))
    with pytest.raises(UserError, match="'kind'"): write_clips(tmp_path / "c", 1, 1, kind="gif")


# ---- tracks ----


def test_people_who_pass_each_other_keep_their_numbers():
    t = np.arange(30)
    one, two = (np.stack([x, 0 * t + y, 0 * t + 20, 0 * t + 50], 1) for x, y in ((10 + 3 * t, 5), (118 - 2 * t, 30)))
    frame, box, true = np.tile(t, 2), np.concatenate([one, two]), np.repeat([0, 1], 30)
    mixed = np.random.default_rng(0).permutation(60)
    hidden = (frame >= 8) & (frame < 11) & (true == 0)
    mixed = mixed[~hidden[mixed]]
    who = link(frame[mixed], box[mixed])
    assert all(len(set(who[true[mixed] == k])) == 1 for k in (0, 1)) and len(set(who)) == 2, (
        "three frames unseen are no end")
    assert len(set(link(frame[mixed], box[mixed], gap=1))) == 3
    cut = link(frame[mixed], box[mixed], cuts=t == 15)
    assert not set(cut[frame[mixed] < 15]) & set(cut[frame[mixed] >= 15])
    f, b, w = between(frame[mixed], box[mixed], who)
    assert sorted(f) == [8, 9, 10] and np.abs(b[np.argsort(f)] - one[8:11]).max() < 1e-4


def test_a_cut_is_found_and_a_fast_camera_is_none():
    a = np.random.default_rng(0).integers(0, 255, (12, 16, 3)).astype(np.float32)
    pan = np.stack([np.roll(a, k // 2, 1) for k in range(20)])
    assert not find_cuts(np.repeat(a[None], 9, 0)).any() and not find_cuts(a[None]).any()
    thumbs = np.concatenate([np.repeat(a[None], 8, 0), np.repeat(255 - a[None], 8, 0)])
    assert np.flatnonzero(find_cuts(thumbs)).tolist() == [8]
    assert find_cuts(pan[::2]).sum() == 0


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("drawn")
    folder = write_clips(tmp / "clips", 3, 1, length=16, filming=Filming(cut=1.0))
    people = read_filmed(folder / "person_keypoints_train.json")
    return folder, people, cut_clips(people, SIZE)


def test_crops_of_clips_are_crops_of_pictures(drawn, tmp_path):
    folder, people, crops = drawn
    assert torch.equal(crops.image, torch.stack([o["image"] for o in Crops(people, SIZE)]))
    first = cut_clips(people, SIZE, folder=tmp_path / "kept")
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_bytes(kept.read_bytes()[:1000])       # a damaged file is made anew
    assert torch.equal(cut_clips(people, SIZE, folder=tmp_path / "kept").image, first.image)
    cut_clips(people.subset(range(5)), SIZE, folder=tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 2, "other people, another file"


def test_boxes_come_in_every_form(drawn, tmp_path):
    folder, people, _ = drawn
    source = folder / "images/train"
    given = [dict(file_name=people.clips[people.clip[m]], frame=int(people.frame[m]), bbox=b.tolist(), score=0.9)
             for m, b in zip(people.image, people.box)]
    forms = dict(coco=json.loads((folder / "person_keypoints_train.json").read_text()), results=given,
                 pictures=[dict(file_name=people.files[m], bbox=b.tolist()) for m, b in zip(people.image, people.box)],
                 frames={c: {str(g["frame"]): [g["bbox"]] for g in given if g["file_name"] == c} for c in people.clips})
    for name, form in forms.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(form))
        free = read_clips(source, boxes=tmp_path / f"{name}.json")
        assert np.allclose(free.box, people.box) and not free.vis.any() and (free.image == people.image).all(), name
        assert len(set(zip(free.track, people.track))) == len(set(free.track)) == 6, (
            f"{name}: cuts part the tracks as the truth does")
    assert len(read_clips(source, boxes=(1, 1, 60, 90))) == 48
    lone = read_clips(source / "000002")
    assert (len(lone) == 16 and lone.clips == ["000002"]
            and torch.equal(cut_clips(lone, SIZE).image[3], Crops(lone, SIZE)[3]["image"]))
    (tmp_path / "bad.json").write_text(json.dumps([dict(file_name="000001", frame=0, bbox=[1, 2, 3])]))
    with pytest.raises(UserError, match='"bbox" of entry 1'): read_clips(source, boxes=tmp_path / "bad.json")


def test_labels_without_frames_are_refused(drawn, tmp_path):
    folder, _, _ = drawn
    d = json.loads((folder / "person_keypoints_train.json").read_text())
    del d["images"][3]["frame"]
    path = folder / "broken.json"
    path.write_text(json.dumps(d))
    with pytest.raises(UserError, match='image 4 has no "video" .* and "frame"'): read_filmed(path)
    d["images"][3]["frame"] = d["images"][2]["frame"]
    path.write_text(json.dumps(d))
    with pytest.raises(UserError, match="listed more than once"): read_filmed(path)
    path.unlink()


def test_pairs_never_cross_a_cut(drawn):
    _, people, _ = drawn
    two = pairs(people, (1, 3))
    at = people.frame[people.image]
    assert set(at[two[:, 1]] - at[two[:, 0]]) == {1, 3} and (people.track[two[:, 0]] == people.track[two[:, 1]]).all()
    assert len(two) == 3 * ((16 - 2) + (16 - 2 * 3))      # two scenes a clip: 14 pairs one apart, 10 three apart
    hole = people.subset(np.arange(len(people)) != 2)
    assert len(pairs(hole, (1, 3))) < len(two) - 2, "motion is followed through every frame between"


# ---- motion ----


@pytest.fixture(scope="module")
def moving():
    n = torch.arange(24)
    clip = [draw_frames(torch.full_like(n, c), n, filming=STILL) for c in (9, 13)]
    image = torch.cat([d.image for d in clip])
    after = torch.arange(48) + 1
    after[23::24] = -1
    return (image, torch.cat([d.xy[:, 0] for d in clip]), torch.cat([d.vis[:, 0] for d in clip]),
            flows(image, torch.eye(3).repeat(48, 1, 1), after))


def views(n=4):
    g = torch.Generator().manual_seed(1)
    return A30.sample(plain(n, SIZE), SIZE, generator=g), A60.sample(plain(n, SIZE), SIZE, generator=g)


def some_heat(n=4):
    xy = 6 + torch.rand(n, 17, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([34.0, 50.0])
    return CODEC.encode(xy, torch.full((n, 17), 2), (32, 24))[0], xy


@pytest.mark.parametrize("mode", ["spline", "bilinear"])
def test_a_still_clip_is_carried_by_the_views_alone(moving, mode):
    image = moving[0]
    M = torch.tensor([[[1.1, 0, 3], [0, 1.1, -2], [0, 0, 1]]]).repeat(2, 1, 1)
    f = flows(image[[5, 5]], M, torch.tensor([1, -1]))
    assert not f.there.any() and not f.back.any() and f.rest[0] < 1e-3
    src, dst = views()
    heat, _ = some_heat()
    got = carry_along(heat, src, dst, f.back[:1].float().expand(4, -1, -1, -1), f.stride, CODEC, FLIPS, mode)
    assert torch.allclose(got, carry(heat, src, dst, CODEC, FLIPS, mode), atol=1e-4)


def test_a_whole_shift_carries_every_height(moving):
    heat, xy = some_heat()
    view = plain(4, SIZE)
    back = torch.zeros(4, 2, 96, 72) + torch.tensor([6.0, -4.0]).view(2, 1, 1)
    got = carry_along(heat, view, view, back, 1, CODEC, FLIPS)
    assert torch.allclose(got[..., 2:, :-3], heat[..., :-2, 3:], atol=1e-5)
    assert torch.allclose(carry_joints(xy, view, view, -back, 1, FLIPS), xy - torch.tensor([6.0, -4.0]), atol=1e-4)


def test_a_motion_that_is_a_matrix_is_a_change_of_view():
    """everything at once: views, mirrors and motion; against `views.carry` with the motion put into the second
    view's matrix"""
    src, dst = views()
    src.flip[1] = True
    heat, xy = some_heat()
    M = affine((96, 72), torch.tensor([5.0, -8.0, 3.0, 0.0]), torch.tensor([1.05, 0.97, 1.0, 1.1]),
               shift=torch.tensor([[2.0, 1.0], [-3.0, 2.0], [0.5, 0.3], [0.0, 0.0]]))
    p = pixels((96, 72))
    way = lambda A: (move(p.view(1, -1, 2).expand(4, -1, -1), A).view(4, 96, 72, 2) - p).permute(0, 3, 1, 2)
    seen = type(dst)(compose(M, dst.M), dst.flip)
    want = carry(heat, src, seen, CODEC, FLIPS, "spline")
    got = carry_along(heat, src, dst, way(invert(M)), 1, CODEC, FLIPS)
    inside = torch.nn.functional.max_pool2d((want > 0.3).float(), 3, 1, 1) > 0
    assert (got - want)[inside].abs().quantile(0.99) < 0.02
    assert torch.allclose(carry_joints(xy, src, dst, way(M), 1, FLIPS),
                          carry_joints(xy, src, seen, way(M) * 0, 1, FLIPS), atol=0.02)
    N = affine((96, 72), 7.0, 1.08, shift=torch.tensor([[4.0, -3.0]])).expand(4, -1, -1)
    assert (chain(way(M), way(N), stride=1) - way(compose(M, N)))[..., 30:66, 22:50].abs().max() < 1e-2
    drawn, weight = redraw(heat, src, dst, way(M), 1, CODEC, FLIPS)
    far = (CODEC.decode(drawn)[0] - CODEC.decode(want)[0]).norm(dim=-1)[(weight > 0) & (want.amax((2, 3)) > 0.9)]
    assert far.quantile(0.9) < 1.5


def test_flow_follows_joints_and_chains(moving):
    image, xy, vis, f = moving
    rows = torch.arange(0, 18)
    assert chain(torch.zeros(1, 2, 9, 9), stride=1).abs().max() == 0
    way = chain(*(f.there[rows + k].float() for k in range(4)), stride=f.stride)
    ok = (vis[rows] == 2) & (vis[rows + 4] == 2)
    left, stays = ((p - xy[rows + 4]).norm(dim=-1)[ok].median() for p in (follow(xy[rows], way, f.stride), xy[rows]))
    assert left < 0.6 * stays


def test_a_jumping_box_is_no_motion(moving):
    image, xy, _, f = moving
    M = torch.eye(3).repeat(2, 1, 1)
    M[1, :2, 2] = torch.tensor([7.0, -5.0])
    moved = torch.zeros_like(image[:1])
    moved[..., :-5, 7:] = image[5:6, :, 5:, :-7]
    g = flows(torch.cat([image[5:6], moved]), M, torch.tensor([1, -1]))
    inner = g.there[0, :, 20:76, 16:56].float()
    assert inner.abs().mean() < 0.1
    way = whole_way(g.there[:1], compose(invert(M[:1]), M[1:]), 1)
    assert (follow(xy[5:6], way, 1) - xy[5:6] - torch.tensor([7.0, -5.0])).abs().median() < 0.2


def test_two_scenes_teach_nothing_and_order_is_a_mirror(moving):
    image, _, _, f = moving
    M = torch.eye(3).repeat(3, 1, 1)
    g = flows(image[[5, 40, 5]], M, torch.tensor([1, 2, -1]))
    assert g.rest[0] > APART and not trust(g.there[:1].float(), g.back[:1].float(), g.stride, rest=g.rest[:1]).any()
    assert (torch.equal(g.there[0], g.back[1]) and torch.equal(g.back[0], g.there[1]) and g.rest[0] == g.rest[1]
            and g.rest[2] == 1)
    near = trust(f.there[:23].float(), f.back[:23].float(), f.stride, rest=f.rest[:23])
    assert (f.rest[:23] <= APART).all() and near.mean() > 0.6 and 0 <= near.min() and near.max() <= 1
    zero = torch.zeros(1, 2, 20, 20)
    assert (trust(zero, zero, 1) == 1).all() and not trust(zero + 50, zero - 50, 1).any(), (
        "what leaves the crop is not known")


def test_small_crops_do_not_depend_on_those_before():
    rng = np.random.default_rng(0)
    a = np.asarray(Image.fromarray(rng.integers(0, 255, (12, 9), np.uint8)).resize((48, 64), Image.Resampling.BICUBIC))
    b = np.roll(a, 2, 1)
    alone = dis(a, b)
    big = [np.asarray(Image.fromarray(v).resize((240, 320))) for v in (a, b)]
    far = dis(*big)
    for _ in range(3): dis(a[:40, :30], b[:40, :30])
    assert np.array_equal(dis(*big), far) and np.array_equal(dis(a, b), alone) and alone.shape == (64, 48, 2)
    assert np.abs(np.median(alone[16:-16, 12:-12], axis=(0, 1)) - [2, 0]).max() < 0.3


# ---- the stream ----


def test_links_go_both_ways_and_padding_does_nothing(drawn):
    _, people, crops = drawn
    film = Film(crops)
    two = pairs(people, (1, 4))
    x, alone = film.links(*two[[0, -1]].T), film.links(*two[:1].T)
    assert (x["flow"].shape[1] == 4 and torch.allclose(assemble(x["flow"], x["A"], 1)[:1],
                                                       assemble(alone["flow"], alone["A"], 1), atol=1e-3))
    i = two[-1:, 0]
    assert not assemble(film.links(i, i)["flow"], film.links(i, i)["A"], 1).any()
    b = Pairs(film, (2,)).batch(range(20))
    far = lambda p, k: (p - b[f"xy_{k}"])[(b["vis_before"] == 2) & (b["vis_after"] == 2)].norm(dim=-1).median()
    for a, z, way in (("before", "after", "there"), ("after", "before", "back")):
        assert far(follow(b[f"xy_{a}"], assemble(b[way], b[f"A_{way}"], 1), 1), z) < 0.7 * far(b[f"xy_{a}"], z)
    with pytest.raises(ValueError, match="unbroken"): film.links([0], [len(people) - 1])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_taken_up_again_sees_the_same_pairs(drawn, workers):
    _, people, crops = drawn
    make = lambda seed: FilmStreams(Streams(crops, None, (4, 0), steps=9, seed=seed, num_workers=workers),
                                    Pairs(Film(crops), (1, 2, 3)), 8)
    streams = make(3)
    flat = lambda b: [*b[0]["pairs"].values(), b[0]["labeled"], *b[1].values()]
    same = lambda a, b: all(torch.equal(p, q) for p, q in zip(flat(a), flat(b), strict=True))
    every, rest = list(streams), list(streams.from_step(5))
    assert len(every) == 9 and len(rest) == 4 and all(map(same, every[5:], rest)) and same(every[2], make(3).at(2))
    assert not same(every[0], every[1]) and not same(every[0], make(4).at(0))
    seen = torch.cat([b[0]["pairs"]["row_before"] * 1000 + b[0]["pairs"]["row_after"] for b in every])
    assert len(seen.unique()) == len(seen), "every pair once before any comes twice"


def test_pairs_of_another_size_are_refused(drawn):
    _, people, crops = drawn
    with pytest.raises(UserError, match="cut both with the same size"):
        FilmStreams(Streams(cut_clips(people, (32, 24)), None, (4, 0)), Pairs(Film(crops)), 8)
    with pytest.raises(UserError, match="these people are of pictures"):
        plain_people = type("P", (), dict(folder="x"))()
        Film(type("C", (), dict(people=plain_people))())


# ---- jitter, smoothing, overlays ----


def test_jitter_knows_noise_from_offsets_and_cuts(drawn):
    _, people, _ = drawn
    rng = np.random.default_rng(0)
    assert jitter(people, people.xy)["jitter"] == 0 and jitter(people, people.xy + 7)["jitter"] < 1e-5
    assert abs(jitter(people, people.xy + rng.normal(0, 1, people.xy.shape))["jitter"] - np.sqrt(3 * np.pi)) < 0.2
    assert jitter(people, people.xy + 40.0 * (people.track % 2)[:, None, None])["jitter"] < 1e-4, (
        "no triple crosses a cut")
    t = triples(people.subset(people.frame[people.image] % 2 == 1))
    assert len(t) > 0
    with pytest.raises(UserError, match="jitter cannot be measured"): jitter(people.unlabeled(), people.xy)


def test_smoothing_never_meets_a_gap():
    t = np.arange(40)
    line = np.stack([2.0 * t, 5 - t / 3], -1)[:, None].repeat(2, 1)
    assert np.allclose(smooth(line), line)
    holes = line + np.random.default_rng(0).normal(0, 1, line.shape)
    holes[10:13, 0] = np.nan
    got = smooth(holes)
    assert (np.array_equal(np.isnan(got), np.isnan(holes)) and np.allclose(got[:10, 0], smooth(holes[:10])[:, 0])
            and np.allclose(got[13:, 0], smooth(holes[13:])[:, 0]))
    with pytest.raises(UserError, match="odd"): smooth(line, 6)


def test_predictions_get_tracks_and_a_video(drawn, tmp_path):
    pytest.importorskip("av")
    folder, people, _ = drawn
    rows = np.flatnonzero(people.clip[people.image] == 0)
    rng = np.random.default_rng(0)
    results = [dict(file_name="000001", frame=int(people.frame[people.image[i]]),
                    bbox=people.box[i].tolist(), score=1.0,
                    keypoints=np.concatenate([people.xy[i] + rng.normal(0, 1, (17, 2)), np.ones((17, 1))],
                                             1).ravel().tolist()) for i in rows]
    cuts = np.diff(people.track[rows], prepend=people.track[rows[0]]) != 0
    found = track_results(results, cuts)
    assert [r["track_id"] for r in found] == (1 + np.cumsum(cuts)).tolist()
    off = lambda rs: np.mean([np.linalg.norm(np.reshape(r["keypoints"], (17, 3))[:, :2] - people.xy[i],
                                             axis=-1)[people.vis[i] > 0].mean() for r, i in zip(rs, rows)])
    calm = smooth_results(found)
    assert (off(calm) < 0.85 * off(found) and all({k: v for k, v in a.items() if k != "keypoints"}
                                                  == {k: v for k, v in b.items() if k != "keypoints"}
                                                  for a, b in zip(calm, found)))
    assert overlay(folder / "images/train/000001", calm, tmp_path / "o.mp4", boxes=True) == 16
    shown = [np.asarray(f.image).astype(int) for f in frames(tmp_path / "o.mp4")]
    plain_ = [np.asarray(f.image).astype(int) for f in frames(folder / "images/train/000001")]
    assert len(shown) == 16 and all(np.abs(a - b).max() > 60 for a, b in zip(shown, plain_))


# ---- real ----


@needs("mocap")
def test_mocap_is_labelled_video(tmp_path):
    pytest.importorskip("av")
    d = json.loads((REAL / "mocap/person_keypoints_val_coco17.json").read_text())
    d["images"] = [im for im in d["images"] if im["video"] == "clip_13.mp4" and im["frame"] < 20]
    ids = {im["id"] for im in d["images"]}
    d["annotations"] = [a for a in d["annotations"] if a["image_id"] in ids]
    (tmp_path / "labels.json").write_text(json.dumps(d))
    known = read_filmed(tmp_path / "labels.json", REAL / "mocap/images")
    film = in_video(known, REAL / "mocap", note=quiet)
    labelled = ~film.between
    assert labelled.sum() == len(known) and (film.vis[labelled] > 0).any(1).all() and not film.vis[film.between].any()
    assert set(np.diff(film.frame[film.image])) == {1}, "every frame between two labels has a box"
    a, b = cut_clips(film, SIZE), cut_clips(known, SIZE)
    assert (a.image[torch.from_numpy(labelled)].float() - b.image.float()).abs().mean() < 4, (
        "the picture that was labelled is that frame of the video")
    assert (a.xy[torch.from_numpy(labelled)] - b.xy).abs().max() < 1e-2
    f = Film(a.subset(range(12)))
    both = [(i, i + 2) for i in range(10) if labelled[i] and labelled[i + 2]]
    way = f.links(*np.array(both).T)
    p, q = a.xy[[i for i, _ in both]], a.xy[[j for _, j in both]]
    ok = (a.vis[[i for i, _ in both]] > 0) & (a.vis[[j for _, j in both]] > 0)
    assert ((follow(p, assemble(way["flow"], way["A"], 1), 1) - q).norm(dim=-1)[ok].median() < 0.8
            * (p - q).norm(dim=-1)[ok].median())
    assert jitter(known, known.xy)["own"] > 0


@needs("mirror-mouse")
def test_mirror_mouse_has_an_unlabelled_video():
    pytest.importorskip("av")
    from semipose.data.coco import read_coco
    labels = read_coco(REAL / "mirror-mouse/person_keypoints.json")
    (clip,) = list_clips(REAL / "mirror-mouse/videos")
    first = [f for f, _ in zip(frames(clip[1]), range(5))]
    assert ([f.number for f in first] == [0, 1, 2, 3, 4]
            and {f.image.size for f in first} == {tuple(labels.sizes[0][::-1])})
    free = read_clips(REAL / "mirror-mouse/videos", labels.skeleton)
    assert len(free) == 994 and len(set(free.track)) == 1 and len(free.skeleton) == len(labels.skeleton)
