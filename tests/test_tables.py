"""Laws of the tables: what stands in them is what the ledger says, gaps stay gaps, published numbers are the
paper's, cost is counted"""
import re
from dataclasses import replace
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from semipose import methods
from semipose.errors import UserError
from semipose.ledger import Resamples, example_entry, record
from semipose.methods import METHODS
from semipose.protocols import protocol, published
from semipose.tables import (at_work, between, by_method, compute_figure, equal_text, failed_figure, family_table,
                             gain_text, gains_figure, labels_figure, ledger_report, longer,
                             main_figure, mean_curve, one_terms, order_rows, pm, protocol_html, rows, seeds_text,
                             shared_seeds, table_rows, there_text, variants)

FAST = Resamples(60)

def curve(*ap, every=100):
    return [dict(step=i*every, ap=a, ap1=a, ap_ensemble=a + 1, peak_unlabeled=.6 - .01*i, seconds=float(i))
            for i, a in enumerate(ap)]
def entry(method, seed=0, *ap, protocol='coco-1k', gain=0., **more):
    ap = ap or (30., 31., 32.)
    return replace(example_entry(method, seed, gain, protocol=protocol), curve=curve(*ap), steps=100*(len(ap) - 1),
                   **more)

def test_a_row_is_its_entries():
    es = [entry('supervised', s, 30, 40, 35 + s) for s in (0, 1)] + [entry('posedual', s, 30, 20, 41 + 3*s, gain=.1)
                                                                     for s in (0, 1)]
    a, b = rows(es, FAST)
    assert (a['method'], a['n'], a['ap'], a['gain'], a['published']) == ('supervised', 2, 35.5, None, 31.5)
    assert (b['method'], b['n'], b['ap'], b['published']) == ('posedual', 2, 42.5, 41.5)
    assert b['sd'] == pytest.approx(np.std([41, 44], ddof=1))
    assert b['gain']['difference'] == pytest.approx(7) and b['gain']['by_seed'] == {0: 6., 1: 8.}
    assert b['fall'] == 10. and a['fall'] == pytest.approx(4.5) and b['start'] == 30
    assert b['peak'] == pytest.approx(.58/.6) and b['ensemble'] == 43.5

def test_mpii_stands_beside_its_own_measure():
    "PCKh beside the printed PCKh, on the page and in the terminal; AP has no printed one"
    def made(m, *pckh):
        return replace(entry(m, 0, 50, 60, protocol='mpii-aic-hrnet'),
                       curve=[dict(r, pckh=p) for r, p in zip(curve(50, 60), pckh)])
    es = [made('supervised', 80., 85.), made('posedual_jc', 80., 87.5)]
    a, b = rows(es, FAST)
    assert (a['pckh'], a['published_pckh'], a['published']) == (85., 92.3, None)
    assert (b['pckh'], b['published_pckh']) == (87.5, 93.0)
    page = protocol_html(es, FAST)
    assert 'PCKh@0.5' in page and '>87.5<' in page and '>93.0<' in page and 'published, test' in page
    assert [(r['PCKh'], r['paper']) for r in table_rows(es, FAST, everything=False)] == [('85.0', '92.3 PCKh'),
        ('87.5', '93.0 PCKh')]
    bare = [entry(m, 0, 50, 60, protocol='coco-1k') for m in ('supervised', 'posedual_jc')]
    assert rows(bare, FAST)[0]['pckh'] is None and 'PCKh' not in protocol_html(bare, FAST)
    assert 'PCKh' not in table_rows(bare, FAST)[0]

def test_three_networks_are_told_apart():
    es = [entry('supervised'), replace(entry('sspcm'), curve=[dict(r, ap2=r['ap'] + 1, ap3=r['ap'] + 2)
                                                              for r in curve(30., 31., 32.)])]
    assert '32.0 / 33.0 / 34.0' in protocol_html(es, FAST)

def test_cost_is_steps_times_pictures():
    e = entry('posedual', 0, 30, 40, 44, cost=dict(forward=128, backward=80))
    [r] = rows([e], FAST)
    assert (r['forward'], r['backward'], r['work']) == (25600, 16000, 57600)
    assert at_work(e, e.work) == 44 and at_work(e, e.work/2) == 40 and at_work(e, e.work/4) == 35
    assert at_work(e, 9*e.work) == 44
    cheap = entry('posecons', 0, 30, 33, 36, cost=dict(forward=64, backward=40))
    by = {r['method']: r for r in rows([e, cheap], FAST)}
    assert by['posedual']['equal'] == 40 and by['posecons']['equal'] == 36

def test_order_and_gaps():
    es = [entry('posedual_jc'), entry('supervised'), entry('naive')]
    assert list(by_method(es)) == ['supervised', 'naive', 'posedual_jc']
    t = table_rows(es, FAST)
    assert len(t) == len(METHODS) and sum(r['AP'] != '' for r in t) == 3
    assert len(table_rows(es, FAST, everything=False)) == 3
    assert [r['method'] for r in table_rows([*es, entry('mine')], FAST, everything=False)][-1] == 'mine', (
        'a method that this semipose does not know stands at the end')

