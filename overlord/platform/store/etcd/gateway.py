"""
One request, to an endpoint that answers, by a deadline.

    attempt --+-- an answer                                  -> that
              +-- an error that all members would give       -> that
              +-- not sent, or not passed on                 -> the next endpoint
              +-- sent, and no answer: it may be repeated    -> the next endpoint
                                       it may not            -> OutcomeUnknown
"""

import json
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionClosed,
    DNSLookupError,
    TimeoutError as ConnectTimeout,
)
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web._newclient import RequestNotSent, RequestTransmissionFailed
from twisted.web.client import ResponseFailed
from twisted.web.iweb import IResponse

from overlord.platform.store.address import Endpoint
from overlord.platform.store.errors import (
    AccessDenied,
    OutcomeUnknown,
    StoreClosed,
    StoreUnavailable,
)
from overlord.platform.store.etcd.agent import EtcdAgent, whole
from overlord.platform.store.etcd.messages import Json
from overlord.platform.store.etcd.refusals import Refusal

PASS_PAUSE = 0.1
"""Seconds until the endpoints are tried again, after none of them could do it."""
READ_SHARE = 0.4
"""Share of the time that one endpoint gets for what can be asked of another as well."""

T = TypeVar("T")

_NOT_SENT = (
    ConnectError,
    ConnectingCancelledError,
    ConnectTimeout,
    DNSLookupError,
    RequestNotSent,
)
_BROKEN_OFF = (ResponseFailed, RequestTransmissionFailed, ConnectionClosed)


class _NotDone(Exception):
    """An attempt that did nothing; why."""


class _NoAnswer(Exception):
    """An attempt that may have done it; why."""


