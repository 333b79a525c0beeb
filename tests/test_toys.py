"""The toys in the browser: JavaScript makes the steps that PyTorch makes, and every gesture is performed, in
headless Chromium.

Without a browser these tests are skipped with a sentence, and fail under CI=true (see test_lab.py, whose browser and
server they use).
"""
from __future__ import annotations

import json, re, statistics

import nbformat
import pytest
import torch

from semipose import toys
from semipose.collapse import (Blend, Boundary, Looks, PointStep, Toy, crowd, limit, met, pixels, settled,
                               strength, who_teaches)
from semipose.errors import UserError
from semipose.teaching import mix
from test_lab import Desk

TEACHERS = [w["name"] for w in toys.WHO]


@pytest.fixture(scope="module")
def js(chromium):
    "An empty page that knows both toys' functions: js('boundary', 'toy => ...', values)"
    page = chromium.new_page()
    for name in toys.KNOBS:
        page.evaluate("""async ([name, code]) => {
            window[name] = (await import(URL.createObjectURL(new Blob([code],
            {type: 'text/javascript'})))).default }""", [name, toys.source(name)])
    yield lambda name, do, value=None: page.evaluate(f"value => ({do})(window.{name}, value)", value)
    page.close()


# ---- the same steps ----

FOLLOW = """(toy, {net, steps, who, lam, lr}) => {
    let now = {at: Float64Array.from(net), mean: new Float64Array(net.length), square: new Float64Array(net.length),
    made: 0}
    return steps.map(s => { now = toy.learn(now, s.known, s.y, s.easy, s.hard, who, lam, lr);
    return [...now.at, now.sup, now.cons] })
}"""


def flat(points: torch.Tensor) -> list[float]:
    "(B,2,1,N) -> x y x y ..."
    return points[:, :, 0].movedim(1, 2).flatten().tolist()


def weights(net) -> list[float]:
    return [*net.heights.flatten().tolist(), net.ground.item()]


@pytest.mark.parametrize("who", TEACHERS)
def test_the_boundary_makes_teachings_steps(js, who):
    "twenty steps on the same points and views, each compared"
    b = Boundary("nobody", ratio=10, seed=3)
    method = who_teaches(who, strength(.1), strength(.9))
    double = lambda t: tuple(v.double() for v in t)
    toy = Toy(method, b.toy.start.double(), double(b.toy.labeled), b.toy.unlabeled.double(), lam=6., seed=3)
    steps = []
    for k in range(20):
        batch = dict(labeled=toy.labeled[0], unlabeled=toy.unlabeled), toy.labeled[1]
        known, *views = PointStep(method, 6.).sample(*batch, torch.Generator().manual_seed(mix(3, k)))
        pair = dict(zip(("hard", "easy") if who == "hard" else ("easy", "hard"), (v[0] for v in views if v)))
        steps.append(dict(known=flat(known[0]), y=toy.labeled[1].flatten().tolist(), easy=flat(pair["easy"])
                          if pair else [], hard=flat(pair["hard"]) if pair else []))
    toy.step(20)
    want = [[*weights(toy.at(k + 1)), r.loss["sup1"], r.loss.get("cons1", 0.)] for k, (r, _) in enumerate(toy.past)]
    have = js("boundary", FOLLOW, dict(net=weights(toy.start), steps=steps, who=who, lam=6., lr=.1))
    torch.testing.assert_close(torch.tensor(have), torch.tensor(want), atol=1e-5, rtol=0)
    assert max(abs(a - b) for a, b in zip(want[-1], want[0])) > .1, "nothing moved"


SHARED = """(toy, {who, r, s, q, lam, n}) => {
    let now = {at: Float64Array.of(.8, .2), mean: new Float64Array(2), square: new Float64Array(2), made: 0}
    return Array.from({length: n}, () => [...(now = toy.learn(now, who, r, s, q, lam, .03)).at])
}"""


@pytest.mark.parametrize("who", TEACHERS)
@pytest.mark.parametrize("ratio", [1, 40])
def test_shared_heights_make_teachings_steps(js, who, ratio):
    toy = pixels("both", ratio)
    toy = Toy(who_teaches(who, Blend(), Blend(.4, .05)), Looks(.8, .2).double(), tuple(v.double() for v in toy.labeled),
              toy.unlabeled.double(), 1.5, lr=.03).step(60)
    want = [toy.at(k + 1).heights.tolist() for k in range(60)]
    have = js("pixel", SHARED, dict(who=who, r=ratio, s=.4, q=.05, lam=1.5, n=60))
    torch.testing.assert_close(torch.tensor(have), torch.tensor(want), atol=1e-5, rtol=0)


