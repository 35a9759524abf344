/* SPDX-License-Identifier: Apache-2.0 */
/* Plaintext in the files after a protect, and the plan's prediction. */
#include "bench.h"

#include "base/mem.h"
#include "rotate/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct rotate_column NOTES[] = {{.name = "letters.body", .binding = -1},
                                             {.name = "letters.sent", .binding = -1}};

static int
setup(void **state)
{
    int rc = bench_setup(state);

    bench_sql(*state, "CREATE TABLE letters(id INTEGER PRIMARY KEY, body TEXT, sent DATE);"
                      "INSERT INTO letters SELECT id, 'a letter of its own, number '||id, "
                      "'2020-01-01' FROM patients");
    return rc;
}

static bool
file_holds(struct bench *b, const char *suffix, const char *text)
{
    char command[300];

    snprintf(command, sizeof command, "grep -aqF '%s' %s%s 2>/dev/null", text, b->path, suffix);
    return system(command) == 0;
}

static unsigned
level_of(struct bench *b)
{
    static const struct rotate_options NO_OPTIONS;
    struct coffer_error err = {0};
    struct uuid *ids = NULL;
    struct session s;
    unsigned level = 9;
    size_t n = 0;

    bench_must(b, session_open(&s, &b->env, &NO_OPTIONS, &err), &err);
    bench_must(b, columns_resolve(&s, NULL, 0, &ids, &n, &err), &err);
    bench_must(b, plaintext_level(&s, &ids[0], &level, &err), &err);
    mem_free(ids);
    session_close(&s);
    return level;
}

static bool
said(struct bench *b, const char *text)
{
    size_t i;

    for (i = 0; i < b->logged && i < 200; i++) {
        if (strstr(b->log[i], text) != NULL)
            return true;
    }
    return false;
}

/* Without it old pages hold plaintext; with it none does, in any of the files. */
static void
scrub_leaves_no_plaintext_in_the_files(void **state)
{
    struct rotate_status *status = NULL;
    struct bench *b = *state;
    struct coffer_error err = {0};

    bench_sql(b, "PRAGMA secure_delete=OFF; CREATE TABLE old AS SELECT body FROM letters, twin "
                 "LIMIT 60000; DROP TABLE old");
    bench_must(b, rotate_protect(&b->env, NOTES, 2, &b->options, &err), &err);
    assert_int_equal(level_of(b), 2);
    assert_true(file_holds(b, "", "letter of its own") || file_holds(b, "-wal", "number 1234"));
    b->options.scrub = true; /* sealed already: only the files are left to be done */
    bench_must(b, rotate_protect(&b->env, NOTES, 2, &b->options, &err), &err);
    assert_false(file_holds(b, "", "letter of its own"));
    assert_false(file_holds(b, "-wal", "letter of its own"));
    assert_int_equal(level_of(b), 3);
    bench_must(b, rotate_status(&b->env, true, &status, &err), &err);
    assert_string_equal(status->columns[0].plaintext_level, "not in the files");
    rotate_status_free(status);
    assert_true(said(b, "letters.sent: none of its values"));
}

/* A copy elsewhere is found and named, and nothing is claimed. */
static void
a_copy_in_another_table_is_found(void **state)
{
    struct bench *b = *state;
    struct coffer_error err = {0};

    bench_sql(b, "CREATE TABLE archive AS SELECT body FROM letters");
    b->options.scrub = true;
    assert_int_equal(rotate_protect(&b->env, NOTES, 2, &b->options, &err), COFFER_E_REFUSED);
    assert_non_null(strstr(err.message, "still in the files, of letters.body"));
    assert_true(said(b, "a value of letters.body is in"));
    assert_int_equal(level_of(b), 2);
    bench_sql(b, "DROP TABLE archive");
    bench_must(b, rotate_protect(&b->env, NOTES, 2, &b->options, &err), &err);
    assert_int_equal(level_of(b), 3);
}

/* The plan tells what it will cost, and leaves every row as it was. */
static void
the_plan_predicts_and_changes_nothing(void **state)
{
    struct bench *b = *state;
    struct coffer_error err = {0};

    b->options.plan_only = true;
    bench_must(b, rotate_protect(&b->env, NOTES, 2, &b->options, &err), &err);
    assert_true(
        said(b, "letters: 3000 rows, 1 pass; 100 were rewritten as they are and rolled back"));
    assert_int_equal(
        bench_number(b,
                     "SELECT count(*) FROM letters WHERE body='a letter of its own, number '||id"),
        BENCH_ROWS);
    b->options.plan_only = false;
    bench_must(b, rotate_protect(&b->env, NOTES, 2, &b->options, &err), &err);
    b->logged = 0;
    memset(b->log, 0, sizeof b->log);
    b->options.plan_only = true;
    bench_must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
    assert_true(
        said(b, "letters: 3000 rows, 1 pass; 100 were rewritten as they are and rolled back"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, bench_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(scrub_leaves_no_plaintext_in_the_files),
        TEST(a_copy_in_another_table_is_found),
        TEST(the_plan_predicts_and_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
