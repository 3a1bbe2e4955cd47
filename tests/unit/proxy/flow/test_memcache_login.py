"""Logging in, in both of memcache's protocols: clients to the proxy, and the proxy to its nodes."""

from __future__ import annotations

from hashlib import sha256

import pytest
from unit.proxy.flow import test_memcache as text, test_memcache_auto as auto
from unit.proxy.flow.bench import Wire
from unit.proxy.flow.test_memcache_binary import (
    GET,
    NOOP,
    QUIT,
    SET,
    STAT,
    VERSION,
    Bench,
    asked,
    said,
)
from unit.proxy.flow.world import Limits

from overlord.proxy.flow import memcache_login
from overlord.proxy.flow.memcache_login import (
    SASL_AUTH,
    SASL_LIST,
    SASL_STEP,
    sasl_login_frame,
    text_login_frame,
    users_of,
)
from overlord.wire import memcache_binary as binary
from overlord.wire.stream import ABORTING, FINISHING, STILL_OPEN

BOB = f"bob:{sha256(b'secret').hexdigest()}"
EVE = f"eve:{sha256(b'pass word').hexdigest()}"
NOT_YET = b"CLIENT_ERROR unauthenticated\r\n"
WRONG = b"CLIENT_ERROR authentication failure\r\n"
NO_LOGIN = b"CLIENT_ERROR bad authentication token format\r\n"
LOGIN = b"set x 0 0 10\r\nbob secret\r\n"


def auth(
    message: bytes = b"\0bob\0secret", mechanism: bytes = b"PLAIN", op: int = SASL_AUTH
) -> bytes:
    return asked(op, mechanism, message)


def failure(opcode: int) -> bytes:
    return said(opcode, status=binary.AUTH_ERROR, value=b"Auth failure.")


IN = said(SASL_AUTH, value=b"Authenticated")
FAILED = failure(SASL_AUTH)


@pytest.fixture
def bench() -> Bench:
    return Bench(sasl_users=(BOB, EVE))


# Clients, in the binary protocol.


def test_who_logs_in_is_served(bench: Bench) -> None:
    client = bench.client()

    got = bench.ask(client, asked(SASL_LIST) + auth() + asked(SET, b"a", b"x") + asked(GET, b"a"))

    assert got == said(SASL_LIST, value=b"PLAIN") + IN + said(SET) + said(GET, value=b"x")


@pytest.mark.parametrize("opcode", [GET, SET, NOOP, STAT, QUIT, 0x17, 0x08, 0x55, 0x09])
def test_nothing_is_done_for_a_stranger(bench: Bench, opcode: int) -> None:
    """As with memcached's `-S`: whatever needs a login is refused, and closes the connection."""
    client = bench.client()

    got = bench.ask(client, asked(opcode, b"k" if opcode in {GET, SET, 0x09} else b"") + auth())

    assert got == failure(opcode)
    assert client.stream.closing == FINISHING
    assert not any(server.seen for server in bench.servers)
    assert bench.flow.refusals == {"noauth": 1}


def test_the_version_is_told_to_strangers(bench: Bench) -> None:
    """As memcached does; libraries ask for it first."""
    client = bench.client()

    assert bench.ask(client, asked(VERSION))[1:2] == bytes([VERSION])
    assert client.stream.closing == STILL_OPEN


@pytest.mark.parametrize(
    "message",
    [
        b"\0bob\0wrong",
        b"\0eve\0secret",
        b"\0nobody\0secret",
        b"\0Bob\0secret",
        b"eve\0bob\0secret",
        b"bobsecret",
        b"bob\0secret",
        b"\0bob\0secret\0",
        b"\0bob\0secret\0x",
        b"\0\0bob\0secret",
        b"\0\0secret",
        b"\0bob\0",
        b"\0\0",
        b"\0" * 10_000,
        b"x" * 16_000,
    ],
)
def test_d10_malformed_and_wrong_messages_are_one_error(bench: Bench, message: bytes) -> None:
    """defects.md D10: pgbouncer's CVE-2026-6664 was malformed SASL before authentication."""
    client = bench.client()

    assert bench.ask(client, auth(message)) == FAILED
    assert bench.ask(client, auth()) == IN
    assert bench.flow.refusals == {"password": 1}


@pytest.mark.parametrize("message", [b"bob\0bob\0secret", b"\0bob\0secret", b"\0eve\0pass word"])
def test_who_comes_in(bench: Bench, message: bytes) -> None:
    assert bench.ask(bench.client(), auth(message)) == IN


@pytest.mark.parametrize("mechanism", [b"SCRAM-SHA-256", b"PLAI", b"P" * 32, b"\0"])
def test_d10_other_mechanisms_are_refused(bench: Bench, mechanism: bytes) -> None:
    assert bench.ask(bench.client(), auth(mechanism=mechanism)) == FAILED


