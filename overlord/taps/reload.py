"""Reload: when the files are read again, and what is said about it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, Protocol as Contract

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from overlord.config import ClusterConfig, Difference
from overlord.errors import ConfigError, OverlordError
from overlord.net.thread import in_thread
from overlord.taps.files import Files, FileWatch, differing_keys
from overlord.telemetry.metrics import Measurement

RESULTS = ("applied", "refused", "unchanged")

NO_CLUSTERS = "the cluster file has no [[clusters]]: stop the proxy if nothing is to be served"
"""Somebody is rather about to write the file, or has lost it, than wants all clients thrown out."""


class Change(Contract):
    """What was changed."""

    @property
    def difference(self) -> Difference:
        """Which clusters it concerns."""

    def sentences(self) -> Iterator[str]:
        """The same in words."""


Apply = Callable[[Sequence[ClusterConfig]], Coroutine[Deferred[Any], Any, Change]]


@define(eq=False, slots=False)
class Reload(Service):
    """
    Reads the files again when it is asked to, or when the cluster file has changed, and has them served.

    One reload at a time: who asks during one gets one more, however many ask. Files with mistakes change
    nothing, which the log, the metrics and `remark` say; so does a file without a cluster.
    """

    read: Callable[[], Files]
    apply: Apply
    served: Files
    """What the start has read."""
    reactor: Any
    watch: FileWatch | None = None
    interval: float = 1.0
    """Seconds between two looks at the watched file."""
    began: Callable[[], None] = lambda: None
    """Called when a reload begins."""
    ended: Callable[[], None] = lambda: None
    """Called when it has ended, however it did."""
    problems: tuple[str, ...] = field(default=(), init=False)
    """Why the last reload was refused; empty when it was not."""
    results: Counter[str] = field(factory=Counter, init=False)
    served_since: float = field(factory=time.time, init=False)
    """When what is served was read, in seconds since 1970."""
    log = Logger()
    _is_asked: bool = field(default=False, init=False)
    _under_way: Deferred[None] | None = field(default=None, init=False)
    _looks: LoopingCall | None = field(default=None, init=False)

    def startService(self) -> None:
        super().startService()
        if self.watch is not None:
            self._looks = LoopingCall(self._look)
            self._looks.clock = self.reactor
            self._looks.start(self.interval, now=False)

    def stopService(self) -> Deferred[None]:
        """End; a reload that is under way is waited for."""
        super().stopService()
        if self._looks is not None:
            self._looks.stop()
            self._looks = None
        return Deferred.fromCoroutine(self._finish())

    async def _finish(self) -> None:
        if self._under_way is not None:
            await self._under_way

    def _look(self) -> None:
        if self.watch is not None and self.watch.has_changed():
            self.ask("the cluster file has changed")

    def ask(self, why: str) -> None:
        """Reload, after the one that is under way if there is one."""
        if not self.running:
            self.log.info("{why}: not reloaded, the proxy does not run", why=why)
            return
        self.log.info("{why}: reloading", why=why)
        self._is_asked = True
        if self._under_way is None:
            self._under_way = Deferred.fromCoroutine(self._reload_until_done())
            self._under_way.addErrback(lambda failure: self.log.failure("cannot reload", failure))
            self._under_way.addCallback(self._done)

    async def _reload_until_done(self) -> None:
        self.began()
        while self._is_asked and self.running:
            self._is_asked = False
            try:
                await self._reload()
            except Exception:  # noqa: BLE001  # our mistake; what is served has to go on
                self.log.failure("the reload has failed")
                self._refuse(["the proxy has made a mistake, which its log shows"])
        if self.running:
            self.ended()

    def _done(self, _: object) -> None:
        self._under_way = None

    async def _reload(self) -> None:
        began = self.reactor.seconds()
        try:
            files = await in_thread(self.reactor, self.read)
            if self.served.clusters and not files.clusters:
                raise ConfigError([NO_CLUSTERS])  # noqa: TRY301  # told as any mistake is
            change = await self.apply(files.clusters)
        except ConfigError as error:
            self._refuse(error.problems)
        except OverlordError as error:
            self._refuse([str(error)])
        else:
            self._tell(files, change, self.reactor.seconds() - began)

    def _refuse(self, problems: Sequence[str]) -> None:
        self.results["refused"] += 1
        self.problems = tuple(problems)
        for problem in problems:
            self.log.error("reload refused, nothing has changed: {problem}", problem=problem)

    def _tell(self, files: Files, change: Change, seconds: float) -> None:
        found = change.difference
        self.problems = ()
        for warning in files.warnings:
            if warning not in self.served.warnings:
                self.log.warn("{warning}", warning=warning)
        if keys := differing_keys(self.served.proxy, files.proxy):
            self.log.warn("these keys change with a restart only: {keys}", keys=", ".join(keys))
        self.served = Files(files.clusters, self.served.proxy, files.warnings)
        if found.is_nothing:
            self.results["unchanged"] += 1
            self.log.info("reloaded: the clusters are as they were")
            return
        self.results["applied"] += 1
        self.served_since = time.time()
        for sentence in change.sentences():
            self.log.info("reload: {sentence}", sentence=sentence)
        self.log.info(
            "reloaded in {seconds:.3f} s: clusters that came: {came}, are gone: {gone},"
            " have changed: {changed}, are as they were: {same}",
            seconds=seconds,
            came=len(found.came),
            gone=len(found.gone),
            changed=len(found.changed),
            same=found.same,
        )

    def remark(self) -> str:
        """A line for whoever asks whether all is well; empty when it is."""
        if not self.problems:
            return ""
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        return f"reload refused: {self.problems[0]}{more}"

    def measurements(self) -> Iterable[Measurement]:
        """How reloads ended, and whether the files are what is served."""
        for result in RESULTS:
            yield Measurement(
                "overlord_proxy_reloads",
                {"result": result},
                self.results[result],
                "counter",
                "Reloads by how they ended.",
            )
        yield Measurement(
            "overlord_proxy_config_ok",
            {},
            not self.problems,
            "gauge",
            "1 while the configuration that was read last is served, 0 when it was refused.",
        )
        yield Measurement(
            "overlord_proxy_config_time_seconds",
            {},
            self.served_since,
            "gauge",
            "When the configuration that is served was read, in seconds since 1970.",
        )
