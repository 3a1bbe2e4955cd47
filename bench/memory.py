"""How much memory a proxy needs for idle clients and a huge value, and what it gives back."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from bench.dialects import fill
from bench.errors import BenchError
from bench.proc import forget_peak, open_files, peak_rss, rss
from bench.servers import Contestant
from bench.wanted import GET_PEAK, IDLE_ASKED, IDLE_NEW, KEPT, SET_PEAK
from bench.wire import PIECE, Connection

MIB = 1 << 20
ACCEPT_TIMEOUT = 60.0
"""Seconds that a proxy gets to accept, or to see off, all idle clients."""
SETTLE_TIMEOUT = 15.0
"""Seconds that memory gets to stop moving."""
SETTLED = 1.0
"""Seconds without a change after which memory counts as settled."""
GIVE_BACK = 10.0
"""Seconds after the last client at which we look what the proxy has kept."""
WARM_UP_KEYS = 1_000


def measure_memory(contestant: Contestant, clients: int, value_mib: int) -> dict[str, float]:
    """Figures of one proxy, which has to be new: all is compared with what it had at the start."""
    pid = contestant.proxy_pid
    if pid is None:
        raise ValueError("a node has no proxy whose memory could be measured")
    fill(contestant.port, WARM_UP_KEYS, 32)
    empty = _settled_rss(pid)
    figures: dict[str, float] = {}
    with _idle_clients(contestant, pid, clients) as connections:
        figures[IDLE_NEW] = (_settled_rss(pid) - empty) / MIB
        for connection in connections:
            connection.call(b"GET", b"key:000000000001")
        figures[IDLE_ASKED] = (_settled_rss(pid) - empty) / MIB
    _wait_for_files(pid, contestant, lambda count: count < clients)

    piece = random.Random(1).randbytes(PIECE)
    before = _settled_rss(pid)
    for figure, transfer in ((SET_PEAK, Connection.put), (GET_PEAK, Connection.fetch)):
        forget_peak(pid)
        with Connection(contestant.port) as connection:
            transfer(connection, b"huge", piece, value_mib * MIB // PIECE)
        figures[figure] = (peak_rss(pid) - before) / (value_mib * MIB)
    time.sleep(GIVE_BACK)
    figures[KEPT] = (rss(pid) - empty) / MIB
    return figures


@contextmanager
def _idle_clients(contestant: Contestant, pid: int, count: int) -> Iterator[list[Connection]]:
    before = open_files(pid)
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(contestant.port)) for _ in range(count)]
        _wait_for_files(pid, contestant, lambda files: files >= before + count)
        yield connections


def _wait_for_files(pid: int, contestant: Contestant, is_reached: Callable[[int], bool]) -> None:
    deadline = time.monotonic() + ACCEPT_TIMEOUT
    while not is_reached(count := open_files(pid)):
        if time.monotonic() > deadline:
            raise BenchError(
                f"{contestant.name} has {count} open files after {ACCEPT_TIMEOUT:.0f} s, "
                f"which does not fit the clients it should have"
            )
        time.sleep(0.1)


def _settled_rss(pid: int) -> int:
    """Memory when it has not moved by more than 1% for a while, or after `SETTLE_TIMEOUT`."""
    deadline = time.monotonic() + SETTLE_TIMEOUT
    current, since = rss(pid), time.monotonic()
    while time.monotonic() < min(deadline, since + SETTLED):
        time.sleep(0.1)
        if abs((latest := rss(pid)) - current) > current / 100:
            current, since = latest, time.monotonic()
    return rss(pid)
