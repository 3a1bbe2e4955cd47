"""
Single instances that need another host: of shards that keep the others where they are.

Each goes to the best host that may have it. When none is left, a chain of exchanges between the new
instances (an augmenting path in the graph of shards and hosts) makes room, if that is possible at all:
so whenever all can be placed, all are.
"""

from collections import deque
from collections.abc import Sequence

from overlord.platform.placement.board import Board


def fill_rows(board: Board, needs: Sequence[tuple[int, int]]) -> list[int]:
    """Place so many new instances for each row; the rows that lack one in the end, none if all is well."""
    lacking = []
    for row, amount in needs:
        for _ in range(amount):
            host = best_host(board, row)
            if host >= 0:
                board.put(row, host)
            elif not _make_room(board, row):
                lacking.append(row)
    return lacking


def best_host(board: Board, row: int, without: Sequence[int] = ()) -> int:
    """Where another instance of a shard is best: far from the others, evenly, with much room; or -1."""
    members = board.rows[row]
    several_labels = max(board.racks, default=0) > 0
    best, least = -1, (0, 0, 0, 0, 0)
    for host, left in enumerate(board.left):
        if left <= 0 or host in members or host in without:
            continue
        zone, rack = board.nearness(host, members) if several_labels else (0, 0)
        key = zone, rack, board.count[host], board.rank[host], board.shared(host, members)
        if best < 0 or key < least:
            best, least = host, key
    return best


def _make_room(board: Board, start: int) -> bool:
    """Find a chain: this row takes a host of another row's new instance, which takes another's, ..."""
    holders: dict[int, list[int]] = {}
    for row, members in enumerate(board.rows):
        for host in members[board.fixed[row] :]:
            holders.setdefault(host, []).append(row)
    wants: dict[int, tuple[int, int]] = {}
    """Of a row that the search reached: who wants which of its hosts."""
    seen: set[int] = set()
    queue = deque([start])
    while queue:
        row = queue.popleft()
        for host in range(board.host_count):
            if host in seen or host in board.rows[row]:
                continue
            if board.left[host] > 0:
                _exchange_along(board, wants, row, host)
                return True
            seen.add(host)
            for other in holders.get(host, []):
                if other not in wants and other != start:
                    wants[other] = row, host
                    queue.append(other)
    return False


def _exchange_along(board: Board, wants: dict[int, tuple[int, int]], row: int, host: int) -> None:
    """`row` takes `host` and gives what it had to who wants it, and so on to the row that began."""
    while row in wants:
        taker, wanted = wants[row]
        board.take(row, wanted)
        board.put(row, host)
        row, host = taker, wanted
    board.put(row, host)
