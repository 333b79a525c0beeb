"""From a folder of photographs to a comparison: whom a usual export makes labelled, unlabelled and validated on."""
import io, json, os, re, shutil, subprocess, sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np, pytest, torch
from PIL import Image
from rich.console import Console

import semipose.cli as cli
from semipose.cli import SPARE, narrower, show_table
from semipose.data.coco import write_json
from semipose.data.sets import box_share
from semipose.errors import UserError
from semipose.folder import open_run
from semipose.people import as_begun, keys_of as keys, prepare, save_who
from semipose.protocols import protocol
from semipose.recipe import at, read_recipe, recipe_of
from semipose.report import numbers, summary_rows
from semipose.run import evaluate_run, words_of
from test_cli import COMMANDS, TOP, typed

TINY = "--net tiny --size 32x32 --batch 4 --start-steps 0 --steps 2 --every 1 --device cpu".split()
NAMES = ["nose", "left_hand", "right_hand", "left_foot", "right_foot", "tail"]      # six joints of one's own


def export(folder, listed=60, labelled=20, side=.4, boxed=(), seed=0):
    "A labelling tool's export: `listed` pictures, the first `labelled` annotated, boxes `side` of a picture wide"
    rng, images, anns = np.random.default_rng(seed), [], []
    (folder / "photos").mkdir(parents=True)
    for i in range(listed):
        Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(folder / "photos" / f"{i:02d}.png")
        images.append(dict(id=i + 1, file_name=f"{i:02d}.png", width=80, height=60))
        box = [4 + i % 9, 5, 80 * side, 60 * side]
        at = rng.uniform(box[:2], np.add(box[:2], box[2:]), (6, 2)).round(1)
        keys = [v for x, y in at for v in (float(x), float(y), 2)]
        if i < labelled or i in boxed:
            anns.append(dict(id=i + 1, image_id=i + 1, category_id=1, bbox=box, area=box[2] * box[3], iscrowd=0,
                             keypoints=keys if i < labelled else [0] * 18, num_keypoints=6 * (i < labelled)))
    cat = dict(id=1, name="mouse", keypoints=NAMES, skeleton=[[1, 6]])
    write_json(folder / "labels.json", dict(images=images, annotations=anns, categories=[cat]))
    return folder


def boxes_for(folder, which, path):
    "One person in each of some pictures"
    write_json(path, {f"{i:02d}.png": [[5, 6, 30, 24]] for i in which})
    return path


def line(out): return next(t for t in out.splitlines() if t.startswith("People: "))
def pictures(crops): return {crops.people.files[i] for i in crops.people.image}


# ---- pictures that are listed and not annotated ----

def test_listed_pictures_with_boxes_are_the_unlabelled_ones(tmp_path, capsys):
    "16 + 40 + 4 = 60, and whom validation measures nobody learns from"
    d = export(tmp_path / "d")
    data = prepare(protocol("folder", size=(32, 32)), d, boxes=boxes_for(d, range(20, 60), tmp_path / "b.json"))
    text = capsys.readouterr().out
    assert line(text).startswith("People: 16 labelled + 40 unlabelled + 4 validation people, in 16 + 40 + 4 pictures")
    assert len(data.labeled) == 16 and pictures(data.unlabeled) == {f"{i:02d}.png" for i in range(20, 60)}
    assert not data.unlabeled.vis.any() and "left out" not in text.lower()
    assert np.array_equal(data.unlabeled.people.box[0], [5, 6, 30, 24])


def test_labels_left_unused_are_unlabelled_ones_too(tmp_path, capsys):
    d = export(tmp_path / "d")
    data = prepare(protocol("folder", labels=10, size=(32, 32)), d,
                   boxes=boxes_for(d, range(20, 60), tmp_path / "b.json"))
    assert line(capsys.readouterr().out).startswith("People: 10 labelled + 46 unlabelled + 4 validation people")
    mine = {data.train.files[i] for i in data.train.image[data.split.labeled]}
    assert not mine & pictures(data.unlabeled) and len(data.unlabeled) == 46