@pytest.mark.parametrize("who", TEACHERS[:3])
def test_free_heights_make_teachings_steps_and_end_in_closed_form(js, who):
    toy = pixels(who, 20, shared=False).step(8)
    want = [toy.at(k).heights[:, 0].tolist() for k in range(9)]
    have = js("pixel", "(toy, who) => { let h = [1, .5]; return [h, ...Array.from({length: 8}, () => h = toy.free(who, "
                       "h, .25))] }", who)
    torch.testing.assert_close(torch.tensor(have), torch.tensor(want), atol=1e-5, rtol=0)
    assert have[8] == pytest.approx(met(who, 1., .5, .25, 8), abs=1e-9)


def test_ends_and_limits_are_those_of_collapse(js):
    for who in TEACHERS[:3]:
        for ratio in (1, 30, 1000):
            for views in ((.5, .03, 2.), (.2, .1, 1.), (.9, .2, 3.)):
                try: want = settled(who, ratio, *views)
                except UserError: want = None
                have = js("pixel", "(toy, v) => toy.settled(...v)", [who, ratio, *views])
                assert have == (want if want is None else pytest.approx(want, abs=1e-9)), (who, ratio, views)
    for who in ("both", "easy"):
        assert js("pixel", "(toy, who) => toy.limit(who, .5, .03, 2)", who) == pytest.approx(limit(who), rel=1e-6)


def test_points_have_the_spread_of_collapse(js):
    "the toy draws points of its own: means and standard deviations are those of `crowd`"
    have = js("boundary", "toy => [...Array(20).keys()].flatMap(seed => [...toy.rules.begin({ratio: 10, seed}, "
                          "[]).crowd.grey])")
    grey = torch.tensor(have).view(-1, 2)
    want = torch.cat([crowd(24, 10, seed)[0][:, :, 0, 1:].movedim(1, 2).reshape(-1, 2) for seed in range(20)])
    torch.testing.assert_close(grey.mean(0), want.mean(0), atol=.05, rtol=0)
    torch.testing.assert_close(grey.std(0), want.std(0), atol=.05, rtol=0)


# ---- a run ----

PLAY = """(toy, {text, k}) => {
    const {fixed, deeds} = toy.read(text), run = new toy.Run(toy.rules, fixed, deeds)
    return toy.fate(run.at(k))
}"""


@pytest.mark.parametrize("seed", range(3))
def test_plain_consistency_collapses_and_easy_to_hard_does_not(js, seed):
    kept = {who: js("boundary", PLAY, dict(text=toys.spelled("boundary", who, ratio=100, seed=seed), k=60))["kept"]
            for who in ("both", "easy")}
    assert kept["both"] < .3 and kept["easy"] > .8, kept


def test_easy_to_hard_in_time_and_too_late(js):
    "what the notebook tells of its last toy"
    kept = [js("boundary", PLAY, dict(text=f"ratio=100;seed=3;step=0;do=0:who:both,{k}:who:easy", k=60))["kept"]
            for k in (6, 10)]
    assert kept[0] > .9 and kept[1] < .1, kept


REPLAY = """(toy, {text, k}) => {
    const open = t => { const r = toy.read(t); return [new toy.Run(toy.rules, r.fixed, r.deeds), r.step] }
    const [run] = open(text), first = run.at(k), line = toy.spell(run, k), [again, step] = open(line)
    const weights = run => JSON.stringify([...run.net.at])
    return {line, again: toy.spell(again, step), same: weights(first) === weights(again.at(step))}
}"""


@pytest.mark.parametrize("name, text", [
    ("boundary",
     "ratio=10;seed=2;step=0;do=0:who:both,0:label:1:2.5:0.3,4:who:easy,4:shift:-0.4:0.1,7:gold:3:1:0.5,9:lam:3"),
    ("pixel", "step=0;do=0:who:easy,0:ratio:30,5:shared:0.4,9:who:both,9:free:0.7:0.2")])
def test_a_line_holds_the_whole_run(js, name, text):
    found = js(name, REPLAY, dict(text=text, k=12))
    assert (found["same"] and found["line"] == found["again"] and sorted(found["line"].split("do=")[1].split(","))
            == sorted(text.split("do=")[1].split(",")))


