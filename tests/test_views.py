"Laws of views: what moves a picture moves its joints and its heatmaps; what is hidden is hidden where the teacher looked"
import pytest, torch
from torch.testing import assert_close
from semipose.codecs import Gaussian
from semipose.geometry import compose, invert, move, roomy
from semipose.skeletons import COCO17
from semipose.views import A30, A60, PLAIN, Affine, Draw, JointCutout, View, carry, covered, joints_in, plain, render

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
    black = Draw(d.M, d.flip)
    image = render(spots(xy), black, SIZE) - render(torch.zeros(32, 3, *roomy(SIZE)), black, SIZE)   # the fill outside cancels
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
    d = Affine(30, p=.6, flip=.5)(Draw(torch.eye(3).expand(n,3,3), torch.zeros(n, dtype=torch.bool)), SIZE, generator=gen())
    sx = d.M[:,0,:2].norm(dim=-1)
    a = torch.rad2deg(torch.atan2(d.M[:,0,1], d.M[:,1,1]))
    assert sx.min() >= .75 - 1e-4 and sx.max() <= 1.25 + 1e-4
    assert a.abs().max() <= 60 + 1e-3 and a.abs().max() > 59
    assert abs((a.abs() > 1e-4).float().mean() - .6) < .02, 'turned with p = 0.6'
    assert abs(d.flip.float().mean() - .5) < .02
    hard = Affine(60, p=.8)(Draw(torch.eye(3).expand(n,3,3), torch.zeros(n, dtype=torch.bool)), SIZE, generator=gen())
    a = torch.rad2deg(torch.atan2(hard.M[:,0,1], hard.M[:,1,1]))
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
    "the released code swaps height and width, so nothing low in a tall crop is ever hidden; ours hides alike everywhere"
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