def test_without_boxes_listed_pictures_are_left_out_in_a_sentence(tmp_path, capsys):
    "labelled people fill 16 % of their pictures: a whole photograph is none of them"
    data = prepare(protocol("folder", size=(32, 32)), export(tmp_path / "d"))
    text = capsys.readouterr().out
    assert line(text).startswith("People: 16 labelled + 0 unlabelled + 4 validation people, in 16 + 0 + 4 pictures")
    assert ("nobody has a joint: 40. All are left out: the networks are top-down, each person needs a bounding box"
            in text)
    assert "labelled people fill 16 % of theirs" in text and "semipose boxes" in text and "--detector" in text
    assert data.others is None and [n.count for _, n in data.reading.notes if n.about == "unannotated"] == [40]


def test_where_people_fill_their_pictures_whole_ones_are_people(tmp_path, capsys):
    data = prepare(protocol("folder", size=(32, 32)), export(tmp_path / "d", side=.8))
    assert line(capsys.readouterr().out).startswith("People: 16 labelled + 40 unlabelled + 4 validation people")
    assert np.array_equal(np.unique(data.unlabeled.people.box, axis=0), [[0, 0, 80, 60]])
    assert round(box_share(data.train), 2) == .64


def test_boxes_that_were_drawn_without_joints_are_used(tmp_path, capsys):
    data = prepare(protocol("folder", size=(32, 32)), export(tmp_path / "d", boxed=range(20, 50)))
    text = capsys.readouterr().out
    assert line(text).startswith("People: 16 labelled + 30 unlabelled + 4 validation people")
    assert "nobody has a joint: 40. 10 are left out" in text
    assert pictures(data.unlabeled) == {f"{i:02d}.png" for i in range(20, 50)}


def test_boxes_that_are_nobody_s_are_refused(tmp_path):
    d = export(tmp_path / "d", listed=20)
    with pytest.raises(UserError, match="and there are none: neither is --unlabeled given"):
        prepare(protocol("folder", size=(32, 32)), d, boxes=boxes_for(d, range(20, 30), tmp_path / "b.json"))


def test_a_published_protocol_trains_on_whom_it_did(tmp_path):
    "listed pictures are COCO's pictures without people, too"
    for name in ("coco-1k", "lsp-200", "demo"): assert not protocol(name).unannotated
    assert prepare(protocol("lsp-200", labels=8, size=(32, 32)), export(tmp_path / "d", side=.8)).others is None


# ---- validation pictures are never learned from ----

@pytest.mark.parametrize("how", ["pictures", "folder", "boxes", "copy"])
def test_validation_pictures_are_never_unlabelled_ones(tmp_path, capsys, how):
    d = export(tmp_path / "d")
    if how == "copy": shutil.copytree(d / "photos", tmp_path / "copy")
    place = dict(pictures=d / "photos", folder=d, boxes=d / "photos", copy=tmp_path / "copy")[how]
    boxes = boxes_for(d, range(60), tmp_path / "b.json") if how == "boxes" else None
    data = prepare(protocol("folder", size=(32, 32)), d, unlabeled=place, boxes=boxes)
    text, own = capsys.readouterr().out, {data.val.files[i] for i in data.val.image}
    n = 16 if how == "folder" else 56
    assert line(text).startswith(f"People: 16 labelled + {n} unlabelled + 4 validation people, "
                                 f"in 16 + {n} + 4 pictures")
    assert not {Path(f).name for f in pictures(data.unlabeled)} & own and len(data.unlabeled) == n
    assert f"Left out of the unlabelled people: 4 in 4 of {n + 4} pictures, which are validated on." in text
    assert ("without a bounding box: 40 of 60" in text) == (how == "folder")


def test_only_validation_pictures_are_refused(tmp_path):
    d = export(tmp_path / "d")
    own = prepare(protocol("folder", size=(32, 32)), d, progress=False).val
    (tmp_path / "v").mkdir()
    for i in own.image: shutil.copy(d / "photos" / own.files[i], tmp_path / "v")
    with pytest.raises(UserError, match="all 4 unlabelled pictures are validated on"):
        prepare(protocol("folder", size=(32, 32)), d, unlabeled=tmp_path / "v")


