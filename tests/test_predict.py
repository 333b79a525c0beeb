"""Prediction: views brought back exactly, means of heatmaps, modes restored, joints in the pixels of the photo."""
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from semipose.codecs import DARK, UDP, Gaussian
from semipose.errors import UserError
from semipose.geometry import crop_matrix, invert, move, roomy, window
from semipose.nets.peers import build_peers
from semipose.predict import as_crops, evaluating, look, map_back, predict, predict_all

SIZE, SWAP = (64, 48), (1, 0, 2)
CODEC = Gaussian(sigma=2.0, stride=4)


def same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def dots(xy, size=SIZE, sigma=6.0):
    "A picture with one soft dot per joint, joint k in colour k"
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in size), indexing="ij")
    return torch.exp(-((x - xy[..., 0, None, None]) ** 2 + (y - xy[..., 1, None, None]) ** 2) / (2 * sigma**2))


class Eye(nn.Module):
    """A network that needs no training: heatmap k is colour k, smoothed and read at crop px 0, 4, 8 ...
    It is equivariant to mirroring, when `sides` is given also to the names of left and right: colour 0 is called
    joint 0 where it is left of colour 1, and joint 1 where it is right of it."""

    def __init__(self, stride=4, sides=False, gain=1.0):
        super().__init__()
        self.stride, self.sides, self.gain = stride, sides, nn.Parameter(torch.tensor(gain))
        self.part = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(1))

    def forward(self, x):
        assert not self.training and not torch.is_grad_enabled()
        if self.sides:
            at = torch.arange(x.shape[-1], dtype=x.dtype)
            middle = (x.sum(2) * at).sum(-1) / x.sum((2, 3))
            swap = (middle[:, 0] > middle[:, 1]).view(-1, 1, 1, 1)
            x = torch.where(swap, x[:, [1, 0, 2]], x)
        return self.gain * x[..., :: self.stride, :: self.stride]


def mass(heat, stride=4):
    "Centre of mass in crop px"
    y, x = (torch.arange(n, dtype=torch.float32) * stride for n in heat.shape[-2:])
    total = heat.sum((-2, -1))
    return torch.stack([(heat.sum(-2) * x).sum(-1) / total, (heat.sum(-1) * y).sum(-1) / total], -1)


XY = torch.tensor([[[14.0, 20.0], [31.0, 25.0], [22.0, 44.0]], [[17.0, 30.0], [30.5, 28.0], [25.0, 36.0]]])


# ---- the mirror


def test_mirror_changes_nothing_for_an_equivariant_network():
    "At stride 1 the matrix is a plain flip: exact. Left and right get their names back."
    net, x = Eye(stride=1, sides=True), dots(XY)
    plain, both = look(net, x)[0], look(net, x, flip=SWAP)[0]
    torch.testing.assert_close(both, plain, rtol=0, atol=1e-5)
    assert (look(net, x, flip=(0, 1, 2))[0] - plain).abs().max() > 0.3, "without the swap, left and right are averaged"


def test_mirrored_heatmap_comes_back_to_the_same_place():
    """At stride 4 the mirror of heatmap px i lies between two pixels: the matrix puts it there, a whole-pixel shift
    misses by an eighth of a heatmap px"""
    net, x = Eye(sides=True), dots(XY, sigma=4.0)
    plain, exact, released = (mass(look(net, x, flip=f, shift=s)[0])
                              for f, s in ((None, False), (SWAP, False), (SWAP, True)))
    torch.testing.assert_close(exact, plain, rtol=0, atol=0.05)  # crop px
    assert (released - plain)[..., 0].mean().item() == pytest.approx(0.5, abs=0.05)
    torch.testing.assert_close(released[..., 1], plain[..., 1], rtol=0, atol=0.05)


def test_a_mirror_that_sees_more_wins():
    "What only the mirror view sees counts half, and comes back on the right side, under the right name"

    class Half(Eye):
        def forward(self, x):
            heat = super().forward(x)
            return torch.cat([heat[..., :6], torch.zeros_like(heat[..., 6:])], -1)

    x = dots(torch.tensor([[[40.0, 20.0], [8.0, 40.0], [24.0, 60.0]]]), sigma=3.0)
    x[:, 1] = 0
    alone, both = look(Half(), x)[0], look(Half(), x, flip=SWAP)[0]
    assert alone[0].amax((-2, -1))[0] < 0.01 < 0.4 < both[0, 1].amax() < 0.6
    assert predict(Half(), x, CODEC, flip=SWAP).xy[0, 1, 0] == pytest.approx(40, abs=2)


def test_borders_are_averaged_over_the_views_that_see_them():
    class Ones(Eye):
        def forward(self, x):
            return super().forward(torch.ones_like(x))

    same(look(Ones(), dots(XY), flip=SWAP, scales=(1.0, 1.3))[0], torch.ones(2, 3, 16, 12))


