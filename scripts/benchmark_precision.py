"""A step of training in bf16 beside the same step in fp32, round by round: ratios of processor time.

python scripts/benchmark_precision.py [--nets tiny resnet18] [--size 256x192] [--batch 4] [--method NAME] [--rounds 7]
python scripts/benchmark_precision.py --ap      # trains nothing: AP under bf16 against fp32, pair by pair, of the rows
    that the sweep has trained from their own warm-up checkpoints, beside the same rows and seeds of results/unseen
    semipose sweep demo supervised posecons_joined --seeds 20-24 --precision bf16 --results results/precision
"""
from __future__ import annotations
import argparse, time
from pathlib import Path

import numpy as np
import torch

from semipose.codecs import Gaussian
from semipose.ledger import paired, read_ledger
from semipose.loop import autocast
from semipose.methods import METHODS
from semipose.nets.peers import build_peers
from semipose.networks import fast_bf16
from semipose.skeletons import COCO17
from semipose.tables import between
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


def accuracy(full: Path, half: Path) -> str:
    "AP of each row under both, and the paired difference with its interval"
    (a, _), (b, _) = read_ledger(full, "demo"), read_ledger(half, "demo")
    lines = []
    for name in dict.fromkeys(e.method for e in b):
        x, y = ([e for e in es if e.method == name] for es in (a, b))
        x = [e for e in x if e.seed in {e.seed for e in y}]
        lines.append(f"{name:<20} fp32 {np.mean([e.ap for e in x]):.1f}, bf16 {np.mean([e.ap for e in y]):.1f}: "
                     f"{between(paired(x, y, any_terms=True))} AP on seeds {', '.join(str(e.seed) for e in y)}")
    return "\n".join(lines) or f"{half} holds nothing yet; the sweep is named above (--help)."


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--nets", nargs="+", default=["tiny", "resnet18"])
    p.add_argument("--size", default="256x192")
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--method", default="posedual_jc")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--ap", action="store_true", help="print accuracies, train nothing")
    a = p.parse_args()
    torch.set_num_threads(1)
    if a.ap:
        results = Path(__file__).parent.parent / "results"
        return print(accuracy(results / "unseen", results / "precision"))
    print(f"{a.method}, {a.size}, {a.batch}+{a.batch} people; the processor multiplies bf16: "
          f"{'yes' if fast_bf16() else 'no'}")
    print(f"{'bf16 / fp32':<16}{'min':>8}{'median':>8}{'max':>8}")
    for net in a.nets:
        r = ratios(net, a.method, tuple(map(int, a.size.split("x"))), a.batch, max(a.rounds, 7))
        print(f"{net:<16}{r[0]:>8.2f}{np.median(r):>8.2f}{r[-1]:>8.2f}")


if __name__ == "__main__": main()
