"""
How etcd is best spoken to: etcd3-fc (gRPC, on threads of ours) beside the HTTP gateway.

    pip install etcd3-fc; python -m bench.etcd_clients     half a minute

Each figure is taken by a process of its own, on a reactor, as a service would use it; CPU is the
process's, so etcd's part is not in it. The gateway is what `overlord.platform.store` uses.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from bench.store import etcd, load
from overlord.platform.store import Put, Store, store_at

CALLS = 1500
CONCURRENT = 8
KEYS = 21_000
CLIENTS = ("gateway", "etcd3-fc")


class Gateway:
    """The store as it is."""

    def __init__(self, reactor: Any, address: str) -> None:
        self.store: Store = store_at(address, reactor)
        self.store.start()

    async def get(self, key: str) -> None:
        await self.store.get(key)

    async def swap(self, key: str) -> None:
        entry = await self.store.get(key)
        assert entry is not None
        await self.store.transact([Put(key, b"x" * 300)], [entry.unchanged])

    async def list(self) -> int:
        return len((await self.store.list("/overlord/")).entries)

    async def close(self) -> None:
        await self.store.close()


class Threads:
    """The library, as its calls have to be made beside a reactor."""

    def __init__(self, reactor: Any, address: str) -> None:
        import etcd3  # etcd3-fc

        host, _, port = address.removeprefix("etcd://").rpartition(":")
        # Without this it refuses a listing of more than 4 MiB.
        options = {"grpc.max_receive_message_length": -1}.items()
        self.client = etcd3.client(host, int(port), timeout=3, grpc_options=options)
        self.reactor = reactor
        self.pool = ThreadPool(0, CONCURRENT)
        self.pool.start()

    async def _call(self, call: Any) -> Any:
        return await deferToThreadPool(self.reactor, self.pool, call)

    async def get(self, key: str) -> None:
        await self._call(lambda: self.client.get(key))

    async def swap(self, key: str) -> None:
        _, found = await self._call(lambda: self.client.get(key))
        transactions = self.client.transactions
        await self._call(
            lambda: self.client.transaction(
                compare=[transactions.mod(key) == found.mod_revision],
                success=[transactions.put(key, b"x" * 300)],
                failure=[],
            )
        )

    async def list(self) -> int:
        return len(await self._call(lambda: [*self.client.get_prefix("/overlord/")]))

    async def close(self) -> None:
        self.pool.stop()
        self.client.close()


async def several(call: Any, key: str, count: int) -> None:
    for _ in range(count):
        await call(key)


async def measure(client: Any) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, call, callers in (
        ("get, one caller", client.get, 1),
        ("get, 8 callers", client.get, CONCURRENT),
        ("swap, one caller", client.swap, 1),
        ("swap, 8 callers", client.swap, CONCURRENT),
    ):
        await call("/swap/0")
        wall, cpu = time.monotonic(), time.process_time()
        running = [
            ensureDeferred(several(call, f"/swap/{n}", CALLS // callers)) for n in range(callers)
        ]
        for each in running:
            await each
        figures[f"{name}: calls/s"] = CALLS / (time.monotonic() - wall)
        figures[f"{name}: CPU us/call"] = (time.process_time() - cpu) / CALLS * 1e6
    wall, cpu = time.monotonic(), time.process_time()
    assert await client.list() == KEYS
    figures["list of 21,000: ms"] = (time.monotonic() - wall) * 1e3
    figures["list of 21,000: CPU ms"] = (time.process_time() - cpu) * 1e3
    return figures


def run(name: str, address: str) -> None:
    from twisted.internet import reactor

    async def go() -> None:
        before = _resident()
        client: Any = {"gateway": Gateway, "etcd3-fc": Threads}[name](reactor, address)
        try:
            await client.get("/swap/0")
            memory = {"memory of the first call: MiB": _resident() - before}
            print(json.dumps(memory | await measure(client)))
        finally:
            await client.close()
            reactor.stop()

    reactor.callWhenRunning(
        lambda: ensureDeferred(go()).addErrback(lambda failure: failure.printTraceback(sys.stderr))
    )
    reactor.run()


def fill(address: str) -> None:
    from twisted.internet import reactor

    from bench.store import fill as fill_store

    async def go() -> None:
        store = store_at(address, reactor)
        store.start()
        await fill_store(store)
        await load(store)
        for number in range(CONCURRENT):
            await store.put(f"/swap/{number}", b"x" * 300)
        await store.close()
        reactor.stop()

    reactor.callWhenRunning(
        lambda: ensureDeferred(go()).addErrback(lambda failure: failure.printTraceback(sys.stderr))
    )
    reactor.run()


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def main() -> None:
    if len(sys.argv) == 3:
        if sys.argv[1] == "fill":
            fill(sys.argv[2])
        else:
            run(sys.argv[1], sys.argv[2])
        return
    with etcd() as address:
        subprocess.run([sys.executable, "-m", "bench.etcd_clients", "fill", address], check=True)
        found = {}
        for name in CLIENTS:
            done = subprocess.run(
                [sys.executable, "-m", "bench.etcd_clients", name, address],
                check=True,
                capture_output=True,
                text=True,
            )
            found[name] = json.loads(done.stdout)
    print(f"{'':34}" + "".join(f"{name:>12}" for name in CLIENTS))
    for figure in found[CLIENTS[0]]:
        print(f"{figure:34}" + "".join(f"{found[name][figure]:12.1f}" for name in CLIENTS))


if __name__ == "__main__":
    main()
