/* SPDX-License-Identifier: Apache-2.0 */
/* The whole content: puts, copies, the file and back, another KEK, escrow and import. */
#include "base/mem.h"
#include "keyring/internal.h"
#include "support/keyring_sample.h"
#include "support/test.h"

#include <string.h>

static struct keyring *kr;
static struct buf file;

static int
setup(void **state)
{
    (void)state;
    kr = keyring_sample(false);
    buf_init(&file, KEYRING_FILE_MAX);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    keyring_free(kr);
    buf_wipe(&file);
    assert_int_equal(secret_live_count(), 0);
    return 0;
}

static void
encode(struct keyring *from)
{
    assert_int_equal(keyring_encode(from, &file, NULL), COFFER_OK);
}

static struct keyring *
decode(void)
{
    struct kek *kek = keyring_sample_kek(false);
    struct keyring *out;
    struct coffer_error err = {0};

    if (keyring_decode(buf_view(&file), kek, &out, &err) != COFFER_OK)
        fail_msg("%s", err.message);
    kek_close(kek);
    return out;
}

/* Encoded at the same epoch, two equal keyrings are the same bytes. */
static void
assert_same(struct keyring *a, struct keyring *b)
{
    struct buf x, y;

    buf_init(&x, KEYRING_FILE_MAX);
    buf_init(&y, KEYRING_FILE_MAX);
    assert_int_equal(keyring_epoch(a), keyring_epoch(b));
    assert_int_equal(keyring_encode(a, &x, NULL), COFFER_OK);
    assert_int_equal(keyring_encode(b, &y, NULL), COFFER_OK);
    assert_true(bytes_equal(buf_view(&x), buf_view(&y)));
    buf_wipe(&x);
    buf_wipe(&y);
}

static void
everything_survives_the_file(void **state)
{
    struct uuid database = {{0}};
    const struct keyring_column *column;
    struct keyring *back;

    (void)state;
    encode(kr);
    assert_int_equal(keyring_epoch(kr), SAMPLE_EPOCH + 1);
    back = decode();
    memset(database.b, 0xd1, sizeof database.b);
    assert_int_equal(keyring_epoch(back), SAMPLE_EPOCH + 1);
    assert_int_equal(keyring_key_count(back), 5);
    assert_int_equal(keyring_key_at(back, 0)->id, SAMPLE_ESCROWED_ID); /* oldest first */
    assert_null(keyring_material(back, SAMPLE_ESCROWED_ID));
    assert_int_equal(secret_len(keyring_material(back, SAMPLE_ACTIVE_ID)), 32);
    assert_int_equal(secret_expose(keyring_material(back, SAMPLE_ACTIVE_ID)).ptr[31], 0x11);
    column = keyring_column(back, &database, "public.patients", "née");
    assert_non_null(column);
    assert_int_equal(column->part_count, 2);
    assert_string_equal(column->parts[1].name, "site");
    assert_int_equal(column->phase_epoch, SAMPLE_EPOCH + 1);
    assert_int_equal(keyring_database(back, &database)->keep_days, 400);
    assert_true(keyring_waiver_at(back, 0)->at_us < 0);
    assert_same(kr, back);
    keyring_free(back);
}

static void
a_clone_is_equal_and_apart(void **state)
{
    struct keyring *copy;

    (void)state;
    assert_int_equal(keyring_clone(kr, &copy, NULL), COFFER_OK);
    assert_int_equal(keyring_key_move(copy, SAMPLE_PROVEN_ID, KEY_ESCROWED, 1, NULL), COFFER_OK);
    assert_int_equal(keyring_client_remove(copy, "web-1", NULL), COFFER_OK);
    assert_non_null(keyring_material(kr, SAMPLE_PROVEN_ID));
    assert_int_equal(keyring_client_count(kr), 1);
    keyring_free(copy);
    assert_int_equal(keyring_clone(kr, &copy, NULL), COFFER_OK);
    assert_same(kr, copy);
    keyring_free(copy);
}

