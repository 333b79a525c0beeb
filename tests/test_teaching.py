"Laws of teaching: who is pulled, by whom, in which picture, and how much"
import pytest, torch
from dataclasses import replace
from torch.testing import assert_close
from types import SimpleNamespace as NS
from semipose.codecs import Gaussian, argmax
from semipose.geometry import roomy
from semipose.losses import mse, Terms
from semipose.errors import UserError
from semipose.methods import METHODS, cost, method, table
from semipose.nets.peers import Peers
from semipose.nets.simple import Tiny
from semipose.skeletons import COCO17
from semipose.teaching import (LATER, Average, BothWays, Confident, Frozen, Method, Peer, Sampler, Self,
                               Step, Teacher, Teaching, Weight, mix, one_batch)
from semipose.views import A30, A60, JointCutout, carry, plain

SIZE, CODEC, K = (32, 32), Gaussian(sigma=1.5, stride=2), 17

def net(seed):
    torch.manual_seed(seed)
    n = Tiny(width=8, levels=3)
    torch.nn.init.normal_(n.final.weight, std=.05)   # large enough answers to teach with
    return n

def peers(n=1, seed=0, **kw): return Peers([net(seed+i) for i in range(n)], **kw)

@pytest.fixture(scope='module')
def batch():
    g = torch.Generator().manual_seed(0)
    H, W = roomy(SIZE)
    x = {k: torch.randint(0, 255, (6, 3, H, W), dtype=torch.uint8, generator=g) for k in ('labeled', 'unlabeled')}
    return x, dict(xy=torch.rand(6, K, 2, generator=g)*24 + 12, vis=torch.randint(0, 3, (6, K), generator=g))

def teach(m, supervised=None, seed=0, step=0):
    return Teaching(m, CODEC, SIZE, COCO17, torch.ones(K) if supervised is None else supervised, seed=seed, step=step)

def gradient(loss, module):
    params = list(module.parameters())
    grads = torch.autograd.grad(loss, params, allow_unused=True, retain_graph=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p,g in zip(params, grads)])

def terms(m, model, batch, **kw):
    t = teach(m, **kw)
    images, labels, pred, total = one_batch(t, model, *batch)
    return t, images, labels, pred, total

# gradient

@pytest.mark.parametrize('name', ['posecons', 'posecons_jc', 'mean_teacher'])
def test_a_constant_teacher_is_not_pulled(name, batch):
    model = peers(ema=METHODS[name].decay is not None)
    t, images, labels, pred, total = terms(METHODS[name], model, batch)
    assert 'teacher' not in pred
    assert all(not h.requires_grad for per_net in labels['teach'] for h,_ in per_net)

def test_plain_consistency_pulls_both_ways_and_alike(batch):
    "BothWays: the same loss as Self in value; its gradient is Self's plus the teacher's share"
    naive, cons = METHODS['naive'], METHODS['posecons']
    assert replace(naive, teacher=Self()) == cons
    outs = {}
    for key,m in dict(naive=naive, cons=cons).items():
        model = peers().eval()  # running statistics: both passes see the same network
        t, images, labels, pred, total = terms(replace(m, sup=0.), model, batch)
        outs[key] = total, gradient(total, model), pred, labels
    assert_close(outs['naive'][0], outs['cons'][0], rtol=1e-5, atol=1e-9)
    assert (outs['naive'][1] - outs['cons'][1]).abs().max() > 1e-6
    pull = torch.autograd.grad(outs['naive'][0], outs['naive'][2]['teacher'][0])[0]
    assert pull.abs().max() > 0

def test_a_peer_is_pulled_by_its_own_loss_only(batch):
    "the unlabelled loss of network 1 does not move network 2, and the other way round"
    model = peers(2).eval()
    t, images, labels, pred, _ = terms(METHODS['posedual_jc'], model, batch)
    for i in range(2):
        (target, w), = labels['teach'][i]
        u = mse(pred['student'][i][0], target, w)
        assert gradient(u, model.nets[i]).abs().max() > 0
        assert gradient(u, model.nets[1-i]).abs().max() == 0

