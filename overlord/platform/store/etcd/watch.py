"""
A watch of etcd: one stream from one endpoint, replaced by another one as soon as it is in doubt.

Each stream goes on where the one before ended, so replacing one costs a connection and loses nothing.
"""

from collections import deque
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from overlord.platform.store.address import Endpoint
from overlord.platform.store.contract import Iteration
from overlord.platform.store.errors import (
    HistoryLost,
    OutcomeUnknown,
    StoreClosed,
    StoreError,
    StoreUnavailable,
)
from overlord.platform.store.etcd.gateway import Gateway
from overlord.platform.store.etcd.liveness import Liveness, LivenessBounds
from overlord.platform.store.etcd.messages import (
    Json,
    cluster_of,
    event_of,
    range_under,
    revision_of,
)
from overlord.platform.store.etcd.stream import MessageStream
from overlord.platform.store.values import Changes, Event, Revision

MAX_WAITING = 1000
"""Events that wait to be taken; with more of them etcd is not read from."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
"""Seconds between two streams: doubled while none tells anything."""


@define(eq=False)
class EtcdWatch(Iteration):
    """Runs from its construction until it is closed, or until it cannot know what it missed."""

    prefix: bytes
    after: Revision
    """The revision of the last changes that were taken."""
    gateway: Gateway
    reactor: Any
    bounds: LivenessBounds
    forget: Any
    """Called with this watch when it has ended."""
    log = Logger()
    received: Revision = field(init=False)
    """Everything up to this revision has been received."""
    cluster: str = field(default="", init=False)
    _waiting: deque[Changes] = field(factory=deque, init=False)
    _torn: list[Event] = field(factory=list, init=False)
    """The last events of a message that etcd has cut, maybe within a revision."""
    _stream: MessageStream | None = field(default=None, init=False)
    _woken: Deferred[None] | None = field(default=None, init=False)
    _end: StoreError | None = field(default=None, init=False)
    _turn: int = field(default=0, init=False)
    _pause: float = field(default=FIRST_PAUSE, init=False)
    _running: Deferred[None] | None = field(default=None, init=False)

    def start(self, turn: int) -> None:
        """Begin, at this one of the endpoints."""
        self.received = self.after
        self._turn = turn
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._failed)

    async def next(self) -> Changes:
        while not self._waiting:
            if self._end is not None:
                raise self._end
            self._woken = Deferred()
            await self._woken
        changes = self._waiting.popleft()
        self.after = changes.revision
        if self._stream is not None and not self._is_full():
            self._stream.resume()
        return changes

    def close(self) -> None:
        self._waiting.clear()
        self._finish(StoreClosed("the watch is closed"))

    @property
    def is_paused(self) -> bool:
        """Whether it is we who do not read."""
        return self._stream is not None and self._stream.is_paused

    async def _run(self) -> None:
        while self._end is None:
            endpoints = self.gateway.endpoints
            endpoint = endpoints[self._turn % len(endpoints)]
            self._turn += 1
            before = self.received
            try:
                reason = await self._follow(endpoint)
            except HistoryLost as lost:
                self._finish(lost)
                return
            except StoreClosed as closed:
                self._finish(closed)
                return
            except (StoreUnavailable, OutcomeUnknown) as error:
                reason = str(error)
            if self._end is None:
                self.log.info("watch goes to the next endpoint: {reason}", reason=reason)
                self._pause = (
                    FIRST_PAUSE if self.received > before else min(self._pause * 2, LONGEST_PAUSE)
                )
                await deferLater(self.reactor, self._pause)

    async def _follow(self, endpoint: Endpoint) -> str:
        """Take what one endpoint tells, until it ends; gives the reason."""
        self._torn.clear()
        created: Deferred[None] = Deferred()

        def receive(message: Json) -> None:
            result = message.get("result", {})
            if not created.called and result.get("created"):
                stream.pause()
                created.callback(None)
            elif "error" in message:
                stream.stop(f"etcd at {endpoint} says: {message['error']}")
            elif result.get("canceled"):
                self._cancelled(stream, result, endpoint)
            else:
                self._take(result)
                if self._is_full():
                    stream.pause()

        stream = MessageStream(receive)
        request = {
            **range_under(self.prefix),
            "start_revision": str(self.received + 1),
            "fragment": True,
            "progress_notify": True,
        }
        response = await self.gateway.stream(
            endpoint, "watch", {"create_request": request}, self.bounds.silence
        )
        response.deliverBody(stream)
        self._stream = stream
        liveness: Deferred[str] | None = None
        try:
            await created.addTimeout(self.bounds.silence, self.reactor)
            await self._check_history()
            stream.resume()
            probe = Liveness(self, endpoint, self.gateway, self.reactor, self.bounds)
            liveness = Deferred.fromCoroutine(probe.doubt())
            liveness.addCallbacks(stream.stop, self._not_probed, callbackArgs=())
            return await stream.ended
        except TimeoutError as error:
            raise StoreUnavailable(f"etcd at {endpoint} begins no watch") from error
        finally:
            self._stream = None
            stream.stop("not wanted any more")
            if liveness is not None:
                liveness.cancel()

    async def _check_history(self) -> None:
        """
        Raise HistoryLost unless everything after `received` can still be had.

        etcd itself begins a watch at the revision up to which it has compacted, and may tell nothing
        of what was deleted then; and it waits for revisions that its data will reach some day.
        """
        asked = {**range_under(self.prefix), "revision": str(max(self.received, 1))}
        answer = await self.gateway.call("kv/range", {**asked, "limit": "1", "keys_only": True})
        cluster = cluster_of(answer)
        if self.cluster not in {"", cluster}:
            raise HistoryLost("this is another etcd cluster than before")
        self.cluster = cluster

    def _cancelled(self, stream: MessageStream, result: Json, endpoint: Endpoint) -> None:
        compacted = int(result.get("compact_revision", 0))
        if compacted:
            self._finish(
                HistoryLost(
                    f"the changes after revision {self.received} are gone, "
                    f"only those after {compacted} are kept"
                )
            )
        reason = result.get("cancel_reason", "no reason")
        stream.stop(f"etcd at {endpoint} ended the watch: {reason}")

    def _take(self, result: Json) -> None:
        events = [event_of(each) for each in result.get("events", ())]
        self._torn += [event for event in events if event.revision > self.received]
        if not events:
            if not self._torn:  # a notification of progress
                self.received = max(self.received, revision_of(result))
            return
        ready, self._torn = self._torn, []
        if result.get("fragment"):
            # What comes next may belong to the same revision as the last ones.
            last = ready[-1].revision if ready else self.received
            self._torn = [event for event in ready if event.revision == last]
            ready = [event for event in ready if event.revision < last]
        if ready:
            self.received = ready[-1].revision
            self._waiting.append(Changes(tuple(ready), self.received))
            self._wake()

    def _is_full(self) -> bool:
        return sum(len(changes.events) for changes in self._waiting) >= MAX_WAITING

    def _finish(self, end: StoreError) -> None:
        if self._end is None:
            self._end = end
            self.forget(self)
            if self._running is not None and self._stream is not None:
                self._stream.stop("the watch has ended")
            elif self._running is not None:
                self._running.cancel()
            self._wake()

    def _wake(self) -> None:
        woken, self._woken = self._woken, None
        if woken is not None and not woken.called:
            woken.callback(None)

    def _failed(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self.log.failure("a watch ended by a mistake of ours", failure)
            self._finish(HistoryLost("a mistake of ours, see the log"))

    def _not_probed(self, failure: Any) -> None:
        if not failure.check(CancelledError, StoreClosed):
            self.log.failure("a watch cannot be probed", failure)
