"""Tutorials and widgets in a real JupyterLab, in headless Chromium: cells run, hands on sliders change pictures.

Screenshots of what was seen, at the width of a laptop and of a projector, go to runs/screenshots/ (ignored by git).
Without a browser these tests are skipped with a sentence, but under CI=true they fail: a gate that did not look says
so. SEMIPOSE_BROWSER names another browser.
"""
from __future__ import annotations

import json, os, re, shutil, subprocess, sys, time, urllib.request
from pathlib import Path

import nbformat
import pytest

import execute

TOP = execute.TOP
SHOTS = TOP / "runs/screenshots"
TUTORIALS = [path for path in execute.notebooks() if path.parent.name == "tutorials"]
LAPTOP, PROJECTOR = dict(width=1366, height=768), dict(width=1920, height=1080)
FLAGS = ("--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
         "--disable-component-update --disable-sync").split()
NEEDED = ("nbs", "data", "results")  # what a reader's clone has and a tutorial may read


def without(what: str):
    "Skip, or under CI fail, with a sentence"
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"JupyterLab was not looked at: {what}")


def browser_path() -> str | None:
    "The browser to look with; None if there is none"
    asked = os.environ.get("SEMIPOSE_BROWSER")
    return next(filter(None, map(shutil.which, [asked] if asked else [
        "chromium", "chromium-browser", "google-chrome", "chrome"])), None)


def find_browser() -> str:
    return browser_path() or without(f"there is no {os.environ.get('SEMIPOSE_BROWSER') or 'Chromium'}; "
                                     "on Debian, `apt install chromium`.")


# ---- a server and a browser ----

class Server:
    "JupyterLab over a copy of the clone, with nobody's settings"

    def __init__(self, home: Path):
        self.work, self.home, self.url = home / "work", home, None
        listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *NEEDED],
                                cwd=TOP, capture_output=True, text=True, check=True)
        for name in filter(None, listed.stdout.split("\0")):
            if (TOP / name).exists():
                (self.work / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(TOP / name, self.work / name)
        env = {**os.environ, "PYTHONPATH": str(TOP), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": execute.QUIET}
        for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR",
                     "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"):
            env[name] = str(home / name)
            (home / name).mkdir()
        self.settings(Path(env["JUPYTERLAB_SETTINGS_DIR"]))
        with open(home / "log", "w") as log:
            options = ["--no-browser", "--ip=127.0.0.1", "--port=0", "--allow-root", "--IdentityProvider.token=",
                       "--ServerApp.disable_check_xsrf=True"]
            options += [f"--ServerApp.root_dir={self.work}"]
            self.process = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env=env,
                                            stdout=log, stderr=log, cwd=home)
        until = time.monotonic() + 120
        while self.url is None and time.monotonic() < until and self.process.poll() is None:
            for file in Path(env["JUPYTER_RUNTIME_DIR"]).glob("jpserver-*.json"):
                try:
                    self.url = json.loads(file.read_text())["url"]
                except ValueError:  # half written
                    pass
            time.sleep(.1)
        if self.url is None:
            self.stop()
            pytest.fail(f"JupyterLab did not start:\n{(home / 'log').read_text()[-2000:]}")

    @staticmethod
    def settings(folder: Path):
        "No news, all cells on the page, and no cell cut short"
        quiet, whole = dict(fetchNews="false", checkForUpdates=False), dict(windowingMode="none")
        for plugin, name, values in (("apputils", "notification", quiet), ("notebook", "tracker", whole)):
            file = folder / f"@jupyterlab/{plugin}-extension/{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps(values))

    def kernels(self) -> list[dict]:
        with urllib.request.urlopen(self.url + "api/kernels") as answer:
            return json.load(answer)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def open_chromium():   # the fixture `chromium`, see conftest.py
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        without("playwright is not installed; `pip install -e .[dev]`.")
    path = find_browser()
    with sync_playwright() as play:
        try:
            browser = play.chromium.launch(executable_path=path, args=FLAGS)
        except Error as error:
            without(f"{path} does not start ({str(error).splitlines()[0]}).")
        yield browser
        browser.close()


