/* SPDX-License-Identifier: Apache-2.0 */
/* Known answers for search terms, in the format of tests/kat/search-vectors.json. */
#include "cli/vectors_section.h"
#include "search/subkey.h"

#include <string.h>

static int
case_kdf(struct vectors *v, const char *label, const json_t *json, struct coffer_error *err)
{
    struct secret *key = NULL, *subkey = NULL;
    uint8_t index_id[16];
    unsigned version = 0, len = 0;
    struct bytes name;
    struct buf expected;
    int rc;

    buf_init(&expected, 64);
    if (!vectors_text(json, "label", &name) || name.len < 10 ||
        memcmp(name.ptr, "coffer/v1/", 10) != 0 || name.len > 40)
        return vectors_bad(err, label, "label");
    if (!vectors_unsigned(json, "length", 0, &len) || len < 1 || len > 64)
        return vectors_bad(err, label, "length");
    rc = vectors_key(json, label, &key, index_id, &version, err);
    if (rc == COFFER_OK && !vectors_hex(json, "okm", &expected))
        rc = vectors_bad(err, label, "okm");
    if (rc == COFFER_OK)
        rc = subkey_derive(key, (const char *)name.ptr + 10, index_id, version, len, &subkey, err);
    if (rc == COFFER_OK)
        vectors_count(v, bytes_equal(secret_expose(subkey), buf_view(&expected)), "%s", label);
    secret_free(subkey);
    secret_free(key);
    buf_wipe(&expected);
    return rc;
}

static int
section_kdf(struct vectors *v, const json_t *json, struct coffer_error *err)
{
    return vectors_each(v, "kdf", json, case_kdf, err);
}

const struct vectors_section vectors_search[] = {{"kdf", section_kdf}, {NULL, NULL}};
