/* SPDX-License-Identifier: Apache-2.0 */
#include "search/tokens.h"

#include "base/mem.h"
#include "crypto/prf.h"
#include "search/words.h"

#include <stdlib.h>
#include <string.h>

#define START 0x110000 /* before and after a text: no code points, so no text holds them */
#define END 0x110001
#define PADDING_TRIES 65536

enum message {
    MESSAGE_SHORT = 0x02,
    MESSAGE_GRAM = 0x03,
    MESSAGE_WORD = 0x10,
    MESSAGE_EDGE,
    MESSAGE_DUMMY = 0x20,
    MESSAGE_PICK
};

struct text_key {
    unsigned version;
    struct hmac_key *mac;
};

/* Tokens of one call under way: unsorted until sorted_set(). */
struct builder {
    const struct text_key *key;
    unsigned bits;
    struct tokens *out;
    int failed;
};

int
token_options_check(const struct token_options *o, struct coffer_error *err)
{
    bool ok = o->normaliser >= NORMALISE_CANONICAL && o->normaliser <= NORMALISE_ACCENTLESS &&
              o->bits >= 1 && o->bits <= TERM8_BITS_MAX && o->pad <= 64 &&
              (o->edge == 0 || (o->words && o->edge >= 2 && o->edge <= 16)) &&
              !(o->words && o->short_grams);

    if (!ok || (o->pad > 0 && o->bits < 16))
        return error_set(
            err, COFFER_E_MISUSE, "no tokens of normaliser %s, %s, edge %u, %u bits, padding %u",
            normaliser_name(o->normaliser), o->words ? "words" : "grams", o->edge, o->bits, o->pad);
    return COFFER_OK;
}

void
tokens_wipe(struct tokens *tokens)
{
    mem_free(tokens->at);
    *tokens = (struct tokens){0};
}

bool
tokens_hold(const struct tokens *row, const struct tokens *wanted)
{
    size_t r = 0;

    for (size_t w = 0; w < wanted->count; w++) {
        while (r < row->count && row->at[r] < wanted->at[w])
            r++;
        if (r == row->count || row->at[r] != wanted->at[w])
            return false;
    }
    return true;
}

int
text_key_new(const struct secret *key, const uint8_t index_id[16], unsigned version,
             struct text_key **out, struct coffer_error *err)
{
    struct text_key *made = mem_alloc(sizeof *made);
    struct secret *subkey = NULL;
    int rc;

    *out = NULL;
    if (made == NULL)
        return error_nomem(err);
    made->version = version;
    rc = subkey_derive(key, "text", index_id, version, 32, &subkey, err);
    if (rc == COFFER_OK)
        rc = hmac_key_new(secret_expose(subkey), &made->mac, err);
    secret_free(subkey);
    if (rc != COFFER_OK) {
        text_key_free(made);
        return rc;
    }
    *out = made;
    return COFFER_OK;
}

void
text_key_free(struct text_key *key)
{
    if (key != NULL)
        hmac_key_free(key->mac);
    mem_free(key);
}

static int
compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* Ascending, each once: the order says nothing about positions. */
static void
sorted_set(struct tokens *t)
{
    size_t kept = 0;

    if (t->count > 1)
        qsort(t->at, t->count, sizeof *t->at, compare);
    for (size_t i = 0; i < t->count; i++) {
        if (kept == 0 || t->at[kept - 1] != t->at[i])
            t->at[kept++] = t->at[i];
    }
    t->count = kept;
}

static void
add(struct builder *b, int64_t token)
{
    struct tokens *t = b->out;

    if (b->failed != COFFER_OK)
        return;
    if (t->count == t->room) {
        int64_t *grown;

        sorted_set(t); /* a long text repeats itself: what counts is the set */
        if (t->count > TOKENS_MAX) {
            b->failed = COFFER_E_LIMIT;
            return;
        }
        if (t->count * 2 > t->room || t->room == 0) {
            size_t room = t->room == 0 ? 64 : t->room * 2;

            grown = mem_grow(t->at, room * sizeof *grown);
            if (grown == NULL) {
                b->failed = COFFER_E_NOMEM;
                return;
            }
            t->at = grown;
            t->room = room;
        }
    }
    t->at[t->count++] = token;
}

