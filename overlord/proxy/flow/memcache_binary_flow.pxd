from overlord.proxy.flow.memcache_flow cimport MemcacheFlow

cdef class BinaryFlow(MemcacheFlow):
    pass

cdef class EitherFlow(MemcacheFlow):
    pass
