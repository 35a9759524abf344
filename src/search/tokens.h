/* SPDX-License-Identifier: Apache-2.0 */
/* Text tokens: what a server needs to find parts of a text without reading it.
 * docs/FORMAT.md "Search terms", tokens.
 *
 * A row's tokens are a set; a pattern gives the tokens that every matching row must hold.  Rows that
 * hold them all are candidates: open and match them (like.h, words_match()); no match is ever
 * missed.  A prepared key may be used by any number of threads.
 */
#ifndef COFFER_SEARCH_TOKENS_H
#define COFFER_SEARCH_TOKENS_H

#include "base/bytes.h"
#include "base/secret.h"
#include "search/like.h"
#include "search/subkey.h"

#define TOKENS_MAX 4096 /* of a row or a query */

struct token_options {
    int normaliser;   /* canonical, caseless or accentless */
    bool words;       /* words instead of grams (windows of three code points) */
    bool short_grams; /* grams: windows of two as well */
    unsigned edge;    /* words: beginnings of 2…edge code points as well, 2…16; 0: none */
    unsigned bits;    /* 1…48; fewer merge tokens and give more false candidates */
    unsigned pad;     /* 0…64: dummies up to a multiple of this */
};
/* MISUSE for options that are none; padding wants at least 16 bits. */
COFFER_MUST_CHECK int token_options_check(const struct token_options *options,
                                          struct coffer_error *err);

/* A set, ascending.  Zeroed: empty. */
struct tokens {
    int64_t *at;
    size_t count, room;
};
void tokens_wipe(struct tokens *tokens);
bool tokens_hold(const struct tokens *row, const struct tokens *wanted); /* all of `wanted` */

struct text_key;
COFFER_MUST_CHECK int text_key_new(const struct secret *key, const uint8_t index_id[16],
                                   unsigned version, struct text_key **out,
                                   struct coffer_error *err);
void text_key_free(struct text_key *key); /* accepts NULL */

/* Each replaces what `out` held; after a failure it is empty.  Options are checked.
 *
 * tokens_of_text: FORMAT  ill-formed UTF-8    LIMIT  more than 4096 tokens: never cut    NOMEM */
COFFER_MUST_CHECK int tokens_of_text(const struct text_key *key,
                                     const struct token_options *options, struct bytes text,
                                     struct tokens *out, struct coffer_error *err);
/* For gram mode.  MISUSE  no fragment of the pattern is long enough (three characters inside, two at
 * an end; with short grams two and one), word mode, or ILIKE with the canonical normaliser. */
COFFER_MUST_CHECK int tokens_of_like(const struct text_key *key,
                                     const struct token_options *options, const struct like *like,
                                     struct tokens *out, struct coffer_error *err);
/* For word mode: every word of the query; `wor*` is any word that begins so, if the column has
 * edges.  MISUSE  no word, a beginning of fewer than two characters or without edges, gram mode. */
COFFER_MUST_CHECK int tokens_of_words(const struct text_key *key,
                                      const struct token_options *options, struct bytes query,
                                      struct tokens *out, struct coffer_error *err);
/* The client's test for a word query, exact. */
COFFER_MUST_CHECK int words_match(const struct token_options *options, struct bytes query,
                                  struct bytes text, bool *matches, struct coffer_error *err);

#endif
