"""Laws of stopped runs: whatever ends a run, `resume` gives the numbers and the weights of a run that nothing ended,
to the last bit"""
import json, os, random, signal, subprocess, sys, textwrap, time
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, torch
from safetensors.torch import load_file
from semipose.errors import UserError
from semipose.files import is_free, is_held, only_writer, whole
from semipose.protocols import protocol
from semipose.run import compare, list_runs, open_run, prepare, starts, train

TOP = Path(__file__).parents[1]
SAMPLE = TOP/'data'/'sample'
ONE = {**os.environ, 'OMP_NUM_THREADS': '1'}
argv = [sys.executable, '-W', 'ignore', '-c']
def python(code): return subprocess.run([*argv, code], capture_output=True, text=True, timeout=600, cwd=TOP, env=ONE)
SMALL = replace(protocol('demo'), name='small', title='small', data=None, labels=8, size=(32,32), width=8, batch=(4,4),
                start_steps=4, start_every=2, steps=8, every=2)

@pytest.fixture(scope='module')
def data(): return prepare(SMALL, SAMPLE, 0, progress=False)

@pytest.fixture(scope='module')
def unbroken(data, tmp_path_factory):
    "The runs that nothing ended"
    folder = tmp_path_factory.mktemp('unbroken')
    for name in ('posedual_jc', 'mean_teacher_99', 'naive'):
        train(name, SMALL, data, folder/name, device='cpu', progress=False)
    return folder

def rows(folder):
    return [{k: v for k,v in r.items() if k != 'seconds'}
            for r in json.loads((folder/'result.json').read_text())['rows']]

def assert_same(a, b):
    assert rows(a) == rows(b)
    for file in ('weights.safetensors', 'best.safetensors'):
        x, y = load_file(a/file), load_file(b/file)
        assert x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x), file
    x, y = (np.load(f/'strip.npz') for f in (a, b))
    assert all(np.array_equal(x[k], y[k]) for k in x.files)
    assert [r.split(',')[0] for r in (b/'log.csv').read_text().split()] == ['step', '0', '2', '4', '6', '8']
    x, y = (json.loads((f/'result.json').read_text()) for f in (a, b))
    assert x['histograms'] == y['histograms']
    assert {k: v for k,v in x['best'].items() if k != 'seconds'} == {k: v for k,v in y['best'].items()
                                                                     if k != 'seconds'}
    assert {f.name for f in a.iterdir()} == {f.name
                                             for f in b.iterdir(
                                                 )}, 'nothing half-written, no state of a run that is done'

class Stop(Exception): pass

@pytest.mark.parametrize('name', ['posedual_jc', 'mean_teacher_99', 'naive'])
@pytest.mark.parametrize('at', [1, 4, 5, 7])
def test_stopped_at_a_step(unbroken, data, tmp_path, monkeypatch, name, at):
    "an error in the middle of step `at`; the rest is trained later, from another global random state"
    from semipose.teaching import Teaching
    real = Teaching.before_batch
    def breaks(self):
        if self.step == at: raise Stop('here')
        real(self)
    monkeypatch.setattr(Teaching, 'before_batch', breaks)
    with pytest.raises(Stop): train(name, SMALL, data, tmp_path/'r', device='cpu', progress=False)
    monkeypatch.undo()
    torch.manual_seed(99); random.seed(99)
    r = train(name, SMALL, data, tmp_path/'r', device='cpu', progress=False, resume=True)
    assert r['state'] == 'done'
    assert_same(unbroken/name, tmp_path/'r')

