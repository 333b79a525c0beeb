"""Laws of a run as a value: one place says whether two runs are the same; what earlier versions wrote is read, keyed
and refused as it should be"""
import inspect, json, shutil
from dataclasses import fields, replace
from pathlib import Path
import pytest, torch
from safetensors.torch import load_file
from semipose.errors import UserError
from semipose.folder import Run, read_run
from semipose.protocols import protocol
from semipose.recipe import (PLACES, Recipe, at, begun_by, difference, differences, filled, found, key_of, read_recipe,
                             recipe_from, recipe_of,
                             same_recipe, terms_of_run)
from semipose.run import compare, prepare, take_up, train
from semipose.sweep import entry_of

SAMPLE = Path(__file__).parents[1]/'data'/'sample'
SMALL = replace(protocol('demo'), name='small', title='small', data=None, labels=8, size=(32,32), width=8, batch=(4,4),
                start_steps=0, start_every=None,
                steps=4, every=2)
KW = dict(device='cpu', progress=False)

# What commit aef0920 wrote for a sweep of the demo, and the hashes that its entry has in the ledger
OLD = json.loads('''{"method": "naive", "line": "505015", "title": "Plain consistency", "protocol": {"name": "demo",
"title": "Drawn people, 16 labels",
"data": "drawn", "train_people": 4000, "val_people": 500, "difficulty": "demo", "face": true, "labels": 16,
"choose": "seeded", "heldout": 0.0,
"size": [64, 48], "net": "tiny", "width": 24, "weights": null, "weights2": null, "sigma": 1.5, "decode": "gaussian",
"batch": [16, 24],
"start_steps": 300, "start_every": 150, "start_lr": 0.003, "steps": 600, "every": 150, "lr": 0.001,
"schedule": "onecycle", "optimiser": "adamw",
"wd": 0.0, "lam": 1.0, "joined": false, "flip": false, "milestones": [0.6666666666666666, 0.8333333333333334],
"other": "tiny", "other_width": 48,
"other_weights": null, "unlabeled": null, "boxes": null, "budget": null, "epochs": null},
"sentence": "Our own settings.", "seed": 0, "steps": 600,
"every": 150, "nets": 1, "amp": false, "lr": 0.001, "start": "../runs/demo/seed0/start", "data": "data/drawn/demo-0",
"labels": null,
"unlabeled": null, "boxes": null, "command": "semipose sweep demo", "versions": {"semipose": "0.1.0"},
"revision": "076aa35", "hardware": "AMD",
"begun": "2026-11-29T09:20:00+00:00", "skeleton": {}}''')

@pytest.fixture(scope='module')
def data(): return prepare(SMALL, SAMPLE, 0, progress=False)

@pytest.fixture(scope='module')
def unbroken(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp('r')/'naive'
    return train('naive', SMALL, data, folder, **KW)

def weights(folder): return load_file(Path(folder)/'weights.safetensors')
def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)

def test_an_old_recipe_has_the_hashes_that_its_entry_has():
    r = recipe_from(OLD)
    assert (terms_of_run(r), key_of(r)) == ('d94b13', 'fef810')
    assert (r.definition, r['line'], r.protocol.size, r['protocol']['size']) == ('505015', '505015', (64, 48), [64, 48])
    assert dict(r) == {k: v for k, v in OLD.items()}, 'nothing is lost, nothing is added'
    assert begun_by(r) == 'semipose 0.1.0 (076aa35)' and r.places is None and 'places' not in r

def test_a_title_is_only_printed(tmp_path):
    "A run that was begun when its protocol had another title is the same run, with the same terms and key"
    new = recipe_from(OLD)
    now = replace(new, settings=dict(new.settings, title='Synthetic people, 16 labels'))
    assert difference(new, now) is None and (terms_of_run(now), key_of(now)) == (terms_of_run(new), key_of(new))
    (tmp_path/'recipe.json').write_text(json.dumps(dict(new)))
    same_recipe(tmp_path, now)
    assert protocol('demo').title == now.settings['title'] != new.settings['title']

