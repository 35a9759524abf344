/* SPDX-License-Identifier: Apache-2.0 */
/* A folder of eCryptfs from elsewhere becomes a volume of the keyring: no data is written again, each header is wrapped under the
 * keyring's key in place of the passphrase's, and encrypted names are renamed.
 *
 *   check passphrase ─▶ database record and key ─▶ record, importing ─▶ walk ─▶ look at everything ─▶ record, no longer importing
 *
 * While the record says importing, files and names under the passphrase are known beside the others; whoever was killed is resumed by
 * the same call.  The folder must not be mounted, by anybody: a kernel's mount of it cannot be seen from here.
 */
#ifndef COFFER_VOLUME_IMPORT_H
#define COFFER_VOLUME_IMPORT_H

#include "volume/lifecycle.h"

struct volume_import {
    struct bytes passphrase, salt; /* salt empty: the usual one */
    struct volume_options
        options;  /* as for volume_setup_passphrase(); not used to go on with one that has begun */
    bool resumed; /* filled in */
    struct volume_progress progress;
    struct volume_count count; /* filled in at the end */
};
/* EXISTS     it is a volume already
 * KEY        the passphrase is another one
 * REFUSED    files are left that could not be moved; nothing is lost, the same call goes on
 * CANCELLED  stopped; goes on likewise     CONFLICT  mounted */
COFFER_MUST_CHECK int volume_import(const struct volume_env *env, const char *lower,
                                    struct volume_import *import, struct coffer_error *err);

#endif
