"""A row an outside model teaches is a row like any other, and says it is not comparable wherever its numbers are"""
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from semipose.cli import app
from semipose.data import detect
from semipose.errors import UserError
from semipose.geometry import move
from semipose.ledger import read_ledger
from semipose.losses import deep
from semipose.methods import METHODS, cost, title
from semipose.names import OUTSIDE
from semipose.protocols import protocol
from semipose.run import compare, prepare, train
from semipose.sweep import sweep
from semipose.tables import ledger_report, table_rows
from semipose.teaching import Everything, Method, Outside, Self, Step
from semipose.views import A30, A60, joints_in
from steps import CODEC, SIZE, SUPERVISED, People, build
from semipose.skeletons import COCO17

SAMPLE = Path(__file__).parent.parent / "data/sample"
P = protocol("demo", data="", labels=8, size=(32, 32), width=8, batch=(4, 4), start_steps=2, start_every=2,
             steps=4, every=2)
HERE = dict(device="cpu", progress=False)


def batch(seen=None):
    "A batch of synthetic people, the unlabelled ones with joints too"
    x, y = next(People().from_step(0))
    _, more = next(People().from_step(1))
    vis = torch.full_like(more["vis"], 2) if seen is None else seen
    return x | dict(outside=dict(xy=more["xy"], vis=vis)), y


def step(m, x, y):
    peers = build(m)
    return peers, Step(m, CODEC, SIZE, COCO17.flip_index, SUPERVISED)(peers, (x, y), torch.Generator().manual_seed(3))


# ---- the step


@pytest.mark.parametrize("name", ["outside", "outside_jc"])
def test_the_view_of_a_teacher_who_looks_at_nothing_is_not_rendered(name, monkeypatch):
    "It is still sampled: what follows keeps its chance, and the losses are the same"
    from semipose.views import Renderer
    rendered, plain = [], Renderer.__call__
    monkeypatch.setattr(Renderer, "__call__", lambda self, d, size: rendered.append(d) or plain(self, d, size))
    _, terms = step(METHODS[name], *batch())
    assert len(terms.made.easy) == 1 and terms.made.forward.images == []
    assert not any(d is terms.made.easy[0] for d in rendered) and len(rendered) == 2


def test_the_student_learns_the_joints_that_came_with_the_batch():
    "the loss is that of labels in the student's view; joints without a score and joints nobody labels have no weight"
    seen = torch.full((4, 17), 2)
    seen[:, 5], seen[1] = 0, 0
    x, y = batch(seen)
    _, terms = step(METHODS["outside"], x, y)
    hard = terms.made.hard[0][0]
    xy, vis = joints_in(x["outside"]["xy"], seen * SUPERVISED.long(), hard, COCO17.flip_index)
    target, weight = CODEC.encode(xy, vis, terms.made.targets[0][0][0].shape[-2:])
    want = deep(terms.made.answers["student"][0][0], target, weight, None)
    assert torch.equal(terms.parts["cons1"].detach(), want.detach()) and want > 0
    assert (terms.made.targets[0][0][1][1] == 0).all() and (terms.made.targets[0][0][1] > 0).any()


def test_nobody_of_ours_is_asked():
    "no forward for a teacher: a step costs its students alone, and networks answer labelled and student pictures"
    x, y = batch()
    peers, terms = step(METHODS["outside"], x, y)
    assert not terms.made.forward.memo and set(terms.made.shown) == {"labeled", "student"}
    assert cost("outside", (4, 4)) == (8, 8)
    terms.total.backward()
    assert all(p.grad is not None for p in peers.nets.parameters())


def test_without_joints_it_is_supervised_training():
    x, y = batch(torch.zeros(4, 17, dtype=torch.long))
    _, terms = step(METHODS["outside"], x, y)
    assert terms.parts["cons1"] == 0
    _, none = step(METHODS["outside"], {k: v for k, v in x.items() if k != "outside"}, y)
    assert torch.equal(none.total, terms.total)


