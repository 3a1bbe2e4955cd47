"""A connection to a node of a Redis Cluster: looks whether an error says that the request is to go elsewhere."""

from __future__ import annotations

import cython

from overlord.wire.resp import arguments

if cython.compiled:
    from cython.cimports.overlord.proxy.flow.cluster_client import ClusterClient, drop_frame
    from cython.cimports.overlord.proxy.flow.node_link import NodeLink
    from cython.cimports.overlord.proxy.flow.parts import READY, Client, Flow, Node, Pending
    from cython.cimports.overlord.proxy.flow.replies import RedisLink
    from cython.cimports.overlord.wire.buffer import cut
else:
    from overlord.proxy.flow.cluster_client import ClusterClient, drop_frame
    from overlord.proxy.flow.node_link import NodeLink
    from overlord.proxy.flow.parts import READY, Client, Flow, Node, Pending
    from overlord.proxy.flow.replies import RedisLink
    from overlord.wire.buffer import cut

MINUS = cython.declare(cython.int, 45)


@cython.cclass
class ClusterLink(RedisLink):
    """
    One connection to a node of a Redis Cluster.

    Attributes:
        was_ready: whether what was open on it, when it was lost, may have reached the node.
    """

    def __init__(self, flow: Flow, node: Node, protocol: cython.int) -> None:
        RedisLink.__init__(self, flow, node, protocol)
        self.was_ready = False

    def settle(
        self,
        pending: Pending,
        p: cython.p_const_uchar,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """`p[start:end]` is the reply to `pending`, unless it says that it is to be sent again."""
        client: ClusterClient
        if pending.frame is not None:
            client = cython.cast(ClusterClient, owner_of(pending))
            if client is not None:
                if p[start] == MINUS and client.takes_back(pending, self.node, cut(p, start, end)):
                    return 0
                if client.repeats:
                    client.answered(pending)
            drop_frame(pending)
        return NodeLink.settle(self, pending, p, start, end)

    def lost(self, trouble: str) -> None:
        """There is no connection (any more)."""
        self.was_ready = self.state == READY
        RedisLink.lost(self, trouble)

    def fail(self, pending: Pending, error: str) -> cython.int:
        """Have this sent again if that cannot do any harm, or answer it with an error."""
        client: ClusterClient
        if pending.frame is not None:
            client = cython.cast(ClusterClient, owner_of(pending))
            if client is not None and (not self.was_ready or self._reads(pending.frame)):
                self.node.failures += 1
                return client.lost_with(pending, self.node, error)
            if client is not None and client.repeats:
                client.answered(pending)
            drop_frame(pending)
        return NodeLink.fail(self, pending, error)

    def _reads(self, frame: bytes) -> cython.bint:
        """Whether a command changes nothing, however often it is carried out."""
        row = self.flow.dialect.book.get(arguments(frame)[0].upper())
        return row is not None and "readonly" in row.flags.split() and row.group != "scripting"


def owner_of(pending: Pending) -> Client:
    """The client who is owed the reply; None: nobody is."""
    if pending.parent is not None:
        return pending.parent.client
    return pending.client
