/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The length of the UTF-8 character of two bytes or more at `p`, 0 if there is none. */
static size_t
wide_character(const unsigned char *p)
{
    size_t left = strnlen((const char *)p, 4);

    for (size_t len = 2; len <= left; len++)
        if (utf8_valid(bytes_of(p, len)))
            return len;
    return 0;
}

/* Messages quote names that others chose: nothing of them may move a terminal's cursor, break a
 * log line, or be ill-formed UTF-8, such as the half of a character at the end of what was cut. */
static void
make_printable(char *text)
{
    unsigned char *p = (unsigned char *)text;

    while (*p != '\0') {
        size_t wide = *p >= 0x80 ? wide_character(p) : 0;

        if (*p < 0x20 || *p == 0x7f) {
            *p++ = ' ';
        } else if (*p >= 0x80 && (wide == 0 || (wide == 2 && *p == 0xC2 && p[1] < 0xA0))) {
            *p++ = '?'; /* ill-formed, or a C1 control: its second byte is ill-formed alone */
        } else {
            p += wide > 0 ? wide : 1;
        }
    }
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
    make_printable(err->message);
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
    make_printable(err->message);
    return err->status;
}

int
error_nomem(struct coffer_error *err)
{
    return error_set(err, COFFER_E_NOMEM, "out of memory");
}
