"Every line of the table against its declaration and its formula, both written again here with loops"
import math, pytest, torch
import numpy as np
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace as NS
from scipy import ndimage
from torch import nn
from torch.testing import assert_close
from semipose.codecs import Gaussian
from semipose.geometry import compose, invert, move, roomy
from semipose.losses import mse
from semipose.draw import PALETTE
from semipose.methods import (GROUPS, METHODS, Row, add, color, cost, equal_compute, formula, line_of,
                              method, row_of, table, title)
from semipose.methods import ROWS as TABLE
from semipose.nets.peers import Peers, build_peers
from semipose.nets.simple import Tiny
from semipose.skeletons import COCO17
from semipose.teaching import BothWays, Self, Teaching, one_batch
from semipose.views import (A30, A60, MEAN, Affine, Cutout, CutMix, Sample, JointCutout, JointOcclude,
                            RandAugment, Zoom, covered, plain, render)

SIZE, CODEC, K, B, LR = (32, 24), Gaussian(sigma=1.5, stride=2), 17, 4, 1e-3
MIRROR = {a: b for l, r in COCO17.flips for a, b in ((l, r), (r, l))}

# ---- what the table should say, said again

def declared():
    "name -> who teaches, what the teacher sees, what the student sees, what counts, networks, factor of S"
    easy, hard, jc, ra = ['A30'], [['A60']], [['JC', 'A60']], [['RA', 'A60']]
    four = [['JO', 'CO', 'A60'], ['JC', 'CM', 'A60'], ['JC', 'A60'], ['JO', 'A60']]
    scales = [f'x{s}{m}' for s in (.9, .7, 1.1, 1.3) for m in ('', 'm')]
    rows = dict(supervised=('nobody', [], []), supervised_strong=('nobody', [], []), supervised_both=('nobody', [], []),
                naive=('both', easy, hard), naive_equal=('both', easy, [['A30']]), posecons=('self', easy, hard),
                posecons_jc=('self', easy, jc), posecons_ra=('self', easy, ra),
                posedual=('peer', easy, hard, 'all', 2, .5), posedual_jc=('peer', easy, jc, 'all', 2, .5),
                posedual_ra=('peer', easy, ra, 'all', 2, .5),
                pseudopose=('frozen drawn', ['plain'], [['A30']]), pseudopose_soft=('frozen', ['plain'], [['A30']]),
                posecons_drawn=('self drawn', easy, hard),
                data_distillation=('frozen drawn', scales, [['A30']]),
                easy_easy=('self', easy, [['A30']]), hard_hard=('self', ['A60'], hard),
                hard_easy=('self', ['A60'], [['A30']]),
                multiaugs=('self', easy, four), multiaugs_dual=('peer', easy, four, 'all', 2, .5),
                sspcm=('closest', easy, [['JO', 'A60']], ('two', .1), 3, .5),
                supervised_other=('nobody', [], []), posedual_other=('peer', easy, hard, 'all', 2, .5),
                posedual_unlike=('peer', easy, hard, 'all', 2, .5),
                posedual_released=('peer', easy, [['A60r']], 'all', 2, .5),
                posedual_jc_released=('peer', easy, [['JCr', 'A60r']], 'all', 2, .5),
                sspcm_released=('closest', easy, [['JOr', 'A60r']], ('two', .1), 3, .5))
    for end, student in (('', hard), ('_equal', [['A30']])):
        for t in (2, 4, 6, 8):
            rows[f'threshold_0{t}{end}'], rows[f'foreground_0{t}{end}'] = (
                ('self', easy, student, ('joint', t/10)), ('self', easy, student, ('pixel', t/10)))
            if t > 5: rows[f'certain_0{t}{end}'] = 'self', easy, student, ('certain', t/10)
        rows[f'balanced{end}'], rows[f'foreground_x10{end}'] = (
            ('self', easy, student, ('balanced', .1)), ('self', easy, student, ('factor', .1)))
        rows[f'mean_teacher_99{end}'], rows[f'mean_teacher{end}'] = ('ema', easy, student), ('ema', easy, student)
    for n in (2, 10, 17): rows[f'pair_jc{n}'] = 'self', easy, [[f'JC{n}', 'A60']]
    rows |= dict(pair_a90=('self', easy, [['A90']]), pair_a120=('self', easy, [['A120']]),
                 pair_plain_a30=('self', ['plain'], [['A30']]),
                 pair_plain_a60=('self', ['plain'], hard))
    for row, who, student, rest in (('posecons', 'self', hard, ()), ('posecons_jc', 'self', jc, ()),
                                    ('posedual_jc', 'peer', jc, ('all', 2, .5))):
        ends = dict(kept='spline', kept_eval='spline eval', eval='eval', one='spline one', drawn_kept='drawn high',
                    drawn='drawn')
        rows |= {f'{row}_{end}': (f'{who} {words}', easy, student, *rest) for end, words in ends.items()}
    return {n: NS(**dict(zip(('teacher', 'easy', 'hard', 'counts', 'nets', 'sup'), r + ('all', 1, 1.)[len(r)-3:])))
            for n, r in rows.items()}

DECLARED = declared()
# whose pictures are no fair ones: their words alone
HIDDEN = dict(pair_co_a30=NS(easy=['A30 CO20'], hard=[['A30']]), pair_nothing=NS(easy=['A30'], hard=[['nothing']]))
LABELED = dict(supervised_strong=[['JC', 'A60']], supervised_both=[['A30'], ['JC', 'A60']])      # all others see A30
LITERAL = {     # word -> its step, every number as published or released, written here once more
    'plain': (), 'A30': (Affine(rotate=30, scale=.25, p=.6, flip=.5),),
           'A60': (Affine(rotate=30, scale=.25, p=.8, flip=0),), 'A90': (Affine(rotate=60, scale=.25, p=.8, flip=0),),
    'A120': (Affine(rotate=90, scale=.25, p=.8, flip=0),),
           'A60r': (Affine(rotate=30, scale=.25, p=.8, flip=0, released=True, box=True),),
    **{f'JC{n}': (JointCutout(n=int(n or 5), low=10, high=19, jitter=10),) for n in ('', '2', '10', '17')},
    'JCr': (JointCutout(n=5, low=10, high=19, jitter=10, released=2, channels=24),),
    'JO': (JointOcclude(n=2, low=10, high=19),), 'JOr': (JointOcclude(n=2, low=10, high=19, released=True),),
           'CO': (Cutout(n=5, low=10, high=19),),
    'CO20': (Cutout(n=20, low=10, high=19),), 'CM': (CutMix(n=2, low=10, high=19),),
           'RA': (RandAugment(n=2, m=20, hole=80),), 'nothing': (Cutout(n=1, low=1e4, high=1e4),),
    **{f'x{s}{m}': (Zoom(s, bool(m)),) for s in (.9, .7, 1.1, 1.3) for m in ('', 'm')}}
