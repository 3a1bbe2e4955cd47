"""
From a client's bytes to writes for nodes: the first half of a request's way.

    bytes -> RequestScanner -> a command's name and first key -> its row in the table
          -> one key: ring -> node -> link -> the frame, as it came, into `link.outgoing`
          -> many keys: the same for each, then one frame, or one for each node (a Split)
          -> no key: an answer of our own

What needs the arguments as Python objects (errors, local commands, odd key positions) goes the slow way,
`_slowly`; the other ways create no Python object but the Pending.
"""

from __future__ import annotations

import cython

from overlord.errors import ProtocolError
from overlord.proxy.flow import command_errors
from overlord.proxy.flow.command_class import CommandClass, class_of
from overlord.proxy.flow.command_errors import CommandRejected
from overlord.proxy.flow.command_row import Join, Kind
from overlord.proxy.flow.cursors import place_of
from overlord.proxy.flow.errand import Errand
from overlord.proxy.flow.keys import keys_to_route, patience_of, row_of
from overlord.proxy.flow.local import NO_SUCH_PROTOCOL, Effect, answer
from overlord.proxy.flow.local_cluster import slot_asked
from overlord.proxy.flow.pinned import Pinned
from overlord.proxy.flow.session import Session
from overlord.proxy.flow.stranger import HTTP_WORDS, Stranger
from overlord.proxy.flow.subscriber import Subscriber
from overlord.wire.resp import arguments, command, split_inline

if cython.compiled:
    from cython.cimports.overlord.hashing.ring import Ring
    from cython.cimports.overlord.proxy.flow.client import ProxiedClient
    from cython.cimports.overlord.proxy.flow.commands import CommandTable
    from cython.cimports.overlord.proxy.flow.dialect import RedisDialect
    from cython.cimports.overlord.proxy.flow.join import join_parts
    from cython.cimports.overlord.proxy.flow.parts import (
        ALOUD,
        MUTE,
        NO,
        SKIP_NEXT,
        SKIPPED,
        SKIPPING,
        UNKNOWN,
        WAITING,
        Client,
        Flow,
        Link,
        Node,
        Split,
        new_split,
    )
    from cython.cimports.overlord.wire.buffer import HEAD_ROOM, cut
    from cython.cimports.overlord.wire.resp import (
        INCOMPLETE,
        INLINE,
        VIOLATION,
        WHOLE,
        Args,
        RequestScanner,
    )
    from cython.cimports.overlord.wire.stream import OPEN
else:
    from overlord.hashing.ring import Ring
    from overlord.proxy.flow.client import ProxiedClient
    from overlord.proxy.flow.commands import CommandTable
    from overlord.proxy.flow.dialect import RedisDialect
    from overlord.proxy.flow.join import join_parts
    from overlord.proxy.flow.parts import (
        ALOUD,
        MUTE,
        NO,
        SKIP_NEXT,
        SKIPPED,
        SKIPPING,
        UNKNOWN,
        WAITING,
        Client,
        Flow,
        Link,
        Node,
        Split,
        new_split,
    )
    from overlord.wire.buffer import HEAD_ROOM, cut
    from overlord.wire.resp import INCOMPLETE, INLINE, VIOLATION, WHOLE, Args, RequestScanner
    from overlord.wire.stream import OPEN

KIND_KEY = cython.declare(cython.int, int(Kind.KEY))
KIND_KEYS = cython.declare(cython.int, int(Kind.KEYS))
KIND_MGET = cython.declare(cython.int, int(Kind.MGET))
KIND_MSET = cython.declare(cython.int, int(Kind.MSET))
KIND_PUBLISH = cython.declare(cython.int, int(Kind.PUBLISH))
KIND_SUM = cython.declare(cython.int, int(Kind.SUM))
JOIN_VALUES = cython.declare(cython.int, int(Join.VALUES))
JOIN_ALL_OK = cython.declare(cython.int, int(Join.ALL_OK))
JOIN_SUM = cython.declare(cython.int, int(Join.SUM))
JOIN_CURSOR = cython.declare(cython.int, int(Join.CURSOR))
CLASS_SPLIT = cython.declare(cython.int, int(CommandClass.SPLIT))
CLASS_ALL_NODES = cython.declare(cython.int, int(CommandClass.ALL_NODES))
CLASS_PART = cython.declare(cython.int, int(CommandClass.PART))
CLASS_MGET_PART = cython.declare(cython.int, int(CommandClass.MGET_PART))

