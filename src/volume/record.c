/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/record.h"

#include "base/os.h"
#include "ledger/journal.h"
#include "ledger/json.h"
#include "volume/ecryptfs/ecryptfs.h"

#include <stdio.h>
#include <string.h>

#define TABLE "volume"
#define KEY "record"
#define VERSION 1

static int
record_path(const char *lower, char out[VOLUME_PATH_MAX + 32], struct coffer_error *err)
{
    int n = snprintf(out, VOLUME_PATH_MAX + 32, "%s/%s", lower, VOLUME_RECORD);

    return n > 0 && n < VOLUME_PATH_MAX + 32 ? COFFER_OK
                                             : error_set(err, COFFER_E_LIMIT, "the path %.200s… is too long", lower);
}

static int
read_object(const char *lower, json_t **out, struct coffer_error *err)
{
    char path[VOLUME_PATH_MAX + 32];
    struct coffer_error why = {0};
    struct buf content;
    int rc = record_path(lower, path, err);

    *out = NULL;
    if (rc != COFFER_OK)
        return rc;
    buf_init(&content, VOLUME_RECORD_MAX);
    rc = os_real.read_file(&os_real, path, VOLUME_RECORD_MAX, &content, &why);
    if (rc == COFFER_E_NOTFOUND)
        rc = error_set(err, rc,
                       "%s is no volume of a keyring: it has no %s.  Make one of an empty folder with `coffer volume "
                       "create`, bring a folder of eCryptfs in with `coffer volume import`, or give its --passphrase-file",
                       lower, VOLUME_RECORD);
    else if (rc != COFFER_OK)
        rc = error_set(err, rc, "%s", why.message);
    if (rc == COFFER_OK) {
        rc = json_parse(buf_view(&content), out, &why);
        if (rc != COFFER_OK)
            rc = error_set(err, rc, "%s is damaged: %s", path, why.message);
    }
    buf_wipe(&content);
    return rc;
}

int
volume_record_peek(const char *lower, struct uuid *volume, struct uuid *keyring, struct coffer_error *err)
{
    json_t *object;
    int rc = read_object(lower, &object, err);

    if (rc == COFFER_OK)
        rc = json_get_uuid(object, "volume", volume, err);
    if (rc == COFFER_OK)
        rc = json_get_uuid(object, "keyring", keyring, err);
    json_decref(object);
    return rc;
}

/* ---- the one row of this store is the file, less its MAC and epoch ---- */

struct record_store {
    struct journal_store store; /* first */
    const char *lower;
    json_t *object; /* as it was read, else NULL */
};

static int
row_of(json_t *object, journal_row_fn fn, void *arg, struct coffer_error *err)
{
    struct journal_row row = {.key = KEY};
    uint8_t mac[4 + 32];
    struct buf content;
    json_t *rest;
    int rc = json_get_hex(object, "mac", mac, sizeof mac, err);

    if (rc == COFFER_OK)
        rc = json_get_count(object, "epoch", &row.epoch, err);
    if (rc != COFFER_OK)
        return rc;
    rest = json_copy(object);
    if (rest == NULL)
        return error_nomem(err);
    (void)json_object_del(rest, "mac");
    (void)json_object_del(rest, "epoch");
    buf_init(&content, VOLUME_RECORD_MAX);
    rc = json_canonical(rest, &content, err);
    json_decref(rest);
    if (rc == COFFER_OK) {
        row.content = buf_view(&content);
        row.mac = bytes_of(mac, sizeof mac);
        rc = fn(arg, &row, err);
    }
    buf_wipe(&content);
    return rc;
}

static int
store_get(struct journal_store *store, const char *table, const char *key, journal_row_fn fn, void *arg,
          struct coffer_error *err)
{
    (void)table;
    (void)key;
    return row_of(((struct record_store *)store)->object, fn, arg, err);
}

static int
store_put(struct journal_store *store, const char *table, const struct journal_row *row, uint64_t expect,
          struct coffer_error *err)
{
    struct record_store *s = (struct record_store *)store;
    char path[VOLUME_PATH_MAX + 32];
    struct buf text;
    json_t *object;
    int rc = json_parse(row->content, &object, err);

    (void)table;
    (void)expect;
    if (rc != COFFER_OK)
        return rc;
    buf_init(&text, VOLUME_RECORD_MAX);
    rc = json_put(object, "epoch", json_count(row->epoch), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "mac", json_hex(row->mac), err);
    if (rc == COFFER_OK)
        rc = json_canonical(object, &text, err);
    json_decref(object);
    buf_str(&text, "\n");
    if (rc == COFFER_OK)
        rc = buf_status(&text, err);
    if (rc == COFFER_OK)
        rc = record_path(s->lower, path, err);
    if (rc == COFFER_OK) /* no secret is in it, and whoever may mount must read it */
        rc = os_real.write_file(&os_real, path, buf_view(&text), 0644, false, err);
    buf_wipe(&text);
    return rc;
}

