cdef enum:
    HEADER = 24

cdef enum BinaryScan:
    BINARY_VIOLATION = -1
    BINARY_INCOMPLETE = 0
    BINARY_WHOLE = 1
    BINARY_SKIPPED = 2

cdef class BinaryScanner:
    cdef readonly Py_ssize_t length
    cdef readonly Py_ssize_t whole
    cdef readonly int opcode
    cdef readonly int status
    cdef readonly Py_ssize_t key_start
    cdef readonly Py_ssize_t key_end
    cdef readonly unsigned int opaque
    cdef readonly int fault
    cdef readonly str wrong
    cdef readonly str broken_bound
    cdef int magic
    cdef Py_ssize_t max_body
    cdef Py_ssize_t to_skip
    cdef readonly Py_ssize_t at

    cdef int scan(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -2
    cdef int _scan_frame(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -2
    cdef int _violated(self, str wrong) except -2
    cdef int give_up_body(self, Py_ssize_t there) noexcept

cdef unsigned int number32(const unsigned char* p, Py_ssize_t at) noexcept
