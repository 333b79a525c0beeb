"""Why heights fade: the leak is the carry's, the recursion is its own solution, and labelled people feel others only
where a forward is shared"""
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from semipose.codecs import Gaussian, peaks
from semipose.fading import effort, efforts, fade, fit_fade, foretell, leak, settled, shares
from semipose.geometry import affine, warp
from semipose.ledger import read_ledger
from semipose.loop import SCHEDULES
from semipose.methods import METHODS, line_of
from semipose.nets.peers import Peers, build_peers
from semipose.nets.simple import Tiny
from semipose.skeletons import COCO17
from semipose.teaching import Step

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "scripts"))
sys.path.insert(0, str(TOP / "tests"))


@pytest.mark.parametrize("sigma", [1.5, 2., 3.])
def test_leak_is_what_a_bilinear_carry_loses(sigma):
    "Mean over evenly spread sub-pixel shifts, measured by the library's own warp"
    codec = Gaussian(sigma=sigma, stride=1)
    heat, _ = codec.encode(torch.full((400, 1, 2), 20.), torch.full((400, 1), 2.), (41, 41))
    shift = torch.rand(400, 2, generator=torch.Generator().manual_seed(0))
    moved = warp(heat, affine((41, 41), shift=shift))
    def variance(h):
        at, mass = torch.arange(41.) - 20, h.sum((2, 3))
        return torch.stack([(h.sum(k)*at**2).sum(-1)/mass - ((h.sum(k)*at).sum(-1)/mass)**2 for k in (2, 3)]).mean()
    added = float(variance(moved) - variance(heat))
    assert added == pytest.approx(1/6, abs=.01)
    # a bump of the same mass is lower as its variance grows
    assert leak(sigma) == pytest.approx(sigma**2/(sigma**2 + added), abs=.005)


def test_effort_is_the_sum_of_the_schedule():
    rate = SCHEDULES["onecycle"](1.)
    assert effort([0], 600)[0] == 0
    assert effort([600], 600)[0] == pytest.approx(sum(float(rate((k + .5)/600)) for k in range(600)))
    assert np.allclose(effort([0, 100, 300], 300, "constant"), [0, 100, 300])


def test_fade_solves_its_recursion():
    "Step by step: the student goes a share c of the way to a target that is lower by the leak"
    c, sigma, h = .01, 1.5, 1.
    for _ in range(200): h += c*(leak(sigma)*h - h)
    assert h == pytest.approx(float(fade(200, c, sigma)), rel=1e-3)
    assert fade(200, c, sigma, lam=2) == pytest.approx(float(fade(400, c, sigma)))
    assert fade(200, c, 1e9) == pytest.approx(1.)


def test_pull_settles_the_recursion():
    "Step by step: down by the leak, back by the pull; where both are equal it stays"
    c, q, h = .01, .002, 1.
    for _ in range(300): h += c*(leak(1.5)*h - h) + q*(1 - h)
    assert h == pytest.approx(float(fade(300, c, 1.5, 1, q)), rel=1e-3)
    end = settled(c, 1.5, 1, q)
    assert c*(1 - leak(1.5))*end == pytest.approx(q*(1 - end))
    assert fade(1e7, c, 1.5, 1, q) == pytest.approx(end)
    assert settled(c, 1.5) == 0 and settled(0, 1.5) == 1


def test_pull_is_found_again(posecons):
    "Curves made by the recursion give back the pull they were made with"
    c, q = .02, .007
    heights = fade(efforts(posecons), c, posecons[0].settings["sigma"], posecons[0].settings["lam"], q)
    made = [replace(e, curve=[{**row, "peak_reestimated": float(h)} for row, h in zip(e.curve, heights)])
            for e in posecons]
    assert fit_fade(made, c) == pytest.approx(q, abs=1e-4)
    assert fit_fade([replace(e, curve=[{**r, "peak_reestimated": float(h)}
                                       for r, h in zip(e.curve, fade(efforts(posecons), c, 1.5))])
                     for e in posecons]) == pytest.approx(c, abs=1e-4)


