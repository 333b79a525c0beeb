"""Processor time until a verb has printed its table, beside computing the same table, round by round; and, with --data,
from `semipose train posedual_jc --net resnet18` to the end of its first step, beside an earlier commit.

python scripts/benchmark_start.py [--rounds 7] [--data data/lsp [--before b94668d] [--labels 100]]
"""
from __future__ import annotations
import argparse, io, os, resource, statistics, subprocess, sys, tarfile, tempfile
from pathlib import Path

VERB = "import sys; sys.argv = ['semipose', *{}]; from semipose.cli import main; main()"
COMPUTED = "from semipose.cli import method_table; method_table()"
TOP = Path(__file__).resolve().parent.parent
FIRST = """
import os, sys
import semipose.run as run
from fastai.callback.core import Callback
class Stop(Callback):
    order = 200
    def after_batch(self): os._exit(0)
plain = run.learner
def learner(*args, **kw):
    learn = plain(*args, **kw)
    learn.add_cb(Stop())
    return learn
run.learner = learner
sys.argv = ['semipose', *{}]
from semipose.cli import main
main()
"""


def seconds(code, home=TOP):
    "Of a fresh interpreter that imports the semipose in `home`"
    before, env = resource.getrusage(resource.RUSAGE_CHILDREN), dict(os.environ, PYTHONPATH=str(home))
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   env=env, cwd=home)    # Python looks there first
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def to_first_step(data, labels, commit, rounds):
    "Seconds of both, a pair a round"
    with tempfile.TemporaryDirectory() as place:
        archive = subprocess.run(["git", "archive", commit, "semipose"], cwd=TOP, capture_output=True, check=True)
        tarfile.open(fileobj=io.BytesIO(archive.stdout)).extractall(Path(place) / "old", filter="data")
        def once(home, name):
            typed = ["train", "posedual_jc", "--data", data, "--net", "resnet18", "--labels", labels,
                     "--runs", str(Path(place) / name)]
            return seconds(FIRST.format(typed), home)
        return [(once(Path(place) / "old", f"old{i}"), once(TOP, f"new{i}")) for i in range(rounds)]


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--data", type=lambda v: str(Path(v).resolve()), help="people to train on; none: tables alone")
    p.add_argument("--labels", default="100")
    p.add_argument("--before", default="b94668d", help="the commit to compare with")
    a = p.parse_args()
    verbs, found = (["methods"], ["methods", "posedual_jc"], ["protocols"], ["--help"]), {}
    for _ in range(a.rounds):
        usual = seconds(COMPUTED)
        for v in verbs: found.setdefault(" ".join(v), []).append(seconds(VERB.format(v)) / usual)
    print(f"{'semipose ... / the table computed':<36}{'min':>8}{'median':>8}{'max':>8}   ({a.rounds} rounds)")
    for name, r in found.items(): print(f"{name:<36}{min(r):>8.2f}{statistics.median(r):>8.2f}{max(r):>8.2f}")
    if a.data is None: return
    pairs = to_first_step(a.data, a.labels, a.before, a.rounds)
    r = [new / old for old, new in pairs]
    print(f"\n{'train, to its first step / ' + a.before:<36}{min(r):>8.2f}{statistics.median(r):>8.2f}{max(r):>8.2f}   "
          f"(best {min(o for o, _ in pairs):.1f} s -> {min(n for _, n in pairs):.1f} s)")


if __name__ == "__main__": main()
