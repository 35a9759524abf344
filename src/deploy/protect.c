/* SPDX-License-Identifier: Apache-2.0 */
/* database.protect and database.rotate-field: the command `coffer protect` or `coffer rotate` on the database, as a process of its own.
 *
 * It journals in the database itself, so a run that was stopped anywhere goes on with the same command.  The URL holds a password: the
 * command reads it from a file of mode 0600 in DIR/run, which goes when the command has ended.
 */
#include "deploy/internal.h"

#include "base/error.h"
#include "base/secret.h"
#include "ledger/retire.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_BYTES 8192
#define LOOK_MS 250
#define COLUMNS_MAX 64

/* ---- the command ---- */

static int
put_url(struct job *job, const char *path, struct coffer_error *err)
{
    char folder[DEPLOY_PATH_MAX + 8], url[1024];
    struct database_place place;
    int rc;

    (void)snprintf(folder, sizeof folder, "%s/run", job->deploy->dir);
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return error_set(err, COFFER_E_IO, "%s: %s", folder, strerror(errno));
    (void)unlink(path); /* of a run that died */
    rc = database_place(job->deploy, job->database, 0, &place, err);
    if (rc == COFFER_OK)
        rc = place.engine->url(&place.place, url, sizeof url, err);
    if (rc == COFFER_OK)
        rc = job->deploy->os->write_file(job->deploy->os, path, bytes_str(url), 0600, true, err);
    wipe(url, sizeof url);
    database_place_wipe(&place);
    return rc;
}

static int
words(struct job *job, struct process_spec *spec, const char *verb, const char *url_file,
      struct coffer_error *err)
{
    const struct deploy *deploy = job->deploy;
    const char *given[] = {verb,     "--keyring", deploy->keyring_path,
                           "--kek",  deploy->kek, "--db-url-file",
                           url_file, "--yes",     "--json"};
    int rc = process_arg(spec, err, "%s", deploy->program);

    for (size_t i = 0; rc == COFFER_OK && i < sizeof given / sizeof *given; i++)
        rc = process_arg(spec, err, "%s", given[i]);
    return rc;
}

static int
option(const struct job *job, struct process_spec *spec, const char *name, struct coffer_error *err)
{
    const json_t *value = json_object_get(job->request, name);
    int rc = COFFER_OK;

    if (json_is_string(value) || json_is_number(value))
        rc = process_arg(spec, err, "--%s", name);
    if (rc == COFFER_OK && json_is_string(value))
        rc = process_arg(spec, err, "%s", json_string_value(value));
    else if (rc == COFFER_OK && json_is_number(value))
        rc = process_arg(spec, err, "%.0f", json_number_value(value));
    return rc;
}

static int
column_words(const struct job *job, struct process_spec *spec, struct coffer_error *err)
{
    const json_t *columns = json_object_get(job->request, "columns");
    int rc = COFFER_OK;

    for (size_t i = 0; rc == COFFER_OK && i < json_array_size(columns); i++)
        rc = process_arg(spec, err, "%s", json_string_value(json_array_get(columns, i)));
    return rc;
}

/* ---- what it says ---- */

static void
hear(struct job *job, char *line)
{
    json_t *event = json_loads(line, 0, NULL);
    const char *kind = json_string_value(json_object_get(event, "event"));
    const char *step = json_string_value(json_object_get(event, "step"));
    const char *text = json_string_value(json_object_get(event, "text"));

    if (kind == NULL) {
        json_decref(event);
        return;
    }
    if (strcmp(kind, "progress") == 0) {
        json_int_t done = json_integer_value(json_object_get(event, "done"));

        job_progress(job, (uint64_t)done,
                     (uint64_t)json_integer_value(json_object_get(event, "total")), "rows");
        if (done > json_integer_value(json_object_get(job->memory, "rows")))
            (void)json_object_set_new(job->memory, "rows", json_integer(done));
    } else if (text != NULL && text[0] != '\0') {
        const char *last = json_string_value(json_object_get(job->memory, "said"));

        if (last == NULL || strcmp(last, text) != 0) /* what it waits for is repeated */
            job_say(job, "%s: %s", step != NULL ? step : kind, text);
        (void)json_object_set_new(job->memory, "said", json_string(text));
    }
    json_decref(event);
}

