"""
Connections to memcached that speak its text protocol.

    bytes -> TextReplyScanner -> where a reply ends -> the first Pending in the link's line

Two kinds of requests may stay without a reply. `noreply` is taken off before it is forwarded, so the node
answers, and the answer is dropped (MUTED). What a meta command with `q` hides only the node knows, and it
differs from version to version: such a command is forwarded as it is, with an `mn` behind it, whose `MN`
says that all of it is there (UP_TO_NODE).

A connection begins with our login, if the configuration has one, and then asks for the version.

Sources: memcached's doc/protocol.txt.
"""

from __future__ import annotations

import cython

from overlord.proxy.flow.command_class import CommandClass
from overlord.proxy.flow.memcache_login import NOT_YET, STORED, WRONG
from overlord.wire.memcache_text import BAD_FORMAT, ERROR, FLAGS_TOO_LONG

if cython.compiled:
    from cython.cimports.overlord.proxy.flow.memcache_dialect import MemcacheDialect
    from cython.cimports.overlord.proxy.flow.node_link import NodeLink
    from cython.cimports.overlord.proxy.flow.parts import (
        IS_BARRIER,
        MUTED,
        UP_TO_NODE,
        WITH_DATA,
        Flow,
        Node,
        Pending,
    )
    from cython.cimports.overlord.wire.buffer import cut
    from cython.cimports.overlord.wire.memcache_text import (
        TEXT_VIOLATION,
        TEXT_WHOLE,
        TextReplyScanner,
    )
    from cython.cimports.overlord.wire.stream import OPEN
else:
    from overlord.proxy.flow.memcache_dialect import MemcacheDialect
    from overlord.proxy.flow.node_link import NodeLink
    from overlord.proxy.flow.parts import (
        IS_BARRIER,
        MUTED,
        UP_TO_NODE,
        WITH_DATA,
        Flow,
        Node,
        Pending,
    )
    from overlord.wire.buffer import cut
    from overlord.wire.memcache_text import TEXT_VIOLATION, TEXT_WHOLE, TextReplyScanner
    from overlord.wire.stream import OPEN

COUNTS_HITS = cython.declare(cython.int, int(CommandClass.MGET_PART))
"""The last of the classes whose replies say which keys were found."""
VERSION = b"version\r\n"
IS_VERSION = b"VERSION "
MEET_END = b"EN\r\n"
NO_VALUES = b"END\r\n"
REFUSED = (ERROR, BAD_FORMAT)
"""Replies to a `set` and the like that mean that the node has not taken the data for data."""
REFUSED_META = (ERROR, FLAGS_TOO_LONG)
"""The same for `ms`, whose other errors come when its data have been swallowed."""
BIG_M = cython.declare(cython.int, 77)
BIG_N = cython.declare(cython.int, 78)
BIG_E = cython.declare(cython.int, 69)
BIG_C = cython.declare(cython.int, 67)
BIG_S = cython.declare(cython.int, 83)


