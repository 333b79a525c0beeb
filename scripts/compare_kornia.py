"""Could kornia's augmentations do a view's work? Pixels and time of its steps beside ours, in one run, interleaved.

    python scripts/compare_kornia.py [--batch 16] [--size 256x192] [--rounds 9] [--out results/benchmarks/kornia.json]

Geometry: kornia's `RandomAffine` samples, and our `render` gets the very matrices that it sampled. Colours: ours and
kornia's beside Pillow, one picture at a time, at the same strength. Times are ratios of kornia's to ours, the median
over rounds; above 1 ours is the faster. Notebook 20_views reads the JSON.
"""
from __future__ import annotations

import argparse, json, math, platform, statistics, time
from functools import partial
from pathlib import Path

import kornia
import kornia.augmentation as K
import kornia.enhance as E
import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from semipose.data.synth import DEMO, make_people
from semipose.geometry import affine, compose, roomy, warp, window
from semipose.views import COLORS, Affine, Cutout, Sample, View, plain, recolor, render

STRENGTH = 2 / 3    # of each colour change, as RandAugment's 20 of 30


def spent(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ratio(theirs, ours, rounds: int) -> float:
    "Median over rounds of kornia's seconds per second of ours; one round that does not count comes first"
    for work in (theirs, ours): work()
    return statistics.median(spent(theirs) / spent(ours) for _ in range(rounds))


def gap(a: Tensor, b: Tensor) -> dict:
    "Differences of two batches of pictures in [0,1], in steps of 255"
    d = 255 * (a - b).abs()
    return dict(mean=round(float(d.mean()), 4), largest=round(float(d.max()), 2))


def sharpness(x: Tensor) -> float: return float(x.diff(dim=-1).abs().mean() + x.diff(dim=-2).abs().mean())


def turned(angle: float, p: float):
    "kornia's affine with the range of a view; fill by zeros, pixel centres at the corners as ours"
    return K.RandomAffine((-2 * angle, 2 * angle), scale=(.75, 1.25), align_corners=True, padding_mode="zeros", p=p)


def turn(x: Tensor, size: tuple, count: int) -> Tensor:
    "Our way: so many affines, one resampling"
    start, angle, larger = plain(len(x), size), torch.full((len(x),), 20.), torch.full((len(x),), 1.1)
    M = start.M
    for _ in range(count): M = compose(M, affine(size, angle, larger))
    return render(x, Sample(M, start.flip), size)


def geometry(image: Tensor, size: tuple, rounds: int) -> list[dict]:
    "One affine, and two in a row"
    x, n, out = image.float() / 255, len(image), []
    crop = K.CenterCrop(size, align_corners=True, p=1.)
    for name, count in (("one affine", 1), ("two affines", 2)):
        torch.manual_seed(count)
        steps = K.AugmentationSequential(*[turned(30., 1.) for _ in range(count)], data_keys=["input"])
        theirs = crop(steps(x))
        M = torch.eye(3).repeat(n, 1, 1)
        for step in steps.children(): M = compose(M, step.transform_matrix)
        ours = warp(x, compose(M, window(size)), size)
        kept = crop(steps(torch.ones_like(x), params=steps._params)) > .999      # what no border has cut off
        out.append(dict(step=name, **gap(theirs * kept, ours * kept),
                        sharpness=round(sharpness(theirs * kept) / sharpness(ours * kept), 3),
                        time=round(ratio(lambda steps=steps: crop(steps(x)), partial(turn, x, size, count), rounds),
                                   2)))
    erase = K.RandomErasing(scale=(.005, .02), ratio=(.5, 2.), p=1.)
    theirs = K.AugmentationSequential(turned(30., 1.), erase, data_keys=["input"])
    ours = View("A30 and a hole", (Affine(30), Cutout(1)), base=True)
    pair = lambda: crop(theirs(x)), lambda: render(x, ours.sample(plain(n, size), size), size)
    return out + [dict(step="one affine and one hole", time=round(ratio(*pair, rounds), 2))]


def pillow_of(picture: Image.Image) -> dict:
    "Every colour change by Pillow"
    f, a = 1 + .9 * STRENGTH, np.asarray(picture).astype(int)
    added = Image.fromarray(np.minimum(a + int(110 * STRENGTH), 255).astype(np.uint8))
    return dict(autocontrast=ImageOps.autocontrast(picture), equalize=ImageOps.equalize(picture),
                invert_colors=ImageOps.invert(picture), posterize=ImageOps.posterize(picture, 4),
                solarize=ImageOps.solarize(picture, 256 * (1 - STRENGTH)), solarize_add=ImageOps.solarize(added, 128),
                saturate=ImageEnhance.Color(picture).enhance(f), contrast=ImageEnhance.Contrast(picture).enhance(f),
                brighten=ImageEnhance.Brightness(picture).enhance(f),
                sharpen=ImageEnhance.Sharpness(picture).enhance(f))


def kornia_of() -> dict:
    "The nearest that kornia has: (B,3,H,W) in [0,1] -> the same"
    f, s = 1 + .9 * STRENGTH, STRENGTH
    return dict(autocontrast=K.RandomAutoContrast(clip_output=True, p=1.), equalize=E.equalize,
                invert_colors=E.invert, posterize=lambda x: E.posterize(x, 4),
                solarize=lambda x: E.solarize(x, (math.ceil(256 * (1 - s)) - .5) / 255),
                solarize_add=lambda x: E.solarize((x + int(110 * s) / 255).clamp(max=1), 127.5 / 255),
                saturate=lambda x: E.adjust_saturation_with_gray_subtraction(x, f),
                contrast=lambda x: E.adjust_contrast_with_mean_subtraction(x, f),
                brighten=lambda x: E.adjust_brightness_accumulative(x, f), sharpen=lambda x: E.sharpness(x, f))


def colours(image: Tensor, rounds: int) -> list[dict]:
    x, n, theirs, out = image.float() / 255, len(image), kornia_of(), []
    to = lambda p: torch.from_numpy(np.asarray(p).copy()).permute(2, 0, 1).float() / 255
    by_pillow = [pillow_of(Image.fromarray(p.permute(1, 2, 0).numpy())) for p in image]
    works = []
    for k, change in enumerate(COLORS):
        name = change.__name__
        truth = torch.stack([to(p[name]) for p in by_pillow])
        pair = (torch.full((n,), k), torch.full((n,), STRENGTH)),
        works.append((lambda name=name: theirs[name](x), lambda pair=pair: recolor(image, pair)))
        out.append(dict(step=name, ours=gap(works[-1][1]().float() / 255, truth)["largest"],
                        kornia=gap(works[-1][0](), truth)["largest"], time=round(ratio(*works[-1], rounds), 2)))
    every = (lambda which=which: [pair[which]() for pair in works] for which in (0, 1))
    worst = {k: max(row[k] for row in out) for k in ("ours", "kornia")}
    return out + [dict(step="all ten", **worst, time=round(ratio(*every, rounds), 2))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", default="256x192")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", default="results/benchmarks/kornia.json")
    a = parser.parse_args()
    size = tuple(map(int, a.size.split("x")))
    torch.set_num_threads(1)
    image = make_people(torch.arange(a.batch), seed=3, size=roomy(size), difficulty=DEMO).image
    with torch.no_grad():
        out = dict(kornia=kornia.__version__, torch=torch.__version__, machine=platform.machine(), batch=a.batch,
                   size=list(size), rounds=a.rounds, geometry=geometry(image, size, a.rounds),
                   colours=colours(image, a.rounds))
    Path(a.out).parent.mkdir(parents=True, exist_ok=True)
    Path(a.out).write_text(json.dumps(out, indent=1) + "\n")
    for row in out["geometry"] + out["colours"]: print(row)


if __name__ == "__main__": main()
