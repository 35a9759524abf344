/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "daemon/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READERS 4
#define CHANGERS 8

void
daemon_log(struct daemon *daemon, const char *format, ...)
{
    char line[600];
    va_list args;

    if (daemon->options.log == NULL)
        return;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    daemon->options.log(daemon->options.arg, line);
}

const char *
daemon_url(const struct daemon *daemon)
{
    return daemon->url;
}

int
daemon_link(struct daemon *daemon, const char *by, const char *who, enum deploy_role role, char *out, size_t max,
            struct coffer_error *err)
{
    char token[AUTH_TOKEN_MAX];
    int rc;

    if (daemon->tcp == NULL)
        return error_set(err, COFFER_E_REFUSED, "cofferd listens on its socket only; start it with --http 127.0.0.1:0 for the dashboard");
    rc = auth_link(daemon->auth, by, who, role, token, err);
    if (rc == COFFER_OK && (size_t)snprintf(out, max, "%s/signin#%s", daemon->url, token) >= max)
        rc = error_set(err, COFFER_E_LIMIT, "the link is too long");
    wipe(token, sizeof token);
    return rc;
}

int
daemon_signin_link(struct daemon *daemon, const char *who, enum deploy_role role, char *out, size_t max,
                   struct coffer_error *err)
{
    return daemon_link(daemon, who, who, role, out, max, err);
}

bool
daemon_wait(struct daemon *daemon)
{
    char asked = 'k';

    while (read(daemon->ask[0], &asked, 1) < 0 && errno == EINTR)
        ;
    return asked == 'd';
}

void
daemon_ask_stop(struct daemon *daemon, bool databases)
{
    int saved = errno;
    ssize_t ignored = write(daemon->ask[1], databases ? "d" : "k", 1);

    (void)ignored;
    errno = saved;
}

static int
prepare(struct daemon *daemon, struct coffer_error *err)
{
    const char *dir = deploy_dir(daemon->deploy);
    struct stat st;
    int rc;

    (void)pthread_mutex_init(&daemon->connections.mutex, NULL);
    if (pipe2(daemon->ask, O_CLOEXEC) != 0) {
        daemon->ask[0] = daemon->ask[1] = -1;
        return error_set(err, COFFER_E_IO, "pipe: %s", strerror(errno));
    }
    if (stat(dir, &st) != 0)
        return error_set(err, COFFER_E_IO, "%s: %s", dir, strerror(errno));
    daemon->owner = st.st_uid;
    if ((size_t)snprintf(daemon->socket_path, sizeof daemon->socket_path, "%s/coffer.sock", dir) >=
            sizeof daemon->socket_path ||
        (size_t)snprintf(daemon->url_path, sizeof daemon->url_path, "%s/url", dir) >= sizeof daemon->url_path)
        return error_set(err, COFFER_E_LIMIT, "the path of the state folder is too long");
    daemon->openapi = openapi_text();
    if (daemon->openapi == NULL)
        return error_nomem(err);
    rc = auth_open(daemon->deploy, daemon->os, &daemon->auth, err);
    if (rc == COFFER_OK)
        rc = assets_new(&daemon->assets, err);
    if (rc == COFFER_OK)
        rc = pool_new(READERS, request_work, &daemon->readers, err);
    if (rc == COFFER_OK)
        rc = pool_new(CHANGERS, request_work, &daemon->changers, err);
    if (rc == COFFER_OK)
        rc = streams_new(daemon, &daemon->streams, err);
    return rc;
}

int
daemon_start_with(struct deploy *deploy, const struct daemon_options *options, const struct os *os, struct daemon **out,
                  struct coffer_error *err)
{
    struct daemon *daemon = mem_alloc(sizeof *daemon);
    char line[200];
    int rc;

    *out = NULL;
    if (daemon == NULL)
        return error_nomem(err);
    daemon->deploy = deploy;
    daemon->os = os;
    daemon->options = *options;
    daemon->ask[0] = daemon->ask[1] = -1;
    rc = prepare(daemon, err);
    if (rc == COFFER_OK && options->http != NULL)
        rc = listen_tcp(daemon, err);
    if (rc == COFFER_OK)
        rc = listen_local(daemon, err);
    if (rc == COFFER_OK) {
        (void)snprintf(line, sizeof line, "%s\n", daemon->url);
        rc = os->write_file(os, daemon->url_path, bytes_str(line), 0600, false, err);
    }
    if (rc != COFFER_OK) {
        daemon_stop(daemon);
        return rc;
    }
    *out = daemon;
    return COFFER_OK;
}

int
daemon_start(struct deploy *deploy, const struct daemon_options *options, struct daemon **out, struct coffer_error *err)
{
    return daemon_start_with(deploy, options, &os_real, out, err);
}

/* Whoever waits is answered first: libmicrohttpd must not be stopped while a connection is suspended. */
void
daemon_stop(struct daemon *daemon)
{
    if (daemon == NULL)
        return;
    atomic_store(&daemon->stopping, true);
    streams_stop(daemon->streams);
    pool_stop(daemon->changers);
    pool_stop(daemon->readers);
    listen_stop(daemon);
    pool_free(daemon->changers);
    pool_free(daemon->readers);
    if (daemon->url_path[0] != '\0' && daemon->streams != NULL)
        (void)unlink(daemon->url_path);
    streams_free(daemon->streams);
    assets_free(daemon->assets);
    auth_close(daemon->auth);
    free(daemon->openapi);
    mem_free(daemon->tls_cert);
    if (daemon->tls_key != NULL)
        wipe(daemon->tls_key, strlen(daemon->tls_key));
    mem_free(daemon->tls_key);
    for (int i = 0; i < 2; i++) {
        if (daemon->ask[i] >= 0)
            (void)close(daemon->ask[i]);
    }
    (void)pthread_mutex_destroy(&daemon->connections.mutex);
    mem_free(daemon);
}
