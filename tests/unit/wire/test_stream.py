"""Streams, and the outbox in which they say what they have to say."""

import pytest

from overlord.wire.stream import ABORTING, FINISHING, STILL_OPEN, Carrier, Outbox, Stream


class Told(Carrier):
    """Writes down that it was told to write."""

    def __init__(self, told, name, then=None):
        self.told = told
        self.name = name
        self.then = then

    def flush(self):
        self.told.append(self.name)
        if self.then is not None:
            self.then()


def stream_with(outbox, carrier):
    stream = Stream(outbox)
    stream.carrier = carrier
    return stream


@pytest.fixture
def outbox():
    outbox = Outbox()
    outbox.in_round = True
    return outbox


def test_a_stream_writes_once_a_round(outbox):
    """However often it is touched."""
    told = []
    stream = stream_with(outbox, Told(told, "a"))

    for _ in range(3):
        stream.look_again()
    outbox.flush()
    outbox.flush()

    assert told == ["a"]


def test_what_is_touched_while_others_write_is_written_in_the_same_flush(outbox):
    """Nothing is left behind for a round that may never come."""
    told = []
    last = stream_with(outbox, Told(told, "last"))
    first = stream_with(outbox, Told(told, "first", last.look_again))

    first.look_again()
    outbox.flush()

    assert told == ["first", "last"]


def test_outside_a_round_a_flush_is_asked_for_once():
    """Timers and slow paths have their words written before the reactor sleeps."""
    asked = []
    outbox = Outbox()
    outbox.schedule = lambda: asked.append(True)
    streams = [stream_with(outbox, Told([], "")) for _ in range(3)]

    for stream in streams:
        stream.look_again()
    assert asked == [True]
    outbox.flush()
    streams[0].look_again()

    assert asked == [True, True]


def test_a_mistake_with_one_stream_ends_that_one(outbox):
    """The others write all the same."""
    told, failed = [], []
    outbox.failed = failed.append

    def fail():
        raise ValueError("a mistake")

    bad = stream_with(outbox, Told(told, "bad", fail))
    good = stream_with(outbox, Told(told, "good"))
    bad.look_again()
    good.look_again()
    outbox.flush()

    assert told == ["bad", "good"]
    assert failed == [bad]
    assert outbox.in_round


def test_a_stream_without_a_carrier_is_passed_over(outbox):
    """Its connection has gone in the meantime."""
    stream = stream_with(outbox, None)

    stream.look_again()
    outbox.flush()

    assert stream.closing == STILL_OPEN


def test_closing_gets_only_more_urgent(outbox):
    """The first reason is the one that is logged."""
    stream = Stream(outbox)

    stream.close(FINISHING, "all said")
    stream.close(ABORTING, "something broke")
    stream.close(FINISHING, "all said again")

    assert stream.closing == ABORTING
    assert stream.reason == "all said"


def test_bytes_sent_are_counted(outbox):
    """By the carrier, as they leave."""
    stream = Stream(outbox)

    stream.note_sent(3)
    stream.note_sent(4)

    assert stream.bytes_sent == 7
