"""The homes of a store, as the conformance suite drives them: a fresh store, more clients of it, compaction."""

import sqlite3
from collections.abc import Awaitable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from integration.programs import Etcd
from twisted.internet.defer import Deferred, ensureDeferred

from overlord.platform.store import Changes, Event, Revision, Store, Watch
from overlord.platform.store.address import Endpoint, EtcdAddress
from overlord.platform.store.etcd.home import EtcdSettings, EtcdStore
from overlord.platform.store.sqlite.home import SqliteSettings, SqliteStore

T = TypeVar("T")
PATIENCE = 10.0
"""Seconds that a test waits for what it expects."""


def within(what: Awaitable[T], seconds: float = PATIENCE) -> "Deferred[T]":
    """What it gives, or a failure after so many seconds."""
    from twisted.internet import reactor

    started = what if isinstance(what, Deferred) else ensureDeferred(as_coroutine(what))
    return started.addTimeout(seconds, reactor)


async def as_coroutine(what: Awaitable[T]) -> T:
    return await what


def begun(what: Coroutine[Any, Any, T]) -> "Deferred[T]":
    """Under way from now on."""
    return ensureDeferred(what)


async def events_of(watch: Watch, count: int) -> list[Event]:
    """The next so many events of a watch, and all that come with the last one."""
    found: list[Event] = []
    while len(found) < count:
        changes: Changes = await within(watch.next())
        found += changes.events
    return found


class SqliteHome:
    """A file of this test's."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "store.db"
        self.opened: list[Store] = []

    def open(self, **settings: Any) -> SqliteStore:
        """Another client, as another process would have one."""
        from twisted.internet import reactor

        store = SqliteStore(self.path, reactor, SqliteSettings(**settings))
        store.start()
        self.opened.append(store)
        return store

    async def compact(self, revision: Revision) -> None:
        """Forget what happened up to this revision."""
        with sqlite3.connect(self.path) as connection:
            connection.execute("DELETE FROM changes WHERE revision <= ?", (revision,))
            connection.execute("UPDATE state SET compacted = ?", (revision,))
        connection.close()

    async def close(self) -> None:
        for store in self.opened:
            await store.close()


class EtcdHome:
    """An etcd, or several members of one cluster, that the tests share."""

    name = "etcd"

    def __init__(self, members: list[Etcd]) -> None:
        self.members = members
        self.opened: list[Store] = []

    def open(self, **settings: Any) -> EtcdStore:
        """Another client, as another process would have one."""
        from twisted.internet import reactor

        endpoints = tuple(Endpoint(*member.address) for member in self.members)
        store = EtcdStore(EtcdAddress(endpoints), reactor, EtcdSettings(**settings))
        store.start()
        self.opened.append(store)
        return store

    async def compact(self, revision: Revision) -> None:
        """Forget what happened up to this revision."""
        self.members[0].ask("kv/compaction", {"revision": str(revision)})

    async def close(self) -> None:
        for store in self.opened:
            await store.close()
