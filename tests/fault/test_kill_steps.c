/* SPDX-License-Identifier: Apache-2.0 */
/* kill -9 at each step of a whole protect and a whole rotation, then the same commands again.
 *
 *   test_kill_steps                                        SQLite
 *   pg_cluster.sh run test_kill_steps postgresql           by hand: some minutes
 *
 * A child runs both commands and kills itself at the n-th point: each thing that the machine says,
 * and before and after each write to the keyring, its audit log, its certificates and its escrow.
 * For every n, from a fresh database, the end must be the same: everything sealed under the second
 * key, the first in escrow, nothing open, and every value what it was.
 */
#include "support/test.h"

#include "host/host.h"
#include "ledger/audit.h"
#include "rotate/rotate.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROWS 24

static char folder[64], keyring_path[100], url[160];
static bool postgresql;

static const struct rotate_column COLUMNS[] = {{.name = "people.ssn", .binding = -1},
                                               {.name = "people.amount", .binding = -1}};
static const char *const NAMES[] = {"people.ssn", "people.amount"};

/* ---- points ---- */

static struct shared { /* seen by the parent after the child is gone */
    unsigned count, kill_at;
    char name[120];
} * shared;

static void
point(const char *what, const char *where)
{
    if (shared->kill_at == 0)
        return;
    snprintf(shared->name, sizeof shared->name, "%.30s: %.80s", what, where);
    if (++shared->count == shared->kill_at)
        raise(SIGKILL);
}

static void
say_point(void *arg, const struct rotate_event *event)
{
    point(event->step, event->text);
}

static struct keyring_store *inner;

static int
store_load(struct keyring_store *store, struct keyring **out, struct coffer_error *err)
{
    return inner->load(inner, out, err);
}

static int
store_commit(struct keyring_store *store, struct keyring *kr, struct coffer_error *err)
{
    int rc;

    point("before", "commit");
    rc = inner->commit(inner, kr, err);
    point("after", "commit");
    return rc;
}

static int
store_escrow_put(struct keyring_store *store, uint32_t id, struct bytes content,
                 struct coffer_error *err)
{
    int rc;

    point("before", "escrow put");
    rc = inner->escrow_put(inner, id, content, err);
    point("after", "escrow put");
    return rc;
}

static int
store_escrow_get(struct keyring_store *store, uint32_t id, struct buf *content,
                 struct coffer_error *err)
{
    return inner->escrow_get(inner, id, content, err);
}

static int
store_escrow_remove(struct keyring_store *store, uint32_t id, struct coffer_error *err)
{
    return inner->escrow_remove(inner, id, err);
}

static int
store_audit_append(struct keyring_store *store,
                   int (*make)(void *arg, struct bytes log, struct buf *line,
                               struct coffer_error *err),
                   void *arg, struct coffer_error *err)
{
    int rc;

    point("before", "audit entry");
    rc = inner->audit_append(inner, make, arg, err);
    point("after", "audit entry");
    return rc;
}

static int
store_audit_read(struct keyring_store *store, struct buf *out, struct coffer_error *err)
{
    return inner->audit_read(inner, out, err);
}

static int
store_certificate_put(struct keyring_store *store, const char *name, struct bytes content,
                      struct coffer_error *err)
{
    int rc;

    point("before", "certificate");
    rc = inner->certificate_put(inner, name, content, err);
    point("after", "certificate");
    return rc;
}

static int
store_certificate_get(struct keyring_store *store, const char *name, struct buf *content,
                      struct coffer_error *err)
{
    return inner->certificate_get(inner, name, content, err);
}

static struct keyring_store watched = {.load = store_load,
                                       .commit = store_commit,
                                       .escrow_put = store_escrow_put,
                                       .escrow_get = store_escrow_get,
                                       .escrow_remove = store_escrow_remove,
                                       .audit_append = store_audit_append,
                                       .audit_read = store_audit_read,
                                       .certificate_put = store_certificate_put,
                                       .certificate_get = store_certificate_get};

