/* SPDX-License-Identifier: Apache-2.0 */
/* A keyring as a whole: made, copied, freed, put under another KEK. */
#include "base/mem.h"
#include "keyring/internal.h"

#include <assert.h>
#include <string.h>

int
keyring_empty_new(struct keyring **out, struct coffer_error *err)
{
    struct keyring *kr = mem_alloc(sizeof *kr);

    *out = kr;
    if (kr == NULL)
        return error_nomem(err);
    kr->kind = FILE_KEYRING;
    list_init(&kr->keys, sizeof(struct key_entry), RECORDS_MAX);
    list_init(&kr->columns, sizeof(struct keyring_column), COLUMNS_MAX);
    list_init(&kr->indexes, sizeof(struct keyring_index), INDEXES_MAX);
    list_init(&kr->databases, sizeof(struct keyring_database), RECORDS_MAX);
    list_init(&kr->backups, sizeof(struct keyring_backup), RECORDS_MAX);
    list_init(&kr->certificates, sizeof(struct keyring_certificate), RECORDS_MAX);
    list_init(&kr->clients, sizeof(struct keyring_client), RECORDS_MAX);
    list_init(&kr->waivers, sizeof(struct keyring_waiver), RECORDS_MAX);
    list_init(&kr->unknown, sizeof(struct unknown_record), RECORDS_MAX);
    return COFFER_OK;
}

void
keyring_free(struct keyring *kr)
{
    if (kr == NULL)
        return;
    for (size_t i = 0; i < kr->keys.count; i++)
        key_entry_wipe(list_at(&kr->keys, i));
    for (size_t i = 0; i < kr->unknown.count; i++) {
        struct unknown_record *record = list_at(&kr->unknown, i);

        mem_free(record->body);
    }
    list_free(&kr->keys);
    list_free(&kr->columns);
    list_free(&kr->indexes);
    list_free(&kr->databases);
    list_free(&kr->backups);
    list_free(&kr->certificates);
    list_free(&kr->clients);
    list_free(&kr->waivers);
    list_free(&kr->unknown);
    mem_free(kr->kek_params);
    secret_free(kr->root);
    mem_free(kr);
}

int
keyring_set_params(struct keyring *kr, struct bytes params, struct coffer_error *err)
{
    uint8_t *copy = NULL;

    assert(params.len <= KEK_PARAMS_MAX);
    if (params.len > 0) {
        copy = mem_alloc(params.len);
        if (copy == NULL)
            return error_nomem(err);
        memcpy(copy, params.ptr, params.len);
    }
    mem_free(kr->kek_params);
    kr->kek_params = copy;
    kr->kek_params_len = params.len;
    return COFFER_OK;
}

int
keyring_rewrap(struct keyring *kr, struct kek *kek, struct coffer_error *err)
{
    struct secret *root = NULL;
    struct buf params;
    int rc;

    buf_init(&params, KEK_PARAMS_MAX);
    rc = kek->create(kek, &params, &root, err);
    if (rc != COFFER_OK)
        goto out;
    rc = buf_status(&params, err);
    if (rc != COFFER_OK)
        goto out;
    if (secret_len(root) != ROOT_LEN) {
        rc = error_set(err, COFFER_E_KEK, "the KEK provider gave a root key of %zu bytes, not %d",
                       secret_len(root), ROOT_LEN);
        goto out;
    }
    rc = keyring_set_params(kr, buf_view(&params), err);
    if (rc != COFFER_OK)
        goto out;

    kr->kek_kind = kek->kind;
    secret_free(kr->root);
    kr->root = root;
    root = NULL;

out:
    secret_free(root);
    buf_wipe(&params);
    return rc;
}

int
keyring_rewrap_like(struct keyring *kr, const struct keyring *like, struct coffer_error *err)
{
    struct secret *root = NULL;
    int rc;

    rc = secret_copy(secret_expose(like->root), &root, err);
    if (rc == COFFER_OK)
        rc = keyring_set_params(kr, bytes_of(like->kek_params, like->kek_params_len), err);
    if (rc == COFFER_OK) {
        kr->kek_kind = like->kek_kind;
        secret_free(kr->root);
        kr->root = root;
        root = NULL;
    }
    secret_free(root);
    return rc;
}

static int
add_active_key(struct keyring *kr, enum key_purpose purpose, const char *made_by, int64_t now_us,
               struct coffer_error *err)
{
    uint32_t id;
    int rc;

    rc = keyring_key_add(kr, purpose, "main", made_by, now_us, &id, err);
    if (rc != COFFER_OK)
        return rc;
    return keyring_key_move(kr, id, KEY_ACTIVE, now_us, err);
}