BOUNDLESS = 1 << 62

ARRAY = cython.declare(cython.int, 42)
PONG = cython.declare(bytes, b"+PONG\r\n")
AFTER_REPLIES = (b"HELLO", b"RESET", b"CLIENT|REPLY")
"""
Commands before which all that came earlier has to be answered: after them a client may use other links, or gets
no replies.
"""
WHILE_WATCHING = "while keys are watched"
WHOLE_CLUSTER = frozenset(
    (b"FLUSHALL", b"FLUSHDB", b"FUNCTION|DELETE", b"FUNCTION|FLUSH", b"SCRIPT|FLUSH")
)
"""
What goes to ejected nodes as well: it takes something away, and a node that came back without having heard
of it would bring that back.
"""


@cython.cclass
class RedisClient(ProxiedClient):
    """A client that speaks RESP."""

    def __init__(self, flow: Flow, number: cython.Py_ssize_t) -> None:
        ProxiedClient.__init__(self, flow, number)
        self.dialect: RedisDialect = flow.dialect
        limits = flow.limits
        self.scanner = RequestScanner(
            limits.max_inline, limits.max_args, limits.max_arg_size, limits.max_request
        )
        if flow.facts.password_digest:
            self._greet_stranger()

    def _greet_stranger(self) -> None:
        """Let this client do and cost little until it gives the password."""
        self.is_stranger = True
        self.pin = Stranger(self)
        self._restrict()
        self.bear_unread(BOUNDLESS)  # the Stranger closes who reads nothing

    def _restrict(self) -> None:
        limits = self.flow.limits
        self.scanner.restrict(limits.unauthenticated_max_args, limits.unauthenticated_max_arg_size)

    def _let_in(self) -> None:
        """It has given the password: no question is asked any more."""
        self.is_stranger = False
        self.pin = None
        self.scanner.unrestrict()
        self.bear_unread(0)

    def introduce(self) -> Session:
        """What is known about this client."""
        if self.session is None:
            self.session = self.flow.facts.new_session(self)
            self.session.is_stranger = self.is_stranger
        return self.session

    def join(self, split: Split) -> cython.int:
        """All parts of a split command are answered."""
        return join_parts(split)

    def may_take_up(self) -> cython.bint:
        """Whether the next request may be taken up now, or has to wait."""
        return (
            self.in_flight < self.limit()
            and not self.has_unread()
            and not self.waits
            and (self.muting != SKIPPED or self.in_flight == 0)
        )

    def take_limits(self) -> None:
        """The bounds of its cluster have changed: what comes next is held to the new ones."""
        limits = self.flow.limits
        self.scanner.set_bounds(
            limits.max_inline, limits.max_args, limits.max_arg_size, limits.max_request
        )
        self.window = min(self.window, limits.window_max)
        if self.is_stranger and self.flow.facts.password_digest:
            self._restrict()
        elif self.is_stranger:
            self._let_in()  # nobody is asked for a password any more
            if self.session is not None:
                self.session.is_stranger = False

    def feed(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Take up the requests in `p[start:end]`, as many as may be in flight."""
        at: cython.Py_ssize_t = start
        found: cython.int
        scanner: RequestScanner = self.scanner
        if self.draining or self.gone:
            return end
        self.blocked = False
        self.heard_at = self.flow.now
        while at < end:
            if self.must_wait():
                break
            if self.muting == SKIPPED:
                self.muting = ALOUD
            found = scanner.scan(p, at, end)
            if found == WHOLE:
                if self.request(p, at, at + scanner.length) == 0:
                    self.blocked = True
                    break
            elif found == INCOMPLETE:
                if self.lacks_memory(scanner.whole, end - at):
                    return end
                break
            elif found == INLINE:
                if self._inline(p, at, at + scanner.length) == 0:
                    self.blocked = True
                    break
            elif found == VIOLATION:
                if scanner.broken_bound:
                    self.flow.hit(scanner.broken_bound)
                self.end_with(
                    f"-ERR Protocol error: {scanner.violation.reason}\r\n".encode(),
                    "protocol error",
                )
                return end
            if self.closing != OPEN or self.gone or self.draining:
                return end
            if self.muting == SKIP_NEXT or self.muting == SKIPPING:
                self.muting += 1
            at += scanner.length
        return self.leave_rest(scanner.whole, at, end)

    def request(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Take up the request `p[start:end]`. Gives 0 if it has to wait, and is not used up."""
        flow: Flow = self.flow
        dialect: RedisDialect = self.dialect
        scanner: RequestScanner = self.scanner
        table: CommandTable = dialect.table
        row: cython.int
        kind: cython.int
        arity: cython.int
        row = table.find(p, start + scanner.name_start, start + scanner.name_end)
        self.last_row = row
        if self.subscriber is not None and self.protocol == 2:
            taken = self.subscriber.take_up(arguments(cut(p, start, end)))
            if taken >= 0:
                return taken
        if self.pin is not None:
            taken = self.pin.take_up(arguments(cut(p, start, end)), cut(p, start, end))
            if taken >= 0:
                return taken
        if row >= 0:
            kind = table.kind[row]
            arity = table.arity[row]
            if (scanner.argc == arity) if arity >= 0 else (scanner.argc >= -arity):
                if kind == KIND_KEY and table.first[row] == 1:
                    flow.requests += 1
                    return self.forward(
                        flow.ring.node_of(p, start + scanner.key_start, start + scanner.key_end),
                        table.command_class[row],
                        p,
                        start,
                        end,
                    )
                if row == dialect.ping_row and scanner.argc == 1:
                    flow.requests += 1
                    flow.local_answers += 1
                    self.say(PONG)
                    return 1
                return self._route(row, kind, p, start, end)
        return self._slowly(p, start, end)

    def _route(
        self,
        row: cython.int,
        kind: cython.int,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """Take up a command of known name and right number of arguments."""
        flow: Flow = self.flow
        dialect: RedisDialect = self.dialect
        args: Args = dialect.args
        first: cython.int
        if kind == KIND_PUBLISH:
            flow.requests += 1
            return self.forward(
                flow.ring.node_of(p, start + self.scanner.key_start, start + self.scanner.key_end),
                dialect.table.command_class[row],
                p,
                start,
                end,
            )
        if kind == KIND_MGET:
            return self._split(JOIN_VALUES, 1, dialect.table.command_class[row], p, start, end)
        if kind == KIND_SUM:
            return self._split(JOIN_SUM, 1, dialect.table.command_class[row], p, start, end)
        if kind == KIND_MSET and self.scanner.argc % 2 == 1:
            return self._split(JOIN_ALL_OK, 2, dialect.table.command_class[row], p, start, end)
        if kind == KIND_KEY:
            args.read(p, start, end)
            first = dialect.table.first[row]
            if first < args.count:
                flow.requests += 1
                return self.forward(
                    flow.ring.node_of(p, args.start_of(first), args.end_of(first)),
                    dialect.table.command_class[row],
                    p,
                    start,
                    end,
                )
        if kind == KIND_KEYS:
            return self._keys(row, p, start, end)
        return self._slowly(p, start, end)

    def _keys(
        self,
        row: cython.int,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """Send a command with several keys to their node, if they are all on one."""
        flow: Flow = self.flow
        dialect: RedisDialect = self.dialect
        args: Args = dialect.args
        at: cython.Py_ssize_t
        last: cython.Py_ssize_t
        step: cython.Py_ssize_t = dialect.table.step[row]
        index: cython.int = -1
        other: cython.int
        args.read(p, start, end)
        at = dialect.table.first[row]
        last = dialect.table.last[row]
        if last < 0:
            last += args.count
        if at > last or last >= args.count or step <= 0:
            return self._slowly(p, start, end)
        while at <= last:
            other = flow.ring.node_of(p, args.start_of(at), args.end_of(at))
            if index < 0:
                index = other
            if flow.ring.is_random:
                break
            if other != index:
                flow.requests += 1
                self._refuse_cross_node(dialect.table.row(row).fullname)
                return 1
            at += step
        flow.requests += 1
        return self.forward(index, dialect.table.command_class[row], p, start, end)

    def _refuse_cross_node(self, name: str) -> None:
        self.flow.refused("cross-node")
        self.flow.errors += 1
        self.say(command_errors.cross_node(name))

    def _split(
        self,
        join: cython.int,
        step: cython.Py_ssize_t,
        command_class: cython.int,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """
        Send each node the keys that it has, `step` arguments for each key, in the order of the request.

        The parts' frames grow side by side in the links' buffers: first all heads, then one pass over the
        arguments. A node that takes no request answers its part with an error at once.
        """
        flow: Flow = self.flow
        dialect: RedisDialect = self.dialect
        split: Split
        link: Link
        only: cython.int
        count: cython.Py_ssize_t
        part_class: cython.int
        name_size: cython.Py_ssize_t
        flow.requests += 1
        dialect.args.read(p, start, end)
        count = (dialect.args.count - 1) // step
        only = self._only_node(step, count, p)
        if only >= 0:
            return self.forward(only, command_class, p, start, end)
        split = new_split(join, count)
        split.client = self
        split.command_class = CLASS_SPLIT
        nodes: list = self._share_out(split, step, p)
        link = self.full_link(nodes)
        if link is not None:
            flow.requests -= 1  # it is counted when it comes again
            return self.wait_for_place(link)
        name_size = dialect.args.header(1) - dialect.args.header(0)
        part_class = CLASS_MGET_PART if join == JOIN_VALUES else CLASS_PART
        self.line_up(split, nodes, HEAD_ROOM + name_size, part_class)
        self._begin_parts(nodes, step, p)
        self._fill_parts(split, nodes, step, p)
        return self.parts_are_sent(split, nodes)

    def _scan(self, argv: list) -> cython.int:
        """Send SCAN to the node whose turn it is, as its cursor says."""
        flow: Flow = self.flow
        split: Split = Split(JOIN_CURSOR, 0)
        split.nodes = len(flow.live)
        split.mark = self.dialect.scan_mark
        place = place_of(argv[1], split.nodes, split.mark)
        split.node = place.node
        frame: bytes = command([argv[0], b"%d" % place.cursor, *argv[2:]])
        return self.ask_each(split, [flow.live[place.node]], frame)

    def _only_node(
        self, step: cython.Py_ssize_t, count: cython.Py_ssize_t, p: cython.p_const_uchar
    ) -> cython.int:
        """The one node that a command with these `count` keys goes to as it is; -1 if there are several."""
        ring: Ring = self.flow.ring
        args: Args = self.dialect.args
        only: cython.int = ring.node_of(p, args.start_of(1), args.end_of(1))
        at: cython.Py_ssize_t
        if ring.is_random:
            return only
        for at in range(1 + step, 1 + count * step, step):
            if ring.node_of(p, args.start_of(at), args.end_of(at)) != only:
                return -1
        return only

    def _share_out(
        self, split: Split, step: cython.Py_ssize_t, p: cython.p_const_uchar
    ) -> list[Node]:
        """The nodes that have a part of it, in the order of their first keys; `owners` are noted."""
        flow: Flow = self.flow
        dialect: RedisDialect = self.dialect
        args: Args = dialect.args
        owners: bytearray = split.owners
        nodes: list = []
        node: Node
        index: cython.Py_ssize_t
        at: cython.Py_ssize_t = 1
        flow.serial += 1
        for index in range(split.count):
            node = flow.places[flow.ring.node_of(p, args.start_of(at), args.end_of(at))]
            if node.mark != flow.serial:
                node.mark = flow.serial
                node.part = len(nodes)
                node.part_keys = 0
                node.part_size = 0
                nodes.append(node)
            node.part_keys += 1
            node.part_size += args.header(at + step) - args.header(at)
            owners[2 * index] = node.part & 255
            owners[2 * index + 1] = node.part >> 8
            at += step
        return nodes

    def _begin_parts(
        self, nodes: list, step: cython.Py_ssize_t, p: cython.p_const_uchar
    ) -> cython.int:
        """Begin each part's frame: how many arguments, and the name."""
        args: Args = self.dialect.args
        node: Node
        link: Link
        for node in nodes:
            link = node.part_link
            if link is not None:
                link.outgoing.append_head(ARRAY, node.part_keys * step + 1)
                link.outgoing.append(p, args.header(0), args.header(1))
        return 0

    def _fill_parts(
        self, split: Split, nodes: list, step: cython.Py_ssize_t, p: cython.p_const_uchar
    ) -> cython.int:
        """Add to each part's frame what it has of the arguments."""
        args: Args = self.dialect.args
        owners: bytearray = split.owners
        node: Node
        index: cython.Py_ssize_t
        at: cython.Py_ssize_t = 1
        for index in range(split.count):
            node = nodes[owners[2 * index] | (owners[2 * index + 1] << 8)]
            if node.part_link is not None:
                node.part_link.outgoing.append(p, args.header(at), args.header(at + step))
            at += step
        return 0

    def _slowly(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Take up a command with its arguments as Python objects: local, rare, or wrong."""
        flow: Flow = self.flow
        dialect: RedisDialect = self.dialect
        argv = arguments(cut(p, start, end))
        try:
            row = row_of(argv, self.dialect.book)
            if row.kind == Kind.LOCAL:
                self.last_row = dialect.table.places[row.name]
                if self.in_flight > 0 and row.name in AFTER_REPLIES:
                    return 0
                if row.name == b"CLUSTER" and flow.facts.poses:
                    slot = slot_asked(argv)
                    if slot is not None:
                        # Where clients are shown a cluster, slots are the places of the ring.
                        flow.requests += 1
                        return self.forward(slot, class_of(row), p, start, end)
                return self._locally([row.name.partition(b"|")[0], *argv[1:]])
            if row.kind == Kind.SCAN:
                return self._scan(argv)
            if row.join is Join.ANY_OK:
                return self._send_errand(row.fullname, argv, cut(p, start, end))
            if row.kind == Kind.EVERY:
                nodes = flow.holders() if row.name in WHOLE_CLUSTER else flow.live
                return self.ask_each(Split(int(row.join), 0), nodes, cut(p, start, end))
            if row.kind == Kind.TRANSACTION or patience_of(row, argv) is not None:
                return self._take_pin(argv, cut(p, start, end))
            if row.kind == Kind.SUBSCRIBE:
                return self._subscribe(row.name, argv)
            indices = keys_to_route(argv, self.dialect.book, alone=flow.is_alone())
        except CommandRejected as rejected:
            if argv[0].upper() in HTTP_WORDS:
                flow.refused("http")
                self.end_with(b"-ERR this is not an HTTP server\r\n", "HTTP on a Redis port")
                return 1
            flow.requests += 1
            flow.errors += 1
            self.say(rejected.reply)
            return 1
        flow.requests += 1
        if not indices:
            return self.forward(self._any_node(), class_of(row), p, start, end)
        index = flow.ring.node_of_key(argv[indices[0]])
        for at in indices[1:]:
            if not flow.ring.is_random and flow.ring.node_of_key(argv[at]) != index:
                if row.kind == Kind.MSET:  # a key without a value, or it had been split
                    flow.errors += 1
                    self.say(command_errors.wrong_arity(row.fullname))
                else:
                    self._refuse_cross_node(row.fullname)
                return 1
        return self.forward(index, class_of(row), p, start, end)

    def _take_pin(self, argv: list, frame: bytes) -> cython.int:
        """Take up a command that needs a connection of this client's own."""
        if self.in_flight > 0:
            return 0
        self.pin = Pinned(self)
        return self.pin.take_up(argv, frame)

    def _send_errand(self, name: str, argv: list, frame: bytes) -> cython.int:
        """Take up a command that must not wait behind others at the nodes."""
        if self.in_flight > 0:
            return 0
        if self.pin is not None:
            raise CommandRejected(command_errors.refused(name, WHILE_WATCHING))
        self.pin = Errand(self)
        return self.pin.take_up(argv, frame)

    def _subscribe(self, word: bytes, argv: list) -> cython.int:
        """Take up a command that says what this client listens to."""
        if self.in_flight > 0:
            return 0
        if self.subscriber is None:
            self.subscriber = Subscriber(self)
        return self.subscriber.carry_out(word, argv[1:])

    def end_of_input(self) -> object:
        """It has ended its side."""
        if self.pin is not None and self.pin.ends_input():
            return None
        return Client.end_of_input(self)

    def _any_node(self) -> cython.int:
        """The place of a node for what any node can answer: always the same for this client while it is up."""
        nodes: list = self.flow.live
        count: cython.Py_ssize_t = len(nodes)
        turn: cython.Py_ssize_t
        node: Node
        for turn in range(count):
            node = nodes[(self.number + turn) % count]
            if node.is_up():
                return self.flow.first_place + node.index
        node = nodes[self.number % count]
        return self.flow.first_place + node.index

    def _locally(self, argv: list) -> int:
        """Answer a command without a node."""
        flow: Flow = self.flow
        if argv[0] == b"HELLO" and len(argv) > 1 and argv[1] == b"3":
            known = flow.knows_resp3()
            if known == UNKNOWN:
                self.waits |= WAITING
                flow.protocol_waiters.append(self)
                return 0
            if known == NO:
                flow.requests += 1
                self.say(NO_SUCH_PROTOCOL)
                return 1
        flow.requests += 1
        flow.local_answers += 1
        session = self.introduce()
        was_stranger = session.is_stranger
        if self.subscriber is not None and argv[0] == b"RESET":
            self.subscriber.leave_all()
        result = answer(argv, session, flow.facts)
        if result.effect == Effect.REPLY_ON or argv[0] == b"RESET":
            self.muting = ALOUD
        elif result.effect == Effect.REPLY_OFF:
            self.muting = MUTE
        elif result.effect == Effect.REPLY_SKIP and self.muting == ALOUD:
            self.muting = SKIP_NEXT
        self.say(result.reply)
        flow.note_refusal(result.reply)
        if session.is_stranger != was_stranger:
            if was_stranger:
                self._let_in()
            else:
                self._greet_stranger()
        if result.effect == Effect.CLOSE:
            self.take_leave("client said QUIT")
        elif result.effect == Effect.PROTOCOL_3:
            self.protocol = self.session.protocol = 3
        elif result.effect == Effect.PROTOCOL_2:
            self.protocol = self.session.protocol = 2
        return 1

    def _inline(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Take up an inline command: as an ordinary one."""
        length: cython.Py_ssize_t = self.scanner.length
        taken: cython.int
        was_in_incoming: cython.bint
        try:
            args = split_inline(cut(p, start, end))
        except ProtocolError as error:
            self.end_with(f"-ERR Protocol error: {error.reason}\r\n".encode(), "protocol error")
            return 1
        if not args:
            return 1
        frame: bytes = command(args)
        was_in_incoming = self.in_incoming
        self.in_incoming = False
        try:
            if self.scanner.scan_freely(frame, 0, len(frame)) == WHOLE:
                taken = self.request(frame, 0, len(frame))
            else:
                self.end_with(
                    b"-ERR Protocol error: too many or too large arguments\r\n", "protocol error"
                )
                taken = 1
        finally:
            self.in_incoming = was_in_incoming
            self.scanner.length = length
        return taken
