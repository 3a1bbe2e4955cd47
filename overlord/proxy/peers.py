"""
Peers: the other proxies that serve the same cluster, and which of them are alive.

Each is asked by a PING every `announce_interval`, over a connection of its own. One that has answered nothing for
`announce_timeout` is silent, and with its next answer it is alive. At first all count as alive: they had no
time to answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint

from overlord.proxy.flow.question import PING
from overlord.proxy.probe import Probe


@define(eq=False)
class _Peer:
    """One other proxy."""

    probe: Probe
    is_alive: bool = True
    next_ping: IDelayedCall | None = None
    end_of_patience: IDelayedCall | None = None


@define(eq=False)
class Peers:
    """Watches over the other proxies, from `start` to `stop`."""

    interval: float
    """Seconds from one answer of a peer to its next PING."""
    timeout: float
    """Seconds of silence after which a peer is not alive."""
    endpoints: Sequence[Callable[[], IStreamClientEndpoint] | None]
    """What dials each proxy; None for ourselves, who are alive."""
    login: Callable[[], bytes]
    """Gives what to say first on a new connection; may be nothing."""
    changed: Callable[[int, bool, str], object]
    """Called when one falls silent, or is back: its place, whether it is alive, what is wrong."""
    reactor: Any
    _peers: dict[int, _Peer] = field(factory=dict, init=False)

    @property
    def alive(self) -> tuple[bool, ...]:
        """Which proxies are alive."""
        return tuple(
            place not in self._peers or self._peers[place].is_alive
            for place in range(len(self.endpoints))
        )

    def start(self) -> None:
        """Begin to ask."""
        for place, endpoint in enumerate(self.endpoints):
            if endpoint is not None:
                probe = Probe(endpoint, self.login, PING, self.interval, self.reactor)
                self._peers[place] = _Peer(probe)
                self._be_patient(place)
                self._ask(place)

    def stop(self) -> None:
        """Ask nobody any more."""
        peers, self._peers = self._peers, {}
        for peer in peers.values():
            for timer in (peer.next_ping, peer.end_of_patience):
                if timer is not None and timer.active():
                    timer.cancel()
            peer.probe.stop()

    def _ask(self, place: int) -> None:
        self._peers[place].probe.ask(lambda trouble: self._answered(place, trouble))

    def _answered(self, place: int, trouble: str) -> None:
        peer = self._peers.get(place)
        if peer is None:
            return
        peer.next_ping = self.reactor.callLater(self.interval, self._ask, place)
        if trouble:
            return
        self._be_patient(place)
        if not peer.is_alive:
            peer.is_alive = True
            self.changed(place, True, "")

    def _be_patient(self, place: int) -> None:
        peer = self._peers[place]
        if peer.end_of_patience is not None and peer.end_of_patience.active():
            peer.end_of_patience.cancel()
        peer.end_of_patience = self.reactor.callLater(self.timeout, self._silent, place)

    def _silent(self, place: int) -> None:
        self._peers[place].is_alive = False
        self.changed(place, False, f"no answer for {self.timeout:g} s")
