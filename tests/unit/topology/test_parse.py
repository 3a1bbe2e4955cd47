"""CLUSTER NODES, SLOTS and SHARDS of every version, and of those who mean us no good."""

from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from overlord.errors import TopologyError
from overlord.topology import Address, Answer, parse_nodes, parse_shards, parse_slots
from overlord.topology.answer import MAX_FAULTS, MAX_NODES, MORE_FAULTS
from overlord.topology.parse import MAX_TEXT

ASKED = Address("10.0.0.9", 7009)
A, B, C = ("a" * 40, "b" * 40, "c" * 40)


def line(  # the columns of a line
    name: str = A,
    place: str = "10.0.0.1:7001@17001",
    flags: str = "master",
    master: str = "-",
    epoch: str = "1",
    link: str = "connected",
    slots: str = "",
) -> bytes:
    return f"{name} {place} {flags} {master} 0 0 {epoch} {link} {slots}".strip().encode() + b"\n"


def owned(answer: Answer, name: str) -> list[int]:
    index = [node.id for node in answer.nodes].index(name)
    return [slot for slot, owner in enumerate(answer.owners) if owner == index]


# CLUSTER NODES.

REDIS_3 = (
    line(A, "127.0.0.1:7000", "myself,master", slots="0-5460")
    + line(B, "127.0.0.1:7001", epoch="2", slots="5461-16383")
    + line(C, "127.0.0.1:7002", "slave", A)
)


def test_redis_3_writes_no_bus_port() -> None:
    """The oldest form: address and port, master and replica, ranges."""
    answer = parse_nodes(REDIS_3, ASKED)

    assert [(node.id, node.address, node.master_id) for node in answer.nodes] == [
        (A, Address("127.0.0.1", 7000), None),
        (B, Address("127.0.0.1", 7001), None),
        (C, Address("127.0.0.1", 7002), A),
    ]
    assert [node.config_epoch for node in answer.nodes] == [1, 2, 1]
    assert answer.owners == tuple([0] * 5461 + [1] * (16384 - 5461))
    assert (answer.myself, answer.has_epochs, answer.faults) == (A, True, ())


@pytest.mark.parametrize(
    ("place", "address", "hostname", "zone"),
    [
        ("10.0.0.1:7001", Address("10.0.0.1", 7001), None, None),
        ("10.0.0.1:7001@17001", Address("10.0.0.1", 7001), None, None),
        ("10.0.0.1:7001@17001,", Address("10.0.0.1", 7001), None, None),
        ("10.0.0.1:7001@17001,cache-1.example", Address("10.0.0.1", 7001), "cache-1.example", None),
        ("10.0.0.1:7001@17001,,shard-id=69bc080733d1", Address("10.0.0.1", 7001), None, None),
        ("10.0.0.1:7001@17001,h,tls-port=0,shard-id=6", Address("10.0.0.1", 7001), "h", None),
        ("10.0.0.1:7001@17001,,availability-zone=eu-1a", Address("10.0.0.1", 7001), None, "eu-1a"),
        ("10.0.0.1:7001@17001,availability-zone=eu-1a", Address("10.0.0.1", 7001), None, "eu-1a"),
        ("fe80::1%eth0:7001@17001", Address("fe80::1%eth0", 7001), None, None),
        ("2001:db8::7:7001@17001", Address("2001:db8::7", 7001), None, None),
        ("[2001:db8::7]:7001@17001", Address("2001:db8::7", 7001), None, None),
        ("::1:7001", Address("::1", 7001), None, None),
        ("cache-1.example:7001@17001", Address("cache-1.example", 7001), None, None),
    ],
)
def test_addresses_of_every_version(
    place: str, address: Address, hostname: str | None, zone: str | None
) -> None:
    """Bus port, name of the host and more fields came with time; a port follows the last colon."""
    (node,) = parse_nodes(line(place=place), ASKED).nodes

    assert (node.address, node.hostname, node.zone) == (address, hostname, zone)
    assert node.is_live


