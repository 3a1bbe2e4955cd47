"""`twistd overlord-proxy`: what the command line says, and the service that comes of it."""

import gc
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.logger import Logger
from twisted.python import usage

from overlord import __version__
from overlord.config import (
    ClusterConfig,
    ProxyConfig,
    ProxyTable,
    TcpAddress,
    UnixAddress,
    described,
    stat_address,
)
from overlord.errors import ConfigError
from overlord.proxy.inherited import inherited_sockets
from overlord.taps import pages, trial
from overlord.taps.daemon import Daemon, keep_hangups, tell
from overlord.taps.files import Files, FileWatch, Reader
from overlord.taps.reload import Reload
from overlord.telemetry import logs
from overlord.telemetry.exposition import StatService, open_to_all
from overlord.telemetry.metrics import Measurement, Numbers
from overlord.telemetry.site import StatBounds

if TYPE_CHECKING:
    from overlord.proxy.service import ProxyService

log = Logger()

TITLE = "overlord-proxy"
"""Begins what we say on stderr."""

DEFAULT_LOG = "twistd.log"
"""Where a daemon logs that was not told where, as twistd has it."""

DEFAULT_PIDFILE = "twistd.pid"
"""Where twistd notes down its number when nobody says where."""

HELP = """\
Signals:
  SIGTERM, SIGINT, SIGQUIT  take no more clients, let replies that are owed go out, end with 0
  the same again            end at once
  SIGHUP                    read both files again; what is wrong there changes nothing
  SIGUSR1                   go on in a fresh log file

Exit codes:
  0    done
  1    cannot start or serve; one sentence on stderr for each reason
  2    wrong usage
  128  and the signal's number more: after a second signal

Files:
  FILE of --cluster  the clusters: addresses, servers, hashing, bounds (docs/config.md)
  FILE of --conf     the process: log, metrics, bounds of all clusters
  twistd.log         the log of a daemon that was not told where (--log, twistd's --logfile)
  twistd.pid         the number of the process (twistd's --pidfile; --pidfile= for none)

Environment:
  LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES  sockets that systemd has opened for clusters
  NOTIFY_SOCKET                           where systemd is told that clients are served

Examples:
  twistd --nodaemon overlord-proxy --cluster clusters.toml
  twistd --nodaemon overlord-proxy --cluster clusters.toml --conf proxy.toml --test
  twistd --pidfile=/run/overlord.pid --logfile=/var/log/overlord/proxy.log \\
      overlord-proxy --cluster /etc/overlord/clusters.toml --stat 127.0.0.1:2110
"""
"""What --help says below the options."""

LATER = {
    "slowlog": "there is no slow log yet",
    "slower-than": "there is no slow log yet",
    "slower-max-bytes": "there is no slow log yet",
    "slower-backup-count": "there is no slow log yet",
}
"""Flags that users bring along and that cannot be served yet, with why."""


def makeService(options: "Options") -> Daemon:
    """The proxy with what stands around it. Opens nothing: twistd may still fork."""
    from twisted.internet import reactor  # not before twistd chose one

    main = serve(options.clusters, options.proxy, reactor)
    reload = Reload(
        read=options.reader.absolute().read,
        apply=main.apply,
        served=options.files,
        reactor=reactor,
        watch=options.watch,
        interval=options.proxy.proxy.reload_interval,
    )
    daemon = Daemon(
        title=TITLE,
        services=[main, reload],
        reactor=reactor,
        twistd=options.twistd,
        observer=options.observer(),
        warnings=options.warnings,
        started=lambda: announce(main, len(options.clusters)),
        hangup=lambda: reload.ask("got SIGHUP"),
    )
    reload.began, reload.ended = daemon.notifier.reloading, daemon.notifier.ready
    if options.stat is not None:
        table = options.proxy.proxy
        numbers = Numbers(
            lambda: chain(
                version(), main.measurements(), reload.measurements(), stat.measurements()
            )
        )
        stat = StatService(
            options.stat,
            numbers if table.use_metrics else None,
            reactor,
            stat_bounds(table),
            pages.told_by(main, reload.remark, has_numbers=table.use_metrics),
        )
        # First to start and last to stop: it tells load balancers that we are leaving.
        daemon.services = [stat, main, reload]
        daemon.leaving = stat.leave
    return daemon


def stat_bounds(table: ProxyTable) -> StatBounds:
    """What the configuration lets clients of `stat` cost."""
    return StatBounds(
        timeout=table.stat_timeout,
        max_connections=table.stat_max_connections,
        max_request=table.stat_max_request,
        max_body=table.stat_max_body,
    )


def announce(main: "ProxyService", clusters: int) -> None:
    """Log what was started, and what an operator would want to change about it."""
    log.info(
        "overlord {version} serves {clusters} {what} ({speed}, {transport} transport)",
        version=__version__,
        clusters=clusters,
        what="cluster" if clusters == 1 else "clusters",
        speed="compiled" if main.compiled else "not compiled",
        transport=main.transport_name,
    )
    if not main.compiled:
        log.warn(
            "nothing is compiled, so each request costs many times the CPU time"
            " (install a C compiler and the Python headers, then reinstall overlord)"
        )


