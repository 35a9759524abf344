/* SPDX-License-Identifier: Apache-2.0 */
/* Names that stand in several forms at once: two name keys, two ciphers, plain among encrypted. */
#include "support/test.h"

#include "volume/ecryptfs/ecryptfs.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define F (&volume_ecryptfs)
#define NAME_ROOM (VOLUME_NAME_MAX + 1)

/* Where a name comes from, one form each. */
enum source { PLAIN, FIRST, SECOND, FIRST_128, FIRST_BLOWFISH, SOURCES };

static struct volume_key first, second, third;
static struct volume *sources[SOURCES];

static struct volume *
open_with(struct volume_options options, const struct volume_key *names, size_t count)
{
    struct volume *v = NULL;

    if (options.key_bits == 0)
        options.key_bits = 256;
    assert_int_equal(F->open(&options, &third, 1, names, count, &v, NULL), 0);
    return v;
}

static bool
sealed_in(enum source source, const char *upper, char lower[NAME_ROOM])
{
    int rc = F->name_to_lower(sources[source], bytes_str(upper), lower, NULL);

    assert_true(rc == 0 || (rc == -EOPNOTSUPP && source == FIRST_BLOWFISH)); /* no legacy ciphers */
    return rc == 0;
}

/* `upper` in the form of `source` is listed by `v`, and name_former() finds it at `index`; -1: it is the
 * present form; -2: it is hidden, and no form of it is found. */
static void
assert_form(struct volume *v, enum source source, const char *upper, int index)
{
    char lower[NAME_ROOM], again[NAME_ROOM], at[NAME_ROOM];
    int rc, found = -2;

    if (!sealed_in(source, upper, lower))
        return;
    rc = F->name_to_upper(v, bytes_str(lower), again, NULL);
    assert_int_equal(rc, index == -2 ? -ENOENT : 0);
    assert_string_equal(again, index == -2 ? "" : upper);
    if (F->name_to_lower(v, bytes_str(upper), at, NULL) == 0 && strcmp(at, lower) == 0)
        found = -1;
    for (unsigned i = 0; (rc = F->name_former(v, i, bytes_str(upper), at, NULL)) != -ENOENT; i++)
        if (rc == 0 && strcmp(at, lower) == 0)
            found = (int)i;
    assert_int_equal(found, index);
    assert_int_equal(F->name_is_current(v, bytes_str(lower)), index == -1);
}

static unsigned
former_count(struct volume *v)
{
    char lower[NAME_ROOM];
    unsigned i = 0;

    while (F->name_former(v, i, bytes_str("f"), lower, NULL) != -ENOENT)
        i++;
    assert_int_equal(F->names_mixed(v), i > 0);
    return i;
}

static void
without_leave_only_name_keys_are_many(void **state)
{
    struct volume_key names[2] = {second, first};
    struct volume *v = open_with((struct volume_options){.encrypt_names = true}, names, 2);

    assert_int_equal(former_count(v), 1);
    assert_form(v, SECOND, "file", -1);
    assert_form(v, FIRST, "file", 0);
    assert_form(v, FIRST_128, "file", -2);
    assert_form(v, FIRST_BLOWFISH, "file", -2);
    assert_form(v, PLAIN, "file", -2);
    F->close(v);

    v = open_with((struct volume_options){.encrypt_names = true}, names, 1);
    assert_int_equal(former_count(v), 0);
    assert_form(v, SECOND, "file", -1);
    assert_form(v, FIRST, "file", -2);
    F->close(v);

    v = open_with((struct volume_options){.encrypt_names = false}, names, 2);
    assert_int_equal(former_count(v), 0);
    assert_form(v, PLAIN, "file", -1);
    F->close(v);
}

/* Without name keys, files' keys are those of names: all of them. */
static void
the_keys_of_files_serve_for_names(void **state)
{
    struct volume_options options = {.key_bits = 192, .encrypt_names = true, .name_key_bits = 256};
    struct volume_key keys[2] = {second, first};
    struct volume *v = NULL;

    assert_int_equal(F->open(&options, keys, 2, NULL, 0, &v, NULL), 0);
    assert_form(v, SECOND, "file", -1);
    assert_form(v, FIRST, "file", 0);
    F->close(v);
}

