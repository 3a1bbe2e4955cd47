from overlord.proxy.flow.memcache_client cimport MemcacheClient
from overlord.proxy.flow.parts cimport Split
from overlord.wire.memcache_binary cimport BinaryScanner

cdef enum Speaks:
    UNDECIDED = 0
    TEXT = 1
    BINARY = 2

cdef class FlushSplit(Split):
    cdef int opcode
    cdef long long opaque

cdef class FrameNumbersSplit(Split):
    cdef bytes what
    cdef long long opaque

cdef bytes _joined_flush(FlushSplit flush, list replies)

cdef class BinaryClient(MemcacheClient):
    cdef BinaryScanner frames
    cdef readonly int speaks
    cdef bint has_begun_sasl

    cdef Py_ssize_t _feed_frames(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int binary_request(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int _turn_away(self) except -1
    cdef int _log_in(self, bytes mechanism, bytes message) except -1
    cdef int _refuse_with(self, int status, str text) except -1
    cdef bint _is_forbidden(self) except *
    cdef int _forward(self, int opcode, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int _node_is_missing(self, int opcode) except -1
    cdef int _own(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int _stat(self, bytes what) except -1
    cdef int _ask_nodes(self, Split split, bytes request, int opcode) except -1
    cdef int _flush_all(self, bytes asked) except -1
