"""Processor time until a verb has printed its table, beside computing the same table, round by round.

python scripts/benchmark_start.py [--rounds 7]
"""
from __future__ import annotations
import argparse, resource, statistics, subprocess, sys

VERB = "import sys; sys.argv = ['semipose', *{}]; from semipose.cli import main; main()"
COMPUTED = "from semipose.cli import method_table; method_table()"


def seconds(code):
    "Of a fresh interpreter"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--rounds", type=int, default=7)
    a = p.parse_args()
    verbs, found = (["methods"], ["protocols"], ["--help"]), {}
    for _ in range(a.rounds):
        usual = seconds(COMPUTED)
        for v in verbs: found.setdefault(v[0], []).append(seconds(VERB.format(v)) / usual)
    print(f"{'semipose ... / the table computed':<36}{'min':>8}{'median':>8}{'max':>8}   ({a.rounds} rounds)")
    for name, r in found.items(): print(f"{name:<36}{min(r):>8.2f}{statistics.median(r):>8.2f}{max(r):>8.2f}")


if __name__ == "__main__": main()
