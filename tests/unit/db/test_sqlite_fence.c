/* SPDX-License-Identifier: Apache-2.0 */
/* Statements and transactions, the fence, the shadow trigger, counting, finding and cleaning. */
#include "sqlite_file.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct coffer_value
sealed_value(uint32_t key_id)
{
    return (struct coffer_value){
        .type = COFFER_BYTES, .data = envelope(key_id, (uint8_t)key_id).ptr, .len = 64};
}

static int
put(struct db *db, const char *sql, uint32_t key_id, struct coffer_error *err)
{
    struct coffer_value cell = sealed_value(key_id);

    return db_run(db, sql, &cell, 1, NULL, err);
}

static void
parameters_go_by_their_number(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct coffer_value params[] = {text_value("a"), int_value(2)};
    struct db_result *result = NULL;

    assert_int_equal(
        db_run(file->db, "SELECT $2 AS two, $1, $1||$1, NULL, x''", params, 2, &result, &err),
        COFFER_OK);
    assert_int_equal(result->cells[0].i64, 2);
    assert_string_equal(result->names[0], "two");
    assert_string_equal((const char *)result->cells[2].data, "aa");
    assert_int_equal(result->cells[3].type, COFFER_NULL);
    assert_int_equal(result->cells[4].type, COFFER_BYTES);
    assert_int_equal(result->cells[4].len, 0);
    db_result_free(result);
}

static int
stop_at_three(void *arg, const struct coffer_value *cells, size_t columns, struct coffer_error *err)
{
    return ++*(int *)arg == 3 ? error_set(err, COFFER_E_LIMIT, "enough") : COFFER_OK;
}

static int
interrupt(void *arg, const struct coffer_value *cells, size_t columns, struct coffer_error *err)
{
    db_cancel(arg);
    return COFFER_OK;
}

#define MANY "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<100000) "

static void
streams_stop_when_told(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    int rows = 0;

    assert_int_equal(
        db_stream(file->db, MANY "SELECT i FROM n", NULL, 0, stop_at_three, &rows, &err),
        COFFER_E_LIMIT);
    assert_int_equal(rows, 3);
    assert_int_equal(
        db_stream(file->db, MANY "SELECT i FROM n", NULL, 0, interrupt, file->db, &err),
        COFFER_E_CANCELLED);
}

/* An error closes the transaction; what it had done is gone. */
static void
an_error_leaves_no_transaction(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};

    sql_run(file->db, "CREATE TABLE t (a UNIQUE)");
    assert_int_equal(db_begin(file->db, DB_TXN_WRITE, &err), COFFER_OK);
    sql_run(file->db, "INSERT INTO t VALUES (1)");
    assert_int_equal(sql_try(file->db, "INSERT INTO t VALUES (1)", &err), COFFER_E_DB);
    assert_non_null(strstr(err.message, "UNIQUE"));
    assert_int_equal(db_commit(file->db, &err), COFFER_E_DB);
    assert_string_equal(sql_text(file->other, "SELECT count(*) FROM t"), "0");
}

static void
a_snapshot_stays_while_others_write(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};

    sql_text(file->db, "PRAGMA journal_mode=WAL");
    sql_run(file->db, "CREATE TABLE t (a)");
    assert_int_equal(db_begin(file->db, DB_TXN_SNAPSHOT, &err), COFFER_OK);
    assert_string_equal(sql_text(file->db, "SELECT count(*) FROM t"), "0");
    sql_run(file->other, "INSERT INTO t VALUES (1)");
    assert_string_equal(sql_text(file->db, "SELECT count(*) FROM t"), "0");
    db_rollback(file->db);
    assert_string_equal(sql_text(file->db, "SELECT count(*) FROM t"), "1");
}

/* NOTYET while a reader holds a snapshot from before; OK once it ended. */
static void
a_mark_waits_for_old_readers(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct db_mark mark;

    sql_text(file->db, "PRAGMA journal_mode=WAL");
    sql_run(file->db, "CREATE TABLE t (a)");
    assert_int_equal(db_begin(file->other, DB_TXN_SNAPSHOT, &err), COFFER_OK);
    sql_text(file->other, "SELECT count(*) FROM t");
    sql_run(file->db, "INSERT INTO t VALUES (1)");
    assert_int_equal(db_mark_now(file->db, &mark, &err), COFFER_OK);
    assert_int_equal(db_mark_passed(file->db, &mark, &err), COFFER_E_NOTYET);
    db_rollback(file->other);
    assert_int_equal(db_mark_passed(file->db, &mark, &err), COFFER_OK);
}

