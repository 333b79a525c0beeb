"""Laws of the ledger: what is written is read, what is broken is told and left out, a difference comes with an
interval that covers"""
import json
import numpy as np
import pytest
from dataclasses import replace
from semipose.errors import UserError
from semipose.evaluate.coco import Matches, ap_of
from semipose.ledger import (Entry, Resamples, example_entry, largest_fall, paired, read_entry, read_ledger,
                             record, settings_key, summarise)

def test_key_is_of_what_differs():
    usual = dict(lr=1e-3, size=(256, 192), labels=None, new=None)
    key = settings_key(dict(name='a', title='A', lr=2e-3, size=[256, 192]), usual, steps=10)
    assert key == settings_key(dict(name='b', title='B', lr=2e-3, size=(256, 192), labels=None), usual,
                               steps=10) == settings_key(dict(steps=10, lr=2e-3), usual)
    for change in (dict(lr=3e-3), dict(lr=2e-3, size=(192, 256)), dict(lr=2e-3, labels=5), dict(lr=2e-3, new=0)):
        assert settings_key(change, usual, steps=10) != key, change
    assert settings_key(dict(lr=2e-3), usual, steps=11) != key

def test_largest_fall_is_the_worst_of_all_pairs():
    rng = np.random.default_rng(0)
    for n in (1, 2, 5, 30):
        ap = rng.uniform(0, 60, n)
        assert largest_fall(ap) == pytest.approx(max(ap[i] - ap[j] for i in range(n) for j in range(i, n)))

def test_what_is_written_is_read(tmp_path):
    e = example_entry('posedual_jc', 3, .1)
    path = record(e, tmp_path)
    assert path == tmp_path/'example'/'posedual_jc-seed3-abcdef.json' and read_entry(path) == e
    assert path.stat().st_size < 20_000 and list(path.parent.iterdir()) == [path]
    later = replace(e, curve=[*e.curve[:-1], dict(e.last, ap=99.)])
    assert record(later, tmp_path) == path and read_entry(path).ap == 99.
    record(replace(e, key='123456'), tmp_path)
    assert len(read_ledger(tmp_path)[0]) == 2, 'other settings take another file'

