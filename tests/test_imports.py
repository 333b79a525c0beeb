"""`import semipose` and `semipose --help` answer at once: they do not load PyTorch."""
import resource, subprocess, sys, time
from pathlib import Path

import pytest

HEAVY = ("torch", "torchvision", "fastai", "kornia", "timm", "matplotlib", "pandas", "scipy")
# rooms that a person's first command passes through
LIGHT = ("semipose", "semipose.errors", "semipose.skeletons", "semipose.protocols")


def seconds(command: list[str], runs: int = 5) -> tuple[float, float]:
    """Seconds on the clock and seconds of the processor, each the least of a few runs: other programs on the machine
    count little"""
    def once():
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        clock, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        return clock, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    return tuple(map(min, zip(*[once() for _ in range(runs)])))


def check(what: str, command: list[str], record_property) -> None:
    """Print both; fail on processor time alone, and not before twice the 0.5 s that is promised, since a busy
    machine slows that down too"""
    clock, processor = seconds(command)
    record_property(f"`{what}` ({processor:.2f} s of processor time)", f"{clock:.2f} s")
    assert processor < 1, f"`{what}` takes {processor:.2f} s of processor time; it should take under 0.5 s"


def loaded(code: str) -> list[str]:
    "The heavy packages that a fresh interpreter has loaded after `code`"
    watch = f"import sys\ntry: exec({code!r})\nexcept SystemExit as end: assert not end.code\n"
    tell = f"print('loaded:', *[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", watch + tell], capture_output=True, text=True)
    assert done.returncode == 0, f"`{code}` failed:\n{done.stderr}"
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize("module", LIGHT)
def test_import_is_light(module, record_property):
    assert loaded(f"import {module}") == [], f"`import {module}` loads more than it needs"
    check(f"import {module}", [sys.executable, "-c", f"import {module}"], record_property)


def test_help_is_light(record_property):
    code = "import sys; sys.argv = ['semipose', '--help']\nfrom semipose.cli import main\nmain()"
    assert loaded(code) == [], "`semipose --help` loads more than it needs"
    check("semipose --help", [str(Path(sys.executable).parent / "semipose"), "--help"], record_property)


@pytest.mark.parametrize("verb", ["methods", "methods --group supervised", "protocols", "protocols coco-1k"])
def test_tables_are_printed_without_anything_heavy(verb):
    code = f"import sys; sys.argv = ['semipose', *{verb.split()!r}]\nfrom semipose.cli import main\nmain()"
    assert loaded(code) == [], f"`semipose {verb}` loads more than it needs"


def test_the_table_that_was_written_down_is_the_table():
    import method_table
    from semipose.names import table_file
    assert table_file().read_text(encoding="utf-8") == method_table.text(), "`make export` writes it anew"


def test_rows_that_have_changed_are_computed(tmp_path, monkeypatch):
    from semipose import names
    monkeypatch.delitem(sys.modules, "semipose.methods", raising=False)
    assert names.kept_table() is not None
    monkeypatch.setattr(names, "table_key", lambda: 0)      # of another text
    assert names.kept_table() is None
    monkeypatch.setattr(names, "table_file", lambda: tmp_path / "none.json")
    assert names.kept_table() is None