def test_frozen_and_average_teachers_answer_from_their_copies(batch):
    for teacher, kind in ((Frozen(), 'frozen'), (Average(.9), 'ema')):
        model = peers(ema=kind == 'ema', frozen=kind == 'frozen').eval()
        copy = getattr(model, kind)[0]
        with torch.no_grad(): copy.final.bias += .5
        t, images, labels, pred, _ = terms(Method(teacher, A30, (A60,)), model, batch)
        with torch.no_grad():
            want = carry(copy(t.made.forward.images[0]), t.made.easy[0], t.made.hard[0][0], 2, COCO17.flip_index)
        assert_close(labels['teach'][0][0][0], want, atol=1e-5, rtol=0)

# what is taught

def test_the_teacher_of_network_1_is_network_2(batch):
    model = peers(2).eval()
    t, images, labels, pred, _ = terms(METHODS['posedual'], model, batch)
    for i in range(2):
        with torch.no_grad():
            want = carry(model.nets[1-i](t.made.forward.images[0]), t.made.easy[0], t.made.hard[i][0],
                         2, COCO17.flip_index)
        assert_close(labels['teach'][i][0][0], want, atol=1e-6, rtol=0)

def test_swapping_the_networks_swaps_their_losses(batch):
    a, b = peers(2).eval(), peers(2).eval()
    b.nets[0], b.nets[1] = b.nets[1], b.nets[0]
    seen = []
    for model in (a, b):
        t, images, labels, pred, _ = terms(METHODS['posedual_jc'], model, batch)
        seen.append(t.terms)
    for x in ('sup', 'cons'):
        assert_close(seen[0][x+'1'], seen[1][x+'2'], rtol=1e-5, atol=1e-9)
        assert_close(seen[0][x+'2'], seen[1][x+'1'], rtol=1e-5, atol=1e-9)
        assert abs(seen[0][x+'1'] - seen[0][x+'2']) > 1e-7

def test_both_networks_share_the_matrices_and_differ_only_in_what_is_hidden(batch):
    model = peers(2)
    t, images, labels, pred, _ = terms(METHODS['posedual_jc'], model, batch)
    (d1,), (d2,) = t.made.hard
    assert torch.equal(d1.M, d2.M) and torch.equal(d1.flip, d2.flip)
    assert not torch.equal(d1.holes[0][0][...,:2], d2.holes[0][0][...,:2])
    assert torch.equal(d1.holes[0][0][...,2:], d2.holes[0][0][...,2:])
    t, images, *_ = terms(METHODS['posedual'], model, batch)
    assert torch.equal(images['student'][0][0], images['student'][1][0])

def test_joint_cutout_hides_where_the_students_teacher_looked(batch):
    m = Method(Peer(), A30, (JointCutout(5, jitter=0.) >> A60,), nets=2, sup=.5)
    model = peers(2).eval()
    t, *_ = terms(m, model, batch)
    for i in range(2):
        with torch.no_grad(): found = argmax(model.nets[1-i](t.made.forward.images[0]), 2)[0]
        box = t.made.hard[i][0].holes[0].box
        gap = (box[:,:,None,:2] - found[:,None]).norm(dim=-1).amin(-1)      # the frame of the holes is the easy crop
        assert gap.max() < 1e-3

def test_unsupervised_channels_are_taught_nothing(batch):
    "labels for six joints only: no gradient reaches the other channels, from either side"
    supervised = torch.zeros(K); supervised[5:11] = 1
    x, y = batch
    y = dict(y, vis=y['vis']*supervised.long())
    model = peers(2)
    t, images, labels, pred, total = terms(METHODS['posedual_jc'], model, (x, y), supervised=supervised)
    for n in model.nets:
        g = torch.autograd.grad(total, n.final.bias, retain_graph=True)[0]
        assert (g[supervised == 0] == 0).all() and (g[supervised == 1] != 0).all()

# the loss, written again with loops

