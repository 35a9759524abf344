/* SPDX-License-Identifier: Apache-2.0 */
/* How a key leaves the keyring, for columns and for volumes: certificates per database, proven, an escrow file. */
#ifndef COFFER_LEDGER_RETIRE_H
#define COFFER_LEDGER_RETIRE_H

#include "keyring/store.h"

#define RETIRE_NAME_LEN 64

/* The name under which a certificate lies beside the keyring: "KEY-DATABASE.json". */
void retire_certificate_name(uint32_t key_id, const struct uuid *database,
                             char out[RETIRE_NAME_LEN]);

/* A change of the keyring: enter the certificate; the key becomes proven (fenced before, if it was draining) once every database in
 * which it was ever usable has one, which `everywhere` then says.  Nothing for a key that is out of the keyring already. */
struct retire_certify {
    struct keyring_certificate certificate;
    int64_t now_us;
    bool everywhere;
};
COFFER_MUST_CHECK int retire_change_certify(struct keyring *kr, void *retire_certify,
                                            struct coffer_error *err);

/* Write the key's escrow file and read it back: it must be readable there before it leaves the keyring. */
COFFER_MUST_CHECK int retire_escrow_file(struct keyring_store *store, const struct keyring *keyring,
                                         uint32_t key_id, struct coffer_error *err);

#endif
