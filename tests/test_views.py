"""Laws of views: what moves a picture moves its joints and its heatmaps; what is hidden is hidden where the teacher
looked"""
import numpy as np, pytest, torch
from PIL import Image, ImageEnhance, ImageOps
from torch.testing import assert_close
from semipose import views
from semipose.codecs import Gaussian
from semipose.geometry import compose, invert, move, roomy
from semipose.skeletons import COCO17
from semipose.views import (A30, A60, A60_RELEASED, CM, CO, COLORS, JC, JO, MEAN, PLAIN, RA, SCALES,
                            Affine, Cutout, CutMix, Sample, JointCutout, JointOcclude, RandAugment,
                            View, Zoom, carry, covered, joints_in, plain, recolor, render)

SIZE = (64, 48)
FLIP = COCO17.flip_index

def gen(seed=0): return torch.Generator().manual_seed(seed)

def spots(xy, size=roomy(SIZE), sigma=1.6):
    "(B,2) one soft bright spot per picture, black elsewhere -> (B,3,H,W)"
    y, x = torch.meshgrid(torch.arange(size[0]).float(), torch.arange(size[1]).float(), indexing='ij')
    s = torch.exp(-((x - xy[:,0,None,None])**2 + (y - xy[:,1,None,None])**2)/(2*sigma**2))
    return s[:,None].expand(-1,3,-1,-1).contiguous()

def centre_of_mass(image):
    m = image.clamp(min=0); m = m/m.sum((-1,-2), keepdim=True)
    H, W = m.shape[-2:]
    return torch.stack([(m.sum(-2)*torch.arange(W)).sum(-1), (m.sum(-1)*torch.arange(H)).sum(-1)], -1)

def middle(n, seed=0):
    "Random points near the middle of the roomy crop, so that they stay inside every view"
    H, W = roomy(SIZE)
    return torch.tensor([W/2, H/2]) + 8*(torch.rand(n, 2, generator=gen(seed)) - .5)

def test_plain_view_is_a_slice():
    image = torch.randint(0, 255, (3, 3, *roomy(SIZE)), dtype=torch.uint8)
    assert_close(render(image, plain(3, SIZE), SIZE), image[:,:,16:80,12:60].float()/255, atol=1e-4, rtol=0)

@pytest.mark.parametrize('view', [A30, A30 >> A60], ids=str)
def test_picture_and_joints_move_alike(view):
    xy = middle(32)
    d = view.sample(plain(32, SIZE), SIZE, generator=gen(1))
    black = Sample(d.M, d.flip)
    # the fill outside cancels
    image = render(spots(xy), black, SIZE) - render(torch.zeros(32, 3, *roomy(SIZE)), black, SIZE)
    assert_close(centre_of_mass(image[:,0]), move(xy[:,None], d.M)[:,0], atol=.1, rtol=0)

def test_carried_heatmap_is_the_heatmap_of_the_other_view():
    "encode in the easy view, carry = encode in the hard view: to a fraction of a heatmap pixel, mirrored or not"
    codec, n = Gaussian(sigma=2, stride=2), 16
    xy = middle(n*17, 3).view(n, 17, 2); vis = torch.full((n, 17), 2)
    start = plain(n, SIZE)
    easy, other = A30.sample(start, SIZE, generator=gen(4)), A30.sample(start, SIZE, generator=gen(5))
    hard = A60.sample(easy, SIZE, generator=gen(6))
    assert (easy.flip ^ other.flip).any() and (~(easy.flip ^ other.flip)).any()
    heat, _ = codec.encode(*joints_in(xy, vis, easy, FLIP), (32, 24))
    for dst in (hard, other):
        got = carry(heat, easy, dst, 2, FLIP)
        want = joints_in(xy, vis, dst, FLIP)[0]
        assert_close(centre_of_mass(got)*2, want, atol=.35, rtol=0)

