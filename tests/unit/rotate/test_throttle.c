/* SPDX-License-Identifier: Apache-2.0 */
/* The throttle under a clock that stands still but for its own sleeps, over a database that reports
 * what the test says. */
#include "db/db_ops.h"
#include "fixture.h"

#include "support/test.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct fake {
    struct db db; /* first */
    struct db_ops ops;
    struct fixture f;
    struct os os;
    struct db *real;
    struct db_load load;
    int64_t now_ms;
    uint64_t slept_ms;
    unsigned waits;
    int64_t release_at_ms; /* when whatever holds is over */
    void (*release)(struct fake *);
    char last[600];
    int64_t probe_ms;
};

static int64_t
fake_monotonic(const struct os *os)
{
    const struct fake *fake = os->ctx;

    return fake->now_ms;
}

static int64_t
fake_now_us(const struct os *os)
{
    const struct fake *fake = os->ctx;

    return fake->now_ms * 1000;
}

static void
fake_sleep(const struct os *os, unsigned ms)
{
    struct fake *fake = os->ctx;

    fake->now_ms += ms;
    fake->slept_ms += ms;
    if (fake->release != NULL && fake->now_ms >= fake->release_at_ms)
        fake->release(fake);
}

static int
fake_load(struct db *db, const struct db_table *table, struct db_load *load,
          struct coffer_error *err)
{
    *load = ((struct fake *)db)->load;
    return COFFER_OK;
}

static int
fake_run(struct db *db, const char *sql, const struct coffer_value *params, size_t count,
         struct db_result **result, struct coffer_error *err)
{
    struct fake *fake = (struct fake *)db;

    fake->now_ms += fake->probe_ms;
    return db_run(fake->real, sql, params, count, result, err);
}

static const char *
fake_name(const char *table)
{
    return strcmp(table, "meta") == 0 ? "coffer_meta" : "coffer_rotation";
}

static void
heard(void *arg, const struct rotate_event *event)
{
    struct fake *fake = arg;

    fake->waits += event->kind == ROTATE_WAIT;
    snprintf(fake->last, sizeof fake->last, "%s", event->text);
}

static void
fake_new(struct fake *fake)
{
    memset(fake, 0, sizeof *fake);
    fixture_new(&fake->f);
    fixture_table(&fake->f, 0);
    fake->real = fake->f.database.db;
    fake->ops = (struct db_ops){.load = fake_load, .run = fake_run, .catalog_name = fake_name};
    fake->db = (struct db){.ops = &fake->ops, .engine = DB_SQLITE};
    fake->f.database.db = &fake->db;
    fake->os = os_real;
    fake->os.ctx = fake;
    fake->os.monotonic_ms = fake_monotonic;
    fake->os.now_us = fake_now_us;
    fake->os.sleep_ms = fake_sleep;
    fake->now_ms = 1000000;
    fake->f.env.os = &fake->os;
    fake->f.env.say = heard;
    fake->f.env.arg = fake;
}

static void
fake_free(struct fake *fake)
{
    fake->f.database.db = fake->real;
    fixture_free(&fake->f);
}

static struct throttle *
throttle_of(struct fake *fake, const struct throttle_options *options)
{
    struct throttle *t = NULL;

    assert_int_equal(throttle_new(options, &fake->f.database, fake->f.table, &fake->os, &t, NULL),
                     COFFER_OK);
    return t;
}

static uint64_t
after(struct fake *fake, struct throttle *t, uint64_t rows, double busy_ms)
{
    fake->slept_ms = 0;
    assert_int_equal(throttle_after(t, rows, busy_ms, &fake->f.env, NULL), COFFER_OK);
    return fake->slept_ms;
}

static void
duty_sets_the_share_of_time(void **state)
{
    struct throttle_options usual = {0}, quarter = {.duty = 0.25}, all = {.duty = 1};
    struct throttle *t;
    struct fake fake;

    fake_new(&fake);
    t = throttle_of(&fake, &usual);
    assert_int_equal(after(&fake, t, 100, 20), 180); /* the default is a tenth */
    throttle_free(t);
    t = throttle_of(&fake, &quarter);
    assert_int_equal(after(&fake, t, 100, 200), 600);
    throttle_free(t);
    t = throttle_of(&fake, &all);
    assert_int_equal(after(&fake, t, 100, 200), 0);
    throttle_free(t);
    fake_free(&fake);
}

static void
rows_per_second_is_kept(void **state)
{
    struct throttle_options options = {.duty = 1, .rows_per_second = 1000};
    struct throttle *t;
    struct fake fake;

    fake_new(&fake);
    t = throttle_of(&fake, &options);
    assert_int_equal(after(&fake, t, 500, 100), 400);
    throttle_free(t);
    fake_free(&fake);
}

static void
lag_falls(struct fake *fake)
{ /* below the limit at first, then well below */
    fake->load.replica_lag_seconds = fake->now_ms >= fake->release_at_ms + 3000 ? 1 : 9;
}

