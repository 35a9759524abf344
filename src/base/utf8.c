/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF. */
#include "base/bytes.h"

static bool
continuation(uint8_t c)
{
    return (c & 0xC0) == 0x80;
}

bool
utf8_valid(struct bytes text)
{
    size_t i = 0;

    while (i < text.len) {
        const uint8_t *p = text.ptr + i;
        size_t left = text.len - i;

        if (p[0] < 0x80) {
            i += 1;
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
