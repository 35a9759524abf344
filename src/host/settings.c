/* SPDX-License-Identifier: Apache-2.0 */
/* Settings: options, then coffer.toml of the working folder, then COFFER_KEYRING and COFFER_KEK.
 *
 * Of TOML, coffer.toml may hold comments, empty lines, and `key = "text"` for the keys keyring, kek,
 * database and state, where the text is a basic string with the escapes \" and \\ or a 'literal string'.
 * Anything else is refused with its line number, so that nothing is read otherwise than TOML means
 * it.
 */
#include "host/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOML "coffer.toml"
#define TOML_MAX (64u << 10)

struct line {
    const char *p, *end;
    unsigned number;
};

static int
refuse(const struct line *l, const char *what, struct coffer_error *err)
{
    return error_set(err, COFFER_E_FORMAT,
                     TOML " line %u: %s; a line is: keyring|kek|database|state = \"text\"", l->number,
                     what);
}

static void
skip_space(struct line *l)
{
    while (l->p < l->end && (*l->p == ' ' || *l->p == '\t'))
        l->p++;
}

static bool
at_end(struct line *l)
{
    skip_space(l);
    return l->p == l->end || *l->p == '#';
}

static int
read_text(struct line *l, char *out, size_t out_max, struct coffer_error *err)
{
    char quote = l->p < l->end ? *l->p : '\0';
    size_t len = 0;

    if (quote != '"' && quote != '\'')
        return refuse(l, "the value is not in quotes", err);
    l->p++;
    if (l->end - l->p >= 2 && l->p[0] == quote && l->p[1] == quote)
        return refuse(l, "multi-line strings are not read", err);
    for (; l->p < l->end && *l->p != quote; l->p++) {
        if (quote == '"' && *l->p == '\\') {
            l->p++;
            if (l->p == l->end || (*l->p != '"' && *l->p != '\\'))
                return refuse(l, "of the escapes only \\\" and \\\\ are read", err);
        }
        if ((unsigned char)*l->p < 0x20 && *l->p != '\t')
            return refuse(l, "a control character", err);
        if (len + 1 >= out_max)
            return refuse(l, "the value is too long", err);
        out[len++] = *l->p;
    }
    if (l->p == l->end)
        return refuse(l, "the value's closing quote is missing", err);
    l->p++;
    out[len] = '\0';
    if (len == 0)
        return refuse(l, "the value is empty", err);
    return COFFER_OK;
}

static int
read_line(struct line *l, struct host_settings *found, struct coffer_error *err)
{
    const char *key;
    size_t len, size;
    char *out;

    if (at_end(l))
        return COFFER_OK;
    for (key = l->p; l->p < l->end && *l->p >= 'a' && *l->p <= 'z'; l->p++)
        ;
    len = (size_t)(l->p - key);
    if (len == 7 && memcmp(key, "keyring", 7) == 0) {
        out = found->keyring;
        size = sizeof found->keyring;
    } else if (len == 3 && memcmp(key, "kek", 3) == 0) {
        out = found->kek;
        size = sizeof found->kek;
    } else if (len == 8 && memcmp(key, "database", 8) == 0) {
        out = found->database;
        size = sizeof found->database;
    } else if (len == 5 && memcmp(key, "state", 5) == 0) {
        out = found->state;
        size = sizeof found->state;
    } else {
        return refuse(l, "not a key that is known here", err);
    }
    if (out[0] != '\0')
        return refuse(l, "the key stands twice", err);
    skip_space(l);
    if (l->p == l->end || *l->p != '=')
        return refuse(l, "\"=\" is missing", err);
    l->p++;
    skip_space(l);
    if (read_text(l, out, size, err) != COFFER_OK)
        return COFFER_E_FORMAT;
    return at_end(l) ? COFFER_OK : refuse(l, "something follows the value", err);
}

static int
read_toml(const struct os *os, struct host_settings *found, struct coffer_error *err)
{
    struct coffer_error why = {0};
    struct buf file;
    const char *p, *end;
    unsigned number = 0;
    int rc;

    buf_init(&file, TOML_MAX);
    rc = os->read_file(os, TOML, TOML_MAX, &file, &why);
    if (rc == COFFER_E_NOTFOUND) {
        buf_wipe(&file);
        return COFFER_OK;
    }
    if (rc != COFFER_OK)
        error_set(err, rc, "%s", why.message);
    if (rc == COFFER_OK && !utf8_valid(buf_view(&file)))
        rc = error_set(err, COFFER_E_FORMAT, TOML " is not UTF-8");
    p = (const char *)file.ptr;
    end = p + file.len;
    while (rc == COFFER_OK && p < end) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        const char *next = eol == NULL ? end : eol + 1;
        struct line l = {p, eol == NULL ? end : eol, ++number};

        if (l.end > l.p && l.end[-1] == '\r')
            l.end--;
        rc = read_line(&l, found, err);
        p = next;
    }
    buf_wipe(&file);
    return rc;
}

static int
choose(char *out, size_t out_max, const char *option, const char *file, const char *variable,
       const char *what, bool library, struct coffer_error *err)
{
    const char *value = option;

    if (value == NULL && file[0] != '\0')
        value = file;
    if (value == NULL && variable != NULL)
        value = secure_getenv(variable);
    if (value == NULL || value[0] == '\0')
        return error_set(err, COFFER_E_MISUSE,
                         library ? "no %s given: set %s in struct coffer_host_options, or %s = \"…\" in " TOML
                                   " of the working folder, or the environment variable %s"
                                 : "no %s given: use --%s, or %s = \"…\" in " TOML ", or %s",
                         what, what, what, variable);
    if (strlen(value) >= out_max)
        return error_set(err, COFFER_E_LIMIT, "the %s is longer than %zu bytes", what, out_max - 1);
    memcpy(out, value, strlen(value) + 1);
    return COFFER_OK;
}

int
host_settings_find(const char *keyring, const char *kek, bool library, const struct os *os,
                   struct host_settings *out, struct coffer_error *err)
{
    struct host_settings found = {0};
    int rc;

    memset(out, 0, sizeof *out);
    rc = read_toml(os, &found, err);
    if (rc == COFFER_OK)
        rc = choose(out->keyring, sizeof out->keyring, keyring, found.keyring, "COFFER_KEYRING",
                    "keyring", library, err);
    if (rc == COFFER_OK)
        rc = choose(out->kek, sizeof out->kek, kek, found.kek, "COFFER_KEK", "kek", library, err);
    if (rc == COFFER_OK)
        memcpy(out->database, found.database, sizeof out->database);
    return rc;
}

int
host_settings_state(const struct os *os, char out[1024], struct coffer_error *err)
{
    struct host_settings found = {0};
    const char *variable = secure_getenv("COFFER_STATE");
    int rc = read_toml(os, &found, err);

    out[0] = '\0';
    if (rc == COFFER_OK)
        (void)snprintf(out, 1024, "%s", found.state[0] != '\0' || variable == NULL ? found.state : variable);
    return rc;
}
