"Files in the shapes of published data sets are read with their own joints and sigmas, or refused with the reason"
import json
import numpy as np, pytest, torch
from semipose.data.core import FILL
from semipose.data.coco import read_coco, read_train_val
from semipose.data.sets import read_any
from semipose.errors import UserError
from semipose.metrics import oks
from semipose.skeletons import COCO17, KNOWN, LSP14, Skeleton, joints_note, skeleton_from_coco


def keys(K, seed, n=None):
    "x, y, v of K joints, the first n of them annotated"
    r = np.random.default_rng(seed)
    xyv = np.concatenate([r.uniform(5, 90, (K, 2)).round(1), np.full((K, 1), 2)], 1)
    xyv[K if n is None else n:] = 0
    return xyv.ravel().tolist()


def file(folder, categories, K, people=6, name="labels.json", **more):
    "A file of that many people, one a picture; `more`: what else an annotation has, by value or by its number"
    pictures = [dict(id=10 + i, file_name=f"{i}.jpg", width=100, height=100) for i in range(people)]
    notes = [dict(id=1 + i, image_id=10 + i, category_id=1, iscrowd=0, bbox=[2, 2, 95, 95], area=4000., num_keypoints=K,
                  keypoints=keys(K, i))
             | {k: v(i) if callable(v) else v for k, v in more.items()} for i in range(people)]
    for a in notes:
        for k in [k for k, v in a.items() if v is None]: del a[k]
    path = folder / name
    path.write_text(json.dumps(dict(images=pictures, annotations=notes, categories=categories)))
    return path


def person(joints, **more): return dict(id=1, name="person", supercategory="person", keypoints=list(joints), **more)


def test_crowdpose(tmp_path):
    "14 joints, COCO's limbs of 17, no area, crowdIndex beside the picture"
    path = file(tmp_path, [person(KNOWN["crowdpose14"].joints, skeleton=COCO17.to_coco()["skeleton"])], 14, area=None)
    people = read_coco(path, keep_all=True, fill=FILL)
    assert people.skeleton == KNOWN["crowdpose14"] and len(people) == 6
    assert dict(zip(people.skeleton.joints, people.skeleton.sigmas))["head"] == .079
    assert "crowdpose14 are drawn" in joints_note(people.skeleton)
    assert read_train_val(labels=path, share=.3)[0].skeleton == people.skeleton


def test_files_whose_limbs_count_from_0(tmp_path):
    "H36M and ExLPose as COCO files"
    limbs = [[a - 1, b - 1] for a, b in LSP14.to_coco()["skeleton"]]
    sk = read_coco(file(tmp_path, [person(LSP14.joints, skeleton=limbs)], 14)).skeleton
    assert sk.limbs == LSP14.limbs and not sk.notes


def test_ochuman(tmp_path):
    sk = read_coco(file(tmp_path, [person(COCO17.joints, skeleton=COCO17.to_coco()["skeleton"])], 17)).skeleton
    assert sk == COCO17


def test_ap10k(tmp_path):
    "54 species, each a category of the same 17 joints"
    ap = KNOWN["ap10k17"]
    species = [dict(id=1 + i, name=f"species{i}", supercategory="family", keypoints=list(ap.joints),
                    skeleton=ap.to_coco()["skeleton"]) for i in range(54)]
    people = read_coco(file(tmp_path, species, 17, people=54, category_id=lambda i: 1 + i), keep_all=True)
    assert people.skeleton == ap and len(people) == 54 and people.ids.tolist() == list(range(1, 55))
    assert "54 categories" in joints_note(people.skeleton) and "Sigmas of ap10k17" in joints_note(people.skeleton)
    train, val, _ = read_train_val(labels=file(tmp_path, species, 17, people=54, category_id=lambda i: 1 + i))
    assert len(train) + len(val) == 54
    species[3]["keypoints"] = species[3]["keypoints"][::-1]
    with pytest.raises(UserError, match="54 categories.*species0, species1"): read_coco(file(tmp_path, species, 17))


def test_one_of_several_is_the_person(tmp_path):
    cats = [dict(id=2, name="doll", keypoints=list(COCO17.joints)), person(COCO17.joints)]
    people = read_coco(file(tmp_path, cats, 17, category_id=lambda i: 1 + i % 2))
    assert len(people) == 3, "a doll is no person, though it has her joints"


