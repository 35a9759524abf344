/* SPDX-License-Identifier: Apache-2.0 */
/* The two doors: a Unix socket in the state folder, which only its owner may open, and TCP. */
#include "base/mem.h"
#include "daemon/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECTIONS_MAX 4096u
#define CONNECTIONS_AN_ADDRESS 1024u
#define SILENCE_S 60u
#define HEADER_MEMORY (32u << 10)

static void
log_http(void *arg, const char *format, va_list args)
{
    char line[500];

    (void)vsnprintf(line, sizeof line, format, args);
    line[strcspn(line, "\r\n")] = '\0';
    daemon_log(arg, "http: %s", line);
}

static struct MHD_Daemon *
serve(struct daemon *daemon, int fd, bool tls, unsigned threads)
{
    struct MHD_OptionItem items[] = {
        {MHD_OPTION_LISTEN_SOCKET, fd, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, NULL},
        {MHD_OPTION_PER_IP_CONNECTION_LIMIT, CONNECTIONS_AN_ADDRESS, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, SILENCE_S, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, HEADER_MEMORY, NULL},
        {MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)request_unescape, daemon},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)request_completed, daemon},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)connections_notify, &daemon->connections},
        {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
        {threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, threads, NULL},
        {tls ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0, daemon->tls_cert},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, daemon->tls_key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (char[]){"SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"}},
        {MHD_OPTION_END, 0, NULL},
    };

    return MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
                                (tls ? MHD_USE_TLS : 0u),
                            0, NULL, NULL, request_handle, daemon, MHD_OPTION_EXTERNAL_LOGGER, log_http,
                            daemon, MHD_OPTION_ARRAY, items, MHD_OPTION_END);
}

/* ---- the Unix socket ---- */

/* A path longer than sun_path goes by the folder's descriptor. */
static int
local_address(struct daemon *daemon, int folder, struct sockaddr_un *out, struct coffer_error *err)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(daemon->socket_path) < sizeof out->sun_path)
        memcpy(out->sun_path, daemon->socket_path, strlen(daemon->socket_path) + 1);
    else if (folder >= 0)
        (void)snprintf(out->sun_path, sizeof out->sun_path, "/proc/self/fd/%d/coffer.sock", folder);
    else
        return error_set(err, COFFER_E_IO, "%s: %s", deploy_dir(daemon->deploy), strerror(errno));
    return COFFER_OK;
}

int
listen_local(struct daemon *daemon, struct coffer_error *err)
{
    int folder = open(deploy_dir(daemon->deploy), O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address;
    struct stat st;
    int rc = local_address(daemon, folder, &address, err);

    if (rc != COFFER_OK)
        goto out;
    /* Ours alone: deploy_open() holds the folder's lock, so that a socket which is there is a dead one's. */
    if (lstat(daemon->socket_path, &st) == 0 && S_ISSOCK(st.st_mode))
        (void)unlink(daemon->socket_path);
    /* Linux gives the file the mode that the socket has already: it is never open to others. */
    if (fd < 0 || fchmod(fd, 0600) != 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        chmod(daemon->socket_path, 0600) != 0 || listen(fd, 512) != 0) {
        rc = error_set(err, COFFER_E_IO, "the socket %s cannot be made: %s", daemon->socket_path, strerror(errno));
        goto out;
    }
    daemon->local = serve(daemon, fd, false, 1);
    if (daemon->local == NULL)
        rc = error_set(err, COFFER_E_IO, "the server on %s did not start; see the log", daemon->socket_path);
    else
        fd = -1; /* libmicrohttpd's */
out:
    if (fd >= 0)
        (void)close(fd);
    if (folder >= 0)
        (void)close(folder);
    return rc;
}

/* ---- TCP ---- */

static int
split_address(struct daemon *daemon, const char *text, char port[8], struct coffer_error *err)
{
    const char *colon = strrchr(text, ':');
    size_t len = colon == NULL ? 0 : (size_t)(colon - text);
    char *end = NULL;
    long number = colon == NULL ? -1 : strtol(colon + 1, &end, 10);

    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') { /* [::1]:8080 */
        text++;
        len -= 2;
    } else if (memchr(text, ':', len) != NULL) {
        len = 0;
    }
    if (len == 0 || len >= sizeof daemon->host || end == NULL || *end != '\0' || end == colon + 1 || number < 0 ||
        number > 65535)
        return error_set(err, COFFER_E_MISUSE, "--http %s: write ADDRESS:PORT, like 127.0.0.1:8443; port 0 is a free one",
                         text);
    memcpy(daemon->host, text, len);
    daemon->host[len] = '\0';
    (void)snprintf(port, 8, "%ld", number);
    return COFFER_OK;
}

static bool
is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 == 127;
    if (address->sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
    return false;
}

