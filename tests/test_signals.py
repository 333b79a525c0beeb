"Rows that combine, blocks that change places, and signals that decide themselves: what each must keep"
import math
from dataclasses import replace

import pytest, torch
from steps import CODEC, SIZE, SUPERVISED, People, build, exact, steps_of
from torch.testing import assert_close
from semipose.errors import UserError
from semipose.geometry import compose, invert, move
from semipose.methods import GROUPS, METHODS, cost
from semipose.ranks import shard
from semipose.skeletons import COCO17
from semipose.teaching import Agreed, Step, Sure
from semipose.views import (A30, A60, BS, BlockShuffle, arrange, arrange_joints, carry,
                            joints_in, plain, render)

NEW = [n for group in ('winners together', 'winners in one forward', 'signals') for n in GROUPS.get(group, ())]

@pytest.fixture(autouse=True, scope='module')
def one_thread():
    n = torch.get_num_threads()
    torch.set_num_threads(1); yield; torch.set_num_threads(n)

def dice(seed=0): return torch.Generator().manual_seed(seed)

# ---- every row

@pytest.mark.parametrize('name', NEW)
def test_two_steps_of_every_row(name):
    "Finite, every network learns, and copies do not"
    m = METHODS[name]
    steps, model = steps_of(m, lr=1e-3)
    for s in steps:
        named = {f'{k}{i+1}' for k in ('sup', 'cons') for i in range(m.nets)}
        assert math.isfinite(s['loss']) and named <= set(s['terms'])
        for i in range(m.nets):
            assert any(g.abs().max() > 0 for k, g in s['grads'].items() if k.startswith(f'nets.{i}.'))
        assert not any(k.startswith(('ema', 'frozen')) for k in s['grads'])

@pytest.mark.parametrize('name', ['posecons_bs_drawn', 'posedual_ra_mean_joined'])
def test_the_same_two_steps_are_the_same_to_the_bit(name):
    assert exact(*steps_of(METHODS[name], lr=1e-3)) == exact(*steps_of(METHODS[name], lr=1e-3))

def made(m, seed=3, codec=CODEC):
    "One step, and all that it made"
    peers = build(m) if codec.planes == 1 else None
    x, y = next(iter(People().from_step(0)))
    step = Step(m, codec, SIZE, COCO17.flip_index, SUPERVISED)
    return step(peers.train(), (x, y), dice(seed)), peers, x

# ---- blocks

@pytest.mark.parametrize('grid', [(2, 2), (4, 3), (1, 4), (4, 1), (1, 1)])
def test_blocks_go_and_come_back_to_the_bit(grid):
    d = BlockShuffle(*grid)(plain(6, (64, 48)), (64, 48), generator=dice())
    x = torch.randn(6, 5, 64, 48)
    there = arrange(x, d.blocks)
    assert torch.equal(arrange(there, d.blocks, back=True), x)
    assert torch.equal(there.flatten(2).sort().values, x.flatten(2).sort().values), 'pixels are copied, none is made'
    assert torch.equal(there, x) == (grid == (1, 1))
    a, b = 64//grid[0], 48//grid[1]
    for n in range(6):
        for place in range(grid[0]*grid[1]):        # written again with loops
            (r, c), (R, C) = divmod(place, grid[1]), divmod(int(d.blocks.order[n,place]), grid[1])
            assert torch.equal(there[n,:,r*a:(r+1)*a,c*b:(c+1)*b], x[n,:,R*a:(R+1)*a,C*b:(C+1)*b])

