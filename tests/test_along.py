"""Laws of frames that teach each other: still clips, whole shifts, cuts, reversed order, labels that travel, the
peer's losses, runs on clips"""
import json, math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from semipose.along import (LabelsTravel, MedianOfFive, Neighbour, PosePCA, Temporal, TURNED, fit_poses,
                            outside, robust_mean, soft_joints)
from semipose.codecs import UDP, Gaussian
from semipose.data.core import Crops
from semipose.data.moving import Filming, draw_frames, write_clips
from semipose.data.pairs import Film
from semipose.data.streams import Streams
from semipose.data.tracks import Filmed, pairs
from semipose.errors import UserError
from semipose.footage import FilmedStreams, Windows, as_filmed, film_of
from semipose.geometry import move
from semipose.losses import mse
from semipose.methods import GROUPS, METHODS, cost, facts, formula, table
from semipose.nets.peers import Peers
from semipose.nets.simple import Tiny
from semipose.protocols import protocol
from semipose.recipe import is_synthetic
from semipose.run import prepare, synthetic_people, train
from semipose.skeletons import COCO17
from semipose.sweep import sweep
from semipose.teaching import Along, Method, Nobody, Self, Step, Teaching, Term
from semipose.views import PLAIN, plain, render

SIZE, ROOM, CODEC, K, FLIPS = (64, 48), (96, 72), Gaussian(1.5, 2), 17, COCO17.flip_index
B = 3


@pytest.fixture(autouse=True, scope='module')
def one_thread():
    n = torch.get_num_threads()
    torch.set_num_threads(1); yield; torch.set_num_threads(n)


@pytest.fixture(scope='module')
def image():
    n = torch.arange(12)
    return draw_frames(torch.full_like(n, 9), n, filming=Filming(cut=0.)).image


def nets(m, seed=0):
    torch.manual_seed(seed)
    out = [Tiny(width=6, levels=2) for _ in range(m.nets)]
    for n in out: torch.nn.init.normal_(n.final.weight, std=.1)
    return Peers(out)


def run(m, x, image, seed=1, **kw):
    x = dict(labeled=image[:2], unlabeled=image[2:2+2*B]) | x
    y = dict(xy=torch.rand(2, K, 2, generator=torch.Generator().manual_seed(0))*40 + 20, vis=torch.full((2, K), 2))
    codec = kw.pop('codec', CODEC)
    peers = kw.pop('peers', None) or nets(m)
    return Step(m, codec, SIZE, FLIPS, **kw)(peers, (x, y), torch.Generator().manual_seed(seed))


def moved(before, after, shift=(0., 0.), rest=0., D=1):
    "Pairs of crops between which everything moves by a shift, px"
    n = len(before)
    way = lambda s: torch.cat([(torch.zeros(n, 1, 2, *ROOM) + s*torch.tensor(shift).view(2, 1, 1)),
                               torch.zeros(n, D-1, 2, *ROOM)], 1).half()
    A = torch.eye(3).expand(n, D, 3, 3)
    return dict(before=before, after=after, there=way(1.), back=way(-1.), A_there=A, A_back=A,
                rest=torch.full((n,), rest), M_before=A[:, 0], M_after=A[:, 0])


def windows(image, n=2, **kw):
    five = image[:n].unsqueeze(1).expand(-1, 5, -1, -1, -1)
    p = moved(five.flatten(0, 1), five.flatten(0, 1), **kw)
    fold = lambda v: v.unflatten(0, (n, 5))
    return dict(image=five, **{k: fold(p[k]) for k in TURNED})


CARRIED = [n for n, m in GROUPS['video'].items() if m.along and not m.along.drawn]


# ---- the laws of the issue


