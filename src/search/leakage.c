/* SPDX-License-Identifier: Apache-2.0 */
#include "search/leakage.h"

#include "base/mem.h"
#include "search/classes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOP_TOKENS 100
#define RANGES 200

char
leakage_grade(double share)
{
    return share <= 0.01   ? 'A'
           : share <= 0.05 ? 'B'
           : share <= 0.2  ? 'C'
           : share <= 0.5  ? 'D'
                           : 'F';
}

static int
by_size(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;

    return (x > y) - (x < y);
}

/* Who knows all counts: among values of one count a single match is expected, so each different
 * count gives that many rows. */
static int
exact_share(const struct value_class *c, size_t classes, size_t rows, double *share,
            struct coffer_error *err)
{
    size_t *counts = mem_array(classes + 1, sizeof *counts), sum = 0;

    *share = 0;
    if (counts == NULL)
        return error_nomem(err);
    for (size_t i = 0; i < classes; i++)
        counts[i] = c[i].count;
    qsort(counts, classes, sizeof *counts, by_size);
    for (size_t i = 0; i < classes; i++) {
        if (i == 0 || counts[i] != counts[i - 1])
            sum += counts[i];
    }
    if (rows > 0)
        *share = (double)sum / (double)rows;
    mem_free(counts);
    return COFFER_OK;
}

int
leakage_equality(const struct bytes *values, size_t count, uint64_t seed,
                 struct leakage_equality *out, struct coffer_error *err)
{
    struct value_class *classes;
    size_t n;
    int rc = classes_of(values, count, seed, &classes, &n, err);

    *out = (struct leakage_equality){.rows = count, .distinct = n};
    if (rc == COFFER_OK)
        rc = exact_share(classes, n, count, &out->exact, err);
    if (rc == COFFER_OK)
        rc = match_by_rank(classes, n, &out->similar, err);
    mem_free(classes);
    return rc;
}

struct merged {
    uint64_t term;
    size_t count;
};

static int
by_term(const void *a, const void *b)
{
    const struct merged *x = a, *y = b;

    if (x->term != y->term)
        return (x->term > y->term) - (x->term < y->term);
    return (x->count < y->count) - (x->count > y->count); /* the most frequent first */
}

int
leakage_short(const struct bytes *values, size_t count, unsigned bits, uint64_t seed,
              struct leakage_short *out, struct coffer_error *err)
{
    struct value_class *classes, *best = NULL;
    struct merged *m = NULL;
    size_t n, heads = 0, guessed = 0;
    double pairs = 0, share;
    int rc = classes_of(values, count, seed, &classes, &n, err);

    *out = (struct leakage_short){0};
    if (rc == COFFER_OK) {
        m = mem_array(n + 1, sizeof *m);
        best = mem_array(n + 1, sizeof *best);
        rc = m == NULL || best == NULL ? error_nomem(err) : COFFER_OK;
    }
    for (size_t i = 0; rc == COFFER_OK && i < n; i++)
        m[i] = (struct merged){bits >= 64 ? i : chance_next(&seed) & ((1ull << bits) - 1),
                               classes[i].count};
    if (rc == COFFER_OK)
        qsort(m, n, sizeof *m, by_term);
    for (size_t i = 0, end; rc == COFFER_OK && i < n; i = end) {
        size_t sum = 0;

        for (end = i; end < n && m[end].term == m[i].term; end++)
            sum += m[end].count;
        for (size_t k = i; k < end; k++)
            pairs += (double)m[k].count * (double)(sum - m[k].count);
        best[heads].count = sum; /* what is counted is the term, what is guessed its first value */
        best[heads++].known = m[i].count;
    }
    if (rc == COFFER_OK)
        rc = exact_share(best, heads, count, &share, err);
    for (size_t i = 0; rc == COFFER_OK && i < heads; i++)
        guessed += best[i].known;
    if (rc == COFFER_OK && count > 0) {
        out->share = share * (double)guessed / (double)count;
        out->false_positives = pairs / (double)count;
    }
    mem_free(m);
    mem_free(best);
    mem_free(classes);
    return rc;
}

static unsigned
bit_of(const struct value_class *c, size_t at)
{
    return c->value.ptr[at / 8] >> (7 - at % 8) & 1u;
}

/* Bits that the split of a range of sorted values at bit `at` and below gives, summed over values:
 * where some have 0 and some 1, order tells each its bit. */
