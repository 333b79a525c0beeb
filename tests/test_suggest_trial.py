"""The trial of `suggest` goes on where it stopped, and its arms differ in their labels alone"""
import json
from pathlib import Path

import pytest
import suggest_trial as trial

SAMPLE = Path(__file__).parent.parent / "data/sample"
WORDS = ["lsp", "--data", str(SAMPLE), "--small", "--seeds", "3-3", "--device", "cpu"]


@pytest.fixture(autouse=True)
def small(monkeypatch): monkeypatch.setitem(trial.SETS, "lsp", dict(protocol="demo", labels=8))


def go(folder, *more):
    return trial.main([*WORDS, "--out", str(folder / "out.json"), "--work", str(folder / "work"), *more])


def numbers(folder):
    return {a: {k: v for k, v in r.items() if k != "seconds"}
            for a, r in json.loads((folder / "out.json").read_text())["seeds"]["3"].items()}


def test_it_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    "arms that are written are not trained again, and the numbers are those of a trial that was never stopped"
    begun, real = [], trial.train

    def counted(method, q, data, folder, *a, **kw):
        begun.append(folder.name)
        if len(begun) == 3: raise KeyboardInterrupt
        return real(method, q, data, folder, *a, **kw)

    monkeypatch.setattr(trial, "train", counted)
    with pytest.raises(KeyboardInterrupt): go(tmp_path / "a")
    assert set(numbers(tmp_path / "a")) == {"start", "chosen", "value"}
    go(tmp_path / "a")
    chosen = ["start-run", "covered-run", "typical-run", "wrong-run"]
    assert begun == ["start-run", "chosen-run", "covered-run", *chosen, "random-run", "double-run"]
    assert not (tmp_path / "a/work/seed3").exists() and "Lacking: 4 of five seeds" in capsys.readouterr().out
    monkeypatch.setattr(trial, "train", real)
    go(tmp_path / "b")
    a, b = numbers(tmp_path / "a"), numbers(tmp_path / "b")
    assert (a == b and {n: a[n]["labels"] for n in trial.ARMS}
            == dict(start=8, chosen=16, covered=16, typical=16, wrong=16, random=16, double=32))
    go(tmp_path / "b")                                                                   # nothing is left to do
    with pytest.raises(SystemExit, match="another trial"): go(tmp_path / "b", "--labels", "6")


def test_arms_can_wait(tmp_path):
    "those that were asked for are trained, the others are said to be lacking and are trained later"
    go(tmp_path, "--arms", "chosen,random")
    assert {"chosen", "random"} <= set(numbers(tmp_path)) <= {"start", "value", "chosen", "random"}
    with pytest.raises(SystemExit, match="the arms are start, chosen"): go(tmp_path, "--arms", "chose")


def test_the_report_counts_seeds_and_says_what_is_lacking():
    arm = lambda n, ap: dict(labels=n, ap=ap, pck=50.)
    seeds = {str(s): dict(start=arm(8, 20.), chosen=arm(16, 34. + s), random=arm(16, 30.), double=arm(32, 34.))
             for s in range(3)}
    text = trial.report(dict(about={}, seeds=seeds))
    assert "chosen +5.0 AP ± 2.5 over as many random labels; 3 of 3 seeds above" in text
    assert "chosen +1.0 AP ± 2.5 against twice as many random labels" in text and "2 of 3 seeds above" in text
    assert "seed 0: covered, typical, wrong" in text and "2 of five seeds" in text


def test_a_folder_is_needed():
    with pytest.raises(SystemExit, match="needs --data"): trial.main(["lsp", "--seeds", "0-0"])


def test_the_wrongest_are_chosen_where_the_truth_is_known():
    "joints far from the truth count, unannotated ones do not, and pictures that are labelled are left out"
    from types import SimpleNamespace as Row

    import numpy as np
    import torch
    from semipose.suggest import Disagreement
    n, files = 4, [f"{i}.jpg" for i in range(4)]
    box = np.tile([0., 0, 50, 100], (n, 1))
    xy = np.random.default_rng(0).uniform(0, 100, (n, 3, 2))
    off = np.zeros((n, 3, 2))
    off[1, 0, 0], off[2, :2, 0], off[3] = 40, 40, 40                # none, one, two (one of it not annotated), labelled
    truth = Row(files=files, image=np.arange(n), xy=xy, vis=np.full((n, 3), 2))
    truth.vis[2, 0] = 0
    people = Row(files=files, image=np.arange(n), box=box, folder="x")
    t = lambda a: torch.from_numpy(np.asarray(a)).float()
    answers = Disagreement(t(xy + off), torch.ones(n, 3), torch.zeros(n, 3), t(xy / 100), torch.zeros(n))
    found = trial.wrongest(Row(people=people, disagreement=answers), truth, 2, ["3.jpg"])
    assert set(found.files) == {"1.jpg", "2.jpg"} and found.value == pytest.approx([1 / 3, 1 / 2][:: 1 if
        found.files[0] == "1.jpg" else -1])


def test_the_readme_says_what_the_trial_on_photographs_found():
    import numpy as np
    from scipy.stats import t
    top = Path(__file__).parent.parent
    seeds = json.loads((top / "results/suggest/lsp.json").read_text())["seeds"]
    d = np.array([s["chosen"]["ap"] - s["random"]["ap"] for s in seeds.values()])
    half = t.ppf(.975, len(d) - 1) * d.std(ddof=1) / len(d)**.5
    said = f"{d.mean():+.1f} [{d.mean() - half:+.1f}, {d.mean() + half:+.1f}] AP"
    assert len(d) == 5 and (d < 0).all()
    assert f"worse on all five seeds: {said}" in " ".join((top / "README.md").read_text().split())
