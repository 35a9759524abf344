/* SPDX-License-Identifier: Apache-2.0 */
/* Keys out of a keyring and in again: escrow, and moving between installations. */
#include "keyring/internal.h"

#include <string.h>

int
keyring_extract(const struct keyring *kr, uint32_t key_id, struct kek *kek_or_null,
                struct keyring **out, struct coffer_error *err)
{
    const struct key_entry *entry = keyring_entry(kr, key_id);
    struct key_entry copy = {0};
    struct keyring *escrow = NULL;
    int rc;

    *out = NULL;
    if (entry == NULL)
        return error_set(err, COFFER_E_KEY, "no key %08x in the keyring", key_id);
    if (entry->material == NULL)
        return error_set(err, COFFER_E_KEY, "key %08x is %s: its material is not in the keyring",
                         key_id, key_state_name(entry->key.state));

    rc = keyring_empty_new(&escrow, err);
    if (rc != COFFER_OK)
        goto out;
    escrow->kind = FILE_ESCROW;
    escrow->id = kr->id;
    escrow->epoch = kr->epoch;
    if (kek_or_null != NULL) {
        rc = keyring_rewrap(escrow, kek_or_null, err);
    } else {
        escrow->kek_kind = kr->kek_kind;
        rc = keyring_set_params(escrow, bytes_of(kr->kek_params, kr->kek_params_len), err);
        if (rc == COFFER_OK)
            rc = secret_copy(secret_expose(kr->root), &escrow->root, err);
    }
    if (rc != COFFER_OK)
        goto out;
    rc = key_entry_copy(entry, &copy, err);
    if (rc != COFFER_OK)
        goto out;
    rc = list_append(&escrow->keys, &copy, err);
    if (rc != COFFER_OK)
        goto out;
    memset(&copy, 0, sizeof copy); /* the list has it now */
    *out = escrow;
    escrow = NULL;

out:
    key_entry_wipe(&copy);
    keyring_free(escrow);
    return rc;
}

/* Import knows no clock: the last date in the key's history stands for now. */
static void
back_to_draining(struct keyring_key *key)
{
    int64_t latest = 0;

    for (size_t i = 0; i < sizeof key->entered_us / sizeof key->entered_us[0]; i++) {
        if (key->entered_us[i] > latest)
            latest = key->entered_us[i];
    }
    key->state = KEY_DRAINING;
    key->entered_us[KEY_DRAINING] = latest;
}

/* A key that the keyring knows: give an escrowed one its material back, learn that one is
 * compromised. */
static int
import_known(struct keyring *kr, struct key_entry *known, const struct key_entry *from,
             size_t *count, struct coffer_error *err)
{
    struct keyring_key *key = &known->key;
    int rc;

    if (memcmp(key->fingerprint, from->key.fingerprint, sizeof key->fingerprint) != 0)
        return error_set(
            err, COFFER_E_EXISTS,
            "key %08x is in the keyring already, with another fingerprint: nothing was "
            "imported",
            key->id);
    if (key->state == KEY_DESTROYED && from->material != NULL)
        return error_set(err, COFFER_E_REFUSED,
                         "key %08x was destroyed and does not come back: nothing was imported",
                         key->id);
    key->compromised |= from->key.compromised;
    if (known->material != NULL || from->material == NULL)
        return COFFER_OK;

    rc = secret_copy(secret_expose(from->material), &known->material, err);
    if (rc != COFFER_OK)
        return rc;
    back_to_draining(key); /* whatever needed it may hold data under it again */
    ++*count;
    return keyring_certificate_drop(kr, key->id, err);
}

/* A key from elsewhere.  What was proven or fenced there says nothing of the databases here, and
 * this line may have an active key of its own: then it only opens. */
static int
import_new(struct keyring *kr, const struct key_entry *from, size_t *count,
           struct coffer_error *err)
{
    struct key_entry copy;
    struct keyring_key *key = &copy.key;
    int rc;

    rc = key_entry_copy(from, &copy, err);
    if (rc != COFFER_OK)
        return rc;
    key->version = key_next_version(kr, key->purpose, key->line);
    if (key->state == KEY_FENCED || key->state == KEY_PROVEN ||
        (key->state == KEY_ACTIVE && keyring_active(kr, key->purpose, key->line) != NULL))
        back_to_draining(key);
    rc = list_append(&kr->keys, &copy, err);
    if (rc != COFFER_OK) {
        key_entry_wipe(&copy);
        return rc;
    }
    ++*count;
    return COFFER_OK;
}

int
keyring_import(struct keyring *kr, const struct keyring *from, size_t *count,
               struct coffer_error *err)
{
    struct keyring *edited = NULL;
    struct keyring swap;
    size_t taken = 0;
    int rc;

    *count = 0;
    rc = keyring_clone(kr, &edited, err); /* all or nothing */
    if (rc != COFFER_OK)
        return rc;
    for (size_t i = 0; i < from->keys.count; i++) {
        const struct key_entry *entry = list_at(&from->keys, i);
        struct key_entry *known = keyring_entry(edited, entry->key.id);

        if (known != NULL)
            rc = import_known(edited, known, entry, &taken, err);
        else
            rc = import_new(edited, entry, &taken, err);
        if (rc != COFFER_OK)
            goto out;
    }
    swap = *kr;
    *kr = *edited;
    *edited = swap;
    *count = taken;

out:
    keyring_free(edited);
    return rc;
}
