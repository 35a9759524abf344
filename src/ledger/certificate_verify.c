/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/crypto.h"
#include "ledger/certificate.h"
#include "ledger/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct summary {
    void (*say)(void *arg, const char *line);
    void *arg;
};

static void __attribute__((format(printf, 2, 3)))
say(const struct summary *s, const char *format, ...)
{
    char line[1200];
    va_list args;

    if (s->say == NULL)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    s->say(s->arg, line);
}

static int
need_object(const json_t *object, const char *name, const json_t **out, struct coffer_error *err)
{
    *out = json_object_get(object, name);
    if (!json_is_object(*out))
        return error_set(err, COFFER_E_FORMAT, "member \"%s\" is missing or no object", name);
    return COFFER_OK;
}

static int
check_zero(const json_t *object, const char *name, struct coffer_error *err)
{
    uint64_t n;
    int rc = json_get_count(object, name, &n, err);

    if (rc == COFFER_OK && n != 0)
        rc = error_set(err, COFFER_E_FORMAT, "member \"%s\" is %llu, a certificate needs 0", name,
                       (unsigned long long)n);
    return rc;
}

static int
check_column(const json_t *column, const struct summary *s, struct coffer_error *err)
{
    const char *name = "?", *constraint = "", *level = "";
    uint64_t rows = 0, nulls = 0, sealed = 0, plaintext = 0;
    struct uuid id;
    int rc;

    if (!json_is_object(column))
        return error_set(err, COFFER_E_FORMAT, "a column is no object");
    rc = json_get_string(column, "name", &name, err);
    if (rc == COFFER_OK)
        rc = json_get_uuid(column, "id", &id, err);
    if (rc == COFFER_OK)
        rc = json_get_count(column, "rows", &rows, err);
    if (rc == COFFER_OK)
        rc = json_get_count(column, "nulls", &nulls, err);
    if (rc == COFFER_OK)
        rc = json_get_count(column, "sealed", &sealed, err);
    if (rc == COFFER_OK)
        rc = json_get_count(column, "plaintext", &plaintext, err);
    if (rc == COFFER_OK)
        rc = json_get_string(column, "constraint", &constraint, err);
    if (rc == COFFER_OK)
        rc = json_get_string(column, "plaintext_level", &level, err);
    if (rc == COFFER_OK)
        rc = check_zero(column, "under_key", err);
    if (rc == COFFER_OK)
        say(s,
            "column %s: %llu rows scanned, 0 under the key (%llu sealed under others, %llu NULL, "
            "%llu plaintext%s%s)%s%s",
            name, (unsigned long long)rows, (unsigned long long)sealed, (unsigned long long)nulls,
            (unsigned long long)plaintext, level[0] != '\0' ? "; plaintext " : "", level,
            constraint[0] != '\0' ? "; held by constraint " : "", constraint);
    return rc;
}

static int
check_texts(const json_t *object, const char *name, const char *label, const struct summary *s,
            struct coffer_error *err)
{
    const json_t *list = json_object_get(object, name), *item;
    size_t i;

    if (!json_is_array(list))
        return error_set(err, COFFER_E_FORMAT, "member \"%s\" is missing or no list", name);
    json_array_foreach(list, i, item)
    {
        if (!json_is_string(item))
            return error_set(err, COFFER_E_FORMAT, "member \"%s\" holds something that is no text",
                             name);
        say(s, "%s: %s", label, json_string_value(item));
    }
    return COFFER_OK;
}

static int
check_key(const json_t *object, const struct summary *s, uint32_t *key_id, struct coffer_error *err)
{
    const json_t *key;
    const char *line = "", *purpose = "";
    char fingerprint_hex[65];
    uint8_t id[4], fingerprint[32];
    int rc;

    rc = need_object(object, "key", &key, err);
    if (rc == COFFER_OK)
        rc = json_get_hex(key, "id", id, sizeof id, err);
    if (rc == COFFER_OK)
        rc = json_get_hex(key, "fingerprint", fingerprint, sizeof fingerprint, err);
    if (rc == COFFER_OK)
        rc = json_get_string(key, "line", &line, err);
    if (rc == COFFER_OK)
        rc = json_get_string(key, "purpose", &purpose, err);
    if (rc != COFFER_OK)
        return rc;
    *key_id = get_be32(id);
    hex_encode(bytes_of(fingerprint, sizeof fingerprint), fingerprint_hex);
    say(s, "key %08x (%s, line %s), fingerprint %s", (unsigned)*key_id, purpose, line,
        fingerprint_hex);
    return COFFER_OK;
}

