"""
What the platform's store can do: `python -m bench.store`, half a minute.

A picture of 1,000 clusters with 20 instances each is loaded by a new process; transactions that compare
and swap follow one another; another process writes, and we look how soon a watch tells of it. For SQLite
(in the current folder's file system, where the sync is real) and for an etcd that is started here.
"""

import argparse
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater

from overlord.platform.store import Put, Store, store_at

CLUSTERS, INSTANCES = 1000, 20
VALUE = json.dumps(
    {"schema": 1, "host": "10.0.0.1", "port": 31000, "state": "running"}
    | {f"field{number}": "value" * 4 for number in range(8)}
).encode()
"""As large as the record of an instance: some 350 bytes."""
SECONDS = 3.0
"""For which transactions are counted."""
CHANGES = 150
"""Writes of the other process, one each 30 ms."""


@contextmanager
def etcd() -> Iterator[str]:
    """The address of an etcd of our own."""
    client, peer = (_free_port() for _ in range(2))
    folder = tempfile.mkdtemp(prefix="bench-etcd-", dir=".")
    urls = {"client": f"http://127.0.0.1:{client}", "peer": f"http://127.0.0.1:{peer}"}
    process = subprocess.Popen(
        [
            *("etcd", "--data-dir", folder),
            *("--listen-client-urls", urls["client"], "--advertise-client-urls", urls["client"]),
            *("--listen-peer-urls", urls["peer"], "--initial-advertise-peer-urls", urls["peer"]),
            *("--initial-cluster", f"default={urls['peer']}"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                urllib.request.urlopen(f"{urls['client']}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"etcd://127.0.0.1:{client}"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


@contextmanager
def sqlite() -> Iterator[str]:
    """The address of a file in this folder."""
    with tempfile.TemporaryDirectory(prefix="bench-sqlite-", dir=".") as folder:
        yield f"sqlite:{Path(folder, 'store.db').absolute()}"


async def fill(store: Store) -> None:
    """1,000 clusters with their instances."""
    for number in range(CLUSTERS):
        name = f"/overlord/clusters/c{number:04}"
        instances = [Put(f"{name}/instances/{each:02}", VALUE) for each in range(INSTANCES)]
        await store.transact([Put(f"{name}/record", VALUE), *instances])


async def load(store: Store) -> dict[str, float]:
    """In a new process: all of it."""
    began = time.monotonic()
    listing = await store.list("/overlord/")
    assert len(listing.entries) == CLUSTERS * (INSTANCES + 1)
    return {"load_s": time.monotonic() - began}


async def swap(store: Store, callers: int) -> float:
    """Transactions in a second that compare and swap."""
    end = time.monotonic() + SECONDS

    async def call(key: str) -> int:
        revision = await store.put(key, VALUE)
        count = 0
        while time.monotonic() < end:
            entry = await store.get(key)
            assert entry is not None
            assert entry.modified == revision
            revision = await store.transact([Put(key, VALUE)], [entry.unchanged])
            count += 1
        return count

    began = time.monotonic()
    running = [ensureDeferred(call(f"/swap/{number}")) for number in range(callers)]
    count = sum([await each for each in running])
    return count / (time.monotonic() - began)


async def write(store: Store) -> dict[str, float]:
    """In a new process: changes that say when they were made."""
    from twisted.internet import reactor

    for _ in range(CHANGES):
        await store.put("/changes/a", b"%d" % time.monotonic_ns())
        await deferLater(reactor, 0.03)
    return {}


async def watch(store: Store, address: str) -> dict[str, float]:
    """Milliseconds from before a write in another process until a watch tells of it."""
    follower = store.watch("/changes/", (await store.list("/changes/")).revision)
    process = _child("write", address)
    delays: list[float] = []
    while len(delays) < CHANGES:
        changes = await follower.next()
        now = time.monotonic_ns()
        delays += [(now - int(event.entry.value)) / 1e6 for event in changes.events if event.entry]
    process.wait()
    delays.sort()
    return {
        "watch_p50_ms": statistics.median(delays),
        "watch_p99_ms": delays[int(len(delays) * 0.99)],
        "watch_max_ms": delays[-1],
    }


async def measure(store: Store, address: str) -> dict[str, float]:
    """All of it, on one home."""
    from twisted.internet import reactor

    await fill(store)
    figures: dict[str, float] = {}
    began = time.monotonic()
    process = _child("load", address)
    while process.poll() is None:
        await deferLater(reactor, 0.01)
    assert process.stdout is not None
    figures |= json.loads(process.stdout.read())
    figures["load_with_start_s"] = time.monotonic() - began
    figures["swaps_1_caller"] = await swap(store, 1)
    figures["swaps_8_callers"] = await swap(store, 8)
    return figures | await watch(store, address)


def run(what: str, address: str) -> dict[str, float]:
    """One coroutine on one store, and the reactor around it."""
    from twisted.internet import reactor

    figures: dict[str, float] = {}

    async def go() -> None:
        store = store_at(address, reactor)
        store.start()
        try:
            if what in {"load", "write"}:
                figures.update(await {"load": load, "write": write}[what](store))
            else:
                figures.update(await measure(store, address))
        finally:
            await store.close()
            reactor.stop()

    def begin() -> None:
        done: Deferred[None] = ensureDeferred(go())
        done.addErrback(lambda failure: failure.printTraceback(sys.stderr))

    reactor.callWhenRunning(begin)
    reactor.run()
    return figures


def _child(what: str, address: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench.store", "--part", what, "--address", address],
        stdout=subprocess.PIPE,
        text=True,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """One home in this process; or, asked for none, each in one of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", help="measure this store, and leave keys in it")
    parser.add_argument("--part", default="all", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.address:
        print(json.dumps(run(arguments.part, arguments.address)))
        return
    for name, home in (("sqlite", sqlite), ("etcd", etcd)):
        with home() as address:
            process = _child("all", address)
            assert process.stdout is not None
            figures = json.loads(process.stdout.read())
            process.wait()
        for figure, value in figures.items():
            print(f"{name:8}{figure:20}{value:10.2f}")


if __name__ == "__main__":
    main()
