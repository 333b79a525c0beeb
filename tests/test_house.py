"""The house rules that a machine can check: clean notebooks, a library in step with them, floors, style, nothing of
this machine."""
import ast, json, os, re, shutil, subprocess, sys
from pathlib import Path

import nbformat
import pytest

import execute, measure_code, readme

TOP = execute.TOP
LIBRARY = TOP / "semipose"
NOTEBOOKS = execute.notebooks()
name = lambda path: str(path.relative_to(TOP))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=name)


def python(*args: str, cwd: Path = TOP) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *args], cwd=cwd, capture_output=True, text=True,
                          env={k: v for k, v in os.environ.items() if k != "IN_TEST"})


# ---- notebooks and what is made of them ----

def copy_of_notebooks(folder: Path) -> Path:
    "Settings and notebooks alone, in a folder where nbdev may write"
    shutil.copy(TOP / "settings.ini", folder)
    for path in NOTEBOOKS:
        (folder / name(path)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / name(path))
    return folder


def test_notebooks_are_clean(tmp_path):
    copy = copy_of_notebooks(tmp_path)
    done = python("-c", "from nbdev.clean import nbdev_clean; nbdev_clean()", cwd=copy)
    assert done.returncode == 0, done.stderr
    dirty = [name(path) for path in NOTEBOOKS if (copy / name(path)).read_bytes() != path.read_bytes()]
    assert not dirty, f"nbdev_clean would change {', '.join(dirty)}: run `make export`."


def test_library_is_in_step_with_notebooks(tmp_path):
    copy = copy_of_notebooks(tmp_path)
    (copy / "semipose").mkdir()
    shutil.copy(LIBRARY / "__init__.py", copy / "semipose")
    done = python("-c", "from nbdev.doclinks import nbdev_export; nbdev_export()", cwd=copy)
    assert done.returncode == 0, done.stderr
    modules = lambda top: {str(p.relative_to(top)): p.read_text() for p in (top / "semipose").rglob("*.py")
                           if p.name != "_modidx.py"}
    have, want = modules(TOP), modules(copy)
    stale = sorted(file for file in have.keys() & want.keys() if have[file] != want[file])
    missing, orphans = sorted(want.keys() - have.keys()), sorted(have.keys() - want.keys())
    assert not stale, f"{', '.join(stale)}: not what the notebook says. Change the notebook, then run `make export`."
    assert not missing, f"{', '.join(missing)}: in a notebook, but not exported. Run `make export`."
    assert not orphans, f"{', '.join(orphans)}: exported by no notebook. Delete it, or give it a notebook."


def test_readme_is_in_step_with_index():
    done = python("scripts/readme.py", "--check")
    assert done.returncode == 0, done.stderr.strip()


@each_notebook
def test_links_lead_somewhere(path):
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    lost = [link for link in readme.links(text) if not (path.parent / link).exists()]
    assert not lost, f"{name(path)} links to {', '.join(lost)}, which is not there."


# ---- floors ----

def floors() -> dict[str, int]:
    "module -> number, read from the notebooks: nbs/10_data.core.ipynb exports data.core on floor 10"
    found = {}
    for path in sorted((TOP / "nbs").glob("[0-9][0-9]_*.ipynb")):
        exports = re.findall(r"^#\s*\|\s*default_exp\s+(\S+)",
                             "\n".join(c.source for c in nbformat.read(path, as_version=4).cells), re.M)
        assert exports == [path.stem[3:]], (
            f"{name(path)} should export {path.stem[3:]}, its own name; it says {exports or 'nothing'}.")
        found[exports[0]] = int(path.stem[:2])
    return found


def imports(source: str, module: str, modules: set[str]) -> set[str]:
    "The modules of ours that `module` imports, anywhere in its source, however it writes it"
    package, found = ["semipose", *module.split(".")[:-1]], []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*(package[:len(package) - node.level + 1] if node.level else []),
                             *([node.module] if node.module else [])])
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr",
                                                    getattr(node.func, "id", "")) in ("import_module", "__import__"):
            found += [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)
                      and isinstance(arg.value, str)]
    return {f.removeprefix("semipose.") for f in found if f.startswith("semipose.")} & modules - {module}


def broken_rules(module: str, imported: str, floor: dict[str, int]) -> list[str]:
    "Why `module` must not import `imported`; `errors` is the ground that everyone stands on"
    here, there = floor[module], floor[imported]
    row = lambda number: number // 10
    if imported == "errors":
        return []
    rules = {
        f"floor {here} may import only from lower floors, and {imported} is on {there}": there >= here,
        "nets, losses and protocols import nothing of ours outside their own row":
            (module.startswith("nets.") or module in ("losses", "protocols")) and row(here) != row(there),
        "learning (40-49) sees a batch, not a file: it never imports data": row(here) == 4
        and imported.startswith("data."),
        "truth (50-59) never imports learning (40-49)": row(here) == 5 and row(there) == 4,
    }
    return [rule for rule, broken in rules.items() if broken]


