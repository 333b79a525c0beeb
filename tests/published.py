"""Small files of exactly the published shapes: MPII (MATLAB and JSON), AI Challenger, Leeds Sports Pose, COCO's archives."""
import json
import zipfile

import numpy as np
from PIL import Image

RNG = np.random.default_rng


def pictures(folder, names, size=(400, 300)):
    "Grey pictures, each of its own shade"
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        Image.new("RGB", size, (9 * (i + 1),) * 3).save(folder / name)


def packed(path, folder, inside=""):
    "A zip archive of a folder's files"
    with zipfile.ZipFile(path, "w") as z:
        for f in sorted(folder.iterdir()):
            z.write(f, f"{inside}{f.name}")
    return path


def structs(rows):
    "MATLAB's array of structures"
    a = np.empty((1, len(rows)), dtype=[(k, "O") for k in dict.fromkeys(k for r in rows for k in r)])
    for i, r in enumerate(rows):
        for k in a.dtype.names:
            a[0, i][k] = r.get(k, np.zeros((0, 0)))
    return a


def mpii_truth(n=5, seed=0):
    "joints (n,16,2) and centres in MATLAB's px, scales, v as annotated, heads (n,2,2)"
    rng = RNG(seed)
    xy, vis = rng.uniform(20, 280, (n, 16, 2)).round(1), rng.integers(0, 3, (n, 16))
    vis[:, 8:10] = 2  # head top and upper neck have no flag of visibility
    vis[:, 0] = rng.integers(1, 3, n)
    low = rng.uniform(20, 100, (n, 2)).round()
    return dict(xy=xy, vis=vis, center=rng.uniform(100, 200, (n, 2)).round(), scale=rng.uniform(.5, 1.5, n).round(3),
                image=[f"{1000 + i // 2:09d}.jpg" for i in range(n)],
                head=np.stack([low, low + rng.uniform(20, 60, (n, 2)).round()], 1))


def mpii_json(folder, truth, split="train", gt=False, annot="annot/{}.json", head="annot/gt_{}.mat"):
    "HRNet's files: joints that are not annotated lie at -1"
    path, seen = folder / annot.format(split), truth["vis"] > 0
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [dict(joints_vis=seen[i].astype(int).tolist(), joints=np.where(seen[i][:, None], truth["xy"][i],
                                                                          -1.0).tolist(), image=truth["image"][i],
                                                                          scale=float(truth["scale"][i]),
                 center=truth["center"][i].tolist()) for i in range(len(seen))]
    path.write_text(json.dumps(rows))
    if gt:
        from scipy.io import savemat
        savemat(folder / head.format(split), dict(headboxes_src=truth["head"].transpose(1, 2, 0),
                                                  jnt_missing=1 - seen.T, pos_gt_src=truth["xy"].transpose(1, 2, 0)))
    return path


def mpii_mat(path, truth, test_pictures=1):
    "The authors' file: structures in structures, empty fields, people and pictures that are left out"
    from scipy.io import savemat
    annolist, train = [], []
    for name in dict.fromkeys(truth["image"]):
        rects = []
        for i in np.flatnonzero(np.array(truth["image"]) == name):
            points = [dict(x=truth["xy"][i, k, 0], y=truth["xy"][i, k, 1], id=k,
                           is_visible=np.zeros((0, 0)) if k in (8, 9) else str(v - 1))
                      for k, v in enumerate(truth["vis"][i].tolist()) if v]
            (x1, y1), (x2, y2) = truth["head"][i]
            rects.append(dict(x1=x1, y1=y1, x2=x2, y2=y2, annopoints=dict(point=structs(points)),
                              scale=truth["scale"][i],
                              objpos=dict(x=truth["center"][i, 0], y=truth["center"][i, 1])))
        rects.append(dict(x1=1, y1=2, x2=3, y2=4, scale=1.0, objpos=dict(x=5, y=6)))  # somebody without joints
        annolist.append(dict(image=dict(name=name), annorect=structs(rects), frame_sec=np.zeros((0, 0)),
                             vididx=np.zeros((0, 0))))
        train.append(1)
    annolist.append(dict(image=dict(name="empty.jpg"), annorect=np.zeros((0, 0)), frame_sec=np.zeros((0, 0)),
                         vididx=np.zeros((0, 0))))
    for i in range(test_pictures):
        annolist.append(dict(image=dict(name=f"test{i}.jpg"),
                             annorect=structs([dict(scale=1.0, objpos=dict(x=9, y=9))]), frame_sec=np.zeros((0, 0)),
                             vididx=np.zeros((0, 0))))
    train += [1] + [0] * test_pictures
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, dict(RELEASE=dict(annolist=structs(annolist), img_train=np.array([train]), version="12")))
    return path


def aic_truth(n=5, seed=0):
    rng = RNG(seed)
    vis = rng.integers(1, 4, (n, 14))
    vis[:, 0] = 1
    low = rng.integers(5, 60, (n, 2))
    return dict(xy=rng.integers(20, 280, (n, 14, 2)), flag=vis,
                box=np.concatenate([low, low + rng.integers(80, 200, (n, 2))], 1),
                image=[f"{i // 2:040x}" for i in range(n)])


def aic_json(folder, truth, split="train", date="20170909"):
    path = folder / f"ai_challenger_keypoint_{split}_{date}" / f"keypoint_{split}_annotations_{date}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [dict(url="http://x/y.jpg", image_id=name, human_annotations={}, keypoint_annotations={})
            for name in dict.fromkeys(truth["image"])]
    by = {r["image_id"]: r for r in rows}
    for i, name in enumerate(truth["image"]):
        o = by[name]
        who = f"human{len(o['human_annotations']) + 1}"
        o["human_annotations"][who] = truth["box"][i].tolist()
        o["keypoint_annotations"][who] = np.concatenate([truth["xy"][i], truth["flag"][i][:, None]], 1).ravel().tolist()
    path.write_text(json.dumps(rows))
    return path


def lsp_mat(folder, xy, third, extended=False, name="lsp_dataset"):
    "joints.mat and pictures: xy (n,14,2), third (n,14)"
    from scipy.io import savemat
    place = folder / name
    pictures(place / "images", [f"im{i + 1:0{5 if extended else 4}d}.jpg" for i in range(len(xy))], (60, 80))
    a = np.concatenate([xy, third[..., None]], -1).astype(float)
    savemat(place / "joints.mat", dict(joints=a.transpose((1, 2, 0) if extended else (2, 1, 0))))
    return place / "joints.mat"
