"""What there is to say about one node at this moment."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

State = Literal["up", "down", "ejected", "login refused"]
"""
Whether a node serves: it does; no connection to it is ready, or it answers no pings; its keys are with the others for now; it does
not let us in.
"""


@frozen
class NodeState:
    """One node of a cluster, as people and programs see it who ask how it is."""

    label: str
    """How the ring and the logs know it."""
    address: str
    """Where it is, as the configuration says it."""
    state: State
    trouble: str
    """Why it is not up, in a few words; empty if it is."""
    share: float
    """The part of all keys that it has now, 0 to 1; with the distribution random, of all requests."""
    ejections: int
    """How often it was ejected since the proxy serves it."""
    changed: float | None
    """When its state last changed, in seconds since the epoch; None if it never did."""
