"""The flow of a Redis Cluster, with the clients and links that belong to it."""

from __future__ import annotations

import cython

from overlord.proxy.flow.cluster_client import ClusterClient
from overlord.proxy.flow.cluster_link import ClusterLink

if cython.compiled:
    from cython.cimports.overlord.proxy.flow.parts import Node
    from cython.cimports.overlord.proxy.flow.slot_flow import SlotFlow
else:
    from overlord.proxy.flow.parts import Node
    from overlord.proxy.flow.slot_flow import SlotFlow


@cython.cclass
class ClusterFlow(SlotFlow):
    """A Redis Cluster that clients use as if it were one Redis."""

    def new_client(self, number: int) -> ClusterClient:
        """A client that has just come."""
        return ClusterClient(self, number)

    def new_link(self, node: Node, protocol: int) -> ClusterLink:
        """The place of a connection to a node."""
        return ClusterLink(self, node, protocol)
