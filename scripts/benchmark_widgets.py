"""How long a widget takes to answer a hand: in the kernel, CPU milliseconds from the new value to the new picture;
in the browser, milliseconds of a hover and of a new picture. Medians; targets are 100 ms and 16 ms.
`python scripts/benchmark_widgets.py RUN [RUN ...]`"""
from __future__ import annotations

import base64, itertools, shutil, sys, time
from statistics import median

TARGET = dict(kernel=100, browser=16)   # ms

SHOW = """async ([code, png, floats, spots]) => {
    const bytes = t => new DataView(Uint8Array.from(atob(t), c => c.charCodeAt(0)).buffer);
    const values = { value: bytes(png), floats: bytes(floats), spots, words: '', status: '', answered: 0 };
    const { default: widget } = await import(URL.createObjectURL(new Blob([code], { type: 'text/javascript' })));
    const el = document.body.appendChild(document.createElement('div'));
    widget.render({ model: { get: k => values[k], set() {}, on() {}, off() {}, send() {}, save_changes() {} }, el });
    window.figure = el.figure;
    await figure.img.decode();
    const spent = [];
    for (let i = 0; i < 20; i++) {
        values.value = bytes(png);
        const begin = performance.now();
        figure.renew();
        await figure.img.decode();
        figure.paint();
        spent.push(performance.now() - begin);
    }
    figure.spent.length = 0;
    return spent;
}"""


def answers(lab, name: str, values, n: int = 10) -> float:
    "Median CPU milliseconds of moving one control"
    spent, values = [], itertools.cycle(values)
    for _ in range(n + 2):
        value, start = next(values), time.process_time()
        lab.controls[name].value = value
        spent.append(1000 * (time.process_time() - start))
    return median(spent[2:])  # the first ones load fonts


def line(ms: float, where: str, words: str) -> None:
    print(f"{ms:6.1f} ms  {where:<8} {words}{'' if ms <= TARGET[where] else f'  (target {TARGET[where]} ms)'}",
          flush=True)


def in_browser(labs: dict) -> None:
    "Hovering and new pictures, in a page without a kernel"
    from semipose.touch import source
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        return print("The browser was not looked at: there is no Chromium.")
    from playwright.sync_api import sync_playwright
    text = lambda b: base64.b64encode(b).decode()
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for name, lab in labs.items():
            page = browser.new_page(viewport=dict(width=1440, height=900))
            shown = page.evaluate(SHOW, [source("touch"), text(lab.image.value), text(lab.image.floats),
                                         lab.image.spots])
            box = page.locator("canvas").bounding_box()
            for i in range(120):
                page.mouse.move(box["x"] + box["width"] * (i % 40) / 40, box["y"] + box["height"] * (i % 24) / 24)
            page.wait_for_timeout(200)
            line(median(page.evaluate("figure.spent")), "browser", f"{name}, hovering")
            line(median(shown), "browser", f"{name}, a new picture")
            page.close()
        browser.close()


def main() -> None:
    from semipose.stepview import STAGES, StepView
    from semipose.widgets import BoundaryLab, CollapseMonitor, HeatmapBrowser, PixelLab, RunComparer, ViewExplorer
    if not (runs := sys.argv[1:]):
        sys.exit("Give one or more run folders, of one protocol and seed: python scripts/benchmark_widgets.py "
                 "runs/demo-seed10/naive runs/demo-seed10/posecons")
    browser, explorer, plane = HeatmapBrowser(runs[0]), ViewExplorer(runs[0]), BoundaryLab()
    comparer, monitor, step = RunComparer(runs), CollapseMonitor(runs[0]), StepView(runs[0])
    for name, lab, control, values in (
            ("browser, another person", browser, "person", range(2, 6)),
            ("explorer, another view", explorer, "student_rotate", (10, 20, 30)),
            ("explorer, a frame dragged", explorer, "turn", (10., 20., 30.)),
            ("explorer, another person", explorer, "person", (0, 1)),
            ("monitor, another moment", monitor, "until", (0, 1, 2)),
            (f"comparer of {len(runs)}, another person", comparer, "person", range(2, 6)),
            ("step, another stage", step, "stage", STAGES),
            ("step, another joint", step, "joint", step.controls["joint"].options),
            ("boundary, 30:1, one step", plane, "k", range(1, 30)),
            ("boundary, 100:1, one step", BoundaryLab(ratio=100), "k", range(1, 30)),
            ("pixels, another ratio", PixelLab(), "ratio", (10, 100, 300, 1000))):
        line(answers(lab, control, values), "kernel", name)
    in_browser(dict(browser=browser, explorer=explorer, comparer=comparer, monitor=monitor, step=step))


if __name__ == "__main__":
    main()
