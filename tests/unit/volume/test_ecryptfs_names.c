/* SPDX-License-Identifier: Apache-2.0 */
/* Names and link targets: there and back, their limits, and what is hidden. */
#include "support/test.h"

#include "volume/ecryptfs/ecryptfs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define F (&volume_ecryptfs)
#define LETTERS "-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

static struct volume_key key, other_key;
static struct volume *volume, *plain, *other, *blowfish;

static int
lower_of(struct volume *v, struct bytes upper, char lower[VOLUME_NAME_MAX + 1])
{
    return F->name_to_lower(v, upper, lower, NULL);
}

static int
upper_of(struct volume *v, const char *lower, char upper[VOLUME_NAME_MAX + 1])
{
    return F->name_to_upper(v, bytes_str(lower), upper, NULL);
}

/* Lengths as eCryptfs's users know them: 143 bytes fit, 144 do not. */
static void
names_of_every_length_come_back(void **state)
{
    struct volume *volumes[] = {volume, blowfish};
    char upper[200], lower[VOLUME_NAME_MAX + 1], again[VOLUME_NAME_MAX + 1];

    for (size_t v = 0; v < 2; v++)
        for (size_t len = 1; len <= 143; len++) {
            int rc;

            for (size_t i = 0; i < len; i++)
                upper[i] =
                    (char)(i % 2 == 0 ? 0xc3 : 0x80 + len % 64); /* any bytes but / and zero */
            upper[len] = '\0';
            rc = lower_of(volumes[v], bytes_str(upper), lower);
            if (rc == -EOPNOTSUPP && v == 1)
                return; /* no legacy provider */
            assert_int_equal(rc, 0);
            if (v == 0)
                assert_int_equal(strlen(lower),
                                 24 + (1 + 1 + 9 + (17 + len + 15) / 16 * 16 + 2) / 3 * 4);
            assert_int_equal(upper_of(volumes[v], lower, again), 0);
            assert_string_equal(again, upper);
        }
    assert_int_equal(F->name_max(volume), 143);
    memset(upper, 'n', 144);
    assert_int_equal(lower_of(volume, bytes_of(upper, 144), lower), -ENAMETOOLONG);
    assert_int_equal(lower_of(blowfish, bytes_of(upper, 144), lower), -ENAMETOOLONG);
}

static void
without_encrypted_names_they_are_as_they_are(void **state)
{
    char lower[VOLUME_NAME_MAX + 1], sealed[VOLUME_NAME_MAX + 1], name[256];

    memset(name, 'n', 255);
    name[255] = '\0';
    assert_int_equal(F->name_max(plain), 255);
    assert_int_equal(lower_of(plain, bytes_str(name), lower), 0);
    assert_string_equal(lower, name);
    assert_int_equal(lower_of(volume, bytes_str("a"), sealed), 0);
    assert_int_equal(upper_of(plain, sealed, lower), 0);
    assert_string_equal(lower, sealed);
}

/* Nothing that lookup would not make is listed. */
static void
other_names_are_hidden(void **state)
{
    static const char *const FOREIGN[] = {"lost+found",
                                          "ECRYPTFS_FNEK_ENCRYPTED.",
                                          "ECRYPTFS_FNEK_ENCRYPTED.FWY",
                                          "ECRYPTFS_FNEK_ENCRYPTED.////",
                                          "ecryptfs_fnek_encrypted.FWYr",
                                          ""};
    char lower[VOLUME_NAME_MAX + 1], upper[VOLUME_NAME_MAX + 1], bad[VOLUME_NAME_MAX + 9];
    char again[VOLUME_NAME_MAX + 1];
    size_t len, hidden = 0;

    for (size_t i = 0; i < sizeof FOREIGN / sizeof FOREIGN[0]; i++)
        assert_int_equal(upper_of(volume, FOREIGN[i], upper), -ENOENT);
    assert_int_equal(lower_of(other, bytes_str("file"), lower), 0);
    assert_int_equal(upper_of(volume, lower, upper), -ENOENT); /* another key's */

    assert_int_equal(lower_of(volume, bytes_str("file"), lower), 0);
    len = strlen(lower);
    for (size_t i = 0; i < len; i++) { /* every letter but the right one, at every place */
        for (const char *l = LETTERS "/ \x80"; *l != '\0'; l++) {
            if (lower[i] == *l)
                continue;
            memcpy(bad, lower, len + 1);
            bad[i] = *l;
            /* once in 256 the garbage begins with a zero: another name, and a canonical one */
            if (upper_of(volume, bad, upper) == 0) {
                assert_int_equal(strlen(upper), 15);
                assert_int_equal(lower_of(volume, bytes_str(upper), again), 0);
                assert_string_equal(again, bad);
                continue;
            }
            assert_string_equal(upper, "");
            hidden++;
        }
    }
    assert_true(hidden > 60 * len);
    for (size_t n = 0; n < len; n++) /* cut off anywhere */
        assert_int_equal(F->name_to_upper(volume, bytes_of(lower, n), upper, NULL), -ENOENT);
    (void)snprintf(bad, sizeof bad, "%s----", lower); /* decodes all the same */
    assert_int_equal(upper_of(volume, bad, upper), -ENOENT);
}