/* Lines to the end, or until the job is asked to stop. */
static void
listen_to(struct job *job, int fd)
{
    char line[LINE_MAX_BYTES];
    size_t len = 0;

    while (!job_cancelled(job)) {
        struct pollfd more = {fd, POLLIN, 0};
        char *end;
        ssize_t n;

        if (poll(&more, 1, LOOK_MS) <= 0)
            continue;
        n = read(fd, line + len, sizeof line - 1 - len);
        if (n <= 0)
            return;
        len += (size_t)n;
        line[len] = '\0';
        while ((end = strchr(line, '\n')) != NULL) {
            *end = '\0';
            hear(job, line);
            len -= (size_t)(end + 1 - line);
            memmove(line, end + 1, len + 1);
        }
        if (len == sizeof line - 1) /* no line of the command is as long */
            len = 0;
    }
}

static int
run(struct job *job, const char *verb, bool columns, const char *flag, struct coffer_error *err)
{
    static const char *const options[] = {"search", "rate", "duty", "settle", "grace"};
    bool main_run = flag == NULL;
    char url_file[DEPLOY_PATH_MAX + 64];
    struct process_stream *stream = NULL;
    struct process_spec spec = {0};
    int fd = -1, rc;

    process_spec_clear(&spec);
    (void)snprintf(url_file, sizeof url_file, "%s/run/job-%llu.url", job->deploy->dir,
                   (unsigned long long)job->id);
    rc = words(job, &spec, verb, url_file, err);
    for (size_t i = 0; main_run && rc == COFFER_OK && i < sizeof options / sizeof *options; i++)
        rc = option(job, &spec, options[i], err);
    if (rc == COFFER_OK && flag != NULL && flag[0] != '\0')
        rc = process_arg(&spec, err, "%s", flag);
    if (main_run && rc == COFFER_OK &&
        json_is_true(json_object_get(job->request, "no_unaware_clients")))
        rc = process_arg(&spec, err, "--no-unaware-clients");
    if (rc == COFFER_OK && columns)
        rc = column_words(job, &spec, err);
    if (rc == COFFER_OK)
        rc = put_url(job, url_file, err);
    if (rc == COFFER_OK)
        rc = process_stream_begin(&spec, true, &fd, &stream, err);
    if (rc == COFFER_OK) {
        bool stopped;

        listen_to(job, fd);
        stopped = job_cancelled(job);
        rc = process_stream_end(stream, stopped, err);
        if (stopped)
            rc = error_set(err, COFFER_E_CANCELLED, "stopped, as asked");
    }
    (void)unlink(url_file); /* gone before the job is told to have ended */
    process_spec_clear(&spec);
    return rc;
}

/* ---- protect ---- */

static int
columns_result(struct job *job, struct coffer_error *err)
{
    struct snapshot *snapshot = NULL;
    struct database d;
    int rc = database_get(job->deploy, job->database, &d, err);

    if (rc == COFFER_OK)
        rc = snapshot_take(job->deploy, &snapshot, err);
    if (rc != COFFER_OK)
        return rc;
    job->result =
        json_pack("{s:o,s:I}", "columns", database_columns_json(snapshot_keyring(snapshot), &d),
                  "rows", json_integer_value(json_object_get(job->memory, "rows")));
    snapshot_give(snapshot);
    return job->result == NULL ? error_nomem(err) : COFFER_OK;
}

static int
step_protect(struct job *job, struct coffer_error *err)
{
    int rc;

    (void)json_object_set_new(job->memory, "began", json_true());
    rc = job_remember(job, err);
    if (rc == COFFER_OK)
        rc = run(job, "protect", true, NULL, err);
    return rc == COFFER_OK ? columns_result(job, err) : rc;
}

