/* SPDX-License-Identifier: Apache-2.0 */
/* Journal rows over a database's working tables: SQL that both engines read.
 *
 * Whoever can write the database may have put anything there, of any type: what is no working row
 * is given on without content and MAC, so that the journal finds it tampered with.
 */
#include "base/mem.h"
#include "host/host.h"

#include <stdio.h>
#include <string.h>

#define PAGE 256

struct journal_db {
    struct journal_store store; /* first */
    struct db *db;
};

static struct coffer_value
text_value(const char *text)
{
    return (struct coffer_value){
        .type = COFFER_TEXT, .data = (const uint8_t *)text, .len = strlen(text)};
}

static struct coffer_value
int_value(uint64_t n)
{
    return (struct coffer_value){.type = COFFER_INT64, .i64 = (int64_t)n};
}

static int
give_row(const struct coffer_value *cells, journal_row_fn fn, void *arg, struct coffer_error *err)
{
    struct journal_row row = {0};

    if (cells[0].type == COFFER_TEXT && cells[0].len < sizeof row.key && cells[0].len > 0)
        memcpy(row.key, cells[0].data, cells[0].len);
    if (cells[1].type == COFFER_INT64 && cells[1].i64 > 0 && cells[2].type == COFFER_TEXT &&
        cells[3].type == COFFER_BYTES) {
        row.epoch = (uint64_t)cells[1].i64;
        row.content = bytes_of(cells[2].data, cells[2].len);
        row.mac = bytes_of(cells[3].data, cells[3].len);
    }
    return fn(arg, &row, err);
}

static int
db_get(struct journal_store *s, const char *table, const char *key, journal_row_fn fn, void *arg,
       struct coffer_error *err)
{
    struct journal_db *j = (struct journal_db *)s;
    struct coffer_value params[1] = {text_value(key)};
    struct db_result *result = NULL;
    char sql[256];
    int rc;

    snprintf(sql, sizeof sql, "SELECT key, epoch, content, mac FROM %s WHERE key = $1",
             db_catalog_name(j->db, table));
    rc = db_run(j->db, sql, params, 1, &result, err);
    if (rc == COFFER_OK && result->rows > 0)
        rc = give_row(result->cells, fn, arg, err);
    db_result_free(result);
    return rc;
}

static int
db_put(struct journal_store *s, const char *table, const struct journal_row *row, uint64_t expect,
       struct coffer_error *err)
{
    struct journal_db *j = (struct journal_db *)s;
    struct coffer_value params[5] = {
        text_value(row->key),
        int_value(row->epoch),
        {.type = COFFER_TEXT, .data = row->content.ptr, .len = row->content.len},
        {.type = COFFER_BYTES, .data = row->mac.ptr, .len = row->mac.len},
        int_value(expect),
    };
    struct db_result *result = NULL;
    char sql[256];
    int rc;

    if (row->content.ptr == NULL)
        params[2].data = (const uint8_t *)"";
    snprintf(sql, sizeof sql,
             expect == 0 ? "INSERT INTO %s (key, epoch, content, mac) VALUES ($1, $2, $3, $4) "
                           "ON CONFLICT (key) DO NOTHING RETURNING epoch"
                         : "UPDATE %s SET epoch = $2, content = $3, mac = $4 "
                           "WHERE key = $1 AND epoch = $5 RETURNING epoch",
             db_catalog_name(j->db, table));
    rc = db_run(j->db, sql, params, expect == 0 ? 4 : 5, &result, err);
    if (rc == COFFER_OK && result->rows == 0)
        rc = error_set(err, COFFER_E_CONFLICT,
                       "row \"%s\" of working table %s was changed meanwhile", row->key, table);
    db_result_free(result);
    return rc;
}

/* In pages by key, each read whole before it is given on: the receiver may use the connection. */
static int
db_list(struct journal_store *s, const char *table, const char *prefix, journal_row_fn fn,
        void *arg, struct coffer_error *err)
{
    struct journal_db *j = (struct journal_db *)s;
    const char *collate = db_engine(j->db) == DB_POSTGRESQL ? " COLLATE \"C\"" : "";
    char last[KEYRING_NAME_MAX], sql[320];
    bool first = true, more = true;
    int rc = COFFER_OK;

    snprintf(last, sizeof last, "%s", prefix);
    while (rc == COFFER_OK && more) {
        struct coffer_value params[1] = {text_value(last)};
        struct db_result *result = NULL;
        size_t i;

        snprintf(
            sql, sizeof sql,
            "SELECT key, epoch, content, mac FROM %s WHERE key%s %s $1 ORDER BY key%s LIMIT %d",
            db_catalog_name(j->db, table), collate, first ? ">=" : ">", collate, PAGE);
        first = false;
        rc = db_run(j->db, sql, params, 1, &result, err);
        more = rc == COFFER_OK && result->rows == PAGE;
        for (i = 0; rc == COFFER_OK && i < result->rows; i++) {
            const struct coffer_value *cells = result->cells + i * result->columns;

            /* A key that is no text, or longer than ours are, cannot be paged over: it is one
             * tampered row. */
            if (cells[0].type != COFFER_TEXT || cells[0].len >= sizeof last) {
                more = false;
                rc = give_row(cells, fn, arg, err);
                continue;
            }
            memcpy(last, cells[0].data, cells[0].len);
            last[cells[0].len] = '\0';
            if (strncmp(last, prefix, strlen(prefix)) != 0) {
                more = false;
                break;
            }
            rc = give_row(cells, fn, arg, err);
        }
        db_result_free(result);
    }
    return rc;
}

static int
db_remove(struct journal_store *s, const char *table, const char *key, struct coffer_error *err)
{
    struct journal_db *j = (struct journal_db *)s;
    struct coffer_value params[1] = {text_value(key)};
    char sql[256];

    snprintf(sql, sizeof sql, "DELETE FROM %s WHERE key = $1", db_catalog_name(j->db, table));
    return db_run(j->db, sql, params, 1, NULL, err);
}

int
journal_db_new(struct db *db, struct journal_store **out, struct coffer_error *err)
{
    struct journal_db *j = mem_alloc(sizeof *j);

    *out = NULL;
    if (j == NULL)
        return error_nomem(err);
    j->store =
        (struct journal_store){.get = db_get, .put = db_put, .list = db_list, .remove = db_remove};
    j->db = db;
    *out = &j->store;
    return COFFER_OK;
}

void
journal_db_free(struct journal_store *store)
{
    mem_free(store);
}
