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
    from cython.cimports.overlord.proxy.flow.node_link import LARGE_REPLY, NodeLink
    from cython.cimports.overlord.proxy.flow.parts import (
        NO,
        UNKNOWN,
        YES,
        Flow,
        Node,
        Pending,
        let_go_on,
    )
    from cython.cimports.overlord.wire.resp import VIOLATION, WHOLE, ReplyScanner
    from cython.cimports.overlord.wire.stream import ABORT, OPEN
else:
    from overlord.proxy.flow.node_link import LARGE_REPLY, NodeLink
    from overlord.proxy.flow.parts import (
        NO,
        UNKNOWN,
        YES,
        Flow,
        Node,
        Pending,
        let_go_on,
    )
    from overlord.wire.resp import VIOLATION, WHOLE, ReplyScanner
    from overlord.wire.stream import ABORT, OPEN

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
class RedisLink(NodeLink):
    """One connection to a Redis server."""

    def __init__(self, flow: Flow, node: Node, protocol: cython.int) -> None:
        NodeLink.__init__(self, flow, node, protocol)
        self.scanner = self._new_scanner()

    def _new_scanner(self) -> ReplyScanner:
        limits = self.flow.limits
        return ReplyScanner(limits.max_inline, limits.max_reply_depth, limits.max_arg_size)

    def connected(self) -> None:
        """
        The connection is made: what waited goes out, behind our login and a greeting of ours.

        In RESP2 that is a PING with a word of its own: who answers it with anything else (a mail server, a
        Redis that has no place for us) has spoken first, and every reply would reach the wrong client.
        """
        self.begin()
        self.scanner = self._new_scanner()
        self.logging_in = len(self.flow.login) > 0
        # What is said last has to stand before what is said first, so it is put there first.
        if self.protocol == 3:
            self.greet(HELLO_3)
        elif self.flow.greet_nodes:
            self.token = token_hex(8).encode()
            self.greet(command([b"PING", self.token]))
        if self.logging_in:
            self.greet(self.flow.login)
        if self.protocol == 2 and self.node.speaks3 == NO:
            self.node.speaks3 = UNKNOWN  # it may have been replaced by a newer one
        self.send_waiting()

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
        if not self.hears():
            return end
        while at < end:
            if self.head is None and p[at] != PUSH:
                # Not even its beginning is kept: it would be taken for the reply to what is asked next.
                self.break_off_unasked(p, at, end)
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
                self.settle(pending, p, at, after)
                at = after
                if self.closing != OPEN:
                    return end
            elif found == VIOLATION:
                self.break_off_wrong(scanner.violation, scanner.broken_bound)
                return end
            else:
                self.wanted = scanner.at
                if scanner.at > LARGE_REPLY and not self.dropping and p[at] == PUSH:
                    if self.flow.over_budget(scanner.at - (end - at)):
                        self.flow.hit("max_memory")
                        self.break_off("sent a push too large for the memory budget")
                        return end
                else:
                    dropped = self.pass_over(scanner.at, at, end)
                    if dropped > 0:
                        scanner.skip(dropped)
                        at += dropped
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

    def greeted_with(self, reply: bytes) -> None:
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
                self.break_off(f"answered AUTH with {reply.split()[0][:16]!r}")
        elif self.protocol == 2 and not self.flow.greet_nodes:
            self.is_greeted()

    def _answered_ping(self, reply: bytes) -> None:
        """The node has answered our PING."""
        if reply == b"$16\r\n%b\r\n" % self.token or reply.startswith(REDIS_REFUSES):
            self.is_greeted()
        elif not self._is_refused(reply, WANTS_LOGIN):
            self.break_off(f"greeted with {reply[:32]!r}")

    def _answered_hello(self, reply: bytes) -> None:
        """The node has answered our HELLO 3: a server that knows it describes itself with a map."""
        accepted: cython.bint = reply.startswith(b"%")
        if self._is_refused(reply, WANTS_LOGIN):
            return
        self.node.speaks3 = YES if accepted else NO
        if accepted:
            self.is_greeted()
        else:
            self.close(ABORT, f"does not speak RESP3: it answered HELLO 3 with {reply[:32]!r}")
        if self.greeted is not None:
            self.greeted(accepted)
        let_go_on(self.flow.protocol_waiters)

    def _is_refused(self, reply: bytes, answers: tuple[tuple[bytes, str], ...]) -> cython.bint:
        """Whether the node does not let us in, as these answers say; if so, the connection ends."""
        for beginning, why in answers:
            if reply.startswith(beginning):
                self.refused_us(why)
                return True
        return False