def test_only_equal_terms_share_a_table():
    es = [entry('supervised', s) for s in (0, 1)] + [entry('naive', 0)]
    odd = entry('naive', 1, 90, 90, terms='000000')
    kept, others = one_terms([*es, odd])
    assert others == 1 and odd not in kept and len(kept) == 3
    short = entry('naive', 0, 30, 99, key='111111')
    kept, others = one_terms([*es, short])
    assert others == 1 and [e.steps for e in kept if e.method == 'naive'] == [200], 'of two budgets the longer'
    assert one_terms([]) == ([], 0)

def test_the_protocol_decides_what_stands_in_its_table():
    "not the majority: twenty trials with other settings, or older ones with other steps, do not turn the table round"
    demo = protocol('demo')
    def made(m, seed=0, terms='aaaaaa', steps=demo.steps, **other):
        return replace(entry(m, seed, 30, 40, protocol='demo', terms=terms, settings=dict(demo.as_dict(), **other)),
                       steps=steps)
    usual = [made(m, s) for m in ('supervised', 'naive', 'posecons') for s in (0, 1)]
    tried = [made(m, 0, 'bbbbbb', lam=4.) for m in list(METHODS)[:20]]
    older = [made(m, 5, steps=3*demo.steps) for m in list(METHODS)[:9]]
    kept, others = one_terms([*tried, *older, *usual])
    assert kept == usual and others == 29
    assert one_terms(tried) == (tried, 0), 'where nothing ran as the protocol says, the commonest stands'

def test_rows_of_different_things_are_not_averaged():
    demo = protocol('demo').as_dict()
    pair = lambda seed, **kw: entry('posedual_unlike', seed, protocol='demo', settings=dict(demo, **kw))
    kept, others = one_terms([pair(0), pair(1, other='hrnet_w48'), pair(2, other='hrnet_w48')])
    assert [e.seed for e in kept] == [0] and others == 2, 'the second network is the protocol\'s'
    mine = [entry('mine', s, own=dict(method=m, copies={}, networks=[])) for s, m in enumerate(('one', 'two', 'two'))]
    kept, others = one_terms(mine)
    assert [e.seed for e in kept] == [1, 2] and others == 1

def test_unlike_networks_have_their_own_baseline_and_no_common_cost():
    ends = dict(supervised=(40, 0.), supervised_other=(45, .1), posedual_other=(53, .2), posedual_unlike=(50, .2),
                posecons=(41, 0.))
    es = [entry(m, 0, 30, ap, gain=g) for m, (ap, g) in ends.items()]
    by = {r['method']: r for r in rows(es, FAST)}
    assert by['posedual_other']['gain']['difference'] == 8. and by['posecons']['gain']['difference'] == 1.
    assert by['supervised_other']['gain'] is None and by['posedual_unlike']['gain'] is None
    assert by['posedual_other']['equal'] is None and by['posecons']['equal'] == 41
    assert 'PoseDual, two others' not in ' '.join(texts(compute_figure(es, lines=('posedual_other', 'posecons'))))
    text = re.sub('<[^>]+>', ' ', protocol_html(es, FAST))
    assert '48.7 / 50.9' in text, 'what the paper prints of each network'

def test_a_gain_of_fewer_seeds_says_so():
    es = [entry('supervised', s) for s in (10, 11)] + [entry('posecons', s, 30, 33, 36, gain=.1) for s in (11, 12, 14)]
    a, b = rows(es, FAST)
    assert (a['seeds'], b['seeds']) == ('10, 11', '11, 12, 14') and gain_text(b).endswith('(1 of 3 seeds)')
    assert not b['gain']['sure'] and gain_text(a) == ''
    assert '(1 of 3 seeds)' in protocol_html(es, FAST)
    assert [seeds_text(x) for x in ((3,), (12, 10, 11), (1, 2, 5, 7, 8, 9))] == ['3', '10–12', '1, 2, 5, 7–9']

def test_fewer_seeds_are_seen_from_the_same_line():
    es = [entry('supervised', s, 30 + 10*s, 30 + 10*s) for s in (0, 1)] + [entry('posecons', 1, 40, 44),
                                                                           entry('threshold_04', 1, 40, 41)]
    fig = compute_figure(es)
    assert max(l.get_ydata()[-1] for l in fig.axes[0].lines
               if len(l.get_xdata())) == pytest.approx(39), 'seed 1 begins 5 above the mean'
    assert 'moved' in fig.axes[0].get_title('left')
    assert 'moved' in ' '.join(t.get_text() for t in failed_figure(es).texts)
    assert 'moved' not in compute_figure([e for e in es if e.seed == 1]).axes[0].get_title('left')

