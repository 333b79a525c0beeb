"""Published checkpoints: synthetic files with the published names and shapes; what they say is what our network
answers."""
import re

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from semipose.errors import UserError
from semipose.nets.checkpoints import Loaded, load_checkpoint, networks, open_checkpoint, published, recognise
from semipose.nets.peers import Peers, build, build_peers
from semipose.nets.simple import IMAGENET
from test_hrnet_mspn import timms
from test_nets import same, scrambled

X = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
MEAN, STD = (torch.tensor(v).view(1, 3, 1, 1) for v in IMAGENET)


class PoseResNet(nn.Module):
    "SimpleBaseline written again, under the published names; it does not normalise for itself"

    def __init__(self, name, joints, width=256):
        super().__init__()
        full = torchvision.models.get_model(name)
        for part in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            setattr(self, part, getattr(full, part))
        chans = [full.fc.in_features, width, width, width]
        ups = [(nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
               for a, b in zip(chans, chans[1:])]
        self.deconv_layers = nn.Sequential(*[m for up in ups for m in up])
        self.final_layer = nn.Conv2d(width, joints, 1)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.final_layer(self.deconv_layers(self.layer4(self.layer3(self.layer2(self.layer1(x))))))


def pose_resnet(name="resnet18", joints=5, seed=0):
    torch.manual_seed(seed)
    return scrambled(PoseResNet(name, joints), seed).eval()


def pose_hrnet(joints=5):
    """timm's tensors without those a pose network has no use for, and a last layer: exactly the names of
    pose_hrnet_*; and what that network answers"""
    full, finest = timms()
    last = scrambled(nn.Conv2d(32, joints, 1))
    cut = re.compile(r"stage4\.2\.fuse_layers\.[123]\.|incre_modules|downsamp_modules|final_layer|classifier")
    sd = ({k: v for k, v in full.state_dict().items() if not cut.match(k)}
          | {f"final_layer.{k}": v for k, v in last.state_dict().items()})
    return sd, lambda x: last(finest(x))


def under(prefix, sd):
    return {prefix + k: v for k, v in sd.items()}


def write(path, sd):
    if path.suffix == ".safetensors":
        save_file({k: v.contiguous().clone() for k, v in sd.items()}, path)
    else:
        torch.save(dict(epoch=7, state_dict=sd, optimizer=dict(lr=0.1)) if path.name.endswith(".tar") else sd, path)
    return path


# ---- the names themselves


def test_published_names():
    "Names as anybody can read them in the files, among as many as there must be"
    sb, hr = published(build("resnet50")), published(build("hrnet_w32", width=8))
    assert {"conv1.weight", "bn1.running_var", "layer1.0.downsample.1.bias", "layer4.2.conv3.weight",
            "deconv_layers.0.weight", "deconv_layers.7.num_batches_tracked", "final_layer.bias"} <= set(sb)
    assert {"conv2.weight", "layer1.0.downsample.0.weight",
            "transition1.0.1.weight", "transition1.1.0.0.weight", "transition2.2.0.1.bias",
            "stage2.0.branches.1.3.bn2.weight",
            "stage3.0.fuse_layers.2.0.0.0.weight", "stage3.0.fuse_layers.2.0.1.1.running_mean",
            "stage4.2.fuse_layers.0.3.1.weight", "final_layer.weight"} <= set(hr)
    assert not any(k.startswith("stage4.2.fuse_layers.1") for k in hr) and not any("normalise" in k for k in (*sb, *hr))
    assert sb.keys() == PoseResNet("resnet50", 17).state_dict().keys() and hr.keys() == pose_hrnet()[0].keys()
    assert len(set(sb.values())) == len(sb) == len(build("resnet50").state_dict()) - 2


# ---- values land where they should


@pytest.mark.parametrize("file,prefix", [("mine.pth", ""), ("mine.pth.tar", "module."),
                                         ("mine.safetensors", "module.")])
def test_pose_resnet(file, prefix, tmp_path):
    theirs = pose_resnet()
    path = write(tmp_path / file, under(prefix, theirs.state_dict()))
    net = build("resnet18", joints=5).eval()
    net.normalise.set((0.5,) * 3, (0.5,) * 3)
    told = load_checkpoint(net, path)
    assert told == Loaded(net, "pose") and told.net is net
    with torch.no_grad():
        want = theirs((X - MEAN) / STD)
        assert want.std() > 0.01
        torch.testing.assert_close(net(X), want, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(open_checkpoint(path)(0, X), want, rtol=1e-4, atol=1e-5)


def test_pose_resnet_that_saw_blue_first(tmp_path):
    """The published files' name says so; the network then takes RGB and answers as theirs does to BGR, normalised in
    its order"""
    theirs = pose_resnet()
    path = write(tmp_path / "pose_resnet_18_256x192.pth.tar", theirs.state_dict())
    with torch.no_grad():
        blue_first, red_first = theirs((X.flip(1) - MEAN) / STD), theirs((X - MEAN) / STD)
        for bgr, want in ((None, blue_first), (True, blue_first), (False, red_first)):
            net = build("resnet18", joints=5).eval()
            assert load_checkpoint(net, path, bgr=bgr).bgr == (bgr is not False)
            torch.testing.assert_close(net(X), want, rtol=1e-4, atol=1e-5)
        assert (blue_first - red_first).abs().max() > 0.01


def test_pose_hrnet(tmp_path):
    sd, answer = pose_hrnet()
    path = write(tmp_path / "pose_hrnet_w32_256x192.pth", under("module.", sd))
    assert recognise(sd) == ("hrnet_w32", 5, {})
    peers = open_checkpoint(path)
    with torch.no_grad():
        torch.testing.assert_close(peers(0, X), answer((X - MEAN) / STD), rtol=1e-4, atol=1e-4)
    again = build("hrnet_w32", joints=5)
    assert load_checkpoint(again, path).bgr is False
    for a, b in zip(again.state_dict().values(), peers.nets[0].state_dict().values()):
        same(a, b)


def test_udps_hrnet_is_recognised():
    net = build("hrnet_w32", joints=15, widen=4)
    assert (recognise({theirs: net.state_dict()[ours] for theirs, ours in published(net).items()})
            == ("hrnet_w32", 15, dict(widen=4)))


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "resnet101", "resnet152"])
def test_depth_is_recognised(name):
    with torch.device("meta"):
        assert recognise(PoseResNet(name, 14).state_dict()) == (name, 14, {})