def serve(clusters: Sequence[ClusterConfig], proxy: ProxyConfig, reactor: Any) -> "ProxyService":
    """The service that does the work; tests put another one in its place."""
    from overlord.proxy.service import ProxyService  # --help needs none of it

    # What is loaded by now stays for good: the collector need not look through it each time, which would take
    # a third of its longest pauses.
    gc.collect()
    gc.freeze()
    return ProxyService(clusters, proxy, reactor)


def version() -> Iterable[Measurement]:
    """Which Overlord this is, as a metric."""
    what, text = {"version": __version__}, "Which version runs here."
    yield Measurement("overlord_proxy_version", what, 1, "gauge", text)


def listeners(clusters: Sequence[ClusterConfig], stat: TcpAddress | None) -> list[trial.Wanted]:
    """Every address that a start would listen on, and that nobody has opened for us."""
    wanted = []
    for cluster in clusters:
        if inherited_sockets().find(cluster.name, cluster.listen) is not None:
            continue
        at, whose = cluster.listen, f"cluster {cluster.name!r}"
        host, port = (at.path, None) if isinstance(at, UnixAddress) else (at.host, at.port)
        wanted.append(trial.Wanted(host, port, whose))
    if stat is not None:
        wanted.append(trial.Wanted(stat.host, stat.port, "'stat'"))
    return wanted


def check(cluster: str, conf: str | None) -> int:
    """Say what a start with these files would serve; return the exit code."""
    options = Options()
    options.twistd = {"nodaemon": True}  # nobody is about to write a daemon's log
    try:
        options.parseOptions(["--test", "--cluster", cluster, *(["--conf", conf] if conf else [])])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


