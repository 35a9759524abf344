/* SPDX-License-Identifier: Apache-2.0 */
/* The SQLite extension: coffer_attach, coffer_open, coffer_seal, coffer_key_id; sums.h has the aggregates.
 *
 * For shells and administration.  Whoever can run SQL on a connection that has attached reads plaintext: applications use
 * libcoffer.  All but coffer_key_id are DIRECTONLY, so that no view or trigger in a database file can call them.
 */
#include "api/internal.h"
#include "base/mem.h"
#include "field/field.h"
#include "host/host.h"
#include "kek/kek_open.h"
#include "sqlite_ext/sums.h"

#include <sqlite3ext.h>
#include <stdio.h>
#include <string.h>
SQLITE_EXTENSION_INIT1

#define PARTS_MAX 16
#define VALUE_MAX (64u << 20)

/* One for each connection; owned by coffer_attach's registration. */
struct attached {
    struct coffer *coffer; /* NULL: not attached */
    char path[1024];
    uint64_t stamp;
};

static void
attached_free(void *ptr)
{
    struct attached *a = ptr;

    coffer_free(a->coffer);
    mem_free(a);
}

static void
fail(sqlite3_context *context, const struct coffer_error *err)
{
    char text[560];

    (void)snprintf(text, sizeof text, "coffer: %s", err->message);
    sqlite3_result_error(context, text, -1);
    if (err->status == COFFER_E_NOMEM)
        sqlite3_result_error_nomem(context);
}

static void
attach(sqlite3_context *context, int argc, sqlite3_value **argv)
{
    struct attached *a = sqlite3_user_data(context);
    const char *keyring = (const char *)sqlite3_value_text(argv[0]);
    const char *uri = (const char *)sqlite3_value_text(argv[1]);
    struct keyring_store *store = NULL;
    struct keyring *kr = NULL;
    struct coffer *coffer = NULL;
    struct kek *kek = NULL;
    struct coffer_error err = {0};
    uint64_t stamp = 0;
    int rc;

    (void)argc;
    if (keyring == NULL || uri == NULL || strlen(keyring) >= sizeof a->path) {
        sqlite3_result_error(context, "coffer: coffer_attach('keyring file', 'file:kek file')", -1);
        return;
    }
    rc = os_real.stamp_file(&os_real, keyring, &stamp, &err);
    if (rc == COFFER_OK)
        rc = kek_open(uri, &os_real, NULL, NULL, &kek, &err);
    if (rc == COFFER_OK)
        rc = file_store_open(keyring, kek, &os_real, &store, &err);
    if (rc == COFFER_OK)
        rc = store->load(store, &kr, &err);
    if (rc == COFFER_OK)
        rc = coffer_adopt(&kr, &coffer, &err);
    keyring_free(kr);
    file_store_close(store);
    if (rc != COFFER_OK) {
        fail(context, &err);
        return;
    }
    coffer_free(a->coffer);
    a->coffer = coffer;
    a->stamp = stamp;
    (void)snprintf(a->path, sizeof a->path, "%s", keyring);
    sqlite3_result_int64(context, (sqlite3_int64)coffer_epoch(coffer));
}

/* The newest keyring, as the file has it now. */
static int
refresh(struct attached *a, struct coffer_error *err)
{
    uint64_t stamp = 0;
    struct buf file;
    int rc;

    if (a->coffer == NULL)
        return error_set(err, COFFER_E_MISUSE, "first select coffer_attach('keyring file', 'file:kek file')");
    rc = os_real.stamp_file(&os_real, a->path, &stamp, err);
    if (rc != COFFER_OK)
        return rc;
    if (stamp == a->stamp) {
        coffer_confirm(a->coffer);
        return COFFER_OK;
    }
    buf_init(&file, KEYRING_FILE_MAX);
    rc = os_real.read_file(&os_real, a->path, KEYRING_FILE_MAX, &file, err);
    if (rc == COFFER_OK)
        rc = coffer_update(a->coffer, file.ptr, file.len, err);
    if (rc == COFFER_OK)
        a->stamp = stamp;
    buf_wipe(&file);
    return rc;
}

static struct coffer_value
raw_value(sqlite3_value *from)
{
    struct coffer_value v = {.type = COFFER_NULL};

    switch (sqlite3_value_type(from)) {
    case SQLITE_INTEGER:
        v.type = COFFER_INT64;
        v.i64 = sqlite3_value_int64(from);
        break;
    case SQLITE_FLOAT:
        v.type = COFFER_FLOAT64;
        v.f64 = sqlite3_value_double(from);
        break;
    case SQLITE_TEXT:
        v.type = COFFER_TEXT;
        v.data = sqlite3_value_text(from);
        v.len = (size_t)sqlite3_value_bytes(from);
        break;
    case SQLITE_BLOB:
        v.type = COFFER_BYTES;
        v.data = sqlite3_value_blob(from);
        v.len = (size_t)sqlite3_value_bytes(from);
        break;
    default:
        break;
    }
    if (v.data == NULL)
        v.data = (const uint8_t *)"";
    return v;
}