def test_mechanisms_have_no_case(bench: Bench) -> None:
    assert bench.ask(bench.client(), auth(mechanism=b"plain")) == IN


def test_d10_a_step_needs_an_auth_before_it(bench: Bench) -> None:
    """And one only: the next STEP needs another."""
    client = bench.client()
    go_on = said(SASL_AUTH, status=binary.AUTH_CONTINUE)

    assert bench.ask(client, auth(op=SASL_STEP)) == failure(SASL_STEP)
    assert bench.ask(client, auth(b"") + auth(b"\0x\0y", op=SASL_STEP)) == go_on + failure(
        SASL_STEP
    )
    assert bench.ask(client, auth(op=SASL_STEP)) == failure(SASL_STEP)
    assert bench.ask(client, auth(b"") + auth(op=SASL_STEP)) == go_on + said(
        SASL_STEP, value=b"Authenticated"
    )
    assert bench.ask(client, asked(NOOP)) == said(NOOP)


@pytest.mark.parametrize(
    "request_",
    [
        asked(SASL_LIST, b"x"),
        asked(SASL_LIST, b"", b"x"),
        asked(SASL_AUTH, b"", b"x"),
        auth(mechanism=b"x" * 251),
    ],
)
def test_d10_broken_requests_of_sasl_end_the_connection(bench: Bench, request_: bytes) -> None:
    client = bench.client()

    got = bench.ask(client, request_ + auth())

    assert got == said(request_[1], status=binary.INVALID, value=b"Invalid arguments")
    assert client.stream.closing == FINISHING


def test_d10_what_a_stranger_announces_is_not_kept(bench: Bench) -> None:
    """1 MiB of a message, and 4 GiB of one, cost nothing."""
    client = bench.client()
    too_large = said(SASL_AUTH, status=binary.TOO_LARGE, value=b"Too large.")

    assert bench.ask(client, auth(b"\0" * (1 << 20)) + auth(b"\0a\0b")) == too_large + FAILED
    huge = bytearray(auth(b""))
    huge[8:12] = b"\xff\xff\xff\xff"
    assert bench.ask(client, bytes(huge) + b"x" * 100_000) == too_large
    assert len(client.stream.incoming) == 0
    assert bench.flow.bound_hits == {"unauthenticated_max_arg_size": 2}


def test_d10_a_message_that_does_not_come_whole_is_waited_for(bench: Bench) -> None:
    """And `first_request_timeout` ends that."""
    client = bench.client()

    assert b"".join(bench.ask(client, auth()[at : at + 1]) for at in range(len(auth()))) == IN
    other = bench.client()
    assert bench.ask(other, auth()[:-1]) == b""
    assert other.stream.is_stranger


def test_d10_every_attempt_is_compared_with_every_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """defects.md D10, CVE-2026-47783: the time that it takes must not tell whether there is such a user."""
    compared: list[int] = []
    real = memcache_login.compare_digest
    monkeypatch.setattr(
        memcache_login, "compare_digest", lambda a, b: compared.append(len(a)) or real(a, b)
    )
    users = users_of((BOB, EVE))
    work = []
    for user, password in ((b"bob", b"secret"), (b"bob", b""), (b"nobody", b"x" * 9), (b"", b"")):
        users.may_enter(user, password)
        work.append(list(compared))
        compared.clear()

    assert work == [[32] * 4] * 4


def test_who_fails_to_log_in_again_is_out(bench: Bench) -> None:
    client = bench.client()

    got = bench.ask(client, auth() + asked(NOOP) + auth(b"\0bob\0x") + asked(NOOP))

    assert got == IN + said(NOOP) + FAILED + failure(NOOP)


@pytest.mark.parametrize("times", [150, 200])
def test_a_stranger_that_reads_nothing_is_closed(times: int) -> None:
    """Behind `unauthenticated_max_buffer`."""
    bench = Bench(sasl_users=(BOB,), unauthenticated_max_buffer=4096)
    client = bench.client()
    for _ in range(times):
        client.stream.receive(asked(SASL_LIST))

    is_closed = times > 4096 // 29 + 1
    assert client.stream.closing == (ABORTING if is_closed else STILL_OPEN)
    assert bench.flow.bound_hits == ({"unauthenticated_max_buffer": 1} if is_closed else {})


def test_without_users_there_is_no_sasl() -> None:
    """As with a memcached without `-S`."""
    bench = Bench()
    unknown = {"status": binary.UNKNOWN_COMMAND, "value": b"Unknown command"}

    got = bench.ask(bench.client(), asked(SASL_LIST) + auth() + auth(op=SASL_STEP))

    assert got == said(SASL_LIST, **unknown) + said(SASL_AUTH, **unknown) + said(
        SASL_STEP, **unknown
    )


