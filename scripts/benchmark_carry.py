"""What a carry that keeps heights costs: the warp alone, and whole training steps of rows that differ in nothing
else, interleaved; ratios.

python scripts/benchmark_carry.py [--rounds 9] [--net tiny] [--size 64x48]
"""
from __future__ import annotations
import argparse, statistics, time
from functools import partial

import torch

from semipose.codecs import build_codec
from semipose.geometry import affine, roomy, warp
from semipose.methods import METHODS
from semipose.nets.peers import build_peers
from semipose.skeletons import COCO17
from semipose.teaching import Teaching, one_batch

ROWS = (("posecons", "posecons_kept"), ("posedual_jc", "posedual_jc_kept"))
MODES = ("bilinear", "bicubic", "spline")


def spent(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def rounds(works: dict, n: int) -> dict:
    "name -> seconds of n rounds; in each round every work once, after one that does not count"
    for work in works.values(): work()
    times = [{name: spent(work) for name, work in works.items()} for _ in range(n)]
    return {name: [t[name] for t in times] for name in works}


def said(name: str, a: list, b: list) -> str:
    ratio = sorted(y / x for x, y in zip(a, b))
    best = lambda v: f"{1e3 * min(v):8.2f} ms"
    spread = f"{ratio[0]:.2f} / {statistics.median(ratio):.2f} / {ratio[-1]:.2f}"
    return f"{name:<44}{best(a)}{best(b)}   {spread}   {min(b) / min(a):.3f}"


def five(heat, M, mode): return [warp(heat, M, mode=mode) for _ in range(5)]


def step_of(name: str, net: str, size: tuple, batch: tuple):
    "One training step of a row: views, teachers, losses, gradients, Adam"
    m, g = METHODS[name], torch.Generator().manual_seed(0)
    peers = build_peers(net, n=m.nets, net=dict(width=24) if net == "tiny"
                        else None).to(memory_format=torch.channels_last).train()
    teaching = Teaching(m, build_codec("gaussian", 1.5 if size[0] < 128 else 2., peers.stride), size,
                        COCO17, torch.ones(17))
    optimiser = torch.optim.Adam(peers.nets.parameters(), lr=1e-4)
    image = lambda n: torch.randint(0, 256, (n, 3, *roomy(size)), generator=g, dtype=torch.uint8)
    x = dict(labeled=image(batch[0]), unlabeled=image(batch[1]))
    y = dict(xy=torch.rand(batch[0], 17, 2, generator=g) * size[0], vis=torch.full((batch[0], 17), 2))

    def step():
        one_batch(teaching, peers, x, y)[-1].backward()
        optimiser.step()
        optimiser.zero_grad()
    return step


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--rounds", type=int, default=9)
    p.add_argument("--net", default="tiny")
    p.add_argument("--size", default="64x48")
    args = p.parse_args()
    size, batch = tuple(map(int, args.size.split("x"))), (16, 24) if args.net == "tiny" else (8, 8)
    print(f"{torch.get_num_threads()} threads; best of {args.rounds}, then ratio min / median / max round by round, "
          f"and of the best\n")
    for B, H, W in ((24, 32, 24), (32, 64, 48)):
        heat, M = torch.rand(B, 17, H, W), affine((H, W), 30 * torch.randn(B))
        t = rounds({mode: partial(five, heat, M, mode) for mode in MODES}, args.rounds)
        for mode in MODES[1:]: print(said(f"5 warps of {B}x17x{H}x{W}: bilinear, {mode}", t["bilinear"], t[mode]))
    for plain, kept in ROWS:
        t = rounds({name: step_of(name, args.net, size, batch) for name in (plain, kept)}, args.rounds)
        print(said(f"a step, {args.net}, {args.size}: {plain}, kept", t[plain], t[kept]))


if __name__ == "__main__": main()
