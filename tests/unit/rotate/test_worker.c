/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include "rotate/chunk.h"
#include "support/test.h"

#include <stdio.h>
#include <string.h>

#define ROWS 25000

struct walked {
    struct fixture f;
    struct walk_column column;
    struct walk_table table;
    struct worker worker;
    struct walk_stats stats;
    struct coffer_error err;
};

static void
walked_new(struct walked *w, unsigned rows)
{
    memset(w, 0, sizeof *w);
    fixture_new(&w->f);
    fixture_table(&w->f, rows);
    w->column.column = &w->f.column;
    w->column.want =
        (struct db_want){.cell = {.plain = "ssn", .type = COFFER_TEXT, .sql_type = "text"},
                         .goal = DB_GOAL_SEAL,
                         .target_key = w->f.old_key};
    w->table = (struct walk_table){.table = w->f.table, .columns = &w->column, .count = 1};
    w->worker = (struct worker){.env = &w->f.env,
                                .options = &w->f.options,
                                .database = &w->f.database,
                                .codec = w->f.codec,
                                .rotation = &w->f.rotation,
                                .owner = "here:1:a",
                                .step = "drain"};
}

static int
walk(struct walked *w)
{
    int rc;

    memset(&w->stats, 0, sizeof w->stats);
    rc = worker_walk(&w->worker, &w->table, &w->stats, &w->err);
    if (rc != COFFER_OK && rc != COFFER_E_CANCELLED)
        print_message("walk: %s\n", w->err.message);
    return rc;
}

static void
next_pass(struct walked *w, uint32_t target)
{
    w->f.rotation.pass++;
    w->column.want.target_key = target;
    fixture_move_on(&w->f);
}

/* From plaintext to the old key, then to the new one: every value is what it was, and nothing is
 * under the old key. */
static void
a_walk_moves_every_row_and_keeps_every_value(void **state)
{
    struct walked w;

    walked_new(&w, ROWS);
    assert_int_equal(walk(&w), COFFER_OK);
    assert_int_equal(w.stats.rows_done, ROWS);
    assert_int_equal(fixture_sealed_count(&w.f, w.f.old_key), ROWS);

    next_pass(&w, w.f.new_key);
    assert_int_equal(walk(&w), COFFER_OK);
    assert_int_equal(w.stats.rows_done, ROWS);
    assert_int_equal(fixture_sealed_count(&w.f, w.f.new_key), ROWS);

    next_pass(&w, w.f.new_key);
    assert_int_equal(walk(&w), COFFER_OK);
    assert_int_equal(w.stats.rows_done, 0); /* nothing is left to do */
    fixture_free(&w.f);
}

static void
unprotect_restores_the_plaintext(void **state)
{
    struct walked w;

    walked_new(&w, 300);
    assert_int_equal(walk(&w), COFFER_OK);
    next_pass(&w, 0);
    w.column.want.goal = DB_GOAL_PLAIN;
    assert_int_equal(walk(&w), COFFER_OK);
    assert_int_equal(
        fixture_number(&w.f,
                       "SELECT count(*) FROM patients WHERE ssn='ssn-'||id AND typeof(ssn)='text'"),
        300);
    fixture_free(&w.f);
}

static void
nulls_and_empty_strings_are_kept_apart(void **state)
{
    struct walked w;

    walked_new(&w, 3);
    fixture_run(&w.f, "UPDATE patients SET ssn=NULL WHERE id=1");
    fixture_run(&w.f, "UPDATE patients SET ssn='' WHERE id=2");
    assert_int_equal(walk(&w), COFFER_OK);
    assert_int_equal(fixture_number(&w.f, "SELECT count(*) FROM patients WHERE ssn IS NULL"), 1);
    next_pass(&w, 0);
    w.column.want.goal = DB_GOAL_PLAIN;
    assert_int_equal(walk(&w), COFFER_OK);
    assert_int_equal(fixture_number(&w.f, "SELECT count(*) FROM patients WHERE ssn=''"), 1);
    assert_int_equal(fixture_number(&w.f, "SELECT count(*) FROM patients WHERE ssn IS NULL"), 1);
    fixture_free(&w.f);
}

/* The record moved on (paused, aborted) while the worker was frozen: it writes nothing. */
static void
a_worker_of_a_past_epoch_writes_nothing(void **state)
{
    struct rotation frozen;
    struct walked w;

    walked_new(&w, 300);
    frozen = w.f.rotation;
    fixture_move_on(&w.f);
    w.worker.rotation = &frozen;
    assert_int_equal(walk(&w), COFFER_E_CANCELLED);
    assert_int_equal(fixture_sealed_count(&w.f, w.f.old_key), 0);
    fixture_free(&w.f);
}

