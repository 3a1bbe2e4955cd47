"""Sockets that systemd has opened: which are taken, by whom, and that they are left as they were."""

import os
import socket
import stat
from contextlib import ExitStack

import pytest
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from overlord.config import TcpAddress, UnixAddress, clusters_from_text
from overlord.proxy import inherited
from overlord.proxy.inherited import Inherited, InheritedSockets, inherit, taken_from


class Port:
    """What a reactor makes of a descriptor."""

    connected = True


class Reactor:
    """Notes what it is told to adopt, and who is read from."""

    def __init__(self):
        self.adopted, self.readers = [], []

    def adoptStreamPort(self, descriptor, family, factory):
        self.adopted.append((descriptor, family, factory))
        return Port()

    def addReader(self, reader):
        self.readers.append(reader)

    def removeReader(self, reader):
        if reader in self.readers:
            self.readers.remove(reader)

    removeWriter = removeReader


@pytest.fixture
def passed(monkeypatch):
    """Passes sockets to "process 7", from a free descriptor on; gives what that process takes."""
    with ExitStack() as stack:

        def take(*sockets, names="", pid="7", count=None):
            first = 400
            for index, each in enumerate(sockets):
                os.dup2(each.fileno(), first + index)
                stack.callback(os.close, first + index)
            monkeypatch.setattr(inherited, "FIRST", first)
            number = str(len(sockets)) if count is None else count
            environment = {
                "LISTEN_PID": pid,
                "LISTEN_FDS": number,
                "LISTEN_FDNAMES": names,
                "A": "1",
            }
            found = taken_from(environment, 7)
            return found, environment

        yield take


@pytest.fixture
def tcp():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def unix(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "users.sock"))
        (tmp_path / "users.sock").chmod(0o640)
        listener.listen()
        yield listener


def address_of(listener):
    return TcpAddress(*listener.getsockname())


def test_sockets_are_found_by_their_address(passed, tcp, unix):
    """Whatever they are called."""
    found, _ = passed(tcp, unix, names="overlord-proxy.socket:overlord-proxy.socket")

    assert found.problems == ()
    assert found.find("users", address_of(tcp)).descriptor == 400
    assert found.find("users", UnixAddress(unix.getsockname())).descriptor == 401
    assert found.find("users", TcpAddress("127.0.0.1", 1)) is None


def test_a_socket_with_the_clusters_name_is_taken_wherever_it_is(passed, tcp):
    found, _ = passed(tcp, names="users")

    assert found.find("users", TcpAddress("127.0.0.1", 1)).address == address_of(tcp)
    assert found.find("posts", TcpAddress("127.0.0.1", 1)) is None


def test_the_variables_go_and_the_descriptors_stay_with_us(passed, tcp):
    """No child of ours takes them for its own; accepting does not block the reactor."""
    _, environment = passed(tcp)

    assert environment == {"A": "1"}
    assert not os.get_inheritable(400)
    assert not os.get_blocking(400)


def test_what_is_for_another_process_is_left_to_it(passed, tcp):
    found, environment = passed(tcp, pid="8")

    assert (found.sockets, found.problems) == ((), ())
    assert environment["LISTEN_FDS"] == "1"


def test_without_systemd_there_are_none():
    assert taken_from({}, 7).sockets == ()


@pytest.mark.parametrize("count", ["", "x", "-1", "99999999999", "²"])
def test_a_wrong_number_is_told(passed, count):
    found, _ = passed(count=count)

    assert found.sockets == ()
    assert found.problems == (
        f"LISTEN_FDS must be how many sockets systemd has passed, and is {count!r}",
    )


