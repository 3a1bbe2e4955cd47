"""
The real twistd with a stand-in for the proxy's service: it answers `+PONG` to each line.

A line `slow0.5` is answered with `+SLOW`, and half a second later with `+DONE` and the end of the
connection. Stopping takes until no such client is left, so that draining can be watched.
"""

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver
from twisted.scripts.twistd import run

from overlord.errors import CannotListen
from overlord.taps import proxy, trial
from overlord.telemetry.metrics import Measurement


class Line(LineReceiver):
    def lineReceived(self, line):
        if line.startswith(b"slow"):
            self.factory.slow.add(self)
            self.sendLine(b"+SLOW")
            self.factory.clock.callLater(float(line[4:]), self.answer)
        else:
            self.sendLine(b"+PONG")

    def answer(self):
        self.sendLine(b"+DONE")
        self.transport.loseConnection()

    def connectionLost(self, reason):
        self.factory.slow.discard(self)
        self.factory.settle()


class Overview:
    """What /healthz and /readyz ask."""

    def uptime(self):
        return 1.0

    def not_ready(self):
        return []


class StandIn(Service, Factory):
    compiled = False
    transport_name = "twisted"
    protocol = Line
    noisy = False

    def __init__(self, clusters, _, clock):
        self.clusters, self.clock = clusters, clock
        self.slow, self.ports, self.drained = set(), [], None
        self.overview = Overview()

    def startService(self):
        super().startService()
        for cluster in self.clusters:
            at = cluster.listen
            try:
                self.ports.append(self.clock.listenTCP(at.port, self, interface=at.host))
            except CannotListenError as error:
                raise CannotListen(at, f"cluster {cluster.name!r}", error) from error

    async def apply(self, clusters):
        """Serve others: a stand-in goes on with those that it has."""

    async def stop(self):
        for port in self.ports:
            await maybeDeferred(port.stopListening)
        self.drained = Deferred()
        self.settle()
        await self.drained

    def stopService(self):
        super().stopService()
        return Deferred.fromCoroutine(self.stop())

    def settle(self):
        if self.drained is not None and not self.drained.called and not self.slow:
            self.drained.callback(None)

    def measurements(self):
        cluster = {"cluster": "users"}
        yield Measurement("overlord_proxy_conns", cluster, 3, "gauge", "Client connections.")


proxy.serve = StandIn

if __name__ == "__main__":
    import os

    if os.environ.get("OVERLORD_TEST_RACE"):
        # Somebody takes the port between the check before the fork and the start.
        trial.problems = lambda addresses: []
    run()