BROKEN = {
    'not JSON': (lambda d: '{"format": 1, ', 'not JSON'), 'empty': (lambda d: '', 'not JSON'),
    'a list': (lambda d: '[]', '"format"'), 'foreign': (lambda d: '{"AP": 3}', '"format"'),
    'newer': (lambda d: json.dumps(dict(d, format=99)), 'update semipose'),
    'no curve': (lambda d: json.dumps({k: v for k, v in d.items() if k != 'curve'}), "'curve' is missing"),
    'empty curve': (lambda d: json.dumps(dict(d, curve=[])), '"curve" is empty'),
    'a curve of words': (lambda d: json.dumps(dict(d, curve=['a'])), "no number 'step'"),
    'NaN': (lambda d: json.dumps(dict(d, curve=[dict(d['curve'][0], ap=float('nan'))])), "no number 'ap'"),
    'seed is a word': (lambda d: json.dumps(dict(d, seed='one')), "'seed' is 'one'"),
    'seed is true': (lambda d: json.dumps(dict(d, seed=True)), "'seed' is True"),
    'cost is a number': (lambda d: json.dumps(dict(d, cost=3)), "'cost' is 3"),
    'begun is gone': (lambda d: json.dumps(dict(d, begun=None)), "'begun' is None"),
    'no sentence': (lambda d: json.dumps(dict(d, sentence=None)), "'sentence' is None"),
    'revision is a number': (lambda d: json.dumps(dict(d, revision=7)), "'revision' is 7"),
    'no end': (lambda d: json.dumps(dict(d, seconds=float('nan'))), '"seconds"'),
    'endless cost': (lambda d: json.dumps(dict(d, cost=dict(forward=float('inf'), backward=1))), "no number 'forward'"),
    'no method': (lambda d: json.dumps(dict(d, method=None)), "'method' is None"),
    'people is a list': (lambda d: json.dumps(dict(d, people=[])), "'people' is []"),
    'nested deeply': (lambda d: '['*100_000, 'not JSON'),
    'a rank beyond all numbers': (lambda d: json.dumps(dict(d,
                                                            people=dict(d['people'], nets=[dict(d['people']['nets'][0],
                                                                rank=[10**30])]))), '"people"'),
    'an AP is null': (lambda d: json.dumps(dict(d, curve=[dict(d['curve'][0], ap1=None), d['curve'][1]])),
                      "'ap1' in row 1"),
    'a PCK is a word': (lambda d: json.dumps(dict(d, curve=[d['curve'][0], dict(d['curve'][1], pck='high')])),
                        "'pck' in row 2 of the field \"curve\" is 'high'"),
    'a step twice': (lambda d: json.dumps(dict(d, curve=[d['curve'][1], d['curve'][1]])), 'whole numbers that grow'),
    'no step after the start': (lambda d: json.dumps(dict(d, curve=d['curve'][:1])), 'whole numbers that grow'),
    'half a step': (lambda d: json.dumps(dict(d, curve=[d['curve'][0], dict(d['curve'][1], step=.5)])),
                    'whole numbers that grow'),
    'a best of words': (lambda d: json.dumps(dict(d, best=dict(d['best'], ap='high'))),
                        "'ap' of the field \"best\" is 'high'"),
    'a budget of many': (lambda d: json.dumps(dict(d, settings=dict(d['settings'], budget={}))), '"budget"'),
    'a step beyond all numbers': (lambda d: json.dumps(dict(d,
                                                            curve=[d['curve'][0], dict(d['curve'][1], step=10**400)])),
                                                            "no number 'step'"),
}

@pytest.mark.parametrize('name', BROKEN)
def test_a_broken_file_is_told_and_left_out(tmp_path, name):
    make, says = BROKEN[name]
    good = [record(example_entry(m), tmp_path) for m in ('naive', 'supervised')]
    bad = tmp_path/'example'/'posecons-seed0-abcdef.json'
    bad.write_text(make(example_entry('posecons').as_dict()))
    entries, skipped = read_ledger(tmp_path)
    assert [e.method for e in entries] == ['naive', 'supervised'] and len(skipped) == 1
    assert says in skipped[0] and str(bad) in skipped[0] and '\n' not in skipped[0], skipped
    with pytest.raises(UserError): read_entry(bad)
    assert all(p.exists() for p in good)

def test_other_files_of_a_results_folder_are_not_its_business(tmp_path):
    record(example_entry(), tmp_path)
    (tmp_path/'demo-seed10').mkdir()
    for name in ('summary.json', 'posecons.json'): (tmp_path/'demo-seed10'/name).write_text('{}')
    assert [len(x) for x in read_ledger(tmp_path)] == [1, 0]
    assert read_ledger(tmp_path/'nothing') == ([], [])
    assert len(read_ledger(tmp_path, 'example')[0]) == 1 and not read_ledger(tmp_path, 'demo')[0]

def test_mean_and_spread():
    es = [replace(example_entry('x', s), curve=[dict(step=0, ap=a, ap_ensemble=a, peak_unlabeled=1.)])
          for s, a in enumerate((10., 20., 60.))]
    s = summarise(es)
    assert (s['n'], s['mean'], s['low'], s['high']) == (3, 30., 10., 60.)
    assert s['sd'] == pytest.approx(np.std([10, 20, 60], ddof=1)) and s['values'] == {0: 10., 1: 20., 2: 60.}
    assert summarise(es[:1])['sd'] is None

