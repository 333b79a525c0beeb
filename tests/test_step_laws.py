"Every row's step has the losses and gradients that it had, and every entry of the ledger says what it said"
import json
import sys
from pathlib import Path
import pytest, torch
from steps import rows, sketch, steps_of
from semipose.ledger import read_entry, read_ledger
from semipose.tables import Resamples, one_terms
from semipose.tables import rows as table_rows

HERE = Path(__file__).parent
# written by `python tests/test_step_laws.py steps entries`, and again only where a step is meant to change
STEPS, ENTRIES = HERE/'step_laws.json', HERE/'entry_laws.json'
RESULTS = HERE.parent/'results'
FOLDERS = [RESULTS, RESULTS/'trials']

@pytest.fixture(autouse=True, scope='module')
def one_thread():
    n = torch.get_num_threads()
    torch.set_num_threads(1); yield; torch.set_num_threads(n)

def kept(path): return json.loads(path.read_text())

def near(a, b, rtol=1e-5, floor=1e-9): return abs(a - b) <= rtol*max(abs(a), abs(b)) + floor

@pytest.mark.parametrize('name', kept(STEPS))
def test_losses_and_gradients_of_a_step_are_what_they_were(name):
    "But for last digits, in which processors differ; `scripts/compare_steps.py REV` compares bits, on one machine"
    m, start = rows()[name]
    for now, then in zip(map(sketch, steps_of(m, start)[0]), kept(STEPS)[name], strict=True):
        assert near(now['loss'], then['loss']), (now['loss'], then['loss'])
        assert now['terms'].keys() == then['terms'].keys()
        for k, v in then['terms'].items(): assert near(now['terms'][k], v), (k, now['terms'][k], v)
        for k, (got, want) in enumerate(zip(now['grads'], then['grads'], strict=True)):
            slack = 2e-5*max(got[0], want[0]) + 1e-9
            assert all(abs(a - b) <= slack for a, b in zip(got, want, strict=True)), (k, got, want)

def test_no_row_was_lost(): assert set(kept(STEPS)) <= set(rows())     # one that came since has its own laws

def entries():
    "file -> terms, definition, AP (mean and of each network), outcome, work; its name holds method, seed and key"
    out, files = {}, sorted(f for folder in FOLDERS for f in folder.glob('*/*-seed*-*.json'))
    for f, e in ((f, read_entry(f)) for f in files):
        name = str(f.relative_to(RESULTS).with_suffix(''))
        assert f.name.startswith(e.name.removesuffix('.json')) and f.parent.name == e.protocol
        out[name] = [e.terms, e.line, round(e.ap, 6), [round(v, 6) for v in e.each], e.outcome, e.work]
    assert sum(len(read_ledger(folder)[0]) for folder in FOLDERS) == len(out)
    return out

def ranking():
    "folder of a protocol -> entries left out, and of every method in its table: seeds, AP, gain and interval"
    out = {}
    for folder in FOLDERS:
        found, _ = read_ledger(folder)
        for name in dict.fromkeys(e.protocol for e in found):
            here, others = one_terms([e for e in found if e.protocol == name])
            told = sorted(table_rows(here, Resamples(40)), key=lambda r: (-r['ap'], r['method']))
            few = lambda g: g and [g[k] and round(g[k], 6) for k in ('difference', 'low', 'high')]
            lines = [[r['method'], r['seeds'], round(r['ap'], 6), few(r['gain'])] for r in told]
            out[str((folder/name).relative_to(RESULTS))] = dict(others=others, rows=lines)
    return out

def alike(a, b):
    if isinstance(b, float) and isinstance(a, (int, float)): return abs(a - b) < 2e-6
    if isinstance(b, list): return isinstance(a, list) and len(a) == len(b) and all(map(alike, a, b))
    return a == b

def test_every_entry_is_read_and_keyed_as_it_was():
    "New entries may stand beside them"
    then, now = kept(ENTRIES)['entries'], entries()
    assert not set(then) - set(now)
    assert not [k for k, v in then.items() if not alike(now[k], v)]

def test_every_entry_is_ranked_as_it_was():
    "Where no entry was added since"
    then, now, files = kept(ENTRIES), ranking(), entries()
    those = lambda names, folder: {n for n in names if n.rpartition('/')[0] == folder}
    for name, want in then['ranking'].items():
        if those(files, name) != those(then['entries'], name): continue
        assert now[name]['others'] == want['others'], name
        assert [r[0] for r in now[name]['rows']] == [r[0] for r in want['rows']], name
        for a, b in zip(now[name]['rows'], want['rows'], strict=True): assert alike(a, b), (name, a, b)

def short(v):
    "Eight digits are enough"
    if isinstance(v, float): return float(f'{v:.8g}')
    if isinstance(v, dict): return {k: short(w) for k, w in v.items()}
    return [short(w) for w in v] if isinstance(v, list) else v

def write(path, what): path.write_text(json.dumps(what, separators=(',', ':')).replace('],"', '],\n"') + '\n')

if __name__ == '__main__':
    torch.set_num_threads(1)
    if 'steps' in sys.argv:
        write(STEPS, {n: [short(sketch(s)) for s in steps_of(*row)[0]] for n, row in rows().items()})
    if 'entries' in sys.argv: write(ENTRIES, dict(entries=entries(), ranking=ranking()))
