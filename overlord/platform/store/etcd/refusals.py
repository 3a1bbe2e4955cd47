"""What etcd says went wrong, and whether that means that nothing was done."""

from attrs import define

from overlord.platform.store.errors import (
    AccessDenied,
    HistoryLost,
    LeaseLost,
    OutcomeUnknown,
    RequestRefused,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreUnavailable,
)

_INVALID, _NOT_FOUND, _DENIED, _EXHAUSTED, _PRECONDITION, _RANGE, _LOSS, _TOKEN = (
    3,
    5,
    7,
    8,
    9,
    11,
    15,
    16,
)
"""Codes of gRPC. All others leave open whether it was done: timed out, leader changed, stopped, ..."""
_NOT_PASSED_ON = ("connection refused", "SubConns", "no leader")
"""In messages of code 14: the gateway did not reach its own etcd, or that has nobody to propose to."""


@define(eq=False)
class Refusal(Exception):
    """An answer that is an error."""

    code: int
    message: str

    def __str__(self) -> str:
        return self.message

    @property
    def is_about_token(self) -> bool:
        """Whether logging in anew helps: the token has expired, or rights have changed since."""
        return self.code == _TOKEN or "revision in header is old" in self.message

    @property
    def is_final(self) -> bool:
        """Whether every other member would say the same, and surely nothing was done."""
        return self.code in {_INVALID, _NOT_FOUND, _DENIED, _PRECONDITION, _RANGE, _TOKEN} or (
            self.code in {_EXHAUSTED, _LOSS}
        )

    @property
    def was_not_passed_on(self) -> bool:
        """Whether nothing was done, and another member may do it."""
        return any(words in self.message for words in _NOT_PASSED_ON)

    def error(self, where: str) -> StoreError:
        """Ours, for the caller. `where` is the member that answered."""
        said = f"etcd at {where} says: {self.message}"
        match self.code:
            case 5 if "lease" in self.message:
                return LeaseLost(said)
            case 11 if "compacted" in self.message or "future" in self.message:
                return HistoryLost(said)
            case 8 if "space" in self.message:
                return StoreFull(f"{said} (compact it, defragment it, and disarm its alarm)")
            case 15:
                return StoreDamaged(said)
            case 7 | 16:
                return AccessDenied(said)
            case 3 if "authentication" in self.message or "user name" in self.message:
                return AccessDenied(said)
            case 3:
                return RequestRefused(said)
            case _ if self.is_final:
                return StoreUnavailable(said)
            case _:
                return OutcomeUnknown(said)
