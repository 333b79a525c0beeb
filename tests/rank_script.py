"One rank of a short training, for tests/test_ranks.py: python tests/rank_script.py METHOD,METHOD OUT [frozen] [odd]"
import sys
from dataclasses import replace
from types import MethodType

import torch
from torch import nn

from semipose.errors import UserError
from semipose.loop import Training, fit, learner, save_tensors
from semipose.methods import METHODS as TABLE
from semipose.ranks import Ranked, RankStream, find_ranks, process_group
from semipose.views import A60
from semipose.skeletons import COCO17
from semipose.watch import Watch
from tests.steps import CODEC, FIRST, SIZE, SUPERVISED, People, build

STEPS = 5
METHODS = dict(TABLE, three=replace(TABLE["sspcm"], student_views=(A60,)))  # as SSPCM, without pieces of other pictures


def freeze_statistics(peers):
    "Batch norm answers by its running statistics, in training too"
    for m in peers.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.eval()
            m.train = MethodType(lambda self, mode=True: self, m)
    return peers


def train(name, ranks, frozen=True, first=FIRST, cbs=(), odd=False, alone=False):
    "(weights, losses) after a few steps on this rank's people"
    m = METHODS[name]
    peers = build(m)
    if odd and ranks.rank: peers.nets[0].final.bias.data += 1
    if alone and ranks.rank: raise UserError("people.json: this rank alone cannot read it; give it the file.")
    if frozen: freeze_statistics(peers)
    watch, people = Watch(lambda model: {}, first=False, select=""), People()
    stream = RankStream(people, ranks) if ranks.many else people
    more = [Ranked(ranks, every=2)] if ranks.many else []
    learn = learner(peers, m, stream, CODEC, SIZE, COCO17, SUPERVISED, Training(1, 1e-3, 2., seed=2, start=first),
                    [watch, *more, *cbs])
    fit(learn, first + STEPS, "constant")
    rows = [r for r in watch.rows if r["step"] > first]
    losses = {k: torch.tensor([r[k] for r in rows]) for k in rows[0] if k not in ("step", "seconds")}
    return peers.state_dict(), losses


def main():
    names, out, *words = sys.argv[1:]
    ranks = find_ranks()
    try:
        with process_group(ranks):
            for name in names.split(","):
                weights, losses = train(name, ranks, "frozen" in words, odd="odd" in words, alone="alone" in words)
                save_tensors(f"{out}/{name}-{ranks.rank}.safetensors", {f"w.{k}": v for k, v in weights.items()}
                             | {f"l.{k}": v for k, v in losses.items()})
    except UserError as e: sys.exit(f"rank {ranks.rank}: {e}")


if __name__ == "__main__": main()
