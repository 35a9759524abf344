/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/format.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static int
status_of(int error)
{
    switch (-error) {
    case EKEYREJECTED:
        return COFFER_E_KEY;
    case EBADMSG:
    case EINVAL:
        return COFFER_E_FORMAT;
    case ENOMEM:
        return COFFER_E_NOMEM;
    case EOPNOTSUPP:
        return COFFER_E_UNSUPPORTED;
    case EFBIG:
    case ENAMETOOLONG:
        return COFFER_E_LIMIT;
    case ENOENT:
        return COFFER_E_NOTFOUND;
    case EROFS:
        return COFFER_E_REFUSED;
    default:
        return COFFER_E_IO;
    }
}

int
volume_fail(struct coffer_error *err, int error, const char *format, ...)
{
    char text[sizeof err->message];
    va_list args;

    if (err == NULL)
        return error;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)error_set(err, status_of(error), "%s", text);
    return error;
}