def test_a_reload_changes_who_may_come_in(bench: Bench) -> None:
    """Who is in stays in; when nobody has to log in any more, everybody is."""
    inside, outside = bench.client(), bench.client()
    bench.ask(inside, auth())

    bench.flow.change_limits(Limits(sasl_users=(EVE,)))
    assert bench.ask(inside, asked(NOOP)) == said(NOOP)
    assert bench.ask(outside, auth()) == FAILED
    bench.flow.change_limits(Limits())

    assert bench.ask(outside, asked(NOOP)) == said(NOOP)


# Clients, in the text protocol.


@pytest.fixture
def texts() -> text.Bench:
    return text.Bench(sasl_users=(BOB, EVE))


def test_a_set_of_user_and_password_logs_in(texts: text.Bench) -> None:
    """Whatever its key, and with noreply, too, as with memcached's `-Y`."""
    for line in (LOGIN, LOGIN.replace(b" 10", b" 10 noreply"), b"set y 9 5 12\r\n bob  secret\r\n"):
        client = texts.client()
        assert texts.ask(client, line + b"get x\r\n") == b"STORED\r\nEND\r\n"


@pytest.mark.parametrize(
    "line",
    [
        b"get x\r\n",
        b"version\r\n",
        b"quit\r\n",
        b"mn\r\n",
        b"stats\r\n",
        b"flush_all\r\n",
        b"\r\n",
        b"nonsense\r\n",
        b"set x\r\n",
        b"add x 0 0 10\r\nbob secret\r\n",
        b"ms x 10\r\nbob secret\r\n",
        b"set x 0 0 20000\r\n" + b"x" * 20_000 + b"\r\n",
    ],
)
def test_a_stranger_is_told_so_and_stays(texts: text.Bench, line: bytes) -> None:
    client = texts.client()

    assert texts.ask(client, line + LOGIN + b"get x\r\n") == NOT_YET + b"STORED\r\nEND\r\n"


@pytest.mark.parametrize(
    ("value", "reply"),
    [
        (b"bob wrong", WRONG),
        (b"nobody secret", WRONG),
        (b"eve pass word", WRONG),
        (b"bobsecret", NO_LOGIN),
        (b"bob:secret", NO_LOGIN),
        (b"", NO_LOGIN),
        (b" ", NO_LOGIN),
    ],
)
def test_d10_wrong_passwords_are_errors(texts: text.Bench, value: bytes, reply: bytes) -> None:
    """Also a password with a blank, which this protocol cannot send."""
    client = texts.client()
    line = b"set x 0 0 %d\r\n%b\r\n" % (len(value), value)

    assert texts.ask(client, line + b"get x\r\n") == reply + NOT_YET
    assert texts.flow.refusals == {"password": 1, "noauth": 1}


def test_once_in_a_set_is_a_set(texts: text.Bench) -> None:
    client = texts.client()

    assert texts.ask(client, LOGIN + LOGIN + b"get x\r\n") == (
        b"STORED\r\nSTORED\r\nVALUE x 0 10\r\nbob secret\r\nEND\r\n"
    )


def test_what_a_stranger_announces_is_not_kept(texts: text.Bench) -> None:
    client = texts.client()

    assert texts.ask(client, b"set x 0 0 2000000000\r\n" + b"x" * 500_000) == NOT_YET
    assert len(client.stream.incoming) == 0
    client = texts.client()
    assert texts.ask(client, b"get" + b" x" * 20_000) == b"CLIENT_ERROR line too long\r\n"
    assert texts.flow.bound_hits == {"unauthenticated_max_arg_size": 2}


def test_on_one_port_each_logs_in_as_its_protocol_has_it() -> None:
    bench = auto.Bench(sasl_users=(BOB,))
    texter, binarian = bench.client(), bench.client()

    assert bench.ask(texter, b"get x\r\n" + LOGIN + b"get x\r\n") == NOT_YET + b"STORED\r\nEND\r\n"
    assert bench.ask(binarian, auth() + asked(NOOP)) == IN + said(NOOP)


# Nodes.


def connected(bench: text.Bench | Bench) -> Wire:
    """A connection to the first node, as it is made."""
    link = bench.links[0]
    link.dialing()
    wire = bench.wires[0]
    link.connected()
    bench.outbox.flush()
    return wire


def guarded_texts(**limits: object) -> text.Bench:
    return text.Bench(1, up=False, node_username="bob", node_password="secret", **limits)


