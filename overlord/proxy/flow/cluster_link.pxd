from overlord.proxy.flow.parts cimport Client, Pending
from overlord.proxy.flow.replies cimport RedisLink

cdef Client owner_of(Pending pending)

cdef class ClusterLink(RedisLink):
    cdef bint was_ready

    cdef bint _reads(self, bytes frame) except *
