"""The real proxy in the real twistd: how it leaves, and that the demo serves real commands."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from integration.running import DEADLINE, ROOT, Running, free_port, wait_until

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]


class HoldingNode:
    """A node that answers a GET when it is let go."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.was_asked, self.may_answer = threading.Event(), threading.Event()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                visitor, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=[visitor], daemon=True).start()

    def serve(self, visitor):
        with visitor, contextlib.suppress(ConnectionError):  # the proxy may end it first
            while data := visitor.recv(65536):
                if b"GET" in data.upper():
                    self.was_asked.set()
                    self.may_answer.wait(DEADLINE)
                    visitor.sendall(b"$5\r\nhello\r\n")


@pytest.fixture
def node():
    made = HoldingNode()
    yield made
    made.may_answer.set()
    made.listener.close()


@pytest.fixture
def proxy(tmp_path, node):
    running = Running(tmp_path, TWISTD)
    (tmp_path / "c.toml").write_text(
        '[[clusters]]\nname = "users"\ncache_type = "redis"\ngreet_nodes = false\nread_timeout = "30s"\n'
        f'listen_addr = "127.0.0.1:{running.port}"\nservers = ["127.0.0.1:{node.port}:1 a"]\n'
    )
    (tmp_path / "p.toml").write_text('[proxy]\ndrain_timeout = "1s"\n')
    yield running
    running.stop()


def owed(proxy, node):
    """A client that is owed a reply."""
    client = socket.create_connection(("127.0.0.1", proxy.port), timeout=DEADLINE)
    client.sendall(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n")
    assert node.was_asked.wait(DEADLINE)
    return client


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_owed_goes_out_before_the_end(proxy, node, number):
    """Stop accepting, finish what is in flight, exit 0."""
    proxy.start()
    with owed(proxy, node) as client:
        proxy.send(number)
        wait_until(lambda: not proxy.answers(), "it still accepts")
        assert proxy.child.poll() is None
        node.may_answer.set()

        assert client.recv(64) == b"$5\r\nhello\r\n"
        assert client.recv(64) == b""
    assert proxy.ends() == 0
    assert proxy.said("err") == ""


def test_the_end_comes_within_drain_timeout(proxy, node):
    """A node that never answers does not hold the end up for longer."""
    proxy.start("--conf", "p.toml")
    with owed(proxy, node):
        proxy.send(signal.SIGTERM)
        begin = time.monotonic()

        assert proxy.ends() == 0
        assert 0.9 < time.monotonic() - begin < 5


def test_a_second_signal_ends_the_drain(proxy, node):
    """Whatever is owed."""
    proxy.start()
    with owed(proxy, node):
        proxy.send(signal.SIGTERM)
        wait_until(lambda: "finishing" in proxy.said(), "it does not leave")
        proxy.send(signal.SIGINT)

        assert proxy.ends() == 130


def test_an_idle_client_does_not_delay_the_end(proxy):
    """Who is owed nothing is closed at once."""
    proxy.start()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=DEADLINE) as client:
        client.sendall(b"PING\r\n")
        assert client.recv(64) == b"+PONG\r\n"
        proxy.send(signal.SIGTERM)

        assert client.recv(64) == b""
    assert proxy.ends() == 0


def test_a_port_lost_at_the_last_moment(proxy):
    """The service's own sentence, without a traceback, by a daemon too."""
    with socket.create_server(("127.0.0.1", proxy.port)):
        race = "from overlord.taps import trial; trial.problems = lambda addresses: []; "
        proxy.twistd = [sys.executable, "-c", race + TWISTD[2]]
        front = proxy.run()
        daemon = proxy.run("--log", "proxy.log", twistd=[])

    sentence = (
        f"cannot listen on 127.0.0.1:{proxy.port} for cluster 'users': address already in use"
    )
    assert (front.returncode, daemon.returncode) == (1, 1)
    assert front.stderr.startswith(f"overlord-proxy: {sentence}")
    assert len(front.stderr.splitlines()) == 1
    assert sentence in daemon.stderr
    assert sentence in proxy.said("proxy.log")
    assert "Traceback" not in front.stderr + front.stdout + daemon.stderr + proxy.said("proxy.log")


def test_a_daemon_serves_after_its_forks(proxy, node):
    """What the event loop needs is made after the fork."""
    node.may_answer.set()
    ended = proxy.run("--log", "proxy.log", twistd=[])
    pidfile = proxy.folder / "twistd.pid"
    pid = int(pidfile.read_text())
    try:
        assert (ended.returncode, ended.stderr) == (0, "")
        wait_until(proxy.answers, "it does not answer")
        with owed(proxy, node) as client:
            assert client.recv(64) == b"$5\r\nhello\r\n"
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not pidfile.exists(), "it does not end")


def test_the_demo_serves_real_commands(tmp_path):
    """What the page says can be typed in, and works."""
    port = free_port()
    out = tmp_path / "out"
    with out.open("wb") as file:
        demo = subprocess.Popen(
            [
                *(
                    sys.executable,
                    "-c",
                    "from overlord.cli.main import main; raise SystemExit(main())",
                ),
                *("demo", "--server", "redis-server", "--port", str(port)),
            ],
            env={**os.environ, "PYTHONPATH": ROOT},
            stdout=file,
            stderr=file,
        )
    try:
        wait_until(lambda: "try " in out.read_text() or demo.poll() is not None, "there is no page")
        typed = re.findall(r"redis-cli (-p \d+ m.*)", out.read_text())
        said = [
            subprocess.run(
                ["redis-cli", *line.split()], capture_output=True, check=False, timeout=DEADLINE
            ).stdout
            for line in typed
        ]
        assert said == [b"OK\n", b"1\n2\n3\n4\n"]
        metrics = re.search(r"http://\S+/metrics", out.read_text())[0]
        assert metrics
    finally:
        demo.terminate()
        code = demo.wait(DEADLINE)
    assert code == 0
    assert not Path(re.search(r"its files +(\S+)", out.read_text())[1]).exists()