def test_all_differences_are_named_in_the_order_of_the_fields():
    r = recipe_of('naive', SMALL, SAMPLE)
    other = replace(r, seed=2, settings={**r.settings, 'lam': 3., 'lr': .5, 'title': 'x'}, steps=9)
    assert [d.what for d in differences(r, other)] == ['lr', 'lam', 'seed', 'steps']
    assert [d.what for d in differences(r, other, of=('steps', 'settings'), settings=('lam',))] == ['steps', 'lam']

def test_a_setting_that_came_later_had_its_default():
    r = recipe_of('naive', SMALL, SAMPLE)
    old = replace(r, settings={k: v for k, v in r.settings.items() if k not in ('mirror', 'box_score', 'lam')})
    assert difference(old, r) is None
    for k, v in dict(mirror=False, box_score=.5, lam=2.).items():
        assert difference(old, replace(r, settings={**r.settings, k: v})).what == k

def test_a_recipe_goes_into_its_file_and_back(tmp_path):
    r = replace(at(recipe_of('posedual_jc', SMALL, SAMPLE, seed=3, lr=.5), tmp_path), skeleton={})
    (tmp_path/'recipe.json').write_text(json.dumps(dict(r)))
    assert read_recipe(tmp_path) == r and list(r)[:4] == ['method', 'line', 'title', 'protocol']
    with pytest.raises(Exception, match='cannot assign'): r.seed = 4

@pytest.mark.parametrize('change, what', [
    (dict(method='posecons'), 'method'), (dict(seed=1), 'seed'), (dict(steps=5), 'steps'), (dict(every=1), 'every'),
    (dict(nets=2), 'nets'),
    (dict(lr=.5), 'lr'), (dict(amp=True), 'amp'), (dict(definition='000000'), 'definition'),
    (dict(data='elsewhere'), 'data'),
    (dict(start='a'), 'start'), (dict(own=dict(method='x')), 'own'), (dict(unlabeled='wild'), 'unlabeled'),
    (dict(boxes='b.json'), 'boxes'),
])
def test_whatever_differs_is_named(tmp_path, change, what):
    "every field of SAME_RUN, and no other, tells two runs apart"
    r = recipe_of('naive', SMALL, SAMPLE)
    old, new = at(r, tmp_path), at(replace(r, **{k: v for k, v in change.items() if k not in ('definition', 'own')}),
                                   tmp_path)
    new = replace(new, **{k: v for k, v in change.items() if k in ('definition', 'own')})
    assert difference(old, new, tmp_path).what == what and difference(old, old, tmp_path) is None
    free = replace(old, title='x', sentence='x', command='x', versions={}, revision='x', hardware='x', begun='x')
    assert difference(old, free, tmp_path) is None

def test_settings_differ_where_the_method_looks_at_them(tmp_path):
    def with_settings(method, **kw):
        r = at(recipe_of(method, SMALL, SAMPLE), tmp_path)
        return replace(r, settings={**r.settings, **kw})
    for k, v in dict(lam=3., labels=6, weights='x').items():
        assert difference(with_settings('naive'), with_settings('naive', **{k: v})).what == k
    assert difference(with_settings('naive'), with_settings('naive', other='resnet18',
                                                            weights2='x')) is None, 'one network'
    assert difference(with_settings('posedual'), with_settings('posedual', weights2='x')).what == 'weights2'
    old = with_settings('naive')
    older = replace(old, settings={k: v for k, v in old.settings.items() if k not in ('mirror', 'flips', 'box_score')})
    assert difference(older, old) is None and difference(older, with_settings('naive', mirror=False)).what == 'mirror'

def test_who_refuses_says_which_version_began_the_run(tmp_path):
    (tmp_path/'recipe.json').write_text(json.dumps(OLD))
    new = recipe_from(OLD)
    same_recipe(tmp_path, new)
    for change, says in ((dict(seed=4), 'was begun with seed=0 and is asked to go on with seed=4'),
                         (dict(definition='x'), 'naive was defined otherwise')):
        with pytest.raises(UserError, match=r'of semipose 0.1.0 \(076aa35\) ' + ('was begun' if 'seed' in change
            else '')) as e:
            same_recipe(tmp_path, replace(new, **change))
        assert says in str(e.value) and '\n' not in str(e.value)

