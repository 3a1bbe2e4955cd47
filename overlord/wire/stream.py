"""
Streams: what goes in and out of a connection, without the connection.

    bytes read -> Stream.take_in -> (a subclass) feed -> decisions -> other streams' `outgoing`
    Outbox.flush -> each touched stream's Carrier.flush -> bytes written

A `Stream` is the side that decides: it is fed bytes, and says by its fields what shall become of its
connection. A `Carrier` is the side that moves bytes: a transport of the hub, or a Twisted Protocol. The
`Outbox` collects the streams that have something to say, so that all that is decided in one round of
events leaves in one write for each connection: first to the nodes, then to the clients.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic_ns
from typing import Any

import cython

if cython.compiled:
    from cython.cimports.overlord.wire.buffer import Buffer
else:
    from overlord.wire.buffer import Buffer

    OPEN, FINISH, ABORT = 0, 1, 2

CROWD_WRITES = cython.declare(cython.Py_ssize_t, 256)
"""To so many of a crowd a flush writes: a millisecond or two."""

STILL_OPEN, FINISHING, ABORTING = 0, 1, 2
"""
What `Stream.closing` says: open; to be closed when all is written; to be closed at once.

For Python: compiled, the names of the enum, OPEN, FINISH and ABORT, exist for compiled modules only.
"""


@cython.cclass
class Carrier:
    """What moves the bytes of one stream."""

    def flush(self) -> object:
        """Write what is outgoing, then do as `closing` and `paused` say. Must not raise."""
        raise NotImplementedError


@cython.cclass
class Stream:
    """
    One connection as the deciding side sees it.

    Attributes:
        incoming: bytes that were read and are not used up: part of a frame, or requests that wait.
        outgoing: bytes to be written.
        closing: whether the carrier shall end the connection, and how.
        paused: whether the carrier shall stop reading.
        blocked: whether it waits, with bytes in `incoming`, until `written` tells it that all was written.
        ended: whether the peer has ended its side.
        reason: why it is closed, for the log.
        large: the last read was a large one, so the next goes straight into `incoming`, uncopied.
        wanted: how many bytes `incoming` will hold when its frame is whole, as far as announced; 0: unknown.
    """

    if not cython.compiled:
        carrier: Any
        """A Carrier; None while there is no connection."""

    def __init__(self, outbox: Outbox) -> None:
        self.incoming = Buffer()
        self.outgoing = Buffer()
        self.carrier = None
        self.outbox = outbox
        self.closing = OPEN
        self.paused = False
        self.blocked = False
        self.ended = False
        self.reason = ""
        self.wanted = 0
        self.is_node = False
        self.large = False
        self.touched = False
        self.hungry = False
        self.in_incoming = False
        self.stolen = False
        self.bytes_sent = 0
        self.bytes_received = 0

    def feed(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Use up what can be used of `p[start:end]`; return the index of the first byte that is kept."""
        raise NotImplementedError

    def receive(self, data: bytes) -> None:
        """Take Python bytes that were read."""
        self.take_in(data, 0, len(data))

    def take_in(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Take bytes that were read, and keep of them what cannot be used yet."""
        used: cython.Py_ssize_t
        self.bytes_received += end - start
        if self.incoming.size() == 0:
            used = self.feed(p, start, end)
            if used < end:
                self.incoming.append(p, used, end)
            return 0
        self.incoming.append(p, start, end)
        return self.feed_incoming()

    def feed_incoming(self) -> int:
        """Use up what can be used of `incoming`, to whose end a read has just been added."""
        used: cython.Py_ssize_t
        self.in_incoming = True
        self.stolen = False
        try:
            used = self.feed(self.incoming.p, self.incoming.start, self.incoming.end)
        finally:
            self.in_incoming = False
        if self.stolen:
            self.stolen = False
        else:
            self.incoming.consume(used - self.incoming.start)
        return 0

    def go_on(self) -> object:
        """Use up what waited in `incoming`."""
        return None

    def end_of_input(self) -> object:
        """The peer will send no more."""
        return None

    def written(self) -> object:
        """The carrier has written everything that was outgoing."""
        return None

    def touch(self) -> None:
        """Have the carrier look at this stream at the end of the round."""
        if not self.touched:
            self.touched = True
            self.outbox.add(self)

    def look_again(self) -> None:
        """The same, for carriers."""
        self.touch()

    def note_sent(self, count: cython.Py_ssize_t) -> None:
        """A carrier has sent so many bytes."""
        self.bytes_sent += count

    def set_paused(self, paused: cython.bint) -> None:
        if self.paused != paused:
            self.paused = paused
            self.touch()

    def close(self, how: cython.int, reason: str) -> None:
        """End the connection: FINISHING after all is written, ABORTING at once."""
        if how > self.closing:
            self.closing = how
            if not self.reason:
                self.reason = reason
            self.touch()


@cython.cclass
class Farewell(Stream):
    """Says one thing, and is closed; what the peer sends is thrown away."""

    def __init__(self, outbox: Outbox, words: bytes) -> None:
        Stream.__init__(self, outbox)
        self.outgoing.append(words, 0, len(words))
        self.closing = FINISH

    def feed(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        return end

    def end_of_input(self) -> object:
        self.ended = True
        return None


@cython.final
@cython.cclass
class Outbox:
    """
    The streams of one process that have something to be done at the end of a round.

    Who runs rounds sets `in_round` while streams are fed, and calls `flush` afterwards. What is touched
    outside a round (by a timer, a slow path, a Twisted transport) calls `schedule`, once, which has to see
    to it that `flush` is called before the reactor sleeps.

    One message may be for ten thousand clients: they are a crowd, and are written to some at a time, a turn of the
    reactor between.

    `now` is when the round began, in nanoseconds of the monotonic clock; 0 as long as nobody has set `timed`.
    """

    if not cython.compiled:
        nodes: list[Stream]
        clients: list[Stream]
        crowd: list[Stream]
        hungry: list[Stream]
        later: deque[Stream]
        schedule: Callable[[], None]
        failed: Callable[[Stream], None]

    def __init__(self) -> None:
        self.nodes = []
        self.clients = []
        self.crowd = []
        self.written = 0
        self.hungry = []
        self.later = deque()
        self.schedule = None
        self.failed = None
        self.scheduled = False
        self.in_round = False
        self.timed = False
        self.now = 0

    def add(self, stream: Stream) -> None:
        if stream.is_node:
            self.nodes.append(stream)
        else:
            self.clients.append(stream)
        self._wake()

    def add_to_crowd(self, stream: Stream) -> None:
        """Have a stream's carrier look at it when its turn comes."""
        if not stream.touched:
            stream.touched = True
            self.crowd.append(stream)
            self._wake()

    def add_hungry(self, stream: Stream) -> None:
        """Let a stream that waits with requests go on at the end of the round."""
        if not stream.hungry:
            stream.hungry = True
            self.hungry.append(stream)
            self._wake()

    def add_later(self, stream: Stream) -> None:
        """Let a stream that has done enough in this turn go on in another one."""
        if not stream.hungry:
            stream.hungry = True
            self.later.append(stream)
            self._wake()

    def read_clock(self) -> None:
        """A round begins."""
        if self.timed:
            self.now = monotonic_ns()

    def _wake(self) -> None:
        if not self.in_round and not self.scheduled and self.schedule is not None:
            self.scheduled = True
            self.schedule()

    def flush(self) -> object:
        """
        Let hungry streams go on, and carriers write, until nobody has anything left but a crowd.

        It ends, because each stream that goes on uses up bytes that were read before. What one stream does
        wrong (our bug) ends that stream alone: `failed(stream)` is called while the exception is handled.

        A part of the crowd is written to, and of those that were to go on later one does; as long as there are
        more, it sees to it that it is called again when the reactor has had a turn.
        """
        stream: Stream
        waiting: list
        was_in_round: cython.bint = self.in_round
        self.in_round = True
        if self.later:
            self.hungry.append(self.later.popleft())
        try:
            if self.crowd:
                self._write_to_crowd()
            while self.hungry or self.nodes or self.clients:
                if self.hungry:
                    waiting = self.hungry
                    self.hungry = []
                    for stream in waiting:
                        stream.hungry = False
                        try:
                            stream.go_on()
                        except Exception:
                            self.failed(stream)
                if self.nodes:
                    waiting = self.nodes
                    self.nodes = []
                    self._write(waiting)
                if self.clients:
                    waiting = self.clients
                    self.clients = []
                    self._write(waiting)
        finally:
            self.in_round = was_in_round
            self.scheduled = False
            if (self.later or self.crowd) and self.schedule is not None:
                self.scheduled = True
                self.schedule()
        return None

    def _write_to_crowd(self) -> cython.int:
        """Write to those of the crowd whose turn it is."""
        part: list = self.crowd[self.written : self.written + CROWD_WRITES]
        self.written += len(part)
        if self.written >= len(self.crowd):
            self.crowd = []
            self.written = 0
        elif self.written >= 16 * CROWD_WRITES:
            del self.crowd[: self.written]
            self.written = 0
        return self._write(part)

    def _write(self, touched: list) -> cython.int:
        """Have the carriers of these streams write."""
        stream: Stream
        for stream in touched:
            stream.touched = False
            try:
                if stream.carrier is not None:
                    stream.carrier.flush()
            except Exception:
                self.failed(stream)
        return 0
