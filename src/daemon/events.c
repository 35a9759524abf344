/* SPDX-License-Identifier: Apache-2.0 */
/* Events for many listeners: one pump takes them from deploy/, writes each down once as text, and wakes who waits.
 *
 * A stream that has sent everything suspends its connection and costs nothing until the next event or heartbeat.  Its ids
 * are "RUN-NUMBER": RUN is new with each start of cofferd, so that a listener who comes back after a restart is told to read
 * everything again instead of missing what has these numbers now.
 */
#include "base/mem.h"
#include "daemon/internal.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define STREAMS_MAX 2000
#define PUMP_MS 1000

struct stream {
    struct stream *next, **link;
    struct streams *all;
    struct MHD_Connection *connection;
    struct session_ref session;
    uint64_t sent; /* the number of the last event that was taken */
    int64_t beat_ms;
    bool suspended, reset;
    struct buf pending;
    size_t offset;
};

struct streams {
    struct daemon *daemon;
    pthread_mutex_t mutex;
    pthread_t pump;
    bool running, ending;
    char run[9];
    uint64_t last;
    char *kept[EVENTS_KEPT]; /* by number, modulo; NULL: not for listeners */
    struct stream *first;
    size_t count;
    struct request *waiting; /* for a job */
};

/* ---- what the pump does; with the mutex held ---- */

static char *
event_text(const struct streams *all, uint64_t number, json_t *event)
{
    const char *kind = json_string_value(json_object_get(event, "event"));
    char *data, *text;

    if (kind == NULL || strcmp(kind, "log") == 0)
        return NULL;
    if (json_object_get(event, "url") != NULL) /* may hold a password, and viewers listen */
        (void)json_object_set_new(event, "url", json_null());
    data = json_dumps(event, JSON_COMPACT); /* one line: control characters are escaped */
    text = data == NULL ? NULL
                        : mem_format("id: %s-%llu\nevent: %s\ndata: %s\n\n", all->run, (unsigned long long)number, kind, data);
    free(data);
    return text;
}

static void
wake_stream(struct stream *s)
{
    if (s->suspended) {
        s->suspended = false;
        MHD_resume_connection(s->connection);
    }
}

/* Those whose job was heard of (0: any), or whose time is over, look again. */
static void
wake_waiting(struct streams *all, uint64_t job)
{
    int64_t now = monotonic_ms();

    for (struct request **at = &all->waiting; *at != NULL;) {
        struct request *r = *at;

        if (r->job == job || now >= r->wait_until_ms || all->ending) {
            *at = r->next;
            pool_put(r->daemon->readers, r);
        } else {
            at = &r->next;
        }
    }
}

static void
take_events(struct streams *all, json_t *events)
{
    size_t i;
    json_t *event;

    json_array_foreach(events, i, event) {
        const char *kind = json_string_value(json_object_get(event, "event"));
        uint64_t number = (uint64_t)json_integer_value(json_object_get(event, "seq"));
        char **slot = &all->kept[number % EVENTS_KEPT];

        if (number == 0)
            continue;
        mem_free(*slot);
        *slot = event_text(all, number, event);
        all->last = number;
        if (kind != NULL && strcmp(kind, "job") == 0)
            wake_waiting(all, (uint64_t)json_integer_value(json_object_get(event, "id")));
    }
    if (i > 0) {
        for (struct stream *s = all->first; s != NULL; s = s->next)
            wake_stream(s);
    }
}

static void
beat(struct streams *all)
{
    int64_t now = monotonic_ms();

    for (struct stream *s = all->first; s != NULL; s = s->next) {
        if (now >= s->beat_ms || all->ending)
            wake_stream(s);
    }
    wake_waiting(all, 0);
}

