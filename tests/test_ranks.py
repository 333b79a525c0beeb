"Two processes train what one does: the same people in the same views, averaged gradients, equal weights"
import os, socket, subprocess, sys
from pathlib import Path

import pytest
import torch

from semipose.errors import UserError
from semipose.loop import load_tensors
from semipose.methods import METHODS as TABLE
from semipose.ranks import Ranks, RankStream, check_method, find_ranks, must_agree, share
from semipose.views import A60, JointCutout
from tests.rank_script import train

TOP = Path(__file__).resolve().parent.parent
TEACHERS = ("supervised", "naive", "posecons", "posedual_jc", "posedual_jc_joined", "mean_teacher",
            "pseudopose", "three")


def two(names, out, *words, fail=False):
    "Both ranks' standard errors; they talk by gloo over a free port"
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = dict(os.environ, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2", OMP_NUM_THREADS="1",
               PYTHONPATH=str(TOP))
    command = [sys.executable, str(TOP/"tests/rank_script.py"), ",".join(names), str(out), *words]
    each = [subprocess.Popen(command, env=env | dict(RANK=str(r), LOCAL_RANK=str(r)), stderr=subprocess.PIPE,
                             text=True, cwd=TOP) for r in range(2)]
    errors = [p.communicate(timeout=540)[1] for p in each]
    assert all((p.returncode != 0) == fail for p in each), errors
    return errors


def of(out, name):
    return [load_tensors(out/f"{name}-{r}.safetensors")[0] for r in range(2)]


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    out = tmp_path_factory.mktemp("frozen")
    two(TEACHERS, out, "frozen")
    return out


@pytest.mark.parametrize("name", TEACHERS)
def test_two_ranks_equal_one_process(name, frozen):
    "With batch statistics frozen: losses and weights after five steps, for every kind of teacher"
    weights, losses = train(name, Ranks())
    a, b = of(frozen, name)
    start = {k: v.clone() for k, v in weights.items()}
    for k, v in start.items():
        assert torch.equal(a[f"w.{k}"], b[f"w.{k}"]), k
        torch.testing.assert_close(a[f"w.{k}"], v.contiguous(), atol=1e-6, rtol=1e-5)
    for k, v in losses.items():
        torch.testing.assert_close((a[f"l.{k}"] + b[f"l.{k}"])/2, v, atol=1e-6, rtol=1e-5)
        assert not torch.equal(a[f"l.{k}"], b[f"l.{k}"]), "each rank has people of its own"


def test_statistics_are_the_same_on_all_ranks(tmp_path):
    "Averages, copies and snapshots too, when every rank normalises by its own people"
    names = ("posedual_jc", "mean_teacher", "three")
    two(names, tmp_path)
    for name in names:
        a, b = of(tmp_path, name)
        assert all(torch.equal(a[k], b[k]) for k in a if k.startswith("w."))
        alone, _ = train(name, Ranks(), frozen=False)
        assert any(not torch.allclose(a[f"w.{k}"], alone[k].contiguous(), atol=1e-5)
                   for k in alone if "running" in k), "its statistics are of other batches"


def test_ranks_that_differ_end_with_one_sentence(tmp_path):
    for r, error in enumerate(two(("supervised",), tmp_path, "odd", fail=True)):
        assert f"rank {r}: Ranks do not see the same: weights is " in error and "Traceback" not in error


def test_a_rank_that_ends_alone_ends_all(tmp_path):
    "One sentence each: why, and that it was another"
    first, second = two(("supervised",), tmp_path, "alone", fail=True)
    assert "rank 1: people.json: this rank alone cannot read it" in second and "Traceback" not in second
    assert "rank 0: Rank 0 ends: another rank has ended before it" in first and "Traceback" not in first


def test_views_are_those_of_the_whole_batch():
    "Also where joints are hidden at labels that only their own rank knows"
    from semipose.ranks import RankSampler
    from semipose.teaching import Sampler
    xy, vis = torch.rand(6, 17, 2)*40, torch.ones(6, 17)
    view = JointCutout(5) >> A60
    seeded = lambda: torch.Generator().manual_seed(3)
    whole = Sampler(6, (64, 48), generator=seeded())(view, (xy, vis))
    for r in range(3):
        rows = Ranks(r, 3).rows(6)
        part = RankSampler(Sampler(6, (64, 48), generator=seeded()), rows)(view, (xy[rows], vis[rows]))
        assert torch.equal(part.M, whole.M[rows]) and torch.equal(part.holes[0].box, whole.holes[0].box[rows])