/* ---- reading ---- */

static int
get_flag(const json_t *object, const char *name, bool *out, struct coffer_error *err)
{
    const json_t *value = json_object_get(object, name);

    if (!json_is_boolean(value))
        return error_set(err, COFFER_E_FORMAT, "member \"%s\" is not true or false", name);
    *out = json_is_true(value);
    return COFFER_OK;
}

static int
get_bits(const json_t *object, const char *name, bool zero, unsigned *out, struct coffer_error *err)
{
    uint64_t bits = 0;
    int rc = json_get_count(object, name, &bits, err);

    if (rc == COFFER_OK && bits != 128 && bits != 192 && bits != 256 && !(zero && bits == 0))
        rc = error_set(err, COFFER_E_FORMAT, "member \"%s\" is no key length of AES", name);
    *out = (unsigned)bits;
    return rc;
}

static int
get_rotation(const json_t *object, struct volume_rotation *out, struct coffer_error *err)
{
    const json_t *rotation = json_object_get(object, "rotation");
    uint64_t work = 0;
    uint8_t key[4];
    int rc;

    *out = (struct volume_rotation){0};
    if (rotation == NULL)
        return COFFER_OK;
    if (!json_is_object(rotation))
        return error_set(err, COFFER_E_FORMAT, "member \"rotation\" is no object");
    rc = json_get_count(rotation, "work", &work, err);
    if (rc == COFFER_OK && (work < 1 || work > 2))
        rc = error_set(err, COFFER_E_UNSUPPORTED, "a newer coffer began a rotation of this volume");
    out->work = (unsigned)work;
    if (rc == COFFER_OK)
        rc = json_get_hex(rotation, "to_key", key, sizeof key, err);
    if (rc == COFFER_OK)
        out->to_key = get_be32(key);
    if (rc == COFFER_OK)
        rc = get_flag(rotation, "reversed", &out->reversed, err);
    if (rc == COFFER_OK)
        rc = get_bits(rotation, "former_key_bits", false, &out->former_key_bits, err);
    if (rc == COFFER_OK)
        rc = get_bits(rotation, "former_name_key_bits", true, &out->former_name_key_bits, err);
    if (rc == COFFER_OK)
        rc = get_flag(rotation, "former_encrypt_names", &out->former_encrypt_names, err);
    return rc;
}

/* Of names that a kernel wrote under another cipher than AES; else the member is not there. */
static int
get_cipher(const json_t *object, const char **out, struct coffer_error *err)
{
    const json_t *value = json_object_get(object, "name_cipher");

    *out = value == NULL ? NULL : ecryptfs_cipher_text(json_is_string(value) ? json_string_value(value) : "");
    if (value != NULL && *out == NULL)
        return error_set(err, COFFER_E_UNSUPPORTED, "member \"name_cipher\" is no cipher of eCryptfs");
    return COFFER_OK;
}

static int
take(const json_t *object, struct volume_setup *setup, struct coffer_error *err)
{
    struct volume_options options = {0};
    const char *format = "";
    uint64_t version = 0;
    int rc = json_get_count(object, "version", &version, err);

    if (rc == COFFER_OK && version != VERSION)
        return error_set(err, COFFER_E_UNSUPPORTED, "the record of this volume has version %llu: a newer coffer wrote it",
                         (unsigned long long)version);
    if (rc == COFFER_OK)
        rc = json_get_string(object, "format", &format, err);
    if (rc == COFFER_OK && strcmp(format, volume_ecryptfs.name) != 0)
        return error_set(err, COFFER_E_UNSUPPORTED, "the volume has the format \"%.40s\", which this coffer does not know", format);
    if (rc == COFFER_OK)
        rc = get_bits(object, "key_bits", false, &options.key_bits, err);
    if (rc == COFFER_OK)
        rc = get_bits(object, "name_key_bits", true, &options.name_key_bits, err);
    if (rc == COFFER_OK)
        rc = get_flag(object, "encrypt_names", &options.encrypt_names, err);
    if (rc == COFFER_OK)
        rc = get_flag(object, "xattr_metadata", &options.xattr_metadata, err);
    if (rc == COFFER_OK)
        rc = get_flag(object, "importing", &setup->importing, err);
    if (rc == COFFER_OK)
        rc = get_rotation(object, &setup->rotation, err);
    if (rc == COFFER_OK)
        rc = get_cipher(object, &options.name_cipher, err);
    setup->format = &volume_ecryptfs;
    setup->options = options;
    return rc;
}

