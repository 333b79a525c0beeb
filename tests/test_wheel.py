"""The package leaves as a wheel, is found by its name on an index, and runs from there"""
import email
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import readme

import semipose

pytest.importorskip("build", reason="the package `build` is not installed")
TOP = Path(__file__).parents[1]


def run(*words, cwd, **env):
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run([sys.executable, *map(str, words)], cwd=cwd, capture_output=True, text=True,
                          env={**clean, **env})


def sources():
    assets = {f.relative_to(TOP).as_posix() for f in (TOP / "semipose/assets").rglob("*") if f.is_file()}
    return assets | {f.relative_to(TOP).as_posix() for f in (TOP / "semipose").rglob("*")
                     if f.suffix in (".py", ".js", ".json") and "__pycache__" not in f.parts}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    "Built in a copy, so that nothing is left here"
    room = tmp_path_factory.mktemp("wheel")
    shutil.copytree(TOP / "semipose", room / "clone/semipose", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "DESCRIPTION.md", "LICENSE"):
        shutil.copy(TOP / name, room / "clone" / name)
    done = run("-m", "build", "--no-isolation", "--wheel", "--outdir", room / "index", room / "clone", cwd=room)
    if "No module named" in done.stdout + done.stderr: pytest.skip("setuptools is not installed here")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    [file] = (room / "index").iterdir()
    return file


def test_it_holds_all_of_the_package_and_nothing_else(wheel):
    "modules, the browser's sources and the runs that are looked at first, to the byte"
    with zipfile.ZipFile(wheel) as z:
        names = {n for n in z.namelist() if ".dist-info/" not in n}
        assert names == sources() - {"semipose/_modidx.py"} | (names & {"semipose/_modidx.py"})
        assert any(n.endswith(".js") for n in names) and any(n.endswith("/strip.npz") for n in names)
        assert all(z.read(n) == (TOP / n).read_bytes() for n in names)
        assert any(n.endswith("licenses/LICENSE") for n in z.namelist())


def test_what_an_index_shows(wheel):
    with zipfile.ZipFile(wheel) as z:
        about = email.message_from_bytes(z.read(next(n for n in z.namelist() if n.endswith("METADATA"))))
    assert ((about["Name"], about["Version"], about["License-Expression"])
            == ("semipose", semipose.__version__, "Apache-2.0"))
    assert about["Description-Content-Type"] == "text/markdown" and about["Requires-Python"] == ">=3.10"
    kinds = about.get_all("Classifier")
    assert ({f"Programming Language :: Python :: 3.{m}" for m in range(10, 15)} <= set(kinds)
            and len(kinds) == len(set(kinds)))
    assert not any(k.startswith("License ::") for k in kinds)          # the expression says it; both are refused
    assert {"tensorboard", "wandb", "export", "video", "tools", "fast", "dev"} == set(about.get_all("Provides-Extra"))
    text = about.get_payload()
    # an index has no files beside it
    assert readme.links(text) == [] and "](images/" not in text and "# semipose" in text
    for url in re.findall(r"\]\((http[^)]+)\)", text) + [u.split(", ")[1] for u in about.get_all("Project-URL")]:
        assert re.fullmatch(r"https://[a-z0-9.-]+\.[a-z]+/\S+", url), url
    for head in re.findall(r"^## .*", readme.FENCE.sub("", (TOP / "README.md").read_text()), re.M):
        assert head in text, head


def test_it_installs_by_name_and_runs_from_there(wheel, tmp_path):
    index = dict(PIP_FIND_LINKS=str(wheel.parent))      # a folder serves as one
    done = run("-m", "pip", "install", "--disable-pip-version-check", "-q", "--no-deps", "--no-index",
               "--target", tmp_path / "there", "semipose", cwd=tmp_path, **index)
    assert done.returncode == 0, done.stderr
    here = dict(cwd=tmp_path, PYTHONPATH=str(tmp_path / "there"))
    assert run("-m", "semipose", "--version", **here).stdout == f"semipose {semipose.__version__}\n"
    where = run("-c", "import semipose, sys; print(semipose.__file__, 'torch' in sys.modules)", **here).stdout.split()
    assert Path(where[0]).is_relative_to(tmp_path / "there") and where[1] == "False"
    script = next((tmp_path / "there/bin").iterdir()) if (tmp_path / "there/bin").exists() else None
    assert script is None or script.name.startswith("semipose")
    none = run("-m", "pip", "install", "--no-deps", "--no-index",
               "--target", tmp_path / "no", "semipos", cwd=tmp_path, **index)
    assert none.returncode != 0
