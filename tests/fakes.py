"""Run folders as `semipose.run` writes them, with invented numbers: for tests of the pages and figures made from
such folders."""
from __future__ import annotations

import csv, json
from pathlib import Path

import numpy as np

ORDER = ("naive", "posecons", "supervised", "posedual_jc")
TITLES = dict(supervised="Supervised", naive="Plain consistency", posecons="PoseCons", posedual_jc="PoseDual + JC")
# AP, unlabelled peak
ENDS = dict(supervised=(25.7, .62), naive=(9.3, .07), posecons=(26.9, .55), posedual_jc=(30.1, .60))
START = (24.1, .60)
PROTOCOL = dict(name="demo", title="Drawn people, 40 labels", labels=40, labeled=40, unlabeled=4000, val=500,
                size=[64, 48], net="tiny", weights=None,
                batch=[24, 24], start_steps=400, steps=480, every=60, lr=.003, schedule="onecycle", optimiser="adamw",
                wd=0., lam=2., heldout=0.)
WHERE = dict(command="semipose demo --seed 0", versions=dict(python="3.11.9", torch="2.15.0", semipose="0.1.0"),
             hardware="a small processor, 2 cores")


def people(n: int, size=(64, 48)):
    "A few synthetic people and their joints"
    import torch
    from semipose.data.synth import make_people
    drawn = make_people(torch.arange(n), seed=5, size=size)
    return drawn.image.numpy(), drawn.xy[:, 0].numpy()


def heatmaps(xy: np.ndarray, peak: float, size=(64, 48), stride: int = 2) -> np.ndarray:
    "(n,h,w) uint8: the highest of all joints' bumps"
    high = (peak * np.random.default_rng(0).uniform(.6, 1.3, xy.shape[:2])).clip(0, 1)
    y, x = np.mgrid[:size[0] // stride, :size[1] // stride] * stride
    bumps = np.exp(-((x - xy[..., 0, None, None]) ** 2 + (y - xy[..., 1, None, None]) ** 2) / 18) * high[..., None,
        None]
    return (bumps.max(1) * 255).astype(np.uint8)


def fake_row(step: int, ap: float, peak: float, nets: int, seconds: float) -> dict:
    "One measurement"
    each = {f"ap{i + 1}": ap + .6 * i - .3 * (nets - 1) for i in range(nets)}
    row = dict(step=step, ap=ap, **each, ap_ensemble=ap + .8 * (nets - 1), pck=40 + ap,
               peak_labeled=min(1., peak * 1.4), peak_unlabeled=peak)
    return row | dict(foreground=.06 * peak, seconds=seconds) | ({} if step == 0
                                                                 else dict(sup1=.001 + .1 / (100 + step),
                                                                           cons1=.05 / (100 + step)))


def fake_run(folder: Path, method: str, start=START, end=None, steps=480, every=60, state="done",
             pictures=True) -> dict:
    "One run folder; returns what result.json holds"
    folder.mkdir(parents=True, exist_ok=True)
    end, nets, rows, histograms = end or ENDS[method], 2 if "dual" in method else 1, [], []
    for step in range(0, steps + 1, every):
        t = (step / steps) ** .6
        ap, peak = (a + (b - a) * t for a, b in zip(start, end))
        rows.append(fake_row(step, ap + .6 * np.sin(step) * (0 < step < steps), peak, nets, .25 * step * nets))
        bins = np.exp(-(np.arange(20) / 20 + .025 - peak) ** 2 / (.001 + .06 * peak)) + .002
        histograms.append((bins / bins.sum()).tolist())
    best = dict(max(rows, key=lambda row: row["ap"]), chosen_on="validation")
    result = dict(method=method, title=TITLES[method], seed=0, state=state, last=rows[-1], best=best, rows=rows,
                  histograms=histograms,
                  collapsed=rows[-1]["peak_unlabeled"] < rows[0]["peak_unlabeled"] / 3)
    recipe = dict(method=method, title=TITLES[method], protocol=PROTOCOL, sentence="40 labelled people, 64x48 crops.",
                  seed=0, steps=steps, every=every,
                  nets=nets, data="data/drawn/demo-0", begun="2026-01-01T00:00:00+00:00", **WHERE)
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "recipe.json").write_text(json.dumps(recipe))
    with open(folder / "log.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[-1]))
        writer.writeheader()
        writer.writerows(rows)
    if pictures:
        crops, xy = people(6)
        heat = np.stack([heatmaps(xy, row["peak_unlabeled"]) for row in rows])
        np.savez_compressed(folder / "strip.npz", crops=crops, heat=heat, steps=[row["step"] for row in rows])
    return result


def fake_demo(folder: Path, methods=ORDER, state="done", pictures=True, ends=ENDS) -> dict:
    "A demo's folder in which `methods` of the four are done; returns what summary.json holds"
    folder = Path(folder)
    digest = lambda row: {k: row[k] for k in ("ap", "ap_ensemble", "pck", "peak_labeled", "peak_unlabeled",
                                              "seconds")} | dict(steps=row["step"])
    first = fake_run(folder / "start", "supervised", (0., .02), START, steps=400, every=100, pictures=False)
    done = {name: fake_run(folder / name, name, end=ends[name], pictures=pictures) for name in methods}
    told = {name: dict(title=r["title"], **digest(r["last"]), collapsed=r["collapsed"],
                       best={k: r["best"][k] for k in ("step", "ap", "chosen_on")})
            for name, r in done.items()}
    summary = dict(seed=0, state=state, protocol=PROTOCOL, sentence="40 labelled people, 64x48 crops.",
                   order=list(ORDER), **WHERE,
                   started="2026-01-01T00:00:00+00:00", seconds=612.3, dashed=digest(first["last"]), methods=told)
    (folder / "summary.json").write_text(json.dumps(summary))
    return summary
