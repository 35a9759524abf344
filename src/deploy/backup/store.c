/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/backup/archive.h"

#include "base/error.h"
#include "ledger/audit.h"
#include "ledger/json.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD_MAX (4u << 20)
#define COLUMNS                                                                                    \
    "id, database, name, engine, stack, kind, state, known, digest, major, started, ended, "       \
    "expired, verified, bytes, plain, key_id, needs, "                                             \
    "census"

static const char SCHEMA[] = "CREATE TABLE IF NOT EXISTS backups(id TEXT PRIMARY KEY, database "
                             "TEXT NOT NULL, name TEXT NOT NULL, engine TEXT NOT NULL,"
                             " stack TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL, known "
                             "TEXT NOT NULL, digest TEXT NOT NULL, major INTEGER NOT NULL,"
                             " started INTEGER NOT NULL, ended INTEGER NOT NULL, expired INTEGER "
                             "NOT NULL, verified INTEGER NOT NULL, bytes INTEGER NOT NULL,"
                             " plain INTEGER NOT NULL, key_id INTEGER NOT NULL, needs TEXT NOT "
                             "NULL, census TEXT NOT NULL) WITHOUT ROWID";

void
backup_wipe(struct backup *b)
{
    json_decref(b->needs);
    json_decref(b->census);
    b->needs = b->census = NULL;
}

void
backup_path(const struct deploy *deploy, const char *id, bool fresh, const char *file,
            char out[DEPLOY_PATH_MAX + 80])
{
    (void)snprintf(out, DEPLOY_PATH_MAX + 80, "%.500s/backups/%s%.36s%s%s%.30s", deploy->dir,
                   fresh ? "." : "", id, fresh ? ".new" : "", file[0] != '\0' ? "/" : "", file);
}

void
backup_stream_name(const char *id, char out[64])
{
    (void)snprintf(out, 64, "backup/%.36s", id);
}

/* ---- rows ---- */

static void
text(char *out, size_t max, sqlite3_stmt *row, int column)
{
    (void)snprintf(out, max, "%s", state_text(row, column));
}

static void
take(sqlite3_stmt *row, struct backup *b)
{
    memset(b, 0, sizeof *b);
    text(b->id, sizeof b->id, row, 0);
    text(b->database, sizeof b->database, row, 1);
    text(b->name, sizeof b->name, row, 2);
    text(b->engine, sizeof b->engine, row, 3);
    text(b->stack, sizeof b->stack, row, 4);
    text(b->kind, sizeof b->kind, row, 5);
    text(b->state, sizeof b->state, row, 6);
    text(b->known, sizeof b->known, row, 7);
    text(b->digest, sizeof b->digest, row, 8);
    b->major = (unsigned)sqlite3_column_int(row, 9);
    b->started_us = sqlite3_column_int64(row, 10);
    b->ended_us = sqlite3_column_int64(row, 11);
    b->expired_us = sqlite3_column_int64(row, 12);
    b->verified_us = sqlite3_column_int64(row, 13);
    b->bytes = (uint64_t)sqlite3_column_int64(row, 14);
    b->plain = (uint64_t)sqlite3_column_int64(row, 15);
    b->key_id = (uint32_t)sqlite3_column_int64(row, 16);
    b->needs = json_loads(state_text(row, 17), 0, NULL);
    b->census = json_loads(state_text(row, 18), JSON_DECODE_ANY, NULL);
}

