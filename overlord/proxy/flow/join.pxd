from overlord.proxy.flow.parts cimport Split

cdef int join_parts(Split split) except -1

from overlord.wire.buffer cimport Buffer
from overlord.wire.resp cimport ReplyScanner

cdef bint _values(Split split, ReplyScanner elements, Buffer scratch) except -1
