/* SPDX-License-Identifier: Apache-2.0 */
/* The proof: a look at every file, hidden file and name below the lower folder, and what it lets state.
 *
 * A re-encrypted file is a new file under the new key: so that no header is under the former key says, too, that no file has the
 * file key that it had then.
 */
#include "volume/lifecycle_internal.h"

#include "crypto/crypto.h"
#include "ledger/certificate.h"
#include "ledger/retire.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define POLL_MS 100
#define COLUMNS 3

/* ---- scan ---- */

static void
on_find(void *arg, const char *path, const char *what)
{
    struct life_find *find = arg;

    if (find->path[0] != '\0')
        return;
    snprintf(find->path, sizeof find->path, "%s", path);
    snprintf(find->what, sizeof find->what, "%s", what);
}

static int
scan_here(struct life *life, const char *key, struct volume_count *count, struct life_find *find,
          struct coffer_error *err)
{
    struct volume *volume;
    int rc = life_volume(life, &volume, err);

    return rc == COFFER_OK ? volume_scan(life->setup.lower, NULL, life->setup.format, volume, key,
                                         on_find, find, count, err)
                           : rc;
}

static void
read_find(const json_t *reply, struct life_find *find)
{
    const json_t *found = json_object_get(reply, "found");
    const char *path = json_string_value(json_object_get(found, "path"));
    const char *what = json_string_value(json_object_get(found, "what"));

    if (path != NULL && what != NULL)
        on_find(find, path, what);
}

/* The mount answers at once, and is asked again until it has looked at everything. */
static int
scan_there(struct life *life, const char *key, struct volume_count *count, struct life_find *find,
           struct coffer_error *err)
{
    json_int_t ticket = 0;
    int rc;

    for (;;) {
        json_t *request = json_pack("{s:s?,s:I}", "key", key, "ticket", ticket), *reply = NULL;

        rc = request == NULL ? error_nomem(err) : life_call(life, "scan", request, &reply, err);
        if (rc != COFFER_OK)
            return rc;
        ticket = json_integer_value(json_object_get(reply, "ticket"));
        if (json_is_object(json_object_get(reply, "count"))) {
            rc = life_count_read(json_object_get(reply, "count"), count, err);
            read_find(reply, find);
            json_decref(reply);
            return rc;
        }
        json_decref(reply);
        if (life_stopped(life))
            return error_set(err, COFFER_E_CANCELLED,
                             "stopped during the proof; the same command makes it anew");
        life->env->os->sleep_ms(life->env->os, POLL_MS);
    }
}

int
life_scan(struct life *life, const char *key, struct volume_count *count, struct life_find *find,
          struct coffer_error *err)
{
    memset(count, 0, sizeof *count);
    memset(find, 0, sizeof *find);
    return life->online ? scan_there(life, key, count, find, err)
                        : scan_here(life, key, count, find, err);
}

/* ---- certificate ---- */

struct under {
    uint64_t files, names;
};

static struct under
under_key(const struct volume_count *count, const char *name)
{
    struct under under = {0};
    size_t i;

    for (i = 0; i < count->key_count; i++) {
        if (strcmp(count->keys[i].key, name) == 0) {
            under.files = count->keys[i].files;
            under.names = count->keys[i].names;
        }
    }
    return under;
}

/* Without a marker a file is damaged, too, but where such are shown as they are. */
uint64_t
life_unreadable(const struct life *life, const struct volume_count *count)
{
    return count->damaged + (life->setup.options.plain_passthrough ? 0 : count->plain);
}

/* REFUSED unless nothing is under the key and everything could be looked at. */
static int
must_be_zero(struct life *life, uint32_t id, const char *name, const struct volume_count *count,
             const struct life_find *find, struct coffer_error *err)
{
    struct under under = under_key(count, name);
    const char *colon = find->path[0] != '\0' ? ": " : "";

    life->found = under.files + under.names > 0;
    if (life->found)
        return error_set(err, COFFER_E_REFUSED,
                         "%" PRIu64 " files and %" PRIu64
                         " names of %s are under key %08x%s%.200s; coffer volume rotate moves them",
                         under.files, under.names, life->setup.lower, (unsigned)id, colon,
                         find->path);
    if (life_unreadable(life, count) > 0)
        return error_set(err, COFFER_E_REFUSED,
                         "%" PRIu64 " file%s of %s cannot be read and could be under key "
                         "%08x%s%.200s%s%.100s; repair or delete "
                         "what coffer volume check names",
                         life_unreadable(life, count), life_unreadable(life, count) == 1 ? "" : "s",
                         life->setup.lower, (unsigned)id, colon, find->path, colon, find->what);
    if (count->other_keys > 0)
        return error_set(err, COFFER_E_REFUSED,
                         "the files of %s are under more keys than can be told apart (%" PRIu64
                         " units): import them first",
                         life->setup.lower, count->other_keys);
    return COFFER_OK;
}