@pytest.mark.parametrize("text", ["", "nonsense", "ratio=31;seed=-4;step=9999;do=x",
                                  "step=1;do=0:who:peer,3:gold:77:0:0,1:shift:a:b,2:constructor:1,1:lam:", "do=%%;;=;"])
def test_a_broken_line_opens_the_toy_as_it_was_made(js, text):
    for name in toys.KNOBS:
        found = js(name, "(toy, t) => { const r = toy.read(t); new toy.Run(toy.rules, r.fixed, r.deeds).at(2); return "
                         "r }", text)
        assert found["deeds"] == [] and found["fixed"].get("ratio", 30) == 30 and 0 <= found["step"] <= toys.STEPS[name]


def test_what_is_done_in_the_middle_changes_what_comes_after_and_nothing_before(js):
    found = js("boundary", """toy => {
        const run = new toy.Run(toy.rules, {ratio: 3, seed: 0}, [[0, 'who', 'both']]),
        copy = k => [...run.at(k).net.at].join()
        const before = copy(5), after = copy(9)
        run.do(6, 'who', 'easy'); run.do(8, 'lam', 3)
        const made = run.made, other = copy(9)
        run.do(6, 'who', 'both')
        return {kept: copy(5) === before, other: other !== after, back: copy(9) === after, made,
        deeds: run.deeds.length}
    }""")
    assert found == dict(kept=True, other=True, back=True, made=8, deeds=2)


def test_a_dragged_boundary_is_where_it_was_dragged(js):
    "the network's start is moved by least squares: the crossing of the axis moves along"
    moved = js("boundary", """toy => {
        const run = new toy.Run(toy.rules, {ratio: 30, seed: 0}, []), w = run.at(0).net.at
        const near = (v, n) => Array.from({length: n}, (_, i) => Math.exp(-((v + 2.25 - .75*i)**2)/(2*.9**2)))
        const logit = (w, x) => { const a = near(x, 10), b = near(0, 7); let s = w[70]; for (let i = 0; i < 10;
        i++) for (let j = 0; j < 7; j++) s += w[7*i+j]*a[i]*b[j]; return s }
        const crossing = w => { let x = -2; while (logit(w, x) < 0 && x < 4) x += .001; return x }
        return [-.6, -.2, .3].map(d => crossing(toy.shifted(w, d, 0)) - crossing(w) - d)
    }""")
    assert max(map(abs, moved)) < .05, moved


def test_python_and_the_browser_know_the_same_toys(js):
    assert {name: js(name, "toy => toy.most") for name in toys.KNOBS} == toys.STEPS
    for name, kw in (("boundary", dict(who="hard", step=7, ratio=3, hard=.5)),
                     ("pixel", dict(who="easy", step=3, ratio=7, lam=1.))):
        text = toys.spelled(name, **kw)
        found = js(name, "(toy, t) => { const r = toy.read(t); return [...toy.spell(new toy.Run(toy.rules, r.fixed, "
                         "r.deeds), r.step)].join('') }", text)
        assert sorted(found.replace("do=", "do=,").split(",")) == sorted(text.replace("do=", "do=,").split(",")), (
            (found, text))


# ---- hands on a page without a kernel ----

class Hand:
    "A toy in a page"
    def __init__(self, page, name, root=None):
        self.page, self.name = page, name
        self.root = root or page.locator(f'[data-toy="{name}"]')
        self.root.locator("canvas.main").wait_for()
        self.root.scroll_into_view_if_needed()
    def ask(self, js: str):
        return self.root.evaluate(f"root => {{ const e = root.querySelector('.semipose-toy').parentElement, lab = "
                                  f"e.lab; return {js} }}")
    def state(self) -> str: return self.ask("lab.spelled()")
    def picture(self) -> str:
        self.page.wait_for_timeout(120)
        return self.ask("lab.canvas.toDataURL()")
    def click(self, words): self.root.get_by_role("button", name=words).click()
    def drag(self, x, y, dx, dy):
        box = self.root.locator("canvas.main").bounding_box()
        self.page.mouse.move(box["x"] + x, box["y"] + y)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + x + dx, box["y"] + y + dy, steps=6)
        self.page.mouse.up()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    f = tmp_path_factory.mktemp("toys") / "page.html"
    f.write_text(toys.page(toys.PixelToy(ratio=300), toys.BoundaryToy(ratio=30)))
    return f


