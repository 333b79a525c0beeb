"""Measure what the toys of `semipose.collapse` show on seeds that nobody tuned on; `nbs/60_collapse.ipynb` reads
what this writes.

`python scripts/collapse.py heatmap --seeds 20 21 22 --out results/collapse/heatmap.json`
    train the demo's network on synthetic people, once with plain consistency and once with easy-to-hard, from one
    start; stop it every few steps and look.
    Seeds that the file already has are kept.
`python scripts/collapse.py plane --out results/collapse/plane.json`
    the boundary at every imbalance, and (first ten seeds) under every teacher.
`python scripts/collapse.py film --out nbs/images/boundary.gif`
    the boundary's path under both ways of teaching, as the README shows it.
"""
from __future__ import annotations

import argparse, json, tempfile
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import torch

from semipose.collapse import Boundary, directions, film, frozen, limits
from semipose.data.coco import write_json
from semipose.data.streams import Streams
from semipose.data.synth import DIFFICULTIES, write_synth
from semipose.loop import Training, fit, learner
from semipose.methods import METHODS
from semipose.protocols import protocol
from semipose.run import codec_of, peers_of, prepare, revision, versions
from semipose.teaching import Teaching, one_batch


def rounded(x):
    "Numbers as a file wants them"
    if isinstance(x, dict): return {k: rounded(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)): return [rounded(v) for v in x]
    if isinstance(x, torch.Tensor): return rounded(x.tolist())
    return float(f'{x:.4g}') if isinstance(x, float) else x


def people_once(seed, steps, every):
    "One start, two trainings, a look every few steps: rows of method, seed, step and what `frozen` tells"
    p = protocol('demo', train_people=400, val_people=16)
    with tempfile.TemporaryDirectory() as folder:
        write_synth(folder, p.train_people, p.val_people, seed=seed, difficulty=DIFFICULTIES[p.difficulty], face=p.face,
                    progress=False)
        data = prepare(p, folder, seed, progress=False)
    start = peers_of(p, len(data.skeleton), 1, seed)
    codec = codec_of(p, start.stride)
    stream = partial(Streams, data.labeled, data.unlabeled, p.batch, seed=seed)
    parts = codec, p.size, data.skeleton, data.supervised
    how = Training(p.start_every, p.start_lr, p.lam, p.optimiser, p.wd, seed)
    fit(learner(start, METHODS['supervised'], stream(steps=p.start_steps), *parts, how), p.start_steps, p.schedule)
    look = data.unlabeled.batch(np.arange(p.batch[1]))
    rows = []
    for name in ('naive', 'posecons'):
        peers, teaching = deepcopy(start).train(), Teaching(METHODS[name], *parts, seed=seed)
        batches = stream(steps=steps+1)
        opt = torch.optim.Adam(peers.nets.parameters(), p.lr)
        for step in range(steps+1):
            x, y = batches.at(step)
            if step % every == 0:
                still = Teaching(METHODS[name], *parts, seed=seed)      # the same views at every look
                rows.append(dict(method=name, seed=seed, step=step,
                    **frozen(still, peers, (dict(x, unlabeled=look['image']), y), (look['xy'], look['vis']))))
            loss = one_batch(teaching, peers, x, y)[-1]
            opt.zero_grad(); loss.backward(); opt.step()
            teaching.step += 1
    return rows


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument('what', choices=('heatmap', 'plane', 'film'))
    ask.add_argument('--seeds', type=int, nargs='+', default=list(range(100, 120)),
                     help='unseen ones: settings were chosen on 0 to 9')
    ask.add_argument('--steps', type=int, default=150, help='of consistency, heatmap only')
    ask.add_argument('--every', type=int, default=30, help='steps between two looks, heatmap only')
    ask.add_argument('--out', required=True)
    args = ask.parse_args()
    if args.what == 'film':
        played = {'both views teach': Boundary('both').step(60), 'the easy view teaches': Boundary('easy').step(60)}
        return Path(args.out).write_bytes(film(played, (0, 1, 2, 3, 4, 5, 6, 8, 10, 14, 20, 30, 60), dpi=96))
    told = dict(what=args.what, seeds=args.seeds, versions=versions(), revision=revision())
    if args.what == 'heatmap':
        out = Path(args.out)
        # minutes a seed: those that are there are kept
        rows = json.loads(out.read_text())['rows'] if out.exists() else []
        for seed in args.seeds:
            if any(r['seed'] == seed for r in rows): continue
            rows += rounded(people_once(seed, args.steps, args.every))
            write_json(out, dict(told, seeds=sorted({r['seed'] for r in rows}), steps=args.steps, rows=rows))
    else:
        write_json(Path(args.out),
                   rounded(dict(told, limits=limits(seeds=args.seeds), directions=directions(args.seeds[:10]))))


if __name__ == '__main__':
    main()
