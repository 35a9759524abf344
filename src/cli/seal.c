/* SPDX-License-Identifier: Apache-2.0 */
/* coffer seal, coffer open: one value, or a stream of JSON lines. */
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/reader.h"
#include "field/field.h"

#include <stdlib.h>
#include <string.h>

#define VALUE_MAX (80u << 20)

struct sealer {
    struct cli *cli;
    struct reader reader;
    struct coffer *coffer;
    bool open; /* the other way */
    struct buf storage, parts_storage, text;
    struct coffer_value parts[DB_KEY_MAX];
};

/* `out` of the value's size, zeroed; the caller frees. */
static int
room(size_t size, uint8_t **out, struct coffer_error *err)
{
    *out = mem_alloc(size);
    return *out == NULL ? error_nomem(err) : COFFER_OK;
}

/* Envelopes travel as hex, or in their text form as they are. */
static void
envelope_text(const struct coffer_column_info *info, struct bytes sealed, struct buf *out)
{
    static const char digits[] = "0123456789abcdef";

    if (info->text_form) {
        buf_bytes(out, sealed);
        return;
    }
    for (size_t i = 0; i < sealed.len; i++) {
        buf_u8(out, (uint8_t)digits[sealed.ptr[i] >> 4]);
        buf_u8(out, (uint8_t)digits[sealed.ptr[i] & 15]);
    }
}

static int
envelope_bytes(struct bytes text, struct buf *out, struct coffer_error *err)
{
    uint8_t *raw;
    size_t len = 0;
    int rc;

    if (text.len >= 5 && memcmp(text.ptr, "cfr1.", 5) == 0) {
        buf_bytes(out, text);
        return buf_status(out, err);
    }
    if (text.len >= 2 && text.ptr[0] == '\\' && text.ptr[1] == 'x') { /* as PostgreSQL and cat write bytes */
        text.ptr += 2;
        text.len -= 2;
    }
    rc = room(text.len / 2 + 1, &raw, err);
    if (rc != COFFER_OK)
        return rc;
    if (hex_decode(text, raw, text.len / 2 + 1, &len))
        buf_add(out, raw, len);
    else
        rc = error_set(err, COFFER_E_FORMAT, "the sealed value is neither hex nor a text form (cfr1.…)");
    mem_free(raw);
    return rc == COFFER_OK ? buf_status(out, err) : rc;
}

static int
seal_one(struct sealer *s, const struct coffer_column *column, struct coffer_place place, struct bytes text,
         struct coffer_error *err)
{
    struct coffer_column_info info;
    struct coffer_cell cell = {.column = column, .place = place};
    int rc;

    coffer_column_info(column, &info);
    rc = value_parse(info.type, text, &s->storage, &cell.value, err);
    if (rc != COFFER_OK)
        return error_prefix(err, "%s.%s: ", info.table, info.name);
    cell.out_max = coffer_sealed_max(column, cell.value.len + 64);
    rc = room(cell.out_max, &cell.out, err);
    if (rc == COFFER_OK)
        rc = coffer_seal(s->coffer, &cell, 1, err);
    if (rc == COFFER_OK)
        envelope_text(&info, bytes_of(cell.sealed, cell.sealed_len), &s->text);
    mem_free(cell.out);
    return rc == COFFER_OK ? buf_status(&s->text, err) : rc;
}

/* Authentication says that something does not fit, and cannot say what. */
static int
explain_auth(const struct coffer_column *column, struct coffer_error *err)
{
    struct coffer_column_info info;

    coffer_column_info(column, &info);
    return error_set(err, COFFER_E_AUTH,
                     "authentication failed: this does not open as a value of %s.%s%s. A sealed value is bound to its key, %s: this one "
                     "was sealed for another place, or was changed",
                     info.table, info.name, info.binding == COFFER_BIND_ROW ? " in this row" : "",
                     info.binding == COFFER_BIND_ROW      ? "database, column and row"
                     : info.binding == COFFER_BIND_COLUMN ? "database and column"
                                                          : "and to no column or row");
}

static int
open_one(struct sealer *s, const struct coffer_column *column, struct coffer_place place, struct bytes text,
         int *type, struct coffer_error *err)
{
    struct coffer_cell cell = {.column = column, .place = place};
    int rc = envelope_bytes(text, &s->storage, err);

    if (rc != COFFER_OK)
        return rc;
    cell.sealed = s->storage.ptr;
    cell.sealed_len = s->storage.len;
    cell.out_max = cell.sealed_len + 1;
    rc = room(cell.out_max, &cell.out, err);
    if (rc == COFFER_OK)
        rc = coffer_open(s->coffer, &cell, 1, err);
    if (rc == COFFER_E_AUTH)
        rc = explain_auth(column, err);
    if (rc == COFFER_OK)
        rc = value_format(&cell.value, &s->text, err);
    *type = cell.value.type;
    if (cell.out != NULL)
        wipe(cell.out, cell.out_max);
    mem_free(cell.out);
    return rc;
}

