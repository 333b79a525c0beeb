"""An exported file says what its networks say, knows what it is, is whole or not there, and needs nothing of ours to
be used."""
import json, subprocess, sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from semipose import export
from semipose.codecs import DARK, Gaussian
from semipose.data.core import Crops, People
from semipose.data.synth import make_people
from semipose.errors import UserError
from semipose.export import OnnxNet, accuracy, describe, differences, export_onnx, export_torch, need, probes
from semipose.geometry import crop_matrix
from semipose.nets.peers import build_peers
from semipose.predict import look, mean_heat, predict, predict_all
from semipose.skeletons import MPII16, Skeleton

pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
SIZE = (64, 48)
NOTEBOOK = Path(__file__).parent.parent / "nbs/57_export.ipynb"


class Eye(nn.Module):
    """A network that needs no training: heatmap k is what of colour k is brighter than the grey around photographs,
    smoothed, with batch statistics"""
    stride = 2

    def __init__(self, gain=1.0, stride=2):
        super().__init__()
        self.gain, self.stride = nn.Parameter(torch.tensor(gain)), stride
        self.blur = nn.AvgPool2d(5, 1, 2)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.gain * self.blur((x - 0.5).relu())[..., :: self.stride, :: self.stride])


THREE = Skeleton("three", ("a", "b", "c"), ((0, 1), (1, 2)), (), (0.05,) * 3)


def dotted(n=5, size=SIZE, seed=0, sigma=3.0):
    "Pictures with a dot of each colour, and the dots' places"
    xy = torch.rand(n, 3, 2,
                    generator=torch.Generator().manual_seed(seed)) * torch.tensor([size[1] - 16.0, size[0] - 16.0]) + 8
    y, x = torch.meshgrid(*(torch.arange(s, dtype=torch.float32) for s in size), indexing="ij")
    return torch.exp(-((x - xy[..., 0, None, None]) ** 2 + (y - xy[..., 1, None, None]) ** 2) / (2 * sigma**2)), xy


@pytest.fixture(scope="module")
def pair():
    "Two eyes of different strength whose batch statistics are not the ones they started with"
    nets = [Eye(3.0), Eye(1.5)]
    for i, net in enumerate(nets):
        net.norm.running_mean += 0.01 * (i + 1)
    return nets


@pytest.fixture(scope="module")
def file(pair, tmp_path_factory):
    return export_onnx(pair, tmp_path_factory.mktemp("onnx") / "pose.onnx", SIZE, Gaussian(stride=2, sigma=1.5), THREE)


def ask(path, x, name=None):
    outputs = export.session(path, 1).run(None if name is None else [name], {"crop": x.numpy()})
    return torch.from_numpy(outputs[0]) if name else [torch.from_numpy(o) for o in outputs]


# ---- the file says what the networks say


@pytest.mark.parametrize("n", [1, 2, 5])
def test_file_is_the_ensemble_for_any_number_of_crops(pair, file, n):
    x, xy = dotted(n, seed=n)
    p = predict(pair, x, Gaussian(stride=2, sigma=1.5))
    heat, joints, score = ask(file.path, x)
    torch.testing.assert_close(heat, p.heat, rtol=0, atol=1e-6)
    torch.testing.assert_close(joints, p.xy, rtol=0, atol=1e-4)
    torch.testing.assert_close(score, p.score, rtol=0, atol=1e-6)
    assert (joints - xy).abs().max() < 1.5, "and the joints are where the dots are"


def test_each_network_leaves_alone(pair, file, tmp_path):
    x, _ = dotted()
    heats = look(pair, x)
    for i in range(2):
        done = export_onnx(pair, tmp_path / f"{i}.onnx", SIZE, Gaussian(stride=2), THREE, joints=False, which=i)
        torch.testing.assert_close(ask(done.path, x, "heat"), heats[i], rtol=0, atol=1e-6)
        assert done.about["nets"] == 1 and list(done.difference) == ["heat"]
    torch.testing.assert_close(ask(file.path, x, "heat"), mean_heat(heats), rtol=0, atol=1e-6)


def test_dark_steps_inside_the_graph(pair, tmp_path):
    x, xy = dotted()
    codec = DARK(sigma=1.5, stride=2)
    path = export_onnx(pair, tmp_path / "dark.onnx", SIZE, codec, THREE).path
    joints = ask(path, x, "xy")
    torch.testing.assert_close(joints, predict(pair, x, codec).xy, rtol=0, atol=0.01)
    assert (joints % 0.5).abs().max() > 0.05, "finer than the quarter of a heatmap pixel"
    assert (joints - xy).abs().max() < 0.5