/* It holds above the limit, and lets go only well below it. */
static void
replica_lag_holds_until_it_is_well_below_the_limit(void **state)
{
    struct throttle_options options = {.duty = 1, .lag_seconds_max = 10};
    struct throttle *t;
    struct fake fake;

    fake_new(&fake);
    t = throttle_of(&fake, &options);
    fake.load.replica_lag_seconds = 9;
    assert_int_equal(after(&fake, t, 1, 1), 0);
    fake.now_ms += 2000;
    fake.load.replica_lag_seconds = 11;
    fake.release = lag_falls;
    fake.release_at_ms = fake.now_ms + 5000;
    assert_in_range(after(&fake, t, 1, 1), 8000, 10000); /* 9 is not enough */
    assert_non_null(strstr(fake.last, "behind"));
    throttle_free(t);
    fake_free(&fake);
}

static void
remove_flag(struct fake *fake)
{
    unlink(fake->f.flag);
}

static void
a_flag_file_holds_while_it_exists(void **state)
{
    struct throttle_options options = {.duty = 1};
    struct throttle *t;
    struct fake fake;
    FILE *file;

    fake_new(&fake);
    snprintf(fake.f.flag, sizeof fake.f.flag, "%s/flag", fake.f.folder);
    file = fopen(fake.f.flag, "w");
    assert_non_null(file);
    fclose(file);
    options.flag_file = fake.f.flag;
    t = throttle_of(&fake, &options);
    fake.release = remove_flag;
    fake.release_at_ms = fake.now_ms + 4000;
    assert_in_range(after(&fake, t, 1, 1), 4000, 5000);
    assert_int_equal(fake.waits, 1); /* said once, not at every look */
    assert_int_equal(after(&fake, t, 1, 1), 0);
    throttle_free(t);
    fake_free(&fake);
}

static void
set_stop(struct fake *fake)
{
    fake->f.stop = 1;
}

static void
stop_ends_every_wait(void **state)
{
    struct throttle_options options = {.duty = 1, .dead_tuples_max = 10};
    struct throttle *t;
    struct fake fake;

    fake_new(&fake);
    t = throttle_of(&fake, &options);
    fake.load.dead_tuples = 1000;
    fake.release = set_stop;
    fake.release_at_ms = fake.now_ms + 2000;
    assert_in_range(after(&fake, t, 1, 1), 2000, 2500);
    throttle_free(t);
    fake_free(&fake);
}

/* A slow database stretches the pause more and more, and the pause shrinks again afterwards. */
static void
slow_answers_stretch_the_pause(void **state)
{
    struct throttle_options options = {.duty = 0.5, .latency_ratio_max = 2};
    uint64_t usual, slow = 0, healed = 0;
    struct throttle *t;
    struct fake fake;

    fake_new(&fake);
    t = throttle_of(&fake, &options);
    fake.probe_ms = 4;
    usual = after(&fake, t, 1, 100);
    fake.probe_ms = 40;
    for (unsigned i = 0; i < 6; i++) {
        fake.now_ms += 1500;
        slow = after(&fake, t, 1, 100);
    }
    assert_int_equal(usual, 100);
    assert_true(slow >= 4 * usual);
    fake.probe_ms = 4;
    for (unsigned i = 0; i < 20; i++) {
        fake.now_ms += 1500;
        healed = after(&fake, t, 1, 100);
    }
    assert_int_equal(healed, usual);
    throttle_free(t);
    fake_free(&fake);
}

static void
settings_change_while_running(void **state)
{
    struct throttle_options options = {.duty = 1};
    struct throttle *t;
    struct fake fake;

    fake_new(&fake);
    t = throttle_of(&fake, &options);
    throttle_follow(t, "r");
    assert_int_equal(after(&fake, t, 1, 100), 0);
    assert_int_equal(journal_put(&fake.f.database.journal, "rotation", "r.throttle",
                                 bytes_str("{\"duty\":0.5}"), 0, NULL),
                     COFFER_OK);
    assert_int_equal(after(&fake, t, 1, 100), 0); /* not looked at yet */
    fake.now_ms += 1100;
    assert_int_equal(after(&fake, t, 1, 100), 100);
    throttle_free(t);
    fake_free(&fake);
}

static void
the_command_says_no_by_its_status(void **state)
{
    struct throttle_options options = {.duty = 1};
    char command[200];
    struct throttle *t;
    struct fake fake;

    fake_new(&fake);
    snprintf(fake.f.flag, sizeof fake.f.flag, "%s/no", fake.f.folder);
    snprintf(command, sizeof command, "test ! -e %s", fake.f.flag);
    fclose(fopen(fake.f.flag, "w"));
    fake.os.sleep_ms = fake_sleep;
    options.command = command;
    t = throttle_of(&fake, &options);
    fake.release = remove_flag;
    fake.release_at_ms = fake.now_ms + 11000;
    assert_true(after(&fake, t, 1, 1) >= 11000);
    assert_non_null(strstr(fake.last, "command"));
    throttle_free(t);
    fake_free(&fake);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(duty_sets_the_share_of_time),
        cmocka_unit_test(rows_per_second_is_kept),
        cmocka_unit_test(replica_lag_holds_until_it_is_well_below_the_limit),
        cmocka_unit_test(a_flag_file_holds_while_it_exists),
        cmocka_unit_test(stop_ends_every_wait),
        cmocka_unit_test(slow_answers_stretch_the_pause),
        cmocka_unit_test(settings_change_while_running),
        cmocka_unit_test(the_command_says_no_by_its_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
