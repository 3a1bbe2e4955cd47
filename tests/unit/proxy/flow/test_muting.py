"""CLIENT REPLY: whose replies are dropped, and whose are not."""

from __future__ import annotations

from unit.proxy.flow.bench import Bench, Wire, frame

OK = b"+OK\r\n"


def answer(bench: Bench, *replies: bytes) -> bytes:
    """What the nodes were sent over the shared connections, the first of which answers with these."""
    sent = b"".join(wire.take() for wire in bench.shared)
    for reply in replies:
        bench.arrive(bench.shared[0], reply)
    return sent


class KeyBench(Bench):
    """Two nodes, and a key that is on the first."""

    def __init__(self) -> None:
        super().__init__()
        node_of = self.flow.ring.node_of_key
        self.key = next(key for key in map(str, range(99)) if node_of(key.encode()) == 0)


def alone() -> tuple[KeyBench, Wire]:
    """A client with nobody beside it."""
    bench = KeyBench()
    return bench, bench.client()


def test_off_drops_replies_of_nodes_and_of_ours_until_on() -> None:
    """Errors, too; the OK of ON is the next that is heard."""
    bench, client = alone()

    said = bench.say(client, "CLIENT REPLY OFF")
    for words in ("PING", f"GET {bench.key}", "NOSUCH", f"MGET {bench.key} {bench.key}"):
        said += bench.say(client, words)
    answer(bench, b"$1\r\nx\r\n", b"*2\r\n$1\r\nx\r\n$1\r\nx\r\n")

    assert said + client.take() == b""
    assert bench.say(client, "CLIENT REPLY ON") == OK
    assert bench.say(client, "PING") == b"+PONG\r\n"


def test_what_was_asked_before_off_is_answered() -> None:
    """OFF waits until it is."""
    bench, client = alone()

    client.stream.receive(frame(f"GET {bench.key}") + frame("CLIENT REPLY OFF") + frame("PING"))
    bench.outbox.flush()
    answer(bench, b"$1\r\nx\r\n")

    assert client.take() == b"$1\r\nx\r\n"


def test_what_is_asked_before_on_is_not_answered() -> None:
    """ON waits for the replies that are to be dropped."""
    bench, client = alone()
    bench.say(client, "CLIENT REPLY OFF")

    client.stream.receive(frame(f"GET {bench.key}") + frame("CLIENT REPLY ON") + frame("PING"))
    bench.outbox.flush()
    assert client.take() == b""
    answer(bench, b"$1\r\nx\r\n")

    assert client.take() == OK + b"+PONG\r\n"


def test_skip_drops_the_next_reply_and_no_other() -> None:
    """Whoever gives it, and however the requests come."""
    bench, client = alone()

    get = frame(f"GET {bench.key}")
    client.stream.receive(frame("CLIENT REPLY SKIP") + get + frame("PING") + get)
    bench.outbox.flush()
    assert answer(bench, b"$1\r\na\r\n") == get
    assert client.take() == b"+PONG\r\n"
    assert answer(bench, b"$1\r\nb\r\n") == get

    assert client.take() == b"$1\r\nb\r\n"


def test_skip_before_a_reply_of_ours() -> None:
    """One request at a time."""
    bench, client = alone()

    said = [bench.say(client, words) for words in ("CLIENT REPLY SKIP", "PING", "PING")]

    assert said == [b"", b"", b"+PONG\r\n"]


def test_skip_of_a_reply_that_comes_after_the_next_request_has_come() -> None:
    """The next one waits, and is answered."""
    bench, client = alone()
    bench.say(client, "CLIENT REPLY SKIP")
    bench.say(client, f"GET {bench.key}")

    assert bench.say(client, "PING") == b""
    answer(bench, b"$1\r\na\r\n")

    assert client.take() == b"+PONG\r\n"


def test_skip_changes_nothing_while_replies_are_off() -> None:
    """As in Redis."""
    bench, client = alone()

    said = [
        bench.say(client, words)
        for words in ("CLIENT REPLY OFF", "CLIENT REPLY SKIP", "PING", "PING")
    ]

    assert said == [b""] * 4


def test_reset_ends_off() -> None:
    """And is answered."""
    bench, client = alone()
    bench.say(client, "CLIENT REPLY OFF")

    assert bench.say(client, "RESET") == b"+RESET\r\n"


def test_a_large_reply_is_dropped_as_well() -> None:
    """Where it would change hands without being copied."""
    bench, client = alone()
    bench.say(client, "CLIENT REPLY OFF")
    bench.say(client, f"GET {bench.key}")

    answer(bench, b"$200000\r\n%b\r\n" % (b"x" * 200_000))

    assert client.take() == b""
    assert bench.say(client, "CLIENT REPLY ON") == OK


def test_a_client_that_hears_nothing_is_closed_when_it_has_ended() -> None:
    """Its requests are carried out first."""
    bench, client = alone()
    bench.say(client, "CLIENT REPLY OFF")
    bench.say(client, f"GET {bench.key}")

    client.stream.end_of_input()
    assert client.stream.closing == 0
    answer(bench, b"$1\r\nx\r\n")

    assert client.stream.closing != 0