def test_without_a_start_the_line_is_the_supervised_network_s():
    "COCO's protocols have none: there AP and peak of step 0 are those of a network that knows nothing"
    none = dict(settings=dict(start_steps=0))
    peaks = lambda e, last: replace(e, curve=[dict(r, peak_unlabeled=p) for r, p in zip(e.curve, (.01, last))])
    es = [peaks(entry('supervised', 0, 0, 31.5, **none), .5), peaks(entry('threshold_04', 0, 0, 20, **none), .25)]
    assert [r['peak'] for r in rows(es, FAST)] == [1., .5]
    assert 'supervised network (31.5)' in ' '.join(t.get_text() for t in failed_figure(es).texts)
    assert rows(es[1:], FAST)[0]['peak'] is None
    assert 'nan' not in protocol_html(es[1:] + [entry('posecons', 0, 0, 2, **none)], FAST).split('<svg')[0]
    with pytest.raises(UserError, match='sweep supervised'): failed_figure(es[1:])

def test_two_kinds_of_peak_are_never_in_one_column():
    "runs of before know the running one alone: a table that holds one of them shows that of all, and says so"
    both = lambda e: replace(e, curve=[dict(r, peak_reestimated=r['peak_unlabeled']/(1 + i))
                                       for i, r in enumerate(e.curve)])
    old, new = entry('supervised', 0, 30, 40), both(entry('posecons', 0, 30, 41))
    assert {(r['method'], r['peak_kind']) for r in rows([old, new], FAST)} == {('supervised', 'peak_unlabeled'),
        ('posecons', 'peak_unlabeled')}
    assert rows([old, new], FAST)[1]['peak'] == pytest.approx(new.last['peak_unlabeled']/new.first['peak_unlabeled'])
    mine = rows([both(old), new], FAST)
    assert {r['peak_kind'] for r in mine} == {'peak_reestimated'}
    assert mine[1]['peak'] == pytest.approx(new.last['peak_reestimated']/new.first['peak_reestimated'])
    assert 'running batch statistics' in protocol_html([old, new], FAST)
    assert 're-estimated' not in protocol_html([old, new], FAST)
    assert 'people, with batch statistics re-estimated on plain crops, share of the start' in protocol_html([both(old),
        new], FAST)


def test_what_a_changed_setting_changes():
    """paired with the usual run of the same seed, and with supervised training as usual; what no setting tells apart
    is told apart all the same"""
    lam = lambda v: dict(settings=dict(name='coco-1k', lam=v))
    usual = [entry(m, s, 30, 40 + 2*s + 3*(m == 'posedual'), **lam(1.)) for m in ('supervised', 'posedual')
             for s in (0, 1)]
    # one network: no matter which the other is
    light = [entry('posedual', s, 30, 50 + s, gain=.05, terms='111111', settings=dict(lam=.25, other='tiny'))
             for s in (0, 1, 2)]
    long = entry('posedual', 0, 30, 50, 60, key='222222', **lam(1.))
    other = entry('naive', 0, 30, 20, terms='333333', **lam(1.))
    es = [*usual, *light, long, other]
    naive, a, b = variants(es, FAST)
    assert (a['method'], a['changed'], a['words'], a['n'], a['ap']) == ('posedual', dict(lam=.25),
                                                                        'unlabelled weight 0.25', 3, 51.)
    assert a['change']['by_seed'] == {0: 7., 1: 6.} and a['gain']['by_seed'] == {0: 10., 1: 9.}
    assert a['change']['n'] == 2 and a['change']['low'] is not None
    assert (b['changed'], b['words'], b['change']['difference']) == (dict(steps=200), 'steps 200', 17.)
    assert (naive['changed'], naive['words'], naive['change'], naive['gain']['difference']) == ({},
        'other people, start, precision or formula', None, -20.)
    assert variants(usual, FAST) == [] and variants([], FAST) == []
    page = re.sub('<[^>]+>', ' ', protocol_html(es, FAST))
    assert 'unlabelled weight 0.25' in page and 'steps 200' in page
    assert 'with other settings' not in protocol_html(usual, FAST)

def test_words_of_a_difference():
    gain = dict(difference=4.66, low=2.1, high=7.04, sure=True)
    assert between(gain) == '+4.7 [+2.1, +7.0] *' and between(gain, html=True) == '<b>+4.7 [+2.1, +7.0]</b>'
    assert between(dict(gain, sure=False)) == '+4.7 [+2.1, +7.0]'
    assert between(dict(gain, low=None, high=None, sure=False)) == '+4.7' and between(None) == ''
    assert (pm(1.25, .04), pm(3.), pm(None)) == ('1.2 ± 0.0', '3.0', '')

def test_mean_curve_takes_common_steps():
    a, b = entry('naive', 0, 10, 20, 30), replace(entry('naive', 1, 20, 40, 50), curve=curve(20, 40, 50)[::2])
    x, y = mean_curve([a, b])
    assert x.tolist() == [0, 200] and y.tolist() == [15, 40]

