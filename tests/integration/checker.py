"""
Pipelining clients that know what every reply must be.

How it works. Each caller has keys of its own, and every value it writes is a token that names the key and
the write. Replies are compared, in the order of the requests, with what the caller's model of its keys
allows. A reply that is lost, doubled, swapped, cut, or meant for somebody else cannot fit: it names another
key, another write, or another type.

Where nodes are killed, errors are answers too, and leave a doubt. A write that was answered with an error
may be applied at any time after it (it lies in a socket's buffer somewhere), but only once. So a key holds
the value that is certain, and the writes that may still come (`late`). A killed node forgets its keys;
whoever kills one says so (`may_forget`) beforehand. An own connection that is cut in the middle of its
requests leaves the same doubt.

Listeners are connections of their own: each gets every message that a caller publishes, and every message
carries a token of its own, so that one that is wrong or comes twice is seen at once, and one that is lost at
the end (where nodes are killed, messages may be lost, too).

All callers live in one thread with one epoll: they cost little beside what they attack.
"""

import collections
import contextlib
import itertools
import os
import random
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import attrs
from integration.client import (
    Address,
    Argument,
    Double,
    Error,
    Incomplete,
    Map,
    Null,
    Push,
    Reply,
    Status,
    encode,
    parse_reply,
    spread,
)

NODE_ERRORS = (b"ERR node unavailable", b"LOADING")
"""How an error may begin that a node's end excuses; Redis says LOADING just after its start."""
OK = Status(b"OK")
QUEUED = Status(b"QUEUED")
_numbers = itertools.count(1)


