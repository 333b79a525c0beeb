"""What the tests measure (seconds of a notebook, of an import) is printed once, below the results, from any worker."""


def pytest_terminal_summary(terminalreporter):
    rows = [(r.nodeid, name, value) for key in ("passed", "failed") for r in terminalreporter.stats.get(key, []) if r.when == "call"
            for name, value in r.user_properties]
    if rows:
        terminalreporter.section("measured")
    for nodeid, name, value in sorted(rows):
        terminalreporter.write_line(f"{value:>10}  {name}  ({nodeid.split('::')[0]})")