@define(eq=False)
class Gateway:
    """Knows the endpoints, which of them answered last, and the token of the login."""

    agent: EtcdAgent
    reactor: Any
    timeout: float
    """Seconds in which each call ends."""
    log = Logger()
    _at: int = field(default=0, init=False)
    _token: str = field(default="", init=False)
    _down: set[Endpoint] = field(factory=set, init=False)
    _under_way: "set[Deferred[Any]]" = field(factory=set, init=False)
    is_closed: bool = field(default=False, init=False)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return self.agent.address.endpoints

    async def call(
        self,
        path: str,
        body: Json,
        *,
        changes: bool = False,
        may_repeat: bool = True,
        through: tuple[Endpoint, ...] = (),
        seconds: float | None = None,
    ) -> Json:
        """
        The answer to a request.

        `changes` says whether it changes anything, `may_repeat` whether doing it twice is the same as
        once. `through` are the endpoints to ask, all if it is empty.
        """
        deadline = time.monotonic() + (seconds or self.timeout)
        encoded = json.dumps(body).encode()
        was_sent = False
        reason = ""
        while True:
            endpoints = through or self._in_turn()
            for endpoint in endpoints:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                share = left if not may_repeat or len(endpoints) == 1 else self.timeout * READ_SHARE
                try:
                    answer = await self._attempt(endpoint, path, encoded, min(left, share))
                except _NotDone as error:
                    reason = str(error)
                except _NoAnswer as error:
                    reason, was_sent = str(error), True
                    self._prefer_another(endpoint)
                    if not may_repeat:
                        raise OutcomeUnknown(f"it may have been done: {reason}") from None
                else:
                    self._answered(endpoint)
                    return answer
                self._did_not_answer(endpoint, reason)
            if deadline - time.monotonic() <= PASS_PAUSE:
                error_class = OutcomeUnknown if changes and was_sent else StoreUnavailable
                raise error_class(
                    f"etcd did not do it within {seconds or self.timeout:g} s: {reason}"
                )
            await deferLater(self.reactor, PASS_PAUSE)

    async def stream(self, endpoint: Endpoint, path: str, body: Json, seconds: float) -> IResponse:
        """Begin an answer that goes on for ever, from this endpoint. Raises StoreUnavailable."""
        try:
            return await self._bounded(
                self._begin(endpoint, path, json.dumps(body).encode(), is_stream=True),
                seconds,
                endpoint,
            )
        except (_NotDone, _NoAnswer) as error:
            self._did_not_answer(endpoint, str(error))
            raise StoreUnavailable(str(error)) from None

    async def close(self) -> None:
        """Take nothing more, and wait for what is under way: it ends by its deadline."""
        self.is_closed = True
        for under_way in tuple(self._under_way):
            ended: Deferred[None] = Deferred()
            under_way.addBoth(_passed_on, ended)
            await ended
        await self.agent.close()

    def _in_turn(self) -> tuple[Endpoint, ...]:
        at = self._at % len(self.endpoints)
        return self.endpoints[at:] + self.endpoints[:at]

    def _prefer_another(self, endpoint: Endpoint) -> None:
        if self._in_turn()[0] == endpoint:
            self._at += 1

    def _answered(self, endpoint: Endpoint) -> None:
        if endpoint in self._down:
            self._down.discard(endpoint)
            self.log.info("etcd at {endpoint} answers again", endpoint=str(endpoint))

    def _did_not_answer(self, endpoint: Endpoint, reason: str) -> None:
        self._prefer_another(endpoint)
        if endpoint not in self._down:
            self._down.add(endpoint)
            self.log.warn("{reason}", reason=reason)

    async def _attempt(self, endpoint: Endpoint, path: str, body: bytes, seconds: float) -> Json:
        return await self._bounded(self._answer(endpoint, path, body), seconds, endpoint)

    async def _bounded(self, what: Coroutine[Any, Any, T], seconds: float, endpoint: Endpoint) -> T:
        if self.is_closed:
            what.close()
            raise StoreClosed(f"{self.agent.address} is closed")
        is_overdue = False

        def give_up() -> None:
            nonlocal is_overdue
            is_overdue = True
            under_way.cancel()

        under_way = Deferred.fromCoroutine(what)
        self._under_way.add(under_way)
        timer = self.reactor.callLater(seconds, give_up)
        try:
            return await under_way
        except (_NotDone, StoreUnavailable):
            raise
        except Exception:
            # Being cancelled has many faces, one for each state of a connection.
            if is_overdue:
                late = f"etcd at {endpoint} did not answer within {seconds:.3g} s"
                raise _NoAnswer(late) from None
            raise
        finally:
            self._under_way.discard(under_way)
            if timer.active():
                timer.cancel()

    async def _answer(self, endpoint: Endpoint, path: str, body: bytes) -> Json:
        response = await self._begin(endpoint, path, body)
        try:
            found = json.loads(await whole(response))
        except (*_BROKEN_OFF, ValueError) as error:
            raise _NoAnswer(f"etcd at {endpoint} broke off its answer: {_why(error)}") from error
        return found if isinstance(found, dict) else {}

    async def _begin(
        self, endpoint: Endpoint, path: str, body: bytes, *, is_stream: bool = False
    ) -> IResponse:
        """Log in if need be, and send it."""
        user = self.agent.address.user
        for is_second in (False, True):
            if user and not self._token:
                await self._log_in(endpoint)
            try:
                return await self._send(endpoint, path, body, is_stream=is_stream)
            except Refusal as refusal:
                if user and refusal.is_about_token and not is_second:
                    self._token = ""
                elif refusal.is_final:
                    raise refusal.error(str(endpoint)) from None
                elif refusal.was_not_passed_on:
                    raise _NotDone(f"etcd at {endpoint} says: {refusal}") from None
                else:
                    raise _NoAnswer(f"etcd at {endpoint} says: {refusal}") from None
        raise AssertionError("the second attempt ends it")

    async def _log_in(self, endpoint: Endpoint) -> None:
        address = self.agent.address
        body = json.dumps({"name": address.user, "password": address.password}).encode()
        try:
            response = await self._send(endpoint, "auth/authenticate", body)
            self._token = json.loads(await whole(response))["token"]
        except Refusal as refusal:
            if not refusal.is_final:
                raise _NotDone(f"etcd at {endpoint} says: {refusal}") from None
            if "not enabled" in refusal.message:
                raise AccessDenied(
                    f"etcd at {endpoint} asks for no password; leave it out of the address, "
                    "or enable its authentication"
                ) from None
            raise refusal.error(str(endpoint)) from None
        except (*_BROKEN_OFF, ValueError, KeyError) as error:
            raise _NotDone(f"etcd at {endpoint} broke off the login: {_why(error)}") from error
        except _NoAnswer as error:
            raise _NotDone(str(error)) from error

    async def _send(
        self, endpoint: Endpoint, path: str, body: bytes, *, is_stream: bool = False
    ) -> IResponse:
        try:
            response = await self.agent.post(endpoint, path, body, self._token, is_stream=is_stream)
        except _NOT_SENT as error:
            raise _NotDone(f"cannot connect to etcd at {endpoint}: {_why(error)}") from error
        except _BROKEN_OFF as error:
            if refused := _tls_refusal(error):
                raise AccessDenied(f"no TLS with etcd at {endpoint}: {refused}") from error
            raise _NoAnswer(f"etcd at {endpoint} broke off: {_why(error)}") from error
        if response.code == 200:
            return response
        try:
            said = json.loads(await whole(response))
            raise Refusal(int(said["code"]), str(said.get("message") or said.get("error")))
        except (*_BROKEN_OFF, ValueError, KeyError, TypeError):
            raise _NoAnswer(
                f"what listens at {endpoint} answers {response.code}: is it etcd 3.4 or later?"
            ) from None


def _passed_on(result: Any, ended: "Deferred[None]") -> Any:
    """Say that it has ended, and leave the result to whom it belongs."""
    ended.callback(None)
    return result


def _why(error: Exception) -> str:
    """What is behind it, in a line."""
    reasons = getattr(error, "reasons", None)
    if reasons:
        return ", ".join(str(reason.value) or reason.type.__name__ for reason in reasons)
    return str(error) or type(error).__name__


def _tls_refusal(error: Exception) -> str:
    """What was wrong about a certificate, or nothing if that was not it."""
    for reason in getattr(error, "reasons", ()):
        if isinstance(reason, Failure) and reason.type.__module__.startswith(
            ("OpenSSL", "service_identity")
        ):
            return str(reason.value)
    return ""
