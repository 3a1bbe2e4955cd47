"""CLUSTER, as clients are answered that are shown a cluster."""

from types import SimpleNamespace
from typing import Any

import pytest

from overlord.hashing import slot_of
from overlord.proxy.flow.command_errors import CommandRejected
from overlord.proxy.flow.local import answer
from overlord.proxy.flow.local_cluster import CHANGES, slot_asked
from overlord.proxy.flow.session import Pose, Session
from overlord.topology import Address, parse_nodes, parse_shards, parse_slots, posed_map
from overlord.wire.resp_encode import encode

ASKED = Address("10.0.0.2", 6379)
ADDRESSES = [Address("10.0.0.2", 6379), Address("10.0.0.3", 6379), Address("10.0.0.4", 6379)]
POSED = posed_map("users", ADDRESSES, ["a", "b", "c"], [True, False, True], 7)
IDS = [node.id for node in POSED.nodes]


def ask(*words: str | bytes, protocol: int = 2, posing: bool = True) -> bytes:
    argv = [word if isinstance(word, bytes) else word.encode() for word in words]
    session = Session(7, "10.0.0.1:50000", "10.0.0.2:6379", 0.0, protocol=protocol)
    pose = Pose(POSED, 2) if posing else None
    facts: Any = SimpleNamespace(pose=lambda session: pose, poses=posing, password_digest=b"")
    return answer(argv, session, facts).reply


def value(reply: bytes) -> Any:
    """A reply in RESP2 as a Python value."""
    items, rest = _value(reply)
    assert rest == b""
    return items


def _value(reply: bytes) -> tuple[Any, bytes]:
    line, _, rest = reply.partition(b"\r\n")
    if line[:1] == b"*":
        items = []
        for _ in range(int(line[1:])):
            item, rest = _value(rest)
            items.append(item)
        return items, rest
    if line[:1] == b"$":
        size = int(line[1:])
        return rest[:size], rest[size + 2 :]
    return (int(line[1:]) if line[:1] == b":" else line[1:]), rest


def test_the_three_ways_to_ask_tell_the_same() -> None:
    """Whichever a client uses, it finds the proxies."""
    in_nodes = parse_nodes(value(ask("CLUSTER", "NODES")), ASKED)
    in_slots = parse_slots(value(ask("cluster", "slots")), ASKED)
    in_shards = parse_shards(value(ask("CLUSTER", "SHARDS")), ASKED)

    assert in_nodes.myself == IDS[2]
    for answered in (in_nodes, in_slots, in_shards):
        names = [answered.nodes[owner].id for owner in answered.owners]
        assert names == [IDS[owner] for owner in POSED.owners]
        assert answered.faults == ()


def test_resp3_has_maps() -> None:
    """For SHARDS; NODES and INFO are texts."""
    assert ask("CLUSTER", "SHARDS", protocol=3).startswith(b"*3\r\n%2\r\n$5\r\nslots\r\n")
    assert ask("CLUSTER", "NODES", protocol=3).startswith(b"=")


@pytest.mark.parametrize(
    ("words", "reply"),
    [
        (("MYID",), encode(IDS[2])),
        (("MYSHARDID",), encode(IDS[2])),
        (("KEYSLOT", "{user}1"), encode(slot_of(b"user"))),
        (("LINKS",), b"*0\r\n"),
        (("REPLICAS", IDS[0]), b"*0\r\n"),
        (("SLAVES", IDS[0].upper()), b"*0\r\n"),
        (("REPLICAS", "nobody"), b"-ERR Unknown node nobody\r\n"),
        (("COUNT-FAILURE-REPORTS", IDS[1]), b":1\r\n"),
        (("NONSENSE",), b"-ERR unknown subcommand 'NONSENSE'. Try CLUSTER HELP.\r\n"),
        (("KEYSLOT",), b"-ERR wrong number of arguments for 'cluster|keyslot' command\r\n"),
        (("SLOTS", "x"), b"-ERR wrong number of arguments for 'cluster|slots' command\r\n"),
        (("COUNTKEYSINSLOT", "16384"), b"-ERR Invalid or out of range slot\r\n"),
    ],
)
def test_answers(words: tuple[str, ...], reply: bytes) -> None:
    """In the words of Redis."""
    assert ask("CLUSTER", *words) == reply


def test_info_is_that_of_a_cluster_that_is_well() -> None:
    """Libraries wait for `cluster_state:ok`."""
    lines = value(ask("CLUSTER", "INFO")).decode().split("\r\n")

    assert lines[0] == "cluster_state:ok"
    assert {"cluster_known_nodes:3", "cluster_size:2", "cluster_current_epoch:7"} <= set(lines)


@pytest.mark.parametrize("word", sorted(CHANGES))
def test_what_changes_a_cluster_is_refused(word: bytes) -> None:
    """In one line, with the reason."""
    reply = ask("CLUSTER", word)

    assert reply.startswith(b"-ERR 'cluster|%b' is not supported by the proxy: " % word.lower())
    assert reply.count(b"\r\n") == 1


def test_d07_a_subcommand_injects_nothing() -> None:
    """What a client sends comes back in one line."""
    reply = ask("CLUSTER", b"X\r\n+OK\r\n")

    assert reply.count(b"\r\n") == 1


def test_the_words_of_cluster_clients() -> None:
    """They say READONLY at once, and ASKING when they were redirected."""
    assert [ask(word) for word in ("READONLY", "READWRITE", "ASKING")] == [b"+OK\r\n"] * 3


def test_hello_says_cluster() -> None:
    """Some clients refuse to go on otherwise."""
    assert b"$4\r\nmode\r\n$7\r\ncluster\r\n" in ask("HELLO")


def test_without_a_pose_it_is_a_plain_server() -> None:
    """As ever, for the other kinds of clusters."""
    disabled = b"-ERR This instance has cluster support disabled\r\n"

    assert ask("CLUSTER", "SLOTS", posing=False) == disabled
    assert ask("READONLY", posing=False) == disabled
    assert ask("ASKING", posing=False) == disabled
    assert b"mode\r\n$10\r\nstandalone" in ask("HELLO", posing=False)


@pytest.mark.parametrize(
    ("words", "slot"),
    [
        ([b"CLUSTER", b"COUNTKEYSINSLOT", b"7"], 7),
        ([b"CLUSTER", b"getkeysinslot", b"16383", b"10"], 16383),
        ([b"CLUSTER", b"SLOTS"], None),
        ([b"CLUSTER"], None),
    ],
)
def test_some_questions_are_for_the_owner_of_a_slot(words: list[bytes], slot: int | None) -> None:
    """The caller sends them there."""
    assert slot_asked(words) == slot


@pytest.mark.parametrize(
    "words",
    [
        [b"CLUSTER", b"COUNTKEYSINSLOT"],
        [b"CLUSTER", b"COUNTKEYSINSLOT", b"x"],
        [b"CLUSTER", b"COUNTKEYSINSLOT", b"-1"],
        [b"CLUSTER", b"GETKEYSINSLOT", b"16384", b"1"],
        [b"CLUSTER", b"GETKEYSINSLOT", b"1"],
    ],
)
def test_a_slot_that_is_none_is_sent_nowhere(words: list[bytes]) -> None:
    """The proxy says what a node would."""
    with pytest.raises(CommandRejected):
        slot_asked(words)