def test_the_papers_pair(tmp_path):
    one, two = pose_resnet(seed=1), pose_resnet(seed=2)
    path = write(tmp_path / "pair.pth.tar", {**under("module.resnet.", one.state_dict()),
                                             **under("module.resnet2.", two.state_dict())})
    with torch.no_grad():
        a, b = (n((X - MEAN) / STD) for n in (one, two))
        for peers in (open_checkpoint(path), build_peers("resnet18", joints=5, n=2).eval()):
            assert load_checkpoint(peers, path).net is peers
            for got, want in zip(peers(X), (a, b), strict=True):
                torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
        for which, want in ((0, a), (1, b)):
            net = build("resnet18", joints=5).eval()
            load_checkpoint(net, path, which=which)
            torch.testing.assert_close(net(X), want, rtol=1e-4, atol=1e-5)
    for which in (None, 2):
        with pytest.raises(UserError, match="holds two networks .*say which=0 or which=1"):
            load_checkpoint(build("resnet18", joints=5), path, which=which)
    with pytest.raises(UserError, match="holds one network and these are 2 peers"):
        load_checkpoint(build_peers("resnet18", joints=5, n=2), write(tmp_path / "one.pth", one.state_dict()))


def test_half_a_pair_fills_nobody(tmp_path):
    one, two = pose_resnet(seed=1).state_dict(), pose_resnet(seed=2).state_dict()
    two.pop("bn1.bias")
    path = write(tmp_path / "pair.pth", {**under("resnet.", one), **under("resnet2.", two)})
    peers = build_peers("resnet18", joints=5, n=2)
    before = {k: v.clone() for k, v in peers.state_dict().items()}
    with pytest.raises(UserError, match="1 are missing .*bn1.bias"):
        load_checkpoint(peers, path)
    for k, v in peers.state_dict().items():
        same(v, before[k])


def test_networks_are_told_apart_by_their_prefix():
    a, b = torch.zeros(1), torch.ones(1)
    assert (networks({"resnet.x": a, "resnet2.x": b}) == [{"x": a}, {"x": b}]
            and networks({"resnet2.x": b}) == [{"x": b}])
    assert networks({"resnet.x": a, "y": b}) == [{"resnet.x": a, "y": b}]


