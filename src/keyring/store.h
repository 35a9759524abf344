/* SPDX-License-Identifier: Apache-2.0 */
/* Where a keyring is kept, as a table of functions: host/ has one over files, a test one in memory.
 *
 * A change is: keyring_store_edit(store, how, arg): load, apply `how`, commit; done again, from the newest content, when
 * somebody else committed in between, so that `how` may run more than once.
 * When it returns COFFER_OK the new content is durable and has been read back.
 */
#ifndef COFFER_KEYRING_STORE_H
#define COFFER_KEYRING_STORE_H

#include "keyring/keyring.h"

struct keyring_store {
    /* The newest content; the caller frees.  ROLLBACK if older than this store has seen. */
    int (*load)(struct keyring_store *store, struct keyring **out, struct coffer_error *err);
    /* Encode and store `kr`, which was loaded at epoch keyring_epoch(kr); CONFLICT if that is no longer the newest.
     * On success the epoch of `kr` is the new one, durable and read back. */
    int (*commit)(struct keyring_store *store, struct keyring *kr, struct coffer_error *err);
    /* Escrow files: one a key, content as keyring_encode() of a keyring_extract(). */
    int (*escrow_put)(struct keyring_store *store, uint32_t key_id, struct bytes content, struct coffer_error *err);
    int (*escrow_get)(struct keyring_store *store, uint32_t key_id, struct buf *content, struct coffer_error *err);
    int (*escrow_remove)(struct keyring_store *store, uint32_t key_id, struct coffer_error *err);
    /* Audit log: append one line, durable.  Under the store's lock `make` is given the whole log and adds one line (with its newline)
     * to `line`, so that a chain of hashes has one writer at a time.  Read gives all. */
    int (*audit_append)(struct keyring_store *store,
                        int (*make)(void *arg, struct bytes log, struct buf *line, struct coffer_error *err), void *arg,
                        struct coffer_error *err);
    int (*audit_read)(struct keyring_store *store, struct buf *out, struct coffer_error *err);
    /* Certificates by digest name, kept beside the keyring. */
    int (*certificate_put)(struct keyring_store *store, const char *name, struct bytes content, struct coffer_error *err);
    int (*certificate_get)(struct keyring_store *store, const char *name, struct buf *content, struct coffer_error *err);
    void *ctx;
};

typedef int (*keyring_change)(struct keyring *kr, void *arg, struct coffer_error *err);
COFFER_MUST_CHECK int keyring_store_edit(struct keyring_store *store, keyring_change change, void *arg,
                                         struct keyring **newest_or_null, struct coffer_error *err);

#endif
