"""Laws of the widgets: numbers that people are sorted by, controls that draw again, pairs as sliders, the warning,
and what is said when something is missing."""
import json, math, re
from dataclasses import replace

import numpy as np
import pytest
import torch

from semipose.codecs import Gaussian
from semipose.data.synth import DIFFICULTIES, write_synth
from semipose.errors import UserError
from semipose.geometry import compose, invert, move, roomy
from semipose.methods import METHODS
from semipose.nets.peers import build_peers
from semipose.protocols import protocol
from semipose.run import places_of, prepare, train
from semipose.skeletons import COCO17
from semipose.teaching import Sampler
from semipose.touch import png_of, spots_of
from semipose.views import A30, A60, carry, plain, render
from semipose.widgets import (BoundaryLab, CollapseMonitor, Dice, HeatmapBrowser, Monitor, PixelLab, RunComparer,
                              ViewExplorer, album, answer, entropy, fall, heeded,
                              frame_of, teacher_student, monitor_words, people_crops, settings_of, steps_of,
                              strip_album, warning)

P = protocol("demo", train_people=50, val_people=10, labels=30, width=8, batch=(8, 8), start_steps=30, start_every=30,
             steps=20, every=10, lam=4.)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    home = tmp_path_factory.mktemp("runs")
    write_synth(home / "people", P.train_people, P.val_people, seed=1, difficulty=DIFFICULTIES["easy"], progress=False)
    data = prepare(P, home / "people", 1, progress=False)
    train("supervised", P, data, home / "start", 1, steps=30, every=30, lr=4e-3, nets=2, progress=False)
    for name in ("naive", "posedual", "mean_teacher"):
        train(name, P, data, home / name, 1, start=home / "start", progress=False)
    return home


def moved(lab, **values) -> bytes:
    "The picture after hands on controls"
    for k, v in values.items():
        lab.controls[k].value = v
    return lab.image.value


# ---- numbers ----

def test_entropy_is_that_of_a_distribution():
    g = torch.Generator().manual_seed(0)
    h = torch.rand(3, 8, 6, generator=g)
    p = (h / h.sum((-2, -1), keepdim=True)).double()
    assert torch.allclose(entropy(h).double(), -(p * p.log2()).sum((-2, -1)), atol=1e-4)
    assert torch.allclose(entropy(5 * h), entropy(h), atol=1e-4)
    two = torch.zeros(8, 6)
    two[1, 1] = two[7, 5] = .3
    assert entropy(two).item() == pytest.approx(1, abs=1e-4)
    # what is negative says nothing
    assert entropy(torch.where(two > 0, two, -1.)).item() == pytest.approx(1, abs=1e-4)
    assert entropy(torch.zeros(8, 6)).item() == pytest.approx(math.log2(48), abs=1e-4)


def test_a_perfect_answer_is_right_and_a_missing_joint_asks_nothing():
    codec, size = Gaussian(sigma=1.5, stride=2), (64, 48)
    xy = torch.tensor([[[10., 20.], [30., 40.], [5., 6.]]])
    vis = torch.tensor([[2, 1, 0]])
    target, _ = codec.encode(xy, torch.tensor([[2, 2, 2]]), (32, 24))
    a = answer(target, codec, size, xy, vis)
    assert torch.allclose(a.xy, xy, atol=1) and a.error[0, :2].max() < 1 and a.loss[0, :2].max() < 1e-9
    assert torch.isnan(a.error[0, 2]) and torch.isnan(a.loss[0, 2]) and a.peak[0, 2] > .9
    b = answer(.5 * target, codec, size, xy, vis)
    assert (torch.allclose(b.peak, .5 * a.peak)
            and torch.allclose(b.loss[0, 0], .5 * (.5 * target[0, 0]).square().mean()))


# ---- albums ----

def test_an_album_asks_the_networks_of_each_moment(runs):
    from semipose.predict import look
    from semipose.run import load_run
    a = album(runs / "posedual", people=6)
    assert (list(a.moments.values()) == sorted(a.moments.values()) and list(a.moments)[0] == "start"
            and a.moments["step 20"] == 20)
    assert a.networks == ["network 1", "network 2", "ensemble", "teacher", "student"] and len(a) == 6
    for moment, folder in (("start", "start"), ("step 20", "posedual")):
        peers = load_run(runs / folder, device="cpu")[0]
        for i, heat in enumerate(look(peers, a.crops)):
            assert torch.allclose(a.answers[moment, f"network {i + 1}"].heat, heat, atol=1e-5)
    assert a.xy[a.vis > 0].min() > -20 and a.xy[a.vis > 0].max() < 90
    assert "ensemble" not in album(runs / "naive", people=3).networks
    peers, p, sk, r = load_run(runs / "posedual", device="cpu")   # the two roles, brought back to the plain crop
    image = people_crops(runs / "posedual", r, p.size, 6).batch(range(6))["image"]
    codec, start = Gaussian(p.sigma, peers.stride), plain(6, p.size)
    l = teacher_student(peers, METHODS["posedual"], image, codec, p.size, sk.flip_index, r["supervised"],
               Sampler(6, p.size, generator=torch.Generator().manual_seed(0)), 20)
    for role, heat, view in (("teacher", l.teacher, l.easy), ("student", l.student, l.hard)):
        assert torch.allclose(a.answers["step 20", role].heat, carry(heat, view, start, codec, sk.flip_index),
                              atol=1e-5)
    ema = album(runs / "mean_teacher", people=6)
    assert (ema.answers["step 20", "teacher"].heat - ema.answers["step 20", "student"].heat).abs().max() > 1e-3


