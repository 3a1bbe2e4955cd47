"""The hub: every rule that its module states, each under its own name."""

import contextlib
import ctypes
import os
import platform
import resource
import select
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from twisted.internet.protocol import Protocol

hub_module = pytest.importorskip(
    "overlord.net.hub", exc_type=ImportError, reason="the hub exists compiled only"
)

import overlord  # noqa: E402
from overlord.errors import StartFailed  # noqa: E402
from overlord.proxy.flow.requests import RedisClient  # noqa: E402
from overlord.wire.stream import ABORTING, Carrier  # noqa: E402

LINGER_TIMEOUT, MAX_LINGERING = 1.0, 16
"""As the hub of `house` has them."""

PING, PONG = b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"
GET = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"
TIME = b"*1\r\n$4\r\nTIME\r\n"


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a set of numbers


class AtTheEnd(RedisClient):
    """A client whose end of input does what the test says, in the middle of a round."""

    def end_of_input(self):
        self.owner.at_the_end()


def test_what_a_client_sends_is_answered(house, read):
    """A request comes in and its reply goes out in the same turn."""
    client = house.client()
    client.peer.send(PING * 3)

    house.turn()

    assert read(client.peer) == PONG * 3


def test_a_request_goes_to_the_node_and_its_reply_to_the_client(house, read):
    """The bytes of a request pass as they came, and so do those of its reply."""
    client, node = house.client(), house.node()

    client.peer.send(GET)
    house.turn()
    assert read(node.peer) == GET

    node.peer.send(b"$1\r\n1\r\n")
    house.turn()
    assert read(client.peer) == b"$1\r\n1\r\n"


# Nothing escapes doRead.


def test_nothing_escapes_do_read(house, read, caught):
    """Whatever happens in a turn, the reactor keeps the hub, and the hub goes on."""

    class Interrupts(Carrier):
        def flush(self):
            raise SystemExit

    client, other = house.client(), house.client()
    client.stream.carrier = Interrupts()
    client.peer.send(PING)

    house.hub.doRead()
    client.stream.carrier = client.transport
    other.peer.send(PING)
    house.settle()

    assert read(other.peer) == PONG
    assert caught(SystemExit) == 1


def test_what_was_decided_before_a_turn_failed_is_written_all_the_same(house, read, caught):
    """A turn that is given up halfway leaves nobody without a reply that was ready."""

    class Interrupts(Carrier):
        def flush(self):
            raise SystemExit

    client, node = house.client(), house.node()
    house.link.carrier = Interrupts()
    client.peer.send(GET)
    client.peer.send(PING)

    house.hub.doRead()
    house.link.carrier = node.transport
    house.link.close(ABORTING, "")
    house.settle()

    assert read(client.peer).endswith(PONG)
    assert caught(SystemExit) == 1


def test_a_mistake_of_ours_ends_one_connection_and_no_other(house, read, caught, monkeypatch):
    """An exception while one client is served is that client's end alone."""
    victim, neighbour = house.client(), house.client()
    monkeypatch.setattr(type(house.facts), "now", None)  # TIME will call it
    victim.peer.send(TIME)
    neighbour.peer.send(PING)

    house.turn()

    assert (victim.ends, read(victim.peer)) == (["a mistake in the proxy"], None)
    assert (neighbour.ends, read(neighbour.peer)) == ([], PONG)
    assert house.hub.broken == caught(TypeError) == 1


def test_a_protocol_that_fails_at_its_end_harms_nobody(house, read, caught):
    """An exception in `connectionLost` is logged, and the others are told all the same."""
    bad, good, neighbour = house.client(), house.client(), house.client()
    bad.ends = None  # to which nothing can be appended
    bad.peer.close()
    good.peer.close()
    neighbour.peer.send(PING)

    house.settle()

    assert good.ends == ["client ended"]
    assert read(neighbour.peer) == PONG
    assert caught(AttributeError) == 1


# An event names its connection by index and generation.


class Event(ctypes.Structure):
    """`struct epoll_event`, so that a test can make up an event."""

    _pack_ = 1 if platform.machine() == "x86_64" else 8
    _fields_ = (("events", ctypes.c_uint32), ("tag", ctypes.c_uint64))


