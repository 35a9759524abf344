/* SPDX-License-Identifier: Apache-2.0 */
/* Known answers from a JSON file: "coffer field vectors 1" (tests/kat/field-vectors.json) and
 * "coffer search vectors 1" (tests/kat/search-vectors.json). */
#ifndef COFFER_CLI_VECTORS_H
#define COFFER_CLI_VECTORS_H

#include "base/bytes.h"

/* Run every case of a file; `say` hears of each that fails.  FORMAT (naming the case) for a file
 * that is not in a known format, has a section that is unknown, or lacks one that its format needs.
 */
COFFER_MUST_CHECK int vectors_run(struct bytes json, unsigned *passed, unsigned *failed,
                                  void (*say)(void *arg, const char *line), void *arg,
                                  struct coffer_error *err);

#endif
