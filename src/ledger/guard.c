/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/guard.h"

#include "ledger/json.h"

#include <stdio.h>
#include <string.h>

#define KEEP_DAYS_DEFAULT 400
#define DAY_US (INT64_C(86400) * 1000000)

struct guard {
    const struct keyring *keyring;
    const struct keyring_key *key;
    int64_t now_us;
    guard_holder_fn fn;
    void *arg;
    size_t count;
};

static bool
used_in(const struct keyring_key *key, const struct uuid *database)
{
    size_t i;

    for (i = 0; i < key->database_count; i++) {
        if (uuid_equal(&key->databases[i], database))
            return true;
    }
    return false;
}

bool
guard_backup_needs(const struct keyring *keyring, const struct keyring_backup *backup,
                   const struct keyring_key *key)
{
    const struct keyring_certificate *certificate;

    if (!used_in(key, &backup->database))
        return false;
    /* Clocks are coarse and a snapshot begins before its first byte: equal instants count as need.
     */
    certificate = keyring_certificate(keyring, key->id, &backup->database);
    if (certificate != NULL && certificate->proven_us < backup->start_us)
        return false;
    return backup->end_us == 0 || key->entered_us[0] <= backup->end_us;
}

static void
name_of(char out[KEYRING_NAME_MAX + 16], const char *kind, const char *name, const struct uuid *id)
{
    char text[37];

    if (strlen(kind) + 1 + strlen(name) >= KEYRING_NAME_MAX) {
        uuid_format(id, text);
        name = text;
    }
    snprintf(out, KEYRING_NAME_MAX + 16, "%s:%s", kind, name);
}

static bool
waived(const struct guard *g, const char *name)
{
    size_t i;

    for (i = 0; name[0] != '\0' && i < keyring_waiver_count(g->keyring); i++) {
        const struct keyring_waiver *w = keyring_waiver_at(g->keyring, i);

        if ((w->key_id == 0 || w->key_id == g->key->id) && strcmp(w->what, name) == 0)
            return true;
    }
    return false;
}

static int
tell(struct guard *g, struct guard_holder *holder, struct coffer_error *err)
{
    holder->waived = waived(g, holder->name);
    if (!holder->waived)
        g->count++;
    return g->fn == NULL ? COFFER_OK : g->fn(g->arg, holder, err);
}

static int
state_holder(struct guard *g, struct coffer_error *err)
{
    struct guard_holder holder = {.kind = "state"};

    if (g->key->state == KEY_PROVEN || g->key->state == KEY_ESCROWED ||
        g->key->state == KEY_DESTROYED)
        return COFFER_OK;
    snprintf(holder.text, sizeof holder.text,
             "key %08x is %s: live data may be under it. It is released by a rotation of line %s "
             "that ends "
             "with its proof: coffer %srotate",
             (unsigned)g->key->id, key_state_name(g->key->state), g->key->line,
             g->key->purpose == KEY_VOLUME ? "volume " : "");
    return tell(g, &holder, err);
}

static const char *
database_name(const struct guard *g, const struct uuid *id, char text[37], uint32_t *keep_days)
{
    const struct keyring_database *database = keyring_database(g->keyring, id);

    *keep_days = database == NULL ? KEEP_DAYS_DEFAULT : database->keep_days;
    if (database != NULL && database->name[0] != '\0')
        return database->name;
    uuid_format(id, text);
    return text;
}

/* Without its certificate a database may hold the key; with it, the retention promise runs. */
static int
database_holder(struct guard *g, const struct uuid *id, struct coffer_error *err)
{
    const struct keyring_certificate *certificate = keyring_certificate(g->keyring, g->key->id, id);
    struct guard_holder holder = {.kind = "promise"};
    char id_text[37], when[LEDGER_TIME_LEN], key_text[10];
    uint32_t keep_days;
    const char *name = database_name(g, id, id_text, &keep_days);
    bool volume = g->key->purpose == KEY_VOLUME;

    snprintf(key_text, sizeof key_text, " %08x", (unsigned)g->key->id);
    if (certificate == NULL) {
        snprintf(holder.kind, sizeof holder.kind, "database");
        name_of(holder.name, "database", name, id);
        snprintf(holder.text, sizeof holder.text,
                 "database %s could have used key %08x and has no certificate that it does not any "
                 "more. It "
                 "is released by: coffer %s %s%.9s",
                 name, (unsigned)g->key->id, volume ? "volume rotate" : "prove",
                 volume && strncmp(name, "volume:", 7) == 0 ? name + 7 : name,
                 volume ? "" : key_text);
        return tell(g, &holder, err);
    }
    holder.until_us = certificate->proven_us + (int64_t)keep_days * DAY_US;
    if (g->now_us >= holder.until_us)
        return COFFER_OK;
    name_of(holder.name, "promise", name, id);
    ledger_time(holder.until_us, when);
    snprintf(holder.text, sizeof holder.text,
             "backups of %s that nobody registered may exist for %u days after the proof, until "
             "%s. A shorter "
             "promise is given by: coffer backup policy %s --keep DAYSd",
             name, (unsigned)keep_days, when, name);
    return tell(g, &holder, err);
}

static int
backup_holder(struct guard *g, const struct keyring_backup *backup, struct coffer_error *err)
{
    struct guard_holder holder = {.kind = "backup"};
    char id_text[37], start[LEDGER_TIME_LEN], end[LEDGER_TIME_LEN] = "now (it is open)";
    uint32_t keep_days;
    const char *database = database_name(g, &backup->database, id_text, &keep_days);

    if (backup->expired_us != 0 || !guard_backup_needs(g->keyring, backup, g->key))
        return COFFER_OK;
    name_of(holder.name, "backup", backup->label, &backup->id);
    ledger_time(backup->start_us, start);
    if (backup->end_us != 0)
        ledger_time(backup->end_us, end);
    snprintf(holder.text, sizeof holder.text,
             "backup \"%s\" of %s (from %s to %s) holds %s under key %08x. When that backup is "
             "gone it is "
             "released by: coffer backup expire %s",
             backup->label, database, start, end,
             g->key->purpose == KEY_VOLUME ? "files" : "cells", (unsigned)g->key->id, backup->label);
    return tell(g, &holder, err);
}

int
guard_why(const struct keyring *keyring, uint32_t id, int64_t now_us, guard_holder_fn fn, void *arg,
          size_t *count, struct coffer_error *err)
{
    struct guard g = {keyring, keyring_key(keyring, id), now_us, fn, arg, 0};
    int rc;
    size_t i;

    if (count != NULL)
        *count = 0;
    if (g.key == NULL)
        return error_set(err, COFFER_E_NOTFOUND, "this keyring has no key %08x", (unsigned)id);
    if (g.key->state == KEY_DESTROYED)
        return COFFER_OK; /* nothing left to hold */
    rc = state_holder(&g, err);
    for (i = 0; rc == COFFER_OK && i < g.key->database_count; i++)
        rc = database_holder(&g, &g.key->databases[i], err);
    for (i = 0; rc == COFFER_OK && i < keyring_backup_count(keyring); i++)
        rc = backup_holder(&g, keyring_backup_at(keyring, i), err);
    if (rc == COFFER_OK && count != NULL)
        *count = g.count;
    return rc;
}
