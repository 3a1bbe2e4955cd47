"""
With `compat="twemproxy"`, every key lies where twemproxy put it.

The proof is no table of ours: the real nutcracker writes keys to real servers, through a pool for each
combination, and each server is asked what it got.
"""

import random
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen

from overlord.hashing import Distribution, Ring, RingNode

HASHES = (
    "one_at_a_time",
    "md5",
    "crc16",
    "crc32",
    "crc32a",
    "fnv1_64",
    "fnv1a_64",
    "fnv1_32",
    "fnv1a_32",
    "hsieh",
    "murmur",
    "jenkins",
)
EQUAL = (1, 1, 1, 1, 1)
ODD = (1, 1, 3, 8, 12)
"""Weights for which double and single precision give four of the five nodes other points."""
SERVERS = len(EQUAL)
KEYS = 3000
START_TIMEOUT = 15.0
"""Seconds until a server listens."""
REPLY_TIMEOUT = 15.0
"""Seconds that an answer may take."""
LONGEST_KEY = 16_000
"""nutcracker refuses a key that does not fit into one of its buffers of 16 KiB."""


@frozen
class Pool:
    """One of nutcracker's pools, and the nodes that our ring has to have for it."""

    name: str
    lines: list[str]
    """The servers as nutcracker reads them."""
    nodes: list[RingNode]
    """The same as our ring takes them."""
    homes: list[int]
    """For each node the number of the server that it is."""
    hash_method: str = "fnv1a_64"
    distribution: Distribution = "ketama"
    hash_tag: str = "{}"

    def ring(self) -> Ring:
        tag = self.hash_tag.encode()
        return Ring(self.nodes, self.distribution, self.hash_method, tag, compat="twemproxy")


@frozen
class Server:
    """A redis-server of this test."""

    process: subprocess.Popen[bytes]
    host: str
    port: int
    path: str

    def ask(self, *command: bytes) -> Any:
        with unix_connection(self.path) as connection:
            connection.sendall(encoded(*command))
            return read_reply(connection.makefile("rb"))


def encoded(*command: bytes) -> bytes:
    parts = (b"$%d\r\n%b\r\n" % (len(part), part) for part in command)
    return b"*%d\r\n%b" % (len(command), b"".join(parts))


def read_reply(stream: Any) -> Any:
    line = stream.readline()
    if line[:1] == b"*":
        return [read_reply(stream) for _ in range(int(line[1:]))]
    if line[:1] == b"$":
        return stream.read(int(line[1:]) + 2)[:-2]
    return line[1:-2] if line[:1] == b"+" else line[:-2]


