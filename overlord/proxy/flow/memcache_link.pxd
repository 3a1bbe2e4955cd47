from overlord.proxy.flow.node_link cimport NodeLink
from overlord.proxy.flow.parts cimport Pending
from overlord.wire.memcache_text cimport TextReplyScanner

cdef class MemcacheLink(NodeLink):
    cdef TextReplyScanner scanner

    cdef int _take(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end, bint is_cut) except -1
    cdef int _observe(self, Pending pending, const unsigned char* p, Py_ssize_t start, bint is_hidden) except -1

cdef bint _may_answer(Pending pending, int first) noexcept
