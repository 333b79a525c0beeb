#!/usr/bin/env bash
# "Bicubic" is several kernels, two of them inside Pillow; heatmaps that are warped again and again grow without bound under it.
#
# Versions:  opencv-python-headless 4.11.0.86, Pillow 11.1.0, scipy 1.15.2 (numpy 2.2.6), Python 3.11.
# Input:     one float32 map of 65 x 65 px, a Gaussian bump of width 1.5 px and height 1, as pose networks predict for a joint.
#            It is shifted by a fraction of a pixel and back again, 50 times (100 warps), with the same seeded fractions for each library.
#            Beside it one bright pixel, moved by half a pixel and enlarged twice, which shows the parameter a of Keys' cubic kernel.
# Behaviour: OpenCV's INTER_CUBIC has a = -.75, Pillow's Image.transform with BICUBIC a = -1, and its Image.resize with BICUBIC a = -.5.
#            Below -.5 some frequencies come out larger than they went in, so repeated warps end at multiples of the true height.
#            Bilinear ends near nothing. scipy's order 3, a cubic B-spline with its prefilter, never grows and keeps most of the height.
# Seen:      a: -.75, -1, -.5. Height after 100 warps: bilinear .12, OpenCV bicubic 4.0, Pillow bicubic 178, scipy order 3 .86.
# Source:    OpenCV imgwarp.cpp, interpolateCubic (A = -0.75f); Pillow Geometry.c, macro BICUBIC, against Resample.c, bicubic_filter (a -0.5).
# So:        for maps that are fed back (consistency training, tracking) choose the spline; do not check one "bicubic" by another.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv" 2>/dev/null || python3 -m venv "$place/venv"
"$place/venv/bin/python" -m pip install -q numpy==2.2.6 opencv-python-headless==4.11.0.86 Pillow==11.1.0 scipy==1.15.2
"$place/venv/bin/python" - <<'PY'
import sys
import cv2, numpy as np
from PIL import Image
from scipy import ndimage

n, sigma = 65, 1.5
y, x = np.mgrid[:n, :n] - n // 2
bump = np.exp(-(x**2 + y**2) / (2 * sigma**2)).astype(np.float32)
spot = (x == 0).astype(np.float32) * np.ones((n, 1), np.float32)      # a bright column: one axis alone
shifts = np.random.default_rng(0).uniform(-1, 1, (50, 2))


def opencv(kind):
    return lambda a, d: cv2.warpAffine(a, np.float32([[1, 0, d[0]], [0, 1, d[1]]]), (n, n), flags=kind)


def pillow(a, d):
    moved = Image.fromarray(a, "F").transform((n, n), Image.Transform.AFFINE, (1, 0, -d[0], 0, 1, -d[1]), Image.Resampling.BICUBIC)
    return np.asarray(moved, dtype=np.float32)


def scipy(a, d): return ndimage.shift(a, (d[1], d[0]), order=3, mode="constant").astype(np.float32)


# Keys: w(t) = a (t^3 - 5 t^2 + 8 t - 4) for 1 < t < 2: a / 8 at 1.5 px, .140625 a at 1.25 px
twice = np.asarray(Image.fromarray(spot, "F").resize((2 * n, n), Image.Resampling.BICUBIC))
of = dict(opencv=opencv(cv2.INTER_CUBIC)(spot, (.5, 0))[n // 2, n // 2 + 2] * 8, transform=pillow(spot, (.5, 0))[n // 2, n // 2 + 2] * 8,
          resize=twice[n // 2, 2 * (n // 2) - 2] / .140625)
height = {}
for name, move in dict(bilinear=opencv(cv2.INTER_LINEAR), opencv=opencv(cv2.INTER_CUBIC), pillow=pillow, scipy=scipy).items():
    a = bump
    for d in shifts: a = move(move(a, d), -d)
    height[name] = float(a.max())
print("a:", " ".join(f"{k} {v:.2f}" for k, v in of.items()), "| height:", " ".join(f"{k} {v:.2f}" for k, v in height.items()))
kernels = all(abs(of[k] - v) < .02 for k, v in dict(opencv=-.75, transform=-1., resize=-.5).items())
heights = height["bilinear"] < .2 and height["opencv"] > 3 and height["pillow"] > 100 and .75 < height["scipy"] <= 1.001
sys.exit(0 if kernels and heights else "changed: the finding no longer holds as written")
PY