KILLS = """
    import os, random, signal, sys, time, json
    import torch; torch.set_num_threads(1)
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    from semipose.run import prepare, train
    from test_resume import SMALL, SAMPLE
    data, folder, dice = prepare(SMALL, SAMPLE, 0, progress=False), Path({folder!r}), random.Random(0)
    kills = tries = 0
    def child(k):
        pid = os.fork()
        if pid: return pid
        try: train('posedual_jc', SMALL, data, folder/str(k), device='cpu', progress=False, resume=True)
        except BaseException as e: print(repr(e), flush=True); os._exit(1)
        os._exit(0)
    began = time.time(); os.waitpid(child('timed'), 0); whole = time.time() - began
    k = 0
    while kills < 20:
        pid = child(k); time.sleep(dice.uniform(0, .6*whole)); os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status): kills += 1
        else: assert status == 0; k += 1
    _, status = os.waitpid(child(k), 0); assert status == 0
    print(json.dumps(dict(kills=kills, runs=k+1)))
"""

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_twenty_kills_at_random_moments(unbroken, tmp_path):
    "kill -9, again and again, also while files are written: every run that is taken up ends in the same bits"
    code = textwrap.dedent(KILLS.format(tests=str(TOP/'tests'), folder=str(tmp_path)))
    out = python(code)
    assert out.returncode == 0, out.stdout + out.stderr
    told = json.loads(out.stdout.strip().splitlines()[-1])
    assert told['kills'] == 20
    for k in range(told['runs']): assert_same(unbroken/'posedual_jc', tmp_path/str(k))

def test_a_run_that_is_done_is_left_alone(unbroken, data, tmp_path):
    before = (unbroken/'naive'/'result.json').stat().st_mtime_ns
    r = train('naive', SMALL, data, unbroken/'naive', device='cpu', progress=False, resume=True)
    assert r['state'] == 'done' and (unbroken/'naive'/'result.json').stat().st_mtime_ns == before

def test_a_comparison_goes_on_where_it_stopped(data, tmp_path, monkeypatch):
    names = ['naive', 'posecons']
    whole = compare(names, SMALL, data, tmp_path/'a', device='cpu', progress=False)
    from semipose.teaching import Teaching
    real = Teaching.before_batch
    def breaks(self):
        if self.step == 5 and type(self.method.teacher).__name__ == 'Self': raise Stop('here')
        real(self)
    monkeypatch.setattr(Teaching, 'before_batch', breaks)
    with pytest.raises(Stop): compare(names, SMALL, data, tmp_path/'b', device='cpu', progress=False)
    monkeypatch.undo()
    made = (tmp_path/'b'/'naive'/'weights.safetensors').stat().st_mtime_ns
    again = compare(names, SMALL, data, tmp_path/'b', device='cpu', progress=False, resume=True)
    drop = lambda s: {n: {k: v for k,v in m.items() if k != 'seconds'}
                      for n,m in {**s['methods'], 'dashed': s['dashed']}.items()}
    assert drop(whole) == drop(again) and again['state'] == 'done'
    assert (tmp_path/'b'/'naive'/'weights.safetensors').stat().st_mtime_ns == made, 'what was done is not trained again'

@pytest.mark.parametrize('change, says', [
    (dict(method='posecons'), "begun with method='naive' and is asked to go on with method='posecons'"),
    (dict(seed=1), 'begun with seed=0'), (dict(steps=12), 'steps=8'), (dict(lr=.5), 'lr='),
    (dict(amp=True), 'mixed precision, is for CUDA'),
    (dict(p=replace(SMALL, lam=3.)), 'lam=1.0'), (dict(p=replace(SMALL, labels=6)), 'labels=8'),
])
def test_a_run_goes_on_as_it_was_begun(unbroken, data, change, says):
    args = dict(method='naive', p=SMALL, seed=0, device='cpu', progress=False, resume=True) | change
    with pytest.raises(UserError, match=says): train(data=data, folder=unbroken/'naive', **args)

def stopped(data, folder, monkeypatch, at=5, method='naive'):
    from semipose.teaching import Teaching
    real = Teaching.before_batch
    def breaks(self):
        if self.step == at: raise Stop('here')
        real(self)
    with monkeypatch.context() as mp:
        mp.setattr(Teaching, 'before_batch', breaks)
        with pytest.raises(Stop): train(method, SMALL, data, folder, device='cpu', progress=False)

