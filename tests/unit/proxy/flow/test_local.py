"""What the proxy answers itself; `integration/test_command_table.py` compares it with a server."""

import os
from types import SimpleNamespace
from typing import Any

import pytest

from overlord.proxy.flow.glob import Glob
from overlord.proxy.flow.local import Effect, LocalAnswer, Session, answer
from overlord.proxy.flow.local_command import MAX_PATTERN, SERVED
from overlord.proxy.flow.session import REDIS_VERSION, ClientState


def facts(**changes: Any) -> Any:
    told = {
        "version": "1.2.3",
        "run_id": "ab" * 20,
        "process_id": 4242,
        "tcp_port": 6379,
        "uptime": 200_000.9,
        "connected_clients": 5,
        "max_clients": 100,
        "max_client_name": 64,
        "max_command_names": 3,
        "password_digest": b"",
        "connections_received": 50,
        "commands_processed": 500,
        "connections_refused": 2,
        "error_replies": 7,
        "bytes_received": 1000,
        "bytes_sent": 2000,
        "waiting_clients": 1,
        "processor_seconds": (0.25, 1.5),
        "node_states": [{"state": "up", "requests": 9}, {"state": "down", "requests": 0}],
        "settings": {"maxmemory": 0, "maxmemory-policy": "noeviction", "save": ""},
        "used_memory": 3 << 20,
        "nodes": 4,
        "nodes_up": 3,
        "now": lambda: 1_000_010.25,
        "reached": lambda bound: None,
        "pose": lambda session: None,
        "poses": False,
    }
    return SimpleNamespace(**told | changes)


def state(number: int, **changes: Any) -> ClientState:
    """A client that came a hundred seconds ago and has said nothing."""
    address = f"10.0.0.{number}:50000"
    told = {
        "session": Session(number, address, "10.0.0.100:6379", 999_910.25),
        "command": "get",
        "idle": 3.9,
        "flags": "N",
        "subscriptions": (0, 0, 0),
        "queued": -1,
        "watched": 0,
        "unparsed": 0,
        "unsent": 0,
        "retained": 0,
        "received": 0,
        "sent": 0,
    }
    return ClientState(**told | changes)


class Others:
    """The facts about several clients."""

    def __init__(self, *states: ClientState) -> None:
        self.states = {each.session.id: each for each in states}
        self.ended: list[int] = []
        self.unblocked: list[tuple[int, bool]] = []

    def facts(self) -> dict[str, Any]:
        return {
            "clients": lambda: iter(list(self.states.values())),
            "client": self.states.get,
            "end_client": self.ended.append,
            "end_wait": self.end_wait,
        }

    def end_wait(self, number: int, *, with_error: bool) -> bool:
        self.unblocked.append((number, with_error))
        return number in self.states


@pytest.fixture
def session() -> Session:
    return Session(7, "10.0.0.1:50000", "10.0.0.2:6379", connected_at=1_000_000.0)


def ask(session: Session, *argv: bytes, **changes: Any) -> bytes:
    return answer(list(argv), session, facts(**changes)).reply


def test_hello_3_is_answered_in_resp3_and_leaves_the_switch_to_the_caller(session: Session) -> None:
    """The reply is in the new protocol already; the caller sets it from then on."""
    version = REDIS_VERSION.encode()

    given = answer([b"hello", b"3", b"setname", b"me"], session, facts())

    assert given == LocalAnswer(
        b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n" + version + b"\r\n"
        b"$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:7\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n"
        b"$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n",
        Effect.PROTOCOL_3,
    )
    assert (session.name, session.protocol) == (b"me", 2)


def test_a_hello_that_fails_changes_nothing(session: Session) -> None:
    """A wrong user keeps neither the name nor the protocol."""
    given = answer(b"HELLO 3 AUTH nobody x SETNAME me".split(), session, facts())

    assert given.effect is Effect.NONE
    assert given.reply == b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
    assert session.name == b""


