"""
The HTTP site on the `stat` address: `/metrics` for Prometheus, `/healthz` and `/readyz` for load balancers.

What else is there (a page for people, the same for programs) comes from whoever knows what is served, in `Told`.
A page with much on it is made in slices, so that it never keeps the reactor from its work for long.

It has no authentication, and says so in the log when others than this machine can reach it. It reads no
bodies, holds few connections, and each of them for a bounded time; twisted.web answers pipelined requests
in order.
"""

from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any, Protocol as Contract

from attrs import Factory, define, field, frozen
from prometheus_client.exposition import choose_encoder
from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from overlord.errors import CannotListen
from overlord.telemetry.metrics import Measurement, Numbers

TEXT = "text/plain; charset=utf-8"

LINKS = {
    "/metrics": "numbers, for Prometheus",
    "/clusters": "clusters and nodes, as JSON",
    "/healthz": "is it alive?",
    "/readyz": "can it serve every cluster?",
}
"""Which pages there may be."""

SLICE = 0.005
"""Seconds for which making a page may keep the reactor from other work."""

HEADERS = {
    "cache-control": "no-store",
    "server": "overlord",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
}
"""What every answer says."""

METHODS = (b"GET", b"HEAD")

BOUNDS = ("stat_timeout", "stat_max_connections", "stat_max_request", "stat_max_body")
"""What our clients may reach, by the keys of the configuration."""

Answer = tuple[int, str, bytes]
"""Status, content type, body."""

Render = Callable[[Request], Coroutine[Any, Any, Answer]]
"""Makes a page."""

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
    numbers: Numbers | None
    """What `/metrics` shows; None where the configuration switches metrics off."""
    reactor: Any
    """Of which the site needs IReactorTCP and IReactorTime."""
    bounds: StatBounds
    told: Told = Told()
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


def stat_site(pages: Mapping[bytes, Render], clock: IReactorTime, bounds: StatBounds) -> "StatSite":
    """A site with one plain page for each name, and 404 for all others."""
    missing = Page(_missing)
    # Not itself: below it, a path that ends with / would be the list of pages.
    root = Page(_missing, missing)
    for name, answer in pages.items():
        root.putChild(name, Page(answer, missing))
    return StatSite(root, clock, bounds)


async def _missing(_: Request) -> Answer:
    return 404, TEXT, b"there is no such page, / lists those there are\n"


async def _not_allowed(_: Request) -> Answer:
    return 405, TEXT, b"pages here can be read, and nothing else\n"


class Page(Resource):
    """One page, and all paths below it that do not exist."""

    log = Logger()

    def __init__(self, render: Render, missing: "Page | None" = None) -> None:
        super().__init__()
        self._render = render
        self._missing = missing or self

    def getChild(self, _path: bytes, _request: Any) -> "Page":
        return self._missing

    def render(self, request: Any) -> int:
        is_known = request.method in METHODS
        if not is_known:
            request.setHeader("allow", "GET, HEAD")
        render = self._render if is_known else _not_allowed
        made: Deferred[Any] = Deferred.fromCoroutine(self._made(render, request))
        # Who has hung up needs no page.
        request.notifyFinish().addErrback(lambda _: made.cancel())
        made.addCallback(partial(_send, request))
        made.addErrback(lambda failure: failure.trap(CancelledError) and None)
        return NOT_DONE_YET

    async def _made(self, render: Render, request: Request) -> Answer:
        try:
            return await render(request)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001  # whatever it is, who asked is told
            self.log.failure("{path} cannot be shown", path=request.path)
            return 500, TEXT, b"this page cannot be shown, the log says why\n"


def _send(request: Any, answer: Answer) -> None:
    status, content_type, body = answer
    request.setResponseCode(status)
    for name, value in HEADERS.items():
        request.setHeader(name, value)
    request.setHeader("content-type", content_type)
    request.setHeader("content-length", str(len(body)))
    if request.method != b"HEAD":
        request.write(body)
    request.finish()


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
            self.refuse("413 Content Too Large", "stat_max_body")

    def refuse(self, status: str, bound: str = "") -> None:
        """Say why, and close."""
        self._is_refused = True
        self.channel.refuse(status, bound)

    def is_ambiguous(self, version: bytes) -> bool:
        """Whether two readers of it could see different requests, which twisted.web lets pass."""
        hosts = len(self.requestHeaders.getRawHeaders(b"host", []))
        codings = len(self.requestHeaders.getRawHeaders(b"transfer-encoding", []))
        return hosts > 1 or codings > 1 or (hosts == 0 and version == b"HTTP/1.1")

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
        request: Any = self.requests[-1]
        if request.is_ambiguous(self._version):
            request.refuse("400 Bad Request")
        super().allHeadersReceived()

    def lineLengthExceeded(self, _line: bytes) -> None:
        self.refuse("431 Request Header Fields Too Large", "stat_max_request")

    def timeoutConnection(self) -> None:
        self.factory.hits["stat_timeout"] += 1
        super().timeoutConnection()

    def refuse(self, status: str, bound: str) -> None:
        """Say why, and close; `bound` is what was reached, if it was one."""
        if bound:
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
