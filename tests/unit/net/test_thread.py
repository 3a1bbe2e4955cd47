"""Work beside the reactor."""

import sys

from twisted.internet.defer import Deferred

from overlord.net.thread import SWITCH_INTERVAL, in_thread


class Reactor:
    """Its threads are done when the test says so."""

    def __init__(self):
        self.told = []

    def getThreadPool(self):
        return self

    def callInThreadWithCallback(self, told, what):
        self.told.append(told)

    def callFromThread(self, what, *arguments):
        what(*arguments)


def test_threads_take_turns_often_until_the_last_one_is_done():
    """Two at a time left the interpreter with the short turns for ever."""
    usual, reactor, done = sys.getswitchinterval(), Reactor(), []
    for _ in range(2):
        Deferred.fromCoroutine(in_thread(reactor, None)).addCallback(done.append)
    assert sys.getswitchinterval() == SWITCH_INTERVAL

    reactor.told[0](True, "first")
    assert sys.getswitchinterval() == SWITCH_INTERVAL
    reactor.told[1](True, "second")

    assert done == ["first", "second"]
    assert sys.getswitchinterval() == usual
