/* SPDX-License-Identifier: Apache-2.0 */
/* What the sections of a vectors file share: how a section is found, how cases are counted, how
 * members are read.
 *
 * A format has tables of sections; each section is a function over the JSON value under its name.
 * To add sections, write vectors_NAME.c with a table and name the table in vectors.c.
 */
#ifndef COFFER_CLI_VECTORS_SECTION_H
#define COFFER_CLI_VECTORS_SECTION_H

#include "base/bytes.h"
#include "base/secret.h"

#include <jansson.h>

struct vectors { /* a run: its counts, who hears of failures, the whole file */
    const json_t *root;
    unsigned passed, failed;
    void (*say)(void *arg, const char *line);
    void *arg;
};

/* Run the cases of `json`: vectors_count() for each; COFFER_OK though cases failed.  FORMAT (naming
 * the case) for what is not in the format, NOMEM. */
struct vectors_section {
    const char *name;
    int (*run)(struct vectors *v, const json_t *json, struct coffer_error *err);
};
/* Tables, ended by a NULL name. */
extern const struct vectors_section vectors_field[];
extern const struct vectors_section vectors_search[]; /* terms of equality and text */
extern const struct vectors_section vectors_order[];  /* terms of order */
extern const struct vectors_section vectors_sums[];
extern const struct vectors_section vectors_totals[];

/* One case has run: did the program's answer equal the known one?  The words name the case
 * ("text case 3"). */
void vectors_count(struct vectors *v, bool held, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Call `run` for each element of a list that is an object.  FORMAT if it is no such list. */
COFFER_MUST_CHECK int vectors_each(struct vectors *v, const char *section, const json_t *list,
                                   int (*run)(struct vectors *v, const char *label,
                                              const json_t *json, struct coffer_error *err),
                                   struct coffer_error *err);

/* FORMAT, saying which member of which case is missing or malformed. */
int vectors_bad(struct coffer_error *err, const char *label, const char *member);

/* Members: each is false when it is missing or not of the kind.  Numbers may be JSON numbers or
 * decimal strings. */
bool vectors_hex(const json_t *json, const char *member,
                 struct buf *out); /* replaces the content */
bool vectors_fixed(const json_t *json, const char *member, uint8_t *out, size_t len); /* of hex */
bool vectors_uuid(const json_t *json, const char *member, uint8_t out[16]);
bool vectors_i64(const json_t *json, const char *member, int64_t *out);
bool vectors_unsigned(const json_t *json, const char *member, unsigned absent, unsigned *out);
bool vectors_text(const json_t *json, const char *member, struct bytes *out); /* borrowed */
bool vectors_number(const json_t *number, int64_t *out); /* the value itself, not a member */
bool vectors_hex_of(const json_t *text, struct buf *out);

/* The three members that every derivation has: key (32 bytes, a new secret), index_id, version. */
COFFER_MUST_CHECK int vectors_key(const json_t *json, const char *label, struct secret **key,
                                  uint8_t index_id[16], unsigned *version,
                                  struct coffer_error *err);

/* Does `rc` have the name that the case's "error" gives? */
bool vectors_error_is(const json_t *json, const char *member, int rc);

#endif
