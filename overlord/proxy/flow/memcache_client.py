"""
From a memcache client's bytes to writes for nodes: the text protocol, meta commands included.

    bytes -> TextRequestScanner -> a command's verb, its words, the end of its data
          -> one key: ring -> node -> link -> the frame, as it came, into `link.outgoing`
          -> a get with many keys: one frame for each node (a ValuesSplit)
          -> no key: an answer of our own

A frame goes out as it came, but for `noreply`, which is taken off, and for `q`, behind which an `mn` is put:
see `memcache_link.py`.
"""

from __future__ import annotations

from binascii import Error as NoBase64, a2b_base64

import cython

from overlord.proxy.flow.command_class import CommandClass
from overlord.proxy.flow.memcache_local import (
    NO_FLUSH,
    NOREPLY,
    NOT_SUPPORTED,
    Task,
    answer,
)
from overlord.proxy.flow.memcache_login import NOT_YET, STORED, text_login
from overlord.wire.memcache_text import BAD_FORMAT, ERROR, LINE_TOO_LONG, words_of

if cython.compiled:
    from cython.cimports.overlord.hashing.ring import Ring
    from cython.cimports.overlord.proxy.flow.client import ProxiedClient
    from cython.cimports.overlord.proxy.flow.memcache_dialect import MemcacheDialect
    from cython.cimports.overlord.proxy.flow.memcache_join import (
        NumbersSplit,
        ValuesSplit,
        join_numbers,
        join_ok,
        join_values,
        new_values_split,
    )
    from cython.cimports.overlord.proxy.flow.parts import (
        IS_BARRIER,
        LOUD,
        MUTED,
        UP_TO_NODE,
        WITH_DATA,
        WITH_META_DATA,
        Flow,
        Link,
        Node,
        Pending,
        Split,
        new_pending,
    )
    from cython.cimports.overlord.wire.buffer import cut
    from cython.cimports.overlord.wire.memcache_text import (
        COUNT,
        DELETE,
        GAT,
        GET,
        META_DEBUG,
        META_GET,
        META_NOTHING,
        META_SET,
        OTHER,
        STORE,
        TEXT_INCOMPLETE,
        TEXT_VIOLATION,
        TEXT_WHOLE,
        TOUCH,
        UNKNOWN_VERB,
        TextRequestScanner,
        Words,
    )
    from cython.cimports.overlord.wire.stream import OPEN
else:
    from overlord.hashing.ring import Ring
    from overlord.proxy.flow.client import ProxiedClient
    from overlord.proxy.flow.memcache_dialect import MemcacheDialect
    from overlord.proxy.flow.memcache_join import (
        NumbersSplit,
        ValuesSplit,
        join_numbers,
        join_ok,
        join_values,
        new_values_split,
    )
    from overlord.proxy.flow.parts import (
        IS_BARRIER,
        LOUD,
        MUTED,
        UP_TO_NODE,
        WITH_DATA,
        WITH_META_DATA,
        Flow,
        Link,
        Node,
        Pending,
        Split,
        new_pending,
    )
    from overlord.wire.buffer import cut
    from overlord.wire.memcache_text import (
        COUNT,
        DELETE,
        GAT,
        GET,
        META_DEBUG,
        META_GET,
        META_NOTHING,
        META_SET,
        OTHER,
        STORE,
        TEXT_INCOMPLETE,
        TEXT_VIOLATION,
        TEXT_WHOLE,
        TOUCH,
        UNKNOWN_VERB,
        TextRequestScanner,
        Words,
    )
    from overlord.wire.stream import OPEN

CLASS_GET = cython.declare(cython.int, int(CommandClass.GET))
CLASS_MGET = cython.declare(cython.int, int(CommandClass.MGET))
CLASS_MGET_PART = cython.declare(cython.int, int(CommandClass.MGET_PART))
CLASS_READ = cython.declare(cython.int, int(CommandClass.READ))
CLASS_WRITE = cython.declare(cython.int, int(CommandClass.WRITE))
CLASS_SPLIT = cython.declare(cython.int, int(CommandClass.SPLIT))

MAX_KEY = cython.declare(cython.Py_ssize_t, 250)
"""Bytes of a key: memcached's KEY_MAX_LENGTH."""
BOUNDLESS = 1 << 62
MAX_LINE = cython.declare(cython.Py_ssize_t, 2048)
"""Bytes of a line: memcached closes a connection on which a longer one comes in pieces, but for get and gets."""