static int
check_database(const json_t *object, const struct summary *s, struct coffer_error *err)
{
    const json_t *database;
    const char *name = "", *engine = "", *incarnation = "", *position = "";
    char id_text[37];
    struct uuid id;
    uint64_t xid = 0;
    int rc;

    rc = need_object(object, "database", &database, err);
    if (rc == COFFER_OK)
        rc = json_get_uuid(database, "id", &id, err);
    if (rc == COFFER_OK)
        rc = json_get_string(database, "name", &name, err);
    if (rc == COFFER_OK)
        rc = json_get_string(database, "engine", &engine, err);
    if (rc == COFFER_OK)
        rc = json_get_string(database, "incarnation", &incarnation, err);
    if (rc == COFFER_OK)
        rc = json_get_string(database, "position", &position, err);
    if (rc == COFFER_OK)
        rc = json_get_count(database, "xid", &xid, err);
    if (rc != COFFER_OK)
        return rc;
    uuid_format(&id, id_text);
    say(s, "database %s (%s, id %s, incarnation %s)%s%s", name, engine, id_text, incarnation,
        position[0] != '\0' ? ", at " : "", position);
    return COFFER_OK;
}

static int
check_rest(const json_t *object, const struct summary *s, struct coffer_error *err)
{
    const json_t *columns = json_object_get(object, "columns"), *column;
    char keyring_text[37], when[LEDGER_TIME_LEN];
    uint8_t hash[32], signer[4];
    uint64_t proven = 0, audit_count = 0;
    struct uuid keyring;
    size_t i;
    int rc;

    rc = json_get_uuid(object, "keyring", &keyring, err);
    if (rc == COFFER_OK)
        rc = json_get_count(object, "proven_us", &proven, err);
    if (rc == COFFER_OK)
        rc = json_get_count(object, "audit_count", &audit_count, err);
    if (rc == COFFER_OK)
        rc = json_get_hex(object, "audit_hash", hash, sizeof hash, err);
    if (rc == COFFER_OK)
        rc = json_get_hex(object, "signed_by", signer, sizeof signer, err);
    if (rc == COFFER_OK)
        rc = check_zero(object, "quarantine", err);
    if (rc != COFFER_OK)
        return rc;
    uuid_format(&keyring, keyring_text);
    ledger_time((int64_t)proven, when);
    say(s, "proven %s, keyring %s, audit entry %llu, signed by audit key %08x", when, keyring_text,
        (unsigned long long)audit_count, (unsigned)get_be32(signer));

    if (!json_is_array(columns))
        return error_set(err, COFFER_E_FORMAT, "member \"columns\" is missing or no list");
    json_array_foreach(columns, i, column)
    {
        rc = check_column(column, s, err);
        if (rc != COFFER_OK)
            return rc;
    }
    rc = check_texts(object, "accepted_unregistered", "accepted unregistered", s, err);
    if (rc == COFFER_OK)
        rc = check_texts(object, "notes", "note", s, err);
    return rc;
}

int
certificate_verify(struct bytes file, const uint8_t public_key[32],
                   void (*say_line)(void *arg, const char *line), void *arg, uint32_t *key_id,
                   struct coffer_error *err)
{
    const struct summary summary = {say_line, arg}, silent = {NULL, NULL};
    json_t *object = NULL;
    uint32_t id = 0;
    uint64_t version = 0;
    int rc;

    if (key_id != NULL)
        *key_id = 0;
    if (file.len == 0)
        return error_set(err, COFFER_E_FORMAT, "the certificate is empty");
    rc = json_parse(file, &object, err);
    if (rc == COFFER_OK)
        rc = json_get_count(object, "coffer_certificate", &version, err);
    if (rc == COFFER_OK && version != 1)
        rc = error_set(err, COFFER_E_FORMAT, "version %llu is not one that this build reads",
                       (unsigned long long)version);
    if (rc == COFFER_OK) {
        rc = json_check_signature(object, public_key, err);
        if (rc == COFFER_E_AUTH)
            rc = error_set(
                err, COFFER_E_AUTH,
                "the signature does not hold: it was changed, or signed by another audit key");
    }
    /* Twice, so that nothing is said of a certificate that fails half-way. */
    if (rc == COFFER_OK)
        rc = check_key(object, &silent, &id, err);
    if (rc == COFFER_OK)
        rc = check_database(object, &silent, err);
    if (rc == COFFER_OK)
        rc = check_rest(object, &silent, err);
    if (rc == COFFER_OK)
        rc = check_key(object, &summary, &id, err);
    if (rc == COFFER_OK)
        rc = check_database(object, &summary, err);
    if (rc == COFFER_OK)
        rc = check_rest(object, &summary, err);
    json_decref(object);
    if (rc != COFFER_OK) {
        error_prefix(err, "certificate: ");
        return rc;
    }
    if (key_id != NULL)
        *key_id = id;
    return COFFER_OK;
}
