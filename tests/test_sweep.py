"""Laws of a sweep: only what is missing is trained, a kill loses nothing but the run in hand, two sweeps share the
work, an entry is what the run was"""
import json, os, shutil, signal, subprocess, sys, time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
import numpy as np
import pytest
import torch
from semipose.watch import each_of
from semipose.errors import UserError
from semipose.evaluate.coco import Matches, ap_of
from semipose.ledger import example_entry, read_entry, read_ledger, record
from semipose.protocols import protocol
from semipose.run import (check_labels, demo, drawing_of, synthetic_folder, synthetic_people, first_of,
                          load_run, prepare, read_recipe, train)
from semipose.sweep import entry_of, find_people, is_synthetic, lacking, starts, sweep, terms_of

TOP = Path(__file__).parents[1]
SAMPLE = TOP/'data'/'sample'
SMALL = replace(protocol('demo'), name='small', title='small', data=None, labels=8, size=(32,32), width=8,
                other='tiny', other_width=12, batch=(4,4),
                start_steps=4, start_every=2, steps=4, every=2)
KW = dict(device='cpu', progress=False)

def run(folder, methods, seeds=(0,), p=SMALL, **kw):
    return sweep(p, methods, seeds, SAMPLE, folder/'runs', folder/'results', **KW, **kw)
def curve(e): return [{k: v for k,v in r.items() if k != 'seconds'} for r in e.curve]
def entries(folder): return {(e.method, e.seed): e for e in read_ledger(folder/'results')[0]}

@pytest.fixture(scope='module')
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sweep')
    return folder, run(folder, ['supervised', 'naive', 'posedual_jc', 'sspcm'])

def test_all_rows_land(swept):
    folder, out = swept
    assert [e.method for e in out['new']] == ['supervised', 'naive', 'posedual_jc', 'sspcm'] and not out['failed']
    assert not out['elsewhere'] and out['there'] == 0
    assert {m for m,_ in entries(folder)} == {'supervised', 'naive', 'posedual_jc', 'sspcm'}
    assert {p.parent.name for p in (folder/'results').rglob('*.json')} == {'small'}

def test_what_is_there_is_not_trained_again(swept, monkeypatch):
    folder, _ = swept
    monkeypatch.setattr('semipose.run.train', lambda *a, **k: pytest.fail('trained again'))
    out = run(folder, ['supervised', 'naive', 'posedual_jc', 'sspcm'])
    assert out['there'] == 4 and not out['new'] and not out['failed']

def test_a_lost_entry_is_written_again_from_its_run(swept, tmp_path):
    folder, out = swept
    e = next(e for e in out['new'] if e.method == 'naive')
    path = folder/'results'/'small'/e.name
    path.unlink()
    begun = read_recipe(folder/'runs'/'small'/'seed0'/'naive')['begun']
    again = run(folder, ['naive'])
    assert [x.method for x in again['new']] == ['naive'] and read_entry(path) == e and e.begun == begun

def test_an_entry_is_what_the_run_was(swept):
    folder, out = swept
    for e in out['new']:
        r = json.loads((folder/'runs'/'small'/'seed0'/e.method/'result.json').read_text())
        assert e.ap == pytest.approx(r['last']['ap'], abs=1e-4) and len(e.curve) == len(r['rows']) and e.steps == 4
        assert e.labeled == 8 and e.protocol == 'small'
        assert len(e.each) == {'posedual_jc': 2, 'sspcm': 3}.get(e.method, 1) == len(e.people['nets'])
        assert np.mean(e.each) == pytest.approx(e.ap, abs=1e-3) and e.collapsed == r['collapsed']
        assert e.hardware and e.versions['torch'] and e.begun and e.sentence
    one = next(e for e in out['new'] if e.method == 'posedual_jc')
    assert (one.cost == dict(forward=2*(4+4)+2*4, backward=2*(4+4))
            and one.pictures == {k: 4*v for k,v in one.cost.items()})

def test_people_of_an_entry_are_its_ap(swept):
    "each network's AP comes out of what is kept of each person"
    for e in swept[1]['new']:
        assert [100*ap_of(Matches.from_dict(n)) for n in e.people['nets']] == pytest.approx(e.each, abs=1e-3)
    assert len({e.val for e in swept[1]['new']}) == 1

def test_a_run_of_an_earlier_version_is_asked_once_more(swept):
    folder, _ = swept
    path = folder/'runs'/'small'/'seed0'/'naive'/'people.json'
    was = json.loads(path.read_text())
    path.unlink()
    find_people(path.parent, prepare(SMALL, SAMPLE, 0, progress=False))
    assert json.loads(path.read_text()) == was

