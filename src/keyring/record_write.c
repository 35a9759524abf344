/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of records, written.  docs/FORMAT.md "Keyring v1", "Records"; record_read.c reads the same
 * in the same order. */
#include "crypto/crypto.h"
#include "keyring/internal.h"

#include <string.h>

#define WRAPPED_MAX (MATERIAL_LEN + 16)

static void
text(struct buf *out, const char *name)
{
    buf_lp16(out, bytes_str(name));
}

static void
id(struct buf *out, const struct uuid *uuid)
{
    buf_add(out, uuid->b, sizeof uuid->b);
}

/* Times may precede 1970: two's complement. */
static void
time_us(struct buf *out, int64_t us)
{
    buf_be64(out, (uint64_t)us);
}

/* Start a record; its length is patched in by record_end(). */
static size_t
record_begin(struct buf *out, enum record_type type)
{
    buf_be16(out, (uint16_t)type);
    buf_be16(out, RECORD_CRITICAL);
    buf_be32(out, 0);
    return out->len;
}

static void
record_end(struct buf *out, size_t body)
{
    if (out->failed == 0)
        put_be32(out->ptr + body - 4, (uint32_t)(out->len - body));
}

static int
write_key(struct buf *out, const struct key_entry *entry, const struct secret *wrapping,
          struct coffer_error *err)
{
    const struct keyring_key *key = &entry->key;
    uint8_t wrapped[WRAPPED_MAX];
    size_t wrapped_len = 0;
    size_t body;
    int rc;

    if (entry->material != NULL) {
        wrapped_len = key_wrap_len(secret_len(entry->material));
        if (wrapped_len > sizeof wrapped)
            return error_set(err, COFFER_E_LIMIT, "the material of key %08x is %zu bytes", key->id,
                             secret_len(entry->material));
        rc = key_wrap(wrapping, secret_expose(entry->material), wrapped, err);
        if (rc != COFFER_OK)
            return rc;
    }
    body = record_begin(out, RECORD_KEY);
    buf_be32(out, key->id);
    buf_u8(out, (uint8_t)key->purpose);
    buf_u8(out, key_algorithm(key->purpose));
    buf_be32(out, key->version);
    buf_u8(out, (uint8_t)key->state);
    buf_u8(out, key->compromised);
    for (size_t i = 0; i < 8; i++)
        time_us(out, key->entered_us[i]);
    buf_add(out, key->fingerprint, sizeof key->fingerprint);
    text(out, key->line);
    text(out, key->made_by);
    buf_be16(out, (uint16_t)key->database_count);
    for (size_t i = 0; i < key->database_count; i++)
        id(out, &key->databases[i]);
    buf_lp16(out, bytes_of(wrapped, wrapped_len));
    record_end(out, body);
    return COFFER_OK;
}

static void
write_column(struct buf *out, const struct keyring_column *column)
{
    size_t body = record_begin(out, RECORD_COLUMN);

    id(out, &column->id);
    id(out, &column->database);
    buf_u8(out, (uint8_t)column->type);
    buf_u8(out, (uint8_t)column->binding);
    buf_u8(out, (uint8_t)column->suite);
    buf_u8(out, (uint8_t)column->phase);
    buf_be32(out, column->pad);
    buf_u8(out, column->text_form);
    buf_u8(out, column->retired);
    buf_be64(out, column->phase_epoch);
    text(out, column->table);
    text(out, column->name);
    text(out, column->companion);
    text(out, column->line);
    text(out, column->sql_type);
    buf_be16(out, (uint16_t)column->part_count);
    for (size_t i = 0; i < column->part_count; i++) {
        buf_u8(out, (uint8_t)column->parts[i].type);
        text(out, column->parts[i].name);
    }
    record_end(out, body);
}

static unsigned
index_flags(const struct keyring_index *index)
{
    return (unsigned)index->words | (unsigned)index->short_grams << 1 |
           (unsigned)index->unique << 2 | (unsigned)index->wide << 3 | (unsigned)index->tags << 4;
}

