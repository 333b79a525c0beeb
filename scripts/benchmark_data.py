"""How long, and in how much memory, COCO-sized annotations load: ours beside pycocotools, in one run.

`python scripts/benchmark_data.py` writes a person_keypoints file of COCO's shape into a temporary folder: 150,000
people with joints, the people without joints and the crowds that come with them, outlines, pictures. A fresh process
loads it with each reader in turn. It prints seconds on the clock and of the processor (which a busy machine does not
lengthen much), the peak memory of every process, and where our time goes. `--people 10000` makes a smaller file,
`--rounds 5` repeats and takes the median.
"""
from __future__ import annotations

import argparse, json, os, re, resource, statistics, subprocess, sys, tempfile, time
from pathlib import Path

import numpy as np

from semipose.skeletons import COCO17

# The shape of COCO's person annotations: boxes, those with joints and crowds in 538 pictures of val2017;
# all of train2017's pictures, and its people with joints.
BOXES, POSED, CROWDS, PICTURES, PEOPLE = 2213, 1354, 49, 118_287, 149_813


def generate(path: Path, people: int, seed: int = 0) -> dict:
    "Write a file in which `people` have joints, and everything around them is as frequent as in COCO"
    rng = np.random.default_rng(seed)
    n, m, k = people * BOXES // POSED, people * PICTURES // PEOPLE, 17
    at = np.sort(rng.integers(0, m, n))
    kind = np.full(n, "alone")
    order = rng.permutation(n)
    kind[order[:people]], kind[order[people : people + people * CROWDS // POSED]] = "posed", "crowd"
    corner, side = rng.uniform(0, 300, (n, 2)), rng.uniform(20, 300, (n, 2))
    corners = rng.integers(12, 60, n)  # of the outline
    vis = rng.choice(3, (n, k), p=(.35, .1, .55)) * (kind == "posed")[:, None]
    vis[kind == "posed", 0] = 2
    xy = (corner[:, None] + rng.uniform(0, 1, (n, k, 2)) * side[:, None]).astype(int) * (vis > 0)[..., None]
    keys = np.concatenate([xy, vis[..., None]], 2).reshape(n, -1)
    outlines = rng.uniform(0, 1, (n, 60, 2))
    heads = [dict(license=1 + i % 8, file_name=f"{i:012d}.jpg",
                  coco_url=f"http://images.cocodataset.org/train2017/{i:012d}.jpg", height=480, width=640,
                  date_captured="2013-11-14 17:02:52",
                  flickr_url=f"http://farm9.staticflickr.com/8186/{i:010d}_a2a1b5c3ef_z.jpg", id=i) for i in range(m)]
    with open(path, "w") as f:
        info, categories = dict(description="generated, in COCO's shape"), [COCO17.to_coco()]
        licenses = [dict(url="", id=i, name="") for i in range(1, 9)]
        f.write(json.dumps(dict(info=info, licenses=licenses, images=heads, categories=categories))[:-1]
                + ', "annotations": [')
        for i in range(n):
            outline, crowd = (corner[i] + outlines[i, :corners[i]]
                              * side[i]).round(2).ravel().tolist(), kind[i] == "crowd"
            shape = dict(counts=rng.integers(1, 9000, 300).tolist(), size=[480, 640]) if crowd else [outline]
            a = dict(segmentation=shape, num_keypoints=int((vis[i] > 0).sum()),
                     area=round(float(.53 * side[i].prod()), 4), iscrowd=int(crowd),
                     keypoints=keys[i].tolist(), image_id=int(at[i]),
                     bbox=[*corner[i].round(2).tolist(), *side[i].round(2).tolist()], category_id=1, id=i + 1)
            f.write((", " if i else "") + json.dumps(a))
        f.write("]}")
    return dict(people=people, annotations=n, pictures=m, megabytes=path.stat().st_size / 2**20)


def peak() -> float:
    "GB, the most this process has held"
    status = Path("/proc/self/status")  # getrusage would count what the process that started this one held
    if status.exists(): return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def load(reader: str, path: Path) -> dict:
    "In a process of its own: load the file, and tell seconds, GB and how many people came out"
    if reader == "pycocotools":
        from contextlib import redirect_stdout
        from pycocotools.coco import COCO
        before, t, cpu = peak(), time.perf_counter(), time.process_time()
        with redirect_stdout(open(os.devnull, "w")):
            coco = COCO(str(path))
        return dict(seconds=time.perf_counter() - t, cpu=time.process_time() - cpu, before=before, peak=peak(),
                    people=sum(a["num_keypoints"] > 0 for a in coco.anns.values()))
    from semipose.data import coco
    before, parts = peak(), {}
    def timed(name):
        plain = getattr(coco, name)
        def wrapped(*args, **kw):
            t = time.perf_counter()
            out = plain(*args, **kw)
            parts[name] = parts.get(name, 0) + time.perf_counter() - t
            return out
        setattr(coco, name, wrapped)
    for name in ("_load", "_people"): timed(name)
    t, cpu = time.perf_counter(), time.process_time()
    people = coco.read_coco(path, keep_all=reader == "semipose, everybody")
    seconds, cpu = time.perf_counter() - t, time.process_time() - cpu
    return dict(seconds=seconds, cpu=cpu, before=before, peak=peak(), people=len(people.posed),
                parts={"JSON": parts["_load"], "columns": parts["_people"],
                "checks and the rest": seconds - sum(parts.values())})


def main():
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--people", type=int, default=150_000, help="people with joints")
    ask.add_argument("--rounds", type=int, default=3, help="loads per reader; the median time is printed")
    ask.add_argument("--load", nargs=2, metavar=("READER", "FILE"), help=argparse.SUPPRESS)
    args = ask.parse_args()
    if args.load: return print(json.dumps(load(args.load[0], Path(args.load[1]))))
    with tempfile.TemporaryDirectory() as folder:
        path, t = Path(folder) / "person_keypoints_train2017.json", time.perf_counter()
        what = generate(path, args.people)
        print(f"{what['people']:,} people with joints, {what['annotations']:,} annotations, {what['pictures']:,} "
              f"pictures, {what['megabytes']:.0f} MB of JSON (made in {time.perf_counter() - t:.0f} s).")
        found = {}
        for _ in range(args.rounds):  # the readers take turns, so that a busy minute hits them alike
            for reader in ("semipose", "semipose, everybody", "pycocotools"):
                done = subprocess.run([sys.executable, __file__, "--load", reader, str(path)],
                                      capture_output=True, text=True)
                if done.returncode: sys.exit(done.stderr)
                found.setdefault(reader, []).append(json.loads(done.stdout))
        print(f"{'':<22}{'seconds':>9}{'CPU s':>8}{'peak GB':>9}{'before loading':>16}{'people':>10}")
        middle = lambda reader, k: statistics.median(r[k] for r in found[reader])
        for reader, runs in found.items():
            peak = max(r["peak"] for r in runs)
            print(f"{reader:<22}{middle(reader, 'seconds'):>9.1f}{middle(reader, 'cpu'):>8.1f}{peak:>9.2f}"
                  f"{runs[0]['before']:>16.2f}{runs[0]['people']:>10,}")
        parts = {k: statistics.median(r["parts"][k] for r in found["semipose"]) for k in found["semipose"][0]["parts"]}
        print("semipose's seconds: " + ", ".join(f"{k} {v:.1f}" for k, v in parts.items()) + ".")
        print(f"semipose takes {middle('semipose', 'cpu') / middle('pycocotools', 'cpu'):.2f} x pycocotools' CPU time, "
              "and checks every annotation.")


if __name__ == "__main__":
    main()
