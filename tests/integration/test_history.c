/* SPDX-License-Identifier: Apache-2.0 */
/* A whole protect and a whole rotation under an application that knows every write
 * (docs/ROTATION.md, "What must be shown").
 *
 *   test_history                 on SQLite
 *   test_history postgresql      on the server that pg_cluster.sh started
 *   test_history planted BUG DIR one that must break: run by the tests themselves
 *
 * HISTORY_SHOW=1 prints what the rotation says, HISTORY_ONLY='*companions*' runs some.
 */
#include "history.h"

#include "rotate/rotate.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct kind {
    bool postgresql;
    int binding;
    bool strict;   /* SQLite: a table that takes no envelope in place */
    bool in_place; /* PostgreSQL: ssn in text form in its own column; amount has a companion */
};

struct scene {
    const struct kind *kind;
    char folder[64], keyring[100], url[110];
    struct keyring_store *store;
    struct rotate_env env;
    struct rotate_options options;
    struct history history;
    unsigned fences, put_back; /* "fence" steps heard, and old rows that went back just before */
};

static void
run(struct scene *s, const char *sql)
{
    struct coffer_error err = {0};
    struct db *db = NULL;

    if (db_open(s->url, false, NULL, &db, &err) != COFFER_OK ||
        db_run(db, sql, NULL, 0, NULL, &err) != COFFER_OK)
        fail_msg("%s: %s", sql, err.message);
    db_close(db);
}

/* The drain is done and the fence not up yet: this is when an old row that was loaded before can
 * still come back, and must be swept. */
static void
hear(void *arg, const struct rotate_event *event)
{
    struct scene *s = arg;

    if (event->kind != ROTATE_PROGRESS && getenv("HISTORY_SHOW") != NULL)
        print_message("%s: %s\n", event->step, event->text);
    if (event->kind == ROTATE_STEP && strcmp(event->step, "fence") == 0 &&
        s->history.kept[0].result != NULL) {
        s->fences++;
        s->put_back += history_put_back(&s->history, "nothing is refused yet");
    }
}

static void
protect(struct scene *s, const struct rotate_column *columns, size_t count)
{
    struct coffer_error err = {0};

    if (rotate_protect(&s->env, columns, count, &s->options, &err) != COFFER_OK)
        fail_msg("protect: %s", err.message);
}

static void
make_tables(struct scene *s)
{
    if (s->kind->postgresql) {
        run(s, "DROP SCHEMA IF EXISTS coffer CASCADE");
        run(s, "DROP TABLE IF EXISTS patients, warm CASCADE");
        run(s, "CREATE TABLE warm (id bigint PRIMARY KEY, note text)");
        run(s, "CREATE TABLE patients (id bigint PRIMARY KEY, ssn text, amount bigint)");
        return;
    }
    run(s, "PRAGMA journal_mode=WAL");
    run(s, "CREATE TABLE warm (id INTEGER PRIMARY KEY NOT NULL, note TEXT)");
    run(s, s->kind->strict ? "CREATE TABLE patients (id INTEGER PRIMARY KEY NOT NULL, ssn TEXT, "
                             "amount INTEGER) STRICT"
                           : "CREATE TABLE patients (id INTEGER PRIMARY KEY NOT NULL, ssn TEXT, "
                             "amount INTEGER)");
}

static void
make_keyring(struct scene *s)
{
    struct kek *kek = NULL;

    snprintf(s->keyring, sizeof s->keyring, "%s/k.coffer", s->folder);
    memset(s->history.root, 9, 32);
    assert_int_equal(kek_key_new(bytes_of(s->history.root, 32), &kek, NULL), COFFER_OK);
    assert_int_equal(file_store_init(s->keyring, kek, &os_real, "test", NULL), COFFER_OK);
    assert_int_equal(kek_key_new(bytes_of(s->history.root, 32), &kek, NULL), COFFER_OK);
    assert_int_equal(file_store_open(s->keyring, kek, &os_real, &s->store, NULL), COFFER_OK);
}