def texts(fig):
    return [t.get_text() for ax in fig.axes for t in ax.findobj(lambda o: hasattr(o, 'get_text')) if t.get_text()]

def test_gains_are_sorted_and_filled_only_where_sure():
    curves = dict(supervised=((30, 31, 32), 0.), posecons=((30, 30, 50), .2), naive=((30, 10, 5), -.3),
                  posedual=((30, 31, 32.2), .002))
    made = lambda seed: [entry(m, seed, *ap, gain=g) for m, (ap, g) in curves.items()]
    some = rows([*made(0), *made(1)], FAST)
    ax = gains_figure(some).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ['Plain consistency', 'PoseDual', 'PoseCons']
    big = [l for l in ax.lines if l.get_marker() == 'o' and l.get_markersize() > 6]
    sure = {r['title']: r['gain']['sure'] for r in some if r['gain']}
    assert [l.get_markerfacecolor() != 'white' for l in big] == [sure[t]
                                                                 for t in ('Plain consistency', 'PoseDual', 'PoseCons')]
    assert sure['PoseCons'] and sure['Plain consistency']
    assert not any(r['gain']['sure'] for r in rows(made(0), FAST) if r['gain']), 'one training'

def test_a_ranking_is_over_the_same_seeds_or_says_whose_it_is_not():
    es = [entry(n, s) for n, seeds in dict(supervised=range(5), posecons=range(5), naive=range(3), posedual=range(3),
                                           posecons_jc=range(3), sspcm=range(2)).items() for s in seeds]
    kept = shared_seeds(es)
    assert {e.seed for e in kept} == {0, 1, 2} and len(kept) == 6*3 - 1, 'seeds 3 and 4 are of two rows in six'
    ax = gains_figure(rows(kept, FAST)).axes[0]
    named = [t.get_text() for t in ax.get_yticklabels()]
    assert sorted(named) == ['Plain consistency', 'PoseCons', 'PoseCons + JC', 'PoseDual', 'SSPCM (0, 1)']
    assert 'seeds: 0–2, or those in brackets, below the line' in ' '.join(t.get_text() for t in ax.figure.texts)
    groups = [t.get_text() for t in ax.texts]
    assert sorted(set(groups)) == ['later methods', 'plain consistency', 'the method'] and len(groups) == len(named)
    assert 'brackets' not in ' '.join(t.get_text() for t in gains_figure(rows([e for e in kept if e.method != 'sspcm'],
        FAST)).texts)

def test_nothing_is_ranked_across_seeds():
    "a row of one easy seed does not stand above rows of more"
    ends = dict(supervised=(30, 30, 30), posecons=(31, 32, 33), posedual=(34, 35, 36), naive=(99,), hard_easy=(50, 60))
    es = [entry(n, s, 30, 30, ap) for n, aps in ends.items() for s, ap in enumerate(aps)]
    ax = gains_figure(rows(es, FAST)).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ['Plain consistency (0)', 'Hard-easy (0, 1)', 'PoseCons',
                                                            'PoseDual']
    lines = [l.get_ydata()[0] for l in ax.lines if l.get_linestyle() == '--' and len(set(l.get_ydata())) == 1]
    assert lines == [.5, 1.5], 'a line where the seeds change'
    page = protocol_html([*es, entry('pair_a90', 0), entry('pair_a90', 1)], FAST)
    assert 'seeds: 0, 1, or those in brackets' in page, 'the page ranks over the seeds that half of the rows have'

def test_an_interval_that_leaves_the_picture_says_so():
    some = [dict(title=t, group='pairs', method='pair_a90', gain=dict(n=n, low=low, high=high, difference=0.,
                                                                      sure=False, by_seed={i: 0. for i in range(n)}))
            for t, n, low, high in (('wide', 2, -90., 80.), ('narrow', 3, -2., 2.))]
    ax = gains_figure(some).axes[0]
    assert sorted(l.get_marker() for l in ax.lines if l.get_marker() in '<>') == ['<', '>'] and ax.get_xlim() == (-5, 5)