def test_a_client_says_who_it_is_and_reads_it_back(session: Session) -> None:
    """SETNAME and SETINFO are kept, and CLIENT INFO shows them."""
    for argv in (
        b"CLIENT SETNAME worker",
        b"CLIENT SETINFO LIB-NAME redis-py",
        b"CLIENT SETINFO lib-ver 8.1",
    ):
        assert ask(session, *argv.split()) == b"+OK\r\n"

    assert ask(session, b"CLIENT", b"GETNAME") == b"$6\r\nworker\r\n"
    assert ask(session, b"CLIENT", b"ID") == b":7\r\n"
    others = Others(state(7, session=session, command="client|info", unsent=2, received=90))
    assert ask(session, b"CLIENT", b"INFO", **others.facts()).split(b"\r\n")[1] == (
        b"id=7 addr=10.0.0.1:50000 laddr=10.0.0.2:6379 fd=-1 name=worker age=10 idle=3 flags=N db=0"
        b" sub=0 psub=0 ssub=0 multi=-1 watch=0 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0"
        b" obl=2 oll=0 omem=0 tot-mem=2 events=rw cmd=client|info user=default redir=-1 resp=2"
        b" lib-name=redis-py lib-ver=8.1 tot-net-in=90 tot-net-out=0\n"
    )


@pytest.mark.parametrize(
    ("question", "ids"),
    [
        (b"", [1, 2, 7]),
        (b"TYPE normal", [1, 7]),
        (b"TYPE pubsub", [2]),
        (b"TYPE replica", []),
        (b"ID 7 99 1", [7, 1]),
    ],
)
def test_clients_of_the_cluster_are_listed(
    session: Session, question: bytes, ids: list[int]
) -> None:
    """All of them, those of a type, or those with these IDs."""
    others = Others(state(1), state(2, subscriptions=(0, 1, 0)), state(7, session=session))

    text = ask(session, b"CLIENT", b"LIST", *question.split(), **others.facts())

    lines = text.split(b"\r\n")[1].splitlines()
    assert [int(line.split()[0].removeprefix(b"id=")) for line in lines] == ids


@pytest.mark.parametrize(
    ("words", "ended", "reply", "effect"),
    [
        (b"10.0.0.1:50000", [1], b"+OK\r\n", Effect.NONE),
        (b"10.0.0.7:50000", [], b"+OK\r\n", Effect.CLOSE),
        (b"10.0.0.9:50000", [], b"-ERR No such client\r\n", Effect.NONE),
        (b"ID 2", [2], b":1\r\n", Effect.NONE),
        (b"ID 9", [], b":0\r\n", Effect.NONE),
        (b"ID 7", [], b":0\r\n", Effect.NONE),
        (b"ID 7 SKIPME no", [], b":1\r\n", Effect.CLOSE),
        (b"TYPE pubsub", [2], b":1\r\n", Effect.NONE),
        (b"type normal skipme NO", [1], b":2\r\n", Effect.CLOSE),
        (b"USER default", [1, 2], b":2\r\n", Effect.NONE),
        (b"LADDR 10.0.0.100:6379 TYPE normal", [1], b":1\r\n", Effect.NONE),
        (b"ADDR 10.0.0.1:50000 ID 2", [], b":0\r\n", Effect.NONE),
        (b"MAXAGE 100", [1, 2], b":2\r\n", Effect.NONE),
        (b"MAXAGE 101", [], b":0\r\n", Effect.NONE),
        (b"MAXAGE 0", [], b"-ERR maxage should be greater than 0\r\n", Effect.NONE),
        (b"MAXAGE x", [], b"-ERR maxage is not an integer or out of range\r\n", Effect.NONE),
    ],
)
def test_clients_are_killed(words: bytes, ended: list[int], reply: bytes, effect: Effect) -> None:
    """The old form may mean oneself; with filters every one has to fit, and oneself is spared."""
    others = Others(state(1), state(2, subscriptions=(1, 0, 0)), state(7))
    argv = [b"CLIENT", b"KILL", *words.split()]

    given = answer(argv, others.states[7].session, facts(**others.facts()))

    assert (others.ended, given) == (ended, LocalAnswer(reply, effect))


def test_a_wait_at_a_node_is_ended(session: Session) -> None:
    """CLIENT UNBLOCK says whether there was one, and with which words it is to end."""
    others = Others(state(3))
    unblock = (b"CLIENT", b"UNBLOCK")

    assert ask(session, *unblock, b"3", **others.facts()) == b":1\r\n"
    assert ask(session, *unblock, b"3", b"error", **others.facts()) == b":1\r\n"
    assert ask(session, *unblock, b"4", b"timeout", **others.facts()) == b":0\r\n"
    assert others.unblocked == [(3, False), (3, True), (4, False)]