def test_orders_put_the_worst_first(runs):
    a, when, who = album(runs / "posedual", people=10), "step 20", "ensemble"
    k = a.skeleton.joints.index("left_hip")
    b = a.answers[when, who]
    last = a.order("peak", when, who, "left hip")
    assert b.peak[last, k].tolist() == sorted(b.peak[:, k].tolist())
    loss = b.loss[a.order("loss", when, who, "all joints")].nanmean(1)
    assert (loss.diff() <= 1e-9).all() and len(set(a.order("loss", when, who, "all joints"))) == 10
    apart = a.apart(when)
    assert torch.equal(apart[:, k],
                       (a.answers[when, "network 1"].xy - a.answers[when, "network 2"].xy)[:, k].norm(dim=-1))
    assert (apart[a.order("disagreement", when, who, "left hip"), k].diff() <= 0).all()
    hidden = replace(a, answers={(when, who): b._replace(loss=b.loss.index_fill(0, torch.tensor([3]), torch.nan))})
    assert hidden.order("loss", when, who, "all joints")[-1] == 3                           # nobody knows: last
    assert a.order("as they come", when, who, "left hip") == list(range(10))


def test_a_strip_scrubs_along_training(runs, tmp_path):
    s = strip_album(runs / "naive")
    z = np.load(runs / "naive/strip.npz")
    assert list(s.moments.values()) == z["steps"].tolist() == [0, 10, 20] and len(s.joints) == 18
    assert torch.equal(s.answers["step 20", "network 1"].heat, torch.from_numpy(z["joints"][2]).float() / 255)
    (tmp_path / "recipe.json").write_text((runs / "naive/recipe.json").read_text())
    np.savez_compressed(tmp_path / "strip.npz", **{k: z[k] for k in z if k != "joints"})   # as older runs have it
    one = strip_album(tmp_path)
    assert one.joints == ["all joints"] and torch.equal(one.answers["step 10", "network 1"].heat[:, 0],
                                                        torch.from_numpy(z["heat"][1]).float() / 255)
    (tmp_path / "strip.npz").write_bytes(b"no")
    with pytest.raises(UserError, match="damaged"):
        strip_album(tmp_path)


# ---- controls ----

def test_browser_draws_again_and_comes_back(runs):
    b = HeatmapBrowser(runs / "posedual", people=6)
    first = b.image.value
    for name, value in dict(person=3, joint="left wrist", network="network 2", moment="start", order="peak").items():
        was, old = b.image.value, b.controls[name].value
        assert moved(b, **{name: value}) != was, name
        assert moved(b, **{name: old}) == was, name
    assert b.image.value == first
    # a script changes no control
    assert "left wrist" in b.words(joint="left wrist") and "left wrist" not in b.text.value
    assert moved(b, people="unlabelled people, along training") != first
    assert b.values["joint"] == "all joints" and b.values["moment"] == "step 20"
    assert b.controls["order"].options == ("as they come", "peak")
    assert moved(b, moment="step 0") != moved(b, moment="step 20")


def test_one_move_draws_once(runs):
    for lab, name, value in ((HeatmapBrowser(runs / "posedual", people=4), "people",
                              "unlabelled people, along training"),
                             (ViewExplorer(runs / "start", people=2), "pair", "hard_hard"),
                             (BoundaryLab(ratio=5, most=5), "ratio", 10)):
        moved(lab, **({"k": 2} if "k" in lab.controls else {}))
        draw, seen = lab.draw, []
        lab.draw = lambda **kw: (seen.append(kw), draw(**kw))[1]     # noqa: B023  called before the loop goes on
        moved(lab, **{name: value})
        assert len(seen) == 1 and seen[0] == lab.values, name


@pytest.mark.parametrize("asked, says",
    [(dict(person=99), "person=99 cannot be chosen: it is a whole number, 0 to 5"),
     (dict(joint="left toe"), "left toe"),
     (dict(colour="red"), "no control 'colour'"), (dict(moment="step 7"), "start")])
def test_a_wrong_value_is_told(runs, asked, says):
    with pytest.raises(UserError, match=says):
        HeatmapBrowser(runs / "posedual", people=6).figure(**asked)


def test_a_page_without_widgets_shows_the_picture(runs):
    b = CollapseMonitor(runs / "naive")
    bundle = b._repr_mimebundle_()
    assert {"image/png", "text/plain", "application/vnd.jupyter.widget-view+json"} <= set(bundle)
    import base64, io
    from PIL import Image
    stored, live = base64.b64decode(bundle["image/png"]), b.image.value
    assert len(stored) < len(live)                                       # in fewer colours, and no other picture,
    one, other = (np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(float) for png in (stored, live))
    assert one.shape[1:] == other.shape[1:] and np.abs(one[:len(other)] - other).mean() < 2
    words = one[len(other):]                                             # with the sentence below it
    assert (15 < len(words) < 60 and words.min() < 100 and bundle["text/plain"] == b.sentence
            and b.sentence.startswith("Step "))


