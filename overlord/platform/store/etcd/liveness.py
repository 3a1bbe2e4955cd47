"""
Whether a watch still tells everything: a stream that is silent may be one on which nothing happens.

    its own endpoint does not answer                              -> in doubt
    its own endpoint is behind what another member knew           -> in doubt (cut off, or slow)
    another member knows a change that the stream has not told    -> in doubt (the stream is stuck)

Each for `silence` seconds. Deletions leave no revision behind that could be asked for; so a stream that
told nothing for `renewal` seconds, while anything in the store has changed, is replaced as well.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol as Contract

from attrs import define, frozen
from twisted.internet.task import deferLater

from overlord.platform.store.address import Endpoint
from overlord.platform.store.errors import OutcomeUnknown, StoreClosed, StoreUnavailable
from overlord.platform.store.etcd.messages import Json, entries_of, range_under, revision_of, text
from overlord.platform.store.values import Revision

ANY_KEY = text(b"/")
"""A key to ask for where only the revision of the answer counts."""


@frozen
class LivenessBounds:
    """How long a watch may be silent."""

    interval: float
    """Seconds between two looks."""
    silence: float
    """Seconds for which a sign of doubt has to last."""
    renewal: float
    """Seconds after which a silent stream is replaced without one."""


class Asked(Contract):
    """What is asked of the gateway."""

    @property
    def endpoints(self) -> tuple[Endpoint, ...]: ...

    async def call(
        self,
        path: str,
        body: Json,
        *,
        through: tuple[Endpoint, ...] = (),
        seconds: float | None = None,
    ) -> Json: ...


class Watched(Contract):
    """What is asked of the watch."""

    prefix: bytes
    received: Revision

    @property
    def is_paused(self) -> bool: ...


@define(eq=False)
class Liveness:
    """Probes one stream of a watch."""

    watch: Watched
    endpoint: Endpoint
    gateway: Asked
    reactor: Any
    bounds: LivenessBounds
    now: Callable[[], float] = time.monotonic

    async def doubt(self) -> str:
        """Wait until the stream is in doubt, and give the reason."""
        others = tuple(each for each in self.gateway.endpoints if each != self.endpoint)
        known = Revision(0)
        """The newest revision of the store that another member told."""
        told, told_at = self.watch.received, self.now()
        behind: tuple[Revision, float] | None = None
        untold: tuple[Revision, float] | None = None
        while True:
            await deferLater(self.reactor, self.bounds.interval)
            own = await self._own_revision()
            if own is None:
                return f"etcd at {self.endpoint} did not answer within {self.bounds.silence:g} s"
            now = self.now()
            if told != self.watch.received or self.watch.is_paused:
                told, told_at = self.watch.received, now
            if behind is not None and own >= behind[0]:
                behind = None
            if untold is not None and self.watch.received >= untold[0]:
                untold = None
            newest = await self._newest(others, known)
            if newest is not None:
                known, changed = newest
                if known > own and behind is None:
                    behind = (known, now)
                if changed > self.watch.received and untold is None:
                    untold = (changed, now)
            if self.watch.is_paused:
                untold = None
            if behind is not None and now - behind[1] >= self.bounds.silence:
                return f"etcd at {self.endpoint} is at revision {own}, behind {behind[0]}"
            if untold is not None and now - untold[1] >= self.bounds.silence:
                return f"etcd at {self.endpoint} has not told revision {untold[0]}"
            if now - told_at >= self.bounds.renewal and known > self.watch.received:
                return f"etcd at {self.endpoint} told nothing for {self.bounds.renewal:g} s"

    async def _own_revision(self) -> Revision | None:
        """Where the endpoint of the stream is; None if it does not say."""
        try:
            answer = await self.gateway.call(
                "kv/range",
                {"key": ANY_KEY, "serializable": True, "count_only": True},
                through=(self.endpoint,),
                seconds=self.bounds.silence,
            )
        except StoreClosed:
            raise
        except (StoreUnavailable, OutcomeUnknown):
            return None
        return revision_of(answer)

    async def _newest(
        self, others: tuple[Endpoint, ...], known: Revision
    ) -> tuple[Revision, Revision] | None:
        """
        The newest revision of the store, and that under the prefix; asked of another member if there is one.

        None if nobody says: then it is the store that is away, and not this stream.
        """
        try:
            answer = await self.gateway.call(
                "kv/range",
                {"key": ANY_KEY, "count_only": True},
                through=others,
                seconds=self.bounds.silence,
            )
            revision = revision_of(answer)
            if revision <= known or revision <= self.watch.received:
                return revision, Revision(0)
            # etcd looks through all keys of the prefix for that, so only when something has changed.
            newest = await self.gateway.call(
                "kv/range",
                {
                    **range_under(self.watch.prefix),
                    "keys_only": True,
                    "limit": "1",
                    "sort_order": "DESCEND",
                    "sort_target": "MOD",
                },
                through=others,
                seconds=self.bounds.silence,
            )
        except StoreClosed:
            raise
        except (StoreUnavailable, OutcomeUnknown):
            return None
        entries = entries_of(newest)
        return revision, entries[0].modified if entries else Revision(0)
