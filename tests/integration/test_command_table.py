"""
The table of commands and the proxy's own answers, compared with the redis-server on the PATH.

The server is the judge of names, arities, key positions and error texts. What the proxy serves beyond
Redis 7.0 cannot be judged here.
"""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any

import pytest

from overlord.proxy.flow.command_errors import CommandRejected
from overlord.proxy.flow.command_row import Kind
from overlord.proxy.flow.keys import BY_NAME, keys_to_route
from overlord.proxy.flow.local import Effect, Session, answer
from overlord.proxy.flow.local_command import categories
from overlord.proxy.flow.redis_commands import COMMANDS
from overlord.proxy.flow.session import ClientState
from overlord.wire.resp_encode import encode

DEADLINE = 10.0
"""Seconds within which a server starts and each reply arrives."""

WIDENED = {b"ZRANK": 3, b"ZREVRANK": 3}
"""What Redis 7.0 has narrower than the table: arity by name."""


class Link:
    """A connection to a server, as raw as the comparison has to be."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        self._file = self.socket.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def ask(self, *argv: bytes) -> bytes:
        """Send a command and return the bytes of its reply."""
        self.socket.sendall(encode(list(argv)))
        return self._reply()

    def _reply(self) -> bytes:
        line = self._file.readline()
        assert line, "the server closed the connection"
        kind, count = line[:1], line[1:-2]
        if kind in b"$=" and count != b"-1":
            return line + self._file.read(int(count) + 2)
        if kind in b"*~>%" and count != b"-1":
            items = int(count) * (2 if kind == b"%" else 1)
            return line + b"".join(self._reply() for _ in range(items))
        return line


def decode(reply: bytes) -> Any:
    """The Python value of a reply: sets are sorted lists, maps dictionaries, errors bytes with a `-`."""
    value, rest = _decode(reply)
    assert rest == b""
    return value


def _decode(reply: bytes) -> tuple[Any, bytes]:
    line, _, rest = reply.partition(b"\r\n")
    kind, text = line[:1], line[1:]
    if kind == b":":
        return int(text), rest
    if kind == b"_" or text == b"-1":
        return None, rest
    if kind in b"$=":
        return rest[: int(text)], rest[int(text) + 2 :]
    if kind in b"*~%":
        items = []
        for _ in range(int(text) * (2 if kind == b"%" else 1)):
            item, rest = _decode(rest)
            items.append(item)
        if kind == b"%":
            return dict(zip(items[::2], items[1::2], strict=True)), rest
        return (sorted(items, key=repr) if kind == b"~" else items), rest
    return line, rest


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a real redis-server with nothing in it."""
    program = shutil.which("redis-server")
    assert program is not None, "redis-server is not installed (apt install redis-server)"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    command = [program, "--port", str(number), "--bind", "127.0.0.1", "--save", ""]
    home = tmp_path_factory.mktemp("redis")
    with subprocess.Popen(command, cwd=home, stdout=subprocess.DEVNULL) as process:
        try:
            end = monotonic() + DEADLINE
            while True:
                try:
                    socket.create_connection(("127.0.0.1", number), timeout=1).close()
                    break
                except OSError:
                    assert monotonic() < end, "redis-server does not start"
                    sleep(0.02)
            yield number
        finally:
            process.terminate()


@pytest.fixture
def redis(port: int) -> Iterator[Link]:
    with closing(Link(port)) as link:
        yield link


@pytest.fixture(scope="module")
def real(port: int) -> dict[bytes, list[Any]]:
    """The rows of the server's own COMMAND, subcommands included, by upper-case name."""
    with closing(Link(port)) as link:
        link.ask(b"HELLO", b"3")
        rows = {}
        for row in decode(link.ask(b"COMMAND")):
            for one in (row, *row[9]):
                rows[one[0].upper()] = one
    return rows


def ours(real: dict[bytes, list[Any]]) -> list[bytes]:
    """The names that both the table and the server have."""
    return [command.name for command in COMMANDS if command.name in real]


def test_the_table_knows_every_command_of_the_server(real: dict[bytes, list[Any]]) -> None:
    """No command of Redis is unknown to the proxy."""
    assert [name for name in real if b"|" not in name and name not in BY_NAME] == []


