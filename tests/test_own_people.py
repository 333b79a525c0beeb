"Laws of whose people a run asks: its own, whatever the files hold by now, wherever one works now, whatever has moved"
import json, os, shutil
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, torch
from safetensors.torch import load_file
from semipose.errors import UserError
from semipose.ledger import read_ledger
from semipose.protocols import protocol
from semipose.run import (answers_of, check_labels, command, evaluate_run, find_again, marks, prepare, read_recipe,
                          read_who,
                          train, val_key)
from semipose.sweep import entry_of, sweep

SAMPLE = Path(__file__).parents[1]/'data'/'sample'
SMALL = replace(protocol('demo'), name='small', title='small', data=None, labels=8, size=(32,32), width=8, batch=(4,4),
                start_steps=0, start_every=None, steps=4, every=2)
KW = dict(device='cpu', progress=False)
ALL = json.loads((SAMPLE/'person_keypoints_train.json').read_text())

def labelled(folder, first=0, n=30, moved=0.):
    "A folder with one file of labels: pictures first to n of the sample"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder/'images').exists(): shutil.copytree(SAMPLE/'images'/'train', folder/'images')
    images = ALL['images'][first:n]
    keep = {i['id'] for i in images}
    def shifted(a): return dict(a, keypoints=[v + moved*(v > 0 and k % 3 < 2) for k, v in enumerate(a['keypoints'])])
    d = dict(ALL, images=images, annotations=[shifted(a) for a in ALL['annotations'] if a['image_id'] in keep])
    (folder/'person_keypoints.json').write_text(json.dumps(d))
    return folder

def val_of_run(run): return json.loads((run/'people.json').read_text())['val']
def asked(run, *args, **kw): return answers_of(run, *args, **KW, **kw)
def ids(people): return set(people.ids.tolist())

@pytest.fixture
def grown(tmp_path, monkeypatch):
    "A run on thirty labelled pictures, to which eighteen were added since"
    monkeypatch.chdir(tmp_path)
    train('naive', SMALL, labelled(Path('d')), 'runs/r', **KW)
    labelled(Path('d'), n=48)
    return tmp_path

@pytest.mark.parametrize('data', [None, 'd', './d/../d', Path('d').absolute])
def test_labels_that_were_added_are_not_asked(grown, data):
    "from the run alone, and by its own folder in any spelling"
    data = grown/'d' if callable(data) else data
    who, taught = read_who('runs/r'), set(json.loads(Path('runs/r/split.json').read_text())['unlabeled'])
    a = asked('runs/r', data)
    assert val_key(a.people) == val_of_run(Path('runs/r')) and [k[1] for k in who['val'].keys] == a.people.ids.tolist()
    assert not ids(a.people) & taught and not a.notes and not (a.trained > 0).any()
    assert evaluate_run('runs/r', data,
                        **KW)['net 1']['AP'] == json.loads(Path('runs/r/result.json').read_text())['last'][
                            'nets'][0]['ap']
    assert 'trained on' not in evaluate_run('runs/r', data, **KW)['net 1']
    assert [k[1] for k in who['train'].keys] == asked('runs/r', data, split='train').people.ids.tolist()

def test_other_data_say_how_many_were_trained_on(grown, capsys):
    "a copy under other names and numbers; the labelled ones among them; a supervised run sees no other pictures"
    labelled(Path('e'), n=48)
    d = json.loads(Path('e/person_keypoints.json').read_text())
    for i in d['images']: i['id'] += 5000
    for a in d['annotations']: a['id'] += 9000; a['image_id'] += 5000
    for i in d['images']:
        shutil.move(f'e/images/{i["file_name"]}', f'e/images/x{i["file_name"]}'); i['file_name'] = f'x{i["file_name"]}'
    Path('e/person_keypoints.json').write_text(json.dumps(d))
    n = len(read_who('runs/r')['train'].keys)
    found = evaluate_run('runs/r', 'e', device='cpu')
    assert {r['trained on'] for r in found.values()} == {n}
    assert f'{n} of these 48 people were trained on, 8 of them with their joints' in capsys.readouterr().out
    train('supervised', SMALL, 'd', 'runs/s', **KW)
    assert evaluate_run('runs/s', 'e', **KW)['net 1']['trained on'] == 8
    # joints that were corrected: by the picture's name and the box they are the same people
    labelled(Path('c'), n=48, moved=9.)
    assert evaluate_run('runs/r', 'c', **KW)['net 1']['trained on'] == n
    # other joints and the same boxes: the same people, corrected; other boxes too: others
    labelled(Path('f'), n=48, moved=9.)
    d = json.loads(Path('f/person_keypoints.json').read_text())
    for i in d['images']:
        shutil.move(f'f/images/{i["file_name"]}', f'f/images/y{i["file_name"]}'); i['file_name'] = f'y{i["file_name"]}'
    Path('f/person_keypoints.json').write_text(json.dumps(d))
    assert not asked('runs/r', 'f').notes

