"""Laws of the diagnosis: every planted error is named, mending it gives back exactly what it cost, and the worst are
the worst."""
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from semipose.data.core import People
from semipose.diagnose import KINDS, diagnose, kinds, mended, neighbours, worst
from semipose.errors import UserError
from semipose.evaluate.coco import coco_eval
from semipose.skeletons import COCO17

SIGMAS, FLIP = np.array(COCO17.sigmas), list(COCO17.flip_index)


def people(n=30, per=3, seed=0):
    "n people, `per` to a picture, all joints far apart"
    rng = np.random.default_rng(seed)
    xy = (rng.uniform(0, 1, (n, 17, 2)) * 30 + 60 * np.arange(17)[:, None] + 2000 * np.arange(n)[:, None, None]) % 9000
    vis = np.full((n, 17), 2, np.uint8)
    vis[:, 3] = 0
    xy[:, 3] = 0
    image = rng.permutation(np.arange(n) // per)
    return People(COCO17, Path("."), [f"{i}.jpg" for i in range(n // per)], image, np.arange(n // per), np.arange(n),
                  np.tile(np.float32([0, 0, 90, 90]), (n, 1)),
                  xy.astype(np.float32), vis, np.full(n, 8100, np.float32), np.zeros(n, bool))


def at(alike, k, area=8100):
    "Distance at which joint k is that similar"
    return 2 * SIGMAS[k] * np.sqrt(-2 * area * np.log(alike))


def test_every_planted_error_is_named():
    p = people()
    xy = p.xy.astype(float).copy()
    other = next(j for j in range(1, 30) if p.image[j] == p.image[0])
    xy[0, 5, 0] += at(0.86, 5)                                    # good
    xy[0, 6, 1] -= at(0.84, 6)                                    # jitter
    xy[0, 7, 0] += at(0.51, 7)                                    # jitter
    xy[0, 8, 0] += at(0.49, 8)                                    # miss
    xy[0, 9] = p.xy[0, 10] + [at(0.51, 10), 0]                    # inversion
    xy[0, 10] = p.xy[0, 9] + [at(0.49, 9), 0]                     # too far for one
    xy[0, 11] = p.xy[other, 11] + [0, at(0.51, 11)]               # swap
    xy[0, 12] = p.xy[other, 11]                                   # swap: the neighbour's other hip
    xy[0, 13] = p.xy[next(j for j in range(30) if p.image[j] != p.image[0]), 13]  # somebody in another picture: miss
    xy[0, 14] = p.xy[0, 16]                                       # a knee on an ankle: miss
    xy[0, 0] = p.xy[0, 1]                                         # a nose has no partner: miss
    xy[0, 3] = 5                                                  # nobody annotated this ear
    xy[0, 4] = 0                                                  # its partner is nowhere, at 0, 0: miss
    want = dict(zip((5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0, 4),
                    ("good jitter jitter miss inversion miss swap swap miss miss miss miss").split()))
    got = kinds(p, xy)
    assert got[0, 3] == -1 and {k: KINDS[got[0, k]] for k in want} == want
    assert (got[1:][p.vis[1:] > 0] == 0).all()
    assert (kinds(p, torch.from_numpy(xy)) == got).all()


def test_the_order_of_kinds():
    """Near its own place it is jitter whatever else is there; on the own partner it is an inversion even where a
    neighbour stands"""
    p = people()
    other = next(j for j in range(1, 30) if p.image[j] == p.image[0])
    p.xy[0, 8] = p.xy[0, 7] + np.float32([at(0.7, 7), 0])
    p.xy[other, 9] = p.xy[0, 10]
    xy = p.xy.astype(float).copy()
    xy[0, 7], xy[0, 9] = p.xy[0, 8], p.xy[0, 10]
    got = kinds(p, xy)
    assert KINDS[got[0, 7]] == "jitter" and KINDS[got[0, 9]] == "inversion"
    small = replace(p, area=np.where(np.arange(30) == 0, 100, p.area).astype(np.float32))
    xy = small.xy.astype(float).copy()
    xy[0, 11] = small.xy[other, 11] + [at(0.6, 11), 0]
    assert KINDS[kinds(small, xy)[0, 11]] == "swap", "a place is as wide as the person it belongs to"


def test_neighbours_are_all_pairs():
    image = np.array([4, 2, 4, 9, 2, 4])
    got = set(zip(*(a.tolist() for a in neighbours(image))))
    assert got == {(i, j) for i in range(6) for j in range(6) if i != j and image[i] == image[j]}
    assert len(neighbours(np.arange(5))[0]) == 0 == len(neighbours(np.zeros(0, int))[0])


def planted(seed=0):
    p, rng = people(60, seed=seed), np.random.default_rng(seed)
    xy = p.xy.astype(float).copy()
    xy[:20, :, 0] += at(0.6, np.arange(17))
    xy[20:30, 5:] = p.xy[20:30][:, FLIP][:, 5:]
    xy[30:40] += 4000
    return p, xy, rng.uniform(0.3, 1, p.vis.shape)


def test_mending_gives_back_what_an_error_cost():
    p, xy, score = planted()
    table = diagnose(p, xy, score)
    assert list(table) == ["as it is", "jitter", "inversion", "swap", "miss", "all of them"]
    kind = kinds(p, xy)
    for i, name in enumerate(KINDS[1:], 1):
        better = xy.copy()
        better[kind == i] = p.xy[kind == i]
        ap = 100 * coco_eval(p, better, score)["AP"]
        assert (table[name]["AP"] == pytest.approx(ap)
                and table[name]["gain"] == pytest.approx(ap - table["as it is"]["AP"]))
        assert table[name]["share"] == pytest.approx(100 * (kind == i).sum() / (p.vis > 0).sum())
        assert (mended(p, xy, name) == better).all()
    assert (table["as it is"]["AP"] == pytest.approx(100 * coco_eval(p, xy, score)["AP"])
            and table["all of them"]["AP"] == pytest.approx(100))
    assert all(table[n]["gain"] > 5 for n in ("jitter", "inversion", "miss")) and table["swap"]["gain"] < 5
    assert sum(table[n]["share"] for n in ("as it is", *KINDS[1:])) == pytest.approx(100) == table["as it is"][
        "share"] + table["all of them"]["share"]


def test_what_is_not_asked_changes_nothing():
    p, xy, score = planted()
    before = diagnose(p, xy, score)
    p.crowd[50] = True
    rows = p.posed
    everybody = diagnose(p, xy, score)
    assert everybody == diagnose(p, xy[rows],
                                 score[rows]) != before, "crowds are not predicted; posed people alone may be given"
    legs = np.arange(17) >= 11
    few = diagnose(p, xy, score, joints=legs)
    assert few == diagnose(replace(p, vis=p.vis * legs.astype(np.uint8)), xy, score)
    asked, plain = (100 * coco_eval(p, xy, score, **kw)["AP"] for kw in (dict(rescore_threshold=0.9, nms=None), {}))
    assert "jitter" in few and diagnose(p, xy, score, rescore_threshold=0.9,
                                        nms=None)["as it is"]["AP"] == pytest.approx(asked) != pytest.approx(plain)


def test_the_worst_come_first():
    p, xy, score = planted()
    p.vis[35] = 0
    rows, like = worst(p, xy, 12)
    assert (set(rows[:9].tolist()) == {i for i in range(30, 40) if i != 35} and (np.diff(like) >= 0).all()
            and like[0] < 0.01)
    assert 35 not in worst(p, xy, 60)[0] and len(worst(p, xy, 60)[0]) == 59


def test_what_does_not_fit_is_one_sentence():
    p, xy, score = planted()
    with pytest.raises(UserError, match="does not fit 60 people"):
        kinds(p, xy[:4])
    with pytest.raises(UserError, match="'jitters' is no kind"):
        mended(p, xy, "jitters")