@pytest.fixture
def page(chromium, file):
    page = chromium.new_page(viewport=dict(width=1024, height=768))
    wrong = []
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("request", lambda r: wrong.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else None)
    page.goto(file.as_uri())
    yield page
    assert not wrong, f"errors, or requests to elsewhere: {wrong}"
    page.close()


GRAB = dict(boundary="[lab.plane.px(lab.state.crowd.gold[10]), lab.plane.py(lab.state.crowd.gold[11])]",
            pixel="[lab.bx, lab.by]")


@pytest.mark.parametrize("name", list(toys.KNOBS))
def test_every_gesture(page, name):
    hand = Hand(page, name)
    first, start = hand.picture(), hand.state()
    hand.click("Play")
    page.wait_for_timeout(1500)
    hand.click("Pause")
    played = hand.ask("lab.step")
    assert played > 3 and hand.picture() != first
    hand.click("Step"); assert hand.ask("lab.step") == played + 1
    hand.click("Back"); hand.click("Back"); assert hand.ask("lab.step") == played - 1
    # who teaches, in the middle of a run
    hand.root.get_by_text("Easy to hard", exact=True).click()
    assert f"{played - 1}:who:easy" in hand.state()
    # scrub: by the slider and on the strip
    hand.root.get_by_label("steps made").fill("20"); assert hand.ask("lab.step") == 20
    box = hand.root.locator("canvas.time").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 20)
    assert abs(hand.ask("lab.step") - toys.STEPS[name] / 2) <= 1
    # a gold point
    hand.root.get_by_label("steps made").fill("10")
    page.wait_for_timeout(100)
    before = hand.picture()
    hand.drag(*hand.ask(GRAB[name]), -40, -25)
    assert re.search(r"10:(gold:5|ratio):", hand.state()) and hand.picture() != before
    hand.click("Start")
    assert hand.ask("lab.step") == 0 and hand.state().split(";")[0] == start.split(";")[0]


def test_the_boundary_is_dragged(page):
    hand = Hand(page, "boundary")
    hand.picture()
    x, y = hand.ask("""(() => { const gold = lab.state.crowd.gold, few = lab.state.few.gold, p = [...gold, ...few]
        const far = ([x, y]) => Math.min(...Array.from({length: p.length/2}, (_,
        i) => Math.hypot(lab.plane.px(p[2*i]) - x, lab.plane.py(p[2*i+1]) - y)))
        return lab.edge.map(e => e[0]).filter(([, y]) => y > 30 && y < lab.canvas.clientHeight - 30).sort((a,
        b) => far(b) - far(a))[0] })()""")
    before = hand.picture()
    hand.drag(x, y, -60, 0)
    assert re.search(r"0:shift:-0\.\d+:0", hand.state()) and hand.picture() != before


@pytest.mark.parametrize("name", list(toys.KNOBS))
def test_the_keyboard_does_it_all(page, name):
    hand = Hand(page, name)
    page.keyboard.press("Tab")
    canvas = hand.root.locator("canvas.main")
    for _ in range(25):                       # Tab arrives at the picture
        if canvas.evaluate("e => document.activeElement === e"): break
        page.keyboard.press("Tab")
    assert canvas.evaluate("e => document.activeElement === e && getComputedStyle(e).outlineStyle === 'solid' && "
                           "parseFloat(getComputedStyle(e).outlineWidth) >= 2")
    before = hand.picture()
    page.keyboard.press("n"); assert hand.picture() != before
    page.keyboard.press("ArrowUp")
    assert re.search(r"0:(shift|free|shared):", hand.state())
    page.keyboard.press("p"); page.keyboard.press("ArrowUp")
    assert re.search(r"0:(label|shared):", hand.state())
    page.keyboard.press(" "); page.wait_for_timeout(800); page.keyboard.press(" ")
    assert hand.ask("lab.step > 0 && !lab.playing")
    hand.root.locator("input[type=radio]").first.focus()
    page.keyboard.press("ArrowRight")
    assert hand.ask("lab.state.who") != "both"


