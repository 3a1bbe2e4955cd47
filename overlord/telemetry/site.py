"""
An HTTP site of a few plain pages, which costs little whoever asks.

It reads no bodies, holds few connections, and each of them for a bounded time; twisted.web answers pipelined
requests in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

TEXT = "text/plain; charset=utf-8"

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

Answer = tuple[int, str, bytes]
"""Status, content type, body."""

Render = Callable[[Request], Coroutine[Any, Any, Answer]]
"""Makes a page."""


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


def stat_site(pages: Mapping[bytes, Render], clock: IReactorTime, bounds: StatBounds) -> StatSite:
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

    def __init__(self, render: Render, missing: Page | None = None) -> None:
        super().__init__()
        self._render = render
        self._missing = missing or self

    def getChild(self, _path: bytes, _request: Any) -> Page:
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

    channel: StatChannel
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

    factory: StatSite
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
