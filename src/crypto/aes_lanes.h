/* SPDX-License-Identifier: Apache-2.0 */
/* AES-CBC in parallel lanes (libipsec-mb).  CBC encryption cannot run in parallel within a unit, but
 * sixteen units at a time fill the cipher's pipelines: up to twelve times the speed.  Without the
 * library, or on a machine without AES instructions, lanes_cbc() says no and OpenSSL does it. */
#ifndef COFFER_CRYPTO_AES_LANES_H
#define COFFER_CRYPTO_AES_LANES_H

#include "crypto/block.h"

/* Bytes of the round keys of both directions; they begin with the key itself, as FIPS 197 has it. 0:
 * no lanes here. */
size_t lanes_schedule_len(size_t key_len);
/* `schedule` is aligned to 16.  False: this thread has no lanes. */
bool lanes_expand(struct bytes key, uint8_t *schedule);
/* False: nothing was done. */
bool lanes_cbc(const uint8_t *schedule, size_t key_len, bool encrypt,
               const struct block_unit *units, size_t count, size_t unit_len);

#endif
