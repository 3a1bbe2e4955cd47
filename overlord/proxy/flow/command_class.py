"""The classes of commands that latencies are counted by: few, and none of them named by a client."""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from overlord.proxy.flow.command_row import Command, Kind


class CommandClass(IntEnum):
    """What kind of work a request is. The numbers are places in the arrays of `Latencies`."""

    GET = 0
    """A read that has hit or missed, as its one reply says."""
    MGET = 1
    """The same, with a reply for each key."""
    MGET_PART = 2
    """What one node is sent of an MGET."""
    READ = 3
    WRITE = 4
    SCRIPT = 5
    TRANSACTION = 6
    """Everything over a connection that a client has for itself because of WATCH or MULTI."""
    BLOCKING = 7
    """A command that may wait at the node, so that its time says nothing about the node."""
    OTHER = 8
    SPLIT = 9
    """A request that was split by node, until the last part is answered."""
    ALL_NODES = 10
    """A request that concerns every node."""
    PART = 11
    """What one node is sent of a request that several nodes are asked for."""


LABELS: Mapping[CommandClass, str] = MappingProxyType(
    {
        CommandClass.GET: "read",
        CommandClass.MGET: "read",
        CommandClass.READ: "read",
        CommandClass.WRITE: "write",
        CommandClass.SPLIT: "split",
        CommandClass.ALL_NODES: "all-nodes",
        CommandClass.SCRIPT: "script",
        CommandClass.TRANSACTION: "transaction",
        CommandClass.BLOCKING: "blocking",
        CommandClass.OTHER: "other",
    }
)
"""The value of the label `class`. A part is no request of a client, and has none."""


def class_of(row: Command) -> CommandClass:
    """The class of a command that is sent to one node."""
    words = row.flags.split()
    if row.name == b"GET":
        return CommandClass.GET
    if row.kind is Kind.MGET:
        return CommandClass.MGET
    if row.group == "scripting":
        return CommandClass.SCRIPT
    if "readonly" in words:
        return CommandClass.READ
    return CommandClass.WRITE if "write" in words else CommandClass.OTHER
