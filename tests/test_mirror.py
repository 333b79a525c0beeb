"""Laws of the mirror: names do not change what is trained, what must not be mirrored never is, and a run keeps the
pairs that it was begun with"""
import json
from dataclasses import replace
from pathlib import Path
import pytest, torch
from typer.testing import CliRunner
from semipose.cli import app, build_protocol
from semipose.codecs import Gaussian
from semipose.errors import UserError
from semipose.geometry import flip_joints
from semipose.protocols import Protocol, protocol
from semipose.run import answers_of, evaluate_run, load_run, prepare, read_recipe, train
from semipose.skeletons import COCO17, Skeleton, mirrored
from semipose.sweep import terms_of
from semipose.teaching import Sampler
from semipose.views import A30, A60, SCALES, Affine, View, plain, unmirrored

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
SMALL = replace(protocol("demo"), name="small", title="small", data=None, labels=8, size=(32, 32), width=8,
                batch=(4, 4), start_steps=0, steps=4, every=2)
SIDES = {  # how COCO's joints are called by other tools: whose pairs are found, and whose are not
    "as COCO": (lambda j: j, True), "earL": (lambda j: j[5:] + "L" if j[:4] == "left" else j[6:] + "R"
                                             if j[:5] == "right" else j, True),
    "lhip": (lambda j: "l" + j[5:] if j[:4] == "left" else "r" + j[6:] if j[:5] == "right" else j, True),
    "no sides": (lambda j: str(COCO17.joints.index(j)) + "th", False)}


def renamed(folder, name, **more):
    "The sample with other names of its joints, and nothing else that says what they are"
    folder.mkdir()
    for split in ("train", "val"):
        d = json.loads((SAMPLE / f"person_keypoints_{split}.json").read_text())
        d["categories"] = [dict(id=d["categories"][0]["id"], name="person",
                                keypoints=[SIDES[name][0](j) for j in COCO17.joints], sigmas=list(COCO17.sigmas),
                                **more)]
        (folder / f"person_keypoints_{split}.json").write_text(json.dumps(d))
    (folder / "images").symlink_to(SAMPLE / "images")
    return folder


def run(folder, data, p=SMALL, method="posecons_jc", **kw):
    return train(method, p, data, folder, 0, device="cpu", progress=False, **kw)


def numbers(result): return [{k: v for k, v in r.items() if k != "seconds"} for r in result["rows"]]


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mirror")
    return numbers(run(folder / "run", renamed(folder / "data", "as COCO")))


@pytest.mark.parametrize("name", ["earL", "lhip"])
def test_names_do_not_change_what_is_trained(name, plain_run, tmp_path):
    data = renamed(tmp_path / "data", name)
    assert prepare(SMALL, data, progress=False).skeleton.flip_index == COCO17.flip_index
    assert numbers(run(tmp_path / "run", data)) == plain_run


def test_pairs_that_no_name_shows_can_be_typed(plain_run, tmp_path, capsys):
    data = renamed(tmp_path / "data", "no sides")
    prepare(SMALL, data)
    said = capsys.readouterr().out
    assert "no mirror pairs are known, so pictures are never mirrored" in said and "--flips" in said
    typed = replace(SMALL, flips=tuple((f"{a}th", str(b)) for a, b in COCO17.flips))
    prepare(typed, data)
    assert "8 mirror pairs: 1th-2th" in capsys.readouterr().out
    assert numbers(run(tmp_path / "run", data, typed)) == plain_run, "typed pairs are pairs"
    assert load_run(tmp_path / "run", device="cpu")[2].flip_index == COCO17.flip_index
    assert evaluate_run(tmp_path / "run", flip=True, progress=False)
    assert numbers(run(tmp_path / "two", data)) != plain_run
    with pytest.raises(UserError, match="--flips names 'x'"):
        prepare(replace(SMALL, flips=(("x", "1th"),)), data, progress=False)


