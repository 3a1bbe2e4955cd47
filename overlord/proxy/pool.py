"""The connections to one node: who opens them, and opens them again."""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import Any

from attrs import define, field
from twisted.application.internet import backoffPolicy
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.error import TimeoutError as DialTimeout
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from overlord.config import ClusterConfig, ServerConfig
from overlord.net.carriage import Carriage
from overlord.proxy.flow.node_link import NodeLink
from overlord.proxy.flow.parts import Link
from overlord.proxy.node_conn import NodeConnFactory, trouble_of
from overlord.proxy.redialer import Redialer
from overlord.wire.stream import ABORTING

ATTEMPT_DELAY = 0.05
"""Seconds between attempts at several addresses of one name."""


@implementer(IStreamClientEndpoint)
@define(eq=False)
class DialledEndpoint:
    """Dials a node for one link, within `timeout()` seconds, and tells the link how it went."""

    endpoint: Callable[[], IStreamClientEndpoint]
    """Asked each time, as `timeout` is: the configuration may have changed."""
    link: NodeLink
    reactor: Any
    timeout: Callable[[], float]
    """For the whole: the endpoint's own begins anew with each address of a name."""
    told: Callable[[], None]
    """Called after each failure."""

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        self.link.dialing()
        dialled: Deferred[IProtocol] = self.endpoint().connect(protocolFactory)
        dialled.addTimeout(self.timeout(), self.reactor, onTimeoutCancel=_dialled_for_too_long)
        dialled.addErrback(self._failed)
        return dialled

    def _failed(self, reason: Failure) -> Failure:
        self.link.lost(trouble_of(reason))
        self.told()
        return reason


def _dialled_for_too_long(_: object, __: float) -> Failure:
    return Failure(DialTimeout())


