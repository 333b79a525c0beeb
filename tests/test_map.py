"The map: a cell changes one setting of the demo, and a cell without all its seeds stays empty"
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from semipose.fading import AXES, DEMO, cell_name, cell_text, map_table, read_map
from semipose.ledger import Resamples, read_ledger, record
from semipose.mapview import MapBrowser, cell_words, cells_of
from semipose.methods import GROUPS, METHODS, ROWS
from semipose.protocols import protocol
from semipose.tables import between, outcomes
from semipose.touch import spots_of

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP/"scripts"))
import phase_map  # noqa: E402


@pytest.fixture
def table():
    "Rows that a test adds go with it"
    before = dict(METHODS), dict(ROWS), dict(GROUPS)
    yield
    for now, old in zip((METHODS, ROWS, GROUPS), before): now.clear(); now.update(old)


@pytest.mark.parametrize("axis, value", [(a, v) for a, vs in AXES.items() for v in vs])
def test_a_cell_changes_one_thing(axis, value):
    mine, demo = (p.as_dict() for p in (phase_map.cell(axis, value), protocol("demo")))
    changed = {k for k in demo if mine[k] != demo[k]} - {"name", "title", "every"}
    field = dict(labels="labels", weight="lam", view=None, steps="steps")[axis]
    assert changed == (set() if value == DEMO[axis] or field is None else {field})


def test_another_view_turns_by_so_much_and_hides_as_before(table):
    for m in ("naive", "posedual_jc", "posedual_jc_joined"):
        [name] = phase_map.rows_of([m], 90)
        a, b = METHODS[m], METHODS[name]
        assert replace(b, student_views=a.student_views) == a
        (*x, turn), (*y, other) = (v.steps for v in (*a.student_views, *b.student_views))
        assert x == y and other == replace(turn, rotate=90.)
    assert (phase_map.rows_of(["supervised", "naive"], 60) == ["supervised", "naive"]
            and phase_map.rows_of(["supervised"], 90) == ["supervised"])


def test_the_rule_names_every_value():
    text = (TOP/"results/map/rule.md").read_text()
    for axis, values in AXES.items():
        line = next(l for l in text.splitlines() if l.startswith(f"| {axis} ")).replace("**", "").replace(",", "")
        for v in values: assert ("all" if v is None else f"{v:g}".lstrip("0")) in line.split()


def test_a_cell_is_read_where_all_its_seeds_are(tmp_path):
    entries = read_ledger(TOP/"results/trials", "demo")[0]
    for e in entries:
        if e.method in ("supervised", "naive"):
            record(replace(e, protocol="demo"), tmp_path/"map"/cell_name("labels", 8))
        if e.method == "posecons" and e.seed: record(e, tmp_path/"map"/cell_name("labels", 8))
    cells = read_map(tmp_path, "labels")
    assert list(cells) == list(AXES["labels"]) and set(cells[8]) == {"supervised", "naive"} and not cells[32]
    text = cell_text(cells[8]["supervised"], cells[8]["naive"], Resamples(50))
    assert text.endswith(" 0/0/10") and text.startswith("-")
    line = map_table(cells, ("naive",), Resamples(50)).splitlines()[-1]
    assert line.count("|") == len(AXES["labels"]) + 2 and text in line


def test_every_cell_of_the_map_can_be_clicked():
    lab = MapBrowser(TOP/"results", ("supervised", "naive", "posecons"))
    for axis, values in AXES.items():
        lab.controls["axis"].value = axis
        cells = [s for s in spots_of(lab.figure()) if s.kind == "area"]
        known = {cell_words(v): v for v in values}
        assert {tuple(s.act.values()) for s in cells} == {(m, v) for m in ("naive", "posecons") for v in known}
        for s in cells:
            lab.touched(**s.act)
            assert (lab.values["method"], lab.values["value"]) == (s.act["method"], s.act["value"])
            cell = lab.maps[axis][s.act["method"], known[s.act["value"]]]
            assert ("not trained" in lab.sentence) == (not cell.entries)
            if cell.entries: assert outcomes(cell.entries) in lab.sentence and between(cell.gain)[:-2] in lab.sentence


def test_a_cell_counts_its_own_trainings():
    cells = cells_of(TOP/"results", "labels", ("supervised", "posecons"), resample=Resamples(50))
    e = [e for e in read_ledger(TOP/"results/trials", "demo")[0] if e.method == "posecons"]
    e.sort(key=lambda e: e.seed)
    assert cells["posecons", 16].fates == tuple(sum(x.outcome == w for x in e) for w in ("held", "faded", "collapsed"))
    assert cells["posecons", 16].entries == tuple(e) and cells["supervised", 16].gain is None
