"""Pack a finished demo as it comes with the package, and write the README's animated picture from it.

`semipose demo --seed 0`, then `python scripts/ship_demo.py runs/demo`

The rule was fixed before the training: seed 0, the default of `semipose demo`, and the demo's own rows, whatever they
say. Nothing is left out but the networks, the folders of the machine, and all but the first people of each strip.
Afterwards run nbs/85_finished.ipynb, nbs/index.ipynb and tutorials 01 and 02 (`make notebooks NB=...`), then
`make readme`.
"""
from __future__ import annotations

import argparse
from pathlib import Path

from semipose.errors import UserError
from semipose.files import whole
from semipose.finished import HERE, end_text, fading_film, origin_text, pack_demo, rows_of
from semipose.report import read_demo

TOP = Path(__file__).resolve().parent.parent


def main(argv=None) -> None:
    ask = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ask.add_argument("demo", type=Path, help="folder of a demo that is done")
    ask.add_argument("--into", type=Path, help="default: the package's own, named by the seed")
    ask.add_argument("--film", type=Path, default=TOP / "nbs/images/collapse.gif", help="the animated picture")
    ask.add_argument("--people", type=int, default=4, help="of each strip")
    ask.add_argument("--partly", action="store_true", help="take what is done of a demo that still runs")
    args = ask.parse_args(argv)
    try:
        seed = read_demo(args.demo).summary.get("seed", 0)
        into = pack_demo(args.demo, args.into or HERE / f"demo-seed{seed}", args.people, args.partly)
        film = fading_film(into, rows_of(into))
        with whole(args.film) as part: part.write_bytes(film)
    except UserError as problem:
        raise SystemExit(str(problem)) from None
    size = sum(f.stat().st_size for f in into.rglob("*") if f.is_file())
    print(f"{into}: {size / 1e3:.0f} kB; {args.film}: {len(film) / 1e3:.0f} kB")
    print(origin_text(into), *map(end_text, read_demo(into).runs), sep="\n")


if __name__ == "__main__":
    main()
