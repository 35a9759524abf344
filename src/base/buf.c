/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"
#include "base/mem.h"
#include "base/secret.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void
buf_init(struct buf *buf, size_t max)
{
    *buf = (struct buf){.max = max};
}

void
buf_wipe(struct buf *buf)
{
    if (buf->ptr != NULL)
        wipe(buf->ptr, buf->size);
    mem_free(buf->ptr);
    *buf = (struct buf){.max = buf->max};
}

void
buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->failed = COFFER_OK;
}

int
buf_status(const struct buf *buf, struct coffer_error *err)
{
    if (buf->failed == COFFER_E_NOMEM)
        return error_nomem(err);
    if (buf->failed == COFFER_E_LIMIT)
        return error_set(err, COFFER_E_LIMIT, "larger than the %zu bytes allowed", buf->max);
    return buf->failed;
}

/* Room for `more` bytes and a closing NUL.  Growing copies by hand, so that the old block is wiped
 * and not just freed. */
static bool
reserve(struct buf *buf, size_t more)
{
    size_t need, size;
    uint8_t *grown;

    if (buf->failed != COFFER_OK)
        return false;
    if (!size_add(buf->len, more, &need) || need > buf->max) {
        buf->failed = COFFER_E_LIMIT;
        return false;
    }
    if (need < buf->size)
        return true;
    size = buf->size < 64 ? 64 : buf->size;
    while (size <= need)
        size *= 2;
    grown = mem_alloc(size);
    if (grown == NULL) {
        buf->failed = COFFER_E_NOMEM;
        return false;
    }
    if (buf->ptr != NULL) {
        memcpy(grown, buf->ptr, buf->len);
        wipe(buf->ptr, buf->size);
        mem_free(buf->ptr);
    }
    buf->ptr = grown;
    buf->size = size;
    return true;
}

void
buf_add(struct buf *buf, const void *data, size_t len)
{
    if (!reserve(buf, len))
        return;
    if (len > 0)
        memcpy(buf->ptr + buf->len, data, len);
    buf->len += len;
}

void
buf_bytes(struct buf *buf, struct bytes data)
{
    buf_add(buf, data.ptr, data.len);
}

void
buf_str(struct buf *buf, const char *text)
{
    buf_add(buf, text, strlen(text));
}

void
buf_format(struct buf *buf, const char *format, ...)
{
    va_list args, again;
    int len;

    va_start(args, format);
    va_copy(again, args);
    len = vsnprintf(NULL, 0, format, args);
    if (len >= 0 && reserve(buf, (size_t)len)) {
        vsnprintf((char *)buf->ptr + buf->len, (size_t)len + 1, format, again);
        buf->len += (size_t)len;
    }
    va_end(again);
    va_end(args);
}

void
buf_u8(struct buf *buf, uint8_t v)
{
    buf_add(buf, &v, 1);
}

void
buf_be16(struct buf *buf, uint16_t v)
{
    uint8_t b[2];

    put_be16(b, v);
    buf_add(buf, b, sizeof b);
}

void
buf_be32(struct buf *buf, uint32_t v)
{
    uint8_t b[4];

    put_be32(b, v);
    buf_add(buf, b, sizeof b);
}

void
buf_be64(struct buf *buf, uint64_t v)
{
    uint8_t b[8];

    put_be64(b, v);
    buf_add(buf, b, sizeof b);
}

void
buf_lp16(struct buf *buf, struct bytes data)
{
    if (data.len > UINT16_MAX && buf->failed == COFFER_OK)
        buf->failed = COFFER_E_LIMIT;
    buf_be16(buf, (uint16_t)data.len);
    buf_bytes(buf, data);
}

void
buf_lp32(struct buf *buf, struct bytes data)
{
    if (data.len > UINT32_MAX && buf->failed == COFFER_OK)
        buf->failed = COFFER_E_LIMIT;
    buf_be32(buf, (uint32_t)data.len);
    buf_bytes(buf, data);
}

struct bytes
buf_view(const struct buf *buf)
{
    return (struct bytes){buf->ptr, buf->failed == COFFER_OK ? buf->len : 0};
}

const char *
buf_cstr(struct buf *buf)
{
    if (buf->failed != COFFER_OK || buf->ptr == NULL)
        return "";
    buf->ptr[buf->len] = '\0'; /* reserve() keeps a byte for it */
    return (const char *)buf->ptr;
}
