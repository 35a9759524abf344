/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the sections on sums. */
#ifndef COFFER_CLI_VECTORS_SUMS_H
#define COFFER_CLI_VECTORS_SUMS_H

#include "sums/int128.h"

#include <jansson.h>

bool vectors_i128(const json_t *json, const char *member, int128 *out); /* as vectors_i64() */

#endif
