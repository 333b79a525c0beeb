"""Is a signal worth training with? Measured on stored checkpoints of the demo, where truth is known.

python scripts/kill_tests.py runs/demo --seeds 0-2 [--steps 100] [--every 25] [--out results/signals/kill.json]

Reads runs/demo/seedN/start (two networks), and seedN/posedual_jc_drawn where it is, as `semipose sweep demo` leaves
them. Draws the seed's people, and changes nothing there. Then trains `--steps` steps of one row from the start, in
memory, and measures every `--every` steps. A seed that the file holds is not measured again. A seed takes a minute.
"""
from __future__ import annotations
import argparse, json
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch

from semipose.cli import parse_seeds
from semipose.codecs import argmax, peaks
from semipose.files import whole
from semipose.geometry import flip_joints
from semipose.metrics import torso
from semipose.methods import METHODS
from semipose.protocols import protocol
from semipose.run import codec_of, hardware, load_run, prepare, synthetic_people, versions
from semipose.signals import auroc, calibrate, gradient_agreement, lesson_gradients, misjudged, second, twin
from semipose.teaching import Agreed, Sampler, Step, mix
from semipose.views import A30, joints_in, render

ROW = "posedual_ra_mean"    # whose lessons are measured along training
BATCHES = 10                # of unlabelled people, for each checkpoint


class World:
    "The people of a seed, and batches of them by number"
    def __init__(self, seed: int):
        self.p, self.seed = protocol("demo"), seed
        self.data = prepare(self.p, synthetic_people(self.p, seed, progress=False), seed, progress=False)
        self.skeleton, self.codec = self.data.skeleton, codec_of(self.p, 2)
        self.index = self.skeleton.flip_index
    def labeled(self, k: int) -> dict: return self.data.labeled.batch(torch.arange(len(self.data.labeled)))
    def unlabeled(self, k: int) -> dict:
        n = self.p.batch[1]
        return self.data.unlabeled.batch(torch.arange(k*n, (k + 1)*n) % len(self.data.unlabeled))
    def look(self, people: dict, seed: int) -> tuple:
        "Pictures under A30; true joints there, whether they count, and a fifth of the torso, in crop px"
        image, generator = people["image"], torch.Generator().manual_seed(seed)
        draw = Sampler(len(image), self.p.size, image.device, generator)(A30)
        xy, vis = joints_in(people["xy"], people["vis"], draw, self.index)
        inside = ((xy > -.5) & (xy < torch.tensor(self.p.size[::-1]) - .5)).all(-1) & (vis > 0)
        return render(image, draw, self.p.size), xy, inside, .2*torso(xy, vis, self.skeleton)[:, None]


def right(xy, true, near): return (xy - true).norm(dim=-1) <= near


def answers(world: World, nets, people, seed: int) -> dict:
    "What two networks say of a batch under A30, in training mode as teachers do, and how right it is"
    image, true, known, near = world.look(people, seed)
    known = known & ~near.isnan()
    with torch.no_grad(): a, b = (net(image) for net in nets)
    mean, codec = (a + b)/2, world.codec
    (xa, pa), (xb, pb), (xm, pm) = (codec.decode(h) for h in (a, b, mean))
    apart = (argmax(a, 1)[0] - argmax(b, 1)[0]).norm(dim=-1)
    values = dict(
        peak=pa, peak_other=pb, peak_mean=pm, near=-apart, agreed=Agreed()(a, b),
        one_hill=-second(mean, 3*codec.sigma), sure_one_hill=pm*(1 - second(mean, 3*codec.sigma)),
        no_twin=-twin(xm, pm, world.index, codec.stride*1.).float(),
        sure_no_twin=pm*(1 - .5*twin(xm, pm, world.index, codec.stride*1.).float()),
        right=right(xa, true, near), right_other=right(xb, true, near), right_mean=right(xm, true, near),
        right_higher=right(torch.where((pa >= pb)[..., None], xa, xb), true, near),
        joint=torch.arange(len(world.index)).expand_as(pa))
    return {k: v[known].numpy() for k, v in values.items()}


def together(parts: list[dict]) -> dict: return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}


def checkpoint(world: World, folder: Path) -> dict:
    "Every signal on one checkpoint of two networks"
    nets = [deepcopy(n).train() for n in load_run(folder, device="cpu")[0].nets]
    said = together([answers(world, nets, world.unlabeled(k), 1000 + k) for k in range(BATCHES)])
    known = together([answers(world, nets, world.labeled(k), 2000 + k) for k in range(BATCHES)])
    signals = ("peak_mean", "near", "agreed", "one_hill", "sure_one_hill", "no_twin", "sure_no_twin")
    out = dict(lessons=len(said["peak"]), peak_of_one=auroc(said["peak"], said["right"]),
               auroc={s: auroc(said[s], said["right_mean"]) for s in signals},
               right={s: float(said[s].mean()) for s in ("right", "right_other", "right_higher", "right_mean")},
               right_labeled=float(known["right_mean"].mean()))
    return out | dict(calibration=calibration(said, known))


