"""The measures of a code base's legibility, at any revision: `python scripts/measure_code.py [REVISION ...]`, where
none is the working tree.

Lines and syntax nodes are of `semipose/*.py`; cells of the notebooks; sentences of README.md and of the notebooks'
markdown. Blank lines and comments alone count for nothing; a function's branches are its ifs, loops, `except`s,
conditional expressions, comprehension conditions, `and` and `or`. `--worst` names the functions and cells that a
bound would refuse.
"""
import argparse, ast, json, re, statistics, subprocess, sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
ARGUMENTS, BRANCHES, CELL, SENTENCE = 12, 15, 40, 40


def files(revision: str | None) -> dict[str, str]:
    "path -> text of the code, the notebooks and the README; None: as they lie in the working tree"
    mine = lambda p: (re.fullmatch(r"semipose/.+\.py|nbs/.+\.ipynb|README\.md", p) and "_modidx" not in p
                      and ".ipynb_checkpoints" not in p)
    git = lambda *args: subprocess.run(["git", *args], cwd=TOP, capture_output=True, check=True).stdout
    if revision is None:
        paths = git("ls-files", "--cached", "--others", "--exclude-standard").decode().splitlines()
        return {p: (TOP / p).read_text() for p in paths if mine(p) and (TOP / p).is_file()}
    paths = [p for p in git("ls-tree", "-r", "--name-only", revision).decode().splitlines() if mine(p)]
    return {p: git("show", f"{revision}:{p}").decode() for p in paths}


def arguments(f) -> int:
    a = f.args
    return len(a.posonlyargs) + len(a.args) + len(a.kwonlyargs) + bool(a.vararg) + bool(a.kwarg)


def branches(f) -> int:
    "of a function, without those of functions inside it"
    n, todo = 0, list(ast.iter_child_nodes(f))
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)): continue
        n += isinstance(node, (ast.If, ast.For, ast.While, ast.IfExp, ast.ExceptHandler, ast.match_case))
        n += len(node.values) - 1 if isinstance(node, ast.BoolOp) else 0
        n += len(node.ifs) if isinstance(node, ast.comprehension) else 0
        todo += ast.iter_child_nodes(node)
    return n


def functions(path: str, tree):
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)): yield f"{path}:{node.name}", node


def cells(notebook: str) -> list[str]:
    "exported ones"
    code = ("".join(c["source"]) for c in json.loads(notebook)["cells"] if c["cell_type"] == "code")
    return [s for s in code if re.match(r"#\| ?exports?\b", s)]


def definitions(cell: str) -> int:
    "functions and classes at the top of a cell"
    try: body = ast.parse(cell).body
    except SyntaxError: return 0    # a cell of IPython
    return sum(isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) for n in body)


def sentences(markdown: str) -> list[int]:
    "words of each; code, tables, pictures and heads left out"
    text = re.sub(r"```.*?```|<!--.*?-->", "", markdown, flags=re.S)
    blocks = ("\n".join(line for line in b.splitlines() if not re.match(r"\s*(\||#|!\[|<)", line))
              for b in re.split(r"\n\s*\n|\n(?=\s*[-*] |\s*\d+\. )", text))
    out = []
    for b in blocks:
        b = re.sub(r"\s+", " ", re.sub(r"`[^`]*`", "x", re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", b))).strip(" -*")
        out += [len(s.split()) for s in re.split(r"(?<=[.!?:])\s+(?=[A-Z(*x])", b) if len(s.split()) > 1]
    return out


def prose(notebook: str) -> list[int]:
    "words of each sentence of a notebook's markdown"
    texts = ["".join(c["source"]) for c in json.loads(notebook)["cells"] if c["cell_type"] == "markdown"]
    return [n for text in texts for n in sentences(text)]


def percentile(values: list, share: float) -> int:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)] if values else 0


