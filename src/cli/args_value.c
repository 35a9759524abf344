/* SPDX-License-Identifier: Apache-2.0 */
/* Values of options: durations, numbers, windows, key ids, times. */
#include "base/bytes.h"
#include "cli/args.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int
parse_duration(const char *name, const char *text, int64_t *ms, struct coffer_error *err)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *end;
    unsigned long long n;

    errno = 0;
    n = strtoull(text, &end, 10);
    if (isdigit((unsigned char)text[0]) && errno == 0 && n <= 1000000000) {
        if (n == 0 && *end == '\0') {
            *ms = 0;
            return COFFER_OK;
        }
        for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
            if (strcmp(end, units[i].unit) == 0) {
                *ms = (int64_t)n * units[i].ms;
                return COFFER_OK;
            }
        }
    }
    return error_set(err, COFFER_E_MISUSE,
                     "--%s %s: a duration is a number with its unit, like 30s, 5m, 1h or 2d", name, text);
}

int
parse_number(const char *name, const char *text, double min, double max, double *out,
             struct coffer_error *err)
{
    char *end;
    double n = strtod(text, &end);

    if (!isdigit((unsigned char)text[0]) || *end != '\0' || !(n >= min && n <= max))
        return error_set(err, COFFER_E_MISUSE, "--%s %s: a number from %g to %g is needed", name, text, min,
                         max);
    *out = n;
    return COFFER_OK;
}

int
parse_window(const char *text, int *from, int *to, struct coffer_error *err)
{
    unsigned h1, m1, h2, m2;
    int used = 0;

    if (sscanf(text, "%2u:%2u-%2u:%2u%n", &h1, &m1, &h2, &m2, &used) != 4 || text[used] != '\0' || h1 > 23 ||
        h2 > 23 || m1 > 59 || m2 > 59)
        return error_set(err, COFFER_E_MISUSE, "--window %s: write it like 22:00-06:00 (local time)", text);
    *from = (int)(h1 * 60 + m1);
    *to = (int)(h2 * 60 + m2);
    return COFFER_OK;
}

int
parse_key_id(const char *text, uint32_t *id, struct coffer_error *err)
{
    uint8_t raw[4];
    size_t len;

    if (!hex_decode(bytes_str(text), raw, sizeof raw, &len) || len != 4 || get_be32(raw) == 0)
        return error_set(err, COFFER_E_MISUSE,
                         "'%s' is no key id: it has 8 hex digits, as `coffer key list` shows it", text);
    *id = get_be32(raw);
    return COFFER_OK;
}

int
parse_time(const char *name, const char *text, int64_t now_us, int64_t *out, struct coffer_error *err)
{
    static const char *const forms[] = {"%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S"};

    if (strcmp(text, "now") == 0) {
        *out = now_us;
        return COFFER_OK;
    }
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct tm tm = {0};
        const char *end = strptime(text, forms[i], &tm);

        if (end != NULL && *end == '\0') {
            int64_t seconds = timegm(&tm);

            if (seconds > 0) {
                *out = seconds * 1000000;
                return COFFER_OK;
            }
        }
    }
    return error_set(err, COFFER_E_MISUSE,
                     "--%s %s: write a time like 2026-11-24, 2026-11-24T06:00:00Z (UTC) or now", name, text);
}
