"""RESP, as it comes in any pieces."""

import pytest
from hypothesis import example, given, strategies as st
from unit.memory import held_for_good

from overlord.wire import resp
from overlord.wire.buffer import held_bytes
from overlord.wire.resp import (
    Replies,
    ReplyScanner,
    Requests,
    RequestScanner,
    arguments,
    command,
    split_inline,
)

args = st.lists(st.binary(max_size=40), min_size=1, max_size=5)
plain = st.binary(min_size=1, max_size=8).filter(
    lambda text: not set(text) & set(b" \t\n\v\f\r\0\"'")
)


def quoted(arg: bytes, style: int) -> bytes:
    """An argument of an inline command that splits back into `arg`."""
    if style == 0:
        return b'"%b"' % b"".join(b"\\x%02x" % byte for byte in arg)
    if style == 1:
        escaped = arg.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\0", b"\\x00")
        return b'"%b"' % escaped.replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    if set(arg) & set(b"\n\r\0\\"):
        return quoted(arg, 0)
    return b"'%b'" % arg.replace(b"'", b"\\'")


multibulk = args.map(lambda args: (command(args), command(args)))
inline = st.lists(st.tuples(st.binary(max_size=8), st.integers(0, 2)), min_size=1, max_size=4).map(
    lambda args: (
        b" ".join(quoted(*arg) for arg in args) + b"\r\n",
        command([arg for arg, _ in args]),
    )
)
bare = st.lists(plain.filter(lambda text: text[:1] != b"*"), min_size=1, max_size=4).map(
    lambda args: (b"  " + b"\t ".join(args) + b"\n", command(args))
)
nothing = st.sampled_from([b"*0\r\n", b"*-1\r\n", b"*-12\r\n", b"\r\n", b"\n", b" \t\r\n"]).map(
    lambda frame: (frame, b"")
)
requests = st.lists(multibulk | inline | bare | nothing, max_size=6)


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    """`stream`, cut into pieces of these sizes, over and over."""
    found, at, turn = [], 0, 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        found.append(stream[at : at + size])
        at, turn = at + size, turn + 1
    return found


cuts = st.lists(st.integers(1, 12), min_size=1, max_size=8)


