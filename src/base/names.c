/* SPDX-License-Identifier: Apache-2.0 */
/* Names of the public enums. */
#include "coffer.h"

#include <string.h>

static const char *const STATUSES[] = {
    "ok",       "misuse",      "nomem",    "format",    "auth",      "key", "stale",   "limit",
    "io",       "exists",      "notfound", "refused",   "notyet",    "db",  "lost",    "conflict",
    "rollback", "unsupported", "type",     "cancelled", "plaintext", "kek", "mangled", "tampered",
    "range",
};
static const char *const TYPES[] = {"null",    "bytes", "text",      "bool", "int64", "float64",
                                    "numeric", "date",  "timestamp", "uuid", "json"};
static const char *const PHASES[] = {"off", "shadow", "dual", "sealed"};

#define COUNT(a) (sizeof(a) / sizeof *(a))

const char *
coffer_status_name(int status)
{
    return status >= 0 && (size_t)status < COUNT(STATUSES) ? STATUSES[status] : "unknown";
}

const char *
coffer_version(void)
{
    return COFFER_VERSION;
}

const char *
coffer_type_name(int type)
{
    return type >= 0 && (size_t)type < COUNT(TYPES) ? TYPES[type] : "?";
}

int
coffer_type_parse(const char *name)
{
    size_t i;

    for (i = 1; name != NULL && i < COUNT(TYPES); i++) {
        if (strcmp(TYPES[i], name) == 0)
            return (int)i;
    }
    return -1;
}

const char *
coffer_phase_name(int phase)
{
    return phase >= 0 && (size_t)phase < COUNT(PHASES) ? PHASES[phase] : "?";
}
