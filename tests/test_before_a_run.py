"Laws of what comes before a run and of how it may break: one dry step, no folder left, a sentence"
import json, os, random, shutil, sys
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, torch
from types import SimpleNamespace as NS
from fastai.callback.core import Callback
from safetensors.torch import load_file
from semipose.errors import UserError
from semipose.files import only_writer
from semipose.protocols import protocol
from semipose.run import (clear_blank, compare, dry_step, is_blank, prepare, refuse_existing, starts,
                          step_sentence, train)
from semipose.watch import Watch

SAMPLE = Path(__file__).parents[1]/'data'/'sample'
SMALL = replace(protocol('demo'), name='small', title='small', data=None, labels=8, size=(32,32), width=8, batch=(4,4),
                start_steps=0, start_every=None, steps=4, every=2)
KW = dict(device='cpu', progress=False)

@pytest.fixture(scope='module')
def data(): return prepare(SMALL, SAMPLE, 0, progress=False)

def numbers(folder):
    return [{k: v for k,v in r.items() if k != 'seconds'}
            for r in json.loads((folder/'result.json').read_text())['rows']]

@pytest.mark.parametrize('method', ['posedual_jc', 'naive', 'sspcm', 'mean_teacher', 'posecons_ra'])
def test_the_dry_step_reaches_nothing(data, tmp_path, monkeypatch, method):
    "the run's numbers, its weights and everybody's random numbers are those of a run without it"
    states = []
    for name in ('with', 'without'):
        if name == 'without': monkeypatch.setattr('semipose.run.dry_step', lambda *a: None)
        torch.manual_seed(5); random.seed(5); np.random.seed(5)  # noqa: NPY002
        train(method, SMALL, data, tmp_path/name, **KW)
        states.append((torch.rand(3).tolist(), random.random(), np.random.rand()))  # noqa: NPY002
    assert states[0] == states[1] and numbers(tmp_path/'with') == numbers(tmp_path/'without')
    a, b = (load_file(tmp_path/f/'weights.safetensors') for f in ('with', 'without'))
    assert all(torch.equal(a[k], b[k]) for k in a)

def test_a_network_that_draws_at_random_draws_nobody_else_s_numbers(data, monkeypatch):
    "dropout, for one: the dry step gives back what it took"
    from semipose.methods import METHODS
    from semipose.nets.simple import Tiny
    from semipose.run import peers_of
    real = Tiny.forward
    def draws(self, x): return real(self, x) + 0*torch.rand(1).item()*np.random.rand()*random.random()  # noqa: NPY002
    monkeypatch.setattr(Tiny, 'forward', draws)
    peers, said = peers_of(SMALL, 17, 1, 0), []
    for step in (True, False):
        torch.manual_seed(5); random.seed(5); np.random.seed(5)  # noqa: NPY002
        if step: dry_step('posecons', METHODS['posecons'], SMALL, data, peers, torch.device('cpu'))
        said.append((torch.rand(3).tolist(), random.random(), np.random.rand()))  # noqa: NPY002
    assert said[0] == said[1]

def test_the_dry_step_is_left_out_where_a_run_goes_on(data, tmp_path, monkeypatch):
    from semipose.teaching import Teaching
    real = Teaching.before_batch
    def breaks(self):
        if self.step == 3: raise OSError('here')
        real(self)
    with monkeypatch.context() as mp:
        mp.setattr(Teaching, 'before_batch', breaks)
        with pytest.raises(OSError): train('naive', SMALL, data, tmp_path/'r', **KW)
    monkeypatch.setattr('semipose.run.dry_step', lambda *a: pytest.fail('it was there'))
    assert train('naive', SMALL, data, tmp_path/'r', resume=True, **KW)['state'] == 'done'

@pytest.mark.parametrize('change, says', [
    (dict(batch=(1, 1), net='resnet18', width=None),
     r'Batch normalisation has a single value for each channel with crops of 32x32 px and 1\+1 people a step '
     r'.resnet18.: give --batch 2 or more'),
])
def test_a_step_that_cannot_be_taken_is_told_and_leaves_nothing(tmp_path, change, says):
    p = replace(SMALL, **change)
    with pytest.raises(UserError, match=says) as e: train('naive', p, SAMPLE, tmp_path/'r', **KW)
    assert '\n' not in str(e.value) and not list(tmp_path.iterdir())
    with pytest.raises(UserError, match=says):
        compare(['naive'], replace(p, start_steps=4, start_every=2), SAMPLE, tmp_path/'c', **KW)
    assert not [f for f in tmp_path.rglob('*') if f.name == 'recipe.json']

