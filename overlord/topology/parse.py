"""
What nodes answer to CLUSTER NODES, SLOTS and SHARDS, of Redis from 3.0 on and Valkey.

The replies of SLOTS and SHARDS come as Python values: lists, bytes, numbers, None, and dicts for the maps of
RESP3. Nothing here recurses, and the work is in proportion to the size of what came.

Sources: the pages of the three commands at redis.io and valkey.io; `clusterGenNodesDescription` and
`clusterGenNodeSlotsInfo` in the servers' cluster_legacy.c.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import evolve

from overlord.hashing import SLOTS
from overlord.topology.answer import MAX_EPOCH, MAX_PORT, Answer, Draft
from overlord.topology.slot_map import (
    FAILED,
    MASTER_FLAG,
    NO_ADDRESS,
    REPLICA_FLAG,
    Address,
    ClusterNode,
)

MAX_TEXT = 16 << 20
"""Bytes of an answer to CLUSTER NODES: a thousand nodes that share every slot singly need two MiB."""
MAX_FLAGS = 32
COLUMNS = 8
"""What each line has before its slots: id, address, flags, master, ping, pong, epoch, link."""
MYSELF = "myself"
UNKNOWN_HOST = "?"
"""What stands in SLOTS and SHARDS for a name that was to be told and is not known."""
ZONE_FIELDS = ("availability-zone", "availability_zone")

_SLOTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_MOVING = re.compile(r"\[([0-9]{1,5})-[<>]-[!-~]{1,128}\]")
_FLAG = re.compile(r"[a-z0-9_?-]{1,32}")


def parse_nodes(text: bytes, asked: Address) -> Answer:
    """
    Read an answer to CLUSTER NODES.

    Each line is `id ip:port@bus-port,hostname,field=value flags master ping pong epoch link slots...`; what
    follows the port came with later versions.

    Raises:
        TopologyError: it is no such answer, or contradicts itself.

    """
    draft = Draft("CLUSTER NODES", asked)
    if len(text) > MAX_TEXT:
        draft.refuse(f"it has {len(text)} bytes, more than {MAX_TEXT}")
    try:
        lines = text.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        draft.refuse(f"byte {error.start} of it is no ASCII")
    myself = None
    for number, line in enumerate(lines, 1):
        draft.where = f"line {number}"
        words = line.removesuffix("\r").split(" ")
        if words == [""]:
            continue
        index = draft.add(_node(words, draft))
        if MYSELF in draft.nodes[index].flags:
            if myself is not None:
                draft.refuse("a second node says that it is the one that answers")
            myself = draft.nodes[index].id
        _take_slots(words[COLUMNS:], index, draft)
    _check_masters(draft)
    return draft.answer(has_epochs=True, myself=myself)


def _node(words: list[str], draft: Draft) -> ClusterNode:
    if len(words) < COLUMNS:
        draft.refuse(f"it has {len(words)} columns, fewer than {COLUMNS}")
    name, place, flag_words, master, _, _, epoch, link = words[:COLUMNS]
    flags = frozenset(flag_words.split(","))
    if len(flags) > MAX_FLAGS or not all(map(_FLAG.fullmatch, flags)):
        draft.refuse("flags have to be words with commas between", flag_words)
    if link not in ("connected", "disconnected"):
        draft.refuse("the link has to be connected or disconnected", link)
    address, _, fields = place.partition(",")
    host, port = _host_and_port(address, MYSELF in flags, draft)
    hostname, zone = _auxiliary(fields) if fields else (None, None)
    return ClusterNode(
        id=draft.id(name),
        host=host,
        port=port,
        master_id=None if master == "-" else draft.id(master),
        flags=flags if host else flags | {NO_ADDRESS},
        config_epoch=draft.number(epoch, "the epoch", MAX_EPOCH),
        connected=link == "connected",
        zone=zone,
        hostname=hostname and draft.host(hostname),
    )


def _host_and_port(address: str, is_myself: bool, draft: Draft) -> tuple[str, int]:
    """Where a node is; an empty host if nobody knows."""
    host, colon, port_text = address.partition("@")[0].rpartition(":")
    if not colon:
        draft.refuse("the address has to be a host, a colon and a port", address)
    port = draft.number(port_text, "the port", MAX_PORT)
    if is_myself:
        # A node learns its address from others, so one that has met none does not know it; and one that
        # is reached by TLS alone has port 0.
        return draft.host(host) if host else draft.asked.host, port or draft.asked.port
    if not host or host == UNKNOWN_HOST or not port:
        return "", 0
    return draft.host(host), port


def _auxiliary(fields: str) -> tuple[str | None, str | None]:
    """Name of the host and zone, from what follows the first comma of an address."""
    hostname, *rest = fields.split(",")
    if "=" in hostname:
        hostname, rest = "", [hostname, *rest]
    pairs = dict(field.partition("=")[::2] for field in rest)
    return hostname or None, _zone(pairs)


def _zone(pairs: Mapping[str, str | None]) -> str | None:
    return next((pairs[name] for name in ZONE_FIELDS if pairs.get(name)), None)


def _take_slots(words: list[str], index: int, draft: Draft) -> None:
    node = draft.nodes[index]
    for word in words:
        if (match := _SLOTS.fullmatch(word)) is not None:
            if node.is_replica:
                draft.fault(f"slots {word} are said to belong to a replica, {node.id}")
                continue
            first = int(match[1])
            draft.claim(index, first, first if match[2] is None else int(match[2]))
        elif (match := _MOVING.fullmatch(word)) is not None:
            slot = int(match[1])
            if slot >= SLOTS:
                draft.refuse(f"there is no slot {slot}, the last one is {SLOTS - 1}")
            draft.moving.add(slot)
        elif word:
            draft.refuse("slots have to be as in 5, 5-10, [5->-id] or [5-<-id]", word)


def _check_masters(draft: Draft) -> None:
    """Name what is strange about who follows whom: nothing of it stands in the way of the slots."""
    draft.where = ""
    for index, node in enumerate(draft.nodes):
        if node.master_id is None:
            continue
        if not node.is_replica:
            draft.fault(f"node {node.id} is said to be a master that follows {node.master_id}")
            draft.nodes[index] = evolve(node, master_id=None)
        elif node.master_id == node.id:
            draft.fault(f"replica {node.id} is said to follow itself")
        elif node.master_id not in draft.index_of:
            draft.fault(f"replica {node.id} follows {node.master_id}, which is not in it")
        elif draft.nodes[draft.index_of[node.master_id]].is_replica:
            draft.fault(f"replica {node.id} follows {node.master_id}, which is a replica, too")


def parse_slots(reply: Any, asked: Address) -> Answer:
    """
    Read an answer to CLUSTER SLOTS: ranges of slots, each with its master and then the replicas.

    Nodes are `[host, port, id, metadata]`; the id came with Redis 4 and the metadata with 7.

    Raises:
        TopologyError: it is no such answer, or contradicts itself.

    """
    draft = Draft("CLUSTER SLOTS", asked)
    followers: dict[tuple[str, str, Address], tuple[str, ClusterNode]] = {}
    seen: dict[tuple[Any, ...], ClusterNode] = {}
    for number, entry in enumerate(_items(reply, "it", draft), 1):
        draft.where = f"range {number}"
        first, last, *nodes = _items(entry, "a range", draft, at_least=2)
        range_ends = (
            _integer(first, "the first slot", draft),
            _integer(last, "the last slot", draft),
        )
        if not nodes:
            draft.fault(f"nobody is said to have the slots {range_ends[0]} to {range_ends[1]}")
            continue
        master, *replicas = [_slots_node(node, seen, draft) for node in nodes]
        draft.claim(_known(master, draft), *range_ends)
        for replica in replicas:
            followers[master.id, replica.id, replica.address] = (master.id, replica)
    draft.where = ""
    _add_replicas(followers.values(), draft)
    return draft.answer(has_epochs=False)


def _slots_node(value: Any, seen: dict[tuple[Any, ...], ClusterNode], draft: Draft) -> ClusterNode:
    host, port, *rest = _items(value, "a node", draft, at_least=2)
    name = rest[0] if rest else b""
    # A node stands in each of its ranges, which may be thousands, and mostly in the same words.
    words = (host, port, name)
    are_plain = isinstance(host, bytes) and type(port) is int and isinstance(name, bytes)
    if are_plain and words in seen:
        return seen[words]
    fields = _fields(rest[1], draft) if len(rest) > 1 and rest[1] is not None else {}
    endpoint = None if host is None else _text(host, "the address", draft)
    node = _named_node(_text(name, "the id", draft), endpoint, port, fields, draft)
    if are_plain:
        seen[words] = node
    return node


def _named_node(
    name: str, endpoint: str | None, port: Any, fields: Mapping[str, Any], draft: Draft
) -> ClusterNode:
    """A node as SLOTS and SHARDS tell of it: a master so far."""
    texts = {key: _word(value) for key, value in fields.items()}
    if endpoint == UNKNOWN_HOST:
        endpoint = texts.get("ip") or UNKNOWN_HOST
    host = "" if endpoint == UNKNOWN_HOST else draft.host(endpoint or draft.asked.host)
    number = _integer(port, "the port", draft)
    if number > MAX_PORT:
        draft.refuse(f"the port has to be a number up to {MAX_PORT}", number)
    hostname = texts.get("hostname")
    address = Address(host, number or draft.asked.port)
    return ClusterNode(
        id=draft.id(name) if name else str(address),
        host=address.host,
        port=address.port,
        master_id=None,
        flags=frozenset({MASTER_FLAG} if host else {MASTER_FLAG, NO_ADDRESS}),
        config_epoch=0,
        connected=True,
        zone=_zone(texts),
        hostname=draft.host(hostname) if hostname and hostname != UNKNOWN_HOST else None,
    )


def _known(node: ClusterNode, draft: Draft) -> int:
    """The index of a node, which may have been named before."""
    index = draft.index_of.get(node.id)
    if index is None:
        return draft.add(node)
    if draft.nodes[index].address != node.address:
        there = f"{draft.nodes[index].address} and {node.address}"
        draft.refuse(f"node {node.id} is said to be at {there}")
    return index


def _add_replicas(followers: Iterable[tuple[str, ClusterNode]], draft: Draft) -> None:
    for master_id, replica in followers:
        index = draft.index_of.get(replica.id)
        if index is None:
            flags = replica.flags - {MASTER_FLAG} | {REPLICA_FLAG}
            draft.add(evolve(replica, master_id=master_id, flags=flags))
        elif draft.nodes[index].master_id is None:
            draft.fault(f"node {replica.id} is said to be a master and a replica of {master_id}")
        elif draft.nodes[index].master_id != master_id:
            draft.fault(f"node {replica.id} is said to be a replica of {master_id}, too")
        else:
            _known(replica, draft)


def parse_shards(reply: Any, asked: Address) -> Answer:
    """
    Read an answer to CLUSTER SHARDS: maps with `slots` and `nodes`, which are maps again.

    Raises:
        TopologyError: it is no such answer, or contradicts itself.

    """
    draft = Draft("CLUSTER SHARDS", asked)
    followers: list[tuple[str, ClusterNode]] = []
    for number, value in enumerate(_items(reply, "it", draft), 1):
        draft.where = f"shard {number}"
        shard = _fields(value, draft)
        nodes = [_shards_node(node, draft) for node in _items(shard.get("nodes"), "nodes", draft)]
        slots = [
            _integer(slot, "a slot", draft) for slot in _items(shard.get("slots"), "slots", draft)
        ]
        if len(slots) % 2:
            draft.refuse("slots have to come in pairs")
        masters = [node for node in nodes if not node.is_replica]
        # During a failover the one that failed may still be called a master, beside its successor.
        master = min(masters, key=lambda node: node.is_failed, default=None)
        if master is None:
            if nodes:
                draft.fault("it has no master")
            elif slots:
                draft.fault("it has slots and no node")
            for node in nodes:
                _known(node, draft)
            continue
        index = _known(master, draft)
        for first, last in zip(slots[::2], slots[1::2], strict=True):
            draft.claim(index, first, last)
        for node in nodes:
            if node.is_replica:
                followers.append((master.id, node))
            elif node is not master:
                draft.fault(f"{node.id} is said to be a master beside {master.id}")
                _known(node, draft)
    draft.where = ""
    _add_replicas(followers, draft)
    return draft.answer(has_epochs=False)


def _shards_node(value: Any, draft: Draft) -> ClusterNode:
    fields = _fields(value, draft)
    port = fields.get("port", fields.get("tls-port"))
    ip = fields.get("ip")
    endpoint = fields.get("endpoint", ip)
    node = _named_node(
        _text(fields.get("id"), "the id", draft),
        None if endpoint is None else _text(endpoint, "the endpoint", draft),
        port,
        fields,
        draft,
    )
    flags = set(node.flags)
    role = _word(fields.get("role"))
    if role in ("replica", "slave"):
        flags = flags - {MASTER_FLAG} | {REPLICA_FLAG}
    elif role not in ("master", "primary"):
        draft.refuse("the role has to be master or replica", fields.get("role"))
    health = _word(fields.get("health"))
    if health in ("failed", FAILED):
        flags.add(FAILED)
    elif health == "loading":
        flags.add(health)
    return evolve(node, flags=frozenset(flags))


# Values of replies.


def _items(value: Any, what: str, draft: Draft, at_least: int = 0) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        draft.refuse(f"{what} has to be an array", value)
    if len(value) < at_least:
        draft.refuse(f"{what} has {len(value)} elements, fewer than {at_least}")
    return value


def _fields(value: Any, draft: Draft) -> dict[str, Any]:
    """A map of RESP3, or the flat array that stands for one in RESP2."""
    pairs: Iterable[tuple[Any, Any]]
    if isinstance(value, dict):
        pairs = value.items()
    else:
        flat = _items(value, "a map", draft)
        if len(flat) % 2:
            draft.refuse("a map has a name without a value")
        pairs = zip(flat[::2], flat[1::2], strict=True)
    return {word: item for key, item in pairs if (word := _word(key)) is not None}


def _word(value: Any) -> str | None:
    """A text in ASCII; None for whatever else."""
    if isinstance(value, bytes):
        return value.decode("ascii") if value.isascii() else None
    return value if isinstance(value, str) and value.isascii() else None


def _text(value: Any, what: str, draft: Draft) -> str:
    word = _word(value)
    if word is None:
        draft.refuse(f"{what} has to be a text in ASCII", value)
    return word


def _integer(value: Any, what: str, draft: Draft) -> int:
    if type(value) is not int or not 0 <= value <= MAX_PORT:
        draft.refuse(f"{what} has to be a number from 0 to {MAX_PORT}", value)
    return value
