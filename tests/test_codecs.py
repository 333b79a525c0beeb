"Laws of the codecs: decode inverts encode, within the error that each decoder admits"
import pytest, torch
from torch.testing import assert_close
from semipose.codecs import DARK, Gaussian, argmax, patches, peaks


def joints(codec, size, B=8, K=17, seed=0, border=4.):
    "Random sub-pixel joints, at least `border` sigma inside; crop px"
    h, w = size
    r = border * codec.sigma
    u = torch.rand(B, K, 2, generator=torch.Generator().manual_seed(seed))
    return (r + u * (torch.tensor([w, h]) - 1 - 2 * r)) * codec.stride, torch.full((B, K), 2)


def lost(codec, size, **kw):
    "Largest error along one axis, heatmap px, over random joints"
    xy, vis = joints(codec, size, **kw)
    return (codec.decode(codec.encode(xy, vis, size)[0])[0] - xy).abs().max().item() / codec.stride


@pytest.mark.parametrize("codec, size, bound", [
    (DARK(), (64, 48), .0125), (DARK(stride=2), (48, 36), .0125), (DARK(sigma=1.5, stride=2), (32, 24), .0125), (DARK(sigma=3.), (96, 72), .0125),
    (Gaussian(), (64, 48), .25), (Gaussian(sigma=1.5, stride=2), (32, 24), .25), (Gaussian(sigma=3.), (96, 72), .25),
    (Gaussian(shift=False), (64, 48), .5), (Gaussian(rounded=True), (64, 48), .5)])
def test_decode_inverts_encode(codec, size, bound):
    error = lost(codec, size)  # 0.0125 heatmap px is 0.05 crop px at stride 4
    assert error <= bound + 1e-4
    if not isinstance(codec, DARK): assert error > .8 * bound, "the bound is reached: the rule is the published one, not a better one"


def test_quarter_step_is_a_quarter():
    "The step is exactly 0, -1/4 or 1/4 per axis, towards the joint"
    codec, flat = Gaussian(), Gaussian(shift=False)
    xy, vis = joints(codec, (64, 48))
    heat, _ = codec.encode(xy, vis, (64, 48))
    whole, step = flat.decode(heat)[0], codec.decode(heat)[0] - flat.decode(heat)[0]
    assert set(step.abs().unique().tolist()) <= {0., 1.}  # crop px, a quarter of stride 4
    assert (step * (xy - whole) >= 0).all()


@pytest.mark.parametrize("x, y", [(0, 5), (11, 5), (5, 0), (5, 11)])
def test_no_step_on_the_border(x, y):
    heat = torch.rand(1, 1, 12, 12) * .5
    heat[0, 0, y, x] = 1
    for codec in (Gaussian(stride=4), DARK(stride=4)):
        assert codec.decode(heat)[0].tolist() == [[[4. * x, 4. * y]]]
    inside = torch.zeros(1, 1, 12, 12)
    inside[0, 0, 1, 1], inside[0, 0, 1, 2] = 1, .5
    assert Gaussian(stride=4).decode(inside)[0].tolist() == [[[5., 4.]]], "one pixel inside the border the step is taken"


def test_stride_is_the_index_convention():
    "A bump on crop px (4i, 4j) peaks exactly at heatmap pixel (i, j): no half pixels"
    for codec in (Gaussian(), DARK(), Gaussian(rounded=True)):
        heat, _ = codec.encode(torch.tensor([[[40., 80.]]]), torch.tensor([[2]]), (64, 48))
        assert heat[0, 0, 20, 10] == 1 and heat.max() == 1
        assert_close(codec.decode(heat)[0], torch.tensor([[[40., 80.]]]), atol=1e-4, rtol=0)
    assert argmax(heat, 4)[0].tolist() == [[[40., 80.]]]


def test_bump_is_the_formula():
    heat, _ = Gaussian(sigma=2., stride=4).encode(torch.tensor([[[41.2, 79.]]]), torch.tensor([[1]]), (64, 48))
    y, x = torch.meshgrid(torch.arange(64.), torch.arange(48.), indexing="ij")
    d = x - 41.2 / 4, y - 79 / 4
    true = torch.exp(-(d[0]**2 + d[1]**2) / 8) * ((d[0].abs() <= 6) & (d[1].abs() <= 6))
    assert_close(heat[0, 0], true, atol=1e-6, rtol=0)