# words that begin at the plain crop; all others go on from the easy view that networks share
BASES = ('plain', 'A30', 'x')

def literal(words):
    "(starts from the plain crop, steps) of a view, from its words"
    words = words.split() if isinstance(words, str) else words
    return words[0].startswith(BASES), tuple(step for w in words for step in LITERAL[w])

@pytest.mark.parametrize('name', list(DECLARED | HIDDEN))
def test_every_view_is_the_declared_one_down_to_its_numbers(name):
    m, s = METHODS[name], (DECLARED | HIDDEN)[name]
    have = lambda views: [(v.base, v.steps) for v in views]
    if s.hard: assert have(m.teacher_views) == [literal(w) for w in s.easy]
    assert have(m.student_views) == [literal(w) for w in s.hard]
    assert have(m.labeled_views) == [literal(w) for w in LABELED.get(name, [['A30']])]

ROWS = [(n, 5) for n in DECLARED] + [('sspcm', 1000)]        # SSPCM also after its first snapshot
ONCE = list(DECLARED)

# ---- networks in float64 whose answers are large enough to be confident, and a batch

class Double(nn.Module):
    stride = 2
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.net = Tiny(width=6, levels=2).double()
        nn.init.normal_(self.net.final.weight, std=.12)
        nn.init.uniform_(self.net.final.bias, -.2, .35)
    def forward(self, x): return self.net(x.double())

def peers(m, seed=0):
    model = Peers([Double(10*seed + i) for i in range(m.nets)], **m.copies)
    for copies in (model.ema, model.frozen):
        if copies is not None:
            with torch.no_grad():
                for p in copies.parameters():
                    p += .02*torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()), dtype=p.dtype)
    return model.train()

def batch(n=B, size=SIZE):
    g = torch.Generator().manual_seed(0)
    (H, W), (h, w) = roomy(size), size
    x = {k: torch.randint(0, 255, (n, 3, H, W), dtype=torch.uint8, generator=g) for k in ('labeled', 'unlabeled')}
    return (x, dict(xy=torch.rand(n, K, 2, generator=g)*torch.tensor([w, h]) + torch.tensor([w/4, h/4]),
                    vis=torch.randint(0, 3, (n, K), generator=g)))

SUPERVISED = torch.ones(K); SUPERVISED[0] = 0     # the nose, which is its own mirror image: nothing supervises it
X, Y = batch()
Y['vis'][:, 0] = 0

@pytest.fixture(autouse=True, scope='module')
def one_thread():
    "pictures are tiny here: a second thread would only wait"
    n = torch.get_num_threads()
    torch.set_num_threads(1); yield; torch.set_num_threads(n)


def run(name, step=5, model=None, m=None, seed=2):
    m = m or METHODS[name]
    model = model or peers(m)
    t = Teaching(m, CODEC, SIZE, COCO17, SUPERVISED, seed=seed, step=step)
    images, labels, pred, loss = one_batch(t, model, X, Y)
    return NS(m=m, t=t, model=model, images=images, labels=labels, pred=pred, loss=loss, terms=t.terms)

# ---- the formulas, written again

def slow_mse(H, T, w):
    "mean over joints of half the mean over batch and pixels of (w H - w T)^2"
    total, (B, K, h, w_) = 0., H.shape
    H, T = ([o.unbind(0) for o in t.unbind(1)] for t in (H, T))
    for k in range(K):
        joint = 0.
        for b in range(B):
            wk = w[k] if w.dim() == 1 else w[b,k]
            joint = joint + ((wk*H[k][b] - wk*T[k][b])**2).sum()
        total = total + .5*joint/(B*h*w_)
    return total/K

def slow_warp(heat, M, stride, offset=0.):
    "(K,h,w) by one 3x3 matrix in crop px: four corners, nothing outside; heatmap pixel i lies at stride*i + offset"
    K, h, w = heat.shape
    y, x = torch.meshgrid(torch.arange(h, dtype=torch.float64), torch.arange(w, dtype=torch.float64), indexing='ij')
    at = (torch.linalg.inv(M.double()) @ torch.stack([stride*x + offset, stride*y + offset,
                                                      torch.ones_like(x)]).flatten(1))
    u, v = ((at[i] - offset)/stride for i in (0, 1))
    out = torch.zeros(K, h*w, dtype=heat.dtype)
    for dx in (0, 1):
        for dy in (0, 1):
            i, j = u.floor() + dx, v.floor() + dy
            part = (1 - (u-i).abs())*(1 - (v-j).abs())*((i >= 0) & (i < w) & (j >= 0) & (j < h))
            out = out + part*heat[:, j.clamp(0, h-1).long(), i.clamp(0, w-1).long()]
    return out.view(K, h, w)

def slow_spline(heat, M, stride):
    """(K,h,w) along a cubic spline, by scipy, fading over a pixel at the border; nothing below the map's lowest
    value or 0"""
    K, h, w = heat.shape
    y, x = np.mgrid[:h, :w]
    u, v, _ = ((torch.linalg.inv(M.double()) @ torch.tensor(np.stack(
        [stride*x.ravel(), stride*y.ravel(), np.ones(x.size)])))/stride)
    fade = lambda p, n: (1 - (-p).clamp(min=0) - (p - (n-1)).clamp(min=0)).clamp(min=0)
    out = [ndimage.map_coordinates(k.detach().numpy(), np.stack([v.clamp(-1, h), u.clamp(-1, w)]), order=3,
                                   mode='mirror') for k in heat]
    out = torch.from_numpy(np.stack(out))*fade(u, w)*fade(v, h)
    return torch.maximum(out, heat.detach().flatten(1).amin(1, keepdim=True).clamp(max=0)).view(K, h, w)

