"""The store in an etcd cluster."""

import random
from base64 import b64decode
from collections.abc import Sequence
from typing import Any

from attrs import define, field, frozen

from overlord.platform.store.address import EtcdAddress
from overlord.platform.store.contract import Shorthand
from overlord.platform.store.errors import (
    Conflict,
    HistoryLost,
    LeaseLost,
    StoreClosed,
    StoreUnavailable,
)
from overlord.platform.store.etcd.agent import EtcdAgent
from overlord.platform.store.etcd.gateway import Gateway
from overlord.platform.store.etcd.liveness import LivenessBounds
from overlord.platform.store.etcd.messages import (
    Json,
    entries_of,
    found_by,
    range_under,
    revision_of,
    text,
    transaction,
)
from overlord.platform.store.etcd.watch import EtcdWatch
from overlord.platform.store.rules import check_ttl, checked_key, checked_prefix
from overlord.platform.store.values import (
    Condition,
    Entry,
    Lease,
    LeaseId,
    Listing,
    Operation,
    Revision,
)

PAGE = 2000
"""Entries of a listing that are asked for at once."""
LISTING_ATTEMPTS = 3
"""How often a listing begins anew because its revision was compacted meanwhile."""


@frozen
class EtcdSettings:
    """The bounds of the home in etcd."""

    timeout: float = 3.0
    """Seconds in which each call ends; in a listing, each page of it."""
    connect_timeout: float = 1.0
    """Seconds in which an endpoint has to take a connection."""
    probe_interval: float = 0.5
    """Seconds between two looks whether a watch still tells everything."""
    watch_silence: float = 2.0
    """Seconds after which a watch is replaced whose endpoint is silent, behind, or keeps changes back."""
    watch_renewal: float = 60.0
    """Seconds after which a watch that told nothing is replaced, if the store has changed."""

    @property
    def liveness(self) -> LivenessBounds:
        return LivenessBounds(self.probe_interval, self.watch_silence, self.watch_renewal)


@define(eq=False)
class EtcdStore(Shorthand):
    """Implements `Store` in etcd 3.4 or later, through whichever of its members answer."""

    address: EtcdAddress
    reactor: Any
    """IReactorTime and IReactorTCP."""
    settings: EtcdSettings = field(factory=EtcdSettings)
    _gateway: Gateway | None = field(default=None, init=False)
    _watches: set[EtcdWatch] = field(factory=set, init=False)

    def start(self) -> None:
        """Begin. Raises AccessDenied for certificates that cannot be read."""
        agent = EtcdAgent(self.reactor, self.address, self.settings.connect_timeout)
        self._gateway = Gateway(agent, self.reactor, self.settings.timeout)

    async def close(self) -> None:
        for watch in tuple(self._watches):
            watch.close()
        if self._gateway is not None:
            await self._gateway.close()

    async def get(self, key: str) -> Entry | None:
        entries = entries_of(await self._call("kv/range", {"key": text(checked_key(key))}))
        return entries[0] if entries else None

    async def list(self, prefix: str) -> Listing:
        start = checked_prefix(prefix)
        for _ in range(LISTING_ATTEMPTS):
            try:
                return await self._list(start)
            except HistoryLost:
                continue
        raise StoreUnavailable(
            f"the revision of a listing was compacted {LISTING_ATTEMPTS} times while it was read"
        )

    def watch(self, prefix: str, after: Revision) -> EtcdWatch:
        gateway = self._opened()
        watch = EtcdWatch(
            checked_prefix(prefix),
            after,
            gateway,
            self.reactor,
            self.settings.liveness,
            self._watches.discard,
        )
        self._watches.add(watch)
        watch.start(random.randrange(len(gateway.endpoints)))  # noqa: S311  # spreads them
        return watch

    async def grant(self, ttl: int) -> Lease:
        check_ttl(ttl)
        answer = await self._call("lease/grant", {"TTL": str(ttl)}, changes=True, may_repeat=True)
        return Lease(LeaseId(int(answer["ID"])), int(answer["TTL"]))

    async def refresh(self, lease: LeaseId) -> None:
        answer = await self._call("lease/keepalive", {"ID": str(lease)})
        if int(answer.get("result", {}).get("TTL", 0)) <= 0:
            raise LeaseLost(f"lease {lease} has run out")

    async def revoke(self, lease: LeaseId) -> None:
        try:
            await self._call("lease/revoke", {"ID": str(lease)}, changes=True)
        except LeaseLost:
            return

    async def _transact(
        self, operations: Sequence[Operation], conditions: Sequence[Condition]
    ) -> Revision:
        answer = await self._call(
            "kv/txn", transaction(operations, conditions), changes=True, may_repeat=False
        )
        if not answer.get("succeeded"):
            raise Conflict(found_by(answer, conditions), revision_of(answer))
        return revision_of(answer)

    async def _list(self, prefix: bytes) -> Listing:
        """Page by page, all of the revision of the first one."""
        request: dict[str, Any] = {**range_under(prefix), "limit": str(PAGE)}
        answer = await self._call("kv/range", request)
        revision = revision_of(answer)
        entries = entries_of(answer)
        while answer.get("more"):
            last = b64decode(answer["kvs"][-1]["key"])
            page = {**request, "key": text(last + b"\0"), "revision": str(revision)}
            answer = await self._call("kv/range", page)
            entries += entries_of(answer)
        return Listing(tuple(entries), revision)

    async def _call(
        self, path: str, body: Json, *, changes: bool = False, may_repeat: bool = True
    ) -> Json:
        return await self._opened().call(path, body, changes=changes, may_repeat=may_repeat)

    def _opened(self) -> Gateway:
        if self._gateway is None or self._gateway.is_closed:
            raise StoreClosed(f"{self.address} is not open")
        return self._gateway
