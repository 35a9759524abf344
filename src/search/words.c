/* SPDX-License-Identifier: Apache-2.0 */
#include "search/words.h"

#include "base/mem.h"

#include <string.h>

bool
word_next(const struct points *points, struct word *word)
{
    size_t at = word->end, end;

    while (at < points->count && !point_in_word(points->at[at]))
        at++;
    for (end = at; end < points->count && point_in_word(points->at[end]); end++)
        ;
    word->at = points->at + at;
    word->len = end - at;
    word->end = end;
    return word->len > 0;
}

/* Room for `more` code points and words behind those that are there. */
static bool
grow(struct word_query *q, size_t more)
{
    struct points points = {0};
    struct query_word *words;

    words = mem_grow(q->words, (q->count + more + 1) * sizeof *words);
    if (words == NULL)
        return false;
    q->words = words;
    points.at = mem_array(q->points.count + more + 1, sizeof *points.at);
    if (points.at == NULL)
        return false;
    points.count = q->points.count;
    points.room = q->points.count + more + 1;
    if (points.count > 0)
        memcpy(points.at, q->points.at, points.count * sizeof *points.at);
    points_wipe(&q->points);
    q->points = points;
    return true;
}

/* A stretch of the query up to a `*` or its end; with a `*` its last word is a beginning. */
static int
add_stretch(struct word_query *q, int normaliser, struct bytes text, bool star,
            struct coffer_error *err)
{
    struct points points = {0};
    struct word word = {0};
    int rc = normalise_points(normaliser, EDGE_CLOSED, text, &points, err);
    bool last_touches = false;

    if (rc == COFFER_OK && !grow(q, points.count))
        rc = error_nomem(err);
    while (rc == COFFER_OK && word_next(&points, &word)) {
        q->words[q->count++] = (struct query_word){q->points.count, word.len, false};
        memcpy(q->points.at + q->points.count, word.at, word.len * sizeof *word.at);
        q->points.count += word.len;
        last_touches = word.end == points.count;
    }
    if (rc == COFFER_OK && star && !last_touches)
        rc = error_set(err, COFFER_E_MISUSE, "a * follows the beginning of a word");
    if (rc == COFFER_OK && star)
        q->words[q->count - 1].beginning = true;
    points_wipe(&points);
    return rc;
}

static int
check(const struct token_options *o, const struct word_query *q, struct coffer_error *err)
{
    if (q->count == 0)
        return error_set(err, COFFER_E_MISUSE, "the query has no word");
    for (size_t i = 0; i < q->count; i++) {
        if (q->words[i].beginning && o->edge == 0)
            return error_set(err, COFFER_E_MISUSE,
                             "this column has no tokens for beginnings of words");
        if (q->words[i].beginning && q->words[i].len < 2)
            return error_set(err, COFFER_E_MISUSE,
                             "needle too short: a beginning of a word has at least 2 characters");
    }
    return COFFER_OK;
}

int
word_query_parse(const struct token_options *o, struct bytes query, struct word_query *out,
                 struct coffer_error *err)
{
    size_t from = 0;
    int rc = COFFER_OK;

    *out = (struct word_query){0};
    if (!o->words)
        return error_set(err, COFFER_E_MISUSE, "this column's tokens are of grams: use LIKE");
    for (size_t i = 0; rc == COFFER_OK && i <= query.len; i++) {
        bool star = i < query.len && query.ptr[i] == '*';

        if (i < query.len && !star)
            continue;
        rc = add_stretch(out, o->normaliser, bytes_of(query.ptr + from, i - from), star, err);
        from = i + 1;
    }
    return rc == COFFER_OK ? check(o, out, err) : rc;
}

void
word_query_wipe(struct word_query *query)
{
    points_wipe(&query->points);
    mem_free(query->words);
    *query = (struct word_query){0};
}

static bool
holds(const struct points *text, const int32_t *wanted, const struct query_word *q)
{
    struct word word = {0};

    while (word_next(text, &word)) {
        if ((word.len == q->len || (q->beginning && word.len > q->len)) &&
            memcmp(word.at, wanted, q->len * sizeof *wanted) == 0)
            return true;
    }
    return false;
}

int
words_match(const struct token_options *o, struct bytes query, struct bytes text, bool *matches,
            struct coffer_error *err)
{
    struct word_query q = {0};
    struct points points = {0};
    int rc = word_query_parse(o, query, &q, err);

    *matches = false;
    if (rc == COFFER_OK)
        rc = normalise_points(o->normaliser, EDGE_CLOSED, text, &points, err);
    if (rc == COFFER_OK) {
        *matches = true;
        for (size_t i = 0; *matches && i < q.count; i++)
            *matches = holds(&points, q.points.at + q.words[i].at, &q.words[i]);
    }
    points_wipe(&points);
    word_query_wipe(&q);
    return rc;
}
