/* SPDX-License-Identifier: Apache-2.0 */
/* The aggregate's state: for each session its sums and the counters of its rows.
 *
 * Counters are kept as runs, `first << 32 | last`.  A row that follows the last one only lengthens
 * its run; one that does not begins another, and marks the session as unsorted.  Runs are sorted and
 * joined before their memory is enlarged, and when the answer is written; an id that came twice
 * shows then at the latest. */
#include "sums/answer.h"

#include "base/mem.h"
#include "sums/modp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGIT_BITS 11
#define DIGITS 3 /* 33 bits hold a counter */
#define FEW 48   /* so many are sorted by insertion */

struct session {
    uint8_t id[SUM_GROUP_LEN];
    bool unsorted;
    uint64_t rows;
    int128 l, h;
    uint128 tag; /* mod p */
    uint64_t *runs;
    size_t count, size;
};

struct sum_builder {
    unsigned flags;
    uint64_t rows_max, rows;
    struct session *sessions;
    size_t count, size;
    uint32_t *table; /* index of a session + 1, by hash of its id; twice `size` places */
    size_t latest;   /* the session of the last row */
    size_t memory;
    struct coffer_error failed;
};

static int
fail(struct sum_builder *b, struct coffer_error *err, int status, const char *message)
{
    (void)error_set(&b->failed, status, "%s", message);
    if (err != NULL)
        *err = b->failed;
    return status;
}

static int
failed(const struct sum_builder *b, struct coffer_error *err)
{
    if (b->failed.status != COFFER_OK && err != NULL)
        *err = b->failed;
    return b->failed.status;
}

int
sum_builder_new(unsigned flags, uint64_t rows_max, struct sum_builder **out,
                struct coffer_error *err)
{
    struct sum_builder *made;

    *out = NULL;
    if ((flags & ~(unsigned)(SUM_WIDE | SUM_TAGGED)) != 0)
        return error_set(err, COFFER_E_MISUSE, "a sum column has no flags %#x", flags);
    made = mem_alloc(sizeof *made);
    if (made == NULL)
        return error_nomem(err);
    made->flags = flags;
    made->rows_max = rows_max;
    made->memory = sizeof *made;
    *out = made;
    return COFFER_OK;
}

void
sum_builder_free(struct sum_builder *builder)
{
    if (builder == NULL)
        return;
    for (size_t i = 0; i < builder->count; i++)
        mem_free(builder->sessions[i].runs);
    mem_free(builder->sessions);
    mem_free(builder->table);
    mem_free(builder);
}

/* ---- sessions ---- */

/* FNV-1a; session ids are random, but a hostile client could choose them: a crowded table is slow,
 * not wrong, and bounded by rows_max. */
static size_t
hash(const uint8_t id[SUM_GROUP_LEN])
{
    uint64_t h = 0xcbf29ce484222325u;

    for (int i = 0; i < SUM_GROUP_LEN; i++)
        h = (h ^ id[i]) * 0x100000001b3u;
    return (size_t)(h ^ h >> 29);
}

static void
enter(struct sum_builder *b, size_t index)
{
    size_t mask = 2 * b->size - 1, at = hash(b->sessions[index].id) & mask;

    while (b->table[at] != 0)
        at = (at + 1) & mask;
    b->table[at] = (uint32_t)index + 1;
}

static int
more_sessions(struct sum_builder *b, struct coffer_error *err)
{
    size_t size = b->size == 0 ? 8 : 2 * b->size;
    struct session *sessions;
    uint32_t *table;

    if (size > UINT32_MAX / 4)
        return fail(b, err, COFFER_E_LIMIT, "a sum over more sessions of writers than are counted");
    table = mem_array(2 * size, sizeof *table);
    sessions = table != NULL ? mem_grow(b->sessions, size * sizeof *sessions) : NULL;
    if (sessions == NULL) {
        mem_free(table);
        return fail(b, err, COFFER_E_NOMEM, "out of memory");
    }
    b->memory += (size - b->size) * (sizeof *sessions + 2 * sizeof *table);
    mem_free(b->table);
    b->table = table;
    b->sessions = sessions;
    b->size = size;
    for (size_t i = 0; i < b->count; i++)
        enter(b, i);
    return COFFER_OK;
}

