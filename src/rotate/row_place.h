/* SPDX-License-Identifier: Apache-2.0 */
/* The place of a row (its primary key, to which row binding binds), out of what an engine gave for it. */
#ifndef COFFER_ROTATE_ROW_PLACE_H
#define COFFER_ROTATE_ROW_PLACE_H

#include "db/db.h"

struct row_place {
    struct coffer_value parts[DB_KEY_MAX]; /* borrow from the engine's row and from `storage` */
    size_t count;
    struct buf storage[DB_KEY_MAX]; /* one a part: a buffer that grows moves */
};
void row_place_init(struct row_place *place);
void row_place_wipe(struct row_place *place);
/* A value of type `type` out of what an engine gave or a person wrote.  `storage` keeps what it borrows.  TYPE, NOMEM; `*out` is
 * then `raw`. */
COFFER_MUST_CHECK int row_value(int type, const struct coffer_value *raw, struct buf *storage, struct coffer_value *out,
                                struct coffer_error *err);
/* The next part, of a column as declared.  On SQLite a part is bound as it is stored; on PostgreSQL by its type, char(n) without its padding.
 * TYPE: the part is `raw` then, and counted.  LIMIT above DB_KEY_MAX, NOMEM: nothing was added. */
COFFER_MUST_CHECK int row_place_add(struct row_place *place, enum db_engine engine, const struct db_column *column,
                                    const struct coffer_value *raw, struct coffer_error *err);
/* All parts out of a row with a cell for each column of the table.  NOMEM, LIMIT; what has another type than declared stays as it is, and
 * opens nothing. */
COFFER_MUST_CHECK int row_place_of(struct row_place *place, enum db_engine engine, const struct db_table *table,
                                   const struct coffer_value *cells, struct coffer_error *err);

#endif