/* The same between reading and writing: the guard is in the writing transaction. */
static int
move_on_while_decoding(void *arg, const struct keyring_column *column,
                       const struct coffer_value *old, struct buf *storage,
                       struct coffer_value *out, struct coffer_error *err)
{
    struct fixture *f = arg;

    if (f->rotation.epoch == 1)
        fixture_move_on(f);
    *out = *old;
    return COFFER_OK;
}

static void
an_epoch_that_moves_after_the_read_stops_the_write(void **state)
{
    struct rotation before;
    struct walked w;

    walked_new(&w, 300);
    before = w.f.rotation;
    w.worker.rotation = &before;
    w.f.options.decode = move_on_while_decoding;
    w.f.options.decode_arg = &w.f;
    assert_int_equal(walk(&w), COFFER_E_CANCELLED);
    assert_int_equal(fixture_sealed_count(&w.f, w.f.old_key), 0);
    fixture_free(&w.f);
}

/* A user's edit between reading and writing stays; the row is moved later in the same walk. */
static int
edit_once(void *arg, const struct keyring_column *column, const struct coffer_value *old,
          struct buf *storage, struct coffer_value *out, struct coffer_error *err)
{
    struct fixture *f = arg;

    if (f->skip_us == 0) {
        f->skip_us = 1;
        fixture_run(f, "UPDATE patients SET ssn='edited' WHERE id=7");
    }
    *out = *old;
    return COFFER_OK;
}

static void
an_edit_during_the_walk_is_never_lost(void **state)
{
    struct walked w;

    walked_new(&w, 300);
    w.f.options.decode = edit_once;
    w.f.options.decode_arg = &w.f;
    assert_int_equal(walk(&w), COFFER_OK);
    assert_int_equal(fixture_sealed_count(&w.f, w.f.old_key), 299);
    w.f.options.decode = NULL;
    next_pass(&w, 0);
    w.column.want.goal = DB_GOAL_PLAIN;
    assert_int_equal(walk(&w), COFFER_OK);
    assert_int_equal(
        fixture_number(&w.f, "SELECT count(*) FROM patients WHERE ssn='edited' AND id=7"), 1);
    fixture_free(&w.f);
}

/* A damaged envelope is left as it is, in quarantine; the others go on. */
static void
what_does_not_open_is_quarantined_and_left_alone(void **state)
{
    struct walked w;
    uint64_t count = 0;

    walked_new(&w, 300);
    assert_int_equal(walk(&w), COFFER_OK);
    fixture_run(
        &w.f,
        "UPDATE patients SET ssn=CAST(substr(ssn,1,length(ssn)-1)||x'00' AS BLOB) WHERE id=5");
    fixture_run(&w.f, "CREATE TABLE kept AS SELECT ssn FROM patients WHERE id=5");
    next_pass(&w, w.f.new_key);
    assert_int_equal(walk(&w), COFFER_OK);
    assert_int_equal(fixture_sealed_count(&w.f, w.f.new_key), 299);
    assert_int_equal(w.stats.quarantined, 1);
    assert_int_equal(
        fixture_number(&w.f,
                       "SELECT count(*) FROM patients, kept WHERE id=5 AND patients.ssn=kept.ssn"),
        1);
    assert_int_equal(quarantine_count(&w.f.database.journal, &w.f.column.id, &count, NULL),
                     COFFER_OK);
    assert_int_equal(count, 1);
    assert_int_equal(quarantine_clear(&w.f.database.journal, &w.f.column.id, NULL), COFFER_OK);
    assert_int_equal(quarantine_count(&w.f.database.journal, NULL, &count, NULL), COFFER_OK);
    assert_int_equal(count, 0);
    fixture_free(&w.f);
}

static void
stop_is_obeyed_and_the_walk_goes_on_later(void **state)
{
    struct walked w;

    walked_new(&w, 300);
    w.f.stop = 1;
    assert_int_equal(walk(&w), COFFER_E_CANCELLED);
    w.f.stop = 0;
    assert_int_equal(walk(&w), COFFER_OK);
    assert_int_equal(fixture_sealed_count(&w.f, w.f.old_key), 300);
    fixture_free(&w.f);
}

/* ---- chunks ---- */

static struct chunks
chunks_of(struct walked *w, const char *owner)
{
    return (struct chunks){.journal = &w->f.database.journal,
                           .os = &w->f.os,
                           .rotation = &w->f.rotation,
                           .table = w->f.table,
                           .owner = owner,
                           .rows = 100};
}

static void
claim(const struct chunks *chunks, struct db_walk *walk, struct chunk *chunk,
      enum chunk_found expected)
{
    enum chunk_found found = CHUNK_NONE;
    struct coffer_error err = {0};

    if (chunk_claim(chunks, walk, chunk, &found, &err) != COFFER_OK)
        fail_msg("%s", err.message);
    assert_int_equal(found, expected);
}

