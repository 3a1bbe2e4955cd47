"""Under systemd: sockets that it has opened, what it is told, and the units in `conf/`."""

import configparser
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from integration.client import Client, Status, encode
from integration.programs import ROOT, OverlordProxy, RedisServer, free_port, wait_for

from overlord.config import load_proxy

CONF = ROOT / "conf"
PONG = Status(b"PONG")


class UnitOfProxy(OverlordProxy):
    """The proxy as systemd starts it, with the sockets of its .socket unit, each with a name."""

    def __init__(
        self, servers: Sequence, sockets: Mapping[str, socket.socket], **more: object
    ) -> None:
        super().__init__(servers, **more)
        self.sockets = sockets
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(self.folder / "notify"))
        self.notify.settimeout(10)

    def descriptors_to_pass(self) -> Sequence[int]:
        return [each.fileno() for each in self.sockets.values()]

    def command(self) -> Sequence[str]:
        passed = ",".join(f"{each.fileno()}={name}" for name, each in self.sockets.items())
        launcher = str(Path(__file__).with_name("standin_systemd.py"))
        return [sys.executable, launcher, passed, *super().command()]

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "NOTIFY_SOCKET": self.notify.getsockname()}

    def is_ready(self) -> bool:
        """The port accepts before the proxy runs; so we wait for what systemd waits for."""
        return self.said() == "READY=1"

    def said(self) -> str:
        """The next message to systemd."""
        return self.notify.recv(1000).decode()

    def dispose(self) -> None:
        super().dispose()
        self.notify.close()


@pytest.fixture
def start_unit() -> Iterator[Callable[..., UnitOfProxy]]:
    with ExitStack() as stack:

        def start(*arguments: object, **settings: object) -> UnitOfProxy:
            unit = UnitOfProxy(*arguments, **settings)  # type: ignore[arg-type]
            stack.callback(unit.dispose)
            return unit.start()

        yield start


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    """A socket that systemd has opened."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def place_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"


def test_who_connects_while_the_proxy_restarts_is_served(
    start_unit: Callable[..., UnitOfProxy], servers: list[RedisServer], tcp: socket.socket
) -> None:
    """The socket is systemd's: whether the proxy stops in order or is killed, nobody is refused."""
    unit = start_unit(
        [servers[0].address],
        {"overlord-proxy.socket": tcp},
        listen_addr=place_of(tcp),
        transport="twisted",
    )
    where = tcp.getsockname()
    with Client(where) as client:
        assert client.call("SET", "unit", "1") == Status(b"OK")

    for end in (unit.stop, unit.kill):
        end()
        with Client(where, timeout=20) as client:
            client.send(encode("GET", "unit"))
            while unit.notify in _readable(unit.notify):
                unit.said()  # of the life before
            unit.start()
            assert client.read() == b"1"

    assert f"cluster t listens on {place_of(tcp)} (opened by systemd), nodes: 1" in unit.log()


def _readable(receiver: socket.socket) -> list[socket.socket]:
    return select.select([receiver], [], [], 0)[0]


def test_a_cluster_takes_the_socket_with_its_name(
    start_unit: Callable[..., UnitOfProxy], servers: list[RedisServer], tcp: socket.socket
) -> None:
    """`FileDescriptorName=t` is for the cluster "t", whatever its address; the other one is warned about."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        unit = start_unit([servers[0].address], {"t": tcp, "old": other})

        with Client(tcp.getsockname()) as client:
            assert client.call("PING") == PONG
        assert f"systemd listens on {place_of(other)} ('old') for us, and no cluster" in unit.log()
        with pytest.raises(ConnectionRefusedError):
            Client(unit.address)


def test_a_unix_socket_of_systemd_outlives_the_proxy(
    start_unit: Callable[..., UnitOfProxy], servers: list[RedisServer], tmp_path: Path
) -> None:
    """Its file and its mode are systemd's."""
    path = tmp_path / "users.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o660)
        listener.listen()
        unit = start_unit(
            [servers[0].address],
            {"overlord-proxy.socket": listener},
            listen_proto="unix",
            listen_addr=str(path),
        )
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            assert client.recv(100) == b"+PONG\r\n"

        assert unit.stop() == 0

        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_systemd_is_told_what_happens(
    start_unit: Callable[..., UnitOfProxy], servers: list[RedisServer], tcp: socket.socket
) -> None:
    """READY once clients are served (the fixture has waited for that), STOPPING at the end."""
    unit = start_unit([servers[0].address], {"x": tcp}, listen_addr=place_of(tcp))

    unit.stop()

    assert unit.said() == "STOPPING=1"


