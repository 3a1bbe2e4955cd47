"""What real servers say of their clusters, as `overlord.topology` reads it."""

from collections.abc import Iterator
from typing import Any

import pytest
from integration.client import Argument
from integration.programs import RedisServer, wait_for

from overlord.hashing import SLOTS
from overlord.topology import (
    Address,
    Answer,
    ClusterNode,
    SlotMap,
    merge,
    parse_nodes,
    parse_shards,
    parse_slots,
    render_nodes,
)

LOW = range(10)
HIGH = (*range(8000, 8010), SLOTS - 1)
"""The slots of the two masters; all others are nobody's."""
MOVING = 7


@pytest.fixture
def servers(server_version: str) -> Iterator[list[RedisServer]]:
    """Three nodes that know nothing of each other."""
    started = [
        RedisServer(server_version, cluster_enabled="yes", cluster_node_timeout=1000)
        for _ in range(3)
    ]
    try:
        yield [server.start() for server in started]
    finally:
        for server in started:
            server.dispose()


def test_every_version_is_read(servers: list[RedisServer], server_version: str) -> None:
    """Two masters with gaps between their slots, a replica, a slot on its way; then a master dies."""
    first, second, _ = servers
    (lonely,) = nodes_of(first).nodes
    assert lonely.address == Address(*first.address)
    ids = [nodes_of(server).myself or "" for server in servers]

    join(servers, ids)
    merged = merge([nodes_of(server) for server in servers])

    assert shape(merged) == expected(servers, ids)
    assert (merged.moving, merged.faults) == ({MOVING}, ())
    assert all(node.connected and node.is_live for node in merged.nodes)
    for server in servers:
        answers = [parse_slots(ask(server, "CLUSTER", "SLOTS"), Address(*server.address))]
        if server_version != "6.2":
            shards = ask(server, "CLUSTER", "SHARDS")
            answers.append(parse_shards(shards, Address(*server.address)))
        for answer in answers:
            assert shape(merge([answer])) == expected(servers, ids)
            assert answer.faults == ()
    # What we write is read as what they write.
    assert shape(merge([parse_nodes(render_nodes(merged), lonely.address)])) == expected(
        servers, ids
    )

    second.kill()
    wait_for(lambda: is_suspected(nodes_of(first), ids[1]), "the dead master is known as dead", 20)


def join(servers: list[RedisServer], ids: list[str]) -> None:
    first, second, third = servers
    ask(first, "CLUSTER", "ADDSLOTS", *LOW)
    ask(second, "CLUSTER", "ADDSLOTS", *HIGH)
    ask(second, "CLUSTER", "SET-CONFIG-EPOCH", 2)
    for server in servers[1:]:
        ask(first, "CLUSTER", "MEET", *server.address)
    wait_for(lambda: all(knows(server, ids) for server in servers), "all have met", 15)
    ask(third, "CLUSTER", "REPLICATE", ids[0])
    ask(first, "CLUSTER", "SETSLOT", MOVING, "MIGRATING", ids[1])
    wait_for(
        lambda: all(
            shape(merge([answer])) == expected(servers, ids)
            for server in servers
            for answer in (
                nodes_of(server),
                parse_slots(ask(server, "CLUSTER", "SLOTS"), Address(*server.address)),
            )
        ),
        "all tell the same",
        20,
    )


def knows(server: RedisServer, ids: list[str]) -> bool:
    nodes = nodes_of(server).nodes
    return {node.id for node in nodes if node.is_live and node.connected} == set(ids)


def expected(servers: list[RedisServer], ids: list[str]) -> Any:
    masters = (None, None, ids[0])
    places = sorted(
        (name, server.address, master)
        for name, server, master in zip(ids, servers, masters, strict=True)
    )
    return places, {**dict.fromkeys(LOW, ids[0]), **dict.fromkeys(HIGH, ids[1])}


def shape(slot_map: SlotMap) -> Any:
    """Who is where and follows whom, and who has which slot."""
    places = sorted((node.id, tuple(node.address), node.master_id) for node in slot_map.nodes)
    owned = {
        slot: slot_map.nodes[owner].id for slot, owner in enumerate(slot_map.owners) if owner >= 0
    }
    return places, owned


def is_suspected(answer: Answer, name: str) -> bool:
    node: ClusterNode = next(node for node in answer.nodes if node.id == name)
    return node.is_failed or "fail?" in node.flags


def ask(server: RedisServer, *arguments: Argument) -> Any:
    with server.client() as client:
        return client.call(*arguments)


def nodes_of(server: RedisServer) -> Answer:
    return parse_nodes(ask(server, "CLUSTER", "NODES"), Address(*server.address))