@pytest.mark.parametrize(("generation", "ends"), [(0, []), (1, ["connection lost"]), (2, [])])
def test_an_event_of_the_dead_never_reaches_its_successor(house, generation, ends):
    """The end of a connection ends nobody who has come into its place since: generations tell them apart."""
    first = house.client()
    first.peer.close()
    house.settle()
    successor = house.client()  # in the place of the first: index 0, generation 1
    house.node()
    successor.peer.send(GET)
    successor.peer.shutdown(socket.SHUT_WR)  # it is not read from, so HUP would end it
    house.settle()

    ours, theirs = socket.socketpair()
    theirs.close()
    event = Event(0, generation << 32)
    epoll_ctl = ctypes.CDLL(None, use_errno=True).epoll_ctl
    assert epoll_ctl(house.hub.fileno(), 1, ours.fileno(), ctypes.byref(event)) == 0
    house.turn()
    ours.close()

    assert successor.ends == ends


def test_a_descriptor_is_not_used_again_within_the_round_of_its_end(house, read):
    """Who comes in the round in which another one dies gets neither its number nor its events."""
    seen = {}
    killer = house.client(make=AtTheEnd)
    victim = house.client()
    number = victim.transport.fd

    def kill():
        victim.stream.close(ABORTING, "killed")
        victim.transport.flush()
        newcomer = seen["newcomer"] = house.client()
        seen["number"] = newcomer.transport.fd
        newcomer.peer.send(PING)
        killer.stream.close(ABORTING, "done")

    killer.at_the_end = kill
    killer.peer.shutdown(socket.SHUT_WR)
    victim.peer.send(PING)  # its event is in the same round, behind that of the killer

    house.settle()

    assert seen["number"] != number
    assert victim.ends == ["killed"]
    assert read(victim.peer) is None
    assert read(seen["newcomer"].peer) == PONG


# What dies in a round is buried after it.


def test_what_dies_in_a_round_is_buried_after_it(house):
    """Within the round the descriptor stays open and the Protocol is told nothing."""
    seen = {}
    killer = house.client(make=AtTheEnd)
    victim = house.client()

    def kill():
        victim.stream.close(ABORTING, "killed")
        victim.transport.flush()
        seen.update(open=os.fstat(victim.transport.fd) is not None, told=list(victim.ends))
        killer.stream.close(ABORTING, "done")

    killer.at_the_end = kill
    killer.peer.shutdown(socket.SHUT_WR)
    victim.peer.send(PING)
    house.turn()

    assert seen == {"open": True, "told": []}
    assert (victim.ends, victim.transport.fd) == (["killed"], -1)


def test_what_a_burial_leads_to_is_written_in_the_same_turn(house, read):
    """A node is lost while its clients wait and nothing else happens: they get their errors at once."""
    client, node = house.client(), house.node()
    client.peer.send(GET)
    house.turn()
    assert read(node.peer) == GET

    node.peer.close()
    house.turn()

    assert read(client.peer).startswith(b"-ERR node unavailable: ")


def test_a_connection_leaves_the_epoll_before_its_descriptor_is_closed(house):
    """A descriptor that lives on under another name must not go on sending us events."""
    client = house.client()
    with socket.socket(fileno=os.dup(client.transport.fd)):
        client.transport.abortConnection()
        house.settle()
        client.peer.send(PING)

        assert not house.is_readable()


def test_descriptors_are_not_handed_down_to_programs_that_we_start(house):
    """The epoll and all connections are closed on exec."""
    client = house.client()

    assert not os.get_inheritable(house.hub.fileno())
    assert not os.get_inheritable(client.transport.fd)


# HUP and ERR.


@pytest.mark.parametrize("tcp", [True, False])
def test_hup_and_err_end_a_client_that_is_not_read_from(house, tcp):
    """A client that is waited for, and not read from, is ended once it is gone, and costs no CPU."""
    house.node()
    client = house.client(tcp=tcp)
    client.peer.send(GET)
    client.peer.shutdown(socket.SHUT_WR)
    house.settle()
    assert client.ends == []

    client.reset()
    before = house.hub.turns
    house.settle()

    assert client.ends == ["connection lost"]
    assert house.hub.turns - before <= 2