static int
find(struct sum_builder *b, const uint8_t id[SUM_GROUP_LEN], struct session **out,
     struct coffer_error *err)
{
    size_t mask = 2 * b->size - 1, at;
    int rc;

    if (b->count > 0 && memcmp(b->sessions[b->latest].id, id, SUM_GROUP_LEN) == 0) {
        *out = &b->sessions[b->latest];
        return COFFER_OK;
    }
    for (at = hash(id) & mask; b->size > 0 && b->table[at & mask] != 0; at++) {
        size_t index = b->table[at & mask] - 1;

        if (memcmp(b->sessions[index].id, id, SUM_GROUP_LEN) == 0) {
            b->latest = index;
            *out = &b->sessions[index];
            return COFFER_OK;
        }
    }
    if (b->count == b->size && (rc = more_sessions(b, err)) != COFFER_OK)
        return rc;
    *out = &b->sessions[b->count];
    memset(*out, 0, sizeof **out);
    memcpy((*out)->id, id, SUM_GROUP_LEN);
    enter(b, b->count);
    b->latest = b->count++;
    return COFFER_OK;
}

/* ---- runs ---- */

static void
sort_few(uint64_t *runs, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        uint64_t run = runs[i];
        size_t at = i;

        for (; at > 0 && runs[at - 1] > run; at--)
            runs[at] = runs[at - 1];
        runs[at] = run;
    }
}

/* By first counter, least significant digit first.  Stable, and linear: the order of rows is the
 * writer's to choose. */
static bool
sort_many(uint64_t *runs, size_t count)
{
    uint64_t *other = mem_array(count, sizeof *other), *from = runs, *to = other, *swap;

    if (other == NULL)
        return false;
    for (int digit = 0; digit < DIGITS; digit++) {
        int shift = 32 + digit * DIGIT_BITS;
        size_t starts[(1 << DIGIT_BITS) + 1] = {0};

        for (size_t i = 0; i < count; i++)
            starts[(from[i] >> shift & ((1 << DIGIT_BITS) - 1)) + 1]++;
        for (size_t i = 1; i <= 1 << DIGIT_BITS; i++)
            starts[i] += starts[i - 1];
        for (size_t i = 0; i < count; i++)
            to[starts[from[i] >> shift & ((1 << DIGIT_BITS) - 1)]++] = from[i];
        swap = from;
        from = to;
        to = swap;
    }
    if (from != runs)
        memcpy(runs, from, count * sizeof *runs);
    mem_free(other);
    return true;
}

/* Ascending and joined. */
static int
tidy(struct sum_builder *b, struct session *s, struct coffer_error *err)
{
    size_t kept = 0;

    if (!s->unsorted)
        return COFFER_OK;
    if (s->count <= FEW)
        sort_few(s->runs, s->count);
    else if (!sort_many(s->runs, s->count))
        return fail(b, err, COFFER_E_NOMEM, "out of memory");
    for (size_t i = 1; i < s->count; i++) {
        uint32_t last = (uint32_t)s->runs[kept], first = (uint32_t)(s->runs[i] >> 32);

        if (first <= last)
            return fail(
                b, err, COFFER_E_MISUSE,
                "a row's id came twice: a join repeats rows, so sum them before joining, or "
                "select the ids (array_agg)");
        if (first == last + 1)
            s->runs[kept] = (s->runs[kept] & ~(uint64_t)UINT32_MAX) | (uint32_t)s->runs[i];
        else
            s->runs[++kept] = s->runs[i];
    }
    s->count = kept + 1;
    s->unsorted = false;
    return COFFER_OK;
}

static int
more_runs(struct sum_builder *b, struct session *s, struct coffer_error *err)
{
    size_t size = s->size == 0 ? 8 : 2 * s->size;
    uint64_t *runs;
    int rc = tidy(b, s, err);

    if (rc != COFFER_OK || (s->size > 0 && s->count <= s->size / 2))
        return rc;
    runs = mem_grow(s->runs, size * sizeof *runs);
    if (runs == NULL)
        return fail(b, err, COFFER_E_NOMEM, "out of memory");
    b->memory += (size - s->size) * sizeof *runs;
    s->runs = runs;
    s->size = size;
    return COFFER_OK;
}

