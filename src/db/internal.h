/* SPDX-License-Identifier: Apache-2.0 */
/* What adapters share: building results and batches whose values point into one growing buffer. */
#ifndef COFFER_DB_INTERNAL_H
#define COFFER_DB_INTERNAL_H

#include "db/db_ops.h"

#define DB_STORAGE_MAX ((size_t)1 << 30)

/* A value whose data was appended to a buffer: until the buffer is complete `data` holds the offset
 * plus one (0: none). */
void storage_add(struct buf *storage, const void *data, size_t len, const uint8_t **out);
/* Turn the offset into a pointer; once, when the buffer will not grow any more. */
void storage_fix(const struct buf *storage, const uint8_t **ptr);
void value_store(struct buf *storage,
                 struct coffer_value *value); /* copies what `value` borrows into `storage` */
bool value_borrows(const struct coffer_value *value);

/* A batch with room for `room` rows, each with its keys and cells; `count` is 0.  `key_is_place`: the
 * walk key is the table's primary key. */
COFFER_MUST_CHECK int batch_new(size_t key_count, bool key_is_place, size_t cell_count, size_t room,
                                struct db_batch **out, struct coffer_error *err);

COFFER_MUST_CHECK int result_new(size_t columns, struct db_result **out, struct coffer_error *err);
/* Append a row of values, copying what they borrow. */
COFFER_MUST_CHECK int result_add(struct db_result *result, const struct coffer_value *cells,
                                 struct coffer_error *err);
COFFER_MUST_CHECK int result_done(struct db_result *result,
                                  struct coffer_error *err); /* no row after this */

COFFER_MUST_CHECK int obstacle_add(struct db_obstacles *list, char severity, const char *kind,
                                   const char *object, struct coffer_error *err, const char *format,
                                   ...) __attribute__((format(printf, 6, 7)));

COFFER_MUST_CHECK int count_add(struct db_count *count, uint32_t key_id, uint64_t cells,
                                struct coffer_error *err);

#endif
