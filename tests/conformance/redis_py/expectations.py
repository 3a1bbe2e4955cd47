"""
A plug-in for redis-py's suite: failures that are expected, each with its reason, and nothing on the list by mistake.

Lists are TOML, a table for each reason:

    [[expected]]
    reason = "there is one database, number 0"
    tests = ["tests/test_commands.py::TestRedisCommands::test_select", "*::test_bitfield_operations*"]
    protocol = 2      # if it fails in this protocol only
    servers = ["7.0"] # if it fails on servers of these versions only
    at_the_end = true # if the test passes, and what it does afterwards fails

    [[left_out]]      # tests that are not run at all

A test that is expected to fail and passes is a failure, and so is a pattern that fits no test of its file.
"""

import tomllib
import tracemalloc
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import pytest

PATIENCE = 1.5
"""Seconds that their tests of subscriptions wait for a message; 0.2 and 0.5 of their own are little for a busy machine."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--expected", action="append", default=[], help="a list of expected failures")
    parser.addoption("--server-version", default="", help="what the servers behind the proxy are")
    parser.addoption(
        "--share", nargs=2, type=int, default=[0, 1], help="each n-th test, from the i-th on: i n"
    )


# Their conftest.py would have each allocation traced, and each failure take a second.
tracemalloc.start = lambda *_: None


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Which tests apply is a matter of the servers, and not of what the proxy claims to be."""
    version = session.config.getoption("--server-version")
    if version:
        session.config.REDIS_INFO["version"] = version


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    protocol = int(config.getoption("--protocol"))
    version = config.getoption("--server-version")
    stale: list[str] = []
    for name in config.getoption("--expected"):
        listed = tomllib.loads(Path(name).read_text())
        for table in listed["expected"]:
            servers = table.get("servers", [version])
            if table.get("protocol", protocol) == protocol and version.startswith(tuple(servers)):
                if table.get("at_the_end"):
                    mark = pytest.mark.ends_badly(table["reason"])
                else:
                    mark = pytest.mark.xfail(reason=table["reason"], strict=True)
                stale += put(mark, items, table["tests"])
        for table in listed.get("left_out", []):
            stale += put(pytest.mark.skip(reason=table["reason"]), items, table["tests"])
    for module in {item.module for item in items}:
        waits = getattr(module, "wait_for_message", None)
        # Who borrows the function from another file measures how long things take, too.
        if waits is not None and waits.__module__ == module.__name__:
            module.wait_for_message = partial(waits, timeout=PATIENCE)
    if stale:
        raise pytest.UsageError("expected failures that are no tests: " + ", ".join(stale))
    first, step = config.getoption("--share")
    kept = items[first::step]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def put(mark: pytest.MarkDecorator, items: list[pytest.Item], patterns: list[str]) -> list[str]:
    """Mark what these patterns name; give the patterns that name nothing although their file is here."""
    ids = [literal(item.nodeid) for item in items]
    files = {item.partition("::")[0] for item in ids}
    stale = []
    for pattern in map(literal, patterns):
        named = [item for item, name in zip(items, ids, strict=True) if fnmatchcase(name, pattern)]
        for item in named:
            item.add_marker(mark)
        if not named and any(fnmatchcase(file, pattern.partition("::")[0]) for file in files):
            stale.append(pattern)
    return stale


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[pytest.TestReport]:
    """Expect failures of what comes after a test, too, which pytest does not."""
    report = yield
    mark = item.get_closest_marker("ends_badly")
    if mark is not None and call.when == "teardown":
        report.outcome = "failed" if report.passed else "skipped"
        if report.skipped:
            report.wasxfail = mark.args[0]
        else:
            report.longrepr = f"it was expected to end badly: {mark.args[0]}"
    return report


def literal(name: str) -> str:
    """A name whose parameters `[...]` are no set of letters to `fnmatch`."""
    return name.replace("[", "(").replace("]", ")")