def test_rounded_is_the_nearest_pixel():
    heat, _ = Gaussian(rounded=True).encode(torch.tensor([[[41.9, 78.1], [42.1, 77.9]]]), torch.full((1, 2), 2), (64, 48))
    assert argmax(heat, 1)[0].tolist() == [[[10., 20.], [11., 19.]]] and (peaks(heat) == 1).all()


@pytest.mark.parametrize("rounded", [False, True])
def test_weight_is_zero_only_where_nothing_of_the_bump_is_left(rounded):
    codec, (h, w) = Gaussian(rounded=rounded), (16, 12)
    g = torch.Generator().manual_seed(0)
    xy = torch.rand(50, 20, 2, generator=g) * torch.tensor([4. * w + 80, 4. * h + 80]) - 40
    heat, weight = codec.encode(xy, torch.full((50, 20), 1), (h, w))
    assert torch.equal(weight > 0, heat.amax((-2, -1)) > 0)
    assert 0 < weight.mean() < 1
    r = 3 * codec.sigma * codec.stride
    edge = torch.tensor([[[-r, 20.], [-r - 2.1, 20.], [4. * (w - 1) + r, 20.], [4. * (w - 1) + r + 2.1, 20.], [20., -r - 2.1], [20., -r]]])
    assert codec.encode(edge, torch.full((1, 6), 2), (h, w))[1].tolist() == [[1, 0, 1, 0, 0, 1]]


def test_only_annotated_joints_count():
    xy = torch.full((1, 4, 2), 20.)
    xy[0, 3] = float("nan")
    heat, weight = DARK().encode(xy, torch.tensor([[0, 1, 2, 0]]), (16, 12))
    assert weight.tolist() == [[0, 1, 1, 0]], "hidden joints are annotated"
    assert heat.isfinite().all() and heat[0, [0, 3]].sum() == 0


def test_a_batch_is_its_items():
    "Vectorised decoding sees one joint at a time"
    g = torch.Generator().manual_seed(3)
    heat = torch.rand(5, 7, 20, 15, generator=g)
    for codec in (Gaussian(), DARK()):
        xy, score = codec.decode(heat)
        for b, k in ((0, 0), (3, 5), (4, 6)):
            one, s = codec.decode(heat[b:b + 1, k:k + 1])
            assert_close(one[0, 0], xy[b, k], atol=1e-4, rtol=0)
            assert s[0, 0] == score[b, k] == heat[b, k].max()


def dark_by_the_paper(heat, sigma):
    "One map (h,w): smooth it all, keep the maximum, log, Taylor, each as section 3.2 says; float64"
    from scipy.ndimage import gaussian_filter
    import numpy as np
    h = heat.double().numpy()
    y, x = np.unravel_index(h.argmax(), h.shape)
    s = gaussian_filter(h, sigma, mode="constant", truncate=3.)
    L = np.log(np.maximum(s * h.max() / s.max(), 1e-10))
    if not (1 < x < h.shape[1] - 2 and 1 < y < h.shape[0] - 2): return np.array([x, y], float)
    D = np.array([(L[y, x + 1] - L[y, x - 1]) / 2, (L[y + 1, x] - L[y - 1, x]) / 2])
    xx, yy = (L[y, x + 2] - 2 * L[y, x] + L[y, x - 2]) / 4, (L[y + 2, x] - 2 * L[y, x] + L[y - 2, x]) / 4
    xy = (L[y + 1, x + 1] - L[y - 1, x + 1] - L[y + 1, x - 1] + L[y - 1, x - 1]) / 4
    return np.array([x, y]) - np.linalg.solve(np.array([[xx, xy], [xy, yy]]), D)


