/* SPDX-License-Identifier: Apache-2.0 */
/* Journal, audit log, certificates and guard: every allocation fails once, jansson's too. */
#include "base/mem.h"
#include "ledger/audit.h"
#include "ledger/certificate.h"
#include "ledger/guard.h"
#include "ledger/journal.h"
#include "support/fault.h"
#include "support/memory_store.h"
#include "support/test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct uuid DB = {{1}};
static struct memory_store *memory;
static struct keyring *kr;
static struct buf out, certificate;
static uint8_t public_key[32];

static unsigned json_left; /* allocations of jansson until the one that fails; 0: none does */

static void *
json_alloc(size_t len)
{
    return json_left > 0 && --json_left == 0 ? NULL : malloc(len);
}

/* ---- audit ---- */

static int
add_key(struct keyring *keyring, void *arg, struct coffer_error *err)
{
    uint32_t id;

    return keyring_key_add(keyring, KEY_INDEX, "main", "test", 1, &id, err);
}

/* Whatever failed: the keyring is as it was or as it should be, and a log that is not behind it. */
static int
try_change(void)
{
    struct coffer_error err = {0};
    struct keyring *newest = NULL;
    uint64_t epoch = keyring_epoch(kr);
    int rc = audit_change(&memory->store, &os_real, "tester", "key.add", "{\"n\":1}", add_key, NULL,
                          &newest, NULL);

    json_left = json_left > 0 ? 1000000 : 0; /* what follows is not under test */
    mem_set_fault(NULL);
    assert_int_equal(newest != NULL, rc == COFFER_OK);
    keyring_free(newest);
    keyring_free(kr);
    assert_int_equal(memory->store.load(&memory->store, &kr, NULL), COFFER_OK);
    if (rc == COFFER_OK)
        assert_true(keyring_epoch(kr) == epoch + 1);
    if (audit_verify(buf_view(&memory->audit), kr, NULL, NULL, NULL, NULL, &err) != COFFER_OK)
        fail_msg("after %d: %s\n%s", rc, err.message, buf_cstr(&memory->audit));
    return rc;
}

static int
try_verify(void)
{
    return audit_verify(buf_view(&memory->audit), kr, NULL, NULL, NULL, NULL, NULL);
}

static int
try_accept_loss(void)
{
    int rc;

    buf_clear(&memory->audit);
    rc = audit_accept_loss(&memory->store, &os_real, "tester", NULL);
    return rc;
}

static int
try_public_key(void)
{
    return audit_public_key(kr, public_key, NULL);
}

/* ---- certificate ---- */

static int
try_certificate_write(void)
{
    static const struct certificate_column column = {
        .name = "t.c", .id = {{3}}, .rows = 10, .sealed = 10};
    static const char *const notes[] = {"one", "two"};
    struct certificate c = {.key_id = 0xabcd1234,
                            .database = DB,
                            .columns = &column,
                            .column_count = 1,
                            .notes = notes,
                            .note_count = 2,
                            .accepted = notes,
                            .accepted_count = 1};

    strcpy(c.purpose, "field");
    buf_wipe(&certificate);
    buf_init(&certificate, 1 << 20);
    return certificate_write(&c, kr, &certificate, NULL);
}

static int
try_certificate_verify(void)
{
    uint32_t id = 1;
    int rc = certificate_verify(buf_view(&certificate), public_key, NULL, NULL, &id, NULL);

    assert_int_equal(id, rc == COFFER_OK ? 0xabcd1234 : 0);
    return rc;
}

/* ---- journal, over one row ---- */

struct one_row {
    struct journal_store store;
    struct journal_row row;
    uint8_t content[64], mac[64];
};

static int
one_get(struct journal_store *s, const char *table, const char *key, journal_row_fn fn, void *arg,
        struct coffer_error *err)
{
    return fn(arg, &((struct one_row *)s)->row, err);
}

static int
one_put(struct journal_store *s, const char *table, const struct journal_row *row, uint64_t expect,
        struct coffer_error *err)
{
    struct one_row *one = (struct one_row *)s;

