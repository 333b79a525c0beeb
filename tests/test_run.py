"""Laws of runs: what is held equal is equal, what is written can be read again, what is asked for in vain is said in
a sentence"""
import csv, json, numpy as np, pytest, shutil, torch, warnings
from dataclasses import replace
from pathlib import Path
from semipose.watch import each_of
from semipose.errors import Note, UserError
from semipose.evaluate.coco import Matches, ap_of
from semipose.loop import load_tensors
from semipose.protocols import Protocol, protocol
from semipose.run import (answers_of, compare, keep_numbers, score, evaluate_run, load_run, open_run,
                          pick_device, prepare, read_recipe, starts, train, val_key)
from semipose.ledger import entry_of, read_ledger
from semipose.sweep import sweep
from semipose.tables import ledger_report

SAMPLE = Path(__file__).parents[1]/'data'/'sample'
SMALL = replace(protocol('demo'), name='small', title='small', data=None, labels=8, size=(32,32), width=8, batch=(4,4),
                start_steps=4, start_every=2, steps=4, every=2)

@pytest.fixture(scope='module')
def data(): return prepare(SMALL, SAMPLE, 0, progress=False)

@pytest.fixture(scope='module')
def done(data, tmp_path_factory):
    "A start and three methods, each a few steps"
    folder, calls = tmp_path_factory.mktemp('runs')/'cmp', []
    def saw(f): calls.append(json.loads((f/'summary.json').read_text())['state'])
    s = compare(['naive', 'posecons', 'posedual_jc'], SMALL, data, folder, seed=0, device='cpu', progress=False,
                on_update=saw)
    return folder, s, calls

def rows(folder): return list(csv.DictReader(open(folder/'log.csv')))

def test_everything_starts_equal(done):
    "single methods start where net 1 of the start ended, and the dashed line is measured there"
    folder, s, _ = done
    start = json.loads((folder/'start'/'result.json').read_text())
    for name in ('naive', 'posecons'):
        r = json.loads((folder/name/'result.json').read_text())
        assert each_of(r['rows'][0])[0] == each_of(start['last'])[0] == s['dashed']['ap']
    dual = json.loads((folder/'posedual_jc'/'result.json').read_text())['rows'][0]
    assert dual['nets'] == start['last']['nets'] and len(dual['nets']) == 2
    assert dual['ap_ensemble'] == start['last']['ap_ensemble']
    assert dual['peak_unlabeled'] == start['last']['peak_unlabeled']

def test_a_comparison_is_a_sweep_with_a_page(done):
    "Its runs are entries of a ledger beside the page, in which a sweep of the same people finds nothing lacking"
    folder, s, _ = done
    entries, left_out = read_ledger(folder/'results')
    assert not left_out and [e.method for e in entries] == ['naive', 'posecons', 'posedual_jc'] == s['order']
    assert [round(e.ap, 4) for e in entries] == [s['methods'][e.method]['ap'] for e in entries]
    out = sweep(SMALL, s['order'], [0], SAMPLE, folder/'none', folder/'results', 'cpu', progress=False)
    assert out['there'] == 3 and not out['new'] and not (folder/'none').exists()
    assert all(e.people and entry_of(folder/e.method) == e for e in entries)
    assert 'Results' in ledger_report(folder/'results', progress=False).read_text()

def test_only_the_methods_line_differs(done):
    folder, *_ = done
    recipes = [json.loads((folder/n/'recipe.json').read_text()) for n in ('naive', 'posecons', 'posedual_jc')]
    for r in recipes:
        for k in ('method', 'line', 'title', 'nets', 'begun'): r.pop(k)
    assert recipes[0] == recipes[1] == recipes[2]
    splits = {(folder/n/'split.json').read_text() for n in ('start', 'naive', 'posecons', 'posedual_jc')}
    assert len(splits) == 1

def test_the_two_networks_start_differently(done):
    peers, *_ = load_run(done[0]/'start', device='cpu')
    assert len(peers) == 2 and not torch.equal(peers.nets[0].final.weight, peers.nets[1].final.weight)