static void
the_catalog_is_made_once(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    char name[DB_NAME_MAX];
    bool present = true;

    assert_int_equal(db_catalog_present(file->db, &present, &err), COFFER_OK);
    assert_false(present);
    assert_int_equal(db_catalog_install(file->db, &err), COFFER_OK);
    assert_int_equal(db_catalog_install(file->db, &err), COFFER_OK);
    assert_int_equal(db_catalog_present(file->db, &present, &err), COFFER_OK);
    assert_true(present);
    assert_string_equal(db_catalog_name(file->db, "chunk"), "coffer_chunk");
    assert_int_equal(db_incarnation(file->db, name, &err), COFFER_OK);
    assert_string_equal(name, "sqlite");
}

static void
what_is_no_database_is_said(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct db_options read_only = {.read_only = true};
    struct db *db = NULL;
    FILE *f;

    assert_int_equal(db_open("sqlite:/nonexistent/x.db", false, NULL, &db, &err),
                     COFFER_E_NOTFOUND);
    assert_null(db);
    assert_int_equal(db_open("sqlite:/tmp", false, NULL, &db, &err), COFFER_E_IO);
    assert_int_equal(db_open("oracle:x", false, NULL, &db, &err), COFFER_E_MISUSE);
    assert_int_equal(db_open("postgresql://u:secret@h/d", false, NULL, &db, &err),
                     COFFER_E_REFUSED);
    assert_null(strstr(err.message, "secret"));
    assert_int_equal(db_open("postgresql://h/d?password=secret", false, NULL, &db, &err),
                     COFFER_E_REFUSED);
    assert_int_equal(db_open(file->url, false, &read_only, &db, &err), COFFER_OK);
    assert_int_equal(sql_try(db, "CREATE TABLE t (a)", &err), COFFER_E_DB);
    db_close(db);
    db_close(file->other);
    db_close(file->db);
    file->db = file->other = NULL;
    f = fopen(file->path, "w");
    fputs("this is a letter, not a database, and long enough to be told from one at sight", f);
    fclose(f);
    assert_int_equal(db_open(file->url, false, NULL, &db, &err), COFFER_E_DB);
    assert_non_null(strstr(err.message, "no SQLite database"));
}

static void
displayed_urls_hold_no_password(void **state)
{
    static const char *const URLS[][2] = {
        {"postgresql://u:secret@h:5/d?sslmode=require", "postgresql://u@h:5/d"},
        {"postgresql://u:sec@ret@h/d", "postgresql://u@h/d"},
        {"postgresql://u@h/d?password=secret", "postgresql://u@h/d"},
        {"postgresql://h:5432/d", "postgresql://h:5432/d"},
        {"postgresql:service=x password=secret", "postgresql:"},
        {"sqlite:/nonexistent/a.db", "sqlite:/nonexistent/a.db"},
    };
    char shown[200];
    size_t i;

    for (i = 0; i < sizeof URLS / sizeof *URLS; i++) {
        db_url_display(URLS[i][0], shown, sizeof shown);
        assert_string_equal(shown, URLS[i][1]);
    }
}