def test_a_reload_is_told_and_leaves_and_finds_the_socket_again(
    start_unit: Callable[..., UnitOfProxy], servers: list[RedisServer], tcp: socket.socket
) -> None:
    """A cluster moves to an address of its own and comes back; in between, clients of systemd's wait."""
    unit = start_unit(
        [servers[0].address], {"overlord-proxy.socket": tcp}, listen_addr=place_of(tcp)
    )

    def reload_with(listen_addr: str) -> list[str]:
        unit.settings["listen_addr"] = listen_addr
        unit.command()  # writes the files
        os.kill(unit.pid, signal.SIGHUP)
        return [unit.said().partition("\n")[0] for _ in range(2)]

    assert reload_with(f"127.0.0.1:{unit.port}") == ["RELOADING=1", "READY=1"]
    with Client(unit.address) as client:
        assert client.call("PING") == PONG
    with Client(tcp.getsockname(), timeout=10) as waiting:
        waiting.send(encode("PING"))
        assert waiting.silent()
        assert reload_with(place_of(tcp)) == ["RELOADING=1", "READY=1"]
        assert waiting.read() == PONG

    with pytest.raises(ConnectionRefusedError):
        Client(unit.address)


# The units.


def unit_file(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(CONF / name)
    return parser


@pytest.fixture
def installed(tmp_path: Path) -> list[str]:
    """Both units, with the twistd of this environment for the one of an installation."""
    twistd = str(Path(sys.executable).parent / "twistd")
    for name in ("overlord-proxy.service", "overlord-proxy.socket"):
        text = (CONF / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/overlord/bin/twistd", twistd))
    return [str(path) for path in tmp_path.glob("overlord-proxy.*")]


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here"
)


@needs_systemd
def test_systemd_reads_the_units_without_a_complaint(installed: list[str]) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *installed],
        capture_output=True,
        text=True,
        check=False,
    )

    complaints = [line for line in done.stderr.splitlines() if "overlord" in line]
    assert (done.returncode, complaints) == (0, [])


@needs_systemd
def test_the_service_is_hardened(installed: list[str]) -> None:
    """Systemd's own measure, from 0 (nothing to attack) to 10; services without any hardening get 9.6."""
    service = next(path for path in installed if path.endswith(".service"))
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", service],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze does not look at files")

    assert done.returncode == 0, done.stdout


def test_the_units_say_what_the_proxy_needs() -> None:
    """Also where there is no systemd to ask."""
    service = unit_file("overlord-proxy.service")["Service"]

    hardening = {
        "Type": "notify",
        "DynamicUser": "yes",
        "ProtectSystem": "strict",
        "NoNewPrivileges": "yes",
        "CapabilityBoundingSet": "",
        "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
        "ExecReload": "kill -HUP $MAINPID",
        "Restart": "on-failure",
    }
    assert {key: service[key] for key in hardening} == hardening
    assert int(service["LimitNOFILE"]) > 2 * 64 * 1024
    assert "SystemCallFilter=@system-service" in (CONF / "overlord-proxy.service").read_text()


def test_the_service_gets_the_time_that_draining_takes() -> None:
    """Systemd kills what is still there after TimeoutStopSec."""
    service = unit_file("overlord-proxy.service")["Service"]
    drain = load_proxy(CONF / "proxy.toml").value.proxy.drain_timeout

    assert int(service["TimeoutStopSec"].removesuffix("s")) >= drain + 10


def test_the_command_of_the_service_works(tmp_path: Path, servers: list[RedisServer]) -> None:
    """Its ExecStart, with our twistd and files, serves."""
    port, stat_port = free_port(), free_port()
    (tmp_path / "clusters.toml").write_text(
        '[[clusters]]\nname = "x"\ncache_type = "redis"\n'
        f'listen_addr = "127.0.0.1:{port}"\nservers = ["127.0.0.1:{servers[0].port}:1"]\n'
    )
    (tmp_path / "proxy.toml").write_text(f'stat = "127.0.0.1:{stat_port}"\n')
    words = unit_file("overlord-proxy.service")["Service"]["ExecStart"].split()
    twistd = str(Path(sys.executable).parent / "twistd")
    command = [word.replace("/etc/overlord", str(tmp_path)) for word in words[1:]]

    with subprocess.Popen([sys.executable, twistd, *command], stdout=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: _answers(port), "the proxy answers", timeout=20)
        finally:
            process.terminate()
    assert process.returncode == 0


def _answers(port: int) -> bool:
    try:
        with Client(("127.0.0.1", port)) as client:
            return client.call("PING") == PONG
    except OSError:
        return False
