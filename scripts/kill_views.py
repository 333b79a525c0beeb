"""How hard is each student view, without truth: how often is the teacher's own joint in sight, and not found again?

python scripts/kill_views.py runs/demo --seeds 0-1 [--out results/signals/views.json]

Reads runs/demo/seedN/start, as `semipose sweep demo` leaves it, and changes nothing. For every row that differs from
PoseCons in its pair alone: the share of joints in sight that the student does not find, by the teacher's joints and,
beside it, by the true ones.
"""
from __future__ import annotations
import argparse, json
from copy import deepcopy
from pathlib import Path

import torch
from kill_tests import World, right

from semipose.cli import parse_seeds
from semipose.easiness import in_sight, pairs
from semipose.files import whole
from semipose.geometry import flip_joints, invert, move
from semipose.metrics import torso
from semipose.run import hardware, load_run, versions
from semipose.teaching import Sampler, mix
from semipose.views import hide, render

BATCHES = 4     # of unlabelled people, for each pair


def joints(world: World, net, image, draw) -> torch.Tensor:
    "Where a network finds them under a view, roomy px"
    with torch.no_grad(): xy = world.codec.decode(net(render(image, draw, world.p.size)))[0]
    return move(flip_joints(xy, draw.flip, world.index), invert(draw.M))


def hardness(world: World, net, teacher, student) -> dict:
    "Shares of joints that are in sight of the student and not found, by the teacher's joints and by true ones"
    size, index, found = world.p.size, world.index, dict(own=[], true=[])
    for k in range(BATCHES):
        people = world.unlabeled(k)
        image, seen = people["image"], torch.ones(len(people["image"]), len(index))
        sampler = Sampler(len(image), size, None, torch.Generator().manual_seed(mix(world.seed, k)))
        easy, hard = sampler(teacher), sampler(student, len(index))
        taught = joints(world, net, image, easy)
        hard = hide(hard, taught, torch.ones(len(index)))
        learned, near = joints(world, net, image, hard), .2*torso(people["xy"], people["vis"], world.skeleton)[:, None]
        own = .2*torso(taught, seen, world.skeleton)[:, None]
        found["own"].append((in_sight(taught, hard, size) & ~right(learned, taught, own))[~own.isnan()[:, 0]])
        known = (people["vis"] > 0) & ~near.isnan()
        found["true"].append((in_sight(people["xy"], hard, size) & ~right(learned, people["xy"], near))[known])
    return {k: round(float(torch.cat(v).float().mean()), 4) for k, v in found.items()}


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("runs", type=Path)
    p.add_argument("--seeds", default="0-1")
    p.add_argument("--out", type=Path, default=Path("results/signals/views.json"))
    args = p.parse_args()
    rows = []
    for seed in parse_seeds(args.seeds):
        world = World(seed)
        net = deepcopy(load_run(args.runs/f"seed{seed}"/"start", device="cpu")[0].nets[0]).train()
        rows.append(dict(seed=seed, pairs={n: hardness(world, net, *pair) for n, pair in pairs().items()}))
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with whole(args.out) as part:
            command = f"python scripts/kill_views.py runs/demo --seeds {args.seeds}"
            part.write_text(json.dumps(dict(command=command, hardware=hardware(), versions=versions(), seeds=rows),
                                       indent=1) + "\n")


if __name__ == "__main__":
    main()
