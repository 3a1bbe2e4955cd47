"""
A client of a Redis Cluster: its requests follow the slots, and are sent again where a node has not carried them out.

    request -> slot -> SlotFlow.places -> node -> link, and the frame is kept with the Pending
    MOVED, ASK          -> believed? -> at once to the node that it names
    LOADING, no node    -> parked -> try_again, until failover_retry_timeout
    a command with keys of several slots -> one part for each slot, as a Redis Cluster wants it

While a request is being repeated, nothing more is taken up (SETTLING), and what is parked goes in the order in
which it came. So what this client asks of one key happens in the order in which it asked, with one exception
that cannot be: a request that is refused, while another one for the same key that was sent behind it is carried
out. Then it is not repeated any more, and its client gets the error (`answered`).
"""

from __future__ import annotations

import cython

from overlord.proxy.flow.command_class import CommandClass
from overlord.proxy.flow.command_errors import CommandRejected
from overlord.proxy.flow.command_row import Join, Kind
from overlord.proxy.flow.keys import keys_to_route
from overlord.proxy.flow.redirects import Answer, Redirect, redirect_of
from overlord.wire.resp import arguments, command

if cython.compiled:
    from cython.cimports.overlord.hashing.ring import Ring
    from cython.cimports.overlord.proxy.flow.node_link import settle_part
    from cython.cimports.overlord.proxy.flow.parts import (
        SETTLING,
        Flow,
        Link,
        Node,
        Pending,
        Split,
        new_pending,
    )
    from cython.cimports.overlord.proxy.flow.requests import RedisClient
    from cython.cimports.overlord.proxy.flow.slot_flow import SlotFlow
    from cython.cimports.overlord.wire.buffer import Buffer, cut, hold
    from cython.cimports.overlord.wire.resp import Args
else:
    from overlord.hashing.ring import Ring
    from overlord.proxy.flow.node_link import settle_part
    from overlord.proxy.flow.parts import (
        SETTLING,
        Flow,
        Link,
        Node,
        Pending,
        Split,
        new_pending,
    )
    from overlord.proxy.flow.requests import RedisClient
    from overlord.proxy.flow.slot_flow import SlotFlow
    from overlord.wire.buffer import Buffer, cut, hold
    from overlord.wire.resp import Args

CLASS_MGET_PART = cython.declare(cython.int, int(CommandClass.MGET_PART))
CLASS_PART = cython.declare(cython.int, int(CommandClass.PART))
CLASS_SCRIPT = cython.declare(cython.int, int(CommandClass.SCRIPT))
CLASS_SPLIT = cython.declare(cython.int, int(CommandClass.SPLIT))
JOIN_VALUES = cython.declare(cython.int, int(Join.VALUES))
ARRAY = cython.declare(cython.int, 42)

ASKING = b"*1\r\n$6\r\nASKING\r\n"
NO_CROSS_SLOT = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
QUIET = 1.0
"""Seconds after which what has to be parked is the beginning of a new trouble, and no more of the last one."""
NEVER = float("-inf")
LONGEST_WAIT = 8
"""The wait between two attempts grows to so many times `retry_delay`."""
SPLIT_KINDS = {Kind.MGET: Join.VALUES, Kind.MSET: Join.ALL_OK, Kind.SUM: Join.SUM}
NOTHING_JOINED = {
    int(Join.VALUES): b"*0\r\n",
    int(Join.ALL_OK): b"+OK\r\n",
    int(Join.SUM): b":0\r\n",
}
"""The reply of a part that has gone to pieces, and has nothing left to say."""


