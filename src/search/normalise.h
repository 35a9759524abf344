/* SPDX-License-Identifier: Apache-2.0 */
/* Text normalisation for terms: what counts as the same text.  docs/FORMAT.md "Search terms".
 *
 * Normal forms and case folding are Unicode's (UAX #15; Unicode 3.13, D146), computed by utf8proc.
 * No state.
 */
#ifndef COFFER_SEARCH_NORMALISE_H
#define COFFER_SEARCH_NORMALISE_H

#include "base/bytes.h"

enum normaliser {                          /* ids are stored: append only */
                  NORMALISE_EXACT = 0,     /* the code points as they are */
                  NORMALISE_CANONICAL = 1, /* NFD */
                  NORMALISE_CASELESS = 2,  /* NFKD of the full case folding (C+F), D146 */
                  NORMALISE_ACCENTLESS =
                      3, /* as 2, without code points of combining class 200 and above */
                  NORMALISE_DIGITS =
                      4, /* as 2, then the decimal digits alone, as ASCII; equality only */
};
#define NORMALISERS 5
const char *normaliser_name(int id);    /* "exact" …; "?" */
int normaliser_parse(const char *name); /* -1 */

/* A fragment cut out of a text: marks at an open edge may belong to what was cut off, so they are
 * dropped after each decomposition; the result is then found in the normalised text whenever the
 * fragment is found in the text. */
enum { EDGE_CLOSED = 0, EDGE_OPEN_LEFT = 1, EDGE_OPEN_RIGHT = 2 };

/* Code points: memory of the caller's struct, wiped on free. */
struct points {
    int32_t *at;
    size_t count, room; /* `room` in code points */
};
void points_wipe(struct points *points); /* overwrites, frees; a zeroed struct is empty */

/* Replaces what `out` held; after a failure it is empty.
 *
 * FORMAT  ill-formed UTF-8      MISUSE  unknown normaliser      LIMIT  a text above 64 MiB    NOMEM */
COFFER_MUST_CHECK int normalise_points(int normaliser, unsigned edges, struct bytes text,
                                       struct points *out, struct coffer_error *err);
/* The same, appended to `out` as UTF-8. */
COFFER_MUST_CHECK int normalise(int normaliser, struct bytes text, struct buf *out,
                                struct coffer_error *err);
/* UTF-8 of code points, appended; the buffer's failure is the caller's to check. */
void points_encode(const int32_t *points, size_t count, struct buf *out);

/* The Unicode version that this program's tables are of, "15.0.0".  Code points that it does not
 * know pass unchanged, so an index that an older version wrote may need a check. */
const char *normalise_unicode(void);

/* Letter, mark or number (general category L, M, N): part of a word. */
bool point_in_word(int32_t point);

#endif
