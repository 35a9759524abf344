/* SPDX-License-Identifier: Apache-2.0 */
/* How many rows a worker writes at a time: as many as fit the time for which others may have to wait. */
#ifndef COFFER_ROTATE_BATCH_SIZE_H
#define COFFER_ROTATE_BATCH_SIZE_H

#include "db/db.h"

struct batch_size {
    size_t rows;      /* of the next batch */
    size_t max, least;
    double target_ms; /* of one write */
    double least_ms;  /* the shortest so far; 0 none */
    size_t bytes_per_row;
};

/* `fast`: nobody is to be spared.  `fixed`: so many rows always; 0: by the clock. */
void batch_size_begin(struct batch_size *size, const struct db_table *table, enum db_engine engine, bool fast, size_t fixed);
/* After a batch that was read with `limit` rows and took `write_ms` to write. */
void batch_size_adapt(struct batch_size *size, const struct db_batch *batch, size_t limit, double write_ms);
/* Somebody else is at it, or a batch is too large: half as many. */
void batch_size_halve(struct batch_size *size);

#endif
