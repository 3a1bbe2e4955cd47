"""
The clients that people use, with their defaults, over four nodes.

What a client gets through the proxy is compared with what it gets from a server of its own: it must not
be able to tell them apart. The libraries on Node.js have a suite of their own, in conformance/.
"""

import asyncio
import csv
import os
import pty
import re
import select
import socket
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from operator import methodcaller

import pytest
import redis
import redis.asyncio
from integration.client import encode, spread
from integration.programs import OverlordProxy, RedisServer

PROTOCOLS = ({}, {"protocol": 2}, {"protocol": 3})
"""How a redis-py client is made: as it comes, which is RESP3 with today's, and of either kind."""
DEADLINE = 60.0
"""Seconds for one run of a program."""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """The server without a proxy, which says what is right."""
    found = RedisServer()
    try:
        yield found.start()
    finally:
        found.dispose()


# redis-py


def redis_py_calls(name: str) -> list[Callable]:
    """Calls of a redis-py client, synchronous or not, with every kind of value."""
    string, counter, table, scores, members, queue, places, stream = spread(f"{name}:kind", 8)
    keys = spread(name, 60)
    floats = {"a": 0.1, "b": 1e300, "c": float("-inf"), "d": -1.25, "e": 3}
    binary = bytes(range(256))
    return [
        methodcaller("ping"),
        methodcaller("set", string, "value", ex=1000),
        methodcaller("get", string),
        methodcaller("get", f"{string}:none"),
        methodcaller("set", string, "other", nx=True),
        methodcaller("set", string, binary, get=True),
        methodcaller("get", string),
        methodcaller("set", string, "x" * 300_000),
        methodcaller("strlen", string),
        methodcaller("getrange", string, 1, 5),
        methodcaller("incrby", counter, 41),
        methodcaller("incrbyfloat", counter, 0.25),
        methodcaller("hset", table, mapping={"name": "overlord", b"\x00\r\n": binary, "size": 3}),
        methodcaller("hgetall", table),
        methodcaller("hgetall", f"{table}:none"),
        methodcaller("hmget", table, ["name", "none"]),
        methodcaller("hincrbyfloat", table, "size", 0.5),
        methodcaller("hexists", table, "name"),
        methodcaller("zadd", scores, floats),
        methodcaller("zrange", scores, 0, -1, withscores=True),
        methodcaller("zrangebyscore", scores, "(-1.25", "+inf", withscores=True),
        methodcaller("zscore", scores, "a"),
        methodcaller("zscore", scores, "none"),
        methodcaller("zmscore", scores, ["a", "none", "c"]),
        methodcaller("zincrby", scores, 1.25, "a"),
        methodcaller("zrank", scores, "none"),
        methodcaller("zpopmin", scores, 2),
        methodcaller("sadd", members, "one", "two", binary),
        methodcaller("smembers", members),
        methodcaller("smembers", f"{members}:none"),
        methodcaller("smismember", members, "one", "none"),
        methodcaller("rpush", queue, "a", "b", "c"),
        methodcaller("lrange", queue, 0, -1),
        methodcaller("lpop", queue, 2),
        methodcaller("geoadd", places, (13.361389, 38.115556, "Palermo")),
        methodcaller("geopos", places, "Palermo", "none"),
        methodcaller("xadd", stream, {"field": "value"}, id="1-1"),
        methodcaller("xrange", stream),
        methodcaller("type", scores),
        methodcaller("eval", "return {KEYS[1], ARGV[1], 3, false}", 1, string, "argument"),
        methodcaller("mset", {key: f"value of {key}" for key in keys}),
        methodcaller("mget", [*keys, keys[0], f"{keys[0]}:none"]),
        methodcaller("exists", *keys, keys[0]),
        methodcaller("touch", *keys),
        methodcaller("delete", *keys[:30], f"{keys[0]}:none"),
        methodcaller("unlink", *keys[20:40]),
        methodcaller("mget", *keys),
        methodcaller("command_getkeys", "MSET", "a", "1", "b", "2"),
    ]


def fill(pipeline, name: str):
    """A thousand commands, single keys and many, and one that fails."""
    keys = spread(f"{name}:pipe", 100)
    for i in range(6):
        for key in keys:
            pipeline.set(key, f"{key} {i}")
        pipeline.mget(keys)
        for key in keys[:60]:
            pipeline.get(key)
        pipeline.lpush(keys[i], "no list")
        pipeline.delete(*keys[::2])
    return pipeline


