/* SPDX-License-Identifier: Apache-2.0 */
/* Paillier with 3072-bit keys: sums for writers who hold a public key only, and answers of constant size.
 *
 * A ciphertext is 768 bytes, big-endian; in a column it follows the key's version (two bytes).  The
 * product of ciphertexts holds the sum of their plaintexts.  About a hundred times slower than the
 * sums of sum.h: prefer those.  Nothing is authenticated: totals are as good as their writers.
 *
 * A plaintext is a number below n, 384 bytes big-endian: an integer (above n/2 negative), or 31 slots
 * of 64-bit numbers with room to add 2^32 rows.
 * Source: Paillier, EUROCRYPT 1999; Damgård, Jurik, Nielsen, IJIS 2010; docs/FORMAT.md, "Paillier columns".
 *
 * Whatever depends on a secret runs in GMP's functions whose time and addresses do not (mpn_sec_*), in
 * memory of our own that is locked where the system lets us, kept out of dumps and wiped; GMP's
 * allocator is not used.  Thread-safe: keys do not change, a pool may be used by many threads. */
#ifndef COFFER_SUMS_PAILLIER_H
#define COFFER_SUMS_PAILLIER_H

#include "base/secret.h"
#include "sums/int128.h"

#define PAILLIER_PRIME_LEN 192
#define PAILLIER_PRIVATE_LEN 384 /* p ‖ q */
#define PAILLIER_N_LEN 384
#define PAILLIER_C_LEN 768
#define PAILLIER_SLOTS 31
#define PAILLIER_SLOT_BITS 97 /* 64 of a value, 32 of rows, one more */
#define PAILLIER_ROWS_MAX ((uint64_t)1 << 32)

/* ---- keys ---- */

struct paillier_private;
struct paillier_public;

/* A new private key, to be wrapped: p ‖ q.  Some seconds.  NOMEM. */
COFFER_MUST_CHECK int paillier_generate(struct secret **out, struct coffer_error *err);

/* COFFER_E_FORMAT  not such a key: length, form, or distance of the primes; that they are primes is not
 *                  tested again.  NOMEM */
COFFER_MUST_CHECK int paillier_private_new(const struct secret *primes,
                                           struct paillier_private **out, struct coffer_error *err);
void paillier_private_free(struct paillier_private *key); /* wipes; accepts NULL */

/* What writers get: n, and a random h_s.  Any number of them may be made of one key.  NOMEM. */
COFFER_MUST_CHECK int paillier_publish(const struct paillier_private *key,
                                       uint8_t n[PAILLIER_N_LEN], uint8_t hs[PAILLIER_C_LEN],
                                       struct coffer_error *err);
/* From n and h_s; `hs` empty for who only adds.  A writer must have them from the keyring, not from
 * the database.  FORMAT, NOMEM. */
COFFER_MUST_CHECK int paillier_public_new(struct bytes n, struct bytes hs,
                                          struct paillier_public **out, struct coffer_error *err);
const struct paillier_public *
paillier_public_of(const struct paillier_private *key); /* without h_s */
void paillier_public_free(struct paillier_public *key); /* accepts NULL */
void paillier_n(const struct paillier_public *key, uint8_t n[PAILLIER_N_LEN]);
void paillier_n_squared(const struct paillier_public *key, uint8_t out[PAILLIER_C_LEN]);

/* ---- plaintexts ---- */

void paillier_plain(const struct paillier_public *key, int128 value, uint8_t plain[PAILLIER_N_LEN]);
/* LIMIT: it does not fit. */
COFFER_MUST_CHECK int paillier_value(const struct paillier_public *key,
                                     const uint8_t plain[PAILLIER_N_LEN], int128 *value,
                                     struct coffer_error *err);
/* At most PAILLIER_SLOTS values of one row; slots without a value hold 0. */
void paillier_pack(const int64_t *values, size_t count, uint8_t plain[PAILLIER_N_LEN]);
/* Totals of the first `count` slots over `rows` rows.
 * COFFER_E_LIMIT  more than PAILLIER_ROWS_MAX rows
 * COFFER_E_AUTH   not a sum of so many packed rows: rows are missing, or a writer lied */
COFFER_MUST_CHECK int paillier_unpack(const uint8_t plain[PAILLIER_N_LEN], uint64_t rows,
                                      size_t count, int128 *totals, struct coffer_error *err);

/* ---- encrypt ---- */

