from overlord.proxy.flow.parts cimport Link, Pending

cdef class RedisLink(Link):
    cdef bytes token
    cdef int _observe(self, Pending pending, const unsigned char* p, Py_ssize_t start, long long nulls) except -1
    cdef int _settle(self, Pending pending, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef bint _nobody_waits(self) noexcept
