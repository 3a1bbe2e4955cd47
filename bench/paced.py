"""
A load generator with a fixed rate: `python -m bench.paced PORT RATE SECONDS CLIENTS KEYS VALUE_SIZE`.

redis-benchmark sends its next request when an answer has come, so a slow server gets less to do and looks
better than it is. Here requests are due by the clock, whatever the server does, and a latency counts from
the moment the request was due (so it includes how late we ourselves were, which is reported as well).

Requests are due in small bursts, one every `TICK`, and go to the clients in turn; a client that still
waits for an answer sends the next request behind it. All replies have the same size, so that counting
bytes is enough to know how many have come. Prints one JSON object.

Its limits: Python on one core, about 20 us per request; the kernel wakes it 50 to 100 us late.
"""

import gc
import json
import random
import select
import socket
import sys
import time
from collections import deque

from attrs import define, field

from bench.wire import Connection, benchmark_key, frame

TICK = 0.00025
"""Seconds between two bursts."""
WARM_UP = 0.1
"""The share of the requests at the begin whose latencies do not count."""
GRACE = 10.0
"""Seconds that the last replies may take."""
DIFFERENT_REQUESTS = 10_000


@define(eq=False)
class Client:
    """One connection: what it waits for, and how much of the next reply it has."""

    socket: socket.socket
    due: deque[float] = field(factory=deque)
    surplus: int = 0


def schedule(rate: float, requests: int, tick: float = TICK) -> list[float]:
    """When each request is due, in seconds from the start: `rate` in a second, in bursts on the tick."""
    return [int(number / rate / tick) * tick for number in range(requests)]


def percentile(ordered: list[float], share: float) -> float:
    """The smallest value that is not below `share` of them."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def run(
    port: int, rate: float, seconds: float, count: int, keys: int, size: int
) -> dict[str, float]:
    """Send `rate` GETs a second for that long; give latencies in milliseconds."""
    reply_size = len(b"$%d\r\n" % size) + size + 2
    requests = [
        frame([b"GET", benchmark_key(random.randrange(keys))]) for _ in range(DIFFERENT_REQUESTS)
    ]
    due_times = schedule(rate, int(rate * seconds))
    clients = [Client(Connection(port).socket) for _ in range(count)]
    by_descriptor = {client.socket.fileno(): client for client in clients}
    poll = select.epoll()
    for client in clients:
        client.socket.setblocking(False)
        poll.register(client.socket.fileno(), select.EPOLLIN)

    latencies: list[float] = []
    lateness: list[float] = []
    gc.collect()
    gc.disable()
    busy_before = time.process_time()
    start = time.perf_counter() + 0.01
    sent, total = 0, len(due_times)
    while len(latencies) < total:
        now = time.perf_counter()
        while sent < total and start + due_times[sent] <= now:
            due = start + due_times[sent]
            client = clients[sent % count]
            client.due.append(due)
            client.socket.send(requests[sent % DIFFERENT_REQUESTS])
            lateness.append(time.perf_counter() - due)
            sent += 1
        if sent < total:
            pause = max(0.0, start + due_times[sent] - time.perf_counter())
        elif now > start + due_times[-1] + GRACE:
            raise TimeoutError(f"{total - len(latencies)} replies did not come in {GRACE:.0f} s")
        else:
            pause = GRACE
        # epoll itself counts in milliseconds; select on the epoll in microseconds.
        if not select.select([poll], [], [], pause)[0]:
            continue
        for descriptor, _ in poll.poll(0):
            client = by_descriptor[descriptor]
            received = len(client.socket.recv(1 << 16))
            if not received:
                raise ConnectionError("the connection was closed in the middle of the load")
            arrived = time.perf_counter()
            whole, client.surplus = divmod(client.surplus + received, reply_size)
            for _ in range(whole):
                latencies.append(arrived - client.due.popleft())
    took = time.perf_counter() - start
    if any(client.surplus for client in clients):
        raise ValueError(f"a reply was not a value of {size} bytes")

    counted = sorted(latencies[int(total * WARM_UP) :])
    return {
        "requests": total,
        "ops_per_second": total / took,
        "p50_ms": percentile(counted, 0.50) * 1000,
        "p99_ms": percentile(counted, 0.99) * 1000,
        "late_p99_ms": percentile(sorted(lateness), 0.99) * 1000,
        "busy": (time.process_time() - busy_before) / took,
    }


def main() -> None:
    port, rate, seconds, count, keys, size = sys.argv[1:]
    try:
        found = run(int(port), float(rate), float(seconds), int(count), int(keys), int(size))
    except (OSError, ValueError, IndexError) as error:
        sys.exit(f"the paced load failed: {error}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
