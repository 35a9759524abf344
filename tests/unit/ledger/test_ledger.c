/* SPDX-License-Identifier: Apache-2.0 */
#include "support/test.h"

#include "crypto/crypto.h"
#include "ledger/audit.h"
#include "ledger/certificate.h"
#include "ledger/guard.h"
#include "ledger/journal.h"
#include "support/memory_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY INT64_C(86400000000)

static struct memory_store *memory;
static struct keyring *kr;
static const struct uuid DB = {{1}};

static int
setup(void **state)
{
    memory = memory_store_new();
    assert_int_equal(memory->store.load(&memory->store, &kr, NULL), COFFER_OK);
    return 0;
}

static int
teardown(void **state)
{
    keyring_free(kr);
    memory_store_free(memory);
    return 0;
}

/* ---- guard ---- */

static uint32_t
field_key(void)
{
    uint32_t id = keyring_active(kr, KEY_FIELD, "main")->id;

    assert_int_equal(keyring_key_used_in(kr, id, &DB, NULL), COFFER_OK);
    return id;
}

static void
prove_at(uint32_t id, int64_t at)
{
    struct keyring_certificate c = {.key_id = id, .database = DB, .proven_us = at};
    enum key_state path[] = {KEY_DRAINING, KEY_FENCED, KEY_PROVEN};
    size_t i;

    for (i = 0; i < 3; i++)
        assert_int_equal(keyring_key_move(kr, id, path[i], at, NULL), COFFER_OK);
    assert_int_equal(keyring_certificate_put(kr, &c, NULL), COFFER_OK);
}

static void
a_backup_needs_a_key_unless_proven_before_or_created_after(void **state)
{
    uint32_t id = field_key();
    int64_t created = keyring_key(kr, id)->entered_us[0], proven = created + 100 * DAY;
    const struct {
        struct uuid database;
        int64_t start, end;
        bool before_proof, after_proof;
    } cases[] = {
        {DB, created - 20, created - 10, false, false},
        {DB, created - 20, created, true, true},
        {DB, created - 20, 0, true, true},
        {DB, created + 1, created + 2, true, true},
        {DB, proven - 1, proven + 5, true, true},
        {DB, proven, proven + 5, true, true},
        {DB, proven + 1, proven + 5, true, false},
        {DB, proven + 1, 0, true, false},
        {{{2}}, created + 1, 0, false, false},
    };
    size_t i;

    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct keyring_backup b = {
            .database = cases[i].database, .start_us = cases[i].start, .end_us = cases[i].end};

        assert_int_equal(guard_backup_needs(kr, &b, keyring_key(kr, id)), cases[i].before_proof);
    }
    prove_at(id, proven);
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct keyring_backup b = {
            .database = cases[i].database, .start_us = cases[i].start, .end_us = cases[i].end};

        assert_int_equal(guard_backup_needs(kr, &b, keyring_key(kr, id)), cases[i].after_proof);
    }
}

struct holders {
    struct guard_holder item[8];
    size_t count;
};
static int
take_holder(void *arg, const struct guard_holder *holder, struct coffer_error *err)
{
    struct holders *h = arg;

    h->item[h->count++] = *holder;
    return COFFER_OK;
}

static struct holders
why(uint32_t id, int64_t now, size_t *count)
{
    struct holders h = {0};

    assert_int_equal(guard_why(kr, id, now, take_holder, &h, count, NULL), COFFER_OK);
    return h;
}

static void
why_names_what_holds_a_key_and_what_releases_it(void **state)
{
    struct keyring_database d = {
        .id = DB, .name = "sqlite:/c.db", .engine = "sqlite", .incarnation = "i", .keep_days = 30};
    struct keyring_backup b = {.id = {{9}}, .database = DB, .label = "nightly", .start_us = 1};
    struct keyring_waiver w = {.what = "promise:sqlite:/c.db", .by = "me", .at_us = 1};
    uint32_t id = field_key();
    int64_t proven = keyring_key(kr, id)->entered_us[0] + DAY;
    struct holders h;
    size_t count;

    assert_int_equal(keyring_database_put(kr, &d, NULL), COFFER_OK);
    h = why(id, proven, &count);
    assert_int_equal(count, 2);
    assert_string_equal(h.item[0].kind, "state");
    assert_string_equal(h.item[1].name, "database:sqlite:/c.db");

    prove_at(id, proven);
    assert_int_equal(keyring_backup_put(kr, &b, NULL), COFFER_OK);
    h = why(id, proven + 29 * DAY, &count);
    assert_int_equal(count, 2);
    assert_string_equal(h.item[0].name, "promise:sqlite:/c.db");
    assert_true(h.item[0].until_us == proven + 30 * DAY);
    assert_string_equal(h.item[1].name, "backup:nightly");
    assert_non_null(strstr(h.item[1].text, "coffer backup expire nightly"));

    w.key_id = id;
    assert_int_equal(keyring_waiver_put(kr, &w, NULL), COFFER_OK);
    h = why(id, proven, &count);
    assert_int_equal(count, 1);
    assert_true(h.item[0].waived);

    b.expired_us = 5;
    assert_int_equal(keyring_backup_put(kr, &b, NULL), COFFER_OK);
    (void)why(id, proven + 30 * DAY, &count);
    assert_int_equal(count, 0);
    assert_int_equal(guard_why(kr, 12345, 0, NULL, NULL, &count, NULL), COFFER_E_NOTFOUND);
}