def test_carry_there_and_back_is_the_identity():
    codec = Gaussian(sigma=3, stride=2)
    xy = middle(8*17, 3).view(8, 17, 2)
    easy, hard = [A30.sample(plain(8, SIZE), SIZE, generator=gen(s)) for s in (1, 2)]
    heat, _ = codec.encode(*joints_in(xy, torch.full((8,17), 2), easy, FLIP), (32, 24))
    back = carry(carry(heat, easy, hard, 2, FLIP), hard, easy, 2, FLIP)
    assert_close(centre_of_mass(back), centre_of_mass(heat), atol=.15, rtol=0)

def test_affine_ranges_are_the_published_ones():
    n = 20_000
    d = Affine(30, p=.6, flip=.5)(Sample(torch.eye(3).expand(n,3,3), torch.zeros(n, dtype=torch.bool)),
                                  SIZE, generator=gen())
    sx = d.M[:,0,:2].norm(dim=-1)
    a = torch.rad2deg(torch.atan2(d.M[:,0,1], d.M[:,1,1]))
    assert sx.min() >= .75 - 1e-4 and sx.max() <= 1.25 + 1e-4
    assert a.abs().max() <= 60 + 1e-3 and a.abs().max() > 59
    assert abs((a.abs() > 1e-4).float().mean() - .6) < .02, 'turned with p = 0.6'
    assert abs(d.flip.float().mean() - .5) < .02
    hard = A60.sample(Sample(torch.eye(3).expand(n,3,3), torch.zeros(n, dtype=torch.bool)), SIZE, generator=gen())
    a = torch.rad2deg(torch.atan2(hard.M[:,0,1], hard.M[:,1,1]))
    assert a.abs().max() <= 60 + 1e-3 and a.abs().max() > 59, 'a second such affine'
    assert not hard.flip.any() and abs((a.abs() > 1e-4).float().mean() - .8) < .02

def test_views_are_rigid_in_pixels():
    "the released hard affine shears a crop that is not square; ours must not"
    d = A60.sample(plain(64, SIZE), SIZE, generator=gen(2))
    R = d.M[:,:2,:2]
    RtR = R.transpose(1,2) @ R
    assert_close(RtR[:,0,1], torch.zeros(64), atol=1e-4, rtol=0)
    assert_close(RtR[:,0,0], RtR[:,1,1], atol=1e-4, rtol=0)

def test_a_generator_repeats_a_view():
    a, b = [(A30 >> A60).sample(plain(8, SIZE), SIZE, generator=gen(9)) for _ in range(2)]
    assert torch.equal(a.M, b.M) and torch.equal(a.flip, b.flip)

# Joint Cutout

def cut(xy, weight, n=5, jitter=0., seed=0, size=SIZE):
    d = plain(len(xy), size)
    return JointCutout(n, jitter=jitter)(d, size, (xy, weight), gen(seed)), d

def test_cutout_hides_the_joints_it_chose_and_only_supervised_ones():
    "seven joints are supervised, far apart; five boxes without jitter: exactly five of the seven are hidden"
    xy = torch.stack([torch.linspace(14, 58, 17), torch.linspace(20, 76, 17)], -1).expand(6, 17, 2)
    weight = torch.zeros(17); weight[::3] = 1; weight[1] = 1
    d, base = cut(xy, weight, 5)
    box, frame = d.holes[0][:2]
    at = move(xy, frame)
    hits = ((box[:,:,None,:2] - at[:,None]).norm(dim=-1) < 1e-3)            # box b sits on joint k
    assert hits.any(2).all() and (hits.sum((1, 2)) == 5).all(), 'five different joints'
    assert not hits[:,:,weight == 0].any(), 'a joint that nothing supervises is never hidden'

def test_cutout_with_fewer_joints_than_boxes_hides_what_there_is():
    weight = torch.zeros(17); weight[:2] = 1
    xy = torch.rand(4, 17, 2, generator=gen())*20 + 30
    d, _ = cut(xy, weight, 5)
    box = d.holes[0].box
    assert ((box[...,2] > 0).sum(1) == 2).all()
    image = torch.ones(4, 3, *roomy(SIZE))
    alone, _ = cut(xy[:,:2], torch.ones(2), 2)
    assert ((render(image, d, SIZE)[:,0] < .99).flatten(1).sum(1) > 0).all()