static double
fixed_bits(const struct value_class *c, size_t count, size_t at, size_t bits)
{
    size_t zeros = 0;

    while (at < bits && (bit_of(&c[0], at) == bit_of(&c[count - 1], at)))
        at++; /* sorted: equal at both ends, equal throughout */
    if (at == bits || count < 2)
        return 0;
    while (bit_of(&c[zeros], at) == 0)
        zeros++;
    return (double)count + fixed_bits(c, zeros, at + 1, bits) +
           fixed_bits(c + zeros, count - zeros, at + 1, bits);
}

/* The same by bytes: k different bytes at a place give each of their values log2(k) bits. */
static double
fixed_bytes(const struct value_class *c, size_t count, size_t at, size_t width)
{
    double sum = 0;
    size_t kinds = 0;

    if (at == width || count < 2)
        return 0;
    for (size_t i = 0, end; i < count; i = end, kinds++) {
        for (end = i; end < count && c[end].value.ptr[at] == c[i].value.ptr[at]; end++)
            ;
        sum += fixed_bytes(c + i, end - i, at + 1, width);
    }
    return sum + log2((double)kinds) * (double)count;
}

static double
number_of(struct bytes value)
{
    double n = 0;

    for (size_t i = 0; i < value.len; i++)
        n = n * 256 + value.ptr[i];
    return n;
}

static double
mean_gap(const struct value_class *c, size_t count)
{
    double sum = 0;

    for (size_t i = 1; i < count; i++)
        sum += log2(fmax(1, number_of(c[i].value) - number_of(c[i - 1].value)));
    return count > 1 ? sum / (double)(count - 1) : 0;
}

int
leakage_order(const struct bytes *encodings, size_t count, double domain, uint64_t seed,
              struct leakage_order *out, struct coffer_error *err)
{
    size_t width = count > 0 ? encodings[0].len : 0, n;
    struct value_class *c;
    int rc = classes_of(encodings, count, seed, &c, &n, err);

    *out = (struct leakage_order){.rows = count, .distinct = n};
    if (rc != COFFER_OK || n == 0) {
        mem_free(c);
        return rc;
    }
    out->density = fmin(1, (double)n / (domain > 0 ? domain : exp2(8 * (double)width)));
    out->gap_bits = mean_gap(c, n);
    out->fixed_by_bit = fixed_bits(c, n, 0, 8 * width) / (double)n;
    out->fixed_by_byte = fixed_bytes(c, n, 0, width) / (double)n;
    if (n <= LEAKAGE_MATCHED_MAX)
        rc = match_by_assignment(c, n, &out->assignment, err);
    if (rc == COFFER_OK && n <= LEAKAGE_MATCHED_MAX)
        rc = match_in_order(c, n, &out->crossing_free, err);
    out->worst = fmax(out->density, fmax(out->assignment, out->crossing_free));
    mem_free(c);
    return rc;
}

/* The numbers of tokens that exactly one row has. */
static int
unique_counts(const struct tokens *rows, size_t count, double *share, struct coffer_error *err)
{
    size_t *of = mem_array(TOKENS_MAX + 1, sizeof *of), unique = 0;

    *share = 0;
    if (of == NULL)
        return error_nomem(err);
    for (size_t i = 0; i < count; i++)
        of[rows[i].count <= TOKENS_MAX ? rows[i].count : TOKENS_MAX]++;
    for (size_t i = 0; i <= TOKENS_MAX; i++)
        unique += of[i] == 1;
    if (count > 0)
        *share = (double)unique / (double)count;
    mem_free(of);
    return COFFER_OK;
}

struct ranked {
    size_t known, target, which;
};

static int
by_known_count(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    return (x->known < y->known) - (x->known > y->known);
}

static int
by_target_count(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    if (x->target != y->target)
        return (x->target < y->target) - (x->target > y->target);
    return (x->which > y->which) - (x->which < y->which);
}

static int
top_matched(const struct bytes *values, size_t count, uint64_t seed, double *share,
            struct coffer_error *err)
{
    struct value_class *c;
    struct ranked *r = NULL;
    size_t n, which[TOP_TOKENS], top, right = 0;
    int rc = classes_of(values, count, seed, &c, &n, err);

    *share = 0;
    if (rc == COFFER_OK && (r = mem_array(n + 1, sizeof *r)) == NULL)
        rc = error_nomem(err);
    if (rc == COFFER_OK) {
        top = n < TOP_TOKENS ? n : TOP_TOKENS;
        for (size_t i = 0; i < n; i++)
            r[i] = (struct ranked){c[i].known, c[i].target, i};
        qsort(r, n, sizeof *r, by_known_count);
        for (size_t i = 0; i < top; i++)
            which[i] = r[i].which;
        qsort(r, n, sizeof *r, by_target_count);
        for (size_t i = 0; i < top; i++)
            right += which[i] == r[i].which;
        *share = top > 0 ? (double)right / (double)top : 0;
    }
    mem_free(r);
    mem_free(c);
    return rc;
}