def test_comparer_shows_the_same_people(runs, tmp_path):
    c = RunComparer({k: runs / k for k in ("start", "naive", "posedual")}, people=5)
    assert len(c.figure().axes) == 5 and "naive: peak" in c.words()          # the person, three runs, their AP
    assert moved(c, moment=0) != moved(c, moment=1)
    assert moved(c, person=2) != moved(c, person=3)
    ends = [a.answers[list(a.moments)[-1], "ensemble" if "ensemble" in a.networks else "network 1"].peak.mean(1)
            for a in c.albums.values()]
    gap = (torch.stack(ends).amax(0) - torch.stack(ends).amin(0)).numpy()
    last = max(len(a.moments) for a in c.albums.values()) - 1                # two, or three where another was best
    assert f"Person {int(np.argmax(gap))}," in c.words(order="difference in peak", moment=last, person=0)
    import shutil
    write_synth(tmp_path / "people", P.train_people, P.val_people, seed=2, difficulty=DIFFICULTIES["easy"],
                progress=False)
    shutil.copytree(runs / "naive", tmp_path / "naive")
    recipe = json.loads((tmp_path / "naive/recipe.json").read_text())
    (tmp_path / "naive/recipe.json").write_text(
        json.dumps({**recipe, "data": str(tmp_path / "people"),
                    "places": places_of(tmp_path / "naive", data=tmp_path / "people")}))
    (tmp_path / "naive/who.json").unlink()
    with pytest.raises(UserError, match="other people"):
        RunComparer([runs / "posedual", tmp_path / "naive"], people=5)
    with pytest.raises(UserError, match="nothing to compare"):
        RunComparer([])


# ---- pairs as sliders ----

@pytest.mark.parametrize("name",
    ["posecons", "posecons_jc", "posedual_ra", "hard_easy", "hard_hard", "easy_easy", "pair_plain_a30", "pair_co_a30",
     "pair_a90", "pair_jc17"])
def test_a_row_of_the_table_survives_the_sliders(name):
    m, s = METHODS[name], settings_of(METHODS[name])
    shared = any(not v.base for v in (m.teacher_view, m.student_views[0]))
    full = (lambda group, view: (steps_of(s, "base") if not view.base or view.steps == A30.steps and shared else ())
            + steps_of(s, group))
    want = lambda view: view.steps if view.base else A30.steps + view.steps
    for group, view in (("teacher", m.teacher_view), ("student", m.student_views[0])):
        assert sorted(map(repr, full(group, view))) == sorted(map(repr, want(view)))


@pytest.mark.parametrize("name",
                         ["supervised", "data_distillation", "pair_plain_a60", "posedual_released", "pair_nothing"])
def test_a_pair_of_another_shape_is_no_preset(name):
    assert settings_of(METHODS[name]) is None


def test_each_step_keeps_its_dice():
    s, joints = settings_of(METHODS["posecons_jc"]), (torch.full((4, 17, 2), 40.), torch.ones(17))
    student = lambda **kw: Dice({**s, **kw}, 4, (64, 48), 3)(replace(A60, name="student"), joints)
    one, more, turned = student(), student(student_joints=9), student(student_rotate=90)
    other = Dice(s, 4, (64, 48), 4)(replace(A60, name="student"), joints)
    assert torch.equal(one.M, more.M) and more.holes[0].box.shape[1] == 9 and one.holes[0].box.shape[1] == 5
    assert torch.equal(one.holes[0].box, turned.holes[0].box) and not torch.equal(one.M, turned.M)
    assert not torch.equal(one.M, other.M)
    two = student(student_holes=4, student_pieces=4, student_joints=0).holes
    assert len(two) == 2 and not torch.equal(two[0].box, two[1].box)   # its own: not the same for all
    assert torch.equal(student(box=38.).holes[0].box[..., 2:], 2 * one.holes[0].box[..., 2:])