def test_nothing_is_better_than_itself_and_a_difference_turns_round():
    a, b = ([example_entry(m, s, g) for s in (0, 1, 2)] for m, g in (('a', 0.), ('b', .06)))
    r = Resamples(400)
    same, there, back = paired(a, a, r), paired(a, b, r), paired(b, a, r)
    assert (same['difference'], same['low'], same['high'], same['sure']) == (0, 0, 0, False)
    assert there['sure'] and there['low'] > 0 and there['difference'] == pytest.approx(-back['difference'])
    assert (there['low'], there['high']) == pytest.approx((-back['high'], -back['low']))
    assert there['by_seed'] == pytest.approx({x.seed: y.ap - x.ap for x, y in zip(a, b)})

def test_only_seeds_that_both_have_count():
    a, b = [example_entry('a', s) for s in (0, 1)], [example_entry('b', s, .05) for s in (1, 2)]
    d = paired(a, b, Resamples(50))
    assert d['n'] == 1 and list(d['by_seed']) == [1] and d['difference'] == pytest.approx(b[0].ap - a[1].ap)
    assert paired(a[:1], b, Resamples(50)) is None

def test_no_interval_between_what_is_not_comparable():
    a, b = example_entry('a'), example_entry('b', 0, .2)
    assert paired([a], [replace(b, people=dict(b.people, val='ffffff'))],
                  Resamples(50)) is None, 'AP of other people is no difference at all'
    for other in (replace(b, terms='000000'), replace(b, people=None)):
        d = paired([a], [other], Resamples(50))
        assert d['low'] is None and d['high'] is None and not d['sure']
        assert d['difference'] == pytest.approx(b.ap - a.ap)
        asked = paired([a], [other], Resamples(50), any_terms=True)
        assert (asked['low'] is not None) == (other.terms != a.terms), 'what other settings change may be asked'
    assert paired([a], [replace(b, key='000000', steps=7)],
                  Resamples(50))['low'] is not None, 'a budget of its own does not forbid the comparison'

def test_both_methods_are_resampled_on_the_same_pictures():
    "so that what makes a picture hard cancels: the difference is steadier than either, and than of unpaired draws"
    a, b = example_entry('a', 0), example_entry('b', 0, .05)
    r, other = Resamples(600), Resamples(600, seed=1)
    assert np.std(r(b) - r(a)) < .7*np.std(r(b) - other(a))
    kept = r.memo[a.fingerprint]
    assert r(a) is not None and r.memo[a.fingerprint] is kept, 'computed once'
    assert np.array_equal(r(a), Resamples(600)(a)) and not np.array_equal(r(a), other(a))

def test_one_seed_agrees_with_a_bootstrap_written_out():
    a, b = example_entry('a', 0, people=60), example_entry('b', 0, .05, people=60)
    d, rng = paired([a], [b], Resamples(1500)), np.random.default_rng(5)
    def ap(e, rows):
        m, parts, at = Matches.from_dict(e.people['nets'][0]), [], 0
        for row in rows:
            pick = m.image == row
            parts.append((np.full(pick.sum(), at), m.rank[pick], m.matched[pick], m.ignored[pick])); at += 1
        image, rank, matched, ignored = map(np.concatenate, zip(*parts))
        return 100*ap_of(Matches(image, rank, matched, ignored, m.truths[rows]))
    draws = []
    for _ in range(600):
        rows = rng.integers(60, size=60)
        draws.append(ap(b, rows) - ap(a, rows))
    low, high = np.percentile(draws, [2.5, 97.5])
    assert abs(low - d['low']) < 1. and abs(high - d['high']) < 1., (low, high, d)

def test_the_interval_covers():
    "of 80 validation sets drawn from one population, about 95 % give an interval that holds the true difference"
    big = [example_entry(m, 999, g, people=40_000) for m, g in (('a', 0.), ('b', .03))]
    true, inside = big[1].ap - big[0].ap, []
    for s in range(80):
        d = paired([example_entry('a', s)], [example_entry('b', s, .03)], Resamples(200))
        inside.append(d['low'] <= true <= d['high'])
    assert .85 <= np.mean(inside) <= 1., np.mean(inside)

