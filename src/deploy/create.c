/* SPDX-License-Identifier: Apache-2.0 */
/* database.create: folder, volume, mount, init, server, prepare, ready. */
#include "deploy/generation.h"

#include "base/error.h"
#include "base/secret.h"

#include <string.h>

#define PORT_FIRST 20000 /* below the ports that the kernel gives to outgoing connections */
#define PORT_COUNT 12000
#define PASSWORD_LEN 32

/* ---- the request ---- */

struct wish {
    const char *name, *engine, *stack, *listen;
    uint64_t major, port, memory, limit;
    bool archive;
    const struct engine *table;
    struct engine_programs programs;
    unsigned key_bits;
};

static void
engine_names(char *out, size_t max)
{
    size_t len = 0;

    out[0] = '\0';
    for (size_t i = 0; engines[i] != NULL && len < max; i++)
        len += (size_t)snprintf(out + len, max - len, "%s%s", i > 0 ? ", " : "", engines[i]->name);
}

static int
read_major(const json_t *request, uint64_t *major, struct coffer_error *err)
{
    const json_t *value = json_object_get(request, "version");
    const char *text = json_string_value(value);

    if (text != NULL && strspn(text, "0123456789") == strlen(text) && text[0] != '\0' &&
        strlen(text) < 4) {
        *major = 0;
        for (; *text != '\0'; text++)
            *major = *major * 10 + (uint64_t)(*text - '0');
        return COFFER_OK;
    }
    if (text != NULL)
        return error_set(err, COFFER_E_FORMAT,
                         "\"version\" is the major version: 15, not \"%.20s\"", text);
    return request_count(request, "version", 0, 999, major, err);
}

static int
read_wish(struct deploy *deploy, const json_t *request, struct wish *wish, struct coffer_error *err)
{
    static const char *const names[] = {"name", "engine", "version", "stack",   "listen",
                                        "port", "memory", "limit",   "archive", NULL};
    const json_t *archive = json_object_get(request, "archive");
    char known[120];
    int rc = request_check(request, names, err);

    if (rc == COFFER_OK)
        rc = request_text(request, "name", true, &wish->name, err);
    if (rc == COFFER_OK)
        rc = name_check("database", wish->name, err);
    if (rc == COFFER_OK)
        rc = request_text(request, "engine", false, &wish->engine, err);
    if (rc == COFFER_OK)
        rc = request_text(request, "stack", false, &wish->stack, err);
    if (rc == COFFER_OK)
        rc = request_text(request, "listen", false, &wish->listen, err);
    if (rc == COFFER_OK)
        rc = read_major(request, &wish->major, err);
    if (rc == COFFER_OK)
        rc = request_count(request, "port", 0, 65535, &wish->port, err);
    if (rc == COFFER_OK)
        rc = request_count(request, "memory", 0, UINT64_C(1) << 50, &wish->memory, err);
    if (rc == COFFER_OK)
        rc = request_count(request, "limit", 0, UINT64_C(1) << 60, &wish->limit, err);
    if (rc == COFFER_OK && archive != NULL && !json_is_boolean(archive) && !json_is_null(archive))
        rc = error_set(err, COFFER_E_FORMAT, "\"archive\" is true or false");
    if (rc != COFFER_OK)
        return rc;
    wish->engine = wish->engine != NULL ? wish->engine : "postgresql";
    wish->stack = wish->stack != NULL ? wish->stack : "main";
    wish->listen = wish->listen != NULL ? wish->listen : "127.0.0.1";
    wish->table = engine_find(wish->engine);
    engine_names(known, sizeof known);
    if (wish->table == NULL)
        return error_set(err, COFFER_E_UNSUPPORTED, "\"%.30s\" is no engine: %s", wish->engine,
                         known);
    wish->archive = archive != NULL ? json_is_true(archive) : wish->table->recover != NULL;
    if (wish->archive && wish->table->recover == NULL)
        return error_set(err, COFFER_E_UNSUPPORTED,
                         "%s cannot be restored to a point in time: create it without \"archive\"",
                         wish->table->title);
    if (wish->table->server == NULL &&
        (wish->port != 0 || json_object_get(request, "listen") != NULL))
        return error_set(err, COFFER_E_MISUSE, "%s has no server, so that it has no port",
                         wish->table->title);
    rc = wish->table->find((unsigned)wish->major, &wish->programs, err);
    return rc == COFFER_OK ? stack_key_bits(deploy, wish->stack, &wish->key_bits, err) : rc;
}

