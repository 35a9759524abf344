/* SPDX-License-Identifier: Apache-2.0 */
/* A database as the keyring knows it: rows "database" and "seen" of working table meta.
 *
 *   no row "database"                    a name that the keyring knows: lost, to be recovered; else
 * new another keyring's                    REFUSED MAC does not hold, or "seen" is gone TAMPERED
 *   "seen" is newer than the keyring     ROLLBACK
 *   else                                 registered if the keyring has a record of the id
 */
#include "base/mem.h"
#include "crypto/crypto.h"
#include "host/host.h"
#include "ledger/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define RANDOM_MAX 64

struct meta { /* row "database" */
    struct uuid database, keyring;
    char random[RANDOM_MAX];
};
struct seen { /* row "seen" */
    struct uuid keyring;
    uint64_t epoch;
    json_t *keys;
};

/* ---- the rows ---- */

static int
meta_read(struct bytes text, struct meta *out, struct coffer_error *err)
{
    json_t *object = NULL;
    const char *random = "";
    int rc = json_parse(text, &object, err);

    memset(out, 0, sizeof *out);
    if (rc == COFFER_OK)
        rc = json_get_uuid(object, "database", &out->database, err);
    if (rc == COFFER_OK)
        rc = json_get_uuid(object, "keyring", &out->keyring, err);
    if (rc == COFFER_OK)
        rc = json_get_string(object, "random", &random, err);
    if (rc == COFFER_OK && strlen(random) >= sizeof out->random)
        rc = error_set(err, COFFER_E_FORMAT, "member \"random\" is too long");
    if (rc == COFFER_OK)
        memcpy(out->random, random, strlen(random) + 1);
    json_decref(object);
    return rc;
}

static int
meta_put(struct host_database *d, const char *random, uint64_t expect, struct coffer_error *err)
{
    struct uuid keyring = keyring_id(d->journal.keyring);
    json_t *object = json_object();
    struct buf text;
    int rc = object == NULL ? error_nomem(err) : COFFER_OK;

    buf_init(&text, LEDGER_JSON_MAX);
    if (rc == COFFER_OK)
        rc = json_put(object, "database", json_uuid(&d->id), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "keyring", json_uuid(&keyring), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "random", json_string(random), err);
    if (rc == COFFER_OK)
        rc = json_canonical(object, &text, err);
    if (rc == COFFER_OK)
        rc = journal_put(&d->journal, "meta", "database", buf_view(&text), expect, err);
    buf_wipe(&text);
    json_decref(object);
    return rc;
}

static int
seen_read(struct bytes text, struct seen *out, struct coffer_error *err)
{
    json_t *object = NULL;
    int rc = json_parse(text, &object, err);

    memset(out, 0, sizeof *out);
    if (rc == COFFER_OK)
        rc = json_get_uuid(object, "keyring", &out->keyring, err);
    if (rc == COFFER_OK)
        rc = json_get_count(object, "epoch", &out->epoch, err);
    if (rc == COFFER_OK) {
        out->keys = json_incref(json_object_get(object, "keys"));
        if (!json_is_array(out->keys))
            rc = error_set(err, COFFER_E_FORMAT, "member \"keys\" is missing or no list");
    }
    json_decref(object);
    if (rc != COFFER_OK) {
        json_decref(out->keys);
        out->keys = NULL;
    }
    return rc;
}

static int
seen_put(struct host_database *d, uint64_t expect, struct coffer_error *err)
{
    const struct keyring *kr = d->journal.keyring;
    struct uuid id = keyring_id(kr);
    json_t *object = json_object(), *keys = json_array();
    struct buf text;
    int rc = object == NULL || keys == NULL ? error_nomem(err) : COFFER_OK;
    size_t i;

    buf_init(&text, LEDGER_JSON_MAX);
    for (i = 0; rc == COFFER_OK && i < keyring_key_count(kr); i++) {
        if (json_array_append_new(keys, json_key_id(keyring_key_at(kr, i)->id)) != 0)
            rc = error_nomem(err);
    }
    if (rc == COFFER_OK)
        rc = json_put(object, "epoch", json_count(keyring_epoch(kr)), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "keyring", json_uuid(&id), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "keys", json_incref(keys), err);
    if (rc == COFFER_OK)
        rc = json_canonical(object, &text, err);
    if (rc == COFFER_OK)
        rc = journal_put(&d->journal, "meta", "seen", buf_view(&text), expect, err);
    buf_wipe(&text);
    json_decref(keys);
    json_decref(object);
    return rc;
}

/* ---- checks ---- */