static void
every_form_opens_in_a_mixed_volume(void **state)
{
    static const char *const NAMES[] = {"a", "base", "exactly-sixteen!", "\xff\xfe no UTF-8 \x01"};
    struct volume_key names[2] = {second, first};
    struct volume *v =
        open_with((struct volume_options){.encrypt_names = true,
                                          .mixed_names = true,
                                          .former_name_ciphers = {"aes-128", "blowfish-128"}},
                  names, 2);

    assert_int_equal(former_count(v), 6);
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        assert_form(v, SECOND, NAMES[i], -1);
        assert_form(v, FIRST, NAMES[i], 0);
        assert_form(v, FIRST_128, NAMES[i], 2);
        assert_form(v, FIRST_BLOWFISH, NAMES[i], 4);
        assert_form(v, PLAIN, NAMES[i], 5);
    }
    F->close(v);

    /* AES-128 names stay while files become AES-256, and the other way round */
    v = open_with((struct volume_options){.encrypt_names = true, .name_key_bits = 128}, &first, 1);
    assert_int_equal(former_count(v), 0);
    assert_form(v, FIRST_128, "file", -1);
    assert_form(v, FIRST, "file", -2);
    F->close(v);

    /* another cipher alone: plain names are none of this volume's */
    v = open_with(
        (struct volume_options){.encrypt_names = true, .former_name_ciphers = {"aes-128"}}, &first,
        1);
    assert_int_equal(former_count(v), 1);
    assert_form(v, FIRST, "file", -1);
    assert_form(v, FIRST_128, "file", 0);
    assert_form(v, PLAIN, "file", -2);
    F->close(v);

    /* on the way to plain names */
    v = open_with((struct volume_options){.mixed_names = true}, names, 2);
    assert_int_equal(former_count(v), 2);
    assert_form(v, PLAIN, "file", -1);
    assert_form(v, SECOND, "file", 0);
    assert_form(v, FIRST, "file", 1);
    F->close(v);
}

/* A former cipher that is the present one is no other form. */
static void
a_form_is_there_once(void **state)
{
    struct volume *v = open_with((struct volume_options){.encrypt_names = true,
                                                         .mixed_names = true,
                                                         .former_name_ciphers = {NULL, "aes-256"}},
                                 &first, 1);
    struct volume_options odd = {
        .key_bits = 256, .mixed_names = true, .former_name_ciphers = {"rot13"}};
    struct volume *none = NULL;

    assert_int_equal(former_count(v), 1); /* plain */
    assert_form(v, PLAIN, "file", 0);
    assert_int_equal(F->change(v, &odd, &first, 1, NULL, 0, NULL), -EINVAL);
    assert_form(v, FIRST, "file", -1); /* nothing has changed */
    F->close(v);
    assert_int_equal(F->open(&odd, &first, 1, NULL, 0, &none, NULL), -EINVAL);
    assert_null(none);
}

/* Where plain names are read, what opens is never one; and what would open is never made plain. */
static void
a_sealed_name_is_not_taken_for_a_plain_one(void **state)
{
    struct volume *to_plain = open_with((struct volume_options){.mixed_names = true}, &first, 1);
    struct volume *to_sealed =
        open_with((struct volume_options){.encrypt_names = true, .mixed_names = true}, &first, 1);
    char sealed[NAME_ROOM], foreign[NAME_ROOM], lower[NAME_ROOM], upper[NAME_ROOM], bad[NAME_ROOM];
    struct buf target;

    assert_true(sealed_in(FIRST, "file", sealed));
    assert_true(sealed_in(SECOND, "file", foreign));
    assert_int_equal(F->name_to_lower(to_plain, bytes_str(sealed), lower, NULL), -EPERM);
    assert_int_equal(F->name_former(to_sealed, 0, bytes_str(sealed), lower, NULL), -EPERM);
    buf_init(&target, VOLUME_TARGET_MAX);
    assert_int_equal(F->target_to_lower(to_plain, bytes_str(sealed), &target, NULL), -EPERM);
    assert_int_equal(target.len, 0);
    assert_int_equal(F->target_to_lower(to_plain, bytes_str(foreign), &target, NULL), 0);
    buf_wipe(&target);

    /* another volume's, or damaged: a name as any other, so that nothing is lost sight of */
    assert_form(to_plain, PLAIN, foreign, -1);
    assert_form(to_sealed, PLAIN, foreign, 0);
    memcpy(bad, sealed, sizeof bad);
    bad[40] = bad[40] == 'x' ? 'y' : 'x';
    assert_int_equal(F->name_to_upper(to_plain, bytes_str(bad), upper, NULL), 0);
    assert_string_equal(upper, bad);
    assert_int_equal(F->name_to_upper(to_sealed, bytes_str(""), upper, NULL), -ENOENT);
    F->close(to_plain);
    F->close(to_sealed);
}

/* 144 bytes and more are names while plain ones are read, and have no sealed form. */
static void
a_name_too_long_to_be_sealed_is_still_found(void **state)
{
    struct volume *v =
        open_with((struct volume_options){.encrypt_names = true, .mixed_names = true}, &first, 1);
    char name[VOLUME_NAME_MAX + 2], lower[NAME_ROOM];

    for (size_t len = 143; len <= 255; len++) {
        memset(name, 'n', len);
        name[len] = '\0';
        assert_int_equal(F->name_to_lower(v, bytes_str(name), lower, NULL),
                         len > 143 ? -ENAMETOOLONG : 0);
        assert_int_equal(F->name_former(v, 0, bytes_str(name), lower, NULL), 0);
        assert_string_equal(lower, name);
    }
    memset(name, 'n', 256);
    name[256] = '\0';
    assert_int_equal(F->name_former(v, 0, bytes_str(name), lower, NULL), -ENAMETOOLONG);
    assert_int_equal(F->name_former(v, 1, bytes_str(name), lower, NULL), -ENOENT);
    F->close(v);
}

