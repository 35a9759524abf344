/* SPDX-License-Identifier: Apache-2.0 */
/* Another KEK, in an order that a crash anywhere cannot hurt:
 *
 *   1. for each escrowed key NAME.escrow/<id>.key.new, under the new root key
 *   2. NAME under the new root key: from here the new KEK counts
 *   3. each <id>.key.new takes the place of <id>.key
 *
 * Before 2 the new files are strays that the next change replaces.  After 2 file_escrow_get() takes
 * the file that opens as the keyring does and finishes 3.
 */
#include "host/file_store.h"

#include "host/host.h"
#include "ledger/audit.h"

struct rewrap {
    struct file_store *fs;
    struct kek *kek;
    struct keyring *like; /* has the new root: all files share one, so that its KDF runs once */
    size_t count;
};

static int
prepare_one(struct rewrap *w, const struct keyring *kr, uint32_t key_id, struct coffer_error *err)
{
    struct keyring *escrow = NULL;
    struct buf content;
    int rc;

    buf_init(&content, KEYRING_FILE_MAX);
    rc = file_escrow_get(&w->fs->store, key_id, &content, err);
    if (rc == COFFER_OK)
        rc = keyring_decode_again(buf_view(&content), kr, &escrow, err);
    if (rc == COFFER_OK)
        rc = keyring_rewrap_like(escrow, w->like, err);
    if (rc == COFFER_OK)
        rc = keyring_encode(escrow, &content, err);
    if (rc == COFFER_OK)
        rc = file_escrow_put_next(w->fs, key_id, buf_view(&content), err);
    keyring_free(escrow);
    buf_wipe(&content);
    return rc;
}

/* Again after a conflict, from the newest keyring: a key may have gone to escrow meanwhile. */
static int
change(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct rewrap *w = arg;
    int rc = COFFER_OK;

    if (w->like == NULL) {
        rc = keyring_clone(kr, &w->like, err);
        if (rc == COFFER_OK)
            rc = keyring_rewrap(w->like, w->kek, err);
    }
    w->count = 0;
    for (size_t i = 0; i < keyring_key_count(kr) && rc == COFFER_OK; i++) {
        const struct keyring_key *key = keyring_key_at(kr, i);

        if (key->state != KEY_ESCROWED)
            continue;
        rc = prepare_one(w, kr, key->id, err);
        w->count++;
    }
    return rc == COFFER_OK ? keyring_rewrap_like(kr, w->like, err) : rc;
}

static int
finish(struct file_store *fs, const struct keyring *kr, struct coffer_error *err)
{
    struct buf content;
    int rc = COFFER_OK;

    buf_init(&content, KEYRING_FILE_MAX);
    for (size_t i = 0; i < keyring_key_count(kr) && rc == COFFER_OK; i++) {
        if (keyring_key_at(kr, i)->state == KEY_ESCROWED)
            rc = file_escrow_get(&fs->store, keyring_key_at(kr, i)->id, &content, err);
    }
    buf_wipe(&content);
    return rc;
}

int
file_store_rewrap(struct keyring_store *store, struct kek *kek, const char *who, size_t *escrowed,
                  struct coffer_error *err)
{
    struct rewrap w = {.fs = (struct file_store *)store, .kek = kek};
    struct keyring *newest = NULL;
    int rc = audit_change(store, w.fs->os, who, "keyring.rewrap", NULL, change, &w, &newest, err);

    if (rc == COFFER_OK)
        rc = finish(w.fs, newest, err);
    *escrowed = w.count;
    keyring_free(newest);
    keyring_free(w.like);
    return rc;
}
