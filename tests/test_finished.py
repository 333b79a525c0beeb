"""Runs that come with the package are what the script packs, name where they come from, and are what tutorials and
the README begin with."""
import io, itertools, json, re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import ship_demo
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text
from PIL import Image

from execute import TOP, notebooks
from fakes import fake_demo
from semipose.errors import UserError
from semipose.finished import (end_text, fading_film, film_frame, finished, origin_text, pack_demo, pack_run,
                               rows_of)
from semipose.methods import color, title
from semipose.protocols import HEADLINE, protocol
from semipose.report import read_demo
from semipose.run import demo
from semipose.watch import outcome, peak_share
from semipose.widgets import CollapseMonitor, HeatmapBrowser, RunComparer


def files(top: Path) -> dict:
    return {f.relative_to(top).as_posix(): f.read_bytes() for f in top.rglob("*") if f.is_file()}


def arrays(path: Path) -> dict:
    with np.load(path, allow_pickle=False) as f: return {k: f[k] for k in f}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    "A real demo of a few steps, packed by the script"
    home = tmp_path_factory.mktemp("tiny")
    p = protocol("demo", train_people=40, val_people=6, labels=12, width=6, batch=(6, 6), start_steps=2, start_every=2,
                 steps=2, every=1)
    demo(home / "demo", 0, data=home / "people", p=p, methods=("naive", "supervised"), progress=False)
    ship_demo.main([str(home / "demo"), "--into", str(home / "packed"), "--film", str(home / "film.gif")])
    return home


def test_what_is_shipped_is_the_demo_of_the_default_seed_and_small():
    d, size = read_demo(finished()), sum(map(len, files(finished()).values()))
    names = {r.name for r in d.runs}
    assert size < 800_000 and {"supervised", "naive", "posecons"} <= names <= set(HEADLINE)
    assert d.done == (names == set(HEADLINE)) and d.summary["order"] and (
        d.done or "Not trained yet: " in origin_text(finished()))
    assert d.summary["seed"] == 0 and re.match(r"semipose demo( --seed 0)?( |$)", d.summary["command"])
    p = protocol("demo")
    assert {k: d.protocol[k] for k in ("steps", "labels", "batch", "lam", "lr")} == dict(
        steps=p.steps, labels=p.labels, batch=list(p.batch), lam=p.lam, lr=p.lr)
    for run in d.runs:
        assert run.last["step"] == p.steps == 600 and run.recipe["seed"] == 0 and run.recipe["method"] == run.name
        for key in ("command", "revision", "hardware", "versions", "begun"): assert run.recipe[key], (run.name, key)
    text = origin_text(finished())
    assert d.summary["hardware"] in text and all(r.recipe[k] in text for r in d.runs for k in ("command", "revision"))


def test_nothing_of_the_machine_and_no_pickle():
    for name, data in files(finished()).items():
        if name.endswith(".json"):
            assert not re.search(r'"(/|[A-Z]:\\|\.\./)', data.decode()) and b"places" not in data, name
        else:
            assert name.endswith("/strip.npz") and arrays(finished() / name), name


def test_single_networks_begin_alike():
    "before the first step the same network is asked about the same people"
    strips = {r.name: arrays(finished() / r.name / "strip.npz") for r in read_demo(finished()).runs}
    for name, s in strips.items():
        assert (s["crops"] == strips["naive"]["crops"]).all() and list(s["steps"]) == [0, 150, 300, 450, 600], name
        if name != "posedual_jc_joined": assert (s["joints"][0] == strips["naive"]["joints"][0]).all(), name
        assert (s["joints"].max(2) == s["heat"]).all(), name


def test_the_script_writes_what_is_shipped(tiny, tmp_path):
    packed, whole = tiny / "packed", tiny / "demo"
    kinds = lambda top, name: {k: (v.dtype, v.shape[1:]) for k, v in arrays(top / name / "strip.npz").items()}
    assert {n for n in files(packed) if not n.startswith("supervised")} == {
        n for n in files(finished()) if n.split("/")[0] in ("start", "naive", "summary.json")}
    assert kinds(packed, "naive") == kinds(finished(), "naive")
    for name in ("naive", "supervised"):
        few, all_ = arrays(packed / name / "strip.npz"), arrays(whole / name / "strip.npz")
        assert all((few[k] == (all_[k][:4] if k == "crops" else all_[k] if k == "steps" else all_[k][:, :4])).all()
                   for k in all_)
        assert (packed / name / "result.json").read_bytes() == (whole / name / "result.json").read_bytes()
        mine, theirs = (json.loads((top / name / "recipe.json").read_text()) for top in (packed, whole))
        assert {k for k in theirs if mine.get(k) != theirs[k]} <= {"places", "data", "start"}
        assert mine["start"] == "start" and "places" not in mine
    for top in (packed, finished()): assert files(pack_demo(top, tmp_path / "again", partly=True)) == files(top)


def test_widgets_read_them(tiny):
    for top in (tiny / "packed", finished()):
        names = ("naive", "supervised")
        lab = RunComparer([top / n for n in names])
        assert list(lab.kinds) == ["unlabelled people, along training"] and all(n in lab.sentence for n in names)
        assert HeatmapBrowser(top / "naive").image.spots and CollapseMonitor(top / "naive").sentence.startswith("Step")