/* An older keyring, or one of two that were changed apart from the same file. */
static int
seen_check(const struct keyring *kr, const struct seen *seen, struct coffer_error *err)
{
    const json_t *item;
    size_t i;

    if (seen->epoch > keyring_epoch(kr))
        return error_set(err, COFFER_E_ROLLBACK,
                         "this keyring is at epoch %" PRIu64 ", the database has seen %" PRIu64
                         ": an older file is in use. Use the newest keyring",
                         keyring_epoch(kr), seen->epoch);
    json_array_foreach(seen->keys, i, item)
    {
        uint8_t id[4];
        size_t len = 0;

        if (!json_is_string(item) || !hex_decode(bytes_str(json_string_value(item)), id, 4, &len) ||
            len != 4)
            return error_set(err, COFFER_E_FORMAT,
                             "row \"seen\" holds something that is no key id");
        if (keyring_key(kr, get_be32(id)) == NULL)
            return error_set(
                err, COFFER_E_ROLLBACK,
                "the database has seen key %08x, which this keyring never had: two copies of the "
                "keyring were changed apart. Use the one with that key",
                (unsigned)get_be32(id));
    }
    return COFFER_OK;
}

static int
gone(struct coffer_error *err, const char *what)
{
    return error_set(
        err, COFFER_E_TAMPERED,
        "%s. Restore Coffer's working table meta; or delete its rows \"database\" and \"seen\": "
        "the database is then recovered by the next coffer rotate",
        what);
}

static int
check_seen_row(struct host_database *d, struct coffer_error *err)
{
    struct coffer_error why = {0};
    struct seen seen = {0};
    struct buf text;
    uint64_t epoch;
    int rc;

    buf_init(&text, LEDGER_JSON_MAX);
    rc = journal_get(&d->journal, "meta", "seen", &text, &epoch, &why);
    if (rc == COFFER_E_NOTFOUND)
        rc = gone(err, "row \"seen\" of Coffer's working table meta is gone");
    else if (rc == COFFER_E_TAMPERED)
        rc = gone(err, why.message);
    else if (rc != COFFER_OK)
        error_set(err, rc, "%s", why.message);
    if (rc == COFFER_OK)
        rc = seen_read(buf_view(&text), &seen, err);
    if (rc == COFFER_OK)
        rc = seen_check(d->journal.keyring, &seen, err);
    json_decref(seen.keys);
    buf_wipe(&text);
    return rc;
}

static int
refuse_foreign(const struct keyring *kr, const struct uuid *theirs, struct coffer_error *err)
{
    struct uuid mine = keyring_id(kr);
    char a[37], b[37];

    uuid_format(theirs, a);
    uuid_format(&mine, b);
    return error_set(err, COFFER_E_REFUSED,
                     "this database belongs to keyring %s, not to keyring %s: use its own", a, b);
}

/* A record of ours copied from one database into another would give it the other's columns and
 * phases: the name, which the operator gives, tells. */
static int
check_name(const struct host_database *d, struct coffer_error *err)
{
    const struct keyring *kr = d->journal.keyring;
    const struct keyring_database *record = keyring_database(kr, &d->id);
    size_t i;

    if (record == NULL || strcmp(record->name, d->name) == 0)
        return COFFER_OK;
    for (i = 0; i < keyring_database_count(kr); i++) {
        const struct keyring_database *other = keyring_database_at(kr, i);

        if (strcmp(other->name, d->name) == 0)
            return error_set(
                err, COFFER_E_TAMPERED,
                "%s bears the working rows of %s: they were copied, or the files were exchanged. "
                "Put its own back",
                d->name, record->name);
    }
    return COFFER_OK; /* moved or renamed */
}

static int
set_incarnation(struct host_database *d, const char *random, struct coffer_error *err)
{
    char engine[DB_NAME_MAX];
    int rc = db_incarnation(d->db, engine, err);

    if (rc == COFFER_OK && (size_t)snprintf(d->incarnation, sizeof d->incarnation, "%s/%s", engine,
                                            random) >= sizeof d->incarnation)
        rc = error_set(err, COFFER_E_LIMIT, "the incarnation of %s is too long", d->name);
    return rc;
}

void
host_database_use(struct host_database *d, const struct keyring *keyring)
{
    const struct keyring_database *record = keyring_database(keyring, &d->id);

    d->journal.keyring = keyring;
    d->registered = record != NULL;
    d->restored = record != NULL && (d->lost || strcmp(record->incarnation, d->incarnation) != 0);
}

