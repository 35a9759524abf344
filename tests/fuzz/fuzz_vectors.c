/* SPDX-License-Identifier: Apache-2.0 */
/* Vectors files: any bytes give counts, or one clean error, and leave no secret behind. */
#include "base/secret.h"
#include "cli/vectors.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct coffer_error err = {0};
    unsigned passed = 0, failed = 0;
    int rc = vectors_run(bytes_of(data, len), &passed, &failed, NULL, NULL, &err);

    if (rc != COFFER_OK && (err.status != rc || err.message[0] == '\0'))
        abort();
    if (secret_live_count() != 0)
        abort();
    return 0;
}
