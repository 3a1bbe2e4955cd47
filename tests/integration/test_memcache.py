"""
memcache's text protocol and its meta commands on real memcacheds: the same bytes as from one of them.

The differential test is the proof: the same commands go to a memcached and through the proxy to three, and
what comes back has to be the same, but for what no two servers have in common (cas ids, ages, addresses).
"""

import random
import re
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest
from integration.programs import Memcached, Nutcracker, OverlordProxy, wait_for

BARRIER = b"version\r\n"
BEYOND = re.compile(rb"VERSION [^\r]+\r\n\Z")
"""What ends an exchange: no other command of ours is answered so."""
COUNT = b"5000000000"
AT_ONCE = 50
"""Commands of one exchange."""


class Talk:
    """One connection on which a test says bytes and gets bytes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)

    def say(self, data: bytes) -> bytes:
        """All that comes up to the reply to a `version` behind these bytes, without that; or up to the close."""
        self.socket.sendall(data + BARRIER)
        got = b""
        while not BEYOND.search(got[-64:]):
            piece = self.socket.recv(1 << 20)
            if not piece:
                return got
            got += piece
        return BEYOND.sub(b"", got)

    def close(self) -> None:
        self.socket.close()


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Memcached]]:
    """Three memcacheds behind the proxy, and a fourth that is asked directly."""
    with ExitStack() as stack:
        started = [Memcached().start() for _ in range(4)]
        for node in started:
            stack.callback(node.dispose)
        yield started


@pytest.fixture
def proxy(nodes: list[Memcached], start_proxy: Callable[..., OverlordProxy]) -> OverlordProxy:
    """A proxy over three of `nodes`, all of which are empty."""
    for node in nodes:
        talk = Talk(node.port)
        assert talk.say(b"flush_all\r\n") == b"OK\r\n"
        talk.close()
    addresses = [node.address for node in nodes[:3]]
    proxy = start_proxy(addresses, cache_type="memcache", hash_method="fnv1a_32")
    wait_for(lambda: _is_up(proxy), "all nodes are up")
    return proxy


def _is_up(proxy: OverlordProxy) -> bool:
    connections = [
        value
        for name, value in proxy.metrics().items()
        if name.startswith("overlord_proxy_node_connections{")
    ]
    return len(connections) == 3 and all(connections)


@pytest.fixture
def talk_to() -> Iterator[Callable[[int], Talk]]:
    """Opens connections, which are closed behind the test."""
    with ExitStack() as stack:

        def open_talk(port: int) -> Talk:
            talk = Talk(port)
            stack.callback(talk.close)
            return talk

        yield open_talk


class Commands:
    """
    Draws commands: right ones, wrong ones, quiet ones.

    Counters have keys of their own, and stay at ten digits: how memcached pads a number that has become
    shorter depends on whether an earlier reply still holds the value, and where a value begins with blanks,
    it reads what lies behind it. A get with too long a key is left out: its error makes memcached forget
    replies to commands that came with it.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        words = (b"k", b"key:", b"{t}", b"\xc3\xa4")
        self.keys = [b"%b%d" % (word, number) for word in words for number in range(9)]
        self.counters = [b"n%d" % number for number in range(6)]

    def draw(self) -> bytes:
        kind = self.random.choices(
            (self.get, self.store, self.change, self.meta, self.wrong), (5, 5, 4, 6, 1)
        )
        return kind[0]()

    def key(self) -> bytes:
        return self.random.choice(self.keys)

    def counter(self) -> bytes:
        return self.random.choice(self.counters)

    def any_key(self) -> bytes:
        return self.random.choice((*self.keys, *self.counters))

    def value(self) -> bytes:
        draw = self.random
        if draw.random() < 0.5:
            return b"%d" % draw.choice((0, 5, 99, 2**63, 2**64 - 1))
        return draw.choice(
            (b"", b"END\r\n", b"\r\n", b"VALUE k0 0 1\r\nx", b"x" * draw.randrange(3000))
        )

    def muted(self) -> bytes:
        return b" noreply" if self.random.random() < 0.2 else b""

    def get(self) -> bytes:
        draw = self.random
        name = draw.choice((b"get", b"get", b"gat 0", b"gat 3600"))
        count = draw.choice((1, 1, 2, 5, 20))
        blank = draw.choice((b" ", b" ", b"  "))
        keys = blank.join(self.any_key() for _ in range(count))
        return name + blank + keys + draw.choice((b"\r\n", b"\r\n", b" \r\n", b"\n"))

    def store(self) -> bytes:
        draw = self.random
        name = draw.choice((b"set", b"set", b"add", b"replace", b"append", b"prepend", b"cas"))
        key, value = self.key(), self.value()
        if draw.random() < 0.2:
            name, key, value = draw.choice((b"set", b"add")), self.counter(), COUNT
        unique = b" 18446744073709551615" if name == b"cas" else b""
        line = b"%b %b %d %d %d%b%b\r\n" % (
            name,
            key,
            draw.choice((0, 1, 2**32 - 1)),
            draw.choice((0, 0, 3600)),
            len(value),
            unique,
            self.muted(),
        )
        return line + value + b"\r\n"

    def change(self) -> bytes:
        draw = self.random
        return draw.choice(
            (
                b"delete %b%b\r\n" % (self.any_key(), self.muted()),
                b"delete %b 0%b\r\n" % (self.any_key(), self.muted()),
                b"incr %b %d%b\r\n" % (self.counter(), draw.choice((0, 1, 1000)), self.muted()),
                b"decr %b %d%b\r\n" % (self.counter(), draw.choice((0, 7, 1000)), self.muted()),
                b"touch %b 0%b\r\n" % (self.any_key(), self.muted()),
            )
        )

    def meta(self) -> bytes:
        draw = self.random
        name = draw.choice((b"mg", b"mg", b"mg", b"ms", b"md", b"ma", b"mn"))
        if name == b"mn":
            return b"mn\r\n"
        flags = [flag for flag in (b"k", b"q", b"O12") if draw.random() < 0.3]
        more = {
            b"mg": (b"v", b"f", b"s", b"N30", b"T0"),
            b"ms": (b"F5", b"MA", b"ME", b"MR", b"MP", b"T0", b"C1"),
            b"md": (b"C1",),
            b"ma": (b"v", b"N0", b"D3", b"MD"),
        }[name]
        flags += [flag for flag in more if draw.random() < 0.3]
        modes = [flag for flag in flags if flag.startswith(b"M")]
        flags = [flag for flag in flags if flag not in modes[1:]]
        if b"N0" in flags:
            flags.append(b"J%b" % COUNT)
        draw.shuffle(flags)
        key, value = self.key(), self.value()
        if name == b"ma":
            key = self.counter()
        size = [b"%d" % len(value)] if name == b"ms" else []
        line = b" ".join([name, key, *size, *flags]) + b"\r\n"
        return line + (value + b"\r\n" if name == b"ms" else b"")

    def wrong(self) -> bytes:
        draw = self.random
        return draw.choice(
            (
                b"get\r\n",
                b"\r\n",
                b"nonsense %b\r\n" % self.key(),
                b"GET %b\r\n" % self.key(),
                b"set %b x 0 1\r\n" % self.key(),
                b"set %b 0 0 -1\r\n" % self.key(),
                b"set %b 0 0\r\n" % self.key(),
                b"set %b 0 0 3 noreply\r\nabcd\r\n" % self.key(),
                b"set %b 0 0 2\r\nabc\r\n" % self.key(),
                b"cas %b 0 0 1 x\r\n" % self.key(),
                b"incr %b x\r\n" % self.key(),
                b"incr %b -1\r\n" % self.key(),
                b"incr %b 18446744073709551616\r\n" % self.key(),
                b"touch %b\r\n" % self.key(),
                b"delete %b 5\r\n" % self.key(),
                b"gat x %b %b\r\n" % (self.key(), self.key()),
                b"gat 0\r\n",
                b"mg\r\n",
                b"mg %b v v\r\n" % self.key(),
                b"mg %b b v\r\n" % self.key(),
                b"ms %b\r\n" % self.key(),
                b"ms %b x\r\n" % self.key(),
                b"ms %b 1 MZ\r\nx\r\n" % self.key(),
                b"ma %b D-1\r\n" % self.key(),
                b"me\r\n",
                b"verbosity\r\n",
                b"verbosity 0 noreply\r\n",
            )
        )


