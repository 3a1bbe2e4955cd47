"""
One link to a node: dialled, and dialled again after each failure and each loss.

    start -> dial -> connected -> lost
               ^ failed             |
               +--- after delay() <+

Twisted's ClientService does the same. It is a state machine of some thirty objects for each connection, which
Python's collector looks at one by one: with 2,000 nodes that alone kept the traffic waiting for 100 ms, each
time (`python -m bench --only reload`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IProtocol, IStreamClientEndpoint
from twisted.python.failure import Failure

from overlord.proxy.node_conn import NodeConnFactory, nothing


@define(eq=False)
class Redialer:
    """Keeps a link connected, from `start` to `stop`."""

    endpoint: IStreamClientEndpoint
    factory: NodeConnFactory
    delay: Callable[[], float]
    """Gives the seconds until the next attempt, after a failure or a loss."""
    reactor: Any
    is_running: bool = field(default=False, init=False)
    _dialled: Deferred[IProtocol] | None = field(default=None, init=False)
    _connection: Any = field(default=None, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _stopped: Deferred[None] | None = field(default=None, init=False)
    """Fires when the connection that was there at the stop is lost."""

    def start(self) -> None:
        """Dial, from now on."""
        self.is_running = True
        self.factory.lost = self._lost
        self._dial()

    def stop(self) -> Deferred[None]:
        """Dial no more, and close the connection; fires when there is none."""
        self.is_running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._dialled is not None:
            self._dialled.cancel()
        if self._connection is None:
            self.factory.lost = nothing
            return succeed(None)
        self._stopped = Deferred()
        self._connection.transport.loseConnection()
        return self._stopped

    def _dial(self) -> None:
        self._timer = None
        self._dialled = dialled = self.endpoint.connect(self.factory)
        dialled.addCallbacks(self._connected, self._failed)

    def _connected(self, connection: IProtocol) -> None:
        self._dialled = None
        self._connection = connection

    def _failed(self, reason: Failure) -> None:
        """The endpoint has told the link already."""
        self._dialled = None
        self._dial_later()

    def _lost(self) -> None:
        self._connection = None
        if self._stopped is not None:
            stopped, self._stopped = self._stopped, None
            self.factory.lost = nothing
            stopped.callback(None)
        self._dial_later()

    def _dial_later(self) -> None:
        if self.is_running:
            self._timer = self.reactor.callLater(self.delay(), self._dial)
