from overlord.wire.marks cimport Marks

cdef enum Scan:
    VIOLATION = -1
    INCOMPLETE = 0
    WHOLE = 1
    NOTHING = 2
    INLINE = 3

cdef class LengthLine:
    cdef Py_ssize_t after
    cdef Py_ssize_t max_line

    cdef long long number(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) noexcept

cdef class RequestScanner(LengthLine):
    cdef readonly Py_ssize_t length
    cdef readonly Py_ssize_t argc
    cdef readonly Py_ssize_t name_start
    cdef readonly Py_ssize_t name_end
    cdef readonly Py_ssize_t key_start
    cdef readonly Py_ssize_t key_end
    cdef readonly object violation
    cdef readonly str broken_bound
    cdef Py_ssize_t at
    cdef Py_ssize_t left
    cdef Py_ssize_t whole
    cdef Py_ssize_t max_args
    cdef Py_ssize_t max_arg_size
    cdef Py_ssize_t max_request
    cdef Py_ssize_t usual_args
    cdef Py_ssize_t usual_arg_size

    cpdef void restrict(self, Py_ssize_t max_args, Py_ssize_t max_arg_size)
    cpdef void unrestrict(self)
    cdef int scan_freely(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -2
    cdef int scan(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -2
    cdef int _inline(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -2
    cdef int _violated(self, str reason, str bound, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -2

cdef class ReplyScanner(LengthLine):
    cdef readonly Py_ssize_t length
    cdef readonly object violation
    cdef readonly str broken_bound
    cdef readonly Py_ssize_t at
    cdef int depth
    cdef int max_depth
    cdef bint in_bulk
    cdef Py_ssize_t max_bulk
    cdef long long left[1026]
    cdef long long nulls

    cdef int scan(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -2
    cdef int _line(self, const unsigned char* p, Py_ssize_t pos, Py_ssize_t end) except -2
    cdef int _dot(self, const unsigned char* p, Py_ssize_t pos, Py_ssize_t end) except -2
    cdef int _streamed(self, int kind, const unsigned char* p, Py_ssize_t pos, Py_ssize_t end) except -2
    cdef int _measured(self, int kind, const unsigned char* p, Py_ssize_t pos, Py_ssize_t end) except -2
    cdef int _bulk(self, int kind, long long size, const unsigned char* p, Py_ssize_t pos, Py_ssize_t end) except -2
    cdef int _level(self, long long left, const unsigned char* p, Py_ssize_t pos, Py_ssize_t end) except -2
    cdef void skip(self, Py_ssize_t count) noexcept
    cdef void _element_done(self) noexcept
    cdef int _violated(self, str reason, str bound, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -2

cdef class Args(Marks):
    cdef int read(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef Py_ssize_t header(self, Py_ssize_t index) noexcept
    cdef Py_ssize_t start_of(self, Py_ssize_t index) noexcept
    cdef Py_ssize_t end_of(self, Py_ssize_t index) noexcept
