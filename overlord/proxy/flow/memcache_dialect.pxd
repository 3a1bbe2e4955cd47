from overlord.wire.memcache_text cimport Words

cdef class MemcacheDialect:
    cdef Words words
    cdef readonly bint misses
    cdef readonly bint fails
    cdef readonly bint decodes_keys
    cdef readonly bint has_denied
    cdef readonly frozenset denied
    cdef readonly dict versions
    cdef readonly object users
    cdef readonly bytes text_login
    cdef readonly bytes sasl_login