def test_the_table_knows_every_subcommand_of_its_containers(real: dict[bytes, list[Any]]) -> None:
    """Where the proxy looks at the second word, it knows all that the server knows."""
    containers = {name.partition(b"|")[0] for name in BY_NAME if b"|" in name}

    missing = [name for name in real if name.partition(b"|")[0] in containers - {name}]

    assert [name for name in missing if name not in BY_NAME] == []
    assert containers == {
        *(b"ACL", b"CLIENT", b"COMMAND", b"CONFIG", b"FUNCTION", b"LATENCY", b"MEMORY", b"MODULE"),
        *(b"OBJECT", b"PUBSUB", b"SCRIPT", b"SLOWLOG", b"XGROUP", b"XINFO"),
    }


def test_arity_and_key_positions_are_the_servers(real: dict[bytes, list[Any]]) -> None:
    """Arity, first key, last key and step are what the server's COMMAND says."""
    expected = {name: (WIDENED.get(name, real[name][1]), *real[name][3:6]) for name in ours(real)}

    table = {name: BY_NAME[name] for name in expected}

    assert {
        name: (WIDENED.get(name, row.arity), row.first, row.last, row.step)
        for name, row in table.items()
    } == expected
    assert all(table[name].arity == -arity for name, arity in WIDENED.items())
    assert len(expected) > 240


def test_flags_and_categories_are_the_servers(real: dict[bytes, list[Any]]) -> None:
    """What COMMAND INFO says of a command that the proxy serves is what the server says."""
    names = [name for name in ours(real) if BY_NAME[name].kind is not Kind.REFUSED]

    table = {
        name: (set(BY_NAME[name].flags.split()), {"@" + word for word in categories(BY_NAME[name])})
        for name in names
    }

    assert table == {
        name: tuple({word.decode()[1:] for word in real[name][i]} for i in (2, 6)) for name in names
    }


def test_key_specifications_are_the_servers(real: dict[bytes, list[Any]]) -> None:
    """COMMAND INFO gives the key specifications that the server gives, notes left out."""
    names = [n for n in ours(real) if b"|" not in n and BY_NAME[n].kind is not Kind.REFUSED]
    names = [name for name in names if name != b"COMMAND"]

    reply = decode(local(3, b"COMMAND", b"INFO", *names))

    def plain(row: list[Any]) -> list[Any]:
        specifications = [{k: v for k, v in spec.items() if k != b"notes"} for spec in row[8]]
        return sorted(specifications, key=repr)

    assert {row[0].upper(): plain(row) for row in reply} == {
        name: plain(real[name]) for name in names
    }


