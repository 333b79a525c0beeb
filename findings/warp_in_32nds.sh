#!/usr/bin/env bash
# OpenCV 4 warps in steps of 1/32 px, floats too: a hundred moves of .01 px leave a heatmap where it was. OpenCV 5 moves it by one pixel.
#
# Versions:  opencv-python-headless 4.13.0.92 and 5.0.0.93, numpy 2.4.6, Python 3.11.
# Input:     one float32 map of 65 x 65 px, a Gaussian bump of width 2 px, moved to the right by .01, .02 and .13 px with warpAffine, INTER_LINEAR;
#            and moved a hundred times by .01 px, as tracking, optical flow and consistency training feed maps back.
#            Where the bump lies is its centre of mass.
# Behaviour: OpenCV 4 rounds each source position to 1/32 px before it interpolates, for float pictures and float matrices as well.
#            So .01 is no motion at all, .02 is .03125, .13 is .125. remap, given the exact positions as float maps, answers the same.
#            OpenCV 5 interpolates at the position that was asked for. The call is the same, word for word, and nothing is said.
# Seen:      4.13: .000, .03125, .125; after a hundred moves of .01 the bump is at .00. 5.0: .010, .020, .130; after a hundred moves at 1.00.
# Source:    OpenCV's imgproc.hpp, INTER_BITS = 5, a table of 32 positions a pixel; opencv/opencv issues 25937 and 26361. That 5.0 differs: measured.
# So:        crops that were cut under 4 and under 5 differ (a pose network's input, a released pipeline's numbers); slow motion must not be
#            fed back through OpenCV 4's warps: compose the matrices first, or use another library.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cat > "$place/moves.py" <<'PY'
import json
import cv2, numpy as np

n = 65
y, x = np.mgrid[:n, :n] - n // 2
bump = np.exp(-(x**2 + y**2) / 8).astype(np.float32)
to_the_right = lambda a, d: cv2.warpAffine(a, np.float32([[1, 0, d], [0, 1, 0]]), (n, n), flags=cv2.INTER_LINEAR)


def with_maps(a, d):
    column, row = np.meshgrid(np.arange(n, dtype=np.float32) - np.float32(d), np.arange(n, dtype=np.float32))
    return cv2.remap(a, column, row, cv2.INTER_LINEAR)


where = lambda a: float((a * x).sum() / a.sum())
found = {str(d): where(to_the_right(bump, d)) for d in (.01, .02, .13)}
maps = {str(d): where(with_maps(bump, d)) for d in (.01, .02, .13)}
a = bump
for _ in range(100): a = to_the_right(a, .01)
print(json.dumps(dict(version=cv2.__version__, once=found, maps=maps, hundred=where(a))))
PY
for version in 4.13.0.92 5.0.0.93; do
    python3.11 -m venv "$place/venv" 2>/dev/null || python3 -m venv "$place/venv"
    "$place/venv/bin/python" -m pip install -q numpy==2.4.6 "opencv-python-headless==$version"
    "$place/venv/bin/python" "$place/moves.py" | tee -a "$place/found"
    rm -rf "$place/venv"
done
python3 - "$place/found" <<'PY'
import json, sys

old, new = (json.loads(line) for line in open(sys.argv[1]))
near = lambda a, b: abs(a - b) < 1e-4
for kind in ("once", "maps"):
    for asked, steps in ((.01, 0), (.02, 1), (.13, 4)):
        assert near(old[kind][str(asked)], steps / 32), (kind, asked, old)
        assert near(new[kind][str(asked)], asked), (kind, asked, new)
assert near(old["hundred"], 0) and abs(new["hundred"] - 1) < .01, (old, new)
print("As written: OpenCV 4 moves in steps of 1/32 px, OpenCV 5 does not.")
PY