static void
an_index_is_kept_with_all_its_parts(void **state)
{
    struct keyring_index index = {
        .column = keyring_column_at(kr, 0)->id, .kind = INDEX_TEXT, .state = INDEX_FILLING, .normaliser = 3,
        .bits = 48, .edge = 4, .padding = 8, .words = true, .max_abs = UINT64_MAX, .store = "née_tok",
        .line = "index/1", .accepted = "few rows"};
    struct keyring *back;
    const struct keyring_index *read;

    (void)state;
    assert_int_equal(keyring_index_put(kr, &index, NULL), COFFER_E_MISUSE); /* without an id */
    index.id.b[0] = index.group.b[0] = 7;
    assert_int_equal(keyring_index_put(kr, &index, NULL), COFFER_OK);
    encode(kr);
    back = decode();
    assert_int_equal(keyring_index_count(back), 1);
    read = keyring_index(back, &index.id);
    assert_non_null(read);
    assert_int_equal(read->state_epoch, SAMPLE_EPOCH + 1);
    index.state_epoch = read->state_epoch;
    assert_true(index.max_abs == read->max_abs && index.words == read->words && !read->unique && !read->tags);
    assert_int_equal(read->edge, 4);
    assert_int_equal(read->padding, 8);
    assert_int_equal(read->normaliser, 3);
    assert_string_equal(read->store, "née_tok");
    assert_string_equal(read->accepted, "few rows");
    assert_same(kr, back);
    index.state = INDEX_READY;
    assert_int_equal(keyring_index_put(back, &index, NULL), COFFER_OK);
    assert_int_equal(keyring_index_at(back, 0)->state_epoch, keyring_epoch(back) + 1);
    index.state = 4;
    assert_int_equal(keyring_index_put(back, &index, NULL), COFFER_E_MISUSE);
    assert_int_equal(keyring_index_remove(back, &index.id, NULL), COFFER_OK);
    assert_int_equal(keyring_index_remove(back, &index.id, NULL), COFFER_E_NOTFOUND);
    keyring_free(back);
}

static void
put_replaces_the_record_with_the_same_key(void **state)
{
    struct keyring_database d = *keyring_database_at(kr, 0);
    struct keyring_backup b = *keyring_backup_at(kr, 0);
    struct keyring_client c = *keyring_client_at(kr, 0);
    struct keyring_waiver w = *keyring_waiver_at(kr, 0);
    struct keyring_certificate t = *keyring_certificate_at(kr, 0);

    (void)state;
    d.keep_days = 35;
    b.expired_us = 9;
    c.waived_epoch = 99;
    w.at_us = 5;
    t.proven_us = 7;
    assert_int_equal(keyring_database_put(kr, &d, NULL), COFFER_OK);
    assert_int_equal(keyring_backup_put(kr, &b, NULL), COFFER_OK);
    assert_int_equal(keyring_client_put(kr, &c, NULL), COFFER_OK);
    assert_int_equal(keyring_waiver_put(kr, &w, NULL), COFFER_OK);
    assert_int_equal(keyring_certificate_put(kr, &t, NULL), COFFER_OK);
    assert_int_equal(keyring_database_count(kr), 1);
    assert_int_equal(keyring_database_at(kr, 0)->keep_days, 35);
    assert_int_equal(keyring_backup_count(kr), 1);
    assert_int_equal(keyring_backup_at(kr, 0)->expired_us, 9);
    assert_int_equal(keyring_client_count(kr), 1);
    assert_int_equal(keyring_client_at(kr, 0)->waived_epoch, 99);
    assert_int_equal(keyring_waiver_count(kr), 1);
    assert_int_equal(keyring_waiver_at(kr, 0)->at_us, 5);
    assert_int_equal(keyring_certificate_count(kr), 1);
    assert_int_equal(keyring_certificate_at(kr, 0)->proven_us, 7);
}

static void
records_that_break_a_rule_are_not_put(void **state)
{
    struct keyring_column column = *keyring_column_at(kr, 0), bad;
    struct keyring_database d = *keyring_database_at(kr, 0);
    struct keyring_backup b = *keyring_backup_at(kr, 0);
    struct keyring_client c = {{0}};

    (void)state;
    bad = column, bad.type = 11;
    assert_int_equal(keyring_column_put(kr, &bad, NULL), COFFER_E_MISUSE);
    bad = column, bad.pad = 65537;
    assert_int_equal(keyring_column_put(kr, &bad, NULL), COFFER_E_MISUSE);
    bad = column, bad.part_count = 0;
    assert_int_equal(keyring_column_put(kr, &bad, NULL), COFFER_E_MISUSE);
    bad = column, bad.part_count = KEYRING_PARTS_MAX + 1;
    assert_int_equal(keyring_column_put(kr, &bad, NULL), COFFER_E_MISUSE);
    bad = column, memset(bad.table, 'x', sizeof bad.table); /* no NUL */
    assert_int_equal(keyring_column_put(kr, &bad, NULL), COFFER_E_MISUSE);
    bad = column, bad.id.b[0] ^= 1; /* the same names under another id */
    assert_int_equal(keyring_column_put(kr, &bad, NULL), COFFER_E_EXISTS);
    memset(&d.id, 0, sizeof d.id);
    assert_int_equal(keyring_database_put(kr, &d, NULL), COFFER_E_MISUSE);
    b.end_us = b.start_us - 1;
    assert_int_equal(keyring_backup_put(kr, &b, NULL), COFFER_E_MISUSE);
    assert_int_equal(keyring_client_put(kr, &c, NULL), COFFER_E_MISUSE);
    assert_int_equal(keyring_client_remove(kr, "nobody", NULL), COFFER_E_NOTFOUND);
}

