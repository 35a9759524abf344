/* SPDX-License-Identifier: Apache-2.0 */
/* LIKE patterns: parsed for their fragments, and matched exactly on opened values.
 *
 * The matcher says which of the candidates that a token search returns do match: LIKE by code
 * points of the raw text, as PostgreSQL does in UTF-8; ILIKE on caseless text (normaliser 2), which
 * is wider than PostgreSQL's own.  No state.
 */
#ifndef COFFER_SEARCH_LIKE_H
#define COFFER_SEARCH_LIKE_H

#include "base/bytes.h"
#include "search/normalise.h"

enum like_operator { LIKE_EXACT, LIKE_CASELESS /* ILIKE */ };

/* The escape character as a code point: '\' in PostgreSQL unless ESCAPE says otherwise; none in
 * SQLite unless ESCAPE gives one. */
#define LIKE_ESCAPE_NONE (-1)
#define LIKE_ESCAPE_POSTGRESQL '\\'
#define LIKE_ESCAPE_SQLITE LIKE_ESCAPE_NONE

enum like_kind { LIKE_LITERAL, LIKE_ANY /* % */, LIKE_ONE /* _ */ };
struct like_item {
    enum like_kind kind;
    struct bytes literal; /* UTF-8, never empty, borrowed from the pattern's own memory */
};
struct like {
    enum like_operator op;
    struct like_item *items;
    size_t count;
    struct buf storage;    /* the literals, escapes removed */
    struct points program; /* what the matcher runs: code points, ANY and ONE as negative numbers */
};

/* FORMAT  ill-formed UTF-8, or an escape character at the end      LIMIT  above 64 KiB      NOMEM
 * After a failure `out` is empty.  like_wipe() frees and overwrites. */
COFFER_MUST_CHECK int like_parse(struct bytes pattern, int32_t escape, enum like_operator op,
                                 struct like *out, struct coffer_error *err);
void like_wipe(struct like *like);

/* FORMAT  the text is ill-formed UTF-8      NOMEM */
COFFER_MUST_CHECK int like_match(const struct like *like, struct bytes text, bool *matches,
                                 struct coffer_error *err);

#endif
