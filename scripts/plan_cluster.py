"""What COCO-full on several GPUs needs, on paper: crops a second, cores, disk, network, hours.

python scripts/plan_cluster.py [--gpus 8] [--tera 989] [--share .08]     # writes results/benchmarks/plan.txt

Reading is computed from results/benchmarks/peers.json, measured on one core of the machine named there. The rate of a
GPU is an assumption: no H100 was at hand. So are the people, and the bytes of a crop (benchmark_packs.py prints them).
"""
from __future__ import annotations
import argparse, json
from pathlib import Path

from semipose.files import whole
from semipose.methods import cost
from semipose.protocols import AFFINE, BUDGETS

HOME = Path(__file__).resolve().parent.parent / "results" / "benchmarks"
LABELED, UNLABELED = 149_813, 123_403 + 149_813     # train2017; one box a picture of unlabeled2017, beside train2017
MACS, WEIGHTS = 8.9e9, 34.0e6                       # of ResNet-50 at 256x192, published
CROP = 78_000                                       # bytes of a packed crop, JPEG 95


def rates(file=HOME / "peers.json"):
    "Crops a second of one core, from a pack and from photographs; on what"
    d = json.loads(Path(file).read_text())
    row = next(r for r in d["rows"] if r["what"] == "crops, from a pack")
    return *(d["people"] / s for s in row["best"]), d


def plan(gpus, tera, share, file=HOME / "peers.json", batch=32):
    "Facts of PoseDual + JC, name -> text"
    packed, plain, d = rates(file)
    c, epochs = cost("posedual_jc", (1, 1)), BUDGETS["coco-full"][AFFINE].epochs
    work = 2 * MACS * (c.forward + 2 * c.backward)      # of a labelled and an unlabelled person; backward is twice
    pairs = gpus * tera * 1e12 * share / work           # a second
    crops, steps = 2 * pairs, pairs / (gpus * batch)
    hours = epochs * UNLABELED / pairs / 3600
    ring = 2 * (gpus - 1) / gpus * 2 * 4 * WEIGHTS * steps      # two networks, fp32 gradients
    return {
        "training": f"PoseDual + JC, ResNet-50, 256x192, {epochs} passes over {UNLABELED:,} unlabelled people "
                    "(assumed: one a picture of unlabeled2017, and train2017)",
        "GPUs": f"{gpus}, each {tera:g} TFLOP/s at best and {share:.0%} of it in use (assumed: none was at hand)",
        "step": f"{batch}+{batch} people a GPU, {steps:.1f} steps a second",
        "crops a second": f"{crops:,.0f}",
        "cores for packed crops": f"{crops / packed:,.0f} at {packed:,.0f} a second and core (measured)",
        "cores for photographs": f"{crops / plain:,.0f} at {plain:,.0f} a second and core (measured)",
        "disk": f"{crops * CROP / 1e6:,.0f} MB a second of packed crops; the pack {UNLABELED * CROP / 1e9:,.0f} GB",
        "network": f"{ring / 1e9:.1f} GB a second and GPU of gradients (ring, fp32)",
        "hours": f"{hours:,.0f}, if nothing waits",
        "beside the released code's": "not run here",
        "measured on": f"{d['hardware']}; load before: {d['load']} (disturbed: rates of a quiet machine are higher)"
                       if d["load"] > .5 else d["hardware"]}


def text(**kw): return "".join(f"{k:<28}{v}\n" for k, v in plan(**kw).items())


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--gpus", type=int, default=8)
    p.add_argument("--tera", type=float, default=989., help="of one GPU, dense bf16, as its maker says")
    p.add_argument("--share", type=float, default=.08, help="of that in use; convolutions of this size fill no more")
    a = p.parse_args()
    out = text(**vars(a))
    if (a.gpus, a.tera, a.share) == (8, 989., .08):
        with whole(HOME / "plan.txt") as part: part.write_text(f"$ python scripts/plan_cluster.py\n\n{out}")
    print(out, end="")


if __name__ == "__main__": main()