KEY_SAMPLES = {
    b"BITOP": [b"BITOP AND dst a b", b"BITOP NOT dst a"],
    b"BLMPOP": [b"BLMPOP 0 2 a b LEFT"],
    b"BZMPOP": [b"BZMPOP 0 2 a b MIN", b"BZMPOP 0 0 a MIN"],
    b"BITFIELD": [
        b"BITFIELD k GET u4 0",
        b"BITFIELD k GET u4 0 SET u4 0 1",
        b"BITFIELD k OVERFLOW WRAP GET u4 0",
        b"BITFIELD k",
    ],
    b"EVAL": [b"EVAL s 2 a b c", b"EVAL s 0", b"EVAL s 0 a", b"EVAL s x a", b"EVAL s 3 a b"],
    b"EVALSHA": [b"EVALSHA s 1 a b"],
    b"EVALSHA_RO": [b"EVALSHA_RO s 1 a b"],
    b"EVAL_RO": [b"EVAL_RO s 1 a b"],
    b"FCALL": [b"FCALL f 2 a b c", b"FCALL f 0", b"FCALL f -1"],
    b"FCALL_RO": [b"FCALL_RO f 1 a"],
    b"GEORADIUS": [
        b"GEORADIUS k 1 2 3 m",
        b"GEORADIUS k 1 2 3 m STORE d",
        b"GEORADIUS k 1 2 3 m storedist d WITHDIST STORE e",
        b"GEORADIUS k 1 2 3 m COUNT 3 STORE",
    ],
    b"GEORADIUSBYMEMBER": [
        b"GEORADIUSBYMEMBER k m 3 km",
        b"GEORADIUSBYMEMBER k m 3 km ASC STOREDIST d",
        b"GEORADIUSBYMEMBER k store 3 km STORE d",
    ],
    b"LMPOP": [b"LMPOP 2 a b LEFT", b"LMPOP 1 a LEFT COUNT 2", b"LMPOP 9 a LEFT"],
    b"MIGRATE": [b"MIGRATE h 1 k 0 9"],
    b"MSET": [b"MSET a 1 b 2 c 3"],
    b"MSETNX": [b"MSETNX a 1 b 2", b"MSETNX a 1 b"],
    b"PFMERGE": [b"PFMERGE dst a", b"PFMERGE dst a b"],
    b"SET": [b"SET k v", b"SET k v GET", b"SET k v EX 10 get"],
    b"SINTERCARD": [b"SINTERCARD 2 a b LIMIT 3", b"SINTERCARD 0 a"],
    b"SORT": [
        b"SORT k",
        b"SORT k BY w_* LIMIT 0 5 GET # GET d_* STORE dst",
        b"SORT k STORE a STORE b",
        b"SORT k LIMIT STORE 1 STORE b",
        b"SORT k BY STORE STORE b",
        b"SORT k STORE",
    ],
    b"SORT_RO": [b"SORT_RO k BY w_* GET #"],
    b"XREAD": [
        b"XREAD STREAMS a 0",
        b"XREAD COUNT 2 STREAMS a b 0 0",
        b"XREAD BLOCK 5 COUNT 2 streams a b c 0 0 0",
    ],
    b"XREADGROUP": [
        b"XREADGROUP GROUP g c STREAMS a >",
        b"XREADGROUP GROUP STREAMS c NOACK STREAMS a b > >",
        b"XREADGROUP GROUP g STREAMS COUNT 1 BLOCK 1 STREAMS a >",
    ],
    b"ZDIFF": [b"ZDIFF 2 a b WITHSCORES", b"ZDIFF 0 a"],
    b"ZDIFFSTORE": [b"ZDIFFSTORE dst 2 a b"],
    b"ZINTER": [b"ZINTER 2 a b WEIGHTS 1 2"],
    b"ZINTERCARD": [b"ZINTERCARD 2 a b", b"ZINTERCARD 3 a b", b"ZINTERCARD -1 a"],
    b"ZINTERSTORE": [b"ZINTERSTORE dst 1 a", b"ZINTERSTORE dst 2 a"],
    b"ZMPOP": [b"ZMPOP 2 a b MIN"],
    b"ZUNION": [b"ZUNION 2 a b", b"ZUNION x a"],
    b"ZUNIONSTORE": [b"ZUNIONSTORE dst 2 a b WEIGHTS 1 2", b"ZUNIONSTORE dst x a b"],
}
"""
Commands whose arguments have a say in where their keys are, rightly and wrongly used.

Left out is where COMMAND GETKEYS of Redis 7.0 is laxer than the command itself (`ZUNION 1x a`, an
unbalanced XREAD) or stricter (PFMERGE without a source).
"""


def sample(name: bytes, extra: int) -> list[bytes]:
    """A command with as many arguments as it needs, and `extra` more."""
    words = name.split(b"|")
    count = abs(BY_NAME[name].arity) + extra
    return [*words, *(b"a%d" % i for i in range(len(words), count))]


def samples(real: dict[bytes, list[Any]]) -> list[list[bytes]]:
    found = []
    for name in ours(real):
        if name in WIDENED:
            found.append(sample(name, 0)[:3])
        elif real[name][9] and BY_NAME[name].kind is not Kind.CONTAINER:
            continue  # the table does not tell the subcommands of what is refused as a whole
        elif name in KEY_SAMPLES:
            found += [text.split(b" ") for text in KEY_SAMPLES[name]]
        else:
            found += [sample(name, extra) for extra in range(4)]
    return found


def local(protocol: int, *argv: bytes) -> bytes:
    """The bytes that the proxy answers."""
    return answer(list(argv), session(protocol), FACTS).reply


def session(protocol: int = 2) -> Session:
    return Session(7, "127.0.0.1:50000", "127.0.0.1:6379", 1_000_000.0, protocol=protocol)


