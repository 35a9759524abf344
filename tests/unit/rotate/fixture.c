/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include "base/mem.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- journal rows over the working tables of the test's file ---- */

static struct coffer_value
text_of(const char *text)
{
    return (struct coffer_value){
        .type = COFFER_TEXT, .data = (const uint8_t *)text, .len = strlen(text)};
}

static int
give(struct db_result *result, journal_row_fn fn, void *arg, struct coffer_error *err)
{
    int rc = COFFER_OK;

    for (size_t i = 0; rc == COFFER_OK && i < result->rows; i++) {
        const struct coffer_value *cells = &result->cells[4 * i];
        struct journal_row row = {.epoch = (uint64_t)cells[1].i64,
                                  .content = bytes_of(cells[2].data, cells[2].len),
                                  .mac = bytes_of(cells[3].data, cells[3].len)};

        snprintf(row.key, sizeof row.key, "%.*s", (int)cells[0].len, (const char *)cells[0].data);
        rc = fn(arg, &row, err);
    }
    return rc;
}

static int
rows_get(struct journal_store *s, const char *table, const char *key, journal_row_fn fn, void *arg,
         struct coffer_error *err)
{
    struct coffer_value param = text_of(key);
    struct db_result *result = NULL;
    char sql[200];
    int rc;

    snprintf(sql, sizeof sql, "SELECT key, epoch, content, mac FROM %s WHERE key=$1",
             db_catalog_name(s->ctx, table));
    rc = db_run(s->ctx, sql, &param, 1, &result, err);
    if (rc == COFFER_OK && result->rows == 0)
        rc = error_set(err, COFFER_E_NOTFOUND, "no row");
    if (rc == COFFER_OK)
        rc = give(result, fn, arg, err);
    db_result_free(result);
    return rc;
}

static int
rows_put(struct journal_store *s, const char *table, const struct journal_row *row, uint64_t expect,
         struct coffer_error *err)
{
    struct coffer_value params[5] = {
        text_of(row->key),
        {.type = COFFER_INT64, .i64 = (int64_t)row->epoch},
        {.type = COFFER_TEXT, .data = row->content.ptr, .len = row->content.len},
        {.type = COFFER_BYTES, .data = row->mac.ptr, .len = row->mac.len},
        {.type = COFFER_INT64, .i64 = (int64_t)expect}};
    struct db_result *result = NULL;
    char sql[300];
    int rc;

    if (expect == 0)
        snprintf(sql, sizeof sql,
                 "INSERT INTO %s (key, epoch, content, mac) VALUES ($1, $2, $3, $4) "
                 "ON CONFLICT DO NOTHING RETURNING 1",
                 db_catalog_name(s->ctx, table));
    else
        snprintf(sql, sizeof sql,
                 "UPDATE %s SET epoch=$2, content=$3, mac=$4 WHERE key=$1 AND epoch=$5 RETURNING 1",
                 db_catalog_name(s->ctx, table));
    rc = db_run(s->ctx, sql, params, expect == 0 ? 4 : 5, &result, err);
    if (rc == COFFER_OK && result->rows == 0)
        rc = error_set(err, COFFER_E_CONFLICT, "at another epoch");
    db_result_free(result);
    return rc;
}

static int
rows_list(struct journal_store *s, const char *table, const char *prefix, journal_row_fn fn,
          void *arg, struct coffer_error *err)
{
    struct coffer_value param = text_of(prefix);
    struct db_result *result = NULL;
    char sql[200];
    int rc;

    snprintf(sql, sizeof sql,
             "SELECT key, epoch, content, mac FROM %s WHERE substr(key, 1, length($1))=$1 ORDER BY "
             "key",
             db_catalog_name(s->ctx, table));
    rc = db_run(s->ctx, sql, &param, 1, &result, err);
    if (rc == COFFER_OK)
        rc = give(result, fn, arg, err);
    db_result_free(result);
    return rc;
}

static int
rows_remove(struct journal_store *s, const char *table, const char *key, struct coffer_error *err)
{
    struct coffer_value param = text_of(key);
    char sql[100];

    snprintf(sql, sizeof sql, "DELETE FROM %s WHERE key=$1", db_catalog_name(s->ctx, table));
    return db_run(s->ctx, sql, &param, 1, NULL, err);
}

/* ---- the clock ---- */

static int64_t
moved_now_us(const struct os *os)
{
    const struct fixture *f = os->ctx;

    return os_real.now_us(&os_real) + f->skip_us;
}

/* ---- the fixture ---- */

static void
make_keyring(struct fixture *f)
{
    const uint8_t root[32] = {7};
    struct keyring_column *c = &f->column;
    struct kek *kek = NULL;

    assert_int_equal(kek_key_new(bytes_of(root, sizeof root), &kek, NULL), COFFER_OK);
    assert_int_equal(keyring_new(kek, "test", 1, &f->keyring, NULL), COFFER_OK);
    kek_close(kek);
    assert_int_equal(uuid_new(&f->database.id, NULL), COFFER_OK);
    assert_int_equal(uuid_new(&c->id, NULL), COFFER_OK);
    c->database = f->database.id;
    strcpy(c->table, "patients");
    strcpy(c->name, "ssn");
    strcpy(c->line, "main");
    strcpy(c->sql_type, "text");
    c->type = COFFER_TEXT;
    c->binding = COFFER_BIND_COLUMN;
    c->suite = COFFER_SUITE_XAES;
    c->phase = COFFER_DUAL;
    f->old_key = keyring_active(f->keyring, KEY_FIELD, "main")->id;
    assert_int_equal(keyring_column_put(f->keyring, c, NULL), COFFER_OK);
    assert_int_equal(keyring_key_add(f->keyring, KEY_FIELD, "main", "test", 2, &f->new_key, NULL),
                     COFFER_OK);
    assert_int_equal(keyring_key_move(f->keyring, f->new_key, KEY_ACTIVE, 3, NULL), COFFER_OK);
    assert_int_equal(codec_new(f->keyring, &f->codec, NULL), COFFER_OK);
}

