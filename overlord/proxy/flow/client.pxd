from overlord.proxy.flow.parts cimport Client, Link, Node, Pending, Split

cdef class ProxiedClient(Client):
    cdef str refusal

    cdef bint may_take_up(self) noexcept
    cdef bint has_settled(self) noexcept
    cdef bint must_wait(self) except *
    cdef bint lacks_memory(self, Py_ssize_t whole, Py_ssize_t there) except *
    cdef Py_ssize_t leave_rest(self, Py_ssize_t wanted, Py_ssize_t at, Py_ssize_t end) except -1
    cdef Link usable_link(self, Node node)
    cdef int forward(self, int index, int command_class, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef Link place_at(self, int index)
    cdef int hand_over(self, Link link, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cpdef void take_leave(self, str reason) except *
    cdef int ask_each(self, Split split, list nodes, bytes frame) except -1
    cdef Pending ask(self, Link link, int command_class)
    cdef int wait_for_place(self, Link link) except -1
    cdef bytes refused_part(self)
    cpdef bytes error(self, str text)
    cdef Link full_link(self, list nodes)
    cdef int line_up(self, Split split, list nodes, Py_ssize_t room, int part_class) except -1
    cdef int parts_are_sent(self, Split split, list nodes) except -1