/* The raw row, so that it can be said whose it is before its MAC is judged. */
struct raw {
    bool found;
    uint32_t mac_key;
    struct meta meta;
    bool readable;
};

static int
take_raw(void *arg, const struct journal_row *row, struct coffer_error *err)
{
    struct raw *raw = arg;

    raw->found = true;
    raw->mac_key = row->mac.len >= 4 ? get_be32(row->mac.ptr) : 0;
    raw->readable = meta_read(row->content, &raw->meta, NULL) == COFFER_OK;
    return COFFER_OK;
}

static int
read_meta_row(struct host_database *d, struct raw *raw, struct coffer_error *err)
{
    struct coffer_error why = {0};
    struct uuid mine = keyring_id(d->journal.keyring);
    struct buf text;
    uint64_t epoch;
    int rc = d->rows->get(d->rows, "meta", "database", take_raw, raw, err);

    if (rc != COFFER_OK || !raw->found)
        return rc;
    if (raw->readable && !uuid_equal(&raw->meta.keyring, &mine) &&
        keyring_key(d->journal.keyring, raw->mac_key) == NULL)
        return refuse_foreign(d->journal.keyring, &raw->meta.keyring, err);
    if (!raw->readable)
        return gone(err, "row \"database\" of Coffer's working table meta was edited");

    d->id = d->journal.database = raw->meta.database;
    buf_init(&text, LEDGER_JSON_MAX);
    rc = journal_get(&d->journal, "meta", "database", &text, &epoch, &why);
    if (rc == COFFER_OK)
        rc = meta_read(buf_view(&text), &raw->meta, err);
    else if (rc == COFFER_E_TAMPERED)
        rc = gone(err, why.message);
    else
        error_set(err, rc, "%s", why.message);
    buf_wipe(&text);
    return rc;
}

static int
read_identity(struct host_database *d, struct coffer_error *err)
{
    const struct keyring *kr = d->journal.keyring;
    struct raw raw = {0};
    bool present = false;
    size_t i;
    int rc = db_catalog_present(d->db, &present, err);

    if (rc == COFFER_OK && present)
        rc = read_meta_row(d, &raw, err);
    if (rc != COFFER_OK)
        return rc;
    if (raw.found) {
        rc = check_seen_row(d, err);
        if (rc == COFFER_OK)
            rc = check_name(d, err);
        return rc == COFFER_OK ? set_incarnation(d, raw.meta.random, err) : rc;
    }
    /* The keyring is believed: a database of a name that it knows is that database, restored from
     * before its first protect, or robbed of its working rows. */
    for (i = 0; i < keyring_database_count(kr); i++) {
        const struct keyring_database *record = keyring_database_at(kr, i);

        if (strcmp(record->name, d->name) == 0) {
            d->id = d->journal.database = record->id;
            d->lost = true;
        }
    }
    return set_incarnation(d, "", err);
}

int
host_database_open(const struct keyring *keyring, const char *url, bool allow_password,
                   const struct db_options *options, struct host_database **out,
                   struct coffer_error *err)
{
    struct host_database *d = mem_alloc(sizeof *d);
    int rc;

    *out = NULL;
    if (d == NULL)
        return error_nomem(err);
    db_url_display(url, d->name, sizeof d->name);
    d->journal.keyring = keyring;
    rc = db_open(url, allow_password, options, &d->db, err);
    if (rc == COFFER_OK)
        rc = journal_db_new(d->db, &d->rows, err);
    if (rc == COFFER_OK) {
        d->journal.store = d->rows;
        rc = read_identity(d, err);
    }
    if (rc != COFFER_OK) {
        host_database_close(d);
        return rc;
    }
    host_database_use(d, keyring);
    *out = d;
    return COFFER_OK;
}

int
host_database_open_newest(struct keyring_store *store, struct keyring **keyring, const char *url,
                          bool allow_password, const struct db_options *options,
                          struct host_database **out, struct coffer_error *err)
{
    for (;;) {
        struct keyring *newest = NULL;
        int rc = host_database_open(*keyring, url, allow_password, options, out, err);

        /* A keyring that somebody has just replaced looks like a roll-back, or a restore. */
        if (rc != COFFER_E_ROLLBACK && (rc != COFFER_OK || !(*out)->restored))
            return rc;
        if (store->load(store, &newest, NULL) != COFFER_OK)
            return rc;
        if (keyring_epoch(newest) <= keyring_epoch(*keyring)) {
            keyring_free(newest);
            return rc;
        }
        host_database_close(*out);
        *out = NULL;
        keyring_free(*keyring);
        *keyring = newest;
    }
}

