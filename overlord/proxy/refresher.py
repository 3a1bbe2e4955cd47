"""
Learns the slot map of a Redis Cluster, again and again.

    start, poke, refresh_interval -> some nodes are asked for CLUSTER NODES -> parsed and merged in a thread
                                  -> learnt(slot map), or nobody answers: later again

Whoever was named in the last map is asked first, then the seeds of the configuration, whose names are resolved
again each time: so a cluster that has moved entirely is found through any node that is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import sample
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.logger import Logger

from overlord.config import ClusterConfig, ServerConfig
from overlord.errors import TopologyError
from overlord.net.thread import in_thread
from overlord.proxy.nodes_question import NoAnswer, ask_for_nodes
from overlord.topology import Address, SlotMap, merge, parse_nodes

STRAGGLERS = 0.1
"""Seconds that the other nodes still have once one has answered."""
MOST_AT_ONCE = 20
"""Nodes that are asked at once at the most, when nobody has answered yet."""
LONGEST_WAIT = 4
"""After failures the wait grows to so many times `min_refresh_interval`."""


@define(eq=False)
class Refresher:
    """Keeps the slot map of one cluster up to date, from `start` to `stop`."""

    config: ClusterConfig
    login: Callable[[], bytes]
    """Gives what a connection to a node begins with."""
    endpoint: Callable[[ServerConfig, float], IStreamClientEndpoint]
    """Gives what dials a node within so many seconds."""
    learnt: Callable[[SlotMap], object]
    """Called with each map, on the reactor's thread."""
    ended: Callable[[], object]
    """Called after each attempt, also one that has failed."""
    reactor: Any
    known: Sequence[Address] = ()
    """The nodes of the last map."""
    attempts: int = 0
    failures: int = 0
    """Attempts in a row that taught nothing."""
    learnt_at: float | None = None
    """When the last map was learnt."""
    trouble: str = ""
    """Why the last attempt has failed; empty if it has not."""
    _timer: IDelayedCall | None = field(default=None, init=False)
    _attempt: Deferred[None] | None = field(default=None, init=False)
    _last: float = field(default=float("-inf"), init=False)
    """When the last attempt began."""
    _is_poked: bool = field(default=False, init=False)
    _is_running: bool = field(default=False, init=False)
    log = Logger()

    def start(self) -> None:
        """Begin."""
        self._is_running = True
        self._begin()

    def stop(self) -> None:
        """Ask nobody any more."""
        self._is_running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._attempt is not None:
            self._attempt.cancel()

    def poke(self, why: str) -> None:
        """The map may be out of date: learn it again, as soon as that may be."""
        if not self._is_running or self._is_poked:
            return
        self._is_poked = True
        if self._attempt is None:
            self.log.debug("the slot map is asked for: {why}", why=why)
            self._plan()

    def _plan(self) -> None:
        """Note when the next attempt begins."""
        if self._timer is not None:
            self._timer.cancel()
        config = self.config
        wait: float = config.refresh_interval
        if self.failures:
            wait = config.min_refresh_interval * min(2 ** (self.failures - 1), LONGEST_WAIT)
        elif self._is_poked:
            wait = config.min_refresh_interval
        left = self._last + wait - self.reactor.seconds()
        self._timer = self.reactor.callLater(max(left, 0), self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._is_poked = False
        self._last = self.reactor.seconds()
        self._attempt = Deferred.fromCoroutine(self._refresh())
        self._attempt.addErrback(self._failed)
        self._attempt.addCallback(self._done)

    def _failed(self, reason: Any) -> None:
        if reason.check(CancelledError) is None:
            self.failures += 1
            self.log.failure("the slot map cannot be learnt", reason)

    def _done(self, _: object) -> None:
        self._attempt = None
        if self._is_running:
            self.ended()
            self._plan()

    async def _refresh(self) -> None:
        """Ask for the map once."""
        self.attempts += 1
        asked: set[Address] = set()
        troubles: list[str] = []
        answers: list[tuple[Address, bytes]] = []
        for number in (self.config.refresh_nodes, MOST_AT_ONCE, MOST_AT_ONCE):
            servers = self._next(asked, number)
            if not servers:
                break
            answers = await self._ask_all(servers, troubles)
            if answers:
                break
        slot_map = await self._merged(answers, troubles) if answers else None
        if slot_map is None:
            self.failures += 1
            trouble = "; ".join(dict.fromkeys(troubles)) or "there is nobody to ask"
            if trouble != self.trouble:
                self.log.warn(
                    "the slot map of cluster {cluster} cannot be learnt: {trouble}",
                    cluster=self.config.name,
                    trouble=trouble,
                )
            self.trouble = trouble
            return
        self.failures = 0
        self.trouble = ""
        self.learnt_at = self.reactor.seconds()
        self.known = [node.address for node in slot_map.nodes if node.is_live]
        self.learnt(slot_map)

    def _next(self, asked: set[Address], number: int) -> list[ServerConfig]:
        """Some nodes that were not asked yet: those of the last map in any order, then seeds."""
        known = [ServerConfig(each.host, each.port) for each in self.known if each not in asked]
        seeds = [each for each in self.config.servers if Address(each.host, each.port) not in asked]
        found = sample(known, min(len(known), number))
        found += sample(seeds, min(len(seeds), number - len(found)))
        asked.update(Address(each.host, each.port) for each in found)
        return found

    async def _ask_all(
        self, servers: Sequence[ServerConfig], troubles: list[str]
    ) -> list[tuple[Address, bytes]]:
        """Ask these nodes at the same time; who is much later than the first is not waited for."""
        answers: list[tuple[Address, bytes]] = []
        left = len(servers)
        enough: Deferred[None] = Deferred()
        late: list[IDelayedCall] = []

        def stop_waiting() -> None:
            if not enough.called:
                enough.callback(None)

        async def ask(server: ServerConfig) -> None:
            nonlocal left
            config = self.config
            try:
                endpoint = self.endpoint(server, config.dial_timeout)
                text = await ask_for_nodes(
                    endpoint, self.login(), config.dial_timeout + config.read_timeout, self.reactor
                )
                answers.append((Address(server.host, server.port), text))
                if not late:
                    late.append(self.reactor.callLater(STRAGGLERS, stop_waiting))
            except CancelledError:
                raise
            except NoAnswer as error:
                troubles.append(f"{server.address} {error}")
            except Exception as error:  # noqa: BLE001  # dialling has a hundred ways to fail
                troubles.append(f"{server.address}: {str(error) or type(error).__name__}")
            left -= 1
            if left == 0:
                stop_waiting()

        asking = [Deferred.fromCoroutine(ask(server)) for server in servers]
        try:
            await enough
        finally:
            for each in asking:
                each.addErrback(lambda _: None)
                each.cancel()
            for timer in late:
                if timer.active():
                    timer.cancel()
        return answers

    async def _merged(
        self, answers: Sequence[tuple[Address, bytes]], troubles: list[str]
    ) -> SlotMap | None:
        """What they say, taken together; None if that makes no sense, or covers nothing."""

        def merged() -> tuple[SlotMap | None, list[str]]:
            parsed, wrong = [], []
            for address, text in answers:
                try:
                    parsed.append(parse_nodes(text, address))
                except TopologyError as error:
                    wrong.append(str(error))
            return (merge(parsed) if parsed else None), wrong

        slot_map, wrong = await in_thread(self.reactor, merged)
        troubles += wrong
        if slot_map is not None and all(owner < 0 for owner in slot_map.owners):
            troubles.append("nobody serves any slot")
            return None
        return slot_map
