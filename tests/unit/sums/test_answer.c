/* SPDX-License-Identifier: Apache-2.0 */
/* The aggregate: what it answers whatever the order and the split of its rows, and what it refuses. */
#include "support/fault.h"
#include "support/test.h"

#include "sums/answer.h"
#include "sums/modp.h"

#include <string.h>

#define ROWS 3000

static uint64_t random_state = 0x853c49e6748fea9b;

static uint64_t
next_random(uint64_t below)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (random_state * 0x2545f4914f6cdd1d >> 11) % below;
}

struct row {
    struct sum_id id;
    struct sum_cell cell;
};

static const uint8_t GROUPS[3][SUM_GROUP_LEN] = {
    {0x00, 0x01, 1}, {0x00, 0x01, 2, 3}, {0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

static struct row
make_row(size_t group, uint32_t counter)
{
    struct row row = {.id = sum_id_of(GROUPS[group], counter)};

    row.cell.l = (int64_t)(next_random(UINT64_MAX) * 5);
    row.cell.h = (int64_t)(next_random(UINT64_MAX) * 7);
    row.cell.tag_h = (int64_t)next_random(1ull << 62) - (1ll << 61);
    row.cell.tag_l = (int64_t)(next_random(UINT64_MAX) * 3);
    return row;
}

/* Rows of three sessions, about half of the counters, shuffled. */
static size_t
make_rows(struct row *rows, size_t most, bool shuffled)
{
    size_t count = 0;

    for (size_t g = 0; g < 3; g++)
        for (uint32_t c = 1; c < most / 2 && count < most; c++)
            if (next_random(2) == 0)
                rows[count++] = make_row(g, c);
    for (size_t i = count; shuffled && i > 1; i--) {
        size_t k = next_random(i);
        struct row other = rows[k];

        rows[k] = rows[i - 1];
        rows[i - 1] = other;
    }
    return count;
}

static void
add_rows(struct sum_builder *b, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_int_equal(sum_builder_add(b, rows[i].id, &rows[i].cell, NULL), COFFER_OK);
}

static void
encode(struct sum_builder *b, struct buf *out)
{
    buf_init(out, 1u << 24);
    assert_int_equal(sum_builder_encode(b, out, NULL), COFFER_OK);
}

static struct sum_builder *
new_builder(unsigned flags)
{
    struct sum_builder *b;

    assert_int_equal(sum_builder_new(flags, SUM_ROWS_MAX, &b, NULL), COFFER_OK);
    return b;
}

/* ---- what is in an answer ---- */

struct seen {
    const struct row *rows;
    size_t count, found;
    unsigned flags;
    struct sum_group group;
};

static int
see_group(void *arg, const struct sum_group *group, struct coffer_error *err)
{
    struct seen *seen = arg;
    int128 l = 0, h = 0;
    uint128 tag = 0;
    uint64_t rows = 0;

    for (size_t i = 0; i < seen->count; i++) {
        uint8_t id[SUM_ID_LEN];

        sum_id_bytes(&seen->rows[i].id, id);
        if (memcmp(id, group->id, SUM_GROUP_LEN) != 0)
            continue;
        rows++;
        l += seen->rows[i].cell.l;
        h += seen->rows[i].cell.h;
        tag = modp_add(tag, modp_limbs(seen->rows[i].cell.tag_h, seen->rows[i].cell.tag_l));
    }
    assert_int_equal(group->rows, rows);
    assert_true(group->l == l);
    assert_true(group->h == ((seen->flags & SUM_WIDE) != 0 ? h : 0));
    assert_true(group->tag == ((seen->flags & SUM_TAGGED) != 0 ? modp_centred(tag) : 0));
    seen->group = *group;
    return COFFER_OK;
}

static int
see_run(void *arg, uint32_t first, uint32_t last, struct coffer_error *err)
{
    struct seen *seen = arg;

    for (uint64_t c = first; c <= last; c++) {
        struct sum_id id = sum_id_of(seen->group.id, (uint32_t)c);
        bool found = false;

        for (size_t i = 0; !found && i < seen->count; i++)
            found = seen->rows[i].id.hi == id.hi && seen->rows[i].id.lo == id.lo;
        assert_true(found);
        seen->found++;
    }
    return COFFER_OK;
}

static void
answers_hold_each_row_once_and_the_sums(void **state)
{
    struct row rows[300];

    for (unsigned flags = 0; flags <= 3; flags++) {
        size_t count = make_rows(rows, 300, true);
        struct seen seen = {.rows = rows, .count = count, .flags = flags};
        struct sum_visitor visitor = {see_group, see_run, &seen};
        struct sum_builder *b = new_builder(flags);
        struct buf answer;

        add_rows(b, rows, count);
        assert_int_equal(sum_builder_rows(b), count);
        encode(b, &answer);
        assert_int_equal(sum_answer_read(buf_view(&answer), flags, &visitor, NULL), COFFER_OK);
        assert_int_equal(seen.found, count);
        buf_wipe(&answer);
        sum_builder_free(b);
    }
}

/* Sorted, shuffled, in parallel parts joined by bytes or by merging, encoded in between: the same bytes. */
static void
order_and_split_do_not_show(void **state)
{
    static struct row rows[ROWS];

    for (int round = 0; round < 30; round++) {
        unsigned flags = (unsigned)next_random(4);
        size_t count = make_rows(rows, 10 + next_random(ROWS - 10), round % 2 == 0);
        struct sum_builder *whole = new_builder(flags), *parts[3];
        struct buf expected, got;

        add_rows(whole, rows, count);
        encode(whole, &expected);
        for (int i = 0; i < 3; i++)
            parts[i] = new_builder(flags);
        for (size_t i = 0; i < count; i++) {
            add_rows(parts[next_random(3)], &rows[i], 1);
            if (next_random(500) == 0) {
                encode(parts[0], &got);
                buf_wipe(&got);
            }
        }
        encode(parts[1], &got);
        assert_int_equal(sum_builder_combine(parts[0], buf_view(&got), NULL), COFFER_OK);
        buf_wipe(&got);
        assert_int_equal(sum_builder_merge(parts[0], parts[2], NULL), COFFER_OK);
        encode(parts[0], &got);
        assert_true(bytes_equal(buf_view(&expected), buf_view(&got)));
        buf_wipe(&got);
        buf_wipe(&expected);
        for (int i = 0; i < 3; i++)
            sum_builder_free(parts[i]);
        sum_builder_free(whole);
    }
}

static void
rows_in_order_take_no_memory(void **state)
{
    struct sum_builder *b = new_builder(0);
    static const struct sum_cell cell;
    struct buf answer;

    for (uint32_t c = 1; c <= 200000; c++)
        assert_int_equal(sum_builder_add(b, sum_id_of(GROUPS[0], c), &cell, NULL), COFFER_OK);
    assert_true(sum_builder_memory(b) < 4096);
    encode(b, &answer);
    assert_true(answer.len < 64);
    buf_wipe(&answer);
    sum_builder_free(b);
}

static void
the_ends_of_a_session_are_ids(void **state)
{
    static const uint32_t COUNTERS[] = {UINT32_MAX, 1, UINT32_MAX - 1, 2, 0x80000000};
    static const struct sum_visitor NOBODY;
    static const struct sum_cell cell;
    struct sum_builder *b = new_builder(0);
    struct buf answer;

    for (size_t i = 0; i < 5; i++)
        assert_int_equal(sum_builder_add(b, sum_id_of(GROUPS[2], COUNTERS[i]), &cell, NULL),
                         COFFER_OK);
    encode(b, &answer);
    assert_int_equal(sum_answer_read(buf_view(&answer), 0, &NOBODY, NULL), COFFER_OK);
    assert_int_equal(get_be32(answer.ptr + 6 + 12 + 8 + 16), 3); /* runs */
    buf_wipe(&answer);
    sum_builder_free(b);
}

static void
of_no_rows_there_is_an_answer(void **state)
{
    static const struct sum_visitor NOBODY;
    struct sum_builder *b = new_builder(SUM_TAGGED);
    struct buf answer;

    encode(b, &answer);
    assert_int_equal(answer.len, 6);
    assert_int_equal(sum_answer_read(buf_view(&answer), SUM_TAGGED, &NOBODY, NULL), COFFER_OK);
    buf_wipe(&answer);
    sum_builder_free(b);
}

/* ---- what is refused ---- */

static int
add_then_encode(const uint32_t *counters, size_t count, size_t split)
{
    struct sum_builder *b = new_builder(0), *other = new_builder(0);
    static const struct sum_cell cell;
    struct buf answer;
    int rc = COFFER_OK;

    buf_init(&answer, 1u << 20);
    for (size_t i = 0; rc == COFFER_OK && i < count; i++)
        rc = sum_builder_add(i < split ? b : other, sum_id_of(GROUPS[0], counters[i]), &cell, NULL);
    if (rc == COFFER_OK)
        rc = sum_builder_encode(other, &answer, NULL);
    if (rc == COFFER_OK)
        rc = sum_builder_combine(b, buf_view(&answer), NULL);
    buf_clear(&answer);
    if (rc == COFFER_OK)
        rc = sum_builder_encode(b, &answer, NULL);
    buf_wipe(&answer);
    sum_builder_free(b);
    sum_builder_free(other);
    return rc;
}

static void
an_id_that_comes_twice_is_refused(void **state)
{
    static const uint32_t TWICE[][4] = {{1, 1, 3, 5}, {1, 3, 5, 1}, {7, 6, 5, 6},
                                        {9, 2, 2, 1}, {1, 2, 3, 2}, {4, 5, 4, 6}};

    for (size_t i = 0; i < 6; i++)
        for (size_t split = 0; split <= 4; split++)
            assert_int_equal(add_then_encode(TWICE[i], 4, split) == COFFER_OK, false);
    assert_int_equal(add_then_encode((uint32_t[]){4, 2, 3, 1}, 4, 2), COFFER_OK);
    assert_int_equal(add_then_encode((uint32_t[]){1, 1}, 2, 2), COFFER_E_MISUSE);
}

/* However many rows lie between: a repeated one is found. */
static void
a_repeated_row_among_many_is_found(void **state)
{
    static struct row rows[ROWS];

    for (int round = 0; round < 20; round++) {
        size_t count = make_rows(rows, ROWS, true);
        struct sum_builder *b = new_builder(0);
        struct buf answer;
        int rc = COFFER_OK;

        rows[next_random(count)].id = rows[next_random(count)].id;
        for (size_t i = 0; rc == COFFER_OK && i < count; i++)
            rc = sum_builder_add(b, rows[i].id, &rows[i].cell, NULL);
        if (rc == COFFER_OK)
            rc = sum_builder_add(b, rows[next_random(count)].id, &rows[0].cell, NULL);
        buf_init(&answer, 1u << 24);
        if (rc == COFFER_OK)
            rc = sum_builder_encode(b, &answer, NULL);
        assert_int_equal(rc, COFFER_E_MISUSE);
        buf_wipe(&answer);
        sum_builder_free(b);
    }
}

static void
rows_beyond_the_limit_are_refused(void **state)
{
    static const struct sum_cell cell;
    struct coffer_error err = {0};
    struct sum_builder *b, *full = new_builder(0);
    struct buf answer;

    assert_int_equal(sum_builder_new(0, 2, &b, NULL), COFFER_OK);
    for (uint32_t c = 1; c <= 3; c++) {
        assert_int_equal(sum_builder_add(b, sum_id_of(GROUPS[0], c), &cell, &err),
                         c <= 2 ? COFFER_OK : COFFER_E_LIMIT);
        assert_int_equal(sum_builder_add(full, sum_id_of(GROUPS[0], c), &cell, NULL), COFFER_OK);
    }
    assert_non_null(strstr(err.message, "2 rows"));
    sum_builder_free(b);
    assert_int_equal(sum_builder_new(0, 2, &b, NULL), COFFER_OK);
    encode(full, &answer);
    assert_int_equal(sum_builder_combine(b, buf_view(&answer), NULL), COFFER_E_LIMIT);
    buf_wipe(&answer);
    buf_init(&answer, 10);
    assert_int_equal(sum_builder_encode(full, &answer, NULL), COFFER_E_LIMIT);
    buf_wipe(&answer);
    sum_builder_free(b);
    sum_builder_free(full);
}

static void
what_is_no_id_is_refused(void **state)
{
    static const struct sum_id BAD[] = {{0, 1},
                                        {-1, 1},
                                        {INT64_MIN, 1},
                                        {((int64_t)1 << 48) - 1, 1},
                                        {(int64_t)1 << 48, 0},
                                        {(int64_t)1 << 48, (int64_t)5 << 32}};
    static const struct sum_cell cell;
    struct sum_builder *b;

    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        b = new_builder(0);
        assert_int_equal(sum_builder_add(b, BAD[i], &cell, NULL), COFFER_E_FORMAT);
        sum_builder_free(b);
    }
    assert_int_equal(sum_builder_new(4, 1, &b, NULL), COFFER_E_MISUSE);
}

static void
states_of_other_columns_are_refused(void **state)
{
    struct sum_builder *narrow = new_builder(0), *wide = new_builder(SUM_WIDE);
    struct buf answer;

    encode(wide, &answer);
    assert_int_equal(sum_builder_combine(narrow, buf_view(&answer), NULL), COFFER_E_FORMAT);
    buf_wipe(&answer);
    sum_builder_free(narrow);
    narrow = new_builder(0);
    assert_int_equal(sum_builder_merge(narrow, wide, NULL), COFFER_E_MISUSE);
    sum_builder_free(narrow);
    sum_builder_free(wide);
}

/* Every cut, and every changed bit: refused, or another answer in its one form. */
static void
changed_answers_are_refused_or_canonical(void **state)
{
    static const struct sum_visitor NOBODY;
    struct row rows[40];
    size_t refused = 0;

    for (unsigned flags = 0; flags <= 3; flags++) {
        struct sum_builder *b = new_builder(flags);
        struct buf answer, again;

        add_rows(b, rows, make_rows(rows, 40, true));
        encode(b, &answer);
        sum_builder_free(b);
        for (size_t len = 0; len < answer.len; len++)
            assert_int_equal(sum_answer_read(bytes_of(answer.ptr, len), flags, &NOBODY, NULL) ==
                                 COFFER_OK,
                             false);
        for (size_t bit = 0; bit < 8 * answer.len; bit++) {
            answer.ptr[bit / 8] ^= (uint8_t)(1 << bit % 8);
            b = new_builder(flags);
            if (sum_builder_combine(b, buf_view(&answer), NULL) == COFFER_OK) {
                encode(b, &again);
                assert_true(bytes_equal(buf_view(&answer), buf_view(&again)));
                buf_wipe(&again);
            } else {
                refused++;
            }
            sum_builder_free(b);
            answer.ptr[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        buf_wipe(&answer);
    }
    assert_true(refused > 500);
}

static int
build_and_combine(void)
{
    static struct row rows[200];
    struct sum_builder *b = NULL, *other = NULL;
    struct buf answer;
    size_t count = 0;
    int rc = sum_builder_new(3, 1000, &b, NULL);

    random_state = 5;
    count = make_rows(rows, 200, true);
    buf_init(&answer, 1u << 20);
    if (rc == COFFER_OK)
        rc = sum_builder_new(3, 1000, &other, NULL);
    for (size_t i = 0; rc == COFFER_OK && i < count; i++)
        rc = sum_builder_add(i % 2 == 0 ? b : other, rows[i].id, &rows[i].cell, NULL);
    if (rc == COFFER_OK)
        rc = sum_builder_encode(other, &answer, NULL);
    if (rc == COFFER_OK)
        rc = sum_builder_combine(b, buf_view(&answer), NULL);
    if (rc == COFFER_OK)
        rc = sum_builder_encode(b, &answer, NULL);
    buf_wipe(&answer);
    sum_builder_free(b);
    sum_builder_free(other);
    return rc;
}

static void
allocation_failures_leave_nothing(void **state)
{
    fault_every_allocation("sum_builder", build_and_combine, 10);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_hold_each_row_once_and_the_sums),
        cmocka_unit_test(order_and_split_do_not_show),
        cmocka_unit_test(rows_in_order_take_no_memory),
        cmocka_unit_test(the_ends_of_a_session_are_ids),
        cmocka_unit_test(of_no_rows_there_is_an_answer),
        cmocka_unit_test(an_id_that_comes_twice_is_refused),
        cmocka_unit_test(a_repeated_row_among_many_is_found),
        cmocka_unit_test(rows_beyond_the_limit_are_refused),
        cmocka_unit_test(what_is_no_id_is_refused),
        cmocka_unit_test(states_of_other_columns_are_refused),
        cmocka_unit_test(changed_answers_are_refused_or_canonical),
        cmocka_unit_test(allocation_failures_leave_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
