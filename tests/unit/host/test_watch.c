/* SPDX-License-Identifier: Apache-2.0 */
/* The public host against a real file and a real SQLite database. */
#include "support/test.h"

#include "api/internal.h"
#include "coffer_host.h"
#include "host/host.h"
#include "kek/kek_open.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64], path[128], kek_uri[128], url[160];
static struct keyring_store *store;

static int
record(struct keyring *keyring, void *arg, struct coffer_error *err)
{
    const struct host_database *d = arg;
    struct keyring_database r = {.id = d->id, .keep_days = 400};

    strcpy(r.name, d->name);
    strcpy(r.engine, "sqlite");
    strcpy(r.incarnation, d->incarnation);
    return keyring_database_put(keyring, &r, err);
}

static int
add_key(struct keyring *kr, void *arg, struct coffer_error *err)
{
    uint32_t id;

    return keyring_key_add(kr, KEY_FIELD, "main", "tester", 1, &id, err);
}

static struct kek *
open_kek(void)
{
    struct kek *kek;

    assert_int_equal(kek_open(kek_uri, &os_real, NULL, NULL, &kek, NULL), COFFER_OK);
    return kek;
}

static int
setup(void **state)
{
    struct host_database *d;
    struct keyring *kr;
    sqlite3 *db;
    bool made;

    strcpy(folder, "/tmp/coffer-watch-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/k.coffer", folder);
    snprintf(kek_uri, sizeof kek_uri, "file:%s/kek.bin", folder);
    snprintf(url, sizeof url, "sqlite:%s/d.db", folder);
    assert_int_equal(sqlite3_open(url + 7, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE t(a)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(kek_prepare(kek_uri, &os_real, &made, NULL), COFFER_OK);
    assert_int_equal(file_store_init(path, open_kek(), &os_real, "tester", NULL), COFFER_OK);
    assert_int_equal(file_store_open(path, open_kek(), &os_real, &store, NULL), COFFER_OK);
    assert_int_equal(store->load(store, &kr, NULL), COFFER_OK);
    assert_int_equal(host_database_open(kr, url, false, NULL, &d, NULL), COFFER_OK);
    assert_int_equal(host_database_adopt(d, NULL), COFFER_OK);
    assert_int_equal(keyring_store_edit(store, record, d, NULL, NULL), COFFER_OK);
    host_database_close(d);
    keyring_free(kr);
    return 0;
}

static int
teardown(void **state)
{
    char command[128];

    file_store_close(store);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static struct coffer_host *
open_host(void)
{
    const struct coffer_host_options options = {path, kek_uri, "web"};
    struct coffer_error err = {0};
    struct coffer_host *host;

    if (coffer_host_open(&options, &host, &err) != COFFER_OK)
        fail_msg("%s", err.message);
    return host;
}

struct beats {
    struct heartbeat last;
    size_t count;
};
static int
take_beat(void *arg, const struct heartbeat *beat, struct coffer_error *err)
{
    struct beats *beats = arg;

    beats->last = *beat;
    beats->count++;
    return COFFER_OK;
}

static struct beats
beats_now(void)
{
    struct beats beats = {0};
    struct host_database *d;
    struct keyring *kr;
    int rc;

    assert_int_equal(store->load(store, &kr, NULL), COFFER_OK);
    assert_int_equal(host_database_open(kr, url, false, NULL, &d, NULL), COFFER_OK);
    rc = heartbeat_list(&d->journal, take_beat, &beats, NULL);
    assert_true(rc == COFFER_OK || rc == COFFER_E_CONFLICT);
    host_database_close(d);
    keyring_free(kr);
    return beats;
}

static void
a_new_keyring_is_in_use_and_shown_within_a_second(void **state)
{
    struct coffer_host *host = open_host();
    struct coffer_error err = {0};
    uint8_t id[16];
    uint64_t before = coffer_epoch(coffer_host_coffer(host));
    int64_t began;

    if (coffer_host_attach(host, url, id, &err) != COFFER_OK)
        fail_msg("%s", err.message);
    assert_int_equal(coffer_host_attach(host, url, id, NULL), COFFER_OK);
    assert_int_equal(keyring_store_edit(store, add_key, NULL, NULL, NULL), COFFER_OK);
    began = os_real.monotonic_ms(&os_real);
    while (coffer_epoch(coffer_host_coffer(host)) == before) {
        assert_true(os_real.monotonic_ms(&os_real) - began < 1000);
        os_real.sleep_ms(&os_real, 10);
    }
    while (beats_now().last.epoch != before + 1) {
        assert_true(os_real.monotonic_ms(&os_real) - began < 4000);
        os_real.sleep_ms(&os_real, 10);
    }
    assert_string_equal(beats_now().last.role, "web");
    assert_false(beats_now().last.leaving);
    coffer_host_close(host);
    assert_true(beats_now().last.leaving);
    assert_int_equal(beats_now().count, 1);
}

static void
a_keyring_that_is_gone_or_older_shows_in_health(void **state)
{
    struct coffer_host *host;
    struct coffer_error err = {0};
    struct buf old;
    int64_t began = os_real.monotonic_ms(&os_real);

    buf_init(&old, KEYRING_FILE_MAX);
    assert_int_equal(os_real.read_file(&os_real, path, KEYRING_FILE_MAX, &old, NULL), COFFER_OK);
    assert_int_equal(keyring_store_edit(store, add_key, NULL, NULL, NULL), COFFER_OK);
    host = open_host();
    assert_int_equal(coffer_host_health(host, NULL), COFFER_OK);
    assert_int_equal(os_real.write_file(&os_real, path, buf_view(&old), 0600, false, NULL),
                     COFFER_OK);
    while (coffer_host_health(host, &err) != COFFER_E_ROLLBACK) {
        assert_true(os_real.monotonic_ms(&os_real) - began < 5000);
        os_real.sleep_ms(&os_real, 10);
    }
    assert_int_equal(unlink(path), 0);
    while (coffer_host_health(host, &err) != COFFER_E_NOTFOUND) {
        assert_true(os_real.monotonic_ms(&os_real) - began < 5000);
        os_real.sleep_ms(&os_real, 10);
    }
    coffer_host_close(host);
    buf_wipe(&old);
}

/* The lease of COFFER_LEASE_MS, its clock put back instead of waiting: what the host cannot see it
 * does not confirm, and an application that lost sight of the keyring seals no more. */
static void
a_keyring_out_of_sight_stops_sealing_when_the_lease_is_over(void **state)
{
    struct coffer_host *host = open_host();
    struct coffer *coffer = coffer_host_coffer(host);
    int64_t began = os_real.monotonic_ms(&os_real);
    char away[140];

    snprintf(away, sizeof away, "%s.away", path);
    assert_int_equal(coffer_seal(coffer, NULL, 0, NULL), COFFER_OK);
    assert_int_equal(rename(path, away), 0);
    while (coffer_host_health(host, NULL) != COFFER_E_NOTFOUND) {
        assert_true(os_real.monotonic_ms(&os_real) - began < 5000);
        os_real.sleep_ms(&os_real, 10);
    }
    atomic_fetch_sub(&coffer->confirmed_ms, COFFER_LEASE_MS - 10000);
    assert_int_equal(coffer_seal(coffer, NULL, 0, NULL), COFFER_OK);
    atomic_fetch_sub(&coffer->confirmed_ms, 10001);
    assert_int_equal(coffer_seal(coffer, NULL, 0, NULL), COFFER_E_STALE);
    os_real.sleep_ms(&os_real, 600); /* it has looked again, and seen nothing */
    assert_int_equal(coffer_seal(coffer, NULL, 0, NULL), COFFER_E_STALE);
    assert_int_equal(rename(away, path), 0);
    while (coffer_seal(coffer, NULL, 0, NULL) != COFFER_OK) {
        assert_true(os_real.monotonic_ms(&os_real) - began < 10000);
        os_real.sleep_ms(&os_real, 10);
    }
    coffer_host_close(host);
}

struct rows {
    char names[16][KEYRING_NAME_MAX];
    size_t count;
};

static int
take_name(void *arg, const struct heartbeat *beat, struct coffer_error *err)
{
    struct rows *rows = arg;

    memcpy(rows->names[rows->count++], beat->client, sizeof beat->client);
    return COFFER_OK;
}

static void
leave_row(struct journal *journal, const char *client, const char *role, uint64_t epoch,
          int64_t at_us, uint32_t used)
{
    struct heartbeat beat = {
        .epoch = epoch, .at_us = at_us, .use = {{used, 1, 1}}, .use_count = used != 0};

    strcpy(beat.client, client);
    strcpy(beat.role, role);
    assert_int_equal(heartbeat_write(journal, &beat, NULL), COFFER_OK);
}

static int
declare_batch(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct keyring_client client = {.name = "batch", .declared_us = 1};

    return keyring_client_put(kr, &client, err);
}

static bool
has(const struct rows *rows, const char *name)
{
    for (size_t i = 0; i < rows->count; i++) {
        if (strcmp(rows->names[i], name) == 0)
            return true;
    }
    return false;
}

/* What a gate or a proof may still ask for is kept: see heartbeat_prune(). */
static void
rows_of_clients_long_gone_are_cleared_away_but_not_what_counts(void **state)
{
    const int64_t now = os_real.now_us(&os_real), old = now - 2 * (int64_t)HEARTBEAT_KEPT_MS * 1000;
    struct coffer_host *host;
    struct host_database *d;
    struct keyring *kr;
    struct rows rows;
    int64_t began = os_real.monotonic_ms(&os_real);
    uint32_t staged = 0;
    uint8_t id[16];

    assert_int_equal(keyring_store_edit(store, add_key, NULL, NULL, NULL), COFFER_OK);
    assert_int_equal(keyring_store_edit(store, declare_batch, NULL, &kr, NULL), COFFER_OK);
    for (size_t i = 0; i < keyring_key_count(kr); i++) {
        if (keyring_key_at(kr, i)->state == KEY_STAGED)
            staged = keyring_key_at(kr, i)->id;
    }
    assert_int_equal(host_database_open(kr, url, false, NULL, &d, NULL), COFFER_OK);
    leave_row(&d->journal, "web@a:1", "web", 2, old, 0);
    leave_row(&d->journal, "web@a:2", "web", 2, now, 0);
    leave_row(&d->journal, "web@a:3", "web", 2, old, staged);
    leave_row(&d->journal, "web@a:4", "web", 2, old, keyring_active(kr, KEY_FIELD, "main")->id);
    leave_row(&d->journal, "batch@a:5", "batch", 1, old + 5, 0);
    leave_row(&d->journal, "batch@a:6", "batch", 2, old, 0);
    host = open_host();
    assert_int_equal(coffer_host_attach(host, url, id, NULL), COFFER_OK);
    do {
        memset(&rows, 0, sizeof rows);
        (void)!heartbeat_list(&d->journal, take_name, &rows, NULL);
        assert_true(os_real.monotonic_ms(&os_real) - began < 10000);
        os_real.sleep_ms(&os_real, 20);
    } while (rows.count != 4); /* the host's own among them */
    assert_true(has(&rows, "web@a:2"));
    assert_true(has(&rows, "web@a:3"));
    assert_true(has(&rows, "batch@a:6"));
    coffer_host_close(host);
    host_database_close(d);
    keyring_free(kr);
}

static void
an_escrow_file_is_no_keyring(void **state)
{
    struct coffer_host_options options = {NULL, kek_uri, "web"};
    struct keyring *kr, *escrow;
    struct coffer_host *host;
    struct coffer_error err = {0};
    char other[160];
    struct buf file;
    uint32_t id;

    assert_int_equal(keyring_store_edit(store, add_key, NULL, &kr, NULL), COFFER_OK);
    id = keyring_key_at(kr, keyring_key_count(kr) - 1)->id;
    assert_int_equal(keyring_extract(kr, id, NULL, &escrow, NULL), COFFER_OK);
    buf_init(&file, KEYRING_FILE_MAX);
    assert_int_equal(keyring_encode(escrow, &file, NULL), COFFER_OK);
    snprintf(other, sizeof other, "%s/one.key", folder);
    assert_int_equal(os_real.write_file(&os_real, other, buf_view(&file), 0600, false, NULL),
                     COFFER_OK);
    options.keyring = other;
    assert_int_equal(coffer_host_open(&options, &host, &err), COFFER_E_FORMAT);
    assert_non_null(strstr(err.message, "escrow file"));

    /* nor may one be put in the place of the keyring in use */
    host = open_host();
    assert_int_equal(os_real.write_file(&os_real, path, buf_view(&file), 0600, false, NULL),
                     COFFER_OK);
    for (int64_t began = os_real.monotonic_ms(&os_real);
         coffer_host_health(host, &err) != COFFER_E_FORMAT;) {
        assert_true(os_real.monotonic_ms(&os_real) - began < 5000);
        os_real.sleep_ms(&os_real, 10);
    }
    assert_non_null(strstr(err.message, "escrow file"));
    coffer_host_close(host);
    buf_wipe(&file);
    keyring_free(escrow);
    keyring_free(kr);
}

static void
a_database_that_the_keyring_does_not_know_is_not_attached(void **state)
{
    struct coffer_host *host = open_host();
    struct coffer_error err = {0};
    char other[160];
    uint8_t id[16];
    sqlite3 *db;

    snprintf(other, sizeof other, "sqlite:%s/other.db", folder);
    assert_int_equal(sqlite3_open(other + 7, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE t(a)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(coffer_host_attach(host, other, id, &err), COFFER_E_NOTFOUND);
    coffer_host_close(host);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_new_keyring_is_in_use_and_shown_within_a_second, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_keyring_out_of_sight_stops_sealing_when_the_lease_is_over,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_keyring_that_is_gone_or_older_shows_in_health, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            rows_of_clients_long_gone_are_cleared_away_but_not_what_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(an_escrow_file_is_no_keyring, setup, teardown),
        cmocka_unit_test_setup_teardown(a_database_that_the_keyring_does_not_know_is_not_attached,
                                        setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