def test_loss_equals_the_formula_written_with_loops(batch):
    model = peers(2)
    m = METHODS['posedual_jc']
    t, images, labels, pred, total = terms(m, model, batch)
    def slow(H, T, w):
        H, T = H.double(), T.double()
        s = 0.
        for k in range(K):
            d = 0.
            for b in range(len(H)):
                wk = float(w[b,k] if w.dim() == 2 else w[k])
                d += float(((wk*H[b,k] - wk*T[b,k])**2).sum())
            s += .5*d/(len(H)*H[0,0].numel())
        return s/K
    S = [slow(h, labels['target'], labels['weight']) for h in pred['labeled']]
    U = [slow(pred['student'][i][0], *labels['teach'][i][0]) for i in range(2)]
    assert abs(float(total) - (.5*(S[0] + S[1]) + U[0] + U[1])) < 1e-8
    three = Step(m, CODEC, SIZE, COCO17.flip_index, lam=3.)(
        peers(2), batch, torch.Generator().manual_seed(mix(0, 0))).total
    assert abs(float(three) - (.5*(S[0] + S[1]) + 3*(U[0] + U[1]))) < 1e-7

def test_several_student_views_sum(batch):
    m = Method(Self(), A30, (A60, JointCutout(3) >> A60))
    model = peers().eval()
    t, images, labels, pred, total = terms(replace(m, sup=0.), model, batch)
    parts = [mse(h, *labels['teach'][0][v]) for v,h in enumerate(pred['student'][0])]
    assert len(parts) == 2 and not torch.equal(t.made.hard[0][0].M, t.made.hard[0][1].M)
    assert_close(total, sum(parts))

def test_several_teacher_views_are_averaged_where_they_saw(batch):
    "in the first view's frame; a pixel that the second view did not see keeps the first's answer, it is not halved"
    model = peers().eval()
    t, images, labels, pred, _ = terms(Method(Self(), (A30, A60), (A60,)), model, batch)
    with torch.no_grad(): h = [model.nets[0](im) for im in t.made.forward.images]
    there, cover = (carry(o, t.made.easy[1], t.made.easy[0], 2, index)
                    for o,index in ((h[1], COCO17.flip_index), (torch.ones_like(h[1][:,:1]), (0,))))
    got, unseen, whole = t.made.forward('net', 0), (cover == 0).expand_as(h[0]), (cover > 1-1e-5).expand_as(h[0])
    assert unseen.any() and whole.any()
    assert_close(got[unseen], h[0][unseen])
    assert_close(got[whole], ((h[0] + there)/2)[whole], atol=1e-5, rtol=0)

def test_weights_count_exactly_the_declared_joints_and_pixels(batch):
    model = peers().eval()
    with torch.no_grad(): model.nets[0].final.bias.copy_(torch.linspace(-.5, .5, K))
    t, images, labels, pred, _ = terms(Method(Self(), A30, (A60,), weight=Confident(.2)), model, batch)
    heat, w = labels['teach'][0][0]
    assert torch.equal(w, (heat.amax((-1,-2)) > .2).float()) and 0 < w.mean() < 1
    class Foreground(Weight):
        def __call__(self, heat): return (heat > .1).float()
    t, images, labels, pred, total = terms(Method(Self(), A30, (A60,), weight=Foreground(), sup=0.), model, batch)
    heat, w = labels['teach'][0][0]
    assert w.shape == heat.shape
    assert_close(total, .5*((pred['student'][0][0] - heat)[heat > .1]**2).sum()/heat.numel())

# draws

def test_the_same_seed_shows_every_method_the_same_easy_pictures(batch):
    seen = {}
    for name in ('naive', 'posecons', 'posecons_jc', 'posedual', 'posedual_jc'):
        t, images, labels, *_ = terms(METHODS[name], peers(METHODS[name].nets), batch, seed=4, step=7)
        seen[name] = images['labeled'], labels['target'], t.made.forward.images[0]
    for v in seen.values():
        for a, b in zip(v, seen['naive']): assert torch.equal(a, b)
    other, *_ = terms(METHODS['naive'], peers(), batch, seed=4, step=8)
    assert not torch.equal(other.made.forward.images[0], seen['naive'][2])

def test_hard_easy_is_the_published_pair_the_other_way_round():
    d = Sampler(5, SIZE, generator=torch.Generator().manual_seed(0))
    teacher, student = d(A60), d(A30)
    assert student is d.base and not torch.equal(teacher.M, student.M) and torch.equal(teacher.flip, student.flip)

