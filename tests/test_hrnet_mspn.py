"""HRNet and MSPN: the published networks by count and by answer; several answers, coarse to fine, under every
method."""
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from semipose.codecs import DARK, Gaussian
from semipose.errors import UserError
from semipose.geometry import roomy
from semipose.losses import deep, mse
from semipose.methods import METHODS
from semipose.nets.hrnet import Exchange, HRNet
from semipose.nets.mspn import MSPN
from semipose.nets.peers import NETS, Peers, build, build_peers
from semipose.nets.simple import IMAGENET, Tiny, cost
from semipose.nets.table import NETWORKS, Bill, as_text, bills
from semipose.predict import predict
from semipose.skeletons import COCO17
from semipose.teaching import Teaching, one_batch
from test_nets import same, scrambled

timm = pytest.importorskip("timm")


def small(name, joints=3, seed=0, **kw):
    torch.manual_seed(seed)
    return (HRNet(joints=joints, width=8, **kw) if name == "hrnet"
            else MSPN(joints, stages=2, encoder="resnet18", width=16, **kw))


# ---- the published digits


@pytest.mark.parametrize("row", [n for n in NETWORKS if n[4]], ids=lambda n: n[0])
def test_published_digits(row):
    "Parameters and GFLOPs as printed, to the digit; where they are not, what ours has and the sentence that says why"
    bill, = bills([row])
    exact = {"SimpleBaseline R50": (34.0, 8.991), "SimpleBaseline R152": (68.635, 15.765), "HRNet-W32": (28.536, 7.120),
             "HRNet-W48": (63.596, 32.882),
             "HRNet-W48 + UDP": (63.712, 33.038), "MSPN 4 stages": (120.177, 49.544)}[row[0]]
    assert (bill.params / 1e6 == pytest.approx(exact[0], abs=6e-4)
            and bill.published / 2**30 == pytest.approx(exact[1], abs=6e-4))
    assert bill.agrees == {"HRNet-W48 + UDP": (False, True), "MSPN 4 stages": (False, False)}.get(row[0], (True, True))
    assert all(bill.agrees) or bill.note in as_text([bill])


def test_true_and_published_counts_differ_by_the_transposed_convolutions_alone():
    r50, w32 = bills([n for n in NETWORKS if n[1] in ("resnet50", "hrnet_w32")])
    assert r50.adds / 1e9 == pytest.approx(5.43, abs=0.005) and w32.adds == w32.published
    assert r50.published - r50.adds == 3 * 16 * 256 * 48 * (2048 + 256 * 4 + 256 * 16)


def test_agreement_is_cut_or_rounded():
    bill = lambda p, a, printed: Bill("", "", (1, 1), int(p * 1e6), 0, int(a * 2**30), printed).agrees  # noqa: E731
    assert bill(34.0, 8.99, (34.0, 8.9)) == bill(34.0, 8.99, (34.0, 9.0)) == (True, True)
    assert bill(34.06, 8.89, (34.0, 8.7)) == (True, False) and bill(33.9, 8.9, (34.1, 8.9)) == (False, True)
    assert bill(1, 1, None) is None


def test_public_mspn_has_a_bias_more_per_convolution():
    "facts.md: 120.3 M parameters and 53.2 G multiply-adds at 384x288"
    with torch.device("meta"):
        net = build("mspn")
    params, adds = cost(net, (384, 288))
    biases = sum(m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d))
    assert round((params + biases) / 1e6, 1) == 120.3 and round(adds / 1e9, 1) == 53.2
    assert len(net.stages) == 4 and len(build("mspn", stages=1, encoder="resnet18").stages) == 1


# ---- names


@pytest.mark.parametrize("wrong,near", [("HRNet_W48", "hrnet_w48"), ("hrnet_w18", "hrnet_w"), ("resnet51", "resnet50"),
                                        ("mspn4", "mspn"), ("teeny", "tiny")])
