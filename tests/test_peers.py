"The table of peers, and the plan that is computed from it, are what the results say"
import json
import re
from pathlib import Path

import pytest

import plan_cluster

TOP = Path(__file__).resolve().parent.parent
PEERS = TOP / "results/benchmarks/peers.json"


def test_the_readme_has_every_row_of_the_results():
    peers, text = json.loads(PEERS.read_text()), (TOP / "README.md").read_text()
    for r in peers["rows"]:
        assert f"| {r['what']} | {r['peer']} | {' / '.join(f'{v:.2f}' for v in r['ratio'])} |" in text
    for name, why in peers["not_run"].items(): assert f"{name} ({why})" in re.sub(r"\s+", " ", text)


def test_the_plan_is_computed_from_the_results():
    assert (TOP / "results/benchmarks/plan.txt").read_text().endswith(plan_cluster.text(gpus=8, tera=989., share=.08))


def test_a_core_that_reads_half_as_fast_needs_twice_the_cores(tmp_path):
    d = json.loads(PEERS.read_text())
    row = next(r for r in d["rows"] if r["what"] == "crops, from a pack")
    row["best"] = [2*v for v in row["best"]]
    (tmp_path / "slow.json").write_text(json.dumps(d))
    number = lambda text: int(text.split()[0].replace(",", ""))
    usual, slow = (plan_cluster.plan(8, 989., .08, f) for f in (PEERS, tmp_path / "slow.json"))
    for k in ("cores for packed crops", "cores for photographs"):
        assert number(slow[k]) == pytest.approx(2*number(usual[k]), abs=2)
    assert slow["hours"] == usual["hours"]