class Desk:
    "A notebook open in JupyterLab"

    def __init__(self, chromium, server: Server, path: str):
        self.server, self.path, self.name = server, path, Path(path).stem
        self.page = chromium.new_page(viewport=LAPTOP)
        self.page.set_default_timeout(60_000)
        self.page.goto(f"{server.url}lab/tree/{path}?reset")
        self.page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
        self.page.wait_for_selector("text=| Idle")  # before that, a click asks which kernel
        self.page.keyboard.press("Control+b")  # the list of files away

    def run_all(self, seconds: int = 400):
        "Run > Run All Cells, and wait for the last one; fails where a cell raised"
        page = self.page
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        cells = page.locator(".jp-NotebookPanel .jp-CodeCell")
        until, done = time.monotonic() + seconds, re.compile(r"\[\d+\]")
        while time.monotonic() < until:
            prompts = cells.evaluate_all("cells => cells.map(c => ["
                                         "c.querySelector('.jp-InputPrompt')?.innerText ?? '', "
                                         "c.querySelector('.cm-content')?.innerText.trim() ?? ''])")
            ran = [bool(done.search(prompt)) for prompt, source in prompts if source]
            if all(ran) and all(k["execution_state"] == "idle" for k in self.server.kernels()) or self.errors():
                break
            time.sleep(.3)
        wrong = self.errors()
        assert not wrong, f"{self.path}: {wrong[0][-1500:]}"
        assert all(ran), f"{self.path}: {ran.count(False)} of {cells.count()} cells had not run after {seconds} s."
        page.wait_for_timeout(500)

    def errors(self) -> list[str]:
        return self.page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']").all_inner_texts()

    def shot(self, what: str, element=None):
        "A screenshot at both widths"
        SHOTS.mkdir(parents=True, exist_ok=True)
        for word, size in (("laptop", LAPTOP), ("projector", PROJECTOR)):
            self.page.set_viewport_size(size)
            if element is not None:
                element.evaluate("e => e.scrollIntoView({block: 'start'})")
            self.page.wait_for_timeout(300)
            self.page.screenshot(path=SHOTS / f"{self.name}-{what}-{word}.png")
        self.page.set_viewport_size(LAPTOP)
        self.page.wait_for_timeout(200)

    def widgets(self) -> list:
        "Every cell's output that has a slider or a button"
        outputs = self.page.locator(".jp-NotebookPanel .jp-Cell-outputWrapper")
        return [Widget(self.page, outputs.nth(i)) for i in range(outputs.count())
                if outputs.nth(i).locator(".noUi-handle, .jupyter-button").count()]

    def close(self):
        self.page.close()
        for kernel in self.server.kernels():
            urllib.request.urlopen(urllib.request.Request(f"{self.server.url}api/kernels/{kernel['id']}",
                                                          method="DELETE"))


class Widget:
    "Controls and pictures in the output of one cell"
    DATA = """async root => {
        const parts = [];
        for (const img of root.querySelectorAll('img')) {
            const bytes = new Uint8Array(await (await fetch(img.src)).arrayBuffer());
            parts.push(Array.from(bytes, b => String.fromCharCode(b)).join(''));
        }
        return btoa(parts.join('')) }"""

    def __init__(self, page, root):
        self.page, self.root = page, root

    def picture(self) -> str:
        "The bytes of its pictures"
        return self.root.evaluate(self.DATA)

    def changed(self, before: str, seconds: float = 30) -> str:
        "The picture once it is another; `before` if it stays"
        until = time.monotonic() + seconds
        while (now := self.picture()) == before and time.monotonic() < until:
            time.sleep(.05)
        return now

    def settled(self, still: float = .6) -> str:
        "The picture once nothing moves"
        now = self.picture()
        while True:
            self.page.wait_for_timeout(1000 * still)
            now, was = self.picture(), now
            if now == was:
                return now

    def sliders(self) -> list[str]:
        "Names of those that can be seen; where all are folded away, the first fold is opened"
        seen, folds = self.root.locator(".widget-hslider:visible > .widget-label"), self.root.locator(
            ".jupyter-widget-Collapse-header")
        if not seen.count() and folds.count():
            folds.first.click()
            self.page.wait_for_timeout(500)
        return seen.all_inner_texts()

    def handle(self, name: str, of: int = 0):
        rows = self.root.locator(".widget-hslider").filter(has=self.page.locator(
            ":scope > .widget-label", has_text=re.compile(f"^{re.escape(name)}$")))
        return rows.nth(of).locator(".noUi-handle")

    def press(self, name: str, of: int = 0) -> tuple[str, str]:
        "Move a slider by the keyboard, away from its nearer end: the picture before and after"
        before, handle = self.settled(), self.handle(name, of)
        value = lambda which="now": float(handle.get_attribute(f"aria-value{which}"))
        low, now, high = value("min"), value(), value("max")
        self.log = [f"{name} at {now:g} of {low:g} to {high:g}"]
        for patience in (15, 30, 60):    # a page that a busy machine is still drawing may lose a key
            handle.focus()
            self.page.keyboard.press("ArrowRight" if now - low <= high - now else "ArrowLeft")
            after = self.changed(before, patience)
            self.log.append(f"then {value():g}, focus on {self.page.evaluate('document.activeElement.className')!r}")
            if after != before: break
        return before, after

    def drag(self, name: str, of: int = 0, by: int = 60) -> tuple[str, str]:
        "Move a slider by the mouse: the picture before and after"
        before, handle = self.settled(), self.handle(name, of)
        handle.scroll_into_view_if_needed()
        box, bar = (handle.bounding_box(),
                    handle.locator("xpath=ancestor::*[contains(@class, 'noUi-target')]").bounding_box())
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        way = by if x < bar["x"] + bar["width"] / 2 else -by
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        for i in range(1, 5):
            self.page.mouse.move(x + way * i / 4, y)
        self.page.mouse.up()
        return before, self.changed(before)

    def click(self, button: str) -> str:
        before = self.settled()
        self.root.get_by_role("button", name=button, exact=True).click()
        return self.changed(before)


