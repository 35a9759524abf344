/* SPDX-License-Identifier: Apache-2.0 */
/* The description in OpenAPI 3.1: paths from the table of routes, so that none is forgotten; schemas from api/schemas.json. */
#include "daemon/internal.h"

#include <stdlib.h>
#include <string.h>

static json_t *
schema_of(const char *name)
{
    char path[80];

    if (name[0] == '[') {
        (void)snprintf(path, sizeof path, "#/components/schemas/%.*s", (int)strcspn(name + 1, "]"), name + 1);
        return json_pack("{s:s,s:{s:s}}", "type", "array", "items", "$ref", path);
    }
    (void)snprintf(path, sizeof path, "#/components/schemas/%s", name);
    return json_pack("{s:s}", "$ref", path);
}

static json_t *
content_of(const char *type, json_t *schema)
{
    return json_pack("{s:{s:o}}", type, "schema", schema);
}

static json_t *
parameters_of(const struct route *r)
{
    json_t *list = json_array();
    const char *open = strchr(r->path, '{');

    if (open != NULL) {
        char name[32];

        (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(open + 1, "}"), open + 1);
        (void)json_array_append_new(list, json_pack("{s:s,s:s,s:b,s:{s:s}}", "name", name, "in", "path", "required", 1,
                                                    "schema", "type",
                                                    r->flags & ROUTE_PARAM_NUMBER ? "integer" : "string"));
    }
    for (const struct query_name *q = r->query; q->name != NULL; q++) {
        json_t *schema = q->number ? json_pack("{s:s,s:i}", "type", "integer", "minimum", 0) : json_pack("{s:s}", "type", "string");

        (void)json_array_append_new(list, json_pack("{s:s,s:s,s:b,s:s,s:o}", "name", q->name, "in", "query", "required", 0,
                                                    "description", q->help, "schema", schema));
    }
    return list;
}

static json_t *
responses_of(const struct route *r)
{
    json_t *all = json_object(), *good;

    if (r->run == run_events)
        good = content_of("text/event-stream", json_pack("{s:s}", "type", "string"));
    else if (r->run == run_metrics)
        good = content_of("text/plain", json_pack("{s:s}", "type", "string"));
    else
        good = content_of("application/json", r->gives == NULL ? json_pack("{s:s}", "type", "object") : schema_of(r->gives));
    (void)json_object_set_new(all, "200", json_pack("{s:s,s:o}", "description", "done", "content", good));
    if (r->flags & ROUTE_JOB)
        (void)json_object_set_new(all, "202", json_pack("{s:s,s:o}", "description", "a job has begun", "content",
                                                        content_of("application/json", schema_of("begun"))));
    (void)json_object_set_new(all, "default", json_pack("{s:s,s:o}", "description", "it failed, and why", "content",
                                                        content_of("application/json", schema_of("failure"))));
    return all;
}

static json_t *
operation_of(const struct route *r)
{
    json_t *op = json_pack("{s:s,s:o,s:o}", "summary", r->summary, "parameters", parameters_of(r), "responses", responses_of(r));
    char id[100];
    size_t n;

    n = (size_t)snprintf(id, sizeof id, "%s%s", r->method, r->path);
    for (size_t i = 0; i < n && i < sizeof id; i++)
        id[i] = strchr("/{}.-", id[i]) != NULL ? '_' : id[i];
    (void)json_object_set_new(op, "operationId", json_string(id));
    if (r->takes != NULL)
        (void)json_object_set_new(op, "requestBody", json_pack("{s:o}", "content", content_of("application/json", schema_of(r->takes))));
    (void)json_object_set_new(op, "x-role", json_string(role_name(r->role)));
    if (r->flags & ROUTE_OPEN)
        (void)json_object_set_new(op, "security", json_array());
    return op;
}

char *
openapi_text(void)
{
    json_t *schemas = json_loadb((const char *)assets_api[0].data, assets_api[0].len, 0, NULL);
    json_t *all = json_pack(
        "{s:s,s:{s:s,s:s},s:[{s:[]},{s:[]}],s:{},s:{s:o,s:{s:{s:s,s:s},s:{s:s,s:s,s:s}}}}", "openapi", "3.1.0", "info", "title",
        "cofferd", "version", coffer_version(), "security", "bearer", "session", "paths", "components", "schemas", schemas,
        "securitySchemes", "bearer", "type", "http", "scheme", "bearer", "session", "type", "apiKey", "in", "cookie", "name",
        "coffer_session");
    json_t *paths = json_object_get(all, "paths");
    char *text = NULL;

    for (size_t i = 0; paths != NULL && i < route_count; i++) {
        const struct route *r = &routes[i];
        char path[100], method[8];
        json_t *item;

        (void)snprintf(path, sizeof path, "%s%s", r->flags & ROUTE_BARE ? "" : API_PREFIX, r->path);
        (void)snprintf(method, sizeof method, "%s", r->method);
        for (char *p = method; *p != '\0'; p++)
            *p = (char)(*p + ('a' - 'A'));
        item = json_object_get(paths, path);
        if (item == NULL) {
            (void)json_object_set_new(paths, path, json_object());
            item = json_object_get(paths, path);
        }
        (void)json_object_set_new(item, method, operation_of(r));
    }
    if (all != NULL)
        text = json_dumps(all, JSON_COMPACT);
    json_decref(all);
    return text;
}

int
run_openapi(struct request *request, json_t *body, json_t **reply, struct coffer_error *err)
{
    reply_text(request, MHD_HTTP_OK, "application/json", strdup(request->daemon->openapi));
    return COFFER_OK;
}