# ---- whole photographs beside tight people ----

def test_whole_photographs_beside_tight_people_are_told(tmp_path, capsys):
    d, more = export(tmp_path / "d"), export(tmp_path / "more", listed=12, seed=1) / "photos"
    prepare(protocol("folder", size=(32, 32)), d, unlabeled=more)
    text = capsys.readouterr().out
    assert "Whole photographs are taken as people: 12 of 12, while the labelled people fill 16 % of theirs" in text
    assert all(w in text for w in ("top-down", "bounding box", "semipose boxes", "--detector"))
    prepare(protocol("folder", size=(32, 32)), d, unlabeled=more, boxes=boxes_for(more, range(12), tmp_path / "b.json"))
    assert "Whole photographs" not in capsys.readouterr().out
    prepare(protocol("folder", size=(32, 32)), export(tmp_path / "e", side=.8), unlabeled=more)
    assert "Whole photographs" not in capsys.readouterr().out, "people who fill their pictures are alike"


# ---- and later ----

@pytest.mark.parametrize("boxes", [True, False])
def test_a_run_goes_on_though_more_has_been_labelled_since(tmp_path, boxes):
    "the pictures that it learned from without labels carry labels by now: it keeps them, and their order"
    d, run, side = export(tmp_path / "d", listed=30, side=.4 if boxes else .8), tmp_path / "run", .4 if boxes else .8
    p = protocol("folder", size=(32, 32), labels=10)
    more = dict(boxes=boxes_for(d, range(20, 30), tmp_path / "b.json")) if boxes else {}
    recipe = at(recipe_of("naive", p, d, **more), run)
    begun = prepare(p, d, progress=False, **more)
    open_run(run, recipe)
    begun.split.save(run / "split.json"), save_who(run / "who.json", begun)
    full = json.loads((export(tmp_path / "x", listed=30, labelled=30, side=side) / "labels.json").read_text())
    (d / "labels.json").write_text(json.dumps(full))
    today = prepare(p, d, progress=False, begun=begun.skeleton, **more)
    assert today.others is None or len(today.others) != len(begun.others)
    again = as_begun(run, recipe, today, p, progress=False)
    assert len(again.others) == 16 and keys(again.train) == keys(begun.train) and keys(again.val) == keys(begun.val)
    for rows in ([0, 9], [15]): assert torch.equal(again.others.batch(rows)["image"], begun.others.batch(rows)["image"])
    (d / "photos" / "25.png").unlink()
    with pytest.raises(UserError, match="unlabelled people are not those|no such picture"):
        as_begun(run, recipe, prepare(p, d, progress=False, begun=begun.skeleton, **more), p, progress=False)


# ---- what is typed ----

def test_a_folder_of_ones_own_gets_what_the_machine_can_do(monkeypatch):
    "pretrained where they can be had, what is typed wins, and steps that were typed shorten the start"
    import semipose.networks as networks
    monkeypatch.setattr(networks, "obtainable", lambda n: n["weights"] == "imagenet")
    p = cli.protocol_of("folder", "cpu")
    assert (p.size, p.batch, p.net, p.weights, p.start_steps, p.steps) == (
        (128, 96), (16, 16), "fpn:tf_efficientnet_lite0", "imagenet", 600, 600)
    p = cli.protocol_of("folder", "cpu", steps=50, net="resnet34", batch=(4, 4))
    assert ((p.net, p.width, p.weights, p.batch, p.steps, p.start_steps)
            == ("resnet34", None, "imagenet", (4, 4), 50, 50))
    monkeypatch.setattr(networks, "obtainable", lambda n: False)
    assert cli.protocol_of("folder", "cpu").weights is None, "where none can be had training begins at random"
    assert cli.protocol_of("folder", "cpu", weights="w.pth").weights == "w.pth"
    assert cli.protocol_of("folder", "cpu", net="tiny", weights="none").weights is None
    assert cli.protocol_of("folder", "cpu", every=500).steps % 500 == 0
    monkeypatch.setattr(networks, "pick_device", lambda device: torch.device("cuda"))
    for memory, batch in ((2**34, (32, 32)), (2**32, (16, 16))):
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda d, m=memory: SimpleNamespace(total_memory=m))
        p = cli.protocol_of("folder", "cuda")
        assert (p.size, p.batch, p.start_steps, p.steps) == ((256, 192), batch, 1000, 2000)
    assert cli.protocol_of("lsp-200", "cuda") == protocol("lsp-200"), "no other protocol follows the machine"


