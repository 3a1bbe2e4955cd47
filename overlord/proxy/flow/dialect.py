"""What a cluster of Redis servers has that others have not: its commands, and what reads them and their replies."""

from __future__ import annotations

from typing import Any

import cython

from overlord.proxy.flow.book import book_of
from overlord.proxy.flow.command_row import Kind

if cython.compiled:
    from cython.cimports.overlord.proxy.flow.commands import CommandTable
    from cython.cimports.overlord.wire.resp import Args, ReplyScanner
else:
    from overlord.proxy.flow.commands import CommandTable
    from overlord.wire.resp import Args, ReplyScanner


@cython.final
@cython.cclass
class RedisDialect:
    """
    The commands of one cluster, as its configuration has them.

    Attributes:
        book: the rows of the commands, by their names.
        table: the same for the hot path.
        ping_row: the row of PING in the table; -1 if it is not answered here.
        args: reads the arguments of one command at a time.
        elements: reads replies in replies.
        scan_mark: which nodes a SCAN goes over; its cursors are good for these only.
    """

    def __init__(self, limits: Any) -> None:
        self.args = Args()
        self.scan_mark = 0
        self._commands: Any = None
        self.take_limits(limits)

    def take_limits(self, limits: Any) -> None:
        """These bounds and commands hold from now on."""
        self.elements = ReplyScanner(limits.max_inline, limits.max_reply_depth, limits.max_arg_size)
        commands = (limits.deny_commands, limits.allow_commands, limits.rename_commands)
        if commands == self._commands:
            return
        self._commands = commands
        self.book = book_of(*commands)
        self.table = CommandTable(self.book)
        self.ping_row = self.table.find(b"PING", 0, 4)
        if self.ping_row >= 0 and self.table.row(self.ping_row).kind is not Kind.LOCAL:
            self.ping_row = -1
