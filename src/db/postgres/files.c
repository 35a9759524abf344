/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a table's files, for roles that may read the server's files; all others are told so. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

#define PIECE (4 << 20)

/* The table and its partitions, their TOAST tables, and the indexes of all: each fork that holds values. */
static const char files_sql[] =
    "WITH t AS (SELECT $1::oid AS oid UNION SELECT relid FROM pg_catalog.pg_partition_tree($1)),"
    " h AS (SELECT c.oid FROM t JOIN pg_catalog.pg_class c ON c.oid = t.oid UNION SELECT "
    "c.reltoastrelid"
    " FROM t JOIN pg_catalog.pg_class c ON c.oid = t.oid WHERE c.reltoastrelid <> 0),"
    " a AS (SELECT oid FROM h UNION SELECT i.indexrelid FROM h JOIN pg_catalog.pg_index i ON "
    "i.indrelid = h.oid)"
    " SELECT f FROM (SELECT pg_catalog.pg_relation_filepath(oid) AS f FROM a) s WHERE f IS NOT "
    "NULL ORDER BY f";

static int
may_read(struct pg *pg, bool *may, struct coffer_error *err)
{
    PGresult *result = NULL;
    int rc = pg_exec(
        pg,
        "SELECT "
        "pg_catalog.has_function_privilege('pg_catalog.pg_read_binary_file(text,bigint,bigint,"
        "boolean)', 'EXECUTE') AND pg_catalog.pg_has_role('pg_read_server_files', 'USAGE')",
        NULL, &result, err);

    *may = rc == COFFER_OK && pg_int(result, 0, 0) != 0;
    PQclear(result);
    return rc;
}

static int
piece_of(struct pg *pg, const char *path, uint64_t at, size_t len, PGresult **result,
         struct coffer_error *err)
{
    struct pg_params params;
    int rc;

    pg_params_init(&params);
    (void)pg_params_text(&params, path);
    (void)pg_params_int(&params, (int64_t)at);
    (void)pg_params_int(&params, (int64_t)len);
    rc = pg_params_finish(&params, err);
    if (rc == COFFER_OK)
        rc = pg_exec(pg, "SELECT pg_catalog.pg_read_binary_file($1, $2, $3, true)", &params, result,
                     err);
    pg_params_wipe(&params);
    return rc;
}

/* One segment: the file, or its ".1", ".2" of 1 GiB each.  `*there` false: no such file. */
static int
give_segment(struct pg *pg, const char *path, size_t overlap, db_file_fn fn, void *arg, bool *there,
             struct coffer_error *err)
{
    uint64_t at = 0;
    int rc = COFFER_OK;

    for (*there = true; rc == COFFER_OK;) {
        PGresult *result = NULL;
        struct bytes piece = {0};

        rc = piece_of(pg, path, at, PIECE, &result, err);
        if (rc == COFFER_OK)
            piece = pg_field(result, 0, 0);
        *there = *there && (at > 0 || piece.ptr != NULL);
        if (rc == COFFER_OK && piece.len > 0)
            rc = fn(arg, path, at, piece, err);
        PQclear(result);
        if (piece.len < PIECE)
            break;
        at += PIECE - overlap;
    }
    return rc;
}

int
pg_files(struct db *db, const struct db_table *table, size_t overlap, db_file_fn fn, void *arg,
         bool *readable, struct coffer_error *err)
{
    struct pg *pg = pg_of(db);
    struct pg_params params;
    PGresult *result = NULL;
    struct pg_rel rel;
    int row, rc = may_read(pg, readable, err);

    if (rc != COFFER_OK || !*readable)
        return rc;
    rc = pg_resolve(pg, table->name, &rel, err);
    pg_params_init(&params);
    (void)pg_params_oid(&params, rel.oid);
    if (rc == COFFER_OK)
        rc = pg_params_finish(&params, err);
    if (rc == COFFER_OK) /* what is in memory only would not be found */
        rc = pg_exec(pg, files_sql, &params, &result, err);
    pg_params_wipe(&params);
    for (row = 0; rc == COFFER_OK && row < PQntuples(result); row++) {
        bool there = true;
        unsigned segment;

        for (segment = 0; rc == COFFER_OK && there; segment++) {
            char path[512];

            snprintf(path, sizeof path, segment == 0 ? "%s" : "%s.%u", pg_text(result, row, 0),
                     segment);
            rc = give_segment(pg, path, overlap, fn, arg, &there, err);
        }
    }
    PQclear(result);
    return rc;
}