@pytest.mark.parametrize("place", [":7001@17001", ":7001", ":7001@17001,,shard-id=1"])
def test_a_node_that_does_not_know_its_address_is_where_it_was_asked(place: str) -> None:
    """A node that has met no other has no address in its own line."""
    (node,) = parse_nodes(line(place=place, flags="myself,master"), ASKED).nodes

    assert node.address == Address(ASKED.host, 7001)


def test_a_node_that_is_reached_by_tls_alone_has_the_port_that_was_asked() -> None:
    """`port 0` is what such a node has in its configuration."""
    (node,) = parse_nodes(line(place=":0@17001", flags="myself,master"), ASKED).nodes

    assert node.address == ASKED


@pytest.mark.parametrize("place", [":0@0", ":0", ":7001@17001", "10.0.0.1:0@0", "?:7001@17001"])
def test_a_node_without_an_address_is_known_and_not_dialled(place: str) -> None:
    """A cluster that lost the address of a node says `noaddr`, or leaves it empty."""
    (node, _) = parse_nodes(line(place=place) + line(B), ASKED).nodes

    assert node.address == Address("", 0)
    assert "noaddr" in node.flags
    assert not node.is_live


@pytest.mark.parametrize(
    ("flags", "is_live", "is_failed"),
    [
        ("master", True, False),
        ("myself,master", True, False),
        ("master,nofailover", True, False),
        ("master,fail?", True, False),
        ("master,fail", False, True),
        ("slave,fail", False, True),
        ("handshake", False, False),
        ("noflags", True, False),
        ("master,noaddr", False, False),
    ],
)
def test_flags_say_who_may_be_asked(flags: str, is_live: bool, is_failed: bool) -> None:
    """A suspicion of one node is no failure; who is only being met does not belong to the cluster."""
    (node, *_) = parse_nodes(line(flags=flags) + line(B), ASKED).nodes

    assert (node.is_live, node.is_failed) == (is_live, is_failed)


def test_slots_one_by_one_in_ranges_and_on_their_way() -> None:
    """A migration stands in brackets behind the slots that the node has."""
    answer = parse_nodes(
        line(slots=f"0 5-7 16383 [93-<-{B}] [5->-{B}]", flags="myself,master") + line(B), ASKED
    )

    assert owned(answer, A) == [0, 5, 6, 7, 16383]
    assert answer.moving == {93, 5}


def test_a_link_that_is_down_is_noted() -> None:
    """The node that answers may have no link to another."""
    answer = parse_nodes(line() + line(B, link="disconnected"), ASKED)

    assert [node.connected for node in answer.nodes] == [True, False]


@pytest.mark.parametrize(
    "text", [REDIS_3.replace(b"\n", b"\r\n"), REDIS_3 + b"\n\n", REDIS_3.strip()]
)
def test_ends_of_lines_do_not_matter(text: bytes) -> None:
    """Some programs that pass for Redis end lines in their own way."""
    assert parse_nodes(text, ASKED) == parse_nodes(REDIS_3, ASKED)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (line(flags="slave", master=B), f"replica {A} follows {B}, which is not in it"),
        (line(flags="slave", master=A), f"replica {A} is said to follow itself"),
        (
            line(A, flags="slave", master=B) + line(B, flags="slave", master=A),
            f"replica {A} follows {B}, which is a replica, too",
        ),
        (line(master=B) + line(B), f"node {A} is said to be a master that follows {B}"),
        (
            line(A, flags="slave", master=B, slots="1-2") + line(B),
            f"slots 1-2 are said to belong to a replica, {A}",
        ),
    ],
)
def test_what_is_strange_about_roles_is_a_fault(text: bytes, fault: str) -> None:
    """The slots of the others are good all the same."""
    answer = parse_nodes(text + line(C, slots="7"), ASKED)

    assert any(each.endswith(fault) for each in answer.faults), answer.faults
    assert owned(answer, C) == [7]


