from overlord.proxy.flow.parts cimport Client, Pending
from overlord.proxy.flow.replies cimport RedisLink

cdef enum Handed:
    OTHER = 0
    DELIVERED = 1
    UNFINISHED = 2

cdef class Topic:
    cdef readonly int kind
    cdef readonly bytes name
    cdef readonly dict listeners
    cdef readonly dict waiting
    cdef public tuple nodes

cdef class ListenLink(RedisLink):
    cdef readonly dict topics
    cdef public bint kept
    cdef public bint interrupted
    cdef tuple directory
    cdef object asked
    cdef double heard_at
    cdef Py_ssize_t heard
    cdef readonly bint resting
    cdef Py_ssize_t effort
    cdef list audience
    cdef Py_ssize_t reached

    cdef int _rest(self) except -1
    cdef int _hand_on(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef bint _deliver(self, Topic topic, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int _give(self, Client client, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1

cdef class Debt:
    cdef Client client
    cdef Pending pending
