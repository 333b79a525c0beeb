"""The frame browser and the page of results on video: a still clip, a shift, a cut, the play button, the verdict."""
from dataclasses import replace

import numpy as np
import pytest
import torch

from semipose.data.core import CachedCrops, Crops
from semipose.data.moving import Filming, write_clips
from semipose.data.pairs import Film
from semipose.data.tracks import read_filmed
from semipose.frame_browser import FrameBrowser, clip_curve, flow_colours, frame_pair, partner
from semipose.ledger import example_entry
from semipose.video_results import CHOOSE, PARTNERS, best_row, jitter_ratio, rows_of

pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = write_clips(tmp_path_factory.mktemp("film") / "clips", 1, 0, length=8, filming=Filming(cut=0.),
                         progress=False)
    return read_filmed(folder / "person_keypoints_train.json")


def filmed(people, shift=(0, 0)):
    "The first frame again and again, moved by a shift from each to the next"
    n, steps = len(people), np.arange(len(people))[:, None]
    own = replace(people, xy=np.repeat(people.xy[:1], n, 0), vis=np.full_like(people.vis, 2),
                  box=np.repeat(people.box[:1], n, 0))
    crops = Crops(own, (64, 48)).cache(progress=False)
    scale = float(crops.M[0][0, 0])
    own.xy += (steps * np.array(shift) / scale)[:, None].astype(np.float32)
    image = torch.stack([torch.roll(crops.image[0], (k*shift[1], k*shift[0]), (1, 2)) for k in range(n)])
    return Film(CachedCrops(Crops(own, (64, 48)), image))


def test_a_still_clip_carries_everything_as_it_is(people):
    film = filmed(people)
    for gap in (1, 3):
        o = frame_pair(film, 2, gap)
        assert torch.allclose(o.heat[0], o.heat[1], atol=1e-3) and o.off.max() < 1e-2 and o.sure.min() > .99
        assert o.flow.abs().max() < .05 and o.trust[1:-1, 1:-1].min() > .99


def test_a_shift_is_followed_and_adds_up(people):
    film = filmed(people, (3, 0))
    inside = (frame_pair(film, 0, 1).xy[0, :, 0] > 15) & (frame_pair(film, 0, 1).xy[0, :, 0] < 50)
    for gap in (1, 2):
        o = frame_pair(film, 0, gap)
        went = (o.xy[1] - o.xy[0])[inside]
        assert torch.allclose(went.median(0).values, torch.tensor([3.*gap, 0.]), atol=.3), gap
        assert o.off[inside].median() < .3
    colour = flow_colours(o.flow)
    assert colour[40, 30, 0] > .95 and colour[40, 30, 1:].max() < .6, "to the right is red"


def test_who_is_not_in_the_next_frame_teaches_nobody(people):
    own = replace(people, scene=(people.frame >= 4).astype(np.int64))
    film = Film(Crops(own, (64, 48)).cache(progress=False))
    assert [partner(film, r, 1) for r in range(8)] == [1, 2, 3, None, 5, 6, 7, None]
    assert partner(film, 4, -1) is None and partner(film, 1, 2) == 3 and partner(film, 2, 2) is None
    c = clip_curve(film, 0, 2)
    assert c.taught.tolist() == [True, True, False, False, True, True, False, False]
    assert not c.sure[~c.taught].any() and np.isnan(c.off[~c.taught]).all()
    b = FrameBrowser(film, "nose")
    assert "the scene changes" in b.words(frame=3) and b.words(frame=7).endswith("nobody is taught.")
    before = b.image.value
    b.controls["play"].value = 3
    assert b.controls["frame"].value == 3 and b.image.value != before and "the scene changes" in b.sentence


def test_the_choice_waits_for_every_run():
    made = lambda m, s, gain: example_entry(m, s, gain, protocol="demo-video")
    names = [*PARTNERS, *dict.fromkeys(PARTNERS.values())]
    gain = dict(median_of_five=.1)
    every = [made(m, s, gain.get(m, 0.)) for m in names for s in CHOOSE]
    assert best_row(every) == "median_of_five"
    for lost in (0, 37, len(every) - 1): assert best_row(every[:lost] + every[lost+1:]) is None
    with_jitter = lambda e, j: replace(e, curve=[dict(r, jitter=j) for r in e.curve])
    a = [with_jitter(e, .5 + .1*e.seed) for e in rows_of(every, CHOOSE)["neighbour"]]
    b = [with_jitter(e, 1. + .2*e.seed) for e in rows_of(every, CHOOSE)["frames"]]
    ratio, low, high = jitter_ratio(a, b)
    assert abs(ratio - .5) < 1e-9 and abs(low - .5) < 1e-6 and abs(high - .5) < 1e-6
    assert jitter_ratio(rows_of(every, CHOOSE)["neighbour"], b) is None, "no jitter, no ratio"
