"Laws of easiness: what a view does to accuracy is measured in the plain crop, and nothing else leaks in"
import pytest, torch
from dataclasses import replace
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close
from semipose.codecs import Gaussian
from semipose.data.core import Crops
from semipose.data.synth import write_synth, DIFFICULTIES
from semipose.data.coco import read_train_val
from semipose.easiness import (LADDERS, OTHERS, RULES, Measured, Spoilt, accuracy, again, all_views, alone_ap, choose,
                               fresh_statistics, gap_figure, gaps, home, in_sight, interval,
                               judge, kendall, left_out, luck, measure, numbers, one_look, pairs, pairs_figure,
                               people_of, ranks, rule_values, short, spearman, what, Gaps)
from semipose.errors import UserError
from semipose.evaluate.coco import coco_eval
from semipose.geometry import affine, compose, invert, move, roomy, window
from semipose.methods import METHODS, NOTHING
from semipose.metrics import oks, pck, torso
from semipose.nets.peers import build_peers
from semipose.predict import predict_all
from semipose.skeletons import COCO17
from semipose.views import (A30, A60, PLAIN, Affine, Cutout, Sample, Hole, JointCutout, RandAugment, View, Zoom,
                            as_view, plain, render)

SIZE, CODEC, K = (64, 48), Gaussian(sigma=1.5, stride=2), 17
LEVELS = torch.tensor([0, 90, 180, 255])/255
COLOURS = torch.cartesian_prod(LEVELS, LEVELS,
                               LEVELS)[torch.randperm(64, generator=torch.Generator().manual_seed(0))][:K]

def dotted(n=24, seed=0, radius=2.2):
    """People of coloured dots, one colour per joint, on a ground that grows redder to the right and greener
    downwards: a mirror shows"""
    g, (H, W) = torch.Generator().manual_seed(seed), roomy(SIZE)
    cells = torch.cartesian_prod(torch.arange(5), torch.arange(4)).flip(-1)*7.5 + torch.tensor([W/2 - 11.25, H/2 - 15.])
    xy = torch.stack([cells[torch.randperm(20, generator=g)[:K]] for _ in range(n)]) + 2*torch.rand(n, K, 2,
        generator=g) - 1
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing='ij')
    image = (torch.stack([80 + x, 80 + y, torch.full_like(x, 134)])/255).repeat(n, 1, 1, 1)
    for k in range(K):
        near = ((x - xy[:,k,0,None,None])**2 + (y - xy[:,k,1,None,None])**2) <= radius**2
        image = torch.where(near[:,None], COLOURS[k].view(3,1,1), image)
    return dict(image=(image*255).round().byte(), xy=xy, vis=torch.full((n,K), 2), area=torch.full((n,), 400.))