def test_from_another_working_folder(grown, monkeypatch):
    "a folder of the same name is there, with other people in it"
    labelled(Path('elsewhere')/'d', first=20, n=44)
    monkeypatch.chdir('elsewhere')
    a = asked('../runs/r')
    assert val_key(a.people) == val_of_run(Path('../runs/r'))
    assert Path(a.people.folder).resolve() == (grown/'d'/'images').resolve()
    b = asked('../runs/r', 'd')     # that one is asked for by name, and is another
    assert ids(b.people) != ids(a.people) and b.notes

def test_after_run_and_people_have_moved(grown):
    (grown/'new').mkdir()
    for what in ('runs', 'd'): shutil.move(what, grown/'new'/what)
    assert val_key(asked(grown/'new'/'runs'/'r').people) == val_of_run(grown/'new'/'runs'/'r')
    shutil.move(grown/'new'/'d', grown/'new'/'gone')
    a = asked(grown/'new'/'runs'/'r', grown/'new'/'gone')      # told where they are, it knows its own
    assert val_key(a.people) == val_of_run(grown/'new'/'runs'/'r') and not a.notes
    with pytest.raises(UserError, match=r"people of the run .*r are not where they were \(d\): put them back, or say "
                                        r"where others are with --data"):
        asked(grown/'new'/'runs'/'r')

def test_a_run_that_moved_beside_other_people_of_that_name(grown):
    "what lies where its people lay, seen from the run, is not taken for them"
    labelled(grown/'new'/'d', first=24, n=48)
    shutil.move('runs', grown/'new'/'runs')
    a = asked(grown/'new'/'runs'/'r')
    assert val_key(a.people) == val_of_run(grown/'new'/'runs'/'r') and not a.notes

def test_who_is_gone_or_changed_is_told(grown):
    want = read_who('runs/r')['val'].keys
    d = json.loads(Path('d/person_keypoints.json').read_text())
    gone = [a for a in d['annotations'] if a['id'] == want[0][1]][0]
    Path('d/person_keypoints.json').write_text(json.dumps(dict(d,
                                                               annotations=[a for a in d['annotations']
                                                                            if a is not gone])))
    a = asked('runs/r')
    assert a.notes[0].startswith(f'1 of the {len(want)} people that the run was validated on are gone')
    assert ids(a.people) == {k[1] for k in want[1:]}
    labelled(Path('d'), n=48, moved=30.)
    assert any(f'{len(want)} of the {len(want)} people that the run was validated on have other joints' in s
               for s in asked('runs/r').notes)
    labelled(Path('d'), first=40, n=48)
    kept = {k[1] for k in want} & {a['id']
                                   for a in json.loads(Path('d/person_keypoints.json').read_text())['annotations']}
    if not kept:
        with pytest.raises(UserError, match='None of the people that the run'): asked('runs/r')

def test_the_lab_shows_the_run_s_own_people(grown, monkeypatch):
    from semipose.widgets import people_crops
    labelled(Path('elsewhere')/'d', first=20, n=44)
    monkeypatch.chdir('elsewhere')
    shown = people_crops('../runs/r', read_recipe('../runs/r'), (32, 32), 4).people.ids.tolist()
    assert shown == [k[1] for k in read_who('../runs/r')['val'].keys][:4]

def test_a_run_of_before_says_that_its_data_have_changed(grown):
    recipe = json.loads(Path('runs/r/recipe.json').read_text())
    del recipe['places']
    Path('runs/r/recipe.json').write_text(json.dumps(recipe))
    Path('runs/r/who.json').unlink()
    a = asked('runs/r')
    assert len(a.notes) == 1 and 'its data have changed since' in a.notes[0] and 'since. 0 of them' not in a.notes[0]
    labelled(Path('d'))
    assert val_key(asked('runs/r').people) == val_of_run(Path('runs/r')) and not asked('runs/r').notes

@pytest.mark.parametrize('text', ['{', '[]', '{"train": null, "val": null, "others": null}',
                                  '{"train": {"files": ["a"], "image": [1], "ids": [1], "marks": ["b"]}, "val": 3, '
                                  '"others": null}'])
