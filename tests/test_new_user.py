"""The walk of README's "Your own data": commands are README's, exports are read alike, the answer is computed"""
import json, shlex
from pathlib import Path

import numpy as np, pytest
from PIL import Image

import new_user as walk
from fakes import fake_demo
from semipose.data.formats import convert, read_labels
from semipose.data.coco import write_json
from semipose.people import prepare
from semipose.protocols import protocol
from semipose.report import FEW, demo_report, gain_text, unlabeled_gains
from test_cli import COMMANDS, TOP, typed

README = (TOP / "README.md").read_text()


@pytest.fixture
def photos(tmp_path):
    "Thirty photographs of noise, two people in every third; their folder"
    rng, out, folder = np.random.default_rng(0), [], tmp_path / "set/images"
    folder.mkdir(parents=True)
    for i in range(30):
        Image.fromarray(rng.integers(0, 255, (60, 90, 3), dtype=np.uint8)).save(folder / f"{i:03d}.jpg")
        people = []
        for k in range(1 + (i % 3 == 0)):
            box = [4. + 40 * k, 6., 30., 40.]
            keys = np.column_stack([rng.uniform(0, 30, 8) + box[0], rng.uniform(0, 40, 8) + 6, np.full(8, 2.)])
            keys[i % 8] *= i % 2            # some joints are not annotated
            people.append(dict(box=box, keys=keys.round(2), area=600.))
        out.append(walk.Photo(f"{i:03d}.jpg", (90, 60), people))
    return out, folder


# ---- the commands ----

def test_commands_come_out_of_readme():
    text = f"# a\n{walk.SECTION}\n\n```sh\npip install -e .\nsemipose  boxes a/   # why\n```\n\n```python\nx\n```\n" \
           "## b\n```sh\nsemipose runs\n```\n"
    assert walk.commands(text) == ["pip install -e .", "semipose boxes a/"]
    found = walk.commands(README)
    assert found[0] == "pip install -e ." and len(found) > 15 and len(set(found)) == len(found)
    assert any(c.startswith("semipose compare") for c in found) and not any("#" in c for c in found)


def written(command):
    "The file or run that a command makes"
    verb, *rest = shlex.split(command)[1:]
    p = COMMANDS[verb].make_context(verb, rest).params
    if verb in ("boxes", "label", "pack"): return str(p["out"])
    if verb == "convert": return str(p["to"])
    if verb == "compare": return f"runs/{p['protocol']}-seed{p['seed']}"
    if verb == "predict": return f"{p['run']}/predictions"
    if verb == "train" and not p["resume"]:
        method, data = p["method"], p["data"] and Path(p["data"]).name
        if p["config"]: method, data, _, _ = Path(p["config"]).name.split("-")
        return f"runs/{p['name'] or f'{method}-{data}-all-seed' + str(p['seed'])}"


def test_no_command_writes_what_another_has_written():
    "every line can be typed after the others: no file is written over, no run folder is there already"
    made = [w for c in walk.commands(README) if c.startswith("semipose") and (w := written(c))]
    assert len(made) > 8 and len(set(made)) == len(made), made


def test_what_is_read_is_there_by_then():
    "runs that commands name have been trained by an earlier line"
    made = set()
    for c in walk.commands(README):
        for word in shlex.split(c):
            if word.startswith("runs/"): assert word in made, c
        if c.startswith("semipose") and (w := written(c)): made.add(w)


def test_only_files_that_readme_leaves_to_the_user_are_put_in():
    csv = "semipose convert CollectedData_me.csv photos/labels.json"
    assert walk.ready(csv, "csv") == (csv, "")
    assert walk.ready(csv, "coco")[0] is None and walk.ready(csv, "yolo")[0].split()[2] == "yolo/"
    assert walk.ready("pip install -e .", "csv")[0] is None
    assert walk.ready("semipose runs", "csv", "--steps 2") == ("semipose runs", "")
    add = "--steps 2 --size 32x32"
    assert walk.ready("semipose train a --size 64x48", "csv", add)[0] == "semipose train a --size 64x48 --steps 2"
    assert walk.ready("semipose train --resume a", "csv", add)[0] == "semipose train --resume a"