def test_faults_are_bounded() -> None:
    """A hostile node does not fill the log."""
    text = b"".join(line(f"{i:040}", flags="slave", master=B) for i in range(100))

    faults = parse_nodes(text, ASKED).faults

    assert len(faults) == MAX_FAULTS + 1
    assert faults[-1].endswith(MORE_FAULTS)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "there is no node in it"),
        (b"\n\n", "there is no node in it"),
        (b"\0" * 10, "line 1: it has 1 columns, fewer than 8"),
        (b"ERR unknown command", "line 1: it has 3 columns, fewer than 8"),
        (b"\xff", "byte 0 of it is no ASCII"),
        (
            line().replace(b"10.0", b"10\x00.0"),
            "line 1: the address of a node has to be an IP address",
        ),
        (line() + line(), f"line 2: node {A} is there twice"),
        (line(slots="0-16384"), "line 1: there is no slot 16384, the last one is 16383"),
        (line(slots="99999"), "line 1: there is no slot 99999"),
        (line(slots="7-5"), "line 1: slots 7-5 are no range"),
        (line(slots="5-9 9"), f"line 1: slot 9 belongs to node {A} already"),
        (line(slots="5-9") + line(B, slots="0-6"), f"line 2: slot 5 belongs to node {A} already"),
        (
            line(slots="-5"),
            "line 1: slots have to be as in 5, 5-10, [5->-id] or [5-<-id], not '-5'",
        ),
        (line(slots="1_0"), "line 1: slots have to be"),
        (line(slots="1" * 5000), "line 1: slots have to be"),
        (line(slots=f"[16384->-{B}]"), "line 1: there is no slot 16384"),
        (line(slots="[5->-"), "line 1: slots have to be"),
        (line(name="x" * 200), "line 1: the id of a node has to be a word"),
        (
            line(epoch="x"),
            "line 1: the epoch has to be a number up to 18446744073709551615, not 'x'",
        ),
        (line(epoch="-1"), "line 1: the epoch has to be"),
        (line(epoch="9" * 5000), "line 1: the epoch has to be"),
        (line(epoch="18446744073709551616"), "line 1: the epoch has to be"),
        (line(link="maybe"), "line 1: the link has to be connected or disconnected, not 'maybe'"),
        (line(place="10.0.0.1"), "line 1: the address has to be a host, a colon and a port"),
        (
            line(place="10.0.0.1:65536"),
            "line 1: the port has to be a number up to 65535, not '65536'",
        ),
        (line(place="a/b:1"), "line 1: the address of a node has to be an IP address or a name"),
        (line(flags="a,,b"), "line 1: flags have to be words"),
        (line(flags="myself,master") + line(B, flags="myself"), "line 2: a second node says"),
    ],
)
def test_d08_nonsense_is_refused_with_the_place(text: bytes, complaint: str) -> None:
    """Who answers nonsense is named, and where it stands."""
    with pytest.raises(TopologyError) as refused:
        parse_nodes(text, ASKED)

    assert str(refused.value).startswith("CLUSTER NODES of 10.0.0.9:7009")
    assert complaint in str(refused.value)
    assert len(str(refused.value)) < 400


def test_d12_an_endless_answer_is_refused() -> None:
    """Memory and time are bounded whatever a node sends."""
    with pytest.raises(TopologyError, match="bytes, more than"):
        parse_nodes(b"x" * (MAX_TEXT + 1), ASKED)
    with pytest.raises(TopologyError, match=f"more than {MAX_NODES} nodes"):
        parse_nodes(b"".join(line(f"{i:040}") for i in range(MAX_NODES + 1)), ASKED)


# CLUSTER SLOTS.


def test_slots_of_redis_3_have_no_ids() -> None:
    """A node is called by its address then."""
    reply = [[0, 99, [b"10.0.0.1", 7001], [b"10.0.0.2", 7002]], [100, 16383, [b"10.0.0.2", 7003]]]

    answer = parse_slots(reply, ASKED)

    assert [(node.id, node.master_id) for node in answer.nodes] == [
        ("10.0.0.1:7001", None),
        ("10.0.0.2:7003", None),
        ("10.0.0.2:7002", "10.0.0.1:7001"),
    ]
    assert owned(answer, "10.0.0.1:7001") == list(range(100))
    assert not answer.has_epochs


