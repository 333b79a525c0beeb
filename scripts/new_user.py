"""Walk README's "Your own data" as a new user: her photographs, her skeleton, three exports, every command word for
word.

`python scripts/new_user.py --data data/coco-small --clip clip.mp4`   writes results/new_user.json
    Of a COCO-style data set 60 photographs are taken, with eight joints under names of one's own. 20 are annotated, 40
    only listed. Three labelling tools export them: COCO keypoints as CVAT writes them, DeepLabCut's table, YOLO-pose
    text. The writers here are no part of semipose, so that its readers meet what others write.
    The commands come out of README.md. What is put in the place of a file that README leaves to the user stands in
    `FILES`, what is used where a command needs the network in `INSTEAD`; both are written down beside each command.
    Every command is written down as it ends; the same command again goes on. The first export is walked to the end, the
    others as far as the answer of `compare`. --clip also walks what README says of video; it is cut to its first 40
    frames. --add is what README says for a quick look, `--limit SECONDS` stops a command by Ctrl-C.
`--small` walks with a tiny network and two steps, to see that it runs: its numbers mean nothing, and the file says so.
`--report` walks nothing and prints the table and the answers of the file.
"""
from __future__ import annotations

import argparse, csv, json, os, re, shlex, shutil, signal, subprocess, sys, time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

TOP = Path(__file__).resolve().parent.parent
SECTION = "## Your own data"
JOINTS = dict(shoulder_L="left_shoulder", shoulder_R="right_shoulder", hand_L="left_wrist", hand_R="right_wrist",
              hip_L="left_hip", hip_R="right_hip", foot_L="left_ankle", foot_R="right_ankle")     # of one's own
LIMBS = [(1, 2), (1, 3), (2, 4), (1, 5), (2, 6), (5, 6), (5, 7), (6, 8)]                         # from 1, as in COCO
EXPORTS = dict(coco="COCO keypoints, as CVAT writes them", csv="DeepLabCut's table", yolo="YOLO-pose text")
TRUTH = "truth.json"    # boxes by the pixels of a picture, for the detector of the walk
# what an export calls the file that README calls CollectedData_me.csv; None: README says that it needs no step
FILES = dict(coco=None, csv="CollectedData_me.csv", yolo="yolo/")
DETECTOR = "--detector mine:find"
INSTEAD = {     # a command that needs the network -> README's own alternative
    "semipose boxes": DETECTOR, "timm:": "--weights none"}
MINE = '''"A detector of one's own, as README allows: the data set's boxes, a little off; on frames what moved"
import hashlib, json
from pathlib import Path
import numpy as np
from PIL import Image, ImageFilter

KNOWN, STILL = json.loads(Path('truth.json').read_text()), Path('still.png')

def find(picture):
    key = hashlib.md5(picture.convert('RGB').tobytes()).hexdigest()
    if key in KNOWN or not STILL.exists(): return KNOWN.get(key, [])
    soft = lambda im: np.asarray(im.convert('L').filter(ImageFilter.GaussianBlur(3)), float)
    moved = np.abs(soft(picture) - soft(Image.open(STILL))) > 18
    rows, columns = np.flatnonzero(moved.sum(1) > 3), np.flatnonzero(moved.sum(0) > 3)
    if not len(rows) or not len(columns): return []
    return [[columns[0], rows[0], columns[-1] - columns[0], rows[-1] - rows[0], .8]]
'''


# ---- what a user has: photographs, some of them annotated ----

@dataclass
class Photo:
    "A picture and who is in it"
    name: str
    size: tuple[int, int]       # width, height
    people: list[dict]          # box (4,), keys (8,3), area


def photos_of(data: Path, listed: int = 60, seed: int = 0) -> tuple[list[Photo], Path]:
    "Photographs with one to three people of whom most joints are known, and their folder"
    file = data / "person_keypoints_train.json"
    d = json.loads(file.read_text())
    at = [d["categories"][0]["keypoints"].index(j) for j in JOINTS.values()]
    people = {}
    for a in d["annotations"]: people.setdefault(a["image_id"], []).append(a)
    keys = lambda a: np.array(a["keypoints"], float).reshape(-1, 3)[at]
    def fits(rows):
        return 1 <= len(rows) <= 3 and all((keys(a)[:, 2] > 0).sum() >= 6 and not a.get("iscrowd") for a in rows)
    images = [o for o in d["images"] if fits(people.get(o["id"], ()))]
    if len(images) < listed: sys.exit(f"{file} has {len(images)} fitting photographs, and {listed} are wanted.")
    some = np.sort(np.random.default_rng(seed).choice(len(images), listed, replace=False))
    who = lambda o: [dict(box=a["bbox"], keys=keys(a), area=a["area"]) for a in people[o["id"]]]
    return [Photo(o["file_name"], (o["width"], o["height"]), who(o)) for o in (images[i] for i in some)], data/"images"