/* ---- streams ---- */

/* A JSON scalar as the text of a value. */
static int
json_scalar(const json_t *value, char number[64], struct bytes *out, struct coffer_error *err)
{
    if (json_is_string(value)) {
        *out = bytes_of(json_string_value(value), json_string_length(value));
        return COFFER_OK;
    }
    if (json_is_integer(value))
        (void)snprintf(number, 64, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        (void)snprintf(number, 64, "%.17g", json_real_value(value));
    else if (json_is_boolean(value))
        (void)snprintf(number, 64, "%s", json_is_true(value) ? "t" : "f");
    else
        return error_set(err, COFFER_E_FORMAT, "a value is a string, a number, true, false or null");
    *out = bytes_str(number);
    return COFFER_OK;
}

/* "row": [["int64", 7], …] */
static int
json_place(struct sealer *s, const json_t *row, struct coffer_place *place, struct coffer_error *err)
{
    size_t n = json_array_size(row);

    *place = (struct coffer_place){s->parts, n};
    if (row != NULL && !json_is_array(row))
        return error_set(err, COFFER_E_FORMAT, "\"row\" is a list of [type, value]");
    if (n > DB_KEY_MAX)
        return error_set(err, COFFER_E_LIMIT, "a primary key has at most %d parts", DB_KEY_MAX);
    for (size_t i = 0; i < n; i++) {
        const json_t *part = json_array_get(row, i);
        const char *type = json_string_value(json_array_get(part, 0));
        int number = type == NULL ? -1 : coffer_type_parse(type);
        struct coffer_value raw = {.type = COFFER_TEXT};
        struct buf one;
        char digits[64];
        struct bytes text;
        int rc;

        if (json_array_size(part) != 2 || number <= 0)
            return error_set(err, COFFER_E_FORMAT, "\"row\" is a list of [type, value], like [[\"int64\",7]]");
        rc = json_scalar(json_array_get(part, 1), digits, &text, err);
        if (rc != COFFER_OK)
            return rc;
        raw.data = text.ptr;
        raw.len = text.len;
        /* Each part in a buffer of its own: the next one may move what this one borrows. */
        buf_init(&one, VALUE_MAX);
        rc = row_value(number, &raw, &one, &s->parts[i], err);
        if (rc == COFFER_OK && one.ptr != NULL && s->parts[i].data == one.ptr) {
            if (s->parts_storage.len + one.len > s->parts_storage.size)
                rc = error_set(err, COFFER_E_LIMIT, "a primary key has at most %zu bytes", s->parts_storage.size);
            else {
                s->parts[i].data = s->parts_storage.ptr + s->parts_storage.len;
                buf_bytes(&s->parts_storage, buf_view(&one));
            }
        } else if (rc == COFFER_OK && number == COFFER_TEXT) {
            s->parts[i].data = text.ptr; /* lives as long as the line */
        }
        buf_wipe(&one);
        if (rc != COFFER_OK)
            return rc;
    }
    return COFFER_OK;
}

static json_t *
json_opened(const struct sealer *s, int type)
{
    const char *text = (const char *)s->text.ptr;
    size_t len = s->text.len;

    if (type == COFFER_BOOL)
        return json_boolean(len > 0 && text[0] == 't');
    if (type == COFFER_INT64) {
        long long n = strtoll(text, NULL, 10);

        if (n >= -(1LL << 53) && n <= 1LL << 53)
            return json_integer(n);
    }
    return json_stringn(text == NULL ? "" : text, len);
}

static int
stream_line(struct sealer *s, const char *line, size_t len, json_t **answer, struct coffer_error *err)
{
    const struct coffer_column *column;
    const char *column_name;
    struct coffer_place place;
    json_error_t where;
    json_t *in = json_loadb(line, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where);
    json_t *value = json_object_get(in, s->open ? "sealed" : "value");
    struct bytes text = {0};
    char number[64];
    int type = 0, rc;

    buf_clear(&s->storage);
    buf_clear(&s->text);
    buf_clear(&s->parts_storage);
    *answer = NULL;
    column_name = json_string_value(json_object_get(in, "column"));
    if (column_name != NULL && strlen(column_name) != json_string_length(json_object_get(in, "column")))
        column_name = NULL;
    if (!json_is_object(in))
        rc = error_set(err, COFFER_E_FORMAT, "not one JSON object in the line: %s", in == NULL ? where.text : "another kind");
    else if (column_name == NULL)
        rc = error_set(err, COFFER_E_FORMAT, "\"column\" is missing, or no name");
    else if (value == NULL)
        rc = error_set(err, COFFER_E_FORMAT, "\"%s\" is missing", s->open ? "sealed" : "value");
    else
        rc = reader_refresh(&s->reader, err);
    if (rc == COFFER_OK)
        rc = coffer_column_find(s->coffer, s->reader.database->id.b, column_name, &column, err);
    if (rc == COFFER_OK)
        rc = json_place(s, json_object_get(in, "row"), &place, err);
    if (rc == COFFER_OK && json_is_null(value)) {
        *answer = json_pack("{s:n}", s->open ? "value" : "sealed");
    } else if (rc == COFFER_OK) {
        rc = json_scalar(value, number, &text, err);
        if (rc == COFFER_OK && s->open && !json_is_string(value))
            rc = error_set(err, COFFER_E_FORMAT, "\"sealed\" is a string");
        if (rc == COFFER_OK)
            rc = s->open ? open_one(s, column, place, text, &type, err) : seal_one(s, column, place, text, err);
        if (rc == COFFER_OK && s->open)
            *answer = json_pack("{s:o}", "value", json_opened(s, type));
        else if (rc == COFFER_OK)
            *answer = json_pack("{s:s%}", "sealed", buf_cstr(&s->text), s->text.len);
        if (rc == COFFER_OK && *answer == NULL)
            rc = error_nomem(err);
    }
    json_decref(in);
    return rc;
}

static int
run_stream(struct sealer *s)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t len;

    while (!cli_stop && (len = getline(&line, &size, stdin)) > 0) {
        struct coffer_error err = {0};
        json_t *answer = NULL;
        int rc = stream_line(s, line, (size_t)len, &answer, &err);

        if (rc != COFFER_OK) {
            answer = json_pack("{s:{s:s,s:s}}", "error", "code", coffer_status_name(rc), "message", err.message);
            s->cli->exit_code = 1;
        }
        out_json(answer);
    }
    if (line != NULL)
        wipe(line, size);
    free(line);
    return COFFER_OK;
}

