"""An appid: who uses clusters."""

from typing import ClassVar

from attrs import frozen

from overlord.platform.model.record import Record
from overlord.platform.model.units import AppidName, Line


@frozen(kw_only=True)
class Appid(Record):
    """A service that uses clusters. Which ones, the clusters say."""

    KIND: ClassVar[str] = "appid"

    name: AppidName
    """Department and service with a period between, such as `shop.basket`; further parts may follow."""

    title: Line = Line("")
    """What people call it."""
