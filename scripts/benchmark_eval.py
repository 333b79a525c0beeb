"""An evaluation of val2017's size, stage by stage, beside pycocotools' share: generated people, no pictures, no
network.

python scripts/benchmark_eval.py [--images 5000] [--people 6352]
python scripts/benchmark_eval.py --versus [--rounds 7]    # judge beside pycocotools alone, round by round
"""
from __future__ import annotations
import argparse, contextlib, gc, io, json, tempfile, time
from pathlib import Path

import numpy as np
import torch

from semipose.codecs import build_codec
from semipose.data.coco import read_coco, to_coco, write_json
from semipose.data.core import People
from semipose.evaluate.coco import _matches, _ten, _truth, ap_of, crop_area, oks_nms, rescore, to_results
from semipose.geometry import crop_matrix, invert, move
from semipose.skeletons import COCO17, waving


def crowd(images, people, seed=0):
    "People of all sizes, a pose each; some pictures hold nobody, others many, one in fifty is a crowd box"
    rng = np.random.default_rng(seed)
    image = np.sort(np.minimum((images * rng.beta(.7, 1, people)).astype(int), images - 1))
    size = np.exp(rng.uniform(np.log(40), np.log(400), people))[:, None] * [.6, 1]
    corner = rng.uniform(0, 1, (people, 2)) * ([640, 480] - size).clip(0)
    pose = np.array(waving())[None] + rng.normal(0, .05, (people, 17, 2))
    vis = rng.choice(3, (people, 17), p=[.3, .15, .55]).astype(np.uint8)
    vis[:, 0] = 2
    crowds = np.arange(people) % 50 == 0
    vis[crowds] = 0
    xy = (corner[:, None] + pose.clip(0, 1) * size[:, None]) * (vis > 0)[..., None]
    return People(COCO17, Path("."), [f"{i:012d}.jpg" for i in range(images)], image, np.arange(images) + 1,
                  np.arange(people) + 1,
                  np.concatenate([corner, size], 1).astype(np.float32), xy.astype(np.float32), vis,
                  (.53 * size.prod(1)).astype(np.float32), crowds)


