/* SPDX-License-Identifier: Apache-2.0 */
/* Text that engines have in common: addresses, what has to be quoted, census, lines of a doctor. */
#include "deploy/engines/internal.h"

#include <stdio.h>
#include <string.h>

bool
loopback(const char *listen)
{
    return listen[0] == '\0' || strncmp(listen, "127.", 4) == 0 || strcmp(listen, "::1") == 0 ||
           strcmp(listen, "localhost") == 0;
}

void
url_host(const char *listen, struct buf *out)
{
    if (strcmp(listen, "0.0.0.0") == 0 || strcmp(listen, "*") == 0)
        listen = "127.0.0.1";
    else if (strcmp(listen, "::") == 0)
        listen = "::1";
    buf_format(out, strchr(listen, ':') != NULL ? "[%s]" : "%s", listen);
}

void
url_escape(const char *text, struct buf *out)
{
    for (; *text != '\0'; text++) {
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/", *text) !=
            NULL)
            buf_u8(out, (uint8_t)*text);
        else
            buf_format(out, "%%%02X", (unsigned)(unsigned char)*text);
    }
}

void
quote_double(const char *text, char quote, struct buf *out)
{
    for (; *text != '\0'; text++) {
        if (*text == quote)
            buf_u8(out, (uint8_t)quote);
        buf_u8(out, (uint8_t)*text);
    }
}

/* One line of a census: ["name", rows]. */
static int
census_line(const char *line, size_t len, json_t *tables, struct coffer_error *err)
{
    json_t *pair = json_loadb(line, len, 0, NULL);
    const char *name = json_string_value(json_array_get(pair, 0));
    json_t *rows = json_array_get(pair, 1);
    int rc = COFFER_OK;

    if (name == NULL || !json_is_integer(rows))
        rc = error_set(err, COFFER_E_FORMAT, "the database counted its rows and answered \"%.*s\"",
                       len < 80 ? (int)len : 80, line);
    else if (json_object_set(tables, name, rows) != 0)
        rc = error_nomem(err);
    json_decref(pair);
    return rc;
}

int
census_read(struct bytes lines, json_t **out, struct coffer_error *err)
{
    json_t *tables = json_object();
    const char *at = (const char *)lines.ptr, *end = at + lines.len;
    int rc = tables != NULL ? COFFER_OK : error_nomem(err);

    *out = NULL;
    while (rc == COFFER_OK && at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t len = stop != NULL ? (size_t)(stop - at) : (size_t)(end - at);

        if (len > 0)
            rc = census_line(at, len, tables, err);
        at += len + 1;
    }
    if (rc == COFFER_OK && (*out = json_pack("{s:O}", "tables", tables)) == NULL)
        rc = error_nomem(err);
    json_decref(tables);
    return rc;
}

void
line_value(const char *lines, const char *name, char between, char *seen, size_t max)
{
    size_t len = strlen(name);
    const char *at = lines;

    seen[0] = '\0';
    while (at != NULL && *at != '\0') {
        if (strncmp(at, name, len) == 0 && at[len] == between) {
            snprintf(seen, max, "%.*s", (int)strcspn(at + len + 1, "\r\n"), at + len + 1);
            return;
        }
        at = strchr(at, '\n');
        at = at != NULL ? at + 1 : NULL;
    }
}

int
check_setting(const char *name, const char *seen, const char *wanted, const char *state,
              const char *advice, engine_check_fn fn, void *arg, struct coffer_error *err)
{
    bool good = strcasecmp(seen, wanted) == 0;
    struct engine_check check = {.name = name, .state = good ? "ok" : state};
    struct buf text;
    int rc;

    buf_init(&text, 4096);
    buf_format(&text, "it is %s", seen[0] != '\0' ? seen : "not set");
    if (!good)
        buf_format(&text, " and should be %s: %s", wanted, advice);
    rc = buf_status(&text, err);
    check.text = buf_cstr(&text);
    if (rc == COFFER_OK)
        rc = fn(arg, &check, err);
    buf_wipe(&text);
    return rc;
}

int
url_end(int rc, struct buf *text, char *out, struct coffer_error *err)
{
    if (rc == COFFER_OK)
        rc = buf_status(text, err);
    if (rc == COFFER_OK)
        memcpy(out, buf_cstr(text), text->len + 1);
    buf_wipe(text);
    return rc;
}
