/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of docs/FORMAT.md "Keyring v1", "Records": what holds within one record and what holds
 * between them.
 *
 * Puts and the reader use the same functions, so that nothing can be written that would not be
 * read.
 */
#include "keyring/internal.h"

#include <string.h>

#define PAD_MAX 65536

/* A name in a fixed field: closed by a NUL, UTF-8. */
static bool
text_ok(const char *text, size_t size)
{
    const char *end = memchr(text, '\0', size);

    return end != NULL && utf8_valid(bytes_of(text, (size_t)(end - text)));
}

static bool
name_ok(const char name[KEYRING_NAME_MAX])
{
    return name[0] != '\0' && text_ok(name, KEYRING_NAME_MAX);
}

static bool
type_ok(int type)
{
    return type >= COFFER_BYTES && type <= COFFER_JSON;
}

const char *
key_problem(const struct keyring_key *key)
{
    if (key->id == 0)
        return "the id is zero";
    if (key->purpose < KEY_FIELD || key->purpose > KEY_AUDIT)
        return "unknown purpose";
    if (key->state < KEY_STAGED || key->state > KEY_DESTROYED)
        return "unknown state";
    if (key->version == 0)
        return "the version is zero";
    if (!name_ok(key->line))
        return "the line is empty or not UTF-8";
    if (!text_ok(key->made_by, sizeof key->made_by))
        return "the maker's name is not UTF-8";
    if (key->database_count > KEY_DATABASES_MAX)
        return "more than 4096 databases";
    for (size_t i = 0; i < key->database_count; i++) {
        if (uuid_zero(&key->databases[i]))
            return "a database id is zero";
        for (size_t j = 0; j < i; j++) {
            if (uuid_equal(&key->databases[i], &key->databases[j]))
                return "a database is named twice";
        }
    }
    return NULL;
}

static const char *
parts_problem(const struct keyring_column *column)
{
    if (column->part_count > KEYRING_PARTS_MAX)
        return "more than 16 parts of the primary key";
    if ((column->binding == COFFER_BIND_ROW) != (column->part_count > 0))
        return "row binding and parts of the primary key go together";
    for (size_t i = 0; i < column->part_count; i++) {
        if (!type_ok(column->parts[i].type))
            return "a part of the primary key has an unknown type";
        if (!name_ok(column->parts[i].name))
            return "the name of a part of the primary key is empty or not UTF-8";
    }
    return NULL;
}

const char *
column_problem(const struct keyring_column *column)
{
    if (uuid_zero(&column->id) || uuid_zero(&column->database))
        return "an id is zero";
    if (!type_ok(column->type))
        return "unknown type";
    if (column->binding < COFFER_BIND_NONE || column->binding > COFFER_BIND_ROW)
        return "unknown binding";
    if (column->suite < COFFER_SUITE_XAES || column->suite > COFFER_SUITE_XAES_COMMIT)
        return "unknown suite";
    if (column->phase < COFFER_OFF || column->phase > COFFER_SEALED)
        return "unknown phase";
    if (column->pad > PAD_MAX)
        return "the pad size is above 65536";
    if (!name_ok(column->table) || !name_ok(column->name))
        return "the name of table or column is empty or not UTF-8";
    if (!text_ok(column->companion, sizeof column->companion))
        return "the companion's name is not UTF-8";
    if (!name_ok(column->line))
        return "the line is empty or not UTF-8";
    if (!text_ok(column->sql_type, sizeof column->sql_type))
        return "the SQL type is not UTF-8";
    return parts_problem(column);
}

const char *
index_problem(const struct keyring_index *index)
{
    if (uuid_zero(&index->id) || uuid_zero(&index->group) || uuid_zero(&index->column))
        return "an id is zero";
    if (index->kind < INDEX_EQUALITY || index->kind > INDEX_PAILLIER)
        return "unknown kind";
    if (index->state < INDEX_FILLING || index->state > INDEX_DROPPING)
        return "unknown state";
    if (index->normaliser > 4)
        return "unknown normaliser";
    if (index->bits > 112 || index->width > 32 || index->precision > 38 || index->scale > 38)
        return "bits, width, precision or scale are too large";
    if (index->edge == 1 || index->edge > 16 || index->padding > 64)
        return "edge or padding is out of range";
    if (!name_ok(index->store) || !name_ok(index->line))
        return "the store or the line is empty or not UTF-8";
    if (!text_ok(index->accepted, sizeof index->accepted))
        return "why the leak was accepted is not UTF-8";
    return NULL;
}

const char *
database_problem(const struct keyring_database *database)
{
    if (uuid_zero(&database->id))
        return "the id is zero";
    if (!text_ok(database->name, sizeof database->name))
        return "the name is not UTF-8";
    if (database->engine[0] == '\0' || !text_ok(database->engine, sizeof database->engine))
        return "the engine is empty or not UTF-8";
    if (!text_ok(database->incarnation, sizeof database->incarnation))
        return "the incarnation is not UTF-8";
    return NULL;
}

const char *
backup_problem(const struct keyring_backup *backup)
{
    if (uuid_zero(&backup->id) || uuid_zero(&backup->database))
        return "an id is zero";
    if (backup->end_us != 0 && backup->end_us < backup->start_us)
        return "it ends before it starts";
    if (!text_ok(backup->label, sizeof backup->label))
        return "the label is not UTF-8";
    return NULL;
}

const char *
certificate_problem(const struct keyring_certificate *certificate)
{
    if (certificate->key_id == 0 || uuid_zero(&certificate->database))
        return "an id is zero";
    return NULL;
}

const char *
client_problem(const struct keyring_client *client)
{
    return name_ok(client->name) ? NULL : "the name is empty or not UTF-8";
}

