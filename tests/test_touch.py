"""Figures that answer to a hand, in a real JupyterLab: every gesture is performed, at three sizes nothing is cut
off, and a widget says when a cell trains.

Without a browser these tests are skipped with a sentence, and fail under CI=true (see test_lab.py, whose browser and
server they use). Screenshots go to runs/screenshots/ (ignored by git).
"""
from __future__ import annotations

import re, statistics

import nbformat
import pytest

from test_lab import SHEET as LAB
from test_lab import SHOTS, Desk

SIZES = {"laptop": dict(width=1440, height=900), "small": dict(width=1024, height=768),
         "projector": dict(width=1280, height=720)}
SHEET = {
    "made": LAB["made"] + "\nfrom semipose.stepview import StepView",
    "browser": "browser = HeatmapBrowser(home/'posedual', people=8)\nbrowser",
    "explorer": "explorer = ViewExplorer(home/'start', people=4, pair='posecons_jc', patience=9.)\nexplorer",
    "comparer": "comparer = RunComparer({k: home/k for k in ('naive', 'posedual')}, people=8)\ncomparer",
    "monitor": "monitor = CollapseMonitor(home/'naive')\nmonitor",
    "step": "view = StepView(home/'posedual', 'posedual_jc')\nview",
    "five": "from semipose.finished import finished\nfrom semipose.protocols import HEADLINE\n"
            "RunComparer([finished()/name for name in HEADLINE])",
    "pixels": "PixelLab()",
    "boundary": "BoundaryLab()",
    "busy": "import time\ndef train_nothing(): time.sleep(6)\ntrain_nothing()",
}
WIDGETS = [name for name in SHEET if name not in ("made", "busy")]


class Hand:
    "A touchable figure with its controls, in the output of a cell"
    def __init__(self, page, root):
        self.page, self.root = page, root
        self.canvas = root.locator(".semipose-touch canvas")
        self.canvas.wait_for()
    def ask(self, js: str):
        return self.root.evaluate(f"root => {{ const f = root.querySelector('.semipose-touch').parentElement.figure; "
                                  f"return {js} }}")
    def spots(self) -> list[dict]: return self.ask("f.spots")
    def spot(self, **which) -> dict:
        return next(s for s in self.spots() if all(
            re.search(v, s[k]) if k == "label" else s[k] == v for k, v in which.items()))
    def px(self, spot) -> tuple[float, float]:
        "The middle of a spot on the page"
        self.canvas.scroll_into_view_if_needed()
        box, at = self.canvas.bounding_box(), spot["at"]
        if spot["kind"] == "point": x, y = at
        elif spot["kind"] == "frame": x, y = (sum(c[i] for c in at) / 4 for i in (0, 1))
        else: x, y = (at[0] + at[2]) / 2, (at[1] + at[3]) / 2
        return box["x"] + x * box["width"], box["y"] + y * box["height"]
    def text(self) -> str: return self.root.locator(".widget-html-content").first.inner_text()
    def changed(self, do, seconds: int = 30):
        "Do something, and wait for another picture"
        was = self.ask("f.img.src")
        do()
        self.page.wait_for_function("([root, was]) => "
                                    "root.querySelector('.semipose-touch').parentElement.figure.img.src !== was",
                                    arg=[self.root.element_handle(), was], timeout=1000 * seconds)
        self.page.wait_for_timeout(200)
    def settled(self):
        "Every message of the hand is answered, and its picture stands"
        self.page.wait_for_function("root => root.querySelector('.semipose-touch').parentElement.figure.answered",
                                    arg=self.root.element_handle())
        self.page.wait_for_timeout(300)
    def click(self, spot): self.changed(lambda: self.page.mouse.click(*self.px(spot)))
    def over(self, spot):
        self.page.mouse.move(*self.px(spot), steps=3)
        self.page.wait_for_timeout(100)
    def select(self, n: int) -> str:
        return self.root.locator("select").nth(n).evaluate("e => e.selectedOptions[0].text")
    def shot(self, name: str):
        SHOTS.mkdir(parents=True, exist_ok=True)
        for word, size in SIZES.items():
            self.page.set_viewport_size(size)
            self.root.evaluate("e => e.scrollIntoView({block: 'start'})")
            self.page.mouse.move(2, 2)
            self.page.wait_for_timeout(400)
            self.page.screenshot(path=SHOTS / f"touch-{name}-{word}.png")
        self.page.set_viewport_size(SIZES["laptop"])
        self.page.wait_for_timeout(300)


