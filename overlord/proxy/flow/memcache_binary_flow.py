"""The flows of clusters of memcacheds whose clients speak the binary protocol, or either."""

from __future__ import annotations

from typing import Any

import cython

from overlord.proxy.flow.memcache_binary_client import BinaryClient
from overlord.proxy.flow.memcache_binary_link import BinaryLink
from overlord.proxy.flow.memcache_link import MemcacheLink
from overlord.proxy.flow.question import BINARY_VERSION, Question

if cython.compiled:
    from cython.cimports.overlord.proxy.flow.memcache_binary_client import BINARY, UNDECIDED
    from cython.cimports.overlord.proxy.flow.memcache_flow import MemcacheFlow
    from cython.cimports.overlord.proxy.flow.node_link import NodeLink
    from cython.cimports.overlord.proxy.flow.parts import Link, Node
else:
    from overlord.proxy.flow.memcache_binary_client import BINARY, UNDECIDED
    from overlord.proxy.flow.memcache_flow import MemcacheFlow
    from overlord.proxy.flow.node_link import NodeLink
    from overlord.proxy.flow.parts import Link, Node


@cython.cclass
class BinaryFlow(MemcacheFlow):
    """A cluster of memcacheds behind a ring."""

    def take_limits(self, limits: Any) -> None:
        """These bounds and settings hold from now on."""
        MemcacheFlow.take_limits(self, limits)
        self.login = self.dialect.sasl_login

    def question(self) -> Question:
        """What a node is asked to learn whether it serves."""
        return BINARY_VERSION

    def open_binary(self) -> None:
        """All connections speak it."""

    def new_client(self, number: int) -> BinaryClient:
        """A client that has just come."""
        return BinaryClient(self, number, BINARY)

    def new_link(self, node: Node, protocol: int) -> BinaryLink:
        """The place of a connection to a node."""
        return BinaryLink(self, node, protocol)


@cython.cclass
class EitherFlow(MemcacheFlow):
    """
    A cluster whose clients speak either protocol, and whose links are there for both.

    Those for the binary one are opened for the first client that speaks it.
    """

    def new_client(self, number: int) -> BinaryClient:
        """A client that has just come."""
        return BinaryClient(self, number, UNDECIDED)

    def new_link(self, node: Node, protocol: int) -> NodeLink:
        """The place of a connection to a node; 3 is the binary protocol."""
        return BinaryLink(self, node, 3) if protocol == 3 else MemcacheLink(self, node, 2)

    def open_binary(self) -> None:
        """A client speaks the binary protocol."""
        node: Node
        link: Link
        for node in self.nodes:
            if not node.links3:
                node.links3 = self.new_links(node, 3)
                for link in node.links3:
                    self.dial(link)
