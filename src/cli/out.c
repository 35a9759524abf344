/* SPDX-License-Identifier: Apache-2.0 */
/* Output that every command uses: JSON lines, errors, ids, times, CSV fields. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void
out_json(json_t *value)
{
    if (value == NULL || json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY) != 0) {
        (void)fputs("coffer: out of memory\n", stderr);
        exit(1);
    }
    (void)fputc('\n', stdout);
    (void)fflush(stdout);
    json_decref(value);
}

void
out_error(const struct cli *cli, const struct coffer_error *err)
{
    (void)fflush(stdout);
    (void)fputs("coffer: ", stderr);
    print_wrapped(stderr, err->message, 8, terminal_width(STDERR_FILENO));
    if (cli->json)
        out_json(json_pack("{s:{s:s,s:s}}", "error", "code", coffer_status_name(err->status), "message",
                           err->message));
}

int
exit_code_of(int status)
{
    switch (status) {
    case COFFER_OK:
        return 0;
    case COFFER_E_MISUSE:
        return 2;
    case COFFER_E_REFUSED:
        return 3;
    case COFFER_E_NOTYET:
        return 4;
    default:
        return 1;
    }
}

const char *
key_hex(uint32_t id, char out[9])
{
    (void)snprintf(out, 9, "%08x", (unsigned)id);
    return out;
}

static void
time_form(int64_t us, const char *form, char out[32])
{
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;

    if (us == 0 || gmtime_r(&seconds, &tm) == NULL || strftime(out, 32, form, &tm) == 0)
        memcpy(out, "-", 2);
}

void
time_text(int64_t us, char out[32])
{
    time_form(us, "%Y-%m-%d %H:%M:%SZ", out);
}

json_t *
out_time(int64_t us)
{
    char text[32];

    if (us == 0)
        return json_null();
    time_form(us, "%Y-%m-%dT%H:%M:%SZ", text);
    return json_string(text);
}

json_t *
out_key(uint32_t id)
{
    char hex[9];

    return id == 0 ? json_null() : json_string(key_hex(id, hex));
}

json_t *
out_uuid(const struct uuid *id)
{
    char text[37];

    uuid_format(id, text);
    return json_string(text);
}

void
csv_field(struct buf *out, struct bytes text)
{
    bool quote = text.len == 0 || (text.len == 2 && memcmp(text.ptr, "\\.", 2) == 0);

    for (size_t i = 0; i < text.len && !quote; i++)
        quote = memchr(",\"\r\n", text.ptr[i], 4) != NULL;
    if (!quote) {
        buf_bytes(out, text);
        return;
    }
    buf_u8(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '"')
            buf_u8(out, '"');
        buf_u8(out, text.ptr[i]);
    }
    buf_u8(out, '"');
}
