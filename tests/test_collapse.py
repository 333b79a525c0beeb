"Laws of the toys: what consistency does to heights, boundaries and heatmaps, and who survives it"
import io, json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest, torch
from PIL import Image
from torch.testing import assert_close

from semipose.codecs import Gaussian
from semipose.collapse import (EASY, HARD, LETTERS, WHO, Blend, Boundary, Free, Looks, Moved, Plane, PointStep, Toy,
                               Which, around,
                               crossing, crowd, directions, draw_answers, draw_views,
                               fates, film, foreground_pull, frozen, limit, limits, met, pixels, settled, strength,
                               who_teaches)
from semipose.data.synth import make_people
from semipose.draw import Picture
from semipose.errors import UserError
from semipose.methods import METHODS
from semipose.nets.peers import Peers, build_peers
from semipose.nets.simple import Tiny
from semipose.skeletons import COCO17
from semipose.teaching import Average, BothWays, Frozen, Method, Self, Teaching, one_batch
from semipose.views import joints_in

RESULTS = Path(__file__).parent.parent/'results'/'collapse'

@pytest.fixture(scope='module')
def plane(): return Boundary('both', 30).toy     # left at its start

def losses(method, peers, labeled, x, lam=1., generator=None):
    "The sum of a step's losses on points"
    return PointStep(method, lam)(peers, (dict(labeled=labeled[0], unlabeled=x), labeled[1]), generator).total

def other(toy, who, **kw):
    m = who if isinstance(who, Method) else who_teaches(who, EASY, HARD)
    return Toy(m, toy.start, toy.labeled, toy.unlabeled, toy.lam, seed=toy.seed, **kw)


# ---- one pixel ----

def test_free_points_keep_their_mean_and_lose_their_spread():
    toy = pixels('both', 50, shared=False)
    mean, gap = toy.net.heights.mean(0).clone(), (toy.net.heights[0] - toy.net.heights[1]).abs().clone()
    for t in range(1, 6):
        h = toy.step().net.heights.detach()
        assert_close(h.mean(0), mean, atol=1e-6, rtol=0)
        assert_close((h[0] - h[1]).abs(), gap*.5**t, atol=1e-6, rtol=0)

@pytest.mark.parametrize('who', ['both', 'easy', 'hard'])
@pytest.mark.parametrize('ratio', [1, 10, 1000])
def test_free_heights_go_as_the_formula_says_whatever_the_ratio(who, ratio):
    assert_close(pixels(who, ratio, shared=False).step(4).net.heights[:,0].detach(),
                 torch.tensor(met(who, 1., .5, .25, 4)), atol=1e-5, rtol=0)

@pytest.mark.parametrize('who', ['both', 'easy', 'hard'])
@pytest.mark.parametrize('kw', [dict(high=.5, low=.03, lam=2.), dict(high=.3, low=.1, lam=1.)])
@pytest.mark.parametrize('ratio', [1, 4, 1000])
def test_shared_heights_rest_where_the_formula_says_and_nowhere_else(who, kw, ratio):
    toy = pixels(who, ratio, **kw)
    def slope(u, v):
        peers = Peers([Looks(u, v)])
        return torch.stack(torch.autograd.grad(losses(toy.method, peers, toy.labeled, toy.unlabeled, toy.lam),
                                               [peers.nets[0].heights]))*(1+ratio)
    u, v = settled(who, ratio, **kw)
    assert slope(u, v).abs().max() < 1e-3 < .05 < slope(u + .1, v).abs().max()

def test_shared_heights_go_there():
    for who in ('both', 'easy', 'hard'):
        assert_close(pixels(who, 30).step(400).net.heights.detach(), torch.tensor(settled(who, 30)), atol=.01, rtol=0)

def test_sharing_and_imbalance_together_lose_the_minor_class_and_easy_to_hard_only_later():
    assert settled('both', 1)[0] > .7 and settled('both', 1000)[0] < .35
    assert settled('easy', 500)[0] > .5 > settled('both', 500)[0]
    assert 270 < limit('both') < 290 and 790 < limit('easy') < 810
    # its pull knows no numbers
    assert limit('hard') == float('inf') and abs(settled('hard', 1)[0] - settled('hard', 1000)[0]) < 1e-9
    # nothing shared: the ratio does not matter
    assert pixels('both', 1000, shared=False).step(30).net.heights[0,0] > .7
    with pytest.raises(UserError, match='smaller lam'): settled('easy', 17, lam=10.)


