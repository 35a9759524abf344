/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the file store share. */
#ifndef COFFER_HOST_FILE_STORE_H
#define COFFER_HOST_FILE_STORE_H

#include "base/os.h"
#include "keyring/store.h"

#define LOCK_WAIT_MS 10000
#define AUDIT_LOG_MAX (256u << 20)
#define SMALL_FILE_MAX (16u << 20)

struct file_store {
    struct keyring_store store; /* first */
    const struct os *os;
    struct kek *kek;
    char *path;
    struct keyring *known; /* the newest content seen; has the root key, so that a passphrase is asked once */
    uint8_t known_hash[32];
};

COFFER_MUST_CHECK int file_store_lock(const struct file_store *fs, int *handle, struct coffer_error *err);
/* Read the file; `raw` may be NULL.  Remembers it as the newest seen. */
COFFER_MUST_CHECK int file_store_load(struct file_store *fs, struct buf *raw, struct keyring **out, struct coffer_error *err);
/* Write, read back, compare. */
COFFER_MUST_CHECK int file_store_write(const struct os *os, const char *path, struct bytes content, unsigned mode, bool exclusive,
                                       struct coffer_error *err);

/* file_store_side.c: what lies beside the keyring. */
int file_escrow_put(struct keyring_store *store, uint32_t key_id, struct bytes content, struct coffer_error *err);
int file_escrow_get(struct keyring_store *store, uint32_t key_id, struct buf *content, struct coffer_error *err);
/* Lay the file that takes the place of an escrow file once the keyring is under another KEK. */
int file_escrow_put_next(struct file_store *fs, uint32_t key_id, struct bytes content, struct coffer_error *err);
int file_escrow_remove(struct keyring_store *store, uint32_t key_id, struct coffer_error *err);
int file_audit_append(struct keyring_store *store,
                      int (*make)(void *arg, struct bytes log, struct buf *line, struct coffer_error *err), void *arg,
                      struct coffer_error *err);
int file_audit_read(struct keyring_store *store, struct buf *out, struct coffer_error *err);
int file_certificate_put(struct keyring_store *store, const char *name, struct bytes content, struct coffer_error *err);
int file_certificate_get(struct keyring_store *store, const char *name, struct buf *content, struct coffer_error *err);

#endif