def test_the_alternative_is_for_want_of_the_network_alone():
    lost = "The weights of x could not be fetched (no route): ..."
    assert walk.instead("semipose boxes photos/ --out b.json", lost).endswith(walk.DETECTOR)
    assert walk.instead("semipose boxes photos/ --out b.json", "photos: there is no such folder") is None
    assert walk.instead(f"semipose boxes photos/ {walk.DETECTOR}", lost) is None


# ---- the exports ----

@pytest.mark.parametrize("kind", list(walk.EXPORTS))
def test_every_export_is_read_alike(photos, tmp_path, monkeypatch, capsys, kind):
    "the same people and joints; pictures that are only listed stay, are counted, and become the unlabelled ones"
    (photos, folder), home = photos, tmp_path / kind
    walk.settle(home, kind, photos, folder, annotated=12)
    monkeypatch.chdir(home)
    if walk.FILES[kind]:
        done = typed("convert", walk.FILES[kind], "photos/labels.json")
        assert done.exit_code == 0, done.output
        assert "16 people in 30 pictures (18 of them only listed: nobody in them has a joint)" in done.stdout
    labels = read_labels(next(Path("photos").glob("*.json")))
    true = np.concatenate([[a["keys"] for a in p.people] for p in photos[:12]])
    assert labels.files == [p.name for p in photos] and len(labels) == 16
    assert np.array_equal(labels.vis, true[..., 2]) and len(labels.unlabeled) == 18
    assert np.abs(np.where(labels.vis[..., None] > 0, labels.xy - true[..., :2], 0)).max() < 1e-3
    assert labels.skeleton.flips == ((0, 1), (2, 3), (4, 5), (6, 7)), "mirror pairs by name, or from the file"
    boxes = {p.name: [a["box"] for a in p.people] for p in photos}
    write_json("boxes.json", boxes)
    data = prepare(protocol("folder", size=(32, 32)), "photos/", boxes="boxes.json")
    labelled, unlabelled, val = len(data.labeled), len(data.unlabeled), len(data.val.posed)
    line = next(t for t in capsys.readouterr().out.splitlines() if t.startswith("People: "))
    assert line.startswith(f"People: {labelled} labelled + {unlabelled} unlabelled + {val} validation people")
    assert labelled + val == 16 and unlabelled == sum(len(p.people) for p in photos[12:])


def test_names_stay_where_a_picture_is_not_beside_the_labels(photos, tmp_path):
    (photos, folder), home = photos, tmp_path / "csv"
    walk.settle(home, "csv", photos, folder, annotated=12)
    (home / "photos/003.jpg").unlink()
    labels, notes = convert(home / "CollectedData_me.csv", home / "photos/labels.json")
    assert labels.files[0] == "labeled-data/photos/000.jpg" and not any("as they lie" in n.text for n in notes)


def test_a_misspelt_name_is_one_sentence(photos, tmp_path):
    "of one individual in a table; of validation people"
    (photos, folder), home = photos, tmp_path / "csv"
    walk.settle(home, "csv", photos, folder, annotated=12)
    table = home / "CollectedData_me.csv"
    lines = table.read_text().splitlines()
    at = lines[2].rindex("hand_R,hand_R")
    table.write_text("\n".join([*lines[:2], lines[2][:at] + "hand_r,hand_r" + lines[2][at + 13:], *lines[3:]]))
    done = typed("convert", table, home / "photos/labels.json")
    assert done.exit_code == 2 and 'the individual "person1" has no body part "hand_r"' in done.stderr, done.output
    assert not (home / "photos/labels.json").exists() and len(done.stderr.strip().splitlines()) == 1


def test_an_empty_text_of_yolo_is_a_picture_of_nobody(photos, tmp_path):
    (photos, folder), home = photos, tmp_path / "yolo"
    walk.settle(home, "yolo", photos, folder, annotated=12)
    texts = {f.stem: f.stat().st_size for f in (home / "yolo/labels/train").glob("*.txt")}
    assert 0 in texts.values() and len(texts) < 30, "the export has empty texts, and pictures without one"
    labels = read_labels(home / "yolo")
    assert len(labels.files) == 30 and len(labels.unlabeled) == 18
    assert [n.count for n in labels.notes if n.about == "pictures"] == [30 - len(texts)]


# ---- a folder of pictures alone, weights that cannot be fetched ----