def test_wrong_names_suggest_the_nearest(wrong, near):
    with pytest.raises(UserError, match=f"'{wrong}': did you mean {near}") as e:
        build(wrong)
    assert all(n in str(e.value) for n in NETS)


def test_far_names_suggest_nothing():
    with pytest.raises(UserError, match="no network 'zzz'. Choose one of"):
        build("zzz")
    with pytest.raises(UserError, match="no HRNet 'hrnet_w18'"):
        HRNet("hrnet_w18")
    with pytest.raises(UserError, match="MSPN is made of ResNets, not of 'hrnet_w32'"):
        build("mspn", encoder="hrnet_w32")
    with pytest.raises(UserError, match="at least one stage"):
        build("mspn", stages=0)


# ---- the contract of a network


@pytest.mark.parametrize("name", ["hrnet", "mspn"])
def test_contract(name):
    """Heatmaps at stride 4, near zero at the start, float32 under autocast too, the same in either memory layout,
    one crop at a time or many"""
    net, x = small(name).eval(), torch.rand(3, 3, 64, 96)
    listed = lambda o: o if isinstance(o, list) else [o]  # noqa: E731
    with torch.no_grad():
        heats = listed(net(x))
        for heat in heats:
            assert heat.shape == (3, 3, 16, 24) and heat.abs().max() < 0.1, "a fresh network sees nobody"
        scrambled(net)
        heats = listed(net(x))
        assert min(h.std() for h in heats) > 1e-3
        for a, b in zip(listed(net(x[1:2])), heats):
            torch.testing.assert_close(a, b[1:2], rtol=1e-3, atol=1e-4 * float(1 + b.abs().max()))
        for a, b in zip(listed(net.to(memory_format=torch.channels_last)(
            x.contiguous(memory_format=torch.channels_last))), heats):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(1 + b.abs().max()))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = listed(net(x))[-1]
        assert low.dtype == torch.float32 and (low != low.bfloat16().float()).float().mean() > 0.9, (
            "the last layer ran in bfloat16")
    with pytest.raises(UserError, match="multiples of 32.*64x48"):
        net(torch.rand(1, 3, 64, 48))


@pytest.mark.parametrize("name", ["hrnet", "mspn"])
def test_every_parameter_learns_and_colours_are_imagenets(name):
    net = small(name)
    out = net(torch.rand(3, 3, 64, 64))
    sum((h - 1).square().mean() for h in (out if isinstance(out, list) else [out])).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []
    same(net.normalise(torch.ones(1, 3, 1, 1)).flatten(), (1 - torch.tensor(IMAGENET[0])) / torch.tensor(IMAGENET[1]))


# ---- HRNet is timm's HRNet with the last exchange cut short, under the names of the pose checkpoints


def timms(seed=0):
    "timm's image classifier, and what it computes before its own last layers: features of stride 4"
    full = scrambled(timm.create_model("hrnet_w32", pretrained=False), seed).eval()

    def finest(x):
        x = full.act2(full.bn2(full.conv2(full.act1(full.bn1(full.conv1(x))))))
        return full.stages(x)[0]

    return full, finest


