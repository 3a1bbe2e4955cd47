"""memcached's text protocol: where commands and replies end, however they are cut."""

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from overlord.wire.memcache_text import (
    TextReplies,
    TextReplyScanner,
    TextRequests,
    TextRequestScanner,
    words_of,
)

UNKNOWN, GET, GAT, STORE, DELETE, COUNT, TOUCH = range(7)
META_GET, META_SET, META_DELETE, META_COUNT, META_DEBUG, META_NOTHING, OTHER = range(7, 14)

ERROR = b"ERROR\r\n"
BAD_FORMAT = b"CLIENT_ERROR bad command line format\r\n"
FLAGS_TOO_LONG = b"CLIENT_ERROR options flags too long\r\n"
TOO_LARGE = b"SERVER_ERROR object too large for cache\r\n"


def requests(*chunks: bytes, **bounds: int) -> tuple[list[tuple[bytes, int, bytes]], bytes, str]:
    """The commands in these chunks with verbs and faults, the violation, and the bound it broke."""
    scanner = TextRequestScanner(**bounds)
    stream = TextRequests(scanner)
    found = [one for chunk in chunks for one in stream.feed(chunk)]
    return found, stream.violation, scanner.broken_bound


def replies(*chunks: bytes, **bounds: int) -> tuple[list[bytes], bool, str]:
    """The replies in these chunks, whether they end in what is no reply, and the bound it broke."""
    scanner = TextReplyScanner(**bounds)
    stream = TextReplies(scanner)
    found = [one for chunk in chunks for one in stream.feed(chunk)]
    return found, stream.violation is not None, scanner.broken_bound


