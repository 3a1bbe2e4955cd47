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
from overlord.proxy.flow.command_errors import NODE_FULL, OUT_OF_MEMORY, CommandRejected
from overlord.proxy.flow.command_row import Join, Kind
from overlord.proxy.flow.cursors import place_of
from overlord.proxy.flow.errand import Errand
from overlord.proxy.flow.keys import keys_to_route, patience_of, row_of
from overlord.proxy.flow.local import NO_SUCH_PROTOCOL, Effect, answer
from overlord.proxy.flow.pinned import Pinned
from overlord.proxy.flow.session import Session
from overlord.proxy.flow.stranger import HTTP_WORDS, Stranger
from overlord.proxy.flow.subscriber import Subscriber
from overlord.wire.resp import arguments, command, split_inline

if cython.compiled:
    from cython.cimports.overlord.hashing.ring import Ring
    from cython.cimports.overlord.proxy.flow.commands import CommandTable
    from cython.cimports.overlord.proxy.flow.join import join_parts
    from cython.cimports.overlord.proxy.flow.parts import (
        ALOUD,
        MUTE,
        NO,
        SETTLING,
        SKIP_NEXT,
        SKIPPED,
        SKIPPING,
        UNKNOWN,
        WAITING,
        Client,
        Flow,
        Link,
        Node,
        Pending,
        Split,
        new_pending,
    )
    from cython.cimports.overlord.wire.buffer import HEAD_ROOM, Buffer, cut, hold
    from cython.cimports.overlord.wire.resp import (
        INCOMPLETE,
        INLINE,
        VIOLATION,
        WHOLE,
        Args,
        RequestScanner,
    )
    from cython.cimports.overlord.wire.stream import FINISH, OPEN
else:
    from overlord.hashing.ring import Ring
    from overlord.proxy.flow.commands import CommandTable
    from overlord.proxy.flow.join import join_parts
    from overlord.proxy.flow.parts import (
        ALOUD,
        MUTE,
        NO,
        SETTLING,
        SKIP_NEXT,
        SKIPPED,
        SKIPPING,
        UNKNOWN,
        WAITING,
        Client,
        Flow,
        Link,
        Node,
        Pending,
        Split,
        new_pending,
    )
    from overlord.wire.buffer import HEAD_ROOM, Buffer, cut, hold
    from overlord.wire.resp import INCOMPLETE, INLINE, VIOLATION, WHOLE, Args, RequestScanner
    from overlord.wire.stream import FINISH, OPEN

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

