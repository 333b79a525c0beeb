"""A step of training in bf16 beside the same step in fp32, round by round: ratios of processor time.

python scripts/benchmark_precision.py [--nets tiny resnet18] [--size 256x192] [--batch 4] [--method NAME] [--rounds 7]
"""
from __future__ import annotations
import argparse, time

import numpy as np
import torch

from semipose.codecs import Gaussian
from semipose.loop import autocast
from semipose.methods import METHODS
from semipose.nets.peers import build_peers
from semipose.networks import fast_bf16
from semipose.skeletons import COCO17
from semipose.teaching import Teaching, one_batch


def ratios(net, method, size, batch, rounds):
    "Seconds of bf16 / fp32, forward and backward of the whole step"
    m, gen = METHODS[method], torch.Generator().manual_seed(0)
    peers = build_peers(net, 17, m.nets, seed=0).to(memory_format=torch.channels_last).train()
    teaching = Teaching(m, Gaussian(stride=peers.stride), size, COCO17, torch.ones(17))
    room = tuple(int(1.5 * s) for s in size)
    crops = lambda: torch.randint(0, 256, (batch, 3, *room), dtype=torch.uint8, generator=gen)
    x = dict(labeled=crops(), unlabeled=crops())
    y = dict(xy=torch.rand(batch, 17, 2, generator=gen) * torch.tensor(room[::-1]), vis=torch.full((batch, 17), 2))

    def step(amp):
        start = time.process_time()
        with autocast("cpu", amp): loss = one_batch(teaching, peers, x, y)[-1]
        loss.backward()
        peers.zero_grad()
        return time.process_time() - start
    out = []
    for _ in range(rounds + 1):
        full, half = step(False), step("bf16")
        out.append(half / full)
    return np.sort(out[1:])     # the first round warms up


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--nets", nargs="+", default=["tiny", "resnet18"])
    p.add_argument("--size", default="256x192")
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--method", default="posedual_jc")
    p.add_argument("--rounds", type=int, default=7)
    a = p.parse_args()
    torch.set_num_threads(1)
    print(f"{a.method}, {a.size}, {a.batch}+{a.batch} people; the processor multiplies bf16: "
          f"{'yes' if fast_bf16() else 'no'}")
    print(f"{'bf16 / fp32':<16}{'min':>8}{'median':>8}{'max':>8}")
    for net in a.nets:
        r = ratios(net, a.method, tuple(map(int, a.size.split("x"))), a.batch, max(a.rounds, 7))
        print(f"{net:<16}{r[0]:>8.2f}{np.median(r):>8.2f}{r[-1]:>8.2f}")


if __name__ == "__main__": main()
