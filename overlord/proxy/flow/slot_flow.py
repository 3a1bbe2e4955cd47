"""
The flow of a Redis Cluster: which node has which slot, and who waits for that to become clear.

    slot map        -> change_slots: other nodes, other places; clients settle before they go on
    MOVED           -> correct: one slot, at once and for all clients
    what nobody takes at this moment -> parked -> the alarm -> ClusterClient.try_again

A client takes nothing more up while a request of its is being repeated, so nothing can overtake that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import cython

from overlord.hashing import SLOTS
from overlord.proxy.flow.redis_flow import RedisFlow
from overlord.proxy.flow.slot_channels import SlotChannels

if cython.compiled:
    from cython.cimports.overlord.hashing.ring import Ring
    from cython.cimports.overlord.proxy.flow.parts import (
        SETTLING,
        YES,
        Client,
        Link,
        Node,
        Pending,
    )
    from cython.cimports.overlord.wire.stream import Outbox
else:
    from overlord.hashing.ring import Ring
    from overlord.proxy.flow.parts import SETTLING, YES, Client, Link, Node, Pending
    from overlord.wire.stream import Outbox

SHARD = 2
"""A shard channel, as in `listening.py`, which stands on what stands on this."""
NOT_SERVED = "CLUSTERDOWN Hash slot not served"
NO_CROSS_SLOT = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"


@cython.cclass
class Nobody(Node):
    """Has the slots that no node has. Nothing can be asked of it."""

    def refusal(self) -> str:
        """What a client is told that asks for such a slot."""
        return NOT_SERVED


@cython.cclass
class SlotFlow(RedisFlow):
    """
    A Redis Cluster: its nodes have slots, and change them while they are asked.

    `want_map(why)` is called when the slot map may be out of date, and `set_alarm(seconds)` to have
    `try_parked` called that much later.

    Attributes:
        nobody: the node of slots that no node has.
        by_label: the nodes, by their addresses.
        owners: for each slot, the index of its node in the last map; -1: nobody.
        moving: slots of which keys are on two nodes.
        parked: the clients of whom a request waits to be sent again.
        refreshes: how often it was tried to learn the slot map.
        moved, asked: redirects of these two kinds that were followed.
        repeats: requests that were sent again, for whatever reason.
        disbelieved: redirects that were not followed, because they cannot be true.
    """

    if not cython.compiled:
        by_label: dict[str, Node]
        owners: Sequence[int]
        moving: set[int]
        parked: dict[Client, None]
        want_map: Callable[[str], object] | None
        set_alarm: Callable[[float], object] | None

    def __init__(
        self,
        name: str,
        outbox: Outbox,
        ring: Ring,
        addresses: Sequence[tuple[str, str]],
        limits: Any,
        facts: Any,
        max_memory: cython.Py_ssize_t = 0,
    ) -> None:
        self.nobody = Nobody(self, 0, "nobody", "")
        self.by_label = {}
        self.owners = [-1] * SLOTS
        self.moving = set()
        self.parked = {}
        self.want_map = None
        self.set_alarm = None
        self.is_alarm_set = False
        self.wants_resp3 = False
        self.refreshes = 0
        self.moved = self.asked = self.repeats = self.disbelieved = 0
        RedisFlow.__init__(self, name, outbox, ring, addresses, limits, facts, max_memory)
        self.first_place = SLOTS
        self.channels = SlotChannels(self)

    def take_limits(self, limits: Any) -> None:
        """These bounds, commands and passwords hold from now on."""
        RedisFlow.take_limits(self, limits)
        self.max_redirects = limits.max_redirects
        self.retry_delay = limits.retry_delay
        self.failover_retry_timeout = limits.failover_retry_timeout

    def error(self, text: str) -> bytes:
        """The reply that tells a client this error of ours."""
        if text.startswith("CLUSTERDOWN "):
            return f"-{text}\r\n".encode()
        return RedisFlow.error(self, text)

    def is_alone(self) -> bool:
        """Whether each node has all keys: even a single one does not do what needs keys of several slots."""
        return False

    def holders(self) -> list[Node]:
        """Who may hold keys."""
        return self.live

    def knows_resp3(self) -> int:
        """Whether all nodes speak RESP3; as long as none is known, it is taken for granted."""
        self.wants_resp3 = True
        return RedisFlow.knows_resp3(self) if self.nodes else YES

    # The slots.

    def note_live(self) -> None:
        """What follows from the nodes and their slots."""
        self.nobody.index = len(self.nodes)
        self.places = [*self._places_of(self.nodes, self.owners), *self.nodes, self.nobody]
        self.live = self.nodes or [self.nobody]
        self.by_label = {node.label: node for node in self.nodes}
        self.note_cursors()

    def _places_of(self, nodes: list[Node], owners: Sequence[int]) -> list[Node]:
        everybody = dict(enumerate(nodes))
        everybody[-1] = self.nobody
        return [everybody[owner] for owner in owners]

    def change_slots(
        self, nodes: list[Node], owners: Sequence[int], moving: Iterable[int]
    ) -> tuple[list[Node], list[Node]]:
        """
        Have these nodes, and for each slot the one with this index; -1: nobody.

        As `change_nodes`; when nothing has changed, nobody has to wait.
        """
        self.moving = set(moving)
        if nodes == self.nodes:
            if self._places_of(nodes, owners) == self.places[:SLOTS]:
                self.owners = owners
                return [], []
        self.owners = owners
        came, gone = self.change_nodes(self.ring, nodes)
        if self.wants_resp3:
            for node in came:
                if not node.links3:
                    self.open_resp3(node)
        return came, gone

    def correct(self, slot: cython.int, node: Node) -> cython.int:
        """
        A slot belongs to this node, as the one has said that had it before.

        Who has something open there takes nothing more up until that is answered: it may be for this slot.
        """
        link: Link
        pending: Pending
        client: Client
        old: Node = self.places[slot]
        if old is node:
            return 0
        self.places[slot] = node
        for link in old.links + old.links3:
            pending = link.head
            while pending is not None:
                client = pending.client if pending.parent is None else pending.parent.client
                if client is not None:
                    client.waits |= SETTLING
                pending = pending.next_in_link
        self.pins.rehome()
        if self.channels.topics[SHARD]:
            self.channels.rehome()
        return 0

    def slot_moved(self, slot: int, node: Node) -> None:
        """A node has said, to a question of our own, that a slot belongs to another one."""
        self.correct(slot, node)
        self.wish_for_map("a slot has moved")

    # What has to wait.

    def wish_for_map(self, why: str) -> None:
        """The slot map may be out of date."""
        if self.want_map is not None:
            self.want_map(why)

    def park(self, client: Client) -> None:
        """A request of this client waits to be sent again."""
        self.parked[client] = None
        self._set_alarm()

    def _set_alarm(self) -> None:
        if not self.is_alarm_set and self.set_alarm is not None:
            self.is_alarm_set = True
            self.set_alarm(self.retry_delay)

    def try_parked(self, now: float) -> None:
        """Some time has passed: have what is parked sent again, where that is possible."""
        self.now = now
        self.is_alarm_set = False
        self._try_all(False)

    def map_was_asked_for(self, now: float) -> None:
        """The slot map was learnt, or could not be: what waited for it goes on, or fails."""
        self.now = now
        self.refreshes += 1
        self._try_all(True)

    def _try_all(self, at_once: bool) -> None:
        client: Any
        for client in list(self.parked):
            client.try_again(at_once)
        if self.parked:
            self._set_alarm()