# ---- three exports, as others write them ----

def write_coco(home: Path, photos: list[Photo], annotated: int) -> Path:
    "CVAT's COCO keypoints 1.0: all pictures, attributes in every annotation"
    images = [dict(id=i + 1, width=p.size[0], height=p.size[1], file_name=p.name, license=0, flickr_url="",
                   coco_url="", date_captured=0) for i, p in enumerate(photos)]
    anns = []
    for i, p in enumerate(photos[:annotated]):
        for a in p.people:
            keys = a["keys"].tolist()
            anns.append(dict(id=len(anns) + 1, image_id=i + 1, category_id=1, segmentation=[], area=a["area"],
                             bbox=a["box"], iscrowd=0, attributes=dict(occluded=False, keyframe=False),
                             keypoints=[v for k in keys for v in k], num_keypoints=sum(k[2] > 0 for k in keys)))
    cat = dict(id=1, name="person", supercategory="", keypoints=list(JOINTS), skeleton=LIMBS)
    path = home / "photos/person_keypoints_default.json"
    path.write_text(json.dumps(dict(licenses=[dict(name="", id=0, url="")], info={}, categories=[cat], images=images,
                                    annotations=anns)))
    return path


def write_csv(home: Path, photos: list[Photo], annotated: int) -> Path:
    "DeepLabCut's CollectedData: a line for each extracted frame, empty where nobody labelled"
    most = max(len(p.people) for p in photos[:annotated])
    who = [f"person{k + 1}" for k in range(most)]
    columns = [(w, j, c) for w in who for j in JOINTS for c in "xy"]
    heads = [("scorer", ["me"] * len(columns)), *zip(("individuals", "bodyparts", "coords"), zip(*columns))]
    path = home / "CollectedData_me.csv"
    with open(path, "w", newline="") as f:
        w = csv.writer(f)
        for name, row in heads: w.writerow([name, *row])
        for i, p in enumerate(photos):
            mine = p.people if i < annotated else []
            cells = [mine[k]["keys"] if k < len(mine) else np.zeros((len(JOINTS), 3)) for k in range(most)]
            row = [v for keys in cells for x, y, s in keys.tolist() for v in ((x, y) if s else ("", ""))]
            w.writerow([f"labeled-data/photos/{p.name}", *row])
    return path


def write_yolo(home: Path, photos: list[Photo], annotated: int) -> Path:
    "YOLO-pose as exporters write it: joints without names; of unlabelled pictures every other one has an empty text"
    top = home / "yolo"
    for part in ("images/train", "labels/train"): (top / part).mkdir(parents=True)
    for i, p in enumerate(photos):
        shutil.copy(home / "photos" / p.name, top / "images/train")
        text, (w, h) = (top / "labels/train" / p.name).with_suffix(".txt"), p.size
        lines = []
        for a in p.people if i < annotated else ():
            x, y, bw, bh = a["box"]
            keys = [f"{kx / w:.6f} {ky / h:.6f} {int(v)}" for kx, ky, v in a["keys"].tolist()]
            frame = [(x + bw / 2) / w, (y + bh / 2) / h, bw / w, bh / h]
            lines.append(" ".join(["0", *(f"{v:.6f}" for v in frame), *keys]))
        if lines or i % 2: text.write_text("".join(f"{line}\n" for line in lines))
    names = list(JOINTS)
    flip = [names.index(n[:-1] + {"L": "R", "R": "L"}[n[-1]]) for n in names]
    (top / "data.yaml").write_text(f"path: .\ntrain: images/train\nval: images/train\nkpt_shape: [{len(names)}, 3]\n"
                                   f"flip_idx: {flip}\nnames:\n  0: person\n")
    return top


WRITE = dict(coco=write_coco, csv=write_csv, yolo=write_yolo)


# ---- her folder ----

