/* SPDX-License-Identifier: Apache-2.0 */
/* No id is given twice: threads, forks of both kinds, killed processes, the hour, the last counter. */
#include "support/fault.h"
#include "support/test.h"

#include "sums/ids.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 8
#define DRAWS 4000

static int64_t now;

static int64_t
test_clock(void)
{
    return now;
}

static struct sum_id
draw(struct sum_issuer *issuer, uint32_t count)
{
    struct sum_id id;

    assert_int_equal(sum_ids_draw(issuer, count, &id, NULL), COFFER_OK);
    return id;
}

static bool
same_session(struct sum_id a, struct sum_id b)
{
    return a.hi == b.hi && a.lo >> 32 == b.lo >> 32;
}

static void
an_id_is_version_session_counter(void **state)
{
    struct sum_issuer *issuer;
    struct sum_id first, second;
    uint8_t bytes[SUM_ID_LEN];

    assert_int_equal(sum_issuer_new(0x1234, NULL, &issuer, NULL), COFFER_OK);
    first = draw(issuer, 3);
    second = draw(issuer, 1);
    assert_int_equal(sum_id_version(&first), 0x1234);
    assert_int_equal(sum_id_counter(&first), 1);
    assert_int_equal(sum_id_counter(&second), 4);
    assert_true(same_session(first, second));
    sum_id_bytes(&first, bytes);
    assert_memory_equal(bytes, "\x12\x34", 2);
    assert_memory_equal(bytes + 12, "\0\0\0\1", 4);
    second = sum_id_of(bytes, 1);
    assert_int_equal(first.hi, second.hi);
    assert_int_equal(first.lo, second.lo);
    assert_int_equal(
        sum_id_counter(&(struct sum_id){sum_id_next(first, 2).hi, sum_id_next(first, 2).lo}), 3);
    sum_issuer_free(issuer);
    sum_issuer_free(NULL);
}

static void
versions_and_counts_have_bounds(void **state)
{
    struct sum_issuer *issuer = (void *)state;
    struct sum_id id;

    assert_int_equal(sum_issuer_new(0, NULL, &issuer, NULL), COFFER_E_MISUSE);
    assert_null(issuer);
    assert_int_equal(sum_issuer_new(SUM_VERSION_MAX + 1, NULL, &issuer, NULL), COFFER_E_MISUSE);
    assert_int_equal(sum_issuer_new(SUM_VERSION_MAX, NULL, &issuer, NULL), COFFER_OK);
    assert_int_equal(sum_ids_draw(issuer, 0, &id, NULL), COFFER_E_MISUSE);
    assert_int_equal(sum_ids_draw(issuer, (1u << 20) + 1, &id, NULL), COFFER_E_MISUSE);
    assert_true(draw(issuer, 1).hi > 0); /* the largest version is still positive */
    sum_issuer_free(issuer);
}

static void
each_hour_has_a_session(void **state)
{
    struct sum_issuer *issuer;
    struct sum_id a, b, c, d;

    now = 1000;
    assert_int_equal(sum_issuer_new(1, test_clock, &issuer, NULL), COFFER_OK);
    a = draw(issuer, 1);
    now += 3600 * 1000 - 1;
    b = draw(issuer, 1);
    now += 1;
    c = draw(issuer, 1);
    now -= 2000; /* a clock that went back is not trusted with the hour */
    d = draw(issuer, 1);
    assert_true(same_session(a, b));
    assert_false(same_session(b, c));
    assert_false(same_session(c, d));
    assert_int_equal(sum_id_counter(&c), 1);
    sum_issuer_free(issuer);
}

static void
the_last_counter_ends_a_session(void **state)
{
    struct sum_issuer *issuer;
    struct sum_id first, last = {0}, next;

    now = 0;
    assert_int_equal(sum_issuer_new(1, test_clock, &issuer, NULL), COFFER_OK);
    first = draw(issuer, 1u << 20);
    for (int i = 1; i < 4095; i++)
        last = draw(issuer, 1u << 20);
    last = draw(issuer, (1u << 20) - 1);
    assert_true(same_session(first, last));
    assert_int_equal(sum_id_counter(&last) + ((1u << 20) - 2), UINT32_MAX);
    next = draw(issuer, 1);
    assert_false(same_session(first, next));
    assert_int_equal(sum_id_counter(&next), 1);
    sum_issuer_free(issuer);
}

/* A draw that does not fit the rest of a session is not split. */
static void
a_draw_is_of_one_session(void **state)
{
    struct sum_issuer *issuer;
    struct sum_id first, last = {0};

    now = 0;
    assert_int_equal(sum_issuer_new(1, test_clock, &issuer, NULL), COFFER_OK);
    first = draw(issuer, 1u << 20);
    for (int i = 1; i < 4096; i++)
        last = draw(issuer, 1u << 20);
    assert_false(same_session(first, last));
    assert_int_equal(sum_id_counter(&last), 1);
    sum_issuer_free(issuer);
}

/* ---- nobody gets what another got ---- */

static int
by_id(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct sum_id));
}

