/* SPDX-License-Identifier: Apache-2.0 */
/* The audit log: JSON lines, each with the hash of the one before and an Ed25519 signature by the keyring's audit key.
 *
 * The keyring holds the high-water mark (count, hash), so that a cut or rewritten log is noticed.  docs/FORMAT.md "Audit log".
 */
#ifndef COFFER_LEDGER_AUDIT_H
#define COFFER_LEDGER_AUDIT_H

#include "base/os.h"
#include "keyring/store.h"

/* Change the keyring and say so: appends the entry, then edits the keyring with `change` (NULL: only the mark) and the new mark.
 * If the edit fails, an entry "failed" follows.  `event` is a word ("key.activate"), `details` a JSON object or NULL. */
COFFER_MUST_CHECK int audit_change(struct keyring_store *store, const struct os *os, const char *who, const char *event,
                                   const char *details, keyring_change change, void *arg, struct keyring **newest_or_null,
                                   struct coffer_error *err);

struct audit_entry {
    uint64_t seq;
    int64_t at_us;
    const char *who, *event, *details, *raw; /* valid for the call */
};
typedef int (*audit_entry_fn)(void *arg, const struct audit_entry *entry, struct coffer_error *err);
/* Check every hash and signature and the mark: TAMPERED names the entry.  `fn` may be NULL.  `keyring` NULL: `public_key` is used, no mark. */
COFFER_MUST_CHECK int audit_verify(struct bytes log, const struct keyring *keyring, const uint8_t *public_key, audit_entry_fn fn,
                                   void *arg, uint64_t *count, struct coffer_error *err);
/* For a log that is lost for good (audit_change refuses to go on behind a log that was cut): go on from what is there, with an entry
 * that states what the keyring had marked.  A log whose last entry is not ours must be moved away first. */
COFFER_MUST_CHECK int audit_accept_loss(struct keyring_store *store, const struct os *os, const char *who,
                                        struct coffer_error *err);
COFFER_MUST_CHECK int audit_public_key(const struct keyring *keyring, uint8_t out[32], struct coffer_error *err);

#endif
