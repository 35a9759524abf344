/* SPDX-License-Identifier: Apache-2.0 */
/* Keys: made, found, compared, freed.  Their lifecycle is in key_state.c. */
#include "base/mem.h"
#include "crypto/crypto.h"
#include "keyring/internal.h"

#include <string.h>

#define FINGERPRINT_LABEL "coffer/v1/fingerprint"

const char *
key_purpose_name(enum key_purpose purpose)
{
    switch (purpose) {
    case KEY_FIELD:
        return "field";
    case KEY_INDEX:
        return "index";
    case KEY_SUM:
        return "sum";
    case KEY_VOLUME:
        return "volume";
    case KEY_BACKUP:
        return "backup";
    case KEY_CATALOG:
        return "catalog";
    case KEY_AUDIT:
        return "audit";
    }
    return "?";
}

uint8_t
key_algorithm(enum key_purpose purpose)
{
    return purpose == KEY_AUDIT ? 2 : 1;
}

size_t
keyring_key_count(const struct keyring *kr)
{
    return kr->keys.count;
}

const struct keyring_key *
keyring_key_at(const struct keyring *kr, size_t i)
{
    const struct key_entry *entry = list_at(&kr->keys, i);

    return &entry->key;
}

struct key_entry *
keyring_entry(const struct keyring *kr, uint32_t id)
{
    for (size_t i = 0; i < kr->keys.count; i++) {
        struct key_entry *entry = list_at(&kr->keys, i);

        if (entry->key.id == id)
            return entry;
    }
    return NULL;
}

const struct keyring_key *
keyring_key(const struct keyring *kr, uint32_t id)
{
    const struct key_entry *entry = keyring_entry(kr, id);

    return entry == NULL ? NULL : &entry->key;
}

const struct keyring_key *
keyring_active(const struct keyring *kr, enum key_purpose purpose, const char *line)
{
    for (size_t i = 0; i < kr->keys.count; i++) {
        const struct keyring_key *key = keyring_key_at(kr, i);

        if (key->purpose == purpose && key->state == KEY_ACTIVE && strcmp(key->line, line) == 0)
            return key;
    }
    return NULL;
}

const struct secret *
keyring_material(const struct keyring *kr, uint32_t id)
{
    const struct key_entry *entry = keyring_entry(kr, id);

    return entry == NULL ? NULL : entry->material;
}

int
key_fingerprint(const struct secret *material, uint32_t id, uint8_t out[32],
                struct coffer_error *err)
{
    uint8_t id_bytes[4];
    struct bytes parts[2] = {bytes_str(FINGERPRINT_LABEL), {id_bytes, sizeof id_bytes}};

    put_be32(id_bytes, id);
    return hmac_sha256(secret_expose(material), parts, 2, out, err);
}

int
key_entry_copy(const struct key_entry *from, struct key_entry *to, struct coffer_error *err)
{
    int rc;

    *to = *from;
    to->material = NULL;
    to->key.databases = NULL;
    if (from->key.database_count > 0) {
        to->key.databases = mem_array(from->key.database_count, sizeof *to->key.databases);
        if (to->key.databases == NULL) {
            rc = error_nomem(err);
            goto fail;
        }
        memcpy(to->key.databases, from->key.databases,
               from->key.database_count * sizeof *to->key.databases);
    }
    if (from->material != NULL) {
        rc = secret_copy(secret_expose(from->material), &to->material, err);
        if (rc != COFFER_OK)
            goto fail;
    }
    return COFFER_OK;

fail:
    key_entry_wipe(to);
    return rc;
}

void
key_entry_wipe(struct key_entry *entry)
{
    secret_free(entry->material);
    mem_free(entry->key.databases);
    memset(entry, 0, sizeof *entry);
}

uint32_t
key_next_version(const struct keyring *kr, enum key_purpose purpose, const char *line)
{
    uint32_t highest = 0;

    for (size_t i = 0; i < kr->keys.count; i++) {
        const struct keyring_key *key = keyring_key_at(kr, i);

        if (key->purpose == purpose && strcmp(key->line, line) == 0 && key->version > highest)
            highest = key->version;
    }
    return highest + 1;
}

static int
fresh_key_id(const struct keyring *kr, uint32_t *id, struct coffer_error *err)
{
    int rc;

    do {
        rc = random_nonce(id, sizeof *id, err); /* an id is no secret */
        if (rc != COFFER_OK)
            return rc;
    } while (*id == 0 || keyring_entry(kr, *id) != NULL);
    return COFFER_OK;
}

static bool
name_set(char to[KEYRING_NAME_MAX], const char *text)
{
    size_t len = strlen(text);

    if (len >= KEYRING_NAME_MAX)
        return false;
    memcpy(to, text, len + 1);
    return true;
}

int
keyring_key_add(struct keyring *kr, enum key_purpose purpose, const char *line, const char *made_by,
                int64_t now_us, uint32_t *id, struct coffer_error *err)
{
    struct key_entry entry = {.key = {.purpose = purpose, .state = KEY_STAGED}};
    const char *problem;
    int rc;

    *id = 0;
    if (!name_set(entry.key.line, line) || !name_set(entry.key.made_by, made_by))
        return error_set(err, COFFER_E_MISUSE,
                         "a key's line and maker are names of at most %d bytes",
                         KEYRING_NAME_MAX - 1);
    entry.key.version = key_next_version(kr, purpose, line);
    entry.key.entered_us[0] = now_us;
    entry.key.entered_us[KEY_STAGED] = now_us;
    rc = fresh_key_id(kr, &entry.key.id, err);
    if (rc != COFFER_OK)
        return rc;
    problem = key_problem(&entry.key);
    if (problem != NULL)
        return error_set(err, COFFER_E_MISUSE, "new key: %s", problem);

    rc = random_secret(MATERIAL_LEN, &entry.material, err);
    if (rc != COFFER_OK)
        goto out;
    rc = key_fingerprint(entry.material, entry.key.id, entry.key.fingerprint, err);
    if (rc != COFFER_OK)
        goto out;
    rc = list_append(&kr->keys, &entry, err);
    if (rc != COFFER_OK)
        goto out;
    *id = entry.key.id;
    entry.material = NULL;

out:
    secret_free(entry.material);
    return rc;
}

int
keyring_key_used_in(struct keyring *kr, uint32_t id, const struct uuid *database,
                    struct coffer_error *err)
{
    struct key_entry *entry = keyring_entry(kr, id);
    struct keyring_key *key;
    struct uuid *databases;

    if (entry == NULL)
        return error_set(err, COFFER_E_KEY, "no key %08x in the keyring", id);
    if (uuid_zero(database))
        return error_set(err, COFFER_E_MISUSE, "key %08x: a database id is never zero", id);
    key = &entry->key;
    for (size_t i = 0; i < key->database_count; i++) {
        if (uuid_equal(&key->databases[i], database))
            return COFFER_OK;
    }
    if (key->database_count >= KEY_DATABASES_MAX)
        return error_set(err, COFFER_E_LIMIT, "key %08x is used in %zu databases already", id,
                         key->database_count);
    databases = mem_grow(key->databases, (key->database_count + 1) * sizeof *databases);
    if (databases == NULL)
        return error_nomem(err);
    databases[key->database_count] = *database;
    key->databases = databases;
    key->database_count++;
    return COFFER_OK;
}
