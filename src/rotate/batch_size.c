/* SPDX-License-Identifier: Apache-2.0 */
#include "rotate/batch_size.h"

#define ROWS_START 200
#define ROWS_MAX 4000
#define SQLITE_ROWS_LEAST 64
#define SLOW_COMMIT 4    /* times the target */
#define SYNC_MS_MAX 100  /* what takes longer is no sync */
#define BYTES (4u << 20) /* of stored values: keeps memory flat when rows are large */

void
batch_size_begin(struct batch_size *size, const struct db_table *table, enum db_engine engine, bool fast, size_t fixed)
{
    bool sqlite = engine == DB_SQLITE;

    *size = (struct batch_size){.max = ROWS_MAX, .least = sqlite ? SQLITE_ROWS_LEAST : 1};
    /* SQLite has one writer: others wait for the whole of a batch, in sleeps of 1, 2, 5, 10 … ms.
     * With 1 ms the first of them mostly suffices. */
    size->target_ms = sqlite ? (fast ? 100 : 1) : (fast ? 200 : 10);
    size->rows = fast ? 5 * ROWS_START : ROWS_START;
    if (fixed != 0)
        size->rows = size->max = fixed;
    if (table->estimate_rows != 0)
        size->bytes_per_row = (size_t)(table->estimate_bytes / table->estimate_rows);
}

/* What a batch of `limit` rows that was too slow becomes.  Below some dozens of rows on SQLite it is
 * the disk's time to sync a commit, which fewer rows do not save: without a floor a slow disk takes
 * a batch down to a row, and keeps it there. */
static size_t
shrunk(const struct batch_size *size, size_t limit, double target_ms, double write_ms)
{
    size_t rows = (size_t)((double)limit * (target_ms / write_ms)) + 1;

    if (rows >= size->least || write_ms > SYNC_MS_MAX)
        return rows;
    return size->least < 2 * limit ? size->least : 2 * limit;
}

void
batch_size_adapt(struct batch_size *size, const struct db_batch *batch, size_t limit, double write_ms)
{
    double target_ms = size->target_ms;
    size_t by_bytes;

    /* Where a commit itself takes much longer than a batch should, as the shortest write shows, it is waited for anyway: the
     * rows may take as long again. */
    if (batch->count != 0 && (size->least_ms <= 0 || write_ms < size->least_ms))
        size->least_ms = write_ms;
    if (size->least_ms > SLOW_COMMIT * target_ms && size->least_ms < SYNC_MS_MAX)
        target_ms = 2 * size->least_ms;
    if (batch->count != 0)
        size->bytes_per_row = (size->bytes_per_row + batch->storage.len / batch->count + 1) / 2;
    if (write_ms > target_ms)
        size->rows = shrunk(size, limit, target_ms, write_ms);
    else if (batch->count == limit && write_ms < 0.6 * target_ms && size->rows <= limit)
        size->rows = 2 * limit;
    if (size->rows > size->max)
        size->rows = size->max;
    by_bytes = size->bytes_per_row != 0 ? BYTES / size->bytes_per_row + 1 : size->rows;
    if (size->rows > by_bytes)
        size->rows = by_bytes;
}

void
batch_size_halve(struct batch_size *size)
{
    if (size->rows > 1)
        size->rows /= 2;
}
