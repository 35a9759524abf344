/* SPDX-License-Identifier: Apache-2.0 */
/* Many short byte strings, looked for in a long one in a single pass. */
#ifndef COFFER_ROTATE_SEARCH_H
#define COFFER_ROTATE_SEARCH_H

#include "base/bytes.h"
#include "base/error.h"

#define SEARCH_MIN 8  /* shorter strings are found by chance */
#define SEARCH_MAX 32 /* of a longer one its beginning is looked for */

struct needle {
    uint8_t bytes[SEARCH_MAX];
    size_t len;
    unsigned owner; /* the caller's */
    uint64_t found; /* how often */
    uint64_t first; /* where */
    char file[512]; /* in which file */
};
struct search {
    struct needle *needles;
    size_t count;
    uint8_t starts[65536 / 8]; /* which two bytes begin one */
};
void search_init(struct search *search);
void search_wipe(struct search *search); /* they may be plaintext */
/* Look for this too; what is too short, or there already, is not added. */
COFFER_MUST_CHECK int search_add(struct search *search, struct bytes text, unsigned owner,
                                 struct coffer_error *err);
/* Look through a piece of a file, which begins at `offset` in it.  Pieces overlap by SEARCH_MAX - 1 bytes, so that nothing is
 * missed between two; `found` may count a find in such a part twice. */
void search_feed(struct search *search, const char *file, uint64_t offset, struct bytes piece);

#endif
