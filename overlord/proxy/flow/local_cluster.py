"""
CLUSTER, as a node of a Redis Cluster answers it: the masters are the proxies.

So a client that knows of clusters connects, and sends each key to the proxy that it believes to be the key's
master; any proxy serves any key. What changes a cluster is refused: that is for the nodes themselves.
"""

from collections.abc import Callable

from overlord.hashing import SLOTS, slot_of
from overlord.proxy.flow import command_errors as errors
from overlord.proxy.flow.command_errors import CommandRejected
from overlord.proxy.flow.keys import parse_integer
from overlord.proxy.flow.session import Pose
from overlord.topology import ClusterNode, render_nodes, render_shards, render_slots
from overlord.wire.resp_encode import Simple, Value, Verbatim, encode, error

BAD_SLOT = error(b"ERR Invalid or out of range slot")
FOR_NODES = "the proxy passes for a cluster, and has none to change; ask a node itself"
ONE_SLOT = "inside a transaction; ask outside of it"
CHANGES = frozenset(
    [
        *(b"ADDSLOTS", b"ADDSLOTSRANGE", b"BUMPEPOCH", b"CANCELSLOTMIGRATIONS", b"DELSLOTS"),
        *(b"DELSLOTSRANGE", b"FAILOVER", b"FLUSHSLOT", b"FLUSHSLOTS", b"FORGET"),
        *(b"GETSLOTMIGRATIONS", b"MEET", b"MIGRATESLOTS", b"MIGRATION", b"REPLICATE", b"RESET"),
        *(b"SAVECONFIG", b"SET-CONFIG-EPOCH", b"SETSLOT", b"SLOT-STATS", b"SYNCSLOTS"),
    ]
)
"""What only a node can do, or tell."""
IN_A_SLOT = (b"COUNTKEYSINSLOT", b"GETKEYSINSLOT")
"""What the owner of a slot is asked."""

HELP = (
    b"CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"COUNTKEYSINSLOT <slot>",
    b"    Return the number of keys in <slot>, as its owner says.",
    b"GETKEYSINSLOT <slot> <count>",
    b"    Return key names of <slot>, as its owner says.",
    b"INFO, LINKS, MYID, MYSHARDID, NODES, REPLICAS <node-id>, SHARDS, SLOTS",
    b"    Tell of a cluster whose masters are the proxies.",
    b"KEYSLOT <key>",
    b"    Return the hash slot for <key>.",
    b"HELP",
    b"    Print this help.",
)


def answer_cluster(argv: list[bytes], protocol: int, pose: Pose) -> bytes:
    """
    The reply to `CLUSTER ...`, for a client that is shown a cluster.

    Raises:
        CommandRejected: the reply is an error.

    """
    word = argv[1].upper()
    name = "cluster|" + argv[1].decode("ascii", "replace").lower()
    if word in CHANGES:
        raise CommandRejected(errors.refused(name, FOR_NODES))
    if word in IN_A_SLOT:
        # Outside of transactions this has gone to the owner of the slot already.
        slot_asked(argv)
        raise CommandRejected(errors.refused(name, ONE_SLOT))
    if word not in _ANSWERS:
        raise CommandRejected(errors.unknown_subcommand(argv))
    count, give = _ANSWERS[word]
    if len(argv) != count:
        raise CommandRejected(errors.wrong_arity(name))
    return encode(give(argv, pose), protocol)


def slot_asked(argv: list[bytes]) -> int | None:
    """
    The slot that COUNTKEYSINSLOT and GETKEYSINSLOT ask about; None for any other command.

    Raises:
        CommandRejected: there is no such slot, or the number of arguments is wrong.

    """
    if len(argv) < 2 or argv[1].upper() not in IN_A_SLOT:
        return None
    if len(argv) != (3 if argv[1].upper() == IN_A_SLOT[0] else 4):
        raise CommandRejected(errors.wrong_arity("cluster|" + argv[1].decode().lower()))
    slot = parse_integer(argv[2])
    if slot is None or not 0 <= slot < SLOTS:
        raise CommandRejected(BAD_SLOT)
    return slot


def _info(argv: list[bytes], pose: Pose) -> Value:
    nodes = pose.slot_map.nodes
    silent = sum(node.is_failed for node in nodes)
    epoch = max(node.config_epoch for node in nodes)
    fields = {
        "cluster_state": "ok",
        "cluster_slots_assigned": SLOTS,
        "cluster_slots_ok": SLOTS,
        "cluster_slots_pfail": 0,
        "cluster_slots_fail": 0,
        "cluster_known_nodes": len(nodes),
        "cluster_size": len(nodes) - silent,
        "cluster_current_epoch": epoch,
        "cluster_my_epoch": nodes[pose.myself].config_epoch,
        "cluster_stats_messages_sent": 0,
        "cluster_stats_messages_received": 0,
        "total_cluster_links_buffer_limit_exceeded": 0,
    }
    return Verbatim("".join(f"{key}:{value}\r\n" for key, value in fields.items()).encode())


def _nodes(argv: list[bytes], pose: Pose) -> Value:
    return Verbatim(render_nodes(pose.slot_map, pose.myself))


def _slots(argv: list[bytes], pose: Pose) -> Value:
    return render_slots(pose.slot_map)


def _shards(argv: list[bytes], pose: Pose) -> Value:
    return render_shards(pose.slot_map)


def _myid(argv: list[bytes], pose: Pose) -> Value:
    return pose.slot_map.nodes[pose.myself].id


def _keyslot(argv: list[bytes], pose: Pose) -> Value:
    return slot_of(argv[2])


def _links(argv: list[bytes], pose: Pose) -> Value:
    """None: there is no cluster bus."""
    return []


def _replicas(argv: list[bytes], pose: Pose) -> Value:
    """None: each master is a proxy."""
    _known(argv, pose)
    return []


def _failure_reports(argv: list[bytes], pose: Pose) -> Value:
    return int(_known(argv, pose).is_failed)


def _known(argv: list[bytes], pose: Pose) -> ClusterNode:
    name = argv[2].lower().decode("ascii", "replace")
    if name not in pose.slot_map.index_of:
        raise CommandRejected(error(b"ERR Unknown node %b" % errors.c_text(argv[2])))
    return pose.slot_map.nodes[pose.slot_map.index_of[name]]


def _help(argv: list[bytes], pose: Pose) -> Value:
    return [Simple(line) for line in HELP]


_ANSWERS: dict[bytes, tuple[int, Callable[[list[bytes], Pose], Value]]] = {
    b"COUNT-FAILURE-REPORTS": (3, _failure_reports),
    b"HELP": (2, _help),
    b"INFO": (2, _info),
    b"KEYSLOT": (3, _keyslot),
    b"LINKS": (2, _links),
    b"MYID": (2, _myid),
    b"MYSHARDID": (2, _myid),
    b"NODES": (2, _nodes),
    b"REPLICAS": (3, _replicas),
    b"SHARDS": (2, _shards),
    b"SLAVES": (3, _replicas),
    b"SLOTS": (2, _slots),
}
"""How many arguments there have to be, and what is said then."""
