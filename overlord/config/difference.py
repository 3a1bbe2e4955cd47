"""Two configurations -> what the second one changes: clusters, keys, nodes, and who listens where."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin

import attrs
from attrs import frozen

from overlord.config.address import Address, TcpAddress
from overlord.config.cluster import ClusterConfig
from overlord.config.problem import shown
from overlord.config.server import ServerConfig
from overlord.config.units import Bytes, Seconds, shown_duration, shown_size

OTHER_CLUSTER = ("name", "cache_type")
"""Keys with other values of which a cluster is another one: it goes, and the other one comes."""
RING = ("hash_method", "hash_distribution", "hash_tag", "hash_compat", "empty_hash_tag")
"""Keys that decide, with labels and weights, which node a key belongs to."""
CONNECTIONS = ("node_connections", "greet_nodes", "node_username", "node_password")
"""Keys that a connection to a node is made with: what is connected already does not have their new value."""


@frozen
class ClusterChange:
    """A cluster that stays, and has changed."""

    old: ClusterConfig
    new: ClusterConfig

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that have changed."""
        return tuple(
            field.name
            for field in attrs.fields(ClusterConfig)
            if getattr(self.old, field.name) != getattr(self.new, field.name)
        )

    @property
    def has_other_ring(self) -> bool:
        """Whether keys may belong to other nodes, because the configuration says so."""
        if self.new.cache_type == "redis_cluster":
            return False  # that is for the nodes to say
        return _ring(self.old) != _ring(self.new)

    @property
    def kept_nodes(self) -> frozenset[str]:
        """The labels of the nodes whose connections stay as they are."""
        if any(getattr(self.old, key) != getattr(self.new, key) for key in CONNECTIONS):
            return frozenset()
        old = {server.label: server.address for server in self.old.servers}
        return frozenset(
            server.label for server in self.new.servers if old.get(server.label) == server.address
        )

    @property
    def has_other_nodes(self) -> bool:
        """Whether what clients ask for next may take other connections."""
        stay = len(self.kept_nodes) == len(self.old.servers) == len(self.new.servers)
        return self.has_other_ring or not stay

    def sentences(self) -> Iterator[str]:
        """What has changed, in words, without secrets."""
        for field in attrs.fields(ClusterConfig):
            old, new = getattr(self.old, field.name), getattr(self.new, field.name)
            if old == new or field.name == "servers":
                continue
            if not field.repr:
                yield f"{field.name} has changed"
            else:
                yield f"{field.name} is {_value(field.type, new)}, was {_value(field.type, old)}"
        yield from self._nodes()

    def _nodes(self) -> Iterator[str]:
        old = {server.label: server for server in self.old.servers}
        new = {server.label: server for server in self.new.servers}
        for label, server in new.items():
            if label not in old:
                yield f"node {_named(server)} came"
                continue
            if server.address != old[label].address:
                yield f"node {label} is at {server.address}, was at {old[label].address}"
            if server.weight != old[label].weight:
                yield f"node {label} has weight {server.weight}, had {old[label].weight}"
        for label, server in old.items():
            if label not in new:
                yield f"node {_named(server)} is gone"


@frozen
class Difference:
    """What has to happen so that the new clusters are served where the old ones are."""

    came: tuple[ClusterConfig, ...]
    gone: tuple[ClusterConfig, ...]
    changed: tuple[ClusterChange, ...]
    same: int
    """How many clusters are as they were."""

    @property
    def is_nothing(self) -> bool:
        """Whether all is as it was."""
        return not (self.came or self.gone or self.changed)


def difference(old: Sequence[ClusterConfig], new: Sequence[ClusterConfig]) -> Difference:
    """What `new` changes. The order of clusters means nothing."""
    before = {_identity(config): config for config in old}
    after = {_identity(config): config for config in new}
    both = [(before[each], config) for each, config in after.items() if each in before]
    changed = tuple(ClusterChange(was, now) for was, now in both if was != now)
    return Difference(
        came=tuple(config for each, config in after.items() if each not in before),
        gone=tuple(config for each, config in before.items() if each not in after),
        changed=changed,
        same=len(both) - len(changed),
    )


@frozen
class Moves:
    """Who listens where from now on. Clusters go by their places in the two sequences."""

    kept: Mapping[int, int]
    """New cluster -> the old one whose listener it has, perhaps its own."""
    opened: tuple[int, ...]
    """New clusters whose addresses nobody listens on."""
    closed: tuple[int, ...]
    """Old clusters whose addresses nobody wants any more."""
    closed_first: tuple[int, ...]
    """Those of them that stand in the way of an address to be opened."""


def moves(old: Sequence[tuple[str, Address]], new: Sequence[tuple[str, Address]]) -> Moves:
    """
    Which listeners stay, which change hands, which are opened and closed.

    `old` and `new` are names and addresses. With port 0 the kernel chose one for the cluster of that name.
    """
    wanted = set(new)
    free: dict[Address, list[int]] = defaultdict(list)
    for index, (name, address) in enumerate(old):
        if (name, address) not in wanted and not _is_any(address):
            free[address].append(index)
    own = {pair: index for index, pair in enumerate(old)}
    kept: dict[int, int] = {}
    opened: list[int] = []
    for index, (name, address) in enumerate(new):
        if (name, address) in own:
            kept[index] = own[name, address]
        elif free[address]:
            kept[index] = free[address].pop()
        else:
            opened.append(index)
    closed = sorted(set(range(len(old))) - set(kept.values()))
    in_the_way = [
        index for index in closed if any(old[index][1].overlaps(new[each][1]) for each in opened)
    ]
    return Moves(kept, tuple(opened), tuple(closed), tuple(in_the_way))


def _is_any(address: Address) -> bool:
    return isinstance(address, TcpAddress) and address.port == 0


def _identity(config: ClusterConfig) -> tuple[object, ...]:
    return tuple(getattr(config, key) for key in OTHER_CLUSTER)


def _ring(config: ClusterConfig) -> tuple[object, ...]:
    keys = tuple(getattr(config, key) for key in RING)
    return (keys, tuple((server.label, server.weight) for server in config.servers))


def _named(server: ServerConfig) -> str:
    return f"{server.label} ({server.address})" if server.alias else server.label


def _value(kind: Any, value: object) -> str:
    """A value as one would write it into the file."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if kind is Seconds and isinstance(value, float | int):
        return shown_duration(value)
    if kind is Bytes and isinstance(value, int):
        return shown_size(value)
    return shown(list(value) if isinstance(value, tuple) else value)
