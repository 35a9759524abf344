/* SPDX-License-Identifier: Apache-2.0 */
/* The keyring as files, a database as the keyring knows it, heartbeats, and the public host: every
 * allocation fails once. */
#include "base/mem.h"
#include "coffer_host.h"
#include "host/host.h"
#include "kek/kek_open.h"
#include "ledger/audit.h"
#include "support/fault.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64], path[100], kek_uri[100], db_path[100], url[120];
static struct keyring_store *store;
static struct keyring *kr;
static struct host_database *database;
static struct kek *ready; /* made before the seam is armed, for the next try */

static struct kek *
new_kek(void)
{
    static const uint8_t key[32] = {7};
    struct kek *kek = NULL;

    assert_int_equal(kek_key_new(bytes_of(key, sizeof key), &kek, NULL), COFFER_OK);
    return kek;
}

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
setup(void **state)
{
    static const uint8_t key[32] = {7};
    FILE *f;

    strcpy(folder, "/tmp/coffer-host-fault-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/k.coffer", folder);
    snprintf(kek_uri, sizeof kek_uri, "file:%s/kek.bin", folder);
    snprintf(db_path, sizeof db_path, "%s/app.db", folder);
    snprintf(url, sizeof url, "sqlite:%s", db_path);
    assert_int_equal(os_real.write_file(&os_real, kek_uri + strlen("file:"),
                                        bytes_of(key, sizeof key), 0600, true, NULL),
                     COFFER_OK);
    f = fopen(db_path, "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(file_store_init(path, new_kek(), &os_real, "test", NULL), COFFER_OK);
    assert_int_equal(file_store_open(path, new_kek(), &os_real, &store, NULL), COFFER_OK);
    assert_int_equal(store->load(store, &kr, NULL), COFFER_OK);
    assert_int_equal(host_database_open(kr, url, false, NULL, &database, NULL), COFFER_OK);
    assert_int_equal(host_database_adopt(database, NULL), COFFER_OK);
    keyring_free(kr);
    kr = NULL;
    assert_int_equal(keyring_store_edit(store, record, database, &kr, NULL), COFFER_OK);
    host_database_use(database, kr);
    assert_int_equal(host_database_saw(database, NULL, NULL), COFFER_OK);
    ready = new_kek();
    return 0;
}

static int
teardown(void **state)
{
    char command[120];

    kek_close(ready);
    host_database_close(database);
    keyring_free(kr);
    file_store_close(store);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(secret_live_count(), 0);
    return system(command);
}

/* ---- files ---- */

static struct kek *
take_kek(void)
{
    struct kek *kek = ready;

    ready = NULL;
    return kek;
}

/* What a failure leaves is no keyring, or a whole one. */
static int
try_init(void)
{
    char other[120], command[200];
    struct keyring_store *made = NULL;
    struct keyring *loaded = NULL;
    int rc;

    snprintf(other, sizeof other, "%s/other.coffer", folder);
    rc = file_store_init(other, take_kek(), &os_real, "test", NULL);
    mem_set_fault(NULL);
    if (access(other, F_OK) == 0) {
        assert_int_equal(file_store_open(other, new_kek(), &os_real, &made, NULL), COFFER_OK);
        assert_int_equal(made->load(made, &loaded, NULL), COFFER_OK);
        keyring_free(loaded);
        file_store_close(made);
    } else {
        assert_int_not_equal(rc, COFFER_OK);
    }
    snprintf(command, sizeof command, "rm -rf %s*", other);
    assert_int_equal(system(command), 0);
    ready = new_kek();
    return rc;
}

static int
try_load(void)
{
    struct keyring *loaded = NULL;
    int rc = store->load(store, &loaded, NULL);

    assert_int_equal(loaded != NULL, rc == COFFER_OK);
    keyring_free(loaded);
    return rc;
}

/* The file holds the whole old or the whole new content. */
static int
try_edit(void)
{
    struct keyring *newest = NULL, *now = NULL;
    uint64_t before = keyring_epoch(kr);
    int rc = keyring_store_edit(store, record, database, &newest, NULL);

    mem_set_fault(NULL);
    assert_int_equal(newest != NULL, rc == COFFER_OK);
    keyring_free(newest);
    assert_int_equal(store->load(store, &now, NULL), COFFER_OK);
    assert_true(keyring_epoch(now) == before || keyring_epoch(now) == before + 1);
    if (rc == COFFER_OK)
        assert_true(keyring_epoch(now) == before + 1);
    host_database_use(database, now);
    keyring_free(kr);
    kr = now;
    return rc;
}

static int
try_audited_change(void)
{
    struct keyring *now = NULL;
    struct buf log;
    int rc = audit_change(store, &os_real, "test", "note", "{}", NULL, NULL, NULL, NULL);

    mem_set_fault(NULL);
    buf_init(&log, 1 << 20);
    assert_int_equal(store->load(store, &now, NULL), COFFER_OK);
    assert_int_equal(store->audit_read(store, &log, NULL), COFFER_OK);
    assert_int_equal(audit_verify(buf_view(&log), now, NULL, NULL, NULL, NULL, NULL), COFFER_OK);
    buf_wipe(&log);
    host_database_use(database, now);
    keyring_free(kr);
    kr = now;
    return rc;
}

static int
try_escrow(void)
{
    uint32_t id = keyring_active(kr, KEY_FIELD, "main")->id;
    struct keyring *alone = NULL;
    struct buf file, again;
    int rc = keyring_extract(kr, id, NULL, &alone, NULL);

    buf_init(&file, KEYRING_FILE_MAX);
    buf_init(&again, KEYRING_FILE_MAX);
    if (rc == COFFER_OK)
        rc = keyring_encode(alone, &file, NULL);
    if (rc == COFFER_OK)
        rc = store->escrow_put(store, id, buf_view(&file), NULL);
    if (rc == COFFER_OK)
        rc = store->escrow_get(store, id, &again, NULL);
    if (rc == COFFER_OK)
        assert_true(bytes_equal(buf_view(&file), buf_view(&again)));
    if (rc == COFFER_OK)
        rc = store->escrow_remove(store, id, NULL);
    keyring_free(alone);
    buf_wipe(&file);
    buf_wipe(&again);
    return rc;
}

static int
try_certificate(void)
{
    struct buf again;
    int rc = store->certificate_put(store, "digest", bytes_str("a certificate"), NULL);

    buf_init(&again, 1000);
    if (rc == COFFER_OK)
        rc = store->certificate_get(store, "digest", &again, NULL);
    assert_int_equal(again.len, rc == COFFER_OK ? 13 : 0);
    buf_wipe(&again);
    return rc;
}

static int
try_open_store(void)
{
    struct keyring_store *other = NULL;
    int rc = file_store_open(path, take_kek(), &os_real, &other, NULL);

    mem_set_fault(NULL);
    ready = new_kek();
    assert_int_equal(other != NULL, rc == COFFER_OK);
    file_store_close(other);
    return rc;
}

/* ---- database and heartbeats ---- */

static int
try_database(void)
{
    struct host_database *other = NULL;
    int rc = host_database_open(kr, url, false, NULL, &other, NULL);

    assert_int_equal(other != NULL, rc == COFFER_OK);
    if (other != NULL)
        assert_true(other->registered && !other->restored);
    host_database_close(other);
    return rc;
}

static int
try_adopt(void)
{
    return host_database_adopt(database, NULL);
}

static int
try_saw(void)
{
    return host_database_saw(database, NULL, NULL);
}

static const struct heartbeat BEAT = {.client = "web@host:1",
                                      .role = "web",
                                      .epoch = 3,
                                      .at_us = 5,
                                      .use = {{.key_id = 9, .seals = 1, .opens = 2}},
                                      .use_count = 1};

static int
try_beat(void)
{
    return heartbeat_write(&database->journal, &BEAT, NULL);
}

static int
take_beat(void *arg, const struct heartbeat *beat, struct coffer_error *err)
{
    ++*(unsigned *)arg;
    assert_string_equal(beat->client, BEAT.client);
    assert_int_equal(beat->use_count, 1);
    return COFFER_OK;
}

/* A beat that there was no memory to read is no beat that is missing: a gate would open. */
static int
try_beats(void)
{
    unsigned taken = 0;
    int rc = heartbeat_list(&database->journal, take_beat, &taken, NULL);

    assert_int_equal(taken, rc == COFFER_OK);
    return rc;
}

/* ---- the public host ---- */

static int
try_host(void)
{
    const struct coffer_host_options options = {path, kek_uri, "web"};
    struct coffer_host *host = NULL;
    int rc = coffer_host_open(&options, &host, NULL);

    mem_set_fault(NULL); /* its thread runs already */
    assert_int_equal(host != NULL, rc == COFFER_OK);
    coffer_host_close(host);
    return rc;
}

static void
the_keyring_as_files_survives(void **state)
{
    /* Generations that are too many are removed at the next change where it fails at this one. */
    fault_nearly_every_allocation("file_store_init", try_init, 30, 1);
    fault_every_allocation("file_store_open", try_open_store, 1);
    fault_every_allocation("load", try_load, 10);
    fault_nearly_every_allocation("edit", try_edit, 20, 8);
    fault_nearly_every_allocation("audit_change", try_audited_change, 30, 8);
    /* Reading it, whether the file opens is only asked to see if another one should be taken. */
    fault_nearly_every_allocation("escrow", try_escrow, 20, 15);
    fault_every_allocation("certificate", try_certificate, 1);
}

static void
a_database_and_its_clients_survive(void **state)
{
    fault_every_allocation("host_database_open", try_database, 5);
    fault_every_allocation("host_database_adopt", try_adopt, 1);
    fault_every_allocation("host_database_saw", try_saw, 1);
    fault_every_allocation("heartbeat_write", try_beat, 1);
    fault_every_allocation("heartbeat_list", try_beats, 1);
}

static void
the_host_survives(void **state)
{
    fault_every_allocation("coffer_host_open", try_host, 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_keyring_as_files_survives, setup, teardown),
        cmocka_unit_test_setup_teardown(a_database_and_its_clients_survive, setup, teardown),
        cmocka_unit_test_setup_teardown(the_host_survives, setup, teardown),
    };

    return cmocka_run_group_tests_name("host fault", tests, NULL, NULL);
}
