"""
The board that a cluster is placed on: hosts, shards and counts as small integers.

A *row* is a shard: the hosts of its instances, those that stay first. The board keeps three things in
step with the rows: how many instances of the cluster each host has, how many more it may get, and how
many shards each two hosts share (*links*).
"""

from collections.abc import Iterable

from attrs import define, field

from overlord.platform.placement.books import Books
from overlord.platform.placement.demand import Demand, Shape


@define(eq=False)
class Board:
    """See above. Hosts are numbers, in the order of their names."""

    shape: Shape
    names: list[str]
    rank: list[int]
    """A host's place among all, the one with most free resources first."""
    left: list[int]
    """How many more instances a host may get: by its resources, its ports, and the shape."""
    zones: list[int]
    racks: list[int]
    """The zone and the rack of each host, as numbers."""
    rows: list[list[int]] = field(factory=list)
    fixed: list[int] = field(factory=list)
    """How many of a row's instances stay; they are the first ones."""
    masters: list[int] = field(factory=list)
    """The host of each row's master; -1 while nobody is."""
    count: list[int] = field(init=False)
    links: list[dict[int, int]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.count = [0] * len(self.names)
        self.links = [{} for _ in self.names]

    @property
    def host_count(self) -> int:
        return len(self.names)

    def add_row(self, staying: Iterable[int], master: int = -1) -> None:
        """A shard, with the hosts of those instances that stay."""
        self.rows.append([])
        self.masters.append(master)
        for host in staying:
            self._join(len(self.rows) - 1, host)
        self.fixed.append(len(self.rows[-1]))

    def put(self, row: int, host: int) -> None:
        """Place a new instance of a row on a host."""
        self._join(row, host)
        self.left[host] -= 1

    def take(self, row: int, host: int) -> None:
        """Take a new instance of a row from a host again."""
        members = self.rows[row]
        members.pop(members.index(host, self.fixed[row]))
        self.count[host] -= 1
        self.left[host] += 1
        for other in members:
            self._link(host, other, -1)

    def release(self, row: int, host: int) -> None:
        """An instance that stayed so far leaves; what it held is not free before it has gone."""
        self.rows[row].remove(host)
        self.fixed[row] -= 1
        self.count[host] -= 1
        for other in self.rows[row]:
            self._link(host, other, -1)

    def shared(self, host: int, others: Iterable[int]) -> int:
        """How many shards a host shares with others, all in all."""
        links = self.links[host]
        return sum(links.get(other, 0) for other in others)

    def nearness(self, host: int, others: Iterable[int]) -> tuple[int, int]:
        """With how many others a host shares its zone, and its rack."""
        zone, rack = self.zones[host], self.racks[host]
        same_zone = same_rack = 0
        for other in others:
            same_zone += self.zones[other] == zone
            same_rack += self.racks[other] == rack
        return same_zone, same_rack

    def _join(self, row: int, host: int) -> None:
        for other in self.rows[row]:
            self._link(host, other, 1)
        self.rows[row].append(host)
        self.count[host] += 1

    def _link(self, one: int, other: int, change: int) -> None:
        for a, b in ((one, other), (other, one)):
            shared = self.links[a].get(b, 0) + change
            if shared:
                self.links[a][b] = shared
            else:
                del self.links[a][b]


def rank_key(books: Books, host: str, demand: Demand) -> tuple[int, int, int, str]:
    """Hosts sorted by this begin with the one that has most room for a demand."""
    cpus, memory = books.free(host, demand.role)
    return -books.fitting(host, demand), -memory, -cpus, host


def board_of(
    books: Books, shape: Shape, occupied: Iterable[str], without: Iterable[str] = ()
) -> Board:
    """
    An empty board of all hosts that offer something or are occupied; the rows come later.

    Hosts in `without` get nothing new.
    """
    demand = shape.demand
    names = sorted(books.hosts.keys() | set(occupied))
    closed = set(without)
    ranked = sorted(range(len(names)), key=lambda host: rank_key(books, names[host], demand))
    rank = [0] * len(names)
    for place, host in enumerate(ranked):
        rank[host] = place
    most = min(shape.most_instances, shape.shards)
    left = [0 if name in closed else min(most, books.fitting(name, demand)) for name in names]
    zones = _numbers([books.hosts[n].zone if n in books.hosts else "" for n in names])
    racks = [books.hosts[n].rack if n in books.hosts else "" for n in names]
    racks_of_zones = _numbers([f"{zone}\0{rack}" for zone, rack in zip(zones, racks, strict=True)])
    return Board(shape, names, rank, left, zones, racks_of_zones)


def limit_left(board: Board, books: Books) -> None:
    """Once all rows are on the board: no host gets more than the shape and its ports allow."""
    demand, most = board.shape.demand, board.shape.most_instances
    for host, name in enumerate(board.names):
        by_shape = max(0, most - board.count[host])
        wanted = min(board.left[host], by_shape)
        board.left[host] = len(books.ports(name, demand, wanted)) if wanted else 0


def _numbers(labels: list[str]) -> list[int]:
    numbers: dict[str, int] = {}
    return [numbers.setdefault(label, len(numbers)) for label in labels]
