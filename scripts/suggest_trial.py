"""Are labels that `semipose suggest` chooses worth more than as many random ones? Trained on synthetic people, seed
by seed.

`python scripts/suggest_trial.py --seeds 0-4 --out results/suggest/drawn.json`
    for each seed: a start on a few random labels; its networks choose as many again; then trainings that differ in
    their labels alone:
    `start` (the first few), `random` (as many again at random), `chosen` (as many again by `suggest`),
    `covered` (by `suggest` with how='cover'), `double` (random, twice as many in all as `random`).
    Seeds that the file already has are kept. The people of a seed are drawn anew, and no other seed has seen them.
`--small` trains a few steps on few people, to see that it runs: its numbers mean nothing, and the file says so.
"""
from __future__ import annotations

import argparse, json, os, tempfile, time
from dataclasses import replace
from pathlib import Path

import numpy as np

from semipose.data.coco import read_coco, to_coco, write_json
from semipose.data.synth import DIFFICULTIES, write_synth
from semipose.label import suggest_run
from semipose.protocols import protocol
from semipose.run import hardware, revision, train, versions


def seeds_of(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def part(drawn: Path, folder: Path, rows) -> Path:
    "A data folder with some of the training people, all validation people, and the same pictures"
    folder.mkdir(parents=True)
    os.symlink(drawn / "images", folder / "images")
    people = read_coco(drawn / "person_keypoints_train.json", drawn / "images/train")
    mine = people.subset(np.sort(rows))
    used, image = np.unique(mine.image, return_inverse=True)
    mine = replace(mine, files=[mine.files[i] for i in used], image=image, image_ids=mine.image_ids[used], sizes=None
                   if mine.sizes is None else mine.sizes[used])
    write_json(folder / "person_keypoints_train.json", to_coco(mine))
    (folder / "person_keypoints_val.json").write_bytes((drawn / "person_keypoints_val.json").read_bytes())
    return folder


def once(seed: int, method: str, labels: int, p, people: tuple[int, int], device: str, say=print) -> dict:
    "The trainings of one seed"
    with tempfile.TemporaryDirectory() as room:
        room = Path(room)
        drawn = write_synth(room / "drawn", *people, seed=1000 + seed, size=(96, 72),
                            difficulty=DIFFICULTIES[p.difficulty or "medium"], progress=False)
        order = np.random.default_rng(seed).permutation(people[0])
        names = read_coco(drawn / "person_keypoints_train.json", drawn / "images/train").files
        q, out = replace(p, data=None, labels=None, name="suggest", title="Which to label"), {}

        def arm(name, rows):
            begun = time.time()
            done = train(method, q, part(drawn, room / name, rows), room / f"{name}-run", seed, device=device,
                         progress=False)
            last = done["last"]
            out[name] = dict(labels=len(rows), ap=last["ap"], pck=last["pck"], seconds=round(time.time() - begun, 1))
            say(f"seed {seed}, {name}: {len(rows)} labels, AP {last['ap']:.1f}, PCK {last['pck']:.1f}, "
                f"{out[name]['seconds']:.0f} s", flush=True)

        first = order[:labels]
        arm("start", first)
        out["value"] = {}
        for name, how in (("chosen", "center"), ("covered", "cover")):
            found = suggest_run(room / "start-run", drawn / "images/train", labels, device=device, how=how)
            rows = np.array([names.index(f) for f in found.files])
            assert not set(rows) & set(first) and len(rows) == labels
            out["value"] |= {name: float(np.mean(found.value)), "all": float(found.disagreement.value.mean())}
            arm(name, np.concatenate([first, rows]))
        arm("random", order[:2 * labels])
        arm("double", order[:4 * labels])
        return out


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--seeds", default="0-4", help="as in 0-4")
    a.add_argument("--labels", type=int, default=16, help="of the start; the others have twice and four times as many")
    a.add_argument("--method", default="supervised", help="a method that needs no warm-up and no unlabelled people")
    a.add_argument("--people", type=int, default=2000, help="training people among whom to choose")
    a.add_argument("--device", default="auto")
    a.add_argument("--out", type=Path, default=Path("results/suggest/drawn.json"))
    a.add_argument("--small", action="store_true", help="see that it runs")
    a = a.parse_args()
    p = protocol("demo")
    people, labels = (a.people, 500), a.labels
    if a.small: p, people, labels = replace(p, steps=60, every=30, start_steps=30, start_every=30), (200, 60), 8
    about = dict(method=a.method, labels=labels, people=people, small=a.small, protocol=p.name, steps=p.steps)
    found = json.loads(a.out.read_text()) if a.out.exists() else dict(about=json.loads(json.dumps(about)), seeds={})
    if found["about"] != json.loads(json.dumps(about)): raise SystemExit(f"{a.out} holds another trial "
        f"({found['about']}); choose another --out.")
    found |= dict(versions=versions(), hardware=hardware(), revision=revision())
    for seed in seeds_of(a.seeds):
        if str(seed) in found["seeds"]: continue
        found["seeds"][str(seed)] = once(seed, a.method, labels, p, people, a.device)
        a.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(a.out, found)


if __name__ == "__main__":
    main()