@pytest.mark.parametrize(
    "metadata",
    [
        [b"ip", b"10.1.1.1", b"hostname", b"cache-1", b"availability-zone", b"eu-1a"],
        {b"ip": b"10.1.1.1", b"hostname": b"cache-1", b"availability-zone": b"eu-1a"},
    ],
)
def test_slots_with_metadata(metadata: Any) -> None:
    """Redis 7 adds a map, which RESP2 writes flat."""
    answer = parse_slots([[0, 5, [b"cache-1", 7001, A.encode(), metadata]]], ASKED)

    (node,) = answer.nodes
    assert (node.address, node.hostname, node.zone) == (
        Address("cache-1", 7001),
        "cache-1",
        "eu-1a",
    )


@pytest.mark.parametrize("host", [None, b""])
def test_slots_without_a_host_mean_the_address_that_was_asked(host: bytes | None) -> None:
    """Null is for clusters behind an address of their own, empty what a node says that has met none."""
    answer = parse_slots([[0, 5, [host, 7001, A.encode(), []]]], ASKED)

    assert answer.nodes[0].address == Address(ASKED.host, 7001)


def test_a_question_mark_is_no_host() -> None:
    """It stands for a name that was to be told and is not known; the IP address may stand beside it."""
    known = [0, 5, [b"?", 7001, A.encode(), [b"ip", b"10.1.1.1"]]]
    unknown = [6, 9, [b"?", 7001, B.encode(), []]]

    answer = parse_slots([known, unknown], ASKED)

    assert [node.address.host for node in answer.nodes] == ["10.1.1.1", ""]
    assert [node.is_live for node in answer.nodes] == [True, False]


def test_a_range_of_nobody_is_a_fault() -> None:
    """Its slots are not covered."""
    answer = parse_slots([[0, 5], [6, 9, [b"h", 1, A.encode()]]], ASKED)

    assert answer.faults == (
        "CLUSTER SLOTS of 10.0.0.9:7009, range 1: nobody is said to have the slots 0 to 5",
    )
    assert owned(answer, A) == [6, 7, 8, 9]


def test_a_node_in_many_ranges_is_one_node() -> None:
    """With its replica, which stands in each of them, too."""
    a, b = ([b"h", port, name.encode(), []] for port, name in ((1, A), (2, B)))

    answer = parse_slots([[slot, slot, a, b] for slot in range(0, 16384, 2)], ASKED)

    assert [(node.id, node.master_id) for node in answer.nodes] == [(A, None), (B, A)]
    assert owned(answer, A) == list(range(0, 16384, 2))
    assert answer.faults == ()


def test_a_replica_in_two_places_is_refused() -> None:
    """As is a master."""
    with pytest.raises(TopologyError, match=f"node {B} is said to be at h:2 and h:3"):
        parse_slots(
            [[0, 5, NODE, [b"h", 2, B.encode()]], [6, 9, NODE, [b"h", 3, B.encode()]]], ASKED
        )


def test_contradicting_roles_are_faults() -> None:
    """A master that is a replica elsewhere, and a replica of two masters."""
    a, b, c = ([b"h", port, name.encode()] for port, name in ((1, A), (2, B), (3, C)))

    answer = parse_slots([[0, 5, a, b, c], [6, 9, b, c]], ASKED)

    assert [(node.id, node.master_id) for node in answer.nodes] == [(A, None), (B, None), (C, A)]
    assert [fault.rpartition(": ")[2] for fault in answer.faults] == [
        f"node {B} is said to be a master and a replica of {A}",
        f"node {C} is said to be a replica of {B}, too",
    ]


