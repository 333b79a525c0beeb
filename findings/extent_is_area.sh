#!/usr/bin/env bash
# A COCO keypoint file that passes through sleap-io comes back with another "area" and "bbox", and so with another OKS.
#
# Versions:  sleap-io 0.9.5, pycocotools 2.0.11, numpy 2.4.6, pillow 12.0.0, Python 3.11.
# Input:     one picture with one person: 17 joints that span 40 x 100 px, a box of 80 x 160 px, a silhouette of 6,400 px squared, three
#            joints hidden (v = 1). load_file, then save_coco. Nothing is edited in between.
# Behaviour: "bbox" becomes the tight box around the annotated joints and "area" its width times its height; v = 1 becomes v = 2. The skeleton
#            in memory holds joints alone, so nothing of the three is left to write. OKS divides by the area: one and the same prediction,
#            each joint 5 px to the right of the truth, is judged more strictly by the copy. The tight box cuts a top-down network's crop as well.
# Seen:      area 6400 -> 4000; bbox [80, 40, 80, 160] -> [100, 60, 40, 100]; 3 joints with v = 1 -> 0; OKS .815 -> .738.
# Source:    sleap_io/io/coco.py, the writer computes bbox and area from the points that are visible; the COCO format page defines area by the
#            segmentation. docs: https://io.sleap.ai
# So:        evaluate on the file that was first annotated, or carry "bbox", "area" and v over by annotation id after the round trip.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/python" -m pip install -q sleap-io==0.9.5 pycocotools==2.0.11 numpy==2.4.6 pillow==12.0.0
cat > "$place/ask.py" <<'PY'
import contextlib, io, json, sys

import numpy as np
import sleap_io
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

folder = sys.argv[1]
names = "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist " \
        "left_hip right_hip left_knee right_knee left_ankle right_ankle".split()
xy = [(100 + 40 * (k % 4) / 3, 60 + 100 * (k // 4) / 4) for k in range(17)]
joints = [c for k, (x, y) in enumerate(xy) for c in (x, y, 1 if k in (3, 9, 15) else 2)]
person = dict(id=1, image_id=1, category_id=1, iscrowd=0, bbox=[80, 40, 80, 160], area=6400, num_keypoints=17, keypoints=joints)
truth = dict(images=[dict(id=1, file_name="1.jpg", width=640, height=480)], annotations=[person],
             categories=[dict(id=1, name="person", supercategory="person", keypoints=names, skeleton=[[1, 2]])])
Image.new("RGB", (640, 480)).save(f"{folder}/1.jpg")
json.dump(truth, open(f"{folder}/truth.json", "w"))
sleap_io.save_coco(sleap_io.load_file(f"{folder}/truth.json", format="coco"), f"{folder}/copy.json")
moved = [dict(image_id=1, category_id=1, score=1., keypoints=[c for x, y in xy for c in (x + 5, y, 1)])]
json.dump(moved, open(f"{folder}/moved.json", "w"))
for name in ("truth", "copy"):
    [a] = json.load(open(f"{folder}/{name}.json"))["annotations"]
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO(f"{folder}/{name}.json")
        ev = COCOeval(gt, gt.loadRes(f"{folder}/moved.json"), "keypoints")
        ev.evaluate()
    [oks] = ev.ious.values()
    print(name, round(a["area"]), [round(v) for v in a["bbox"]], sum(v == 1 for v in a["keypoints"][2::3]), f"{float(np.ravel(oks)[0]):.3f}")
PY
seen=$("$place/venv/bin/python" "$place/ask.py" "$place" 2>/dev/null)
echo "$seen"
[ "$seen" = "truth 6400 [80, 40, 80, 160] 3 0.815
copy 4000 [100, 60, 40, 100] 0 0.738" ] || { echo "changed: the finding no longer holds as written"; exit 1; }
