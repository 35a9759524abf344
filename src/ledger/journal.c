/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/journal.h"

#include "crypto/crypto.h"

#include <string.h>

#define LABEL "coffer/v1/row"
#define MAC_LEN (4 + SHA256_LEN)

/* docs/FORMAT.md "Working rows": everything that tells one row from another is under the MAC, so
 * that a row copied to another table, key, database or epoch fails. */
static int
row_mac(const struct journal *j, uint32_t key_id, const char *table, const char *key,
        uint64_t epoch, struct bytes content, uint8_t out[MAC_LEN], struct coffer_error *err)
{
    const struct secret *material = keyring_material(j->keyring, key_id);
    struct bytes parts[2];
    struct buf head;
    int rc;

    if (material == NULL)
        return error_set(err, COFFER_E_KEY, "this keyring does not hold catalog key %08x",
                         (unsigned)key_id);
    buf_init(&head, 1024);
    buf_str(&head, LABEL);
    buf_lp16(&head, bytes_str(table));
    buf_lp16(&head, bytes_of(j->database.b, sizeof j->database.b));
    buf_lp16(&head, bytes_str(key));
    buf_be64(&head, epoch);
    buf_be32(&head, (uint32_t)content.len);
    rc = buf_status(&head, err);
    if (rc == COFFER_OK && content.len > UINT32_MAX)
        rc = error_set(err, COFFER_E_LIMIT, "working row %s/%s is too long", table, key);
    if (rc == COFFER_OK) {
        parts[0] = buf_view(&head);
        parts[1] = content;
        put_be32(out, key_id);
        rc = hmac_sha256(secret_expose(material), parts, 2, out + 4, err);
    }
    buf_wipe(&head);
    return rc;
}

static int
tampered(struct coffer_error *err, const char *table, const char *key, const char *what)
{
    return error_set(err, COFFER_E_TAMPERED,
                     "row \"%s\" of Coffer's working table %s was edited or moved (%s)", key, table,
                     what);
}

static int
row_check(const struct journal *j, const char *table, const struct journal_row *row,
          struct coffer_error *err)
{
    const struct keyring_key *key;
    uint8_t mac[MAC_LEN];
    uint32_t id;
    int rc;

    if (row->mac.len != MAC_LEN)
        return tampered(err, table, row->key, "it bears no MAC");
    id = get_be32(row->mac.ptr);
    key = keyring_key(j->keyring, id);
    if (key == NULL || key->purpose != KEY_CATALOG || keyring_material(j->keyring, id) == NULL)
        return tampered(err, table, row->key, "its MAC names a key this keyring does not hold");
    rc = row_mac(j, id, table, row->key, row->epoch, row->content, mac, err);
    if (rc != COFFER_OK)
        return rc;
    if (!secret_equal(row->mac, bytes_of(mac, sizeof mac)))
        return tampered(err, table, row->key, "its MAC does not hold");
    return COFFER_OK;
}

static int
key_check(const char *key, struct coffer_error *err)
{
    size_t len = strlen(key);

    if (len == 0 || len >= KEYRING_NAME_MAX)
        return error_set(err, COFFER_E_MISUSE, "a working row's key is 1 to %d bytes, not %zu",
                         KEYRING_NAME_MAX - 1, len);
    return COFFER_OK;
}

struct get {
    const struct journal *j;
    const char *table, *key;
    struct buf *content;
    uint64_t *epoch;
    bool found;
};

static int
take_row(void *arg, const struct journal_row *row, struct coffer_error *err)
{
    struct get *get = arg;
    int rc;

    /* A store that gives another row than the one asked for is caught as an edited one is. */
    if (strcmp(row->key, get->key) != 0)
        return tampered(err, get->table, get->key, "another row was given for it");
    rc = row_check(get->j, get->table, row, err);
    if (rc != COFFER_OK)
        return rc;
    get->found = true;
    *get->epoch = row->epoch;
    buf_bytes(get->content, row->content);
    return buf_status(get->content, err);
}

int
journal_get(struct journal *j, const char *table, const char *key, struct buf *content,
            uint64_t *epoch, struct coffer_error *err)
{
    uint64_t ignored;
    struct get get = {j, table, key, content, epoch != NULL ? epoch : &ignored, false};
    int rc;

    *get.epoch = 0;
    buf_clear(content);
    rc = key_check(key, err);
    if (rc != COFFER_OK)
        return rc;
    rc = j->store->get(j->store, table, key, take_row, &get, err);
    if (rc == COFFER_OK && !get.found)
        rc = error_set(err, COFFER_E_NOTFOUND, "no row \"%s\" in working table %s", key, table);
    if (rc != COFFER_OK) {
        buf_clear(content);
        *get.epoch = 0;
    }
    return rc;
}

int
journal_put(struct journal *j, const char *table, const char *key, struct bytes content,
            uint64_t expect, struct coffer_error *err)
{
    const struct keyring_key *catalog = keyring_active(j->keyring, KEY_CATALOG, "main");
    struct journal_row row = {0};
    uint8_t mac[MAC_LEN];
    int rc;

    rc = key_check(key, err);
    if (rc != COFFER_OK)
        return rc;
    if (catalog == NULL)
        return error_set(err, COFFER_E_KEY, "this keyring holds no active catalog key");
    if (expect >= INT64_MAX)
        return error_set(err, COFFER_E_LIMIT, "working row %s/%s: epoch out of range", table, key);

    memcpy(row.key, key, strlen(key) + 1);
    row.epoch = expect + 1;
    row.content = content;
    rc = row_mac(j, catalog->id, table, key, row.epoch, content, mac, err);
    if (rc != COFFER_OK)
        return rc;
    row.mac = bytes_of(mac, sizeof mac);
    return j->store->put(j->store, table, &row, expect, err);
}

struct list {
    const struct journal *j;
    const char *table, *prefix;
    journal_row_fn fn;
    void *arg;
    size_t tampered;
};

static int
pass_row(void *arg, const struct journal_row *row, struct coffer_error *err)
{
    struct list *list = arg;
    struct coffer_error why = {0};
    int rc;

    rc = row_check(list->j, list->table, row, &why);
    if (rc == COFFER_OK && strncmp(row->key, list->prefix, strlen(list->prefix)) != 0)
        rc = COFFER_E_TAMPERED;
    if (rc == COFFER_E_TAMPERED) {
        list->tampered++;
        return COFFER_OK;
    }
    if (rc != COFFER_OK)
        return error_set(err, rc, "%s", why.message);
    return list->fn(list->arg, row, err);
}

int
journal_list(struct journal *j, const char *table, const char *prefix, journal_row_fn fn, void *arg,
             size_t *tampered_out, struct coffer_error *err)
{
    struct list list = {j, table, prefix != NULL ? prefix : "", fn, arg, 0};
    int rc = j->store->list(j->store, table, list.prefix, pass_row, &list, err);

    if (tampered_out != NULL)
        *tampered_out = list.tampered;
    return rc;
}

int
journal_remove(struct journal *j, const char *table, const char *key, struct coffer_error *err)
{
    int rc = key_check(key, err);

    return rc != COFFER_OK ? rc : j->store->remove(j->store, table, key, err);
}
