cdef Py_ssize_t MAX_ROWS, MAX_NAMES, MAX_NAME
cdef unsigned int HOMES
cdef int NOBODY


cdef class CommandTable:
    cdef int kind[1024]
    cdef int arity[1024]
    cdef int first[1024]
    cdef int last[1024]
    cdef int step[1024]
    cdef int command_class[1024]
    cdef readonly tuple rows
    cdef readonly dict places
    cdef int _name_start[1024]
    cdef int _name_end[1024]
    cdef unsigned char _names[16384]
    cdef unsigned char _lower[256]
    cdef short _homes[2048]
    cdef int find(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef bint _is_name(self, int index, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef unsigned int _hash(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef void _settle(self, int index, bytes name) noexcept
