"""
New shards on a board: how many instances each host gets, then which shard they belong to.

**How many** is water poured into the hosts: one instance after the other goes to a host that has
fewest of the cluster, and among those to the one with most free resources. A host takes at most what
`Board.left` says, and one of each new shard.

**Which shard**: with `s` shards to fill and `d` instances for a host still to be given out, it can be
done if and only if no `d` is above `s` and they sum up to `s` times the instances of a shard (each
host gives `d/s` of itself to each shard: a flow in fractions, so there is one in whole numbers). A
host with `d == s` must be in the next shard; at most as many as a shard has instances can be so, and
with them in it, the condition holds again for `s - 1`. So any choice of the others leads to the end,
and the choice is free for what is good: different zones, different racks, hosts that share few shards.
"""

from heapq import heapify, heappop, heappush

from attrs import define, field

from overlord.platform.placement.board import Board

SWAP_TRIES = 5_000
"""Exchanges of two instances that are tried to spread them better, at most."""

_ZONE_WEIGHT = 1 << 40
_RACK_WEIGHT = 1 << 20


def can_add(board: Board, shards: int) -> bool:
    """Whether hosts may get enough instances for so many new shards, and are enough hosts."""
    hosts = sum(left > 0 or count > 0 for left, count in zip(board.left, board.count, strict=True))
    room = sum(min(left, shards) for left in board.left)
    return hosts >= board.shape.least_hosts and room >= shards * board.shape.demand.copies


def add_shards(board: Board, shards: int) -> None:
    """Put new shards on the board; `can_add` must have said yes."""
    first = len(board.rows)
    counts = _poured(board, shards)
    dealer = _Dealer.of(board, counts)
    for rest in range(shards, 0, -1):
        board.add_row(())
        for host in dealer.next_shard(rest):
            board.put(len(board.rows) - 1, host)
    spread_better(board, first)


def _poured(board: Board, shards: int) -> list[int]:
    """How many instances each host gets."""
    amount = shards * board.shape.demand.copies
    counts = [0] * board.host_count
    for limits in _label_limits(board, shards):
        heap = [
            (board.count[host] + counts[host], board.rank[host], host)
            for host in range(board.host_count)
            if counts[host] < min(board.left[host], shards)
        ]
        heapify(heap)
        while amount and heap:
            level, rank, host = heappop(heap)
            if any(limit.room(host) <= 0 for limit in limits):
                continue
            for limit in limits:
                limit.taken[limit.labels[host]] += 1
            counts[host] += 1
            amount -= 1
            if counts[host] < min(board.left[host], shards):
                heappush(heap, (level + 1, rank, host))
    assert amount == 0, "can_add said that there is room"
    return counts


@define(eq=False)
class _Limit:
    """How many new instances the hosts of one label may get."""

    labels: list[int]
    most: list[int]
    taken: list[int]

    def room(self, host: int) -> int:
        label = self.labels[host]
        return self.most[label] - self.taken[label]


def _label_limits(board: Board, shards: int) -> list[list[_Limit]]:
    """
    The guarantees with zones and racks in the place of hosts, as far as they can be had: first both
    are asked for, then zones alone, then neither.
    """
    zones, racks = _limit(board, board.zones, shards), _limit(board, board.racks, shards)
    return [[zones, racks], [zones], []]


