/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include "base/mem.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
on_event(void *arg, const struct rotate_event *event)
{
    struct bench *b = arg;

    if (event->kind != ROTATE_PROGRESS)
        snprintf(b->log[b->logged++ % 200], 160, "%s: %.140s", event->step, event->text);
    if (b->stop_after != 0 && --b->stop_after == 0)
        b->stop = 1;
}

void
bench_sql(struct bench *b, const char *text)
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
void
bench_sql_refused(struct bench *b, const char *text, const char *expected)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(b->path, &db), SQLITE_OK);
    assert_int_not_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    assert_non_null(strstr(sqlite3_errmsg(db), expected));
    sqlite3_close(db);
}

int64_t
bench_number(struct bench *b, const char *text)
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

int
bench_setup(void **state)
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
    bench_sql(b, SCHEMA);
    *state = b;
    return 0;
}

int
bench_teardown(void **state)
{
    struct bench *b = *state;
    char command[128];

    memory_store_free(b->store);
    snprintf(command, sizeof command, "rm -rf %s", b->folder);
    assert_int_equal(system(command), 0);
    free(b);
    return 0;
}

void
bench_must(struct bench *b, int rc, const struct coffer_error *err)
{
    size_t i;

    if (rc == COFFER_OK)
        return;
    for (i = 0; i < b->logged && i < 200; i++)
        print_error("  %s\n", b->log[i]);
    fail_msg("%s: %s", coffer_status_name(rc), err->message);
}

const struct rotate_column BENCH_COLUMNS[BENCH_COLUMN_COUNT] = {
    {.name = "patients.ssn", .binding = -1},    {.name = "patients.born", .binding = -1},
    {.name = "patients.weight", .binding = -1}, {.name = "patients.photo", .binding = -1},
    {.name = "patients.fee", .binding = -1},    {.name = "wards.guest", .binding = -1},
};

void
bench_protect(struct bench *b)
{
    struct coffer_error err = {0};

    bench_must(b, rotate_protect(&b->env, BENCH_COLUMNS, BENCH_COLUMN_COUNT, &b->options, &err),
               &err);
}

uint32_t
bench_active_key(struct bench *b)
{
    struct keyring *kr = NULL;
    uint32_t id;

    assert_int_equal(b->store->store.load(&b->store->store, &kr, NULL), COFFER_OK);
    id = keyring_active(kr, KEY_FIELD, "main")->id;
    keyring_free(kr);
    return id;
}

enum key_state
bench_state_of(struct bench *b, uint32_t id)
{
    struct keyring *kr = NULL;
    enum key_state state;

    assert_int_equal(b->store->store.load(&b->store->store, &kr, NULL), COFFER_OK);
    state = keyring_key(kr, id)->state;
    keyring_free(kr);
    return state;
}

/* Every column is sealed, every cell that is not NULL under `key`. */
void
bench_assert_all_under(struct bench *b, uint32_t key)
{
    struct rotate_status *status = NULL;
    struct coffer_error err = {0};
    size_t i;

    bench_must(b, rotate_status(&b->env, true, &status, &err), &err);
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
void
bench_unprotect_and_compare(struct bench *b)
{
    static const char *const NAMES[] = {"patients.ssn",   "patients.born", "patients.weight",
                                        "patients.photo", "patients.fee",  "wards.guest"};
    struct coffer_error err = {0};

    bench_must(b, rotate_unprotect(&b->env, NAMES, 6, &b->options, &err), &err);
    assert_int_equal(
        bench_number(b, "SELECT count(*) FROM patients p JOIN twin t USING(id) WHERE p.ssn "
                        "IS t.ssn COLLATE BINARY AND p.born IS "
                        "t.born AND p.weight IS t.weight AND p.photo IS t.photo AND p.fee "
                        "IS t.fee AND typeof(p.fee)=typeof(t.fee) "
                        "AND typeof(p.weight)=typeof(t.weight)"),
        BENCH_ROWS);
    assert_int_equal(bench_number(b,
                                  "SELECT count(*) FROM wards w JOIN wards_twin t USING(code, bed) "
                                  "WHERE w.guest IS t.guest"),
                     499);
}

void
bench_backup(struct bench *b, const char *name)
{
    char command[200];

    snprintf(command, sizeof command, "VACUUM INTO '%s/%s.backup'", b->folder, name);
    bench_sql(b, command);
}

void
bench_restore(struct bench *b, const char *name)
{
    char command[400];

    snprintf(command, sizeof command, "rm -f %s-wal %s-shm && cp %s/%s.backup %s", b->path, b->path,
             b->folder, name, b->path);
    assert_int_equal(system(command), 0);
}