def test_dark_is_the_paper_s_on_rough_bumps():
    "Skewed, noisy, of any height, near the border: the 5x5 shortcut equals smoothing the whole map"
    g, codec = torch.Generator().manual_seed(0), DARK(sigma=2., stride=1)
    xy = torch.rand(1, 60, 2, generator=g) * torch.tensor([47., 63.])
    a, _ = codec.encode(xy, torch.ones(1, 60), (64, 48))
    b, _ = codec.encode(xy + torch.tensor([2., 1.]), torch.ones(1, 60), (64, 48))
    heat = (a + .6 * b) * (.05 + torch.rand(1, 60, 1, 1, generator=g))
    heat = heat * (1 + .05 * torch.rand(heat.shape, generator=g))
    got = codec.decode(heat)[0][0]
    want = torch.stack([torch.as_tensor(dark_by_the_paper(m, 2.)) for m in heat[0]]).float()
    step = (want - torch.stack([heat[0].flatten(1).argmax(1) % 48, heat[0].flatten(1).argmax(1) // 48], -1)).abs().amax(-1)
    assert (step > .05).sum() > 30 and (step < 1).sum() > 50
    assert_close(got[step < 1], want[step < 1], atol=2e-3, rtol=0)


def test_dark_never_runs_away():
    "Noise, plateaus, empty and negative maps: at most one pixel from the highest one, and always a number"
    g = torch.Generator().manual_seed(1)
    for heat in (torch.rand(4, 9, 16, 12, generator=g), torch.zeros(1, 1, 16, 12), torch.ones(1, 1, 16, 12), torch.randn(4, 9, 16, 12, generator=g),
                 -torch.rand(2, 3, 16, 12, generator=g), torch.rand(2, 3, 16, 12, generator=g).bfloat16()):
        xy, _ = DARK(stride=1).decode(heat)
        assert xy.isfinite().all() and (xy - argmax(heat, 1)[0]).abs().max() <= 1


def test_dark_climbs_hills_only():
    "A lone spike in the valley between two broad bumps: smoothed, it is a saddle, and Newton would run to the saddle's middle"
    heat, _ = DARK(stride=1).encode(torch.tensor([[[10., 14.], [22., 14.]]]), torch.ones(1, 2), (28, 32))
    heat = .9 * heat.amax(1, keepdim=True)
    heat[0, 0, 14, 15] = 1
    assert DARK(stride=1).decode(heat)[0].tolist() == [[[15., 14.]]]


def test_dark_ignores_height():
    xy, vis = joints(DARK(), (64, 48))
    heat, _ = DARK().encode(xy, vis, (64, 48))
    assert_close(DARK().decode(heat * .05)[0], DARK().decode(heat)[0], atol=2e-3, rtol=0)
    assert_close(DARK().decode(heat * .05)[1], .05 * DARK().decode(heat)[1])


def test_encode_and_decode_survive_autocast():
    xy, vis = joints(DARK(), (64, 48))
    plain = DARK().decode(DARK().encode(xy, vis, (64, 48))[0])[0]
    with torch.autocast("cpu", torch.bfloat16): cast = DARK().decode(DARK().encode(xy, vis, (64, 48))[0])[0]
    assert_close(cast, plain, atol=1e-3, rtol=0)


def test_patches_are_slices():
    heat = torch.rand(1, 2, 10, 9)
    p = patches(heat, torch.tensor([[4, 0]]), torch.tensor([[5, 9]]), 2)
    assert torch.equal(p[0, 0], heat[0, 0, 3:8, 2:7])
    assert torch.equal(p[0, 1, :3, 2:], heat[0, 1, 7:, :3]) and p[0, 1, 3:].sum() == 0 and p[0, 1, :, :2].sum() == 0


def test_teacher_and_student_agree_through_a_view():
    "A heatmap warped by a view decodes to the joints moved by that view"
    from semipose.geometry import affine, move, warp
    codec, size = DARK(), (64, 48)
    xy, vis = joints(codec, size, border=10.)
    M = affine((256, 192), torch.linspace(-40, 40, 8), 1.1, torch.arange(8) % 2 > 0)
    heat = warp(codec.encode(xy, vis, size)[0], M, stride=4)
    assert_close(codec.decode(heat)[0], move(xy, M), atol=.25, rtol=0)
