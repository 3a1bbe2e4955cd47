"""What goes over a client's own connection, and what does not: frame by frame, without a network."""

from __future__ import annotations

from unit.proxy.flow.bench import Bench, frame

OK = b"+OK\r\n"
REFUSED_EXEC = (
    b"-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command\r\n"
)
EXECABORT = b"-EXECABORT Transaction discarded because of previous errors.\r\n"


def test_nothing_of_a_transaction_is_sent_before_its_node_has_said_ok_to_multi() -> None:
    """Or a node that refuses MULTI would carry out the rest, command by command."""
    bench = Bench()
    client = bench.client()

    assert bench.say(client, "MULTI") == OK
    assert bench.say(client, "PING") == b"+QUEUED\r\n"
    node = bench.pin(client, "SET k 1", "SET k 2", "EXEC")
    assert node.take() == frame("MULTI")
    bench.arrive(node, OK)
    assert node.take() == b"".join(map(frame, ("PING", "SET k 1", "SET k 2", "EXEC")))
    bench.arrive(node, b"+QUEUED\r\n" * 3 + b"*3\r\n+PONG\r\n+OK\r\n+OK\r\n")

    assert client.take() == b"+QUEUED\r\n" * 2 + b"*3\r\n+PONG\r\n+OK\r\n+OK\r\n"
    assert bench.used() == 0
    assert not any(wire.sent for wire in bench.shared)


def test_a_node_that_refuses_multi_gets_nothing_else() -> None:
    """The client is told why, and EXEC fails."""
    bench = Bench()
    client = bench.client()
    node = bench.pin(client, "MULTI", "SET k 1", "SET k 2", "EXEC")
    assert node.take() == frame("MULTI")

    bench.arrive(node, b"-NOPERM no MULTI for you\r\n")

    assert client.take() == b"-NOPERM no MULTI for you\r\n+QUEUED\r\n" + EXECABORT
    assert node.take() == b""
    assert node.closed
    assert bench.used() == 0


def test_a_connection_is_used_again_after_a_clean_end_only() -> None:
    """After an error of EXEC nobody knows what the node thinks of the connection."""
    bench = Bench()
    client, other = bench.client(), bench.client()
    node = bench.pin(client, "WATCH k", "UNWATCH")
    bench.arrive(node, OK)
    bench.arrive(node, OK)
    assert node.take() == frame("WATCH k") + frame("UNWATCH")

    bench.say(other, "WATCH k")
    assert node.take() == frame("WATCH k")
    assert not bench.dialled
    bench.arrive(node, OK)
    for request in ("MULTI", "SET k 1", "EXEC"):
        bench.say(other, request)
    for reply in (OK, b"+QUEUED\r\n", b"-LOADING\r\n"):
        bench.arrive(node, reply)

    assert other.take().endswith(b"-LOADING\r\n")
    assert node.closed
    node.stream.lost("closed")
    assert bench.say(client, "WATCH k") == OK + OK
    assert len(bench.dialled) == 1


def test_an_exec_that_is_refused_ends_the_transaction() -> None:
    """As in Redis: nothing is done, and what follows is no part of it. The node hears of it by the close."""
    bench = Bench()
    client = bench.client()
    node = bench.pin(client, "MULTI", "SET k 1", "EXEC x", "PING")
    bench.arrive(node, OK)
    assert node.take() == frame("MULTI") + frame("SET k 1")
    bench.arrive(node, b"+QUEUED\r\n")

    assert client.take() == b"+QUEUED\r\n" + REFUSED_EXEC + b"+PONG\r\n"
    assert node.take() == b""
    assert node.closed
    assert bench.used() == 0
    assert bench.say(client, "EXEC") == b"-ERR EXEC without MULTI\r\n"


def test_an_exec_that_is_refused_ends_what_no_node_knows_of() -> None:
    """A transaction without a key, and what is none."""
    bench = Bench()
    client = bench.client()

    for request in ("EXEC x", "MULTI", "PING", "EXEC x"):
        said = bench.say(client, request)

    assert said == REFUSED_EXEC
    assert bench.say(client, "PING") == b"+PONG\r\n"


def test_an_exec_that_is_refused_forgets_what_was_watched() -> None:
    """Also outside of MULTI."""
    bench = Bench()
    client = bench.client()
    node = bench.pin(client, "WATCH k")
    bench.arrive(node, OK)
    client.take()

    assert bench.say(client, "EXEC x") == REFUSED_EXEC
    assert node.closed
    assert bench.used() == 0


