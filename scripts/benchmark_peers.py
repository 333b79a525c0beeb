"""Peers beside us, in one table: processor time of one core, ours / theirs, interleaved round by round.

python scripts/benchmark_peers.py DATA [--rounds 7] [--people 32] [--before 64a01e5]
writes results/benchmarks/peers.json, from which the README's table is made, and prints it.

DATA is a COCO-style folder of photographs. The released pipeline is its steps written out with cv2 and numpy (imread,
warpAffine, one joint at a time), as its description has it; it is not the released code itself, and was not compared
with it. Both sides make of each person an easy picture, a hard picture with Joint Cutout, and the easy one's targets.
faster-coco-eval and simplejpeg are used where they are installed. What cannot be run here is named as not run.
"""
from __future__ import annotations
import argparse, contextlib, importlib.util, io, json, os, tempfile, time
from pathlib import Path

import numpy as np
import torch

import benchmark_codecs, benchmark_eval, benchmark_packs, benchmark_views
from semipose import views
from semipose.codecs import build_codec
from semipose.data.pack import Pack, PackedCrops, decoder, write_pack
from semipose.files import whole
from semipose.recipe import hardware
from semipose.skeletons import COCO17

OUT = Path(__file__).resolve().parent.parent / "results" / "benchmarks" / "peers.json"
SIZE = (256, 192)
MEAN, STD = np.float32([.485, .456, .406]), np.float32([.229, .224, .225])


def matrix(box, degrees, scale):
    "Photograph px -> crop px as the released code builds it: from the box's centre, turned and scaled"
    import cv2
    (x, y, w, h), (H, W) = box, SIZE
    w = max(w, h * W / H) * 1.25 * scale
    M = cv2.getRotationMatrix2D((float(x + box[2] / 2), float(y + box[3] / 2)), float(degrees), float(W / w))
    M[:, 2] += [W / 2 - (x + box[2] / 2), H / 2 - (y + box[3] / 2)]
    return M


