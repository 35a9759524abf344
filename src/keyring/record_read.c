/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of records, read.  docs/FORMAT.md "Keyring v1", "Records"; record_write.c writes the same
 * in the same order.
 *
 * A body is read in full, then judged: short or long, then the rules of check.c.  Only bytes under
 * a tag that holds come here.
 */
#include "base/mem.h"
#include "crypto/crypto.h"
#include "keyring/internal.h"

#include <string.h>

/* A text into a fixed field.  One that does not fit, or holds a NUL, spoils the cursor like a short
 * read. */
static void
text(struct cursor *c, char *out, size_t size)
{
    struct bytes b = cursor_lp16(c);

    if (b.len >= size || (b.len > 0 && memchr(b.ptr, '\0', b.len) != NULL)) {
        c->bad = true;
        return;
    }
    if (b.len > 0)
        memcpy(out, b.ptr, b.len);
    out[b.len] = '\0';
}

static void
fixed(struct cursor *c, uint8_t *out, size_t len)
{
    struct bytes b = cursor_take(c, len);

    if (!c->bad)
        memcpy(out, b.ptr, len);
}

static void
id(struct cursor *c, struct uuid *out)
{
    fixed(c, out->b, sizeof out->b);
}

static bool
flag(struct cursor *c)
{
    uint8_t b = cursor_u8(c);

    if (b > 1)
        c->bad = true;
    return b == 1;
}

static int64_t
time_us(struct cursor *c)
{
    return (int64_t)cursor_be64(c);
}

/* After the last field: nothing may be missing or left, and the record must keep its own rules. */
static int
judge(const struct cursor *c, const char *what, const char *problem, struct coffer_error *err)
{
    if (c->bad || cursor_left(c) != 0)
        return error_set(err, COFFER_E_FORMAT, "the keyring holds a malformed record: %s", what);
    if (problem != NULL)
        return error_set(err, COFFER_E_FORMAT, "the keyring holds a wrong record: %s: %s", what,
                         problem);
    return COFFER_OK;
}

static int
read_databases(struct cursor *c, struct keyring_key *key, struct coffer_error *err)
{
    size_t count = cursor_be16(c);

    if (count > cursor_left(c) / sizeof(struct uuid)) {
        c->bad = true; /* the count promises more than is there: allocate nothing */
        return COFFER_OK;
    }
    if (count == 0)
        return COFFER_OK;
    key->databases = mem_array(count, sizeof *key->databases);
    if (key->databases == NULL)
        return error_nomem(err);
    key->database_count = count;
    for (size_t i = 0; i < count; i++)
        id(c, &key->databases[i]);
    return COFFER_OK;
}

/* Unwrap, and see that it is the key that the record says. */
static int
read_material(struct key_entry *entry, struct bytes wrapped, const struct secret *wrapping,
              struct coffer_error *err)
{
    const struct keyring_key *key = &entry->key;
    uint8_t fingerprint[32];
    int rc;

    if (key_state_has_material(key->state) != (wrapped.len > 0))
        return error_set(err, COFFER_E_FORMAT, "key %08x is %s but its material is %s", key->id,
                         key_state_name(key->state), wrapped.len > 0 ? "there" : "missing");
    if (wrapped.len == 0)
        return COFFER_OK;
    if (wrapped.len != key_wrap_len(MATERIAL_LEN))
        return error_set(err, COFFER_E_FORMAT, "key %08x has wrapped material of %zu bytes",
                         key->id, wrapped.len);
    rc = key_unwrap(wrapping, wrapped, &entry->material, err);
    if (rc == COFFER_E_AUTH)
        return error_set(err, COFFER_E_FORMAT, "the material of key %08x does not unwrap", key->id);
    if (rc != COFFER_OK)
        return rc;
    if (secret_len(entry->material) != MATERIAL_LEN)
        return error_set(err, COFFER_E_FORMAT, "key %08x has material of %zu bytes", key->id,
                         secret_len(entry->material));
    rc = key_fingerprint(entry->material, key->id, fingerprint, err);
    if (rc != COFFER_OK)
        return rc;
    if (memcmp(fingerprint, key->fingerprint, sizeof fingerprint) != 0)
        return error_set(err, COFFER_E_FORMAT, "the material of key %08x has another fingerprint",
                         key->id);
    return COFFER_OK;
}

