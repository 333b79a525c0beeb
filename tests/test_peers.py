"""Peers: networks that start differently, averages that move by the formula, copies that never learn by themselves."""
from copy import deepcopy

import pytest
import torch
import torchvision
from torch import nn

from semipose.errors import UserError
from semipose.nets.peers import Peers, build, build_peers
from semipose.nets.simple import Tiny

X = torch.rand(4, 3, 64, 48, generator=torch.Generator().manual_seed(0))


def tiny(n=2, seed=0, **kw):
    return build_peers("tiny", joints=3, n=n, seed=seed, net=dict(width=8), **kw)


def same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def learn(net, lr=0.1):
    "One step, so that parameters, statistics and counters all move"
    net.train()
    for p in net.parameters():
        p.grad = None
    net(X).sub(1).square().mean().backward()
    with torch.no_grad():
        for p in net.parameters():
            p -= lr * p.grad


# ---- the start


def test_peers_start_differently_and_repeatably():
    a, b = tiny(seed=3), tiny(seed=3)
    for p, q in zip(a.state_dict().values(), b.state_dict().values()):
        same(p, q)
    differ = [n for (n, p), q in zip(a.nets[0].named_parameters(), a.nets[1].parameters()) if p.dim() == 4
              and (p - q).abs().max() == 0]
    assert differ == [], "two peers share the start of a convolution"
    assert (tiny(seed=4).nets[0].stem[0].weight != a.nets[1].stem[0].weight).any(), "seed+1 is not the next peer"


def test_the_first_of_two_is_the_single_one_and_the_random_state_is_left_alone():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, two = tiny(n=1), tiny(n=2)
    same(torch.get_rng_state(), before)
    for p, q in zip(one.nets[0].state_dict().values(), two.nets[0].state_dict().values()):
        same(p, q)


def test_shared_imagenet_weights_still_give_different_heads(tmp_path):
    files = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        files.append(tmp_path / f"{seed}.pth")
        torch.save(torchvision.models.resnet18().state_dict(), files[-1])
    shared = build_peers("resnet18", joints=2, n=2, weights=files[0], net=dict(width=8)).nets
    same(shared[0].encoder.conv1.weight, shared[1].encoder.conv1.weight)
    assert ((shared[0].final.weight != shared[1].final.weight).all()
            and (shared[0].head[0].weight != shared[1].head[0].weight).all())
    own = build_peers("resnet18", joints=2, n=2, weights=tuple(files), net=dict(width=8)).nets
    assert (own[0].encoder.conv1.weight != own[1].encoder.conv1.weight).all()
    same(own[1].encoder.conv1.weight, torch.load(files[1], weights_only=True)["conv1.weight"])


# ---- copies


def test_ema_is_the_formula():
    """After n updates with decay d: d^n start + sum (1-d) d^(n-1-i) net_i, for parameters and statistics; counters
    are the network's own"""
    peers, d, n = tiny(n=1, ema=True), 0.7, 4
    want = {k: v.double() * d**n for k, v in peers.ema[0].state_dict().items()}
    for i in range(n):
        learn(peers.nets[0])
        for k, v in peers.nets[0].state_dict().items():
            want[k] = want[k] + (1 - d) * d ** (n - 1 - i) * v.double()
        peers.update(d)
    moved = 0
    for k, v in peers.ema[0].state_dict().items():
        if v.is_floating_point():
            torch.testing.assert_close(v.double(), want[k], rtol=1e-4, atol=1e-6)
            moved += not torch.equal(v, peers.nets[0].state_dict()[k])
        else:
            assert v == n
    assert moved > 30


def test_ema_ends():
    peers = tiny(ema=True)
    start = deepcopy(peers.ema.state_dict())
    for net in peers.nets:
        learn(net)
    peers.update(1.0)
    for k, v in peers.ema.state_dict().items():
        if v.is_floating_point():
            same(v, start[k])
    peers.update(0.0)
    for k, v in peers.ema.state_dict().items():
        same(v, peers.nets.state_dict()[k])


@pytest.mark.parametrize("who", ["ema", "frozen"])
def test_copies_do_not_learn(who):
    "No gradient, nothing for an optimiser, no memory shared with the networks, and no batch statistics of their own"
    peers = tiny(**{who: True}).train()
    copies = getattr(peers, who)
    before = peers.answer(1, X, who=who)
    assert not before.requires_grad and not any(p.requires_grad for p in copies.parameters())
    statistics = copies[1].stem[1].running_mean.clone()
    learn(peers.nets[1])
    peers.answer(1, X + 1, who=who)
    same(copies[1].stem[1].running_mean, statistics)
    same(peers.answer(1, X, who=who), before)
    mine = {p.data_ptr() for p in peers.nets.parameters()}
    assert not mine & {p.data_ptr() for p in copies.parameters()}
    (peers.update if who == "ema" else lambda _: peers.freeze())(0.0)
    same(peers.answer(1, X, who=who), deepcopy(peers.nets[1]).eval()(X))