def test_more_networks_in_the_start_leave_the_first_as_it_was(tmp_path):
    "a sweep of single networks may be followed by one of pairs"
    run(tmp_path, ['posecons'])
    one = load_run(tmp_path/'runs'/'small'/'seed0'/'start', device='cpu')[0]
    out = run(tmp_path, ['posedual', 'sspcm'])
    three = load_run(tmp_path/'runs'/'small'/'seed0'/'start', device='cpu')[0]
    assert (len(one), len(three)) == (1, 3) and len(out['new']) == 2
    for a, b in zip(one.nets[0].state_dict().values(), three.nets[0].state_dict().values()): assert torch.equal(a, b)
    first = {e.method: e.first for e in read_ledger(tmp_path/'results')[0]}
    ap = {m: each_of(r)[0] for m, r in first.items()}
    assert ap['posecons'] == ap['posedual'] == ap['sspcm']

def test_unlike_pairs_start_each_from_its_own_kind(tmp_path):
    out = run(tmp_path, ['posedual', 'posedual_unlike', 'posedual_other', 'supervised_other'])
    assert len(out['new']) == 4, out
    seed = tmp_path/'runs'/'small'/'seed0'
    start, other = (load_run(seed/n, device='cpu')[0] for n in ('start', 'start-other'))
    wide = lambda peers: [n.final.in_channels for n in peers.nets]
    pair = load_run(seed/'posedual_unlike', device='cpu')[0]
    assert wide(pair) == [8, 12] and wide(start) == [8, 8] and wide(other) == [12, 12]
    e = entries(tmp_path)
    a, b = each_of(e['posedual_unlike', 0].first)
    alone = lambda m: each_of(e[m, 0].first)[0]
    assert a == alone('posedual') and b == alone('posedual_other') == alone('supervised_other')

def test_an_unlike_pair_needs_a_second_network(tmp_path):
    out = run(tmp_path, ['naive'], p=replace(SMALL, other=None))
    assert len(out['new']) == 1
    with pytest.raises(UserError, match='second'): run(tmp_path, ['posedual_unlike'], p=replace(SMALL, other=None))

def test_one_bad_row_does_not_stop_the_others(tmp_path, monkeypatch):
    from semipose import run as room
    real = train
    def sick(name, *a, **k):
        if name == 'naive': raise UserError('step 3: the loss is not finite.')
        return real(name, *a, **k)
    monkeypatch.setattr(room, 'train', sick)
    out = run(tmp_path, ['naive', 'posecons'], seeds=(0, 1))
    assert sorted(out['failed']) == ['naive, seed 0', 'naive, seed 1']
    assert 'not finite' in out['failed']['naive, seed 0'] and len(out['new']) == 2

def test_not_even_a_row_that_breaks_stops_the_others(tmp_path, monkeypatch):
    "a network too large for the device, at three in the night"
    from semipose import run as room
    real = train
    def large(name, *a, **k):
        if name == 'naive': raise RuntimeError('CUDA out of memory.\nTried to allocate 2 GiB')
        return real(name, *a, **k)
    monkeypatch.setattr(room, 'train', large)
    out = run(tmp_path, ['naive', 'posecons'])
    told = out['failed']['naive, seed 0']
    assert len(out['new']) == 1 and told.startswith('RuntimeError: CUDA out of memory. (all of it is in')
    assert '\n' not in told
    [kept] = tmp_path.rglob('naive.error.txt')
    assert str(kept) in told and 'Tried to allocate 2 GiB' in kept.read_text() and 'Traceback' in kept.read_text()

@pytest.mark.parametrize('error', [RuntimeError('CUDA out of memory.\nTried to allocate 2 GiB'),
                                   UserError('step 3: the loss is not finite.')])
def test_a_start_that_breaks_costs_its_own_seed_alone(tmp_path, monkeypatch, error):
    from semipose import sweep as room
    real = room.starts
    def sick(methods, p, d, folder, seed, **k):
        if seed == 0: raise error
        return real(methods, p, d, folder, seed, **k)
    monkeypatch.setattr(room, 'starts', sick)
    out = run(tmp_path, ['posecons'], seeds=(0, 1))
    told, kept = out['failed'].pop('start, seed 0'), [str(f) for f in tmp_path.rglob('start.error.txt')]
    assert [e.seed for e in out['new']] == [1] and not out['failed']
    assert told.startswith(str(error) if isinstance(error, UserError) else 'RuntimeError: CUDA out of memory.')
    assert len(kept) == (not isinstance(error, UserError))
    assert all(f in told for f in kept), 'what is no sentence is kept whole'
    with pytest.raises(UserError, match='not finite|out of memory'): run(tmp_path, ['posecons'])