@pytest.mark.parametrize('damage, says', [
    (lambda f: (f/'state.safetensors').write_bytes(b'\0'*100), 'state.safetensors cannot be read'),
    (lambda f: (f/'state.safetensors').write_bytes((f/'state.safetensors').read_bytes()[:-9]),
     'state.safetensors cannot be read'),
    (lambda f: (f/'state.safetensors').write_bytes((f/'best.safetensors').read_bytes()), 'is not the state of a run'),
    (lambda f: (f/'recipe.json').write_text('{'), 'recipe.json is damaged'),
    (lambda f: (f/'recipe.json').write_text('{"method": "naive"}'), "the field 'protocol' is missing"),
    (lambda f: (f/'result.json').write_text('[]'), 'result.json is damaged'),
    (lambda f: (f/'split.json').write_text('{"labeled": [1]}'), '"heldout" is missing'),
    (lambda f: (f/'split.json').write_text((f/'split.json').read_text().replace('"labeled": [',
        '"labeled": [987654, ')), 'not in this data set'),
])
def test_a_damaged_run_is_told_in_a_sentence(data, tmp_path, monkeypatch, damage, says):
    stopped(data, tmp_path/'r', monkeypatch)
    damage(tmp_path/'r')
    with pytest.raises(UserError, match=says) as e:
        train('naive', SMALL, data, tmp_path/'r', device='cpu', progress=False, resume=True)
    assert '\n' not in str(e.value)
    assert not (tmp_path/'r'/'weights.safetensors').exists()

def test_other_labelled_people_are_noticed(data, tmp_path, monkeypatch):
    stopped(data, tmp_path/'r', monkeypatch)
    d = json.loads((tmp_path/'r'/'split.json').read_text())
    d['labeled'] = d['labeled'][::-1]
    (tmp_path/'r'/'split.json').write_text(json.dumps(d))
    with pytest.raises(UserError, match='labeled people are not those the run was begun with'):
        train('naive', SMALL, data, tmp_path/'r', device='cpu', progress=False, resume=True)

@pytest.mark.skipif(sys.platform == 'win32', reason='file size limits')
def test_a_full_disk_loses_nothing(unbroken, tmp_path):
    "no file may grow over 60 KB: the run ends in a sentence, leaves no half file, and goes on once there is room"
    code = f"""
    import resource, signal, sys; sys.path.insert(0, {str(TOP/'tests')!r})
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    from test_resume import *
    d = prepare(SMALL, SAMPLE, 0, progress=False)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
    try: train('posedual_jc', SMALL, d, {str(tmp_path/'r')!r}, device='cpu', progress=False)
    except UserError as e: print(e)
    """
    out = python(textwrap.dedent(code))
    assert 'The disk is full' in out.stdout and out.stdout.count('\n') == 1, out.stdout + out.stderr
    assert not list((tmp_path/'r').glob('.*.part'))
    train('posedual_jc', SMALL, SAMPLE, tmp_path/'r', device='cpu', progress=False, resume=True)
    assert_same(unbroken/'posedual_jc', tmp_path/'r')