@pytest.mark.parametrize('name', CARRIED)
@pytest.mark.parametrize('changes', [{}, dict(carried='spline'), dict(drawn=True), dict(height='one')])
def test_a_still_clip_teaches_what_the_method_teaches_without_motion(image, name, changes):
    m = replace(METHODS[name], **changes)
    p = moved(image[:B], image[:B])
    want = run(replace(m, along=None), dict(unlabeled=torch.cat([image[:B], image[:B]])), image)
    got = run(m, dict(pairs=p), image)
    assert got.parts.keys() == want.parts.keys() and 'cons1' in got.parts
    for k in got.parts: assert torch.allclose(got.parts[k], want.parts[k], rtol=1e-4, atol=1e-7), k
    for a, b in zip(got.made.hard, want.made.hard):
        for d, e in zip(a, b):
            assert torch.equal(d.M, e.M)
            for g, h in zip(d.holes, e.holes): assert torch.allclose(g.box, h.box, atol=1e-4)


@pytest.mark.parametrize('name', ['median_of_five', 'posedual_jc_median'])
def test_five_equal_frames_teach_what_one_teaches(image, name):
    "In evaluation mode of the teachers: five times as many pictures have other batch statistics"
    m = replace(METHODS[name], evaluation=True)
    got, want = (run(m, dict(windows=windows(image)), image),
                 run(replace(m, along=None), dict(unlabeled=image[:2]), image))
    for k in want.parts: assert torch.allclose(got.parts[k], want.parts[k], rtol=1e-3, atol=1e-6), k


@pytest.mark.parametrize('name', CARRIED + ['median_of_five', 'posedual_jc_median', 'labels_travel',
                                            'temporal', 'pose_pca'])
def test_single_pictures_are_a_clip_that_stands_still(image, name):
    m = METHODS[name]
    got, want = run(m, {}, image), run(replace(m, along=None, terms=()), {}, image)
    assert got.parts == want.parts and torch.equal(got.total, want.total)


def test_a_whole_shift_carries_heatmaps_exactly(image):
    m = Method(Self(), PLAIN, (PLAIN,), along=Neighbour())
    made = run(m, dict(pairs=moved(image[:B], image[B:2*B], (6., -4.))), image).made
    (target, weight), heat = made.targets[0][0], made.forward('net', 0)
    # 6 px right, 4 px up: 3 and 2 of the map
    assert torch.allclose(target[:B, :, :-2, 3:], heat[:B, :, 2:, :-3], atol=1e-6)
    assert torch.allclose(target[B:, :, 2:, :-3], heat[B:, :, :-2, 3:], atol=1e-6)          # and back
    assert (weight == 1).all()
    first, second = (render(image[k*B:(k+1)*B], plain(B, SIZE), SIZE) for k in (0, 1))
    assert torch.equal(made.forward.images[0], torch.cat([first, second])), 'teachers'
    assert torch.equal(made.shown['student'][0][0], torch.cat([second, first])), 'students see the other frame'


def test_holes_are_where_joints_have_gone(image):
    m = METHODS['posedual_jc_neighbour']
    still, gone = (run(m, dict(pairs=moved(image[:B], image[:B], s)), image).made.hard for s in ((0., 0.), (5., -3.)))
    for a, b in zip(still[0][0].holes, gone[0][0].holes):
        centre = lambda h: move(h.box[..., :2], torch.linalg.inv(h.frame))
        assert torch.allclose(centre(b)[:B] - centre(a)[:B],
                              torch.tensor([5., -3.]).expand_as(centre(a)[:B]), atol=1e-3)
        assert torch.allclose(centre(b)[B:] - centre(a)[B:],
                              torch.tensor([-5., 3.]).expand_as(centre(a)[B:]), atol=1e-3)


@pytest.mark.parametrize('name', CARRIED)
@pytest.mark.parametrize('drawn', [False, True])
def test_a_cut_teaches_nothing(image, name, drawn):
    m = replace(METHODS[name], drawn=drawn)
    if not isinstance(m.along, Neighbour): return
    peers = nets(m)
    terms = run(m, dict(pairs=moved(image[:B], image[B:2*B], rest=.9)), image, peers=peers)
    assert all(v == 0 for k, v in terms.parts.items() if k.startswith('cons'))
    terms.total.backward()
    alone = nets(m)
    run(replace(m, student_views=(), along=None, teacher=Nobody(), drawn=False), {}, image,
        peers=alone).total.backward()
    for (n, p), q in zip(peers.nets.named_parameters(), alone.nets.parameters()):
        assert torch.allclose(p.grad, q.grad, atol=1e-6), n                                 # labels alone have pulled