@pytest.mark.parametrize("name, net, n",
    [("tiny", dict(width=8), 2), ("resnet18", dict(width=16, depth=1), 1), ("fpn:tf_efficientnet_lite0", {}, 1)])
def test_every_kind_of_network_leaves(name, net, n, tmp_path):
    peers = build_peers(name, joints=5, n=n, net=net)
    five = Skeleton("five", tuple("abcde"), (), (), (0.05,) * 5)
    done = export_onnx(peers, tmp_path / "net.onnx", (64, 64), Gaussian(stride=peers.stride), five)
    assert max(done.difference.values()) < 1e-5
    assert peers.training, "the networks go on training"


def test_torch_file_agrees_and_carries_its_description(pair, tmp_path):
    x, _ = dotted(3)
    done = export_torch(pair, tmp_path / "pose.pt2", SIZE, Gaussian(stride=2, sigma=1.5), THREE)
    extra = {"about.json": ""}
    heat, xy, score = torch.export.load(str(done.path), extra_files=extra).module()(x)
    p = predict(pair, x, Gaussian(stride=2, sigma=1.5))
    torch.testing.assert_close(heat, p.heat, rtol=0, atol=1e-6)
    torch.testing.assert_close(xy, p.xy, rtol=0, atol=1e-4)
    assert json.loads(extra["about.json"]) == done.about == json.loads((tmp_path / "pose.pt2.json").read_text())


# ---- the file knows what it is


def test_description_is_inside_and_beside(file):
    net, beside = OnnxNet(file.path), json.loads(file.path.with_name("pose.onnx.json").read_text())
    assert net.about == beside == file.about
    assert net.about["joints"] == ["a", "b", "c"] and net.about["limbs"] == [[0, 1], [1, 2]] and net.about["nets"] == 2
    assert (net.about["size"], net.about["stride"], net.about["sigma"], net.about["pad"]) == ([64, 48], 2, 1.5, 1.25)


def test_a_network_that_onnx_cannot_say_is_refused_in_a_sentence(tmp_path, capsys):
    "a ViT resamples its places; as .pt2 it leaves like any other"
    pytest.importorskip("timm")
    pytest.importorskip("onnxruntime")
    from semipose.nets.peers import build
    net = build("timm:vit_tiny_patch16_224", 17, width=8).eval()
    with pytest.raises(UserError, match="no ONNX form here .*--to torch"):
        export_onnx(net, tmp_path / "vit.onnx", (64, 96), Gaussian(stride=4))
    assert not list(tmp_path.iterdir()) and len(capsys.readouterr().out) < 1000
    assert max(export_torch(net, tmp_path / "vit.pt2", (64, 96), Gaussian(stride=4)).difference.values()) < 1e-5


def test_the_description_says_in_which_precision_the_file_agrees():
    "and how to ask a runtime that would round by itself; the command prints the same sentence"
    told = describe((64, 48), Gaussian(stride=2))["precision"]
    assert "float32" in told and "OpenVINO" in told and 'INFERENCE_PRECISION_HINT": "f32"' in told


def test_the_sentence_about_the_crop_is_the_matrix():
    "The formula, with its letters replaced by a box and a point, gives what `crop_matrix` gives"
    text = describe((64, 48), Gaussian(stride=2), pad=1.3)["crop"]
    scale, point = text.split("scale = ")[1].split(";")[0], text.split("crop pixel ")[1].split("), pixel")[0] + ")"
    here = dict(x=30.0, y=12.0, w=50.0, h=40.0, u=41.0, v=27.0, max=max)
    here["scale"] = eval(scale, here)
    M = crop_matrix(torch.tensor([[30.0, 12.0, 50.0, 40.0]]), (64, 48), 1.3)[0].numpy()
    np.testing.assert_allclose(eval(point, here), (M @ [41, 27, 1])[:2], atol=1e-4)


# ---- kept only if it agrees, whole or not at all


