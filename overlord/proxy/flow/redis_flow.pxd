from overlord.proxy.flow.ring_flow cimport RingFlow

cdef class RedisFlow(RingFlow):
    pass
