"""Nodes that the configuration has no more, until all that was asked of them is answered."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from overlord.config import ClusterConfig
from overlord.proxy.flow.parts import Node
from overlord.proxy.flow.pins import Pins
from overlord.proxy.pool import Pool


@define(eq=False)
class RetiredNode:
    """
    A node that gets no new requests: when nothing is open on it, its connections are closed.

    A silent one is given up as ever, after read_timeout. Transactions that have begun on it, and commands
    that wait at it, have until drain_timeout: then the former fail, and the latter are answered as if their
    own time were over.
    """

    node: Node
    pool: Pool
    since: float
    _has_ended_waits: bool = field(default=False, init=False)
    log = Logger()

    def look(self, now: float, pins: Pins, config: ClusterConfig, drain_timeout: float) -> bool:
        """Look whether all is answered, and close it then; gives True when that is done."""
        for link in [*self.node.links, *self.node.links3]:
            link.sweep(now, config.read_timeout, config.write_timeout)
        if pins.are_used(self.node):
            if drain_timeout and now - self.since >= drain_timeout:
                self._end(now, pins, config, drain_timeout)
            return False
        if self.node.open_requests():
            return False
        closing = Deferred.fromCoroutine(self.pool.close("it was removed from the configuration"))
        closing.addErrback(lambda failure: self.log.failure("cannot close a node", failure))
        return True

    def _end(self, now: float, pins: Pins, config: ClusterConfig, drain_timeout: float) -> None:
        is_late = now - self.since >= drain_timeout + config.read_timeout
        pins.end_all(self.node, waits=is_late)
        if not self._has_ended_waits:
            self._has_ended_waits = True
            pins.end_waits(self.node)