def test_failed_attempts_have_their_panels():
    names = ['supervised', 'naive', 'posecons', 'threshold_02', 'threshold_08', 'threshold_08_equal', 'foreground_04',
             'certain_08', 'mean_teacher', 'mean_teacher_99', 'balanced',
             'foreground_x10', 'easy_easy', 'hard_hard', 'hard_easy']
    fig = failed_figure([entry(n) for n in names])
    legends = {ax.get_title(loc='left'): [t.get_text() for t in ax.get_legend().get_texts()] for ax in fig.axes}
    assert legends == {'A: joints, peak > t': ['A1: t = 0.2', 'A4: t = 0.8'],
                       'A: pixels, response > t': ['A2: t = 0.4'], 'A: pixels, max(p, 1-p) > t': ['A4: t = 0.8'],
                       'B: mean teacher': ['B1: 0.99', 'B2: 0.999'], 'C: classes': ['balanced', 'x 10'],
                       'D: other pairs (teacher-student)': ['D1: easy-easy', 'D2: hard-hard', 'D3: hard-easy']}
    # dashed, PoseCons, plain consistency, two thresholds, one of them on the equal pair too; and one threshold
    assert [len(ax.lines) for ax in fig.axes[:2]] == [6, 4]
    said = lambda names: ' '.join(t.get_text() for t in failed_figure([entry(n) for n in names]).texts)
    assert 'Dotted' in said(names) and 'Solid' in said(names)
    few = said(['supervised', 'threshold_08_equal', 'easy_easy'])
    assert 'Dotted' in few and 'Solid' not in few, 'only what is drawn is explained'
    with pytest.raises(UserError, match='dashed'): failed_figure([entry('threshold_02')])
    assert sum('not run' in t for t in texts(failed_figure([entry('supervised')]))) == 6

def test_a_table_like_the_papers():
    es = [entry('supervised', 0, 1, 29.5), entry('posedual_jc', 0, 1, 44.),
          entry('supervised', 0, 1, 45., protocol='coco-5k')]
    html = family_table(es, 'COCO')
    cells = [re.sub('<[^>]*>', ' ', r).split() for r in html.split('<tr>')]
    assert 'Supervised Supervised, A 29.5 31.5 45.0 46.4 51.1 67.1'.split() in cells
    assert 'PoseDual + JC Dual, A+JC 44.0 44.6 55.6 59.6'.split() in cells
    assert 'PoseCons + JC Single, A+JC 42.1 52.3 57.3'.split() in cells, 'a gap where nothing ran'
    assert any('48.7 / 50.9' in ' '.join(c) for c in cells), 'a pair of two kinds has two numbers'
    assert 'published' not in family_table([entry('supervised', protocol='lsp-100')], 'Leeds Sports Pose')
    assert family_table(es, 'synthetic people') == '' and published('posedual_jc', 'coco-1k') == 44.6

def test_labels_on_the_axis():
    es = [entry('supervised', 0, 1, a, protocol=p, labeled=n)
          for p, n, a in (('lsp-100', 100, 5.), ('lsp-250', 250, 10.), ('lsp-500', 500, 20.))]
    ax = labels_figure(es, 'Leeds Sports Pose').axes[0]
    line = next(l for l in ax.lines if len(l.get_xdata()) == 3)
    assert list(line.get_xdata()) == [100, 250, 500] and list(line.get_ydata()) == [5, 10, 20]
    assert ax.get_xscale() == 'log'
    assert 'Supervised  20.0' in texts(ax.figure), 'one line of numbers: nothing to tell apart'
    words = texts(labels_figure([*es, entry('posedual', 0, 1, 7., protocol='lsp-250', labeled=250)],
                                'Leeds Sports Pose', methods=('supervised', 'posedual')))
    assert {'Supervised  20.0 at 500', 'PoseDual  7.0 at 250'} <= set(words)

def test_a_page_of_all(tmp_path):
    with pytest.raises(UserError, match='semipose sweep'): ledger_report(tmp_path)
    for e in [entry(n, s) for n in ('supervised', 'naive', 'posecons', 'threshold_04')
              for s in (0, 1)] + [entry('supervised', protocol='demo')]:
        record(e, tmp_path)
    (tmp_path/'coco-1k'/'naive-seed9-abcdef.json').write_text('{')
    html = ledger_report(tmp_path, draws=30).read_text()
    assert (tmp_path/'report.html').exists() and 'naive-seed9' in html and 'damaged' in html and html.count('<svg') >= 4
    for word in ('Plain consistency', 'PoseCons', '31.5', 'Not run', 'made up', 'coco-1k', 'demo'):
        assert word in html, word
    assert 'http' not in re.sub(r'http://www.w3.org\S*', '', html), 'a page asks nothing of the network'
    assert ledger_report(tmp_path, tmp_path/'x.html', draws=30) == tmp_path/'x.html'

def test_the_finding_of_a_ledger_in_one_picture(tmp_path):
    "of the protocol that most runs have, and of the main table's groups alone"
    with pytest.raises(UserError, match='semipose sweep'): main_figure(tmp_path)
    record(entry('supervised'), tmp_path)
    with pytest.raises(UserError, match='no gain'): main_figure(tmp_path)
    for i,n in enumerate(('naive', 'posedual', 'threshold_04', 'pair_a90')):
        record(entry(n, 0, 30, 31, 30 + i), tmp_path)
    for n in ('supervised', 'sspcm'): record(entry(n, protocol='demo'), tmp_path)
    shown = [t.get_text() for t in main_figure(tmp_path).axes[0].get_yticklabels()]
    assert shown == ['Plain consistency', 'PoseDual']