def test_a_run_folder_tells_everything(done):
    folder, s, calls = done
    run = folder/'posedual_jc'
    assert {p.name for p in run.iterdir()} >= {'recipe.json', 'split.json', 'log.csv', 'result.json',
                                               'weights.safetensors', 'best.safetensors', 'strip.npz'}
    assert not [p for p in folder.rglob('*') if 'part' in p.name], 'nothing half-written'
    assert [int(r['step']) for r in rows(run)] == [0, 2, 4]
    assert {'cons2', 'net2_ap', 'net1_peak_unlabeled'} < set(rows(run)[0]) and not {'nets', 'ap1'} & set(rows(run)[0])
    r = json.loads((run/'result.json').read_text())
    assert r['state'] == 'done' and r['best']['chosen_on'] == 'validation' and len(r['histograms']) == 3
    assert abs(r['last']['ap'] - sum(each_of(r['last']))/2) < 1e-9, 'ap is the mean of the networks, never the ensemble'
    z = np.load(run/'strip.npz', allow_pickle=False)
    assert z['crops'].shape[1:] == (3, 32, 32) and z['heat'].shape[0] == 3 and list(z['steps']) == [0, 2, 4]
    assert z['joints'].shape == (3, len(z['crops']), 17, 16, 16)
    assert np.array_equal(z['joints'].max(2), z['heat']), 'joint by joint, and all in one map'
    assert calls[-1] == 'done' and set(calls[:-1]) == {'running'} and len(calls) > 4, 'after each measurement, too'

def test_the_same_seed_gives_the_same_numbers(done, data, tmp_path):
    folder, *_ = done
    r = train('posecons', SMALL, data, tmp_path/'again', 0, start=folder/'start', device='cpu', progress=False)
    first = json.loads((folder/'posecons'/'result.json').read_text())
    drop = lambda rs: [{k: v for k,v in x.items() if k != 'seconds'} for x in rs]
    assert drop(r['rows']) == drop(first['rows'])

def test_evaluating_a_run_again_gives_its_last_row(done):
    "from the folder alone: crops cut anew, weights read, and the numbers of the log come out"
    folder, *_ = done
    out = evaluate_run(folder/'posedual_jc', SAMPLE, device='cpu', progress=False)
    last = json.loads((folder/'posedual_jc'/'result.json').read_text())['last']
    assert set(out) == {'net 1', 'net 2', 'ensemble'} and out['net 1']['people'] == 16
    for name, ap in zip(('net 1', 'net 2', 'ensemble'), (*each_of(last), last['ap_ensemble'])):
        assert abs(out[name]['AP'] - ap) < 1e-6
    assert abs((out['net 1']['PCK@0.2'] + out['net 2']['PCK@0.2'])/2 - last['pck']) < 1e-4

def test_a_run_remembers_where_its_people_are(done):
    "without --data, the folder in the recipe is used, also when the crops were prepared once for many runs"
    a, b = (evaluate_run(done[0]/'naive', data, device='cpu', progress=False) for data in (None, SAMPLE))
    assert a == b

def test_what_the_numbers_leave_out_is_told(done, tmp_path, recwarn):
    "joints that were not taught, answers that suppression drops on true boxes, areas that stand in"
    run = tmp_path/'run'
    shutil.copytree(done[0]/'naive', run)
    kw = dict(device='cpu', progress=False)
    a = answers_of(run, **kw)
    asked = evaluate_run(run, **kw)['net 1']
    assert asked['joints'] == int(a.people.supervised.sum())
    assert not [w for w in recwarn if 'joints are asked' in str(w.message)]
    recipe = json.loads((run/'recipe.json').read_text())
    (run/'recipe.json').write_text(json.dumps(dict(recipe, supervised=[float(k >= 5) for k in range(17)])))
    truth = json.loads((SAMPLE/'person_keypoints_val.json').read_text())
    for n in truth['annotations']: n.pop('area')
    (tmp_path/'annotations').mkdir()
    (tmp_path/'person_keypoints_val.json').write_text(json.dumps(truth))
    shutil.copytree(SAMPLE/'images'/'val', tmp_path/'images'/'val')
    with pytest.warns(Note) as said: twelve = evaluate_run(run, tmp_path, **kw)['net 1']
    words = ' '.join(str(w.message) for w in said)
    assert twelve['joints'] == 12 and '12 of 17 joints are asked, those that the run was taught' in words
    assert 'the area of 16 of 16 people is 0.53 of their box' in words

