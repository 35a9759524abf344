/* SPDX-License-Identifier: Apache-2.0 */
#include "search/classes.h"

#include "base/mem.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

uint64_t
chance_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static int
by_value(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

int
classes_of(const struct bytes *values, size_t count, uint64_t seed, struct value_class **out,
           size_t *classes, struct coffer_error *err)
{
    struct bytes *sorted = mem_array(count + 1, sizeof *sorted);
    struct value_class *made = mem_array(count + 1, sizeof *made);
    size_t n = 0;

    *out = NULL;
    *classes = 0;
    if (sorted == NULL || made == NULL) {
        mem_free(sorted);
        mem_free(made);
        return error_nomem(err);
    }
    for (size_t i = 0; i < count; i++)
        sorted[i] = values[i];
    qsort(sorted, count, sizeof *sorted, by_value);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || !bytes_equal(sorted[i - 1], sorted[i]))
            made[n++] = (struct value_class){.value = sorted[i], .tie = chance_next(&seed)};
        made[n - 1].count++;
        if ((chance_next(&seed) >> 40 & 1) != 0)
            made[n - 1].known++;
        else
            made[n - 1].target++;
    }
    mem_free(sorted);
    *out = made;
    *classes = n;
    return COFFER_OK;
}

static size_t
target_rows(const struct value_class *classes, size_t count)
{
    size_t rows = 0;

    for (size_t i = 0; i < count; i++)
        rows += classes[i].target;
    return rows;
}

static int
by_known(const void *a, const void *b)
{
    const struct value_class *x = *(struct value_class *const *)a,
                             *y = *(struct value_class *const *)b;

    return x->known != y->known ? (x->known < y->known) - (x->known > y->known)
                                : (x->tie > y->tie) - (x->tie < y->tie);
}

static int
by_target(const void *a, const void *b)
{
    const struct value_class *x = *(struct value_class *const *)a,
                             *y = *(struct value_class *const *)b;
    uint64_t p = x->tie * 0x9e3779b97f4a7c15, q = y->tie * 0x9e3779b97f4a7c15; /* another order */

    return x->target != y->target ? (x->target < y->target) - (x->target > y->target)
                                  : (p > q) - (p < q);
}

int
match_by_rank(const struct value_class *classes, size_t count, double *share,
              struct coffer_error *err)
{
    const struct value_class **known = mem_array(2 * count + 1, sizeof *known);
    const struct value_class **target = known + count;
    size_t right = 0, rows = target_rows(classes, count);

    *share = 0;
    if (known == NULL)
        return error_nomem(err);
    for (size_t i = 0; i < count; i++)
        known[i] = target[i] = &classes[i];
    qsort(known, count, sizeof *known, by_known);
    qsort(target, count, sizeof *target, by_target);
    for (size_t i = 0; i < count; i++) {
        if (known[i] == target[i])
            right += target[i]->target;
    }
    if (rows > 0)
        *share = (double)right / (double)rows;
    mem_free(known);
    return COFFER_OK;
}

/* The Hungarian method with potentials, O(n³) (Kuhn; Munkres): to[j] is the row of column j. */
static int
assign(const double *cost, size_t n, size_t *to, struct coffer_error *err)
{
    double *u = mem_array(3 * (n + 1), sizeof *u), *v = u + n + 1, *least = v + n + 1;
    size_t *row = mem_array(2 * (n + 1), sizeof *row), *way = row + n + 1;
    bool *used = mem_array(n + 1, sizeof *used);
    bool ok = u != NULL && row != NULL && used != NULL;

    for (size_t i = 1; ok && i <= n; i++) {
        size_t j0 = 0;

        for (size_t j = 0; j <= n; j++) {
            least[j] = DBL_MAX;
            used[j] = false;
        }
        row[0] = i;
        do {
            size_t i0 = row[j0], j1 = 0;
            double delta = DBL_MAX;

            used[j0] = true;
            for (size_t j = 1; j <= n; j++) {
                double reduced = used[j] ? 0 : cost[(i0 - 1) * n + j - 1] - u[i0] - v[j];

                if (used[j])
                    continue;
                if (reduced < least[j]) {
                    least[j] = reduced;
                    way[j] = j0;
                }
                if (least[j] < delta) {
                    delta = least[j];
                    j1 = j;
                }
            }
            for (size_t j = 0; j <= n; j++) {
                if (used[j]) {
                    u[row[j]] += delta;
                    v[j] -= delta;
                } else {
                    least[j] -= delta;
                }
            }
            j0 = j1;
        } while (row[j0] != 0);
        for (; j0 != 0; j0 = way[j0])
            row[j0] = row[way[j0]];
    }
    for (size_t j = 1; ok && j <= n; j++)
        to[j - 1] = row[j] - 1;
    mem_free(u);
    mem_free(row);
    mem_free(used);
    return ok ? COFFER_OK : error_nomem(err);
}

int
match_by_assignment(const struct value_class *classes, size_t count, double *share,
                    struct coffer_error *err)
{
    double *cost = mem_array(count * count + 1, sizeof *cost), before_known = 0;
    size_t *to = mem_array(count + 1, sizeof *to);
    size_t rows = target_rows(classes, count), right = 0, known_rows = 0;
    int rc = cost != NULL && to != NULL ? COFFER_OK : error_nomem(err);

    *share = 0;
    for (size_t i = 0; i < count; i++)
        known_rows += classes[i].known;
    for (size_t i = 0; rc == COFFER_OK && i < count; i++) {
        double f = known_rows > 0 ? (double)classes[i].known / (double)known_rows : 0;
        double before_target = 0;

        before_known += f;
        for (size_t j = 0; j < count; j++) {
            double g = rows > 0 ? (double)classes[j].target / (double)rows : 0;

            before_target += g;
            cost[i * count + j] = fabs(f - g) + fabs(before_known - before_target);
        }
    }
    if (rc == COFFER_OK && count > 0)
        rc = assign(cost, count, to, err);
    for (size_t j = 0; rc == COFFER_OK && j < count; j++) {
        if (to[j] == j)
            right += classes[j].target;
    }
    if (rc == COFFER_OK && rows > 0)
        *share = (double)right / (double)rows;
    mem_free(cost);
    mem_free(to);
    return rc;
}

static double
best(const double *table, size_t width, size_t i, size_t j)
{
    return table[i * (width + 1) + j];
}

/* Order is kept by the terms, so the matching may not cross: the most rows in common, by dynamic
 * programming over values that each half has. */
int
match_in_order(const struct value_class *c, size_t count, double *share, struct coffer_error *err)
{
    double *table = mem_array((count + 1) * (count + 1), sizeof *table);
    size_t rows = target_rows(c, count), right = 0;

    *share = 0;
    if (table == NULL)
        return error_nomem(err);
    for (size_t i = 1; i <= count; i++) {
        for (size_t j = 1; j <= count; j++) {
            double with = best(table, count, i - 1, j - 1) +
                          fmin((double)c[i - 1].known, (double)c[j - 1].target);

            table[i * (count + 1) + j] =
                fmax(with, fmax(best(table, count, i - 1, j), best(table, count, i, j - 1)));
        }
    }
    for (size_t i = count, j = count; i > 0 && j > 0;) {
        if (best(table, count, i, j) == best(table, count, i - 1, j)) {
            i--;
        } else if (best(table, count, i, j) == best(table, count, i, j - 1)) {
            j--;
        } else {
            right += i == j ? c[j - 1].target : 0;
            i--;
            j--;
        }
    }
    if (rows > 0)
        *share = (double)right / (double)rows;
    mem_free(table);
    return COFFER_OK;
}