/* ECB lets whoever can write below put names together: none of them may be a path. */
static void
a_name_that_is_a_path_is_hidden(void **state)
{
    static const char *const PATHS[] = {"..", ".", "a/b", "../../etc/passwd", "/"};
    char upper[VOLUME_NAME_MAX + 1];
    struct buf lower;

    for (size_t i = 0; i < sizeof PATHS / sizeof PATHS[0]; i++) {
        buf_init(&lower, VOLUME_TARGET_MAX); /* a target is sealed as a name is */
        assert_int_equal(F->target_to_lower(volume, bytes_str(PATHS[i]), &lower, NULL), 0);
        assert_int_equal(F->name_to_upper(volume, buf_view(&lower), upper, NULL), -ENOENT);
        buf_wipe(&lower);
    }
    assert_int_equal(lower_of(volume, bytes_str(""), upper), -ENOENT);
}

static void
targets_of_every_length_come_back(void **state)
{
    char target[4100];
    struct buf lower, upper;

    memset(target, 't', sizeof target);
    for (size_t len = 1; len <= 3007; len += len < 400 ? 1 : 37) {
        buf_init(&lower, VOLUME_TARGET_MAX);
        buf_init(&upper, VOLUME_TARGET_MAX);
        assert_int_equal(F->target_to_lower(volume, bytes_of(target, len), &lower, NULL), 0);
        assert_int_equal(F->target_to_upper(volume, buf_view(&lower), &upper, NULL), 0);
        assert_int_equal(upper.len, len);
        assert_memory_equal(upper.ptr, target, len);
        buf_wipe(&lower);
        buf_wipe(&upper);
    }
    buf_init(&lower, 65536); /* even into a larger buffer */
    assert_int_equal(F->target_to_lower(volume, bytes_of(target, 3007), &lower, NULL), 0);
    buf_clear(&lower);
    assert_int_equal(F->target_to_lower(volume, bytes_of(target, 3008), &lower, NULL),
                     -ENAMETOOLONG);
    buf_wipe(&lower);
    buf_init(&lower, 65536);
    assert_int_equal(F->target_to_lower(volume, bytes_of(target, 4095), &lower, NULL),
                     -ENAMETOOLONG);
    buf_wipe(&lower);
    buf_init(&upper, VOLUME_TARGET_MAX);
    assert_int_equal(F->target_to_upper(volume, bytes_str("/etc/hostname"), &upper, NULL), -EINVAL);
    assert_int_equal(F->target_to_upper(plain, bytes_str("/etc/hostname"), &upper, NULL), 0);
    assert_int_equal(upper.len, 13);
    buf_wipe(&upper);
}

static void
a_name_tells_the_signature_of_its_key(void **state)
{
    char lower[VOLUME_NAME_MAX + 1], signature[VOLUME_KEY_NAME + 1];

    assert_int_equal(lower_of(other, bytes_str("file"), lower), 0);
    assert_true(ecryptfs_name_signature(bytes_str(lower), signature));
    assert_string_equal(signature, other_key.name);
    assert_false(ecryptfs_name_signature(bytes_str("lost+found"), signature));
    assert_string_equal(signature, "");
}

