from overlord.proxy.flow.parts cimport Split

cdef class ValuesSplit(Split):
    cdef bytes line
    cdef Py_ssize_t first

    cdef int forget_line(self) except -1

cdef ValuesSplit new_values_split(Py_ssize_t count, bytes line, Py_ssize_t first)
cdef int join_values(ValuesSplit split) except -1
cdef class NumbersSplit(Split):
    cdef bytes what

cdef int join_numbers(NumbersSplit split) except -1
cdef int join_ok(Split split) except -1
cdef bytes _first_error(Split split)
cdef bint _is_value_of(bytes reply, Py_ssize_t at, bytes line, Py_ssize_t key, Py_ssize_t size) except *
cdef Py_ssize_t _after_value(bytes reply, Py_ssize_t at) except -1
