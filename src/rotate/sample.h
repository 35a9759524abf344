/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COFFER_ROTATE_SAMPLE_H
#define COFFER_ROTATE_SAMPLE_H

#include "rotate/machine.h"

/* One cell that opened as this column's; the value is borrowed for the call.  `*more` false: enough. */
typedef int (*sample_fn)(void *arg, const struct coffer_value *value, bool *more,
                         struct coffer_error *err);
/* At most `rows` cells from each of `places` places spread over the table.  A table without the companion gives none. */
COFFER_MUST_CHECK int sample_column(struct session *s, const struct keyring_column *column,
                                    size_t places, size_t rows, sample_fn fn, void *arg,
                                    struct coffer_error *err);

#endif
