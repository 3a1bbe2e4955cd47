cdef class Latencies:
    cdef long long _bounds[16]
    cdef long long _counts[204]
    cdef long long _sums[12]

    cdef int observe(self, int command_class, long long took) except -1