static void
assert_target(struct volume *v, struct volume *from, const char *upper, bool opens, bool current)
{
    struct buf lower, again;

    buf_init(&lower, VOLUME_TARGET_MAX);
    buf_init(&again, VOLUME_TARGET_MAX);
    assert_int_equal(F->target_to_lower(from, bytes_str(upper), &lower, NULL), 0);
    assert_int_equal(F->target_to_upper(v, buf_view(&lower), &again, NULL), opens ? 0 : -EINVAL);
    if (opens)
        assert_true(bytes_equal(buf_view(&again), bytes_str(upper)));
    assert_int_equal(F->target_is_current(v, buf_view(&lower)), current);
    buf_wipe(&lower);
    buf_wipe(&again);
}

static void
targets_open_in_every_form(void **state)
{
    struct volume_key names[2] = {second, first};
    struct volume *v = open_with((struct volume_options){.encrypt_names = true}, names, 2);

    assert_target(v, sources[SECOND], "../some/where", true, true);
    assert_target(v, sources[FIRST], "../some/where", true, false);
    assert_target(v, sources[PLAIN], "../some/where", false, false);
    F->close(v);
    v = open_with((struct volume_options){.encrypt_names = true, .mixed_names = true}, &first, 1);
    assert_target(v, sources[PLAIN], "../some/where", true, false);
    assert_target(v, sources[FIRST], "../some/where", true, true);
    F->close(v);
}

/* ---- change ---- */

static atomic_bool stop_reading;

static void *
read_names(void *arg)
{
    struct volume *v = arg;
    char sealed[2][NAME_ROOM], upper[NAME_ROOM], lower[NAME_ROOM];
    size_t times = 0;

    assert_true(sealed_in(FIRST, "file", sealed[0]) && sealed_in(SECOND, "file", sealed[1]));
    while (!stop_reading || times < 100) {
        assert_int_equal(F->name_to_upper(v, bytes_str(sealed[times % 2]), upper, NULL), 0);
        assert_string_equal(upper, "file");
        assert_int_equal(F->name_to_lower(v, bytes_str("file"), lower, NULL), 0);
        assert_true(strcmp(lower, sealed[0]) == 0 || strcmp(lower, sealed[1]) == 0 ||
                    strcmp(lower, "file") == 0);
        times++;
    }
    return NULL;
}

/* Other threads read names meanwhile: each sees one form or the other, and always opens both. */
static void
forms_change_while_names_are_read(void **state)
{
    struct volume_key names[2][2] = {{first, second}, {second, first}};
    struct volume_options sealed = {.key_bits = 256, .encrypt_names = true, .mixed_names = true};
    struct volume_options plain = {.key_bits = 128, .name_key_bits = 256, .mixed_names = true};
    struct volume *v = open_with(sealed, names[0], 2);
    pthread_t threads[2];

    stop_reading = false;
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_names, v), 0);
    for (size_t i = 0; i < 300; i++)
        assert_int_equal(
            F->change(v, i % 3 == 2 ? &plain : &sealed, &third, 1, names[i % 2], 2, NULL), 0);
    stop_reading = true;
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(F->name_max(v), 255); /* the last one was to plain */
    F->close(v);
}

static int
set_up(void **state)
{
    assert_int_equal(F->key_set(bytes_str("first"), bytes_str(""), &first, NULL), 0);
    assert_int_equal(F->key_set(bytes_str("second"), bytes_str(""), &second, NULL), 0);
    assert_int_equal(F->key_set(bytes_str("third"), bytes_str(""), &third, NULL), 0);
    sources[PLAIN] = open_with((struct volume_options){0}, &first, 1);
    sources[FIRST] = open_with((struct volume_options){.encrypt_names = true}, &first, 1);
    sources[SECOND] = open_with((struct volume_options){.encrypt_names = true}, &second, 1);
    sources[FIRST_128] =
        open_with((struct volume_options){.encrypt_names = true, .name_key_bits = 128}, &first, 1);
    sources[FIRST_BLOWFISH] = open_with(
        (struct volume_options){.encrypt_names = true, .name_cipher = "blowfish-128"}, &first, 1);
    return 0;
}

static int
tear_down(void **state)
{
    for (size_t i = 0; i < SOURCES; i++)
        F->close(sources[i]);
    secret_free(first.secret);
    secret_free(second.secret);
    secret_free(third.secret);
    return secret_live_count() == 0 ? 0 : -1;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_leave_only_name_keys_are_many),
        cmocka_unit_test(the_keys_of_files_serve_for_names),
        cmocka_unit_test(every_form_opens_in_a_mixed_volume),
        cmocka_unit_test(a_form_is_there_once),
        cmocka_unit_test(a_sealed_name_is_not_taken_for_a_plain_one),
        cmocka_unit_test(a_name_too_long_to_be_sealed_is_still_found),
        cmocka_unit_test(targets_open_in_every_form),
        cmocka_unit_test(forms_change_while_names_are_read),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
