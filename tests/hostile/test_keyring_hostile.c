/* SPDX-License-Identifier: Apache-2.0 */
/* Keyring files that nobody should have written: one clear error each, no crash, no memory beyond
 * what the file warrants. */
#include "base/mem.h"
#include "crypto/crypto.h"
#include "keyring/internal.h"
#include "support/keyring_sample.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

static struct buf file;
static struct keyring *kr;
static struct kek *kek;
static struct coffer_error err;

static int
setup(void **state)
{
    (void)state;
    kr = keyring_sample(false);
    kek = keyring_sample_kek(false);
    buf_init(&file, KEYRING_FILE_MAX);
    assert_int_equal(keyring_encode(kr, &file, NULL), COFFER_OK);
    memset(&err, 0, sizeof err);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    keyring_free(kr);
    kek_close(kek);
    buf_wipe(&file);
    assert_int_equal(secret_live_count(), 0);
    return 0;
}

static int
decode(const uint8_t *bytes, size_t len)
{
    uint8_t *exact = malloc(len > 0 ? len : 1); /* so that one byte too far is seen */
    struct keyring *out = (void *)exact;
    int rc;

    assert_non_null(exact);
    if (len > 0)
        memcpy(exact, bytes, len);
    memset(&err, 0, sizeof err);
    rc = keyring_decode(bytes_of(exact, len), kek, &out, &err);
    if (rc == COFFER_OK)
        keyring_free(out);
    else
        assert_null(out);
    free(exact);
    assert_int_equal(err.status, rc);
    return rc;
}

static void
every_truncation_is_called_one(void **state)
{
    (void)state;
    for (size_t len = 0; len < file.len; len++) {
        assert_int_equal(decode(file.ptr, len), COFFER_E_FORMAT);
        assert_non_null(strstr(err.message, len == 0 ? "is empty" : "is truncated"));
        assert_non_null(strstr(err.message, "NAME.<epoch>"));
    }
    assert_int_equal(decode(file.ptr, file.len), COFFER_OK);
    buf_u8(&file, 0);
    assert_int_equal(decode(file.ptr, file.len), COFFER_E_FORMAT);
    assert_non_null(strstr(err.message, "1 bytes after its end"));
}