def test_nothing_of_clients_reaches_a_node_before_the_login() -> None:
    """Neither what waited while it was dialled, nor what comes meanwhile."""
    bench = guarded_texts(greet_nodes=True)
    link = bench.links[0]
    link.dialing()
    early, late = bench.client(), bench.client()
    early.stream.receive(b"get early\r\n")

    link.connected()
    bench.outbox.flush()
    late.stream.receive(b"get late\r\n")
    early.stream.receive(b"get second\r\n")
    bench.outbox.flush()

    wire = bench.wires[0]
    assert wire.take() == text_login_frame("bob", "secret")
    link.receive(b"STORED\r\n")
    bench.outbox.flush()
    assert wire.take() == b"version\r\n"
    link.receive(b"VERSION 1.6.18\r\n")
    bench.outbox.flush()
    assert wire.take() == b"get early\r\nget late\r\nget second\r\n"
    assert link.is_ready()


def test_a_refused_login_is_remembered_and_said() -> None:
    bench = guarded_texts()
    wire = connected(bench)
    client = bench.client()
    client.stream.receive(b"set a 0 0 1\r\nx\r\n")
    wire.take()

    bench.links[0].receive(WRONG)
    bench.links[0].lost(bench.links[0].reason)
    bench.outbox.flush()

    assert bench.flow.nodes[0].login_refused == "it refuses our user name or password"
    assert client.take() == (
        b"SERVER_ERROR node unavailable: login refused: it refuses our user name or password\r\n"
    )
    # The next connection takes nothing until the login is taken.
    wire = connected(bench)
    assert bench.ask(client, b"set a 0 0 1\r\nx\r\n").startswith(b"SERVER_ERROR node unavailable")


def test_a_node_that_wants_a_login_is_said_to_want_one() -> None:
    bench = text.Bench(1, up=False, greet_nodes=True)
    connected(bench).take()

    bench.links[0].receive(NOT_YET)

    assert bench.flow.nodes[0].login_refused == "it wants a login, and we have none"


def test_the_password_is_no_value_that_others_could_read() -> None:
    """A node that wants no login takes it for a value, which has expired when it comes."""
    line, value = text_login_frame("bob", "secret").split(b"\r\n")[:2]

    assert line.split()[3] == b"-1"
    assert (int(line.split()[4]), value) == (10, b"bob secret")


def sasl_bench(**limits: object) -> Bench:
    return Bench(1, up=False, node_username="bob", node_password="secret", **limits)


def test_sasl_goes_first() -> None:
    bench = sasl_bench(greet_nodes=True)
    link, wire = bench.links[0], bench.wires[0]
    link.dialing()
    client = bench.client()
    client.stream.receive(asked(GET, b"a"))
    link.connected()
    bench.outbox.flush()

    assert wire.take() == sasl_login_frame("bob", "secret")
    link.receive(said(SASL_AUTH, value=b"Authenticated", opaque=0))
    bench.outbox.flush()
    assert wire.take() == asked(VERSION, opaque=0) + asked(NOOP, opaque=0)
    link.receive(said(VERSION, value=b"1.6.18", opaque=0) + said(NOOP, opaque=0))
    bench.outbox.flush()
    assert wire.take() == asked(GET, b"a")


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (binary.AUTH_ERROR, "it refuses our user name or password"),
        (binary.UNKNOWN_COMMAND, "it knows no SASL, and we log in"),
        (binary.AUTH_CONTINUE, "it wants more than a user name and a password"),
    ],
)
def test_why_sasl_fails_is_said(status: int, why: str) -> None:
    bench = sasl_bench()
    connected(bench)

    bench.links[0].receive(said(SASL_AUTH, status=status, opaque=0))

    assert bench.flow.nodes[0].login_refused == why
    assert bench.links[0].closing == ABORTING


def test_a_node_that_wants_sasl_is_said_to_want_it() -> None:
    """It tells everybody its version, but does nothing else."""
    bench = Bench(1, up=False, greet_nodes=True)
    connected(bench)

    bench.links[0].receive(
        said(VERSION, value=b"1.6.18", opaque=0)
        + said(NOOP, status=binary.AUTH_ERROR, value=b"Auth failure.", opaque=0)
    )

    assert bench.flow.nodes[0].login_refused == "it wants a login, and we have none"


def test_a_get_of_many_keys_waits_for_the_login_of_all_its_nodes() -> None:
    """It is one of those that are sent in parts."""
    bench = text.Bench(2, up=False, node_username="bob", node_password="secret")
    for link in bench.links:
        link.dialing()
        link.connected()
    bench.outbox.flush()
    client = bench.client()
    keys = b" ".join(bench.key_at(node) for node in range(2))
    client.stream.receive(b"get " + keys + b"\r\n")
    bench.outbox.flush()
    assert [wire.take() for wire in bench.wires] == [text_login_frame("bob", "secret")] * 2

    bench.links[0].receive(b"STORED\r\n")
    bench.outbox.flush()
    assert [wire.take() for wire in bench.wires] == [b"", b""]
    bench.links[1].receive(b"STORED\r\n")
    bench.outbox.flush()

    assert all(wire.take().startswith(b"get ") for wire in bench.wires)