def test_joints_go_with_their_pixels():
    easy = A30.sample(plain(8, (64, 48)), (64, 48), generator=dice())
    d = (A60 >> BlockShuffle(4, 3)).sample(easy, (64, 48), generator=dice(1))
    bare = replace(d, blocks=None)
    xy = 20 + 50*torch.rand(8, 17, 2, generator=dice(2))
    was, vis = joints_in(xy, torch.ones(8, 17), bare, COCO17.flip_index)
    now, _ = joints_in(xy, torch.ones(8, 17), d, COCO17.flip_index)
    inside = ((was > -.5) & (was < torch.tensor([47.5, 63.5]))).all(-1)
    assert inside.sum() > 60 and torch.equal(now[~inside], was[~inside])
    whole = was.round().long()
    spots = torch.zeros(8, 17, 64, 48)
    n, k = inside.nonzero().T
    spots[n, k, whole[n,k,1], whole[n,k,0]] = 1
    at = arrange(spots, d.blocks)[n, k].flatten(1).argmax(1)
    assert torch.equal(torch.stack([at % 48, at // 48], -1), (now[n,k] + (whole[n,k] - was[n,k])).round().long())
    assert_close(arrange_joints(now, d.blocks, back=True)[inside], was[inside], rtol=0, atol=1e-4)

def test_heatmaps_are_carried_into_the_blocks_and_back():
    easy = A30.sample(plain(4, (64, 48)), (64, 48), generator=dice())
    d = (A60 >> BS).sample(easy, (64, 48), generator=dice(1))
    heat = torch.rand(4, 17, 32, 24)
    there = carry(heat, easy, d, 2, COCO17.flip_index)
    bare = carry(heat, easy, replace(d, blocks=None), 2, COCO17.flip_index)
    assert torch.equal(there, arrange(bare, d.blocks))
    assert torch.equal(carry(there, d, easy, 2, COCO17.flip_index), carry(bare, replace(d, blocks=None), easy, 2,
                                                                          COCO17.flip_index))

@pytest.mark.parametrize('drawn', [False, True])
def test_a_student_of_blocks_learns_the_same_picture_and_target_in_other_places(drawn):
    "What the step shows and asks is that of A60, both shuffled alike, and all else of the step is as it was"
    m = replace(METHODS['posecons'], drawn=drawn)
    a, _, x = made(m)
    b, _, _ = made(replace(m, student_views=(A60 >> BS,)))
    d, = b.made.hard[0]
    assert torch.equal(d.M, a.made.hard[0][0].M) and d.blocks is not None
    assert torch.equal(b.made.shown['student'][0][0], arrange(a.made.shown['student'][0][0], d.blocks))
    (was, w), (now, v) = a.made.targets[0][0], b.made.targets[0][0]
    assert torch.equal(now, arrange(was, d.blocks)) and torch.equal(w, v) and not torch.equal(now, was)

def test_blocks_of_one_process_are_those_of_all():
    d = BlockShuffle(2, 2)(plain(6, (64, 48)), (64, 48), generator=dice())
    part = shard(d, slice(2, 4))
    assert torch.equal(part.blocks.order, d.blocks.order[2:4]) and part.blocks.grid == (2, 2)
    x = torch.rand(6, 3, 64, 48)
    assert torch.equal(arrange(x[2:4], part.blocks), arrange(x, d.blocks)[2:4])

def test_what_blocks_do_not_go_with():
    with pytest.raises(ValueError, match='last step'): BS >> A60
    with pytest.raises(ValueError, match='student views alone'): replace(METHODS['posecons'], labeled_view=BS)
    with pytest.raises(ValueError, match='both views pull'): replace(METHODS['naive'], student_views=(A60 >> BS,))
    with pytest.raises(UserError, match='do not divide'):
        render(torch.zeros(2, 3, 96, 72, dtype=torch.uint8), BlockShuffle(5, 5)(plain(2, (64, 48)), (64, 48)), (64, 48))

# ---- teachers and weights

def test_the_mean_of_the_pair_is_one_label_for_both():
    m = METHODS['posedual_ra_mean']
    terms, peers, _ = made(m)
    forward = terms.made.forward
    mean = (forward('net', 0) + forward('net', 1))/2
    easy, hard = terms.made.easy[0], terms.made.hard[0][0]
    xy = move(CODEC.decode(mean)[0], compose(invert(easy.M), hard.M))
    want, _ = CODEC.encode(xy, torch.ones(xy.shape[:2]), (16, 12))
    (one, w), (two, v) = terms.made.targets[0][0], terms.made.targets[1][0]
    assert torch.equal(one, two) and torch.equal(w, v) and torch.equal(one, want)
    assert cost(m, (16, 24)) == cost('posedual', (16, 24)), 'no forward pass beyond those of the pair'

def test_averages_cross():
    m = METHODS['posedual_ra_ema']
    terms, peers, _ = made(m)
    f = terms.made.forward
    assert set(f.memo) == {('ema', 0), ('ema', 1)} and m.decay == .99
    assert [m.teacher.sources(i, 2) for i in (0, 1)] == [[('ema', 1)], [('ema', 0)]]

def bump(x, y, high=1.):
    return high*CODEC.encode(2*torch.tensor([[[float(x), float(y)]]]), torch.ones(1, 1), (32, 24))[0]

def test_agreed_counts_less_the_farther_apart_and_knows_its_own_pace():
    a = torch.cat([bump(8, 9)]*5)
    b = torch.cat([bump(8 + d, 9, .5) for d in (0, 1, 2, 4, 8)])
    w = Agreed()(a, b)[:,0]
    assert_close(w, .75*torch.exp(-torch.tensor([0., 1, 4, 16, 64])/(2*4)))         # the median is two pixels
    assert (w.diff() < 0).all()
    far = Agreed()(a, torch.cat([bump(8 + d, 9, .5) for d in (0, 4, 8, 12, 15)]))[:,0]
    assert far[1] > w[3], 'a joint whose networks are far apart is not asked for more than it can'
    same = Agreed()(a, a)[:,0]
    assert_close(same, torch.ones(5))                                                # no distance, no division by 0
    assert torch.equal(Agreed()(a, b), Agreed()(b, a))

def test_sure_is_the_peak_of_the_target():
    heat = torch.cat([bump(8, 9, h) for h in (-.1, 0., .3, .9, 1.4)])
    assert_close(Sure()(heat)[:,0], torch.tensor([0., 0., .3, .9, 1.]))
    two = (bump(6, 9) + bump(18, 20))/2
    assert_close(Sure()(two)[:,0], torch.tensor([.5])), 'networks that disagree are half as sure'