def released(pictures, boxes, joints, rng):
    "Easy picture, hard picture with five boxes, target: a person after the other"
    import cv2
    H, W = SIZE
    for picture, box, (xy, vis) in zip(pictures, boxes, joints):
        image = picture() if callable(picture) else picture
        easy = matrix(box, rng.normal(0, 15), rng.uniform(.75, 1.25))
        hard = matrix(box, rng.normal(0, 30), rng.uniform(.5, 1.5))
        for M, holes in ((easy, 0), (hard, 5)):
            crop = cv2.warpAffine(image, M, (W, H), flags=cv2.INTER_LINEAR)
            for x, y in rng.integers(0, (W, H), (holes, 2)): crop[max(y - 10, 0):y + 10, max(x - 10, 0):x + 10] = 0
            torch.from_numpy(((crop.astype(np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1).copy())
        at = (xy @ easy[:, :2].T + easy[:, 2]) / benchmark_codecs.STRIDE
        np.stack([benchmark_codecs.bump_one(*p) if v and (p > -6).all() and (p < (W / 4 + 6, H / 4 + 6)).all()
                  else np.zeros((H // 4, W // 4), np.float32) for p, v in zip(at, vis)])


def ours(crops, codec, g):
    "The same of a batch"
    got = crops.batch(np.arange(len(crops)))
    easy = views.A30.sample(views.plain(len(crops), SIZE), SIZE, generator=g)
    hard = (views.JointCutout(5) >> views.A60).sample(easy, SIZE, (got["xy"], torch.ones(got["xy"].shape[1])), g)
    shared = views.Renderer(got["image"])
    for draw in (easy, hard): views.render(shared, draw, SIZE)
    flip = list(crops.people.skeleton.flip_index)
    codec.encode(*views.joints_in(got["xy"], got["vis"], easy, flip), (64, 48))


def least(pictures, boxes, rng):
    "What no pipeline can spare: two warps of each person by OpenCV and floats of them; no hidden boxes, no targets"
    import cv2
    H, W = SIZE
    out = np.empty((2, len(boxes), H, W, 3), np.uint8)
    for i, (picture, box) in enumerate(zip(pictures, boxes)):
        image = picture() if callable(picture) else picture
        for j, (sd, low, high) in enumerate(((15, .75, 1.25), (30, .5, 1.5))):
            M = matrix(box, rng.normal(0, sd), rng.uniform(low, high))
            cv2.warpAffine(image, M, (W, H), dst=out[j, i], flags=cv2.INTER_LINEAR)
    for view in torch.from_numpy(out).permute(0, 1, 4, 2, 3): view.float().div_(255)


def evaluations(images, people):
    "Ours, and each peer, from COCO's lists to the ten numbers; they must be equal"
    from semipose.evaluate.coco import _judged, _ten, _truth
    truth, rng = benchmark_eval.crowd(images, people), np.random.default_rng(1)
    who = truth.subset(truth.posed)
    off = rng.normal(0, 6, who.xy.shape) * rng.exponential(1, (len(who), 1, 1))
    results = benchmark_eval.to_results(who, who.xy + off, rng.uniform(.2, 1, who.vis.shape))
    mine = lambda fast: _ten(_judged(_truth(truth), results, COCO17.sigmas, None, fast=fast))

    def faster():
        from faster_coco_eval import COCO, COCOeval_faster
        with contextlib.redirect_stdout(io.StringIO()):
            gt = COCO(_truth(truth))
            found = gt.loadRes([dict(r) for r in results])
            ev = COCOeval_faster(gt, found, "keypoints", print_function=lambda *a: None)
            ev.params.kpt_oks_sigmas = np.array(COCO17.sigmas)
            ev.evaluate(), ev.accumulate(), ev.summarize()
        return ev.stats
    yield "pycocotools", lambda: mine(True), lambda: mine(False)
    if importlib.util.find_spec("faster_coco_eval"):
        assert np.allclose(list(mine(True).values())[:10], np.asarray(faster())[:10], atol=1e-9), "other numbers"
        yield "faster-coco-eval", lambda: mine(True), faster


def comparisons(a, folder):
    "(what, peer, ours, theirs)"
    import cv2
    cv2.setNumThreads(1)
    crops, rng = benchmark_packs.some(a.data, SIZE, a.people), np.random.default_rng(0)
    g = torch.Generator().manual_seed(0)
    people, codec = crops.people, build_codec("gaussian", 2., 4)
    files = [str(people.folder / people.files[i]) for i in people.image]
    read = [lambda f=f: cv2.cvtColor(cv2.imread(f), cv2.COLOR_BGR2RGB) for f in files]
    memory, joints = [r() for r in read], list(zip(people.xy, people.vis > 0))
    cached = crops.cache(progress=False)
    pack = PackedCrops(crops, Pack(write_pack(Path(folder) / "95.pack", dict(train=crops), 95, progress=False)))
    what, cv = "pairs and targets, from", "released steps (cv2, numpy)"
    yield f"{what} photographs", cv, lambda: ours(crops, codec, g), lambda: released(read, people.box, joints, rng)
    yield f"{what} a pack", f"{cv}, photographs", lambda: ours(pack, codec, g), \
        lambda: released(read, people.box, joints, rng)
    yield f"{what} memory", cv, lambda: ours(cached, codec, g), lambda: released(memory, people.box, joints, rng)
    alone = "two warps and floats alone, from"
    yield f"{alone} photographs", cv, lambda: least(read, people.box, rng), \
        lambda: released(read, people.box, joints, rng)
    yield f"{alone} memory", cv, lambda: least(memory, people.box, rng), \
        lambda: released(memory, people.box, joints, rng)
    yield "crops, from a pack", "ours, from photographs", lambda: benchmark_packs.seconds(pack), \
        lambda: benchmark_packs.seconds(crops)
    if a.before:
        new, old = (benchmark_views.work(m, a.people, SIZE) for m in (views, benchmark_views.before(a.before)))
        yield "three views and targets", f"our build {a.before}", new, old
    for name, mine, theirs in benchmark_codecs.pairs(a.rounds):
        task, _, peer = name.partition(" / ")
        if peer == "numpy": yield task, peer, mine, theirs
    for peer, mine, theirs in evaluations(a.images, a.images * 5 // 4): yield "COCO evaluation", peer, mine, theirs


def not_run():
    "Peers that are not here, and why"
    out = {"the released training code": "it is not here; its pipeline is written out instead",
           "mmpose": "it is not installed here"}
    if not importlib.util.find_spec("faster_coco_eval"): out["faster-coco-eval"] = "it is not installed"
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("data", type=Path)
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--people", type=int, default=32)
    p.add_argument("--images", type=int, default=1000, help="of the evaluation")
    p.add_argument("--before", default="64a01e5", help="the commit of an earlier build; '' leaves it out")
    p.add_argument("--out", type=Path, default=OUT)
    a = p.parse_args()
    torch.set_num_threads(1)
    busy, rows = os.getloadavg()[0], []
    with tempfile.TemporaryDirectory() as folder:
        for what, peer, mine, theirs in comparisons(a, folder):
            times = []
            for _ in range(a.rounds + 1):       # the first round warms up
                at = [time.process_time()]
                for f in (mine, theirs): f(); at.append(time.process_time())
                times.append(np.diff(at))
            r = np.array([m / t for m, t in times[1:]])
            best = np.min(times[1:], axis=0)
            rows.append(dict(what=what, peer=peer, ratio=[round(float(v), 3) for v in (r.min(), np.median(r), r.max())],
                             best=[round(float(v), 4) for v in best], ratio_of_best=round(float(best[0] / best[1]), 3)))
            print(f"{what:<36}{peer:<40}{r.min():>6.2f}{np.median(r):>6.2f}{r.max():>6.2f}", flush=True)
    note = dict(command=f"python scripts/benchmark_peers.py {a.data.name} --rounds {a.rounds} --people {a.people} "
                        f"--images {a.images}", hardware=hardware(), load=round(busy, 1), rounds=a.rounds,
                people=a.people, size=SIZE, decoder=decoder(), not_run=not_run(), rows=rows)
    with whole(a.out) as part: part.write_text(json.dumps(note, indent=1) + "\n")


if __name__ == "__main__": main()
