/* SPDX-License-Identifier: Apache-2.0 */
/* A lower folder together with its keys: what `volume create` and `volume import` make, and everything else opens.
 *
 * To the keyring a volume is a database: a struct keyring_database with engine = the format's name ("ecryptfs") and name =
 * "volume:" ‖ absolute path of the lower folder, so that keys remember where they were used and backups, retention, `why` and destroy
 * work as they do for columns.  Its keys are KEY_VOLUME keys of a line of its own.
 *
 * In the lower folder, VOLUME_RECORD says which volume of which keyring it is.  It is not believed: its MAC (the catalog
 * key's, as of a working row) is checked, and the cipher of new files, the form of names and the line come from there only then.
 * A folder without a record is opened with a passphrase (volume_setup_passphrase()).
 */
#ifndef COFFER_VOLUME_SETUP_H
#define COFFER_VOLUME_SETUP_H

#include "keyring/keyring.h"
#include "volume/format.h"

#define VOLUME_RECORD ".coffer.volume"
#define VOLUME_KEYS_MAX 8
#define VOLUME_PATH_MAX 4096

struct volume_key_set {
    struct volume_key keys[VOLUME_KEYS_MAX]; /* [0] writes; all open */
    size_t count;
};

/* The rotation that is open (lifecycle.h).  Files and names are on their way to `options` as these stand; an abort goes back to the form
 * that is kept here.  While one is open names of both forms are understood (options.mixed_names). */
struct volume_rotation {
    unsigned work;   /* enum volume_work; 0: none is open */
    uint32_t to_key; /* everything is on its way to it: staged, active, or on an abort the former one */
    bool reversed;   /* an abort: to_key and the forms have changed places */
    unsigned former_key_bits, former_name_key_bits;
    bool former_encrypt_names;
};

struct volume_setup {
    char lower[VOLUME_PATH_MAX]; /* absolute, without symbolic links */
    const struct volume_format *format;
    struct volume_options options;
    bool in_keyring;
    struct uuid id;                 /* of the volume, if in_keyring; this and what follows */
    char line[KEYRING_NAME_MAX];    /* of its keys: "volume/" ‖ id */
    uint64_t record_epoch;          /* of the record: grows with each change of it */
    struct volume_rotation rotation; /* of the record */
    bool importing;                 /* an import has begun and not ended: files may be under a passphrase still */
    struct volume_key_set keys;     /* of file contents */
    struct volume_key_set names;    /* of names and link targets */
};

/* The passphrase-equivalent of a KEY_VOLUME key for the ecryptfs format: 64 lower-case hex digits of
 * HKDF-SHA-256(ikm = material, salt = none, info = lp("coffer/v1/volume/ecryptfs") ‖ key id), 32 bytes; a kernel takes it as the mount
 * passphrase.  docs/FORMAT.md "Volume keys".  `out`: 64 bytes, the caller frees. */
COFFER_MUST_CHECK int volume_passphrase(const struct secret *material, uint32_t key_id, struct secret **out, struct coffer_error *err);

/* What fills `out` in gives it keys of its own, until volume_setup_close(); on failure it is as closed.
 *
 * Read the record of `lower` and take the keys of its line from `keyring`: the active one first (staged only: none writes, which is
 * refused), then all that open (staged, draining; fenced and later ones do not).  Slow: a key derivation for each.
 * NOTFOUND  no such folder; no record in it (the message says: coffer volume create, or --passphrase-file)
 * REFUSED   the volume belongs to another keyring; it is moved or a copy (the keyring knows another path) unless `accept_moved`
 * TAMPERED, FORMAT   the record     KEY  no usable key   UNSUPPORTED  an unknown format */
COFFER_MUST_CHECK int volume_setup_load(const char *lower, const struct keyring *keyring, bool accept_moved, struct volume_setup *out,
                                        struct coffer_error *err);
/* The same from a newer keyring and the record as it is now, for a volume in use; keys that `setup` has already are not derived
 * again.  ROLLBACK for an older record.  On failure `setup` is as it was. */
COFFER_MUST_CHECK int volume_setup_refresh(struct volume_setup *setup, const struct keyring *keyring, struct coffer_error *err);
/* A folder from elsewhere: one passphrase for everything; the key and cipher of names are found by looking at some.  `options`:
 * key_bits 0 is what the files there have, 256 where there are none or they are not AES.  `salt` empty: the usual one.
 * KEY  files or names are under others than this passphrase gives     REFUSED  names are encrypted and `options` says no; another
 * cipher than that of the names that are there */
COFFER_MUST_CHECK int volume_setup_passphrase(const char *lower, const struct volume_format *format, struct bytes passphrase,
                                              struct bytes salt, const struct volume_options *options, struct volume_setup *out,
                                              struct coffer_error *err);
/* Write the record (atomically, synced, folder synced): record_epoch + 1.  CONFLICT: somebody else wrote it since it was read. */
COFFER_MUST_CHECK int volume_setup_save(struct volume_setup *setup, const struct keyring *keyring, struct coffer_error *err);
void volume_setup_close(struct volume_setup *setup); /* wipes keys; accepts a zeroed one */

/* The format's volume over this setup.  after_crash is options.after_crash. */
COFFER_MUST_CHECK int volume_setup_open(const struct volume_setup *setup, struct volume **out, struct coffer_error *err);

#endif
