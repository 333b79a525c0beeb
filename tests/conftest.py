"""What the tests measure (seconds of a notebook, of an import) is printed once, below the results, from any worker;
one browser serves all that look at pages."""
import pytest


@pytest.fixture(scope="session")
def chromium():
    from test_lab import open_chromium
    yield from open_chromium()


@pytest.fixture(scope="session")
def server(chromium, tmp_path_factory):
    from test_lab import Server
    server = Server(tmp_path_factory.mktemp("lab"))
    yield server
    server.stop()


def pytest_terminal_summary(terminalreporter):
    rows = [(r.nodeid, name, value) for key in ("passed", "failed") for r in terminalreporter.stats.get(key, [])
            if r.when == "call"
            for name, value in r.user_properties]
    if rows:
        terminalreporter.section("measured")
    for nodeid, name, value in sorted(rows):
        terminalreporter.write_line(f"{value:>10}  {name}  ({nodeid.split('::')[0]})")
