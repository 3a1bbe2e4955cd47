"""What is done within a transaction of the file: plain functions on a connection."""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from attrs import frozen

from overlord.platform.store.boottime import seconds_since_boot
from overlord.platform.store.errors import Conflict, HistoryLost, LeaseLost
from overlord.platform.store.rules import decoded, encoded, end_of
from overlord.platform.store.values import (
    Absent,
    Changes,
    Condition,
    Entry,
    Event,
    Lease,
    LeaseId,
    Listing,
    Operation,
    Present,
    Put,
    Revision,
    Unchanged,
)

BATCH_EVENTS = 500
"""Events after which a watch gets what was read so far, at the end of a revision."""
BATCH_BYTES = 4 * 1024 * 1024
"""Bytes of values after which it does."""
LAST_KEY = b"\xff" * 2048
"""Behind all keys, which are shorter."""


class State(NamedTuple):
    """The one row of `state`."""

    identity: str
    revision: Revision
    compacted: Revision
    history_bytes: int


@frozen
class HistoryBound:
    """How much of the past is kept for watches."""

    revisions: int
    """At least so many of the last revisions, and at most an eighth more, unless `bytes` forbids."""
    bytes: int
    """Of keys and values."""


def state_of(db: sqlite3.Connection) -> State:
    """Where the store is."""
    return State(*db.execute("SELECT * FROM state").fetchone())


def entry_at(db: sqlite3.Connection, key: str) -> Entry | None:
    """What is at a key."""
    row = db.execute("SELECT * FROM entries WHERE key = ?", (encoded(key),)).fetchone()
    return None if row is None else _entry(row)


def listing(db: sqlite3.Connection, prefix: bytes) -> Listing:
    """All under a prefix."""
    rows = db.execute(
        "SELECT * FROM entries WHERE key >= ? AND key < ? ORDER BY key", _range(prefix)
    )
    return Listing(tuple(_entry(row) for row in rows), state_of(db).revision)


def changes_after(db: sqlite3.Connection, prefix: bytes, after: Revision) -> Changes:
    """What happened under a prefix; not all at once if it is much. Raises HistoryLost."""
    state = state_of(db)
    if after < state.compacted:
        raise HistoryLost(
            f"the changes after revision {after} are gone, only those after {state.compacted} are kept"
        )
    if after > state.revision:
        raise HistoryLost(
            f"the store is at revision {state.revision}, before {after}: its data was replaced"
        )
    events: list[Event] = []
    size = 0
    rows = db.execute(
        "SELECT revision, key, value, created, lease FROM changes"
        " WHERE revision > ? AND key >= ? AND key < ? ORDER BY revision, position",
        (after, *_range(prefix)),
    )
    for revision, key, value, created, lease in rows:
        is_much = len(events) >= BATCH_EVENTS or size >= BATCH_BYTES
        if is_much and revision != events[-1].revision:
            return Changes(tuple(events), events[-1].revision)
        entry = None if value is None else Entry(decoded(key), value, created, revision, lease)
        events.append(Event(decoded(key), entry, revision))
        size += len(value or b"")
    return Changes(tuple(events), state.revision)


def transact(
    db: sqlite3.Connection, operations: Sequence[Operation], conditions: Sequence[Condition]
) -> Revision | Conflict | LeaseLost:
    """Do it all, or say why not."""
    state = state_of(db)
    found = {condition.key: entry_at(db, condition.key) for condition in conditions}
    if not all(_holds(condition, found[condition.key]) for condition in conditions):
        return Conflict(found, state.revision)
    for operation in operations:
        if isinstance(operation, Put) and not _has_lease(db, operation.lease):
            return LeaseLost(f"there is no lease {operation.lease}, so nothing was done")
    rows: list[_Row] = []
    for operation in operations:
        if isinstance(operation, Put):
            rows.append(_put(db, operation, Revision(state.revision + 1)))
        elif db.execute("DELETE FROM entries WHERE key = ?", (encoded(operation.key),)).rowcount:
            rows.append(_Row(encoded(operation.key)))
    return _record(db, state, rows)


def grant(db: sqlite3.Connection, ttl: int, boot: str) -> Lease:
    """A new lease."""
    row = db.execute(
        "INSERT INTO leases (ttl, boot, expires) VALUES (?, ?, ?)",
        (ttl, boot, seconds_since_boot() + ttl),
    )
    return Lease(LeaseId(row.lastrowid or 0), ttl)


def refresh(db: sqlite3.Connection, lease: LeaseId) -> LeaseLost | None:
    """Let a lease live on."""
    updated = db.execute(
        "UPDATE leases SET expires = ? + ttl WHERE id = ?", (seconds_since_boot(), lease)
    )
    return None if updated.rowcount else LeaseLost(f"lease {lease} has run out")