static int
read_pem(struct daemon *daemon, const char *path, char **out, struct coffer_error *err)
{
    struct buf content;
    int rc;

    buf_init(&content, 256u << 10);
    rc = daemon->os->read_file(daemon->os, path, 256u << 10, &content, err);
    if (rc == COFFER_OK) {
        *out = mem_strdup(buf_cstr(&content));
        if (*out == NULL)
            rc = error_nomem(err);
    }
    buf_wipe(&content);
    return rc;
}

static int
bind_tcp(struct daemon *daemon, const struct addrinfo *found, int *fd, struct coffer_error *err)
{
    struct sockaddr_storage bound = {0};
    socklen_t len = sizeof bound;
    bool six = found->ai_family == AF_INET6;
    unsigned port;
    int one = 1;

    *fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0)
        return error_set(err, COFFER_E_IO, "socket: %s", strerror(errno));
    (void)setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(*fd, found->ai_addr, found->ai_addrlen) != 0 || listen(*fd, 1024) != 0 ||
        getsockname(*fd, (struct sockaddr *)&bound, &len) != 0)
        return error_set(err, errno == EADDRINUSE ? COFFER_E_CONFLICT : COFFER_E_IO, "--http %s: %s%s",
                         daemon->options.http, strerror(errno),
                         errno == EADDRINUSE ? ". Take another port; port 0 is a free one" : "");
    port = ntohs(six ? ((struct sockaddr_in6 *)&bound)->sin6_port : ((struct sockaddr_in *)&bound)->sin_port);
    (void)snprintf(daemon->url, sizeof daemon->url, "%s://%s%s%s:%u", daemon->tls ? "https" : "http", six ? "[" : "",
                   daemon->host, six ? "]" : "", port);
    return COFFER_OK;
}

int
listen_tcp(struct daemon *daemon, struct coffer_error *err)
{
    const struct daemon_options *o = &daemon->options;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found = NULL;
    char port[8];
    int fd = -1, rc = split_address(daemon, o->http, port, err), why;

    if (rc != COFFER_OK)
        return rc;
    if ((o->tls_cert != NULL) != (o->tls_key != NULL))
        return error_set(err, COFFER_E_MISUSE, "a certificate needs its key: give --tls-cert and --tls-key");
    why = getaddrinfo(daemon->host, port, &hints, &found);
    if (why != 0)
        return error_set(err, COFFER_E_NOTFOUND, "--http %s: %s", o->http, gai_strerror(why));
    daemon->loopback = is_loopback(found->ai_addr);
    daemon->tls = o->tls_cert != NULL;
    if (!daemon->loopback && !daemon->tls)
        rc = error_set(err, COFFER_E_REFUSED,
                       "--http %s: beyond this machine only with TLS, for a session's cookie would be read on the way. Give "
                       "--tls-cert and --tls-key, or listen on 127.0.0.1 and come through ssh -L",
                       o->http);
    if (rc == COFFER_OK && daemon->tls)
        rc = read_pem(daemon, o->tls_cert, &daemon->tls_cert, err);
    if (rc == COFFER_OK && daemon->tls)
        rc = read_pem(daemon, o->tls_key, &daemon->tls_key, err);
    if (rc == COFFER_OK)
        rc = bind_tcp(daemon, found, &fd, err);
    freeaddrinfo(found);
    if (rc == COFFER_OK) {
        daemon->tcp = serve(daemon, fd, daemon->tls, 2);
        if (daemon->tcp == NULL)
            rc = error_set(err, COFFER_E_IO, "the server on %s did not start%s", o->http,
                           daemon->tls ? ": are --tls-cert and --tls-key PEM files that belong together?" : "");
        else
            fd = -1;
    }
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

void
listen_stop(struct daemon *daemon)
{
    if (daemon->tcp != NULL)
        MHD_stop_daemon(daemon->tcp);
    if (daemon->local != NULL) {
        MHD_stop_daemon(daemon->local);
        (void)unlink(daemon->socket_path);
    }
    daemon->tcp = daemon->local = NULL;
}

/* A page of another site can be made to resolve to 127.0.0.1 (DNS rebinding); its requests bear that site's name.  With TLS the
 * browser has checked the name against the certificate. */
bool
host_is_ours(const struct daemon *daemon, const char *host)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "::1"};
    size_t len = strcspn(host, ":");

    if (host[0] == '[') {
        host++;
        len = strcspn(host, "]");
        if (host[len] != ']' || (host[len + 1] != '\0' && host[len + 1] != ':'))
            return false;
    }
    if (daemon->tls)
        return len > 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strlen(names[i]) == len && strncasecmp(names[i], host, len) == 0)
            return true;
    }
    return strlen(daemon->host) == len && strncasecmp(daemon->host, host, len) == 0;
}
