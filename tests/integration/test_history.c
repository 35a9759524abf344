/* SPDX-License-Identifier: Apache-2.0 */
/* A whole protect and a whole rotation under an application that knows every write
 * (docs/ROTATION.md, "What must be shown"). */
#include "history.h"

#include "rotate/rotate.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct scene {
    char folder[64], keyring[100], db[100], url[110];
    struct keyring_store *store;
    struct rotate_env env;
    struct rotate_options options;
    struct history history;
};

static void
run(struct scene *s, const char *sql)
{
    struct db *db = NULL;

    assert_int_equal(db_open(s->url, false, NULL, &db, NULL), COFFER_OK);
    assert_int_equal(db_run(db, sql, NULL, 0, NULL, NULL), COFFER_OK);
    db_close(db);
}

static void
hear(void *arg, const struct rotate_event *event)
{
    if (event->kind != ROTATE_PROGRESS && getenv("HISTORY_SHOW") != NULL)
        print_message("%s: %s\n", event->step, event->text);
}

static void
protect(struct scene *s, const char *one, const char *two)
{
    struct rotate_column columns[2] = {{.name = one, .binding = -1}, {.name = two, .binding = -1}};
    struct coffer_error err = {0};

    if (rotate_protect(&s->env, columns, two != NULL ? 2 : 1, &s->options, &err) != COFFER_OK)
        fail_msg("protect: %s", err.message);
}

static void
scene_new(struct scene *s)
{
    struct kek *kek = NULL;

    memset(s, 0, sizeof *s);
    strcpy(s->folder, "/tmp/coffer-history-XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    snprintf(s->keyring, sizeof s->keyring, "%s/k.coffer", s->folder);
    snprintf(s->db, sizeof s->db, "%s/app.db", s->folder);
    snprintf(s->url, sizeof s->url, "sqlite:%s", s->db);
    fclose(fopen(s->db, "w"));
    memset(s->history.root, 9, 32);
    assert_int_equal(kek_key_new(bytes_of(s->history.root, 32), &kek, NULL), COFFER_OK);
    assert_int_equal(file_store_init(s->keyring, kek, &os_real, "test", NULL), COFFER_OK);
    assert_int_equal(kek_key_new(bytes_of(s->history.root, 32), &kek, NULL), COFFER_OK);
    assert_int_equal(file_store_open(s->keyring, kek, &os_real, &s->store, NULL), COFFER_OK);
    s->env = (struct rotate_env){
        .store = s->store, .os = &os_real, .who = "test", .url = s->url, .say = hear};
    s->options = (struct rotate_options){.yes = true,
                                         .no_unaware_clients = true,
                                         .settle_set = true,
                                         .settle_ms = 300,
                                         .grace_set = true};
    s->history.url = s->url;
    s->history.keyring_path = s->keyring;
    run(s, "PRAGMA journal_mode=WAL");
    run(s, "CREATE TABLE warm (id INTEGER PRIMARY KEY NOT NULL, note TEXT)");
    run(s, "CREATE TABLE patients (id INTEGER PRIMARY KEY NOT NULL, ssn TEXT, amount INTEGER)");
    protect(s, "warm.note",
            NULL); /* so that keyring and database know each other before the application starts */
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
no_value_is_lost_over_a_protect_and_a_rotation(void **state)
{
    struct coffer_error err = {0};
    struct scene s;
    uint32_t old;

    scene_new(&s);
    history_start(&s.history);
    protect(&s, "patients.ssn", "patients.amount");
    history_verify(&s.history, true, 0);
    old = active_key(&s);
    if (rotate_run(&s.env, NULL, 0, &s.options, &err) != COFFER_OK)
        fail_msg("rotate: %s", err.message);
    assert_int_not_equal(active_key(&s), old);
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_value_is_lost_over_a_protect_and_a_rotation)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