def test_compare_takes_what_train_takes():
    "one definition: every option of train about people, settings, steps and weights, and those of the machine"
    options = {verb: {p.name for p in COMMANDS[verb].params} for verb in ("train", "compare", "sweep")}
    assert options["train"] - options["compare"] == {"method", "name", "runs", "results", "config"}
    assert {"val", "boxes", "detector", "detector_weights", "unlabeled"} <= options["train"] & options["sweep"]


def test_an_option_means_one_thing():
    "--weights an encoder's, --every steps between measurements, --out what the verb writes, --runs where all runs are"
    helps = {}
    for verb, command in COMMANDS.items():
        for p in command.params:
            for flag in getattr(p, "opts", ()): helps.setdefault(flag, {})[verb] = p.help or ""
    assert set(helps["--weights"]) == {"train", "compare", "sweep"} and len(set(helps["--weights"].values())) == 1
    assert set(helps["--every"]) == {"train", "compare"} and len(set(helps["--every"].values())) == 1
    assert set(helps["--checkpoint"]) == {"eval", "detail", "submit", "predict", "label", "suggest", "export"}
    assert set(helps["--runs"]) == {"train", "sweep"} and "--out" not in {f for f in helps if "sweep" in helps[f]}
    assert not [v for v, text in helps["--out"].items() if "all runs" in text]


def test_how_long_it_takes_is_measured(monkeypatch):
    "steps of each method times what a step took, the start with its networks; smaller options are smaller"
    import semipose.networks as networks
    timed = []
    def dry_step(name, m, p, data, peers, device, amp, times):
        timed.append((name, len(peers), times))
        return 3.
    monkeypatch.setattr(networks, "dry_step", dry_step)
    p = replace(protocol("folder"), net="tiny", width=8, size=(64, 48), batch=(8, 4), steps=600, start_steps=1000)
    data = SimpleNamespace(skeleton=range(6), unlabeled=range(40))
    text = networks.forecast(["naive", "posedual_jc"], p, data, torch.device("cpu"), start=2)
    assert timed == [("supervised", 2, 4), ("naive", 1, 4), ("posedual_jc", 2, 4)], (
        "more than one step, the first not timed")
    assert text.startswith("On cpu (") and "about 1.8 hours for 2 methods and their start" in text      # 3 s x 2,200
    assert text.endswith("To make it smaller: --steps 150, --size 32x32, --batch 4+2.")


# ---- through the command line ----

def test_boxes_are_found_once_for_all_runs(tmp_path, monkeypatch):
    "by a function of ones own; two runs, a comparison's folder and a run that is taken up ask nobody twice"
    monkeypatch.chdir(tmp_path)
    export(tmp_path / "d", listed=16, labelled=8)
    calls = []
    def find(picture):
        calls.append(picture.size)
        return [] if len(calls) > 14 else [[5, 6, 30, 24, .9], [1, 1, 9, 9, .2]]
    monkeypatch.setitem(sys.modules, "finder", SimpleNamespace(find=find))
    typed_in = ["--data", "d", "--detector", "finder:find", *TINY]
    first = typed("train", "supervised", *typed_in)
    assert first.exit_code == 0, first.output
    assert "Boxes: 14 people in 14 of 16 pictures" in first.stdout and "in 2 nobody was found" in first.stdout
    assert line(first.stdout).startswith("People: 6 labelled + 6 unlabelled + 2 validation people")
    assert "In 2 of them d-boxes.json has no person; they are left out" in first.stdout
    assert len(calls) == 16 and Path("runs/d-boxes.json").exists() and Path("runs/d-boxes.png").exists()
    for more in (["--seed", "1"], ["--resume"]):
        again = typed("train", "supervised", *typed_in, *more)
        assert again.exit_code == 0 and "runs/d-boxes.json, found before." in again.stdout, again.output
    assert typed("train", "--resume", "runs/supervised-d-all-seed0").exit_code == 0
    assert len(calls) == 16
    surer = typed("train", "supervised", *typed_in, "--box-score", ".95", "--seed", 2)
    assert surer.exit_code == 2 and "lower --min-score (in training --box-score)" in surer.stderr and len(calls) == 32


