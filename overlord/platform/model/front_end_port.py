"""Which cluster has a front-end port: a record by port, so that no two clusters can take one."""

from typing import ClassVar

from attrs import frozen

from overlord.platform.model.record import Record
from overlord.platform.model.units import Name, Port


@frozen(kw_only=True)
class FrontEndPort(Record):
    """
    A front-end port that is taken.

    It is made in the transaction that makes its cluster, and goes in the one that removes it. So a
    creation that fails burns no port.
    """

    KIND: ClassVar[str] = "front_end_port"

    port: Port
    """Where the proxy serves the cluster."""

    cluster: Name
    """The cluster that has it."""
