"""
What the nodes of a Redis Cluster answer in the place of a reply: that others have the slot, or that it is too early.

    MOVED 7638 10.0.0.2:6379    another node has this slot
    ASK 7638 10.0.0.2:6379      another node has this key already; its slot will follow
    TRYAGAIN                    of the keys, some have moved already, and some have not
    LOADING, CLUSTERDOWN, ...   nothing can be done at this moment

Whoever answers so has done nothing of what it was asked. A script can answer the same words, whatever it has done.
"""

from __future__ import annotations

import re
from enum import IntEnum

from attrs import frozen

from overlord.hashing import SLOTS

MAX_PORT = 65535


class Answer(IntEnum):
    """What a node says in the place of a reply."""

    MOVED = 0
    ASK = 1
    TRYAGAIN = 2
    READONLY = 3
    """It is a replica: the map is out of date."""
    NOT_NOW = 4
    """LOADING, CLUSTERDOWN and the like."""


@frozen
class Redirect:
    """An answer to a request that was not carried out."""

    answer: Answer
    slot: int = -1
    host: str = ""
    """Where to go instead; empty: the host of the node that says so."""
    port: int = 0

    def address(self, asked: str) -> str:
        """The label of the node that it names; `asked` is that of the node that has answered."""
        host = self.host or asked.rpartition(":")[0].strip("[]")
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


_REDIRECT = re.compile(rb"-(MOVED|ASK) (\d{1,5}) ([^ ]*):(\d{1,5})\r\n")
_OTHERS = {
    b"-TRYAGAIN": Redirect(Answer.TRYAGAIN),
    b"-READONLY": Redirect(Answer.READONLY),
    b"-LOADING": Redirect(Answer.NOT_NOW),
    b"-CLUSTERDOWN": Redirect(Answer.NOT_NOW),
    b"-MASTERDOWN": Redirect(Answer.NOT_NOW),
}


def redirect_of(reply: bytes) -> Redirect | None:
    """What an error reply says about where and when; None if it is an error like any other."""
    match = _REDIRECT.fullmatch(reply)
    if match is None:
        return _OTHERS.get(reply.split(maxsplit=1)[0])
    slot, port = int(match[2]), int(match[4])
    host = match[3].decode("ascii", "replace").strip("[]")
    if slot >= SLOTS or not 0 < port <= MAX_PORT:
        return None
    answer = Answer.MOVED if match[1] == b"MOVED" else Answer.ASK
    return Redirect(answer, slot, "" if host == "?" else host, port)
