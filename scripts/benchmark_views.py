"""Views and targets of a PoseDual + JC step: ratios of today's code and an earlier commit's, interleaved in one run.

python scripts/benchmark_views.py [--before 64a01e5] [--size 256x192] [--people 8,32,64] [--rounds 7] [--threads 1]

One round: the teacher's view and both students' hard views of so many people, then the labelled targets.
The pictures of both must be equal to the bit. It needs git and the commit. Then how time grows with the people.
"""
from __future__ import annotations
import argparse, importlib.util, statistics, subprocess, sys, tempfile, time
from dataclasses import replace
from pathlib import Path

import torch

from semipose import views
from semipose.codecs import Gaussian
from semipose.geometry import roomy

TOP = Path(__file__).resolve().parent.parent


def before(commit: str):
    "views.py of another commit, beside today's other modules"
    source = subprocess.run(["git", "show", f"{commit}:semipose/views.py"], cwd=TOP, capture_output=True, text=True)
    if source.returncode: sys.exit(f"benchmark_views: {source.stderr.strip()}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "views_before.py"
        path.write_text(source.stdout)
        spec = importlib.util.spec_from_file_location("semipose.views_before", path)
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def work(module, people: int, size: tuple):
    "A function that renders and encodes, and returns the pictures"
    g = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (people, 3, *roomy(size)), dtype=torch.uint8, generator=g)
    xy, vis = torch.rand(people, 17, 2, generator=g) * torch.tensor([size[1], size[0]]), torch.full((people, 17), 2.)
    easy = module.A30.sample(module.plain(people, size), size, generator=g)
    view = module.JointCutout(5) >> module.A60
    first = view.sample(easy, size, (xy, torch.ones(17)), g)
    second = replace(first, holes=view.sample(easy, size, (xy, torch.ones(17)), g).holes)  # the peer hides other joints
    codec, heat_size = Gaussian(sigma=2., stride=4), tuple(s // 4 for s in size)

    def run():
        shared = module.Renderer(image) if hasattr(module, "Renderer") else image
        pictures = [module.render(shared, sample, size) for sample in (easy, first, second)]
        codec.encode(*module.joints_in(xy, vis, easy, list(range(17))), heat_size)
        return pictures
    return run


def spent(run) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--before", default="64a01e5", help="the commit to compare with")
    p.add_argument("--size", default="256x192")
    p.add_argument("--people", default="8,32,64")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--threads", type=int, default=1)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    size, counts, old = (tuple(map(int, args.size.split("x"))), list(map(int, args.people.split(","))),
                         before(args.before))
    best = {}
    print(f"{args.size}, {args.threads} threads, best of {args.rounds}; today / {args.before}: min, median, max\n")
    for people in counts:
        runs = [work(module, people, size) for module in (old, views)]
        for a, b in zip(*(run() for run in runs)):
            if not torch.equal(a, b): sys.exit(f"benchmark_views: pictures differ by {float((a - b).abs().max()):.2g}.")
        times = [[spent(run) for run in runs] for _ in range(args.rounds)]
        ratio, best[people] = sorted(b / a for a, b in times), min(b for _, b in times)
        shown = f"{ratio[0]:.2f}  {statistics.median(ratio):.2f}  {ratio[-1]:.2f}"
        print(f"{people:4} people  {1e3*min(a for a, _ in times):8.1f} ms -> {1e3*best[people]:8.1f} ms   {shown}")
    few, many = counts[0], counts[-1]
    if few != many: print(f"\n{many / few:g} times the people take {best[many] / best[few]:.1f} times as long.")


if __name__ == "__main__": main()
