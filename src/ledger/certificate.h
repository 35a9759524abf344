/* SPDX-License-Identifier: Apache-2.0 */
/* The certificate that nothing live is under a key any more: JSON, Ed25519-signed, checked offline.  docs/FORMAT.md "Certificate v1". */
#ifndef COFFER_LEDGER_CERTIFICATE_H
#define COFFER_LEDGER_CERTIFICATE_H

#include "keyring/keyring.h"

struct certificate_column {
    char name[2 * KEYRING_NAME_MAX]; /* "schema.table.column" */
    struct uuid id;
    uint64_t rows, nulls, sealed, plaintext, under_key; /* under_key must be zero */
    char constraint[KEYRING_NAME_MAX];
    char plaintext_level[24]; /* "not selectable", "not in live tuples", "not in the files" */
};
struct certificate {
    uint32_t key_id;
    uint8_t fingerprint[32];
    char line[KEYRING_NAME_MAX], purpose[16];
    struct uuid keyring, database;
    char database_name[KEYRING_NAME_MAX], engine[32], incarnation[KEYRING_NAME_MAX];
    int64_t proven_us;
    char position[64]; /* LSN */
    uint64_t xid, quarantine; /* quarantine must be zero */
    uint64_t audit_count;
    uint8_t audit_hash[32]; /* head of the audit log before this */
    const struct certificate_column *columns;
    size_t column_count;
    const char *const *accepted; /* unregistered finds accepted by name */
    size_t accepted_count;
    const char *const *notes;    /* replicas, backups, places that could not be read */
    size_t note_count;
};
/* Write and sign.  REFUSED if it would state something untrue (under_key or quarantine not zero). */
COFFER_MUST_CHECK int certificate_write(const struct certificate *c, const struct keyring *keyring, struct buf *out,
                                        struct coffer_error *err);
/* Check form, zeros and signature under the 32-byte public key.  FORMAT, AUTH.  `say` (may be NULL) gets a summary line by line. */
COFFER_MUST_CHECK int certificate_verify(struct bytes file, const uint8_t public_key[32],
                                         void (*say)(void *arg, const char *line), void *arg, uint32_t *key_id,
                                         struct coffer_error *err);

#endif