def test_a_client_that_is_not_read_from_causes_no_turns(house):
    """A client that sends more than may wait stays unread, and the reactor sleeps."""
    house.node()
    client = house.client()
    client.peer.send(GET * 3000)

    house.settle()

    assert client.stream.paused
    assert not house.is_readable()


def test_a_reset_ends_a_client_that_is_read_from(house):
    """The kernel's words for it are the reason."""
    client = house.client(tcp=True)

    client.reset()
    house.settle()

    assert client.ends == ["Connection reset by peer"]


# A turn ends after 1 ms or 1 MiB.


def test_a_turn_ends_after_a_megabyte(house, monkeypatch):
    """Who sends much does not keep the reactor from everything else."""
    monkeypatch.setattr(hub_module, "monotonic", lambda: 0.0)
    house.node()
    client = house.client(tcp=True, rcvbuf=8 << 20)
    frame = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%d\r\n%s\r\n" % (4 << 20, bytes(4 << 20))
    rest = memoryview(frame)
    while rest and select.select([], [client.peer], [], 0)[1]:
        rest = rest[client.peer.send(rest) :]
    sent = len(frame) - len(rest)
    assert sent > 3 << 20

    house.hub.doRead()
    assert 0 < client.stream.bytes_received <= 2 << 20
    assert house.is_readable()

    house.settle()
    assert client.stream.bytes_received == sent


def test_many_who_send_much_take_turns(house, monkeypatch):
    """A megabyte of one round is the end of a turn, too; the next one goes on with the others."""
    monkeypatch.setattr(hub_module, "monotonic", lambda: 0.0)
    clients = [house.client(tcp=True, rcvbuf=4 << 20) for _ in range(16)]
    for client in clients:
        client.peer.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.peer.send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%d\r\n%s" % (8 << 20, bytes(1 << 20)))

    turns = []
    while not all(client.stream.bytes_received for client in clients):
        before = sum(client.stream.bytes_received for client in clients)
        house.hub.doRead()
        turns.append(sum(client.stream.bytes_received for client in clients) - before)

    assert max(turns) < 2 << 20
    assert len(turns) >= 3


def test_what_comes_during_a_round_shares_its_writes(house, read, monkeypatch):
    """The hub looks again before it writes, so that a node is sent the requests of all at once."""
    monkeypatch.setattr(hub_module, "monotonic", lambda: 0.0)
    node, neighbour, client = house.node(), house.client(), house.client(make=AtTheEnd)

    def call_neighbour():
        neighbour.peer.send(GET)
        client.stream.close(ABORTING, "done")

    client.at_the_end = call_neighbour
    client.peer.shutdown(socket.SHUT_WR)

    house.hub.doRead()

    assert read(node.peer) == GET
    assert house.hub.rounds == 1


def test_who_is_not_to_be_read_from_is_not_read_from_in_the_same_round_either(house, monkeypatch):
    """However often the hub looks again: what is paused is paused at once."""
    monkeypatch.setattr(hub_module, "monotonic", lambda: 0.0)
    house.node()
    client = house.client(tcp=True, rcvbuf=4 << 20)
    client.peer.send(GET * 20_000)

    house.hub.doRead()

    assert client.stream.paused
    assert client.stream.bytes_received <= 1 << 18


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0011, 1), (0.00031, 2)])
def test_a_turn_ends_after_a_millisecond(house, monkeypatch, seconds, rounds):
    """After each round the hub looks at the clock."""
    times = iter(range(1000))
    monkeypatch.setattr(hub_module, "monotonic", lambda: next(times) * seconds)
    house.node()
    client = house.client(tcp=True, rcvbuf=8 << 20)
    client.peer.send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%d\r\n%s" % (2 << 20, bytes(1 << 20)))

    house.hub.doRead()

    assert house.hub.rounds == rounds


# Writes outside a round.


def test_what_is_written_outside_a_round_goes_out_before_the_reactor_sleeps(house, read):
    """A timer's words wait for no event: the hub asks the reactor for a call at once."""
    client = house.client()

    client.transport.write(b"+hello\r\n")
    assert [call.getTime() for call in house.reactor.getDelayedCalls()] == [house.reactor.seconds()]
    house.reactor.advance(0)

    assert read(client.peer) == b"+hello\r\n"