def cut_at(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces, cut at these places."""
    ends = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[first:last] for first, last in pairwise(ends)]


@pytest.mark.parametrize(
    ("line", "verb"),
    [
        (b"get a\r\n", GET),
        (b"gets a b\r\n", GET),
        (b"gat 0 a\r\n", GAT),
        (b"gats 0 a\r\n", GAT),
        (b"delete a\r\n", DELETE),
        (b"incr a 1\r\n", COUNT),
        (b"decr a 1 noreply\r\n", COUNT),
        (b"touch a 0\r\n", TOUCH),
        (b"mg a v\r\n", META_GET),
        (b"md a\r\n", META_DELETE),
        (b"ma a\r\n", META_COUNT),
        (b"me a\r\n", META_DEBUG),
        (b"mn\r\n", META_NOTHING),
        (b"version\r\n", OTHER),
        (b"flush_all\n", OTHER),
        (b"GET a\r\n", OTHER),
        (b"getx a\r\n", UNKNOWN),
        (b"gut a\r\n", UNKNOWN),
        (b"mx a\r\n", UNKNOWN),
        (b"\r\n", UNKNOWN),
        (b"a_very_long_word b\r\n", UNKNOWN),
    ],
)
def test_a_line_is_a_command_of_its_kind(line: bytes, verb: int) -> None:
    found, violation, _ = requests(line + b"mn\r\n")
    assert found == [(line, verb, b""), (b"mn\r\n", META_NOTHING, b"")]
    assert violation == b""


@pytest.mark.parametrize(
    "frame",
    [
        b"set a 0 0 1\r\n1\r\n",
        b"set a 4294967295 -1 1 noreply\r\n1\r\n",
        b"set a +1 +5 +1\n1\r\n",
        b"add a 0 0 0\r\n\r\n",
        b"replace a 0 0 5\r\nmn\r\nx\r\n",
        b"append a 0 0 1 whatever\r\n1\r\n",
        b"prepend a 0 0 01\r\n1\r\n",
        b"cas a 0 0 1 18446744073709551615\r\n1\r\n",
        b"cas a 0 0 1 5 noreply\r\n1\r\n",
        b"  set   a 0  0 1 \r\n1\r\n",
        b"ms a 1\r\n1\r\n",
        b"ms a 3 T0 F5 q\r\n\r\n1\r\n",
    ],
)
def test_data_belongs_to_its_command(frame: bytes) -> None:
    found, _, _ = requests(frame + b"mn\r\n")
    assert [(one, fault) for one, _, fault in found] == [(frame, b""), (b"mn\r\n", b"")]


def test_a_block_without_its_break_is_still_of_the_announced_size() -> None:
    # The node says what is wrong, and goes on where we go on.
    found, _, _ = requests(b"set a 0 0 1\r\n12\r\nversion\r\n")
    assert [one for one, _, _ in found] == [b"set a 0 0 1\r\n12\r", b"\n", b"version\r\n"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"set\r\n", ERROR),
        (b"set a 0 0\r\n", ERROR),
        (b"set a 0 0 1 noreply x\r\n", ERROR),
        (b"cas a 0 0 1\r\n", ERROR),
        (b"cas a 0 0 1 5 6 7\r\n", ERROR),
        (b"set a x 0 1\r\n", BAD_FORMAT),
        (b"set a -1 0 1\r\n", BAD_FORMAT),
        (b"set a 9999999999999999999 0 1\r\n", BAD_FORMAT),
        (b"set a 0 x 1\r\n", BAD_FORMAT),
        (b"set a 0 0 -1\r\n", BAD_FORMAT),
        (b"set a 0 0 0x1\r\n", BAD_FORMAT),
        (b"set a 0 0 1_0\r\n", BAD_FORMAT),
        (b"set a 0 0 2147483646\r\n", BAD_FORMAT),
        (b"set a 0 0 99999999999999999999999\r\n", BAD_FORMAT),
        (b"set " + b"k" * 251 + b" 0 0 1\r\n", BAD_FORMAT),
        (b"set a 0 0 1\r\r\n", BAD_FORMAT),
        (b"cas a 0 0 1 x\r\n", BAD_FORMAT),
        (b"cas a 0 0 1 18446744073709551616\r\n", BAD_FORMAT),
        (b"ms\r\n", ERROR),
        (b"ms a\r\n", BAD_FORMAT),
        (b"ms a S1\r\n", BAD_FORMAT),
        (b"ms a 1 " + b"k " * 17 + b"\r\n", FLAGS_TOO_LONG),
        (b"ms a -1\r\n", BAD_FORMAT),
    ],
)
def test_a_wrong_storage_line_announces_no_data(line: bytes, fault: bytes) -> None:
    found, _, _ = requests(line + b"mn\r\n")
    assert [(one, said) for one, _, said in found] == [(line, fault), (b"mn\r\n", b"")]


def test_too_large_data_is_thrown_away_as_it_comes() -> None:
    chunks = [b"set a 0 0 100\r\n", b"x" * 40, b"y" * 60 + b"\r\nmn", b"\r\n"]
    found, violation, bound = requests(*chunks, max_value=99)
    assert found == [(b"set a 0 0 100\r\n", STORE, TOO_LARGE), (b"mn\r\n", META_NOTHING, b"")]
    assert violation == b""
    assert bound == "max_arg_size"


LINE_TOO_LONG = b"CLIENT_ERROR line too long\r\n"


@pytest.mark.parametrize("end", [b"", b"\r\n"])
def test_a_long_line_is_a_violation(end: bytes) -> None:
    assert requests(b"x" * 200 + end, max_line=100) == ([], LINE_TOO_LONG, "max_inline")


def test_a_line_with_keys_may_be_as_long_as_a_request() -> None:
    line = b"get" + b" key" * 100 + b"\r\n"
    found, _, _ = requests(line[:300], line[300:], max_line=100)
    assert found == [(line, GET, b"")]
    for chunks in ([line[:300]], [line]):
        wrong = requests(*chunks, max_line=100, max_request=200)
        assert wrong == ([], LINE_TOO_LONG, "max_request")


def test_where_words_are() -> None:
    line = b" cas  key 1 2 3 4  noreply \r\nabc\r\n"
    scanner = TextRequestScanner()
    TextRequests(scanner).feed(line)
    assert scanner.words == 7
    words = [line[scanner.word_start(i) : scanner.word_end(i)] for i in range(7)]
    assert words == [b"cas", b"key", b"1", b"2", b"3", b"4", b"noreply"]
    assert line[scanner.data_start :] == b"abc\r\n"


@given(st.lists(st.binary(min_size=1, max_size=20).filter(lambda word: b" " not in word)))
def test_words_are_those_between_blanks(words: list[bytes]) -> None:
    assert words_of(b" " + b"  ".join(words)) == words


KEYS = st.text("abc", min_size=1, max_size=8).map(str.encode)
BLOCKS = st.binary(max_size=40)
COMMANDS = st.one_of(
    st.lists(KEYS, min_size=1, max_size=12).map(lambda keys: b"get " + b" ".join(keys) + b"\r\n"),
    st.tuples(KEYS, BLOCKS).map(lambda it: b"set %b 0 0 %d\r\n%b\r\n" % (it[0], len(it[1]), it[1])),
    st.tuples(KEYS, BLOCKS).map(lambda it: b"ms %b %d T0\n%b\r\n" % (it[0], len(it[1]), it[1])),
    st.sampled_from([b"mn\r\n", b"incr a 5\r\n", b"\r\n", b"set a x\r\n", b"nonsense here\n"]),
)


@given(st.lists(COMMANDS, min_size=1, max_size=8), st.lists(st.integers(min_value=0), max_size=8))
def test_commands_are_the_same_however_they_are_cut(
    commands: list[bytes], places: list[int]
) -> None:
    found, violation, _ = requests(*cut_at(b"".join(commands), places))
    assert [one for one, _, _ in found] == commands
    assert violation == b""


@given(st.binary(max_size=200), st.lists(st.integers(min_value=0), max_size=8))
def test_nonsense_is_the_same_however_it_is_cut(data: bytes, places: list[int]) -> None:
    assert requests(*cut_at(data, places)) == requests(data)


REPLIES = st.one_of(
    st.sampled_from(
        [
            *(
                b"STORED\r\n",
                b"END\r\n",
                b"ERROR\r\n",
                b"15\r\n",
                b"HD t5\r\n",
                b"EN\r\n",
                b"MN\r\n",
            ),
            *(b"SERVER_ERROR out of memory\r\n", b"VERSION 1.6.18\r\n", b"ME a exp=-1\r\n"),
        ]
    ),
    BLOCKS.map(lambda block: b"VA %d f0 Oab\r\n%b\r\n" % (len(block), block)),
    st.lists(st.tuples(KEYS, BLOCKS), min_size=1, max_size=5).flatmap(
        lambda items: st.sampled_from([b"END\r\n", b"SERVER_ERROR no memory\r\n"]).map(
            lambda end: (
                b"".join(b"VALUE %b 0 %d 7\r\n%b\r\n" % (k, len(v), v) for k, v in items) + end
            )
        )
    ),
    st.just(b"STAT pid 1\r\nSTAT version 1.6.18\r\nEND\r\n"),
)


@given(st.lists(REPLIES, min_size=1, max_size=8), st.lists(st.integers(min_value=0), max_size=8))
def test_replies_are_the_same_however_they_are_cut(said: list[bytes], places: list[int]) -> None:
    assert replies(*cut_at(b"".join(said), places)) == (said, False, "")


@pytest.mark.parametrize(
    "said",
    [
        b"STORED\n",
        b"\n",
        b"VALUE a 0 1\r\n12\r\nEND\r\n",
        b"VALUE a 0 -1\r\n",
        b"VALUE a 0 1x\r\n",
        b"VALUE a 0\r\n",
        b"VALUE a 0 1\r\n1\r\nSTORED\r\n",
        b"VALUE a 0 1\r\n1\r\nVA 1\r\n1\r\n",
        b"VA x\r\n",
        b"VA 1\r\n12\r\n",
        b"STAT a 1\r\nSTORED\r\n",
    ],
)
def test_what_is_no_reply(said: bytes) -> None:
    assert replies(said) == ([], True, "")


def test_bounds_of_replies() -> None:
    assert replies(b"x" * 101, max_line=100) == ([], True, "max_inline")
    assert replies(b"VALUE a 0 101\r\n", max_value=100) == ([], True, "max_arg_size")
