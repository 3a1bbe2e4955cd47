"""
One connection to the file: opened when it is needed, and again when the file is another one.

The file is in WAL mode, so readers wait for nobody, and a commit is on the disk when it returns
(`synchronous = FULL`). What SQLite says went wrong becomes one of our errors, with the file's path.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field

from overlord.platform.store.errors import (
    OutcomeUnknown,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from overlord.platform.store.sqlite.schema import APPLICATION_ID, FORMAT, SCHEMA

LOCK_PAUSE = 0.002
"""Seconds until we try again when another process has the file locked."""
FILE_MODE = 0o600
"""Of a file that we make: records may hold passwords."""


@define(eq=False)
class StoreFile:
    """The file, as all threads of a store know it."""

    path: Path
    was_seen: bool = False
    """One that was there and has vanished is not made anew: it would look as if all were deleted."""


@define(eq=False)
class Session:
    """A connection that belongs to one thread."""

    file: StoreFile
    _connection: sqlite3.Connection | None = field(default=None, init=False)
    _opened: tuple[int, int] = field(default=(0, 0), init=False)
    """Device and inode of what is open."""

    @property
    def path(self) -> Path:
        return self.file.path

    def connection(self, deadline: float) -> sqlite3.Connection:
        """The connection, opened if need be. `deadline` is one of `time.monotonic`."""
        if self._connection is not None and self._opened != self._identity():
            self.close()  # the file was removed or replaced: writing on would go nowhere
        if self._connection is None:
            with translated(self.path):
                self._connection = self._open(deadline)
            self._opened = self._identity()
            self.file.was_seen = True
        return self._connection

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def reading(self, deadline: float) -> Iterator[sqlite3.Connection]:
        """A transaction that sees one state of the store."""
        connection = self.connection(deadline)
        with self._letting_go_on_error(), translated(self.path):
            patiently(lambda: _begin_to_read(connection), self.path, deadline)
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def writing(
        self, deadline: float, may_commit: Callable[[], bool]
    ) -> Iterator[sqlite3.Connection]:
        """
        A transaction that changes the store. It is kept if `may_commit` still says so at its end.

        Raises OutcomeUnknown if the disk failed in the very moment of the commit.
        """
        connection = self.connection(deadline)
        with self._letting_go_on_error(), translated(self.path):
            patiently(lambda: connection.execute("BEGIN IMMEDIATE"), self.path, deadline)
            try:
                yield connection
                if may_commit():
                    _commit(connection, self.path)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def _letting_go_on_error(self) -> Iterator[None]:
        """A connection with which something went wrong is not used again."""
        try:
            yield
        except (StoreUnavailable, OutcomeUnknown):
            self.close()
            raise

    def _identity(self) -> tuple[int, int]:
        try:
            status = self.path.stat()
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not self.file.was_seen:
                return (0, 0)
            raise StoreUnavailable(f"cannot open {self.path}: {error.strerror}") from error
        return (status.st_dev, status.st_ino)

    def _open(self, deadline: float) -> sqlite3.Connection:
        if self._identity() == (0, 0):
            try:
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, FILE_MODE))
            except OSError as error:
                raise StoreUnavailable(f"cannot make {self.path}: {error.strerror}") from error
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,  # closed by whoever ends the thread
        )
        try:
            patiently(lambda: self._prepare(connection), self.path, deadline)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make a new file a store, and see that an old one is one that we know."""
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = OFF")
        if _number(connection, "application_id") != APPLICATION_ID:
            if _number(connection, "page_count") > 0 and _has_tables(connection):
                raise StoreDamaged(f"{self.path} is an SQLite file, but no store of Overlord")
            connection.execute("PRAGMA journal_mode = WAL")
            with connection:  # commits, or rolls back
                connection.execute("BEGIN IMMEDIATE")
                # Another process may have been faster.
                if _number(connection, "application_id") != APPLICATION_ID:
                    for statement in SCHEMA:
                        connection.execute(statement)
        found = _number(connection, "user_version")
        if found > FORMAT:
            raise StoreUnavailable(
                f"{self.path} was made by a newer Overlord (format {found}, this one knows {FORMAT})"
            )


def patiently(attempt: Callable[[], object], path: Path, deadline: float) -> None:
    """Do it, again and again while another process has the file locked."""
    while True:
        try:
            attempt()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise
            if time.monotonic() >= deadline:
                raise StoreUnavailable(
                    f"{path} is locked by another process (see which: fuser {path})"
                ) from error
            time.sleep(LOCK_PAUSE)
        else:
            return


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise our errors for SQLite's."""
    try:
        yield
    except StoreError:
        raise
    except sqlite3.Error as error:
        raise _ours(error, path) from error


def _begin_to_read(connection: sqlite3.Connection) -> None:
    """Begin, and see a state: BEGIN by itself looks at nothing yet."""
    connection.execute("BEGIN")
    try:
        connection.execute("SELECT revision FROM state").fetchone()
    except sqlite3.Error:
        connection.execute("ROLLBACK")
        raise


def _commit(connection: sqlite3.Connection, path: Path) -> None:
    try:
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        # A write or a sync that failed may have reached the disk all the same, and be found there
        # after a crash. A disk that is full has refused to take what makes the commit whole.
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_IOERR:
            raise OutcomeUnknown(f"the disk failed while {path} was written: {error}") from error
        raise


def _ours(error: sqlite3.Error, path: Path) -> StoreError:
    number = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    match number:
        case sqlite3.SQLITE_FULL:
            return StoreFull(
                f"cannot write {path}: the disk is full (see how full: df {path.parent})"
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreDamaged(
                f"{path} is damaged ({error}): stop all who use it, and restore it from a backup"
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            return StoreUnavailable(
                f"cannot use {path}: {error} (this user has to be able to write it and its folder)"
            )
        case _:
            return StoreUnavailable(f"cannot use {path}: {error}")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    found: int = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
    return found


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
