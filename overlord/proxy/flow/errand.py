"""
A command that must not wait behind others: SCRIPT KILL and FUNCTION KILL.

The node that they are meant for is busy with a script, and whatever was sent to it before waits until that ends. So
each node is asked over a connection that nobody else uses, a pinned one, while the client waits for its answer:

    one node has ended a script         OK
    else one has a script that it will not end, or could not be asked     that error
    else                                NOTBUSY, as Redis says where no script runs
"""

from __future__ import annotations

from collections.abc import Sequence

from overlord.proxy.flow.command_errors import CommandRejected
from overlord.proxy.flow.gate import DONE, WAIT
from overlord.proxy.flow.parts import Client, Node
from overlord.proxy.flow.pins import PinLink, count, pause, wake

OK = b"+OK\r\n"
NOT_BUSY = b"-NOTBUSY"


class Errand:
    """What a client waits for while its command is with the nodes, in the place of a `Pinned`."""

    in_multi = touched = waits_at_node = False
    queued = -1
    watched = 0

    def __init__(self, client: Client) -> None:
        self.client = client
        self._visits: list[_Visit] = []

    def take_up(self, argv: Sequence[bytes], frame: bytes) -> int:
        """Begin, and when it is called again, look whether all nodes have answered."""
        if not self._visits:
            self._visits = [_Visit(self, node) for node in self.client.flow.nodes]
            for visit in self._visits:
                visit.begin(frame)
        if any(not visit.reply for visit in self._visits):
            pause(self.client)
            return WAIT
        self.client.pin = None
        reply = self._joined()
        count(self.client.flow, failed=reply != OK)
        self.client.say(reply)
        return DONE

    def _joined(self) -> bytes:
        replies = [visit.reply for visit in self._visits]
        return min(replies, key=lambda reply: (reply != OK, reply.startswith(NOT_BUSY)))

    def answered(self) -> None:
        """A node has answered, or cannot."""
        if all(visit.reply for visit in self._visits):
            wake(self.client)

    def end_wait(self, *, with_error: bool = False) -> bool:
        """It waits for answers, not for an element."""
        return False

    def rehome(self) -> None:
        """The nodes have changed: those that were asked already answer."""

    def client_lost(self) -> None:
        """The client has gone; what the nodes were told, they do."""
        self.client.pin = None
        for visit in self._visits:
            visit.leave()

    def ends_input(self) -> bool:
        """The client sends no more; it gets its answer."""
        return False

    def drain(self) -> None:
        """The client is to be closed when it has what it is owed, and it is owed nothing yet."""
        self.client_lost()


class _Visit:
    """The part of an errand that concerns one node: the user of its connection."""

    waits_at_node = False
    leaving = True

    def __init__(self, errand: Errand, node: Node) -> None:
        self.client = errand.client
        self.reply = b""
        self._errand = errand
        self._node = node
        self._link: PinLink | None = None
        self._frame = b""

    def begin(self, frame: bytes) -> None:
        """Take a connection, and send the command as soon as it is there."""
        pins = self.client.flow.pins
        self._frame = frame
        try:
            link = self._link = pins.take(self, self._node, True)
        except CommandRejected as rejected:
            self.reply = rejected.reply
            return
        link.changed = self._send
        if link.is_ready():
            self._send()
        else:
            pins.open(link)

    def _send(self) -> None:
        if self._link is not None and self._link.is_ready():
            self._link.ask(self._frame, self._told)

    def _told(self, reply: bytes) -> None:
        self.reply = reply

    def quiet(self) -> None:
        """Nothing is open on the connection: the command was answered, or it was only the greeting."""
        if self.reply:
            self.leave()
            self._errand.answered()

    def link_lost(self, refusal: bytes) -> None:
        """The connection is lost, or could not be made."""
        self._link = None
        self.reply = self.reply or refusal
        self._errand.answered()

    def leave(self) -> None:
        """Give the connection back; one that has not been answered is closed."""
        link, self._link = self._link, None
        if link is not None:
            self.client.flow.pins.give_back(link)