def plain(replies: list) -> list:
    """Replies that can be compared: exceptions as text."""
    return [repr(reply) if isinstance(reply, Exception) else reply for reply in replies]


def converse(port: int, name: str, settings: dict) -> tuple[list, list]:
    with redis.Redis(port=port, **settings) as client:
        replies = [call(client) for call in redis_py_calls(name)]
        pipeline = fill(client.pipeline(transaction=False), name)
        return replies, plain(pipeline.execute(raise_on_error=False))


async def converse_asyncio(port: int, name: str, settings: dict) -> tuple[list, list]:
    async with redis.asyncio.Redis(port=port, **settings) as client:
        replies = [await call(client) for call in redis_py_calls(name)]
        pipeline = fill(client.pipeline(transaction=False), name)
        return replies, plain(await pipeline.execute(raise_on_error=False))


@pytest.mark.parametrize("settings", PROTOCOLS, ids=str)
def test_redis_py_gets_what_a_server_gives(
    proxy: OverlordProxy, server: RedisServer, seed: int, settings: dict
) -> None:
    """Every call and every pipeline gives, through the proxy, what one server would give."""
    through = converse(proxy.port, f"sync{seed}", settings)

    assert through == converse(server.port, f"sync{seed}", settings)
    assert len(through[1]) == 6 * 163
    assert {b"name", b"\x00\r\n", b"size"} in [set(r) for r in through[0] if isinstance(r, dict)]


@pytest.mark.parametrize("settings", PROTOCOLS, ids=str)
def test_redis_py_on_asyncio_gets_what_a_server_gives(
    proxy: OverlordProxy, server: RedisServer, seed: int, settings: dict
) -> None:
    """The same for the asynchronous client."""
    through = asyncio.run(converse_asyncio(proxy.port, f"async{seed}", settings))

    assert through == asyncio.run(converse_asyncio(server.port, f"async{seed}", settings))


def test_many_redis_py_coroutines_at_once(proxy: OverlordProxy, seed: int) -> None:
    """A hundred coroutines that share a pool of connections each read what they wrote."""

    async def write_and_read(client, key: str) -> bool:
        for i in range(20):
            await client.set(key, f"{key} {i}")
            if await client.get(key) != f"{key} {i}".encode():
                return False
        return True

    async def run() -> list[bool]:
        async with redis.asyncio.Redis(port=proxy.port) as client:
            keys = spread(f"many{seed}", 100)
            return await asyncio.gather(*(write_and_read(client, key) for key in keys))

    assert asyncio.run(run()) == [True] * 100


@pytest.mark.parametrize(("settings", "resp"), list(zip(PROTOCOLS, "323", strict=True)), ids=str)
def test_redis_py_knows_its_connection(proxy: OverlordProxy, settings: dict, resp: str) -> None:
    """Protocol, name and library are those of the connection that asks."""
    with redis.Redis(port=proxy.port, client_name="shop", **settings) as client:
        told = client.client_info()

        assert told["id"] == client.client_id()
        assert {key: told[key] for key in ("name", "resp", "lib-name", "lib-ver", "db")} == {
            "name": "shop",
            "resp": resp,
            "lib-name": "redis-py",
            "lib-ver": redis.__version__,
            "db": 0,
        }
        assert client.client_setname("till") is True
        assert client.client_getname() in ("till", b"till")
        assert client.info("server")["redis_mode"] == "standalone"
        assert abs(client.time()[0] - time.time()) < 5
        assert client.command_count() == len(client.command())


@pytest.mark.parametrize("settings", PROTOCOLS, ids=str)
def test_redis_py_is_told_what_is_not_served(proxy: OverlordProxy, settings: dict) -> None:
    """An error with the reason, in the client's own way, and the connection goes on."""
    refused = {
        "config|set": methodcaller("config_set", "save", ""),
        "wait": methodcaller("wait", 1, 100),
    }
    with redis.Redis(port=proxy.port, single_connection_client=True, **settings) as client:
        number = client.client_id()
        for name, call in refused.items():
            with pytest.raises(redis.ResponseError, match=f"'{re.escape(name)}' is not supported"):
                call(client)
        with pytest.raises(redis.ResponseError, match="unknown command 'NOSUCH'"):
            client.execute_command("NOSUCH", "argument")

        assert client.client_id() == number


