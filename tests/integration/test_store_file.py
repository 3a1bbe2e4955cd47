"""The embedded store between processes: one is killed while it writes, others go on."""

import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater

from overlord.platform.store import store_at

WRITER = Path(__file__).with_name("standin_writer.py")


def writer(path: Path) -> subprocess.Popen:
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, WRITER, f"sqlite:{path}"],
        stdout=subprocess.PIPE,
        text=True,
    )


async def values(path: Path) -> list[int]:
    """The two counters, and how many single records there are."""
    from twisted.internet import reactor

    store = store_at(f"sqlite:{path}", reactor)
    store.start()
    try:
        listing = await store.list("/")
    finally:
        await store.close()
    found = {entry.key: int(entry.value) for entry in listing.entries}
    assert all(found[f"/each/{n}"] == n for n in range(1, len(found) - 1))
    return [found.get("/a", 0), found.get("/b", 0), max(0, len(found) - 2)]


@pytest.mark.parametrize("times", [5, pytest.param(100, marks=pytest.mark.soak)])
@pytest_twisted.ensureDeferred
async def test_nothing_acknowledged_is_lost_when_a_writer_is_killed(tmp_path, seed, times) -> None:
    """Kill -9 in the middle of writes: what was acknowledged is there, and nothing by halves."""
    from twisted.internet import reactor

    path, draw = tmp_path / "store.db", random.Random(seed)
    for _ in range(times):
        process = writer(path)
        first = int(process.stdout.readline())
        await deferLater(reactor, draw.uniform(0, 0.2))
        process.kill()
        acknowledged = [first, *(int(line) for line in process.stdout if line.endswith("\n"))][-1]
        process.wait()
        process.stdout.close()

        a, b, single = await values(path)

        assert a == b == single
        assert acknowledged <= a <= acknowledged + 1
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()


@pytest_twisted.ensureDeferred
async def test_a_watcher_hears_all_of_two_other_processes(tmp_path) -> None:
    """Each number once, in order, although two processes take turns at the file and are killed."""
    from twisted.internet import reactor

    path = tmp_path / "store.db"
    store = store_at(f"sqlite:{path}", reactor)
    store.start()
    watch = store.watch("/a", (await store.list("")).revision)
    told: list[int] = []
    for _ in range(2):
        process = writer(path)
        goal = len(told) + 50
        while len(told) < goal:
            changes = await ensureDeferred(watch.next()).addTimeout(20, reactor)
            told += [int(event.entry.value) for event in changes.events]
        process.kill()
        process.wait()
        process.stdout.close()
    entry = await store.get("/a")
    while told[-1] < int(entry.value):
        changes = await ensureDeferred(watch.next()).addTimeout(20, reactor)
        told += [int(event.entry.value) for event in changes.events]
    await store.close()

    assert told == list(range(1, int(entry.value) + 1))