/* ---- audit ---- */

static void
log_entries(unsigned n)
{
    while (n-- > 0) {
        keyring_free(kr);
        assert_int_equal(audit_change(&memory->store, &os_real, "tester", "note", "{\"n\":1}", NULL,
                                      NULL, &kr, NULL),
                         COFFER_OK);
    }
}

static int
verify(struct bytes log)
{
    return audit_verify(log, kr, NULL, NULL, NULL, NULL, NULL);
}

static void
every_edit_of_the_log_is_noticed(void **state)
{
    struct bytes log;
    struct buf edited;
    uint8_t public_key[32];
    size_t i, line[6] = {0}, lines = 0;

    log_entries(4);
    log = buf_view(&memory->audit);
    assert_int_equal(verify(log), COFFER_OK);
    assert_int_equal(audit_public_key(kr, public_key, NULL), COFFER_OK);
    assert_int_equal(audit_verify(log, NULL, public_key, NULL, NULL, NULL, NULL), COFFER_OK);
    public_key[0] ^= 1;
    assert_int_not_equal(audit_verify(log, NULL, public_key, NULL, NULL, NULL, NULL), COFFER_OK);

    buf_init(&edited, 1 << 20);
    for (i = 0; i < log.len; i++) { /* each byte */
        buf_clear(&edited);
        buf_bytes(&edited, log);
        edited.ptr[i] ^= 1;
        assert_int_not_equal(verify(buf_view(&edited)), COFFER_OK);
        if (log.ptr[i] == '\n')
            line[++lines] = i + 1;
    }
    assert_int_equal(lines, 4);
    for (i = 0; i < lines; i++) { /* each line removed; the last is a cut below the mark */
        buf_clear(&edited);
        buf_add(&edited, log.ptr, line[i]);
        buf_add(&edited, log.ptr + line[i + 1], log.len - line[i + 1]);
        assert_int_equal(verify(buf_view(&edited)), COFFER_E_TAMPERED);
    }
    buf_clear(&edited); /* two swapped */
    buf_add(&edited, log.ptr + line[1], line[2] - line[1]);
    buf_add(&edited, log.ptr, line[1]);
    buf_add(&edited, log.ptr + line[2], log.len - line[2]);
    assert_int_equal(verify(buf_view(&edited)), COFFER_E_TAMPERED);
    buf_clear(&edited); /* an unsigned one appended */
    buf_bytes(&edited, log);
    buf_str(&edited, "{\"seq\":5}\n");
    assert_int_equal(verify(buf_view(&edited)), COFFER_E_TAMPERED);
    buf_wipe(&edited);
}

static int
refuse(struct keyring *keyring, void *arg, struct coffer_error *err)
{
    return error_set(err, COFFER_E_REFUSED, "no");
}

static int
take_event(void *arg, const struct audit_entry *entry, struct coffer_error *err)
{
    snprintf(arg, 64, "%s", entry->event);
    return COFFER_OK;
}

static void
a_refused_change_leaves_an_entry_that_says_so(void **state)
{
    char last[64];

    assert_int_equal(
        audit_change(&memory->store, &os_real, "t", "key.x", NULL, refuse, NULL, NULL, NULL),
        COFFER_E_REFUSED);
    assert_int_equal(audit_verify(buf_view(&memory->audit), kr, NULL, take_event, last, NULL, NULL),
                     COFFER_OK);
    assert_string_equal(last, "failed");
    log_entries(1); /* and the next change marks all */
    assert_int_equal(verify(buf_view(&memory->audit)), COFFER_OK);
}

static void
no_change_is_made_behind_a_cut_log_until_the_loss_is_accepted(void **state)
{
    log_entries(3);
    buf_clear(&memory->audit);
    assert_int_equal(
        audit_change(&memory->store, &os_real, "t", "note", NULL, NULL, NULL, NULL, NULL),
        COFFER_E_TAMPERED);
    assert_int_equal(audit_accept_loss(&memory->store, &os_real, "t", NULL), COFFER_OK);
    log_entries(1);
    assert_int_equal(verify(buf_view(&memory->audit)), COFFER_OK);
}

/* ---- certificate ---- */

