"Laws of the joint sets: two mirrors are none, a remap finds every shared joint, a file read back is the same"
import json, subprocess, sys
import pytest
from semipose.skeletons import (AIC14, COCO17, KNOWN, LSP14, MPII16, SKELETONS, UNION24, Skeleton, find_flips,
                                joints_note, mirrored, one_sided, parse_flips,
                                remap, waving)

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
    hand = Skeleton.from_coco(dict(name="mouse", keypoints=["snout", "left_ear", "right_ear", "tail", "nose"],
                                   skeleton=[[1, 2], [1, 3]]))
    assert hand.flips == ((1, 2),) and hand.limbs == ((0, 1), (0, 2)) and hand.name == "mouse"
    assert hand.sigmas[4] == .026 and hand.sigmas[0] == .05


@pytest.mark.parametrize("joints, pairs", [
    (["LHip", "RHip"], ((0, 1),)), (["hip_r", "hip_l"], ((1, 0),)), (["l.eye", "r.eye"], ((0, 1),)),
    (["left eye", "right eye"], ((0, 1),)),
    (["leg", "reg"], ()), (["left_only", "nose"], ())])
def test_sides_from_names(joints, pairs):
    assert find_flips(joints) == pairs


@pytest.mark.parametrize("change, word", [
    (dict(joints=()), "joints"), (dict(joints=("a", "a", "c")), "'a' twice"), (dict(limbs=((0, 3),)), "limbs"),
    (dict(limbs=((1, 1),)), "limbs"),
    (dict(flips=((0, 1), (1, 2))), "flips"), (dict(sigmas=(.1, .1)), "sigmas"), (dict(sigmas=(.1, 0., .1)), "sigmas")])
def test_a_slip_names_its_field(change, word):
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


# ---- sides from names

STYLES = {  # how a left and a right ear are called
    "left_ear": "right_ear", "LeftEar": "RightEar", "leftEar": "rightEar", "leftear": "rightear",
    "LEFT_EAR": "RIGHT_EAR", "Left Ear": "Right Ear", "ear_left": "ear_right",
    "earLeft": "earRight", "earleft": "earright", "ear left": "ear right", "l_ear": "r_ear", "L_Ear": "R_Ear",
    "l.ear": "r.ear", "ear.L": "ear.R", "ear_l": "ear_r",
    "ear-L": "ear-R", "LEar": "REar", "Lear": "Rear", "lear": "rear", "LEAR": "REAR", "earL": "earR", "earl": "earr",
    "EarL": "EarR", "ear_l_1": "ear_r_1",
    "ear_L_tip": "ear_R_tip", "earL1": "earR1", "ear1L": "ear1R", "ear_lt": "ear_rt", "lf_ear": "rf_ear",
    "LF_ear": "RF_ear", "ear_FL": "ear_FR", "left-ear": "right-ear"}


@pytest.mark.parametrize("left", STYLES)
def test_every_usual_style_of_naming_pairs_the_same_joints(left):
    joints = ["nose"]
    for part in ("ear", "hip", "knee"):
        for name in (left, STYLES[left]):
            # the r before an ear, not the end of one
            side, rest = (name[0], name[1:]) if name.lower() == "rear" else ("", name)
            joints.append(side + rest.replace("ear",
                                              part).replace("Ear", part.capitalize()).replace("EAR", part.upper()))
    joints.append("tail")
    assert find_flips(joints) == ((1, 2), (3, 4), (5, 6)), joints
    assert one_sided(joints, find_flips(joints)) == []


@pytest.mark.parametrize("joints, pairs", [
    (["FL", "FR", "RL", "RR"], ((0, 1), (2, 3))), (["LF", "RF", "LR", "RR"], ((0, 1), (2, 3))),
    (["LH_paw", "RH_paw", "lf_paw", "rf_paw"], ((0, 1), (2, 3))),
    (["leftEye", "righteye"], ((0, 1),)), (["Lhip", "LHip2", "rhip", "RHIP2"], ((0, 2), (1, 3))),
    (["x.L", "x_right"], ((0, 1),)), (["earL", "ear_r"], ((0, 1),)),
    (["LKnee", "Rknee"], ((0, 1),)), (["L1", "R1", "L2", "R2"], ((0, 1), (2, 3))),
    # a mirror swaps every side that a name holds; nobody is in two pairs
    (["left_front_left", "left_front_right", "right_front_left", "right_front_right"], ((0, 3), (1, 2))),
    (["left_front_left", "right_front_left"], ((0, 1),)),
    (["l_foot_left", "l_foot_right", "r_foot_right"], ((0, 2),)),
    (["left_front_left", "left_eye", "right_eye"], ((1, 2),)), (["eye_l", "eyeL", "eye_r"], ())])
def test_pairs_of_names(joints, pairs):
    assert find_flips(joints) == pairs
    Skeleton.from_coco(dict(name="x", keypoints=joints))  # pairs that nobody wrote are never refused


