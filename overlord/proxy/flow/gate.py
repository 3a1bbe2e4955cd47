"""What a client's requests pass first while it is no client like others: what `Client.pin` holds."""

from collections.abc import Sequence
from typing import Protocol

WAIT, DONE, ORDINARY = 0, 1, -1
"""What becomes of a request: it has to wait, it is taken up, or it goes the way of others' requests."""


class Gate(Protocol):
    """
    Decides about each request of one client: a `Pinned`, an `Errand` or a `Stranger`.

    A client that needs none of them has none, and pays nothing for the question.
    """

    in_multi: bool
    """Between MULTI and EXEC."""
    watched: int
    """For how many keys WATCH was sent."""
    touched: bool
    """EXEC will answer null: nobody knows whether the watched keys have changed."""
    waits_at_node: bool
    """A command that may wait is open."""
    queued: int
    """Commands since MULTI; -1 outside."""

    def take_up(self, argv: Sequence[bytes], frame: bytes) -> int:
        """Take up the client's next request, `frame` as it came; gives WAIT, DONE or ORDINARY."""

    def end_wait(self, *, with_error: bool = False) -> bool:
        """Have what waits at a node answered, as if its time were over or with an error; False if nothing does."""

    def rehome(self) -> None:
        """Keys belong to other nodes from now on."""

    def client_lost(self) -> None:
        """The client has gone."""

    def ends_input(self) -> bool:
        """The client sends no more. Gives True if it has been closed for that."""

    def drain(self) -> None:
        """The client is to be closed when it has what it is owed."""
