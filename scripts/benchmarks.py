"""All benchmarks, one after the other, kept as text with their command and hardware: `python scripts/benchmarks.py
[carry codecs data eval]` writes results/benchmarks/NAME.txt.

They time; nothing else should run meanwhile. Notebooks 02, 11, 20 and 51 show the files.
"""
from __future__ import annotations
import argparse, os, subprocess, sys
from pathlib import Path

from semipose.files import whole
from semipose.run import hardware

HERE = Path(__file__).resolve().parent
NAMES = ("carry", "codecs", "data", "eval")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all if not given")
    for name in p.parse_args().names or NAMES:
        if name not in NAMES: p.error(f"there is no benchmark {name}; there are {', '.join(NAMES)}.")
        busy = os.getloadavg()[0]
        said = subprocess.run([sys.executable, "-W", "ignore", str(HERE / f"benchmark_{name}.py")],
                              stdout=subprocess.PIPE, text=True, env=dict(os.environ, OMP_NUM_THREADS="1"))
        if said.returncode: sys.exit(f"scripts/benchmark_{name}.py failed; nothing was kept of it.")
        note = f"$ python scripts/benchmark_{name}.py\n{hardware()}; load before: {busy:.1f}\n\n"
        with whole(HERE.parent / "results" / "benchmarks" / f"{name}.txt") as part: part.write_text(note + said.stdout)
        print(note + said.stdout, flush=True)


if __name__ == "__main__": main()