def test_what_is_lacking_knows_the_second_network_and_the_precision(tmp_path):
    p = replace(SMALL, other='tiny', other_width=8)
    e = replace(example_entry('posedual_unlike', protocol=SMALL.name), terms=terms_of(p, {}), steps=p.steps,
                settings=json.loads(json.dumps(p.as_dict())))
    record(e, tmp_path)
    record(replace(e, method='naive'), tmp_path)
    names = ['posedual_unlike', 'naive']
    assert lacking(p, names, 0, terms_of(p, {}), tmp_path) == []
    assert lacking(replace(p, other_width=9), names, 0, terms_of(p, {}), tmp_path) == ['posedual_unlike']
    assert lacking(p, names, 0, terms_of(p, {}, amp=True), tmp_path) == names

def test_a_sweep_at_mixed_precision_finds_its_own_entries(tmp_path, monkeypatch):
    with pytest.raises(UserError, match='mixed precision, is for CUDA, and the device here is cpu'):
        run(tmp_path, ['supervised'], amp=True)
    assert not list(tmp_path.iterdir())
    # as if there were a GPU
    for room in ('run', 'sweep'): monkeypatch.setattr(f'semipose.{room}.check_precision', lambda *a: None)
    assert len(run(tmp_path, ['supervised'], amp=True)['new']) == 1
    assert (again := run(tmp_path, ['supervised'], amp=True))['there'] == 1 and not again['new']

def test_seeds_choose_other_people_and_stand_apart(tmp_path):
    run(tmp_path, ['supervised'], seeds=(0, 1))
    a, b = (entries(tmp_path)['supervised', s] for s in (0, 1))
    assert curve(a) != curve(b) and a.terms == b.terms and a.val == b.val

def test_other_settings_do_not_pass_for_the_same(tmp_path):
    run(tmp_path, ['supervised'])
    with pytest.raises(UserError, match='begun with steps=4'): run(tmp_path, ['supervised'], p=replace(SMALL, steps=2))
    e = read_ledger(tmp_path/'results')[0]
    assert len(e) == 1
    assert terms_of(SMALL, dict(data='a/lsp')) == terms_of(replace(SMALL, steps=2, every=1, name='x', title='y'),
                                                           dict(data='b/lsp'))
    assert terms_of(SMALL, dict(data='lsp')) != terms_of(SMALL, dict(data='mpii')) != terms_of(replace(SMALL, lr=1.),
        dict(data='mpii'))

def test_pseudo_labels_without_a_start_come_from_the_supervised_run(tmp_path):
    p = replace(SMALL, start_steps=0, start_every=None, start_lr=None)
    with pytest.raises(UserError, match='train supervised first'): first_of('pseudopose', None, tmp_path/'nothing')
    out = run(tmp_path, ['pseudopose', 'supervised'], p=p)
    assert [e.method for e in out['new']] == ['pseudopose', 'supervised'] and not out['failed'], 'in any order'
    e = entries(tmp_path)
    assert e['pseudopose', 0].first['ap'] == e['supervised', 0].last['ap']

def test_weights_that_are_lost_do_not_end_the_pseudo_labels(tmp_path):
    """the ledger of a repository holds supervised training, this machine has none of its weights: they are made
    again, and nothing is recorded twice"""
    p = replace(SMALL, start_steps=0, start_every=None, start_lr=None)
    [first] = run(tmp_path, ['supervised'], p=p)['new']
    shutil.rmtree(tmp_path/'runs')
    out = run(tmp_path, ['supervised', 'data_distillation'], p=p)
    assert [e.method for e in out['new']] == ['data_distillation'] and out['there'] == 1 and not out['failed']
    e = entries(tmp_path)
    assert e['supervised', 0] == first and e['data_distillation', 0].first['ap'] == first.last['ap']

def test_names_are_checked_before_anything_is_made(tmp_path):
    with pytest.raises(UserError, match='did you mean posedual_jc'): run(tmp_path, ['supervised', 'posedual_cj'])
    with pytest.raises(UserError, match='--data'):
        sweep(SMALL, ['naive'], [0], None, tmp_path/'runs', tmp_path/'results', **KW)
    assert not list(tmp_path.iterdir())

CODE = '''
import sys, torch
torch.set_num_threads(1)
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_sweep import run
run(Path({folder!r}), {methods!r}, seeds=(0, 1))
'''
METHODS = ['supervised', 'naive', 'posecons', 'posedual']

def process(folder):
    code = CODE.format(tests=str(TOP/'tests'), folder=str(folder), methods=METHODS)
    return subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code], cwd=TOP,
                            env=dict(os.environ, OMP_NUM_THREADS='1'))