static void
a_phase_remembers_its_epoch(void **state)
{
    struct uuid id = keyring_column_at(kr, 0)->id, none = {{9}};
    struct keyring_column column;

    (void)state;
    encode(kr);
    encode(kr);
    assert_int_equal(keyring_column_phase(kr, &id, COFFER_DUAL, NULL), COFFER_OK); /* as it is */
    assert_int_equal(keyring_column_by_id(kr, &id)->phase_epoch, SAMPLE_EPOCH + 1);
    assert_int_equal(keyring_column_phase(kr, &id, COFFER_SEALED, NULL), COFFER_OK);
    assert_int_equal(keyring_column_by_id(kr, &id)->phase_epoch, SAMPLE_EPOCH + 3);
    column = *keyring_column_by_id(kr, &id);
    column.phase_epoch = 1; /* not the caller's to say */
    assert_int_equal(keyring_column_put(kr, &column, NULL), COFFER_OK);
    assert_int_equal(keyring_column_by_id(kr, &id)->phase_epoch, SAMPLE_EPOCH + 3);
    assert_int_equal(keyring_column_phase(kr, &id, 4, NULL), COFFER_E_MISUSE);
    assert_int_equal(keyring_column_phase(kr, &none, COFFER_DUAL, NULL), COFFER_E_NOTFOUND);
}

static void
after_a_change_of_kek_only_the_new_one_opens(void **state)
{
    uint8_t key[32] = {0x77};
    struct keyring *out;
    struct kek *old = keyring_sample_kek(false), *new;
    struct keyring *known;

    (void)state;
    assert_int_equal(keyring_clone(kr, &known, NULL), COFFER_OK);
    assert_int_equal(kek_key_new(bytes_of(key, sizeof key), &new, NULL), COFFER_OK);
    assert_int_equal(keyring_rewrap(kr, new, NULL), COFFER_OK);
    encode(kr);
    assert_int_equal(keyring_decode(buf_view(&file), old, &out, NULL), COFFER_E_KEK);
    assert_null(out);
    assert_int_equal(keyring_decode_again(buf_view(&file), known, &out, NULL), COFFER_E_KEK);
    assert_int_equal(keyring_decode(buf_view(&file), new, &out, NULL), COFFER_OK);
    assert_int_equal(secret_expose(keyring_material(out, SAMPLE_ACTIVE_ID)).ptr[0], 0x11);
    keyring_free(out);
    keyring_free(known);
    kek_close(old);
    kek_close(new);
}

static void
another_keyring_is_not_taken_for_a_newer_one(void **state)
{
    struct kek *kek = keyring_sample_kek(false);
    struct keyring *other, *out;

    (void)state;
    assert_int_equal(keyring_new(kek, "test", 1, &other, NULL), COFFER_OK);
    encode(other);
    assert_int_equal(keyring_decode_again(buf_view(&file), kr, &out, NULL), COFFER_E_ROLLBACK);
    assert_null(out);
    keyring_free(other);
    kek_close(kek);
}

