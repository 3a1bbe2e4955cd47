"""
Records what real clients send: `python tests/fuzz/record.py` writes `recorded/*.resp` anew.

Each file is the first bytes of one connection, from client to server, as they came.
"""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import redis

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from integration.client import Client
from integration.programs import RedisServer, free_port

HERE = Path(__file__).resolve().parent
MOST = 6000
"""Bytes kept of one connection: enough for every kind of request, and small to keep."""


def listen_in(server: RedisServer, use: Callable[[int], object]) -> list[bytes]:
    """Let `use` talk to the server through a relay; what each of its connections sent."""
    port, sent = free_port(), []
    listener = socket.create_server(("127.0.0.1", port))

    def hand_on(source: socket.socket, target: socket.socket, log: bytearray | None) -> None:
        try:
            while data := source.recv(1 << 16):
                if log is not None:
                    log += data
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def accept() -> None:
        while True:
            front, _ = listener.accept()
            back = socket.create_connection(server.address)
            log = bytearray()
            sent.append(log)
            threading.Thread(target=hand_on, args=[front, back, log], daemon=True).start()
            threading.Thread(target=hand_on, args=[back, front, None], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    use(port)
    return [bytes(log[:MOST]) for log in sent]


def redis_py(protocol: int) -> Callable[[int], None]:
    """redis-py with its own ways: HELLO, CLIENT SETINFO, pipelines."""

    def use(port: int) -> None:
        client = redis.Redis("127.0.0.1", port, protocol=protocol, decode_responses=False)
        client.set("fuzz:s", "value")
        client.mset({f"fuzz:{n}": n for n in range(8)})
        client.mget([f"fuzz:{n}" for n in range(8)])
        client.hset("fuzz:h", mapping={"a": 1, "b": 2})
        client.hgetall("fuzz:h")
        client.zadd("fuzz:z", {"m": 1.5})
        client.zrange("fuzz:z", 0, -1, withscores=True)
        client.sadd("fuzz:set", "x", "y")
        client.smembers("fuzz:set")
        client.lpush("fuzz:l", b"\r\n$5\r\n", b"")
        client.lrange("fuzz:l", 0, -1)
        with client.pipeline(transaction=False) as pipe:
            for number in range(20):
                pipe.incr("fuzz:n").get(f"fuzz:{number}").exists("fuzz:s", "fuzz:none")
            pipe.execute()
        client.delete("fuzz:s", "fuzz:h", "fuzz:z")
        client.close()

    return use


def run(*command: str) -> Callable[[int], None]:
    """A program of Redis's own, with `PORT` replaced."""

    def use(port: int) -> None:
        line = [part.replace("PORT", str(port)) for part in command]
        subprocess.run(line, check=False, capture_output=True, env=os.environ)

    return use


def telnet(port: int) -> None:
    """A person at a telnet."""
    with Client(("127.0.0.1", port)) as client:
        client.send(b"PING\r\nset a \"b c\\x41\"\r\n\r\nget a\nMGET a 'x y' a\r\nQUIT\r\n")
        client.read_until_closed()


SESSIONS: dict[str, Callable[[int], None]] = {
    "redis-py-2": redis_py(2),
    "redis-py-3": redis_py(3),
    "redis-cli": run(
        "sh",
        "-c",
        "printf 'set a b\\nget a\\nhello 3\\ninfo server\\nmget a b a\\n' | redis-cli -p PORT",
    ),
    "benchmark": run("redis-benchmark", "-p", "PORT", "-c", "1", "-n", "20", "-P", "5", "-q"),
    "telnet": telnet,
}


def main() -> None:
    server = RedisServer().start()
    try:
        for name, use in SESSIONS.items():
            sent = [data for data in listen_in(server, use) if data][-8:]
            for number, data in enumerate(sent):
                (HERE / "recorded" / f"{name}-{number}.resp").write_bytes(data)
            print(f"{name}: {len(sent)} connections")
    finally:
        server.dispose()


if __name__ == "__main__":
    main()