    one->row = *row;
    memcpy(one->content, row->content.ptr, row->content.len);
    memcpy(one->mac, row->mac.ptr, row->mac.len);
    one->row.content.ptr = one->content;
    one->row.mac.ptr = one->mac;
    return COFFER_OK;
}

static int
take_row(void *arg, const struct journal_row *row, struct coffer_error *err)
{
    ++*(unsigned *)arg;
    return COFFER_OK;
}

static struct one_row one = {.store = {.get = one_get, .put = one_put, .list = one_get}};

static int
try_put(void)
{
    struct journal j = {&one.store, kr, DB};

    return journal_put(&j, "chunk", "k", bytes_str("{\"a\":1}"), 4, NULL);
}

static int
try_get(void)
{
    struct journal j = {&one.store, kr, DB};
    uint64_t epoch = 0;
    int rc;

    buf_wipe(&out);
    buf_init(&out, 1000);
    rc = journal_get(&j, "chunk", "k", &out, &epoch, NULL);
    assert_int_equal(out.len, rc == COFFER_OK ? 7 : 0);
    return rc;
}

/* A row is tampered with only if its MAC is wrong, not if there was no memory to check it. */
static int
try_list(void)
{
    struct journal j = {&one.store, kr, DB};
    unsigned taken = 0;
    size_t tampered = 0;
    int rc = journal_list(&j, "chunk", "k", take_row, &taken, &tampered, NULL);

    assert_int_equal(tampered, 0);
    assert_int_equal(taken, rc == COFFER_OK);
    return rc;
}

/* ---- guard ---- */

static int
take_holder(void *arg, const struct guard_holder *holder, struct coffer_error *err)
{
    return COFFER_OK;
}

static int
try_why(void)
{
    size_t count;

    return guard_why(kr, keyring_active(kr, KEY_FIELD, "main")->id, 1, take_holder, NULL, &count,
                     NULL);
}

static const struct {
    const char *name;
    int (*run)(void);
    unsigned least, least_json;
} CASES[] = {{"audit_change", try_change, 20, 10},
             {"audit_verify", try_verify, 1, 20},
             {"audit_public_key", try_public_key, 0, 0},
             {"certificate_write", try_certificate_write, 1, 20},
             {"certificate_verify", try_certificate_verify, 1, 20},
             {"journal_put", try_put, 0, 0},
             {"journal_get", try_get, 0, 0},
             {"journal_list", try_list, 0, 0},
             {"guard_why", try_why, 0, 0},
             {"audit_accept_loss", try_accept_loss, 20, 10}};

static void
every_allocation_failure_is_clean(void **state)
{
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        fault_every_allocation(CASES[i].name, CASES[i].run, CASES[i].least);
}

/* jansson calls some of its own failures bad syntax, so that the status is another; what a failure
 * leaves is the same. */
static void
a_failure_of_the_json_library_is_clean(void **state)
{
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        size_t secrets = secret_live_count();
        unsigned nth;

        for (nth = 1;; nth++) {
            int rc;

            json_left = nth;
            rc = CASES[i].run();
            if (json_left > 0)
                break;
            if (rc == COFFER_OK)
                fail_msg("%s: allocation %u of jansson failed unseen", CASES[i].name, nth);
            assert_int_equal(secret_live_count(), secrets);
        }
        json_left = 0;
        if (nth <= CASES[i].least_json)
            fail_msg("%s: only %u allocations", CASES[i].name, nth - 1);
    }
}

static int
setup(void **state)
{
    json_set_alloc_funcs(json_alloc, free);
    buf_init(&out, 1000);
    buf_init(&certificate, 1 << 20);
    memory = memory_store_new();
    return memory->store.load(&memory->store, &kr, NULL);
}

static int
teardown(void **state)
{
    keyring_free(kr);
    memory_store_free(memory);
    buf_wipe(&out);
    buf_wipe(&certificate);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_allocation_failure_is_clean, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failure_of_the_json_library_is_clean, setup, teardown)};

    return cmocka_run_group_tests_name("ledger fault", tests, NULL, NULL);
}
