/* SPDX-License-Identifier: Apache-2.0 */
/* A walk under way: the table, its key and its cells as SQL.  walk.c reads, walk_write.c writes. */
#ifndef COFFER_DB_POSTGRES_WALK_H
#define COFFER_DB_POSTGRES_WALK_H

#include "internal.h"

#define PG_WANTS_MAX 24 /* four parameters a cell */

struct pg_walk_cell {
    struct db_want want;
    const struct pg_type *type; /* of the column by its own name */
    bool in_place;
    char plain[2 * DB_NAME_MAX], sealed[2 * DB_NAME_MAX]; /* t."name" */
    char plain_name[2 * DB_NAME_MAX], sealed_name[2 * DB_NAME_MAX];
};
struct pg_walk {
    struct db_walk walk; /* first */
    struct pg_rel rel;
    const struct db_table *table;
    bool by_ctid;
    size_t key_count;
    const struct pg_type *key_types[DB_KEY_MAX];
    char key_columns[DB_KEY_MAX][2 * DB_NAME_MAX]; /* t."name" */
    struct pg_walk_cell *cells;
    size_t cell_count;
    char citext[2 * DB_NAME_MAX]; /* qualified name of type citext, "" if unused */
};

static inline struct pg *
pg_of_walk(struct pg_walk *walk)
{
    return pg_of(walk->walk.db);
}
/* A parameter or array element `expression` as the type of key part `i`. */
void pg_walk_cast(const struct pg_walk *walk, const struct pg_type *type, const char *expression,
                  struct buf *out);
/* Is `cell` one whose envelope is stored as text? */
static inline bool
pg_cell_text(const struct pg_walk_cell *cell)
{
    return cell->in_place && cell->want.cell.text_form;
}

#endif