def unix_connection(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(REPLY_TIMEOUT)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def free_address(port: int = 0) -> tuple[str, int]:
    """
    A loopback address and a port that nobody has there; the port is this one, if it is given.

    Addresses are drawn from all of 127.0.0.0/8, so that no other program takes the port in between.
    """
    while True:
        host = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.{random.randint(2, 254)}"
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return probe.getsockname()


def wait_for(path: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until `process` accepts connections at this unix socket."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            return unix_connection(path).close()
        except OSError:
            late = time.monotonic() > deadline or process.poll() is not None
            assert not late, f"{process.args!r} does not listen:\n{log.read_text()}"
            time.sleep(0.01)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with a name that is short enough for unix sockets."""
    with tempfile.TemporaryDirectory(prefix="placement-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def start(folder: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts programs, and ends all of them, whatever happens."""
    started: list[subprocess.Popen[bytes]] = []

    def start(log: Path, *command: str) -> subprocess.Popen[bytes]:
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                stdin=subprocess.DEVNULL,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def servers(folder: Path, start: Callable[..., subprocess.Popen[bytes]]) -> dict[str, list[Server]]:
    """Real servers: some on ports of their own, some on port 11211 of several addresses."""

    def server(name: str, port: int = 0) -> Server:
        host, port = free_address(port)
        path = str(folder / f"{name}.sock")
        log = folder / f"{name}.log"
        options = ["--bind", host, "--port", str(port), "--unixsocket", path]
        process = start(
            log, "redis-server", *options, "--save", "", "--appendonly", "no", "--databases", "1"
        )
        wait_for(path, process, log)
        return Server(process, host, port, path)

    return {
        "own": [server(f"own{n}") for n in range(SERVERS)],
        "11211": [server(f"default{n}", 11211) for n in range(3)],
    }


@pytest.fixture(scope="module")
def pools(servers: dict[str, list[Server]]) -> dict[str, Pool]:
    """Every pool that a test uses, by its name."""
    own, default = servers["own"], servers["11211"]
    pools = [
        Pool(
            name=f"{hash_method}-{distribution}-{name}",
            lines=[f"{s.host}:{s.port}:{w}" for s, w in zip(own, weights, strict=True)],
            nodes=[RingNode("", s.host, s.port, w) for s, w in zip(own, weights, strict=True)],
            homes=list(range(SERVERS)),
            hash_method=hash_method,
            distribution=distribution,
        )
        for hash_method in HASHES
        for distribution in ("ketama", "modula", "random")
        for name, weights in (("equal", EQUAL), ("odd", ODD))
    ]

    def named(name: str, labels: list[str], weights: tuple[int, ...] = EQUAL) -> Pool:
        homes = [number % SERVERS for number in range(len(labels))]
        weights = weights * (len(labels) // len(weights))
        lines = [
            f"{own[home].host}:{own[home].port}:{weight} {label}"
            for home, weight, label in zip(homes, weights, labels, strict=True)
        ]
        nodes = [
            RingNode(label, weight=weight) for weight, label in zip(weights, labels, strict=True)
        ]
        return Pool(name, lines, nodes, homes)

    pools += [
        named("aliases", [f"cache-{n}" for n in range(5)]),
        named("aliases-odd", [f"cache-{n}" for n in range(5)], ODD),
        named("many", [f"node{n}" for n in range(25)]),
        named("long", [f"{n}{'x' * (267 + n)}" for n in range(5)]),
        named("alike", [f"{'x' * 272}{'y' * (5 - n)}" for n in range(5)]),
        evolve(named("modula-aliases", ["bb", "aaa", "b", "B", "a"], ODD), distribution="modula"),
        Pool(
            "default-port",
            [f"{s.host}:{s.port}:1" for s in default],
            [RingNode("", s.host, s.port) for s in default],
            [0, 1, 2],
        ),
        Pool(
            "default-port-alias",
            [f"{s.host}:{s.port}:1 {s.host}:{s.port}" for s in default],
            [RingNode(f"{s.host}:{s.port}", s.host, s.port) for s in default],
            [0, 1, 2],
        ),
        Pool(
            "unix",
            [f"{s.path}:1" for s in own],
            [RingNode("", s.path) for s in own],
            list(range(SERVERS)),
        ),
    ]
    basic = evolve(pools[0], hash_method="murmur", distribution="ketama")
    pools += [
        evolve(basic, name="untagged", hash_tag=""),
        evolve(basic, name="dollars", hash_tag="$$"),
        evolve(basic, name="angles", hash_tag="<>"),
    ]
    for distribution in ("ketama", "modula", "random"):
        single = evolve(basic, lines=basic.lines[:1], nodes=basic.nodes[:1], homes=[0])
        pools.append(evolve(single, name=f"single-{distribution}", distribution=distribution))
    return {pool.name: pool for pool in pools}


@pytest.fixture(scope="module")
def nutcracker(
    folder: Path, start: Callable[..., subprocess.Popen[bytes]], pools: dict[str, Pool]
) -> Callable[[str], str]:
    """One nutcracker with all pools; gives the path of a pool's unix socket."""
    config = folder / "nutcracker.yml"
    log = folder / "nutcracker.log"

    def path(name: str) -> str:
        return str(folder / f"{name}.front")

    with config.open("w") as file:
        for pool in pools.values():
            print(f"{pool.name}:", file=file)
            print(f"  listen: {path(pool.name)}", file=file)
            print(f"  hash: {pool.hash_method}", file=file)
            print(f"  distribution: {pool.distribution}", file=file)
            if pool.hash_tag:
                print(f"  hash_tag: '{pool.hash_tag}'", file=file)
            print("  redis: true\n  auto_eject_hosts: false\n  servers:", file=file)
            for line in pool.lines:
                print(f"    - {line}", file=file)
    stats_host, stats_port = free_address()
    process = start(
        log,
        "nutcracker",
        f"--conf-file={config}",
        f"--pid-file={folder / 'nutcracker.pid'}",
        f"--stats-port={stats_port}",
        f"--stats-addr={stats_host}",
        f"--output={folder / 'nutcracker.out'}",
    )
    for name in pools:
        wait_for(path(name), process, log)
    return path


@pytest.fixture(scope="module")
def keys() -> list[bytes]:
    """Keys of every kind: no bytes, all bytes, all tails, tags of every sort, and long ones."""
    dice = random.Random(20110224)
    found = {b"", b"{}", b"{", b"}", b"{}{a}", b"}{", b"{{}}", b"$$", b"$a$", b"<a>", b"<>b"}
    found |= {bytes([byte]) for byte in range(256)}
    found |= {b"key%d" % number for number in range(200)}
    found |= {b"user:%d:name" % (number * number) for number in range(200)}
    for pattern in (b"{%b}%d", b"{}%b%d", b"a{%b}%d", b"{%b%d", b"}%b{%d}", b"<%b>%d", b"$%b$%d"):
        found |= {pattern % (dice.randbytes(number % 9), number) for number in range(60)}
    found |= {dice.randbytes(size) for size in (64, 250, 1024, 4096, LONGEST_KEY) for _ in range(5)}
    while len(found) < KEYS:
        found.add(dice.randbytes(dice.randint(2, 40)))
    return sorted(found)


@pytest.fixture
def placed(
    servers: dict[str, list[Server]],
    pools: dict[str, Pool],
    nutcracker: Callable[[str], str],
    keys: list[bytes],
) -> Callable[[str], dict[bytes, int]]:
    """Writes all keys through a pool; gives for each the number of the server it lies on."""
    payload = b"".join(encoded(b"SET", key, b"") for key in keys)

    def placed(name: str) -> dict[bytes, int]:
        backends = servers["11211" if name.startswith("default-port") else "own"]
        for backend in backends:
            assert backend.ask(b"FLUSHALL") == b"OK"
        with unix_connection(nutcracker(name)) as client:
            client.sendall(payload)
            stream = client.makefile("rb")
            assert {bytes(read_reply(stream)) for _ in keys} == {b"OK"}
        where = {
            key: number
            for number, backend in enumerate(backends)
            for key in backend.ask(b"KEYS", b"*")
        }
        assert sorted(where) == keys
        return where

    return placed


def assert_alike(pool: Pool, placed: dict[bytes, int]) -> None:
    ring = pool.ring()
    differing = {
        key: (ring.node_of_key(key), server)
        for key, server in placed.items()
        if pool.homes[ring.node_of_key(key)] != server
    }
    assert differing == {}


@pytest.mark.parametrize("weights", ["equal", "odd"])
@pytest.mark.parametrize("distribution", ["ketama", "modula"])
@pytest.mark.parametrize("hash_method", HASHES)
def test_no_key_moves(
    hash_method: str,
    distribution: str,
    weights: str,
    pools: dict[str, Pool],
    placed: Callable[[str], dict[bytes, int]],
) -> None:
    """Who moves from twemproxy finds every key again, whatever hash, distribution and weights."""
    name = f"{hash_method}-{distribution}-{weights}"

    assert_alike(pools[name], placed(name))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("aliases", id="aliases instead of addresses"),
        pytest.param("aliases-odd", id="aliases and odd weights"),
        pytest.param("many", id="25 equal nodes, where single precision drops a digest each"),
        pytest.param("long", id="labels around the cut"),
        pytest.param("alike", id="labels that are equal up to the cut: the shortest takes all"),
        pytest.param("modula-aliases", id="modula goes by the labels' order, not the list's"),
        pytest.param("default-port", id="port 11211, which labels leave out"),
        pytest.param("default-port-alias", id="port 11211 in an alias, which stays"),
        pytest.param("unix", id="unix sockets"),
        pytest.param("untagged", id="no hash tag"),
        pytest.param("dollars", id="a hash tag of two equal bytes"),
        pytest.param("angles", id="a hash tag of other bytes"),
        pytest.param("single-ketama", id="one server, ketama"),
        pytest.param("single-modula", id="one server, modula"),
        pytest.param("single-random", id="one server, random"),
    ],
)
def test_no_key_moves_with(
    name: str, pools: dict[str, Pool], placed: Callable[[str], dict[bytes, int]]
) -> None:
    """Labels, tags and lonely servers count as twemproxy counts them."""
    assert_alike(pools[name], placed(name))


@pytest.mark.parametrize("weights", ["equal", "odd"])
@pytest.mark.parametrize("hash_method", HASHES)
def test_random_spreads_alike(
    hash_method: str,
    weights: str,
    pools: dict[str, Pool],
    keys: list[bytes],
    placed: Callable[[str], dict[bytes, int]],
) -> None:
    """Random gives every server the same part, whatever its weight, in both programs."""
    name = f"{hash_method}-random-{weights}"
    ring = pools[name].ring()

    theirs = Counter(placed(name).values())
    ours = Counter(ring.node_of_key(key) for key in keys)

    share = len(keys) / SERVERS
    # Seven standard deviations: chance alone exceeds them once in 10**11 counts.
    room = 7 * (share * (1 - 1 / SERVERS)) ** 0.5
    for counts in (theirs, ours):
        assert all(abs(counts[number] - share) < room for number in range(SERVERS)), counts


def test_our_own_form_moves_keys(
    pools: dict[str, Pool], placed: Callable[[str], dict[bytes, int]]
) -> None:
    """Bytes from 0x80 on are why there are two forms: with overlord's, such keys lie elsewhere."""
    pool = pools["fnv1a_64-ketama-equal"]
    ring = Ring(pool.nodes, hash_tag=b"{}")

    moved = [key for key, server in placed(pool.name).items() if ring.node_of_key(key) != server]

    assert moved
    assert all(key == b"" or max(key) >= 0x80 for key in moved)
