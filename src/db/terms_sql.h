/* SPDX-License-Identifier: Apache-2.0 */
/* Statements over terms, piece by piece: what terms.c and terms_fill.c share. */
#ifndef COFFER_DB_TERMS_SQL_H
#define COFFER_DB_TERMS_SQL_H

#include "db/terms.h"

/* A statement under construction: text and its parameters. */
struct statement {
    struct db *db;
    struct buf sql;
    struct coffer_value params[DB_TERMS_MAX + DB_KEY_MAX + 8];
    size_t count;
};
void st_begin(struct statement *st, struct db *db);
void st_text(struct statement *st, const char *sql);
void st_name(struct statement *st, const char *identifier);
void st_table(struct statement *st, const char *table); /* "schema.table" in its parts */
void st_param(struct statement *st, const struct coffer_value *value);
/* Runs and wipes it.  `result` may be NULL.  Errors as db_run(). */
COFFER_MUST_CHECK int st_run(struct statement *st, struct db_result **result, struct coffer_error *err);
void st_needy(struct statement *st, const struct db_terms *terms); /* the condition that terms are not as wanted */
void st_keys(struct statement *st, const struct db_table *table);  /* the walk key's columns */
void st_key_param(struct statement *st, const struct db_table *table, size_t i, const struct coffer_value *value);
void st_key_is(struct statement *st, const struct db_table *table, const struct coffer_value *key);

bool on_postgres(const struct db *db);
bool has_side(const struct db *db, const struct db_terms *terms); /* tokens in a table of their own */
void terms_made_name(const struct db *db, const struct db_terms *terms, const char *what, char out[64]);
const char *terms_sql_type(const struct db *db, enum db_term_form form);
struct coffer_value terms_stored(const struct db *db, enum db_term_form form, const struct coffer_value *value);

#endif