def test_what_must_not_be_mirrored_never_is(tmp_path, monkeypatch, capsys):
    seen, sample = [], Sampler.__call__
    monkeypatch.setattr(Sampler, "__call__", lambda self, *a: (seen.append(d := sample(self, *a)), d)[1])
    together = Sampler.together
    monkeypatch.setattr(Sampler, "together", lambda self, *a: (seen.extend(ds := together(self, *a)), ds)[1])
    for i, method in enumerate(("posecons_jc", "multiaugs", "data_distillation", "naive")):
        for mirror in (True, False):
            seen.clear()
            start = tmp_path / f"start{mirror}"
            if method == "data_distillation" and not start.exists():
                run(start, SAMPLE, replace(SMALL, mirror=mirror), "supervised")
            run(tmp_path / f"{i}{mirror}", SAMPLE, replace(SMALL, mirror=mirror), method,
                **(dict(start=start) if method == "data_distillation" else {}))
            assert seen and any(bool(d.flip.any()) for d in seen) == mirror, (method, mirror)
    prepare(replace(SMALL, mirror=False), SAMPLE)
    assert "8 mirror pairs" in (said := capsys.readouterr().out) and "never mirrored" in said
    folder = tmp_path / "0False"
    assert read_recipe(folder)["protocol"]["mirror"] is False and load_run(folder, device="cpu")[2].mirror is False
    with pytest.raises(UserError, match="not mirrored"): evaluate_run(folder, flip=True, progress=False)
    for verb in (["eval", folder], ["detail", folder], ["predict", folder, SAMPLE / "images" / "val"]):
        done = CliRunner().invoke(app, [*map(str, verb), "--flip", "--device", "cpu"])
        assert done.exit_code == 2 and "not mirrored" in done.output, done.output
    with pytest.raises(UserError, match="flip=True"): replace(SMALL, mirror=False, flip=True)
    with pytest.raises(UserError, match="leave the flip test out"):
        prepare(replace(SMALL, flip=True), renamed(tmp_path / "data", "no sides"), progress=False)


def test_a_run_keeps_the_pairs_that_it_was_begun_with(tmp_path, monkeypatch):
    """Names are read by better rules one day, and a file is mended: a run that is taken up, or asked, goes by its
    own recipe"""
    # as a semipose before this rule wrote it down: mirrored, no pairs
    data = renamed(tmp_path / "data", "no sides", flips=[])
    whole = numbers(run(tmp_path / "whole", data))
    import semipose.run
    save = semipose.run.save_state
    def stop(learn, path, note, **kw):
        save(learn, path, note, **kw)
        if note["rows"][-1]["step"] == 2: raise KeyboardInterrupt
    with monkeypatch.context() as m:
        m.setattr(semipose.run, "save_state", stop)
        with pytest.raises(KeyboardInterrupt): run(tmp_path / "part", data)
    for split in ("train", "val"):
        f = data / f"person_keypoints_{split}.json"
        d = json.loads(f.read_text())
        d["categories"][0]["flips"] = [list(p) for p in COCO17.flips]
        f.write_text(json.dumps(d))
    assert numbers(run(tmp_path / "part", data, resume=True)) == whole
    with pytest.raises(UserError, match="flips=None and is asked to go on with flips="):
        run(tmp_path / "part", data, replace(SMALL, flips=COCO17.flips), resume=True)
    with pytest.raises(UserError, match="mirror=True and is asked to go on with mirror=False"):
        run(tmp_path / "part", data, replace(SMALL, mirror=False), resume=True)
    old = json.loads((tmp_path / "part/recipe.json").read_text())
    for k in ("flips", "mirror"): del old["protocol"][k]
    (tmp_path / "part/recipe.json").write_text(json.dumps(old))
    run(tmp_path / "part", data, resume=True)    # begun before these fields were there
    with pytest.raises(UserError, match="mirror=True and is asked"):
        run(tmp_path / "part", data, replace(SMALL, mirror=False), resume=True)
    with pytest.raises(UserError, match="other mirror pairs"):
        run(tmp_path / "new", prepare(SMALL, SAMPLE, progress=False), replace(SMALL, mirror=False))


def test_off_changes_no_key_and_on_changes_it():
    source = dict(data="x")
    key = terms_of(SMALL, source)
    assert terms_of(replace(SMALL, flips=None, mirror=True), source) == key
    assert len({key, terms_of(replace(SMALL, mirror=False), source), terms_of(replace(SMALL, flips=()), source)}) == 3
    assert SMALL.sentence() == replace(SMALL, flips=((0, 1),)).sentence()
    assert "no picture is mirrored" in replace(SMALL, mirror=False).sentence()
    p = replace(SMALL, flips=[["a", "b"], [3, 4]])
    assert p.flips == (("a", "b"), (3, 4)) and Protocol.from_dict(json.loads(json.dumps(p.as_dict()))) == p
    assert build_protocol("mpii-aic", mirror=False).flip is False and build_protocol("demo").mirror