def test_words_that_only_begin_like_a_side():
    words = ("lip rip rear lear leg reg nose tail ball bar level revel lid rid lower_back rower_back heel bright "
             "blight tail_tip reel leer label fl_1 fr_2 ankle toe").split()
    pairs = {(words[a], words[b]) for a, b in find_flips(words)}
    assert pairs == {("lear", "rear")}, "a left and a right ear, since both are there"
    assert one_sided([w for w in words if w != "lear"]) == []
    assert one_sided(["left_paw", "earR", "paw1LH_top", "lhip", "R", "nose",
                      "rear"]) == ["left_paw", "earR", "paw1LH_top", "lhip", "R"]


def test_nobody_knows_the_pairs_so_nothing_is_mirrored():
    plain = dict(name="fish", keypoints=["a", "b", "c"])
    fish = Skeleton.from_coco(plain)
    assert not fish.mirror and "--flips" in joints_note(fish) and "never mirrored" in joints_note(fish)
    with pytest.raises(ValueError, match="--flips"): fish.in_mirror()
    assert not Skeleton.from_coco(fish.to_coco()).mirror, "written and read again it is the same"
    assert (Skeleton.from_coco(dict(plain, flips=[])).mirror
            and Skeleton.from_coco(plain, flips=[(0, 1)]).flip_index == (1, 0, 2)), "what somebody said holds"
    assert Skeleton.from_coco(dict(plain, keypoints=["a"])).mirror and "mirror" not in COCO17.to_coco()
    assert mirrored(fish, parse_flips("a:c")).in_mirror() == (2, 1, 0) and mirrored(fish, ()).in_mirror() == (0, 1, 2)
    assert not mirrored(COCO17, mirror=False).mirror
    assert parse_flips(None) is None and parse_flips(" none ") == ()
    assert parse_flips("a:b, 3:4") == (("a", "b"), ("3", "4"))
    for bad, said in (("a", "--flips a"), ("a:b:c", "write pairs"), (":b", "write pairs"), ("", "write pairs")):
        with pytest.raises(ValueError, match=said): parse_flips(bad)
    for bad, said in (("a:z", "'z'"), ("0:7", "0 to 2"), ("a:b,b:c", "twice")):
        with pytest.raises(ValueError, match=said): mirrored(fish, parse_flips(bad))


def test_what_training_says_of_its_joints():
    assert "8 mirror pairs: left_eye-right_eye, left_ear-right_ear" in joints_note(COCO17)
    assert "Sigmas of coco17." in joints_note(COCO17)
    cat = Skeleton.from_coco(dict(name="cat", keypoints=["nose", "earL", "earR", "paw_L"]))
    assert "1 mirror pair: earL-earR." in joints_note(cat) and "paw_L" in joints_note(cat)
    assert "--no-mirror" in joints_note(cat)
    assert "COCO's sigmas for 1 joint, ours for 3" in joints_note(cat)
    assert "as given" in joints_note(Skeleton.from_coco(dict(name="cat", keypoints=["nose", "x"]), sigmas=.1))


# ---- sets that others publish