@pytest.fixture(scope="module")
def sheet(chromium, server):
    cells = [nbformat.v4.new_code_cell(source.strip()) for name, source in SHEET.items() if name != "busy"]
    cells.append(nbformat.v4.new_code_cell(""))
    kernel = dict(display_name="python3", language="python", name="python3")
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=dict(kernelspec=kernel)), server.work / "touch.ipynb")
    desk = Desk(chromium, server, "touch.ipynb")
    desk.page.set_viewport_size(SIZES["laptop"])
    desk.run_all()
    outputs = desk.page.locator(".jp-NotebookPanel .jp-CodeCell")
    desk.hands = {name: Hand(desk.page, outputs.nth(i).locator(".jp-Cell-outputWrapper"))
                  for i, name in enumerate(SHEET) if name in WIDGETS}
    yield desk
    desk.close()


@pytest.fixture
def hand(sheet):
    return sheet.hands.__getitem__


def test_hover_tells_value_joint_and_place(hand):
    h = hand("browser")
    s = h.spot(kind="heat")
    h.over(s)
    value, place = h.ask("f.words(f.over, f.pixel)")
    i, j = h.ask("f.pixel")
    v = h.ask(f"f.values[{s['from']} + {j} * {s['shape'][1]} + {i}]")
    assert value.startswith(f"{v:.3f}") and s["label"] in value and (f"heatmap px ({i}, {j})" in place)
    assert f"crop px ({i * s['stride']:g}, {j * s['stride']:g})" in place
    # the middle of the map lies in its middle
    assert abs(i - s["shape"][1] / 2) <= 1 and abs(j - s["shape"][0] / 2) <= 1


def test_a_click_on_a_joint_shows_its_heatmap(hand):
    h = hand("browser")
    # no other over it
    s = h.ask("f.spots.find(s => s.kind === 'point' && s.label.includes(': peak') && f.find(...f.px(s.at)) === s)")
    h.click(s)
    joint = s["label"].split(":")[0]
    assert joint in h.text() and h.select(1) == joint and h.spot(kind="heat")["label"] == joint


def test_a_click_on_a_point_of_a_curve_goes_to_that_moment(hand):
    h = hand("browser")
    h.click(h.spot(kind="point", label="^start: peak"))
    assert ", start, " in h.text()
    m = hand("monitor")
    m.click(m.spot(kind="point", label="^step 0: "))
    assert m.text().startswith("Step 0:")
    c = hand("comparer")
    c.changed(lambda: c.root.locator("select").first.select_option(label="unlabelled people, along training"))
    point = c.spot(kind="point", label=r"^Plain consistency, step 10: AP")
    c.click(point)
    assert c.root.locator(".widget-readout").first.inner_text() == "step 10"
    assert any(s["label"] == "Plain consistency, step 0: AP 0.0" or "step 0: AP" in s["label"] for s in c.spots())


def test_a_click_on_a_person_opens_it(hand):
    for name in ("browser", "explorer", "comparer", "step"):
        h = hand(name)
        third = h.root.locator(".semipose-thumbs button").nth(2)
        who = third.get_attribute("title")
        h.changed(third.click)
        assert third.get_attribute("aria-checked") == "true"
        if name in ("browser", "comparer"): assert who.split()[1] in re.search(r"[Pp]erson (\d+)", h.text())[0]
        first = h.ask("f.img.src")
        third.focus()
        h.changed(lambda h=h: h.page.keyboard.press("ArrowRight"))     # and by keyboard
        assert (h.root.locator(".semipose-thumbs button").nth(3).get_attribute("aria-checked") == "true"
                and h.ask("f.img.src") != first)


def test_the_frame_of_a_view_is_dragged_turned_and_resized(hand):
    h, now = hand("explorer"), lambda: hand("explorer").spot(kind="frame")["now"]
    mouse = h.page.mouse
    def drag(at, dx, dy):
        def do():
            mouse.move(*at); mouse.down()
            for i in range(1, 6): mouse.move(at[0] + dx * i / 5, at[1] + dy * i / 5); h.page.wait_for_timeout(30)
            mouse.up()      # a fast kernel has drawn the end before the hand lets go
        h.changed(do)
        h.settled()
    h.canvas.scroll_into_view_if_needed()
    box = h.canvas.bounding_box()
    x, y = h.px(h.spot(kind="frame"))
    inside = next((x + dx, y + dy) for dx, dy in [(0, 0), (12, 30), (-12, 30), (15, -20), (-18, 45), (25, 60)]
                  if h.ask(f"f.grip({x + dx - box['x']}, {y + dy - box['y']}) === 'move' && "
                           f"!(f.find({x + dx - box['x']}, {y + dy - box['y']}) || {{}}).click"))
    drag(inside, 20, 10)
    moved = now()
    scale = h.spot(kind="frame")["scale"]
    assert (moved["right"] == pytest.approx(20 / box["width"] * scale[0], abs=.6)
            and moved["down"] == pytest.approx(10 / box["height"] * scale[1], abs=.6))
    knob = h.ask("f.knob(f.corners(f.frame()))")
    drag((box["x"] + knob[0], box["y"] + knob[1]), 40, 10)
    assert abs(now()["turn"]) > 5 and now()["right"] == moved["right"]
    assert "turned by" in h.text()
    before = now()["zoom"]
    middle = h.ask("f.middle(f.corners(f.frame()))")
    reach = h.ask("f.corners(f.frame()).map(c => f.near(c))")  # what is outside the picture stands at its edge
    c = next(c for c in reach if h.ask(f"f.grip({c[0]}, {c[1]}) === 'zoom'"))
    drag((box["x"] + c[0], box["y"] + c[1]), (middle[0] - c[0]) * .3, (middle[1] - c[1]) * .3)
    assert now()["zoom"] == pytest.approx(.7 * before, abs=.05)
    h.changed(lambda: h.root.get_by_role("button", name="frame back").click())
    assert now() == dict(turn=0, zoom=1, right=0, down=0)


