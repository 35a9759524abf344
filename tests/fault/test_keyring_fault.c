/* SPDX-License-Identifier: Apache-2.0 */
/* Fail the 1st, 2nd, 3rd ... allocation of each operation until none is left to fail. */
#include "keyring/internal.h"
#include "support/fault.h"
#include "support/keyring_sample.h"
#include "support/test.h"

#include <string.h>

static struct keyring *kr, *other;
static struct kek *kek;
static struct buf file, out;

static int
try_new(void)
{
    struct keyring *made;
    int rc = keyring_new(kek, "test", 1, &made, NULL);

    assert_int_equal(made != NULL, rc == COFFER_OK);
    keyring_free(made);
    return rc;
}

static int
try_decode(void)
{
    struct keyring *made;
    int rc = keyring_decode(buf_view(&file), kek, &made, NULL);

    assert_int_equal(made != NULL, rc == COFFER_OK);
    keyring_free(made);
    return rc;
}

static int
try_decode_again(void)
{
    struct keyring *made;
    int rc = keyring_decode_again(buf_view(&file), kr, &made, NULL);

    assert_int_equal(made != NULL, rc == COFFER_OK);
    keyring_free(made);
    return rc;
}

static int
try_encode(void)
{
    uint64_t epoch = keyring_epoch(kr);
    int rc;

    buf_wipe(&out);
    buf_init(&out, KEYRING_FILE_MAX);
    rc = keyring_encode(kr, &out, NULL);
    assert_int_equal(keyring_epoch(kr), rc == COFFER_OK ? epoch + 1 : epoch);
    return rc;
}

static int
try_clone(void)
{
    struct keyring *made;
    int rc = keyring_clone(kr, &made, NULL);

    assert_int_equal(made != NULL, rc == COFFER_OK);
    keyring_free(made);
    return rc;
}

static int
try_extract(void)
{
    struct keyring *made;
    int rc = keyring_extract(kr, SAMPLE_ACTIVE_ID, NULL, &made, NULL);

    assert_int_equal(made != NULL, rc == COFFER_OK);
    keyring_free(made);
    return rc;
}

static int
try_import(void)
{
    size_t before = keyring_key_count(kr), count;
    int rc = keyring_import(kr, other, &count, NULL);

    assert_int_equal(keyring_key_count(kr), before + count); /* all or nothing */
    assert_int_equal(count, rc == COFFER_OK ? 3 : 0);
    return rc;
}

static int
try_add(void)
{
    size_t before = keyring_key_count(kr);
    uint32_t id;
    int rc = keyring_key_add(kr, KEY_INDEX, "main", "test", 1, &id, NULL);

    assert_int_equal(keyring_key_count(kr), before + (rc == COFFER_OK));
    return rc;
}

static int
try_rewrap(void)
{
    return keyring_rewrap(kr, kek, NULL);
}

static int
try_used_in(void)
{
    struct uuid id = {{3}};

    return keyring_key_used_in(kr, SAMPLE_ACTIVE_ID, &id, NULL);
}

static void
every_allocation_failure_is_clean(void **state)
{
    static const struct {
        int (*run)(void);
        unsigned at_least;
    } cases[] = {{try_new, 5},     {try_decode, 15}, {try_decode_again, 15}, {try_encode, 2},
                 {try_clone, 12},  {try_extract, 5}, {try_add, 1},           {try_rewrap, 1},
                 {try_used_in, 1}, {try_import, 15}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t secrets = secret_live_count();
        unsigned nth = 0;
        int rc;

        for (;;) {
            fault_alloc_at(++nth);
            rc = cases[i].run();
            if (!fault_fired())
                break;
            assert_int_equal(rc, COFFER_E_NOMEM);
            assert_int_equal(secret_live_count(), secrets);
        }
        assert_int_equal(rc, COFFER_OK);
        assert_true(nth > cases[i].at_least); /* the seam was really exercised */
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_failure_is_clean)};
    int failed;

    kr = keyring_sample(false);
    kek = keyring_sample_kek(false);
    buf_init(&file, KEYRING_FILE_MAX);
    buf_init(&out, KEYRING_FILE_MAX);
    assert_int_equal(keyring_encode(kr, &file, NULL), COFFER_OK);
    assert_int_equal(keyring_new(kek, "test", 1, &other, NULL), COFFER_OK);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    keyring_free(kr);
    keyring_free(other);
    kek_close(kek);
    buf_wipe(&file);
    buf_wipe(&out);
    return failed;
}