def measure(revision: str | None) -> tuple[dict, list[str]]:
    "name of a measure -> what it is; the worst, by name"
    found = files(revision)
    code = {p: t for p, t in found.items() if p.endswith(".py")}
    lines = [line for t in code.values() for line in t.splitlines() if line.strip()
             and not line.lstrip().startswith("#")]
    trees = {p: ast.parse(t) for p, t in code.items()}
    fs = [pair for p, t in trees.items() for pair in functions(p, t)]
    exported = [(p, c) for p, t in found.items() if p.endswith(".ipynb") for c in cells(t)]
    sizes, tops = [len(c.splitlines()) for _, c in exported], [definitions(c) for _, c in exported]
    texts = {"README": sentences(found.get("README.md", "")),
             "notebooks": [n for p, t in found.items() if p.endswith(".ipynb") for n in prose(t)]}
    many, branched = ([(n, arguments(f)) for n, f in fs if arguments(f) > ARGUMENTS],
                      [(n, branches(f)) for n, f in fs if branches(f) > BRANCHES])
    of = lambda name: next((arguments(f) for n, f in fs if n == name), None)
    percent = lambda hits, all: f"{100 * sum(hits) / max(len(all), 1):.0f} %"
    length = [f.end_lineno - f.lineno + 1 for _, f in fs]
    out = {
        "lines of code": f"{len(lines):,}",
        "line length, p90 / p99": f"{percentile([len(x) for x in lines], .9)} / "
                                  f"{percentile([len(x) for x in lines], .99)}",
        "lines over 120": percent([len(x) > 120 for x in lines], lines),
        "syntax nodes a line": f"{sum(1 for t in trees.values() for _ in ast.walk(t)) / max(len(lines), 1):.1f}",
        "function length, median / p90": f"{statistics.median(length):.0f} / {percentile(length, .9)}"
        if length else "",
        "exported cells": f"{len(exported):,}",
        "cells over 30 lines": percent([n > 30 for n in sizes], sizes),
        f"cells over {CELL} lines": percent([n > CELL for n in sizes], sizes),
        "cells of more than one definition": percent([n > 1 for n in tops], tops),
        **{k: v for name, words in texts.items() for k, v in {
            f"{name}: sentences": f"{len(words):,}",
            f"{name}: median words": f"{statistics.median(words):.0f}" if words else "",
            f"{name}: over {SENTENCE} words": sum(n > SENTENCE for n in words)}.items()},
        "arguments of cli.train": of("semipose/cli.py:train"),
        "arguments of run.train": of("semipose/run.py:train"),
        f"functions over {ARGUMENTS} arguments": len(many),
        f"functions over {BRANCHES} branches": len(branched)}
    long = sorted(((n, f"{p}: {next((x for x in c.splitlines()[1:] if x.strip()), '')[:50]}")
                   for n, (p, c) in zip(sizes, exported) if n > CELL), reverse=True)
    worst = ([f"{n} takes {k} arguments" for n, k in sorted(many, key=lambda x: -x[1])]
             + [f"{n} has {k} branches" for n, k in sorted(branched, key=lambda x: -x[1])])
    return out, worst + [f"{n} lines in {where}" for n, where in long]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("revisions", nargs="*", help="of git; none: the working tree")
    parser.add_argument("--worst", action="store_true", help="name the functions and cells over the bounds, of the "
                                                             "last revision")
    a = parser.parse_args()
    columns = [(r or "working tree", *measure(r)) for r in a.revisions or [None]]
    wide = max(len(k) for _, m, _ in columns for k in m)
    print("| " + " | ".join(["measure".ljust(wide), *(name for name, *_ in columns)]) + " |")
    print("|" + "---|" * (len(columns) + 1))
    for k in columns[0][1]:
        print("| " + " | ".join([k.ljust(wide), *(str(m.get(k, "")) for _, m, _ in columns)]) + " |")
    if a.worst: print("", *columns[-1][2], sep="\n")


if __name__ == "__main__":
    sys.exit(main())