def test_work_is_drawn():
    es = [entry('supervised', cost=dict(forward=16, backward=16)),
          entry('posecons', cost=dict(forward=64, backward=40)), entry('balanced', cost=dict(forward=64, backward=40))]
    ax = compute_figure(es).axes[0]
    ends = sorted(l.get_xdata()[0] for l in ax.lines if l.get_marker() in ('o', 'x', 's')
                  and len(np.atleast_1d(l.get_xdata())) == 1)
    assert ends == pytest.approx([200*48/1e3, 200*144/1e3, 200*144/1e3])
    assert any('PoseCons' in t for t in texts(ax.figure)) and not any('balanced' in t for t in texts(ax.figure))

def test_the_published_order_is_checked_step_by_step():
    ends = dict(supervised=(32., 0.), pseudopose=(50., .2), posecons=(40., .1), posedual=(40.1, .1001),
                balanced=(32., 0.))
    made = lambda s: [entry(m, s, 1, ap, gain=g) for m, (ap, g) in ends.items()]
    assert {r['verdict'] for r in order_rows(made(0), FAST)} == {'one training'}
    es = [*made(0), *made(1)]
    out = order_rows(es, FAST)
    assert [(r['from'], r['to']) for r in out] == [('Supervised', 'PseudoPose'), ('PseudoPose', 'PoseCons'),
                                                   ('PoseCons', 'PoseDual')]
    assert [r['verdict'] for r in out] == ['agrees', 'the other way round', 'not decided']
    assert [r['published'] for r in out] == ['+5.7', '+1.3', '+3.0']
    assert order_rows(es[:1], FAST) == []
    down = order_rows([entry(m, s, 1, ap, gain=g, protocol='coco-5k')
                       for m, ap, g in (('data_distillation', 50., .2), ('posecons', 40., .1)) for s in (0, 1)], FAST)
    assert [(r['published'], r['verdict']) for r in down] == [('-1.1', 'agrees')], (
        'at 5,000 labels the published step goes down, and so does ours')

def test_the_published_number_stands_beside_ours_where_there_is_one():
    "and a protocol of our own has no empty column for it"
    head = lambda html: re.findall(r'<th[^>]*>(.*?)</th>', html.split('</tr>')[0])
    es = [entry('supervised', 0), entry('posedual', 0, gain=.1)]
    a, b = (protocol_html([replace(e, protocol=p) for e in es], FAST) for p in ('coco-1k', 'demo'))
    assert head(a)[2:6] == ['AP', 'best on val', 'published', 'gain'] and '<td>41.5</td>' in a.replace(' class=""', '')
    assert head(b)[2:5] == ['AP', 'paper, COCO 1K', 'gain']
    assert '<td>41.5</td>' in b.replace(' class=""', ''), 'elsewhere the paper stands beside it for the order'
    [r] = rows([replace(entry('posedual', 0, 30, 41, 40), best=dict(step=100, ap=41.))], FAST)
    assert (r['ap'], r['best']) == (40, 41.)

def test_what_has_not_run_is_listed_group_by_group():
    html = protocol_html([entry('supervised'), entry('naive')], FAST)
    assert f'Not run: {len(METHODS) - 2} of {len(METHODS)} rows' in html and 'semipose sweep coco-1k' in html
    assert 'SSPCM' in html

COCO_1K = protocol('coco-1k').as_dict()
def budgeted(method, seed, steps, epochs, **settings):
    return replace(entry(method, seed), steps=steps, settings=dict(COCO_1K, steps=steps, epochs=epochs, **settings),
                   sentence=f'{method} of {epochs} passes')

def test_trials_do_not_push_a_run_of_the_published_length_out_of_its_table():
    full = budgeted('posedual_jc', 0, 327_740, 70)
    trials = [budgeted('posedual_jc', s, 4682, None, budget=None) for s in (1, 2)]
    assert one_terms([*trials, full]) == ([full], 2)

def test_a_page_of_published_budgets_says_what_each_method_took():
    es = [budgeted('supervised', 0, 327_740, 70), budgeted('posecons', 0, 140_460, 30)]
    html = protocol_html(es, FAST)
    assert 'as many steps as published for the method' in html and 'supervised of 70 passes' not in html
    assert '>140,460<' in html and '>327,740<' in html and 'for the same steps' not in html
    assert 'for the same steps' in protocol_html([entry('supervised'), entry('posecons')], FAST)

