"""A model card says what the run wrote down, and nothing else"""
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from semipose.report import UNKNOWN, model_card
from semipose.cli import app
from semipose.errors import UserError
from semipose.folder import read_run
from semipose.names import OUTSIDE
from semipose.protocols import protocol
from semipose.run import train

SAMPLE = Path(__file__).parent.parent / "data/sample"
P = replace(protocol("demo", data="", labels=8, size=(32, 32), width=8, batch=(4, 4)), start_steps=0,
            start_every=None, steps=4, every=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train("posedual", P, SAMPLE, tmp_path_factory.mktemp("card") / "pair", seed=5, device="cpu", progress=False)


def numbered(run, **row):
    "The same run with other numbers in its records"
    out = read_run(run.folder)
    for k in ("last", "best"): out[k] = out[k] | row.get(k, {})
    return out


def table(text):
    return {c[0].strip(): [v.strip() for v in c[1:-1]] for line in text.splitlines() if line.startswith("| ")
            for c in [line[2:].split("|")]}


def test_its_numbers_are_those_of_the_records(run):
    nets = [dict(ap=31.26, pck=70.04), dict(ap=33.5, pck=71.)]
    text = model_card(numbered(run, last=dict(nets=nets, ap_ensemble=35.16, pck_ensemble=72.2, step=4),
                               best=dict(nets=nets[::-1], ap_ensemble=36., pck_ensemble=73., step=2)))
    assert (table(text)["network 1"] == ["31.3", "70.0"] and table(text)["network 2"] == ["33.5", "71.0"]
            and table(text)["ensemble"] == ["35.2", "72.2"])
    assert "step 4), chosen on nothing" in text and "`semipose eval pair`" in text
    best = model_card(numbered(run, best=dict(nets=nets[::-1], ap_ensemble=36., pck_ensemble=73., step=2)),
                      weights="best")
    assert (table(best)["network 1"] == ["33.5", "71.0"] and table(best)["ensemble"] == ["36.0", "73.0"]
            and "step 2), chosen on validation" in best and "eval pair --checkpoint best" in best)


def test_it_tells_data_protocol_seed_and_command(run):
    text, r = model_card(run), run.recipe
    for words in (r.sentence, f"seed: {r.seed}", r.command, r.hardware, r.begun,
                  "8 people were used with their joints, and 48 as pictures",
                  "data: `sample`", "16 validation people", "Method(teacher=Peer()", f"torch {r.versions['torch']}",
                  "the mean of its networks"): assert words in text, words
    assert str(run.folder.parent) not in text and not re.search(r"`/", text)
    assert "network 2 alone" in model_card(run, net=2)


def test_what_nobody_wrote_down_is_not_invented(run, tmp_path):
    shutil.copytree(run.folder, here := tmp_path / "old")
    (here / "reading.json").unlink()
    recipe = json.loads((here / "recipe.json").read_text())
    for k in ("versions", "hardware", "begun", "revision"): recipe.pop(k, None)
    (here / "recipe.json").write_text(json.dumps(recipe))
    text = model_card(here)
    assert (all(f"- {k}: {UNKNOWN}" in text for k in ("versions", "hardware", "begun", "revision"))
            and "the validation people of the run" in text)
    assert "Not stated" in text and "license:" not in text.split("---")[1]
    assert "license: cc-by-4.0" in model_card(here, licence="cc-by-4.0").split("---")[1]


def test_what_it_cannot_do_follows_from_the_run(run):
    r = run.recipe
    supervised = [0. if i == 0 else 1. for i in range(17)]
    odd = read_run(run.folder)
    odd.recipe = replace(r, supervised=supervised, teacher="/somewhere/vitpose.json")
    odd["collapsed"] = True
    text = model_card(odd)
    assert ("mean nothing" not in model_card(run) and "means nothing: nose" in text and OUTSIDE.capitalize() in text
            and "`vitpose.json`" in text)
    assert "collapsed" in text and "/somewhere" not in text and OUTSIDE not in model_card(run).lower()
    odd.recipe = replace(r, method="supervised")
    assert "no pictures of others" in model_card(odd)
    odd["best"] = None
    with pytest.raises(UserError, match="no best checkpoint"): model_card(odd, weights="best")


def test_the_command_writes_it_beside_the_files(run):
    out = CliRunner().invoke(app, ["export", str(run.folder), "--to", "torch", "--license", "cc-by-4.0"])
    assert out.exit_code == 0, out.output
    text = (run.folder / "export/MODEL_CARD.md").read_text()
    assert ("`model.pt2`: heat within" in text and text.startswith("---\nlicense: cc-by-4.0\n")
            and "MODEL_CARD.md" in out.output)


def test_pck_comes_first_where_ap_says_nothing(run):
    heads = lambda **row: next(t for t in model_card(numbered(run, last=row)).splitlines() if t.startswith("| | "))
    assert heads(nets=[dict(ap=.2, pck=30.), dict(ap=.9, pck=31.)], ap_ensemble=.5, pck_ensemble=31.).startswith(
        "| | PCK@0.2 | AP |")
    assert heads(nets=[dict(ap=.2, pck=30.), dict(ap=1.9, pck=31.)], ap_ensemble=.5, pck_ensemble=31.).startswith(
        "| | AP | PCK@0.2 |")
