/* SPDX-License-Identifier: Apache-2.0 */
/* Redis: found, made, started, asked. */
#include "deploy/engines/redis.h"

#include "deploy/engines/internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OLDEST 7

static const char *const folders[] = {"/usr/bin", NULL};

static int
find(unsigned major, struct engine_programs *out, struct coffer_error *err)
{
    char path[ENGINE_PATH_MAX];
    struct buf text;
    int rc;

    memset(out, 0, sizeof *out);
    rc = program_find("redis-server", folders, "redis-server", path, err);
    if (rc != COFFER_OK)
        return rc;
    buf_init(&text, 4096);
    rc = program_version(path, &text, err);
    if (rc == COFFER_OK && !version_read(buf_cstr(&text), out->version, &out->major))
        rc = error_set(err, COFFER_E_FORMAT, "%s does not say which version it is", path);
    buf_wipe(&text);
    if (rc == COFFER_OK && major != 0 && out->major != major)
        rc = error_set(err, COFFER_E_NOTFOUND, "Redis %u is not installed; %s is", major,
                       out->version);
    if (rc == COFFER_OK && out->major < OLDEST)
        rc = error_set(err, COFFER_E_UNSUPPORTED, "Redis %s is too old: %d or later", out->version,
                       OLDEST);
    *strrchr(path, '/') = '\0';
    snprintf(out->folder, sizeof out->folder, "%s", path);
    return rc;
}

int
redis_program(const struct engine_place *place, const char *program, char out[ENGINE_PATH_MAX],
              struct coffer_error *err)
{
    const char *const places[] = {place->programs->folder, NULL};

    return program_find(program, places, "redis-tools", out, err);
}

/* The server makes its files itself; an init that was broken off has left nothing behind. */
static int
init(const struct engine_place *place, struct coffer_error *err)
{
    if (place->archive)
        return error_set(
            err, COFFER_E_UNSUPPORTED,
            "Redis's log is not archived by this version: backups without points in time");
    return redis_configure(place, err);
}

static int
server(const struct engine_place *place, struct process_spec *out, struct coffer_error *err)
{
    int rc = spec_begin(place, out, err);

    if (rc == COFFER_OK)
        rc = redis_configure(place, err);
    if (rc == COFFER_OK)
        rc = process_arg(out, err, "%s/redis-server", place->programs->folder);
    if (rc == COFFER_OK)
        rc = process_arg(out, err, "%s/conf/redis.conf", place->root);
    if (rc != COFFER_OK)
        process_spec_clear(out);
    return rc;
}

/* ---- asking it ---- */

static int
run_client(const struct engine_place *place, struct bytes input, struct buf *out,
           struct coffer_error *err)
{
    char program[ENGINE_PATH_MAX], socket[ENGINE_PATH_MAX];
    struct process_spec spec;
    int rc = spec_begin(place, &spec, err);

    if (rc == COFFER_OK)
        rc = redis_program(place, "redis-cli", program, err);
    if (rc == COFFER_OK)
        rc = redis_socket(place, socket, err);
    if (rc == COFFER_OK)
        rc = spec_args(&spec, err, program, "-s", socket, NULL);
    if (rc == COFFER_OK)
        rc = process_run(&spec, input, out, NULL, NULL, err);
    process_spec_clear(&spec);
    return rc;
}

/* What an answer means; redis-cli ends well whatever the server said. */
static int
judge(const char *answer, struct coffer_error *err)
{
    static const char *const later[] = {"Could not connect",
                                        "Connection refused",
                                        "LOADING",
                                        "Server closed the connection",
                                        "BUSY ",
                                        "No such file"};
    static const char *const refusals[] = {"ERR ",   "WRONGPASS", "NOAUTH",
                                           "NOPERM", "MISCONF",   "OOM "};
    const char *line = answer;
    size_t i;

    for (i = 0; i < sizeof later / sizeof *later; i++)
        if (strstr(answer, later[i]) != NULL)
            return error_set(err, COFFER_E_NOTYET, "Redis is starting or busy: %.200s", answer);
    while (line != NULL && *line != '\0') {
        for (i = 0; i < sizeof refusals / sizeof *refusals; i++)
            if (strncmp(line, refusals[i], strlen(refusals[i])) == 0)
                return error_set(err, COFFER_E_DB, "Redis refused: %.*s",
                                 (int)strcspn(line, "\r\n"), line);
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return strncmp(answer, "OK", 2) == 0 ? COFFER_OK
                                         : error_set(err, COFFER_E_NOTYET, "Redis does not answer");
}

int
redis_ask(const struct engine_place *place, const char *commands, struct buf *out,
          struct coffer_error *err)
{
    struct coffer_error own = {0};
    struct buf input, password;
    int rc;

    buf_init(&password, 256);
    buf_init(&input, 8192);
    rc = place_read(place, REDIS_PASSWORD, 255, &password, err);
    if (rc != COFFER_OK)
        goto out;
    buf_format(&input, "AUTH " REDIS_ADMIN " %s\n%s", buf_cstr(&password), commands);
    rc = buf_status(&input, err);
    if (rc == COFFER_OK) {
        rc = run_client(place, buf_view(&input), out, &own);
        if (rc == COFFER_E_IO)
            rc = judge(own.message, err); /* it could not connect */
        else if (rc != COFFER_OK)
            rc = error_set(err, rc, "%s", own.message);
        else
            rc = judge(buf_cstr(out), err);
    }

out:
    buf_wipe(&input);
    buf_wipe(&password);
    return rc;
}

static int
ready(const struct engine_place *place, struct coffer_error *err)
{
    struct buf out;
    int rc;

    buf_init(&out, OUTPUT_MAX);
    rc = redis_ask(place, "PING\n", &out, err);
    buf_wipe(&out);
    return rc;
}

/* Users are in the configuration that the server began with; what a copy brings has none. */
static int
prepare(const struct engine_place *place, struct coffer_error *err)
{
    return redis_read_only(place, false, err);
}

static int
url(const struct engine_place *place, char *out, size_t max, struct coffer_error *err)
{
    char socket[ENGINE_PATH_MAX];
    struct buf text;
    int rc = redis_socket(place, socket, err);

    buf_init(&text, max > 0 ? max - 1 : 0);
    if (place->listen[0] == '\0') {
        buf_format(&text, "unix://%s:%s@", place->user, place->password);
        url_escape(socket, &text);
        buf_str(&text, "?db=0");
    } else {
        buf_format(&text, "rediss://%s:%s@", place->user, place->password);
        url_host(place->listen, &text);
        buf_format(&text, ":%u/0", place->port);
        if (place->tls != NULL) {
            buf_str(&text, "?ssl_ca_certs=");
            url_escape(place->tls, &text);
            buf_str(&text, "/ca.crt");
        }
    }
    return url_end(rc, &text, out, err);
}

const struct engine engine_redis = {
    .name = "redis",
    .title = "Redis",
    .account = "redis",
    .default_port = 6379,
    .stop_signal = SIGTERM,
    .find = find,
    .init = init,
    .server = server,
    .ready = ready,
    .prepare = prepare,
    .url = url,
    .dump = redis_dump,
    .load = redis_load,
    .backup = redis_dump, /* a snapshot is both */
    .restore = redis_restore,
    .read_only = redis_read_only,
    .doctor = redis_doctor,
    .census = redis_census,
};