FACTS = SimpleNamespace(
    version="1.2.3",
    run_id="0" * 40,
    process_id=1,
    tcp_port=6379,
    uptime=100.0,
    connected_clients=1,
    max_clients=100,
    max_client_name=64,
    max_command_names=1024,
    password_digest=b"",
    connections_received=1,
    connections_refused=0,
    error_replies=0,
    bytes_received=1,
    bytes_sent=1,
    waiting_clients=0,
    processor_seconds=(0.1, 0.2),
    node_states=[{"state": "up"}],
    settings={"maxmemory": 0, "save": "", "databases": 16},
    commands_processed=1,
    used_memory=1 << 20,
    nodes=3,
    poses=False,
    pose=lambda session: None,
    nodes_up=3,
    now=lambda: 1_000_010.5,
    client=lambda number: STATE if number == 7 else None,
    clients=lambda: iter([STATE]),
    end_client=lambda number: None,
    end_wait=lambda number, *, with_error: False,
)
STATE = ClientState(
    session=session(),
    command="client|list",
    idle=0.0,
    flags="N",
    subscriptions=(0, 0, 0),
    queued=-1,
    watched=0,
    unparsed=0,
    unsent=0,
    retained=0,
    received=0,
    sent=0,
)


@pytest.mark.parametrize("asked", [b"GETKEYS", b"GETKEYSANDFLAGS"])
def test_keys_are_found_where_the_server_finds_them(
    redis: Link, real: dict[bytes, list[Any]], asked: bytes
) -> None:
    """For every command, used rightly and wrongly, COMMAND GETKEYS answers as the server does."""
    redis.ask(b"HELLO", b"3")
    commands = samples(real)

    answers = {tuple(argv): decode(local(3, b"COMMAND", asked, *argv)) for argv in commands}

    assert answers == {
        tuple(argv): decode(redis.ask(b"COMMAND", asked, *argv)) for argv in commands
    }
    assert len(answers) > 700


SERVED_ERRORS = [
    b"ZUNION abc a",
    b"ZUNION 0 a",
    b"ZUNION 5 a",
    b"ZUNION -1 a",
    b"ZUNION 99999999999999999999 a",
    b"ZUNIONSTORE d 0 a",
    b"ZUNIONSTORE d 5 a",
    b"ZINTERCARD 0 a",
    b"ZINTERCARD x a",
    b"ZINTERCARD 6 a",
    b"SINTERCARD 0 a",
    b"SINTERCARD x a",
    b"SINTERCARD 6 a",
    b"LMPOP 0 a LEFT",
    b"LMPOP x a LEFT",
    b"LMPOP 5 a LEFT",
    b"ZMPOP 0 a MIN",
    b"ZMPOP 5 a MIN",
    b"EVAL s abc",
    b"EVAL s -1",
    b"EVAL s 5 a",
    b"XREAD FOO bar STREAMS a 0",
    b"XREAD COUNT 1 a 0",
    b"OBJECT",
    b"OBJECT FOO",
    b"OBJECT FOO a",
    b"OBJECT ENCODING",
    b"XGROUP CREATE",
    b"XINFO STREAM",
    b"MEMORY USAGE",
    b"NOSUCH",
    b"NOSUCH a b",
    b"CONFIG|GET a",
    b"GET",
    b"GET a b",
    b"MSETNX",
    b"ZINTERSTORE a",
]


@pytest.mark.parametrize("command", SERVED_ERRORS, ids=bytes.decode)
def test_a_command_that_cannot_be_routed_gets_the_servers_error(
    redis: Link, command: bytes
) -> None:
    """Before any node is asked, the client reads what Redis would say."""
    argv = command.split(b" ")

    with pytest.raises(CommandRejected) as rejected:
        keys_to_route(argv)

    assert rejected.value.reply == redis.ask(*argv)


