from libc.stdint cimport uint32_t

cdef uint32_t[256] _CRC16, _CRC32

cdef uint32_t hash_bytes(int method, const unsigned char* p, Py_ssize_t start, Py_ssize_t end)

cdef uint32_t _fnv(
    uint32_t h, uint32_t prime, bint xor_first, uint32_t sign,
    const unsigned char* p, Py_ssize_t start, Py_ssize_t end) noexcept
cdef uint32_t _crc16(const unsigned char* p, Py_ssize_t start, Py_ssize_t end) noexcept
cdef uint32_t _crc32(const unsigned char* p, Py_ssize_t start, Py_ssize_t end) noexcept
cdef uint32_t _md5(const unsigned char* p, Py_ssize_t start, Py_ssize_t end)
cdef uint32_t _one_at_a_time(
    uint32_t sign, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) noexcept
cdef uint32_t _hsieh(
    uint32_t sign, const unsigned char* p, Py_ssize_t start, Py_ssize_t end) noexcept
cdef uint32_t _murmur(const unsigned char* p, Py_ssize_t start, Py_ssize_t end) noexcept
cdef uint32_t _jenkins(const unsigned char* p, Py_ssize_t start, Py_ssize_t end) noexcept
cdef uint32_t _word(const unsigned char* p, Py_ssize_t i) noexcept
cdef uint32_t _tail(const unsigned char* p, Py_ssize_t i, Py_ssize_t end) noexcept
cdef uint32_t _rotated(uint32_t word, int count) noexcept
