/* SPDX-License-Identifier: Apache-2.0 */
/* The keyring of a state folder, and what state.db has sealed under it.
 *
 * Credentials are cells of the column state.secret, whose keys are a line of their own, "state", so that a rotation of an
 * application's columns has nothing to do with them.  Each is bound to its row: no credential opens in another database's place.
 */
#include "deploy/internal.h"

#include "base/error.h"
#include "base/mem.h"
#include "field/codec.h"
#include "host/host.h"
#include "kek/kek_open.h"
#include "ledger/audit.h"

#include <stdlib.h>
#include <string.h>

#define LINE "state"

struct snapshot {
    struct keyring *keyring;
    struct codec *codec;
    uint64_t stamp;
    atomic_uint refs;
};

/* ---- first start ---- */

struct enter {
    struct deploy *deploy;
    int64_t now_us;
};

static const struct keyring_column *
state_column(const struct deploy *deploy, const struct keyring *kr)
{
    return keyring_column(kr, &deploy->id, "state", "secret");
}

static int
change_enter(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct enter *enter = arg;
    struct keyring_column column = {.database = enter->deploy->id,
                                    .table = "state",
                                    .name = "secret",
                                    .type = COFFER_TEXT,
                                    .binding = COFFER_BIND_ROW,
                                    .suite = COFFER_SUITE_XAES,
                                    .phase = COFFER_SEALED,
                                    .line = LINE,
                                    .sql_type = "BLOB",
                                    .parts = {{"id", COFFER_TEXT}},
                                    .part_count = 1};
    struct keyring_database database = {
        .id = enter->deploy->id, .engine = "cofferd", .keep_days = 400};
    uint32_t key = 0;
    int rc;

    (void)snprintf(database.name, sizeof database.name, "cofferd:%.180s", enter->deploy->dir);
    rc = uuid_new(&column.id, err);
    if (rc == COFFER_OK)
        rc = keyring_database_put(kr, &database, err);
    if (rc == COFFER_OK && keyring_active(kr, KEY_FIELD, LINE) == NULL) {
        rc = keyring_key_add(kr, KEY_FIELD, LINE, enter->deploy->who, enter->now_us, &key, err);
        if (rc == COFFER_OK)
            rc = keyring_key_used_in(kr, key, &database.id, err);
        if (rc == COFFER_OK)
            rc = keyring_key_move(kr, key, KEY_ACTIVE, enter->now_us, err);
    }
    return rc == COFFER_OK ? keyring_column_put(kr, &column, err) : rc;
}

static int
make_keyring(struct deploy *deploy, struct coffer_error *err)
{
    struct kek *kek = NULL;
    uint64_t stamp = 0;
    bool made;
    int rc = deploy->os->stamp_file(deploy->os, deploy->keyring_path, &stamp, err);

    if (rc != COFFER_OK || stamp != 0)
        return rc;
    rc = kek_prepare(deploy->kek, deploy->os, &made, err);
    if (rc == COFFER_OK)
        rc = kek_open(deploy->kek, deploy->os, NULL, NULL, &kek, err);
    return rc == COFFER_OK
               ? file_store_init(deploy->keyring_path, kek, deploy->os, deploy->who, err)
               : rc;
}

int
keys_open(struct deploy *deploy, struct coffer_error *err)
{
    struct enter enter = {deploy, deploy->os->now_us(deploy->os)};
    struct keyring_store *inner = NULL;
    struct keyring *kr = NULL;
    struct kek *kek = NULL;
    int rc = make_keyring(deploy, err);

    if (rc == COFFER_OK)
        rc = kek_open(deploy->kek, deploy->os, NULL, NULL, &kek, err);
    if (rc == COFFER_OK)
        rc = file_store_open(deploy->keyring_path, kek, deploy->os, &inner, err);
    if (rc == COFFER_OK)
        rc = locked_store_new(inner, &deploy->store, err);
    if (rc != COFFER_OK) {
        file_store_close(inner);
        return rc;
    }
    rc = deploy->store->load(deploy->store, &kr, err);
    if (rc == COFFER_OK && state_column(deploy, kr) == NULL)
        rc = audit_change(deploy->store, deploy->os, deploy->who, "state.create", NULL,
                          change_enter, &enter, NULL, err);
    keyring_free(kr);
    return rc;
}

static void
snapshot_unref(struct snapshot *snapshot)
{
    if (snapshot == NULL || atomic_fetch_sub(&snapshot->refs, 1) != 1)
        return;
    codec_free(snapshot->codec);
    keyring_free(snapshot->keyring);
    mem_free(snapshot);
}

void
keys_close(struct deploy *deploy)
{
    struct keyring_store *locked = deploy->store;

    snapshot_unref(deploy->snapshot);
    deploy->snapshot = NULL;
    deploy->store = NULL;
    if (locked != NULL) {
        struct keyring_store *inner = locked_store_inner(locked);

        locked_store_free(locked);
        file_store_close(inner);
    }
}

struct keyring_store *
deploy_keyring(struct deploy *deploy)
{
    return deploy->store;
}

/* ---- the newest keyring, decoded once ---- */

static int
snapshot_load(struct deploy *deploy, uint64_t stamp, struct snapshot **out,
              struct coffer_error *err)
{
    struct snapshot *snapshot = mem_alloc(sizeof *snapshot);
    int rc;