@pytest.mark.parametrize('error, says', [
    (torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.'),
     'memory of cpu has no room for crops of 32x32 px and 4+4 people a step (tiny): give a smaller --batch, a smaller '
     '--size'),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you "
                  "tried to allocate 8 bytes. Error code 12"), 'no room'),
    (RuntimeError('[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to '
                  'allocate 8 bytes.'), 'no room'),
    (MemoryError(), 'no room'), (RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate'),
                                 'no room'),
    (AssertionError("Input height (32) doesn't match model (224)."),
     "naive with tiny cannot take a step with crops of 32x32 px and 4+4 people (AssertionError: Input height (32) "
     "doesn't match model (224).): choose another"),
])
def test_memory_and_sizes_are_told_in_a_sentence(data, tmp_path, monkeypatch, error, says):
    "in the dry step, and those of memory in any later one too"
    from semipose.nets.simple import Tiny
    real, armed = Tiny.forward, [True]
    def sick(self, x):
        if armed[0] and self.training: raise error
        return real(self, x)
    monkeypatch.setattr(Tiny, 'forward', sick)
    with pytest.raises(UserError) as e: train('naive', SMALL, data, tmp_path/'r', **KW)
    assert says in str(e.value) and '\n' not in str(e.value) and not list(tmp_path.iterdir())
    if isinstance(error, AssertionError): return
    armed[0] = False
    class Arm(Callback):
        # once there is a measurement
        def after_batch(self): armed[0] = bool(self.learn.watch.rows)
    with pytest.raises(UserError) as e: train('naive', SMALL, data, tmp_path/'r', cbs=Arm(), **KW)
    assert says in str(e.value) and '\n' not in str(e.value)
    assert (tmp_path/'r'/'result.json').exists(), 'what was measured stays'

def test_other_errors_are_not_dressed_up():
    assert step_sentence(RuntimeError('a bug'), SMALL, 'cpu') is None
    assert step_sentence(ValueError('a bug'), SMALL, 'cpu') is None

class Breaks(Callback):
    "Before the first measurement"
    order = Watch.order - 1
    def __init__(self, error): self.error = error
    def before_fit(self): raise self.error

@pytest.mark.parametrize('error', [UserError('no'), OSError('no'), KeyboardInterrupt('no')],
                         ids=lambda e: type(e).__name__)
def test_a_run_that_measured_nothing_leaves_nothing(data, tmp_path, error):
    with pytest.raises(type(error)): train('naive', SMALL, data, tmp_path/'r', cbs=Breaks(error), **KW)
    assert not list(tmp_path.iterdir())
    with pytest.raises(type(error)): train('naive', SMALL, data, tmp_path/'r', cbs=Breaks(error), resume=True, **KW)
    assert not list(tmp_path.iterdir())

@pytest.fixture
def blank(data, tmp_path):
    "What a kill before the first measurement leaves"
    train('naive', SMALL, data, tmp_path/'r', **KW)
    for f in (tmp_path/'r').iterdir():
        if f.name not in ('recipe.json', 'split.json', 'who.json', '.lock'): f.unlink()
    return tmp_path/'r'

@pytest.mark.parametrize('resume', [False, True])
def test_a_folder_without_a_measurement_is_taken_over(data, blank, capsys, resume):
    "by the same name, with the corrected setting, and it is said"
    r = train('naive', replace(SMALL, lam=2.), data, blank, device='cpu', progress=True, resume=resume)
    assert r['state'] == 'done' and 'ended before its first measurement: it is begun anew' in capsys.readouterr().out
    assert json.loads((blank/'recipe.json').read_text())['protocol']['lam'] == 2.
    # it has measured now
    with pytest.raises(UserError, match='exists: choose another'): train('naive', SMALL, data, blank, **KW)

