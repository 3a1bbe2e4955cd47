"""Logins of memcache: of clients, answered as a memcached with `-S` or `-Y` does, and ours to such nodes."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from integration.programs import Memcached, OverlordProxy, wait_for
from integration.sasl import PASSWORD, USER, SaslMemcached, TextLoginMemcached
from integration.test_memcache_binary import HEADER, request

SASL_LIST, SASL_AUTH, SASL_STEP = 0x20, 0x21, 0x22
GET, SET, NOOP, STAT, VERSION = 0x00, 0x01, 0x0A, 0x10, 0x0B
LOGIN = {"sasl_username": USER, "sasl_password": PASSWORD}
LINE = f"set x 0 0 {len(USER) + 1 + len(PASSWORD)}\r\n{USER} {PASSWORD}\r\n".encode()
USERS = [f"{USER}:{PASSWORD}"]


def plain(user: str = USER, password: str = PASSWORD, acts_as: str = "") -> bytes:
    return f"{acts_as}\0{user}\0{password}".encode()


def auth(message: bytes, mechanism: bytes = b"PLAIN", opcode: int = SASL_AUTH) -> bytes:
    return request(opcode, 7, key=mechanism, value=message)


def told(port: int, data: bytes, moment: float = 0.3) -> tuple[bytes, bool]:
    """What comes for these bytes in a moment, and whether the connection was closed behind it."""
    return told_each(port, [data], moment)[0]


def told_each(port: int, sent: Sequence[bytes], moment: float = 1.0) -> list[tuple[bytes, bool]]:
    """The same for several, each on a connection of its own."""
    with ExitStack() as stack:
        connections = []
        for data in sent:
            connection = socket.create_connection(("127.0.0.1", port), timeout=5)
            connections.append(stack.enter_context(connection))
            connection.sendall(data)
        time.sleep(moment)
        return [_said_on(connection) for connection in connections]


def _said_on(connection: socket.socket) -> tuple[bytes, bool]:
    """What has come, and whether the other side is closed."""
    connection.settimeout(0)
    said = b""
    try:
        while piece := connection.recv(1 << 16):
            said += piece
    except BlockingIOError:
        return said, False
    except ConnectionResetError:
        pass
    return said, True


def replies(said: bytes) -> list[tuple[int, int, int, bytes]]:
    """Opcode, status, opaque and body of each."""
    found = []
    while said:
        _, opcode, _, _, _, status, body, opaque, _ = HEADER.unpack(said[: HEADER.size])
        found.append((opcode, status, opaque, said[HEADER.size : HEADER.size + body]))
        said = said[HEADER.size + body :]
    return found


@pytest.fixture(scope="module")
def guarded() -> Iterator[SaslMemcached]:
    node = SaslMemcached()
    try:
        yield node.start()
    finally:
        node.dispose()


@pytest.fixture(scope="module")
def text_guarded() -> Iterator[TextLoginMemcached]:
    node = TextLoginMemcached()
    try:
        yield node.start()
    finally:
        node.dispose()


@pytest.fixture
def start_nodes() -> Iterator[Callable[..., Memcached]]:
    """Starts memcacheds for this test alone."""
    with ExitStack() as stack:

        def start(kind: type[Memcached], *arguments: str) -> Memcached:
            node = kind(*arguments)
            stack.callback(node.dispose)
            return node.start()

        yield start


def up(proxy: OverlordProxy, nodes: int = 1) -> OverlordProxy:
    wait_for(lambda: proxy.log().count("is up") == nodes, "the nodes are up")
    return proxy


CASES = {
    "list": request(SASL_LIST, 7),
    "list with a key": request(SASL_LIST, 7, key=b"x"),
    "list with a value": request(SASL_LIST, 7, value=b"x"),
    "right": auth(plain()) + request(GET, 8, key=b"nothing"),
    "wrong password": auth(plain(password="wrong")) + request(NOOP, 8),
    "wrong user": auth(plain(user="nobody")),
    "as oneself": auth(plain(acts_as=USER)),
    "as another": auth(plain(acts_as="eve")),
    "another mechanism": auth(plain(), b"SCRAM"),
    "small letters": auth(plain(), b"plain"),
    "no mechanism": auth(plain(), b""),
    "a long mechanism": auth(plain(), b"P" * 32),
    "too long a mechanism": auth(plain(), b"P" * 33),
    "a mechanism longer than a key": auth(plain(), b"P" * 251),
    "no NUL": auth(b"bobsecret"),
    "one NUL": auth(b"bob\0secret"),
    "three NULs": auth(plain() + b"\0"),
    "a NUL too many in front": auth(b"\0" + plain()),
    "no user": auth(b"\0\0secret"),
    "no password": auth(b"\0bob\0"),
    "a step alone": auth(plain(), opcode=SASL_STEP),
    "a step behind": auth(b"") + auth(plain(), opcode=SASL_STEP) + request(GET, 8, key=b"nothing"),
    "a wrong step": auth(b"") + auth(b"x\0y\0z", opcode=SASL_STEP),
    "an empty step": auth(b"") + auth(b"", opcode=SASL_STEP),
    "a step without a mechanism": auth(b"", b"", SASL_STEP),
    "with extras": request(SASL_AUTH, 7, extras=b"1234", key=b"PLAIN", value=plain()),
    "a list when in": auth(plain()) + request(SASL_LIST, 8),
    "out again": auth(plain()) + auth(plain(password="x")) + request(GET, 8, key=b"nothing"),
    "get": request(GET, 7, key=b"k"),
    "set": request(SET, 7, extras=bytes(8), key=b"k", value=b"v"),
    "noop": request(NOOP, 7),
    "stat": request(STAT, 7),
    "unknown": request(0x55, 7),
    "quit": request(0x07, 7),
    "quiet": request(0x09, 7, key=b"k"),
    "get without a key": request(GET, 7),
    "16 KiB": auth(b"\0bob\0" + b"x" * 16_000) + request(NOOP, 8),
}


def test_the_same_replies_as_from_a_memcached_with_sasl(
    guarded: SaslMemcached, start_proxy: Callable[..., OverlordProxy]
) -> None:
    """Before the login and at it, connections that are closed afterwards included."""
    proxy = up(
        start_proxy([guarded.address], cache_type="memcache_binary", sasl_users=USERS, **LOGIN)
    )
    sent = list(CASES.values())

    expected, got = told_each(guarded.port, sent), told_each(proxy.port, sent)

    for name, (words, end), (own_words, own_end) in zip(CASES, expected, got, strict=True):
        assert (replies(own_words), own_end) == (replies(words), end), name


TEXT_CASES = [
    LINE + b"get x\r\n",
    LINE.replace(b" 10", b" 10 noreply") + b"get x\r\n",
    b"set x 0 0 9\r\nbob wrong\r\n",
    b"set x 0 0 13\r\nnobody secret\r\n",
    b"set x 0 0 9\r\nbobsecret\r\n",
    b"set x 0 0 0\r\n\r\n",
    b"set x 0 0 12\r\nbob secret x\r\n",
    b"set x 0 0 11\r\nbob  secret\r\n",
    b"set x 0 0 11\r\nbob secret \r\n",
    b"get x\r\n",
    b"version\r\n",
    b"quit\r\n",
    b"mn\r\n",
    b"\r\n",
    b"nonsense\r\n",
    b"stats\r\n",
    b"set x\r\n",
]


def test_the_same_replies_as_from_a_memcached_with_users(
    text_guarded: TextLoginMemcached, start_proxy: Callable[..., OverlordProxy]
) -> None:
    """One command at a time: memcached throws away what came with one that it refuses."""
    proxy = up(
        start_proxy([text_guarded.address], cache_type="memcache", sasl_users=USERS, **LOGIN)
    )

    assert told_each(proxy.port, TEXT_CASES) == told_each(text_guarded.port, TEXT_CASES)


@pytest.mark.parametrize(
    ("kind", "cache_type", "asked"),
    [
        (SaslMemcached, "memcache_binary", request(SET, 1, extras=bytes(8), key=b"k", value=b"v")),
        (TextLoginMemcached, "memcache", b"set k 0 0 1\r\nv\r\n"),
        (TextLoginMemcached, "memcache_auto", b"set k 0 0 1\r\nv\r\n"),
        (SaslMemcached, "memcache_auto", request(SET, 1, extras=bytes(8), key=b"k", value=b"v")),
    ],
)
def test_the_proxy_logs_in_to_its_nodes(
    start_nodes: Callable[..., Memcached],
    start_proxy: Callable[..., OverlordProxy],
    kind: type[Memcached],
    cache_type: str,
    asked: bytes,
) -> None:
    """Again when a node has gone, and come back."""
    node = start_nodes(kind)
    proxy = start_proxy([node.address], cache_type=cache_type, greet_nodes=False, **LOGIN)

    def is_served() -> bool:
        said, _ = told(proxy.port, asked)
        return said == b"STORED\r\n" or said[6:8] == b"\0\0"

    wait_for(is_served, "it is stored")
    node.kill()
    node.start()
    wait_for(is_served, "it is stored again")


@pytest.mark.parametrize(
    ("kind", "cache_type"), [(SaslMemcached, "memcache_binary"), (TextLoginMemcached, "memcache")]
)
@pytest.mark.parametrize(
    ("login", "why"),
    [
        ({"sasl_username": USER, "sasl_password": "s3cr3t"}, "refuses our user name or password"),
        ({}, "it wants a login, and we have none"),
    ],
)
def test_a_login_that_fails_is_said(
    start_nodes: Callable[..., Memcached],
    start_proxy: Callable[..., OverlordProxy],
    kind: type[Memcached],
    cache_type: str,
    login: dict[str, str],
    why: str,
) -> None:
    """In the log, and to clients; the password is not."""
    node = start_nodes(kind)
    proxy = start_proxy([node.address], cache_type=cache_type, **login)

    wait_for(lambda: why in proxy.log(), "it is said why")

    assert f"is down: login refused: it {why.removeprefix('it ')}" in proxy.log()
    assert "s3cr3t" not in proxy.log()
    asked = b"set k 0 0 1\r\nv\r\n"
    if cache_type == "memcache_binary":
        asked = request(SET, 1, extras=bytes(8), key=b"k", value=b"v")
    assert why.encode() in told(proxy.port, asked)[0]


@pytest.mark.parametrize(
    ("kind", "cache_type"), [(SaslMemcached, "memcache_binary"), (TextLoginMemcached, "memcache")]
)
def test_probes_log_in(
    start_nodes: Callable[..., Memcached],
    start_proxy: Callable[..., OverlordProxy],
    kind: type[Memcached],
    cache_type: str,
) -> None:
    """So a node that wants a login is not ejected, and one that died is back when it answers."""
    nodes = [start_nodes(kind) for _ in range(2)]
    proxy = start_proxy(
        [node.address for node in nodes],
        cache_type=cache_type,
        ping_auto_eject=True,
        ping_fail_limit=2,
        ping_interval="50ms",
        server_retry_timeout="100ms",
        **LOGIN,
    )
    up(proxy, 2)
    time.sleep(0.4)  # several probes of each
    assert "is ejected" not in proxy.log()

    nodes[0].kill()
    wait_for(lambda: "is ejected" in proxy.log(), "the dead node is ejected")
    nodes[0].start()
    wait_for(lambda: "takes its place" in proxy.log(), "it is back")


def test_a_probe_that_is_refused_ejects_the_node(
    start_nodes: Callable[..., Memcached], start_proxy: Callable[..., OverlordProxy]
) -> None:
    nodes = [start_nodes(SaslMemcached), start_nodes(SaslMemcached, USER, "another")]
    proxy = start_proxy(
        [node.address for node in nodes],
        cache_type="memcache_binary",
        ping_auto_eject=True,
        ping_fail_limit=2,
        ping_interval="50ms",
        **LOGIN,
    )

    wait_for(lambda: "is ejected" in proxy.log(), "it is ejected")

    assert "login refused: status 0x0020 'Auth failure.'" in proxy.log()


def test_a_reload_reads_the_file_of_users_again(
    guarded: SaslMemcached, start_proxy: Callable[..., OverlordProxy], tmp_path: Path
) -> None:
    users = tmp_path / "users"
    users.write_text("bob:one\n")
    users.chmod(0o600)
    proxy = up(
        start_proxy(
            [guarded.address],
            cache_type="memcache_binary",
            sasl_file=str(users),
            arguments=["--reload"],
            **LOGIN,
        )
    )
    assert replies(told(proxy.port, auth(plain(password="one")))[0])[0][1] == 0

    users.write_text("bob:two\n")
    (proxy.folder / "cluster.toml").touch()

    wait_for(
        lambda: replies(told(proxy.port, auth(plain(password="two")))[0])[0][1] == 0,
        "the new password is taken",
    )
    assert replies(told(proxy.port, auth(plain(password="one")))[0])[0][1] == 0x20
    assert "sasl_users has changed" in proxy.log()


def test_d10_many_strangers_cost_little(
    guarded: SaslMemcached, start_proxy: Callable[..., OverlordProxy]
) -> None:
    """Whatever they announce: 1 MiB of a message, 4 GiB of one, a value of 2 GB."""
    proxy = start_proxy([guarded.address], cache_type="memcache_auto", sasl_users=USERS)
    huge = bytearray(auth(b""))
    huge[8:12] = b"\xff\xff\xff\xff"
    before = proxy.rss()
    with ExitStack() as stack:
        for opening in (bytes(huge), auth(b"\0" * (1 << 20))[:-1], b"set x 0 0 2000000000\r\n"):
            for _ in range(30):
                connection = stack.enter_context(
                    socket.create_connection(("127.0.0.1", proxy.port))
                )
                connection.sendall(opening + b"x" * 500_000)
        assert replies(told(proxy.port, auth(plain()))[0])[0][1] == 0
        assert proxy.rss() - before < 16 << 20
