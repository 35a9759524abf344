/* SPDX-License-Identifier: Apache-2.0 */
/* LIKE patterns: first byte flags (operator, escape, short grams, normaliser), then the pattern, a
 * zero byte and a text.  Any bytes parse or are refused; what matches is a candidate. */
#include "search/tokens.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
search_for(const struct token_options *o, const struct like *like, struct bytes text)
{
    static struct text_key *key;
    struct tokens row = {0}, wanted = {0};
    bool match = false;

    if (key == NULL) { /* one for the life of the process */
        static const uint8_t zero[32];
        struct secret *secret;

        if (secret_copy(bytes_of(zero, 32), &secret, NULL) != COFFER_OK ||
            text_key_new(secret, zero, 1, &key, NULL) != COFFER_OK)
            abort();
        secret_free(secret);
    }
    if (tokens_of_like(key, o, like, &wanted, NULL) == COFFER_OK &&
        like_match(like, text, &match, NULL) == COFFER_OK &&
        tokens_of_text(key, o, text, &row, NULL) == COFFER_OK && match &&
        !tokens_hold(&row, &wanted))
        abort();
    tokens_wipe(&row);
    tokens_wipe(&wanted);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const uint8_t *zero;
    struct bytes pattern, text = {0};
    struct token_options o = {.bits = 48};
    struct like like;

    if (len < 1 || len > 2000)
        return 0;
    o.normaliser = 1 + (data[0] >> 4) % 3;
    o.short_grams = (data[0] & 1) != 0;
    pattern = bytes_of(data + 1, len - 1);
    zero = memchr(pattern.ptr, 0, pattern.len);
    if (zero != NULL) {
        text = bytes_of(zero + 1, (size_t)(data + len - zero - 1));
        pattern.len = (size_t)(zero - pattern.ptr);
    }
    if (like_parse(pattern, (data[0] & 2) != 0 ? LIKE_ESCAPE_NONE : LIKE_ESCAPE_POSTGRESQL,
                   (data[0] & 4) != 0 ? LIKE_CASELESS : LIKE_EXACT, &like, NULL) != COFFER_OK)
        return 0;
    search_for(&o, &like, text);
    like_wipe(&like);
    return 0;
}
