/* SPDX-License-Identifier: Apache-2.0 */
/* The whole machine on a real SQLite file: protect, rotate, prove, escrow, restore, unprotect. */
#include "support/test.h"

#include "base/mem.h"
#include "ledger/audit.h"
#include "ledger/certificate.h"
#include "rotate/internal.h"
#include "support/memory_store.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROWS 3000

struct bench {
    char folder[64], path[96], url[112];
    struct memory_store *store;
    struct rotate_env env;
    struct rotate_options options;
    char log[200][160]; /* events, for messages of failing tests */
    size_t logged;
    unsigned stop_after; /* events; 0 never */
    volatile sig_atomic_t stop;
};

static void
on_event(void *arg, const struct rotate_event *event)
{
    struct bench *b = arg;

    if (event->kind != ROTATE_PROGRESS)
        snprintf(b->log[b->logged++ % 200], 160, "%s: %.140s", event->step, event->text);
    if (b->stop_after != 0 && --b->stop_after == 0)
        b->stop = 1;
}

static void
sql(struct bench *b, const char *text)
{
    sqlite3 *db = NULL;
    char *message = NULL;

    assert_int_equal(sqlite3_open(b->path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    if (sqlite3_exec(db, text, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", text, message);
    sqlite3_close(db);
}

/* Does this statement fail, with this in its message? */
static void
sql_refused(struct bench *b, const char *text, const char *expected)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(b->path, &db), SQLITE_OK);
    assert_int_not_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    assert_non_null(strstr(sqlite3_errmsg(db), expected));
    sqlite3_close(db);
}

static int64_t
number(struct bench *b, const char *text)
{
    sqlite3_stmt *stmt = NULL;
    sqlite3 *db = NULL;
    int64_t n;

    assert_int_equal(sqlite3_open(b->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

static const char SCHEMA[] =
    "PRAGMA journal_mode=WAL;"
    "CREATE TABLE patients(id INTEGER PRIMARY KEY, ssn TEXT COLLATE NOCASE, born DATE, weight "
    "REAL, photo BLOB, fee DECIMAL(10,2));"
    "CREATE TABLE wards(code TEXT NOT NULL, bed INTEGER NOT NULL, guest TEXT, PRIMARY KEY(code, "
    "bed));"
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<3000) INSERT INTO "
    "patients SELECT i,"
    " CASE i%10 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE printf('%03d-45-%04d', i%1000, i) END, "
    "printf('19%02d-%02d-11', i%100, 1+i%12),"
    " i*0.5+0.25, CASE i%3 WHEN 0 THEN "
    "x'"
    "F901010100000001ababababababababababababababababababababababababababababababababababababababab"
    "ababababababababababababab' WHEN 1 THEN x'' ELSE randomblob(20) END, i*1.25 FROM n;"
    "INSERT INTO wards SELECT 'W'||(id%7), id, 'guest '||id FROM patients WHERE id<500;"
    "CREATE TABLE twin AS SELECT * FROM patients; CREATE TABLE wards_twin AS SELECT * FROM wards;";

static const char *const ACCEPTED[] = {"twin.photo"};

static int
setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);

    strcpy(b->folder, "/tmp/coffer-machine-XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    snprintf(b->path, sizeof b->path, "%s/clinic.db", b->folder);
    snprintf(b->url, sizeof b->url, "sqlite:%s", b->path);
    b->store = memory_store_new();
    b->env = (struct rotate_env){.store = &b->store->store,
                                 .os = &os_real,
                                 .who = "test",
                                 .url = b->url,
                                 .say = on_event,
                                 .arg = b,
                                 .stop = &b->stop};
    b->options = (struct rotate_options){.yes = true, .throttle.duty = 1};
    b->options.accept_unregistered = ACCEPTED; /* its photos look like envelopes */
    b->options.accept_unregistered_count = 1;
    sql(b, SCHEMA);
    *state = b;
    return 0;
}

static int
teardown(void **state)
{
    struct bench *b = *state;
    char command[128];

    memory_store_free(b->store);
    snprintf(command, sizeof command, "rm -rf %s", b->folder);
    assert_int_equal(system(command), 0);
    free(b);
    return 0;
}

static void
must(struct bench *b, int rc, const struct coffer_error *err)
{
    size_t i;

    if (rc == COFFER_OK)
        return;
    for (i = 0; i < b->logged && i < 200; i++)
        print_error("  %s\n", b->log[i]);
    fail_msg("%s: %s", coffer_status_name(rc), err->message);
}

static const struct rotate_column COLUMNS[] = {
    {.name = "patients.ssn", .binding = -1},    {.name = "patients.born", .binding = -1},
    {.name = "patients.weight", .binding = -1}, {.name = "patients.photo", .binding = -1},
    {.name = "patients.fee", .binding = -1},    {.name = "wards.guest", .binding = -1},
};

static void
protect(struct bench *b)
{
    struct coffer_error err = {0};

    must(b, rotate_protect(&b->env, COLUMNS, 6, &b->options, &err), &err);
}

static uint32_t
active_key(struct bench *b)
{
    struct keyring *kr = NULL;
    uint32_t id;

    assert_int_equal(b->store->store.load(&b->store->store, &kr, NULL), COFFER_OK);
    id = keyring_active(kr, KEY_FIELD, "main")->id;
    keyring_free(kr);
    return id;
}

static enum key_state
state_of(struct bench *b, uint32_t id)
{
    struct keyring *kr = NULL;
    enum key_state state;

    assert_int_equal(b->store->store.load(&b->store->store, &kr, NULL), COFFER_OK);
    state = keyring_key(kr, id)->state;
    keyring_free(kr);
    return state;
}

/* Every column is sealed, every cell that is not NULL under `key`. */
static void
assert_all_under(struct bench *b, uint32_t key)
{
    struct rotate_status *status = NULL;
    struct coffer_error err = {0};
    size_t i;

    must(b, rotate_status(&b->env, true, &status, &err), &err);
    assert_int_equal(status->column_count, 6);
    for (i = 0; i < status->column_count; i++) {
        const struct rotate_column_status *c = &status->columns[i];

        assert_int_equal(c->column->phase, COFFER_SEALED);
        assert_int_equal(c->plaintext, 0);
        assert_int_equal(c->quarantine, 0);
        assert_int_equal(c->key_count, 1);
        assert_int_equal(c->keys[0].key_id, key);
        assert_int_equal(c->rows, c->nulls + c->keys[0].cells);
    }
    assert_int_equal(status->open_count, 0);
    assert_int_equal(status->tampered, 0);
    rotate_status_free(status);
}

/* Taken back to plaintext, each table is what it was, to the byte and the storage class. */
static void
unprotect_and_compare(struct bench *b)
{
    static const char *const NAMES[] = {"patients.ssn",   "patients.born", "patients.weight",
                                        "patients.photo", "patients.fee",  "wards.guest"};
    struct coffer_error err = {0};

    must(b, rotate_unprotect(&b->env, NAMES, 6, &b->options, &err), &err);
    assert_int_equal(number(b, "SELECT count(*) FROM patients p JOIN twin t USING(id) WHERE p.ssn "
                               "IS t.ssn COLLATE BINARY AND p.born IS "
                               "t.born AND p.weight IS t.weight AND p.photo IS t.photo AND p.fee "
                               "IS t.fee AND typeof(p.fee)=typeof(t.fee) "
                               "AND typeof(p.weight)=typeof(t.weight)"),
                     ROWS);
    assert_int_equal(number(b, "SELECT count(*) FROM wards w JOIN wards_twin t USING(code, bed) "
                               "WHERE w.guest IS t.guest"),
                     499);
}

static void
protect_seals_every_cell_and_unprotect_gives_all_back(void **state)
{
    struct bench *b = *state;

    protect(b);
    assert_all_under(b, active_key(b));
    assert_int_equal(
        number(b, "SELECT count(*) FROM patients WHERE typeof(ssn)='text' OR typeof(born)='text'"),
        0);
    assert_int_equal(number(b, "SELECT count(*) FROM patients WHERE ssn IS NULL"),
                     300); /* NULL stays NULL, '' does not become it */
    sql_refused(b, "UPDATE patients SET ssn='123-45-6789' WHERE id=5", "coffer: 23514");
    sql_refused(b, "INSERT INTO patients(id, born) VALUES(9999, '2001-01-01')", "coffer: 23514");
    protect(b); /* again: nothing to do */
    unprotect_and_compare(b);
    sql(b, "UPDATE patients SET ssn='123-45-6789' WHERE id=5");
}

static void
rotate_moves_every_cell_and_escrows_the_old_key(void **state)
{
    struct bench *b = *state;
    struct coffer_error err = {0};
    uint32_t old, new;
    char text[300];

    protect(b);
    old = active_key(b);
    must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
    new = active_key(b);
    assert_int_not_equal(old, new);
    assert_all_under(b, new);
    assert_int_equal(state_of(b, old), KEY_ESCROWED);
    assert_int_equal(b->store->escrow_count, 1);
    assert_int_equal(b->store->certificate_count, 1);
    /* The database itself refuses the old key. */
    snprintf(text, sizeof text,
             "UPDATE patients SET "
             "ssn=x'F9010102%"
             "08xababababababababababababababababababababababababababababababababababababababababab"
             "ababababababababababab' WHERE id=7",
             old);
    sql_refused(b, text, "coffer: 40001");
    unprotect_and_compare(b);
}

static void
the_certificate_is_true_signed_and_checked_offline(void **state)
{
    struct bench *b = *state;
    struct coffer_error err = {0};
    struct keyring *kr = NULL;
    uint8_t public_key[32];
    uint32_t key = 0, old;
    struct buf changed;

    protect(b);
    old = active_key(b);
    must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
    assert_int_equal(b->store->store.load(&b->store->store, &kr, NULL), COFFER_OK);
    assert_int_equal(audit_public_key(kr, public_key, NULL), COFFER_OK);
    assert_int_equal(certificate_verify(buf_view(&b->store->certificates[0].content), public_key,
                                        NULL, NULL, &key, &err),
                     COFFER_OK);
    assert_int_equal(key, old);
    buf_init(&changed, 1u << 20);
    buf_bytes(&changed, buf_view(&b->store->certificates[0].content));
    changed.ptr[changed.len / 2] ^= 1;
    assert_int_not_equal(certificate_verify(buf_view(&changed), public_key, NULL, NULL, &key, &err),
                         COFFER_OK);
    buf_wipe(&changed);
    must(b, audit_verify(buf_view(&b->store->audit), kr, NULL, NULL, NULL, NULL, &err), &err);
    keyring_free(kr);
}

static void
destroy_is_refused_while_a_backup_may_need_the_key(void **state)
{
    struct bench *b = *state;
    struct coffer_error err = {0};
    uint32_t old;

    protect(b);
    old = active_key(b);
    assert_int_equal(rotate_destroy(&b->env, old, NULL, 0, &err), COFFER_E_REFUSED);
    must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
    assert_int_equal(rotate_destroy(&b->env, old, NULL, 0, &err),
                     COFFER_E_REFUSED); /* 400 days for backups nobody registered */
    assert_non_null(strstr(err.message, "still needed"));
    { /* a waiver is exact: a letter, or a part of a name, waives nothing */
        static const char *const LETTER[] = {"e"}, *const PART[] = {"promise"};
        char name[160];
        const char *const whole[] = {name};

        assert_int_equal(rotate_destroy(&b->env, old, LETTER, 1, &err), COFFER_E_REFUSED);
        assert_int_equal(rotate_destroy(&b->env, old, PART, 1, &err), COFFER_E_REFUSED);
        assert_int_equal(state_of(b, old), KEY_ESCROWED);
        snprintf(name, sizeof name, "promise:%s", b->url);
        must(b, rotate_destroy(&b->env, old, whole, 1, &err), &err);
        assert_int_equal(state_of(b, old), KEY_DESTROYED);
        assert_int_equal(b->store->escrow_count, 0);
    }
}

/* Restoring a copy from before the rotation: the key comes back, everything is moved again and
 * proven again. */
static void
a_restore_over_a_finished_rotation_recovers(void **state)
{
    struct bench *b = *state;
    struct rotate_status *status = NULL;
    struct coffer_error err = {0};
    char command[400];
    uint32_t old;

    protect(b);
    old = active_key(b);
    snprintf(command, sizeof command, "VACUUM INTO '%s/backup.db'", b->folder);
    sql(b, command);
    must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
    snprintf(command, sizeof command, "rm -f %s-wal %s-shm; cp %s/backup.db %s", b->path, b->path,
             b->folder, b->path);
    assert_int_equal(system(command), 0);
    must(b, rotate_status(&b->env, true, &status, &err), &err);
    assert_true(status->restored);
    rotate_status_free(status);
    assert_int_equal(rotate_prove(&b->env, old, &b->options, &(struct buf){.max = 1u << 20}, &err),
                     COFFER_E_REFUSED);
    must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
    assert_all_under(b, active_key(b));
    assert_int_equal(state_of(b, old), KEY_ESCROWED);
    unprotect_and_compare(b);
    must(b, rotate_status(&b->env, true, &status, &err), &err);
    assert_false(status->restored);
    rotate_status_free(status);
}

/* Stopped after the 1st, 2nd, 3rd … event and run again, both commands end in the same state. */
static void
stopped_anywhere_it_goes_on(void **state)
{
    struct bench *b = *state;
    struct coffer_error err = {0};
    unsigned nth, stops = 0;
    uint32_t old;
    int rc;

    for (nth = 1;; nth++) {
        b->stop = 0;
        b->stop_after = nth;
        rc = rotate_protect(&b->env, COLUMNS, 6, &b->options, &err);
        b->stop_after = 0;
        if (rc == COFFER_OK)
            break;
        assert_int_equal(rc, COFFER_E_CANCELLED);
        stops++;
    }
    b->stop = 0;
    protect(b);
    old = active_key(b);
    assert_all_under(b, old);
    for (nth = 1;; nth++) {
        b->stop = 0;
        b->stop_after = nth;
        rc = rotate_run(&b->env, NULL, 0, &b->options, &err);
        b->stop_after = 0;
        if (rc == COFFER_OK)
            break;
        assert_int_equal(rc, COFFER_E_CANCELLED);
        stops++;
    }
    assert_true(stops > 5);
    assert_all_under(b, active_key(b));
    assert_int_equal(state_of(b, old), KEY_ESCROWED);
}

/* An abort half-way takes everything back to the old key and proves the new one gone. */
static void
an_abort_goes_the_other_way_and_proves_the_abandoned_key(void **state)
{
    struct bench *b = *state;
    struct coffer_error err = {0};
    uint32_t old;

    protect(b);
    old = active_key(b);
    b->stop_after = 8; /* within the drain */
    assert_int_equal(rotate_run(&b->env, NULL, 0, &b->options, &err), COFFER_E_CANCELLED);
    b->stop = 0;
    must(b, rotate_control(&b->env, ROTATE_ABORT, &err), &err);
    must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
    assert_int_equal(active_key(b), old);
    assert_all_under(b, old);
}

/* An envelope of another row, put in place of this one's, goes to quarantine and forbids the proof.
 */
static void
a_cell_that_does_not_open_forbids_the_proof(void **state)
{
    struct bench *b = *state;
    struct coffer_error err = {0};
    struct rotate_status *status = NULL;
    uint32_t old;

    protect(b);
    old = active_key(b);
    sql(b,
        "UPDATE wards SET guest=(SELECT guest FROM wards WHERE bed=8) WHERE bed=9"); /* bound to its
                                                                                        row */
    assert_int_equal(rotate_run(&b->env, NULL, 0, &b->options, &err), COFFER_E_REFUSED);
    assert_non_null(strstr(err.message, "do not open"));
    assert_int_not_equal(state_of(b, old), KEY_ESCROWED);
    must(b, rotate_status(&b->env, true, &status, &err), &err);
    assert_int_equal(status->columns[5].quarantine, 1);
    rotate_status_free(status);
    sql(b, "UPDATE wards SET guest=NULL WHERE bed=9");
    must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
    assert_int_equal(state_of(b, old), KEY_ESCROWED);
}

static void
a_live_client_that_is_behind_holds_the_gate(void **state)
{
    struct bench *b = *state;
    struct heartbeat beat = {.client = "app@host:1", .role = "app", .epoch = 1};
    struct host_database *database = NULL;
    struct coffer_error err = {0};
    struct keyring *kr = NULL;

    protect(b);
    assert_int_equal(b->store->store.load(&b->store->store, &kr, NULL), COFFER_OK);
    must(b, host_database_open(kr, b->url, false, NULL, &database, &err), &err);
    beat.at_us = os_real.now_us(&os_real);
    must(b, heartbeat_write(&database->journal, &beat, &err), &err);
    b->options.no_wait = true;
    assert_int_equal(rotate_run(&b->env, NULL, 0, &b->options, &err), COFFER_E_NOTYET);
    assert_non_null(strstr(err.message, "app@host:1"));
    beat.leaving = true;
    must(b, heartbeat_write(&database->journal, &beat, &err), &err);
    must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
    host_database_close(database);
    keyring_free(kr);
}

static int
declare(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct keyring_client client = {.name = "nightly",
                                    .declared_us = 1,
                                    .waived_epoch = arg != NULL ? keyring_epoch(kr) + 1 : 0};

    return keyring_client_put(kr, &client, err);
}

/* A waiver holds for each gate of the rotation that it was given in, and for no later one. */
static void
a_waiver_holds_for_the_rotation_that_is_open(void **state)
{
    struct bench *b = *state;
    struct keyring_store *store = &b->store->store;
    struct coffer_error err = {0};

    protect(b);
    assert_int_equal(keyring_store_edit(store, declare, NULL, NULL, NULL), COFFER_OK);
    b->options.no_wait = true;
    assert_int_equal(rotate_run(&b->env, NULL, 0, &b->options, &err), COFFER_E_NOTYET);
    assert_non_null(strstr(err.message, "nightly"));
    assert_int_equal(keyring_store_edit(store, declare, store, NULL, NULL), COFFER_OK);
    must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
    assert_int_equal(rotate_run(&b->env, NULL, 0, &b->options, &err), COFFER_E_NOTYET);
    assert_non_null(strstr(err.message, "coffer client waive nightly"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(protect_seals_every_cell_and_unprotect_gives_all_back),
        TEST(rotate_moves_every_cell_and_escrows_the_old_key),
        TEST(the_certificate_is_true_signed_and_checked_offline),
        TEST(destroy_is_refused_while_a_backup_may_need_the_key),
        TEST(a_restore_over_a_finished_rotation_recovers),
        TEST(stopped_anywhere_it_goes_on),
        TEST(an_abort_goes_the_other_way_and_proves_the_abandoned_key),
        TEST(a_cell_that_does_not_open_forbids_the_proof),
        TEST(a_live_client_that_is_behind_holds_the_gate),
        TEST(a_waiver_holds_for_the_rotation_that_is_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