def test_what_is_hidden_is_what_the_outside_model_found():
    "holes lie at its joints, moved into the student's view; a joint that it did not find is never hidden"
    seen = torch.zeros(4, 17, dtype=torch.long)
    seen[:, 9] = 2
    x, y = batch(seen)
    _, terms = step(METHODS["outside_jc"], x, y)
    at = move(x["outside"]["xy"], terms.made.hard[0][0].M)[:, 9]
    x["outside"]["vis"] = torch.zeros_like(seen)
    _, none = step(METHODS["outside_jc"], x, y)         # the same chance
    differ = (terms.made.shown["student"][0][0] - none.made.shown["student"][0][0]).abs().sum(1) > 0
    inside = [b for b in range(4) if differ[b].any()]
    assert inside
    for b in inside: assert ((differ[b].nonzero().flip(-1) - at[b]).norm(dim=-1) < 9).all()


def test_an_outside_teacher_gives_joints_alone():
    for wrong in (dict(drawn=True), dict(carried="spline"), dict(evaluation=True), dict(student_views=())):
        with pytest.raises(ValueError, match="outside teacher"):
            Method(Outside(), **{**dict(student_views=(A60,)), **wrong})
    assert Method(Outside(), A30, (A60,)).weight == Everything() and not Self().outside


# ---- training


def results(folder, file="vitpose.json", score=.9, off=0.):
    "The truth about the sample, as somebody's model would write it"
    truth = json.loads((SAMPLE / "person_keypoints_train.json").read_text())
    rows = []
    for a in truth["annotations"]:
        k = np.array(a["keypoints"], float).reshape(-1, 3)
        k[:, :2] += off
        k[:, 2] = np.where(k[:, 2] > 0, score, .1)
        rows.append(dict(image_id=a["image_id"], category_id=1, keypoints=k.ravel().tolist(), score=score,
                         bbox=a["bbox"]))
    (folder / file).write_text(json.dumps(rows))
    return folder / file


def ap(run): return [r["ap"] for r in run["rows"]], [r["cons1"] for r in run["rows"] if "cons1" in r]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    "A run that was never interrupted"
    here = tmp_path_factory.mktemp("alone")
    return train("outside", P, SAMPLE, here / "run", teacher=results(here), **HERE)


def test_a_run_keeps_what_it_was_taught_and_says_what_it_is(alone, capsys):
    kept = json.loads((alone.folder / "teacher.json").read_text())
    assert kept["info"]["description"] == OUTSIDE and kept["info"]["teacher"] == "vitpose.json" and kept["annotations"]
    assert alone["title"] == title("outside") and OUTSIDE in alone["title"]
    assert Path(alone.recipe.teacher).name == "vitpose.json" and all(c > 0 for c in ap(alone)[1])


def test_other_joints_teach_something_else(alone, tmp_path):
    other = train("outside", P, SAMPLE, tmp_path / "run", teacher=results(tmp_path, off=4.), **HERE)
    assert ap(other)[1] != ap(alone)[1]


