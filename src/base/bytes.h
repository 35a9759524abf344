/* SPDX-License-Identifier: Apache-2.0 */
/* Views, owned buffers, a bounds-checked reader, and the text codings (hex, base64url). */
#ifndef COFFER_BASE_BYTES_H
#define COFFER_BASE_BYTES_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A borrowed view, valid for the call. */
struct bytes {
    const uint8_t *ptr;
    size_t len;
};

struct bytes bytes_str(const char *text);              /* without the closing NUL; NULL gives an empty view */
struct bytes bytes_of(const void *ptr, size_t len);
bool bytes_equal(struct bytes a, struct bytes b);      /* not for secrets: secret_equal() */
int bytes_compare(struct bytes a, struct bytes b);     /* as memcmp, shorter first */

bool size_add(size_t a, size_t b, size_t *sum);        /* false on overflow */
bool size_mul(size_t a, size_t b, size_t *product);

/* An owned buffer that grows up to `max` and never beyond.  Once an append failed, `failed` stays set (COFFER_E_NOMEM or
 * COFFER_E_LIMIT) and later appends do nothing, so that a builder checks once at the end with buf_status(). */
struct buf {
    uint8_t *ptr;
    size_t len, size, max;
    int failed;
};
void buf_init(struct buf *buf, size_t max);
void buf_wipe(struct buf *buf);                        /* overwrites, frees; usable again after buf_init */
void buf_clear(struct buf *buf);                       /* len = 0, keeps memory */
int buf_status(const struct buf *buf, struct coffer_error *err);
void buf_add(struct buf *buf, const void *data, size_t len);
void buf_bytes(struct buf *buf, struct bytes data);
void buf_str(struct buf *buf, const char *text);
void buf_format(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_u8(struct buf *buf, uint8_t v);
void buf_be16(struct buf *buf, uint16_t v);            /* all numbers big-endian */
void buf_be32(struct buf *buf, uint32_t v);
void buf_be64(struct buf *buf, uint64_t v);
void buf_lp16(struct buf *buf, struct bytes data);     /* two-byte length, then data; LIMIT above 65535 */
void buf_lp32(struct buf *buf, struct bytes data);
struct bytes buf_view(const struct buf *buf);
const char *buf_cstr(struct buf *buf);                 /* NUL after the content, not counted; "" when failed */

/* A reader.  A read beyond the end gives zeros or an empty view and sets `bad` for good: check once at the end. */
struct cursor {
    const uint8_t *ptr, *end;
    bool bad;
};
struct cursor cursor_of(struct bytes data);
size_t cursor_left(const struct cursor *c);
struct bytes cursor_take(struct cursor *c, size_t len);
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_be16(struct cursor *c);
uint32_t cursor_be32(struct cursor *c);
uint64_t cursor_be64(struct cursor *c);
struct bytes cursor_lp16(struct cursor *c);
struct bytes cursor_lp32(struct cursor *c);

static inline void
put_be16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline void
put_be32(uint8_t *p, uint32_t v)
{
    put_be16(p, (uint16_t)(v >> 16));
    put_be16(p + 2, (uint16_t)v);
}
static inline void
put_be64(uint8_t *p, uint64_t v)
{
    put_be32(p, (uint32_t)(v >> 32));
    put_be32(p + 4, (uint32_t)v);
}
static inline uint32_t
get_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline uint64_t
get_be64(const uint8_t *p)
{
    return (uint64_t)get_be32(p) << 32 | get_be32(p + 4);
}

/* Lower-case hex.  `out` holds 2·len + 1.  Decoding takes lower and upper case; strict: even length, nothing else. */
void hex_encode(struct bytes data, char *out);
bool hex_decode(struct bytes text, uint8_t *out, size_t out_max, size_t *out_len);

/* Unpadded base64url (RFC 4648 §5), strict: unused bits zero, no other character, no length 4k+1. */
size_t base64url_encoded_len(size_t len);
void base64url_encode(struct bytes data, char *out);   /* writes base64url_encoded_len(), no NUL */
bool base64url_decode(struct bytes text, uint8_t *out, size_t out_max, size_t *out_len);

bool utf8_valid(struct bytes text); /* RFC 3629: no overlong, no surrogate, at most U+10FFFF */

#endif
