"""A saved recipe trains once more to the same numbers; what is typed wins; an unknown key is refused by name"""
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from semipose.cli import TYPED, app
from semipose.errors import UserError
from semipose.recipe import difference, read_config, read_recipe

SAMPLE = Path(__file__).parent.parent / "data/sample"
SMALL = ("--protocol", "demo", "--data", SAMPLE, "--labels", "8", "--size", "32x32", "--batch", "4",
         "--start-steps", "2", "--steps", "4", "--every", "2", "--lr", "0.002", "--seed", "3")


def typed(*words):
    out = CliRunner().invoke(app, [*map(str, words)], env=dict(COLUMNS="200"))
    assert not TYPED.get()
    return out


def rows(folder):
    return [{k: v for k, v in r.items() if k != "seconds"}
            for r in json.loads((Path(folder) / "result.json").read_text())["rows"]]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    here = tmp_path_factory.mktemp("first")
    out = typed("train", "posecons", *SMALL, "--name", "one", "--runs", here / "runs", "--results", here / "results",
                "--device", "cpu")
    assert out.exit_code == 0, out.output
    return here / "runs" / "one"


def again(first, folder, *more):
    return typed("train", *more, "--config", first / "recipe.json", "--runs", folder / "runs",
                 "--results", folder / "results", "--device", "cpu")


def test_it_trains_the_same_run_again(first, tmp_path, monkeypatch):
    "from another folder, whose start is trained anew to the same network"
    monkeypatch.chdir(tmp_path)
    assert (out := again(first, tmp_path)).exit_code == 0, out.output
    new = tmp_path / "runs/posecons-sample-8-seed3"
    assert rows(new) == rows(first) and rows(f"{new}-start") == rows(f"{first}-start")
    d = difference(read_recipe(first), read_recipe(new), first)
    assert d is None or d.what.startswith("start")


def test_what_is_typed_wins(first, tmp_path):
    out = again(first, tmp_path, "naive", "--seed", "4", "--steps", "2", "--lam", "0.5", "--labels", "6",
                "--name", "two")
    assert out.exit_code == 0, out.output
    old, new = read_recipe(first), read_recipe(tmp_path / "runs/two")
    assert (new.method, new.seed, new.steps, new.settings["lam"], new.settings["labels"]) == ("naive", 4, 2, .5, 6)
    assert (new.lr == old.lr == .002 and {k for k in old.settings if old.settings[k] != new.settings[k]}
            == {"labels", "steps", "lam"})


def test_the_recipe_of_a_start_is_trained_from_nothing(first, tmp_path):
    start = first.with_name("one-start")
    out = typed("train", "--config", start, "--runs", tmp_path / "runs", "--results", tmp_path / "results",
                "--name", "s", "--device", "cpu")
    assert out.exit_code == 0, out.output
    assert rows(tmp_path / "runs/s") == rows(start) and not (tmp_path / "runs/s-start").exists()


@pytest.mark.parametrize("d, words", [
    (dict(method="posecons", sede=1), 'key "sede" is unknown: did you mean "seed"'),
    (dict(method="posecons", protocol=dict(name="mine", lamda=.5)),
     'key "lamda" of "protocol" is unknown: did you mean "lam"'),
    (dict(method="posecns"), "did you mean posecons"), (dict(protocol="demo"), "Which method"),
    (dict(method="posecons", protocol="dmo"), "demo"),
    ([1], "does not hold a JSON object"), (dict(protocol=3), "is a name or a JSON object"),
    (dict(method="posecons", protocol=dict(name="mine", labels=0)), "labels=0")])
def test_what_does_not_fit_is_refused_by_name(d, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("run.json").write_text(json.dumps(d))
    out = typed("train", "--config", "run.json", "--data", SAMPLE, "--device", "cpu")
    assert out.exit_code == 2 and words in out.output and not Path("runs").exists(), out.output


def test_a_file_of_ones_own_may_be_short(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(dict(method="naive", protocol="demo", seed=7, steps=30)))
    r = read_config(tmp_path / "run.json")
    assert (r.method, r.seed, r.steps, r.protocol.net) == ("naive", 7, 30, "tiny")
    with pytest.raises(UserError, match="no such file"): read_config(tmp_path / "none.json")


def test_people_that_are_drawn_follow_the_seed(tmp_path, monkeypatch):
    "a recipe of the demo with another seed asks for other people, not for the drawing of the old one"
    from semipose.cli import People, Saved
    from semipose.recipe import at, recipe_of, synthetic_folder
    from semipose.protocols import protocol
    monkeypatch.chdir(tmp_path)
    p = protocol("demo")
    r = at(recipe_of("posecons", p, synthetic_folder(p, 0), 0), tmp_path / "run")
    Path("run.json").write_text(json.dumps(dict(r)))
    assert Saved(Path("run.json")).people(People(), p).data is None
    (tmp_path / "mine").mkdir()
    Path("run.json").write_text(json.dumps(dict(r) | dict(data="mine", places=None)))
    assert Saved(Path("run.json")).people(People(), p).data == Path("mine")
