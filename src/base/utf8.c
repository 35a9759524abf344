/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF. */
#include "base/bytes.h"

#include <string.h>

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
ascii_run(const uint8_t *p, size_t left)
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