def test_several_seeds_widen_by_what_they_disagree():
    "seeds are drawn too: where they contradict each other, pictures alone would make the interval too narrow"
    a = [example_entry('a', s) for s in range(3)]
    agree, quarrel = ([example_entry('b', s, g) for s, g in zip(range(3), gains)]
                      for gains in ((.05, .05, .05), (-.05, .05, .15)))
    r = Resamples(400)
    width = lambda d: d['high'] - d['low']
    assert width(paired(a, quarrel, r)) > 1.8*width(paired(a, agree, r))

def test_never_narrower_than_students_and_never_sure_of_one_seed():
    from scipy.stats import ttest_rel
    a = [example_entry('a', s, people=4000) for s in range(3)]
    # skewed: two little, one much
    b = [example_entry('b', s, g, people=4000) for s, g in zip(range(3), (.02, .03, .16))]
    d, t = paired(a, b, Resamples(100)), ttest_rel([e.ap for e in b], [e.ap for e in a]).confidence_interval(.95)
    assert d['low'] <= t.low + 1e-9 and d['high'] >= t.high - 1e-9 and not d['sure'] and d['low'] < 0
    one = paired(a[2:], b[2:], Resamples(100))
    assert one['low'] > 0 and not one['sure'], 'what a second training of this seed would do is not in it'

def test_an_entry_of_two_networks_means_their_aps():
    e = example_entry('a')
    two = replace(e, people=dict(e.people, nets=[e.people['nets'][0], example_entry('b', 0, .3).people['nets'][0]]))
    r = Resamples(30)
    each = [Resamples(30)(replace(e, people=dict(e.people, nets=[n]))) for n in two.people['nets']]
    assert np.allclose(r(two), np.mean(each, 0))

def test_fields_are_complete():
    e = example_entry()
    assert set(e.as_dict()) == set(Entry.__dataclass_fields__) and json.loads(json.dumps(e.as_dict())) == e.as_dict()

@pytest.mark.parametrize('change', [dict(people=dict(val='a')), dict(people=dict(val='a', nets=[])),
                                    dict(people=dict(val='a',
                                                     nets=[dict(found=[1], rank=[], matched=[], ignored=[],
                                                                truths=[1])])),
                                    dict(cost={}), dict(steps=0)])
def test_what_a_table_would_stumble_over_is_left_out(tmp_path, change):
    bad = tmp_path/'example'/'posecons-seed0-abcdef.json'
    bad.parent.mkdir()
    bad.write_text(json.dumps(dict(example_entry('posecons').as_dict(), **change)))
    entries, skipped = read_ledger(tmp_path)
    assert not entries and len(skipped) == 1 and str(bad) in skipped[0]

def test_three_seeds_cover_a_new_laboratory():
    """seeds differ far more than pictures do: of many laboratories with three seeds each, about 95 % have an
    interval that holds the true difference"""
    rng, inside = np.random.default_rng(0), []
    class Known(Resamples):
        def __call__(self, e, nets=None): return np.full(100, e.ap) + .01*rng.standard_normal(100)
    def with_ap(m, s, a):
        return replace(example, method=m, seed=s, curve=[dict(example.curve[-1], ap=a, ap1=a)],
                       people=dict(example.people, val=str(s)))
    example = example_entry(people=5)
    for _ in range(200):
        d = paired([with_ap('a', s, 0.) for s in range(3)], [with_ap('b', s, 5 + 2*rng.standard_normal())
                                                             for s in range(3)], Known(100))
        inside.append(d['low'] <= 5 <= d['high'])
    assert .88 <= np.mean(inside) <= .995, np.mean(inside)