def test_a_run_goes_on_to_the_same_numbers_when_the_model_is_gone(alone, tmp_path):
    from fastai.callback.core import Callback

    class Stop(Callback):
        order = 99
        def after_batch(self):
            if self.learn.teaching.step == 3: raise KeyboardInterrupt

    file = results(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train("outside", P, SAMPLE, tmp_path / "run", teacher=file, cbs=Stop(), **HERE)
    file.unlink()
    from semipose.run import take_up
    again = take_up(tmp_path / "run", "cpu", False)
    assert ap(again) == ap(alone)


def test_a_function_is_asked_once_for_all_rows(tmp_path, monkeypatch):
    (tmp_path / "one_teacher.py").write_text(
        "import numpy as np\nasked = []\ndef find(picture, boxes):\n    asked.append(len(boxes))\n"
        "    return np.stack([np.concatenate([np.tile(b[:2] + b[2:]/2, (17, 1)), np.full((17, 1), .9)], 1) "
        "for b in boxes])\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(detect.sys.modules, "one_teacher", raising=False)
    compare(["outside", "outside_jc"], P, SAMPLE, tmp_path / "cmp", teacher="one_teacher:find", **HERE)
    people = prepare(P, SAMPLE, progress=False).unlabeled.people
    assert len(detect.sys.modules["one_teacher"].asked) == len(set(people.image.tolist()))
    recipe = json.loads((tmp_path / "cmp/outside_jc/recipe.json").read_text())
    assert (recipe["teacher"] == "one_teacher:find"
            and "teacher" not in json.loads((tmp_path / "cmp/start/recipe.json").read_text()))
    summary = json.loads((tmp_path / "cmp/summary.json").read_text())
    assert all(OUTSIDE in m["title"] for m in summary["methods"].values())


def test_a_sweep_holds_it_beside_the_others(tmp_path):
    "one table with supervised training; another model or gate is another row of it, and nothing else is trained anew"
    p, file = replace(P, name="few", title="Few"), results(tmp_path)
    def again(rows=("supervised", "outside"), **more):
        how = dict(folder=tmp_path / "runs", results=tmp_path / "results") | HERE
        return [e.method for e in sweep(more.pop("p", p), rows, [0], SAMPLE, **how, **dict(teacher=file) | more)["new"]]
    assert again() == ["supervised", "outside"] and again() == []
    entries = read_ledger(tmp_path / "results")[0]
    assert len({e.terms for e in entries}) == 1 and entries[0].source["teacher"] == "vitpose.json"
    shown = {r["method"] for r in table_rows(entries, everything=False)}
    assert shown == {"Supervised", title("outside")} and OUTSIDE in title("outside")
    assert OUTSIDE in Path(ledger_report(tmp_path / "results", draws=20, progress=False)).read_text()
    import shutil
    shutil.rmtree(tmp_path / "runs/few/seed0/outside")
    assert again(p=replace(p, gate=.7)) == ["outside"]
    shutil.rmtree(tmp_path / "runs/few/seed0/outside")
    assert again(teacher=results(tmp_path, "rtmpose.json")) == ["outside"]
    assert len(read_ledger(tmp_path / "results")[0]) == 4


def typed(*words): return CliRunner().invoke(app, list(map(str, words)), env=dict(COLUMNS="120"))


def test_every_table_says_so(alone, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (("eval", alone.folder, "--device", "cpu"), ("detail", alone.folder, "--device", "cpu"),
                  ("runs", alone.folder.parent)):
        out = typed(*words)
        assert out.exit_code == 0 and OUTSIDE in out.output.replace("\n", " "), (words[0], out.output)
    assert typed("report", alone.folder).exit_code == 0 and OUTSIDE in (alone.folder / "report.html").read_text()


@pytest.mark.parametrize("words, sentence", [
    (["train", "outside"], "give --teacher"),
    (["train", "posecons", "--teacher", "none.json"], "choose outside or outside_jc"),
    (["train", "outside", "--teacher", "none.json"], "no such file"),
    (["train", "outside", "--teacher", "no_such:find"], "cannot be imported"),
    (["compare", "supervised", "outside", "--start-steps", "20"], "give --teacher")])
def test_a_missing_teacher_ends_in_a_sentence(words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = typed(*words, "--data", SAMPLE, "--steps", "20", "--every", "20", "--device", "cpu")
    assert out.exit_code == 2 and sentence in out.output.replace("\n", " ") and not (tmp_path / "runs").exists()


def test_a_sweep_of_all_rows_leaves_it_out():
    from semipose.cli import rows_of
    assert "outside" not in rows_of(P, None, None) and "outside" in rows_of(P, None, None, "a.json")
    with pytest.raises(UserError, match="give --teacher"): rows_of(P, None, "outside teacher")


def test_a_row_of_ones_own_says_so_too(monkeypatch):
    monkeypatch.setitem(METHODS, "mine", Method(Outside(), A30, (A60,), nets=2))
    assert title("mine") == f"mine, {OUTSIDE}" and OUTSIDE not in title("posecons")
