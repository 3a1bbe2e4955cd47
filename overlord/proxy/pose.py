"""
Posing: what clients are shown of a Redis Cluster, whose masters are the proxies themselves.

    configuration, address that a client connected to  -> members
    members, which of them are alive (peers.py)         -> slot map (topology.posed_map)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger

from overlord.config import ClusterConfig, TcpAddress
from overlord.proxy.flow.redis_flow import login_frame
from overlord.proxy.flow.session import Pose
from overlord.proxy.peers import Peers
from overlord.topology import Address, SlotMap, posed_map

KEPT_MAPS = 64
"""Slot maps that are kept, because clients come in at few addresses of ours."""


@define(eq=False)
class Posing:
    """The cluster that the clients of one proxied cluster are shown, from `start` to `stop`."""

    config: ClusterConfig
    endpoint: Callable[[str, int, float], IStreamClientEndpoint]
    """Dials a host and a port within so many seconds."""
    reactor: Any
    peers: Peers = field(init=False)
    epoch: int = field(init=False)
    """
    When it last changed who is alive, in seconds since 1970: each change has a higher epoch than the one before,
    also in a proxy that was started anew, and no two proxies have to agree on a count.
    """
    _map: Callable[[Address], SlotMap] = field(init=False)
    log = Logger()

    def __attrs_post_init__(self) -> None:
        self.epoch = int(time.time())
        self._begin()

    def _begin(self) -> None:
        config = self.config
        own = config.own_announce
        self.peers = Peers(
            config.announce_interval,
            config.announce_timeout,
            [None if each == own else self._endpoint(each) for each in config.announced],
            lambda: login_frame("", self.config.password),
            self._changed,
            self.reactor,
        )
        self._forget_maps()

    def _endpoint(self, address: TcpAddress) -> Callable[[], IStreamClientEndpoint]:
        return lambda: self.endpoint(address.host, address.port, self.config.announce_interval)

    def start(self) -> None:
        """Begin to look who is alive."""
        self.peers.start()

    def stop(self) -> None:
        """Look no more."""
        self.peers.stop()

    def take(self, config: ClusterConfig) -> None:
        """Pose as this configuration says from now on."""
        old, self.config = self.config, config
        if any(getattr(old, key) != getattr(config, key) for key in _OURS):
            self.peers.stop()
            self._begin()
            self._new_epoch()
            self.peers.start()

    def pose_of(self, local_address: str) -> Pose:
        """The cluster that a client is shown that connected to this address, `host:port`, of ours."""
        config = self.config
        if config.announced:
            own = config.announced.index(config.own_announce)
            masters = len(self._map(_NOWHERE).nodes) // len(config.announced)
            return Pose(self._map(_NOWHERE), own * masters)
        own_address = config.own_announce
        if own_address is not None:
            return Pose(self._map(Address(own_address.host, own_address.port)), 0)
        host, _, port = local_address.rpartition(":")
        return Pose(self._map(Address(host.strip("[]"), int(port))), 0)

    def _slot_map(self, own: Address) -> SlotMap:
        announced = self.config.announced
        # Without a list, all proxies of a configuration have one set of ids, wherever they are.
        members = [Address(each.host, each.port) for each in announced] or [own]
        labels = [str(each) for each in announced] or [""]
        alive: Sequence[bool] = self.peers.alive or (True,)
        return posed_map(self.config.name, members, labels, alive, self.epoch)

    def _changed(self, place: int, is_alive: bool, trouble: str) -> None:
        self._new_epoch()
        cluster, peer = self.config.name, str(self.config.announced[place])
        if is_alive:
            self.log.info("proxy {peer} of cluster {cluster} is back", peer=peer, cluster=cluster)
        else:
            self.log.warn(
                "proxy {peer} of cluster {cluster} is silent, clients are shown its slots elsewhere: {trouble}",
                peer=peer,
                cluster=cluster,
                trouble=trouble,
            )

    def _new_epoch(self) -> None:
        self.epoch = max(self.epoch + 1, int(time.time()))
        self._forget_maps()

    def _forget_maps(self) -> None:
        self._map = lru_cache(KEPT_MAPS)(self._slot_map)


_NOWHERE = Address("", 0)
_OURS = (
    "announce",
    "announce_addr",
    "announce_interval",
    "announce_timeout",
    "listen_addr",
    "password",
)
"""Keys that decide who poses as what."""
