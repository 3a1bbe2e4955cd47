"""What the proxy knows about one command: the shape of a row of `redis_commands.py`."""

from enum import IntEnum
from typing import NamedTuple


class Kind(IntEnum):
    """What happens to a command. The numbers are those that compiled code compares with."""

    KEY = 0
    """One key, at `first`: forwarded to the key's node."""
    KEYS = 1
    """Several keys, from `first` to `last` in steps of `step`: forwarded when all are on one node."""
    NUMKEYS = 2
    """As KEYS, but an argument says how many keys there are."""
    SPECIAL = 3
    """As KEYS, but options decide where the keys are."""
    CONTAINER = 4
    """The second word decides: look for the row `NAME|SECOND`."""
    MGET = 5
    """Split by node; the reply is put together in the order of the keys."""
    MSET = 6
    """Split by node, key and value together; OK when all nodes say so, else the first error."""
    SUM = 7
    """Split by node; the reply is the sum of the nodes' replies."""
    ANY = 8
    """No key, and every node says the same: forwarded to whichever."""
    LOCAL = 9
    """Answered by the proxy itself, see `local.py`."""
    REFUSED = 10
    """Known and not done, `why` says the reason."""
    EVERY = 11
    """No key, and every node has a part of the answer: sent to all, joined as `join` says."""
    SCAN = 12
    """One node after the other: the cursor says which, and how far."""
    FORBIDDEN = 13
    """Would be done, but the configuration of the cluster forbids it."""
    TRANSACTION = 14
    """MULTI and what belongs to it: gives a client a connection of its own, see `pinned.py`."""
    BLOCKING = 15
    """As SPECIAL, but the node may wait with its answer: over a connection of the client's own."""
    PUBLISH = 16
    """A channel, the first argument: forwarded to the node that has its place."""
    SUBSCRIBE = 17
    """Says what a client listens to: see `subscriber.py`."""


class Join(IntEnum):
    """How the nodes' replies become one. An error of any node is the answer, but for ANY_OK."""

    VALUES = 0
    """Arrays with an element for each key, put together in the order of the keys."""
    ALL_OK = 1
    """OK when all nodes say so."""
    SUM = 2
    """Counts, added up."""
    FIRST = 3
    """All say the same: the first one counts."""
    LISTS = 4
    """Arrays, one behind the other."""
    EACH = 5
    """Arrays of 1 and 0 of the same length: 1 where all nodes say 1."""
    PICK = 6
    """One of those that are not null, chosen by lot."""
    ANY_OK = 7
    """OK when one node says so, else an error; asked for over connections of its own, see `errand.py`."""
    CURSOR = 8
    """The reply of one node to SCAN: its cursor becomes one of the whole cluster."""
    UNION = 9
    """Arrays of names, each name once."""
    LARGEST = 10
    """Counts, of which the largest counts."""
    SUBSCRIBERS = 11
    """Arrays of channels and counts, added up by channel."""
    SHARD_SUBSCRIBERS = 12
    """The same for shard channels."""


class Keys(NamedTuple):
    """
    One group of keys in a command and what is done with them, as Redis' key specifications say it.

    Source: redis.io, "Command key specifications".
    """

    access: str
    """Redis' words for what happens to the keys, such as `RO access`."""
    at: int
    """Where the first key is; where the count is, if `counted`; where `word` is searched from."""
    last: int = 0
    """The last key, counted from the first; negative: counted from the end of the command."""
    step: int = 1
    """From one key to the next."""
    limit: int = 0
    """2: the keys are only the first half of what is between the first one and `last`."""
    counted: bool = False
    """The argument at `at` says how many keys follow it."""
    word: bytes = b""
    """The keys begin behind this word, wherever it stands."""


class Command(NamedTuple):
    """One row. `first`, `last` and `step` are the three numbers of Redis' `COMMAND`."""

    name: bytes
    """Upper case; a subcommand is `CONTAINER|SUBCOMMAND`."""
    kind: Kind
    arity: int
    """Number of arguments, the name included; negative: at least so many."""
    first: int
    last: int
    step: int
    flags: str
    """Redis' words, such as `readonly fast`."""
    group: str
    access: str = ""
    """What is done with the keys from `first` to `last`; `not_key` if channels stand there."""
    keys: tuple[Keys, ...] = ()
    """Where the keys are, for commands for which `first`, `last` and `step` do not say all."""
    join: Join | None = None
    """How the nodes' replies become one, for the kind EVERY."""
    why: str = ""
    """Why the proxy refuses it; ends the sentence `'x' is not supported by the proxy: ...`."""

    def groups_of_keys(self) -> tuple[Keys, ...]:
        """All groups of keys, those of plain rows included."""
        if self.keys or not self.first or self.access == "not_key":
            return self.keys
        last = self.last if self.last < 0 else self.last - self.first
        return (Keys(self.access, self.first, last, self.step),)

    def specifications(self) -> tuple[Keys, ...]:
        """What `COMMAND` says of keys: all groups, and what is routed as a key and is none."""
        if self.access == "not_key":
            last = self.last if self.last < 0 else self.last - self.first
            return (Keys(self.access, self.first, last, self.step),)
        return self.groups_of_keys()

    @property
    def fullname(self) -> str:
        """The name as Redis writes it in errors: `xgroup|create`."""
        return self.name.decode().lower()
