"""
Connections to memcached that speak its binary protocol.

    bytes -> BinaryScanner -> where a reply ends -> the first Pending in the link's line

Quiet commands are sent as the loud ones that do the same, so each has a reply; what a quiet one hides is
hidden here, and what it shows gets its own opcode back.
"""

from __future__ import annotations

import cython

from overlord.proxy.flow.command_class import CommandClass
from overlord.proxy.flow.memcache_login import SASL_AUTH
from overlord.wire.memcache_binary import (
    AUTH_CONTINUE,
    AUTH_ERROR,
    NOT_FOUND,
    REPLY,
    REQUEST,
    SUCCESS,
    TEMPORARY_FAILURE,
    UNKNOWN_COMMAND,
    frame,
)

if cython.compiled:
    from cython.cimports.overlord.proxy.flow.memcache_dialect import MemcacheDialect
    from cython.cimports.overlord.proxy.flow.node_link import NodeLink
    from cython.cimports.overlord.proxy.flow.parts import (
        HIDES_MISSES,
        HIDES_SUCCESS,
        LOUD,
        Flow,
        Node,
        Pending,
    )
    from cython.cimports.overlord.wire.buffer import Buffer
    from cython.cimports.overlord.wire.memcache_binary import (
        BINARY_SKIPPED,
        BINARY_VIOLATION,
        BINARY_WHOLE,
        BinaryScanner,
    )
    from cython.cimports.overlord.wire.stream import OPEN
else:
    from overlord.proxy.flow.memcache_dialect import MemcacheDialect
    from overlord.proxy.flow.node_link import NodeLink
    from overlord.proxy.flow.parts import (
        HIDES_MISSES,
        HIDES_SUCCESS,
        LOUD,
        Flow,
        Node,
        Pending,
    )
    from overlord.wire.buffer import Buffer
    from overlord.wire.memcache_binary import (
        BINARY_SKIPPED,
        BINARY_VIOLATION,
        BINARY_WHOLE,
        BinaryScanner,
    )
    from overlord.wire.stream import OPEN

CLASS_GET = cython.declare(cython.int, int(CommandClass.GET))
STATUS_OK = cython.declare(cython.int, 0)
STATUS_MISSING = cython.declare(cython.int, NOT_FOUND)
NOOP = 0x0A
VERSION = 0x0B
REFUSES_LOGIN = {
    AUTH_ERROR: "it refuses our user name or password",
    AUTH_CONTINUE: "it wants more than a user name and a password",
    UNKNOWN_COMMAND: "it knows no SASL, and we log in",
}
HEADER_BYTES = cython.declare(cython.Py_ssize_t, 24)