def test_a_rank_keeps_its_rows_alone():
    class Numbers:
        batch = (4, 6)
        def from_step(self, k):
            while True: yield dict(labeled=torch.arange(4)+k,
                                   unlabeled=torch.arange(6)+k), dict(xy=torch.arange(4)+k); k += 1
    parts = [next(iter(RankStream(Numbers(), Ranks(r, 2)).from_step(7))) for r in range(2)]
    for k, n in (("labeled", 4), ("unlabeled", 6)):
        assert sorted(torch.cat([x[k] for x, _ in parts]).tolist()) == list(range(7, 7+n))
    with pytest.raises(UserError, match="A batch of 6 people cannot be shared by 4 processes"):
        RankStream(Numbers(), Ranks(0, 4))


def test_a_stream_that_can_share_itself_is_asked_for_the_rows():
    class Sharing:
        batch = (4, 6)
        def share(self, rank, world): self.asked = rank, world; return self
        def from_step(self, k): return iter([f"step {k} of {self.asked}"])
    assert list(RankStream(Sharing(), Ranks(1, 2)).from_step(7)) == ["step 7 of (1, 2)"]


def test_resumed_on_another_number_of_ranks_people_and_views_are_the_same():
    "Three steps on one process, the next on two, the last on four: everybody is met in the view of an unbroken run"
    from semipose.ranks import RankSampler
    from semipose.teaching import Sampler, mix
    view, xy, vis = JointCutout(5) >> A60, torch.rand(8, 17, 2)*40, torch.ones(8, 17)
    def views(rank, world, step):
        rows = Ranks(rank, world).rows(8)
        sampler = Sampler(8, (64, 48), generator=torch.Generator().manual_seed(mix(3, step)))
        return RankSampler(sampler, rows)(view, (xy[rows], vis[rows]))
    for step in (3, 4):
        whole = views(0, 1, step)
        for world in (2, 4):
            for rank in range(world):
                assert torch.equal(views(rank, world, step).M, whole.M[rank::world])
                assert torch.equal(views(rank, world, step).holes[0].box, whole.holes[0].box[rank::world])
        assert not torch.equal(whole.M, views(0, 1, step+1).M)


def test_what_cannot_be_shared_is_refused():
    for name, m in TABLE.items():
        pastes = any(s.__class__.__name__ in ("CutMix", "JointOcclude") for v in m.student_views for s in v.steps)
        if m.asks or pastes:
            why = "learns from frames of clips" if m.asks else "pastes pieces of other people"
            with pytest.raises(UserError, match=f"{name} {why}"): check_method(m, name)
        else: check_method(m, name)


def test_the_environment_says_who_one_is(monkeypatch):
    for k in ("RANK", "WORLD_SIZE", "LOCAL_RANK"): monkeypatch.delenv(k, raising=False)
    assert find_ranks() == Ranks() and not find_ranks().many
    for k, v in (("RANK", 5), ("WORLD_SIZE", 8), ("LOCAL_RANK", 1)): monkeypatch.setenv(k, str(v))
    assert find_ranks() == Ranks(5, 8, 1)
    monkeypatch.setenv("RANK", "five")
    with pytest.raises(UserError, match="must be whole numbers"): find_ranks()
    assert share("alone", Ranks()) == "alone"
    must_agree(Ranks(), people=3)


def test_validation_is_shared_and_put_back_in_order(monkeypatch):
    "Each rank predicts its rows alone; all end with everybody's, as one process would"
    from types import SimpleNamespace
    from semipose import measure
    from semipose.predict import Prediction

    class Some:
        def __init__(self, rows): self.rows = rows
        def __len__(self): return len(self.rows)
        def subset(self, rows): return Some(self.rows[rows])

    everybody, predicted = torch.arange(7.), []
    def predict_all(nets, some, *a, **k):
        predicted.append(some.rows.tolist())
        return [Prediction(some.rows.view(-1, 1, 1).repeat(1, 17, 2) + n, some.rows.view(-1, 1).repeat(1, 17))
                for n in range(2)]
    parts = [[(p.xy, p.score) for p in predict_all(None, Some(everybody[r::3]))] for r in range(3)]
    monkeypatch.setattr(measure, "predict_all", predict_all)
    monkeypatch.setattr(measure, "gather", lambda value, ranks: parts)
    for r in range(3):
        predicted.clear()
        e = measure.Evaluate.__new__(measure.Evaluate)
        e.ranks, e.p, e.codec, e.batch = Ranks(r, 3), SimpleNamespace(size=None), None, 4
        for n, found in enumerate(e.predict(None, Some(everybody), "each")):
            assert torch.equal(found.xy[:, 0, 0], everybody + n) and torch.equal(found.score[:, 0], everybody)
        assert predicted == [everybody[r::3].tolist()]
