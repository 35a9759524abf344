/* SPDX-License-Identifier: Apache-2.0 */
/* Files of the eCryptfs format over a lower file in memory: what is read is what was written, in as few
 * lower calls as the core counts on. */
#include "support/test.h"

#include "crypto/block.h"
#include "support/memory_lower.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

#define F (&volume_ecryptfs)
#define EXTENT 4096u
#define HEADER 8192u

static struct volume_key key, other_key;

static struct volume *
volume_with(const struct volume_options *options, const struct volume_key *first)
{
    struct volume *volume = NULL;

    assert_int_equal(F->open(options, first, 1, NULL, &volume, NULL), 0);
    return volume;
}

static struct volume *
volume_of(unsigned key_bits, bool xattr)
{
    return volume_with(&(struct volume_options){.key_bits = key_bits, .xattr_metadata = xattr},
                       &key);
}

static struct volume_file *
create(struct volume *volume, struct memory_lower *m)
{
    struct volume_file *file = NULL;

    assert_int_equal(F->file_create(volume, &m->lower, &file, NULL), 0);
    return file;
}

static struct volume_file *
reopen(struct volume *volume, struct memory_lower *m, struct volume_file *file)
{
    struct volume_file *again = NULL;
    struct coffer_error err = {0};

    F->file_close(file);
    m->closed = false;
    if (F->file_open(volume, &m->lower, &again, &err) != 0)
        fail_msg("%s", err.message);
    return again;
}

static void
assert_content(struct volume_file *file, const uint8_t *expected, size_t len)
{
    uint8_t *out = malloc(len + 1);

    assert_int_equal(F->file_size(file), len);
    assert_int_equal(F->file_read(file, out, len + 1, 0, NULL), len);
    assert_memory_equal(out, expected, len);
    free(out);
}

static void
done(struct volume *volume, struct memory_lower *m, struct volume_file *file)
{
    F->file_close(file);
    memory_lower_free(m);
    F->close(volume);
}

static void
a_new_file_is_an_empty_header(void **state)
{
    struct volume *volume = volume_of(256, false);
    struct memory_lower *m = memory_lower_new();
    struct volume_file *file = create(volume, m);
    struct volume_file_info info;

    assert_int_equal(m->length, HEADER);
    assert_int_equal(F->file_size(file), 0);
    assert_int_equal(F->file_info(volume, &m->lower, &info, NULL), 0);
    assert_int_equal(info.size, 0);
    assert_int_equal(info.key_bits, 256);
    assert_string_equal(info.cipher, "aes-256");
    assert_int_equal(info.key_count, 1);
    assert_string_equal(info.keys[0], key.name);
    assert_false(info.empty);
    assert_true(F->file_is_current(volume, &info));
    done(volume, m, file);
}

static void
what_is_written_is_read(void **state)
{
    static const unsigned BITS[] = {128, 192, 256};
    static const size_t LENS[] = {
        1, 15, 4095, 4096, 4097, 8192, 100003, 65 * EXTENT, 200 * EXTENT + 7};
    static uint8_t data[200 * EXTENT + 7];

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + i / 256);
    for (size_t b = 0; b < 6; b++) {
        struct volume *volume = volume_of(BITS[b % 3], b >= 3);

        for (size_t i = 0; i < sizeof LENS / sizeof LENS[0]; i++) {
            struct memory_lower *m = memory_lower_new();
            struct volume_file *file = create(volume, m);

            assert_int_equal(F->file_write(file, data, LENS[i], 0, 0, NULL), 0);
            assert_content(file, data, LENS[i]);
            file = reopen(volume, m, file);
            assert_content(file, data, LENS[i]);
            assert_int_equal(m->length,
                             (b >= 3 ? 0 : HEADER) + (LENS[i] + EXTENT - 1) / EXTENT * EXTENT);
            F->file_close(file);
            memory_lower_free(m);
        }
        F->close(volume);
    }
}

static void
set_up_key(struct volume_key *k, const char *passphrase)
{
    assert_int_equal(F->key_set(bytes_str(passphrase), bytes_str(""), k, NULL), 0);
}

static int
set_up(void **state)
{
    set_up_key(&key, "Test");
    set_up_key(&other_key, "Second");
    return 0;
}

static int
tear_down(void **state)
{
    secret_free(key.secret);
    secret_free(other_key.secret);
    return secret_live_count() == 0 ? 0 : -1;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_file_is_an_empty_header),
        cmocka_unit_test(what_is_written_is_read),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
