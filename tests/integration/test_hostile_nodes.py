"""Nodes that lie, stop in the middle, or say nothing: their own clients get an error, others notice nothing."""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable

import pytest
from integration.client import Error, Null, Status, bulk, encode
from integration.fixtures import READ_TIMEOUT, Pair
from integration.programs import Close, OverlordProxy, Request, ScriptedNode, obliging, wait_for

MIB = 1 << 20
UNAVAILABLE = b"ERR node unavailable: "


def recovers(pair: Pair) -> None:
    """Once the node is friendly again, so are the answers for its keys."""
    pair.node.answer = obliging

    def is_well() -> bool:
        with pair.proxy.client() as client:
            return client.call("SET", pair.node_key, "x").text == b"OK"

    wait_for(is_well, "the node's keys are served again", timeout=3)


ANSWERS_TO_GET: dict[str, bytes] = {
    "garbage": b"garbage\r\n",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "zeros": b"\0" * 100,
    "a length that is no number": b"$x\r\n",
    "a length with an underscore": b"$1_0\r\n0123456789\r\n",
    "a giant bulk": b"$99999999999999999999\r\n",
    "a negative bulk": b"$-5\r\n",
    "a negative array": b"*-7\r\n",
    "a giant array": b"*99999999999999999999\r\n",
    "a bulk that does not end in CRLF": b"$5\r\nabcdeXX",
    "a bulk beyond max_arg_size": b"$1073741824\r\nabc",
    "arrays 10,000 deep": b"*1\r\n" * 10_000 + b":1\r\n",
    "maps 10,000 deep": b"%1\r\n:1\r\n" * 10_000 + b":1\r\n",
    "a line without an end": b"+" + b"x" * 300_000,
}


@pytest.mark.parametrize("name", ANSWERS_TO_GET)
def test_a_reply_that_is_none_costs_an_error(name: str, pair: Pair) -> None:
    """What is no reply is told from one: the client gets an error and stays, the node is dialled again."""
    lie = ANSWERS_TO_GET[name]
    pair.node.answer = lambda request: lie if request[0] == b"GET" else obliging(request)
    before, dialled = pair.proxy.rss(), pair.node.accepted

    with pair.proxy.client() as client:
        reply = client.call("GET", pair.node_key)

        assert isinstance(reply, Error)
        assert reply.text.startswith(UNAVAILABLE)
        assert client.call("ECHO", "still here") == b"still here"
    wait_for(lambda: pair.node.accepted > dialled, "the connection to the liar is replaced")
    recovers(pair)
    assert pair.proxy.rss() - before < 16 * MIB


INCOMPLETE: dict[str, bytes] = {
    "nothing": b"",
    "half a status": b"+O",
    "half a bulk": b"$10\r\nabc",
    "half an array": b"*2\r\n$1\r\na\r\n",
    "an array of 2^31": b"*2147483647\r\n:1\r\n",
    "a bulk of 512 MiB": b"$536870912\r\nabc",
}


@pytest.mark.parametrize("name", INCOMPLETE)
def test_too_little_and_then_silence_costs_an_error_after_read_timeout(
    name: str, pair: Pair
) -> None:
    """A node that does not finish its reply is given up after `read_timeout`, not before."""
    part = INCOMPLETE[name]
    pair.node.answer = lambda request: part if request[0] == b"GET" else obliging(request)
    before = pair.proxy.rss()

    with pair.proxy.client() as client:
        asked = time.monotonic()
        reply = client.call("GET", pair.node_key)
        waited = time.monotonic() - asked

        assert isinstance(reply, Error)
        assert reply.text.startswith(UNAVAILABLE)
        assert READ_TIMEOUT * 0.8 < waited < READ_TIMEOUT * 2 + 0.5
        assert client.call("ECHO", "still here") == b"still here"
    recovers(pair)
    assert pair.proxy.rss() - before < 16 * MIB


