"""Train the cells of the map: one setting of the demo changed at a time (results/map/rule.md).

python scripts/phase_map.py AXIS [ROWS] [--values 8,64] [--seeds 0-9] [--runs runs/map] [--results results/map]

AXIS is labels, weight, view or steps. It trains what the ledgers below --results lack, one cell after the other; it
can be stopped, started again, and started twice. A cell of six rows and ten seeds takes about an hour of one core,
of the longest steps twice that.
"""
from __future__ import annotations
import argparse, sys
from dataclasses import replace
from pathlib import Path

from semipose.cli import parse_seeds
from semipose.errors import UserError
from semipose.fading import AXES, cell_name
from semipose.methods import METHODS, Row, add
from semipose.protocols import Protocol, protocol
from semipose.sweep import sweep
from semipose.views import A60, View

ROWS = ("supervised", "naive", "posecons", "posedual_jc", "posecons_joined", "posedual_jc_joined", "naive_joined")


def turned(view: View, degrees: float) -> View:
    "The view with A60's turn replaced by another"
    [a60] = A60.steps
    return replace(view, name=f"{view.name}@{degrees:g}",
                   steps=tuple(replace(s, rotate=float(degrees)) if s == a60 else s for s in view.steps))


def rows_of(names, degrees: float) -> list[str]:
    "The same rows with another hard view, as rows of their own"
    out = []
    for name in names:
        m = METHODS[name]
        if not m.student_views or degrees == 60: out.append(name); continue
        mine = f"{name}_turn{degrees:g}"
        if mine not in METHODS:
            add("map", Row(mine, f"{name}, hard view of {degrees:g} degrees",
                           replace(m, student_views=tuple(turned(v, degrees) for v in m.student_views))))
        out.append(mine)
    return out


def cell(axis: str, value) -> Protocol:
    "The demo with one thing changed"
    if axis == "labels": return protocol("demo-all") if value is None else protocol("demo", labels=value)
    if axis == "weight": return protocol("demo", lam=float(value))
    if axis == "steps": return protocol("demo", steps=value)
    return protocol("demo")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("axis", choices=AXES)
    p.add_argument("rows", nargs="*", default=ROWS)
    p.add_argument("--values", help="some of the axis's values, with commas; 'all' for all labels")
    p.add_argument("--seeds", default="0-9")
    p.add_argument("--runs", type=Path, default=Path("runs/map"))
    p.add_argument("--results", type=Path, default=Path("results/map"))
    args = p.parse_args()
    known = {cell_name(args.axis, v): v for v in AXES[args.axis]}
    names = [f"{args.axis}-{v}" for v in args.values.split(",")] if args.values else list(known)
    for name in names:
        if name not in known: raise UserError(f"--values: the axis {args.axis} has no {name.partition('-')[2]}; choose "
                                              f"of {', '.join(n.partition('-')[2] for n in known)}.")
        value = known[name]
        rows = rows_of(args.rows, value) if args.axis == "view" else args.rows
        out = sweep(cell(args.axis, value), rows, parse_seeds(args.seeds), folder=args.runs/name,
                    results=args.results/name)
        for which, why in out["failed"].items(): print(f"{name}, {which}: {why}", file=sys.stderr)


if __name__ == "__main__":
    try: main()
    except UserError as e: sys.exit(f"phase_map: {e}")
