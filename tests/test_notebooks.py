"""Every notebook runs from top to bottom in a fresh kernel, as a reader would run it (see scripts/execute.py).

Tutorials take minutes together, so where there is a browser they run once, in a real JupyterLab (test_lab.py), and
not here.
"""
import time
from importlib.util import find_spec

import pytest

from execute import TOP, NotebookFailed, notebooks, run
from test_lab import TUTORIALS, browser_path

ELSEWHERE = TUTORIALS if browser_path() and find_spec("playwright") else []


@pytest.mark.parametrize("path", [path for path in notebooks() if path not in ELSEWHERE],
                         ids=lambda path: str(path.relative_to(TOP / "nbs")))
def test_notebook_runs(path, record_property):
    start, failure = time.perf_counter(), None
    try:
        run(path)
    except NotebookFailed as error:
        failure = str(error)
    record_property(str(path.relative_to(TOP)), f"{time.perf_counter() - start:.1f} s")
    if failure:
        pytest.fail(failure, pytrace=False)
