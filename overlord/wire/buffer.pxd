cdef extern from *:
    """
    #ifdef __GLIBC__
    #include <malloc.h>
    #define overlord_tune(from, kept) (mallopt(M_MMAP_THRESHOLD, (from)), mallopt(M_TRIM_THRESHOLD, (kept)))
    #else
    #define overlord_tune(from, kept) 0
    #endif
    """
    int overlord_tune(int mapped_from, int kept)

cdef enum:
    HEAD_ROOM = 24

cdef Py_ssize_t find_byte(const unsigned char* p, Py_ssize_t start, Py_ssize_t end, int byte) noexcept
cdef bytes cut(const unsigned char* p, Py_ssize_t start, Py_ssize_t end)
cdef bint alike(
    const unsigned char* p, Py_ssize_t start, const unsigned char* q, Py_ssize_t begin, Py_ssize_t size
) noexcept
cpdef Py_ssize_t held_bytes() noexcept
cdef void hold(Py_ssize_t change) noexcept

cdef class Buffer:
    cdef unsigned char* p
    cdef readonly Py_ssize_t start
    cdef readonly Py_ssize_t end
    cdef readonly Py_ssize_t room

    cdef Py_ssize_t size(self) noexcept
    cdef int append(self, const unsigned char* source, Py_ssize_t begin, Py_ssize_t stop) except -1
    cpdef int append_head(self, int kind, Py_ssize_t count) except -1
    cdef int reserve(self, Py_ssize_t more) except -1
    cdef void _shrink(self) noexcept
    cdef void consume(self, Py_ssize_t count) noexcept
    cdef void swap(self, Buffer other) noexcept
    cpdef void clear(self) noexcept