LOCAL_SAMPLES = [
    [b"PING"],
    [b"ping", b"a\r\nb"],
    [b"PING", b"a", b"b"],
    [b"ECHO", b"\0\xff"],
    [b"ECHO"],
    [b"QUIT"],
    [b"QUIT", b"a"],
    *[[b"SELECT", number] for number in (b"0", b"16", b"-1", b"x", b"00", b"+0", b"9" * 11)],
    [b"SELECT", b"9" * 30],
    [b"SELECT"],
    [b"AUTH"],
    [b"AUTH", b"x"],
    [b"AUTH", b"default", b"x"],
    [b"AUTH", b"other", b"x"],
    [b"AUTH", b"a", b"b", b"c"],
    [b"HELLO", b"x"],
    [b"HELLO", b"4"],
    [b"HELLO", b"1"],
    [b"HELLO", b"3", b"FOO"],
    [b"HELLO", b"3", b"F\r\nO\0O"],
    [b"HELLO", b"3", b"SETNAME"],
    [b"HELLO", b"3", b"SETNAME", b"a b"],
    [b"HELLO", b"2", b"AUTH", b"o", b"p"],
    [b"HELLO", b"2", b"AUTH", b"o"],
    [b"RESET", b"x"],
    [b"CLIENT"],
    [b"CLIENT", b"FOO"],
    [b"CLIENT", b"MAINT_NOTIFICATIONS", b"ON"],
    [b"CLIENT", b"F\r\nO"],
    [b"CLIENT", b"SETNAME"],
    [b"CLIENT", b"SETNAME", b"a b"],
    [b"CLIENT", b"SETNAME", b"\xc3\xa9"],
    [b"CLIENT", b"SETNAME", b"x"],
    [b"CLIENT", b"SETNAME", b""],
    [b"CLIENT", b"GETNAME"],
    [b"CLIENT", b"ID", b"x"],
    [b"CLIENT", b"REPLY", b"ON"],
    [b"CLIENT", b"REPLY", b"x"],
    [b"CLIENT", b"LIST", b"TYPE", b"master"],
    [b"CLIENT", b"LIST", b"TYPE", b"pubsub"],
    *[
        [b"CLIENT", *words.split()]
        for words in (
            b"LIST TYPE",
            b"LIST TYPE x",
            b"LIST TYPE normal x",
            b"LIST ID",
            b"LIST ID x",
            b"LIST ID 99999999",
            b"LIST FOO",
            b"INFO x",
            b"KILL",
            b"KILL 127.0.0.1:1",
            b"KILL x",
            b"KILL ID 0",
            b"KILL ID -1",
            b"KILL ID x",
            b"KILL ID 99999999",
            b"KILL ID 1 TYPE",
            b"KILL TYPE x",
            b"KILL TYPE replica",
            b"KILL USER nobody",
            b"KILL ADDR 127.0.0.1:1 SKIPME no",
            b"KILL LADDR 127.0.0.1:1",
            b"KILL ID 99999999 SKIPME x",
            b"KILL FOO x",
            b"UNBLOCK",
            b"UNBLOCK x",
            b"UNBLOCK 99999999",
            b"UNBLOCK 99999999 error",
            b"UNBLOCK 99999999 foo",
            b"UNBLOCK 1 TIMEOUT x",
            b"NO-EVICT",
            b"NO-EVICT on",
            b"NO-EVICT OFF",
            b"NO-EVICT x",
            b"TRACKING OFF",
        )
    ],
    [b"CONFIG"],
    [b"CONFIG", b"FOO"],
    [b"CONFIG", b"GET"],
    [b"CONFIG", b"GET", b"databases"],
    [b"CONFIG", b"get", b"DATABAS?S"],
    [b"CONFIG", b"GET", b"databases", b"d[a]tabases"],
    [b"CONFIG", b"GET", b"nosuch*"],
    [b"ROLE"],
    [b"ROLE", b"x"],
    [b"ACL"],
    [b"ACL", b"FOO"],
    [b"ACL", b"CAT"],
    [b"ACL", b"CAT", b"nosuch"],
    [b"ACL", b"CAT", b"read", b"x"],
    [b"ACL", b"GENPASS", b"x"],
    [b"ACL", b"GENPASS", b"0"],
    [b"ACL", b"GENPASS", b"4097"],
    [b"ACL", b"GENPASS", b"1", b"2"],
    [b"ACL", b"LOG", b"x"],
    [b"ACL", b"LOG", b"RESET"],
    [b"ACL", b"LOG", b"3", b"4"],
    [b"ACL", b"USERS"],
    [b"ACL", b"WHOAMI"],
    [b"ACL", b"WHOAMI", b"x"],
    [b"LATENCY"],
    [b"LATENCY", b"FOO"],
    [b"LATENCY", b"GRAPH", b"command"],
    [b"LATENCY", b"GRAPH"],
    [b"LATENCY", b"HISTOGRAM", b"nosuch"],
    [b"LATENCY", b"HISTORY", b"command"],
    [b"LATENCY", b"LATEST"],
    [b"LATENCY", b"RESET"],
    [b"LATENCY", b"RESET", b"command"],
    [b"SLOWLOG"],
    [b"SLOWLOG", b"FOO"],
    [b"SLOWLOG", b"GET"],
    [b"SLOWLOG", b"GET", b"-1"],
    [b"SLOWLOG", b"GET", b"-2"],
    [b"SLOWLOG", b"GET", b"x"],
    [b"SLOWLOG", b"GET", b"1", b"2"],
    [b"SLOWLOG", b"LEN"],
    [b"SLOWLOG", b"RESET"],
    [b"CLIENT", b"GETREDIR"],
    [b"CLIENT", b"TRACKINGINFO"],
    [b"CLIENT", b"CACHING", b"YES"],
    [b"CLUSTER"],
    [b"CLUSTER", b"INFO"],
    [b"CLUSTER", b"SLOTS"],
    [b"READONLY"],
    [b"READWRITE"],
    [b"ASKING"],
    [b"TIME", b"x"],
    [b"INFO", b"nosuch"],
    [b"COMMAND", b"FOO"],
    [b"COMMAND", b"COUNT", b"x"],
    [b"COMMAND", b"LIST", b"x"],
    [b"COMMAND", b"LIST", b"FILTERBY", b"FOO", b"x"],
    [b"COMMAND", b"LIST", b"FILTERBY", b"MODULE", b"x"],
    [b"COMMAND", b"LIST", b"FILTERBY", b"ACLCAT", b"nosuch"],
    [b"COMMAND", b"LIST", b"FILTERBY", b"PATTERN", b"xrevran[^ab]e"],
    [b"COMMAND", b"INFO", b"nosuch"],
    [b"COMMAND", b"DOCS", b"nosuch"],
    [b"COMMAND", b"GETKEYS"],
    [b"COMMAND", b"GETKEYS", b"nosuch", b"x"],
    [b"COMMAND", b"GETKEYS", b"PING", b"x"],
    [b"COMMAND", b"GETKEYS", b"OBJECT", b"FOO"],
    [b"nosuch"],
    [b"nosuch", b"a", b"b"],
    [b"NO\r\nSUCH", b"a\r\nb", b"c\0d"],
    [b"", b""],
    [b"x" * 200, b"y" * 100, b"z" * 100, b"w"],
    [b"x", *[b"y" * 10] * 30],
]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize(
    "argv", LOCAL_SAMPLES, ids=lambda argv: b" ".join(argv)[:40].decode("latin1")
)
def test_local_answers_are_the_servers_byte_for_byte(
    redis: Link, argv: list[bytes], protocol: int
) -> None:
    """What needs no node is answered as a fresh Redis answers it, in both protocols."""
    redis.ask(b"HELLO", b"%d" % protocol)

    assert local(protocol, *argv) == redis.ask(*argv)


