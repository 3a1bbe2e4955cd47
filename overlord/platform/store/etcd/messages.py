"""etcd's JSON, written and read. int64 come as strings, bytes as base64, and what is zero is left out."""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from overlord.platform.store.rules import decoded, encoded, end_of
from overlord.platform.store.values import (
    Absent,
    Condition,
    Entry,
    Event,
    LeaseId,
    Operation,
    Present,
    Put,
    Revision,
    Unchanged,
)

Json = Mapping[str, Any]

ALL_KEYS = b"\0"
"""As the end of a range: there is none."""


def text(value: bytes) -> str:
    """Bytes, as etcd's JSON has them."""
    return b64encode(value).decode("ascii")


def range_under(prefix: bytes) -> dict[str, Any]:
    """The keys that begin like this."""
    return {"key": text(prefix or b"\0"), "range_end": text(end_of(prefix) or ALL_KEYS)}


def transaction(operations: Sequence[Operation], conditions: Sequence[Condition]) -> Json:
    """All of it if the conditions hold, else what is there in their places."""
    return {
        "compare": [_compare(condition) for condition in conditions],
        "success": [_request(operation) for operation in operations],
        "failure": [
            {"request_range": {"key": text(encoded(condition.key))}} for condition in conditions
        ],
    }


def revision_of(answer: Json) -> Revision:
    """Where the member that answered was."""
    return Revision(int(answer.get("header", {}).get("revision", 0)))


def cluster_of(message: Json) -> str:
    """Names the cluster that answered."""
    return str(message.get("header", {}).get("cluster_id", ""))


def entry_of(kv: Json) -> Entry:
    """A key and what is there."""
    lease = int(kv.get("lease", 0))
    return Entry(
        decoded(b64decode(kv["key"])),
        b64decode(kv.get("value", "")),
        Revision(int(kv["create_revision"])),
        Revision(int(kv["mod_revision"])),
        LeaseId(lease) if lease else None,
    )


def entries_of(answer: Json) -> list[Entry]:
    """What a range has found."""
    return [entry_of(kv) for kv in answer.get("kvs", ())]


def found_by(answer: Json, conditions: Sequence[Condition]) -> dict[str, Entry | None]:
    """What a transaction that failed has found in the places of its conditions."""
    found: dict[str, Entry | None] = {}
    for condition, response in zip(conditions, answer["responses"], strict=True):
        entries = entries_of(response.get("response_range", {}))
        found[condition.key] = entries[0] if entries else None
    return found


def event_of(event: Json) -> Event:
    """One change of a watch."""
    kv = event["kv"]
    revision = Revision(int(kv["mod_revision"]))
    if event.get("type", "PUT") == "DELETE":
        return Event(decoded(b64decode(kv["key"])), None, revision)
    entry = entry_of(kv)
    return Event(entry.key, entry, revision)


def _compare(condition: Condition) -> Json:
    key = text(encoded(condition.key))
    match condition:
        case Unchanged(_, revision):
            return {"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}
        case Absent():
            return {"key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0"}
        case Present():
            return {"key": key, "target": "CREATE", "result": "GREATER", "create_revision": "0"}
        case _:
            assert_never(condition)


def _request(operation: Operation) -> Json:
    key = text(encoded(operation.key))
    if isinstance(operation, Put):
        put = {"key": key, "value": text(operation.value), "lease": str(operation.lease or 0)}
        return {"request_put": put}
    return {"request_delete_range": {"key": key}}
