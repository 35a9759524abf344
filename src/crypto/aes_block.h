/* SPDX-License-Identifier: Apache-2.0 */
/* AES on single blocks, for pseudo-random functions and order-revealing terms.
 *
 * With AES instructions (x86-64) a fresh key costs about as much as a block, where EVP takes twenty
 * times that; elsewhere OpenSSL does it.  This header and aes_block.c use nothing else of ours, so
 * that the database extension can be built from them.  No shared state; nothing here allocates.
 */
#ifndef COFFER_CRYPTO_AES_BLOCK_H
#define COFFER_CRYPTO_AES_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A key schedule (FIPS 197).  Secret where the key is: keep it in secret memory or wipe it. */
struct aes_schedule {
    uint8_t round[15][16]; /* of the processor's instructions; else round[0..1] is the key itself */
    uint32_t rounds;       /* 10 for AES-128, 14 for AES-256 */
};
void aes128_schedule(struct aes_schedule *schedule, const uint8_t key[16]);
void aes256_schedule(struct aes_schedule *schedule, const uint8_t key[32]);

/* ECB of `count` blocks; `in` may be `out`.  Without AES instructions in the processor the table
 * look-ups of OpenSSL's C code may show the key to who shares the processor's cache. */
void aes_blocks(const struct aes_schedule *schedule, const uint8_t *in, uint8_t *out, size_t count);

/* AES-128 of one block under a key that is used this once. */
void aes128_once(const uint8_t key[16], const uint8_t in[16], uint8_t out[16]);

bool aes_block_hardware(void);         /* the processor's instructions are in use */
void aes_block_hardware_off(bool off); /* for tests and figures: all threads, new schedules only */

#endif
