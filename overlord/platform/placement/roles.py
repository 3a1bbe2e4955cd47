"""
Who is master: one instance of each shard, so that no host has more masters than the shape allows.

Masters that are there stay, as long as that is legal: a shard is given another master (a planned
failover) only where a host has too many. A chain of exchanges, found by breadth first, decides: from
a host with too many masters to one that may have more, each step being a shard that both are in. If
there is none, the shards that the search saw have too few hosts between them, and no distribution of
roles is legal: this is Hall's theorem.
"""

from collections import defaultdict, deque
from collections.abc import Collection

from attrs import define, field, frozen

from overlord.platform.placement.board import Board

BALANCE_CHAINS = 1_000
"""Chains of exchanges for an even number of masters on each host, at most; beyond legality."""


@frozen
class Stuck:
    """These shards have all their instances on these hosts, which may not have so many masters."""

    shards: Collection[int]
    hosts: Collection[int]


@define(eq=False)
class _Votes:
    """Masters of each host, and who has them."""

    board: Board
    most: int
    led: dict[int, set[int]] = field(factory=lambda: defaultdict(set))
    """The shards whose master is on a host."""
    zone_load: dict[int, int] = field(factory=lambda: defaultdict(int))

    def lead(self, row: int, host: int) -> None:
        before = self.board.masters[row]
        if before >= 0:
            self.led[before].discard(row)
            self.zone_load[self.board.zones[before]] -= 1
        self.board.masters[row] = host
        self.led[host].add(row)
        self.zone_load[self.board.zones[host]] += 1

    def load(self, host: int) -> int:
        return len(self.led[host])

    def key(self, host: int) -> tuple[bool, int, int, int]:
        """The best host for one more master comes first."""
        load = self.load(host)
        return (
            load >= self.most,
            load,
            self.zone_load[self.board.zones[host]],
            self.board.rank[host],
        )


def choose_masters(board: Board, most: int) -> Stuck | None:
    """Give each row that has instances a master; `Stuck` if it cannot be done."""
    votes = _Votes(board, most)
    free = [row for row, host in enumerate(board.masters) if host < 0 and board.rows[row]]
    for row, host in enumerate(board.masters):
        if host >= 0:
            board.masters[row] = -1
            votes.lead(row, host)
    for row in free:
        votes.lead(row, min(board.rows[row], key=votes.key))
    is_free = set(free)
    for host in sorted(votes.led):
        while votes.load(host) > most:
            # Those who have no master yet may change without a failover.
            stuck = _shift(votes, host, most, is_free) and _shift(votes, host, most, None)
            if stuck is not None:
                return stuck
    _balance(votes, is_free)
    return None


def _shift(votes: _Votes, start: int, below: int, rows: set[int] | None) -> Stuck | None:
    """
    Take one master from a host, through a chain of exchanges that ends where fewer than `below` are.
    Only shards in `rows` may change, if given.
    """
    came: dict[int, tuple[int, int]] = {start: (-1, -1)}
    seen: set[int] = set()
    queue = deque([start])
    while queue:
        host = queue.popleft()
        for row in sorted(votes.led[host]):
            if row in seen or (rows is not None and row not in rows):
                continue
            seen.add(row)
            for other in votes.board.rows[row]:
                if other in came:
                    continue
                came[other] = (host, row)
                if votes.load(other) < below:
                    _follow(votes, came, other)
                    return None
                queue.append(other)
    return Stuck(seen, came.keys())


def _follow(votes: _Votes, came: dict[int, tuple[int, int]], end: int) -> None:
    while came[end][0] >= 0:
        host, row = came[end]
        votes.lead(row, end)
        end = host


def _balance(votes: _Votes, rows: set[int]) -> None:
    """
    Even the masters out as far as that costs no failover: while a chain leads from a host to one with
    at least two fewer. The sum of the squares falls with each, so it ends.
    """
    chains = BALANCE_CHAINS
    hosts = sorted({host for row in rows for host in votes.board.rows[row]})
    level = max((votes.load(host) for host in hosts), default=0)
    while level > 1:
        for host in hosts:
            while chains and votes.load(host) == level:
                chains -= 1
                if _shift(votes, host, level - 1, rows) is not None:
                    break
        level -= 1