def slow_carry(heat, src, dst, mirror=MIRROR, spline=False):
    out = []
    for b in range(len(heat)):
        M = compose(invert(src.M[b:b+1]), dst.M[b:b+1])[0]
        moved = (slow_spline(heat[b], M, CODEC.stride) if spline
                 else slow_warp(heat[b], M, CODEC.stride, .5 if dst.released else 0.))
        out.append(torch.stack([moved[mirror.get(k, k)] for k in range(len(moved))])
                   if src.flip[b] != dst.flip[b] else moved)
    return torch.stack(out)

def slow_teacher(r, s, i, model):
    "What teaches network i, in the frame of the first teacher view"
    def answer(nets, j):
        total, cover = 0., 0.
        for im, d in zip(r.t.made.forward.images, r.t.made.easy):
            heat, one = nets[j](im), torch.ones(B, 1, 16, 12, dtype=torch.float64)
            if d is not r.t.made.easy[0]:
                heat, one = slow_carry(heat, d, r.t.made.easy[0]), slow_carry(one, d, r.t.made.easy[0], {})
            total, cover = total + heat, cover + one
        return total/cover
    who = s.teacher.split()[0]
    if 'eval' in s.teacher: model = peers(r.m).eval()      # through the statistics it had before this step
    if who in ('both', 'self'): return answer(model.nets, i)
    if who == 'peer': return answer(model.nets, 1-i)
    if who in ('ema', 'frozen'): return answer(getattr(model, who), i)
    if i < 2: return answer(model.nets, 1-i)
    a, b = answer(model.nets, 0), answer(model.nets, 1)
    pairs = [(a, b)]
    if r.t.step >= 1000:
        old_a, old_b = answer(model.frozen, 0), answer(model.frozen, 1)
        pairs += [(old_a, b), (a, old_b), (old_a, old_b)]
    out = torch.zeros_like(a)
    for n in range(B):
        for k in range(K):
            gaps = []
            for p, q in pairs:
                (py, px), (qy, qx) = (divmod(int(o[n,k].flatten().argmax()), 12) for o in (p, q))
                gaps.append((px-qx)**2 + (py-qy)**2)
            p, q = pairs[gaps.index(min(gaps))]
            out[n,k] = (p[n,k] + q[n,k])/2
    return out

def slow_weight(heat, counts, easy=None):
    if counts == 'all': return SUPERVISED.double()
    kind, t = counts
    w = torch.zeros_like(heat)
    for b in range(B):
        for k in range(K):
            h = heat[b,k].detach()
            front = h > t
            # no view here is mirrored once more
            if kind == 'two': w[b,k] = float((float(easy[0][b,k].max()) + float(easy[1][b,k].max()))/2 > t)
            if kind == 'joint': w[b,k] = float(h.max() > t)
            if kind == 'pixel': w[b,k] = front.double()
            if kind == 'certain': w[b,k] = ((h > t) | (1-h > t)).double()
            if kind == 'factor': w[b,k] = 1. + (10**.5 - 1)*front.double()
            if kind == 'balanced':
                n = int(front.sum())
                w[b,k] = ((h.numel()/max(2*n, 1))**.5*front.double()
                          + (h.numel()/max(2*(h.numel()-n), 1))**.5*(~front).double())
            w[b,k] *= SUPERVISED[k]
    return w

def slow_drawn(heat, src, dst):
    "The joints of a heatmap, a quarter pixel towards the higher neighbour, drawn as bumps in another view; weight"
    out, seen = torch.zeros_like(heat), torch.zeros(B, K, dtype=torch.float64)
    for b in range(B):
        M = compose(invert(src.M[b:b+1]), dst.M[b:b+1])[0].double()
        for k in range(K):
            from_k = MIRROR.get(k, k) if src.flip[b] != dst.flip[b] else k
            h = heat[b,from_k]
            y, x = divmod(int(h.flatten().argmax()), 12)
            if 0 < x < 11 and 0 < y < 15:
                x, y = x + .25*float(torch.sign(h[y,x+1] - h[y,x-1])), y + .25*float(torch.sign(h[y+1,x] - h[y-1,x]))
            u, v, _ = ((M @ torch.tensor([2*x, 2*y, 1.], dtype=torch.float64))/2).tolist()
            r = 3*CODEC.sigma
            seen[b,k] = float(-r <= u <= 11+r and -r <= v <= 15+r)
            for yy in range(16):
                for xx in range(12):
                    if abs(xx-u) <= r and abs(yy-v) <= r and seen[b,k]:
                        out[b,k,yy,xx] = math.exp(-((xx-u)**2 + (yy-v)**2)/(2*CODEC.sigma**2))
    return out, seen

def slow_heights(heat, src, dst):
    "(B,K,1,1) of the joints as the other view calls them"
    top = heat.detach().flatten(2).amax(2)
    return torch.stack([torch.stack([top[b, MIRROR.get(k, k) if src.flip[b] != dst.flip[b] else k] for k in range(K)])
                        for b in range(B)])[...,None,None]

