"""Write README.md from nbs/index.ipynb, and DESCRIPTION.md for a package index: `python scripts/readme.py`,
or `--check` to only compare.

Links and pictures in the notebook are written as JupyterLab needs them, relative to nbs/; here they become relative
to the top.
"""
from __future__ import annotations

import argparse, re, sys
from pathlib import Path, PurePosixPath
from posixpath import normpath

TOP = Path(__file__).resolve().parent.parent
INDEX, README, DESCRIPTION = "nbs/index.ipynb", "README.md", "DESCRIPTION.md"
NOTE = "<!-- Written from nbs/index.ipynb by scripts/readme.py; change the notebook, then `make readme`. -->\n\n"
LINK = re.compile(r"""(\]\(|\bsrc=["']|\bhref=["'])([^)\s"'#]+)""")  # ](target), src="target", href="target"
FENCE = re.compile(r"(^```.*?^```[^\n]*$)", re.M | re.S)


def is_relative(link: str) -> bool:
    "A link into the repository, not to the web or into the page"
    return not re.match(r"[a-z][a-z0-9+.-]*:|/", link)


def links(text: str) -> list[str]:
    "Every relative link or picture of a markdown text, code blocks left out"
    return [m[2] for m in LINK.finditer(FENCE.sub("", text)) if is_relative(m[2])]


def relink(text: str, folder: str) -> str:
    "Links relative to `folder` become relative to the top"
    move = lambda m: m[1] + (normpath(PurePosixPath(folder, m[2])) if is_relative(m[2]) else m[2])
    return "".join(part if part.startswith("```") else LINK.sub(move, part) for part in FENCE.split(text))


def to_markdown(notebook: Path) -> str:
    """The notebook as markdown, stored outputs included, without the cells marked `#| hide`; of `#| hide_input` only
    what it shows"""
    import nbformat
    from nbconvert import MarkdownExporter
    nb = nbformat.read(notebook, as_version=4)
    nb.cells = [c for c in nb.cells if not re.search(r"^#\s*\|\s*(hide\b|export)", c.source, re.M)]
    for cell in nb.cells:
        if re.search(r"^#\s*\|\s*hide_input", cell.source, re.M):  # only what it shows
            shown = [out["data"]["text/markdown"] for out in cell.outputs if "text/markdown" in out.get("data", {})]
            cell.update(cell_type="markdown", source="\n\n".join(text if isinstance(text, str) else "".join(text)
                                                                 for text in shown))
            for gone in ("outputs", "execution_count"):
                cell.pop(gone, None)
        cell.source = re.sub(r"^#\s*\|.*\n?", "", cell.source, flags=re.M)
    text, extra = MarkdownExporter().from_notebook_node(nb)
    if extra.get("outputs"):
        sys.exit(f"{INDEX} has a picture among its outputs: save it under nbs/images/ and link to it, so that "
                 f"README.md can show it too.")
    return text


def make() -> str:
    "README.md as it should be"
    text = relink(to_markdown(TOP / INDEX), "nbs")
    text = re.sub(r"[ \t]+$", "", text, flags=re.M)
    return NOTE + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def describe(text: str) -> str:
    "README for a page outside the repository: no pictures of ours, and of links into the repository their words alone"
    def plain(part: str) -> str:
        part = re.sub(r"^!\[[^\]]*\]\([^)]*\)\n\n(\*[^\n]*\*\n\n)?",
                      lambda m: "" if is_relative(LINK.search(m[0])[2]) else m[0], part, flags=re.M)
        return re.sub(r"(?<!!)\[([^\]]*)\]\(([^)]*)\)", lambda m: m[1] if is_relative(m[2]) else m[0], part)
    return "".join(part if part.startswith("```") else plain(part) for part in FENCE.split(text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where README.md is out of step")
    check, text, file = parser.parse_args().check, make(), TOP / README
    missing = [link for link in links(text) if not (TOP / link).exists()]
    if check and missing:
        sys.exit(f"README.md links to {', '.join(missing)}, which is not in the repository: mend the link in {INDEX}.")
    if check and (not file.exists() or file.read_text() != text):
        sys.exit(f"README.md is out of step with {INDEX}: run `make readme`.")
    other = TOP / DESCRIPTION
    if check and (not other.exists() or other.read_text() != describe(text)):
        sys.exit(f"{DESCRIPTION} is out of step with {INDEX}: run `make readme`.")
    if not check:
        file.write_text(text)
        other.write_text(describe(text))
        print(f"README.md written from {INDEX}" + (f"; not there yet: {', '.join(missing)}" if missing else ""))


if __name__ == "__main__":
    main()
