"""A kept lease under a clock of the test's: nobody may rely on it longer than the store does."""

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from overlord.platform.store.errors import LeaseLost, StoreUnavailable
from overlord.platform.store.lease import KeptLease
from overlord.platform.store.values import Lease, LeaseId

TTL = 9


class Leases:
    """A store whose answers the test gives."""

    def __init__(self) -> None:
        self.asked: list[Deferred[None]] = []
        self.revoked: list[LeaseId] = []

    async def grant(self, ttl: int) -> Lease:
        return Lease(LeaseId(7), ttl)

    async def refresh(self, lease: LeaseId) -> None:
        self.asked.append(Deferred())
        await self.asked[-1]

    async def revoke(self, lease: LeaseId) -> None:
        self.revoked.append(lease)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> Leases:
    return Leases()


@pytest.fixture
def kept(store: Leases, clock: Clock) -> KeptLease:
    found: list[KeptLease] = []
    ensureDeferred(KeptLease.granted(store, TTL, clock, clock.seconds)).addCallback(found.append)
    return found[0]


def test_a_third_of_its_life_later_it_is_refreshed(store, clock, kept) -> None:
    clock.advance(2.9)
    assert len(store.asked) == 0

    clock.advance(0.1)
    assert len(store.asked) == 1


def test_it_lives_from_when_the_refresh_was_sent(store, clock, kept) -> None:
    """The answer takes two seconds; those are not the holder's."""
    clock.advance(3)
    clock.advance(2)
    store.asked[0].callback(None)

    assert kept.expires == 3 + TTL


@pytest.mark.parametrize("answer", ["none", "unavailable"])
def test_without_refreshes_it_is_lost_when_its_life_ends(store, clock, kept, answer) -> None:
    lost = kept.when_lost()
    for _ in range(899):
        clock.advance(0.01)
        if answer == "unavailable":
            for asked in store.asked:
                if not asked.called:
                    asked.errback(StoreUnavailable("away"))
    assert (kept.is_held, lost.called) == (True, False)

    clock.advance(0.02)
    assert (kept.is_held, lost.called) == (False, True)
    assert clock.getDelayedCalls() == []


def test_a_machine_that_slept_has_lost_it_at_once(store, clock) -> None:
    """The timers stood still, the time since boot did not."""
    slept = [0.0]
    found: list[KeptLease] = []
    now = lambda: clock.seconds() + slept[0]  # noqa: E731
    ensureDeferred(KeptLease.granted(store, TTL, clock, now)).addCallback(found.append)

    slept[0] = TTL

    assert not found[0].is_held


def test_a_refresh_that_failed_is_tried_again_soon(store, clock, kept) -> None:
    clock.advance(3)
    store.asked[0].errback(StoreUnavailable("away"))

    clock.advance(0.8)
    assert len(store.asked) == 1
    clock.advance(0.2)
    assert len(store.asked) == 2


def test_the_store_says_that_it_is_lost(store, clock, kept) -> None:
    clock.advance(3)
    store.asked[0].errback(LeaseLost("gone"))

    assert (kept.is_held, kept.when_lost().called, clock.getDelayedCalls()) == (False, True, [])


def test_what_is_given_back_is_not_refreshed(store, clock, kept) -> None:
    ensureDeferred(kept.give_back())

    clock.advance(TTL)

    assert (store.asked, store.revoked, kept.is_held) == ([], [7], False)
    assert clock.getDelayedCalls() == []


def test_giving_back_while_a_refresh_is_under_way(store, clock, kept) -> None:
    clock.advance(3)
    ensureDeferred(kept.give_back())

    assert (store.revoked, clock.getDelayedCalls()) == ([7], [])
