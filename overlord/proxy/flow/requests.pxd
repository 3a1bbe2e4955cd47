from overlord.proxy.flow.client cimport ProxiedClient
from overlord.proxy.flow.dialect cimport RedisDialect
from overlord.proxy.flow.parts cimport Link, Node, Split
from overlord.wire.resp cimport RequestScanner

cdef class RedisClient(ProxiedClient):
    cdef RequestScanner scanner
    cdef readonly RedisDialect dialect

    cdef int request(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int _route(self, int row, int kind, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int _keys(self, int row, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int _split(self, int join, Py_ssize_t step, int command_class, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int _only_node(self, Py_ssize_t step, Py_ssize_t count, const unsigned char* p) except -2
    cdef list _share_out(self, Split split, Py_ssize_t step, const unsigned char* p)
    cdef int _begin_parts(self, list nodes, Py_ssize_t step, const unsigned char* p) except -1
    cdef int _fill_parts(self, Split split, list nodes, Py_ssize_t step, const unsigned char* p) except -1
    cdef int _scan(self, list argv) except -1
    cdef int _slowly(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int _subscribe(self, bytes word, list argv) except -1
    cdef int _take_pin(self, list argv, bytes frame) except -2
    cdef int _send_errand(self, str name, list argv, bytes frame) except -2
    cdef int _any_node(self) except -1
    cdef int _inline(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
