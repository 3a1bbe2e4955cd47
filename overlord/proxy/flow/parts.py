"""
The parts that a request passes, and that know each other: clients, pending replies, links, nodes.

    Client.head -> Pending -> Pending -> ...      what a client is owed, in the order of its requests
    Link.head   -> Pending -> Pending -> ...      what a node owes us on one connection, in the order asked

A `Pending` hangs in both lines at once. A node's reply belongs to the first in its link's line; it goes out
to the client when it is the first in the client's line, and is kept in the Pending until then.

They know each other's types, and compiled modules cannot import each other's types in a circle: that is
why they share one file.

Invariants:
- A Pending is in its link's line from the moment its frame is in `link.outgoing`, in the same order.
- A Pending leaves the link's line once: with its reply, or with an error when the link is lost.
- A client's `outgoing` holds only replies in the order of its requests.
- While requests of a client are open on one link to a node, its next ones to that node take the same link.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cython

from overlord.proxy.flow.command_errors import NO_AUTHS, WRONG_PASSWORD

if cython.compiled:
    from cython.cimports.overlord.hashing.ring import Ring
    from cython.cimports.overlord.proxy.flow.latencies import Latencies
    from cython.cimports.overlord.wire.buffer import Buffer, cut, held_bytes, hold
    from cython.cimports.overlord.wire.stream import ABORT, FINISH, OPEN, Outbox, Stream
else:
    from overlord.hashing.ring import Ring
    from overlord.proxy.flow.gate import Gate
    from overlord.proxy.flow.latencies import Latencies
    from overlord.proxy.flow.session import Session
    from overlord.wire.buffer import Buffer, cut, held_bytes, hold
    from overlord.wire.stream import ABORT, FINISH, OPEN, Outbox, Stream

    DOWN, DIALING, READY, LOGIN = 0, 1, 2, 3
    UNKNOWN, YES, NO = 0, 1, 2
    WAITING, SETTLING = 1, 2
    IN_TIME, FIRST_LATE, PARTIAL_LATE = 0, 1, 2
    LOUD, MUTED, UP_TO_NODE, HIDES_MISSES, HIDES_SUCCESS, IS_BARRIER = 0, 1, 2, 3, 4, 5
    WITH_DATA, WITH_META_DATA = -1, -2
    ALOUD, SKIP_NEXT, SKIPPING, SKIPPED, MUTE = 0, 1, 2, 3, 4

UNREAD_MARK = cython.declare(cython.Py_ssize_t, 262144)
"""Bytes of unread replies above which no more requests of a client are taken up."""


@cython.no_gc
@cython.freelist(4096)
@cython.cclass
class Pending:
    """
    A request's place in its client's line.

    Attributes:
        client: who is owed; None when nobody is (it has gone, or the Pending is part of a split command).
        parent: the split command that this is a part of.
        reply: what is to be sent, once `done` and until its turn comes.
        cursor: for a part of a split command, up to where its reply is used up; for the whole of it,
            how many bytes its parts' replies have. In memcache's binary protocol, its opaque.
        since: when it was taken up, as `Outbox.now`; 0 if nobody wants to know how long it takes.
        command_class: which of the `CommandClass`es it belongs to.
        silence: LOUD; MUTED: the client has asked for no reply; UP_TO_NODE: the node may give none, and what
            follows it on the link, IS_BARRIER, says that it did not. HIDES_MISSES, HIDES_SUCCESS: of a quiet command of
            memcache's binary protocol, whose opcode is in `keys`.
        keys: how many keys it asks for, for the counts of hits; 0 if that says nothing. WITH_DATA,
            WITH_META_DATA: it has a line and data behind it, which the node may fail to take for data.
        frame: what the node was sent, if it may have to be sent to another one; else None.
        place: where its keys have their place, as the ring says; only with a frame.
    """

    if not cython.compiled:
        client: Client
        next_in_line: Pending
        next_in_link: Pending
        parent: Split
        reply: bytes
        frame: bytes | None

        def __init__(self) -> None:
            self.client = None
            self.next_in_line = None
            self.next_in_link = None
            self.parent = None
            self.reply = None
            self.cursor = 0
            self.since = 0
            self.command_class = 0
            self.done = False
            self.silence = LOUD
            self.keys = 0
            self.frame = None
            self.place = 0


def new_pending() -> Pending:
    """A fresh Pending; compiled, without a detour through Python's calls."""
    if cython.compiled:
        return Pending.__new__(Pending)
    return Pending()