PUBLISHED = {  # joint -> sigma, as the sets' own evaluations have them
    "crowdpose14": dict(left_shoulder=.079, right_elbow=.072, left_wrist=.062, right_hip=.107, left_knee=.087,
                        right_ankle=.089, head=.079, neck=.079),
    "ap10k17": dict(left_eye=.025, nose=.026, neck=.035, root_of_tail=.035, left_shoulder=.079, right_shoulder=.079,
                    left_elbow=.072, right_front_paw=.062,
                    left_hip=.107, right_knee=.087, left_back_paw=.089),
    "humanart21": dict(nose=.026, left_ankle=.089, left_finger=.089, right_toe=.089),
    "halpe26": dict(nose=.026, left_hip=.107, head=.026, neck=.026, hip=.066, left_big_toe=.079, right_heel=.079),
    "halpe136": dict(nose=.026, head=.08, neck=.08, hip=.08, left_heel=.089, face_0=.015, right_pinky_finger4=.015),
    "wholebody133": dict(nose=.026, left_big_toe=.068, left_small_toe=.066, left_heel=.066, right_big_toe=.092,
                         right_heel=.094, face_0=.042, face_8=.020,
                         face_16=.045, face_67=.008, left_hand_root=.029, left_thumb1=.022, right_pinky_finger4=.031)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_set_is_known_by_its_names(name):
    import random
    sk = KNOWN[name]
    assert {j: sk.sigmas[sk.joints.index(j)] for j in PUBLISHED[name]} == PUBLISHED[name]
    read = Skeleton.from_coco(dict(name="person", keypoints=list(sk.joints)))
    assert read == sk and Skeleton.from_coco(json.loads(json.dumps(sk.to_coco()))) == sk
    order = random.Random(0).sample(range(len(sk)), len(sk))
    other = Skeleton.from_coco(dict(name="person", keypoints=[sk.joints[k] for k in order]))
    assert dict(zip(other.joints, other.sigmas)) == dict(zip(sk.joints, sk.sigmas)), "by name, not by place"
    pairs = lambda s: {frozenset((s.joints[a], s.joints[b])) for a, b in s.flips}
    limbs = lambda s: {frozenset((s.joints[a], s.joints[b])) for a, b in s.limbs}
    assert pairs(other) == pairs(sk) and limbs(other) == limbs(sk)
    f = sk.flip_index
    assert [f[k] for k in f] == list(range(len(sk)))
    assert {frozenset(p) for p in sk.limbs} == {frozenset((f[a], f[b])) for a, b in sk.limbs}


def test_other_spellings_of_a_known_set():
    ap = ("L_Eye R_Eye Nose Neck Root~of~tail L_Shoulder L_Elbow L_F_Paw R_Shoulder R_Elbow R_F_Paw L_Hip L_Knee "
          "L_B_Paw R_Hip R_Knee R_B_Paw")
    antelope = dict(name="antelope", keypoints=[j.replace("~", " ") for j in ap.split()])
    assert Skeleton.from_coco(antelope).sigmas == KNOWN["ap10k17"].sigmas
    halpe = ("Nose LEye REye LEar REar LShoulder RShoulder LElbow RElbow LWrist RWrist LHip RHip LKnee Rknee LAnkle "
             "RAnkle Head Neck Hip LBigToe RBigToe LSmallToe RSmallToe LHeel RHeel")
    got = Skeleton.from_coco(dict(name="person", keypoints=halpe.split()))
    assert got.sigmas == KNOWN["halpe26"].sigmas and got.flip_index == KNOWN["halpe26"].flip_index
    top = [*KNOWN["crowdpose14"].joints[:12], "top_head", "neck"]
    assert Skeleton.from_coco(dict(name="person", keypoints=top)).sigmas == KNOWN["crowdpose14"].sigmas
    unknown = Skeleton.from_coco(dict(name="person", keypoints=[*top[:12], "skull", "neck"]))
    assert (unknown.sigmas[12:] == (.05, .079)
            and unknown.name == "person"), "a number of joints is no set, and an unknown one keeps the rule by name"


def test_the_face_of_68_points_mirrors_by_its_scheme():
    f = [KNOWN["wholebody133"].flip_index[23 + k] - 23 for k in range(68)]
    assert [k for k in range(68) if f[k] == k] == [8, 27, 28, 29, 30, 33, 51, 57, 62,
                                                   66], "chin, bridge, tip and lips' middle"
    assert (f[0], f[17], f[31], f[36], f[40], f[48], f[60], f[65]) == (16, 26, 35, 45, 47, 54, 64, 67)


# ---- limbs are only drawn

LAMP = dict(name="lamp", keypoints=["base", "elbow", "head", "left_rim", "right_rim"])


@pytest.mark.parametrize("limbs, kept, note", [
    ([[1, 2], [2, 3], [3, 4], [3, 5]], 4, None), ([[0, 1], [1, 2], [2, 3], [2, 4]], 4, None),   # from 1; from 0
    ([["base", "elbow"], [2, 3]], 2, None), ([["base", "elbow"], [0, 3]], 2, None), ([[1, 2], [1, 6]], 1, "1 of 2"),
    ([[0, 1], [1, 5]], 1, "1 of 2"),
    ([[1, 2, 3], [2, 2], [1.5, 2], None, ["base", "shade"], [True, 2]], 0, "6 of 6")])
def test_limbs_that_do_not_fit_are_left_out(limbs, kept, note):
    sk = Skeleton.from_coco(dict(LAMP, skeleton=limbs))
    assert len(sk.limbs) == kept and (sk.limbs[:1] or ((0, 1),))[0] in ((0, 1), (0, 4))
    if note is None: assert not sk.notes
    else: assert note in sk.notes[0] and "left out" in sk.notes[0] and sk.notes[0] in joints_note(sk)


def test_crowdpose_lists_coco_s_limbs():
    coco = COCO17.to_coco()["skeleton"]
    sk = Skeleton.from_coco(dict(name="person", keypoints=list(KNOWN["crowdpose14"].joints), skeleton=coco))
    assert sk == KNOWN["crowdpose14"] and "of 19 limbs" in sk.notes[0] and "crowdpose14 are drawn" in sk.notes[0]


def test_two_sets_with_the_same_names_differ_by_their_order():
    read = lambda joints: Skeleton.from_coco(dict(name="person", keypoints=list(joints)))
    assert read(AIC14.joints) == AIC14 and read(LSP14.joints) == LSP14
    other = read(sorted(LSP14.joints))
    assert other.name == "person"
    by_name = lambda sk: dict(zip(sk.joints, sk.sigmas))
    assert by_name(other) == by_name(LSP14), "in any other order the rule by name holds"