def test_modules_import_only_from_lower_floors():
    floor = floors()
    wrong = []
    for module in floor:
        file = LIBRARY / f"{module.replace('.', '/')}.py"
        source = file.read_text() if file.exists() else ""  # not exported yet: the test of being in step says so
        for imported in sorted(imports(source, module, set(floor))):
            wrong += [f"{module} imports {imported}: {why}." for why in broken_rules(module, imported, floor)]
    assert not wrong, "\n".join(wrong)


def test_floors_are_distinct():
    taken = {}
    for module, number in floors().items():
        if module != "errors":
            assert number not in taken, f"{module} and {taken[number]} both say floor {number}."
            taken[number] = module


@pytest.mark.parametrize("source", [
    "import semipose.methods", "from semipose import methods", "from semipose.methods import METHODS",
    "from ..methods import METHODS",
    "from .. import methods",
    "def f():\n    from semipose.methods import METHODS",
    "import importlib\nimportlib.import_module('semipose.methods')",
])
def test_no_way_of_importing_escapes(source):
    assert imports(source, "data.core", {"methods", "data.core", "data.coco"}) == {"methods"}


def test_the_rules_know_their_offenders():
    floor = {"errors": 0, "geometry": 1, "data.core": 10, "nets.simple": 30, "nets.peers": 33, "predict": 35,
             "losses": 40, "watch": 43,
             "evaluate.coco": 51, "protocols": 70, "run": 71}
    allowed = lambda module, imported: not broken_rules(module, imported, floor)
    assert (allowed("data.core", "geometry") and allowed("nets.peers", "nets.simple")
            and allowed("predict", "geometry") and allowed("run", "watch"))
    assert allowed("nets.simple", "errors") and allowed("run", "protocols")
    for module, imported in [("geometry", "data.core"), ("nets.simple", "geometry"), ("nets.simple", "nets.peers"),
                             ("losses", "geometry"),
                             ("protocols", "geometry"), ("watch", "data.core"), ("evaluate.coco", "losses"),
                             ("predict", "losses")]:
        assert not allowed(module, imported), f"{module} must not import {imported}"


# ---- style ----

def test_ruff_is_content():
    done = python("-m", "ruff", "check", "--output-format", "concise", ".")
    assert done.returncode == 0, f"ruff (its rules are in pyproject.toml) says:\n{done.stdout}{done.stderr}"


def code_lines(path: Path) -> list[tuple[int, str]]:
    "Of a module of ours, without its promise and its list of names, which nbdev writes on lines of their own length"
    text = path.read_text()
    tree, made = ast.parse(text), set()
    for n in tree.body:
        names = isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "__all__"
        if names or n is tree.body[0] and isinstance(n, ast.Expr): made |= {*range(n.lineno, n.end_lineno + 1)}
    return [(i, line) for i, line in enumerate(text.splitlines(), 1) if i not in made]


def test_no_line_over_120_columns():
    "ruff holds it for notebooks, scripts and tests; here the library that is written from them"
    modules = [p for p in LIBRARY.rglob("*.py") if p.name != "_modidx.py"]
    long = [f"{name(p)}:{i}" for p in modules for i, line in code_lines(p) if len(line) > 120]
    assert not long, f"{', '.join(long)}: over 120 columns. Break the line in the notebook, then run `make export`."


@each_notebook
def test_exported_cells_fit_a_screen(path):
    large = [next(line for line in cell.splitlines()[1:] if line.strip()) for cell in
             measure_code.cells(path.read_text()) if len(cell.splitlines()) > measure_code.CELL]
    assert not large, (f"{name(path)}: over {measure_code.CELL} lines are the cells that begin with "
                       f"{'; '.join(large)}. Split them, each part with a use, a picture or a law of its own.")


def test_no_function_takes_too_much_or_branches_too_often():
    found = [f for p in LIBRARY.rglob("*.py") for f in measure_code.functions(name(p), ast.parse(p.read_text()))]
    many = [n for n, f in found if measure_code.arguments(f) > measure_code.ARGUMENTS]
    branched = [n for n, f in found if measure_code.branches(f) > measure_code.BRANCHES]
    assert not many, f"{', '.join(many)}: over {measure_code.ARGUMENTS} arguments. Group them in a dataclass."
    assert not branched, f"{', '.join(branched)}: over {measure_code.BRANCHES} branches. Take a function out."


@each_notebook
def test_sentences_are_short(path):
    long = [n for n in measure_code.prose(path.read_text()) if n > measure_code.SENTENCE]
    assert not long, f"{name(path)}: sentences of {long} words; {measure_code.SENTENCE} are the most."


def test_exported_code_imports_names():
    stars = [f"{name(path)}:{node.lineno}" for path in LIBRARY.rglob("*.py")
             for node in ast.walk(ast.parse(path.read_text()))
             if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)]
    assert not stars, f"`import *` in {', '.join(stars)}: name what you import."


