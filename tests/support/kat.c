/* SPDX-License-Identifier: Apache-2.0 */
#include "support/kat.h"

#include "support/test.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES_MAX 24

struct entry {
    char *name;
    char *value;    /* as written */
    uint8_t *bytes; /* decoded when asked for */
    size_t bytes_len;
};

struct kat_case {
    const char *file;
    unsigned line; /* the first of the case */
    struct entry entries[ENTRIES_MAX];
    size_t count;
};

static char *
trim(char *text)
{
    char *end = text + strlen(text);

    while (end > text && isspace((unsigned char)end[-1]))
        *--end = '\0';
    while (isspace((unsigned char)*text))
        text++;
    return text;
}

static void
case_clear(struct kat_case *c)
{
    for (size_t i = 0; i < c->count; i++) {
        free(c->entries[i].name);
        free(c->entries[i].value);
        free(c->entries[i].bytes);
    }
    memset(c->entries, 0, sizeof c->entries);
    c->count = 0;
}

static const struct entry *
find(const struct kat_case *c, const char *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->entries[i].name, name) == 0)
            return &c->entries[i];
    return NULL;
}

static const struct entry *
need(const struct kat_case *c, const char *name)
{
    const struct entry *entry = find(c, name);

    if (entry == NULL)
        fail_msg("%s:%u: the case has no \"%s\"", c->file, c->line, name);
    return entry;
}

static void
case_add(struct kat_case *c, unsigned line, char *text)
{
    char *equals = strchr(text, '=');
    char *name;

    if (equals == NULL)
        fail_msg("%s:%u: neither a comment nor name = value", c->file, line);
    *equals = '\0';
    name = trim(text);
    if (find(c, name) != NULL || c->count == ENTRIES_MAX)
        fail_msg("%s:%u: \"%s\" stands twice, or too many names", c->file, line, name);
    if (c->count == 0)
        c->line = line;
    c->entries[c->count++] =
        (struct entry){.name = strdup(name), .value = strdup(trim(equals + 1))};
}

void
kat_run(const char *name, unsigned expected, kat_check check)
{
    char path[PATH_MAX];
    struct kat_case c = {.file = name};
    char *text = NULL;
    size_t size = 0;
    unsigned line = 0, cases = 0;
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/%s", KAT_FOLDER, name);
    file = fopen(path, "re");
    if (file == NULL)
        fail_msg("cannot open %s: %s", path, strerror(errno));
    for (;;) {
        bool more = getline(&text, &size, file) >= 0;
        char *content = more ? trim(text) : NULL;

        line++;
        if (more && content[0] == '#')
            continue;
        if (more && content[0] != '\0') {
            case_add(&c, line, content);
            continue;
        }
        if (c.count > 0) {
            check(&c);
            cases++;
            case_clear(&c);
        }
        if (!more)
            break;
    }
    free(text);
    (void)fclose(file);
    if (cases != expected)
        fail_msg("%s: %u cases ran, %u were expected", name, cases, expected);
}

bool
kat_has(const struct kat_case *c, const char *name)
{
    return find(c, name) != NULL;
}

struct bytes
kat_bytes(struct kat_case *c, const char *name)
{
    struct entry *entry = &c->entries[need(c, name) - c->entries];
    size_t len = strlen(entry->value);

    if (entry->bytes == NULL) {
        entry->bytes = malloc(len / 2 + 1);
        if (!hex_decode(bytes_str(entry->value), entry->bytes, len / 2, &entry->bytes_len))
            fail_msg("%s:%u: \"%s\" is not hex", c->file, c->line, name);
    }
    return bytes_of(entry->bytes, entry->bytes_len);
}

const char *
kat_text(const struct kat_case *c, const char *name)
{
    return need(c, name)->value;
}

uint64_t
kat_u64(const struct kat_case *c, const char *name)
{
    const char *text = kat_text(c, name);
    char *end;
    uint64_t v;

    errno = 0;
    v = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0')
        fail_msg("%s:%u: \"%s\" is not a number", c->file, c->line, name);
    return v;
}

void
kat_assert_equal(struct kat_case *c, const char *name, struct bytes actual)
{
    char *text;

    if (bytes_equal(kat_bytes(c, name), actual))
        return;
    text = malloc(2 * actual.len + 1);
    hex_encode(actual, text);
    print_error("%s:%u: %s should be %s\n  but is %s\n", c->file, c->line, name, kat_text(c, name),
                text);
    free(text);
    fail();
}

void
kat_assert_int(const struct kat_case *c, const char *what, int actual, int expected)
{
    if (actual != expected)
        fail_msg("%s:%u: %s should be %d, but is %d", c->file, c->line, what, expected, actual);
}