@pytest.mark.parametrize(
    ("word", "reply", "effect"),
    [
        (b"on", b"+OK\r\n", Effect.REPLY_ON),
        (b"OFF", b"", Effect.REPLY_OFF),
        (b"SKIP", b"", Effect.REPLY_SKIP),
        (b"x", b"-ERR syntax error\r\n", Effect.NONE),
    ],
)
def test_replies_are_switched(session: Session, word: bytes, reply: bytes, effect: Effect) -> None:
    """The caller learns what becomes of this reply and the next ones."""
    assert answer([b"CLIENT", b"REPLY", word], session, facts()) == LocalAnswer(reply, effect)


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (b"maxmemory", [b"maxmemory"]),
        (b"MAXMEM* maxmemory", [b"maxmemory", b"maxmemory-policy"]),
        (b"s[a-b]ve nosuch", [b"save"]),
        (b"nosuch", []),
        (b"*", [b"maxmemory", b"maxmemory-policy", b"save"]),
    ],
)
def test_config_get_tells_settings_by_patterns(
    session: Session, patterns: bytes, names: list[bytes]
) -> None:
    """Each setting once, in any case; a map in RESP3."""
    session.protocol = 3

    told = ask(session, b"CONFIG", b"GET", *patterns.split())

    lines = told.split(b"\r\n")
    assert lines[0] == b"%%%d" % len(names)
    assert lines[2:-1:4] == names


def test_config_get_is_bounded(session: Session) -> None:
    """`max_command_names` patterns at a time, none longer than one can need."""
    reached: list[str] = []

    many = ask(session, b"CONFIG", b"GET", *[b"a"] * 4, reached=reached.append)
    long = ask(session, b"CONFIG", b"GET", b"x" * 100_000)

    assert many == b"-ERR at most 3 patterns can be asked for at once\r\n"
    assert reached == ["max_command_names"]
    assert long.startswith(b"-ERR a pattern has at most")


def test_reset_forgets_the_name(session: Session) -> None:
    """RESET leaves a client as it came."""
    session.name = b"worker"

    assert answer([b"RESET"], session, facts()) == LocalAnswer(b"+RESET\r\n", Effect.PROTOCOL_2)
    assert session.name == b""


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (
            b"CLIENT SETINFO LIB-NAME a\xff",
            b"-ERR LIB-NAME cannot contain spaces, newlines or spec",
        ),
        (b"CLIENT SETINFO foo a", b"-ERR Unrecognized option 'foo'\r\n"),
        (b"CLIENT SETINFO LIB-NAME", b"-ERR wrong number of arguments for 'client|setinfo' comman"),
        (b"CLIENT CAPA redirect", b"+OK\r\n"),
        (b"CLIENT MAINT_NOTIFICATIONS ON", b"-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try C"),
        (b"CLIENT PAUSE 1", b"-ERR 'client|pause' is not supported by the proxy: a client cannot"),
        (b"CLIENT TRACKING ON", b"-ERR 'client|tracking' is not supported by the proxy: nodes"),
        (b"CLIENT TRACKING OFF", b"+OK\r\n"),
        (b"CLIENT NO-EVICT ON", b"+OK\r\n"),
        (b"CLIENT NO-EVICT x", b"-ERR syntax error\r\n"),
        (b"CLIENT NO-TOUCH ON", b"-ERR 'client|no-touch' is not supported by the proxy: clients"),
        (b"CLIENT NO-TOUCH OFF", b"+OK\r\n"),
        (b"CONFIG SET save x", b"-ERR 'config|set' is not supported by the proxy: the proxy's set"),
        (b"CONFIG RESETSTAT", b"-ERR 'config|resetstat' is not supported by the proxy: the prox"),
        (b"CONFIG HELP", b"*"),
        (b"ACL SETUSER x on", b"-ERR 'acl|setuser' is not supported by the proxy: users belong"),
        (b"ACL HELP", b"*"),
        (b"ACL LOG", b"*0\r\n"),
        (b"ACL LOG 3", b"*0\r\n"),
        (b"ACL GENPASS 5", b"$2\r\n"),
        (b"LATENCY DOCTOR", b"$"),
        (b"LATENCY HELP", b"*"),
        (b"SLOWLOG HELP", b"*"),
        (b"MEMORY DOCTOR", b"$"),
        (b"MEMORY STATS", b"-ERR 'memory|stats' is not supported by the proxy: it concerns one"),
        (b"CLIENT HELP", b"*"),
        (b"COMMAND HELP", b"*"),
        (b"COMMAND INFO wait", b"*1\r\n$-1\r\n"),
        (b"COMMAND DOCS wait", b"*0\r\n"),
        (b"COMMAND LIST FILTERBY PATTERN wai*", b"*0\r\n"),
        (b"COMMAND LIST FILTERBY ACLCAT scripting", b"*21\r\n"),
        (b"COMMAND GETKEYS blpop a 0", b"*1\r\n$1\r\na\r\n"),
        (b"COMMAND COUNT", b":%d\r\n" % sum(b"|" not in row.name for row in SERVED)),
    ],
)
def test_replies_that_a_redis_7_0_does_not_give(
    session: Session, command: bytes, reply: bytes
) -> None:
    """Newer Redis' words, and ours for what only a proxy refuses."""
    assert ask(session, *command.split(b" ")).startswith(reply)


