"""The flow of one cluster of Redis servers: its links and clients speak RESP."""

from __future__ import annotations

from typing import Any

import cython

from overlord.proxy.flow.cursors import mark_of
from overlord.proxy.flow.question import PING, Question
from overlord.proxy.flow.replies import RedisLink
from overlord.proxy.flow.requests import RedisClient
from overlord.wire.resp import command

if cython.compiled:
    from cython.cimports.overlord.proxy.flow.commands import CommandTable
    from cython.cimports.overlord.proxy.flow.dialect import RedisDialect
    from cython.cimports.overlord.proxy.flow.parts import NO, UNKNOWN, YES, Client, Flow, Link, Node
    from cython.cimports.overlord.proxy.flow.ring_flow import RingFlow
else:
    from overlord.proxy.flow.commands import CommandTable
    from overlord.proxy.flow.dialect import RedisDialect
    from overlord.proxy.flow.parts import NO, UNKNOWN, YES, Client, Flow, Link, Node
    from overlord.proxy.flow.ring_flow import RingFlow


@cython.cclass
class RedisFlow(RingFlow):
    """A cluster of Redis servers behind a ring."""

    def take_limits(self, limits: Any) -> None:
        """These bounds, commands and passwords hold from now on."""
        Flow.take_limits(self, limits)
        self.login = login_frame(limits.node_username, limits.node_password)
        if self.dialect is None:
            self.dialect = RedisDialect(limits)
        else:
            self.dialect.take_limits(limits)

    def error(self, text: str) -> bytes:
        """The reply that tells a client this error of ours."""
        return f"-ERR {text}\r\n".encode()

    def too_many_clients(self) -> bytes:
        """What a client is told for whom there is no place."""
        return b"-ERR max number of clients reached\r\n"

    def question(self) -> Question:
        """What a node is asked to learn whether it serves."""
        return PING

    def new_client(self, number: int) -> RedisClient:
        """A client that has just come."""
        return RedisClient(self, number)

    def new_link(self, node: Node, protocol: int) -> RedisLink:
        """The place of a connection to a node."""
        return RedisLink(self, node, protocol)

    def note_live(self) -> None:
        """Which nodes have keys says the ring."""
        RingFlow.note_live(self)
        self.note_cursors()

    def note_cursors(self) -> None:
        """Which cursors are good say the nodes that have keys."""
        self.dialect.scan_mark = mark_of([node.label for node in self.live])

    def change_limits(self, limits: Any) -> None:
        """Other bounds, commands and passwords hold from now on."""
        client: Client
        dialect: RedisDialect = self.dialect
        old: CommandTable = dialect.table
        RingFlow.change_limits(self, limits)
        if dialect.table is not old:
            for client in self.clients.values():
                if client.last_row >= 0:
                    name = old.row(client.last_row).name
                    client.last_row = dialect.table.places.get(name, -1)

    def knows_resp3(self) -> int:
        """
        Whether all nodes speak RESP3: YES, NO, or UNKNOWN while they are being asked.

        The first question opens the links that say HELLO 3. A node that cannot be reached is not waited
        for: what is asked of it fails anyway, in either protocol.
        """
        node: Node
        link: Link
        answer = YES
        for node in self.nodes:
            if not node.links3:
                self.open_resp3(node)
            if node.speaks3 == NO:
                return NO
            if node.speaks3 == UNKNOWN:
                for link in node.links3:
                    self.dial(link)
                link = node.links3[0]
                if link.dials_failed == 0:
                    answer = UNKNOWN
        return answer


def login_frame(username: str, password: str) -> bytes:
    """What a connection to a node begins with; empty if there is no password."""
    if not password:
        return b""
    # By itself, not in HELLO 3, so that a node answers the same in both protocols; without the name of
    # the default user, which a Redis before 6 does not know.
    words = [b"AUTH", *([username.encode()] if username else [])]
    return command([*words, password.encode(errors="surrogateescape")])
