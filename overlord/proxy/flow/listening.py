"""
The connection over which a node tells what is published there, and the way of a message to all who listen.

    node's bytes -> ReplyScanner -> a message: channel or pattern -> its Topic
                 -> into the `outgoing` of each client that listens, as it came
                 -> anything else: the answer to what was asked first, see `channels.py`

It speaks RESP2, as every node can. A message is the same bytes in both protocols but for its first one, so
nothing is made anew for anybody.

Ten thousand listeners need ten thousand copies of each message, and others must not wait for all of them. So a
link does only `TURN_EFFORT` at a time: then it is not read from, and goes on in another turn of the reactor with
those that the message has not reached yet. The next message waits until all have it. Their writes are spread over
turns as well, see `Outbox`; as that takes longer, a write carries several messages when many are published.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import cython

from overlord.wire.resp import command

if cython.compiled:
    from cython.cimports.overlord.proxy.flow.parts import (
        ALOUD,
        LOGIN,
        READY,
        WAITING,
        Client,
        Flow,
        Node,
        Pending,
        new_pending,
    )
    from cython.cimports.overlord.proxy.flow.replies import RedisLink
    from cython.cimports.overlord.wire.buffer import alike, cut
    from cython.cimports.overlord.wire.resp import VIOLATION, WHOLE, ReplyScanner
    from cython.cimports.overlord.wire.stream import OPEN
else:
    from overlord.proxy.flow.parts import (
        ALOUD,
        LOGIN,
        READY,
        WAITING,
        Client,
        Flow,
        Node,
        Pending,
        new_pending,
    )
    from overlord.proxy.flow.replies import RedisLink
    from overlord.wire.buffer import alike, cut
    from overlord.wire.resp import VIOLATION, WHOLE, ReplyScanner
    from overlord.wire.stream import OPEN

    OTHER, DELIVERED, UNFINISHED = 0, 1, 2

CHANNEL, PATTERN, SHARD = 0, 1, 2
"""What a name can be: of a channel, a pattern for such names, or a shard channel's."""
JOIN_WORDS = (b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE")
LEAVE_WORDS = (b"UNSUBSCRIBE", b"PUNSUBSCRIBE", b"SUNSUBSCRIBE")
"""By what a name is."""

LARGE_MESSAGE = cython.declare(cython.Py_ssize_t, 65536)
"""Messages from this size on are written to each client at once, so that not all copies are held together."""
TURN_EFFORT = cython.declare(cython.Py_ssize_t, 4096)
"""What a link does for messages in one turn: a copy costs 1, and 1 more for each 256 bytes. A millisecond or two."""
WRITE_EFFORT = cython.declare(cython.Py_ssize_t, 16)
"""What it costs more that somebody has to be written to in this turn."""
CROWD = cython.declare(cython.Py_ssize_t, 512)
"""More listeners than this are a crowd: see `Outbox`."""
MESSAGE = b"*3\r\n$7\r\nmessage\r\n$"
PMESSAGE = b"*4\r\n$8\r\npmessage\r\n$"
SMESSAGE = b"*3\r\n$8\r\nsmessage\r\n$"
"""How messages begin, up to the length of the name that they are for."""
PUSH = cython.declare(cython.int, 62)
MAX_DIGITS = cython.declare(cython.Py_ssize_t, 10)
"""Digits of a name's length."""


@cython.cclass
class Topic:
    """
    A channel or a pattern that clients listen to.

    Attributes:
        kind: CHANNEL, PATTERN or SHARD.
        listeners: the clients that were told that they listen, in that order.
        waiting: who is to be told so when the nodes have confirmed it.
        nodes: where it has its place: a channel at one node, a pattern at all.
    """

    if not cython.compiled:
        listeners: dict[Client, None]
        waiting: dict[Any, None]
        nodes: tuple[Node, ...]

    def __init__(self, kind: cython.int, name: bytes) -> None:
        self.kind = kind
        self.name = name
        self.listeners = {}
        self.waiting = {}
        self.nodes = ()


@cython.cclass
class ListenLink(RedisLink):
    """
    A connection to a node that listens for all clients.

    Attributes:
        topics: what it listens to, or is to; with True what the node has confirmed.
        kept: whether it is dialled again when it is lost.
        interrupted: it was lost with topics, and not all of them are confirmed again.
        resting: it has done enough in this turn, and goes on in the next one.
        effort: what it may still do in this turn.
        audience: who listened when the message came that is being delivered; None: none is.
        reached: how many of them have been dealt with.
    """

    if not cython.compiled:
        topics: dict[Topic, bool]
        asked: deque[tuple[Topic | None, bool]]
        audience: list[Client] | None

    def __init__(self, flow: Flow, node: Node, directory: tuple[dict[bytes, Topic], ...]) -> None:
        RedisLink.__init__(self, flow, node, 2)
        self.is_shared = False
        self.topics = {}
        self.kept = False
        self.interrupted = False
        self.directory = directory
        self.asked = deque()
        self.heard_at = 0.0
        self.heard = 0
        self.resting = False
        self.effort = 0
        self.audience = None
        self.reached = 0

    def ask(self, topic: Topic | None, joins: cython.bint) -> None:
        """Have the node begin to tell of a topic, or stop; without a topic, say whether it is there."""
        pending: Pending = new_pending()
        frame: bytes
        if topic is None:
            frame = command([b"PING"])
        else:
            words = JOIN_WORDS if joins else LEAVE_WORDS
            frame = command([words[topic.kind], topic.name])
        # One name in each command: so each has one reply, an error included.
        self.asked.append((topic, joins))
        self.outgoing.append(frame, 0, len(frame))
        self.push(pending)
        self.touch()

    def belong_to(self, node: Node) -> None:
        """Lead to this node."""
        self.node = node

    def owes(self) -> bool:
        """Whether the node has not answered all that it was asked."""
        return bool(self.asked)

    def connected(self) -> None:
        """The connection is made, and knows nothing yet."""
        self.asked.clear()
        self.heard_at = 0.0
        RedisLink.connected(self)

    def lost(self, trouble: str) -> None:
        """There is no connection (any more)."""
        RedisLink.lost(self, trouble)
        self.resting = False
        self.audience = None
        self.asked.clear()
        self.flow.channels.link_lost(self)

    def feed(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Hand on the messages in `p[start:end]`, and take note of the node's answers."""
        at: cython.Py_ssize_t = start
        after: cython.Py_ssize_t
        found: cython.int
        done: cython.int
        scanner: ReplyScanner = self.scanner
        self.silent_since = 0.0
        if self.closing != OPEN or (self.state != READY and self.state != LOGIN):
            return end
        if self.resting:
            return start
        self.effort = TURN_EFFORT
        while at < end:
            found = scanner.scan(p, at, end)
            if found == WHOLE:
                after = at + scanner.length
                done = self._hand_on(p, at, after)
                if done == UNFINISHED:
                    self._rest()
                    return at
                if done == OTHER:
                    if self.head is None:
                        self.break_off(
                            f"sent {cut(p, at, min(after, at + 32))!r} without being asked"
                        )
                        return end
                    self.settle(self.pop(), p, at, after)
                at = after
                if self.closing != OPEN:
                    return end
                if self.effort <= 0 and at < end:
                    self._rest()
                    return at
            elif found == VIOLATION:
                self.break_off_wrong(scanner.violation, scanner.broken_bound)
                return end
            else:
                self.wanted = scanner.at
                if scanner.at > LARGE_MESSAGE and self.flow.over_budget(scanner.at - (end - at)):
                    self.flow.hit("max_memory")
                    self.break_off("sent a message too large for the memory budget")
                    return end
                break
        return at

    def _rest(self) -> cython.int:
        """It has done enough: others have their turn."""
        self.resting = True
        self.set_paused(True)
        self.outbox.add_later(self)
        return 0

    def go_on(self) -> object:
        """Go on with the messages that wait."""
        if self.resting:
            self.resting = False
            self.feed_incoming()
            if not self.resting:
                self.set_paused(False)
        return None

    def _hand_on(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """If `p[start:end]` is a message, give it to its listeners: DELIVERED or UNFINISHED; else OTHER."""
        kind: cython.int
        at: cython.Py_ssize_t
        size: cython.Py_ssize_t = 0
        if starts_with(p, start, end, MESSAGE):
            kind = CHANNEL
            at = start + len(MESSAGE)
        elif starts_with(p, start, end, PMESSAGE):
            kind = PATTERN
            at = start + len(PMESSAGE)
        elif starts_with(p, start, end, SMESSAGE):
            kind = SHARD
            at = start + len(SMESSAGE)
        else:
            return OTHER
        first: cython.Py_ssize_t = at
        while 48 <= p[at] <= 57 and at - first < MAX_DIGITS:
            size = size * 10 + (p[at] - 48)
            at += 1
        if at == first or p[at] != 13 or at + 2 + size > end:
            return OTHER
        topic: Topic = self.directory[kind].get(cut(p, at + 2, at + 2 + size))
        if self.audience is None:
            self.flow.messages += 1
            self.effort -= 1
            if topic is None:
                return DELIVERED
            # A copy: who is thrown out for reading too slowly leaves the topic meanwhile.
            self.audience = list(topic.listeners)
            self.reached = 0
        if topic is not None and not self._deliver(topic, p, start, end):
            return UNFINISHED
        self.audience = None
        return DELIVERED

    def _deliver(
        self,
        topic: Topic,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        """Give a copy of the message `p[start:end]` to those who have none yet; whether all have one now."""
        client: Client
        audience: list = self.audience
        was_interrupted: cython.bint = self.reached > 0
        while self.reached < len(audience):
            if self.effort <= 0:
                return False
            client = audience[self.reached]
            self.reached += 1
            if client.gone or client.closing != OPEN:
                continue
            if was_interrupted and client not in topic.listeners:
                continue
            self._give(client, p, start, end)
        return True

    def _give(
        self,
        client: Client,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """Give a client its copy of a message."""
        flow: Flow = self.flow
        size: cython.Py_ssize_t = end - start
        if client.outgoing.size() > 0:
            if client.outgoing.size() + client.retained + size > flow.max_unsent:
                client.throw_out("max_unsent", "messages unread")
                return 0
            if flow.over_budget(size):
                client.throw_out("max_memory", "a message too large for the memory budget")
                return 0
        self.effort -= 1 + (size >> 8)
        try:
            client.outgoing.append(p, start, end)
            if client.protocol == 3:
                client.outgoing.p[client.outgoing.end - size] = PUSH
            if len(self.audience) > CROWD:
                self.outbox.add_to_crowd(client)
            elif not client.touched:
                self.effort -= WRITE_EFFORT
                client.touch()
            if size >= LARGE_MESSAGE and client.carrier is not None:
                client.carrier.flush()
        except Exception:  # noqa: BLE001  # whatever it is: it ends this client, not the node's connection
            client.outbox.failed(client)
        flow.deliveries += 1
        return 0

    def settle(
        self,
        pending: Pending,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        if self.greeting:
            return RedisLink.settle(self, pending, p, start, end)
        topic, joins = self.asked.popleft()
        if topic is not None:
            self.flow.channels.answered(self, topic, joins, cut(p, start, end))
        return 0

    def sweep_listening(
        self, now: float, read_timeout: float, write_timeout: float, ping: float
    ) -> None:
        """
        As `sweep`, and ask a node that has said nothing for `ping` seconds whether it is there.

        Where nothing is published, nobody would notice otherwise that it has gone without a word.
        """
        self.sweep(now, read_timeout, write_timeout)
        if not self.is_ready() or self.closing != OPEN:
            return
        if self.heard_at == 0.0 or self.heard != self.bytes_received:
            self.heard = self.bytes_received
            self.heard_at = now
        elif now - self.heard_at >= ping and self.in_flight == 0:
            self.heard_at = now
            self.ask(None, False)


@cython.cfunc
def starts_with(
    p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t, head: bytes
) -> cython.bint:
    """Whether `p[start:end]` begins with `head`, and goes on."""
    return end - start > len(head) and alike(p, start, head, 0, len(head))


@cython.cclass
class Debt:
    """What a client is owed for a request that is answered by nobody's reply alone."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.pending = new_pending()
        self.pending.client = client
        client.append_pending(self.pending)

    def pay(self, reply: bytes, *, aloud: bool = False) -> None:
        """
        Answer the request, unless the client has gone, and go on with what it has sent.

        With `aloud` it hears that whatever it has said with CLIENT REPLY, see `Client.tell`.
        """
        client: Client = self.client
        muting: cython.int = client.muting
        if not client.gone:
            client.waits &= ~WAITING
            if aloud:
                client.muting = ALOUD
            client.answer(self.pending, reply, 0, len(reply))
            client.muting = muting