static int
undo_protect(struct job *job, struct coffer_error *err)
{
    return json_is_true(json_object_get(job->memory, "began"))
               ? run(job, "unprotect", true, "", err)
               : COFFER_OK;
}

static const struct job_step steps_protect[] = {{"protect", step_protect, undo_protect},
                                                {NULL, NULL, NULL}};
const struct job_kind job_protect = {"protect", steps_protect};

/* ---- rotate-field ---- */

/* The key that seals the first protected column, and the database as the keyring knows it. */
static int
field_key(struct job *job, uint32_t *id, struct uuid *known, struct coffer_error *err)
{
    struct snapshot *snapshot = NULL;
    struct database d;
    int rc = database_get(job->deploy, job->database, &d, err);

    *id = 0;
    if (rc == COFFER_OK)
        rc = snapshot_take(job->deploy, &snapshot, err);
    if (rc != COFFER_OK)
        return rc;
    if (database_known_as(snapshot_keyring(snapshot), &d, known)) {
        const struct keyring *kr = snapshot_keyring(snapshot);

        for (size_t i = 0; *id == 0 && i < keyring_column_count(kr); i++) {
            const struct keyring_column *column = keyring_column_at(kr, i);
            const struct keyring_key *key = keyring_active(kr, KEY_FIELD, column->line);

            if (!column->retired && uuid_equal(&column->database, known) && key != NULL)
                *id = key->id;
        }
    }
    snapshot_give(snapshot);
    return *id != 0
               ? COFFER_OK
               : error_set(err, COFFER_E_NOTFOUND,
                           "no column of database %s is protected: there is no field key", d.name);
}

static int
step_note(struct job *job, struct coffer_error *err)
{
    struct uuid known;
    uint32_t id;
    int rc = field_key(job, &id, &known, err);

    if (rc != COFFER_OK)
        return rc;
    (void)json_object_set_new(job->memory, "old", json_integer(id));
    return job_remember(job, err);
}

static json_t *
key_text(uint32_t id)
{
    char text[9];

    (void)snprintf(text, sizeof text, "%08x", (unsigned)id);
    return json_string(text);
}

static int
step_rotate(struct job *job, struct coffer_error *err)
{
    uint32_t old = (uint32_t)json_integer_value(json_object_get(job->memory, "old")), now;
    char name[RETIRE_NAME_LEN], path[DEPLOY_PATH_MAX + 128];
    struct uuid known;
    uint64_t stamp = 0;
    int rc = run(job, "rotate", false, NULL, err);

    if (rc == COFFER_OK)
        rc = field_key(job, &now, &known, err);
    if (rc != COFFER_OK)
        return rc;
    retire_certificate_name(old, &known, name);
    (void)snprintf(path, sizeof path, "%s.certificates/%s", job->deploy->keyring_path, name);
    (void)!job->deploy->os->stamp_file(job->deploy->os, path, &stamp, NULL);
    job->result =
        json_pack("{s:o,s:o,s:o,s:I}", "old_key_id", key_text(old), "new_key_id", key_text(now),
                  "certificate", stamp != 0 ? json_string(path) : json_null(), "rows",
                  json_integer_value(json_object_get(job->memory, "rows")));
    return job->result == NULL ? error_nomem(err) : COFFER_OK;
}

/* Every value goes back to the old key, as far as the fence is not up. */
static int
undo_rotate(struct job *job, struct coffer_error *err)
{
    int rc = run(job, "rotate", false, "--abort", err);

    return rc == COFFER_E_NOTFOUND ? COFFER_OK : rc;
}

static const struct job_step steps_rotate[] = {
    {"begin", step_note, NULL}, {"rotate", step_rotate, undo_rotate}, {NULL, NULL, NULL}};
const struct job_kind job_rotate_field = {"rotate-field", steps_rotate};

/* ---- actions ---- */

