from overlord.proxy.flow.ring_flow cimport RingFlow

cdef class MemcacheFlow(RingFlow):
    pass
