"""How high are the heatmaps of a finished run, by whose batch statistics: the batch's own, those of labelled and
unlabelled people joined, the running ones?

python scripts/measure_statistics.py runs/demo --seeds 0-9 [--out results/statistics.json]

Reads runs/demo/seedN/METHOD, as `semipose sweep demo` leaves them, draws the seed's people, and changes nothing.
Half a minute a seed on one core.
"""
from __future__ import annotations
import argparse, json
from copy import deepcopy
from pathlib import Path

import torch

from semipose.cli import parse_seeds
from semipose.codecs import peaks
from semipose.files import whole
from semipose.predict import as_crops, evaluating
from semipose.protocols import protocol
from semipose.run import synthetic_people, hardware, load_run, prepare, versions

METHODS = ("start", "supervised", "naive", "naive_joined", "posecons", "posecons_kept", "posecons_joined",
           "posedual_jc",
           "posedual_jc_kept", "posedual_jc_joined")
BATCHES = 8     # of unlabelled people


def heights(net, labeled, unlabeled) -> dict:
    "Mean peak of labelled and unlabelled people under each kind of statistics; the network is left as it is"
    mean = lambda heats: float(torch.cat([peaks(h) for h in heats]).mean())
    n = len(labeled)
    with torch.no_grad():
        with evaluating(net):
            out = dict(running=(mean([net(labeled)]), mean([net(u) for u in unlabeled])))
        # in training mode a forward normalises by its own batch, and moves the running averages of this copy
        own = deepcopy(net).train()
        out["apart"] = (mean([own(labeled)]), mean([own(u) for u in unlabeled]))
        both = [own(torch.cat([labeled, u])).split([n, len(u)]) for u in unlabeled]
        out["joined"] = (mean([l for l, _ in both]), mean([u for _, u in both]))
    return {k: dict(labeled=round(l, 4), unlabeled=round(u, 4)) for k, (l, u) in out.items()}


def measure(root: Path, seed: int) -> list[dict]:
    "One row for each method that has a finished run of this seed"
    p = protocol("demo")
    data = prepare(p, synthetic_people(p, seed, progress=False), seed, progress=False)
    crops = lambda which, rows: as_crops(which.batch(torch.as_tensor(rows))["image"], p.size, "cpu")
    labeled = crops(data.labeled, range(len(data.labeled)))
    unlabeled = crops(data.unlabeled, range(BATCHES*p.batch[1])).split(p.batch[1])
    out = []
    for name in METHODS:
        folder = root/f"seed{seed}"/name
        if (folder/"weights.safetensors").exists():
            out.append(dict(method=name, seed=seed, **heights(load_run(folder, device="cpu")[0].nets[0],
                                                              labeled, unlabeled)))
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("runs", type=Path)
    p.add_argument("--seeds", default="0-9")
    p.add_argument("--out", type=Path, default=Path("results/statistics.json"))
    args = p.parse_args()
    rows = [row for seed in parse_seeds(args.seeds) for row in measure(args.runs, seed)]
    command = f"python scripts/measure_statistics.py runs/demo --seeds {args.seeds}"
    with whole(args.out) as part:
        part.write_text(json.dumps(dict(command=command, hardware=hardware(), versions=versions(), rows=rows),
                                   indent=1) + "\n")


if __name__ == "__main__":
    main()
