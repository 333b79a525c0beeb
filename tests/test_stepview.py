"""A step seen from inside is the step that trains: its losses, targets, answers, gradients and the networks after it
are those of a fastai `Learner`, bit for bit; every row of the table can be looked at."""
from dataclasses import replace

import numpy as np
import pytest
import torch

from semipose.data.synth import DIFFICULTIES, write_synth
from semipose.errors import UserError
from semipose.losses import mse, spread
from semipose.loop import Training, fit, learner
from semipose.methods import METHODS
from semipose.nets.peers import build_peers
from semipose.networks import begin_from, codec_of
from semipose.protocols import protocol
from semipose.run import prepare, train
from semipose.stepview import STAGES, StepView, person_of, rehearse, stage_words
from semipose.teaching import Step

P = protocol("demo", train_people=40, val_people=6, labels=24, width=6, batch=(6, 6), start_steps=20, start_every=20,
             steps=4, every=4, schedule="constant")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("runs")
    write_synth(home / "people", P.train_people, P.val_people, seed=1, difficulty=DIFFICULTIES["easy"], progress=False)
    data = prepare(P, home / "people", 1, progress=False)
    train("supervised", P, data, home / "start", 1, steps=20, every=20, lr=4e-3, nets=3, progress=False)
    train("posedual_jc", P, data, home / "run", 1, start=home / "start", progress=False)
    return home


@pytest.fixture(scope="module")
def run(home):
    return rehearse(home / "run")


def trained(home, run, name, monkeypatch):
    "One step of a Learner, as a training makes it, with what it made; the peers after it"
    m, r, kept = METHODS[name], run.recipe, []
    call = Step.__call__
    monkeypatch.setattr(Step, "__call__", lambda self, *a, **kw: kept.append(call(self, *a, **kw)) or kept[-1])
    data = prepare(P, home / "people", 1, progress=False)
    stream = type("Once", (), dict(from_step=lambda self, k: [run.batch(name, k)]))()
    peers = begin_from(build_peers("tiny", 17, m.nets, net=dict(width=P.width), **m.copies), home / "start")
    learn = learner(peers, m, stream, codec_of(P, peers.stride), P.size, data.skeleton, data.supervised,
                    Training(1, r.lr, P.lam, seed=r.seed))
    fit(learn, 1, "constant")
    monkeypatch.undo()
    return kept[0], learn.model


ROWS = ["supervised", "naive", "posedual_jc", "posecons_jc", "mean_teacher", "data_distillation", "posecons_one",
        "balanced", "multiaugs", "sspcm", "posedual_jc_joined"]


@pytest.mark.parametrize("name", ROWS)
def test_it_is_the_step_that_trains(home, run, name, monkeypatch):
    terms, after = trained(home, run, name, monkeypatch)
    o, again = run.step(name, "start")
    assert again == 0 and o.parts.keys() == terms.parts.keys()
    assert all(torch.equal(o.parts[k], terms.parts[k]) for k in terms.parts) and torch.equal(o.total, terms.total)
    made, m = terms.made, METHODS[name]
    for i, views in enumerate(made.targets):
        for v, (target, weight) in enumerate(views):
            heat = made.answers["student"][i][v]
            w = (spread(weight) if weight is not None else torch.ones(1)).expand(heat.shape)
            for b in range(len(heat)):
                p = person_of(o, b, i, v)
                assert torch.equal(p.target, target[b]) and torch.equal(p.student, heat[b])
                assert torch.equal(p.shown, made.shown["student"][i][v][b])
                want = [mse(heat[b:b+1, k:k+1], target[b:b+1, k:k+1], w[b:b+1, k:k+1]) for k in range(17)]
                assert torch.equal(p.losses, torch.stack(want).detach())
    after.train()
    with torch.no_grad():       # and the networks are moved as training moves them
        want = after(made.shown, joined=m.joined or None)
    kind = "student" if m.student_views else "labeled"
    for i in range(m.nets):
        have, theirs = o.after[kind][i], want[kind][i]
        assert all(torch.equal(a, b) for a, b in (zip(have, theirs) if kind == "student" else [(have, theirs)]))


def test_joint_by_joint_it_is_the_loss_that_is_logged(run):
    for name in ("posedual_jc", "balanced", "naive"):
        o, _ = run.step(name, "start")
        each = torch.stack([person_of(o, b).losses for b in range(6)])
        assert float(each.mean()) == pytest.approx(float(o.parts["cons1"]), rel=1e-5)


