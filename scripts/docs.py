"""All notebooks as one small site to read in a browser, from their stored outputs, without a network: `python
scripts/docs.py [--out site]`.

A page per notebook, a sidebar in reading order, links between them mended, formulas as MathML; a page per module
with what it exports, an index of all names, and a search over pages, headings and names on every page. No notebook is
executed; the library is imported.
"""
from __future__ import annotations

import argparse, html, json, os, re, shutil, sys
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

import nbformat

sys.path.insert(0, str(Path(__file__).resolve().parent))
import api
from execute import TOP, notebooks
from readme import FENCE, LINK, is_relative

FLOORS = {0: "Language", 1: "People", 2: "Views", 3: "Networks", 4: "Learning", 5: "Judging", 6: "Understanding",
          7: "Experiments", 8: "In the browser"}
MATH = re.compile(r"(```.*?```|`[^`\n]*`)|\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.S)
DIRECTIVE = re.compile(r"^#\s*\|.*\n?", re.M)

STYLE = """
:root { --paper:#fff; --soft:#f6f7f9; --ink:#1b1f24; --muted:#646c76; --line:#e2e5ea; --link:#0060a8; --accent:#d1490c }
@media (prefers-color-scheme:dark) { :root { color-scheme:dark; --paper:#15181c; --soft:#1e2227; --ink:#e6e8eb;
  --muted:#9aa1ab; --line:#31373e; --link:#6db5f2;
  --accent:#ff8a50 }
  .jp-RenderedImage img, .output_png img, .body img { background:#fff; border-radius:4px } }
* { box-sizing:border-box } html { scroll-padding-top:1rem }
body { margin:0; background:var(--paper); color:var(--ink);
  font:16px/1.6 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif }
a { color:var(--link); text-decoration-thickness:.06em; text-underline-offset:.15em }
nav { position:fixed; inset:0 auto 0 0; width:17rem; overflow-y:auto; padding:1.6rem 1.2rem 3rem;
  background:var(--soft); border-right:1px solid var(--line);
  font-size:.9rem }
nav b { display:block; margin:1.3rem 0 .2rem; color:var(--muted); font-weight:600; font-size:.76rem;
  letter-spacing:.06em; text-transform:uppercase }
nav .home { font-size:1.15rem; font-weight:700; color:var(--ink) } nav a { display:block; padding:.14rem .5rem;
  margin:0 -.5rem; border-radius:4px; text-decoration:none }
nav a[aria-current] { background:var(--line); color:var(--ink); font-weight:600 } nav small { color:var(--muted);
  font-variant-numeric:tabular-nums; margin-right:.45rem }
main { margin-left:17rem; padding:2.2rem clamp(1rem,4vw,4rem) 5rem } .body { max-width:56rem }
h1 { font-size:2.1rem; line-height:1.2; margin:.2rem 0 .6rem; letter-spacing:-.015em } h2 { margin:2.8rem 0 .5rem;
  font-size:1.45rem } h3 { margin:1.8rem 0 .4rem }
.anchor-link { display:none } h2:hover .anchor-link, h3:hover .anchor-link { display:inline; margin-left:.4rem;
  text-decoration:none; color:var(--muted) }
blockquote { margin:.6rem 0 1.2rem; padding:.1rem 0 .1rem 1rem; border-left:3px solid var(--accent); color:var(--muted);
  font-size:1.08rem }
pre { overflow-x:auto; padding:.75rem .95rem; margin:.7rem 0; background:var(--soft); border-radius:6px;
  font:.81rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace; max-width:100% }
code { font:.88em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace } :not(pre) > code { background:var(--soft);
  padding:.1em .3em; border-radius:3px }
.body .out pre { background:none; border-left:3px solid var(--line); border-radius:0; padding:.25rem .9rem;
  color:var(--muted) }
.body .out { margin:.3rem 0 1rem; overflow-x:auto }
.export { position:relative } .export::after { content:"exported"; position:absolute; top:.35rem; right:.6rem;
  font-size:.68rem; color:var(--muted) }
.prompt, .jp-OutputPrompt { display:none } img, svg { max-width:100%; height:auto }
table { border-collapse:collapse; font-size:.88rem; font-variant-numeric:tabular-nums; display:block; overflow-x:auto;
  margin:.7rem 0 }
th, td { padding:.28rem .65rem; border-bottom:1px solid var(--line); text-align:left; vertical-align:top }
th { color:var(--muted); font-weight:600 }
math[display=block] { margin:1rem 0; font-size:1.1em; overflow-x:auto }
footer { margin-top:4rem; display:flex; justify-content:space-between; gap:1rem; border-top:1px solid var(--line);
  padding-top:1rem }
.names { list-style:none; padding:0 } .names li { padding:.12rem 0; border-bottom:1px solid var(--line) }
.names li[hidden] { display:none } .names small { color:var(--muted); margin:0 .5rem }
#find { font:inherit; padding:.4rem .7rem; margin:0 0 .8rem; border:1px solid var(--line); border-radius:6px;
  background:var(--soft); color:var(--ink) }
dl.rooms { display:grid; grid-template-columns:max-content 1fr; gap:.25rem 1.2rem } dl.rooms dt { font-weight:600 }
dl.rooms dd { margin:0; color:var(--muted) }
nav input { width:100%; font:inherit; padding:.35rem .6rem; margin:.7rem 0 0; border:1px solid var(--line);
  border-radius:6px; background:var(--paper); color:var(--ink) }
#hits { list-style:none; margin:.3rem 0 0; padding:0; max-height:60vh; overflow-y:auto }
#hits li { padding:.15rem 0; border-bottom:1px solid var(--line) } #hits small { display:block; margin:0 }
:focus-visible { outline:3px solid #3465c8; outline-offset:1px }
@media (max-width:60rem) { nav { position:static; width:auto; max-height:14rem; border-right:0;
  border-bottom:1px solid var(--line) } main { margin:0 }
dl.rooms { grid-template-columns:1fr } }
@media print { nav, footer { display:none } main { margin:0; padding:0 } pre { white-space:pre-wrap } }
"""


SEARCH = """const look = document.getElementById('look'), hits = document.getElementById('hits');
const root = look.dataset.root;
function search() {
  const words = look.value.toLowerCase().split(/\\s+/).filter(Boolean), found = [];
  if (words.length) for (const [url, name, where, text] of PLACES) {
    const all = (name + ' ' + where + ' ' + text).toLowerCase(), head = name.toLowerCase();
    if (!words.every(w => all.includes(w))) continue;
    found.push([(head === look.value.toLowerCase().trim() ? 0 : words.every(w => head.includes(w)) ? 1 : 2), url, name,
      where, text]);
  }
  found.sort((a, b) => a[0] - b[0]);
  hits.replaceChildren(...found.slice(0, 40).map(([, url, name, where, text]) => {
    const li = document.createElement('li'), a = document.createElement('a'), more = document.createElement('small');
    a.href = root + url; a.textContent = name; more.textContent = [where, text].filter(Boolean).join(': ');
    li.append(a, more);
    return li;
  }));
  if (words.length && !found.length) hits.innerHTML = '<li><small>nothing found</small></li>';
}
look.addEventListener('input', search);
look.addEventListener('keydown', e => { if (e.key === 'Enter') hits.querySelector('a')?.click(); });
"""
HEAD = re.compile(r'<h[23] id="([^"]+)"[^>]*>(.*?)(?:<a class="anchor-link"|</h[23]>)', re.S)


def places(pages: dict[str, tuple[str, str, str]], every: dict) -> str:
    "The script of the search: every page, heading and exported name, with where it stands"
    plain = lambda text: html.unescape(re.sub(r"<[^>]+>", "", text)).strip()
    found = []
    for url, (title, promise, inner) in pages.items():
        found.append([url, title, "", promise])
        found += [[f"{url}#{anchor}", plain(text), title, ""] for anchor, text in HEAD.findall(inner) if plain(text)]
    for some in every.values():
        found += [[f"api/{n.module}.html#{n.anchor}", n.name, n.module, n.text.splitlines()[0] if n.text else ""]
                  for top in some for n in (top, *top.methods)]
    return f"const PLACES = {json.dumps(found, ensure_ascii=False)};\n{SEARCH}"


def formulas(text: str) -> str:
    "$...$ and $$...$$ as MathML, which browsers draw by themselves; code is left alone"
    from latex2mathml.converter import convert
    def drawn(m):
        if m[1]:
            return m[1]
        return convert(m[2].strip(), display="block") if m[2] else convert(m[3])
    return MATH.sub(drawn, text)


def target(link: str, folder: str, known: set[str]) -> str | None:
    "Where a link of a file in `folder` leads: a path in the repository if the site has it, None if it has not"
    path = normpath(PurePosixPath(folder, link.partition("#")[0]))
    return path if path in known else None


def place(path: str) -> str:
    "Where a file of the repository stands in the site: notebooks at its top, the rest under its own path"
    page = path.removeprefix("nbs/")
    return re.sub(r"\.(ipynb|md)$", ".html", page) if page.endswith((".ipynb", ".md")) else page


def relinked(text: str, path: str, known: set[str]) -> str:
    "Links of a text in `path` become links between pages; what the site does not hold is an error"
    folder, here = str(PurePosixPath(path).parent), str(PurePosixPath(place(path)).parent)
    def one(m):
        if not is_relative(m[2]) or m[2].startswith("#"):
            return m[0]
        to = target(m[2], folder, known)
        if to is None:
            sys.exit(f"{path} links to {m[2]}, which is not in the repository: mend the link.")
        return m[1] + relpath(place(to), here) + (m[2][m[2].index("#"):] if "#" in m[2] else "")
    return "".join(part if part.startswith("```") else LINK.sub(one, part) for part in FENCE.split(text))


def prepared(nb, path: str, known: set[str]):
    """The notebook as a reader sees it: no hidden cells, no directives, formulas drawn, links mended; code cells
    that are exported say so"""
    cells = []
    for cell in nb.cells:
        marks = " ".join(DIRECTIVE.findall(cell.source))
        if re.search(r"\|\s*(hide\b(?!_)|default_exp)", marks):
            continue
        cell.source = DIRECTIVE.sub("", cell.source).strip("\n")
        if cell.cell_type == "markdown":
            cell.source = formulas(relinked(cell.source, path, known))
        else:
            cell.metadata["tags"] = ["export"] * bool(re.search(r"\|\s*export", marks))
            if re.search(r"\|\s*hide_input", marks):
                cell.source = ""
            for out in cell.outputs:
                if "text/markdown" in out.get("data", {}):
                    out["data"]["text/markdown"] = relinked("".join(out["data"]["text/markdown"]), path, known)
        if cell.source or cell.get("outputs"):
            cells.append(cell)
    nb.cells = cells
    return nb


def body(nb) -> str:
    "HTML of the cells, one after the other"
    from nbconvert.exporters import HTMLExporter
    from nbconvert.filters import Highlight2HTML, markdown2html
    shown, color = HTMLExporter(template_name="basic"), Highlight2HTML()
    parts = []
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            parts.append(markdown2html(cell.source))
            continue
        if cell.source:
            export = " export" if "export" in cell.metadata.get("tags", ()) else ""
            parts.append(f'<div class="code{export}">{color(cell.source, language="python")}</div>')
        if cell.outputs:
            alone = nbformat.v4.new_notebook(metadata=nb.metadata,
                                             cells=[nbformat.v4.new_code_cell("", outputs=cell.outputs)])
            text = shown.from_notebook_node(alone)[0]
            text = re.sub(r'<div class="(jp-Cell-inputWrapper|input)\b.*?(?=<div '
                          r'class="(jp-Cell-outputWrapper|output_wrapper))', "", text, flags=re.S)
            parts.append(f'<div class="out">{text}</div>')
    return "\n".join(parts)


def as_on_github(page: str) -> str:
    "A page of text whose headings are reached by the names that its author's links use: in lower case"
    return re.sub(r'(<h[1-6] id="|href="#)([^"]+)"', lambda m: f'{m[1]}{m[2].lower()}"', page)


def heading(nb) -> tuple[str, str]:
    "Title and promise of a notebook"
    first = nb.cells[0].source
    title = re.search(r"^#\s+(.+)", first, re.M)
    promise = re.search(r"^>\s+(.+)", first, re.M)
    return title[1].strip() if title else "", promise[1].strip() if promise else ""


def sidebar(pages: list[tuple[str, str]], here: str) -> str:
    "All pages in reading order"
    def link(path, name):
        number = re.match(r"(?:tutorials/)?(\d\d)_", path.removeprefix("nbs/"))
        label = (f"<small>{number[1]}</small>" if number else "") + html.escape(name)
        current = ' aria-current="page"' if path == here else ""
        return f'<a href="{relpath(place(path), str(PurePosixPath(place(here)).parent))}"{current}>{label}</a>'
    groups: dict[str, list[str]] = {}
    for path, name in pages:
        tens = re.match(r"nbs/(\d)\d_", path)
        group = "Tutorials" if "/tutorials/" in path else FLOORS[int(tens[1])] if tens else "Project"
        if path != "nbs/index.ipynb":
            groups.setdefault(group, []).append(link(path, name))
    root = str(PurePosixPath(place(here)).parent)
    current = " aria-current=page" if here.startswith("api/") else ""
    groups["Reference"] = [f'<a href="{relpath("api/index.html", root)}"{current}>All names</a>']
    order = ["Tutorials", *FLOORS.values(), "Reference", "Project"]
    home = f'<a class="home" href="{relpath("index.html", str(PurePosixPath(place(here)).parent))}">semipose</a>'
    box = (f'<input id="look" type="search" placeholder="search" aria-label="search pages and names" '
           f'data-root="{"../" * len([p for p in root.split("/") if p != "."])}"><ul id="hits"></ul>')
    return "<nav>" + home + box + "".join(f"<b>{g}</b>" + "".join(groups[g]) for g in order if g in groups) + "</nav>"


def page(title: str, inner: str, nav: str, around: tuple[str, str], depth: str) -> str:
    "One HTML page"
    head = (f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, '
            f'initial-scale=1"><title>{html.escape(title)} · semipose</title>'
            f'<link rel="icon" href="data:,"><link rel="stylesheet" href="{depth}style.css">')
    foot = f"<footer><span>{around[0]}</span><span>{around[1]}</span></footer>"
    script = f'<script src="{depth}search.js" defer></script>'
    return (f'<!doctype html><html lang="en">{head}{script}{nav}<main><div class="body">{inner}{foot}</div></main>'
            '</html>\n')


def reference(out: Path, pages: list[tuple[str, str]], every: dict) -> list[Path]:
    "A page for each module, and one with all names"
    book = {m: place(path) for path, _ in pages
            for m in every if path.endswith(f"_{m.removeprefix('semipose.')}.ipynb")}
    inner = ({m: api.module_page(m, some, "../" + book[m]) for m, some in every.items()}
             | {"index": api.index_page(every)})
    (out / "api").mkdir()
    for m, text in inner.items():
        file = out / "api" / f"{m}.html"
        around = ('<a href="index.html">All names</a>' if m != "index" else "", "")
        file.write_text(page("All names" if m == "index" else m, text, sidebar(pages, f"api/{m}.html"), around, "../"))
    return [out / "api" / f"{m}.html" for m in inner]


def build(out: Path) -> list[Path]:
    "Write the site"
    from nbconvert.filters import markdown2html
    from pygments.formatters import HtmlFormatter
    from semipose import toys
    books = [str(f.relative_to(TOP).as_posix()) for f in notebooks()]
    first = [b for b in books if b.endswith("/index.ipynb")] + [b for b in books if "/tutorials/" in b]
    rules = sorted(f.relative_to(TOP).as_posix() for f in TOP.glob("results/*/rule.md"))
    texts = [f for f in ("CONTRIBUTING.md", "CHANGELOG.md", "data/README.md", *rules) if (TOP / f).exists()]
    order = first + [b for b in books if b not in first] + texts
    tracked = ({f.relative_to(TOP).as_posix() for d in ("nbs/images", "results")
                for f in (TOP / d).rglob("*") if f.is_file() and f.suffix != ".md"} | {"CITATION.cff", "LICENSE"})
    known = set(order) | tracked
    read = {b: nbformat.read(TOP / b, as_version=4) for b in books}
    names = ({b: heading(nb)[0] for b, nb in read.items()}
             | {t: re.search(r"^#\s+(.+)", (TOP / t).read_text(), re.M)[1] for t in texts})
    promises = {b: heading(nb)[1] for b, nb in read.items()}
    if out.exists() and any(out.iterdir()) and not (out / "style.css").exists():
        sys.exit(f"{out} holds something that is not this site: choose another --out.")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    light, dark = (HtmlFormatter(style=s).get_style_defs(".highlight") for s in ("default", "github-dark"))
    keep = "\n.highlight, .highlight pre { background:var(--soft) }\n"
    (out / "style.css").write_text(light + "\n@media (prefers-color-scheme:dark) {\n" + dark + "\n}" + keep + STYLE)
    written, wanted, texts_of = [], set(), {}
    every = {m: api.names(m) for m in api.modules(TOP)}
    for i, path in enumerate(order):
        inner = (body(prepared(read[path], path, known)) if path in read
                 else as_on_github(markdown2html(formulas(relinked((TOP / path).read_text(), path, known)))))
        if path == "nbs/index.ipynb":
            rooms = "".join(f'<dt><a href="{place(b)}">{html.escape(names[b])}</a></dt>'
                            f'<dd>{html.escape(promises[b])}</dd>' for b in order if b in books and b != path)
            inner += f'<h2>All notebooks</h2><dl class="rooms">{rooms}</dl>'
        texts_of[place(path)] = names[path], promises.get(path, ""), inner
        inner += toys.scripts(inner)
        here = PurePosixPath(place(path)).parent
        around = ["", ""]
        for side, (j, sign) in enumerate(((i - 1, "← {}"), (i + 1, "{} →"))):
            if 0 <= j < len(order):
                there, text = relpath(place(order[j]), str(here)), sign.format(html.escape(names[order[j]]))
                around[side] = f'<a href="{there}">{text}</a>'
        file = out / place(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        depth = "../" * (len(PurePosixPath(place(path)).parts) - 1)
        file.write_text(page(names[path], inner, sidebar([(p, names[p]) for p in order], path), tuple(around), depth))
        written.append(file)
        wanted |= {os.path.normpath(Path(here, m)) for m in re.findall(r'(?:href|src)="([^"#:]+)', inner)}
    written += reference(out, [(p, names[p]) for p in order], every)
    (out / "search.js").write_text(places(texts_of, every))
    for f in tracked:
        if place(f) in wanted:
            (out / place(f)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TOP / f, out / place(f))
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=TOP / "site", help="the folder to write")
    out = parser.parse_args().out
    pages = build(out)
    size = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    print(f"{len(pages)} pages, {size / 1e6:.1f} MB: open {os.path.relpath(out / 'index.html')} in a browser.")


if __name__ == "__main__":
    main()
