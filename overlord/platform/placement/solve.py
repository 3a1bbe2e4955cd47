"""
One cluster: what of it stays, what has to go elsewhere, what is added; and the plan for that.

First come the hosts of the instances (`rows` for new shards, `matching` for single instances), then
the roles. From three masters on, roles can only fail on hosts that are legal in two ways, and both are
mended by one instance that goes elsewhere, or by an exchange of two (docs/placement.md has the proof):
four shards on three hosts; or, with one replica each and an even number of masters, all shards but one
on the same two hosts.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence

from overlord.platform.placement.advice import refuse_host, refuse_majority, refuse_room
from overlord.platform.placement.board import Board, board_of, limit_left
from overlord.platform.placement.books import Books
from overlord.platform.placement.demand import Demand, Risk, Shape
from overlord.platform.placement.matching import fill_rows
from overlord.platform.placement.picture import Instance, Role
from overlord.platform.placement.plan import Move, Plan, Promotion
from overlord.platform.placement.ports import PortPair
from overlord.platform.placement.roles import Stuck, choose_masters
from overlord.platform.placement.rows import add_shards, can_add

Shards = dict[int, list[Instance]]


def by_shard(instances: Iterable[Instance]) -> Shards:
    """Instances of one cluster by the number of their shard, in its order."""
    found: Shards = defaultdict(list)
    for one in instances:
        found[one.shard].append(one)
    return {shard: found[shard] for shard in sorted(found)}


def plan_cluster(
    books: Books,
    demand: Demand,
    instances: Sequence[Instance],
    leaving: Collection[Instance] = (),
    new_shards: int = 0,
    without: Collection[str] = (),
) -> Plan:
    """
    Find hosts for the successors of `leaving` and for `new_shards`; book them.

    Hosts in `without` get nothing.

    Raises:
        PlacementError: it cannot be done.
    """
    shards = by_shard(instances)
    shape = Shape(demand, len(shards) + new_shards)
    board = board_of(books, shape, {one.host for one in instances}, without)
    gone = frozenset(leaving)
    staying = {
        shard: [one for one in members if one not in gone] for shard, members in shards.items()
    }
    lay_out(board, staying.values())
    limit_left(board, books)
    was_broken = is_broken(board)
    needs = Counter(one.shard for one in gone)
    lacking = fill_rows(board, [(row, needs[shard]) for row, shard in enumerate(shards)])
    if lacking:
        refuse_host(board, books, lacking, [*shards], without)
    if new_shards and not can_add(board, new_shards):
        refuse_room(board, books, new_shards)
    if new_shards:
        add_shards(board, new_shards)
    if not settle_roles(board):
        was_broken |= not _was_electable(board, shape, shards)
        if not was_broken:
            refuse_majority(board)
        _choose_masters_somehow(board)
    plan = plan_of(board, books, staying, gone)
    risks = shape.risks if new_shards else ()
    broken = (Risk.ALREADY_BROKEN,) if was_broken else ()
    return Plan(
        added=plan.added,
        moved=plan.moved,
        promoted=plan.promoted,
        risks=risks + broken,
        notes=notes_of(board),
    )


def lay_out(board: Board, shards: Iterable[Iterable[Instance]]) -> None:
    """Put what stays on the board, one row for each shard."""
    numbers = {name: host for host, name in enumerate(board.names)}
    for members in shards:
        masters = [numbers[one.host] for one in members if one.role is Role.MASTER]
        board.add_row((numbers[one.host] for one in members), masters[0] if masters else -1)


def is_broken(board: Board) -> bool:
    """Whether what stays breaks a guarantee by where it is, whatever the roles."""
    return any(count > board.shape.most_instances for count in board.count) or any(
        len(set(row)) < len(row) for row in board.rows
    )


def settle_roles(board: Board) -> bool:
    """Choose the masters; where that needs other hosts, change those of new instances."""
    before = list(board.masters)
    for _ in range(len(board.rows) + 1):
        stuck = choose_masters(board, board.shape.most_masters)
        if stuck is None:
            return True
        board.masters[:] = before
        if not _mend(board, stuck):
            return False
    return False


def _mend(board: Board, stuck: Stuck) -> bool:
    """Get an instance of a stuck shard away from the hosts on which all of them are."""
    inside = set(stuck.hosts)
    for row in stuck.shards:
        for host in board.rows[row][board.fixed[row] :]:
            for other in range(board.host_count):
                if other not in inside and board.left[other] > 0 and other not in board.rows[row]:
                    board.take(row, host)
                    board.put(row, other)
                    return True
    return any(
        _exchange_outwards(board, row, host, inside)
        for row in stuck.shards
        for host in board.rows[row][board.fixed[row] :]
    )


def _exchange_outwards(board: Board, row: int, host: int, inside: set[int]) -> bool:
    for other, members in enumerate(board.rows):
        if host in members:
            continue
        for outside in members[board.fixed[other] :]:
            if outside not in inside and outside not in board.rows[row]:
                board.take(row, host)
                board.take(other, outside)
                board.put(row, outside)
                board.put(other, host)
                return True
    return False


def _was_electable(board: Board, shape: Shape, shards: Shards) -> bool:
    """Whether roles could be legal before anything is changed."""
    if not shards:
        return True
    names = board.names
    before = Board(
        Shape(shape.demand, len(shards)),
        names,
        board.rank,
        [0] * len(names),
        board.zones,
        board.racks,
    )
    lay_out(before, shards.values())
    return choose_masters(before, before.shape.most_masters) is None


def _choose_masters_somehow(board: Board) -> None:
    """Where no distribution of roles is legal: the most even one."""
    before = list(board.masters)
    most = board.shape.most_masters + 1
    while choose_masters(board, most) is not None:
        board.masters[:] = before
        most += 1


def notes_of(board: Board) -> tuple[str, ...]:
    """What could not be had beyond the guarantees."""
    demand = board.shape.demand
    if demand.copies < 2 or max(board.zones, default=0) == 0:
        return ()
    together = [
        row
        for row, members in enumerate(board.rows)
        if len(members) > board.fixed[row] and len({board.zones[host] for host in members}) < 2
    ]
    if not together:
        return ()
    some = f"{len(together)} of {len(board.rows)} shards"
    return (f"cluster '{demand.cluster}': {some} are in one zone: there is no room in others",)


def plan_of(board: Board, books: Books, staying: Shards, gone: Collection[Instance]) -> Plan:
    """The plan that the board stands for; what it needs is booked."""
    new_on: Counter[int] = Counter(
        host for row, members in enumerate(board.rows) for host in members[board.fixed[row] :]
    )
    demand = board.shape.demand
    ports = {
        host: iter(books.ports(board.names[host], demand, amount))
        for host, amount in new_on.items()
    }
    old_of = by_shard(sorted(gone, key=lambda one: (one.role is Role.REPLICA, one.host, one.port)))
    first_new = max([*staying, -1]) + 1
    added: list[Instance] = []
    moved: list[Move] = []
    promoted: list[Promotion] = []
    ids = [*staying, *range(first_new, first_new + len(board.rows) - len(staying))]
    for row, shard in enumerate(ids):
        master = board.masters[row]
        promoted += [
            Promotion(demand.cluster, shard, one.host, one.port)
            for one in staying.get(shard, ())
            if board.names[master] == one.host and one.role is not Role.MASTER
        ]
        hosts = sorted(board.rows[row][board.fixed[row] :], key=lambda host: host != master)
        for host in hosts:
            role = Role.MASTER if host == master else Role.REPLICA
            new = _instance(books, demand, shard, role, board.names[host], next(ports[host]))
            if shard in staying:
                moved.append(Move(old_of[shard].pop(0), new))
            else:
                added.append(new)
    return Plan(added=tuple(added), moved=tuple(moved), promoted=tuple(promoted))


def _instance(
    books: Books, demand: Demand, shard: int, role: Role, host: str, ports: PortPair
) -> Instance:
    held = books.take(host, demand, ports)
    return Instance(demand.cluster, shard, role, host, ports[0], ports[1], held)
