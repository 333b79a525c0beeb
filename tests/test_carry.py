"""The carry: what each interpolation costs a heatmap, in closed form; what keeps heights; what it may never do."""
import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F

from semipose.codecs import UDP, Gaussian, bumps, encode, moved, peaks
from semipose.geometry import affine, invert, move, roomy, spline_matrix, translate, warp
from semipose.methods import METHODS
from semipose.nets.peers import Peers, build_peers
from semipose.skeletons import COCO17
from semipose.teaching import Step, Teaching, TeacherForward, one_batch
from semipose.views import A30, A60, carry, plain

N = 41
MIDDLE = torch.tensor([[(N - 1) / 2, (N - 1) / 2]])


def bump(sigma, n=1, at=MIDDLE):
    return bumps(at.expand(max(n, len(at)), 2).unsqueeze(1), (N, N), sigma)


def shifts(n, seed=0):
    return torch.rand(n, 2, generator=torch.Generator().manual_seed(seed))


def spread(heat):
    "Variance along x, heatmap px squared, mean over the batch"
    heat, x = heat.clamp(min=0).mean(-2), torch.arange(N).float()
    heat = heat / heat.sum(-1, keepdim=True)
    mean = (heat * x).sum(-1, keepdim=True)
    return float((heat * (x - mean) ** 2).sum(-1).mean())


def there_and_back(heat, times, mode, seed=1):
    "Warps by an evenly spread fraction of a pixel and by its reverse: two interpolations each time"
    g = torch.Generator().manual_seed(seed)
    for _ in range(times):
        M = affine((N, N), shift=torch.rand(len(heat), 2, generator=g) * 2 - 1)
        heat = warp(warp(heat, M, mode=mode), invert(M), mode=mode)
    return heat


# ---- the law of the leak ----

@pytest.mark.parametrize("sigma", (1.5, 2., 3.))
@pytest.mark.parametrize("times", (1, 3, 10))
def test_bilinear_adds_a_sixth_of_a_pixel_squared_each_time(sigma, times):
    start = bump(sigma, 512)
    end = there_and_back(start, times, "bilinear")
    n = 2 * times
    assert spread(end) - spread(start) == pytest.approx(n / 6, abs=.04 * n / 6 + .01)
    assert float(peaks(end).mean() / peaks(start).mean()) == pytest.approx(1 / (1 + n / (6 * sigma**2)), rel=.02)


@pytest.mark.parametrize("sigma, height", ((1.5, .01), (2., .005), (3., .001)))
def test_spline_keeps_height_and_width(sigma, height):
    d = shifts(2048)
    kept, truth = warp(bump(sigma, len(d)), affine((N, N), shift=d), mode="spline"), bump(sigma, 1, MIDDLE + d)
    assert float(peaks(kept).mean() / peaks(truth).mean()) == pytest.approx(1, abs=height)
    assert spread(kept) ** .5 == pytest.approx(spread(truth) ** .5, rel=.01)


@pytest.mark.parametrize("turn", (dict(angle=33.), dict(scale=1.2), dict(angle=-50., scale=.8)))
def test_turned_and_zoomed_bumps_keep_their_height_too(turn):
    at = MIDDLE + 6 * (shifts(256) - .5)
    M = affine((N, N), **turn)
    for mode, least in (("bilinear", None), ("spline", .97)):
        share = float((peaks(warp(bump(1.5, 256, at), M.expand(256, 3, 3), mode=mode)) / peaks(
            bump(1.5, 256, at))).mean())
        if least: assert share > least
        else: assert share < .96


def response_of(mode, d):
    """Frequency response of a shift by d px along x, as the warp makes it: the transform of what becomes of one
    bright pixel"""
    line = torch.zeros(1, 1, 9, 129)
    line[..., 64] = 1.
    out = warp(line, affine((9, 129), shift=torch.tensor([[d, 0.]])), mode=mode)[0, 0, 4]
    return torch.fft.rfft(out.double()).abs()