def test_seeds_of_one_validation_set_share_its_pictures():
    "pictures that all seeds share are not averaged away: three copies of one seed know no more than one"
    a, b = example_entry('a', 0), example_entry('b', 0, .05)
    three = lambda e: [replace(e, seed=s) for s in range(3)]
    r = Resamples(500)
    width = lambda d: d['high'] - d['low']
    one = width(paired([a], [b], r))
    assert width(paired(three(a), three(b), r)) == pytest.approx(one, rel=.1)
    other = lambda es: [replace(e, people=dict(e.people, val=f'{e.seed:06x}')) for e in es]
    assert width(paired(other(three(a)), other(three(b)), r)) < .9*one

def test_a_pair_beside_one_network_is_compared_on_the_network_they_share():
    "the second network has a start of its own: its luck is no gain"
    one, better, lucky = (example_entry('a', 0), example_entry('b', 0, .03), example_entry('c', 0, .3))
    pair = replace(better, curve=[dict(r, ap=(r['ap'] + l['ap'])/2, nets=[*r['nets'], *l['nets']])
                                  for r,l in zip(better.curve, lucky.curve)],
                   people=dict(better.people, nets=[*better.people['nets'], *lucky.people['nets']]))
    assert pair.each == [better.ap, lucky.ap] and pair.ap > better.ap + 5
    r = Resamples(100)
    want = paired([one], [better], r)
    for got in (paired([one], [pair], r), paired([pair], [one], r)):
        sign = 1 if got['difference'] > 0 else -1
        assert sign*got['difference'] == pytest.approx(want['difference'])
        assert sorted(sign*got[k] for k in ('low', 'high')) == pytest.approx([want['low'], want['high']])
    swapped = replace(pair, curve=[dict(r, nets=r['nets'][::-1]) for r in pair.curve],
                      people=dict(pair.people, nets=pair.people['nets'][::-1]))
    assert paired([pair], [swapped], r)['difference'] == pytest.approx(0)
    assert paired([one], [swapped], r)['difference'] > want['difference'] + 5
    assert replace(pair, curve=[{k: v for k,v in r.items() if k != 'nets'}
                                for r in pair.curve]).ap_of_first(1) == pair.ap

def test_an_entry_of_before_a_field_came_is_read(tmp_path):
    "the ledger of a repository is older than the code that reads it"
    d = example_entry('naive').as_dict()
    late = ('people', 'own', 'line', 'source', 'revision')
    path = tmp_path/'old.json'
    path.write_text(json.dumps({k: v for k,v in d.items() if k not in late}))
    e = read_entry(path)
    assert e.ap == example_entry('naive').ap and all(getattr(e, k) is None for k in late)
    path.write_text(json.dumps({**d, 'source': 'x'}))
    with pytest.raises(UserError, match="the field 'source' is 'x'"): read_entry(path)

