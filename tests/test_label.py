"""From photographs to labels and back: what a score is worth, what a run writes for a labelling tool, and which
pictures come next."""
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import semipose.cli as cli
from semipose.data.coco import read_coco
from semipose.data.core import People
from semipose.data.formats import read_labels, write_labels
from semipose.data.labels import changes
from semipose.errors import UserError
from semipose.label import Chance, as_found, chance_of, label_run, labeled_people, measure_chance, suggest_run
from semipose.predict import Prediction
from semipose.protocols import protocol
from semipose.run import train
from semipose.skeletons import COCO17
from semipose.suggest import HOW, Disagreement, answers, k_center, k_cover, k_random, suggest

SAMPLE = Path(__file__).parents[1] / "data/sample"


def typed(*args):
    return CliRunner().invoke(cli.app, [str(a) for a in args], env=dict(COLUMNS="200"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    "A run of a few steps on a copy of the sample"
    top = tmp_path_factory.mktemp("r")
    shutil.copytree(SAMPLE, top / "data")
    small = replace(protocol("demo"), name="small", title="small", data=None, labels=8, size=(32, 32), width=8,
                    batch=(4, 4), start_steps=4, start_every=2, steps=4, every=2)
    train("posedual", small, top / "data", top / "mine", 0, device="cpu", progress=False)
    return top / "mine"


@pytest.fixture
def photos(run):
    return run.parent / "data/images/train"


# ---- what a score is worth ----

def test_the_chance_is_what_was_right():
    g = np.random.default_rng(1)
    s = g.uniform(0, 1, 20000)
    chance = measure_chance(s, g.uniform(0, 1, 20000) < .2 + .6 * s)
    assert np.abs(chance([.1, .5, .9]) - (.26, .5, .74)).max() < .03 and chance.joints == 20000
    assert abs(chance.level(.5) - .5) < .05


def test_a_better_score_is_never_worth_less():
    "even where the scores are upside down, and then they are worth the mean"
    s = np.linspace(0, 1, 1000)
    for right in (s < .3, np.arange(1000) % 2 == 0, s > .5):
        chance = measure_chance(s, right)
        assert (np.diff(chance.share) >= -1e-12).all() and 0 < chance.share.min() and chance.share.max() < 1
        assert np.average(chance.share) == pytest.approx((right.sum() + 20) / (1000 + 40), abs=.01)
    assert np.ptp(measure_chance(s, s < .3).share) < 1e-9
    assert measure_chance(s, s > .5).level(.5) == pytest.approx(.5, abs=.03)


def test_few_joints_are_no_proof():
    assert measure_chance(np.linspace(0, 1, 20), np.ones(20, bool)).share.max() < .96
    with pytest.raises(UserError, match="too few"): measure_chance([.5] * 5, [True] * 5)


# ---- labels of a prediction ----

def some(n=3):
    p = read_coco(SAMPLE / "person_keypoints_val.json", SAMPLE / "images/val")
    return p.subset(np.arange(n)).unlabeled()


def test_v_follows_the_chance_and_scores_are_kept():
    p, score = some(), torch.linspace(0, 1, 17).repeat(3, 1)
    taught = np.arange(17) != 16
    chance = Chance(np.array([0., 1.]), np.array([0., .9]), 99)
    a = as_found(p, Prediction(torch.full((3, 17, 2), 20.126), score), taught, chance)
    worth = .9 * score.numpy()[0]
    want = np.where(worth >= .8, 2, np.where(worth >= .3, 1, 0)) * taught
    assert (a.vis == want).all() and set(want) == {0, 1, 2}
    assert (a.xy[a.vis > 0] == 20.13).all() and (a.xy[a.vis == 0] == 0).all()
    np.testing.assert_allclose(a.score[0, :16], score[0, :16], atol=1e-4)      # also where v is 0
    assert np.isnan(a.score[0, 16]) and (a.sure > 0).all() and np.isfinite(a.box).all()


def test_what_a_run_writes_opens_and_comes_back(run, photos, tmp_path):
    a = label_run(run, photos, device="cpu", sure=0., maybe=0.)
    assert len(a.files) == 48 and (a.vis
                                   == 2).all() and a.info["model"] == "mine" and a.info[
                                       "method"] == "posedual" and a.info["date_created"][:2] == "20"
    assert a.info["visibility"]["joints"] > 100
    write_labels(a, tmp_path / "labels.json")
    d = json.loads((tmp_path / "labels.json").read_text())
    assert d["info"]["model"] == "mine" and all({"score", "scores", "bbox", "area"} <= set(o) for o in d["annotations"])
    b = read_labels(tmp_path / "labels.json")
    assert changes(a, b).people["the same"] == len(a)
    b.xy[0, 3] += 7
    b.vis[1, 2], b.xy[1, 2] = 0, 0
    write_labels(b, tmp_path / "corrected.json")
    assert len(read_coco(tmp_path / "corrected.json", photos)) == len(a)        # read as labels
    found = changes(read_labels(tmp_path / "labels.json"), read_labels(tmp_path / "corrected.json"))
    assert found.people["changed"] == 2 and found.joints["moved"] == 1 and found.joints["removed"] == 1


def test_a_run_without_its_people_still_labels_and_says_so(run, photos, tmp_path):
    shutil.copytree(run, tmp_path / "alone")
    shutil.copytree(photos, tmp_path / "photos")
    recipe = json.loads((tmp_path / "alone/recipe.json").read_text())
    (tmp_path / "alone/recipe.json").write_text(json.dumps(recipe).replace(str(run.parent / "data"),
        str(tmp_path / "gone")))
    with pytest.raises(UserError): chance_of(tmp_path / "alone", device="cpu")
    a = label_run(tmp_path / "alone", tmp_path / "photos", device="cpu")
    assert "chance" in [n.about for n in a.notes] and a.info["visibility"]["joints"] == 0 and labeled_people(
        tmp_path / "alone") is None
    assert len(suggest_run(tmp_path / "alone", tmp_path / "photos", 3, device="cpu").files) == 3


def test_pictures_in_which_nobody_is_stay_in_the_list(run, photos, tmp_path):
    names = sorted(p.name for p in photos.iterdir())
    (tmp_path / "boxes.json").write_text(json.dumps({names[0]: [[5, 5, 30, 60], [20, 5, 30, 60]],
                                                     names[3]: [[5, 5, 30, 60]]}))
    a = label_run(run, photos, tmp_path / "boxes.json", device="cpu")
    assert len(a) == 3 and len(a.files) == 48 and a.box[1].tolist() == [20, 5, 30, 60]
    b = label_run(run, photos, tmp_path / "boxes.json", only=[names[3], names[7]], device="cpu")
    assert b.files == [names[3]] and b.image.tolist() == [0]
    with pytest.raises(UserError, match="that are listed"): label_run(run, photos, only=["x.jpg"], device="cpu")
    with pytest.raises(UserError, match="suggest.txt"): label_run(run, photos, only=tmp_path / "none.txt", device="cpu")


# ---- which next ----

class Place(torch.nn.Module):
    "Points at one heatmap pixel in each picture: (y, x) by the picture's brightness"
    def __init__(self, bright, dark):
        super().__init__()
        self.bright, self.dark = bright, dark

    def forward(self, image):
        heat = torch.zeros(len(image), 17, 16, 12)
        for i, im in enumerate(image):
            y, x = self.bright if im.mean() > .5 else self.dark
            heat[i, :, y, x] = 1
        return heat


def test_disagreement_is_that_of_networks_and_of_the_mirror():
    from semipose.codecs import Gaussian
    x = torch.stack([torch.zeros(3, 64, 48), torch.ones(3, 64, 48)])
    xy, score = answers([Place((8, 3), (8, 3)), Place((8, 9), (8, 3))], x, Gaussian(stride=4), COCO17, scales=(1.,))
    assert xy.shape == (4, 2, 17, 2)
    # of the dark picture, of the bright one: net 1, its mirror, net 2, its mirror
    a, b = xy[..., 0, 0].T.tolist()
    assert a == pytest.approx([12, 47 - 12, 12, 47 - 12]) and b == pytest.approx([12, 47 - 12, 36, 47 - 36])


def test_the_mirror_swaps_left_and_right():
    from semipose.codecs import Gaussian

    class LeftEye(torch.nn.Module):
        def forward(self, image):
            heat = torch.zeros(len(image), 17, 16, 12)
            heat[:, 1, 8, 3], heat[:, 2, 8, 8] = 1, 1
            return heat

    xy, _ = answers(LeftEye(), torch.zeros(1, 3, 64, 48), Gaussian(stride=4), COCO17, scales=(1.,))
    assert xy[:, 0, 1, 0].tolist() == pytest.approx([12,
                                                     # in the mirror the left eye is where the right one was found
                                                     47 - 32])


def crowd(n, image=None):
    return People(COCO17, Path("."), [f"{i}.jpg" for i in range(n)], np.arange(n) if image is None
                  else np.array(image), np.arange(n) + 1, np.arange(n if image is None else len(image)),
                  *(np.zeros(((n if image is None else len(image)), *s), np.float32)
                    for s in ((4,), (17, 2), (17,), ())), np.zeros(n if image is None else len(image), bool))


def asked(pose, value):
    n = len(pose)
    p = torch.zeros(n, 17, 2)
    p[:, :, 0] = torch.tensor(pose)[:, None]
    return Disagreement(p, torch.ones(n, 17), torch.zeros(n, 17), p, torch.tensor(value))


def test_value_and_spread_both_count():
    a = asked([0., .01, .02, 1., 1.01], [.9, .89, .88, .5, .4])
    assert suggest(crowd(5), a, 2).files == ["0.jpg", "3.jpg"]                              # not twice the same pose
    assert suggest(crowd(3), asked([0., .5, 1.], [.9, .01, .8]), 2).files == ["0.jpg", "2.jpg"]
    known = torch.zeros(1, 17, 2)
    assert suggest(crowd(5), a, 1, labeled=known).files == [
                                                            # the pose at 0 has a label already
                                                            "3.jpg"]
    assert suggest(crowd(5), a, 9, skip=["0.jpg", "3.jpg"]).files and "0.jpg" not in suggest(crowd(5), a, 9,
        skip=["0.jpg"]).files
    with pytest.raises(UserError, match="nobody is left"): suggest(crowd(1), asked([0.], [1.]), 1, skip=["0.jpg"])


def test_a_picture_is_chosen_once_with_all_its_people():
    a = asked([0., 1., .1, .95, .5], [1., 1., 1., 1., 1.])
    p = crowd(3, image=[0, 0, 1, 1, 2])
    assert suggest(p, a, 3).files[:2] == ["0.jpg",
                                          "2.jpg"]        # 0 and 1 are in one picture; what is near either is known


def test_k_center_covers_better_than_chance():
    g = torch.Generator().manual_seed(0)
    points = torch.cat([torch.randn(200, 2, generator=g) * .1, torch.randn(20, 2, generator=g) * 3])
    radius = lambda rows: torch.cdist(points, points[rows]).amin(1).max()
    mine = radius(k_center(points, 10))
    assert all(mine < radius(torch.randperm(220, generator=g)[:10].tolist()) for _ in range(20))


def test_cover_brings_everybody_nearer_than_chance_and_than_the_farthest_points():
    g = torch.Generator().manual_seed(0)
    points = torch.cat([torch.randn(200, 2, generator=g) * .1, torch.randn(20, 2, generator=g) * 3])
    near = lambda rows: float(torch.cdist(points, points[rows]).amin(1).mean())
    mine = near(k_cover(points, 10))
    assert (mine < near(k_center(points, 10))
            and all(mine < near(torch.randperm(220, generator=g)[:10].tolist()) for _ in range(20)))
    a, p = asked([0., .01, .02, 1., 5.], [.5, .5, .5, .5, 1.]), crowd(5)
    assert suggest(p, a, 1, how="cover").files != suggest(p, a, 1, how="center").files == ["4.jpg"]


def test_random_draws_pictures_evenly_and_the_same_each_time():
    "of a picture the person who is worth most; over many sets of pictures each is as likely as any"
    group = np.repeat(np.arange(5), 2)
    weight = torch.tensor([.1, .9] * 5)
    drawn = k_random(torch.zeros(10, 2), 3, weight, group=group)
    assert len(set(group[drawn])) == 3 and set(drawn) <= set(range(1, 10, 2))
    assert drawn == k_random(torch.rand(10, 2), 3, weight, group=group) and len(k_random(torch.zeros(4, 2), 9)) == 4
    counts = np.zeros(6)
    for off in range(300): counts[[i % 6 for i in k_random(torch.zeros(6 + off, 2), 60)]] += 1
    assert counts.max() < 1.1 * counts.min()


def test_the_command_line_knows_every_way_and_draws_at_random_alone():
    import inspect
    assert set(cli.WAYS) == set(HOW) and inspect.signature(cli.suggest).parameters["how"].default == "random"


def test_pictures_with_labels_are_not_chosen_again(run, photos, tmp_path):
    known = labeled_people(run)
    mine = {known.files[i] for i in known.image}
    assert len(known) == 8
    first = suggest_run(run, photos, 5, device="cpu")
    assert not set(first.files) & mine and len(set(first.files)) == 5
    a = label_run(run, photos, only=first.files, device="cpu", sure=0., maybe=0.)
    write_labels(a, tmp_path / "done.csv")
    again = suggest_run(run, photos, 5, skip=tmp_path / "done.csv", device="cpu")
    assert not set(again.files) & ({*first.files} | mine)
    assert len(suggest_run(run, photos, 99, device="cpu").files) == 48 - len(mine)


# ---- the command line ----

def test_the_road_from_photographs_to_labels_and_back(run, photos, tmp_path, monkeypatch):
    (tmp_path / "finder.py").write_text("def find(picture):\n    w, h = picture.size\n    return [[2, 2, w-4, h-4, "
                                        ".9]]\n")
    monkeypatch.chdir(tmp_path)
    out = typed("boxes", photos, "--out", "boxes.json", "--detector", "finder:find")
    assert out.exit_code == 0 and "48 people in 48 of 48 pictures" in out.output and (
        tmp_path / "boxes.png").is_file(), out.output
    out = typed("suggest", run, photos, "--boxes", "boxes.json", "-n", 6, "--out", "next", "--how", "cover",
                "--device", "cpu")
    assert out.exit_code == 0 and "6 pictures of 48" in out.output, out.output
    assert len((tmp_path / "next/suggest.txt").read_text().split()) == 6 and (tmp_path / "next/suggest.png").is_file()
    written = json.loads((tmp_path / "next/suggest.json").read_text())
    assert len(written["pictures"]) == 6 and written["info"]["how"] == "cover"
    assert typed("suggest", run, photos, "--how", "covers").exit_code == 2
    out = typed("label", run, photos, "--boxes", "boxes.json", "--only", "next/suggest.txt", "--out", "labels.json",
                "--sure", 0, "--maybe", 0, "--device", "cpu")
    assert out.exit_code == 0 and "6 people in 6 pictures: 102 joints visible" in out.output, out.output
    assert typed("label", run, photos, "--out", "labels.json", "--device",
                 "cpu").exit_code == 2          # it may hold corrections
    out = typed("convert", "labels.json", "tasks.json", "--format", "labelstudio")
    assert out.exit_code == 0 and (tmp_path / "tasks.xml").is_file() and "has no place for" in out.output, out.output
    out = typed("changes", "labels.json", "tasks.json", "--keep", "c.json")
    assert out.exit_code == 0 and "6 pictures are in both files" in out.output, out.output
    assert json.loads((tmp_path / "c.json").read_text())["people"] == {"the same": 6, "changed": 0, "added": 0,
        "removed": 0}
    out = typed("label", run, photos, "--out", "yolo", "--format", "yolo", "--device", "cpu")
    assert out.exit_code == 0 and "taken as one person" in out.output and len(
        list((tmp_path / "yolo/images").iterdir())) == 48, out.output


@pytest.mark.parametrize("args, words", [
    (["convert", "none.csv", "x.json"], "no such file"), (["convert", "a.xml", "x.json"], "--format"),
    (["convert", "a.csv", "x.json", "--format", "voc"], "no format named"),
    (["boxes", "nowhere"], "no such folder"), (["boxes", ".", "--out", "x.txt"], ".json"),
    (["changes", "a.json", "b.json"], "a.json"), (["label", "nowhere", "."], "nowhere"),
    (["suggest", "nowhere", "."], "nowhere")])
def test_mistakes_end_in_a_sentence(tmp_path, monkeypatch, args, words):
    monkeypatch.chdir(tmp_path)
    out = typed(*args)
    assert out.exit_code == 2 and words in out.output and "Traceback" not in out.output, out.output


def test_help_of_the_verbs_loads_nothing_heavy():
    import subprocess
    import sys
    code = ("import sys\nfrom typer.testing import CliRunner\nimport semipose.cli as cli\n"
            "for verb in ('boxes', 'label', 'changes', 'suggest', 'convert'):\n"
            "    out = CliRunner().invoke(cli.app, [verb, '--help'])\n    assert out.exit_code == 0 and 'Example:' in "
            "out.output\n"
            "print(*[m for m in ('torch', 'fastai', 'matplotlib', 'kornia', 'timm', 'scipy') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == [], done.stdout + done.stderr