def test_killed_anywhere_and_shared_by_two(tmp_path):
    """killed four times at odd moments, then two sweeps at once: the entries are those of an unbroken sweep, and
    every run was trained to the end once"""
    torch.set_num_threads(1)
    whole, broken = tmp_path/'whole', tmp_path/'broken'
    run(whole, METHODS, seeds=(0, 1))
    rng, kills = np.random.default_rng(0), 0
    for _ in range(4):
        p, n = process(broken), len(entries(broken))
        end = time.time() + 120
        # wait for one more entry, then a little
        while p.poll() is None and len(entries(broken)) <= n and time.time() < end: time.sleep(.02)
        time.sleep(rng.uniform(0, .8))
        if p.poll() is None:
            p.send_signal(signal.SIGKILL); kills += 1
        p.wait()
    assert kills, 'nothing was killed: the sweep is too short for this test'
    two = [process(broken) for _ in range(2)]
    assert [p.wait(timeout=300) for p in two] == [0, 0]
    one = process(broken)
    assert one.wait(timeout=300) == 0
    a, b = entries(whole), entries(broken)
    assert set(a) == set(b) == {(m, s) for m in METHODS for s in (0, 1)}
    for k in a: assert curve(a[k]) == curve(b[k]) and a[k].people == b[k].people, k
    assert not [p for p in broken.rglob('*.part')]

def test_drawn_people_are_drawn_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    p = replace(protocol('demo'), name='few', train_people=12, val_people=4, size=(32,32))
    a = synthetic_people(p, 3, progress=False)
    stamp = (a/'person_keypoints_train.json').stat().st_mtime_ns
    assert synthetic_people(replace(p, name='few-all', labels=None), 3, progress=False) == a
    assert (a/'person_keypoints_train.json').stat().st_mtime_ns == stamp
    assert synthetic_people(p, 4, progress=False) != a

def test_starts_are_made_only_where_the_protocol_has_one(tmp_path):
    data = prepare(SMALL, SAMPLE, 0, progress=False)
    assert starts(['naive'], replace(SMALL, start_steps=0), data, tmp_path/'start', **KW) is None
    assert starts(['naive', 'posedual_unlike'], SMALL, data, tmp_path/'start', **KW) == dict(net=tmp_path/'start',
        other=tmp_path/'start-other')
    assert (read_recipe(tmp_path/'start')['nets'], read_recipe(tmp_path/'start-other')['nets']) == (1, 1)
    assert entry_of(tmp_path/'start').method == 'supervised'

def test_a_trial_of_other_making_does_not_pass_for_a_row(tmp_path):
    """`semipose train` writes into the same ledger: without the shared start, on other people, or with steps of its
    own where a budget is published it is no row"""
    from semipose.ledger import record
    from semipose.sweep import lacking
    (d := tmp_path/'runs').mkdir()
    train('supervised', SMALL, prepare(SMALL, SAMPLE, 0, progress=False), d/'alone', 0, **KW)
    e = entry_of(d/'alone')
    source = dict(data=SAMPLE)
    assert e.terms != terms_of(SMALL, source)
    for more in (dict(data='drawn', train_people=99),):
        r = json.loads((d/'alone'/'recipe.json').read_text())
        r['protocol'].update(more); r['start'] = 'x'
        (d/'alone'/'recipe.json').write_text(json.dumps(r))
        p = replace(SMALL, **more)
        assert entry_of(d/'alone').terms != terms_of(p, source), 'synthetic people that nobody drew for it'
        assert entry_of(d/'alone').terms == terms_of(p, source, people='sample')
    p = replace(SMALL, budget='coco-1k')
    record(replace(e, terms='aaaaaa'), tmp_path/'results')
    assert lacking(p, ['supervised'], 0, 'aaaaaa', tmp_path/'results') == ['supervised']
    assert lacking(SMALL, ['supervised'], 0, 'aaaaaa', tmp_path/'results') == []

def test_a_stopped_start_of_more_networks_is_gone_on_with(tmp_path):
    data = prepare(SMALL, SAMPLE, 0, progress=False)
    starts(['posedual'], SMALL, data, tmp_path/'start', **KW)
    (tmp_path/'start'/'result.json').unlink()   # as a kill before the first measurement leaves it
    starts(['naive'], SMALL, data, tmp_path/'start', **KW)
    assert read_recipe(tmp_path/'start')['nets'] == 2 and (tmp_path/'start'/'result.json').exists()

def test_a_living_writer_keeps_what_it_writes(tmp_path):
    from semipose.files import only_writer
    from semipose.run import open_run
    recipe = dict(method='x', protocol={}, seed=0, nets=1, skeleton={})
    open_run(tmp_path/'r', recipe)
    part = tmp_path/'r'/'.result.json.1.part'
    part.write_text('{')
    with only_writer(tmp_path/'r'): open_run(tmp_path/'r', recipe, resume=True)
    assert part.exists()
    open_run(tmp_path/'r', recipe, resume=True)
    assert not part.exists()

def test_nothing_to_do_is_said(tmp_path):
    with pytest.raises(UserError, match='no method'): run(tmp_path, [])
    with pytest.raises(UserError, match='draws its own people'): run(tmp_path, ['naive'], p=protocol('demo'))
    out = run(tmp_path, ['supervised', 'supervised'])
    assert len(out['new']) == 1 and out['there'] == 0

