/* SPDX-License-Identifier: Apache-2.0 */
/* Lower files that somebody changed: bits flipped one by one, cut off at every length, packets that lie.  The
 * format authenticates nothing, so what must hold is this: no crash, a clear error where the structure is
 * broken, the same content where only decoration changed, and never a byte of another file's. */
#include "support/test.h"

#include "support/memory_lower.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define F (&volume_ecryptfs)
#define EXTENT 4096u
#define HEADER 8192u
#define SIZE (2 * EXTENT + 100)

static struct volume_key key;
static struct volume *volumes[3];
static uint8_t content[SIZE + EXTENT]; /* zeros behind it */

static void
ignore(void *arg, enum volume_damage damage, const char *message)
{
    assert_true(message[0] != '\0');
}

enum outcome { SAME, OTHER_SIZE, OTHER, REFUSED };

/* Everything that can be done with a lower file; what came of it. */
static enum outcome
exercise(struct volume *volume, struct memory_lower *m)
{
    struct volume_file_info info;
    struct volume_file *file = NULL;
    struct coffer_error err = {0};
    static uint8_t out[SIZE + EXTENT];
    enum volume_damage damage;
    enum outcome outcome;
    bool changed;
    ssize_t n;
    int rc;

    (void)F->file_info(volume, &m->lower, &info, NULL);
    damage = F->file_check(volume, &m->lower, true, ignore, NULL);
    rc = F->file_open(volume, &m->lower, &file, &err);
    if (rc != 0) {
        assert_true(rc == -EBADMSG || rc == -EKEYREJECTED || rc == -EOPNOTSUPP);
        assert_null(file);
        assert_true(err.message[0] != '\0');
        assert_true(damage != VOLUME_OK);
        if (rc != -EKEYREJECTED && rc != -EOPNOTSUPP)
            (void)F->file_rewrap(volume, &m->lower, &changed, NULL);
        return REFUSED;
    }
    n = F->file_read(file, out, sizeof out, 0, NULL);
    if (n < 0) {
        assert_int_equal(n, -EBADMSG);
        assert_true(damage != VOLUME_OK);
        outcome = REFUSED;
    } else {
        assert_int_equal(n, F->file_size(file));
        outcome = memcmp(out, content, (size_t)n) != 0 ? OTHER : n == SIZE ? SAME : OTHER_SIZE;
    }
    F->file_close(file);
    m->closed = false;
    return outcome;
}

static struct memory_lower *
sealed(struct volume *volume)
{
    struct memory_lower *m = memory_lower_new();
    struct volume_file *file = NULL;

    assert_int_equal(F->file_create(volume, &m->lower, &file, NULL), 0);
    assert_int_equal(F->file_write(file, content, SIZE, 0, 0, NULL), 0);
    F->file_close(file);
    m->closed = false;
    return m;
}

static bool
within(size_t at, size_t from, size_t len)
{
    return at >= from && at < from + len;
}

/* What may come of a change of bit `bit` of byte `at`, with `e` bytes of wrapped key. */
static void
judge(size_t at, unsigned bit, size_t e, enum outcome outcome)
{
    size_t tag_11 = 41 + e, end = tag_11 + 24;

    if (at < 8)
        assert_true(outcome == OTHER_SIZE || outcome == REFUSED); /* a size is not authenticated */
    else if (at == 16 && bit < 2)
        assert_int_equal(outcome, SAME); /* versions 1 and 2 are as 3 */
    else if (at == 19 && bit != 2 && bit < 4)
        assert_int_equal(outcome, SAME); /* flags that decide nothing */
    else if (within(at, 32, 9) || within(at, tag_11 + 4, 12))
        assert_int_equal(outcome, SAME); /* salt and iterations; "_CONSOLE" and the date */
    else if (at == 29 || within(at, 41, e))
        assert_true(outcome == OTHER || outcome == REFUSED); /* another cipher or FEK */
    else if (at == end)
        assert_int_equal(outcome,
                         bit == 0 ? REFUSED : SAME); /* 01 begins a packet, others end the set */
    else if (at > end)
        assert_int_equal(outcome, SAME);
    else
        assert_int_equal(outcome, REFUSED);
}

static void
each_bit_of_the_header_flipped(void **state)
{
    static const size_t WRAPPED[] = {16, 32, 32};

    for (size_t v = 0; v < 3; v++) {
        struct memory_lower *m = sealed(volumes[v]);

        for (size_t at = 0; at < 160; at++)
            for (unsigned bit = 0; bit < 8; bit++) {
                enum outcome outcome;
                uint8_t whole[160];

                memcpy(whole, m->bytes, sizeof whole);
                m->bytes[at] ^= (uint8_t)(1 << bit);
                outcome = exercise(volumes[v], m);
                judge(at, bit, WRAPPED[v], outcome);
                memcpy(m->bytes, whole, sizeof whole); /* a rewrap may have come in between */
            }
        assert_int_equal(exercise(volumes[v], m), SAME);
        memory_lower_free(m);
    }
}

static void
each_bit_of_an_attribute_flipped(void **state)
{
    struct volume_options options = {.key_bits = 256, .xattr_metadata = true};
    struct volume *volume = NULL;
    struct memory_lower *m;

    assert_int_equal(F->open(&options, &key, 1, NULL, 0, &volume, NULL), 0);
    m = sealed(volume);
    assert_int_equal(m->xattr_len, 97);
    for (size_t at = 0; at < 97; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            uint8_t whole[97];
            enum outcome outcome;

            memcpy(whole, m->xattr, sizeof whole);
            m->xattr[at] ^= (uint8_t)(1 << bit);
            outcome = exercise(volume, m);
            if (within(at, 20, 6))
                assert_int_equal(outcome, SAME); /* the size of a header that is not there */
            else
                judge(at, bit, 32, outcome);
            memcpy(m->xattr, whole, sizeof whole);
            m->xattr_len = 97;
        }
    for (ssize_t len = 0; len < 97; len++) {
        m->xattr_len = len;
        assert_int_equal(exercise(volume, m), REFUSED);
    }
    m->xattr_len = 4097; /* more than any kernel reads */
    assert_int_equal(exercise(volume, m), REFUSED);
    memory_lower_free(m);
    F->close(volume);
}