def test_the_cut_is_awake(image):
    m = METHODS['neighbour']
    assert run(m, dict(pairs=moved(image[:B], image[B:2*B], rest=.1)), image).parts['cons1'] > 0


def test_reversed_order_is_the_mirrored_loss(image):
    m = Method(Self(), PLAIN, (PLAIN,), along=Neighbour())
    p = moved(image[:B], image[B:2*B], (2.5, 1.5))
    q = {k: p[o] for k, o in dict(TURNED, before='after', after='before', M_before='M_after',
                                  M_after='M_before').items()}
    a, b = (run(replace(m, evaluation=True), dict(pairs=v), image) for v in (p, q))
    assert torch.allclose(a.parts['cons1'], b.parts['cons1'], rtol=1e-5)
    for s, t in zip(a.made.targets[0][0], b.made.targets[0][0]): assert torch.allclose(s, t.roll(B, 0), atol=1e-6)


def test_where_the_motion_is_not_to_be_believed_nothing_is_taught(image):
    "There and back do not meet: weight 0; a little off: less than 1"
    p = moved(image[:B], image[B:2*B])
    for off, fits in ((5., lambda w: (w == 0).all()), (.7, lambda w: ((0 < w) & (w < 1)).all())):
        q = p | dict(back=p['back'] + torch.tensor([off, 0.]).view(2, 1, 1).half())
        m = Method(Self(), PLAIN, (PLAIN,), along=Neighbour())
        assert fits(run(m, dict(pairs=q), image).made.targets[0][0][1][B:, :, 4:-4, 4:-4])
        assert fits(run(replace(m, drawn=True), dict(pairs=q), image).made.targets[0][0][1].flatten()[:5]) or off < 5


def test_offsets_go_along_by_their_joints(image):
    codec, m = UDP(1.5, 2, offset=True), METHODS['neighbour']
    torch.manual_seed(0)
    terms = run(m, dict(pairs=moved(image[:B], image[B:2*B], (2., 1.))), image, codec=codec,
                peers=Peers([Tiny(51, width=6, levels=2)]))
    assert terms.parts['cons1'].isfinite() and terms.made.targets[0][0][0].shape[1] == 51


# ---- several frames


def test_the_robust_mean_leaves_out_what_is_far():
    xy = torch.tensor([[10., 10.], [11., 10.], [10., 11.], [40., 3.], [9., 9.]]).view(5, 1, 1, 2)
    mean, agreed = robust_mean(xy, torch.ones(5, 1, 1).bool(), 3., 3)
    assert torch.equal(mean.flatten(), torch.tensor([10., 10.])) and agreed
    assert not robust_mean(xy, torch.ones(5, 1, 1).bool(), 3., 5)[1]
    assert not robust_mean(xy, torch.tensor([1, 1, 0, 0, 0]).view(5, 1, 1).bool(), 3., 3)[1]


def test_frames_behind_a_cut_are_not_asked(image):
    w = windows(image)
    w['rest'] = torch.tensor([[.9, .9, 0., 0., 0.]]).expand(2, -1)
    _, way = MedianOfFive().frames(dict(windows=w))
    xy = torch.full((10, K, 2), 30.)
    xy[:4] = 60.  # frames one after the other: the first two are wrong
    mean, agreed = way.joints(xy)
    assert torch.equal(mean, torch.full((2, K, 2), 30.)) and (agreed == 1).all()
    w['rest'] = torch.tensor([[.9, .9, 0., .9, 0.]]).expand(2, -1)
    assert (MedianOfFive().frames(dict(windows=w))[1].joints(xy)[1] == 0).all(), 'two of five'


# ---- labels that travel


