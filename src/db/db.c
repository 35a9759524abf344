/* SPDX-License-Identifier: Apache-2.0 */
/* URLs, and the way from each function of db.h to the adapter. */
#include "db/db_ops.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool
starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* user:password@ in a postgres URL, or a password= parameter. */
static bool
has_password(const char *url)
{
    const char *authority = strstr(url, "://"), *at, *colon;

    if (strstr(url, "password=") != NULL)
        return true;
    if (authority == NULL)
        return false;
    authority += 3;
    at = memrchr(authority, '@', strcspn(authority, "/?"));
    colon = at != NULL ? memchr(authority, ':', (size_t)(at - authority)) : NULL;
    return colon != NULL && colon + 1 < at;
}

int
db_open(const char *url, bool allow_password, const struct db_options *options, struct db **out,
        struct coffer_error *err)
{
    static const struct db_options DEFAULTS;

    *out = NULL;
    if (options == NULL)
        options = &DEFAULTS;
    if (starts_with(url, "sqlite:"))
        return db_sqlite_open(url + strlen("sqlite:"), options, out, err);
    if (starts_with(url, "postgresql:") || starts_with(url, "postgres:")) {
        if (!allow_password && has_password(url))
            return error_set(
                err, COFFER_E_REFUSED,
                "a password in a URL on the command line is seen by every user of this machine; "
                "give it by a "
                "service or .pgpass file, by --db-url-file FILE, or by --db-url-env NAME");
        return db_postgres_open(url, options, out, err);
    }
    return error_set(err, COFFER_E_MISUSE,
                     "%s is no database URL: sqlite:PATH or postgresql://… are possible", url);
}

void
db_url_display(const char *url, char *out, size_t out_max)
{
    const char *authority = strstr(url, "://");

    if (starts_with(url, "sqlite:")) {
        char absolute[PATH_MAX];

        snprintf(out, out_max, "sqlite:%s",
                 realpath(url + 7, absolute) != NULL ? absolute : url + 7);
        return;
    }
    if (authority != NULL) {
        size_t start = (size_t)(authority + 3 - url), until = start + strcspn(url + start, "/?");
        /* The last one: a password with an @ of its own must not show its end. */
        const char *at = memrchr(url + start, '@', until - start);
        const char *colon =
            at != NULL ? memchr(url + start, ':', (size_t)(at - url) - start) : NULL;
        size_t end = until + strcspn(url + until, "?");

        if (colon != NULL)
            snprintf(out, out_max, "%.*s%.*s", (int)(colon - url), url,
                     (int)(end - (size_t)(at - url)), at);
        else
            snprintf(out, out_max, "%.*s", (int)end, url);
        return;
    }
    snprintf(out, out_max, "%s", has_password(url) ? "postgresql:" : url);
}

double
db_held_ms(const struct db *db)
{
    return db->held_ms;
}

enum db_engine
db_engine(const struct db *db)
{
    return db->engine;
}

const char *
db_engine_name(const struct db *db)
{
    return db->engine == DB_SQLITE ? "sqlite" : "postgresql";
}

void
db_quote(const struct db *db, const char *identifier, struct buf *out)
{
    (void)db; /* both engines quote alike */
    buf_u8(out, '"');
    for (; *identifier != '\0'; identifier++) {
        if (*identifier == '"')
            buf_u8(out, '"');
        buf_u8(out, (uint8_t)*identifier);
    }
    buf_u8(out, '"');
}

void
db_close(struct db *db)
{
    if (db != NULL)
        db->ops->close(db);
}

void
db_walk_close(struct db_walk *walk)
{
    if (walk != NULL)
        walk->db->ops->walk_close(walk);
}

void
db_cancel(struct db *db)
{
    db->ops->cancel(db);
}

int
db_incarnation(struct db *db, char out[DB_NAME_MAX], struct coffer_error *err)
{
    return db->ops->incarnation(db, out, err);
}

int
db_run(struct db *db, const char *sql, const struct coffer_value *params, size_t count,
       struct db_result **result, struct coffer_error *err)
{
    if (result != NULL)
        *result = NULL;
    return db->ops->run(db, sql, params, count, result, err);
}

int
db_stream(struct db *db, const char *sql, const struct coffer_value *params, size_t count,
          db_row_fn fn, void *arg, struct coffer_error *err)
{
    return db->ops->stream(db, sql, params, count, fn, arg, err);
}

int
db_begin(struct db *db, enum db_txn kind, struct coffer_error *err)
{
    return db->ops->begin(db, kind, err);
}

int
db_commit(struct db *db, struct coffer_error *err)
{
    return db->ops->commit(db, err);
}

void
db_rollback(struct db *db)
{
    db->ops->rollback(db);
}

const char *
db_catalog_name(const struct db *db, const char *table)
{
    return db->ops->catalog_name(table);
}

int
db_catalog_install(struct db *db, struct coffer_error *err)
{
    return db->ops->catalog_install(db, err);
}

int
db_catalog_present(struct db *db, bool *present, struct coffer_error *err)
{
    return db->ops->catalog_present(db, present, err);
}

int
db_catalog_grants(const struct db *db, const char *role, struct buf *out)
{
    return db->ops->catalog_grants(role, out);
}

int
db_table_open(struct db *db, const char *name, struct db_table **out, struct coffer_error *err)
{
    *out = NULL;
    return db->ops->table_open(db, name, out, err);
}

int
db_obstacles(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
             struct db_obstacles *out, struct coffer_error *err)
{
    int rc;