def test_freeze_makes_and_remakes():
    peers = tiny(n=1)
    learn(peers.nets[0])
    assert peers.frozen is None
    peers.freeze()
    early = peers.answer(0, X, who="frozen")
    learn(peers.nets[0])
    same(peers.answer(0, X, who="frozen"), early)
    peers.freeze()
    assert (peers.answer(0, X, who="frozen") != early).any() and all(p.grad is None for p in peers.frozen.parameters())


def test_modes():
    peers = tiny(ema=True, frozen=True)
    assert peers.train().nets[0].stem.training and not peers.ema[0].stem.training and not peers.frozen[1].stem.training
    assert not peers.eval().nets[0].stem.training
    asked = tiny(ema=True, train_copies=True).train()
    assert asked.ema[0].stem.training and not asked.eval().ema[0].stem.training


# ---- asking


def test_swapping_peers_swaps_answers():
    peers = tiny().eval()
    with torch.no_grad():
        a, b = peers(X)
        same(peers(0, X), a)
        same(peers(1, X), b)
        assert (a != b).any()
        swapped = Peers([peers.nets[1], peers.nets[0]]).eval()
        same(swapped(0, X), b)
        same(swapped(1, X), a)


def test_separate_pictures_keep_their_statistics_apart_and_joined_ones_share_them():
    bright = [X, X + 2]
    net = tiny(n=1).nets[0]
    nn.init.normal_(net.final.weight)
    apart, joint = Peers([deepcopy(net)]).train(), Peers([deepcopy(net)], joined=True).train()
    for mine, alone in zip(apart(0, bright), [deepcopy(net).train()(x) for x in bright]):
        same(mine, alone)
    together = deepcopy(net).train()(torch.cat(bright))
    same(torch.cat(joint(0, bright)), together)
    assert (torch.cat(apart(0, bright)) - together).abs().max() > 0.1
    same(torch.cat(apart.answer(0, bright, joined=True)), deepcopy(net).train()(torch.cat(bright)))
    assert [len(h) for h in joint(0, [X[:1], X])] == [1, 4]
    for p in (apart, joint):  # in evaluation mode there is nothing to share
        p.nets[0].load_state_dict(net.state_dict())
        p.eval()
    for a, b in zip(apart(0, bright), joint(0, bright)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_one_state_dict_holds_them_all():
    a, b = tiny(ema=True, frozen=True), tiny(seed=9, ema=True, frozen=True)
    for net in a.nets:
        learn(net)
    a.update(0.5)
    learn(a.nets[0])
    b.load_state_dict(a.state_dict(), strict=True)
    a.eval(), b.eval()
    answers = [a.answer(i, X, who=who) for who in ("nets", "ema", "frozen") for i in (0, 1)]
    for mine, theirs in zip(answers, [b.answer(i, X, who=who) for who in ("nets", "ema", "frozen") for i in (0, 1)]):
        same(mine, theirs)
    assert all((p != q).any() for i, p in enumerate(answers) for q in answers[:i]), "six different networks"


def test_mistakes_say_what_to_do():
    net = Tiny(2, width=8)
    with pytest.raises(UserError, match="same network twice"):
        Peers([net, net])
    with pytest.raises(UserError, match="at least one"):
        Peers([])
    with pytest.raises(UserError, match="ema=True"):
        tiny().update(0.9)
    with pytest.raises(UserError, match="frozen=True"):
        tiny().answer(0, X, who="frozen")
    with pytest.raises(UserError, match="3 peers need 3 names"):
        build_peers(("tiny", "tiny"), n=3)


def test_peers_of_different_kinds():
    pair = build_peers(("tiny", "tiny"), joints=2, n=2)
    assert len(pair) == 2 and pair.stride == 2 and build("tiny").stride == 2


def test_unlike_peers_need_one_heatmap_size_and_may_have_their_own_arguments():
    with pytest.raises(UserError, match="strides 2, 4"):
        build_peers(("tiny", "resnet18"), joints=2, n=2)
    with pytest.raises(UserError, match="2 peers need 2 names, 2 weights and 2 nets"):
        build_peers("tiny", n=2, net=(dict(width=8),))
    pair = build_peers("tiny", joints=3, n=2, net=(dict(width=8), dict(width=16, levels=2)))
    same(pair.nets[0].stem[0].weight, tiny(n=1).nets[0].stem[0].weight)
    a, b = pair.eval()(X)
    assert a.shape == b.shape and pair.nets[1].final.in_channels == 16 and pair.nets[0].final.in_channels == 8


def test_copies_are_made_once():
    peers = tiny(n=1)
    peers.copy()
    assert peers.ema is None and peers.frozen is None
    peers.copy(ema=True, frozen=True)
    ema, frozen = peers.ema, peers.frozen
    learn(peers.nets[0])
    peers.copy(ema=True, frozen=True)
    assert peers.ema is ema and peers.frozen is frozen and (frozen[0].final.weight != peers.nets[0].final.weight).any()


def test_copies_follow_as_soon_as_they_are_asked_to():
    peers = tiny(frozen=True).train()
    assert not any(n.training for n in peers.frozen)
    peers.copy(frozen=True, train_copies=True)
    assert all(n.training for n in peers.frozen)
    assert not any(n.training for n in peers.eval().frozen)