@cython.cclass
class BinaryLink(NodeLink):
    """One connection to a memcached, in the binary protocol."""

    def __init__(self, flow: Flow, node: Node, protocol: cython.int) -> None:
        NodeLink.__init__(self, flow, node, protocol)
        self.scanner = self._new_scanner()

    def _new_scanner(self) -> BinaryScanner:
        return BinaryScanner(REPLY, self.flow.limits.max_arg_size)

    def connected(self) -> None:
        """The connection is made: what waited goes out, behind a greeting of ours."""
        self.begin()
        self.scanner = self._new_scanner()
        dialect: MemcacheDialect = self.flow.dialect
        if dialect.sasl_login:
            self.log_in(dialect.sasl_login)
        elif self.flow.greet_nodes:
            self._ask_version()
        self.send_waiting()

    def _ask_version(self) -> None:
        """Ask for the version, and then what only those may ask who are let in."""
        self.greet(frame(REQUEST, NOOP))  # what is said last is put there first
        self.greet(frame(REQUEST, VERSION))

    def greeted_with(self, reply: bytes) -> None:
        """The node has answered our login, or said its version, or that it is ready."""
        dialect: MemcacheDialect = self.flow.dialect
        opcode: cython.int = reply[1]
        status: cython.int = (reply[6] << 8) | reply[7]
        if self.logging_in:
            self._logged_in(opcode, status)
        elif opcode == VERSION:
            dialect.versions[self.node.label] = reply[HEADER_BYTES:]
        elif opcode != NOOP:
            self.break_off(f"greeted with {reply[:32]!r}")
        elif status == AUTH_ERROR:
            self.refused_us("it wants a login, and we have none")
        else:
            self.is_greeted()

    def _logged_in(self, opcode: int, status: int) -> None:
        """The node has answered our login."""
        if opcode != SASL_AUTH:
            self.break_off(f"answered our login as opcode 0x{opcode:02x}")
        elif status in REFUSES_LOGIN:
            self.refused_us(REFUSES_LOGIN[status])
        elif status != SUCCESS:
            self.break_off(f"answered our login with status 0x{status:02x}")
        elif self.flow.greet_nodes:
            self.logging_in = False
            self._ask_version()
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
        pending: Pending
        scanner: BinaryScanner = self.scanner
        if not self.hears():
            return end
        while at < end:
            if self.head is None:
                self.break_off_unasked(p, at, end)
                return end
            found = scanner.scan(p, at, end)
            if found == BINARY_WHOLE:
                after = at + scanner.length
                pending = self.pop()
                if not self._take(pending, p, at, after):
                    return end
                at = after
                if self.closing != OPEN:
                    return end
            elif found == BINARY_SKIPPED:
                at += scanner.length
                if scanner.to_skip == 0:
                    self.settle(self.pop(), p, at, at)
            elif found == BINARY_VIOLATION:
                self.break_off_wrong(scanner.wrong, scanner.broken_bound)
                return end
            else:
                self.wanted = scanner.whole
                if scanner.at == 0 and self.pass_over(scanner.whole, at, end) > 0:
                    scanner.give_up_body(end - at)
                    at = end
                break
        return at

    def _take(
        self,
        pending: Pending,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        """`p[start:end]` is the reply to `pending`; False if it cannot be."""
        status: cython.int = self.scanner.status
        scratch: Buffer
        if pending.client is not None and self.scanner.opaque != pending.cursor:
            # It goes back into the line, so that it is answered with an error, as all behind it.
            pending.next_in_link = self.head
            self.head = pending
            if self.last is None:
                self.last = pending
            self.in_flight += 1
            self.break_off(f"answered request {pending.cursor} with one to {self.scanner.opaque}")
            return False
        if pending.since != 0:
            self.node.latencies.observe(pending.command_class, self.outbox.now - pending.since)
            if pending.command_class == CLASS_GET:
                self.node.hits += status == STATUS_OK
                self.node.misses += status == STATUS_MISSING
        if pending.silence == LOUD:
            self.settle(pending, p, start, end)
            return True
        if (pending.silence == HIDES_MISSES and status == STATUS_MISSING) or (
            pending.silence == HIDES_SUCCESS and status == STATUS_OK
        ):
            self.settle(pending, p, start, start)
            return True
        if self.in_incoming:
            self.incoming.p[start + 1] = pending.keys
            self.settle(pending, p, start, end)
            return True
        scratch = self.flow.scratch
        scratch.clear()
        scratch.append(p, start, end)
        scratch.p[scratch.start + 1] = pending.keys
        self.settle(pending, scratch.p, scratch.start, scratch.end)
        scratch.clear()
        return True

    def error_for(self, pending: Pending, error: str) -> bytes:
        """The reply to this request that says what we could not do; for a get as `on_missing_node` says."""
        dialect: MemcacheDialect = self.flow.dialect
        if dialect.misses and pending.command_class == CLASS_GET:
            self.flow.refused("missing-node")
            if pending.silence == HIDES_MISSES:
                return b""
            return refusal(pending.keys, pending.cursor, NOT_FOUND, "Not found")
        return refusal(pending.keys, pending.cursor, TEMPORARY_FAILURE, error)


def refusal(opcode: int, opaque: int, status: int, text: str) -> bytes:
    """A reply that says that a request was not carried out."""
    return frame(REPLY, opcode, status=status, opaque=opaque, value=text.encode())
