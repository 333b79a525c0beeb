"""What the library exports, module by module, as pages for the site: signatures, and what each parameter and result
is. Used by `scripts/docs.py`."""
from __future__ import annotations

import html, importlib, inspect, re
from dataclasses import dataclass, field
from pathlib import Path

from fastcore.docments import docments, empty


@dataclass(frozen=True)
class Name:
    "One exported name"
    module: str
    name: str
    kind: str                                               # function, class or value
    text: str = ""                                          # its docstring
    head: str = ""                                          # the signature, or the value
    # name, type, default, meaning; of parameters, fields and the result
    rows: list[tuple] = field(default_factory=list)
    methods: tuple = ()                                     # Names, of a class

    @property
    def anchor(self) -> str: return self.name


def modules(top: Path) -> list[str]:
    "Modules that notebooks export, in their order"
    notebooks = sorted((top / "nbs").glob("[0-9][0-9]_*.ipynb"))
    return [f"semipose.{f.stem[3:]}" for f in notebooks
            if (top / "semipose" / (f.stem[3:].replace(".", "/") + ".py")).exists()]


def written(annotation) -> str:
    "A type as it stands in the source"
    return ("" if annotation in (empty, None, inspect.Parameter.empty) else annotation if isinstance(annotation, str)
            else getattr(annotation, "__name__", str(annotation)))


def default_of(value) -> str:
    "A default as one would type it; a long one is cut"
    if value in (empty, inspect.Parameter.empty) if not hasattr(value, "shape") else False: return ""
    text = getattr(value, "__name__", None) or repr(value)
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    return text if len(text) <= 60 else text[:57] + "..."


def rows_of(thing) -> list[tuple]:
    "Parameters or fields with what their comments say, and the result last"
    try: found = docments(thing, full=True)
    except (TypeError, ValueError, OSError, SyntaxError, IndentationError): return []
    rows = []
    for name, d in found.items():
        if name in ("self", "cls"): continue
        what = " ".join((d.get("docment") or "").split())
        anno = written(d.get("anno"))
        if name == "return" and not (anno or what): continue
        rows.append((name, anno, "" if name == "return" else default_of(d.get("default", empty)), what))
    return rows


def signature(thing, name: str) -> str:
    "Name and parameters, without types: those stand in the table"
    try: parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError): return f"{name}()"
    star = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    parts = []
    for p in parameters:
        if p.name == "self": continue
        value = "" if p.default is inspect.Parameter.empty else f"={default_of(p.default)}"
        parts.append(star.get(p.kind, "") + p.name + value)
    return f"{name}({', '.join(parts)})"


def described(module: str, name: str, thing, inside: str = "") -> Name:
    "One name with all that is said of it"
    text = inspect.cleandoc(thing.__doc__ or "") if inspect.isclass(thing) or callable(thing) else ""
    if not callable(thing): return Name(module, inside + name, "value", head=f"{name} = {default_of(thing)}")
    if not inspect.isclass(thing):
        return Name(module, inside + name, "function", text, signature(thing, name), rows_of(thing))
    own = [(k, v) for k, v in vars(thing).items() if inspect.isfunction(v) and not k.startswith("_") and v.__doc__]
    if re.match(rf"{name}\(", text): text = ""      # what dataclass writes by itself
    return Name(module, name, "class", text, signature(thing, name), rows_of(thing),
                tuple(described(module, k, v, f"{name}.") for k, v in own))


def names(module: str) -> list[Name]:
    "What a module exports"
    m = importlib.import_module(module)
    return [described(module, name, getattr(m, name)) for name in getattr(m, "__all__", []) if hasattr(m, name)]


def table(rows: list[tuple]) -> str:
    "Parameters as a table"
    if not rows: return ""
    cell = lambda text, tag="td": f"<{tag}>{text}</{tag}>"
    code = lambda text: f"<code>{html.escape(text)}</code>" if text else ""
    lines = ["<tr>" + cell("<i>returns</i>" if n == "return" else code(n)) + cell(code(a)) + cell(code(d))
             + cell(html.escape(w)) + "</tr>" for n, a, d, w in rows]
    return ("<table><tr>" + "".join(cell(t, "th") for t in ("", "type", "default", "meaning")) + "</tr>"
            + "".join(lines) + "</table>")


def entry(n: Name, level: int = 2) -> str:
    "One name on its module's page"
    parts = [f'<h{level} id="{html.escape(n.anchor)}">{html.escape(n.name)}</h{level}>',
             f"<pre>{html.escape(n.head)}</pre>"]
    if n.text: parts.append(f"<p>{html.escape(n.text)}</p>")
    return "".join(parts) + table(n.rows) + "".join(entry(m, 3) for m in n.methods)


def module_page(module: str, some: list[Name], notebook: str) -> str:
    "The page of a module"
    promise = inspect.cleandoc(importlib.import_module(module).__doc__ or "")
    return (f"<h1>{html.escape(module)}</h1><blockquote><p>{html.escape(promise)}</p></blockquote>"
            f'<p>Explained and tried in <a href="{notebook}">its notebook</a>.</p>' + "".join(map(entry, some)))


BOX = '<input id="find" type="search" placeholder="find a name" aria-label="find a name" autofocus>'
FIND = """<script>
const find = document.getElementById('find'), lines = [...document.querySelectorAll('.names li')];
function show() {
  const words = find.value.toLowerCase().split(/\\s+/);
  for (const li of lines) li.hidden = !words.every(w => li.textContent.toLowerCase().includes(w));
}
find.addEventListener('input', show);
find.value = decodeURIComponent(location.hash.slice(1));
addEventListener('DOMContentLoaded', show); show();
</script>"""


def index_page(every: dict[str, list[Name]]) -> str:
    "All names, to be searched without a network"
    flat = [m for some in every.values() for n in some for m in (n, *n.methods)]
    line = lambda n: (f'<li><a href="{n.module}.html#{html.escape(n.anchor)}"><code>{html.escape(n.name)}</code></a> '
                      f"<small>{html.escape(n.module)}</small> "
                      f"{html.escape(n.text.splitlines()[0] if n.text else '')}</li>")
    body = "".join(map(line, sorted(flat, key=lambda n: (n.name.lower(), n.module))))
    return (f'<h1>All names</h1><blockquote><p>{len(flat):,} names in {len(every)} modules.</p></blockquote>{BOX}<ul '
            f'class="names">{body}</ul>' + FIND)
