/* SPDX-License-Identifier: Apache-2.0 */
#include "support/fault.h"
#include "support/test.h"

#include "base/secret.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Is `flag`, two letters as in proc(5), set on the mapping that holds `address`? */
static bool
mapping_has(const void *address, const char *flag)
{
    FILE *maps = fopen("/proc/self/smaps", "re");
    char line[1024], padded[8];
    bool inside = false, found = false;

    (void)snprintf(padded, sizeof padded, " %s", flag);
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        unsigned long low, high;

        if (sscanf(line, "%lx-%lx ", &low, &high) == 2)
            inside = (uintptr_t)address >= low && (uintptr_t)address < high;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, padded) != NULL;
    }
    if (maps != NULL)
        (void)fclose(maps);
    return found;
}

static bool
mapping_is_locked(const void *address)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true; /* these sanitizers turn mlock() into nothing */
#else
    return !secret_locked() || mapping_has(address, "lo");
#endif
}

static void
a_secret_is_out_of_dumps_and_locked(void **state)
{
    struct secret *secret;

    assert_int_equal(secret_new(32, &secret, NULL), COFFER_OK);
    assert_true(mapping_has(secret_expose(secret).ptr, "dd"));
    assert_true(mapping_is_locked(secret_expose(secret).ptr));
    secret_free(secret);
}

