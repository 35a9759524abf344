/* SPDX-License-Identifier: Apache-2.0 */
/* Cells of one column, opened, from several places of its table; nothing is written. */
#include "rotate/sample.h"

#include "base/mem.h"

#include <string.h>

struct sampler {
    struct session *s;
    const struct db_table *table;
    struct walk_column column;
    sample_fn fn;
    void *arg;
    struct cells *cells;
    struct db_walk *walk;
    struct buf storage;
};

static int
no_quarantine(void *arg, const struct walk_column *column, const struct db_row *row,
              size_t place_count, const char *reason, struct coffer_error *err)
{
    return COFFER_OK; /* a cell that does not open is no sample */
}

static int
take_rows(struct sampler *p, const struct coffer_value *after, size_t rows, bool *more,
          struct coffer_error *err)
{
    struct db_batch *batch = NULL;
    size_t i;
    int rc = db_walk_read(p->walk, after, NULL, rows, &batch, err);

    for (i = 0; rc == COFFER_OK && *more && i < batch->count; i++) {
        struct db_cell *cell = &batch->rows[i].cells[0];

        buf_clear(&p->storage);
        rc = cells_transform(p->cells, &batch->rows[i], batch->place_count, &p->storage,
                             no_quarantine, NULL, err);
        if (rc == COFFER_E_REFUSED) { /* bound to a primary key of another shape than the table's */
            *more = false;
            rc = COFFER_OK;
        } else if (rc == COFFER_OK && (cell->set_plain || cell->set_sealed)) {
            rc = p->fn(p->arg, cell->set_plain ? &cell->new_plain : &cell->plain, more, err);
        }
    }
    db_batch_free(batch);
    return rc;
}

static int
take_places(struct sampler *p, size_t places, size_t rows, struct coffer_error *err)
{
    bool more = true;
    size_t i;
    int rc = take_rows(p, NULL, rows, &more, err);

    for (i = 1; rc == COFFER_OK && more && i < places; i++) {
        struct db_result *key = NULL;
        bool found = false;

        rc = db_walk_bound(p->walk, NULL, p->table->estimate_rows * i / places + 1, &key, &found,
                           err);
        if (rc == COFFER_OK && found)
            rc = take_rows(p, key->cells, rows, &more, err);
        db_result_free(key);
        if (!found)
            break;
    }
    return rc;
}

int
sample_column(struct session *s, const struct keyring_column *column, size_t places, size_t rows,
              sample_fn fn, void *arg, struct coffer_error *err)
{
    static const struct rotate_options NO_OPTIONS;
    struct sampler p = {.s = s, .column.column = column, .fn = fn, .arg = arg};
    struct codec *codec = NULL;
    struct db_table *table = NULL;
    int rc = db_table_open(s->database->db, column->table, &table, err);

    if (rc != COFFER_OK)
        return rc;
    p.table = table;
    column_cell_spec(column, &p.column.want.cell);
    p.column.want.goal = DB_GOAL_PLAIN;
    p.column.want.examine_all =
        column->companion[0] == '\0' && (column->type == COFFER_BYTES || column->text_form);
    buf_init(&p.storage, 256u << 20);
    if (p.column.want.cell.sealed == NULL ||
        db_table_column(table, p.column.want.cell.sealed) != NULL) {
        rc = session_codec(s, &codec, err);
        if (rc == COFFER_OK)
            rc = cells_new(codec, &p.column, 1, &NO_OPTIONS, &p.cells, err);
        if (rc == COFFER_OK)
            rc = db_walk_open(s->database->db, table, &p.column.want, 1, &p.walk, err);
        if (rc == COFFER_OK)
            rc = take_places(&p, places, rows, err);
        db_walk_close(p.walk);
        cells_free(p.cells);
    }
    buf_wipe(&p.storage);
    db_table_free(table);
    return rc;
}
