/* SPDX-License-Identifier: Apache-2.0 */
/* Indexes, databases, backups, certificates, clients, waivers and the audit mark: looked up, put, removed.
 */
#include "keyring/internal.h"

#include <string.h>

/* Replace the item `found`, or append when there is none. */
static int
put(struct list *list, void *found, const void *item, struct coffer_error *err)
{
    if (found == NULL)
        return list_append(list, item, err);
    memmove(found, item, list->item_size); /* the caller may hand back what it found */
    return COFFER_OK;
}

/* ---- indexes ---- */

const char *
index_kind_name(int kind)
{
    static const char *const names[] = {"?",      "equality", "text",    "ore",   "ope",
                                        "bucket", "sum",      "splashe", "pibas", "paillier"};

    return kind >= INDEX_EQUALITY && kind <= INDEX_PAILLIER ? names[kind] : names[0];
}

size_t
keyring_index_count(const struct keyring *kr)
{
    return kr->indexes.count;
}

const struct keyring_index *
keyring_index_at(const struct keyring *kr, size_t i)
{
    return list_at(&kr->indexes, i);
}

const struct keyring_index *
keyring_index(const struct keyring *kr, const struct uuid *id)
{
    for (size_t i = 0; i < kr->indexes.count; i++) {
        const struct keyring_index *index = list_at(&kr->indexes, i);

        if (uuid_equal(&index->id, id))
            return index;
    }
    return NULL;
}

int
keyring_index_put(struct keyring *kr, const struct keyring_index *index, struct coffer_error *err)
{
    const char *problem = index_problem(index);
    struct keyring_index copy = *index;
    struct keyring_index *found = (struct keyring_index *)(uintptr_t)keyring_index(kr, &index->id);

    if (problem != NULL)
        return error_set(err, COFFER_E_MISUSE, "index: %s", problem);
    if (keyring_column_by_id(kr, &index->column) == NULL)
        return error_set(err, COFFER_E_MISUSE, "index: its column is not in the keyring");
    copy.state_epoch =
        found == NULL || found->state != index->state ? kr->epoch + 1 : found->state_epoch;
    return put(&kr->indexes, found, &copy, err);
}

int
keyring_index_remove(struct keyring *kr, const struct uuid *id, struct coffer_error *err)
{
    for (size_t i = 0; i < kr->indexes.count; i++) {
        const struct keyring_index *index = list_at(&kr->indexes, i);

        if (uuid_equal(&index->id, id)) {
            list_remove(&kr->indexes, i);
            return COFFER_OK;
        }
    }
    return error_set(err, COFFER_E_NOTFOUND, "no such index");
}

/* ---- databases ---- */

size_t
keyring_database_count(const struct keyring *kr)
{
    return kr->databases.count;
}

const struct keyring_database *
keyring_database_at(const struct keyring *kr, size_t i)
{
    return list_at(&kr->databases, i);
}

static struct keyring_database *
find_database(const struct keyring *kr, const struct uuid *id)
{
    for (size_t i = 0; i < kr->databases.count; i++) {
        struct keyring_database *database = list_at(&kr->databases, i);

        if (uuid_equal(&database->id, id))
            return database;
    }
    return NULL;
}

const struct keyring_database *
keyring_database(const struct keyring *kr, const struct uuid *id)
{
    return find_database(kr, id);
}

int
keyring_database_put(struct keyring *kr, const struct keyring_database *d, struct coffer_error *err)
{
    const char *problem = database_problem(d);

    if (problem != NULL)
        return error_set(err, COFFER_E_MISUSE, "database: %s", problem);
    return put(&kr->databases, find_database(kr, &d->id), d, err);
}

/* ---- backups ---- */

size_t
keyring_backup_count(const struct keyring *kr)
{
    return kr->backups.count;
}

const struct keyring_backup *
keyring_backup_at(const struct keyring *kr, size_t i)
{
    return list_at(&kr->backups, i);
}

int
keyring_backup_put(struct keyring *kr, const struct keyring_backup *b, struct coffer_error *err)
{
    const char *problem = backup_problem(b);
    struct keyring_backup *found = NULL;

    if (problem != NULL)
        return error_set(err, COFFER_E_MISUSE, "backup: %s", problem);
    for (size_t i = 0; i < kr->backups.count && found == NULL; i++) {
        struct keyring_backup *backup = list_at(&kr->backups, i);

        if (uuid_equal(&backup->id, &b->id))
            found = backup;
    }
    return put(&kr->backups, found, b, err);
}