@attrs.define
class Report:
    """What the callers saw."""

    seed: int
    problems: list[str] = attrs.field(factory=list)
    """What must never be; empty when all is well."""
    replies: int = 0
    messages: int = 0
    """What listeners heard."""
    errors: collections.Counter[str] = attrs.field(factory=collections.Counter)
    """Errors that were excused, by their text."""
    longest_wait: float = 0.0
    """The longest time in seconds from a request to its reply."""
    waits: list[float] = attrs.field(factory=list)
    """All those times, when asked for."""

    def p99(self) -> float:
        """The wait that one in a hundred exceeds."""
        ordered = sorted(self.waits)
        return ordered[len(ordered) * 99 // 100] if ordered else 0.0

    def assert_right(self) -> None:
        """Fail with the seed and all that was wrong, or if nothing was asked."""
        self.assert_no_problems()
        assert self.replies > 0, f"seed {self.seed}: there was not one reply"

    def assert_no_problems(self) -> None:
        """Fail with the seed and all that was wrong up to now."""
        assert not self.problems, f"seed {self.seed}: " + "\n".join(self.problems)


@attrs.define
class Doubt:
    """A value of which we know what it is, or what it might have become."""

    certain: object = None
    late: set[object] = attrs.field(factory=set)
    """Writes without a good answer: each may be applied once, now or later."""

    def may_be(self, value: object, *, forgets: bool) -> bool:
        """Whether a read may show this; takes note of it."""
        if value is not None and not isinstance(value, bytes):
            return False
        if value != self.certain:
            if value in self.late:
                if value is not None:
                    self.late.discard(value)
            elif value is not None or not forgets:
                return False
            self.certain = value
        return True

    def presence(self, *, forgets: bool) -> tuple[int, int]:
        """The least and the most that EXISTS may count for it."""
        least = self.certain is not None and None not in self.late and not forgets
        most = self.certain is not None or bool(self.late - {None})
        return int(least), int(most)

    def write(self, value: object, *, sure: bool) -> None:
        if sure:
            self.certain = value
        else:
            self.late.add(value)


@attrs.define
class Counter:
    """A key that is only ever raised by its own step, so that its replies name it."""

    step: int
    raised: int = 0
    late: int = 0

    def may_become(self, value: object, *, forgets: bool) -> bool:
        if type(value) is not int or value % self.step:
            return False
        for base in (self.raised, 0) if forgets else (self.raised,):
            extra = value // self.step - base - 1
            if 0 <= extra <= self.late:
                self.late -= extra
                self.raised = value // self.step
                return True
        return False


Check = Callable[[Reply], bool]
Unsure = Callable[[], None]


@attrs.frozen
class Pending:
    """A request that was sent (or waits in our buffer) and has no reply yet."""

    label: str
    check: Check
    unsure: Unsure
    since: float


def nothing_in_doubt() -> None:
    """What an error leaves behind that answered a mere question."""


class Caller:
    """One client connection with its keys, its pipeline and its habits."""

    def __init__(self, checker: "Checker", number: int) -> None:
        self.checker = checker
        self.random = random.Random(f"{checker.seed}:{number}")
        self.name = f"{checker.name}{number}"
        self.number = number
        self.tokens = 0
        self.strings = {key.encode(): Doubt() for key in spread(f"{self.name}:s", 40)}
        self.hashes = {key.encode(): Doubt() for key in spread(f"{self.name}:h", 4)}
        self.scores = {key.encode(): Doubt() for key in spread(f"{self.name}:z", 4)}
        self.counters = {
            key.encode(): Counter(1_000_003 + number * 64 + i)
            for i, key in enumerate(spread(f"{self.name}:n", 8))
        }
        self.queue = f"{self.name}:queue".encode()
        self.channels = checker.channels_of(number)
        self.fixed = f"{self.name}:fixed".encode()
        self.wants_resp3 = number % 2 == 1
        self.switches = number % 8 == 3 and not checker.faults
        self.leaves = checker.churn and number % 8 == 5
        self.cuts = number % 3 == 0
        self.depth = self.random.choice((1, 2, 10, 50, checker.max_depth))
        self.pending: collections.deque[Pending] = collections.deque()
        self.connect()

    # The connection.

    def connect(self) -> None:
        self.socket = socket.create_connection(self.checker.address, timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.outgoing = bytearray()
        self.incoming = bytearray()
        self.needed = 1
        self.resp3 = False
        self.resumes = 0.0
        if self.wants_resp3:
            self.hello(3)
        if not self.checker.faults:
            self.ask(("SET", self.fixed, "fixed"), lambda reply: reply == OK, nothing_in_doubt)

    def leave(self) -> None:
        """Reset the connection with requests under way: their writes are in doubt."""
        for pending in self.pending:
            pending.unsure()
        self.pending.clear()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.socket.close()

    def ask(self, command: Sequence[Argument], check: Check, unsure: Unsure) -> None:
        label = " ".join(str(part)[:40] for part in command[:4])
        self.outgoing += encode(*command)
        self.pending.append(Pending(label, check, unsure, time.monotonic()))

    def write(self) -> None:
        """Send what waits, in pieces of random size for those who cut."""
        while self.outgoing:
            size = len(self.outgoing)
            if self.cuts and self.random.random() < 0.5:
                size = min(size, 1 + int(self.random.expovariate(1 / 700)))
            try:
                sent = self.socket.send(memoryview(self.outgoing)[:size])
            except BlockingIOError:
                return
            del self.outgoing[:sent]
            if sent < size or self.cuts:
                return

    def read(self) -> None:
        """Take what came, and compare every whole reply with what it must be."""
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionError("the connection was closed")
        self.incoming += data
        at = 0
        while at < len(self.incoming) and len(self.incoming) >= self.needed:
            try:
                reply, at = parse_reply(self.incoming, at)
            except Incomplete as incomplete:
                self.needed = incomplete.needed - at
                break
            self.needed = 1
            self.judge(reply)
        if at:
            del self.incoming[:at]

    def judge(self, reply: Reply) -> None:
        if not self.pending:
            return self.checker.complain(self, f"a reply that nobody asked for: {excerpt(reply)}")
        pending = self.pending.popleft()
        report = self.checker.report
        wait = time.monotonic() - pending.since
        report.replies += 1
        report.longest_wait = max(report.longest_wait, wait)
        if self.checker.keep_waits:
            report.waits.append(wait)
        if isinstance(reply, Error) and self.excused(reply):
            report.errors[reply.text[:60].decode(errors="replace")] += 1
            pending.unsure()
        elif not pending.check(reply):
            self.checker.complain(self, f"{pending.label} was answered with {excerpt(reply)}")
            if isinstance(reply, Error):
                pending.unsure()  # so that one error is one problem
        return None

    def excused(self, error: Error) -> bool:
        return self.checker.faults and error.text.startswith(NODE_ERRORS)

    # What callers ask. Each of these adds one request; its check runs when all before it are answered,
    # so the model then stands as it was when the node came to this request.

    def fill(self) -> None:
        """Add requests up to this caller's depth, in bursts or one by one."""
        room = self.depth - len(self.pending)
        if room <= 0 or (room < self.depth and self.random.random() < 0.5):
            return
        if len(self.outgoing) > 1 << 20:
            return
        kinds = self.checker.kinds
        for ask, _ in self.random.choices(kinds, weights=[weight for _, weight in kinds], k=room):
            ask(self)
        if self.switches and self.random.random() < 0.02:
            self.hello(self.random.choice((2, 3)))
        if self.random.random() < 0.01:
            self.depth = self.random.choice((1, 2, 10, 50, self.checker.max_depth))

    def token(self, key: bytes) -> bytes:
        self.tokens += 1
        chance = self.random.random()
        size = 0 if chance < 0.8 else 2_000 if chance < 0.97 else 40_000
        if chance > 0.998:
            size = self.checker.big_value
        return b"%s=%d;" % (key, self.tokens) + b"." * (self.random.randrange(size) if size else 0)

    def null(self) -> Null:
        return Null.RESP3 if self.resp3 else Null.BULK

    def value(self, reply: Reply) -> object:
        """A reply as the model writes it: None for this protocol's null, and only for this one's."""
        return None if reply is self.null() else reply

    @property
    def forgets(self) -> bool:
        return self.checker.forgets

    def some_keys(self) -> list[bytes]:
        return self.random.choices(list(self.strings), k=self.random.choice((1, 2, 3, 10, 30)))

    def get(self) -> None:
        key = self.random.choice(list(self.strings))
        held = self.strings[key]
        self.ask(
            ("GET", key),
            lambda reply: held.may_be(self.value(reply), forgets=self.forgets),
            nothing_in_doubt,
        )

    def set(self) -> None:
        key = self.random.choice(list(self.strings))
        held, value = self.strings[key], self.token(key)
        self.ask(
            ("SET", key, value),
            lambda reply: reply == OK and held.write(value, sure=True) is None,
            lambda: held.write(value, sure=False),
        )

    def getset(self) -> None:
        key = self.random.choice(list(self.strings))
        held, value = self.strings[key], self.token(key)
        self.ask(
            ("GETSET", key, value),
            lambda reply: (
                held.may_be(self.value(reply), forgets=self.forgets)
                and held.write(value, sure=True) is None
            ),
            lambda: held.write(value, sure=False),
        )

    def mget(self) -> None:
        keys = self.some_keys()

        def check(reply: Reply) -> bool:
            return (
                isinstance(reply, list)
                and len(reply) == len(keys)
                and all(
                    self.strings[key].may_be(self.value(item), forgets=self.forgets)
                    for key, item in zip(keys, reply, strict=True)
                )
            )

        self.ask(("MGET", *keys), check, nothing_in_doubt)

    def mset(self) -> None:
        pairs = [(key, self.token(key)) for key in self.some_keys()]

        def settle(*, sure: bool) -> None:
            for key, value in pairs:
                self.strings[key].write(value, sure=sure)

        self.ask(
            ("MSET", *(part for pair in pairs for part in pair)),
            lambda reply: reply == OK and settle(sure=True) is None,
            lambda: settle(sure=False),
        )

    def delete(self) -> None:
        keys = self.some_keys()

        def settle(*, sure: bool) -> None:
            for key in keys:
                self.strings[key].write(None, sure=sure)

        def check(reply: Reply) -> bool:
            bounds = [self.strings[key].presence(forgets=self.forgets) for key in set(keys)]
            settle(sure=True)
            return type(reply) is int and sum(b[0] for b in bounds) <= reply <= sum(
                b[1] for b in bounds
            )

        name = self.random.choice(("DEL", "UNLINK"))
        self.ask((name, *keys), check, lambda: settle(sure=False))

    def exists(self) -> None:
        keys = self.some_keys()

        def check(reply: Reply) -> bool:
            bounds = [self.strings[key].presence(forgets=self.forgets) for key in keys]
            return type(reply) is int and sum(b[0] for b in bounds) <= reply <= sum(
                b[1] for b in bounds
            )

        self.ask((self.random.choice(("EXISTS", "TOUCH")), *keys), check, nothing_in_doubt)

    def increment(self) -> None:
        key = self.random.choice(list(self.counters))
        counter = self.counters[key]

        def unsure() -> None:
            counter.late += 1

        self.ask(
            ("INCRBY", key, counter.step),
            lambda reply: counter.may_become(reply, forgets=self.forgets),
            unsure,
        )

    def transact(self) -> None:
        """Raise a counter between MULTI and EXEC, perhaps watching it: nobody else changes it."""
        key = self.random.choice(list(self.counters))
        counter, echo = self.counters[key], self.token(key)
        words: list[Sequence[Argument]] = [("INCRBY", key, counter.step), ("GET", key)]
        echoes = self.random.random() < 0.3
        if echoes:
            words.insert(0, ("ECHO", echo))
        if self.random.random() < 0.4:
            self.ask(("WATCH", key), lambda reply: reply == OK, nothing_in_doubt)
        self.ask(("MULTI",), lambda reply: reply == OK, nothing_in_doubt)
        for word in words:
            self.ask(word, lambda reply: reply == QUEUED, nothing_in_doubt)

        def check(reply: Reply) -> bool:
            if self.checker.faults and self.was_discarded(reply):
                return True
            return (
                isinstance(reply, list)
                and len(reply) == len(words)
                and (not echoes or reply[0] == echo)
                and counter.may_become(reply[-2], forgets=self.forgets)
                and reply[-1] == str(reply[-2]).encode()
            )

        def unsure() -> None:
            counter.late += 1

        self.ask(("EXEC",), check, unsure)

    def was_discarded(self, reply: Reply) -> bool:
        """Whether EXEC says that nothing was done, as it does when the node was lost in between."""
        if isinstance(reply, Error):
            return reply.text.startswith(b"EXECABORT ")
        return reply is (Null.RESP3 if self.resp3 else Null.ARRAY)

    def pop(self) -> None:
        """Put something into a queue of one's own, and wait for it."""
        if self.leaves or self.checker.faults:
            return  # what is left in the queue would answer the next wait
        value = self.token(self.queue)
        self.ask(("RPUSH", self.queue, value), lambda reply: reply == 1, nothing_in_doubt)
        self.ask(
            ("BLPOP", self.queue, 0), lambda reply: reply == [self.queue, value], nothing_in_doubt
        )

    def wait(self) -> None:
        """Wait for what does not come, so that something lies at a node for a while."""
        if self.leaves or self.checker.faults:
            return
        self.ask(
            ("BLPOP", f"{self.name}:nothing", "0.02"),
            lambda reply: reply is (Null.RESP3 if self.resp3 else Null.ARRAY),
            nothing_in_doubt,
        )

    def publish(self) -> None:
        """Publish a token on a channel of one's own; somebody listens to it."""
        channel = self.random.choice(self.channels)
        token = self.token(channel)
        name, size = token.partition(b";")[0], len(token)  # the whole would fill our memory
        self.checker.published[name] = (size, False)

        def check(reply: Reply) -> bool:
            if type(reply) is int and reply >= 1:
                self.checker.published[name] = (size, True)
                return True
            return self.checker.faults and reply == 0

        self.ask(("PUBLISH", channel, token), check, nothing_in_doubt)

    def hmset(self) -> None:
        key = self.random.choice(list(self.hashes))
        held, value = self.hashes[key], self.token(key)
        self.ask(
            ("HMSET", key, "f", value),
            lambda reply: reply == OK and held.write(value, sure=True) is None,
            lambda: held.write(value, sure=False),
        )

    def hgetall(self) -> None:
        key = self.random.choice(list(self.hashes))
        held = self.hashes[key]

        def check(reply: Reply) -> bool:
            match reply:
                case Map(()) if self.resp3:
                    value = None
                case Map(((b"f", value),)) if self.resp3:
                    pass
                case [] if not self.resp3:
                    value = None
                case [b"f", value] if not self.resp3:
                    pass
                case _:
                    return False
            return held.may_be(value, forgets=self.forgets)

        self.ask(("HGETALL", key), check, nothing_in_doubt)

    def zadd(self) -> None:
        key = self.random.choice(list(self.scores))
        held = self.scores[key]
        self.tokens += 1
        score = b"%d.5" % (self.tokens * 1000 + self.number)

        def check(reply: Reply) -> bool:
            least, most = held.presence(forgets=self.forgets)
            held.write(score, sure=True)
            return type(reply) is int and 1 - most <= reply <= 1 - least

        self.ask(("ZADD", key, score, "m"), check, lambda: held.write(score, sure=False))

    def zscore(self) -> None:
        key = self.random.choice(list(self.scores))
        held = self.scores[key]

        def check(reply: Reply) -> bool:
            if self.resp3 and isinstance(reply, Double):
                return held.may_be(reply.text, forgets=self.forgets)
            if isinstance(reply, bytes) and self.resp3:
                return False
            return held.may_be(self.value(reply), forgets=self.forgets)

        self.ask(("ZSCORE", key, "m"), check, nothing_in_doubt)

    def echo(self) -> None:
        self.tokens += 1
        token = f"{self.name}!{self.tokens}".encode()
        name = self.random.choice(("ECHO", "PING"))
        self.ask((name, token), lambda reply: reply == token, nothing_in_doubt)

    def unknown(self) -> None:
        self.tokens += 1
        token = f"{self.name}?{self.tokens}".encode()
        self.ask(
            ("NOSUCHCOMMAND", token),
            lambda reply: (
                isinstance(reply, Error)
                and reply.text.startswith(b"ERR unknown command")
                and token in reply.text
            ),
            nothing_in_doubt,
        )

    def wrong_arity(self) -> None:
        name = self.random.choice(("get", "mset", "mget", "incrby"))
        text = f"ERR wrong number of arguments for '{name}' command".encode()
        self.ask((name,), lambda reply: reply == Error(text), nothing_in_doubt)

    def wrong_type(self) -> None:
        self.ask(
            ("LPUSH", self.fixed, "x"),
            lambda reply: isinstance(reply, Error) and reply.text.startswith(b"WRONGTYPE "),
            nothing_in_doubt,
        )

    def hello(self, version: int) -> None:
        def check(reply: Reply) -> bool:
            self.resp3 = version == 3
            if isinstance(reply, Map):
                return self.resp3 and (b"proto", 3) in reply.pairs
            return isinstance(reply, list) and not self.resp3 and [b"proto", 2] in pairs_of(reply)

        self.ask(("HELLO", version), check, nothing_in_doubt)


class Listener(Caller):
    """A connection that listens to all that callers publish, by names or by a pattern."""

    def __init__(self, checker: "Checker", number: int, *, by_pattern: bool) -> None:
        self.heard: set[bytes] = set()
        self.by_pattern = by_pattern
        self.extra = f"{checker.name}extra{number % 2}".encode()
        super().__init__(checker, number)
        self.switches = self.leaves = False

    def connect(self) -> None:
        super().connect()
        self.pending.clear()
        self.outgoing.clear()
        if self.wants_resp3:
            self.hello(3)
        if self.by_pattern:
            self.say("psubscribe", [b"%b*" % self.checker.name.encode()], 1)
        else:
            self.say("subscribe", self.checker.all_channels(), 1)

    def say(self, word: str, names: Sequence[bytes], first: int) -> None:
        """Join or leave names, each of which has to be confirmed in its turn."""
        self.ask((word, *names), self.confirms(word, names[0], first), nothing_in_doubt)
        for place, name in enumerate(names[1:], first + 1):
            check = self.confirms(word, name, place)
            self.pending.append(Pending(word, check, nothing_in_doubt, time.monotonic()))

    def confirms(self, word: str, name: bytes, total: int) -> Check:
        return lambda reply: reply == [word.encode(), name, total]

    def judge(self, reply: Reply) -> None:
        items = list(reply.items) if isinstance(reply, Push) else reply
        match items:
            case [b"message", channel, text] if not self.by_pattern:
                return self.hear(channel, text)
            case [b"pmessage", pattern, channel, text] if self.by_pattern:
                assert pattern == b"%b*" % self.checker.name.encode()
                return self.hear(channel, text)
        return super().judge(items if isinstance(reply, Push) else reply)

    def hear(self, channel: bytes, text: bytes) -> None:
        self.checker.report.messages += 1
        name, _, rest = text.partition(b";")
        size, _ = self.checker.published.get(name, (-1, False))
        if len(text) != size or rest.strip(b".") or not name.startswith(channel + b"="):
            self.checker.complain(self, f"a message that nobody has published: {excerpt(text)}")
        elif name in self.heard:
            self.checker.complain(self, f"a message for the second time: {excerpt(text)}")
        self.heard.add(name)

    def fill(self) -> None:
        """Once in a while, begin to listen to another name, and stop; others do the same with it."""
        if not self.pending and self.random.random() < 0.05:
            base = 1 if self.by_pattern else len(self.checker.all_channels())
            self.say("subscribe", [self.extra], base + 1)
            self.say("unsubscribe", [self.extra], base)

    def echo(self) -> None:
        self.tokens += 1
        token = f"{self.name}!{self.tokens}".encode()
        expected = token if self.resp3 else [b"pong", token]
        self.ask(("PING", token), lambda reply: reply == expected, nothing_in_doubt)

    def missed(self) -> list[bytes]:
        """What was surely published, and did not come."""
        return [
            name
            for name, (_, sure) in self.checker.published.items()
            if sure and name not in self.heard
        ]


ASKED: list[tuple[Callable[[Caller], None], int]] = [
    (Caller.get, 20),
    (Caller.set, 12),
    (Caller.mget, 8),
    (Caller.mset, 3),
    (Caller.delete, 2),
    (Caller.increment, 10),
    (Caller.getset, 4),
    (Caller.exists, 4),
    (Caller.hmset, 3),
    (Caller.hgetall, 4),
    (Caller.zadd, 3),
    (Caller.zscore, 3),
    (Caller.echo, 4),
    (Caller.wrong_arity, 1),
    (Caller.unknown, 1),
    (Caller.wrong_type, 1),
]
"""What is asked, and how often in proportion. The last needs a key that is never forgotten."""

OF_ONE_CONNECTION: list[tuple[Callable[[Caller], None], int]] = [
    (Caller.transact, 2),
    (Caller.pop, 1),
    (Caller.wait, 1),
]
"""What needs a connection to a node of one's own, and is asked with `transacts` only."""


OF_LISTENERS: list[tuple[Callable[[Caller], None], int]] = [(Caller.publish, 3)]
"""What is asked where somebody listens."""


class Checker:
    """
    Many callers against one address; `run` for some seconds, or `start` and `stop` around something else.

    `faults` excuses the errors of `NODE_ERRORS`; `churn` lets some callers reset their connections in the
    middle of things; `listeners` is how many connections listen to what callers publish; `pause` is how many seconds a caller rests after each round of its requests;
    `patience` is how long a reply may be owed before that is a problem. The keys are this checker's alone;
    a hash tag in `name` keeps them on one node.
    """

    def __init__(
        self,
        address: Address,
        *,
        seed: int,
        callers: int = 24,
        max_depth: int = 200,
        big_value: int = 300_000,
        faults: bool = False,
        churn: bool = True,
        transacts: bool = False,
        listeners: int = 0,
        pause: float = 0.0,
        patience: float = 5.0,
        keep_waits: bool = False,
        name: str = "c",
    ) -> None:
        self.address = address
        self.seed = seed
        self.max_depth = max_depth
        self.big_value = big_value
        self.faults = faults
        self.churn = churn
        self.forgets = False
        self.pause = pause
        self.patience = patience
        self.keep_waits = keep_waits
        self.name = f"{name}{os.getpid()}.{next(_numbers)}."
        self.kinds = (ASKED[:-1] if faults else ASKED) + (OF_ONE_CONNECTION if transacts else [])
        self.kinds = self.kinds + (OF_LISTENERS if listeners else [])
        self.report = Report(seed)
        self.published: dict[bytes, tuple[int, bool]] = {}
        """The beginnings of all tokens on channels, their sizes, and whether nodes have surely passed them on."""
        self._count = callers
        self._listener_count = listeners
        self._epoll = select.epoll()
        self._callers: dict[int, Caller] = {}
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None

    def may_forget(self) -> None:
        """From now on a node may lose its keys. Say it before the node is killed."""
        self.forgets = True

    def run(self, seconds: float) -> Report:
        """Ask for this long, then see that nothing is owed and nothing is left over."""
        self.start()
        self._ends.wait(seconds)
        return self.stop()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._live, name="checker", daemon=True)
        self._thread.start()

    def stop(self) -> Report:
        self._ends.set()
        if self._thread is not None:
            self._thread.join(self.patience + 30)
            assert not self._thread.is_alive(), "the checker does not end"
        return self.report

    def __enter__(self) -> Report:
        self.start()
        return self.report

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def complain(self, caller: Caller, text: str) -> None:
        if len(self.report.problems) < 20:
            self.report.problems.append(
                f"caller {caller.name} (RESP{3 if caller.resp3 else 2}): {text}"
            )

    # The thread.

    def _live(self) -> None:
        try:
            listeners = self._tune_in()
            for number in range(self._count):
                self._admit(Caller(self, number))
            while not self._ends.is_set() and self._callers:
                self._turn(asking=True)
            deadline = time.monotonic() + self.patience + 1
            while any(c.pending or c.outgoing for c in self._callers.values()):
                self._turn(asking=False)
                if time.monotonic() > deadline:
                    break
            self._say_goodbye()
            self._look_what_was_missed(listeners)
        except Exception as error:  # whatever it was: a checker that died has found nothing right
            self.report.problems.append(f"the checker itself failed: {error!r}")
            raise
        finally:
            self._epoll.close()
            for caller in self._callers.values():
                caller.socket.close()

    def channels_of(self, number: int) -> list[bytes]:
        """The channels on which one caller publishes."""
        return [f"{self.name}{name}".encode() for name in spread(f"{number}:news", 3)]

    def all_channels(self) -> list[bytes]:
        return [name for number in range(self._count) for name in self.channels_of(number)]

    def _tune_in(self) -> list[Listener]:
        """Have the listeners confirmed before anything is published: what comes earlier is not theirs."""
        listeners = [
            Listener(self, self._count + number, by_pattern=number % 4 > 1)
            for number in range(self._listener_count)
        ]
        for listener in listeners:
            self._admit(listener)
        deadline = time.monotonic() + self.patience
        while any(each.pending for each in listeners) and time.monotonic() < deadline:
            self._turn(asking=False)
        return listeners

    def _look_what_was_missed(self, listeners: Sequence[Listener]) -> None:
        """What was surely published has to come, if need be a little later than its count."""
        if self.faults:
            return
        deadline = time.monotonic() + self.patience
        while any(each.missed() for each in listeners) and time.monotonic() < deadline:
            self._turn(asking=False)
        for listener in listeners:
            for text in listener.missed()[:3]:
                self.complain(listener, f"a message was lost: {excerpt(text)}")

    def _admit(self, caller: Caller) -> None:
        self._callers[caller.socket.fileno()] = caller
        self._epoll.register(caller.socket, select.EPOLLIN)

    def _dismiss(self, caller: Caller) -> None:
        self._epoll.unregister(caller.socket)
        del self._callers[caller.socket.fileno()]

    def _turn(self, *, asking: bool) -> None:
        now = time.monotonic()
        for caller in list(self._callers.values()):
            if asking and now >= caller.resumes:
                caller.fill()
                if self.pause:
                    caller.resumes = now + self.pause * caller.random.uniform(0.5, 1.5)
            with self._ending_in_complaint(caller):
                caller.write()
            if caller.pending and now - caller.pending[0].since > self.patience:
                owed = f"no reply for {self.patience} s to {caller.pending[0].label}"
                self.complain(caller, f"{owed} ({len(caller.pending)} are owed)")
                self._dismiss(caller)
                caller.leave()
        writing = any(caller.outgoing for caller in self._callers.values())
        for descriptor, _ in self._epoll.poll(0.001 if writing else self.pause / 4 or 0.005):
            caller = self._callers[descriptor]
            with self._ending_in_complaint(caller):
                caller.read()
            if asking and caller.leaves and caller.random.random() < 0.003:
                self._dismiss(caller)
                caller.leave()
                caller.connect()
                self._admit(caller)

    @contextlib.contextmanager
    def _ending_in_complaint(self, caller: Caller) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            asked = caller.pending[0].label if caller.pending else "nothing"
            self.complain(
                caller, f"{error}, while it waited for {asked} ({len(caller.pending)} owed)"
            )
            if self._callers.get(caller.socket.fileno()) is caller:
                self._dismiss(caller)
                caller.leave()

    def _say_goodbye(self) -> None:
        """One last echo on each connection: what was doubled would come before or after it."""
        for caller in self._callers.values():
            caller.echo()
        until = time.monotonic() + 0.2
        while self._callers and time.monotonic() < until:
            self._turn(asking=False)
        for caller in self._callers.values():
            if caller.pending:
                self.complain(caller, f"no reply at the end to {caller.pending[0].label}")
            if caller.incoming:
                self.complain(caller, f"bytes are left over: {bytes(caller.incoming[:64])!r}")


def pairs_of(flat: list[Reply]) -> list[list[Reply]]:
    return [list(pair) for pair in zip(flat[::2], flat[1::2], strict=False)]


def excerpt(reply: Reply) -> str:
    text = repr(reply)
    return text if len(text) < 300 else f"{text[:300]}..."
