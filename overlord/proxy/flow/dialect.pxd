from overlord.proxy.flow.commands cimport CommandTable
from overlord.wire.resp cimport Args, ReplyScanner

cdef class RedisDialect:
    cdef readonly dict book
    cdef readonly CommandTable table
    cdef Args args
    cdef ReplyScanner elements
    cdef int ping_row
    cdef public int scan_mark
    cdef object _commands
