"""README's commands on anybody's machine: every make target where no variable is set, and the gate as a person would
begin it.

The programs that a target calls are stand-ins that write down how they were called, so these tests install and train
nothing.
"""
import os, re, shutil, stat, subprocess, sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
TARGETS = re.findall(r"^([a-z]+):.*## ", (TOP / "Makefile").read_text(), re.M)
pytestmark = pytest.mark.skipif(not all(map(shutil.which, ("make", "bash"))), reason="no make on this machine")

STAND_IN = """#!/bin/bash
[ "${1-}" = -c ] && exit "${STAND_IN_RC-0}"
echo "${0##*/} $* | CI=${CI-unset} PYTHONPATH=${PYTHONPATH-unset}" >>CALLS
if [ "${1-}" = --version ]; then echo "Python 3.12.0"; fi
if [ "${1-} ${2-}" = "-m venv" ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi
"""


def stand_in(path: Path, calls: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STAND_IN.replace("CALLS", f"'{calls}'"))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


class Clone:
    "A fresh clone: the real Makefile, and stand-ins for what it calls"

    def __init__(self, home: Path):
        self.top, self.calls, self.home = home / "clone", home / "calls", home / "home"
        self.home.mkdir()
        self.python = stand_in(home / "bin/python3", self.calls)
        for name in ("Makefile", "pyproject.toml"):
            (self.top / name).parent.mkdir(exist_ok=True)
            shutil.copy(TOP / name, self.top / name)
        (self.top / "scripts").mkdir()
        (self.top / "scripts/matrix.sh").touch()

    def environment(self, folder: Path | None = None) -> Path:
        "An environment that is ready"
        folder = folder or self.top / ".venv"
        for name in ("python", "semipose", "jupyter", "nbdev_export", "nbdev_clean"):
            stand_in(folder / "bin" / name, self.calls)
        (folder / ".semipose-ready").touch()
        return folder

    def make(self, *args: str, **env: str) -> subprocess.CompletedProcess:
        "`make`, with PATH and HOME alone"
        self.calls.write_text("")
        return subprocess.run(["make", *args], cwd=self.top, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              env={"PATH": os.environ["PATH"], "HOME": str(self.home), **env})

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.fixture
def clone(tmp_path): return Clone(tmp_path)


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_runs_where_no_variable_is_set(target, clone):
    clone.environment()
    done = clone.make(target)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert target in ("help", "matrix", "clean") or clone.called(), f"make {target} called nothing"
    assert not any("pip install" in line for line in clone.called()), "what is ready is not installed again"


def test_recipes_ask_for_no_variable_of_the_environment():
    """the shell runs with -u: whatever a recipe reads, also in a branch that today's machine does not take, it has
    set itself"""
    recipes = re.findall(r"^\t(?:.*\\\n)*.*", (TOP / "Makefile").read_text(), re.M)
    for recipe in recipes:
        own = set(re.findall(r"\b(\w+)=", recipe)) | set(re.findall(r"\bfor (\w+) in", recipe))
        asked = set(re.findall(r"\$\$\{?([A-Za-z_]\w*)(?![\w]*:?-)", recipe))
        assert asked <= own, f"{asked - own} may be unset: write $${{NAME-}}, or set it in the recipe"
    assert sum("$$python" in r for r in recipes) == 1, "the variables of the recipes are found by this test"


def test_targets_are_phony_and_shown(clone):
    phony = re.search(r"^\.PHONY: (.*)", (TOP / "Makefile").read_text(), re.M)[1].split()
    assert sorted(phony) == sorted(TARGETS)
    shown = clone.make("help").stdout
    assert all(f"make {target} " in shown for target in TARGETS)


def test_a_fresh_clone_installs_once_and_again_when_pyproject_changes(clone):
    first = clone.make("test", f"PYTHON={clone.python}", 'ARGS=-k geometry')
    assert first.returncode == 0, first.stderr
    assert [line.split(" |")[0] for line in clone.called()] == ["python3 --version", "python3 -m venv .venv",
        "python -m pip install --disable-pip-version-check -e .[dev]",
        "python -m pytest -n logical --maxprocesses 4 --dist worksteal -k geometry"]
    assert "Setting up .venv with Python 3.12.0, once" in first.stdout
    assert clone.make("test").returncode == 0 and len(clone.called()) == 1
    later = (clone.top / ".venv/.semipose-ready").stat().st_mtime + 5
    os.utime(clone.top / "pyproject.toml", (later, later))
    assert clone.make("test").returncode == 0 and "pip install" in clone.called()[0]


@pytest.mark.parametrize("ready", ["missing", "old", "new"])
def test_an_environment_that_is_a_link_is_used_and_never_changed(ready, clone, tmp_path):
    theirs = clone.environment(tmp_path / "elsewhere/.venv")
    if ready == "missing": (theirs / ".semipose-ready").unlink()
    if ready == "old": os.utime(theirs / ".semipose-ready", (1, 1))
    (clone.top / ".venv").symlink_to(theirs)
    before = {f: f.stat().st_mtime for f in theirs.rglob("*")}
    done = clone.make("test", PYTHONPATH="/mine")
    assert done.returncode == 0, done.stderr
    assert ((f".venv is a link to {theirs}: it is used as it is, nothing is installed there." in done.stderr)
            == (ready != "new"))
    [call] = clone.called()
    assert call.startswith("python -m pytest")
    assert call.endswith(f"PYTHONPATH={clone.top}:/mine"), "this clone is tested, not the one whose environment it is"
    assert {f: f.stat().st_mtime for f in theirs.rglob("*")} == before


