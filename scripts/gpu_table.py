"""Every row that is compared, on photographs, with ResNet-18 at 256x192: for a machine with a GPU.

python scripts/gpu_table.py --coco FOLDER --lsp FOLDER --minutes 25 [--seeds 0-2] [--out results/signals/gpu.json]
python scripts/gpu_table.py --coco FOLDER --lsp FOLDER --steps 2 --start 2 --size 128x96 --batch 4 --weights none \
    --rows supervised posedual_jc       (tries it on a CPU; its numbers mean nothing)

One start a set and seed, of two networks; every row goes on from there, by the same steps. Seeds are outermost, so that
whole seeds come first. The file is written anew after each training, and what it holds of these
settings is not trained again. No training begins that would not end in time, as the longest so far tells. Each run is
also measured on the other set's validation people, on the joints that it was taught.
"""
from __future__ import annotations
import argparse, json, sys, time
from dataclasses import replace
from pathlib import Path

from semipose.cli import parse_seeds
from semipose.errors import UserError
from semipose.files import whole
from semipose.methods import METHODS
from semipose.protocols import protocol
from semipose.run import evaluate_run, hardware, prepare, train, versions

ROWS = ("supervised", "naive", "posecons_jc", "posedual_jc", "posedual_jc_joined", "multiaugs_dual", "posecons_drawn",
        "posecons_ra_drawn", "posedual_ra_drawn", "posedual_ra_mean", "posecons_ra_drawn_joined",
        "posedual_ra_mean_joined", "auto")
SETS = dict(coco="coco-small-100", lsp="lsp-100")
SETTINGS = ("steps", "start", "batch", "size", "labels", "weights")     # what a training of the file must share


def protocol_of(name: str, args):
    size = tuple(int(v) for v in args.size.split("x"))
    weights = None if args.weights == "none" else args.weights
    p = protocol(SETS[name], net="resnet18", size=size, batch=(args.batch, args.batch), start_steps=args.start,
                 start_every=args.start, steps=args.steps, every=args.steps, schedule="onecycle", labels=args.labels)
    return replace(p, weights=weights, width=None, other=None, other_weights=None)


def numbers(run: Path, data=None) -> dict:
    "AP and PCK of each network and of their mean"
    return {who: {k: v for k, v in found.items() if isinstance(v, (int, float))}
            for who, found in evaluate_run(run, **(dict(data=data) if data else {})).items()}


class Table:
    "The file, and what it holds already"
    def __init__(self, args):
        self.args, self.path, self.began, self.longest = args, args.out, time.monotonic(), 0.
        self.settings = {k: getattr(args, k) for k in SETTINGS}
        old = json.loads(self.path.read_text()) if self.path.exists() else dict(rows=[])
        if old["rows"] and old["settings"] != self.settings:
            sys.exit(f"{self.path} holds trainings of other settings, {old['settings']}: give another --out.")
        self.rows = old["rows"]
    def has(self, **key) -> bool: return any(all(r[k] == v for k, v in key.items()) for r in self.rows)
    def in_time(self) -> bool: return time.monotonic() - self.began + 1.2*self.longest < 60*self.args.minutes
    def add(self, row: dict) -> None:
        self.rows.append(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with whole(self.path) as part:
            part.write_text(json.dumps(dict(settings=self.settings, hardware=hardware(), versions=versions(),
                                            rows=self.rows), indent=1) + "\n")


def train_set(name: str, seed: int, table: Table) -> bool:
    "All rows of one set and seed; False: time is up"
    args, folders = table.args, {k: getattr(table.args, k) for k in SETS}
    wanted = [m for m in args.rows if not table.has(set=name, seed=seed, method=m)]
    if not wanted: return True
    if not table.in_time(): return False
    p, home = protocol_of(name, args), args.runs/name/f"seed{seed}"
    data, nets = prepare(p, folders[name], seed, progress=False), max(METHODS[m].nets for m in args.rows)
    start = home/"start"
    if not (start/"weights.safetensors").exists():
        begin = replace(p, steps=args.start, every=args.start, start_steps=0, start_every=None)
        train("supervised", begin, data, start, seed, nets=nets, progress=False, replace=True)
    if not table.has(set=name, seed=seed, method="start"): table.add(measured("start", name, seed, start, folders, 0.))
    for m in wanted:
        if not table.in_time(): return False
        then = time.monotonic()
        try: train(m, p, data, home/m, seed, start=start, progress=False, replace=True)
        except UserError as e:
            print(f"{name} seed {seed} {m}: {e}")
            continue
        seconds = time.monotonic() - then
        table.add(measured(m, name, seed, home/m, folders, seconds))
        table.longest = max(table.longest, time.monotonic() - then)
        print(f"{name} seed {seed} {m}: {seconds/args.steps:.3f} s a step", flush=True)
    return True


def measured(method: str, name: str, seed: int, run: Path, folders: dict, seconds: float) -> dict:
    other = next(k for k in SETS if k != name)
    return dict(set=name, seed=seed, method=method, seconds=round(seconds, 2), here=numbers(run),
                **{f"on_{other}": numbers(run, folders[other])})


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--coco", type=Path, required=True)
    p.add_argument("--lsp", type=Path, required=True)
    p.add_argument("--seeds", default="0-2")
    p.add_argument("--rows", nargs="+", default=[m for m in ROWS if m in METHODS])
    p.add_argument("--minutes", type=float, default=25)
    p.add_argument("--steps", type=int, default=2000)
    p.add_argument("--start", type=int, default=1000)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--labels", type=int, default=100)
    p.add_argument("--size", default="256x192")
    p.add_argument("--weights", default="imagenet", help="as of a protocol, or none")
    p.add_argument("--runs", type=Path, default=Path("runs/gpu"))
    p.add_argument("--out", type=Path, default=Path("results/signals/gpu.json"))
    args = p.parse_args()
    if unknown := [m for m in args.rows if m not in METHODS]: sys.exit(f"There is no row named {', '.join(unknown)}.")
    table = Table(args)
    for seed in parse_seeds(args.seeds):
        for name in SETS:
            if not train_set(name, seed, table):
                print(f"Time is up: {len(table.rows)} trainings are in {args.out}; run it again for the rest.")
                return
    print(f"{len(table.rows)} trainings are in {args.out}.")


if __name__ == "__main__":
    main()