    *out = (struct db_obstacles){0};
    rc = db->ops->obstacles(db, table, cell, out, err);
    if (rc != COFFER_OK)
        db_obstacles_free(out);
    return rc;
}

int
db_phase_apply(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
               int from, int to, struct coffer_error *err)
{
    return db->ops->phase_apply(db, table, cell, from, to, err);
}

int
db_walk_open(struct db *db, const struct db_table *table, const struct db_want *wants, size_t count,
             struct db_walk **out, struct coffer_error *err)
{
    *out = NULL;
    return db->ops->walk_open(db, table, wants, count, out, err);
}

int
db_walk_bound(struct db_walk *walk, const struct coffer_value *after, uint64_t rows,
              struct db_result **key, bool *found, struct coffer_error *err)
{
    *key = NULL;
    *found = false;
    return walk->db->ops->walk_bound(walk, after, rows, key, found, err);
}

int
db_walk_read(struct db_walk *walk, const struct coffer_value *after,
             const struct coffer_value *until, size_t limit, struct db_batch **out,
             struct coffer_error *err)
{
    *out = NULL;
    return walk->db->ops->walk_read(walk, after, until, limit, out, err);
}

int
db_walk_write(struct db_walk *walk, struct db_batch *batch, const struct db_guard *guard,
              unsigned wait_ms, const char *rotation_id, struct coffer_error *err)
{
    return walk->db->ops->walk_write(walk, batch, guard, wait_ms, rotation_id, err);
}

/* SQLite takes "a name that is no column" for a text, and would count that: a column that was renamed
 * would show none of its cells, to a proof too. */
static int
cell_is_there(const struct db_table *table, const struct db_cell_spec *cell, struct coffer_error *err)
{
    const char *const names[] = {cell->plain, cell->sealed};

    for (size_t i = 0; i < 2; i++) {
        if (names[i] != NULL && db_table_column(table, names[i]) == NULL)
            return error_set(err, COFFER_E_NOTFOUND,
                             "protected column %s.%s: table %s has no column %s any more. If it was "
                             "renamed, rename it back; if it was dropped: coffer unprotect --gone",
                             table->name, cell->plain, table->name, names[i]);
    }
    return COFFER_OK;
}

int
db_count(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
         struct db_count **out, struct coffer_error *err)
{
    *out = NULL;
    if (cell_is_there(table, cell, err) != COFFER_OK)
        return COFFER_E_NOTFOUND;
    return db->ops->count(db, table, cell, out, err);
}

int
db_count_estimate(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
                  struct db_count **out, struct coffer_error *err)
{
    *out = NULL;
    if (cell_is_there(table, cell, err) != COFFER_OK)
        return COFFER_E_NOTFOUND;
    return db->ops->count_estimate(db, table, cell, out, err);
}

int
db_fence_set(struct db *db, const struct db_table *table, const struct db_fence *fences,
             size_t count, struct coffer_error *err)
{
    return db->ops->fence_set(db, table, fences, count, err);
}

int
db_fence_constrain(struct db *db, const struct db_table *table, const struct db_fence *fence,
                   char name[DB_NAME_MAX], struct coffer_error *err)
{
    return db->ops->fence_constrain(db, table, fence, name, err);
}

int
db_fence_unconstrain(struct db *db, const struct db_table *table, const struct db_fence *fence,
                     struct coffer_error *err)
{
    return db->ops->fence_unconstrain(db, table, fence, err);
}

int
db_mark_now(struct db *db, struct db_mark *mark, struct coffer_error *err)
{
    *mark = (struct db_mark){0};
    return db->ops->mark_now(db, mark, err);
}

int
db_mark_passed(struct db *db, const struct db_mark *mark, struct coffer_error *err)
{
    return db->ops->mark_passed(db, mark, err);
}

int
db_replicas(struct db *db, db_line_fn fn, void *arg, struct coffer_error *err)
{
    return db->ops->replicas(db, fn, arg, err);
}

int
db_others(struct db *db, bool *known, size_t *count, struct buf *who, struct coffer_error *err)
{
    *known = false;
    *count = 0;
    return db->ops->others(db, known, count, who, err);
}

int
db_find_envelopes(struct db *db, const char *const *known, size_t known_count, db_find_fn fn,
                  void *arg, struct coffer_error *err)
{
    return db->ops->find_envelopes(db, known, known_count, fn, arg, err);
}

int
db_load(struct db *db, const struct db_table *table, struct db_load *load, struct coffer_error *err)
{
    *load = (struct db_load){0};
    return db->ops->load(db, table, load, err);
}

int
db_clean(struct db *db, const struct db_table *table, bool scrub, struct coffer_error *err)
{
    return db->ops->clean(db, table, scrub, err);
}

int
db_files(struct db *db, const struct db_table *table, size_t overlap, db_file_fn fn, void *arg,
         bool *readable, struct coffer_error *err)
{
    *readable = false;
    return db->ops->files(db, table, overlap, fn, arg, readable, err);
}

int
db_trial(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
         unsigned rows, struct db_trial *out, struct coffer_error *err)
{
    *out = (struct db_trial){0};
    return db->ops->trial(db, table, cell, rows, out, err);
}

int
db_sizes(struct db *db, uint64_t *database_bytes, uint64_t *written_bytes, struct coffer_error *err)
{
    *database_bytes = *written_bytes = 0;
    return db->ops->sizes(db, database_bytes, written_bytes, err);
}