/* ---- one value ---- */

/* --row 7, or --row 2026,eu for a composite key: the parts as text, their types from the keyring. */
static int
take_row(struct sealer *s, const struct coffer_column_info *info, const char *text, struct coffer_place *place,
         struct coffer_error *err)
{
    size_t n = 0;

    *place = (struct coffer_place){s->parts, 0};
    if (info->binding != COFFER_BIND_ROW)
        return COFFER_OK;
    if (text == NULL)
        return error_set(err, COFFER_E_MISUSE, "%s.%s is bound to its row: say which with --row KEY", info->table, info->name);
    for (const char *p = text;; p++) {
        size_t len = info->key_parts == 1 ? strlen(p) : strcspn(p, ",");
        struct coffer_value *part = &s->parts[n];
        struct coffer_value raw = {.type = COFFER_TEXT, .data = (const uint8_t *)p, .len = len};
        const char *colon = memchr(p, ':', len);
        char name[16] = "";
        int type = COFFER_INT64;

        if (n == DB_KEY_MAX)
            break;
        if (colon != NULL && (size_t)(colon - p) < sizeof name) {
            memcpy(name, p, (size_t)(colon - p));
            type = coffer_type_parse(name);
        }
        if (name[0] != '\0' && type > 0) { /* "text:eu", "uuid:…" */
            raw.data = (const uint8_t *)colon + 1;
            raw.len = len - (size_t)(colon + 1 - p);
        } else {
            struct coffer_error ignored;

            type = value_parse(COFFER_INT64, bytes_of(p, len), &s->parts_storage, part, &ignored) == COFFER_OK ? COFFER_INT64
                                                                                                              : COFFER_TEXT;
        }
        if (row_value(type, &raw, &s->parts_storage, part, err) != COFFER_OK)
            return err->status;
        n++;
        p += len;
        if (*p == '\0')
            break;
    }
    place->count = n;
    if (n != info->key_parts)
        return error_set(err, COFFER_E_MISUSE, "--row %s: the key of %s has %zu part%s", text, info->table,
                         info->key_parts, info->key_parts == 1 ? "" : "s");
    return COFFER_OK;
}

static int
read_value(struct sealer *s, size_t next, struct buf *out, struct coffer_error *err)
{
    const struct args *args = s->cli->args;
    size_t n;
    uint8_t chunk[4096];

    if (next < args->word_count && !s->open)
        return error_set(err, COFFER_E_REFUSED,
                         "a value on the command line can be read by every user of this machine; give it on standard input");
    if (next < args->word_count) {
        buf_str(out, args->words[next]);
        return buf_status(out, err);
    }
    while ((n = fread(chunk, 1, sizeof chunk, stdin)) > 0)
        buf_add(out, chunk, n);
    wipe(chunk, sizeof chunk);
    if (out->len > 0 && out->ptr[out->len - 1] == '\n' && !args_flag(args, "exact-input"))
        out->len--; /* the end of the line that a person or echo wrote */
    return buf_status(out, err);
}