def shape(value: Any) -> Any:
    """Types, and the keys of maps, instead of values."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return type(value)


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("argv", [[b"HELLO"], [b"HELLO", b"2"], [b"HELLO", b"3"]], ids=repr)
def test_hello_differs_in_version_and_id_only(
    redis: Link, argv: list[bytes], protocol: int
) -> None:
    """HELLO has the server's keys, order and types, in the protocol that it leads to."""
    redis.ask(b"HELLO", b"%d" % protocol)

    mine, its = local(protocol, *argv), redis.ask(*argv)

    def settled(reply: bytes) -> list[bytes]:
        lines = reply.split(b"\r\n")
        for name in (b"version", b"id"):
            at = lines.index(name) + 1
            del lines[at : at + (2 if name == b"version" else 1)]
        return lines

    assert settled(mine) == settled(its)


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize(
    "argv",
    [
        [b"COMMAND", b"COUNT"],
        [b"COMMAND", b"INFO", b"get", b"nosuch", b"zunionstore", b"object|help"],
        [b"CLIENT", b"ID"],
        [b"CLIENT", b"INFO"],
        [b"CLIENT", b"LIST"],
        [b"ACL", b"GENPASS"],
        [b"LATENCY", b"DOCTOR"],
        [b"MEMORY", b"DOCTOR"],
        [b"INFO"],
        [b"INFO", b"server", b"clients"],
        [b"LOLWUT"],
        [b"TIME"],
        [b"RESET"],
    ],
    ids=repr,
)
def test_other_local_answers_have_the_servers_shape(
    redis: Link, argv: list[bytes], protocol: int
) -> None:
    """Where the values have to differ, the types are the server's, in both protocols."""
    redis.ask(b"HELLO", b"%d" % protocol)

    mine, its = local(protocol, *argv), redis.ask(*argv)

    assert shape(decode(mine)) == shape(decode(its))
    assert mine[:1] == its[:1]


