"""The flow of one cluster of memcacheds whose clients and links speak the binary protocol."""

from __future__ import annotations

import cython

from overlord.proxy.flow.memcache_binary_client import BinaryClient
from overlord.proxy.flow.memcache_binary_link import BinaryLink, refusal
from overlord.wire.memcache_binary import TEMPORARY_FAILURE

if cython.compiled:
    from cython.cimports.overlord.proxy.flow.memcache_flow import MemcacheFlow
    from cython.cimports.overlord.proxy.flow.parts import Node
else:
    from overlord.proxy.flow.memcache_flow import MemcacheFlow
    from overlord.proxy.flow.parts import Node


@cython.cclass
class BinaryFlow(MemcacheFlow):
    """A cluster of memcacheds behind a ring."""

    def error(self, text: str) -> bytes:
        """The reply that tells a client this error of ours, where it answers no request."""
        return refusal(0, 0, TEMPORARY_FAILURE, text)

    def new_client(self, number: int) -> BinaryClient:
        """A client that has just come."""
        return BinaryClient(self, number)

    def new_link(self, node: Node, protocol: int) -> BinaryLink:
        """The place of a connection to a node."""
        return BinaryLink(self, node, protocol)
