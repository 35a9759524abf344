/* SPDX-License-Identifier: Apache-2.0 */
/* docs/API.md, "Routes and actions", as a table; the OpenAPI description is made from it. */
#include "daemon/internal.h"

#include <string.h>

#define V ROLE_VIEWER
#define O ROLE_OPERATOR
#define C ROLE_CUSTODIAN
#define ACTION(name) .action = name

const struct route routes[] = {
    {"GET", "/stacks", ACTION("stack.list"), .role = V, .summary = "The stacks", .gives = "[stack]"},
    {"POST", "/stacks", ACTION("stack.create"), .role = O, .summary = "Make a stack", .takes = "stack_new",
     .gives = "stack"},
    {"GET", "/databases", ACTION("database.list"), .role = V, .summary = "The databases, by name", .gives = "[database]",
     .query = {{"after", false, "begin behind this name"}, {"limit", true, "at most so many"}}},
    {"POST", "/databases", ACTION("database.create"), .role = O, .flags = ROUTE_JOB, .summary = "Make a database",
     .takes = "database_new", .gives = "begun"},
    {"GET", "/databases/{name}", ACTION("database.show"), .role = V, .summary = "One database", .gives = "database"},
    {"GET", "/databases/{name}/url", ACTION("database.url"), .role = O, .summary = "Its URL, with the password",
     .gives = "url"},
    {"GET", "/databases/{name}/detail", ACTION("database.detail"), .role = V,
     .summary = "One database with its volume, columns, rotations, backups and doctor's report", .gives = "detail"},
    {"POST", "/databases/{name}/start", ACTION("database.start"), .role = O, .flags = ROUTE_JOB, .summary = "Start it",
     .gives = "database"},
    {"POST", "/databases/{name}/stop", ACTION("database.stop"), .role = O, .flags = ROUTE_JOB, .summary = "Stop it",
     .gives = "database"},
    {"POST", "/databases/{name}/resize", ACTION("database.resize"), .role = O, .flags = ROUTE_JOB,
     .summary = "Change its memory or its limit", .takes = "resize", .gives = "database"},
    {"GET", "/databases/{name}/logs", ACTION("database.logs"), .role = O, .summary = "The end of its log", .gives = "logs",
     .query = {{"lines", true, "at most so many"}}},
    {"POST", "/databases/{name}/doctor", ACTION("database.doctor"), .role = O, .flags = ROUTE_JOB,
     .summary = "Check that its mount is safe for it", .gives = "begun"},
    {"POST", "/databases/{name}/rotate", ACTION("database.rotate"), .role = O, .flags = ROUTE_JOB,
     .summary = "Rotate its disk key", .takes = "rotate", .gives = "begun"},
    {"POST", "/databases/{name}/move", ACTION("database.move"), .role = O, .flags = ROUTE_JOB,
     .summary = "Move it to another stack, and so to that one's cipher", .takes = "move", .gives = "begun"},
    {"POST", "/databases/{name}/protect", ACTION("database.protect"), .role = O, .flags = ROUTE_JOB,
     .summary = "Seal columns", .takes = "protect", .gives = "begun"},
    {"POST", "/databases/{name}/rotate-field", ACTION("database.rotate-field"), .role = O, .flags = ROUTE_JOB,
     .summary = "Rotate the key of its protected columns", .takes = "rotate_field", .gives = "begun"},
    {"DELETE", "/databases/{name}", ACTION("database.destroy"), .role = C, .flags = ROUTE_JOB,
     .summary = "Destroy it, and its key once no backup needs it", .takes = "confirm", .gives = "begun"},
    {"GET", "/databases/{name}/retention", ACTION("backup.policy"), .role = V, .summary = "How long its backups are kept",
     .gives = "retention"},
    {"PUT", "/databases/{name}/retention", ACTION("backup.policy"), .role = O, .summary = "Change how long they are kept",
     .takes = "retention", .gives = "retention"},
    {"GET", "/jobs", ACTION("job.list"), .role = V, .summary = "The jobs, the newest first", .gives = "[job]"},
    {"GET", "/jobs/{id}", ACTION("job.show"), .role = V, .flags = ROUTE_PARAM_NUMBER, .summary = "One job", .gives = "job",
     .query = {{"wait_ms", true, "wait until it is no longer running, at most 30 s"}}},
    {"POST", "/jobs/{id}/pause", ACTION("job.pause"), .role = O, .flags = ROUTE_PARAM_NUMBER, .summary = "Pause it",
     .gives = "job"},
    {"POST", "/jobs/{id}/resume", ACTION("job.resume"), .role = O, .flags = ROUTE_PARAM_NUMBER, .summary = "Go on with it",
     .gives = "job"},
    {"POST", "/jobs/{id}/cancel", ACTION("job.cancel"), .role = O, .flags = ROUTE_PARAM_NUMBER,
     .summary = "Give it up and take back what it did", .gives = "job"},
    {"POST", "/jobs/{id}/throttle", ACTION("job.throttle"), .role = O, .flags = ROUTE_PARAM_NUMBER, .summary = "How fast it may go",
     .takes = "throttle", .gives = "job"},
    {"GET", "/backups", ACTION("backup.list"), .role = V, .summary = "The backups", .gives = "[backup]",
     .query = {{"database", false, "of this one only"}}},
    {"POST", "/backups", ACTION("backup.create"), .role = O, .flags = ROUTE_JOB, .summary = "Make a backup",
     .takes = "backup_new", .gives = "begun"},
    {"POST", "/backups/{id}/restore", ACTION("backup.restore"), .role = O, .flags = ROUTE_JOB,
     .summary = "Restore it as a new database", .takes = "restore", .gives = "begun"},
    {"POST", "/backups/{id}/verify", ACTION("backup.verify"), .role = O, .flags = ROUTE_JOB,
     .summary = "Prove by a restore that it is good", .gives = "begun"},
    {"POST", "/backups/{id}/expire", ACTION("backup.expire"), .role = O, .flags = ROUTE_JOB, .summary = "Remove it",
     .gives = "backup"},
    {"GET", "/keys", ACTION("key.list"), .role = V, .summary = "The keys", .gives = "[key]"},
    {"GET", "/keys/{id}", ACTION("key.show"), .role = V, .summary = "One key, and what holds it", .gives = "key"},
    {"POST", "/keys/{id}/approve", ACTION("key.approve"), .role = C, .summary = "Agree to its destruction", .gives = "key"},
    {"POST", "/keys/{id}/destroy", ACTION("key.destroy"), .role = C, .summary = "Destroy it, approved by two custodians",
     .gives = "key"},
    {"GET", "/audit", ACTION("audit.list"), .role = V, .summary = "The audit log, verified", .gives = "audit",
     .query = {{"after", true, "begin behind this entry"},
               {"before", true, "the newest first, of those before this entry"},
               {"limit", true, "at most so many"},
               {"event", false, "whose event holds this text"},
               {"who", false, "of this caller"}}},
    {"GET", "/compliance", ACTION("report.compliance"), .role = V, .summary = "What is encrypted how", .gives = "report"},
    {"POST", "/session", .run = run_session_begin, .flags = ROUTE_OPEN | ROUTE_NO_CSRF | ROUTE_REPLY_OWN,
     .summary = "Sign in with the token of a one-time link", .takes = "session_new", .gives = "session"},
    {"GET", "/session", .run = run_session_show, .role = V, .summary = "Who is signed in", .gives = "session"},
    {"DELETE", "/session", .run = run_session_end, .role = V, .flags = ROUTE_REPLY_OWN, .summary = "Sign out", .gives = "ended"},
    {"POST", "/signin", .run = run_signin, .role = C, .summary = "A link that signs in once", .takes = "signin",
     .gives = "link"},
    {"GET", "/tokens", .run = run_tokens, .role = C, .summary = "The bearer tokens, without their secrets", .gives = "[token]"},
    {"POST", "/tokens", .run = run_token_new, .role = C, .summary = "A bearer token; it is shown once", .takes = "token_new",
     .gives = "token_made"},
    {"DELETE", "/tokens/{id}", .run = run_token_end, .role = C, .summary = "End a bearer token", .gives = "ended"},
    {"POST", "/stop", .run = run_stop, .role = C, .summary = "Stop cofferd", .takes = "stop", .gives = "stopping"},
    {"GET", "/events", .run = run_events, .role = V, .flags = ROUTE_REPLY_OWN,
     .summary = "Server-Sent Events: job, database, backup, key, reset"},
    {"GET", "/health", .run = run_health, .flags = ROUTE_OPEN, .summary = "Does it answer", .gives = "health"},
    {"GET", "/openapi.json", .run = run_openapi, .flags = ROUTE_OPEN | ROUTE_REPLY_OWN, .summary = "This description"},
    {"GET", "/metrics", .run = run_metrics, .role = V, .flags = ROUTE_BARE | ROUTE_REPLY_OWN, .summary = "For Prometheus"},
};
const size_t route_count = sizeof routes / sizeof *routes;