def test_a_row_of_ones_own_is_written_down_and_never_taken_for_another(tmp_path, monkeypatch):
    from semipose.methods import METHODS, own
    from semipose.views import A30, A60, JointCutout
    assert own('posecons') is None
    mine = replace(METHODS['mean_teacher'], student_views=(JointCutout(2) >> A60,))
    monkeypatch.setitem(METHODS, 'mine', mine)
    run(tmp_path, ['supervised', 'mine'])
    e, folder = entries(tmp_path)['mine', 0], tmp_path/'runs'/'small'/'seed0'/'mine'
    assert e.own == read_recipe(folder)['own'] == dict(method=repr(mine), copies=mine.copies, networks=[])
    assert entries(tmp_path)['supervised', 0].own is None
    assert run(tmp_path, ['mine'])['there'] == 1
    monkeypatch.setitem(METHODS, 'mine', replace(mine, teacher_view=A60, student_views=(A30,)))
    out = run(tmp_path, ['mine'])
    # not passed off as the old one
    assert not out['there'] and not out['new'] and 'mine was defined otherwise' in out['failed']['mine, seed 0']
    again = sweep(SMALL, ['mine'], (0,), SAMPLE, tmp_path/'elsewhere', tmp_path/'results', **KW)
    assert [x.own['method'] for x in again['new']] == [repr(METHODS['mine'])] and again['new'][0].key != e.key
    assert (tmp_path/'results'/'small'/e.name).exists()
    # a row of the table under the same name with other words
    changed = replace(METHODS['posecons'], student_views=(A30,))
    monkeypatch.setitem(METHODS, 'posecons', changed)
    assert own('posecons')['method'] == repr(changed)
    monkeypatch.delitem(METHODS, 'mine')
    # who reads the run needs no row
    peers = load_run(folder)[0]
    assert len(peers.nets) == 1
    with pytest.raises(UserError, match='imported'):
        entry_of(folder)

def test_the_demo_draws_the_people_that_a_sweep_will_look_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    p, where = replace(protocol('demo'), name='few-all', labels=None, train_people=12, val_people=4, size=(48,32)), []
    monkeypatch.setattr('semipose.run.compare', lambda order, p, data, *a, **kw: where.append(data))
    demo(p=p, seed=3, progress=False)
    stamp = (where[0]/'synth.json').stat().st_mtime_ns
    assert where == [synthetic_folder(p, 3)] == [synthetic_people(replace(p, name='few', labels=8), 3, progress=False)]
    assert (where[0]/'synth.json').stat().st_mtime_ns == stamp

def test_a_sweep_keeps_to_its_device_and_to_one_seed_s_pictures(tmp_path, monkeypatch):
    import weakref
    from semipose import run as running, sweep as room
    devices, seen, real, cut = [], [], running.load_run, room.prepare
    def asks(folder, weights='last', device='auto'):
        devices.append(device)
        return real(folder, weights, device)
    def prepares(*a, **kw):
        assert not seen or seen[-1]() is None, 'the crops of the seed before are still there'
        d = cut(*a, **kw)
        seen.append(weakref.ref(d))
        return d
    def trains(*a, **kw):
        out = train(*a, **kw)
        (a[3]/'people.json').unlink()
        out.people = None       # as of a run of an earlier version
        return out
    monkeypatch.setattr(running, 'load_run', asks)
    monkeypatch.setattr(room, 'prepare', prepares)
    monkeypatch.setattr('semipose.run.train', trains)
    assert len(run(tmp_path, ['supervised'], seeds=(0, 1), p=replace(SMALL, start_steps=0))['new']) == 2
    assert devices == ['cpu', 'cpu'] and len(seen) == 2

def test_who_waits_for_a_turn_says_so_once(tmp_path, capsys):
    from threading import Timer
    from contextlib import ExitStack
    from semipose.files import only_writer, turn
    with ExitStack() as other:
        other.enter_context(only_writer(tmp_path))
        Timer(1., other.pop_all().close).start()
        with turn(tmp_path, pause=.05): pass
    assert capsys.readouterr().out == f'Another process works in {tmp_path}: waiting for it.\n'

def test_a_row_that_is_defined_otherwise_today_is_lacking(tmp_path):
    from semipose.methods import line_of
    e = replace(example_entry('naive', protocol=SMALL.name), terms=terms_of(SMALL, {}), steps=SMALL.steps,
                settings=json.loads(json.dumps(SMALL.as_dict())))
    for line, lacks in (('000000', ['naive']), (None, []), (line_of('naive'), [])):
        record(replace(e, line=line), tmp_path)
        assert lacking(SMALL, ['naive'], 0, terms_of(SMALL, {}), tmp_path) == lacks