static void
write_index(struct buf *out, const struct keyring_index *index)
{
    size_t body = record_begin(out, RECORD_INDEX);

    id(out, &index->id);
    id(out, &index->group);
    id(out, &index->column);
    buf_u8(out, (uint8_t)index->kind);
    buf_u8(out, (uint8_t)index->state);
    buf_be64(out, index->state_epoch);
    buf_u8(out, (uint8_t)index_flags(index));
    buf_u8(out, (uint8_t)index->normaliser);
    buf_u8(out, (uint8_t)index->bits);
    buf_u8(out, (uint8_t)index->width);
    buf_u8(out, (uint8_t)index->precision);
    buf_u8(out, (uint8_t)index->scale);
    buf_u8(out, (uint8_t)index->edge);
    buf_u8(out, (uint8_t)index->padding);
    buf_be64(out, index->max_abs);
    text(out, index->store);
    text(out, index->line);
    text(out, index->accepted);
    record_end(out, body);
}

static void
write_database(struct buf *out, const struct keyring_database *database)
{
    size_t body = record_begin(out, RECORD_DATABASE);

    id(out, &database->id);
    buf_be32(out, database->keep_days);
    text(out, database->name);
    text(out, database->engine);
    text(out, database->incarnation);
    record_end(out, body);
}

static void
write_backup(struct buf *out, const struct keyring_backup *backup)
{
    size_t body = record_begin(out, RECORD_BACKUP);

    id(out, &backup->id);
    id(out, &backup->database);
    time_us(out, backup->start_us);
    time_us(out, backup->end_us);
    time_us(out, backup->expired_us);
    text(out, backup->label);
    record_end(out, body);
}

static void
write_certificate(struct buf *out, const struct keyring_certificate *certificate)
{
    size_t body = record_begin(out, RECORD_CERTIFICATE);

    buf_be32(out, certificate->key_id);
    id(out, &certificate->database);
    buf_add(out, certificate->digest, sizeof certificate->digest);
    time_us(out, certificate->proven_us);
    record_end(out, body);
}

static void
write_client(struct buf *out, const struct keyring_client *client)
{
    size_t body = record_begin(out, RECORD_CLIENT);

    time_us(out, client->declared_us);
    buf_be64(out, client->waived_epoch);
    text(out, client->name);
    record_end(out, body);
}

static void
write_waiver(struct buf *out, const struct keyring_waiver *waiver)
{
    size_t body = record_begin(out, RECORD_WAIVER);

    buf_be32(out, waiver->key_id);
    time_us(out, waiver->at_us);
    text(out, waiver->what);
    text(out, waiver->by);
    record_end(out, body);
}

static void
write_audit_mark(struct buf *out, const struct keyring *kr)
{
    size_t body = record_begin(out, RECORD_AUDIT_MARK);

    buf_be64(out, kr->audit_count);
    buf_add(out, kr->audit_hash, sizeof kr->audit_hash);
    record_end(out, body);
}

int
records_write(const struct keyring *kr, const struct secret *wrapping, struct buf *out,
              struct coffer_error *err)
{
    int rc;

    for (size_t i = 0; i < kr->keys.count; i++) {
        rc = write_key(out, list_at(&kr->keys, i), wrapping, err);
        if (rc != COFFER_OK)
            return rc;
    }
    for (size_t i = 0; i < kr->columns.count; i++)
        write_column(out, list_at(&kr->columns, i));
    for (size_t i = 0; i < kr->indexes.count; i++)
        write_index(out, list_at(&kr->indexes, i));
    for (size_t i = 0; i < kr->databases.count; i++)
        write_database(out, list_at(&kr->databases, i));
    for (size_t i = 0; i < kr->backups.count; i++)
        write_backup(out, list_at(&kr->backups, i));
    for (size_t i = 0; i < kr->certificates.count; i++)
        write_certificate(out, list_at(&kr->certificates, i));
    for (size_t i = 0; i < kr->clients.count; i++)
        write_client(out, list_at(&kr->clients, i));
    for (size_t i = 0; i < kr->waivers.count; i++)
        write_waiver(out, list_at(&kr->waivers, i));
    if (kr->kind == FILE_KEYRING)
        write_audit_mark(out, kr);
    for (size_t i = 0; i < kr->unknown.count; i++) {
        const struct unknown_record *record = list_at(&kr->unknown, i);

        buf_be16(out, record->type);
        buf_be16(out, record->flags);
        buf_lp32(out, bytes_of(record->body, record->len));
    }
    return buf_status(out, err);
}