def test_labels_go_with_the_motion_either_way(image):
    p = moved(image[:2], image[2:4], (4., 2.))
    xy = torch.rand(2, K, 2, generator=torch.Generator().manual_seed(3))*20 + 30
    on = torch.tensor([[2], [0]]).expand(2, K)
    p |= dict(xy_before=xy*(on > 0)[..., None], vis_before=on, xy_after=xy*(on == 0)[..., None], vis_after=2 - on)
    p['vis_before'] = p['vis_before'].clone(); p['vis_before'][0, 3] = 0
    t = LabelsTravel()
    crops = Step(Method(labeled_view=PLAIN, terms=(t,)), CODEC, SIZE, FLIPS)
    shown, (target, weight) = t.pictures(crops, dict(travel=p), None)
    want = torch.stack([xy[0] + torch.tensor([4., 2.]), xy[1] - torch.tensor([4., 2.])])
    full, there = CODEC.encode(move(want, plain(2, SIZE).M), torch.full((2, K), 2), (32, 24))
    there = there.clone(); there[0, 3] = 0
    assert torch.equal(weight, there) and torch.allclose(target[weight > 0], full[weight > 0], atol=1e-4)
    assert torch.equal(shown, render(torch.stack([image[2], image[1]]), plain(2, SIZE), SIZE)), (
        'the frame without the label is shown')
    heat = torch.rand(2, K, 32, 24)
    assert torch.equal(t.loss(crops, heat, (target, weight)), mse(heat, target, weight))
    p['rest'] = torch.full((2,), .9)
    assert not t.pictures(crops, dict(travel=p), None)[1][1].any(), 'a cut'


# ---- the peer


def test_the_temporal_loss_is_the_published_formula(image):
    t = Temporal()
    crops = Step(Method(labeled_view=PLAIN, terms=(t,)), CODEC, (256, 192), FLIPS,
                 supervised=torch.ones(K).index_fill(0, torch.tensor([0]), 0))
    M = torch.eye(3).repeat(2, 1, 1)
    N = M.clone(); N[:, :2, 2] = torch.tensor([7., -3.])  # the box moved: no motion of the person
    draw = plain(4, (256, 192))
    at = torch.rand(2, K, 2, generator=torch.Generator().manual_seed(0))*60 + 60
    jump = torch.linspace(0, 60, K).view(1, K, 1)*torch.tensor([.6, .8])
    there = at + jump + torch.tensor([7., -3.])
    codec = Gaussian(2., 2)
    crops.codec = codec
    heat = codec.encode(torch.cat([at, there]), torch.full((4, K), 2), (128, 96))[0]
    heat[2, 5] *= .04                                                                       # not confident
    got = t.loss(crops, heat, (draw, M, N))
    want = torch.stack([(torch.linspace(0, 60, K) - 20).clamp(min=0)]*2)
    want[:, 0] = 0; want[0, 5] = 0
    assert abs(got - want.sum()/(2*16)) < .1 and t.share(crops) == 1/(2*math.exp(5))
    half = Step(Method(labeled_view=PLAIN, terms=(t,)), CODEC, SIZE, FLIPS)
    assert t.loss(half, CODEC.encode(torch.cat([at[:, :, :]*.25, at*.25 + 4.5*torch.tensor([1., 0.])]),
                                     torch.full((4, K), 2), (32, 24))[0],
                  (plain(4, SIZE), M, M)) < .06, '20 px of 256 are 5 of 64'


def test_soft_joints_are_where_the_peak_is_and_have_a_gradient():
    xy = torch.rand(3, K, 2, generator=torch.Generator().manual_seed(1))*torch.tensor([24., 36.]) + 12
    heat = CODEC.encode(xy, torch.full((3, K), 2), (32, 24))[0].requires_grad_()
    out = soft_joints(heat, CODEC)
    assert (out - xy).norm(dim=-1).max() < .3
    out.sum().backward()
    assert heat.grad.abs().sum() > 0


