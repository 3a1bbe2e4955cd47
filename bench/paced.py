"""
A load generator with a fixed rate, a program of its own (see `main` for its arguments).

redis-benchmark sends a request when the last answer has come, so a slow server gets less to do
and looks better than it is. Here requests are due by the clock, whatever the server does, and a
latency counts from the moment the request was due. So it includes how late we ourselves were,
which is reported as well.

Requests are due in small bursts, one every `TICK`, and go to the clients in turn; a client that
still waits for an answer sends the next request behind it. All replies have the same size, so
counting bytes is enough to know how many have come.

Its limits: Python on one core, some 20 us per request; the kernel wakes it 50 to 100 us late.
"""

import gc
import json
import random
import select
import sys
import time
from collections import deque

from attrs import define, field, frozen

from bench.wire import Connection, benchmark_key, frame

TICK = 0.00025
"""Seconds between two bursts."""
WARM_UP = 0.1
"""The share of the requests, from the first on, whose latencies do not count."""
GRACE = 10.0
"""Seconds that the last replies may take."""
START_DELAY = 0.01
DIFFERENT_REQUESTS = 10_000
RECEIVE = 1 << 16


@frozen
class Plan:
    """What to send, and where."""

    port: int
    rate: float
    """Requests a second, over all clients."""
    seconds: float
    clients: int
    keys: int
    value_size: int


@define(eq=False)
class Client:
    """One connection: when its unanswered requests were due, and how far a reply has come."""

    connection: Connection
    due: deque[float] = field(factory=deque)
    surplus: int = 0


@define(eq=False)
class Generator:
    """Sends what is due, takes what has come."""

    plan: Plan
    _latencies: list[float] = field(factory=list, init=False)
    _lateness: list[float] = field(factory=list, init=False)
    _clients: list[Client] = field(factory=list, init=False)
    _by_descriptor: dict[int, Client] = field(factory=dict, init=False)
    _poll: select.epoll = field(factory=select.epoll, init=False)
    _requests: list[bytes] = field(factory=list, init=False)
    _reply_size: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._reply_size = len(b"$%d\r\n\r\n" % self.plan.value_size) + self.plan.value_size
        for _ in range(DIFFERENT_REQUESTS):
            key = benchmark_key(random.randrange(self.plan.keys))
            self._requests.append(frame([b"GET", key]))
        for _ in range(self.plan.clients):
            client = Client(Connection(self.plan.port))
            client.connection.socket.settimeout(0.0)
            descriptor = client.connection.socket.fileno()
            self._clients.append(client)
            self._by_descriptor[descriptor] = client
            self._poll.register(descriptor, select.EPOLLIN)

    def run(self) -> dict[str, float]:
        """Carry out the plan; give latencies in milliseconds."""
        offsets = schedule(self.plan.rate, int(self.plan.rate * self.plan.seconds))
        gc.disable()
        busy_before = time.process_time()
        start = time.perf_counter() + START_DELAY
        self._exchange([start + offset for offset in offsets])
        took = time.perf_counter() - start
        busy = time.process_time() - busy_before

        counted = sorted(self._latencies[int(len(offsets) * WARM_UP) :])
        return {
            "requests": len(offsets),
            "ops_per_second": len(offsets) / took,
            "p50_ms": percentile(counted, 0.50) * 1000,
            "p99_ms": percentile(counted, 0.99) * 1000,
            "late_p99_ms": percentile(sorted(self._lateness), 0.99) * 1000,
            "busy": busy / took,
        }

    def _exchange(self, due_times: list[float]) -> None:
        total, sent = len(due_times), 0
        while len(self._latencies) < total:
            while sent < total and due_times[sent] <= time.perf_counter():
                self._send(sent, due_times[sent])
                sent += 1
            next_event = due_times[sent] if sent < total else due_times[-1] + GRACE
            pause = next_event - time.perf_counter()
            if sent == total and pause < 0:
                missing = total - len(self._latencies)
                raise TimeoutError(f"{missing} replies did not come within {GRACE:.0f} s")
            # An epoll counts in milliseconds; select, which can look at it, in microseconds.
            if select.select([self._poll], [], [], max(0.0, pause))[0]:
                self._receive()
        if any(client.surplus for client in self._clients):
            raise ValueError(f"a reply was not a value of {self.plan.value_size} bytes")

    def _send(self, number: int, due: float) -> None:
        client = self._clients[number % len(self._clients)]
        client.due.append(due)
        client.connection.socket.send(self._requests[number % DIFFERENT_REQUESTS])
        self._lateness.append(time.perf_counter() - due)

    def _receive(self) -> None:
        for descriptor, _ in self._poll.poll(0):
            client = self._by_descriptor[descriptor]
            received = len(client.connection.socket.recv(RECEIVE))
            if not received:
                raise ConnectionError("the connection was closed in the middle of the load")
            arrived = time.perf_counter()
            whole, client.surplus = divmod(client.surplus + received, self._reply_size)
            for _ in range(whole):
                self._latencies.append(arrived - client.due.popleft())


def schedule(rate: float, requests: int) -> list[float]:
    """When each request is due, in seconds from the start: `rate` in a second, in bursts."""
    return [int(number / rate / TICK) * TICK for number in range(requests)]


def percentile(ordered: list[float], share: float) -> float:
    """The value in a sorted list below which that share of it lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def main() -> None:
    """`python -m bench.paced PORT RATE SECONDS CLIENTS KEYS VALUE_SIZE` prints a JSON object."""
    port, rate, seconds, clients, keys, value_size = sys.argv[1:]
    plan = Plan(int(port), float(rate), float(seconds), int(clients), int(keys), int(value_size))
    try:
        found = Generator(plan).run()
    except (OSError, ValueError, IndexError) as error:
        sys.exit(f"the paced load failed: {error}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
