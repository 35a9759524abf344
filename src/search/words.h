/* SPDX-License-Identifier: Apache-2.0 */
/* Words of a text, and queries of words.  Internal to search/. */
#ifndef COFFER_SEARCH_WORDS_H
#define COFFER_SEARCH_WORDS_H

#include "search/tokens.h"

/* The next maximal run of letters, marks and numbers; start with a zeroed struct. */
struct word {
    const int32_t *at;
    size_t len;
    size_t end; /* where in the points the search goes on */
};
bool word_next(const struct points *points, struct word *word);

struct query_word {
    size_t at, len; /* in the query's points */
    bool beginning; /* written with a `*` */
};
struct word_query {
    struct points points;
    struct query_word *words;
    size_t count;
};
/* MISUSE and NOMEM as tokens_of_words(); FORMAT.  Wipe in any case. */
COFFER_MUST_CHECK int word_query_parse(const struct token_options *options, struct bytes query,
                                       struct word_query *out, struct coffer_error *err);
void word_query_wipe(struct word_query *query);

#endif