int
backup_put(struct deploy *deploy, const struct backup *b, struct coffer_error *err)
{
    char *needs = json_dumps(b->needs, JSON_COMPACT);
    char *census = json_dumps(b->census, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    int rc = state_run(deploy, err,
                       "INSERT OR REPLACE INTO backups(" COLUMNS
                       ") VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                       "sssssssssiiiiiiiiss", b->id, b->database, b->name, b->engine, b->stack,
                       b->kind, b->state, b->known, b->digest, (int64_t)b->major, b->started_us,
                       b->ended_us, b->expired_us, b->verified_us, (int64_t)b->bytes,
                       (int64_t)b->plain, (int64_t)b->key_id, needs != NULL ? needs : "[]",
                       census != NULL ? census : "null");

    free(needs);
    free(census);
    if (rc == COFFER_OK)
        deploy_event(deploy, "backup", backup_json(deploy, b));
    return rc;
}

static int
take_one(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    (void)err;
    backup_wipe(arg);
    take(row, arg);
    return COFFER_OK;
}

int
backup_get(struct deploy *deploy, const char *id, struct backup *out, struct coffer_error *err)
{
    int rc;

    memset(out, 0, sizeof *out);
    rc = backup_table(deploy, err);
    if (rc == COFFER_OK)
        rc = state_each(deploy, take_one, out, err, "SELECT " COLUMNS " FROM backups WHERE id = ?",
                        "s", id);
    if (rc == COFFER_OK && out->id[0] == '\0')
        rc = error_set(err, COFFER_E_NOTFOUND, "there is no backup %.40s", id);
    return rc;
}

json_t *
backup_json(const struct deploy *deploy, const struct backup *b)
{
    bool complete = strcmp(b->state, "complete") == 0;
    int64_t until =
        complete && strcmp(b->kind, "physical") == 0 ? archive_until(deploy, b->database) : 0;
    int64_t at = complete ? b->ended_us : 0;
    char key[9];

    (void)snprintf(key, sizeof key, "%08x", (unsigned)b->key_id);
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:o,s:o,s:I,s:s,s:O,s:s,s:o,s:o,s:o,s:o}", "id", b->id,
                     "database", b->database, "name", b->name, "engine", b->engine, "kind", b->kind,
                     "started", json_time(b->started_us), "ended", json_time(b->ended_us), "bytes",
                     (json_int_t)b->bytes, "key_id", key, "needs", b->needs, "state", b->state,
                     "expires", json_time(b->expired_us), "verified", json_time(b->verified_us),
                     "from", json_time(at), "until", json_time(until > at ? until : at));
}

struct list {
    const struct deploy *deploy;
    json_t *out;
};

static int
add_row(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    struct list *list = arg;
    struct backup b;

    (void)err;
    take(row, &b);
    (void)json_array_append_new(list->out, backup_json(list->deploy, &b));
    backup_wipe(&b);
    return COFFER_OK;
}

int
backup_list(struct deploy *deploy, const char *database, json_t **out, struct coffer_error *err)
{
    struct list list = {deploy, NULL};
    int rc = backup_table(deploy, err);

    *out = list.out = json_array();
    return rc != COFFER_OK
               ? rc
               : state_each(deploy, add_row, &list, err,
                            "SELECT " COLUMNS " FROM backups WHERE ?1 IS NULL OR name = ?1 OR "
                            "database = ?1 ORDER BY started DESC, id",
                            "s", database);
}

/* ---- records ---- */

int
backup_record_write(struct deploy *deploy, const struct backup *b, struct coffer_error *err)
{
    char path[DEPLOY_PATH_MAX + 80];
    const struct keyring_key *key;
    const struct secret *seed;
    struct snapshot *snapshot = NULL;
    struct buf out;
    json_t *record = json_pack(
        "{s:i,s:s,s:s,s:s,s:s,s:s,s:i,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:o,s:O,s:O}", "coffer_backup", 1,
        "id", b->id, "database", b->database, "name", b->name, "engine", b->engine, "stack",
        b->stack, "major", (int)b->major, "kind", b->kind, "known_as", b->known, "digest",
        b->digest, "started_us", (json_int_t)b->started_us, "ended_us", (json_int_t)b->ended_us,
        "bytes", (json_int_t)b->bytes, "plain", (json_int_t)b->plain, "key", json_key_id(b->key_id),
        "needs", b->needs, "census", b->census);
    int rc = record != NULL ? snapshot_take(deploy, &snapshot, err) : error_nomem(err);

    buf_init(&out, RECORD_MAX);
    if (rc == COFFER_OK)
        rc = ledger_audit_key(snapshot_keyring(snapshot), &key, &seed, err);
    if (rc == COFFER_OK)
        rc = json_put(record, "signed_by", json_key_id(key->id), err);
    if (rc == COFFER_OK)
        rc = json_sign(record, seed, err);
    if (rc == COFFER_OK)
        rc = json_canonical(record, &out, err);
    buf_str(&out, "\n");
    if (rc == COFFER_OK)
        rc = buf_status(&out, err);
    backup_path(deploy, b->id, true, "record.json", path);
    if (rc == COFFER_OK)
        rc = deploy->os->write_file(deploy->os, path, buf_view(&out), 0600, false, err);
    buf_wipe(&out);
    json_decref(record);
    snapshot_give(snapshot);
    return rc;
}

static void
member(const json_t *record, const char *name, char *out, size_t max)
{
    const char *value = json_string_value(json_object_get(record, name));

    (void)snprintf(out, max, "%s", value != NULL ? value : "");
}