def test_what_is_no_listening_stream_is_left_alone_and_told(passed, tmp_path, tcp):
    """A file, a datagram socket, a connection, nothing: the sockets beside them are taken."""
    with (
        (tmp_path / "file").open("w") as file,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
        socket.create_connection(tcp.getsockname()) as connection,
    ):
        datagram.bind(("127.0.0.1", 0))
        found, _ = passed(file, datagram, connection, tcp, names="a:b:c:d", count="5")

    assert [each.name for each in found.sockets] == ["d"]
    why = "it does not listen (ListenStream= with Accept=no gives one that does)"
    assert list(found.problems) == [
        "descriptor 400 ('a'), passed by systemd, is left alone: it is no socket",
        f"descriptor 401 ('b'), passed by systemd, is left alone: {why}",
        f"descriptor 402 ('c'), passed by systemd, is left alone: {why}",
        "descriptor 404 (''), passed by systemd, is left alone: bad file descriptor",
    ]


CLUSTERS = """
[[clusters]]
name = "users"
cache_type = "redis"
listen_addr = "127.0.0.1:{port}"
servers = ["127.0.0.1:6379:1"]
"""


def test_a_socket_that_no_cluster_wants_is_told(passed, tcp, unix):
    """Its clients would wait for ever, and nothing would say why."""
    port = tcp.getsockname()[1]
    clusters = clusters_from_text(CLUSTERS.format(port=port)).value
    found, _ = passed(tcp, unix, names="a:b")

    [warning] = found.warnings(clusters)
    assert warning == (
        f"systemd listens on {unix.getsockname()} ('b') for us, and no cluster does: who connects"
        " there waits in vain (give a cluster this listen_addr, or take it out of the .socket unit)"
    )


def listened(socket_, reactor, backlog=7):
    got = []
    factory = Factory()
    socket_.endpoint(reactor, backlog).listen(factory).addBoth(got.append)
    return got[0], factory


def test_the_reactor_adopts_a_tcp_socket_with_our_backlog(passed, tcp):
    found, _ = passed(tcp)
    reactor = Reactor()

    port, factory = listened(found.sockets[0], reactor)

    assert reactor.adopted == [(400, socket.AF_INET, factory)]
    assert found.sockets[0].port is port


def test_two_clusters_do_not_share_a_socket(passed, tcp):
    """Each would get some of the clients. Once the first has left it, the other may have it."""
    found, _ = passed(tcp)
    first, _ = listened(found.sockets[0], Reactor())

    refused, _ = listened(found.sockets[0], Reactor())
    first.connected = False
    second, _ = listened(found.sockets[0], Reactor())

    assert isinstance(refused.value, CannotListenError)
    assert "another cluster has the socket" in str(refused.value)
    assert isinstance(second, Port)


def test_a_unix_socket_stays_as_systemd_made_it(passed, unix, tmp_path):
    """Its mode, its file and the listening itself survive us, and can be taken again."""
    found, _ = passed(unix)
    path = tmp_path / "users.sock"
    for _ in range(2):
        reactor = Reactor()
        port, _ = listened(found.sockets[0], reactor)
        assert reactor.readers == [port]
        port.connectionLost(Failure(ConnectionDone()))
        assert reactor.readers == []

        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_family_that_nobody_serves_is_refused():
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM) as other, pytest.raises(OSError):
        inherit(other.fileno(), "x")


def test_a_cluster_listens_on_its_socket(make_service, reactor, said, monkeypatch):
    """And on no address besides."""
    mine = Inherited(9, socket.AF_INET, "users", TcpAddress("127.0.0.1", 7000))
    monkeypatch.setattr(Inherited, "endpoint", lambda own, reactor, backlog: Adopted(own))
    mine_only = lambda _, name, address: mine if name == "users" else None  # noqa: E731
    monkeypatch.setattr(InheritedSockets, "find", mine_only)

    make_service("node_connections = 1", names=("users", "posts")).startService()

    assert [server[0] for server in reactor.tcpServers] == [7001]
    assert said.lines()[:2] == [
        "cluster users listens on 127.0.0.1:7000 (opened by systemd), nodes: 1",
        "cluster posts listens on 127.0.0.1:7001, nodes: 1",
    ]


class Adopted:
    """An endpoint that listens at once."""

    def __init__(self, own):
        self.own = own

    def listen(self, factory):
        from twisted.internet.defer import succeed

        return succeed(Port())