def test_a_link_opens_the_state(page, chromium, file):
    hand, other = Hand(page, "boundary"), Hand(page, "pixel")
    hand.root.get_by_text("Easy to hard", exact=True).click()
    hand.root.get_by_label("steps made").fill("25")
    other.root.get_by_label("steps made").fill("33")
    hand.click("Copy link"); other.click("Copy link")
    want = [t.state() for t in (hand, other)]
    again = chromium.new_page()
    again.goto(page.url)
    assert ([Hand(again, n).state() for n in ("boundary", "pixel")] == want and "boundary=" in page.url
            and "pixel=" in page.url)
    again.evaluate("location.hash = '#boundary=ratio=3;seed=1;step=2;do=0:who:hard'")
    again.wait_for_timeout(200)
    assert Hand(again, "boundary").state() == "ratio=3;seed=1;step=2;do=0:who:hard"
    again.close()


@pytest.mark.parametrize("name", list(toys.KNOBS))
@pytest.mark.parametrize("width", [360, 680, 1000])
def test_nothing_is_wider_than_the_page(page, name, width):
    page.set_viewport_size(dict(width=width, height=768))
    page.wait_for_timeout(200)
    hand = Hand(page, name)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1")
    assert hand.ask("lab.scrub.clientWidth") >= 150
    hand.ask("(lab.details.open = true, null)")
    assert all(w >= 150 for w in hand.ask("[...lab.root.querySelectorAll('.knobs input')].map(e => e.clientWidth)"))


def test_frames_go_by_while_it_plays(page, record_property):
    for name in toys.KNOBS:
        hand = Hand(page, name)
        if name == "boundary": hand.ask("(lab.anew('ratio', 100), null)")
        hand.click("Play")
        page.wait_for_timeout(3000)
        hand.click("Pause")
        spent = hand.ask("lab.spent")
        record_property(f"a frame of the {name} toy", f"{statistics.median(spent):.1f} ms")
        assert len(spent) > 10, f"{name}: {len(spent)} frames in three seconds"


# ---- in JupyterLab ----

SHEET = ["from semipose.toys import *\ntoy = BoundaryToy(ratio=30)\ntoy", "PixelToy(ratio=300)",
         "toy.state = 'ratio=3;seed=1;step=2;do=0:who:hard'", "print(toy.state)"]


def test_in_jupyterlab_kernel_and_hand_follow_each_other(chromium, server):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in SHEET],
                                  metadata=dict(kernelspec=dict(display_name="python3", language="python",
                                                                name="python3")))
    nbformat.write(nb, server.work / "toys.ipynb")
    desk = Desk(chromium, server, "toys.ipynb")
    desk.run_all()
    page, cells = desk.page, desk.page.locator(".jp-NotebookPanel .jp-CodeCell")
    hand, pixel = (Hand(page, name, cells.nth(i).locator(".jp-Cell-outputWrapper"))
                   for i, name in enumerate(("boundary", "pixel")))
    page.wait_for_function("e => e.querySelector('.semipose-toy').parentElement.lab.spelled().startsWith('ratio=3;')",
                           arg=hand.root.element_handle())
    assert hand.state() == "ratio=3;seed=1;step=2;do=0:who:hard", "set in Python, shown in the browser"
    for i, h in enumerate((hand, pixel)): desk.shot(f"toy{i}", h.root)
    first = hand.picture()
    hand.root.get_by_text("Easy to hard", exact=True).click()
    hand.root.get_by_label("steps made").fill("12")
    assert hand.picture() != first
    many = cells.count()
    hand.root.locator("canvas.main").focus()
    for key in ("n", "ArrowUp", "b", "a", "x"): page.keyboard.press(key)
    assert cells.count() == many, "a key for the toy changed the notebook"
    want = hand.state()
    assert "2:who:easy" in want and "12:shift:0:0.05" in want
    page.wait_for_timeout(1000)
    cells.nth(3).locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    cells.nth(3).locator(".jp-OutputArea-output", has_text="12:shift").wait_for()
    assert cells.nth(3).locator(".jp-OutputArea-output").inner_text().strip() == want, "done by hand, read in Python"
    desk.close()


def test_state_set_from_python_needs_no_browser():
    toy = toys.BoundaryToy("easy", 5, ratio=3)
    assert json.loads(json.dumps(toy.get_state()))["state"] == "ratio=3;seed=0;step=5;do=0:who:easy"
    data, _ = toy._repr_mimebundle_()
    assert ("application/vnd.jupyter.widget-view+json" in data and "ratio=3" in data["text/html"]
            and toys.scripts(data["text/html"]))
    for wrong in (dict(who="peer"), dict(ratio=7), dict(step=900), dict(lam=-1.), dict(wide=1)):
        with pytest.raises(UserError): toys.BoundaryToy(**wrong)
