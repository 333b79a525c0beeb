"""Crops a second and core from photographs and from packs, round by round; and how far JPEG moves the joints of a run.

python scripts/benchmark_packs.py ../shared/data/coco-small [--size 256x192] [--people 64] [--rounds 7]
python scripts/benchmark_packs.py DATA --joints RUN      # of a trained run, on packed and plain crops
"""
from __future__ import annotations
import argparse, tempfile, time
from pathlib import Path

import numpy as np
import torch

from semipose.data import pack as packs
from semipose.data.core import Crops
from semipose.data.pack import Pack, PackedCrops, write_pack
from semipose.data.sets import read_any_train_val


def some(data, size, people):
    "Crops of as many people, every picture in turn"
    train = read_any_train_val(data)[0]
    rows = train.posed
    return Crops(train.subset(rows[:: max(len(rows) // people, 1)][:people]), size)


def seconds(crops):
    "Processor time for all of them in a shuffled order, 16 at a time"
    order, start = np.random.default_rng(0).permutation(len(crops)), time.process_time()
    for rows in np.split(order, range(16, len(order), 16)): crops.batch(rows)
    return time.process_time() - start


def speeds(crops, rounds, folder):
    "From photographs, raw, and each decoder that is installed"
    files = {q: Pack(write_pack(Path(folder) / f"{q}.pack", dict(train=crops), q, progress=False)) for q in ("raw", 95)}
    ways = [n for n in ("simplejpeg", "cv2") if packs.find_spec(n)] + ["PIL"]
    usual, out = packs.from_jpeg, {}
    for r in range(rounds + 1):
        plain = seconds(crops)
        for name in ["raw", *ways]:
            packed = PackedCrops(crops, files["raw" if name == "raw" else 95])
            packs.from_jpeg = lambda blob, into, by=name: usual(blob, into, by)
            if r: out.setdefault(name, []).append(plain / seconds(packed))      # the first round warms up
        if r: out.setdefault("photographs, crops a second", []).append(len(crops) / plain)
    packs.from_jpeg = usual
    print(f"{len(crops)} people in {len(np.unique(crops.people.image))} pictures, crops of {crops.room}; "
          "bytes a crop: " + ", ".join(f"{q} {f.index['length'].mean():,.0f}" for q, f in files.items()))
    print(f"{'times as many crops a second of a core':<42}{'min':>8}{'median':>8}{'max':>8}")
    for name, v in out.items():
        print(f"{dict(raw='raw').get(name, name):<42}{min(v):>8.1f}{np.median(v):>8.1f}{max(v):>8.1f}")


def joints(data, people, run, folder):
    "How far a trained network's joints move between plain and packed crops, crop px"
    from semipose.answers import load_run
    from semipose.networks import codec_of
    from semipose.predict import predict_all
    nets, p, *_ = load_run(run, device="cpu")
    crops, codec = some(data, p.size, people), codec_of(p, nets.stride)
    plain = predict_all(nets, crops, p.size, codec).xy
    for q in (95, 90, 80):
        pack = Pack(write_pack(Path(folder) / f"{q}.pack", dict(train=crops), q, progress=False))
        found = predict_all(nets, PackedCrops(crops, pack), p.size, codec).xy
        off = ((found - plain).norm(dim=-1) * crops.matrix()[:, :1, 0]).numpy()
        print(f"JPEG {q}: {pack.index['length'].mean():,.0f} bytes a crop; joints of {len(crops)} people move "
              f"{off.mean():.2f} px on average, {np.median(off):.2f} in the median, {np.quantile(off, .9):.2f} at the "
              "90th percentile")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("data", type=Path)
    p.add_argument("--size", default="256x192")
    p.add_argument("--people", type=int, default=64)
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--joints", type=Path, help="a run folder")
    a = p.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if a.joints: return joints(a.data, a.people, a.joints, folder)
        speeds(some(a.data, tuple(map(int, a.size.split("x"))), a.people), max(a.rounds, 7), folder)


if __name__ == "__main__": main()
