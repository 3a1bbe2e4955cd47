"""What a store holds, what is asked of it, and what it tells: values, the same for both homes."""

from typing import NewType

from attrs import field, frozen

Revision = NewType("Revision", int)
"""
The number of a change in the whole store, from 2 on: each transaction that changes anything gets
the next one. An empty store is at 1.
"""

LeaseId = NewType("LeaseId", int)


def _size(value: bytes) -> str:
    """How a value is shown: some hold passwords, and many are long."""
    return f"<{len(value)} bytes>"


@frozen
class Entry:
    """A key, and what is there."""

    key: str
    value: bytes = field(repr=_size)
    created: Revision
    """When the key came to be: the last time that it was put and had not been there."""
    modified: Revision
    """When it was put last."""
    lease: LeaseId | None = None
    """The lease with which it goes away."""

    @property
    def unchanged(self) -> "Unchanged":
        """The condition that nobody has put or deleted the key since."""
        return Unchanged(self.key, self.modified)


@frozen
class Listing:
    """What was there at one revision, under a prefix."""

    entries: tuple[Entry, ...]
    """In the order of the keys' bytes."""
    revision: Revision
    """A watch after this revision tells everything that came later."""


@frozen
class Put:
    """Set a key, whether it is there or not."""

    key: str
    value: bytes = field(repr=_size)
    lease: LeaseId | None = None
    """The lease with which it goes away. None: it stays, whatever lease it had before."""


@frozen
class Delete:
    """Remove a key; nothing happens if it is not there."""

    key: str


Operation = Put | Delete


@frozen
class Unchanged:
    """The key is there, and was put last at this revision."""

    key: str
    revision: Revision


@frozen
class Absent:
    """The key is not there."""

    key: str


@frozen
class Present:
    """The key is there, with whatever value."""

    key: str


Condition = Unchanged | Absent | Present


@frozen
class Event:
    """One key was put or deleted."""

    key: str
    entry: Entry | None
    """What is there since; None when it was deleted."""
    revision: Revision


@frozen
class Changes:
    """Everything that happened under a prefix up to a revision, since the changes before."""

    events: tuple[Event, ...]
    """In the order in which it happened. Those of one revision are never torn apart."""
    revision: Revision
    """A watch after this revision goes on where these end."""


@frozen
class Lease:
    """What keys go away with."""

    id: LeaseId
    ttl: int
    """Seconds for which it lives after each refresh; the store may give more than was asked for."""