def test_a_recipe_is_trained_and_trained_again(unbroken, data, tmp_path):
    "from a value, from a finished run's recipe, with its people read or not: the same weights"
    for i, (recipe, people) in enumerate(((recipe_of('naive', SMALL, SAMPLE), None), (unbroken.recipe, data),
                                          (found(unbroken.recipe, unbroken.folder), None))):
        run = train(recipe, tmp_path/str(i), people, **KW)
        assert same(weights(run.folder), weights(unbroken.folder)) and run.recipe.steps == 4
    assert train(recipe_of('naive', SMALL, SAMPLE), folder=tmp_path/'by name',
                 **KW)['rows'][-1]['ap'] == unbroken['rows'][-1]['ap']

def test_train_returns_what_its_files_say(unbroken):
    "the ledger needs nothing read back"
    again = read_run(unbroken.folder)
    assert isinstance(unbroken, Run) and dict(unbroken) == dict(again) and unbroken.done
    assert (unbroken.recipe, unbroken.people) == (again.recipe, again.people)
    assert all(unbroken.split[k] == again.split[k] for k in ('labeled', 'unlabeled', 'heldout'))
    assert entry_of(unbroken) == entry_of(unbroken.folder)

class Stop(Exception): pass

def test_a_folder_is_enough_to_go_on(unbroken, tmp_path, monkeypatch):
    "from another working folder, without a word about method, data or settings"
    from semipose.teaching import Teaching
    real = Teaching.before_batch
    def breaks(self):
        if self.step == 3: raise Stop('here')
        real(self)
    with monkeypatch.context() as mp:
        mp.setattr(Teaching, 'before_batch', breaks)
        with pytest.raises(Stop): train('naive', SMALL, SAMPLE, tmp_path/'r', **KW)
    monkeypatch.chdir(tmp_path)
    from typer.testing import CliRunner
    from semipose.cli import app
    done = CliRunner().invoke(app, ['train', 'r', '--resume', '--device', 'cpu', '--results', 'results'])
    assert done.exit_code == 0, done.output
    assert same(weights('r'), weights(unbroken.folder)) and len(list(Path('results').rglob('*.json'))) == 1
    assert take_up('r', **KW)['state'] == 'done'
    refused = CliRunner().invoke(app, ['train', 'r', '--resume', '--lr', '1'])
    assert refused.exit_code == 2 and 'leave the other options out' in refused.stderr

def test_a_start_of_two_kinds_is_found_again(tmp_path):
    for k in ('a', 'b', 'run', 'people'): (tmp_path/k).mkdir()
    r = at(replace(recipe_of('naive', SMALL, tmp_path/'people'), start=dict(net=tmp_path/'a', other=tmp_path/'b')),
           tmp_path/'run')
    shutil.move(tmp_path/'a', tmp_path/'run'/'a')
    now = found(r, tmp_path/'run')
    assert now.start['other'] == tmp_path/'b' and Path(now.data) == tmp_path/'people' and now.labels is None

def test_a_published_budget_waits_for_the_people():
    p = replace(SMALL, budget='coco-1k')
    r = recipe_of('posecons', p, SAMPLE)
    assert r.steps is None and filled(r, 40).steps == 300 and filled(filled(r, 40), 80).steps == 300
    assert recipe_of('posecons', p, SAMPLE, steps=8).steps == 8
    assert recipe_of('posecons', p, SAMPLE, steps=8).protocol.budget is None

