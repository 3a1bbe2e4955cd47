"""
What clients of all protocols have in common: their requests go to nodes, in order and within bounds.

    request -> usable_link (a link that takes it, or why none does) -> forward: its frame into `link.outgoing`
            -> several nodes: full_link, line_up (a Pending in each link's line), then frames, parts_are_sent

What a request is, which node it belongs to, and what an error looks like is for the subclasses.
"""

from __future__ import annotations

import cython

from overlord.proxy.flow.command_class import CommandClass

if cython.compiled:
    from cython.cimports.overlord.proxy.flow.parts import (
        LOGIN,
        SETTLING,
        WAITING,
        Client,
        Flow,
        Link,
        Node,
        Pending,
        Split,
        new_pending,
    )
    from cython.cimports.overlord.wire.buffer import Buffer, hold
    from cython.cimports.overlord.wire.stream import FINISH, OPEN
else:
    from overlord.proxy.flow.parts import (
        LOGIN,
        SETTLING,
        WAITING,
        Client,
        Flow,
        Link,
        Node,
        Pending,
        Split,
        new_pending,
    )
    from overlord.wire.buffer import Buffer, hold
    from overlord.wire.stream import FINISH, OPEN

CLASS_ALL_NODES = cython.declare(cython.int, int(CommandClass.ALL_NODES))
CLASS_PART = cython.declare(cython.int, int(CommandClass.PART))
LARGE_FRAME = cython.declare(cython.Py_ssize_t, 65536)
"""Frames from this size on change hands without being copied, where they can."""
UNPARSED_MARK = cython.declare(cython.Py_ssize_t, 16384)
"""Bytes that a blocked client may send us ahead, before we stop reading from it."""

OUT_OF_MEMORY = "the proxy's memory budget (max_memory) is used up"
NODE_FULL = "node unavailable: it takes up what it is sent too slowly"