def slow_loss(r, s, model):
    "The published sum: every network's S and U, each from a forward pass of its own"
    total, lessons = 0., []
    T, w = r.labels['target'].double(), r.labels['weight'].double()
    for i in range(s.nets):
        total = total + s.sup*slow_mse(model.nets[i](r.images['labeled']), T, w)
        for v in range(len(s.hard)):
            if s.teacher == 'both': heat = slow_teacher(r, s, i, model)
            else:
                with torch.no_grad(): heat = slow_teacher(r, s, i, model)
            lesson = slow_carry(heat, r.t.made.easy[0], r.t.made.hard[i][v], spline='spline' in s.teacher)
            with torch.no_grad():
                both = [model.nets[j](r.t.made.forward.images[0]) for j in (0, 1)] if s.counts[0] == 'two' else None
            weight = slow_weight(lesson, s.counts, both)
            high = slow_heights(heat, r.t.made.easy[0], r.t.made.hard[i][v])
            if 'one' in s.teacher: lesson = lesson/high.clamp(min=.1)
            if 'drawn' in s.teacher: lesson, weight = slow_drawn(heat, r.t.made.easy[0], r.t.made.hard[i][v])
            if 'high' in s.teacher: lesson = lesson*high
            lessons.append((lesson.detach(), weight))
            # on the same tensors: these are made with float32 numbers
            if 'drawn' in s.teacher or 'spline' in s.teacher or r.t.made.hard[i][v].released:
                lesson, weight = (o.double() for o in r.labels['teach'][i][v])
            total = total + slow_mse(model.nets[i](r.images['student'][i][v]), lesson, weight)
    return total, lessons

# ---- the laws

def test_the_table_is_what_was_asked_for():
    assert set(METHODS) >= set(DECLARED) | set(HIDDEN) and [r['name'] for r in table()] == list(METHODS) == list(TABLE)
    assert [n for rows in GROUPS.values() for n in rows] == list(METHODS)
    assert len({title(n) for n in METHODS}) == len(METHODS) and all(title(n) != n for n in METHODS)
    shown = [tuple(r[c] for c in ('teacher', 'teacher_view', 'student_views', 'counts', 'nets', 'loss',
                                  'labeled_view', 'networks')) for r in table()]
    twins = {(a, b) for i, a in enumerate(METHODS) for j, b in enumerate(METHODS) if i < j and shown[i] == shown[j]}
    assert twins == set(), 'two rows that print alike'
    assert (all(TABLE[n].paper for n in ('supervised', 'posecons', 'posedual_ra', 'data_distillation',
                                         'hard_easy', 'sspcm')) and not TABLE['naive_equal'].paper)

def test_pairs_are_posecons_with_other_views():
    "the grid that easiness is asked to predict: nothing but the two views differs"
    from dataclasses import replace
    for n, m in GROUPS['pairs'].items():
        assert replace(m, teacher_view=A30, student_views=(A60,)) == METHODS['posecons'] and m != METHODS['posecons'], n
    views = {n: (str(m.teacher_view), str(m.student_views[0])) for n, m in GROUPS['pairs'].items()}
    assert (len(set(views.values())) == 9 and views['pair_a120'] == ('A30', 'A120')
            and views['pair_plain_a30'] == ('plain', 'A30') and views['pair_nothing'][1] == 'nothing')

def test_two_different_lines_are_two_different_methods():
    assert len(set(METHODS.values())) == len(METHODS)
    assert (replace(METHODS['naive'], teacher=Self()) == METHODS['posecons']
            and replace(METHODS['easy_easy'], teacher=BothWays()) == METHODS['naive_equal'])

@pytest.mark.parametrize('name', ONCE)
def test_factors_and_networks_are_the_declared_ones(name):
    m, s = METHODS[name], DECLARED[name]
    assert ((m.nets, m.sup, m.cons, len(m.student_views), len(m.teacher_views))
            == (s.nets, s.sup, 1., len(s.hard), max(len(s.easy), 1)))
    f = (('0.5 S' if s.sup == .5 else 'S') + (f' + sum of {len(s.hard)} U' if len(s.hard) > 1 else ' + U'
                                              if s.hard else '') + (' each' if s.nets > 1 else ''))
    assert formula(m) == f and method(name) is m
    assert m.decay == {'mean_teacher_99': .99, 'mean_teacher': .999}.get(name.removesuffix('_equal'))

@pytest.mark.parametrize('name, step', ROWS)
def test_one_step_of_adam_equals_the_formula_written_with_loops(name, step):
    s, model = DECLARED[name], peers(METHODS[name])
    twin = deepcopy(model)
    r = run(name, step, model)
    total, lessons = slow_loss(r, s, twin)
    assert_close(r.loss, total, rtol=0, atol=1e-9)
    flat = [lesson for views in r.labels.get('teach', ()) for lesson in views]
    assert len(flat) == len(lessons)
    for (heat, w), (slow, sw) in zip(flat, lessons):
        # released: two shifts of the matrix in float32
        tolerance = (2e-5 if 'drawn' in s.teacher else 1e-6 if name.endswith('released')
                     or 'spline' in s.teacher else 1e-9)
        assert_close(heat.double(), slow, rtol=0, atol=tolerance)
        assert_close(w.double(), sw*SUPERVISED if 'drawn' in s.teacher else sw if w.dim() > 2 or sw.dim() < 4
                     else sw[:,:,0,0], rtol=0, atol=1e-6)
    for o, loss in ((model, r.loss), (twin, total)):
        opt = torch.optim.Adam([p for p in o.parameters() if p.requires_grad], lr=LR)
        loss.backward(); opt.step()
    before = dict(peers(METHODS[name]).named_parameters())
    moved = 0
    for (k, p), q in zip(model.named_parameters(), twin.parameters()):
        assert_close(p, q, rtol=0, atol=1e-9, msg=k)
        moved += bool((p - before[k]).abs().max() > LR/2) and k.startswith('nets.')
        assert k.startswith('nets.') or torch.equal(p, before[k]), 'copies do not learn'
    assert moved > 10*s.nets