/* New cells under a retired key are refused however they come; what stands there may stay. */
static void
the_fence_refuses_a_retired_key(void **state)
{
    static const char *const WAYS[] = {
        "INSERT INTO t VALUES (9,$1,0)",
        "INSERT OR REPLACE INTO t VALUES (1,$1,0)",
        "INSERT OR IGNORE INTO t VALUES (9,$1,0)",
        "REPLACE INTO t VALUES (2,$1,0)",
        "INSERT INTO t VALUES (2,'x',0) ON CONFLICT (id) DO UPDATE SET v=$1",
        "UPDATE t SET v=$1 WHERE id=2",
        "UPDATE OR IGNORE t SET v=$1, n=1 WHERE id=2",
    };
    struct sqlite_file *file = *state;
    struct db_cell_spec cell = {.plain = "v", .type = COFFER_TEXT, .sql_type = "TEXT"};
    uint32_t refused[] = {0xaaaa, 0xbbbb};
    struct db_fence fence = {.cell = cell, .refused = refused, .refused_count = 2};
    struct coffer_error err = {0};
    struct db_table *table;
    size_t i;

    sql_run(file->db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, n INT)");
    table = table_of(file->db, "t");
    assert_int_equal(put(file->db, "INSERT INTO t VALUES (1,$1,0)", 0xaaaa, &err), COFFER_OK);
    sql_run(file->db, "INSERT INTO t VALUES (2,NULL,0)");
    assert_int_equal(db_fence_set(file->db, table, &fence, 1, &err), COFFER_OK);
    for (i = 0; i < sizeof WAYS / sizeof *WAYS; i++) {
        if (put(file->other, WAYS[i], 0xbbbb, &err) != COFFER_E_CONFLICT)
            fail_msg("passed: %s", WAYS[i]);
        assert_non_null(strstr(err.message, "coffer: 40001 "));
        assert_non_null(strstr(err.message, "reload the row"));
    }
    assert_string_equal(sql_text(file->db, "SELECT count(*) FROM t WHERE v IS NULL"), "1");
    /* The old cell unchanged, another column changed; and a good key. */
    assert_int_equal(sql_try(file->other, "UPDATE t SET n=7, v=v WHERE id=1", &err), COFFER_OK);
    assert_int_equal(put(file->other, "UPDATE t SET v=$1 WHERE id=1", 0xcccc, &err), COFFER_OK);
    assert_int_equal(
        sql_try(file->other, "INSERT INTO t VALUES (5,'plain is allowed yet',0)", &err), COFFER_OK);
    /* Replaced as a whole: the old list no longer holds. */
    refused[0] = 0xcccc;
    fence.refused_count = 1;
    assert_int_equal(db_fence_set(file->db, table, &fence, 1, &err), COFFER_OK);
    assert_int_equal(put(file->other, "UPDATE t SET v=$1 WHERE id=2", 0xbbbb, &err), COFFER_OK);
    assert_int_equal(put(file->other, "UPDATE t SET v=$1 WHERE id=5", 0xcccc, &err),
                     COFFER_E_CONFLICT);
    assert_int_equal(db_fence_set(file->db, table, NULL, 0, &err), COFFER_OK);
    assert_string_equal(
        sql_text(file->db, "SELECT count(*) FROM sqlite_schema WHERE type='trigger'"), "0");
    db_table_free(table);
}

/* A user's own trigger that writes the old key back is fenced as well. */
static void
the_fence_holds_inside_triggers(void **state)
{
    struct sqlite_file *file = *state;
    uint32_t refused[] = {0xaaaa};
    struct db_fence fence = {.cell = {.plain = "v", .type = COFFER_TEXT, .sql_type = "TEXT"},
                             .refused = refused,
                             .refused_count = 1};
    struct coffer_error err = {0};
    struct db_table *table;

    sql_run(file->db,
            "CREATE TABLE old (v)\nCREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, n INT)\n"
            "CREATE TRIGGER restores AFTER UPDATE OF n ON t BEGIN UPDATE t SET v=(SELECT v "
            "FROM old) WHERE id=NEW.id; END\nINSERT INTO t VALUES (1,NULL,0)");
    assert_int_equal(put(file->db, "INSERT INTO old VALUES ($1)", 0xaaaa, &err), COFFER_OK);
    table = table_of(file->db, "t");
    assert_int_equal(db_fence_set(file->db, table, &fence, 1, &err), COFFER_OK);
    assert_int_equal(sql_try(file->other, "UPDATE t SET n=1", &err), COFFER_E_CONFLICT);
    assert_string_equal(sql_text(file->db, "SELECT n FROM t"), "0");
    db_table_free(table);
}

