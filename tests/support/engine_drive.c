/* SPDX-License-Identifier: Apache-2.0 */
/* An engine's functions from a shell, for tests in Python.
 *
 *   engine_drive ENGINE PLACE.json find|init|start|stop|kill|prepare|url|dump|load|backup|restore|recover US|read-only on|off|doctor|census|
 *                                  doctor-mount LOWER
 *
 * PLACE.json has the members of struct engine_place; "account" stands for uid and gid.  dump and backup write to stdout, load and restore read stdin.
 * Ends with the number of the status, its message on stderr. */
#include "base/mem.h"
#include "deploy/engines/engine.h"

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START_SECONDS 120

static struct engine_programs programs;
static json_t *described; /* the place borrows its texts */
static char pid_file[ENGINE_PATH_MAX], log_file[ENGINE_PATH_MAX];

static const char *
text_of(const char *name)
{
    const char *text = json_string_value(json_object_get(described, name));

    return text != NULL ? text : "";
}

static int
read_place(const struct engine *engine, const char *path, struct engine_place *place,
           struct coffer_error *err)
{
    struct passwd *account;
    int rc;

    described = json_load_file(path, 0, NULL);
    if (described == NULL)
        return error_set(err, COFFER_E_FORMAT, "%s is no JSON", path);
    rc = engine->find((unsigned)json_integer_value(json_object_get(described, "major")), &programs,
                      err);
    *place = (struct engine_place){
        .programs = &programs,
        .os = &os_real,
        .root = text_of("root"),
        .tls = text_of("tls"),
        .run = text_of("run"),
        .name = text_of("name"),
        .user = "coffer",
        .password = text_of("password"),
        .listen = text_of("listen"),
        .port = (unsigned)json_integer_value(json_object_get(described, "port")),
        .memory = (uint64_t)json_integer_value(json_object_get(described, "memory")),
        .archive = json_is_true(json_object_get(described, "archive"))};
    account = getpwnam(text_of("account"));
    if (account != NULL && geteuid() == 0) {
        place->uid = account->pw_uid;
        place->gid = account->pw_gid;
    }
    snprintf(pid_file, sizeof pid_file, "%s/%s.%u.pid", place->run, engine->name, place->port);
    snprintf(log_file, sizeof log_file, "%s/log/server.log", place->root);
    return rc;
}

static int
start(const struct engine *engine, const struct engine_place *place, struct coffer_error *err)
{
    struct process_spec spec;
    struct process_id id;
    int rc = engine->server(place, &spec, err), i;

    if (rc != COFFER_OK)
        return rc;
    rc = process_start(&spec, log_file, pid_file, &id, err);
    process_spec_clear(&spec);
    for (i = 0; rc == COFFER_OK; i++) {
        rc = engine->ready(place, err);
        if (rc != COFFER_E_NOTYET)
            break;
        if (!process_alive(&id))
            return error_set(err, COFFER_E_IO, "the server has ended");
        if (i > START_SECONDS * 20)
            return error_set(err, COFFER_E_NOTYET, "the server does not get ready");
        rc = COFFER_OK;
        usleep(50000);
    }
    return rc;
}

static int
stop(const struct engine *engine, int with, struct coffer_error *err)
{
    struct process_id id;
    int rc = process_find(pid_file, &id, err);

    return rc != COFFER_OK ? rc : process_stop(&id, with, 60000, err);
}

static int
pass_on(int from, int to)
{
    static char room[1 << 20];
    ssize_t n;

    while ((n = read(from, room, sizeof room)) > 0) {
        char *at = room;

        while (n > 0) {
            ssize_t m = write(to, at, (size_t)n);

            if (m <= 0)
                return -1;
            at += m;
            n -= m;
        }
    }
    return (int)n;
}

static int
stream(int (*of)(const struct engine_place *, struct process_spec *, struct coffer_error *),
       bool from_it, const struct engine_place *place, struct coffer_error *err)
{
    struct process_stream *running = NULL;
    struct process_spec spec;
    int fd = -1, rc = of(place, &spec, err), moved;

    if (rc != COFFER_OK)
        return rc;
    rc = process_stream_begin(&spec, from_it, &fd, &running, err);
    process_spec_clear(&spec);
    if (rc != COFFER_OK)
        return rc;
    moved = from_it ? pass_on(fd, 1) : pass_on(0, fd);
    rc = process_stream_end(running, false, err);
    return rc != COFFER_OK || moved >= 0 ? rc : error_set(err, COFFER_E_IO, "the stream broke");
}