int
leakage_tokens(const struct tokens *rows, size_t count, uint64_t seed, struct leakage_tokens *out,
               struct coffer_error *err)
{
    struct bytes *all;
    size_t total = 0, n = 0;
    int rc;

    *out = (struct leakage_tokens){0};
    for (size_t i = 0; i < count; i++)
        total += rows[i].count;
    all = mem_array(total + 1, sizeof *all);
    if (all == NULL)
        return error_nomem(err);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < rows[i].count; k++)
            all[n++] = bytes_of(&rows[i].at[k], sizeof *rows[i].at);
    }
    rc = top_matched(all, n, seed, &out->top_matched, err);
    if (rc == COFFER_OK)
        rc = unique_counts(rows, count, &out->unique_counts, err);
    mem_free(all);
    return rc;
}

/* Rows that random ranges between two sampled values bring, for each that is in the range. */
static double
over_fetch(const struct bucket_layout *layout, const struct bytes *values, size_t count,
           const size_t *sizes, uint64_t seed)
{
    double sum = 0;

    for (int q = 0; q < RANGES; q++) {
        const uint8_t *low = values[chance_next(&seed) % count].ptr;
        const uint8_t *high = values[chance_next(&seed) % count].ptr;
        size_t fetched = 0, wanted = 0;

        if (memcmp(low, high, layout->width) > 0) {
            const uint8_t *swap = low;

            low = high;
            high = swap;
        }
        for (uint32_t b = bucket_of(layout, low); b <= bucket_of(layout, high); b++)
            fetched += sizes[b];
        for (size_t i = 0; i < count; i++)
            wanted += memcmp(values[i].ptr, low, layout->width) >= 0 &&
                      memcmp(values[i].ptr, high, layout->width) <= 0;
        sum += (double)fetched / (double)wanted;
    }
    return sum / RANGES;
}

int
leakage_buckets(const struct bucket_layout *layout, const struct bytes *encodings, size_t count,
                uint64_t seed, struct leakage_buckets *out, struct coffer_error *err)
{
    size_t *sizes, terms = 0;

    *out = (struct leakage_buckets){0};
    if (count == 0)
        return COFFER_OK;
    sizes = mem_array(layout->buckets, sizeof *sizes);
    if (sizes == NULL)
        return error_nomem(err);
    for (size_t i = 0; i < count; i++)
        sizes[bucket_of(layout, encodings[i].ptr)]++;
    for (uint32_t b = 0; b < layout->buckets; b++) {
        double p = (double)sizes[b] / (double)count / layout->splits[b]; /* of each sub-bucket */

        terms += layout->splits[b];
        if (p > 0)
            out->entropy_bits -= p * log2(p) * layout->splits[b];
    }
    out->entropy_max_bits = log2((double)terms);
    out->over_fetch = over_fetch(layout, encodings, count, sizes, seed);
    mem_free(sizes);
    return COFFER_OK;
}

int
leakage_pair(const struct bytes *a, const struct bytes *b, size_t count, double *share,
             struct coffer_error *err)
{
    struct bytes *joined = mem_array(count + 1, sizeof *joined);
    struct value_class *c = NULL;
    struct buf room;
    size_t n = 0;
    int rc = joined == NULL ? error_nomem(err) : COFFER_OK;

    *share = 0;
    buf_init(&room, SIZE_MAX / 4);
    for (size_t i = 0; rc == COFFER_OK && i < count; i++) {
        buf_lp32(&room, a[i]);
        buf_bytes(&room, b[i]);
    }
    if (rc == COFFER_OK)
        rc = buf_status(&room, err);
    for (size_t i = 0, at = 0; rc == COFFER_OK && i < count; i++) {
        joined[i] = bytes_of(room.ptr + at, 4 + a[i].len + b[i].len);
        at += joined[i].len;
    }
    if (rc == COFFER_OK)
        rc = classes_of(joined, count, 1, &c, &n, err);
    if (rc == COFFER_OK)
        rc = exact_share(c, n, count, share, err);
    mem_free(c);
    mem_free(joined);
    buf_wipe(&room);
    return rc;
}
