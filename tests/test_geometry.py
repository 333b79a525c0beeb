"Laws of motion: joints, pictures and heatmaps of any stride move alike; there and back again; nothing bends"
import pytest, torch
from torch.testing import assert_close
from semipose.geometry import (affine, at_stride, compose, crop_matrix, flip_joints, invert, move, roomy, translate,
                               warp, window)
from semipose.skeletons import COCO17

SIZES = [(256, 192), (96, 72), (192, 256)]


def spots(xy, size, stride, sigma=2.):
    "(B,K,h,w): a bump per point, on a grid of that stride; sigma in heatmap px"
    y, x = (torch.arange(n // stride) * stride for n in size)
    return torch.exp(-((x - xy[..., 0, None, None])**2
                       + (y[:, None] - xy[..., 1, None, None])**2) / (2 * (sigma * stride)**2))


def center_of_mass(heat):
    y, x = (torch.arange(n, dtype=heat.dtype) for n in heat.shape[-2:])
    return torch.stack([(heat * x).sum((-2, -1)), (heat * y[:, None]).sum((-2, -1))],
                       -1) / heat.sum((-2, -1))[..., None]


def random_views(B, size, seed=0, flip=True):
    g = torch.Generator().manual_seed(seed)
    r = lambda *s: torch.rand(*s, generator=g)
    return affine(size, r(B) * 120 - 60, .75 + .5 * r(B), (r(B) > .5) if flip else False, r(B, 2) * 10 - 5)


def middle_points(B, K, size, seed=1):
    "Points near the middle, whose bumps no view can push over the border"
    H, W = size
    return (torch.rand(B, K, 2, generator=torch.Generator().manual_seed(seed)) * torch.tensor([W, H]) * .2
            + torch.tensor([W, H]) * .4)


@pytest.mark.parametrize("stride, tol", [(1, .05), (2, .1), (4, .2)])
def test_picture_and_heatmap_move_alike(stride, tol):
    size = (256, 192)
    xy, M = middle_points(8, 5, size), random_views(8, size)
    heat = warp(spots(xy, size, stride), M, stride=stride)
    assert_close(center_of_mass(heat) * stride, move(xy, M), atol=tol, rtol=0)  # crop px


def test_warp_from_roomy_to_crop_is_one_motion():
    size = (96, 72)
    xy = middle_points(6, 4, roomy(size))
    M = compose(window(size), random_views(6, size))
    out = warp(spots(xy, roomy(size), 1), M, size)
    assert out.shape[-2:] == size
    assert_close(center_of_mass(out), move(xy, M), atol=.05, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_there_and_back(size):
    M, xy = random_views(16, size), torch.rand(16, 17, 2) * 250
    assert_close(move(move(xy, M), invert(M)), xy, atol=1e-3, rtol=0)
    assert_close(compose(M, invert(M)), torch.eye(3).expand(16, 3, 3), atol=1e-4, rtol=0)
    assert_close(invert(M.double()), torch.linalg.inv(M.double()))


def test_a_picture_warped_there_and_back_returns():
    size = (96, 72)
    smooth = spots(middle_points(4, 3, size), size, 1, sigma=4.)
    M = affine(size, torch.tensor([10., -25., 40., 60.]), torch.tensor([1., 1.2, .9, 1.1]),
               torch.tensor([True, False, True, False]))
    assert (warp(warp(smooth, M), invert(M)) - smooth).abs().max() < .03


def test_whole_pixels_are_not_resampled():
    x = torch.rand(2, 3, 20, 30)
    assert_close(warp(x, torch.eye(3)[None]), x, atol=1e-5, rtol=0)
    moved = warp(x, translate(3, -2))
    assert_close(moved[:, :, :18, 3:], x[:, :, 2:, :27], atol=1e-5, rtol=0)
    assert moved[:, :, 18:].max() < 1e-5 and moved[:, :, :, :3].max() < 1e-5


@pytest.mark.parametrize("size", [(64, 48), (96, 72), (256, 192), (50, 37)])
def test_plain_view_is_a_slice(size):
    (H, W), (Hr, Wr) = size, roomy(size)
    assert (Hr, Wr) == (H + 2 * round(H / 4), W + 2 * round(W / 4))
    x = torch.rand(1, 3, Hr, Wr)
    top, left = round(H / 4), round(W / 4)
    assert_close(warp(x, window(size), size), x[:, :, top:top + H, left:left + W], atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_flip_is_exact_and_undone_by_itself(size):
    H, W = size
    F = affine(size, flip=True)
    x, xy = torch.rand(1, 2, H, W), torch.rand(1, 17, 2) * 100
    assert_close(compose(F, F), torch.eye(3)[None], atol=1e-6, rtol=0)
    assert_close(move(xy, F)[..., 0], W - 1 - xy[..., 0], atol=1e-4, rtol=0)
    assert_close(warp(x, F), x.flip(-1), atol=1e-4, rtol=0)


def test_flip_of_a_heatmap_is_the_picture_s_flip():
    "At stride s, x -> W-1-x is no whole pixel of the heatmap; the matrix knows, `.flip(-1)` does not"
    size = (64, 48)
    xy = torch.tensor([[[20., 30.]]])
    F = affine(size, flip=True)
    heat = spots(xy, size, 4, sigma=1.)
    assert_close(center_of_mass(warp(heat, F, stride=4)) * 4, move(xy, F), atol=.02, rtol=0)
    assert (center_of_mass(heat.flip(-1)) * 4 - move(xy, F)).abs().max() > 2.9, "the short cut is three crop pixels off"


@pytest.mark.parametrize("size", SIZES)
def test_turning_is_rigid_in_pixels(size):
    angle, scale = torch.tensor([60., -35., 90.]), torch.tensor([1., .8, 1.25])
    for flip in (False, True):
        A = affine(size, angle, scale, torch.tensor([flip] * 3))[:, :2, :2]
        assert_close(A @ A.mT, (scale**2)[:, None, None] * torch.eye(2), atol=1e-5, rtol=0)


def test_affine_order_center_and_sense():
    size = (100, 60)
    mid = torch.tensor([[[29.5, 49.5]]])
    assert_close(move(mid, affine(size, 33., 1.2, True)), mid, atol=1e-4, rtol=0)
    assert_close(move(mid, affine(size, shift=torch.tensor([3., -4.]))), mid + torch.tensor([3., -4.]))
    right = mid + torch.tensor([10., 0.])
    up = mid + torch.tensor([0., -10.])
    assert_close(move(right, affine(size, 90.)), up, atol=1e-4, rtol=0)  # counter-clockwise as seen, y points down
    parts = compose(affine(size, flip=True), affine(size, 25., .9), affine(size, shift=torch.tensor([5., 2.])))
    assert_close(parts, affine(size, 25., .9, True, torch.tensor([5., 2.])), atol=1e-4, rtol=1e-5)


def test_affine_broadcasts_numbers_and_batches():
    size = (64, 48)
    one = affine(size, torch.tensor([10., 20.]), .9, torch.tensor([True, False]), torch.tensor([1., 2.]))
    each = torch.cat([affine(size, 10., .9, True, torch.tensor([1., 2.])),
                      affine(size, 20., .9, False, torch.tensor([[1., 2.]]))])
    assert_close(one, each)


def test_compose_reads_from_left_to_right():
    A, B, xy = translate(10, 0), torch.diag(torch.tensor([2., 2., 1.]))[None], torch.tensor([[[1., 1.]]])
    assert move(xy, compose(A, B)).tolist() == [[[22., 2.]]]
    C = random_views(3, (64, 48))
    assert_close(compose(C, A, B), B @ A @ C)
    assert_close(move(xy.expand(3, 1, 2), compose(C, A)), move(move(xy.expand(3, 1, 2), C), A))


def test_at_stride_is_a_change_of_units():
    M, xy = random_views(4, (64, 48)), torch.rand(4, 17, 2) * 50
    assert_close(move(xy / 4, at_stride(M, 4)) * 4, move(xy, M), atol=1e-4, rtol=0)
    before = M.clone()
    at_stride(M, 4)
    assert torch.equal(M, before), "the matrix passed in is left alone"


@pytest.mark.parametrize("box", [(10., 20., 50., 200.), (10., 20., 300., 40.), (0., 0., 75., 100.)])
def test_crop_holds_the_padded_box(box):
    H, W = size = (256, 192)
    M = crop_matrix(torch.tensor([box]), size)
    x, y, w, h = box
    corners = move(torch.tensor([[[x, y], [x + w, y + h], [x + w / 2, y + h / 2]]]), M)[0]
    assert_close(corners[2], torch.tensor([W / 2, H / 2]))
    # the tighter side fills it
    assert_close(torch.tensor(1.25) * (corners[1] - corners[0]).div(torch.tensor([W, H])).max(), torch.tensor(1.))
    assert torch.equal(M[:, 0, 0], M[:, 1, 1]) and M[0, 0, 1] == M[0, 1, 0] == 0, "nothing is stretched or turned"


def test_fill_is_what_lies_outside():
    x = torch.rand(2, 3, 10, 10)
    out = warp(x, translate(4, 0), fill=torch.tensor([.1, .5, .9]))
    assert_close(out[:, :, :, :4], torch.tensor([.1, .5, .9]).view(1, 3, 1, 1).expand(2, 3, 10, 4))
    assert_close(out[:, :, :, 4:], x[:, :, :, :6], atol=1e-5, rtol=0)
    flat = torch.full((1, 3, 10, 10), .3)
    assert_close(warp(flat, affine((10, 10), 30.), fill=.3), flat, atol=1e-6, rtol=0)


def test_one_picture_many_views_and_many_pictures_one_view():
    x, M = torch.rand(4, 2, 16, 12), random_views(4, (16, 12))
    assert_close(warp(x[:1], M)[2], warp(x[:1], M[2:3])[0], atol=1e-5, rtol=0)
    assert_close(warp(x, M[:1])[3], warp(x[3:], M[:1])[0], atol=1e-5, rtol=0)


def test_float32_even_under_autocast():
    x, M, xy = torch.rand(2, 3, 96, 72), random_views(2, (96, 72)), torch.rand(2, 17, 2) * 90
    plain = warp(x, M), compose(M, M), move(xy, M), invert(M)
    with torch.autocast("cpu", torch.bfloat16):
        cast = warp(x, M), compose(M, M), move(xy, M), invert(M)
    for a, b in zip(plain, cast): assert b.dtype == torch.float32 and torch.equal(a, b)
    assert warp(x.bfloat16(), M).dtype == torch.float32


def test_gradient_reaches_the_picture():
    x = torch.rand(1, 1, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: warp(t, affine((6, 5), 20., .9).double(), fill=.5), x)
    heat = torch.rand(1, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: warp(t, affine((24, 20), 20., flip=True).double(), stride=4), heat)


def test_whole_numbers_are_refused():
    with pytest.raises(ValueError, match="float"): warp(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.eye(3)[None])


@pytest.mark.parametrize("shape", [(4, 17), (4, 17, 2), (4, 17, 8, 6)])
def test_flip_joints_is_an_involution_on_the_flipped(shape):
    x, flipped, f = torch.rand(shape), torch.tensor([True, False, True, False]), COCO17.flip_index
    once = flip_joints(x, flipped, f)
    assert torch.equal(flip_joints(once, flipped, f), x)
    assert torch.equal(once[1::2], x[1::2]), "items that were not mirrored stay"
    assert torch.equal(once[0, 9], x[0, 10]) and torch.equal(once[0, 0], x[0, 0]), "wrists swap, the nose stays"