def test_a_student_on_the_base_view_is_the_same_for_both_networks(batch):
    t, images, *_ = terms(Method(Peer(), A60, (A30,), nets=2), peers(2), batch)
    assert torch.equal(images['student'][0][0], images['student'][1][0])

# methods, losses

def test_methods_differ_where_their_lines_differ():
    assert METHODS['naive'].teacher == BothWays() and METHODS['supervised'].student_views == ()
    assert METHODS['posedual_jc'].sup == .5 and METHODS['posedual_jc'].cons == 1.
    assert {r['name'] for r in table()} == set(METHODS)
    with pytest.raises(ValueError, match='did you mean posedual_jc'): method('posedual-jc')

def test_supervised_needs_no_unlabelled_pictures(batch):
    x, y = batch
    images, labels, pred, total = one_batch(teach(METHODS['supervised']), peers(), {'labeled': x['labeled']}, y)
    assert_close(total, mse(pred['labeled'][0], labels['target'], labels['weight']))

def test_absent_joints_still_count_in_the_mean():
    H, T = torch.ones(2, 4, 3, 3), torch.zeros(2, 4, 3, 3)
    assert_close(mse(H, T, torch.tensor([1., 1., 0., 0.])), torch.tensor(.25))
    assert_close(mse(H, T, torch.full((4,), .5)), torch.tensor(.125))        # the weight is inside the square

def test_terms_remember_without_the_factor():
    p = torch.tensor(2., requires_grad=True)
    t = Terms().add('a', p, .5)
    assert float(t.total) == 1. and float(t.parts['a']) == 2. and not t.parts['a'].requires_grad

def test_average_moves_after_the_step_and_by_its_decay():
    model = peers(ema=True)
    before = [p.clone() for p in model.ema.parameters()]
    with torch.no_grad():
        for p in model.nets.parameters(): p += 1.
    t = teach(METHODS['mean_teacher_99']); t.learn = NS(model=model, training=True)
    t.after_step()
    for b, a, p in zip(before, model.ema.parameters(), model.nets.parameters()): assert_close(a, .99*b + .01*p)

def test_two_networks_say_on_the_easy_view_what_counts_for_all_three():
    """SSPCM: the mean of two peaks, not the target's own; also where the hard view has turned the joint out of the
    picture, and under its other name where it is mirrored"""
    K, m = 17, METHODS['sspcm']
    said = {('net', 0): torch.zeros(2, K, 16, 12), ('net', 1): torch.zeros(2, K, 16, 12)}
    said['net',0][:,1,8,6], said['net',1][:,1,8,6] = .02, .3        # left eye: a mean of .16, though one alone is below
    said['net',0][:,5,8,6], said['net',1][:,5,8,6] = .12, .04  # left shoulder: a mean of .08, though one alone is above
    said['net',0][:,9,0,0], said['net',1][:,9,0,0] = .5, .5         # left wrist, in the corner
    step, easy = Step(m, CODEC, SIZE, COCO17.flip_index), plain(2, SIZE)
    forward = lambda kind, j: said[kind, j]
    shifted = replace(easy, M=easy.M + torch.tensor([[0,0,1000.],[0,0,0],[0,0,0]]))
    mirrored = replace(easy, flip=~easy.flip)
    for heat in step.teach(forward, 0):
        for d, names in ((easy, {1, 9}), (shifted, {1, 9}), (mirrored, {2, 10})):
            weight = step.target(heat, forward, easy, d)[1]
            assert ({int(k) for k in weight[0].flatten(1).amax(1).nonzero()} == names if weight.dim() > 2
                    else {int(k) for k in weight[0].nonzero()} == names)

