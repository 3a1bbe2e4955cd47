"""
What may go wrong with a store, sorted by what the caller can do about it.

    StoreError
      StoreUnavailable   it was not done, and may be tried again
        StoreFull          there is no room left: make some
        StoreDamaged       its data cannot be read: restore it from a backup
        AccessDenied       the password, the certificate or the rights do not do
        StoreClosed        this process has closed it, or not started it yet
      OutcomeUnknown     it may have been done, or be done yet: read before you repeat it
      Conflict           somebody else was first; shows what is there now
      LeaseLost          the lease has run out or was given back
      HistoryLost        a watch cannot know what it missed: list again, then watch from there
      RequestRefused     it will never be done as it was asked for
"""

from collections.abc import Mapping

from overlord.errors import OverlordError
from overlord.platform.store.values import Entry, Revision


class StoreError(OverlordError):
    """Something asked of the store was not answered as hoped."""


class StoreUnavailable(StoreError):
    """It was not done, because the store cannot be had just now. It may be tried again."""


class StoreFull(StoreUnavailable):
    """It was not done, because there is no room left for data."""


class StoreDamaged(StoreUnavailable):
    """It was not done, because the store's data cannot be read."""


class AccessDenied(StoreUnavailable):
    """It was not done, because the store does not let us: password, certificate or rights."""


class StoreClosed(StoreUnavailable):
    """It was not done, because this process has closed the store, or not started it yet."""


class OutcomeUnknown(StoreError):
    """A write may have been done, or be done yet. Who repeats it has to read first."""


class Conflict(StoreError):
    """
    A condition of a transaction did not hold, and nothing was done.

    Attributes:
        found: each key that had a condition, and what is there; None where nothing is.
        revision: the revision at which that was seen, so that one can watch from there.
    """

    def __init__(self, found: Mapping[str, Entry | None], revision: Revision) -> None:
        seen = ", ".join(
            f"{key} (absent)" if entry is None else f"{key} (changed at {entry.modified})"
            for key, entry in found.items()
        )
        super().__init__(f"somebody else was first; at revision {revision} there is: {seen}")
        self.found = found
        self.revision = revision


class LeaseLost(StoreError):
    """There is no such lease: it has run out, or was given back."""


class HistoryLost(StoreError):
    """
    The changes after a revision cannot be had any more, all or in part.

    They have been compacted away, or the store's data was replaced. What is in it now has to be
    listed; the listing's revision is where a new watch goes on.
    """


class RequestRefused(StoreError):
    """It breaks a rule that holds in every store: a bound, or what a key may be."""
