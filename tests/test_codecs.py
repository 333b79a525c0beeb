"Laws of the codecs: decode inverts encode, within the error that each decoder admits"
import pytest, torch
from semipose import codecs
from torch.testing import assert_close
from semipose.codecs import (CODECS, DARK, Gaussian, UDP, argmax, build_codec, counts, moved, patches, peaks, renamed,
                             response, smooth, steps)
from semipose.errors import UserError
from semipose.geometry import affine, flip_joints, move, warp

EVERY = dict(gaussian=Gaussian(), dark=DARK(), udp=UDP(), offset=UDP(offset=True))
every_codec = pytest.mark.parametrize("codec", EVERY.values(), ids=EVERY)


def joints(codec, size, B=8, K=17, seed=0, border=4.):
    "Random sub-pixel joints, at least `border` sigma inside; crop px"
    h, w = size
    r = border * codec.sigma
    u = torch.rand(B, K, 2, generator=torch.Generator().manual_seed(seed))
    return (r + u * (torch.tensor([w, h]) - 1 - 2 * r)) * torch.tensor(codec.unit(size)), torch.full((B, K), 2)


def lost(codec, size, **kw):
    "Largest error along one axis, heatmap px, over random joints"
    xy, vis = joints(codec, size, **kw)
    return (codec.decode(codec.encode(xy, vis, size)[0])[0] - xy).abs().max().item() / codec.stride


@pytest.mark.parametrize("codec, size, bound", [
    (DARK(), (64, 48), .0125), (DARK(stride=2), (48, 36), .0125), (DARK(sigma=1.5, stride=2), (32, 24), .0125),
    (DARK(sigma=3.), (96, 72), .0125),
    (UDP(), (64, 48), .0125), (UDP(stride=2, sigma=1.5), (32, 24), .0125), (UDP(sigma=3.), (96, 72), .0125),
    (UDP(offset=True), (64, 48), .001), (UDP(offset=True, stride=2, sigma=1.5), (32, 24), .001),
    (UDP(offset=True, sigma=3.), (96, 72), .001),
    (Gaussian(), (64, 48), .25), (Gaussian(sigma=1.5, stride=2), (32, 24), .25), (Gaussian(sigma=3.), (96, 72), .25),
    (Gaussian(shift=False), (64, 48), .5), (Gaussian(rounded=True), (64, 48), .5)])