def test_pose_pca_is_zero_in_the_span_and_grows_outside():
    g = torch.Generator().manual_seed(0)
    base = torch.randn(3, 2*K, generator=g)
    poses = (torch.randn(40, 3, generator=g) @ base).view(40, K, 2)*5 + 40
    vis = torch.full((40, K), 2); vis[7, 4] = 0
    poses[7] += 100                                                                         # not whole: not looked at
    mean, V, free = fit_poses(poses, vis, torch.ones(K).bool(), .99, .99)
    assert len(V) <= 3 and outside(poses[:5], mean, V).max() <= outside(poses[:40][vis.all(1)], mean, V).max()
    assert outside(poses[:5] + 9*torch.randn(5, K, 2, generator=g), mean, V).mean() > 5 > free
    with pytest.raises(UserError, match='3 labelled people with all their joints, and 2 are'):
        fit_poses(poses[:2], vis[:2], torch.ones(K).bool(), .99, .99)
    t = PosePCA()
    crops = Step(Method(terms=(t,)), CODEC, SIZE, FLIPS)
    with pytest.raises(UserError, match='labelled poses'):
        t.loss(crops, torch.zeros(2, K, 32, 24), (plain(2, SIZE), None, None))


@pytest.mark.parametrize('name', ['temporal', 'pose_pca', 'posedual_jc_temporal', 'posedual_jc_pca'])
def test_terms_pull_the_networks_and_stand_in_the_log(image, name):
    m = METHODS[name]
    poses = torch.rand(8, K, 2, generator=torch.Generator().manual_seed(2))*60 + 10, torch.full((8, K), 2)
    t = m.terms[0]
    x = dict(next=moved(image[:B], image[B:2*B]))
    a, b = nets(m), nets(m)
    terms, without = run(m, x, image, peers=a, poses=poses), run(replace(m, terms=()), x, image, peers=b)
    assert {f'{t.name}{i+1}' for i in range(m.nets)} == terms.parts.keys() - without.parts.keys()
    extra = sum(terms.parts[f'{t.name}{i+1}'] for i in range(m.nets))/(2*math.exp(5))
    assert torch.allclose(terms.total, without.total + extra, rtol=1e-5)


# ---- the table


def test_video_rows_change_nothing_but_the_motion():
    for alone, base in dict(neighbour='posecons', frames='posecons', posedual_jc_neighbour='posedual_jc',
                            posedual_jc_frames='posedual_jc').items():
        assert replace(METHODS[alone], along=None) == METHODS[base]
    for alone, base in dict(labels_travel='supervised', temporal='supervised', pose_pca='supervised',
                            posedual_jc_travel='posedual_jc',
                            posedual_jc_temporal='posedual_jc', posedual_jc_pca='posedual_jc').items():
        assert replace(METHODS[alone], terms=()) == METHODS[base]
    for alone, base in dict(median_of_five='posecons', posedual_jc_median='posedual_jc').items():
        assert replace(METHODS[alone], along=None, drawn=False) == METHODS[base]
    assert (formula(METHODS['posedual_jc_temporal']) == '0.5 S + U + temporal each'
            and 'Neighbour' in facts('neighbour')['of clips'])
    assert len(table('video')) == 12


@pytest.mark.parametrize('name', GROUPS['video'])
def test_the_cost_of_a_step_is_what_the_networks_see(image, name):
    m, n = METHODS[name], dict(forward=0, backward=0)
    model = nets(m)
    def hook(net, args, out):
        n['forward'] += len(args[0])
        if out.requires_grad: n['backward'] += len(args[0])
    for net in model.nets: net.register_forward_hook(hook)
    p = moved(image[:B], image[B:2*B])
    travel = (moved(image[:2], image[2:4]) | {f'{k}_{e}': v for e in ('before', 'after')
                                              for k, v in dict(xy=torch.rand(2, K, 2), vis=torch.full(
                                                  (2, K), 2)).items()})
    x = dict(pairs=p, next=p, windows=windows(image, 2*B), travel=travel)
    run(m, x, image, peers=model, poses=(torch.rand(8, K, 2)*60, torch.full((8, K), 2)))
    assert tuple(cost(m, (2, 2*B))) == (n['forward'], n['backward'])


