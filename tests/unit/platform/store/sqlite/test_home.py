"""The embedded home when its file is locked, full, damaged, gone, or of another time."""

import os
import sqlite3
import stat
import time

import pytest
import pytest_twisted
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater

from overlord.platform.store import (
    HistoryLost,
    Put,
    Revision,
    StoreDamaged,
    StoreFull,
    StoreUnavailable,
)
from overlord.platform.store.sqlite.home import SqliteSettings, SqliteStore


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
def opened(path):
    stores = []

    def open_one(at=path, **settings):
        from twisted.internet import reactor

        stores.append(SqliteStore(at, reactor, SqliteSettings(**settings)))
        stores[-1].start()
        return stores[-1]

    yield open_one
    for store in stores:
        pytest_twisted.blockon(ensureDeferred(store.close()))


def sleep(seconds: float):
    from twisted.internet import reactor

    return deferLater(reactor, seconds)


@pytest_twisted.ensureDeferred
async def test_nobody_else_may_read_the_file(opened, path) -> None:
    """Records may hold passwords."""
    await opened().put("a", b"1")

    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest_twisted.ensureDeferred
async def test_a_locked_file_is_unavailable_within_the_deadline_and_can_be_read(
    opened, path
) -> None:
    store = opened(timeout=0.5)
    await store.put("a", b"1")
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    began = time.monotonic()

    with pytest.raises(StoreUnavailable, match=f"{path} is locked by another process"):
        await store.put("a", b"2")

    assert time.monotonic() - began < 5
    assert (await store.get("a")).value == b"1"
    locker.execute("ROLLBACK")
    locker.close()
    await store.put("a", b"3")
    assert (await store.get("a")).value == b"3"


@pytest_twisted.ensureDeferred
async def test_who_waits_behind_a_lock_is_not_done_later(opened, path) -> None:
    """What was answered as not done stays not done, when the lock goes."""
    store = opened(timeout=0.3)
    await store.put("a", b"1")
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    calls = [ensureDeferred(store.put(name, b"2")) for name in "abc"]
    for call in calls:
        with pytest.raises(StoreUnavailable):
            await call

    locker.execute("ROLLBACK")
    locker.close()
    await sleep(0.2)

    assert [(entry.key, entry.value) for entry in (await store.list("")).entries] == [("a", b"1")]


@pytest_twisted.ensureDeferred
async def test_a_full_disk_is_said_and_loses_nothing(opened) -> None:
    store = opened()
    await store.put("a", b"1")
    await store._write(lambda db: db.execute("PRAGMA max_page_count = 40").fetchone())
    kept = []

    async def fill() -> None:
        for number in range(100):
            await store.put(f"b{number:03}", b"x" * 8000)
            kept.append(f"b{number:03}")

    with pytest.raises(StoreFull, match="the disk is full"):
        await fill()

    assert 0 < len(kept) < 100
    assert [entry.key for entry in (await store.list("b")).entries] == kept
    # The connection is a new one, without the bound: as if room had been made.
    await store.put("a", b"2")


@pytest.mark.parametrize(
    "content", [b"", b"SQLite format 3\0" + b"\xff" * 5000, b"# notes\n" * 1000]
)
@pytest_twisted.ensureDeferred
async def test_a_file_that_is_none_of_ours(opened, path, content) -> None:
    """An empty file becomes a store; what holds something else is left as it is."""
    path.write_bytes(content)
    store = opened()

    if not content:
        await store.put("a", b"1")
        return
    with pytest.raises(StoreDamaged, match=str(path)):
        await store.put("a", b"1")
    assert path.read_bytes() == content


