from overlord.proxy.flow.parts cimport Link, Node, Pending, Split
from overlord.proxy.flow.requests cimport RedisClient
from overlord.proxy.flow.slot_flow cimport SlotFlow

cdef int keep_frame(Pending pending, bytes frame, int place) except -1
cdef int drop_frame(Pending pending) except -1

cdef class Repeat:
    cdef Pending pending
    cdef bytes reply
    cdef bint is_ours
    cdef int hops
    cdef object redirect
    cdef str asked
    cdef Node node
    cdef long long refreshes
    cdef bint is_parked
    cdef bint overtaken

cdef class ClusterClient(RedisClient):
    cdef SlotFlow slots
    cdef readonly list repeats
    cdef readonly list parked
    cdef double parked_since
    cdef double parked_at
    cdef double retry_at
    cdef double wait

    cdef int _forward_later(self, int index, int command_class, bytes frame, Node node) except -1
    cdef bint _must_wait_for_any(self, list places) except *
    cdef bytes _part_frame(self, const unsigned char* p, Py_ssize_t step, list starts)
    cdef int _send_parts(self, Split split, list frames) except -1
    cdef int _send_part(self, Pending pending) except -1
    cdef int _put_on(self, Link link, Pending pending) except -1
    cdef bint takes_back(self, Pending pending, Node node, bytes reply) except *
    cdef bint _redirected(self, Repeat repeat, object redirect) except *
    cdef int lost_with(self, Pending pending, Node node, str error) except -1
    cdef int _no_node(self, Repeat repeat, Node node) except -1
    cdef Repeat _repeat_of(self, Pending pending)
    cdef int _note(self, Repeat repeat) except -1
    cdef bint _park(self, Repeat repeat) except *
    cdef bint _is_late(self) noexcept
    cdef bint _tried(self, Repeat repeat) except *
    cdef bint _sent(self, Repeat repeat, Node node, bint is_ask) except *
    cdef bint _would_overtake(self, Repeat repeat, Node node) noexcept
    cdef int _finish(self, Repeat repeat) except -1
    cdef int answered(self, Pending pending) except -1
    cdef bint _broken_up(self, Repeat repeat) except *
    cdef Split _in_place_of(self, Pending pending, Py_ssize_t count)
