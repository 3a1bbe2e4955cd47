"""The checker and the seed of everything it says: against a real server, and against a liar in between."""

import contextlib
import random
import re
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from integration.checker import Caller, Checker
from integration.client import Address, Incomplete, parse_reply
from integration.programs import OverlordProxy, RedisServer, free_port

Corrupt = Callable[[list[bytes]], list[bytes]]


class Liar:
    """A relay before a server that hands on whole replies, after `corrupt` had them once in a while."""

    def __init__(self, server: Address, corrupt: Corrupt) -> None:
        self.address = ("127.0.0.1", free_port())
        self._server = server
        self._corrupt = corrupt
        self._listener = socket.create_server(self.address)
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _accept(self) -> None:
        while True:
            try:
                front, _ = self._listener.accept()
            except OSError:
                return
            back = socket.create_connection(self._server)
            self._sockets += [front, back]
            self._start(self._hand_on, front, back)
            self._start(self._lie, back, front)

    def _start(self, relay: Callable[..., None], *ends: socket.socket) -> None:
        thread = threading.Thread(target=relay, args=ends, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _hand_on(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
        except OSError:
            pass

    def _lie(self, source: socket.socket, target: socket.socket) -> None:
        buffer, turn = bytearray(), random.Random(1)
        try:
            while data := source.recv(1 << 16):
                buffer += data
                replies: list[bytes] = []
                while buffer:
                    try:
                        _, end = parse_reply(buffer)
                    except Incomplete:
                        break
                    replies.append(bytes(buffer[:end]))
                    del buffer[:end]
                if turn.random() < 0.2:
                    replies = self._corrupt(replies)
                target.sendall(b"".join(replies))
        except OSError:
            pass

    def close(self) -> None:
        # Nobody may be about to read when a descriptor is closed: he would read from its next owner.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads.pop(0).join()
        for each in self._sockets:
            with contextlib.suppress(OSError):  # the other side has gone already
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in [self._listener, *self._sockets]:
            each.close()


LIES: dict[str, Corrupt] = {
    "lost": lambda replies: replies[:-1],
    "doubled": lambda replies: replies + replies[-1:],
    "swapped": lambda replies: replies[::-1],
    "cut": lambda replies: [*replies[:-1], replies[-1][:-3]] if replies else [],
    "one of another key": lambda replies: [re.sub(rb":s:\d+=", b":s:99=", r) for r in replies],
    "one of another write": lambda replies: [re.sub(rb"=(\d+);", rb"=1\1;", r) for r in replies],
    "one of another type": lambda replies: [re.sub(rb"\A:", b"+", r) for r in replies],
}


def of_messages(corrupt: Corrupt) -> Corrupt:
    """Do it to the messages among the replies, one by one, and to nothing else."""

    def lie(replies: list[bytes]) -> list[bytes]:
        told: list[bytes] = []
        for reply in replies:
            told += corrupt([reply]) if b"message\r\n" in reply[:20] else [reply]
        return told

    return lie


LIES_ABOUT_MESSAGES: dict[str, Corrupt] = {
    "lost": of_messages(LIES["lost"]),
    "doubled": of_messages(LIES["doubled"]),
    "of another write": of_messages(lambda replies: [re.sub(rb"=\d", b"=0", r) for r in replies]),
    "of another channel": of_messages(
        lambda replies: [re.sub(rb":news:\d", b":news:9", r, count=1) for r in replies]
    ),
}


@pytest.mark.parametrize("lie", LIES_ABOUT_MESSAGES)
def test_a_wrong_message_is_found(lie: str, servers: list[RedisServer], seed: int) -> None:
    """One that is lost, comes twice, or is another one, while every reply is right."""
    liar = Liar(servers[0].address, LIES_ABOUT_MESSAGES[lie])

    checker = Checker(liar.address, seed=seed, callers=3, listeners=2, churn=False, patience=0.5)
    checker.kinds = [(Caller.publish, 1)]
    report = checker.run(0.4)
    liar.close()

    assert report.problems
    assert all("message" in problem for problem in report.problems)


@pytest.fixture(params=LIES)
def liar(request: pytest.FixtureRequest, servers: list[RedisServer]) -> Iterator[Liar]:
    liar = Liar(servers[0].address, LIES[request.param])
    yield liar
    liar.close()


def test_a_wrong_reply_is_found(liar: Liar, seed: int) -> None:
    """Whatever is done to replies on their way, the checker sees it."""
    report = Checker(liar.address, seed=seed, callers=3, churn=False, patience=0.5).run(0.4)

    assert report.problems


@pytest.mark.parametrize("version", ["6.2", "7.0", "8.2", "valkey-9.1"])
def test_a_server_itself_is_right(
    version: str, start_server: Callable[..., RedisServer], seed: int
) -> None:
    """The expectations are those of every server that we support."""
    server = start_server(version)

    report = Checker(server.address, seed=seed, listeners=4).run(1)

    report.assert_right()


@pytest.mark.parametrize("node_connections", [1, 2, 8])
def test_every_reply_through_the_proxy_is_right(
    node_connections: int,
    servers: list[RedisServer],
    start_proxy: Callable[..., OverlordProxy],
    seed: int,
) -> None:
    """No reply is lost, doubled, swapped, or late for another, whoever pipelines beside whom."""
    proxy = start_proxy([s.address for s in servers], node_connections=node_connections)

    report = Checker(proxy.address, seed=seed, callers=32, transacts=True, listeners=4).run(10)

    report.assert_right()
    assert report.errors == {}
    assert report.messages > 0


@pytest.mark.soak
@pytest.mark.parametrize("node_connections", [1, 2, 8])
def test_every_reply_of_a_minute_is_right(
    node_connections: int,
    server_version: str,
    start_server: Callable[..., RedisServer],
    start_proxy: Callable[..., OverlordProxy],
    seed: int,
) -> None:
    """The same for a minute, on every transport, over every server that we support."""
    nodes = [start_server(server_version) for _ in range(4)]
    proxy = start_proxy([node.address for node in nodes], node_connections=node_connections)

    report = Checker(proxy.address, seed=seed, callers=64, transacts=True, listeners=8).run(60)

    report.assert_right()
    assert report.errors == {}
    assert report.messages > 0
