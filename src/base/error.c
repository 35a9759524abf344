/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Messages quote names that others chose: nothing of them may move a terminal's cursor or break a
 * log line. */
static void
replace_controls(char *text)
{
    unsigned char *p;

    for (p = (unsigned char *)text; *p != '\0'; p++) {
        if (*p < 0x20 || *p == 0x7f)
            *p = ' ';
    }
}

/* A cut in the middle of a UTF-8 sequence leaves no half of it. */
static void
trim_partial_utf8(char *text, size_t size)
{
    size_t len = strlen(text), back = 0;
    unsigned char lead;

    if (len + 1 < size)
        return;
    while (back < 3 && len > back + 1 && ((unsigned char)text[len - 1 - back] & 0xC0) == 0x80)
        back++;
    lead = (unsigned char)text[len - 1 - back];
    if (lead >= 0xC0)
        text[len - 1 - back] = '\0';
}

int
error_set(struct coffer_error *err, int status, const char *format, ...)
{
    va_list args;

    if (err == NULL)
        return status;
    err->status = status;
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    trim_partial_utf8(err->message, sizeof err->message);
    replace_controls(err->message);
    return status;
}

int
error_prefix(struct coffer_error *err, const char *format, ...)
{
    char old[sizeof err->message];
    size_t len;
    va_list args;

    if (err == NULL)
        return COFFER_E_MISUSE;
    memcpy(old, err->message, sizeof old);
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    len = strlen(err->message);
    snprintf(err->message + len, sizeof err->message - len, "%s", old);
    trim_partial_utf8(err->message, sizeof err->message);
    replace_controls(err->message);
    return err->status;
}

int
error_nomem(struct coffer_error *err)
{
    return error_set(err, COFFER_E_NOMEM, "out of memory");
}