def test_parts_that_do_not_fit_are_told():
    one = METHODS['posecons']
    with pytest.raises(UserError, match='is no Along'): replace(one, along=Temporal())
    with pytest.raises(UserError, match='is no Term'): replace(one, terms=(Neighbour(),))
    naive = METHODS['naive'].teacher
    for wrong in (dict(along=MedianOfFive()), dict(along=Neighbour(), student_views=()),
                  dict(along=Neighbour(), teacher=naive)):
        with pytest.raises(ValueError): replace(one, **wrong)
    class Late(Term): asks = 'pairs', (3,)
    with pytest.raises(ValueError, match='one name'): replace(one, along=Neighbour(), terms=(Late(),))
    with pytest.raises(NotImplementedError): Term().pictures(None, {}, None)
    assert Along().frames({}) == ({}, None)


# ---- footage


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    folder = write_clips(tmp_path_factory.mktemp('clips')/'c', train=3, val=2, length=10, filming=Filming(cut=0.),
                         progress=False)
    from semipose.data.coco import read_coco
    people = as_filmed(read_coco(folder/'person_keypoints_train.json', folder/'images/train'))
    return folder, people, Crops(people, SIZE).cache(progress=False)


def test_a_subset_in_any_order_still_knows_its_frames(clips):
    _, people, _ = clips
    assert isinstance(people, Filmed) and len(pairs(people)) == 3*9
    one = people.subset([7, 3, 12])
    assert one.frame[one.image].tolist() == [7, 3, 2] and one.clip[one.image].tolist() == [0, 0, 1]


def test_only_labels_that_may_be_used_are_known(clips):
    _, people, crops = clips
    film = film_of(crops, [4, 17])
    assert (film.people.vis > 0).any(1).nonzero()[0].tolist() == [4, 17] and (people.vis > 0).any(1).all()
    streams = Streams(crops.subset([4, 17]), crops, (2, 6), steps=5, seed=3)
    s = FilmedStreams(streams, film, dict(travel=(1, 2)))
    for k in range(5):
        x = s.at(k)[0]['travel']
        for end in ('before', 'after'):
            known = (x[f'vis_{end}'] > 0).any(1)
            assert [int(r) in (4, 17) for r in x[f'row_{end}']] == known.tolist() and not x[f'xy_{end}'][~known].any()
        assert ((x['vis_before'] > 0).any(1) | (x['vis_after'] > 0).any(1)).all()


def test_frames_by_name_depend_on_seed_and_step_alone(clips):
    _, _, crops = clips
    asks = dict(pairs=(1, 2), windows=(-2, -1, 0, 1, 2), next=(1,), travel=(1,))
    make = lambda seed, film=film_of(crops, [4, 17]): FilmedStreams(
        Streams(crops.subset([4, 17]), crops, (2, 6), steps=6, seed=seed), film, asks)
    a, b, plainly = make(3), make(3).from_step(4), Streams(crops.subset([4, 17]), crops, (2, 6), steps=6, seed=3)
    later = list(b)
    assert len(later) == 2 == len(b)
    for k, (x, _) in zip((4, 5), later):
        u = a.at(k)[0]
        for name in asks: assert all(torch.equal(x[name][f], u[name][f]) for f in u[name])
        for f in ('labeled', 'unlabeled'):
            assert torch.equal(plainly.at(k)[0][f], x[f]), 'pictures are those of a run without frames'
    other = make(4).at(4)[0]
    assert any(not torch.equal(other['pairs'][f], a.at(4)[0]['pairs'][f]) for f in ('row_before', 'row_after'))
    assert len(a.at(0)[0]['pairs']['before']) == 3 and len(a.at(0)[0]['windows']['image']) == 6


