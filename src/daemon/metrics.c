/* SPDX-License-Identifier: Apache-2.0 */
/* /metrics, in Prometheus' text format, and /health. */
#include "base/mem.h"
#include "daemon/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SAMPLES_MAX 20000

struct sample {
    char name[80];
    char labels[200];
    double value;
    size_t order;
};
struct samples {
    struct sample *all;
    size_t count;
    bool failed;
};

static void
take(void *arg, const char *name, const char *labels, double value)
{
    struct samples *s = arg;
    struct sample *one;

    if (s->count % 256 == 0) {
        struct sample *grown =
            s->count >= SAMPLES_MAX ? NULL : mem_grow(s->all, (s->count + 256) * sizeof *grown);

        if (grown == NULL) {
            s->failed = true;
            return;
        }
        s->all = grown;
    }
    if (s->failed)
        return;
    one = &s->all[s->count];
    (void)snprintf(one->name, sizeof one->name, "%s", name);
    (void)snprintf(one->labels, sizeof one->labels, "%s", labels == NULL ? "" : labels);
    one->value = value;
    one->order = s->count++;
}

/* The samples of a name stand together. */
static int
by_name(const void *a, const void *b)
{
    const struct sample *x = a, *y = b;
    int d = strcmp(x->name, y->name);

    return d != 0 ? d : x->order < y->order ? -1 : x->order > y->order;
}

static void
take_own(struct daemon *daemon, struct samples *s)
{
    unsigned long pages = 0, resident = 0;
    struct rusage use;
    FILE *f = fopen("/proc/self/statm", "re");
    char labels[32];

    for (unsigned code = 100; code < CODES_MAX; code++) {
        uint64_t n = atomic_load(&daemon->answered[code]);

        (void)snprintf(labels, sizeof labels, "code=\"%u\"", code);
        if (n > 0)
            take(s, "coffer_http_requests_total", labels, (double)n);
    }
    (void)pthread_mutex_lock(&daemon->connections.mutex);
    take(s, "coffer_http_connections", NULL, (double)daemon->connections.count);
    (void)pthread_mutex_unlock(&daemon->connections.mutex);
    take(s, "coffer_http_listeners", NULL, (double)streams_count(daemon->streams));
    if (f != NULL && fscanf(f, "%lu %lu", &pages, &resident) == 2)
        take(s, "process_resident_memory_bytes", NULL, (double)resident * (double)sysconf(_SC_PAGESIZE));
    if (f != NULL)
        (void)fclose(f);
    if (getrusage(RUSAGE_SELF, &use) == 0)
        take(s, "process_cpu_seconds_total", NULL,
             (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                 (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6);
}

int
run_metrics(struct request *request, json_t *body, json_t **reply, struct coffer_error *err)
{
    struct samples s = {0};
    struct buf text;
    const char *last = "";
    int rc;

    buf_init(&text, 16u << 20);
    deploy_metrics(request->daemon->deploy, take, &s);
    take_own(request->daemon, &s);
    if (s.count > 0)
        qsort(s.all, s.count, sizeof *s.all, by_name);
    for (size_t i = 0; i < s.count; i++) {
        const struct sample *one = &s.all[i];
        size_t len = strlen(one->name);
        bool counter = len > 6 && strcmp(one->name + len - 6, "_total") == 0;

        if (strcmp(last, one->name) != 0)
            buf_format(&text, "# TYPE %s %s\n", one->name, counter ? "counter" : "gauge");
        last = one->name;
        buf_format(&text, "%s%s%s%s %.17g\n", one->name, one->labels[0] != '\0' ? "{" : "", one->labels,
                   one->labels[0] != '\0' ? "}" : "", one->value);
    }
    rc = s.failed ? error_nomem(err) : buf_status(&text, err);
    if (rc == COFFER_OK)
        reply_text(request, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", strdup(buf_cstr(&text)));
    buf_wipe(&text);
    mem_free(s.all);
    return rc;
}

int
run_health(struct request *request, json_t *body, json_t **reply, struct coffer_error *err)
{
    struct deploy_caller self = {.role = ROLE_VIEWER, .who = "cofferd"};
    json_t *nothing = json_object(), *stacks = NULL;
    json_int_t databases = 0;
    int rc = deploy_do(request->daemon->deploy, &self, "stack.list", nothing, &stacks, err);

    for (size_t i = 0; rc == COFFER_OK && i < json_array_size(stacks); i++)
        databases += json_integer_value(json_object_get(json_array_get(stacks, i), "databases"));
    if (rc == COFFER_OK)
        *reply = json_pack("{s:b,s:I,s:s}", "ok", 1, "databases", databases, "version", coffer_version());
    json_decref(stacks);
    json_decref(nothing);
    return rc != COFFER_OK ? rc : *reply == NULL ? error_nomem(err) : COFFER_OK;
}
