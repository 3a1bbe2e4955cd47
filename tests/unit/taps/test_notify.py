"""What systemd is told, and that nothing depends on whether it listens."""

import socket

import pytest

from overlord.taps.notify import Notifier


@pytest.fixture
def manager(tmp_path):
    """A socket in the place of systemd's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(5)
        yield receiver


def test_each_state_is_a_message(manager):
    notifier = Notifier.of_environment({"NOTIFY_SOCKET": manager.getsockname()})

    notifier.ready()
    notifier.reloading()
    notifier.stopping()

    said = [manager.recv(200).decode().split("\n") for _ in range(3)]
    assert [lines[0] for lines in said] == ["READY=1", "RELOADING=1", "STOPPING=1"]
    key, _, microseconds = said[1][1].partition("=")
    assert (key, microseconds.isdecimal()) == ("MONOTONIC_USEC", True)


def test_an_abstract_socket_begins_with_an_at():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("")  # the kernel finds an abstract name
        receiver.settimeout(5)
        name = receiver.getsockname().decode()

        Notifier("@" + name[1:]).ready()

        assert receiver.recv(100) == b"READY=1"


def test_without_systemd_nobody_is_told(monkeypatch):
    """No socket is opened for it."""
    monkeypatch.setattr(socket, "socket", None)

    Notifier.of_environment({}).ready()


def test_a_manager_that_has_gone_is_a_warning(tmp_path, capture_log):
    Notifier(str(tmp_path / "none")).stopping()

    assert capture_log() == [
        f"cannot tell systemd STOPPING=1 at {tmp_path}/none: no such file or directory"
    ]


@pytest.fixture
def capture_log():
    from twisted.logger import formatEvent, globalLogPublisher

    events = []
    globalLogPublisher.addObserver(events.append)
    yield lambda: [formatEvent(event) for event in events]
    globalLogPublisher.removeObserver(events.append)