def test_a_damaged_list_is_told(grown, text):
    Path('runs/r/who.json').write_text(text)
    with pytest.raises(UserError, match='who.json is damaged: remove it'): asked('runs/r')

class Stop(Exception): pass
def stopped(folder, at=3, data='d', **kw):
    from semipose.teaching import Teaching
    real = Teaching.before_batch
    def breaks(self):
        if self.step == at: raise Stop('here')
        real(self)
    with pytest.MonkeyPatch.context() as mp:
        mp.setattr(Teaching, 'before_batch', breaks)
        with pytest.raises(Stop): train('naive', SMALL, data, folder, **{**KW, **kw})

def numbers(folder):
    return [{k: v for k,v in r.items() if k != 'seconds'}
            for r in json.loads((Path(folder)/'result.json').read_text())['rows']]
def assert_same(a, b):
    assert numbers(a) == numbers(b)
    x, y = (load_file(Path(f)/'weights.safetensors') for f in (a, b))
    assert all(torch.equal(x[k], y[k]) for k in x)

@pytest.mark.parametrize('grow', [False, True])
def test_a_run_is_taken_up_from_elsewhere_and_with_its_own_people(tmp_path, monkeypatch, capsys, grow):
    "all paths in full, from another working folder, and with more labels in the file than it was begun with"
    monkeypatch.chdir(tmp_path)
    labelled(Path('d'))
    train('naive', SMALL, 'd', 'runs/whole', **KW)
    stopped('runs/r')
    if grow: labelled(Path('d'), n=48)
    (tmp_path/'elsewhere').mkdir()
    monkeypatch.chdir('elsewhere')
    assert train('naive', SMALL, tmp_path/'d', tmp_path/'runs'/'r', resume=True,
                 **{**KW, 'progress': True})['state'] == 'done'
    assert ('goes on with the people that it was begun with' in capsys.readouterr().out) == grow, (
        'the paragraph before is of the file as it is today')
    assert_same(tmp_path/'runs'/'whole', tmp_path/'runs'/'r')
    assert val_of_run(tmp_path/'runs'/'whole') == val_of_run(tmp_path/'runs'/'r')

def test_a_run_is_not_taken_up_with_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labelled(Path('d'))
    labelled(Path('elsewhere')/'d')
    stopped('runs/r')
    labelled(Path('d'), moved=30.)
    with pytest.raises(UserError, match='have other joints or boxes than at training, so the run runs/r cannot go on '
                                        'as it was begun'):
        train('naive', SMALL, 'd', 'runs/r', resume=True, **KW)
    monkeypatch.chdir('elsewhere')
    with pytest.raises(UserError, match='begun with another data of the same name'):
        train('naive', SMALL, 'd', '../runs/r', resume=True, **KW)
    with pytest.raises(UserError, match="begun with data='d' and is asked to go on with data='e'"):
        train('naive', SMALL, 'e', '../runs/r', resume=True, **KW)

def test_labels_come_from_the_same_place_wherever_one_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train('supervised', SMALL, labelled(Path('d')), 'runs/s', **KW)
    labelled(tmp_path/'elsewhere'/'d')
    monkeypatch.chdir('elsewhere')
    check_labels('pseudopose', tmp_path/'runs'/'s', SMALL, 0, data=tmp_path/'d', labels=None)
    with pytest.raises(UserError, match='trained with data='):
        check_labels('pseudopose', tmp_path/'runs'/'s', SMALL, 0, data='d', labels=None)

def test_a_start_on_another_drive_ends_no_training(tmp_path, monkeypatch):
    "where there are several drives no path leads from one to the other: os.path.relpath says ValueError"
    def none(*a, **k): raise ValueError("path is on mount 'D:', start on mount 'C:'")
    monkeypatch.setattr(os.path, 'relpath', none)
    data = labelled(tmp_path/'d')
    train('supervised', SMALL, data, tmp_path/'s', **KW)
    train('naive', SMALL, data, tmp_path/'r', start=tmp_path/'s', **KW)
    recipe = read_recipe(tmp_path/'r')
    assert recipe['data'] == str(data) and recipe['places']['data'] == dict(here=str(data), beside=None)
    assert recipe['places']['start']['here'] == str(tmp_path/'s')
    assert val_key(asked(tmp_path/'r').people) == val_of_run(tmp_path/'r')
    e = entry_of(tmp_path/'r')
    assert e.source == dict(data='d') and str(tmp_path) not in json.dumps(e.as_dict())