def test_a_view_without_the_mirror_is_the_same_view():
    "Draw for draw: the dice are thrown alike, so only mirrored pictures change"
    for view in (A30, A60, *SCALES):
        start = plain(64, (64, 48))
        a, b = (v.sample(start, (64, 48), generator=torch.Generator().manual_seed(1)) for v in (view, unmirrored(view)))
        assert not b.flip.any() and torch.equal(a.M[~a.flip], b.M[~a.flip])
    assert unmirrored(A60) is A60 and unmirrored(A30) != A30
    draws = Sampler(64, (64, 48), generator=torch.Generator().manual_seed(0), mirror=False)
    base, again = draws(A30), draws(A30)
    assert base is draws.base and again is not base and not again.flip.any(), "an equal pair is still two pictures"
    turn = View("turn", (Affine(30, flip=1.),))
    assert not any(d.flip.any() for d in (draws(turn), *draws.together((turn, turn)))), (
        "nor a view of one's own that is mirrored last")


def test_easiness_is_measured_without_the_mirror_too(monkeypatch):
    import semipose.easiness as e
    seen, home = [], e.home
    monkeypatch.setattr(e, "home", lambda xy, d, *a: (seen.append(bool(d.flip.any())), home(xy, d, *a))[1])
    net = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Conv2d(3, 17, 1))
    people = e.people_of(prepare(SMALL, SAMPLE, progress=False).val_crops)
    for mirror in (True, False):
        seen.clear()
        views = (A30, e.Spoilt("grain", A30, noise=.1), SCALES[1])
        e.measure([net], people, views, Gaussian(2., 4), (32, 32), replace(COCO17, mirror=mirror), rounds=1)
        assert seen == [mirror] * 3


def test_a_mirrored_set_without_pairs_keeps_every_name():
    sk = Skeleton.from_coco(dict(name="fish", keypoints=["snout", "tail", "fin"]))
    x = torch.arange(6.).reshape(1, 3, 2)
    assert torch.equal(flip_joints(x, torch.tensor([True]), mirrored(sk, ()).in_mirror()), x)


@pytest.mark.parametrize("verb", [["train", "naive"], ["compare", "naive"], ["sweep", "demo", "naive"]])
def test_the_command_line_hands_pairs_over(verb, tmp_path, monkeypatch):
    import semipose.cli
    got = []
    real = semipose.cli.build_protocol
    def spy(*a, **kw):
        got.append(real(*a, **kw))
        raise UserError("enough.")
    monkeypatch.setattr(semipose.cli, "build_protocol", spy)
    more = [] if verb[0] == "sweep" else ["--data", str(SAMPLE), "--protocol", "demo"]
    for typed, flips, mirror in ((["--flips", "a:b,3:4"], (("a", "b"), ("3", "4")), True),
                                 (["--flips", "none"], (), True), (["--no-mirror"], None, False), ([], None, True)):
        done = CliRunner().invoke(app, [*verb, *more, *typed])
        assert done.exit_code == 2 and "enough." in done.output, done.output
        assert (got[-1].flips, got[-1].mirror) == (flips, mirror)
    bad = CliRunner().invoke(app, [*verb, *more, "--flips", "a-b"])
    assert bad.exit_code == 2 and "write pairs of joints" in bad.output


def test_an_evaluation_goes_by_the_run_s_pairs(tmp_path):
    "Swapped limbs are counted by the pairs that were typed, not by those that the data do not name"
    data = renamed(tmp_path / "data", "no sides")
    run(tmp_path / "run", data, replace(SMALL, flips=COCO17.flips))
    assert answers_of(tmp_path / "run", progress=False).people.skeleton.flip_index == COCO17.flip_index
    run(tmp_path / "off", data)
    assert not answers_of(tmp_path / "off", renamed(tmp_path / "again", "no sides", flips=[]),
                          progress=False).people.skeleton.mirror
