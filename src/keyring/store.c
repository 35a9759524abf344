/* SPDX-License-Identifier: Apache-2.0 */
#include "keyring/store.h"

/* Somebody who changes the keyring as fast as a disk can write it would have to win this often in a
 * row. */
#define ATTEMPTS_MAX 100

/* `*lost` when another commit came first: then, and only then, try again. */
static int
edit_once(struct keyring_store *store, keyring_change change, void *arg, struct keyring **newest,
          bool *lost, struct coffer_error *err)
{
    struct keyring *kr = NULL;
    int rc;

    *lost = false;
    rc = store->load(store, &kr, err); /* ours: no clone is needed to leave the stored one alone */
    if (rc != COFFER_OK)
        return rc;
    rc = change(kr, arg, err);
    if (rc == COFFER_OK) {
        rc = store->commit(store, kr, err);
        *lost = rc == COFFER_E_CONFLICT;
    }
    if (rc == COFFER_OK && newest != NULL) {
        *newest = kr;
        kr = NULL;
    }
    keyring_free(kr);
    return rc;
}

int
keyring_store_edit(struct keyring_store *store, keyring_change change, void *arg,
                   struct keyring **newest_or_null, struct coffer_error *err)
{
    bool lost;
    int rc;

    if (newest_or_null != NULL)
        *newest_or_null = NULL;
    for (unsigned attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        rc = edit_once(store, change, arg, newest_or_null, &lost, err);
        if (!lost)
            return rc;
    }
    return error_set(err, COFFER_E_CONFLICT,
                     "somebody else changed the keyring %d times meanwhile: try again",
                     ATTEMPTS_MAX);
}
