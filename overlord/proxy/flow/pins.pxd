from overlord.proxy.flow.parts cimport Client, Link, Pending
from overlord.proxy.flow.replies cimport RedisLink

cdef class PinLink(RedisLink):
    cdef public object user
    cdef public double patience
    cdef readonly bint blocking
    cdef readonly bint ended_with_error
    cdef readonly bytes server_id
    cdef double quiet_since
    cdef Pending question
    cdef object tell
