from overlord.proxy.flow.parts cimport Link, Pending
from overlord.wire.buffer cimport Buffer

cdef Py_ssize_t LARGE_REPLY

cdef class NodeLink(Link):
    cdef readonly bint is_shared
    cdef Buffer held

    cpdef void begin(self) except *
    cpdef void send_waiting(self) except *
    cpdef void greet(self, bytes words) except *
    cpdef void let_in(self) except *
    cpdef void is_greeted(self) except *
    cpdef void greeted_with(self, bytes reply) except *
    cpdef void log_in(self, bytes words) except *
    cpdef void refused_us(self, str why) except *
    cpdef void break_off(self, str why) except *
    cdef bint hears(self) except *
    cdef int break_off_unasked(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int break_off_wrong(self, object wrong, str bound) except -1
    cdef bint nobody_waits(self) noexcept
    cdef int give_up_on_first(self) except -1
    cdef bytes error_for(self, Pending pending, str error)
    cdef int fail(self, Pending pending, str error) except -1
    cdef Py_ssize_t pass_over(self, Py_ssize_t size, Py_ssize_t at, Py_ssize_t end) except -1
    cdef int settle(self, Pending pending, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1

cdef int settle_part(Pending pending, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