@pytest.mark.parametrize("name", INCOMPLETE)
def test_a_close_in_the_middle_of_a_reply_costs_an_error_at_once(name: str, pair: Pair) -> None:
    """Nobody waits for a node that has gone."""
    part = INCOMPLETE[name]

    def answer(request: Request) -> bytes | None:
        if request[0] == b"GET":
            raise Close(part)
        return obliging(request)

    pair.node.answer = answer
    with pair.proxy.client() as client:
        asked = time.monotonic()
        reply = client.call("GET", pair.node_key)

        assert isinstance(reply, Error)
        assert reply.text.startswith(UNAVAILABLE)
        assert time.monotonic() - asked < READ_TIMEOUT * 0.8
        assert client.call("ECHO", "still here") == b"still here"
    recovers(pair)


def test_a_reset_in_the_middle_of_a_large_reply_is_no_whole_reply(pair: Pair) -> None:
    """Of 8 MiB half came: the client gets an error or is closed, and never a made-up rest."""

    def answer(request: Request) -> bytes | None:
        if request[0] == b"GET":
            raise Close(b"$8388608\r\n" + b"x" * (4 * MIB), reset=True)
        return obliging(request)

    pair.node.answer = answer
    with pair.proxy.client() as client:
        client.send(encode("GET", pair.node_key) + encode("ECHO", "after"))
        replies = []
        with contextlib.suppress(ConnectionError):
            replies += [client.read(), client.read()]

    if replies:
        assert isinstance(replies[0], Error)
        assert replies[0].text.startswith(UNAVAILABLE)
        assert replies[1:] == [b"after"]
    recovers(pair)


@pytest.mark.parametrize(
    "extra", [b"+MORE\r\n", b"+MORE\r\n" * 100, b"$5\r\nagain\r\n:1\r\n", b"x", b"\r\n"]
)
def test_too_much_is_never_anothers_reply(extra: bytes, pair: Pair) -> None:
    """A second reply to one request goes to nobody: not to the next request, not to another client."""
    pair.node.answer = lambda request: (
        bulk(b"first") + extra if request[0] == b"GET" else obliging(request)
    )

    with pair.proxy.client() as client, pair.proxy.client() as other:
        replies = []
        for _ in range(20):
            replies.append(client.call("GET", pair.node_key))
            replies.append(other.call("STRLEN", pair.node_key))

    statuses = {b"OK"}
    for got, other_got in zip(replies[::2], replies[1::2], strict=True):
        assert got == b"first" or (isinstance(got, Error) and got.text.startswith(UNAVAILABLE))
        assert (
            other_got.text in statuses
            if not isinstance(other_got, Error)
            else other_got.text.startswith(UNAVAILABLE)
        )
    assert b"first" in replies
    recovers(pair)


@pytest.mark.parametrize("greeting", [b"-ERR go away\r\n", b"+hello\r\n", b"junk", b"$100\r\nabc"])
def test_words_that_nobody_asked_for_shift_no_replies(
    greeting: bytes,
    start_proxy: Callable[..., OverlordProxy],
    start_node: Callable[..., ScriptedNode],
) -> None:
    """A node that speaks first may spoil the first answer, but none is ever another request's."""
    node = start_node(lambda request: bulk(request[1]) if request[1:] else obliging(request))
    node.greeting = greeting
    proxy = start_proxy([node.address], read_timeout="500ms")

    with proxy.client() as client:
        for number in range(30):
            reply = client.call("GET", f"k{number}")
            assert (
                reply == f"k{number}".encode()
                or isinstance(reply, Error)
                or reply == Status(b"hello")
            )


def test_a_late_reply_goes_to_nobody(pair: Pair) -> None:
    """A reply that comes after its request was given up is not the next request's (D13)."""
    numbers = itertools.count()

    def answer(request: Request) -> bytes | None:
        if request[0] != b"GET":
            return obliging(request)
        if next(numbers) < 2:
            time.sleep(READ_TIMEOUT * 1.5)
            return bulk(b"late")
        return bulk(b"in time")

    pair.node.answer = answer
    with pair.proxy.client() as client:
        assert isinstance(client.call("GET", pair.node_key), Error)
        deadline = time.monotonic() + 3 * READ_TIMEOUT
        seen = set()
        while time.monotonic() < deadline:
            reply = client.call("GET", pair.node_key)
            seen.add(reply if isinstance(reply, bytes) else b"error")

    assert b"in time" in seen
    assert b"late" not in seen