def test_a_start_without_a_measurement_is_taken_over(data, blank):
    p = replace(SMALL, start_steps=4, start_every=2)
    blank.rename(blank.with_name('start'))
    out = starts(['posedual_jc'], p, data, blank.with_name('start'), **KW)
    assert json.loads((out['net']/'recipe.json').read_text())['nets'] == 2

def test_a_living_writer_and_what_was_measured_are_left_alone(data, blank):
    with only_writer(blank):
        assert not is_blank(blank) and is_blank(blank, mine=True)
        with pytest.raises(UserError, match='exists: choose another'): refuse_existing(blank)
    for name in ('result.json', 'weights.safetensors', 'state.safetensors', 'mine.txt'):
        (blank/name).write_text('{}')
        assert not is_blank(blank)
        clear_blank(blank)
        assert (blank/name).exists() and (blank/'recipe.json').exists()
        (blank/name).unlink()
    clear_blank(blank)
    assert not blank.exists()

# ---- who is there

@pytest.mark.parametrize('split, spoil, says', [
    ('val', lambda a: [], 'none of the 0 validation people has a box and an annotated joint'),
    ('val', lambda a: [dict(x, keypoints=[0]*51, num_keypoints=0) for x in a],
     'none of the 16 validation people has a box and an annotated joint'),
    ('train', lambda a: [], 'nothing to learn'), ('train', lambda a: [dict(x, keypoints=[0]*51, num_keypoints=0)
                                                                      for x in a], 'nothing to learn')])
def test_nobody_to_train_or_to_validate_on_is_told(tmp_path, split, spoil, says):
    shutil.copytree(SAMPLE, tmp_path/'d')
    f = tmp_path/'d'/f'person_keypoints_{split}.json'
    d = json.loads(f.read_text())
    f.write_text(json.dumps(dict(d, annotations=spoil(d['annotations']))))
    for labels in (8, None):
        with pytest.raises(UserError, match=says) as e:
            train('naive', replace(SMALL, labels=labels), tmp_path/'d', tmp_path/'r', **KW)
        assert '\n' not in str(e.value) and not (tmp_path/'r').exists()

@pytest.mark.parametrize('workers', [0, 1])
def test_a_picture_that_breaks_under_a_reader_is_told_in_its_sentence_alone(tmp_path, monkeypatch, workers):
    shutil.copytree(SAMPLE, tmp_path/'d')
    monkeypatch.setattr('semipose.people.CACHE', 0)
    monkeypatch.setattr('semipose.run.readers', lambda *a, **kw: workers)
    class Break(Callback):
        def before_batch(self):
            for f in (tmp_path/'d'/'images'/'train').iterdir(): f.write_bytes(b'broken')
    with pytest.raises(UserError, match=r'^\S+\.jpg: this picture cannot be read .not a picture.; replace the file or '
                                        r'remove its entry\.$'):
        train('naive', replace(SMALL, steps=40, every=20), tmp_path/'d', tmp_path/'r', cbs=Break(), **KW)

