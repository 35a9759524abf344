/* SPDX-License-Identifier: Apache-2.0 */
/* Collects what a server answered.  Every number is bounded by the rows that it is said to be of
 * before it is added to another, so that nothing here overflows. */
#include "base/mem.h"
#include "sums/internal.h"

#include <stdlib.h>
#include <string.h>

static int
bad(struct coffer_error *err, const char *what)
{
    return error_set(err, COFFER_E_FORMAT, "not what a sum of encrypted rows can be: %s", what);
}

int
sum_set_new(unsigned flags, struct sum_set **out, struct coffer_error *err)
{
    *out = mem_alloc(sizeof **out);
    if (*out == NULL)
        return error_nomem(err);
    (*out)->flags = flags;
    return COFFER_OK;
}

void
sum_set_free(struct sum_set *set)
{
    if (set == NULL)
        return;
    for (size_t i = 0; i < set->count; i++) {
        mem_free(set->parts[i].runs);
        mem_free(set->parts[i].weights);
    }
    mem_free(set->parts);
    mem_free(set->sums);
    mem_free(set);
}

/* A new part with room for `count` runs. */
static int
add_part(struct sum_set *set, const uint8_t group[SUM_GROUP_LEN], size_t count, bool weighted,
         struct part **out, struct coffer_error *err)
{
    struct part *part;

    if (group[0] > SUM_VERSION_MAX >> 8 || (group[0] == 0 && group[1] == 0))
        return bad(err, "a key version is out of range");
    if (set->count == set->size) {
        size_t size = set->size == 0 ? 4 : 2 * set->size;
        struct part *parts = mem_grow(set->parts, size * sizeof *parts);

        if (parts == NULL)
            return error_nomem(err);
        set->parts = parts;
        set->size = size;
    }
    part = &set->parts[set->count];
    memset(part, 0, sizeof *part);
    memcpy(part->group, group, SUM_GROUP_LEN);
    part->runs = mem_array(count, sizeof *part->runs);
    part->weights = weighted ? mem_array(count, sizeof *part->weights) : NULL;
    if (part->runs == NULL || (weighted && part->weights == NULL)) {
        mem_free(part->runs);
        mem_free(part->weights);
        return error_nomem(err);
    }
    set->count++;
    *out = part;
    return COFFER_OK;
}

static int
find_sums(struct sum_set *set, unsigned version, struct part_sums **out, struct coffer_error *err)
{
    struct part_sums *sums;

    for (size_t i = set->sums_count; i > 0; i--)
        if (set->sums[i - 1].version == version) {
            *out = &set->sums[i - 1];
            return COFFER_OK;
        }
    sums = mem_grow(set->sums, (set->sums_count + 1) * sizeof *sums);
    if (sums == NULL)
        return error_nomem(err);
    set->sums = sums;
    *out = &sums[set->sums_count++];
    memset(*out, 0, sizeof **out);
    (*out)->version = version;
    return COFFER_OK;
}

static bool
possible(int128 sum, uint64_t weight)
{
    return uint128_abs(sum) <= (uint128)weight << 63;
}

static int
add_sums(struct sum_set *set, unsigned version, uint64_t rows, uint64_t weight,
         const struct sum_sums *add, struct coffer_error *err)
{
    bool wide = (set->flags & SUM_WIDE) != 0, tagged = (set->flags & SUM_TAGGED) != 0;
    struct part_sums *sums = NULL;
    int rc = find_sums(set, version, &sums, err);

    if (rc != COFFER_OK)
        return rc;
    if (weight >= SUM_WEIGHT_MAX - sums->weight || rows >= SUM_WEIGHT_MAX - sums->rows)
        return error_set(err, COFFER_E_LIMIT, "a sum over too many rows, or of too large weights");
    /* Without this check a server adds p to Σl, which the tags do not see, and shifts the total by
     * p mod 2^64, that is by -1. */
    if (!possible(add->l, weight) || (wide && !possible(add->h, weight)))
        return tagged ? error_set(err, COFFER_E_AUTH,
                                  "the sum is not that of its rows: it is larger than they could "
                                  "have")
                      : bad(err, "it is larger than its rows could have");
    sums->rows += rows;
    sums->weight += weight;
    sums->l += add->l;
    sums->h += wide ? add->h : 0;
    if (tagged)
        sums->tag = modp_add(sums->tag, modp_limbs(add->tag_h, add->tag_l));
    return COFFER_OK;
}

