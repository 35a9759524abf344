/* SPDX-License-Identifier: Apache-2.0 */
/* Coffer's working tables in a SQLite file. */
#include "db/sqlite/internal.h"

#include <string.h>

static const char *const TABLES[][2] = {
    {"meta", "coffer_meta"},     {"rotation", "coffer_rotation"},     {"chunk", "coffer_chunk"},
    {"client", "coffer_client"}, {"quarantine", "coffer_quarantine"},
};
#define COUNT (sizeof TABLES / sizeof *TABLES)

const char *
sqlite_catalog_name(const char *table)
{
    size_t i;

    for (i = 0; i < COUNT; i++) {
        if (strcmp(TABLES[i][0], table) == 0)
            return TABLES[i][1];
    }
    return "coffer_unknown";
}

int
sqlite_catalog_install(struct db *db, struct coffer_error *err)
{
    size_t i;
    int rc = sqlite_begin(db, DB_TXN_WRITE, err);

    for (i = 0; rc == COFFER_OK && i < COUNT; i++) {
        struct buf sql;

        buf_init(&sql, 1024);
        buf_format(&sql,
                   "CREATE TABLE IF NOT EXISTS %s (key TEXT PRIMARY KEY NOT NULL, epoch INTEGER "
                   "NOT NULL, content TEXT NOT NULL,"
                   " mac BLOB NOT NULL) WITHOUT ROWID",
                   TABLES[i][1]);
        rc = sqlite_exec_buf(db, &sql, err);
    }
    return rc == COFFER_OK ? sqlite_commit(db, err) : rc;
}

int
sqlite_catalog_present(struct db *db, bool *present, struct coffer_error *err)
{
    struct db_result *result = NULL;
    int rc = sqlite_run(db, "SELECT 1 FROM sqlite_schema WHERE type='table' AND name='coffer_meta'",
                        NULL, 0, &result, err);

    *present = rc == COFFER_OK && result->rows > 0;
    db_result_free(result);
    return rc;
}
