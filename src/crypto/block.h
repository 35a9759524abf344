/* SPDX-License-Identifier: Apache-2.0 */
/* Bare block ciphers and hashes, for disk formats that others designed (eCryptfs).  Nothing new is
 * built on these: they authenticate nothing, and ECB shows what is equal.
 *
 * AES-CBC over many units at once runs in parallel lanes where the machine and the build have
 * libipsec-mb, else unit by unit in OpenSSL, with the same result; the other ciphers run in
 * OpenSSL, some of them in its legacy provider, which is loaded when first asked for.  OpenSSL has
 * neither Twofish nor CAST-256. Thread-safe; contexts are per thread. Errors: COFFER_E_NOMEM;
 * COFFER_E_UNSUPPORTED for a cipher that cannot be had, or a key length that it does not take.
 */
#ifndef COFFER_CRYPTO_BLOCK_H
#define COFFER_CRYPTO_BLOCK_H

#include "base/bytes.h"
#include "base/secret.h"

#define MD5_LEN 16
#define SHA512_LEN 64
#define BLOCK_KEY_MAX 56 /* bytes of the longest key */

enum block_cipher {
    BLOCK_AES,
    BLOCK_DES3,     /* EDE, three keys */
    BLOCK_CAST5,    /* 128-bit keys */
    BLOCK_BLOWFISH, /* 16 to 56 bytes */
    BLOCK_CAST6,    /* not available */
    BLOCK_TWOFISH,  /* not available */
};

size_t block_len(enum block_cipher cipher); /* 8 or 16 */

/* ECB without padding; `in` may be `out`; `len` is a multiple of the block. */
COFFER_MUST_CHECK int block_ecb(enum block_cipher cipher, struct bytes key, bool encrypt,
                                const uint8_t *in, uint8_t *out, size_t len,
                                struct coffer_error *err);

/* A key made ready for CBC. */
struct block_key;
COFFER_MUST_CHECK int block_key_new(enum block_cipher cipher, struct bytes key,
                                    struct block_key **out, struct coffer_error *err);
void block_key_free(struct block_key *key); /* wipes; accepts NULL */

/* One unit, chained from its own IV; of the IV the first block_len() bytes count.  `in` may be
 * `out`; otherwise no unit overlaps another. */
struct block_unit {
    const uint8_t *in;
    uint8_t *out;
    uint8_t iv[16];
};
/* CBC without padding, `unit_len` (a multiple of the block) bytes each. */
COFFER_MUST_CHECK int block_cbc(const struct block_key *key, bool encrypt,
                                const struct block_unit *units, size_t count, size_t unit_len,
                                struct coffer_error *err);

/* Keep to OpenSSL from now on, in all threads: for tests and figures. */
void block_lanes_off(bool off);
bool block_lanes_used(void); /* AES-CBC runs in lanes */

COFFER_MUST_CHECK int md5(struct bytes data, uint8_t out[MD5_LEN], struct coffer_error *err);
COFFER_MUST_CHECK int sha512(struct bytes data, uint8_t out[SHA512_LEN], struct coffer_error *err);
/* SHA-512 of SHA-512 of … `data`, `rounds` (1 or more) in all. */
COFFER_MUST_CHECK int sha512_rounds(struct bytes data, unsigned rounds, uint8_t out[SHA512_LEN],
                                    struct coffer_error *err);

#endif
