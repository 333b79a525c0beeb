"""Laws of PCKh and PCK: counted by hand, in the columns of the published tables."""
import math

import numpy as np
import pytest
import torch

from semipose.errors import UserError
from semipose.evaluate.mpii import COLUMNS, columns, lsp_pck, pck_table, pckh
from semipose.skeletons import COCO17, LSP14, MPII16


def people(skeleton, n=60, seed=0):
    rng, K = np.random.default_rng(seed), len(skeleton)
    true, vis = rng.uniform(0, 300, (n, K, 2)), rng.integers(0, 3, (n, K))
    return true, vis, true + rng.normal(0, 12, true.shape), rng.uniform(20, 60, n)


def test_pckh_counted_joint_by_joint():
    true, vis, xy, head = people(MPII16)
    head[3], head[4] = np.nan, 0
    got = pckh(xy, true, vis, head)
    for t in (0.5, 0.1):
        found, asked = {}, {}
        for n in range(60):
            if not head[n] > 0: continue
            for k, joint in enumerate(MPII16.joints):
                if vis[n, k] == 0: continue
                hit = math.dist(xy[n, k], true[n, k]) <= t * head[n]
                groups = ([c for c, js in COLUMNS.items() if joint in js]
                          + ([] if joint in ("pelvis", "thorax") else ["Mean"]))
                for g in groups: found[g], asked[g] = found.get(g, 0) + hit, asked.get(g, 0) + 1
        want = {g: 100 * found[g] / asked[g] for g in asked}
        assert got[f"PCKh@{t}"] == pytest.approx(want) and list(got[f"PCKh@{t}"]) == [*COLUMNS, "Mean"]
    assert list(got) == ["PCKh@0.5", "PCKh@0.1"] and got["PCKh@0.1"]["Mean"] < got["PCKh@0.5"]["Mean"]


def test_the_columns_are_the_published_ones():
    sides = {c: {f"left_{c.lower()}", f"right_{c.lower()}"}
             for c in ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")}
    assert ({c: set(joints) for c, joints in COLUMNS.items()} == {"Head": {"head_top"}, **sides}
            and list(COLUMNS) == ["Head", *sides])


def test_the_mean_is_of_joints_not_of_columns():
    true, vis, xy, head = people(MPII16)
    vis[:50] *= np.array([j.endswith("ankle") for j in MPII16.joints])
    row = pckh(xy, true, vis, head)["PCKh@0.5"]
    assert abs(row["Mean"] - np.mean([row[c] for c in COLUMNS])) > 0.5
    neck = true.copy()
    neck[:, MPII16.joints.index("upper_neck")] += 999
    assert pckh(neck, true, vis * 0 + 2,
                head)["PCKh@0.5"]["Mean"] == pytest.approx(100 * 13 / 14), "the upper neck counts"


def test_a_joint_at_the_threshold_is_found():
    true, vis = np.zeros((1, 16, 2)), np.full((1, 16), 2)
    xy = true.copy()
    xy[0, :, 0] = 20
    assert (pckh(xy, true, vis, [40.0])["PCKh@0.5"]["Mean"] == 100
            and pckh(xy + [0.01, 0], true, vis, [40.0])["PCKh@0.5"]["Mean"] == 0)


def test_lsp_is_measured_by_the_torso():
    true, vis, xy, _ = people(LSP14)
    vis[:] = 2
    at = {j: k for k, j in enumerate(LSP14.joints)}
    size = np.linalg.norm(true[:, at["left_shoulder"]] - true[:, at["right_hip"]], axis=-1)
    hit = np.linalg.norm(xy - true, axis=-1) <= 0.2 * size[:, None]
    got = lsp_pck(torch.from_numpy(xy), true, vis)
    assert (got["Mean"] == pytest.approx(100 * hit.mean())
            and got["Head"] == pytest.approx(100 * hit[:, at["head_top"]].mean()))
    assert got["Wrist"] == pytest.approx(100 * hit[:, [at["left_wrist"], at["right_wrist"]]].mean())
    assert lsp_pck(xy, true, vis, thr=0.05)["Mean"] < got["Mean"]
    assert "Head" not in columns(COCO17) and "Ankle" in columns(COCO17), "a column without joints is not printed"


def test_nothing_asked_is_nan_and_what_does_not_fit_is_one_sentence():
    true, vis, xy, head = people(MPII16)
    assert all(math.isnan(v) for v in pckh(xy, true, vis * 0, head)["PCKh@0.5"].values())
    for call in (lambda: pckh(xy[:, :9], true, vis, head), lambda: pckh(xy, true, vis, head[:5]), lambda: pck_table(xy,
        true, vis, head, LSP14)):
        with pytest.raises(UserError, match="do not fit"):
            call()


def test_a_joint_that_is_nowhere_is_a_miss():
    "NaN and infinity are never within any distance, and never move what the others score"
    true, vis, xy, head = people(MPII16)
    vis[:] = 2
    found = pckh(true, true, vis, head)["PCKh@0.5"]
    assert found["Mean"] == 100
    for nowhere in (np.nan, np.inf):
        lost = true.copy()
        lost[:, MPII16.joints.index("head_top")] = nowhere
        got = pckh(lost, true, vis, head)["PCKh@0.5"]
        assert got["Head"] == 0 and got["Knee"] == 100 and got["Mean"] == pytest.approx(100 * 13 / 14)
        assert pck_table(np.full(true.shape, nowhere), true, vis, head, MPII16)["Mean"] == 0
