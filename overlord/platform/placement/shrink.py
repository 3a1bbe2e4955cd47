"""
Fewer shards: which of them go, and which instances have to move because a smaller cluster allows less
on one host.

Moves come first, while the cluster is still large; so what the removed shards hold is not free for
them. Given the shards that stay, the moves are simple: a host above the limit has more instances than
any host with room, so it always has one whose shard is not on that host yet. It can be done if and only
if there is as much room as there is excess. Which shards go is the choice: first those on the fullest
hosts; if that asks for moves, others are tried, up to `SHRINK_WORK`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import NoReturn

from attrs import evolve, frozen

from overlord.platform.placement.advice import hosts_for, listed, size_of
from overlord.platform.placement.board import Board, board_of, limit_left
from overlord.platform.placement.books import Books
from overlord.platform.placement.demand import Demand, Risk, Shape
from overlord.platform.placement.errors import PlacementError, Reason
from overlord.platform.placement.matching import best_host
from overlord.platform.placement.picture import Host, Instance, Picture, Share
from overlord.platform.placement.plan import Plan
from overlord.platform.placement.ports import BUS_DISTANCE, PortSet
from overlord.platform.placement.roles import choose_masters
from overlord.platform.placement.solve import Shards, by_shard, is_broken, lay_out, plan_of

SHRINK_WORK = 1_000_000
"""Shards that are looked at for a better choice of those that go; choices times shards."""
SIZES_TRIED = 16
"""Sizes above and below the one that was asked for, among which one that works is looked for."""
HOSTS_TRIED = 4
"""Further hosts, at most, with which a refused scale-in is tried."""


def scale_in(picture: Picture, cluster: str, fewer: int) -> Plan:
    """
    Take `fewer` shards or singletons away.

    Raises:
        PlacementError: it cannot be done; with the nearest sizes and the hosts that would do.
    """
    demand = picture.demand_of(cluster)
    shards = by_shard(picture.by_cluster[cluster])
    if not 1 <= fewer < len(shards):
        raise PlacementError(
            Reason.BAD_DEMAND,
            f"of {size_of(demand, len(shards))}, 1 to {len(shards) - 1} can be taken away,"
            f" not {fewer}",
            cluster,
        )
    plan = _best(picture, demand, shards, fewer)
    if plan is None:
        _refuse(picture, demand, shards, fewer)
    return plan


def _best(picture: Picture, demand: Demand, shards: Shards, fewer: int) -> Plan | None:
    """The plan with fewest moves; of all choices, or of as many as may be tried."""
    shape = Shape(demand, len(shards) - fewer)
    best: Plan | None = None
    for removed in _choices(shards, fewer):
        least = _excess(shards, removed, shape)
        if best is not None and least >= len(best.moved):
            continue
        plan = _attempt(picture, shape, shards, removed)
        if plan is not None and (best is None or len(plan.moved) < len(best.moved)):
            best = plan
        if best is not None and not best.moved:
            break
    return best


def _choices(shards: Shards, fewer: int) -> Iterator[frozenset[int]]:
    """Which shards could go: those on the fullest hosts, then every other choice, up to a bound."""
    yield _fullest(shards, fewer)
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for shard, members in shards.items():
        groups[tuple(sorted(one.host for one in members))].append(shard)
    alike = [sorted(group, reverse=True) for group in groups.values()]
    tries = SHRINK_WORK // len(shards)
    for removed in _of_each(alike, fewer):
        yield frozenset(removed)
        tries -= 1
        if tries <= 0:
            return


def _of_each(groups: Sequence[Sequence[int]], amount: int) -> Iterator[tuple[int, ...]]:
    """So many shards out of groups that are alike, in every way; without a stack that could overflow."""
    counts = [0] * len(groups)
    room = [0] * (len(groups) + 1)
    for at in range(len(groups) - 1, -1, -1):
        room[at] = room[at + 1] + len(groups[at])
    rest, at, is_new = amount, 0, True
    while at >= 0:
        if at == len(groups):
            yield tuple(
                shard
                for group, count in zip(groups, counts, strict=True)
                for shard in group[:count]
            )
            at, is_new = at - 1, False
            continue
        # As many as possible of a group first; never so few that the others cannot make it up.
        if is_new:
            counts[at] = min(rest, len(groups[at]))
            rest -= counts[at]
            at += 1
            continue
        if counts[at] > 0 and rest + 1 <= room[at + 1]:
            counts[at] -= 1
            rest += 1
            at, is_new = at + 1, True
        else:
            rest += counts[at]
            counts[at] = 0
            at -= 1


def _fullest(shards: Shards, fewer: int) -> frozenset[int]:
    """The shards on the hosts that have most of the cluster, the newest first."""
    count = Counter(one.host for members in shards.values() for one in members)

    def key(shard: int) -> tuple[int, int]:
        return -sum(count[one.host] ** 2 for one in shards[shard]), -shard

    heap = [key(shard) for shard in shards]
    heapify(heap)
    removed: set[int] = set()
    while len(removed) < fewer:
        worth, negative = heappop(heap)
        now = key(-negative)
        if now[0] != worth:
            # Counts only fall, so a key only gets worse: this one has its turn later.
            heappush(heap, now)
            continue
        removed.add(-negative)
        count.subtract(one.host for one in shards[-negative])
    return frozenset(removed)


def _excess(shards: Shards, removed: frozenset[int], shape: Shape) -> int:
    """How many instances are above what hosts may have afterwards."""
    count = Counter(
        one.host for shard, members in shards.items() if shard not in removed for one in members
    )
    return sum(max(0, there - shape.most_instances) for there in count.values())


def _attempt(
    picture: Picture, shape: Shape, shards: Shards, removed: frozenset[int]
) -> Plan | None:
    books = Books.of(picture)
    kept = {shard: members for shard, members in shards.items() if shard not in removed}
    board = board_of(books, shape, {one.host for members in kept.values() for one in members})
    lay_out(board, kept.values())
    limit_left(board, books)
    mover = _Mover(board, kept)
    if not (mover.empty_full_hosts() and mover.settle_roles()):
        return None
    gone = mover.gone
    staying = {shard: [one for one in kept[shard] if one not in gone] for shard in kept}
    plan = plan_of(board, books, staying, gone)
    broken = (Risk.ALREADY_BROKEN,) if is_broken(board) else ()
    return evolve(
        plan,
        removed=tuple(one for shard in sorted(removed) for one in shards[shard]),
        risks=shape.risks + broken,
    )


@frozen
class _Mover:
    """Moves instances of shards that stay, and remembers which."""

    board: Board
    kept: Shards

    @property
    def gone(self) -> frozenset[Instance]:
        """The instances that have moved away."""
        board = self.board
        return frozenset(
            one
            for row, members in enumerate(self.kept.values())
            for one in members
            if one.host not in {board.names[host] for host in board.rows[row][: board.fixed[row]]}
        )

    def empty_full_hosts(self) -> bool:
        """Move away what hosts have above the limit; False if there is no room."""
        board, most = self.board, self.board.shape.most_instances
        for host in range(board.host_count):
            while board.count[host] > most:
                rows = [r for r, m in enumerate(board.rows) if host in m[: board.fixed[r]]]
                # Replicas first: a master costs a failover.
                rows.sort(key=lambda row: (board.masters[row] == host, -row))
                if not any(self._move(row, host) for row in rows):
                    return False
        return True

    def settle_roles(self) -> bool:
        """Choose masters; where they have too few hosts between them, move one of their instances."""
        board = self.board
        for _ in range(board.host_count + 1):
            before = list(board.masters)
            stuck = choose_masters(board, board.shape.most_masters)
            if stuck is None:
                return True
            board.masters[:] = before
            inside = sorted(stuck.hosts)
            if not any(
                self._move(row, host, inside)
                for row in sorted(stuck.shards)
                for host in board.rows[row][: board.fixed[row]]
            ):
                return False
        return False

    def _move(self, row: int, host: int, without: Sequence[int] = ()) -> bool:
        board = self.board
        other = best_host(board, row, without)
        if other < 0:
            return False
        board.release(row, host)
        board.put(row, other)
        if board.masters[row] == host:
            board.masters[row] = -1
        return True


def _refuse(picture: Picture, demand: Demand, shards: Shards, fewer: int) -> NoReturn:
    left = len(shards) - fewer
    shape = Shape(demand, left)
    used = sorted({one.host for members in shards.values() for one in members})
    sizes = []
    for nearby in (
        range(left - 1, max(2, left - 1 - SIZES_TRIED), -1),
        range(left + 1, min(len(shards), left + 1 + SIZES_TRIED)),
    ):
        size = next((n for n in nearby if _works(picture, demand, shards, len(shards) - n)), None)
        if size is not None:
            sizes.append(size)
    enough = [f"{size_of(demand, size)} on these hosts" for size in sizes]
    further = _further_hosts(picture, demand, shards, fewer)
    if further is not None:
        enough.insert(0, hosts_for(demand, *further))
    raise PlacementError(
        Reason.TOO_SMALL,
        f"{size_of(demand, left)} on {listed(used)} would break the guarantees: a host may have at"
        f" most {shape.most_instances} of {shape.instances} instances and {shape.most_masters} of"
        f" {left} masters; and what would have to move finds no other host with room",
        demand.cluster,
        tuple(enough),
        further,
        tuple(sizes),
    )


def _works(picture: Picture, demand: Demand, shards: Shards, fewer: int) -> bool:
    shape = Shape(demand, len(shards) - fewer)
    return _attempt(picture, shape, shards, _fullest(shards, fewer)) is not None


def _further_hosts(
    picture: Picture, demand: Demand, shards: Shards, fewer: int
) -> tuple[int, int] | None:
    """How many hosts more would do, and room for how many instances each of them needs: by trying."""
    each = Shape(demand, len(shards) - fewer).most_instances
    ports = PortSet(((BUS_DISTANCE, BUS_DISTANCE + each),))
    free = (Share(demand.role, demand.cpus * each, demand.reserved * each, ports),)
    shape = Shape(demand, len(shards) - fewer)
    for further in range(1, HOSTS_TRIED + 1):
        new = [Host(f"further host {number}", free) for number in range(further)]
        larger = evolve(picture, hosts=(*picture.hosts, *new))
        plan = _attempt(larger, shape, shards, _fullest(shards, fewer))
        if plan is not None:
            most = Counter(one.host for one in plan.arriving)
            return further, max(most[host.name] for host in new) or 1
    return None
