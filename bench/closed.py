"""
A load generator that asks as fast as answers come, in any dialect; a program of its own.

Each client sends its next request when the reply to the last one is there, as with
redis-benchmark, which speaks Redis only. All replies to a request have one size, so counting
bytes tells when one is whole, and a reply that is an error does not pass.

Its limits: Python on one core, some 10 us per request. So throughput says more about it than
about a proxy; what it is for is the proxy's processor time per operation.
"""

import gc
import json
import random
import select
import sys
import time

from bench.dialects import DIALECTS
from bench.paced import percentile
from bench.wire import Connection, benchmark_key

DIFFERENT_REQUESTS = 10_000
RECEIVE = 1 << 18
PATIENCE = 10.0
"""Seconds without any reply after which the load has failed."""


def run(
    port: int,
    dialect: str,
    command: str,
    *,
    batch: int,
    clients: int,
    keys: int,
    value_size: int,
    requests: int,
) -> dict[str, float]:
    """Make so many requests; give operations a second, and latencies in milliseconds."""
    texts, reply_size = _requests(dialect, command, batch, keys, value_size)
    latencies: list[float] = []
    poll = select.epoll()
    connections = {}
    missing = {}
    for _ in range(min(clients, requests)):
        connection = Connection(port)
        connections[connection.socket.fileno()] = connection.socket
        missing[connection.socket.fileno()] = reply_size
        poll.register(connection.socket.fileno(), select.EPOLLIN)
    since = dict.fromkeys(connections, 0.0)
    ready = list(connections)
    sent = 0
    gc.disable()
    start = time.perf_counter()
    while len(latencies) < requests:
        for number in ready[: requests - sent]:
            since[number] = time.perf_counter()
            connections[number].send(texts[sent % DIFFERENT_REQUESTS])
            sent += 1
        ready.clear()
        events = poll.poll(PATIENCE)
        if not events:
            raise TimeoutError(f"no reply within {PATIENCE:.0f} s")
        # As with redis-benchmark, what has come is read from all before anything new is sent.
        for number, _ in events:
            received = len(connections[number].recv(RECEIVE))
            if not received:
                raise ConnectionError("the connection was closed in the middle of the load")
            missing[number] -= received
            if missing[number] == 0:
                missing[number] = reply_size
                latencies.append(time.perf_counter() - since[number])
                ready.append(number)
            elif missing[number] < 0:
                raise ValueError(f"a reply is not the {reply_size} bytes that were expected")
    took = time.perf_counter() - start
    latencies.sort()
    return {
        "rps": requests / took,
        "p50_latency_ms": percentile(latencies, 0.50) * 1000,
        "p99_latency_ms": percentile(latencies, 0.99) * 1000,
    }


def _requests(
    dialect_name: str, command: str, batch: int, keys: int, value_size: int
) -> tuple[list[bytes], int]:
    """Different requests, and the size that the reply to each of them has."""
    dialect, value = DIALECTS[dialect_name], b"x" * value_size
    if command == "set":
        chosen = (benchmark_key(random.randrange(keys)) for _ in range(DIFFERENT_REQUESTS))
        return [dialect.set(key, value) for key in chosen], len(dialect.stored)
    batches = [
        [benchmark_key(random.randrange(keys)) for _ in range(batch)]
        for _ in range(DIFFERENT_REQUESTS)
    ]
    return [dialect.get(each) for each in batches], len(dialect.found(batches[0], value))


def main() -> None:
    """`python -m bench.closed JSON`, the arguments of `run`, prints a JSON object."""
    try:
        found = run(**json.loads(sys.argv[1]))
    except (OSError, ValueError) as error:
        sys.exit(f"the load failed: {error}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
