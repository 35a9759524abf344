/* SPDX-License-Identifier: Apache-2.0 */
/* States of a key: every arrow of the diagram, and that there is no other. */
#include "base/mem.h"
#include "keyring/internal.h"
#include "support/test.h"

#include <string.h>

#define NOW 1700000000000000

static struct keyring *kr;

static int
setup(void **state)
{
    uint8_t key[32] = {7};
    struct kek *kek;

    (void)state;
    assert_int_equal(kek_key_new(bytes_of(key, sizeof key), &kek, NULL), COFFER_OK);
    assert_int_equal(keyring_new(kek, "test", NOW, &kr, NULL), COFFER_OK);
    kek_close(kek);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    keyring_free(kr);
    assert_int_equal(secret_live_count(), 0);
    return 0;
}

static uint32_t
new_key(void)
{
    uint32_t id;

    assert_int_equal(keyring_key_add(kr, KEY_FIELD, "main", "test", NOW, &id, NULL), COFFER_OK);
    return id;
}

static void
move(uint32_t id, enum key_state state)
{
    assert_int_equal(keyring_key_move(kr, id, state, NOW + (int)state, NULL), COFFER_OK);
    assert_int_equal(keyring_key(kr, id)->state, state);
}

static uint32_t
key_in(enum key_state state)
{
    static const enum key_state path[] = {KEY_ACTIVE, KEY_DRAINING, KEY_FENCED,
                                          KEY_PROVEN, KEY_ESCROWED, KEY_DESTROYED};
    uint32_t id = new_key();

    for (size_t i = 0; i < sizeof path / sizeof path[0] && keyring_key(kr, id)->state != state; i++)
        move(id, path[i]);
    return id;
}

static void
a_new_keyring_can_seal_and_prove(void **state)
{
    (void)state;
    assert_int_equal(keyring_epoch(kr), 0);
    assert_int_equal(keyring_key_count(kr), 3);
    assert_non_null(keyring_active(kr, KEY_FIELD, "main"));
    assert_non_null(keyring_active(kr, KEY_CATALOG, "main"));
    assert_non_null(keyring_active(kr, KEY_AUDIT, "main"));
    assert_null(keyring_active(kr, KEY_FIELD, "other"));
    assert_null(keyring_active(kr, KEY_INDEX, "main"));
}

static void
every_allowed_move_works_and_every_other_is_refused(void **state)
{
    static const char *const allowed[] = {"12", "13", "23", "32", "34", "43",
                                          "45", "53", "56", "57", "67"};
    unsigned worked = 0;

    (void)state;
    for (int from = KEY_STAGED; from <= KEY_DESTROYED; from++) {
        for (int to = KEY_STAGED; to <= KEY_DESTROYED; to++) {
            uint32_t id = key_in((enum key_state)from);
            struct coffer_error err = {0};
            bool may = false;
            int rc;

            for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
                may |= allowed[i][0] - '0' == from && allowed[i][1] - '0' == to;
            rc = keyring_key_move(kr, id, (enum key_state)to, NOW + 100, &err);
            assert_int_equal(rc, may ? COFFER_OK : COFFER_E_REFUSED);
            assert_int_equal(keyring_key(kr, id)->state, may ? to : from);
            assert_int_equal(keyring_material(kr, id) != NULL,
                             keyring_key(kr, id)->state <= KEY_PROVEN);
            if (may)
                assert_true(keyring_key(kr, id)->entered_us[to] == NOW + 100);
            else
                assert_true(strlen(err.message) > 10);
            worked += may;
        }
    }
    assert_int_equal(worked, sizeof allowed / sizeof allowed[0]);
}

static void
a_line_never_has_two_active_keys(void **state)
{
    uint32_t first = keyring_active(kr, KEY_FIELD, "main")->id;
    uint32_t second = new_key();

    (void)state;
    move(second, KEY_ACTIVE);
    assert_int_equal(keyring_key(kr, first)->state, KEY_DRAINING);
    move(first, KEY_ACTIVE); /* abort */
    assert_int_equal(keyring_key(kr, second)->state, KEY_DRAINING);
    assert_int_equal(keyring_key(kr, second)->version, 2);
    assert_non_null(keyring_active(kr, KEY_AUDIT, "main")); /* another purpose is another line */
}

