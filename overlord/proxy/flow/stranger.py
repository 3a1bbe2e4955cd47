"""
A client that has not given its password yet: what it may do, and what it may cost.

It has the place of a client with a connection of its own (`Client.pin`), so that clients that have given their
password, or need none, pay nothing for the question. It gets the answers that Redis gives before AUTH:
errors about the command itself first, then NOAUTH. Nothing of what it says reaches a node.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from overlord.proxy.flow.command_errors import EXEC_NO_AUTH, NO_AUTH, CommandRejected
from overlord.proxy.flow.gate import DONE, ORDINARY
from overlord.proxy.flow.keys import row_of
from overlord.proxy.flow.local import answer, lets_in
from overlord.proxy.flow.pins import count

FOR_STRANGERS = (b"AUTH", b"HELLO", b"QUIT", b"RESET")
HTTP_WORDS = (b"POST", b"HOST:")
"""First words by which Redis, and we, recognise a browser that was tricked into talking to us."""


class Stranger:
    """Answers a client that has to give its password first."""

    # As a client without a connection of its own.
    in_multi = touched = waits_at_node = False
    queued = -1
    watched = 0

    def __init__(self, client: Any) -> None:
        self.client = client  # a RedisClient, which makes us
        self.max_buffer = client.flow.limits.unauthenticated_max_buffer

    def take_up(self, argv: Sequence[bytes], frame: bytes) -> int:
        """Take up the client's next request; gives DONE or ORDINARY."""
        client = self.client
        if len(client.incoming) + len(client.outgoing) > self.max_buffer:
            client.shut_out("unauthenticated_max_buffer", "replies unread before AUTH")
            return DONE
        try:
            name = row_of(argv, client.flow.book).name
        except CommandRejected as rejected:
            if argv[0].upper() in HTTP_WORDS:
                return ORDINARY
            return self._refuse(rejected.reply)
        if name == b"HELLO" and not lets_in(argv, client.flow.facts):
            # Before the nodes are asked whether they speak RESP3: a stranger has no say in that.
            return self._refuse(answer(list(argv), client.introduce(), client.flow.facts).reply)
        if name in FOR_STRANGERS:
            return ORDINARY
        return self._refuse(EXEC_NO_AUTH if name == b"EXEC" else NO_AUTH)

    def _refuse(self, reply: bytes) -> int:
        count(self.client.flow, failed=True, local=True)
        self.client.flow.note_refusal(reply)
        self.client.say(reply)
        return DONE

    def end_wait(self, *, with_error: bool = False) -> bool:
        """It waits for nothing."""
        return False

    def rehome(self) -> None:
        """The nodes have changed: it has nothing to do with them."""

    def client_lost(self) -> None:
        """The client has gone."""

    def ends_input(self) -> bool:
        """The client sends no more: it is closed when it has its answers."""
        return False

    def drain(self) -> None:
        """The client is to be closed when it has what it is owed."""