# ---- the boundary ----

@pytest.mark.parametrize('seed', [200, 201, 202])
def test_plain_consistency_loses_the_sparse_class_and_easy_to_hard_keeps_it(seed):
    b = Boundary('nobody', seed=seed)
    after = {who: b.reset().change(who=who).step(60).fates() for who in ('both', 'easy', 'hard')}
    assert b.reset().fates()['kept'] > .85
    assert (after['both']['kept'] < .3 and after['both']['lost_dense'] == 0 and after['easy']['kept'] > .9
            and after['hard']['kept'] < .1)

def test_without_imbalance_plain_consistency_keeps_the_minor_class():
    assert Boundary('both', 1, seed=200).step(60).fates()['kept'] > .9

def test_what_the_notebook_says_was_counted_on_twenty_unseen_seeds():
    told = json.loads((RESULTS/'plane.json').read_text())
    assert told['seeds'] == list(range(100, 120))
    of = lambda who, ratio, k='kept': [r[k] for r in told['limits'] if r['who'] == who and r['ratio'] == ratio]
    for ratio in (1, 3, 10, 30, 100, 300, 1000): assert len(of('both', ratio)) == len(set(told['seeds'])) == 20
    assert (all(k < .5 for ratio in (100, 300, 1000) for k in of('both', ratio))
            and all(k > .5 for ratio in (1, 3, 10, 30, 100, 300, 1000) for k in of('easy', ratio)))
    b = Boundary('nobody', 30, seed=100)
    mine = {who: b.reset().change(who=who).step(60).fates() for who in ('both', 'easy')}
    for who, f in mine.items(): assert abs(of(who, 30)[0] - f['kept']) < .1, 'run scripts/collapse.py plane again'

def test_alike_views_make_both_schemes_one_up_to_a_factor_of_two():
    view, x = Moved(.3, .5), crowd(400, 9)[0]
    net = Boundary('nobody', 9).toy.start
    def slope(method):
        peers, g = Peers([net]), torch.Generator().manual_seed(3)
        total = [torch.zeros_like(p) for p in peers.nets.parameters()]
        for _ in range(60):
            loss = losses(replace(method, sup=0.), peers, crowd(3, 9), x, 1., g)
            total = [a + b for a,b in zip(total, torch.autograd.grad(loss, list(peers.nets.parameters())))]
        return torch.cat([t.flatten() for t in total])
    both = slope(Method(BothWays(), view, (view,), labeled_view=view))
    one = slope(Method(Self(), view, (view,), labeled_view=view))
    assert_close(both, 2*one, atol=.08*float(both.abs().max()), rtol=0)
    far = slope(Method(Self(), EASY, (HARD,), labeled_view=view)) - slope(Method(BothWays(), EASY, (HARD,),
        labeled_view=view))/2
    assert far.abs().max() > .3*both.abs().max()      # of unlike views it is not true

def test_gradient_flows_through_the_teacher_under_plain_consistency_only(plane):
    naive, easy = other(plane, 'both').step().record, other(plane, 'easy').step().record
    for k in ('teacher', 'student'): assert torch.equal(naive.views[k], easy.views[k])      # one seed, one draw
    assert_close(naive.pull['teacher'], -naive.pull['student'])
    assert_close(naive.pull['student'], plane.lam*(naive.answers['teacher'] - naive.answers['student']))
    assert_close(easy.pull['student'], naive.pull['student'])
    assert easy.pull['teacher'].abs().max() == 0

def test_step_back_step_is_the_same_step(plane):
    toy = other(plane, 'EMA .9').step(4)
    first, state = toy.record, {k: v.clone() for k,v in toy.peers.state_dict().items()}
    toy.back(2); assert len(toy) == 2
    toy.step(2)
    assert torch.equal(toy.record.views['student'], first.views['student']) and toy.record.loss == first.loss
    for k,v in toy.peers.state_dict().items(): assert torch.equal(v, state[k]), k
    toy.reset()
    assert len(toy) == 0 and toy.record is None and torch.equal(toy.net.heights, plane.start.heights)
    for k,v in toy.step(4).peers.state_dict().items(): assert torch.equal(v, state[k]), k
    assert not torch.equal(toy.past[0][0].views['student'], toy.past[1][0].views['student'])
    with pytest.raises(UserError, match='no step to take back'): toy.back(5)
    assert len(toy) == 4

