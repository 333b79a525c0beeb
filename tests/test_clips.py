"""Video as unlabelled people, from the command line to the bit: read, boxed, linked, cut once, taken up again."""
import json, os, shutil, sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import semipose.data.tracks as tracks
from semipose.cli import app
from semipose.clips import is_footage
from semipose.data.moving import Filming, write_clips
from semipose.data.synth import write_synth
from semipose.data.tracks import Filmed, read_clips
from semipose.data.video import frames, write_video
from semipose.errors import UserError
from semipose.people import film_in, prepare
from semipose.protocols import protocol
from semipose.run import train
from semipose.teaching import Teaching

pytest.importorskip("av")
pytest.importorskip("cv2")
P = replace(protocol("folder"), name="mine", net="tiny", width=6, size=(64, 48), batch=(4, 6), labels=6, steps=6,
            every=3, start_steps=2, start_every=2, sigma=1.5, budget=None, epochs=None)
REAL = Path(__file__).resolve().parent.parent.parent / "shared/data"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    "Photographs with labels, and two clips of which two frames are labelled"
    old, new = Path.cwd(), tmp_path_factory.mktemp("clips")
    os.chdir(new)
    write_synth("photos", train=10, val=6, size=(96, 72), progress=False)
    write_clips("drawn", 2, 1, length=10, filming=Filming(cut=0.), progress=False)
    Path("clips").mkdir()
    for k in (1, 2): write_video(f"clips/{k}.mp4", [f.image for f in frames(f"drawn/images/train/{k:06d}")])
    Path("spotter.py").write_text("calls = []\ndef people(image):\n    calls.append(1)\n"
                                 "    return [[4, 3, image.width - 8, image.height - 6, .9]]\n")
    sys.path.insert(0, str(new))
    yield new
    sys.path.remove(str(new))
    os.chdir(old)


def rows(folder):
    return [{k: v for k, v in r.items() if k != "seconds"}
            for r in json.loads((folder / "result.json").read_text())["rows"]]


def typed(*args): return CliRunner().invoke(app, [*map(str, args), "--device", "cpu"])


SETTINGS = ("--data", "photos", "--labels", 4, "--net", "tiny", "--size", "64x48", "--batch", "4+6", "--steps", 2,
            "--start-steps", 2, "--every", 2)


