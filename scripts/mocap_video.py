"""Ten labelled frames of real video: PCK and jitter of rows that learn from the other frames, with and without order.

`python scripts/mocap_video.py ../shared/data/mocap` reads the hand-labelled clips of data/README.md's `mocap`. Ten
frames of clip 8 are labelled (a choice by seed), all of its frames are unlabelled people, and clip 13, the other
camera, is measured: PCK@0.2 and jitter (px a frame², mean acceleration error, raw answers). Each finished row of a seed
is written into results/video/mocap.json at once, so a stopped call goes on. `--steps 2 --start-steps 2 --keep FILE`
tries the way in a minute.
"""
from __future__ import annotations

import argparse, json
from dataclasses import replace
from pathlib import Path

from semipose.data.coco import write_json
from semipose.people import prepare
from semipose.protocols import protocol
from semipose.run import starts, train_row

ROWS = ("supervised", "posedual_jc", "frames", "neighbour", "temporal", "labels_travel", "posedual_jc_frames",
        "posedual_jc_neighbour")
LABELS = "person_keypoints_val_coco17.json"


def part(data: Path, video: str, to: Path) -> Path:
    "The labels of one clip, as a file of their own"
    d = json.loads((data / LABELS).read_text())
    images = [im for im in d["images"] if im["video"] == video]
    ids = {im["id"] for im in images}
    write_json(to, dict(d, images=images, annotations=[a for a in d["annotations"] if a["image_id"] in ids]))
    return to


def people(data: Path, folder: Path, p, seed: int):
    "Ten labels of clip 8, all of its frames without labels, clip 13 to validate on"
    known = part(data, "clip_8.mp4", folder / "train.json")
    return prepare(p, data / "images", seed, data / "clip_8.mp4", labels=known, boxes=known,
                   val=part(data, "clip_13.mp4", folder / "val.json"))


def main() -> None:
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("data", type=Path, help="the folder mocap")
    a.add_argument("--rows", nargs="+", default=list(ROWS), metavar="ROW")
    a.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    a.add_argument("--steps", type=int, default=300)
    a.add_argument("--start-steps", type=int, default=300)
    a.add_argument("--runs", type=Path, default=Path("runs/mocap"))
    a.add_argument("--keep", type=Path, default=Path("results/video/mocap.json"))
    a = a.parse_args()
    p = replace(protocol("folder"), name="mocap", title="Ten labelled frames of video", net="tiny", width=24,
                size=(128, 96), sigma=1.5, labels=10, batch=(10, 16), start_steps=a.start_steps,
                start_every=a.start_steps, steps=a.steps, every=a.steps, start_lr=3e-3, lr=1e-3, optimiser="adamw",
                unannotated=False)
    out = dict(settings=p.as_dict(), clips=dict(train="clip_8.mp4", val="clip_13.mp4"), rows={})
    if a.keep.exists():
        out = json.loads(a.keep.read_text())
        if out["settings"] != json.loads(json.dumps(p.as_dict())):
            raise SystemExit(f"{a.keep} holds numbers of other settings: give another --keep.")
    for seed in range(a.seeds):
        todo = [r for r in a.rows if str(seed) not in out["rows"].get(r, {})]
        if not todo:
            continue
        folder = a.runs / f"seed{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        data = people(a.data, folder, p, seed)
        start = starts(list(a.rows), p, data, folder / "start", seed, device="cpu")
        for row in todo:
            run = train_row(row, p, data, folder, seed, start, device="cpu")
            last = run["last"]
            out["rows"].setdefault(row, {})[str(seed)] = dict(
                pck=round(last["pck"], 3), ap=round(last["ap"], 3), jitter=round(last["jitter"], 4),
                seconds_a_step=round(last["seconds"] / p.steps, 3))
            write_json(a.keep, out)
            print(f"seed {seed}, {row}: PCK@0.2 {last['pck']:.1f}, jitter {last['jitter']:.2f}, "
                  f"{last['seconds'] / p.steps:.2f} s a step")


if __name__ == "__main__":
    main()