def test_cutout_works_in_both_directions():
    """the released code swaps height and width, so nothing low in a tall crop is ever hidden; ours hides alike
    everywhere"""
    size = (256, 192)
    image = torch.ones(1, 3, *roomy(size))
    def hidden(x, y):
        joint = torch.tensor([[[x + 48., y + 64.]]])                         # roomy px
        d, _ = cut(joint, torch.ones(1), 1, size=size)
        return int((render(image, d, size)[0,0] < .99).sum())
    assert hidden(96, 100) == hidden(96, 225) == hidden(40, 128) > 400

def test_cutout_box_sizes_scale_with_the_crop():
    xy = torch.full((400, 5, 2), 50.)
    for size in ((64, 48), (256, 192)):
        box = cut(xy, torch.ones(5), size=size)[0].holes[0][0][...,2:]
        unit = size[0]/256
        assert box.min() >= 10*unit - 1e-4 and box.max() <= 19*unit + 1e-4 and box.max() - box.min() > 8*unit

def test_hidden_boxes_turn_with_the_picture():
    "cut, then turned: the hidden pixels of the hard view, moved back, lie in the box of the easy frame"
    xy = torch.full((8, 3, 2), 40.) + torch.tensor([[0., 0.], [5., 9.], [-6., 12.]])
    easy = plain(8, SIZE)
    hard = (JointCutout(3) >> A60).sample(easy, SIZE, (xy, torch.ones(3)), gen(3))
    box, frame = hard.holes[0][:2]
    mask = covered(box, compose(invert(hard.M), frame), SIZE)
    y, x = torch.meshgrid(torch.arange(64.), torch.arange(48.), indexing='ij')
    back = move(torch.stack([x, y], -1).view(1, -1, 2).expand(8, -1, -1), compose(invert(hard.M), easy.M))
    inside = ((back[:,:,None] - box[:,None,:,:2]).abs() <= box[:,None,:,2:]).all(-1).any(-1).view(8, 64, 48)
    assert torch.equal(mask, inside) and mask.any()
    assert (render(torch.ones(8, 3, *roomy(SIZE)), hard, SIZE)[:,0][mask] < .5).all()

def test_words_read_in_the_order_things_happen():
    v = JointCutout(5) >> A60
    assert v.needs_joints and not v.base and str(v) == 'JointCutout(5) >> A60'
    with pytest.raises(ValueError, match='starts from the plain crop'): A60 >> A30
    with pytest.raises(ValueError, match='joints that a teacher found'): v.sample(plain(2, SIZE), SIZE)
    assert isinstance(PLAIN, View)

# Affine, Zoom

def parts(M):
    "(B,3,3) rigid motions -> angle in degrees, size, mirrored"
    a, b, c, d = M[:,0,0], M[:,0,1], M[:,1,0], M[:,1,1]
    mirrored = a*d - b*c < 0
    return torch.atan2(b, torch.where(mirrored, d, a)).rad2deg(), (a*d - b*c).abs().sqrt(), mirrored

@pytest.mark.parametrize('view, deviation, p, flip', [(A30, 30, .6, .5), (A60, 30, .8, 0.)], ids=['A30', 'A60'])
def test_ranges_of_the_affine_are_the_published_ones(view, deviation, p, flip):
    n = 20000
    d = view.sample(plain(n, SIZE), SIZE, generator=gen(2))
    angle, size, mirrored = parts(d.M)
    assert torch.equal(mirrored, d.flip) and abs(float(mirrored.float().mean()) - flip) < .015
    assert abs(float((angle.abs() > 1e-3).float().mean()) - p) < .015 and abs(angle.abs().max() - 2*deviation) < .1
    within = angle[angle.abs() > 1e-3].abs()
    assert abs(float((within < deviation).float().mean()) - .6827) < .02 and abs(float(angle.mean())) < 1.5, (
        'normal, as often to the left as to the right')
    assert abs(size.min() - .75) < 1e-3 and abs(size.max() - 1.25) < 1e-3 and abs(float(size.median()) - 1) < .01
    assert abs(float(((size > .7501) & (size < 1.2499)).float().mean()) - .6827) < .02