@cython.cclass
class MemcacheLink(NodeLink):
    """One connection to a memcached."""

    def __init__(self, flow: Flow, node: Node, protocol: cython.int) -> None:
        NodeLink.__init__(self, flow, node, protocol)
        self.scanner = self._new_scanner()

    def _new_scanner(self) -> TextReplyScanner:
        limits = self.flow.limits
        return TextReplyScanner(limits.max_inline, limits.max_arg_size)

    def connected(self) -> None:
        """The connection is made: what waited goes out, behind a greeting of ours."""
        self.begin()
        self.scanner = self._new_scanner()
        dialect: MemcacheDialect = self.flow.dialect
        if dialect.text_login:
            self.log_in(dialect.text_login)
        elif self.flow.greet_nodes:
            self.greet(VERSION)
        self.send_waiting()

    def greeted_with(self, reply: bytes) -> None:
        """The node has answered our login, or said its version, or that it says none."""
        dialect: MemcacheDialect = self.flow.dialect
        if self.logging_in:
            self._logged_in(reply)
            return
        if reply == NOT_YET:
            self.refused_us("it wants a login, and we have none")
            return
        if reply.startswith(IS_VERSION):
            dialect.versions[self.node.label] = reply[len(IS_VERSION) : -2]
        elif reply != ERROR:
            self.break_off(f"greeted with {reply[:32]!r}")
            return
        self.is_greeted()

    def _logged_in(self, reply: bytes) -> None:
        """The node has answered our login."""
        if reply in (WRONG, NOT_YET):
            self.refused_us("it refuses our user name or password")
        elif reply != STORED:
            self.break_off(f"answered our login with {reply[:32]!r}")
        elif self.flow.greet_nodes:
            self.logging_in = False
            self.greet(VERSION)
            self.touch()
        else:
            self.is_greeted()

    def feed(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Give out the replies in `p[start:end]`."""
        at: cython.Py_ssize_t = start
        after: cython.Py_ssize_t
        found: cython.int
        dropped: cython.Py_ssize_t
        scanner: TextReplyScanner = self.scanner
        if not self.hears():
            return end
        while at < end:
            if self.head is None:
                self.break_off_unasked(p, at, end)
                return end
            found = scanner.scan(p, at, end)
            if found == TEXT_WHOLE:
                after = at + scanner.length
                self._take(p, at, after, self.dropping)
                self.dropping = False
                at = after
                if self.closing != OPEN:
                    return end
            elif found == TEXT_VIOLATION:
                self.break_off_wrong(scanner.violation, scanner.broken_bound)
                return end
            else:
                self.wanted = scanner.at
                dropped = self.pass_over(scanner.at, at, end)
                if dropped > 0:
                    scanner.skip(dropped)
                    at += dropped
                break
        return at

    def _take(
        self,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        is_cut: cython.bint,
    ) -> cython.int:
        """`p[start:end]` is a reply, or with `is_cut` the end of one that nobody waits for."""
        pending: Pending = self.pop()
        is_barrier: cython.bint
        if is_cut:
            return self.settle(pending, p, start, end)
        is_barrier = end - start == 4 and p[start] == BIG_M and p[start + 1] == BIG_N
        if pending.silence == IS_BARRIER:
            if not is_barrier:
                self.break_off(f"answered mn with {cut(p, start, min(end, start + 32))!r}")
            return 0
        if pending.since != 0:
            self._observe(pending, p, start, is_barrier)
        if (
            pending.keys < 0
            and (p[start] == BIG_E or p[start] == BIG_C)
            and cut(p, start, end) in (REFUSED if pending.keys == WITH_DATA else REFUSED_META)
        ):
            # It takes the data for commands now, and what it says to those would reach others.
            self.break_off("refused a line with data behind it")
        if pending.silence == UP_TO_NODE and is_barrier:
            self.pop()  # the barrier's own
            return self.settle(pending, p, start, start)
        if pending.silence == MUTED:
            return self.settle(pending, p, start, start)
        return self.settle(pending, p, start, end)

    def _observe(
        self,
        pending: Pending,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        is_hidden: cython.bint,
    ) -> cython.int:
        """The reply to `pending` begins at `p[start]`, or is hidden: count what metrics tell."""
        node: Node = self.node
        values: cython.Py_ssize_t = self.scanner.values
        node.latencies.observe(pending.command_class, self.outbox.now - pending.since)
        if pending.command_class > COUNTS_HITS or p[start] == BIG_C or p[start] == BIG_S:
            return 0
        if pending.keys > 0:
            node.hits += values
            node.misses += max(pending.keys - values, 0)
        elif is_hidden or (p[start] == BIG_E and p[start + 1] == BIG_N):
            node.misses += 1
        elif p[start] != BIG_E:
            node.hits += 1
        return 0

    def error_for(self, pending: Pending, error: str) -> bytes:
        """The reply to this request that says what we could not do; for a get as `on_missing_node` says."""
        dialect: MemcacheDialect = self.flow.dialect
        if pending.silence == MUTED:
            return b""
        if dialect.misses and pending.command_class <= COUNTS_HITS:
            self.flow.refused("missing-node")
            return NO_VALUES if pending.keys > 0 else MEET_END
        return self.flow.error(error)