@pytest.fixture
def desk(chromium, server):
    desks = []
    def open_desk(path: str) -> Desk:
        desks.append(Desk(chromium, server, path))
        return desks[-1]
    yield open_desk
    for desk in desks:
        desk.close()


# ---- tutorials ----

def leave_out_marked_cells(path: Path):
    "A reader without a GPU, the photographs or the time does not run those cells either"
    nb = nbformat.read(path, as_version=4)
    nb.cells = [cell for cell in nb.cells
                if not execute.marks(cell.source) & {"slow", "cuda", "data"} - execute.enabled()]
    nbformat.write(nb, path)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_in_jupyterlab(path, server, desk, record_property):
    name = str(path.relative_to(TOP))
    leave_out_marked_cells(server.work / name)
    d, start = desk(name), time.perf_counter()
    d.shot("top")
    d.run_all()
    record_property(f"{name} in JupyterLab", f"{time.perf_counter() - start:.1f} s")
    for i, widget in enumerate(d.widgets()):
        d.shot(f"widget{i}", widget.root)
        if sliders := widget.sliders():
            moved = [widget.press(slider) for slider in sliders[:3]] + [widget.drag(sliders[0])]
            assert any(before != after for before, after in moved), (
                f"{name}: no slider of widget {i} ({', '.join(sliders[:3])}) changed its picture.")


# ---- every widget ----

SHEET = {
    "made": """
import tempfile, warnings
from pathlib import Path
warnings.filterwarnings('ignore')
from semipose.data.synth import DEMO, write_synth
from semipose.protocols import protocol
from semipose.run import prepare, train
from semipose.widgets import *
p = protocol('demo', train_people=60, val_people=12, labels=40, width=8, batch=(8,8), start_steps=20, start_every=20,
             steps=20, every=10)
home = Path(tempfile.mkdtemp())
write_synth(home/'people', 60, 12, seed=1, difficulty=DEMO, progress=False)
data = prepare(p, home/'people', 1, progress=False)
train('supervised', p, data, home/'start', 1, steps=20, every=20, lr=p.start_lr, nets=2, progress=False)
for name in ('naive', 'posedual'): train(name, p, data, home/name, 1, start=home/'start', progress=False)""",
    "browser": "HeatmapBrowser(home/'posedual')",
    "explorer": "ViewExplorer(home/'start', people=8, pair='naive', patience=9.)",
    "monitor": "CollapseMonitor(home/'naive')",
    "comparer": "RunComparer({k: home/k for k in ('start', 'naive', 'posedual')})",
    "pixels": "PixelLab(ratio=100)",
    "boundary": "BoundaryLab(ratio=30)",
}
SLIDERS = dict(browser=("moment",), explorer=("size", "dice"), monitor=("until",), comparer=("moment",),
               pixels=("ratio", "joint fades"), boundary=("steps made", "ratio"))
