/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COFFER_ROTATE_PREDICT_H
#define COFFER_ROTATE_PREDICT_H

#include "rotate/machine.h"

/* Say, for each table of these columns, how long it will take and what it will cost in WAL, lag and disk.  A few rows are
 * rewritten as they are in a transaction that is rolled back. */
COFFER_MUST_CHECK int predict(struct session *s, const struct keyring_column *columns, size_t count,
                              struct coffer_error *err);

#endif
