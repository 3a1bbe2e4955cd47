"""etcd's JSON, as etcd 3.4.23 writes it."""

from overlord.platform.store.etcd.messages import (
    entries_of,
    event_of,
    found_by,
    range_under,
    transaction,
)
from overlord.platform.store.values import (
    Absent,
    Delete,
    Entry,
    Event,
    LeaseId,
    Present,
    Put,
    Revision,
    Unchanged,
)

KV = {"key": "YQ==", "create_revision": "2", "mod_revision": "5", "version": "1", "value": "MQ=="}


def test_entries_of_a_range() -> None:
    answer = {"header": {"revision": "7"}, "kvs": [KV, {**KV, "lease": "9"}], "count": "2"}

    assert entries_of(answer) == [
        Entry("a", b"1", Revision(2), Revision(5)),
        Entry("a", b"1", Revision(2), Revision(5), LeaseId(9)),
    ]


def test_what_is_zero_is_left_out() -> None:
    """A range that found nothing has no `kvs`, and an empty value is not there."""
    empty = {name: value for name, value in KV.items() if name != "value"}

    assert entries_of({"header": {}}) == []
    assert entries_of({"kvs": [empty]}) == [Entry("a", b"", Revision(2), Revision(5))]


def test_events() -> None:
    deleted = {"type": "DELETE", "kv": {"key": "YQ==", "mod_revision": "6"}}

    assert event_of({"kv": KV}) == Event(
        "a", Entry("a", b"1", Revision(2), Revision(5)), Revision(5)
    )
    assert event_of(deleted) == Event("a", None, Revision(6))


def test_ranges() -> None:
    assert range_under(b"a") == {"key": "YQ==", "range_end": "Yg=="}
    assert range_under(b"") == {"key": "AA==", "range_end": "AA=="}


def test_a_transaction() -> None:
    conditions = [Unchanged("a", Revision(5)), Absent("b"), Present("c")]

    assert transaction([Put("a", b"1", LeaseId(9)), Delete("b")], conditions) == {
        "compare": [
            {"key": "YQ==", "target": "MOD", "result": "EQUAL", "mod_revision": "5"},
            {"key": "Yg==", "target": "CREATE", "result": "EQUAL", "create_revision": "0"},
            {"key": "Yw==", "target": "CREATE", "result": "GREATER", "create_revision": "0"},
        ],
        "success": [
            {"request_put": {"key": "YQ==", "value": "MQ==", "lease": "9"}},
            {"request_delete_range": {"key": "Yg=="}},
        ],
        "failure": [{"request_range": {"key": key}} for key in ("YQ==", "Yg==", "Yw==")],
    }


def test_what_a_transaction_found() -> None:
    answer = {"responses": [{"response_range": {"kvs": [KV]}}, {"response_range": {"header": {}}}]}

    assert found_by(answer, [Absent("a"), Present("b")]) == {
        "a": Entry("a", b"1", Revision(2), Revision(5)),
        "b": None,
    }