    *out = NULL;
    if (snapshot == NULL)
        return error_nomem(err);
    atomic_init(&snapshot->refs, 1);
    snapshot->stamp = stamp;
    rc = deploy->store->load(deploy->store, &snapshot->keyring, err);
    if (rc == COFFER_OK)
        rc = codec_new(snapshot->keyring, &snapshot->codec, err);
    if (rc != COFFER_OK) {
        snapshot_unref(snapshot);
        return rc;
    }
    *out = snapshot;
    return COFFER_OK;
}

int
snapshot_take(struct deploy *deploy, struct snapshot **out, struct coffer_error *err)
{
    struct snapshot *newer = NULL;
    uint64_t stamp = 0;
    int rc;

    *out = NULL;
    (void)pthread_mutex_lock(&deploy->keyring_lock);
    rc = deploy->os->stamp_file(deploy->os, deploy->keyring_path, &stamp, err);
    if (rc == COFFER_OK && (deploy->snapshot == NULL || deploy->snapshot->stamp != stamp)) {
        rc = snapshot_load(deploy, stamp, &newer, err);
        if (rc == COFFER_OK) {
            snapshot_unref(deploy->snapshot);
            deploy->snapshot = newer;
        }
    }
    if (rc == COFFER_OK) {
        *out = deploy->snapshot;
        atomic_fetch_add(&deploy->snapshot->refs, 1);
    }
    (void)pthread_mutex_unlock(&deploy->keyring_lock);
    return rc;
}

void
snapshot_give(struct snapshot *snapshot)
{
    snapshot_unref(snapshot);
}

const struct keyring *
snapshot_keyring(const struct snapshot *snapshot)
{
    return snapshot->keyring;
}

/* ---- cells ---- */

static int
cell_begin(struct deploy *deploy, const char *place, struct snapshot **snapshot,
           const struct keyring_column **column, struct coffer_value *part,
           struct coffer_error *err)
{
    int rc = snapshot_take(deploy, snapshot, err);

    if (rc != COFFER_OK)
        return rc;
    *column = state_column(deploy, (*snapshot)->keyring);
    *part = (struct coffer_value){
        .type = COFFER_TEXT, .data = bytes_str(place).ptr, .len = strlen(place)};
    if (*column == NULL)
        return error_set(err, COFFER_E_KEY,
                         "the keyring %s does not know this state folder: is it another folder's?",
                         deploy->keyring_path);
    return COFFER_OK;
}

int
secret_seal_text(struct deploy *deploy, const char *place, const char *text, struct buf *out,
                 struct coffer_error *err)
{
    struct coffer_value value = {.type = COFFER_TEXT,
                                 .data = bytes_str(text).ptr,
                                 .len = strlen(text)},
                        part;
    struct coffer_place where = {&part, 1};
    const struct keyring_column *column = NULL;
    struct snapshot *snapshot = NULL;
    uint8_t cell[512];
    size_t len = 0;
    int rc = cell_begin(deploy, place, &snapshot, &column, &part, err);

    if (rc == COFFER_OK)
        rc = codec_seal(snapshot->codec, column, 0, &where, &value, cell, sizeof cell, &len, err);
    if (rc == COFFER_OK) {
        buf_add(out, cell, len);
        rc = buf_status(out, err);
    }
    snapshot_give(snapshot);
    return rc;
}

int
secret_open_text(struct deploy *deploy, const char *place, struct bytes cell, char *out, size_t max,
                 struct coffer_error *err)
{
    struct coffer_value value = {0}, part;
    struct coffer_place where = {&part, 1};
    const struct keyring_column *column = NULL;
    struct snapshot *snapshot = NULL;
    uint8_t room[512];
    int rc = cell_begin(deploy, place, &snapshot, &column, &part, err);

    out[0] = '\0';
    if (rc == COFFER_OK)
        rc =
            codec_open(snapshot->codec, column, &where, cell, room, sizeof room, &value, NULL, err);
    if (rc == COFFER_OK && (value.type != COFFER_TEXT || value.len >= max))
        rc = error_set(err, COFFER_E_FORMAT, "a credential in state.db is no text, or too long");
    if (rc == COFFER_OK) {
        memcpy(out, value.data, value.len);
        out[value.len] = '\0';
    } else if (err != NULL) {
        (void)error_prefix(err, "the credentials of database %.8s", place);
    }
    wipe(room, sizeof room);
    snapshot_give(snapshot);
    return rc;
}

int
secret_make(const struct os *os, char *out, size_t len, struct coffer_error *err)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    uint8_t byte;
    size_t n = 0;
    int rc;

    while (n < len) {
        rc = os->random(os, &byte, 1, err);
        if (rc != COFFER_OK)
            return rc;
        if (byte < 248) /* 4 times 62: each letter as likely */
            out[n++] = letters[byte % 62];
    }
    out[len] = '\0';
    return COFFER_OK;
}

int
deploy_audit(struct deploy *deploy, const char *who, const char *event, json_t *details,
             struct coffer_error *err)
{
    char *text = details == NULL ? NULL : json_dumps(details, JSON_COMPACT | JSON_SORT_KEYS);
    int rc = audit_change(deploy->store, deploy->os, who, event, text, NULL, NULL, NULL, err);

    free(text);
    json_decref(details);
    return rc;
}
