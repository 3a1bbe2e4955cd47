from overlord.proxy.flow.node_link cimport NodeLink
from overlord.proxy.flow.parts cimport Pending
from overlord.wire.resp cimport ReplyScanner

cdef class RedisLink(NodeLink):
    cdef ReplyScanner scanner
    cdef bytes token
    cdef int _observe(self, Pending pending, const unsigned char* p, Py_ssize_t start, long long nulls) except -1
