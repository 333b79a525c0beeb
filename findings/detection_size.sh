#!/usr/bin/env bash
# Joints that a detection does not claim change COCO's keypoint APM and APL.
#
# Versions:  pycocotools 2.0.11, faster-coco-eval 1.8.0, hotcoco 1.3.0 (numpy 1.26.4), Python 3.11.
# Input:     one picture; one person of medium size (60 x 80 px) with 12 annotated joints, v = 0 for the five of the face; two detections,
#            a wrong one of the same size (score .9) and an exact one (score .5). The face counts for nothing in OKS.
# Behaviour: whether an unmatched detection counts against "medium" people is decided by its size, and its size is the extent of all its
#            joints, of those with score 0 too. Where the face of the wrong detection lies amid its other joints, APM is .5; where it is
#            written as 0, 0, 0, as many tools write what they did not find, the wrong detection is "large" and APM is 1. AP is .5 both times.
#            A "bbox" beside the joints replaces that size: with a large one APM is 1 again, with joints untouched.
# Seen:      all three evaluators: AP/APM .500/.500, then .500/1.000, then .500/1.000.
# Source:    pycocotools/coco.py, loadRes: the branch 'keypoints' takes min and max over s[0::3], s[1::3] whatever s[2::3] says, and the branch
#            'bbox' comes first if the first detection has one; cocoeval.py, evaluateImg: dtIg of unmatched detections by d['area'].
# So:        put joints that were not predicted amid the others before asking for APM or APL.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/python" -m pip install -q numpy==1.26.4 pycocotools==2.0.11 faster-coco-eval==1.8.0 hotcoco==1.3.0
cat > "$place/ask.py" <<'PY'
import contextlib, io, json, sys

name, folder = sys.argv[1:]
if name == "pycocotools":
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
elif name == "faster-coco-eval":
    from faster_coco_eval import COCO, COCOeval_faster as COCOeval
else:
    from hotcoco import COCO, COCOeval

places = [(100 + 60 * (i % 4) / 3, 100 + 80 * (i // 4) / 2) for i in range(12)]
flat = lambda joints: [float(c) for j in joints for c in j]
body = lambda by: [(x + by, y + by, 1) for x, y in places]
face = lambda by: [(130 + by, 140 + by, 1)] * 5
joints = "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist " \
         "left_hip right_hip left_knee right_knee left_ankle right_ankle"
person = dict(id=1, image_id=1, category_id=1, iscrowd=0, bbox=[100, 100, 60, 80], area=2400, num_keypoints=12,
              keypoints=flat([(0, 0, 0)] * 5 + [(x, y, 2) for x, y in places]))
truth = dict(images=[dict(id=1, file_name="1.jpg", width=640, height=480)], annotations=[person],
             categories=[dict(id=1, name="person", supercategory="person", keypoints=joints.split(), skeleton=[])])
detection = lambda score, points, **more: dict(image_id=1, category_id=1, score=score, keypoints=flat(points), **more)
cases = [[detection(.9, face(200) + body(200)), detection(.5, face(0) + body(0))],
         [detection(.9, [(0, 0, 0)] * 5 + body(200)), detection(.5, [(0, 0, 0)] * 5 + body(0))],
         [detection(.9, face(200) + body(200), bbox=[0, 0, 400, 400]), detection(.5, face(0) + body(0), bbox=[0, 0, 400, 400])]]
json.dump(truth, open(f"{folder}/gt.json", "w"))
got = []
for results in cases:
    json.dump(results, open(f"{folder}/dt.json", "w"))
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO(f"{folder}/gt.json")
        ev = COCOeval(gt, gt.loadRes(f"{folder}/dt.json"), "keypoints")
        ev.evaluate(), ev.accumulate(), ev.summarize()
    got.append(f"{ev.stats[0]:.3f}/{ev.stats[3]:.3f}")
print(name, *got)
PY
for name in pycocotools faster-coco-eval hotcoco; do
    seen=$("$place/venv/bin/python" "$place/ask.py" "$name" "$place" 2>/dev/null | tail -n 1)
    echo "$seen"
    [ "$seen" = "$name 0.500/0.500 0.500/1.000 0.500/1.000" ] || { echo "changed: the finding no longer holds as written"; exit 1; }
done
