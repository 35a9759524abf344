/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/prime.h"

#include "base/mem.h"
#include "crypto/crypto.h"

#include <assert.h>
#include <openssl/bn.h>

/* 1 prime, 0 not, -1 out of memory.  BN_clear_free() and the secure context wipe what they held. */
static int
test(const struct secret *number)
{
    struct bytes bytes = secret_expose(number);
    BN_CTX *context = mem_fault() ? NULL : BN_CTX_secure_new();
    BIGNUM *n = context != NULL ? BN_secure_new() : NULL;
    int answer = -1;

    if (n != NULL) {
        BN_set_flags(n, BN_FLG_CONSTTIME);
        if (BN_bin2bn(bytes.ptr, (int)bytes.len, n) != NULL)
            answer = BN_check_prime(n, context, NULL);
    }
    BN_clear_free(n);
    BN_CTX_free(context);
    return answer;
}

int
prime_test(const struct secret *number, bool *yes, struct coffer_error *err)
{
    int answer = test(number);

    *yes = answer == 1;
    return answer < 0 ? error_nomem(err) : COFFER_OK;
}

int
prime_new(unsigned bits, struct secret **out, struct coffer_error *err)
{
    struct secret *candidate = NULL;
    bool found = false;
    int rc = COFFER_OK;

    assert(bits % 8 == 0 && bits >= 256 && bits <= 4096);
    *out = NULL;
    while (rc == COFFER_OK && !found) {
        secret_free(candidate);
        candidate = NULL;
        rc = random_secret(bits / 8, &candidate, err);
        if (rc != COFFER_OK)
            break;
        secret_expose_mut(candidate)[0] |= 0xc0;
        secret_expose_mut(candidate)[bits / 8 - 1] |= 3;
        rc = prime_test(candidate, &found, err);
    }
    if (rc != COFFER_OK)
        secret_free(candidate);
    else
        *out = candidate;
    return rc;
}
