/* SPDX-License-Identifier: Apache-2.0 */
/* Terms of buckets; layouts are in bucket_layout.c. */
#include "search/bucket.h"

#include "base/mem.h"
#include "crypto/crypto.h"
#include "crypto/prf.h"
#include "search/subkey.h"

#include <stdlib.h>
#include <string.h>

struct bucket_key {
    unsigned version;
    struct hmac_key *mac;
};

int
bucket_key_new(const struct secret *key, const uint8_t index_id[16], unsigned version,
               struct bucket_key **out, struct coffer_error *err)
{
    struct bucket_key *made = mem_alloc(sizeof *made);
    struct secret *subkey = NULL;
    int rc;

    *out = NULL;
    if (made == NULL)
        return error_nomem(err);
    made->version = version;
    rc = subkey_derive(key, "bucket", index_id, version, 32, &subkey, err);
    if (rc == COFFER_OK)
        rc = hmac_key_new(secret_expose(subkey), &made->mac, err);
    secret_free(subkey);
    if (rc != COFFER_OK) {
        bucket_key_free(made);
        return rc;
    }
    *out = made;
    return COFFER_OK;
}

void
bucket_key_free(struct bucket_key *key)
{
    if (key != NULL)
        hmac_key_free(key->mac);
    mem_free(key);
}

int64_t
bucket_term(const struct bucket_key *key, const struct bucket_layout *layout, uint32_t bucket,
            uint32_t sub)
{
    uint8_t message[12], mac[32];
    struct bytes part = {message, sizeof message};

    put_be32(message, layout->number);
    put_be32(message + 4, bucket);
    put_be32(message + 8, sub);
    hmac_key_mac(key->mac, &part, 1, mac);
    return term8(key->version, mac, TERM8_BITS_MAX);
}

/* Uniform below `bound`, 1…65535: draws above its largest multiple are drawn again. */
static int
draw_below(uint32_t bound, uint32_t *out, struct coffer_error *err)
{
    uint32_t limit = UINT32_MAX - UINT32_MAX % bound, drawn;

    *out = 0;
    if (bound == 1)
        return COFFER_OK;
    do {
        int rc = random_nonce(&drawn, sizeof drawn, err);

        if (rc != COFFER_OK)
            return rc;
    } while (drawn >= limit);
    *out = drawn % bound;
    return COFFER_OK;
}

int
bucket_term_of(const struct bucket_key *key, const struct bucket_layout *layout,
               const uint8_t *value, int64_t *out, struct coffer_error *err)
{
    uint32_t bucket = bucket_of(layout, value), sub;
    int rc = draw_below(layout->splits[bucket], &sub, err);

    if (rc == COFFER_OK)
        *out = bucket_term(key, layout, bucket, sub);
    return rc;
}

static int
compare_terms(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

int
bucket_range(const struct bucket_key *key, const struct bucket_layout *layout, const uint8_t *low,
             const uint8_t *high, size_t max, int64_t **out, size_t *count,
             struct coffer_error *err)
{
    uint32_t first = bucket_of(layout, low), last = bucket_of(layout, high);
    size_t n = 0;

    *out = NULL;
    *count = 0;
    if (memcmp(low, high, layout->width) > 0)
        return COFFER_OK;
    for (uint32_t b = first; b <= last; b++)
        n += layout->splits[b];
    if (n > max)
        return error_set(err, COFFER_E_LIMIT,
                         "the range takes %zu terms; at most %zu are asked for at once: narrow it",
                         n, max);
    *out = mem_array(n, sizeof **out);
    if (*out == NULL)
        return error_nomem(err);
    for (uint32_t b = first; b <= last; b++) {
        for (uint32_t sub = 0; sub < layout->splits[b]; sub++)
            (*out)[(*count)++] = bucket_term(key, layout, b, sub);
    }
    /* By term, so that the list does not show the order of buckets. */
    qsort(*out, *count, sizeof **out, compare_terms);
    return COFFER_OK;
}
