"""
What one client listens to: SUBSCRIBE and its relatives.

    SUBSCRIBE a b     nothing else of this client is open -> an Asking, see `channels.py` -> all confirmed
                      -> one confirmation for each name, and from then on its messages
    UNSUBSCRIBE a     confirmed at once

Nothing of a client is taken up while it waits for a confirmation: so what it publishes afterwards comes back
to it, and its replies stay in order. A request to listen is carried out whole or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from overlord.proxy.flow import command_errors as errors
from overlord.proxy.flow.channels import Asking, Channels
from overlord.proxy.flow.command_errors import CommandRejected
from overlord.proxy.flow.gate import DONE, ORDINARY
from overlord.proxy.flow.keys import row_of
from overlord.proxy.flow.listening import JOIN_WORDS, LEAVE_WORDS, SHARD, Debt, Topic
from overlord.proxy.flow.parts import Client
from overlord.proxy.flow.pins import count, hold_more, pause
from overlord.wire.resp_encode import Push, encode

ALLOWED = frozenset((*JOIN_WORDS, *LEAVE_WORDS, b"PING", b"QUIT", b"RESET"))
"""What a client of RESP2 may say while it listens."""
SUBSCRIPTION_COST = 250
"""Bytes that a client's part in a topic costs us, roughly: what the budget counts."""


class Subscriber:
    """
    A client that listens to something, or is about to.

    Attributes:
        topics: what it listens to, by what it is and by name.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.flow = client.flow
        self.channels: Channels = client.flow.channels
        self.topics: tuple[dict[bytes, Topic], ...] = ({}, {}, {})
        self._asking: Asking | None = None

    # RESP2, where a client that listens may not do much else.

    def take_up(self, argv: Sequence[bytes]) -> int:
        """Take up a request of a client that listens, and speaks RESP2; gives DONE or ORDINARY."""
        try:
            row = row_of(argv, self.flow.book)
        except CommandRejected:
            return ORDINARY
        if row.name not in ALLOWED:
            return self._answer(errors.only_while_subscribed(row.fullname))
        if row.name == b"PING" and len(argv) <= 2:
            return self._answer(encode([b"pong", argv[1] if len(argv) == 2 else b""]))
        return ORDINARY

    def _answer(self, reply: bytes) -> int:
        count(self.flow, failed=reply.startswith(b"-"), local=True)
        self.client.say(reply)
        return DONE

    # SUBSCRIBE and its relatives.

    def carry_out(self, word: bytes, names: Sequence[bytes]) -> int:
        """Take up a SUBSCRIBE, UNSUBSCRIBE or the like; nothing else of this client is open."""
        if word in JOIN_WORDS:
            self._join(JOIN_WORDS.index(word), names)
        else:
            self._leave(LEAVE_WORDS.index(word), names)
        return DONE

    def _join(self, kind: int, names: Sequence[bytes]) -> None:
        new = [name for name in dict.fromkeys(names) if name not in self.topics[kind]]
        asking = Asking(kind, lambda error: self._told(asking, names, debt, error))
        debt: Debt | None = None
        try:
            self._check_bounds(len(new))
            for name in new:
                self.channels.enlist(asking, name)
        except CommandRejected as rejected:
            self.channels.settle(asking)
            self._answer(rejected.reply)
            self._forget_if_idle()
            return
        count(self.flow)
        if not asking.missing:
            self.client.tell(self._listens(asking, names))
            return
        self._asking = asking
        debt = Debt(self.client)
        pause(self.client)

    def _check_bounds(self, more: int) -> None:
        flow = self.flow
        limit = flow.limits.max_subscriptions
        if more and self.total() + more > limit:
            flow.hit("max_subscriptions")
            raise CommandRejected(errors.too_many_subscriptions(limit))
        if more and flow.over_budget(more * SUBSCRIPTION_COST):
            flow.hit("max_memory")
            raise CommandRejected(errors.OUT_OF_MEMORY)

    def _told(
        self, asking: Asking, names: Sequence[bytes], debt: Debt | None, error: bytes
    ) -> None:
        """The nodes have confirmed what was asked for, or one has not."""
        if self._asking is not asking:
            return
        assert debt is not None
        self._asking = None
        if error:
            self.channels.settle(asking)
            self.flow.failed()
            debt.pay(error)
            self._forget_if_idle()
        else:
            debt.pay(self._listens(asking, names), aloud=True)

    def _listens(self, asking: Asking, names: Sequence[bytes]) -> bytes:
        """It listens from now on: one confirmation for each name that it said."""
        mine = self.topics[asking.kind]
        self.channels.subscribers += bool(asking.topics) and not self.total()
        confirmations: list[bytes] = []
        for name in names:
            if name not in mine:
                mine[name] = asking.topics[name]
                mine[name].listeners[self.client] = None
                hold_more(SUBSCRIPTION_COST)
            confirmations.append(self._confirmation(JOIN_WORDS[asking.kind], asking.kind, name))
        self.channels.settle(asking)
        return b"".join(confirmations)

    def _leave(self, kind: int, names: Sequence[bytes]) -> None:
        mine = self.topics[kind]
        was_listening = bool(self.total())
        confirmations: list[bytes] = []
        left: Sequence[bytes | None] = names or list(mine) or [None]
        for name in left:
            if name in mine:
                self._forget(mine.pop(name))
            confirmations.append(self._confirmation(LEAVE_WORDS[kind], kind, name))
        self.channels.subscribers -= was_listening and not self.total()
        count(self.flow, local=True)
        self.client.tell(b"".join(confirmations))
        self._forget_if_idle()

    def _forget(self, topic: Topic) -> None:
        topic.listeners.pop(self.client, None)
        hold_more(-SUBSCRIPTION_COST)
        self.channels.leave_unused(topic)

    def _confirmation(self, word: bytes, kind: int, name: bytes | None) -> bytes:
        channels, patterns, shards = map(len, self.topics)
        total = shards if kind == SHARD else channels + patterns
        return encode(Push([word.lower(), name, total]), self.client.protocol)

    def total(self) -> int:
        """How many names it listens to."""
        return sum(map(len, self.topics))

    def numbers(self) -> tuple[int, int, int]:
        """How many channels, patterns and shard channels it listens to."""
        channels, patterns, shards = map(len, self.topics)
        return channels, patterns, shards

    def _forget_if_idle(self) -> None:
        if self._asking is None and not self.total():
            self.client.subscriber = None

    # Its end.

    def leave_all(self) -> None:
        """It listens to nothing any more, without a word: RESET, or the end of its connection."""
        if self._asking is not None:
            asking, self._asking = self._asking, None
            self.channels.settle(asking)
        self.channels.subscribers -= bool(self.total())
        for mine in self.topics:
            topics = list(mine.values())
            mine.clear()
            for topic in topics:
                self._forget(topic)
        self.client.subscriber = None
