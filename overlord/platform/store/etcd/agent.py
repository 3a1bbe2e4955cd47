"""Twisted's HTTP client, as etcd's endpoints want it."""

from io import BytesIO
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    FileBodyProducer,
    HTTPConnectionPool,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IPolicyForHTTPS, IResponse
from zope.interface import implementer

from overlord.platform.store.address import Endpoint, EtcdAddress
from overlord.platform.store.errors import AccessDenied

MAX_BODY = 512 * 1024 * 1024
"""Bytes of an answer: far more than a page of a listing has, and no limit to what is kept."""
IDLE_TIMEOUT = 60
"""Seconds after which a connection that nobody uses is closed."""


@define(eq=False)
class EtcdAgent:
    """Sends requests to endpoints, over connections that are kept, or over one of their own."""

    reactor: Any
    address: EtcdAddress
    connect_timeout: float
    _pool: HTTPConnectionPool = field(init=False)
    _kept: Agent = field(init=False)
    _fresh: Agent = field(init=False)
    _scheme: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._pool = HTTPConnectionPool(self.reactor, persistent=True)
        self._pool.retryAutomatically = False
        self._pool.cachedConnectionTimeout = IDLE_TIMEOUT
        self._pool.maxPersistentPerHost = 16
        arguments: dict[str, Any] = {"connectTimeout": self.connect_timeout}
        self._scheme = "http"
        if self.address.ca is not None:
            self._scheme = "https"
            arguments["contextFactory"] = _tls_policy(self.address)
        self._kept = Agent(self.reactor, pool=self._pool, **arguments)
        self._fresh = Agent(self.reactor, **arguments)

    def post(
        self, endpoint: Endpoint, path: str, body: bytes, token: str, *, is_stream: bool = False
    ) -> Deferred[IResponse]:
        """Send a request; fires with the beginning of the answer."""
        headers = Headers({b"Content-Type": [b"application/json"]})
        if token:
            headers.addRawHeader(b"Authorization", token.encode())
        agent = self._fresh if is_stream else self._kept
        url = f"{self._scheme}://{endpoint}/v3/{path}".encode()
        return agent.request(b"POST", url, headers, FileBodyProducer(BytesIO(body)))

    async def close(self) -> None:
        """Close the connections that are kept."""
        await self._pool.closeCachedConnections()


def whole(response: IResponse) -> Deferred[bytes]:
    """The rest of an answer; being cancelled closes its connection. Fails with ResponseFailed."""
    body = _Body()
    response.deliverBody(body)
    return body.complete


class _Body(Protocol):
    """Collects what comes, up to MAX_BODY."""

    def __init__(self) -> None:
        self.complete: Deferred[bytes] = Deferred(lambda _: self._close())
        self._received = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > MAX_BODY:
            self._fail(Failure(ValueError(f"it has more than {MAX_BODY} bytes")))
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(ResponseDone):
            if not self.complete.called:
                self.complete.callback(bytes(self._received))
        else:
            self._fail(reason)

    def _fail(self, reason: Failure) -> None:
        if not self.complete.called:
            self.complete.errback(ResponseFailed([reason]))

    def _close(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()


def _tls_policy(address: EtcdAddress) -> IPolicyForHTTPS:
    """Trust the certificates of `ca`, and no others. Needs what `overlord[etcd]` installs."""
    from twisted.internet.ssl import (
        Certificate,
        PrivateCertificate,
        optionsForClientTLS,
        trustRootFromCertificates,
    )

    assert address.ca is not None
    authorities = [Certificate.loadPEM(part) for part in _certificates(address.ca)]
    own = None
    if address.cert is not None and address.key is not None:
        try:
            own = PrivateCertificate.loadPEM(_read(address.key) + b"\n" + _read(address.cert))
        except Exception as error:
            raise AccessDenied(
                f"{address.cert} and {address.key} are no certificate with its key: {error}"
            ) from error
    roots = trustRootFromCertificates(authorities)

    @implementer(IPolicyForHTTPS)
    class Policy:
        def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
            return optionsForClientTLS(hostname.decode("ascii").strip("[]"), roots, own)

    return Policy()


_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


def _certificates(path: Any) -> list[bytes]:
    parts = [
        _BEGIN + part.partition(_END)[0] + _END + b"\n" for part in _read(path).split(_BEGIN)[1:]
    ]
    if not parts:
        raise AccessDenied(f"there is no certificate in {path}")
    return parts


def _read(path: Any) -> bytes:
    try:
        found: bytes = path.read_bytes()
    except OSError as error:
        raise AccessDenied(f"cannot read {path}: {error.strerror}") from error
    return found
