"""How long a reload of a large file takes, and how long it keeps the clients waiting meanwhile."""

import os
import signal
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.dialects import fill
from bench.errors import BenchError
from bench.servers import Contestant, free_ports, last_words
from bench.wanted import RELOADS
from bench.wire import Connection

RELOAD_TIMEOUT = 30.0
"""Seconds that a reload may take at all."""
PAUSE = 0.001
"""Seconds between a reply and the next request of the client that watches."""
QUIET = 1.0
"""Seconds for which it watches before and after: what a reload leaves behind counts as well."""
DONE = "reloaded in "
"""How the last line of a reload begins in the log."""


def measure_reload(contestant: Contestant, clusters: int, nodes: int) -> dict[str, float]:
    """Seconds and longest waits of reloads, one after the other; the proxy has to be new."""
    file = contestant.server.log.with_suffix(".toml")
    own = file.read_text()
    servers = [entry.rpartition(":")[0] for entry in tomllib.loads(own)["clusters"][0]["servers"]]
    ports = free_ports(clusters)
    fill(contestant.port, 100, 32)

    def others(first: int, timeout: str = "1s") -> str:
        """Many clusters, whose nodes are few servers under many names."""
        return "".join(
            _cluster(port, timeout, [f"{servers[n % len(servers)]}:1 n{n}" for n in numbers])
            for port in ports
            for numbers in [range(first, first + nodes // clusters)]
        )

    texts = (others(0), others(1), others(1, "2s"), others(1000, "2s"), "")
    figures: dict[str, float] = {}
    for (seconds, wait), text in zip(RELOADS, texts, strict=True):
        figures[seconds], figures[wait] = _reload(contestant, file, own + text)
    return figures


def _cluster(port: int, timeout: str, servers: list[str]) -> str:
    listed = ", ".join(f'"{server}"' for server in servers)
    return (
        f'[[clusters]]\nname = "c{port}"\ncache_type = "redis"\nlisten_addr = "127.0.0.1:{port}"\n'
        f'node_connections = 1\nread_timeout = "{timeout}"\nservers = [{listed}]\n'
    )


def _reload(contestant: Contestant, file: Path, text: str) -> tuple[float, float]:
    """Seconds until it is done, and the longest wait of a client in milliseconds."""
    before = _reloads(contestant)
    file.write_text(text)
    with _watching(contestant.port) as waits:
        time.sleep(QUIET)
        began = time.monotonic()
        os.kill(contestant.server.pid, signal.SIGHUP)
        while _reloads(contestant) == before:
            if time.monotonic() > began + RELOAD_TIMEOUT:
                raise BenchError(f"the reload does not end{last_words(contestant.server)}")
            time.sleep(0.005)
        took = time.monotonic() - began
        time.sleep(QUIET)
    return took, max(waits) * 1000


def _reloads(contestant: Contestant) -> int:
    return contestant.server.log.read_text(errors="replace").count(DONE)


@contextmanager
def _watching(port: int) -> Iterator[list[float]]:
    """A client that asks all the time; its waits in seconds."""
    waits: list[float] = []
    ends = threading.Event()

    def ask() -> None:
        with Connection(port) as connection:
            while not ends.is_set():
                began = time.monotonic()
                connection.call(b"GET", b"key:000000000001")
                waits.append(time.monotonic() - began)
                time.sleep(PAUSE)

    watching = threading.Thread(target=ask)
    watching.start()
    try:
        yield waits
    finally:
        ends.set()
        watching.join()