@pytest.mark.parametrize('argv, want', [(['train', 'naive', '--data', '{t}/in/d'], 'train naive --data d'),
                                        (['eval', '--data={t}/out'], 'eval --data=out'),
                                        (['eval', '{t}/in'], 'eval .')])
def test_no_entry_names_a_folder_of_the_machine(tmp_path, monkeypatch, argv, want):
    (tmp_path/'in').mkdir()
    monkeypatch.chdir(tmp_path/'in')
    monkeypatch.setattr('sys.argv', ['/usr/bin/semipose', *(a.format(t=tmp_path) for a in argv)])
    assert command() == f'semipose {want}'

def test_no_entry_names_a_file_of_weights_in_full(tmp_path):
    weights = tmp_path/'mine.safetensors'
    train('supervised', SMALL, labelled(tmp_path/'d'), tmp_path/'r', **KW)
    recipe = json.loads((tmp_path/'r'/'recipe.json').read_text())
    plain = entry_of(tmp_path/'r')
    recipe['protocol']['weights'], recipe['sentence'] = str(weights), replace(SMALL, weights=str(weights)).sentence()
    (tmp_path/'r'/'recipe.json').write_text(json.dumps(recipe))
    e = entry_of(tmp_path/'r')
    assert e.settings['weights'] == 'mine.safetensors' and str(tmp_path) not in json.dumps(e.as_dict())
    assert e.terms != plain.terms

def test_two_folders_of_one_name_keep_two_entries(tmp_path):
    "x/d and y/d: both stand in the ledger, and a sweep of the other finds nothing of its own there"
    a, b = labelled(tmp_path/'x'/'d'), labelled(tmp_path/'y'/'d', first=10, n=44)
    def run(data): return sweep(SMALL, ['supervised', 'naive'], [0], data, tmp_path/'runs', tmp_path/'results', **KW)
    first, second = run(a), run(b)
    assert [len(o['new']) for o in (first, second)] == [2, 2] and [o['there'] for o in (first, second)] == [0, 0]
    assert not second['failed']
    entries, left_out = read_ledger(tmp_path/'results')
    assert len(entries) == 4 and not left_out
    assert {(e.method, e.val) for e in entries} == {(e.method, e.val) for o in (first, second) for e in o['new']}
    assert {e.terms for e in entries} == {first['new'][0].terms} and len({e.val for e in entries}) == 2
    for data in (a, b): assert run(data)['there'] == 2 and not run(data)['new']
    assert len(read_ledger(tmp_path/'results')[0]) == 4
    labelled(tmp_path/'x'/'d', n=48)        # the same folder with more labels in it: other people
    assert len(run(a)['new']) == 2 and len(read_ledger(tmp_path/'results')[0]) == 6

def test_the_ledger_is_read_as_it_was():
    "every entry under its own name, with the key that is in it"
    files = sorted((Path(__file__).parents[1]/'results').glob('*/*-seed*-*.json'))
    entries, left_out = read_ledger(Path(__file__).parents[1]/'results')
    assert len(entries) == len(files) > 300 and not left_out
    for e, f in zip(entries, files):
        d = json.loads(f.read_text())
        assert (e.method, e.seed, e.terms, e.key, e.ap, e.val) == (d['method'], d['seed'], d['terms'], d['key'],
                                                                   d['curve'][-1]['ap'], (d.get('people')
                                                                       or {}).get('val'))
        last = d['curve'][-1]       # one network alone has no number of its own beside the run's
        each = [last[k] for k in ('ap1', 'ap2', 'ap3') if k in last] or [last['ap']]
        assert f.name == e.name and e.each == each

def test_people_are_told_apart_and_found_again():
    people = prepare(SMALL, SAMPLE, progress=False).val
    assert len(set(marks(people))) == len(people)
    from semipose.run import Who, keys_of
    who = Who(keys_of(people), marks(people))
    order = np.random.default_rng(0).permutation(len(people))
    rows, gone, changed = find_again(people.subset(order), who)
    assert people.subset(order).subset(rows).ids.tolist() == people.ids.tolist() and (gone, changed) == (0, 0)
    nudged = replace(people, xy=people.xy + .2*(people.vis > 0)[..., None])
    assert find_again(people.subset(order[3:]), who)[1] == 3
    assert find_again(replace(people, box=people.box + 2), who)[2] == len(people)
    assert len(nudged) == len(people)
