/* SPDX-License-Identifier: Apache-2.0 */
#include "support/fault.h"
#include "support/keyring_sample.h"
#include "support/test.h"

#include "base/mem.h"
#include "coffer.h"

#include <string.h>

static struct buf file;
static uint8_t key[32];

static int
make_file(void **state)
{
    struct keyring *kr = keyring_sample(false);
    struct keyring_column column = {.table = "t",
                                    .name = "plain",
                                    .type = COFFER_TEXT,
                                    .binding = COFFER_BIND_ROW,
                                    .suite = COFFER_SUITE_XAES,
                                    .phase = COFFER_SEALED,
                                    .text_form = true,
                                    .line = "main",
                                    .parts = {{"id", COFFER_TEXT}},
                                    .part_count = 1};

    memset(column.id.b, 0xa1, sizeof column.id.b);
    memset(column.database.b, 0xd1, sizeof column.database.b);
    assert_int_equal(keyring_column_put(kr, &column, NULL), COFFER_OK);
    strcpy(column.name, "commit"); /* binary: the message key of suite 2 is an allocation */
    column.id.b[0] = 0xa2;
    column.suite = COFFER_SUITE_XAES_COMMIT;
    column.text_form = false;
    assert_int_equal(keyring_column_put(kr, &column, NULL), COFFER_OK);
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)i;
    buf_init(&file, KEYRING_FILE_MAX);
    assert_int_equal(keyring_encode(kr, &file, NULL), COFFER_OK);
    keyring_free(kr);
    return 0;
}

static int
drop_file(void **state)
{
    buf_wipe(&file);
    return 0;
}

static struct coffer *
open_coffer(void)
{
    struct coffer *coffer = NULL;

    assert_int_equal(coffer_new(file.ptr, file.len, COFFER_KEK_KEY, key, sizeof key, &coffer, NULL),
                     COFFER_OK);
    return coffer;
}

static void
coffer_new_survives_every_failing_allocation(void **state)
{
    struct coffer *coffer;
    unsigned nth;
    int rc;

    for (nth = 1;; nth++) {
        fault_alloc_at(nth);
        rc = coffer_new(file.ptr, file.len, COFFER_KEK_KEY, key, sizeof key, &coffer, NULL);
        if (!fault_fired())
            break;
        assert_int_equal(rc, COFFER_E_NOMEM);
        assert_null(coffer);
        assert_int_equal(secret_live_count(), 0);
    }
    assert_int_equal(rc, COFFER_OK);
    assert_true(nth > 10);
    coffer_free(coffer);
    assert_int_equal(secret_live_count(), 0);
}

static void
a_failed_update_leaves_the_old_content_in_use(void **state)
{
    struct coffer *coffer = open_coffer();
    size_t secrets = secret_live_count();
    unsigned nth;
    int rc;

    for (nth = 1;; nth++) {
        fault_alloc_at(nth);
        rc = coffer_update(coffer, file.ptr, file.len, NULL);
        if (!fault_fired())
            break;
        assert_int_equal(rc, COFFER_E_NOMEM);
        assert_int_equal(secret_live_count(), secrets);
        assert_int_equal(coffer_epoch(coffer), SAMPLE_EPOCH + 1);
    }
    assert_int_equal(rc, COFFER_OK);
    assert_true(nth > 10);
    coffer_free(coffer);
}