def calibration(said: dict, known: dict) -> dict:
    "Joint by joint from labelled people, and what it is worth on unlabelled ones"
    p, chosen = np.zeros(len(said["peak"])), np.zeros(len(said["peak"]), bool)
    for k in np.unique(said["joint"]):
        here, there = said["joint"] == k, known["joint"] == k
        each = [calibrate(known[s][there], known[r][there])(said[s][here])
                for s, r in (("peak", "right"), ("peak_other", "right_other"))]
        chosen[here] = np.where(each[0] >= each[1], said["right"][here], said["right_other"][here])
        p[here] = calibrate(known["peak_mean"][there], known["right_mean"][there])(said["peak_mean"][here])
    return dict(right_chosen=float(chosen.mean()), stated=float(p.mean()), true=float(said["right_mean"].mean()),
                error=misjudged(p, said["right_mean"]), auroc=auroc(p, said["right_mean"]))


def lessons(world: World, step: Step, model, k: int, generator) -> tuple:
    "One training step's terms, and of every lesson: weights by each signal, and whether it is right"
    known, people = world.labeled(k), world.unlabeled(k)
    x = dict(labeled=known["image"], unlabeled=people["image"])
    kept = [[] for _ in model.nets]
    hooks = [net.final.register_forward_pre_hook(lambda m, a, i=i: kept[i].append(a[0].detach()))
             for i, net in enumerate(model.nets)]
    terms = step(model, (x, dict(xy=known["xy"], vis=known["vis"])), generator, k)
    for h in hooks: h.remove()
    made = terms.made
    hard, easy = made.hard[0][0], made.easy[0]
    true, vis = joints_in(people["xy"], people["vis"], hard, world.index)
    near = .2*torso(true, vis, world.skeleton)[:, None]
    target, weight = made.targets[0][0]
    xy, _ = world.codec.decode(target)
    inside = ((true > -.5) & (true < torch.tensor(world.p.size[::-1]) - .5)).all(-1) & (vis > 0) & ~near.isnan()
    inside = inside & (peaks(target) > .5)          # a lesson whose joint lies in the student's view
    of_labeled, of_student = kept[0][-2:]           # the teacher's forward comes first
    with torch.no_grad():
        answer = lambda kind: made.answers[kind][0] if kind == "labeled" else made.answers[kind][0][0]
        mine = lesson_gradients(of_student, answer("student"), target, torch.ones_like(peaks(target)))
        theirs = lesson_gradients(of_labeled, answer("labeled"), made.labels["target"], made.labels["weight"])
        heats = [made.forward("net", i) for i in (0, 1)]
        flip = lambda w: flip_joints(w, easy.flip ^ hard.flip, world.index)
        weights = dict(gradient=gradient_agreement(mine, theirs), agreed=flip(Agreed()(*heats)),
                       sure=flip(peaks((heats[0] + heats[1])/2)).clamp(0, 1))
    return terms, {k: v[inside].numpy() for k, v in weights.items()} | dict(
        right=right(xy, true, near)[inside].numpy(),
        joint=torch.arange(len(world.index)).expand_as(inside)[inside].numpy())


def along(world: World, folder: Path, steps: int, every: int) -> list[dict]:
    "Lessons of the row along its first steps, from the start; at each measurement those of its last ten steps"
    model, m = load_run(folder, device="cpu")[0].train(), METHODS[ROW]
    step = Step(m, world.codec, world.p.size, world.index, lam=world.p.lam)
    opt = torch.optim.AdamW(model.parameters(), lr=world.p.lr, weight_decay=world.p.wd)
    last, out = [], []
    for k in range(steps + 1):
        terms, said = lessons(world, step, model, k, torch.Generator().manual_seed(mix(world.seed, k)))
        last = [*last[-9:], said]
        if k % every == 0:
            here = together(last)
            r, row = here["right"], dict(step=k, lessons=len(here["right"]), right=float(here["right"].mean()))
            for s in ("gradient", "agreed", "sure"):
                w, joints = here[s], range(len(world.index))
                row[s] = dict(of_right=float(w[r].mean()), of_wrong=float(w[~r].mean()), auroc=auroc(w, r),
                              taught=float((w**2*r).sum()/(w**2).sum()), mean=[float(w[here["joint"] == j].mean())
                                                                            for j in joints])
            row["right_of_joint"] = [float(r[here["joint"] == j].mean()) for j in range(len(world.index))]
            out.append(row)
        opt.zero_grad(); terms.total.backward(); opt.step()
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("runs", type=Path)
    p.add_argument("--seeds", default="0-2")
    p.add_argument("--steps", type=int, default=100)
    p.add_argument("--every", type=int, default=25)
    p.add_argument("--out", type=Path, default=Path("results/signals/kill.json"))
    args = p.parse_args()
    terms = dict(row=ROW, steps=args.steps, every=args.every)
    old = json.loads(args.out.read_text()) if args.out.exists() else {}
    rows = old["seeds"] if all(old.get(k) == v for k, v in terms.items()) else []
    for seed in parse_seeds(args.seeds):
        if any(r["seed"] == seed for r in rows): continue
        world, folder = World(seed), args.runs/f"seed{seed}"
        done = {n: checkpoint(world, folder/n) for n in ("start", "posedual_jc_drawn")
                if (folder/n/"weights.safetensors").exists()}
        rows.append(dict(seed=seed, checkpoints=done, along=along(world, folder/"start", args.steps, args.every)))
        command = (f"python scripts/kill_tests.py runs/demo --seeds {args.seeds} --steps {args.steps} "
                   f"--every {args.every}")
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with whole(args.out) as part:
            part.write_text(json.dumps(dict(command=command, hardware=hardware(), versions=versions(), **terms,
                                            joints=list(world.skeleton.joints), seeds=rows), indent=1) + "\n")


if __name__ == "__main__":
    main()
