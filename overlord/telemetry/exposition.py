"""
The HTTP site on the `stat` address: `/metrics` for Prometheus, `/healthz` for load balancers.

It has no authentication, and says so in the log when others than this machine can reach it. It reads no
bodies, holds few connections, and each of them for a bounded time; twisted.web answers pipelined requests
in order.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol as Contract

from attrs import define, field, frozen
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from overlord.errors import CannotListen
from overlord.telemetry.metrics import Measurement

TEXT = "text/plain; charset=utf-8"

INDEX = (
    "This is an Overlord proxy.\n\n/metrics   numbers, for Prometheus\n/healthz   is it serving?\n"
)

METHODS = (b"GET", b"HEAD")

BOUNDS = ("stat_timeout", "stat_max_connections", "stat_max_request", "stat_max_body")
"""What our clients may reach, by the keys of the configuration."""

Answer = tuple[int, str, bytes]
"""Status, content type, body."""


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


@frozen(kw_only=True)
class StatBounds:
    """What its clients may cost."""

    timeout: float
    """Seconds from a connection's start, or its last answer, until the next whole request has to be here."""
    max_connections: int
    """Connections at a time; one more is closed at once."""
    max_request: int
    """Bytes of a request line and all header lines, with the ends of the lines."""
    max_body: int
    """Bytes of a request's body, which nobody reads: they are thrown away as they come."""


@define(eq=False, slots=False)
class StatService(Service):
    """Serves the numbers of a registry, and whether we are healthy."""

    address: Address
    registry: CollectorRegistry | None
    """What `/metrics` shows; None where the configuration switches metrics off."""
    reactor: Any
    """Of which the site needs IReactorTCP and IReactorTime."""
    bounds: StatBounds
    remark: Callable[[], str] = lambda: ""
    """What `/healthz` says besides, in a line; nothing when there is nothing to say."""
    is_leaving: bool = field(default=False, init=False)
    """Whether `/healthz` tells load balancers to go elsewhere."""
    site: "StatSite" = field(init=False)
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
        self.log.info("numbers are at http://{address}/metrics", address=str(self.bound))
        if self.address.is_open:
            self.log.warn(
                "everybody who reaches {address} can read the numbers, there is no password"
                " (stat = '127.0.0.1:{port}' is for this machine only)",
                address=str(self.address),
                port=self.address.port,
            )

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

    def _pages(self) -> dict[bytes, Callable[[Request], Answer]]:
        pages: dict[bytes, Callable[[Request], Answer]] = {
            b"": lambda _: (200, TEXT, INDEX.encode()),
            b"healthz": self._health,
        }
        if self.registry is not None:
            pages[b"metrics"] = partial(self._metrics, self.registry)
        return pages

    def _health(self, _: Request) -> Answer:
        if self.is_leaving:
            return 503, TEXT, b"leaving\n"
        remark = self.remark()
        return 200, TEXT, f"ok\n{remark}\n".encode() if remark else b"ok\n"

    def _metrics(self, registry: CollectorRegistry, request: Request) -> Answer:
        encode, content_type = choose_encoder(request.getHeader("accept") or "")
        try:
            return 200, content_type, encode(registry)
        except Exception:  # noqa: BLE001  # whatever a collector raises, the scraper is told
            self.log.failure("the numbers cannot be shown")
            return 500, TEXT, b"the numbers cannot be shown, the log says why\n"


def stat_site(
    pages: dict[bytes, Callable[[Request], Answer]], clock: IReactorTime, bounds: StatBounds
) -> "StatSite":
    """A site with one plain page for each name, and 404 for all others."""
    missing = Page(lambda _: (404, TEXT, b"there is no such page, / lists those there are\n"))
    # Not itself: below it, a path that ends with / would be the list of pages.
    root = Page(missing.answer, missing)
    for name, answer in pages.items():
        root.putChild(name, Page(answer, missing))
    return StatSite(root, clock, bounds)