@given(requests, cuts)
def test_any_cut_gives_the_same_requests(
    requests: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    """However a stream of commands is cut into reads, the same commands come out."""
    reader = Requests()

    stream = b"".join(sent for sent, _ in requests)
    frames = [frame for piece in pieces(stream, cuts) for frame in reader.feed(piece)]

    assert frames == [wanted for _, wanted in requests if wanted]
    assert reader.violation is None


@given(args)
def test_a_command_goes_round(args: list[bytes]) -> None:
    """What is written as a command is read as the same arguments."""
    assert arguments(command(args)) == args


lines = st.builds(
    lambda mark, text: mark + text + b"\r\n",
    st.sampled_from([b"+", b"-", b":", b"_", b"#", b",", b"("]),
    st.binary(max_size=10).filter(lambda text: b"\r" not in text),
)
bulks = st.builds(
    lambda mark, text: b"%b%d\r\n%b\r\n" % (mark, len(text), text),
    st.sampled_from([b"$", b"=", b"!"]),
    st.binary(max_size=20),
)
chunked = st.lists(st.binary(min_size=1, max_size=5), max_size=3).map(
    lambda chunks: b"$?\r\n%b;0\r\n" % b"".join(b";%d\r\n%b\r\n" % (len(c), c) for c in chunks)
)
leaves = (
    lines
    | bulks
    | chunked
    | st.sampled_from([b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"%0\r\n", b"~0\r\n"])
)


def aggregates(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    items = st.lists(inner, max_size=4)
    pairs = st.lists(st.tuples(inner, inner).map(b"".join), max_size=2)
    return (
        st.builds(
            lambda mark, items: b"%b%d\r\n%b" % (mark, len(items), b"".join(items)),
            st.sampled_from([b"*", b"~", b">"]),
            items,
        )
        | pairs.map(lambda pairs: b"%%%d\r\n%b" % (len(pairs), b"".join(pairs)))
        | st.builds(
            lambda mark, items: b"%b?\r\n%b.\r\n" % (mark, b"".join(items)),
            st.sampled_from([b"*", b"~"]),
            items,
        )
        | pairs.map(lambda pairs: b"%%?\r\n%b.\r\n" % b"".join(pairs))
        | st.builds(
            lambda pairs, value: b"|%d\r\n%b%b" % (len(pairs), b"".join(pairs), value), pairs, inner
        )
    )


replies = st.lists(st.recursive(leaves, aggregates, max_leaves=12), max_size=5)


@given(replies, cuts)
@example([b"|0\r\n*?\r\n|1\r\n+a\r\n+b\r\n:1\r\n.\r\n"], [1])
def test_any_cut_gives_the_same_replies(replies: list[bytes], cuts: list[int]) -> None:
    """Of any type and nesting, streamed ones, attributes and pushes included."""
    reader = Replies()

    frames = [frame for piece in pieces(b"".join(replies), cuts) for frame in reader.feed(piece)]

    assert frames == replies
    assert reader.violation is None


VIOLATIONS = [
    (b"*x\r\n", "invalid multibulk length"),
    (b"*1\r\r", "invalid multibulk length"),
    (b"*\r\n", "invalid multibulk length"),
    (b"*01\r\n", "invalid multibulk length"),
    (b"*-0\r\n", "invalid multibulk length"),
    (b"*+1\r\n", "invalid multibulk length"),
    (b"* 1\r\n", "invalid multibulk length"),
    (b"*1_0\r\n", "invalid multibulk length"),
    (b"*1048577\r\n", "invalid multibulk length"),
    (b"*9999999999999999999999\r\n", "invalid multibulk length"),
    (b"*1\r\n:1\r\n", "expected '$', got ':'"),
    (b"*1\r\n\r\n", "expected '$', got '\\x0d'"),
    (b"*1\r\n$-1\r\n", "invalid bulk length"),
    (b"*1\r\n$-2\r\n", "invalid bulk length"),
    (b"*1\r\n$\r\n", "invalid bulk length"),
    (b"*1\r\n$536870913\r\n", "invalid bulk length"),
    (b"*1\r\n$99999999999999999999999\r\n", "invalid bulk length"),
    (b"*1\r\n$1\r\nabc", "expected CRLF after a bulk string"),
    (b"*" + b"1" * 65_537, "too big mbulk count string"),
    (b"*" + b"1" * 70_000 + b"\r\n", "too big mbulk count string"),
    (b"*1\r\n$" + b"1" * 65_537, "too big bulk count string"),
    (b"a" * 65_537, "too big inline request"),
    (b"a" * 65_537 + b"\n", "too big inline request"),
    (b'get "a\r\n', "unbalanced quotes in request"),
    (b"get 'a\r\n", "unbalanced quotes in request"),
    (b'get "a"b\r\n', "unbalanced quotes in request"),
]


@pytest.mark.parametrize("cut", [1 << 20, 7])
@pytest.mark.parametrize(("broken", "reason"), VIOLATIONS)
def test_requests_before_a_violation_survive(broken: bytes, reason: str, cut: int) -> None:
    """The reason is in Redis's words, whatever the cut; what comes later is not looked at."""
    reader = Requests()
    good = command([b"GET", b"a"])

    frames = [
        frame for piece in pieces(good + broken + good, [cut]) for frame in reader.feed(piece)
    ]

    assert frames == [good]
    assert reader.violation is not None
    assert reader.violation.reason == reason
    assert reader.feed(good) == []


REPLY_VIOLATIONS = [
    (b"x", "not a reply"),
    (b"\r\n", "not a reply"),
    (b".\r\n", "not a reply"),
    (b";1\r\na\r\n", "not a reply"),
    (b"*1\r\n.\r\n", "not a reply"),
    (b"$x\r\n", "malformed length"),
    (b"$-2\r\n", "malformed length"),
    (b"=-1\r\n", "malformed length"),
    (b"%-1\r\n", "malformed length"),
    (b"*01\r\n", "malformed length"),
    (b"*?x\r\n", "malformed length"),
    (b"|?\r\n", "malformed length"),
    (b"$1\r\nabc", "expected CRLF after a bulk string"),
    (b"+a\rb\r\n", "expected CRLF after a line"),
    (b"$?\r\n+a\r\n", "expected a chunk of a streamed string"),
    (b"*1099511627777\r\n", "reply announces too many elements"),
    (b"$536870913\r\n", "reply too large"),
    (b"+" + b"a" * 65_537, "reply line too long"),
    (b"*" + b"1" * 65_537, "reply line too long"),
    (b"*1\r\n" * 129, "reply nested too deeply"),
    (b"*?\r\n" * 129, "reply nested too deeply"),
]


@pytest.mark.parametrize("cut", [1 << 20, 7])
@pytest.mark.parametrize(("broken", "reason"), REPLY_VIOLATIONS)
def test_replies_before_a_violation_survive(broken: bytes, reason: str, cut: int) -> None:
    """A node's good replies are given out before its bad one is."""
    reader = Replies()
    good = b"*1\r\n$1\r\na\r\n"

    frames = [frame for piece in pieces(good + broken, [cut]) for frame in reader.feed(piece)]

    assert frames == [good]
    assert reader.violation is not None
    assert reader.violation.reason == reason
    assert reader.feed(good) == []


LINE = 100


@pytest.mark.parametrize(
    ("below", "above"),
    [
        (b"a" * (LINE - 1) + b"\n", b"a" * (LINE + 1) + b"\n"),
        (command([b"a"] * 10), command([b"a"] * 11)),
        (command([b"a" * 200]), command([b"a" * 201])),
        (command([b"a" * 141] * 6 + [b"a" * 118]), command([b"a" * 141] * 6 + [b"a" * 119])),
    ],
)
def test_bounds_of_requests_hold_just_above(below: bytes, above: bytes) -> None:
    """Inline length, number and size of arguments, and size of a request."""

    def reader() -> Requests:
        return Requests(
            RequestScanner(max_line=LINE, max_args=10, max_arg_size=200, max_request=1024)
        )

    low, high = reader(), reader()

    assert len(low.feed(below)) == 1
    assert low.violation is None
    assert high.feed(above) == []
    assert high.violation is not None


@pytest.mark.parametrize(
    ("below", "above"),
    [
        (b"+" + b"a" * (LINE - 1) + b"\r\n", b"+" + b"a" * LINE + b"\r\n"),
        (b"*1\r\n" * 128 + b":1\r\n", b"*1\r\n" * 129 + b":1\r\n"),
        (b"%1\r\n:1\r\n" * 128 + b":1\r\n", b"%1\r\n:1\r\n" * 129 + b":1\r\n"),
        (b"$200\r\n" + b"a" * 200 + b"\r\n", b"$201\r\n" + b"a" * 201 + b"\r\n"),
    ],
)
def test_bounds_of_replies_hold_just_above(below: bytes, above: bytes) -> None:
    """Lines, depth and bulk strings."""
    low, high = (Replies(ReplyScanner(max_line=LINE, max_bulk=200)) for _ in range(2))

    assert low.feed(below) == [below]
    assert high.feed(above) == []
    assert high.violation is not None


def test_d03_depth_costs_nothing() -> None:
    """A hundred thousand levels are refused at the 129th, without recursion."""
    reader = Replies()

    assert reader.feed(b"*1\r\n" * 100_000) == []
    assert reader.violation is not None


@pytest.mark.parametrize(
    "announced",
    [b"*1048576\r\n", b"*2\r\n$3\r\nGET\r\n$536870912\r\n"],
)
def test_d02_an_announced_length_is_not_bought(announced: bytes) -> None:
    """What a client announces costs nothing until it sends it."""
    before = held_for_good()
    reader = Requests()

    assert reader.feed(announced) == []

    assert reader.violation is None
    assert held_bytes() == before


@given(st.lists(nothing, min_size=1, max_size=8), args)
def test_d08_empty_requests_leave_no_trace(
    empty: list[tuple[bytes, bytes]], args: list[bytes]
) -> None:
    """In all mixtures, what follows them is read as if they were not there."""
    reader = Requests()

    assert reader.feed(b"".join(sent for sent, _ in empty) + command(args)) == [command(args)]


def test_a_frame_in_a_thousand_reads_is_scanned_once() -> None:
    """The scan goes on where it stopped: behind the last whole element, or at the end of the bulk string."""
    scanner = ReplyScanner()
    reader = Replies(scanner)
    seen = []

    reader.feed(b"*1000\r\n")
    for _ in range(999):
        assert reader.feed(b"$3\r\nabc\r\n") == []
        seen.append(scanner.at)
    reader.feed(b"$100000\r\n")

    assert seen == list(range(7 + 9, 7 + 9 * 1000, 9))
    assert scanner.at == seen[-1] + len(b"$100000\r\n") + 100_002


@pytest.mark.parametrize(
    ("line", "args"),
    [
        (b"set a 'b c'\r\n", [b"set", b"a", b"b c"]),
        (b'set a "b\\x41\\n\\r\\t\\b\\a\\q\\\\"\n', [b"set", b"a", b"bA\n\r\t\b\aq\\"]),
        (b"set a 'it\\'s \\n'\n", [b"set", b"a", b"it's \\n"]),
        (b'set a"b c"\n', [b"set", b"ab c"]),
        (b'get ""\r\n', [b"get", b""]),
        (b"a\vb\fc\vd\n", [b"a\vb\fc\vd"]),
        (b"\va \fb\n", [b"a", b"b"]),
        (b"a\rb\n", [b"a", b"b"]),
        (b"a b\0 c\r\n", [b"a", b"b"]),
        (b'GET "x\\x4"\r\n', [b"GET", b"xx4"]),
        (b'GET "\\xzz"\r\n', [b"GET", b"xzz"]),
        (b'"a"\v"b"\r\n', [b"a", b"b"]),
    ],
)
def test_inline_commands_split_by_redis_rules(line: bytes, args: list[bytes]) -> None:
    """Quotes, escapes and blanks are those of sdssplitargs; half a hex escape is letters and a digit (D4)."""
    assert split_inline(line) == args


class Counting(bytes):
    """Bytes that count how many of them are looked at."""

    looked = 0

    def __getitem__(self, index):
        if isinstance(index, int):
            Counting.looked += 1
        return super().__getitem__(index)

    def find(self, sub, start=0, end=None):
        found = super().find(sub, start, end)
        Counting.looked += (found if found >= 0 else len(self)) - start + 1
        return found


def test_no_byte_of_a_value_is_looked_at() -> None:
    """
    A value that comes in a hundred reads is measured by its length line alone.

    Compiled, nobody can count; there the position tells where the scan goes on.
    """
    scanner = ReplyScanner()
    frame = b"$100000\r\n" + b"x" * 100_000 + b"\r\n"
    Counting.looked = 0

    for end in range(1000, 100_000, 1000):
        if resp.__file__.endswith(".py"):
            assert scanner.scan(Counting(frame[:end]), 0, end) == 0
        else:
            Replies(scanner).feed(frame[:end])
        assert scanner.at == len(frame)

    assert Counting.looked < 50
