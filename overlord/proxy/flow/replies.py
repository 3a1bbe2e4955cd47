"""
From a node's bytes to writes for clients: the second half of a request's way.

    bytes -> ReplyScanner -> where a reply ends -> the first Pending in the link's line
          -> its client is owed it next: into `client.outgoing`; else it is kept in the Pending
          -> part of a split command: kept; the last part joins them

A node answers in the order it was asked, so a reply belongs to the oldest open request. What breaks that
(a reply that nobody asked for, bytes that are none) ends the link, and all that is open on it with an error.
"""

from __future__ import annotations

from secrets import token_hex

import cython

from overlord.proxy.flow.command_class import CommandClass
from overlord.wire.resp import command

if cython.compiled:
    from cython.cimports.overlord.proxy.flow.join import join_parts
    from cython.cimports.overlord.proxy.flow.parts import (
        ALOUD,
        DIALING,
        DOWN,
        LOGIN,
        NO,
        READY,
        UNKNOWN,
        YES,
        Client,
        Link,
        Node,
        Pending,
        Split,
        let_go_on,
        new_pending,
    )
    from cython.cimports.overlord.wire.buffer import Buffer, cut
    from cython.cimports.overlord.wire.resp import VIOLATION, WHOLE, ReplyScanner
    from cython.cimports.overlord.wire.stream import ABORT, OPEN
else:
    from overlord.proxy.flow.join import join_parts
    from overlord.proxy.flow.parts import (
        ALOUD,
        DIALING,
        DOWN,
        LOGIN,
        NO,
        READY,
        UNKNOWN,
        YES,
        Client,
        Link,
        Node,
        Pending,
        Split,
        let_go_on,
        new_pending,
    )
    from overlord.wire.buffer import Buffer, cut
    from overlord.wire.resp import VIOLATION, WHOLE, ReplyScanner
    from overlord.wire.stream import ABORT, OPEN

LARGE_REPLY = cython.declare(cython.Py_ssize_t, 65536)
"""Replies from this size on change hands without being copied, where they can."""

MIN_LOOKS = 2
"""So often a sweep has to find a node silent, however much time has passed."""

PUSH = cython.declare(cython.int, 62)
BULK = cython.declare(cython.int, 36)
ARRAY = cython.declare(cython.int, 42)
NULL = cython.declare(cython.int, 95)
COUNTS_HITS = cython.declare(cython.int, int(CommandClass.MGET_PART))
"""The last of the classes whose replies say which keys were found."""
HELLO_3 = b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"
REDIS_REFUSES = (b"-LOADING", b"-BUSY", b"-MASTERDOWN", b"-ERR unknown command")
"""Errors that a Redis answers PING with; its clients get them as the answers to their commands, too."""

OK = b"+OK\r\n"
WANTS_LOGIN = (
    (b"-NOAUTH", "it wants a password, and we have none"),
    (b"-NOPERM", "our user may not use PING there"),
)
"""How answers to our greeting begin that mean that the node does not let us in."""
REFUSES_LOGIN = (
    *WANTS_LOGIN,
    (b"-WRONGPASS", "it refuses our user name or password"),
    (b"-ERR invalid password", "it refuses our password"),  # before Redis 6
    (b"-ERR AUTH <password> called without", "it has no password, and we send one"),
    (b"-ERR Client sent AUTH, but no", "it has no password, and we send one"),  # before Redis 6
    (
        b"-ERR wrong number of arguments",
        "it knows no user names, and we send one",
    ),  # before Redis 6
    (b"-ERR unknown command", "it knows no AUTH, and we send one"),
)
"""The same for answers to our AUTH."""