/* Damage has its own message: nobody is sent to look for another passphrase. */
static void
every_flipped_bit_is_found(void **state)
{
    (void)state;
    for (size_t bit = 0; bit < file.len * 8; bit++) {
        file.ptr[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(decode(file.ptr, file.len), COFFER_E_FORMAT);
        if (bit >= 16 * 8)
            assert_non_null(strstr(err.message, "damaged"));
        file.ptr[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

/* Somebody who mends the checksum is still found out. */
static void
every_edit_with_a_mended_checksum_is_found(void **state)
{
    (void)state;
    for (size_t i = 16; i < file.len - 32; i++) {
        uint8_t was = file.ptr[i];
        int rc;

        file.ptr[i] ^= 0x01;
        assert_int_equal(sha256(bytes_of(file.ptr, file.len - 32), file.ptr + file.len - 32, NULL),
                         COFFER_OK);
        rc = decode(file.ptr, file.len);
        if (i >= 44)
            assert_int_equal(rc, COFFER_E_KEK);
        else
            assert_true(rc == COFFER_E_KEK || rc == COFFER_E_FORMAT);
        file.ptr[i] = was;
    }
}

static void
other_files_and_newer_versions_are_named(void **state)
{
    static const char sqlite[] = "SQLite format 3";

    (void)state;
    assert_int_equal(decode((const uint8_t *)sqlite, sizeof sqlite), COFFER_E_FORMAT);
    assert_non_null(strstr(err.message, "not a Coffer keyring"));
    file.ptr[9] = 2;
    assert_int_equal(decode(file.ptr, file.len), COFFER_E_FORMAT);
    assert_non_null(strstr(err.message, "version 2"));
    assert_non_null(strstr(err.message, "newer release"));
}

static void
the_wrong_kek_is_named(void **state)
{
    uint8_t key[32] = {1};
    struct kek *other, *phrase;
    struct keyring *out;

    (void)state;
    assert_int_equal(kek_key_new(bytes_of(key, sizeof key), &other, NULL), COFFER_OK);
    assert_int_equal(keyring_decode(buf_view(&file), other, &out, &err), COFFER_E_KEK);
    assert_string_equal(err.message, "wrong key file, or the keyring was edited");
    assert_int_equal(kek_passphrase_new(bytes_str("x"), &phrase, NULL), COFFER_OK);
    assert_int_equal(keyring_decode(buf_view(&file), phrase, &out, &err), COFFER_E_KEK);
    assert_string_equal(err.message, "the keyring is under a key file, not under a passphrase");
    kek_close(other);
    kek_close(phrase);
}

/* ---- files with a good tag and bad records: a bug of ours, or a newer release ---- */

static void
begin(void)
{
    buf_clear(&file);
    file_begin(&file, FILE_KEYRING, &kr->id, 1, COFFER_KEK_KEY, bytes_of(NULL, 0));
}

static int
finish(void)
{
    assert_int_equal(file_finish(&file, kr->root, &kr->id, NULL), COFFER_OK);
    return decode(file.ptr, file.len);
}

static void
add_good_records(void)
{
    struct secret *wrapping;

    assert_int_equal(file_wrapping_key(kr->root, &kr->id, &wrapping, NULL), COFFER_OK);
    assert_int_equal(records_write(kr, wrapping, &file, NULL), COFFER_OK);
    secret_free(wrapping);
}

static void
add_record(uint16_t type, uint16_t flags, const char *body, size_t len)
{
    buf_be16(&file, type);
    buf_be16(&file, flags);
    buf_be32(&file, (uint32_t)len);
    buf_add(&file, body, len);
}

static void
records_of_newer_releases_are_kept_or_refused(void **state)
{
    struct keyring *back;
    struct buf again;
    static const char record[] = "\x01\x00\x80\x02\x00\x00\x00\x03new";

    (void)state;
    begin();
    add_record(0x0100, 0x8002, "new", 3);
    add_good_records();
    assert_int_equal(finish(), COFFER_OK);
    assert_int_equal(keyring_decode(buf_view(&file), kek, &back, NULL), COFFER_OK);
    buf_init(&again, KEYRING_FILE_MAX);
    assert_int_equal(keyring_encode(back, &again, NULL), COFFER_OK);
    assert_non_null(memmem(again.ptr, again.len, record, sizeof record - 1));
    buf_wipe(&again);
    keyring_free(back);

    begin();
    add_record(0x0100, 0x0001, "new", 3);
    add_good_records();
    assert_int_equal(finish(), COFFER_E_FORMAT);
    assert_non_null(strstr(err.message, "newer release"));
}

static void
a_file_that_contradicts_itself_is_refused(void **state)
{
    static const struct {
        int list;
        const char *message;
    } cases[] = {{0, "same id"},  {1, "same name"}, {2, "same id"},   {3, "same id"},
                 {4, "same key"}, {5, "same name"}, {6, "same thing"}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct list *lists[] = {&kr->keys,         &kr->columns, &kr->databases, &kr->backups,
                                &kr->certificates, &kr->clients, &kr->waivers};
        struct list *list = lists[cases[i].list];

        if (list == &kr->columns) { /* the first is not retired: the same name under another id */
            struct keyring_column column = *keyring_column_at(kr, 0);

            column.id.b[0] ^= 1;
            assert_int_equal(list_append(list, &column, NULL), COFFER_OK);
        } else {
            assert_int_equal(list_append(list, list_at(list, 0), NULL), COFFER_OK);
        }
        begin();
        add_good_records();
        assert_int_equal(finish(), COFFER_E_FORMAT);
        assert_non_null(strstr(err.message, "contradicts itself"));
        assert_non_null(strstr(err.message, cases[i].message));
        list->count--;
    }
    keyring_entry(kr, SAMPLE_PROVEN_ID)->key.state = KEY_ACTIVE;
    begin();
    add_good_records();
    assert_int_equal(finish(), COFFER_E_FORMAT);
    assert_non_null(strstr(err.message, "two keys of one line are active"));
}

static void
material_belongs_to_its_key_and_state(void **state)
{
    struct key_entry *proven = keyring_entry(kr, SAMPLE_PROVEN_ID);
    struct key_entry *active = keyring_entry(kr, SAMPLE_ACTIVE_ID);
    struct secret *swap = proven->material;

    (void)state;
    proven->material = active->material;
    active->material = swap;
    begin();
    add_good_records();
    assert_int_equal(finish(), COFFER_E_FORMAT);
    assert_non_null(strstr(err.message, "another fingerprint"));
    active->material = proven->material;
    proven->material = swap;

    proven->key.state = KEY_ESCROWED; /* with its material */
    begin();
    add_good_records();
    assert_int_equal(finish(), COFFER_E_FORMAT);
    assert_non_null(strstr(err.message, "its material is there"));
}

static unsigned allocations;

static int
count_allocation(void)
{
    allocations++;
    return 0;
}

static void
counts_and_lengths_beyond_the_file_are_refused(void **state)
{
    char body[64] = {0};

    (void)state;
    for (uint16_t type = RECORD_KEY; type <= RECORD_LAST; type++) {
        for (size_t len = 0; len < sizeof body; len += 7) { /* zeros: no record is that */
            begin();
            add_record(type, RECORD_CRITICAL, body, len);
            add_good_records();
            assert_int_equal(finish(), COFFER_E_FORMAT);
        }
        begin(); /* a length beyond the end */
        buf_be16(&file, type);
        buf_be16(&file, RECORD_CRITICAL);
        buf_be32(&file, 0xffffffff);
        mem_set_fault(count_allocation);
        allocations = 0;
        assert_int_equal(finish(), COFFER_E_FORMAT);
        mem_set_fault(NULL);
        assert_true(allocations < 20);
        begin(); /* flags of a known record */
        add_record(type, 0, body, sizeof body);
        assert_int_equal(finish(), COFFER_E_FORMAT);
    }
    begin(); /* no record at all */
    assert_int_equal(finish(), COFFER_E_FORMAT);
}

static void
an_escrow_file_holds_one_key(void **state)
{
    (void)state;
    kr->kind = FILE_ESCROW;
    assert_int_equal(keyring_encode(kr, &file, NULL), COFFER_OK);
    assert_int_equal(decode(file.ptr, file.len), COFFER_E_FORMAT);
    assert_non_null(strstr(err.message, "exactly one key"));
}

static void
passphrase_costs_are_bounded_before_they_are_paid(void **state)
{
    static const struct {
        uint32_t passes, kib;
        int status;
    } cases[] = {{2, 65536, COFFER_E_LIMIT},
                 {65, 65536, COFFER_E_LIMIT},
                 {3, 65535, COFFER_E_LIMIT},
                 {3, (1u << 20) + 1, COFFER_E_LIMIT},
                 {0xffffffff, 0xffffffff, COFFER_E_LIMIT}};
    struct kek *phrase;
    struct secret *root;
    struct buf params;

    (void)state;
    buf_init(&params, 64);
    assert_int_equal(kek_passphrase_new(bytes_str("x"), &phrase, NULL), COFFER_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        buf_clear(&params);
        buf_u8(&params, 1);
        buf_add(&params, "0123456789abcdef", 16);
        buf_be32(&params, cases[i].passes);
        buf_be32(&params, cases[i].kib);
        assert_int_equal(phrase->unlock(phrase, buf_view(&params), &root, &err), cases[i].status);
        assert_null(root);
    }
    params.ptr[0] = 2;
    assert_int_equal(phrase->unlock(phrase, buf_view(&params), &root, &err), COFFER_E_FORMAT);
    params.len--;
    assert_int_equal(phrase->unlock(phrase, buf_view(&params), &root, &err), COFFER_E_FORMAT);
    kek_close(phrase);
    buf_wipe(&params);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_truncation_is_called_one),
        TEST(every_flipped_bit_is_found),
        TEST(every_edit_with_a_mended_checksum_is_found),
        TEST(other_files_and_newer_versions_are_named),
        TEST(the_wrong_kek_is_named),
        TEST(records_of_newer_releases_are_kept_or_refused),
        TEST(a_file_that_contradicts_itself_is_refused),
        TEST(material_belongs_to_its_key_and_state),
        TEST(counts_and_lengths_beyond_the_file_are_refused),
        TEST(an_escrow_file_holds_one_key),
        TEST(passphrase_costs_are_bounded_before_they_are_paid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
