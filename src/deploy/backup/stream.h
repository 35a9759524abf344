/* SPDX-License-Identifier: Apache-2.0 */
/* An encrypted stream: what backups and archived log segments are on disk.
 *
 * Streaming AEAD AES256_GCM_HKDF_1MB as Tink defines it (Hoang, Reyhanitabar, Rogaway, Vizár, CRYPTO 2015, "STREAM"): a header of length, salt and
 * nonce prefix, then segments of 1 MiB of ciphertext, each with its tag, the last one marked in its nonce: what is reordered, repeated or cut
 * off is found.  The associated data is the head and the name of the backup, so that one stream never passes for another.  Before it stand 64 bytes of ours that say
 * which key of the keyring opens it.  docs/FORMAT.md "Encrypted stream".
 */
#ifndef COFFER_DEPLOY_BACKUP_STREAM_H
#define COFFER_DEPLOY_BACKUP_STREAM_H

#include "keyring/keyring.h"

#define STREAM_SEGMENT 1048576u

struct stream_total {
    uint64_t plain, sealed; /* bytes */
    uint8_t digest[32];     /* SHA-256 of the sealed bytes, head included */
};

/* Read `in` to its end, write the sealed stream to `out`, under the KEY_BACKUP key `key_id` of the keyring.  `name` is the
 * associated data.  `progress` (may be NULL) hears of each segment and stops the work when it answers false: CANCELLED.
 * IO (which side), KEY. */
typedef bool (*stream_progress_fn)(void *arg, uint64_t plain);
COFFER_MUST_CHECK int stream_seal(int in, int out, const struct keyring *keyring, uint32_t key_id, struct bytes name,
                                  stream_progress_fn progress, void *arg, struct stream_total *total, struct coffer_error *err);
/* The other way.  Nothing of a segment is written before its tag holds.  AUTH (at which byte), FORMAT, KEY (the message names the key id, and
 * how to bring it from escrow). */
COFFER_MUST_CHECK int stream_open(int in, int out, const struct keyring *keyring, struct bytes name, stream_progress_fn progress, void *arg,
                                  struct stream_total *total, struct coffer_error *err);
/* The key id in the head, not authenticated.  FORMAT. */
COFFER_MUST_CHECK int stream_key(struct bytes head, uint32_t *key_id, struct coffer_error *err);

#endif