/* `path` against "/a/{word}/b". */
static bool
path_matches(const char *pattern, const char *path, char *word, size_t word_max)
{
    word[0] = '\0';
    while (*pattern != '\0' && *pattern != '{') {
        if (*pattern++ != *path++)
            return false;
    }
    if (*pattern == '{') {
        size_t len = strcspn(path, "/");

        if (len == 0 || len >= word_max)
            return false;
        memcpy(word, path, len);
        word[len] = '\0';
        path += len;
        pattern += strcspn(pattern, "}") + 1;
        return strcmp(pattern, path) == 0;
    }
    return *path == '\0';
}

const struct route *
route_find(const char *method, const char *path, char *word, size_t word_max, const char **allow)
{
    size_t prefix = strlen(API_PREFIX);
    bool api = strncmp(path, API_PREFIX "/", prefix + 1) == 0;

    *allow = NULL;
    for (size_t i = 0; i < route_count; i++) {
        const struct route *r = &routes[i];
        bool bare = r->flags & ROUTE_BARE;

        if (bare ? !path_matches(r->path, path, word, word_max)
                 : !api || !path_matches(r->path, path + prefix, word, word_max))
            continue;
        if (strcmp(r->method, method) == 0)
            return r;
        *allow = r->method;
    }
    return NULL;
}