def test_hrnet_is_timms_and_takes_its_imagenet_weights(tmp_path):
    full, finest = timms()
    torch.save({"model": {f"module.{k}": v for k, v in full.state_dict().items()}}, tmp_path / "w32.pth")
    net = build("hrnet_w32", joints=2, weights=tmp_path / "w32.pth").eval()
    x = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        want = finest(net.normalise(x))
        assert want.std() > 0.1
        torch.testing.assert_close(net(x), F.conv2d(want, net.final_layer.weight, net.final_layer.bias),
                                   rtol=1e-4, atol=1e-4)
    dropped = net.load_imagenet(tmp_path / "w32.pth")
    rest = {k for k in net.state_dict() if not k.startswith(("final_layer", "normalise"))}
    assert rest | set(dropped) == set(full.state_dict()) and not rest & set(dropped)
    assert ({k.split(".")[0] for k in dropped} == {"stage4", "incre_modules", "downsamp_modules", "final_layer",
                                                   "classifier"})
    for harm, says in (
            (lambda sd: sd.pop("stage3.1.branches.0.2.conv1.weight"),
             "1 are missing and 0 have .* 0 in the file .*stage3.1.branches.0.2.conv1.weight"),
            (lambda sd: sd.update(stage5=torch.zeros(1)), "0 are missing and 0 have .* 1 in the file .*stage5"),
            (lambda sd: sd.update({"conv1.weight": torch.zeros(64, 4, 3, 3)}),
             "0 are missing and 1 have .* 0 in the file .*conv1.weight")):
        sd = dict(full.state_dict())
        harm(sd)
        torch.save(sd, tmp_path / "bad.pth")
        before = net.conv2.weight.clone()
        with pytest.raises(UserError, match=says):
            net.load_imagenet(tmp_path / "bad.pth")
        same(net.conv2.weight, before)