@pytest.fixture(scope="module")
def posecons():
    return sorted((e for e in read_ledger(TOP / "results/trials", "demo")[0] if e.method == "posecons" and e.seed < 10),
                  key=lambda e: e.seed)


def test_the_constant_is_found_again(posecons):
    e = posecons[0]
    at = effort([r["step"] for r in e.curve], e.steps)
    made = [replace(e, curve=[{**r, "peak_reestimated": float(h)} for r, h in zip(e.curve, .8*fade(at, .03, 1.5))])]
    assert fit_fade(made) == pytest.approx(.03, rel=1e-3)
    steps, h = shares(posecons)
    assert h.shape == (len(posecons), len(steps)) and np.allclose(h[:, 0], 1)


def test_foretell_finds_a_number_that_tells_the_end(posecons):
    ends = [e.peak_share for e in posecons]
    made = [replace(e, curve=[{**e.curve[0], "ap": end, "foreground": -end}, *e.curve[1:]])
            for e, end in zip(posecons, ends)]
    found = {(r["name"], r["step"]): r["rho"] for r in foretell(made)}
    assert (found["ap", 0] == pytest.approx(1) and found["foreground", 0] == pytest.approx(-1)
            and abs(found["peak_labeled", 0]) < .9)


# ---- one forward for both ----

def answers(name: str, change: bool):
    "What network 1 says of the labelled crops in a step; with other unlabelled pictures where `change`"
    torch.manual_seed(0)
    m = METHODS[name]
    peers = Peers([Tiny(17, width=8) for _ in range(m.nets)]).train()
    g = torch.Generator().manual_seed(1)
    crops = lambda: torch.randint(0, 255, (4, 3, 48, 48), generator=g, dtype=torch.uint8)
    x = dict(labeled=crops(), unlabeled=crops())
    if change: x["unlabeled"] = x["unlabeled"]//4
    y = dict(xy=torch.full((4, 17, 2), 15.), vis=torch.full((4, 17), 2.))
    step = Step(m, Gaussian(sigma=1.5, stride=peers.stride), (32, 32), COCO17.flip_index)
    terms = step(peers, (x, y), torch.Generator().manual_seed(2))
    return terms.made.answers["labeled"][0].detach(), [float(v) for v in terms.parts.values()]


@pytest.mark.parametrize("name, joined",
    [("posecons", False), ("posedual_jc", False), ("posecons_joined", True), ("posedual_jc_joined", True)])
def test_labelled_people_feel_others_only_in_a_shared_forward(name, joined):
    (a, _), (b, _) = answers(name, False), answers(name, True)
    assert torch.equal(a, b) != joined


def test_joined_rows_are_their_rows_but_for_the_forward():
    names = [n for n in METHODS if n.endswith("_joined")]
    assert {"posecons_joined", "posedual_jc_joined", "naive_joined"} <= set(names)
    for n in names:
        assert METHODS[n].joined and replace(METHODS[n], joined=False) == METHODS[n.removesuffix("_joined")]
        assert line_of(n) != line_of(n.removesuffix("_joined"))


def test_heights_are_measured_under_each_kind_of_statistics():
    from measure_statistics import heights
    torch.manual_seed(0)
    net = build_peers("tiny", 17, 1, net={"width": 8}).nets[0].eval()
    labeled, unlabeled = torch.rand(4, 3, 32, 32), [torch.rand(6, 3, 32, 32)*.3 for _ in range(2)]
    before = {k: v.clone() for k, v in net.state_dict().items()}
    out = heights(net, labeled, unlabeled)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items()) and not net.training
    with torch.no_grad():
        assert out["running"]["labeled"] == pytest.approx(float(peaks(net(labeled)).mean()), abs=1e-4)
        assert out["apart"]["labeled"] == pytest.approx(float(peaks(net.train()(labeled)).mean()), abs=1e-4)
    assert out["apart"]["labeled"] != out["joined"]["labeled"] != out["running"]["labeled"]