static int
read_key(struct keyring *kr, const struct secret *wrapping, struct cursor *c,
         struct coffer_error *err)
{
    struct key_entry entry = {0};
    struct keyring_key *key = &entry.key;
    struct bytes wrapped;
    uint8_t algorithm;
    int rc;

    key->id = cursor_be32(c);
    key->purpose = (enum key_purpose)cursor_u8(c);
    algorithm = cursor_u8(c);
    key->version = cursor_be32(c);
    key->state = (enum key_state)cursor_u8(c);
    key->compromised = flag(c);
    for (size_t i = 0; i < 8; i++)
        key->entered_us[i] = time_us(c);
    fixed(c, key->fingerprint, sizeof key->fingerprint);
    text(c, key->line, sizeof key->line);
    text(c, key->made_by, sizeof key->made_by);
    rc = read_databases(c, key, err);
    if (rc != COFFER_OK)
        goto out;
    wrapped = cursor_lp16(c);
    rc = judge(c, "key", key_problem(key), err);
    if (rc != COFFER_OK)
        goto out;
    if (algorithm != key_algorithm(key->purpose)) {
        rc = error_set(err, COFFER_E_FORMAT,
                       "key %08x is of algorithm %u, which this release does not know for it: use "
                       "a newer release",
                       key->id, algorithm);
        goto out;
    }
    rc = read_material(&entry, wrapped, wrapping, err);
    if (rc != COFFER_OK)
        goto out;
    rc = list_append(&kr->keys, &entry, err);
    if (rc == COFFER_OK)
        return COFFER_OK;

out:
    key_entry_wipe(&entry);
    return rc;
}

static int
read_column(struct keyring *kr, struct cursor *c, struct coffer_error *err)
{
    struct keyring_column column = {0};
    int rc;

    id(c, &column.id);
    id(c, &column.database);
    column.type = cursor_u8(c);
    column.binding = cursor_u8(c);
    column.suite = cursor_u8(c);
    column.phase = cursor_u8(c);
    column.pad = cursor_be32(c);
    column.text_form = flag(c);
    column.retired = flag(c);
    column.phase_epoch = cursor_be64(c);
    text(c, column.table, sizeof column.table);
    text(c, column.name, sizeof column.name);
    text(c, column.companion, sizeof column.companion);
    text(c, column.line, sizeof column.line);
    text(c, column.sql_type, sizeof column.sql_type);
    column.part_count = cursor_be16(c);
    for (size_t i = 0; i < column.part_count && i < KEYRING_PARTS_MAX; i++) {
        column.parts[i].type = cursor_u8(c);
        text(c, column.parts[i].name, sizeof column.parts[i].name);
    }
    rc = judge(c, "column", column_problem(&column), err);
    return rc != COFFER_OK ? rc : list_append(&kr->columns, &column, err);
}

static int
read_database(struct keyring *kr, struct cursor *c, struct coffer_error *err)
{
    struct keyring_database database = {0};
    int rc;

    id(c, &database.id);
    database.keep_days = cursor_be32(c);
    text(c, database.name, sizeof database.name);
    text(c, database.engine, sizeof database.engine);
    text(c, database.incarnation, sizeof database.incarnation);
    rc = judge(c, "database", database_problem(&database), err);
    return rc != COFFER_OK ? rc : list_append(&kr->databases, &database, err);
}

static int
read_backup(struct keyring *kr, struct cursor *c, struct coffer_error *err)
{
    struct keyring_backup backup = {0};
    int rc;

    id(c, &backup.id);
    id(c, &backup.database);
    backup.start_us = time_us(c);
    backup.end_us = time_us(c);
    backup.expired_us = time_us(c);
    text(c, backup.label, sizeof backup.label);
    rc = judge(c, "backup", backup_problem(&backup), err);
    return rc != COFFER_OK ? rc : list_append(&kr->backups, &backup, err);
}