def test_the_gradient_is_that_of_the_loss(run):
    "half a mean square: its gradient is the weighted difference over the number of values, times cons and lam"
    o, _ = run.step("posecons_jc", "start")
    p = person_of(o, 2)
    want = P.lam * p.counts.square() * (p.student - p.target) / (6 * p.student.numel())
    torch.testing.assert_close(p.gradient, want, atol=1e-9, rtol=1e-4)
    both, _ = run.step("naive", "start")
    assert both.gradient["teacher"][0].abs().sum() > 0 and "teacher" not in o.gradient


def test_a_step_depends_on_its_number_alone(run):
    "the same numbers whenever it is looked at, others at another step"
    o, _ = run.step("posedual_jc", "start", 0)
    other, _ = run.step("posedual_jc", "start", 1)
    assert not torch.equal(o.total, other.total)                              # another batch, other views
    again, _ = run.step("posedual_jc", "start", 0)
    assert torch.equal(o.total, again.total)                                  # looking changes nothing


def test_a_step_is_looked_at_without_moving_the_run(home, run):
    before = (home / "run/weights.safetensors").read_bytes()
    view = StepView(home / "run")
    pictures = {stage: (view.touched(stage=stage), view.image.value)[1] for stage in STAGES}
    assert len(set(pictures.values())) == len(STAGES) and (home / "run/weights.safetensors").read_bytes() == before


def test_a_row_of_ones_own_is_looked_at_like_any_other(home):
    METHODS["mine"] = replace(METHODS["posecons"], carried="spline", height="one")
    try:
        view = StepView(home / "run", "mine")
        assert "scaled to height 1" in view.words(stage="target") and "spline" in view.words(stage="target")
        assert view.values["method"] == "mine"
    finally:
        del METHODS["mine"]


def test_a_click_on_a_stage_or_a_joint_goes_there(home):
    view = StepView(home / "run")
    spots = {s["label"]: s["id"] for s in view.image.spots}
    view.image.hand(dict(do="click", id=spots["4 target"], n=1))
    assert view.values["stage"] == "target" and view.image.answered == 1
    label = next(s for s in view.image.spots if s["label"].startswith("left knee: loss"))
    view.image.hand(dict(do="click", id=label["id"], n=2))
    assert view.values["joint"] == "left knee" and "left knee" in view.sentence
    hot = [s for s in view.image.spots if s["kind"] == "heat"][-1]  # the values that a hand reads are the target's
    values = np.frombuffer(view.image.floats, "<f4")[hot["from"]:][:np.prod(hot["shape"])].reshape(hot["shape"])
    p = person_of(view.made("posedual_jc", "start", 0)[0], 0)
    assert np.array_equal(values, p.target[13].numpy())


def test_every_row_has_nine_stages_or_says_what_is_missing(home, run):
    joints = torch.arange(17)
    for name, m in METHODS.items():
        if m.asks:
            with pytest.raises(UserError, match="single pictures"):
                run.step(name, "start")
            continue
        if m.teacher.outside:
            with pytest.raises(UserError, match="outside model"): run.step(name, "start")
            continue
        o, again = run.step(name, "start")
        assert again == 0, "the start holds three networks"
        p = person_of(o, 0, m.nets - 1, len(m.student_views or m.labeled_views) - 1)
        assert all(stage_words(o, p, "all joints", joints, s) for s in STAGES)
        assert (p.sees is None) == (not m.student_views) and torch.isfinite(p.losses).all()


def test_what_cannot_be_looked_at_is_said(home):
    with pytest.raises(UserError, match="no method"):
        StepView(home / "run", "no_such")
    with pytest.raises(UserError, match="no run folder"):
        StepView(home / "none")
    view = StepView(home / "run")
    before = view.image.value
    view.controls["method"].value = "neighbour"
    assert "single pictures" in view.text.value and view.image.value == before
    view.controls["method"].value = "posecons"
    assert "single pictures" not in view.text.value and view.image.value != before


def test_a_network_that_is_missing_begins_as_a_copy(home, run):
    last = list(run.moments)[-1]
    assert run.step("sspcm", last)[1] == 1 and "1 begin as copies" in StepView(home / "run", "sspcm").words(moment=last)


def test_on_a_kept_ground_a_step_looks_as_in_a_new_figure(home):
    from test_widgets import as_drawn_anew
    moves = [dict(stage=s) for s in STAGES] + [
        dict(joint="left knee"), dict(person=2), dict(stage="target"), dict(joint="nose"), dict(joint="all joints"),
        dict(method="supervised"), dict(stage="teacher sees"), dict(method="posedual_jc"), dict(network=2),
        dict(step=1, joint="left knee"), dict(step=0, stage="teacher sees")]
    assert as_drawn_anew(StepView(home / "run"), moves) == 1, "one ground serves all of them"