/* Two workers cut different ranges; what one drops the other takes when the lease is over, and not
 * before; the first one, awake again, finds that its chunk is gone. */
static void
chunks_are_shared_and_an_expired_lease_is_taken_over(void **state)
{
    struct chunk one, two, three;
    struct chunks first, second;
    struct db_walk *walk = NULL;
    struct walked w;

    walked_new(&w, 150);
    first = chunks_of(&w, "elsewhere:1:a");
    second = chunks_of(&w, "here:1:b");
    assert_int_equal(db_walk_open(w.f.database.db, w.f.table, &w.column.want, 1, &walk, NULL),
                     COFFER_OK);
    chunk_init(&one);
    chunk_init(&two);
    chunk_init(&three);

    claim(&first, walk, &one, CHUNK_OURS);
    claim(&second, walk, &two, CHUNK_OURS);
    assert_int_equal(one.until.values[0].i64, two.after.values[0].i64);
    assert_int_equal(two.until.count, 0);
    assert_int_equal(chunk_end(&second, &two, true, NULL), COFFER_OK);

    claim(&second, walk, &three, CHUNK_BUSY);
    w.f.skip_us = (int64_t)(CHUNK_LEASE_MS + 1000) * 1000;
    claim(&second, walk, &three, CHUNK_OURS);
    assert_int_equal(three.number, one.number);
    assert_int_equal(chunk_renew(&first, &one, NULL), COFFER_E_CONFLICT);
    assert_int_equal(chunk_end(&first, &one, true, NULL), COFFER_E_CONFLICT);

    assert_int_equal(chunk_end(&second, &three, true, NULL), COFFER_OK);
    claim(&second, walk, &three, CHUNK_NONE);
    chunk_wipe(&one);
    chunk_wipe(&two);
    chunk_wipe(&three);
    db_walk_close(walk);
    fixture_free(&w.f);
}

/* The crash between a chunk's row and the frontier leaves no range unwalked. */
static void
a_chunk_without_its_frontier_is_found(void **state)
{
    struct chunk one, two;
    struct chunks first, second;
    struct db_walk *walk = NULL;
    struct walked w;

    walked_new(&w, 150);
    first = chunks_of(&w, "elsewhere:1:a");
    second = chunks_of(&w, "here:1:b");
    assert_int_equal(db_walk_open(w.f.database.db, w.f.table, &w.column.want, 1, &walk, NULL),
                     COFFER_OK);
    chunk_init(&one);
    chunk_init(&two);
    claim(&first, walk, &one, CHUNK_OURS);
    fixture_run(&w.f, "DELETE FROM coffer_chunk WHERE key LIKE '%/frontier'");
    claim(&second, walk, &two, CHUNK_OURS);
    assert_int_equal(two.number, 2);
    assert_int_equal(two.after.values[0].i64, one.until.values[0].i64);
    chunk_wipe(&one);
    chunk_wipe(&two);
    db_walk_close(walk);
    fixture_free(&w.f);
}

/* Whatever happens takes 5 ms by this clock, however many rows it has: a disk that is slow to sync. */
static int64_t
slow_clock(const struct os *os)
{
    static int64_t ms;

    return ms += 5;
}

static void
no_sleep(const struct os *os, unsigned ms)
{
}

static void
a_slow_disk_does_not_make_batches_of_a_row(void **state)
{
    struct walked w;

    walked_new(&w, 3000);
    w.f.os.monotonic_ms = slow_clock;
    w.f.os.sleep_ms = no_sleep;
    w.f.options.throttle.duty = 0.5;
    assert_int_equal(walk(&w), COFFER_OK);
    assert_int_equal(w.stats.rows_done, 3000);
    /* Not of a row; and since more rows take no longer, they grow, though not at once to the whole table. */
    assert_in_range(w.stats.batches, 5, 3000 / 64 + 1);
    fixture_free(&w.f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_walk_moves_every_row_and_keeps_every_value),
        cmocka_unit_test(unprotect_restores_the_plaintext),
        cmocka_unit_test(nulls_and_empty_strings_are_kept_apart),
        cmocka_unit_test(a_worker_of_a_past_epoch_writes_nothing),
        cmocka_unit_test(an_epoch_that_moves_after_the_read_stops_the_write),
        cmocka_unit_test(an_edit_during_the_walk_is_never_lost),
        cmocka_unit_test(what_does_not_open_is_quarantined_and_left_alone),
        cmocka_unit_test(stop_is_obeyed_and_the_walk_goes_on_later),
        cmocka_unit_test(chunks_are_shared_and_an_expired_lease_is_taken_over),
        cmocka_unit_test(a_chunk_without_its_frontier_is_found),
        cmocka_unit_test(a_slow_disk_does_not_make_batches_of_a_row),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