/* ---- the scene ---- */

static struct kek *
new_kek(void)
{
    static const uint8_t root[32] = {5};
    struct kek *kek = NULL;

    assert_int_equal(kek_key_new(bytes_of(root, sizeof root), &kek, NULL), COFFER_OK);
    return kek;
}

static int64_t
run(const char *sql)
{
    struct coffer_error err = {0};
    struct db_result *result = NULL;
    struct db *db = NULL;
    int64_t n;

    if (db_open(url, false, NULL, &db, &err) != COFFER_OK ||
        db_run(db, sql, NULL, 0, &result, &err) != COFFER_OK)
        fail_msg("%s: %s", sql, err.message);
    n = result->rows == 1 ? result->cells[0].i64 : 0;
    db_result_free(result);
    db_close(db);
    return n;
}

static void
make_tables(void)
{
    if (postgresql) {
        run("DROP SCHEMA IF EXISTS coffer CASCADE");
        run("DROP TABLE IF EXISTS people, twin CASCADE");
        run("CREATE TABLE people (id bigint PRIMARY KEY, ssn text, amount bigint)");
        run("INSERT INTO people SELECT i, CASE WHEN i % 6 = 0 THEN NULL ELSE 'n' || i END, i * i "
            "FROM generate_series(1, 24) i");
    } else {
        fclose(fopen(url + strlen("sqlite:"), "w"));
        run("CREATE TABLE people (id INTEGER PRIMARY KEY, ssn TEXT, amount INTEGER)");
        run("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<24) INSERT INTO "
            "people SELECT i, CASE WHEN i % 6 = 0 THEN NULL ELSE 'n' || i END, i * i FROM n");
    }
    run("CREATE TABLE twin AS SELECT * FROM people");
}

