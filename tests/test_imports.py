"""`import semipose` and `semipose --help` answer at once: they do not load PyTorch."""
import subprocess, sys, time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "torchvision", "fastai", "kornia", "timm", "matplotlib", "pandas", "scipy")
LIGHT = ("semipose", "semipose.errors", "semipose.skeletons", "semipose.protocols")  # rooms that a person's first command passes through


def seconds(command: list[str], runs: int = 4) -> float:
    "The quickest of a few runs, so that another program on the machine is not measured too"
    def once():
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return time.perf_counter() - start

    return min(once() for _ in range(runs))


def exists(module: str) -> bool:
    path = TOP / module.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def loaded(code: str) -> list[str]:
    "The heavy packages that a fresh interpreter has loaded after `code`"
    watch = f"import sys\ntry: exec({code!r})\nexcept SystemExit as end: assert not end.code\n"
    tell = f"print('loaded:', *[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", watch + tell], capture_output=True, text=True)
    assert done.returncode == 0, f"`{code}` failed:\n{done.stderr}"
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize("module", LIGHT)
def test_import_is_light(module, record_property):
    if not exists(module):
        pytest.skip(f"{module} is not there yet")
    assert loaded(f"import {module}") == [], f"`import {module}` loads more than it needs"
    took = seconds([sys.executable, "-c", f"import {module}"])
    record_property(f"import {module}", f"{took:.2f} s")
    assert took < 2, f"`import {module}` takes {took:.2f} s; it should take under 0.5 s"


def test_help_is_light(record_property):
    if not exists("semipose.cli"):
        pytest.skip("semipose.cli is not there yet")
    code = "import sys; sys.argv = ['semipose', '--help']\nfrom semipose.cli import main\nmain()"
    assert loaded(code) == [], "`semipose --help` loads more than it needs"
    took = seconds([str(Path(sys.executable).parent / "semipose"), "--help"])
    record_property("semipose --help", f"{took:.2f} s")
    assert took < 2, f"`semipose --help` takes {took:.2f} s; it should take under 0.5 s"
