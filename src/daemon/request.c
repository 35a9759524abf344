/* SPDX-License-Identifier: Apache-2.0 */
/* One request.
 *
 *   READING --whole--> WORKING (connection suspended, in a pool) --request_ready()--> READY --reply_send()--> gone
 *      \--refused early, or a page-------------------------------------------------->/
 *
 * The request belongs to libmicrohttpd's thread while READING and READY, to a worker (or to the list of those who wait for a job)
 * while WORKING: after request_ready() the worker touches it no more.
 */
#include "base/mem.h"
#include "daemon/internal.h"

#include <errno.h>
#include <netdb.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/* %00 and %2F stay as they are written: a NUL would cut the text, a slash would move words of the path. */
size_t
request_unescape(void *arg, struct MHD_Connection *connection, char *text)
{
    char *to = text;

    for (const char *p = text; *p != '\0';) {
        uint8_t byte = 0;
        size_t len = 0;

        if (p[0] == '%' && p[1] != '\0' && p[2] != '\0' && hex_decode(bytes_of(p + 1, 2), &byte, 1, &len) &&
            byte != 0 && byte != '/') {
            *to++ = (char)byte;
            p += 3;
        } else {
            *to++ = *p++;
        }
    }
    *to = '\0';
    return (size_t)(to - text);
}

const char *
request_query(const struct request *request, const char *name, bool *bad)
{
    const char *value = NULL;
    size_t len = 0;

    if (MHD_lookup_connection_value_n(request->connection, MHD_GET_ARGUMENT_KIND, name, strlen(name), &value, &len) !=
        MHD_YES)
        return NULL;
    if (value == NULL)
        return "";
    if (bad != NULL && strlen(value) != len)
        *bad = true;
    return value;
}

static const char *
header(const struct request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

/* ---- who asks ---- */

static void
address_text(struct MHD_Connection *connection, char *out, size_t max)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *a = info == NULL ? NULL : info->client_addr;

    if (a == NULL || getnameinfo(a, a->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in), out,
                                 (socklen_t)max, NULL, 0, NI_NUMERICHOST) != 0)
        (void)snprintf(out, max, "?");
}

/* The kernel says who opened the socket. */
static bool
caller_of_socket(struct request *request)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct ucred peer;
    socklen_t len = sizeof peer;
    struct passwd account, *found = NULL;
    char space[4096];

    if (info == NULL || getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 ||
        (peer.uid != 0 && peer.uid != request->daemon->owner)) {
        reply_error(request, MHD_HTTP_FORBIDDEN, "refused", "this socket answers root and the owner of the state folder");
        return false;
    }
    request->caller.role = ROLE_CUSTODIAN;
    request->session.kind = AUTH_SOCKET;
    if (getpwuid_r(peer.uid, &account, space, sizeof space, &found) == 0 && found != NULL)
        (void)snprintf(request->caller.who, sizeof request->caller.who, "%s", account.pw_name);
    else
        (void)snprintf(request->caller.who, sizeof request->caller.who, "uid %u", (unsigned)peer.uid);
    return true;
}

static bool
is_change(const struct request *request)
{
    return strcmp(request->route->method, "GET") != 0;
}

/* A guess costs the guesser: after GUESSES_A_MINUTE the answer is 429.  A right one is never held up, so that nobody who can
 * reach the port can lock others out; 256 bits are not guessed. */
bool
request_deny(struct request *request, const char *message)
{
    char address[64];

    address_text(request->connection, address, sizeof address);
    if (auth_guessed(request->daemon->auth, address)) {
        reply_error(request, MHD_HTTP_TOO_MANY_REQUESTS, "limit", "too many wrong tokens from this address; wait a minute");
        reply_header(request, "Retry-After", "60");
    } else {
        reply_error(request, MHD_HTTP_UNAUTHORIZED, "auth", message);
    }
    return false;
}

