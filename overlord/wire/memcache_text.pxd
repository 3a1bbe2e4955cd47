from overlord.wire.marks cimport Marks

cdef enum Verb:
    UNKNOWN_VERB = 0
    GET = 1
    GAT = 2
    STORE = 3
    DELETE = 4
    COUNT = 5
    TOUCH = 6
    META_GET = 7
    META_SET = 8
    META_DELETE = 9
    META_COUNT = 10
    META_DEBUG = 11
    META_NOTHING = 12
    OTHER = 13

cdef enum TextScan:
    TEXT_VIOLATION = -1
    TEXT_INCOMPLETE = 0
    TEXT_WHOLE = 1
    TEXT_SKIPPED = 2

cdef enum:
    KEPT_WORDS = 8

cdef class TextRequestScanner:
    cdef readonly Py_ssize_t length
    cdef readonly Py_ssize_t whole
    cdef readonly int verb
    cdef readonly Py_ssize_t words
    cdef readonly Py_ssize_t line_end
    cdef readonly Py_ssize_t data_start
    cdef readonly bint has_control
    cdef readonly bint is_strict
    cdef readonly bytes fault
    cdef readonly str broken_bound
    cdef Py_ssize_t starts[8]
    cdef Py_ssize_t ends[8]
    cdef Py_ssize_t at
    cdef Py_ssize_t to_skip
    cdef Py_ssize_t max_line
    cdef Py_ssize_t max_request
    cdef Py_ssize_t max_value

    cdef int scan(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -2
    cdef int _skip(self, Py_ssize_t start, Py_ssize_t end) noexcept
    cdef int _no_line_yet(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -2
    cdef int _take_words(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t stop) noexcept
    cdef int _find_data(self, const unsigned char* p, Py_ssize_t start) except -2
    cdef int _too_long(self, str bound) except -2
    cdef bytes _fault_of_storage(self, const unsigned char* p, Py_ssize_t start)
    cdef int give_up_data(self, Py_ssize_t there) noexcept
    cdef bint is_last_word(self, const unsigned char* p, Py_ssize_t start, bytes word) noexcept

cdef class TextReplyScanner:
    cdef readonly Py_ssize_t length
    cdef readonly Py_ssize_t values
    cdef readonly Py_ssize_t at
    cdef readonly object violation
    cdef readonly str broken_bound
    cdef bint in_block
    cdef bint in_list
    cdef Py_ssize_t max_line
    cdef Py_ssize_t max_value

    cdef int scan(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -2
    cdef int _violated(self, str reason, str bound, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -2
    cdef void skip(self, Py_ssize_t count) noexcept

cdef class Words(Marks):
    cdef int read(self, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
    cdef Py_ssize_t start_of(self, Py_ssize_t index) noexcept
    cdef Py_ssize_t end_of(self, Py_ssize_t index) noexcept

cdef long long number_in(const unsigned char* p, Py_ssize_t start, Py_ssize_t end, bint signed_too) noexcept
cdef int verb_of(const unsigned char* p, Py_ssize_t start, Py_ssize_t end) noexcept
cdef int _meta_verb(int second) noexcept
cdef bint _is_cas(const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
cdef bint _has_keys(const unsigned char* p, Py_ssize_t start, Py_ssize_t end) except -1
cdef bint _begins(const unsigned char* p, Py_ssize_t start, Py_ssize_t end, bytes word) noexcept
cdef bint _ends_list(const unsigned char* p, Py_ssize_t start, Py_ssize_t end) noexcept
cdef long long _size_in(
    const unsigned char* p, Py_ssize_t start, Py_ssize_t end, Py_ssize_t index
) noexcept
