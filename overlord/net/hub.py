"""
The hub: all proxied sockets in one epoll of their own, of which the reactor watches a single descriptor.

An epoll is itself pollable. When the hub's is readable, the reactor calls `Hub.doRead`, which takes a round of
events: receive, let the streams decide, write each node once, write each client once; then a few rounds
more, until nothing is left, a millisecond has passed, or a megabyte has moved. So the reactor's own work is
shared by all that happened in the meantime, and no event costs a call into Python.

Accepting, dialling and all else is Twisted's: a Protocol whose connection is made gives its transport to
`Hub.adopt`, and gets a `HubTransport` instead, which is its stream's Carrier.

Rules, each with a test:
- Nothing escapes `doRead`: the reactor would remove the hub, and a live process would serve nobody.
- An event names its connection by index and generation, so it never reaches a successor of the one it is for.
- What dies in a round is buried after it: its descriptor is closed, and its Protocol told, when no event
  of the round can meet it any more. EPOLL_CTL_DEL comes before the close.
- HUP and ERR end a connection that is not read from, too; they would come again and again otherwise.
- Writes that are caused outside a round are flushed before the reactor sleeps.
- The epoll is made when the service starts, after twistd's fork, and closed on exec.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from typing import Any

import cython
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.python.failure import Failure

from overlord.errors import StartFailed

if cython.compiled:
    from cython.cimports.libc.errno import EAGAIN, EINTR, errno
    from cython.cimports.libc.stdlib import free, malloc
    from cython.cimports.overlord.wire.buffer import Buffer
    from cython.cimports.overlord.wire.stream import ABORT, FINISH, OPEN, Carrier, Outbox, Stream
else:
    raise ImportError("overlord.net.hub is system calls and nothing else: it exists compiled only")

from time import monotonic

LANDING = cython.declare(cython.Py_ssize_t, 262144)
"""Bytes that one read takes at most into the place where reads land first."""
MAX_EVENTS = cython.declare(cython.int, 512)
TURN_SECONDS = cython.declare(cython.double, 0.001)
"""How long the reactor is kept waiting at most, give or take a round."""
ROUND_SECONDS = cython.declare(cython.double, 0.0003)
"""How long a round goes on looking for more events before it writes, give or take a look."""
TURN_BYTES = cython.declare(cython.Py_ssize_t, 1 << 20)
"""How many bytes are read at most before the reactor gets its turn, give or take a read."""
GROWTH = cython.declare(cython.Py_ssize_t, 65536)
"""Room for a frame whose length is announced grows with what has come of it, and at least by this."""
MIN_READ = cython.declare(cython.Py_ssize_t, 16384)


@cython.cclass
class HubTransport(Carrier):
    """The transport of one connection of the hub: the part of ITransport that our Protocols use."""

    def __init__(self, hub: Hub, fd: cython.int, stream: Stream, protocol: Any) -> None:
        self.hub = hub
        self.fd = fd
        self.stream = stream
        self.protocol = protocol
        self.dead = False
        self.lingering = False
        self.index = -1
        self.interest = 0
        self.why = ""

    def getHost(self) -> IAddress:
        return self._address(socket.socket.getsockname)

    def getPeer(self) -> IAddress:
        return self._address(socket.socket.getpeername)

    def _address(self, ask: Any) -> IAddress:
        """What the kernel says: few ask, so no connection keeps addresses of its own."""
        try:
            with socket.socket(fileno=os.dup(self.fd)) as twin:
                name = ask(twin)
        except OSError:  # the connection is gone
            return UNIXAddress(None)
        if twin.family == socket.AF_INET:
            return IPv4Address("TCP", *name)
        if twin.family == socket.AF_INET6:
            return IPv6Address("TCP", *name)
        return UNIXAddress(name or None)

    def write(self, data: bytes) -> None:
        if not self.dead and self.stream is not None:
            self.stream.outgoing.append(data, 0, len(data))
            self.stream.touch()

    def loseConnection(self) -> None:
        if self.stream is not None:
            self.stream.close(FINISH, "closed")

    def abortConnection(self) -> None:
        if self.stream is not None:
            self.stream.close(ABORT, "closed")

    def flush(self) -> object:
        """Write what is outgoing, then do as the stream says."""
        stream: Stream = self.stream
        out: Buffer
        sent: cython.Py_ssize_t
        interest: cython.uint
        if self.dead or stream is None:
            return None
        if stream.closing == ABORT:
            self.hub.drop(self, stream.reason)
            return None
        out = stream.outgoing
        if out.size() > 0:
            sent = send(self.fd, out.p + out.start, out.size(), MSG_NOSIGNAL)
            if sent > 0:
                stream.bytes_sent += sent
                out.consume(sent)
            elif sent < 0 and errno != EAGAIN and errno != EINTR:
                self.hub.drop(self, os.strerror(errno))
                return None
        if out.size() == 0:
            if stream.closing == FINISH:
                self.hub.finish(self)
                return None
            if stream.blocked:
                stream.written()
            interest = 0
        else:
            interest = EPOLLOUT
        if not stream.paused and not stream.ended:
            interest |= EPOLLIN
        if interest != self.interest:
            self.watch(interest)
        return None

    def watch(self, interest: cython.uint) -> None:
        """Ask for these events, and no others (HUP and ERR always come)."""
        event: epoll_event
        event.events = interest
        event.data.u64 = (
            cython.cast(uint64_t, self.hub.generations[self.index]) << 32
        ) | self.index
        epoll_ctl(self.hub.epoll, EPOLL_CTL_MOD, self.fd, cython.address(event))
        self.interest = interest

    def wants_no_more(self) -> cython.bint:
        """Whether nothing is to be read from here at this moment."""
        stream: Stream = self.stream
        return stream is not None and (stream.paused or stream.ended or stream.closing != OPEN)

    def reason_of_end(self) -> str:
        """Why this connection ends that the peer has ended: what was decided before counts."""
        stream: Stream = self.stream
        return stream.reason if stream is not None and stream.reason else "connection lost"

    def receive(self, moved: cython.pointer(cython.Py_ssize_t)) -> cython.int:
        """Read once, and feed the stream."""
        stream: Stream = self.stream
        incoming: Buffer
        count: cython.Py_ssize_t
        room: cython.Py_ssize_t
        if self.lingering:
            count = recv(self.fd, self.hub.landing, LANDING, 0)
            if count > 0:
                moved[0] += count
            elif count == 0 or (errno != EAGAIN and errno != EINTR):
                self.hub.drop(self, "")
            return 0
        incoming = stream.incoming
        if incoming.size() == 0 and not stream.large:
            count = recv(self.fd, self.hub.landing, LANDING, 0)
            if count > 0:
                moved[0] += count
                stream.large = count >= GROWTH
                stream.take_in(self.hub.landing, 0, count)
                return 0
        else:
            room = stream.wanted - incoming.size()
            if room > GROWTH and room > incoming.size():
                room = max(GROWTH, incoming.size())
            if stream.large:
                room = max(room, LANDING)
            incoming.reserve(max(room, MIN_READ))
            count = recv(self.fd, incoming.p + incoming.end, incoming.room - incoming.end, 0)
            if count > 0:
                moved[0] += count
                incoming.end += count
                stream.large = count >= GROWTH
                stream.bytes_received += count
                stream.feed_incoming()
                return 0
        if count == 0:
            stream.end_of_input()
            stream.touch()
        elif errno != EAGAIN and errno != EINTR:
            self.hub.drop(self, os.strerror(errno))
        return 0


def nothing_to_do() -> None:
    """What a transport of Twisted's does once the hub has its connection."""