LARGE_FRAME = cython.declare(cython.Py_ssize_t, 65536)
"""Frames from this size on change hands without being copied, where they can."""
UNPARSED_MARK = cython.declare(cython.Py_ssize_t, 16384)
"""Bytes that a blocked client may send us ahead, before we stop reading from it."""

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
class RedisClient(Client):
    """A client that speaks RESP."""

    def __init__(self, flow: Flow, number: cython.Py_ssize_t) -> None:
        Client.__init__(self, flow, number)
        limits = flow.limits
        self.refusal = b""
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

    def may_take_up(self) -> cython.bint:
        """Whether the next request may be taken up now, or has to wait."""
        return (
            self.in_flight < self.limit()
            and not self.has_unread()
            and not self.waits
            and (self.muting != SKIPPED or self.in_flight == 0)
        )

    def has_settled(self) -> cython.bint:
        """Whether it waited for what was asked before the nodes changed, and may go on now."""
        if self.waits & SETTLING and self.in_flight == 0:
            self.waits &= ~SETTLING
            return self.may_take_up()
        return False

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
            if not self.may_take_up() and not self.has_settled():
                self.blocked = True
                if self.in_flight >= self.flow.window_max:
                    self.flow.hit("window_max")
                break
            if self.muting == SKIPPED:
                self.muting = ALOUD
            found = scanner.scan(p, at, end)
            if found == WHOLE:
                if self.request(p, at, at + scanner.length) == 0:
                    self.blocked = True
                    break
            elif found == INCOMPLETE:
                if scanner.whole > LARGE_FRAME and self.flow.over_budget(
                    scanner.whole - (end - at)
                ):
                    self.flow.hit("max_memory")
                    self.end_with(OUT_OF_MEMORY, "max_memory reached")
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
        self.wanted = scanner.whole if not self.blocked else 0
        self.set_paused(self.ended or (self.blocked and end - at >= UNPARSED_MARK))
        return at

    def go_on(self) -> object:
        """Take up what waited."""
        if not self.gone and self.closing == OPEN and not self.draining:
            self.feed_incoming()
            if self.in_flight == 0 and self.blocked and not self.has_unread():
                # Nobody else will wake it: all it is owed was answered while it was fed.
                if not self.waits:
                    self.outbox.add_hungry(self)
            else:
                self.finish_if_done()
        return None

    def end_with(self, error: bytes, reason: str) -> None:
        """Say why, in turn, and close when all is said."""
        self.flow.errors += 1
        self.reason = reason
        self.say(error)
        self.draining = True
        self.blocked = False
        self.set_paused(True)
        if self.in_flight == 0:
            self.close(FINISH, reason)

    def request(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Take up the request `p[start:end]`. Gives 0 if it has to wait, and is not used up."""
        flow: Flow = self.flow
        scanner: RequestScanner = self.scanner
        table: CommandTable = flow.table
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
                    return self._forward(
                        flow.ring.node_of(p, start + scanner.key_start, start + scanner.key_end),
                        table.command_class[row],
                        p,
                        start,
                        end,
                    )
                if row == flow.ping_row and scanner.argc == 1:
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
        args: Args = flow.args
        first: cython.int
        if kind == KIND_PUBLISH:
            flow.requests += 1
            return self._forward(
                flow.ring.node_of(p, start + self.scanner.key_start, start + self.scanner.key_end),
                flow.table.command_class[row],
                p,
                start,
                end,
            )
        if kind == KIND_MGET:
            return self._split(JOIN_VALUES, 1, flow.table.command_class[row], p, start, end)
        if kind == KIND_SUM:
            return self._split(JOIN_SUM, 1, flow.table.command_class[row], p, start, end)
        if kind == KIND_MSET and self.scanner.argc % 2 == 1:
            return self._split(JOIN_ALL_OK, 2, flow.table.command_class[row], p, start, end)
        if kind == KIND_KEY:
            args.read(p, start, end)
            first = flow.table.first[row]
            if first < args.count:
                flow.requests += 1
                return self._forward(
                    flow.ring.node_of(p, args.start_of(first), args.end_of(first)),
                    flow.table.command_class[row],
                    p,
                    start,
                    end,
                )
        if kind == KIND_KEYS:
            return self._keys(row, p, start, end)
        return self._slowly(p, start, end)

    def _usable(self, node: Node) -> Link:
        """The link to this node for the next request; None if there is none that takes one."""
        flow: Flow = self.flow
        link: Link = node.link_for(self)
        if link is None:
            self.refusal = node.refusal()
        elif link.outgoing.size() > flow.node_max_unsent:
            flow.hit("node_max_unsent")
            self.refusal = NODE_FULL
        elif flow.over_budget(0):
            flow.hit("max_memory")
            self.refusal = OUT_OF_MEMORY
        else:
            return link
        node.failures += 1
        return None

    def _forward(
        self,
        index: cython.int,
        command_class: cython.int,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """Send `p[start:end]` to a node as it is."""
        node: Node = self.flow.nodes[index]
        link: Link = self._usable(node)
        pending: Pending
        incoming: Buffer
        if link is None:
            self.flow.errors += 1
            self.say(self.refusal)
            return 1
        if link.in_flight >= self.flow.node_queue:
            self.flow.requests -= 1  # it is counted when it comes again
            return self._wait_for_place(link)
        pending = new_pending()
        pending.client = self
        pending.command_class = command_class
        pending.since = self.outbox.now
        incoming = self.incoming
        if (
            end - start >= LARGE_FRAME
            and self.in_incoming
            and not self.stolen
            and start == incoming.start
            and end == incoming.end
            and link.outgoing.size() == 0
        ):
            link.outgoing.swap(incoming)
            incoming.clear()
            self.stolen = True
        else:
            link.outgoing.append(p, start, end)
        # In line only now that the frame is: when memory runs out above, no line may be longer than its frames.
        self.append_pending(pending)
        link.push(pending)
        node.requests += 1
        link.touch()
        return 1

    def _wait_for_place(self, link: Link) -> cython.int:
        """Take nothing up until the link's line is half empty. Gives 0, as `request` then does."""
        self.flow.hit("node_pipe_count")
        self.waits |= WAITING
        link.waiters.append(self)
        return 0

    def _keys(
        self,
        row: cython.int,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """Send a command with several keys to their node, if they are all on one."""
        flow: Flow = self.flow
        args: Args = flow.args
        at: cython.Py_ssize_t
        last: cython.Py_ssize_t
        step: cython.Py_ssize_t = flow.table.step[row]
        index: cython.int = -1
        other: cython.int
        args.read(p, start, end)
        at = flow.table.first[row]
        last = flow.table.last[row]
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
                self._refuse_cross_node(flow.table.row(row).fullname)
                return 1
            at += step
        flow.requests += 1
        return self._forward(index, flow.table.command_class[row], p, start, end)

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
        split: Split
        link: Link
        only: cython.int
        count: cython.Py_ssize_t
        part_class: cython.int
        name_size: cython.Py_ssize_t
        flow.requests += 1
        flow.args.read(p, start, end)
        count = (flow.args.count - 1) // step
        only = self._only_node(step, count, p)
        if only >= 0:
            return self._forward(only, command_class, p, start, end)
        split = Split(join, count)
        split.client = self
        split.command_class = CLASS_SPLIT
        nodes: list = self._share_out(split, step, p)
        link = self._full_link(nodes)
        if link is not None:
            flow.requests -= 1  # it is counted when it comes again
            return self._wait_for_place(link)
        name_size = flow.args.header(1) - flow.args.header(0)
        part_class = CLASS_MGET_PART if join == JOIN_VALUES else CLASS_PART
        self._line_up(split, nodes, HEAD_ROOM + name_size, part_class)
        self._begin_parts(nodes, step, p)
        self._fill_parts(split, nodes, step, p)
        return self._parts_are_sent(split, nodes)

    def _full_link(self, nodes: list) -> Link:
        """A link to one of these nodes that has no place for a request of this client; None if all have."""
        node: Node
        link: Link
        for node in nodes:
            link = node.link_for(self)
            if link is not None and link.in_flight >= self.flow.node_queue:
                return link
        return None

    def _parts_are_sent(self, split: Split, nodes: list) -> cython.int:
        """All that could be sent was: answer at once if no node is asked. Gives 1, as `request` then does."""
        node: Node
        for node in nodes:
            node.part_link = None
        if split.left == 0:
            join_parts(split)
        return 1

    def _ask_each(self, split: Split, nodes: list, frame: bytes) -> cython.int:
        """Send each of these nodes the same; their replies are joined as `split` says."""
        flow: Flow = self.flow
        node: Node
        index: cython.Py_ssize_t
        link: Link = self._full_link(nodes)
        if link is not None:
            return self._wait_for_place(link)
        flow.requests += 1
        split.client = self
        for index in range(len(nodes)):
            node = nodes[index]
            node.part = index
            node.part_size = len(frame)
        split.command_class = CLASS_ALL_NODES
        self._line_up(split, nodes, 0, CLASS_PART)
        for node in nodes:
            if node.part_link is not None:
                node.part_link.outgoing.append(frame, 0, len(frame))
        return self._parts_are_sent(split, nodes)

    def _scan(self, argv: list) -> cython.int:
        """Send SCAN to the node whose turn it is, as its cursor says."""
        flow: Flow = self.flow
        split: Split = Split(JOIN_CURSOR, 0)
        split.nodes = len(flow.live)
        split.mark = flow.scan_mark
        place = place_of(argv[1], split.nodes, split.mark)
        split.node = place.node
        frame: bytes = command([argv[0], b"%d" % place.cursor, *argv[2:]])
        return self._ask_each(split, [flow.live[place.node]], frame)

    def _only_node(
        self, step: cython.Py_ssize_t, count: cython.Py_ssize_t, p: cython.p_const_uchar
    ) -> cython.int:
        """The one node that a command with these `count` keys goes to as it is; -1 if there are several."""
        ring: Ring = self.flow.ring
        args: Args = self.flow.args
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
        args: Args = flow.args
        owners: bytearray = split.owners
        nodes: list = []
        node: Node
        index: cython.Py_ssize_t
        at: cython.Py_ssize_t = 1
        flow.serial += 1
        for index in range(split.count):
            node = flow.nodes[flow.ring.node_of(p, args.start_of(at), args.end_of(at))]
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

    def _line_up(
        self, split: Split, nodes: list, room: cython.Py_ssize_t, part_class: cython.int
    ) -> cython.int:
        """
        Put a Pending into the line of a link to each node; a node that takes none has an error for a reply.

        There is room for the parts' frames afterwards, `room` more bytes than each one's `part_size`: what
        can run out of memory comes first, for a part of a frame on a link would ruin the link.
        """
        node: Node
        link: Link
        pending: Pending
        for node in nodes:
            pending = new_pending()
            split.parts.append(pending)
            link = self._usable(node)
            node.part_link = link
            if link is None:
                pending.reply = self.refusal
                pending.done = True
                split.failed = True
            else:
                pending.parent = split
                pending.command_class = part_class
                pending.since = self.outbox.now
                link.outgoing.reserve(room + node.part_size)
        self.flow.splits += 1
        split.since = self.outbox.now
        self.append_pending(split)
        for node in nodes:
            pending = split.parts[node.part]
            link = node.part_link
            if link is None:
                split.cursor += len(pending.reply)
                self.retained += len(pending.reply)
                hold(len(pending.reply))
                continue
            split.left += 1
            link.push(pending)
            node.requests += 1
            link.touch()
        return 0

    def _begin_parts(
        self, nodes: list, step: cython.Py_ssize_t, p: cython.p_const_uchar
    ) -> cython.int:
        """Begin each part's frame: how many arguments, and the name."""
        args: Args = self.flow.args
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
        args: Args = self.flow.args
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
        argv = arguments(cut(p, start, end))
        try:
            row = row_of(argv, flow.book)
            if row.kind == Kind.LOCAL:
                self.last_row = flow.table.places[row.name]
                if self.in_flight > 0 and row.name in AFTER_REPLIES:
                    return 0
                return self._locally([row.name.partition(b"|")[0], *argv[1:]])
            if row.kind == Kind.SCAN:
                return self._scan(argv)
            if row.join is Join.ANY_OK:
                return self._send_errand(row.fullname, argv, cut(p, start, end))
            if row.kind == Kind.EVERY:
                nodes = flow.nodes if row.name in WHOLE_CLUSTER else flow.live
                return self._ask_each(Split(int(row.join), 0), nodes, cut(p, start, end))
            if row.kind == Kind.TRANSACTION or patience_of(row, argv) is not None:
                return self._take_pin(argv, cut(p, start, end))
            if row.kind == Kind.SUBSCRIBE:
                return self._subscribe(row.name, argv)
            indices = keys_to_route(argv, flow.book, alone=flow.is_alone())
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
            return self._forward(self._any_node(), class_of(row), p, start, end)
        index = flow.ring.node_of_key(argv[indices[0]])
        for at in indices[1:]:
            if not flow.ring.is_random and flow.ring.node_of_key(argv[at]) != index:
                if row.kind == Kind.MSET:  # a key without a value, or it had been split
                    flow.errors += 1
                    self.say(command_errors.wrong_arity(row.fullname))
                else:
                    self._refuse_cross_node(row.fullname)
                return 1
        return self._forward(index, class_of(row), p, start, end)

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
        """The node for what any node can answer: always the same for this client while it is up."""
        nodes: list = self.flow.live
        count: cython.Py_ssize_t = len(nodes)
        turn: cython.Py_ssize_t
        node: Node
        for turn in range(count):
            node = nodes[(self.number + turn) % count]
            if node.is_up():
                return node.index
        node = nodes[self.number % count]
        return node.index

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
            self.draining = True
            self.set_paused(True)
            if self.in_flight == 0:
                self.close(FINISH, "client said QUIT")
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