@cython.no_gc
@cython.cclass
class Split(Pending):
    """
    A command that was split by node, or sent to every node.

    Attributes:
        join: how the parts' replies become one.
        left: parts that are not answered.
        failed: whether a part has an error of ours for its reply.
        parts: one Pending for each node that was asked.
        owners: for each key (two bytes each, low one first) the number of its part.
        count: number of keys; 0 if it concerns no keys.
        node, nodes, mark: for a SCAN, the index of the node that was asked, of how many nodes, and the mark
            of their topology, which may have changed when the reply comes.
    """

    if not cython.compiled:
        parts: list[Pending]

    def __init__(self, join: cython.int, count: cython.Py_ssize_t) -> None:
        if not cython.compiled:
            Pending.__init__(self)
        self.begin(join, count)

    def begin(self, join: cython.int, count: cython.Py_ssize_t) -> cython.int:
        """What `__init__` does; compiled, `__new__` and this are a fraction of its cost."""
        self.join = join
        self.count = count
        self.left = 0
        self.failed = False
        self.node = 0
        self.nodes = 0
        self.mark = 0
        self.parts = []
        self.owners = bytearray(2 * count)
        return 0

    def give_back(self) -> cython.int:
        """All parts are answered, and their replies are about to be used: the client keeps them no more."""
        part: Pending
        client: Client = self.client
        size: cython.Py_ssize_t = 0
        for part in self.parts:
            if part.reply is not None:
                size += len(part.reply)
        client.retained -= size
        hold(-size)
        return 0

    def forget_parts(self) -> cython.int:
        """Nobody is owed this any more: drop what the nodes have answered up to now."""
        part: Pending
        for part in self.parts:
            part.reply = None
        return 0


def new_split(join: cython.int, count: cython.Py_ssize_t) -> Split:
    """A fresh Split; compiled, without a detour through Python's calls."""
    split: Split
    if cython.compiled:
        split = Split.__new__(Split)
        split.begin(join, count)
        return split
    return Split(join, count)