static void
fill_columns(const struct life *life, const struct volume_count *count, const char *name,
             struct certificate_column columns[COLUMNS])
{
    struct under under = under_key(count, name);
    size_t i;

    snprintf(columns[0].name, sizeof columns[0].name, "files");
    columns[0].rows = count->files + count->empty + count->plain;
    columns[0].nulls = count->empty;
    columns[0].plaintext = count->plain;
    columns[0].sealed = count->files;
    columns[0].under_key = under.files;
    snprintf(columns[1].name, sizeof columns[1].name, "names");
    columns[1].rows = columns[1].sealed = count->names;
    columns[1].under_key = under.names;
    snprintf(columns[2].name, sizeof columns[2].name, "links");
    columns[2].rows = count->links;
    columns[2].sealed = life->setup.options.encrypt_names ? count->links : 0;
    columns[2].plaintext = columns[2].rows - columns[2].sealed;
    for (i = 0; i < COLUMNS; i++)
        columns[i].id = life->setup.id;
}

/* What the reader of a certificate should know besides; the caller frees notes[own…]. */
static int
add_backups(const struct life *life, const struct keyring_key *key, const char **notes,
            size_t *count, struct coffer_error *err)
{
    size_t i;

    for (i = 0; i < keyring_backup_count(life->keyring); i++) {
        const struct keyring_backup *backup = keyring_backup_at(life->keyring, i);
        char *line;

        if (backup->expired_us != 0 || !uuid_equal(&backup->database, &life->setup.id))
            continue;
        line = mem_format("backup \"%s\" was made while key %08x was in use and needs it",
                          backup->label, (unsigned)key->id);
        if (line == NULL)
            return error_nomem(err);
        notes[(*count)++] = line;
    }
    return COFFER_OK;
}

static int
sign(struct life *life, uint32_t id, const char *name, const struct volume_count *count,
     struct buf *out, struct coffer_error *err)
{
    const struct keyring_key *key = keyring_key(life->keyring, id);
    const struct keyring_database *database = keyring_database(life->keyring, &life->setup.id);
    struct certificate_column columns[COLUMNS] = {0};
    struct certificate c = {.key_id = id, .columns = columns, .column_count = COLUMNS};
    const char **notes = mem_array(keyring_backup_count(life->keyring) + 2, sizeof *notes);
    size_t own, n = 0;
    int rc = COFFER_OK;

    if (notes == NULL)
        return error_nomem(err);
    fill_columns(life, count, name, columns);
    if (life->setup.rotation.work == VOLUME_REENCRYPT)
        notes[n++] = "re-encryption: every file was written anew under a file key of its own, "
                     "which only the new key opens";
    else if (life->setup.rotation.work == VOLUME_REWRAP)
        notes[n++] = "re-wrap: files keep the file keys that this key wrapped; whoever had it and "
                     "a copy of the headers still "
                     "reads what they sealed";
    own = n;
    rc = add_backups(life, key, notes, &n, err);
    if (rc == COFFER_OK) {
        memcpy(c.fingerprint, key->fingerprint, sizeof c.fingerprint);
        snprintf(c.line, sizeof c.line, "%s", key->line);
        snprintf(c.purpose, sizeof c.purpose, "%s", key_purpose_name(key->purpose));
        c.keyring = keyring_id(life->keyring);
        c.database = life->setup.id;
        if (database != NULL)
            snprintf(c.database_name, sizeof c.database_name, "%s", database->name);
        if (database != NULL)
            snprintf(c.incarnation, sizeof c.incarnation, "%s", database->incarnation);
        snprintf(c.engine, sizeof c.engine, "%s", life->setup.format->name);
        c.proven_us = life->env->os->now_us(life->env->os);
        keyring_audit_mark(life->keyring, &c.audit_count, c.audit_hash);
        c.notes = notes;
        c.note_count = n;
        rc = certificate_write(&c, life->keyring, out, err);
    }
    while (n > own)
        mem_free((void *)(uintptr_t)notes[--n]);
    mem_free((void *)(uintptr_t)notes);
    return rc;
}

int
life_certificate(struct life *life, uint32_t key_id, const char *name, struct volume_count *count,
                 struct buf *certificate, struct coffer_error *err)
{
    struct life_find find;
    int rc = life_scan(life, name, count, &find, err);

    if (rc == COFFER_OK)
        rc = must_be_zero(life, key_id, name, count, &find, err);
    return rc == COFFER_OK ? sign(life, key_id, name, count, certificate, err) : rc;
}

