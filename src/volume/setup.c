/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/setup.h"

#include "base/mem.h"
#include "crypto/crypto.h"
#include "volume/record.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LABEL "coffer/v1/volume/ecryptfs"

int
volume_passphrase(const struct secret *material, uint32_t key_id, struct secret **out, struct coffer_error *err)
{
    uint8_t info[2 + sizeof LABEL - 1 + 4], key[32];
    char hex[2 * sizeof key + 1];
    int rc;

    *out = NULL;
    put_be16(info, sizeof LABEL - 1);
    memcpy(info + 2, LABEL, sizeof LABEL - 1);
    put_be32(info + 2 + sizeof LABEL - 1, key_id);
    rc = hkdf_sha256(secret_expose(material), (struct bytes){0}, bytes_of(info, sizeof info), key, sizeof key, err);
    if (rc == COFFER_OK) {
        hex_encode(bytes_of(key, sizeof key), hex);
        rc = secret_copy(bytes_of(hex, 2 * sizeof key), out, err);
    }
    wipe(key, sizeof key);
    wipe(hex, sizeof hex);
    return rc;
}

/* ---- keys ---- */

static void
keys_wipe(struct volume_key_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        secret_free(set->keys[i].secret);
    *set = (struct volume_key_set){0};
}

/* Put a key at the end; `secret` is copied. */
static int
keys_add(struct volume_key_set *set, const struct volume_key *key, struct coffer_error *err)
{
    struct volume_key copy = *key;
    int rc;

    if (set->count == VOLUME_KEYS_MAX)
        return error_set(err, COFFER_E_LIMIT, "a volume with more than %d keys in use: end its rotations first", VOLUME_KEYS_MAX);
    rc = secret_copy(secret_expose(key->secret), &copy.secret, err);
    if (rc == COFFER_OK)
        set->keys[set->count++] = copy;
    return rc;
}

static int
keys_copy(const struct volume_key_set *from, struct volume_key_set *to, struct coffer_error *err)
{
    int rc = COFFER_OK;

    *to = (struct volume_key_set){0};
    for (size_t i = 0; rc == COFFER_OK && i < from->count; i++)
        rc = keys_add(to, &from->keys[i], err);
    return rc;
}

/* A key of the keyring in the format's form: from those that are known already, or derived. */
static int
key_make(const struct volume_setup *setup, const struct keyring *keyring, uint32_t id, const struct volume_key_set *known,
         struct volume_key_set *to, struct coffer_error *err)
{
    struct volume_key key = {.id = id};
    struct secret *passphrase = NULL;
    int rc;

    for (size_t i = 0; i < known->count; i++)
        if (known->keys[i].id == id)
            return keys_add(to, &known->keys[i], err);
    rc = volume_passphrase(keyring_material(keyring, id), id, &passphrase, err);
    if (rc == COFFER_OK && setup->format->key_set(secret_expose(passphrase), (struct bytes){0}, &key, err) != 0)
        rc = err != NULL && err->status != COFFER_OK ? err->status : COFFER_E_NOMEM;
    secret_free(passphrase);
    if (rc == COFFER_OK) {
        key.id = id;
        rc = keys_add(to, &key, err);
    }
    secret_free(key.secret);
    return rc;
}

/* All keys of the line that open, the active one first. */
static int
keys_take(const struct volume_setup *setup, const struct keyring *keyring, const struct volume_key_set *known,
          struct volume_key_set *out, struct coffer_error *err)
{
    const struct keyring_key *active = keyring_active(keyring, KEY_VOLUME, setup->line);
    int rc;

    *out = (struct volume_key_set){0};
    if (active == NULL || keyring_material(keyring, active->id) == NULL)
        return error_set(err, COFFER_E_KEY, "this keyring holds no active key of the volume at %s", setup->lower);
    rc = key_make(setup, keyring, active->id, known, out, err);
    for (size_t i = 0; rc == COFFER_OK && i < keyring_key_count(keyring); i++) {
        const struct keyring_key *key = keyring_key_at(keyring, i);

        if (key->purpose == KEY_VOLUME && strcmp(key->line, setup->line) == 0 &&
            (key->state == KEY_STAGED || key->state == KEY_DRAINING) && keyring_material(keyring, key->id) != NULL)
            rc = key_make(setup, keyring, key->id, known, out, err);
    }
    if (rc != COFFER_OK)
        keys_wipe(out);
    return rc;
}

/* ---- the forms of names ---- */

/* While names are on their way from one form to another, both are understood. */
static void
set_forms(struct volume_setup *setup)
{
    const struct volume_rotation *from = &setup->rotation;
    struct volume_options *to = &setup->options;
    unsigned now = to->name_key_bits != 0 ? to->name_key_bits : to->key_bits;
    unsigned former = from->former_name_key_bits != 0 ? from->former_name_key_bits : from->former_key_bits;
    bool ciphers = from->former_encrypt_names && (to->name_cipher != NULL || former != now);

    memset(to->former_name_ciphers, 0, sizeof to->former_name_ciphers);
    to->mixed_names = from->work != 0 && from->former_encrypt_names != to->encrypt_names;
    if (from->work != 0 && ciphers)
        to->former_name_ciphers[0] = former == 128 ? "aes-128" : former == 192 ? "aes-192" : "aes-256";
}

