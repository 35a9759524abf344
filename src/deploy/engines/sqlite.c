/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/engines/sqlite.h"

#include "deploy/engines/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const folders[] = {"/usr/bin", NULL};

static int
find(unsigned major, struct engine_programs *out, struct coffer_error *err)
{
    char path[ENGINE_PATH_MAX];
    struct buf text;
    int rc;

    memset(out, 0, sizeof *out);
    if (major != 0 && major != 3)
        return error_set(err, COFFER_E_UNSUPPORTED, "there is no SQLite %u: 3", major);
    rc = program_find("sqlite3", folders, "sqlite3", path, err);
    if (rc != COFFER_OK)
        return rc;
    buf_init(&text, 4096);
    rc = program_version(path, &text, err);
    if (rc == COFFER_OK && !version_read(buf_cstr(&text), out->version, &out->major))
        rc = error_set(err, COFFER_E_FORMAT, "%s does not say which version it is", path);
    buf_wipe(&text);
    *strrchr(path, '/') = '\0';
    snprintf(out->folder, sizeof out->folder, "%s", path);
    return rc;
}

int
sqlite_path(const struct engine_place *place, char out[ENGINE_PATH_MAX], struct coffer_error *err)
{
    if (snprintf(out, ENGINE_PATH_MAX, "%s/data/%s.db", place->root, place->name) >=
        ENGINE_PATH_MAX)
        return error_set(err, COFFER_E_LIMIT, "the path %.200s… is too long for a database",
                         place->root);
    return COFFER_OK;
}

/* sqlite3 FILE and commands, NULL at the end. */
static int
shell(const struct engine_place *place, const char *const *commands, struct process_spec *out,
      struct coffer_error *err)
{
    char path[ENGINE_PATH_MAX];
    int rc = spec_begin(place, out, err);

    if (rc == COFFER_OK)
        rc = sqlite_path(place, path, err);
    if (rc == COFFER_OK)
        rc = process_arg(out, err, "%s/sqlite3", place->programs->folder);
    if (rc == COFFER_OK)
        rc = spec_args(out, err, "-batch", "-bail", "-cmd", ".timeout 10000", path, NULL);
    for (; rc == COFFER_OK && *commands != NULL; commands++)
        rc = process_arg(out, err, "%s", *commands);
    if (rc != COFFER_OK)
        process_spec_clear(out);
    return rc;
}

static int
ask(const struct engine_place *place, const char *statements, struct buf *out,
    struct coffer_error *err)
{
    const char *const none[] = {NULL};
    struct process_spec spec;
    int rc = shell(place, none, &spec, err);

    if (rc == COFFER_OK)
        rc = process_run(&spec, bytes_str(statements), out, NULL, NULL, err);
    process_spec_clear(&spec);
    return rc;
}

static bool
is_there(const struct engine_place *place)
{
    char name[128];

    snprintf(name, sizeof name, "data/%s.db", place->name);
    return place_has(place, name);
}

static int
init(const struct engine_place *place, struct coffer_error *err)
{
    char name[128];
    bool done;
    int rc;

    snprintf(name, sizeof name, "data/%s.db", place->name);
    rc = place_init_begin(place, name, &done, err);
    if (rc == COFFER_OK && !done)
        rc = ask(place, "PRAGMA journal_mode = WAL;\n", NULL, err);
    return rc != COFFER_OK || done ? rc : place_init_end(place, err);
}

static int
ready(const struct engine_place *place, struct coffer_error *err)
{
    if (!is_there(place))
        return error_set(err, COFFER_E_NOTFOUND, "there is no SQLite database %s in %s/data",
                         place->name, place->root);
    return ask(place, "PRAGMA schema_version;\n", NULL, err);
}

static int
prepare(const struct engine_place *place, struct coffer_error *err)
{
    int rc = ready(place, err);

    return rc != COFFER_OK ? rc
                           : sqlite_read_only(place, false, err); /* a copy may have brought it */
}

static int
url(const struct engine_place *place, char *out, size_t max, struct coffer_error *err)
{
    char path[ENGINE_PATH_MAX];
    int rc = sqlite_path(place, path, err);

    if (rc == COFFER_OK && snprintf(out, max, "sqlite:%s", path) >= (int)max)
        rc = error_set(err, COFFER_E_LIMIT, "the URL is longer than %zu bytes", max);
    return rc;
}

/* ---- copies ---- */

static int
dump(const struct engine_place *place, struct process_spec *out, struct coffer_error *err)
{
    static const char *const commands[] = {
        "SELECT 'PRAGMA encoding = ''' || encoding || ''';' FROM pragma_encoding",
        "SELECT 'PRAGMA application_id = ' || application_id || ';' FROM pragma_application_id",
        "SELECT 'PRAGMA user_version = ' || user_version || ';' FROM pragma_user_version",
        ".dump --preserve-rowids", NULL};

    return shell(place, commands, out, err);
}