static void
a_certificate_holds_until_any_byte_changes(void **state)
{
    struct certificate_column column = {.name = "t.c", .id = {{3}}, .rows = 10, .sealed = 10};
    struct certificate c = {
        .key_id = 0xabcd1234, .database = DB, .columns = &column, .column_count = 1};
    struct buf file;
    uint8_t public_key[32];
    uint32_t id;
    size_t i;

    strcpy(c.purpose, "field");
    buf_init(&file, 1 << 20);
    assert_int_equal(audit_public_key(kr, public_key, NULL), COFFER_OK);
    assert_int_equal(certificate_write(&c, kr, &file, NULL), COFFER_OK);
    assert_int_equal(certificate_verify(buf_view(&file), public_key, NULL, NULL, &id, NULL),
                     COFFER_OK);
    assert_int_equal(id, 0xabcd1234);
    for (i = 0; i + 1 < file.len; i++) {
        file.ptr[i] ^= 1;
        assert_int_not_equal(certificate_verify(buf_view(&file), public_key, NULL, NULL, &id, NULL),
                             COFFER_OK);
        assert_int_equal(id, 0);
        file.ptr[i] ^= 1;
    }
    buf_clear(&file);
    column.under_key = 1;
    assert_int_equal(certificate_write(&c, kr, &file, NULL), COFFER_E_REFUSED);
    column.under_key = 0;
    c.quarantine = 1;
    assert_int_equal(certificate_write(&c, kr, &file, NULL), COFFER_E_REFUSED);
    buf_wipe(&file);
}

/* ---- journal: a store of one row, in the hands of whoever edits it ---- */

struct one_row {
    struct journal_store store;
    struct journal_row row;
    uint8_t content[64], mac[64];
};

static int
one_get(struct journal_store *s, const char *table, const char *key, journal_row_fn fn, void *arg,
        struct coffer_error *err)
{
    return fn(arg, &((struct one_row *)s)->row, err);
}
static int
one_put(struct journal_store *s, const char *table, const struct journal_row *row, uint64_t expect,
        struct coffer_error *err)
{
    struct one_row *one = (struct one_row *)s;

    one->row = *row;
    memcpy(one->content, row->content.ptr, row->content.len);
    memcpy(one->mac, row->mac.ptr, row->mac.len);
    one->row.content.ptr = one->content;
    one->row.mac.ptr = one->mac;
    return COFFER_OK;
}

static void
a_row_holds_only_as_it_was_put_and_where(void **state)
{
    struct one_row one = {.store = {.get = one_get, .put = one_put}};
    struct journal j = {&one.store, kr, DB};
    struct buf content;
    uint64_t epoch;
    size_t i;

    buf_init(&content, 1000);
    assert_int_equal(journal_put(&j, "chunk", "k", bytes_str("{\"a\":1}"), 4, NULL), COFFER_OK);
    assert_int_equal(journal_get(&j, "chunk", "k", &content, &epoch, NULL), COFFER_OK);
    assert_int_equal(epoch, 5);
    assert_string_equal(buf_cstr(&content), "{\"a\":1}");

    assert_int_equal(journal_get(&j, "client", "k", &content, &epoch, NULL), COFFER_E_TAMPERED);
    assert_int_equal(journal_get(&j, "chunk", "l", &content, &epoch, NULL), COFFER_E_TAMPERED);
    j.database.b[0]++;
    assert_int_equal(journal_get(&j, "chunk", "k", &content, &epoch, NULL), COFFER_E_TAMPERED);
    j.database.b[0]--;
    one.row.epoch--;
    assert_int_equal(journal_get(&j, "chunk", "k", &content, &epoch, NULL), COFFER_E_TAMPERED);
    one.row.epoch++;
    for (i = 0; i < one.row.content.len; i++) {
        one.content[i] ^= 1;
        assert_int_equal(journal_get(&j, "chunk", "k", &content, &epoch, NULL), COFFER_E_TAMPERED);
        assert_int_equal(content.len, 0);
        one.content[i] ^= 1;
    }
    for (i = 0; i < one.row.mac.len; i++) {
        one.mac[i] ^= 1;
        assert_int_equal(journal_get(&j, "chunk", "k", &content, &epoch, NULL), COFFER_E_TAMPERED);
        one.mac[i] ^= 1;
    }
    one.row.mac.len--;
    assert_int_equal(journal_get(&j, "chunk", "k", &content, &epoch, NULL), COFFER_E_TAMPERED);
    buf_wipe(&content);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_backup_needs_a_key_unless_proven_before_or_created_after,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(why_names_what_holds_a_key_and_what_releases_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(every_edit_of_the_log_is_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_change_leaves_an_entry_that_says_so, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            no_change_is_made_behind_a_cut_log_until_the_loss_is_accepted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_certificate_holds_until_any_byte_changes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_row_holds_only_as_it_was_put_and_where, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