def test_equal_compute_needs_no_posecons_and_knows_longer_supervised_training():
    p = dict(name='coco-1k', batch=(16, 16))
    cost = {m: methods.cost(m, (16, 16))._asdict() for m in ('supervised', 'posecons_jc')}
    es = [replace(entry(m, s, *ap), settings=p, cost=cost[m]) for s in (0, 1)
          for m, ap in (('supervised', (30, 31, 32)), ('posecons_jc', (30, 33, 36)))]
    table = {r['method']: r for r in rows(es, FAST)}
    assert table['posecons_jc']['equal'] == 36 and table['supervised']['equal'] is None
    assert table['posecons_jc']['equal_gain'] is None
    n = round(200*methods.cost('posecons', (16, 16)).work/methods.cost('supervised', (16, 16)).work)
    more = [replace(entry('supervised', s, 30, 34), settings=p, cost=cost['supervised'], steps=n) for s in (0, 1)]
    assert longer([*es, *more], es) == more and longer(es, es) == []
    table = {r['method']: r for r in rows(es, FAST, more=more)}
    assert table['supervised']['equal'] == 34 and table['posecons_jc']['equal_gain']['difference'] == 2
    assert table['posecons_jc']['gain']['difference'] == 4
    html = protocol_html([*es, *more], FAST)
    assert 'gain there' in html and '+2.0' in html

def test_each_network_of_an_unlike_pair_is_measured_against_its_own_kind():
    two = [replace(entry('posedual_unlike', s), curve=[dict(r, ap=(a + b)/2, ap1=a, ap2=b)
                                                       for r, a, b in zip(curve(0, 0, 0), (30, 33, 36), (40, 45, 50))])
                                                       for s in (0, 1)]
    two = [replace(e, people=dict(e.people, nets=2*e.people['nets'])) for e in two]
    es = [entry(m, s, *ap) for s in (0, 1) for m, ap in (('supervised', (30, 31, 32)),
                                                         ('supervised_other', (40, 42, 45)))]
    [r] = [r for r in rows([*es, *two], FAST) if r['method'] == 'posedual_unlike']
    assert [(k, g['difference']) for k, g in r['gains']] == [(1, 4.), (2, 5.)] and r['gain'] is None
    assert gain_text(r).startswith('network 1 +4.0') and '; network 2 +5.0' in gain_text(r)

def test_the_failed_attempts_are_drawn_whichever_of_them_ran():
    assert 'AP over training of the failed attempts' in protocol_html([entry('supervised'), entry('hard_easy')], FAST)
    assert 'AP over training of the failed attempts' not in protocol_html([entry('supervised'), entry('posecons')],
                                                                          FAST)

def test_a_row_is_what_its_line_says_today():
    "a run of an earlier definition stands beside the table, not in it, however new its file"
    from semipose.methods import line_of
    plain = entry('supervised')
    mine, old = (replace(entry('posecons'), line=line, begun=when)
                 for line, when in ((line_of('posecons'), '2026'), ('000000', '2099')))
    kept, others = one_terms([plain, old, mine])
    assert kept == [plain, mine] and others == 1
    assert one_terms([plain, old])[0] == [plain], 'a row that was never trained as it is today has no place'
    [v] = variants([plain, old, mine], FAST)
    assert v['method'] == 'posecons' and v['changed'] == {'definition': 'earlier (000000)'}

def test_other_people_of_the_same_name_have_no_place_in_the_table():
    mine = [entry(m, s) for m in ('supervised', 'naive') for s in (0, 1)]
    theirs = replace(entry('posecons', 0), people=dict(entry('posecons', 0).people, val='ffffff'))
    kept, others = one_terms([theirs, *mine])
    assert others == 1 and len(kept) == 4 and theirs not in kept
    blind = replace(entry('posecons', 1), people=None)
    assert blind in one_terms([*mine, blind])[0], 'who wrote no people down may stay'

def test_a_tie_between_other_people_is_broken():
    mine, theirs = entry('supervised'), entry('naive')
    theirs = replace(theirs, people=dict(theirs.people, val='ffffff'))
    for es in ([mine, theirs], [theirs, mine]):
        assert one_terms(es) == ([theirs], 1), 'no difference is taken across people'

def test_a_ranking_keeps_everything_where_no_seed_is_common():
    es = [entry('supervised', s) for s in range(4)] + [entry(m, s)
                                                       for s, m in enumerate(('naive', 'posecons', 'posedual'))]
    assert shared_seeds(es) == es

def test_equal_compute_names_the_seeds_that_it_is_of():
    r = dict(equal=38.7, equal_seeds='10–12', seeds='10–14',
             equal_gain=dict(difference=2.2, low=-4., high=9., sure=False, n=3), n=5)
    assert equal_text(r) == '38.7 (10–12)' and equal_text(dict(r, seeds='10–12')) == '38.7'
    assert equal_text(dict(r, equal_seeds='')) == '38.7'
    assert there_text(r) == '+2.2 [-4.0, +9.0] (3 of 5)' and there_text(dict(r, n=3)) == '+2.2 [-4.0, +9.0]'
    assert there_text(dict(r, equal_gain=None)) == ''