WRONG_TYPES: dict[str, tuple[list[bytes], bytes]] = {
    "MGET a status": ([b"MGET"], b"+OK\r\n"),
    "MGET a number": ([b"MGET"], b":3\r\n"),
    "MGET a null": ([b"MGET"], b"*-1\r\n"),
    "MGET too few": ([b"MGET"], b"*0\r\n"),
    "MGET too many": ([b"MGET"], b"*9\r\n" + b"$1\r\na\r\n" * 9),
    "MGET a map": ([b"MGET"], b"%1\r\n:1\r\n:2\r\n"),
    "DEL a status": ([b"DEL"], b"+OK\r\n"),
    "DEL a bulk": ([b"DEL"], b"$1\r\n1\r\n"),
    "DEL an array": ([b"DEL"], b"*1\r\n:1\r\n"),
    "EXISTS a null": ([b"EXISTS"], b"$-1\r\n"),
    "EXISTS a map": ([b"EXISTS"], b"%1\r\n:1\r\n:1\r\n"),
    "MSET a number": ([b"MSET"], b":1\r\n"),
    "MSET an array": ([b"MSET"], b"*1\r\n+OK\r\n"),
    "TOUCH a number beyond 64 bit": ([b"TOUCH"], b":99999999999999999999\r\n"),
}


@pytest.mark.parametrize("name", WRONG_TYPES)
def test_a_part_of_the_wrong_type_is_an_error(name: str, pair: Pair) -> None:
    """A split command whose part is answered with another type fails as a whole, and never says OK."""
    (command,), lie = WRONG_TYPES[name]
    pair.node.answer = lambda request: lie if request[0] == command else obliging(request)
    keys = [pair.node_key, pair.server_key]
    arguments = [part for key in keys for part in (key, b"v")] if command == b"MSET" else keys

    with pair.proxy.client() as client:
        reply = client.call(command, *arguments)

        assert isinstance(reply, Error)
        assert client.call("ECHO", "still here") == b"still here"
    recovers(pair)


@pytest.mark.parametrize("command", [b"MGET", b"MSET", b"DEL", b"UNLINK", b"EXISTS", b"TOUCH"])
def test_a_nodes_error_is_the_answer_of_a_split_command(command: bytes, pair: Pair) -> None:
    """What one node refuses is refused, in its own words."""
    refusal = b"OOM command not allowed when used memory > 'maxmemory'."
    pair.node.answer = lambda request: (
        b"-%s\r\n" % refusal if request[0] == command else obliging(request)
    )
    keys = [pair.server_key, pair.node_key]
    arguments = [part for key in keys for part in (key, b"v")] if command == b"MSET" else keys

    with pair.proxy.client() as client:
        assert client.call(command, *arguments) == Error(refusal)
        assert client.call("ECHO", "still here") == b"still here"


@pytest.mark.parametrize("push", [b">2\r\n$10\r\ninvalidate\r\n*0\r\n", b">1\r\n$3\r\nfoo\r\n"])
@pytest.mark.parametrize("protocol", [2, 3])
def test_a_push_is_no_reply(push: bytes, protocol: int, pair: Pair) -> None:
    """What a node pushes unasked never takes the place of a reply."""
    pair.node.answer = lambda request: bulk(b"value") if request[0] == b"GET" else obliging(request)
    with pair.proxy.client() as client:
        client.call("HELLO", protocol)
        client.call("GET", pair.node_key)
        for _ in range(10):
            pair.node.broadcast(push)
            reply = client.call("GET", pair.node_key)
            assert reply == b"value" or (
                isinstance(reply, Error) and reply.text.startswith(UNAVAILABLE)
            )
    recovers(pair)


