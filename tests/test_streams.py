"""Laws of splits and streams: a batch depends on its number and the seed alone; an epoch meets everybody once."""
import numpy as np
import pytest
import torch
from PIL import Image

from semipose.data.core import Crops, People
from semipose.data.streams import Split, Streams, split_first, split_seeded, walk
from semipose.errors import UserError
from semipose.skeletons import COCO17, LSP14


def folk(folder, n, skeleton=COCO17, seed=0):
    "n people whose crop has one colour, (id, id, id): a batch shows who is in it"
    rng, K = np.random.default_rng(seed), len(skeleton)
    for i in range(n):
        Image.new("RGB", (20, 20), (i, i, i)).save(folder / f"{i}.png")
    return People(skeleton, folder, [f"{i}.png" for i in range(n)], np.arange(n), np.arange(n),
                  rng.permutation(n) + 1000,
                  np.tile(np.float32([8, 8, 3, 4]), (n, 1)), rng.uniform(5, 10, (n, K, 2)).astype(np.float32),
                  np.full((n, K), 2, np.uint8), np.ones(n, np.float32), np.zeros(n, bool))


@pytest.fixture
def people(tmp_path):
    return folk(tmp_path, 30)


@pytest.fixture
def crops(people):
    return Crops(people, (16, 12)).cache(progress=False)


def streams(crops, **kw):
    return Streams(crops.subset(np.arange(7)), crops, **(dict(batch=(4, 8), steps=12, seed=3) | kw))


def flat(b):
    return [b[0]["labeled"], b[0]["unlabeled"], b[1]["xy"], b[1]["vis"]]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(flat(a), flat(b)))


def test_a_batch_depends_on_seed_and_number_alone(crops):
    s = streams(crops)
    unbroken = list(s)
    assert len(unbroken) == len(s) == 12
    for step in (11, 0, 5, 5):  # any order, again, and from an object that has seen nothing
        assert same(s.at(step), unbroken[step]) and same(streams(crops).at(step), unbroken[step])
    assert not same(streams(crops, seed=4).at(0), unbroken[0])
    assert not same(unbroken[0], unbroken[1])


def test_a_run_taken_up_again_equals_an_unbroken_one(crops):
    unbroken, rest = list(streams(crops)), streams(crops).from_step(5)
    resumed = list(rest)
    assert len(rest) == len(resumed) == 7 and all(same(a, b) for a, b in zip(unbroken[5:], resumed))


def test_joints_belong_to_their_picture(crops):
    x, y = streams(crops).at(2)
    # the crop's middle: its colour is its row
    who = x["labeled"][:, 0].amax((1, 2)).long() if False else x["labeled"][:, 0, 12, 9].long()
    assert torch.equal(y["xy"], crops.xy[who]) and torch.equal(y["vis"], crops.vis[who]) and (who < 7).all()


@pytest.mark.parametrize("n, batch", [(30, 8), (7, 4), (5, 12), (1, 3), (6, 6)])
def test_an_epoch_meets_everybody_once(n, batch):
    steps = 3 * n // batch + 3
    visits = np.concatenate([walk(n, batch, s, seed=1) for s in range(steps)])
    for e in range(3):
        assert sorted(visits[e * n : (e + 1) * n]) == list(range(n))
    if n > 4:
        assert not np.array_equal(visits[:n], visits[n : 2 * n]) and not np.array_equal(visits[:n], np.arange(n))


def test_the_two_streams_are_shuffled_apart():
    assert not np.array_equal(walk(30, 30, 0, 1, stream=0), walk(30, 30, 0, 1, stream=1))


def test_batch_sizes_of_both_streams_are_free(crops):
    x, _ = streams(crops, batch=(20, 3)).at(0)  # more labelled ones per step than there are
    assert x["labeled"].shape[0] == 20 and x["unlabeled"].shape[0] == 3
    assert "unlabeled" not in streams(crops, batch=(4, 0)).at(0)[0]
    assert "unlabeled" not in Streams(crops, None, batch=(4, 8), steps=2).at(1)[0]
    # the labelled stream does not depend on what goes beside it
    assert torch.equal(streams(crops, batch=(4, 1)).at(3)[0]["labeled"], streams(crops).at(3)[0]["labeled"])


def test_workers_and_memory_change_nothing(people, crops):
    bare = Crops(people, (16, 12))
    kw = dict(batch=(4, 8), steps=9, seed=3)
    expected = list(streams(crops, **kw))
    mixed = Streams(bare.subset(np.arange(7)), bare, num_workers=2, **kw)
    before = torch.get_rng_state()
    got = list(mixed)
    assert torch.equal(torch.get_rng_state(), before), "reading ahead draws from nobody else's chance"
    assert len(got) == 9 and all(same(a, b) for a, b in zip(expected, got))
    assert isinstance(got[0], tuple)
    assert all(same(a, b) for a, b in zip(expected[6:], mixed.from_step(6)))


def test_spawned_processes_read_the_same(people, crops):
    "As on macOS and Windows: everything that a stream holds can be sent to a new interpreter"
    bare = Crops(people, (16, 12))
    kw = dict(batch=(4, 8), steps=3, seed=3, taught=True)
    spawned = Streams(bare.subset(np.arange(7)), bare, num_workers=1, processes="spawn", **kw).share(1, 2)
    expected = list(streams(crops, **kw).share(1, 2))
    assert len(expected) == 3 and all(same(a, b) for a, b in zip(expected, spawned, strict=True))