int
volume_prove(const struct volume_env *env, const char *path, uint32_t key_id,
             struct volume_count *count, struct buf *certificate, struct coffer_error *err)
{
    char name[VOLUME_KEY_NAME + 1];
    const struct keyring_key *key;
    struct life life;
    int rc = life_open(&life, env, NULL, path, err);

    if (rc != COFFER_OK)
        return rc;
    key = keyring_key(life.keyring, key_id);
    if (key == NULL || key->purpose != KEY_VOLUME || strcmp(key->line, life.setup.line) != 0)
        rc = error_set(err, COFFER_E_KEY,
                       "%s has no key %08x; coffer key list shows the keys of line %s",
                       life.setup.lower, (unsigned)key_id, life.setup.line);
    else if (key->state == KEY_ACTIVE || key->state == KEY_STAGED)
        rc = error_set(
            err, COFFER_E_REFUSED,
            "key %08x is %s: what is written from now on may be under it; coffer volume rotate "
            "replaces it",
            (unsigned)key_id, key_state_name(key->state));
    else if (key->state == KEY_DESTROYED)
        rc =
            error_set(err, COFFER_E_KEY,
                      "key %08x is destroyed: how files would bear it cannot be told any more; its "
                      "certificate lies beside the keyring",
                      (unsigned)key_id);
    if (rc == COFFER_OK)
        rc = life_key_name(&life, key_id, name, err);
    if (rc == COFFER_OK)
        rc = life_certificate(&life, key_id, name, count, certificate, err);
    life_close(&life);
    return rc;
}

/* ---- into the keyring ---- */

static int
certify(struct life *life, const struct retiring *retiring, struct bytes certificate,
        struct coffer_error *err)
{
    struct retire_certify arg = {.certificate.key_id = retiring->id,
                                 .certificate.database = life->setup.id};
    struct keyring_store *store = life->env->store;
    char name[RETIRE_NAME_LEN];
    int rc = sha256(certificate, arg.certificate.digest, err);

    arg.now_us = arg.certificate.proven_us = life->env->os->now_us(life->env->os);
    retire_certificate_name(retiring->id, &life->setup.id, name);
    if (rc == COFFER_OK)
        rc = store->certificate_put(store, name, certificate, err);
    if (rc == COFFER_OK)
        rc = life_change(life, "key.prove", retiring->id, retire_change_certify, &arg, err);
    if (rc == COFFER_OK && !arg.everywhere)
        life_say(life, "prove",
                 "key %08x was usable elsewhere, too: it is proven when that has a certificate",
                 (unsigned)retiring->id);
    return rc;
}

int
life_prove(struct life *life, struct coffer_error *err)
{
    size_t i;
    int rc = COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < life->retiring_count; i++) {
        const struct retiring *retiring = &life->retiring[i];
        const struct keyring_key *key = keyring_key(life->keyring, retiring->id);
        struct volume_count count;
        struct buf certificate;

        if (key == NULL || key->state != KEY_FENCED)
            continue;
        buf_init(&certificate, 1u << 20);
        rc = life_certificate(life, retiring->id, retiring->name, &count, &certificate, err);
        if (rc == COFFER_OK)
            rc = certify(life, retiring, buf_view(&certificate), err);
        if (rc == COFFER_OK)
            life_say(life, "prove",
                     "nothing is under key %08x: %" PRIu64 " files, %" PRIu64 " names, %" PRIu64
                     " links looked at; "
                     "the certificate is signed",
                     (unsigned)retiring->id, count.files + count.empty + count.plain, count.names,
                     count.links);
        buf_wipe(&certificate);
    }
    return rc;
}

/* ---- escrow ---- */

struct escrow {
    uint32_t id;
    int64_t now_us;
};

static int
change_escrow(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct escrow *escrow = arg;
    const struct keyring_key *key = keyring_key(kr, escrow->id);

    if (key != NULL && key->state > KEY_PROVEN)
        return COFFER_OK;
    return keyring_key_move(kr, escrow->id, KEY_ESCROWED, escrow->now_us, err);
}

int
life_escrow(struct life *life, struct coffer_error *err)
{
    size_t i;
    int rc = COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < life->retiring_count; i++) {
        const struct keyring_key *key = keyring_key(life->keyring, life->retiring[i].id);
        struct escrow escrow = {.id = life->retiring[i].id,
                                .now_us = life->env->os->now_us(life->env->os)};

        if (key == NULL || key->state != KEY_PROVEN)
            continue;
        rc = retire_escrow_file(life->env->store, life->keyring, escrow.id, err);
        if (rc == COFFER_OK)
            rc = life_change(life, "key.escrow", escrow.id, change_escrow, &escrow, err);
        if (rc == COFFER_OK)
            life_say(life, "escrow",
                     "key %08x is out of the keyring, sealed apart for backups that need it",
                     (unsigned)escrow.id);
    }
    return rc;
}