def test_the_scales_of_data_distillation_are_fixed():
    for v, (s, f) in zip(SCALES, [(s, f) for s in (.9, .7, 1.1, 1.3) for f in (False, True)]):
        a, b = (v.sample(plain(2, SIZE), SIZE, generator=gen(i)) for i in (0, 1))
        assert torch.equal(a.M, b.M) and bool(a.flip.all()) == f == bool(a.flip.any())
        # the crop's centre, and 10 px to its right
        middle = torch.tensor([[[23.5 + 12, 31.5 + 16], [33.5 + 12, 31.5 + 16]]]).expand(2, -1, -1)
        assert_close(move(middle, a.M)[0], torch.tensor([[23.5, 31.5], [23.5 + (-10 if f else 10)*s, 31.5]]),
                     atol=1e-4, rtol=0)
    assert len(SCALES) == 8

# what released code did

def test_the_released_affine_is_rigid_in_a_square_only():
    d = A60_RELEASED.sample(plain(500, (256, 192)), (256, 192), generator=gen(0))
    right = A60.sample(plain(500, (256, 192)), (256, 192), generator=gen(0))
    D = torch.diag(torch.tensor([1/192, 1/256, 1.]))
    size = parts(right.M)[1]
    L, R = (D @ d.M @ torch.linalg.inv(D))[:,:2,:2]*size[:,None,None], right.M[:,:2,:2]/size[:,None,None]
    assert_close(L, R, atol=1e-4, rtol=1e-4)  # in normalised coordinates: the rotation that was meant
    assert d.released and not right.released
    # its size is the box's
    assert_close(parts(right.M)[1]*torch.linalg.det(d.M[:,:2,:2]).sqrt(), torch.ones(500), atol=1e-4, rtol=0)
    stretch = torch.linalg.svdvals(d.M[:,:2,:2]) * size[:,None]
    sixty = (parts(right.M)[0].abs() - 60).abs() < 2
    assert sixty.any() and ((stretch[sixty] - torch.tensor([1.28, .78])).abs() < .02).all()
    centre = torch.tensor([[[95.5 + 48, 127.5 + 64]]]).expand(500, 1, 2)
    assert_close(move(centre, d.M), torch.tensor([95.5, 127.5]).expand(500, 1, 2), atol=1e-3, rtol=0)
    square = [v.sample(plain(9, (64, 64)), (64, 64), generator=gen(0)).M[:,:2,:2] for v in (A60, A60_RELEASED)]
    assert_close(*(M/torch.linalg.det(M).sqrt()[:,None,None] for M in square), atol=1e-4, rtol=1e-4)

def test_released_heatmaps_turn_about_pixel_centres():
    "a bump carried into a released view lies where heatmap pixel i were at crop pixel 4i+1.5"
    n, codec, size = 64, Gaussian(sigma=2, stride=4), (256, 192)
    xy = torch.tensor([96., 128.]) + 80*(torch.rand(n, 1, 2, generator=gen(1)) - .5)
    easy = plain(n, size)
    for view, c in ((A60, 0.), (A60_RELEASED, 1.5)):
        hard = view.sample(easy, size, generator=gen(4))
        heat, _ = codec.encode(xy, torch.full((n, 1), 2), (64, 48))
        M = compose(invert(easy.M), hard.M)
        want = move(xy + c, M) - c
        inside = ((want > 26) & (want < torch.tensor([192., 256.]) - 30)).all(-1)[:,0]
        got = centre_of_mass(carry(heat, easy, hard, 4, (0,)))*4
        assert inside.sum() > 20
        assert_close(got[inside], want[inside], atol=.1, rtol=0)

