from overlord.wire.buffer cimport Buffer

cdef enum Closing:
    OPEN = 0
    FINISH = 1
    ABORT = 2

cdef class Carrier:
    cpdef object flush(self)

cdef class Stream:
    cdef readonly Buffer incoming
    cdef readonly Buffer outgoing
    cdef public Carrier carrier
    cdef public Outbox outbox
    cdef readonly int closing
    cdef readonly bint paused
    cdef readonly bint blocked
    cdef readonly bint ended
    cdef public str reason
    cdef readonly Py_ssize_t wanted
    cdef bint is_node
    cdef bint large
    cdef bint touched
    cdef bint hungry
    cdef bint in_incoming
    cdef bint stolen
    cdef readonly Py_ssize_t bytes_sent
    cdef readonly Py_ssize_t bytes_received

    cdef Py_ssize_t feed(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int take_in(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int feed_incoming(self) except -1
    cpdef object go_on(self)
    cpdef object end_of_input(self)
    cpdef object written(self)
    cdef void touch(self)
    cpdef void look_again(self)
    cpdef void note_sent(self, Py_ssize_t count)
    cdef void set_paused(self, bint paused)
    cpdef void close(self, int how, str reason)

cdef class Farewell(Stream):
    pass

cdef class Outbox:
    cdef int _write(self, list touched) except -1
    cdef int _write_to_crowd(self) except -1
    cdef list nodes
    cdef list clients
    cdef list hungry
    cdef list crowd
    cdef Py_ssize_t written
    cdef object later
    cdef public object schedule
    cdef public object failed
    cdef bint scheduled
    cdef public bint in_round
    cdef public bint timed
    cdef public long long now

    cdef void add(self, Stream stream)
    cdef void _wake(self)
    cdef void add_to_crowd(self, Stream stream)
    cdef void add_hungry(self, Stream stream)
    cdef void add_later(self, Stream stream)
    cpdef object flush(self)
    cpdef void read_clock(self)