class Oracle(nn.Module):
    """Finds every coloured dot, whichever way the picture is turned, resized or mirrored; a dot that is not there is
    taken to be in the corner"""
    def forward(self, x):
        w = ((x[:,None] - COLOURS.view(1, K, 3, 1, 1)).abs().amax(2) < .1).float()         # (B,K,H,W)
        w = F.avg_pool2d(w, 3, 1, 1)**6   # where most of a dot is, not where two others' edges mix
        n, y, z = w.sum((-1,-2)), torch.arange(x.shape[-2]).float(), torch.arange(x.shape[-1]).float()
        at = torch.stack([(w.sum(-2)*z).sum(-1), (w.sum(-1)*y).sum(-1)], -1)/n.clamp(min=1e-9)[...,None]
        def slope(c, dim):      # of the ground: dots and holes have steeper edges, or none
            d = x[:,c].diff(dim=dim)
            return (d*(d.abs() < .012)).sum((-1,-2))
        mirrored = slope(0,-1)*slope(1,-2) - slope(0,-2)*slope(1,-1) < 0
        xy = torch.where(mirrored[:,None,None], at[:,list(COCO17.flip_index)], at)
        return CODEC.encode(xy, torch.ones(xy.shape[:2]), (x.shape[-2]//2, x.shape[-1]//2))[0]

PEOPLE = dotted()
RIGID = (PLAIN, A30, View('mirror', (Zoom(1., True),), base=True),
         View('turn', (Affine(60, scale=0., p=1.),), base=True),
         View('turn after A30', (Affine(60, scale=0., p=1., flip=.5),)), View('small', (Zoom(.8),), base=True),
         View('small mirror', (Zoom(.8, True),), base=True))
def seen(views=RIGID, people=PEOPLE, nets=None, **kw):
    return measure(nets or Oracle(), people, views, CODEC, SIZE, COCO17, **{'rounds': 2, **kw})

@pytest.fixture(autouse=True, scope='module')
def one_thread():
    n = torch.get_num_threads()
    torch.set_num_threads(1); yield; torch.set_num_threads(n)

@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    "60 synthetic people and a small network that has learned a little from 150 others"
    folder = tmp_path_factory.mktemp('people')
    write_synth(folder, 150, 60, seed=3, difficulty=DIFFICULTIES['easy'], progress=False)
    train, val, _ = read_train_val(folder)
    net = build_peers('tiny', K, 1, seed=0, net={'width': 12}).nets[0].train()
    b, opt = people_of(Crops(train, SIZE).cache(False)), torch.optim.Adam(net.parameters(), lr=1e-2)
    for step in range(70):
        i = torch.randint(150, (24,), generator=torch.Generator().manual_seed(step))
        x = b['image'][i][..., 16:80, 12:60].float()/255
        heat, w = CODEC.encode(move(b['xy'][i], window(SIZE)), b['vis'][i], (32, 24))
        loss = ((net(x) - heat)*w[...,None,None]).square().mean()
        opt.zero_grad(); loss.backward(); opt.step()
    return net.eval(), val, Crops(val, SIZE)

# ---- mapping back

def test_who_is_exactly_right_is_so_under_every_rigid_view():
    m = seen()
    assert m.sight[:5].float().mean() > .97
    for i, v in enumerate(RIGID):
        found = (m.found[i] & m.sight[i]).sum()/m.sight[i].sum()
        assert found > .995, f'{v}: {found}'
    rows = {r['view']: r for r in accuracy(m)}
    for v in ('plain', 'mirror', 'small', 'small mirror'):
        assert rows[v]['pck'] == 100 and rows[v]['sight'] == 100, rows[v]

def test_joints_come_home_to_the_pixel():
    xy, _, sight = one_look(Oracle(), PEOPLE['image'], PEOPLE['xy'], RIGID, CODEC, SIZE, COCO17.flip_index,
                            torch.ones(K), 'home')
    off = (xy - move(PEOPLE['xy'], window(SIZE))).norm(dim=-1)
    assert off[0].max() < 1
    for i, v in enumerate(RIGID): assert off[i][sight[i]].quantile(.98) < 1.5, v

def test_home_undoes_the_flip_and_the_matrix():
    g = torch.Generator().manual_seed(1)
    true = torch.rand(8, K, 2, generator=g)*40
    M = compose(window(SIZE), affine(SIZE, 360*torch.rand(8, generator=g), .8 + torch.rand(8, generator=g),
                                     torch.arange(8) % 2 > 0))
    d = Sample(M, torch.arange(8) % 2 > 0)
    room = true - window(SIZE)[0,:2,2]                     # plain px -> roomy px
    at = move(room, M)
    at[1::2] = at[1::2][:,list(COCO17.flip_index)]         # what a network says of a mirrored picture
    assert_close(home(at, d, SIZE, COCO17.flip_index), true, atol=1e-3, rtol=0)

def test_peaks_trade_names_with_their_joints():
    class Loud(nn.Module):
        def forward(self, x): return (torch.arange(1., K+1)/20).view(1, K, 1, 1).expand(len(x), K, 32, 24)
    _, peak, _ = one_look(Loud(), PEOPLE['image'], PEOPLE['xy'], RIGID[:3], CODEC, SIZE, COCO17.flip_index,
                          torch.ones(K), 'loud')
    loud = torch.arange(1., K+1)/20
    assert_close(peak[0], loud.expand(24, K)); assert_close(peak[2], loud[list(COCO17.flip_index)].expand(24, K))

# ---- plain is plain

def test_accuracy_under_plain_is_the_plain_evaluation(drawn):
    net, val, crops = drawn
    rows = val.posed
    found = predict_all(net, crops.subset(rows), SIZE, CODEC)
    people = val.subset(rows)
    true, vis = torch.as_tensor(people.xy), torch.as_tensor(people.vis).long()
    hits, weight = pck(found.xy, true, vis, torso(true, vis), .2)
    m = measure(net, people_of(crops), (A60, PLAIN), CODEC, SIZE, COCO17, rounds=2)
    row = accuracy(m)[1]
    assert row['pck'] == pytest.approx(100*float(hits.sum()/weight.sum()), abs=.15)
    assert row['ap'] == pytest.approx(100*coco_eval(val, found.xy, found.score)['AP'],
                                      abs=.3), 'one similarity of sixty may cross one threshold of ten by rounding'
    assert_close(m.oks[1,0], oks(found.xy, true, vis, torch.as_tensor(people.area), COCO17.sigmas), atol=1e-3, rtol=0)
    assert 15 < row['pck'] < 100, 'the network must know something, or nothing is tested'

def test_alone_ap_is_pycocotools(drawn):
    net, val, _ = drawn
    from semipose.evaluate.coco import rescore
    people, g = val.subset(val.posed), torch.Generator().manual_seed(0)
    true, vis = torch.as_tensor(people.xy).double(), torch.as_tensor(people.vis)
    area = torch.as_tensor(people.area).double()
    for spread in (.02, .06, .15):
        xy = true + spread*area.sqrt()[:,None,None]*torch.randn(len(true), 1, 1,
                                                                generator=g).abs()*torch.randn(true.shape, generator=g)
        score = .2 + .8*torch.rand(true.shape[:2], generator=g)
        want = coco_eval(people, xy, score)['AP']
        assert 0 < want < 1
        assert float(alone_ap(oks(xy, true, vis, area, COCO17.sigmas),
                              torch.as_tensor(rescore(score)))) == pytest.approx(want, abs=1e-9)

# ---- hiding

def test_what_is_hidden_is_not_found_and_what_is_in_sight_is():
    hide = JointCutout(2, jitter=0.), JointCutout(8, jitter=0.), Cutout(20), JointCutout(17, low=12., jitter=0.)
    views = *map(as_view, hide), JointCutout(5, low=14, jitter=0.) >> A60, NOTHING
    people = dotted(radius=1.6)
    m = seen((PLAIN, A30, *views), people)
    for i, v in enumerate(m.views[:-1]): assert (m.found[i] == m.sight[i]).float().mean() > (.98 if i < 2 else .9), v
    hits = m.hits.sum(1)/m.known_joints.sum()
    assert hits[1] > hits[2] > hits[3] > hits[5] and hits[5] < .03 and hits[-1] < .05 and hits[0] == 1
    assert not m.sight[-1].any() and (m.sight.float().mean((1,2,3))[[1,2,3,5]].diff() < 0).all()

def test_hiding_lowers_a_real_network(drawn):
    net, _, crops = drawn
    m = measure(net, people_of(crops),
        (A30, *(as_view(JointCutout(n, low=14.)) for n in (3, 8, 17)), A60, JointCutout(8) >> A60, NOTHING), CODEC,
        SIZE, COCO17, rounds=3)
    a30, jc3, jc8, jc17, a60, both, none = (r['pck'] for r in accuracy(m))
    assert a30 > jc3 > jc8 > jc17 and a60 > both and none < .7*min(a30, a60)

def test_in_sight_by_hand():
    # roomy px; the plain crop begins at (12,16)
    xy = torch.tensor([[[24., 32.], [12., 16.], [59.6, 40.], [30., 30.], [40., 50.], [11.4, 40.]]])
    holes = (Hole(torch.tensor([[[18., 14., 2., 2.], [0., 0., -1., -1.]]]), window(SIZE)),
             Hole(torch.tensor([[[40., 50., 1., 1.]]]), torch.eye(3)[None]))
    d = replace(plain(1, SIZE), holes=holes)
    assert in_sight(xy, d, SIZE).tolist() == [[True, True, False, False, False, False]]

def test_views_hide_the_joints_that_the_network_finds_on_a30():
    "one that always points at the middle has its middle hidden, not the true joints"
    class Middle(nn.Module):
        def forward(self, x):
            return CODEC.encode(torch.tensor([23.5, 31.5]).expand(len(x), K, 2), torch.ones(len(x), K), (32, 24))[0]
    v = JointCutout(17, low=19., high=19.001, jitter=0.)
    people = dotted(80)
    m = seen((A30, as_view(v)), people, Middle())
    away = (people['xy'] - torch.tensor([35.5, 47.5])).norm(dim=-1)
    for r in range(2):
        hidden = m.sight[0,r] & ~m.sight[1,r]
        # 19 px of 256 are 4.75 px, at sizes .75 to 1.25
        assert hidden[away < 2.8].all() and not hidden[away > 10].any() and (away < 2.8).sum() > 10

def test_joints_that_nothing_supervises_are_neither_asked_for_nor_hidden():
    keep = torch.ones(K); keep[:9] = 0
    v = as_view(JointCutout(17, low=12., high=12.01, jitter=0.))
    m = seen((A30, v), keep=keep)
    assert not m.known[:,:9].any() and m.known[:,9:].all()
    assert not (m.sight[1] & m.sight[0])[...,9:].any() and m.sight[1][...,
        :9].float().mean() > .1, 'only learned joints are cut out'
    people = {k: t.clone() for k, t in PEOPLE.items()}
    people['vis'][3:7] = 0; people['vis'][7,9:] = 0
    assert seen((PLAIN,), people,
                keep=keep).found.shape[2] == len(PEOPLE['xy']) - 5, 'who has no known joint is left out'
    people['vis'][:] = 0
    with pytest.raises(UserError, match='nobody'): seen((PLAIN,), people)

# ---- chance

def test_determined_by_seed_and_view_and_by_nothing_else():
    a, b, c = seen((A30, A60)), seen((A30, A60)), seen((A30, A60), seed=1)
    assert torch.equal(a.oks, b.oks) and torch.equal(a.found, b.found) and not torch.equal(a.oks, c.oks)
    more = seen((as_view(JointCutout(5)), A60, as_view(RandAugment(2)), PLAIN, A30))
    assert torch.equal(more.oks[[4,1]], a.oks), 'other views change nothing'
    assert not torch.equal(a.oks[0,0], a.oks[0,1]), 'every round is a fresh draw'
    state = torch.get_rng_state()
    seen((A60, Spoilt('noise', A30, noise=.1)))
    assert torch.equal(state, torch.get_rng_state())

def test_what_does_not_start_from_the_plain_crop_continues_the_a30_of_its_round():
    m = seen((A30, View('nothing more'), Spoilt('hardly', A60, noise=1e-9), Spoilt('spoilt', A30, noise=1e-9), A60))
    assert torch.equal(m.oks[1], m.oks[0]) and torch.equal(m.found[1], m.found[0])
    assert_close(m.oks[2], m.oks[4]); assert_close(m.oks[3], m.oks[0])

def test_a_turn_is_not_the_turn_of_the_a30_before_it(monkeypatch):
    import semipose.easiness as room
    draws = []
    monkeypatch.setattr(room, 'render', lambda image, d, size: draws.append(d) or render(image, d, size))
    people = dotted(60)
    one_look(Oracle(), people['image'], people['xy'], (A30, View('turn', (Affine(30, p=.6, flip=.5),))), CODEC, SIZE,
             COCO17.flip_index, torch.ones(K), 'turn')
    first, then = compose(invert(window(SIZE)), draws[0].M), compose(invert(draws[0].M), draws[1].M)
    same = torch.corrcoef(torch.stack([first[:,0,1].abs(), then[:,0,1].abs()]))[0,1]
    assert same < .5, 'independent draws'

def test_blur_and_noise_are_what_they_say():
    g = torch.Generator().manual_seed(0)
    x = torch.zeros(2, 3, 128, 96); x[..., 64, 48] = 1
    y = Spoilt('b', A30, blur=8.).spoil(x)[0,0]
    assert y.sum() == pytest.approx(1, abs=1e-4)
    assert (y.sum(1)*(torch.arange(128) - 64.)**2).sum().sqrt() == pytest.approx(4,
        abs=.15), 'px at 256 px: half of it at 128'
    grey = torch.full((2, 3, 64, 48), .5)
    grain = Spoilt('n', A30, noise=.1).spoil(grey, g) - .5
    assert float(grain.std()) == pytest.approx(.1, abs=.003) and abs(float(grain.mean())) < .003
    loud = Spoilt('n', A30, noise=1.).spoil(grey, g)
    assert loud.min() == 0 and loud.max() == 1

def test_views_are_known_by_what_they_do():
    views = all_views()
    assert len({what(v) for v in views}) == len(views) and len({str(v) for v in views}) == len(views)
    ladders = (w for l in LADDERS.values() for w in l.values())
    assert {what(v) for v in (*OTHERS, *ladders, *(v for pair in pairs().values() for v in pair))} == {what(v)
        for v in views}
    m = seen((PLAIN, as_view(JointCutout(3)), Spoilt('s', A30, noise=.1)))
    assert m.at(View('other name', (JointCutout(3),))) == 1 and m.at(Spoilt('t', A30, noise=.1)) == 2
    for v in (as_view(JointCutout(4)), A30, Spoilt('s', A30, noise=.2), Spoilt('s', A30, noise=.1, blur=1.),
              View('from plain', (JointCutout(3),), base=True)):
        with pytest.raises(UserError, match='not measured'): m.at(v)
    with pytest.raises(UserError, match='same'): seen((A60, View('again', A60.steps)))
    for t, s in pairs().values():
        assert {what(t), what(s)} <= {what(v) for v in views}, 'the script measures every pair'

# ---- people drawn again

def test_people_drawn_again():
    n = again(50, 400, 0)
    assert ((n.sum(1) == 50).all() and n.min() == 0 and torch.equal(n, again(50, 400, 0))
            and not torch.equal(n, again(50, 400, 1)))
    assert_close(n.mean(0), torch.ones(50, dtype=torch.float64), atol=.25, rtol=0)
    assert n.var(0).mean() == pytest.approx(1 - 1/50, abs=.05)
    low, high = interval(torch.arange(1001).double())
    assert (float(low), float(high)) == pytest.approx((25, 975))

def fake(p, g, n=80, rounds=1):
    "People of 10 joints who differ among each other: each is found with a chance of its own, mean p"
    chance = (p + .4*(torch.rand(n, generator=g) - .5)).clamp(0, 1)
    found = torch.rand(1, rounds, n, 10, generator=g) < chance[:,None]
    return Measured((PLAIN,), found, torch.ones_like(found), torch.ones(n, 10, dtype=torch.bool),
                    torch.rand(1, rounds, n, generator=g), torch.rand(1, rounds, n, generator=g))

def test_the_interval_covers():
    g, hit = torch.Generator().manual_seed(0), 0
    for i in range(300):
        row = accuracy(fake(.6, g), times=300, seed=i)[0]
        assert row['low'] <= row['pck'] <= row['high']
        hit += row['low'] <= 60 <= row['high']
    assert .9 <= hit/300 <= .98

def test_people_with_many_joints_count_for_more():
    m = fake(.6, torch.Generator().manual_seed(0))
    known = torch.arange(10)[None] < torch.arange(1, 81)[:,None] % 10 + 1
    row = accuracy(m._replace(known=known, found=torch.ones_like(m.found)))[0]
    assert row['pck'] == pytest.approx(100) == row['low'] == row['high'], 'all found is all found, whoever is drawn'
    many = known.all(1)
    row = accuracy(m._replace(known=known, found=many[None,None,:,None].expand_as(m.found)))[0]
    assert row['pck'] == pytest.approx(100*float(10*many.sum()/known.sum())) and row['low'] < row['pck'] < row['high']

def test_more_people_narrow_the_interval():
    g = torch.Generator().manual_seed(0)
    wide, narrow = (accuracy(fake(.6, g, n))[0] for n in (50, 800))
    assert (wide['high'] - wide['low'])/(narrow['high'] - narrow['low']) == pytest.approx(4, rel=.25)

# ---- the gap

def test_the_gap_is_antisymmetric():
    m = seen((A30, A60, as_view(JointCutout(8)), NOTHING))
    g, acc = gaps(m), [r['pck'] for r in accuracy(m)]
    assert_close(g.gap, -g.gap.T); assert_close(g.low, -g.high.T)
    assert ((g.gap.diag() == 0).all() and (g.low.diag() == 0).all() and (g.low <= g.gap + 1e-9).all()
            and (g.gap <= g.high + 1e-9).all())
    assert (g.gap[0,2] == pytest.approx(acc[0] - acc[2], abs=1e-3) and g.gap[0,3] > 50
            and g.names == ['A30', 'A60', 'JointCutout(8)', 'nothing'])
    part = gaps(m, (NOTHING, A30))
    assert part.gap[1,0] == pytest.approx(float(g.gap[0,3])) and part.names == ['nothing', 'A30']

def test_paired_gaps_are_narrower_than_their_ends():
    m = seen((A30, View('nearly', (Affine(5, p=1., scale=.02),)), as_view(JointCutout(8))))
    g, rows = gaps(m), accuracy(m)
    assert g.high[0,1] - g.low[0,1] <= rows[0]['high'] - rows[0]['low'] + .5

def test_the_numbers_of_a_pair():
    m = seen((PLAIN, A30, as_view(JointCutout(8)), A60))
    p = numbers(m, A30, as_view(JointCutout(8)))
    assert (p['gap'] == pytest.approx(p['taught'] - p['misled'], abs=1e-6)
            and p['gap'] == pytest.approx(p['teacher'] - p['student']))
    T, S, sight = (x.float() for x in (m.found[1], m.found[2], m.sight[2]))
    assert p['teacher'] == pytest.approx(float(T.mean()))
    assert (p['taught_in_sight'] == pytest.approx(float((T*(1-S)*sight).mean()))
            and p['sight'] == pytest.approx(float(sight.mean())))
    q = numbers(m, as_view(JointCutout(8)), A30)
    assert (q['gap'] == pytest.approx(-p['gap'])
            and (q['taught'], q['misled']) == pytest.approx((p['misled'], p['taught'])))
    equal = numbers(m, A60, A60)
    assert equal['gap'] == 0 and equal['taught'] == pytest.approx(equal['misled']) and equal[
        'taught'] > 0, 'two draws of one view are two pictures'
    with pytest.raises(UserError, match='rounds=2'): numbers(seen((A30,), rounds=1), A30, A30)

def test_pairs_are_the_rows_that_differ_in_their_views_alone():
    want = {'posecons', 'posecons_jc', 'posecons_ra', 'easy_easy', 'hard_hard', 'hard_easy',
            'pair_jc2', 'pair_jc10', 'pair_jc17', 'pair_a90', 'pair_plain_a30', 'pair_plain_a60', 'pair_co_a30',
            'pair_nothing'}
    assert want <= set(pairs()) and not {'naive', 'naive_equal', 'posedual', 'multiaugs', 'threshold_04',
                                         'mean_teacher', 'pseudopose_soft', 'supervised'} & set(pairs())
    for n, (t, s) in pairs().items():
        assert replace(METHODS['posecons'], teacher_view=t, student_views=(s,)) == METHODS[n]

# ---- rules

def test_correlations_are_scipys():
    from scipy import stats
    g = torch.Generator().manual_seed(0)
    for i in range(20):
        x, y = torch.randint(0, 6, (2, 12), generator=g).double() if i % 2 else torch.randn(2, 12, generator=g).double()
        assert_close(ranks(x), torch.as_tensor(stats.rankdata(x)).to(ranks(x)))
        assert float(spearman(x, y)) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
        assert float(kendall(x, y)) == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)
    assert float(spearman(torch.ones(5), torch.arange(5.))) == float(kendall(torch.ones(5), torch.arange(5.))) == 0

def test_left_out_is_what_it_says():
    import numpy as np
    g = torch.Generator().manual_seed(0)
    x = torch.randn(9, generator=g).double(); y = .7*x + .5*torch.randn(9, generator=g)
    line, mean = 0., 0.
    for i in range(9):
        rest = [j for j in range(9) if j != i]
        b, a = np.polyfit(x[rest], y[rest], 1)
        line, mean = line + (y[i] - a - b*x[i])**2, mean + (y[i] - y[rest].mean())**2
    assert float(left_out(x, y)) == pytest.approx(float(1 - line/mean), abs=1e-9)
    assert (float(left_out(torch.ones(9), y)) == pytest.approx(0, abs=1e-9)
            and float(left_out(2*y - 1, y)) == pytest.approx(1))
    assert float(left_out(torch.randn(9, generator=g), y)) < .3

def some(n, seed=0):
    g = torch.Generator().manual_seed(seed)
    keys = ('teacher', 'student', 'taught', 'misled', 'sight', 'taught_in_sight')
    out = [dict(zip(keys, r)) for r in torch.rand(n, len(keys), generator=g).tolist()]
    return [dict(r, gap=r['teacher'] - r['student']) for r in out]

def test_the_rules_are_the_declared_formulas():
    p = dict(teacher=.8, student=.5, gap=.3, taught=.35, misled=.05, sight=.9, taught_in_sight=.31)
    want = {'student': .5, 'teacher': .8, 'gap': .3, 'gap x student': .15, 'gap x share kept': .1875,
            'gap, if half is kept': .3, 'gap x in sight': .27,
            'gap x teacher x student': .12, 'taught': .35, 'taught in sight': .31, 'student in doubt': .25}
    assert {k: r(p) for k, r in RULES.items() if k in want} == pytest.approx(want)
    assert RULES['gap, if half is kept'](dict(p, student=.39, gap=.41)) == 0
    x = rule_values([p, dict(p, student=.1)])
    assert x.shape == (len(RULES), 2) and float(x[list(RULES).index('student'),1]) == pytest.approx(.1)

def test_the_rule_that_made_the_gains_is_found_and_luck_is_told():
    ps = some(12)
    made = [3*RULES['gap x student'](p) - 1 for p in ps]
    rows = judge(ps, made)
    assert (rows[0]['rule'] == 'gap x student' and rows[0]['spearman'] == pytest.approx(1) == rows[0]['left_out']
            and rows[0]['kendall'] == pytest.approx(1))
    assert [r['spearman'] for r in rows] == sorted((r['spearman'] for r in rows), reverse=True)
    assert luck(ps, made, times=500) < .01
    chance = [luck(ps, torch.randn(12, generator=torch.Generator().manual_seed(s)), times=200, seed=s)
              for s in range(120)]
    assert .01 <= sum(p < .1
        for p in chance)/120 <= .2 and .35 < sum(chance)/120 < .65, 'of nothing, one in ten looks as good as one in ten'
    assert luck(ps, made, times=100, seed=1) == luck(ps, made, times=100, seed=1)
    with pytest.raises(UserError, match='too few'): judge(ps[:3], made[:3])

def test_choosing():
    m = seen((PLAIN, A30, A60, as_view(JointCutout(8)), NOTHING))
    rows = choose(m, (A30, A60, as_view(JointCutout(8))), (A30, A60, as_view(JointCutout(8)), NOTHING), 'gap')
    assert len(rows) == 8 and rows[0]['student_view'] is NOTHING
    assert [r['says'] for r in rows] == sorted((r['says'] for r in rows),
                                               reverse=True), 'teachers that need a teacher are left out'
    assert choose(m, (A30,), (A60, NOTHING), lambda p: p['student'])[0]['student_view'] is A60
    with pytest.raises(UserError, match='no rule'): choose(m, (A30,), (A60,), 'gab')

# ---- batch statistics

def test_the_gap_figure_goes_from_easy_to_hard():
    acc = torch.tensor([50., 80., 20.])
    gap = acc[:,None] - acc[None]
    g = Gaps(['A60', 'plain', 'JointCutout(5) >> A60'], gap, gap-31, gap+31)           # 30 % is not sure, 60 % is
    ax = gap_figure(g).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == [t.get_text() for t in ax.get_xticklabels()] == ['plain',
        'A60', 'JC(5), A60']
    assert short(JointCutout(5) >> A60) == 'JC(5), A60'
    assert ([t.get_text() for t in ax.texts] == ['30', '60', '-30', '30', '-60', '-30']
            and [t.get_alpha() for t in ax.texts] == [.5, 1, .5, .5, 1, .5])
    assert_close(torch.tensor(ax.images[0].get_array().data).float(), gap[[1,0,2]][:,[1,0,2]])

def test_fresh_statistics_are_those_of_easy_pictures_and_weights_stay():
    net = build_peers('tiny', K, 1, seed=1, net={'width': 8}).nets[0].train()
    # a student who sees nothing
    for _ in range(3):
        net(torch.full((8, 3, *SIZE), .46) + .01*torch.randn(8, 3, *SIZE, generator=torch.Generator().manual_seed(0)))
    new = fresh_statistics(net, PEOPLE['image'], SIZE, batch=12)
    assert net.training and not any(m.training for m in new.modules())
    for (k, a), (_, b) in zip(net.named_parameters(), new.named_parameters()): assert torch.equal(a, b), k
    first = next(m for m in new.modules() if isinstance(m, nn.BatchNorm2d))
    seen, hook = [], first.register_forward_pre_hook(lambda m, x: seen.append(x[0]))
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for x in PEOPLE['image'].split(12): new(render(x, A30.sample(plain(12, SIZE), SIZE, generator=g), SIZE))
    hook.remove()
    assert_close(first.running_mean, torch.stack([x.mean((0,2,3)) for x in seen]).mean(0), atol=1e-5, rtol=1e-4)
    assert_close(first.running_var, torch.stack([x.movedim(1, 0).flatten(1).var(1) for x in seen]).mean(0), atol=1e-5,
                 rtol=1e-4)
    old = next(m for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    assert not torch.equal(old.running_mean, first.running_mean), 'the network itself is left alone'

def test_every_pair_is_named_at_its_own_place():
    def made(gap, sight, gained, teacher=A30, student=A60):
        return dict(gap=gap, sight=sight, student=.5, teacher=.5, gained=gained, low=gained-1., high=gained+1.,
                    teacher_view=teacher, student_view=student)
    ps = [made(.1, .9, 3.), made(.5, .8, 21., student=JointCutout(5) >> A60), made(.6, 0., -30., student=NOTHING),
          made(-.2, .9, -20., teacher=A60, student=A30)]
    a, b = pairs_figure(ps).axes
    points = lambda ax: sorted((float(l.get_xdata()[0]), float(l.get_ydata()[0])) for l in ax.lines
                               if l.get_marker() in 'os' and len(l.get_xdata()) == 1)
    assert_close(torch.tensor(points(a)), torch.tensor(sorted((100*p['gap'], p['gained']) for p in ps)))
    assert_close(torch.tensor(points(b)), torch.tensor(sorted((100*p['gap']*p['sight'], p['gained']) for p in ps)))
    assert sorted(t.get_text() for t in a.texts) == ['A60', 'A60 → A30', 'JC(5), A60', 'nothing']
    assert a.get_ylim()[1] > 25 and max(t.get_position()[1]
                                        for t in a.texts) > 25, 'names stand above the highest point'