static void
scene_new(struct scene *s, const struct kind *kind, const char *folder)
{
    const struct rotate_column warm = {.name = "warm.note", .binding = -1};

    memset(s, 0, sizeof *s);
    s->kind = kind;
    snprintf(s->folder, sizeof s->folder, "%s",
             folder != NULL ? folder : "/tmp/coffer-history-XXXXXX");
    if (folder == NULL)
        assert_non_null(mkdtemp(s->folder));
    if (kind->postgresql) {
        assert_non_null(getenv("COFFER_TEST_PG"));
        snprintf(s->url, sizeof s->url, "%s", getenv("COFFER_TEST_PG"));
    } else {
        snprintf(s->url, sizeof s->url, "sqlite:%s/app.db", s->folder);
        fclose(fopen(s->url + strlen("sqlite:"), "w"));
    }
    make_keyring(s);
    s->env = (struct rotate_env){
        .store = s->store, .os = &os_real, .who = "test", .url = s->url, .say = hear, .arg = s};
    s->options = (struct rotate_options){.yes = true,
                                         .no_unaware_clients = true,
                                         .settle_set = true,
                                         .settle_ms = 300,
                                         .grace_set = true,
                                         .batch_rows = 10,
                                         .throttle.rows_per_second = 500};
    s->history.url = s->url;
    s->history.keyring_path = s->keyring;
    make_tables(s);
    protect(s, &warm, 1); /* keyring and database know each other before the application starts */
}

static void
scene_free(struct scene *s)
{
    char command[120];

    file_store_close(s->store);
    snprintf(command, sizeof command, "rm -rf %s", s->folder);
    assert_int_equal(system(command), 0);
}

static uint32_t
active_key(struct scene *s)
{
    struct keyring *kr = NULL;
    uint32_t id;

    assert_int_equal(s->store->load(s->store, &kr, NULL), COFFER_OK);
    id = keyring_active(kr, KEY_FIELD, "main")->id;
    keyring_free(kr);
    return id;
}

static void
protect_patients(struct scene *s)
{
    const struct rotate_column columns[2] = {
        {.name = "patients.ssn", .binding = s->kind->binding, .in_place = s->kind->in_place},
        {.name = "patients.amount", .binding = s->kind->binding}};

    protect(s, columns, 2);
}

static void
rotate(struct scene *s)
{
    struct coffer_error err = {0};
    uint32_t old = active_key(s);

    if (rotate_run(&s->env, NULL, 0, &s->options, &err) != COFFER_OK)
        fail_msg("rotate: %s", err.message);
    assert_int_not_equal(active_key(s), old);
}

/* Rows loaded before the whole thing came back after its drain: all were taken, and swept.  After it
 * none is, and what it would have brought back is named. */
static void
old_rows_stay_out(struct scene *s, const char *refusal)
{
    assert_true(s->fences >= 1);
    assert_int_equal(s->put_back, s->fences * HISTORY_QUIET);
    assert_int_equal(history_put_back(&s->history, refusal), 0);
    s->fences = s->put_back = 0;
}

static void
no_value_is_lost(const struct kind *kind)
{
    struct scene s;
    uint32_t old;

    scene_new(&s, kind, NULL);
    history_start(&s.history);
    history_keep(&s.history);
    protect_patients(&s);
    old_rows_stay_out(&s, "plaintext");
    history_verify(&s.history, true, 0);
    history_keep(&s.history);
    old = active_key(&s);
    rotate(&s);
    old_rows_stay_out(&s, "is being retired");
    history_verify(&s.history, true, old);
    history_stop(&s.history);
    assert_true(s.history.writes > 20 && s.history.stale_writes > 0 && s.history.moves > 0 &&
                s.history.deletes > 0);
    print_message("%llu reads, %llu writes, %llu whole rows, %llu retries\n",
                  (unsigned long long)s.history.reads, (unsigned long long)s.history.writes,
                  (unsigned long long)s.history.stale_writes,
                  (unsigned long long)s.history.retries);
    scene_free(&s);
}

/* ---- SQLite ---- */

static void
no_value_is_lost_in_place(void **state)
{
    no_value_is_lost(&(struct kind){.binding = COFFER_BIND_COLUMN});
}

static void
no_value_is_lost_with_row_binding(void **state)
{
    no_value_is_lost(&(struct kind){.binding = COFFER_BIND_ROW});
}

static void
no_value_is_lost_with_companions(void **state)
{
    no_value_is_lost(&(struct kind){.binding = COFFER_BIND_ROW, .strict = true});
}

/* ---- PostgreSQL ---- */

