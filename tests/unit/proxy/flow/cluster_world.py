"""
The small world, around a Redis Cluster: slots move while they are asked for, and clients must not notice.

Each tag is a slot. The servers share one memory, so that the order in which anything was executed anywhere can be
seen; but each executes only what is its own, and answers MOVED or ASK otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from unit.proxy.flow.world import (
    TAGS,
    Customer,
    Facts,
    Limits,
    NodeConn,
    Server,
    World,
    parts_of,
    value,
)

from overlord.hashing import SLOTS, SlotRing, slot_of
from overlord.proxy.flow.cluster_flow import ClusterFlow
from overlord.proxy.flow.parts import Link
from overlord.proxy.flow.slot_flow import NO_CROSS_SLOT
from overlord.wire.resp import arguments
from overlord.wire.stream import Outbox

LABELS = ("10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1")
WRITES = (b"SET", b"MSET", b"DEL", b"UNLINK", b"EVAL")
STEP = 0.01
"""Seconds that each round takes."""


def keys_of(args: list[bytes]) -> list[bytes]:
    name = args[0].upper()
    return {b"MSET": args[1::2], b"SET": args[1:2], b"EVAL": args[3:4]}.get(name, args[1:])


class ClusterConn(NodeConn):
    """A connection to one server of the cluster."""

    asking = False

    def serve(self, count: int = 1 << 30) -> None:
        world = self.server.world
        assert isinstance(world, ClusterWorld)
        while self.inbox and count > 0:
            args = arguments(self.inbox.popleft())
            self.replies += world.execute(self, args)
            count -= 1


class ClusterCustomer(Customer):
    """A client that knows nothing of slots."""

    def unite(self, tags: Sequence[bytes]) -> None:
        keys = [self.key(tag) for tag in tags]
        if len(set(tags)) > 1:
            self.world.forbidden.update(keys)
            self.ask([b"SUNION", *keys], lambda _: NO_CROSS_SLOT)
        else:
            self.ask([b"SUNION", *keys], lambda protocol: value(keys[0], 0, protocol), keys)


class ClusterWorld(World):
    """
    A flow of a Redis Cluster, with its servers and clients.

    Attributes:
        owners: who has each slot, in truth.
        targets: the slots that are on their way, and where to.
        refused: what each server answers to everything, if it cannot serve at the moment.
    """

    def __init__(self, limits: Limits | None = None, nodes: int = 3) -> None:
        self.is_one_server = True
        self.retired = []
        self.limits = limits or Limits(max_redirects=1000)
        self.now = 0
        self.clock = 0.0
        self.alarm = False
        self.wishes: list[str] = []
        self.written: set[bytes] = set()
        self.outbox = Outbox()
        self.outbox.failed = self._failed
        self.outbox.in_round = True
        self.flow = ClusterFlow("test", self.outbox, SlotRing(), [], self.limits, Facts())
        self.flow.dial = self.dial
        self.flow.pins.dial = self.dial
        self.flow.want_map = self.wishes.append
        self.flow.set_alarm = self._set_alarm
        self.servers = [Server(self, 0)]
        self.customers = []
        self.dying = []
        self.forbidden = set()
        self.kept = {}
        self.may_be_full = False
        self.hello_was_refused = False
        self.number = 0
        self.labels = list(LABELS[:nodes])
        self.owners = {slot_of(tag): self.labels[n % nodes] for n, tag in enumerate(TAGS)}
        self.targets: dict[int, str] = {}
        self.refused: dict[str, bytes] = {}
        self.refresh()

    def _set_alarm(self, _: float) -> None:
        self.alarm = True

    # The cluster.

    def refresh(self) -> None:
        """The flow learns how the cluster is."""
        self.wishes.clear()
        flow = self.flow
        nodes = flow.arrange([(label, label) for label in self.labels], set(flow.by_label))
        rest = self.labels[0]
        owners = [self.labels.index(self.owners.get(slot, rest)) for slot in range(SLOTS)]
        came, gone = flow.change_slots(nodes, owners, self.targets)
        self.retired += gone
        for node in came:
            if not node.links:
                node.links = flow.new_links(node, 2)
            for link in [*node.links, *node.links3]:
                self.dial(link)
        self.flow.map_was_asked_for(self.clock)

    def move(self, slot: int, label: str) -> None:
        """A slot belongs to another server at once."""
        if not self._waits_at(label, slot):
            self.targets.pop(slot, None)
            self.owners[slot] = label

    def begin_move(self, slot: int, label: str) -> None:
        """The keys of half the customers have moved."""
        if slot not in self.targets and label != self.owners[slot]:
            self.targets[slot] = label

    def end_move(self, slot: int) -> None:
        if slot in self.targets:
            self.move(slot, self.targets[slot])

    def _waits_at(self, label: str, slot: int) -> bool:
        """
        Whether a server has requests for a slot in its inbox.

        If it got the slot back now, it would execute them, though what was asked before is on its way elsewhere.
        """
        on_the_way = any(
            link.node.label == label and len(link.outgoing) for link in self.all_links()
        )
        return on_the_way or any(
            slot_of(key) == slot
            for conn in self.conns()
            if conn.link.node.label == label
            for frame in conn.inbox
            for key in keys_of(arguments(frame))
            if key.startswith(b"{")
        )

    def execute(self, conn: ClusterConn, args: list[bytes]) -> bytes:
        label, protocol = conn.link.node.label, conn.link.protocol
        asking, conn.asking = conn.asking, False
        if args[0] == b"ASKING":
            conn.asking = True
            return b"+OK\r\n"
        keys = [key for key in keys_of(args) if key.startswith(b"{")]
        if keys:
            (slot,) = {slot_of(key) for key in keys}
            if label in self.refused:
                return self.refused[label]
            owner, target = self.owners[slot], self.targets.get(slot)
            if label == target and asking:
                pass
            elif label != owner:
                return f"-MOVED {slot} {owner}\r\n".encode()
            elif target is not None and self.has_moved(keys[0]):
                return f"-ASK {slot} {target}\r\n".encode()
        if args[0] in WRITES:
            assert not self.written & set(keys), f"{args!r} was done twice"
            self.written.update(keys)
        return self.servers[0].execute(args, protocol)

    def check_order(self) -> None:
        """As ever; of what was read twice, because the first reply was lost, the second time counts."""
        executed = self.servers[0].executed
        last = {key: place for place, key in enumerate(executed)}
        executed[:] = [key for place, key in enumerate(executed) if last[key] == place]
        super().check_order()

    def has_moved(self, key: bytes) -> bool:
        """Of a slot on its way, whether the key has arrived: those of half the customers have."""
        tag, number, _ = parts_of(key)
        return crc32(b"%b%d" % (tag, number)) % 2 == 0

    # The rest of the world.

    def customer(self) -> Customer:
        self.number += 1
        customer = ClusterCustomer(self, self.number)
        self.customers.append(customer)
        return customer

    def node_of(self, key: bytes) -> int:
        return 0

    def server_of(self, link: Link) -> Server:
        return self.servers[0]

    def connect(self, link: Link) -> NodeConn:
        server = self.servers[0]
        server.look()
        conn = ClusterConn(server, link)
        link.carrier = conn
        link.connected()
        return conn

    def tick(self) -> None:
        """Some time passes."""
        self.clock += STEP
        self.flow.sweep(self.clock, 1e9, 1e9)
        if self.alarm:
            self.alarm = False
            self.flow.try_parked(self.clock)

    def round(self) -> None:
        self.tick()
        super().round()

    def settle(self) -> None:
        self.refused.clear()
        for _ in range(200):
            self.connect_all()
            self.refresh()
            for customer in self.customers:
                customer.reads = 1 << 30
                customer.stream.look_again()
            for conn in self.conns():
                conn.takes = 1 << 30
                conn.link.look_again()
            self.clock += 0.3
            self.exchange()
            if not self.flow.parked and not any(c.expected for c in self.customers if not c.gone):
                break
        super().settle()
        assert not self.flow.parked

    def check(self) -> None:
        for customer in self.customers:
            assert 0 <= customer.stream.in_flight <= self.limits.window_max
