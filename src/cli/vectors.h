/* SPDX-License-Identifier: Apache-2.0 */
/* Known answers for envelopes, in the format of tests/kat/field-vectors.json. */
#ifndef COFFER_CLI_VECTORS_H
#define COFFER_CLI_VECTORS_H

#include "base/bytes.h"

/* Run every case of a file; `say` hears of each that fails.  FORMAT (naming the case) for a file
 * that is not in the format. */
COFFER_MUST_CHECK int vectors_run(struct bytes json, unsigned *passed, unsigned *failed,
                                  void (*say)(void *arg, const char *line), void *arg,
                                  struct coffer_error *err);

#endif