/* A passphrase wrapped and unwrapped, version 2 and, without its head, version 1. */
static void
a_wrapped_passphrase_comes_back(void **state)
{
    static const char LONG[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    struct secret *back = NULL;
    struct buf file, twice;

    for (size_t len = 1; len <= 64; len += 21) {
        buf_init(&file, ECRYPTFS_WRAPPED_MAX);
        buf_init(&twice, ECRYPTFS_WRAPPED_MAX);
        assert_int_equal(ecryptfs_wrap(bytes_of(LONG, len), bytes_str("login"), &file, NULL), 0);
        assert_int_equal(file.len, 26 + (len + 15) / 16 * 16);
        assert_int_equal(
            ecryptfs_unwrap(buf_view(&file), bytes_str("login"), bytes_str(""), &back, NULL),
            COFFER_OK);
        assert_true(bytes_equal(secret_expose(back), bytes_of(LONG, len)));
        secret_free(back);
        /* as utilities up to 104 wrote it: no head, the salt not in the file */
        assert_int_equal(ecryptfs_unwrap(bytes_of(file.ptr + 10, file.len - 10), bytes_str("login"),
                                         bytes_of(file.ptr + 2, 8), &back, NULL),
                         COFFER_OK);
        assert_true(bytes_equal(secret_expose(back), bytes_of(LONG, len)));
        secret_free(back);
        assert_int_equal(ecryptfs_wrap(bytes_of(LONG, len), bytes_str("login"), &twice, NULL), 0);
        assert_memory_not_equal(file.ptr + 2, twice.ptr + 2, 8); /* a new salt each time */
        for (size_t n = 0; n < file.len; n++) {
            int rc = ecryptfs_unwrap(bytes_of(file.ptr, n), bytes_str("login"), bytes_str(""),
                                     &back, NULL);

            /* cut at a whole block it is a shorter file; it never says that the password is wrong */
            assert_true(rc == COFFER_E_FORMAT || rc == COFFER_OK);
            assert_true(rc != COFFER_OK || (n - 26) % 16 == 0);
            secret_free(back);
        }
        buf_wipe(&file);
        buf_wipe(&twice);
    }
    buf_init(&file, ECRYPTFS_WRAPPED_MAX);
    assert_int_equal(ecryptfs_wrap(bytes_str(""), bytes_str("login"), &file, NULL), COFFER_E_LIMIT);
    assert_int_equal(ecryptfs_wrap(bytes_of(LONG, 65), bytes_str("login"), &file, NULL),
                     COFFER_E_LIMIT);
    buf_wipe(&file);
}

static void
keys_have_limits(void **state)
{
    static const char LONG[65] = "a passphrase that is too long";
    struct volume_options odd = {.key_bits = 160},
                          names = {.key_bits = 256, .name_cipher = "serpent-256"};
    struct volume_key k = {0}, empty = {0};
    struct volume *v = NULL;

    assert_int_equal(F->key_set(bytes_of(LONG, 65), bytes_str(""), &k, NULL), -EINVAL);
    assert_null(k.secret);
    assert_int_equal(F->key_set(bytes_str(""), bytes_str(""), &k, NULL), -EINVAL);
    assert_int_equal(F->key_set(bytes_str("Test"), bytes_str("short"), &k, NULL), -EINVAL);
    assert_int_equal(F->open(&odd, &key, 1, NULL, 0, &v, NULL), -EINVAL);
    assert_int_equal(F->open(&names, &key, 1, NULL, 0, &v, NULL), -EINVAL);
    odd.key_bits = 256;
    assert_int_equal(F->open(&odd, &key, 0, NULL, 0, &v, NULL), -EINVAL);
    assert_int_equal(F->open(&odd, &empty, 1, NULL, 0, &v, NULL), -EINVAL);
    assert_null(v);
}

static struct volume *
open_with(struct volume_options options, const struct volume_key *k)
{
    struct volume *v = NULL;

    assert_int_equal(F->open(&options, k, 1, NULL, 0, &v, NULL), 0);
    return v;
}

static int
set_up(void **state)
{
    assert_int_equal(F->key_set(bytes_str("Test"), bytes_str(""), &key, NULL), 0);
    assert_int_equal(F->key_set(bytes_str("Second"), bytes_str(""), &other_key, NULL), 0);
    volume = open_with((struct volume_options){.key_bits = 256, .encrypt_names = true}, &key);
    plain = open_with((struct volume_options){.key_bits = 256}, &key);
    other = open_with((struct volume_options){.key_bits = 256, .encrypt_names = true}, &other_key);
    blowfish = open_with((struct volume_options){.key_bits = 256,
                                                 .encrypt_names = true,
                                                 .name_cipher = "blowfish-128"},
                         &key);
    return 0;
}

static int
tear_down(void **state)
{
    F->close(volume);
    F->close(plain);
    F->close(other);
    F->close(blowfish);
    secret_free(key.secret);
    secret_free(other_key.secret);
    return secret_live_count() == 0 ? 0 : -1;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_every_length_come_back),
        cmocka_unit_test(without_encrypted_names_they_are_as_they_are),
        cmocka_unit_test(other_names_are_hidden),
        cmocka_unit_test(a_name_that_is_a_path_is_hidden),
        cmocka_unit_test(targets_of_every_length_come_back),
        cmocka_unit_test(a_name_tells_the_signature_of_its_key),
        cmocka_unit_test(a_wrapped_passphrase_comes_back),
        cmocka_unit_test(keys_have_limits),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