def test_a_run_on_clips_is_taken_up_to_the_bit(home, monkeypatch):
    data = prepare(P, "photos", 0, "clips", progress=False)
    assert (isinstance(data.others.people, Filmed) and len(data.others) == 20
            and "2 clips of 20 frames: 20 boxes" in str(data.reading))
    whole = train("neighbour", P, data, home / "whole", device="cpu", progress=False)
    class Stop(Exception): pass
    real = Teaching.before_batch
    def breaks(self):
        if self.step == 4: raise Stop("here")
        real(self)
    monkeypatch.setattr(Teaching, "before_batch", breaks)
    same = dict(device="cpu", progress=False, unlabeled="clips")
    with pytest.raises(Stop): train("neighbour", P, "photos", home / "broken", **same)
    monkeypatch.undo()
    def never(*args, **kw): raise AssertionError("a frame was decoded again")
    monkeypatch.setattr(tracks, "frames", never)
    torch.manual_seed(99)
    train("neighbour", P, "photos", home / "broken", resume=True, **same)
    assert rows(home / "whole") == rows(home / "broken") and whole["last"]["step"] == 6
    a, b = (load_file(home / f / "weights.safetensors") for f in ("whole", "broken"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_the_command_line_reads_a_clip_with_a_detector(home):
    import spotter as finder
    done = typed("train", "neighbour", *SETTINGS, "--unlabeled", "clips/1.mp4", "--detector", "spotter:people", "--out",
                 "runs/a")
    assert done.exit_code == 0, done.output
    assert ("10 boxes in 10 of 10 frames." in done.output
            and "1 clip of 10 frames: 10 boxes in 10 of the frames, linked to 1 track" in done.output)
    assert len(finder.calls) == 10 and Path("runs/1-boxes.png").exists()
    done = typed("train", "frames", *SETTINGS, "--unlabeled", "clips/1.mp4", "--detector", "spotter:people", "--out",
                 "runs/b")
    assert done.exit_code == 0 and "found before" in done.output and len(finder.calls) == 10
    recipe = json.loads(Path("runs/a/recipe.json").read_text())
    assert recipe["unlabeled"].endswith("clips/1.mp4") and recipe["boxes"].endswith("1-boxes.json")


def test_a_stopped_search_goes_on(home, monkeypatch):
    import spotter as finder
    finder.calls.clear()
    real = finder.people
    def breaks(image):
        if len(finder.calls) == 7: raise KeyboardInterrupt
        return real(image)
    monkeypatch.setattr(finder, "people", breaks)
    assert typed("boxes", "clips", "--out", "found.json", "--detector", "spotter:people").exit_code == 130
    monkeypatch.undo()
    assert typed("boxes", "clips", "--out", "found.json", "--detector", "spotter:people").exit_code == 0
    assert len(finder.calls) == 20 and not list(Path().glob(".found*")), "7 before it was stopped, 13 after"
    people = read_clips("clips", boxes="found.json")
    assert len(people) == 20 and people.frame[people.image].tolist() == [*range(10)] * 2


@pytest.mark.parametrize("boxes", [{"1.mp4": [[4, 4, 50, 80]]},
                                   [dict(file_name="1.mp4", frame=n, bbox=[4, 4, 50, 80]) for n in range(6)]])
def test_boxes_of_a_clip_or_of_its_frames(home, boxes):
    Path("b.json").write_text(json.dumps(boxes))
    data = prepare(P, "photos", 0, "clips", progress=False, boxes="b.json")
    assert len(data.others) == (10 if isinstance(boxes, dict) else 6)
    assert set(map(tuple, data.others.people.box.tolist())) == {(4, 4, 50, 80)}


def test_numbered_pictures_are_frames_when_a_method_asks(home):
    data = prepare(P, "photos", 0, "drawn/images/train/000001", progress=False)
    assert not isinstance(data.others.people, Filmed), "as ever, until somebody asks"
    film = film_in(data, "neighbour")
    assert (film.flows.after >= 0).sum() == 9 and film.people.frame.tolist() == [*range(10)]
    named = home / "named"
    named.mkdir()
    for a, f in zip("abcd", frames("drawn/images/train/000001")): f.image.save(named / f"{a}.png")
    data = prepare(P, "photos", 0, "named", progress=False)
    with pytest.raises(UserError, match="^neighbour learns from neighbouring frames, and .* single pictures: give a v"):
        film_in(data, "neighbour")


def labelled(home, name, rows, shift=(0, 0)):
    "Labels of some frames of the clips, perhaps cut from them"
    d = json.loads(Path("drawn/person_keypoints_train.json").read_text())
    keep = [d["images"][i] for i in rows]
    ids = {im["id"] for im in keep}
    anns = [a for a in d["annotations"] if a["image_id"] in ids]
    for im in keep:
        im["video"] = f'{int(im["video"])}.mp4'
        im["offset"] = list(shift)
    for a in anns:
        a["bbox"][:2] = [v - s for v, s in zip(a["bbox"], shift)]
        a["keypoints"] = [v - shift[i % 3] if i % 3 < 2 else v for i, v in enumerate(a["keypoints"])]
    Path(name).write_text(json.dumps(dict(d, images=keep, annotations=anns)))
    return Path(name)


def test_labels_of_frames_travel_in_their_clip(home):
    file = labelled(home, "some.json", [2, 5, 11, 14, 17, 19], shift=(3, 2))
    p = replace(P, labels=4)
    data = prepare(p, "drawn/images/train", 0, "clips", progress=False, labels=file,
                   val="drawn/person_keypoints_val.json")
    film = film_in(data, "labels_travel")
    known = data.train.subset(data.split.labeled)
    posed = film.people.subset(film.people.posed)
    assert len(posed) == 4, "those whose labels may be used, no others"
    said = {(known.clips[known.clip[j]], int(known.frame[j])): known.xy[i] + [3, 2] for i, j in enumerate(known.image)}
    for i, j in enumerate(posed.image):
        want = said[posed.clips[posed.clip[j]], int(posed.frame[j])]
        assert np.abs(posed.xy[i] - want)[posed.vis[i] > 0].max() < 1e-3
    r = train("labels_travel", p, data, home / "travel", device="cpu", progress=False)
    assert r["last"]["step"] == 6


def test_frames_that_are_validated_on_are_left_out(home):
    shutil.copytree("drawn/images/train", "shown/images/val")
    labelled(home, "shown/person_keypoints_val.json", [0, 4, 12])
    data = prepare(P, "photos", 0, "clips", progress=False, val="shown")
    at = data.others.people
    gone = {("1.mp4", 0), ("1.mp4", 4), ("2.mp4", 2)}
    seen = {(at.clips[at.clip[j]], int(at.frame[j])) for j in at.image}
    assert len(at) == 17 and not gone & seen and "3 in 3 of 20 frames" in str(data.reading)
    assert (film_in(data).flows.after >= 0).sum() == 2 + 4 + 1 + 6, "a frame that is missing ends a track"


def test_what_is_video_and_what_is_not(home):
    assert is_footage("clips") and is_footage("clips/1.mp4") and not is_footage("photos")
    assert not is_footage("drawn/images/train/000001") and not is_footage("nowhere")
    Path("damaged.json").write_text("{")
    assert not is_footage("drawn/images/train/000001", "damaged.json"), "whoever reads the boxes says why"
    Path("clips/cover.jpg").write_bytes(b"x")
    try: assert not is_footage("clips"), "pictures beside videos are read as ever"
    finally: os.remove("clips/cover.jpg")


@pytest.mark.skipif(not (REAL / "mocap").exists(), reason="no mocap")
def test_labels_of_real_video_are_read_and_measured(home):
    from semipose.measure import by_motion
    labels = REAL / "mocap/person_keypoints_val_coco17.json"
    data = prepare(replace(P, labels=10), REAL / "mocap/images", 0, progress=False, labels=labels)
    assert isinstance(data.train, Filmed) and isinstance(data.val, Filmed)
    from semipose.data.tracks import read_filmed
    both = read_filmed(labels, REAL / "mocap/images")
    assert by_motion(both, both.xy)["jitter"] == 0 and by_motion(both, both.xy * 1.5)["jitter"] > 1


@pytest.mark.skipif(not (REAL / "mirror-mouse").exists(), reason="no mirror-mouse")
def test_an_animal_with_few_labels_and_a_video(home):
    mouse = REAL / "mirror-mouse"
    data = prepare(replace(P, labels=10), mouse, 0, mouse / "videos", progress=False,
                   labels=mouse / "person_keypoints.json")
    at = data.others.people
    assert (len(at) == 994 and at.skeleton.joints == data.train.skeleton.joints and len(np.unique(at.track)) == 1
            and "1 clip of 994 frames" in str(data.reading))
    assert data.labeled.room == data.others.room, "one step sees both"
