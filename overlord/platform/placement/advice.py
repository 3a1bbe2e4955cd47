"""Refusals: which demand fails on what, and what would be enough."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NoReturn

from overlord.platform.placement.board import Board
from overlord.platform.placement.books import Books
from overlord.platform.placement.demand import Demand, Shape
from overlord.platform.placement.errors import PlacementError, Reason

NAMED_HOSTS = 8
"""Hosts that a sentence names, at most."""
SIZES_TRIED = 64
"""Sizes above and below the one that was asked for, at most, among which one that fits is looked for."""


def listed(names: Sequence[str]) -> str:
    """Hosts for a sentence: all of them, or the first and how many there are besides."""
    if not names:
        return "none"
    shown = ", ".join(names[:NAMED_HOSTS])
    return shown if len(names) <= NAMED_HOSTS else f"{shown} and {len(names) - NAMED_HOSTS} more"


def size_of(demand: Demand, shards: int) -> str:
    """A size in the user's words: `3 masters with 1 replica each`."""
    if not demand.needs_bus:
        return f"{shards} {'instance' if shards == 1 else 'instances'}"
    masters = f"{shards} {'master' if shards == 1 else 'masters'}"
    if not demand.replicas:
        return masters
    return (
        f"{masters} with {demand.replicas} {'replica' if demand.replicas == 1 else 'replicas'} each"
    )


def refuse_room(board: Board, books: Books, new: int) -> NoReturn:
    """There is no room for so many new shards."""
    shape, demand = board.shape, board.shape.demand
    most = min(shape.most_instances, new)
    needed = new * demand.copies
    room = [min(left, new) for left in board.left]
    have = sum(left > 0 or count > 0 for left, count in zip(board.left, board.count, strict=True))
    missing = needed - sum(room)
    further = max(shape.least_hosts - have, -(-missing // most))
    each = max(1, -(-missing // further))
    sizes = _nearest(board, books, new)
    what = size_of(demand, shape.shards)
    if have < shape.least_hosts:
        reason = Reason.TOO_FEW_HOSTS
        names = [name for name, count in zip(board.names, room, strict=True) if count]
        problem = (
            f"{what}: needs {shape.least_hosts} hosts with {demand.shown()} free,"
            f" {len(names)} {'has' if len(names) == 1 else 'have'} that: {listed(names)}"
        )
    else:
        reason = Reason.TOO_LITTLE_ROOM
        rooms = [f"{name} {count}" for name, count in zip(board.names, room, strict=True) if count]
        problem = (
            f"{what}: needs room for {_instances(needed)} with {demand.shown()} each, at most"
            f" {most} on a host, and there is room for {sum(room)}: {listed(rooms)}"
        )
    raise PlacementError(
        reason,
        problem + _why_not(board, books),
        demand.cluster,
        (
            hosts_for(demand, further, each),
            *(f"{size_of(demand, size)} on these hosts" for size in sizes),
        ),
        (further, each),
        sizes,
    )


def refuse_host(
    board: Board, books: Books, rows: Sequence[int], ids: Sequence[int], without: Collection[str]
) -> NoReturn:
    """For instances of these rows there is no host left."""
    demand, most = board.shape.demand, board.shape.most_instances
    row = rows[0]
    own = [board.names[host] for host in board.rows[row]]
    others = [
        name
        for host, name in enumerate(board.names)
        if host not in board.rows[row] and name not in without
    ]
    each = min(len(rows), most)
    further = max(*Counter(rows).values(), -(-len(rows) // each))
    raise PlacementError(
        Reason.NO_HOST,
        f"{_instances(len(rows))} with {demand.shown()} each cannot go anywhere: shard {ids[row]} is"
        f" on {listed(own)} already, and other hosts have no room within the guarantees:"
        f" {listed(others)}{_why_not(board, books)}",
        demand.cluster,
        (hosts_for(demand, further, each),),
        (further, each),
    )


def refuse_majority(board: Board) -> NoReturn:
    """The hosts are legal, and no distribution of roles is."""
    shape, demand = board.shape, board.shape.demand
    used = [name for name, count in zip(board.names, board.count, strict=True) if count]
    raise PlacementError(
        Reason.MAJORITY,
        f"{size_of(demand, shape.shards)} on {listed(used)}: however the roles are given out, one host"
        f" would lead more than {shape.most_masters} of {shape.shards} shards",
        demand.cluster,
        (f"{_hosts(1)} more with {demand.shown()} free",),
    )


def fits(
    fitting: Sequence[int], present: Sequence[int], demand: Demand, before: int, new: int
) -> bool:
    """Whether new shards can be placed, by how much room hosts have and what they have already."""
    shape = Shape(demand, before + new)
    room = [
        max(0, min(fit, shape.most_instances - there, new))
        for fit, there in zip(fitting, present, strict=True)
    ]
    hosts = sum(count > 0 or there > 0 for count, there in zip(room, present, strict=True))
    return sum(room) >= new * demand.copies and hosts >= shape.least_hosts


def hosts_for(demand: Demand, further: int, each: int) -> str:
    """Further hosts for a sentence: how many, with how much free."""
    return f"{_hosts(further)} more with {demand.shown(each)} free (room for {_instances(each)})"


def _nearest(board: Board, books: Books, new: int) -> tuple[int, ...]:
    """The nearest sizes that the same hosts can take: one below, one above, if there are."""
    demand = board.shape.demand
    before = board.shape.shards - new
    most = (new + SIZES_TRIED) * demand.copies
    fitting = [
        len(books.ports(name, demand, min(most, books.fitting(name, demand))))
        for name in board.names
    ]
    down = range(new - 1, max(0, new - SIZES_TRIED), -1)
    up = range(new + 1, new + SIZES_TRIED)
    found = []
    for sizes in (down, up):
        # What is dangerous by itself is no advice.
        safe = (size for size in sizes if before + size > 2)
        size = next((n for n in safe if fits(fitting, board.count, demand, before, n)), None)
        if size is not None:
            found.append(before + size)
    return tuple(found)


def _why_not(board: Board, books: Books) -> str:
    """What hosts without room lack, behind a list of those that have some."""
    demand, most = board.shape.demand, board.shape.most_instances
    reasons: dict[str, list[str]] = {}
    for host, name in enumerate(board.names):
        if board.left[host] == 0:
            reasons.setdefault(_lack(board, books, host, demand, most), []).append(name)
    return "".join(f"; {reason}: {listed(names)}" for reason, names in sorted(reasons.items()))


def _lack(board: Board, books: Books, host: int, demand: Demand, most: int) -> str:
    name = board.names[host]
    cpus, memory = books.free(name, demand.role)
    if name not in books.hosts:
        return "no offer"
    if board.count[host] >= most:
        return f"has {most} instances of the cluster, which is the most"
    if memory < demand.reserved:
        return "too little memory"
    if cpus < demand.cpus:
        return "too few cpus"
    if not books.ports(name, demand, 1):
        return "no ports" if not demand.needs_bus else "no port with a bus port"
    return "not to be used"


def _hosts(count: int) -> str:
    return "1 host" if count == 1 else f"{count} hosts"


def _instances(count: int) -> str:
    return "1 instance" if count == 1 else f"{count} instances"
