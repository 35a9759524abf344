/* SPDX-License-Identifier: Apache-2.0 */
/* The primitives Coffer composes; the only folder that sees OpenSSL and libsodium.
 *
 * Each is in a file of its own: random.c aes_gcm.c xaes_gcm.c gcm_stream.c hash.c hkdf.c key_wrap.c argon2id.c
 * ed25519.c; block.h has what foreign disk formats need, aes_block.h, prf.h and prime.h what search terms and sums compose. All are thread-safe: contexts are per thread and freed with it.  Outputs of a failed
 * open are wiped. Errors: COFFER_E_NOMEM where OpenSSL could not allocate; COFFER_E_AUTH where a
 * tag does not hold.
 */
#ifndef COFFER_CRYPTO_CRYPTO_H
#define COFFER_CRYPTO_CRYPTO_H

#include "base/bytes.h"
#include "base/secret.h"

#define AES_GCM_TAG_LEN 16
#define XAES_NONCE_LEN 24
#define SHA256_LEN 32

/* Nonces and other public random bytes, from a per-thread buffered generator (at most 4 KiB, one
 * second old; wiped in a forked child; dropped when a clone of the machine is noticed).  Keys take
 * random_secret(). */
COFFER_MUST_CHECK int random_nonce(void *out, size_t len, struct coffer_error *err);
COFFER_MUST_CHECK int random_secret(size_t len, struct secret **out,
                                    struct coffer_error *err); /* straight from the kernel */

/* AES-256-GCM, 12-byte nonce (NIST SP 800-38D).  `out` holds plain.len + 16: ciphertext, then tag.
 */
COFFER_MUST_CHECK int aes256_gcm_seal(const uint8_t key[32], const uint8_t nonce[12],
                                      struct bytes ad, struct bytes plain, uint8_t *out,
                                      struct coffer_error *err);
/* `out` holds sealed.len - 16.  FORMAT if sealed.len < 16. */
COFFER_MUST_CHECK int aes256_gcm_open(const uint8_t key[32], const uint8_t nonce[12],
                                      struct bytes ad, struct bytes sealed, uint8_t *out,
                                      struct coffer_error *err);

/* XAES-256-GCM (C2SP).  A prepared key keeps what depends on the key alone (AES key schedule and
 * K1). */
struct xaes_key;
COFFER_MUST_CHECK int xaes_key_new(const uint8_t key[32], struct xaes_key **out,
                                   struct coffer_error *err);
void xaes_key_free(struct xaes_key *key);
COFFER_MUST_CHECK int xaes_seal(const struct xaes_key *key, const uint8_t nonce[XAES_NONCE_LEN],
                                struct bytes ad, struct bytes plain, uint8_t *out,
                                struct coffer_error *err);
COFFER_MUST_CHECK int xaes_open(const struct xaes_key *key, const uint8_t nonce[XAES_NONCE_LEN],
                                struct bytes ad, struct bytes sealed, uint8_t *out,
                                struct coffer_error *err);

/* Segments of a long stream: AES256_GCM_HKDF as Tink's Streaming AEAD defines it (STREAM of Hoang, Reyhanitabar,
 * Rogaway and Vizár, CRYPTO 2015).
 *
 *   Ks = HKDF-SHA-256(key, salt, ad);  segment i = AES-256-GCM(Ks, prefix ‖ be32(i) ‖ last, plain), no additional data
 *
 * A nonce is unique because `i` is, under a key that a random salt makes this stream's own.  The caller counts
 * segments, cuts them, and opens none that it was not given in order. */
#define GCM_STREAM_SALT_LEN 32
#define GCM_STREAM_PREFIX_LEN 7
struct gcm_stream {
    struct secret *key; /* Ks */
    uint8_t prefix[GCM_STREAM_PREFIX_LEN];
};
COFFER_MUST_CHECK int gcm_stream_init(struct gcm_stream *stream, struct bytes key,
                                      const uint8_t salt[GCM_STREAM_SALT_LEN],
                                      const uint8_t prefix[GCM_STREAM_PREFIX_LEN], struct bytes ad,
                                      struct coffer_error *err);
