/* SPDX-License-Identifier: Apache-2.0 */
/* Values and parts as search-vectors.json writes them; for vectors_search.c and vectors_order.c. */
#ifndef COFFER_CLI_VECTORS_TERMS_H
#define COFFER_CLI_VECTORS_TERMS_H

#include "cli/vectors_section.h"
#include "search/equality.h"

/* Member "value" of member "type": numbers as text, bytes as hex, uuid as text, float64 also nan and
 * inf; dates are days, timestamps microseconds.  `storage` keeps what the value borrows.  False:
 * malformed.  A numeric is taken as it stands. */
bool vectors_value(const json_t *json, struct buf *storage, struct coffer_value *value);

#define VECTORS_PARTS_MAX 8
struct vectors_parts {
    struct equality_part parts[VECTORS_PARTS_MAX];
    struct buf storage[VECTORS_PARTS_MAX];
    size_t count;
};
/* Member "parts".  Wipe in any case. */
bool vectors_parts(const json_t *json, struct vectors_parts *out);
void vectors_parts_wipe(struct vectors_parts *parts);

/* One item of a list against what the program says. */
bool vectors_same_hex(const json_t *text, const void *data, size_t len);
/* A list of decimal strings is exactly these numbers. */
bool vectors_same_numbers(const json_t *list, const int64_t *at, size_t count);

#endif
