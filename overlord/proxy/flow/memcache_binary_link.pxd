from overlord.proxy.flow.node_link cimport NodeLink
from overlord.proxy.flow.parts cimport Pending
from overlord.wire.memcache_binary cimport BinaryScanner

cdef class BinaryLink(NodeLink):
    cdef BinaryScanner scanner

    cdef bint _take(self, Pending pending, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except *