@pytest.mark.parametrize('name', ONCE)
def test_gradient_reaches_the_networks_and_the_side_it_should(name):
    "S and U of network i move network i alone; the teacher's answer is pulled under plain consistency only"
    r, s = run(name), DECLARED[name]
    assert ('teacher' in r.pred) == (s.teacher == 'both')
    params = [n.net.final.weight for n in r.model.nets]
    for i in range(s.nets):
        S = mse(r.pred['labeled'][i], r.labels['target'], r.labels['weight'])
        terms = ([S] + [mse(h, *lesson) for h, lesson in zip(r.pred['student'][i], r.labels['teach'][i])]
                 if s.hard else [S])
        for term in terms:
            g = torch.autograd.grad(term, params, retain_graph=True, allow_unused=True)
            assert [bool(x is not None and x.abs().max() > 0) for x in g] == [i == j for j in range(s.nets)]
    for views in r.labels.get('teach', ()):
        assert all(heat.requires_grad == (s.teacher == 'both') and not w.requires_grad for heat, w in views)
    if s.teacher == 'both':
        (h, w), = r.labels['teach'][0]
        pull_t, pull_s = torch.autograd.grad(mse(r.pred['student'][0][0], h, w),
                                             [r.pred['teacher'][0], r.pred['student'][0][0]], retain_graph=True)
        assert pull_t.abs().max() > 0 and pull_s.abs().max() > 0
    final = torch.autograd.grad(r.loss, [n.net.final.bias for n in r.model.nets], retain_graph=True)
    assert all(g[0] == 0 and (g != 0).sum() >= 10 for g in final), 'the channel that nothing supervises is left alone'

def bare(image, d): return render(image, Sample(d.M, d.flip), SIZE)

def turned(a, b):
    "Between two views: per picture the two stretches, the angle in degrees, mirrored or not"
    L = compose(invert(a.M), b.M)[:,:2,:2].double()
    return torch.linalg.svdvals(L), torch.atan2(L[:,0,1], L[:,0,0]).rad2deg().abs(), torch.linalg.det(L) < 0

KINDS = dict(JC2=(2, False), JC10=(10, False), JC17=(17, False), JC=(5, False), JCr=(5, False), CO=(5, False),
             RA=(2, False), JO=(2, True), JOr=(2, True),
             CM=(2, True))   # boxes; filled from others

@pytest.mark.parametrize('name', [n for n in ONCE if DECLARED[n].hard])
def test_pictures_of_teacher_and_student_differ_exactly_as_declared(name):
    r, s = run(name), DECLARED[name]
    u, base = X['unlabeled'], plain(B, SIZE)
    assert len(r.t.made.forward.images) == len(s.easy)
    for im, d, word in zip(r.t.made.forward.images, r.t.made.easy, s.easy):
        assert torch.equal(im, bare(u, d)) and not d.holes and not d.colors, (
            'teachers see whole pictures in their own colours')
        size, angle, mirrored = turned(base, d)
        if word == 'plain': assert torch.equal(d.M, base.M)
        if word[0] == 'x': assert_close(size, torch.full_like(size, float(word[1:4])), rtol=0,
                                        atol=1e-4); assert bool(mirrored.all()) == (word[-1] == 'm') == bool(
                                            d.flip.all())
    for i in range(s.nets):
        for v, words in enumerate(s.hard):
            d, picture = r.t.made.hard[i][v], r.images['student'][i][v]
            size, angle, mirrored = turned(r.t.made.easy[0], d)
            assert torch.equal(mirrored, r.t.made.easy[0].flip ^ d.flip)
            if words[-1] == 'A60' and s.easy != ['plain']: assert not mirrored.any() and angle.max() > 1e-2
            if words[-1] == 'A60' and s.easy == ['A30']:
                assert (size.amax() <= 1.25+1e-4) and size.amin() >= .75-1e-4 and angle.max() <= 60.01
            assert d.released == (words[-1] == 'A60r')
            rigid = (size[:,0] - size[:,1]).abs()
            assert rigid.max() > .02 if words[-1] == 'A60r' else rigid.max() < 1e-4
            if words == ['A30'] and s.easy == ['A60']:
                assert torch.equal(picture, bare(u, d)) and not torch.equal(d.M, r.t.made.easy[0].M)
            if words == ['A30'] and s.easy == ['A30']:
                assert (r.t.made.easy[0].M - d.M).abs().amax((1,2)).gt(1e-3).all(), 'an equal pair is two pictures'
            hides = [w for w in words if w in KINDS]
            assert ([(h.box.shape[1], h.other is not None) for h in d.holes] == [KINDS[w] for w in hides]
                    and len(d.colors) == 2*('RA' in words))
            hit = torch.zeros(B, *SIZE, dtype=torch.bool)
            for h in d.holes: hit |= covered(h.box, compose(invert(d.M), h.frame), SIZE)
            if 'RA' not in words:
                assert torch.equal(picture.movedim(1, -1)[~hit], bare(u, d).movedim(1, -1)[~hit]), (
                    'untouched where nothing is hidden')
            else: assert not torch.equal(picture, bare(u, d))
            if hides and 'RA' not in words: assert hit.any() and not torch.equal(picture, bare(u, d))
            if words[:-1] in (['JC'], ['CO'], ['JCr']):
                assert_close(picture.movedim(1, -1)[hit], torch.tensor(MEAN).expand(int(hit.sum()), 3))
    for i in range(1, s.nets):
        for a, b in zip(r.t.made.hard[0], r.t.made.hard[i]):
            assert torch.equal(a.M, b.M), 'the same turn for every network'
    if len(s.hard) > 1:
        assert all(torch.equal(d.M, r.t.made.hard[0][0].M) for d in r.t.made.hard[0]), (
            "MultiAugs' four views share one turn")

@pytest.mark.parametrize('name', [n for n in ONCE if DECLARED[n].nets > 1])
def test_swapping_the_first_two_networks_swaps_their_losses(name):
    a = peers(METHODS[name])
    b = deepcopy(a)
    b.nets[0], b.nets[1] = b.nets[1], b.nets[0]
    seen = []
    for model in (a, b):
        r = run(name, model=model)
        seen.append(r.terms)
    for x in ('sup', 'cons'):
        for i, j in ((1, 2), (2, 1), (3, 3))[:DECLARED[name].nets]:
            assert_close(seen[0][f'{x}{i}'], seen[1][f'{x}{j}'], rtol=1e-6, atol=1e-12)
        assert abs(seen[0][x+'1'] - seen[0][x+'2']) > 1e-7

