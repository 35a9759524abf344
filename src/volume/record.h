/* SPDX-License-Identifier: Apache-2.0 */
/* The record of a volume in its lower folder, VOLUME_RECORD: which volume of which keyring, and the form of its files.
 *
 * JSON with the MAC of a working row (ledger/journal.h) of table "volume", key "record"; docs/FORMAT.md "Volume record".
 */
#ifndef COFFER_VOLUME_RECORD_H
#define COFFER_VOLUME_RECORD_H

#include "volume/setup.h"

#define VOLUME_RECORD_MAX 65536

/* Which volume and keyring the record names; nothing is checked or believed.  NOTFOUND, FORMAT. */
COFFER_MUST_CHECK int volume_record_peek(const char *lower, struct uuid *volume, struct uuid *keyring, struct coffer_error *err);
/* Read and check it: id, record_epoch, format, options, rotation and importing of `setup`.  NOTFOUND, FORMAT, TAMPERED, UNSUPPORTED;
 * REFUSED if it is another keyring's. */
COFFER_MUST_CHECK int volume_record_read(const char *lower, const struct keyring *keyring, struct volume_setup *setup,
                                         struct coffer_error *err);
/* Write it at setup->record_epoch + 1, which is set.  CONFLICT if the file is at another epoch than `setup`. */
COFFER_MUST_CHECK int volume_record_write(struct volume_setup *setup, const struct keyring *keyring, struct coffer_error *err);

/* The absolute path of a folder, without symbolic links.  NOTFOUND, LIMIT, IO. */
COFFER_MUST_CHECK int volume_lower_find(const char *lower, char out[VOLUME_PATH_MAX], struct coffer_error *err);

#endif