static void
the_fence_refuses_plaintext(void **state)
{
    static const char *const WAYS[] = {
        "INSERT INTO t VALUES (9,'x',0)",
        "INSERT INTO t VALUES (9,x'f9',0)", /* begins like an envelope and is none */
        "INSERT INTO t VALUES (9,zeroblob(64),0)",
        "INSERT INTO t(id) VALUES (9)", /* the default */
        "UPDATE t SET v='OLD PLAIN' WHERE id=1",
        "UPDATE t SET v=CAST(v AS BLOB) WHERE id=1",
        "UPDATE OR IGNORE t SET v='x' WHERE id=2",
    };
    struct sqlite_file *file = *state;
    struct db_fence fence = {.cell = {.plain = "v", .type = COFFER_TEXT, .sql_type = "TEXT"},
                             .refuse_plaintext = true};
    struct coffer_error err = {0};
    struct db_table *table;
    size_t i;

    sql_run(file->db,
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT DEFAULT 'd' COLLATE NOCASE, n "
            "INT)\nINSERT INTO t VALUES (1,'old plain',0),(2,NULL,0)");
    table = table_of(file->db, "t");
    assert_int_equal(db_fence_set(file->db, table, &fence, 1, &err), COFFER_OK);
    for (i = 0; i < sizeof WAYS / sizeof *WAYS; i++) {
        if (sql_try(file->other, WAYS[i], &err) != COFFER_E_DB)
            fail_msg("passed: %s", WAYS[i]);
        assert_non_null(strstr(err.message, "coffer: 23514 "));
    }
    assert_int_equal(sql_try(file->other, "UPDATE t SET n=1, v=v", &err), COFFER_OK);
    assert_int_equal(sql_try(file->other, "INSERT INTO t VALUES (3,NULL,0)", &err), COFFER_OK);
    assert_int_equal(put(file->other, "UPDATE t SET v=$1 WHERE id=1", 0xaaaa, &err), COFFER_OK);
    db_table_free(table);
}

/* Whoever writes plaintext and knows nothing of the companion makes its envelope go; who writes
 * both keeps both. */
static void
the_shadow_trigger_drops_stale_envelopes(void **state)
{
    struct sqlite_file *file = *state;
    struct db_cell_spec cell = {
        .plain = "v", .sealed = "v_sealed", .type = COFFER_TEXT, .sql_type = "TEXT"};
    struct coffer_error err = {0};
    struct db_table *table;

    sql_run(file->db,
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT COLLATE NOCASE, n INT) STRICT");
    table = table_of(file->db, "t");
    assert_int_equal(db_phase_apply(file->db, table, &cell, COFFER_OFF, COFFER_SHADOW, &err),
                     COFFER_OK);
    assert_int_equal(db_phase_apply(file->db, table, &cell, COFFER_OFF, COFFER_SHADOW, &err),
                     COFFER_OK);
    assert_int_equal(put(file->db, "INSERT INTO t VALUES (1,'bob',0,$1)", 0xaaaa, &err), COFFER_OK);
    sql_run(file->other, "UPDATE t SET n=1, v='bob'");
    assert_string_equal(sql_text(file->db, "SELECT typeof(v_sealed) FROM t"), "blob");
    sql_run(file->other, "UPDATE t SET v='Bob'");
    assert_string_equal(sql_text(file->db, "SELECT typeof(v_sealed) FROM t"), "null");
    assert_int_equal(put(file->other, "UPDATE t SET v=NULL, v_sealed=$1", 0xbbbb, &err), COFFER_OK);
    assert_string_equal(sql_text(file->db, "SELECT typeof(v)||typeof(v_sealed) FROM t"),
                        "nullblob");
    assert_int_equal(db_phase_apply(file->db, table, &cell, COFFER_SHADOW, COFFER_OFF, &err),
                     COFFER_E_REFUSED);
    assert_non_null(strstr(err.message, "still holds envelopes"));
    sql_run(file->other, "UPDATE t SET v='x', v_sealed=NULL");
    assert_int_equal(db_phase_apply(file->db, table, &cell, COFFER_SHADOW, COFFER_OFF, &err),
                     COFFER_OK);
    assert_int_equal(db_phase_apply(file->db, table, &cell, COFFER_SHADOW, COFFER_OFF, &err),
                     COFFER_OK);
    assert_string_equal(sql_text(file->db, "SELECT group_concat(name) FROM pragma_table_info('t')"),
                        "id,v,n");
    assert_string_equal(
        sql_text(file->db, "SELECT count(*) FROM sqlite_schema WHERE type='trigger'"), "0");
    db_table_free(table);
}

