/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/crypto.h"
#include "ledger/certificate.h"
#include "ledger/json.h"

/* A certificate is believed for years by people who saw nothing of the scan: it never states
 * something that the scan did not find. */
static int
check_true(const struct certificate *c, struct coffer_error *err)
{
    size_t i;

    if (c->quarantine != 0)
        return error_set(
            err, COFFER_E_REFUSED,
            "no certificate for key %08x: %llu cells are in quarantine and may be under it",
            (unsigned)c->key_id, (unsigned long long)c->quarantine);
    for (i = 0; i < c->column_count; i++) {
        if (c->columns[i].under_key != 0)
            return error_set(err, COFFER_E_REFUSED,
                             "no certificate for key %08x: %llu cells of %s are under it",
                             (unsigned)c->key_id, (unsigned long long)c->columns[i].under_key,
                             c->columns[i].name);
    }
    return COFFER_OK;
}

static json_t *
texts(const char *const *items, size_t count)
{
    json_t *list = json_array();
    size_t i;

    for (i = 0; list != NULL && i < count; i++) {
        if (json_array_append_new(list, json_string(items[i])) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

static int
column_json(const struct certificate_column *column, json_t **out, struct coffer_error *err)
{
    json_t *object = json_object();
    int rc = object == NULL ? error_nomem(err) : COFFER_OK;

    if (rc == COFFER_OK)
        rc = json_put(object, "constraint", json_string(column->constraint), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "id", json_uuid(&column->id), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "name", json_string(column->name), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "nulls", json_count(column->nulls), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "plaintext", json_count(column->plaintext), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "plaintext_level", json_string(column->plaintext_level), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "rows", json_count(column->rows), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "sealed", json_count(column->sealed), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "under_key", json_count(column->under_key), err);
    if (rc != COFFER_OK) {
        json_decref(object);
        object = NULL;
    }
    *out = object;
    return rc;
}

static int
put_columns(json_t *object, const struct certificate *c, struct coffer_error *err)
{
    json_t *list = json_array(), *column;
    int rc = list == NULL ? error_nomem(err) : COFFER_OK;
    size_t i;

    for (i = 0; rc == COFFER_OK && i < c->column_count; i++) {
        rc = column_json(&c->columns[i], &column, err);
        if (rc == COFFER_OK && json_array_append_new(list, column) != 0)
            rc = error_nomem(err);
    }
    if (rc == COFFER_OK)
        return json_put(object, "columns", list, err);
    json_decref(list);
    return rc;
}

static int
put_key(json_t *object, const struct certificate *c, struct coffer_error *err)
{
    json_t *key = json_object();
    int rc = key == NULL ? error_nomem(err) : COFFER_OK;

    if (rc == COFFER_OK)
        rc = json_put(key, "fingerprint", json_hex(bytes_of(c->fingerprint, 32)), err);
    if (rc == COFFER_OK)
        rc = json_put(key, "id", json_key_id(c->key_id), err);
    if (rc == COFFER_OK)
        rc = json_put(key, "line", json_string(c->line), err);
    if (rc == COFFER_OK)
        rc = json_put(key, "purpose", json_string(c->purpose), err);
    if (rc == COFFER_OK)
        return json_put(object, "key", key, err);
    json_decref(key);
    return rc;
}

static int
put_database(json_t *object, const struct certificate *c, struct coffer_error *err)
{
    json_t *database = json_object();
    int rc = database == NULL ? error_nomem(err) : COFFER_OK;

    if (rc == COFFER_OK)
        rc = json_put(database, "engine", json_string(c->engine), err);
    if (rc == COFFER_OK)
        rc = json_put(database, "id", json_uuid(&c->database), err);
    if (rc == COFFER_OK)
        rc = json_put(database, "incarnation", json_string(c->incarnation), err);
    if (rc == COFFER_OK)
        rc = json_put(database, "name", json_string(c->database_name), err);
    if (rc == COFFER_OK)
        rc = json_put(database, "position", json_string(c->position), err);
    if (rc == COFFER_OK)
        rc = json_put(database, "xid", json_count(c->xid), err);
    if (rc == COFFER_OK)
        return json_put(object, "database", database, err);
    json_decref(database);
    return rc;
}

static int
put_rest(json_t *object, const struct certificate *c, const struct keyring_key *signer,
         struct coffer_error *err)
{
    int rc = json_put(object, "coffer_certificate", json_integer(1), err);

    if (rc == COFFER_OK)
        rc = json_put(object, "accepted_unregistered", texts(c->accepted, c->accepted_count), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "audit_count", json_count(c->audit_count), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "audit_hash", json_hex(bytes_of(c->audit_hash, 32)), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "keyring", json_uuid(&c->keyring), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "notes", texts(c->notes, c->note_count), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "proven_us", json_integer(c->proven_us), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "quarantine", json_count(c->quarantine), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "signed_by", json_key_id(signer->id), err);
    return rc;
}

int
certificate_write(const struct certificate *c, const struct keyring *keyring, struct buf *out,
                  struct coffer_error *err)
{
    const struct keyring_key *signer;
    const struct secret *seed;
    json_t *object = NULL;
    int rc;

    rc = check_true(c, err);
    if (rc == COFFER_OK)
        rc = ledger_audit_key(keyring, &signer, &seed, err);
    if (rc != COFFER_OK)
        return rc;
    object = json_object();
    if (object == NULL)
        return error_nomem(err);
    rc = put_key(object, c, err);
    if (rc == COFFER_OK)
        rc = put_database(object, c, err);
    if (rc == COFFER_OK)
        rc = put_columns(object, c, err);
    if (rc == COFFER_OK)
        rc = put_rest(object, c, signer, err);
    if (rc == COFFER_OK)
        rc = json_sign(object, seed, err);
    if (rc == COFFER_OK)
        rc = json_canonical(object, out, err);
    if (rc == COFFER_OK) {
        buf_u8(out, '\n');
        rc = buf_status(out, err);
    }
    json_decref(object);
    return rc;
}