def test_a_run_of_an_earlier_definition_is_not_taken_up(tmp_path):
    from semipose.methods import line_of
    from semipose.run import same_recipe
    recipe = dict(method='naive', line=line_of('naive'), protocol=SMALL.as_dict(), seed=0, nets=1, skeleton={})
    for line, fits in ((recipe['line'], True), (None, True), ('000000', False)):
        (tmp_path/'recipe.json').write_text(json.dumps({k: v for k,v in dict(recipe, line=line).items()
                                                        if v is not None}))
        if fits: same_recipe(tmp_path, recipe)
        else:
            with pytest.raises(UserError, match='naive was defined otherwise'): same_recipe(tmp_path, recipe)

def test_an_archive_of_pictures_is_its_folder():
    name = lambda folder: terms_of(protocol('folder'), dict(data='d', unlabeled=folder))
    assert name('a/unlabeled2017') == name('b/unlabeled2017.zip') != name('a/more')

NO_START = replace(SMALL, start_steps=0, start_every=None, start_lr=None)

def test_one_network_that_cannot_be_had_costs_its_own_rows_alone(tmp_path, monkeypatch):
    p = replace(NO_START, other='resnet18', other_width=None, other_weights='pip:no-such-package-here')
    out = run(tmp_path, ['naive', 'posedual_unlike', 'supervised_other'], p=p)
    assert [e.method for e in out['new']] == ['naive']
    assert set(out['failed']) == {'posedual_unlike, seed 0', 'supervised_other, seed 0'}
    assert 'pip install no-such-package-here' in out['failed']['posedual_unlike, seed 0']
    with_start = run(tmp_path/'s', ['naive', 'posedual_unlike'], p=replace(p, start_steps=4, start_every=2))
    assert [e.method for e in with_start['new']] == ['naive']
    assert not (tmp_path/'s'/'runs'/'small'/'seed0'/'start-other').exists()

def test_starts_check_their_networks_before_they_train(tmp_path, monkeypatch):
    monkeypatch.setattr('semipose.run.prepare', lambda *a, **k: pytest.fail('the people were read'))
    gone = dict(weights2='pip:no-such-package-here', net='resnet18', width=None), dict(other='resnet18',
        other_width=None, other_weights='pip:no-such-package-here')
    for changes, method in zip(gone, ('posedual', 'posedual_unlike')):
        with pytest.raises(UserError, match='no-such-package-here'):
            starts([method], replace(SMALL, **changes), SAMPLE, tmp_path/'start', **KW)
    assert not list(tmp_path.iterdir())

def test_pseudo_labels_are_not_taken_from_training_under_other_settings(tmp_path):
    run(tmp_path, ['supervised'], p=NO_START)
    out = run(tmp_path, ['pseudopose'], p=replace(NO_START, lr=.123))
    assert 'begun with lr=' in out['failed']['pseudopose, seed 0'] and not out['new']
    (tmp_path/'runs'/'small'/'seed0'/'supervised'/'weights.safetensors').unlink()
    out = run(tmp_path, ['pseudopose'], p=NO_START)
    assert [e.method for e in out['new']] == ['pseudopose'] and not out['failed'], 'lost weights are made again'

def test_a_second_network_s_weights_concern_pairs_alone(tmp_path):
    import torchvision
    for i in (1, 2):
        torch.manual_seed(i)
        torch.save(torchvision.models.resnet18().state_dict(), tmp_path/f'{i}.pth')
    p = replace(NO_START, net='resnet18', width=8, weights=str(tmp_path/'1.pth'), other=None, other_width=None,
                steps=2, every=2)
    q = replace(p, weights2=str(tmp_path/'2.pth'))
    assert terms_of(p, {}) == terms_of(q, {})
    run(tmp_path, ['supervised', 'posedual'], p=p)
    out = run(tmp_path, ['supervised'], p=q)
    assert out['there'] == 1 and not out['failed'], 'one network does not see them'
    out = sweep(q, ['supervised'], [0], SAMPLE, tmp_path/'runs', tmp_path/'elsewhere', **KW)
    assert len(out['new']) == 1 and not out['failed'], 'its run is taken for what it is'
    assert lacking(q, ['posedual'], 0, terms_of(q, dict(data=SAMPLE)),
                   tmp_path/'results') == ['posedual'], 'a pair does'
    recipe = tmp_path/'runs'/'small'/'seed0'/'posedual'/'recipe.json'
    old = json.loads(recipe.read_text())
    del old['protocol']['weights2']     # as older runs have it
    recipe.write_text(json.dumps(old))
    out = run(tmp_path, ['posedual'], p=q)
    assert 'begun with weights2=None' in out['failed']['posedual, seed 0'] and not out['new']
    out = sweep(q, ['posedual'], [0], SAMPLE, tmp_path/'more', tmp_path/'results', **KW)
    both = [e for e in read_ledger(tmp_path/'results')[0] if e.method == 'posedual']
    assert len(out['new']) == 1 and len({e.name for e in both}) == 2 and len({e.terms for e in both}) == 1