def test_a_run_with_a_start_says_whose_numbers_two_networks_have(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export(tmp_path / "d", listed=12, labelled=8)
    done = typed("train", "posedual", "--data", "d", *TINY, "--start-steps", "2", "--name", "pair")
    assert done.exit_code == 0, done.output
    assert Path("runs/pair-start/result.json").exists()
    assert "AP, PCK and peaks of two networks are their mean" in done.stdout
    assert Path(read_recipe("runs/pair").start).name == "pair-start"
    assert typed("train", "--resume", "runs/pair").exit_code == 0
    alone = typed("train", "supervised", "--data", "d", *TINY, "--start-steps", "0", "--name", "one")
    assert alone.exit_code == 0 and "two networks" not in alone.stdout


@pytest.mark.parametrize("width", (80, 100, 140))
def test_no_word_of_a_comparison_is_broken(width, monkeypatch):
    row = dict(title="PoseDual + JC", ap=41.25, ap_ensemble=42.1, pck=70.3, peak_labeled=.8, peak_unlabeled=.7,
               peak_reestimated=.6, steps=1200, seconds=3600.)
    found = dict(dashed=row, methods={"supervised": dict(row, title="Supervised", collapsed=False),
                                      "posedual_jc": dict(row, collapsed=True)})
    text = io.StringIO()
    show_table(narrower(summary_rows(found), SPARE, width), out=Console(file=text, width=width))
    shown = text.getvalue()
    assert max(map(len, shown.splitlines())) <= width
    heads = {k: dict(v, pckh=61.5) for k, v in found["methods"].items()}
    rows = narrower(summary_rows(dict(found, dashed=dict(row, pckh=60.), methods=heads)), SPARE, width)
    many = io.StringIO()
    show_table(rows, out=Console(file=many, width=width))
    assert "".join(many.getvalue().split()).count("61.5") == 2 and "yes" in many.getvalue()
    for word in ("collapsed", "re-est.,", "start", "Start (dashed line)", "PoseDual + JC", "unl."): assert word in shown


def test_people_to_validate_on_may_be_in_a_file_anywhere(tmp_path, monkeypatch):
    "their pictures lie beside it; nobody is set aside, and a run that is taken up or evaluated finds them again"
    monkeypatch.chdir(tmp_path)
    export(tmp_path / "d", listed=10, labelled=10), export(tmp_path / "elsewhere" / "v", listed=5, labelled=5, seed=1)
    done = typed("train", "supervised", "--data", "d", "--val", "elsewhere/v/labels.json", *TINY, "--name", "r")
    assert done.exit_code == 0, done.output
    assert line(done.stdout).startswith("People: 10 labelled + 0 unlabelled + 5 validation people")
    assert "Validation people come from labels.json" in done.stdout
    last = json.loads(Path("runs/r/result.json").read_text())["last"]
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = evaluate_run("../runs/r", device="cpu", progress=False)
    assert found["net 1"]["people"] == 5 and found["net 1"]["AP"] == last["ap"]
    assert typed("train", "--resume", "../runs/r", "--val", "x").exit_code == 2, "the recipe knows it"
    missing = typed("train", "supervised", "--data", "../d", "--val", "nowhere.json", *TINY)
    assert missing.exit_code == 2 and "nowhere.json: there is no such file" in missing.stderr


def test_a_comparison_goes_on_from_its_folder_alone(tmp_path, monkeypatch):
    "from another working folder; nothing is trained again, and other options are refused"
    monkeypatch.chdir(tmp_path)
    d = export(tmp_path / "d", listed=12, labelled=8)
    quick = "--net tiny --size 32x32 --batch 4 --steps 2 --every 2 --lr 0.01 --weights none --device cpu".split()
    boxes = boxes_for(d, range(12), tmp_path / "b.json")
    import semipose.run as run
    with monkeypatch.context() as m:
        m.setattr(run, "train_rows", lambda *a, **kw: (_ for _ in ()).throw(KeyboardInterrupt))
        done = typed("compare", "supervised", "naive", "--data", "d", "--boxes", boxes.name, *quick, "--out", "c")
    assert done.exit_code == 130 and "about" in done.stdout and "for 2 methods and their start" in done.stdout
    Path("other").mkdir(), monkeypatch.chdir("other")
    assert "leave the other options out" in typed("compare", "--resume", "../c", "--steps", 4).stderr
    done = typed("compare", "--resume", "../c")
    assert done.exit_code == 0, done.output
    summary = json.loads(Path("../c/summary.json").read_text())
    assert summary["state"] == "done" and list(summary["methods"]) == ["supervised", "naive"]
    assert summary["protocol"]["lr"] == .01 and summary["protocol"]["unlabeled"] == 4
    assert typed("compare", "--resume", ".").exit_code == 2


def test_submit_finds_whose_pictures_they_are(tmp_path, monkeypatch):
    "as README types it: a detector's list, with the picture numbers of the run's own labels"
    monkeypatch.chdir(tmp_path)
    d = export(tmp_path / "d", listed=10, labelled=10)
    assert typed("train", "supervised", "--data", "d", *TINY, "--name", "r").exit_code == 0
    anns = json.loads((d / "labels.json").read_text())["annotations"]
    write_json(tmp_path / "detections.json",
               [dict(image_id=a["image_id"], category_id=1, bbox=a["bbox"], score=.9) for a in anns])
    done = typed("submit", "runs/r", "detections.json", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert {r["image_id"] for r in json.loads(Path("runs/r/submission/net1.json").read_text())} == set(range(1, 11))
    write_json(tmp_path / "others.json", [dict(image_id=99, category_id=1, bbox=[1, 1, 9, 9], score=.9)])
    assert "000000000099.jpg" in typed("submit", "runs/r", "others.json", "--device", "cpu").stderr


def test_the_worst_of_six_joints_are_drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export(tmp_path / "d", listed=10, labelled=10)
    assert typed("train", "supervised", "--data", "d", *TINY, "--name", "r").exit_code == 0
    done = typed("detail", "runs/r", "--device", "cpu", "--worst", "w.png")
    assert done.exit_code == 0 and Path("w.png").read_bytes()[:4] == b"\x89PNG", done.output
    assert "tail" in done.stdout and "AP if one kind were mended" in done.stdout


def test_pck_comes_first_where_ap_says_nothing():
    row = dict(step=6, ap=41.2, pck=50., peak_unlabeled=.61, sup1=.0012, cons1=.0003, seconds=9)
    assert words_of(row)[0] == "AP 41.2" and words_of(dict(row, ap=.4))[:2] == ["PCK 50.0", "AP 0.4"]
    assert next(iter(numbers(dict(row, ap=.4, ap_ensemble=.5, peak_labeled=.6), False))) == "PCK"
    assert next(iter(numbers(dict(row, ap_ensemble=41., peak_labeled=.6), False))) == "AP"


def test_the_lines_of_the_readme_run(tmp_path):
    "in a fresh interpreter, with fewer people and steps; nothing heavy is loaded by the import"
    code = re.search(r"```python\n(from semipose import.*?)```", (TOP / "README.md").read_text(), re.S).group(1)
    small = code.replace("train=200, val=50", "train=24, val=8").replace("steps=100, every=100", "steps=2, every=2")
    assert small.count("=2") > code.count("=2"), "the sizes that are made smaller have changed"
    lines = small.splitlines()
    light = f"{lines[0]}\nimport sys\n" if "," not in lines[0] else "import semipose, sys\n"
    done = subprocess.run([sys.executable, "-c", light + "assert 'torch' not in sys.modules\n" + small],
                          capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ, PYTHONPATH=str(TOP)))
    assert done.returncode == 0 and float(done.stdout.strip().splitlines()[-1]) >= 0, done.stderr[-500:]