@pytest.mark.skipif(sys.platform in ('darwin', 'win32'), reason='names there are Unicode')
def test_a_folder_whose_name_is_no_utf8(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from semipose.report import run_report
    from semipose.run import evaluate_run
    from semipose.sweep import entry_of
    name = os.fsdecode(b'caf\xe9')
    shutil.copytree(SAMPLE, name)
    train('naive', SMALL, name, f'runs/{name}', **KW)
    assert b'caf?' in run_report(f'runs/{name}').read_bytes()
    assert evaluate_run(f'runs/{name}', **KW)['net 1']['people'] == 16
    assert entry_of(f'runs/{name}').source == dict(data=name)

# ---- which checkpoint is the best

def best_of(rows, **kw):
    watch, it = Watch(lambda m: dict(next(it)), **kw), iter(rows)
    watch.learn = NS(teaching=NS(step=0), model=torch.nn.Identity())
    watch.began = watch.busy = 0.
    for k in range(len(rows)):
        watch.learn.teaching.step = k
        watch.measure()
    return watch.best and watch.best['step']

@pytest.mark.parametrize('rows, kw, step', [
    ([dict(ap=0., pck=9.), dict(ap=0., pck=2.), dict(ap=0., pck=3.)], dict(trained=False), 2),
    ([dict(ap=5., pck=9.), dict(ap=0., pck=2.)], dict(trained=False), 1),
    ([dict(ap=5., pck=9.), dict(ap=0., pck=2.)], {}, 0), ([dict(ap=5., pck=1.), dict(ap=5., pck=2.),
                                                           dict(ap=5., pck=1.)], {}, 1),
    ([dict(ap=5., pck=1.), dict(ap=5., pck=1.), dict(ap=4., pck=9.)], {}, 1),
    ([dict(ap=5.)], dict(trained=False), None),
    ([dict(ap=1., ap_heldout=3., pck=9.), dict(ap=1., ap_heldout=3., pck=1.)], dict(select='ap_heldout', ties=()), 1),
    ([dict(pck=3.)], {}, None)])
def test_the_best_is_never_random_and_ties_are_broken(rows, kw, step):
    "by PCK, then for the later step; held-out labels are not asked what validation says"
    assert best_of(rows, **kw) == step

@pytest.mark.parametrize('heldout, labels', [(0., 8), (.3, 10)])
def test_a_run_from_random_weights_never_keeps_step_0(data, tmp_path, heldout, labels):
    p = replace(SMALL, labels=labels, heldout=heldout)
    r = train('supervised', p, SAMPLE, tmp_path/'s', **KW)
    assert r['best']['step'] > 0 and (tmp_path/'s'/'best.safetensors').exists()
    assert train('naive', replace(p, lr=0.), SAMPLE, tmp_path/'n', start=tmp_path/'s', **KW)['best']['step'] >= 0


# ---- one crop through the networks, before anybody is read

@pytest.mark.parametrize('net, size, says', [
    ('timm:vit_tiny_patch16_224', (60, 48), 'multiples of 16, and this one is 60x48'),
    ('timm:vit_small_patch14_dinov2', (256, 192), 'multiples of 14, and this one is 256x192'),
    ('timm:swin_tiny_patch4_window7_224', (64, 48), 'multiples of 32'), ('tiny', (60, 48), 'multiples of 16'),
    ('timm:cait_xxs24_224', (64, 64), 'crops of 224x224 alone')])
def test_a_crop_that_a_network_does_not_take_ends_before_data_are_read(tmp_path, monkeypatch, net, size, says):
    from semipose.errors import UserError
    monkeypatch.setattr('semipose.run.prepare', lambda *a, **kw: pytest.fail('people were read'))
    p = replace(SMALL, net=net, width=None, size=size)
    with pytest.raises(UserError, match=says): train('posecons', p, SAMPLE, tmp_path/'run', **KW)
    assert not (tmp_path/'run').exists()

def test_a_map_of_another_stride_is_refused_in_a_sentence():
    "stride = crop / map, whatever the network says"
    from semipose.networks import dry_forward
    class Says(torch.nn.Module):
        stride = 4
        def forward(self, x): return x[:,:1,::2,::2]
    class Breaks(torch.nn.Module):
        stride = 4
        def forward(self, x): raise AssertionError('height (32) does not match')
    before = torch.get_rng_state()
    with pytest.raises(UserError, match='says does not take crops of 32x32 px '
                                        '.its heatmap is 16x16, not a pixel every 4 px'):
        dry_forward(Says(), SMALL, 'says')
    with pytest.raises(UserError, match='AssertionError: height .32. does not match.: choose another --size or --net'):
        dry_forward(Breaks(), SMALL, 'breaks')
    assert torch.equal(before, torch.get_rng_state())

def test_a_vit_trains(tmp_path):
    pytest.importorskip('timm')
    p = replace(SMALL, net='timm:vit_tiny_patch16_224', width=16, batch=(2, 2), steps=2, every=1)
    run = train('posedual', p, SAMPLE, tmp_path/'run', **KW)
    losses = [r['cons1'] for r in run['rows'][1:]]
    assert run['state'] == 'done' and len(losses) == 2 and all(np.isfinite(losses))
    sd = load_file(tmp_path/'run'/'weights.safetensors')
    assert sd['nets.0.normalise.mean'].flatten().tolist() == [.5]*3     # as timm says of its weights, not ImageNet's
