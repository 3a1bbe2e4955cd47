"""
What systemd is told about us, when it asks (`Type=notify`): that we serve, reload, stop.

A message is a datagram of lines to the socket that NOTIFY_SOCKET names. Source: sd_notify(3).
"""

import os
import socket
import time
from collections.abc import Mapping

from attrs import frozen
from twisted.logger import Logger


@frozen
class Notifier:
    """Tells systemd; where there is none, nobody."""

    path: str = ""
    """Where the datagrams go; an abstract socket begins with `@`."""
    log = Logger()

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> "Notifier":
        """To the one that started us."""
        return cls(environment.get("NOTIFY_SOCKET", ""))

    def ready(self) -> None:
        """Everything is served, with the configuration that was asked for last."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """A reload has begun; `ready` says that it is over."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """What is under way is finished, and nothing new begun."""
        self._tell("STOPPING=1")

    def _tell(self, message: str) -> None:
        if not self.path:
            return
        path = f"\0{self.path[1:]}" if self.path.startswith("@") else self.path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)  # it may not read; that is no reason for us to stop
                sender.sendto(message.encode(), path)
        except OSError as error:
            self.log.warn(
                "cannot tell systemd {what} at {path}: {reason}",
                path=self.path,
                what=message.partition("\n")[0],
                reason=(error.strerror or str(error)).lower(),
            )