def test_a_line_of_client_list_has_the_servers_fields(redis: Link) -> None:
    """In its order; newer Redis' fields, which 7.0 has not, stand between and behind them."""

    def fields(reply: bytes) -> list[bytes]:
        return [word.partition(b"=")[0] for word in decode(reply).splitlines()[-1].split(b" ")]

    mine, its = fields(local(2, b"CLIENT", b"LIST")), fields(redis.ask(b"CLIENT", b"LIST"))

    assert [name for name in mine if name in its] == its
    assert {*mine} - {*its} == {b"watch", b"lib-name", b"lib-ver", b"tot-net-in", b"tot-net-out"}


@pytest.mark.parametrize("category", [b"geo", b"SortedSet", b"hash", b"transaction"])
def test_acl_cat_names_what_the_server_names(redis: Link, category: bytes) -> None:
    """As far as Redis 7.0 has the commands."""
    its = set(decode(redis.ask(b"ACL", b"CAT", category)))

    assert {name for name in decode(local(2, b"ACL", b"CAT", category)) if name in its} == its


@pytest.mark.parametrize("protocol", [2, 3])
def test_command_info_of_a_plain_command_is_the_servers(redis: Link, protocol: int) -> None:
    """Byte for byte, for a command without tips and notes."""
    redis.ask(b"HELLO", b"%d" % protocol)

    assert decode(local(protocol, b"COMMAND", b"INFO", b"GET")) == decode(
        redis.ask(b"COMMAND", b"INFO", b"GET")
    )


def test_docs_have_the_servers_sentences(redis: Link) -> None:
    """COMMAND DOCS says of a command what the server says, arguments and complexity left out."""
    redis.ask(b"HELLO", b"3")
    names = [b"GET", b"OBJECT", b"ZUNION", b"MSET"]

    mine = decode(local(3, b"COMMAND", b"DOCS", *names))
    its = decode(redis.ask(b"COMMAND", b"DOCS", *names))

    def settled(docs: Any) -> Any:
        kept = {}
        for name, doc in docs.items():
            kept[name] = {key: doc[key] for key in (b"since", b"group")}
            kept[name][b"summary"] = doc[b"summary"].rstrip(b".")
            kept[name][b"subcommands"] = settled(doc.get(b"subcommands", {}))
        return kept

    assert settled(mine) == settled(its)


def test_pattern_lists_what_the_server_lists(redis: Link, real: dict[bytes, list[Any]]) -> None:
    """COMMAND LIST FILTERBY PATTERN knows Redis' patterns."""
    for pattern in (
        b"ge?",
        b"x[a-r]*e*",
        b"X*",
        b"*r[^a-m]n*",
        b"z\\unio*",
        b"[gs]et",
        b"get[",
        b"[z-x]add",
    ):
        argv = [b"COMMAND", b"LIST", b"FILTERBY", b"PATTERN", pattern]
        its = decode(redis.ask(*argv))
        served = {
            name
            for name in its
            if row_kind(name) is not None and row_kind(name) is not Kind.REFUSED
        }

        mine = {name for name in decode(local(2, *argv)) if name.upper() in real}

        assert mine == served, pattern


def row_kind(name: bytes) -> Kind | None:
    row = BY_NAME.get(name.upper())
    return None if row is None else row.kind


def test_quit_closes_and_hello_switches() -> None:
    """The caller learns what has to follow the reply."""
    effects = {
        argv: answer(argv.split(b" "), session(), FACTS).effect
        for argv in (b"QUIT", b"HELLO 3", b"HELLO 2", b"HELLO", b"RESET", b"PING", b"HELLO 9")
    }

    assert effects == {
        b"QUIT": Effect.CLOSE,
        b"HELLO 3": Effect.PROTOCOL_3,
        b"HELLO 2": Effect.PROTOCOL_2,
        b"HELLO": Effect.NONE,
        b"RESET": Effect.PROTOCOL_2,
        b"PING": Effect.NONE,
        b"HELLO 9": Effect.NONE,
    }


def test_every_local_row_has_an_answer() -> None:
    """No command of the kind LOCAL fails, whatever its arguments."""
    for row in COMMANDS:
        if row.kind is Kind.LOCAL:
            argv = sample(row.name, 0)
            assert answer(argv, session(), FACTS).reply.endswith(b"\r\n")
