"""
What connections to nodes of all protocols have in common: how they begin, pair replies with requests, and end.

A node answers in the order it was asked, so a reply belongs to the oldest open request. What breaks that
(a reply that nobody asked for, bytes that are none) ends the link, and all that is open on it with an error.
"""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.overlord.proxy.flow.parts import (
        ALOUD,
        DIALING,
        DOWN,
        LOGIN,
        READY,
        Client,
        Flow,
        Link,
        Node,
        Pending,
        Split,
        let_go_on,
        new_pending,
    )
    from cython.cimports.overlord.wire.buffer import Buffer, cut
    from cython.cimports.overlord.wire.stream import ABORT, OPEN
else:
    from overlord.proxy.flow.parts import (
        ALOUD,
        DIALING,
        DOWN,
        LOGIN,
        READY,
        Client,
        Flow,
        Link,
        Node,
        Pending,
        Split,
        let_go_on,
        new_pending,
    )
    from overlord.wire.buffer import Buffer, cut
    from overlord.wire.stream import ABORT, OPEN

LARGE_REPLY = 65536
"""Replies from this size on change hands without being copied, where they can."""

MIN_LOOKS = 2
"""So often a sweep has to find a node silent, however much time has passed."""


@cython.cclass
class NodeLink(Link):
    """
    One connection to a node, in whatever protocol.

    Attributes:
        is_shared: it is one of the pool's, over which all clients ask.
        held: what waits until the node has let us in.
    """

    def __init__(self, flow: Flow, node: Node, protocol: cython.int) -> None:
        Link.__init__(self, flow, node, protocol)
        self.is_shared = True
        self.held: Buffer | None = None

    def dialing(self) -> None:
        """A connection is being made."""
        if not self.node.login_refused:
            self.state = DIALING

    def connected(self) -> None:
        """The connection is made: what waited goes out, behind what has to be said first."""
        raise NotImplementedError

    def begin(self) -> None:
        """The connection is made; what has to be said first is to be said by `greet`, then `send_waiting`."""
        self.state = LOGIN if self.node.login_refused else READY
        self.closing = OPEN
        self.reason = ""
        self.paused = False
        self.ended = False
        self.silent_since = self.stuck_since = 0.0
        self.incoming.clear()
        self.dropping = False

    def send_waiting(self) -> None:
        """What waited goes out, behind the greetings."""
        if not self.greeting:
            self.let_in()
        if self.outgoing.size() > 0:
            self.touch()
        if not self.greeting and self.changed is not None:
            self.changed()

    def log_in(self, words: bytes) -> None:
        """Say this first of all; what waits, and whoever comes, waits until the node has let us in."""
        self.state = LOGIN
        self.logging_in = True
        held: Buffer = Buffer()
        held.swap(self.outgoing)
        self.held = held
        self.greet(words)

    def greet(self, words: bytes) -> None:
        """Say this before everything that waits."""
        greeting: Pending = new_pending()
        waiting: Buffer = Buffer()
        self.greeting = True
        waiting.swap(self.outgoing)
        self.outgoing.append(words, 0, len(words))
        self.outgoing.append(waiting.p, waiting.start, waiting.end)
        greeting.next_in_link = self.head
        self.head = greeting
        if self.last is None:
            self.last = greeting
        self.in_flight += 1

    def let_in(self) -> None:
        """The node takes requests on this connection."""
        self.state = READY
        self.dials_failed = 0
        self.node.login_refused = ""
        held: Buffer = self.held
        if held is not None:
            self.outgoing.append(held.p, held.start, held.end)
            self.held = None
            self.touch()
            let_go_on(self.waiters)

    def end_of_input(self) -> object:
        """The node has ended its side."""
        self.close(ABORT, "the node closed the connection")
        return None

    def lost(self, trouble: str) -> None:
        """There is no connection (any more): what is open is answered with an error."""
        was_ready: cython.bint = self.state == READY
        was_connected: cython.bint = was_ready or self.state == LOGIN
        was_of_use: cython.bint = was_ready and not self.greeting
        failures: cython.longlong = self.node.failures
        never_was: cython.bint
        if self.state == DOWN and self.head is None and not self.node.login_refused:
            return
        self.state = DOWN
        self.carrier = None
        self.greeting = self.logging_in = False
        self.node.set_trouble(trouble)
        if not was_of_use:
            self.dials_failed += 1
        if not self.in_incoming:
            self.incoming.clear()
        self.outgoing.clear()
        self.held = None
        self.silent_since = self.stuck_since = 0.0
        suffix = "; the command may have been executed" if was_ready else ""
        self.fail_all(f"{self.node.refusal()}{suffix}")
        if self.waiters:
            let_go_on(self.waiters)
        if self.protocol == 3:
            let_go_on(self.flow.protocol_waiters)
        if was_connected and self.changed is not None:
            self.changed()
        # What is for one client, or only in one protocol, may fail for reasons of its own.
        never_was = not was_of_use and self.protocol == 2 and self.is_shared
        if never_was or self.node.failures > failures:
            self.node.failed_in_row += 1
            if self.flow.node_failed is not None:
                self.flow.node_failed(self.node)

    def fail_all(self, error: str) -> cython.int:
        """Answer all that are open with an error of ours."""
        while self.head is not None:
            self.fail(self.pop(), error)
        return 0

    def fail(self, pending: Pending, error: str) -> cython.int:
        """Answer this request, which has left the line, with an error of ours."""
        reply: bytes
        if pending.client is not None or pending.parent is not None:
            self.node.failures += 1
            if pending.parent is not None:
                pending.parent.failed = True  # counted when the parts are joined
            else:
                self.flow.errors += 1
            reply = self.error_for(pending, error)
            self.settle(pending, reply, 0, len(reply))
        return 0

    def error_for(self, pending: Pending, error: str) -> bytes:
        """The reply to this request that says what we could not do."""
        return self.flow.error(error)

    def pass_over(
        self, size: cython.Py_ssize_t, at: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """
        A reply of at least `size` bytes has begun at `at`; gives how many bytes of it need not be kept.

        Its client is closed if there is no memory for it. Two bytes of what nobody waits for stay, to check
        the line's end.
        """
        if size <= LARGE_REPLY:
            return 0
        if self.flow.over_budget(size - (end - at)) and not self.nobody_waits():
            self.give_up_on_first()
        if not self.nobody_waits():
            return 0
        self.dropping = True  # what comes next is no start of a reply
        return min(end - at, size - 2)

    def greeted_with(self, reply: bytes) -> None:
        """The node has answered our greeting: `is_greeted` is to be called if it is what we wanted to hear."""
        raise NotImplementedError

    def nobody_waits(self) -> cython.bint:
        """Whether the reply that is being read is for nobody (any more)."""
        pending: Pending = self.head
        if pending is None:
            return False
        if pending.parent is not None:
            return pending.parent.client is None
        return pending.client is None

    def give_up_on_first(self) -> cython.int:
        """The budget is used up: the client whose large reply comes is closed, and the reply dropped."""
        pending: Pending = self.head
        client: Client
        if pending is not None:
            client = pending.client if pending.parent is None else pending.parent.client
            if client is not None:
                client.throw_out("max_memory", "a reply too large for the memory budget")
        return 0

    def hears(self) -> cython.bint:
        """The node has sent something: whether it is to be looked at."""
        self.silent_since = 0.0
        if self.node.failed_in_row > 0 and not self.greeting:
            self.node.failed_in_row = 0
        return self.closing == OPEN and (self.state == READY or self.state == LOGIN)

    def break_off_unasked(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """It has sent `p[start:end]`, or more, and owes nothing."""
        self.break_off(f"sent {cut(p, start, min(end, start + 32))!r} without being asked")
        return 0

    def break_off_wrong(self, wrong: object, bound: str) -> cython.int:
        """It has sent what is no reply, or reached a bound with it."""
        if bound:
            self.flow.hit(bound)
        self.break_off(f"sent what is no reply: {wrong}")
        return 0

    def refused_us(self, why: str) -> None:
        """The node does not let us in, which it is remembered for."""
        self.node.login_refused = why
        self.break_off(f"login refused: {why}")

    def break_off(self, why: str) -> None:
        """The node broke the protocol."""
        self.close(ABORT, why)

    def settle(
        self,
        pending: Pending,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """`p[start:end]` is the reply to `pending`, which has left the line."""
        client: Client
        if pending.parent is not None:
            return settle_part(pending, p, start, end)
        client = pending.client
        if client is None:
            if self.greeting:
                self.greeted_with(cut(p, start, end))
            return 0
        if (
            end - start >= LARGE_REPLY
            and self.in_incoming
            and not self.stolen
            and pending is client.head
            and client.muting == ALOUD
            and client.outgoing.size() == 0
            and start == self.incoming.start
            and end == self.incoming.end
        ):
            client.outgoing.swap(self.incoming)
            self.stolen = True
            client.remember_size(end - start)
            return client.answer(pending, p, 0, 0)
        return client.answer(pending, p, start, end)

    def is_greeted(self) -> None:
        """All our greetings were answered as they should be."""
        self.greeting = False
        self.let_in()
        if self.changed is not None:
            self.changed()

    def sweep(self, now: float, read_timeout: float, write_timeout: float) -> None:
        """
        Look whether the node has been silent or stuck for too long. Called several times per timeout.

        What this sees is a little younger than the truth, so a timeout never comes early, and late by two
        intervals of the sweep at most.
        """
        is_taking: cython.bint = self.stuck_since != 0.0 and self.bytes_sent != self.sent_at_sweep
        if (self.state != READY and self.state != LOGIN) or self.closing != OPEN:
            return
        if self.in_flight == 0 or is_taking:
            # Who still takes what it was sent cannot answer yet: a large value may be long on its way.
            self.silent_since = 0.0
        elif self.silent_since == 0.0:
            self.silent_since = now
            self.silent_looks = 0
        else:
            # After a long turn of the reactor the clock has run, but nobody has read: look again first.
            self.silent_looks += 1
            if now - self.silent_since >= read_timeout and self.silent_looks >= MIN_LOOKS:
                self.close(ABORT, f"no answer within {read_timeout:g} s")
        if self.outgoing.size() == 0:
            self.stuck_since = 0.0
        elif self.stuck_since == 0.0 or self.bytes_sent != self.sent_at_sweep:
            self.stuck_since = now
        elif now - self.stuck_since >= write_timeout:
            self.close(ABORT, f"took nothing of what it was sent for {write_timeout:g} s")
        self.sent_at_sweep = self.bytes_sent


def settle_part(
    pending: Pending, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.int:
    """`p[start:end]` is the reply to a part of a command that was split; the last one joins them."""
    split: Split = pending.parent
    client: Client = split.client
    pending.parent = None
    pending.done = True
    split.left -= 1
    if client is not None:
        pending.reply = cut(p, start, end)
        split.cursor += end - start
        client.keep(end - start, split.cursor)
        client = split.client  # it may have been closed for that
    if split.left > 0:
        return 0
    if client is not None:
        return client.join(split)
    split.parts = []
    return 0
