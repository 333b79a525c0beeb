"Laws of the drawings, read from the figure itself: what is drawn, where, and in which colour"
import io, subprocess, sys
import numpy as np, PIL.Image, pytest, torch
from matplotlib.colors import to_hex
from semipose.draw import COLORS, PALETTE, as_picture, draw_person, grid, heat_overlay, lighter, strip, upsample
from semipose.skeletons import COCO17, MPII16, waving

XY = torch.tensor(waving()) * 80


def dots(ax):
    "{(x, y): (rim, face or None)} of every joint in the picture"
    out = {}
    for c in ax.collections:
        if not hasattr(c, "get_sizes") or not len(c.get_offsets()): continue
        faces, rims = c.get_facecolors(), c.get_edgecolors()
        for i, p in enumerate(c.get_offsets()):
            face = to_hex(faces[i % len(faces)]).upper() if len(faces) else None
            out[tuple(np.round(p, 2).tolist())] = to_hex(rims[i % len(rims)]).upper(), face
    return out


def test_visible_is_filled_hidden_is_hollow_unknown_is_absent():
    vis = torch.full((17,), 2); vis[9] = 1; vis[10] = 0
    got = dots(draw_person(None, None, XY, vis))
    at = lambda k: tuple(np.round(XY[k].double().numpy(), 2).tolist())
    assert len(got) == 16 and at(10) not in got
    assert got[at(9)] == (COLORS["left"], None)
    for k, side in enumerate(COCO17.sides):
        if k not in (9, 10): assert got[at(k)] == ("#000000", COLORS[side])


def test_limbs_take_their_side_s_colour_and_stop_at_unknown_joints():
    vis = torch.full((17,), 2); vis[10] = 0
    ax = draw_person(None, None, XY, vis)
    color = max((c for c in ax.collections if not hasattr(c, "get_sizes")),
                key=lambda c: len(set(map(tuple, c.get_colors()))))
    limbs = [p for p in COCO17.limbs if 10 not in p]
    assert len(color.get_segments()) == len(limbs) == 18
    for (a, b), seg, c in zip(limbs, color.get_segments(), color.get_colors()):
        assert np.allclose(seg, XY[[a, b]], atol=1e-4)
        same = COCO17.sides[a] == COCO17.sides[b]
        assert to_hex(c).upper() == COLORS[COCO17.sides[a] if same else "middle"]


def luminance(h): return np.dot([int(h[i:i + 2], 16) / 255 for i in (1, 3, 5)], [.2126, .7152, .0722])


def test_sides_look_different_without_red_and_green():
    "Left and right differ in blue, which colour-blind people see, and neither disappears on white or black"
    l, r = COLORS["left"], COLORS["right"]
    assert int(l[5:], 16) - int(r[5:], 16) > 150
    assert all(.2 < luminance(c) < .95 for c in COLORS.values())


def test_a_picture_is_a_picture_whatever_its_wrapping():
    a = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    want = a / 255.
    t = torch.as_tensor(a).permute(2, 0, 1)
    from PIL import Image
    for p in (a, t, t.float() / 255, want, want.transpose(2, 0, 1), Image.fromarray(a)):
        assert np.allclose(as_picture(p), want, atol=1e-6)
    grey = as_picture(a[..., 0])
    assert grey.shape == (12, 9, 3) and np.allclose(grey, want[..., :1].repeat(3, -1), atol=1e-6)
    with pytest.raises(ValueError, match="shape"): as_picture(np.zeros((5, 12, 9)))


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_overlay_lies_where_the_heatmap_says(stride):
    "Heatmap pixel i lies at picture pixel stride*i: the brightest spot of the overlay is on the joint"
    heat = torch.zeros(3, 24 // stride, 32 // stride)
    heat[1, 8 // stride, 12 // stride] = 1
    over = heat_overlay(torch.full((3, 24, 32), .5), heat)
    assert over.shape == (24, 32, 3) and over.min() >= 0 and over.max() <= 1
    assert np.unravel_index(over.sum(-1).argmax(), (24, 32)) == (8, 12)
    assert upsample(heat[1], (24, 32)).sum() == pytest.approx(stride**2, rel=.01)


def test_overlay_dims_and_greys_where_nothing_is():
    image = torch.rand(3, 8, 8)
    over = heat_overlay(image, torch.zeros(2, 4, 4))
    assert np.allclose(over, over.mean(-1, keepdims=True)) and over.mean() < image.mean()


def test_higher_is_brighter():
    v = heat_overlay(None, torch.linspace(0, 1, 11)[None])
    assert (np.diff(v @ [.2126, .7152, .0722]) > 0).all()


def test_grid_shows_each_picture_once_in_order():
    pictures = [torch.full((3, 8, 6), v) for v in (0., .25, .5, .75, 1.)]
    fig = grid(pictures, ncol=3, titles="abcde")
    assert [ax.get_title() for ax in fig.axes] == list("abcde")
    assert [ax.images[0].get_array().mean() for ax in fig.axes] == pytest.approx([0., .25, .5, .75, 1.])
    boxes = [ax.get_position() for ax in fig.axes]
    assert boxes[0].x0 < boxes[1].x0 < boxes[2].x0 and boxes[3].y1 < boxes[0].y0 and boxes[3].x0 == boxes[0].x0
    for a in boxes:
        for b in boxes:
            assert a is b or a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0, "no picture covers another"
    assert fig._repr_png_()[:4] == b"\x89PNG"


def test_strip_has_one_map_per_joint():
    fig = strip(torch.rand(16, 8, 6), torch.rand(3, 32, 24), MPII16)
    assert [ax.get_title() for ax in fig.axes][:2] == ["r ankle", "r knee"] and len(fig.axes) == 16


def test_bad_shapes_are_errors():
    with pytest.raises(ValueError, match="images"): grid([])
    with pytest.raises(ValueError, match="coco17"): draw_person(None, None, torch.rand(16, 2))


def test_import_opens_nothing():
    code = "import sys, semipose.draw; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0, (
        "drawing must not start pyplot or pick a backend")


@pytest.mark.parametrize("colours", (256, 96))
def test_a_palette_keeps_the_colours_that_mean_something(colours):
    "Gold joints stay gold beside a field of more shades than the palette holds; the shades themselves stay near"
    y, x = np.mgrid[:120, :200]
    picture = np.stack([x, 2*y, 255 - x], -1).astype(np.uint8)
    rgb = {name: tuple(int(c[i:i+2], 16) for i in (1, 3, 5)) for name, c in PALETTE.items()}
    for i, c in enumerate(rgb.values()): picture[5*i:5*i + 3, 7:10] = c
    png = io.BytesIO()
    PIL.Image.fromarray(picture).save(png, "PNG")
    small = PIL.Image.open(io.BytesIO(lighter(png.getvalue(), colours=colours)))
    back = np.asarray(small.convert("RGB"))
    for i, (name, c) in enumerate(rgb.items()): assert (back[5*i:5*i + 3, 7:10] == c).all(), name
    assert small.mode == "P" and abs(back.astype(int) - picture).mean() < 16
