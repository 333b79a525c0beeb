"""Trainings side by side: the same numbers in several processes; what breaks or stops ends all, nothing is lost."""
import json, os, signal, subprocess, sys, time
from dataclasses import replace
from pathlib import Path

import pytest, torch

from semipose import run
from semipose.abreast import abreast, abreast_of
from semipose.errors import UserError
from semipose.ledger import read_ledger
from semipose.protocols import protocol
from semipose.report import demo_report, read_demo
from semipose.run import compare, prepare, side_by_side
from test_cli import typed

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample"
P = replace(protocol("demo", data="", labels=8, size=(32, 32), width=8, batch=(4, 4), steps=4, every=2),
            start_steps=2, start_every=2)
NAMES = ["naive", "supervised", "posedual"]
HERE = dict(device="cpu", progress=False)


def numbers(folder):
    skip = ("seconds",)
    rows = {m: json.loads((folder / m / "result.json").read_text())["rows"] for m in NAMES}
    return {m: [{k: v for k, v in r.items() if k not in skip} for r in found] for m, found in rows.items()}


def test_the_numbers_are_those_of_one_after_the_other(tmp_path):
    "rows, ledger and summary; the page is renewed while trainings go on, and the summary keeps the order asked for"
    pages = []
    def look(folder): pages.append(demo_report(folder).read_text())
    alone = compare(NAMES, P, SAMPLE, tmp_path / "a", **HERE)
    beside = compare(NAMES, P, SAMPLE, tmp_path / "b", jobs=2, on_update=look, **HERE)
    assert numbers(tmp_path / "a") == numbers(tmp_path / "b")
    assert list(beside["methods"]) == list(alone["methods"]) == NAMES and beside["state"] == "done"
    of = lambda f: {(e.method, e.seed, e.ap) for e in read_ledger(f / "results")[0]}
    assert len(of(tmp_path / "b")) == 3 and of(tmp_path / "a") == of(tmp_path / "b")
    assert "Still running" in pages[0] and "Still running" not in pages[-1]


def test_a_row_that_is_still_trained_has_its_line(tmp_path):
    compare(NAMES[:1], P, SAMPLE, tmp_path, **HERE)
    summary = json.loads((tmp_path / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(json.dumps(dict(summary, methods={}, state="running")))
    assert not read_demo(tmp_path).lines, "what is done is not going on"
    result = json.loads((tmp_path / "naive/result.json").read_text())
    (tmp_path / "naive/result.json").write_text(json.dumps(dict(result, state="running")))
    demo = read_demo(tmp_path)
    assert not demo.runs and [r.name for r in demo.lines] == NAMES[:1]
    page = demo_report(tmp_path).read_text()
    os.utime(tmp_path / "naive/result.json", (1e9, 1e9))
    assert not read_demo(tmp_path).lines, "a run of an earlier comparison"
    assert "0 of 1 methods are done" in page and "Plain consistency is at step 4" in page


def broken(x):
    if x == "bad": raise UserError("photo.jpg: it is not a picture.")
    time.sleep(.1)
    return x


def test_what_breaks_says_its_sentence():
    with pytest.raises(UserError, match="photo.jpg: it is not a picture"): list(abreast(broken, ["a", "bad", "b"], 2))


def dies(x): os._exit(9)


def test_a_process_that_the_system_ends_is_told():
    with pytest.raises(UserError, match="ended by the system.*--resume and --jobs 1"): list(abreast(dies, ["a"], 1))


# a shell starts what runs in the background deaf to Ctrl-C
HEARS = dict(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def slow(x):
    Path(x).write_text(str(os.getpid()))
    time.sleep(60)


KILLED = """
import os, sys, test_abreast as t
from semipose.abreast import abreast
if __name__ == "__main__": list(abreast(t.slow, sys.argv[1:], 2))
"""


@pytest.mark.parametrize("signals", [(signal.SIGTERM,), (signal.SIGINT, signal.SIGINT)], ids=["killed", "twice"])
def test_nobody_works_on_for_a_process_that_is_gone(tmp_path, signals):
    (tmp_path / "go.py").write_text(KILLED)
    notes = [tmp_path / "a", tmp_path / "b"]
    here = subprocess.Popen([sys.executable, "go.py", *map(str, notes)], cwd=tmp_path, stderr=subprocess.DEVNULL,
                            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, **HEARS)
    end = time.time() + 200
    while not all(f.exists() and f.read_text() for f in notes) and time.time() < end: time.sleep(.2)
    workers = [int(f.read_text()) for f in notes]
    for s in signals:
        here.send_signal(s)
        time.sleep(1)
    here.wait(30)
    end = time.time() + 30
    alive = lambda pid: Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]
    while any(map(alive, workers)) and time.time() < end: time.sleep(.2)
    assert not any(map(alive, workers))


def test_how_many_at_once(tmp_path, monkeypatch):
    data = prepare(P, SAMPLE, progress=False)
    many = lambda methods=NAMES, p=P, places={}, **kw: side_by_side(methods, p, data, "cpu", places, **kw)
    monkeypatch.setattr("semipose.run.free_memory", lambda: 64e9)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(run, "spawns", lambda: False)
    assert many() == 1, "a script may have no main guard: it says how many"
    monkeypatch.setattr(run, "spawns", lambda: True)
    assert many() == 3 and many(jobs=2) == 2 and many(jobs=9) == 3
    assert many(places=dict(teacher="mine:find")) == 1, "another process would not know it"
    monkeypatch.setitem(run.find_method.__globals__["METHODS"], "of_mine", run.find_method("naive"))
    assert many(["supervised", "of_mine"]) == 1
    assert many(["supervised", "pseudopose"], replace(P, start_steps=0)) == 1, "one waits for the other"
    monkeypatch.setattr("semipose.run.free_memory", lambda: 4e9)
    assert many() == 2
    assert abreast_of(torch.device("cpu"), 3, 1e9, float("inf"), 2) == 2, "where nobody can say how much is free"
    assert abreast_of(torch.device("cuda"), 3, 1e9, 64e9) == 1


def test_ctrl_c_ends_all_and_resume_goes_on(tmp_path):
    words = ["--data", str(SAMPLE), "--net", "tiny", "--size", "32x32", "--batch", "4", "--start-steps", "2", "--every",
             "2", "--device", "cpu", "--steps", "400", "--jobs", "2", "--out", "c"]
    here = subprocess.Popen([sys.executable, "-m", "semipose", "compare", "supervised", "naive", *words], cwd=tmp_path,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
                            **HEARS)
    both = [tmp_path / "c" / m / "state.safetensors" for m in ("supervised", "naive")]
    until = time.time() + 240
    while not all(f.exists() for f in both) and time.time() < until and here.poll() is None: time.sleep(.2)
    os.killpg(here.pid, signal.SIGINT)
    out, err = here.communicate(timeout=120)
    assert here.returncode == 130 and "Traceback" not in err, err
    assert err.count("Stopping after this step") == 1 and "--resume" in err + out
    assert all(f.exists() for f in both), "what was measured is kept"
    states = [json.loads((f.parent / "result.json").read_text())["state"] for f in both]
    assert states == ["running"] * 2


def test_the_command_line_offers_it():
    for verb in ("compare", "demo"): assert "--jobs" in typed(verb, "--help").stdout
