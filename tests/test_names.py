"""Names are those of the tables, told without loading them; rows of one's own come in by name."""
import json, subprocess, sys

import pytest
from semipose.errors import UserError
from semipose.names import difficulty_names, import_rows, method_names, names_of, net_names

ROWS = """from dataclasses import replace
from semipose.methods import METHODS, Row, add
from semipose.views import A60, JC
add('mine', Row('{name}', 'My own row', replace(METHODS['posecons'], student_views=(JC >> A60,), cons=2.)))
"""


def test_names_are_those_of_the_tables():
    from semipose.data.synth import DIFFICULTIES
    from semipose.methods import METHODS
    from semipose.nets.peers import NETS
    assert method_names() == tuple(METHODS) and net_names() == NETS and difficulty_names() == tuple(DIFFICULTIES)
    with pytest.raises(LookupError, match="no table THERE_IS_NONE"): names_of("semipose.methods", "THERE_IS_NONE")


def test_names_load_nothing():
    code = ("import sys; from semipose.names import *; from semipose.names import method_names, net_names, "
            "difficulty_names\n"
            "print(len(method_names()), len(net_names()), len(difficulty_names()), [m for m in ('torch', 'fastai', "
            "'numpy', 'semipose.methods') if m in sys.modules])")
    n, nets, kinds, loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                                            check=True).stdout.split(maxsplit=3)
    assert int(n) > 80 and int(nets) == 11 and int(kinds) == 4 and loaded.strip() == "[]"


def cli(folder, *args, home=None):
    "A process of its own: what is imported stays in it"
    return subprocess.run([sys.executable, "-c", "import sys; from semipose.cli import main; sys.argv[0] = "
                                                 "'semipose'; main()", *map(str, args)],
                          cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("how", ["my_rows", "my_rows.py", "sub/further_rows.py"])
def test_a_row_of_ones_own_is_known_to_the_command_line(tmp_path, how):
    (tmp_path/"sub").mkdir()
    for f in ("my_rows.py", "sub/further_rows.py"): (tmp_path/f).write_text(ROWS.format(name="mine"))
    assert "There is no method named 'mine'" in cli(tmp_path, "methods", "mine").stderr
    shown = cli(tmp_path, "methods", "mine", "--import", how)
    assert shown.returncode == 0 and "My own row" in shown.stdout and "cons=2.0" in shown.stdout, shown.stderr
    listed = cli(tmp_path, "methods", "--group", "mine", "--import", how)
    assert listed.returncode == 0 and "mine" in listed.stdout.split()


def test_a_row_of_ones_own_trains_sweeps_evaluates_and_compares(tmp_path):
    (tmp_path/"my_rows.py").write_text(ROWS.format(name="mine"))
    assert cli(tmp_path, "synth", "people", "--train", 12, "--val", 4, "--size", "64x48", "--difficulty",
               "demo").returncode == 0
    few = ["--data", "people", "--protocol", "demo", "--labels", 4]
    said = cli(tmp_path, "train", "mine", *few, "--steps", 2, "--start-steps", 0, "--import", "my_rows")
    assert said.returncode == 0, said.stderr
    run = tmp_path/"runs"/"mine-people-4-seed0"
    recipe = json.loads((run/"recipe.json").read_text())
    assert recipe["method"] == "mine" and recipe["title"] == "My own row" and recipe["own"]
    assert "--import my_rows" in recipe["command"]
    said = cli(tmp_path, "eval", run, "--import", "my_rows")
    assert said.returncode == 0 and "AP" in said.stdout, said.stderr
    both = cli(tmp_path, "compare", "naive", "mine", *few, "--steps", 2, "--start-steps", 2, "--import", "my_rows.py",
               "--out", "both")
    assert both.returncode == 0 and "My own row" in both.stdout, both.stderr
    assert "My own row" in (tmp_path/"both"/"report.html").read_text()
    lacking = cli(tmp_path, "sweep", "demo", "mine", "--data", "people")
    assert lacking.returncode == 2 and "no method named 'mine'" in lacking.stderr


def test_what_is_wrong_with_a_module_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in dict(broken="1/0", needs="import nothing_of_this_name", wrong="def f(:").items():
        (tmp_path/f"{name}_rows.py").write_text(text)
    for where, says in (("no_such_file.py", "no such file"),
                        ("no_such_module_here", "no module of that name"), ("broken_rows.py", "ZeroDivisionError"),
                        ("broken_rows", "ZeroDivisionError"),
                        ("needs_rows.py", "needs nothing_of_this_name"), ("wrong_rows.py", "SyntaxError"),
                        ("sub/json.py", "no such file")):
        with pytest.raises(UserError, match=says) as e: import_rows(where)
        assert "\n" not in str(e.value) and f"--import {where}" in str(e.value)
    (tmp_path/"json.py").write_text("")
    with pytest.raises(UserError, match="loaded already"): import_rows("json.py")
    done = cli(tmp_path, "methods", "--import", "broken_rows.py")
    assert done.returncode == 2 and "ZeroDivisionError" in done.stderr and "Traceback" not in done.stderr


def test_every_verb_takes_import():
    import semipose.cli as c
    for verb, command in c.typer.main.get_command(c.app).commands.items():
        assert any("--import" in p.opts for p in command.params), verb
    import inspect
    assert "imported" not in inspect.signature(c.train).parameters, "as a function it is what it was"