def test_a_dial_that_fails_is_told_to_who_waits_for_it() -> None:
    """And what follows goes its way."""
    bench = Bench()
    client = bench.client()
    bench.arrive(client, frame("WATCH k") + frame("PING"))
    bench.dialled.pop().lost("connection refused")
    bench.outbox.flush()

    assert client.take() == b"-ERR node unavailable: connection refused\r\n+PONG\r\n"
    assert bench.used() == 0
    assert not bench.flow.pins.links


def test_an_exec_whose_connection_is_lost_may_have_been_executed() -> None:
    """The client is not told that nothing was done."""
    bench = Bench()
    client = bench.client()
    node = bench.pin(client, "MULTI", "SET k 1", "EXEC")
    bench.arrive(node, OK)
    client.take()
    node.stream.lost("connection lost")
    bench.outbox.flush()

    lost = b"-ERR node unavailable: connection lost; the command may have been executed\r\n"
    assert client.take() == lost * 2
    assert bench.used() == 0


def test_who_watched_over_a_lost_connection_gets_null() -> None:
    """The keys may have changed meanwhile; null says: begin again."""
    bench = Bench()
    client = bench.client()
    node = bench.pin(client, "WATCH k")
    bench.arrive(node, OK)
    assert client.take() == OK
    node.stream.lost("connection lost")

    replies = [bench.say(client, request) for request in ("MULTI", "SET k 1", "EXEC")]
    assert replies == [OK, b"+QUEUED\r\n", b"*-1\r\n"]


def test_what_is_queued_without_a_key_has_a_bound() -> None:
    """It waits with us until it is known which node it is for."""
    bench = Bench(max_request=100)
    client = bench.client()
    bench.say(client, "MULTI")

    replies = b"".join(bench.say(client, "ECHO 0123456789") for _ in range(10))

    assert replies.startswith(b"+QUEUED\r\n" * 3)
    assert b"-ERR what comes before the first key of a transaction is larger than" in replies
    assert bench.say(client, "EXEC") == EXECABORT
    assert bench.flow.bound_hits["max_request"] > 0


def test_a_wait_is_no_silence_and_a_node_that_does_not_answer_is_silent() -> None:
    """BLPOP with a timeout may take as long and a little longer, BLPOP 0 for ever."""
    for words, ends in (("BLPOP k 5", True), ("BLPOP k 0", False)):
        bench = Bench()
        client = bench.client()
        node = bench.pin(client, words)
        bench.arrive(node, b":77\r\n")

        for now in range(1, 7):
            bench.flow.sweep(float(now), 1.0, 1.0)
        assert not node.closed
        for now in range(8, 1000, 100):
            bench.flow.sweep(float(now), 1.0, 1.0)
        bench.outbox.flush()
        assert node.closed == ends


def test_draining_ends_a_wait_by_the_node_itself() -> None:
    """So no element is taken from a list and given to nobody."""
    bench = Bench()
    client = bench.client()
    node = bench.pin(client, "BLPOP k 0")
    assert node.take() == frame("CLIENT ID") + frame("BLPOP k 0")
    bench.arrive(node, b":77\r\n")

    client.stream.drain()
    bench.outbox.flush()

    assert b"".join(wire.take() for wire in bench.shared) == frame("CLIENT UNBLOCK 77")
    bench.arrive(node, b"*-1\r\n")
    assert client.take() == b"*-1\r\n"


def test_a_connection_that_nobody_uses_is_closed_in_time() -> None:
    """Both the one that waits for a client, and the one whose client does nothing."""
    bench = Bench(pin_idle_timeout=60)
    idle, lazy = bench.client(), bench.client()
    node = bench.pin(idle, "WATCH k", "UNWATCH")
    bench.arrive(node, OK + OK)
    assert bench.used() == 0
    bench.say(lazy, "WATCH k")
    other = bench.pin(idle, "WATCH k", "UNWATCH")
    bench.arrive(other, OK + OK)
    bench.arrive(node, OK)

    for now in (1.0, 31.0, 62.0):
        bench.flow.sweep(now, 1.0, 1.0)
    bench.outbox.flush()

    assert node.closed
    assert other.closed
    assert bench.flow.bound_hits == {"pin_idle_timeout": 1}
