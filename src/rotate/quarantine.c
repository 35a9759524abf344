/* SPDX-License-Identifier: Apache-2.0 */
/* Quarantine: cells that could not be moved, each a working row with its place and the reason.
 *
 * The row's key is "<column id>/<SHA-256 of the place>", so that a cell found twice is one row, and
 * no part of a primary key (which may say who somebody is) stands in an index of ours.  The place
 * itself is in the content, since somebody has to go and look at that row. */
#include "base/mem.h"
#include "crypto/crypto.h"
#include "rotate/internal.h"
#include "rotate/row_key.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define PLACE_MAX (1u << 20)

/* The values of a key, each with type and length before it, so that no two keys give the same
 * bytes. */
static int
place_hash(const struct coffer_value *key, size_t count, uint8_t out[32], struct coffer_error *err)
{
    struct buf buf;
    int rc;

    buf_init(&buf, PLACE_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct coffer_value *v = &key[i];

        buf_u8(&buf, (uint8_t)v->type);
        switch (v->type) {
        case COFFER_NULL:
            break;
        case COFFER_FLOAT64: {
            uint64_t bits;

            memcpy(&bits, &v->f64, sizeof bits);
            buf_be64(&buf, bits);
            break;
        }
        case COFFER_BOOL:
        case COFFER_INT64:
        case COFFER_DATE:
        case COFFER_TIMESTAMP:
            buf_be64(&buf, (uint64_t)v->i64);
            break;
        default:
            buf_lp32(&buf, bytes_of(v->data, v->len));
        }
    }
    rc = buf_status(&buf, err);
    if (rc == COFFER_OK)
        rc = sha256(buf_view(&buf), out, err);
    buf_wipe(&buf);
    return rc;
}

static int
row_name(const struct keyring_column *column, const struct db_row *row, size_t key_count,
         char out[KEYRING_NAME_MAX], struct coffer_error *err)
{
    char uuid[37];
    uint8_t hash[32];
    char hex[65];
    int rc;

    rc = place_hash(row->key, key_count, hash, err);
    if (rc != COFFER_OK)
        return rc;
    uuid_format(&column->id, uuid);
    hex_encode(bytes_of(hash, sizeof hash), hex);
    snprintf(out, KEYRING_NAME_MAX, "%s/%s", uuid, hex);
    return COFFER_OK;
}

int
quarantine_put(struct journal *journal, const struct keyring_column *column,
               const struct db_row *row, size_t key_count, uint32_t key_id, const char *reason,
               struct coffer_error *err)
{ /* CONFLICT (another worker, or a busy database) is for the caller to try again: the row must be
     there */
    char name[KEYRING_NAME_MAX];
    char place[2 * KEYRING_NAME_MAX], key[9];
    struct buf old;
    uint64_t epoch = 0;
    json_t *json = NULL;
    char *text = NULL;
    int rc;

    buf_init(&old, PLACE_MAX);
    rc = row_name(column, row, key_count, name, err);
    if (rc != COFFER_OK)
        goto out;

    snprintf(place, sizeof place, "%s.%s", column->table, column->name);
    snprintf(key, sizeof key, "%08x", (unsigned)key_id);
    json = json_pack("{s:s, s:o, s:s, s:s}", "column", place, "row",
                     row_key_to_json(row->key, key_count), "key", key, "reason", reason);
    if (json != NULL)
        text = json_dumps(json, JSON_COMPACT);
    if (text == NULL) {
        rc = error_nomem(err);
        goto out;
    }

    /* A row that was edited by others is simply written anew: it says nothing that anybody
     * believes. */
    rc = journal_get(journal, "quarantine", name, &old, &epoch, err);
    if (rc == COFFER_OK && bytes_equal(buf_view(&old), bytes_str(text)))
        goto out;
    if (rc == COFFER_E_TAMPERED) {
        rc = journal_remove(journal, "quarantine", name, err);
        epoch = 0;
    }
    if (rc == COFFER_E_NOTFOUND) {
        rc = COFFER_OK;
        epoch = 0;
    }
    if (rc == COFFER_OK)
        rc = journal_put(journal, "quarantine", name, bytes_str(text), epoch, err);

out:
    free(text);
    json_decref(json);
    buf_wipe(&old);
    return rc;
}

static int
count_one(void *arg, const struct journal_row *row, struct coffer_error *err)
{
    uint64_t *count = arg;

    (*count)++;
    return COFFER_OK;
}

int
quarantine_count(struct journal *journal, const struct uuid *column_or_null, uint64_t *count,
                 struct coffer_error *err)
{
    char prefix[40] = "";
    uint64_t found = 0;
    size_t tampered = 0;
    int rc;

    *count = 0;
    if (column_or_null != NULL) {
        uuid_format(column_or_null, prefix);
        strcat(prefix, "/");
    }
    rc = journal_list(journal, "quarantine", prefix, count_one, &found, &tampered, err);
    /* An edited row still counts: editing one must not make a key look provable. */
    if (rc == COFFER_OK)
        *count = found + tampered;
    return rc;
}

struct each {
    quarantine_fn fn;
    void *arg;
};

static int
each_row(void *arg, const struct journal_row *row, struct coffer_error *err)
{
    const struct each *each = arg;
    json_t *json = json_loadb((const char *)row->content.ptr, row->content.len, 0, NULL);
    const char *key = json_string_value(json_object_get(json, "key"));
    const char *reason = json_string_value(json_object_get(json, "reason"));
    char *place = json_dumps(json_object_get(json, "row"), JSON_COMPACT | JSON_ENCODE_ANY);
    int rc = place == NULL || reason == NULL
                 ? error_set(err, COFFER_E_FORMAT, "a row of the quarantine has no place or reason")
                 : each->fn(each->arg, key != NULL ? (uint32_t)strtoul(key, NULL, 16) : 0, place,
                            reason, err);

    free(place);
    json_decref(json);
    return rc;
}

int
quarantine_each(struct journal *journal, const struct uuid *column, quarantine_fn fn, void *arg,
                size_t *tampered, struct coffer_error *err)
{
    struct each each = {fn, arg};
    char prefix[40];

    uuid_format(column, prefix);
    strcat(prefix, "/");
    return journal_list(journal, "quarantine", prefix, each_row, &each, tampered, err);
}

struct names {
    char (*items)[KEYRING_NAME_MAX];
    size_t count, size;
};

static int
collect(void *arg, const struct journal_row *row, struct coffer_error *err)
{
    struct names *names = arg;

    if (names->count == names->size) {
        size_t size = names->size != 0 ? 2 * names->size : 64;
        void *grown = mem_grow(names->items, size * sizeof *names->items);

        if (grown == NULL)
            return error_nomem(err);
        names->items = grown;
        names->size = size;
    }
    snprintf(names->items[names->count++], KEYRING_NAME_MAX, "%s", row->key);
    return COFFER_OK;
}

int
quarantine_clear(struct journal *journal, const struct uuid *column, struct coffer_error *err)
{
    struct names names = {0};
    char prefix[40];
    int rc;

    uuid_format(column, prefix);
    strcat(prefix, "/");
    rc = journal_list(journal, "quarantine", prefix, collect, &names, NULL, err);
    for (size_t i = 0; rc == COFFER_OK && i < names.count; i++)
        rc = journal_remove(journal, "quarantine", names.items[i], err);
    mem_free(names.items);
    return rc;
}
