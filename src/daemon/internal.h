/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of daemon/ share.
 *
 * Threads: libmicrohttpd's (epoll: they never block on work), two pools of workers that call deploy_do() while the request's
 * connection is suspended (one for reading, one for changes, so that a slow start holds up no list), and one pump, which
 * takes events from deploy/ and hands them to the streams.
 */
#ifndef COFFER_DAEMON_INTERNAL_H
#define COFFER_DAEMON_INTERNAL_H

#include "daemon/assets.h"
#include "daemon/auth.h"
#include "daemon/daemon.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#define API_PREFIX "/api/v1"
#define BODY_MAX (256u << 10)
#define EVENTS_KEPT 1024u
#define HEARTBEAT_MS 15000
#define WAIT_MS_MAX 30000

struct request;
struct pool;
struct streams;

/* ---- connections: who is too slow (connection.c) ---- */

/* One TCP connection or one on the socket.  Whoever does not finish a request in time is cut off. */
struct connection {
    struct connection *next, **link;
    int fd;
    int64_t deadline_ms; /* monotonic; 0: none, we are at work */
};
struct connections {
    pthread_mutex_t mutex;
    struct connection *first;
    size_t count;
};
#define HEADER_MS 15000 /* from the connection's first byte to a whole header */
#define BODY_MS 30000
#define IDLE_MS 75000 /* between two requests of one connection */
void connections_notify(void *arg, struct MHD_Connection *connection, void **context,
                        enum MHD_ConnectionNotificationCode code);
void connection_deadline(struct MHD_Connection *connection, struct connections *all, int64_t deadline_ms);
void connections_cut(struct connections *all, int64_t now_ms);
int64_t monotonic_ms(void);

/* ---- the daemon ---- */

#define CODES_MAX 600
struct daemon {
    struct deploy *deploy;
    const struct os *os;
    struct daemon_options options;
    struct MHD_Daemon *tcp, *local;
    bool tls, loopback;
    char host[128]; /* as listened on, without the port */
    char url[192];
    char socket_path[4096], url_path[4096];
    uid_t owner;
    int ask[2]; /* a pipe: who asks for a stop writes, daemon_wait() reads */
    char *tls_cert, *tls_key;

    struct auth *auth;
    struct pool *readers, *changers;
    struct streams *streams;
    struct connections connections;
    struct asset_responses *assets;
    char *openapi;
    atomic_uint_fast64_t answered[CODES_MAX]; /* requests by HTTP code, for /metrics */
    atomic_bool stopping;
};
COFFER_MUST_CHECK int daemon_start_with(struct deploy *deploy, const struct daemon_options *options, const struct os *os,
                                        struct daemon **out, struct coffer_error *err);
COFFER_MUST_CHECK int daemon_link(struct daemon *daemon, const char *by, const char *who, enum deploy_role role, char *out,
                                  size_t max, struct coffer_error *err);