NODE = [b"h", 1, A.encode()]


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        ([], "there is no node in it"),
        (None, "it has to be an array, not None"),
        (b"OK", "it has to be an array"),
        ([5], "range 1: a range has to be an array, not 5"),
        ([[5]], "range 1: a range has 1 elements, fewer than 2"),
        ([[0, 16384, NODE]], "range 1: there is no slot 16384"),
        ([[0, 10**5000, NODE]], "range 1: the last slot has to be a number from 0 to 65535"),
        ([[0, -1, NODE]], "range 1: the last slot has to be"),
        ([[True, 5, NODE]], "range 1: the first slot has to be"),
        ([[9, 5, NODE]], "range 1: slots 9-5 are no range"),
        ([[0, 5, NODE], [5, 9, NODE]], f"range 2: slot 5 belongs to node {A} already"),
        (
            [[0, 5, NODE], [6, 9, [b"h", 2, A.encode()]]],
            f"range 2: node {A} is said to be at h:1 and h:2",
        ),
        ([[0, 5, [b"h"]]], "range 1: a node has 1 elements, fewer than 2"),
        ([[0, 5, [b"h", b"1"]]], "range 1: the port has to be"),
        ([[0, 5, [b"h", 65536]]], "range 1: the port has to be"),
        ([[0, 5, [5, 1]]], "range 1: the address has to be a text in ASCII"),
        ([[0, 5, [b"\0", 1]]], "range 1: the address of a node has to be"),
        ([[0, 5, [b"h", 1, b"\xff"]]], "range 1: the id has to be a text in ASCII"),
        ([[0, 5, [b"h", 1, A.encode(), [b"ip"]]]], "range 1: a map has a name without a value"),
        ([[0, 5, [b"h", 1, A.encode(), 7]]], "range 1: a map has to be an array, not 7"),
    ],
)
def test_d08_nonsense_in_slots(reply: Any, complaint: str) -> None:
    """Who answers nonsense is named, and where it stands."""
    with pytest.raises(TopologyError) as refused:
        parse_slots(reply, ASKED)

    assert str(refused.value).startswith("CLUSTER SLOTS of 10.0.0.9:7009")
    assert complaint in str(refused.value)


# CLUSTER SHARDS.


def shard_node(name: str, role: bytes = b"master", **more: Any) -> list[Any]:
    fields = {
        "id": name.encode(),
        "port": 7001,
        "ip": b"10.0.0.1",
        "endpoint": b"10.0.0.1",
        "role": role,
        "replication-offset": 5,
        "health": b"online",
        **more,
    }
    return [part for key, value in fields.items() for part in (key.encode(), value)]


def shard(slots: list[int], *nodes: Any) -> list[Any]:
    return [b"slots", slots, b"nodes", list(nodes)]


def test_shards_are_slots_and_nodes() -> None:
    """In RESP2, where maps are flat."""
    replica = shard_node(B, b"replica", port=7002, health=b"fail")

    answer = parse_shards([shard([0, 5, 9, 9], shard_node(A), replica)], ASKED)

    assert owned(answer, A) == [0, 1, 2, 3, 4, 5, 9]
    assert [(node.id, node.master_id, node.is_failed) for node in answer.nodes] == [
        (A, None, False),
        (B, A, True),
    ]
    assert (answer.has_epochs, answer.faults) == (False, ())


def test_shards_of_resp3() -> None:
    """The same, as maps."""
    flat = shard_node(A, hostname=b"cache-1")
    node = dict(zip(flat[::2], flat[1::2], strict=True))

    answer = parse_shards([{b"slots": [0, 16383], b"nodes": [node]}], ASKED)

    assert answer == parse_shards([shard([0, 16383], flat)], ASKED)
    assert answer.nodes[0].hostname == "cache-1"


def test_shards_with_tls_have_another_port() -> None:
    """Where a server has no plain port."""
    node = shard_node(A)
    node[node.index(b"port")] = b"tls-port"

    assert parse_shards([shard([0, 5], node)], ASKED).nodes[0].port == 7001


def test_shards_behind_one_address() -> None:
    """`cluster-preferred-endpoint-type unknown-endpoint` gives null, the address that was asked."""
    answer = parse_shards([shard([0, 5], shard_node(A, endpoint=None))], ASKED)

    assert answer.nodes[0].host == ASKED.host


def test_in_a_failover_the_living_master_has_the_slots() -> None:
    """The one that failed is still called a master for a moment."""
    failed, living = shard_node(A, health=b"fail"), shard_node(B, port=7002)

    answer = parse_shards([shard([0, 5], failed, living)], ASKED)

    assert owned(answer, B) == [0, 1, 2, 3, 4, 5]
    assert len(answer.faults) == 1


