from overlord.hashing.ring cimport Ring

cdef class SlotRing(Ring):
    cdef int node_of(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -2