def test_every_moment_can_be_looked_at_again(plane):
    toy = other(plane, 'both').step(2)
    middle = toy.net.heights.detach().clone()
    toy.step(2)
    assert (torch.equal(toy.at(2).heights, middle) and torch.equal(toy.at(0).heights, plane.start.heights)
            and torch.equal(toy.at(4).heights, toy.net.heights))
    assert_close(sum(s.update['heights'] for s,_ in toy.past), toy.net.heights.detach() - plane.start.heights.detach())
    with pytest.raises(UserError, match='has made 4 steps'): toy.at(5)

def test_copies_move_as_their_teacher_says(plane):
    ema, kept = (other(plane, Method(t, EASY, (HARD,), labeled_view=EASY)).step() for t in (Average(.75), Frozen()))
    assert_close(ema.peers.ema[0].heights, .75*plane.start.heights.detach() + .25*ema.net.heights.detach())
    assert torch.equal(kept.peers.frozen[0].heights, plane.start.heights)
    # an average that nobody asked for starts where it is asked for
    assert torch.equal(kept.peers.ema[0].heights, kept.net.heights)

@pytest.mark.parametrize('name', WHO)
def test_everybody_counts_what_the_name_says(plane, name):
    seen = other(plane, name).step().record
    if name == 'nobody': return
    h = seen.answers['teacher']
    kind, _, t = name.partition(' > ')
    want = dict(peak=lambda t: (h.amax(-1) > t)[...,None].expand_as(h), pixel=lambda t: h > t,
                sure=lambda t: (h > t) | (h < 1-t)).get(kind)
    if want:
        assert torch.equal((seen.weight if seen.weight.dim() == 4 else seen.weight[...,None,None].expand_as(h)) > 0,
                           want(float(t)))
    elif name == 'foreground x10': assert_close(seen.weight.square(), torch.where(h > .1, 10., 1.))
    elif name == 'classes balanced':
        assert_close((seen.weight.square()*(h > .1)).sum((-1,-2)), (seen.weight.square()*(h <= .1)).sum((-1,-2)))
    else: assert seen.weight.unique().tolist() == [1.]
    gap = seen.answers['teacher'] - seen.answers['student']
    w = seen.weight if seen.weight.dim() == 4 else seen.weight.reshape(*seen.weight.shape, *[1]*(4-seen.weight.dim()))
    assert_close(seen.pull['student'], plane.lam*w.square()*gap)
    assert other(plane, name).method.teacher_view == (HARD if name == 'hard' else EASY)

def test_a_change_holds_from_the_next_step_on_and_a_new_crowd_starts_anew():
    b = Boundary('both', 30, seed=5).step(3)
    c = Boundary('both', 30, seed=5).step(3).change(who='easy', lam=2., hard=.5).step(2)
    assert (len(c) == 5 and c.toy.method.teacher == Self() and c.toy.method.student_views == (strength(.5),)
            and c.settings['lam'] == c.toy.lam == 2.)
    assert torch.equal(c.toy.at(3).heights, b.toy.net.heights)
    d = other(b.toy, 'both').step(3)
    d.method, d.lam = replace(who_teaches('easy', EASY, strength(.5)), labeled_view=EASY), 2.
    assert torch.equal(c.toy.net.heights, d.step(2).net.heights)
    assert torch.equal(c.back(5).toy.net.heights, b.reset().toy.net.heights)
    # an average that comes in on the way goes out again
    assert len(c.step(2).change(who='EMA .9')) == 2 and len(c.step().back(2)) == 1
    assert len(c.change(ratio=10)) == 0 and c.toy.unlabeled.shape == (24,2,1,11) and len(c.step().change(seed=6)) == 0
    assert not torch.equal(c.toy.unlabeled, b.change(ratio=10).toy.unlabeled)
    assert c.change(easy=1.).toy.method.labeled_view == EASY

def test_a_wrong_setting_changes_nothing():
    b = Boundary('both', 3).step()
    before = dict(b.settings)
    for wrong in (dict(whom='easy'), dict(who='easyy'), dict(lam=1., hard=1.5), dict(easy=-.1), dict(ratio=0),
                  dict(lam=-1.)):
        with pytest.raises(UserError): b.change(**wrong)
        assert b.settings == before and len(b) == 1 and b.toy.lam == before['lam']