static json_int_t
figure(const json_t *record, const char *name)
{
    return json_integer_value(json_object_get(record, name));
}

/* A record that does not bear our signature is not believed. */
static int
read_record(struct deploy *deploy, const char *id, const uint8_t public_key[32],
            struct coffer_error *err)
{
    char path[DEPLOY_PATH_MAX + 80];
    struct backup b = {.state = "complete"};
    json_t *record = NULL;
    struct buf content;
    uint8_t key[4];
    int rc;

    backup_path(deploy, id, false, "record.json", path);
    buf_init(&content, RECORD_MAX);
    rc = deploy->os->read_file(deploy->os, path, RECORD_MAX, &content, err);
    if (rc == COFFER_OK)
        rc = json_parse(buf_view(&content), &record, err);
    if (rc == COFFER_OK)
        rc = json_check_signature(record, public_key, err);
    if (rc == COFFER_OK)
        rc = json_get_hex(record, "key", key, sizeof key, err);
    if (rc == COFFER_OK) {
        member(record, "id", b.id, sizeof b.id);
        member(record, "database", b.database, sizeof b.database);
        member(record, "name", b.name, sizeof b.name);
        member(record, "engine", b.engine, sizeof b.engine);
        member(record, "stack", b.stack, sizeof b.stack);
        member(record, "kind", b.kind, sizeof b.kind);
        member(record, "known_as", b.known, sizeof b.known);
        member(record, "digest", b.digest, sizeof b.digest);
        b.major = (unsigned)figure(record, "major");
        b.started_us = (int64_t)figure(record, "started_us");
        b.ended_us = (int64_t)figure(record, "ended_us");
        b.bytes = (uint64_t)figure(record, "bytes");
        b.plain = (uint64_t)figure(record, "plain");
        b.key_id = get_be32(key);
        b.needs = json_incref(json_object_get(record, "needs"));
        b.census = json_incref(json_object_get(record, "census"));
        rc = strcmp(b.id, id) == 0
                 ? backup_put(deploy, &b, err)
                 : error_set(err, COFFER_E_TAMPERED, "%s is the record of another backup, %s", path,
                             b.id);
    }
    backup_wipe(&b);
    json_decref(record);
    buf_wipe(&content);
    return rc;
}

static int
take_records(struct deploy *deploy, struct coffer_error *err)
{
    char path[DEPLOY_PATH_MAX + 80];
    struct snapshot *snapshot = NULL;
    uint8_t public_key[32];
    struct uuid id;
    struct dirent *entry;
    DIR *folder;
    int rc = snapshot_take(deploy, &snapshot, err);

    if (rc == COFFER_OK)
        rc = audit_public_key(snapshot_keyring(snapshot), public_key, err);
    snapshot_give(snapshot);
    (void)snprintf(path, sizeof path, "%.500s/backups", deploy->dir);
    folder = rc == COFFER_OK ? opendir(path) : NULL;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        struct coffer_error why = {0};

        if (uuid_parse(bytes_str(entry->d_name), &id) &&
            read_record(deploy, entry->d_name, public_key, &why) != COFFER_OK)
            deploy_log(deploy, "backup %s is not believed: %s", entry->d_name, why.message);
    }
    if (folder != NULL)
        (void)closedir(folder);
    return rc;
}

int
backup_table(struct deploy *deploy, struct coffer_error *err)
{
    int64_t there = 0;
    int rc = state_begin(deploy, err);

    if (rc != COFFER_OK)
        return rc;
    rc = state_number(
        deploy, &there, NULL, err,
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'backups'", "");
    if (rc == COFFER_OK && there == 0) {
        rc = state_run(deploy, err, SCHEMA, "");
        if (rc == COFFER_OK)
            rc = take_records(deploy, err);
    }
    return state_end(deploy, rc, err);
}

int
backup_remove_files(struct deploy *deploy, const char *id, struct coffer_error *err)
{
    static const char *const files[] = {"stream", "record.json", ""};
    char path[DEPLOY_PATH_MAX + 80];

    for (int fresh = 0; fresh < 2; fresh++)
        for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
            backup_path(deploy, id, fresh != 0, files[i], path);
            if ((files[i][0] != '\0' ? unlink(path) : rmdir(path)) != 0 && errno != ENOENT)
                return error_set(err, COFFER_E_IO, "%s: %s", path, strerror(errno));
        }
    return COFFER_OK;
}
