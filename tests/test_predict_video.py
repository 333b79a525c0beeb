"""`semipose predict` on clips: tracks, smoothing, an overlay, one sentence for each fault, and bounded memory."""
import json, os, weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import semipose.data.video as video
import semipose.overlay as painting
import semipose.photos as photos
from semipose.cli import app
from semipose.codecs import Gaussian
from semipose.data.moving import Filming, write_clips
from semipose.data.video import Frame, frames, write_video
from semipose.errors import UserError
from semipose.overlay import one_euro, overlay, smooth_results
from semipose.photos import Drawing, Inference, predict_photos
from semipose.overlay import ClipOutput, predict_clips
from semipose.protocols import protocol
from semipose.run import train
from semipose.skeletons import COCO17

av = pytest.importorskip("av")
SIZE = (64, 48)


class Finds(torch.nn.Module):
    "A heatmap that shines where the crop is bright"
    def forward(self, x): return torch.nn.functional.avg_pool2d(x.mean(1, keepdim=True), 4).repeat(1, 17, 1, 1)


def see(sources, boxes=None, out=None, **kw):
    sources = sources if isinstance(sources, list) else [sources]
    return predict_clips(Finds(), Gaussian(stride=4), SIZE, COCO17, sources, boxes, out, **kw)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    old, new = Path.cwd(), tmp_path_factory.mktemp("videos")
    os.chdir(new)
    write_clips("drawn", 2, 1, length=12, kind="mp4", filming=Filming(cut=0.), progress=False)
    yield new
    os.chdir(old)


def lit(n, at, size=(96, 128)):
    "A frame with bright squares at some places"
    a = np.zeros((*size, 3), np.uint8)
    a[...] = 40 + n % 7
    for x, y in at: a[y-4:y+4, x-4:x+4] = 255
    return a


def test_a_run_answers_a_clip_from_the_command_line(home):
    p = replace(protocol("demo-video"), name="clips", title="clips", labels=6, train_people=24, val_people=12,
                frames=12, width=6, batch=(4, 6), start_steps=2, start_every=2, steps=2, every=2)
    train("supervised", p, "drawn", home / "run", device="cpu", progress=False)
    clip = "drawn/images/train/000001.mp4"
    typed = lambda *args: CliRunner().invoke(app, ["predict", "run", clip, *args, "--device", "cpu"])
    done = typed("--boxes", "drawn/person_keypoints_train.json", "--smooth", "one-euro", "--out", "o")
    assert done.exit_code == 0, done.output
    assert "12 boxes of people in 12 frames, 1 track, " in done.output and " frames a second" in done.output
    raw, calm = (json.loads(Path("o", f).read_text()) for f in ("predictions.json", "smoothed.json"))
    assert {r["track_id"] for r in raw} == {1} and [r["frame"] for r in raw] == [*range(12)]
    assert [{**r, "keypoints": 0} for r in raw] == [{**r, "keypoints": 0} for r in calm] and raw != calm
    assert sum(1 for _ in frames("o/000001.mp4")) == 12 and not list(Path("o").glob("*.png"))
    boxes = {r["frame"]: r["bbox"] for r in raw}
    assert len(set(map(tuple, boxes.values()))) > 6, "every frame has its own box"
    assert typed("--smooth", "kalman", "--out", "p").exit_code == 2 and not Path("p").exists()
    done = typed("--no-pictures", "--out", "q")
    assert done.exit_code == 0 and sorted(f.name for f in Path("q").iterdir()) == ["predictions.json"]


def test_tracks_cross_and_no_two_clips_share_one(home):
    at = lambda n: [(20 + 3*n, 30), (90 - 3*n, 70)]
    for name in "ab": write_video(f"{name}.mp4", [lit(n, at(n)) for n in range(14)])
    boxes = [dict(file_name=f"{name}.mp4", frame=n, bbox=[x - 14, y - 18, 28, 36])
             for name in "ab" for n in range(14) for x, y in (at(n) if n != 5 else at(n)[:1])]
    Path("two.json").write_text(json.dumps(boxes))
    got = see(["a.mp4", "b.mp4"], "two.json", "two")
    of = lambda r: (r["file_name"], r["bbox"][1] > 30)
    who = {of(r): r["track_id"] for r in got.found}
    assert sorted(who.values()) == [1, 2, 3, 4] and all(r["track_id"] == who[of(r)] for r in got.found)
    assert len(got.found) == 2*27 and [p.name for p in got.overlays] == ["a.mp4", "b.mp4"]
    marked = np.asarray(next(iter(frames("two/a.mp4"))).image).astype(int)
    assert np.abs(marked - lit(0, at(0))).max() > 100


def test_a_stopped_prediction_goes_on_and_a_lost_overlay_is_made(home, monkeypatch):
    write_video("long.mp4", [lit(n, [(20 + n, 40)]) for n in range(30)])
    want = see("long.mp4", out="whole", how=Inference(batch=8))
    real, calls = Finds.forward, []
    def stops(self, x):
        calls.append(len(x))
        if len(calls) == 3: raise KeyboardInterrupt
        return real(self, x)
    monkeypatch.setattr(Finds, "forward", stops)
    with pytest.raises(KeyboardInterrupt): see("long.mp4", out="part", how=Inference(batch=8))
    calls.clear()
    monkeypatch.setattr(Finds, "forward", lambda self, x: calls.append(len(x)) or real(self, x))
    got = see("long.mp4", out="part", how=Inference(batch=8), resume=True)
    assert list(got.found) == list(want.found) and sum(calls) == 14, "16 of 30 frames were known"
    Path("part/long.mp4").unlink()
    calls.clear()
    again = see("long.mp4", out="part", resume=True)
    assert not calls and again.overlays and list(again.found) == list(want.found)