def test_many_writes_outside_a_round_ask_for_one_call(house, read):
    """However much is decided outside a round, it leaves together."""
    clients = [house.client() for _ in range(3)]

    for client in clients * 2:
        client.transport.write(b"+hello\r\n")
    assert len(house.reactor.getDelayedCalls()) == 1
    house.reactor.advance(0)

    assert [read(client.peer) for client in clients] == [b"+hello\r\n" * 2] * 3


def test_who_is_ended_outside_a_round_is_buried_before_the_reactor_sleeps(house, read):
    """An abort by a timer needs no event either."""
    client = house.client()

    client.transport.abortConnection()
    house.reactor.advance(0)

    assert (client.ends, read(client.peer)) == (["closed"], None)
    assert house.hub.connections() == 0


# A fresh epoll after the fork.


def test_the_epoll_is_made_at_the_start_and_not_before(house):
    """Programs such as twistd fork between makeService and startService: nothing may be open by then."""
    before = descriptors()

    hub = hub_module.Hub(house.reactor, house.outbox, LINGER_TIMEOUT, MAX_LINGERING)

    assert hub.fileno() == -1
    assert descriptors() == before


def test_a_process_without_descriptors_left_is_told_so(house):
    """A sentence that the start fails with, and not a traceback."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    hub = hub_module.Hub(house.reactor, house.outbox, LINGER_TIMEOUT, MAX_LINGERING)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(
            StartFailed, match="cannot make an epoll for the hub: too many open files"
        ):
            hub.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_daemon_serves_after_its_forks(tmp_path):
    """A service that was built before twistd went to the background answers afterwards."""
    script = tmp_path / "daemon.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, signal, socket, sys

            from twisted.internet import epollreactor

            epollreactor.install()
            from twisted.internet import reactor
            from twisted.internet.threads import deferToThread

            from overlord.config import clusters_from_text, proxy_from_text
            from overlord.proxy.service import ProxyService

            path, answer = sys.argv[1], int(sys.argv[2])
            clusters = clusters_from_text(f'''
            [[clusters]]
            name = "users"
            cache_type = "redis"
            greet_nodes = false
            listen_proto = "unix"
            listen_addr = "{path}"
            servers = ["{path}.no-node:1"]
            ''').value
            proxy = proxy_from_text('[proxy]\\ntransport = "hub"\\n').value
            service = ProxyService(clusters, proxy, reactor)

            if os.fork():
                os._exit(0)
            os.setsid()
            if os.fork():
                os._exit(0)
            signal.alarm(20)
            service.startService()

            def ask():
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(path)
                    client.sendall(b"PING\\r\\n")
                    return client.recv(100)

            def done(reply):
                os.write(answer, reply if isinstance(reply, bytes) else str(reply).encode())
                reactor.stop()

            reactor.callWhenRunning(lambda: deferToThread(ask).addBoth(done))
            reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
            reactor.run()
            """
        )
    )
    ours, theirs = os.pipe()

    subprocess.run(
        [sys.executable, script, tmp_path / "socket", str(theirs)],
        pass_fds=[theirs],
        env={**os.environ, "PYTHONPATH": str(Path(overlord.__file__).parents[1])},
        timeout=20,
        check=True,
    )
    os.close(theirs)
    with os.fdopen(ours, "rb") as answer:
        assert answer.read() == PONG


# Half-closed clients, partial writes, large frames.


def test_a_half_closed_client_gets_its_answers_and_then_the_close(house, read):
    r"""`printf 'GET a\r\nPING\r\n' | nc` prints both replies and ends."""
    client, node = house.client(), house.node()
    client.peer.send(GET + PING)
    client.peer.shutdown(socket.SHUT_WR)
    house.settle()
    assert read(client.peer) == b""

    node.peer.send(b"$1\r\n1\r\n")
    house.settle()

    assert read(client.peer) == b"$1\r\n1\r\n" + PONG
    assert read(client.peer) is None
    assert client.ends == ["client ended"]


def test_a_half_closed_client_with_half_a_request_is_closed(house, read):
    """What will never be whole is not waited for."""
    client = house.client()
    client.peer.send(GET[:-3])
    client.peer.shutdown(socket.SHUT_WR)

    house.settle()

    assert read(client.peer) is None