def test_sentences_follow_the_numbers():
    for run in read_demo(finished()).runs:
        text = end_text(run)
        assert text.endswith(f": {outcome(run.rows)}.") and f"{run.rows[0]['ap']:.1f} to {run.last['ap']:.1f}" in text
        assert f"peak {100 * peak_share(run.rows):.0f} %" in text and text.startswith(f"{run.title}: ")


def test_what_is_not_done_is_not_packed_and_nothing_is_left(tmp_path):
    fake_demo(tmp_path / "running", methods=("naive",), state="running")
    with pytest.raises(UserError, match="is not done"): pack_demo(tmp_path / "running", tmp_path / "into")
    fake_demo(tmp_path / "torn")
    (tmp_path / "torn/naive/strip.npz").unlink()
    with pytest.raises((UserError, OSError)): pack_demo(tmp_path / "torn", tmp_path / "into")
    fake_demo(tmp_path / "done")
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="choose another folder"): pack_demo(tmp_path / "done", tmp_path / "mine")
    assert {f.name for f in tmp_path.iterdir()} == {"running", "torn", "done", "mine"}
    result = json.loads((tmp_path / "done/naive/result.json").read_text())
    (tmp_path / "done/naive/result.json").write_text(json.dumps(result | dict(state="running")))
    with pytest.raises(UserError, match="is not done"): pack_run(tmp_path / "done/naive", tmp_path / "one")
    with pytest.raises(UserError, match="demo-seed0"): finished("demo-seed99")


def test_the_animated_picture_is_made_from_them():
    "the words may be rastered a little differently by another matplotlib"
    kept, fresh = (Image.open(io.BytesIO(b)) for b in ((TOP / "nbs/images/collapse.gif").read_bytes(),
                                                       fading_film(finished(), rows_of(finished()))))
    assert (TOP / "nbs/images/collapse.gif").stat().st_size < 1_000_000
    assert kept.n_frames == fresh.n_frames == 5 and kept.size == fresh.size
    for i in range(5):
        kept.seek(i), fresh.seek(i)
        a, b = (np.asarray(f.convert("RGB"), dtype=float) for f in (kept, fresh))
        assert abs(a - b).mean() < 3, i
    readme = (TOP / "README.md").read_text()
    assert "nbs/images/collapse.gif" in readme
    naive = read_demo(finished()).run("naive")
    assert f"{naive.title} {outcome(naive.rows)}, peak {100 * peak_share(naive.rows):.0f} %" in readme


def text_of(out) -> str:
    data = out.get("data", {})
    return out.get("text", "") or data.get("text/markdown", "") or data.get("text/plain", "")


@pytest.mark.parametrize("name", ["01_first_look", "02_collapse_step_by_step"])
def test_tutorials_open_on_them_and_print_what_they_say(name):
    [path] = [p for p in notebooks() if p.stem == name]
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    first = next(i for i, c in enumerate(cells) if "RunComparer(" in c.source)
    trains = [i for i, c in enumerate(cells) if re.search(r"\b(train|demo)\(", c.source)]
    assert first == 1 and "finished()" in cells[1].source and min(trains) > first, "something else comes before it"
    printed = "".join(text_of(o) for c in cells for o in c.outputs)
    for run in read_demo(finished()).runs:
        here = f"'{run.name}'" in cells[1].source or " if " not in cells[1].source
        assert not here or end_text(run) in printed, run.name
    assert origin_text(finished()) in printed


# ---- colours ----

BLIND = dict(deuteranopia=[[.367, .861, -.228], [.280, .673, .047], [-.012, .043, .969]],     # Machado et al. 2009
             protanopia=[[.152, 1.053, -.205], [.115, .786, .099], [-.004, -.048, 1.052]], nobody=np.eye(3).tolist())


def cielab(colour, matrix) -> np.ndarray:
    "CIELAB of a colour, as somebody with these receptors sees it"
    c = np.array(to_rgb(colour))
    light = np.clip(np.array(matrix) @ np.where(c <= .04045, c / 12.92, ((c + .055) / 1.055) ** 2.4), 0, 1)
    x, y, z = np.cbrt(np.array([[.4124, .3576, .1805], [.2126, .7152, .0722], [.0193, .1192, .9505]]) @ light
                      / np.array([.9505, 1, 1.089]) + 1e-9)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("who", BLIND)
def test_methods_are_told_apart_without_red_and_green(who):
    labs = [cielab(color(name), BLIND[who]) for name in HEADLINE]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(labs, 2)) > 20


def test_a_method_has_one_colour_everywhere():
    names = rows_of(finished())
    figure = RunComparer([finished() / n for n in names]).figure()
    curves = {to_hex(line.get_color()) for line in figure.axes[-1].get_lines()}
    heads = {t.get_text(): to_hex(t.get_color()) for t in figure.findobj(Text)}
    assert curves == {to_hex(color(n)) for n in names} and all(heads[title(n)] == to_hex(color(n)) for n in names)
    for n in names:
        drawn = CollapseMonitor(finished() / n).figure().axes[0].get_lines()[0].get_color()
        film = {t.get_text(): to_hex(t.get_color()) for t in film_frame([read_demo(finished()).run(n)], 0).texts}
        assert to_hex(drawn) == film[title(n)] == to_hex(color(n)), n
