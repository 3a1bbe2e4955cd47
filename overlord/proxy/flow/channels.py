"""
What the clients of a cluster listen to, together: channels and patterns, and where they have their places.

    a client's SUBSCRIBE -> Channels.enlist -> a Topic, at one node or at all
                         -> ListenLink.ask -> the node's confirmation -> Channels.answered
                         -> Asking.arrived -> the client's confirmation

There is one connection to each node, however many clients listen: it is opened for the first, asks the node
once for each name, and is kept open while there are any. A lost one is dialled again, and asks for all
names anew; what is published in between is lost, as it is for every client of Redis whose connection breaks.

When names move to other nodes, nothing is lost:

    prepare   the new places confirm, beside the old ones -> the flow takes the ring, and publishes there
    rehome    -> the old places are left when nobody has anything open that was asked before

A channel has its place at the node that a key of the same name has, and is published only there. What is
published anywhere has its place at all nodes: patterns, keyspace events by their kind, and everything under
a distribution that chooses nodes by lot. So each message comes once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from overlord.hashing import Ring
from overlord.proxy.flow import command_errors as errors
from overlord.proxy.flow.command_errors import CommandRejected
from overlord.proxy.flow.listening import (
    CHANNEL,
    JOIN_WORDS,
    LEAVE_WORDS,
    PATTERN,
    ListenLink,
    Topic,
)
from overlord.proxy.flow.parts import Client, Flow, Node
from overlord.proxy.flow.pinned import Pinned
from overlord.proxy.flow.pins import hold_more
from overlord.wire.stream import ABORTING, FINISHING

DOWN, DIALING, READY = 0, 1, 2
"""A link's state without a connection and without one being made, and with them."""
TOPIC_COST = 600
"""Bytes that a name costs us besides itself, roughly: what the budget counts."""
KEY_EVENTS = b"__keyspace@0__:"
"""Before a key: the channel on which its node tells what happens to it."""
KIND_EVENTS = b"__keyevent@0__:"
"""Before the name of an event: the channel on which each node tells to which of its keys that happens."""


class Asking:
    """
    A client's request to listen to some names; answered when all nodes have confirmed them all, or one has not.

    Attributes:
        topics: what it asks for, by name.
        missing: those that are not confirmed yet.
        done: called with an empty text when all are confirmed, with the error otherwise.
    """

    def __init__(self, kind: int, done: Callable[[bytes], object]) -> None:
        self.kind = kind
        self.topics: dict[bytes, Topic] = {}
        self.missing: set[Topic] = set()
        self.done = done

    def arrived(self, topic: Topic) -> None:
        """A topic is confirmed by its nodes."""
        if topic in self.missing:
            self.missing.remove(topic)
            if not self.missing:
                self.done(b"")


