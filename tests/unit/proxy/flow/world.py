"""
A small world around a flow: clients that know what every reply must be, and nodes that answer in order.

    Customer -> bytes, cut anywhere -> the flow -> Server's connections -> replies, cut anywhere -> Customer

Nothing here waits and nothing happens by itself: a test says who does what next. Every key carries its
customer, the number of its request and the size of its value, `{tag}customer.request-key:size`, and every reply names the
key, the node and the protocol that it came from. So no two replies are alike, and a reply that is lost,
doubled, swapped or late for another is seen when it comes. `!` in a key has the node refuse the command.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from zlib import crc32

from attrs import define

from overlord.hashing import Ring, RingNode
from overlord.proxy.flow import command_errors
from overlord.proxy.flow.parts import Link, Node
from overlord.proxy.flow.redis_flow import RedisFlow
from overlord.proxy.flow.session import Pose, Session
from overlord.wire.resp import Replies, Requests, arguments, command
from overlord.wire.stream import ABORTING, FINISHING, Carrier, Outbox, Stream

TAGS = (b"a", b"b", b"c", b"d", b"e", b"f")
DOWN, DIALING, READY = 0, 1, 2
UNAVAILABLE = b"-ERR node unavailable: "
BOUNDLESS = 1 << 30


@define(kw_only=True)
class Limits:
    """The bounds of a flow, small ones where a test is to reach them."""

    deny_commands: tuple[str, ...] = ()
    allow_commands: tuple[str, ...] = ()
    rename_commands: Mapping[str, str] = MappingProxyType({})
    node_connections: int = 1
    window_start: int = 16
    window_max: int = 1024
    window_bytes: int = 8 << 20
    max_unsent: int = 64 << 20
    node_max_unsent: int = 64 << 20
    node_queue: int = 16384
    transaction_pins: int = 200
    blocking_pins: int = 1000
    pin_idle_timeout: float = 60.0
    max_subscriptions: int = 10_000
    subscription_ping: float = 10.0
    subscription_move_timeout: float = 1.0
    on_missing_node: str = "miss"
    strict_keys: bool = False
    base64_keys: str = "decoded"
    greet_nodes: bool = False
    node_username: str = ""
    node_password: str = ""
    sasl_users: tuple[str, ...] = ()
    max_redirects: int = 5
    retry_delay: float = 0.025
    failover_retry_timeout: float = 20.0
    max_inline: int = 65536
    max_args: int = 1 << 20
    max_arg_size: int = 512 << 20
    max_request: int = 1 << 30
    max_reply_depth: int = 128
    unauthenticated_max_args: int = 10
    unauthenticated_max_arg_size: int = 16384
    unauthenticated_max_buffer: int = 1 << 20


class Facts:
    """What the proxy says about itself: as little as the tests need."""

    max_client_name = 64
    max_command_names = 1024
    password_digest = b""
    poses = False

    def pose(self, session: Session) -> Pose | None:
        return None

    def new_session(self, client: Stream) -> Session:
        return Session(client.number, "127.0.0.1:1", "127.0.0.1:2", 0.0)


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


def value(key: bytes, node: int, protocol: int) -> bytes:
    """What a node has under a key. The filling looks like the start of a push, and of line ends."""
    size = int(key.rpartition(b":")[2] or 0)
    return bulk(b"%b@%d/%d" % (key, node, protocol) + (b">\r\n" * (size // 3 + 1))[:size])


def weight(keys: Sequence[bytes]) -> int:
    """What a node answers to DEL and its like: a number that tells which keys it was asked for."""
    return sum(crc32(key) for key in keys)


def refusal(key: bytes) -> bytes:
    return b"-ERR refused %b\r\n" % key


class Server:
    """One node: executes what it is sent on any of its connections, in the order of each."""

    def __init__(self, world: World, index: int) -> None:
        self.world = world
        self.index = index
        self.speaks3 = True
        self.executed: list[bytes] = []
        """The keys that it was asked for, in the order in which it was."""
        self.bad_at = {2: -1, 3: -1}
        """When one of its links was last not ready, for each protocol."""

    def links(self, protocol: int) -> list[Link]:
        if self.world.is_one_server:
            return [link for link in self.world.all_links() if link.protocol == protocol]
        node = self.world.flow.nodes[self.index]
        return node.links if protocol == 2 else node.links3

    def look(self) -> None:
        for protocol in (2, 3):
            if any(link.state != READY for link in self.links(protocol)):
                self.bad_at[protocol] = self.world.now

    def execute(self, args: list[bytes], protocol: int) -> bytes:
        name = args[0].upper()
        if name == b"HELLO":
            if self.speaks3:
                return b"%1\r\n$5\r\nproto\r\n:3\r\n"
            self.world.hello_was_refused = True
            return b"-NOPROTO no such protocol\r\n"
        keys = {b"MSET": args[1::2], b"SET": args[1:2], b"EVAL": args[3:4]}.get(name, args[1:])
        for key in keys:
            assert key not in self.world.forbidden, f"{key!r} was sent after its client's end"
            assert self.world.node_of(key) == self.index
        self.executed += keys
        bad = [key for key in keys if b"!" in key]
        if bad:
            return refusal(bad[0])
        if name == b"MSET":
            return b"+OK\r\n"
        if name == b"MGET":
            found = [value(key, self.index, protocol) for key in keys]
            return b"*%d\r\n%b" % (len(found), b"".join(found))
        if name in (b"DEL", b"EXISTS", b"UNLINK", b"TOUCH"):
            return b":%d\r\n" % weight(keys)
        return value(keys[0], self.index, protocol)


class NodeConn(Carrier):
    """One connection between a link and its server."""

    def __init__(self, server: Server, link: Link) -> None:
        self.server = server
        self.link = link
        self.requests = Requests()
        self.inbox: deque[bytes] = deque()
        self.replies = bytearray()
        self.takes = BOUNDLESS
        """How many bytes it takes, before it takes no more."""
        self.sent = 0
        self.closed = False

    def flush(self) -> None:
        if self.closed:
            return
        if self.link.closing == ABORTING:
            self.closed = True
            self.server.world.dying.append(self)
            return
        data = self.link.outgoing.take()
        taken = data[: self.takes]
        self.link.outgoing.add(data[self.takes :])
        self.takes -= len(taken)
        self.link.note_sent(len(taken))
        self.inbox.extend(self.requests.feed(taken))
        assert self.requests.violation is None, self.requests.violation

    def bury(self) -> None:
        self.link.lost(self.link.reason or "connection lost")
        self.server.look()

    def serve(self, count: int = BOUNDLESS) -> None:
        """Execute the next `count` requests; their replies wait to be delivered."""
        while self.inbox and count > 0:
            args = arguments(self.inbox.popleft())
            self.replies += self.server.execute(args, self.link.protocol)
            count -= 1

    def deliver(self, count: int = BOUNDLESS) -> None:
        """Let the next `count` bytes of replies arrive."""
        data = bytes(self.replies[:count])
        del self.replies[:count]
        if data and not self.closed:
            self.link.receive(data)


@define
class Expected:
    """What a customer must get for one request."""

    make: Callable[[int], bytes]
    """Gives the reply, from the protocol that the customer speaks."""
    nodes: tuple[int, ...]
    """Who must be there for it."""
    asked_at: int
    hello: int = 0
    """The protocol that it asks for."""
    last: bool = False


class Customer(Carrier):
    """A client: sends requests in any cut, and knows what has to come back."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.stream = world.flow.new_client(number)
        self.stream.carrier = self
        self.protocol = 2
        self.unsent = bytearray()
        self.expected: deque[Expected] = deque()
        self.replies = Replies()
        self.got: list[bytes] = []
        self.keys: list[bytes] = []
        """The keys for which it got what it had asked for, in the order of its requests."""
        self.reads = BOUNDLESS
        """How many bytes it reads, before it reads no more."""
        self.serial = 0
        """Of the request that is being made."""
        self.count_of_keys = 0
        self.said_last = False
        self.half_closed = False
        self.closed = False
        self.gone = False

    # What it does.

    def key(self, tag: bytes, size: int = 0, bad: bool = False) -> bytes:
        self.count_of_keys += 1
        mark = b"!" if bad else b""
        key = b"{%b}%d.%d-%d%b:%d" % (tag, self.number, self.serial, self.count_of_keys, mark, size)
        if self.said_last:
            self.world.forbidden.add(key)
        return key

    def ask(
        self, args: Sequence[bytes], make: Callable[[int], bytes], keys: Sequence[bytes] = ()
    ) -> None:
        """Write a request; `make` says what the reply has to be."""
        self.ask_raw(command(args), make, keys)

    def ask_raw(
        self,
        frame: bytes,
        make: Callable[[int], bytes],
        keys: Sequence[bytes] = (),
        *,
        hello: int = 0,
        last: bool = False,
    ) -> None:
        self.unsent += frame
        self.serial += 1
        if not self.said_last:
            nodes = tuple(dict.fromkeys(map(self.world.node_of, keys)))
            self.expected.append(Expected(make, nodes, self.world.now, hello, last))
        self.said_last = self.said_last or last

    def get(self, tag: bytes, size: int = 0, *, bad: bool = False, inline: bool = False) -> None:
        key = self.key(tag, size, bad)
        node = self.world.node_of(key)
        frame = b"get '%b'\r\n" % key if inline else command([b"GET", key])
        self.ask_raw(
            frame, lambda protocol: refusal(key) if bad else value(key, node, protocol), [key]
        )

    def set(self, tag: bytes, size: int) -> None:
        key = self.key(tag)
        node = self.world.node_of(key)
        self.ask([b"SET", key, b"x" * size], lambda protocol: value(key, node, protocol), [key])

    def evaluate(self, tag: bytes) -> None:
        key = self.key(tag)
        node = self.world.node_of(key)
        args = [b"EVAL", b"return 1", b"1", key]
        self.ask(args, lambda protocol: value(key, node, protocol), [key])

    def mget(self, tags: Sequence[bytes], size: int = 0) -> None:
        keys = [self.key(tag, size) for tag in tags]
        keys += keys[:1]
        node_of = self.world.node_of

        def make(protocol: int) -> bytes:
            found = [value(key, node_of(key), protocol) for key in keys]
            return b"*%d\r\n%b" % (len(keys), b"".join(found))

        self.ask([b"MGET", *keys], make, keys)

    def mset(self, tags: Sequence[bytes], bad: int = -1) -> None:
        keys = [self.key(tag, bad=index == bad) for index, tag in enumerate(tags)]
        pairs = [arg for key in keys for arg in (key, b"v")]
        reply = refusal(keys[bad]) if 0 <= bad < len(keys) else b"+OK\r\n"
        self.ask([b"MSET", *pairs], lambda _: reply, keys)

    def count(self, name: bytes, tags: Sequence[bytes]) -> None:
        keys = [self.key(tag) for tag in tags]
        self.ask([name, *keys], lambda _: b":%d\r\n" % weight(keys), keys)

    def unite(self, tags: Sequence[bytes]) -> None:
        """A command with several keys that is not split."""
        keys = [self.key(tag) for tag in tags]
        owners = {self.world.flow.ring.node_of_key(key) for key in keys}
        if len(owners) > 1:
            self.world.forbidden.update(keys)
            self.ask([b"SUNION", *keys], lambda _: command_errors.cross_node("sunion"))
        else:
            (node,) = owners
            self.ask([b"SUNION", *keys], lambda protocol: value(keys[0], node, protocol), keys)

    def ping(self, text: bytes = b"") -> None:
        if text:
            self.ask([b"PING", text], lambda _: bulk(text))
        else:
            self.ask([b"PING"], lambda _: b"+PONG\r\n")

    def unknown(self) -> None:
        words = b"-ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' \r\n"
        self.ask([b"NOSUCH", b"a", b"b"], lambda _: words)

    def hello(self, protocol: int) -> None:
        self.ask_raw(command([b"HELLO", b"%d" % protocol]), lambda _: b"", hello=protocol)

    def reset(self) -> None:
        self.ask_raw(command([b"RESET"]), lambda _: b"+RESET\r\n", hello=2)

    def quit(self) -> None:
        self.ask_raw(command([b"QUIT"]), lambda _: b"+OK\r\n", last=True)

    def violate(self) -> None:
        self.ask_raw(
            b"*x\r\n", lambda _: b"-ERR Protocol error: invalid multibulk length\r\n", last=True
        )

    def send(self, count: int = BOUNDLESS) -> None:
        """Let the next `count` bytes of its requests arrive, unless nobody reads them."""
        stream = self.stream
        if self.closed or stream.paused or self.half_closed:
            return
        data = bytes(self.unsent[:count])
        del self.unsent[:count]
        if data:
            stream.receive(data)

    def half_close(self) -> None:
        """End its side: what it has not sent, it never will."""
        if self.unsent or self.closed or self.half_closed:
            return
        self.half_closed = True
        self.stream.end_of_input()
        self.stream.look_again()

    def vanish(self) -> None:
        if not self.closed:
            self.closed = self.gone = True
            self.stream.carrier = None
            self.stream.lost()

    # What happens to it.

    def flush(self) -> None:
        stream = self.stream
        if self.closed:
            return
        if stream.closing == ABORTING:
            self.closed = True
            self.world.dying.append(self)
            return
        data = stream.outgoing.take()
        taken = data[: self.reads]
        stream.outgoing.add(data[self.reads :])
        self.reads -= len(taken)
        stream.note_sent(len(taken))
        self._take(taken)
        if not len(stream.outgoing):
            if stream.closing == FINISHING:
                self.closed = True
                self.world.dying.append(self)
            elif stream.blocked:
                stream.written()

    def bury(self) -> None:
        self.gone = True
        self.stream.carrier = None
        self.stream.lost()

    def _take(self, data: bytes) -> None:
        for reply in self.replies.feed(data):
            assert self.expected, f"customer {self.number} got {reply!r} without having asked"
            self._check(self.expected.popleft(), reply)
            self.got.append(reply)
        assert self.replies.violation is None

    def _check(self, expected: Expected, reply: bytes) -> None:
        if expected.hello:
            self._greeted(expected, reply)
            return
        wanted = expected.make(self.protocol)
        if reply == wanted:
            if wanted[:1] != b"-" and expected.nodes:
                self.keys.append(reply)
            return
        assert reply.startswith(UNAVAILABLE), f"{reply[:80]!r} instead of {wanted[:80]!r}"
        assert reply.count(b"\r\n") == 1
        bad = [self.world.servers[node].bad_at[self.protocol] for node in expected.nodes]
        assert self.world.may_be_full or max(bad, default=-1) >= expected.asked_at, (
            f"{reply!r} instead of {wanted[:80]!r}, although nothing has happened to the node"
        )

    def _greeted(self, expected: Expected, reply: bytes) -> None:
        if reply.startswith(b"-NOPROTO"):
            assert expected.hello == 3
            assert self.world.hello_was_refused
            return
        assert reply[:1] == b"+" or b"proto\r\n:%d\r\n" % expected.hello in reply
        self.protocol = expected.hello