static void
cells_are_counted_by_form_and_key(void **state)
{
    struct sqlite_file *file = *state;
    struct db_cell_spec in_place = {.plain = "v", .type = COFFER_TEXT, .sql_type = "TEXT"};
    struct db_cell_spec companion = {
        .plain = "p", .sealed = "s", .type = COFFER_TEXT, .sql_type = "TEXT"};
    struct coffer_error err = {0};
    struct db_count *count = NULL;
    struct db_table *table;

    sql_run(file->db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v, p, s)\n"
                      "INSERT INTO t(v) VALUES (NULL),('x'),(''),(x'f900')");
    assert_int_equal(put(file->db, "INSERT INTO t(v,p,s) VALUES ($1,'x',$1)", 0xa, &err),
                     COFFER_OK);
    assert_int_equal(put(file->db, "INSERT INTO t(v,s) VALUES ($1,$1)", 0xa, &err), COFFER_OK);
    assert_int_equal(put(file->db, "INSERT INTO t(v,p) VALUES ($1,'y')", 0xffffffffu, &err),
                     COFFER_OK);
    table = table_of(file->db, "t");
    assert_int_equal(db_count(file->db, table, &in_place, &count, &err), COFFER_OK);
    assert_int_equal(count->rows, 7);
    assert_int_equal(count->nulls, 1);
    assert_int_equal(count->plaintext, 3);
    assert_int_equal(count->key_count, 2);
    assert_int_equal(count->keys[0].cells + count->keys[1].cells, 3);
    assert_true(count->keys[0].key_id == 0xffffffffu || count->keys[1].key_id == 0xffffffffu);
    db_count_free(count);
    assert_int_equal(db_count(file->db, table, &companion, &count, &err), COFFER_OK);
    assert_int_equal(count->nulls, 4);
    assert_int_equal(count->plaintext, 1);
    assert_int_equal(count->both, 1);
    assert_int_equal(count->keys[0].key_id, 0xa);
    assert_int_equal(count->keys[0].cells, 2);
    db_count_free(count);
    db_table_free(table);
}

static int
note_find(void *arg, const struct db_find *find, struct coffer_error *err)
{
    struct buf *notes = arg;

    buf_format(notes, "%s=%llu/%08x%s ", find->column, (unsigned long long)find->count,
               find->key_id, find->unreadable ? "!" : "");
    return COFFER_OK;
}

static void
unregistered_envelopes_are_found(void **state)
{
    static const char *const KNOWN[] = {"t.v"};
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct buf notes;

    buf_init(&notes, 4096);
    sql_run(file->db,
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v, note TEXT)\n"
            "CREATE TABLE copy (\"odd \"\"name\" BLOB, near BLOB)\n"
            "INSERT INTO t(note) VALUES ('cfr1.0000abcd.'||substr(hex(zeroblob(64)),1,64))\n"
            "INSERT INTO t(note) VALUES ('cfr1. short')\n"
            "INSERT INTO copy(near) VALUES (x'f909'||zeroblob(62)),(x'f9')");
    assert_int_equal(put(file->db, "INSERT INTO t(v) VALUES ($1)", 0xa, &err), COFFER_OK);
    assert_int_equal(put(file->db, "INSERT INTO copy(\"odd \"\"name\") VALUES ($1)", 0xb, &err),
                     COFFER_OK);
    assert_int_equal(db_find_envelopes(file->db, KNOWN, 1, note_find, &notes, &err), COFFER_OK);
    assert_string_equal(buf_cstr(&notes), "copy.odd \"name=1/0000000b t.note=1/0000abcd ");
    buf_wipe(&notes);
}

static bool
file_holds(const char *path, const char *word)
{
    char block[65536];
    FILE *f = fopen(path, "rb");
    bool found = false;
    size_t n;

    while (f != NULL && !found && (n = fread(block, 1, sizeof block, f)) > 0)
        found = memmem(block, n, word, strlen(word)) != NULL;
    if (f != NULL)
        fclose(f);
    return found;
}

/* After a scrub nothing of the old plaintext is in the files; a reader that keeps the log is said.
 */
