from overlord.proxy.flow.parts cimport Client, Pending
from overlord.proxy.flow.replies cimport RedisLink

cdef class Topic:
    cdef readonly int kind
    cdef readonly bytes name
    cdef readonly dict listeners
    cdef readonly dict waiting
    cdef public tuple nodes

    cdef int deliver(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1

cdef class ListenLink(RedisLink):
    cdef readonly dict topics
    cdef public bint kept
    cdef public bint interrupted
    cdef tuple directory
    cdef object asked
    cdef double heard_at
    cdef Py_ssize_t heard

    cdef bint _hand_on(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1

cdef class Debt:
    cdef Client client
    cdef Pending pending