def test_released_cutout_spares_what_is_low_in_a_tall_crop():
    "measured of the released code: 2,100 hidden px for a joint at row 100, 2 px at row 230"
    def hidden(row, released):
        at = torch.tensor([[[96. + 48, row + 64.]]]).expand(20, 24, 2)
        d = JointCutout(5, released=released)(plain(20, (256, 192)), (256, 192), (at, torch.ones(24)), gen(0))
        return float(covered(d.holes[0].box, torch.eye(3).expand(20, 3, 3), (256, 192)).sum())/20
    assert abs(hidden(100, True) - hidden(100, False)) < 200 and 1900 < hidden(100, True) < 2400
    assert hidden(230, True) < 20 and hidden(230, False) > 1900
    xy, weight = torch.arange(24.)[None,:,None].expand(200, 24, 2)*3 + 10, torch.zeros(24)
    weight[:17] = 1
    at = lambda released: ((JointCutout(5, 1., 2., 0., released)(plain(200, SIZE), SIZE, (xy, weight), gen(0)).holes[
        0].box[...,0] - 10 + 12)/3)
    known, any_ = at(False), at(True)
    assert known.max() < 16.6 and all(len(set(r.tolist())) == 5 for r in known.round())
    assert (any_ > 16.6).float().mean() > .1 and any(len(set(r.tolist())) < 5 for r in any_.round()), (
        'with replacement, from all channels')
    one = torch.tensor([60., 40.])     # 17 joints, all in one place: 7 of 24 channels point elsewhere
    boxes = JointCutout(5, 1., 1., 0., True, 24)(plain(2000, SIZE), SIZE, (one.expand(2000, 17, 2), torch.ones(17)),
                                                 gen(0)).holes[0].box[..., :2]
    away = (boxes - move(one.expand(2000, 1, 2), plain(2000, SIZE).M)).norm(dim=-1) > .5
    assert (abs(away.float().mean() - 7/24) < .02 and (boxes >= 0).all() and (boxes <= torch.tensor(SIZE[::-1])).all()
            and boxes[away].std(0).min() > 5)

def test_released_cutout_hides_a_joint_once_and_its_last_row():
    "a joint drawn twice is one box; a box cut off at the border hides the border's pixels in every draw"
    xy = torch.arange(24.)[None,:,None].expand(500, 24, 2)*1.5 + 20
    box = JointCutout(5, 1., 1., 0., 2)(plain(500, SIZE), SIZE, (xy, torch.ones(24)), gen(0)).holes[0].box
    seen = [(b[b[:, 2] > 0][:, 0]).round(decimals=2).tolist() for b in box]
    assert all(len(set(s)) == len(s) for s in seen), 'no joint twice'
    mean = sum(map(len, seen))/500
    assert abs(mean - 24*(1 - (23/24)**5)) < .05, 'as many as five draws of 24 leave different'
    size = 256, 192
    for at, rows, columns in (((96. + 48, 188. + 64), slice(191, 192), slice(60, 132)),
                              ((48. + 3, 100. + 64), slice(80, 120), slice(0, 1))):
        d = JointCutout(1, 15., 15., 2., 2)(plain(400, size), size,
                                            (torch.tensor([[at]]).expand(400, 1, 2), torch.ones(1)), gen(0))
        hit = covered(d.holes[0].box, torch.eye(3).expand(400, 3, 3), size)
        assert hit[:, rows, columns].flatten(1).any(1).all(), (rows, columns)
        assert not hit[:, 192:].any()


def test_released_or_not_the_other_rows_draw_what_they_drew():
    xy = torch.arange(24.)[None,:,None].expand(8, 24, 2)*4 + 20
    box = JointCutout(5)(plain(8, SIZE), SIZE, (xy, torch.ones(24)), gen(0)).holes[0].box
    assert abs(float(box.double().sum()) - 4595.7582) < 1e-3

# patches of other pictures

def numbered(n=5, size=SIZE):
    "Pictures whose every pixel says which picture it is (red) and where (green x, blue y), roomy px"
    H, W = roomy(size)
    y, x = torch.meshgrid(torch.arange(H)/H, torch.arange(W)/W, indexing='ij')
    return torch.stack([torch.stack([torch.full_like(x, i/n), x, y]) for i in range(n)])

