"""Entries of other training people are other entries, though their validation people are the same."""
import json, shutil
from dataclasses import replace

from semipose.data.synth import write_synth
from semipose.ledger import paired, read_ledger
from semipose.protocols import protocol
from semipose.sweep import sweep


def test_the_same_validation_people_and_others_to_train_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_synth("x/d1", train=24, val=8, seed=0, size=(48, 48), progress=False)
    shutil.copytree("x/d1", "y/d1")
    file = tmp_path / "y/d1/person_keypoints_train.json"
    labels = json.loads(file.read_text())
    keep = {o["id"] for o in labels["images"][:16]}
    labels.update(images=labels["images"][:16], annotations=[a for a in labels["annotations"] if a["image_id"] in keep])
    file.write_text(json.dumps(labels))
    p = replace(protocol("folder"), net="tiny", width=8, size=(32, 32), batch=(4, 4), steps=2, every=2, labels=8,
                name="mine", start_steps=2)
    found = [sweep(p, ["supervised"], [0], data=d, folder="runs", results="results", progress=False)
             for d in ("x/d1", "y/d1", "x/d1", "y/d1")]
    assert [(len(f["new"]), f["there"], f["failed"]) for f in found] == [(1, 0, {}), (1, 0, {}), (0, 1, {}), (0, 1, {})]
    a, b = read_ledger("results")[0]
    assert a.val == b.val and a.train != b.train and None not in (a.train, b.train)
    assert paired([a], [b]) is None, "no gain is told across training people"
    assert paired([a], [replace(b, people={k: v for k, v in b.people.items()
                                           if k != "train"})]) is not None, "an entry of before does not know"