def revoke(db: sqlite3.Connection, lease: LeaseId) -> None:
    """End a lease, and delete its keys: in one revision, if there are any."""
    state = state_of(db)
    keys = db.execute("SELECT key FROM entries WHERE lease = ? ORDER BY key", (lease,)).fetchall()
    db.execute("DELETE FROM entries WHERE lease = ?", (lease,))
    db.execute("DELETE FROM leases WHERE id = ?", (lease,))
    _record(db, state, [_Row(key) for (key,) in keys])


def overdue(db: sqlite3.Connection, boot: str) -> list[LeaseId]:
    """The leases that have run out. Those of another boot have: whoever refreshed them is gone."""
    rows = db.execute(
        "SELECT id FROM leases WHERE expires <= ? OR boot <> ? ORDER BY expires",
        (seconds_since_boot(), boot),
    )
    return [id_ for (id_,) in rows]


def next_expiry(db: sqlite3.Connection, boot: str) -> float | None:
    """When the next lease runs out, in seconds since boot."""
    found: float | None = db.execute(
        "SELECT MIN(CASE boot WHEN ? THEN expires ELSE 0 END) FROM leases", (boot,)
    ).fetchone()[0]
    return found


def trim(db: sqlite3.Connection, bound: HistoryBound) -> None:
    """Forget the oldest changes, if there are more than are kept."""
    state = state_of(db)
    floor, size = state.compacted, state.history_bytes
    if state.revision - floor > bound.revisions + bound.revisions // 8:
        floor = Revision(state.revision - bound.revisions)
        size -= _bytes_up_to(db, floor)
    if size > bound.bytes:
        # A quarter more than needed, so that not each write has to.
        for revision, freed in _sizes_after(db, floor):
            floor, size = revision, size - freed
            if size <= bound.bytes - bound.bytes // 4:
                break
    if floor != state.compacted:
        db.execute("DELETE FROM changes WHERE revision <= ?", (floor,))
        db.execute("UPDATE state SET compacted = ?, history_bytes = ?", (floor, size))


class _Row(NamedTuple):
    """A row of `changes`, but for where it stands."""

    key: bytes
    value: bytes | None = None
    created: Revision | None = None
    lease: LeaseId | None = None


def _has_lease(db: sqlite3.Connection, lease: LeaseId | None) -> bool:
    """Whether a key may be put with this one; None, without a lease, it always may."""
    found = db.execute("SELECT 1 FROM leases WHERE id = ?", (lease,)).fetchone()
    return lease is None or found is not None


def _put(db: sqlite3.Connection, put: Put, revision: Revision) -> _Row:
    key = encoded(put.key)
    ((created,),) = db.execute(
        "INSERT INTO entries VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
        " value = excluded.value, modified = excluded.modified, lease = excluded.lease"
        " RETURNING created",
        (key, put.value, revision, revision, put.lease),
    ).fetchall()
    return _Row(key, put.value, created, put.lease)


def _record(db: sqlite3.Connection, state: State, rows: list[_Row]) -> Revision:
    """Give what was changed the next revision; nothing was changed, nothing moves."""
    if not rows:
        return state.revision
    revision = Revision(state.revision + 1)
    db.executemany(
        "INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?)",
        ((revision, position, *row) for position, row in enumerate(rows)),
    )
    size = sum(len(row.key) + len(row.value or b"") for row in rows)
    db.execute("UPDATE state SET revision = ?, history_bytes = history_bytes + ?", (revision, size))
    return revision


def _bytes_up_to(db: sqlite3.Connection, revision: Revision) -> int:
    found = db.execute(
        "SELECT SUM(LENGTH(key) + IFNULL(LENGTH(value), 0)) FROM changes WHERE revision <= ?",
        (revision,),
    ).fetchone()
    return found[0] or 0


def _sizes_after(db: sqlite3.Connection, revision: Revision) -> list[tuple[Revision, int]]:
    """Bytes of each later revision, the oldest first."""
    return db.execute(
        "SELECT revision, SUM(LENGTH(key) + IFNULL(LENGTH(value), 0)) FROM changes"
        " WHERE revision > ? GROUP BY revision",
        (revision,),
    ).fetchall()


def _holds(condition: Condition, entry: Entry | None) -> bool:
    match condition:
        case Unchanged(_, revision):
            return entry is not None and entry.modified == revision
        case Absent():
            return entry is None
        case Present():
            return entry is not None


def _range(prefix: bytes) -> tuple[bytes, bytes]:
    return prefix, end_of(prefix) or LAST_KEY


def _entry(row: tuple[bytes, bytes, Revision, Revision, LeaseId | None]) -> Entry:
    key, value, created, modified, lease = row
    return Entry(decoded(key), value, created, modified, lease)
