"""Every codec tried on synthetic people: the same small network, pictures and steps, then AP and the error in crop px.
A demonstration, not a ranking.

python scripts/compare_codecs.py [--method posecons] [--steps 100] [--seed 0] [--out results/codecs/posecons-seed0.json]
"""
from __future__ import annotations
import argparse, time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from semipose.codecs import CODECS, build_codec
from semipose.data.coco import write_json
from semipose.data.core import People
from semipose.data.synth import EASY, make_people
from semipose.evaluate.coco import coco_eval
from semipose.geometry import move, roomy, window
from semipose.methods import METHODS
from semipose.nets.peers import build_peers
from semipose.predict import predict
from semipose.run import hardware, versions
from semipose.skeletons import COCO17
from semipose.teaching import Teaching, one_batch

SIZE, STRIDE, SIGMA = (64, 48), 2, 1.5


def people_of(d):
    "Drawn crops as a data set, one person to a picture, in crop px"
    n, one = len(d.image), lambda t: t[:, 0].numpy().astype(np.float32)
    xy = move(d.xy, window(SIZE))[:, 0].numpy().astype(np.float32)
    vis = one(d.vis).astype(np.uint8)
    row = np.arange(n)
    return People(COCO17, Path("."), [f"{i}.jpg" for i in row], row, row, row, one(d.box), xy * (vis > 0)[..., None],
                  vis, one(d.area), np.zeros(n, bool))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--method", default="posecons")
    p.add_argument("--steps", type=int, default=100)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--out", help="also keep the numbers, for nbs/tutorials/08_results.ipynb")
    a = p.parse_args()
    look = replace(EASY, scale=(.5, .6))  # roomy crops: the person fills the middle
    train, val = (make_people(torch.arange(n) + first, seed=a.seed, size=roomy(SIZE), difficulty=look)
                  for n, first in ((300, 0), (150, 10**6)))
    truth, method = people_of(val), METHODS[a.method]
    print(f"{a.method}, {a.steps} steps of 16 labelled and 16 unlabelled synthetic people, crop {SIZE[0]}x{SIZE[1]}, "
          f"stride {STRIDE}, 150 people to test, seed {a.seed}\n")
    print(f"{'codec':<12}{'AP':>6}{'AP75':>7}{'median error, crop px':>24}{'s':>7}")
    rows = []
    for name in CODECS:
        start, codec = time.perf_counter(), build_codec(name, SIGMA, STRIDE)
        peers = build_peers("tiny", joints=17 * codec.planes, n=method.nets, seed=a.seed, net=dict(width=24),
                            **method.copies).train()
        teaching = Teaching(method, codec, SIZE, COCO17, torch.ones(17), seed=a.seed)
        opt = torch.optim.AdamW(peers.parameters(), lr=5e-3)
        sched = torch.optim.lr_scheduler.OneCycleLR(opt, 5e-3, a.steps)
        g = torch.Generator().manual_seed(a.seed)
        for step in range(a.steps):
            i, j = torch.randperm(100, generator=g)[:16], torch.randint(0, 300, (16,), generator=g)
            teaching.step = step
            loss = one_batch(teaching, peers, dict(labeled=train.image[i], unlabeled=train.image[j]),
                             dict(xy=train.xy[i, 0], vis=train.vis[i, 0]))[-1]
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
        found = predict(peers, val.image, codec, flip=COCO17, size=SIZE)
        far = (found.xy - move(val.xy, window(SIZE))[:, 0]).norm(dim=-1)[val.vis[:, 0] > 0]
        ten = coco_eval(truth, found.xy, found.score)
        rows.append(dict(codec=name, AP=100 * ten["AP"], AP75=100 * ten["AP75"], median_px=float(far.median())))
        seconds = time.perf_counter() - start
        ap = f"{100 * ten['AP']:>6.1f}{100 * ten['AP75']:>7.1f}"
        print(f"{name:<12}{ap}{far.median():>24.2f}{seconds:>7.0f}", flush=True)
    if a.out:
        command = f"python scripts/compare_codecs.py --method {a.method} --steps {a.steps} --seed {a.seed}"
        write_json(a.out, dict(command=command, method=a.method, steps=a.steps, seed=a.seed, hardware=hardware(),
                               versions=versions(), rows=rows))


if __name__ == "__main__": main()