def test_views_do_what_they_say():
    g = torch.Generator().manual_seed(0)
    x = torch.ones(2000, 2, 1, 3)
    faded = Moved(0., .8)(x, g)
    assert_close(faded[:,0], faded[:,1])
    assert .2 <= faded.min() < .21 and faded.max() > .99 and faded.std(-1).mean() > .1
    assert_close((Moved(.5)(x, g) - x).std(), torch.tensor(.5), atol=.02, rtol=0)
    assert (strength(0.) == EASY == Moved(.1, 0.) and strength(1.).fade == .9
            and EASY.noise < strength(.5).noise < HARD.noise)
    look = torch.eye(2).view(1,2,1,2)
    assert_close(Looks(1., 0.)(Blend(.3, .1)(look)).detach().flatten(), torch.tensor([.7, .1]))
    assert_close(Free(torch.tensor([[1.,2.],[3.,4.]]))(Which(1)(torch.zeros(1,1,1,2))).detach().flatten(),
                 torch.tensor([3.,4.]))

def test_the_plane_is_a_sum_of_round_bumps():
    net = Plane()
    with torch.no_grad(): net.heights[3,2] = 4.
    at = torch.tensor([net.x[3], net.y[2]])
    h = lambda *d: torch.logit(net((at + torch.tensor(d)).view(1,2,1,1))).item() + 2
    assert_close(h(0., 0.), 4., atol=1e-4, rtol=0)
    assert_close(h(.9, 0.), 4*torch.tensor(-.5).exp().item(), atol=1e-3, rtol=0)      # one width away
    assert_close(h(.9, 0.), h(0., -.9), atol=1e-3, rtol=0); assert_close(h(.9, 0.), h(.54, .72), atol=1e-3, rtol=0)

def test_fates_are_told_of_points_that_nobody_has_seen():
    class Half(Plane):
        def forward(self, x): return (x[:,:1] > 2.).float()      # everything right of 2
    f = fates(Half())
    x = crowd(60, 30, 999)[0]
    assert f == dict(kept=f['height'], height=pytest.approx(float((x[:,0,0,0] > 2).float().mean())),
                     lost_dense=pytest.approx(float((x[:,0,0,1:] > 2).float().mean())))
    assert abs(crossing(Half()) - 2) < .03 and crossing(Plane()) is None
    assert .9 < f['kept'] < 1 and 0 < f['lost_dense'] < .01


# ---- figures ----

def arrows(draw, toy, k=0):
    ax = Picture().subplots()
    draw(ax, toy, k)
    return ([torch.stack([torch.as_tensor(q.U), torch.as_tensor(q.V)], -1) for q in ax.collections if hasattr(q, 'U')],
            ax)

def test_arrows_meet_half_way_when_both_teach_and_only_the_student_moves_when_one_does(plane):
    for draw in (draw_views, draw_answers):
        for who in ('both', 'easy', 'hard'):
            toy = other(plane, who).step()
            (teacher, student), _ = arrows(draw, toy)
            where = (toy.record.views if draw is draw_views
                     else {k: torch.cat([0*h, h], 1) for k,h in toy.record.answers.items()})
            way = (where['teacher'] - where['student'])[:7,:,0,0]
            pull = toy.record.pull['student'][:7,0,0,0].abs()
            i = int((pull if draw is draw_views else way[:,1].abs()).argmax())
            assert_close(student[i].float(), way[i]/2, atol=1e-4, rtol=0)
            if draw is draw_views:
                assert_close(student.float().norm(dim=1), way.norm(dim=1)/2*pull/pull.max(), atol=1e-4, rtol=0)
            assert_close(teacher.float(), -student.float() if who == 'both' else 0*student.float(), atol=1e-4, rtol=0)

def test_hollow_answers_are_those_after_the_step(plane):
    toy = other(plane, 'both').step(2)
    _, ax = arrows(draw_answers, toy, 1)
    dots = [torch.as_tensor(line.get_ydata()).float() for line in ax.lines if line.get_marker() == 'o']
    assert_close(dots[0], toy.record.answers['teacher'][:7,0,0,0])
    assert_close(dots[1], toy.net(toy.record.views['teacher'][:7])[:,0,0,0].detach())
    assert_close(dots[3], toy.net(toy.record.views['student'][:7])[:,0,0,0].detach())