def test_exchange_is_its_description():
    "Written again: blocks, then sums of what comes down by strides and up by repetition, ReLU after the sum"
    torch.manual_seed(0)
    net = scrambled(Exchange([4, 6, 8])).eval()
    xs = [torch.randn(2, c, 16 // 2**i, 8 // 2**i) for i, c in enumerate((4, 6, 8))]
    with torch.no_grad():
        ys = [net.branches[i](x.clone()) for i, x in enumerate(xs)]
        f = net.fuse_layers
        rep = lambda t, n: t.repeat_interleave(n, -1).repeat_interleave(n, -2)  # noqa: E731
        up = lambda way, t, n: rep(way[1](way[0](t)), n)  # noqa: E731
        want = [ys[0] + up(f[0][1], ys[1], 2) + up(f[0][2], ys[2], 4), f[1][0](ys[0]) + ys[1] + up(f[1][2], ys[2], 2),
                f[2][0](ys[0]) + f[2][1](ys[1]) + ys[2]]
        got = net([x.clone() for x in xs])
        for a, b in zip(got, want):
            torch.testing.assert_close(a, b.relu(), rtol=1e-5, atol=1e-5)
    kinds = lambda way: [type(m).__name__ for m in way.modules() if not list(m.children())]  # noqa: E731
    assert (kinds(f[2][0]) == ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d"]
            and kinds(f[1][0]) == ["Conv2d", "BatchNorm2d"])
    again = [x.clone() for x in xs]
    net(again)
    for a, b in zip(again, xs):
        same(a, b)


def test_udps_wider_exchange():
    net = small("hrnet", joints=6, widen=4)
    assert (net.final_layer.in_channels == 32 and net.stage4[2].fuse_layers[0][0][0].weight.shape == (32, 8, 1, 1)
            and len(net.stage4[2].fuse_layers) == 1)
    assert net.stage4[1].fuse_layers[3][3](torch.ones(1)) == 1
    assert net.eval()(torch.rand(1, 3, 64, 64)).shape == (1, 6, 16, 16)


# ---- MSPN


def tents(n, m):
    "(n,m) linear interpolation of m values at n places, first on first and last on last"
    at = torch.arange(n)[:, None] * (m - 1) / (n - 1)
    return (1 - (at - torch.arange(m)).abs()).clamp(min=0)


def test_mspn_answers_coarse_to_fine():
    """Each stage answers at strides 32, 16, 8, 4; the coarse ones are enlarged with their corners in place, the
    finest not at all"""
    net, raw = scrambled(small("mspn")).eval(), []
    for s in net.stages:
        for up in s.up:
            up.norm.register_forward_hook(lambda m, x, y: raw.append(y))
    with torch.no_grad():
        out = net(torch.rand(1, 3, 96, 64))
    assert ([tuple(r.shape[-2:]) for r in raw] == [(3, 2), (6, 4), (12, 8), (24, 16)] * 2
            and len(out) == len(net.widths) == len(net.shares) == 8)
    for a, r in zip(out, raw):
        assert a.shape[-2:] == (24, 16)
        rows, cols = (tents(n, m) for n, m in zip((24, 16), r.shape[-2:]))
        torch.testing.assert_close(a, rows @ r @ cols.T, rtol=1e-4, atol=1e-5)
    same(out[-1], raw[-1])
    same(out[3], raw[3])


def test_mspn_stages_hear_the_stage_before_at_every_resolution():
    """The first stage of two is the single stage; the second changes with every one of the eight skips and with the
    cross connection, the first with none"""
    net = scrambled(small("mspn")).eval()
    one = MSPN(3, stages=1, encoder="resnet18", width=16).eval()
    one.load_state_dict({k: net.state_dict()[k] for k in one.state_dict()})
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        before = net(x)
        for a, b in zip(before[:4], one(x)):
            same(a, b)
        ways = [net.stages[0].cross, *(skip for up in net.stages[0].up for skip in up.skips)]
        assert len(ways) == 9 and net.stages[1].cross is None
        for way in ways:
            old = way[1].bias.clone()
            way[1].bias += 1
            now = net(x)
            way[1].bias.copy_(old)
            assert (all(torch.equal(a, b) for a, b in zip(now[:4], before[:4]))
                    and (now[-1] - before[-1]).abs().max() > 1e-4)


def test_mspn_skips_arrive_at_their_own_layer():
    "What the first stage hands on at stride 8 is first heard after the second stage's layer2"
    net = scrambled(small("mspn")).eval()
    x, seen = torch.rand(1, 3, 64, 64), {}
    for name, layer in net.stages[1].down.items():
        layer.register_forward_hook(lambda m, x, y, name=name: seen.setdefault(name, []).append(y))
    with torch.no_grad():
        net(x)
        net.stages[0].up[2].skips[0][1].bias += 1   # ups run coarse to fine: 32, 16, 8, 4
        net(x)
    changed = {name: (a - b).abs().max() > 0 for name, (a, b) in seen.items()}
    assert changed == dict(layer1=False, layer2=False, layer3=True, layer4=True)


def test_mspn_widths_are_the_public_networks():
    net = small("mspn")
    first, last = [1.1 * w for w in net.widths[:4]], [1.1 * w for w in net.widths[-4:]]
    assert first == pytest.approx([2.6, 2.0, 1.7, 1.4]) and last == pytest.approx([2.0, 1.7, 1.4, 1.1])
    assert net.widths[-1] == 1 and net.shares == (0.25, 0.25, 0.25, 1.0) * 2


def test_imagenet_weights_reach_every_stage(tmp_path):
    import torchvision

    full = scrambled(torchvision.models.resnet18())
    torch.save(full.state_dict(), tmp_path / "r18.pth")
    net = small("mspn", weights=tmp_path / "r18.pth")
    same(net.top[0].weight, full.conv1.weight)
    same(net.top[1].running_var, full.bn1.running_var)
    for stage in net.stages:
        for i in (1, 2, 3, 4):
            for k, v in getattr(full, f"layer{i}").state_dict().items():
                same(stage.down[f"layer{i}"].state_dict()[k], v)
    assert net.load_imagenet(tmp_path / "r18.pth") == ("fc.weight", "fc.bias")
    assert (net.stages[0].down["layer3"][0].conv1.weight.data_ptr()
            != net.stages[1].down["layer3"][0].conv1.weight.data_ptr())


# ---- several answers: loss, teaching, prediction


def test_deep_is_a_weighted_mean():
    g = torch.Generator().manual_seed(0)
    P, T = ([torch.rand(2, 3, 4, 4, generator=g) for _ in range(3)],
            [torch.rand(2, 3, 4, 4, generator=g) for _ in range(3)])
    w = torch.rand(2, 3, generator=g)
    parts = [mse(p, t, w) for p, t in zip(P, T)]
    torch.testing.assert_close(deep(P, T, w, (1, 2, 5)), (parts[0] + 2 * parts[1] + 5 * parts[2]) / 8)
    torch.testing.assert_close(deep(P, T[0], w), sum(mse(p, T[0], w) for p in P) / 3)
    same(deep(P[0], T[0], w), parts[0])
    with pytest.raises(ValueError):
        deep(P, T[:2], w)


SIZE, K, CODEC = (32, 32), 17, Gaussian(sigma=1.5, stride=2)


class Several(nn.Module):
    "A small network with three answers, of which the last is Tiny's own; `alone`: that one only"
    stride, divisor = 2, 8

    def __init__(self, seed, alone=False):
        super().__init__()
        torch.manual_seed(seed)
        self.net, self.alone = Tiny(width=6, levels=2), alone
        nn.init.normal_(self.net.final.weight, std=0.12)
        nn.init.uniform_(self.net.final.bias, -0.2, 0.35)
        if not alone:
            self.widths, self.shares = (2.0, 1.5, 1.0), (1.0, 2.0, 4.0)

    def forward(self, x):
        heat = self.net(x)
        return heat if self.alone else [heat.flip(1) - 0.3, heat.flip(-1), heat]


@pytest.fixture(scope="module")
def batch():
    g = torch.Generator().manual_seed(0)
    H, W = roomy(SIZE)
    x = {k: torch.randint(0, 255, (3, 3, H, W), dtype=torch.uint8, generator=g) for k in ("labeled", "unlabeled")}
    return x, dict(xy=torch.rand(3, K, 2, generator=g) * 24 + 12, vis=torch.randint(0, 3, (3, K), generator=g))


def run(m, batch, alone, joined=False):
    model = Peers([Several(i, alone) for i in range(m.nets)], **m.copies, joined=joined).eval()
    t = Teaching(m, CODEC, SIZE, COCO17, torch.ones(K), seed=0, step=5)
    return (t, *one_batch(t, model, *batch))


@pytest.mark.parametrize("name", list(METHODS))
def test_a_network_with_several_answers_teaches_by_its_last_and_learns_in_all(name, batch):
    """Pictures, targets and weights are those of the network that gives the last answer alone; each loss is the mean
    over answers, by their shares"""
    m = METHODS[name]
    _, images, labels, pred, total = run(m, batch, False)
    _, images1, labels1, pred1, _ = run(m, batch, True)
    for a, b in zip(nest(images), nest(images1), strict=True):
        same(a, b)
    for a, b in zip(nest(labels.get("teach", ())), nest(labels1.get("teach", ())), strict=True):
        same(a, b)
    want = 0.0
    for i in range(m.nets):
        targets, shares = labels["levels"][i]
        same(pred["labeled"][i][-1], pred1["labeled"][i])
        same(targets[-1], labels["target"])
        want += m.sup * sum(s * mse(h, t, labels["weight"]) for s, h, t in zip(shares, pred["labeled"][i], targets)) / 7
        for view, (target, weight) in zip(pred.get("student", {i: ()})[i], labels.get("teach", {i: ()})[i]):
            want += m.cons * sum(s * mse(h, target, weight) for s, h in zip(shares, view)) / 7
    torch.testing.assert_close(total, want, rtol=1e-5, atol=1e-7)
    assert "levels" not in labels1


def nest(o):
    "All tensors, in order"
    return ([o] if isinstance(o, torch.Tensor) else [] if o is None
            else [t for v in (o.values() if isinstance(o, dict) else o) for t in nest(v)])


@pytest.mark.parametrize("codec", [Gaussian(sigma=1.5, stride=2), DARK(sigma=1.0, stride=2)])
def test_supervised_targets_are_wider_bumps_at_the_same_joints(codec, batch):
    m = METHODS["supervised_both"]
    t = Teaching(m, codec, SIZE, COCO17, torch.ones(K), seed=0)
    _, labels, _, _ = one_batch(t, Peers([Several(0), Several(1, alone=True)]).eval(), *batch)
    assert list(labels["levels"]) == [0], "a network with one answer needs no levels"
    targets, shares = labels["levels"][0]
    assert shares == (1.0, 2.0, 4.0)
    area = [(h > math.exp(-0.5)).float().sum((-1, -2)) for h in targets]
    inside = (area[2] >= 4) & (targets[0][..., 1:-1, 1:-1].amax((-1, -2)) > 0.95) & (targets[0][..., 0].amax(-1) < 0.05)
    for wide, width in zip(targets, (2.0, 1.5, 1.0)):
        on = labels["weight"] > 0
        core = targets[2] > 0.02   # inside the narrow bump the wide one is its root: exp(-d^2/2s^2w^2)
        torch.testing.assert_close(wide[on][core[on]], targets[2][on][core[on]] ** (1 / width**2), rtol=1e-4, atol=1e-4)
        assert wide.shape == labels["target"].shape and wide[~on].shape[0] > 0
    assert inside.sum() == 0 or (area[0] > area[2])[inside].all()


def test_joined_peers_answer_in_lists_too():
    x = [torch.rand(2, 3, 32, 32), torch.rand(3, 3, 32, 32)]
    apart, joint = (Peers([Several(0)], joined=j).eval()(0, x) for j in (False, True))
    assert [len(a) for a in joint] == [3, 3] and [len(h) for h in joint[1]] == [3, 3, 3]
    for a, b in zip(nest(apart), nest(joint), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_prediction_reads_the_last_answer():
    x = torch.rand(3, 3, 32, 32)
    a, b = (predict(Several(0, alone), x, CODEC, flip=COCO17) for alone in (False, True))
    same(a.heat, b.heat)
    same(a.xy, b.xy)


@pytest.mark.parametrize("name", ["naive", "posedual_jc", "mean_teacher"])
def test_mspn_learns_under_methods_beside_a_resnet(name):
    "Every parameter of a real MSPN is moved; in a dual the other network has one answer"
    m, size = METHODS[name], (64, 64)
    g = torch.Generator().manual_seed(0)
    x = {k: torch.randint(0, 255, (2, 3, *roomy(size)), dtype=torch.uint8, generator=g)
         for k in ("labeled", "unlabeled")}
    y = dict(xy=torch.rand(2, K, 2, generator=g) * 48 + 24, vis=torch.full((2, K), 2))
    other = build_peers("resnet18", n=1, net=dict(width=8)).nets
    model = Peers([small("mspn", K), *list(other)[: m.nets - 1]], **m.copies).train()
    t = Teaching(replace(m, nets=m.nets), Gaussian(sigma=2, stride=4), size, COCO17, torch.ones(K))
    *_, pred, loss = one_batch(t, model, x, y)
    loss.backward()
    assert len(pred["student"][0][0]) == 8
    assert [n for n, p in model.nets[0].named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


# ---- unlike pairs


def test_unlike_pairs_agree_on_heatmaps():
    x = torch.rand(1, 3, 64, 64)
    for names, net in ((("tiny", "tiny"), (dict(width=24), dict(width=48))),
                       (("resnet18", "hrnet_w48"), (dict(width=8), dict(width=8))),
                       (("hrnet_w32", "mspn"), (dict(width=8), dict(stages=1, encoder="resnet18", width=8)))):
        pair = build_peers(names, joints=2, n=2, net=net).eval()
        with torch.no_grad():
            a, b = (h[-1] if isinstance(h, list) else h for h in pair(x))
        assert a.shape == b.shape == (1, 2, 64 // pair.stride, 64 // pair.stride)
    with torch.device("meta"):
        pair = build_peers(("resnet18", "hrnet_w48"), n=2)
    assert [round(sum(p.numel() for p in n.parameters()) / 1e6, 1) for n in pair.nets] == [15.4, 63.6]
    with pytest.raises(UserError, match="strides 2, 4"):
        build_peers(("tiny", "hrnet_w32"), n=2, net=(None, dict(width=8)))
