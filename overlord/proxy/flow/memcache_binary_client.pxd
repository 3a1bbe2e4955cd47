from overlord.proxy.flow.client cimport ProxiedClient
from overlord.proxy.flow.memcache_dialect cimport MemcacheDialect
from overlord.proxy.flow.parts cimport Split
from overlord.wire.memcache_binary cimport BinaryScanner

cdef class FlushSplit(Split):
    cdef int opcode
    cdef long long opaque

cdef class BinaryClient(ProxiedClient):
    cdef readonly MemcacheDialect dialect
    cdef BinaryScanner scanner

    cdef int request(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int _refuse(self, int status, str text) except -1
    cdef bint _is_denied(self) except *
    cdef int _forward(self, int opcode, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int _node_is_missing(self, int opcode) except -1
    cdef int _own(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int _flush(self, bytes asked) except -1