/* As a value of the column's type: SQLite has four classes, a column ten types. */
static int
typed_value(int type, const struct coffer_value *raw, struct buf *storage, struct coffer_value *out,
            struct coffer_error *err)
{
    struct buf text;
    int rc;

    *out = *raw;
    if (raw->type == COFFER_NULL || raw->type == type)
        return COFFER_OK;
    if (raw->type == COFFER_BYTES && type == COFFER_UUID && raw->len == 16) {
        out->type = COFFER_UUID;
        return COFFER_OK;
    }
    if (raw->type == COFFER_BYTES)
        return error_set(err, COFFER_E_TYPE, "a blob is no %s", coffer_type_name(type));
    if (raw->type == COFFER_TEXT)
        return value_parse(type, bytes_of(raw->data, raw->len), storage, out, err);
    if (raw->type == COFFER_INT64 && type == COFFER_BOOL && (raw->i64 == 0 || raw->i64 == 1)) {
        out->type = COFFER_BOOL;
        return COFFER_OK;
    }
    buf_init(&text, 4096);
    rc = value_format(raw, &text, err);
    if (rc == COFFER_OK)
        rc = value_parse(type, buf_view(&text), storage, out, err);
    buf_wipe(&text);
    return rc;
}

static void
result_value(sqlite3_context *context, const struct coffer_value *v)
{
    struct buf text;

    switch (v->type) {
    case COFFER_NULL:
        sqlite3_result_null(context);
        return;
    case COFFER_BOOL:
    case COFFER_INT64:
        sqlite3_result_int64(context, v->i64);
        return;
    case COFFER_FLOAT64:
        sqlite3_result_double(context, v->f64);
        return;
    case COFFER_BYTES:
        sqlite3_result_blob64(context, v->len == 0 ? (const uint8_t *)"" : v->data, v->len, SQLITE_TRANSIENT);
        return;
    case COFFER_TEXT:
    case COFFER_JSON:
        sqlite3_result_text64(context, v->len == 0 ? "" : (const char *)v->data, v->len, SQLITE_TRANSIENT, SQLITE_UTF8);
        return;
    default: /* dates, times, uuids and numerics as text */
        buf_init(&text, 1u << 20);
        if (value_format(v, &text, NULL) == COFFER_OK)
            sqlite3_result_text64(context, buf_cstr(&text), text.len, SQLITE_TRANSIENT, SQLITE_UTF8);
        else
            sqlite3_result_error_nomem(context);
        buf_wipe(&text);
    }
}

/* Arguments 1…: column name and key.  `storage` has one buffer a part, so that none moves under another. */
static int
find_place(struct attached *a, int argc, sqlite3_value **argv, const struct coffer_column **column,
           struct coffer_column_info *info, struct coffer_value parts[PARTS_MAX], struct coffer_place *place,
           struct coffer_error *err)
{
    const char *name = (const char *)sqlite3_value_text(argv[1]);
    int rc;

    if (name == NULL)
        return error_set(err, COFFER_E_MISUSE, "the column is given as 'table.column'");
    rc = coffer_column_find(a->coffer, NULL, name, column, err);
    if (rc != COFFER_OK)
        return rc;
    coffer_column_info(*column, info);
    for (int i = 2; i < argc && i - 2 < PARTS_MAX; i++)
        parts[i - 2] = raw_value(argv[i]);
    *place = (struct coffer_place){parts, (size_t)(argc - 2)};
    if (info->binding == COFFER_BIND_ROW && (size_t)(argc - 2) != info->key_parts)
        return error_set(err, COFFER_E_MISUSE, "%s is bound to its row: give its primary key (%zu part%s) after the name",
                         name, info->key_parts, info->key_parts == 1 ? "" : "s");
    return COFFER_OK;
}

