"""The store in one SQLite file."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from overlord.platform.store import boottime
from overlord.platform.store.contract import Shorthand
from overlord.platform.store.errors import OutcomeUnknown, StoreClosed, StoreUnavailable
from overlord.platform.store.rules import check_ttl, checked_key, checked_prefix
from overlord.platform.store.sqlite import statements
from overlord.platform.store.sqlite.poller import News, Poller
from overlord.platform.store.sqlite.session import Session, StoreFile
from overlord.platform.store.sqlite.statements import HistoryBound, State
from overlord.platform.store.sqlite.watch import SqliteWatch
from overlord.platform.store.sqlite.worker import Call, Worker
from overlord.platform.store.values import (
    Changes,
    Condition,
    Entry,
    Lease,
    LeaseId,
    Listing,
    Operation,
    Revision,
)

T = TypeVar("T")


@frozen
class SqliteSettings:
    """The bounds of the embedded home."""

    timeout: float = 3.0
    """Seconds in which each call ends."""
    poll_interval: float = 0.02
    """Seconds between two looks whether the file has changed, while somebody watches."""
    history_revisions: int = 10_000
    """Revisions whose changes are kept for watches, and at most an eighth more."""
    history_bytes: int = 64 * 1024 * 1024
    """Bytes of keys and values of changes that are kept; the oldest go first."""

    @property
    def history(self) -> HistoryBound:
        return HistoryBound(self.history_revisions, self.history_bytes)


@define(eq=False)
class SqliteStore(Shorthand):
    """Implements `Store` in a file of this machine, which other processes may use at the same time."""

    path: Path
    reactor: Any
    """IReactorTime and IReactorFromThreads."""
    settings: SqliteSettings = field(factory=SqliteSettings)
    log = Logger()
    _reader: Worker | None = field(default=None, init=False)
    _writer: Worker | None = field(default=None, init=False)
    _poller: Poller | None = field(default=None, init=False)
    _watches: set[SqliteWatch] = field(factory=set, init=False)
    _sweeping: Deferred[None] | None = field(default=None, init=False)
    _boot: str = field(factory=boottime.boot_id, init=False)
    _reading: Session = field(init=False)
    _writing: Session = field(init=False)

    def start(self) -> None:
        file = StoreFile(self.path)
        self._reading, self._writing = Session(file), Session(file)
        self._reader = self._worker("store-reader", self._reading)
        self._writer = self._worker("store-writer", self._writing)
        self._poller = Poller(
            file,
            self.reactor,
            self.settings.poll_interval,
            self.settings.timeout,
            self._boot,
            self._news,
        )

    async def close(self) -> None:
        for watch in tuple(self._watches):
            watch.close()
        if self._poller is not None:
            self._poller.stop()
        for worker in (self._writer, self._reader):
            if worker is not None:
                await worker.stop()

    async def get(self, key: str) -> Entry | None:
        checked_key(key)
        return await self._read(lambda db: statements.entry_at(db, key))

    async def list(self, prefix: str) -> Listing:
        start = checked_prefix(prefix)
        return await self._read(lambda db: statements.listing(db, start))

    def watch(self, prefix: str, after: Revision) -> SqliteWatch:
        watch = SqliteWatch(checked_prefix(prefix), after, self, self.reactor)
        if self._poller is None:
            raise StoreClosed(f"{self.path} is not open")
        self._watches.add(watch)
        self._poller.start()
        return watch

    async def grant(self, ttl: int) -> Lease:
        check_ttl(ttl)
        return await self._write(lambda db: statements.grant(db, ttl, self._boot))

    async def refresh(self, lease: LeaseId) -> None:
        lost = await self._write(lambda db: statements.refresh(db, lease))
        if lost is not None:
            raise lost

    async def revoke(self, lease: LeaseId) -> None:
        await self._write(lambda db: statements.revoke(db, lease))

    async def changes(self, prefix: bytes, after: Revision) -> tuple[State, Changes]:
        """For a watch: what happened, and where the store is."""

        def read(db: sqlite3.Connection) -> tuple[State, Changes]:
            return statements.state_of(db), statements.changes_after(db, prefix, after)

        return await self._read(read)

    def forget(self, watch: SqliteWatch) -> None:
        """A watch has ended."""
        self._watches.discard(watch)
        if not self._watches and self._poller is not None:
            self._poller.stop()

    async def _transact(
        self, operations: Sequence[Operation], conditions: Sequence[Condition]
    ) -> Revision:
        done = await self._write(lambda db: statements.transact(db, operations, conditions))
        if isinstance(done, Exception):
            raise done
        return done

    async def _read(self, what: Callable[[sqlite3.Connection], T]) -> T:
        result, is_lease_due = await self._read_once(what)
        if not is_lease_due:
            return result
        try:
            await self._write(lambda db: None)  # which ends leases first
        except StoreClosed:
            raise
        except (StoreUnavailable, OutcomeUnknown):
            return result  # it is read all the same, say, while the disk is full
        return (await self._read_once(what))[0]

    def _read_once(self, what: Callable[[sqlite3.Connection], T]) -> Deferred[tuple[T, bool]]:
        """What is read, and whether keys in it should have gone with their leases."""
        if self._reader is None:
            raise StoreClosed(f"{self.path} is not open")

        def work(call: Call[tuple[T, bool]]) -> tuple[T, bool]:
            with self._reading.reading(call.deadline) as db:
                return what(db), bool(statements.overdue(db, self._boot))

        return self._reader.submit(work)

    def _write(self, what: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        if self._writer is None:
            raise StoreClosed(f"{self.path} is not open")

        def work(call: Call[T]) -> T:
            with self._writing.writing(call.deadline, call.claim) as db:
                for lease in statements.overdue(db, self._boot):
                    statements.revoke(db, lease)
                result = what(db)
                statements.trim(db, self.settings.history)
            return result

        return self._writer.submit(work)

    def _news(self, news: News) -> None:
        for watch in tuple(self._watches):
            watch.moved(news.state)
        if news.is_lease_due and self._sweeping is None and self._watches:
            self._sweeping = Deferred.fromCoroutine(self._sweep())

    async def _sweep(self) -> None:
        """End the leases that are due, so that those who watch hear of it."""
        try:
            await self._write(lambda db: None)
        except (StoreUnavailable, OutcomeUnknown) as error:
            self.log.warn("leases of {path} cannot be ended: {error}", path=self.path, error=error)
        except Exception:  # noqa: BLE001  # a mistake of ours; nobody else would see it
            self.log.failure("leases of {path} cannot be ended", path=self.path)
        finally:
            self._sweeping = None

    def _worker(self, name: str, session: Session) -> Worker:
        return Worker(name, self.reactor, self.settings.timeout, str(self.path), session.close)