def test_what_is_refused_is_not_listed(session: Session) -> None:
    """A client library that asks what the server can do is not misled."""
    listed = ask(session, b"COMMAND", b"LIST")

    assert b"$3\r\nget\r\n" in listed
    assert b"$15\r\nobject|encoding\r\n" in listed
    assert b"wait" not in listed
    assert b"wait" not in ask(session, b"COMMAND") + ask(session, b"COMMAND", b"DOCS")


@pytest.mark.parametrize(
    ("size", "reply"), [(64, b"+OK"), (65, b"-ERR Client names are at most 64")]
)
def test_names_are_bounded(session: Session, size: int, reply: bytes) -> None:
    """A client cannot make us keep a name of any size."""
    for argv in ([b"SETNAME"], [b"SETINFO", b"LIB-NAME"], [b"SETINFO", b"LIB-VER"]):
        assert ask(session, b"CLIENT", *argv, b"x" * size).startswith(reply)
    assert ask(session, b"HELLO", b"2", b"SETNAME", b"x" * size)[:1] == (
        b"*" if size == 64 else b"-"
    )


def test_who_gives_itself_too_long_a_name_is_counted(session: Session) -> None:
    """`max_client_name`: just within it, and just beyond it."""
    reached: list[str] = []

    for size in (64, 65):
        ask(session, b"CLIENT", b"SETNAME", b"x" * size, reached=reached.append)

    assert reached == ["max_client_name"]


@pytest.mark.parametrize("word", [b"INFO", b"DOCS"])
def test_names_in_a_question_about_commands_are_bounded(session: Session, word: bytes) -> None:
    """`max_command_names`: as many are answered, one more is refused and counted."""
    reached: list[str] = []

    within = ask(session, b"COMMAND", word, *[b"get"] * 3, reached=reached.append)
    assert (within[:1], reached) == (b"*", [])

    beyond = ask(session, b"COMMAND", word, *[b"get"] * 4, reached=reached.append)
    assert beyond == b"-ERR at most 3 command names can be asked for at once\r\n"
    assert reached == ["max_command_names"]


def test_a_pattern_is_as_long_as_it_can_need_to_be(session: Session) -> None:
    """Every letter of the longest name may be given as a set of all letters, between stars."""
    pattern = [b"COMMAND", b"LIST", b"FILTERBY", b"PATTERN"]
    longest = max((row.name for row in SERVED), key=len)
    every = b"[^" + b"".join(b"\\%c" % letter for letter in range(256)) + b"]"
    useful = b"*" + (every + b"*") * len(longest)

    assert len(useful) == MAX_PATTERN
    assert ask(session, *pattern, useful) == b"*0\r\n"
    assert ask(session, *pattern, useful + b"*") == (
        b"-ERR a pattern has at most %d bytes\r\n" % MAX_PATTERN
    )


@pytest.mark.parametrize("pattern", [b"*" * 10_000 + b"x", b"*a" * 5_000, b"*" * 10_000])
def test_a_pattern_costs_no_more_than_names_do(pattern: bytes) -> None:
    """What cannot be part of a match is not looked at: a name ends the comparison."""
    looked: list[int] = []

    class Letter(int):
        def __eq__(self, other: object) -> bool:
            looked.append(1)
            return int(self) == other

        __hash__ = int.__hash__

    glob = Glob(pattern)
    glob._tokens = [
        token if token is None else (Letter(next(iter(token))),)  # type: ignore[call-overload]
        for token in glob._tokens
    ]

    assert glob.matches(b"aaaaaaaaaa") is (pattern[-1:] == b"*")
    assert len(looked) <= 10 * 10