def test_own_files_come_back_too(tmp_path):
    "A network saved under our own names, with colours of its own"
    net = scrambled(build("resnet18", joints=5)).eval()
    net.normalise.set((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    again = build("resnet18", joints=5).eval()
    load_checkpoint(again, write(tmp_path / "pose_resnet_ours.pth", net.state_dict()), bgr=False)
    same(again(X), net(X))
    tiny, other = scrambled(build("tiny", joints=5)).eval(), build("tiny", joints=5).eval()
    load_checkpoint(other, write(tmp_path / "tiny.safetensors", tiny.state_dict()))
    same(other(X), tiny(X))


# ---- ImageNet


@pytest.mark.parametrize("name,source", [("resnet18", "resnet18"), ("fpn:resnet18", "resnet18"),
                                         ("timm:resnet26", "timm:resnet26"), ("mspn", "resnet18")])
def test_imagenet_files_name_what_is_dropped_and_what_stays_fresh(name, source, tmp_path):
    timm = pytest.importorskip("timm")
    full = timm.create_model(source[5:]) if source.startswith("timm:") else torchvision.models.get_model(source)
    path = write(tmp_path / "imagenet.pth", under("module.", scrambled(full).state_dict()))
    net = build(name, joints=2, **dict(stages=1, encoder="resnet18", width=8) if name == "mspn" else {})
    start = {k: v.clone() for k, v in net.state_dict().items()}
    told = load_checkpoint(net, path)
    assert told.kind == "imagenet" and told.dropped == ("fc.weight", "fc.bias")
    moved = {k for k, v in net.state_dict().items() if not torch.equal(v, start[k])}
    real = {k for k in start if start[k].is_floating_point() and not k.startswith("normalise")}
    assert moved == real - set(told.fresh) and 0 < len(told.fresh) < len(start)
    same(next(v for k, v in net.state_dict().items() if k.endswith("conv1.weight") or k == "top.0.weight"),
         full.conv1.weight)


# ---- the names that training tools and toolboxes give


@pytest.mark.parametrize("wrap", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("head", ["keypoint_head.", "head.", None])
def test_wrapped_and_roomed_names_are_the_same_network(wrap, head, tmp_path):
    "A pose network as toolboxes and training tools write it: loaded by name and recognised, with the same answers"
    theirs = pose_resnet()
    room = lambda k: (k if head is None else (head if k.startswith(("deconv_layers", "final_layer"))
                                              else "backbone.") + k)
    path = write(tmp_path / "w.pth", {wrap + room(k): v for k, v in theirs.state_dict().items()})
    net = build("resnet18", joints=5).eval()
    assert load_checkpoint(net, path).kind == "pose"
    with torch.no_grad():
        want = theirs((X - MEAN) / STD)
        torch.testing.assert_close(net(X), want, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(open_checkpoint(path)(0, X), want, rtol=1e-4, atol=1e-5)
    # as `train --weights FILE`: its encoder, the head named as left out
    filled = build("resnet18", joints=5, weights=str(path))
    assert all(torch.equal(v, theirs.state_dict()[k]) for k, v in filled.encoder.state_dict().items()
               if k in theirs.state_dict())
    assert (any("final_layer" in k for k in filled.encoder.dropped)
            and not any("conv1" in k for k in filled.encoder.dropped))
    with pytest.raises(UserError, match="whole pose network, of which only the encoder"):
        build("resnet34", joints=5, weights=str(path))


def test_an_hrnet_in_rooms(tmp_path):
    sd, answer = pose_hrnet()
    path = write(tmp_path / "hr.pth", {("keypoint_head." if k.startswith("final_layer") else "backbone.") + k: v
                                       for k, v in sd.items()})
    with torch.no_grad():
        torch.testing.assert_close(open_checkpoint(path)(0, X), answer((X - MEAN) / STD), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("extra", [("head.weight", "head.fc.bias"), ("fc.weight", "fc.bias"), ()])
@pytest.mark.parametrize("room", ["", "backbone."])
def test_an_imagenet_classifier_s_last_layers_are_dropped_and_named(extra, room, tmp_path):
    "HRNet's and a ResNet's file, whatever the classifier is called; nothing else may be over"
    for name, sd in (("hrnet_w32", {k: v for k, v in pose_hrnet()[0].items() if not k.startswith("final_layer")}),
                     ("resnet18", {k: v for k, v in torchvision.models.resnet18().state_dict().items()
                                   if not k.startswith("fc")})):
        more = dict.fromkeys(extra, torch.zeros(3))
        path = write(tmp_path / "imagenet.pth", under(room, sd) | more)
        told = load_checkpoint(net := build(name, joints=2), path)
        assert told.kind == "imagenet" and len(told.dropped) == len(extra)
        first = next(v for k, v in net.state_dict().items() if k.endswith("conv1.weight"))
        same(first, sd["conv1.weight"])
        with pytest.raises(UserError, match="1 in the file belong to no part of it .*first: stranger"):
            load_checkpoint(build(name, joints=2), write(tmp_path / "more.pth",
                                                         under(room, sd) | more | dict(stranger=torch.zeros(1))))
        with pytest.raises(UserError, match="no pose head.*build the network by name, and load_checkpoint fills its "
                                            "encoder"):
            open_checkpoint(path)


def test_names_that_fall_together_are_refused(tmp_path):
    path = write(tmp_path / "w.pth", {"backbone.conv1.weight": torch.zeros(1), "conv1.weight": torch.ones(1)})
    with pytest.raises(UserError, match="keep those of one network"):
        load_checkpoint(build("resnet18", joints=2), path)


# ---- what does not fit


@pytest.mark.parametrize("harm,says", [
    (lambda sd: [sd.pop(k) for k in ("layer2.0.conv1.weight", "layer3.0.bn1.bias")],
     r"'w.pth' does not fit resnet18: of its 140 tensors 2 are missing and 0 have another shape, and 0 in .*first: "
     r"layer2.0.conv1.weight"),
    (lambda sd: sd.update({"deconv_layers.9.weight": torch.zeros(1)}),
     r"0 are missing and 0 have another shape, and 1 in .*first: deconv_layers.9.weight"),
    (lambda sd: sd.update({"deconv_layers.0.weight": torch.zeros(512, 256, 3, 3)}),
     r"0 are missing and 1 have another shape, and 0 in .*first: deconv_layers.0.weight"),
    (lambda sd: sd.pop("final_layer.weight"), r"1 are missing .*first: final_layer.weight"),
    (lambda sd: sd.update({"fc.weight": torch.zeros(1000, 512)}),
     r"1 in the file belong to no part .*first: fc.weight"),
    (lambda sd: sd.update({"final_layer.weight": torch.zeros(16, 256, 1, 1), "final_layer.bias": torch.zeros(16)}),
     r"answers with 16 heatmaps and this resnet18 with 5: build the network with joints=16"),
])
def test_a_file_that_half_fits_changes_nothing(harm, says, tmp_path):
    sd = dict(pose_resnet().state_dict())
    harm(sd)
    net = build("resnet18", joints=5)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(UserError, match=says):
        load_checkpoint(net, write(tmp_path / "w.pth", sd))
    for k, v in net.state_dict().items():
        same(v, before[k])


def test_counters_that_old_files_lack_are_kept(tmp_path):
    sd = {k: v for k, v in pose_resnet().state_dict().items() if not k.endswith("num_batches_tracked")}
    net = build("resnet18", joints=5).eval()
    load_checkpoint(net, write(tmp_path / "old.pth", sd))
    with torch.no_grad():
        torch.testing.assert_close(net(X), pose_resnet()((X - MEAN) / STD), rtol=1e-4, atol=1e-5)


def test_the_wrong_network_is_told_the_right_one(tmp_path):
    path = write(tmp_path / "w.pth", pose_resnet().state_dict())
    with pytest.raises(UserError, match="does not fit resnet34.*it looks like resnet18 with joints=5"):
        load_checkpoint(build("resnet34", joints=5), path)
    with pytest.raises(UserError, match="does not fit hrnet_w32.*it looks like resnet18 with joints=5"):
        load_checkpoint(build("hrnet_w32", joints=5, width=8), path)
    with pytest.raises(UserError, match="holds no SimpleBaseline and no HRNet .*first name is a"):
        open_checkpoint(write(tmp_path / "x.pth", dict(a=torch.zeros(1))))


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


def test_a_pickle_is_never_executed(tmp_path):
    path = tmp_path / "w.pth.tar"
    torch.save(dict(state_dict=dict(w=Bomb(tmp_path / "gone off"))), path)
    for read in (open_checkpoint, lambda p: load_checkpoint(Peers([build("tiny")]), p)):
        with pytest.raises(UserError, match="not a plain state dict"):
            read(path)
    assert not (tmp_path / "gone off").exists()