static int
print_check(void *arg, const struct engine_check *check, struct coffer_error *err)
{
    json_t *line =
        json_pack("{s:s,s:s,s:s}", "name", check->name, "state", check->state, "text", check->text);

    if (line == NULL)
        return error_set(err, COFFER_E_FORMAT, "a check that is no text: %s", check->name);
    json_dumpf(line, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(line);
    return COFFER_OK;
}

static int
print_url(const struct engine *engine, const struct engine_place *place, struct coffer_error *err)
{
    char text[4096];
    int rc = engine->url(place, text, sizeof text, err);

    if (rc == COFFER_OK)
        puts(text);
    return rc;
}

static int
print_census(const struct engine *engine, const struct engine_place *place,
             struct coffer_error *err)
{
    json_t *census = NULL;
    int rc = engine->census(place, &census, err);

    if (rc == COFFER_OK) {
        json_dumpf(census, stdout, JSON_COMPACT | JSON_SORT_KEYS);
        putchar('\n');
    }
    json_decref(census);
    return rc;
}

static int
run(const struct engine *engine, const struct engine_place *place, const char *what,
    const char *with, struct coffer_error *err)
{
    if (strcmp(what, "find") == 0)
        return printf("{\"major\": %u, \"version\": \"%s\", \"folder\": \"%s\"}\n", programs.major,
                      programs.version, programs.folder) > 0
                   ? COFFER_OK
                   : COFFER_E_IO;
    if (strcmp(what, "init") == 0)
        return engine->init(place, err);
    if (strcmp(what, "start") == 0)
        return start(engine, place, err);
    if (strcmp(what, "stop") == 0)
        return stop(engine, engine->stop_signal, err);
    if (strcmp(what, "kill") == 0)
        return stop(engine, SIGKILL, err);
    if (strcmp(what, "prepare") == 0)
        return engine->prepare(place, err);
    if (strcmp(what, "ready") == 0)
        return engine->ready(place, err);
    if (strcmp(what, "url") == 0)
        return print_url(engine, place, err);
    if (strcmp(what, "dump") == 0)
        return stream(engine->dump, true, place, err);
    if (strcmp(what, "load") == 0)
        return stream(engine->load, false, place, err);
    if (strcmp(what, "backup") == 0)
        return stream(engine->backup, true, place, err);
    if (strcmp(what, "restore") == 0)
        return stream(engine->restore, false, place, err);
    if (strcmp(what, "recover") == 0)
        return engine->recover(place,
                               strcmp(with, "end") == 0 ? INT64_MAX : strtoll(with, NULL, 10), err);
    if (strcmp(what, "read-only") == 0)
        return engine->read_only(place, strcmp(with, "on") == 0, err);
    if (strcmp(what, "doctor") == 0)
        return engine->doctor(place, print_check, NULL, err);
    if (strcmp(what, "doctor-mount") == 0)
        return doctor_mount(place->root, with[0] != '\0' ? with : NULL, print_check, NULL, err);
    if (strcmp(what, "census") == 0)
        return print_census(engine, place, err);
    return error_set(err, COFFER_E_MISUSE, "what is %s?", what);
}

int
main(int argc, char **argv)
{
    const struct engine *engine = argc > 3 ? engine_find(argv[1]) : NULL;
    struct coffer_error err = {0};
    struct engine_place place;
    int rc;

    if (engine == NULL) {
        fprintf(stderr, "engine_drive ENGINE PLACE.json WHAT [WITH]\n");
        return 100;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    rc = read_place(engine, argv[2], &place, &err);
    if (rc == COFFER_OK)
        rc = run(engine, &place, argv[3], argc > 4 ? argv[4] : "", &err);
    if (rc != COFFER_OK)
        fprintf(stderr, "%s\n", err.message);
    json_decref(described);
    return rc;
}
