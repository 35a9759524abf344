/* SPDX-License-Identifier: Apache-2.0 */
/* Order terms for stock servers: any bytes decrypt, to what encrypts to them again, or are refused.
 */
#include "search/ope.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint8_t zero[32];
    static struct ope_key *key;
    uint8_t value[OPE_WIDTH_MAX], again[OPE_LEN_MAX];

    if (key == NULL) {
        struct secret *secret;

        if (secret_copy(bytes_of(zero, 32), &secret, NULL) != COFFER_OK ||
            ope_key_new(secret, zero, 1, &key, NULL) != COFFER_OK)
            abort();
        secret_free(secret);
    }
    if (ope_decrypt(key, bytes_of(data, len), value, NULL) == COFFER_OK &&
        (ope_encrypt(key, bytes_of(value, (len - 2) / 16), again, NULL) != COFFER_OK ||
         memcmp(again, data, len) != 0))
        abort();
    return 0;
}