def test_redis_py_asked_for_another_database_is_told_so(proxy: OverlordProxy) -> None:
    """There is database 0 and no other."""
    with (
        redis.Redis(port=proxy.port, db=1) as client,
        pytest.raises(redis.ResponseError, match="DB index is out of range"),
    ):
        client.ping()


# redis-cli


def redis_cli(port: int, *arguments: str, sends: str | bytes = b"") -> tuple[int, str]:
    """Run redis-cli; return its exit code and all that it printed."""
    done = subprocess.run(
        ["redis-cli", "-p", str(port), *arguments],
        input=sends.encode() if isinstance(sends, str) else sends,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=DEADLINE,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="backslashreplace")


def cli_lines(name: str) -> str:
    """What somebody types who tries things out."""
    string, table, scores, members, queue = spread(f"{name}:kind", 5)
    keys = spread(name, 20)
    return "\n".join(
        [
            "ping",
            f'set {string} "two words\\n\\x00\\xff" EX 1000',
            f"get {string}",
            f"get {string}:none",
            f"lpush {string} wrong",
            f"hset {table} field 'single \\'quoted\\'' other 2",
            f"hgetall {table}",
            f"zadd {scores} 0.1 a 1e300 b -inf c",
            f"zrange {scores} 0 -1 withscores",
            f"zscore {scores} a",
            f"sadd {members} one",
            f"smembers {members}",
            f"smismember {members} one two",
            f"rpush {queue} a b c",
            f"lrange {queue} 0 -1",
            "mset " + " ".join(f"{key} {i}" for i, key in enumerate(keys)),
            f"mget {' '.join(keys)} none {keys[0]}",
            f"del {' '.join(keys)}",
            "nosuch a b",
            "get",
            "client getname",
            "",
        ]
    )


@pytest.mark.parametrize("mode", ["", "--no-raw", "-3", "-3 --no-raw", "--csv", "--json"])
def test_redis_cli_prints_what_it_prints_on_a_server(
    proxy: OverlordProxy, server: RedisServer, seed: int, mode: str
) -> None:
    """A pipe of commands gives the same output, in every format and both protocols."""
    lines = cli_lines(f"cli{seed}")

    through = redis_cli(proxy.port, *mode.split(), sends=lines)

    assert through == redis_cli(server.port, *mode.split(), sends=lines)
    assert through[0] == 0
    assert "WRONGTYPE" in through[1]


@pytest.mark.parametrize(
    ("arguments", "sends"),
    [
        (["-x", "set", "{cli}:x"], b"\x00binary\r\nvalue"),
        (["get", "{cli}:x"], b""),
        (["-r", "3", "incr", "{cli}:count"], b""),
        (["-e", "lpush", "{cli}:x", "wrong"], b""),
        (["-a", "secret", "get", "{cli}:x"], b""),
    ],
    ids=str,
)
def test_redis_cli_options_work_as_on_a_server(
    proxy: OverlordProxy, server: RedisServer, arguments: list[str], sends: bytes
) -> None:
    """One command on the command line: the same output and the same exit code."""
    servers = (proxy, server)
    for each in servers:
        redis_cli(each.port, "set", "{cli}:count", "0")
        redis_cli(each.port, "set", "{cli}:x", "text")

    through, direct = (redis_cli(each.port, *arguments, sends=sends) for each in servers)

    assert through == direct


def typed(port: int, lines: str) -> str:
    """What redis-cli shows on a terminal on which somebody types `lines`."""
    ours, its = pty.openpty()
    settings = termios.tcgetattr(its)
    settings[3] &= ~termios.ECHO
    termios.tcsetattr(its, termios.TCSANOW, settings)
    child = subprocess.Popen(
        ["redis-cli", "-p", str(port)],
        stdin=its,
        stdout=its,
        stderr=its,
        # A terminal without cursor movements: lines as they are. And no file with what was typed.
        env={**os.environ, "TERM": "dumb", "REDISCLI_HISTFILE": "/dev/null"},
    )
    os.close(its)
    shown = b""
    try:
        os.write(ours, lines.encode())
        deadline = time.monotonic() + DEADLINE
        while select.select([ours], [], [], max(0.0, deadline - time.monotonic()))[0]:
            try:
                chunk = os.read(ours, 1 << 16)
            except OSError:  # the other side is closed
                break
            shown += chunk
        assert child.wait(max(0.0, deadline - time.monotonic())) == 0
    finally:
        child.kill()
        child.wait()
        os.close(ours)
    return shown.decode().replace(f"127.0.0.1:{port}", "127.0.0.1:PORT")