static int
read_index(struct keyring *kr, struct cursor *c, struct coffer_error *err)
{
    struct keyring_index index = {0};
    uint8_t flags;
    int rc;

    id(c, &index.id);
    id(c, &index.group);
    id(c, &index.column);
    index.kind = cursor_u8(c);
    index.state = cursor_u8(c);
    index.state_epoch = cursor_be64(c);
    flags = cursor_u8(c);
    if (flags > 0x1f)
        c->bad = true;
    index.words = (flags & 1) != 0;
    index.short_grams = (flags & 2) != 0;
    index.unique = (flags & 4) != 0;
    index.wide = (flags & 8) != 0;
    index.tags = (flags & 16) != 0;
    index.normaliser = cursor_u8(c);
    index.bits = cursor_u8(c);
    index.width = cursor_u8(c);
    index.precision = cursor_u8(c);
    index.scale = cursor_u8(c);
    index.edge = cursor_u8(c);
    index.padding = cursor_u8(c);
    index.max_abs = cursor_be64(c);
    text(c, index.store, sizeof index.store);
    text(c, index.line, sizeof index.line);
    text(c, index.accepted, sizeof index.accepted);
    rc = judge(c, "index", index_problem(&index), err);
    return rc != COFFER_OK ? rc : list_append(&kr->indexes, &index, err);
}

static int
read_certificate(struct keyring *kr, struct cursor *c, struct coffer_error *err)
{
    struct keyring_certificate certificate = {0};
    int rc;

    certificate.key_id = cursor_be32(c);
    id(c, &certificate.database);
    fixed(c, certificate.digest, sizeof certificate.digest);
    certificate.proven_us = time_us(c);
    rc = judge(c, "certificate", certificate_problem(&certificate), err);
    return rc != COFFER_OK ? rc : list_append(&kr->certificates, &certificate, err);
}

static int
read_client(struct keyring *kr, struct cursor *c, struct coffer_error *err)
{
    struct keyring_client client = {0};
    int rc;

    client.declared_us = time_us(c);
    client.waived_epoch = cursor_be64(c);
    text(c, client.name, sizeof client.name);
    rc = judge(c, "client", client_problem(&client), err);
    return rc != COFFER_OK ? rc : list_append(&kr->clients, &client, err);
}

static int
read_waiver(struct keyring *kr, struct cursor *c, struct coffer_error *err)
{
    struct keyring_waiver waiver = {0};
    int rc;

    waiver.key_id = cursor_be32(c);
    waiver.at_us = time_us(c);
    text(c, waiver.what, sizeof waiver.what);
    text(c, waiver.by, sizeof waiver.by);
    rc = judge(c, "waiver", waiver_problem(&waiver), err);
    return rc != COFFER_OK ? rc : list_append(&kr->waivers, &waiver, err);
}

static int
read_audit_mark(struct keyring *kr, struct cursor *c, struct coffer_error *err)
{
    kr->audit_count = cursor_be64(c);
    fixed(c, kr->audit_hash, sizeof kr->audit_hash);
    return judge(c, "audit mark", NULL, err);
}

int
record_read(struct keyring *kr, const struct secret *wrapping, enum record_type type,
            struct bytes body, struct coffer_error *err)
{
    struct cursor c = cursor_of(body);

    switch (type) {
    case RECORD_KEY:
        return read_key(kr, wrapping, &c, err);
    case RECORD_COLUMN:
        return read_column(kr, &c, err);
    case RECORD_DATABASE:
        return read_database(kr, &c, err);
    case RECORD_BACKUP:
        return read_backup(kr, &c, err);
    case RECORD_CERTIFICATE:
        return read_certificate(kr, &c, err);
    case RECORD_CLIENT:
        return read_client(kr, &c, err);
    case RECORD_WAIVER:
        return read_waiver(kr, &c, err);
    case RECORD_INDEX:
        return read_index(kr, &c, err);
    case RECORD_AUDIT_MARK:
        return read_audit_mark(kr, &c, err);
    }
    return error_set(err, COFFER_E_FORMAT, "unknown record");
}
