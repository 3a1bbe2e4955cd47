from overlord.proxy.flow.parts cimport Node
from overlord.proxy.flow.redis_flow cimport RedisFlow

cdef class Nobody(Node):
    pass

cdef class SlotFlow(RedisFlow):
    cdef readonly Node nobody
    cdef readonly dict by_label
    cdef readonly object owners
    cdef readonly set moving
    cdef readonly dict parked
    cdef public object want_map
    cdef public object set_alarm
    cdef bint is_alarm_set
    cdef bint wants_resp3
    cdef readonly long long refreshes
    cdef readonly long long moved
    cdef readonly long long asked
    cdef readonly long long repeats
    cdef readonly long long disbelieved
    cdef int max_redirects
    cdef double retry_delay
    cdef double failover_retry_timeout

    cdef int correct(self, int slot, Node node) except -1
