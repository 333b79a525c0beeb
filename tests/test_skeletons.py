"Laws of the joint sets: a mirror undone is no mirror, a remap finds every shared joint, a file read back is the same skeleton"
import subprocess, sys
import pytest
from semipose.skeletons import AIC14, COCO17, LSP14, MPII16, SKELETONS, UNION24, Skeleton, find_flips, remap, waving

ALL = list(SKELETONS.values())


@pytest.mark.parametrize("module", ["semipose.skeletons", "semipose.errors"])
def test_reads_without_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0, f"{module} must import neither torch nor numpy"


@pytest.mark.parametrize("sk", ALL, ids=lambda s: s.name)
def test_flip_swaps_exactly_the_sides(sk):
    f = sk.flip_index
    assert [f[k] for k in f] == list(range(len(sk))), "two mirrors are none"
    for k, (joint, side) in enumerate(zip(sk.joints, sk.sides)):
        other = joint.replace("left", "right") if "left" in joint else joint.replace("right", "left")
        assert sk.joints[f[k]] == other
        assert side == ("left" if "left" in joint else "right" if "right" in joint else "middle")


@pytest.mark.parametrize("sk", ALL, ids=lambda s: s.name)
def test_limbs_and_sigmas_are_symmetric(sk):
    f = sk.flip_index
    limbs = {frozenset(p) for p in sk.limbs}
    assert limbs == {frozenset((f[a], f[b])) for a, b in sk.limbs}, "a mirrored drawing has the same limbs"
    if sk is not AIC14:  # AI Challenger measured left and right apart
        assert sk.sigmas == tuple(sk.sigmas[k] for k in f)


@pytest.mark.parametrize("sk", ALL, ids=lambda s: s.name)
def test_drawing_is_one_piece(sk):
    reach, more = {0}, True
    while more:
        more = {b for p in sk.limbs for a, b in (p, p[::-1]) if a in reach} - reach
        reach |= more
    assert not (lone := [j for k, j in enumerate(sk.joints) if k not in reach]), f"not joined to the rest: {lone}"


def test_coco_sigmas_are_pycocotools():
    from pycocotools.cocoeval import Params
    assert COCO17.sigmas == pytest.approx(Params("keypoints").kpt_oks_sigmas.tolist(), abs=1e-12)


def test_sets_are_what_their_names_say():
    assert [len(s) for s in (COCO17, MPII16, AIC14, LSP14, UNION24)] == [17, 16, 14, 14, 24]
    assert UNION24.joints[:17] == COCO17.joints, "a COCO network keeps its channels in the union"
    assert sum(k < 0 for k in remap(COCO17, UNION24)) == 7, "the union has 7 channels that COCO never supervises"


@pytest.mark.parametrize("src", ALL, ids=lambda s: s.name)
@pytest.mark.parametrize("dst", ALL, ids=lambda s: s.name)
def test_remap_by_name(src, dst):
    m = remap(src, dst)
    assert len(m) == len(dst)
    for name, k in zip(dst.joints, m):
        assert (name not in src.joints) if k < 0 else src.joints[k] == name
    back = remap(dst, src)
    assert all(m[back[k]] == k for k in range(len(src)) if back[k] >= 0), "there and back again"
    # renaming and mirroring may be done in either order
    assert [m[j] for j in dst.flip_index] == [src.flip_index[k] if k >= 0 else -1 for k in m]


@pytest.mark.parametrize("sk", ALL, ids=lambda s: s.name)
def test_coco_round_trip(sk):
    import json
    assert Skeleton.from_coco(json.loads(json.dumps(sk.to_coco()))) == sk


def test_coco_file_needs_no_extra_keys():
    bare = dict(id=1, name="person", keypoints=list(COCO17.joints), skeleton=COCO17.to_coco()["skeleton"])
    assert Skeleton.from_coco(bare) == COCO17
    assert Skeleton.from_coco(bare, sigmas=[.1] * 17).sigmas == (.1,) * 17, "what is passed wins"
    assert Skeleton.from_coco(dict(bare, sigmas=[.2] * 17)).sigmas == (.2,) * 17, "what the file says comes next"


def test_unknown_joints_get_their_mirror_from_their_names():
    hand = Skeleton.from_coco(dict(name="mouse", keypoints=["snout", "left_ear", "right_ear", "tail", "nose"], skeleton=[[1, 2], [1, 3]]))
    assert hand.flips == ((1, 2),) and hand.limbs == ((0, 1), (0, 2)) and hand.name == "mouse"
    assert hand.sigmas[4] == .026 and hand.sigmas[0] == .05


@pytest.mark.parametrize("joints, pairs", [
    (["LHip", "RHip"], ((0, 1),)), (["hip_r", "hip_l"], ((1, 0),)), (["l.eye", "r.eye"], ((0, 1),)), (["left eye", "right eye"], ((0, 1),)),
    (["leg", "reg"], ()), (["left_only", "nose"], ())])
def test_sides_from_names(joints, pairs):
    assert find_flips(joints) == pairs


@pytest.mark.parametrize("change, word", [
    (dict(joints=()), "joints"), (dict(joints=("a", "a", "c")), "'a' twice"), (dict(limbs=((0, 3),)), "limbs"), (dict(limbs=((1, 1),)), "limbs"),
    (dict(flips=((0, 1), (1, 2))), "flips"), (dict(sigmas=(.1, .1)), "sigmas"), (dict(sigmas=(.1, 0., .1)), "sigmas")])
def test_a_slip_is_told_by_field(change, word):
    good = dict(name="toy", joints=("a", "b", "c"), limbs=((0, 1),), flips=((1, 2),), sigmas=(.1, .1, .1))
    assert Skeleton(**good).flip_index == (0, 2, 1)
    with pytest.raises(ValueError, match=word) as e: Skeleton(**{**good, **change})
    assert "toy" in str(e.value)


def test_category_without_keypoints():
    with pytest.raises(ValueError, match="person_keypoints"): Skeleton.from_coco(dict(name="person"))


def test_waving_shows_the_right_hand_on_the_left_of_the_picture():
    at = dict(zip(COCO17.joints, waving()))
    assert at["right_wrist"][1] < at["right_shoulder"][1], "the raised hand is the right one"
    assert all(at[j][0] < .5 < at[j.replace("right", "left")][0] for j in COCO17.joints if "right" in j), "facing us"
    assert all(len(waving(s)) == len(s) for s in ALL)
