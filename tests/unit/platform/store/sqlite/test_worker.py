"""A worker's deadlines, under a clock of the test's and with a thread that waits for the test."""

import threading

import pytest
from twisted.internet.task import Clock

from overlord.platform.store.errors import OutcomeUnknown, StoreClosed, StoreUnavailable
from overlord.platform.store.sqlite.worker import Worker


class Reactor(Clock):
    """Takes what threads hand over, and does it when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.handed_over = threading.Semaphore(0)
        self.results = []

    def callFromThread(self, call, *arguments):
        self.results.append((call, arguments))
        self.handed_over.release()

    def take(self):
        assert self.handed_over.acquire(timeout=10)
        call, arguments = self.results.pop(0)
        call(*arguments)


@pytest.fixture
def reactor():
    return Reactor()


@pytest.fixture
def worker(reactor):
    found = Worker("store-test", reactor, 3.0, "the store", lambda: None)
    yield found
    found.stop()


def outcome_of(deferred):
    found = []
    deferred.addBoth(found.append)
    return found


def test_what_the_thread_gives_is_the_answer(worker, reactor) -> None:
    found = outcome_of(worker.submit(lambda call: 7))

    reactor.take()

    assert (found, reactor.getDelayedCalls()) == ([7], [])


def test_what_the_thread_raises_is_the_answer(worker, reactor) -> None:
    found = outcome_of(worker.submit(lambda call: 1 // 0))

    reactor.take()

    assert found[0].type is ZeroDivisionError


def test_what_was_not_begun_in_time_is_never_done(worker, reactor) -> None:
    goes_on, done = threading.Event(), []
    first = outcome_of(worker.submit(lambda call: goes_on.wait(10)))
    second = outcome_of(worker.submit(lambda call: done.append("second")))
    reactor.advance(2.9)
    assert second == []

    reactor.advance(0.2)
    goes_on.set()
    reactor.take()

    assert (first[0].type, second[0].type, done) == (StoreUnavailable, StoreUnavailable, [])


def test_what_was_claimed_and_is_not_done_in_time_is_unknown(worker, reactor) -> None:
    claimed, goes_on = threading.Event(), threading.Event()

    def work(call):
        assert call.claim()
        claimed.set()
        goes_on.wait(10)

    found = outcome_of(worker.submit(work))
    assert claimed.wait(10)
    reactor.advance(3.1)
    goes_on.set()
    reactor.take()

    assert [failure.type for failure in found] == [OutcomeUnknown]


def test_what_was_given_up_cannot_be_claimed(worker, reactor) -> None:
    begun, goes_on, claims = threading.Event(), threading.Event(), []

    def work(call):
        begun.set()
        goes_on.wait(10)
        claims.append(call.claim())

    found = outcome_of(worker.submit(work))
    assert begun.wait(10)
    reactor.advance(3.1)
    goes_on.set()
    reactor.take()

    assert ([failure.type for failure in found], claims) == ([StoreUnavailable], [False])


def test_stopping_waits_for_what_is_under_way(worker, reactor) -> None:
    found = outcome_of(worker.submit(lambda call: 7))
    stopped = outcome_of(worker.stop())
    after = outcome_of(worker.submit(lambda call: 8))

    reactor.take()
    assert (found, stopped, after[0].type) == ([7], [], StoreClosed)
    reactor.take()
    assert stopped == [None]