def test_a_shard_without_a_master_covers_nothing() -> None:
    """Its slots are nobody's until it has one."""
    lost = shard([0, 5], shard_node(A, b"replica"))

    answer = parse_shards([lost, shard([6, 7], shard_node(B))], ASKED)

    assert answer.faults == ("CLUSTER SHARDS of 10.0.0.9:7009, shard 1: it has no master",)
    assert answer.owners[:8] == (-1, -1, -1, -1, -1, -1, 1, 1)


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        ([[b"slots", [0, 5]]], "shard 1: nodes has to be an array, not None"),
        ([[b"nodes", []]], "shard 1: slots has to be an array, not None"),
        ([shard([0], shard_node(A))], "shard 1: slots have to come in pairs"),
        ([shard([0, 5], shard_node(A, b"boss"))], "shard 1: the role has to be master or replica"),
        ([shard([0, 5], shard_node(A, id=5))], "shard 1: the id has to be a text"),
        ([shard([0, 5], shard_node(A, port=None))], "shard 1: the port has to be"),
        ([shard([0, 5], [])], "shard 1: the id has to be a text"),
        ([shard([0, 5])], "there is no node in it"),
        ([shard([0, 5], shard_node(A)), shard([3, 3], shard_node(B))], "shard 2: slot 3 belongs"),
    ],
)
def test_d08_nonsense_in_shards(reply: Any, complaint: str) -> None:
    """Who answers nonsense is named, and where it stands."""
    with pytest.raises(TopologyError) as refused:
        parse_shards(reply, ASKED)

    assert str(refused.value).startswith("CLUSTER SHARDS of 10.0.0.9:7009")
    assert complaint in str(refused.value)


# Whatever comes.


@given(st.binary(max_size=400))
@example(line() + b"\0")
def test_any_bytes_give_an_answer_or_a_topology_error(text: bytes) -> None:
    """No other error ever leaves the parser."""
    survives(parse_nodes, text)


@given(st.data())
def test_mutated_lines_give_an_answer_or_a_topology_error(data: st.DataObject) -> None:
    """The same, nearer to what is right."""
    words = REDIS_3.decode().split(" ")
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(words) - 1))
        words[place] = data.draw(
            st.sampled_from(
                ["", "-", "0-16383", "99999", "[5-<-x]", "slave", A, "::", "1" * 30, "\n"]
            )
            | st.text(max_size=8)
        )
    survives(parse_nodes, " ".join(words).encode())


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary(max_size=8)
    | st.text(max_size=8)
    | st.sampled_from([b"slots", b"nodes", b"id", b"role", b"master", b"ip", A.encode(), 1 << 70])
)
replies = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.binary(max_size=5) | st.sampled_from([b"slots", b"nodes"]), inner)
    ),
    max_leaves=30,
)


@given(
    replies | st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.just(NODE)).map(list))
)
def test_any_values_give_an_answer_or_a_topology_error(reply: Any) -> None:
    """No other error ever leaves the parsers, whatever the reply is."""
    survives(parse_slots, reply)
    survives(parse_shards, reply)
    survives(parse_shards, [{b"slots": [0, 5], b"nodes": reply}])
    survives(parse_shards, [{b"slots": reply, b"nodes": [shard_node(A)]}])


@pytest.mark.parametrize("depth", [1, 2, 100_000])
def test_d03_a_deep_reply_costs_no_stack(depth: int) -> None:
    """Nothing recurses on what a node sent."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]

    for reply in (
        value,
        [[0, 5, value]],
        [[0, 5, [b"h", 1, A.encode(), value]]],
        [shard([0, 5], value)],
    ):
        survives(parse_slots, reply)
        survives(parse_shards, reply)


def survives(parse: Any, value: Any) -> None:
    answer = complaint = None
    try:
        answer = parse(value, ASKED)
    except TopologyError as error:
        complaint = str(error)
    if answer is None:
        assert complaint is not None
        assert len(complaint) < 600
    else:
        assert len(answer.owners) == 16384
        assert all(-1 <= owner < len(answer.nodes) for owner in answer.owners)
