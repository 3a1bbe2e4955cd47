"""The real proxy on a unix socket: after a kill it comes back, and it takes nothing from the living."""

import os
import signal
import socket
import sys

import pytest
from integration.running import DEADLINE, Running

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]


class OnUnix(Running):
    """A proxy that listens on a unix socket."""

    def __init__(self, folder):
        super().__init__(folder, TWISTD)
        self.socket = folder / "s"
        (folder / "c.toml").write_text(
            '[[clusters]]\nname = "users"\ncache_type = "redis"\nlisten_proto = "unix"\n'
            f'listen_addr = "{self.socket}"\nservers = ["127.0.0.1:1:1"]\n'
        )
        (folder / "hub.toml").write_text("[proxy]\nbacklog = 7\n")
        (folder / "twisted.toml").write_text('[proxy]\nbacklog = 7\ntransport = "twisted"\n')

    def answers(self):
        try:
            with self.connect() as client:
                client.sendall(b"PING\r\n")
                return client.recv(64) == b"+PONG\r\n"
        except OSError:
            return False

    def connect(self):
        client = socket.socket(socket.AF_UNIX)
        try:
            client.settimeout(DEADLINE)
            client.connect(str(self.socket))
        except OSError:
            client.close()
            raise
        return client

    def beside(self):
        """What else lies in the folder because of the socket."""
        return [name for name in self.files() if name.startswith("s.")]


@pytest.fixture(params=["hub", "twisted"])
def proxy(request, tmp_path):
    running = OnUnix(tmp_path)
    running.conf = ("--conf", f"{request.param}.toml")
    yield running
    running.stop()


def test_after_a_kill_it_comes_back(proxy):
    """Nobody has to remove anything, also when another process has the dead one's number."""
    proxy.start(*proxy.conf)
    proxy.send(signal.SIGKILL)
    proxy.ends()
    assert proxy.socket.exists()
    proxy.stop()
    # The lock of a Twisted that locks by numbers, in a container, where each start has the same ones.
    (proxy.folder / "s.lock").symlink_to(str(os.getpid()))

    proxy.start(*proxy.conf)

    assert proxy.beside() == ["s.lock"]


def test_it_leaves_nothing_behind(proxy):
    """Neither socket nor lock."""
    proxy.start(*proxy.conf)
    assert proxy.beside() == []

    proxy.send(signal.SIGTERM)

    assert proxy.ends() == 0
    assert not proxy.socket.exists()
    assert proxy.beside() == []


def test_a_second_proxy_does_not_take_the_socket_of_the_first(proxy):
    """Not when its check comes first, and not when it is past that already; the first goes on."""
    proxy.start(*proxy.conf)
    who = "for cluster 'users': somebody listens there already"
    race = "from overlord.taps import trial; trial.problems = lambda addresses: []; "

    checked = proxy.run(twistd=("--nodaemon", "--pidfile", "2.pid"))
    proxy.twistd = [sys.executable, "-c", race + TWISTD[2]]
    raced = proxy.run(twistd=("--nodaemon", "--pidfile", "2.pid"))

    assert (checked.returncode, raced.returncode) == (1, 1)
    assert checked.stderr == f"overlord-proxy: cannot listen on {proxy.socket} {who}\n"
    assert raced.stderr == f"overlord-proxy: cannot listen on {proxy.socket} {who}\n"
    assert proxy.answers()


def test_a_stopped_proxy_keeps_its_socket(proxy):
    """It accepts nobody for the moment, and is alive all the same."""
    proxy.start(*proxy.conf)
    proxy.send(signal.SIGSTOP)
    try:
        second = proxy.run(twistd=("--nodaemon", "--pidfile", "2.pid"))
    finally:
        proxy.send(signal.SIGCONT)

    assert second.returncode == 1
    assert "somebody listens there already" in second.stderr
    assert proxy.answers()


def test_it_ends_in_order_when_its_socket_was_removed(proxy):
    """A tool that cleans up folders must not keep it from stopping, nor from saying good-bye."""
    proxy.start(*proxy.conf)
    with proxy.connect() as client:
        client.sendall(b"PING\r\n")
        assert client.recv(64) == b"+PONG\r\n"
        proxy.socket.unlink()

        proxy.send(signal.SIGTERM)

        assert client.recv(64) == b""
    assert proxy.ends() == 0
    assert "Traceback" not in proxy.said()


def test_a_closed_client_can_read_why(proxy):
    """Over a unix socket too."""
    proxy.start(*proxy.conf)
    with proxy.connect() as client:
        client.sendall(b"*1\r\n$-5\r\n" + bytes(1 << 20))
        assert client.recv(100) == b"-ERR Protocol error: invalid bulk length\r\n"
