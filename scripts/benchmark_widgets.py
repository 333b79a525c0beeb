"""How long a widget takes to answer a hand: CPU milliseconds from the new value to the new picture, median of ten.
`python scripts/benchmark_widgets.py RUN [RUN ...]`"""
from __future__ import annotations

import itertools, sys, time
from statistics import median


def answers(lab, name: str, values, n: int = 10) -> float:
    "Median CPU milliseconds of moving one control"
    spent, values = [], itertools.cycle(values)
    for _ in range(n + 2):
        value, start = next(values), time.process_time()
        lab.controls[name].value = value
        spent.append(1000 * (time.process_time() - start))
    return median(spent[2:])  # the first ones load fonts


def main() -> None:
    from semipose.widgets import BoundaryLab, CollapseMonitor, HeatmapBrowser, PixelLab, RunComparer, ViewExplorer
    if not (runs := sys.argv[1:]):
        sys.exit("Give one or more run folders, of one protocol and seed: python scripts/benchmark_widgets.py "
                 "runs/demo-seed10/naive runs/demo-seed10/posecons")
    explorer, plane = ViewExplorer(runs[0]), BoundaryLab()
    for name, lab, control, values in (
            ("browser, another person", HeatmapBrowser(runs[0]), "person", range(2, 6)),
            ("explorer, another view", explorer, "student_rotate", (10, 20, 30)),
            ("explorer, another person", explorer, "person", (0, 1)),
            ("monitor, another moment", CollapseMonitor(runs[0]), "until", (0, 1, 2)),
            (f"comparer of {len(runs)}, another person", RunComparer(runs), "person", range(2, 6)),
            ("boundary, 30:1, one step", plane, "k", range(1, 30)),
            ("boundary, 100:1, one step", BoundaryLab(ratio=100), "k", range(1, 30)),
            ("pixels, another ratio", PixelLab(), "ratio", (10, 100, 300, 1000))):
        print(f"{answers(lab, control, values):6.0f} ms  {name}", flush=True)


if __name__ == "__main__":
    main()