static int
append(struct sum_builder *b, struct session *s, uint32_t first, uint32_t last,
       struct coffer_error *err)
{
    uint32_t before = s->count > 0 ? (uint32_t)s->runs[s->count - 1] : 0;
    int rc;

    if (s->count > 0 && first == (uint64_t)before + 1) {
        s->runs[s->count - 1] += last - before;
        return COFFER_OK;
    }
    if (s->count > 0 && first <= before)
        s->unsorted = true;
    if (s->count == s->size && (rc = more_runs(b, s, err)) != COFFER_OK)
        return rc;
    s->runs[s->count++] = (uint64_t)first << 32 | last;
    if (s->count > 1 && first <= (s->runs[s->count - 2] & UINT32_MAX) + 1)
        s->unsorted = true; /* sorted above, and to be joined */
    return COFFER_OK;
}

/* ---- rows ---- */

static int
count_rows(struct sum_builder *b, struct session *s, uint64_t rows, struct coffer_error *err)
{
    char text[160];

    if (rows > b->rows_max - b->rows) {
        (void)snprintf(
            text, sizeof text,
            "a sum over more than %llu rows: sum ranges of keys and add their totals, or "
            "raise the limit",
            (unsigned long long)b->rows_max);
        return fail(b, err, COFFER_E_LIMIT, text);
    }
    if (rows > UINT32_MAX - s->rows)
        return fail(b, err, COFFER_E_MISUSE, "a row's id came twice: a session has no more ids");
    b->rows += rows;
    s->rows += rows;
    return COFFER_OK;
}

int
sum_builder_add(struct sum_builder *builder, struct sum_id id, const struct sum_cell *cell,
                struct coffer_error *err)
{
    uint8_t bytes[SUM_ID_LEN];
    struct session *s;
    int rc = failed(builder, err);

    if (rc != COFFER_OK)
        return rc;
    if (id.hi < (int64_t)1 << 48 || sum_id_counter(&id) == 0)
        return fail(builder, err, COFFER_E_FORMAT,
                    "a row's id is none: version or counter is zero");
    sum_id_bytes(&id, bytes);
    rc = find(builder, bytes, &s, err);
    if (rc == COFFER_OK)
        rc = count_rows(builder, s, 1, err);
    if (rc == COFFER_OK)
        rc = append(builder, s, sum_id_counter(&id), sum_id_counter(&id), err);
    if (rc != COFFER_OK)
        return rc;
    s->l += cell->l;
    s->h += (builder->flags & SUM_WIDE) != 0 ? cell->h : 0;
    if ((builder->flags & SUM_TAGGED) != 0)
        s->tag = modp_add(s->tag, modp_limbs(cell->tag_h, cell->tag_l));
    return COFFER_OK;
}

struct combining {
    struct sum_builder *into;
    size_t session;
};

static int
combine_group(void *arg, const struct sum_group *group, struct coffer_error *err)
{
    struct combining *c = arg;
    struct session *s;
    int rc = find(c->into, group->id, &s, err);

    if (rc == COFFER_OK)
        rc = count_rows(c->into, s, group->rows, err);
    if (rc != COFFER_OK)
        return rc;
    c->session = (size_t)(s - c->into->sessions);
    s->l += group->l;
    s->h += group->h;
    s->tag = modp_add(s->tag, modp_signed(group->tag));
    return COFFER_OK;
}

static int
combine_run(void *arg, uint32_t first, uint32_t last, struct coffer_error *err)
{
    struct combining *c = arg;

    return append(c->into, &c->into->sessions[c->session], first, last, err);
}