def test_an_entry_of_another_version_does_not_take_the_page_down():
    for odd in (dict(labels='many'), dict(size=5), dict(milestones=None), dict(batch=[32]), dict(lam='x'),
                dict(unheard_of=1)):
        es = [replace(entry(m), settings={'name': 'coco-1k', 'budget': 'coco-1k', **odd})
              for m in ('supervised', 'posedual')]
        assert 'made up' in protocol_html(es, FAST), odd

def test_the_numbers_of_the_work_figure_are_the_table_s():
    es = [entry('supervised', s, 30 + 5*s, 31 + 5*s, 32 + 5*s)
          for s in (0, 1)] + [entry('naive', s, 30 + 5*s, 20, 10 + s)
                              for s in (0, 1)] + [entry('posecons', 1, 35, 36, 37)]
    words = texts(compute_figure(es))
    assert any('PoseCons  37.0' in t for t in words) and any('are not' in t for t in words)

def test_no_gain_is_told_across_data_sets():
    "two folders of people under one protocol: each is measured against its own supervised training, and named"
    other = dict(terms='bbbbbb', source=dict(data='b'), protocol='folder')
    def set_b(e): return replace(e, people=dict(e.people, val='ffffff'), **other)
    a = [replace(entry(m, 0, 30, 31, ap, protocol='folder'), source=dict(data='a'))
         for m, ap in (('supervised', 30.), ('posecons', 35.), ('naive', 20.))]
    b = [set_b(entry(m, 0, 30, 31, ap)) for m, ap in (('supervised', 70.), ('posecons', 66.))]
    found = {v['method']: v for v in variants([*a, *b], FAST)}
    assert found['posecons']['gain']['difference'] == pytest.approx(-4) and found['posecons']['change'] is None
    assert found['posecons']['changed'] == dict(data='b')
    assert found['posecons']['words'] == 'people of b' and found['supervised']['gain'] is None
    assert found['supervised']['change'] is None
    lonely = variants([*a, b[1]], FAST)
    assert [v['gain'] for v in lonely] == [None], 'no baseline of these people'
    assert 'people of b' in protocol_html([*a, *b], FAST)

def test_nothing_is_written_outside_of_the_pictures():
    "legends of many groups, names of long rows, numbers at the ends of lines"
    es = [entry(m, s) for m in METHODS for s in (0, 1)]
    lsp = [entry(m, 0, 1, 10., protocol=p, labeled=n) for p, n in (('lsp-100', 100), ('lsp-500', 500))
           for m in ('supervised', 'naive', 'posecons_jc', 'multiaugs_dual')]
    lsp.append(entry('supervised', 0, 1, 16., protocol='lsp-all', labeled=3217))
    for fig in (gains_figure(rows(es, FAST)), compute_figure(es), labels_figure(lsp, 'Leeds Sports Pose')):
        canvas = FigureCanvasAgg(fig)
        canvas.draw()
        renderer, edge = canvas.get_renderer(), fig.bbox
        for t in fig.findobj(Text):
            if not t.get_text() or not t.get_visible(): continue
            box = t.get_window_extent(renderer)
            assert box.x0 > edge.x0 - 1 and box.x1 < edge.x1 + 1 and box.y0 > edge.y0 - 1
            assert box.y1 < edge.y1 + 1, t.get_text()

def test_gains_are_shown_where_supervised_has_few_of_the_seeds():
    es = [entry('supervised', 0), *(entry(m, s) for m in ('naive', 'posecons') for s in (1, 2)), entry('posedual', 0)]
    assert 'Gain over supervised training' in protocol_html(es, FAST)

def test_a_variant_under_a_published_budget_has_its_own_baseline():
    "each method has steps of its own there"
    def made(m, steps, ap, terms):
        e = entry(m, 0, 30, 31, ap)
        return replace(e, steps=steps, terms=terms, settings={**e.settings, 'budget': 'coco-1k',
                                                              **({'lam': 4.} if terms == 'bbbbbb' else {})})
    usual = [made('supervised', 200, 31., 'aaaaaa'), made('posecons', 400, 32., 'aaaaaa'),
             made('naive', 400, 32., 'aaaaaa')]
    found = {v['method']: v['gain'] for v in variants([*usual, made('supervised', 200, 10., 'bbbbbb'),
                                                       made('posecons', 400, 15., 'bbbbbb')], FAST)}
    assert found['posecons']['difference'] == pytest.approx(5)

def test_a_table_of_some_methods_has_their_rows_and_their_gains():
    "and not sixty others; whom they are measured against is looked at, and not shown"
    from semipose.ledger import example_entry
    entries = [example_entry(m, s, g) for s in (0, 1) for m, g in (('supervised', 0.), ('posecons', .1),
                                                                   ('naive', -.1))]
    whole = {r['method']: r for r in table_rows(entries, everything=False)}
    some = table_rows(entries, everything=False, only=['posecons'])
    assert some == [whole['PoseCons']] and some[0]['gain'] and len(whole) == 3
    assert table_rows(entries, everything=False, only=['sspcm']) == []