@cython.cclass
class Repeat:
    """
    A request that is sent again, from the first refusal to the reply.

    Attributes:
        reply: what its client gets if it cannot be sent again: the node's answer, or an error of ours.
        is_ours: whether that is an error of ours.
        hops: how often it has been sent again because of what a node said.
        redirect: where to go, while that is not known yet: its node is not in the slot map.
        asked: the label of the node that said so.
        node: where it was sent last; None before it was sent again.
        refreshes: how often the slot map had been asked for when it was parked.
        is_parked: it is not on its way to a node.
        overtaken: one that was sent behind it is carried out: it must not be sent again.
    """

    if not cython.compiled:
        node: Node | None

    def __init__(self, pending: Pending) -> None:
        self.pending = pending
        self.reply = b""
        self.is_ours = False
        self.hops = 0
        self.redirect: Redirect | None = None
        self.asked = ""
        self.node = None
        self.refreshes = 0
        self.is_parked = False
        self.overtaken = False


@cython.cclass
class ClusterClient(RedisClient):
    """
    A client of a Redis Cluster.

    Attributes:
        repeats: what is being repeated, in the order of its requests for each slot.
        parked: those of them that are not on their way, in the order in which they are to go.
        parked_since: when the trouble began because of which they are parked.
        parked_at: when something was parked last, or tried to be sent.
        retry_at, wait: when to try next, and how long to wait after that.
    """

    if not cython.compiled:
        repeats: list[Repeat]
        parked: list[Repeat]

    def __init__(self, flow: Flow, number: cython.Py_ssize_t) -> None:
        RedisClient.__init__(self, flow, number)
        self.slots: SlotFlow = cython.cast(SlotFlow, flow)
        self.repeats = None
        self.parked = None
        self.parked_since = self.parked_at = NEVER
        self.retry_at = self.wait = 0.0

    # Requests of one slot.

    def forward(
        self,
        index: cython.int,
        command_class: cython.int,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """Send `p[start:end]` to the node that has this place, and keep it until it is answered."""
        flow: SlotFlow = self.slots
        pending: Pending
        frame: bytes
        node: Node = flow.places[index]
        link: Link = node.link_for(self)
        if link is None and node is not flow.nobody:
            self._forward_later(index, command_class, cut(p, start, end), node)
            return 1
        link = self.place_at(index)
        if link is None:
            if self.waits:
                return 0
            self.say(self.error(self.refusal))
            return 1
        frame = cut(p, start, end)
        self.hand_over(link, p, start, end)
        pending = self.ask(link, command_class)
        keep_frame(pending, frame, index)
        return 1

    def _forward_later(
        self, index: cython.int, command_class: cython.int, frame: bytes, node: Node
    ) -> cython.int:
        """There is no connection to the node: have the request wait for one, or for another node."""
        pending: Pending = new_pending()
        pending.client = self
        pending.command_class = command_class
        pending.since = self.outbox.now
        keep_frame(pending, frame, index)
        self.append_pending(pending)
        self._no_node(Repeat(pending), node)
        return 0

    def _refuse_cross_node(self, name: str) -> None:
        self.flow.refused("cross-node")
        self.flow.errors += 1
        self.say(NO_CROSS_SLOT)

    # Requests of several slots.

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
        Send a part for each slot to its node, `step` arguments for each key, in the order of the request.

        Of a slot that is on its way from one node to another, each key is a part of its own.
        """
        flow: SlotFlow = self.slots
        args: Args = self.dialect.args
        ring: Ring = flow.ring
        place: cython.int
        first: cython.int
        index: cython.Py_ssize_t
        at: cython.Py_ssize_t
        count: cython.Py_ssize_t
        number: cython.Py_ssize_t
        split: Split
        owners: bytearray
        args.read(p, start, end)
        count = (args.count - 1) // step
        first = ring.node_of(p, args.start_of(1), args.end_of(1))
        places: list = [first]
        is_one: cython.bint = True
        at = 1 + step
        for _ in range(1, count):
            place = ring.node_of(p, args.start_of(at), args.end_of(at))
            places.append(place)
            is_one = is_one and place == first
            at += step
        flow.requests += 1
        if is_one and (count == 1 or first not in flow.moving):
            return self.forward(first, command_class, p, start, end)
        part_of: dict = {}
        parts: list = []
        split = Split(join, count)
        owners = split.owners
        at = 1
        for index in range(count):
            slot = places[index]
            found = part_of.get(slot)
            if found is None:
                found = len(parts)
                parts.append((slot, []))
                if slot not in flow.moving:
                    part_of[slot] = found
            number = found
            parts[number][1].append(at)
            owners[2 * index] = number & 255
            owners[2 * index + 1] = number >> 8
            at += step
        if self._must_wait_for_any([slot for slot, _ in parts]):
            flow.requests -= 1  # it is counted when it comes again
            return 0
        split.client = self
        split.command_class = CLASS_SPLIT
        split.since = self.outbox.now
        frames: list = [(slot, self._part_frame(p, step, starts)) for slot, starts in parts]
        flow.splits += 1
        self.append_pending(split)
        return self._send_parts(split, frames)

    def _must_wait_for_any(self, places: list) -> cython.bint:
        """Whether a link to one of these places has no room for a request, which is noted."""
        flow: SlotFlow = self.slots
        nodes: list = list({flow.places[place]: None for place in places})
        link: Link = self.full_link(nodes)
        if link is None:
            return False
        self.wait_for_place(link)
        return True

    def _part_frame(self, p: cython.p_const_uchar, step: cython.Py_ssize_t, starts: list) -> bytes:
        """The command with only those of its arguments that begin at these indices, `step` for each."""
        args: Args = self.dialect.args
        scratch: Buffer = self.flow.scratch
        at: cython.Py_ssize_t
        scratch.clear()
        scratch.append_head(ARRAY, len(starts) * step + 1)
        scratch.append(p, args.header(0), args.header(1))
        for at in starts:
            scratch.append(p, args.header(at), args.header(at + step))
        frame: bytes = cut(scratch.p, scratch.start, scratch.end)
        scratch.clear()
        return frame

    def _send_parts(self, split: Split, frames: list) -> cython.int:
        """Send the parts of a command, which is in the line; the answer may be there at once."""
        pending: Pending
        part_class: cython.int = CLASS_MGET_PART if split.join == JOIN_VALUES else CLASS_PART
        split.left = len(frames) + 1  # one more, so that it is not joined before all are sent
        for slot, frame in frames:
            pending = new_pending()
            pending.parent = split
            pending.command_class = part_class
            pending.since = split.since
            split.parts.append(pending)
            keep_frame(pending, frame, slot)
        for pending in list(split.parts):
            self._send_part(pending)
            if self.gone:
                return 1
        split.left -= 1
        if split.left == 0:
            self.join(split)
        return 1

    def _send_part(self, pending: Pending) -> cython.int:
        """Send a part of a command to where its slot is."""
        flow: SlotFlow = self.slots
        split: Split = pending.parent
        node: Node = flow.places[pending.place]
        link: Link = node.link_for(self)
        if link is None and node is not flow.nobody:
            return self._no_node(Repeat(pending), node)
        link = self.usable_link(node)
        if link is None:
            drop_frame(pending)
            split.failed = True
            refusal: bytes = self.error(self.refusal)
            return settle_part(pending, refusal, 0, len(refusal))
        self._put_on(link, pending)
        return 0

    def _put_on(self, link: Link, pending: Pending) -> cython.int:
        """Send a request over a link."""
        link.outgoing.append(pending.frame, 0, len(pending.frame))
        link.push(pending)
        link.node.requests += 1
        link.touch()
        return 0

    # What a node has not carried out.

    def takes_back(self, pending: Pending, node: Node, reply: bytes) -> cython.bint:
        """
        A node has answered this request, which is in no line of a link any more, with an error.

        Gives True if it is to be repeated; otherwise that is its answer.
        """
        flow: SlotFlow = self.slots
        repeat: Repeat
        redirect = redirect_of(reply)
        if redirect is None:
            return False
        is_script: cython.bint = pending.command_class == CLASS_SCRIPT
        if redirect.slot < 0 and is_script:
            return False  # whoever knows what it has done
        repeat = self._repeat_of(pending)
        if repeat.overtaken:
            return False
        if redirect.slot >= 0 and redirect.slot != pending.place:
            flow.disbelieved += 1
            return False
        if redirect.answer is not Answer.NOT_NOW:
            if repeat.hops >= flow.max_redirects:
                flow.hit("max_redirects")
                return False
            repeat.hops += 1
        repeat.reply = reply
        repeat.is_ours = False
        repeat.asked = node.label
        self._note(repeat)
        if redirect.slot >= 0:
            return self._redirected(repeat, redirect)
        if redirect.answer is Answer.TRYAGAIN:
            flow.moving.add(pending.place)
            if self._broken_up(repeat):
                return True
        else:
            flow.wish_for_map(f"a node has answered {reply.split(maxsplit=1)[0].decode()}")
        return self._park(repeat)

    def _redirected(self, repeat: Repeat, redirect: Redirect) -> cython.bint:
        """A node has named another one."""
        flow: SlotFlow = self.slots
        pending: Pending = repeat.pending
        node: Node = flow.by_label.get(redirect.address(repeat.asked))
        is_ask: cython.bint = redirect.answer is Answer.ASK
        if node is None:
            flow.wish_for_map("a redirect names an unknown node")
            repeat.redirect = redirect
            repeat.refreshes = flow.refreshes
            return self._park(repeat)
        repeat.redirect = None
        if is_ask:
            flow.asked += 1
            flow.moving.add(pending.place)
        else:
            flow.moved += 1
            if pending.command_class != CLASS_SCRIPT:
                flow.correct(pending.place, node)
            flow.wish_for_map("a slot has moved")
        if self.parked or not self._sent(repeat, node, is_ask):
            return self._park(repeat)
        return True

    def lost_with(self, pending: Pending, node: Node, error: str) -> cython.int:
        """The connection over which this was sent is lost, and it can be sent again."""
        repeat: Repeat = self._repeat_of(pending)
        if repeat.overtaken:
            repeat.reply = self.flow.error(error)
            repeat.is_ours = True
            return self._finish(repeat)
        self._note(repeat)
        return self._no_node(repeat, node)

    def _no_node(self, repeat: Repeat, node: Node) -> cython.int:
        """A request cannot be sent, because there is no connection to this node."""
        self._note(repeat)
        repeat.reply = self.flow.error(node.refusal())
        repeat.is_ours = True
        repeat.redirect = None
        self.slots.wish_for_map("a node is not there")
        if not self._park(repeat):
            self._finish(repeat)
        return 0

    def _repeat_of(self, pending: Pending) -> Repeat:
        repeat: Repeat
        if self.repeats is not None:
            for repeat in self.repeats:
                if repeat.pending is pending:
                    return repeat
        return Repeat(pending)

    def _note(self, repeat: Repeat) -> cython.int:
        """A request is being repeated, and nothing more is taken up."""
        self.waits |= SETTLING
        if self.repeats is None:
            self.repeats = []
            self.parked = []
        if repeat not in self.repeats:
            self.repeats.append(repeat)
        return 0

    def _park(self, repeat: Repeat) -> cython.bint:
        """Have a request wait; False if the trouble lasts for too long already."""
        flow: SlotFlow = self.slots
        now: cython.double = flow.now
        if now - self.parked_at > QUIET:
            self.parked_since = now
        self.parked_at = now
        if self._is_late():
            flow.hit("failover_retry_timeout")
            return False
        if not self.parked:
            self.wait = flow.retry_delay
            self.retry_at = now + self.wait
        repeat.is_parked = True
        self.parked.append(repeat)
        flow.park(self)
        return True

    def _is_late(self) -> cython.bint:
        flow: SlotFlow = self.slots
        return flow.now - self.parked_since >= flow.failover_retry_timeout

    def try_again(self, at_once: bool) -> None:
        """Send what is parked, as far as it can be; with `at_once` whenever it was last tried."""
        flow: SlotFlow = self.slots
        repeat: Repeat
        if not at_once and flow.now < self.retry_at:
            return
        self.wait = min(self.wait * 2, flow.retry_delay * LONGEST_WAIT)
        self.retry_at = flow.now + self.wait
        self.parked_at = flow.now
        while self.parked and not self.gone:
            repeat = self.parked[0]
            if not self._tried(repeat):
                break
        if not self.parked:
            flow.parked.pop(self, None)

    def _tried(self, repeat: Repeat) -> cython.bint:
        """Whether the first of what is parked was sent, or answered."""
        flow: SlotFlow = self.slots
        node: Node = flow.places[repeat.pending.place]
        is_ask: cython.bint = False
        if self._is_late():
            flow.hit("failover_retry_timeout")
            self._finish(repeat)
            return True
        if repeat.redirect is not None:
            if repeat.refreshes == flow.refreshes:
                return False
            node = flow.by_label.get(repeat.redirect.address(repeat.asked))
            if node is None:  # nobody knows it: this is no node of ours
                flow.disbelieved += 1
                self._finish(repeat)
                return True
            is_ask = repeat.redirect.answer is Answer.ASK
            if not is_ask and repeat.pending.command_class != CLASS_SCRIPT:
                flow.correct(repeat.pending.place, node)
            repeat.redirect = None
        if node is flow.nobody:
            repeat.reply = self.flow.error(node.refusal())
            repeat.is_ours = True
            self._finish(repeat)
            return True
        return self._sent(repeat, node, is_ask)

    def _sent(self, repeat: Repeat, node: Node, is_ask: cython.bint) -> cython.bint:
        """Whether a request could be sent again, to this node."""
        link: Link = node.link_for(self)
        pending: Pending = repeat.pending
        asking: Pending
        if self._would_overtake(repeat, node):
            return False
        if link is None or link.outgoing.size() > self.flow.node_max_unsent:
            return False
        link.outgoing.reserve(len(ASKING) + len(pending.frame))
        if is_ask:
            asking = new_pending()
            link.outgoing.append(ASKING, 0, len(ASKING))
            link.push(asking)
        if repeat.is_parked:
            repeat.is_parked = False
            self.parked.remove(repeat)
        self.slots.repeats += 1
        repeat.node = node
        self._put_on(link, pending)
        return True

    def _would_overtake(self, repeat: Repeat, node: Node) -> cython.bint:
        """Whether an earlier request for the same slot waits, or is on its way to another node."""
        earlier: Repeat
        for earlier in self.repeats:
            if earlier is repeat:
                break
            if earlier.pending.place == repeat.pending.place and (
                earlier.is_parked or earlier.node is not node
            ):
                return True
        return False

    def _finish(self, repeat: Repeat) -> cython.int:
        """Answer a request that is not sent again."""
        pending: Pending = repeat.pending
        reply: bytes = repeat.reply
        self.repeats.remove(repeat)
        if repeat.is_parked:
            self.parked.remove(repeat)
        drop_frame(pending)
        if pending.parent is not None:
            if repeat.is_ours:
                pending.parent.failed = True
            return settle_part(pending, reply, 0, len(reply))
        if repeat.is_ours:
            self.flow.errors += 1
        return self.answer(pending, reply, 0, len(reply))

    def answered(self, pending: Pending) -> cython.int:
        """
        A node has answered this, and nobody will ask again.

        What was asked for before, and is being repeated, for one of its keys, came too late.
        """
        repeat: Repeat
        keys: set | None = None
        for repeat in list(self.repeats):
            if self.gone:
                return 0
            if repeat.pending is pending:
                self.repeats.remove(repeat)
                self.parked_since = self.slots.now
                return 0
            if repeat.pending.place != pending.place:
                continue
            if keys is None:
                keys = self._keys_of(pending.frame)
            if keys.isdisjoint(self._keys_of(repeat.pending.frame)):
                continue
            repeat.overtaken = True
            if repeat.is_parked:
                self._finish(repeat)
        return 0

    def _keys_of(self, frame: bytes) -> set:
        argv = arguments(frame)
        try:
            return {argv[at] for at in keys_to_route(argv, self.dialect.book)}
        except CommandRejected:
            return set()

    def _broken_up(self, repeat: Repeat) -> cython.bint:
        """Whether a request that a node could not answer as a whole goes on key by key."""
        pending: Pending = repeat.pending
        piece: Pending
        split: Split = pending.parent
        frames: list = self._pieces(pending.frame)
        if len(frames) < 2:
            return False
        if split is None:
            split = self._in_place_of(pending, len(frames))
            numbers: list = list(range(len(frames)))
        else:
            numbers = [
                number
                for number in range(split.count)
                if split.parts[split.owners[2 * number] | (split.owners[2 * number + 1] << 8)]
                is pending
            ]
            pending.parent = None
            pending.done = True
            pending.reply = NOTHING_JOINED[split.join]
            self.keep(len(pending.reply), len(pending.reply))
            split.left -= 1
            split.cursor += len(pending.reply)
        drop_frame(pending)
        place: cython.int = pending.place
        hops: cython.int = repeat.hops
        at: cython.Py_ssize_t = self.repeats.index(repeat)
        del self.repeats[at]
        pieces: list = []
        for number, frame in zip(numbers, frames, strict=True):
            piece = new_pending()
            piece.parent = split
            piece.command_class = CLASS_MGET_PART if split.join == JOIN_VALUES else CLASS_PART
            piece.since = pending.since
            keep_frame(piece, frame, place)
            owner = len(split.parts)
            split.owners[2 * number] = owner & 255
            split.owners[2 * number + 1] = owner >> 8
            split.parts.append(piece)
            split.left += 1
            again: Repeat = Repeat(piece)
            again.reply = repeat.reply
            again.hops = hops
            self.repeats.insert(at, again)
            at += 1
            pieces.append(again)
        node: Node = self.slots.places[place]
        for again in pieces:
            if self.gone:
                break
            if (self.parked or not self._sent(again, node, False)) and not self._park(again):
                self._finish(again)
        return True

    def _in_place_of(self, pending: Pending, count: cython.Py_ssize_t) -> Split:
        """Put a command that is split in the place of one that was not."""
        split: Split = Split(int(self._join_of(pending.frame)), count)
        before: Pending
        split.client = self
        split.command_class = CLASS_SPLIT
        split.since = pending.since
        split.next_in_line = pending.next_in_line
        if self.head is pending:
            self.head = split
        else:
            before = self.head
            while before.next_in_line is not pending:
                before = before.next_in_line
            before.next_in_line = split
        if self.last is pending:
            self.last = split
        pending.client = None
        pending.next_in_line = None
        return split

    def _join_of(self, frame: bytes) -> Join | None:
        """How the replies become one if this command is split; None if it cannot be."""
        row = self.dialect.book.get(arguments(frame)[0].upper())
        return None if row is None else SPLIT_KINDS.get(row.kind)

    def _pieces(self, frame: bytes) -> list[bytes]:
        """The same command for each of its keys by itself; none if it cannot be split."""
        argv = arguments(frame)
        join = self._join_of(frame)
        if join is None:
            return []
        step = 2 if join is Join.ALL_OK else 1
        return [command([argv[0], *argv[at : at + step]]) for at in range(1, len(argv), step)]

    def lost(self) -> object:
        """The connection is gone: nothing is repeated any more."""
        repeat: Repeat
        if self.parked:
            for repeat in self.parked:
                drop_frame(repeat.pending)
                repeat.pending.parent = None
        self.repeats = self.parked = None
        self.slots.parked.pop(self, None)
        return RedisClient.lost(self)


def keep_frame(pending: Pending, frame: bytes, place: cython.int) -> cython.int:
    """Keep what a node is sent until it is answered."""
    pending.frame = frame
    pending.place = place
    hold(len(frame))
    return 0


def drop_frame(pending: Pending) -> cython.int:
    """It will not be sent again."""
    if pending.frame is not None:
        hold(-len(pending.frame))
        pending.frame = None
    return 0
