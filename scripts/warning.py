"""How far ahead of a fall of AP the collapse monitor's warning speaks, and how often it speaks in vain.

`python scripts/warning.py` reads the curves that are kept: results/demo-seed* (on which the rule's four fifths were fixed), the ledger and
results/lsp-* (which it has not been fitted to). `python scripts/warning.py --train FOLDER --seeds 0-2` trains runs that are measured every 15 of
300 steps, since five measurements in a run leave no room for a lead, keeps them in FOLDER, and takes those in as well; a folder is gone on with.
"""
from __future__ import annotations

import argparse, json, sys
from collections import Counter
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
METHODS = ("naive", "posecons", "posedual_jc", "supervised", "easy_easy", "mean_teacher", "balanced")


def kept(top: Path) -> dict[str, dict]:
    "Group -> name -> rows, of every run in results/"
    from semipose.ledger import read_ledger
    told = {f"{f.parent.name} {f.stem}": json.loads(f.read_text()) for f in sorted(top.glob("*/*.json")) if (f.parent / "summary.json").exists() and f.stem != "start"}
    comparisons = {k: v["rows"] for k, v in told.items() if isinstance(v, dict) and v.get("rows")}
    fixed = {k: v for k, v in comparisons.items() if k.startswith("demo-seed")}
    return {"fixed on": fixed, "ledger": {f"{e.protocol} {e.method} seed {e.seed}": e.curve for e in read_ledger(top)[0]},
            "comparisons on photographs": {k: v for k, v in comparisons.items() if k.startswith("lsp") and "foreground" in v[0]}}


def trained(folder: Path, seeds, methods) -> dict[str, list]:
    "Rows of the fine runs, made where they are not there yet"
    from semipose.data.synth import DIFFICULTIES, write_synth
    from semipose.protocols import protocol
    from semipose.run import prepare, read_result, train
    p = protocol("demo", train_people=1000, val_people=200, steps=300, every=15, lr=2e-3)
    done = {}
    for seed in seeds:
        data = None
        for name in ("start", *methods):
            run = folder / f"{name}-{seed}"
            if not (run / "weights.safetensors").exists():
                people = folder / f"people-{seed}"
                if not people.exists():
                    write_synth(people, p.train_people, p.val_people, seed=seed, difficulty=DIFFICULTIES[p.difficulty], face=p.face, progress=False)
                data = data or prepare(p, people, seed, progress=False)
                more = dict(steps=p.start_steps, every=p.start_every, lr=p.start_lr, nets=2) if name == "start" else dict(start=folder / f"start-{seed}")
                train("supervised" if name == "start" else name, p, data, run, seed, progress=False, replace=True, **more)
            if name != "start":
                done[f"every 15 steps, {name} seed {seed}"] = read_result(run)["rows"]
    return done


def tell(group: str, curves: dict) -> None:
    "One line for each run in which AP fell or the warning spoke"
    from semipose.widgets import heeded
    rows = heeded(curves)
    count = Counter(r["kind"] for r in rows)
    print(f"\n{group}: {len(rows)} runs; AP fell in {sum(r['fell'] is not None for r in rows)}; " + ", ".join(f"{n} {kind}" for kind, n in sorted(count.items())))
    for r in rows:
        if r["kind"] != "quiet":
            lead = "" if r["lead"] is None else f", lead {r['lead']} evaluations"
            print(f"  {r['kind']:<12}{r['name']}: AP fell at {r['fell']}, warned at {r['warned']}{lead}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--results", type=Path, default=TOP / "results")
    parser.add_argument("--train", type=Path, metavar="FOLDER", help="also train runs that are measured often, into this folder")
    parser.add_argument("--seeds", default="0-2", help="of those runs: one, or a range")
    parser.add_argument("--methods", default=",".join(METHODS))
    args = parser.parse_args()
    first, _, last = args.seeds.partition("-")
    if not (first.isdigit() and (last or first).isdigit()):
        sys.exit(f"--seeds {args.seeds}: give one seed, or a range such as 0-2.")
    for group, curves in kept(args.results).items():
        tell(group, curves)
    if args.train:
        tell(f"measured every 15 steps, seeds {args.seeds}", trained(args.train, range(int(first), int(last or first) + 1), args.methods.split(",")))


if __name__ == "__main__":
    main()