def compare(direct: Talk, proxied: Talk, seed: int, rounds: int) -> None:
    """The same commands to both: the same bytes from both."""
    commands = Commands(seed)
    for _ in range(rounds):
        drawn = [commands.draw() for _ in range(commands.random.choice((1, 5, AT_ONCE)))]
        expected, got = direct.say(b"".join(drawn)), proxied.say(b"".join(drawn))
        if got != expected:  # which of them was it?
            shown = b"".join(drawn)
            raise AssertionError(
                f"seed {seed}: {shown[:3000]!r}\n{expected[:3000]!r}\n{got[:3000]!r}"
            )


def test_the_same_bytes_as_from_one_memcached(
    nodes: list[Memcached], proxy: OverlordProxy, talk_to: Callable[[int], Talk], seed: int
) -> None:
    compare(talk_to(nodes[3].port), talk_to(proxy.port), seed, 150)


@pytest.mark.soak
def test_the_same_bytes_for_a_hundred_thousand_commands(
    nodes: list[Memcached], proxy: OverlordProxy, talk_to: Callable[[int], Talk], seed: int
) -> None:
    compare(talk_to(nodes[3].port), talk_to(proxy.port), seed, 6000)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("cache_type", "option"),
    [
        ("memcache", "-a"),
        ("memcache_binary", "-b"),
        ("memcache_auto", "-a"),
        ("memcache_auto", "-b"),
    ],
)
def test_memcapable(
    nodes: list[Memcached],
    start_proxy: Callable[..., OverlordProxy],
    cache_type: str,
    option: str,
    count: int,
) -> None:
    """What libmemcached checks of both protocols: memcached itself passes it all."""
    addresses = [node.address for node in nodes[:count]]
    proxy = start_proxy(addresses, cache_type=cache_type)
    wait_for(lambda: "is up" in proxy.log(), "the nodes are up")

    done = subprocess.run(
        ["memccapable", "-h", "127.0.0.1", "-p", str(proxy.port), option],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert len(re.findall(r"\[pass\]", done.stdout)) == 27, done.stdout
    assert done.returncode == 0


def test_keys_are_where_twemproxy_put_them(
    start_proxy: Callable[..., OverlordProxy], talk_to: Callable[[int], Talk]
) -> None:
    """Also on memcached's own port, which twemproxy leaves out of the names on its ring."""
    with ExitStack() as stack:
        hosts = [f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{n}" for n in (2, 3, 4)]
        nodes = [Memcached(host=host, port=11211) for host in hosts]
        for node in nodes:
            stack.callback(node.dispose)
            node.start()
        servers = [f"{node.host}:{node.port}:1" for node in nodes]
        nutcracker = Nutcracker(servers, redis=False)
        stack.callback(nutcracker.dispose)
        nutcracker.start()
        proxy = start_proxy(servers, cache_type="memcache", hash_compat="twemproxy")
        wait_for(lambda: _is_up(proxy), "all nodes are up")
        keys = [b"user:%d" % (number * number) for number in range(300)]
        with socket.create_connection(nutcracker.address, timeout=10) as client:
            client.sendall(_stores(keys))
            stored = b""
            while len(stored) < len(b"STORED\r\n") * len(keys):
                stored += client.recv(65536)
        assert stored == b"STORED\r\n" * len(keys)

        got = talk_to(proxy.port).say(b"get " + b" ".join(keys) + b"\r\n")

        assert got == b"".join(b"VALUE %b 0 1\r\nx\r\n" % key for key in keys) + b"END\r\n"


def test_values_of_all_sizes(proxy: OverlordProxy, talk_to: Callable[[int], Talk]) -> None:
    talk = talk_to(proxy.port)
    for size in (0, 1, 4096, 65536, 1_000_000):
        value = b"x" * size
        assert talk.say(b"set k%d 0 0 %d\r\n%b\r\n" % (size, size, value)) == b"STORED\r\n"
        assert talk.say(b"get k%d k%d\r\n" % (size, size)) == (
            b"VALUE k%d 0 %d\r\n%b\r\n" % (size, size, value) * 2 + b"END\r\n"
        )


def test_what_is_too_large_is_said_and_the_connection_stays(
    nodes: list[Memcached], proxy: OverlordProxy, talk_to: Callable[[int], Talk]
) -> None:
    asked = b"set big 0 0 2000000\r\n" + b"x" * 2_000_000 + b"\r\nget big\r\n"

    direct = talk_to(nodes[3].port).say(asked)

    assert direct == b"SERVER_ERROR object too large for cache\r\nEND\r\n"
    assert talk_to(proxy.port).say(asked) == direct


def test_cas_ids_are_the_nodes(proxy: OverlordProxy, talk_to: Callable[[int], Talk]) -> None:
    talk = talk_to(proxy.port)
    talk.say(b"set k 0 0 1\r\n1\r\n")
    unique = talk.say(b"gets k nokey\r\n").split(b"\r\n")[0].split()[-1]

    assert talk.say(b"cas k 0 0 1 %b\r\n2\r\n" % unique) == b"STORED\r\n"
    assert talk.say(b"cas k 0 0 1 %b\r\n3\r\n" % unique) == b"EXISTS\r\n"
    assert talk.say(b"get k\r\n") == b"VALUE k 0 1\r\n2\r\nEND\r\n"


def test_a_dead_node_costs_its_keys_only(
    nodes: list[Memcached],
    start_proxy: Callable[..., OverlordProxy],
    talk_to: Callable[[int], Talk],
) -> None:
    victim = Memcached().start()
    try:
        servers = [nodes[0].address, victim.address]
        proxy = start_proxy(servers, cache_type="memcache", hash_method="fnv1a_32")
        talk = talk_to(proxy.port)
        keys = [b"key-%d" % number for number in range(40)]
        for key in keys:
            wait_for(
                lambda key=key: talk.say(b"set %b 0 0 1\r\nx\r\n" % key) == b"STORED\r\n",
                "it is stored",
            )
        victim.kill()
        asked = b"get " + b" ".join(keys) + b"\r\n"
        wait_for(lambda: talk.say(asked).count(b"VALUE") < len(keys), "a node is missed")

        reply = talk.say(asked)

        assert 0 < reply.count(b"VALUE") < len(keys)
        assert reply.endswith(b"END\r\n")
        assert 'reason="missing-node"' in str(proxy.metrics())
        victim.start()
        wait_for(lambda: b"ERROR" not in talk.say(_stores(keys)), "it is used again")
    finally:
        victim.dispose()


def _stores(keys: Sequence[bytes]) -> bytes:
    return b"".join(b"set %b 0 0 1\r\nx\r\n" % key for key in keys)


def test_stats_of_nodes_are_added_up(proxy: OverlordProxy, talk_to: Callable[[int], Talk]) -> None:
    talk = talk_to(proxy.port)
    talk.say(_stores([b"key-%d" % number for number in range(30)]))

    items = dict(re.findall(rb"STAT (\S+) (\d+)", talk.say(b"stats items\r\n")))
    slabs = talk.say(b"stats slabs\r\n")

    assert items[b"items:1:number"] == b"30"
    assert b"STAT 1:chunk_size 96\r\n" in slabs
    assert b"STAT verbosity 0\r\n" in talk.say(b"stats settings\r\n")
    assert b"STAT proxy_nodes 3\r\n" in talk.say(b"stats\r\n")


def test_a_node_that_comes_back_is_found_by_its_version(
    start_proxy: Callable[..., OverlordProxy], talk_to: Callable[[int], Talk]
) -> None:
    """With `ping_auto_eject`, memcacheds are asked for their version, which changes nothing in them."""
    servers = [Memcached().start() for _ in range(2)]
    try:
        proxy = start_proxy(
            [server.address for server in servers],
            cache_type="memcache",
            ping_auto_eject=True,
            ping_fail_limit=2,
            ping_interval="100ms",
            server_retry_timeout="100ms",
        )
        talk = talk_to(proxy.port)
        keys = [b"key-%d" % number for number in range(20)]
        wait_for(lambda: b"ERROR" not in talk.say(_stores(keys)), "both nodes are up")

        servers[1].kill()
        wait_for(lambda: "is ejected" in proxy.log(), "the dead node is ejected")
        assert b"ERROR" not in talk.say(_stores(keys))

        servers[1].start()
        wait_for(lambda: "takes its place" in proxy.log(), "the node is back")
        assert b"ERROR" not in talk.say(_stores(keys))
    finally:
        for server in servers:
            server.dispose()
