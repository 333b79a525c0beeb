"""bf16 trains on a CPU: weights, averages, last layer, losses stay in fp32, and what is recorded is true."""
import json

import pytest
import torch

from semipose.errors import UserError
from semipose.loop import Mixed, PRECISIONS, autocast, fit
from semipose.methods import METHODS
from semipose.networks import check_precision
from test_loop import make, same, state


def watched(learn):
    "dtypes of what a step computes: inside the network, its answer, its loss"
    seen = {}
    net = learn.model.nets[0]
    first = next(m for m in net.modules() if isinstance(m, torch.nn.Conv2d) and m is not net.final)
    def look(name): return lambda m, x, out: seen.update({name: out.dtype})
    for name, part in (("inside", first), ("last", net.final), ("answer", net)): part.register_forward_hook(look(name))
    fit(learn, 3)
    return seen | {k: v.dtype for k, v in learn.teaching.terms.items()}


@pytest.mark.parametrize("name", ["posecons", "posedual_jc", "mean_teacher"])
def test_bf16_is_bf16_inside_and_fp32_where_it_counts(name):
    learn = make(name, amp="bf16")
    seen = watched(learn)
    assert seen.pop("inside") == torch.bfloat16
    assert set(seen.values()) == {torch.float32} and len(seen) > 2, seen
    assert {v.dtype for v in learn.model.state_dict().values()} <= {torch.float32, torch.int64}, "never .bfloat16()"
    assert not torch.is_autocast_enabled("cpu")


def test_fp32_is_what_it_was_and_bf16_is_near_it():
    plain, again, half = (state(fit(make(amp=a), 3)) for a in (False, False, "bf16"))
    assert same(plain, again) and not same(plain, half)
    off = max((plain[k]-half[k]).abs().max() for k in plain if plain[k].is_floating_point() and "running" not in k)
    assert off < .02, off     # three steps of Adam at 1e-3 move a weight by .003 at most


def test_what_a_processor_cannot_do_is_one_sentence():
    cpu, mps = torch.device("cpu"), torch.device("mps")
    for amp in (False, None): check_precision(cpu, amp)
    check_precision(torch.device("cuda"), True)
    with pytest.raises(UserError, match="--precision bf16"): check_precision(cpu, True)
    with pytest.raises(UserError, match="cannot compute"): check_precision(mps, "bf16")
    with pytest.raises(UserError, match="fp32, bf16, fp16"): check_precision(cpu, "int8")


def test_a_processor_without_bf16_is_told(monkeypatch):
    from semipose import networks
    monkeypatch.setattr(networks, "fast_bf16", lambda: False)
    with pytest.warns(match="slower than fp32"): check_precision(torch.device("cpu"), "bf16")


def test_a_heatmap_rounded_to_bf16_would_move_joints():
    """near 1 the numbers of bf16 are 1/256 apart, so that neighbours tie and a peak jumps: why the last layer answers
    in fp32. A fitted peak does not mind"""
    from semipose.codecs import DARK, Gaussian
    xy = torch.rand(64, 1, 2, generator=torch.Generator().manual_seed(0))*90+20
    heat = Gaussian().encode(xy, torch.ones(64, 1), (32, 32))[0]
    off = {c: (c.decode(heat.to(torch.bfloat16).float())[0]-c.decode(heat)[0]).norm(dim=-1).max()
           for c in (Gaussian(), DARK())}
    assert off[Gaussian()] >= 1 and off[DARK()] < .05       # crop px


@pytest.mark.parametrize("typed, kept", [("fp32", False), ("bf16", "bf16")])
def test_a_run_records_what_it_did(typed, kept, tmp_path):
    from pathlib import Path
    from semipose.cli import Machine
    from semipose.protocols import protocol
    from semipose.recipe import read_recipe, terms_of_run
    from semipose.run import take_up, train
    machine = Machine("cpu", precision=typed)
    machine.check()
    assert machine.fields() == dict(device="cpu", amp=kept) and PRECISIONS[typed] == kept
    p = protocol("folder", net="tiny", size=(64, 48), batch=(2, 2), steps=2, every=1, start_steps=0, labels=8)
    sample = Path(__file__).parent.parent/"data"/"sample"
    run = train("posecons", p, sample, tmp_path/"run", progress=False, **machine.fields())
    assert json.loads((run.folder/"recipe.json").read_text())["amp"] == kept
    assert take_up(run.folder, "cpu", progress=False).recipe.amp == kept
    other = train("posecons", p, sample, tmp_path/"other", device="cpu", progress=False)
    assert (terms_of_run(read_recipe(run.folder)) == terms_of_run(other.recipe)) == (not kept), "it stands apart"


def test_autocast_is_entered_as_a_recipe_says():
    for amp, dtype in ((False, None), ("bf16", torch.bfloat16)):
        with autocast("cpu", amp): assert torch.is_autocast_enabled("cpu") == bool(amp)
        if dtype: assert autocast("cpu", amp).fast_dtype == dtype
    assert Mixed("bf16").amp_mode != Mixed(True).amp_mode and METHODS
