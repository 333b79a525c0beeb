"""What four evaluators of COCO keypoints and ours do with inputs that people bring: a small data set, one thing in
it changed at a time.

python scripts/compare_evaluators.py > results/benchmarks/evaluators.txt

Makes a virtual environment in a temporary folder, installs the pinned packages, and runs each evaluator in a process
of its own, without semipose.
"""
from __future__ import annotations
import contextlib, io, json, math, os, random, subprocess, sys, tempfile, venv, warnings
from pathlib import Path

PINS = ("numpy==1.26.4", "cython==3.0.12", "setuptools==75.8.0", "pycocotools==2.0.11", "xtcocotools==1.14.3",
        "faster-coco-eval==1.8.0", "hotcoco==1.3.0")
NAMES = ("pycocotools", "xtcocotools", "faster-coco-eval", "hotcoco")
JOINTS = ("nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist "
          "right_wrist "
          "left_hip right_hip left_knee right_knee left_ankle right_ankle").split()
NAN = float("nan")


def people(pictures=6, each=3, noise=1., joints=JOINTS, together=False):
    "A truth and a detection of each of its people, some near and some far; deterministic"
    rng = random.Random(1)
    truth = dict(images=[dict(id=i + 1, file_name=f"{i + 1}.jpg", width=9000, height=9000) for i in range(pictures)],
                 annotations=[],
                 categories=[dict(id=1, name="person", supercategory="person", keypoints=list(joints), skeleton=[])])
    found = []
    for n in range(pictures * each):
        w, h = (60., 80.) if n % 2 else (110., 180.)   # of medium and large size
        x, y = (0., 0.) if together else (300. * (n % each), 200. * (n // each))
        xy = [(round(x + w * rng.random()), round(y + h * rng.random())) for _ in joints]
        far = noise * rng.choice((1, 2, 4, 6, 9, 14))
        triples = lambda points, v: [c for p in points for c in (*p, v)]
        truth["annotations"].append(dict(id=n + 1, image_id=n // each + 1, category_id=1, iscrowd=0, bbox=[x, y, w, h],
                                         area=.6 * w * h, num_keypoints=len(joints),
                                         keypoints=triples(xy, 2)))
        at = [(a + far * rng.gauss(0, 1), b + far * rng.gauss(0, 1)) for a, b in xy]
        found.append(dict(image_id=n // each + 1, category_id=1, keypoints=triples(at, 1.),
                          score=round(rng.random(), 3)))
    return truth, found


def without(truth, *fields):
    for a in truth["annotations"]:
        for f in fields: a.pop(f)


def shifted(r, by): return dict(r, keypoints=[c + by * (i % 3 < 2) for i, c in enumerate(r["keypoints"])])


def cases():
    "name -> (truth, results, which number, what a right answer is)"
    out = {"as it is": (*people(), "AP", "pycocotools' number")}
    truth, found = people()
    found = [shifted(r, 300) for r in found]
    for r in found: r["keypoints"][0] = NAN
    out["all 300 px off, one joint NaN"] = truth, found, "AP", "refused: NaN is no place"
    truth, found = people()
    found += [dict(shifted(r, 300), score=NAN) for r in found]
    out["as many wrong ones, score NaN"] = truth, found, "AP", "refused: NaN has no rank"
    truth, found = people()
    without(truth, "area")
    out["truth without area"] = truth, found, "AP", "0.53 of the box stands in, and is told"
    truth, found = people()
    without(truth, "num_keypoints")
    out["truth without num_keypoints"] = truth, found, "AP", "they are counted"
    truth, found = people()
    without(truth, "iscrowd")
    out["truth without iscrowd"] = truth, found, "AP", "nobody is a crowd"
    truth, found = people()
    for a in truth["annotations"]: a["id"] -= 1
    out["annotation ids from 0"] = truth, found, "AP", "numbered anew"
    truth, found = people()
    truth["categories"][0]["id"] = 3
    for a in truth["annotations"]: a["category_id"] = 3
    out["person is 3, results say 1"] = truth, found, "AP", "refused: both are named"
    out["30 people a picture, all right"] = *people(2, 30, 0.), "AP", "COCO's limit of 20, told; max_people"
    truth, found = people()
    for r in found: r["keypoints"] = [c for i, c in enumerate(r["keypoints"]) if i % 3 < 2]
    out["two numbers a joint"] = truth, found, "AP", "refused: 34 numbers, not 51"
    truth, found = people()
    for r in found: r["keypoints"] = r["keypoints"][:42]
    out["14 of 17 joints"] = truth, found, "AP", "refused: 42 numbers, not 51"
    truth, found = people()
    outlines = [dict(a, id=100 + a["id"], iscrowd=1, segmentation=[[0, 0, 1, 0, 1, 1]]) for a in truth["annotations"]]
    for o in outlines: o.pop("keypoints"), o.pop("num_keypoints")
    truth["annotations"] += outlines
    out["outlines beside people, no keypoints"] = truth, found, "AP", "left out, and told: they say nothing of joints"
    truth, found = people()
    wrong = [dict(shifted(r, 300), score=.5) for r in found]
    right = [dict(r, score=.5) for r in found]
    out["equal scores, right ones first"] = (truth, [r for pair in zip(right, wrong) for r in pair], "AP",
                                             "the file's order, as pycocotools")
    out["equal scores, wrong ones first"] = (truth, [r for pair in zip(wrong, right) for r in pair], "AP",
                                             "the file's order, as pycocotools")
    other = JOINTS[11:] + JOINTS[:11]   # hips first
    out["another order of joints"] = *people(joints=other), "AP", "sigmas by the joints' names"
    for case, add, right in (("twelve joints, wrong ones too: APM", {}, "as pycocotools: a detection's size is its "
                              "joints'"),
                             ("the same, five more at (0, 0): APM", {0: [0.] * 15},
                              "as pycocotools; ours are put amid the others"),
                             ("the same, results with a bbox: APM", {1: [0., 0., 400., 400.]},
                              "as pycocotools: its size is its box's")):
        truth, found = people()
        found += [shifted(r, 300) for r in found]                   # unmatched: their size decides whether they count
        for a in truth["annotations"]: a.update(keypoints=[0] * 15 + a["keypoints"][15:], num_keypoints=12)
        for r in found: r["keypoints"][:15] = add.get(0, r["keypoints"][15:18] * 5)
        for r in found: r.update({"bbox": add[1]} if 1 in add else {})
        out[case] = truth, found, "APM", right
    return out


def modules(name):
    if name == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    elif name == "xtcocotools":
        from xtcocotools.coco import COCO
        from xtcocotools.cocoeval import COCOeval
    elif name == "faster-coco-eval":
        from faster_coco_eval import COCO, COCOeval_faster as COCOeval
    else:
        from hotcoco import COCO, COCOeval
    return COCO, COCOeval


def theirs(name, gt, dt, number):
    "One evaluator on two files, as its README shows it"
    COCO, COCOeval = modules(name)
    truth = COCO(gt)
    ev = COCOeval(truth, truth.loadRes(dt), "keypoints")
    ev.evaluate(), ev.accumulate(), ev.summarize()
    return float(ev.stats[("AP", "AP50", "AP75", "APM").index(number)])


def twice(name, gt, results):
    "The same list given two times"
    COCO, COCOeval = modules(name)
    got = []
    for _ in range(2):
        truth = COCO(gt)
        ev = COCOeval(truth, truth.loadRes(results), "keypoints")
        ev.evaluate(), ev.accumulate(), ev.summarize()
        got.append(float(ev.stats[3]))
    return got


def tried(f, *args):
    "A number, or the kind of error in words"
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(
            io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got = f(*args)
        return "nan" if isinstance(got, float) and math.isnan(got) else got
    except BaseException as e:
        return f"{type(e).__name__}: {str(e).splitlines()[0][:90] if str(e) else ''}"


def inside(name, folder):
    "In the other environment: every case -> number or error, as JSON"
    out = {}
    for i, (case, (_, _, number, _)) in enumerate(cases().items()):
        out[case] = tried(theirs, name, str(folder / f"gt{i}.json"), str(folder / f"dt{i}.json"), number)
    found = cases()["the same, five more at (0, 0): APM"][1]
    out["one list evaluated twice: APM"] = tried(twice, name, str(folder / "twice.json"), found)
    print("RESULT " + json.dumps(out))


def ours(folder):
    "The same by semipose, with what it says"
    from semipose.evaluate.coco import coco_eval_files
    out = {}
    for i, (case, (_, _, number, _)) in enumerate(cases().items()):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try: got = coco_eval_files(folder / f"gt{i}.json", folder / f"dt{i}.json")[number]
            except ValueError as e: got = f"{type(e).__name__}: {str(e).replace(str(folder) + '/', '')}"
        out[case] = got, [str(w.message).replace(str(folder) + "/", "") for w in said]
    from semipose.data.coco import read_coco
    from semipose.evaluate.coco import evaluate_results
    truth = read_coco(folder / "twice.json", keep_all=True)
    results = json.loads((folder / f"dt{i - 1}.json").read_text())
    out["one list evaluated twice: APM"] = [evaluate_results(truth, results)["APM"] for _ in range(2)], []
    return out


def main():
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for i, (truth, found, *_) in enumerate(cases().values()):
            (folder / f"gt{i}.json").write_text(json.dumps(truth))
            (folder / f"dt{i}.json").write_text(json.dumps(found))
        (folder / "twice.json").write_text(json.dumps(cases()["the same, five more at (0, 0): APM"][0]))
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        # one that has the packages already
        python = os.environ.get("EVALUATORS_PYTHON") or str(folder / "venv/bin/python")
        if "EVALUATORS_PYTHON" not in os.environ:
            venv.create(folder / "venv", with_pip=True)
            for some in (PINS[:4], PINS[4:]):
                subprocess.run([python, "-m", "pip", "install", "-q", "--no-build-isolation", *some], check=True,
                               env=env)
        told = {}
        for name in NAMES:
            run = subprocess.run([python, __file__, "--inside", name, place], capture_output=True, text=True, env=env,
                                 cwd=place)
            line = next((l for l in run.stdout.splitlines() if l.startswith("RESULT ")), None)
            if line is None: sys.exit(f"{name} ended without an answer: {run.stderr[-300:]}")
            told[name] = json.loads(line[7:])
        table(told, ours(folder))


def table(told, mine):
    "Print everything: a line a case, errors and sentences below"
    versions = dict(p.split("==") for p in PINS)
    choice = {**{case: right for case, (*_, right) in cases().items()}, "one list evaluated twice: APM": "the same"}
    number = (lambda v: f"{v:.3f}" if isinstance(v, float) else "/".join(map(number, v)) if isinstance(v, list)
              else v.split(":")[0])
    print("$ python scripts/compare_evaluators.py\n")
    print(", ".join(f"{n} {versions[n]}" for n in NAMES) + "\n")
    print("AP (APM where it says so) of a small data set with one thing changed at a time; an error is named as it "
          "comes.")
    print("refused: one sentence, below. *: the number comes with a note, below.\n")
    rows = [("input", *NAMES, "ours", "our choice")]
    for case, right in choice.items():
        got, said = mine[case]
        ours = "refused" if isinstance(got, str) else number(got) + "*" * bool(said)
        rows.append((case, *(number(told[n][case]) for n in NAMES), ours, right))
    width = [max(len(r[i]) for r in rows) + 2 for i in range(len(rows[0]))]
    for r in rows: print("".join(c.ljust(w) for c, w in zip(r, width)).rstrip())
    print()
    for case, (got, said) in mine.items():
        refusal = [got.removeprefix("UserError: ")] if isinstance(got, str) else []
        for sentence in refusal + said: print(f"{case}\n    {sentence}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]: inside(sys.argv[2], Path(sys.argv[3]))
    else: main()