@pytest.mark.parametrize(
    "answer", [b"junk\r\n", b"+OK\r\n", b"-ERR unknown command 'HELLO'\r\n", b""]
)
def test_a_node_that_does_not_know_resp3_is_no_hang(
    answer: bytes,
    start_proxy: Callable[..., OverlordProxy],
    start_node: Callable[..., ScriptedNode],
) -> None:
    """HELLO 3 before a node that answers it badly, or not: an error in time, and RESP2 goes on."""
    node = start_node(lambda r: answer if r[0].upper() == b"HELLO" else obliging(r))
    node.answer_hello = True
    proxy = start_proxy([node.address], read_timeout=f"{int(READ_TIMEOUT * 1000)}ms")

    with proxy.client() as client:
        asked = time.monotonic()
        greeting = client.call("HELLO", 3)
        reply = client.call("GET", "k")
        assert time.monotonic() - asked < READ_TIMEOUT * 3 + 1
        assert isinstance(reply, Error) or reply is Null.BULK or reply is Null.RESP3
        if isinstance(greeting, Error):
            assert greeting.text.startswith((b"NOPROTO", UNAVAILABLE))
    with proxy.client() as old:
        assert old.call("GET", "k") is Null.BULK


def test_a_reply_in_single_bytes_is_the_same_reply(pair: Pair) -> None:
    """A node may dribble, as long as it goes on."""
    connections_asked = threading.Event()

    def answer(request: Request) -> bytes | None:
        if request[0] != b"GET":
            return obliging(request)
        connections_asked.set()
        return None

    pair.node.answer = answer
    with pair.proxy.client() as client:
        client.send(encode("GET", pair.node_key))
        assert connections_asked.wait(2)
        # Every connection but the asked one takes this for unasked words; those may be dropped.
        asked = pair.node.asked_on[-1]
        for byte in b"$11\r\nhello world\r\n":
            asked.sendall(bytes([byte]))
            time.sleep(0.002)

        assert client.read() == b"hello world"


def test_a_node_that_closes_at_once_is_dialled_with_back_off(
    start_proxy: Callable[..., OverlordProxy], start_node: Callable[..., ScriptedNode]
) -> None:
    """A node that hangs up on everybody is not stormed, though clients ask all the time."""

    def hang_up(request: Request) -> bytes | None:
        raise Close

    node = start_node(hang_up)
    proxy = start_proxy([node.address], node_connections=1)
    with proxy.client() as client:
        before, started = node.accepted, time.monotonic()
        while time.monotonic() - started < 1:
            assert isinstance(client.call("GET", "k"), Error)
        dialled = node.accepted - before

    assert dialled <= 25, f"dialled {dialled} times in a second"


def test_answered_requests_keep_their_answers_when_a_node_fails(pair: Pair) -> None:
    """Of a pipeline the replies that came before the failure are delivered; each other gets an error."""
    seen = iter(range(1000))

    def answer(request: Request) -> bytes | None:
        if request[0] == b"GET":
            if next(seen) >= 5:
                raise Close(b"$9\r\nha")
            return bulk(b"whole")
        return obliging(request)

    pair.node.answer = answer
    with pair.proxy.client() as client:
        replies = client.pipeline([("GET", pair.node_key)] * 10 + [("ECHO", "end")])

    assert replies[:5] == [b"whole"] * 5
    assert all(isinstance(r, Error) and r.text.startswith(UNAVAILABLE) for r in replies[5:10])
    assert replies[10] == b"end"


def test_error_texts_name_no_address(pair: Pair) -> None:
    """Clients are not told where nodes live."""
    pair.node.answer = lambda request: b"junk\r\n" if request[0] == b"GET" else obliging(request)

    with pair.proxy.client() as client:
        reply = client.call("GET", pair.node_key)

    assert isinstance(reply, Error)
    assert str(pair.node.port).encode() not in reply.text
    assert b"127.0.0.1" not in reply.text
