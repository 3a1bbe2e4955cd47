"""
Starts what is measured: Redis servers, memcached, nutcracker, Overlord; and ends all of it,
whatever happens.

Three things together see to the end. `Bed` is a context manager. Each program runs in a process
group of its own, so that it gets no Ctrl-C of the terminal and can be ended with its children.
And the kernel sends it SIGTERM when we die without a chance to clean up.
"""

import ctypes
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from attrs import define, field, frozen

from bench.dialects import CLEAR, CLUSTER, MEMCACHED, REDIS, Dialect, fill
from bench.errors import BenchError
from bench.wire import Connection

START_TIMEOUT = 30.0
"""Seconds in which a program has to answer after its start."""
STOP_TIMEOUT = 10.0
"""Seconds between SIGTERM and SIGKILL."""
OPEN_FILES = 20_000
"""Descriptors that 10,000 clients need at a proxy, with room to spare."""
SLOTS = 16_384
HIGHEST = 65_535
HIGHEST_WITH_BUS = HIGHEST - 10_000
"""A node of a Redis Cluster listens at a second port, 10,000 above its first."""
PROBES = 1_000
"""Keys that are stored through a proxy before it is measured: enough to reach 64 nodes."""
BACKLOG = 4096
"""twemproxy's own 512 would drop connections when 2,000 clients come at once."""

DIRECT = "direct"
NUTCRACKER = "nutcracker"
NUTCRACKER_V4 = "nutcracker-v4"
"""The same with `-v 4`. As it is installed (5) it asks for its peer's address with each request."""
OVERLORD = "overlord"
SILENT = "overlord-silent"
"""Overlord with `use_metrics = false`, to see what metrics cost."""
TWIN = "twin"
"""A second nutcracker in Overlord's place: its ratios show how large the noise is."""
CONTESTANTS = (DIRECT, NUTCRACKER, NUTCRACKER_V4, OVERLORD, SILENT, TWIN)

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


