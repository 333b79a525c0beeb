"""Are labels that `semipose suggest` chooses worth more than as many random ones? One command a data set:

`python scripts/suggest_trial.py drawn --seeds 0-4`                    synthetic people: results/suggest/drawn.json
`python scripts/suggest_trial.py lsp --data data/lsp --seeds 0-4`      Leeds Sports Pose: results/suggest/lsp.json
    For each seed: a start on a few random labels; its networks choose as many again; then trainings that differ in
    their labels alone:
    `start` (the first few), `chosen` (as many again by `suggest`), `covered` and `typical` (by `suggest` with
    how='cover' and how='typical'), `wrong` (as `chosen`, the true error in the place of the disagreement: what the
    networks cannot know), `random` (as many again at random), `double` (random, twice as many in all as `random`).
    Every arm is written down as it ends, and a training that stopped goes on: the same command again does the rest.
    The runs are kept in --work until their seed is done. Synthetic people of a seed are drawn anew.
`--report` trains nothing and prints what the file says, against the aim: the AP of `double` with half its labels.
`--small` trains a few steps on few people, to see that it runs: its numbers mean nothing, and the file says so.
"""
from __future__ import annotations

import argparse, json, os, shutil, time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t as student

from semipose.data.coco import find_coco, read_coco, to_coco, write_json
from semipose.data.synth import DIFFICULTIES, write_synth
from semipose.label import suggest_run
from semipose.protocols import protocol
from semipose.suggest import LOST, suggest
from semipose.run import hardware, revision, train, versions

ARMS = ("start", "chosen", "covered", "typical", "wrong", "random", "double")
HOW = dict(chosen="center", covered="cover", typical="typical", wrong="center")  # arms whose labels `suggest` chooses
SETS = dict(drawn=dict(protocol="demo", labels=16), lsp=dict(protocol="lsp-100-small", labels=50))


