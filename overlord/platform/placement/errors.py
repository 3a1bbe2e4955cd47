"""Why a plan cannot be made, or not be carried out."""

from enum import Enum

from overlord.errors import OverlordError


class Reason(Enum):
    """What kind of refusal it is. docs/placement.md says what each means, and what to do."""

    BAD_DEMAND = "bad demand"
    """What is asked for makes no sense by itself: no masters, no memory."""
    BAD_PICTURE = "bad picture"
    """What is said of the hosts and of what runs there contradicts itself."""
    UNKNOWN = "unknown"
    """A cluster, a host or an instance that is named is not in the picture."""
    EXISTS = "exists"
    """A cluster of that name runs already."""
    TOO_FEW_HOSTS = "too few hosts"
    """The guarantees need more hosts than have room for an instance."""
    TOO_LITTLE_ROOM = "too little room"
    """There are hosts enough, and not enough room on them within the guarantees."""
    NO_HOST = "no host"
    """For one instance that has to go elsewhere, no host is left that it may be on."""
    MAJORITY = "majority"
    """However the roles are given out, one host would have too many of the masters."""
    TOO_SMALL = "too small"
    """A scale-in to this size would break a guarantee, and what would have to move cannot."""
    NOT_ACCEPTED = "not accepted"
    """The plan names a risk, and nobody has accepted it."""
    STALE = "stale"
    """The picture has changed since the plan was made."""


class PlacementError(OverlordError):
    """
    A plan cannot be made or carried out: which demand fails on what, and what would be enough.

    Attributes:
        reason: what kind of refusal it is.
        cluster: whose demand fails; "" if it is no cluster's.
        enough: what would do, one sentence each; none if nobody can say.
        further_hosts: the same as numbers: so many hosts more, each with free room for so many
            instances; None if nobody can say.
        sizes: the nearest sizes (masters or singletons, in all) that the same hosts can take.
    """

    def __init__(
        self,
        reason: Reason,
        problem: str,
        cluster: str = "",
        enough: tuple[str, ...] = (),
        further_hosts: tuple[int, int] | None = None,
        sizes: tuple[int, ...] = (),
    ) -> None:
        whose = f"cluster '{cluster}': " if cluster else ""
        what_would_do = f" (enough would be: {'; or '.join(enough)})" if enough else ""
        super().__init__(f"{whose}{problem}{what_would_do}")
        self.reason = reason
        self.cluster = cluster
        self.enough = enough
        self.further_hosts = further_hosts
        self.sizes = sizes