def test_what_the_kernel_does_not_take_at_once_follows(house, read):
    """A client with a small buffer gets a large reply in many pieces, in order, and whole."""
    client, node = house.client(sndbuf=4096), house.node()
    value = bytes(range(256)) * 4096
    reply = b"$%d\r\n%s\r\n" % (len(value), value)
    client.peer.send(GET + PING)
    house.settle()

    got = house.move(node.peer, reply, client.peer)

    assert got == reply + PONG
    assert not house.is_readable()


def test_a_client_that_reads_nothing_causes_no_turns(house):
    """What cannot be written waits for the client, and the reactor sleeps."""
    client, node = house.client(sndbuf=4096), house.node()
    client.peer.send(GET)
    house.settle()

    house.move(node.peer, b"$%d\r\n%s\r\n" % (1 << 20, bytes(1 << 20)))

    assert len(client.stream.outgoing) > 0
    assert not house.is_readable()


def test_large_frames_pass_whole_in_both_directions(house):
    """A value of 32 MiB arrives at the node as it was sent, and comes back likewise."""
    client, node = house.client(), house.node()
    value = bytes(range(256)) * (32 << 12)
    request = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%d\r\n%s\r\n" % (len(value), value)
    reply = b"$%d\r\n%s\r\n" % (len(value), value)

    assert house.move(client.peer, request, node.peer) == request
    assert house.move(node.peer, b"+OK\r\n", client.peer) == b"+OK\r\n"
    assert house.move(client.peer, GET, node.peer) == GET
    assert house.move(node.peer, reply, client.peer) == reply


# Lingering.


def test_a_client_that_goes_on_sending_can_read_why_it_was_closed(house, read):
    """A reset must not overtake the error: what still comes is thrown away for a while."""
    client = house.client(tcp=True)

    got = house.move(client.peer, b"*1\r\n$-5\r\n" + bytes(8 << 20), client.peer)

    assert got == b"-ERR Protocol error: invalid bulk length\r\n"
    assert client.ends == ["protocol error"]
    client.peer.close()
    house.settle()
    assert house.hub.connections() == 0


def test_a_client_that_never_stops_sending_is_cut_off_after_a_second(house, read):
    """The patience with a closed client has an end."""
    client = house.client(tcp=True)
    client.peer.send(b"*1\r\n$-5\r\n")
    house.settle()

    house.reactor.advance(LINGER_TIMEOUT - 0.01)
    assert house.hub.connections() == 1

    house.reactor.advance(0.01)
    house.settle()
    assert house.hub.connections() == 0
    assert house.hub.bound_hits() == {"linger_timeout": 1, "max_lingering": 0}
    assert house.reactor.getDelayedCalls() == []


def test_a_closed_client_that_leaves_by_itself_leaves_no_timer(house):
    """Who reads the error and goes costs nothing afterwards."""
    client = house.client(tcp=True)
    client.peer.send(b"*1\r\n$-5\r\n")
    house.settle()

    client.peer.close()
    house.settle()

    assert house.reactor.getDelayedCalls() == []
    assert house.hub.connections() == 0
    assert house.hub.bound_hits() == {"linger_timeout": 0, "max_lingering": 0}


def test_closed_clients_are_kept_up_to_a_bound(house, read):
    """`max_lingering`: as many are kept, one more is cut off at once; who leaves makes room."""
    clients = [house.client(tcp=True) for _ in range(MAX_LINGERING + 2)]

    for client in clients[: MAX_LINGERING + 1]:
        client.peer.send(b"*1\r\n$-5\r\n")
        house.settle()
    assert (house.hub.lingering(), house.hub.connections()) == (MAX_LINGERING, MAX_LINGERING + 1)
    assert read(clients[MAX_LINGERING].peer) == b"-ERR Protocol error: invalid bulk length\r\n"
    assert read(clients[MAX_LINGERING].peer) is None
    assert house.hub.bound_hits() == {"linger_timeout": 0, "max_lingering": 1}

    clients[0].peer.close()
    clients[-1].peer.send(b"*1\r\n$-5\r\n")
    house.settle()
    assert house.hub.lingering() == MAX_LINGERING
    assert house.hub.bound_hits() == {"linger_timeout": 0, "max_lingering": 1}


