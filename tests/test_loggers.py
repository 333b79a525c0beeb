"""TensorBoard and W&B see what a run measures, through fastai's own callbacks, and change nothing"""
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from fastai.callback.core import Callback
from typer.testing import CliRunner

from semipose.cli import app
from semipose.errors import UserError
from semipose.loggers import board_of, log_to
from semipose.protocols import protocol
from semipose.run import take_up, train

SAMPLE = Path(__file__).parent.parent / "data/sample"
P = replace(protocol("demo", data="", labels=8, size=(32, 32), width=8, batch=(4, 4)), start_steps=0,
            start_every=None, steps=4, every=2)
HERE = dict(device="cpu", progress=False)


def rows(run): return [{k: v for k, v in r.items() if k != "seconds"} for r in run["rows"]]


@pytest.fixture
def board(monkeypatch):
    "A TensorBoard of ours: what was written where; like the real one it draws numbers alone"
    written = {}

    class SummaryWriter:
        def __init__(self, log_dir): self.mine = written.setdefault(Path(log_dir).name, [])
        def add_scalar(self, name, value, step): self.mine.append((name, float(value), step))
        def close(self): self.mine.append("closed")

    torch_part = ModuleType("torch.utils.tensorboard")
    torch_part.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "tensorboard", ModuleType("tensorboard"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", torch_part)
    monkeypatch.delitem(sys.modules, "fastai.callback.tensorboard", raising=False)
    yield written
    sys.modules.pop("fastai.callback.tensorboard", None)


@pytest.fixture
def wandb(monkeypatch):
    w = ModuleType("wandb")
    w.run, w.begun, w.logged, w.config = None, [], [], SimpleNamespace(update=lambda *a, **kw: None)

    def init(**kw):
        w.begun.append(kw)
        w.run = SimpleNamespace(step=0, summary=dict(epoch=0))

    def finish(): w.run = None
    w.init, w.finish, w.log = init, finish, lambda d, step=None: w.logged.append((step, d))
    monkeypatch.setitem(sys.modules, "wandb", w)
    monkeypatch.delitem(sys.modules, "fastai.callback.wandb", raising=False)
    yield w
    sys.modules.pop("fastai.callback.wandb", None)


def test_tensorboard_sees_each_step_and_each_measurement(board, tmp_path):
    alone = train("posedual", P, SAMPLE, tmp_path / "alone", **HERE)
    run = train("posedual", P, SAMPLE, tmp_path / "run", cbs=log_to("tensorboard"), **HERE)
    assert rows(run) == rows(alone)
    seen = board["run"]
    steps = [(v, s) for n, v, s in (w for w in seen if w != "closed") if n == "train_loss"]
    assert [s for _, s in steps] == [1, 2, 3, 4] and seen[-1] == "closed"
    for key, of in (("ap", lambda r: r["ap"]), ("peak_unlabeled", lambda r: r["peak_unlabeled"]),
                    ("cons2", lambda r: r["cons2"]),
                    ("net2_ap", lambda r: r["nets"][1]["ap"])):
        assert [(v, s) for n, v, s in seen[:-1] if n == key] == [(of(r), r["step"]) for r in run["rows"][1:]], key
    assert any(n == "lr_0" for n, *_ in seen[:-1]) and not any(n.startswith("fused") for n, *_ in seen[:-1])


def test_the_loss_that_is_logged_is_that_of_the_step(board, tmp_path):
    losses = []
    class Loss(Callback):
        order = 60
        def after_batch(self): losses.append(float(self.loss.detach()))
    more = log_to("tensorboard")
    train("posecons", P, SAMPLE, tmp_path / "run", cbs=lambda *run: [*more(*run), Loss()], **HERE)
    assert board["run"][0][1] == pytest.approx(losses[0], rel=1e-5)     # fastai smooths, and the first is itself


def test_a_run_that_goes_on_counts_on(board, tmp_path):
    class Stop(Callback):
        order = 99
        def after_batch(self):
            if self.learn.teaching.step == 3: raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): train("posecons", P, SAMPLE, tmp_path / "run", cbs=Stop(), **HERE)
    take_up(tmp_path / "run", "cpu", False, cbs=log_to("tensorboard"))
    seen = [w for w in board["run"] if w != "closed"]
    assert [s for n, _, s in seen if n == "train_loss"] == [3, 4] and [s for n, _, s in seen if n == "ap"] == [4]


def test_wandb_gets_a_run_for_each_training(wandb, tmp_path):
    alone = train("posecons", P, SAMPLE, tmp_path / "alone", **HERE)
    wanted = train("posecons", P, SAMPLE, tmp_path / "run", cbs=log_to("wandb"), **HERE)
    assert rows(wanted) == rows(alone) and wandb.run is None        # finished
    [begun] = wandb.begun
    assert (begun["name"].endswith("/run") and begun["config"]["method"] == "posecons"
            and "places" not in begun["config"])
    assert [d["ap"] for _, d in wandb.logged if "ap" in d] == [r["ap"] for r in wanted["rows"][1:]]
    assert len([1 for _, d in wandb.logged if "train_loss" in d]) == 4
    json.dumps(begun["config"])


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_a_missing_package_names_its_command(kind, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, kind, None)
    monkeypatch.delitem(sys.modules, f"fastai.callback.{kind}", raising=False)
    with pytest.raises(UserError, match=rf"--log {kind} needs .*pip install 'semipose\[{kind}\]'"): log_to(kind)
    monkeypatch.chdir(tmp_path)
    out = CliRunner().invoke(app, ["train", "posecons", "--data", str(SAMPLE), "--log", kind, "--device", "cpu"])
    assert out.exit_code == 2 and "pip install" in out.output and not Path("runs").exists()


def test_another_name_is_refused():
    with pytest.raises(UserError, match="tensorboard or wandb"): log_to("csv")
    out = CliRunner().invoke(app, ["train", "posecons", "--data", str(SAMPLE), "--log", "wandbb"])
    assert out.exit_code == 2 and "did you mean wandb" in out.output


def test_the_command_logs(board, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = CliRunner().invoke(app, ["compare", "supervised", "posecons", "--protocol", "demo",
                                   "--data", str(SAMPLE), "--labels", "8", "--start-steps", "2", "--steps", "2",
                                   "--every", "2", "--log", "tensorboard", "--device", "cpu", "--out", "cmp"])
    assert out.exit_code == 0, out.output
    assert (set(board) == {"start", "supervised", "posecons"}
            and board_of(Path("cmp/posecons")) == Path("cmp/tensorboard/posecons"))