@pytest.mark.parametrize('people, seed', [(1, 0), (7, 1), (60, 2), (200, 3)])
def test_fast_resamples_are_ap_to_the_last_bit(people, seed):
    "crowds of detections, ignored ones, nobody found, ties of rank between pictures, and within one"
    from semipose.ledger import resampled
    rng = np.random.default_rng(seed)
    for ties in (False, True):
        for _ in range(4):
            each = rng.integers(0, 4, people)
            D = int(each.sum())
            rank = rng.permutation(D) if not ties else rng.integers(0, max(D//2, 1), D)
            image = np.repeat(np.arange(people), each)
            order = np.lexsort((rank, image))
            m = Matches(image, rank[order], rng.integers(0, 1024, D), rng.integers(0, 1024, D)*(rng.random(D) < .2),
                        rng.integers(0, 3, people))
            rows = rng.integers(people, size=(50, people))
            assert np.array_equal(resampled(m, rows), ap_of(m, rows))

def test_the_ledgers_intervals_are_those_of_ap_of():
    from pathlib import Path
    from semipose.ledger import resampled
    entries = [e for e in read_ledger(Path(__file__).parents[1]/'results')[0] if e.people][::40]
    for e in entries:
        m = Matches.from_dict(e.people['nets'][0])
        rows = np.random.default_rng(0).integers(len(m.truths), size=(20, len(m.truths)))
        assert np.array_equal(resampled(m, rows), ap_of(m, rows))

def test_a_measure_is_no_network():
    "AP at OKS .50 in a row is not the AP of network 50, nor lost with the networks' own numbers"
    from semipose.tables import of_network
    e = example_entry()
    more = dict(ap1=1., ap2=2., ap50=80., ap75=20., pck=3., sup1=.1)
    e = replace(e, curve=[{**r, **more, 'nets': [dict(ap=r['ap'], pck=4.), dict(ap=30., pck=2.)]} for r in e.curve],
                people=None)
    assert e.each == [e.ap, 30.]
    second = of_network(e, 2)
    assert (second.ap, second.each, second.last['pck']) == (30., [30.], 2.)
    for k in ('ap1', 'ap2', 'ap50', 'ap75'): assert second.last[k] == more[k]
    assert e.outcome == replace(e, curve=[{k: v for k,v in r.items() if k not in more} for r in e.curve]).outcome

OLD = dict(step=0, ap=40., pck=70., ap_ensemble=42., peak_unlabeled=.5, ap1=38., ap2=42., pck1=69., pck2=71.,
           peak_unlabeled1=.4, peak_unlabeled2=.6, sup1=.1, sup2=.2,
           seconds=1.)

def test_an_entry_of_before_networks_had_a_list_says_the_same(tmp_path):
    "as they stand in results/: ap1, ap2 beside all others; a row of today passes unchanged, and so does a measure"
    from semipose.watch import each_of, per_network
    new = per_network(OLD)
    assert new['nets'] == [dict(ap=38., pck=69., peak_unlabeled=.4), dict(ap=42., pck=71., peak_unlabeled=.6)]
    assert per_network(new) is new
    assert {k: v for k, v in new.items() if k != 'nets'} == {k: OLD[k]
                                                             for k in ('step', 'ap', 'pck', 'ap_ensemble',
                                                                       'peak_unlabeled', 'sup1', 'sup2', 'seconds')}
    assert each_of(OLD) == each_of(new) == [38., 42.] and each_of(OLD, 'pck') == [69., 71.]
    assert each_of(dict(ap=1., ap50=2.)) == []
    assert per_network(dict(OLD, ap50=80.))['ap50'] == 80.
    assert len(per_network({k: v for k, v in OLD.items() if not k.endswith('2')})['nets']) == 1
    d = dict(example_entry().as_dict(), format=1, curve=[OLD, dict(OLD, step=100, ap1=1., ap2=99.)])
    (tmp_path/'old.json').write_text(json.dumps(d))
    e = read_entry(tmp_path/'old.json')
    assert e.each == [1., 99.] and e.first == new and e.outcome == 'collapsed', 'outcome goes by network 1'

@pytest.mark.parametrize('nets', [[dict(pck=1.)], [], 'two', [1.], [dict(ap=None)]])
def test_networks_that_do_not_tell_ap_are_refused(tmp_path, nets):
    d = example_entry().as_dict()
    (tmp_path/'x.json').write_text(json.dumps(dict(d, curve=[dict(r, nets=nets) for r in d['curve']])))
    with pytest.raises(UserError, match='"curve"'): read_entry(tmp_path/'x.json')

def test_a_newer_entry_is_not_called_damaged_and_an_older_one_is_written_as_new(tmp_path):
    from semipose.ledger import FORMAT
    d = example_entry().as_dict()
    (tmp_path/'x.json').write_text(json.dumps(dict(d, format=FORMAT + 1)))
    with pytest.raises(UserError, match='update semipose'): read_entry(tmp_path/'x.json')
    assert json.loads(record(replace(example_entry(), format=1), tmp_path).read_text())['format'] == FORMAT == 2