static bool
port_known(struct deploy *deploy, unsigned port)
{
    int64_t count = 0;

    return state_number(deploy, &count, NULL, NULL, "SELECT count(*) FROM databases WHERE port = ?",
                        "i", (int64_t)port) != COFFER_OK ||
           count > 0;
}

/* Within the transaction that enters it, so that two never get the same. */
static int
choose_port(struct deploy *deploy, struct wish *wish, struct coffer_error *err)
{
    struct coffer_error why = {0};
    uint16_t start;
    int rc;

    if (wish->table->server == NULL)
        return COFFER_OK;
    if (wish->port != 0) {
        if (port_known(deploy, (unsigned)wish->port))
            return error_set(err, COFFER_E_CONFLICT, "port %u is that of another database here",
                             (unsigned)wish->port);
        return run_port_free(wish->listen, (unsigned)wish->port, err);
    }
    rc = deploy->os->random(deploy->os, &start, sizeof start, err);
    for (unsigned i = 0; rc == COFFER_OK && i < PORT_COUNT; i++) {
        unsigned port = PORT_FIRST + (start + i) % PORT_COUNT;

        if (port_known(deploy, port))
            continue;
        rc = run_port_free(wish->listen, port, &why);
        if (rc == COFFER_OK) {
            wish->port = port;
            return rc;
        }
        if (rc != COFFER_E_CONFLICT)
            return error_set(err, rc, "%s", why.message);
        rc = COFFER_OK;
    }
    return rc != COFFER_OK ? rc
                           : error_set(err, COFFER_E_CONFLICT, "no port from %d to %d is free",
                                       PORT_FIRST, PORT_FIRST + PORT_COUNT - 1);
}

static int
enter(struct deploy *deploy, const struct wish *wish, const char *id, struct coffer_error *err)
{
    char password[PASSWORD_LEN + 1];
    int64_t now = deploy->os->now_us(deploy->os);
    struct bytes cell;
    struct buf sealed;
    int rc = secret_make(deploy->os, password, PASSWORD_LEN, err);

    buf_init(&sealed, 1024);
    if (rc == COFFER_OK)
        rc = secret_seal_text(deploy, id, password, &sealed, err);
    wipe(password, sizeof password);
    cell = buf_view(&sealed);
    if (rc == COFFER_OK)
        rc =
            state_run(deploy, err,
                      "INSERT INTO databases(id, name, engine, major, version, programs, stack, "
                      "generation, state, wanted, listen,"
                      " port, memory, size_limit, archive, secret, created)"
                      " VALUES(?, ?, ?, ?, ?, ?, ?, 1, 'creating', 'running', ?, ?, ?, ?, ?, ?, ?)",
                      "sssissssiiiibi", id, wish->name, wish->engine, (int64_t)wish->programs.major,
                      wish->programs.version, wish->programs.folder, wish->stack, wish->listen,
                      (int64_t)wish->port, (int64_t)wish->memory, (int64_t)wish->limit,
                      (int64_t)wish->archive, &cell, now);
    if (rc == COFFER_E_EXISTS)
        rc = error_set(err, rc, "there is a database %s already", wish->name);
    if (rc == COFFER_OK)
        rc = state_run(deploy, err,
                       "INSERT INTO generations(database, generation, volume, key_bits, state, "
                       "created) VALUES(?, 1, '', ?, 'current', ?)",
                       "sii", id, (int64_t)wish->key_bits, now);
    buf_wipe(&sealed);
    return rc;
}

/* Two databases share no folder: its name is the first 8 digits of the id. */
static int
choose_id(struct deploy *deploy, char id[37], struct coffer_error *err)
{
    struct uuid uuid;
    int64_t count = 1;
    int rc = COFFER_OK;

    while (rc == COFFER_OK && count > 0) {
        rc = uuid_new(&uuid, err);
        uuid_format(&uuid, id);
        if (rc == COFFER_OK)
            rc = state_number(
                deploy, &count, NULL, err,
                "SELECT count(*) FROM databases WHERE substr(id, 1, 8) = substr(?, 1, 8)", "s", id);
    }
    return rc;
}

