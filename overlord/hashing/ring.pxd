from libc.stdint cimport uint32_t

cdef class Ring:
    cdef readonly tuple nodes
    cdef readonly tuple live
    cdef tuple _made_of
    cdef uint32_t* _values
    cdef int* _owners
    cdef int* _firsts
    cdef unsigned long long* _nearest
    cdef int _shift
    cdef Py_ssize_t _count
    cdef int _method
    cdef uint32_t _divisor
    cdef readonly bint is_random
    cdef uint32_t _state
    cdef bint _has_tag
    cdef bint _keeps_empty_tag
    cdef unsigned char _opening
    cdef unsigned char _closing

    cdef int node_of(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -2
    cdef void _free(self) noexcept
    cdef int _make_room(self, Py_ssize_t count) except -1
    cdef int _index(self) except -1
    cdef int _take_points_of(self, Ring whole) except -1
    cdef Py_ssize_t _first_at_or_above(self, uint32_t value) noexcept