@pytest.mark.parametrize("world", [2, 4])
def test_a_rank_reads_its_own_people_alone(people, world, monkeypatch):
    whole = Streams(Crops(people, (16, 12)), Crops(people, (16, 12)), (4, 8), 9, seed=3, taught=True)
    read, plain = [], Crops._pictures
    monkeypatch.setattr(Crops, "_pictures", lambda self, rows: read.extend(rows.tolist()) or plain(self, rows))
    for step in (0, 7):     # also where it is taken up again, on another number of ranks
        x, y = whole.from_step(step).at(step)
        for rank in range(world):
            read.clear()
            mine = next(iter(whole.share(rank, world).from_step(step)))
            assert len(read) == 12//world
            part = lambda d, rank=rank: {k: v[rank::world] for k, v in d.items() if k != "outside"}
            assert same(mine, (part(x), part(y)))
            assert torch.equal(mine[0]["outside"]["xy"], x["outside"]["xy"][rank::world])


def test_unlabelled_people_may_be_of_another_kind(tmp_path, crops):
    (tmp_path / "other").mkdir()
    other = Crops(folk(tmp_path / "other", 5, LSP14), (16, 12))
    x, y = Streams(crops, other, batch=(3, 4), steps=2).at(0)
    assert set(x) == {"labeled", "unlabeled"} and set(y) == {"xy", "vis"} and y["xy"].shape == (3, 17, 2)
    with pytest.raises(UserError, match="same size"):
        Streams(crops, Crops(other.people, (32, 24)), batch=(3, 4), steps=2)
    with pytest.raises(UserError, match="labeled: a batch of 3"):
        Streams(crops.subset([]), other, batch=(3, 4), steps=2)


def test_first_is_file_order(people):
    s = split_first(people, 10)
    assert s.labeled.tolist() == list(range(10)) and s.unlabeled.tolist() == list(range(30)) and len(s.heldout) == 0


def test_seeded_does_not_depend_on_the_files_order_and_nests(people):
    mixed = people.subset(np.random.default_rng(9).permutation(30))
    a, b = split_seeded(people, 12, seed=5), split_seeded(mixed, 12, seed=5)
    assert people.ids[a.labeled].tolist() == mixed.ids[b.labeled].tolist()
    assert split_seeded(people, 20, seed=5).labeled[:12].tolist() == a.labeled.tolist()
    assert set(split_seeded(people, 12, seed=6).labeled) != set(a.labeled)
    # the first N of a seeded permutation of the ids
    assert people.ids[a.labeled].tolist() == np.sort(people.ids)[np.random.default_rng(5).permutation(30)[:12]].tolist()


@pytest.mark.parametrize("make", [split_first, split_seeded])
def test_who_chooses_the_checkpoint_is_never_trained_on(people, make):
    s = make(people, 20, heldout=0.25)
    assert len(s.labeled) == 15 and len(s.heldout) == 5 and len(s.unlabeled) == 25
    assert not set(s.heldout) & (set(s.labeled) | set(s.unlabeled)) and set(s.labeled) <= set(s.unlabeled)
    assert {*s.labeled, *s.heldout} == set(make(people, 20).labeled)  # 20 labels are used in all


def test_a_split_survives_the_disk_and_another_order(people, tmp_path):
    s = split_seeded(people, 8, seed=2, heldout=0.25)
    s.save(tmp_path / "split.json")
    mixed = people.subset(np.random.default_rng(1).permutation(30))
    t = Split.load(tmp_path / "split.json", mixed)
    for k in ("labeled", "unlabeled", "heldout"):
        assert people.ids[getattr(s, k)].tolist() == mixed.ids[getattr(t, k)].tolist()
    assert str(t) == str(s) and [p.name for p in tmp_path.glob("*split*")] == ["split.json"]
    with pytest.raises(UserError, match="not in this data set"):
        Split.load(tmp_path / "split.json", people.subset(np.arange(9)))
    with pytest.raises(UserError, match="no such"):
        Split.load(tmp_path / "none.json", people)


def test_a_split_says_what_it_is(people):
    assert str(split_seeded(people, 8, seed=2, heldout=0.25)) == (
        "6 labelled and 28 unlabelled people, and 2 labelled people kept aside to choose the best checkpoint, of 30 "
        "(the first 8 of a permutation with seed 2).")


def test_crowds_and_people_without_joints_are_never_labelled(people):
    people.vis[0], people.crowd[1], people.box[2, 2] = 0, True, 0
    s = split_first(people, 5)
    assert s.labeled.tolist() == [3, 4, 5, 6, 7]
    assert s.unlabeled.tolist() == [0, *range(3, 30)]  # a person without joints is still a picture


@pytest.mark.parametrize("make", [split_first, split_seeded])
def test_impossible_splits_are_errors(people, make):
    for n, kw, said in [(31, {}, "labels=31: only 30"), (0, {}, "labels=0: .* at least one"), (-3, {}, "labels=-3"),
                        (4, dict(heldout=1.0), "heldout=1.0"), (2, dict(heldout=0.9), "heldout=0.9: of 2")]:
        with pytest.raises(UserError, match=said):
            make(people, n, **kw)
