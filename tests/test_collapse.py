"Laws of the toys: what consistency does to heights, boundaries and heatmaps, and who survives it"
import pytest, torch
from dataclasses import replace
from torch.testing import assert_close
from semipose.collapse import (EASY, HARD, WHO, Blend, Free, Looks, Moved, Only, Plane, Toy, Which, boundary, boundary_figure, boundary_frames, crowd, fates, heatmap, lesson,
                               limit, lines, met, pixels, pulls, settled, who_teaches)
from semipose.errors import UserError
from semipose.nets.peers import Peers
from semipose.teaching import Average, BothWays, Frozen, Method, Self

@pytest.fixture(scope='module')
def plane(): return boundary('both', 30)

def other(toy, who): return Toy(who_teaches(who, EASY, HARD), toy.start, toy.labeled, toy.unlabeled, toy.lam, seed=toy.seed)

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
    assert_close(pixels(who, ratio, shared=False).step(4).net.heights[:,0].detach(), torch.tensor(met(who, 1., .5, .25, 4)), atol=1e-5, rtol=0)

@pytest.mark.parametrize('who', ['both', 'easy', 'hard'])
@pytest.mark.parametrize('kw', [dict(high=.5, low=.03, lam=2.), dict(high=.3, low=.1, lam=1.)])
def test_shared_heights_settle_where_the_formula_says(who, kw):
    toy = pixels(who, 4, lr=.5, **kw).step(500)
    assert_close(toy.net.heights.detach(), torch.tensor(settled(who, 4, **kw)), atol=2e-3, rtol=0)

def test_sharing_and_imbalance_together_lose_the_minor_class_and_easy_to_hard_only_later():
    assert settled('both', 1)[0] > .7 and settled('both', 1000)[0] < .35
    assert settled('easy', 500)[0] > .5 > settled('both', 500)[0]
    assert 270 < limit('both') < 290 and 790 < limit('easy') < 810
    assert pixels('both', 1000, shared=False).step(30).net.heights[0,0] > .7    # nothing shared: the ratio does not matter
    with pytest.raises(UserError, match='smaller lam'): settled('easy', 17, lam=10.)

def test_plain_consistency_loses_the_sparse_class_and_easy_to_hard_keeps_it(plane):
    before, naive, easy, hard = (fates(t.net) for t in (plane, plane_after(plane, 'both'), plane_after(plane, 'easy'), plane_after(plane, 'hard')))
    assert before['kept'] > .85 and naive['kept'] == 0 and easy['kept'] > .9 and hard['kept'] == 0
    assert naive['height'] < .05 and naive['lost_dense'] == 0

def plane_after(toy, who, n=50): return other(toy, who).step(n)

def test_without_imbalance_plain_consistency_keeps_the_minor_class():
    assert fates(boundary('both', 1).step(50).net, 1)['kept'] > .9

def test_alike_views_make_both_schemes_one_up_to_a_factor_of_two():
    view, x = Moved(.3, .5), crowd(400, 9)[0]
    net = boundary('nobody', 9, warm=20).start
    def slope(method):
        peers, g = Peers([net]), torch.Generator().manual_seed(3)
        total = [torch.zeros_like(p) for p in peers.nets.parameters()]
        for _ in range(30):
            loss = lesson(replace(method, sup=0.), peers, crowd(3, 9), x, 1., g)[0]
            total = [a + b for a,b in zip(total, torch.autograd.grad(loss, list(peers.nets.parameters())))]
        return torch.cat([t.flatten() for t in total])
    both, one = slope(Method(BothWays(), view, (view,), labeled_view=view)), slope(Method(Self(), view, (view,), labeled_view=view))
    assert_close(both, 2*one, atol=.06*float(both.abs().max()), rtol=0)

def test_gradient_flows_through_the_teacher_under_plain_consistency_only(plane):
    naive, easy = other(plane, 'both').step().seen, other(plane, 'easy').step().seen
    for k in ('teacher', 'student'): assert torch.equal(naive.views[k], easy.views[k])      # one seed, one draw
    assert_close(naive.pull['teacher'], -naive.pull['student'])
    assert_close(naive.pull['student'], plane.lam*(naive.answers['teacher'] - naive.answers['student']))
    assert_close(easy.pull['student'], naive.pull['student'])
    assert easy.pull['teacher'].abs().max() == 0

def test_step_back_step_is_the_same_step(plane):
    toy = other(plane, 'EMA').step(3)
    first, state = toy.seen, {k: v.clone() for k,v in toy.peers.state_dict().items()}
    toy.back(); assert len(toy) == 2
    toy.step()
    assert torch.equal(toy.seen.views['student'], first.views['student']) and toy.seen.loss == first.loss
    for k,v in toy.peers.state_dict().items(): assert torch.equal(v, state[k]), k
    toy.reset()
    assert len(toy) == 0 and toy.seen is None and torch.equal(toy.net.heights, plane.start.heights)
    for k,v in toy.step(3).peers.state_dict().items(): assert torch.equal(v, state[k]), k
    assert not torch.equal(toy.past[0][0].views['student'], toy.past[1][0].views['student'])
    with pytest.raises(UserError, match='no step to take back'): toy.reset().back()

