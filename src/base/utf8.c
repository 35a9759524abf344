/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF. */
#include "base/bytes.h"

#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

static bool
continuation(uint8_t c)
{
    return (c & 0xC0) == 0x80;
}

#define ASCII_STEP 128

typedef uint64_t lanes __attribute__((vector_size(16))); /* of GCC and Clang, on any processor */

static inline lanes
load(const uint8_t *p)
{
    lanes v;

    memcpy(&v, p, sizeof v);
    return v;
}

/* How many bytes at `p` are surely ASCII, in steps of 128: most text is, and every value is checked
 * when it is sealed and when it is opened. */
static size_t
ascii_run_any(const uint8_t *p, size_t left)
{
    size_t at = 0;

    for (; left - at >= ASCII_STEP; at += ASCII_STEP) {
        const uint8_t *q = p + at;
        lanes any = ((load(q) | load(q + 16)) | (load(q + 32) | load(q + 48))) |
                    ((load(q + 64) | load(q + 80)) | (load(q + 96) | load(q + 112)));

        if (((any[0] | any[1]) & 0x8080808080808080u) != 0)
            return at;
    }
    for (; left - at >= sizeof(lanes); at += sizeof(lanes)) {
        lanes v = load(p + at);

        if (((v[0] | v[1]) & 0x8080808080808080u) != 0)
            return at;
    }
    return at;
}

#if defined(__x86_64__)

#define WIDE_STEP 256

__attribute__((target("avx2"))) static size_t
ascii_run_avx2(const uint8_t *p, size_t left)
{
    size_t at = 0;

    for (; left - at >= WIDE_STEP; at += WIDE_STEP) {
        const __m256i *q = (const __m256i *)(const void *)(p + at);
        __m256i a = _mm256_loadu_si256(q), b = _mm256_loadu_si256(q + 1);

        for (int i = 2; i < WIDE_STEP / 32; i += 2) {
            a = _mm256_or_si256(a, _mm256_loadu_si256(q + i));
            b = _mm256_or_si256(b, _mm256_loadu_si256(q + i + 1));
        }
        if (_mm256_movemask_epi8(_mm256_or_si256(a, b)) != 0)
            break;
    }
    return at + ascii_run_any(p + at, left - at);
}

static size_t
ascii_run(const uint8_t *p, size_t left)
{
    if (left >= 2 * WIDE_STEP && __builtin_cpu_supports("avx2"))
        return ascii_run_avx2(p, left);
    return ascii_run_any(p, left);
}

#else

static size_t
ascii_run(const uint8_t *p, size_t left)
{
    return ascii_run_any(p, left);
}

#endif

bool
utf8_valid(struct bytes text)
{
    size_t i = 0;

    while (i < text.len) {
        const uint8_t *p = text.ptr + i;
        size_t left = text.len - i;

        if (p[0] < 0x80) {
            size_t run = ascii_run(p, left);

            i += run > 0 ? run : 1;
        } else if (p[0] >= 0xC2 && p[0] <= 0xDF && left >= 2 && continuation(p[1])) {
            i += 2;
        } else if (p[0] >= 0xE0 && p[0] <= 0xEF && left >= 3 && continuation(p[1]) &&
                   continuation(p[2]) && (p[0] != 0xE0 || p[1] >= 0xA0) &&
                   (p[0] != 0xED || p[1] <= 0x9F)) {
            i += 3;
        } else if (p[0] >= 0xF0 && p[0] <= 0xF4 && left >= 4 && continuation(p[1]) &&
                   continuation(p[2]) && continuation(p[3]) && (p[0] != 0xF0 || p[1] >= 0x90) &&
                   (p[0] != 0xF4 || p[1] <= 0x8F)) {
            i += 4;
        } else {
            return false;
        }
    }
    return true;
}