def test_scales_leave_joints_in_place():
    net, x = Eye(), dots(XY, sigma=4.0)
    plain, many = look(net, x)[0], look(net, x, scales=(1.0, 0.8, 1.25))[0]
    xy = DARK(2.0, 4).decode(many)[0]
    torch.testing.assert_close(xy, XY, rtol=0, atol=1.0)
    assert (many - plain).abs().max() > 0.01


class OnUDP(Eye):
    """The picture read on UDP's grid, whose ends meet the crop's; with `offset` it says the way to the middle of
    each dot"""

    def __init__(self, codec):
        super().__init__()
        self.codec = codec

    def forward(self, x):
        size = tuple(n // 4 for n in x.shape[-2:])
        if self.codec.offset:
            return self.codec.encode(mass(x, 1), torch.ones(x.shape[:2]), size)[0]
        return F.interpolate(x, size, mode="bilinear", align_corners=True)


@pytest.mark.parametrize("codec", [UDP(2.0, 4), UDP(2.0, 4, offset=True)], ids=["plain", "offset"])
def test_the_mirror_of_udp_is_exact(codec):
    "On UDP's grid a mirrored heatmap is the flipped array, and mirrored offsets point the other way"
    net, x, alike = OnUDP(codec), dots(XY, sigma=4.0), (0, 1, 2)
    plain, both = predict(net, x, codec), predict(net, x, codec, flip=alike)
    torch.testing.assert_close(both.heat, plain.heat, rtol=0, atol=1e-3)
    torch.testing.assert_close(both.xy, plain.xy, rtol=0, atol=0.02)
    torch.testing.assert_close(both.xy, XY, rtol=0, atol=0.3)
    assert plain.heat.shape == (2, 3, 16, 12), "a heatmap per joint, whatever the channels"
    if not codec.offset:
        wrong = look(net, x, flip=alike)[0]  # as if pixel i lay at crop px 4i
        assert (codec.decode(wrong)[0] - plain.xy).abs().max() > 0.3
    swapped = predict(net, x, codec, flip=SWAP).heat
    assert (swapped - plain.heat)[:, :2].abs().max() > 0.3 and (swapped - plain.heat)[:, 2].abs().max() < 1e-3
    with pytest.raises(UserError, match="leave shift out"):
        predict(net, x, codec, flip=alike, shift=True)


@pytest.mark.parametrize("codec", [UDP(2.0, 4), UDP(2.0, 4, offset=True)], ids=["plain", "offset"])
def test_scales_leave_udp_s_joints_in_place(codec):
    x = dots(XY, sigma=4.0)
    at = predict(OnUDP(codec), x, codec, scales=(1.0, 1.2)).xy
    torch.testing.assert_close(at, XY, rtol=0, atol=1.0)
    p = predict_all(OnUDP(codec), Album(), SIZE, codec, flip=(0, 1, 2))
    assert ((p.xy - Album().xy).norm(dim=-1) / Album().box[:, None, 2:].amax(-1)).max() < 0.02


# ---- several networks


def test_ensemble_is_the_mean_heatmap():
    x, nets = dots(XY), [Eye(gain=1.0), Eye(gain=0.25)]
    p = predict(nets, x, CODEC)
    torch.testing.assert_close(p.heat, (look(nets[0], x)[0] + look(nets[1], x)[0]) / 2)
    torch.testing.assert_close(p.score, 0.625 * predict(nets[0], x, CODEC).score)
    same(predict(nets[::-1], x, CODEC).xy, p.xy)
    same(predict([nets[0]], x, CODEC).heat, predict(nets[0], x, CODEC).heat)


def test_peers_are_their_networks():
    peers, x = build_peers("tiny", joints=3, n=2, ema=True, net=dict(width=8)), torch.rand(2, 3, 64, 48)
    a, b = look(peers, x)
    with torch.no_grad():
        same(b, peers.eval()(1, x))
    assert (a != b).any()
    torch.testing.assert_close(predict(peers, x, Gaussian(2.0, 2)).heat, (a + b) / 2)


def test_of_several_heatmaps_the_last_is_the_answer():
    class Stages(Eye):
        def forward(self, x):
            heat = super().forward(x)
            return [heat * 0, heat]

    same(predict(Stages(), dots(XY), CODEC).heat, predict(Eye(), dots(XY), CODEC).heat)


# ---- modes


def test_modes_are_restored_submodule_by_submodule_even_after_an_error():
    net = Eye().train()
    net.part[1].eval()
    before = [m.training for m in net.modules()]
    predict(net, dots(XY), CODEC)
    assert [m.training for m in net.modules()] == before and torch.is_grad_enabled()
    with pytest.raises(ZeroDivisionError), evaluating(net):
        assert not any(m.training for m in net.modules()) and not torch.is_grad_enabled()
        raise ZeroDivisionError
    assert [m.training for m in net.modules()] == before and torch.is_grad_enabled()


def test_predicting_leaves_no_trace_in_batch_statistics():
    peers = build_peers("tiny", joints=2, n=1, net=dict(width=8)).train()
    before = {k: v.clone() for k, v in peers.state_dict().items()}
    p = predict(peers, torch.rand(4, 3, 64, 48), Gaussian(2.0, 2), flip=(1, 0))
    for k, v in peers.state_dict().items():
        same(v, before[k])
    assert not p.heat.requires_grad and p.heat.dtype == torch.float32


def test_autocast_answers_in_float32():
    peers, x = build_peers("tiny", joints=2, n=2, net=dict(width=8)), torch.rand(2, 3, 64, 48)
    plain = predict(peers, x, Gaussian(2.0, 2), flip=(1, 0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = predict(peers, x, Gaussian(2.0, 2), flip=(1, 0))
    assert low.heat.dtype == low.xy.dtype == torch.float32
    torch.testing.assert_close(low.heat, plain.heat, rtol=0.1, atol=3e-3)


# ---- crops


def test_the_plain_crop_is_the_middle_of_the_roomy_one():
    big = torch.randint(0, 256, (2, 3, *roomy(SIZE)), dtype=torch.uint8)
    dx, dy = move(torch.zeros(1, 2), invert(window(SIZE)))[0].int().tolist()
    want = big[..., dy:dy + 64, dx:dx + 48].float() / 255
    same(as_crops(big, SIZE), want)
    same(as_crops(want, SIZE), want)
    same(predict(Eye(), big, CODEC, size=SIZE).heat, predict(Eye(), want, CODEC).heat)
    with pytest.raises(UserError, match="90x60.*64x48"):
        as_crops(torch.zeros(1, 3, 90, 60), SIZE)
    with pytest.raises(UserError, match="batch axis"):
        predict(Eye(), torch.zeros(3, 64, 48), CODEC)


def test_a_codec_of_another_stride_is_refused():
    with pytest.raises(UserError, match="stride 2.*stride=4"):
        predict(Eye(), dots(XY), Gaussian(2.0, 2))
    with pytest.raises(UserError, match="no mean"):
        predict([Eye(4), Eye(2)], dots(XY), CODEC)
    with pytest.raises(UserError, match="no network"):
        predict([], dots(XY), CODEC)


class Album:
    "Seven people in photos: dots at known image px, cut out as data.core.Crops would"

    def __init__(self, n=7):
        g = torch.Generator().manual_seed(0)
        self.box = torch.cat([torch.rand(n, 2, generator=g) * 300, 60 + torch.rand(n, 2, generator=g) * 200], 1)
        self.xy = self.box[:, None, :2] + self.box[:, None, 2:] * (0.3 + 0.4 * torch.rand(n, 3, 2, generator=g))

    def __len__(self):
        return len(self.box)

    def matrix(self, idx):
        M = crop_matrix(self.box[idx], SIZE)
        return invert(window(SIZE)) @ M

    def batch(self, idx):
        image = dots(move(self.xy[idx], self.matrix(idx)), roomy(SIZE), sigma=6.0)
        return dict(image=(image * 255).round().to(torch.uint8), index=idx)


def test_everybody_lands_in_the_photo():
    "Known joints in image px -> crop -> heatmap -> joints -> image px; the batch size is nobody's business"
    album = Album()
    p = predict_all(Eye(), album, SIZE, DARK(1.5, 4), batch=3)
    worst = ((p.xy - album.xy).norm(dim=-1) / album.box[:, None, 2:].amax(-1)).max()
    assert worst < 0.02, f"{worst:.3f} of the box"
    whole = predict_all(Eye(), album, SIZE, DARK(1.5, 4), batch=64)
    torch.testing.assert_close(whole.xy, p.xy)
    torch.testing.assert_close(whole.score, p.score)
    assert p.heat is None and len(p.xy) == 7


def test_each_and_ensemble_in_one_pass():
    album, nets = Album(), [Eye(gain=1.0), Eye(gain=0.5)]
    first, second, both = predict_all(nets, album, SIZE, CODEC, which="all", batch=4)
    for got, want in zip((first, second, both), (nets[0], nets[1], nets)):
        alone = predict_all(want, album, SIZE, CODEC)
        same(got.xy, alone.xy)
        same(got.score, alone.score)
    assert len(predict_all(nets, album, SIZE, CODEC, which="each")) == 2
    with pytest.raises(UserError, match="'each'"):
        predict_all(nets, album, SIZE, CODEC, which="best")


def test_map_back_undoes_the_crop_matrix():
    album = Album()
    M = crop_matrix(album.box, SIZE)
    torch.testing.assert_close(map_back(move(album.xy, M), M), album.xy, rtol=1e-4, atol=1e-2)


def test_smoothing_is_not_needed_for_these_laws():
    "The toy really reads the crop at px 0, 4, 8 ...: an average pool would sit 1.5 px further"
    heat = look(Eye(), dots(XY, sigma=4.0))[0]
    torch.testing.assert_close(mass(heat), XY, rtol=0, atol=0.05)
    pooled = F.avg_pool2d(dots(XY, sigma=4.0), 4)
    assert ((mass(pooled) - XY) + 1.5).abs().max() < 0.1