@pytest.mark.parametrize('easy', [PLAIN, A30], ids=str)
def test_patches_land_on_the_joint_and_come_from_a_joint_of_another(easy):
    n, (H, W) = 5, roomy(SIZE)
    xy = torch.rand(n, 17, 2, generator=gen(3))*torch.tensor([30., 46.]) + torch.tensor([21., 25.])
    weight = torch.ones(17); weight[::2] = 0
    base = easy.sample(plain(n, SIZE), SIZE, generator=gen(6))
    base = JointOcclude(3)(base, SIZE, (xy, weight), gen(7))
    hole, image = base.holes[0], render(numbered(), base, SIZE)
    other, inframe = hole.other, move(xy, base.M)
    assert (other != torch.arange(n)[:,None]).all() and len(other.unique()) > 2
    seen = 0
    for b in range(n):
        for j in (2,):                                                          # the last patch: nothing lies over it
            to = hole.box[b,j,:2]
            k = (inframe[b] - to).norm(dim=-1).argmin()
            assert (inframe[b,k] - to).norm() < 1e-3 and weight[k] > 0, 'pasted on a joint of this picture'
            o = other[b,j]
            gaps = (inframe[o] - (to - hole.shift[b,j])).norm(dim=-1)
            assert gaps.min() < 1e-3 and weight[gaps.argmin()] > 0, 'cut around a joint of the other picture'
            u, v = to.round().long().tolist()
            if 0 <= u < 48 and 0 <= v < 64 and (torch.tensor([u, v]) - to).abs().max() < hole.box[b,j,2:].min():
                i, x, y = image[b,:,v,u].tolist()
                back = move((torch.tensor([u, v]) - hole.shift[b,j])[None,None], invert(base.M[o:o+1]))[0,0]
                assert abs(i - o/n) < 1e-3, 'the pixels are the other picture'
                assert abs(x*W - back[0]) < .1 and abs(y*H - back[1]) < .1, 'from where its joint is'
                seen += 1
    assert seen >= 3

def test_patches_turn_with_the_hard_view_and_hide_nothing_else():
    xy = torch.rand(5, 17, 2, generator=gen(3))*30 + 25
    easy = plain(5, SIZE)
    d = (JointOcclude(2) >> A60).sample(easy, SIZE, (xy, torch.ones(17)), gen(2))
    bare = render(numbered(), Sample(d.M, d.flip), SIZE)
    full = render(numbered(), d, SIZE)
    hit = covered(d.holes[0].box, compose(invert(d.M), d.holes[0].frame), SIZE)
    assert torch.equal(full.movedim(1,-1)[~hit], bare.movedim(1,-1)[~hit]) and hit.any()
    last = covered(d.holes[0].box[:,1:], compose(invert(d.M), d.holes[0].frame), SIZE)
    for b in range(5):
        red = full[b,0][last[b]]
        # the rest lay outside the other picture
        assert ((red - d.holes[0].other[b,1]/5).abs() < 1e-3).float().mean() > .8 if len(red) else True

def test_released_patches_miss():
    xy = torch.tensor([[20., 30.]]).expand(4, 1, 2) + torch.tensor([12., 16.])     # crop (20, 30)
    at = lambda released: JointOcclude(1, released=released)(plain(4, SIZE), SIZE, (xy, torch.ones(1)), gen(0)).holes[
        0].box[:,0,:2]
    assert_close(at(False), torch.tensor([20., 30.]).expand(4, 2)); assert_close(
        at(True), torch.tensor([30., 20.]).expand(4, 2))

def test_who_has_no_joint_gets_and_gives_no_patch():
    weight = torch.ones(3, 17); weight[1] = 0
    d = JointOcclude(2)(plain(3, SIZE), SIZE, (torch.full((3, 17, 2), 40.), weight), gen(0)).holes[0]
    empty = (d.box[...,2:] < 0).all(-1)
    assert empty[1].all() and torch.equal(empty[[0, 2]], d.other[[0, 2]] == 1)

def test_alone_in_a_batch_a_picture_borrows_from_itself():
    d = CutMix(2)(plain(1, SIZE), SIZE, generator=gen(0))
    assert (d.holes[0].other == 0).all()

