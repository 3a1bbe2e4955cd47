"""
Another configuration for a proxy that runs, all of it or nothing.

    look_up           what is different, and the new rings: pure, and long, so in a thread
    apply_difference  build what comes, and dial its nodes -> open its addresses
                      -> (from here on nothing can fail) -> close what nobody wants any more
                      -> subscribe where names will have their places -> change cluster by cluster

The reactor has a turn between any two clusters, and between any few connections, so however many there are,
traffic goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol as Contract

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from overlord.config import (
    Address,
    ClusterConfig,
    Difference,
    Moves,
    difference,
    moves,
)
from overlord.errors import CannotListen
from overlord.hashing import Ring, moved_share
from overlord.net.thread import in_thread
from overlord.proxy.cluster import Cluster, ring_of
from overlord.proxy.inherited import inherited_sockets
from overlord.proxy.listener import Listener

log = Logger()


@frozen
class Change:
    """What was changed."""

    difference: Difference
    moved: Mapping[str, float]
    """For each cluster with another ring, the part of its keys that moves to other nodes."""

    def sentences(self) -> Iterator[str]:
        """What was changed, in words: a sentence for each cluster that it concerns."""
        for config in self.difference.gone:
            yield f"cluster {config.name} is gone"
        for config in self.difference.came:
            yield f"cluster {config.name} came"
        for change in self.difference.changed:
            said = list(change.sentences())
            if (share := self.moved.get(change.new.name)) is not None:
                said.append(f"{share:.1%} of the keys move to other nodes")
            yield f"cluster {change.new.name}: {'; '.join(said) or 'its nodes have another order'}"


@frozen
class Lookup:
    """What there is to know before anything is changed."""

    difference: Difference
    rings: Mapping[str, Ring]
    """The rings of clusters that come, or get another one, by their names."""
    moved: Mapping[str, float]


class Builder(Contract):
    """Who makes clusters and opens addresses."""

    def build(self, config: ClusterConfig, ring: Ring | None = None) -> Cluster:
        """A cluster that neither listens nor dials yet."""

    def listen(self, cluster: Cluster, config: ClusterConfig | None = None) -> Listener:
        """Open its address, or the one that `config` has for it."""


async def look_up(
    reactor: Any, clusters: Iterable[Cluster], configs: Sequence[ClusterConfig]
) -> Lookup:
    """Compare these configurations with what is served."""
    old = [cluster.config for cluster in clusters]
    rings: dict[str, Ring] = {cluster.config.name: cluster.flow.ring for cluster in clusters}
    return await in_thread(reactor, lambda: _looked_up(old, rings, configs))


def _looked_up(
    old: Sequence[ClusterConfig], old_rings: Mapping[str, Ring], configs: Sequence[ClusterConfig]
) -> Lookup:
    found = difference(old, configs)
    rings: dict[str, Ring] = {config.name: ring_of(config) for config in found.came}
    moved: dict[str, float] = {}
    for change in found.changed:
        if change.has_other_ring:
            name = change.new.name
            rings[name] = ring_of(change.new)
            moved[name] = moved_share(old_rings[name], rings[name])
    return Lookup(found, rings, moved)


async def apply_difference(
    builder: Builder, reactor: Any, clusters: Sequence[Cluster], lookup: Lookup
) -> tuple[list[Cluster], list[Cluster]]:
    """
    Change what is served; give the clusters that are served now, and those that are gone.

    Raises:
        CannotListen: an address cannot be had; nothing has changed then.
    """
    found = lookup.difference
    gone_configs = set(map(id, found.gone))
    gone = [cluster for cluster in clusters if id(cluster.config) in gone_configs]
    stay = [cluster for cluster in clusters if id(cluster.config) not in gone_configs]
    changes = {id(change.old): change for change in found.changed}
    came = []
    for config in found.came:
        cluster = builder.build(config, lookup.rings[config.name])
        came.append(cluster)
        await cluster.dial_in_turns()
    old = [*stay, *gone]
    new = [*stay, *came]
    configs = [changes[id(c.config)].new if id(c.config) in changes else c.config for c in new]
    plan = moves(
        [(cluster.config.name, _place(cluster.config)) for cluster in old],
        [(config.name, _place(config)) for config in configs],
    )
    before = [listener for cluster in old if (listener := cluster.listener) is not None]
    unused = [before[index] for index in plan.closed]
    try:
        listeners = await _listeners(builder, reactor, plan, before, new, configs)
    except CannotListen:
        for cluster in came:
            cluster.factory.close()
            await cluster.close_nodes()
        raise
    for cluster in gone:
        cluster.listener = None
    for cluster, listener in zip(new, listeners, strict=True):
        listener.factory = cluster.factory
        cluster.listener = listener
    for listener in unused:
        await listener.close()
    changing = [cluster for cluster in stay if id(cluster.config) in changes]
    prepared = []
    for cluster in list(changing):
        with _logged(cluster, changing):
            change = changes[id(cluster.config)]
            prepared.append(cluster.begin_change(change, lookup.rings.get(change.new.name)))
        await _turn(reactor)
    for each in prepared:  # all at the same time: however many there are, the bound is one for all
        await each
    for cluster in list(changing):
        await _turn(reactor)
        with _logged(cluster, changing):
            await cluster.finish_change()
    return new, gone


async def _listeners(
    builder: Builder,
    reactor: Any,
    plan: Moves,
    old: Sequence[Listener],
    clusters: Sequence[Cluster],
    configs: Sequence[ClusterConfig],
) -> list[Listener]:
    """The listener of each of these clusters: one of the old ones, or one that is opened now."""
    for index in plan.closed_first:
        await old[index].close()
    opened: dict[int, Listener] = {}
    try:
        for index in plan.opened:
            opened[index] = builder.listen(clusters[index], configs[index])
            await _turn(reactor)
    except CannotListen:
        for listener in opened.values():
            await listener.close()
        for index in plan.closed_first:
            _reopen(old[index])
        raise
    return [opened[at] if at in opened else old[plan.kept[at]] for at in range(len(clusters))]


def _reopen(listener: Listener) -> None:
    try:
        listener.open(len(listener.factory.flow.nodes))
    except CannotListen as error:
        log.critical("{reason}, where it listened until now", reason=str(error))


@contextmanager
def _logged(cluster: Cluster, changing: list[Cluster]) -> Iterator[None]:
    """Whatever fails with one cluster, the others have to change all the same."""
    try:
        yield
    except Exception:  # noqa: BLE001  # our mistake, whatever it is
        changing.remove(cluster)
        log.failure("cluster {cluster} cannot be changed", cluster=cluster.config.name)


def _place(config: ClusterConfig) -> Address:
    """Where it really listens: systemd may have opened another address for it."""
    passed = inherited_sockets().find(config.name, config.listen)
    return config.listen if passed is None else passed.address


def _turn(reactor: Any) -> Deferred[None]:
    """The reactor has a turn."""
    return deferLater(reactor, 0)