LINE_END = cython.declare(bytes, b"\r\n")
BARRIER = cython.declare(bytes, b"mn\r\n")
MN = b"MN\r\n"
NO_VALUES = b"END\r\n"
MEET_END = b"EN\r\n"
SMALL_Q = cython.declare(cython.int, 113)
SMALL_B = cython.declare(cython.int, 98)


@cython.cclass
class MemcacheClient(ProxiedClient):
    """A client that speaks memcached's text protocol."""

    def __init__(self, flow: Flow, number: cython.Py_ssize_t) -> None:
        ProxiedClient.__init__(self, flow, number)
        self.dialect: MemcacheDialect = flow.dialect
        self.scanner = TextRequestScanner()
        self.set_stranger(bool(self.dialect.users))

    def set_stranger(self, is_stranger: cython.bint) -> None:
        """Whether it has to log in first: until then it may do and cost little."""
        self.is_stranger = is_stranger
        self.bear_unread(BOUNDLESS if is_stranger else 0)  # a stranger that reads nothing is closed
        self.bound_scanners()

    def bound_scanners(self) -> None:
        """What comes next is held to the bounds of its cluster."""
        limits = self.flow.limits
        most = limits.unauthenticated_max_arg_size if self.is_stranger else limits.max_arg_size
        self.scanner.set_bounds(
            min(limits.max_inline, MAX_LINE),
            most + MAX_LINE if self.is_stranger else limits.max_request,
            most,
            is_strict=limits.strict_keys,
        )

    def take_limits(self) -> None:
        """The bounds of its cluster have changed: what comes next is held to the new ones."""
        self.set_stranger(self.is_stranger and bool(self.dialect.users))
        self.window = min(self.window, self.flow.limits.window_max)

    def feed(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Take up the requests in `p[start:end]`, as many as may be in flight."""
        at: cython.Py_ssize_t = start
        found: cython.int
        scanner: TextRequestScanner = self.scanner
        if self.draining or self.gone:
            return end
        self.blocked = False
        self.heard_at = self.flow.now
        while at < end:
            if self.must_wait():
                break
            found = scanner.scan(p, at, end)
            if found == TEXT_WHOLE:
                if self.request(p, at, at + scanner.length) == 0:
                    self.blocked = True
                    break
            elif found == TEXT_INCOMPLETE:
                if self.lacks_memory(max(scanner.whole, end - at), end - at):
                    return end
                break
            elif found == TEXT_VIOLATION:
                if scanner.broken_bound:
                    self.hit_bound(scanner.broken_bound)
                self.end_with(scanner.fault, "protocol error")
                return end
            if self.closing != OPEN or self.gone or self.draining:
                return end
            at += scanner.length
        return self.leave_rest(scanner.whole, at, end)

    def request(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Take up the request `p[start:end]`. Gives 0 if it has to wait, and is not used up."""
        scanner: TextRequestScanner = self.scanner
        verb: cython.int = scanner.verb
        if self.is_stranger:
            return self._meet_stranger(p, start, end)
        if self.dialect.has_denied and self._is_denied(p, start):
            return 1
        if scanner.fault:
            if scanner.broken_bound:
                self.flow.hit(scanner.broken_bound)
            return self._refuse(scanner.fault, scanner.fault != ERROR and self._is_muted(p, start))
        if verb in (UNKNOWN_VERB, OTHER):
            return self._slowly(p, start, end)
        if verb == META_NOTHING:
            self.flow.requests += 1
            self.flow.local_answers += 1
            self.say(MN)
            return 1
        if scanner.words < 2 or (scanner.words < 3 and (verb in (COUNT, TOUCH, GAT))):
            return self._too_few_words(verb)
        if verb == GET:
            if scanner.words > 2:
                return self._many(1, p, start, end)
            return self._one(1, CLASS_GET, 1, p, start, end)
        if verb == GAT:
            if scanner.words > 3:
                return self._many(2, p, start, end)
            return self._one(2, CLASS_GET, 1, p, start, end)
        if verb == STORE:
            return self._change(WITH_DATA, p, start, end)
        if verb in (DELETE, COUNT, TOUCH):
            return self._change(0, p, start, end)
        return self._meta(verb, p, start, end)

    def _meet_stranger(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Take up a command of a client that has not logged in: it may do that, and nothing else."""
        scanner: TextRequestScanner = self.scanner
        reply: bytes = NOT_YET
        if self.has_too_much_unread():
            return 1
        if scanner.verb == STORE and not scanner.fault:
            line = words_of(cut(p, start, start + scanner.line_end))
            value = cut(p, start + scanner.data_start, end - 2)
            reply = text_login(line, value, self.dialect.users)
        elif scanner.fault and scanner.broken_bound:
            self.hit_bound(scanner.broken_bound)
        self.count_login(reply == STORED, "noauth" if reply == NOT_YET else "password")
        self.say(reply)
        return 1

    def hit_bound(self, bound: str) -> None:
        """Count that it has reached the bound of this name, of which strangers have their own."""
        if self.is_stranger and bound != "max_inline":
            bound = "unauthenticated_max_arg_size"
        self.flow.hit(bound)

    def has_too_much_unread(self) -> cython.bint:
        """Whether it lets more replies wait than a stranger may; then it is closed."""
        if (
            self.incoming.size() + self.outgoing.size()
            <= self.flow.limits.unauthenticated_max_buffer
        ):
            return False
        self.shut_out("unauthenticated_max_buffer", "replies unread before the login")
        return True

    def count_login(self, is_in: cython.bint, refusal: str) -> None:
        """A stranger's request is answered: it is let in, or refused for a reason that metrics show."""
        self.flow.requests += 1
        self.flow.local_answers += 1
        if is_in:
            self.set_stranger(False)
        elif refusal:
            self.flow.errors += 1
            self.flow.refused(refusal)

    def _too_few_words(self, verb: cython.int) -> cython.int:
        if verb == GAT and self.scanner.words == 2:
            self.flow.requests += 1
            self.flow.local_answers += 1
            self.say(NO_VALUES)
            return 1
        return self._refuse(BAD_FORMAT if verb == META_DEBUG else ERROR, False)

    def _refuse(self, error: bytes, is_muted: cython.bint) -> cython.int:
        """Answer a request with an error, or if it is muted, with nothing. Gives 1, as `request` then does."""
        self.flow.requests += 1
        self.flow.errors += 1
        if not is_muted:
            self.say(error)
        return 1

    def _is_denied(self, p: cython.p_const_uchar, start: cython.Py_ssize_t) -> cython.bint:
        """Whether this command is forbidden; if so, it is answered."""
        scanner: TextRequestScanner = self.scanner
        word: bytes
        if scanner.words == 0:
            return False
        word = cut(p, start + scanner.word_start(0), start + scanner.word_end(0))
        if word not in self.dialect.denied:
            return False
        self.flow.refused("forbidden")
        self._refuse(NO_FLUSH if word == b"flush_all" else NOT_SUPPORTED, self._is_muted(p, start))
        return True

    def _is_muted(self, p: cython.p_const_uchar, start: cython.Py_ssize_t) -> cython.bint:
        """Whether its last word says that no reply is wanted."""
        return self.scanner.verb != META_SET and self.scanner.is_last_word(p, start, NOREPLY)

    def _is_key(self, word: cython.Py_ssize_t) -> cython.bint:
        """Whether a word may be a key."""
        scanner: TextRequestScanner = self.scanner
        if scanner.has_control and scanner.is_strict:
            return False
        return scanner.ends[word] - scanner.starts[word] <= MAX_KEY

    def _one(
        self,
        word: cython.Py_ssize_t,
        command_class: cython.int,
        keys: cython.int,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """Send a command whose key is this word to its node, as it came."""
        scanner: TextRequestScanner = self.scanner
        link: Link
        if not self._is_key(word):
            return self._refuse(BAD_FORMAT, False)
        self.flow.requests += 1
        link = self._link_of(
            self.flow.ring.node_of(p, start + scanner.starts[word], start + scanner.ends[word]),
            command_class,
            keys,
        )
        if link is None:
            return 0 if self.waits else 1
        link.outgoing.append(p, start, end)
        self.ask(link, command_class).keys = keys
        return 1

    def _link_of(self, index: cython.int, command_class: cython.int, keys: cython.int) -> Link:
        """The link to a node that takes a request now; if there is none, None, and the client is told, or waits."""
        link: Link = self.place_at(index)
        if link is None and not self.waits:
            if command_class <= CLASS_MGET and self.dialect.misses:
                self.flow.refused("missing-node")
                self.say(NO_VALUES if keys > 0 else MEET_END)
            else:
                self.say(self.error(self.refusal))
        return link

    def _change(
        self,
        keys: cython.int,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """Send a command that changes something, without its `noreply`."""
        scanner: TextRequestScanner = self.scanner
        link: Link
        pending: Pending
        is_muted: cython.bint = scanner.words > 2 and self._is_muted(p, start)
        index: cython.int
        if not self._is_key(1):
            return self._refuse(BAD_FORMAT, is_muted)
        self.flow.requests += 1
        index = self.flow.ring.node_of(p, start + scanner.starts[1], start + scanner.ends[1])
        link = self.place_at(index) if is_muted else self._link_of(index, CLASS_WRITE, keys)
        if link is None:
            return 0 if self.waits else 1
        if is_muted:
            link.outgoing.append(p, start, start + scanner.ends[scanner.words - 2])
            link.outgoing.append(p, start + scanner.line_end, end)
        else:
            self.hand_over(link, p, start, end)
        pending = self.ask(link, CLASS_WRITE)
        pending.keys = keys
        if is_muted:
            pending.silence = MUTED
        return 1

    def _meta(
        self,
        verb: cython.int,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """Send a meta command; with `q` among its flags, with an `mn` behind it."""
        scanner: TextRequestScanner = self.scanner
        words: Words = self.dialect.words
        link: Link
        pending: Pending
        index: cython.int = -1
        at: cython.Py_ssize_t
        first: cython.int
        is_quiet: cython.bint = False
        keys: cython.int = WITH_META_DATA if verb == META_SET else 0
        command_class: cython.int = CLASS_WRITE
        if verb == META_GET:
            command_class = CLASS_GET
        elif verb == META_DEBUG:
            command_class = CLASS_READ
        if not self._is_key(1):
            return self._refuse(BAD_FORMAT, False)
        if scanner.words > 2:
            words.read(p, start, start + scanner.line_end)
            for at in range(3 if verb == META_SET else 2, words.count):
                first = p[words.start_of(at)]
                if first == SMALL_Q:
                    is_quiet = True
                elif first == SMALL_B and self.dialect.decodes_keys:
                    index = self._node_of_base64(p, start)
        if index < 0:
            index = self.flow.ring.node_of(p, start + scanner.starts[1], start + scanner.ends[1])
        self.flow.requests += 1
        link = self._link_of(index, command_class, keys)
        if link is None:
            return 0 if self.waits else 1
        if is_quiet:
            # What runs out of memory here must not leave a command without its barrier.
            link.outgoing.reserve(end - start + len(BARRIER))
        link.outgoing.append(p, start, end)
        pending = self.ask(link, command_class)
        pending.keys = keys
        if is_quiet:
            pending.silence = UP_TO_NODE
            link.outgoing.append(BARRIER, 0, len(BARRIER))
            pending = new_pending()
            pending.silence = IS_BARRIER
            link.push(pending)
        return 1

    def _node_of_base64(self, p: cython.p_const_uchar, start: cython.Py_ssize_t) -> cython.int:
        """The node of a key that is written in base64; -1 if it is not, which the node will say."""
        scanner: TextRequestScanner = self.scanner
        try:
            key: bytes = a2b_base64(
                cut(p, start + scanner.starts[1], start + scanner.ends[1]), strict_mode=True
            )
        except NoBase64:
            return -1
        return self.flow.ring.node_of(key, 0, len(key))

    # A get with many keys.

    def _many(
        self,
        first: cython.Py_ssize_t,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """Send each node the keys that it has, of those that begin with word `first`."""
        flow: Flow = self.flow
        scanner: TextRequestScanner = self.scanner
        words: Words = self.dialect.words
        split: ValuesSplit
        link: Link
        node: Node
        count: cython.Py_ssize_t
        at: cython.Py_ssize_t
        head: cython.Py_ssize_t
        stop: cython.Py_ssize_t = start + scanner.line_end
        part: Pending
        words.read(p, start, stop)
        if first == 2 and scanner.line_end > MAX_LINE:
            return self._refuse(LINE_TOO_LONG, False)
        if scanner.has_control and scanner.is_strict:
            return self._refuse(BAD_FORMAT, False)
        for at in range(first, words.count):
            if words.end_of(at) - words.start_of(at) > MAX_KEY:
                return self._refuse(BAD_FORMAT, False)
        flow.requests += 1
        count = words.count - first
        split = new_values_split(count, cut(p, start, stop), first)
        nodes: list = self._share_out(split, first, p)
        if len(nodes) == 1:
            split.forget_line()
            node = nodes[0]
            link = self._link_of(node.index, CLASS_MGET, count)
            if link is None:
                return 0 if self.waits else 1
            link.outgoing.append(p, start, end)
            self.ask(link, CLASS_MGET).keys = count
            return 1
        split.client = self
        split.command_class = CLASS_SPLIT
        link = self.full_link(nodes)
        if link is not None:
            flow.requests -= 1  # it is counted when it comes again
            split.forget_line()
            return self.wait_for_place(link)
        head = words.end_of(first - 1)
        self.line_up(split, nodes, head - start + len(LINE_END), CLASS_MGET_PART)
        for node in nodes:
            part = split.parts[node.part]
            part.keys = node.part_keys
            if node.part_link is not None:
                node.part_link.outgoing.append(p, start, head)
        self._fill_parts(split, nodes, first, p)
        for node in nodes:
            if node.part_link is not None:
                node.part_link.outgoing.append(LINE_END, 0, len(LINE_END))
        return self.parts_are_sent(split, nodes)

    def _share_out(
        self, split: ValuesSplit, first: cython.Py_ssize_t, p: cython.p_const_uchar
    ) -> list[Node]:
        """The nodes that have a part of it, in the order of their first keys; `owners` are noted."""
        flow: Flow = self.flow
        ring: Ring = flow.ring
        words: Words = self.dialect.words
        owners: bytearray = split.owners
        nodes: list = []
        node: Node
        index: cython.Py_ssize_t
        at: cython.Py_ssize_t
        flow.serial += 1
        if ring.is_random:
            return [flow.nodes[ring.node_of(p, words.start_of(first), words.end_of(first))]]
        for index in range(split.count):
            at = first + index
            node = flow.nodes[ring.node_of(p, words.start_of(at), words.end_of(at))]
            if node.mark != flow.serial:
                node.mark = flow.serial
                node.part = len(nodes)
                node.part_keys = 0
                node.part_size = 0
                nodes.append(node)
            node.part_keys += 1
            node.part_size += words.end_of(at) - words.start_of(at) + 1
            owners[2 * index] = node.part & 255
            owners[2 * index + 1] = node.part >> 8
        return nodes

    def _fill_parts(
        self,
        split: ValuesSplit,
        nodes: list,
        first: cython.Py_ssize_t,
        p: cython.p_const_uchar,
    ) -> cython.int:
        """Add to each part's frame its keys, each with the blank before it."""
        words: Words = self.dialect.words
        owners: bytearray = split.owners
        node: Node
        index: cython.Py_ssize_t
        at: cython.Py_ssize_t
        for index in range(split.count):
            node = nodes[owners[2 * index] | (owners[2 * index + 1] << 8)]
            if node.part_link is not None:
                at = first + index
                node.part_link.outgoing.append(p, words.start_of(at) - 1, words.end_of(at))
        return 0

    def refused_part(self) -> bytes:
        """The reply to a part of a command whose node takes no request."""
        if self.dialect.misses:
            self.flow.refused("missing-node")
            return NO_VALUES
        return self.error(self.refusal)

    def join(self, split: Split) -> cython.int:
        """All parts of a command are answered."""
        if isinstance(split, ValuesSplit):
            return join_values(split)
        if isinstance(split, NumbersSplit):
            return join_numbers(split)
        return join_ok(split)

    # Commands without a key.

    def _slowly(
        self, p: cython.p_const_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Take up a command with its words as Python objects."""
        words = words_of(cut(p, start, start + self.scanner.line_end))
        if not words:
            return self._refuse(ERROR, False)
        result = answer(words, self.flow.facts)
        if result.task is Task.FLUSH:
            return self._flush(words)
        if result.task is Task.ASK_NODES:
            split = NumbersSplit(words[1])
            return self.ask_each(split, self.flow.nodes, b"stats %b\r\n" % words[1])
        if result.task is Task.CLOSE:
            self.take_leave("client said quit")
            return 1
        if result.is_error:
            return self._refuse(result.reply, False)
        self.flow.requests += 1
        self.flow.local_answers += 1
        if result.reply:
            self.say(result.reply)
        return 1

    def _flush(self, words: list) -> cython.int:
        """Have every node drop all it has."""
        is_muted: cython.bint = words[len(words) - 1] == NOREPLY
        split: Split = Split(0, 0)
        split.silence = MUTED if is_muted else LOUD
        return self.ask_each(
            split, self.flow.nodes, b" ".join(words[:-1] if is_muted else words) + LINE_END
        )
