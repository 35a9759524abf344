/* SPDX-License-Identifier: Apache-2.0 */
/* What eCryptfs has beside the table of format.h: its salts, signatures and wrapped-passphrase files
 * (docs/FORMAT.md, "eCryptfs volume").  Pure functions; statuses are COFFER_E_*. */
#ifndef COFFER_VOLUME_ECRYPTFS_ECRYPTFS_H
#define COFFER_VOLUME_ECRYPTFS_ECRYPTFS_H

#include "volume/format.h"

#define ECRYPTFS_PASSPHRASE_MAX 64
#define ECRYPTFS_WRAPPED_MAX 90 /* bytes of the longest wrapped-passphrase file */

/* Salts of key_set(): of file keys, where people chose none; and of name keys made by the
 * utilities, whose "9988776655443322" was never turned from text into bytes. */
struct bytes ecryptfs_default_salt(void);
struct bytes ecryptfs_name_salt(void);

/* The signature of the key that sealed an encrypted lower name, as 16 hex digits: the utilities mount
 * with the file key or with one under ecryptfs_name_salt(), and this tells which.  False: not such a
 * name. */
bool ecryptfs_name_signature(struct bytes lower, char signature[VOLUME_KEY_NAME + 1]);
/* The cipher of such a name as options.name_cipher has it, static storage; `key_bits` decides where it does not say
 * how long its key is (all but AES).  NULL: no such name or cipher. */
const char *ecryptfs_name_cipher(struct bytes lower, unsigned key_bits);
/* The same text in static storage, for any text that is a cipher of eCryptfs; NULL otherwise. */
const char *ecryptfs_cipher_text(const char *text);

/* Open a wrapped-passphrase file, version 1 or 2.  `salt` (8 bytes, or none for the default) is for
 * version 1, which does not store it.  Slow, as key_set(). FORMAT: not such a file; KEK: the wrapping
 * passphrase is wrong. */
COFFER_MUST_CHECK int ecryptfs_unwrap(struct bytes file, struct bytes wrapping, struct bytes salt,
                                      struct secret **passphrase, struct coffer_error *err);
/* Write one of version 2, under a new salt. */
COFFER_MUST_CHECK int ecryptfs_wrap(struct bytes passphrase, struct bytes wrapping,
                                    struct buf *file, struct coffer_error *err);

#endif
