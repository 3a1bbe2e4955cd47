"""Nodes that are killed, stopped, frozen and restarted under load: no wrong answer, no hang, no crash."""

import contextlib
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from integration.checker import Checker
from integration.client import Client, Error, Status, encode, spread
from integration.programs import OverlordProxy, RedisServer, free_port, key_on, wait_for

DIAL_TIMEOUT = 0.2
READ_TIMEOUT = 1.0
"""What `OverlordProxy` sets."""
BACK_WITHIN = 1.0
"""Seconds from a node's return to the first right answer for its keys."""
UNAVAILABLE = b"ERR node unavailable: "

Start = Callable[..., OverlordProxy]
Serve = Callable[..., RedisServer]


def seconds_until_served(proxy: OverlordProxy, key: bytes) -> float:
    """How long it takes from now until the proxy answers for this key."""
    began = time.monotonic()
    with proxy.client() as client:
        wait_for(lambda: client.call("SET", key, "back") == Status(b"OK"), f"{key!r} is served", 10)
    return time.monotonic() - began


@contextlib.contextmanager
def benchmark(proxy: OverlordProxy) -> Iterator[None]:
    """redis-benchmark's load in the background, begun again whenever it gives up over an error."""
    with (proxy.folder / "benchmark").open("wb") as output:
        load = ["redis-benchmark", "-p", str(proxy.port), "-c", "20", "-P", "10", "-r", "1000"]
        script = f"while :; do {' '.join(load)} -n 200000 -t get,set -q -e; sleep 0.05; done"
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", script],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield
        finally:
            # The shell and what it started: a process group that is ours alone.
            subprocess.run(["kill", "-KILL", "--", f"-{process.pid}"], check=False)
            process.wait()


@pytest.mark.parametrize("how", ["kill", "stop", "freeze"])
def test_nodes_fail_in_turn_under_load(
    how: str, start_proxy: Start, start_server: Serve, seed: int
) -> None:
    """Whatever happens to nodes: replies are right or an honest error, and come in time."""
    nodes = [start_server() for _ in range(4)]
    proxy = start_proxy([node.address for node in nodes])
    keys = [key_on(proxy, node, prefix=f"watch{seed}") for node in nodes]
    checker = Checker(
        proxy.address,
        seed=seed,
        callers=16,
        max_depth=50,
        faults=True,
        transacts=True,
        patience=READ_TIMEOUT + 4,
    )
    draw = random.Random(seed)
    if how != "freeze":
        checker.may_forget()

    with benchmark(proxy), checker as report:
        for _ in range(3):
            node, key = draw.choice(list(zip(nodes, keys, strict=True)))
            time.sleep(0.3)
            if how == "freeze":
                node.freeze()
                time.sleep(READ_TIMEOUT + 0.3)
                node.thaw()
            else:
                getattr(node, how)()
                time.sleep(draw.uniform(0.1, 0.7))
                node.start()
            back = seconds_until_served(proxy, key)
            assert back < BACK_WITHIN, f"seed {seed}: served {back:.2f} s after the node's return"
    replies = report.replies

    report.assert_right()
    assert proxy.is_running()
    assert replies > 1000
    assert report.errors, "no request met a failed node, so nothing was tested"
    assert report.longest_wait < READ_TIMEOUT + DIAL_TIMEOUT + 2


@pytest.mark.soak
def test_nodes_fail_in_turn_for_minutes(
    start_proxy: Start, start_server: Serve, server_version: str, seed: int
) -> None:
    """The same with every way to fail, two nodes at a time, for two minutes."""
    nodes = [start_server(server_version) for _ in range(4)]
    proxy = start_proxy([node.address for node in nodes])
    checker = Checker(
        proxy.address, seed=seed, callers=32, faults=True, transacts=True, patience=READ_TIMEOUT + 4
    )
    checker.may_forget()
    draw = random.Random(seed)

    with benchmark(proxy), checker as report:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            victims = draw.sample(nodes, 2)
            for node in victims:
                getattr(node, draw.choice(["kill", "stop", "freeze"]))()
            time.sleep(draw.uniform(0, 2))
            for node in victims:
                node.thaw()
                if not node.is_running():
                    node.start()
            time.sleep(draw.uniform(0, 2))

    report.assert_right()
    assert report.errors


def test_a_dead_node_costs_its_clients_an_error_and_no_wait(
    start_proxy: Start, start_server: Serve
) -> None:
    """Keys of a node that is down are answered with an error; all others as ever."""
    alive, dead = start_server(), start_server()
    proxy = start_proxy([alive.address, dead.address])
    lost, kept = key_on(proxy, dead), key_on(proxy, alive)
    dead.kill()

    with proxy.client() as client:
        for _ in range(20):
            asked = time.monotonic()
            reply = client.call("GET", lost)
            assert isinstance(reply, Error)
            assert reply.text.startswith(UNAVAILABLE)
            assert time.monotonic() - asked < DIAL_TIMEOUT + READ_TIMEOUT
            asked = time.monotonic()
            assert client.call("SET", kept, "v") == Status(b"OK")
            assert time.monotonic() - asked < DIAL_TIMEOUT


def test_who_waits_for_a_node_that_dies_is_told_at_once(
    start_proxy: Start, start_server: Serve
) -> None:
    """Also when it waits alone: nothing else has to happen in the proxy before it gets its error."""
    alive, dying = start_server(), start_server()
    proxy = start_proxy(
        [alive.address, dying.address],
        read_timeout="60s",
        redial_delay="60s",
        redial_max_delay="60s",
    )
    lost = key_on(proxy, dying)

    with proxy.client() as client:
        assert client.call("SET", lost, "v") == Status(b"OK")
        dying.freeze()
        client.send(encode("GET", lost))
        time.sleep(0.2)  # until the proxy has passed it on, and is at rest
        dying.kill()
        reply = client.read(timeout=DIAL_TIMEOUT + READ_TIMEOUT)

    assert isinstance(reply, Error)
    assert reply.text.startswith(UNAVAILABLE)