static void
a_compromised_key_never_becomes_active(void **state)
{
    uint32_t draining = key_in(KEY_DRAINING);
    uint32_t staged = new_key();

    (void)state;
    assert_int_equal(keyring_key_compromise(kr, draining, NULL), COFFER_OK);
    assert_int_equal(keyring_key_compromise(kr, staged, NULL), COFFER_OK);
    assert_int_equal(keyring_key_move(kr, draining, KEY_ACTIVE, NOW, NULL), COFFER_E_REFUSED);
    assert_int_equal(keyring_key_move(kr, staged, KEY_ACTIVE, NOW, NULL), COFFER_E_REFUSED);
    assert_true(keyring_key(kr, draining)->compromised);
    move(draining, KEY_FENCED); /* retiring it goes on */
}

static void
going_back_to_draining_voids_certificates(void **state)
{
    uint32_t id = key_in(KEY_FENCED);
    uint32_t other = key_in(KEY_FENCED);
    struct keyring_certificate c = {.key_id = id, .database = {{1}}};

    (void)state;
    assert_int_equal(keyring_certificate_put(kr, &c, NULL), COFFER_OK);
    c.key_id = other;
    assert_int_equal(keyring_certificate_put(kr, &c, NULL), COFFER_OK);
    move(id, KEY_PROVEN);
    assert_non_null(keyring_certificate(kr, id, &c.database));
    move(id, KEY_DRAINING);
    assert_null(keyring_certificate(kr, id, &c.database));
    assert_non_null(keyring_certificate(kr, other, &c.database));
}

static void
unknown_keys_and_states_are_errors(void **state)
{
    uint32_t id = new_key();

    (void)state;
    assert_int_equal(keyring_key_move(kr, 0, KEY_ACTIVE, NOW, NULL), COFFER_E_KEY);
    assert_int_equal(keyring_key_move(kr, id, (enum key_state)0, NOW, NULL), COFFER_E_MISUSE);
    assert_int_equal(keyring_key_move(kr, id, (enum key_state)40, NOW, NULL), COFFER_E_MISUSE);
    assert_int_equal(keyring_key_compromise(kr, 0, NULL), COFFER_E_KEY);
    assert_int_equal(keyring_key_add(kr, (enum key_purpose)9, "main", "", NOW, &id, NULL),
                     COFFER_E_MISUSE);
    assert_int_equal(keyring_key_add(kr, KEY_FIELD, "", "", NOW, &id, NULL), COFFER_E_MISUSE);
    assert_int_equal(keyring_key_add(kr, KEY_FIELD, "\xff", "", NOW, &id, NULL), COFFER_E_MISUSE);
}

static void
databases_of_a_key_are_kept_once(void **state)
{
    struct uuid a = {{1}}, b = {{2}}, zero = {{0}};
    uint32_t id = new_key();

    (void)state;
    assert_int_equal(keyring_key_used_in(kr, id, &a, NULL), COFFER_OK);
    assert_int_equal(keyring_key_used_in(kr, id, &b, NULL), COFFER_OK);
    assert_int_equal(keyring_key_used_in(kr, id, &a, NULL), COFFER_OK);
    assert_int_equal(keyring_key_used_in(kr, id, &zero, NULL), COFFER_E_MISUSE);
    assert_int_equal(keyring_key_used_in(kr, 0, &a, NULL), COFFER_E_KEY);
    assert_int_equal(keyring_key(kr, id)->database_count, 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_new_keyring_can_seal_and_prove, setup, teardown),
        cmocka_unit_test_setup_teardown(every_allowed_move_works_and_every_other_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_line_never_has_two_active_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(a_compromised_key_never_becomes_active, setup, teardown),
        cmocka_unit_test_setup_teardown(going_back_to_draining_voids_certificates, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_keys_and_states_are_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(databases_of_a_key_are_kept_once, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
