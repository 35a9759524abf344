/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/audit_line.h"

#include "crypto/crypto.h"

#include <string.h>

void
audit_line_wipe(struct audit_line *line)
{
    json_decref(line->object);
    memset(line, 0, sizeof *line);
}

bool
audit_line_next(struct bytes *rest, struct bytes *line)
{
    const uint8_t *end = rest->len == 0 ? NULL : memchr(rest->ptr, '\n', rest->len);

    if (end == NULL)
        return false;
    *line = bytes_of(rest->ptr, (size_t)(end - rest->ptr));
    *rest = bytes_of(end + 1, rest->len - line->len - 1);
    return true;
}

/* The line must be what we would have written, byte for byte, so that one entry has one hash. */
static int
check_exact(json_t *object, struct bytes text, struct coffer_error *err)
{
    struct buf again;
    int rc;

    buf_init(&again, LEDGER_JSON_MAX);
    rc = json_canonical(object, &again, err);
    if (rc == COFFER_OK && !bytes_equal(buf_view(&again), text))
        rc = error_set(err, COFFER_E_FORMAT, "not in the canonical form");
    buf_wipe(&again);
    return rc;
}

int
audit_line_read(struct bytes text, struct audit_line *out, uint8_t signature[LEDGER_SIGNATURE_LEN],
                struct coffer_error *err)
{
    struct audit_line line = {0};
    uint64_t at = 0;
    uint8_t key[4];
    int rc;

    memset(out, 0, sizeof *out);
    rc = json_parse(text, &line.object, err);
    if (rc == COFFER_OK)
        rc = check_exact(line.object, text, err);
    if (rc == COFFER_OK)
        rc = json_get_hex(line.object, "signature", signature, LEDGER_SIGNATURE_LEN, err);
    if (rc == COFFER_OK)
        rc = json_get_count(line.object, "seq", &line.seq, err);
    if (rc == COFFER_OK)
        rc = json_get_count(line.object, "at", &at, err);
    if (rc == COFFER_OK)
        rc = json_get_hex(line.object, "key", key, sizeof key, err);
    if (rc == COFFER_OK)
        rc = json_get_hex(line.object, "prev", line.prev, sizeof line.prev, err);
    if (rc == COFFER_OK)
        rc = json_get_string(line.object, "who", &line.who, err);
    if (rc == COFFER_OK)
        rc = json_get_string(line.object, "event", &line.event, err);
    if (rc == COFFER_OK && !json_is_object(json_object_get(line.object, "details")))
        rc = error_set(err, COFFER_E_FORMAT, "member \"details\" is missing or no object");
    if (rc != COFFER_OK) {
        audit_line_wipe(&line);
        return rc;
    }
    line.at_us = (int64_t)at;
    line.key_id = get_be32(key);
    json_object_del(line.object, "signature");
    *out = line;
    return COFFER_OK;
}

static int
public_key_of(const struct keyring *keyring, uint32_t id, uint8_t out[32], struct coffer_error *err)
{
    const struct keyring_key *key = keyring_key(keyring, id);
    const struct secret *seed = keyring_material(keyring, id);

    if (key == NULL || key->purpose != KEY_AUDIT || seed == NULL)
        return error_set(err, COFFER_E_KEY,
                         "it names audit key %08x, which this keyring does not hold", (unsigned)id);
    return ed25519_public(seed, out, err);
}

int
audit_line_check(const struct audit_line *line, const uint8_t signature[LEDGER_SIGNATURE_LEN],
                 const struct keyring *keyring, const uint8_t *public_key, struct coffer_error *err)
{
    uint8_t own[32];
    struct buf text;
    int rc;

    if (keyring != NULL) {
        rc = public_key_of(keyring, line->key_id, own, err);
        if (rc != COFFER_OK)
            return rc;
        public_key = own;
    }
    buf_init(&text, LEDGER_JSON_MAX);
    rc = json_canonical(line->object, &text, err);
    if (rc == COFFER_OK)
        rc = ed25519_verify(public_key, buf_view(&text), signature, err);
    buf_wipe(&text);
    return rc;
}

int
audit_line_write(const struct keyring *keyring, uint64_t seq, int64_t at_us, const char *who,
                 const char *event, json_t *details, const uint8_t prev[32], struct buf *out,
                 uint8_t hash[32], struct coffer_error *err)
{
    const struct keyring_key *key;
    const struct secret *seed;
    json_t *object;
    struct buf text;
    int rc;

    rc = ledger_audit_key(keyring, &key, &seed, err);
    if (rc != COFFER_OK)
        return rc;
    buf_init(&text, LEDGER_JSON_MAX);
    object = json_object();
    if (object == NULL)
        rc = error_nomem(err);
    if (rc == COFFER_OK)
        rc = json_put(object, "at", json_integer(at_us < 0 ? 0 : at_us), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "details", json_incref(details), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "event", json_string(event), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "key", json_key_id(key->id), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "prev", json_hex(bytes_of(prev, 32)), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "seq", json_count(seq), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "who", json_string(who), err);
    if (rc == COFFER_OK)
        rc = json_sign(object, seed, err);
    if (rc == COFFER_OK)
        rc = json_canonical(object, &text, err);
    if (rc == COFFER_OK)
        rc = sha256(buf_view(&text), hash, err);
    if (rc == COFFER_OK) {
        buf_bytes(out, buf_view(&text));
        buf_u8(out, '\n');
        rc = buf_status(out, err);
    }
    json_decref(object);
    buf_wipe(&text);
    return rc;
}
