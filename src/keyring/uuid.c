/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/crypto.h"
#include "keyring/keyring.h"

#include <string.h>

#define UUID_TEXT_LEN 36

bool
uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}

bool
uuid_zero(const struct uuid *a)
{
    static const struct uuid zero;

    return uuid_equal(a, &zero);
}

int
uuid_new(struct uuid *out, struct coffer_error *err)
{
    int rc;

    memset(out, 0, sizeof *out);
    rc = random_nonce(out->b, sizeof out->b, err); /* public: an id is no secret */
    if (rc != COFFER_OK)
        return rc;
    out->b[6] = (uint8_t)((out->b[6] & 0x0f) | 0x40); /* RFC 9562 §5.4: version 4 */
    out->b[8] = (uint8_t)((out->b[8] & 0x3f) | 0x80); /* and variant */
    return COFFER_OK;
}

static bool
dash_before(size_t byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void
uuid_format(const struct uuid *u, char out[37])
{
    char hex[3];
    size_t at = 0;

    for (size_t i = 0; i < sizeof u->b; i++) {
        if (dash_before(i))
            out[at++] = '-';
        hex_encode(bytes_of(&u->b[i], 1), hex);
        out[at++] = hex[0];
        out[at++] = hex[1];
    }
    out[at] = '\0';
}

bool
uuid_parse(struct bytes text, struct uuid *out)
{
    size_t at = 0;
    size_t len;

    memset(out, 0, sizeof *out);
    if (text.len != UUID_TEXT_LEN)
        return false;
    for (size_t i = 0; i < sizeof out->b; i++) {
        if (dash_before(i) && text.ptr[at++] != '-')
            goto bad;
        if (!hex_decode(bytes_of(text.ptr + at, 2), &out->b[i], 1, &len))
            goto bad;
        at += 2;
    }
    return true;

bad:
    memset(out, 0, sizeof *out);
    return false;
}