void gcm_stream_wipe(struct gcm_stream *stream);
/* `segment` counts from 0; LIMIT above 2^32 - 1.  `out` as of aes256_gcm_seal(), and may be where the plaintext stands. */
COFFER_MUST_CHECK int gcm_stream_seal(const struct gcm_stream *stream, uint64_t segment, bool last,
                                      struct bytes plain, uint8_t *out, struct coffer_error *err);
COFFER_MUST_CHECK int gcm_stream_open(const struct gcm_stream *stream, uint64_t segment, bool last,
                                      struct bytes sealed, uint8_t *out, struct coffer_error *err);

/* FIPS 180-4, RFC 2104. */
COFFER_MUST_CHECK int sha256(struct bytes data, uint8_t out[32], struct coffer_error *err);
COFFER_MUST_CHECK int hmac_sha256(struct bytes key, const struct bytes *parts, size_t count,
                                  uint8_t out[32], struct coffer_error *err);

/* SHA-256 of what comes in pieces. */
struct sha256_state;
COFFER_MUST_CHECK int sha256_new(struct sha256_state **out, struct coffer_error *err);
COFFER_MUST_CHECK int sha256_add(struct sha256_state *state, struct bytes data,
                                 struct coffer_error *err);
COFFER_MUST_CHECK int sha256_end(struct sha256_state *state, uint8_t out[32],
                                 struct coffer_error *err); /* once */
void sha256_free(struct sha256_state *state);

/* RFC 5869.  `len` at most 255 hashes. */
COFFER_MUST_CHECK int hkdf_sha256(struct bytes ikm, struct bytes salt, struct bytes info,
                                  uint8_t *out, size_t len, struct coffer_error *err);
COFFER_MUST_CHECK int hkdf_sha512(struct bytes ikm, struct bytes salt, struct bytes info,
                                  uint8_t *out, size_t len, struct coffer_error *err);

/* AES-256 key wrap with padding, RFC 5649.  `out` of wrap holds key_wrap_len(plain.len). */
size_t key_wrap_len(size_t plain_len);
COFFER_MUST_CHECK int key_wrap(const struct secret *kek, struct bytes plain, uint8_t *out,
                               struct coffer_error *err);
COFFER_MUST_CHECK int key_unwrap(const struct secret *kek, struct bytes wrapped,
                                 struct secret **out, struct coffer_error *err); /* AUTH */

/* Argon2id, RFC 9106, version 0x13, one lane (libsodium).  LIMIT above `memory_kib_max` of the
 * caller's choice. */
COFFER_MUST_CHECK int argon2id(struct bytes passphrase, const uint8_t salt[16], uint32_t iterations,
                               uint32_t memory_kib, size_t len, struct secret **out,
                               struct coffer_error *err);

/* Ed25519, RFC 8032 (pure).  A seed is 32 bytes. */
COFFER_MUST_CHECK int ed25519_public(const struct secret *seed, uint8_t out[32],
                                     struct coffer_error *err);
COFFER_MUST_CHECK int ed25519_sign(const struct secret *seed, struct bytes message, uint8_t out[64],
                                   struct coffer_error *err);
COFFER_MUST_CHECK int ed25519_verify(const uint8_t public_key[32], struct bytes message,
                                     const uint8_t signature[64],
                                     struct coffer_error *err); /* AUTH */
/* PEM of a public key (RFC 8410 SubjectPublicKeyInfo), as OpenSSL reads and writes it. */
COFFER_MUST_CHECK int ed25519_pem_write(const uint8_t public_key[32], struct buf *out,
                                        struct coffer_error *err);
COFFER_MUST_CHECK int ed25519_pem_read(struct bytes pem, uint8_t public_key[32],
                                       struct coffer_error *err); /* FORMAT */

#endif
