"""Measure easiness, and what it predicts, from finished runs; `nbs/61_easiness.ipynb` reads what this writes.

`python scripts/easiness.py views runs/demo/seed10/start --data data/drawn/demo-10 --out results/easiness/drawn.json`
    accuracy of a run's first network under every view and strength, the gaps, and the numbers of every pair in the
    table of methods.
`python scripts/easiness.py gained runs/demo/seed10 --data data/drawn/demo-10 --out results/easiness/gained-10.json`
    what each pair trained in a comparison's folder gained over its start and over supervised, with an interval over
    people.
"""
from __future__ import annotations

import argparse, sys
from pathlib import Path

import numpy as np
import torch

from semipose.data.coco import read_train_val, write_json
from semipose.data.core import Crops
from semipose.easiness import (accuracy, again, all_views, alone_ap, fresh_statistics, gaps, interval, measure,
                               numbers, pairs, people_of)
from semipose.errors import UserError
from semipose.methods import A90, NOTHING, title
from semipose.run import codec_of, hardware, load_run, read_recipe, read_result, revision, versions
from semipose.watch import each_of
from semipose.views import A30, A60, CO, JC, PLAIN, RA, Cutout, JointCutout

MATRIX = (PLAIN, A30, A60, A90, JC, CO, RA, JC >> A60, RA >> A60, A30 >> Cutout(20), JointCutout(17) >> A60, NOTHING)


def opened(run, data=None):
    "A run's first network, the people it is measured on, pictures of 500 whom it was trained on"
    peers, p, sk, recipe = load_run(run)
    train, truth, _ = read_train_val(data or recipe["data"], recipe.get("labels"))
    truth = truth.subset(truth.posed)
    train = Crops(train.subset(np.arange(min(500, len(train)))), p.size).batch(range(min(500, len(train))))["image"]
    return peers.nets[0], p, sk, recipe, codec_of(p, peers.stride), people_of(Crops(truth, p.size).cache(False)), train


def rounded(x):
    "Numbers as a file wants them"
    if isinstance(x, dict): return {k: rounded(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)): return [rounded(v) for v in x]
    if isinstance(x, torch.Tensor): return rounded(x.tolist())
    return round(x, 4) if isinstance(x, float) else x


def origin(recipe):
    return dict(method=recipe["method"], protocol=recipe["protocol"], seed=recipe["seed"], steps=recipe["steps"],
                versions=versions(), revision=revision(), hardware=hardware())


def views(args):
    "Accuracy, gaps and pairs of one network"
    net, p, sk, recipe, codec, people, _ = opened(args.run, args.data)
    m = measure(net, people, all_views(), codec, p.size, sk, recipe["supervised"], args.rounds, args.seed,
                progress=True)
    g = gaps(m, MATRIX)
    both = {name: dict(title=title(name), teacher_view=str(t), student_view=str(s), **numbers(m, t, s))
            for name, (t, s) in pairs().items()}
    return dict(run=origin(recipe), people=len(m.known_joints), rounds=args.rounds, seed=args.seed, views=accuracy(m),
                pairs=both,
                matrix=dict(names=g.names, gap=g.gap, low=g.low, high=g.high))


def gained(args):
    """What each pair gained: the protocol's AP, and an interval from AP over people drawn again; also with batch
    statistics of A30 pictures"""
    folder = Path(args.run)
    names = ["start", "supervised",
        *(n for n in pairs() if (folder / n / "result.json").exists() and read_result(folder / n)["state"] == "done")]
    seen, rows, who = {}, {}, None
    for name in names:
        net, p, sk, recipe, codec, people, train = opened(folder / name, args.data)
        looks = [measure(n, people, (PLAIN,), codec, p.size, sk, recipe["supervised"], rounds=1)
                 for n in (net, fresh_statistics(net, train, p.size))]
        if who is None:
            who = [torch.repeat_interleave(torch.arange(len(n)), n.long())
                   for n in again(len(looks[0].known_joints), args.times)]
        seen[name] = [torch.tensor([100 * float(alone_ap(m.oks[0, 0][w], m.score[0, 0][w])) for w in who])
                      for m in looks]
        pck, fresh_pck = (100 * float(m.hits.sum() / m.known_joints.sum()) for m in looks)
        fresh_ap = 100 * float(alone_ap(looks[1].oks[0, 0], looks[1].score[0, 0]))
        row = rows[name] = dict(title=title(recipe_title(name)), ap=each_of(read_result(folder / name)["last"])[0],
                                pck=pck, fresh_ap=fresh_ap, fresh_pck=fresh_pck)
        for other in ("start", "supervised"):
            if name in ("start", other): continue
            for kind, key, i in (("over", "ap", 0), ("fresh_over", "fresh_ap", 1)):
                low, high = interval(seen[name][i] - seen[other][i])
                row[f"{kind}_{other}"] = dict(ap=row[key] - rows[other][key], low=float(low), high=float(high))
    return dict(run=origin(read_recipe(folder / names[-1])), folder=args.run, people=len(people["vis"]),
                times=args.times, rows=rows)


def recipe_title(name): return "supervised" if name == "start" else name


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("views", "gained"))
    parser.add_argument("run", help="a run folder (views) or the folder of a comparison (gained)")
    parser.add_argument("--data", help="where the pictures are, if not where the run found them")
    parser.add_argument("--out", required=True, help="the JSON to write")
    parser.add_argument("--rounds", type=int, default=2, help="looks at everybody under every view")
    parser.add_argument("--times", type=int, default=500, help="draws of people for the intervals of `gained`")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        write_json(Path(args.out),
            rounded(dict(command=" ".join(["python scripts/easiness.py", *sys.argv[1:]]),
                         **dict(views=views, gained=gained)[args.what](args))))
    except UserError as e: sys.exit(str(e))