@pytest.mark.parametrize('name', ['posecons', 'posedual_jc', 'mean_teacher', 'multiaugs'])
def test_what_a_teacher_casts_is_not_kept_for_the_student(batch, name):
    """under autocast: older torch (pytorch issue 112583) gives a student the cast of its weight that was made
    without a graph"""
    m, seen = METHODS[name], []
    model = peers(m.nets)
    for net in model.nets:
        net.register_forward_pre_hook(lambda *_: seen.append(
            (torch.is_grad_enabled(), torch.is_autocast_enabled('cpu'), torch.is_autocast_cache_enabled())))
    with torch.autocast('cpu', torch.bfloat16): total = terms(m, model, batch)[-1]
    assert set(seen) == {(False, True, False), (True, True, True)}
    total.backward()
    assert all(p.grad is not None for p in model.nets.parameters())

# the step as a value, and what a part of one's own must say

def step_of(m, n=None): return Step(m, CODEC, SIZE, COCO17.flip_index), peers(n or m.nets, **m.copies)
def luck(k=0): return torch.Generator().manual_seed(k)

@pytest.mark.parametrize('name', ['supervised', 'naive', 'posedual_jc', 'sspcm', 'multiaugs'])
def test_a_step_is_a_function_of_networks_batch_chance_and_its_number(batch, name):
    "All that is random comes from its generator, and every network is asked for its gradient in one call"
    step, model = step_of(METHODS[name])
    model.eval()
    calls, was, forward = [], torch.get_rng_state(), type(model).forward
    model.forward = lambda *a, **kw: (calls.append(a), forward(model, *a, **kw))[1]
    a, b, c = (step(model, batch, luck(k), 5) for k in (0, 0, 1))
    assert len(calls) == 3 and torch.equal(torch.get_rng_state(), was)
    assert torch.equal(a.total, b.total) and a.parts == b.parts and not torch.equal(a.total, c.total)
    m, S = METHODS[name], a.parts
    total = sum(m.sup*S[f'sup{i+1}'] + m.cons*S.get(f'cons{i+1}', 0.) for i in range(m.nets))
    assert_close(a.total.detach(), torch.as_tensor(total))
    assert set(S) == {f'{t}{i+1}' for i in range(m.nets) for t in ('sup', 'cons')[:1 + bool(m.student_views)]}

def test_what_two_networks_hide_has_the_same_numbers_in_two_places(batch):
    "Nothing is sampled once the teachers have answered: the holes are open until then"
    step, model = step_of(METHODS['posedual_jc'])
    g = luck()
    easy, hard = step.pair(step.sampler(batch[0]['unlabeled'], g))
    after = g.get_state()
    one, two = step.hide(hard, [torch.rand(6, K, 16, 16) for _ in range(2)], easy)
    assert torch.equal(g.get_state(), after)
    assert (torch.equal(one[0].holes[0].box[...,2:], two[0].holes[0].box[...,2:])
            and not torch.equal(one[0].holes[0].box, two[0].holes[0].box))
    with pytest.raises(ValueError, match='`hide` first'): step.render(batch[0]['unlabeled'], hard)

def test_a_teacher_and_a_weight_of_ones_own_say_one_thing_each(batch):
    "A teacher says whose answers it wants, a weight what counts; everything else has a default"
    class Both(Teacher):
        def sources(self, i, n, step=LATER): return [('net', j) for j in range(n)]
        def merge(self, heats, codec=CODEC): return sum(heats)/len(heats)
    class Left(Weight):
        sources = (('net', 0),)
        def __call__(self, heat): return torch.ones_like(heat[...,0,0]) * torch.arange(K).lt(5)
    m = Method(Both(), A30, (A60,), nets=2, weight=Left())
    step, model = step_of(m)
    made = step(model.eval(), batch, luck()).made
    with torch.no_grad(): heat = sum(net(made.forward.images[0]) for net in model.nets)/2
    assert_close(made.targets[1][0][0], carry(heat, made.easy[0], made.hard[1][0], 2, COCO17.flip_index),
                 atol=1e-6, rtol=0)
    assert (made.targets[0][0][1].sum(-1) == 5).all() and cost(m, (3, 5)) == (2*(3 + 5) + 2*5, 2*(3 + 5))
    for wrong in (dict(teacher=lambda i, ask: None), dict(weight=lambda heat: None)):
        with pytest.raises(UserError, match=r'derive its class from `semipose.teaching.(Teacher|Weight)`'):
            replace(m, **wrong)