static void
a_scrub_leaves_nothing_in_the_files(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct db_table *table;
    char wal[80];
    uint64_t size = 0, written = 0;

    snprintf(wal, sizeof wal, "%s-wal", file->path);
    sql_text(file->db, "PRAGMA secure_delete=OFF");
    sql_text(file->db, "PRAGMA journal_mode=WAL");
    sql_run(file->db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)\n"
                      "INSERT INTO t VALUES (1,'PLAINTEXT-MARKER')\nUPDATE t SET v=NULL");
    table = table_of(file->db, "t");
    assert_true(file_holds(wal, "PLAINTEXT-MARKER"));
    assert_int_equal(db_begin(file->other, DB_TXN_SNAPSHOT, &err), COFFER_OK);
    sql_text(file->other, "SELECT v FROM t");
    assert_int_equal(db_clean(file->db, table, true, &err), COFFER_E_CONFLICT);
    assert_non_null(strstr(err.message, "-wal"));
    db_rollback(file->other);
    assert_int_equal(db_clean(file->db, table, true, &err), COFFER_OK);
    assert_false(file_holds(wal, "PLAINTEXT-MARKER"));
    assert_false(file_holds(file->path, "PLAINTEXT-MARKER"));
    assert_string_equal(sql_text(file->db, "SELECT count(*) FROM sqlite_schema WHERE name LIKE "
                                           "'sqlite_stat%'"),
                        "0");
    assert_int_equal(db_sizes(file->db, &size, &written, &err), COFFER_OK);
    assert_int_equal(size, strtoul(sql_text(file->db, "PRAGMA page_count"), NULL, 10) *
                               strtoul(sql_text(file->db, "PRAGMA page_size"), NULL, 10));
    assert_true(written >= size);
    db_table_free(table);
}

/* What has no meaning here says so by doing nothing. */
static void
server_matters_are_empty(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct db_fence fence = {.cell = {.plain = "v", .type = COFFER_TEXT}};
    struct db_table *table;
    struct db_load load;
    struct buf who;
    char name[DB_NAME_MAX] = "x";
    bool known = true;
    size_t count = 1;

    sql_run(file->db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)");
    table = table_of(file->db, "t");
    buf_init(&who, 100);
    assert_int_equal(db_fence_constrain(file->db, table, &fence, name, &err), COFFER_OK);
    assert_string_equal(name, "");
    assert_int_equal(db_fence_unconstrain(file->db, table, &fence, &err), COFFER_OK);
    assert_int_equal(db_others(file->db, &known, &count, &who, &err), COFFER_OK);
    assert_false(known);
    assert_int_equal(count, 0);
    assert_int_equal(db_load(file->db, table, &load, &err), COFFER_OK);
    assert_int_equal(db_catalog_grants(file->db, "app", &who), COFFER_OK);
    assert_int_equal(who.len, 0);
    assert_int_equal(db_engine(file->db), DB_SQLITE);
    assert_string_equal(db_engine_name(file->db), "sqlite");
    buf_wipe(&who);
    db_table_free(table);
}

#define WITH_FILE(test)                                                                            \
    cmocka_unit_test_setup_teardown(test, sqlite_file_setup, sqlite_file_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FILE(parameters_go_by_their_number),
        WITH_FILE(streams_stop_when_told),
        WITH_FILE(an_error_leaves_no_transaction),
        WITH_FILE(a_snapshot_stays_while_others_write),
        WITH_FILE(a_mark_waits_for_old_readers),
        WITH_FILE(the_catalog_is_made_once),
        WITH_FILE(what_is_no_database_is_said),
        cmocka_unit_test(displayed_urls_hold_no_password),
        WITH_FILE(the_fence_refuses_a_retired_key),
        WITH_FILE(the_fence_holds_inside_triggers),
        WITH_FILE(the_fence_refuses_plaintext),
        WITH_FILE(the_shadow_trigger_drops_stale_envelopes),
        WITH_FILE(cells_are_counted_by_form_and_key),
        WITH_FILE(unregistered_envelopes_are_found),
        WITH_FILE(a_scrub_leaves_nothing_in_the_files),
        WITH_FILE(server_matters_are_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
