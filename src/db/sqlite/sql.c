/* SPDX-License-Identifier: Apache-2.0 */
/* Pieces of SQL about cells. */
#include "db/sqlite/internal.h"

void
sql_ident(struct buf *sql, const char *name)
{
    db_quote(NULL, name, sql);
}

void
sql_sealed(struct buf *sql, const struct db_cell_spec *cell)
{
    sql_ident(sql, cell->sealed != NULL ? cell->sealed : cell->plain);
}

void
sql_shape(struct buf *sql, const char *expr, const struct db_cell_spec *cell)
{
    if (cell->text_form)
        buf_format(sql, "(typeof(%s)='text' AND substr(%s,1,5)='cfr1.' AND length(%s)>=78)", expr,
                   expr, expr);
    else
        buf_format(sql, "(typeof(%s)='blob' AND substr(%s,1,1)=x'f9' AND length(%s)>=48)", expr,
                   expr, expr);
}

void
sql_key_id(struct buf *sql, const char *expr, const struct db_cell_spec *cell)
{
    if (cell->text_form)
        buf_format(sql, "substr(%s,6,8)", expr);
    else
        buf_format(sql, "lower(hex(substr(%s,5,4)))", expr);
}