/* $1 sqlite3, $2 root, $3 name.  Into a file of its own that takes the place of the former one when it is whole. */
static const char load_script[] =
    "set -e\n"
    "umask 077\n"
    "new=$2/tmp/load.db data=$2/data/$3.db\n"
    "rm -f -- \"$new\" \"$new-journal\" \"$new-wal\" \"$new-shm\"\n"
    "\"$1\" -batch -bail \"$new\"\n"
    "\"$1\" -batch -bail \"$new\" 'PRAGMA journal_mode = WAL' >/dev/null\n"
    "rm -f -- \"$data-wal\" \"$data-shm\" \"$data-journal\"\n"
    "sync \"$new\"\n"
    "mv \"$new\" \"$data\"\n"
    "sync \"$2/data\"\n";

/* A transaction holds one state of the database while it is copied: without it, a copy begins anew whenever somebody writes. */
static const char backup_script[] = "set -e\n"
                                    "umask 077\n"
                                    "cd \"$2/tmp\"\n"
                                    "rm -f -- backup.db\n"
                                    "trap 'rm -f -- backup.db backup.db-journal' EXIT\n"
                                    "\"$1\" -batch -bail -cmd '.timeout 10000' \"$2/data/$3.db\" "
                                    "BEGIN 'SELECT count(*) FROM sqlite_schema' '.backup "
                                    "backup.db' >/dev/null\n"
                                    "cat backup.db\n";

static const char restore_script[] =
    "set -e\n"
    "umask 077\n"
    "new=$2/tmp/restore.db data=$2/data/$3.db\n"
    "cat >\"$new\"\n"
    "\"$1\" -batch -bail \"$new\" 'SELECT count(*) FROM sqlite_schema' >/dev/null\n"
    "sync \"$new\"\n"
    "mv \"$new\" \"$data\"\n"
    "sync \"$2/data\"\n";

static int
script(const struct engine_place *place, const char *text, struct process_spec *out,
       struct coffer_error *err)
{
    int rc = spec_begin(place, out, err);

    if (rc == COFFER_OK)
        rc = spec_args(out, err, "/bin/sh", "-c", text, "coffer-sqlite", NULL);
    if (rc == COFFER_OK)
        rc = process_arg(out, err, "%s/sqlite3", place->programs->folder);
    if (rc == COFFER_OK)
        rc = spec_args(out, err, place->root, place->name, NULL);
    if (rc != COFFER_OK)
        process_spec_clear(out);
    return rc;
}

static int
load(const struct engine_place *place, struct process_spec *out, struct coffer_error *err)
{
    return script(place, load_script, out, err);
}

static int
backup(const struct engine_place *place, struct process_spec *out, struct coffer_error *err)
{
    return script(place, backup_script, out, err);
}

static int
restore(const struct engine_place *place, struct process_spec *out, struct coffer_error *err)
{
    int rc = place_folders(place, err);

    return rc != COFFER_OK ? rc : script(place, restore_script, out, err);
}

/* ---- what it holds ---- */

static int
census(const struct engine_place *place, json_t **out, struct coffer_error *err)
{
    struct buf sql, lines;
    int rc;

    *out = NULL;
    buf_init(&sql, OUTPUT_MAX);
    buf_init(&lines, OUTPUT_MAX);
    rc = ask(place,
             "SELECT 'SELECT json_array(' || quote(name) || ', count(*)) FROM \"' || replace(name, "
             "'\"', '\"\"') || '\";' FROM sqlite_schema"
             " WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND sql NOT LIKE "
             "'CREATE VIRTUAL%' ORDER BY name;\n",
             &lines, err);
    buf_str(&sql, "BEGIN;\n");
    buf_bytes(&sql, buf_view(&lines));
    buf_str(&sql, "COMMIT;\n");
    buf_clear(&lines);
    if (rc == COFFER_OK)
        rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = ask(place, buf_cstr(&sql), &lines, err);
    if (rc == COFFER_OK)
        rc = census_read(buf_view(&lines), out, err);
    buf_wipe(&lines);
    buf_wipe(&sql);
    return rc;
}

static int
doctor(const struct engine_place *place, engine_check_fn fn, void *arg, struct coffer_error *err)
{
    char seen[64];
    struct buf out;
    int rc;

    buf_init(&out, OUTPUT_MAX);
    rc = ask(place,
             "SELECT 'journal_mode=' || journal_mode FROM pragma_journal_mode; SELECT "
             "'quick_check=' || quick_check FROM pragma_quick_check(1);\n",
             &out, err);
    line_value(buf_cstr(&out), "journal_mode", '=', seen, sizeof seen);
    /* Both a log and a journal that is deleted or emptied survive a crash. */
    if (rc == COFFER_OK)
        rc = check_setting("journal_mode", seen,
                           strcmp(seen, "off") != 0 && strcmp(seen, "memory") != 0 ? seen : "wal",
                           "fail", "a crash destroys the database: PRAGMA journal_mode = WAL", fn,
                           arg, err);
    line_value(buf_cstr(&out), "quick_check", '=', seen, sizeof seen);
    if (rc == COFFER_OK)
        rc = check_setting("quick_check", seen, "ok", "fail",
                           "the file is damaged: restore a backup", fn, arg, err);
    buf_wipe(&out);
    return rc;
}

const struct engine engine_sqlite = {
    .name = "sqlite",
    .title = "SQLite",
    .find = find,
    .init = init,
    .ready = ready,
    .prepare = prepare,
    .url = url,
    .dump = dump,
    .load = load,
    .backup = backup,
    .restore = restore,
    .read_only = sqlite_read_only,
    .doctor = doctor,
    .census = census,
};