def test_cutmix_keeps_the_place_and_cutout_hides_anywhere():
    d = CutMix(2)(plain(5, SIZE), SIZE, generator=gen(5))
    image, clean = (render(numbered(), o, SIZE) for o in (d, plain(5, SIZE)))
    hit = covered(d.holes[0].box, torch.eye(3).expand(5, 3, 3), SIZE)
    assert (image[:,1:] - clean[:,1:]).abs().max() < 1e-5, 'green and blue say where: the same place'
    assert ((image[:,0] - clean[:,0]).abs() > .1).equal(hit) and hit.any()
    box = Cutout(5)(plain(2000, SIZE), SIZE, generator=gen(0)).holes[0].box
    for c, n in ((0, 48), (1, 64)):
        assert abs(float(box[...,c].mean()) - n/2) < 1 and box[...,c].min() < .5 and box[...,c].max() > n - .5
    assert box[...,2:].min() >= 2.5 - 1e-4 and box[...,2:].max() <= 4.75 + 1e-4

def test_later_steps_lie_over_earlier_ones():
    xy = torch.full((4, 17, 2), 40.)
    for first, second in ((JO, CO), (JC, CM)):
        d = (first >> second).sample(plain(4, SIZE), SIZE, (xy, torch.ones(17)), gen(0))
        assert [h.box.shape[1] for h in d.holes] == [{JO: 2, JC: 5}[first], {CO: 5, CM: 2}[second]]
        over = covered(d.holes[1].box, torch.eye(3).expand(4, 3, 3), SIZE)
        alone = render(numbered(4), Sample(d.M, d.flip, d.holes[1:]), SIZE)
        assert torch.equal(render(numbered(4), d, SIZE).movedim(1,-1)[over], alone.movedim(1,-1)[over])

# RandAugment

def noise(n, size=(40, 30)): return torch.randint(0, 256, (n, 3, *size), dtype=torch.uint8, generator=gen(n))

def by_pillow(picture, k, v):
    "One colour change of one picture, by the library that the published code used"
    f = 1 + .9*v
    def add(p):
        return ImageOps.solarize(Image.fromarray(np.clip(np.asarray(p).astype(int) + int(110*abs(v)),
                                                         0, 255).astype(np.uint8)), 128)
    change = (ImageOps.autocontrast, ImageOps.equalize, ImageOps.invert,
              lambda p: ImageOps.posterize(p, max(2, 6 - int(4*abs(v)))),
              lambda p: ImageOps.solarize(p, 256 - 256*abs(v)), add,
              *(lambda p, E=E: E(p).enhance(f) for E in (ImageEnhance.Color, ImageEnhance.Contrast,
                                                         ImageEnhance.Brightness, ImageEnhance.Sharpness)))[k]
    return torch.from_numpy(np.asarray(change(Image.fromarray(picture.permute(1, 2, 0).numpy()))).astype(
        np.int64)).permute(2, 0, 1)

@pytest.mark.parametrize('k', range(len(COLORS)), ids=lambda k: COLORS[k].__name__)
def test_colours_are_pillows(k):
    """pictures of different contrast and colour in one batch, each at its own strength: within one step of 255 of
    Pillow, one picture at a time"""
    x = noise(6)
    x[1] = x[1]//4 + 60; x[2,0] = 17; x[3] = 99; x[4] = (x[4].float()**2/255).byte(); x[5] = x[5,:1]
    v = torch.tensor([2/3, -2/3, 1/3, -1., .9, -.1])
    got = recolor(x, ((torch.full((6,), k), v),)).long()
    for b in range(6): assert (got[b] - by_pillow(x[b], k, float(v[b]))).abs().max() <= 1, (b, float(v[b]))
    assert got.ne(x.long()).any() and len(COLORS) == 10

def test_colours_follow_one_another_and_leave_others_alone():
    x = noise(4)
    which, v = torch.tensor([2, 6, len(COLORS), 4]), torch.full((4,), 2/3)
    once = recolor(x, ((which, v),))
    assert torch.equal(once[2], x[2]), 'the eleventh choice is a hole, no colour'
    for b in (0, 1, 3): assert torch.equal(once[b:b+1], recolor(x[b:b+1], ((which[b:b+1], v[b:b+1]),)))
    second = torch.tensor([6, 2, 7, 1])
    twice = recolor(x, ((which, v), (second, -v)))
    assert (torch.equal(twice, recolor(once, ((second, -v),)))
            and not torch.equal(twice, recolor(recolor(x, ((second, -v),)), ((which, v),))))
    assert torch.equal(recolor(x.float()/255, ((which, v),)), once) and torch.equal(x, noise(4)), (
        'the batch itself is not written to')