def versus(images, people, rounds):
    "Processor time of a measurement during training, and of pycocotools, from COCO's lists to the ten numbers"
    from semipose.evaluate.coco import _judged
    truth, rng, ratios = crowd(images, people), np.random.default_rng(1), []
    who = truth.subset(truth.posed)
    off = rng.normal(0, 6, who.xy.shape) * rng.exponential(1, (len(who), 1, 1))
    results = to_results(who, who.xy + off, rng.uniform(.2, 1, who.vis.shape))
    for _ in range(rounds):
        seconds, stats = {}, {}
        for fast in (False, True):
            gc.collect()
            gc.disable()        # as timeit does
            start = time.process_time()
            ev = _judged(_truth(truth), results, COCO17.sigmas, None, fast=fast)
            seconds[fast], stats[fast] = time.process_time() - start, _ten(ev)
            gc.enable()
        assert stats[False] == stats[True], "the ten numbers differ"
        ratios.append(seconds[True] / seconds[False])
    r = np.sort(ratios)
    print(f"{images:,} images, {people:,} people, {len(results):,} detections; "
          f"AP {100 * stats[True]['AP']:.2f} both ways\n"
          f"{'all pictures at once / pycocotools':<38}min {r[0]:.2f}  median {np.median(r):.2f}  max {r[-1]:.2f}")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--images", type=int, default=5000)
    p.add_argument("--people", type=int, default=6352)
    p.add_argument("--codec", default="dark")
    p.add_argument("--versus", action="store_true", help="beside pycocotools, round by round")
    p.add_argument("--rounds", type=int, default=7)
    a = p.parse_args()
    torch.set_num_threads(1)
    if a.versus: return versus(a.images, a.people, a.rounds)
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    rng, seconds = np.random.default_rng(1), {}

    @contextlib.contextmanager
    def stage(name):
        start = time.perf_counter()
        yield
        seconds[name] = seconds.get(name, 0) + time.perf_counter() - start

    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder) / "gt.json", to_coco(crowd(a.images, a.people)))
        with stage("read the annotations"): truth = read_coco(Path(folder) / "gt.json", keep_all=True)
    who, codec, size = truth.subset(truth.posed), build_codec(a.codec), (256, 192)
    with stage("boxes to crops"): M = crop_matrix(torch.from_numpy(who.box), size)
    there, vis, found = move(torch.from_numpy(who.xy), M), torch.from_numpy(who.vis.astype(np.int64)), []
    off = torch.from_numpy(rng.normal(0, 4, there.shape).astype(np.float32)) * torch.from_numpy(rng.exponential(1,
        (len(who), 1, 1)).astype(np.float32))
    for rows in torch.arange(len(who)).split(128):
        heat, _ = codec.encode(there[rows] + off[rows], vis[rows], (64, 48))
        heat = heat * torch.rand(len(rows), 17, 1, 1)
        with stage("heatmaps to joints"): xy, score = codec.decode(heat)
        with stage("joints back to the photo"): found.append((move(xy, invert(M[rows])), score))
    xy, score = (torch.cat(f).double().numpy() for f in zip(*found))
    with stage("rescoring"): sure = rescore(score)
    with stage("OKS-NMS"): keep = oks_nms(xy, sure, crop_area(who.box), who.image, COCO17.sigmas)
    with stage("submission"): results = to_results(who, xy, score)
    with stage("submission as JSON"): text = json.dumps(results)
    seconds["submission"] -= seconds["rescoring"] + seconds["OKS-NMS"]  # `to_results` does both once more
    with contextlib.redirect_stdout(io.StringIO()):
        with stage("truth for pycocotools"): lists = _truth(truth)
        with stage("pycocotools: index"):
            gt = COCO()
            gt.dataset = lists
            gt.createIndex()
            dt = gt.loadRes(results)
        with stage("pycocotools: evaluate"):
            ev = COCOeval(gt, dt, "keypoints")
            ev.evaluate()
        with stage("pycocotools: accumulate"):
            ev.accumulate()
            ev.summarize()
    with stage("matches"): m = _matches(ev)
    with stage("AP of 1,000 resamples"): ap = ap_of(m, rng.integers(0, a.images, (1000, a.images)))
    # twenty detections a picture, as a detector gives them
    many = np.repeat(np.arange(len(who)), 15)
    shaken = xy[many] + rng.normal(0, 5, (len(many), 17, 2))
    with stage("OKS-NMS, a detector's boxes"):
        kept = oks_nms(shaken, rng.uniform(0, 1, len(many)), crop_area(who.box)[many], who.image[many], COCO17.sigmas)

    extra = ("AP of 1,000 resamples", "OKS-NMS, a detector's boxes", "submission as JSON", "matches")
    total = sum(s for k, s in seconds.items() if k not in extra)
    theirs = sum(s for k, s in seconds.items() if k.startswith("pycocotools"))
    print(f"{a.images:,} images, {len(truth):,} people, {len(who):,} posed, {len(results):,} detections after NMS of "
          f"{len(keep):,}; codec {a.codec}, one core\n")
    for name, s in seconds.items():
        if name not in extra: print(f"{name:<28}{s:>8.2f} s {100 * s / total:>6.1f} %")
    print(f"{'all of it':<28}{total:>8.2f} s   of which pycocotools {100 * theirs / total:.0f} %\n")
    for name in extra: print(f"{name:<28}{seconds[name]:>8.2f} s   beside it")
    print(f"\nAP {100 * _ten(ev)['AP']:.2f}, resamples {100 * ap.mean():.2f} +- {100 * ap.std():.2f}; submission "
          f"{len(text) / 1e6:.1f} MB; "
          f"matches {len(json.dumps(m.to_dict())) / 1e3:.0f} kB; of a detector's {len(many):,} poses NMS kept "
          f"{kept.sum():,}")


if __name__ == "__main__": main()