def test_human_art(tmp_path):
    "21 names; 17 triples in keypoints, 21 in keypoints_21"
    path = file(tmp_path, [person(KNOWN["humanart21"].joints)], 17, keypoints_21=lambda i: keys(21, i),
                num_keypoints_21=21)
    people = read_coco(path)
    assert people.skeleton == COCO17 and people.xy.shape[1:] == (17, 2)
    assert "21 joints are named and 17 are given" in joints_note(people.skeleton)
    assert read_coco(file(tmp_path, [person(KNOWN["humanart21"].joints)], 21)).skeleton == KNOWN["humanart21"]
    with pytest.raises(UserError, match="needs 63 numbers"):
        read_coco(file(tmp_path, [person(KNOWN["humanart21"].joints)], 16))


def test_wholebody(tmp_path):
    "COCO's own 17, the rest in fields of its own; or all 133 in one list"
    body = read_coco(file(tmp_path, [person(COCO17.joints)], 17, foot_kpts=[0] * 18, face_kpts=[0] * 204,
                          lefthand_kpts=[0] * 63, righthand_kpts=[0] * 63, face_valid=False))
    assert body.skeleton == COCO17
    assert read_coco(file(tmp_path, [person(KNOWN["wholebody133"].joints)], 133)).skeleton == KNOWN["wholebody133"]


@pytest.mark.parametrize("categories, K, alike", [
    ([dict(id=1, name="person", supercategory="person")], 136, "halpe136"), ([], 26, "halpe26"),              # Halpe
    ([dict(id=1, name="face", keypoints=[], skeleton=[])], 98, "")])                                             # WFLW
def test_joints_without_names(categories, K, alike, tmp_path):
    path = file(tmp_path, categories, K)
    for read in (read_coco, read_any, lambda p: read_train_val(labels=p)):
        with pytest.raises(UserError, match=f'{K} joints, and no category names them: '
                                            'write the names as "keypoints"') as e:
            read(path)
        assert alike in str(e.value) and "no joints" not in str(e.value)
    sk = KNOWN.get(alike) or Skeleton("face98", [f"point{k}" for k in range(98)], (), (), [.05] * 98)
    people = read_coco(path, skeleton=sk)
    assert people.skeleton == sk and np.allclose(people.xy[0].ravel(),
                                                 np.reshape(keys(K, 0), (-1, 3))[:, :2].ravel(), atol=1e-4)
    with pytest.raises(UserError, match=f"{K} joints in 1 categories, and the skeleton lsp14 has 14"):
        read_coco(path, skeleton=LSP14)


def test_no_joints_at_all(tmp_path):
    with pytest.raises(UserError, match="there are no joints.*instances"):
        read_coco(file(tmp_path, [dict(id=1, name="person")], 0, keypoints=None))


def test_a_skeleton_is_matched_by_name(tmp_path):
    "Never by position: joint 0 is the nose wherever the file has it"
    order = [5, 3, 16, *[k for k in range(17) if k not in (5, 3, 16)]]
    turned = read_coco(file(tmp_path, [person([COCO17.joints[k] for k in order])], 17))
    wanted = read_coco(tmp_path / "labels.json", skeleton=COCO17)
    assert wanted.skeleton == COCO17 and np.array_equal(wanted.xy[:, order],
                                                       turned.xy) and np.array_equal(wanted.vis[:, order], turned.vis)
    upper = file(tmp_path, [person([j.replace("left_", "L").replace("right_", "R") for j in COCO17.joints])], 17)
    assert np.array_equal(read_coco(upper, skeleton=COCO17).xy, turned.xy), "other spellings are the same joints"
    for joints, word in (([*COCO17.joints[:16], "tail"], "tail where the skeleton coco17 has right_ankle"),
                         (COCO17.joints[:16], "16 joints and the skeleton coco17 has 17")):
        with pytest.raises(UserError, match=word):
            read_coco(file(tmp_path, [person(joints)], len(joints)), skeleton=COCO17)


@pytest.mark.parametrize("name", ["coco17", "crowdpose14", "ap10k17", "halpe26", "wholebody133"])
def test_the_order_of_names_changes_no_oks(name, tmp_path):
    sk, r = KNOWN[name], np.random.default_rng(0)
    order = r.permutation(len(sk)).tolist()
    xy, found = torch.from_numpy(r.uniform(0, 90, (8, len(sk), 2))), torch.from_numpy(r.normal(0, 4, (8, len(sk), 2)))
    vis, area = torch.full((8, len(sk)), 2), torch.full((8,), 4000.)
    other = skeleton_from_coco(dict(name="person", keypoints=[sk.joints[k] for k in order]))
    a, b = oks(xy + found, xy, vis, area, sk.sigmas), oks((xy + found)[:, order], xy[:, order], vis, area, other.sigmas)
    assert torch.allclose(a, b, atol=1e-12) and .05 < a.mean() < .95