def test_two_in_one_pose_are_told(done, tmp_path):
    "every person twice, a pixel apart, on true boxes: suppression drops half of them whatever is answered"
    d = json.loads((SAMPLE/'person_keypoints_val.json').read_text())
    d['annotations'] += [dict(n, id=n['id'] + 10**9) for n in d['annotations']]
    (tmp_path/'person_keypoints_val.json').write_text(json.dumps(d))
    shutil.copytree(SAMPLE/'images'/'val', tmp_path/'images'/'val')
    with pytest.warns(Note, match=r'OKS-NMS 0.9 dropped \d+ of 32 answers, though every box is a true person.s .16 '
                                  r'would go if all were right.; --nms 1'):
        evaluate_run(done[0]/'naive', tmp_path, device='cpu', progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter('error', Note)
        both = evaluate_run(done[0]/'naive', tmp_path, device='cpu', progress=False,
                            nms=None), evaluate_run(done[0]/'naive', tmp_path, device='cpu', progress=False, nms=1.)
    assert both[0] == both[1] and both[0]['net 1']['people'] == 32

def test_suppression_and_the_limit_reach_the_score(data):
    "everybody twice, found exactly: suppression drops half of them, and so does a limit of one detection a picture"
    from semipose.predict import Prediction
    one = data.val.subset(data.val.posed)
    twice = one.subset(np.repeat(np.arange(len(one)), 2))
    assert np.bincount(one.image).max() == 1
    found = Prediction(torch.from_numpy(twice.xy).double(), torch.ones(twice.vis.shape, dtype=torch.float64))
    recall = lambda **kw: score(twice, np.arange(len(twice)), found, np.ones(17), **kw)[0]['AR']
    assert recall() == pytest.approx(50) == recall(nms=.9) and recall(nms=None) == pytest.approx(100) == recall(nms=1.)
    with pytest.warns(Note, match='16 of 32 people cannot be found; max_people=2'):
        assert recall(nms=None, max_people=1) == pytest.approx(50)

def test_people_for_the_test_are_a_third_file(done, tmp_path):
    "the file of training or validation people is never taken for it"
    for name in ('train', 'val'): shutil.copy(SAMPLE/f'person_keypoints_{name}.json', tmp_path)
    ask = lambda **kw: evaluate_run(done[0]/'naive', split='test', device='cpu', progress=False, **kw)
    for data in (tmp_path, None):
        with pytest.raises(UserError, match='test'): ask(**({} if data is None else dict(data=data)))
    one = tmp_path/'one'
    one.mkdir()
    shutil.copy(SAMPLE/'person_keypoints_val.json', one/'person_keypoints.json')
    with pytest.raises(UserError, match='it has no people for a test; put them into person_keypoints_test.json'):
        ask(data=one)
    shutil.copy(SAMPLE/'person_keypoints_val.json', tmp_path/'person_keypoints_test.json')
    shutil.copytree(SAMPLE/'images'/'val', tmp_path/'images'/'test')
    assert ask(data=tmp_path) == evaluate_run(done[0]/'naive', device='cpu', progress=False)

@pytest.mark.parametrize('change', [lambda d: [n.update(keypoints=[0]*51, num_keypoints=0) for n in d['annotations']],
                                    lambda d: d.update(annotations=[]),
                                    lambda d: [n.update(iscrowd=1) for n in d['annotations']]])
def test_nobody_to_validate_on_is_one_sentence(tmp_path, change):
    shutil.copytree(SAMPLE, tmp_path/'data')
    file = tmp_path/'data'/'person_keypoints_val.json'
    d = json.loads(file.read_text())
    change(d)
    file.write_text(json.dumps(d))
    with pytest.raises(UserError, match='none of the .* validation people has a box and an annotated joint') as e:
        train('supervised', SMALL, tmp_path/'data', tmp_path/'r', device='cpu', progress=False)
    assert not (tmp_path/'r').exists() and '\n' not in str(e.value)

def test_labels_and_held_out_people_never_meet():
    d = prepare(replace(SMALL, labels=10, heldout=.3), SAMPLE, 0, progress=False)
    assert len(d.split.heldout) == 3 and len(d.split.labeled) == 7
    assert not set(d.split.heldout) & (set(d.split.labeled) | set(d.split.unlabeled))

def test_best_on_held_out_labels_says_so(tmp_path):
    p = replace(SMALL, labels=10, heldout=.3)
    r = train('supervised', p, SAMPLE, tmp_path/'r', steps=2, device='cpu', progress=False)
    assert r['best']['chosen_on'] == 'held-out labels' and 'ap_heldout' in r['last']

def test_another_folder_can_be_the_unlabelled_people(tmp_path):
    d = prepare(SMALL, SAMPLE, 0, unlabeled=SAMPLE, progress=False)
    assert len(d.unlabeled) == 48 and (d.unlabeled.vis == 0).all()

@pytest.mark.parametrize('call, says', [
    (lambda d, t: train('posedul_jc', SMALL, d, t/'x', progress=False), 'did you mean posedual_jc'),
    (lambda d, t: open_run(t, {}), 'exists: choose another'),
    (lambda d, t: open_run(t, {}, replace=True), 'holds something that is not a run'),
    (lambda d, t: pick_device('cuda:99'), "device 'cuda:99' is not there"),
    (lambda d, t: pick_device('gpu'), "device 'gpu' is not there"),
    (lambda d, t: read_recipe(t/'nowhere'), 'no run folder'),
    (lambda d, t: read_recipe(t), 'no recipe.json'),
    (lambda d, t: train('naive', SMALL, d, t/'x', start=t, progress=False, device='cpu'), 'no weights in'),
    (lambda d, t: prepare(replace(SMALL, labels=999), SAMPLE, progress=False), 'only 48 people have labels'),
    (lambda d, t: prepare(SMALL, t/'nowhere', progress=False), 'nowhere'),
    (lambda d, t: prepare(SMALL, SAMPLE, boxes='b.json', progress=False),
     'b.json: there is no such file'),
    (lambda d, t: protocol('dmo'), 'did you mean demo'),
    (lambda d, t: protocol('demo', steps=7), 'steps=7 is not a whole number of evaluation intervals'),
    (lambda d, t: Protocol.from_dict({'name': 'x', 'colour': 1}), "unknown field 'colour'"),
    (lambda d, t: load_run(t, weights='worst'), "'last' or 'best'"),
    (lambda d, t: train('naive', replace(SMALL, batch=(4, 0)), t/'nowhere', t/'x'),
     r'batch=4\+0, and naive needs labelled and unlabelled people in every step: give --batch 4'),
    (lambda d, t: train('supervised', replace(SMALL, batch=(0, 4)), t/'nowhere', t/'x'),
     r'batch=0\+4, and supervised needs labelled people in every step'),
    (lambda d, t: starts(['supervised', 'naive'], replace(SMALL, batch=(4, 0)), t/'nowhere', t/'x'), r'batch=4\+0'),
    (lambda d, t: compare(['supervised', 'naive'], replace(SMALL, batch=(4, 0)), t/'nowhere', t/'x'), r'batch=4\+0'),
    (lambda d, t: sweep(replace(SMALL, batch=(4, 0)), ['supervised', 'naive'], [0], t/'nowhere', t/'x', t/'y'),
     r'batch=4\+0'),
    (lambda d, t: compare(['naive'], SMALL, d, t/'something'), 'something cannot be made .it is a file.: choose '
                                                               'another'),
    (lambda d, t: keep_numbers(t, t/'x'), 'is not a comparison'),
])
def test_bad_input_is_one_sentence(data, tmp_path, call, says):
    (tmp_path/'something').write_text('')
    with pytest.raises(UserError, match=says) as e: call(data, tmp_path)
    assert '\n' not in str(e.value) and str(e.value)[-1] in '.?'
    assert not (tmp_path/'x'/'weights.safetensors').exists()

def test_a_single_start_cannot_start_two_networks(done, data, tmp_path):
    with pytest.raises(UserError, match='has no network 2'):
        train('posedual', SMALL, data, tmp_path/'x', start=done[0]/'naive', device='cpu', progress=False)

def test_protocols_import_nothing_heavy():
    import subprocess, sys
    code = "import sys, semipose.protocols; print([m for m in ('torch', 'fastai', 'numpy') if m in sys.modules])"
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert out.stdout.strip() == '[]', out

def test_joints_that_nobody_labelled_are_not_asked_for(data):
    "garbage in a joint that the networks never learned costs nothing; in a learned one it does"
    from semipose.predict import Prediction
    truth = data.val
    rows, keep = truth.posed, np.ones(17)
    people = truth.subset(rows)
    xy = torch.from_numpy(people.xy.copy())
    xy[:, 9] += 50
    found = Prediction(xy, torch.ones(len(rows), 17))
    assert score(truth, rows, found, keep)[0]['AP'] < 99 and score(truth, rows, found, keep)[0]['PCK@0.2'] < 99
    keep[9] = 0
    assert score(truth, rows, found, keep)[0]['AP'] == score(truth, rows, found, keep)[0]['PCK@0.2'] == 100

def test_ap_is_the_mean_over_networks(data, monkeypatch):
    "one network perfect, one lost, the ensemble perfect: ap is half way, the ensemble has its own column"
    import semipose.measure as run
    from semipose.predict import Prediction
    rows = data.val.posed
    right = Prediction(torch.from_numpy(data.val.subset(rows).xy.copy()), torch.ones(len(rows), 17))
    wrong = right._replace(xy=right.xy + 500)
    monkeypatch.setattr(run, 'predict_all', lambda *a, **k: [right, wrong, right])
    r, who, _ = run.Evaluate(data, SMALL, None).accuracy(None, None, data.val, rows)
    assert [ap_of(w) for w in who] == [1, 0]
    assert (r['ap'], r['ap_ensemble'], r['pck'], r['nets']) == (50, 100, 50, [dict(ap=100, pck=100), dict(ap=0, pck=0)])

def test_heads_are_measured_and_chosen_by(data, tmp_path, monkeypatch):
    """where validation knows heads, every row has MPII's PCKh, each network's and the ensemble's, and the best
    checkpoint is the best by it, not by AP"""
    import semipose.measure as run
    from semipose.predict import Prediction
    head = np.tile(np.array([0, 0, 30, 40], dtype=np.float32), (len(data.val), 1))     # 0.6 of its diagonal: 30 px
    head[1] = np.nan
    with_heads = replace(data, val=replace(data.val, head=head))
    rows, people = with_heads.val.posed, with_heads.val.subset(with_heads.val.posed)
    def off(px):
        return Prediction(torch.from_numpy(people.xy.copy()) + torch.tensor([float(px), 0.]), torch.ones(len(rows), 17))
    monkeypatch.setattr(run, 'predict_all', lambda *a, **k: [off(14.9), off(15.1), off(14.9)])
    r, *_ = run.Evaluate(with_heads, SMALL, None).accuracy(None, None, with_heads.val, rows)
    assert (r['pckh'], each_of(r, 'pckh'), r['pckh_ensemble']) == (50, [100, 0], 100)
    assert 'pckh' not in run.Evaluate(data, SMALL, None).accuracy(None, None, data.val, rows)[0]
    nobody = replace(with_heads.val, vis=np.zeros_like(with_heads.val.vis))
    assert run.by_heads(nobody, nobody.xy) == {'PCKh@0.5': -1}
    assert run.by_heads(replace(nobody, head=head*np.nan), nobody.xy) == {}
    monkeypatch.undo()
    told = iter([(9., 10.), (5., 30.), (7., 20.)])
    def measured(self, *a):
        row, *rest = real(self, *a)
        return row | dict(zip(('ap', 'pckh'), next(told))), *rest
    real = run.Evaluate.accuracy
    monkeypatch.setattr(run.Evaluate, 'accuracy', measured)
    best = train('supervised', SMALL, with_heads, tmp_path/'run', 0, device='cpu', progress=False)['best']
    assert (best['step'], best['pckh'], best['chosen_on']) == (2, 30., 'validation, by PCKh@0.5')
    from semipose.sweep import entry_of
    assert entry_of(tmp_path/'run').best == dict(step=2, ap=5., pckh=30., chosen_on='validation, by PCKh@0.5')

def test_a_best_that_was_chosen_by_something_else_is_not_kept():
    from semipose.watch import Watch
    old = [dict(step=0, ap=9., seconds=1.)]
    for select, kept in (('ap', old[0]), ('pckh', None)):
        w = Watch(None, select=select)
        w.take_up(old, old[0])
        assert (w.best, w.rows, w.spent) == (kept, old, 1.)

@pytest.mark.parametrize('method, who', [('posecons', 'the unlabelled'), ('supervised', None)])
def test_the_second_stream_is_the_unlabelled_people(data, tmp_path, monkeypatch, method, who):
    import semipose.run as run
    seen, real = [], run.Streams
    def spy(labeled, unlabeled, *a):
        seen.append((labeled, unlabeled))
        return real(labeled, unlabeled, *a)
    monkeypatch.setattr(run, 'Streams', spy)
    train(method, SMALL, data, tmp_path/'r', steps=2, device='cpu', progress=False)
    labeled, unlabeled = seen[0]
    assert list(labeled.people.ids) == list(data.train.ids[data.split.labeled])
    assert (unlabeled is None if who is None else list(unlabeled.people.ids)
            == list(data.train.ids[data.split.unlabeled]))

def test_the_flip_test_and_the_first_of_the_file(tmp_path):
    "flip averages with the mirror image; 'first' takes the people in file order, 'seeded' does not"
    from semipose.run import Evaluate, codec_of, peers_of
    a = prepare(replace(SMALL, choose='first'), SAMPLE, 3, progress=False)
    assert list(a.split.labeled) == list(a.train.posed[:8])
    assert list(prepare(SMALL, SAMPLE, 3, progress=False).split.labeled) != list(a.train.posed[:8])
    assert Evaluate(a, replace(SMALL, flip=True), None).flip == a.skeleton.flip_index
    assert Evaluate(a, SMALL, None).flip is None
    peers = peers_of(SMALL, 17, 1, 0)
    codec = codec_of(SMALL, peers.stride)
    plain, both = (Evaluate(a, replace(SMALL, flip=f), codec) for f in (False, True))
    import semipose.measure as run
    seen = []
    real, run.predict_all = run.predict_all, lambda *args, **kw: seen.append(kw.get('flip')) or real(*args, **kw)
    try:
        for e in (plain, both): e.accuracy(peers, e.val, a.val, e.rows)
    finally: run.predict_all = real
    assert seen == [None, a.skeleton.flip_index]

def test_people_are_told_apart(data):
    "runs are compared person by person only on the same people: another box, joint or visibility is another set"
    key = val_key(data.val)
    assert key == val_key(replace(data.val)) and len(key) == 6
    for field in ('box', 'xy', 'vis'):
        other = getattr(data.val, field).copy()
        other.flat[0] += 1
        assert val_key(replace(data.val, **{field: other})) != key, field

def test_a_run_falls_where_its_protocol_says(data, tmp_path):
    "the learning rate is divided at the protocol's milestones, no others"
    ends = []
    for i, milestones in enumerate([(.25, .5), (.5, .75), (.25, .5)]):
        p = replace(SMALL, schedule='milestones', milestones=milestones, lr=.01)
        train('supervised', p, data, tmp_path/str(i), 0, device='cpu', progress=False)
        ends.append(load_tensors(tmp_path/str(i)/'weights.safetensors')[0])
    assert all(torch.equal(v, ends[2][k]) for k, v in ends[0].items())
    assert not all(torch.equal(v, ends[1][k]) for k, v in ends[0].items())

def test_the_people_kept_are_those_of_the_last_measurement(done, data):
    "people.json costs no second look, and gives the AP that the run ended with"
    for name in ('start', 'posedual_jc'):
        kept, last = (json.loads((done[0]/name/'people.json').read_text()),
                      json.loads((done[0]/name/'result.json').read_text())['last'])
        assert [100*ap_of(Matches.from_dict(n)) for n in kept['nets']] == pytest.approx(each_of(last), abs=1e-9)

def test_unlike_networks_leave_from_starts_of_their_own(data, tmp_path):
    s = compare(['posedual_unlike', 'naive'], SMALL, data, tmp_path/'c', device='cpu', progress=False)
    assert set(s['methods']) == {'posedual_unlike', 'naive'} and s['dashed']['nets'] == 1
    starts = [each_of(json.loads((tmp_path/'c'/n/'result.json').read_text())['last'])[0]
              for n in ('start', 'start-other')]
    first = json.loads((tmp_path/'c'/'posedual_unlike'/'result.json').read_text())['rows'][0]
    assert each_of(first) == starts

def test_without_a_start_methods_begin_at_once(data, tmp_path):
    p = replace(SMALL, start_steps=0)
    s = compare(['supervised', 'pseudopose'], p, data, tmp_path/'b', device='cpu', progress=False)
    assert s['dashed'] is None and not (tmp_path/'b'/'start').exists()
    assert read_recipe(tmp_path/'b'/'supervised')['start'] is None
    assert read_recipe(tmp_path/'b'/'pseudopose')['start'].endswith('supervised')

def test_people_are_those_of_the_latest_look(done, data, monkeypatch):
    from semipose import run
    peers, p, *_ = load_run(done[0]/'start', device='cpu')
    evaluate, looks = run.Evaluate(data, p, run.codec_of(p, peers.stride)), []
    def accuracy(*args):
        one = np.ones(1, dtype=int)
        looks.append(Matches(0*one, 0*one, len(looks)*one, 0*one, one))
        return dict(ap=0., nets=[{}]), [looks[-1]], [[len(looks)]]
    monkeypatch.setattr(evaluate, 'accuracy', accuracy)
    for k in range(2):
        with torch.no_grad(): evaluate(peers)
        assert evaluate.people()['nets'] == [looks[k].to_dict()]
        assert len(looks) == k + 1, 'and nobody is looked at once more for it'

def test_a_supervised_run_needs_no_unlabelled_people(data, tmp_path):
    assert train('supervised', replace(SMALL, batch=(4, 0)), data, tmp_path/'r', steps=2, device='cpu',
                 progress=False)['state'] == 'done'

def test_a_run_is_asked_about_the_people_it_was_trained_on(tmp_path):
    """from one file of labels a part is set aside: neither of the halves contains anybody of the other, also where
    the labels lie elsewhere"""
    import shutil
    (tmp_path/'one').mkdir()
    shutil.copytree(SAMPLE/'images'/'train', tmp_path/'one'/'images'/'train')
    shutil.copy(SAMPLE/'person_keypoints_train.json', tmp_path/'one')
    shutil.copytree(SAMPLE/'images'/'train', tmp_path/'pictures')
    shutil.copy(SAMPLE/'person_keypoints_train.json', tmp_path/'labels.json')
    for name, source in dict(a=dict(data=tmp_path/'one'), b=dict(data=tmp_path/'pictures',
                                                                 labels=tmp_path/'labels.json')).items():
        d = prepare(SMALL, **source, progress=False)
        train('supervised', SMALL, d, tmp_path/name, steps=2, device='cpu', progress=False)
        ids = {split: set(answers_of(tmp_path/name, split=split, device='cpu', progress=False).people.ids.tolist())
               for split in ('train', 'val')}
        assert ids == dict(train=set(d.train.ids.tolist()), val=set(d.val.ids.tolist()))
        assert not ids['train'] & ids['val']
    with pytest.raises(UserError, match="split='tset': it is 'train', 'val' or 'test'"):
        answers_of(tmp_path/'a', split='tset', device='cpu')

def test_the_numbers_of_a_comparison_without_a_start(data, tmp_path):
    compare(['supervised'], replace(SMALL, start_steps=0), data, tmp_path/'c', device='cpu', progress=False)
    assert {f.name for f in keep_numbers(tmp_path/'c', tmp_path/'kept').iterdir()} == {'supervised.json',
        'summary.json'}
    (tmp_path/'file').write_text('')
    with pytest.raises(UserError, match='file cannot be made .it is a file.'):
        keep_numbers(tmp_path/'c', tmp_path/'file')
    (tmp_path/'c'/'supervised'/'result.json').unlink()
    with pytest.raises(UserError, match='supervised has no result.json: run the comparison again with --resume'):
        keep_numbers(tmp_path/'c', tmp_path/'more')

def test_crops_are_kept_where_there_is_room(monkeypatch):
    from semipose.data.core import CachedCrops
    for free, kept in ((float('inf'), True), (1000, False)):
        monkeypatch.setattr('semipose.data.core.free_memory', lambda free=free: free)
        d = prepare(SMALL, SAMPLE, 0, unlabeled=SAMPLE, progress=False)
        assert [isinstance(c, CachedCrops) for c in (d.crops, d.val_crops, d.others)] == [kept]*3

@pytest.mark.parametrize('method, gone', [('naive', dict(net='resnet18', weights='pip:no-such-package-here')),
                                          ('posedual', dict(net='resnet18', weights2='pip:no-such-package-here')),
                                          ('posedual_unlike', dict(other='resnet18',
                                                                   other_weights='pip:no-such-package-here'))])
def test_a_network_that_cannot_be_had_is_told_before_the_people_are_read(tmp_path, monkeypatch, method, gone):
    p = replace(SMALL, **gone)
    for module in ('run', 'sweep'):
        monkeypatch.setattr(f'semipose.{module}.prepare', lambda *a, **k: pytest.fail('the people were read'))
    kw = dict(device='cpu', progress=False)
    for call in (lambda: train(method, p, SAMPLE, tmp_path/'run', **kw),
                 lambda: compare([method], p, SAMPLE, tmp_path/'cmp', **kw),
                 lambda: sweep(p, [method], [0], SAMPLE, tmp_path/'runs', tmp_path/'results', **kw)):
        with pytest.raises(UserError, match="'no-such-package-here' is not installed: run `pip install "
                                            "no-such-package-here`"):
            call()
    assert not list(tmp_path.iterdir())

def test_pseudo_labels_of_a_comparison_come_from_supervised_training(data, tmp_path):
    p = replace(SMALL, start_steps=0, start_every=None, start_lr=None)
    kw = dict(device='cpu', progress=False)
    s = compare(['pseudopose', 'supervised'], p, data, tmp_path/'cmp', **kw)
    assert list(s['methods']) == ['supervised', 'pseudopose'] and s['state'] == 'done'
    assert read_recipe(tmp_path/'cmp'/'pseudopose')['start'].endswith('supervised')
    alone = compare(['pseudopose'], p, data, tmp_path/'alone', **kw)
    assert list(alone['methods']) == ['pseudopose']
    assert alone['methods']['pseudopose']['ap'] == s['methods']['pseudopose']['ap']

@pytest.mark.parametrize('method, nets', [('posedual_jc', 1), ('sspcm', 2), ('multiaugs_dual', 1),
                                          ('posedual_unlike', 1)])
def test_too_few_networks_are_told(data, tmp_path, method, nets):
    p = replace(SMALL, other='tiny')
    with pytest.raises(UserError, match=f'needs [23] networks or more, and nets={nets}'):
        train(method, p, data, tmp_path/'run', nets=nets, device='cpu', progress=False)
    assert not list(tmp_path.iterdir())

def test_a_second_network_may_start_from_weights_of_its_own(tmp_path):
    "the published dual ResNet-18 starts from two different ImageNet weights"
    import torchvision
    from semipose.run import peers_of
    from semipose.methods import METHODS, kinds
    for i in (1, 2):
        torch.manual_seed(i)
        torch.save(torchvision.models.resnet18().state_dict(), tmp_path/f'{i}.pth')
    p = protocol('folder', weights=str(tmp_path/'1.pth'), weights2=str(tmp_path/'2.pth'), other='resnet18')
    first = lambda net: net.encoder.conv1.weight if hasattr(net.encoder, 'conv1') else next(net.encoder.parameters())
    a, b = (torch.load(tmp_path/f'{i}.pth')['conv1.weight'] for i in (1, 2))
    dual = peers_of(p, 17, 2, 0)
    assert torch.equal(first(dual.nets[0]), a) and torch.equal(first(dual.nets[1]), b)
    assert torch.equal(first(peers_of(p, 17, 1, 0).nets[0]), a)
    m = METHODS['posedual_unlike']
    mixed = peers_of(replace(p, other_weights=p.weights), 17, 2, 0, kinds(m, 2))
    assert torch.equal(first(mixed.nets[1]), a), 'another architecture has weights of its own'
    assert 'a second network' in p.sentence() and 'a second network' not in replace(p, weights2=None).sentence()
