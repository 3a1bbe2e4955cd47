"""States and the moves between them, as tables."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from overlord.errors import OverlordError

State = TypeVar("State", bound=str)
Moves = Mapping[State, Sequence[State]]
"""Each state, and those that may follow it."""


class WrongMove(OverlordError):
    """A thing may not go from the state it has to the one that was asked for."""


def check_move(what: str, moves: Moves[State], now: State, to: State) -> None:
    """Raise `WrongMove` if the table has no such move."""
    if to not in moves[now]:
        allowed = " or ".join(moves[now]) or "nothing"
        raise WrongMove(f"{what} is {now}: {allowed} may follow, not {to}")