@pytest.mark.parametrize("broken", ["heat", "xy", "score"])
def test_a_file_that_disagrees_is_not_left(pair, tmp_path, monkeypatch, broken):
    run, shift = export.differences, dict(heat=1e-3, xy=0.1, score=1e-3)
    monkeypatch.setattr(export, "differences", lambda answer, file, x: run(
        answer, lambda crops: [o + shift[name] * (name == broken) for name, o in zip(answer.names, file(crops))], x))
    with pytest.raises(UserError, match=f"was not written: '{broken}' differs"):
        export_onnx(pair, tmp_path / "pose.onnx", SIZE, Gaussian(stride=2), THREE)
    assert list(tmp_path.iterdir()) == []
    loose = {broken: 0.2}
    assert export_onnx(pair, tmp_path / "pose.onnx", SIZE, Gaussian(stride=2), THREE,
                       tolerance=loose).difference[broken] >= shift[broken] / 2


def test_a_nailed_batch_size_is_noticed(pair):
    answer = export.Answer(pair, Gaussian(stride=2))
    x = probes(SIZE)
    assert set(differences(answer, answer, x).values()) == {0.0}
    assert differences(answer, lambda crops: [o.expand(7, *o.shape[1:]) for o in answer(crops[:1])], x)["heat"] > 0
    assert differences(answer, lambda crops: [o[:1] for o in answer(crops)], x)["heat"] == float("inf")
    assert differences(answer, lambda crops: [o * float("nan") for o in answer(crops)], x)["score"] == float("inf")


def test_both_noise_and_the_caller_s_crops_are_compared():
    mine, _ = dotted(2)
    x = probes(SIZE, (mine * 255).byte())
    assert x.shape == (5, 3, *SIZE) and (x[3:] - mine).abs().max() <= 1 / 255
    assert 0.45 < x[:3].mean() < 0.55 and x[:3].std() > 0.25
    roomy = make_people(torch.arange(2), seed=0, size=(96, 72)).image
    torch.testing.assert_close(probes(SIZE, roomy)[3:], roomy[..., 16:80, 12:60] / 255.0)


def test_a_failed_export_leaves_what_was_there(pair, file, tmp_path, monkeypatch):
    for name in ("pose.onnx", "pose.onnx.json"):
        (tmp_path / name).write_text("older")
    monkeypatch.setattr(export.os, "replace", lambda *a: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(OSError):
        export_onnx(pair, tmp_path / "pose.onnx", SIZE, Gaussian(stride=2), THREE)
    assert sorted((p.name, p.read_text()) for p in tmp_path.iterdir()) == [("pose.onnx", "older"),
        ("pose.onnx.json", "older")]


@pytest.mark.parametrize("write, end", [(export_onnx, "onnx"), (export_torch, "pt2")])
def test_both_files_reach_the_disk(pair, tmp_path, monkeypatch, write, end):
    import os
    synced, real = [], os.fsync
    monkeypatch.setattr("semipose.files.os.fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")),
                                                               real(fd))[1])
    write(pair, tmp_path / f"pose.{end}", SIZE, Gaussian(stride=2), THREE)
    assert {Path(s).name.split(".")[1:-2][-1] for s in synced if s.endswith(".part")} == {end, "json"}
    assert {p.name for p in tmp_path.iterdir()} == {f"pose.{end}", f"pose.{end}.json"}


@pytest.mark.parametrize("bad, told", [
    (dict(path="pose.pt2"), "should end in .onnx"), (dict(path="no/such/pose.onnx"), "there is no folder"),
    (dict(size=(63, 48)), "32x24"),
    (dict(codec=Gaussian(stride=4)), "stride=2"), (dict(skeleton=MPII16), "3 joints and skeleton 'mpii16' has 16"),
    (dict(which=2), "0 to 1"), (dict(which="all"), "'ensemble'"),
])
def test_what_does_not_fit_is_told_before_anything_is_written(pair, tmp_path, bad, told):
    with pytest.raises(UserError, match=told):
        arguments = dict(path="pose.onnx", size=SIZE, codec=Gaussian(stride=2), skeleton=THREE) | bad
        export_onnx(pair, **(arguments | dict(path=tmp_path / arguments["path"])))
    assert list(tmp_path.iterdir()) == []


def test_an_absent_package_is_named_with_its_remedy(pair, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"'onnx'.*pip install 'semipose\[export\]'"):
        export_onnx(pair, tmp_path / "pose.onnx", SIZE, Gaussian(stride=2), THREE)
    with pytest.raises(UserError, match="semipose_nowhere"): need("semipose_nowhere")