def test_the_test_is_awake():
    "each reading of 'what counts' lets some joints or pixels count and not others, so that the laws above can fail"
    for name in ONCE:
        kind = DECLARED[name].counts
        if kind != 'all' and kind[0] != 'two':     # see test_teaching for that one
            w = torch.stack([w for views in run(name).labels['teach'] for _, w in views]).double()
            w = w[:,:,SUPERVISED > 0]
            assert w.min() < w.max(), name

# ---- labelled people

def test_labelled_views_follow_the_labels():
    """strong: the joints hidden are the labelled ones; both: the easy picture and the strong one in one batch, each
    with its own target"""
    r = run('supervised_strong', m=replace(METHODS['supervised_strong'], labeled_view=JointCutout(5, jitter=0.) >> A60))
    assert METHODS['supervised_strong'].labeled_view == JointCutout(5) >> A60
    (d,), xy = r.t.made.known, move(Y['xy'], r.t.made.known[0].holes[0].frame)
    gaps = (d.holes[0].box[:,:,None,:2] - xy[:,None]).norm(dim=-1)
    for b in range(B):
        hidden = {int(g.argmin()) for g in gaps[b] if g.min() < 1e-3}
        assert len(hidden) == 5 and all(Y['vis'][b,k] > 0 for k in hidden), (
            'five different joints that somebody annotated')
    r = run('supervised_both')
    assert len(r.images['labeled']) == 2*B == len(r.labels['target'])
    assert torch.equal(r.images['labeled'][:B], run('supervised').images['labeled'])
    for part, d in zip(range(2), r.t.made.known):
        for b in range(B):
            for k in range(K):
                x, y = move(Y['xy'][b:b+1, MIRROR.get(k, k) if d.flip[b] else k][:,None], d.M[b:b+1])[0,0].tolist()
                known = Y['vis'][b, MIRROR.get(k, k) if d.flip[b] else k] > 0
                top = r.labels['target'][part*B + b, k]
                if known and 0 <= x <= 22 and 0 <= y <= 30:
                    yy, xx = divmod(int(top.flatten().argmax()), 12)
                    assert abs(2*xx - x) <= 1.01 and abs(2*yy - y) <= 1.01
                if not known: assert top.max() == 0

# ---- the rows that existed before the table grew draw as they did

def affine_by_hand(g, rotate, p, flip, before):
    normal, chance = torch.randn(2, B, generator=g), torch.rand(2, B, generator=g)
    (H, W), Ms, flips = SIZE, [], []
    for b in range(B):
        a = math.radians(max(-2*rotate, min(2*rotate, rotate*float(normal[0,b])))) if chance[0,b] < p else 0.
        s, f = max(.75, min(1.25, 1 + .25*float(normal[1,b]))), bool(chance[1,b] < flip)
        cx, cy = (W-1)/2, (H-1)/2
        centre, back = (torch.tensor([[1, 0, -cx], [0, 1, -cy], [0, 0, 1.]]),
                        torch.tensor([[1, 0, cx], [0, 1, cy], [0, 0, 1.]]))
        turn = torch.tensor([[s*math.cos(a), s*math.sin(a), 0], [-s*math.sin(a), s*math.cos(a), 0], [0, 0, 1.]])
        Ms.append(back @ turn @ torch.diag(torch.tensor([-1. if f else 1., 1., 1.])) @ centre @ before.M[
            b]); flips.append(f)
    return Sample(torch.stack(Ms), before.flip ^ torch.tensor(flips))

@pytest.mark.parametrize('name', ['supervised', 'naive', 'posecons', 'posecons_jc', 'posedual', 'posedual_jc',
                                  'mean_teacher_99', 'mean_teacher'])
@pytest.mark.parametrize('seed, step', [(2, 5), (7, 123)])
def test_the_first_rows_draw_what_they_always_drew(name, seed, step):
    "labelled A30, unlabelled A30, then per network from one state: joints to hide, their jitter, their sizes, A60"
    r, s = run(name, step, seed=seed), DECLARED[name]
    g, start = torch.Generator().manual_seed(seed*1_000_003 + step), plain(B, SIZE)
    assert_close(r.images['labeled'], bare(X['labeled'], affine_by_hand(g, 30, .6, .5, start)), atol=2e-3, rtol=0)
    if not s.hard: return
    easy = affine_by_hand(g, 30, .6, .5, start)
    assert_close(r.t.made.easy[0].M, easy.M, atol=1e-4, rtol=1e-5)
    assert torch.equal(r.t.made.easy[0].flip, easy.flip)
    state = g.get_state()
    for i in range(s.nets):
        g.set_state(state)
        if 'JC' in s.hard[0]:
            order, jitter, half = (torch.rand(B, K, generator=g), torch.randn(B, 5, 2, generator=g),
                                   torch.rand(B, 5, 2, generator=g))
            twin = peers(METHODS[name])
            with torch.no_grad(): heat = slow_teacher(r, s, i, twin)
            for b in range(B):
                for n, k in enumerate(sorted((k for k in range(K) if k != 0), key=lambda k: -order[b,k])[:5]):
                    y, x = divmod(int(heat[b,k].flatten().argmax()), 12)
                    want = ([2*x + 10*32/256*float(jitter[b,n,0]), 2*y + 10*32/256*float(jitter[b,n,1])]
                            + [32/256*(10 + 9*float(half[b,n,c])) for c in (0, 1)])
                    assert_close(r.t.made.hard[i][0].holes[0][0][b,n], torch.tensor(want), atol=1e-3, rtol=0)
        hard = affine_by_hand(g, 30, .8, 0., easy)
        assert_close(r.t.made.hard[i][0].M, hard.M, atol=1e-4, rtol=1e-5)
        assert torch.equal(r.t.made.hard[i][0].flip, easy.flip)

def test_released_rows_show_what_released_code_shows():
    hard = Affine(30, p=.8, released=True, box=True)
    steps = {name: METHODS[name].student_views[0].steps
             for name in ('posedual_released', 'posedual_jc_released', 'sspcm_released')}
    assert (list(steps.values()) == [(hard,), (JointCutout(5, released=2, channels=24), hard),
                                     (JointOcclude(2, released=True), hard)])

