/* SPDX-License-Identifier: Apache-2.0 */
/* Declared types of SQLite and plaintext values: exactly reversible, or no value at all.
 *
 * SQLite has storage classes and affinities, not types; what a column means is taken from its
 * declared name.  Dates are ISO text, as its own functions write them.
 */
#include "db/sqlite/internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int
sqlite_declared_type(const char *declared)
{
    /* In this order: the first fragment found in the name decides. */
    static const struct {
        const char *fragment;
        int type;
    } NAMES[] = {
        {"BOOL", COFFER_BOOL},          {"TIMESTAMP", COFFER_TIMESTAMP},
        {"DATETIME", COFFER_TIMESTAMP}, {"DATE", COFFER_DATE},
        {"UUID", COFFER_UUID},          {"JSON", COFFER_JSON},
        {"INT", COFFER_INT64},          {"CHAR", COFFER_TEXT},
        {"CLOB", COFFER_TEXT},          {"TEXT", COFFER_TEXT},
        {"BLOB", COFFER_BYTES},         {"REAL", COFFER_FLOAT64},
        {"FLOA", COFFER_FLOAT64},       {"DOUB", COFFER_FLOAT64},
        {"NUMERIC", COFFER_NUMERIC},    {"DECIMAL", COFFER_NUMERIC},
        {"NUMBER", COFFER_NUMERIC},
    };
    char upper[DB_NAME_MAX];
    size_t i;

    for (i = 0; declared[i] != '\0' && i + 1 < sizeof upper; i++)
        upper[i] = (char)toupper((unsigned char)declared[i]);
    upper[i] = '\0';
    if (i == 0)
        return COFFER_BYTES; /* no declared type: BLOB affinity */
    for (i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        if (strstr(upper, NAMES[i].fragment) != NULL)
            return NAMES[i].type;
    }
    return 0;
}

enum sqlite_affinity
sqlite_affinity_of(const char *declared)
{
    /* sqlite.org/datatype3.html, section 3.1, in its order. */
    static const struct {
        const char *fragment;
        enum sqlite_affinity affinity;
    } RULES[] = {
        {"INT", AFFINITY_INTEGER}, {"CHAR", AFFINITY_TEXT}, {"CLOB", AFFINITY_TEXT},
        {"TEXT", AFFINITY_TEXT},   {"BLOB", AFFINITY_NONE}, {"REAL", AFFINITY_REAL},
        {"FLOA", AFFINITY_REAL},   {"DOUB", AFFINITY_REAL},
    };
    char upper[DB_NAME_MAX];
    size_t i;

    for (i = 0; declared[i] != '\0' && i + 1 < sizeof upper; i++)
        upper[i] = (char)toupper((unsigned char)declared[i]);
    upper[i] = '\0';
    if (i == 0)
        return AFFINITY_NONE;
    for (i = 0; i < sizeof RULES / sizeof *RULES; i++) {
        if (strstr(upper, RULES[i].fragment) != NULL)
            return RULES[i].affinity;
    }
    return AFFINITY_NUMERIC;
}

/* Days since 2000-01-01 of a proleptic Gregorian date; years 1 to 9999 as SQLite's own functions
 * know them. */
static int64_t
days_from_date(int64_t y, int m, int d)
{
    int64_t era, doe;
    int yoe, doy;

    y -= m <= 2;
    era = y / 400;
    yoe = (int)(y - era * 400);
    doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + doe - 730425; /* 0000-03-01 to 2000-01-01 */
}

static void
date_from_days(int64_t days, int *y, int *m, int *d)
{
    int64_t z = days + 730425, era = (z >= 0 ? z : z - 146096) / 146097;
    int doe = (int)(z - era * 146097), yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;

    *d = doy - (153 * mp + 2) / 5 + 1;
    *m = mp + (mp < 10 ? 3 : -9);
    *y = (int)(yoe + era * 400 + (*m <= 2));
}

static void
format_date(int64_t days, char text[64])
{
    int y, m, d;

    date_from_days(days, &y, &m, &d);
    snprintf(text, 64, "%04d-%02d-%02d", y, m, d);
}