def seeds_of(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def settings(kind: str, labels: int | None, small: bool):
    "(protocol of all arms, which begin from the same weights; labels of the start)"
    p = protocol(SETS[kind]["protocol"])
    # no warm-up before it
    if kind != "drawn": p = replace(p, steps=p.start_steps, every=p.start_every, lr=p.start_lr or p.lr)
    if small:
        steps, every = (4, 2) if kind == "lsp" else (60, 30)
        p, labels = replace(p, steps=steps, every=every, start_steps=0, start_every=None), labels or 8
    return p, labels or SETS[kind]["labels"]


def people_of(kind: str, data: Path | None, seed: int, p, people: tuple[int, int], work: Path) -> Path:
    "The COCO folder of a seed"
    if kind != "drawn": return data
    return write_synth(work / "drawn", *people, seed=1000 + seed, size=(96, 72),
                       difficulty=DIFFICULTIES[p.difficulty or "medium"], progress=False)


def part(source: Path, folder: Path, rows) -> Path:
    "A data folder with some of the training people, all validation people, and the same pictures"
    if (folder / "person_keypoints_val.json").exists(): return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (file, pictures), (val, _) = find_coco(source, "train"), find_coco(source, "val")
    os.symlink((source / "images").resolve(), folder / "images")
    mine = read_coco(file, pictures).subset(np.sort(rows))
    used, image = np.unique(mine.image, return_inverse=True)
    mine = replace(mine, files=[mine.files[i] for i in used], image=image, image_ids=mine.image_ids[used],
                   sizes=None if mine.sizes is None else mine.sizes[used])
    write_json(folder / "person_keypoints_train.json", to_coco(mine))
    (folder / "person_keypoints_val.json").write_bytes(val.read_bytes())
    return folder


def wrongest(found, truth, n: int, known: list[str]):
    "The choice of `suggest` if it knew how wrong each prediction is: the share of joints that are lost"
    row = {truth.files[i]: k for k, i in enumerate(truth.image)}
    at = np.array([row.get(found.people.files[i], -1) for i in found.people.image])
    side = found.people.box[:, 2:].max(1)[:, None]
    off = np.linalg.norm(found.disagreement.xy.numpy() - truth.xy[at], axis=-1) / side
    value = np.ma.array(np.minimum(off / LOST, 1), mask=(truth.vis[at] == 0) | (at < 0)[:, None]).mean(1).filled(0.)
    mine = [found.people.files[i] in set(known) for i in found.people.image]
    return suggest(found.people, replace(found.disagreement, value=torch.from_numpy(value).float()), n,
                   found.disagreement.pose[torch.tensor(mine)], known)


def once(seed: int, kind: str, data: Path | None, method: str, labels: int, p, people, device: str, work: Path,
         out: dict, keep, say=print, arms=ARMS) -> None:
    "Those of `arms` that `out` lacks for one seed; `keep` is called after each"
    source = people_of(kind, data, seed, p, people, work)
    file, pictures = find_coco(source, "train")
    all_ = read_coco(file, pictures)
    posed = all_.posed if kind != "drawn" else np.arange(people[0])
    order = posed[np.random.default_rng(seed).permutation(len(posed))]
    if len(order) < 4 * labels:
        raise SystemExit(f"{source} has {len(order)} labelled people, and {4 * labels} are needed: "
                         "give fewer --labels.")
    q = replace(p, data=None, labels=None, name="suggest", title="Which to label")

    def arm(name, rows):
        begun, here = time.time(), work / f"{name}-run"
        done = train(method, q, part(source, work / name, rows), here, seed, device=device, progress=False,
                     resume=here.exists())
        last = done["last"]
        if name in out: return
        out[name] = dict(labels=len(rows), ap=last["ap"], pck=last["pck"], seconds=round(time.time() - begun, 1))
        say(f"{kind}, seed {seed}, {name}: {len(rows)} labels, AP {last['ap']:.1f}, PCK {last['pck']:.1f}", flush=True)
        keep()

    first, boxes = order[:labels], None if kind == "drawn" else file
    asked = {name: how for name, how in HOW.items() if name in arms and name not in out}
    if asked or "start" in arms and "start" not in out: arm("start", first)
    for name, how in asked.items():
        found = suggest_run(work / "start-run", pictures, labels, boxes, device=device, how=how)
        if name == "wrong": found = wrongest(found, all_, labels, [all_.files[i] for i in all_.image[first]])
        rows = np.array([int(np.flatnonzero(all_.image == all_.files.index(f))[0]) for f in found.files])
        assert not set(rows) & set(first) and len(rows) == labels
        out.setdefault("value", {}).update({name: float(np.mean(found.value)),
                                            "all": float(found.disagreement.value.mean())})
        arm(name, np.concatenate([first, rows]))
    for name, times in (("random", 2), ("double", 4)):
        if name in arms and name not in out: arm(name, order[:times * labels])


def report(found: dict) -> str:
    "Arm by arm, with Student's 95 % interval over the seeds that have both"
    seeds, lines = found["seeds"], [json.dumps(found["about"])]
    for name in ARMS:
        mine = [s[name] for s in seeds.values() if name in s]
        if mine:
            lines.append(f"{name:<8} {mine[0]['labels']:>5} labels  {len(mine)} seeds  "
                         f"AP {np.mean([m['ap'] for m in mine]):.1f}  "
                              f"PCK {np.mean([m['pck'] for m in mine]):.1f}")
    for a, b, text in (("chosen", "random", "over as many random labels"),
                       ("covered", "random", "over as many random labels"),
                       ("typical", "random", "over as many random labels"),
                       ("wrong", "random", "over as many random labels"),
                       ("chosen", "double", "against twice as many random labels (the aim: not below 0)"),
                       ("covered", "double", "against twice as many"), ("typical", "double", "against twice as many"),
                       ("wrong", "double", "against twice as many")):
        d = np.array([s[a]["ap"] - s[b]["ap"] for s in seeds.values() if a in s and b in s])
        if not len(d): continue
        half = student.ppf(.975, len(d) - 1) * d.std(ddof=1) / len(d)**.5 if len(d) > 1 else float("nan")
        lines.append(f"{a} {d.mean():+.1f} AP ± {half:.1f} {text}; {(d > 0).sum()} of {len(d)} seeds above")
    lacks = [f"seed {s}: {', '.join(a for a in ARMS if a not in v)}" for s, v in seeds.items() if set(ARMS) - set(v)]
    if len(seeds) < 5: lacks.append(f"{5 - len(seeds)} of five seeds")
    return "\n".join([*lines, *([f"Lacking: {'; '.join(lacks)}."] if lacks else [])])


def main(words=None):
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("kind", nargs="?", default="drawn", choices=list(SETS))
    a.add_argument("--data", type=Path, help="folder of Leeds Sports Pose, COCO-style (data/README.md)")
    a.add_argument("--seeds", default="0-4", help="as in 0-4")
    a.add_argument("--arms", default=",".join(ARMS), help="those to train now; without it, the rest")
    a.add_argument("--labels", type=int, help="of the start; the others have twice and four times as many")
    a.add_argument("--method", default="supervised", help="a method that needs no warm-up and no unlabelled people")
    a.add_argument("--people", type=int, default=2000, help="synthetic training people among whom to choose")
    a.add_argument("--device", default="auto")
    a.add_argument("--out", type=Path, help="results/suggest/KIND.json if not given")
    a.add_argument("--work", type=Path, help="where runs are kept until their seed is done; "
                                             "runs/suggest/KIND if not given")
    a.add_argument("--small", action="store_true", help="see that it runs")
    a.add_argument("--report", action="store_true", help="print what is there, train nothing")
    a = a.parse_args(words)
    out, work = a.out or Path(f"results/suggest/{a.kind}.json"), a.work or Path(f"runs/suggest/{a.kind}")
    if a.report:
        if not out.exists(): raise SystemExit(f"{out} is not there yet.")
        return print(report(json.loads(out.read_text())))
    if a.kind != "drawn" and a.data is None:
        raise SystemExit(f"{a.kind} needs --data, the folder of its pictures and labels.")
    arms = a.arms.split(",")
    if set(arms) - set(ARMS): raise SystemExit(f"--arms {a.arms}: the arms are {', '.join(ARMS)}.")
    p, labels = settings(a.kind, a.labels, a.small)
    people = (200, 60) if a.small else (a.people, 500)
    about = dict(method=a.method, labels=labels, people=list(people) if a.kind == "drawn" else None,
                 small=a.small, protocol=p.name, steps=p.steps)
    found = json.loads(out.read_text()) if out.exists() else dict(about=about, seeds={})
    if found["about"] != about: raise SystemExit(f"{out} holds another trial ({found['about']}); choose another --out.")
    found |= dict(versions=versions(), hardware=hardware(), revision=revision())

    def keep():
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, found)

    for seed in seeds_of(a.seeds):
        mine = found["seeds"].setdefault(str(seed), {})
        if not set(arms) - set(mine): continue
        once(seed, a.kind, a.data, a.method, labels, p, people, a.device, work / f"seed{seed}", mine, keep, arms=arms)
        shutil.rmtree(work / f"seed{seed}")
    print(report(found))


if __name__ == "__main__":
    main()
