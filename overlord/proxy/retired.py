"""Nodes that the configuration has no more, until all that was asked of them is answered."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from overlord.config import ClusterConfig
from overlord.proxy.flow.parts import Node
from overlord.proxy.flow.ring_flow import RingFlow
from overlord.proxy.pool import Pool


@define(eq=False)
class RetiredNode:
    """
    A node that gets no new requests: when nothing is open on it, its connections are closed.

    A silent one is given up as ever, after read_timeout. Transactions that have begun on it, and commands
    that wait at it, have until drain_timeout: then the former fail, and the latter are answered as if their
    own time were over. What clients listen to there is left when another node has confirmed it, and after
    drain_timeout in any case.
    """

    node: Node
    pool: Pool
    since: float
    _has_ended_waits: bool = field(default=False, init=False)
    log = Logger()

    def look(self, now: float, flow: RingFlow, config: ClusterConfig, drain_timeout: float) -> bool:
        """
        Look whether all is answered, and close it then; gives True when that is done.

        With a `drain_timeout` of 0 there is no hurry.
        """
        for link in [*self.node.links, *self.node.links3]:
            link.sweep(now, config.read_timeout, config.write_timeout)
        is_late = bool(drain_timeout) and now - self.since >= drain_timeout
        if flow.pins.are_used(self.node):
            if is_late:
                self._end(now, flow, config, drain_timeout)
            return False
        if self.node.open_requests() or (flow.channels.are_at(self.node) and not is_late):
            return False
        closing = Deferred.fromCoroutine(self.pool.close("it was removed from the configuration"))
        closing.addErrback(lambda failure: self.log.failure("cannot close a node", failure))
        return True

    def _end(self, now: float, flow: RingFlow, config: ClusterConfig, drain_timeout: float) -> None:
        is_very_late = now - self.since >= drain_timeout + config.read_timeout
        flow.pins.end_all(self.node, waits=is_very_late)
        if not self._has_ended_waits:
            self._has_ended_waits = True
            flow.pins.end_waits(self.node)
