"""A lease that is kept alive, and that knows when it can no longer be relied on."""

from collections.abc import Callable
from typing import Any, Protocol as Contract, Self

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from overlord.platform.store.boottime import seconds_since_boot
from overlord.platform.store.errors import LeaseLost, OutcomeUnknown, StoreUnavailable
from overlord.platform.store.values import Lease, LeaseId

REFRESHES = 3
"""Refreshes within the life of a lease, so that two of them may fail."""
RETRY_SHARE = 0.1
"""Share of its life after which a refresh that failed is tried again."""


class Leases(Contract):
    """What this needs of a store."""

    async def grant(self, ttl: int) -> Lease: ...

    async def refresh(self, lease: LeaseId) -> None: ...

    async def revoke(self, lease: LeaseId) -> None: ...


@define(eq=False)
class KeptLease:
    """
    Refreshes a lease until it is given back, or lost.

    Its holder counts from before each refresh was sent, and the store from when it came in. So the
    holder stops relying on it before anybody else may have it.
    """

    store: Leases
    lease: Lease
    clock: Any
    """IReactorTime, for timers."""
    now: Callable[[], float]
    """The time by which leases live; it counts while the machine sleeps."""
    expires: float
    log = Logger()
    _timer: IDelayedCall | None = field(default=None, init=False)
    _refreshing: Deferred[None] | None = field(default=None, init=False)
    _is_over: bool = field(default=False, init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False)

    @classmethod
    async def granted(
        cls, store: Leases, ttl: int, clock: Any, now: Callable[[], float] = seconds_since_boot
    ) -> Self:
        """A new lease, kept from now on."""
        before = now()
        lease = await store.grant(ttl)
        kept = cls(store, lease, clock, now, before + lease.ttl)
        kept._set_timer(lease.ttl / REFRESHES)
        return kept

    @property
    def id(self) -> LeaseId:
        return self.lease.id

    @property
    def is_held(self) -> bool:
        """Whether it can be relied on at this moment."""
        return not self._is_over and self.now() < self.expires

    def when_lost(self) -> Deferred[None]:
        """Fires when it cannot be relied on any more, given back or not; at once if that is so."""
        lost: Deferred[None] = Deferred()
        if self._is_over:
            lost.callback(None)
        else:
            self._waiting.append(lost)
        return lost

    async def give_back(self) -> None:
        """Keep it no more, and end it in the store; if that cannot be had, it ends there by itself."""
        if self._is_over:
            return
        self._end()
        try:
            await self.store.revoke(self.id)
        except (StoreUnavailable, OutcomeUnknown) as error:
            self.log.info(
                "lease {lease} ends by itself within {ttl} s: {error}",
                lease=self.id,
                ttl=self.lease.ttl,
                error=error,
            )

    def _set_timer(self, seconds: float) -> None:
        left = self.expires - self.now()
        self._timer = self.clock.callLater(max(0.0, min(seconds, left)), self._due)

    def _due(self) -> None:
        self._timer = None
        if not self.is_held:
            self.log.warn(
                "lease {lease} is lost: no refresh within {ttl} s",
                lease=self.id,
                ttl=self.lease.ttl,
            )
            self._end()
        else:
            # The next look at it, should no answer come.
            self._set_timer(self.lease.ttl)
            if self._refreshing is None:
                self._refreshing = Deferred.fromCoroutine(self._refresh())
                self._refreshing.addErrback(self._failed)

    async def _refresh(self) -> None:
        before = self.now()
        pause = self.lease.ttl / REFRESHES
        try:
            await self.store.refresh(self.id)
        except LeaseLost as error:
            if not self._is_over:
                self.log.warn("lease {lease} is lost: {error}", lease=self.id, error=error)
                self._end()
        except (StoreUnavailable, OutcomeUnknown):
            pause = self.lease.ttl * RETRY_SHARE
        else:
            self.expires = before + self.lease.ttl
        finally:
            self._refreshing = None
        if not self._is_over:
            self._stop_timer()
            self._set_timer(pause)

    def _failed(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self.log.failure("lease {lease} cannot be refreshed", failure, lease=self.id)
            self._end()

    def _end(self) -> None:
        self._is_over = True
        self._stop_timer()
        if self._refreshing is not None:
            self._refreshing.cancel()
        waiting, self._waiting = self._waiting, []
        for lost in waiting:
            if not lost.called:
                lost.callback(None)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