@pytest.mark.parametrize("d", (.1, .25, .5, .8))
def test_no_frequency_grows_along_a_spline_and_some_do_along_the_bicubic_kernel(d):
    assert response_of("spline", d).max() < 1 + 1e-4
    assert response_of("bilinear", d).max() < 1 + 1e-6
    assert response_of("bicubic", d).max() > 1.003


def test_heights_after_many_carries():
    start = bump(1.5, 64)
    height = {mode: float(peaks(there_and_back(start, 50, mode)).mean())
              for mode in ("bilinear", "bicubic", "spline", "nearest")}
    assert (height["bilinear"] < .15 and height["spline"] > .75 and height["bicubic"] > 1.5
            and height["nearest"] == pytest.approx(1))


def test_the_released_warp_leaks_the_same():
    "theta in normalised coordinates, `affine_grid`, `grid_sample`: another bookkeeping, the same four neighbours"
    d = shifts(2048)
    theta = torch.eye(2, 3).repeat(len(d), 1, 1)
    theta[:, :, 2] = -2 * d / N
    start = bump(1.5, len(d))
    out = F.grid_sample(start, F.affine_grid(theta, start.shape, align_corners=False), align_corners=False)
    assert (float(peaks(out).mean() / peaks(bump(1.5, 1, MIDDLE + d)).mean())
            == pytest.approx(1 / (1 + 1 / (6 * 1.5**2)), abs=.01))


# ---- the spline warp itself ----

def test_spline_warp_is_scipys():
    heat, M = (torch.rand(3, 2, 20, 15, generator=torch.Generator().manual_seed(2)),
               affine((20, 15), angle=torch.tensor([20., -70., 5.]), scale=.9))
    mine, swap = warp(heat, M, mode="spline").numpy(), np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    y, x = np.mgrid[:20, :15]
    for b in range(3):
        back = invert(M)[b].numpy()
        theirs = ndimage.affine_transform(heat[b, 1].double().numpy(), swap @ back @ swap, order=3, mode="mirror")
        px, py, _ = back @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
        inside = ((px >= 0) & (px <= 14) & (py >= 0) & (py <= 19)).reshape(20, 15)
        assert inside.mean() > .4 and np.abs(mine[b, 1] - theirs)[inside].max() < 1e-4
        far = ((px < -1) | (px > 15) | (py < -1) | (py > 20)).reshape(20, 15)
        assert far.any() and not mine[b, 1][far].any()


