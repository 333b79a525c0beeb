"""Pages and figures tell what the run folders hold, whatever that is, and need nothing else."""
import json, re
from html.parser import HTMLParser

import numpy as np
import pytest

from fakes import ENDS, ORDER, fake_demo, fake_run, heatmaps, people
from semipose.errors import UserError
from semipose.draw import CURVES, DARK, PALETTE
from semipose.methods import row_of
from semipose.protocols import HEADLINE
from semipose.watch import each_of
from semipose.report import (ap_figure, color, curve_figure, demo_figure, demo_report, finding, histogram_figure,
                             peak_figure, people_picture, read_demo,
                             read_run, result_rows, run_figure, run_report, spread, strip_figure, summary_rows,
                             write_page)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "demo"
    return folder, fake_demo(folder)


@pytest.fixture(scope="module")
def page(demo):
    "Its page, as it was written"
    return demo_report(demo[0])


class Page(HTMLParser):
    "The words of a page, its cells, and whatever in it would make a browser fetch something"
    def __init__(self, path):
        super().__init__()
        self.words, self.fetched, self.open, self.cells, self.images = [], [], [], [], 0
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(self.words)
    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br", "input"): self.open.append(tag)
        if tag == "td": self.cells.append("")
        self.images += tag == "img"
        self.fetched += [tag] if tag in ("script", "link", "iframe") else []
        self.fetched += [v for k, v in attrs if k in ("src", "href", "xlink:href", "srcset", "poster") and v
                         and not v.startswith(("data:", "#"))]
    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()
    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in ("meta", "img", "br", "input"): self.open.pop()
    def handle_data(self, data):
        if self.open and self.open[-1] == "style": return
        self.words.append(data.strip())
        if "td" in self.open: self.cells[-1] += data


# ---- the page ----

def test_page_needs_nothing_but_itself(page):
    parsed, text = Page(page), page.read_text()
    assert parsed.open == [], "every tag is closed"
    assert parsed.fetched == [] and "url(http" not in text and "@import" not in text
    assert page.stat().st_size < 1.5e6
    assert "refresh" not in text, "a finished page stays still"


def test_table_holds_the_summary_s_numbers(demo, page):
    summary, cells = demo[1], Page(page).cells
    rows = [cells[i:i + 12] for i in range(0, len(cells), 12)]
    assert [row[0] for row in rows] == ["Start (dashed line)", *(d["title"] for d in summary["methods"].values())]
    for row, d in zip(rows[1:], summary["methods"].values()):
        share = 100 * d["peak_unlabeled"] / summary["dashed"]["peak_unlabeled"]
        assert row[2:6] == [f"{d['ap']:.1f}", f"{d['ap_ensemble']:.1f}", f"{d['pck']:.1f}", f"{d['peak_labeled']:.2f}"]
        assert row[6:9] == [f"{d['peak_unlabeled']:.2f}", f"{share:.0f} %", "yes" if d["collapsed"] else "no"]
        assert row[9].startswith(f"{d['best']['ap']:.1f}") and row[9].endswith(f"at {d['best']['step']}")
    assert [r["of start"] for r in summary_rows(summary)][:2] == ["1.00", f"{ENDS['naive'][1] / .6:.2f}"]


def test_heads_have_a_column_for_all_or_for_none(demo):
    from copy import deepcopy
    from semipose.report import demo_table, footnote
    summary = deepcopy(demo[1])
    assert "PCKh" not in demo_table(summary) and "PCKh" not in summary_rows(summary)[0]
    for d in summary["methods"].values():    # its start was measured before there was such a thing
        d.update(pckh=61.5, best=dict(d["best"], chosen_on="validation, by PCKh@0.5"))
    assert [r["PCKh"] for r in summary_rows(summary)] == ["", *[61.5] * len(summary["methods"])]
    table = demo_table(summary).split("<p")[0]
    assert (len(set(row.count("<td") for row in table.split("<tr")[2:])) == 1
            and table.count("61.5") == len(summary["methods"]))
    assert "and so a little too good" in footnote(summary) and "half of the head" in footnote(summary)


def test_page_says_what_was_equal_and_where_it_comes_from(page):
    text = Page(page).text
    for told in ("480 steps of 24 labelled + 24 unlabelled", "weight 2 of the unlabelled loss", "learning rate 0.003",
                 "semipose demo --seed 0",
                 "torch 2.15.0", "a small processor", "chosen on validation, and so a little too good", "BothWays",
                 "JointCutout(5)"):
        assert told in text, told


