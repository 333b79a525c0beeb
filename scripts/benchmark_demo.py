"""How much sooner is a comparison done whose methods are trained side by side? Seconds by the clock, in turns.

python scripts/benchmark_demo.py [--steps 100] [--rounds 3]
writes results/benchmarks/demo.txt. The five methods of the demo with fewer steps: `semipose compare ... --jobs 1`, one
after the other with every thread, against --jobs N, N trainings with one thread each. Needs a machine that does nothing
else. First people are drawn, which is not timed.
"""
from __future__ import annotations
import argparse, os, subprocess, sys, tempfile, time
from pathlib import Path

import numpy as np

from semipose.methods import HEADLINE
from semipose.recipe import hardware

TOP = Path(__file__).resolve().parent.parent


def seconds(folder: Path, steps: int, jobs: int, threads: int) -> float:
    "One comparison, from the command to its page"
    words = ["--protocol", "demo", "--data", "drawn", "--start-steps", steps, "--steps", steps, "--every", steps // 2]
    begun = time.perf_counter()
    typed = [*HEADLINE, *words, "--jobs", jobs, "--out", tempfile.mkdtemp(dir=folder) + "/c"]
    subprocess.run([sys.executable, "-m", "semipose", "compare", *map(str, typed)], cwd=folder, check=True,
                   capture_output=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
    return time.perf_counter() - begun


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--steps", type=int, default=100)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--out", type=Path, default=TOP / "results" / "benchmarks" / "demo.txt")
    a = p.parse_args()
    cores, busy, found = os.cpu_count(), os.getloadavg()[0], []
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        subprocess.run([sys.executable, "-m", "semipose", "synth", "drawn", "--train", "1000", "--val", "500", "--size",
                        "96x72", "--difficulty", "demo"], cwd=place, check=True, capture_output=True)
        for _ in range(a.rounds):
            found.append([seconds(place, a.steps, jobs, cores) for jobs in (1, cores)])
            print(f"one after the other {found[-1][0]:.0f} s, side by side {found[-1][1]:.0f} s", flush=True)
    r = np.array([b / a for a, b in found])
    lines = [f"python scripts/benchmark_demo.py --steps {a.steps} --rounds {a.rounds}",
             f"{hardware()}, load before it {busy:.1f}",
             f"--jobs {cores} / --jobs 1: min {r.min():.2f} median {np.median(r):.2f} max {r.max():.2f} of {a.rounds}; "
             f"best {min(b for _, b in found):.0f} s / {min(b for b, _ in found):.0f} s"]
    text = "\n".join(lines) + "\n"
    a.out.write_text(text)
    print(text)


if __name__ == "__main__": main()
