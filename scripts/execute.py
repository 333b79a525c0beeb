"""Run notebooks as a reader would: each in a fresh kernel, in its own folder, without the cells that ask for more
than this machine.

`python scripts/execute.py [nbs/01_geometry.ipynb ...]` runs in place (all of them if none is named) and tidies up:
outputs are kept, small, and free of this machine's paths. Cells marked `#| slow`, `#| cuda`, `#| data` or `#| eval:
false` are left out and keep the outputs they had, unless SEMIPOSE_RUN names their mark (`SEMIPOSE_RUN=slow,data`).
tests/test_notebooks.py uses the same `run`.
"""
from __future__ import annotations

import argparse, base64, io, os, re, sys, tempfile, time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

TOP = Path(__file__).resolve().parent.parent
QUIET = "ignore::FutureWarning:torch.jit._script"  # kornia's way of importing, nothing that a reader could act on
MARKS = ("slow", "cuda", "data", "eval")  # eval: the cells that say `#| eval: false`


class NotebookFailed(Exception):
    "Its message shows the failing cell and the end of the traceback"


def notebooks() -> list[Path]:
    "Every notebook of the project, in reading order"
    return sorted((TOP / "nbs").glob("*.ipynb")) + sorted((TOP / "nbs/tutorials").glob("*.ipynb"))


def enabled() -> set[str]:
    "The marks that SEMIPOSE_RUN switches on"
    asked = set(os.environ.get("SEMIPOSE_RUN", "").replace(",", " ").split())
    if unknown := asked - set(MARKS):
        sys.exit(f"SEMIPOSE_RUN names {', '.join(sorted(unknown))}; it understands {', '.join(MARKS)}.")
    return asked


def marks(source: str) -> set[str]:
    "The marks in the comment lines at a cell's head: `#| slow` -> {'slow'}"
    found = set()
    for line in source.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            break
        mark, _, value = line.lstrip("#| \t").partition(":") if re.match(r"\s*#\s*\|", line) else ("", "", "")
        if mark.strip() in MARKS and (mark.strip() != "eval" or value.strip().lower() == "false"):
            found.add(mark.strip())
    return found


class Reader(NotebookClient):
    "Steps over the cells whose marks are not enabled"

    async def async_execute_cell(self, cell, cell_index, **kwargs):
        if marks(cell.source) - enabled():
            return cell
        return await super().async_execute_cell(cell, cell_index, **kwargs)


def run(path: Path, timeout: int = 600) -> nbformat.NotebookNode:
    "The executed notebook; NotebookFailed where a cell raises, dies, or takes longer than `timeout` seconds"
    nb = nbformat.read(path, as_version=4)
    reader = Reader(nb, timeout=timeout, kernel_name="python3", coalesce_streams=True,
                    resources={"metadata": {"path": str(path.parent)}},
                    extra_arguments=["--IPKernelApp.log_level=ERROR"])
    # nobody's IPython settings, and no history that two kernels would share
    with tempfile.TemporaryDirectory() as profile:
        try:
            reader.execute(env={"PYTHONWARNINGS": QUIET, **os.environ, "IPYTHONDIR": profile})
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise NotebookFailed(f"{path.relative_to(TOP)}: {explain(nb, error)}") from None
    return nb


def explain(nb: nbformat.NotebookNode, error: Exception) -> str:
    "The cell that raised and the last lines of its traceback, without colours"
    for number, cell in enumerate(nb.cells):
        for out in cell.get("outputs", []):
            if out.output_type == "error" and not marks(cell.source) - enabled():
                trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(out.traceback)).splitlines()
                source = "\n".join(f"    {line}" for line in cell.source.splitlines())
                return f"cell {number} failed\n\n{source}\n\n" + "\n".join(trace[-25:])
    return str(error)


def tidy(nb: nbformat.NotebookNode) -> None:
    """Outputs without this machine's paths, pictures repacked without loss, no widgets' state, a kernel that
    JupyterLab need not ask for"""
    for out in (out for cell in nb.cells for out in cell.get("outputs", [])):
        if len(data := out.get("data", {})) > 1:  # a widget without its kernel is a line of error: its picture stays
            data.pop("application/vnd.jupyter.widget-view+json", None)
        for kind, value in data.items():
            data[kind] = repack(value) if kind == "image/png" else short(value) if isinstance(value, str) else value
        if "text" in out:
            out["text"] = short(out["text"])
    nb.metadata["kernelspec"] = {"display_name": "python3", "language": "python", "name": "python3"}
    nb.metadata.pop("jupytext", None)
    nb.metadata.pop("widgets", None)


def short(text: str) -> str:
    "Paths of this machine become relative ones"
    for folder, name in ((TOP, ""), (TOP.parent, "../"), (Path.home(), "~/")):
        text = text.replace(f"{folder}/", name) if len(str(folder)) > 1 else text
    return text


def repack(png: str, unseen: float = 1.5) -> str:
    """A base64 PNG, compressed as far as it goes; with a palette where that moves its colours by less than anybody
    sees (root mean square, of 255)"""
    import numpy as np
    from PIL import Image
    image = Image.open(io.BytesIO(base64.b64decode(png)))
    if image.mode == "RGBA" and image.getextrema()[3][0] == 255:  # nothing shines through
        image = image.convert("RGB")
    tries = [image]
    if image.mode == "RGB":
        few = image.quantize(256, dither=Image.Dither.NONE)
        moved = np.asarray(image, dtype=float) - np.asarray(few.convert("RGB"), dtype=float)
        tries += [few] if (moved**2).mean() ** 0.5 < unseen else []
    packed = [png.replace("\n", "")]
    for one in tries:
        one.save(small := io.BytesIO(), "PNG", optimize=True)
        packed.append(base64.b64encode(small.getvalue()).decode())
    return min(packed, key=len)


def main() -> None:
    from nbdev.clean import nbdev_clean
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebook", nargs="*", type=Path, help="all of them if none is named")
    paths = [path.resolve() for path in parser.parse_args().notebook] or notebooks()
    os.chdir(TOP)  # where nbdev finds settings.ini
    failed = []
    for path in paths:
        start = time.perf_counter()
        try:
            nb = run(path)
        except NotebookFailed as error:
            failed.append(path.name)
            print(error, file=sys.stderr)
            continue
        tidy(nb)
        nbformat.write(nb, path)
        nbdev_clean(str(path))
        print(f"{path.relative_to(TOP)}  {time.perf_counter() - start:.1f} s  {path.stat().st_size / 1000:.0f} KB",
              flush=True)
    if failed:
        sys.exit(f"Left as they were, because a cell failed: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