def _limit(board: Board, labels: list[int], shards: int) -> _Limit:
    size = max(labels, default=-1) + 1
    present = [0] * size
    is_usable = [False] * size
    for host, label in enumerate(labels):
        present[label] += board.count[host]
        is_usable[label] |= bool(board.left[host] or board.count[host])
    usable = sum(is_usable)
    copies = board.shape.demand.copies
    per_shard = -(-copies // usable) if usable else copies
    most = [shards * per_shard] * size
    if usable > 2:
        majority = board.shape.most_instances
        most = [min(most[label], majority - present[label]) for label in range(size)]
    return _Limit(labels, most, [0] * size)


@define(eq=False)
class _Dealer:
    """Deals the instances that hosts get out to shards."""

    board: Board
    rest: list[int]
    """Instances of each host still to be dealt out."""
    leaves: dict[tuple[int, int], "_Leaf"] = field(factory=dict)
    """The hosts of each rack."""
    of_zone: dict[int, int] = field(factory=dict)
    """Instances still to be dealt out in each zone."""

    @classmethod
    def of(cls, board: Board, counts: list[int]) -> "_Dealer":
        dealer = cls(board, counts)
        for host in sorted(range(board.host_count), key=board.rank.__getitem__):
            if counts[host]:
                zone, rack = board.zones[host], board.racks[host]
                leaf = dealer.leaves.setdefault((zone, rack), _Leaf())
                leaf.add(host, counts[host])
                leaf.rest += counts[host]
                dealer.of_zone[zone] = dealer.of_zone.get(zone, 0) + counts[host]
        return dealer

    def next_shard(self, shards: int) -> list[int]:
        """The hosts of the next shard, when so many are still to be filled."""
        members = [host for leaf in self.leaves.values() for host in leaf.at(shards)]
        while len(members) < self.board.shape.demand.copies:
            members.append(self._choice(members))
        for host in members:
            zone, rack = self.board.zones[host], self.board.racks[host]
            leaf = self.leaves[zone, rack]
            leaf.lower(host, self.rest[host])
            self.rest[host] -= 1
            self.of_zone[zone] -= 1
        return members

    def _choice(self, members: list[int]) -> int:
        """A further host: of a zone and a rack of which the shard has least, that have most to give."""
        zones = [self.board.zones[host] for host in members]
        racks = [self.board.racks[host] for host in members]
        order = sorted(
            (zones.count(zone), -self.of_zone[zone], racks.count(rack), -leaf.rest, zone, rack)
            for (zone, rack), leaf in self.leaves.items()
            if leaf.rest
        )
        for *_, zone, rack in order:
            host = self.leaves[zone, rack].best(self.board, members)
            if host >= 0:
                return host
        raise AssertionError("a host with d == s is always in the shard, so there are others")


@define(eq=False)
class _Leaf:
    """The hosts of one rack, by how many instances of each are still to be dealt out."""

    levels: list[dict[int, None]] = field(factory=list)
    rest: int = 0

    def add(self, host: int, level: int) -> None:
        while len(self.levels) <= level:
            self.levels.append({})
        self.levels[level][host] = None

    def at(self, level: int) -> list[int]:
        return list(self.levels[level]) if level < len(self.levels) else []

    def lower(self, host: int, level: int) -> None:
        """One instance of a host is dealt out; it goes behind the others of its new level."""
        del self.levels[level][host]
        self.levels[level - 1][host] = None
        self.rest -= 1
        while self.levels and not self.levels[-1]:
            self.levels.pop()

    def best(self, board: Board, members: list[int]) -> int:
        """The host that shares fewest shards with the members, then that with most to give; or -1."""
        best, fewest = -1, 0
        for level in range(len(self.levels) - 1, 0, -1):
            for host in self.levels[level]:
                if host in members:
                    continue
                shared = board.shared(host, members)
                if shared == 0:
                    return host
                if best < 0 or shared < fewest:
                    best, fewest = host, shared
        return best


def spread_better(board: Board, first: int) -> None:
    """
    Exchange hosts between the shards from `first` on while that sets instances of a shard further
    apart, or makes hosts share shards more evenly. Each exchange lowers a number that is never below
    zero, and `SWAP_TRIES` bounds the search.
    """
    tries = SWAP_TRIES
    rows = range(first, len(board.rows))
    is_better = True
    while is_better and tries > 0:
        is_better = False
        fewest = _fewest_shared(board)
        for row in rows:
            if not _may_improve(board, row, fewest):
                continue
            for other in rows:
                tries -= board.shape.demand.copies**2
                if other != row and _exchange(board, row, other):
                    is_better = True
            if tries <= 0:
                break


def _fewest_shared(board: Board) -> int:
    """How many shards those two hosts share that share fewest, of the hosts that have any."""
    used = [host for host, count in enumerate(board.count) if count]
    others = len(used) - 1
    if any(len(board.links[host]) < others for host in used):
        return 0
    return min((min(board.links[host].values()) for host in used if others), default=0)


def _may_improve(board: Board, row: int, fewest: int) -> bool:
    """Whether two of a shard are in one zone or rack, or share so many that others share too few."""
    members = board.rows[row]
    return any(
        board.links[host][other] > fewest + 1 or _label_cost(board, host, other) > 0
        for at, host in enumerate(members)
        for other in members[:at]
    )


def _label_cost(board: Board, host: int, other: int) -> int:
    zone = board.zones[host] == board.zones[other]
    rack = board.racks[host] == board.racks[other]
    several_zones = max(board.zones) > 0
    several_racks = max(board.racks) > 0
    return (zone and several_zones) * _ZONE_WEIGHT + (rack and several_racks) * _RACK_WEIGHT


def _exchange(board: Board, row: int, other: int) -> bool:
    """Exchange a new instance of one shard for one of another, if that is better."""
    for mine in board.rows[row][board.fixed[row] :]:
        if mine in board.rows[other]:
            continue
        for theirs in board.rows[other][board.fixed[other] :]:
            if theirs in board.rows[row]:
                continue
            if _gain(board, row, mine, theirs) + _gain(board, other, theirs, mine) > 0:
                _replace(board, row, mine, theirs)
                _replace(board, other, theirs, mine)
                return True
    return False


def _gain(board: Board, row: int, old: int, new: int) -> int:
    """How much better a shard gets with `new` in the place of `old`."""
    gain = 0
    for other in board.rows[row]:
        if other != old:
            gain += board.links[old][other] - 1 - board.links[new].get(other, 0)
            gain += _label_cost(board, old, other) - _label_cost(board, new, other)
    return gain


def _replace(board: Board, row: int, old: int, new: int) -> None:
    board.take(row, old)
    board.put(row, new)
