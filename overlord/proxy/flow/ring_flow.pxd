from overlord.proxy.flow.parts cimport Flow

cdef class RingFlow(Flow):
    pass