@cython.cclass
class ProxiedClient(Client):
    """
    A client whose requests are forwarded to nodes.

    Attributes:
        refusal: why `usable_link` has found none, in words for the client.
    """

    def __init__(self, flow: Flow, number: cython.Py_ssize_t) -> None:
        Client.__init__(self, flow, number)
        self.refusal = ""

    def may_take_up(self) -> cython.bint:
        """Whether the next request may be taken up now, or has to wait."""
        return self.in_flight < self.limit() and not self.has_unread() and not self.waits

    def has_settled(self) -> cython.bint:
        """Whether it waited for what was asked before the nodes changed, and may go on now."""
        if self.waits & SETTLING and self.in_flight == 0:
            self.waits &= ~SETTLING
            return self.may_take_up()
        return False

    def must_wait(self) -> cython.bint:
        """Whether the next request has to wait, which is noted; called before each."""
        if self.may_take_up() or self.has_settled():
            return False
        self.blocked = True
        if self.in_flight >= self.flow.window_max:
            self.flow.hit("window_max")
        return True

    def lacks_memory(self, whole: cython.Py_ssize_t, there: cython.Py_ssize_t) -> cython.bint:
        """
        Whether there is no memory for a request of `whole` bytes, of which so many are there.

        If so, the client is told, and closed.
        """
        if whole <= LARGE_FRAME or not self.flow.over_budget(whole - there):
            return False
        self.flow.hit("max_memory")
        self.end_with(self.error(OUT_OF_MEMORY), "max_memory reached")
        return True

    def leave_rest(
        self, wanted: cython.Py_ssize_t, at: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """All that can be taken up is, and `end - at` bytes are left, of a frame of `wanted` if that is known."""
        self.wanted = wanted if not self.blocked else 0
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
        self.blocked = False
        self.take_leave(reason)

    def take_leave(self, reason: str) -> None:
        """Take nothing more up, and close when it has all it is owed."""
        self.draining = True
        self.set_paused(True)
        if self.in_flight == 0:
            self.close(FINISH, reason)

    def usable_link(self, node: Node) -> Link:
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

    def forward(
        self,
        index: cython.int,
        command_class: cython.int,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """Send `p[start:end]` to the node of a place as it is. Gives 0 if it has to wait, and is not used up."""
        link: Link = self.place_at(index)
        if link is None:
            if self.waits:
                return 0
            self.say(self.error(self.refusal))
            return 1
        self.hand_over(link, p, start, end)
        # In line only now that the frame is: when memory runs out above, no line may be longer than its frames.
        self.ask(link, command_class)
        return 1

    @cython.final
    def place_at(self, index: cython.int) -> Link:
        """
        The link to the node of a place that takes a request now, which is counted already.

        If there is none, None: then the client waits (`waits` says so), or `refusal` says why, and an error
        is counted.
        """
        link: Link = self.usable_link(self.flow.places[index])
        if link is None:
            self.flow.errors += 1
        elif link.in_flight >= self.flow.node_queue or link.state == LOGIN:
            self.flow.requests -= 1  # it is counted when it comes again
            self.wait_for_place(link)
            return None
        return link

    @cython.final
    def hand_over(
        self,
        link: Link,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """Put the frame `p[start:end]` behind what is to be sent on a link, a large one uncopied if it can be."""
        incoming: Buffer = self.incoming
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
            return 0
        return link.outgoing.append(p, start, end)

    def ask(self, link: Link, command_class: cython.int) -> Pending:
        """A request's frame is on this link: put it into its line, and into this client's."""
        pending: Pending = new_pending()
        pending.client = self
        pending.command_class = command_class
        pending.since = self.outbox.now
        self.append_pending(pending)
        link.push(pending)
        link.node.requests += 1
        link.touch()
        return pending

    def wait_for_place(self, link: Link) -> cython.int:
        """Take nothing up until the link's line is half empty, or we are logged in. Gives 0, as who forwards then does."""
        if link.state != LOGIN:
            self.flow.hit("node_pipe_count")
        self.waits |= WAITING
        link.waiters.append(self)
        return 0

    def full_link(self, nodes: list) -> Link:
        """A link to one of these nodes that has no place for a request of this client; None if all have."""
        node: Node
        link: Link
        for node in nodes:
            link = node.link_for(self)
            if link is not None and (link.in_flight >= self.flow.node_queue or link.state == LOGIN):
                return link
        return None

    def line_up(
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
            link = self.usable_link(node)
            node.part_link = link
            if link is None:
                pending.reply = self.refused_part()
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

    def refused_part(self) -> bytes:
        """The reply to a part of a command whose node takes no request."""
        return self.error(self.refusal)

    def error(self, text: str) -> bytes:
        """The reply that tells this client an error of ours."""
        return self.flow.error(text)

    def ask_each(self, split: Split, nodes: list, frame: bytes) -> cython.int:
        """
        Send each of these nodes the same; their replies are joined as `split` says.

        Gives 0 if that has to wait, and 1 otherwise.
        """
        node: Node
        index: cython.Py_ssize_t
        link: Link = self.full_link(nodes)
        if link is not None:
            return self.wait_for_place(link)
        self.flow.requests += 1
        split.client = self
        split.command_class = CLASS_ALL_NODES
        for index in range(len(nodes)):
            node = nodes[index]
            node.part = index
            node.part_size = len(frame)
        self.line_up(split, nodes, 0, CLASS_PART)
        for node in nodes:
            if node.part_link is not None:
                node.part_link.outgoing.append(frame, 0, len(frame))
        return self.parts_are_sent(split, nodes)

    def parts_are_sent(self, split: Split, nodes: list) -> cython.int:
        """All that could be sent was: answer at once if no node is asked. Gives 1, as `forward` then does."""
        node: Node
        for node in nodes:
            node.part_link = None
        if split.left == 0:
            self.join(split)
        return 1