/* ---- certificates ---- */

size_t
keyring_certificate_count(const struct keyring *kr)
{
    return kr->certificates.count;
}

const struct keyring_certificate *
keyring_certificate_at(const struct keyring *kr, size_t i)
{
    return list_at(&kr->certificates, i);
}

static struct keyring_certificate *
find_certificate(const struct keyring *kr, uint32_t key_id, const struct uuid *database)
{
    for (size_t i = 0; i < kr->certificates.count; i++) {
        struct keyring_certificate *certificate = list_at(&kr->certificates, i);

        if (certificate->key_id == key_id && uuid_equal(&certificate->database, database))
            return certificate;
    }
    return NULL;
}

const struct keyring_certificate *
keyring_certificate(const struct keyring *kr, uint32_t key_id, const struct uuid *database)
{
    return find_certificate(kr, key_id, database);
}

int
keyring_certificate_put(struct keyring *kr, const struct keyring_certificate *c,
                        struct coffer_error *err)
{
    const char *problem = certificate_problem(c);

    if (problem != NULL)
        return error_set(err, COFFER_E_MISUSE, "certificate: %s", problem);
    return put(&kr->certificates, find_certificate(kr, c->key_id, &c->database), c, err);
}

int
keyring_certificate_drop(struct keyring *kr, uint32_t key_id, struct coffer_error *err)
{
    (void)err; /* cannot fail; the parameter keeps all edits alike */
    for (size_t i = kr->certificates.count; i > 0; i--) {
        const struct keyring_certificate *certificate = list_at(&kr->certificates, i - 1);

        if (certificate->key_id == key_id)
            list_remove(&kr->certificates, i - 1);
    }
    return COFFER_OK;
}

/* ---- clients ---- */

size_t
keyring_client_count(const struct keyring *kr)
{
    return kr->clients.count;
}

const struct keyring_client *
keyring_client_at(const struct keyring *kr, size_t i)
{
    return list_at(&kr->clients, i);
}

/* The place of a client in the list, or its count. */
static size_t
find_client(const struct keyring *kr, const char *name)
{
    size_t i;

    for (i = 0; i < kr->clients.count; i++) {
        if (strcmp(keyring_client_at(kr, i)->name, name) == 0)
            break;
    }
    return i;
}

int
keyring_client_put(struct keyring *kr, const struct keyring_client *c, struct coffer_error *err)
{
    const char *problem = client_problem(c);
    size_t i;

    if (problem != NULL)
        return error_set(err, COFFER_E_MISUSE, "client: %s", problem);
    i = find_client(kr, c->name);
    return put(&kr->clients, i < kr->clients.count ? list_at(&kr->clients, i) : NULL, c, err);
}

int
keyring_client_remove(struct keyring *kr, const char *name, struct coffer_error *err)
{
    size_t i = find_client(kr, name);

    if (i == kr->clients.count)
        return error_set(err, COFFER_E_NOTFOUND, "no client %s is declared in the keyring", name);
    list_remove(&kr->clients, i);
    return COFFER_OK;
}

/* ---- waivers ---- */

size_t
keyring_waiver_count(const struct keyring *kr)
{
    return kr->waivers.count;
}

const struct keyring_waiver *
keyring_waiver_at(const struct keyring *kr, size_t i)
{
    return list_at(&kr->waivers, i);
}

int
keyring_waiver_put(struct keyring *kr, const struct keyring_waiver *w, struct coffer_error *err)
{
    const char *problem = waiver_problem(w);
    struct keyring_waiver *found = NULL;

    if (problem != NULL)
        return error_set(err, COFFER_E_MISUSE, "waiver: %s", problem);
    for (size_t i = 0; i < kr->waivers.count && found == NULL; i++) {
        struct keyring_waiver *waiver = list_at(&kr->waivers, i);

        if (waiver->key_id == w->key_id && strcmp(waiver->what, w->what) == 0)
            found = waiver;
    }
    return put(&kr->waivers, found, w, err);
}

/* ---- the audit mark ---- */

void
keyring_audit_mark(const struct keyring *kr, uint64_t *count, uint8_t hash[32])
{
    *count = kr->audit_count;
    memcpy(hash, kr->audit_hash, sizeof kr->audit_hash);
}

void
keyring_audit_mark_set(struct keyring *kr, uint64_t count, const uint8_t hash[32])
{
    kr->audit_count = count;
    memcpy(kr->audit_hash, hash, sizeof kr->audit_hash);
}