static void
assert_all_differ(struct sum_id *ids, size_t count)
{
    qsort(ids, count, sizeof *ids, by_id);
    for (size_t i = 1; i < count; i++)
        assert_memory_not_equal(&ids[i - 1], &ids[i], sizeof *ids);
}

struct drawer {
    struct sum_issuer *issuer;
    struct sum_id ids[DRAWS];
    size_t count;
    bool failed;
};

static void *
draw_often(void *arg)
{
    struct drawer *d = arg;
    struct sum_id first;

    while (d->count + 7 <= DRAWS) {
        uint32_t n = 1 + (uint32_t)(d->count % 7);

        if (d->count % 500 == 0)
            __atomic_fetch_add(&now, 3600 * 1000 / 4,
                               __ATOMIC_RELAXED); /* sessions change meanwhile */
        if (sum_ids_draw(d->issuer, n, &first, NULL) != COFFER_OK) {
            d->failed = true;
            break;
        }
        for (uint32_t i = 0; i < n; i++)
            d->ids[d->count++] = sum_id_next(first, i);
    }
    return NULL;
}

static int64_t
shared_clock(void)
{
    return __atomic_load_n(&now, __ATOMIC_RELAXED);
}

static void
threads_share_a_session_and_no_id(void **state)
{
    struct drawer *drawers = calloc(THREADS, sizeof *drawers);
    struct sum_id *all = calloc(THREADS * DRAWS, sizeof *all);
    pthread_t threads[THREADS];
    struct sum_issuer *issuer;
    size_t count = 0;

    assert_non_null(drawers);
    assert_non_null(all);
    assert_int_equal(sum_issuer_new(7, shared_clock, &issuer, NULL), COFFER_OK);
    for (int i = 0; i < THREADS; i++) {
        drawers[i].issuer = issuer;
        assert_int_equal(pthread_create(&threads[i], NULL, draw_often, &drawers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_false(drawers[i].failed);
        memcpy(all + count, drawers[i].ids, drawers[i].count * sizeof *all);
        count += drawers[i].count;
    }
    assert_true(count > THREADS * (DRAWS - 8));
    assert_all_differ(all, count);
    sum_issuer_free(issuer);
    free(all);
    free(drawers);
}

/* The child draws two ids and sends them; with `kill_it` it does not end by itself. */
static void
ids_of_child(struct sum_issuer *issuer, bool by_library, bool kill_it, struct sum_id out[2])
{
    int ends[2], status;
    pid_t child;

    assert_int_equal(pipe(ends), 0);
    child = by_library ? fork() : (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    assert_true(child >= 0);
    if (child == 0) {
        struct sum_id ids[2];

        if (sum_ids_draw(issuer, 1, &ids[0], NULL) != COFFER_OK ||
            sum_ids_draw(issuer, 1, &ids[1], NULL) != COFFER_OK ||
            write(ends[1], ids, sizeof ids) != sizeof ids)
            _exit(1);
        while (kill_it)
            pause();
        _exit(0);
    }
    assert_int_equal(read(ends[0], out, 2 * sizeof *out), 2 * sizeof *out);
    if (kill_it)
        kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(kill_it ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(ends[0]);
    close(ends[1]);
}

/* By fork(), by a system call that the C library does not see, and by processes that are killed. */
static void
forks_share_no_session(void **state)
{
    struct sum_issuer *issuer;
    struct sum_id ids[24];
    size_t count = 0;

    assert_int_equal(sum_issuer_new(7, NULL, &issuer, NULL), COFFER_OK);
    for (int round = 0; round < 6; round++) {
        ids[count++] = draw(issuer, 1);
        ids_of_child(issuer, round % 2 == 0, round >= 4, &ids[count]);
        assert_true(same_session(ids[count], ids[count + 1]));
        assert_false(same_session(ids[count], ids[count - 1]));
        count += 2;
        ids[count++] = draw(issuer, 1);
        assert_true(same_session(ids[count - 1], ids[count - 4])); /* the parent goes on */
    }
    assert_all_differ(ids, count);
    sum_issuer_free(issuer);
}

static int
make_and_draw(void)
{
    struct sum_issuer *issuer = NULL;
    struct sum_id id;
    int rc = sum_issuer_new(1, NULL, &issuer, NULL);

    if (rc == COFFER_OK)
        rc = sum_ids_draw(issuer, 1, &id, NULL);
    sum_issuer_free(issuer);
    return rc;
}

static void
allocation_failures_leave_nothing(void **state)
{
    fault_every_allocation("sum_issuer", make_and_draw, 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_is_version_session_counter),
        cmocka_unit_test(versions_and_counts_have_bounds),
        cmocka_unit_test(each_hour_has_a_session),
        cmocka_unit_test(the_last_counter_ends_a_session),
        cmocka_unit_test(a_draw_is_of_one_session),
        cmocka_unit_test(threads_share_a_session_and_no_id),
        cmocka_unit_test(forks_share_no_session),
        cmocka_unit_test(allocation_failures_leave_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