def test_a_step_is_walked_through(hand):
    h = hand("step")
    for stage in ("2 teacher predicts", "5 what counts", "8 gradient"):
        h.click(h.spot(kind="area", label=f"^{stage}"))
        assert h.root.locator(".widget-readout").first.inner_text() == stage
    h.click(h.spot(kind="area", label="^right hip: loss"))
    assert "right hip" in h.text()
    h.changed(lambda: h.root.locator("select").first.select_option(label="Plain consistency (naive)"))
    assert "Plain consistency, step 0" in h.text()
    h.changed(lambda: h.root.get_by_role("button", name="next", exact=True).click())
    assert h.root.locator(".widget-readout").first.inner_text() == "9 after the step"


@pytest.mark.parametrize("name", ["browser", "comparer", "monitor", "step"])
def test_play_goes_through_the_moments(hand, name):
    h = hand(name)
    play = h.root.locator(".widget-play button").first
    seen = {h.root.locator(".widget-readout").first.inner_text()}       # at the end, play begins anew
    play.click()
    for _ in range(40):
        seen.add(h.root.locator(".widget-readout").first.inner_text())
        if len(seen) > 1: break
        h.page.wait_for_timeout(250)
    if len(seen) > 1 and h.root.locator(".widget-play .fa-pause").count(): play.click()
    h.page.wait_for_timeout(1500)
    assert len(seen) > 1, f"{name}: play moved nothing from {seen}"


def test_the_keyboard_does_it_all(hand):
    h, key = hand("browser"), hand("browser").page.keyboard.press
    h.root.locator(".semipose-thumbs button[tabindex='0']").focus()
    for _ in range(30):                       # Tab arrives at the picture
        if h.canvas.evaluate("e => document.activeElement === e"): break
        key("Tab")
    style = ("e => { const s = getComputedStyle(e); return document.activeElement === e && "
             "s.outlineStyle === 'solid' && parseFloat(s.outlineWidth) >= 2 }")
    assert h.canvas.evaluate(style), "the picture has no visible focus"
    cells = h.page.locator(".jp-NotebookPanel .jp-CodeCell").count()
    for _ in range(len(h.spots())):
        key("n")
        if h.ask("f.over && f.over.kind === 'point' && f.over.label.startsWith('right wrist')"): break
    h.changed(lambda: key("Enter"))
    assert "right wrist" in h.text()
    for _ in range(len(h.spots())):
        key("p")
        if h.ask("f.over && f.over.kind === 'heat'"): break
    peak = h.ask("f.pixel")                   # where the map is highest
    s = h.spot(kind="heat")
    assert h.ask(f"f.values[{s['from']} + {peak[1]} * {s['shape'][1]} + {peak[0]}] === "
                 f"Math.max(...f.values.slice({s['from']}, {s['from']} + {s['shape'][0] * s['shape'][1]}))")
    key("ArrowRight" if peak[0] < s["shape"][1] - 1 else "ArrowLeft")
    assert h.ask("f.pixel") != peak and "heatmap px" in h.ask("f.told.textContent")
    key("Escape")
    assert h.ask("f.over") is None and h.page.locator(".jp-NotebookPanel .jp-CodeCell").count() == cells


@pytest.mark.parametrize("name", ["browser", "explorer", "pixels", "boundary"])
def test_focus_is_seen_on_every_control(hand, name):
    h, seen = hand(name), {}
    h.root.locator("select, .noUi-handle, .semipose-thumbs button[tabindex='0']").first.focus()
    for _ in range(25):
        h.page.keyboard.press("Tab")
        got = h.root.evaluate("""root => { const e = document.activeElement, s = getComputedStyle(e);
            return root.contains(e) ? [e.tagName + '.' + e.className, s.outlineStyle, parseFloat(s.outlineWidth)] : null
        }""")
        if got is None: break
        seen[got[0]] = got[1:]
    assert len(seen) >= 3 and all(style != "none" and wide >= 2 for style, wide in seen.values()), (name, seen)


