"""Train the headline rows on the next seeds that nobody has used, and say whether they agree with what is printed.

python scripts/replicate.py [--seeds 5] [--runs runs] [--results results/replications]

The new entries are written below --results, apart from those that the README shows. A row agrees where its mean gain
lies in the prediction interval of the printed seeds and its outcomes are not told apart (`claims.repeats`). Exit
code 1 where a row does not. About 8 minutes a seed on one quiet core.
"""
from __future__ import annotations
import argparse, sys
from pathlib import Path

from semipose.claims import HEADLINE, SHOW, claim_rows, claim_table, repeat_table, repeats
from semipose.errors import UserError
from semipose.ledger import read_ledger
from semipose.protocols import protocol
from semipose.sweep import sweep

TOP = Path(__file__).resolve().parent.parent


def used(results: Path, name: str = "demo") -> set[int]:
    "Seeds of a protocol that some ledger in the repository already has"
    folders = {f.parent.parent for f in results.rglob(f"{name}/*.json")}
    return {e.seed for folder in folders for e in read_ledger(folder, name)[0]}


def begun(results: Path) -> set[int]:
    "Seeds of an earlier call that was broken off: they are taken up, not left behind"
    mine = read_ledger(results, "demo")[0] if results.exists() else []
    return {e.seed for e in mine if any((m, e.seed) not in {(x.method, x.seed) for x in mine} for m in HEADLINE)}


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--seeds", type=int, default=5, help="how many new seeds")
    p.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    p.add_argument("--results", type=Path, default=TOP/"results"/"replications", help="ledger of the new seeds")
    args = p.parse_args()
    if args.seeds < 2:
        raise UserError("--seeds: two seeds or more are needed, one training says nothing of how far seeds go apart.")
    printed = claim_rows(read_ledger(TOP/"results"/"unseen", "demo")[0], SHOW)
    first = max(used(TOP/"results") - begun(args.results)) + 1
    seeds = range(first, first + args.seeds)
    print(f"Printed: seeds {SHOW[0]} to {SHOW[-1]}. New: seeds {seeds[0]} to {seeds[-1]}.")
    out = sweep(protocol("demo"), HEADLINE, seeds, folder=args.runs, results=args.results)
    for name, why in out["failed"].items(): print(f"{name}: {why}", file=sys.stderr)
    new = claim_rows(read_ledger(args.results, "demo")[0], seeds)
    found = repeats(printed, new)
    print(claim_table(new), repeat_table(found), sep="\n\n")
    return 0 if all(r.agrees for r in found) else 1


if __name__ == "__main__":
    try: sys.exit(main())
    except UserError as e: sys.exit(f"replicate: {e}")