static void
a_key_goes_to_escrow_and_comes_back(void **state)
{
    struct keyring *escrow, *back;
    size_t count;

    (void)state;
    assert_int_equal(keyring_extract(kr, SAMPLE_ESCROWED_ID, NULL, &escrow, NULL), COFFER_E_KEY);
    assert_int_equal(keyring_extract(kr, 1, NULL, &escrow, NULL), COFFER_E_KEY);
    assert_int_equal(keyring_extract(kr, SAMPLE_PROVEN_ID, NULL, &escrow, NULL), COFFER_OK);
    encode(escrow);
    keyring_free(escrow);
    assert_int_equal(keyring_key_move(kr, SAMPLE_PROVEN_ID, KEY_ESCROWED, 1, NULL), COFFER_OK);

    assert_int_equal(keyring_decode_again(buf_view(&file), kr, &back, NULL), COFFER_OK);
    assert_true(keyring_is_escrow(back));
    assert_false(keyring_is_escrow(kr));
    assert_int_equal(keyring_key_count(back), 1);
    assert_int_equal(keyring_import(kr, back, &count, NULL), COFFER_OK);
    assert_int_equal(count, 1);
    assert_int_equal(keyring_key(kr, SAMPLE_PROVEN_ID)->state, KEY_DRAINING);
    assert_int_equal(secret_expose(keyring_material(kr, SAMPLE_PROVEN_ID)).ptr[0], 0x22);
    assert_int_equal(keyring_certificate_count(kr), 0); /* void */
    assert_int_equal(keyring_import(kr, back, &count, NULL), COFFER_OK);
    assert_int_equal(count, 0); /* identical: skipped */
    keyring_free(back);
}

static void
a_destroyed_key_does_not_come_back(void **state)
{
    struct keyring *escrow;
    size_t count;

    (void)state;
    assert_int_equal(keyring_extract(kr, SAMPLE_PROVEN_ID, NULL, &escrow, NULL), COFFER_OK);
    assert_int_equal(keyring_key_move(kr, SAMPLE_PROVEN_ID, KEY_DESTROYED, 1, NULL), COFFER_OK);
    assert_int_equal(keyring_import(kr, escrow, &count, NULL), COFFER_E_REFUSED);
    assert_null(keyring_material(kr, SAMPLE_PROVEN_ID));
    keyring_free(escrow);
}

static void
an_id_with_another_fingerprint_imports_nothing(void **state)
{
    struct keyring *other;
    size_t count;

    (void)state;
    assert_int_equal(keyring_clone(kr, &other, NULL), COFFER_OK);
    ((struct key_entry *)list_at(&other->keys, 0))->key.id = 0x99999999; /* new here, comes first */
    keyring_entry(other, SAMPLE_ACTIVE_ID)->key.fingerprint[0] ^= 1;
    assert_int_equal(keyring_import(kr, other, &count, NULL), COFFER_E_EXISTS);
    assert_null(keyring_key(kr, 0x99999999));
    keyring_free(other);
}

static void
keys_from_elsewhere_do_not_seal_here(void **state)
{
    struct kek *kek = keyring_sample_kek(false);
    struct keyring *other;
    uint32_t id;
    size_t count;

    (void)state;
    assert_int_equal(keyring_new(kek, "test", 1, &other, NULL), COFFER_OK);
    id = keyring_active(other, KEY_FIELD, "main")->id;
    assert_int_equal(keyring_import(kr, other, &count, NULL), COFFER_OK);
    assert_int_equal(count, 3);
    assert_int_equal(keyring_key(kr, id)->state, KEY_DRAINING);
    assert_int_equal(keyring_key(kr, id)->version, 4);
    assert_int_equal(keyring_active(kr, KEY_FIELD, "main")->id, SAMPLE_ACTIVE_ID);
    encode(kr); /* still a keyring that reads */
    keyring_free(other);
    other = decode();
    keyring_free(other);
    kek_close(kek);
}

static void
uuids_read_what_they_write(void **state)
{
    struct uuid id, back;
    char text[37];

    (void)state;
    assert_int_equal(uuid_new(&id, NULL), COFFER_OK);
    uuid_format(&id, text);
    assert_int_equal(text[14], '4');
    assert_true(uuid_parse(bytes_str(text), &back));
    assert_true(uuid_equal(&id, &back));
    text[8] = 'x';
    assert_false(uuid_parse(bytes_str(text), &back));
    assert_true(uuid_zero(&back));
    assert_false(uuid_parse(bytes_str("1234"), &back));
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(everything_survives_the_file),
        TEST(a_clone_is_equal_and_apart),
        TEST(an_index_is_kept_with_all_its_parts),
        TEST(put_replaces_the_record_with_the_same_key),
        TEST(records_that_break_a_rule_are_not_put),
        TEST(a_phase_remembers_its_epoch),
        TEST(after_a_change_of_kek_only_the_new_one_opens),
        TEST(another_keyring_is_not_taken_for_a_newer_one),
        TEST(a_key_goes_to_escrow_and_comes_back),
        TEST(a_destroyed_key_does_not_come_back),
        TEST(an_id_with_another_fingerprint_imports_nothing),
        TEST(keys_from_elsewhere_do_not_seal_here),
        TEST(uuids_read_what_they_write),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
