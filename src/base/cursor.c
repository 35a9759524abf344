/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

struct cursor
cursor_of(struct bytes data)
{
    return (struct cursor){.ptr = data.ptr, .end = data.len > 0 ? data.ptr + data.len : data.ptr};
}

size_t
cursor_left(const struct cursor *c)
{
    return c->bad || c->ptr == NULL ? 0 : (size_t)(c->end - c->ptr);
}

struct bytes
cursor_take(struct cursor *c, size_t len)
{
    struct bytes taken = {0};

    if (len > cursor_left(c)) {
        c->bad = true;
        return taken;
    }
    taken = (struct bytes){c->ptr, len};
    if (len > 0)
        c->ptr += len;
    return taken;
}

uint8_t
cursor_u8(struct cursor *c)
{
    struct bytes b = cursor_take(c, 1);

    return b.len == 1 ? b.ptr[0] : 0;
}

uint16_t
cursor_be16(struct cursor *c)
{
    struct bytes b = cursor_take(c, 2);

    return b.len == 2 ? (uint16_t)(b.ptr[0] << 8 | b.ptr[1]) : 0;
}

uint32_t
cursor_be32(struct cursor *c)
{
    struct bytes b = cursor_take(c, 4);

    return b.len == 4 ? get_be32(b.ptr) : 0;
}

uint64_t
cursor_be64(struct cursor *c)
{
    struct bytes b = cursor_take(c, 8);

    return b.len == 8 ? get_be64(b.ptr) : 0;
}

struct bytes
cursor_lp16(struct cursor *c)
{
    return cursor_take(c, cursor_be16(c));
}

struct bytes
cursor_lp32(struct cursor *c)
{
    return cursor_take(c, cursor_be32(c));
}
