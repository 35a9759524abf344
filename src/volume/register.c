/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/register.h"

#include "ledger/audit.h"

#include <stdio.h>
#include <string.h>

struct entry {
    struct keyring_database database;
    char line[KEYRING_NAME_MAX];
    const char *who;
    int64_t now_us;
};

static void
line_of(const struct uuid *id, char out[KEYRING_NAME_MAX])
{
    char text[37];

    uuid_format(id, text);
    snprintf(out, KEYRING_NAME_MAX, "volume/%s", text);
}

/* Database record and active key. */
static int
change_enter(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct entry *entry = arg;
    uint32_t key = 0;
    int rc;

    for (size_t i = 0; i < keyring_database_count(kr); i++) {
        const struct keyring_database *known = keyring_database_at(kr, i);

        if (strcmp(known->name, entry->database.name) == 0)
            entry->database = *known;
    }
    line_of(&entry->database.id, entry->line);
    if (keyring_active(kr, KEY_VOLUME, entry->line) != NULL)
        return COFFER_OK;
    rc = keyring_database_put(kr, &entry->database, err);
    if (rc == COFFER_OK)
        rc = keyring_key_add(kr, KEY_VOLUME, entry->line, entry->who, entry->now_us, &key, err);
    if (rc == COFFER_OK)
        rc = keyring_key_used_in(kr, key, &entry->database.id, err);
    if (rc == COFFER_OK)
        rc = keyring_key_move(kr, key, KEY_ACTIVE, entry->now_us, err);
    return rc;
}

int
volume_register(const struct volume_env *env, const char *event, const char *details, struct volume_setup *setup,
                struct keyring **newest, struct coffer_error *err)
{
    struct entry entry = {.who = env->who, .now_us = env->os->now_us(env->os)};
    size_t max = sizeof entry.database.name - sizeof "volume:";
    int rc;

    if (strlen(setup->lower) > max)
        return error_set(err, COFFER_E_LIMIT, "the path of a volume has at most %zu bytes: %.300s", max, setup->lower);
    rc = uuid_new(&entry.database.id, err);
    if (rc != COFFER_OK)
        return rc;
    snprintf(entry.database.name, sizeof entry.database.name, "volume:%.184s", setup->lower);
    snprintf(entry.database.engine, sizeof entry.database.engine, "%s", setup->format->name);
    entry.database.keep_days = 400;
    rc = audit_change(env->store, env->os, env->who, event, details, change_enter, &entry, newest, err);
    if (rc != COFFER_OK)
        return rc;
    setup->in_keyring = true;
    setup->id = entry.database.id;
    memcpy(setup->line, entry.line, sizeof setup->line);
    return COFFER_OK;
}