static int
run_single(struct sealer *s, size_t next, struct coffer_error *err)
{
    const char *name = args_text(s->cli->args, "column");
    const struct coffer_column *column;
    struct coffer_column_info info;
    struct coffer_place place;
    struct buf input;
    int type = 0, rc;

    if (name == NULL)
        return error_set(err, COFFER_E_MISUSE, "%s needs --column TABLE.COLUMN (or --stream)", s->cli->command->name);
    buf_init(&input, VALUE_MAX);
    rc = coffer_column_find(s->coffer, s->reader.database->id.b, name, &column, err);
    if (rc == COFFER_OK) {
        coffer_column_info(column, &info);
        rc = take_row(s, &info, args_text(s->cli->args, "row"), &place, err);
    }
    if (rc == COFFER_OK)
        rc = read_value(s, next, &input, err);
    if (rc == COFFER_OK)
        rc = s->open ? open_one(s, column, place, buf_view(&input), &type, err)
                     : seal_one(s, column, place, buf_view(&input), err);
    buf_wipe(&input);
    if (rc != COFFER_OK)
        return rc;
    if (s->cli->json && s->open)
        out_json(json_pack("{s:o}", "value", json_opened(s, type)));
    else if (s->cli->json)
        out_json(json_pack("{s:s%}", "sealed", buf_cstr(&s->text), s->text.len));
    else {
        (void)fwrite(s->text.ptr, 1, s->text.len, stdout);
        (void)fputc('\n', stdout);
    }
    return COFFER_OK;
}

static int
run(struct cli *cli, bool open, struct coffer_error *err)
{
    struct sealer s = {.cli = cli, .open = open};
    struct cli_url url;
    size_t next = 0;
    int rc = cli_url(cli, &next, &url, err);

    if (rc != COFFER_OK)
        return rc;
    buf_init(&s.storage, VALUE_MAX);
    buf_init(&s.text, 2 * VALUE_MAX);
    buf_init(&s.parts_storage, 65536);
    for (int i = 0; i < 65536 / 8; i++) /* its place in memory is fixed from here: key parts borrow from it */
        buf_be64(&s.parts_storage, 0);
    buf_clear(&s.parts_storage);
    cli_catch_signals();
    rc = buf_status(&s.parts_storage, err);
    if (rc == COFFER_OK)
        rc = reader_open(cli, &url, &s.reader, err);
    if (rc == COFFER_OK) {
        s.coffer = s.reader.coffer;
        rc = args_flag(cli->args, "stream") ? run_stream(&s) : run_single(&s, next, err);
    }
    buf_wipe(&s.storage);
    buf_wipe(&s.text);
    buf_wipe(&s.parts_storage);
    reader_close(&s.reader);
    return rc;
}

static int
run_seal(struct cli *cli, struct coffer_error *err)
{
    return run(cli, false, err);
}

static int
run_open(struct cli *cli, struct coffer_error *err)
{
    return run(cli, true, err);
}

static const struct arg_option options_seal[] = {
    {"column", "TABLE.COLUMN", "the protected column"},
    {"row", "KEY", "the row's primary key; parts of a composite key with commas; text:x, uuid:x where it is no number"},
    {"stream", NULL, "JSON lines in, JSON lines out, in order, each at once"},
    {"exact-input", NULL, "keep the line end that ends the input"},
    {NULL, NULL, NULL}};
const struct command command_seal = {
    .name = "seal",
    .synopsis = "DBURL --column TABLE.COLUMN [--row KEY]  |  DBURL --stream",
    .summary = "seal one value, or a stream",
    .details = "The value comes on standard input, never as a word.  Out comes hex, or the text form.\n\n"
               "  printf 123-45-6789 | coffer seal sqlite:app.db --column patients.ssn --row 7\n"
               "  coffer seal --stream --db-url sqlite:app.db < lines.json\n"
               "      {\"column\":\"patients.ssn\",\"row\":[[\"int64\",7]],\"value\":\"123-45-6789\"}\n",
    .options = options_seal,
    .more_options = options_url,
    .words_max = 2,
    .run = run_seal,
};
const struct command command_open = {
    .name = "open",
    .synopsis = "DBURL --column TABLE.COLUMN [--row KEY] [SEALED]  |  DBURL --stream",
    .summary = "open one sealed value, or a stream",
    .details = "  coffer open sqlite:app.db --column patients.ssn --row 7 f9010202…\n"
               "  coffer open --stream --db-url sqlite:app.db < lines.json\n"
               "      {\"column\":\"patients.ssn\",\"row\":[[\"int64\",7]],\"sealed\":\"f9010202…\"}\n",
    .options = options_seal,
    .more_options = options_url,
    .words_max = 2,
    .run = run_open,
};