@frozen
class Server:
    """A running program that answers requests."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid


@frozen
class Contestant:
    """Where a load goes. `direct` is a node itself, so there is no proxy to measure."""

    name: str
    server: Server

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def proxy_pid(self) -> int | None:
        """The process whose processor time and memory are ours to measure."""
        return None if self.name == DIRECT else self.server.pid


@define(eq=False)
class Bed:
    """The nodes and the proxies before them. Starts them when they are first asked for."""

    overlord_options: Sequence[str] = ()
    """More arguments for `twistd overlord-proxy`, such as `--conf FILE`."""
    _directory: Path = field(init=False)
    _nodes: dict[str, list[Server]] = field(factory=dict, init=False)
    """Running nodes of each kind."""
    _contestants: dict[tuple[str, int, str], Contestant] = field(factory=dict, init=False)
    _running: list[Server] = field(factory=list, init=False)

    def __enter__(self) -> Self:
        self._directory = Path(tempfile.mkdtemp(prefix="overlord-bench-"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._stop(list(self._running))
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)

    def contestant(self, name: str, nodes: int, dialect: Dialect) -> Contestant:
        """The contestant of that name before that many nodes; the same one each time."""
        key = (name, nodes, dialect.cache_type)
        if key not in self._contestants:
            self._contestants[key] = self.fresh_contestant(name, nodes, dialect)
        return self._contestants[key]

    def fresh_contestant(self, name: str, nodes: int, dialect: Dialect) -> Contestant:
        """A new process that nobody has used before; end it with `retire`."""
        servers = self._first_nodes(nodes, dialect.nodes)
        if name == DIRECT:
            return Contestant(name, servers[0])
        label = f"{name}-{dialect.cache_type}-{nodes}"
        if name in (OVERLORD, SILENT):
            server = self._start_overlord(label, servers, dialect, is_silent=name == SILENT)
        else:
            options = ["-v", "4"] if name == NUTCRACKER_V4 else []
            server = self._start_nutcracker(label, servers, dialect, options)
        self._wait_until(server, lambda port: fill(port, PROBES, 1, dialect))
        return Contestant(name, server)

    def retire(self, contestant: Contestant) -> None:
        """End a contestant's proxy."""
        if contestant.proxy_pid is not None:
            self._stop([contestant.server])

    def retire_all(self) -> None:
        """End every proxy, so that the next scenario starts with new ones; the nodes stay."""
        retired, self._contestants = self._contestants, {}
        self._stop([c.server for c in retired.values() if c.proxy_pid is not None])

    def empty_nodes(self) -> None:
        """Delete every key."""
        for kind, nodes in self._nodes.items():
            for node in nodes:
                clear(node.port, kind)

    def _first_nodes(self, count: int, kind: str) -> list[Server]:
        nodes = self._nodes.setdefault(kind, [])
        missing = count - len(nodes)
        if missing > 0:
            ports = free_ports(missing, HIGHEST_WITH_BUS if kind == CLUSTER else HIGHEST)
            started = [self._start_node(port, kind) for port in ports]
            for node in started:
                self._wait_until(node, lambda port: clear(port, kind))
            nodes += started
            if kind == CLUSTER:
                share_slots([node.port for node in nodes])
        return nodes[:count]

    def _start_node(self, port: int, kind: str) -> Server:
        if kind == MEMCACHED:
            settings = f"-l 127.0.0.1 -p {port} -U 0 -t 1 -m 256 -u nobody"
            return self._start(f"node-{port}", port, [program("memcached"), *settings.split()])
        settings = f"--bind 127.0.0.1 --port {port} --appendonly no --loglevel warning"
        if kind == CLUSTER:
            settings += f" --cluster-enabled yes --cluster-config-file nodes-{port}.conf"
        command = [program("redis-server"), *settings.split(), "--save", ""]
        return self._start(f"node-{port}", port, [*command, "--dir", str(self._directory)])

    def _start_nutcracker(
        self, name: str, nodes: Sequence[Server], dialect: Dialect, options: Sequence[str]
    ) -> Server:
        port, stats_port = free_ports(2)
        config = self._directory / f"{name}-{port}.yml"
        config.write_text(nutcracker_config(port, [node.port for node in nodes], dialect))
        command = [program("nutcracker"), "-c", str(config), "-a", "127.0.0.1"]
        return self._start(name, port, [*command, "-s", str(stats_port), *options])

    def _start_overlord(
        self, name: str, nodes: Sequence[Server], dialect: Dialect, *, is_silent: bool
    ) -> Server:
        [port] = free_ports(1)
        config = self._directory / f"{name}-{port}.toml"
        config.write_text(overlord_config(port, [node.port for node in nodes], dialect))
        command = [str(twistd()), "--nodaemon", "--pidfile=", "overlord-proxy"]
        conf = config.with_suffix(".conf.toml")
        # Idle clients, whose memory is measured, ask for nothing.
        silent = "use_metrics = false\n" if is_silent else ""
        conf.write_text(f"[proxy]\nfirst_request_timeout = 0\n{silent}")
        options = () if is_silent else self.overlord_options
        arguments = ["--cluster", str(config), "--stat", "0", "--conf", str(conf), *options]
        return self._start(name, port, [*command, *arguments])

    def _start(self, name: str, port: int, command: Sequence[str]) -> Server:
        log = self._directory / f"{name}-{port}.log"
        with log.open("wb") as output:
            # Not in a checkout: what is measured is the Overlord that is installed.
            process = spawn(command, stdout=output, stderr=output, directory=self._directory)
        server = Server(name, port, process, log)
        self._running.append(server)
        return server

    def _wait_until(self, server: Server, ask: Callable[[int], None]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            if (code := server.process.poll()) is not None:
                raise BenchError(f"{server.name} ended with exit code {code}{last_words(server)}")
            try:
                ask(server.port)
            except (OSError, BenchError) as error:
                problem = str(error)
            else:
                return
            if time.monotonic() > deadline:
                waited = f"{server.name} did not serve within {START_TIMEOUT:.0f} s"
                raise BenchError(f"{waited}: {problem}{last_words(server)}")
            time.sleep(0.02)

    def _stop(self, servers: Sequence[Server]) -> None:
        for server in servers:
            _signal_group(server, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT
        for server in servers:
            with suppress(subprocess.TimeoutExpired):
                server.process.wait(max(0.0, deadline - time.monotonic()))
            _signal_group(server, signal.SIGKILL)
            server.process.wait()
            self._running.remove(server)


def nutcracker_config(port: int, nodes: Sequence[int], dialect: Dialect) -> str:
    """A pool for nutcracker: the same ring, hash and connections as `overlord_config`."""
    servers = "".join(f"    - 127.0.0.1:{node}:1\n" for node in nodes)
    return f"""bench:
  listen: 127.0.0.1:{port}
  hash: fnv1a_64
  distribution: ketama
  redis: {"true" if dialect.nodes == REDIS else "false"}
  preconnect: true
  auto_eject_hosts: false
  server_connections: 1
  backlog: {BACKLOG}
  servers:
{servers}"""


def overlord_config(port: int, nodes: Sequence[int], dialect: Dialect) -> str:
    """A cluster file for Overlord: the same ring, hash and connections as `nutcracker_config`."""
    servers = ", ".join(f'"127.0.0.1:{node}:1"' for node in nodes)
    return f"""[[clusters]]
name = "bench"
cache_type = "{dialect.cache_type}"
listen_addr = "127.0.0.1:{port}"
hash_method = "fnv1a_64"
hash_distribution = "ketama"
hash_tag = ""
node_connections = 1
servers = [{servers}]
"""


def spawn(
    command: Sequence[str],
    *,
    stdout: int | IO[bytes],
    stderr: int | IO[bytes],
    directory: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program that does not outlive us, in a process group of its own."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        cwd=directory,
        process_group=0,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - we have no threads
    )


def program(name: str) -> str:
    """Where a program of the system is."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        packages = {"redis-benchmark": "redis-tools"}
        package = packages.get(name, name)
        raise BenchError(f"there is no {name} on the PATH (apt-get install {package})")
    return path


def twistd() -> Path:
    """The `twistd` of the Python that runs us, and so of the Overlord that is installed there."""
    path = Path(sys.executable).with_name("twistd")
    if not path.exists():
        raise BenchError(
            f"there is no {path}: install Overlord for {sys.executable} (make install)"
        )
    return path


def free_ports(count: int, highest: int = HIGHEST) -> list[int]:
    """Ports on the loopback interface that nobody has; all different."""
    sockets: list[socket.socket] = []
    found: list[int] = []
    try:
        while len(found) < count:
            sockets.append(socket.socket())
            sockets[-1].bind(("127.0.0.1", 0))
            port = sockets[-1].getsockname()[1]
            if port <= highest:
                found.append(port)
        return found
    finally:
        for each in sockets:
            each.close()


def allow_many_files() -> None:
    """Raise the limit of open files, which every program we start inherits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= OPEN_FILES:
        return
    hard = OPEN_FILES if hard != resource.RLIM_INFINITY and hard < OPEN_FILES else hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))
    except (ValueError, OSError) as error:
        raise BenchError(
            f"10,000 clients need {OPEN_FILES} open files, and only {soft} are allowed: {error} "
            f"(as root: prlimit --pid $$ --nofile={OPEN_FILES}:{OPEN_FILES})"
        ) from error


def clear(port: int, kind: str) -> None:
    """Delete all keys of a node."""
    with Connection(port) as connection:
        connection.exchange(*CLEAR[kind])


def share_slots(ports: Sequence[int]) -> None:
    """Make nodes that have no slots one Redis Cluster."""
    bounds = [SLOTS * number // len(ports) for number in range(len(ports) + 1)]
    for number, port in enumerate(ports):
        with Connection(port) as connection:
            slots = b"%d" % bounds[number], b"%d" % (bounds[number + 1] - 1)
            connection.call(b"CLUSTER", b"ADDSLOTSRANGE", *slots)
            connection.call(b"CLUSTER", b"MEET", b"127.0.0.1", b"%d" % ports[0])


def last_words(server: Server) -> str:
    """The end of a program's log, for an error message."""
    lines = server.log.read_text(errors="replace").strip().splitlines()[-5:]
    return "".join(f"\n    {line}" for line in lines)


def _signal_group(server: Server, number: signal.Signals) -> None:
    # A group lives on while it has members, so this also ends workers that lost their supervisor.
    with suppress(ProcessLookupError):
        os.killpg(server.pid, number)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