# ---- snapshots, copies, unlike pairs

def test_copies_are_made_where_a_method_needs_them():
    for name, m in ((n, METHODS[n]) for n in DECLARED):
        bare_peers = Peers([Double(0) for _ in range(m.nets)])
        t = Teaching(m, CODEC, SIZE, COCO17, SUPERVISED); t.learn = NS(model=bare_peers)
        t.before_fit()
        assert ((bare_peers.ema is not None, bare_peers.frozen is not None)
                == ('ema' in DECLARED[name].teacher, DECLARED[name].teacher.split()[0] in ('frozen', 'closest')))
        old = bare_peers.frozen
        assert bare_peers.train_copies == (DECLARED[name].teacher.split()[0] == 'closest'), (
            'only SSPCM asks copies as it asks networks')
        t.before_fit()
        assert bare_peers.frozen is old, 'copies that are there stay what they are'

@pytest.mark.parametrize('name, taken', [('sspcm', [3, 6]), ('posedual', []), ('pseudopose', [])])
def test_snapshots_are_taken_every_so_many_steps(name, taken):
    m, when = METHODS[name].paced(3), []
    t = Teaching(m, CODEC, SIZE, COCO17, SUPERVISED)
    t.learn = NS(model=NS(freeze=lambda: when.append(t.step)), training=True)
    for _ in range(7): t.after_batch()
    assert when == taken and t.step == 7
    t.learn.training = False
    t.after_batch()
    assert t.step == 7

def test_before_the_first_snapshot_the_frozen_copies_are_not_asked():
    asked = run('sspcm', 999).t.made.forward.memo, run('sspcm', 1000).t.made.forward.memo
    assert ({k for k, _ in asked[0]} == {'net'}
            and set(asked[1]) == {('net', 0), ('net', 1), ('frozen', 0), ('frozen', 1)})

def test_unlike_networks_teach_each_other():
    "a small and a larger network: each learns from the other's heatmaps, in shape and in value"
    model = build_peers('tiny', joints=K, n=2, net=(dict(width=6, levels=2), dict(width=10, levels=3)))
    r = run('posedual_jc', model=model)
    r.loss.backward()
    assert sum(p.numel() for p in model.nets[1].parameters()) > 2*sum(p.numel() for p in model.nets[0].parameters())
    for i in range(2):
        want = slow_carry(model.nets[1-i](r.t.made.forward.images[0]).detach(), r.t.made.easy[0], r.t.made.hard[i][0])
        assert_close(r.labels['teach'][i][0][0], want.float(), atol=1e-5, rtol=0)
        assert model.nets[i].final.weight.grad.abs().max() > 0

def test_unlike_pairs_name_the_protocols_networks():
    "three rows and no others; each is a row of the one architecture with the networks exchanged"
    assert ({n: m.networks for n, m in METHODS.items() if m.networks}
            == dict(supervised_other=('other',), posedual_other=('other',), posedual_unlike=('net', 'other')))
    for name, like in (('supervised_other', 'supervised'), ('posedual_other', 'posedual'),
                       ('posedual_unlike', 'posedual')):
        assert replace(METHODS[name], networks=()) == METHODS[like]
    assert ({r['name']: r['networks'] for r in table('unlike pairs')}
            == dict(supervised_other='other', posedual_other='other', posedual_unlike='net + other'))
    for wrong in (('other', 'net', 'net'), ('resnet50',), ('net', 'others')):
        with pytest.raises(ValueError, match="'net' or 'other'"): replace(METHODS['posedual'], networks=wrong)

# ---- what a step costs

def counted(m, known, unknown):
    """pictures forward, and of these the ones whose network then gets a gradient from them, counted at the networks
    while one batch passes"""
    model, seen = peers(m), dict(forward=0, backward=0)
    def forward(net, args, out):
        seen['forward'] += len(out)
        if out.requires_grad: out.register_hook(lambda g: seen.update(backward=seen['backward'] + len(g)))
    for net in [*model.nets, *(model.ema or ()), *(model.frozen or ())]: net.register_forward_hook(forward)
    xk, yk = batch(known)
    x = dict(labeled=xk['labeled'], unlabeled=batch(unknown)[0]['unlabeled'])
    one_batch(Teaching(m, CODEC, SIZE, COCO17, SUPERVISED, seed=2, step=1000), model, x, yk)[-1].backward()
    return seen['forward'], seen['backward']

@pytest.mark.parametrize('name', ONCE)
def test_the_cost_of_a_step_is_what_the_networks_see(name):
    m = METHODS[name]
    assert cost(m, (3, 5)) == counted(m, 3, 5) and cost(name, NS(batch=(3, 5))) == cost(m, (3, 5))

@pytest.mark.parametrize('m', [replace(METHODS['naive'], student_views=(JointCutout(5) >> A60,)),
                               replace(METHODS['sspcm'], labeled_view=METHODS['supervised_both'].labeled_view),
                               replace(METHODS['posecons'], nets=3), replace(
                                   METHODS['multiaugs_dual'], teacher_view=METHODS['data_distillation'].teacher_view)],
                         ids=['naive that hides joints', 'labels under two views', 'three that teach themselves',
                              'a mean of views teaches four'])
def test_the_cost_holds_beyond_the_table(m): assert cost(m, (3, 5)) == counted(m, 3, 5)

def test_equal_compute_is_equal_work():
    for name in ('supervised', 'posecons', 'multiaugs_dual'):
        a, b = cost(name, (32, 32)), cost('posedual_jc', (32, 32))
        steps = equal_compute(name, 'posedual_jc', (32, 32), 3000)
        assert abs(steps*(a.forward + 2*a.backward) - 3000*(b.forward + 2*b.backward)) <= (a.forward + 2*a.backward)/2
    assert (equal_compute('posecons', 'posecons', (7, 9), 123) == 123
            and equal_compute('supervised', 'posedual_jc', (32, 32), 1000) == 4667)

# ---- a row and its facts