def test_the_figure_shows_the_step_asked_for_and_the_boundary_that_moves_into_the_sparse_class():
    b = Boundary('both', 30).step(8)
    at = [crossing(b.toy.at(k)) for k in (0, 4, 8)]
    assert at[0] < at[1] < at[2]
    for k in (0, 4, 8):
        fig = b.figure(k)
        assert fig.axes[0].get_title('left') == f'step {k}'
        thick = [line.get_xdata()[0] for line in fig.axes[1].lines if line.get_linewidth() > 3]
        assert thick == [crossing(b.toy.at(k))]
        assert sum(line.get_marker() == 'o' for line in fig.axes[2].lines) == (4 if k else 0)
        if k: assert f"{b.toy.past[k-1][0].loss['cons1']:.4f}" in fig.axes[2].texts[-1].get_text()
    assert b.figure().axes[0].get_title('left') == 'step 8' and Boundary('nobody', 3).step().figure()._repr_png_()

def test_a_film_has_a_frame_per_step():
    b = Boundary('both', 3).step(4)
    gif = Image.open(io.BytesIO(film({'a': b}, (0, 2, 4))))
    assert gif.n_frames == 3 and gif.info['loop'] == 0
    frames = []
    # without the title
    for i in range(3): gif.seek(i); frames.append(gif.convert('RGB').crop((0, 40, *gif.size)).tobytes())
    assert len(set(frames)) == 3


# ---- people ----

@pytest.fixture(scope='module')
def people():
    drawn = make_people(torch.arange(6), seed=3, size=(72,54))
    image, xy, vis = drawn.image, drawn.xy[:,0], drawn.vis[:,0]
    x, y = dict(labeled=image[:2], unlabeled=image[2:]), dict(xy=xy[:2], vis=vis[:2])
    return (x, y), (xy[2:], vis[2:])

def training(name): return Teaching(METHODS[name], Gaussian(1.5, 2), (48,32), COCO17, torch.ones(17), seed=1)

@pytest.mark.parametrize('name', ['naive', 'posecons'])
def test_the_parts_of_a_frozen_moment_sum_to_the_loss_and_leave_no_trace(people, name):
    batch, truth = people
    peers = build_peers('tiny', 17, net=dict(width=18, levels=3)).train()
    before = {k: v.clone() for k,v in peers.state_dict().items()}
    told = frozen(training(name), peers, batch, truth)
    for k,v in peers.state_dict().items(): assert torch.equal(v, before[k]), k
    assert peers.training and all(p.grad is None for p in peers.parameters())
    loss = one_batch(training(name), deepcopy(peers), *batch)[-1]
    assert_close(sum(told[k]['loss'] for k in ('labels', 'foreground', 'background')), float(loss), rtol=1e-4,
                 atol=1e-7)
    # the same views, the same answers
    assert torch.equal(told['map'], frozen(training(name), peers, batch, truth)['map'])

def test_lift_is_what_a_small_step_does(people):
    batch, truth = people
    peers = build_peers('tiny', 17, net=dict(width=18, levels=3)).train()
    with torch.no_grad(): peers.nets[0].final.weight.mul_(100)
    told = frozen(training('naive'), peers, batch, truth)
    def look(net):
        t = training('naive')
        loss, answer = (r := one_batch(t, net, *batch))[-1], r[2]['teacher'][0]
        front = t.losses.codec.encode(*joints_in(*truth, t.made.easy[0], COCO17.flip_index), t.losses.heat_size)[0] > .1
        return loss, answer[front].mean()
    net, eps = deepcopy(peers), 1e-4
    loss, was = look(net)
    with torch.no_grad():
        for p, d in zip(net.parameters(), torch.autograd.grad(loss, list(net.parameters()))): p -= eps*d
    now = look(net)[1]
    assert_close(float(now - was)/eps, sum(told[k]['lift'] for k in ('labels', 'foreground', 'background')), rtol=.1,
                 atol=1e-3)
    assert abs(told['foreground']['lift']) > 1e-4

def test_around_cuts_where_it_is_told():
    heat = torch.zeros(1, 2, 12, 9)
    heat[0,0,3,7], heat[0,1,0,0] = 1., 2.
    cut = around(heat, torch.tensor([[[7.2,2.8],[1.,0.]]]), 2)
    assert (cut.shape == (1,2,5,5) and cut[0,0,2,2] == 1 and cut[0,0].sum() == 1 and cut[0,1,2,1] == 2
            and cut[0,1].sum() == 2)

