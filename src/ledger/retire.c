/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/retire.h"

#include <stdio.h>

void
retire_certificate_name(uint32_t key_id, const struct uuid *database, char out[RETIRE_NAME_LEN])
{
    char text[37];

    uuid_format(database, text);
    snprintf(out, RETIRE_NAME_LEN, "%08x-%.8s.json", (unsigned)key_id, text);
}

int
retire_change_certify(struct keyring *kr, void *retire_certify, struct coffer_error *err)
{
    struct retire_certify *c = retire_certify;
    const struct keyring_key *key = keyring_key(kr, c->certificate.key_id);
    size_t i;
    int rc;

    c->everywhere = true;
    if (key == NULL)
        return error_set(err, COFFER_E_KEY, "the keyring holds no key %08x",
                         (unsigned)c->certificate.key_id);
    if (key->state > KEY_PROVEN) /* another command was quicker: its proof stands */
        return COFFER_OK;
    rc = keyring_certificate_put(kr, &c->certificate, err);
    if (rc != COFFER_OK)
        return rc;
    for (i = 0; i < key->database_count; i++) {
        if (keyring_certificate(kr, key->id, &key->databases[i]) == NULL)
            c->everywhere = false;
    }
    if (!c->everywhere || key->state == KEY_PROVEN)
        return COFFER_OK;
    if (key->state == KEY_DRAINING)
        rc = keyring_key_move(kr, c->certificate.key_id, KEY_FENCED, c->now_us, err);
    if (rc == COFFER_OK)
        rc = keyring_key_move(kr, c->certificate.key_id, KEY_PROVEN, c->now_us, err);
    return rc;
}

int
retire_escrow_file(struct keyring_store *store, const struct keyring *keyring, uint32_t key_id,
                   struct coffer_error *err)
{
    struct keyring *single = NULL, *back = NULL;
    struct buf content;
    int rc;

    buf_init(&content, KEYRING_FILE_MAX);
    rc = keyring_extract(keyring, key_id, NULL, &single, err);
    if (rc == COFFER_OK)
        rc = keyring_encode(single, &content, err);
    if (rc == COFFER_OK)
        rc = store->escrow_put(store, key_id, buf_view(&content), err);
    buf_clear(&content);
    if (rc == COFFER_OK)
        rc = store->escrow_get(store, key_id, &content, err);
    if (rc == COFFER_OK)
        rc = keyring_decode_again(buf_view(&content), keyring, &back, err);
    if (rc == COFFER_OK && (keyring_material(back, key_id) == NULL ||
                            !secret_equal(secret_expose(keyring_material(back, key_id)),
                                          secret_expose(keyring_material(keyring, key_id)))))
        rc = error_set(
            err, COFFER_E_IO,
            "the escrow file of key %08x does not read back; the key stays in the keyring",
            (unsigned)key_id);
    keyring_free(back);
    keyring_free(single);
    buf_wipe(&content);
    return rc;
}