class Page(Resource):
    """One page, and all paths below it that do not exist."""

    def __init__(self, answer: Callable[[Request], Answer], missing: "Page | None" = None) -> None:
        super().__init__()
        self.answer = answer
        self._missing = missing or self

    def getChild(self, _path: bytes, _request: Any) -> "Page":
        return self._missing

    def render(self, request: Any) -> bytes:
        if request.method in METHODS:
            status, content_type, body = self.answer(request)
        else:
            status, content_type, body = 405, TEXT, b"pages here can be read, and nothing else\n"
            request.setHeader("allow", "GET, HEAD")
        request.setResponseCode(status)
        request.setHeader("content-type", content_type)
        request.setHeader("content-length", str(len(body)))
        request.setHeader("cache-control", "no-store")
        request.setHeader("server", "overlord")
        return b"" if request.method == b"HEAD" else body


class StatRequest(Request):
    """A request whose body is thrown away, and refused when it is too long."""

    channel: "StatChannel"
    _body_size = 0
    _is_refused = False

    def gotLength(self, _length: int | None) -> None:
        super().gotLength(0)

    def handleContentChunk(self, data: bytes) -> None:
        self._body_size += len(data)
        if self._body_size > self.channel.factory.bounds.max_body and not self._is_refused:
            self._is_refused = True
            self.channel.refuse("413 Content Too Large", "stat_max_body")

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if not self._is_refused:
            super().requestReceived(command, path, version)


class StatChannel(HTTPChannel):
    """HTTP/1.x with our bounds."""

    factory: "StatSite"
    _head_size = 0
    """Bytes of the request line and the header lines that have come."""

    def connectionMade(self) -> None:
        # Ours counts the ends of lines too, so it is always the first to be reached.
        self.MAX_LENGTH = self.totalHeadersSize = self.maxHeaders = self.factory.bounds.max_request
        self.factory.channels.add(self)
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        # HTTPChannel's own starts its timer anew with each byte, which lets a drip hold a connection.
        LineReceiver.dataReceived(self, data)

    def lineReceived(self, line: bytes) -> None:
        self._head_size += len(line) + len(self.delimiter)
        if self._head_size > self.factory.bounds.max_request:
            self.lineLengthExceeded(line)
        else:
            super().lineReceived(line)

    def allHeadersReceived(self) -> None:
        self._head_size = 0
        super().allHeadersReceived()

    def lineLengthExceeded(self, _line: bytes) -> None:
        self.refuse("431 Request Header Fields Too Large", "stat_max_request")

    def timeoutConnection(self) -> None:
        self.factory.hits["stat_timeout"] += 1
        super().timeoutConnection()

    def refuse(self, status: str, bound: str) -> None:
        """Say why, and close."""
        self.factory.hits[bound] += 1
        self.write(f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode())
        self.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.channels.discard(self)
        super().connectionLost(reason)


class StatSite(Site):
    """A site that logs no requests and bounds its connections."""

    noisy = False
    protocol = StatChannel  # type: ignore[assignment]  # no TLS, so no choice of protocols

    def __init__(self, root: Resource, clock: IReactorTime, bounds: StatBounds) -> None:
        super().__init__(
            root,
            requestFactory=StatRequest,
            parsePOSTFormSubmission=False,
            timeout=bounds.timeout,
            reactor=clock,
        )
        self.bounds = bounds
        self.hits: Counter[str] = Counter()
        """How often each of `BOUNDS` was reached."""
        self.channels: set[StatChannel] = set()

    def startFactory(self) -> None:
        """Open no access log, and keep no clock for it."""

    def stopFactory(self) -> None:
        """Close nothing: see `startFactory`."""

    def log(self, request: Any) -> None:
        """Write nothing: requests are not logged."""

    def buildProtocol(self, addr: Any) -> Any:
        if len(self.channels) >= self.bounds.max_connections:
            self.hits["stat_max_connections"] += 1
            return None
        return super().buildProtocol(addr)
