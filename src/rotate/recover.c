/* SPDX-License-Identifier: Apache-2.0 */
/* A database that was restored or copied: its old keys come back from escrow, its records are
 * parked, and the rotation that follows drains, fences and proves them again. */
#include "base/mem.h"
#include "rotate/machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A run that died between the keyring's acceptance of a new incarnation and the database's: no
 * restore. */
static int
interrupted_finish(struct session *s, bool *finished, struct coffer_error *err)
{
    const struct keyring_database *record = keyring_database(s->keyring, &s->database->id);
    const char *slash = record != NULL ? strrchr(record->incarnation, '/') : NULL;
    struct rotation r = {0};
    struct coffer_error ignored;
    int rc = COFFER_OK;

    *finished = false;
    if (slash == NULL || rotation_load(&s->database->journal, slash + 1, &r, &ignored) != COFFER_OK)
        return COFFER_OK;
    if (r.step == STEP_DONE) {
        rc = host_database_saw(s->database, slash + 1, err);
        s->database->restored = rc != COFFER_OK;
        *finished = rc == COFFER_OK;
    }
    rotation_free(&r);
    return rc;
}

static int
park_open(struct session *s, struct coffer_error *err)
{
    int rc = COFFER_OK;

    while (rc == COFFER_OK) {
        struct rotation r;

        rc = rotation_find_open(&s->database->journal, 0, NULL, &r, err);
        if (rc == COFFER_E_NOTFOUND)
            return COFFER_OK;
        if (rc != COFFER_OK)
            return rc;
        rc = rotation_enter(s, &r, STEP_ABORTED, err);
        rotation_free(&r);
    }
    return rc;
}

struct import_arg {
    const struct keyring *from;
};

static int
change_import(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct import_arg *import = arg;
    size_t count = 0;

    return keyring_import(kr, import->from, &count, err);
}

struct reopen {
    uint32_t key_id;
    int64_t now_us;
};

static int
change_reopen(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct reopen *reopen = arg;
    const struct keyring_key *key = keyring_key(kr, reopen->key_id);
    int rc = keyring_certificate_drop(kr, reopen->key_id, err);

    if (rc == COFFER_OK && (key->state == KEY_FENCED || key->state == KEY_PROVEN))
        rc = keyring_key_move(kr, reopen->key_id, KEY_DRAINING, reopen->now_us, err);
    return rc;
}

static int
bring_back(struct session *s, uint32_t key_id, struct coffer_error *err)
{
    const struct keyring_key *key = keyring_key(s->keyring, key_id);
    struct reopen reopen = {.key_id = key_id, .now_us = s->env->os->now_us(s->env->os)};
    struct keyring *escrowed = NULL;
    struct import_arg import;
    struct buf content;
    int rc = COFFER_OK;

    if (key == NULL)
        return error_set(
            err, COFFER_E_KEY,
            "the restored data is sealed under key %08x, which this keyring never held; import it "
            "with coffer keyring import",
            key_id);
    if (key->state == KEY_DESTROYED)
        return error_set(
            err, COFFER_E_KEY,
            "the restored data is sealed under key %08x, which was destroyed: it cannot be read",
            key_id);
    if (key->state == KEY_ESCROWED) {
        buf_init(&content, KEYRING_FILE_MAX);
        rc = s->env->store->escrow_get(s->env->store, key_id, &content, err);
        if (rc == COFFER_OK)
            rc = keyring_decode_again(buf_view(&content), s->keyring, &escrowed, err);
        import.from = escrowed;
        if (rc == COFFER_OK)
            rc = session_change(s, "key.import", NULL, change_import, &import, err);
        keyring_free(escrowed);
        buf_wipe(&content);
        if (rc == COFFER_OK)
            say(s->env, ROTATE_NOTE, "recover", "key %08x is back from escrow", key_id);
    }
    key = keyring_key(s->keyring, key_id); /* the keyring was replaced */
    if (rc == COFFER_OK && key->state != KEY_ACTIVE)
        rc = session_change(s, "key.reopen", NULL, change_reopen, &reopen, err);
    return rc;
}

static int
bring_back_all(struct session *s, struct coffer_error *err)
{
    struct column_count *counts = NULL;
    struct uuid *ids = NULL;
    size_t n = 0, i, k;
    int rc = columns_resolve(s, NULL, 0, &ids, &n, err);

    if (rc == COFFER_OK)
        rc = count_columns(s, ids, n, &counts, err);
    for (i = 0; rc == COFFER_OK && i < n; i++) {
        for (k = 0; rc == COFFER_OK && k < counts[i].count->key_count; k++) {
            uint32_t id = counts[i].count->keys[k].key_id;
            const struct keyring_key *key = keyring_key(s->keyring, id);

            if (key == NULL || key->state > KEY_DRAINING)
                rc = bring_back(s, id, err);
        }
        if (rc == COFFER_OK && counts[i].count->plaintext > 0)
            rc = error_set(err, COFFER_E_REFUSED,
                           "%" PRIu64 " cells of a protected column are plaintext in the restored "
                           "database: it is from before the "
                           "protect. Run coffer unprotect on a keyring of that time, or protect it "
                           "under a new keyring",
                           counts[i].count->plaintext);
    }
    column_counts_free(counts, rc == COFFER_OK || counts != NULL ? n : 0);
    mem_free(ids);
    return rc;
}

int
recover(struct session *s, struct coffer_error *err)
{
    bool finished = false;
    struct uuid id;
    char random[37];
    int rc = interrupted_finish(s, &finished, err);

    if (rc != COFFER_OK || finished)
        return rc;
    say(s->env, ROTATE_STEP, "recover", "%s was restored or copied since the keyring saw it last",
        s->database->name);
    rc = park_open(s, err);
    if (rc == COFFER_OK)
        rc = bring_back_all(s, err);
    if (rc == COFFER_OK)
        rc = uuid_new(&id, err);
    if (rc != COFFER_OK)
        return rc;
    uuid_format(&id, random);
    rc = incarnation_renew(s, random, err);
    if (rc == COFFER_OK)
        say(s->env, ROTATE_DONE, "recover",
            "every key that the restored data needs is in the keyring; now they are rotated away");
    return rc;
}