def test_redis_cli_on_a_terminal_is_as_on_a_server(
    proxy: OverlordProxy, server: RedisServer, seed: int
) -> None:
    """Prompts and answers, and the connection goes on after an error."""
    key = f"terminal{seed}"
    lines = (
        f"set {key} 1\nhset {key}:h a 1\nget {key}:h\nhgetall {key}:h\nhello 4\nget {key}\nquit\n"
    )

    shown = typed(proxy.port, lines)

    assert shown == typed(server.port, lines)
    assert "127.0.0.1:PORT> OK" in shown
    assert "(error) WRONGTYPE" in shown


def test_redis_cli_on_a_terminal_helps(proxy: OverlordProxy) -> None:
    """What `help` knows about a command comes from COMMAND DOCS."""
    shown = typed(proxy.port, "help getex\nquit\n")

    assert "Get the value of a key and optionally set its expiration" in shown
    assert "6.2.0" in shown


def test_redis_cli_asked_for_another_database_is_told_so(proxy: OverlordProxy) -> None:
    """There is database 0 and no other."""
    said = redis_cli(proxy.port, "-n", "1", "ping")

    assert said == (0, "SELECT 1 failed: ERR DB index is out of range\nPONG\n")


def test_redis_cli_pipe_inserts_ten_thousand_keys(proxy: OverlordProxy, seed: int) -> None:
    """Mass insertion: as many replies as commands, no error, and every key is there."""
    keys = spread(f"mass{seed}", 10_000)
    stream = b"".join(encode("SET", key, f"value of {key}") for key in keys)

    code, said = redis_cli(proxy.port, "--pipe", sends=stream)

    assert "errors: 0, replies: 10000" in said
    assert code == 0
    with proxy.client(timeout=DEADLINE) as client:
        assert client.call("MGET", *keys) == [f"value of {key}".encode() for key in keys]
        assert client.call("DEL", *keys) == 10_000


def test_redis_cli_pipe_counts_errors(proxy: OverlordProxy, seed: int) -> None:
    """A command that fails is one error among right replies, inline as well as encoded."""
    stream = b"SET pipe%d 1\r\nLPUSH pipe%d wrong\r\n" % (seed, seed) + encode("GET", f"pipe{seed}")

    code, said = redis_cli(proxy.port, "--pipe", sends=stream)

    assert "errors: 1, replies: 3" in said
    assert code == 1


def netcat(port: int, text: bytes) -> bytes:
    """`printf TEXT | nc -N 127.0.0.1 PORT`: send all, close that direction, read to the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_inline_commands_through_netcat(
    proxy: OverlordProxy, server: RedisServer, seed: int
) -> None:
    """Commands as a person writes them are answered, all of them, before the connection closes."""
    keys = " ".join(spread(f"nc{seed}", 8))
    text = (
        f'PING\r\nset nc{seed} "two words\\x21"\nGET nc{seed}\r\n\r\nMGET {keys}\nget \'open\r\n'
    ).encode()

    assert netcat(proxy.port, text) == netcat(server.port, text)


# redis-benchmark


def benchmarked(port: int, *arguments: str) -> dict[str, float]:
    """Run redis-benchmark, which ends with 1 at the first error; return its tests with their speeds."""
    done = subprocess.run(
        ["redis-benchmark", "-p", str(port), "--csv", *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith('"')]
    return {row["test"]: float(row["rps"]) for row in csv.DictReader(lines)}


@pytest.mark.parametrize(
    "options",
    [
        "-n 2000",
        "-n 4000 -P 16 -r 1000",
        "-n 2000 -3 -d 100 -c 10",
        "-n 300 -t set,get,mset -k 0",
        "-n 2000 -t set,get,mset --threads 2",
    ],
)
def test_redis_benchmark_runs(proxy: OverlordProxy, server: RedisServer, options: str) -> None:
    """Its default tests, MSET and LRANGE among them, run to their end without an error."""
    through = benchmarked(proxy.port, *options.split())

    assert list(through) == list(benchmarked(server.port, *options.split()))
    assert "MSET (10 keys)" in through
    assert all(speed > 0 for speed in through.values())