def test_one_timer_serves_all_who_linger(house):
    """A thousand clients that are closed together need no thousand timers, and each gets its second."""
    early = [house.client() for _ in range(3)]
    late = house.client()
    for client in early:
        client.peer.send(b"*1\r\n$-5\r\n")
    house.settle()
    house.reactor.advance(0.5)
    late.peer.send(b"*1\r\n$-5\r\n")
    house.settle()

    assert len(house.reactor.getDelayedCalls()) == 1
    house.reactor.advance(0.5)
    house.settle()
    assert house.hub.connections() == 1

    house.reactor.advance(0.5)
    house.settle()
    assert house.hub.connections() == 0


# The end.


def test_stopping_leaves_no_descriptor_and_no_delayed_call(house, read):
    """Whatever state its connections are in, a hub that stops leaves nothing behind."""
    before = descriptors()
    hub = hub_module.Hub(house.reactor, house.outbox, LINGER_TIMEOUT, MAX_LINGERING)
    other, house.hub = house.hub, hub
    hub.start()
    house.node()
    idle, lingering, waiting = house.client(), house.client(), house.client()
    lingering.peer.send(b"*1\r\n$-5\r\n")
    waiting.peer.send(GET)
    house.settle()
    idle.transport.write(b"+late\r\n")

    hub.stop()

    house.hub = other
    for conn in (idle, lingering, waiting):
        conn.peer.close()
    house._peers[0].close()
    assert descriptors() == before
    assert house.reactor.getDelayedCalls() == []
    assert house.reactor.readers == [other]
    assert [conn.ends for conn in (idle, waiting)] == [["the proxy stops"]] * 2


def test_stopping_twice_is_harmless(house):
    """And so is stopping what was never started."""
    house.hub.stop()
    house.hub.stop()
    hub_module.Hub(house.reactor, house.outbox, LINGER_TIMEOUT, MAX_LINGERING).stop()

    assert house.reactor.readers == []


# The transport.


def test_addresses_are_those_of_the_connection(house):
    """CLIENT INFO shows them."""
    client = house.client(tcp=True)
    host, port = client.peer.getsockname()

    peer, ours = client.transport.getPeer(), client.transport.getHost()

    assert (peer.type, peer.host, peer.port) == ("TCP", host, port)
    assert (ours.host, ours.port) == client.peer.getpeername()


def test_addresses_of_a_connection_that_is_gone_are_unknown(house):
    """Who asks too late gets an answer all the same."""
    client = house.client(tcp=True)
    client.reset()

    assert not hasattr(client.transport.getPeer(), "port")
    house.settle()
    assert not hasattr(client.transport.getPeer(), "port")


def test_a_dead_transport_takes_what_it_is_told(house):
    """Who has not heard of the end yet may go on writing and closing."""
    client = house.client()
    client.peer.close()
    house.settle()

    client.transport.write(b"late")
    client.transport.loseConnection()
    client.transport.abortConnection()
    house.settle()

    assert client.ends == ["client ended"]


def test_twisted_watches_an_adopted_connection_no_more(house):
    """Its transport is told to stop, so that no byte goes two ways."""
    given = []

    class Watched(type(house).__init__.__globals__["Given"]):
        def stopReading(self):
            given.append("reading")

        def stopWriting(self):
            given.append("writing")

    ours, theirs = socket.socketpair()
    house._peers.append(theirs)
    house.hub.adopt(Watched(ours, Protocol()), house.flow.new_client(77))

    assert given == ["reading", "writing"]
    assert ours.fileno() == -1


def test_the_event_in_which_a_connection_was_made_does_not_end_it(house):
    """The reactor writes after it has read, and takes an error for the end: a node may speak first."""
    ours, theirs = socket.socketpair()
    house._peers.append(theirs)
    transport = type(house).__init__.__globals__["Given"](ours, Protocol())
    transport.doRead = transport.doWrite = lambda: pytest.fail("its socket is the hub's")

    house.hub.adopt(transport, house.flow.new_client(78))

    assert (transport.doRead(), transport.doWrite()) == (None, None)