def test_windows_lie_in_one_run_and_link_to_the_middle(clips):
    _, people, crops = clips
    film = Film(crops)
    w = Windows(film)
    assert len(w) == 3*6
    at = people.frame[people.image[w.rows]]
    assert (np.diff(at, axis=1) == 1).all() and (people.track[w.rows] == people.track[w.rows[:, :1]]).all()
    b, i = w.batch([7]), w.rows[7]
    to = film.links(i, np.full(5, i[2]))
    assert (torch.equal(b['there'][0], to['flow']) and torch.equal(b['A_there'][0], to['A'])
            and torch.equal(b['row'][0], torch.from_numpy(i)))
    with pytest.raises(UserError, match='11 frames in a row'): Windows(film, range(-5, 6))


# ---- runs


P = replace(protocol('demo-video'), name='clips', title='clips', labels=6, train_people=72, val_people=24,
            frames=12, width=6, batch=(4, 6),
            start_steps=2, start_every=2, steps=6, every=3)


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    import os
    old, new = Path.cwd(), tmp_path_factory.mktemp('home')
    os.chdir(new); yield new; os.chdir(old)


@pytest.fixture(scope='module')
def drawn(home): return synthetic_people(P, 0, progress=False)


def rows(folder):
    return [{k: v for k, v in r.items() if k != 'seconds'}
            for r in json.loads((folder/'result.json').read_text())['rows']]


@pytest.mark.parametrize('name', ['posedual_jc_neighbour', 'median_of_five', 'posedual_jc_travel', 'temporal',
                                  'pose_pca'])
def test_a_run_on_clips_is_taken_up_to_the_bit(home, drawn, monkeypatch, name):
    whole, broken = home/'whole'/name, home/'broken'/name
    data = prepare(P, drawn, 0, progress=False)
    train(name, P, data, whole, device='cpu', progress=False)
    class Stop(Exception): pass
    real = Teaching.before_batch
    def breaks(self):
        if self.step == 4: raise Stop('here')
        real(self)
    monkeypatch.setattr(Teaching, 'before_batch', breaks)
    with pytest.raises(Stop): train(name, P, drawn, broken, device='cpu', progress=False)
    monkeypatch.undo()
    torch.manual_seed(99)
    train(name, P, drawn, broken, device='cpu', progress=False, resume=True)
    assert rows(whole) == rows(broken) and all(r['jitter'] > 0 and 'jitter' in r['nets'][0] for r in rows(whole))
    a, b = (load_file(f/'weights.safetensors') for f in (whole, broken))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_rows_without_motion_train_on_clips_as_on_pictures(home, drawn):
    "The frames beside the batch change nothing: the control by single pictures is the method of the table"
    data = prepare(P, drawn, 0, progress=False)
    assert isinstance(data.val, Filmed) and isinstance(data.train, Filmed)
    r = train('posedual_jc', P, data, home/'plain', device='cpu', progress=False)
    assert data.film is None and r['last']['jitter'] > 0


def test_a_sweep_of_clips_fills_the_ledger(home, drawn):
    out = sweep(P, ['neighbour', 'posedual_jc_frames'], [0], folder=home/'runs', results=home/'results',
                device='cpu', progress=False)
    assert not out['failed'] and [e.method for e in out['new']] == ['neighbour', 'posedual_jc_frames']
    assert out['new'][0].curve[-1]['jitter'] > 0 and is_synthetic(P, 0, drawn)
    again = sweep(P, ['neighbour', 'posedual_jc_frames'], [0], folder=home/'runs', results=home/'results',
                  device='cpu', progress=False)
    assert again['there'] == 2 and not again['new']


def test_single_pictures_are_refused_in_one_sentence(home):
    from semipose.data.synth import write_synth
    folder = write_synth(home/'pictures', train=20, val=6, size=ROOM, progress=False)
    q = replace(P, name='pictures', data=None, train_people=None, val_people=None, frames=None)
    with pytest.raises(UserError, match='^neighbour learns from neighbouring frames, and .*single pictures: give'):
        train('neighbour', q, folder, home/'no', device='cpu', progress=False)
    assert not (home/'no').exists()


def test_clips_are_whole(home):
    with pytest.raises(UserError, match='people are whole clips'): replace(P, train_people=70)
    with pytest.raises(UserError, match='two frames or more'): replace(P, frames=1)
