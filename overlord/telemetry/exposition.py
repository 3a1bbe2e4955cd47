"""
What is shown at the `stat` address: `/metrics` for Prometheus, `/healthz` and `/readyz` for load balancers.

What else is there (a page for people, the same for programs) comes from whoever knows what is served, in `Told`.
A page with much on it is made in slices, so that it never keeps the reactor from its work for long.

It has no authentication, and says so in the log when others than this machine can reach it. The site itself,
and what its clients may cost, is the subject of `site.py`.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any, Protocol as Contract

from attrs import Factory, define, field, frozen
from prometheus_client.exposition import choose_encoder
from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.server import Request

from overlord.errors import CannotListen
from overlord.telemetry.metrics import Measurement, Numbers
from overlord.telemetry.site import TEXT, Answer, Render, StatBounds, StatSite, stat_site

LINKS = {
    "/metrics": "numbers, for Prometheus",
    "/clusters": "clusters and nodes, as JSON",
    "/healthz": "is it alive?",
    "/readyz": "can it serve every cluster?",
}
"""Which pages there may be."""

SLICE = 0.005
"""Seconds for which making a page may keep the reactor from other work."""

BOUNDS = ("stat_timeout", "stat_max_connections", "stat_max_request", "stat_max_body")
"""What our clients may reach, by the keys of the configuration."""

More = Callable[["Breath"], Coroutine[Any, Any, tuple[str, str]]]
"""Makes a page of somebody else's: content type and text."""


@define
class Breath:
    """Lets the reactor have a turn when a slice is over."""

    clock: IReactorTime
    _since: float = field(factory=monotonic, init=False)

    async def __call__(self) -> None:
        """Go on at once, or in the reactor's next turn."""
        if monotonic() - self._since >= SLICE:
            await deferLater(self.clock, 0)
            self._since = monotonic()


@frozen(kw_only=True)
class Told:
    """What those whom the site speaks for say about themselves."""

    health: Callable[[], Iterable[str]] = tuple
    """Lines for `/healthz`, below its first word."""
    not_ready: Callable[[], Sequence[str]] = list
    """Why they cannot serve everybody, a line each; empty: they can."""
    pages: Mapping[bytes, More] = Factory(dict)
    """Pages by name; the empty name is that of `/`."""


class Address(Contract):
    """Where the site listens."""

    @property
    def host(self) -> str:
        """An IP address (without brackets) or a name."""

    @property
    def port(self) -> int:
        """0 lets the kernel choose one."""

    @property
    def is_open(self) -> bool:
        """Whether others than this machine may be able to connect."""

    def with_port(self, port: int) -> "Address":
        """The same host with another port."""


@define(eq=False, slots=False)
class StatService(Service):
    """Serves the numbers of a registry, and whether we are healthy."""

    address: Address
    numbers: Numbers | None
    """What `/metrics` shows; None where the configuration switches metrics off."""
    reactor: Any
    """Of which the site needs IReactorTCP and IReactorTime."""
    bounds: StatBounds
    told: Told = Told()
    is_leaving: bool = field(default=False, init=False)
    """Whether `/healthz` tells load balancers to go elsewhere."""
    site: StatSite = field(init=False)
    port: IListeningPort | None = field(default=None, init=False)
    log = Logger()

    def __attrs_post_init__(self) -> None:
        self.site = stat_site(self._pages(), self.reactor, self.bounds)

    def startService(self) -> None:
        super().startService()
        tcp: IReactorTCP = self.reactor
        try:
            factory: Any = self.site  # whose protocol Twisted's types cannot express
            self.port = tcp.listenTCP(self.address.port, factory, interface=self.address.host)
        except (CannotListenError, OSError) as error:
            raise CannotListen(self.address, "'stat'", error) from error
        if self.numbers is None:
            self.log.info("health is at http://{address}/healthz", address=str(self.bound))
        else:
            self.log.info("numbers are at http://{address}/metrics", address=str(self.bound))
        if self.address.is_open:
            self.log.warn("{warning}", warning=open_to_all(self.address))

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._leave())

    async def _leave(self) -> None:
        port, self.port = self.port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        for channel in list(self.site.channels):
            channel.transport.abortConnection()  # type: ignore[union-attr]  # TCP has it

    def leave(self) -> None:
        """Let `/healthz` say from now on that we are leaving."""
        self.is_leaving = True

    @property
    def bound(self) -> Address:
        """Where it really listens: with port 0 the system chose."""
        host: Any = self.port.getHost() if self.port is not None else None
        if isinstance(host, IPv4Address | IPv6Address):
            return self.address.with_port(host.port)
        return self.address

    def measurements(self) -> Iterable[Measurement]:
        """How often our own clients reached their bounds."""
        for bound in BOUNDS:
            yield Measurement(
                "overlord_proxy_process_bound_hits",
                {"bound": bound},
                self.site.hits[bound],
                "counter",
                "How often somebody reached a bound of the table [proxy].",
            )

    def _pages(self) -> dict[bytes, Render]:
        pages: dict[bytes, Render] = {
            b"": self._index,
            b"healthz": self._health,
            b"readyz": self._readiness,
        }
        if self.numbers is not None:
            pages[b"metrics"] = partial(self._metrics, self.numbers)
        for name, more in self.told.pages.items():
            pages[name] = partial(self._more, more)
        return pages

    async def _index(self, _: Request) -> Answer:
        shown = links(has_numbers=self.numbers is not None)
        return 200, TEXT, "".join(f"{path:10} {what}\n" for path, what in shown.items()).encode()

    async def _health(self, _: Request) -> Answer:
        lines = ["leaving" if self.is_leaving else "ok", *self.told.health()]
        return 503 if self.is_leaving else 200, TEXT, _lines(lines)

    async def _readiness(self, _: Request) -> Answer:
        lines = ["leaving"] if self.is_leaving else self.told.not_ready()
        return 503 if lines else 200, TEXT, _lines(lines or ["ready"])

    async def _metrics(self, numbers: Numbers, request: Request) -> Answer:
        encode, content_type = choose_encoder(request.getHeader("accept") or "")
        return 200, content_type, await numbers.text(encode, Breath(self.reactor))

    async def _more(self, more: More, _: Request) -> Answer:
        content_type, text = await more(Breath(self.reactor))
        return 200, content_type, text.encode("utf-8", "backslashreplace")


def open_to_all(address: Address) -> str:
    """What to say about an address that others than this machine can reach."""
    return (
        f"everybody who reaches {address} can read what is there, there is no password"
        f" (stat = '127.0.0.1:{address.port}' is for this machine only)"
    )


def links(*, has_numbers: bool) -> Mapping[str, str]:
    """Which pages there are: without numbers, no `/metrics`."""
    return {path: what for path, what in LINKS.items() if has_numbers or path != "/metrics"}


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
