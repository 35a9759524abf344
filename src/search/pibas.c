/* SPDX-License-Identifier: Apache-2.0 */
#include "search/pibas.h"

#include "base/mem.h"
#include "crypto/prf.h"
#include "search/subkey.h"

struct pibas_key {
    unsigned version;
    struct hmac_key *values, *addresses;
};
struct pibas_value {
    unsigned version;
    struct hmac_key *mac;
};

static int
mac_new(const struct secret *key, const char *label, const uint8_t index_id[16], unsigned version,
        struct hmac_key **out, struct coffer_error *err)
{
    struct secret *subkey = NULL;
    int rc = subkey_derive(key, label, index_id, version, 32, &subkey, err);

    if (rc == COFFER_OK)
        rc = hmac_key_new(secret_expose(subkey), out, err);
    secret_free(subkey);
    return rc;
}

int
pibas_key_new(const struct secret *key, const uint8_t index_id[16], unsigned version,
              struct pibas_key **out, struct coffer_error *err)
{
    struct pibas_key *made = mem_alloc(sizeof *made);
    int rc;

    *out = NULL;
    if (made == NULL)
        return error_nomem(err);
    made->version = version;
    rc = mac_new(key, "pibas", index_id, version, &made->values, err);
    if (rc == COFFER_OK)
        rc = mac_new(key, "pibas-count", index_id, version, &made->addresses, err);
    if (rc != COFFER_OK) {
        pibas_key_free(made);
        return rc;
    }
    *out = made;
    return COFFER_OK;
}

void
pibas_key_free(struct pibas_key *key)
{
    if (key != NULL) {
        hmac_key_free(key->values);
        hmac_key_free(key->addresses);
    }
    mem_free(key);
}

void
pibas_address(const struct pibas_key *key, struct bytes message, uint8_t out[16])
{
    uint8_t mac[32];

    hmac_key_mac(key->addresses, &message, 1, mac);
    term16(key->version, mac, TERM16_BITS_MAX, out);
}

int
pibas_value_new(const struct pibas_key *key, struct bytes message, struct pibas_value **out,
                struct coffer_error *err)
{
    struct pibas_value *made = mem_alloc(sizeof *made);
    uint8_t value_key[32];
    int rc;

    *out = NULL;
    if (made == NULL)
        return error_nomem(err);
    made->version = key->version;
    hmac_key_mac(key->values, &message, 1, value_key);
    rc = hmac_key_new(bytes_of(value_key, sizeof value_key), &made->mac, err);
    wipe(value_key, sizeof value_key);
    if (rc != COFFER_OK) {
        mem_free(made);
        return rc;
    }
    *out = made;
    return COFFER_OK;
}

void
pibas_value_free(struct pibas_value *value)
{
    if (value != NULL)
        hmac_key_free(value->mac);
    mem_free(value);
}

void
pibas_tag(const struct pibas_value *value, uint64_t count, uint8_t out[16])
{
    uint8_t number[8], mac[32];
    struct bytes part = {number, sizeof number};

    put_be64(number, count);
    hmac_key_mac(value->mac, &part, 1, mac);
    term16(value->version, mac, TERM16_BITS_MAX, out);
}