static void
make_database(struct fixture *f)
{
    FILE *file;

    strcpy(f->folder, "/tmp/coffer-test-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof f->path, "%s/test.db", f->folder);
    snprintf(f->url, sizeof f->url, "sqlite:%s", f->path);
    file = fopen(f->path, "w");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(db_open(f->url, false, NULL, &f->database.db, NULL), COFFER_OK);
    assert_int_equal(db_catalog_install(f->database.db, NULL), COFFER_OK);
    f->rows = (struct journal_store){.get = rows_get,
                                     .put = rows_put,
                                     .list = rows_list,
                                     .remove = rows_remove,
                                     .ctx = f->database.db};
    f->database.rows = &f->rows;
    f->database.journal =
        (struct journal){.store = &f->rows, .keyring = f->keyring, .database = f->database.id};
}

void
fixture_new(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    make_keyring(f);
    make_database(f);
    f->os = os_real;
    f->os.ctx = f;
    f->os.now_us = moved_now_us;
    f->env = (struct rotate_env){.os = &f->os, .who = "test", .url = f->url, .stop = &f->stop};
    f->options.throttle.duty = 1;
    strcpy(f->rotation.id, "11111111-2222-4333-8444-555555555555");
    f->rotation.pass = 1;
    f->rotation.to_key = f->new_key;
    f->rotation.from_key = f->old_key;
    fixture_move_on(f);
}

void
fixture_free(struct fixture *f)
{
    char path[128];
    const char *ends[] = {"", "-wal", "-shm", "-journal"};

    db_table_free(f->table);
    db_close(f->database.db);
    codec_free(f->codec);
    keyring_free(f->keyring);
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s%s", f->path, ends[i]);
        unlink(path);
    }
    if (f->flag[0] != 0)
        unlink(f->flag);
    rmdir(f->folder);
}

void
fixture_run(struct fixture *f, const char *sql)
{
    struct coffer_error err = {0};

    if (db_run(f->database.db, sql, NULL, 0, NULL, &err) != COFFER_OK)
        fail_msg("%s: %s", sql, err.message);
}

int64_t
fixture_number(struct fixture *f, const char *sql)
{
    struct db_result *result = NULL;
    int64_t number;

    assert_int_equal(db_run(f->database.db, sql, NULL, 0, &result, NULL), COFFER_OK);
    assert_int_equal(result->rows, 1);
    number = result->cells[0].i64;
    db_result_free(result);
    return number;
}

void
fixture_table(struct fixture *f, unsigned rows)
{
    char sql[300];

    fixture_run(f, "CREATE TABLE patients (id INTEGER PRIMARY KEY NOT NULL, ssn TEXT)");
    snprintf(sql, sizeof sql,
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%u) "
             "INSERT INTO patients SELECT i, 'ssn-'||i FROM n",
             rows);
    if (rows != 0)
        fixture_run(f, sql);
    assert_int_equal(db_table_open(f->database.db, "patients", &f->table, NULL), COFFER_OK);
}

void
fixture_move_on(struct fixture *f)
{
    assert_int_equal(journal_put(&f->database.journal, "rotation", f->rotation.id, bytes_str("{}"),
                                 f->rotation.epoch, NULL),
                     COFFER_OK);
    f->rotation.epoch++;
}

size_t
fixture_seal(struct fixture *f, uint32_t key, const struct coffer_place *place,
             const struct coffer_value *value, uint8_t *out, size_t out_max)
{
    struct coffer_place none = {0};
    size_t len = 0;

    assert_int_equal(codec_seal(f->codec, &f->column, key, place != NULL ? place : &none, value,
                                out, out_max, &len, NULL),
                     COFFER_OK);
    return len;
}

unsigned
fixture_sealed_count(struct fixture *f, uint32_t key)
{
    struct db_result *result = NULL;
    struct coffer_place none = {0};
    unsigned count = 0;

    assert_int_equal(db_run(f->database.db, "SELECT id, ssn FROM patients", NULL, 0, &result, NULL),
                     COFFER_OK);
    for (size_t i = 0; i < result->rows; i++) {
        const struct coffer_value *cells = &result->cells[2 * i];
        struct coffer_value value;
        uint8_t out[256];
        char expected[40];
        uint32_t found = 0;

        snprintf(expected, sizeof expected, "ssn-%lld", (long long)cells[0].i64);
        if (cells[1].type == COFFER_BYTES &&
            codec_open(f->codec, &f->column, &none, bytes_of(cells[1].data, cells[1].len), out,
                       sizeof out, &value, &found, NULL) == COFFER_OK &&
            found == key && bytes_equal(bytes_of(value.data, value.len), bytes_str(expected)))
            count++;
    }
    db_result_free(result);
    return count;
}

struct coffer_value
fixture_text(const char *text)
{
    return text_of(text);
}