@pytest_twisted.ensureDeferred
async def test_a_database_of_something_else_is_left_alone(opened, path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE recipes (name)")
    database.close()

    with pytest.raises(StoreDamaged, match="no store of Overlord"):
        await opened().get("a")


@pytest_twisted.ensureDeferred
async def test_a_file_of_a_newer_overlord_is_left_alone(opened, path) -> None:
    store = opened()
    await store.put("a", b"1")
    await store.close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()

    with pytest.raises(StoreUnavailable, match="made by a newer Overlord"):
        await opened().get("a")


@pytest_twisted.ensureDeferred
async def test_a_damaged_page_is_said(opened, path) -> None:
    store = opened()
    for number in range(50):
        await store.put(f"k{number:02}", b"x" * 2000)
    await store.close()
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        for at in range(4096 * 2, size, 4096):
            file.seek(at)
            file.write(b"\xa5" * 4096)
    store = opened()

    with pytest.raises(StoreDamaged, match="restore it from a backup"):
        await store.list("")
    with pytest.raises(StoreDamaged):
        await store.put("new", b"1")


@pytest_twisted.ensureDeferred
async def test_a_folder_that_is_not_there_yet(opened, tmp_path) -> None:
    """Callers are told, and go on when the folder is there."""
    store = opened(tmp_path / "later" / "store.db")
    with pytest.raises(StoreUnavailable, match="No such file or directory"):
        await store.put("a", b"1")

    (tmp_path / "later").mkdir()

    await store.put("a", b"1")


@pytest_twisted.ensureDeferred
async def test_a_file_that_vanished_is_not_made_anew(opened, path) -> None:
    """An empty store in its place would look as if all clusters had been deleted."""
    store = opened()
    await store.put("a", b"1")
    path.rename(path.with_suffix(".away"))
    for file in path.parent.glob("store.db-*"):
        file.rename(file.with_name(file.name.replace("store.db", "store.away")))

    with pytest.raises(StoreUnavailable, match="No such file"):
        await store.get("a")
    assert not path.exists()

    for file in path.parent.glob("store.away*"):
        file.rename(file.with_name(file.name.replace("store.away", "store.db")))
    assert (await store.get("a")).value == b"1"


@pytest_twisted.ensureDeferred
async def test_a_watch_of_data_that_was_replaced_says_so(opened, path, tmp_path) -> None:
    """Another store in the same place, at a later revision even: its changes are not the missing ones."""
    other = opened(tmp_path / "other.db")
    for _ in range(20):
        await other.put("b", b"1")
    await other.close()
    store = opened()
    watch = store.watch("", await store.put("a", b"1"))
    waiting = ensureDeferred(watch.next())
    await sleep(0.1)

    (tmp_path / "other.db").rename(path)
    for file in tmp_path.glob("store.db-*"):
        file.unlink()

    with pytest.raises(HistoryLost):
        await waiting


@pytest_twisted.ensureDeferred
async def test_history_is_bounded_in_revisions(opened) -> None:
    store = opened(history_revisions=16)
    revisions = [await store.put("a", b"1") for _ in range(100)]

    (count,) = await store._read(lambda db: db.execute("SELECT COUNT(*) FROM changes").fetchone())
    assert 16 <= count <= 18
    with pytest.raises(HistoryLost, match="are kept"):
        await store.watch("", revisions[80]).next()
    changes = await store.watch("", Revision(revisions[-1] - 16)).next()
    assert [event.revision for event in changes.events] == revisions[-16:]


@pytest_twisted.ensureDeferred
async def test_history_is_bounded_in_bytes(opened) -> None:
    store = opened(history_bytes=10_000)
    for _ in range(100):
        last = await store.put("a", b"x" * 999)
        counted, told = await store._read(
            lambda db: db.execute(
                "SELECT SUM(LENGTH(key) + LENGTH(value)), history_bytes FROM changes, state"
            ).fetchone()
        )
        assert counted == told <= 10_000

    changes = await store.watch("", Revision(last - 5)).next()
    assert len(changes.events) == 5


@pytest_twisted.ensureDeferred
async def test_one_change_larger_than_the_history_is_lost_to_watches_alone(opened) -> None:
    store = opened(history_bytes=1000)
    before = await store.put("a", b"1")
    await store.put("a", b"x" * 2000)

    assert len((await store.get("a")).value) == 2000
    with pytest.raises(HistoryLost):
        await store.watch("", before).next()


@pytest_twisted.ensureDeferred
async def test_leases_of_another_boot_have_run_out(opened, path) -> None:
    """After a power failure nobody waits for holders that are gone, whatever the clocks say."""
    store = opened()
    lease = await store.grant(3600)
    await store.transact([Put("held", b"1", lease.id), Put("kept", b"1")])
    with sqlite3.connect(path) as database:
        database.execute("UPDATE leases SET boot = 'another'")
    database.close()

    assert [entry.key for entry in (await store.list("")).entries] == ["kept"]


@pytest_twisted.ensureDeferred
async def test_setting_the_wall_clock_ends_no_lease(opened, monkeypatch) -> None:
    store = opened()
    lease = await store.grant(60)
    await store.put("held", b"1", lease.id)

    monkeypatch.setattr(time, "time", lambda: 9e9)

    assert await store.get("held") is not None


@pytest_twisted.ensureDeferred
async def test_no_thread_stays(opened) -> None:
    import threading

    store = opened()
    watch = store.watch("", await store.put("a", b"1"))
    waiting = ensureDeferred(watch.next())
    waiting.addErrback(lambda _: None)
    await store.close()
    await sleep(0.2)

    assert [each.name for each in threading.enumerate() if each.name.startswith("store-")] == []