int
sum_set_runs(struct sum_set *set, const uint8_t group[SUM_GROUP_LEN], const struct sum_run *runs,
             size_t count, const struct sum_sums *sums, struct coffer_error *err)
{
    uint64_t rows = 0, end = 0;
    struct part *part;
    int rc;

    for (size_t i = 0; i < count; i++) {
        if (runs[i].first <= end || runs[i].last < runs[i].first)
            return bad(err, "ids do not ascend, or one is zero");
        rows += (uint64_t)runs[i].last - runs[i].first + 1;
        end = runs[i].last;
    }
    rc = add_part(set, group, count, false, &part, err);
    if (rc != COFFER_OK)
        return rc;
    if (count > 0)
        memcpy(part->runs, runs, count * sizeof *runs);
    part->count = count;
    return add_sums(set, (unsigned)group[0] << 8 | group[1], rows, rows, sums, err);
}

/* ---- the aggregate's bytes ---- */

struct reading {
    struct sum_set *set;
    const struct sum_sums *sums; /* of all groups, instead of each its own */
};

static int
read_group(void *arg, const struct sum_group *group, struct coffer_error *err)
{
    struct reading *r = arg;
    struct sum_sums sums = {.l = group->l, .h = group->h, .tag_l = group->tag};
    struct part *part;
    int rc = add_part(r->set, group->id, group->runs, false, &part, err);

    if (rc == COFFER_OK && r->sums == NULL)
        rc = add_sums(r->set, (unsigned)group->id[0] << 8 | group->id[1], group->rows, group->rows,
                      &sums, err);
    return rc;
}

static int
read_run(void *arg, uint32_t first, uint32_t last, struct coffer_error *err)
{
    struct reading *r = arg;
    struct part *part = &r->set->parts[r->set->count - 1];

    (void)err;
    part->runs[part->count++] = (struct sum_run){first, last};
    return COFFER_OK;
}

int
sum_set_answer(struct sum_set *set, struct bytes answer, struct coffer_error *err)
{
    struct reading r = {set, NULL};
    struct sum_visitor visitor = {read_group, read_run, &r};

    return sum_answer_read(answer, set->flags, &visitor, err);
}

/* ---- ids ---- */

/* The aggregate's own builder sorts ids and joins them to runs.  MISUSE: an id came twice. */
static int
ids_by_builder(struct sum_set *set, const struct sum_id *ids, size_t count,
               const struct sum_sums *sums, struct coffer_error *err)
{
    static const struct sum_cell nothing;
    struct reading r = {set, sums};
    struct sum_visitor visitor = {read_group, read_run, &r};
    struct sum_builder *builder;
    struct buf answer;
    int rc = sum_builder_new(0, count, &builder, err);

    buf_init(&answer, SIZE_MAX);
    for (size_t i = 0; rc == COFFER_OK && i < count; i++)
        rc = sum_builder_add(builder, ids[i], &nothing, err);
    if (rc == COFFER_OK)
        rc = sum_builder_encode(builder, &answer, err);
    if (rc == COFFER_OK)
        rc = sum_answer_read(buf_view(&answer), 0, &visitor, err);
    sum_builder_free(builder);
    buf_wipe(&answer);
    return rc;
}

struct weighted {
    uint8_t id[SUM_ID_LEN];
    int64_t weight;
};

static int
by_id(const void *a, const void *b)
{
    return memcmp(a, b, SUM_ID_LEN);
}