DRAWN = replace(protocol('demo'), name='few', train_people=12, val_people=6, labels=8, width=8, batch=(4,4),
                start_steps=0, start_every=None, start_lr=None, steps=2, every=2)

def test_foreign_people_do_not_stand_in_the_table_of_drawn_ones(tmp_path, monkeypatch):
    """`semipose train --protocol demo` takes pictures, labels and boxes of one's own: such a run must not pass for a
    row, or take its place"""
    monkeypatch.chdir(tmp_path)
    people = synthetic_people(DRAWN, 0, progress=False)
    train('supervised', DRAWN, prepare(DRAWN, people, 0, progress=False), tmp_path/'run', 0, **KW)
    e, recipe = entry_of(tmp_path/'run'), json.loads((tmp_path/'run'/'recipe.json').read_text())
    del recipe['places']      # typed
    assert e.terms == terms_of(DRAWN, dict(data=None)) and e.source is None
    names = {e.name}
    for more in (dict(unlabeled='wild'), dict(unlabeled='wild', boxes='b.json'), dict(labels='mine.json'),
                 dict(labels='mine.json', data=None), dict(data='mine')):
        (tmp_path/'run'/'recipe.json').write_text(json.dumps({**recipe, **more}))
        odd = entry_of(tmp_path/'run')
        assert odd.terms != e.terms and odd.source, more
        names.add(odd.name)
    assert len(names) == 6, 'and none is written over another'
    few = []
    for n in (4, 8):
        (tmp_path/'run'/'recipe.json').write_text(json.dumps({**recipe, 'labels': 'mine.json',
                                                              'protocol': {**recipe['protocol'], 'labels': n}}))
        few.append(entry_of(tmp_path/'run').terms)
    assert few[0] != few[1], 'a file of labels does not hide how many of them are used'

def test_drawn_people_are_known_by_all_they_follow_from(tmp_path):
    from semipose.data.synth import DIFFICULTIES, synth_recipe
    def note(name, **changes):
        (tmp_path/name).mkdir(exist_ok=True)
        (tmp_path/name/'synth.json').write_text(json.dumps(synth_recipe(**{**drawing_of(DRAWN, 3), **changes})))
        return is_synthetic(DRAWN, 3, tmp_path/name)
    assert note('any')
    for changes in (dict(difficulty=DIFFICULTIES['easy']), dict(people=3), dict(size=(48,36)), dict(face=False),
                    dict(seed=4), dict(train=13), dict(quality=50)):
        assert not note('any', **changes), changes
    assert is_synthetic(DRAWN, 3, 'gone/few-3')
    assert not is_synthetic(DRAWN, 3, 'gone/few-4'), 'where they are gone, by their name'

def test_a_network_that_cannot_be_had_does_not_end_a_sweep_at_its_first_seed(tmp_path):
    p = replace(NO_START, other='resnet18', other_width=None, other_weights='pip:no-such-package-here')
    names = ['supervised', 'posedual_unlike']
    run(tmp_path, names, p=p)
    out = run(tmp_path, names, seeds=(0, 1), p=p)
    assert [(e.method, e.seed) for e in out['new']] == [('supervised', 1)]
    assert len(out['failed']) == 2, 'seed 0 lacks nothing else'
    with pytest.raises(UserError, match='no-such-package-here'): run(tmp_path, names, seeds=(0, 1), p=p)

def test_a_wider_start_leaves_the_narrow_one_where_it_is_until_it_is_done(tmp_path, monkeypatch):
    "another sweep takes its networks meanwhile"
    from semipose import run as room
    data, real, seen = prepare(SMALL, SAMPLE, 0, progress=False), room.train, []
    starts(['naive'], SMALL, data, tmp_path/'start', **KW)
    was = (tmp_path/'start'/'weights.safetensors').read_bytes()
    def watched(*a, **kw):
        out = real(*a, **kw)
        seen.append(((tmp_path/'start'/'weights.safetensors').read_bytes() == was,
                     read_recipe(tmp_path/'start')['nets']))
        return out
    monkeypatch.setattr(room, 'train', watched)
    starts(['posedual'], SMALL, data, tmp_path/'start', **KW)
    assert seen == [(True, 1)] and read_recipe(tmp_path/'start')['nets'] == 2
    assert [f.name for f in tmp_path.iterdir()] == ['start']
    assert len(load_run(tmp_path/'start', device='cpu')[0]) == 2
    assert json.loads((tmp_path/'start'/'result.json').read_text())['state'] == 'done'
    starts(['posedual', 'naive'], SMALL, data, tmp_path/'start', **KW)
    assert len(seen) == 2 and seen[1][1] == 2, 'what is there is taken up'

