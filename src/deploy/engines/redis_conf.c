/* SPDX-License-Identifier: Apache-2.0 */
/* Redis's configuration, all of it in root/conf, written at each start. */
#include "crypto/crypto.h"
#include "deploy/engines/internal.h"
#include "deploy/engines/redis.h"

#include <stdio.h>
#include <string.h>

#define PASSWORD_BYTES 24

int
redis_socket(const struct engine_place *place, char out[ENGINE_PATH_MAX], struct coffer_error *err)
{
    if (snprintf(out, ENGINE_PATH_MAX, "%s/redis.%u.sock", place->run, place->port) >= 108)
        return error_set(err, COFFER_E_LIMIT, "the path %.120s… is too long for a Unix socket",
                         place->run);
    return COFFER_OK;
}

/* name "folder/rest" */
static void
option(const char *name, const char *folder, const char *rest, struct buf *out)
{
    const char *c;

    buf_format(out, "%s \"", name);
    for (c = folder; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            buf_format(out, "\\%c", *c);
        else if ((unsigned char)*c < ' ')
            buf_format(out, "\\x%02x", (unsigned)(unsigned char)*c);
        else
            buf_u8(out, (uint8_t)*c);
    }
    buf_format(out, "%s\"\n", rest);
}

static const char fixed[] =
    "daemonize no\n"
    "supervised no\n"
    "logfile \"\"\n"
    "always-show-logo no\n"
    /* A report of a crash has clients' commands in it. */
    "crash-log-enabled no\n"
    "port 0\n"
    "tls-auth-clients no\n"
    "tls-protocols \"TLSv1.2 TLSv1.3\"\n"
    "unixsocketperm 777\n" /* passwords decide who may */
    /* A command is in the log on the disk before the client hears of it. */
    "appendonly yes\n"
    "appendfsync always\n"
    "no-appendfsync-on-rewrite no\n"
    "aof-use-rdb-preamble yes\n"
    "aof-load-truncated yes\n"
    "save 3600 1 300 100 60 10000\n"
    "stop-writes-on-bgsave-error yes\n"
    "rdbchecksum yes\n"
    /* A snapshot that is sent without a file has a mark behind its end, which redis-cli does not take off when it writes to a pipe. */
    "repl-diskless-sync no\n"
    /* For the administrator alone, whose DEBUG RELOAD takes in a dump. */
    "enable-debug-command local\n"
    "enable-module-command no\n"
    "enable-protected-configs no\n"
    "maxmemory-policy noeviction\n"
    "user default off resetpass -@all\n";

/* A user whose password is written as its SHA-256. */
static int
user(const char *name, struct bytes password, const char *rules, struct buf *out,
     struct coffer_error *err)
{
    uint8_t digest[32];
    char hex[65];
    int rc = sha256(password, digest, err);

    hex_encode(bytes_of(digest, sizeof digest), hex);
    buf_format(out, "user %s on #%s %s\n", name, hex, rules);
    return rc;
}

/* The administrator's password, made at the first start. */
static int
admin_password(const struct engine_place *place, struct buf *out, struct coffer_error *err)
{
    uint8_t raw[PASSWORD_BYTES];
    char hex[2 * PASSWORD_BYTES + 1];
    int rc;

    if (place_has(place, REDIS_PASSWORD))
        return place_read(place, REDIS_PASSWORD, out->max, out, err);
    rc = place->os->random(place->os, raw, sizeof raw, err);
    if (rc != COFFER_OK)
        return rc;
    hex_encode(bytes_of(raw, sizeof raw), hex);
    buf_str(out, hex);
    wipe(raw, sizeof raw);
    wipe(hex, sizeof hex);
    return place_write(place, REDIS_PASSWORD, buf_view(out), err);
}

static int
users(const struct engine_place *place, struct buf *out, struct coffer_error *err)
{
    struct buf password;
    int rc;

    buf_init(&password, 256);
    rc = admin_password(place, &password, err);
    if (rc == COFFER_OK)
        rc = user(REDIS_ADMIN, buf_view(&password), "~* &* +@all", out, err);
    if (rc == COFFER_OK)
        rc = user(place->user, bytes_str(place->password),
                  place_has(place, REDIS_READ_ONLY) ? REDIS_RULES " -@write" : REDIS_RULES, out,
                  err);
    buf_wipe(&password);
    return rc;
}

int
redis_configure(const struct engine_place *place, struct coffer_error *err)
{
    char socket[ENGINE_PATH_MAX];
    struct buf conf;
    int rc = place_folders(place, err);

    buf_init(&conf, 65536);
    if (rc == COFFER_OK)
        rc = place_tls(place, NULL, err);
    if (rc == COFFER_OK)
        rc = redis_socket(place, socket, err);
    if (rc != COFFER_OK)
        return rc;
    buf_str(&conf, "# Written by Coffer at each start.\n");
    buf_str(&conf, fixed);
    option("dir", place->root, "/data", &conf);
    option("tls-cert-file", place->root, "/tls/server.pem", &conf);
    option("tls-key-file", place->root, "/tls/server.pem", &conf);
    option("tls-ca-cert-file", place->root, "/tls/ca.crt", &conf);
    option("unixsocket", socket, "", &conf);
    if (place->listen[0] != '\0')
        option("bind", place->listen, "", &conf);
    buf_format(&conf, "tls-port %u\n", place->listen[0] != '\0' ? place->port : 0);
    if (place->memory > 0)
        buf_format(&conf, "maxmemory %llu\n", (unsigned long long)place->memory);
    rc = users(place, &conf, err);
    if (rc == COFFER_OK)
        rc = buf_status(&conf, err);
    if (rc == COFFER_OK)
        rc = place_write(place, "conf/redis.conf", buf_view(&conf), err);
    buf_wipe(&conf);
    return rc;
}
