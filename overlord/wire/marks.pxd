cdef Py_ssize_t KEPT_MARKS

cdef class Marks:
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t room
    cdef Py_ssize_t* marks

    cdef void make_room(self, Py_ssize_t marks) except *