class World:
    """
    A flow with its nodes and clients.

    With `is_one_server` all nodes are the same server, so that nodes may come and go at any time, and what one
    of a customer's requests overtakes shows.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        nodes: int = 3,
        max_memory: int = 0,
        distribution: str = "modula",
        is_one_server: bool = False,
    ) -> None:
        self.is_one_server = is_one_server
        self.retired: list[Node] = []
        self.limits = limits or Limits()
        self.now = 0
        self.outbox = Outbox()
        self.outbox.failed = self._failed
        self.outbox.in_round = True
        labels = [f"node-{index}" for index in range(nodes)]
        ring = Ring([RingNode(label) for label in labels], distribution, "fnv1a_32", b"{}")
        self.flow = RedisFlow(
            "test",
            self.outbox,
            ring,
            [(label, "") for label in labels],
            self.limits,
            Facts(),
            max_memory,
        )
        self.flow.dial = self.dial
        self.flow.pins.dial = self.dial
        self.servers = [Server(self, index) for index in range(1 if is_one_server else nodes)]
        self.customers: list[Customer] = []
        self.dying: list[Customer | NodeConn] = []
        self.forbidden: set[bytes] = set()
        self.kept: dict[Link, Server] = {}
        """The links that are dialled again when they are lost."""
        self.may_be_full = False
        self.hello_was_refused = False
        self.number = 0
        for link in self.flow.open_links():
            self.dial(link)

    def _failed(self, stream: Stream) -> None:
        raise  # noqa: PLE0704  # called while the exception is handled

    # Links, as the pools would treat them.

    def dial(self, link: Link) -> None:
        """Keep a link open from now on."""
        if link not in self.kept:
            self.kept[link] = self.server_of(link)
            link.greeted = lambda accepted: None if accepted else self.kept.pop(link, None)
            link.dialing()

    def connect(self, link: Link) -> NodeConn:
        """The dial succeeds."""
        server = self.server_of(link)
        server.look()
        conn = NodeConn(server, link)
        link.carrier = conn
        link.connected()
        return conn

    def connect_all(self) -> None:
        for link in list(self.kept):
            if link.state == DOWN:
                link.dialing()
            if link.state == DIALING:
                self.connect(link)

    def kill(self, link: Link, trouble: str = "connection lost") -> None:
        """The connection is lost, or the dial fails."""
        if isinstance(link.carrier, NodeConn):
            link.carrier.closed = True
        link.lost(trouble)
        self.server_of(link).look()

    def conns(self) -> list[NodeConn]:
        return [link.carrier for link in self.all_links() if isinstance(link.carrier, NodeConn)]

    def all_links(self) -> list[Link]:
        nodes = [*self.flow.nodes, *self.retired]
        return [link for node in nodes for link in [*node.links, *node.links3]]

    def server_of(self, link: Link) -> Server:
        return self.servers[0 if self.is_one_server else link.node.index]

    def node_of(self, key: bytes) -> int:
        """The index of the server that has this key."""
        return 0 if self.is_one_server else self.flow.ring.node_of_key(key)

    def change(self, labels: Sequence[str], keeps: Sequence[str] = ()) -> None:
        """The configuration has these nodes from now on; the connections to some of them stay."""
        assert self.is_one_server
        ring = Ring([RingNode(label) for label in labels], "modula", "fnv1a_32", b"{}")
        nodes = self.flow.arrange([(label, "") for label in labels], keeps)
        came, gone = self.flow.change_nodes(ring, nodes)
        self.retired += gone
        for node in came:
            for link in [*node.links, *node.links3]:
                self.dial(link)
        self.flow.channels.rehome()

    # Customers and rounds.

    def customer(self) -> Customer:
        self.number += 1
        customer = Customer(self, self.number)
        self.customers.append(customer)
        return customer

    def round(self) -> None:
        """End a round: everybody writes, and the dead are buried."""
        for server in self.servers:
            server.look()
        while True:
            self.outbox.flush()
            if not self.dying:
                break
            for one in self.dying[:]:
                self.dying.remove(one)
                one.bury()
        for server in self.servers:
            server.look()
        self.check()
        self.now += 1

    def answer(self) -> None:
        """All nodes execute all that they have got, and all their replies arrive."""
        for conn in self.conns():
            conn.serve()
            conn.deliver()
        self.round()

    def exchange(self) -> None:
        """Customers send all they have, and nodes answer all they are asked, until nothing is left."""
        for _ in range(10_000):
            before = self._progress()
            for customer in self.customers:
                customer.send()
            self.round()
            self.answer()
            if self._progress() == before:
                return
        raise AssertionError("it never ends")

    def settle(self) -> None:
        """Everything comes back to life, and all is answered: then nobody may be owed anything."""
        for server in self.servers:
            server.speaks3 = True
        for _ in range(10_000):
            before = self._progress()
            self.connect_all()
            for customer in self.customers:
                customer.reads = BOUNDLESS
                customer.stream.look_again()
            for conn in self.conns():
                conn.takes = BOUNDLESS
                conn.link.look_again()
            self.exchange()
            if self._progress() == before:
                break
        for customer in self.customers:
            if customer.gone:
                continue
            assert not customer.expected, f"customer {customer.number} still waits"
            assert not customer.unsent
            assert customer.stream.in_flight == 0
            assert not customer.stream.blocked
            assert customer.stream.retained == 0
        assert [link.in_flight for link in self.all_links()] == [0] * len(self.all_links())
        self.check_order()

    def _progress(self) -> tuple[int, ...]:
        return (
            sum(len(customer.got) for customer in self.customers),
            sum(len(customer.unsent) for customer in self.customers),
            sum(customer.gone for customer in self.customers),
            sum(customer.stream.bytes_sent for customer in self.customers),
            sum(link.bytes_received + link.bytes_sent for link in self.all_links()),
            sum(link.state for link in self.all_links()),
        )

    # What must hold at any time.

    def check(self) -> None:
        for customer in self.customers:
            stream = customer.stream
            assert 0 <= stream.in_flight <= self.limits.window_max
            assert stream.window <= self.limits.window_max
            assert stream.retained >= 0
        for link in self.all_links():
            greeting = 1 if link.protocol == 3 else 0
            assert 0 <= link.in_flight <= self.limits.node_queue + greeting

    def check_order(self) -> None:
        """
        What a client asked for with the same tag, and got, was executed in the order in which it asked.

        What was answered with an error may have been executed at any time: of that, nothing is known.
        """
        got = {
            (customer.number, key)
            for customer in self.customers
            for reply in customer.keys
            for key in keys_in(reply)
        }
        for server in self.servers:
            last: dict[tuple[int, bytes], int] = {}
            for key in server.executed:
                tag, number, serial = parts_of(key)
                if (number, key) in got:
                    assert last.get((number, tag), 0) <= serial, f"{key!r} was overtaken"
                    last[number, tag] = serial


def keys_in(reply: bytes) -> list[bytes]:
    """The keys that a reply names."""
    return [piece.rpartition(b"\n")[2] for piece in reply.split(b"@")[:-1]]


def parts_of(key: bytes) -> tuple[bytes, int, int]:
    """Tag, customer and request of a key."""
    tag, _, rest = key[1:].partition(b"}")
    number, _, serial = rest.partition(b"-")[0].partition(b".")
    return tag, int(number), int(serial)
