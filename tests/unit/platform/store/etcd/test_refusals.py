"""What etcd 3.4 says, and what becomes of it."""

import pytest

from overlord.platform.store import (
    AccessDenied,
    HistoryLost,
    LeaseLost,
    OutcomeUnknown,
    RequestRefused,
    StoreDamaged,
    StoreFull,
    StoreUnavailable,
)
from overlord.platform.store.etcd.refusals import Refusal


@pytest.mark.parametrize(
    ("code", "message", "error"),
    [
        (5, "etcdserver: requested lease not found", LeaseLost),
        (11, "etcdserver: mvcc: required revision has been compacted", HistoryLost),
        (11, "etcdserver: mvcc: required revision is a future revision", HistoryLost),
        (8, "etcdserver: mvcc: database space exceeded", StoreFull),
        (8, "etcdserver: too many requests", StoreUnavailable),
        (15, "etcdserver: corrupt cluster", StoreDamaged),
        (7, "etcdserver: permission denied", AccessDenied),
        (16, "etcdserver: invalid auth token", AccessDenied),
        (3, "etcdserver: authentication failed, invalid user ID or password", AccessDenied),
        (3, "etcdserver: user name is empty", AccessDenied),
        (3, "etcdserver: request is too large", RequestRefused),
        # These leave open whether it was done.
        (14, "etcdserver: request timed out", OutcomeUnknown),
        (14, "etcdserver: leader changed", OutcomeUnknown),
        (14, "etcdserver: server stopped", OutcomeUnknown),
        (4, "context deadline exceeded", OutcomeUnknown),
        (2, "unknown", OutcomeUnknown),
    ],
)
def test_each_has_its_error(code: int, message: str, error: type[Exception]) -> None:
    refusal = Refusal(code, message)

    assert type(refusal.error("h:1")) is error
    assert refusal.is_final == (error is not OutcomeUnknown)


@pytest.mark.parametrize(
    "message",
    [
        "all SubConns are in TransientFailure, latest connection error: connection refused",
        "etcdserver: no leader",
    ],
)
def test_what_was_not_passed_on_was_not_done(message: str) -> None:
    assert Refusal(14, message).was_not_passed_on