/* Sorted; equal ids became one with the sum of their weights. */
static int
sort_weighted(const struct sum_id *ids, const int64_t *weights, size_t count, struct weighted **out,
              size_t *kept, uint64_t *weight, struct coffer_error *err)
{
    struct weighted *rows = mem_array(count, sizeof *rows);
    size_t n = 0;

    if (rows == NULL)
        return error_nomem(err);
    for (size_t i = 0; i < count; i++) {
        uint64_t size = weights == NULL ? 1 : (uint64_t)uint128_abs(weights[i]);

        if (size >= SUM_WEIGHT_MAX - *weight) {
            mem_free(rows);
            return error_set(err, COFFER_E_LIMIT,
                             "a sum over too many rows, or of too large weights");
        }
        *weight += size;
        sum_id_bytes(&ids[i], rows[i].id);
        rows[i].weight = weights == NULL ? 1 : weights[i];
    }
    qsort(rows, count, sizeof *rows, by_id);
    for (size_t i = 0; i < count; i++) {
        if (n > 0 && memcmp(rows[n - 1].id, rows[i].id, SUM_ID_LEN) == 0)
            rows[n - 1].weight += rows[i].weight; /* below 2^62 in all */
        else
            rows[n++] = rows[i];
    }
    *out = rows;
    *kept = n;
    return COFFER_OK;
}

/* Neighbours of one weight are one run; repeated ids have weights of their own. */
static int
ids_weighted(struct sum_set *set, const struct sum_id *ids, const int64_t *weights, size_t count,
             uint64_t *weight, struct coffer_error *err)
{
    struct weighted *rows = NULL;
    struct part *part = NULL;
    size_t kept = 0, i, end;
    int rc = sort_weighted(ids, weights, count, &rows, &kept, weight, err);

    for (i = 0; rc == COFFER_OK && i < kept; i = end) {
        for (end = i; end < kept && memcmp(rows[end].id, rows[i].id, SUM_GROUP_LEN) == 0;)
            end++;
        rc = add_part(set, rows[i].id, end - i, true, &part, err);
        for (size_t k = i; rc == COFFER_OK && k < end; k++) {
            uint32_t counter = get_be32(rows[k].id + SUM_GROUP_LEN);
            size_t last = part->count - 1;

            if (counter == 0) {
                rc = bad(err, "an id is zero");
            } else if (part->count > 0 && part->runs[last].last + 1 == counter &&
                       part->weights[last] == rows[k].weight) {
                part->runs[last].last = counter;
            } else {
                part->runs[part->count] = (struct sum_run){counter, counter};
                part->weights[part->count++] = rows[k].weight;
            }
        }
    }
    mem_free(rows);
    return rc;
}

int
sum_set_ids(struct sum_set *set, const struct sum_id *ids, const int64_t *weights, bool repeats,
            size_t count, const struct sum_sums *sums, struct coffer_error *err)
{
    unsigned version = count > 0 ? sum_id_version(&ids[0]) : 1;
    uint64_t weight = 0;
    int rc = COFFER_E_MISUSE;

    for (size_t i = 0; i < count; i++)
        if (sum_id_version(&ids[i]) != version)
            return bad(err, "it mixes key versions: GROUP BY the column of the ids' first half");
    if (weights == NULL) {
        weight = count;
        rc = ids_by_builder(set, ids, count, sums, err);
        if (rc == COFFER_E_MISUSE && !repeats)
            return bad(err, "an id came twice");
    }
    if (rc == COFFER_E_MISUSE) {
        weight = 0;
        rc = ids_weighted(set, ids, weights, count, &weight, err);
    }
    set->ids_repeat = set->ids_repeat || repeats || weights != NULL;
    if (rc != COFFER_OK)
        return rc;
    return add_sums(set, version, count, weight, sums, err);
}

/* ---- one run, told from its ends ---- */

int
sum_set_contiguous(struct sum_set *set, int64_t hi, uint64_t count, int64_t min_lo, int64_t max_lo,
                   int128 sum_lo, const struct sum_sums *sums, bool *contiguous,
                   struct coffer_error *err)
{
    struct sum_id first = {hi, min_lo}, last = {hi, max_lo};
    uint8_t group[SUM_ID_LEN];
    struct sum_run run = {sum_id_counter(&first), sum_id_counter(&last)};

    *contiguous = count > 0 && min_lo <= max_lo && min_lo >> 32 == max_lo >> 32 &&
                  run.last - run.first + (uint64_t)1 == count &&
                  sum_lo == ((int128)min_lo + max_lo) * (int128)count / 2;
    if (!*contiguous)
        return COFFER_OK;
    sum_id_bytes(&first, group);
    return sum_set_runs(set, group, &run, 1, sums, err);
}
