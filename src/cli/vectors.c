/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/vectors.h"

#include "cli/vectors_section.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TABLES_MAX 4

static const struct format {
    const char *name;
    bool whole; /* every section must be there */
    const struct vectors_section *tables[TABLES_MAX + 1];
} FORMATS[] = {
    {"coffer field vectors 1", true, {vectors_field}},
    {"coffer search vectors 1", false, {vectors_search, vectors_order, vectors_sums, vectors_totals}},
};

void
vectors_count(struct vectors *v, bool held, const char *format, ...)
{
    char line[160];
    va_list args;

    ++*(held ? &v->passed : &v->failed);
    if (held || v->say == NULL)
        return;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    v->say(v->arg, line);
}

static const struct format *
format_of(const json_t *root)
{
    const char *name = json_string_value(json_object_get(root, "format"));

    for (size_t i = 0; name != NULL && i < sizeof FORMATS / sizeof *FORMATS; i++) {
        if (strcmp(FORMATS[i].name, name) == 0)
            return &FORMATS[i];
    }
    return NULL;
}

static const struct vectors_section *
section_of(const struct format *format, const char *name)
{
    for (size_t t = 0; format->tables[t] != NULL; t++) {
        for (const struct vectors_section *s = format->tables[t]; s->name != NULL; s++) {
            if (strcmp(s->name, name) == 0)
                return s;
        }
    }
    return NULL;
}

static int
check_whole(const struct format *format, const json_t *root, struct coffer_error *err)
{
    for (size_t t = 0; format->whole && format->tables[t] != NULL; t++) {
        for (const struct vectors_section *s = format->tables[t]; s->name != NULL; s++) {
            if (json_object_get(root, s->name) == NULL)
                return error_set(err, COFFER_E_FORMAT, "the vectors file has no list \"%s\"",
                                 s->name);
        }
    }
    return COFFER_OK;
}

static int
run_sections(struct vectors *v, const struct format *format, json_t *root, struct coffer_error *err)
{
    const char *name;
    json_t *json;
    int rc = check_whole(format, root, err);

    v->root = root;
    json_object_foreach(root, name, json)
    {
        const struct vectors_section *section = section_of(format, name);

        if (rc != COFFER_OK)
            break;
        if (strcmp(name, "format") == 0)
            continue;
        if (section == NULL)
            return error_set(err, COFFER_E_FORMAT,
                             "the vectors file has a section \"%.60s\", which this program does "
                             "not know; a newer one may",
                             name);
        rc = section->run(v, json, err);
    }
    return rc;
}

int
vectors_run(struct bytes json, unsigned *passed, unsigned *failed,
            void (*say)(void *arg, const char *line), void *arg, struct coffer_error *err)
{
    struct vectors v = {.say = say, .arg = arg};
    json_error_t where;
    json_t *root = json_loadb((const char *)json.ptr, json.len, JSON_REJECT_DUPLICATES, &where);
    const struct format *format = format_of(root);
    const char *name = json_string_value(json_object_get(root, "format"));
    int rc;

    *passed = *failed = 0;
    if (root == NULL)
        return error_set(err, COFFER_E_FORMAT, "the vectors file is no JSON, line %d: %s",
                         where.line, where.text);
    if (format == NULL)
        rc = error_set(err, COFFER_E_FORMAT,
                       "the vectors file's format is %.60s; \"%s\" and \"%s\" are known",
                       name != NULL ? name : "not given", FORMATS[0].name, FORMATS[1].name);
    else
        rc = run_sections(&v, format, root, err);
    *passed = v.passed;
    *failed = v.failed;
    json_decref(root);
    return rc;
}
