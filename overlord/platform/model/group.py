"""A group: hosts that clusters share, apart from those of other groups."""

from typing import ClassVar

from attrs import frozen

from overlord.platform.model.record import Record
from overlord.platform.model.units import Line, Name


@frozen(kw_only=True)
class Group(Record):
    """Hosts for some clusters and no others. With Mesos, a group is a role."""

    KIND: ClassVar[str] = "group"

    name: Name
    """What clusters and hosts name it by."""

    title: Line = Line("")
    """What people call it, in any language."""

    role: Line = Line("")
    """The role that the group has in Mesos; empty when it is called as the group."""
