"""Laws of the road to AP: perfect joints score 1, our numbers are pycocotools', and what COCO ignores costs nothing."""
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from semipose.codecs import CODECS, build_codec
from semipose.data.coco import read_coco, to_coco, write_json
from semipose.data.core import People
from semipose.errors import Note, UserError
from semipose.evaluate import coco as coco_mod
from semipose.evaluate.coco import (STATS, Matches, along_the_road, ap_of, coco_eval, coco_eval_files, coco_results,
                                    crop_area, evaluate_results, judge, matches, oks_nms, rescore,
                                    tell_areas, to_results)
from semipose.metrics import oks
from semipose.skeletons import COCO17, SKELETONS

REAL = Path(__file__).resolve().parents[2] / "shared/data/coco-eval"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real results (shared/data/coco-eval beside the checkout) are "
                          "not on this machine")


def crowdless(n=24, per=3, seed=0, skeleton=COCO17):
    "n people, far apart, `per` to a picture, half of them medium and half large"
    rng, K = np.random.default_rng(seed), len(skeleton)
    corner = np.stack([np.arange(n) % per * 400, np.zeros(n)], 1)
    size = np.where(np.arange(n) % 2, 80, 250)[:, None] * np.array([0.6, 1])
    xy = (corner[:, None] + rng.uniform(0, 1, (n, K, 2)) * size[:, None]).round()
    vis = rng.integers(0, 3, (n, K))
    vis[:, 0] = 2
    return People(skeleton, Path("."), [f"{i}.jpg" for i in range(-(-n // per))], np.arange(n) // per,
                  np.arange(-(-n // per)) + 5, np.arange(n),
                  np.concatenate([corner, size], 1).astype(np.float32), (xy * (vis > 0)[..., None]).astype(np.float32),
                  vis.astype(np.uint8),
                  (size.prod(1) * 0.5).astype(np.float32), np.zeros(n, bool))


def noisy(people, px=8, seed=1):
    rng = np.random.default_rng(seed)
    return (people.xy + rng.normal(0, px, people.xy.shape) * rng.uniform(0, 3, (len(people), 1, 1)),
            rng.uniform(0, 1, people.vis.shape))


@pytest.mark.parametrize("name", SKELETONS)
def test_perfect_joints_score_one(name):
    p = crowdless(skeleton=SKELETONS[name])
    got = coco_eval(p, p.xy, np.ones(p.vis.shape), nms=None)
    assert got == pytest.approx(dict.fromkeys(STATS, 1.0)) and list(got) == list(STATS)
    # annotation id 0 is among them: pycocotools would take it for unmatched


def test_counted_by_hand():
    p = crowdless(24)
    xy = p.xy.copy()
    xy[:12] += 5000  # half of the people are elsewhere, and ranked last
    score = np.ones(p.vis.shape)
    score[:12] = 0.5
    got = coco_eval(p, xy, score, nms=None)
    assert got["AR"] == pytest.approx(0.5)
    assert got["AP"] == pytest.approx(51 / 101)  # precision 1 at the recalls 0, .01, ... .50 of 101
    score[:12], score[12:] = 1, 0.5  # now ranked first: precision at best 12/24 everywhere
    assert coco_eval(p, xy, score, nms=None)["AP"] == pytest.approx(0.5 * 51 / 101)


def test_memory_equals_pycocotools_on_files(tmp_path):
    p = crowdless(60, per=4)
    p.ids += 1
    p.crowd[7], p.vis[11] = True, 0
    p.xy[11] = 0
    xy, score = noisy(p)
    write_json(tmp_path / "gt.json", to_coco(p))
    # crowds and the one without joints are detected too
    write_json(tmp_path / "dt.json", to_results(p, xy, score, nms=None))
    files = coco_eval_files(tmp_path / "gt.json", tmp_path / "dt.json")
    memory = evaluate_results(p, json.loads((tmp_path / "dt.json").read_text()))
    assert files == pytest.approx(memory, abs=1e-12) and 0.05 < files["AP"] < 0.95
    assert evaluate_results(read_coco(tmp_path / "gt.json", keep_all=True),
                            json.loads((tmp_path / "dt.json").read_text())) == pytest.approx(files, abs=1e-12)


def test_our_oks_is_pycocotools_oks():
    from pycocotools.cocoeval import COCOeval
    p = crowdless(1)
    ev = COCOeval(None, None, "keypoints")
    rng = np.random.default_rng(0)
    for _ in range(50):
        g, d = rng.uniform(0, 200, (17, 2)), None
        d = g + rng.normal(0, 10, g.shape)
        v = rng.integers(0, 3, 17)
        v[3] = 1
        area = rng.uniform(200, 20000)
        ev._gts[1, 1] = [dict(keypoints=np.c_[g, v].reshape(-1), bbox=[0, 0, 9, 9], area=area)]
        ev._dts[1, 1] = [dict(keypoints=np.c_[d, v].reshape(-1), score=1)]
        theirs = ev.computeOks(1, 1)[0, 0]
        ours = oks(torch.from_numpy(d), torch.from_numpy(g), torch.from_numpy(v),
                   torch.tensor(area, dtype=torch.float64), p.skeleton.sigmas)
        assert abs(ours.item() - theirs) < 1e-12


def test_what_coco_ignores_costs_nothing():
    p = crowdless(24)
    xy, score = noisy(p)
    before = coco_eval(p, xy, score)
    q = crowdless(24)
    more = People(**{**q.__dict__, "xy": np.concatenate([q.xy, q.xy[:3] * 0]),
                     "vis": np.concatenate([q.vis, q.vis[:3] * 0]),
                     "box": np.concatenate([q.box, q.box[:3] + [5000, 5000, 0, 0]]), "image": np.r_[q.image, 0, 1, 2],
                     "ids": np.r_[q.ids, 90, 91, 92],
                     "area": np.r_[q.area, 900, 9000, 90000].astype(np.float32),
                     "crowd": np.r_[q.crowd, True, False, True]})
    junk = np.full((3, 17, 2), np.nan)  # nobody looks at what was predicted there
    assert coco_eval(more, np.concatenate([xy, junk]), np.concatenate([score, np.ones((3, 17))])) == before
    assert coco_eval(more, xy, score) == before  # or predict only `more.posed`


def test_joints_nobody_annotated_change_nothing():
    p = crowdless(30)
    p.vis[:, :5], p.vis[:, 5] = 0, 2
    xy, score = noisy(p)
    before = coco_eval(p, xy, score)
    rng = np.random.default_rng(5)
    xy[:, :5], score[:, :5] = rng.uniform(0, 9000, (30, 5, 2)), rng.uniform(0, 9, (30, 5))
    # the medium and the large ones too: a detection's size is its joints'
    assert coco_eval(p, xy, score) == before and 0 < before["AP"] < 1


def test_joints_left_out_are_as_if_nobody_had_annotated_them():
    p, q = crowdless(30), crowdless(30)
    xy, score = noisy(p)
    twelve = np.arange(17) >= 5
    q.vis[:, :5] = 0
    assert coco_eval(p, xy, score, joints=twelve) == coco_eval(q, xy, score) != coco_eval(p, xy, score)
    assert (p.vis[:, 0] == 2).all()  # and the truth is left as it was


def test_the_order_of_people_and_tensors_do_not_matter():
    p = crowdless(24)
    xy, score = noisy(p)
    o = np.random.default_rng(2).permutation(24)
    assert coco_eval(p.subset(o), torch.from_numpy(xy[o]), torch.from_numpy(score[o])) == coco_eval(p, xy, score)


def test_the_sigmas_are_the_skeletons():
    p = crowdless(24)
    xy, score = noisy(p)
    from dataclasses import replace
    strict = replace(p, skeleton=replace(COCO17, sigmas=tuple(s / 3 for s in COCO17.sigmas)))
    assert coco_eval(strict, xy, score)["AP"] < coco_eval(p, xy, score)["AP"] - 0.1


def test_rescoring_by_hand():
    score = np.array([[0.9, 0.5, 0.2, 0.1], [0.1, 0.0, 0.2, 0.1], [0.3, 0.8, 0.9, 0.7]])
    assert rescore(score, [1, 1, 0.5]) == pytest.approx([0.7, 0, 0.5 * 0.675])
    assert rescore(score, joints=[0, 1, 1, 1]) == pytest.approx([0.5, 0, 0.8])


def test_suppression_keeps_the_surest_of_each_picture():
    rng = np.random.default_rng(0)
    n = 60
    pose = rng.uniform(0, 100, (6, 17, 2))
    xy = pose[rng.integers(0, 6, n)] + rng.normal(0, 1.5, (n, 17, 2))
    score, area, group = rng.uniform(0, 1, n), rng.uniform(2000, 6000, n), rng.integers(0, 5, n)
    alike = lambda i, j: np.exp(
        -((xy[i] - xy[j]) ** 2).sum(-1) / (2 * (2 * np.array(COCO17.sigmas)) ** 2 * (area[i]
            + area[j]) / 2)).mean() > 0.9
    kept = []
    for i in np.argsort(-score):  # the rule, one by one
        if not any(group[i] == group[j] and alike(i, j) for j in kept):
            kept.append(i)
    got = oks_nms(xy, score, area, group, COCO17.sigmas)
    assert np.flatnonzero(got).tolist() == sorted(kept) and 10 < got.sum() < 50
    assert oks_nms(xy, score, area, np.arange(n), COCO17.sigmas).all()  # alone in its picture, everybody stays
    # only more alike than the threshold, as in the released rule
    assert oks_nms(xy[:2] * 0, score[:2], area[:2], group[:2] * 0, COCO17.sigmas, threshold=1.).all()


def test_a_double_costs_precision_unless_suppressed():
    p = crowdless(24)
    twice = p.subset(np.repeat(np.arange(24), 2))
    score = np.tile(np.array([[1.0], [0.9]]), (24, 17))
    results = lambda nms: to_results(twice, twice.xy, score, nms=nms, joints=np.ones(17, bool))
    assert len(results(None)) == 48 and len(results(0.9)) == 24 and all(r["score"] == 1 for r in results(0.9))
    assert evaluate_results(p, results(0.9))["AP"] == pytest.approx(1)
    # the evaluation hands on what it is asked
    found = lambda **kw: [r["score"] for r in coco_results(twice, twice.xy, score, **kw)[1]]
    assert len(found()) == 24 and len(found(nms=None)) == 48 and found(nms=None, rescore_threshold=0.95) == [1, 0] * 24


def test_doubles_are_told_by_the_joints_that_count_and_within_a_picture():
    p = crowdless(24)
    p.vis[:, :5], p.vis[:, 5] = 0, 2
    twice = p.subset(np.repeat(np.arange(24), 2))
    xy, score = twice.xy.copy(), np.tile(np.array([[1.0], [0.9]]), (24, 17))
    xy[:, :5] = np.random.default_rng(0).uniform(0, 9000, (48, 5, 2))  # the two differ where nobody was taught
    assert len(to_results(twice, xy, score)) == 24
    alike = p.subset(np.arange(0, 24, 3))  # one to a picture
    assert len(to_results(alike, np.repeat(alike.xy[:1], 8, 0), np.ones((8, 17)))) == 8


def test_a_wrong_detection_on_a_crowd_is_ignored():
    p = crowdless(25)
    p.vis[24], p.xy[24], p.box[24], p.image[24], p.crowd[24] = 0, 0, [5000, 5000, 900, 900], 0, True
    xy, score = p.xy.copy(), np.ones(p.vis.shape)
    xy[0], score[1:] = 5400, 0.5  # the first person, ranked highest, is looked for in the crowd
    alone = p.subset(np.arange(24))
    with_crowd, without = coco_eval(p, xy, score, nms=None), coco_eval(alone, xy[:24], score[:24], nms=None)
    assert with_crowd["AP"] == pytest.approx(96 / 101) and without["AP"] == pytest.approx(23 / 24 * 96 / 101)


def test_crop_area_has_the_networks_shape():
    assert crop_area(np.array([[0, 0, 30.0, 100.0], [0, 0, 150.0, 100.0]])) == pytest.approx([75 * 100 * 1.5625,
        150 * 200 * 1.5625])


def test_results_are_cocos_format():
    p = crowdless(6)
    xy, score = noisy(p)
    r = to_results(p, xy, score, box_score=np.arange(6) / 10, nms=None)
    assert ([set(x) for x in r] == [{"image_id", "category_id", "keypoints", "score"}] * 6
            and json.loads(json.dumps(r)) == r)
    assert [x["image_id"] for x in r] == [5, 5, 5, 6, 6, 6]
    assert np.allclose(np.array(r[4]["keypoints"]).reshape(17, 3), np.c_[xy[4], score[4]])


def test_a_detectors_own_scores_count_unless_others_are_given():
    p = crowdless(12)
    xy, score = noisy(p)
    p.vis[4], p.crowd[7] = 0, True
    p.box_score = np.linspace(.1, 1, 12).astype(np.float32)
    true = replace(p, box_score=None)
    ranks = lambda q, **kw: [r["score"] for r in to_results(q, xy, score, nms=None, **kw)]
    plain = np.array(ranks(true))
    assert (np.allclose(ranks(p), plain * p.box_score) and np.allclose(ranks(p, box_score=1), plain)
            and np.allclose(ranks(true, box_score=p.box_score), ranks(p)))
    rows = p.posed
    sure = [r["score"] for r in coco_results(p, xy, score, nms=None)[1]]   # of all people, of those who are posed
    assert (np.allclose(sure, [r["score"] for r in coco_results(p, xy[rows], score[rows], nms=None)[1]])
            and len(sure) == 10)
    assert np.allclose(sure, (plain * p.box_score)[rows])
    # one for each who is posed
    assert np.allclose([r["score"] for r in coco_results(true, xy, score, p.box_score[rows], nms=None)[1]], sure)
    few = crowdless(24)
    few.box_score = np.where(np.arange(24) < 12, 1, .1).astype(np.float32)
    xy = few.xy.copy()
    xy[few.box_score < 1] += 5000   # the unsure boxes are wrong
    ones = np.ones(few.vis.shape)
    assert coco_eval(few, xy, ones)["AP"] > coco_eval(few, xy, ones, box_score=1.1 - few.box_score)["AP"] + .1
    with pytest.raises(UserError, match="box_score"):
        to_results(p, xy[:12], score, box_score=np.ones(5))


def test_it_is_silent_and_nothing_found_is_zero(capsys):
    p = crowdless(12)
    coco_eval(p, p.xy, np.ones(p.vis.shape))
    none = evaluate_results(p, [])
    assert none == dict.fromkeys(STATS, 0.0) and capsys.readouterr().out == ""
    small = p.subset(p.area < 96**2)
    assert evaluate_results(small, [])["APL"] == -1  # no such person


def test_what_does_not_fit_is_one_sentence(tmp_path):
    p = crowdless(6)
    xy, score = noisy(p)
    p.vis[2] = 0
    bad = xy.copy()
    bad[1, 3, 0] = np.nan
    strange = [dict(image_id=999, category_id=1, keypoints=[0] * 51, score=1)]
    (tmp_path / "gt.json").write_text(json.dumps(to_coco(p)))
    (tmp_path / "dt.json").write_text('{"a": 1}')
    for call, said in [(lambda: coco_eval(p, xy[:4], score[:4]), "4 predictions for 6 people of whom 5"),
                       (lambda: coco_eval(p, bad, score), "finite"),
                       (lambda: evaluate_results(p, strange), "999"),
                       (lambda: to_results(p, xy[:, :9], score), "do not fit 6 people"),
                       (lambda: coco_eval_files(tmp_path / "no.json", tmp_path / "dt.json"), "no such file"),
                       (lambda: coco_eval_files(tmp_path / "gt.json", tmp_path / "dt.json"),
                        "dt.json is not a COCO results file")]:
        with pytest.raises(UserError, match=said) as e:
            call()
        assert "\n" not in str(e.value) and str(e.value).endswith(".")


# ---- what was decided in each picture, and AP of resampled pictures ----

def hard(seed=0, n=40, pictures=14, ties=True):
    """Crowds, people without joints, a picture without people, one without detections, equal scores, over 20
    detections in a picture"""
    rng = np.random.default_rng(seed)
    p = crowdless(n, per=1)
    p = People(**{**p.__dict__, "files": p.files[:pictures], "image": np.sort(rng.integers(0, pictures - 1, n)),
                  "image_ids": rng.permutation(900)[:pictures]})
    p.crowd[::9], p.vis[::9] = True, 0
    p.vis[4], p.xy[4] = 0, 0
    results = []
    for i in list(range(n)) * 2 + [3] * 25:
        if p.image[i] == 5: continue
        xy = p.xy[i] + rng.normal(0, rng.choice([1, 5, 9]), (17, 2))
        score = rng.integers(0, 6) / 6 if ties else rng.uniform()
        results.append(dict(image_id=int(p.image_ids[p.image[i]]), category_id=1,
                            keypoints=np.c_[xy, np.ones(17)].reshape(-1).tolist(), score=float(score)))
    results.append(dict(results[0], image_id=int(p.image_ids[-1])))  # where nobody is
    return p, results


def repeated(p, results, rows):
    """The data set in which those pictures are really there, each copy with an id of its own; rows of pictures in
    the order of their ids"""
    order, ids, keep, dets = np.argsort(p.image_ids), [], [], []
    of = {}
    for r in results: of.setdefault(r["image_id"], []).append(r)
    for new, row in enumerate(np.sort(rows)):
        here = order[row]
        mine = np.flatnonzero(p.image == here)
        keep.append(mine)
        ids += [new] * len(mine)
        dets += [dict(r, image_id=new) for r in of.get(int(p.image_ids[here]), [])]
    keep = np.concatenate(keep).astype(int)
    q = p.subset(keep)
    return People(**{**q.__dict__, "files": [f"{i}.jpg" for i in range(len(rows))], "image": np.array(ids, dtype=int),
                     "image_ids": np.arange(len(rows)),
                     "ids": np.arange(len(keep))}), dets


@pytest.mark.parametrize("seed, ties", [(0, True), (1, True), (2, False)])
def test_ap_of_all_pictures_is_pycocotools(seed, ties):
    p, results = hard(seed, ties=ties)
    ten, found = judge(p, results)
    assert ten == evaluate_results(p, results) and .05 < ten["AP"] < .95
    assert abs(ap_of(found) - ten["AP"]) < 1e-12
    assert (abs(ap_of(found, thresholds=[0]) - ten["AP50"]) < 1e-12
            and abs(ap_of(found, thresholds=[5]) - ten["AP75"]) < 1e-12)
    assert abs(ap_of(found, np.random.default_rng(0).permutation(14)) - ten["AP"]) < 1e-12  # a multiset has no order


@pytest.mark.parametrize("seed, ties", [(0, True), (1, True), (3, False)])
def test_a_resample_s_ap_is_pycocotools_with_the_pictures_repeated(seed, ties):
    p, results = hard(seed, ties=ties)
    draws = np.random.default_rng(seed).integers(0, 14, (12, 14))
    draws[0] = 5  # a picture without detections, fourteen times
    draws[1] = 3
    got = ap_of(matches(p, results), draws)
    want = [evaluate_results(*repeated(p, results, d))["AP"] for d in draws]
    assert got == pytest.approx(want, abs=1e-12) and len(set(want)) > 6
    assert ap_of(matches(p, results), draws[4]) == got[4]
    # a picture without people, and something found there
    nobody = np.flatnonzero(np.sort(p.image_ids) == p.image_ids[13])
    assert ap_of(matches(p, results), nobody) == -1


def test_resamples_may_be_longer_shorter_and_many():
    p, results = hard(2)
    found, rng = matches(p, results), np.random.default_rng(0)
    short, long = rng.integers(0, 14, (3, 5)), rng.integers(0, 14, (2, 60))
    for draws in (short, long):
        assert ap_of(found, draws) == pytest.approx([evaluate_results(*repeated(p, results, d))["AP"] for d in draws],
                                                    abs=1e-12)
    many = rng.integers(0, 14, (30000, 14))  # in several parts
    assert (ap_of(found, many)[[0, 29999]] == ap_of(found, many[[0, 29999]])).all()


def test_matches_survive_json_and_are_small_whole_numbers():
    p, results = hard(1)
    found = matches(p, results)
    text = json.dumps(found.to_dict())
    back = Matches.from_dict(json.loads(text))
    assert all((getattr(back, k) == getattr(found, k)).all() for k in ("image", "rank", "matched", "ignored", "truths"))
    assert len(text) < 100 + 20 * len(found.rank) + 6 * len(found.truths)
    assert (np.bincount(found.image).max() == 20 and (np.diff(found.image) >= 0).all()
            and found.truths.sum() == len(p.posed))
    assert found.ignored.max() == 1023 and ap_of(back) == ap_of(found)


def test_nothing_found_is_zero_and_a_row_too_far_is_one_sentence():
    p, results = hard(0)
    none = matches(p, [])
    assert (ap_of(none) == 0 and (ap_of(none, [[0, 1], [2, 3]]) == 0).all()
            and len(ap_of(none, np.zeros((0, 14), int))) == 0)
    for rows in ([14], [-1]):
        with pytest.raises(UserError, match="there are 14 pictures, 0 to 13"): ap_of(none, rows)


def test_the_evaluation_s_two_halves_are_the_whole():
    p = crowdless(24)
    xy, score = noisy(p)
    twelve = np.arange(17) >= 5
    truth, results = coco_results(p, xy, score, box_score=np.linspace(.5, 1, 24), joints=twelve)
    ten, found = judge(truth, results)
    assert (ten == coco_eval(p, xy, score, box_score=np.linspace(.5, 1, 24), joints=twelve)
            and ap_of(found) == pytest.approx(ten["AP"], abs=1e-12))


@real
def test_ap_of_the_official_detections():
    people, results = read_coco(REAL / "gt.json", keep_all=True), json.loads((REAL / "dt.json").read_text())
    found = matches(people, results)
    assert abs(ap_of(found) - json.loads((REAL / "expected.json").read_text())["AP"]) < 1e-12
    assert found.truths.sum() == len(people.posed) and len(found.rank) == 20
    assert ap_of(found, [0, 0, 0]) == pytest.approx(evaluate_results(*repeated(people, results, [0, 0, 0]))["AP"],
                                                    abs=1e-12)


@real
def test_ap_of_resamples_of_val2017():
    people = read_coco(REAL / "val2017-subset.json", keep_all=True)
    xy, score = noisy(people, px=4)
    truth, results = coco_results(people, xy, score.round(1))
    ten, found = judge(truth, results)
    assert abs(ap_of(found) - ten["AP"]) < 1e-12 and .05 < ten["AP"] < .95
    draws = np.random.default_rng(0).integers(0, len(people.files), (2, len(people.files)))
    assert ap_of(found, draws) == pytest.approx([evaluate_results(*repeated(truth, results, d))["AP"] for d in draws],
                                                abs=1e-12)


@real
def test_the_official_numbers_are_reproduced():
    expected = json.loads((REAL / "expected.json").read_text())
    want = {k: expected[k] for k in STATS}
    assert coco_eval_files(REAL / "gt.json", REAL / "dt.json") == pytest.approx(want, abs=1e-12)
    people = read_coco(REAL / "gt.json", keep_all=True)
    assert evaluate_results(people, json.loads((REAL / "dt.json").read_text())) == pytest.approx(want, abs=1e-12)


# ---- files that people bring ----

def as_files(folder, people, results, change=lambda truth, results: None):
    "A truth and results on disk, changed"
    truth, results = to_coco(people), [dict(r, keypoints=list(r["keypoints"])) for r in results]
    truth = json.loads(json.dumps(truth))
    change(truth, results)
    (folder / "gt.json").write_text(json.dumps(truth)), (folder / "dt.json").write_text(json.dumps(results))
    return folder / "gt.json", folder / "dt.json"


def judged(folder, people, results, change=lambda truth, results: None, **kw):
    "The ten numbers of files, and the notes beside them"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ten = coco_eval_files(*as_files(folder, people, results, change), **kw)
    assert all(issubclass(w.category, Note) for w in said)
    return ten, [str(w.message) for w in said]


@pytest.fixture
def usual():
    p = crowdless(24)
    p.ids += 1
    return p, to_results(p, *noisy(p), nms=None)


def set_joint(v): return lambda t, r: r[4]["keypoints"].__setitem__(31, v)
def drop(where, *fields):
    return lambda t, r: [a.pop(f) for a in (t["annotations"] if where == "truth" else r) for f in fields]
def each(where, **fields): return lambda t, r: [a.update(fields) for a in (t["annotations"] if where == "truth" else r)]


@pytest.mark.parametrize("change, says", [
    (set_joint(float("nan")), 'dt.json: entry 5 has nan in "keypoints" .joint 11.; it should be 51 finite numbers'),
    (set_joint(float("inf")), 'entry 5 has inf in "keypoints"'),
    (set_joint(None), 'entry 5 has None in "keypoints" .joint 11.'),
    (set_joint("7"), """entry 5 has '7' in "keypoints\""""), (set_joint(True), "entry 5 has True"),
    (set_joint(10**400), "entry 5 has 1000"),
    (lambda t, r: r[2].update(score=float("nan")), 'dt.json: entry 3 has "score" nan'),
    (lambda t, r: r[2].update(score=None), 'entry 3 has no "score"'),
    (drop("results", "score"), 'dt.json: entry 1 has no "score"'),
    (drop("results", "category_id"), 'entry 1 has no "category_id"'),
    (drop("results", "image_id"), 'entry 1 has no "image_id"'),
    (drop("results", "keypoints"), 'entry 1 has no "keypoints"'),
    (lambda t, r: r[7].update(keypoints=r[7]["keypoints"][:42]), 'entry 8 has 42 numbers in "keypoints"; it should '
     'be 51'),
    (lambda t, r: [x.update(keypoints=[c for i, c in enumerate(x["keypoints"]) if i % 3 < 2]) for x in r],
     "entry 1 has 34 numbers"),
    (lambda t, r: r[1].update(keypoints=7), 'entry 2 has "keypoints" 7'),
    (lambda t, r: r[1].update(bbox=[1, 2]), 'entry 2 has 2 numbers in "bbox"'),
    (lambda t, r: r[1].update(image_id="a"), """entry 2 has "image_id" 'a'"""),
    (lambda t, r: r.append(3), "is not a COCO results file"),
    (lambda t, r: r[1].update(image_id=999), "dt.json: 1 pictures are not in the annotations .image_id 999"),
    (each("results", category_id=3),
     """dt.json: "category_id" is 3, and in .*gt.json 'person' is category 1; write that number"""),
    (lambda t, r: (t["categories"][0].update(id=3), each("truth", category_id=3)(t, r)),
     """is 1, and in .*gt.json 'person' is category 3"""),
    (drop("truth", "bbox"), 'gt.json: annotation 1 has no "bbox"; it should be x, y, width, height'),
    (drop("truth", "image_id"), 'gt.json: annotation 1 has no "image_id"'),
    (each("truth", area=float("nan")), 'annotation 1 has "area" nan'),
    (each("truth", iscrowd=2), 'annotation 1 has "iscrowd" 2; it should be 0 or 1'),
    (lambda t, r: t["annotations"][3]["keypoints"].__setitem__(0, float("nan")),
     'gt.json: annotation 4 has nan in "keypoints" .joint 1.'),
    (lambda t, r: t["annotations"][3]["keypoints"].pop(), 'annotation 4 has 50 numbers in "keypoints"'),
    (lambda t, r: t["annotations"][3].update(category_id=9), 'annotation 4 has "category_id" 9, and "categories" has '
     '.1.'),
    (lambda t, r: t["annotations"][3].update(image_id=77), 'annotation 4 has "image_id" 77, which is not among '
     '"images"'),
    (lambda t, r: t.pop("categories"), 'has no list "categories"'),
    (lambda t, r: t["images"][0].update(id=None), 'an "id" in "images" is None'),
    (lambda t, r: t["categories"].append(dict(id=2, name="cat", keypoints=["tail"])),
     "'person' and 'cat' have different joints"),
    (lambda t, r: t.update(annotations=[]), "nobody in it has an annotated joint"),
    (each("truth", keypoints=[0] * 51), "nobody in it has an annotated joint"),
    (lambda t, r: (t["categories"][0].pop("keypoints"),
                   [a.update(keypoints=a["keypoints"][:42]) for a in t["annotations"]]), "name no joints"),
])
def test_what_is_no_truth_or_no_detection_is_one_sentence(usual, tmp_path, change, says):
    with pytest.raises(UserError, match=says) as e: judged(tmp_path, *usual, change)
    assert "\n" not in str(e.value) and str(e.value).endswith(".")


def test_nan_is_never_a_match(usual):
    "pycocotools compares NaN with a threshold, and finds it not smaller"
    p, results = usual
    away = [dict(r, keypoints=[float("nan")] + [v + 3000 for v in r["keypoints"][1:]]) for r in results]
    for call in (evaluate_results, judge, matches):
        with pytest.raises(UserError, match='results: entry 1 has nan in "keypoints" .joint 1.'): call(p, away)
    xy = np.full((24, 17, 2), np.nan)
    nothing = oks(*map(torch.from_numpy, (xy, p.xy.astype(float), p.vis, p.area.astype(float))), COCO17.sigmas,
                  torch.from_numpy(p.box.astype(float)))
    assert (nothing == 0).all()
    for column in ("xy", "box", "area"):
        q = replace(p, **{column: getattr(p, column) * np.float32(np.nan)})
        with pytest.raises(UserError, match="annotation 1 .of 24. has a joint, a box or an area that is not a finite "
                           "number"):
            evaluate_results(q, results)
    q = replace(p, xy=np.where((p.vis > 0)[..., None], p.xy, np.nan))   # nobody looks where nothing is annotated
    assert evaluate_results(q, results) == evaluate_results(p, results)


@pytest.mark.parametrize("four", [COCO17.sigmas[:4], 0.05, (0,) * 17])
def test_as_many_sigmas_as_joints(usual, tmp_path, four):
    with pytest.raises(UserError, match="sigmas: .* for the 17 joints of .*gt.json; give each joint one above 0"):
        judged(tmp_path, *usual, sigmas=four)


def test_what_a_truth_leaves_out_is_counted_stands_in_or_is_left_out(usual, tmp_path):
    p, results = usual
    plain, said = judged(tmp_path, p, results)
    assert not said and .05 < plain["AP"] < .95
    for change in (drop("truth", "num_keypoints"), drop("truth", "iscrowd"), drop("truth", "id"),
                   drop("truth", "category_id"),
                   lambda t, r: [a.update(id=i) for i, a in enumerate(t["annotations"])], each("truth", id=1),
                   each("results", segmentation=[])):
        assert judged(tmp_path, p, results, change) == (plain, [])
    # num_keypoints through `people`
    assert p.crowd.sum() == 0 and evaluate_results(p, results) == pytest.approx(plain, abs=1e-12)
    ten, said = judged(tmp_path, p, results, each("truth", num_keypoints=0))
    assert ten == plain and "num_keypoints" in said[0] and "24 annotations" in said[0]
    p = replace(p, area=p.area * np.float32(.5))
    plain = judged(tmp_path, p, results)[0]
    want = evaluate_results(replace(p, area=(.53 * p.box[:, 2:].astype(float).prod(1)).astype(np.float32)), results)
    for change in (drop("truth", "area"), each("truth", area=0), each("truth", area=-3), each("truth", area=None)):
        ten, said = judged(tmp_path, p, results, change)
        assert (ten == pytest.approx(want, abs=1e-6) and ten != plain and "24 of 24 people have no \"area\"; 0.53 of "
                "their box stands in" in said[0])


def test_annotations_without_keypoints_are_no_crowd(usual, tmp_path):
    "outlines beside each person, as some tools write them: they say nothing of joints, and hide no wrong detection"
    p, results = usual
    outlines = lambda t, r: t["annotations"].extend(
        [{k: v for k, v in dict(a, id=99 + a["id"], iscrowd=1).items() if k not in ("keypoints", "num_keypoints")}
         for a in t["annotations"]])
    plain = judged(tmp_path, p, results)[0]
    ten, said = judged(tmp_path, p, results, outlines)
    assert ten == plain and '24 annotations without "keypoints" are left out' in said[0]
    zeros = lambda t, r: (outlines(t, r),
                          [a.update(keypoints=[0] * 51) for a in t["annotations"] if "keypoints" not in a])
    assert judged(tmp_path, p, results,
                  zeros)[0]["AP"] > plain["AP"] + .01, "a region that is to be ignored is written with zeros"
    other = lambda t, r: (t["categories"].append(dict(id=2, name="ball")),
                          t["annotations"].append(dict(id=500, image_id=5, category_id=2, bbox=[0, 0, 9, 9])))
    assert judged(tmp_path, p, results, other) == (plain, [])


def test_joints_are_measured_by_their_names(usual, tmp_path):
    "the same people with their joints listed in another order score the same"
    p, results = usual
    o = np.random.default_rng(0).permutation(17)
    shuffle = lambda k: np.reshape(k, (17, 3))[o].reshape(-1).tolist()
    def change(t, r):
        # limbs that do not fit do not matter
        t["categories"][0].update(keypoints=[COCO17.joints[i] for i in o], skeleton=[[1, 99]])
        for field in ("flips", "sigmas", "skeleton_name"): t["categories"][0].pop(field, None)
        for a in (*t["annotations"], *r): a["keypoints"] = shuffle(a["keypoints"])
    plain, got = judged(tmp_path, p, results)[0], judged(tmp_path, p, results, change)[0]
    assert got == pytest.approx(plain, abs=1e-9)
    assert judged(tmp_path, p, results, change, sigmas=COCO17.sigmas)[0] != got
    unnamed = lambda t, r: t["categories"][0].pop("keypoints")
    assert judged(tmp_path, p, results, unnamed)[0] == plain, "17 joints without names are COCO's"


def test_detections_of_other_categories_do_not_count_and_are_told(usual, tmp_path):
    p, results = usual
    ten, said = judged(tmp_path, p, results, lambda t, r: r.extend([dict(x, category_id=7, score=9.) for x in r]))
    assert (ten == judged(tmp_path, p, results)[0] and "24 of 48 detections do not count, being of category 7; "
            "'person' is category 1" in said[0])
    people_know_no_number = evaluate_results(p, results)
    assert evaluate_results(p, [dict(r, category_id=3) for r in results]) == people_know_no_number
    two = results + [dict(r, category_id=7, score=9.) for r in results]
    with pytest.raises(UserError, match="is 1, 7; say with category="): evaluate_results(p, two)
    assert (evaluate_results(p, two, category=1) == people_know_no_number
            and matches(p, two, category=1).rank.tolist() == matches(p, results).rank.tolist())
    with pytest.raises(UserError, match="is 1, 7, and none is 5"): evaluate_results(p, two, category=5)
    assert coco_mod.category_of(as_files(tmp_path, p,
        results, lambda t, r: t["categories"].insert(0, dict(id=5, name="ball")))[0]) == 1


def test_more_than_twenty_people_in_a_picture(tmp_path):
    """the truth given as the answer: COCO's 20 leave a third unfound and say so; people in memory are all looked
    for, which is said too"""
    p = crowdless(60, per=30)
    p.ids += 1
    results = to_results(p, p.xy, np.ones(p.vis.shape), nms=None)
    ten, said = judged(tmp_path, p, results)
    assert ten["AP"] == pytest.approx(67 / 101) and "20 of 60 people cannot be found; max_people=30" in said[0]
    assert judged(tmp_path, p, results, max_people=30) == (dict.fromkeys(STATS, pytest.approx(1)), [])
    for call in (lambda **kw: evaluate_results(p, results, **kw), lambda **kw: coco_eval(p, p.xy, np.ones(p.vis.shape),
        nms=None, **kw)):
        with pytest.warns(Note, match="The fullest picture has 30 people, so its 30 surest"):
            assert call()["AP"] == pytest.approx(1)
        with pytest.warns(Note, match="20 of 60 people"): assert call(max_people=20) == ten
    few = judge(p, results, max_people=20)[1]
    assert (np.bincount(few.image).max() == 20 and abs(ap_of(few) - ten["AP"]) < 1e-12
            and np.bincount(matches(p, results).image).max() == 30)
    q, dets = hard(0)   # over 20 detections of few people: COCO's limit, without a word
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert evaluate_results(q, dets) == evaluate_results(q, dets, max_people=20) != evaluate_results(q, dets,
            max_people=21)
    for wrong in (0, 2.5):
        with pytest.raises(UserError, match="max_people"): evaluate_results(q, dets, max_people=wrong)


def test_two_true_people_in_one_pose_are_told_apart_or_told():
    p = crowdless(6, per=2)
    p.vis[:] = 2
    p.xy[1], p.box[1] = p.xy[0] + 1, p.box[0] + [1, 1, 0, 0]
    sure = np.ones(p.vis.shape)
    assert coco_mod.alike_people(p).tolist() == [[0, 1]] and len(coco_mod.alike_people(p, .9999)) == 0
    assert (coco_eval(p, p.xy, sure)["AR"] == pytest.approx(5 / 6)
            and coco_eval(p, p.xy, sure, nms=None)["AP"] == pytest.approx(1))
    o = np.array([3, 1, 5, 0, 2, 4])
    assert (sorted(o[coco_mod.alike_people(p.subset(o))[0]].tolist()) == [0, 1]
            and len(coco_mod.alike_people(p.subset([0, 2, 4]))) == 0)


def test_of_equally_sure_doubles_the_first_of_the_list_stays():
    p = crowdless(8, per=1).subset(np.repeat(np.arange(8), 3))
    keep = oks_nms(p.xy, np.full(24, .5), crop_area(p.box), p.image, COCO17.sigmas)
    assert keep.reshape(8, 3).tolist() == [[True, False, False]] * 8


def test_a_joint_nobody_predicted_does_not_move_the_medium_ones():
    """a detection's size is its joints': where five of them lie at (0, 0), wrong detections of medium people would
    count as large ones and leave APM"""
    p = crowdless(24)
    p.vis[:], p.vis[:, :5] = 2, 0
    p.xy[:, :5] = 0
    xy, score = noisy(p, px=2)
    xy[1::4] += 400
    at_zero, unsure = xy.copy(), score.copy()
    at_zero[:, :5], unsure[:, :5] = 0, 0
    assert coco_eval(p, at_zero, unsure) == coco_eval(p, xy, score)
    amid = np.where(np.arange(17)[:, None] < 5, xy[:, 5:].mean(1, keepdims=True), xy)
    from_a_file = lambda places: evaluate_results(p,
        [dict(image_id=int(p.image_ids[i]), category_id=1, score=s,
              keypoints=np.c_[k, np.ones(17)].reshape(-1).tolist())
         for i, k, s in zip(p.image, places, score.mean(1).tolist())])["APM"]
    assert from_a_file(at_zero) > from_a_file(amid) + .02, "as pycocotools has it"


def test_a_list_evaluated_twice_gives_the_same_and_is_left_alone(usual, tmp_path):
    p, results = usual
    before = json.dumps(results)
    first = evaluate_results(p, results)
    assert evaluate_results(p, results) == first == judge(p, results)[0] and json.dumps(results) == before
    boxed = [dict(r, bbox=[0., 0., 9000., 9000.]) for r in results]
    assert evaluate_results(p, boxed) != first, "with a box that is a detection's size, as pycocotools has it"
    assert evaluate_results(p, boxed[:1] + results[1:]) == first, "a box that only some have is none's"
    assert evaluate_results(p, [dict(r, bbox=[]) for r in results]) == first
    assert evaluate_results(p, [dict(r, bbox=np.array(r["bbox"])) for r in boxed]) == evaluate_results(p, boxed)
    with pytest.raises(UserError, match='entry 1 has "bbox" 7; it should be x, y, width, height'):
        evaluate_results(p, [dict(r, bbox=7) for r in results])
    assert evaluate_results(p,
        [dict(r, keypoints=np.array(r["keypoints"]), score=np.float32(r["score"]))
         for r in results]) == pytest.approx(first, abs=1e-6)


# ---- the road without a network ----

@pytest.mark.parametrize("name", CODECS)
def test_the_road_loses_less_than_half_a_point(name):
    """Synthetic people's true joints -> boxes -> crops -> heatmaps -> joints -> photo -> AP; and in px, what the
    codec admits and no more"""
    from semipose.data.synth import DIFFICULTIES, make_people
    d = make_people(torch.arange(60), size=(96, 72), difficulty=DIFFICULTIES["hard"])
    one = lambda t: t[:, 0].numpy().astype(np.float32)
    p = People(COCO17, Path("."), [f"{i}.jpg" for i in range(60)], np.arange(60), np.arange(60), np.arange(60),
               5 * one(d.box), 5 * one(d.xy) * (one(d.vis) > 0)[..., None],
               one(d.vis).astype(np.uint8), 25 * one(d.area), np.zeros(60, bool))
    xy, score = along_the_road(p, build_codec(name))
    assert coco_eval(p, xy, score)["AP"] > 0.995
    per_px = 1.25 * np.maximum(p.box[:, 2] / 192, p.box[:, 3] / 256)  # photo px per crop px
    far = np.linalg.norm(xy - p.xy, axis=-1) / per_px[:, None]
    inside = ((p.vis > 0) & (p.xy > p.box[:, None, :2] + 2).all(-1)
              & (p.xy < p.box[:, None, :2] + p.box[:, None, 2:] - 2).all(-1))
    assert inside.sum() > 700 and far[inside].max() < dict(gaussian=1.5, rounded=2.9).get(name, 0.05), "crop px"


def test_a_box_elsewhere_costs_and_a_larger_one_does_not():
    p = crowdless(24)
    codec = build_codec("dark")
    roomier = np.concatenate([p.box[:, :2] - 0.1 * p.box[:, 2:], 1.2 * p.box[:, 2:]], 1)
    away = p.box + np.float32([1, 0, 0, 0]) * 1.5 * p.box[:, 2:3]
    ap = lambda box: coco_eval(p, *along_the_road(p, codec, box=box))["AP"]
    assert ap(roomier) == pytest.approx(1) and ap(away) < 0.3


def test_suppression_of_nobody_and_of_many_pictures():
    none = oks_nms(np.zeros((0, 17, 2)), [], [], [], COCO17.sigmas)
    assert none.shape == (0,)
    rng = np.random.default_rng(0)
    n = 4500
    group = rng.integers(0, 40, n)  # more pairs than fit in one part
    assert (np.bincount(group) * (np.bincount(group) - 1)).sum() // 2 > 210_000
    xy = rng.uniform(0, 100, (12, 17, 2))[rng.integers(0, 12, n)] + rng.normal(0, 1.3, (n, 17, 2))
    score, area = rng.integers(0, 9, n) / 9, rng.uniform(2000, 6000, n)
    got = oks_nms(xy, score, area, group, COCO17.sigmas)
    for g in range(40):
        rows = np.flatnonzero(group == g)
        assert (oks_nms(xy[rows], score[rows], area[rows], np.zeros(len(rows)), COCO17.sigmas) == got[rows]).all()
    assert 300 < got.sum() < 4000


def test_doubles_are_measured_by_the_networks_crop():
    "a square network's crop is larger, so that the same two poses are more alike"
    p = crowdless(1).subset([0, 0])
    p = replace(p, box=np.float32([[0, 0, 40, 160]] * 2), image=np.zeros(2, int))
    xy, score = np.stack([p.xy[0], p.xy[0] + 9.4]), np.float64([[.9] * 17, [.8] * 17])
    area = [crop_area(p.box[:1], a)[0] for a in (.75, 1)]
    alike = [oks(torch.from_numpy(xy[1]).double(), torch.from_numpy(xy[0]).double(), torch.ones(17),
                 torch.tensor(a).double(), COCO17.sigmas).item() for a in area]
    assert alike[1] - alike[0] > .03
    assert [len(to_results(p, xy, score, nms=sum(alike) / 2, joints=np.ones(17), aspect=a)) for a in (.75, 1)] == [2, 1]


# ---- all pictures at once ----

def both_ways(people, results, limit=None):
    "COCOeval by pycocotools alone, and with our decisions"
    from semipose.evaluate import coco
    mine = coco._of_people(people, results, None)
    return [coco._judged(coco._truth(people), mine, people.skeleton.sigmas, limit, fast=f) for f in (False, True)]


@pytest.mark.parametrize("seed, ties, limit", [(0, True, None), (1, False, None), (2, True, 2), (3, True, 1)])
def test_every_decision_is_pycocotools(seed, ties, limit):
    people, results = hard(seed, ties=ties)
    slow, fast = both_ways(people, results, limit)
    assert np.array_equal(slow.stats, fast.stats)
    assert len(slow.evalImgs) == len(fast.evalImgs)
    for a, b in zip(slow.evalImgs, fast.evalImgs):
        assert (a is None) == (b is None)
        if a is None: continue
        assert a.keys() == b.keys()
        for k in a: assert np.array_equal(a[k], b[k]), k
    for k in ("precision", "recall", "scores"): assert np.array_equal(slow.eval[k], fast.eval[k])


def test_oks_of_all_pairs_is_pycocotools_to_the_bit():
    from semipose.evaluate import coco
    people, results = hard(5)
    slow, fast = both_ways(people, results)
    fast._prepare()
    t, cat = coco._Tables(fast), fast.params.catIds[0]
    like = np.split(coco._pair_oks(t), np.cumsum(t.G*t.D)[:-1])
    for i, image in enumerate(fast.params.imgIds):
        theirs = slow.ious[image, cat]
        assert np.array_equal(np.ravel(theirs), like[i]), image


@pytest.mark.parametrize("what", ["nobody found", "one picture", "boxes"])
def test_few_are_decided_about_as_well(what):
    people, results = hard(6)
    if what == "nobody found": results = []
    elif what == "boxes": results = [dict(r, bbox=[1., 1., 20. + i % 90, 50.]) for i, r in enumerate(results)]
    else: results = [r for r in results if r["image_id"] == results[0]["image_id"]]
    slow, fast = both_ways(people, results)
    assert np.array_equal(slow.stats, fast.stats)


def test_areas_that_are_the_extent_of_the_joints_are_told(tmp_path):
    "as sleap-io writes them (findings/extent_is_area.sh); a silhouette's are not, and one joint has no extent"
    def written(area):
        xyv = [100.25, 50.5, 2, 80, 90, 1, 0, 0, 0]
        anns = [dict(id=i, image_id=1, category_id=1, iscrowd=0, bbox=[60, 30, 90, 120], area=a, num_keypoints=2,
                     keypoints=k) for i, (a, k) in enumerate(((area, xyv), (5000, [9.] * 2 + [2] + [0] * 6)), 1)]
        path = tmp_path/f'{area}.json'
        path.write_text(json.dumps(dict(images=[dict(id=1, file_name='1.jpg', width=640, height=480)], annotations=anns,
                                        categories=[dict(id=1, name='person', keypoints=list('abc'), skeleton=[])])))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter('always')
            tell_areas(read_coco(path, keep_all=True), 'truth.json')
        return [str(w.message) for w in told if 'area' in str(w.message)]
    [said] = written(20.25*39.5)
    assert said.startswith('truth.json: the area of 1 of 2 people is the extent of their joints')
    assert 'OKS' in said and not written(5000.) and '0.53 of their box' in written(.53*90*120)[0]
