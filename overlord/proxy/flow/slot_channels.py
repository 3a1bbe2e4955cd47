"""
What the clients of a Redis Cluster listen to.

Its nodes tell each other what is published, so one node is enough for a channel or a pattern, and two would bring
each message twice. Which one does not matter; the names are spread over all. Two things are different: a shard
channel is at the node that has its slot, and moves with it; and events of keys are told by the key's own node
alone, so names that begin like theirs are listened to at all masters.
"""

from __future__ import annotations

from collections.abc import Sequence

from overlord.hashing import Ring, slot_of
from overlord.proxy.flow.channels import KEY_EVENTS, Asking, Channels
from overlord.proxy.flow.command_errors import CommandRejected
from overlord.proxy.flow.listening import CHANNEL, SHARD, ListenLink, Topic
from overlord.proxy.flow.parts import Node
from overlord.proxy.flow.redirects import Answer, redirect_of

EVENTS = b"__key"
"""How the names of channels begin on which nodes tell what happens to keys."""


class SlotChannels(Channels):
    """All topics of a Redis Cluster."""

    def nodes_of(
        self, kind: int, name: bytes, ring: Ring | None = None, nodes: Sequence[Node] | None = None
    ) -> tuple[Node, ...]:
        """Where a name has its place; empty if there is no node for it."""
        flow = self.flow
        if not flow.nodes:
            return ()
        if kind == CHANNEL and name.startswith(KEY_EVENTS):
            return self._owner_of(name.removeprefix(KEY_EVENTS))
        if kind == SHARD:
            return self._owner_of(name)
        if name.startswith(EVENTS):
            return tuple(flow.live)
        if kind == CHANNEL and (owner := self._owner_of(name)):
            return owner  # who publishes there is told how many listen at that node
        return (flow.live[slot_of(name) % len(flow.live)],)

    def _owner_of(self, key: bytes) -> tuple[Node, ...]:
        node = self.flow.places[slot_of(key)]
        return (node,) if node in self.flow.nodes else ()

    def enlist(self, asking: Asking, name: bytes) -> None:
        """
        Have a name confirmed by its nodes for who asks.

        Raises:
            CommandRejected: there is no node for it, or it is not there.
        """
        if not self.nodes_of(asking.kind, name):
            raise CommandRejected(self.flow.error("CLUSTERDOWN Hash slot not served"))
        super().enlist(asking, name)

    def _refused(self, link: ListenLink, topic: Topic, reply: bytes) -> None:
        """A node does not want to tell of a topic: a shard channel may be another one's by now."""
        redirect = redirect_of(reply)
        slot = slot_of(topic.name)
        if topic.kind == SHARD and redirect is not None and redirect.answer is Answer.MOVED:
            flow = self.flow
            node = flow.by_label.get(redirect.address(link.node.label))  # type: ignore[attr-defined]
            if redirect.slot == slot and node is not None and node is not link.node:
                flow.slot_moved(slot, node)  # type: ignore[attr-defined]
                return
        super()._refused(link, topic, reply)