int
keyring_new(struct kek *kek, const char *made_by, int64_t now_us, struct keyring **out,
            struct coffer_error *err)
{
    static const enum key_purpose first[] = {KEY_FIELD, KEY_CATALOG, KEY_AUDIT};
    struct keyring *kr = NULL;
    int rc;

    *out = NULL;

    rc = keyring_empty_new(&kr, err);
    if (rc != COFFER_OK)
        goto out;
    rc = uuid_new(&kr->id, err);
    if (rc != COFFER_OK)
        goto out;
    rc = keyring_rewrap(kr, kek, err);
    if (rc != COFFER_OK)
        goto out;
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        rc = add_active_key(kr, first[i], made_by, now_us, err);
        if (rc != COFFER_OK)
            goto out;
    }
    *out = kr;
    kr = NULL;

out:
    keyring_free(kr);
    return rc;
}

static int
copy_keys(const struct keyring *from, struct keyring *to, struct coffer_error *err)
{
    struct key_entry entry;
    int rc;

    for (size_t i = 0; i < from->keys.count; i++) {
        rc = key_entry_copy(list_at(&from->keys, i), &entry, err);
        if (rc != COFFER_OK)
            return rc;
        rc = list_append(&to->keys, &entry, err);
        if (rc != COFFER_OK) {
            key_entry_wipe(&entry);
            return rc;
        }
    }
    return COFFER_OK;
}

static int
copy_unknown(const struct keyring *from, struct keyring *to, struct coffer_error *err)
{
    int rc;

    for (size_t i = 0; i < from->unknown.count; i++) {
        const struct unknown_record *record = list_at(&from->unknown, i);
        struct unknown_record copy = *record;

        copy.body = mem_alloc(record->len);
        if (copy.body == NULL)
            return error_nomem(err);
        if (record->len > 0)
            memcpy(copy.body, record->body, record->len);
        rc = list_append(&to->unknown, &copy, err);
        if (rc != COFFER_OK) {
            mem_free(copy.body);
            return rc;
        }
    }
    return COFFER_OK;
}

static int
copy_lists(const struct keyring *from, struct keyring *to, struct coffer_error *err)
{
    const struct {
        struct list *to;
        const struct list *from;
    } lists[] = {
        {&to->columns, &from->columns}, {&to->indexes, &from->indexes}, {&to->databases, &from->databases},
        {&to->backups, &from->backups}, {&to->certificates, &from->certificates},
        {&to->clients, &from->clients}, {&to->waivers, &from->waivers},
    };
    int rc;

    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        rc = list_copy(lists[i].to, lists[i].from, err);
        if (rc != COFFER_OK)
            return rc;
    }
    return COFFER_OK;
}

int
keyring_clone(const struct keyring *kr, struct keyring **out, struct coffer_error *err)
{
    struct keyring *copy = NULL;
    int rc;

    *out = NULL;

    rc = keyring_empty_new(&copy, err);
    if (rc != COFFER_OK)
        goto out;
    copy->kind = kr->kind;
    copy->id = kr->id;
    copy->epoch = kr->epoch;
    copy->kek_kind = kr->kek_kind;
    copy->audit_count = kr->audit_count;
    memcpy(copy->audit_hash, kr->audit_hash, sizeof copy->audit_hash);
    rc = keyring_set_params(copy, bytes_of(kr->kek_params, kr->kek_params_len), err);
    if (rc != COFFER_OK)
        goto out;
    rc = secret_copy(secret_expose(kr->root), &copy->root, err);
    if (rc != COFFER_OK)
        goto out;
    rc = copy_keys(kr, copy, err);
    if (rc != COFFER_OK)
        goto out;
    rc = copy_lists(kr, copy, err);
    if (rc != COFFER_OK)
        goto out;
    rc = copy_unknown(kr, copy, err);
    if (rc != COFFER_OK)
        goto out;
    *out = copy;
    copy = NULL;

out:
    keyring_free(copy);
    return rc;
}

uint64_t
keyring_epoch(const struct keyring *kr)
{
    return kr->epoch;
}

struct uuid
keyring_id(const struct keyring *kr)
{
    return kr->id;
}

const struct secret *
keyring_root(const struct keyring *kr)
{
    return kr->root;
}

uint16_t
keyring_kek_kind(const struct keyring *kr)
{
    return kr->kek_kind;
}

bool
keyring_is_escrow(const struct keyring *kr)
{
    return kr->kind == FILE_ESCROW;
}