def test_every_fault_is_one_sentence(home, monkeypatch):
    Path("faults").mkdir()
    write_video("faults/whole.mkv", [lit(n, [(20 + n, 40)]) for n in range(60)], quality=0)
    whole = Path("faults/whole.mkv").read_bytes()
    Path("faults/short.mkv").write_bytes(whole[:len(whole)*6//10])
    told = []
    got = see("faults/short.mkv", out="short", note=told.append)
    assert len(told) == 1 and "is the file complete?" in told[0] and 20 < got.found.looked < 60
    assert len(got.found.failed) == 1 and got.overlays, "what could be read is kept, and painted"
    Path("faults/empty.mp4").write_bytes(b"")
    with pytest.raises(UserError, match="^faults/empty.mp4: this file is empty; "): see("faults/empty.mp4", out="e",
                                                                                       note=told.append)
    assert not Path("e").exists()
    parts = []
    for k, size in enumerate(((48, 64), (64, 96))):
        parts.append(Path(f"faults/{k}.ts"))
        with av.open(str(parts[-1]), "w") as f:
            s = f.add_stream("mpeg2video", rate=25)
            s.height, s.width, s.pix_fmt = *size, "yuv420p"
            for n in range(6):
                for q in s.encode(av.VideoFrame.from_ndarray(lit(n, [], size), "rgb24")): f.mux(q)
            for q in s.encode(): f.mux(q)
    Path("faults/both.ts").write_bytes(b"".join(p.read_bytes() for p in parts))
    told.clear()
    got = see("faults/both.ts", out="both", note=told.append)
    assert len(told) == 1 and "is 96 x 64 px and those before it are 64 x 48" in told[0]
    assert len(got.found.failed) == 1 and got.found.looked == 5 == sum(1 for _ in frames(got.overlays[0]))
    monkeypatch.setattr(video, "_h264", lambda *a: (_ for _ in ()).throw(UserError("x.mp4: this PyAV has no H.264")))
    told.clear()
    got = see("faults/whole.mkv", out="codec", note=told.append)
    assert told == ["No overlay video: x.mp4: this PyAV has no H.264"] and len(got.found) == 60 and not got.overlays


def test_an_encoder_that_is_missing_is_told(tmp_path, monkeypatch):
    class Poor:
        def add_stream(self, *a, **kw): raise ValueError("no encoder libx264")
    said = r"^a.mp4: this PyAV has no H.264 encoder \(.*libx264'?\), .* --force-reinstall av\.$"
    with pytest.raises(UserError, match=said): video._h264(Poor(), "a.mp4", 25, 20)


class Alive:
    "Counts the pictures of a long clip that are in memory at once"
    def __init__(self, n): self.n, self.now, self.most, self.made = n, 0, 0, 0

    def gone(self): self.now -= 1

    def __call__(self, path, every=1, done=(), note=None):
        for k in range(0, self.n, every):
            im = Image.fromarray(lit(k, [(20 + k % 80, 40)]))
            weakref.finalize(im, self.gone)
            self.made, self.now = self.made + 1, self.now + 1
            self.most = max(self.most, self.now)
            yield Frame(k, k/25, im)
            del im


def test_a_long_clip_is_never_in_memory(home, monkeypatch):
    Path("x.mp4").write_bytes(b"x")
    alive = Alive(500)
    monkeypatch.setattr(photos, "frames", alive)
    found = predict_photos(Finds(), Gaussian(stride=4), SIZE, COCO17, [Path("x.mp4")], None, None,
                           Inference(batch=16), Drawing(False, False))
    assert len(found) == alive.made == 500 and alive.most <= 3, f"{alive.most} frames at once"
    alive = Alive(500)
    monkeypatch.setattr(painting, "frames", alive)
    known = [dict(r, track_id=1) for r in found]
    assert overlay("x.mp4", known, "x.out.mp4", rate=25) == 500 and alive.most <= 3


def test_what_was_not_looked_at_is_not_in_the_overlay(home):
    write_video("skip.mp4", [lit(n, [(20 + n, 40)]) for n in range(20)])
    got = see("skip.mp4", out="skip", how=Inference(every=4), film=ClipOutput(smooth="savgol"))
    assert [r["frame"] for r in got.found] == [0, 4, 8, 12, 16]
    assert sum(1 for _ in frames("skip/skip.mp4")) == 5


def test_one_euro_keeps_its_promises():
    rng = np.random.default_rng(0)
    t = np.arange(80)[:, None, None]
    path = np.concatenate([40 + 15*np.sin(t/8), 30 + 9*np.cos(t/11)], -1)
    found = path + rng.normal(0, 1, path.shape)
    calm = one_euro(found, 60.)
    bend = lambda p: np.abs(np.diff(p, 2, axis=0)).mean()
    assert bend(calm - path) < .6*bend(found - path)
    holes = found.copy()
    holes[30:34] = np.nan
    got = one_euro(holes, 60.)
    assert np.isnan(got[30:34]).all() and np.isfinite(got[34:]).all(), "one gap spoils nothing"
    assert np.array_equal(got[34:], one_euro(holes[34:], 60.)) and np.array_equal(got[:30], calm[:30])
    with pytest.raises(UserError, match="savgol or one-euro"): smooth_results([], how="median")