@cython.cclass
class Hub:
    """
    An epoll with the connections of this process.

    Attributes:
        turns, rounds: how often the reactor called, and how many rounds that made.
        broken: connections that were ended because of a mistake of ours.
        linger_timeout: seconds that a closed peer may go on sending, so that it can read why it was closed.
        max_lingering: how many of them are kept for that at a time.
    """

    log = Logger()
    name = "hub"

    def __cinit__(self) -> None:
        self.epoll = -1
        self.landing = cython.cast(cython.p_uchar, malloc(LANDING))

    def __init__(
        self,
        reactor: Any,
        outbox: Outbox,
        linger_timeout: float,
        max_lingering: int,
    ) -> None:
        self.reactor = reactor
        self.outbox = outbox
        self.linger_timeout = linger_timeout
        self.max_lingering = max_lingering
        self.cut_off = self.not_kept = 0
        self.transports = []
        self.generations = []
        self.free = []
        self.dying = []
        self.lingerers = 0
        self.linger_queue = deque()
        self.flush_call = None
        self.linger_call = None
        self.turns = self.rounds = self.broken = 0
        self.event_count = self.next_event = 0
        if not self.landing:
            raise MemoryError

    def __dealloc__(self) -> None:
        if self.epoll >= 0:
            close_fd(self.epoll)
        free(self.landing)

    def start(self) -> None:
        """
        Make the epoll, and have the reactor watch it.

        Raises:
            StartFailed: the system gives no epoll, as when all descriptors are in use.
        """
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0:
            why = os.strerror(errno).lower()
            raise StartFailed(f"cannot make an epoll for the hub: {why} (see ulimit -n)")
        self.outbox.schedule = self._schedule
        self.outbox.failed = self.failed
        self.reactor.addReader(self)

    def stop(self) -> None:
        """End all connections, and leave the reactor."""
        transport: HubTransport
        if self.epoll < 0:
            return
        for transport in list(self.transports):
            if transport is not None and not transport.dead:
                self.drop(transport, "the proxy stops")
        self.bury()
        for call in (self.flush_call, self.linger_call):
            if call is not None:
                call.cancel()
        self.flush_call = self.linger_call = None
        self.linger_queue.clear()
        self.reactor.removeReader(self)
        close_fd(self.epoll)
        self.epoll = -1

    def adopt(self, transport: Any, stream: Stream) -> HubTransport:
        """
        Take a connection over from Twisted's transport, which is of no use afterwards.

        `stream` decides from now on what becomes of the bytes; the transport's Protocol is told when the
        connection is lost, and nothing else.
        """
        adopted: HubTransport
        event: epoll_event
        handle: socket.socket = transport.getHandle()
        transport.stopReading()
        transport.stopWriting()
        adopted = HubTransport(self, handle.detach(), stream, transport.protocol)
        # Twisted's own services keep the transport that they were given, and close that.
        transport.loseConnection = adopted.loseConnection
        transport.abortConnection = adopted.abortConnection
        # A node that speaks first may be readable and writable in the event that made the connection: the
        # reactor, which has begun with the one, goes on with the other.
        transport.doRead = transport.doWrite = nothing_to_do
        # Or it would be kept by a circle, and with it all that the connection was made for.
        transport.protocol = transport.connector = None
        if self.free:
            adopted.index = self.free.pop()
            self.transports[adopted.index] = adopted
        else:
            adopted.index = len(self.transports)
            self.transports.append(adopted)
            self.generations.append(0)
        event.events = EPOLLIN
        event.data.u64 = (
            cython.cast(uint64_t, self.generations[adopted.index]) << 32
        ) | adopted.index
        adopted.interest = EPOLLIN
        stream.carrier = adopted
        if epoll_ctl(self.epoll, EPOLL_CTL_ADD, adopted.fd, cython.address(event)) != 0:
            stream.close(ABORT, f"cannot watch it: {os.strerror(errno)}")
        if stream.outgoing.size() > 0 or stream.closing:
            stream.touch()
        return adopted

    def forget(self, stream: Stream) -> None:
        stream.carrier = None

    def unsent(self, stream: Stream) -> int:
        return stream.outgoing.size()

    def lingering(self) -> int:
        return self.lingerers

    def bound_hits(self) -> dict[str, int]:
        return {"linger_timeout": self.cut_off, "max_lingering": self.not_kept}

    # What the reactor calls.

    def fileno(self) -> int:
        return self.epoll

    def logPrefix(self) -> str:
        return "hub"

    def doRead(self) -> None:
        try:
            self._rounds()
        except BaseException:  # whatever it is: the reactor would remove us
            self.log.failure("a turn of the hub has failed, and was given up")
            self._schedule()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor disconnects everybody, because it stops."""

    # Rounds.

    def _schedule(self) -> None:
        if self.flush_call is None:
            self.flush_call = self.reactor.callLater(0, self.flush)

    def flush(self) -> None:
        """Write what was decided outside a round."""
        self.flush_call = None
        self._end_round()

    def _end_round(self) -> cython.int:
        """Write what was decided and bury who has died, until neither has led to more of the other."""
        self.outbox.flush()
        while self.dying:
            self.bury()
            self.outbox.flush()
        return 0

    def _rounds(self) -> cython.int:
        moved: cython.Py_ssize_t = 0
        start: cython.double = monotonic()
        self.turns += 1
        self.outbox.in_round = True
        try:
            while self._serve_events(cython.address(moved)) > 0:
                self.rounds += 1
                self._end_round()
                if moved > TURN_BYTES or monotonic() - start > TURN_SECONDS:
                    break
        finally:
            self.outbox.in_round = False
        return 0

    def _serve_events(self, moved: cython.pointer(cython.Py_ssize_t)) -> cython.int:
        """
        Serve what has happened, and for a moment what happens meanwhile; give the number of events.

        The moment makes rounds larger when there is much to do, so that more requests share each write to a
        node: a tenth less processor time for pipelines (bench: get-p10). Who is alone waits for nobody.
        """
        event: cython.pointer(epoll_event)
        served: cython.int = 0
        start: cython.double = 0.0
        while moved[0] <= TURN_BYTES:
            # What is left of the last round comes first: asked again, the kernel might begin with those
            # whose turn it was already.
            if self.next_event >= self.event_count:
                if served == 0:
                    start = monotonic()
                elif monotonic() - start > ROUND_SECONDS:
                    break
                self.next_event = 0
                self.event_count = epoll_wait(self.epoll, self.events, MAX_EVENTS, 0)
                if self.event_count <= 0:
                    break
                if self.outbox.timed:
                    self.outbox.now = overlord_now()
            event = cython.address(self.events[self.next_event])
            self.next_event += 1
            served += 1
            moved[0] += self._event(event.data.u64, event.events)
        return served

    def _event(self, tag: uint64_t, events: cython.uint) -> cython.int:
        """Serve one connection; give the number of bytes that it sent."""
        index: cython.Py_ssize_t = tag & 0xFFFFFFFF
        transport: HubTransport
        moved: cython.Py_ssize_t = 0
        if (
            index >= len(self.transports)
            or cython.cast(uint64_t, self.generations[index]) != tag >> 32
        ):
            return 0
        transport = self.transports[index]
        if transport is None or transport.dead:
            return 0
        try:
            if events & EPOLLOUT and transport.stream is not None:
                transport.stream.touch()
            if events & (EPOLLIN | EPOLLHUP | EPOLLERR):
                if transport.interest & EPOLLIN:
                    if transport.wants_no_more():
                        # Decided in this round: the kernel would offer it again until the round is over.
                        transport.watch(transport.interest & ~EPOLLIN)
                    else:
                        transport.receive(cython.address(moved))
                elif events & (EPOLLHUP | EPOLLERR):
                    self.drop(transport, transport.reason_of_end())
        except Exception:
            self.failed(transport.stream)
        return moved

    def failed(self, stream: Stream) -> None:
        """We made a mistake with this stream: end its connection, and no other."""
        self.broken += 1
        self.log.failure("a connection is ended because of a mistake in the proxy")
        if stream is not None and stream.carrier is not None:
            self.drop(stream.carrier, "a mistake in the proxy")

    # Ends.

    def finish(self, transport: HubTransport) -> cython.int:
        """
        All is written: end the connection so that the peer can read all of it.

        A close with bytes unread would make the kernel send a reset, which may overtake the last reply;
        so we end our side, and throw away what still comes, for a bounded time.
        """
        stream: Stream = transport.stream
        if stream.ended:
            return self.drop(transport, stream.reason)
        if self.lingerers >= self.max_lingering:
            self.not_kept += 1
            return self.drop(transport, stream.reason)
        shutdown(transport.fd, SHUT_WR)
        transport.lingering = True
        self.lingerers += 1
        transport.watch(EPOLLIN)
        self.linger_queue.append((self.reactor.seconds() + self.linger_timeout, transport))
        if self.linger_call is None:
            self.linger_call = self.reactor.callLater(self.linger_timeout, self._cut_off)
        self._tell(transport, stream.reason)
        return 0

    def _cut_off(self) -> None:
        """Drop those who have lingered for too long, and come back for the others."""
        transport: HubTransport
        self.linger_call = None
        now = self.reactor.seconds()
        while self.linger_queue and (
            self.linger_queue[0][1].dead or self.linger_queue[0][0] <= now
        ):
            transport = self.linger_queue.popleft()[1]
            if not transport.dead:
                self.cut_off += 1
                self.drop(transport, "")
        if self.linger_queue:
            self.linger_call = self.reactor.callLater(self.linger_queue[0][0] - now, self._cut_off)
        self.bury()

    def _stop_lingering(self) -> None:
        """A closed client has gone by itself; when it was the last one, nobody is to be cut off."""
        self.lingerers -= 1
        if self.lingerers == 0 and self.linger_call is not None:
            self.linger_call.cancel()
            self.linger_call = None
            self.linger_queue.clear()

    def drop(self, transport: HubTransport, why: str) -> cython.int:
        """A connection is over: no more events for it. It is buried when the round is."""
        event: epoll_event
        if transport.dead:
            return 0
        transport.dead = True
        transport.why = why
        if transport.lingering:
            self._stop_lingering()
        epoll_ctl(self.epoll, EPOLL_CTL_DEL, transport.fd, cython.address(event))
        self.dying.append(transport)
        if not self.outbox.in_round:
            self.outbox._wake()
        return 0

    def bury(self) -> cython.int:
        """Close what has died, and tell the Protocols."""
        transport: HubTransport
        dead: list
        while self.dying:
            dead = self.dying
            self.dying = []
            for transport in dead:
                close_fd(transport.fd)
                transport.fd = -1
                self.transports[transport.index] = None
                self.generations[transport.index] = (
                    self.generations[transport.index] + 1
                ) & 0xFFFFFFFF
                self.free.append(transport.index)
                self._tell(transport, transport.why)
        return 0

    def _tell(self, transport: HubTransport, why: str) -> None:
        """Tell a Protocol that its connection is over, once."""
        protocol = transport.protocol
        if protocol is None:
            return
        transport.protocol = None
        transport.stream.carrier = None
        transport.stream = None
        try:
            reason = ConnectionLost(why) if why else ConnectionDone()
            protocol.connectionLost(Failure(reason))
        except Exception:
            self.log.failure("a Protocol could not take the end of its connection")

    def connections(self) -> int:
        """How many connections it has."""
        return len(self.transports) - len(self.free)


def trim_memory() -> None:
    """Have the allocator give free memory back to the system."""
    overlord_trim()
