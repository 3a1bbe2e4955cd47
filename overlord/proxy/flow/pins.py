"""
Connections to nodes that one client has for itself: pinned ones, and who has how many of them.

    Pins.take -> an idle connection, or one that is being made -> PinLink.send, PinLink.ask
              -> Pins.give_back, for the next who needs one; or Pins.end

A transaction and a wait for an element change what a connection does with whatever comes next on it, so nobody
else may use it meanwhile. What such a client may do is decided in `pinned.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import cython

from overlord.proxy.flow import command_errors
from overlord.proxy.flow.client import OUT_OF_MEMORY
from overlord.proxy.flow.command_class import CommandClass
from overlord.proxy.flow.command_errors import CommandRejected
from overlord.wire.resp import command

if cython.compiled:
    from cython.cimports.overlord.proxy.flow.parts import (
        WAITING,
        Client,
        Flow,
        Link,
        Node,
        Pending,
        let_go_on,
        new_pending,
    )
    from cython.cimports.overlord.proxy.flow.replies import RedisLink
    from cython.cimports.overlord.wire.buffer import cut, hold
    from cython.cimports.overlord.wire.stream import ABORT, OPEN
else:
    from overlord.proxy.flow.parts import (
        WAITING,
        Client,
        Flow,
        Link,
        Node,
        Pending,
        let_go_on,
        new_pending,
    )
    from overlord.proxy.flow.replies import RedisLink
    from overlord.wire.buffer import cut, hold
    from overlord.wire.stream import ABORT, OPEN

MINUS = cython.declare(cython.int, 45)
CLASS_TRANSACTION = cython.declare(cython.int, int(CommandClass.TRANSACTION))
CLASS_BLOCKING = cython.declare(cython.int, int(CommandClass.BLOCKING))
CLASS_OTHER = int(CommandClass.OTHER)
EJECTED = "it is ejected, and others have its keys"
MOVED = "others have the keys of this command now"
NODE_REMOVED = "it was removed from the configuration"
CLIENT_ID = command([b"CLIENT", b"ID"])


@cython.cclass
class PinLink(RedisLink):
    """
    A connection to a node for one client at a time.

    Attributes:
        user: who has it, a `Pinned`; None if nobody does.
        blocking: whether it was taken for a command that waits, and not for a transaction.
        patience: seconds that the node may wait before it answers, besides the usual timeout.
        ended_with_error: whether the last reply was an error.
        server_id: the node's CLIENT ID for this connection; empty while that is not known.
        quiet_since: since when nothing was asked, as `sweep` saw it; 0: something was.
    """

    if not cython.compiled:
        user: Any
        question: Pending
        tell: Callable[[bytes], object]

    def __init__(self, flow: Flow, node: Node, protocol: cython.int) -> None:
        RedisLink.__init__(self, flow, node, protocol)
        self.is_shared = False
        self.user = None
        self.blocking = False
        self.patience = 0.0
        self.ended_with_error = False
        self.server_id = b""
        self.quiet_since = 0.0
        self.question = None
        self.tell = None

    def lend(self, user: object, blocking: cython.bint) -> None:
        """It is somebody's from now on, or with None nobody's."""
        self.user = user
        self.blocking = blocking
        self.changed = None
        self.patience = 0.0
        self.quiet_since = 0.0

    def is_idle(self) -> cython.bint:
        """Whether it is as good as a new connection: ready, and with nothing open."""
        return self.is_ready() and self.closing == OPEN and self.head is None and not self.ended

    def send(self, client: Client | None, frame: bytes) -> None:
        """Send a command; its reply is for this client, or with None for nobody."""
        self.quiet_since = 0.0
        send(self, client, frame, CLASS_BLOCKING if self.blocking else CLASS_TRANSACTION)

    def ask(self, frame: bytes, tell: Callable[[bytes], object]) -> None:
        """Send a command of our own, and have its reply told. One at a time."""
        self.send(None, frame)
        self.question = self.last
        self.tell = tell

    def ask_for_id(self) -> None:
        """Learn how the node calls this connection, so that a wait on it can be ended."""
        if not self.server_id:
            self.ask(CLIENT_ID, self._learn_id)

    def _learn_id(self, reply: bytes) -> None:
        if reply.startswith(b":"):
            self.server_id = reply[1:].strip()

    def forget_client(self) -> None:
        """What is open is for nobody any more."""
        pending: Pending = self.head
        while pending is not None:
            pending.client = None
            pending = pending.next_in_link

    def connected(self) -> None:
        """The connection is made; if nobody wants it any more, it is closed."""
        RedisLink.connected(self)
        if self.user is None:
            self.close(ABORT, "nobody needs it")

    def feed(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Give out the replies in `p[start:end]`, and tell the user when nothing is open."""
        used: cython.Py_ssize_t = RedisLink.feed(self, p, start, end)
        if self.head is None and self.user is not None:
            self.patience = 0.0
            self.user.quiet()
        return used

    def settle(
        self,
        pending: Pending,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        if pending is self.question:
            tell = self.tell
            self.question = self.tell = None
            if self.user is not None:
                tell(cut(p, start, end))
            return 0
        self.ended_with_error = p[start] == MINUS
        return RedisLink.settle(self, pending, p, start, end)

    def lost(self, trouble: str) -> None:
        """There is no connection (any more), and there will be none."""
        RedisLink.lost(self, trouble)
        user = self.user
        self.server_id = b""
        self.node.bytes_sent += self.bytes_sent
        self.node.bytes_received += self.bytes_received
        self.bytes_sent = self.bytes_received = 0
        self.flow.pins.gone(self)
        if user is not None:
            user.link_lost(self.flow.error(self.node.refusal()))

    def sweep_pin(
        self, now: float, read_timeout: float, write_timeout: float, idle_timeout: float
    ) -> None:
        """As `sweep`, and look whether it was not used for too long."""
        self.sweep(now, read_timeout + self.patience, write_timeout)
        if not self.is_idle():
            self.quiet_since = 0.0
        elif self.quiet_since == 0.0:
            self.quiet_since = now
        elif now - self.quiet_since >= idle_timeout:
            if self.user is not None:
                self.flow.hit("pin_idle_timeout")
            self.close(ABORT, f"not used for {idle_timeout:g} s")


class Pins:
    """
    The pinned connections of a cluster: idle ones, and how many are in use on each node.

    `dial(link)` is called to open one; the link is told about it, once.
    """

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.dial: Callable[[PinLink], object] | None = None
        self.links: set[PinLink] = set()
        self.used: Counter[tuple[Node, bool]] = Counter()
        """How many are in use, by the node and whether it is for a command that waits."""
        self._idle: dict[tuple[Node, int], list[PinLink]] = {}

    def take(self, user: Any, node: Node, blocking: bool) -> PinLink:
        """
        A connection to this node for a user; if it is DOWN, it is to be opened.

        Raises:
            CommandRejected: there are too many already, or the node is not there.
        """
        flow: Flow = self.flow
        client: Client = user.client
        limits = flow.limits
        key = "blocking_pins" if blocking else "transaction_pins"
        if self.used[node, blocking] >= getattr(limits, key):
            flow.hit(key)
            raise CommandRejected(command_errors.no_pin_left(key, getattr(limits, key)))
        if flow.over_budget(0):
            flow.hit("max_memory")
            raise CommandRejected(flow.error(OUT_OF_MEMORY))
        link: PinLink
        idle: list = self._idle.get((node, client.protocol), [])
        while idle:
            link = idle.pop()
            if link.is_idle():
                break
        else:
            if node.is_retired or node.link_for(client) is None:
                node.failures += 1
                raise CommandRejected(flow.error(node.refusal()))
            link = PinLink(flow, node, client.protocol)
            self.links.add(link)
        link.lend(user, blocking)
        self.used[node, blocking] += 1
        return link

    def open(self, link: PinLink) -> None:
        """Have a connection made for a link that was taken and is DOWN."""
        assert self.dial is not None
        self.dial(link)

    def give_back(self, link: PinLink) -> None:
        """Its user needs it no more: the next one may have it, if it is as good as new."""
        if link.is_idle() and not link.node.is_retired:
            self._release(link)
            self._idle.setdefault((link.node, link.protocol), []).append(link)
        else:
            self.end(link)

    def end(self, link: PinLink) -> None:
        """Its user needs it no more, and nobody shall have it."""
        self._release(link)
        link.close(ABORT, "the client does not need it any more")

    def gone(self, link: PinLink) -> None:
        """Its connection is gone."""
        self._release(link)
        self.links.discard(link)
        idle = self._idle.get((link.node, link.protocol), [])
        if link in idle:
            idle.remove(link)

    def _release(self, link: PinLink) -> None:
        if link.user is not None:
            self.used[link.node, link.blocking] -= 1
            link.lend(None, False)

    def sweep(self, now: float, read_timeout: float, write_timeout: float) -> None:
        """Look for connections whose node is silent or stuck, and for those that were not used for too long."""
        link: PinLink
        idle_timeout = self.flow.limits.pin_idle_timeout
        for link in list(self.links):
            link.sweep_pin(now, read_timeout, write_timeout, idle_timeout)

    def rehome(self) -> None:
        """
        Keys belong to other nodes from now on: end what nobody would serve where it is.

        Who waits at a node for a key that is another's gets an error, and can ask again. A transaction goes
        on at the node where it began, if that is not ejected.
        """
        link: PinLink
        for link in list(self.links):
            user = link.user
            if user is None:
                continue
            if link.node in self.flow.nodes and link.node not in self.flow.live:
                if not user.leaving or user.waits_at_node:
                    link.close(ABORT, EJECTED)
            elif (
                user.waits_at_node
                and user.is_misplaced()
                and not self.end_wait(link, with_error=True)
            ):
                link.close(ABORT, MOVED)

    def retire(self, node: Node) -> None:
        """Nobody gets a connection to this node any more; who has one keeps it until it is given back."""
        for protocol in (2, 3):
            for link in self._idle.pop((node, protocol), []):
                link.close(ABORT, NODE_REMOVED)

    def are_used(self, node: Node) -> bool:
        """Whether somebody has a connection to this node; what nobody has is not counted any more."""
        if self.used[node, False] or self.used[node, True]:
            return True
        del self.used[node, False], self.used[node, True]
        return False

    def end_waits(self, node: Node) -> None:
        """Have the commands that wait at this node answered as if their time were over."""
        for link in self._used_on(node):
            if link.user.waits_at_node:
                self.end_wait(link)

    def end_all(self, node: Node, *, waits: bool) -> None:
        """End the transactions that are open on this node, with `waits` the commands that wait as well."""
        for link in self._used_on(node):
            if waits or not link.user.waits_at_node:
                link.close(ABORT, NODE_REMOVED)

    def _used_on(self, node: Node) -> list[PinLink]:
        return [link for link in self.links if link.node is node and link.user is not None]

    def end_wait(self, link: PinLink, *, with_error: bool = False) -> bool:
        """
        Have the node answer the command that waits on this connection as if its time were over, or with an error.

        Gives False if it cannot be told.
        """
        node: Node = link.node
        reason = [b"ERROR"] if with_error else []
        other: Link
        if link.server_id:
            for other in node.links:
                if other.is_ready():
                    send(other, None, command([b"CLIENT", b"UNBLOCK", link.server_id, *reason]))
                    return True
        return False


def send(link: Link, client: Client | None, frame: bytes, command_class: int = CLASS_OTHER) -> None:
    """Send a command over a link; its reply is for this client, or with None for nobody."""
    pending: Pending = new_pending()
    pending.client = client
    link.outgoing.append(frame, 0, len(frame))
    if client is not None:
        pending.command_class = command_class
        pending.since = link.outbox.now
        client.append_pending(pending)
    link.push(pending)
    link.node.requests += 1
    link.touch()


def count(flow: Flow, *, failed: bool = False, local: bool = False) -> None:
    """A request is taken up; it failed, or was answered without a node."""
    flow.requests += 1
    flow.errors += failed
    flow.local_answers += local


def hold_more(size: cython.Py_ssize_t) -> None:
    """So many bytes more are held for a client, or with a negative number less."""
    hold(size)


def pause(client: Client) -> None:
    """Take nothing more up until `wake`."""
    client.waits |= WAITING


def wake(client: Client) -> None:
    """Go on with what the client has sent."""
    let_go_on([client])
