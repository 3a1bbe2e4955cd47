"""The flow of one cluster of memcacheds: its links and clients speak the text protocol."""

from __future__ import annotations

from typing import Any

import cython

from overlord.proxy.flow.memcache_client import MemcacheClient
from overlord.proxy.flow.memcache_dialect import MemcacheDialect
from overlord.proxy.flow.memcache_link import MemcacheLink
from overlord.proxy.flow.question import VERSION, Question

if cython.compiled:
    from cython.cimports.overlord.proxy.flow.client import ProxiedClient
    from cython.cimports.overlord.proxy.flow.node_link import NodeLink
    from cython.cimports.overlord.proxy.flow.parts import Flow, Node
    from cython.cimports.overlord.proxy.flow.ring_flow import RingFlow
else:
    from overlord.proxy.flow.client import ProxiedClient
    from overlord.proxy.flow.node_link import NodeLink
    from overlord.proxy.flow.parts import Flow, Node
    from overlord.proxy.flow.ring_flow import RingFlow


@cython.cclass
class MemcacheFlow(RingFlow):
    """A cluster of memcacheds behind a ring."""

    def take_limits(self, limits: Any) -> None:
        """These bounds and settings hold from now on."""
        Flow.take_limits(self, limits)
        if self.dialect is None:
            self.dialect = MemcacheDialect(limits)
        else:
            self.dialect.take_limits(limits)
        self.login = self.dialect.text_login

    def error(self, text: str) -> bytes:
        """The reply that tells a client this error of ours."""
        return f"SERVER_ERROR {text}\r\n".encode()

    def too_many_clients(self) -> bytes:
        """What a client is told for whom there is no place."""
        return b"ERROR Too many open connections\r\n"

    def question(self) -> Question:
        """What a node is asked to learn whether it serves."""
        return VERSION

    def new_client(self, number: int) -> ProxiedClient:
        """A client that has just come."""
        return MemcacheClient(self, number)

    def new_link(self, node: Node, protocol: int) -> NodeLink:
        """The place of a connection to a node."""
        return MemcacheLink(self, node, protocol)
