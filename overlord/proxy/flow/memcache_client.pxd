from overlord.proxy.flow.client cimport ProxiedClient
from overlord.proxy.flow.memcache_dialect cimport MemcacheDialect
from overlord.proxy.flow.memcache_join cimport ValuesSplit
from overlord.proxy.flow.parts cimport Link, Split
from overlord.wire.memcache_text cimport TextRequestScanner

cdef class MemcacheClient(ProxiedClient):
    cdef readonly MemcacheDialect dialect
    cdef TextRequestScanner scanner

    cdef int request(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cpdef void set_stranger(self, bint is_stranger) except *
    cpdef void bound_scanners(self) except *
    cdef int _meet_stranger(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cpdef void hit_bound(self, str bound) except *
    cdef bint has_too_much_unread(self) except *
    cpdef void count_login(self, bint is_in, str refusal) except *
    cdef int _too_few_words(self, int verb) except -1
    cdef int _refuse(self, bytes error, bint is_muted) except -1
    cdef bint _is_denied(self, const unsigned char* p, Py_ssize_t start) except *
    cdef bint _is_muted(self, const unsigned char* p, Py_ssize_t start) noexcept
    cdef bint _is_key(self, Py_ssize_t word) noexcept
    cdef int _one(self, Py_ssize_t word, int command_class, int keys, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef Link _link_of(self, int index, int command_class, int keys)
    cdef int _change(self, int keys, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int _meta(self, int verb, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int _node_of_base64(self, const unsigned char* p, Py_ssize_t start) except -2
    cdef int _many(self, Py_ssize_t first, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef list _share_out(self, ValuesSplit split, Py_ssize_t first, const unsigned char* p)
    cdef int _fill_parts(self, ValuesSplit split, list nodes, Py_ssize_t first, const unsigned char* p) except -1
    cdef int _slowly(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int _flush(self, list words) except -1