def test_a_target_carries_the_teacher_into_the_student():
    peers = build_peers("tiny", 17, 1, seed=0, net=dict(width=8))
    image = torch.randint(0, 256, (3, 3, 100, 74), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image = torch.nn.functional.interpolate(image.float(), roomy((64, 48))).byte()
    s = settings_of(METHODS["posecons"])
    draws = lambda v, j=None: Dice(s, 3, (64, 48), 1)(replace(v, name="student" if v == A60 else "teacher"), j)
    l = teacher_student(peers, METHODS["posecons"], image, Gaussian(1.5, peers.stride), (64, 48), COCO17.flip_index,
                        np.ones(17),
               draws)
    assert torch.equal(l.target, carry(l.teacher, l.easy, l.hard, Gaussian(1.5, peers.stride), COCO17.flip_index))
    assert (torch.equal(l.pictures[0], render(image, l.easy, (64, 48)))
            and torch.equal(l.pictures[1], render(image, l.hard, (64, 48))))
    peers.eval()
    assert (torch.allclose(l.student, peers.nets[0](l.pictures[1]))
            and torch.allclose(l.teacher, peers.nets[0](l.pictures[0])))
    assert not l.target.requires_grad


@pytest.fixture
def elsewhere(monkeypatch):
    "'meta' in a GPU's stead: it too refuses to meet tensors of the CPU; what comes back from there is noise"
    to, dice = torch.Tensor.to, torch.Generator().manual_seed(0)
    back = lambda t: torch.rand(t.shape, generator=dice)
    monkeypatch.setattr(torch.Tensor, "to", lambda t, *a, **kw: back(t) if t.is_meta
                        and str((*a, kw.get("device"))[0]) == "cpu" else to(t, *a, **kw))
    monkeypatch.setattr(torch.Tensor, "cpu", lambda t: t.to("cpu"))


@pytest.mark.parametrize("name",
    ["naive", "posecons_ra", "posedual_jc", "mean_teacher", "pseudopose", "data_distillation", "multiaugs_dual",
     "sspcm"])
def test_predictions_of_networks_elsewhere(elsewhere, name):
    m, codec = METHODS[name], Gaussian(1.5, 2)
    peers = build_peers("tiny", 17, m.nets, net=dict(width=8)).to("meta")
    peers.copy(**m.copies)
    image = torch.zeros(3, 3, *roomy((64, 48)), dtype=torch.uint8)
    l = teacher_student(peers, m, image, codec, (64, 48), COCO17.flip_index, np.ones(17),
               Sampler(3, (64, 48), generator=torch.Generator().manual_seed(0)), 2000)
    assert {t.device.type for t in (*l.pictures, l.teacher, l.target, l.student, l.easy.M, l.hard.M)} == {"cpu"}
    assert torch.equal(l.target, carry(l.teacher, l.easy, l.hard, codec, COCO17.flip_index)) and l.student.mean() > .1


def test_an_album_of_networks_elsewhere(runs, elsewhere):
    for name in ("naive", "posedual", "mean_teacher"):
        here, there = album(runs / name, people=4), album(runs / name, people=4, device="meta")
        assert (here.answers.keys() == there.answers.keys() and torch.equal(here.crops, there.crops)
                and torch.equal(here.xy, there.xy))
        assert {t.device.type for a in there.answers.values() for t in a} == {"cpu"}


def test_explorer_measures_both_roles(runs):
    e = ViewExplorer(runs / "start", people=8, patience=9., pair="posecons_jc")
    assert len(e.crops["vis"]) == 8
    assert len({moved(e, person=0, dice=5), moved(e, person=1), moved(e, dice=6), moved(e, student_joints=17),
                moved(e, teacher_rotate=90), moved(e, joint="nose")}) == 6
    same = {k: 0 for k in e.values if "_" in k}
    moved(e, **same)
    easy, hard = e.memo[1].accuracy
    assert easy == hard and "both are as accurate" in e.text.value
    assert moved(e, student_holes=30, box=40.) and e.memo[1].accuracy[1] < easy and e.memo[1].accuracy[0] == easy
    moved(e, pair="posecons")
    assert {k: v for k, v in e.values.items() if "_" in k} == pytest.approx(settings_of(METHODS["posecons"]))
    o = e.memo[1]
    home = plain(8, e.size).M
    back, true = move(o.truth[1][0], compose(invert(o.pair.hard.M), home)), move(e.crops["xy"], home)
    as_they_are = (e.crops["vis"] > 0) & ~o.pair.hard.flip[:, None]   # mirrored people's joints have traded names
    assert torch.allclose(back[as_they_are], true[as_they_are], atol=1e-2)
    # a slow network is asked about fewer people
    assert len(ViewExplorer(runs / "start", people=8, patience=1e-9).crops["vis"]) == 1
    with pytest.raises(UserError, match="does not fit"):
        ViewExplorer(runs / "start", people=2, pair="data_distillation")


# ---- hands on figures ----

def spots(lab, kind, label=""):
    return [s for s in lab.image.spots if s["kind"] == kind and label in s["label"]]


def test_a_hover_reads_the_very_heatmap(runs):
    b = HeatmapBrowser(runs / "posedual", people=6)
    b.touched(joint="left wrist", person=2, moment="start")
    s, = spots(b, "heat")
    k, a = COCO17.joints.index("left_wrist"), b.albums["validation people"].answers["start", "ensemble"]
    values = np.frombuffer(b.image.floats, "<f4").reshape(s["shape"])
    assert np.array_equal(values, a.heat[2, k].numpy()) and s["label"] == "left wrist" and s["size"] == list(P.size)
    assert s["stride"] == P.size[0] / a.heat.shape[-2]


def test_clicks_set_controls(runs):
    b = HeatmapBrowser(runs / "posedual", people=6)
    click = lambda lab, s: lab.image.hand(dict(do="click", id=s["id"], n=1))
    click(b, spots(b, "point", "right ankle: peak")[0])
    assert b.values["joint"] == "right ankle" and "right ankle" in b.sentence
    click(b, spots(b, "point", "start: peak")[0])
    assert b.values["moment"] == "start"
    c = RunComparer({k: runs / k for k in ("naive", "posedual")}, people=5)
    c.controls["people"].value = "unlabelled people, along training"
    assert [label for label, _ in c.controls["moment"].options] == ["step 0", "step 10", "step 20"]
    click(c, spots(c, "point", "step 10: AP")[0])
    assert c.values["moment"] == 1 and all(when == "step 10" for _, when in c.answers_at(1, "all joints")[0].values())
    m = CollapseMonitor(made((.5,) * 3, (.04,) * 3, (40, 41, 42)))
    click(m, spots(m, "point", "step 10: AP")[0])
    assert m.values["until"] == 1
    b.image.hand(dict(do="click", id=999, n=7))                          # of a picture that is gone
    assert b.image.answered == 7


def test_every_joint_can_be_clicked_where_it_stands(runs):
    e = ViewExplorer(runs / "start", people=3, patience=9.)
    box = spots(e, "frame")[0]["within"]
    o, (H, W) = e.memo[1], e.size
    for s in spots(e, "point"):
        if not box[0] <= s["at"][0] <= box[2]: continue
        xy = [(s["at"][0] - box[0]) / (box[2] - box[0]) * W - .5, (s["at"][1] - box[1]) / (box[3] - box[1]) * H - .5]
        k = COCO17.joints.index(s["label"].replace(" ", "_"))
        assert np.allclose(xy, o.truth[0][0][0, k].numpy(), atol=.05), s["label"]


def test_the_frame_moves_as_the_hand_says(runs):
    "turned and resized about its own centre, moved by so many px of the teacher's view; the teacher stays"
    e = ViewExplorer(runs / "start", people=3, patience=9.)
    corners = lambda: frame_of(e.memo[1].pair, 1, e.size)
    before, teacher = corners(), e.memo[1].pair.easy.M
    e.image.hand(dict(do="frame", id=spots(e, "frame")[0]["id"], turn=90, zoom=.5, right=3, down=-2, n=1))
    after, middle = corners(), before.mean(0)
    turned = torch.stack([before[:, 1] - middle[1], middle[0] - before[:, 0]], -1)  # counter-clockwise on the screen
    assert torch.allclose(after, middle + .5 * turned + torch.tensor([3., -2.]), atol=1e-2)
    assert torch.equal(teacher, e.memo[1].pair.easy.M) and "turned by 90 degrees" in e.sentence
    o, codec = e.memo[1].pair, e.codec
    assert torch.equal(o.target, carry(o.teacher, o.easy, o.hard, codec, COCO17.flip_index))   # the target goes along
    e.touched(turn=20.03, right=1e6)  # only what a slider can hold: what it rounded came back late, over newer values
    now = spots(e, "frame")[0]["now"]
    assert now["turn"] == 20 and now["right"] == 512 and all((8 * v).is_integer() for v in (now["turn"], now["right"]))
    e.controls["pair"].value = "hard_hard"                               # another pair begins without the hand
    assert spots(e, "frame")[0]["now"] == dict(turn=0, zoom=1, right=0, down=0)


def test_sliders_have_room_and_every_moment_has_a_play_button(runs):
    import ipywidgets as ipw
    labs = (HeatmapBrowser(runs / "naive", people=3), RunComparer([runs / "naive"], people=3),
            CollapseMonitor(runs / "naive"))
    for lab in labs:
        play = lab.controls["play"]
        slider = next(c for c in lab.controls.values() if isinstance(c, ipw.SelectionSlider))
        play.value = 0
        assert slider.index == 0 and play.max == len(slider.options) - 1 and "play" not in lab.values
        play.value = play.max
        assert slider.index == play.max
    labs[0].controls["people"].value = "unlabelled people, along training"
    assert labs[0].controls["play"].max == 2                             # another album has other moments


def test_a_widget_says_that_a_cell_trains():
    from semipose import widgets
    lab = PixelLab()
    assert ([widgets.busy_words(s) for s in ("train('naive', p)", "fit(learn, 8)", "x = 1")] == ["training ..."] * 2
            + ["a cell is running ..."])
    widgets.tell_labs("training ...")
    assert lab.image.status == "training ..."
    widgets.tell_labs("")
    assert lab.image.status == ""


# ---- the warning ----

def made(peaks, front, aps):
    return [dict(step=10 * i, peak_unlabeled=p, foreground=f, ap=a, peak_labeled=p)
            for i, (p, f, a) in enumerate(zip(peaks, front, aps))]


def test_the_warning_needs_low_peaks_and_less_foreground():
    assert warning(made((.5, .38, .37), (.04, .03, .03), (40, 40, 40))) == 2            # below three quarters of .5
    assert warning(made((.5, .38, .38), (.04, .03, .03), (40, 40, 40))) is None
    assert warning(made((.5, .41, .39), (.04, .03, .03), (40, 40, 40)), share=.8) == 2
    assert warning(made((.5, .3, .2), (.04, .05, .05), (40, 40, 40)), shrink=False) == 1
    assert warning(made((.5, .3, .2), (.04, .05, .05), (40, 40, 40))) is None           # lower and wider
    assert warning(made((.5, .3, .2), (.04, .05, .03), (40, 40, 40))) == 2
    assert warning([]) is None and warning([dict(step=0, ap=3)]) is None


def test_a_fall_does_not_come_back_and_lead_counts_evaluations():
    assert (fall(made((1,) * 4, (1,) * 4, (40, 35, 41, 40))) is None
            and fall(made((1,) * 4, (1,) * 4, (40, 37, 35, 30))) == 2)
    curves = dict(early=made((.5, .3, .2, .1), (.04, .03, .02, .01), (40, 40, 40, 9)),
                  late=made((.5, .5, .5, .1), (.04, .04, .04, .01), (40, 40, 9, 9)),
                  same=made((.5, .5, .1), (.04, .04, .01), (40, 40, 9)),
                  blind=made((.5,) * 3, (.04,) * 3, (40, 9, 9)),
                  alarm=made((.5, .3, .3), (.04, .03, .03), (40, 40, 41)),
                  fine=made((.5,) * 3, (.04,) * 3, (40, 41, 42)))
    got = {r["name"]: (r["kind"], r["lead"]) for r in heeded(curves)}
    assert got == dict(early=("ahead", 2), late=("late", -1), same=("with the fall", 0), blind=("missed", None),
                       alarm=("false alarm", None), fine=("quiet", None))
    # the rule can be another
    assert [r["kind"] for r in heeded(curves, share=.1)] == ["missed", "missed", "missed", "missed", "quiet", "quiet"]


def test_monitor_follows_rows_and_says_where_it_stands(runs):
    rows = made((.5, .45, .3, .1), (.04, .04, .03, .01), (40, 41, 33, 9))
    m = CollapseMonitor(rows[:1], dashed=38., method="naive")
    assert "AP 40.0, +2.0" in m.text.value and "No warning" in m.text.value
    pictures = [m.image.value] + [(m.show(rows[:n]), m.image.value)[1] for n in (2, 3, 4)]
    assert len(set(pictures)) == 4 and "Warning at step 20" in m.text.value and m.values["until"] == 3
    assert moved(m, until=1) == pictures[1] and "No warning" in m.text.value
    # also a row that measured no peaks
    back = made((.5, .3, .5), (.04, .03, .04), (40, 40, 41)) + [dict(step=30, ap=41.)]
    assert ("Warned at step 10; by now" in monitor_words(back[:3]) and "Warned at step 10" in monitor_words(back)
            and warning(back) == 1)
    with pytest.raises(UserError, match="give a run folder"):
        CollapseMonitor(None)
    assert monitor_words([]) == "Nothing has been measured yet." and len(CollapseMonitor().figure().axes) == 4
    assert json.loads((runs / "naive/result.json").read_text())["rows"] == CollapseMonitor(runs / "naive").rows


def test_the_callback_draws_while_it_trains(runs, tmp_path):
    from semipose.data.streams import Streams
    from semipose.loop import Training, fit, learner
    from semipose.run import Evaluate, begin_from, codec_of
    from semipose.watch import Watch
    data = prepare(P, runs / "people", 1, progress=False)
    def run(*cbs):
        peers = begin_from(build_peers("tiny", 17, 1, net=dict(width=8)), runs / "start")
        codec = codec_of(P, peers.stride)
        stream = Streams(data.labeled, data.unlabeled, P.batch, 4, 1)
        return fit(learner(peers, METHODS["naive"], stream, codec, P.size, COCO17, data.supervised,
                           Training(2, 1e-3), cbs), 4)
    seen = []
    class Spy(Monitor):
        def after_epoch(self):
            super().after_epoch()
            seen.append((len(self.lab.rows), (tmp_path / "live.png").read_bytes()))
    peers = build_peers("tiny", 17, 1, net=dict(width=8))
    spy = Spy(tmp_path / "live.png", method="naive")
    run(spy, Watch(Evaluate(data, P, codec_of(P, peers.stride))))     # whatever the order in which they are given
    assert ([n for n, _ in seen] == [1, 2, 3] and len({png for _, png in seen}) == 3
            and list(tmp_path.iterdir()) == [tmp_path / "live.png"])
    with pytest.raises(UserError, match="Watch"):
        run(Monitor())


def test_a_training_takes_a_monitor_along(runs, tmp_path):
    data, monitor = prepare(P, runs / "people", 1, progress=False), Monitor(tmp_path / "live.png", method="naive")
    told = train("naive", P, data, tmp_path / "run", 1, start=runs / "start", progress=False, cbs=[monitor])
    assert monitor.lab.rows == told["rows"] and (tmp_path / "live.png").read_bytes() == monitor.lab.image.value
    alone = train("naive", P, data, tmp_path / "alone", 1, start=runs / "start", progress=False)
    assert [r["ap"] for r in alone["rows"]] == [r["ap"] for r in told["rows"]]          # who watches changes nothing


def test_in_a_notebook_the_last_picture_is_what_stays(runs, tmp_path, monkeypatch):
    import IPython
    shown = []
    class Handle:
        def update(self, lab): shown.append(("update", lab.image.value))
    monkeypatch.setattr(IPython, "get_ipython", lambda: type("Shell", (), dict(kernel=1))())
    monkeypatch.setattr(IPython.display, "display", lambda lab, display_id: shown.append(("display", lab.image.value))
                        or Handle())
    monitor = Monitor(method="naive")
    train("naive", P, prepare(P, runs / "people", 1, progress=False), tmp_path / "run", 1, start=runs / "start",
          progress=False, cbs=[monitor])
    assert ([what for what, _ in shown] == ["display", "update"]
            and shown[1][1] == monitor.lab.image.value != shown[0][1])


# ---- the pixels ----

def test_pixels_tell_the_limit_of_the_closed_form():
    from semipose.collapse import limit, settled
    p = PixelLab(ratio=100)
    assert ("280" in p.words()
        and len({p.image.value, moved(p, ratio=300), moved(p, who="easy"), moved(p, high=.3), moved(p, low=.1),
                 moved(p, lam=1.)}) == 6)
    kw = dict(high=.3, low=.1, lam=1.)
    assert p.values == dict(who="easy", ratio=300, **kw)
    assert f"{settled('easy', 300, **kw)[0]:.2f}" in p.text.value and f"{limit('easy', **kw):,.0f}" in p.text.value
    for who in ("both", "easy", "hard"):   # nothing that a slider can choose runs away
        for high, low in ((0, 0), (0, .25), (1, 0), (1, .25), (.5, .25)):
            for ratio in (1, 3, 1000):
                p.words(who=who, ratio=ratio, high=float(high), low=float(low), lam=3.)


def test_what_a_hand_on_a_slider_cannot_have_is_said_below_the_picture():
    class Picky(PixelLab):
        def draw(self, who, ratio, **kw):
            if ratio == 1000: raise UserError("A thousand <are> too many.")
            return super().draw(who, ratio, **kw)
    p = Picky(ratio=10)
    before = p.image.value
    p.controls["ratio"].value = 1000
    assert p.image.value == before and "A thousand &lt;are&gt; too many." in p.text.value
    p.controls["ratio"].value = 3
    assert p.image.value != before and "too many" not in p.text.value
    with pytest.raises(UserError):
        p.figure(ratio=1000)


def test_who_cannot_begin_says_so():
    class Broken(PixelLab):
        def draw(self, **values): raise UserError("There is nothing here.")
    with pytest.raises(UserError, match="nothing here"):
        Broken()


# ---- the boundary ----

def test_boundary_goes_forward_and_back_exactly():
    b = BoundaryLab(ratio=10, most=20)
    pictures = [b.image.value] + [(b.controls["step"].click(), b.image.value)[1] for _ in range(3)]
    assert len(set(pictures)) == 4 and b.values["k"] == 3
    for k in (2, 1, 0):
        b.controls["back"].click()
        assert b.image.value == pictures[k]
    b.controls["back"].click()
    assert b.values["k"] == 0                                           # no step before the first
    assert moved(b, k=3) == pictures[3]
    b.controls["reset"].click()
    assert b.image.value == pictures[0] and len(b.toy) == 0
    moved(b, k=2)
    assert moved(b, who="easy") and moved(b, k=3) != pictures[3]         # holds from the next step on
    moved(b, k=1)
    one = b.toy.fates()["height"]
    moved(b, k=4)
    moved(b, who="hard")
    moved(b, k=1)
    assert b.toy.fates()["height"] == one   # back is the past, not the same steps under other settings
    moved(b, ratio=100)
    assert b.values["k"] == 0 and b.toy.settings["ratio"] == 100
    assert b.box.children[0].children[0].value == 0                      # `play` stands where the slider stands


def test_asking_a_boundary_for_a_figure_leaves_it_where_it_is():
    b = BoundaryLab(who="both", ratio=10, most=20)
    moved(b, k=3)
    moved(b, who="easy")
    moved(b, k=6)
    here, picture = b.toy.fates(), b.image.value
    assert b.words(k=0) != b.words() and b.figure(ratio=3) and b.figure(k=10)
    assert b.toy.fates() == here and len(b.toy) == 6 and (b.redraw(), b.image.value)[1] == picture


@pytest.mark.parametrize("make, says", [
    (lambda: PixelLab("nobody"), "who='nobody' cannot be chosen"),
    (lambda: PixelLab(ratio=0), "ratio=0 cannot be chosen"), (lambda: PixelLab(foo=3), "no control 'foo'"),
    (lambda: PixelLab(high=3.), "0.0 to 1.0"), (lambda: BoundaryLab(foo=1), "no setting foo"),
    (lambda: BoundaryLab(lam=99.), "more than its slider"),
    (lambda: CollapseMonitor(made((.5,) * 3, (.04,) * 3, (40,) * 3)).figure(until=.5), "one of 0, 1, 2")])
def test_a_wrong_beginning_is_told(make, says):
    with pytest.raises(UserError, match=says):
        make()


def test_another_album_brings_its_own_choices(runs):
    b = HeatmapBrowser(runs / "naive", people=4)
    before, strip = b.values, "unlabelled people, along training"
    assert (b.figure(people=strip) and "network 1" in b.words(people=strip)
            and "step 10" in b.words(people=strip, moment="step 10"))
    assert b.values == before
    with pytest.raises(UserError, match="moment="):
        b.figure(people=strip, moment="start")


def test_reading_a_damaged_run_again_is_told_below_the_picture(runs, tmp_path):
    import shutil
    shutil.copytree(runs / "naive", tmp_path / "run")
    m = CollapseMonitor(tmp_path / "run")
    before = m.image.value
    (tmp_path / "run/result.json").write_text("{")
    m.controls["again"].click()
    assert "damaged" in m.text.value and m.image.value == before


# ---- what is missing ----

def test_what_is_missing_is_told_in_one_sentence(runs, tmp_path):
    import shutil
    with pytest.raises(UserError, match="There is no run folder"):
        HeatmapBrowser(tmp_path / "none")
    lost = tmp_path / "lost"
    shutil.copytree(runs / "naive", lost)
    recipe = json.loads((lost / "recipe.json").read_text())
    (lost / "recipe.json").write_text(
        json.dumps({**recipe, "data": "somewhere/else", "places": places_of(lost, data="somewhere/else")}))
    with pytest.raises(UserError, match="data=FOLDER"):
        album(lost)
    assert len(album(lost, people=3, data=runs / "people")) == 3
    b = HeatmapBrowser(lost)                                             # the strip is still there
    assert list(b.albums) == ["unlabelled people, along training"]
    (lost / "strip.npz").unlink()
    for f in ("weights.safetensors", "best.safetensors"):
        (lost / f).unlink()
    (lost / "recipe.json").write_text(json.dumps({**recipe, "start": None}))
    for make in (HeatmapBrowser, album):
        with pytest.raises(UserError, match="keeps no networks"):
            make(lost)
    with pytest.raises(UserError, match="strip.npz"):
        strip_album(lost)


# ---- drawn again on the same ground ----

def as_drawn_anew(lab, moves):
    "After each move, the lab's picture and spots are those of a lab that has drawn nothing before"
    first = lab.figure()
    before, grounds = first._repr_png_(), [lab.paper]
    for hand in ({}, *moves):
        lab.touched(**hand)
        if grounds[-1] is not lab.paper: grounds.append(lab.paper)
        new = lab.figure()
        for scale in (1.2, 2., 1.2):                                    # another size, and back
            assert png_of(lab.paper, scale) == png_of(new, scale), hand
        assert lab.image.value == png_of(new, 1.2), hand
        assert [repr(s) for s in spots_of(lab.paper)] == [repr(s) for s in spots_of(new)], hand
    assert first._repr_png_() == before, "a picture that was taken moved with the sliders"
    return len(grounds)


def test_an_explorer_on_a_kept_ground_shows_what_a_new_figure_would(runs):
    e = ViewExplorer(runs / "start", people=3, patience=9.)
    joint, hand = dict(joint="left wrist"), dict(turn=20., right=8., zoom=1.5)
    moves = [hand, joint, dict(person=2), dict(student_rotate=60), dict(joint="all joints"),
             dict(turn=0., right=0., zoom=1.), dict(pair="hard_easy"), dict(person=0, **joint),
             dict(pair="posecons_jc", dice=3), dict(dice=0)]
    assert as_drawn_anew(e, moves) == 1, "one ground serves all of them"


def test_a_boundary_on_a_kept_ground_shows_what_a_new_figure_would():
    b = BoundaryLab(ratio=10, most=20)
    moves = [dict(k=1), dict(k=6), dict(who="easy"), dict(k=8), dict(k=2), dict(ratio=100), dict(k=3), dict(seed=2),
             dict(k=1), dict(k=0), dict(who="nobody"), dict(k=2), dict(who="both"), dict(lam=12.), dict(k=20),
             dict(ratio=10), dict(k=1)]
    assert 6 <= as_drawn_anew(b, moves) < len(moves), "a ground serves many steps"


def test_pixels_on_a_kept_ground_show_what_a_new_figure_would():
    moves = [dict(ratio=r, who=who) for r, who in ((1000, "both"), (2, "hard"), (300, "easy"), (5, "both"))]
    lab = PixelLab()
    assert as_drawn_anew(lab, [*moves, dict(lam=3.), dict(high=.2), *moves[:1]]) == 1


def test_labs_beside_each_other_share_no_ground():
    one, other, toys = PixelLab(ratio=5), PixelLab(ratio=300), (BoundaryLab(ratio=10), BoundaryLab(ratio=10))
    for lab in toys:
        lab.touched(k=2)
    stood = [lab.image.value for lab in (other, toys[1])]
    one.touched(ratio=1000)
    toys[0].touched(k=3)
    assert one.paper is not other.paper and toys[0].paper is not toys[1].paper
    assert [png_of(lab.paper, 1.2) for lab in (other, toys[1])] == stood
    assert png_of(toys[0].paper, 1.2) == toys[0].image.value != stood[1]


def test_a_picture_that_cannot_be_drawn_leaves_a_ground_to_draw_on():
    class Picky(BoundaryLab):
        def outcome(self, k):
            if k == 2: raise UserError("Not the second.")
            return super().outcome(k)
    b, plain_one = Picky(ratio=10), BoundaryLab(ratio=10)
    for k in (1, 2, 3):
        b.touched(k=k)
    plain_one.touched(k=3)
    assert b.image.value == plain_one.image.value


def test_the_teacher_is_asked_again_only_where_it_sees_something_else(runs, monkeypatch):
    from semipose import widgets
    e, asked = ViewExplorer(runs / "start", people=3, patience=9.), []
    real = widgets.look
    monkeypatch.setattr(widgets, "look", lambda *a, **kw: asked.append(a) or real(*a, **kw))
    for hand, times in ((dict(turn=20.), 1), (dict(student_rotate=50), 1), (dict(person=1), 0),
                        (dict(teacher_rotate=70), 2)):
        asked.clear()
        e.touched(**hand)
        assert len(asked) == times, hand
        e.memo, e.ask = None, widgets.Remembered()
        was = e.image.value
        e.redraw()
        assert e.image.value == was, "an answer that was remembered is not the answer"


def test_two_classes_have_two_words():
    "joint and background; before, seven pairs of words stood for them"
    from matplotlib.text import Text
    for lab in (PixelLab(), BoundaryLab()):
        if "k" in lab.controls: lab.controls["k"].value = 2
        words = " ".join([lab.sentence, *(t.get_text() for t in lab.figure().findobj(Text)),
                          *(c.description for c in lab.controls.values())])
        assert not re.search(r"\b(foreground|sparse|dense|gold|grey|few|many)\b", words), words
        assert "joint" in words and "background" in words