def test_info_tells_about_the_proxy(session: Session) -> None:
    """All sections but that of the nodes by default; ioredis waits for `loading:0`."""
    text = ask(session, b"INFO").decode()

    system = "{0.sysname} {0.release} {0.machine}".format(os.uname())
    assert text.split("\r\n", 1)[1] == (
        "# Server\r\nredis_version:7.4.0\r\nredis_mode:standalone\r\noverlord_version:1.2.3\r\n"
        f"os:{system}\r\narch_bits:64\r\nmultiplexing_api:epoll\r\nprocess_id:4242\r\n"
        f"run_id:{'ab' * 20}\r\ntcp_port:6379\r\n"
        "server_time_usec:1000010250000\r\nuptime_in_seconds:200000\r\nuptime_in_days:2\r\n\r\n"
        "# Clients\r\nconnected_clients:5\r\nmaxclients:100\r\nblocked_clients:1\r\n\r\n"
        "# Memory\r\nused_memory:3145728\r\nused_memory_human:3.00M\r\nused_memory_rss:3145728\r\n"
        "maxmemory:0\r\nmaxmemory_human:0B\r\nmaxmemory_policy:noeviction\r\n\r\n"
        "# Persistence\r\nloading:0\r\nasync_loading:0\r\nrdb_bgsave_in_progress:0\r\n"
        "aof_enabled:0\r\n\r\n"
        "# Stats\r\ntotal_connections_received:50\r\ntotal_commands_processed:500\r\n"
        "total_net_input_bytes:1000\r\ntotal_net_output_bytes:2000\r\nrejected_connections:2\r\n"
        "total_error_replies:7\r\n\r\n"
        "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n"
        "# CPU\r\nused_cpu_sys:0.250000\r\nused_cpu_user:1.500000\r\n\r\n"
        "# Modules\r\n\r\n"
        "# Cluster\r\ncluster_enabled:0\r\noverlord_nodes:4\r\noverlord_nodes_up:3\r\n\r\n"
        "# Keyspace\r\n\r\n"
    )


NODES = b"# Nodes\r\nnode0:state=up,requests=9\r\nnode1:state=down,requests=0\r\n"


def test_info_gives_the_sections_that_were_asked_for(session: Session) -> None:
    """In our order, in any case; what we do not have is left out."""
    assert ask(session, b"INFO", b"KEYSPACE", b"nosuch", b"clients") == (
        b"$81\r\n# Clients\r\nconnected_clients:5\r\nmaxclients:100\r\nblocked_clients:1\r\n\r\n"
        b"# Keyspace\r\n\r\n"
    )
    assert ask(session, b"INFO", b"nodes").split(b"\r\n", 1)[1] == NODES + b"\r\n"


@pytest.mark.parametrize("word", [b"all", b"everything"])
def test_info_shows_the_nodes_when_all_is_asked_for(session: Session, word: bytes) -> None:
    """There may be very many, so not by default."""
    assert NODES in ask(session, b"INFO", word)
    assert NODES not in ask(session, b"INFO", b"default")


def test_time_is_seconds_and_microseconds(session: Session) -> None:
    """Two numbers, as text."""
    assert ask(session, b"TIME") == b"*2\r\n$7\r\n1000010\r\n$6\r\n250000\r\n"


def test_lolwut_says_who_answers(session: Session) -> None:
    """Redis' version and ours."""
    session.protocol = 3

    assert ask(session, b"LOLWUT") == (
        b"=53\r\ntxt:Redis ver. 7.4.0, as Overlord ver. 1.2.3 puts it\n\r\n"
    )


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        (b"*", [b"", b"a"], []),
        (b"g?t", [b"get", b"g]t"], [b"gt", b"gett"]),
        (b"*a*b", [b"ab", b"xaabb"], [b"ba", b"abc"]),
        (b"[a-c]x", [b"ax", b"cx"], [b"dx", b"x"]),
        (b"[c-a]x", [b"bx"], [b"dx"]),
        (b"[^ab]", [b"c"], [b"a", b""]),
        (rb"[\]]", [b"]"], [b"\\"]),
        (rb"\*", [b"*"], [b"a"]),
        (b"a[", [], [b"a", b"a["]),
        (b"", [b""], [b"a"]),
    ],
)
def test_patterns(pattern: bytes, fits: list[bytes], fits_not: list[bytes]) -> None:
    """Redis' patterns, no others."""
    matches = Glob(pattern).matches

    assert [name for name in fits if not matches(name)] == []
    assert [name for name in fits_not if matches(name)] == []


def test_info_says_whether_clients_are_shown_a_cluster(session: Session) -> None:
    """Some clients look there first."""
    plain = answer([b"INFO"], session, facts()).reply
    posing = answer([b"INFO"], session, facts(poses=True)).reply

    assert b"redis_mode:standalone\r\n" in plain
    assert b"cluster_enabled:0\r\n" in plain
    assert b"redis_mode:cluster\r\n" in posing
    assert b"cluster_enabled:1\r\n" in posing