class Options(usage.Options):
    """
    The command line of `twistd overlord-proxy`.

    After parsing, `clusters`, `proxy` and `warnings` hold the configuration, flags included.
    """

    synopsis = "--cluster FILE [options]"
    longdesc = (
        "Serves the clusters of FILE: makes many Redis servers, or memcacheds, look like one. Keys are hashed to servers, "
        "commands with many keys are split and joined, clients speak RESP2 or RESP3."
    )
    optParameters = [
        ["cluster", "c", None, "TOML file with the [[clusters]] to serve (required)"],
        ["conf", None, None, "TOML file of the proxy itself; without it the defaults hold"],
        [
            "stat",
            None,
            None,
            "host:port for /metrics, /readyz and more; 'port' alone is on loopback",
        ],
        ["log", None, None, "write the log to this file (SIGUSR1 begins a fresh one)"],
        ["log-vl", None, None, "1 or more: log what is for developers, too"],
        ["slowlog", None, None, "comes with a later version"],
        ["slower-than", None, None, "comes with a later version"],
        ["slower-max-bytes", None, None, "comes with a later version"],
        ["slower-backup-count", None, None, "comes with a later version"],
    ]
    optFlags = [
        [
            "test",
            "t",
            "check the configuration and the addresses, say what would be served, and end",
        ],
        ["metrics", None, "serve /metrics even where the configuration says use_metrics = false"],
        ["std", None, "write the log to standard output (also beside a file)"],
        ["debug", None, "log what is for developers, too, and to standard output"],
        ["reload", None, "reload whenever the file of --cluster changes, not only for SIGHUP"],
    ]
    compData = usage.Completions(
        optActions={name: usage.CompleteFiles("*.toml") for name in ("cluster", "conf")}
    )

    reader: Reader
    files: Files
    watch: FileWatch | None = None
    clusters: tuple[ClusterConfig, ...] = ()
    proxy: ProxyConfig
    stat: TcpAddress | None = None
    warnings: tuple[str, ...] = ()
    twistd: Mapping[str, Any]
    """The options of twistd itself."""

    def __init__(self) -> None:
        super().__init__()
        self.twistd = {}

    def getUsage(self, width: int | None = None) -> str:
        """All of --help: the options, and what else there is to know."""
        return f"{super().getUsage(width)}\n{HELP}"

    def opt_version(self) -> NoReturn:
        """Print the version and end."""
        say(f"overlord {__version__}")
        raise SystemExit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse; for wrong usage end with exit code 2, where twistd by itself would end with 1."""
        # twistd makes itself known only now.
        self.twistd = self.parent or self.twistd
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            tell(TITLE, f"{error} (see twistd overlord-proxy --help)")
            raise SystemExit(2) from None

    def parseArgs(self, *args: str) -> None:
        if args:
            raise usage.UsageError(f"there is no argument {args[0]!r}, only options")

    def postOptions(self) -> None:
        for name, reason in LATER.items():
            if self[name]:
                raise usage.UsageError(f"--{name} comes with a later version: {reason}")
        if not self["cluster"]:
            raise usage.UsageError("--cluster is missing: which TOML file has the clusters?")
        flags = self._flags()
        if self.parent is not None:
            keep_hangups()
        try:
            self._load(flags)
        except ConfigError as error:
            refuse(error.problems)
        wrong = trial.problems(listeners(self.clusters, self.stat)) + self._unwritable_files()
        if self["test"]:
            self._report(wrong)
        if wrong:
            refuse(wrong)

    def _flags(self) -> dict[str, Any]:
        """The keys of the proxy's configuration that flags override."""
        if self["std"] and not self._is_attached():
            raise usage.UsageError(
                "--std needs twistd's --nodaemon: a daemon has no standard output"
            )
        level = self["log-vl"]
        if level is not None and not re.fullmatch("[0-9]{1,2}|100", level):
            raise usage.UsageError(f"--log-vl must be a number from 0 to 100, not {level!r}")
        if self["stat"] is not None:
            try:
                stat_address(self["stat"])
            except ValueError as error:
                raise usage.UsageError(f"--stat {error}") from None
        said = {
            "stat": self["stat"],
            "log": self["log"],
            "log_vl": None if level is None else int(level),
            "stdout": True if self["std"] else None,
            "debug": True if self["debug"] else None,
        }
        return {key: value for key, value in said.items() if value is not None}

    def _load(self, flags: dict[str, Any]) -> None:
        """Read both files. Raises ConfigError with the mistakes of both."""
        self.reader = Reader(self["cluster"], self["conf"], flags, bool(self["metrics"]))
        if self["reload"]:
            self.watch = FileWatch(self.reader.absolute().cluster)  # before it is read
        self.files = self.reader.read()
        self.clusters, self.proxy = self.files.clusters, self.files.proxy
        self.stat = self.proxy.stat_address
        self.warnings = (*self.files.warnings, *inherited_sockets().warnings(self.clusters))

    def _is_attached(self) -> bool:
        """Whether the process will stay at its terminal."""
        return bool(self.twistd.get("nodaemon"))

    def log_path(self) -> Path | None:
        """The log file's absolute path, or None if there is none."""
        path = self.proxy.log or self.twistd.get("logfile") or ""
        if path in ("", "-"):
            path = "" if self._is_attached() else DEFAULT_LOG
        return Path(path).absolute() if path else None

    def observer(self) -> logs.Observer:
        """Where the log goes, and how it looks."""
        sinks: list[logs.Sink] = []
        path = self.log_path()
        if path is not None:
            sinks.append(logs.File(str(path)))
        is_wanted = self.proxy.stdout or self.proxy.debug or self.twistd.get("logfile") == "-"
        if self._is_attached() and (is_wanted or not sinks):
            sinks.append(logs.Stream(sys.stdout.buffer))
        is_verbose = self.proxy.debug or self.proxy.log_vl > 0
        return logs.observer(self.proxy.proxy.log_format, tuple(sinks), is_verbose=is_verbose)

    def _unwritable_files(self) -> list[str]:
        """A sentence for the log, and for the pidfile, if it cannot be written."""
        wanted = {"log": self.log_path(), "pidfile": self._pidfile()}
        return [
            f"cannot write the {what} {path}: {why}"
            for what, path in wanted.items()
            if path is not None and (why := _why_unwritable(path))
        ]

    def _pidfile(self) -> Path | None:
        """Where twistd would write its pidfile, as far as that is to be looked at."""
        name = self.twistd.get("pidfile")
        # Whoever tests in some folder does not mean to start there.
        if not name or self.twistd.get("chroot") or (self["test"] and name == DEFAULT_PIDFILE):
            return None
        return Path(self.twistd.get("rundir") or ".").absolute() / str(name)

    def _report(self, wrong: list[str]) -> NoReturn:
        """Say what would be served, and what stands in the way."""
        for warning in self.warnings:
            tell(TITLE, f"warning: {warning}")
        for cluster in self.clusters:
            say(described(cluster))
        if self.stat is not None:
            if self.stat.is_open:
                tell(TITLE, f"warning: {open_to_all(self.stat)}")
            has_numbers = self.proxy.proxy.use_metrics
            what = "numbers: http://{}/metrics" if has_numbers else "health: http://{}/healthz"
            say(what.format(self.stat))
        if wrong:
            refuse(wrong)
        if self.clusters:
            say("all of this can be served")
        raise SystemExit(0)


def _why_unwritable(path: Path) -> str:
    """Why this user cannot write a file there; empty if nothing is in the way."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    if path.is_dir():
        return "it is a folder"
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        return "this user may not"
    return ""


def say(text: str) -> None:
    """Answer on the terminal."""
    sys.stdout.write(f"{text}\n")


def refuse(problems: Sequence[str]) -> NoReturn:
    """End with exit code 1, and a line for each thing that has to change."""
    for problem in problems:
        tell(TITLE, problem)
    raise SystemExit(1)