static void
format_timestamp(int64_t us, char text[64])
{
    int64_t day = us / 86400000000, rest = us % 86400000000;
    size_t len;

    if (rest < 0) {
        rest += 86400000000;
        day--;
    }
    format_date(day, text);
    len = strlen(text);
    snprintf(text + len, 64 - len, " %02d:%02d:%02d", (int)(rest / 3600000000),
             (int)(rest / 60000000 % 60), (int)(rest / 1000000 % 60));
    if (rest % 1000000 != 0) {
        len = strlen(text);
        snprintf(text + len, 64 - len, ".%06d", (int)(rest % 1000000));
        for (len = strlen(text); text[len - 1] == '0'; len--)
            text[len - 1] = '\0';
    }
}

static bool
digits(const char *text, int count, int *out)
{
    *out = 0;
    while (count-- > 0) {
        if (*text < '0' || *text > '9')
            return false;
        *out = *out * 10 + (*text++ - '0');
    }
    return true;
}

/* Parse what format_…() writes; the caller formats again and compares, so that nothing else passes.
 */
static bool
parse_date(const char *text, int64_t *days)
{
    int y, m, d;

    if (strlen(text) < 10 || !digits(text, 4, &y) || !digits(text + 5, 2, &m) ||
        !digits(text + 8, 2, &d) || y < 1 || m < 1 || m > 12 || d < 1 || d > 31)
        return false;
    *days = days_from_date(y, m, d);
    return true;
}

static bool
parse_timestamp(const char *text, int64_t *us)
{
    int64_t days, fraction = 0, scale = 100000;
    int h, m, s;
    size_t i;

    if (strlen(text) < 19 || !parse_date(text, &days) || !digits(text + 11, 2, &h) ||
        !digits(text + 14, 2, &m) || !digits(text + 17, 2, &s) || h > 23 || m > 59 || s > 59)
        return false;
    for (i = 20; text[19] == '.' && text[i] >= '0' && text[i] <= '9' && scale > 0; i++, scale /= 10)
        fraction += (text[i] - '0') * scale;
    *us = ((days * 24 + h) * 60 + m) * 60000000 + (int64_t)s * 1000000 + fraction;
    return true;
}

static bool
numeric_syntax(const uint8_t *text, size_t len)
{
    size_t i = len > 0 && text[0] == '-', digits_seen = 0, points = 0;

    for (; i < len; i++) {
        if (text[i] == '.')
            points++;
        else if (text[i] >= '0' && text[i] <= '9')
            digits_seen++;
        else
            return false;
    }
    return digits_seen > 0 && points <= 1 && text[len - 1] != '.' &&
           text[len - digits_seen - points] != '.';
}

/* The decimal of a number that SQLite's own conversion certainly reads back as the same number:
 * integers, and reals of at most 15 digits that need no exponent. */
bool
sqlite_number_text(const struct coffer_value *number, char text[64])
{
    double back;

    if (number->type == COFFER_INT64) {
        snprintf(text, 64, "%" PRId64, number->i64);
        return true;
    }
    if (number->type != COFFER_FLOAT64)
        return false;
    snprintf(text, 64, "%.15g", number->f64);
    return strchr(text, 'e') == NULL && strchr(text, 'n') == NULL &&
           sscanf(text, "%lf", &back) == 1 && back == number->f64;
}

/* Numeric values are written back as text, which the column's affinity makes a number again, or
 * leaves as text: each stored class is right for the affinity that gives it back. */
static bool
decode_numeric(enum sqlite_affinity affinity, const struct coffer_value *stored, char text[64],
               struct coffer_value *out)
{
    bool numbers =
        affinity == AFFINITY_INTEGER || affinity == AFFINITY_NUMERIC || affinity == AFFINITY_REAL;

    out->type = COFFER_NUMERIC;
    if (stored->type == COFFER_TEXT) {
        out->data = stored->data;
        out->len = stored->len;
        return !numbers && numeric_syntax(stored->data, stored->len);
    }
    if (!numbers || !sqlite_number_text(stored, text))
        return false;
    if (stored->type == COFFER_FLOAT64 && affinity != AFFINITY_REAL && strchr(text, '.') == NULL)
        return false; /* would come back as an integer */
    out->data = (const uint8_t *)text;
    out->len = strlen(text);
    return true;
}

