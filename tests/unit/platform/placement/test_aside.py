"""Where plans are made."""

from twisted.internet.defer import Deferred, maybeDeferred
from unit.platform.placement.pictures import hosts, redis

from overlord.platform.placement import Picture, PlacementError, create, made_aside
from overlord.platform.placement.aside import LARGEST_AT_ONCE


def called(picture, size, hint):
    """Which calls went to the thread, and what came of it."""
    calls, results = [], []

    def in_thread(function, *args):
        calls.append(function)
        return maybeDeferred(function, *args)

    made = Deferred.fromCoroutine(made_aside(in_thread, create, picture, redis(), size, size=hint))
    made.addBoth(results.append)
    return calls, results[0]


def test_small_plans_are_made_at_once():
    picture = Picture(hosts(4))

    calls, plan = called(picture, 4, LARGEST_AT_ONCE - 4)

    assert (calls, plan) == ([], create(picture, redis(), 4))


def test_large_plans_are_made_in_a_thread():
    picture = Picture(hosts(4))

    calls, plan = called(picture, 4, LARGEST_AT_ONCE - 3)

    assert (calls, plan) == ([create], create(picture, redis(), 4))


def test_a_refusal_comes_through():
    for hint in (0, LARGEST_AT_ONCE):
        _, failure = called(Picture(hosts(3)), 4, hint)

        assert failure.check(PlacementError)
