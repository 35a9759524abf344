/* SPDX-License-Identifier: Apache-2.0 */
#include "search/like.h"

#include "base/mem.h"
#include "base/secret.h"

#include <string.h>
#include <utf8proc.h>

#define PATTERN_MAX 65536
#define RUN_ANY (-1)
#define RUN_ONE (-2)

/* The literal under way ends: what was stored since `from` is an item. */
static void
end_literal(struct like *like, size_t from)
{
    if (like->storage.len > from)
        like->items[like->count++] =
            (struct like_item){LIKE_LITERAL, {like->storage.ptr + from, like->storage.len - from}};
}

static int
split(struct like *like, struct bytes pattern, int32_t escape, struct coffer_error *err)
{
    size_t at = 0, from = 0;

    while (at < pattern.len) {
        int32_t point;
        size_t n = (size_t)utf8proc_iterate(pattern.ptr + at, (utf8proc_ssize_t)(pattern.len - at),
                                            &point);

        if (point == escape && at + n >= pattern.len)
            return error_set(err, COFFER_E_FORMAT,
                             "the LIKE pattern ends with its escape character");
        if (point == escape) { /* the next one stands for itself */
            at += n;
            n = (size_t)utf8proc_iterate(pattern.ptr + at, (utf8proc_ssize_t)(pattern.len - at),
                                         &point);
            buf_add(&like->storage, pattern.ptr + at, n);
        } else if (point == '%' || point == '_') {
            end_literal(like, from);
            from = like->storage.len;
            like->items[like->count++].kind = point == '%' ? LIKE_ANY : LIKE_ONE;
        } else {
            buf_add(&like->storage, pattern.ptr + at, n);
        }
        at += n;
    }
    end_literal(like, from);
    return COFFER_OK;
}

/* The program: at most one code point more a byte of the pattern than normalising gives. */
static int
compile(struct like *like, struct coffer_error *err)
{
    int normaliser = like->op == LIKE_CASELESS ? NORMALISE_CASELESS : NORMALISE_EXACT;
    struct points literal = {0};
    int rc = COFFER_OK;

    for (size_t i = 0; rc == COFFER_OK && i < like->count; i++) {
        const struct like_item *item = &like->items[i];
        size_t want;

        literal.count = 0;
        if (item->kind == LIKE_LITERAL)
            rc = normalise_points(normaliser, EDGE_CLOSED, item->literal, &literal, err);
        want = like->program.count + (item->kind == LIKE_LITERAL ? literal.count : 1);
        if (rc == COFFER_OK && want > like->program.room) {
            int32_t *grown = mem_array(want * 2 + 16, sizeof *grown);

            if (grown == NULL) {
                rc = error_nomem(err);
                break;
            }
            if (like->program.count > 0)
                memcpy(grown, like->program.at, like->program.count * sizeof *grown);
            want = want * 2 + 16;
            {
                size_t count = like->program.count;

                points_wipe(&like->program);
                like->program = (struct points){grown, count, want};
            }
        }
        if (rc != COFFER_OK)
            break;
        if (item->kind != LIKE_LITERAL)
            like->program.at[like->program.count++] = item->kind == LIKE_ANY ? RUN_ANY : RUN_ONE;
        else if (literal.count > 0) {
            memcpy(like->program.at + like->program.count, literal.at,
                   literal.count * sizeof *literal.at);
            like->program.count += literal.count;
        }
    }
    points_wipe(&literal);
    return rc;
}

int
like_parse(struct bytes pattern, int32_t escape, enum like_operator op, struct like *out,
           struct coffer_error *err)
{
    int rc;

    *out = (struct like){.op = op};
    if (pattern.len > PATTERN_MAX)
        return error_set(err, COFFER_E_LIMIT,
                         "a LIKE pattern of %zu bytes; at most %d are possible", pattern.len,
                         PATTERN_MAX);
    if (!utf8_valid(pattern))
        return error_set(err, COFFER_E_FORMAT, "the LIKE pattern is ill-formed UTF-8");
    buf_init(&out->storage, PATTERN_MAX + 1);
    out->items = mem_array(pattern.len + 1, sizeof *out->items);
    if (out->items == NULL)
        return error_nomem(err);
    /* Items borrow from the storage: it gets its whole size before the first, and moves no more. */
    buf_add(&out->storage, pattern.ptr != NULL ? pattern.ptr : (const uint8_t *)"", pattern.len);
    rc = buf_status(&out->storage, err);
    buf_clear(&out->storage);
    if (rc == COFFER_OK)
        rc = split(out, pattern, escape, err);
    if (rc == COFFER_OK)
        rc = buf_status(&out->storage, err);
    if (rc == COFFER_OK)
        rc = compile(out, err);
    if (rc != COFFER_OK)
        like_wipe(out);
    return rc;
}

void
like_wipe(struct like *like)
{
    mem_free(like->items);
    buf_wipe(&like->storage);
    points_wipe(&like->program);
    *like = (struct like){0};
}

/* The last % is the only place to come back to: whatever an earlier one took, the part between them
 * has matched at its first place, and later places leave less. */
static bool
run(const int32_t *program, size_t program_count, const int32_t *text, size_t text_count)
{
    size_t p = 0, t = 0, any_p = SIZE_MAX, any_t = 0;

    while (t < text_count) {
        if (p < program_count && program[p] == RUN_ANY) {
            any_p = ++p;
            any_t = t;
        } else if (p < program_count && (program[p] == RUN_ONE || program[p] == text[t])) {
            p++;
            t++;
        } else if (any_p != SIZE_MAX) {
            p = any_p;
            t = ++any_t;
        } else {
            return false;
        }
    }
    while (p < program_count && program[p] == RUN_ANY)
        p++;
    return p == program_count;
}

int
like_match(const struct like *like, struct bytes text, bool *matches, struct coffer_error *err)
{
    int normaliser = like->op == LIKE_CASELESS ? NORMALISE_CASELESS : NORMALISE_EXACT;
    struct points points = {0};
    int rc = normalise_points(normaliser, EDGE_CLOSED, text, &points, err);

    *matches =
        rc == COFFER_OK && run(like->program.at, like->program.count, points.at, points.count);
    points_wipe(&points);
    return rc;
}