def test_decode_inverts_encode(codec, size, bound):
    error = lost(codec, size)  # 0.0125 heatmap px is 0.05 crop px at stride 4
    assert error <= bound + 1e-4
    if isinstance(codec, Gaussian):
        assert error > .8 * bound, "the bound is reached: the rule is the published one, not a better one"


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
    stepped = Gaussian(stride=4).decode(inside)[0].tolist()
    assert stepped == [[[5., 4.]]], "one pixel inside the border the step is taken"


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
    heat, _ = Gaussian(rounded=True).encode(torch.tensor([[[41.9, 78.1], [42.1, 77.9]]]),
                                            torch.full((1, 2), 2), (64, 48))
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
    edge = torch.tensor([[[-r, 20.], [-r - 2.1, 20.], [4. * (w - 1) + r, 20.], [4. * (w - 1) + r + 2.1, 20.],
                          [20., -r - 2.1], [20., -r]]])
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
    step = (want - torch.stack([heat[0].flatten(1).argmax(1) % 48, heat[0].flatten(1).argmax(1) // 48],
                               -1)).abs().amax(-1)
    assert (step > .05).sum() > 30 and (step < 1).sum() > 50
    assert_close(got[step < 1], want[step < 1], atol=2e-3, rtol=0)


def test_dark_never_runs_away():
    "Noise, plateaus, empty and negative maps: at most one pixel from the highest one, and always a number"
    g = torch.Generator().manual_seed(1)
    for heat in (torch.rand(4, 9, 16, 12, generator=g), torch.zeros(1, 1, 16, 12), torch.ones(1, 1, 16, 12),
                 torch.randn(4, 9, 16, 12, generator=g),
                 -torch.rand(2, 3, 16, 12, generator=g), torch.rand(2, 3, 16, 12, generator=g).bfloat16()):
        xy, _ = DARK(stride=1).decode(heat)
        assert xy.isfinite().all() and (xy - argmax(heat, 1)[0]).abs().max() <= 1


def test_dark_climbs_hills_only():
    "A lone spike between two broad bumps: smoothed, it is a saddle, and Newton would run to the saddle's middle"
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


# ---- UDP ----

def test_udp_s_ends_meet_the_crop_s():
    "First heatmap px on first crop px, last on last, along each axis"
    for size, stride in (((64, 48), 4), ((32, 24), 2)):
        sx, sy = steps(size, stride)
        assert sx * (size[1] - 1) == pytest.approx(size[1] * stride - 1)
        assert sy * (size[0] - 1) == pytest.approx(size[0] * stride - 1)
    assert steps((64, 48), 4) == pytest.approx((191 / 47, 255 / 63))
    for codec in (UDP(), UDP(offset=True)):
        corners = torch.tensor([[[0., 0.], [191., 255.], [191., 0.]]])
        heat, _ = codec.encode(corners, torch.ones(1, 3), (64, 48))
        assert heat[0, 0, 0, 0] == heat[0, 1, 63, 47] == heat[0, 2, 0, 47] == 1
        assert_close(codec.decode(heat)[0], corners, atol=1e-3 if codec.offset else 1e-4, rtol=0)


@pytest.mark.parametrize("codec", [UDP(), UDP(offset=True)], ids=["plain", "offset"])
def test_udp_s_mirror_is_a_flipped_array(codec):
    "What needs a shift elsewhere is exact here: the encoding of the mirrored joint is the array, flipped"
    xy, vis = joints(codec, (64, 48))
    heat, M = codec.encode(xy, vis, (64, 48))[0], affine((256, 192), flip=True)
    got = moved(codec, heat, M)
    assert_close(response(codec, got), response(codec, heat).flip(-1), atol=1e-4, rtol=0)
    assert_close(codec.encode(move(xy, M), vis, (64, 48))[0], got, atol=1e-3, rtol=0)
    if not codec.offset: assert not torch.allclose(moved(Gaussian(), heat, M), heat.flip(-1), atol=.05)


def test_the_offset_encoding_is_the_definition():
    codec, size = UDP(sigma=2., offset=True), (16, 12)
    xy, vis = torch.tensor([[[20.3, 33.], [50., 2.], [5., 5.], [30., 30.]]]), torch.tensor([[2, 1, 2, 0]])
    heat, weight = codec.encode(xy, vis, size)
    assert heat.shape == weight.shape == (1, 12, 16, 12)
    for k in range(3):
        x, y = xy[0, k, 0] / (47 / 11), xy[0, k, 1] / (63 / 15)
        for i in range(16):
            for j in range(12):
                inside = (x - j)**2 + (y - i)**2 <= 3.5**2
                want = torch.tensor([1., (x - j) / 3.5, (y - i) / 3.5]) if inside else torch.zeros(3)
                assert_close(heat[0, k::4, i, j], want, atol=1e-5, rtol=0)
                assert weight[0, k::4, i, j].tolist() == [1, float(inside), float(inside)]
    assert heat[0, 3::4].abs().sum() == 0 and weight[0, 3::4].sum() == 0


def test_votes_survive_noise_a_border_and_a_soft_disc():
    "Every pixel of the disc knows the place: noise averages out, the border costs nothing, the surest count most"
    codec, size = UDP(offset=True), (64, 48)
    g = torch.Generator().manual_seed(0)
    xy = torch.rand(4, 17, 2, generator=g) * torch.tensor([191., 255.])
    xy[:, :4, 0] = torch.rand(4, 4, generator=g) * 5  # along the left border
    heat, _ = codec.encode(xy, torch.ones(4, 17), size)
    assert_close(codec.decode(heat)[0], xy, atol=2e-3, rtol=0)
    fade = (.2 + .8 * smooth(response(codec, heat), 1.)).repeat(1, 3, 1, 1)
    soft = heat * fade.div(response(codec, heat).repeat(1, 3, 1, 1).clamp(min=1e-6)).clamp(max=1)
    soft[:, 17:] = heat[:, 17:]
    assert_close(codec.decode(soft)[0], xy, atol=2e-3, rtol=0)
    noisy = heat + .05 * torch.randn(heat.shape, generator=g)
    assert (codec.decode(noisy)[0] - xy).norm(dim=-1).mean() < .5  # of 14 crop px of radius
    lying = heat.clone()
    # offsets mean nothing outside the disc
    lying[:, 17:] = torch.where(response(codec, heat).repeat(1, 2, 1, 1) > 0, lying[:, 17:], 9.)
    assert_close(codec.decode(lying)[0], xy, atol=2e-3, rtol=0)


def test_smoothing_is_scipy_s():
    from scipy.ndimage import gaussian_filter
    heat = torch.rand(2, 3, 20, 13, generator=torch.Generator().manual_seed(0))
    want = torch.stack([torch.stack([torch.as_tensor(gaussian_filter(m.numpy(), 1.75, mode="constant", radius=5))
                                     for m in b]) for b in heat])
    assert_close(smooth(heat, 1.75), want, atol=1e-5, rtol=0)


# ---- every codec, under every view ----

@every_codec
def test_a_warped_encoding_is_read_at_the_moved_joint(codec):
    "Turned, resized, mirrored and shifted: encode then move, and move then encode, are read alike"
    size = (64, 48)
    xy, vis = joints(codec, size, border=8.)
    M = affine((256, 192), torch.linspace(-60, 60, 8), torch.linspace(.75, 1.25, 8), torch.arange(8) % 2 > 0,
               torch.tensor([3.3, -5.2]))
    heat = moved(codec, codec.encode(xy, vis, size)[0], M)
    there = move(xy, M)
    inside = ((there > 24) & (there < torch.tensor([167., 231.]))).all(-1)
    assert inside.sum() > 60
    error = (codec.decode(heat)[0] - there).norm(dim=-1)[inside]
    # a disc's rim is blurred by the warp
    assert error.max() < (1.9 if isinstance(codec, Gaussian) else .5 if codec.planes == 3 else .3)
    assert error.mean() < (1. if isinstance(codec, Gaussian) else .15)


def test_offsets_are_vectors():
    "The moved offset channels, compared pixel by pixel with those of the moved joint: they turn, mirror and grow"
    codec, size = UDP(offset=True), (64, 48)
    xy, vis = torch.tensor([[[90., 120.]]]), torch.ones(1, 1)
    for angle, scale, flip in ((90., 1., False), (0., 1.25, False), (0., 1., True), (37., .8, True)):
        M = affine((256, 192), angle, scale, flip)
        got, want = moved(codec, codec.encode(xy, vis, size)[0], M), codec.encode(move(xy, M), vis, size)[0]
        core = (got[0, 0] > .99) & (want[0, 0] == 1)
        assert core.sum() > 15
        assert_close(got[0, 1:, core], want[0, 1:, core], atol=.02, rtol=0)
        if (angle, flip) != (0., False):
            assert (warp(codec.encode(xy, vis, size)[0], M, stride=4)[0, 1:, core] - want[0, 1:, core]).abs().max() > .5


def test_one_channel_per_joint_is_warped_as_before():
    heat, M = torch.rand(2, 3, 64, 48), affine((256, 192), torch.tensor([20., -50.]), 1.1)
    for codec in (Gaussian(), DARK(), build_codec("rounded")):
        assert torch.equal(moved(codec, heat, M), warp(heat, M, stride=4))
        assert response(codec, heat) is heat or torch.equal(response(codec, heat), heat)
        w = torch.rand(2, 3)
        assert counts(codec, w, heat) is w


def test_joints_trade_names_in_all_their_channels():
    codec, swap = UDP(offset=True), (1, 0, 2)
    heat, flipped = torch.rand(2, 9, 5, 4), torch.tensor([True, False])
    got = renamed(codec, heat, flipped, swap)
    for p in range(3): assert torch.equal(got[:, 3 * p:3 * p + 3], flip_joints(heat[:, 3 * p:3 * p + 3], flipped, swap))
    assert torch.equal(renamed(DARK(), heat[:, :3], flipped, swap), flip_joints(heat[:, :3], flipped, swap))


def test_offsets_count_where_the_disc_is():
    codec, heat = UDP(offset=True), torch.rand(2, 6, 5, 4) * 1.5 - .2
    sure = heat[:, :2].clamp(0, 1)
    for w, full in ((torch.tensor([1., 0.]), torch.tensor([1., 0.]).view(1, 2, 1, 1)), (torch.rand(2, 2), None),
                    (torch.rand(2, 2, 5, 4), None)):
        got = counts(codec, w, heat)
        full = w.view(2, 2, 1, 1) if w.dim() == 2 else w if w.dim() == 4 else full
        assert_close(got, torch.cat([full.expand(2, 2, 5, 4), full * sure, full * sure], 1))
    assert not counts(codec, torch.ones(2), heat.requires_grad_()).requires_grad, "what counts is not learned"


@every_codec
def test_a_batch_is_its_items_in_every_codec(codec):
    g = torch.Generator().manual_seed(3)
    heat = torch.rand(5, 7 * codec.planes, 20, 15, generator=g)
    xy, score = codec.decode(heat)
    for b, k in ((0, 0), (3, 5), (4, 6)):
        one, s = codec.decode(heat[b:b + 1, k::7])
        assert_close(one[0, 0], xy[b, k], atol=1e-3, rtol=0)
        assert_close(s[0, 0], score[b, k])


# ---- under every method ----

def teaching(method, codec, size=(64, 48)):
    import numpy as np
    from semipose.skeletons import COCO17
    from semipose.teaching import Teaching
    supervised = np.ones(17)
    supervised[0] = 0  # the nose: its own mirror image
    return Teaching(method, codec, size, COCO17, supervised)


@pytest.mark.parametrize("mirrored", [False, True])
@every_codec
def test_a_perfect_teacher_s_target_is_the_truth_in_the_student_s_view(codec, mirrored):
    "Easy view to hard view, mirrored or not: what the teacher encoded, read by the student, is where the joints are"
    from semipose.methods import METHODS
    from semipose.skeletons import COCO17
    from semipose.views import A30, A60, Zoom, joints_in, plain
    t = teaching(METHODS["posecons"], codec, (256, 192))
    g = torch.Generator().manual_seed(1)
    # in the middle of the roomy crop
    room = torch.rand(12, 17, 2, generator=g) * torch.tensor([80., 110.]) + torch.tensor([102., 137.])
    vis = torch.full((12, 17), 2)
    easy = A30.sample(plain(12, (256, 192)), (256, 192), generator=g)
    hard = (Zoom(1.1, flip=True)(easy, (256, 192)) if mirrored else A60.sample(easy, (256, 192), generator=g))
    assert easy.flip.any() and (easy.flip ^ hard.flip).all() == mirrored
    here, _ = joints_in(room, vis, easy, COCO17.flip_index)
    there, _ = joints_in(room, vis, hard, COCO17.flip_index)
    heat, weight = t.losses.target(codec.encode(here, vis, (64, 48))[0], None, easy, hard)
    error = (codec.decode(heat)[0] - there).norm(dim=-1)
    far = ((here > 40) & (here < torch.tensor([150., 215.])) & (there > 40)
           & (there < torch.tensor([150., 215.]))).all(-1)
    assert far.sum() > 100 and error[far].max() < (2.2 if isinstance(codec, Gaussian) else .6), error[far].max()
    if codec.planes == 1: assert weight.tolist() == [0.] + [1.] * 16
    else:
        assert weight.shape == heat.shape and weight[:, 0::17].sum() == 0
        assert (weight[:, 1:17] == 1).all() and torch.equal(weight[:, 17:34], weight[:, 34:])
        assert torch.equal(weight[:, 18], heat[:, 1].clamp(0, 1))


def test_every_method_learns_offsets():
    "One batch of each method with three channels per joint: every network gets a gradient, unsupervised joints none"
    from semipose.methods import METHODS
    from semipose.nets.peers import build_peers
    from semipose.teaching import one_batch
    codec = UDP(1.5, 2, offset=True)
    g = torch.Generator().manual_seed(0)
    x = dict(labeled=torch.randint(0, 256, (2, 3, 96, 72), generator=g, dtype=torch.uint8),
             unlabeled=torch.randint(0, 256, (2, 3, 96, 72), generator=g, dtype=torch.uint8))
    y = dict(xy=torch.rand(2, 17, 2, generator=g) * 40 + 15, vis=torch.full((2, 17), 2))
    y["vis"][:, 0] = 0
    for name, method in METHODS.items():
        if method.every: method = method.paced(1)
        peers = build_peers("tiny", joints=51, n=method.nets, seed=0, net=dict(width=4), **method.copies).train()
        t = teaching(method, codec)
        t.step = 2
        _, labels, pred, loss = one_batch(t, peers, x, y)
        loss.backward()
        for net in peers.nets:
            last = [p for p in net.parameters() if p.shape[0] == 51][-1].grad
            assert last.isfinite().all() and (last[[1, 18, 35]] != 0).all(), name
            assert (last[[0, 17, 34]] == 0).all(), f"{name}: a joint that nobody supervises is taught"
        assert labels["target"].shape[1] == 51


# ---- gradients ----

@every_codec
def test_encoding_is_differentiable_in_the_joints(codec):
    "The slope of the heatmap is that of a small push"
    xy, vis = joints(codec, (24, 20), B=1, K=3)
    xy = xy.requires_grad_()
    g = torch.Generator().manual_seed(0)
    w = torch.rand(1, 3 * codec.planes, 24, 20, generator=g)
    loss = lambda p: (w * codec.encode(p, vis, (24, 20))[0]).sum()
    loss(xy).backward()
    if codec.planes == 3:
        return assert_close(xy.grad[0, 0, 0] * codec.unit((24, 20))[0] * codec.radius,
                            (w[0, 3] * codec.encode(xy, vis, (24, 20))[0][0, 0]).sum(),
                            rtol=1e-3, atol=0)
    push = torch.zeros_like(xy)
    push[0, 1, 1] = .05
    assert_close(xy.grad[0, 1, 1], (loss(xy + push) - loss(xy - push)) / .1, rtol=.02, atol=1e-3)


@pytest.mark.parametrize("codec", [DARK(), UDP(), UDP(offset=True)], ids=["dark", "udp", "offset"])
def test_decoding_is_differentiable_in_the_heatmap(codec):
    g = torch.Generator().manual_seed(0)
    xy, vis = joints(codec, (24, 20), B=1, K=3)
    heat = codec.encode(xy, vis, (24, 20))[0]
    heat = (heat + .02 * torch.rand(heat.shape, generator=g)).requires_grad_()
    codec.decode(heat)[0].sum().backward()
    assert heat.grad.isfinite().all()
    push = 1e-3 * torch.randn(heat.shape, generator=g)
    with torch.no_grad(): change = (codec.decode(heat + push)[0] - codec.decode(heat - push)[0]).sum() / 2
    assert_close((heat.grad * push).sum(), change, rtol=.05, atol=2e-4)
    flat = torch.zeros(1, 3 * codec.planes, 16, 12, requires_grad=True)
    codec.decode(flat)[0].sum().backward()
    assert flat.grad.isfinite().all(), "an empty map has a gradient, and it is a number"


# ---- names ----

def test_codecs_have_names():
    assert build_codec("rounded", 1.5, 2) == Gaussian(1.5, 2, rounded=True) and build_codec("gaussian") == Gaussian()
    assert build_codec("dark", 3.) == DARK(3.)
    assert build_codec("udp", stride=2) == UDP(stride=2) and build_codec("udp_offset") == UDP(offset=True)
    assert {build_codec(name).planes for name in CODECS} == {1, 3}
    with pytest.raises(UserError, match="'drak': choose one of gaussian, rounded, dark, udp, udp_offset"):
        build_codec("drak")


@pytest.mark.parametrize("name", CODECS)
def test_where_a_joint_is_does_not_depend_on_how_sure_the_network_is(name):
    "a heatmap a thousand times lower has its joints in the same places"
    codec = build_codec(name)
    xy = 20 + torch.rand(6, 17, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([150., 210.])
    heat, _ = codec.encode(xy, torch.ones(6, 17), (64, 48))
    low = heat.clone()
    low[:, :17] *= 1e-3  # the offsets of UDP are lengths, not heights
    (a, sure), (b, less) = codec.decode(heat), codec.decode(low)
    assert torch.allclose(a, b, atol=1e-2) and (less < sure / 500).all()
    assert_close(sure, response(codec, heat).amax((-1, -2)))  # a score is the height of the response, nothing else


# ---- as before, to the bit ----

def highest_before(heat):
    score, at = heat.flatten(-2).max(-1)
    return at % heat.shape[-1], at // heat.shape[-1], score


def quarter_before(heat, x, y):
    p, (H, W) = codecs.patches(heat, x, y, 1), heat.shape[-2:]
    step = torch.stack([p[..., 1, 2]-p[..., 1, 0], p[..., 2, 1]-p[..., 0, 1]], -1).sign().float()*.25
    return step*((x > 0) & (x < W-1) & (y > 0) & (y < H-1)).unsqueeze(-1)


def alike(a, b): return torch.equal(a.nan_to_num(nan=-7., posinf=9e9), b.nan_to_num(nan=-7., posinf=9e9))


@pytest.mark.parametrize('kind', ['rough', 'ties', 'nan', 'inf', 'channels_last', 'border', 'half'])
def test_numpy_s_highest_pixel_is_pytorch_s(kind):
    gen = torch.Generator().manual_seed(3)
    heat = torch.randn(3, 6, 16, 12, generator=gen)
    if kind == 'ties': heat = heat.round()
    if kind in ('nan', 'inf'): heat[torch.rand(heat.shape, generator=gen) < .03] = float(kind)
    if kind == 'channels_last': heat = heat.to(memory_format=torch.channels_last)
    if kind == 'border': heat[:, :, 0] += 9
    if kind == 'half': heat = heat.to(torch.bfloat16)
    x, y, score = highest_before(heat)
    for a, b in zip(codecs.argmax_px(heat), (x, y, score)): assert a.dtype == b.dtype and alike(a, b)
    xy, height = codecs.Gaussian().decode(heat)
    assert alike(xy, (torch.stack([x, y], -1).float()+quarter_before(heat, x, y))*4) and alike(height, score)


@pytest.mark.parametrize('kind', ['inside', 'far', 'on pixels', 'nan'])
def test_offsets_from_few_pixels_are_those_of_all(kind):
    gen, udp, size = torch.Generator().manual_seed(4), codecs.UDP(offset=True), (64, 48)
    xy, vis = torch.randn(5, 7, 2, generator=gen)*70+90, torch.randint(0, 3, (5, 7), generator=gen)
    if kind == 'far': xy = xy*1e6
    if kind == 'on pixels': xy = xy.round()*xy.new_tensor(udp.unit(size))
    if kind == 'nan': xy[0, 0, 0], vis[0, 0] = float('nan'), 2
    heat, weight = udp.encode(xy, vis, size)
    c = torch.where((vis > 0).unsqueeze(-1), xy/xy.new_tensor(udp.unit(size)), -9*udp.radius)
    full = codecs.around(size, c.requires_grad_(), udp.radius).detach()     # with a gradient: over whole maps
    assert alike(heat, full) and alike(weight, codecs.counts(udp, codecs.peaks(codecs.response(udp, full)), full))