def test_the_average_heatmap_stands_on_the_joint(people):
    batch, truth = people
    class Knows(Tiny):
        answer = None
        # a teacher that knows, a student that says nothing
        def forward(self, x): return self.answer*(not torch.is_grad_enabled()) + 0*super().forward(x)
    net = Knows(17, width=18, levels=3)
    t = training('posecons')
    net.answer = torch.zeros(4, 17, 24, 16)
    batch = (dict(batch[0], labeled=batch[0]['unlabeled'], unlabeled=batch[0]['unlabeled']),
             dict(xy=truth[0], vis=truth[1]))
    frozen(t, Peers([net]), batch, truth)
    net.answer = t.losses.codec.encode(*joints_in(*truth, t.made.easy[0], COCO17.flip_index), t.losses.heat_size)[0]
    told = frozen(training('posecons'), Peers([net]), batch, truth)
    # what is to be learned stands where the student's joints are
    assert told['foreground']['loss'] > 20*told['background']['loss']
    whole = float(one_batch(training('posecons'), Peers([net]), *batch)[-1])
    assert_close(sum(told[k]['loss'] for k in ('labels', 'foreground', 'background')), whole, rtol=1e-4, atol=0)
    assert told['map'].argmax() == 17*17//2 and told['map'][8,8] > .85 and told['peak'] > .85
    assert_close(told['map'], told['map'].flip(-1), atol=.08, rtol=0)


# ---- direction ----

def test_directions_start_alike_and_the_gap_has_the_right_sign():
    told = directions(seeds=(7,), ratio=30, steps=2, scale=(0., 1.))
    by = {(r['teacher'], r['student']): r for r in told['pairs']}
    assert by[0.,1.]['gap'] == -by[1.,0.]['gap'] > .1 and by[0.,0.]['gap'] == by[1.,1.]['gap'] == 0
    assert len({r['before'] for r in told['pairs']}) == 1
    assert {(r['name'], r['pair']) for r in told['attempts']} == {(n, p) for n in WHO if n != 'nobody'
                                                                  for p in ('easy-hard', 'equal')}
    fresh = Boundary('hard', 30, easy=0., hard=1., seed=7).step(2).fates()
    again = next(r for r in told['attempts'] if (r['name'], r['pair']) == ('hard', 'easy-hard'))
    assert {k: by[1.,0.][k] for k in fresh} == {k: again[k] for k in fresh} == fresh
    assert (set(LETTERS) == set(WHO) - {'nobody', 'both', 'easy'}
            and LETTERS['pixel > 0.6'] == LETTERS['sure > 0.6'] == 'A3')

def test_limits_are_rows_of_one_start_each():
    rows = limits((3,), ('nobody', 'both', 'easy'), seeds=(7, 8), steps=2)
    assert [(r['seed'], r['who']) for r in rows] == [(seed, who) for seed in (7, 8)
                                                     for who in ('nobody', 'both', 'easy')]
    for r, fresh in zip(rows,
        (Boundary('nobody', 3, seed=7), Boundary('both', 3, seed=7).step(2), Boundary('easy', 3, seed=7).step(2))):
        assert {k: r[k] for k in ('kept', 'height', 'lost_dense')} == fresh.fates()
    assert len({r['height'] for r in rows}) == 6

@pytest.mark.parametrize('wrong, words', [
    (lambda: who_teaches('easyy', EASY, HARD), 'choose who teaches'), (lambda: crowd(4, 0), 'at least 1'),
    (lambda: pixels('both', 0), 'at least 1'),
    (lambda: strength(2.), '0 .easy. to 1 .hard.'),
    (lambda: Boundary('easy').change(lamb=1.), 'choose from who, ratio'),
    (lambda: Toy(Method(Self(), (EASY, HARD), (HARD,), labeled_view=EASY), Plane(), crowd(2, 3), crowd(2, 3)[0]).step(),
     'one teacher view')])
def test_mistakes_are_sentences(wrong, words):
    with pytest.raises(UserError, match=words): wrong()

def test_the_foreground_s_pull_is_a_share_of_medians():
    row = lambda method, seed, step, lift: dict(method=method, seed=seed, step=step, foreground=dict(lift=lift))
    rows = ([row('naive', s, 0, v) for s, v in enumerate((-4., -8., -1.))]
            + [row('posecons', s, 0, v) for s, v in enumerate((-1., -9., -.5))])
    rows += [row('naive', 0, 30, -2.), row('posecons', 0, 30, .5)]
    assert foreground_pull(dict(rows=rows)) == {0: .25, 30: -.25}
