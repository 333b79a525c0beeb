"""People a second of two processes (gloo, a thread each) beside one: PoseDual + JC, ResNet-18 at 128x96, 16+16 people.

python scripts/benchmark_ranks.py [--rounds 5] [--steps 6] [--batch 16]

It needs a quiet machine with two cores: each process computes on one of them.
"""
from __future__ import annotations
import argparse, os, socket, statistics, subprocess, sys, time
from pathlib import Path

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample"


def rank(steps, batch):
    "One process: seconds of its steps, the first two apart"
    import torch
    from fastai.callback.core import Callback
    from semipose.data.streams import Streams
    from semipose.loop import Training, fit, learner
    from semipose.methods import METHODS
    from semipose.networks import codec_of, peers_of
    from semipose.protocols import protocol
    from semipose.ranks import Ranked, RankStream, find_ranks, process_group
    from semipose.run import prepare
    torch.set_num_threads(1)

    class Clock(Callback):
        at = ()
        def after_batch(self): self.at = (*self.at, time.perf_counter())
    ranks, clock = find_ranks(), Clock()
    with process_group(ranks):
        p = protocol("folder", labels=8, net="resnet18", size=(128, 96), batch=(batch, batch))
        data, m = prepare(p, SAMPLE, progress=False), METHODS["posedual_jc"]
        peers = peers_of(p, len(data.skeleton), 2, 0)
        stream = Streams(data.labeled, data.unlabeled, p.batch, steps + 2)
        more = [Ranked(ranks)] if ranks.many else []
        if ranks.many: stream = RankStream(stream, ranks)
        learn = learner(peers, m, stream, codec_of(p, peers.stride), p.size,
                        data.skeleton, data.supervised, Training(every=steps + 2), [clock, *more])
        fit(learn, steps + 2, "constant")
    if ranks.first: print(clock.at[-1] - clock.at[1])


def seconds(world, a):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = dict(os.environ, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(world), OMP_NUM_THREADS="1")
    words = [sys.executable, "-W", "ignore", __file__, "--rank", "--steps", str(a.steps), "--batch", str(a.batch)]
    each = [subprocess.Popen(words, env=env | dict(RANK=str(r), LOCAL_RANK=str(r)), stdout=subprocess.PIPE, text=True)
            for r in range(world)]
    out = [p.communicate()[0] for p in each]
    if any(p.returncode for p in each): sys.exit("benchmark_ranks: a process failed.")
    return float(out[0].split()[-1])


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--steps", type=int, default=6)
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.rank: return rank(a.steps, a.batch)
    if (load := os.getloadavg()[0]) > .5: print(f"The machine is busy (load {load:.1f}): the ratio says little.")
    each = [(seconds(1, a), seconds(2, a)) for _ in range(a.rounds)]
    r = sorted(one / two for one, two in each)
    people = 2 * a.batch * a.steps
    one, two = (people / min(v) for v in zip(*each))
    print(f"people a second, best: one process {one:.1f}, two {two:.1f}; "
          f"two / one: min {r[0]:.2f}, median {statistics.median(r):.2f}, max {r[-1]:.2f} ({a.rounds} rounds)")


if __name__ == "__main__": main()
