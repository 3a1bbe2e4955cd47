"""A thread that sees when any process of the machine has changed the file, and when a lease is due."""

import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen

from overlord.platform.store.boottime import seconds_since_boot
from overlord.platform.store.errors import StoreError
from overlord.platform.store.sqlite.session import Session, StoreFile, translated
from overlord.platform.store.sqlite.statements import State, next_expiry, state_of

RETRY_PAUSE = 0.2
"""Seconds until it looks again after the file could not be read."""


@frozen
class News:
    """What it saw."""

    state: State
    is_lease_due: bool


@define(eq=False)
class Poller:
    """
    Looks every `interval` seconds, from `start` to `stop`.

    It asks for `PRAGMA data_version`, which costs no more than a look into shared memory, and reads
    the file only when that has changed.
    """

    file: StoreFile
    reactor: Any
    interval: float
    timeout: float
    """Seconds that it waits for a locked file."""
    boot: str
    tell: Callable[[News], None]
    """Called in the reactor's thread."""
    _thread: threading.Thread | None = field(default=None, init=False)
    _stopping: threading.Event = field(factory=threading.Event, init=False)

    def start(self) -> None:
        """Begin, if it has not."""
        if self._thread is None:
            self._stopping = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(self._stopping,), name="store-poller", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Look no more. The thread ends by itself, soon."""
        self._stopping.set()
        self._thread = None

    def _run(self, stopping: threading.Event) -> None:
        session = Session(self.file)
        seen: tuple[int, int] | None = None
        expiry: float | None = None
        while not stopping.is_set():
            pause = self.interval
            try:
                db = session.connection(time.monotonic() + self.timeout)
                with translated(session.path):
                    version = (id(db), db.execute("PRAGMA data_version").fetchone()[0])
                    is_due = expiry is not None and expiry <= seconds_since_boot()
                    if version != seen or is_due:
                        state, expiry = self._look(db)
                        seen = version
                        is_due = expiry is not None and expiry <= seconds_since_boot()
                        self.reactor.callFromThread(self.tell, News(state, is_due))
                        pause = RETRY_PAUSE if is_due else pause
            except StoreError:
                # Who calls the store is told; here it is only looked again.
                session.close()
                seen, pause = None, RETRY_PAUSE
            stopping.wait(pause)
        session.close()

    def _look(self, db: sqlite3.Connection) -> tuple[State, float | None]:
        db.execute("BEGIN")
        try:
            return state_of(db), next_expiry(db, self.boot)
        finally:
            db.execute("ROLLBACK")