static void *
pump(void *arg)
{
    struct streams *all = arg;

    for (;;) {
        struct coffer_error err = {0};
        json_t *events = NULL;
        bool ending;
        int rc = deploy_events(all->daemon->deploy, all->last, PUMP_MS, &events, &err);

        (void)pthread_mutex_lock(&all->mutex);
        if (rc == COFFER_OK)
            take_events(all, events);
        beat(all);
        ending = all->ending;
        (void)pthread_mutex_unlock(&all->mutex);
        json_decref(events);
        connections_cut(&all->daemon->connections, monotonic_ms());
        if (ending)
            return NULL;
        if (rc != COFFER_OK)
            all->daemon->os->sleep_ms(all->daemon->os, PUMP_MS);
    }
}

/* ---- a stream ---- */

/* The next text into `pending`; false: there is none.  With the mutex held. */
static bool
next_text(struct stream *s)
{
    struct streams *all = s->all;

    buf_clear(&s->pending);
    s->offset = 0;
    if (!s->reset && s->sent < all->last && all->last - s->sent > EVENTS_KEPT)
        s->reset = true;
    if (s->reset) {
        s->reset = false;
        s->sent = all->last;
        buf_format(&s->pending, "id: %s-%llu\nevent: reset\ndata: {}\n\n", all->run, (unsigned long long)s->sent);
        return true;
    }
    while (s->sent < all->last) {
        const char *text = all->kept[++s->sent % EVENTS_KEPT];

        if (text != NULL) {
            buf_str(&s->pending, text);
            return true;
        }
    }
    if (monotonic_ms() < s->beat_ms)
        return false;
    s->beat_ms = monotonic_ms() + HEARTBEAT_MS;
    buf_str(&s->pending, ": still here\n\n");
    return true;
}

static ssize_t
read_stream(void *arg, uint64_t position, char *out, size_t max)
{
    struct stream *s = arg;
    struct streams *all = s->all;
    bool signed_in = auth_holds(all->daemon->auth, &s->session);
    ssize_t result = 0;

    (void)pthread_mutex_lock(&all->mutex);
    if (all->ending || !signed_in) {
        result = MHD_CONTENT_READER_END_OF_STREAM;
    } else if (s->offset < s->pending.len || next_text(s)) {
        size_t len = s->pending.len - s->offset;

        if (len > max)
            len = max;
        if (s->pending.failed != 0) {
            result = MHD_CONTENT_READER_END_WITH_ERROR;
        } else {
            memcpy(out, s->pending.ptr + s->offset, len);
            s->offset += len;
            result = (ssize_t)len;
        }
    } else {
        s->suspended = true;
        MHD_suspend_connection(s->connection);
    }
    (void)pthread_mutex_unlock(&all->mutex);
    return result;
}

static void
free_stream(void *arg)
{
    struct stream *s = arg;
    struct streams *all = s->all;

    (void)pthread_mutex_lock(&all->mutex);
    *s->link = s->next;
    if (s->next != NULL)
        s->next->link = s->link;
    all->count--;
    (void)pthread_mutex_unlock(&all->mutex);
    buf_wipe(&s->pending);
    mem_free(s);
}

/* "RUN-NUMBER" */
static void
go_on_behind(struct stream *s, const char *id)
{
    struct streams *all = s->all;
    size_t len = strlen(all->run);
    char *end = NULL;

    s->sent = all->last;
    if (id == NULL)
        return;
    if (strncmp(id, all->run, len) == 0 && id[len] == '-')
        s->sent = strtoull(id + len + 1, &end, 10);
    s->reset = end == NULL || *end != '\0' || s->sent > all->last;
}

