"""The one interface of both homes."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol as Contract, Self

from overlord.platform.store.errors import StoreClosed
from overlord.platform.store.rules import check_transaction
from overlord.platform.store.values import (
    Changes,
    Condition,
    Delete,
    Entry,
    Lease,
    LeaseId,
    Listing,
    Operation,
    Put,
    Revision,
)


class Watch(Contract):
    """
    Tells every change under a prefix, once and in order.

    It survives whatever happens to the store and its connections. When it cannot know what it missed,
    it says so and ends.
    """

    async def next(self) -> Changes:
        """
        Wait for what happened next. One may wait at a time; who is cancelled has missed nothing.

        Raises HistoryLost when changes cannot be had any more, and StoreClosed after `close`.
        """
        ...

    def close(self) -> None:
        """Tell nothing more. Whoever waits in `next` gets StoreClosed."""
        ...

    def __aiter__(self) -> AsyncIterator[Changes]: ...


class Store(Contract):
    """
    Keys and values, with revisions, for several processes at once.

    Every call ends within the home's `timeout`, and may raise StoreUnavailable: nothing was done.
    Those that write may raise OutcomeUnknown instead. A read sees all that was written before it
    began, by whomever.
    """

    def start(self) -> None:
        """Begin. Not before the process has forked for the last time. It need not be reachable yet."""
        ...

    async def close(self) -> None:
        """End all watches, wait for what is under way, and let go of everything."""
        ...

    async def get(self, key: str) -> Entry | None:
        """What is at a key; None when nothing is."""
        ...

    async def list(self, prefix: str) -> Listing:
        """All whose keys begin like this, as they were at one revision."""
        ...

    async def transact(
        self, operations: Sequence[Operation], conditions: Sequence[Condition] = ()
    ) -> Revision:
        """
        Do all this if all conditions hold, and otherwise nothing; give the revision since which it is so.

        Raises Conflict if they do not, LeaseLost for a lease that is not, RequestRefused when a rule
        is broken (`rules.py`).
        """
        ...

    async def put(self, key: str, value: bytes, lease: LeaseId | None = None) -> Revision:
        """Set a key, unconditionally."""
        ...

    async def delete(self, key: str) -> Revision:
        """Remove a key, unconditionally; nothing happens if it is not there."""
        ...

    def watch(self, prefix: str, after: Revision) -> Watch:
        """Everything that happens under a prefix after this revision."""
        ...

    async def grant(self, ttl: int) -> Lease:
        """A new lease. It runs out when it was not refreshed for `ttl` seconds, and its keys with it."""
        ...

    async def refresh(self, lease: LeaseId) -> None:
        """Let a lease live on. Raises LeaseLost if it does not any more."""
        ...

    async def revoke(self, lease: LeaseId) -> None:
        """End a lease now, and delete its keys. Nothing happens if it has run out."""
        ...


class Shorthand:
    """What both homes say in terms of `transact`."""

    async def transact(
        self, operations: Sequence[Operation], conditions: Sequence[Condition] = ()
    ) -> Revision:
        check_transaction(operations, conditions)
        return await self._transact(operations, conditions)

    async def put(self, key: str, value: bytes, lease: LeaseId | None = None) -> Revision:
        return await self.transact([Put(key, value, lease)])

    async def delete(self, key: str) -> Revision:
        return await self.transact([Delete(key)])

    async def _transact(
        self, operations: Sequence[Operation], conditions: Sequence[Condition]
    ) -> Revision:
        """Do it; the rules hold."""
        raise NotImplementedError


class Iteration:
    """`async for` over a watch: ends when the watch or its store is closed."""

    async def next(self) -> Changes:
        raise NotImplementedError

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Changes:
        try:
            return await self.next()
        except StoreClosed:
            raise StopAsyncIteration from None