def test_wheel_asks_for_what_it_imports():
    text = (TOP / "pyproject.toml").read_text()
    asked = re.search(r"^dependencies = \[(.*?)^\]", text, re.M | re.S)[1]
    declared = {m.lower() for m in re.findall(r'^\s*"([\w-]+)', asked, re.M)} | {"semipose"}
    wanted = {}  # top package -> a file that imports it
    for path in LIBRARY.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            absolute = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for module in [alias.name for alias in node.names] if isinstance(node, ast.Import) else absolute:
                wanted[module.split(".")[0]] = name(path)
    lost = {n: file for n, file in wanted.items()
            if n not in sys.stdlib_module_names and {"PIL": "pillow"}.get(n, n.replace("_", "-")) not in declared}
    assert not lost, f"pyproject.toml does not declare what the library imports: {lost}."


@each_notebook
def test_notebook_begins_with_a_promise(path):
    first = nbformat.read(path, as_version=4).cells[0]
    assert first.cell_type == "markdown" and re.match(r"# \S.*\n+> \S", first.source), (
        f"{name(path)} should begin with `# Title` and `> one promise`.")


@each_notebook
def test_outputs_are_small_and_calm(path):
    nb = json.loads(path.read_text())
    outputs = [(number, out) for number, cell in enumerate(nb["cells"]) for out in cell.get("outputs", [])]
    size = sum(len(json.dumps(out)) for _, out in outputs)
    assert size <= 500_000, (
        f"{name(path)} stores {size / 1000:.0f} KB of outputs; 500 KB is the most (smaller figures, or fewer).")
    failed = [f"cell {number}" for number, out in outputs if out["output_type"] == "error"]
    assert not failed, (
        f"{name(path)} stores an error in {', '.join(failed)}: mend it and run it again (`make notebooks "
        f"NB={name(path)}`).")
    noise = [f"cell {number} ({''.join(out['text']).strip().splitlines()[-1][:80]})"
             for number, out in outputs if out.get("name") == "stderr"]
    assert not noise, (
        f"{name(path)} stores what went to stderr (warnings, progress bars) in {', '.join(noise)}: a reader should not "
        f"meet it.")


# ---- what is committed ----

def committed() -> dict[str, str]:
    "The text files that git has or would take, by name"
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=TOP, capture_output=True, text=True, check=True).stdout
    found = {}
    for file in filter(None, listed.split("\0")):
        if (TOP / file).is_file() and b"\0" not in (data := (TOP / file).read_bytes())[:8000]:
            found[file] = data.decode("utf-8", errors="replace")
    return found


def indices() -> set[str]:
    "Hosts of the package indices that this machine is set up with: they are nobody else's business"
    said = (python("-m", "pip", "config", "list").stdout
            + " ".join(v for k, v in os.environ.items() if k.startswith(("PIP_", "UV_", "NPM_", "GOPROXY"))))
    return {host for host in re.findall(r"https?://(?:[^@/\s'\"]*@)?([\w.-]+\.[\w-]+)", said)}


def test_nothing_of_this_machine_is_committed():
    machine = re.compile(r"(?<![\w.~/-])/(?:work|root|tmp|home|Users|mnt)/[\w.-]|pythonhosted|"
                         r"(?:extra-)?index-url|find-links")
    hosts = indices()
    found = []
    for file, text in committed().items():
        if file == "tests/test_house.py":
            continue
        for number, line in enumerate(text.splitlines(), 1):
            hit = ((m := machine.search(line)) and line[m.start():m.start() + 40]
                   or next((host for host in hosts if host in line), None))
            found += [f"{file}:{number}: {hit}"] if hit else []
    assert not found, "A path or a package index of one machine:\n" + "\n".join(found)


def test_nothing_is_left_to_do():
    word = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    found = [f"{file}:{number}" for file, text in committed().items()
             for number, line in enumerate(text.splitlines(), 1)
             if word.search(line) and '"image/' not in line]
    assert not found, f"{', '.join(found)}: do it, or file an issue."


def test_version_has_one_home():
    from importlib.metadata import version

    import semipose
    told = {"settings.ini": re.search(r"^version = (\S+)", (TOP / "settings.ini").read_text(), re.M)[1],
            "semipose.__version__": semipose.__version__,
            "CITATION.cff": re.search(r"^version: (\S+)", (TOP / "CITATION.cff").read_text(), re.M)[1],
            "the installed package": version("semipose")}
    assert len(set(told.values())) == 1, (
        f"They name different versions: {told}. Set it in settings.ini and CITATION.cff, then `make export`.")


def test_pictures_are_stored_small_and_unharmed():
    "a chart gets a palette; a photograph keeps its colours; nobody sees a difference"
    import base64, io
    import numpy as np
    from PIL import Image
    rng = np.random.default_rng(0)
    chart = np.full((120, 160, 4), 255, dtype=np.uint8)
    for i in range(60): chart[i:i + 40, 2 * i:2 * i + 9, :3] = np.array([200, 3 * i, 90])
    photo = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    for pixels, mode in ((chart, "P"), (photo, "RGB")):
        Image.fromarray(pixels).save(out := io.BytesIO(), "PNG", compress_level=1)
        kept = Image.open(io.BytesIO(base64.b64decode(execute.repack(base64.b64encode(out.getvalue()).decode()))))
        off = np.asarray(kept.convert("RGB"), dtype=float) - pixels[..., :3]
        assert kept.mode == mode and (off ** 2).mean() ** .5 < 1.5