def test_every_moment_can_be_looked_at_again(plane):
    toy = other(plane, 'both').step(2)
    middle = toy.net.heights.detach().clone()
    toy.step(2)
    assert torch.equal(toy.at(2).heights, middle) and torch.equal(toy.at(0).heights, plane.start.heights) and torch.equal(toy.at(4).heights, toy.net.heights)
    assert_close(sum(s.update['heights'] for s,_ in toy.past), toy.net.heights.detach() - plane.start.heights.detach())
    with pytest.raises(UserError, match='has made 4 steps'): toy.at(5)

def test_copies_move_as_their_teacher_says(plane):
    ema, frozen = (Toy(Method(t, EASY, (HARD,), labeled_view=EASY), plane.start, plane.labeled, plane.unlabeled, plane.lam).step() for t in (Average(.75), Frozen()))
    assert_close(ema.peers.ema[0].heights, .75*plane.start.heights.detach() + .25*ema.net.heights.detach())
    assert torch.equal(frozen.peers.frozen[0].heights, plane.start.heights)

def test_what_counts_reaches_the_loss(plane):
    all_, none, some = (Toy(replace(who_teaches('easy', EASY, HARD), weight=w), plane.start, plane.labeled, plane.unlabeled, plane.lam).step().seen
                        for w in (WHO['easy'][1], Only(torch.tensor(False)), Only(torch.arange(31) < 1)))
    assert none.loss['cons1'] == 0 < some.loss['cons1'] < all_.loss['cons1']
    assert_close(some.pull['student'][...,:1], all_.pull['student'][...,:1])
    assert some.pull['student'][...,1:].abs().max() == 0

def test_views_do_what_they_say():
    g = torch.Generator().manual_seed(0)
    x = torch.ones(2000, 2, 1, 3)
    faded = Moved(0., .8)(x, g)
    assert_close(faded[:,0], faded[:,1]); assert .2 <= faded.min() < .21 and faded.max() > .99 and faded.std(-1).mean() > .1
    assert Moved(0., .8, whole=True)(x, g).std(-1).max() < 1e-6
    assert_close((Moved(.5)(x, g) - x).std(), torch.tensor(.5), atol=.02, rtol=0)
    look = torch.eye(2).view(1,2,1,2)
    assert_close(Looks(1., 0.)(Blend(.3, .1)(look)).detach().flatten(), torch.tensor([.7, .1]))
    assert_close(Free(torch.tensor([[1.,2.],[3.,4.]]))(Which(1)(torch.zeros(1,1,1,2))).detach().flatten(), torch.tensor([3.,4.]))

def test_the_peak_fades_under_plain_consistency_and_stays_under_easy_to_hard():
    x, y = lines(32, 0)
    peak = lambda toy: float(toy.answer(x).amax(-1).mean())
    naive, easy = heatmap('both'), heatmap('easy')
    start = peak(naive)
    front = y > .1
    at = [pulls(t, front) for t in (naive, easy)]
    assert at[0]['foreground']['lift'] < 0 < at[1]['foreground']['lift'] and at[0]['background']['lift'] < 0
    whole = lesson(replace(naive.method, sup=0.), naive.peers, naive.labeled, naive.unlabeled, naive.lam, torch.Generator().manual_seed(0), 0)[0]
    assert_close(at[0]['foreground']['loss'] + at[0]['background']['loss'], float(whole), rtol=1e-4, atol=1e-6)
    assert peak(naive.step(30)) < .7*start and .9*start < peak(easy.step(30)) < 2*start
    assert float(((naive.answer(x).argmax(-1) - y.argmax(-1)).abs() <= 2).float().mean()) > .9     # the peak fades before it moves

def test_frames_are_one_per_step_and_differ(plane):
    frames = boundary_frames(other(plane, 'both').step(4), every=2)
    assert [f.axes[0].get_title('left') for f in frames] == ['step 0', 'step 2', 'step 4']
    cross = lambda k, toy: [line.get_xdata()[0] for line in boundary_figure(toy, k).axes[1].lines]
    toy = other(plane, 'both').step(6)
    assert cross(6, toy)[0] > cross(0, toy)[0]     # towards the sparse class

@pytest.mark.parametrize('wrong, words', [(lambda: who_teaches('easyy', EASY, HARD), 'choose who teaches'), (lambda: crowd(4, 0), 'at least 1'), (lambda: pixels('both', 0), 'at least 1'),
    (lambda: Toy(Method(Self(), (EASY, HARD), (HARD,), labeled_view=EASY), Plane(), crowd(2, 3), crowd(2, 3)[0]).step(), 'one teacher view')])
def test_mistakes_are_sentences(wrong, words):
    with pytest.raises(UserError, match=words): wrong()