static void
cut_off_at_every_length(void **state)
{
    struct memory_lower *m = sealed(volumes[2]);
    uint64_t whole = m->length;

    for (uint64_t length = 0; length < whole;
         length += length < 200 || length > whole - 50 ? 1 : 97) {
        struct volume_file *file = NULL;

        m->length = length;
        if (length == 0) { /* what a crash leaves: an empty file */
            assert_int_equal(F->file_open(volumes[2], &m->lower, &file, NULL), 0);
            assert_int_equal(F->file_size(file), 0);
            F->file_close(file);
            m->closed = false;
        } else {
            assert_int_equal(exercise(volumes[2], m), REFUSED);
        }
    }
    memory_lower_free(m);
}

/* A header with this packet set, given as hex. */
static enum outcome
with_packets(const char *hex)
{
    struct memory_lower *m = sealed(volumes[2]);
    enum outcome outcome;
    size_t len;

    memset(m->bytes + 26, 0, 4096 - 26);
    assert_true(hex_decode(bytes_str(hex), m->bytes + 26, 4096 - 26, &len));
    outcome = exercise(volumes[2], m);
    memory_lower_free(m);
    return outcome;
}

static void
packets_that_lie(void **state)
{
    static const char *const LIES[] = {
        "",                                                 /* none */
        "ff",                                               /* an end at once */
        "ed1662085f434f4e534f4c45000000003ab38bb4917daae6", /* a signature alone */
        "8c",
        "8c00",
        "8cff", /* a length that is refused */
        "8ce0",
        "8cdfff", /* the longest */
        "8cc000",
        "8c0d0409030100112233445566776000", /* no key in it */
        "8c2d0509030100112233445566776000", /* version 5 */
        "8c2d0409020100112233445566776000", /* another S2K */
        "8c2d0409030200112233445566776000", /* another hash */
        "0100",
        "010b0300000000000000000100", /* a public key alone */
        "010bff00000000000000000100",
        "01dfff03",
    };

    for (size_t i = 0; i < sizeof LIES / sizeof LIES[0]; i++)
        assert_int_equal(with_packets(LIES[i]), REFUSED);
}

/* Keys that fill the whole header: the last must end before it does. */
static void
a_header_full_of_keys(void **state)
{
    struct memory_lower *m = sealed(volumes[0]);
    struct volume_file_info info;
    uint8_t pair[55];
    size_t at;

    memcpy(pair, m->bytes + 26, sizeof pair);
    for (at = 26; at + sizeof pair < 4096; at += sizeof pair)
        memcpy(m->bytes + at, pair, sizeof pair);
    assert_int_equal(exercise(volumes[0], m), SAME);
    assert_int_equal(F->file_info(volumes[0], &m->lower, &info, NULL), 0);
    assert_int_equal(info.key_count, 73);
    memcpy(m->bytes + at, pair, 4096 - at); /* one more, and nothing ends the set */
    assert_int_equal(exercise(volumes[0], m), REFUSED);
    /* nor behind a public-key packet up to the end */
    memset(m->bytes + at, 0, 4096 - at);
    put_be64(m->bytes, SIZE);
    m->bytes[at] = 0x01;
    m->bytes[at + 1] = (uint8_t)(4096 - at - 2);
    m->bytes[at + 2] = 3;
    assert_int_equal(exercise(volumes[0], m), REFUSED);
    memory_lower_free(m);
}

/* Random bytes over a header, with the marker left: no crash, whatever comes. */
static void
random_headers(void **state)
{
    struct memory_lower *m = sealed(volumes[1]);
    uint8_t whole[512];
    uint64_t x = 88172645463325252u;

    memcpy(whole, m->bytes, sizeof whole);
    for (unsigned run = 0; run < 3000; run++) {
        memcpy(m->bytes, whole, sizeof whole);
        for (unsigned n = 0; n < 1 + run % 7; n++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            m->bytes[16 + x % 120] = (uint8_t)(x >> 40);
        }
        (void)exercise(volumes[1], m);
    }
    memory_lower_free(m);
}

static int
set_up(void **state)
{
    assert_int_equal(F->key_set(bytes_str("Test"), bytes_str(""), &key, NULL), 0);
    for (unsigned i = 0; i < 3; i++) {
        struct volume_options options = {.key_bits = 128 + 64 * i};

        assert_int_equal(F->open(&options, &key, 1, NULL, 0, &volumes[i], NULL), 0);
    }
    for (size_t i = 0; i < SIZE; i++)
        content[i] = (uint8_t)(i * 13 + i / 250);
    return 0;
}

static int
tear_down(void **state)
{
    for (size_t i = 0; i < 3; i++)
        F->close(volumes[i]);
    secret_free(key.secret);
    return secret_live_count() == 0 ? 0 : -1;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_bit_of_the_header_flipped),
        cmocka_unit_test(each_bit_of_an_attribute_flipped),
        cmocka_unit_test(cut_off_at_every_length),
        cmocka_unit_test(packets_that_lie),
        cmocka_unit_test(a_header_full_of_keys),
        cmocka_unit_test(random_headers),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