static int64_t
token_of(const struct builder *b, const struct bytes *parts, size_t count)
{
    uint8_t mac[32];

    hmac_key_mac(b->key->mac, parts, count, mac);
    return term8(b->key->version, mac, b->bits);
}

static void
add_message(struct builder *b, uint8_t kind, struct bytes content)
{
    struct bytes parts[] = {{&kind, 1}, content};

    add(b, token_of(b, parts, 2));
}

/* Element `i` of START? points END?. */
static int32_t
element(const struct points *p, bool start, size_t i)
{
    if (start && i == 0)
        return START;
    i -= start;
    return i < p->count ? p->at[i] : END;
}

static void
add_windows(struct builder *b, const struct points *p, bool start, bool end, size_t width)
{
    size_t count = p->count + start + end;
    uint8_t message[12];

    for (size_t i = 0; i + width <= count; i++) {
        for (size_t k = 0; k < width; k++)
            put_be32(message + 4 * k, (uint32_t)element(p, start, i + k));
        add_message(b, width == 3 ? MESSAGE_GRAM : MESSAGE_SHORT, bytes_of(message, 4 * width));
    }
    wipe(message, sizeof message);
}

static void
add_grams(struct builder *b, const struct token_options *o, const struct points *p, bool start,
          bool end)
{
    add_windows(b, p, start, end, 3);
    if (o->short_grams)
        add_windows(b, p, start, end, 2);
}

/* UTF-8 of some code points as one message. */
static void
add_points(struct builder *b, uint8_t kind, const int32_t *points, size_t count)
{
    struct buf utf8;

    buf_init(&utf8, SIZE_MAX / 2);
    points_encode(points, count, &utf8);
    if (utf8.failed == COFFER_OK)
        add_message(b, kind, buf_view(&utf8));
    else if (b->failed == COFFER_OK)
        b->failed = utf8.failed;
    buf_wipe(&utf8);
}

static void
add_word(struct builder *b, const struct token_options *o, const int32_t *word, size_t len)
{
    add_points(b, MESSAGE_WORD, word, len);
    for (size_t k = 2; k <= len && k <= o->edge; k++)
        add_points(b, MESSAGE_EDGE, word, k);
}

static bool
in_set(const struct tokens *t, int64_t token)
{
    for (size_t i = 0; i < t->count; i++) {
        if (t->at[i] == token)
            return true;
    }
    return false;
}

/* Dummies until the set is a multiple of `pad`, and not empty; the same ones for the same text. */
static void
add_padding(struct builder *b, unsigned pad, const struct points *normalised)
{
    struct buf utf8;

    buf_init(&utf8, SIZE_MAX / 2);
    points_encode(normalised->at, normalised->count, &utf8);
    if (b->failed == COFFER_OK)
        b->failed = utf8.failed;
    for (uint32_t j = 0; b->failed == COFFER_OK && (b->out->count == 0 || b->out->count % pad != 0);
         j++) {
        uint8_t kind = MESSAGE_PICK, number[4], mac[32];
        struct bytes parts[] = {{&kind, 1}, buf_view(&utf8), {number, 4}};
        int64_t token;

        if (j == PADDING_TRIES) {
            b->failed = COFFER_E_LIMIT;
            break;
        }
        put_be32(number, j);
        hmac_key_mac(b->key->mac, parts, 3, mac);
        put_be32(number, get_be32(mac) % 1024);
        kind = MESSAGE_DUMMY;
        parts[1] = bytes_of(number, 4);
        token = token_of(b, parts, 2);
        if (!in_set(b->out, token))
            add(b, token);
    }
    buf_wipe(&utf8);
}

