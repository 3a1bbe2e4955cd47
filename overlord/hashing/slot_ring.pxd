from overlord.hashing.ring cimport Ring

cdef class SlotRing(Ring):
    pass
