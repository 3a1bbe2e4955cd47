"""
Which of several processes acts: the one whose lease holds a key.

    wait until the key is not there -> take a lease -> put the key, if it is still not there -> lead
             ^                                              | somebody else was faster
             +----------------------------------------------+

Who leads makes `Leadership.fence` a condition of each transaction. Then nothing that a former leader
still does, because it was asleep, comes through.
"""

from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from overlord.platform.store.contract import Store
from overlord.platform.store.errors import (
    Conflict,
    HistoryLost,
    LeaseLost,
    OutcomeUnknown,
    StoreClosed,
    StoreUnavailable,
)
from overlord.platform.store.lease import KeptLease
from overlord.platform.store.values import Absent, Entry, Put, Unchanged

RETRY_PAUSE = 0.5
"""Seconds until a candidate tries again when the store cannot be had."""


@frozen
class Leadership:
    """Won, until the lease is lost or given back."""

    lease: KeptLease
    fence: Unchanged
    """Holds as long as nobody else can have become the leader."""

    @property
    def is_held(self) -> bool:
        """Whether it can be relied on at this moment. The fence is what counts for writes."""
        return self.lease.is_held

    def when_lost(self) -> Deferred[None]:
        """Fires when somebody else may become the leader."""
        return self.lease.when_lost()

    async def resign(self) -> None:
        """Let somebody else lead, at once."""
        await self.lease.give_back()


@define(eq=False)
class Election:
    """One candidate for one office."""

    store: Store
    key: str
    """The office."""
    name: bytes
    """Who we are, for those who look at the key."""
    ttl: int
    """Seconds after which the office is free when its holder has died."""
    clock: Any
    log = Logger()
    _is_unreachable: bool = field(default=False, init=False)

    async def campaign(self) -> Leadership:
        """
        Wait until we lead, as long as it takes; being cancelled ends it.

        Raises StoreClosed when the store is closed, and nothing for one that cannot be had.
        """
        while True:
            try:
                held = await self.store.get(self.key)
                if held is None:
                    leadership = await self._try()
                    if leadership is not None:
                        return leadership
                else:
                    await self._until_free(held)
            except StoreClosed:
                raise
            except (StoreUnavailable, OutcomeUnknown) as error:
                if not self._is_unreachable:
                    self.log.warn("cannot campaign for {key}: {error}", key=self.key, error=error)
                self._is_unreachable = True
                await deferLater(self.clock, RETRY_PAUSE)
            else:
                self._is_unreachable = False

    async def leader(self) -> bytes | None:
        """The name of who leads, as far as the store knows."""
        held = await self.store.get(self.key)
        return None if held is None else held.value

    async def _try(self) -> Leadership | None:
        lease = await KeptLease.granted(self.store, self.ttl, self.clock)
        try:
            won = await self._take(lease)
        except BaseException:
            await lease.give_back()
            raise
        if won is None:
            await lease.give_back()
        return won

    async def _take(self, lease: KeptLease) -> Leadership | None:
        """Put the key, or see that we have; None if somebody else has it, or our lease is gone."""
        put = Put(self.key, self.name, lease.id)
        while lease.is_held:
            try:
                revision = await self.store.transact([put], [Absent(self.key)])
            except Conflict as conflict:
                # It may be our own, put by an attempt whose outcome we were not told.
                entry = conflict.found[self.key]
                if entry is None or entry.lease != lease.id:
                    return None
                return Leadership(lease, entry.unchanged)
            except LeaseLost:
                return None
            except OutcomeUnknown:
                await deferLater(self.clock, RETRY_PAUSE)
            else:
                return Leadership(lease, Unchanged(self.key, revision))
        return None

    async def _until_free(self, held: Entry) -> None:
        watch = self.store.watch(self.key, held.modified)
        try:
            while True:
                changes = await watch.next()
                ours = [event for event in changes.events if event.key == self.key]
                if ours and ours[-1].entry is None:
                    return
        except HistoryLost:
            return  # the key is looked at again
        finally:
            watch.close()