@define(eq=False)
class Pool:
    """
    The connections to one node.

    Each link has a `Redialer`, which dials again with back-off after a failure or a loss. Logs when
    the node is lost (no link is ready) and when it is back.
    """

    cluster: ClusterConfig
    server: ServerConfig
    reactor: Any
    carriage: Carriage
    log = Logger()
    is_up: bool = field(default=False, init=False)
    is_retired: bool = field(default=False, init=False)
    """The configuration has the node no more, so its coming and going is no news."""
    changed_at: float | None = field(default=None, init=False)
    """When the node last came, went, or changed its mind about our login; in the reactor's seconds."""
    _was_up: bool | None = field(default=None, init=False)
    _was_refused: str = field(default="", init=False)
    _lacks_resp3: bool = field(default=False, init=False)
    _redialers: dict[Link, Redialer] = field(factory=dict, init=False)
    _listening: dict[Link, Redialer] = field(factory=dict, init=False)
    _dialled: set[Deferred[IProtocol]] = field(factory=set, init=False)

    def open(self, link: NodeLink) -> None:
        """Open a link, and keep it open; does nothing for one that is kept already."""
        if link in self._redialers:
            return
        link.changed = self._look
        link.greeted = lambda accepted: self._greeted(link, accepted)
        self._redialers[link] = redialer = self._redialer(link)
        redialer.start()

    def listen(self, link: NodeLink) -> None:
        """
        Open the link that listens for subscribers, and keep it open.

        It says nothing about whether the node is up: a node may refuse it, and serve requests.
        """
        if link not in self._listening:
            self._listening[link] = redialer = self._redialer(link)
            redialer.start()

    def listen_on(self, other: Pool) -> None:
        """Keep the links open that listen, which another pool has opened to the same server."""
        self._listening.update(other._listening)
        other._listening.clear()

    def listen_no_more(self, link: NodeLink) -> None:
        """Dial for this link no more."""
        if (redialer := self._listening.pop(link, None)) is not None:
            redialer.stop()

    def _redialer(self, link: NodeLink) -> Redialer:
        """What dials a link, and dials it again with back-off."""
        endpoint = DialledEndpoint(self._endpoint, link, self.reactor, self._timeout, self._look)
        return Redialer(
            endpoint,
            NodeConnFactory(link, self.carriage),
            # A connection is no success yet: that depends on who answers there, which the link knows.
            lambda: self._delay(max(link.dials_failed - 1, 0)),
            self.reactor,
        )

    def open_once(self, link: NodeLink) -> None:
        """Open a link that is not kept open: a failure or a loss is its end."""
        endpoint = DialledEndpoint(self._endpoint, link, self.reactor, self._timeout, self._look)
        dialled = endpoint.connect(NodeConnFactory(link, self.carriage))
        self._dialled.add(dialled)

        def forget(result: object) -> None:
            """A failure is told to the link already."""
            self._dialled.discard(dialled)

        dialled.addBoth(forget)

    def _endpoint(self) -> IStreamClientEndpoint:
        return self.endpoint(self.cluster.dial_timeout)

    def endpoint(self, timeout: float) -> IStreamClientEndpoint:
        """What dials the node, each of its addresses within so many seconds."""
        host, port = self.server.host, self.server.port
        if self.server.path:
            return UNIXClientEndpoint(self.reactor, self.server.path, timeout)
        # A HostnameEndpoint asks a thread even for what is an address, and notices a refusal only when
        # it looks for the next address, after its attemptDelay.
        if isIPAddress(host):
            return TCP4ClientEndpoint(self.reactor, host, port, timeout)
        if isIPv6Address(host):
            return TCP6ClientEndpoint(self.reactor, host, port, timeout)
        return HostnameEndpoint(
            self.reactor, host, port, timeout=timeout, attemptDelay=ATTEMPT_DELAY
        )

    def _timeout(self) -> float:
        return self.cluster.dial_timeout

    def _delay(self, failures: int) -> float:
        """Seconds until the next attempt, after so many that failed."""
        cluster = self.cluster
        policy = backoffPolicy(
            initialDelay=cluster.redial_delay,
            maxDelay=cluster.redial_max_delay,
            factor=2.0,
            jitter=lambda: random() * cluster.redial_delay,  # noqa: S311  # spreads proxies, guards nothing
        )
        return policy(failures)

    def _greeted(self, link: NodeLink, accepted: bool) -> None:
        """
        A node has answered HELLO 3.

        If it does not speak what the link is for, it is dialled no more until the link is opened again.
        """
        if not accepted and not self._lacks_resp3:
            self.log.warn(
                "node {node} of cluster {cluster} does not speak RESP3, so HELLO 3 is refused",
                node=self.server.label,
                cluster=self.cluster.name,
            )
        self._lacks_resp3 = not accepted
        if not accepted and (redialer := self._redialers.pop(link, None)) is not None:
            redialer.stop()

    def _look(self) -> None:
        """A link has changed: say so if the node has come or gone with it, or lets us in no more."""
        links = [link for link in self._redialers if link.protocol == 2]
        self.is_up = any(link.is_ready() for link in links)
        if not self._redialers or self.is_retired:  # no news about what we end ourselves
            return
        if self._was_up is None and not self.is_up and not any(link.dials_failed for link in links):
            return  # a link that speaks RESP3 was faster: how the others fare is to be seen
        node = next(iter(self._redialers)).node
        refused = node.login_refused
        if self.is_up == self._was_up and refused == self._was_refused:
            return
        first, was_up = self._was_up is None, self._was_up
        self._was_up, self._was_refused = self.is_up, refused
        self.changed_at = self.reactor.seconds()
        if not self.is_up:
            self.log.warn(
                "node {node} of cluster {cluster} is down: {trouble}",
                node=self.server.label,
                cluster=self.cluster.name,
                trouble=node.trouble,
            )
        elif refused:
            self.log.warn(
                "node {node} of cluster {cluster} lets new connections of ours in no more: {why}",
                node=self.server.label,
                cluster=self.cluster.name,
                why=refused,
            )
        elif not was_up:
            self.log.info(
                "node {node} of cluster {cluster} is {state}",
                node=self.server.label,
                cluster=self.cluster.name,
                state="up" if first else "back",
            )
        else:
            self.log.info(
                "node {node} of cluster {cluster} lets new connections of ours in again",
                node=self.server.label,
                cluster=self.cluster.name,
            )

    async def close(self, why: str = "the proxy stops") -> None:
        """Close all connections, and dial no more."""
        for dialled in list(self._dialled):
            dialled.cancel()
        redialers = {**self._redialers, **self._listening}
        self._redialers, self._listening = {}, {}
        stopping = []
        for link, redialer in redialers.items():
            link.close(ABORTING, why)
            stopping.append(redialer.stop())
        for each in stopping:
            await each