static void
scene_new(void)
{
    strcpy(folder, "/tmp/coffer-steps-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(keyring_path, sizeof keyring_path, "%s/k.coffer", folder);
    if (postgresql)
        snprintf(url, sizeof url, "%s", getenv("COFFER_TEST_PG"));
    else
        snprintf(url, sizeof url, "sqlite:%s/app.db", folder);
    assert_int_equal(file_store_init(keyring_path, new_kek(), &os_real, "test", NULL), COFFER_OK);
    make_tables();
}

static void
scene_free(void)
{
    char command[100];

    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

static const struct rotate_options OPTIONS = {.yes = true,
                                              .no_unaware_clients = true,
                                              .settle_set = true,
                                              .grace_set = true,
                                              .batch_rows = 7,
                                              .throttle.duty = 1};

static struct rotate_env
env_new(void)
{
    assert_int_equal(file_store_open(keyring_path, new_kek(), &os_real, &inner, NULL), COFFER_OK);
    return (struct rotate_env){
        .store = &watched, .os = &os_real, .who = "test", .url = url, .say = say_point};
}

/* ---- the child ---- */

static int
both_commands(void)
{
    struct rotate_env env = env_new();
    struct coffer_error err = {0};
    int rc = rotate_protect(&env, COLUMNS, 2, &OPTIONS, &err);

    if (rc == COFFER_OK)
        rc = rotate_run(&env, NULL, 0, &OPTIONS, &err);
    if (rc != COFFER_OK)
        fprintf(stderr, "%s: %s\n", coffer_status_name(rc), err.message);
    file_store_close(inner);
    return rc;
}

/* True if it was killed, false if it came to its end before. */
static bool
killed_at(unsigned n)
{
    int status = 0;
    pid_t child;

    *shared = (struct shared){.kill_at = n};
    fflush(NULL);
    child = fork();
    if (child == 0)
        _exit(both_commands());
    assert_int_equal(waitpid(child, &status, 0), child);
    shared->kill_at = 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return true;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("the commands failed with %d before they were killed", status);
    return false;
}

/* ---- again, and what must be so ---- */

static uint32_t
active_key(struct keyring **kr)
{
    assert_int_equal(inner->load(inner, kr, NULL), COFFER_OK);
    return keyring_active(*kr, KEY_FIELD, "main")->id;
}

static void
must(int rc, const char *what, const struct coffer_error *err)
{
    if (rc != COFFER_OK)
        fail_msg("killed at %u (%s), then %s: %s: %s", shared->count, shared->name, what,
                 coffer_status_name(rc), err->message);
}

/* Protect always; rotate unless the killed one had come to its end. */
static void
go_on(struct rotate_env *env, uint32_t first)
{
    struct rotate_status *status = NULL;
    struct coffer_error err = {0};
    struct keyring *kr = NULL;
    bool open;

    must(rotate_protect(env, COLUMNS, 2, &OPTIONS, &err), "protect", &err);
    must(rotate_status(env, false, &status, &err), "status", &err);
    open = status->open_count > 0;
    rotate_status_free(status);
    if (open || active_key(&kr) == first)
        must(rotate_run(env, NULL, 0, &OPTIONS, &err), "rotate", &err);
    keyring_free(kr);
}

static void
assert_end_state(struct rotate_env *env, uint32_t first)
{
    struct rotate_status *status = NULL;
    struct coffer_error err = {0};
    struct keyring *kr = NULL;
    uint32_t active = active_key(&kr);
    struct buf log;
    size_t i, keys = 0;

    must(rotate_status(env, true, &status, &err), "status", &err);
    assert_int_not_equal(active, first);
    assert_int_equal(keyring_key(kr, first)->state, KEY_ESCROWED);
    for (i = 0; i < keyring_key_count(kr); i++)
        keys += keyring_key_at(kr, i)->purpose == KEY_FIELD;
    assert_int_equal(keys, 2); /* no key was staged twice */
    assert_int_equal(status->column_count, 2);
    for (i = 0; i < 2; i++) {
        const struct rotate_column_status *c = &status->columns[i];

        assert_int_equal(c->column->phase, COFFER_SEALED);
        assert_int_equal(c->rows, ROWS);
        assert_int_equal(c->plaintext + c->quarantine, 0);
        assert_int_equal(c->key_count, 1);
        assert_int_equal(c->keys[0].key_id, active);
        assert_int_equal(c->keys[0].cells + c->nulls, ROWS);
    }
    assert_int_equal(status->open_count + status->tampered + status->restored, 0);
    rotate_status_free(status);
    buf_init(&log, 4u << 20);
    must(inner->audit_read(inner, &log, &err), "reading the audit log", &err);
    must(audit_verify(buf_view(&log), kr, NULL, NULL, NULL, NULL, &err), "the audit log", &err);
    buf_wipe(&log);
    keyring_free(kr);
    must(rotate_unprotect(env, NAMES, 2, &OPTIONS, &err), "unprotect", &err);
    assert_int_equal(run("SELECT count(*) FROM people p JOIN twin t ON t.id = p.id WHERE p.amount "
                         "= t.amount AND (p.ssn = t.ssn OR (p.ssn IS NULL AND t.ssn IS NULL))"),
                     ROWS);
}

static void
killed_at_any_step_the_end_is_the_same(void **state)
{
    unsigned n;

    for (n = 1;; n++) {
        struct rotate_env env;
        struct keyring *kr = NULL;
        uint32_t first;
        bool killed;

        scene_new();
        env = env_new();
        first = active_key(&kr);
        keyring_free(kr);
        file_store_close(inner);
        killed = killed_at(n);
        env = env_new();
        if (killed)
            go_on(&env, first);
        assert_end_state(&env, first);
        file_store_close(inner);
        scene_free();
        if (!killed)
            break;
    }
    print_message("%u points\n", n - 1);
    assert_true(n > 60);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(killed_at_any_step_the_end_is_the_same)};

    postgresql = argc == 2 && strcmp(argv[1], "postgresql") == 0;
    if (postgresql && getenv("COFFER_TEST_PG") == NULL)
        return 77;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    return cmocka_run_group_tests_name("kill at each step", tests, NULL, NULL);
}