def test_the_few_whose_peaks_are_averaged_are_cut_once(tmp_path, monkeypatch):
    "where crops do not fit in memory, those of the peaks do: asked three times a measurement, read from disk once"
    from semipose.data.core import CachedCrops, Crops
    from semipose.measure import Evaluate
    from semipose.networks import codec_of, peers_of
    with monkeypatch.context() as mp:
        mp.setattr('semipose.people.CACHE', 0)
        large = prepare(SMALL, SAMPLE, 0, progress=False)
    peers = peers_of(SMALL, 17, 1, 0)
    e, cut, real = Evaluate(large, SMALL, codec_of(SMALL, peers.stride)), [], Crops._pictures
    assert not isinstance(large.crops, CachedCrops) and isinstance(e.unlabeled, CachedCrops)
    monkeypatch.setattr(Crops, '_pictures', lambda self, rows: cut.append(len(rows)) or real(self, rows))
    first, second = e(peers), e(peers)
    assert first == second
    assert sum(cut) == 2*(len(e.val) + len(e.labeled)), 'validation and labelled people, once a measurement each'

@pytest.mark.parametrize('width', [80, 100, 200])
def test_the_progress_line_fits(width):
    "bar, step and time left stay whatever the losses of a pair take"
    from rich.console import Console
    from semipose.run import Progress
    row = dict(step=150, ap=12.3, peak_unlabeled=.45, seconds=1.,
               **{f'{k}{i}': .00123 for k in ('sup', 'cons') for i in (1, 2)})
    bar = Progress('PoseDual + Joint Cutout', 60000, done=30000)
    import rich.console
    real = rich.console.Console
    try:
        rich.console.Console = lambda: Console(width=width, force_terminal=True, file=open('/dev/null', 'w'))
        bar.before_fit()
        bar.show(row)
        line = Console(width=width, file=open('/dev/null', 'w'), record=True)
        line.print(bar.bar.get_renderable())
        text = line.export_text()
    finally:
        rich.console.Console = real
        bar.close()
    assert text.count('\n') == 1 and '30000/60000' in text and '-:--:--' in text and '━' in text and 'AP 12.3' in text
    assert ('cons2' in text) == (width == 200)

def test_ctrl_c_says_at_once_that_it_stops_after_this_step(data, tmp_path, capsys):
    import os, signal
    from fastai.callback.core import Callback
    steps = []
    class Press(Callback):
        def before_batch(self):
            steps.append(self.learn.teaching.step)
            if steps[-1] == 3: os.kill(os.getpid(), signal.SIGINT)
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt): train('naive', SMALL, data, tmp_path/'r', cbs=Press(), **KW)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, 'as it was'
    finally: signal.signal(signal.SIGINT, old)
    assert steps == [0, 1, 2, 3]
    assert capsys.readouterr().err == 'Stopping after this step; Ctrl-C once more stops at once.\n'
    assert take_up(tmp_path/'r', **KW)['state'] == 'done'

def test_nothing_here_takes_over_twelve_arguments():
    import semipose.answers, semipose.cli, semipose.folder, semipose.measure, semipose.networks
    import semipose.people, semipose.recipe, semipose.run, semipose.sweep
    rooms = (semipose.answers, semipose.folder, semipose.measure, semipose.networks, semipose.people, semipose.recipe,
             semipose.run, semipose.sweep)
    of = lambda room: [f for f in vars(room).values() if inspect.isfunction(f) and f.__module__ == room.__name__]
    verbs = [getattr(f, '__wrapped__', f) for f in of(semipose.cli)]
    many = [f.__name__ for f in (*verbs, *(f for room in rooms for f in of(room)))
            if len(inspect.signature(f).parameters) > 12]
    assert not many

def test_a_comparison_is_made_of_the_rows_of_a_sweep(data, tmp_path):
    "the same training, whoever asks for it"
    from semipose.sweep import sweep
    p = replace(SMALL, start_steps=4, start_every=2)
    compare(['naive'], p, data, tmp_path/'c', **KW)
    [e] = sweep(p, ['naive'], [0], SAMPLE, tmp_path/'runs', tmp_path/'results', **KW)['new']
    assert same(weights(tmp_path/'c'/'naive'), weights(tmp_path/'runs'/'small'/'seed0'/'naive'))
    other = entry_of(tmp_path/'c'/'naive')
    assert (e.key, e.terms, e.people, e.ap) == (other.key, other.terms, other.people, other.ap)

assert {f.name for f in fields(Recipe)} > set(PLACES)