/* 16 bytes where the declared type is BLOB or none, else text as sqlite_encode() writes it. */
static bool
decode_uuid(enum sqlite_affinity affinity, const struct coffer_value *stored, char text[64],
            struct coffer_value *out)
{
    char hex[33], back[64];
    struct coffer_value again;
    size_t i, n = 0, len = 0;

    out->type = COFFER_UUID;
    if (affinity == AFFINITY_NONE) {
        out->data = stored->data;
        out->len = stored->len;
        return stored->type == COFFER_BYTES && stored->len == 16;
    }
    if (stored->type != COFFER_TEXT || stored->len != 36)
        return false;
    for (i = 0; i < 36; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23)
            continue;
        hex[n++] = (char)stored->data[i];
    }
    if (!hex_decode(bytes_of(hex, 32), (uint8_t *)text, 16, &len))
        return false;
    out->data = (const uint8_t *)text;
    out->len = 16;
    sqlite_encode(COFFER_UUID, affinity, out, back,
                  &again); /* upper case would come back lower: no value then */
    return memcmp(again.data, stored->data, 36) == 0;
}

/* Text of a date or timestamp, only if writing the value gives the same text again. */
static bool
decode_time(int type, const struct coffer_value *stored, struct coffer_value *out)
{
    char copy[64], again[64];

    if (stored->len >= sizeof copy || memchr(stored->data, 0, stored->len) != NULL)
        return false;
    memcpy(copy, stored->data, stored->len);
    copy[stored->len] = '\0';
    out->type = type;
    if (type == COFFER_DATE) {
        if (!parse_date(copy, &out->i64))
            return false;
        format_date(out->i64, again);
    } else {
        if (!parse_timestamp(copy, &out->i64))
            return false;
        format_timestamp(out->i64, again);
    }
    return strcmp(copy, again) == 0;
}

bool
sqlite_decode(int type, enum sqlite_affinity affinity, const struct coffer_value *stored,
              char text[64], struct coffer_value *out)
{
    *out = (struct coffer_value){0};
    switch (type) {
    case COFFER_BYTES:
        *out = *stored;
        return stored->type == COFFER_BYTES;
    case COFFER_TEXT:
    case COFFER_JSON:
        *out = *stored;
        out->type = type;
        return stored->type == COFFER_TEXT && utf8_valid(bytes_of(stored->data, stored->len));
    case COFFER_BOOL:
        *out = *stored;
        out->type = COFFER_BOOL;
        return stored->type == COFFER_INT64 && (stored->i64 == 0 || stored->i64 == 1);
    case COFFER_INT64:
        *out = *stored;
        return stored->type == COFFER_INT64;
    case COFFER_FLOAT64:
        *out = *stored;
        return stored->type == COFFER_FLOAT64;
    case COFFER_NUMERIC:
        return decode_numeric(affinity, stored, text, out);
    case COFFER_DATE:
    case COFFER_TIMESTAMP:
        return stored->type == COFFER_TEXT && decode_time(type, stored, out);
    case COFFER_UUID:
        return decode_uuid(affinity, stored, text, out);
    default:
        return false;
    }
}

void
sqlite_encode(int type, enum sqlite_affinity affinity, const struct coffer_value *plain,
              char text[64], struct coffer_value *stored)
{
    *stored = *plain;
    switch (plain->type == COFFER_NULL ? COFFER_NULL : type) {
    case COFFER_BOOL:
        stored->type = COFFER_INT64;
        return;
    case COFFER_NUMERIC: /* the column's affinity makes a number of it where it was one */
    case COFFER_JSON:
        stored->type = COFFER_TEXT;
        return;
    case COFFER_DATE:
        format_date(plain->i64, text);
        break;
    case COFFER_TIMESTAMP:
        format_timestamp(plain->i64, text);
        break;
    case COFFER_UUID: {
        char hex[33];

        if (affinity == AFFINITY_NONE) {
            stored->type = COFFER_BYTES;
            return;
        }
        hex_encode(bytes_of(plain->data, 16), hex);
        snprintf(text, 64, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
        break;
    }
    default:
        return;
    }
    stored->type = COFFER_TEXT;
    stored->data = (const uint8_t *)text;
    stored->len = strlen(text);
}
