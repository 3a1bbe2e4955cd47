"""Commands at random, most of them right and some wrong, written from what COMMAND DOCS of a server says of them."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from integration.client import Client, Map, Reply, Set, Status, encode

from overlord.proxy.flow.command_row import Kind
from overlord.proxy.flow.redis_commands import COMMANDS

Words = list[bytes]

FORWARDED = (
    Kind.KEY,
    Kind.KEYS,
    Kind.NUMKEYS,
    Kind.SPECIAL,
    Kind.MGET,
    Kind.MSET,
    Kind.SUM,
    Kind.BLOCKING,
    Kind.TRANSACTION,
)
LEFT_OUT = frozenset(
    b"""SPOP SRANDMEMBER HRANDFIELD ZRANDMEMBER XADD XINFO XCLAIM XAUTOCLAIM XPENDING XREADGROUP DUMP OBJECT
    SCAN SSCAN HSCAN ZSCAN MEMORY TTL PTTL EXPIRETIME PEXPIRETIME ZRANK ZREVRANK SORT
    SORT_RO EXEC""".split()
)
"""
Whose replies two servers need not give alike: chance, time and memory have a say in them.

ZRANK and ZREVRANK take more arguments since Redis 7.2. EXEC is among `OTHERS`, more often than all of these.
"""
WAITING = frozenset({b"XREAD"} | {row.name for row in COMMANDS if row.kind is Kind.BLOCKING})
SHORT = (b"0.01", b"0.01", b"-1", b"x")
"""Timeouts in seconds of commands that wait."""
FAR = (b"100000", b"99999999999", b"-1", b"0", b"x")
"""Times in seconds or milliseconds at which keys expire: never while a test runs, or at once."""
SCRIPTS = (
    b"return KEYS",
    b"return {ARGV[1], KEYS[1], 1, false, {ok='fine'}}",
    b"return redis.call('get', KEYS[1])",
    b"return redis.call('set', KEYS[1], ARGV[1])",
    b"return redis.error_reply('no')",
    b"no script(",
)
TEXTS = (
    *(b"a", b"b", b"1", b"2", b"-7", b"3.5", b"", b"x y", b"\0\r\n\xff", b"z" * 70, b"1-1", b"5-5"),
    *(b"0", b"$", b"+", b"-", b"*", b"(1", b"[a", b"inf"),
)
INTEGERS = (
    *(b"0", b"1", b"2", b"3", b"-1", b"100", b"9223372036854775807", b"9223372036854775808"),
    *(b"-9223372036854775808", b"4294967296", b"x", b"1.5", b"", b" 1", b"+1"),
)
DOUBLES = (b"0", b"1", b"1.5", b"-2.5", b"inf", b"-inf", b"nan", b"1e400", b"x")
OTHERS = (
    *("MULTI", "MULTI", "MULTI x", "EXEC", "EXEC", "EXEC", "EXEC x", "DISCARD", "UNWATCH", "WATCH"),
    *("PING", "PING a", "PING a b", "ECHO", "ECHO a", "SELECT 0", "SELECT 99", "SELECT x", "RESET"),
    *("HELLO 2", "HELLO 3", "HELLO 4", "HELLO x", "AUTH x", "AUTH a b", "NOSUCH", "NOSUCH a b"),
    *(
        "OBJECT NOSUCH",
        "XGROUP NOSUCH a",
        "CLIENT NOSUCH",
        "CONFIG",
        "SCRIPT NOSUCH",
        "PUBSUB NOSUCH",
    ),
    *("SCRIPT LOAD return", "SCRIPT EXISTS x", "SCRIPT FLUSH", "FUNCTION LIST", "FUNCTION FLUSH"),
    *(
        "DBSIZE",
        "DBSIZE x",
        "KEYS *",
        "FLUSHALL",
        "FLUSHDB x",
        "CLIENT SETNAME a",
        "CLIENT GETNAME",
    ),
)
"""What is no command by keys, as one types it."""


class CommandWriter:
    """
    Writes commands about few keys, so that they meet each other.

    Args:
        draw: what decides.
        docs: what the server says of its commands, see `documented`.
        tag: what all keys begin with.

    """

    def __init__(self, draw: random.Random, docs: Mapping[bytes, Any], tag: bytes) -> None:
        self._draw = draw
        self._docs = docs
        self._tag = tag
        self._keys = [tag + b"%d" % number for number in range(6)]
        served = {row.name.partition(b"|")[0] for row in COMMANDS if row.kind in FORWARDED}
        self._names = sorted(name for name in docs if name.upper() in served - LEFT_OUT)

    def pipeline(self) -> list[Words]:
        """One command, or some."""
        return [self.command() for _ in range(self._draw.choice((1, 1, 2, 5, 10)))]

    def command(self) -> Words:
        """A command that may be wrong."""
        draw = self._draw
        if draw.random() < 0.3:
            return draw.choice(OTHERS).encode().split(b" ")
        words = self._right(draw.choice(self._names))
        waits = words[0].upper() in WAITING
        match draw.randrange(20):
            case 0 | 1 if len(words) > 1:
                del words[draw.randrange(1, len(words)) :]
            case _ if waits:
                pass  # a timeout that is put wrong may be for ever
            case 2 | 3:
                words.insert(draw.randrange(1, len(words) + 1), draw.choice(TEXTS))
            case 4 if len(words) > 1:
                words[draw.randrange(1, len(words))] = draw.choice(TEXTS)
            case 5:
                words[0] = words[0].swapcase()
        return words

    def on_the_wire(self, words: Words) -> bytes:
        """The command as an array, or as the line that one would type."""
        plain = all(word.isalnum() for word in words)
        return b" ".join(words) + b"\r\n" if plain and self._draw.random() < 0.1 else encode(*words)

    def _right(self, name: bytes) -> Words:
        entry = self._docs[name]
        words = [name]
        if b"subcommands" in entry:
            full = self._draw.choice(sorted(entry[b"subcommands"]))
            words, entry = full.split(b"|"), entry[b"subcommands"][full]
        for argument in entry.get(b"arguments", ()):
            words += self._argument(argument, name)
        return self._counted(words)

    def _argument(self, argument: Mapping[bytes, Any], name: bytes) -> Words:
        draw = self._draw
        flags = [flag.text for flag in argument[b"flags"].members] if b"flags" in argument else []
        if b"optional" in flags and draw.random() < 0.6:
            return []
        words: Words = []
        for turn in range(draw.choice((1, 1, 2, 3)) if b"multiple" in flags else 1):
            if b"token" in argument and (turn == 0 or b"multiple_token" in flags):
                words.append(argument[b"token"])
            words += self._value(argument, name)
        return words

    def _value(self, argument: Mapping[bytes, Any], name: bytes) -> Words:
        draw, what = self._draw, argument[b"name"]
        match argument[b"type"]:
            case b"pure-token":
                return []
            case b"oneof":
                return self._argument(draw.choice(argument[b"arguments"]), name)
            case b"block":
                return [
                    word for each in argument[b"arguments"] for word in self._argument(each, name)
                ]
            case b"key":
                return [draw.choice(self._keys)]
            case b"integer" if what == b"numkeys":
                return [NUMBER_OF_KEYS]
            case b"integer" if what in (b"seconds", b"milliseconds"):
                return [draw.choice((b"10", b"x") if name.startswith(b"xread") else FAR)]
            case b"unix-time":
                return [draw.choice(FAR)]
            case b"integer":
                return [draw.choice(INTEGERS) if draw.random() < 0.3 else b"%d" % draw.randrange(6)]
            case b"double":
                return [draw.choice(SHORT if what == b"timeout" else DOUBLES)]
            case b"pattern":
                return [draw.choice((self._tag + b"*", b"*", b"["))]
            case _ if what == b"script":
                return [draw.choice(SCRIPTS)]
            case _ if name == b"restore" or what == b"ttl":
                return [draw.choice(FAR)]
            case _:
                return [draw.choice(TEXTS)]

    def _counted(self, words: Words) -> Words:
        """With the number of keys in the place where it belongs, mostly."""
        if NUMBER_OF_KEYS in words:
            at = words.index(NUMBER_OF_KEYS)
            count = sum(word in self._keys for word in words[at + 1 :])
            number = b"%d" % count if self._draw.random() < 0.8 else self._draw.choice(INTEGERS)
            words[at] = number
        return words


NUMBER_OF_KEYS = b"\0number of keys"


def documented(client: Client) -> dict[bytes, Any]:
    """What a server says of its commands."""
    client.call("HELLO", 3)
    docs = as_dict(client.call("COMMAND", "DOCS", timeout=30))
    assert isinstance(docs, dict)
    return docs


def as_dict(reply: Reply) -> Any:
    """A reply with dictionaries for its maps."""
    if isinstance(reply, Map):
        return {key: as_dict(value) for key, value in reply.pairs}
    return [as_dict(item) for item in reply] if isinstance(reply, list) else reply


def in_any_order(reply: Reply) -> Any:
    """The reply with everything sorted, as a server's hash tables give it in any order."""
    match reply:
        case list():
            return sorted((in_any_order(item) for item in reply), key=repr)
        case Set(members):
            return "set", sorted((in_any_order(item) for item in members), key=repr)
        case Map(pairs):
            return "map", sorted(((in_any_order(k), in_any_order(v)) for k, v in pairs), key=repr)
        case _:
            return reply


def is_queued(reply: Reply) -> bool:
    """Whether this is what a command between MULTI and EXEC is answered with."""
    return reply == Status(b"QUEUED")


def shown(words: Sequence[bytes]) -> str:
    """A command for people."""
    return b" ".join(words)[:200].decode(errors="backslashreplace")