void
host_database_close(struct host_database *d)
{
    if (d == NULL)
        return;
    journal_db_free(d->rows);
    db_close(d->db);
    mem_free(d);
}

/* ---- writing ---- */

static int
new_random(char out[33], struct coffer_error *err)
{
    uint8_t raw[16];
    int rc = random_nonce(raw, sizeof raw, err);

    if (rc == COFFER_OK)
        hex_encode(bytes_of(raw, sizeof raw), out);
    return rc;
}

static int
install_rows(struct host_database *d, const char *random, struct coffer_error *err)
{
    int rc = db_begin(d->db, DB_TXN_WRITE, err);

    if (rc != COFFER_OK)
        return rc;
    /* Of a lost database row "seen" may still be there: both are ours to write. */
    rc = journal_remove(&d->journal, "meta", "seen", err);
    if (rc == COFFER_OK)
        rc = meta_put(d, random, 0, err);
    if (rc == COFFER_OK)
        rc = seen_put(d, 0, err);
    if (rc == COFFER_OK)
        rc = db_commit(d->db, err);
    else
        db_rollback(d->db);
    return rc;
}

int
host_database_adopt(struct host_database *d, struct coffer_error *err)
{
    const struct keyring *kr = d->journal.keyring;
    struct uuid id = d->id;
    struct raw raw = {0};
    char random[33];
    int rc;

    rc = db_catalog_install(d->db, err);
    if (rc == COFFER_OK)
        rc = read_meta_row(d, &raw, err);
    if (rc != COFFER_OK || raw.found)
        return rc;

    if (uuid_zero(&id))
        rc = uuid_new(&id, err);
    if (rc == COFFER_OK)
        rc = new_random(random, err);
    if (rc != COFFER_OK)
        return rc;
    d->id = d->journal.database = id;
    rc = install_rows(d, random, err);
    if (rc == COFFER_E_CONFLICT) { /* somebody adopted it at the same time: theirs stands */
        rc = read_meta_row(d, &raw, err);
        if (rc == COFFER_OK && !raw.found)
            return error_set(err, COFFER_E_CONFLICT,
                             "%s is being prepared by another process: try again", d->name);
        if (rc == COFFER_OK)
            rc = set_incarnation(d, raw.meta.random, err);
    } else if (rc == COFFER_OK) {
        rc = set_incarnation(d, random, err);
    }
    if (rc == COFFER_OK)
        host_database_use(d, kr); /* a lost one stays "restored" until it was recovered */
    return rc;
}

/* What was seen only grows; somebody who wrote a newer epoch meanwhile did our work. */
static int
write_seen(struct host_database *d, struct coffer_error *err)
{
    struct seen seen = {0};
    struct buf text;
    uint64_t epoch = 0;
    int rc, tries;

    buf_init(&text, LEDGER_JSON_MAX);
    for (tries = 0;; tries++) {
        rc = journal_get(&d->journal, "meta", "seen", &text, &epoch, err);
        if (rc == COFFER_OK)
            rc = seen_read(buf_view(&text), &seen, err);
        if (rc == COFFER_OK && seen.epoch >= keyring_epoch(d->journal.keyring))
            break;
        if (rc == COFFER_OK)
            rc = seen_put(d, epoch, err);
        json_decref(seen.keys);
        seen.keys = NULL;
        if (rc != COFFER_E_CONFLICT || tries == 5)
            break;
    }
    json_decref(seen.keys);
    buf_wipe(&text);
    return rc;
}

int
host_database_saw(struct host_database *d, const char *renew, struct coffer_error *err)
{
    struct buf text;
    uint64_t epoch = 0;
    int rc = COFFER_OK;

    if (renew != NULL && (renew[0] == '\0' || strlen(renew) >= RANDOM_MAX))
        return error_set(err, COFFER_E_MISUSE, "the random part of an incarnation is 1 to %d bytes",
                         RANDOM_MAX - 1);
    if (d->lost)
        rc = host_database_adopt(d, err);
    buf_init(&text, LEDGER_JSON_MAX);
    if (rc == COFFER_OK && renew != NULL) {
        rc = journal_get(&d->journal, "meta", "database", &text, &epoch, err);
        if (rc == COFFER_OK)
            rc = meta_put(d, renew, epoch, err);
        if (rc == COFFER_OK)
            rc = set_incarnation(d, renew, err);
        if (rc == COFFER_OK) {
            d->lost = false;
            host_database_use(d, d->journal.keyring);
        }
    }
    buf_wipe(&text);
    return rc == COFFER_OK ? write_seen(d, err) : rc;
}
