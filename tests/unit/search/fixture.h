/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of search terms share: a key, an index, and repeatable chance. */
#ifndef COFFER_TESTS_SEARCH_FIXTURE_H
#define COFFER_TESTS_SEARCH_FIXTURE_H

#include "support/test.h"

#include "base/secret.h"

#include <string.h>

static const uint8_t INDEX_ID[16] = {7};

static inline struct secret *
sample_key(void)
{
    uint8_t bytes[32];
    struct secret *key;

    memset(bytes, 0x5a, sizeof bytes);
    assert_int_equal(secret_copy(bytes_of(bytes, 32), &key, NULL), COFFER_OK);
    return key;
}

/* splitmix64: repeatable, good enough to test with. */
static inline uint64_t
chance(void)
{
    static uint64_t state = 42;
    uint64_t z = state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

#endif