/* The child needs the keys; it must keep them as safely as the parent does. */
static void
a_forked_child_has_the_secret_as_safe_as_the_parent(void **state)
{
    struct secret *secret, *other;
    int status;
    pid_t child;

    assert_int_equal(secret_copy(bytes_str("between us"), &secret, NULL), COFFER_OK);
    child = fork();
    if (child == 0) {
        struct bytes seen = secret_expose(secret);
        bool good = bytes_equal(seen, bytes_str("between us")) && mapping_has(seen.ptr, "dd") &&
                    mapping_is_locked(seen.ptr) && secret_new(10, &other, NULL) == COFFER_OK;

        _exit(good ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    secret_free(secret);
}

static void
a_freed_secret_is_wiped(void **state)
{
    struct secret *secret, *keep;
    const volatile uint8_t *where;

    assert_int_equal(secret_new(10, &keep, NULL), COFFER_OK); /* the page stays mapped */
    assert_int_equal(secret_new(300, &secret, NULL), COFFER_OK);
    where = secret_expose(secret).ptr;
    memset(secret_expose_mut(secret), 0xaa, 300);
    secret_free(secret);
    for (int i = 0; i < 300; i++)
        assert_int_equal(where[i], 0);
    secret_free(keep);
}

static void
a_secret_starts_zeroed_whoever_had_the_place_before(void **state)
{
    struct secret *secret;

    for (size_t len = 1; len <= 4000; len += 333) {
        assert_int_equal(secret_new(len, &secret, NULL), COFFER_OK);
        assert_int_equal(secret_len(secret), len);
        for (size_t i = 0; i < len; i++)
            assert_int_equal(secret_expose(secret).ptr[i], 0);
        memset(secret_expose_mut(secret), 0xff, len);
        secret_free(secret);
    }
}

static void
impossible_lengths_are_refused(void **state)
{
    struct secret *secret = (void *)state;

    assert_int_equal(secret_new(0, &secret, NULL), COFFER_E_LIMIT);
    assert_null(secret);
    assert_int_equal(secret_new(4001, &secret, NULL), COFFER_E_LIMIT);
    assert_int_equal(secret_new(SIZE_MAX, &secret, NULL), COFFER_E_LIMIT);
    assert_int_equal(secret_live_count(), 0);
    secret_free(NULL);
}

/* Secrets that share pages do not share bytes. */
static void
many_secrets_do_not_overlap(void **state)
{
    enum { MANY = 300 };
    struct secret *all[MANY];

    for (int i = 0; i < MANY; i++) {
        assert_int_equal(secret_new(1 + (size_t)i * 7 % 500, &all[i], NULL), COFFER_OK);
        memset(secret_expose_mut(all[i]), i & 255, secret_len(all[i]));
    }
    assert_int_equal(secret_live_count(), MANY);
    for (int i = 0; i < MANY; i++)
        for (size_t at = 0; at < secret_len(all[i]); at++)
            assert_int_equal(secret_expose(all[i]).ptr[at], i & 255);
    for (int i = 0; i < MANY; i++)
        secret_free(all[i]);
    assert_int_equal(secret_live_count(), 0);
}

static void *
churn(void *arg)
{
    uint8_t mark = *(const uint8_t *)arg;

    for (int i = 0; i < 2000; i++) {
        struct secret *secret;

        if (secret_new(32 + (size_t)i % 200, &secret, NULL) != COFFER_OK)
            return arg;
        memset(secret_expose_mut(secret), mark, secret_len(secret));
        for (size_t at = 0; at < secret_len(secret); at++)
            if (secret_expose(secret).ptr[at] != mark)
                return arg;
        secret_free(secret);
    }
    return NULL;
}

static void
threads_do_not_disturb_each_other(void **state)
{
    pthread_t threads[4];
    uint8_t marks[4] = {1, 2, 3, 4};

    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, &marks[i]), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;

        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    assert_int_equal(secret_live_count(), 0);
}

/* Many of all lengths, freed and made in turns: none ever lies over another. */
static void
room_that_was_freed_is_used_whole(void **state)
{
    static struct secret *secrets[2000];
    size_t n = sizeof secrets / sizeof secrets[0];

    for (size_t turn = 0; turn < 4; turn++) {
        for (size_t i = turn % 2; i < n; i += 1 + turn % 2) {
            size_t len = 1 + (i * 37 + turn * 101) % (i % 50 == 0 ? 4000 : 600);

            secret_free(secrets[i]);
            assert_int_equal(secret_new(len, &secrets[i], NULL), COFFER_OK);
            for (size_t at = 0; at < len; at++)
                assert_int_equal(secret_expose(secrets[i]).ptr[at], 0);
            memset(secret_expose_mut(secrets[i]), (int)(i % 251), len);
        }
        for (size_t i = 0; i < n; i++) {
            struct bytes bytes = secret_expose(secrets[i]);

            for (size_t at = 0; at < bytes.len; at++)
                assert_int_equal(bytes.ptr[at], i % 251);
        }
    }
    for (size_t i = 0; i < n; i++)
        secret_free(secrets[i]);
    assert_int_equal(secret_live_count(), 0);
}

static void
comparison_sees_each_bit_and_the_length(void **state)
{
    uint8_t a[32] = {0}, b[32] = {0};

    assert_true(secret_equal(bytes_of(a, 32), bytes_of(b, 32)));
    assert_false(secret_equal(bytes_of(a, 32), bytes_of(b, 31)));
    for (int bit = 0; bit < 256; bit++) {
        b[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(secret_equal(bytes_of(a, 32), bytes_of(b, 32)));
        b[bit / 8] = 0;
    }
}

static void
every_allocation_failure_is_clean(void **state)
{
    struct secret *secret;
    unsigned nth = 0;
    int rc;

    for (;;) {
        fault_alloc_at(++nth);
        rc = secret_copy(bytes_str("abc"), &secret, NULL);
        if (!fault_fired())
            break;
        assert_int_equal(rc, COFFER_E_NOMEM);
        assert_null(secret);
        assert_int_equal(secret_live_count(), 0);
    }
    assert_int_equal(rc, COFFER_OK);
    assert_true(nth > 1);
    secret_free(secret);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_secret_is_out_of_dumps_and_locked),
        cmocka_unit_test(a_forked_child_has_the_secret_as_safe_as_the_parent),
        cmocka_unit_test(a_freed_secret_is_wiped),
        cmocka_unit_test(a_secret_starts_zeroed_whoever_had_the_place_before),
        cmocka_unit_test(impossible_lengths_are_refused),
        cmocka_unit_test(many_secrets_do_not_overlap),
        cmocka_unit_test(threads_do_not_disturb_each_other),
        cmocka_unit_test(room_that_was_freed_is_used_whole),
        cmocka_unit_test(comparison_sees_each_bit_and_the_length),
        cmocka_unit_test(every_allocation_failure_is_clean),
    };

    return cmocka_run_group_tests_name("base: secrets", tests, NULL, NULL);
}
