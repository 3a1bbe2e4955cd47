"""A watch of the embedded home: reads the table of changes, from where it was."""

from typing import Any, Protocol as Contract

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from overlord.platform.store.contract import Iteration
from overlord.platform.store.errors import HistoryLost, StoreClosed, StoreUnavailable
from overlord.platform.store.sqlite.statements import State
from overlord.platform.store.values import Changes, Revision

RETRY_PAUSE = 0.2
"""Seconds until it reads again after the file could not be read."""


class Reader(Contract):
    """What a watch needs of its store."""

    async def changes(self, prefix: bytes, after: Revision) -> tuple[State, Changes]: ...

    def forget(self, watch: "SqliteWatch") -> None: ...


@define(eq=False)
class SqliteWatch(Iteration):
    """Nothing waits in it: what its owner has not asked for stays in the file."""

    prefix: bytes
    after: Revision
    store: Reader
    clock: Any
    _identity: str | None = field(default=None, init=False)
    """Of the data that the revisions belong to."""
    _is_closed: bool = field(default=False, init=False)
    _may_have_more: bool = field(default=True, init=False)
    _woken: Deferred[None] | None = field(default=None, init=False)

    async def next(self) -> Changes:
        while not self._is_closed:
            if not self._may_have_more:
                self._woken = Deferred()
                await self._woken
                continue
            self._may_have_more = False
            try:
                found = await self._read()
            except StoreClosed:
                raise
            except StoreUnavailable:
                self._may_have_more = True
                await deferLater(self.clock, RETRY_PAUSE)
                continue
            except BaseException:  # cancelled, or the history is lost: the next one looks again
                self._may_have_more = True
                raise
            if found.events:
                self._may_have_more = True
                return found
        raise StoreClosed("the watch is closed")

    def close(self) -> None:
        self._is_closed = True
        self.store.forget(self)
        self._wake()

    def moved(self, state: State) -> None:
        """The store is at this state now."""
        if state.revision != self.after or state.identity != self._identity:
            self._may_have_more = True
            self._wake()

    async def _read(self) -> Changes:
        state, changes = await self.store.changes(self.prefix, self.after)
        if self._is_closed:
            raise StoreClosed("the watch is closed")
        if self._identity not in {None, state.identity}:
            raise HistoryLost("the store's data was replaced")
        self._identity = state.identity
        self.after = changes.revision
        return changes

    def _wake(self) -> None:
        woken, self._woken = self._woken, None
        if woken is not None and not woken.called:
            woken.callback(None)
