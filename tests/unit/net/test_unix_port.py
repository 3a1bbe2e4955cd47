"""Unix sockets to listen on: what may be taken over, and what is left behind."""

import fcntl
import os
import socket
from pathlib import Path

import pytest
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from overlord.net.unix_port import UnixEndpoint, is_left_over


class Readers:
    """A reactor that notes who is read from."""

    def __init__(self):
        self.readers = []

    def addReader(self, reader):
        self.readers.append(reader)

    def removeReader(self, reader):
        if reader in self.readers:
            self.readers.remove(reader)

    removeWriter = removeReader


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "users.sock")


@pytest.fixture
def listen(path):
    """Listens at the path; gives the port, or raises why not."""
    ports = []

    def listening(backlog=5):
        got = []
        UnixEndpoint(Readers(), path, backlog).listen(Factory()).addBoth(got.append)
        if isinstance(got[0], Failure):
            got[0].raiseException()
        ports.extend(got)
        return got[0]

    yield listening
    for port in ports:
        if port.connected:
            end(port)


def end(port):
    port.connectionLost(Failure(ConnectionDone()))


def left_over(path):
    """What a process leaves that is killed while it listens."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        dead.listen()


def reason(listen):
    with pytest.raises(CannotListenError) as wrong:
        listen()
    return wrong.value.socketError.strerror


def names(path):
    return sorted(os.listdir(Path(path).parent))  # noqa: PTH208  # names


def test_it_listens_and_leaves_nothing_behind(path, listen):
    """While it listens there is the socket alone, and afterwards nothing."""
    port = listen()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    assert names(path) == ["users.sock"]

    end(port)

    assert names(path) == []


def test_the_backlog_is_obeyed(path, listen):
    """As many as the backlog, and the one that the kernel adds, wait; the next is turned away."""
    listen(backlog=1)
    clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    for client in clients:
        client.setblocking(False)

    assert [client.connect_ex(path) for client in clients[:2]] == [0, 0]
    with pytest.raises(BlockingIOError):
        clients[2].connect(path)
    for client in clients:
        client.close()


def test_the_socket_of_a_dead_process_is_taken_over(path, listen):
    """After a kill nobody has to clean up by hand."""
    left_over(path)
    assert is_left_over(path)

    listen()

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_the_socket_of_a_living_process_is_not_taken_over(path, listen):
    """Its clients keep coming to it."""
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(path)
        alive.listen()
        before = os.lstat(path)

        assert reason(listen) == "somebody listens there already"
        assert os.path.samestat(before, os.lstat(path))
    assert names(path) == ["users.sock"]


def test_a_process_that_accepts_nobody_is_alive_all_the_same(path, listen):
    """It may be stopped for a moment, and its backlog full."""
    with socket.socket(socket.AF_UNIX) as alive, socket.socket(socket.AF_UNIX) as waits:
        alive.bind(path)
        alive.listen(0)
        waits.connect(path)

        assert reason(listen) == "somebody listens there already"


def test_a_file_that_is_no_socket_is_left_alone(path, listen):
    """It may be somebody's data."""
    Path(path).write_text("mine")

    assert reason(listen) == "there is a file that is no socket"
    assert Path(path).read_text() == "mine"
    assert names(path) == ["users.sock"]


def test_of_two_who_start_at_once_one_is_refused(path, listen):
    """Both would find the dead socket, and the second would remove the first one's new one."""
    left_over(path)
    lock = os.open(f"{path}.starting", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)

    assert reason(listen) == (
        f"another process is about to listen there (it holds {path}.starting)"
    )
    assert names(path) == ["users.sock", "users.sock.starting"]
    os.close(lock)

    listen()
    assert names(path) == ["users.sock"]


def test_a_lock_that_its_holder_removes_meanwhile_keeps_nobody_out(path, listen, monkeypatch):
    """Who has locked a file that is gone has locked nothing, and tries again."""
    tries = []
    flock = fcntl.flock

    def late(handle, how):
        tries.append(handle)
        flock(handle, how)
        if len(tries) == 1:
            os.unlink(f"{path}.starting")  # noqa: PTH108

    monkeypatch.setattr(fcntl, "flock", late)

    listen()

    assert len(tries) == 2
    assert names(path) == ["users.sock"]


def test_a_socket_that_is_not_ours_any_more_is_left_alone(path, listen):
    """Somebody has removed our path, and another process listens there now."""
    port = listen()
    Path(path).unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()

        end(port)

        assert names(path) == ["users.sock"]


def test_the_end_comes_when_the_path_is_gone(path, listen):
    """A tool that cleans up folders must not keep us from stopping in order."""
    port = listen()
    Path(path).unlink()

    end(port)

    assert (port.connected, port.reactor.readers) == (False, [])


def test_a_folder_that_is_missing_is_an_error(path, listen):
    """It is not made: its owner would be a guess."""
    Path(path).parent.rmdir()

    assert reason(listen) == "No such file or directory"