const char *
waiver_problem(const struct keyring_waiver *waiver)
{
    if (!name_ok(waiver->what))
        return "what is waived is empty or not UTF-8";
    if (!text_ok(waiver->by, sizeof waiver->by))
        return "the name of whoever waived it is not UTF-8";
    return NULL;
}

/* ---- between records: comparisons for list_repeats(), over pointers to items ---- */

#define COMPARE_NUMBERS(a, b) (((a) > (b)) - ((a) < (b)))
#define ITEMS(type, a, b)                                                                          \
    const type *x = *(const type *const *)(a);                                                     \
    const type *y = *(const type *const *)(b)

static int
same_key_id(const void *a, const void *b)
{
    ITEMS(struct key_entry, a, b);

    return COMPARE_NUMBERS(x->key.id, y->key.id);
}

static int
same_key_version(const void *a, const void *b)
{
    ITEMS(struct key_entry, a, b);
    int by = COMPARE_NUMBERS(x->key.purpose, y->key.purpose);

    if (by == 0)
        by = COMPARE_NUMBERS(x->key.version, y->key.version);
    return by != 0 ? by : strcmp(x->key.line, y->key.line);
}

/* Keys that are not active are all different. */
static int
same_active_line(const void *a, const void *b)
{
    ITEMS(struct key_entry, a, b);
    int by = COMPARE_NUMBERS(x->key.state == KEY_ACTIVE, y->key.state == KEY_ACTIVE);

    if (by != 0 || x == y)
        return by;
    if (x->key.state != KEY_ACTIVE)
        return COMPARE_NUMBERS(x, y);
    by = COMPARE_NUMBERS(x->key.purpose, y->key.purpose);
    return by != 0 ? by : strcmp(x->key.line, y->key.line);
}

static int
same_column_id(const void *a, const void *b)
{
    ITEMS(struct keyring_column, a, b);

    return memcmp(&x->id, &y->id, sizeof x->id);
}

/* Retired columns are all different. */
static int
same_column_name(const void *a, const void *b)
{
    ITEMS(struct keyring_column, a, b);
    int by = COMPARE_NUMBERS(x->retired, y->retired);

    if (by != 0 || x == y)
        return by;
    if (x->retired)
        return COMPARE_NUMBERS(x, y);
    by = memcmp(&x->database, &y->database, sizeof x->database);
    if (by == 0)
        by = strcmp(x->table, y->table);
    return by != 0 ? by : strcmp(x->name, y->name);
}

static int
same_index(const void *a, const void *b)
{
    ITEMS(struct keyring_index, a, b);

    return memcmp(&x->id, &y->id, sizeof x->id);
}

static int
same_database(const void *a, const void *b)
{
    ITEMS(struct keyring_database, a, b);

    return memcmp(&x->id, &y->id, sizeof x->id);
}

static int
same_backup(const void *a, const void *b)
{
    ITEMS(struct keyring_backup, a, b);

    return memcmp(&x->id, &y->id, sizeof x->id);
}

static int
same_certificate(const void *a, const void *b)
{
    ITEMS(struct keyring_certificate, a, b);
    int by = COMPARE_NUMBERS(x->key_id, y->key_id);

    return by != 0 ? by : memcmp(&x->database, &y->database, sizeof x->database);
}

static int
same_client(const void *a, const void *b)
{
    ITEMS(struct keyring_client, a, b);

    return strcmp(x->name, y->name);
}

static int
same_waiver(const void *a, const void *b)
{
    ITEMS(struct keyring_waiver, a, b);
    int by = COMPARE_NUMBERS(x->key_id, y->key_id);

    return by != 0 ? by : strcmp(x->what, y->what);
}

static int
check_escrow(const struct keyring *kr, struct coffer_error *err)
{
    const struct key_entry *entry;

    if (kr->keys.count == 1 &&
        kr->columns.count + kr->indexes.count + kr->databases.count + kr->backups.count == 0 &&
        kr->certificates.count + kr->clients.count + kr->waivers.count == 0) {
        entry = list_at(&kr->keys, 0);
        if (entry->material != NULL)
            return COFFER_OK;
    }
    return error_set(err, COFFER_E_FORMAT,
                     "the escrow file does not hold exactly one key with its material");
}

int
keyring_check(const struct keyring *kr, struct coffer_error *err)
{
    const struct {
        const struct list *list;
        int (*compare)(const void *, const void *);
        const char *what;
    } rules[] = {
        {&kr->keys, same_key_id, "two keys have the same id"},
        {&kr->keys, same_key_version, "two keys of one line have the same version"},
        {&kr->keys, same_active_line, "two keys of one line are active"},
        {&kr->columns, same_column_id, "two columns have the same id"},
        {&kr->columns, same_column_name, "two columns have the same name"},
        {&kr->indexes, same_index, "two indexes have the same id"},
        {&kr->databases, same_database, "two databases have the same id"},
        {&kr->backups, same_backup, "two backups have the same id"},
        {&kr->certificates, same_certificate, "two certificates are for the same key and database"},
        {&kr->clients, same_client, "two clients have the same name"},
        {&kr->waivers, same_waiver, "two waivers are for the same thing"},
    };
    bool repeats;
    int rc;

    if (kr->keys.count == 0)
        return error_set(err, COFFER_E_FORMAT, "the keyring holds no key");
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        rc = list_repeats(rules[i].list, rules[i].compare, &repeats, err);
        if (rc != COFFER_OK)
            return rc;
        if (repeats)
            return error_set(err, COFFER_E_FORMAT, "the keyring contradicts itself: %s",
                             rules[i].what);
    }
    return kr->kind == FILE_ESCROW ? check_escrow(kr, err) : COFFER_OK;
}