/* Random factors, made ahead: encrypting is then a multiplication.  A factor is given once, and
 * none to both sides of a fork.  No thread is started: let one of the host's fill it. */
struct paillier_pool;

/* With `owner` (or NULL: by h_s of `key`, else MISUSE) which, like `key`, must outlive the pool.  `size` (at most 65536) may
 * be 0.  NOMEM, UNSUPPORTED (no MADV_WIPEONFORK). */
COFFER_MUST_CHECK int paillier_pool_new(const struct paillier_public *key,
                                        const struct paillier_private *owner, size_t size,
                                        struct paillier_pool **out, struct coffer_error *err);
void paillier_pool_free(struct paillier_pool *pool); /* wipes; accepts NULL */
/* Make one factor, if there is room: `*full` says that there was none.  NOMEM, IO. */
COFFER_MUST_CHECK int paillier_pool_fill(struct paillier_pool *pool, bool *full,
                                         struct coffer_error *err);
size_t paillier_pool_ready(const struct paillier_pool *pool);

/* FORMAT: `plain` is not below n.  NOMEM, IO. */
COFFER_MUST_CHECK int paillier_encrypt(struct paillier_pool *pool,
                                       const uint8_t plain[PAILLIER_N_LEN],
                                       uint8_t c[PAILLIER_C_LEN], struct coffer_error *err);

/* The steps of it with given randomness, for known answers; a factor that is used twice shows the
 * difference of two values.  FORMAT: out of range.  NOMEM. */
COFFER_MUST_CHECK int paillier_factor_textbook(const struct paillier_public *key,
                                               const uint8_t r[PAILLIER_N_LEN],
                                               uint8_t factor[PAILLIER_C_LEN],
                                               struct coffer_error *err);
COFFER_MUST_CHECK int paillier_factor_owner(const struct paillier_private *key,
                                            const uint8_t a[PAILLIER_PRIME_LEN],
                                            const uint8_t b[PAILLIER_PRIME_LEN],
                                            uint8_t factor[PAILLIER_C_LEN],
                                            struct coffer_error *err);
COFFER_MUST_CHECK int paillier_factor_public(const struct paillier_public *key,
                                             const uint8_t r[PAILLIER_PRIME_LEN],
                                             uint8_t factor[PAILLIER_C_LEN],
                                             struct coffer_error *err);
COFFER_MUST_CHECK int paillier_encrypt_with(const struct paillier_public *key,
                                            const uint8_t plain[PAILLIER_N_LEN],
                                            const uint8_t factor[PAILLIER_C_LEN],
                                            uint8_t c[PAILLIER_C_LEN], struct coffer_error *err);
/* h_s of x: (-x² mod n)^n mod n².  FORMAT, NOMEM. */
COFFER_MUST_CHECK int paillier_hs_of(const struct paillier_public *key,
                                     const uint8_t x[PAILLIER_N_LEN], uint8_t hs[PAILLIER_C_LEN],
                                     struct coffer_error *err);

/* ---- add ---- */

/* Adds ciphertexts; needs no key.  Bytes: for the aggregate of a database, too. */
struct paillier_sum;

/* COFFER_E_FORMAT  `n_squared` is not of 768 bytes, odd, its highest bits set.  NOMEM */
COFFER_MUST_CHECK int paillier_sum_new(struct bytes n_squared, struct paillier_sum **out,
                                       struct coffer_error *err);
void paillier_sum_free(struct paillier_sum *sum); /* accepts NULL */
/* FORMAT: `c` is not of 768 bytes, 0, or not below n². */
COFFER_MUST_CHECK int paillier_sum_add(struct paillier_sum *sum, struct bytes c,
                                       struct coffer_error *err);
void paillier_sum_result(const struct paillier_sum *sum,
                         uint8_t c[PAILLIER_C_LEN]); /* of nothing: 1, which holds 0 */

/* The ciphertext of k times the plaintext.  FORMAT, NOMEM. */
COFFER_MUST_CHECK int paillier_multiply(const struct paillier_public *key,
                                        const uint8_t c[PAILLIER_C_LEN], int64_t k,
                                        uint8_t out[PAILLIER_C_LEN], struct coffer_error *err);

/* ---- decrypt ---- */

/* FORMAT: 0, not below n², or not prime to n.  NOMEM. */
COFFER_MUST_CHECK int paillier_decrypt(const struct paillier_private *key,
                                       const uint8_t c[PAILLIER_C_LEN],
                                       uint8_t plain[PAILLIER_N_LEN], struct coffer_error *err);

#endif
