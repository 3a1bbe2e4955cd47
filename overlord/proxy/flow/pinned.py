"""
What a client does with a connection of its own: a transaction, or a command that waits.

    MULTI                       OK from us: which node it concerns is not known yet
    WATCH k, or the first key   that node: a connection is taken; MULTI is sent there, and must succeed
    further commands            go there, too; what has no key and came earlier goes along
    EXEC, DISCARD, UNWATCH      the last on this connection; it is given back with the reply
    BLPOP k 0                   a connection until the reply

A client that gets a connection of its own is owed nothing at that moment, and until it gives it back, what
goes over other connections waits for what is open on this one, and the other way round: so everything
happens in the order in which the client asked for it.

A transaction that cannot be carried out ends as in Redis: EXEC answers EXECABORT after an error in between, or
null if the connection that watched is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from overlord.proxy.flow import command_errors as errors
from overlord.proxy.flow.command_errors import CommandRejected
from overlord.proxy.flow.command_row import Command, Kind
from overlord.proxy.flow.gate import DONE, ORDINARY, WAIT
from overlord.proxy.flow.keys import keys_to_route, patience_of, row_of
from overlord.proxy.flow.parts import Client
from overlord.proxy.flow.pins import PinLink, Pins, count, hold_more, pause, wake
from overlord.wire.resp import arguments
from overlord.wire.resp_encode import error
from overlord.wire.stream import FINISHING

NOWHERE, SEVERAL = -1, -2
"""Instead of a place: the command has no key; its keys are on several nodes."""

OK = b"+OK\r\n"
QUEUED = b"+QUEUED\r\n"
NESTED = error(b"ERR MULTI calls can not be nested")
WATCH_INSIDE = error(b"ERR WATCH inside MULTI is not allowed")
EXEC_ALONE = error(b"ERR EXEC without MULTI")
DISCARD_ALONE = error(b"ERR DISCARD without MULTI")
ABORTED = error(b"EXECABORT Transaction discarded because of previous errors.")
NULL = {2: b"*-1\r\n", 3: b"_\r\n"}
"""What EXEC answers when a watched key has changed, by protocol."""

OURS = "in a transaction: the proxy answers it, not the node"
LISTENS = "in a transaction: confirmations and messages would come among its replies"
ALL_NODES = "in a transaction: it concerns all nodes"
ELSEWHERE = "while keys of another node are watched"
NODES_OWN = (b"PING", b"ECHO", b"TIME")
"""Commands that the proxy answers itself, but in a transaction the node."""
ON_ONE_NODE = (
    Kind.KEY,
    Kind.KEYS,
    Kind.NUMKEYS,
    Kind.SPECIAL,
    Kind.MGET,
    Kind.MSET,
    Kind.SUM,
    Kind.BLOCKING,
    Kind.PUBLISH,
)


class Pinned:
    """
    A client that has, or is about to have, a connection of its own.

    Attributes:
        link: the connection; None before it is needed, and after it was lost.
        ring, places: those of the cluster when it began. What has begun at a node ends there, even when keys
            have moved meanwhile.
        node: place of the node that it is to; NOWHERE while that is open.
        in_multi: between MULTI and EXEC.
        began: the node has answered MULTI.
        watching: WATCH was sent.
        watched: for how many keys.
        touched: the connection that watched is lost, so nobody knows whether the keys have changed.
        aborted: EXEC will answer EXECABORT.
        waits_at_node: a command that may wait is open.
        waits_for: that command.
        leaving: the last command is sent; with its reply the connection is given back.
        trouble: why there is no connection: the reply to the request that waits for it.
        queued: how many commands have come since MULTI; -1 outside.
        held: commands without keys, for which no node is chosen yet.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.flow = client.flow
        self.pins: Pins = client.flow.pins
        self.ring = client.flow.ring
        self.places = client.flow.places
        self.link: PinLink | None = None
        self.node = NOWHERE
        self.in_multi = False
        self.asked = False
        self.began = False
        self.watching = False
        self.watched = 0
        self.touched = False
        self.aborted = False
        self.waits_at_node = False
        self.waits_for = b""
        self.queued = -1
        self.leaving = False
        self.trouble = b""
        self.held: list[bytes] = []
        self._held_bytes = 0
        self._multi = b""

    def take_up(self, argv: Sequence[bytes], frame: bytes) -> int:
        """Take up the client's next request; gives WAIT, DONE or ORDINARY."""
        if self.leaving or self.waits_at_node:
            return WAIT
        try:
            taken = self._decide(argv, frame)
        except CommandRejected as rejected:
            if rejected.reply.startswith(b"-EXECABORT"):
                return self._discard(rejected.reply)
            self.aborted = self.aborted or self.in_multi
            taken = self._answer(rejected.reply)
        if taken == DONE and not (self.in_multi or self.watching or self.link):
            self._end()
        return taken

    def _decide(self, argv: Sequence[bytes], frame: bytes) -> int:
        row = row_of(argv, self.flow.dialect.book)
        if row.kind is Kind.TRANSACTION:
            return _WORDS[row.name](self, row, argv, frame)
        if row.name == b"QUIT":
            return ORDINARY
        if row.name == b"RESET":
            if self.client.in_flight:
                return WAIT
            self._end(keep=False)
            return ORDINARY
        return (self._queue if self.in_multi else self._outside)(row, argv, frame)

    def _answer(self, reply: bytes) -> int:
        """Answer the request without the node."""
        count(self.flow, failed=reply.startswith(b"-"), local=True)
        self.client.say(reply)
        return DONE

    # The words of transactions.

    def _do_multi(self, row: Command, argv: Sequence[bytes], frame: bytes) -> int:
        if self.in_multi:
            return self._answer(NESTED)
        self.in_multi = True
        self.queued = 0
        self._multi = frame
        return self._answer(OK)

    def _do_watch(self, row: Command, argv: Sequence[bytes], frame: bytes) -> int:
        if self.in_multi:
            return self._answer(WATCH_INSIDE)
        self._settle_on(row, self._node_of(row, argv))
        if self.touched:
            return self._answer(OK)
        if not self._send(frame):
            return WAIT
        self.watching = True
        self.watched += len(set(argv[1:]))
        return DONE

    def _do_unwatch(self, row: Command, argv: Sequence[bytes], frame: bytes) -> int:
        if self.in_multi:
            return self._queue(row, argv, frame)
        if self.link is None:
            self.watching = False
            self.watched = 0
            return self._answer(OK)
        return self._say_last(frame)

    def _do_exec(self, row: Command, argv: Sequence[bytes], frame: bytes) -> int:
        if not self.in_multi:
            return self._answer(EXEC_ALONE)
        if self.node == NOWHERE and self.held and not self.aborted:
            live = self.flow.live
            self.node = self.flow.first_place + live[self.client.number % len(live)].index
        if not (self.aborted or self.touched or self.node == NOWHERE):
            try:
                return self._say_last(frame)
            except CommandRejected:
                self.aborted = True
        if self.aborted:
            return self._discard(ABORTED)
        return self._discard(NULL[self.client.protocol] if self.touched else b"*0\r\n")

    def _do_discard(self, row: Command, argv: Sequence[bytes], frame: bytes) -> int:
        if not self.in_multi:
            return self._answer(DISCARD_ALONE)
        if self.began:
            return self._say_last(frame)
        return self._discard(OK)

    def _discard(self, reply: bytes) -> int:
        """Answer with `reply`, and have the node forget whatever was begun there."""
        if self.client.in_flight:
            return WAIT
        self._end(keep=False)
        return self._answer(reply)

    def _say_last(self, frame: bytes) -> int:
        """Send the command whose reply gives the connection back."""
        if not self._send(frame):
            return WAIT
        self.leaving = True
        return DONE

    # Other commands.

    def _queue(self, row: Command, argv: Sequence[bytes], frame: bytes) -> int:
        """Take up a command between MULTI and EXEC."""
        if row.kind is Kind.LOCAL and row.name not in NODES_OWN:
            if row.name != b"SELECT":
                raise CommandRejected(errors.refused(row.fullname, OURS))
            if argv[1] != b"0":
                raise CommandRejected(errors.NO_SUCH_DATABASE)
        if row.kind is Kind.SUBSCRIBE:
            raise CommandRejected(errors.refused(row.fullname, LISTENS))
        if row.kind in (Kind.EVERY, Kind.SCAN):
            raise CommandRejected(errors.refused(row.fullname, ALL_NODES))
        self._settle_on(row, self._node_of(row, argv))
        if self.touched or (self.aborted and not self.trouble):
            return self._answer(QUEUED)
        taken = self._hold(frame) if self.node == NOWHERE else int(self._send(frame))
        self.queued += taken
        return taken

    def _hold(self, frame: bytes) -> int:
        """Keep a command without a key until it is known which node the others concern."""
        if self._held_bytes + len(frame) > self.flow.limits.max_request:
            self.flow.hit("max_request")
            raise CommandRejected(errors.TRANSACTION_TOO_LARGE)
        self.held.append(frame)
        self._held_bytes += len(frame)
        hold_more(len(frame))
        return self._answer(QUEUED)

    def _outside(self, row: Command, argv: Sequence[bytes], frame: bytes) -> int:
        """Take up a command that waits, or one of a client that watches."""
        patience = patience_of(row, argv)
        node = self._node_of(row, argv) if row.kind in ON_ONE_NODE else NOWHERE
        if patience is not None:
            return self._wait_at_node(row, node, patience, frame)
        if row.name == b"HELLO" and not self.client.in_flight and len(argv) > 1:
            self._change_protocol(argv[1])
        if self.link is None or node != self.node:
            return WAIT if self.client.in_flight else ORDINARY
        if self.link.in_flight < self.client.in_flight:
            return WAIT
        return DONE if self._send(frame) else WAIT

    def _wait_at_node(self, row: Command, node: int, patience: float, frame: bytes) -> int:
        if self.watching and node not in (self.node, SEVERAL):
            raise CommandRejected(errors.refused(row.fullname, ELSEWHERE))
        self._settle_on(row, node)
        if self.client.ended:
            self._end()
            self.client.close(FINISHING, "client ended")  # as Redis does with who waits
            return DONE
        if not self._send(frame, waits_at_node=True):
            return WAIT
        assert self.link is not None
        self.link.patience = patience
        self.waits_at_node = True
        self.waits_for = frame
        self.leaving = not self.watching
        return DONE

    def _change_protocol(self, wanted: bytes) -> None:
        """The replies on this connection would be of the wrong protocol from now on."""
        if wanted in (b"2", b"3") and int(wanted) != self.client.protocol:
            self.touched = self.watching
            self._let_go(keep=False)

    def _node_of(self, row: Command, argv: Sequence[bytes]) -> int:
        indices = keys_to_route(argv, self.flow.dialect.book, alone=self.flow.is_alone())
        ring = self.ring
        if not indices:
            return NOWHERE
        if ring.is_random and self.node != NOWHERE:
            return self.node
        nodes = {ring.node_of_key(argv[index]) for index in indices}
        return nodes.pop() if len(nodes) == 1 or ring.is_random else SEVERAL

    def _settle_on(self, row: Command, node: int) -> None:
        """Note the node, unless it is another one already."""
        if node == SEVERAL:
            self.flow.refused("cross-node")
            raise CommandRejected(errors.cross_node(row.fullname))
        if node != NOWHERE and self.node not in (NOWHERE, node):
            self.flow.refused("cross-node")
            raise CommandRejected(errors.other_node(row.fullname))
        if node != NOWHERE:
            self.node = node

    # The connection.

    def _send(self, frame: bytes, *, waits_at_node: bool = False) -> bool:
        """
        Send the client's request over the connection of its own; False if it has to wait for that.

        Raises:
            CommandRejected: there is no connection to be had.
        """
        if self.trouble:
            trouble, self.trouble = self.trouble, b""
            raise CommandRejected(trouble)
        link = self.link
        if link is None:
            link = self.link = self.pins.take(self, self.places[self.node], waits_at_node)
            link.changed = self._wake
            if not link.is_ready():
                pause(self.client)
                self.pins.open(link)
                return False
        if not link.is_ready():
            pause(self.client)
            return False
        if self.in_multi and not self.began:
            pause(self.client)
            if not self.asked:
                self.asked = True
                link.ask(self._multi, self._begun)
            return False
        for each in self.held:
            link.send(None, each)
        self._forget_held()
        if waits_at_node:
            link.ask_for_id()
        count(self.flow)
        link.send(self.client, frame)
        return True

    def _begun(self, reply: bytes) -> None:
        """The node has answered MULTI: nothing of the transaction was sent before it said OK."""
        self.began = reply == OK
        if not self.began:
            self.aborted = True
            self.trouble = reply
        self._wake()

    def _wake(self) -> None:
        wake(self.client)

    def quiet(self) -> None:
        """Nothing is open on the connection."""
        self.waits_at_node = False
        if self.leaving:
            self._end(keep=not self.link.ended_with_error if self.link else False)

    def link_lost(self, refusal: bytes) -> None:
        """The connection is lost, or could not be made; what was open on it is answered."""
        self.link = None
        self.began = self.waits_at_node = False
        if self.leaving:
            self._end()
        else:
            self.touched = self.watching
            self.aborted = self.aborted or (self.in_multi and not self.watching)
            self.trouble = refusal if not self.watching else b""
        self._wake()

    def is_misplaced(self) -> bool:
        """Whether it waits at a node that does not have its keys any more: nobody would serve it there."""
        if self.link is None or self.link.node.is_retired or self.flow.ring.is_random:
            return False
        argv = arguments(self.waits_for)
        place_of = self.flow.ring.node_of_key
        indices = keys_to_route(argv, self.flow.dialect.book, alone=self.flow.is_alone())
        return {self.flow.places[place_of(argv[at])] for at in indices} != {self.link.node}

    def rehome(self) -> None:
        """The cluster's nodes have changed: who has not begun at one begins at the new ones."""
        if self.link is None:
            self.ring, self.places, self.node = self.flow.ring, self.flow.places, NOWHERE

    def client_lost(self) -> None:
        """The client has gone: what it has begun at the node ends with the connection."""
        self._end(keep=False)

    def ends_input(self) -> bool:
        """
        The client sends no more. Gives True if it was waiting at a node, which has ended now.

        Redis closes such a client, too: who waits is alive only as long as it could say something.
        """
        if not self.waits_at_node:
            return False
        if self.link is not None:
            self.link.forget_client()
        self._end(keep=False)
        self.client.close(FINISHING, "client ended")
        return True

    def drain(self) -> None:
        """The client is to be closed when it has what it is owed: so have the node stop waiting."""
        self.end_wait()

    def end_wait(self, *, with_error: bool = False) -> bool:
        """Have the node answer what waits there, as if its time were over or with an error; False if nothing does."""
        if not self.waits_at_node or self.link is None:
            return False
        return self.pins.end_wait(self.link, with_error=with_error)

    def _end(self, *, keep: bool = True) -> None:
        """It is a client like others again. With `keep` the connection is good for others."""
        self.client.pin = None
        self.waits_for = b""
        self._forget_held()
        self._let_go(keep=keep)

    def _let_go(self, *, keep: bool) -> None:
        link, self.link = self.link, None
        if link is not None:
            (self.pins.give_back if keep else self.pins.end)(link)

    def _forget_held(self) -> None:
        self.held.clear()
        hold_more(-self._held_bytes)
        self._held_bytes = 0


_WORDS: dict[bytes, Callable[[Pinned, Command, Sequence[bytes], bytes], int]] = {
    b"MULTI": Pinned._do_multi,
    b"WATCH": Pinned._do_watch,
    b"UNWATCH": Pinned._do_unwatch,
    b"EXEC": Pinned._do_exec,
    b"DISCARD": Pinned._do_discard,
}