def test_a_split_command_over_a_dead_node_is_an_error(
    start_proxy: Start, start_server: Serve
) -> None:
    """MGET, MSET and DEL never leave out what a dead node holds."""
    alive, dead = start_server(), start_server()
    proxy = start_proxy([alive.address, dead.address])
    lost, kept = key_on(proxy, dead), key_on(proxy, alive)
    dead.kill()

    with proxy.client() as client:
        replies = client.pipeline(
            [("MGET", kept, lost), ("MSET", kept, 1, lost, 1), ("DEL", lost, kept), ("ECHO", "end")]
        )

    assert all(isinstance(r, Error) and r.text.startswith(UNAVAILABLE) for r in replies[:3]), (
        replies
    )
    assert replies[3] == b"end"


def test_a_frozen_node_costs_an_error_after_read_timeout(
    start_proxy: Start, start_server: Serve, seed: int
) -> None:
    """A node that was SIGSTOPped is given up after `read_timeout`; its neighbours' clients notice nothing."""
    alive, frozen = start_server(), start_server()
    proxy = start_proxy([alive.address, frozen.address])
    stuck, kept = key_on(proxy, frozen), key_on(proxy, alive)
    name = f"{{{kept.decode()}}}"
    neighbours = Checker(
        proxy.address, seed=seed, callers=4, max_depth=10, pause=0.01, churn=False, name=name
    )

    with neighbours as report, proxy.client() as client:
        wait_for(lambda: report.replies > 100, "the neighbours are busy")
        frozen.freeze()
        asked = time.monotonic()
        reply = client.call("GET", stuck)
        waited = time.monotonic() - asked
        frozen.thaw()

    assert isinstance(reply, Error)
    assert reply.text.startswith(UNAVAILABLE)
    assert READ_TIMEOUT * 0.8 < waited < READ_TIMEOUT * 2
    report.assert_right()
    assert report.longest_wait < READ_TIMEOUT / 2
    assert seconds_until_served(proxy, stuck) < BACK_WITHIN


def test_many_clients_of_a_frozen_node_wait_no_longer_than_one(
    start_proxy: Start, start_server: Serve
) -> None:
    """Timeouts do not add up: not along a pipeline, not over clients, not over commands."""
    frozen = start_server()
    proxy = start_proxy([frozen.address])
    clients = [proxy.client() for _ in range(50)]
    frozen.freeze()
    asked = time.monotonic()
    for client in clients:
        client.send(encode("GET", "k") * 10)

    replies = [client.read() for client in clients for _ in range(10)]
    waited = time.monotonic() - asked
    frozen.thaw()
    for client in clients:
        client.close()

    assert all(isinstance(r, Error) and r.text.startswith(UNAVAILABLE) for r in replies)
    assert waited < READ_TIMEOUT * 2 + DIAL_TIMEOUT


@pytest.mark.parametrize("down", [1, 4])
def test_the_proxy_starts_with_nodes_down(
    down: int, start_proxy: Start, start_server: Serve
) -> None:
    """With one or all of its nodes down it starts, says so to clients, and serves when they come."""
    ports = [free_port() for _ in range(4)]
    up = [start_server(port=port) for port in ports[down:]]
    proxy = start_proxy([("127.0.0.1", port) for port in ports])

    with proxy.client() as client:
        replies = client.pipeline([("GET", key) for key in spread("k", 200)])
    errors = [reply for reply in replies if isinstance(reply, Error)]
    assert errors
    assert all(error.text.startswith(UNAVAILABLE) for error in errors)
    assert len(errors) < 200 or not up

    for port in ports[:down]:
        start_server(port=port)

    def all_served() -> bool:
        with proxy.client() as client:
            replies = client.pipeline([("GET", key) for key in spread("k", 200)])
        return not any(isinstance(reply, Error) for reply in replies)

    wait_for(all_served, "every node is used", timeout=BACK_WITHIN)


def test_a_host_that_swallows_dials_costs_an_error_within_dial_timeout(start_proxy: Start) -> None:
    """A node whose machine does not even refuse: clients do not wait for the kernel's minutes."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", free_port()))
        listener.listen(0)
        for _ in range(4):  # what fills the accept queue; from then on SYNs are dropped
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        proxy = start_proxy([listener.getsockname()])
        client = stack.enter_context(proxy.client())
        for _ in range(3):
            asked = time.monotonic()
            reply = client.call("GET", "k")
            assert isinstance(reply, Error)
            assert reply.text.startswith(UNAVAILABLE)
            assert time.monotonic() - asked < DIAL_TIMEOUT + READ_TIMEOUT


def test_a_client_keeps_its_connection_through_a_restart(
    start_proxy: Start, start_server: Serve
) -> None:
    """A node's restart costs errors, never the client's connection, its protocol or its order."""
    node = start_server()
    proxy = start_proxy([node.address])
    with Client(proxy.address) as client:
        client.call("HELLO", 3)
        client.call("HSET", "h", "f", 1)
        node.kill()
        assert isinstance(client.call("GET", "h"), Error)
        node.start()
        wait_for(
            lambda: client.call("HSET", "h", "f", 2) == 1, "the node is used again", BACK_WITHIN
        )

        replies = client.pipeline([("HGETALL", "h"), ("ECHO", "in order")])

    assert str(replies) == "[Map(pairs=((b'f', b'2'),)), b'in order']"