def test_ctrl_c_says_how_to_go_on(tmp_path):
    "the command itself: exit code 130, one sentence, and the same command with --resume ends the run"
    typed = [*argv, 'from semipose.cli import main; main()', 'train', 'posecons', '--data', str(SAMPLE),
             *'--protocol demo --labels 8 --size 32x32 --batch 4'.split(),
             *'--start-steps 4 --steps 4000 --every 2 --name r --device cpu'.split(), '--runs', str(tmp_path),
             '--results', str(tmp_path/'results')]
    # a shell starts what runs in the background deaf to Ctrl-C, tests too
    heard = dict(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    p = subprocess.Popen(typed, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=TOP, env=ONE, **heard)
    for _ in range(600):
        if (tmp_path/'r'/'state.safetensors').exists(): break
        time.sleep(.1)
    assert [r['state'] for r in list_runs(tmp_path)] == ['done', 'running']
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=120)
    assert p.returncode == 130 and '--resume' in err and 'Traceback' not in err, err
    assert [r['state'] for r in list_runs(tmp_path)] == ['done', 'stopped']
    at = json.loads((tmp_path/'r'/'result.json').read_text())['last']['step']
    p = subprocess.Popen([*typed, '--resume'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=TOP,
                         env=ONE, **heard)
    for _ in range(600):
        if json.loads((tmp_path/'r'/'result.json').read_text())['last']['step'] > at: break
        time.sleep(.1)
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=120)
    r = json.loads((tmp_path/'r'/'result.json').read_text())
    steps = [x['step'] for x in r['rows']]
    assert steps == list(range(0, steps[-1] + 1, 2)) and steps[-1] > at

def test_two_processes_do_not_share_a_folder(data, tmp_path, monkeypatch):
    stopped(data, tmp_path/'r', monkeypatch)
    with only_writer(tmp_path/'r'):
        assert is_held(tmp_path/'r')
        with pytest.raises(UserError, match='written by another process'):
            train('naive', SMALL, data, tmp_path/'r', device='cpu', progress=False, resume=True)
    assert not is_held(tmp_path/'r')

def test_whole_or_not_at_all(tmp_path):
    path = tmp_path/'a'/'x'
    with whole(path) as f: f.write_text('old')
    for error in (KeyboardInterrupt, ValueError, OSError(5, 'Input/output error')):
        with pytest.raises(BaseException):  # noqa: B017
            with whole(path) as f:
                f.write_text('ne')
                raise error
        assert path.read_text() == 'old' and [p.name for p in path.parent.iterdir()] == ['x']
    with pytest.raises(UserError, match='one of its folders is a file'):
        with whole(path/'y') as f: f.write_text('')

def there(folder): return {f.name: f.stat().st_mtime_ns for f in folder.iterdir()}

def test_nobody_writes_over_a_run_that_lives(data, tmp_path, monkeypatch):
    """`semipose demo` typed twice, a start made anew: the second process is told so, and not a file of the first is
    touched"""
    stopped(data, tmp_path/'r', monkeypatch)
    (tmp_path/'r'/'.log.csv.1.part').write_text('half')
    before, again = there(tmp_path/'r'), dict(device='cpu', progress=False)
    for call in (lambda: train('naive', SMALL, data, tmp_path/'r', replace=True, **again),
                 lambda: starts(['naive'], SMALL, data, tmp_path/'r', resume=False, **again),
                 lambda: open_run(tmp_path/'r', {}, replace=True)):
        with only_writer(tmp_path/'r'), pytest.raises(UserError, match='written by another process'): call()
        assert there(tmp_path/'r') == before
    (tmp_path/'c').mkdir()
    with only_writer(tmp_path/'c'), pytest.raises(UserError, match='written by another process'):
        compare(['naive'], SMALL, data, tmp_path/'c', **again)
    assert [f.name for f in (tmp_path/'c').iterdir()] == ['.lock']
    train('naive', SMALL, data, tmp_path/'r', replace=True, **again)
    assert not (tmp_path/'r'/'.log.csv.1.part').exists() and rows(tmp_path/'r')

def test_a_run_is_written_over_by_its_only_writer(data, tmp_path, monkeypatch):
    "the lock is taken before the first file goes, and kept"
    import semipose.folder, semipose.run
    stopped(data, tmp_path/'r', monkeypatch)
    seen, real = [], semipose.run.write_json
    def spy(path, *a):
        seen.append((path.name, is_held(tmp_path/'r'), (tmp_path/'r'/'state.safetensors').exists()))
        return real(path, *a)
    for room in (semipose.folder, semipose.run): monkeypatch.setattr(room, 'write_json', spy)
    train('naive', SMALL, data, tmp_path/'r', device='cpu', progress=False, replace=True)
    assert seen[0] == ('recipe.json', True, False) and all(held for _, held, _ in seen)

