from libc.stdint cimport uint32_t, uint64_t

from overlord.wire.stream cimport Carrier, Outbox, Stream

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int maxevents, int timeout)
    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD
    uint32_t EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void* buffer, size_t length, int flags)
    ssize_t send(int fd, const void* buffer, size_t length, int flags)
    int shutdown(int fd, int how)
    int MSG_NOSIGNAL, SHUT_WR

cdef extern from "<unistd.h>" nogil:
    int close_fd "close"(int fd)

cdef extern from *:
    """
    #ifdef __GLIBC__
    #include <malloc.h>
    #define overlord_trim() malloc_trim(0)
    #else
    #define overlord_trim() 0
    #endif
    """
    int overlord_trim() nogil

cdef extern from *:
    """
    #include <time.h>
    static inline long long overlord_now(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * 1000000000LL + now.tv_nsec;
    }
    """
    long long overlord_now() nogil

cdef class HubTransport(Carrier):
    cdef readonly Hub hub
    cdef readonly int fd
    cdef readonly Stream stream
    cdef readonly object protocol
    cdef readonly bint dead
    cdef readonly bint lingering
    cdef Py_ssize_t index
    cdef uint32_t interest
    cdef str why

    cdef int receive(self, Py_ssize_t* moved) except -1
    cdef void watch(self, uint32_t interest) noexcept
    cdef bint wants_no_more(self) noexcept
    cdef str reason_of_end(self)

cdef class Hub:
    cdef readonly Outbox outbox
    cdef readonly object reactor
    cdef readonly long long turns
    cdef readonly long long rounds
    cdef readonly long long broken
    cdef readonly double linger_timeout
    cdef readonly Py_ssize_t max_lingering
    cdef long long cut_off
    cdef long long not_kept
    cdef int epoll
    cdef list transports
    cdef list generations
    cdef list free
    cdef list dying
    cdef Py_ssize_t lingerers
    cdef object linger_queue
    cdef object flush_call
    cdef object linger_call
    cdef epoll_event events[512]
    cdef int event_count
    cdef int next_event
    cdef unsigned char* landing

    cdef int _rounds(self) except -1
    cdef int _serve_events(self, Py_ssize_t* moved) except -1
    cdef int _event(self, uint64_t tag, uint32_t events) except -1
    cdef int drop(self, HubTransport transport, str why) except -1
    cdef int finish(self, HubTransport transport) except -1
    cdef int _end_round(self) except -1
    cdef int bury(self) except -1