FOLDED = "explorer"     # whose sliders are folded away until somebody wants them


class Sheet:
    "Every widget on one page; opened again where a page lost its kernel"
    def __init__(self, chromium, server):
        cells = [nbformat.v4.new_code_cell(source.strip()) for source in SHEET.values()]
        nb = nbformat.v4.new_notebook(cells=cells, metadata=dict(
            kernelspec=dict(display_name="python3", language="python", name="python3")))
        nbformat.write(nb, server.work / "sheet.ipynb")
        self.open = lambda: Desk(chromium, server, "sheet.ipynb")
        self.desk, self.again = None, False
        self.renew()

    def renew(self):
        if self.desk: self.desk.close()
        self.desk = self.open()
        self.desk.run_all()
        self.widgets = dict(zip(list(SHEET)[1:], self.desk.widgets()))
        for i in (0, 4):    # what both views share, and the dice
            self.widgets[FOLDED].root.locator(".jupyter-widget-Collapse-header").nth(i).click()

    def press(self, name: str, slider: str) -> tuple[str, str]:
        "A slider of a widget by keyboard. Once in all, a page that answers nobody is opened anew; twice is a fault."
        before, after = self.widgets[name].press(slider)
        if before == after and not self.again:
            print(f"{name}: opened again ({'; '.join(self.widgets[name].log)})")
            self.again = True
            self.renew()
            before, after = self.widgets[name].press(slider)
        return before, after


@pytest.fixture(scope="module")
def sheet(chromium, server):
    sheet = Sheet(chromium, server)
    yield sheet
    sheet.desk.close()


def test_there_is_a_widget_in_every_cell(sheet):
    assert list(sheet.widgets) == list(SHEET)[1:]


@pytest.mark.parametrize("name", list(SLIDERS))
def test_sliders_change_the_picture(name, sheet):
    sheet.desk.shot(name, sheet.widgets[name].root)
    for slider in SLIDERS[name]:
        before, after = sheet.press(name, slider)
        assert hash(before) != hash(after), (
            f"{name}: the slider {slider!r} changed nothing by keyboard ({'; '.join(sheet.widgets[name].log)}).")
    before, after = sheet.widgets[name].drag(SLIDERS[name][0], by=150)      # also where there are two moments
    assert hash(before) != hash(after), f"{name}: the slider {SLIDERS[name][0]!r} changed nothing by mouse."


@pytest.mark.parametrize("name", list(SLIDERS))
def test_tab_goes_through_every_control_and_out_again(name, sheet):
    page, root = sheet.desk.page, sheet.widgets[name].root
    stops = root.locator(".noUi-handle:visible, select:visible, button:not([disabled]):not([tabindex='-1']):visible, "
                         "canvas:visible").count()
    root.locator(".noUi-handle, select, button:not([tabindex='-1'])").first.focus()
    seen = set()
    for _ in range(3 * stops + 10):
        inside = root.evaluate("""root => { const e = document.activeElement; if (!root.contains(e)) return null;
            return [...root.querySelectorAll('*')].indexOf(e) }""")
        if inside is None:
            break
        seen.add(inside)
        page.keyboard.press("Tab")
    assert inside is None, f"{name}: the keyboard cannot leave it."
    assert len(seen) >= stops, f"{name}: Tab reached {len(seen)} of {stops} controls."


def test_boundary_steps_forward_and_back(sheet):
    widget = sheet.widgets["boundary"]
    start = (widget.click("reset") if float(widget.handle("steps made").get_attribute("aria-valuenow"))
             else widget.settled())
    one = widget.click("step")
    two = widget.click("step")
    assert len({start, one, two}) == 3
    assert widget.click("back") == one and widget.click("step") == two and widget.click("reset") == start


def test_explorer_throws_the_dice_and_takes_presets(sheet):
    widget = sheet.widgets["explorer"]
    before = widget.settled()
    assert widget.click("throw the dice") != before
    before = widget.settled()
    widget.root.locator("select").first.select_option(label="PoseCons + JC (posecons_jc)")
    assert widget.changed(before) != before
    assert float(widget.handle("joints").get_attribute("aria-valuenow")) == 5