@cython.cclass
class Client(Stream):
    """
    A client as the deciding side sees it: what it is owed, and how much it may have in flight.

    Attributes:
        owner: whose connection it is, for the flow's surroundings.
        session: what the client has told us about itself; None until it matters.
        number: its CLIENT ID, which also chooses its lane.
        protocol: RESP version it speaks, 2 or 3.
        in_flight: requests that are not answered.
        window: how many requests it may have in flight; grows as replies are drained.
        retained: bytes of replies that wait for their turn.
        waits: what its next request waits for; 0: nothing. WAITING: for a place in a link's line, for a
            connection, or until it is known whether the nodes speak RESP3. SETTLING: for the replies to what
            was asked before the nodes changed.
        gone: the connection is lost; late replies are thrown away.
        draining: it gets what it is owed, and nothing more is taken from it.
        detours: by a node's index, the link that it takes while its own is not there; None: nowhere.
        pin: its `Gate`, which sees its requests first: a `Pinned` or an `Errand` while it has connections of its
            own, a `Stranger` while it has not given the password that it has to give; None mostly.
        is_stranger: it has not given the password that it has to give.
        new_since: since when it owes us its first request, or its password, as `lateness` saw it; 0: it does not.
        begun_since: since when the request that begins at `begun_at` of all it has sent is not whole, and since
            when it has sent little more than the `begun_received` bytes of then; 0: none is begun.
        unread_mark: bytes of unread replies above which no more requests are taken up.
        subscriber: what it listens to, a `Subscriber`; None while that is nothing.
        muting: what CLIENT REPLY has said: ALOUD; SKIP_NEXT until the next request is read, SKIPPING while
            it is taken up, SKIPPED until it is answered; MUTE. From SKIPPING on, replies are dropped.
        last_row: the table's row of the last command, -1 if there was none, or an unknown one.
        heard_at: when it last sent anything, by `Flow.now`.
    """

    if not cython.compiled:
        owner: Any
        session: Session
        head: Pending
        last: Pending
        detours: dict[int, Link]
        pin: Gate | None
        subscriber: Any

    def __init__(self, flow: Flow, number: cython.Py_ssize_t) -> None:
        Stream.__init__(self, flow.outbox)
        self.flow = flow
        self.owner = None
        self.session = None
        self.number = number
        self.protocol = 2
        self.in_flight = 0
        self.window = flow.window_start
        self.retained = 0
        self.gone = False
        self.draining = False
        self.waits = 0
        self.largest = 0
        self.head = None
        self.last = None
        self.detours = None
        self.pin = None
        self.muting = ALOUD
        self.last_row = -1
        self.heard_at = flow.now
        self.unread_mark = UNREAD_MARK
        self.is_stranger = False
        self.new_since = self.begun_since = 0.0
        self.begun_at = self.begun_received = 0
        self.subscriber = None
        flow.clients[number] = self
        flow.clients_seen += 1

    def take_limits(self) -> None:
        """The bounds of its cluster have changed."""
        raise NotImplementedError

    def join(self, split: Split) -> cython.int:
        """All parts of a command of this client that was split are answered: answer the whole."""
        raise NotImplementedError

    def settle(self) -> None:
        """
        The nodes have changed: take nothing more up until all that was asked before is answered.

        What it asks for next may go over another connection, even to the same server, and must not overtake.
        """
        if self.in_flight > 0:
            self.waits |= SETTLING
        self.detours = None
        if self.pin is not None:
            self.pin.rehome()

    def is_settling(self) -> bool:
        """Whether something is open that was asked before the nodes, or their ring, have changed."""
        return self.in_flight > 0 and (self.waits & SETTLING) != 0

    def has_unread(self) -> cython.bint:
        """Whether so much of what it was sent is unread that no more is taken from it."""
        return self.outgoing.size() >= self.unread_mark

    def bear_unread(self, size: cython.Py_ssize_t) -> None:
        """Take requests up until so many bytes of replies are unread; 0: as many as usual."""
        self.unread_mark = size if size > 0 else UNREAD_MARK

    def limit(self) -> cython.Py_ssize_t:
        """How many requests it may have in flight now."""
        if self.largest > self.flow.small_reply:
            return min(self.window, max(1, self.flow.window_bytes // self.largest))
        return self.window

    def remember_size(self, size: cython.Py_ssize_t) -> cython.int:
        """Take note of a reply's size: large ones narrow the window, until small ones have followed."""
        if size > self.largest:
            self.largest = size
        elif not self.has_unread():
            self.largest -= self.largest >> 5
        return 0

    def append_pending(self, pending: Pending) -> cython.int:
        """Put a request at the end of this client's line."""
        if self.head is None:
            self.head = pending
        else:
            self.last.next_in_line = pending
        self.last = pending
        self.in_flight += 1
        return 0

    def answer(
        self,
        pending: Pending,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """A request of this client is answered with `p[start:end]`: send it, or keep it for its turn."""
        size: cython.Py_ssize_t
        if self.muting >= SKIPPING:
            end = start
        size = end - start
        # Nothing (size 0) is left of what has changed hands: its size is remembered already.
        if size > self.flow.small_reply or (size > 0 and self.largest > self.flow.small_reply):
            self.remember_size(size)
        if pending is not self.head:
            pending.reply = cut(p, start, end)
            pending.done = True
            return self.keep(size, 0)
        if self.outgoing.size() - self.largest > self.flow.max_unsent:
            self.throw_out("max_unsent", "replies unread")
            return 0
        self.outgoing.append(p, start, end)
        self.head = pending.next_in_line
        pending.next_in_line = None
        pending.client = None
        self.in_flight -= 1
        if self.head is None:
            self.last = None
            self.touch()
            if self.blocked or self.ended or self.draining:
                return self.drained()
            return 0
        if self.head.done:
            return self.advance()
        self.touch()
        return 0

    def keep(self, size: cython.Py_ssize_t, uncounted: cython.Py_ssize_t) -> cython.int:
        """
        So many bytes more wait for their turn: narrow the window, and close who lets too many wait.

        Of what waits, `uncounted` bytes are no reason to close it: the other parts of the same reply.
        """
        self.retained += size
        hold(size)
        if size > self.flow.small_reply and size > self.largest:
            self.largest = size
        if self.retained - uncounted + self.outgoing.size() - self.largest > self.flow.max_unsent:
            self.throw_out("max_unsent", "replies unread")
        return 0

    def advance(self) -> cython.int:
        """Send the replies whose turn has come."""
        pending: Pending = self.head
        following: Pending
        reply: bytes
        while pending is not None and pending.done:
            reply = pending.reply
            self.outgoing.append(reply, 0, len(reply))
            self.retained -= len(reply)
            hold(-len(reply))
            following = pending.next_in_line
            pending.next_in_line = None
            pending.client = None
            pending.reply = None
            self.in_flight -= 1
            pending = following
        self.head = pending
        self.touch()
        if pending is None:
            self.last = None
            if self.blocked or self.ended or self.draining:
                return self.drained()
        return 0

    def drained(self) -> cython.int:
        """It is owed nothing: widen its window and go on with what waits, or finish."""
        if self.blocked:
            if self.window < self.flow.window_max and not self.has_unread():
                self.window = min(self.window * 2, self.flow.window_max)
            self.outbox.add_hungry(self)
        else:
            self.finish_if_done()
        return 0

    def finish_if_done(self) -> cython.int:
        """A client that has ended its side, or is drained, is closed when it has all it is owed."""
        if (self.ended or self.draining) and self.in_flight == 0 and not self.blocked:
            self.close(FINISH, "client ended")
        return 0

    def lateness(
        self,
        now: cython.double,
        first_timeout: cython.double,
        partial_timeout: cython.double,
        progress: cython.Py_ssize_t,
    ) -> cython.int:
        """
        Which timeout it has reached: IN_TIME, FIRST_LATE or PARTIAL_LATE. Called several times per timeout.

        How much of its stream is used up tells one unfinished request from the next, so that requests need
        not be timed. `progress` bytes within a timeout begin it anew: a large value may be long on its way.
        """
        waiting: cython.Py_ssize_t = self.incoming.size()
        used: cython.Py_ssize_t = self.bytes_received - waiting
        if self.closing != OPEN or self.draining or self.blocked or self.ended:
            self.new_since = self.begun_since = 0.0
            return IN_TIME
        if first_timeout > 0 and (self.is_stranger or (used == 0 and waiting < progress)):
            if self.new_since == 0.0:
                self.new_since = now
            elif now - self.new_since >= first_timeout:
                return FIRST_LATE
        else:
            self.new_since = 0.0
        if waiting == 0 or partial_timeout <= 0:
            self.begun_since = 0.0
        elif (
            self.begun_since == 0.0
            or used != self.begun_at
            or self.bytes_received - self.begun_received >= progress
        ):
            self.begun_since = now
            self.begun_at = used
            self.begun_received = self.bytes_received
        elif now - self.begun_since >= partial_timeout:
            return PARTIAL_LATE
        return IN_TIME

    def say(self, reply: bytes) -> None:
        """Answer the request that has just been read with a reply of our own, in its turn."""
        pending: Pending
        if self.muting >= SKIPPING:
            reply = b""
        if self.head is None:
            self.outgoing.append(reply, 0, len(reply))
            self.touch()
            return
        pending = new_pending()
        pending.client = self
        pending.reply = reply
        pending.done = True
        self.append_pending(pending)
        self.keep(len(reply), 0)

    def tell(self, reply: bytes) -> None:
        """As `say`, but to who has said CLIENT REPLY OFF or SKIP, too: what tells of subscriptions is no reply to Redis."""
        muting: cython.int = self.muting
        self.muting = ALOUD
        self.say(reply)
        self.muting = muting

    def written(self) -> object:
        """All was written: who was blocked by unread replies may go on."""
        if self.blocked and not self.hungry:
            self.outbox.add_hungry(self)
        return None

    def end_of_input(self) -> object:
        """It has ended its side: it gets its answers, then the close."""
        self.ended = True
        if not self.blocked:
            self.finish_if_done()
        return None

    def drain(self) -> object:
        """Take no more requests from it, and close it when it has what it is owed."""
        self.draining = True
        self.blocked = False
        self.set_paused(True)
        if self.pin is not None:
            self.pin.drain()
        self.finish_if_done()
        return None

    def end(self, reason: str) -> None:
        """Close it at once, whatever it is owed."""
        if not self.gone:
            self.close(ABORT, reason)
            self.lost()

    def shut_out(self, bound: str, reason: str) -> None:
        """Close it at once, because it exceeds a bound."""
        if not self.gone:
            self.flow.hit(bound)
            self.end(f"{reason} above {bound}")

    def throw_out(self, bound: str, reason: str) -> None:
        """The same, and it is news."""
        if self.gone:
            return
        self.shut_out(bound, reason)
        if self.owner is not None:
            self.owner.thrown_out(self.reason)

    def lost(self) -> object:
        """The connection is gone: nobody is owed anything any more."""
        pending: Pending
        following: Pending
        split: Split
        if self.gone:
            return None
        self.gone = True
        self.blocked = False
        pending = self.head
        while pending is not None:
            following = pending.next_in_line
            pending.client = None
            pending.next_in_line = None
            pending.reply = None
            if isinstance(pending, Split):
                split = pending
                split.forget_parts()
            pending = following
        self.head = None
        self.last = None
        self.in_flight = 0
        hold(-self.retained)
        self.retained = 0
        self.detours = None
        if self.pin is not None:
            self.pin.client_lost()
        if self.subscriber is not None:
            self.subscriber.leave_all()
        if not self.in_incoming:
            self.incoming.clear()
        self.outgoing.clear()
        self.flow.client_bytes_received += self.bytes_received
        self.flow.client_bytes_sent += self.bytes_sent
        self.flow.clients.pop(self.number, None)
        return None


@cython.cclass
class Link(Stream):
    """
    One connection to a node, or the place of one that is not there.

    DOWN: no connection, and none is being made: nothing is accepted.
    DIALING: being made: requests are kept in `outgoing`, and fail together if it fails.
    READY: frames go out as they come.
    LOGIN: connected and not let in yet. To a node that refused our last login nothing is accepted; otherwise
        whoever asks waits, if the protocol has it so (`NodeLink.log_in`).

        DOWN -> dialing() -> DIALING -> connected() -> READY -> lost() -> DOWN
                             DIALING -> lost() -> DOWN
                             DIALING -> connected() -> LOGIN -> READY, or lost() -> DOWN
        DOWN -> dialing() -> DOWN -> connected() -> LOGIN -> READY, or lost() -> DOWN

    The last line is for a node that refuses our login: what was sent to it behind a login that fails may be
    carried out all the same, by a user that we did not mean.

    Attributes:
        protocol: the RESP version that it speaks.
        silent_since: since when it owes replies and sends nothing, as `sweep` saw it; 0: it does not.
        stuck_since: since when it takes none of what is outgoing, as `sweep` saw it; 0: it does.
        dials_failed: how often in a row no connection was had that was of use.
        changed: called when it has become ready, and when its connection is lost.
        greeted: called when the greeting of a RESP3 link was answered; with True if it was accepted.
    """

    if not cython.compiled:
        head: Pending
        last: Pending
        greeted: Callable[[bool], object]
        changed: Callable[[], object]
        waiters: list[Client]
        """Who waits for a place in the line."""

    def __init__(self, flow: Flow, node: Node, protocol: cython.int) -> None:
        Stream.__init__(self, flow.outbox)
        self.is_node = True
        self.flow = flow
        self.node = node
        self.protocol = protocol
        self.state = DOWN
        self.in_flight = 0
        self.silent_since = 0.0
        self.stuck_since = 0.0
        self.silent_looks = 0
        self.sent_at_sweep = 0
        self.dials_failed = 0
        self.greeting = False
        self.logging_in = False
        self.dropping = False
        self.head = None
        self.last = None
        self.greeted = None
        self.changed = None
        self.waiters = []

    def is_ready(self) -> cython.bint:
        """Whether the node is there, and has answered our greeting."""
        return self.state == READY and not self.greeting

    def push(self, pending: Pending) -> cython.int:
        """Put a request at the end of the line."""
        if self.head is None:
            self.head = pending
        else:
            self.last.next_in_link = pending
        self.last = pending
        self.in_flight += 1
        return 0

    def pop(self) -> Pending:
        """Take the first out of the line (there must be one)."""
        pending: Pending = self.head
        self.head = pending.next_in_link
        pending.next_in_link = None
        if self.head is None:
            self.last = None
        self.in_flight -= 1
        if self.waiters and self.in_flight <= self.flow.node_queue // 2:
            let_go_on(self.waiters)
        return pending

    def has_of(self, client: Client) -> cython.bint:
        """Whether requests of this client are open here."""
        pending: Pending = self.head
        while pending is not None:
            if pending.client is client or (
                pending.parent is not None and pending.parent.client is client
            ):
                return True
            pending = pending.next_in_link
        return False

    def fail_all(self, error: str) -> cython.int:
        """Answer all that are open with an error of ours."""
        raise NotImplementedError


@cython.cclass
class Node:
    """
    A node of a cluster, and our links to it.

    Attributes:
        label: how the ring knows it.
        address: where it is; for logs, never for clients.
        links, links3: the connections that speak RESP2, and RESP3; Links of the kind that the flow makes.
        speaks3: whether it knows RESP3: UNKNOWN, YES or NO.
        requests: how many were sent to it.
        failures: how many of them it did not answer.
        failed_in_row: how often in a row a connection to it could not be made, or was lost with requests
            open; 0 since a client got an answer.
        latencies: how long it took to answer, by class.
        hits, misses: keys that GET and MGET have found, and not found.
        bytes_sent, bytes_received: what went over connections whose links are no more.
        trouble: why the last connection to it failed, in words for clients.
        is_retired: the configuration has it no more: it gets no new requests.
        login_refused: why it did not let us in, when we last tried, in words for clients; empty: it did, or
            was never asked.
    """

    if not cython.compiled:
        links: list[Any]
        links3: list[Any]
        part_link: Link

    def __init__(self, flow: Flow, index: cython.int, label: str, address: str) -> None:
        self.flow = flow
        self.index = index
        self.label = label
        self.address = address
        self.links = []
        self.links3 = []
        self.speaks3 = UNKNOWN
        self.requests = 0
        self.failures = 0
        self.failed_in_row = 0
        self.latencies = Latencies()
        self.hits = 0
        self.misses = 0
        self.bytes_sent = 0
        self.bytes_received = 0
        self.trouble = "not connected"
        self.is_retired = False
        self.login_refused = ""
        self.mark = 0
        self.part = 0
        self.part_keys = 0
        self.part_size = 0
        self.part_link = None

    def link_for(self, client: Client) -> Link:
        """The link that the next request of this client takes; None if there is none."""
        links: list = self.links if client.protocol == 2 else self.links3
        count: cython.Py_ssize_t = len(links)
        preferred: Link
        if count == 0:
            return None
        preferred = links[client.number % count]
        if preferred.state == READY and client.detours is None:
            return preferred
        return self._detour(client, links, preferred)

    def _detour(self, client: Client, links: list, preferred: Link) -> Link:
        """Choose while not all links are there. What is open on a link keeps the client on it."""
        link: Link
        if client.detours is not None:
            link = client.detours.get(self.index)
            if link is not None:
                if link.state != DOWN and link.has_of(client):
                    return link
                del client.detours[self.index]
                if not client.detours:
                    client.detours = None
        if preferred.state == READY or (preferred.state != DOWN and preferred.has_of(client)):
            return preferred
        for wanted in (READY, DIALING, LOGIN):
            if wanted == LOGIN and self.login_refused:
                break
            if preferred.state == wanted:
                return preferred
            for link in links:
                if link.state == wanted:
                    if client.detours is None:
                        client.detours = {}
                    client.detours[self.index] = link
                    return link
        return None

    def queues(self) -> tuple[int, int, int, int, int]:
        """
        What waits at its links, and what went over them.

        Requests that are not answered, bytes that it has not taken, clients that wait for a place in a
        line; then bytes sent and received.
        """
        link: Link
        in_flight: cython.Py_ssize_t = 0
        unsent: cython.Py_ssize_t = 0
        waiting: cython.Py_ssize_t = 0
        sent: cython.longlong = self.bytes_sent
        received: cython.longlong = self.bytes_received
        for link in self.links + self.links3:
            in_flight += link.in_flight
            unsent += link.outgoing.size()
            waiting += len(link.waiters)
            sent += link.bytes_sent
            received += link.bytes_received
        return in_flight, unsent, waiting, sent, received

    def is_up(self) -> cython.bint:
        """Whether requests can be sent to it at this moment."""
        link: Link
        for link in self.links:
            if link.state == READY:
                return True
        return False

    def is_ready(self) -> cython.bint:
        """Whether a connection to it is ready for requests: it has answered our login and greeting there."""
        link: Link
        for link in self.links:
            if link.is_ready():
                return True
        return False

    def connections(self) -> int:
        """How many connections to it are ready for requests, in either protocol."""
        link: Link
        count: cython.Py_ssize_t = 0
        for link in self.links + self.links3:
            count += link.is_ready()
        return count

    def refusal(self) -> str:
        """What a client is told that no link can take its request."""
        return f"node unavailable: {self.trouble}"

    def take_counts(self, other: Node) -> None:
        """Go on with the counters of one that had the same label, and whose begin anew."""
        self.requests += other.requests
        self.failures += other.failures
        self.hits += other.hits
        self.misses += other.misses
        other.requests = other.failures = other.hits = other.misses = 0
        self.latencies.add(other.latencies)
        other.latencies = Latencies()
        _, _, _, sent, received = other.queues()
        self.bytes_sent += sent
        self.bytes_received += received
        other.bytes_sent -= sent  # its links go on counting for a while, from 0
        other.bytes_received -= received

    def open_requests(self) -> cython.Py_ssize_t:
        """How many are open on the links that clients share."""
        link: Link
        count: cython.Py_ssize_t = 0
        for link in self.links:
            count += link.in_flight
        for link in self.links3:
            count += link.in_flight
        return count

    def forget_links(self) -> None:
        """
        It is used no more.

        What holds each other is left to Python's collector otherwise, which keeps everybody waiting
        meanwhile (`python -m bench --only reload`).
        """
        link: Link
        for link in self.links + self.links3:
            link.changed = link.greeted = None
        self.links = []
        self.links3 = []

    def set_trouble(self, trouble: str) -> None:
        self.trouble = trouble.replace("\r", " ").replace("\n", " ")


@cython.cclass
class Flow:
    """
    One cluster: its nodes, its ring, its clients, its bounds and its counters.

    `now` is the reactor's time as `sweep` last saw it. `limits` has the bounds as attributes (a ClusterConfig has them); `dial(link)` is called for links that
    are to be opened later than the others. The links are opened, and told about it, by the pools.
    `node_failed(node)` is called when `failed_in_row` has grown.

    `nodes` are those of the configuration, `live` those of them that have keys: the others are ejected.
    The ring gives a key's place, and `places` the node of each place. Behind a ring that is the node's index;
    in a Redis Cluster it is a slot, and behind the slots, from `first_place` on, each node has a place of its own.
    `dialect` is what only the protocol of this cluster has, and `login` what each connection to a node begins
    with; may be empty.
    """

    if not cython.compiled:
        clients: dict[int, Client]
        dial: Callable[[Any], object]
        node_failed: Callable[[Node], object] | None
        nodes: list[Node]
        places: list[Node]
        live: list[Node]
        bound_hits: dict[str, int]
        refusals: dict[str, int]
        pins: Any
        """The connections that are for one client at a time, `Pins`."""
        channels: Any
        """What the clients listen to, `Channels`."""
        protocol_waiters: list[Client]
        """Who waits to know whether the nodes speak RESP3."""

    def __init__(
        self,
        name: str,
        outbox: Outbox,
        ring: Ring,
        addresses: Sequence[tuple[str, str]],
        limits: Any,
        facts: Any,
        max_memory: cython.Py_ssize_t = 0,
    ) -> None:
        self.name = name
        self.outbox = outbox
        self.ring = ring
        self.facts = facts
        self.dialect: Any = None
        self.clients = {}
        self.dial = None
        self.node_failed = None
        self.pins = None
        self.channels = None
        self.bound_hits = {}
        self.refusals = {}
        self.now = 0.0
        self.protocol_waiters = []
        self.requests = 0
        self.local_answers = 0
        self.splits = 0
        self.errors = 0
        self.messages = 0
        self.deliveries = 0
        self.clients_seen = 0
        self.client_bytes_received = 0
        self.client_bytes_sent = 0
        self.latencies = Latencies()
        self.scratch = Buffer()
        self.serial = 0
        self.max_memory = max_memory
        self.take_limits(limits)
        self.nodes = [
            Node(self, index, label, address) for index, (label, address) in enumerate(addresses)
        ]
        self.places = self.nodes
        self.first_place = 0
        self.live = [self.nodes[index] for index in ring.live]

    def take_limits(self, limits: Any) -> None:
        """These bounds hold from now on."""
        self.limits = limits
        self.window_start = limits.window_start
        self.window_max = limits.window_max
        self.window_bytes = limits.window_bytes
        self.small_reply = limits.window_bytes // limits.window_max
        self.max_unsent = limits.max_unsent
        self.node_max_unsent = limits.node_max_unsent
        self.node_queue = limits.node_queue
        self.greet_nodes = limits.greet_nodes
        self.login = b""

    def error(self, text: str) -> bytes:
        """The reply that tells a client this error of ours, in its protocol."""
        raise NotImplementedError

    def open_binary(self) -> None:
        """A client speaks memcache's binary protocol: there are to be connections that do so, too."""
        raise NotImplementedError

    def knows_resp3(self) -> int:
        """Whether all nodes speak RESP3: YES, NO, or UNKNOWN while they are being asked."""
        raise NotImplementedError

    def holders(self) -> list[Node]:
        """Who may hold keys, ejected or not."""
        return self.nodes

    def is_alone(self) -> bool:
        """Whether each node has all keys, because there is one, or because they are copies of each other."""
        return len(self.nodes) == 1 or bool(self.ring.is_random)

    def hit(self, bound: str) -> None:
        """Count that somebody reached a bound."""
        self.bound_hits[bound] = self.bound_hits.get(bound, 0) + 1

    def note_refusal(self, reply: bytes) -> None:
        """Count a reply that says that the password was not given, or was wrong."""
        if reply == WRONG_PASSWORD:
            self.refused("password")
        elif reply in NO_AUTHS:
            self.refused("noauth")

    def failed(self) -> None:
        """Count a request that was answered with an error of ours."""
        self.errors += 1

    def refused(self, why: str) -> None:
        """Count a command that was refused for a reason that metrics show."""
        self.refusals[why] = self.refusals.get(why, 0) + 1

    def queues(self) -> tuple[int, int, int, int]:
        """What its clients are owed (requests, bytes of replies), and bytes received from them and sent."""
        client: Client
        in_flight: cython.Py_ssize_t = 0
        unsent: cython.Py_ssize_t = 0
        received: cython.longlong = self.client_bytes_received
        sent: cython.longlong = self.client_bytes_sent
        for client in self.clients.values():
            in_flight += client.in_flight
            unsent += client.outgoing.size() + client.retained
            received += client.bytes_received
            sent += client.bytes_sent
        return in_flight, unsent, received, sent

    def over_budget(self, more: cython.Py_ssize_t) -> cython.bint:
        """Whether `more` bytes would break the budget of the whole process."""
        return self.max_memory > 0 and held_bytes() + more > self.max_memory


def let_go_on(waiters: list) -> cython.int:
    """What these clients waited for is there; the list is empty afterwards."""
    client: Client
    for client in waiters:
        client.waits &= ~WAITING
        if not client.gone:
            client.outbox.add_hungry(client)
    waiters.clear()
    return 0
