"""A pack holds every crop once: the same people and views as without it, from any process; another's is refused."""
import multiprocessing, pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from semipose.data import pack as packs
from semipose.data.coco import find_coco, read_coco
from semipose.data.core import CachedCrops, Crops
from semipose.data.pack import Pack, PackedCrops, decoder, find_crops, from_jpeg, packed_people, to_blob, write_pack
from semipose.data.streams import Streams
from semipose.errors import UserError

SAMPLE = Path(__file__).parent.parent / "data" / "sample"
SIZE = (48, 36)


def crops_of(part="train"): return Crops(read_coco(*find_coco(SAMPLE, part)), SIZE)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder, crops = tmp_path_factory.mktemp("packs"), crops_of()
    for q in ("raw", 95): write_pack(folder / f"{q}.pack", dict(train=crops), q, progress=False)
    return folder


def test_raw_is_the_very_pixels_and_jpeg_the_very_people(place):
    crops = crops_of()
    rows = np.random.default_rng(0).integers(0, len(crops), 9)
    plain = crops.batch(rows)
    for q in ("raw", 95):
        mine = PackedCrops(crops, Pack(place / f"{q}.pack")).batch(rows)
        for k in ("xy", "vis", "index"): assert torch.equal(mine[k], plain[k])
        if q == "raw": assert torch.equal(mine["image"], plain["image"])
        else: assert 0 < (mine["image"].float() - plain["image"].float()).abs().mean() < 4


@pytest.mark.parametrize("step", [0, 3, 17])
def test_a_batch_depends_on_seed_and_step_alone(place, step):
    crops = crops_of()
    packed = PackedCrops(crops, Pack(place / "raw.pack"))
    a, b = (Streams(c.subset(range(7)), c, (3, 4), 40, seed=5).at(step) for c in (crops, packed))
    for x, y in zip(a, b):
        assert x.keys() == y.keys()
        for k in x: assert torch.equal(x[k], y[k]), k


def test_a_part_and_all_in_memory_are_the_same(place):
    crops = crops_of()
    packed = PackedCrops(crops, Pack(place / "95.pack"))
    part, held = packed.subset([4, 2, 4]), packed.cache(progress=False)
    assert isinstance(held, CachedCrops)
    assert torch.equal(part.batch([0, 1, 2])["image"], held.batch([4, 2, 4])["image"])
    assert torch.equal(packed[3]["image"], held[3]["image"])


def read_there(packed, rows, out): out.put(packed.batch(rows)["image"].numpy().tobytes())


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_every_process_reads_its_own(place, how):
    packed = PackedCrops(crops_of(), Pack(place / "95.pack"))
    packed.batch([0])       # the file is open before the fork
    here, out = multiprocessing.get_context(how), None
    out, parts = here.Queue(), [[0, 3, 5], [7, 1, 2]]
    each = []
    for rows in parts:
        p = here.Process(target=read_there, args=(packed, rows, out))
        p.start()
        each.append(p)
    found = sorted(out.get(timeout=300) for _ in parts)
    for p in each: p.join()
    assert found == sorted(packed.batch(rows)["image"].numpy().tobytes() for rows in parts)


def test_a_stopped_writer_goes_on_to_the_same_bytes(place, tmp_path, monkeypatch):
    cut, calls = packs._cut_blobs, []

    def stops(group, quality):
        calls.append(1)
        if len(calls) == 20: raise KeyboardInterrupt
        return cut(group, quality)
    monkeypatch.setattr(packs, "_cut_blobs", stops)
    path = tmp_path / "new.pack"
    with pytest.raises(KeyboardInterrupt): write_pack(path, dict(train=crops_of()), 95, progress=False)
    assert not path.exists(), "it takes its name when it is whole"
    table = tmp_path / ".new.pack.part" / "table"
    assert table.stat().st_size > 0
    with open(table, "ab") as f: f.write(b"half")       # the last entry was not written out
    with open(table.with_name("crops"), "ab") as f: f.write(b"and a crop that no entry knows")
    calls[:] = [1]*100
    write_pack(path, dict(train=crops_of()), 95, progress=False)
    assert len(calls) < 100 + len(set(crops_of().people.image)), "those that were there are not cut again"
    assert path.read_bytes() == (place / "95.pack").read_bytes()
    assert not table.parent.exists()


def test_other_settings_begin_anew_and_the_same_ones_change_nothing(place, tmp_path):
    path, crops = tmp_path / "a.pack", crops_of()
    write_pack(path, dict(train=crops), "raw", progress=False)
    before = path.stat().st_mtime_ns
    write_pack(path, dict(train=crops), "raw", progress=False)
    assert path.stat().st_mtime_ns == before
    write_pack(path, dict(train=crops), 80, progress=False)
    assert Pack(path).meta["quality"] == 80