void daemon_log(struct daemon *daemon, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- listening (listen.c) ---- */

COFFER_MUST_CHECK int listen_tcp(struct daemon *daemon, struct coffer_error *err);
COFFER_MUST_CHECK int listen_local(struct daemon *daemon, struct coffer_error *err);
void listen_stop(struct daemon *daemon);
/* The name in a Host header is one of ours. */
bool host_is_ours(const struct daemon *daemon, const char *host);

/* ---- routes (routes.c) ---- */

enum route_flag {
    ROUTE_JOB = 1,       /* answers 202 with {"job"} */
    ROUTE_OPEN = 2,      /* needs no sign-in */
    ROUTE_BARE = 4,      /* no prefix /api/v1 */
    ROUTE_NO_CSRF = 8,   /* changes something, but there is no session yet */
    ROUTE_REPLY_OWN = 16, /* the function answers by itself (a stream, text) */
    ROUTE_PARAM_NUMBER = 32, /* the word of the path is a number */
};
struct query_name {
    const char *name;
    bool number;
    const char *help;
};
struct route {
    const char *method;
    const char *path;   /* "/databases/{name}/url"; at most one {word} */
    const char *action; /* of deploy/; NULL: `run` */
    int (*run)(struct request *request, json_t *body, json_t **reply, struct coffer_error *err);
    enum deploy_role role; /* at least; an action's own role counts, too */
    unsigned flags;
    const char *summary;
    const char *takes, *gives; /* names of schemas in api/schemas.json; NULL: nothing.  "[x]": an array of x */
    struct query_name query[6];
};
extern const struct route routes[];
extern const size_t route_count;
/* NULL: none; then `*other` says whether the path is known with another method. */
const struct route *route_find(const char *method, const char *path, char *word, size_t word_max, const char **allow);

/* ---- one request (request.c) ---- */

enum request_state { REQUEST_READING, REQUEST_WORKING, REQUEST_READY };
struct request {
    struct daemon *daemon;
    struct MHD_Connection *connection;
    struct request *next; /* in a queue */
    bool local;           /* came by the Unix socket */
    enum request_state state;
    const struct route *route;
    char word[300]; /* of the path */
    struct buf body;
    bool too_large;
    struct deploy_caller caller;
    struct session_ref session; /* how it signed in */
    /* while it waits for a job */
    uint64_t job;
    int64_t wait_until_ms;
    uint64_t seen; /* events that had happened when it looked */

    unsigned code;
    struct MHD_Response *response;
    bool shared; /* of assets.c: not ours to destroy */
};
enum MHD_Result request_handle(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
                               const char *version, const char *data, size_t *data_len, void **context);
void request_completed(void *arg, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode why);
size_t request_unescape(void *arg, struct MHD_Connection *connection, char *text);
/* Run it in a worker, then let the connection go on. */
void request_work(struct request *request);
void request_ready(struct request *request);
/* Answer 401, or 429 after too many from this address.  False, always. */
bool request_deny(struct request *request, const char *message);
/* A query argument; NULL if not given.  `bad` (may be NULL) is set when it holds a NUL. */
const char *request_query(const struct request *request, const char *name, bool *bad);

/* ---- answers (reply.c) ---- */

int http_of_status(int status);
void reply_json(struct request *request, unsigned code, json_t *value); /* takes value; NULL: out of memory */
void reply_error(struct request *request, unsigned code, const char *status, const char *message);
void reply_text(struct request *request, unsigned code, const char *type, char *text); /* takes text */
void reply_header(struct request *request, const char *name, const char *value);
void reply_security(struct MHD_Response *response);
enum MHD_Result reply_send(struct request *request);

/* ---- workers (pool.c) ---- */

COFFER_MUST_CHECK int pool_new(size_t threads, void (*run)(struct request *request), struct pool **out, struct coffer_error *err);
void pool_put(struct pool *pool, struct request *request);
void pool_stop(struct pool *pool); /* what is queued is run first; what is put later is answered 503 */
void pool_free(struct pool *pool);

/* ---- events (events.c) ---- */

COFFER_MUST_CHECK int streams_new(struct daemon *daemon, struct streams **out, struct coffer_error *err);
void streams_stop(struct streams *streams); /* ends all streams and waits; the pump is gone after it */
void streams_free(struct streams *streams);
uint64_t streams_seen(struct streams *streams);
/* Park `request` until something happened to its job after request->seen, or until its time is over. */
void streams_wait(struct streams *streams, struct request *request);
size_t streams_count(struct streams *streams);
int run_events(struct request *request, json_t *body, json_t **reply, struct coffer_error *err);

/* ---- pages (assets.c) ---- */

struct asset_responses;
COFFER_MUST_CHECK int assets_new(struct asset_responses **out, struct coffer_error *err);
void assets_free(struct asset_responses *responses);
/* Answer GET of a page or one of its parts; false: there is none. */
bool assets_answer(struct request *request, const char *path);

/* ---- the functions of routes that are no action of deploy/ ---- */

int run_session_begin(struct request *request, json_t *body, json_t **reply, struct coffer_error *err);
int run_session_show(struct request *request, json_t *body, json_t **reply, struct coffer_error *err);
int run_session_end(struct request *request, json_t *body, json_t **reply, struct coffer_error *err);
int run_signin(struct request *request, json_t *body, json_t **reply, struct coffer_error *err);
int run_tokens(struct request *request, json_t *body, json_t **reply, struct coffer_error *err);
int run_token_new(struct request *request, json_t *body, json_t **reply, struct coffer_error *err);
int run_token_end(struct request *request, json_t *body, json_t **reply, struct coffer_error *err);
int run_stop(struct request *request, json_t *body, json_t **reply, struct coffer_error *err);
int run_health(struct request *request, json_t *body, json_t **reply, struct coffer_error *err);
int run_metrics(struct request *request, json_t *body, json_t **reply, struct coffer_error *err);
int run_openapi(struct request *request, json_t *body, json_t **reply, struct coffer_error *err);
char *openapi_text(void); /* malloc()ed; NULL: out of memory */

#endif