def settle(home: Path, kind: str, photos: list[Photo], source: Path, annotated: int = 20, seed: int = 0,
           clip: Path | None = None) -> None:
    "Everything that README takes for given: photos/, the export, photo.jpg, a detector, a clip"
    import hashlib
    (home / "photos").mkdir(parents=True)
    truth, rng = {}, np.random.default_rng(seed)
    for p in photos:
        shutil.copy(source / p.name, home / "photos")
        pixels = hashlib.md5(Image.open(source / p.name).convert("RGB").tobytes()).hexdigest()
        boxes = np.array([a["box"] for a in p.people])
        off = rng.normal(0, .04, boxes.shape) * np.tile(boxes[:, 2:], 2)
        truth[pixels] = np.concatenate([boxes + off, np.full((len(boxes), 1), .9)], 1).round(1).tolist()
    WRITE[kind](home, photos, annotated)
    (home / TRUTH).write_text(json.dumps(truth))
    (home / "mine.py").write_text(MINE)
    shutil.copy(source / max(photos, key=lambda p: min(p.size)).name, home / "photo.jpg")
    results = [dict(image_id=i + 1, category_id=1, bbox=a["box"], score=.9) for i, p in enumerate(photos)
               for a in p.people]
    (home / "detections.json").write_text(json.dumps(results))
    if clip: shorten(clip, home)


def shorten(clip: Path, home: Path, frames: int = 40, width: int = 640) -> None:
    "clip.mp4, and still.png: what does not move in it"
    import cv2
    film, kept, rate = cv2.VideoCapture(str(clip)), [], 25.
    rate = film.get(cv2.CAP_PROP_FPS) or rate
    while len(kept) < frames and (got := film.read())[0]:
        kept.append(cv2.resize(got[1], (width, round(got[1].shape[0] * width / got[1].shape[1] / 2) * 2)))
    out = cv2.VideoWriter(str(home / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), rate, kept[0].shape[1::-1])
    for frame in kept: out.write(frame)
    out.release()
    cv2.imwrite(str(home / "still.png"), np.median(kept[::4], axis=0).astype(np.uint8))


def correct(home: Path) -> None:
    "What a labelling tool gives back: predicted.json with one person moved"
    d = json.loads((home / "predicted.json").read_text())
    for a in d["annotations"][:1]:
        a["keypoints"] = [v + 5 * (i % 3 < 2) if a["keypoints"][i // 3 * 3 + 2] else v
                          for i, v in enumerate(a["keypoints"])]
    (home / "corrected.json").write_text(json.dumps(d))


# ---- README's commands ----

def commands(readme: str, section: str = SECTION) -> list[str]:
    "Every shell command of a section of README.md, in order, without its comment"
    begin = readme.index(f"\n{section}\n")
    text = readme[begin:readme.find("\n## ", begin + 1)]
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S) for line in block.splitlines()]
    return [" ".join(line.split(" #")[0].split()) for line in lines if line.strip()]


def ready(command: str, kind: str, add: str = "") -> tuple[str | None, str]:
    "What is typed, and why it differs; None: nothing is"
    if command.startswith("pip "): return None, "semipose is installed: this walk runs in it"
    if command.startswith("semipose convert"):
        if FILES[kind] is None: return None, "COCO needs no step, README says"
        if FILES[kind] != FILES["csv"]: return command.replace(FILES["csv"], FILES[kind]), "the export's own name"
    verb, pairs = command.split()[1], re.findall(r"(--[\w-]+) (\S+)", add)
    more = " ".join(f"{k} {v}" for k, v in pairs if k not in command.split())
    if more and verb in ("compare", "train") and "--resume" not in command:
        return f"{command} {more}", "README: to see the whole road first"
    return command, ""


def instead(command: str, said: str) -> str | None:
    "README's own alternative to a command that failed for want of the network; None: it failed for something else"
    if not re.search(r"fetch|download|network|https?:", said): return None
    return next((f"{command} {more}" for start, more in INSTEAD.items()
                 if (command.startswith(start) or start in command) and more not in command), None)


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def typed(command: str, home: Path, limit: float | None = None) -> dict:
    "Run one command in her folder: seconds, exit code, what it said last; Ctrl-C after `limit` seconds"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    begun = time.perf_counter()
    run = subprocess.Popen(["bash", "-c", command], cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                           start_new_session=True, env={**os.environ, "PATH": path, "COLUMNS": "120"})
    try: out, err = run.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGINT)
        out, err = run.communicate()
    said = last_line(err if run.returncode else out).replace(f"{home}/", "")
    found = {k: next((line for line in out.splitlines() if line.startswith(begin)), None)
             for k, begin in (("people", "People: "), ("forecast", "On "))}
    with open(home / "said.txt", "a") as f: f.write(f"\n$ {command}\n{out}{err}[{run.returncode}]\n")
    return dict(seconds=round(time.perf_counter() - begun, 1), exit=run.returncode, last=said,
                **{k: v for k, v in found.items() if v})


