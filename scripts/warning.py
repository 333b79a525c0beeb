"""How far ahead of a fall of AP the collapse monitor's warning speaks, and how often it speaks in vain.

`python scripts/warning.py` reads what is kept: it shows the family of rules on the curves on which the rule was
fixed (results/warning/seeds-0-2.json),
then what the rule is worth on all others: unseen seeds, the ledger, photographs.
`python scripts/warning.py --train FOLDER --seeds 0-2` trains runs that are measured every 15 of 300 steps, since
five measurements in a run leave no
room for a lead, and keeps their curves in results/warning; a folder is gone on with.
"""
from __future__ import annotations

import argparse, json, sys
from collections import Counter
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
METHODS = ("naive", "posecons", "posedual_jc", "supervised", "easy_easy", "mean_teacher", "balanced")
COLUMNS = dict(step=0, ap=2, peak_unlabeled=4, peak_labeled=4, foreground=5, cons1=7)  # decimals
FIXED = "seeds-0-2"  # what the rule was fixed on


def kept(top: Path) -> dict[str, dict]:
    "Group -> name -> rows, of every run in results/; the first group is the one that the rule was fixed on"
    from semipose.ledger import read_ledger
    fine = {f.stem: json.loads(f.read_text())["curves"] for f in sorted((top / "warning").glob("*.json"))}
    out = {f"every 15 steps, {name.replace('-', ' ', 1)}": curves
           for name, curves in sorted(fine.items(), key=lambda c: c[0] != FIXED)}
    told = {f"{f.parent.name} {f.stem}": json.loads(f.read_text()) for f in sorted(top.glob("*/*.json"))
            if (f.parent / "summary.json").exists() and f.stem != "start"}
    told = {k: v["rows"] for k, v in told.items() if isinstance(v, dict) and v.get("rows")
            and "foreground" in v["rows"][0]}
    ledger = {}
    for e in read_ledger(top)[0]:
        name = f"{e.protocol} {e.method} seed {e.seed}"
        ledger[f"{name} {e.key}" if name in ledger else name] = e.curve  # the same row with other settings
    photos = lambda name: name.startswith("lsp")
    out["five measurements a run, synthetic people"] = {k: v for k, v in (ledger | told).items() if not photos(k)}
    out["five measurements a run, photographs"] = {k: v for k, v in (ledger | told).items() if photos(k)}
    return {group: curves for group, curves in out.items() if curves}


def family(curves: dict[str, list]) -> list[dict]:
    "Every threshold of the rule on some curves: its leads, and whom it warned of in vain"
    from semipose.widgets import heeded
    out = []
    for share in (.5, .55, .6, .65, .7, .75, .8, .85, .9, .95):
        for shrink in (True, False):
            rows = heeded(curves, share=share, shrink=shrink)
            out.append(dict(share=share, shrink=shrink, leads=[r["lead"] for r in rows if r["fell"] is not None],
                            alarms=[r["name"] for r in rows if r["kind"] == "false alarm"]))
    return out


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
                    write_synth(people, p.train_people, p.val_people, seed=seed, difficulty=DIFFICULTIES[p.difficulty],
                                face=p.face, progress=False)
                data = data or prepare(p, people, seed, progress=False)
                more = (dict(steps=p.start_steps, every=p.start_every, lr=p.start_lr, nets=2) if name == "start"
                        else dict(start=folder / f"start-{seed}"))
                train("supervised" if name == "start" else name, p, data, run, seed, progress=False, replace=True,
                      **more)
            if name != "start":
                done[f"{name} seed {seed}"] = read_result(run)["rows"]
    return done


def keep(curves: dict[str, list], path: Path, folder: Path, methods: str) -> None:
    "The curves, as small as they can be, with the revisions that trained them"
    from semipose.data.coco import write_json
    from semipose.run import read_recipe
    small = {name: [{k: round(r[k], d) if d else r[k] for k, d in COLUMNS.items() if k in r} for r in rows]
             for name, rows in curves.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    recipes = [read_recipe(folder / name.replace(" seed ", "-")) for name in curves]
    command = f"python scripts/warning.py --train FOLDER --seeds {path.stem.removeprefix('seeds-')} --methods {methods}"
    write_json(path, dict(command=command, hardware=recipes[0]["hardware"], versions=recipes[0]["versions"],
                          revisions=sorted({str(r["revision"]) for r in recipes}), curves=small))


def tell(group: str, curves: dict) -> None:
    "One line for each run in which AP fell or the warning spoke"
    from semipose.widgets import heeded
    rows = heeded(curves)
    count = Counter(r["kind"] for r in rows)
    print(f"\n{group}: {len(rows)} runs; AP fell in {sum(r['fell'] is not None for r in rows)}; "
          + ", ".join(f"{n} {kind}" for kind, n in sorted(count.items())))
    for r in rows:
        if r["kind"] != "quiet":
            lead = "" if r["lead"] is None else f", lead {r['lead']} evaluations"
            print(f"  {r['kind']:<14}{r['name']}: AP fell at {r['fell']}, warned at {r['warned']}{lead}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--results", type=Path, default=TOP / "results")
    parser.add_argument("--train", type=Path, metavar="FOLDER", help="train runs that are measured often, into this "
                        "folder, and keep their curves")
    parser.add_argument("--seeds", default="0-2", help="of those runs: one, or a range")
    parser.add_argument("--methods", default=",".join(METHODS))
    args = parser.parse_args()
    first, _, last = args.seeds.partition("-")
    if not (first.isdigit() and (last or first).isdigit() and int(first) <= int(last or first)):
        sys.exit(f"--seeds {args.seeds}: give one seed, or a range such as 0-2.")
    if args.train:
        curves = trained(args.train, range(int(first), int(last or first) + 1), args.methods.split(","))
        keep(curves, args.results / "warning" / f"seeds-{args.seeds}.json", args.train, args.methods)
    groups = kept(args.results)
    if not groups:
        sys.exit(f"{args.results} holds no curves: give --results with the folder of a ledger, or --train.")
    for row in family(next(iter(groups.values()))):
        rule = f"peak below {row['share']:.2f} of its start{' and foreground below its own' if row['shrink'] else ''}"
        print(f"{rule:<59}: leads {row['leads']}, in vain {', '.join(row['alarms']) or 'never'}")
    for group, curves in groups.items():
        tell(group, curves)


if __name__ == "__main__":
    main()