def spoiled(place, tmp_path, change):
    data = bytearray((place / "95.pack").read_bytes())
    path = tmp_path / "spoiled.pack"
    path.write_bytes(change(data) or data)
    return path


@pytest.mark.parametrize("change, says", [
    (lambda d: d[:-1], "cut short"), (lambda d: d[:len(d)//2], "cut short"), (lambda d: d[:20], "not a pack"),
    (lambda d: b"PK" + d[2:], "not a pack"), (lambda d: d[:8] + b"\x07" + d[9:], "version 7"),
    (lambda d: d[:-3] + b"abc", "damaged")])
def test_what_is_no_whole_pack_is_one_sentence(place, tmp_path, change, says):
    with pytest.raises(UserError, match=says) as e: Pack(spoiled(place, tmp_path, change))
    assert "\n" not in str(e.value) and "spoiled.pack" in str(e.value)


def test_a_damaged_crop_is_told_when_it_is_read(place, tmp_path):
    def change(d): d[packs.START + 50] ^= 255
    pack = Pack(spoiled(place, tmp_path, change))
    packed = PackedCrops(crops_of(), pack)
    packed.batch(np.flatnonzero(packed.at > 0)[:3])
    with pytest.raises(UserError, match="damaged"): packed.batch(np.flatnonzero(packed.at == 0))


def test_people_of_other_data_and_size_are_one_sentence(place):
    pack, crops = Pack(place / "95.pack"), crops_of()
    with pytest.raises(UserError, match="other data"): find_crops(pack, crops_of("val"))
    with pytest.raises(UserError, match="--size 64x48"): find_crops(pack, Crops(crops.people, (64, 48)))
    moved = replace(crops.people, box=crops.people.box + np.float32(3))
    with pytest.raises(UserError, match="other data"): find_crops(pack, Crops(moved, SIZE))
    with pytest.raises(UserError, match="no such pack"): Pack(place / "none.pack")


def test_labels_may_change_and_unlabelled_people_are_packed_alike(place):
    crops = crops_of()
    mended = Crops(replace(crops.people, xy=crops.people.xy + 1), SIZE)
    pack = Pack(place / "95.pack")
    assert np.array_equal(find_crops(pack, mended), find_crops(pack, crops))
    bare = Crops(crops.people.unlabeled(), SIZE)
    assert torch.equal(PackedCrops(bare, pack).batch([1])["image"], PackedCrops(crops, pack).batch([1])["image"])
    people = packed_people(pack)
    for k in ("box", "xy", "vis", "ids"): assert np.array_equal(getattr(people, k), getattr(crops.people, k)), k
    assert people.skeleton == crops.people.skeleton


@pytest.mark.parametrize("quality", [95, 40])
def test_decoders_agree_to_the_bit(quality):
    crop = crops_of()[2]["image"].numpy().transpose(1, 2, 0)
    blob, one = to_blob(crop, quality), np.empty((3, *crop.shape[:2]), np.uint8)
    from_jpeg(blob, one, "PIL")
    for by in {decoder(), *[n for n in ("cv2", "simplejpeg") if packs.find_spec(n)]}:
        other = np.empty_like(one)
        from_jpeg(blob, other, by)
        assert np.array_equal(one, other), by


def test_an_open_pack_travels_to_another_process(place):
    pack = Pack(place / "95.pack")
    again = pickle.loads(pickle.dumps(pack))
    assert again._read(packs.START, 40) == pack._read(packs.START, 40)


def test_a_packed_training_is_the_training(tmp_path):
    from semipose.people import pack_data, prepare
    from semipose.protocols import protocol
    p = protocol("folder", net="tiny", size=(64, 48), batch=(2, 2), steps=2, every=2, start_steps=0, labels=8)
    path = pack_data(prepare(p, SAMPLE, progress=False, cut=False), tmp_path / "sample.pack", "raw", False)
    a, b = (prepare(p, SAMPLE, progress=False, packed=f) for f in (None, path))
    for k in ("crops", "val_crops"): assert torch.equal(getattr(a, k).image, getattr(b, k).image), k
    from semipose.run import train
    runs = [train("posecons", p, d, tmp_path / n, device="cpu", progress=False) for n, d in (("a", a), ("b", b))]
    assert runs[1].recipe.packed and not runs[0].recipe.packed
    weights = [sorted(r.folder.glob("*.safetensors")) for r in runs]
    assert [w.name for w in weights[0]] == [w.name for w in weights[1]]
    from semipose.loop import load_tensors
    for u, v in zip(*weights):
        if u.name == "state.safetensors": continue
        u, v = load_tensors(u)[0], load_tensors(v)[0]
        assert all(torch.equal(u[k], v[k]) for k in u)
