"""Log lines: what they look like, and that nobody can forge one."""

import io
import json

import pytest
from hypothesis import example, given, strategies as st
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from overlord.telemetry import logs


def lines(log_format, emit, *, is_verbose=False, namespace="overlord.proxy.pool"):
    """What an observer writes while `emit` logs."""
    out = io.BytesIO()
    observer = logs.observer(log_format, (logs.Stream(out),), is_verbose=is_verbose)
    emit(Logger(namespace=namespace, observer=observer))
    return out.getvalue().decode().splitlines()


def broken():
    """Fail with a text that would like to be a log line."""
    raise ValueError("first\n2026-01-01 forged")


def failing(log):
    """Log a failure."""
    try:
        broken()
    except ValueError:
        log.failure("node {node} broke", node="a", failure=Failure())


def test_a_line_for_people_has_time_level_room_and_message():
    """One event, one line: when, how bad, where, what."""
    [line] = lines("text", lambda log: log.warn("node {node} is gone", node="a"))

    moment, _, rest = line.partition(" ")
    assert logs.datetime.fromisoformat(moment).tzinfo is not None
    assert rest == "warn     proxy.pool: node a is gone"


def test_a_json_line_has_the_events_own_fields_and_no_bookkeeping():
    """Machines get the facts that the event names, and nothing of Twisted's own."""
    [line] = lines("json", lambda log: log.info("node {node} is back", node="a", silence=1.5))

    event = json.loads(line)
    assert logs.datetime.fromisoformat(event.pop("time")).tzinfo is not None
    assert event == {
        "level": "info",
        "namespace": "overlord.proxy.pool",
        "message": "node a is back",
        "node": "a",
        "silence": 1.5,
    }


def test_a_field_named_like_a_key_of_every_line_is_kept_apart():
    """A field cannot pretend to be the level or the time."""
    [line] = lines("json", lambda log: log.info("x", message="y", time="never"))

    event = json.loads(line)
    assert (event["message"], event["message_"], event["time_"]) == ("x", "y", "never")
    assert event["time"] != "never"


def test_what_json_does_not_know_becomes_text():
    """Bytes, infinity, objects and lone surrogates do not break a line."""
    fields = {"a": b"\xff", "b": float("inf"), "c": {"d": (1, None)}, "e": "\ud800", "f": LogLevel}

    [line] = lines("json", lambda log: log.info("x", **fields))

    event = json.loads(line)
    assert [event[name] for name in "abce"] == ["\\xff", "inf", {"d": [1, None]}, "\\ud800"]
    assert "LogLevel" in event["f"]


@given(log_format=st.sampled_from(logs.FORMATS), text=st.text())
@example(log_format="json", text="\x7f")
def test_no_field_can_end_a_line_or_drive_a_terminal(log_format, text):
    """Whatever a peer puts into a field, it stays one visible line."""
    [line] = lines(log_format, lambda log: log.info("client says {text}", text=text))

    assert line.isprintable()


def test_a_traceback_follows_indented_with_nothing_forged():
    """The lines of a traceback cannot be taken for events."""
    first, *trace = lines("text", failing)

    assert first.endswith("critical proxy.pool: node a broke")
    assert len(trace) > 3
    assert all(line.startswith("    ") for line in trace)


def test_a_traceback_is_one_field_of_a_json_line():
    """A failure is one event, so it is one line."""
    [line] = lines("json", failing)

    assert "ValueError: first\n2026-01-01 forged" in json.loads(line)["traceback"]


def test_a_failure_whose_text_cannot_be_made_is_still_logged():
    """A broken __str__ costs the text, not the event."""

    class Broken(Exception):
        def __str__(self):
            raise RuntimeError

    first, *_ = lines("text", lambda log: log.failure("it broke", Failure(Broken())))

    assert first.endswith("it broke")


@pytest.mark.parametrize(
    ("namespace", "level", "is_verbose", "is_written"),
    [
        ("overlord.proxy", LogLevel.debug, False, False),
        ("overlord.proxy", LogLevel.debug, True, True),
        ("overlord.proxy", LogLevel.info, False, True),
        ("twisted.web.http", LogLevel.info, False, False),
        ("twisted.web.http", LogLevel.info, True, True),
        ("twisted.web.http", LogLevel.warn, False, True),
        ("log_legacy", LogLevel.info, False, False),
        ("twistedly.ours", LogLevel.info, False, True),
    ],
)
def test_levels(namespace, level, is_verbose, is_written):
    """Operators see info and above, from libraries warn and above; developers see all."""
    found = lines(
        "text",
        lambda log: log.emit(level, "x"),
        is_verbose=is_verbose,
        namespace=namespace,
    )

    assert bool(found) is is_written


def test_rotating_moves_the_file_and_begins_a_fresh_one(tmp_path):
    """SIGUSR1 on a file that nobody else touches."""
    path = tmp_path / "proxy.log"
    sink = logs.File(str(path))

    sink(b"one\n")
    sink.rotate()
    sink(b"two\n")
    sink.close()

    assert (path.read_bytes(), (tmp_path / "proxy.log.1").read_bytes()) == (b"two\n", b"one\n")


def test_rotating_after_the_file_was_moved_away_makes_it_anew(tmp_path):
    """SIGUSR1 after logrotate has moved the file."""
    path = tmp_path / "proxy.log"
    sink = logs.File(str(path))

    sink(b"one\n")
    path.rename(tmp_path / "moved")
    sink.rotate()
    sink(b"two\n")
    sink.close()

    assert (path.read_bytes(), (tmp_path / "moved").read_bytes()) == (b"two\n", b"one\n")
    assert len(list(tmp_path.iterdir())) == 2


def test_rotating_goes_on_in_the_file_that_has_been_put_in_its_place(tmp_path):
    """SIGUSR1 after logrotate has moved the file and made a new one, as its `create` does."""
    path = tmp_path / "proxy.log"
    sink = logs.File(str(path))

    sink(b"one\n")
    path.rename(tmp_path / "proxy.log.1")
    path.touch(mode=0o640)
    sink.rotate()
    sink(b"two\n")
    sink.close()

    assert (path.read_bytes(), (tmp_path / "proxy.log.1").read_bytes()) == (b"two\n", b"one\n")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_log_file_is_not_opened_before_there_is_something_to_write(tmp_path):
    """Who builds an observer opens nothing."""
    sink = logs.File(str(tmp_path / "proxy.log"))
    sink.rotate()

    assert list(tmp_path.iterdir()) == []