static void
open_cell(sqlite3_context *context, int argc, sqlite3_value **argv)
{
    struct attached *a = sqlite3_user_data(context);
    const struct coffer_column *column;
    struct coffer_value parts[PARTS_MAX], raw, value;
    struct coffer_stored stored = {0};
    struct coffer_column_info info;
    struct coffer_error err = {0};
    struct coffer_place place;
    uint8_t *out = NULL;
    int rc;

    if (argc < 2 || argc > PARTS_MAX + 2) {
        sqlite3_result_error(context, "coffer: coffer_open(cell, 'table.column', key…)", -1);
        return;
    }
    rc = refresh(a, &err);
    if (rc == COFFER_OK)
        rc = find_place(a, argc, argv, &column, &info, parts, &place, &err);
    if (rc == COFFER_OK) {
        raw = raw_value(argv[0]);
        if (raw.type == COFFER_BYTES || (info.text_form && raw.type == COFFER_TEXT)) {
            stored.sealed = raw.data;
            stored.sealed_len = raw.len;
        }
        if (raw.type != COFFER_BYTES || info.type == COFFER_BYTES)
            stored.plain = raw;
        out = mem_alloc(raw.len + 1);
        rc = out == NULL ? error_nomem(&err)
                         : coffer_cell_read(a->coffer, column, place, &stored, out, raw.len + 1, &value, &err);
    }
    if (rc == COFFER_OK)
        result_value(context, &value);
    else
        fail(context, &err);
    if (out != NULL)
        wipe(out, raw.len + 1);
    mem_free(out);
}

static void
seal_value(sqlite3_context *context, int argc, sqlite3_value **argv)
{
    struct attached *a = sqlite3_user_data(context);
    struct coffer_cell cell = {0};
    struct coffer_value parts[PARTS_MAX], raw;
    struct coffer_column_info info;
    struct coffer_error err = {0};
    struct buf storage;
    int rc;

    if (argc < 2 || argc > PARTS_MAX + 2) {
        sqlite3_result_error(context, "coffer: coffer_seal(value, 'table.column', key…)", -1);
        return;
    }
    buf_init(&storage, VALUE_MAX);
    rc = refresh(a, &err);
    if (rc == COFFER_OK)
        rc = find_place(a, argc, argv, &cell.column, &info, parts, &cell.place, &err);
    if (rc == COFFER_OK) {
        raw = raw_value(argv[0]);
        rc = typed_value(info.type, &raw, &storage, &cell.value, &err);
    }
    if (rc == COFFER_OK) {
        cell.out_max = coffer_sealed_max(cell.column, cell.value.len + 64);
        cell.out = mem_alloc(cell.out_max);
        rc = cell.out == NULL ? error_nomem(&err) : coffer_seal(a->coffer, &cell, 1, &err);
    }
    if (rc != COFFER_OK)
        fail(context, &err);
    else if (cell.sealed == NULL)
        sqlite3_result_null(context);
    else if (info.text_form)
        sqlite3_result_text64(context, (const char *)cell.sealed, cell.sealed_len, SQLITE_TRANSIENT, SQLITE_UTF8);
    else
        sqlite3_result_blob64(context, cell.sealed, cell.sealed_len, SQLITE_TRANSIENT);
    mem_free(cell.out);
    buf_wipe(&storage);
}

static void
key_id(sqlite3_context *context, int argc, sqlite3_value **argv)
{
    struct coffer_value raw = raw_value(argv[0]);
    struct coffer_envelope_info info;
    char hex[9];

    (void)argc;
    if ((raw.type != COFFER_BYTES && raw.type != COFFER_TEXT) ||
        coffer_envelope_parse(raw.data, raw.len, &info) != COFFER_OK) {
        sqlite3_result_null(context);
        return;
    }
    (void)snprintf(hex, sizeof hex, "%08x", (unsigned)info.key_id);
    sqlite3_result_text(context, hex, 8, SQLITE_TRANSIENT);
}

/* SQLite derives the name from the file's: letters of coffer_sqlite, lower case. */
COFFER_PUBLIC int sqlite3_coffersqlite_init(sqlite3 *db, char **message, const sqlite3_api_routines *api);

int
sqlite3_coffersqlite_init(sqlite3 *db, char **message, const sqlite3_api_routines *api)
{
    const int direct = SQLITE_UTF8 | SQLITE_DIRECTONLY;
    struct attached *a;
    int rc;

    (void)message;
    SQLITE_EXTENSION_INIT2(api);
    a = mem_alloc(sizeof *a);
    if (a == NULL)
        return SQLITE_NOMEM;
    /* The first registration owns `a`: SQLite frees it with the connection, and at once if it fails. */
    rc = sqlite3_create_function_v2(db, "coffer_attach", 2, direct, a, attach, NULL, NULL, attached_free);
    if (rc == SQLITE_OK)
        rc = sqlite3_create_function_v2(db, "coffer_open", -1, direct, a, open_cell, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_create_function_v2(db, "coffer_seal", -1, direct, a, seal_value, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_create_function_v2(db, "coffer_key_id", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS, NULL,
                                        key_id, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sums_register(db);
    return rc;
}