static bool
caller_of_tcp(struct request *request)
{
    const char *bearer = header(request, "Authorization");
    const char *cookie = MHD_lookup_connection_value(request->connection, MHD_COOKIE_KIND, "coffer_session");
    const char *csrf = header(request, "X-Coffer-CSRF");
    struct coffer_error err = {0};

    if (bearer != NULL) {
        if (strncasecmp(bearer, "Bearer ", 7) != 0)
            return request_deny(request, "of the ways to authorize only Bearer is known here");
        if (auth_check(request->daemon->auth, AUTH_TOKEN, bearer + 7, &request->caller, &request->session, &err) != COFFER_OK)
            return request_deny(request, "no such token, or it has expired");
        return true;
    }
    if (cookie == NULL) {
        reply_error(request, MHD_HTTP_UNAUTHORIZED, "auth", "sign in first: `coffer signin` prints a link");
        return false;
    }
    if (auth_check(request->daemon->auth, AUTH_SESSION, cookie, &request->caller, &request->session, &err) != COFFER_OK)
        return request_deny(request, "the session has ended: sign in again with `coffer signin`");
    if (is_change(request) &&
        (csrf == NULL || !secret_equal(bytes_str(csrf), bytes_str(request->session.csrf)))) {
        reply_error(request, MHD_HTTP_FORBIDDEN, "refused", "the header X-Coffer-CSRF is missing or not this session's");
        return false;
    }
    return true;
}

static enum deploy_role
role_needed(const struct route *route)
{
    enum deploy_role role = route->role;

    for (size_t i = 0; route->action != NULL && deploy_actions[i] != NULL; i++) {
        for (const struct deploy_action *a = deploy_actions[i]; a->name != NULL; a++) {
            if (strcmp(a->name, route->action) == 0 && a->role > role)
                role = a->role;
        }
    }
    return role;
}

static bool
authorize(struct request *request)
{
    enum deploy_role role = role_needed(request->route);
    char text[120];

    if (request->local)
        return caller_of_socket(request);
    if (request->route->flags & ROUTE_OPEN)
        return true;
    if (!caller_of_tcp(request))
        return false;
    if (request->caller.role >= role)
        return true;
    (void)snprintf(text, sizeof text, "this needs the role %s; you are a %s", role_name(role),
                   role_name(request->caller.role));
    reply_error(request, MHD_HTTP_FORBIDDEN, "refused", text);
    return false;
}

/* ---- what can be refused before the body has come ---- */

static bool
same_origin(const struct request *request, const char *host)
{
    const char *origin = header(request, "Origin");
    const char *rest = origin == NULL ? NULL : strstr(origin, "://");

    return origin == NULL || (rest != NULL && strcasecmp(rest + 3, host) == 0);
}

static bool
check_host(struct request *request)
{
    const char *host = header(request, "Host");

    if (request->local)
        return true;
    if (host == NULL || !host_is_ours(request->daemon, host)) {
        reply_error(request, MHD_HTTP_FORBIDDEN, "refused", "the header Host names another machine than this one");
        return false;
    }
    if (!same_origin(request, host)) {
        reply_error(request, MHD_HTTP_FORBIDDEN, "refused", "the request comes from a page of another site");
        return false;
    }
    return true;
}

static bool
check_route(struct request *request, const char *url, const char *method)
{
    const char *allow = NULL;
    bool head = strcmp(method, "HEAD") == 0;

    request->route = route_find(head ? "GET" : method, url, request->word, sizeof request->word, &allow);
    if (request->route != NULL)
        return true;
    if (allow == NULL && (head || strcmp(method, "GET") == 0) && assets_answer(request, url))
        return false;
    if (allow != NULL) {
        reply_error(request, MHD_HTTP_METHOD_NOT_ALLOWED, "unsupported", "the path takes other methods");
        reply_header(request, "Allow", allow);
    } else {
        reply_error(request, MHD_HTTP_NOT_FOUND, "notfound", "there is no such path");
    }
    return false;
}

static bool
check_length(struct request *request)
{
    const char *length = header(request, "Content-Length");

    if (length != NULL && strtoull(length, NULL, 10) > BODY_MAX)
        request->too_large = true;
    if (request->too_large)
        reply_error(request, MHD_HTTP_CONTENT_TOO_LARGE, "limit", "a request has at most 256 KiB");
    return !request->too_large;
}

/* ---- the work ---- */

