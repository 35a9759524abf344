/* SPDX-License-Identifier: Apache-2.0 */
/* The IVs of extents (fs/ecryptfs/crypto.c, ecryptfs_derive_iv).  They depend on the file's key and
 * the position alone: an extent written anew reuses its IV.  That is the format. */
#include "volume/ecryptfs/internal.h"

#include <string.h>

int
extent_root_iv(struct bytes fek, uint8_t root[16], struct coffer_error *err)
{
    return errno_of(md5(fek, root, err));
}

int
extent_iv(const uint8_t root[16], uint64_t n, uint8_t iv[16], struct coffer_error *err)
{
    uint8_t source[32] = {0};
    char digits[20];
    size_t len = 0;

    memcpy(source, root, 16);
    do
        digits[len++] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    for (size_t i = 0; i < len && i < 15; i++)
        source[16 + i] = (uint8_t)digits[len - 1 - i];
    return errno_of(md5(bytes_of(source, sizeof source), iv, err));
}

bool
extent_is_zero(const uint8_t *extent)
{
    return extent[0] == 0 && memcmp(extent, extent + 1, EXTENT_LEN - 1) == 0;
}