static int
finish(struct builder *b, struct coffer_error *err)
{
    sorted_set(b->out);
    if (b->failed == COFFER_OK && b->out->count > TOKENS_MAX)
        b->failed = COFFER_E_LIMIT;
    if (b->failed == COFFER_OK)
        return COFFER_OK;
    tokens_wipe(b->out);
    if (b->failed == COFFER_E_LIMIT)
        return error_set(err, COFFER_E_LIMIT,
                         "the text has more than %d tokens; to leave some out would lose rows",
                         TOKENS_MAX);
    return error_nomem(err);
}

int
tokens_of_text(const struct text_key *key, const struct token_options *o, struct bytes text,
               struct tokens *out, struct coffer_error *err)
{
    struct builder b = {.key = key, .bits = o->bits, .out = out};
    struct points points = {0};
    struct word word = {0};
    int rc = token_options_check(o, err);

    out->count = 0;
    if (rc == COFFER_OK)
        rc = normalise_points(o->normaliser, EDGE_CLOSED, text, &points, err);
    if (rc != COFFER_OK) {
        points_wipe(&points);
        return rc;
    }
    if (!o->words)
        add_grams(&b, o, &points, true, true);
    while (o->words && word_next(&points, &word))
        add_word(&b, o, word.at, word.len);
    if (o->pad > 0 && b.failed == COFFER_OK) {
        sorted_set(out);
        add_padding(&b, o->pad, &points);
    }
    points_wipe(&points);
    return finish(&b, err);
}

int
tokens_of_like(const struct text_key *key, const struct token_options *o, const struct like *like,
               struct tokens *out, struct coffer_error *err)
{
    struct builder b = {.key = key, .bits = o->bits, .out = out};
    struct points points = {0};
    int rc = token_options_check(o, err);

    out->count = 0;
    if (rc == COFFER_OK &&
        (o->words || (like->op == LIKE_CASELESS && o->normaliser == NORMALISE_CANONICAL)))
        rc = error_set(err, COFFER_E_MISUSE,
                       o->words ? "LIKE needs tokens of grams; this column's are of words"
                                : "ILIKE needs tokens of caseless or accentless text");
    if (rc == COFFER_OK && like->count == 0) /* one empty fragment, closed on both sides */
        add_grams(&b, o, &points, true, true);
    for (size_t i = 0; rc == COFFER_OK && i < like->count; i++) {
        bool start = i == 0, end = i + 1 == like->count;

        if (like->items[i].kind != LIKE_LITERAL)
            continue;
        rc = normalise_points(o->normaliser,
                              (start ? 0u : EDGE_OPEN_LEFT) | (end ? 0u : EDGE_OPEN_RIGHT),
                              like->items[i].literal, &points, err);
        if (rc == COFFER_OK)
            add_grams(&b, o, &points, start, end);
    }
    points_wipe(&points);
    if (rc == COFFER_OK)
        rc = finish(&b, err);
    if (rc == COFFER_OK && out->count == 0)
        rc = error_set(err, COFFER_E_MISUSE, "needle too short: %s",
                       o->short_grams ? "at least 2 characters inside, or 1 at an end of the text"
                                      : "at least 3 characters inside, or 2 at an end of the text");
    if (rc != COFFER_OK)
        tokens_wipe(out);
    return rc;
}

int
tokens_of_words(const struct text_key *key, const struct token_options *o, struct bytes query,
                struct tokens *out, struct coffer_error *err)
{
    struct builder b = {.key = key, .bits = o->bits, .out = out};
    struct word_query q = {0};
    int rc = token_options_check(o, err);

    out->count = 0;
    if (rc == COFFER_OK)
        rc = word_query_parse(o, query, &q, err);
    for (size_t i = 0; rc == COFFER_OK && i < q.count; i++) {
        const struct query_word *w = &q.words[i];
        const int32_t *at = q.points.at + w->at;

        if (w->beginning)
            add_points(&b, MESSAGE_EDGE, at, w->len < o->edge ? w->len : o->edge);
        else
            add_points(&b, MESSAGE_WORD, at, w->len);
    }
    word_query_wipe(&q);
    if (rc == COFFER_OK)
        rc = finish(&b, err);
    if (rc != COFFER_OK)
        tokens_wipe(out);
    return rc;
}