static int
check_columns(const json_t *request, struct coffer_error *err)
{
    const json_t *columns = json_object_get(request, "columns");
    size_t count = json_array_size(columns);

    if (count == 0 || count > COLUMNS_MAX)
        return error_set(err, COFFER_E_FORMAT, "\"columns\" is a list of 1 to %d \"table.column\"",
                         COLUMNS_MAX);
    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(json_array_get(columns, i));

        if (name == NULL || name[0] == '-' || name[0] == '\0' || strchr(name, '.') == NULL ||
            strlen(name) > 300)
            return error_set(err, COFFER_E_FORMAT, "\"%.60s\" is no \"table.column\"",
                             name != NULL ? name : "");
    }
    return COFFER_OK;
}

/* Words that go to a command line are plain: "5m", "eq,text". */
static int
check_word(const json_t *request, const char *name, struct coffer_error *err)
{
    const char *text;
    int rc = request_text(request, name, false, &text, err);

    if (rc == COFFER_OK && text != NULL &&
        (text[0] == '\0' || strlen(text) > 40 ||
         strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789,.") != strlen(text)))
        rc = error_set(err, COFFER_E_FORMAT, "\"%s\" is no such word: \"%.40s\"", name, text);
    return rc;
}

static int
begin(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
      const struct job_kind *kind, const char *event, json_t **reply, struct coffer_error *err)
{
    static const char *const texts[] = {"search", "settle", "grace"};
    const json_t *rate = json_object_get(request, "rate");
    const char *name = NULL;
    struct database d;
    uint64_t job = 0;
    int rc = request_text(request, "name", true, &name, err);

    for (size_t i = 0; rc == COFFER_OK && i < sizeof texts / sizeof *texts; i++)
        rc = check_word(request, texts[i], err);
    if (rc == COFFER_OK && rate != NULL && !json_is_null(rate) &&
        !(json_number_value(rate) >= 1 && json_number_value(rate) <= 1e9))
        rc = error_set(err, COFFER_E_FORMAT, "\"rate\" is rows a second");
    if (rc == COFFER_OK)
        rc = database_get(deploy, name, &d, err);
    if (rc == COFFER_OK && strcmp(d.engine, "postgresql") != 0 && strcmp(d.engine, "sqlite") != 0)
        rc = error_set(err, COFFER_E_UNSUPPORTED,
                       "columns of PostgreSQL and SQLite can be protected, not of %s", d.engine);
    if (rc == COFFER_OK && strcmp(d.state, "running") != 0)
        rc =
            error_set(err, COFFER_E_CONFLICT, "database %s is %s: start it first", d.name, d.state);
    if (rc == COFFER_OK)
        rc = deploy_audit(deploy, caller->who, event,
                          json_pack("{s:s,s:s,s:O*}", "database", d.name, "id", d.id, "columns",
                                    json_object_get(request, "columns")),
                          err);
    if (rc == COFFER_OK)
        rc = job_begin(deploy, kind, d.id, caller, request, &job, err);
    if (rc == COFFER_OK)
        *reply = json_job(job);
    return rc;
}

static int
run_protect(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
            json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {
        "name", "columns", "search", "rate", "settle", "no_unaware_clients", NULL};
    int rc = request_check(request, names, err);

    if (rc == COFFER_OK)
        rc = check_columns(request, err);
    return rc == COFFER_OK
               ? begin(deploy, caller, request, &job_protect, "database.protect", reply, err)
               : rc;
}

static int
run_rotate_field(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
                 json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {"name", "rate", "settle", "grace", NULL};
    int rc = request_check(request, names, err);

    return rc == COFFER_OK ? begin(deploy, caller, request, &job_rotate_field,
                                   "database.rotate-field", reply, err)
                           : rc;
}

const struct deploy_action protect_actions[] = {
    {"database.protect", ROLE_OPERATOR, run_protect},
    {"database.rotate-field", ROLE_OPERATOR, run_rotate_field},
    {NULL, ROLE_NONE, NULL},
};