/* Long enough that neither the envelope nor the associated data fits on the stack. */
static void
check_column(const char *name, unsigned least)
{
    static uint8_t plain[3000], id[3000], sealed[8000], out[8000], good[8000];
    const struct coffer_value part = {.type = COFFER_TEXT, .data = id, .len = sizeof id};
    const struct coffer_column *column;
    struct coffer_cell cell;
    struct coffer *coffer;
    size_t good_len, i;
    unsigned nth, fired = 0;

    memset(plain, 'p', sizeof plain);
    memset(id, 'i', sizeof id);
    for (nth = 1;; nth++) { /* a new handle each time: its caches are allocations too */
        coffer = open_coffer();
        assert_int_equal(coffer_column_find(coffer, NULL, name, &column, NULL), COFFER_OK);
        cell =
            (struct coffer_cell){.column = column,
                                 .place = {&part, 1},
                                 .value = {.type = COFFER_TEXT, .data = plain, .len = sizeof plain},
                                 .out = sealed,
                                 .out_max = sizeof sealed};
        fault_alloc_at(nth);
        (void)!coffer_seal(coffer, &cell, 1, NULL);
        if (!fault_fired())
            break;
        fired++;
        assert_int_equal(cell.status, COFFER_E_NOMEM);
        assert_null(cell.sealed);
        coffer_free(coffer);
        assert_int_equal(secret_live_count(), 0);
    }
    assert_int_equal(cell.status, COFFER_OK);
    assert_true(fired >= least);
    good_len = cell.sealed_len;
    memcpy(good, cell.sealed, good_len);
    coffer_free(coffer);

    for (nth = 1, fired = 0;; nth++) {
        coffer = open_coffer();
        assert_int_equal(coffer_column_find(coffer, NULL, name, &column, NULL), COFFER_OK);
        memset(out, 0, sizeof out);
        cell = (struct coffer_cell){.column = column,
                                    .place = {&part, 1},
                                    .sealed = good,
                                    .sealed_len = good_len,
                                    .out = out,
                                    .out_max = sizeof out};
        fault_alloc_at(nth);
        (void)!coffer_open(coffer, &cell, 1, NULL);
        if (!fault_fired())
            break;
        fired++;
        assert_int_equal(cell.status, COFFER_E_NOMEM);
        assert_int_equal(cell.value.type, COFFER_NULL);
        for (i = 0; i < sizeof out; i++)
            assert_int_equal(out[i], 0);
        coffer_free(coffer);
        assert_int_equal(secret_live_count(), 0);
    }
    assert_int_equal(cell.status, COFFER_OK);
    assert_int_equal(cell.value.len, sizeof plain);
    assert_true(fired >= least);
    coffer_free(coffer);
}

static void
sealing_and_opening_survive_every_failing_allocation(void **state)
{
    check_column("t.plain", 5);
    check_column("t.commit", 5);
}

/* Once a column's key is prepared, a small value needs no heap at all. */
static void
a_small_value_allocates_nothing(void **state)
{
    const struct coffer_value part = {.type = COFFER_TEXT, .data = (const uint8_t *)"7", .len = 1};
    struct coffer *coffer = open_coffer();
    const struct coffer_column *column;
    uint8_t sealed[400], out[400];
    struct coffer_cell cell = {.place = {&part, 1}, .out = sealed, .out_max = sizeof sealed};

    assert_int_equal(coffer_column_find(coffer, NULL, "t.plain", &column, NULL), COFFER_OK);
    cell.column = column;
    for (int i = 0; i < 2; i++) {
        cell.value = (struct coffer_value){
            .type = COFFER_TEXT, .data = (const uint8_t *)"123-45-6789", .len = 11};
        cell.out = sealed;
        if (i == 1)
            fault_alloc_at(1);
        assert_int_equal(coffer_seal(coffer, &cell, 1, NULL), COFFER_OK);
        cell.out = out;
        assert_int_equal(coffer_open(coffer, &cell, 1, NULL), COFFER_OK);
    }
    assert_false(fault_fired());
    coffer_free(coffer);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coffer_new_survives_every_failing_allocation),
        cmocka_unit_test(a_failed_update_leaves_the_old_content_in_use),
        cmocka_unit_test(sealing_and_opening_survive_every_failing_allocation),
        cmocka_unit_test(a_small_value_allocates_nothing),
    };

    return cmocka_run_group_tests_name("coffer fault", tests, make_file, drop_file);
}