int
sum_builder_combine(struct sum_builder *builder, struct bytes answer, struct coffer_error *err)
{
    struct combining c = {builder, 0};
    struct sum_visitor visitor = {combine_group, combine_run, &c};
    struct coffer_error mine = {0};
    int rc = failed(builder, err);

    if (rc != COFFER_OK)
        return rc;
    rc = sum_answer_read(answer, builder->flags, &visitor, &mine);
    return rc == COFFER_OK ? rc : fail(builder, err, rc, mine.message);
}

int
sum_builder_merge(struct sum_builder *builder, struct sum_builder *other, struct coffer_error *err)
{
    struct combining c = {builder, 0};
    struct sum_group group = {0};
    int rc = failed(builder, err);

    if (rc == COFFER_OK)
        rc = failed(other, err);
    if (rc == COFFER_OK && builder->flags != other->flags)
        rc = fail(builder, err, COFFER_E_MISUSE, "sums of different kinds of columns are combined");
    for (size_t i = 0; rc == COFFER_OK && i < other->count; i++) {
        struct session *s = &other->sessions[i];

        memcpy(group.id, s->id, SUM_GROUP_LEN);
        group.rows = s->rows;
        group.l = s->l;
        group.h = s->h;
        group.tag = modp_centred(s->tag);
        rc = combine_group(&c, &group, err);
        for (size_t r = 0; rc == COFFER_OK && r < s->count; r++)
            rc = combine_run(&c, (uint32_t)(s->runs[r] >> 32), (uint32_t)s->runs[r], err);
    }
    return rc;
}

/* ---- encode ---- */

static size_t
number(uint8_t *to, uint32_t v)
{
    size_t n = 0;

    for (; v >= 0x80; v >>= 7)
        to[n++] = (uint8_t)(v | 0x80);
    to[n++] = (uint8_t)v;
    return n;
}

static void
encode_session(const struct session *s, unsigned flags, struct buf *out)
{
    uint8_t wide[16], pair[10];
    uint64_t end = 0;

    buf_add(out, s->id, SUM_GROUP_LEN);
    buf_be64(out, s->rows);
    put_be128(wide, (uint128)s->l);
    buf_add(out, wide, 16);
    put_be128(wide, (uint128)s->h);
    if ((flags & SUM_WIDE) != 0)
        buf_add(out, wide, 16);
    put_be128(wide, (uint128)modp_centred(s->tag));
    if ((flags & SUM_TAGGED) != 0)
        buf_add(out, wide, 16);
    buf_be32(out, (uint32_t)s->count);
    for (size_t i = 0; i < s->count; i++) {
        uint32_t first = (uint32_t)(s->runs[i] >> 32), last = (uint32_t)s->runs[i];
        size_t n = number(pair, (uint32_t)(first - end - 1));

        n += number(pair + n, last - first);
        buf_add(out, pair, n);
        end = (uint64_t)last + 1;
    }
}

/* Sessions in ascending order; the table is made anew for the new places. */
static int
by_id(const void *a, const void *b)
{
    return memcmp(((const struct session *)a)->id, ((const struct session *)b)->id, SUM_GROUP_LEN);
}

static void
sort_sessions(struct sum_builder *b)
{
    if (b->count < 2)
        return;
    qsort(b->sessions, b->count, sizeof *b->sessions, by_id);
    memset(b->table, 0, 2 * b->size * sizeof *b->table);
    for (size_t i = 0; i < b->count; i++)
        enter(b, i);
}

int
sum_builder_encode(struct sum_builder *builder, struct buf *out, struct coffer_error *err)
{
    int rc = failed(builder, err);

    for (size_t i = 0; rc == COFFER_OK && i < builder->count; i++)
        rc = tidy(builder, &builder->sessions[i], err);
    if (rc != COFFER_OK)
        return rc;
    sort_sessions(builder);
    buf_u8(out, 1);
    buf_u8(out, (uint8_t)builder->flags);
    buf_be32(out, (uint32_t)builder->count);
    for (size_t i = 0; i < builder->count; i++)
        encode_session(&builder->sessions[i], builder->flags, out);
    return buf_status(out, err);
}

uint64_t
sum_builder_rows(const struct sum_builder *builder)
{
    return builder->rows;
}

size_t
sum_builder_memory(const struct sum_builder *builder)
{
    return builder->memory;
}