@pytest.mark.parametrize("done", [(), ORDER[:1], ORDER[:2]])
def test_a_running_demo_has_a_page_and_says_so(tmp_path, done):
    fake_demo(tmp_path, methods=done, state="running", pictures=bool(done))
    path = demo_report(tmp_path)
    page = Page(path)
    assert f"Still running: {len(done)} of 4 methods" in page.text
    assert 'http-equiv="refresh"' in path.read_text()
    assert page.images == 3 * len(done), "start, middle and end of each finished method"


def test_page_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    page = write_page(tmp_path / "a.html", "first", "<p>first</p>")
    before = page.read_text()
    monkeypatch.setattr("semipose.files.os.replace", lambda *a: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(OSError): write_page(page, "second", "<p>second</p>")
    assert page.read_text() == before and list(tmp_path.iterdir()) == [page]


def test_a_page_reaches_the_disk_and_may_have_a_folder_of_its_own(tmp_path, monkeypatch):
    import os
    synced, real = [], os.fsync
    monkeypatch.setattr("semipose.files.os.fsync", lambda fd: (synced.append(fd), real(fd))[1])
    page = write_page(str(tmp_path / "new" / "a.html"), "first", "<p>first</p>")
    assert page.parent.name == "new" and "<p>first</p>" in page.read_text() and synced
    with pytest.raises(UserError, match="one of its folders is a file"): write_page(page / "b.html", "second", "")


def test_what_a_file_says_is_text_not_html(tmp_path):
    fake_demo(tmp_path, methods=ORDER[:1], pictures=False)
    summary = json.loads((tmp_path / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(
        json.dumps(summary | dict(command="<script>alert(1)</script>", hardware="a & b")))
    page = Page(demo_report(tmp_path))
    assert page.fetched == [] and "<script>alert(1)</script>" in page.text and "a & b" in page.text


def test_run_page_tells_last_and_best(demo):
    folder, result = demo[0] / "posedual_jc", json.loads((demo[0] / "posedual_jc" / "result.json").read_text())
    page = Page(run_report(folder))
    assert page.fetched == [] and page.open == [] and page.images == 3
    assert (page.cells[:3] == ["last", "480", f"{result['last']['ap']:.1f}"] and page.cells[7] == "best, chosen on "
            "validation")
    assert result_rows(result)[1]["AP"] == max(row["ap"] for row in result["rows"])


def test_a_collapsed_run_says_so(demo):
    assert "It collapsed" in Page(run_report(demo[0] / "naive")).text
    assert "It collapsed" not in Page(run_report(demo[0] / "posecons")).text


# ---- the sentences ----

def test_finding_follows_the_numbers(tmp_path):
    fake_demo(tmp_path / "a", pictures=False)
    first, second, third = finding(read_demo(tmp_path / "a"))
    assert "collapsed in this run" in first and "from 0.60 to 0.07" in first and "AP 9.3, below the 24.1" in first
    assert "PoseCons (peak 0.60 to 0.55, AP 24.1 to 26.9) and PoseDual + JC" in second and second.endswith(" held.")
    assert "gave AP 25.7" in third and "PoseCons 1.2 above" in third
    assert Page(demo_report(tmp_path / "a")).text.count("Plain consistency erases a pose network; easy-to-hard "
                                                        "teaching keeps it") == 1


@pytest.mark.parametrize("ap, peak, fate",
    [(3., .01, "collapsed"), (26., .19, "collapsed"), (11., .55, "collapsed"), (23., .35, "faded"), (20., .55, "faded"),
     (22., .45, "held")])
def test_a_demo_tells_how_each_of_its_runs_ended(ap, peak, fate, tmp_path):
    "A falling AP is never called alive, whatever the peak; nor a lost peak, whatever the AP"
    fake_demo(tmp_path, pictures=False, ends=ENDS | dict(posecons=(ap, peak)))
    _, second, third = finding(read_demo(tmp_path))
    assert (f"PoseCons (peak 0.60 to {peak:.2f}, AP 24.1 to {ap:.1f}) {fate}" in second or fate == "held"
            and second.endswith("held."))
    assert (f"PoseCons {abs(ap - 25.7):.1f} " + ("below" if ap < 25.7 else "above")) in third
    title = Page(demo_report(tmp_path)).text
    assert ("PoseDual + JC keeps it, PoseCons does not" in title) == (fate != "held")
    page = Page(run_report(tmp_path / "posecons")).text
    assert ("It " + fate in page) == (fate != "held")


def test_nothing_is_claimed_where_plain_consistency_held(tmp_path):
    fake_demo(tmp_path, pictures=False, ends=ENDS | dict(naive=(28., .5), posecons=(3., .01)))
    assert ("held in this run" in finding(read_demo(tmp_path))[0]
            and "not below the 24.1" in finding(read_demo(tmp_path))[0])
    assert "erases" not in Page(demo_report(tmp_path)).text and "keeps it" not in Page(demo_report(tmp_path)).text


def test_a_demo_without_a_cure_that_held_says_so(tmp_path):
    fake_demo(tmp_path, pictures=False, ends=ENDS | dict(posecons=(20., .3), posedual_jc=(20., .3)))
    assert "easy-to-hard teaching does not keep it" in Page(demo_report(tmp_path)).text


# ---- the figures ----

def line_of(figure, colour):
    "The curves of a figure in one colour, axes by axes"
    return [line.get_xydata() for ax in figure.axes for line in ax.lines if line.get_color() == colour
            and len(line.get_xydata()) > 2]


def test_curves_are_the_rows(demo):
    figure = curve_figure(demo[0])
    for run in read_demo(demo[0]).runs:
        ap, peak = line_of(figure, color(run.name))
        np.testing.assert_allclose(ap, [(row["step"], row["ap"]) for row in run.rows])
        np.testing.assert_allclose(peak, [(row["step"], row["peak_unlabeled"]) for row in run.rows])
    dashed = [line for line in figure.axes[0].lines if line.is_dashed()]
    assert len(dashed) == 1 and set(dashed[0].get_ydata()) == {demo[1]["dashed"]["ap"]}


def test_every_line_carries_its_name_inside_the_figure(demo):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text
    for figure in (curve_figure(demo[0]), demo_figure(demo[0]), run_figure(demo[0] / "posedual_jc")):
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        page = figure.bbox
        for ax in figure.axes:
            names = [t for t in ax.texts if t.get_fontweight() == "bold"]
            # of the words alone, without the leading line
            boxes = [Text.get_window_extent(t, renderer) for t in names]
            for t, box in zip(names, boxes):
                assert box.x1 <= page.x1 + 1 and box.y1 <= page.y1 + 1 and box.y0 >= page.y0 - 1, (f"{t.get_text()!r} "
                    "runs out of the figure")
            for i, a in enumerate(boxes):
                for b in boxes[:i]: assert a.y0 >= b.y1 - 4 or b.y0 >= a.y1 - 4, "two names overlap"
            for t, box in ((t, b) for t, b in zip(names, boxes) if t.arrow_patch is not None):
                assert t.arrow_patch.get_window_extent(renderer).x1 <= box.x0 + 1, ("the leading line crosses "
                    f"{t.get_text()!r}")


def test_the_start_stands_left_of_step_0(demo):
    figure, rows = ap_figure(read_demo(demo[0])), read_demo(demo[0]).start.rows
    first = next(line.get_xydata() for line in figure.axes[0].lines if line.get_xydata()[:, 0].min() < 0)
    np.testing.assert_allclose(first, [(row["step"] - rows[-1]["step"], each_of(row)[0]) for row in rows])


@pytest.mark.parametrize("who, key", [("unlabeled", "peak_unlabeled"), ("labeled", "peak_labeled")])
def test_peaks_stand_against_a_third_of_the_start(demo, who, key):
    figure = peak_figure(read_demo(demo[0]), who)
    for run in read_demo(demo[0]).runs:
        np.testing.assert_allclose(line_of(figure, color(run.name))[0], [(row["step"], row[key]) for row in run.rows])
    third = [line.get_ydata()[0] for line in figure.axes[0].lines if line.is_dashed()]
    assert third == ([demo[1]["dashed"]["peak_unlabeled"] / 3] if who == "unlabeled" else [])


def test_the_page_shows_both_kinds_of_people(page):
    told = re.findall(r"Mean peak on (\w+) people", page.read_text())
    assert told == ["unlabelled", "labelled"]


def test_a_histogram_carries_its_mean_and_says_what_was_cut(demo):
    run = read_demo(demo[0]).run("naive")
    figure = histogram_figure([run])
    for ax, (_, i) in zip(figure.axes, run.moments):
        bars, mean = np.array([p.get_height() for p in ax.patches]), run.rows[i]["peak_unlabeled"]
        np.testing.assert_allclose(bars, run.histograms[i])
        assert [line.get_xdata()[0] for line in ax.lines] == [mean]
        cut = [t.get_text() for t in ax.texts if "in one bar" in t.get_text()]
        assert cut == ([f"{100 * bars.max():.0f} % in one bar"] if bars.max() > ax.get_ylim()[1] / 1.05 + 1e-9 else [])
    assert any("in one bar" in t.get_text() for t in figure.axes[-1].texts), "a collapsed histogram is cut"


def test_a_run_of_two_networks_shows_both_their_mean_and_their_ensemble(demo):
    ax, rows = run_figure(demo[0] / "posedual_jc").axes[0], read_run(demo[0] / "posedual_jc").rows
    np.testing.assert_allclose([line.get_ydata() for line in ax.lines],
        [*np.transpose([each_of(row) for row in rows]), *([row[k] for row in rows] for k in ("ap", "ap_ensemble"))])


def test_colours_are_told_apart_by_everyone():
    """Under simulated lack of one kind of cone (Vienot, Brettel and Mollon 1999), the curves' colours keep their
    distance; all can be read on white"""
    deficient = dict(normal=np.eye(3), protan=[[.11238, .88762, 0], [.11238, .88762, 0], [.00401, -.00401, 1]],
                     deutan=[[.29275, .70725, 0], [.29275, .70725, 0], [-.02234, .02234, 1]])
    linear = np.array([[int(c[i:i + 2], 16) / 255 for i in (1, 3, 5)]
                       for c in (PALETTE[n] for n in (*CURVES, *(set(DARK) - set(CURVES))))]) ** 2.2
    for kind, matrix in deficient.items():
        seen = (linear @ np.array(matrix).T).clip(0, 1)
        y = seen @ [.2126, .7152, .0722]
        xyz = seen @ np.array([[.4124, .3576, .1805], [.2126, .7152, .0722], [.0193, .1192, .9505]]).T / [.9505, 1,
            1.089]
        f = np.cbrt(xyz.clip(1e-6))
        lab = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)
        curves = lab[:len(CURVES)]
        apart = np.linalg.norm(curves[:, None] - curves[None], axis=-1)
        demo = [CURVES.index(row_of(n).color) for n in HEADLINE]
        assert apart[demo][:, demo][np.triu_indices(len(demo), 1)].min() > 20, (
            f"{kind}: two methods of the demo look alike")
        assert apart[np.triu_indices(len(curves), 1)].min() > 13, f"{kind}: two curves look alike"
        assert ((1.05 / (y + .05)) > 3).all(), "text in a method's colour can be read on white"
    assert len({color(name) for name in HEADLINE}) == len(HEADLINE), "the methods of the demo have a colour each"


def test_people_fade_as_their_heatmaps_do():
    crops, xy = people(2)
    strip = dict(crops=crops, heat=np.stack([heatmaps(xy, peak) for peak in (.9, .3, 0.)]))
    pictures = [people_picture(strip, i, n=2).astype(float) for i in range(3)]
    warmth = [(p[..., 0] - p[..., 2]).max() for p in pictures]      # a dimmed grey picture has none
    assert warmth[0] > warmth[1] > warmth[2] and warmth[2] == 0
    assert pictures[0].shape == (168, 2 * 126 + 4, 3)
    weak = dict(strip, heat=strip["heat"] // 2)
    assert people_picture(weak, 0,
                          n=2).astype(float).sum() != pictures[0].sum(), "one fixed scale, not each picture's own"


def test_strip_shows_the_same_people_at_start_middle_and_end(demo):
    figure = strip_figure(demo[0], n=4)
    assert len(figure.axes) == 3 * 4
    assert (len(strip_figure(demo[0], n=4, methods=("naive",)).axes) == 3
            and len(demo_figure(demo[0], methods=("naive",)).axes) == 2 + 3)
    with pytest.raises(UserError, match="no strip.npz of sspcm yet"): strip_figure(demo[0], methods=("sspcm",))
    titles = [ax.get_title(loc="left") for ax in figure.axes[:3]]
    rows = read_demo(demo[0]).runs[0].rows
    assert titles == [f"{when}: peak {rows[i]['peak_unlabeled']:.2f}"
                      for when, i in (("start", 0), ("middle", 4), ("end", 8))]


def test_labels_move_apart_and_no_further():
    r = np.random.default_rng(0)
    for _ in range(200):
        at = r.uniform(0, 10, r.integers(1, 8))
        out = spread(at, 1., 0., 10.)
        ordered = np.sort(out)
        assert (np.diff(ordered) > 1 - 1e-6).all() and ordered[0] >= -1e-9 and ordered[-1] <= 10 + 1e-9
        assert (np.argsort(out, kind="stable") == np.argsort(at, kind="stable")).all(), "the order of the lines stays"
    np.testing.assert_allclose(spread([1., 5., 9.], 1., 0., 10.), [1, 5, 9])
    np.testing.assert_allclose(spread([5., 5.], 1., 0., 10.), [4.5, 5.5])
    np.testing.assert_allclose(spread([5., 5., 5.6], 1., 0., 10.), [4.2, 5.2, 6.2])   # about the mean of all three


# ---- what is missing or damaged ----

def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(UserError, match="result.json is not there"): read_run(tmp_path / "nowhere")
    with pytest.raises(UserError, match="summary.json is not there"): read_demo(tmp_path)
    fake_run(tmp_path / "run", "naive")
    (tmp_path / "run" / "strip.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(UserError, match=r"strip.npz is damaged"): read_run(tmp_path / "run")
    (tmp_path / "run" / "strip.npz").unlink()
    assert read_run(tmp_path / "run").strip is None
    with pytest.raises(UserError, match="no strip.npz yet"): strip_figure(tmp_path / "run")
    (tmp_path / "run" / "result.json").write_text('{"rows": ')
    with pytest.raises(UserError, match="result.json is damaged"): run_report(tmp_path / "run")
    (tmp_path / "run" / "result.json").write_text('{"rows": []}')
    with pytest.raises(UserError, match="has measured nothing yet"): run_report(tmp_path / "run")


def test_a_strip_of_objects_is_refused(tmp_path):
    "An array of Python objects could run code when it is read"
    fake_run(tmp_path, "naive", pictures=False)
    np.savez(tmp_path / "strip.npz", crops=np.array([{}], dtype=object), heat=np.zeros(1), steps=np.zeros(1))
    with pytest.raises(UserError, match="damaged"): read_run(tmp_path)


def test_pictures_of_an_earlier_run_are_not_shown(tmp_path):
    "A strip with another number of measurements than the rows belongs to what was in the folder before"
    fake_run(tmp_path, "naive", steps=480, every=60)
    result = json.loads((tmp_path / "result.json").read_text())
    (tmp_path / "result.json").write_text(
        json.dumps(result | dict(rows=result["rows"][:3], histograms=result["histograms"][:3])))
    assert read_run(tmp_path).strip is None and Page(run_report(tmp_path)).images == 0


def test_paper_is_white_and_keeps_parts_together(page):
    "Dark colours are for screens, and no section or row of a table is cut by the end of a page"
    css = re.search(r"<style>(.*?)</style>", page.read_text(), re.S)[1]
    assert (all("screen" in query for query in re.findall(r"@media([^{]*prefers-color-scheme:dark[^{]*)", css))
            and "prefers-color-scheme:dark" in css)
    paper = css[css.index("@media print"):]
    assert (re.search(r"section[^{]*\{[^}]*break-inside:avoid", paper)
            and re.search(r"\btr\b[^{]*\{[^}]*break-inside:avoid", paper))
    assert re.search(r"\.wide[^{]*\{[^}]*overflow:visible", paper), "nothing is left in a box that scrolls"


def test_two_measurements_are_enough(tmp_path):
    fake_run(tmp_path, "posecons", steps=60, every=60)
    page = Page(run_report(tmp_path))
    assert page.images == 2 and re.search("step 60", page.text)


def test_a_teacher_says_who_it_is(monkeypatch):
    "No list of teachers: every row has words, and one of somebody's own has its docstring's"
    from dataclasses import replace
    from semipose.methods import METHODS
    from semipose.report import teaches
    from semipose.teaching import Self

    class Oracle(Self):
        "Somebody who knows (a paper)"
        who = ""
    monkeypatch.setitem(METHODS, "mine", replace(METHODS["posecons"], teacher=Oracle()))
    assert teaches("mine") == "Somebody who knows, on the easy view" and teaches("nobody's") == ""
    assert all(teaches(name) for name in METHODS)
    assert {teaches(n) for n in ("supervised", "naive", "posedual")} == {"nobody", "both views pull on each other",
                                                                        "the other network, on the easy view"}


@pytest.mark.parametrize("held, lost, words", [("A", "B", "A keeps it, B does not"),
                                               ("AB", "C", "A and B keep it, C does not"),
                                               ("A", "BC", "A keeps it, B and C do not")])
def test_the_title_s_verbs_agree(held, lost, words, tmp_path, monkeypatch):
    from types import SimpleNamespace
    from semipose import report
    fake_demo(tmp_path, pictures=False)
    some = lambda names: [SimpleNamespace(title=n) for n in names]
    monkeypatch.setattr(report, "by_fate", lambda runs: dict(held=some(held), faded=some(lost)))
    assert report.headline(read_demo(tmp_path)).endswith(words)
