"""Answer: what one node says of its cluster; and the draft of one, which refuses nonsense."""

import re
from typing import NoReturn

from attrs import frozen

from overlord.errors import TopologyError
from overlord.hashing import SLOTS
from overlord.topology.slot_map import NOBODY, Address, ClusterNode

MAX_NODES = 16_384
"""Nodes of one answer. Redis itself recommends a thousand at most; a slot each is the end of it."""
MAX_FAULTS = 16
"""Faults that are told one by one; it is only said that there are more."""
MORE_FAULTS = "more faults are not listed"
MAX_EPOCH = (1 << 64) - 1
MAX_PORT = 65_535

_NUMBER = re.compile(r"[0-9]{1,20}")
_ID = re.compile(r"[!-~]{1,128}")
_HOST = re.compile(r"[A-Za-z0-9_.:%-]{1,255}")


@frozen
class Answer:
    """What one node says of its cluster."""

    asked: Address
    """Whom we asked."""
    nodes: tuple[ClusterNode, ...]
    owners: tuple[int, ...]
    """For each slot the index of a node in `nodes`, or -1 if it names no owner."""
    has_epochs: bool
    """Whether `config_epoch` of its nodes means anything: in CLUSTER NODES only."""
    myself: str | None
    """The id of the node that answered, if it says."""
    moving: frozenset[int]
    """Slots that it gives away or takes over."""
    faults: tuple[str, ...]
    """What is strange in it and was left out, a sentence each."""


class Draft:
    """An answer that is being read. What contradicts itself ends it with a `TopologyError`."""

    def __init__(self, what: str, asked: Address) -> None:
        self.what = what
        self.asked = asked
        self.where = ""
        """The place that is being read, for errors."""
        self.nodes: list[ClusterNode] = []
        self.index_of: dict[str, int] = {}
        self.moving: set[int] = set()
        self.faults: list[str] = []
        self._owners = [NOBODY] * SLOTS
        self._claimed = bytearray(SLOTS)

    def refuse(self, reason: str, *instead: object) -> NoReturn:
        """Give up, and say why and where; `instead` is what was there, if that helps."""
        raise TopologyError(self._sentence(", not ".join([reason, *map(shown, instead)])))

    def fault(self, what: str) -> None:
        """Note something strange that is left out."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(self._sentence(what))
        elif len(self.faults) == MAX_FAULTS:
            self.faults.append(f"{self.what} of {self.asked}: {MORE_FAULTS}")

    def add(self, node: ClusterNode) -> int:
        """A node that was not named yet; gives its index."""
        if node.id in self.index_of:
            self.refuse(f"node {node.id} is there twice")
        if len(self.nodes) >= MAX_NODES:
            self.refuse(f"there are more than {MAX_NODES} nodes")
        self.index_of[node.id] = len(self.nodes)
        self.nodes.append(node)
        return len(self.nodes) - 1

    def claim(self, index: int, first: int, last: int) -> None:
        """A range of slots belongs to a node; it must belong to nobody yet."""
        if first > last:
            self.refuse(f"slots {first}-{last} are no range")
        if last >= SLOTS:
            self.refuse(f"there is no slot {last}, the last one is {SLOTS - 1}")
        taken = self._claimed.find(1, first, last + 1)
        if taken >= 0:
            owner = self.nodes[self._owners[taken]].id
            self.refuse(f"slot {taken} belongs to node {owner} already")
        count = last - first + 1
        self._claimed[first : last + 1] = b"\1" * count
        self._owners[first : last + 1] = [index] * count

    def number(self, text: str, what: str, highest: int) -> int:
        """A number in decimal digits and nothing else."""
        if _NUMBER.fullmatch(text) is None or int(text) > highest:
            self.refuse(f"{what} has to be a number up to {highest}", text)
        return int(text)

    def id(self, text: str) -> str:
        """The id of a node. Other programs than Redis have ids of other forms."""
        if _ID.fullmatch(text) is None:
            self.refuse("the id of a node has to be a word of up to 128 characters", text)
        return text

    def host(self, text: str) -> str:
        """A host that can be dialled."""
        host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        if _HOST.fullmatch(host) is None:
            self.refuse("the address of a node has to be an IP address or a name", text)
        return host

    def answer(self, *, has_epochs: bool, myself: str | None = None) -> Answer:
        """What has been read, if it says anything at all."""
        self.where = ""
        if not self.nodes:
            self.refuse("there is no node in it")
        return Answer(
            self.asked,
            tuple(self.nodes),
            tuple(self._owners),
            has_epochs,
            myself,
            frozenset(self.moving),
            tuple(self.faults),
        )

    def _sentence(self, what: str) -> str:
        place = f", {self.where}" if self.where else ""
        return f"{self.what} of {self.asked}{place}: {what}"


def shown(value: object) -> str:
    """A value of a peer's in an error message: short, in one line, whatever it is."""
    match value:
        case str() | bytes():
            return repr(value[:64])
        case bool() | None:
            return repr(value)
        case int():
            return str(value) if abs(value) < 1 << 64 else "a huge number"
        case float():
            return repr(value)
    return f"a {type(value).__name__}"