static int
add_query(struct request *request, const struct query_name *q, json_t *to, struct coffer_error *err)
{
    bool bad = false;
    const char *text = request_query(request, q->name, &bad);
    json_t *value;

    if (text == NULL)
        return COFFER_OK;
    if (bad || !utf8_valid(bytes_str(text)))
        return error_set(err, COFFER_E_FORMAT, "?%s= is not UTF-8", q->name);
    if (q->number) {
        char *end = NULL;
        long long number;

        errno = 0;
        number = strtoll(text, &end, 10);
        if (end == text || *end != '\0' || errno != 0 || number < 0)
            return error_set(err, COFFER_E_FORMAT, "?%s= takes a number", q->name);
        value = json_integer(number);
    } else {
        value = json_string(text);
    }
    return json_object_set_new(to, q->name, value) == 0 ? COFFER_OK : error_nomem(err);
}

struct query_check {
    const struct route *route;
    const char *unknown;
};

static enum MHD_Result
check_query_name(void *arg, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct query_check *check = arg;

    for (const struct query_name *q = check->route->query; q->name != NULL; q++) {
        if (strcmp(q->name, key) == 0)
            return MHD_YES;
    }
    check->unknown = key;
    return MHD_NO;
}

/* Body, word of the path and query become one object, as deploy_do() takes it. */
static int
gather(struct request *request, json_t **out, struct coffer_error *err)
{
    const struct route *route = request->route;
    struct query_check check = {.route = route};
    const char *type = header(request, "Content-Type");
    json_error_t where;
    int rc = COFFER_OK;

    *out = NULL;
    (void)MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, check_query_name, &check);
    if (check.unknown != NULL)
        return error_set(err, COFFER_E_FORMAT, "?%s= is not known here", check.unknown);
    if (request->body.len > 0 && is_change(request)) {
        /* A form of another site cannot have this type. */
        if (type == NULL || strncasecmp(type, "application/json", 16) != 0)
            return error_set(err, COFFER_E_FORMAT, "the body must be of Content-Type application/json");
        *out = json_loadb((const char *)request->body.ptr, request->body.len, JSON_REJECT_DUPLICATES, &where);
        if (*out == NULL)
            return error_set(err, COFFER_E_FORMAT, "the body is no JSON: line %d, column %d: %s", where.line, where.column,
                             where.text);
        if (!json_is_object(*out))
            rc = error_set(err, COFFER_E_FORMAT, "the body must be a JSON object");
    } else if ((*out = json_object()) == NULL) {
        rc = error_nomem(err);
    }
    for (const struct query_name *q = route->query; rc == COFFER_OK && q->name != NULL; q++) {
        if (route->action == NULL || strcmp(q->name, "wait_ms") == 0)
            continue; /* read by the route's own function */
        rc = add_query(request, q, *out, err);
    }
    if (rc == COFFER_OK && request->word[0] != '\0') {
        const char *open = strchr(route->path, '{');
        char name[32];
        json_t *value = NULL;

        (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(open + 1, "}"), open + 1);
        if (json_object_get(*out, name) != NULL)
            rc = error_set(err, COFFER_E_FORMAT, "%s is named by the path; leave it out of the body", name);
        else if (!utf8_valid(bytes_str(request->word)))
            rc = error_set(err, COFFER_E_NOTFOUND, "there is no such %s", name);
        else if (!(route->flags & ROUTE_PARAM_NUMBER))
            value = json_string(request->word);
        else if (strlen(request->word) > 18 || strspn(request->word, "0123456789") != strlen(request->word))
            rc = error_set(err, COFFER_E_NOTFOUND, "there is no such %s", name);
        else
            value = json_integer(strtoll(request->word, NULL, 10));
        if (rc == COFFER_OK && json_object_set_new(*out, name, value) != 0)
            rc = error_nomem(err);
    }
    if (rc != COFFER_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return rc;
}

/* True: it waits for a job, and is somebody else's now. */
static bool
wait_for_job(struct request *request, const json_t *reply)
{
    const char *text = request_query(request, "wait_ms", NULL);
    const char *state = json_string_value(json_object_get(reply, "state"));
    long long wait = text == NULL ? 0 : strtoll(text, NULL, 10);

    if (text == NULL || state == NULL || strcmp(state, "running") != 0)
        return false;
    if (request->wait_until_ms == 0)
        request->wait_until_ms = monotonic_ms() + (wait < 0 ? 0 : wait > WAIT_MS_MAX ? WAIT_MS_MAX : wait);
    if (monotonic_ms() >= request->wait_until_ms || atomic_load(&request->daemon->stopping))
        return false;
    request->job = (uint64_t)json_integer_value(json_object_get(reply, "id"));
    return true;
}