# ---- the file in a network's place


def test_a_file_takes_a_network_s_place(pair, file):
    x, _ = dotted()
    net = OnnxNet(file.path, threads=1)
    torch.testing.assert_close(predict(net, x, Gaussian(stride=2)).xy, predict(pair, x, Gaussian(stride=2)).xy, rtol=0,
                               atol=1e-4)
    with pytest.raises(UserError, match="takes crops of 64x48"): net(torch.zeros(1, 3, 32, 32))


def test_what_is_no_file_of_ours_is_refused(file, tmp_path):
    with pytest.raises(UserError, match="no such file"): OnnxNet(tmp_path / "a.onnx")
    (tmp_path / "b.onnx").write_bytes(file.path.read_bytes()[:200])
    with pytest.raises(UserError, match="cannot|can be run"): OnnxNet(tmp_path / "b.onnx")
    import onnx
    model = onnx.load(file.path)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "c.onnx")
    with pytest.raises(UserError, match="carries no description"): OnnxNet(tmp_path / "c.onnx")


def photographs(folder, n=3):
    "Larger pictures with a dotted person somewhere, some of it outside; boxes around the dots"
    image, xy = dotted(n, (160, 200), seed=7, sigma=8.0)
    for i in range(n):
        Image.fromarray((image[i].permute(1, 2, 0) * 255).byte().numpy()).save(folder / f"{i}.png")
    low, high = xy.amin(1) - 12, xy.amax(1) + 12
    box = torch.cat([low, high - low], 1).numpy()
    box[0] += [-30, 0, 30, 0]                                                     # this one's crop leaves the picture
    return People(THREE, folder, [f"{i}.png" for i in range(n)], np.arange(n), np.arange(n), np.arange(n),
                  box.astype(np.float32), xy.numpy(),
                  np.full((n, 3), 2, np.uint8), box[:, 2] * box[:, 3], np.zeros(n, bool))


def test_accuracy_stands_beside_the_networks_own(pair, file, tmp_path):
    told = accuracy(pair, file.path, Crops(photographs(tmp_path), SIZE), Gaussian(stride=2, sigma=1.5))
    assert told["network"] == pytest.approx(told["file"]) and told["apart"] < 1e-3 and told["people"] == 3
    assert 0 <= told["network"]["AP"] <= 100
    other = export_onnx(pair[::-1], tmp_path / "one.onnx", SIZE, Gaussian(stride=2), THREE, which=0)
    assert accuracy([Eye(-2.0)], other.path, Crops(photographs(tmp_path), SIZE),
                    Gaussian(stride=2))["apart"] > 5, "another network's file is far"


# ---- without this library


@pytest.mark.parametrize("joints", [True, False])
def test_the_page_without_semipose_finds_the_same_joints(pair, tmp_path, joints):
    source = next(c.source for c in nbformat.read(NOTEBOOK, as_version=4).cells
                  if c.source.startswith("%%writefile pose.py"))
    (tmp_path / "pose.py").write_text(source.split("\n", 1)[1])
    forbid = ("import sys, runpy; sys.modules.update(dict.fromkeys(('semipose', 'torch', 'torchvision', 'kornia', "
              "'cv2')));")
    export_onnx(pair, tmp_path / "pose.onnx", SIZE, Gaussian(stride=2, sigma=1.5), THREE, joints=joints)
    people = photographs(tmp_path)
    wanted = predict_all(pair, Crops(people, SIZE), SIZE, Gaussian(stride=2, sigma=1.5))
    assert np.abs(wanted.xy.numpy() - people.xy).max() < 3, "the dots are found, in image px"
    for i in range(len(people)):
        arguments = ["pose.py", "pose.onnx", f"{i}.png", "out.png", *map(str, people.box[i])]
        done = subprocess.run([sys.executable, "-c", f"{forbid} sys.argv = {arguments}; runpy.run_path('pose.py', "
                               "run_name='__main__')"],
                              cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert np.abs(np.array(told["xy"]) - wanted.xy[i].numpy()).max() < 0.05 and told["joints"] == ["a", "b", "c"]
        np.testing.assert_allclose(told["score"], wanted.score[i], atol=2e-3)
    before, after = (np.asarray(Image.open(tmp_path / f).convert("RGB").resize((200, 160)), int)
                     for f in ("2.png", "out.png"))
    assert np.abs(after - before).max() > 100, "something is drawn"