@pytest.mark.parametrize("mode", ("bilinear", "bicubic", "spline", "nearest"))
def test_identity_and_whole_pixels_change_nothing(mode):
    heat = torch.rand(2, 3, 12, 9, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(warp(heat, torch.eye(3)[None], mode=mode), heat, atol=1e-5)
    out = warp(heat, translate(2, -3), mode=mode)
    assert (torch.allclose(out[..., :-3, 2:], heat[..., 3:, :-2], atol=1e-5)
            and not out[..., -2:, :].abs().gt(1e-5).any())


def test_a_constant_stays_a_constant_wherever_it_was_seen():
    ones, M = torch.ones(4, 1, 16, 12), affine((16, 12), angle=torch.tensor([10., 40., 90., 200.]), scale=.8)
    assert torch.allclose(warp(ones, M, mode="spline"), warp(ones, M), atol=1e-5), "the border fades as bilinear's does"


def test_gradient_and_precision():
    M = affine((6, 5), angle=torch.tensor([30., -50.]))
    assert torch.autograd.gradcheck(lambda t: warp(t, M, mode="spline"),
                                    torch.rand(2, 2, 6, 5, dtype=torch.float64, requires_grad=True))
    heat = torch.rand(2, 2, 6, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16): half = warp(heat, M, mode="spline")
    assert half.dtype == torch.float32 and torch.equal(half, warp(heat, M, mode="spline"))
    assert torch.allclose(warp(heat.bfloat16(), M, mode="spline"), warp(heat, M, mode="spline"), atol=.01)
    assert torch.equal(spline_matrix(1, False), torch.ones(1, 1)), "a map of one pixel is its own coefficient"
    assert warp(heat[:1], M, mode="spline").shape == (2, 2, 6, 5)


# ---- carried heatmaps ----

def test_nothing_lower_than_the_teacher_said_is_taught():
    heat = torch.zeros(1, 1, 24, 24)
    heat[..., 8:16, 8:16] = 1.                                              # edges, which a spline overshoots
    M = affine((24, 24), shift=torch.tensor([[.5, .5]]))
    assert warp(heat, M, mode="spline").min() < -.02
    assert moved(Gaussian(stride=1), heat, M, "spline").min() == 0
    assert moved(Gaussian(stride=1), heat - .3, M, "spline").min() == pytest.approx(-.3)


def test_offsets_are_carried_too():
    codec, size = UDP(offset=True), (64, 48)
    elbow, turn = torch.tensor([[[90., 120.]]]), affine((256, 192), 60.)
    heat, _ = codec.encode(elbow, torch.ones(1, 1), size)
    after = moved(codec, heat, turn, "spline")
    assert (codec.decode(after)[0] - move(elbow, turn)).abs().max() < .25
    assert after[:, :1].max() <= 1 and after[:, :1].min() >= 0 and after.abs().max() < 1.6


def test_carry_keeps_the_height_from_easy_to_hard():
    g, size = torch.Generator().manual_seed(4), (64, 48)
    start = plain(256, size)
    easy = A30.sample(start, size, generator=g)
    hard = A60.sample(easy, size, generator=g)
    at = torch.rand(256, 17, 2, generator=g) * torch.tensor([16., 20.]) + torch.tensor([16., 22.])
    heat, _ = encode(at, torch.ones(256, 17), (32, 24), 2, 1.5)
    rigid = lambda d: d.M[:, :2, :2].det().sqrt()
    same = ((rigid(hard) / rigid(easy)) - 1).abs() < .05  # a zoom changes the width, and so what the grid holds
    share = {mode: (peaks(carry(heat, easy, hard, 2, COCO17.flip_index, mode)) / peaks(heat))[same]
             for mode in ("bilinear", "spline")}
    inside = share["spline"] > .5
    assert (share["bilinear"][inside].mean() == pytest.approx(.94, abs=.02)
            and share["spline"][inside].mean() == pytest.approx(1, abs=.015))


def test_several_teacher_views_meet_at_one_height():
    size, g = (64, 48), torch.Generator().manual_seed(5)
    start = plain(8, size)
    draws = [start, *(A30.sample(start, size, generator=g) for _ in range(3))]
    for mode in ("bilinear", "spline"):
        ask = TeacherForward(None, None, draws, Gaussian(1.5, 2), COCO17.flip_index, mode=mode)
        mean = ask.mean([torch.ones(8, 17, 32, 24)] * 4)
        assert torch.allclose(mean, torch.ones_like(mean), atol=1e-4)


def test_averaged_views_keep_the_height_along_a_spline():
    size, g, n = (64, 48), torch.Generator().manual_seed(6), 64
    start = plain(n, size)
    draws = [start, *(A60.sample(start, size, generator=g) for _ in range(2))]
    at = (torch.rand(n, 17, 2, generator=g) - .5) * 8 + torch.tensor([36., 48.])  # roomy px, near the middle
    heats = [encode(move(at, d.M), torch.ones(n, 17), (32, 24), 2, 1.5)[0] for d in draws]
    same = torch.arange(17)  # no view here is mirrored
    height = {mode: float(peaks(TeacherForward(None, None, draws, Gaussian(1.5, 2), same,
                                               mode=mode).mean(heats)).mean()) for mode in ("bilinear", "spline")}
    assert height["spline"] > 1.03 * height["bilinear"]


# ---- as a question of the method ----

def batch(n=6, seed=0):
    g, size = torch.Generator().manual_seed(seed), (64, 48)
    image = lambda: torch.randint(0, 256, (n, 3, *roomy(size)), generator=g, dtype=torch.uint8)
    y = dict(xy=torch.rand(n, 17, 2, generator=g) * torch.tensor([48., 64.]) + torch.tensor([12., 16.]),
             vis=torch.full((n, 17), 2))
    return dict(labeled=image(), unlabeled=image()), y


class Bumps(torch.nn.Module):
    "Answers every picture with bumps of one height in the middle"
    stride = 2
    def __init__(self, height):
        super().__init__()
        self.norm, self.height = torch.nn.BatchNorm2d(3), torch.nn.Parameter(torch.tensor(height))
    def forward(self, x):
        at = torch.tensor([11.3, 15.6]).expand(len(x), 17, 2)
        return self.height * bumps(at, (32, 24), 1.5) + 0 * self.norm(x).mean()


def taught(name, height):
    m = METHODS[name]
    teaching = Teaching(m, Gaussian(1.5, 2), (64, 48), COCO17, torch.ones(17), seed=1)
    peers = Peers([Bumps(height) for _ in range(m.nets)]).train()
    x, y = batch(24)
    _, labels, _, _ = one_batch(teaching, peers, x, y)
    return labels["teach"][0][0][0].detach()


def test_four_corners_of_height_and_shape():
    top = lambda name, height=.5: float(peaks(taught(name, height)).median())
    sampled = .5 * float(peaks(bumps(torch.tensor([[[11.3, 15.6]]]), (32, 24), 1.5)).max())
    assert (top("posecons_jc") < .97 * top("posecons_jc_kept")
            and top("posecons_jc_kept") == pytest.approx(sampled, rel=.05))
    assert top("posecons_jc_one") == pytest.approx(1, abs=.06)
    assert top("posecons_jc_drawn_kept") == pytest.approx(sampled, abs=.03) and top("posecons_jc_drawn") > .95
    assert top("posecons_jc_one", .01) < .2, "a flat map is not made a mountain"


@pytest.mark.parametrize("row, moves", (("posedual_jc", True), ("posedual_jc_eval", False),
                                        ("posedual_jc_kept_eval", False)))
def test_a_teacher_in_evaluation_mode_leaves_the_statistics_alone(row, moves):
    peers, m = build_peers("tiny", n=2, net=dict(width=8)).train(), METHODS[row]
    x, y = batch()
    step, g = Step(m, Gaussian(1.5, peers.stride), (64, 48), COCO17.flip_index), torch.Generator().manual_seed(1)
    before = {k: v.clone() for k, v in peers.state_dict().items() if "running" in k}
    easy, _ = step.pair(step.sampler(x["unlabeled"], g))
    with torch.no_grad(): step.teach(step.forward(peers, step.render(x["unlabeled"], easy), easy), 0)
    after = peers.state_dict()
    assert any(not torch.equal(v, after[k]) for k, v in before.items()) is moves
    assert all(net.training for net in peers.nets)


def test_only_the_interpolation_differs_between_published_and_kept():
    for kept, as_published in (("posecons_kept", "posecons"), ("posecons_jc_kept", "posecons_jc"),
                               ("posedual_jc_kept", "posedual_jc")):
        a, b = vars(METHODS[kept]), vars(METHODS[as_published])
        assert {k for k in a if a[k] != b[k]} == {"carried"} and METHODS[as_published].mode == "bilinear"


@pytest.mark.parametrize("wrong", (dict(carried="cubic"), dict(height="two"), dict(height="one", drawn=True),
                                   dict(height="teacher")))
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError): type(METHODS["posecons"])(**{**vars(METHODS["posecons"]), **wrong})
    with pytest.raises(ValueError): type(METHODS["naive"])(**{**vars(METHODS["naive"]), "evaluation": True})
