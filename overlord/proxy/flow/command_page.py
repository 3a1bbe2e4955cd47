"""
The page `docs/commands.md`, made from the table: `python -m overlord.proxy.flow.command_page`.

A test compares what this prints with the file.
"""

import sys
from collections.abc import Iterable
from itertools import groupby

from overlord.proxy.flow.command_row import Command, Kind
from overlord.proxy.flow.redis_commands import COMMANDS

WHAT_HAPPENS = {
    Kind.KEY: ("One key", "Forwarded to the node that has the key."),
    Kind.KEYS: (
        "Several keys",
        (
            "Forwarded when all keys are on one node (a hash tag keeps them together);"
            " otherwise the answer is a `CROSSSLOT` error, and nothing is done."
        ),
    ),
    Kind.NUMKEYS: (
        "Several keys, counted by an argument",
        (
            "Forwarded when all keys are on one node, else a `CROSSSLOT` error."
            " A script without keys runs on one node, and sees only the keys of that one."
        ),
    ),
    Kind.SPECIAL: (
        "Keys that depend on options",
        (
            "Forwarded when all keys are on one node, else a `CROSSSLOT` error."
            " The patterns of SORT's BY and GET, and a DB other than 0 are refused."
        ),
    ),
    Kind.CONTAINER: ("Subcommands", "The second word decides; see `container subcommand` below."),
    Kind.MGET: (
        "Split: values",
        "Each node is asked for its keys; the values come in the order of the keys.",
    ),
    Kind.MSET: (
        "Split: OK",
        (
            "Each node gets its keys; the answer is OK when all nodes say so, else the first error."
            " It is not atomic across nodes."
        ),
    ),
    Kind.SUM: (
        "Split: sum",
        "Each node gets its keys; the answer is the sum. It is not atomic across nodes.",
    ),
    Kind.EVERY: (
        "All nodes",
        (
            "Every node is asked, and the replies become one: counts are added up, lists put one"
            " behind the other, RANDOMKEY picks one of the nodes' keys, a script exists when all nodes"
            " have it, PUBSUB CHANNELS has each name once, PUBSUB NUMPAT is the largest of the nodes' counts,"
            " and PUBSUB NUMSUB counts each client of this proxy, and any other proxy as one. An error of any"
            " node is the answer, and what the others did stays done. SCRIPT KILL and FUNCTION KILL go over"
            " connections of their own, past the script that holds up others, and one node's OK is enough;"
            " NOTBUSY means that no node runs one."
        ),
    ),
    Kind.SCAN: (
        "One node after the other",
        (
            "The cursor says which node is asked, and how far the scan is there. It holds what Redis"
            " promises as long as the nodes stay the same; after a change the answer is"
            " `-ERR invalid cursor`. COUNT, MATCH and TYPE are the node's affair, and so is whether a"
            " reply is empty before the end."
        ),
    ),
    Kind.TRANSACTION: (
        "Transactions",
        (
            "A transaction concerns one node: that of WATCH, or else of its first key. From then on the client"
            " has a connection to that node for itself, until EXEC, DISCARD or UNWATCH. Keys of other nodes"
            " are a `CROSSSLOT` error, and EXEC then answers EXECABORT. At most `transaction_pins` clients"
            " are in a transaction on one node; who leaves one open for `pin_idle_timeout`, or loses the node,"
            " gets EXECABORT, or null if keys were watched. What concerns all nodes, and what the proxy"
            " answers itself, is refused inside, but for PING, ECHO, TIME and SELECT 0. So is a command whose"
            " arguments do not say where its keys are, such as an XREAD without IDs: Redis queues it, and its"
            " error stands in EXEC's list; here EXEC answers EXECABORT, and nothing is done."
        ),
    ),
    Kind.BLOCKING: (
        "Waiting at a node",
        (
            "When all keys are on one node, the client gets a connection to it for itself, and waits there;"
            " otherwise the answer is a `CROSSSLOT` error. XREAD and XREADGROUP with BLOCK do the same."
            " At most `blocking_pins` clients wait at one node. The wait ends when the client leaves."
        ),
    ),
    Kind.PUBLISH: (
        "Publishing",
        (
            "Forwarded to the node of the channel, which is that of a key of the same name (hash tags"
            " included). The answer is the node's count, for which a proxy process is one subscriber for a"
            " channel and one for each pattern, however many of its clients listen. In a transaction the"
            " channel has to be on its node; what a script publishes is seen only if the channel is on the"
            " script's node. A client of RESP3 that listens to what it publishes may get the answer before the"
            " message."
        ),
    ),
    Kind.SUBSCRIBE: (
        "Subscribing",
        (
            "Clients share one connection to each node, which listens for all of them. A channel is listened"
            " to at its node, a pattern at all nodes, so each message comes once."
            " The confirmation comes when the nodes have confirmed, and"
            " a node that is not there makes it an error. When a node is lost, its subscribers stay"
            " connected and are subscribed again when it is back; what was published meanwhile is lost."
            " `__keyspace@0__:key` is listened to at the key's node, `__keyevent@0__:event` at all nodes."
            " A client may have `max_subscriptions`. In a transaction these commands are refused."
        ),
    ),
    Kind.ANY: ("Any node", "Forwarded to whichever node."),
    Kind.LOCAL: ("Answered by the proxy", "No node is asked."),
}

HEAD = """# Commands

What the proxy does with each command.
This page is made from the table (`python -m overlord.proxy.flow.command_page`).
A node that is too old for a command that is forwarded says so itself.
"""


def page() -> str:
    """The page, as Markdown."""
    sections = [HEAD]
    for kind, (title, text) in WHAT_HAPPENS.items():
        names = [row for row in COMMANDS if row.kind is kind]
        lines = text.replace(". ", ".\n")  # one sentence per line keeps differences readable
        sections.append(f"## {title}\n\n{lines}\n\n{_by_group(names)}")
    sections.append(
        "## Refused\n\n"
        "The answer is `-ERR 'name' is not supported by the proxy: why`, and the connection goes"
        f" on.\n\n{_by_reason(row for row in COMMANDS if row.kind is Kind.REFUSED)}"
    )
    return "\n".join(sections)


def _by_group(rows: Iterable[Command]) -> str:
    ordered = sorted(rows, key=lambda row: (row.group, row.name))
    groups = groupby(ordered, key=lambda row: row.group)
    return "".join(f"- {group}: {_names(members)}\n" for group, members in groups)


def _by_reason(rows: Iterable[Command]) -> str:
    ordered = sorted(rows, key=lambda row: (row.why, row.name))
    groups = groupby(ordered, key=lambda row: row.why)
    return "".join(f"- {_names(members)}: {why}.\n" for why, members in groups)


def _names(rows: Iterable[Command]) -> str:
    return ", ".join(f"`{row.name.decode().replace('|', ' ')}`" for row in rows)


if __name__ == "__main__":
    sys.stdout.write(page())