def test_pictures_without_labels_are_told_the_remedy(photos):
    _, folder = photos
    done = typed("train", "supervised", "--data", folder, "--device", "cpu")
    assert done.exit_code == 2 and "give their labels with --labels FILE" in done.stderr


def test_weights_that_cannot_be_fetched_have_two_remedies(photos, tmp_path, monkeypatch):
    import torchvision.models
    def no_network(*a, **kw): raise OSError("no route to host")
    monkeypatch.setattr(torchvision.models, "get_model", no_network)
    done = typed("boxes", photos[1], "--out", tmp_path / "b.json", "--device", "cpu")
    said = done.stderr.strip().splitlines()[-1]
    assert done.exit_code == 2 and "no route to host" in said
    assert "--detector-weights" in said and "--detector module:function" in said


# ---- the walk ----

def test_the_walk_goes_on_where_it_stopped(photos, tmp_path, monkeypatch):
    "commands that are written down are not typed again; a correction is made before it is read"
    (photos, folder), home, rows, kept = photos, tmp_path / "coco", [], []
    walk.settle(home, "coco", photos, folder, annotated=12)
    def typed_in(command, home, limit):
        if command == stop: raise KeyboardInterrupt
        people = dict(annotations=[dict(keypoints=[1, 1, 2, 0, 0, 0])])
        if "label " in command: write_json(home / "predicted.json", people)
        lost = "boxes" in command and "--detector" not in command
        return dict(seconds=1., exit=2*lost, last="could not be fetched" if lost else "fine")
    monkeypatch.setattr(walk, "typed", typed_in)
    go = lambda: walk.walk(home, "coco", README, rows, lambda: kept.append(len(rows)), say=lambda *a, **k: None)
    stop = "semipose changes predicted.json corrected.json"
    with pytest.raises(KeyboardInterrupt): go()
    before, stop = len(rows), None
    go()
    done = [r["command"] for r in rows if r.get("why") != "README's alternative without the network"]
    assert done == [c for c in walk.commands(README) if "clip.mp4" not in c] and 0 < before < len(rows) == kept[-1]
    assert json.loads((home / "corrected.json").read_text())["annotations"][0]["keypoints"] == [6, 6, 2, 0, 0, 0]
    first = [r for r in rows if r["command"].startswith("semipose boxes")]
    assert [r["exit"] for r in first] == [2, 0] and first[1]["typed"].endswith(walk.DETECTOR)


def test_the_detector_of_the_walk_answers_by_pixels(photos, tmp_path, monkeypatch):
    (photos, folder), home = photos, tmp_path / "coco"
    walk.settle(home, "coco", photos, folder, annotated=12)
    monkeypatch.chdir(home)
    own = {}
    exec(walk.MINE, own)
    found = np.array(own["find"](Image.open("photos/000.jpg")))
    true = np.array([a["box"] for a in photos[0].people])
    assert found.shape == (2, 5) and 0 < np.abs(found[:, :4] - true).max() < 10
    assert own["find"](Image.new("RGB", (9, 9))) == []


# ---- the answer ----

def compared(folder, val, alone, other, ap=.2):
    "A comparison whose networks found some of eight joints of each validation person"
    ends = dict(supervised=(ap, .6), posedual_jc=(ap, .6))
    fake_demo(folder, ("supervised", "posedual_jc"), pictures=False, ends=ends)
    summary = json.loads((folder / "summary.json").read_text())
    summary["protocol"]["val"], summary["dashed"]["ap"] = val, ap
    write_json(folder / "summary.json", summary)
    for name, hits in (("supervised", alone), ("posedual_jc", other)):
        write_json(folder / name / "people.json", dict(near=[[[h, 8] for h in hits]]))
    return folder


@pytest.mark.parametrize("val, other, answer, words", [
    (6, [6] * 6, "too few", "6 validation people and one seed are too few to say"),
    (50, [6] * 50, "helped", "The unlabelled pictures helped here. PoseDual + JC, its first network: "
                               "PCK +25.0 [+25.0, +25.0]"),
    (50, [2] * 50, "cost", "The unlabelled pictures cost accuracy here."),
    (50, [0, 8] * 25, "undecided", "Whether the unlabelled pictures help is undecided.")])
