from overlord.hashing.ring cimport Ring
from overlord.proxy.flow.latencies cimport Latencies
from overlord.wire.buffer cimport Buffer
from overlord.wire.stream cimport Outbox, Stream

cdef enum LinkState:
    DOWN = 0
    DIALING = 1
    READY = 2
    LOGIN = 3

cdef enum Knows:
    UNKNOWN = 0
    YES = 1
    NO = 2

cdef enum Waits:
    WAITING = 1
    SETTLING = 2
cdef enum Lateness:
    IN_TIME = 0
    FIRST_LATE = 1
    PARTIAL_LATE = 2

cdef enum Muting:
    ALOUD = 0
    SKIP_NEXT = 1
    SKIPPING = 2
    SKIPPED = 3
    MUTE = 4

cdef enum Silence:
    LOUD = 0
    MUTED = 1
    UP_TO_NODE = 2
    HIDES_MISSES = 3
    HIDES_SUCCESS = 4
    IS_BARRIER = 5

cdef enum:
    WITH_DATA = -1
    WITH_META_DATA = -2

cdef Pending new_pending()
cdef Split new_split(int join, Py_ssize_t count)
cdef int let_go_on(list waiters) except -1

cdef class Pending:
    cdef Client client
    cdef Pending next_in_line
    cdef Pending next_in_link
    cdef Split parent
    cdef bytes reply
    cdef Py_ssize_t cursor
    cdef long long since
    cdef int command_class
    cdef bint done
    cdef int silence
    cdef int keys
    cdef bytes frame
    cdef int place

cdef class Split(Pending):
    cdef int join
    cdef Py_ssize_t left
    cdef bint failed
    cdef list parts
    cdef Py_ssize_t node
    cdef Py_ssize_t nodes
    cdef int mark
    cdef bytearray owners
    cdef Py_ssize_t count

    cdef int begin(self, int join, Py_ssize_t count) except -1
    cdef int give_back(self) except -1
    cdef int forget_parts(self) except -1

cdef class Client(Stream):
    cdef readonly Flow flow
    cdef public object owner
    cdef public object session
    cdef readonly Py_ssize_t number
    cdef readonly int protocol
    cdef readonly Py_ssize_t in_flight
    cdef readonly Py_ssize_t window
    cdef readonly Py_ssize_t retained
    cdef readonly bint gone
    cdef readonly bint draining
    cdef public object pin
    cdef readonly int muting
    cdef readonly int last_row
    cdef readonly double heard_at
    cdef Py_ssize_t unread_mark
    cdef readonly bint is_stranger
    cdef double new_since
    cdef double begun_since
    cdef Py_ssize_t begun_at
    cdef Py_ssize_t begun_received
    cdef public object subscriber
    cdef int waits
    cdef Py_ssize_t largest
    cdef Pending head
    cdef Pending last
    cdef dict detours

    cdef int append_pending(self, Pending pending) except -1
    cdef int answer(self, Pending pending, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int keep(self, Py_ssize_t size, Py_ssize_t uncounted) except -1
    cdef int advance(self) except -1
    cdef int drained(self) except -1
    cdef bint has_unread(self) noexcept
    cdef Py_ssize_t limit(self) noexcept
    cdef int remember_size(self, Py_ssize_t size) except -1
    cpdef void say(self, bytes reply) except *
    cpdef void tell(self, bytes reply) except *
    cpdef object lost(self)
    cpdef object drain(self)
    cpdef void end(self, str reason) except *
    cdef int finish_if_done(self) except -1
    cdef int join(self, Split split) except -1
    cdef int lateness(self, double now, double first_timeout, double partial_timeout, Py_ssize_t progress) noexcept

cdef class Link(Stream):
    cdef readonly Flow flow
    cdef readonly Node node
    cdef readonly int protocol
    cdef readonly int state
    cdef readonly Py_ssize_t in_flight
    cdef readonly double silent_since
    cdef readonly double stuck_since
    cdef int silent_looks
    cdef readonly Py_ssize_t dials_failed
    cdef Py_ssize_t sent_at_sweep
    cdef bint greeting
    cdef bint logging_in
    cdef bint dropping
    cdef Pending head
    cdef Pending last
    cdef public object greeted
    cdef public object changed
    cdef list waiters

    cpdef bint is_ready(self)
    cdef int push(self, Pending pending) except -1
    cdef Pending pop(self)
    cdef bint has_of(self, Client client)
    cdef int fail_all(self, str error) except -1

cdef class Node:
    cdef readonly Flow flow
    cdef readonly int index
    cdef public bint is_retired
    cdef readonly str label
    cdef readonly str address
    cdef readonly list links
    cdef readonly list links3
    cdef public int speaks3
    cdef readonly long long requests
    cdef readonly long long failures
    cdef public Py_ssize_t failed_in_row
    cdef readonly str trouble
    cdef public str login_refused
    cdef readonly Latencies latencies
    cdef readonly long long hits
    cdef readonly long long misses
    cdef public long long bytes_sent
    cdef public long long bytes_received
    cdef long long mark
    cdef Py_ssize_t part
    cdef Py_ssize_t part_keys
    cdef Py_ssize_t part_size
    cdef Link part_link

    cdef Link link_for(self, Client client)
    cdef Link _detour(self, Client client, list links, Link preferred)
    cdef bint is_up(self)
    cpdef str refusal(self)
    cpdef Py_ssize_t open_requests(self)

cdef class Flow:
    cdef readonly str name
    cdef readonly Outbox outbox
    cdef readonly object limits
    cdef readonly object facts
    cdef public object dialect
    cdef readonly Ring ring
    cdef readonly list nodes
    cdef readonly list places
    cdef readonly int first_place
    cdef readonly list live
    cdef public object node_failed
    cdef readonly dict clients
    cdef public object dial
    cdef public object pins
    cdef public object channels
    cdef readonly dict bound_hits
    cdef readonly list protocol_waiters
    cdef readonly long long requests
    cdef readonly long long local_answers
    cdef readonly long long splits
    cdef readonly long long errors
    cdef readonly long long messages
    cdef readonly long long deliveries
    cdef readonly long long clients_seen
    cdef readonly long long client_bytes_received
    cdef readonly long long client_bytes_sent
    cdef readonly dict refusals
    cdef readonly Latencies latencies
    cdef readonly double now
    cdef Buffer scratch
    cdef long long serial
    cdef Py_ssize_t window_start
    cdef Py_ssize_t window_max
    cdef Py_ssize_t window_bytes
    cdef Py_ssize_t small_reply
    cdef Py_ssize_t max_unsent
    cdef Py_ssize_t node_max_unsent
    cdef Py_ssize_t node_queue
    cdef bint greet_nodes
    cdef readonly bytes login
    cdef Py_ssize_t max_memory
    cpdef bytes error(self, str text)
    cpdef bint over_budget(self, Py_ssize_t more)