def test_a_kill_while_a_wider_start_takes_its_place(tmp_path, monkeypatch):
    data, move = prepare(SMALL, SAMPLE, 0, progress=False), os.replace
    starts(['naive'], SMALL, data, tmp_path/'start', **KW)
    was = (tmp_path/'start'/'weights.safetensors').read_bytes()
    def killed(a, b):
        if Path(b).name == 'recipe.json' and (Path(a).parent.name, Path(b).parent.name) == ('start-more', 'start'):
            raise KeyboardInterrupt
        move(a, b)
    monkeypatch.setattr(os, 'replace', killed)
    with pytest.raises(KeyboardInterrupt): starts(['posedual'], SMALL, data, tmp_path/'start', **KW)
    assert (tmp_path/'start'/'weights.safetensors').read_bytes() != was
    assert read_recipe(tmp_path/'start')['nets'] == 1, 'more weights than are told, never fewer'
    monkeypatch.undo()
    starts(['posedual'], SMALL, data, tmp_path/'start', **KW)
    assert len(load_run(tmp_path/'start', device='cpu')[0]) == 2 and not (tmp_path/'start-more').exists()

def test_only_rows_that_wait_for_supervised_wait_and_they_come_last(tmp_path):
    from semipose.files import make_folder, only_writer
    run(tmp_path, ['supervised'], p=NO_START)
    with only_writer(make_folder(tmp_path/'runs'/'small'/'seed0'/'supervised')):
        out = run(tmp_path, ['pseudopose', 'sspcm', 'posecons'], p=NO_START)
    assert [e.method for e in out['new']] == ['sspcm', 'posecons'] and out['waiting'] == ['pseudopose, seed 0']
    assert not out['elsewhere'] and not out['failed']
    with ExitStack() as other:
        other.enter_context(only_writer(tmp_path/'runs'/'small'/'seed0'/'supervised'))
        out = run(tmp_path, ['pseudopose', 'naive'], p=NO_START, on_entry=lambda e: other.close())
    assert [e.method for e in out['new']] == ['naive', 'pseudopose']
    assert not out['waiting'], 'by then the other process may be done'

@pytest.mark.parametrize('changes, field', [(dict(labels=9), 'labels'), (dict(size=(64,48)), 'size'),
                                            (dict(net='resnet18'), 'net'), (dict(choose='first'), 'choose')])
def test_pseudo_labels_come_from_a_network_of_these_labels(tmp_path, changes, field):
    "a run of the right name may have seen other labels"
    run(tmp_path, ['supervised'], p=NO_START)
    teacher = tmp_path/'runs'/'small'/'seed0'/'supervised'
    check_labels('pseudopose', teacher, NO_START, 0, data=SAMPLE, labels=None)
    with pytest.raises(UserError, match=f'pseudopose takes its pseudo labels from .*{field}='):
        check_labels('pseudopose', teacher, replace(NO_START, **changes), 0, data=SAMPLE)
    for more in (dict(seed=1), dict(data='elsewhere'), dict(labels='few.json')):
        asked = {'seed': 0, 'data': SAMPLE, 'labels': None, **more}
        with pytest.raises(UserError, match=f'trained with {next(iter(more))}='):
            check_labels('pseudopose', teacher, NO_START, **asked)

@pytest.mark.parametrize('left, then', [('posedual', 'sspcm'), ('sspcm', 'posedual')])
def test_a_killed_widening_of_another_number_is_begun_anew(tmp_path, monkeypatch, left, then):
    from semipose import run as room
    data, real = prepare(SMALL, SAMPLE, 0, progress=False), room.take_place
    starts(['naive'], SMALL, data, tmp_path/'start', **KW)
    def killed(*a): raise KeyboardInterrupt
    monkeypatch.setattr(room, 'take_place', killed)
    with pytest.raises(KeyboardInterrupt): starts([left], SMALL, data, tmp_path/'start', **KW)
    monkeypatch.setattr(room, 'take_place', real)
    starts([then], SMALL, data, tmp_path/'start', **KW)
    assert len(load_run(tmp_path/'start', device='cpu')[0]) == dict(posedual=2, sspcm=3)[then]
    assert not (tmp_path/'start-more').exists()

def test_a_start_of_other_settings_is_not_widened(tmp_path):
    data = prepare(SMALL, SAMPLE, 0, progress=False)
    starts(['naive'], SMALL, data, tmp_path/'start', **KW)
    was = (tmp_path/'start'/'weights.safetensors').read_bytes()
    with pytest.raises(UserError, match='begun with width=8 and is asked to go on with width=12'):
        starts(['posedual'], replace(SMALL, width=12), data, tmp_path/'start', **KW)
    assert (tmp_path/'start'/'weights.safetensors').read_bytes() == was and read_recipe(tmp_path/'start')['nets'] == 1
