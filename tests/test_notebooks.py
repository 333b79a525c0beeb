"""Every notebook runs from top to bottom in a fresh kernel, as a reader would run it (see scripts/execute.py)."""
import time

import pytest

from execute import TOP, NotebookFailed, notebooks, run


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: str(path.relative_to(TOP / "nbs")))
def test_notebook_runs(path, record_property):
    start, failure = time.perf_counter(), None
    try:
        run(path)
    except NotebookFailed as error:
        failure = str(error)
    record_property(str(path.relative_to(TOP)), f"{time.perf_counter() - start:.1f} s")
    if failure:
        pytest.fail(failure, pytrace=False)
