"Rows that combine, blocks that change places, and signals that decide themselves: what each must keep"
import math
from dataclasses import replace

import pytest, torch
from steps import CODEC, SIZE, SUPERVISED, People, build, exact, steps_of
from torch.testing import assert_close
from semipose.errors import UserError
from semipose.geometry import compose, invert, move
from semipose.data.synth import write_synth
from semipose.losses import mse
from semipose.methods import GROUPS, METHODS, cost
from semipose.nets.simple import Tiny
from semipose.protocols import Protocol, protocol
from semipose.ranks import shard
from semipose.run import prepare
from semipose.signals import (auroc, calibrate, gradient_agreement, lesson_gradients, misjudged, second, twin)
from semipose.skeletons import COCO17
from semipose.teaching import Agreed, Step, Sure
from semipose.views import (A30, A60, BS, RA, BlockShuffle, arrange, arrange_joints, carry,
                            joints_in, plain, render)

NEW = [n for group in ('winners', 'winners, joined', 'signals') for n in GROUPS.get(group, ())]

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

# ---- what the tests of signals measure

def test_auroc_counts_pairs():
    g = torch.Generator().manual_seed(0)
    score, right_ = torch.rand(60, generator=g).mul(8).round(), torch.rand(60, generator=g) < .4
    wins = [float(a > b) + .5*float(a == b) for a in score[right_] for b in score[~right_]]
    assert abs(auroc(score, right_) - sum(wins)/len(wins)) < 1e-12
    assert math.isnan(auroc([1, 2], [1, 1]))

def test_calibration_rises_and_keeps_the_mean():
    g = torch.Generator().manual_seed(1)
    score = torch.rand(500, generator=g)
    right_ = torch.rand(500, generator=g) < score
    p = calibrate(score, right_)(score)
    order = score.argsort().numpy()
    assert (p[order][1:] >= p[order][:-1]).all() and abs(p.mean() - right_.float().mean()) < 1e-6
    assert misjudged([.75]*4, [1, 1, 1, 0]) == 0 and misjudged([1.]*4, [1, 0, 0, 0]) == .75

@pytest.mark.parametrize('per_person', [False, True])
def test_gradient_in_closed_form_is_autograds(per_person):
    "At the last layer of a real network, for float32, with weights of joints or of each lesson"
    net = Tiny(width=6, levels=2).train()
    torch.nn.init.normal_(net.final.weight, std=.1)
    kept, x = [], torch.rand(5, 3, 32, 24)
    hook = net.final.register_forward_pre_hook(lambda m, a: kept.append(a[0]))
    heat = net(x); hook.remove()
    target = torch.rand(5, 17, 16, 12)
    weight = torch.rand(5, 17) if per_person else torch.rand(17)
    dW, db = torch.autograd.grad(mse(heat, target, weight), (net.final.weight, net.final.bias))
    closed = lesson_gradients(kept[0].detach(), heat.detach(), target, weight)
    want = torch.cat([dW.flatten(1), db[:, None]], 1)
    assert closed.shape == (5, 17, 7) and (closed.sum(0) - want).abs().max() <= 1e-5*want.abs().max()

def test_lessons_that_pull_with_the_labels_count_and_those_against_do_not():
    g = torch.Generator().manual_seed(2)
    labels = torch.randn(3, 17, 7, generator=g)
    total = labels.sum(0, keepdim=True)
    assert_close(gradient_agreement(2*total, labels), torch.ones(1, 17))
    assert gradient_agreement(-total, labels).max() == 0
    w = gradient_agreement(torch.randn(4, 17, 7, generator=g), labels)
    assert ((w >= 0) & (w <= 1)).all()

def test_a_second_hill_and_a_twin():
    one, two = bump(6, 8), bump(6, 8) + bump(18, 24, .4)
    assert second(one, 4.5).item() < 1e-3 and abs(second(two, 4.5).item() - .4) < .02
    xy, high = 40*torch.rand(1, 17, 2), torch.full((1, 17), .5)
    assert not twin(xy, high, COCO17.flip_index, .1).any()
    xy[:, 9], high[:, 9] = xy[:, 10], .4
    assert twin(xy, high, COCO17.flip_index, .1)[0].nonzero()[:, 0].tolist() == [9]
    xy[:, 0] = xy[:, 1]                                     # the nose has no partner
    assert not twin(xy, high, COCO17.flip_index, .1)[0, 0]

def test_auto_costs_no_more_than_the_pair():
    a, b = cost('auto', (16, 24)), cost('posedual', (16, 24))
    assert a.work <= 1.2*b.work and METHODS['auto'].student_views[0].steps == (RA >> A60).steps

# ---- photographs

def test_protocols_of_photographs():
    p, both, every = (protocol(n) for n in ('coco-small-100', 'coco-small-100-lsp', 'coco-small-all'))
    assert (p.labels, p.unlabeled, p.beside, p.steps) == (100, None, False, 2000) and every.labels is None
    assert replace(both, name=p.name, title=p.title, unlabeled=None, beside=False) == p
    assert 'unlabelled people from lsp beside the training people' in both.sentence()
    with pytest.raises(UserError, match='beside=True without unlabeled'): protocol('coco-small-100', beside=True)
    old = {k: v for k, v in p.as_dict().items() if k != 'beside'}
    assert Protocol.from_dict(old) == p, 'a recipe of before reads as what it was'

def test_pictures_stand_beside_the_training_people(tmp_path):
    "In a folder beside the data folder; first the training people, all of them, without a label; then the others"
    for name, n, seed in (('home', 12, 0), ('lsp', 7, 1)):
        write_synth(tmp_path/name, train=n, val=4, seed=seed, progress=False)
    p = protocol('coco-small-100-lsp', labels=4, size=(32, 24))
    data = prepare(p, tmp_path/'home', 0, progress=False)
    people = data.unlabeled.people
    assert len(people) == 12 + 7 and not (people.vis > 0).any() and len(data.labeled) == 4
    alone = prepare(replace(p, beside=False), tmp_path/'home', 0, progress=False).unlabeled.people
    train = prepare(replace(p, unlabeled=None, beside=False), tmp_path/'home', 0, progress=False).unlabeled
    assert len(alone) == 7 and len(train) == 12
    both = data.unlabeled.batch(torch.arange(19))['image']
    assert torch.equal(both[:12], train.batch(torch.arange(12))['image'])
