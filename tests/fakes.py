"""Run folders as `semipose.run` writes them, with invented numbers: for tests of the pages and figures made from such folders."""
from __future__ import annotations

import csv, json
from pathlib import Path

import numpy as np

TITLES = dict(supervised="Supervised", naive="Plain consistency", posecons="PoseCons", posedual_jc="PoseDual + JC")
ENDS = dict(supervised=(25.7, .62), naive=(9.3, .07), posecons=(26.9, .55), posedual_jc=(30.1, .60))  # AP, unlabelled peak
START = (24.1, .60)
PROTOCOL = dict(name="demo", title="Drawn people, 40 labels", labels=40, labeled=40, unlabeled=4000, val=500, size=[64, 48], net="tiny", weights=None, batch=[24, 24],
                start_steps=400, steps=480, every=60, lr=.003, schedule="onecycle", optimiser="adamw", wd=0., lam=2., heldout=0.)
WHERE = dict(command="semipose demo --seed 0", versions=dict(python="3.11.9", torch="2.15.0", semipose="0.1.0"), hardware="A small processor, 2 cores, 1 threads")


def people(n: int, size=(64, 48)):
    "A few drawn people and their joints"
    import torch
    from semipose.data.synth import draw_people
    drawn = draw_people(torch.arange(n), seed=5, size=size)
    return drawn.image.numpy(), drawn.xy[:, 0].numpy()


def heatmaps(xy: np.ndarray, peak: float, size=(64, 48), stride: int = 2, seed: int = 0) -> np.ndarray:
    "(n,h,w) uint8: the highest of all joints' bumps"
    r = np.random.default_rng(seed)
    high = (peak * r.uniform(.6, 1.3, xy.shape[:2])).clip(0, 1)
    y, x = np.mgrid[:size[0] // stride, :size[1] // stride] * stride
    bumps = np.exp(-((x - xy[..., 0, None, None]) ** 2 + (y - xy[..., 1, None, None]) ** 2) / 18) * high[..., None, None]
    return (bumps.max(1) * 255).astype(np.uint8)


def fake_run(folder: Path, method: str, start=START, end=None, steps=480, every=60, state="done", pictures=True, seed=0) -> dict:
    "One run folder; returns what result.json holds"
    folder.mkdir(parents=True, exist_ok=True)
    end, r = end or ENDS[method], np.random.default_rng([seed, len(method)])
    nets, rows, histograms = 2 if "dual" in method else 1, [], []
    for step in range(0, steps + 1, every):
        t = (step / steps) ** .6
        ap, peak = (start[i] + (end[i] - start[i]) * t for i in (0, 1))
        ap += r.normal() * .5 * (0 < step < steps)
        bins = np.exp(-(np.arange(20) / 20 + .025 - peak) ** 2 / (.02 + .04 * peak)) + .02
        histograms.append((bins / bins.sum()).tolist())
        row = dict(step=step, ap=ap, ap1=ap - .3, **(dict(ap2=ap + .3) if nets == 2 else {}), ap_ensemble=ap + .8 * (nets - 1), pck=40 + ap, peak_labeled=min(1., peak * 1.4),
                   peak_unlabeled=peak, foreground=.06 * peak, seconds=.25 * step * nets)
        rows.append(row | ({} if step == 0 else dict(sup1=.002 * (1.2 - t), cons1=.001 * (1.1 - t))))
    best = max(rows, key=lambda row: row["ap"])
    result = dict(method=method, title=TITLES[method], seed=seed, state=state, last=rows[-1], best=dict(best, chosen_on="validation"), rows=rows, histograms=histograms,
                  collapsed=rows[-1]["peak_unlabeled"] < rows[0]["peak_unlabeled"] / 3)
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "recipe.json").write_text(json.dumps(dict(method=method, title=TITLES[method], protocol=PROTOCOL, sentence="40 labelled people, 64x48 crops.", seed=seed, steps=steps,
                                                        every=every, nets=nets, data="data/drawn/demo-0", begun="2026-01-01T00:00:00+00:00", **WHERE)))
    with open(folder / "log.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[-1]))
        writer.writeheader()
        writer.writerows(rows)
    if pictures:
        crops, xy = people(6)
        np.savez_compressed(folder / "strip.npz", crops=crops, heat=np.stack([heatmaps(xy, row["peak_unlabeled"]) for row in rows]), steps=[row["step"] for row in rows])
    return result


def fake_demo(folder: Path, methods=("naive", "posecons", "supervised", "posedual_jc"), state="done", of=("naive", "posecons", "supervised", "posedual_jc"), pictures=True, ends=None) -> dict:
    "A demo's folder in which `methods` of the methods `of` are done; returns what summary.json holds"
    folder = Path(folder)
    digest = lambda row: {k: row[k] for k in ("ap", "ap_ensemble", "pck", "peak_labeled", "peak_unlabeled", "seconds")} | dict(steps=row["step"])
    first = fake_run(folder / "start", "supervised", (0., .02), START, steps=400, every=100, pictures=pictures)
    done = {name: fake_run(folder / name, name, end=(ends or ENDS)[name], pictures=pictures) for name in methods}
    summary = dict(seed=0, state=state, protocol=PROTOCOL, sentence="40 labelled people, 64x48 crops.", order=list(of), **WHERE, started="2026-01-01T00:00:00+00:00", seconds=612.3,
                   dashed=digest(first["last"]),
                   methods={name: dict(title=r["title"], **digest(r["last"]), collapsed=r["collapsed"], best={k: r["best"][k] for k in ("step", "ap", "chosen_on")}) for name, r in done.items()})
    (folder / "summary.json").write_text(json.dumps(summary))
    return summary