def test_randaugment_draws_per_picture_with_replacement_and_sign():
    n, H = 20000, 256
    d = RandAugment(2, 20)(plain(n, (256, 192)), (256, 192), generator=gen(0))
    (a, va), (b, vb) = d.colors
    counts = torch.bincount(torch.cat([a, b]), minlength=11)/(2*n)
    assert ((counts - 1/11).abs() < .006).all() and abs(float((a == b).float().mean()) - 1/11) < .01
    for v in (va, vb): assert_close(v.abs(),
                                    torch.full_like(v, 2/3)); assert abs(float((v > 0).float().mean()) - .5) < .015
    half, hole = d.holes[0].box[...,2:], torch.stack([a, b], 1) == 10
    assert_close(half[hole], torch.full_like(half[hole], 80*20/30/2)); assert (half[~hole] < 0).all()
    assert abs(float(d.holes[0].box[...,0].mean()) - 96) < 1 and abs(float(d.holes[0].box[...,1].mean()) - 128) < 1
    small = RandAugment(2, 20)(plain(n, SIZE), SIZE, generator=gen(0)).holes[0].box[...,2]
    assert abs(float(small.max()) - 80*20/30/2*SIZE[0]/H) < 1e-4

def test_what_is_outside_and_hidden_keeps_the_mean_colour():
    "colours change before the warp: an inverted picture is not surrounded by an inverted fill"
    d = Zoom(.5)(plain(8, SIZE), SIZE)
    white = torch.full((8, 3, *roomy(SIZE)), 255, dtype=torch.uint8)
    image = render(white, Sample(d.M, d.flip, colors=((torch.full((8,), 2), torch.ones(8)),)), SIZE)
    assert image[:,:,30:34,22:26].abs().max() < 1e-6
    clean = render(white, d, SIZE)
    outside = (clean - torch.tensor(MEAN).view(3,1,1)).abs().amax(1) < 1e-6
    assert outside.any() and (image - torch.tensor(MEAN).view(3,1,1)).abs().amax(1)[outside].max() < 1e-6
    v = (RA >> A60).sample(plain(64, SIZE), SIZE, generator=gen(3))
    hole = torch.stack([w for w, _ in v.colors], 1) == 10
    hit = covered(v.holes[0].box, compose(invert(v.M), v.holes[0].frame), SIZE)
    assert hit.any() and not hit.flatten(1).any(1)[~hole.any(1)].any(), 'a hole where one was drawn and nowhere else'
    assert_close(render(noise(64, roomy(SIZE)), v, SIZE).movedim(1,-1)[hit],
                 torch.tensor(MEAN).expand(int(hit.sum()), 3))


@pytest.mark.parametrize("people", [1, 8, 9, 30])
@pytest.mark.parametrize("name", ["A30", "JC >> A60", "RA >> A60", "JO >> A60", "CM >> A60"])
def test_a_few_people_at_a_time_are_the_pictures_of_all_at_once(name, people, monkeypatch):
    "To the bit, with colours, holes and pieces of others; and the picture that views share stays as it was"
    g, size = torch.Generator().manual_seed(5), (48, 32)
    image = torch.randint(0, 256, (people, 3, *roomy(size)), dtype=torch.uint8, generator=g)
    view = eval(name, vars(views))
    draw = view.sample(views.plain(people, size), size, (torch.rand(people, 17, 2, generator=g)*32, torch.ones(17)), g)
    shared = views.Renderer(image)
    got = [shared(draw, size), shared(draw, size)]
    monkeypatch.setattr(views, "AT_ONCE", 10**6)
    want = views.render(image, draw, size)
    assert torch.equal(got[0], want) and torch.equal(got[1], want)
