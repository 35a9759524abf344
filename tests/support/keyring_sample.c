/* SPDX-License-Identifier: Apache-2.0 */
#include "support/keyring_sample.h"

#include "keyring/internal.h"
#include "support/test.h"

#include <stdio.h>
#include <string.h>

#define PASSPHRASE "correct horse battery staple"
#define DAY_US 86400000000

struct kek *
keyring_sample_kek(bool passphrase)
{
    uint8_t key[KEK_KEY_LEN];
    struct kek *kek = NULL;
    int rc;

    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)i;
    if (passphrase)
        rc = kek_passphrase_new(bytes_str(PASSPHRASE), &kek, NULL);
    else
        rc = kek_key_new(bytes_of(key, sizeof key), &kek, NULL);
    assert_int_equal(rc, COFFER_OK);
    return kek;
}

static struct uuid
sample_uuid(uint8_t n)
{
    struct uuid id;

    memset(id.b, n, sizeof id.b);
    return id;
}

static void
add_key(struct keyring *kr, uint32_t id, enum key_purpose purpose, enum key_state state,
        uint32_t version)
{
    struct key_entry entry = {
        .key = {.id = id, .purpose = purpose, .state = state, .version = version}};
    uint8_t material[MATERIAL_LEN];
    struct uuid database = sample_uuid(0xd1);

    memset(material, (int)(id & 0xff), sizeof material);
    strcpy(entry.key.line, "main");
    strcpy(entry.key.made_by, "ann@example");
    for (int i = 0; i <= (int)state; i++)
        entry.key.entered_us[i] = i * DAY_US + 1;
    assert_int_equal(secret_copy(bytes_of(material, sizeof material), &entry.material, NULL),
                     COFFER_OK);
    assert_int_equal(key_fingerprint(entry.material, id, entry.key.fingerprint, NULL), COFFER_OK);
    if (key_state_has_material(state) == 0) {
        secret_free(entry.material);
        entry.material = NULL;
    }
    assert_int_equal(list_append(&kr->keys, &entry, NULL), COFFER_OK);
    assert_int_equal(keyring_key_used_in(kr, id, &database, NULL), COFFER_OK);
}

static void
add_records(struct keyring *kr)
{
    struct keyring_column column = {
        .id = sample_uuid(0xc1),
        .database = sample_uuid(0xd1),
        .table = "public.patients",
        .name = "née",
        .companion = "née_sealed",
        .type = COFFER_DATE,
        .binding = COFFER_BIND_ROW,
        .suite = COFFER_SUITE_XAES_COMMIT,
        .phase = COFFER_DUAL,
        .pad = 32,
        .line = "main",
        .sql_type = "date",
        .parts = {{"id", COFFER_INT64}, {"site", COFFER_TEXT}},
        .part_count = 2,
    };
    struct keyring_database database = {
        .id = sample_uuid(0xd1),
        .name = "postgresql://db/clinic",
        .engine = "postgresql",
        .incarnation = "7:1:5",
        .keep_days = 400,
    };
    struct keyring_backup backup = {
        .id = sample_uuid(0xb1),
        .database = sample_uuid(0xd1),
        .label = "nightly",
        .start_us = DAY_US,
        .end_us = 2 * DAY_US,
    };
    struct keyring_certificate certificate = {
        .key_id = SAMPLE_PROVEN_ID,
        .database = sample_uuid(0xd1),
        .digest = {1, 2, 3},
        .proven_us = 5 * DAY_US,
    };
    struct keyring_client client = {.name = "web-1", .declared_us = DAY_US, .waived_epoch = 12};
    struct keyring_waiver waiver = {
        .key_id = 0, .what = "t.comment", .by = "ann", .at_us = -DAY_US};
    uint8_t hash[32] = {0xaa};

    assert_int_equal(keyring_column_put(kr, &column, NULL), COFFER_OK);
    column.id = sample_uuid(0xc2);
    column.retired = true;
    column.text_form = true;
    column.binding = COFFER_BIND_COLUMN;
    column.part_count = 0;
    assert_int_equal(keyring_column_put(kr, &column, NULL), COFFER_OK);
    assert_int_equal(keyring_database_put(kr, &database, NULL), COFFER_OK);
    assert_int_equal(keyring_backup_put(kr, &backup, NULL), COFFER_OK);
    assert_int_equal(keyring_certificate_put(kr, &certificate, NULL), COFFER_OK);
    assert_int_equal(keyring_client_put(kr, &client, NULL), COFFER_OK);
    assert_int_equal(keyring_waiver_put(kr, &waiver, NULL), COFFER_OK);
    keyring_audit_mark_set(kr, 17, hash);
}

struct keyring *
keyring_sample(bool passphrase)
{
    struct kek *kek = keyring_sample_kek(passphrase);
    struct keyring *kr = NULL;
    struct buf params;

    assert_int_equal(keyring_empty_new(&kr, NULL), COFFER_OK);
    kr->id = sample_uuid(0x5a);
    kr->epoch = SAMPLE_EPOCH;
    kr->kek_kind = kek->kind;
    buf_init(&params, KEK_PARAMS_MAX);
    if (passphrase) {
        buf_u8(&params, 1);
        for (uint8_t i = 0; i < 16; i++)
            buf_u8(&params, i);
        buf_be32(&params, ARGON2ID_PASSES_MIN);
        buf_be32(&params, ARGON2ID_KIB_MIN);
    }
    assert_int_equal(keyring_set_params(kr, buf_view(&params), NULL), COFFER_OK);
    assert_int_equal(kek->unlock(kek, buf_view(&params), &kr->root, NULL), COFFER_OK);
    buf_wipe(&params);
    kek_close(kek);

    add_key(kr, SAMPLE_ESCROWED_ID, KEY_FIELD, KEY_ESCROWED, 1);
    add_key(kr, SAMPLE_PROVEN_ID, KEY_FIELD, KEY_PROVEN, 2);
    add_key(kr, SAMPLE_ACTIVE_ID, KEY_FIELD, KEY_ACTIVE, 3);
    add_key(kr, 0x44444444, KEY_CATALOG, KEY_ACTIVE, 1);
    add_key(kr, 0x55555555, KEY_AUDIT, KEY_ACTIVE, 1);
    assert_int_equal(keyring_key_compromise(kr, SAMPLE_ESCROWED_ID, NULL), COFFER_OK);
    add_records(kr);
    return kr;
}