@cython.cclass
class RedisLink(Link):
    """One connection to a Redis server."""

    def dialing(self) -> None:
        """A connection is being made."""
        if not self.node.login_refused:
            self.state = DIALING

    def connected(self) -> None:
        """
        The connection is made: what waited goes out, behind our login and a greeting of ours.

        In RESP2 that is a PING with a word of its own: who answers it with anything else (a mail server, a
        Redis that has no place for us) has spoken first, and every reply would reach the wrong client.
        """
        self.state = LOGIN if self.node.login_refused else READY
        self.closing = OPEN
        self.reason = ""
        self.paused = False
        self.ended = False
        self.silent_since = self.stuck_since = 0.0
        self.scanner = self.flow.new_reply_scanner()
        self.incoming.clear()
        self.dropping = False
        self.logging_in = len(self.flow.login) > 0
        # What is said last has to stand before what is said first, so it is put there first.
        if self.protocol == 3:
            self._greet(HELLO_3)
        elif self.flow.greet_nodes:
            self.token = token_hex(8).encode()
            self._greet(command([b"PING", self.token]))
        if self.logging_in:
            self._greet(self.flow.login)
        if not self.greeting:
            self._let_in()
        if self.protocol == 2 and self.node.speaks3 == NO:
            self.node.speaks3 = UNKNOWN  # it may have been replaced by a newer one
        if self.outgoing.size() > 0:
            self.touch()
        if not self.greeting and self.changed is not None:
            self.changed()

    def _greet(self, words: bytes) -> None:
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

    def _let_in(self) -> None:
        """The node takes requests on this connection."""
        self.state = READY
        self.dials_failed = 0
        self.node.login_refused = ""

    def end_of_input(self) -> object:
        """The node has ended its side."""
        self.close(ABORT, "the node closed the connection")
        return None

    def lost(self, trouble: str) -> None:
        """There is no connection (any more): what is open is answered with an error."""
        was_ready: cython.bint = self.state == READY
        was_connected: cython.bint = was_ready or self.state == LOGIN
        was_of_use: cython.bint = was_ready and not self.greeting
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
        self.silent_since = self.stuck_since = 0.0
        suffix = "; the command may have been executed" if was_ready else ""
        self.fail_all(f"-ERR node unavailable: {self.node.trouble}{suffix}\r\n".encode())
        if self.waiters:
            let_go_on(self.waiters)
        if self.protocol == 3:
            let_go_on(self.flow.protocol_waiters)
        if was_connected and self.changed is not None:
            self.changed()

    def fail_all(self, error: bytes) -> cython.int:
        """Answer all that are open with an error."""
        pending: Pending
        while self.head is not None:
            pending = self.pop()
            if pending.client is not None or pending.parent is not None:
                self.node.failures += 1
                if pending.parent is not None:
                    pending.parent.failed = True  # counted when the parts are joined
                else:
                    self.flow.errors += 1
                self._settle(pending, error, 0, len(error))
        return 0

    def feed(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Give out the replies in `p[start:end]`."""
        at: cython.Py_ssize_t = start
        found: cython.int
        after: cython.Py_ssize_t
        nulls: cython.longlong
        pending: Pending
        dropped: cython.Py_ssize_t
        scanner: ReplyScanner = self.scanner
        self.silent_since = 0.0
        if self.closing != OPEN or (self.state != READY and self.state != LOGIN):
            return end
        while at < end:
            if self.head is None and p[at] != PUSH:
                # Not even its beginning is kept: it would be taken for the reply to what is asked next.
                self._break_off(f"sent {cut(p, at, min(end, at + 32))!r} without being asked")
                return end
            found = scanner.scan(p, at, end)
            if found == WHOLE:
                after = at + scanner.length
                nulls = scanner.nulls
                scanner.nulls = 0
                if self.dropping:
                    self.dropping = False
                    pending = self.pop()
                elif p[at] == PUSH:
                    at = after
                    continue
                else:
                    pending = self.pop()
                    if pending.since != 0:
                        self._observe(pending, p, at, nulls)
                self._settle(pending, p, at, after)
                at = after
                if self.closing != OPEN:
                    return end
            elif found == VIOLATION:
                if scanner.broken_bound:
                    self.flow.hit(scanner.broken_bound)
                self._break_off(f"sent what is no reply: {scanner.violation}")
                return end
            else:
                self.wanted = scanner.at
                if scanner.at > LARGE_REPLY and not self.dropping and p[at] == PUSH:
                    if self.flow.over_budget(scanner.at - (end - at)):
                        self.flow.hit("max_memory")
                        self._break_off("sent a push too large for the memory budget")
                        return end
                elif scanner.at > LARGE_REPLY:
                    if self.flow.over_budget(scanner.at - (end - at)) and not self._nobody_waits():
                        self._give_up_on_first()
                    if self._nobody_waits():
                        # Not kept only to be thrown away; two bytes stay to check the line's end.
                        dropped = min(end - at, scanner.at - 2)
                        scanner.skip(dropped)
                        at += dropped
                        self.dropping = True  # what comes next is no start of a reply
                break
        return at

    def _observe(
        self,
        pending: Pending,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        nulls: cython.longlong,
    ) -> cython.int:
        """The reply to `pending` starts at `p[start]`, with so many nulls in it: count what metrics tell."""
        node: Node = self.node
        keys: cython.longlong = 0
        node.latencies.observe(pending.command_class, self.outbox.now - pending.since)
        if pending.command_class > COUNTS_HITS:
            return 0
        if p[start] == BULK or p[start] == NULL:
            keys = 1
        elif p[start] == ARRAY:
            start += 1
            while 48 <= p[start] <= 57:
                keys = keys * 10 + (p[start] - 48)
                start += 1
        if nulls <= keys:
            node.hits += keys - nulls
            node.misses += nulls
        return 0

    def _nobody_waits(self) -> cython.bint:
        """Whether the reply that is being read is for nobody (any more)."""
        pending: Pending = self.head
        if pending is None:
            return False
        if pending.parent is not None:
            return pending.parent.client is None
        return pending.client is None

    def _give_up_on_first(self) -> None:
        """The budget is used up: the client whose large reply comes is closed, and the reply dropped."""
        pending: Pending = self.head
        client: Client
        if pending is not None:
            client = pending.client if pending.parent is None else pending.parent.client
            if client is not None:
                client.throw_out("max_memory", "a reply too large for the memory budget")

    def _break_off(self, why: str) -> None:
        """The node broke the protocol."""
        self.close(ABORT, why)

    def _settle(
        self,
        pending: Pending,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """`p[start:end]` is the reply to `pending`, which has left the line."""
        split: Split = pending.parent
        client: Client
        if split is not None:
            pending.parent = None
            client = split.client
            pending.done = True
            split.left -= 1
            if client is not None:
                pending.reply = cut(p, start, end)
                split.cursor += end - start
                client.keep(end - start, split.cursor)
            if split.left == 0:
                return join_parts(split)
            return 0
        client = pending.client
        if client is None:
            if self.greeting:
                self._greeted(cut(p, start, end))
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

    def _greeted(self, reply: bytes) -> None:
        """The node has answered our greeting: `greeting` ends if it is what we wanted to hear."""
        if self.logging_in:
            self._logged_in(reply)
        elif self.protocol == 2:
            self._answered_ping(reply)
        else:
            self._answered_hello(reply)

    def _logged_in(self, reply: bytes) -> None:
        """The node has answered our AUTH."""
        self.logging_in = False
        if reply != OK:
            # Only how it begins is shown: a server that does not know AUTH repeats its arguments.
            if not self._is_refused(reply, REFUSES_LOGIN):
                self._break_off(f"answered AUTH with {reply.split()[0][:16]!r}")
        elif self.protocol == 2 and not self.flow.greet_nodes:
            self._is_greeted()

    def _answered_ping(self, reply: bytes) -> None:
        """The node has answered our PING."""
        if reply == b"$16\r\n%b\r\n" % self.token or reply.startswith(REDIS_REFUSES):
            self._is_greeted()
        elif not self._is_refused(reply, WANTS_LOGIN):
            self._break_off(f"greeted with {reply[:32]!r}")

    def _answered_hello(self, reply: bytes) -> None:
        """The node has answered our HELLO 3: a server that knows it describes itself with a map."""
        accepted: cython.bint = reply.startswith(b"%")
        if self._is_refused(reply, WANTS_LOGIN):
            return
        self.node.speaks3 = YES if accepted else NO
        if accepted:
            self._is_greeted()
        else:
            self.close(ABORT, f"does not speak RESP3: it answered HELLO 3 with {reply[:32]!r}")
        if self.greeted is not None:
            self.greeted(accepted)
        let_go_on(self.flow.protocol_waiters)

    def _is_greeted(self) -> None:
        """All our greetings were answered as they should be."""
        self.greeting = False
        self._let_in()
        if self.changed is not None:
            self.changed()

    def _is_refused(self, reply: bytes, answers: tuple[tuple[bytes, str], ...]) -> cython.bint:
        """Whether the node does not let us in, as these answers say; if so, the connection ends."""
        for beginning, why in answers:
            if reply.startswith(beginning):
                self.node.login_refused = why
                self._break_off(f"login refused: {why}")
                return True
        return False

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
