/* SPDX-License-Identifier: Apache-2.0 */
/* A build without libipsec-mb: OpenSSL does it all. */
#include "crypto/aes_lanes.h"

size_t
lanes_schedule_len(size_t key_len)
{
    (void)key_len;
    return 0;
}

bool
lanes_expand(struct bytes key, uint8_t *schedule)
{
    (void)key;
    (void)schedule;
    return false;
}

bool
lanes_cbc(const uint8_t *schedule, size_t key_len, bool encrypt, const struct block_unit *units,
          size_t count, size_t unit_len)
{
    (void)schedule;
    (void)key_len;
    (void)encrypt;
    (void)units;
    (void)count;
    (void)unit_len;
    return false;
}
