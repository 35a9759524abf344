/* SPDX-License-Identifier: Apache-2.0 */
#include "search/equality.h"

#include "base/mem.h"
#include "crypto/prf.h"
#include "search/encode.h"
#include "search/normalise.h"

#include <math.h>

#define MESSAGE_MAX ((64u << 20) + 65536)
#define SHORT_ROWS_MIN 16

struct equality_key {
    unsigned version;
    struct hmac_key *mac;
};

int
equality_message(const struct equality_part *parts, size_t count, struct buf *out,
                 struct coffer_error *err)
{
    if (count < 1 || count > EQUALITY_PARTS_MAX)
        return error_set(err, COFFER_E_MISUSE, "an equality term has 1 to %d parts, not %zu",
                         EQUALITY_PARTS_MAX, count);
    buf_u8(out, (uint8_t)count);
    for (size_t i = 0; i < count; i++) {
        size_t length_at;
        int rc;

        if (parts[i].normaliser < 0 || parts[i].normaliser >= NORMALISERS)
            return error_set(err, COFFER_E_MISUSE, "normaliser %d is unknown", parts[i].normaliser);
        buf_be16(out, (uint16_t)parts[i].normaliser);
        buf_u8(out, (uint8_t)parts[i].value.type);
        buf_be32(out, 0);
        length_at = out->len;
        rc = buf_status(out, err);
        if (rc == COFFER_OK)
            rc = equality_encode(&parts[i].value, parts[i].normaliser, out, err);
        if (rc != COFFER_OK)
            return rc;
        put_be32(out->ptr + length_at - 4, (uint32_t)(out->len - length_at));
    }
    return buf_status(out, err);
}

int
equality_key_new(const struct secret *key, const uint8_t index_id[16], unsigned version,
                 struct equality_key **out, struct coffer_error *err)
{
    struct equality_key *made = mem_alloc(sizeof *made);
    struct secret *subkey = NULL;
    int rc;

    *out = NULL;
    if (made == NULL)
        return error_nomem(err);
    made->version = version;
    rc = subkey_derive(key, "equality", index_id, version, 32, &subkey, err);
    if (rc == COFFER_OK)
        rc = hmac_key_new(secret_expose(subkey), &made->mac, err);
    secret_free(subkey);
    if (rc != COFFER_OK) {
        equality_key_free(made);
        return rc;
    }
    *out = made;
    return COFFER_OK;
}

void
equality_key_free(struct equality_key *key)
{
    if (key != NULL)
        hmac_key_free(key->mac);
    mem_free(key);
}

unsigned
equality_key_version(const struct equality_key *key)
{
    return key->version;
}

void
equality_mac(const struct equality_key *key, struct bytes message, uint8_t mac[32])
{
    hmac_key_mac(key->mac, &message, 1, mac);
}

static int
mac_of(const struct equality_key *key, const struct equality_part *parts, size_t count,
       unsigned bits, unsigned bits_max, uint8_t mac[32], struct coffer_error *err)
{
    struct buf message;
    int rc;

    if (bits < 1 || bits > bits_max)
        return error_set(err, COFFER_E_MISUSE, "a term of this form has 1 to %u bits, not %u",
                         bits_max, bits);
    buf_init(&message, MESSAGE_MAX);
    rc = equality_message(parts, count, &message, err);
    if (rc == COFFER_OK)
        equality_mac(key, buf_view(&message), mac);
    buf_wipe(&message);
    return rc;
}

int
equality_term16(const struct equality_key *key, const struct equality_part *parts, size_t count,
                unsigned bits, uint8_t out[16], struct coffer_error *err)
{
    uint8_t mac[32];
    int rc = mac_of(key, parts, count, bits, TERM16_BITS_MAX, mac, err);

    if (rc == COFFER_OK)
        term16(key->version, mac, bits, out);
    return rc;
}

int
equality_term8(const struct equality_key *key, const struct equality_part *parts, size_t count,
               unsigned bits, int64_t *out, struct coffer_error *err)
{
    uint8_t mac[32];
    int rc = mac_of(key, parts, count, bits, TERM8_BITS_MAX, mac, err);

    if (rc == COFFER_OK)
        *out = term8(key->version, mac, bits);
    return rc;
}

double
equality_coincidences(double rows, const double *domain_bits, size_t parts, unsigned bits)
{
    double sum = 0;

    for (size_t i = 0; i < parts; i++)
        sum += fmin(bits, domain_bits[i]);
    return rows / exp2(sum);
}

int
equality_short_bits(double rows, const double *domain_bits, size_t parts, unsigned *shortest,
                    unsigned *longest, struct coffer_error *err)
{
    *shortest = *longest = 0;
    if (!(rows >= SHORT_ROWS_MIN))
        return error_set(err, COFFER_E_REFUSED, "short terms hide nothing among fewer than %d rows",
                         SHORT_ROWS_MIN);
    for (unsigned bits = 1; bits < TERM16_BITS_MAX; bits++) {
        double c = equality_coincidences(rows, domain_bits, parts, bits);

        if (c >= 2 && c <= sqrt(rows)) {
            *longest = bits;
            if (*shortest == 0)
                *shortest = bits;
        }
    }
    if (*shortest == 0)
        return error_set(err, COFFER_E_REFUSED,
                         "no length of a short term merges 2 to √rows rows of this column");
    return COFFER_OK;
}