def test_a_comparison_ends_in_an_answer(tmp_path, val, other, answer, words):
    "by how much, on how many people, and whether that is more than chance"
    folder = compared(tmp_path, val, [4] * val, other)
    (gain,) = unlabeled_gains(folder)
    assert gain.answer == answer and gain.measure == "PCK" and gain.people == val
    assert gain.difference == 100 * (sum(other) - 4 * val) / (8 * val)
    (text,) = gain_text(folder)
    assert words in text and ("try others" in text) == (val >= FEW)
    page = demo_report(folder).read_text()
    assert "Did the unlabelled people help?" in page and "PCK on" in page, "every AP is under one: PCK is drawn"


def test_without_supervised_training_there_is_no_answer(tmp_path):
    folder = compared(tmp_path, 50, [4] * 50, [6] * 50)
    summary = json.loads((folder / "summary.json").read_text())
    del summary["methods"]["supervised"]
    write_json(folder / "summary.json", summary)
    assert gain_text(folder) == [] and "Did the unlabelled people help?" not in demo_report(folder).read_text()


# ---- what was walked ----

def test_the_file_of_the_walk_is_of_todays_readme():
    "a command that README has changed since was not walked: scripts/new_user.py, in a fresh --work"
    d, today = json.loads((TOP / "results/new_user.json").read_text()), walk.commands(README)
    assert not d["about"]["small"] and list(d["exports"]) == list(walk.EXPORTS)[:len(d["exports"])]
    for e in d["exports"].values():
        mine = list(dict.fromkeys(r["command"] for r in e["commands"]))
        assert mine == today[:len(mine)]
        assert all({"exit", "seconds", "last"} <= set(r) or "skipped" in r for r in e["commands"])


# ---- counts that add up ----

@pytest.mark.parametrize("method, text, many", [("supervised", "8", 7), ("posecons", "8 + 7", 7)])
def test_the_unlabelled_are_counted_alike_everywhere(tmp_path, monkeypatch, method, text, many):
    "the line, summary, ledger, list of runs and model card of a training that learns from listed pictures"
    from semipose.folder import list_runs
    from semipose.ledger import read_ledger
    from semipose.report import model_card
    from test_road import TINY, boxes_for, export, line
    monkeypatch.chdir(tmp_path)
    d = export(tmp_path / "d", listed=17, labelled=10)
    boxes_for(d, range(10, 17), tmp_path / "b.json")
    done = typed("train", method, "--data", "d", "--boxes", "b.json", *TINY, "--name", "r")
    assert done.exit_code == 0, done.output
    assert line(done.stdout).startswith(f"People: 8 labelled + {many} unlabelled + 2 validation people")
    (row,), (entry,) = list_runs("runs"), read_ledger("results")[0]
    assert row["people"] == text and (entry.labeled, entry.unlabeled) == (8, many)
    near = json.loads(Path("runs/r/people.json").read_text())["near"]
    assert "near" not in entry.people and np.shape(near) == (1, 2, 2)
    hits, joints = np.array(near[0]).sum(0)
    assert abs(100 * hits / joints - row["PCK"]) < 1e-6, "PCK person by person is PCK"
    card = model_card("runs/r")
    assert "8 people were used with their joints, " + ("and no pictures of others" if method == "supervised"
                                                       else "and 7 as pictures") in card
    again = next(part for part in card.split("`") if part.startswith("semipose eval"))
    COMMANDS["eval"].make_context("eval", shlex.split(again)[2:])
    best = model_card("runs/r", weights="best")
    again = next(part for part in best.split("`") if part.startswith("semipose eval"))
    assert COMMANDS["eval"].make_context("eval", shlex.split(again)[2:]).params["weights"] == "best"


def test_few_steps_are_drawn_in_whole_numbers_and_words_stay_inside(tmp_path):
    from semipose.report import ap_figure, read_demo
    demo = read_demo(compared(tmp_path, 50, [4] * 50, [6] * 50))
    ax = ap_figure(demo).axes[0]
    ax.figure.canvas.draw()
    (start,) = [t for t in ax.texts if t.get_text() == "supervised start"]
    assert start.get_window_extent().y0 > ax.get_window_extent().y0
    ax.set_xlim(-2, 2)
    assert all(v == int(v) for v in ax.get_xticks())