def walk(home: Path, kind: str, readme: str, rows: list[dict], keep, add: str = "", short: bool = False,
         limit: float | None = None, say=print) -> None:
    "Type what `rows` lacks, one command after the other, and add it; `short`: up to the answer of `compare`"
    for command in commands(readme):
        if any(r["command"] == command for r in rows): continue
        if "clip.mp4" in command and not (home / "clip.mp4").exists(): continue
        line, why = ready(command, kind, add)
        new = [dict(command=command, **({"skipped": why} if line is None else {}))]
        if line is not None:
            if "corrected.json" in line and (home / "predicted.json").exists(): correct(home)
            new[0] |= typed(line, home, limit) | ({"typed": line, "why": why} if line != command else {})
            if new[0]["exit"] and (other := instead(line, new[0]["last"])):
                new.append(dict(command=command, typed=other, why="README's alternative without the network",
                                **typed(other, home, limit)))
        rows += new
        keep()
        for r in new:
            say(f"{kind}: {r.get('exit', '-')}  {r.get('seconds', 0):.0f} s  {r.get('typed', command)}\n"
                f"    {r.get('last') or r.get('skipped')}", flush=True)
        if short and command.startswith("semipose compare"): break


# ---- did it help? ----

def answers(home: Path) -> dict:
    "What the comparison in her folder says of her unlabelled pictures"
    folder = next((home / "runs").glob("*/summary.json"), None)
    from semipose.report import unlabeled_gains
    if folder is None: return dict(text=["The comparison did not end."])
    found = unlabeled_gains(folder.parent)
    return dict(gains=[g.as_dict() for g in found], text=[str(g) for g in found])


def table(d: dict) -> str:
    "The file as a table of commands, and its answers"
    out = []
    for kind, e in d["exports"].items():
        out.append(f"\n{EXPORTS[kind]}: {sum(r.get('seconds', 0) for r in e['commands'])/60:.1f} minutes")
        for r in e["commands"]:
            out.append(f"  {r.get('exit', '-')!s:>2} {r.get('seconds', 0):7.1f} s  {r.get('typed', r['command'])}")
        out += [f"  {t}" for t in e.get("answer", {}).get("text", ())]
    return "\n".join(out)


def main(words=None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder with person_keypoints_train.json and images/")
    parser.add_argument("--clip", type=Path, help="a video of a fixed camera")
    parser.add_argument("--exports", nargs="+", default=list(EXPORTS), choices=list(EXPORTS))
    parser.add_argument("--work", type=Path, default=Path("runs/new_user"), help="her folders; must not exist")
    parser.add_argument("--out", type=Path, default=TOP / "results/new_user.json")
    parser.add_argument("--add", default="", help="appended to compare and train, as README says")
    parser.add_argument("--limit", type=float, help="seconds after which a command is stopped by Ctrl-C")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of photographs")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--report", action="store_true")
    a = parser.parse_args(words)
    if a.report:
        print(table(json.loads(a.out.read_text())))
        return {}
    if a.data is None: parser.error("--data is needed: a folder with person_keypoints_train.json and images/")
    from semipose.data.coco import write_json
    from semipose.recipe import hardware, revision, versions
    from semipose.networks import pick_device
    if a.small: a.add = "--net tiny --size 32x32 --batch 4 --start-steps 2 --steps 2 --every 1"
    readme, (photos, source) = (TOP / "README.md").read_text(), photos_of(a.data, seed=a.seed)
    options = [f"--{k} {shlex.quote(str(getattr(a, k)))}" for k in ("add", "seed", "limit") if getattr(a, k)]
    out = dict(about=dict(data=a.data.resolve().name, clip=a.clip and a.clip.name, photographs=len(photos),
                          annotated=20, people=sum(len(p.people) for p in photos), joints=list(JOINTS), small=a.small,
                          add=a.add, seed=a.seed, limit=a.limit, hardware=hardware(pick_device()), versions=versions(),
                          revision=revision(), detector="the data set's boxes, moved by 4 % (sd) of their sides",
                          command=" ".join(["python scripts/new_user.py --data", a.data.name, *options])), exports={})
    if a.work.exists():
        old = json.loads(a.out.read_text()) if a.out.exists() else {}
        same = lambda d: {k: v for k, v in d.get("about", {}).items() if k != "revision"}
        if same(old) != same(out): sys.exit(f"{a.work} is of another walk: remove it, or give another --work.")
        out = old
    for i, kind in enumerate(a.exports):
        home = a.work.resolve() / kind
        if not home.exists(): settle(home, kind, photos, source, seed=a.seed, clip=a.clip if i == 0 else None)
        e = out["exports"].setdefault(kind, dict(title=EXPORTS[kind], commands=[]))
        keep = lambda: write_json(a.out, out)
        walk(home, kind, readme, e["commands"], keep, a.add, i > 0, a.limit)
        e["answer"] = answers(home)
        keep()
    print(table(out))
    return out


if __name__ == "__main__":
    main()