# of every row when issue 20 began: runs in results/ and in users' folders carry these
DEFINITIONS = dict(
    supervised='735496', supervised_strong='58250f', supervised_both='817f49', naive='505015', naive_equal='b15173',
    posecons='d91b13',
    posecons_jc='5ef61f', posecons_ra='e7e6b3', posedual='d797a4', posedual_jc='b0cefc', posedual_ra='e323cd',
    pseudopose='3b7549',
    pseudopose_soft='2033f2', posecons_drawn='5c14f3', data_distillation='304ecf', posecons_kept='856211',
    posecons_kept_eval='f91cbc',
    posecons_eval='d30d92', posecons_one='7605ff', posecons_drawn_kept='b94302', posecons_jc_kept='52cb5c',
    posecons_jc_kept_eval='59697b',
    posecons_jc_eval='1bd46c', posecons_jc_one='de1132', posecons_jc_drawn_kept='b38efc', posecons_jc_drawn='19f520',
    posedual_jc_kept='f95ee9',
    posedual_jc_kept_eval='d08ae4', posedual_jc_eval='e032d5', posedual_jc_one='cf4d58',
    posedual_jc_drawn_kept='f41be8', posedual_jc_drawn='4b0162',
    threshold_02='58a78b', foreground_02='70a915', threshold_04='92eef2', foreground_04='1d3fc5', threshold_06='336ce6',
    foreground_06='4d135b',
    certain_06='a344a6', threshold_08='74375b', foreground_08='62409e', certain_08='d5b70e',
    threshold_02_equal='d98d45',
    foreground_02_equal='3c2cf4', threshold_04_equal='3f2996', foreground_04_equal='acbd29',
    threshold_06_equal='f9e70f',
    foreground_06_equal='0484b2', certain_06_equal='bb8de9', threshold_08_equal='a06730', foreground_08_equal='b8a985',
    certain_08_equal='1a2dde',
    mean_teacher_99='a8e48e', mean_teacher='e33db9', mean_teacher_99_equal='79b600', mean_teacher_equal='a15614',
    balanced='42a41c',
    foreground_x10='e42528', balanced_equal='066943', foreground_x10_equal='72de7e', easy_easy='69109f',
    hard_hard='cc829c', hard_easy='023a1b',
    supervised_other='6ef94a', posedual_other='934c92', posedual_unlike='fa01ea', multiaugs='5decbd',
    multiaugs_dual='24445b', sspcm='015a24',
    pair_jc2='621456', pair_jc10='b324e2', pair_jc17='e8d92c', pair_a90='66fe93', pair_a120='c2266d',
    pair_plain_a30='9b5808',
    pair_plain_a60='33353d', pair_co_a30='a28864', pair_nothing='661481', posedual_released='c0cc87',
    posedual_jc_released='881964',
    sspcm_released='1c1ea2')

def test_definitions_hash_as_they_did():
    """A run that was begun before is known again: the hash of a definition is of its values, whatever the code
    around them is called"""
    assert {n: line_of(n) for n in DEFINITIONS} == DEFINITIONS

def test_a_row_stands_on_one_line_of_the_source():
    "`grep posedual_jc` finds it"
    import inspect, re, semipose.methods as room
    lines = inspect.getsource(room).splitlines()
    assert re.findall(r"^ +Row\('(\w+)'", '\n'.join(lines), re.M) == list(METHODS)
    for n, r in TABLE.items():
        at = [line for line in lines if f"Row('{n}'," in line]
        assert len(at) == 1 and repr(r.title) in at[0], n

def test_every_row_carries_its_facts():
    for n, r in TABLE.items():
        assert ((r.name, r.method) == (n, METHODS[n]) and r.title != n and r.color in PALETTE
                and r.role in ('method', 'attempt', 'trial'))
        assert n in GROUPS[r.group] and color(n) == PALETTE[r.color] and title(n) == r.title
    mains = ('supervised', 'naive', 'posecons', 'posecons_jc', 'posedual_jc', 'pseudopose', 'multiaugs_dual', 'sspcm')
    assert len({color(n) for n in mains}) == len(mains), 'whose curves are shown together'

def test_a_colour_is_the_same_in_every_room():
    import semipose.report, semipose.tables, semipose.widgets
    assert semipose.report.color is semipose.tables.color is semipose.widgets.color is color

@pytest.fixture
def undone():
    "the tables as they were"
    kept = [(t, dict(t)) for t in (TABLE, METHODS)], {g: dict(r) for g, r in GROUPS.items()}
    yield
    for t, was in kept[0]: t.clear(); t.update(was)
    GROUPS.clear(); GROUPS.update(kept[1])

def test_a_row_of_ones_own_is_a_row(undone):
    from semipose.methods import facts, own
    mine = replace(METHODS['posecons'], student_views=(JointCutout(8) >> A60,))
    add('mine', Row('posecons_jc8', 'PoseCons + 8 JC', mine, color='violet'), Row('other', 'Another', METHODS['naive']))
    assert (method('posecons_jc8') is mine and title('posecons_jc8') == 'PoseCons + 8 JC'
            and row_of('posecons_jc8').group == 'mine')
    assert (color('posecons_jc8') == PALETTE['violet'] and row_of('other').color in PALETTE
            and facts('posecons_jc8')['group'] == 'mine')
    assert (own('posecons_jc8')['method'] == repr(mine) and [r['name'] for r in table('mine')]
            == ['posecons_jc8', 'other'])
    from semipose.errors import UserError
    with pytest.raises(UserError, match="color='puce'"): add('mine', Row('third', 'Third', mine, color='puce'))
    assert 'third' not in METHODS

def test_a_method_without_a_row_has_facts_too(undone):
    METHODS['bare'] = replace(METHODS['posecons'], cons=2.)
    assert ((row_of('bare').title, row_of('bare').method, row_of('bare').group) == ('bare', METHODS['bare'], '')
            and color('bare').startswith('#'))
    METHODS['posecons'] = METHODS['bare']
    assert row_of('posecons').method is METHODS['bare'] and row_of('posecons').title == 'PoseCons', (
        'what METHODS says counts')
    assert (row_of('never heard of').method, title('never heard of')) == (None, 'never heard of')