/* ---- the folder ---- */

int
volume_lower_find(const char *lower, char out[VOLUME_PATH_MAX], struct coffer_error *err)
{
    char *path = realpath(lower, NULL);
    struct stat st;
    int rc = COFFER_OK;

    if (path == NULL)
        return error_set(err, errno == ENOENT || errno == ENOTDIR ? COFFER_E_NOTFOUND : COFFER_E_IO, "%s: %s", lower,
                         strerror(errno));
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        rc = error_set(err, COFFER_E_NOTFOUND, "%s is no folder", lower);
    else if (strlen(path) >= VOLUME_PATH_MAX)
        rc = error_set(err, COFFER_E_LIMIT, "the path %.200s… is too long", path);
    else
        strcpy(out, path);
    free(path);
    return rc;
}

/* Whether the keyring knows the volume here. */
static int
check_place(const struct volume_setup *setup, const struct keyring *keyring, bool accept_moved, struct coffer_error *err)
{
    const struct keyring_database *database = keyring_database(keyring, &setup->id);
    char name[VOLUME_PATH_MAX + 16];

    if (database == NULL)
        return error_set(err, COFFER_E_NOTFOUND, "the keyring does not know the volume at %s: it may be older than the volume",
                         setup->lower);
    (void)snprintf(name, sizeof name, "volume:%s", setup->lower);
    if (accept_moved || strcmp(database->name, name) == 0)
        return COFFER_OK;
    return error_set(err, COFFER_E_REFUSED,
                     "the keyring knows this volume as %s, not as %s.  If it was moved, say so with --moved; a copy beside "
                     "the original must not be mounted as it",
                     database->name, name);
}

int
volume_setup_load(const char *lower, const struct keyring *keyring, bool accept_moved, struct volume_setup *out,
                  struct coffer_error *err)
{
    struct volume_key_set none = {0};
    char id[37];
    int rc;

    *out = (struct volume_setup){.in_keyring = true};
    rc = volume_lower_find(lower, out->lower, err);
    if (rc == COFFER_OK)
        rc = volume_record_read(out->lower, keyring, out, err);
    if (rc == COFFER_OK) {
        set_forms(out);
        uuid_format(&out->id, id);
        (void)snprintf(out->line, sizeof out->line, "volume/%s", id);
        rc = check_place(out, keyring, accept_moved, err);
    }
    if (rc == COFFER_OK)
        rc = keys_take(out, keyring, &none, &out->keys, err);
    if (rc == COFFER_OK)
        rc = keys_copy(&out->keys, &out->names, err);
    if (rc != COFFER_OK)
        volume_setup_close(out);
    return rc;
}

int
volume_setup_refresh(struct volume_setup *setup, const struct keyring *keyring, struct coffer_error *err)
{
    struct volume_setup fresh = *setup;
    int rc;

    fresh.keys = fresh.names = (struct volume_key_set){0};
    rc = volume_record_read(setup->lower, keyring, &fresh, err);
    if (rc == COFFER_OK && !uuid_equal(&fresh.id, &setup->id))
        rc = error_set(err, COFFER_E_CONFLICT, "the record at %s is another volume's now", setup->lower);
    if (rc == COFFER_OK && fresh.record_epoch < setup->record_epoch)
        rc = error_set(err, COFFER_E_ROLLBACK, "the record at %s is older than it was: a copy was put in its place",
                       setup->lower);
    if (rc == COFFER_OK)
        rc = keys_take(&fresh, keyring, &setup->keys, &fresh.keys, err);
    if (rc == COFFER_OK)
        rc = keys_copy(&fresh.keys, &fresh.names, err);
    if (rc != COFFER_OK) {
        keys_wipe(&fresh.keys);
        keys_wipe(&fresh.names);
        return rc;
    }
    set_forms(&fresh);
    /* What the mount was told, not the record. */
    fresh.options.plain_passthrough = setup->options.plain_passthrough;
    fresh.options.after_crash = setup->options.after_crash;
    keys_wipe(&setup->keys);
    keys_wipe(&setup->names);
    *setup = fresh;
    return COFFER_OK;
}

int
volume_setup_save(struct volume_setup *setup, const struct keyring *keyring, struct coffer_error *err)
{
    int rc = volume_record_write(setup, keyring, err);

    if (rc == COFFER_OK)
        set_forms(setup);
    return rc;
}

void
volume_setup_close(struct volume_setup *setup)
{
    keys_wipe(&setup->keys);
    keys_wipe(&setup->names);
    *setup = (struct volume_setup){0};
}

int
volume_setup_open(const struct volume_setup *setup, struct volume **out, struct coffer_error *err)
{
    struct coffer_error why = {0};
    int rc = setup->format->open(&setup->options, setup->keys.keys, setup->keys.count, setup->names.keys, setup->names.count,
                                 out, &why);

    if (rc == 0)
        return COFFER_OK;
    return error_set(err, why.status != COFFER_OK ? why.status : COFFER_E_NOMEM, "%s: %s", setup->lower, why.message);
}