class Channels:
    """
    All topics of a cluster, and the connections over which its nodes tell of them.

    `dial(link)` is called to have a connection opened and kept open, `hang_up(link)` to have it opened no more,
    and `tell(node, names, trouble)` for the log: so many names are interrupted, or without a trouble, back.

    Attributes:
        topics: by what they are (CHANNEL, PATTERN, SHARD) and by name.
        links: the connections, by node.
        subscribers: how many clients listen to something.
    """

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.topics: tuple[dict[bytes, Topic], ...] = ({}, {}, {})
        self.links: dict[Node, ListenLink] = {}
        self.subscribers = 0
        self.dial: Callable[[ListenLink], object] | None = None
        self.hang_up: Callable[[ListenLink], object] | None = None
        self.tell: Callable[[Node, int, str], object] | None = None
        self._next: tuple[Ring, Sequence[Node]] | None = None
        """The ring that is prepared, and its nodes; None without one."""
        self._preparing: set[Topic] = set()
        self._prepared: Callable[[], object] | None = None
        self._preparing_since = 0.0
        """When `sweep` first saw that something is being prepared; 0: it has not."""
        self._earlier: list[Client] = []
        """Who may have something open that it has published at a name's old place."""
        self._moved: set[Topic] = set()
        """What is still listened to at its old places because of them."""

    def nodes_of(
        self, kind: int, name: bytes, ring: Ring | None = None, nodes: Sequence[Node] | None = None
    ) -> tuple[Node, ...]:
        """Where a name has its place; on the flow's ring, or on another one."""
        ring = ring or self.flow.ring
        nodes = nodes or self.flow.nodes
        if kind == PATTERN or ring.is_random or (kind == CHANNEL and name.startswith(KIND_EVENTS)):
            return tuple(nodes[index] for index in ring.live)
        key = name.removeprefix(KEY_EVENTS) if kind == CHANNEL else name
        return (nodes[ring.node_of_key(key)],)

    # What clients want.

    def enlist(self, asking: Asking, name: bytes) -> None:
        """
        Have a name confirmed by its nodes for who asks.

        Raises:
            CommandRejected: a node is not there, or takes up too slowly what it is asked.
        """
        topics = self.topics[asking.kind]
        topic = topics.get(name)
        if topic is None:
            topic = topics[name] = Topic(asking.kind, name)
            hold_more(TOPIC_COST + len(name))
            topic.nodes = self.nodes_of(asking.kind, name)
            if self._next is not None:
                topic.nodes = self._also(topic, *self._next)
        asking.topics[name] = topic
        topic.waiting[asking] = None
        for node in topic.nodes:
            self._listen(topic, node)
            if refusal := self._refusal(node):
                raise CommandRejected(refusal)
        if not self.is_confirmed(topic):
            asking.missing.add(topic)

    def _refusal(self, node: Node) -> bytes:
        """Why this node cannot be asked for another name at this moment."""
        link = self.links[node]
        if link.state not in (DIALING, READY):
            return node.refusal()
        if len(link.outgoing) > self.flow.limits.node_max_unsent:
            self.flow.hit("node_max_unsent")
            return errors.NODE_FULL
        return b""

    def settle(self, asking: Asking) -> None:
        """An asking is over: what nobody needs is left."""
        asking.missing.clear()
        for topic in asking.topics.values():
            topic.waiting.pop(asking, None)
            self.leave_unused(topic)

    def leave_unused(self, topic: Topic) -> None:
        """Have the nodes stop to tell of a topic if nobody listens to it."""
        if topic.listeners or topic.waiting:
            return
        topics = self.topics[topic.kind]
        if topics.get(topic.name) is topic:
            del topics[topic.name]
            hold_more(-TOPIC_COST - len(topic.name))
            self._no_longer_prepared(topic)
            self._moved.discard(topic)
            topic.nodes = ()
            self._leave_old_places(topic)

    def is_confirmed(self, topic: Topic) -> bool:
        """Whether all nodes where it has its place tell of it."""
        return all(self.links[node].topics.get(topic) for node in topic.nodes)

    # What nodes do.

    def _listen(self, topic: Topic, node: Node) -> None:
        """Have a node tell of a topic, now or when there is a connection."""
        link = self.links.get(node)
        if link is None:
            link = self.links[node] = ListenLink(self.flow, node, self.topics)
            link.changed = lambda: self._changed(link)
        if topic in link.topics:
            return
        was_unused = not link.topics
        link.topics[topic] = False
        if link.is_ready():
            link.ask(topic, True)
        elif link.state == DOWN and was_unused:
            self._dial_now(link)

    def _dial_now(self, link: ListenLink) -> None:
        """Dial, whatever the back-off after earlier failures: nobody has waited for it."""
        assert self.dial is not None
        self._give_up(link)
        link.kept = True
        self.dial(link)

    def _give_up(self, link: ListenLink) -> None:
        assert self.hang_up is not None
        if link.kept:
            link.kept = False
            self.hang_up(link)

    def _changed(self, link: ListenLink) -> None:
        """It has become ready: the node knows nothing of what it was asked on another connection."""
        if link.is_ready():
            for topic in link.topics:
                link.ask(topic, True)
            self._look_whether_back(link)

    def answered(self, link: ListenLink, topic: Topic, joins: bool, reply: bytes) -> None:
        """A node has answered what it was asked about a topic."""
        word = (JOIN_WORDS if joins else LEAVE_WORDS)[topic.kind].lower()
        expected = b"*3\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n:" % (
            len(word),
            word,
            len(topic.name),
            topic.name,
        )
        if reply.startswith(b"-") and joins:
            self._refused(link, topic, reply)
        elif not reply.startswith(expected):
            link.break_off(f"answered {word.decode()} with {reply[:32]!r}")
            return
        elif joins and topic in link.topics:
            link.topics[topic] = True
            if self.is_confirmed(topic):
                self._confirmed(topic)
        self._look_whether_back(link)

    def _confirmed(self, topic: Topic) -> None:
        self._no_longer_prepared(topic)
        if self._earlier:
            self._moved.add(topic)
        else:
            self._leave_old_places(topic)
        for asking in list(topic.waiting):
            asking.arrived(topic)

    def _leave_old_places(self, topic: Topic) -> None:
        for node, link in self.links.items():
            if topic in link.topics and node not in topic.nodes:
                del link.topics[topic]
                if link.is_ready():
                    link.ask(topic, False)

    def _refused(self, link: ListenLink, topic: Topic, reply: bytes) -> None:
        """
        A node does not want to tell of a topic: who asks for it gets that as the answer.

        Who was told before that it listens is closed, and so learns of it when it comes again; it would
        wait for ever otherwise.
        """
        self._no_longer_prepared(topic)
        if topic not in link.topics or link.node not in topic.nodes:
            return
        for asking in list(topic.waiting):
            asking.done(reply)
        for client in list(topic.listeners):
            client.close(FINISHING, "a node refuses its subscription")

    def link_lost(self, link: ListenLink) -> None:
        """There is no connection (any more): who asks is told so, who listens waits."""
        if any(link.topics.values()):
            link.interrupted = True
            self._say(link, link.node.trouble)
        refusal = link.node.refusal()
        for topic in list(link.topics):
            if link.node not in topic.nodes:
                link.topics.pop(topic, None)
                continue
            link.topics[topic] = False
            self._no_longer_prepared(topic)
            for asking in list(topic.waiting):
                asking.done(refusal)

    def _look_whether_back(self, link: ListenLink) -> None:
        if link.interrupted and not link.owes():
            link.interrupted = False
            self._say(link, "")

    def _say(self, link: ListenLink, trouble: str) -> None:
        if self.tell is not None:
            self.tell(link.node, len(link.topics), trouble)

    def sweep(self, now: float, read_timeout: float, write_timeout: float) -> None:
        """Look for nodes that are silent or stuck, and for connections that nobody needs any more."""
        limits = self.flow.limits
        self._look_whether_late(now, limits.subscription_move_timeout)
        self._look_whether_left()
        for node, link in list(self.links.items()):
            link.sweep_listening(now, read_timeout, write_timeout, limits.subscription_ping)
            if self.are_at(node):
                continue
            if link.state == DOWN:
                self._give_up(link)
            if node not in self.flow.nodes:
                link.close(ABORTING, "nothing is listened to there any more")
                if link.state == DOWN:
                    del self.links[node]

    # A new ring.

    def prepare(self, ring: Ring, nodes: Sequence[Node], prepared: Callable[[], object]) -> None:
        """
        Have every name confirmed also where it will have its place on another ring.

        `prepared()` is called once, perhaps at once: when the nodes have confirmed, or cannot be reached, or
        have not answered for `subscription_move_timeout`. If the flow takes the ring then, and `rehome` is
        called, no message is lost: who publishes finds the listeners at the old place before, and at the new
        one after it. Who prepares another ring does not wait for this one any more.
        """
        self.wait_no_longer()
        self._prepared = prepared
        self._next = (ring, nodes)
        for topic in self._all():
            new = self.nodes_of(topic.kind, topic.name, ring, nodes)
            topic.nodes = self._also(topic, ring, nodes)
            for node in new:
                self._listen(topic, node)
            if not self.is_confirmed(topic) and all(self.links[n].state != DOWN for n in new):
                self._preparing.add(topic)
        self._look_whether_prepared()

    def rehome(self) -> None:
        """
        Give every name its place on the ring that the flow has now.

        A name whose node has changed is left at the old one when the new one has confirmed it, and all that
        may have been published at the old one is answered; clients see nothing of that. Connections to nodes
        that the flow has no more are closed when nothing is left there.
        """
        self._next = None
        self.wait_no_longer()
        if any(self.topics):
            self._earlier = [each for each in self.flow.clients.values() if self._is_earlier(each)]
        for topic in self._all():
            topic.nodes = self.nodes_of(topic.kind, topic.name)
            for node in topic.nodes:
                self._listen(topic, node)
            if self.is_confirmed(topic):
                self._confirmed(topic)

    def hand_over(self, old: Node, new: Node) -> bool:
        """
        A node has taken the place of another one; if it is the same server, its connection goes on.

        A second one beside it would bring each message twice. Gives True if there was one.
        """
        if old.address != new.address or old not in self.links or new in self.links:
            return False
        link = self.links[new] = self.links.pop(old)
        link.belong_to(new)
        return True

    def are_at(self, node: Node) -> bool:
        """Whether something is listened to at this node, or has been left and may still be told."""
        link = self.links.get(node)
        return link is not None and (bool(link.topics) or link.owes())

    def _also(self, topic: Topic, ring: Ring, nodes: Sequence[Node]) -> tuple[Node, ...]:
        """Where a topic has its place, and will have it on another ring."""
        new = self.nodes_of(topic.kind, topic.name, ring, nodes)
        return tuple(dict.fromkeys((*topic.nodes, *new)))

    def _is_earlier(self, client: Client) -> bool:
        """Whether what a client has asked before the ring changed may not have come to its end."""
        pin = client.pin
        if isinstance(pin, Pinned) and pin.link is not None:
            return pin.ring is not self.flow.ring and not pin.waits_at_node
        return client.is_settling()

    def _look_whether_left(self) -> None:
        """Leave the old places of what has moved, once nobody can have something open there."""
        if self._earlier:
            self._earlier = [client for client in self._earlier if self._is_earlier(client)]
        if not self._earlier:
            moved, self._moved = self._moved, set()
            for topic in moved:
                if self.is_confirmed(topic):
                    self._leave_old_places(topic)

    def _look_whether_late(self, now: float, timeout: float) -> None:
        if self._prepared is None:
            return
        if self._preparing_since == 0.0:
            self._preparing_since = now
        elif now - self._preparing_since >= timeout:
            self.flow.hit("subscription_move_timeout")
            self.wait_no_longer()

    def wait_no_longer(self) -> None:
        """Whoever prepares a ring takes it as it is."""
        self._preparing.clear()
        self._look_whether_prepared()

    def _all(self) -> list[Topic]:
        return [topic for topics in self.topics for topic in topics.values()]

    def _no_longer_prepared(self, topic: Topic) -> None:
        if topic in self._preparing:
            self._preparing.discard(topic)
            self._look_whether_prepared()

    def _look_whether_prepared(self) -> None:
        if not self._preparing and self._prepared is not None:
            prepared, self._prepared = self._prepared, None
            self._preparing_since = 0.0
            prepared()

    # What metrics and PUBSUB say.

    def clients_of(self, kind: int, name: bytes) -> tuple[int, int]:
        """How many clients listen to a name, and how many nodes count us for it."""
        topic = self.topics[kind].get(name)
        if topic is None:
            return 0, 0
        there = sum(bool(link.topics.get(topic)) for link in self.links.values())
        return len(topic.listeners), there