int
volume_record_read(const char *lower, const struct keyring *keyring, struct volume_setup *setup, struct coffer_error *err)
{
    struct record_store store = {.store = {.get = store_get}, .lower = lower};
    struct journal journal = {.store = &store.store, .keyring = keyring};
    struct uuid owner, mine = keyring_id(keyring);
    struct buf content;
    json_t *object = NULL;
    int rc;

    rc = read_object(lower, &store.object, err);
    if (rc != COFFER_OK)
        return rc;
    buf_init(&content, VOLUME_RECORD_MAX);
    rc = json_get_uuid(store.object, "keyring", &owner, err);
    if (rc == COFFER_OK && !uuid_equal(&owner, &mine)) {
        char text[37];

        uuid_format(&owner, text);
        rc = error_set(err, COFFER_E_REFUSED, "the volume at %s belongs to another keyring, %s", lower, text);
    }
    if (rc == COFFER_OK)
        rc = json_get_uuid(store.object, "volume", &journal.database, err);
    if (rc == COFFER_OK) {
        rc = journal_get(&journal, TABLE, KEY, &content, &setup->record_epoch, err);
        if (rc == COFFER_E_TAMPERED)
            rc = error_set(err, rc, "%s/%s was edited, or comes from elsewhere: its MAC does not hold", lower, VOLUME_RECORD);
    }
    if (rc == COFFER_OK)
        rc = json_parse(buf_view(&content), &object, err);
    if (rc == COFFER_OK) {
        setup->id = journal.database;
        rc = take(object, setup, err);
    }
    json_decref(object);
    json_decref(store.object);
    buf_wipe(&content);
    return rc;
}

/* ---- writing ---- */

static int
make(const struct volume_setup *setup, const struct keyring *keyring, json_t *object, struct coffer_error *err)
{
    const struct volume_options *o = &setup->options;
    struct uuid owner = keyring_id(keyring);
    json_t *rotation = NULL;
    int rc = json_put(object, "version", json_count(VERSION), err);

    if (rc == COFFER_OK)
        rc = json_put(object, "volume", json_uuid(&setup->id), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "keyring", json_uuid(&owner), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "format", json_string(setup->format->name), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "key_bits", json_count(o->key_bits), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "name_key_bits", json_count(o->name_key_bits), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "encrypt_names", json_boolean(o->encrypt_names), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "xattr_metadata", json_boolean(o->xattr_metadata), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "importing", json_boolean(setup->importing), err);
    if (rc == COFFER_OK && o->name_cipher != NULL)
        rc = json_put(object, "name_cipher", json_string(o->name_cipher), err);
    if (rc == COFFER_OK && setup->rotation.work != 0) {
        rotation = json_pack("{s:i, s:o, s:b, s:i, s:i, s:b}", "work", (int)setup->rotation.work, "to_key",
                             json_key_id(setup->rotation.to_key), "reversed", setup->rotation.reversed, "former_key_bits",
                             (int)setup->rotation.former_key_bits, "former_name_key_bits",
                             (int)setup->rotation.former_name_key_bits, "former_encrypt_names",
                             setup->rotation.former_encrypt_names);
        rc = json_put(object, "rotation", rotation, err);
    }
    return rc;
}

int
volume_record_write(struct volume_setup *setup, const struct keyring *keyring, struct coffer_error *err)
{
    struct record_store store = {.store = {.put = store_put}, .lower = setup->lower};
    struct journal journal = {.store = &store.store, .keyring = keyring, .database = setup->id};
    struct coffer_error why = {0};
    struct buf content;
    json_t *object = NULL;
    uint64_t found = 0;
    int rc = read_object(setup->lower, &object, &why);

    if (rc == COFFER_OK)
        rc = json_get_count(object, "epoch", &found, &why);
    json_decref(object);
    if (rc != COFFER_OK && rc != COFFER_E_NOTFOUND)
        return error_set(err, rc, "%s", why.message);
    if (found != setup->record_epoch)
        return error_set(err, COFFER_E_CONFLICT, "another command changed the volume at %s meanwhile; try again", setup->lower);
    object = json_object();
    if (object == NULL)
        return error_nomem(err);
    buf_init(&content, VOLUME_RECORD_MAX);
    rc = make(setup, keyring, object, err);
    if (rc == COFFER_OK)
        rc = json_canonical(object, &content, err);
    if (rc == COFFER_OK)
        rc = journal_put(&journal, TABLE, KEY, buf_view(&content), setup->record_epoch, err);
    if (rc == COFFER_OK)
        setup->record_epoch++;
    json_decref(object);
    buf_wipe(&content);
    return rc;
}