def test_the_explorers_frame_by_keyboard(hand):
    h = hand("explorer")
    h.canvas.focus()
    h.page.keyboard.press("p")
    assert h.ask("f.over.kind") == "frame"
    h.changed(lambda: h.page.keyboard.press("["))
    h.settled()
    assert h.spot(kind="frame")["now"]["turn"] == pytest.approx(5)
    h.changed(lambda: h.page.keyboard.press("ArrowRight"))
    h.settled()
    assert h.spot(kind="frame")["now"]["right"] > 0
    h.changed(lambda: h.root.get_by_role("button", name="frame back").click())


@pytest.mark.parametrize("name", WIDGETS)
def test_one_screen_wide_tracks_nothing_cut_off(hand, name):
    h = hand(name)
    h.shot(name)
    for word, size in SIZES.items():
        h.page.set_viewport_size(size)
        h.page.wait_for_timeout(400)
        room = h.page.locator(".jp-WindowedPanel-outer, .jp-NotebookPanel-notebook").first.bounding_box()
        first, picture = (h.root.locator(".widget-hbox, .semipose-thumbs").first.bounding_box(),
                          h.root.locator(".semipose-touch").bounding_box())
        assert picture["y"] + picture["height"] - first["y"] <= room["height"], (
            f"{name}, {word}: controls and picture are higher than the screen")
        assert picture["x"] + picture["width"] <= room["x"] + room["width"] + 1, (
            f"{name}, {word}: the picture is wider than the screen")
        tracks = h.root.locator(".noUi-target:visible").evaluate_all(
            "all => all.map(e => e.getBoundingClientRect().width)")
        assert all(w >= 150 for w in tracks), f"{name}, {word}: slider tracks of {tracks} px"
        cut = h.root.locator(".widget-label:visible, .widget-readout:visible, .jupyter-button:visible").evaluate_all(
            "all => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.innerText)")
        assert not cut, f"{name}, {word}: cut off: {cut}"
        chosen = h.root.locator("select:visible").evaluate_all("""all => all.map(e => {
            const c = document.createElement('canvas').getContext('2d'), text = e.selectedOptions[0].text;
            c.font = getComputedStyle(e).font; return [text, c.measureText(text).width, e.clientWidth] })""")
        assert all(text < wide - 20 for _, text, wide in chosen), f"{name}, {word}: cut off in a list: {chosen}"
    h.page.set_viewport_size(SIZES["laptop"])


def test_seldom_moved_sliders_are_folded(hand):
    for name, hidden in (("explorer", "rotate"), ("step", "network")):
        h = hand(name)
        slider = h.root.locator(".widget-hslider").filter(has=h.page.locator(
            f":scope > .widget-label:text-is('{hidden}')")).first
        assert not slider.is_visible()
        heads = h.root.locator(".jupyter-widget-Collapse-header, .jupyter-widget-Accordion "
                               ".jupyter-widget-Collapse-header")
        for i in range(heads.count()):
            heads.nth(i).click()
            h.page.wait_for_timeout(200)
            if slider.is_visible(): break
        assert slider.is_visible() and slider.locator(".noUi-target").bounding_box()["width"] >= 150, name
        heads.nth(i).click()


def test_browsers_part_of_a_move_is_quick(hand, record_property):
    for name in ("browser", "step"):
        h = hand(name)
        h.ask("(f.spent.length = 0, null)")
        s = h.spot(kind="heat") if name == "browser" else h.spot(kind="area")
        x, y = h.px(s)
        for i in range(60): h.page.mouse.move(x + i % 12, y + i % 7)
        h.page.wait_for_timeout(300)
        spent = h.ask("f.spent")
        record_property(f"hovering over the {name}", f"{statistics.median(spent):.1f} ms")
        assert len(spent) > 5 and statistics.median(spent) < 16, (name, spent)


def test_while_a_cell_trains_widgets_say_so(sheet, hand):
    "last: it leaves a cell behind"
    page, h = sheet.page, hand("browser")
    cell = page.locator(".jp-NotebookPanel .jp-CodeCell").last
    cell.locator(".cm-content").click()
    page.keyboard.insert_text(SHEET["busy"])
    page.keyboard.press("Control+Enter")
    busy = h.root.locator(".semipose-touch .busy")
    busy.wait_for(state="visible", timeout=15_000)
    assert busy.inner_text() == "training ..."
    busy.wait_for(state="hidden", timeout=30_000)