static void
no_value_is_lost_on_postgresql(void **state)
{
    no_value_is_lost(&(struct kind){.postgresql = true, .binding = COFFER_BIND_ROW});
}

static void
no_value_is_lost_on_postgresql_with_column_binding(void **state)
{
    no_value_is_lost(&(struct kind){.postgresql = true, .binding = COFFER_BIND_COLUMN});
}

static void
no_value_is_lost_on_postgresql_in_place(void **state)
{
    no_value_is_lost(
        &(struct kind){.postgresql = true, .binding = COFFER_BIND_ROW, .in_place = true});
}

/* ---- the checker can fail ---- */

#define BUG_ROUNDS 20

/* Comes to its end only if the checker sees nothing. */
static int
planted(const char *bug, const char *folder)
{
    const struct kind kind = {.binding = COFFER_BIND_ROW};
    struct scene s;
    uint32_t old;

    scene_new(&s, &kind, folder);
    protect_patients(&s);
    if (strcmp(bug, "lost-updates") == 0)
        s.history.bug = HISTORY_LOST_UPDATES;
    if (strcmp(bug, "swapped-cells") == 0)
        s.history.bug = HISTORY_SWAPPED_CELLS;
    history_start(&s.history);
    history_keep(&s.history);
    old = active_key(&s);
    rotate(&s);
    /* The rotation may be over before the bug has met anybody. */
    while (s.history.bug != HISTORY_NO_BUG &&
           __atomic_load_n(&s.history.bug_rounds, __ATOMIC_RELAXED) < BUG_ROUNDS)
        os_real.sleep_ms(&os_real, 10);
    if (strcmp(bug, "no-fence") == 0) {
        run(&s, "DROP TRIGGER coffer_zzz_fence_update_patients");
        assert_int_equal(history_put_back(&s.history, "anything"), HISTORY_QUIET);
    }
    history_verify(&s.history, true, old);
    history_stop(&s.history);
    return 0;
}

static char self[1000];

static void
assert_caught(const char *bug, const char *complaint)
{
    char folder[] = "/tmp/coffer-history-XXXXXX", command[1200], output[4000];
    size_t len;
    FILE *child;

    assert_non_null(mkdtemp(folder));
    snprintf(command, sizeof command, "'%s' planted %s %s 2>&1", self, bug, folder);
    child = popen(command, "r");
    assert_non_null(child);
    len = fread(output, 1, sizeof output - 1, child);
    output[len] = 0;
    while (fgetc(child) != EOF)
        ;
    assert_int_not_equal(pclose(child), 0);
    if (strstr(output, "history broken: ") == NULL || strstr(output, complaint) == NULL)
        fail_msg("%s was not caught as \"%s\": %s", bug, complaint, output);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

static void
a_worker_that_overwrites_what_changed_is_caught(void **state)
{
    assert_caught("lost-updates", "is not what was written");
}

static void
a_cell_copied_to_another_row_is_caught(void **state)
{
    assert_caught("swapped-cells", "unreadable");
}

static void
an_old_key_that_comes_back_is_caught(void **state)
{
    assert_caught("no-fence", "still under the old key");
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest sqlite[] = {
        cmocka_unit_test(no_value_is_lost_in_place),
        cmocka_unit_test(no_value_is_lost_with_row_binding),
        cmocka_unit_test(no_value_is_lost_with_companions),
        cmocka_unit_test(a_worker_that_overwrites_what_changed_is_caught),
        cmocka_unit_test(a_cell_copied_to_another_row_is_caught),
        cmocka_unit_test(an_old_key_that_comes_back_is_caught),
    };
    const struct CMUnitTest postgresql[] = {
        cmocka_unit_test(no_value_is_lost_on_postgresql),
        cmocka_unit_test(no_value_is_lost_on_postgresql_with_column_binding),
        cmocka_unit_test(no_value_is_lost_on_postgresql_in_place),
    };

    cmocka_set_test_filter(getenv("HISTORY_ONLY"));
    if (readlink("/proc/self/exe", self, sizeof self - 1) <= 0)
        return 1;
    if (argc == 4 && strcmp(argv[1], "planted") == 0)
        return planted(argv[2], argv[3]);
    if (argc == 2 && strcmp(argv[1], "postgresql") == 0)
        return cmocka_run_group_tests(postgresql, NULL, NULL);
    return cmocka_run_group_tests_name("history", sqlite, NULL, NULL);
}
