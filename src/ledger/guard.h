/* SPDX-License-Identifier: Apache-2.0 */
/* The destroy guard: what still needs a key.  Computed from the keyring when asked, never stored. */
#ifndef COFFER_LEDGER_GUARD_H
#define COFFER_LEDGER_GUARD_H

#include "keyring/keyring.h"

struct guard_holder {
    char kind[16];  /* "state", "database", "backup", "promise" */
    char name[KEYRING_NAME_MAX + 16]; /* by which a waiver names it: "backup:LABEL", "promise:DATABASE", "database:DATABASE"; "" for
                                       * live state, which nothing waives.  A name too long for a waiver is "KIND:UUID" */
    char text[1024]; /* who, why, and what would release it */
    int64_t until_us; /* when it releases by itself; 0 never or unknown */
    bool waived;    /* named in a waiver */
};
typedef int (*guard_holder_fn)(void *arg, const struct guard_holder *holder, struct coffer_error *err);
/* Each thing that needs key `id`: live state, a database without its certificate, an unexpired backup, a retention promise.
 * Returns how many unwaived in `*count`. */
COFFER_MUST_CHECK int guard_why(const struct keyring *keyring, uint32_t id, int64_t now_us, guard_holder_fn fn, void *arg,
                                size_t *count, struct coffer_error *err);
/* Backup B needs key K unless K was proven (in B's database) before B's start, or created after B's end. */
bool guard_backup_needs(const struct keyring *keyring, const struct keyring_backup *backup, const struct keyring_key *key);

#endif