@pytest.mark.parametrize('how', [dict(), dict(resume=True), dict(replace=True)])
def test_killed_before_the_first_file_was_whole(unbroken, data, tmp_path, how):
    "nothing there but the lock and half a recipe: a folder like new"
    (tmp_path/'r').mkdir()
    for name in ('.lock', '.recipe.json.12345.part'): (tmp_path/'r'/name).write_text('')
    assert is_free(tmp_path/'r') and is_free(tmp_path/'nowhere')
    train('naive', SMALL, data, tmp_path/'r', device='cpu', progress=False, **how)
    assert_same(unbroken/'naive', tmp_path/'r')

def test_a_run_that_another_process_has_just_ended_is_left_as_it_is(unbroken, data, monkeypatch):
    import semipose.run as run
    real, calls = run.read_result, []
    def late(folder):
        calls.append(folder)
        return real(folder) if len(calls) > 1 else None   # it ends between the first look and the lock
    monkeypatch.setattr(run, 'read_result', late)
    before = there(unbroken/'naive')
    r = train('naive', SMALL, data, unbroken/'naive', device='cpu', progress=False, resume=True)
    assert r['state'] == 'done' and there(unbroken/'naive') == before

def locks(monkeypatch, says):
    import fcntl
    monkeypatch.setattr(fcntl, 'flock', says)

def test_a_file_system_without_locks_is_not_taken_for_a_busy_one(tmp_path, monkeypatch):
    import errno, warnings
    from semipose.files import turn
    def none(f, how): raise OSError(errno.ENOLCK, 'No locks available')
    locks(monkeypatch, none)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('default')
        for _ in range(3):
            with only_writer(tmp_path), turn(tmp_path/'t'): assert not is_held(tmp_path)
    assert sorted(str(w.message).split()[0] for w in told) == [str(tmp_path), str(tmp_path/'t')]
    assert all('without locks (No locks available)' in str(w.message) for w in told)

def test_a_folder_that_may_not_be_written_to_is_told_and_not_waited_for(tmp_path):
    from semipose.files import turn
    (tmp_path/'r'/'.lock').mkdir(parents=True)      # whoever tests may be root, who may write anywhere
    for way in (only_writer, turn):
        with pytest.raises(UserError, match='may not be written to.*choose another folder'):
            with way(tmp_path/'r'): pass

def test_asking_whether_a_folder_is_held_disturbs_nobody(tmp_path, monkeypatch):
    """who asks shares a lock, on a handle for reading, as network file systems want it; a writer who meets it looks
    again"""
    import fcntl
    from threading import Timer
    (tmp_path/'.lock').touch()
    asked, real = [], fcntl.flock
    locks(monkeypatch, lambda f, how: (asked.append((f.mode, how)), real(f, how))[1])
    assert not is_held(tmp_path) and asked == [('r', fcntl.LOCK_SH | fcntl.LOCK_NB)]
    f = open(tmp_path/'.lock')
    real(f, fcntl.LOCK_SH)
    assert not is_held(tmp_path), 'two may ask at once'
    Timer(.05, f.close).start()
    with only_writer(tmp_path): assert is_held(tmp_path)

# ---- pictures that do not fit into memory ----

@pytest.fixture(scope='module')
def large():
    with pytest.MonkeyPatch.context() as mp:
        mp.setattr('semipose.people.CACHE', 0)
        return prepare(SMALL, SAMPLE, 0, progress=False)