void
request_work(struct request *request)
{
    const struct route *route = request->route;
    struct coffer_error err = {0};
    json_t *body = NULL, *reply = NULL;
    bool waits = false;
    int rc = gather(request, &body, &err);

    request->seen = streams_seen(request->daemon->streams);
    if (rc == COFFER_OK && route->action != NULL)
        rc = deploy_do(request->daemon->deploy, &request->caller, route->action, body, &reply, &err);
    else if (rc == COFFER_OK)
        rc = route->run(request, body, &reply, &err);
    if (rc != COFFER_OK && request->response == NULL)
        reply_error(request, (unsigned)http_of_status(rc), coffer_status_name(rc), err.message);
    else if (rc == COFFER_OK && strcmp(route->path, "/jobs/{id}") == 0)
        waits = wait_for_job(request, reply);
    if (rc == COFFER_OK && !waits && !(route->flags & ROUTE_REPLY_OWN)) {
        bool job = (route->flags & ROUTE_JOB) && json_is_integer(json_object_get(reply, "job")) &&
                   json_object_size(reply) == 1;

        reply_json(request, job ? MHD_HTTP_ACCEPTED : MHD_HTTP_OK, json_incref(reply));
    }
    json_decref(reply);
    json_decref(body);
    if (waits)
        streams_wait(request->daemon->streams, request);
    else
        request_ready(request);
}

void
request_ready(struct request *request)
{
    struct MHD_Connection *connection = request->connection;

    request->state = REQUEST_READY;
    MHD_resume_connection(connection); /* the request may be gone after this */
}

/* ---- libmicrohttpd's side ---- */

static enum MHD_Result
begin(struct daemon *daemon, struct MHD_Connection *connection, const char *url, const char *method, void **context)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_DAEMON);
    struct request *request = mem_alloc(sizeof *request);

    if (request == NULL)
        return MHD_NO;
    *context = request;
    request->daemon = daemon;
    request->connection = connection;
    request->local = info != NULL && info->daemon == daemon->local;
    buf_init(&request->body, BODY_MAX);
    connection_deadline(connection, &daemon->connections, monotonic_ms() + BODY_MS);
    if (atomic_load(&daemon->stopping)) {
        reply_error(request, MHD_HTTP_SERVICE_UNAVAILABLE, "cancelled", "cofferd is stopping");
        return reply_send(request);
    }
    if (!check_host(request) || !check_route(request, url, method) || !check_length(request))
        return reply_send(request);
    return MHD_YES;
}

enum MHD_Result
request_handle(void *arg, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
               const char *data, size_t *data_len, void **context)
{
    struct daemon *daemon = arg;
    struct request *request = *context;

    if (request == NULL)
        return begin(daemon, connection, url, method, context);
    if (request->state == REQUEST_READY)
        return reply_send(request);
    if (*data_len > 0) {
        if (request->body.len + *data_len > BODY_MAX)
            request->too_large = true; /* the rest is dropped as it comes */
        else
            buf_add(&request->body, data, *data_len);
        *data_len = 0;
        return MHD_YES;
    }
    connection_deadline(connection, &daemon->connections, 0);
    if (!check_length(request) || !authorize(request))
        return reply_send(request);
    request->state = REQUEST_WORKING;
    MHD_suspend_connection(connection);
    pool_put(is_change(request) ? daemon->changers : daemon->readers, request);
    return MHD_YES;
}

void
request_completed(void *arg, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode why)
{
    struct daemon *daemon = arg;
    struct request *request = *context;

    *context = NULL;
    if (request == NULL)
        return;
    connection_deadline(connection, &daemon->connections, monotonic_ms() + IDLE_MS);
    if (request->response != NULL && !request->shared)
        MHD_destroy_response(request->response);
    buf_wipe(&request->body);
    mem_free(request);
}