int
run_events(struct request *request, json_t *body, json_t **reply, struct coffer_error *err)
{
    struct streams *all = request->daemon->streams;
    const char *id = MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, "Last-Event-ID");
    struct stream *s = mem_alloc(sizeof *s);

    if (s == NULL)
        return error_nomem(err);
    s->all = all;
    s->connection = request->connection;
    s->session = request->session;
    s->beat_ms = monotonic_ms() + HEARTBEAT_MS;
    buf_init(&s->pending, 1u << 20);
    (void)pthread_mutex_lock(&all->mutex);
    go_on_behind(s, id);
    buf_str(&s->pending, "retry: 2000\n\n"); /* also says that the stream has begun */
    s->next = all->first;
    s->link = &all->first;
    if (s->next != NULL)
        s->next->link = &s->next;
    all->first = s;
    all->count++;
    (void)pthread_mutex_unlock(&all->mutex);
    if (all->count <= STREAMS_MAX)
        request->response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, read_stream, s, free_stream);
    if (request->response == NULL) {
        free_stream(s);
        reply_error(request, MHD_HTTP_SERVICE_UNAVAILABLE, "limit", "too many listeners");
        return COFFER_OK;
    }
    request->code = MHD_HTTP_OK;
    reply_header(request, "Content-Type", "text/event-stream");
    reply_header(request, "Cache-Control", "no-store");
    reply_security(request->response);
    return COFFER_OK;
}

/* ---- for requests that wait for a job ---- */

uint64_t
streams_seen(struct streams *all)
{
    uint64_t last;

    (void)pthread_mutex_lock(&all->mutex);
    last = all->last;
    (void)pthread_mutex_unlock(&all->mutex);
    return last;
}

void
streams_wait(struct streams *all, struct request *request)
{
    (void)pthread_mutex_lock(&all->mutex);
    if (all->last != request->seen || all->ending) { /* something came while it looked */
        pool_put(request->daemon->readers, request);
    } else {
        request->next = all->waiting;
        all->waiting = request;
    }
    (void)pthread_mutex_unlock(&all->mutex);
}

size_t
streams_count(struct streams *all)
{
    size_t count;

    (void)pthread_mutex_lock(&all->mutex);
    count = all->count;
    (void)pthread_mutex_unlock(&all->mutex);
    return count;
}

/* ---- begin and end ---- */

/* Numbers go on from where deploy/ is. */
static int
find_last(struct streams *all, struct coffer_error *err)
{
    json_t *events = NULL;
    int rc = deploy_events(all->daemon->deploy, 0, 0, &events, err);

    for (size_t i = 0; rc == COFFER_OK && i < json_array_size(events); i++)
        all->last = (uint64_t)json_integer_value(json_object_get(json_array_get(events, i), "seq"));
    json_decref(events);
    return rc;
}

int
streams_new(struct daemon *daemon, struct streams **out, struct coffer_error *err)
{
    struct streams *all = mem_alloc(sizeof *all);
    uint8_t run[4];
    sigset_t every, old;
    int rc;

    *out = NULL;
    if (all == NULL)
        return error_nomem(err);
    all->daemon = daemon;
    (void)pthread_mutex_init(&all->mutex, NULL);
    rc = daemon->os->random(daemon->os, run, sizeof run, err);
    hex_encode(bytes_of(run, sizeof run), all->run);
    if (rc == COFFER_OK)
        rc = find_last(all, err);
    (void)sigfillset(&every);
    (void)pthread_sigmask(SIG_SETMASK, &every, &old);
    if (rc == COFFER_OK) {
        all->running = pthread_create(&all->pump, NULL, pump, all) == 0;
        if (!all->running)
            rc = error_set(err, COFFER_E_LIMIT, "no thread could be started");
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != COFFER_OK) {
        streams_free(all);
        return rc;
    }
    *out = all;
    return COFFER_OK;
}

void
streams_stop(struct streams *all)
{
    if (all == NULL || !all->running)
        return;
    (void)pthread_mutex_lock(&all->mutex);
    all->ending = true;
    beat(all);
    (void)pthread_mutex_unlock(&all->mutex);
    (void)pthread_join(all->pump, NULL);
    all->running = false;
}

void
streams_free(struct streams *all)
{
    if (all == NULL)
        return;
    for (size_t i = 0; i < EVENTS_KEPT; i++)
        mem_free(all->kept[i]);
    (void)pthread_mutex_destroy(&all->mutex);
    mem_free(all);
}