@pytest.mark.parametrize('workers', [0, 2])
def test_who_reads_the_pictures_changes_nothing(unbroken, large, tmp_path, monkeypatch, workers):
    """cut in memory, by this process or by others that read ahead, unbroken or stopped and taken up: the same bits;
    and the others end with the run"""
    import multiprocessing
    from semipose.data.core import CachedCrops
    import semipose.run as run
    assert not any(isinstance(c, CachedCrops) for c in (large.crops, large.val_crops))
    monkeypatch.setattr(run, 'readers', lambda *streams, **kw: workers)
    train('posedual_jc', SMALL, large, tmp_path/'whole', device='cpu', progress=False)
    assert not multiprocessing.active_children()
    stopped(large, tmp_path/'r', monkeypatch, method='posedual_jc')
    assert not multiprocessing.active_children()
    train('posedual_jc', SMALL, large, tmp_path/'r', device='cpu', progress=False, resume=True)
    for name in ('whole', 'r'): assert_same(unbroken/'posedual_jc', tmp_path/name)

def test_pictures_in_memory_need_no_readers(data, large, tmp_path, monkeypatch):
    import semipose.people as people, semipose.run as run
    from types import SimpleNamespace
    from collections import namedtuple
    monkeypatch.setattr(people.os, 'cpu_count', lambda: 6)
    monkeypatch.setattr(people.multiprocessing, 'get_context', lambda: SimpleNamespace(get_start_method=lambda: 'fork'))
    each = people.readers
    assert each((data.labeled, 4), (data.unlabeled, 4)) == 0
    assert each((data.labeled, 4), (None, 4)) == 0 == each((data.labeled, 4), (large.unlabeled, 0))
    assert each((large.labeled, 4), (None, 4)) == each((data.labeled, 4), (large.unlabeled, 4)) == 5
    monkeypatch.setattr(people.shutil, 'disk_usage', lambda path: namedtuple('Usage', 'free')(2*4*8*3*48*48))
    assert large.labeled.room == (48, 48)
    assert each((large.labeled, 4), (large.unlabeled, 4)) == 2, 'the batches that wait fit into shared memory'
    # a new interpreter runs the caller's script anew: the command is made for it, others may not be
    spawned = SimpleNamespace(get_start_method=lambda: 'spawn')
    monkeypatch.setattr(people.multiprocessing, 'get_context', lambda: spawned)
    for file, found in (('/bin/semipose', 2), ('/lib/semipose/__main__.py', 2), ('mine.py', 0), (None, 2)):
        monkeypatch.setitem(people.sys.modules, '__main__', SimpleNamespace(**dict(__file__=file)))
        assert each((large.labeled, 4), (large.unlabeled, 4)) == found
        assert each((large.labeled, 4), (large.unlabeled, 4), spawn=False) == 0, 'clips'
    monkeypatch.undo()
    monkeypatch.setattr(people.os, 'cpu_count', lambda: 1)
    assert each((large.labeled, 4), (None, 4)) == 0
    got, real = [], run.Streams
    monkeypatch.setattr(run, 'readers', lambda *streams, **kw: got.append([n for _, n in streams]) or 0)
    monkeypatch.setattr(run, 'Streams', lambda *a: got.append(a[6]) or real(*a))
    train('naive', SMALL, large, tmp_path/'r', device='cpu', progress=False, steps=2)
    assert got == [[4, 4], 0]

def test_a_run_killed_after_its_last_line_leaves_no_state(unbroken, data, tmp_path):
    """a process may die between result.json and the removal of its state: taking the run up again cleans up, and
    trains nothing"""
    import shutil
    shutil.copytree(unbroken/'naive', tmp_path/'r')
    (tmp_path/'r'/'state.safetensors').write_bytes(b'of a process that was killed')
    before = (tmp_path/'r'/'weights.safetensors').stat().st_mtime_ns
    assert train('naive', SMALL, data, tmp_path/'r', device='cpu', progress=False, resume=True)['state'] == 'done'
    assert not (tmp_path/'r'/'state.safetensors').exists()
    assert (tmp_path/'r'/'weights.safetensors').stat().st_mtime_ns == before