def test_what_cannot_be_used_is_one_sentence(clone, tmp_path):
    none = clone.make("demo", "PYTHON=/nowhere/python3")
    assert none.returncode == 2
    assert "semipose needs Python 3.10 to 3.14 with its venv module (tried: /nowhere/python3)" in none.stderr
    assert "make PYTHON=/path/to/python3.12 demo" in none.stderr and not (clone.top / ".venv").exists()
    (clone.top / ".venv").symlink_to(tmp_path / "gone")
    gone = clone.make("demo")
    assert gone.returncode == 2
    assert f".venv is a link to {tmp_path / 'gone'}, which holds no working Python" in gone.stderr
    assert clone.called() == [] and not (tmp_path / "gone").exists()


def test_the_supported_pythons_are_the_same_everywhere():
    make, project = (TOP / "Makefile").read_text(), (TOP / "pyproject.toml").read_text()
    low, high = (int(m) for m in re.search(r"\(3, (\d+)\) <= sys.version_info\[:2\] <= \(3, (\d+)\)", make).groups())
    every = list(range(low, high + 1))
    assert [int(m) for m in re.findall(r'Python :: 3\.(\d+)"', project)] == every
    assert f'requires-python = ">=3.{low}"' in project
    assert sorted(int(m) for m in re.findall(r"python3\.(\d+)\b", re.search(r"^PYTHONS .*", make, re.M)[0])) == every
    for file in ("README.md", "Makefile"): assert f"Python 3.{low} to 3.{high}" in (TOP / file).read_text(), file
    matrix = (TOP / "scripts/matrix.sh").read_text()
    assert " ".join(map(str, every)) in matrix


@pytest.mark.parametrize("version, right, tried", [((3, 9), 1, 1), ((3, 10), 0, 0), ((3, 13), 0, 0),
                                                   ((3, 14), 0, 0), ((3, 15), 0, 1), ((4, 0), 0, 1)])
def test_a_newer_python_is_taken(version, right, tried):
    "what is too old is refused; what is newer than those that were tried gets a note"
    make = (TOP / "Makefile").read_text()
    for name, want in (("RIGHT", right), ("TRIED", tried)):
        code = re.search(rf"^{name} +:= (.*)", make, re.M)[1]
        done = subprocess.run([sys.executable, "-c", f"import sys; sys.version_info = {(*version, 0)}; {code}"],
                              capture_output=True)
        assert done.returncode == want, (name, done.stderr)


def test_a_newer_python_gets_a_note_and_goes_on(clone):
    clone.python.write_text(clone.python.read_text().replace(
        '[ "${1-}" = -c ]', """[[ "${1-} ${2-}" == "-c "*"3, 14"* ]] && exit 1\n[ "${1-}" = -c ]"""))
    done = clone.make("test", f"PYTHON={clone.python}")
    assert done.returncode == 0 and "is newer than those that were tried (Python 3.10 to 3.14)" in done.stderr, (
        done.stderr)
    assert any("pip install" in call for call in clone.called())


def test_the_gate_begins_as_a_person_would(tmp_path):
    calls = tmp_path / "calls"
    stand_in(tmp_path / "bin/chromium", calls)
    make = tmp_path / "bin/make"
    make.write_text(f'#!/bin/bash\necho "$* | $(ls -A "$HOME" | wc -l) | $(env | cut -d= -f1 | sort | tr "\\n" " ")" '
                    f'>>"{calls}"; touch "$HOME/mark"\n')
    make.chmod(0o755)
    (tmp_path / "clone/.ci").mkdir(parents=True)
    shutil.copy(TOP / ".ci/run", tmp_path / "clone/.ci/run")
    home = tmp_path / "home"
    (home / ".cache").mkdir(parents=True)
    (home / ".config/pip").mkdir(parents=True)
    (home / ".config/pip/pip.conf").touch()
    env = dict(PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}", HOME=str(home), CI="true",
               XDG_CACHE_HOME=str(home / ".cache"), SECRET="x", PIP_CERT="/cert", PYENV_VERSION="3.12",
               LANG="C.UTF-8")
    done = subprocess.run(["bash", str(tmp_path / "clone/.ci/run")], env=env, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    first, second = ([part.strip() for part in line.split("|")] for line in calls.read_text().splitlines())
    assert first[:2] == ["test", "0"]
    assert second[0] == "test ARGS=tests/test_lab.py tests/test_touch.py tests/test_toys.py tests/test_docs.py", (
        "the whole of it in an empty home, then the browser")
    for names, ci in ((first[2].split(), False), (second[2].split(), True)):
        assert ("CI" in names) == ci and {"PIP_CERT", "PIP_CONFIG_FILE", "PYENV_VERSION", "LANG", "PATH"} <= set(names)
        assert not {"XDG_CACHE_HOME", "SECRET"} & set(names)
    assert sorted(os.listdir(home)) == [".cache", ".config"]
    make.write_text("#!/bin/bash\nexit 3\n")
    assert subprocess.run(["bash", str(tmp_path / "clone/.ci/run")], env=env,
                          capture_output=True).returncode != 0, "what fails, fails"