int
database_enter(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
               char id[37], struct coffer_error *err)
{
    struct wish wish = {0};
    int rc = read_wish(deploy, request, &wish, err);

    if (rc == COFFER_OK)
        rc = state_begin(deploy, err);
    if (rc != COFFER_OK)
        return rc;
    rc = choose_id(deploy, id, err);
    if (rc == COFFER_OK) {
        struct database known;

        if (database_get(deploy, wish.name, &known, NULL) == COFFER_OK)
            rc = error_set(err, COFFER_E_EXISTS, "there is a database %s already", wish.name);
    }
    if (rc == COFFER_OK)
        rc = choose_port(deploy, &wish, err);
    if (rc == COFFER_OK)
        rc = enter(deploy, &wish, id, err);
    rc = state_end(deploy, rc, err);
    if (rc == COFFER_OK)
        rc = deploy_audit(deploy, caller->who, "database.create",
                          json_pack("{s:s,s:s,s:s,s:s,s:s}", "database", wish.name, "id", id,
                                    "engine", wish.engine, "stack", wish.stack, "cipher",
                                    wish.key_bits == 192 ? "aes-192" : "aes-256"),
                          err);
    return rc;
}

static int
run_create(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
           json_t **reply, struct coffer_error *err)
{
    char id[37];
    uint64_t job = 0;
    int rc = database_enter(deploy, caller, request, id, err);

    if (rc != COFFER_OK)
        return rc;
    database_tell(deploy, id);
    rc = job_begin(deploy, &job_create, id, caller, request, &job, err);
    *reply = json_job(job);
    return rc;
}

/* ---- steps ---- */

#define WITH_PLACE(job, call)                                                                      \
    struct database_place place;                                                                   \
    int rc = database_place((job)->deploy, (job)->database, 0, &place, err);                       \
    if (rc == COFFER_OK)                                                                           \
        rc = (call);                                                                               \
    database_place_wipe(&place);                                                                   \
    return rc

static int
step_folder(struct job *job, struct coffer_error *err)
{
    WITH_PLACE(job, generation_folder(job->deploy, &place, err));
}

static int
step_volume(struct job *job, struct coffer_error *err)
{
    WITH_PLACE(job, generation_volume(job->deploy, &place, job->who, err));
}

static int
step_mount(struct job *job, struct coffer_error *err)
{
    WITH_PLACE(job, run_mount(job->deploy, &place, err));
}

/* The mount may have died with the process that began the step. */
static int
mounted(struct job *job, const struct database_place *place, struct coffer_error *err)
{
    struct process_id server;
    int rc = COFFER_OK;

    if (!run_mounted(place) && process_find(place->server_pid, &server, NULL) == COFFER_OK)
        rc = process_stop(&server, 9, 1000, err);
    return rc == COFFER_OK ? run_mount(job->deploy, place, err) : rc;
}

static int
init_again(struct job *job, const struct database_place *place, struct coffer_error *err)
{
    int rc = mounted(job, place, err);

    return rc == COFFER_OK ? place->engine->init(&place->place, err) : rc;
}

static int
step_init(struct job *job, struct coffer_error *err)
{
    WITH_PLACE(job, init_again(job, &place, err));
}

static int
serve_again(struct job *job, const struct database_place *place, struct coffer_error *err)
{
    int rc = mounted(job, place, err);

    return rc == COFFER_OK ? run_server(job->deploy, place, err) : rc;
}

static int
step_server(struct job *job, struct coffer_error *err)
{
    WITH_PLACE(job, serve_again(job, &place, err));
}

static int
prepare_again(struct job *job, const struct database_place *place, struct coffer_error *err)
{
    int rc = serve_again(job, place, err);

    return rc == COFFER_OK && place->engine->prepare != NULL
               ? place->engine->prepare(&place->place, err)
               : rc;
}

static int
step_prepare(struct job *job, struct coffer_error *err)
{
    WITH_PLACE(job, prepare_again(job, &place, err));
}

static int
step_ready(struct job *job, struct coffer_error *err)
{
    struct database database;
    int rc = database_put_state(job->deploy, job->database, "running", "", err);

    if (rc == COFFER_OK) {
        database_measure(job->deploy, job->database);
        rc = database_get(job->deploy, job->database, &database, err);
    }
    return rc == COFFER_OK ? database_json(job->deploy, &database, ROLE_VIEWER, &job->result, err)
                           : rc;
}

/* A creation that is taken back leaves nothing. */
static int
undo_folder(struct job *job, struct coffer_error *err)
{
    return database_remove(job, err);
}

static const struct job_step steps[] = {
    {"folder", step_folder, undo_folder}, {"volume", step_volume, NULL},
    {"mount", step_mount, NULL},          {"init", step_init, NULL},
    {"server", step_server, NULL},        {"prepare", step_prepare, NULL},
    {"ready", step_ready, NULL},          {NULL, NULL, NULL},
};
const struct job_kind job_create = {"create", steps};

const struct deploy_action create_actions[] = {
    {"database.create", ROLE_OPERATOR, run_create},
    {NULL, ROLE_NONE, NULL},
};
