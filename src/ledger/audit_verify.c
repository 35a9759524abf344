/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/crypto.h"
#include "ledger/audit_line.h"

#include <stdlib.h>
#include <string.h>

int
audit_public_key(const struct keyring *keyring, uint8_t out[32], struct coffer_error *err)
{
    const struct keyring_key *key;
    const struct secret *seed;
    int rc = ledger_audit_key(keyring, &key, &seed, err);

    return rc != COFFER_OK ? rc : ed25519_public(seed, out, err);
}

static int
tell(const struct audit_line *line, struct bytes raw, audit_entry_fn fn, void *arg,
     struct coffer_error *err)
{
    struct audit_entry entry = {line->seq, line->at_us, line->who, line->event, NULL, NULL};
    struct buf details, text;
    int rc;

    buf_init(&details, LEDGER_JSON_MAX);
    buf_init(&text, LEDGER_JSON_MAX);
    rc = json_canonical(json_object_get(line->object, "details"), &details, err);
    if (rc == COFFER_OK) {
        buf_bytes(&text, raw);
        entry.details = buf_cstr(&details);
        entry.raw = buf_cstr(&text);
        rc = buf_status(&text, err);
    }
    if (rc == COFFER_OK)
        rc = fn(arg, &entry, err);
    buf_wipe(&details);
    buf_wipe(&text);
    return rc;
}

struct chain {
    const struct keyring *keyring;
    const uint8_t *public_key;
    audit_entry_fn fn;
    void *arg;
    uint64_t count;
    uint8_t head[32]; /* hash of the entry before */
};

static int
entry_verify(struct chain *chain, struct bytes raw, struct coffer_error *err)
{
    uint8_t signature[LEDGER_SIGNATURE_LEN];
    struct audit_line line = {0};
    struct coffer_error why = {0};
    uint64_t seq = chain->count + 1;
    int rc;

    rc = audit_line_read(raw, &line, signature, &why);
    if (rc == COFFER_OK)
        rc = audit_line_check(&line, signature, chain->keyring, chain->public_key, &why);
    if (rc == COFFER_E_FORMAT || rc == COFFER_E_AUTH || rc == COFFER_E_KEY) {
        rc =
            error_set(err, COFFER_E_TAMPERED, "audit log: entry %llu was edited or is not ours: %s",
                      (unsigned long long)seq, why.message);
    } else if (rc != COFFER_OK) {
        rc = error_set(err, rc, "%s", why.message);
    } else if (line.seq != seq || memcmp(line.prev, chain->head, sizeof line.prev) != 0) {
        rc = error_set(
            err, COFFER_E_TAMPERED,
            "audit log: entry %llu does not follow the one before it: entries were removed, "
            "inserted or swapped",
            (unsigned long long)seq);
    }
    if (rc == COFFER_OK)
        rc = sha256(raw, chain->head, err);
    if (rc == COFFER_OK && chain->fn != NULL)
        rc = tell(&line, raw, chain->fn, chain->arg, err);
    if (rc == COFFER_OK)
        chain->count = seq;
    audit_line_wipe(&line);
    return rc;
}

int
audit_verify(struct bytes log, const struct keyring *keyring, const uint8_t *public_key,
             audit_entry_fn fn, void *arg, uint64_t *count, struct coffer_error *err)
{
    struct chain chain = {keyring, public_key, fn, arg, 0, {0}};
    uint8_t mark_hash[32] = {0};
    struct bytes line;
    uint64_t mark = 0;
    int rc = COFFER_OK;

    if (count != NULL)
        *count = 0;
    if (keyring == NULL && public_key == NULL)
        return error_set(err, COFFER_E_MISUSE, "audit log: give a keyring or a public key");
    if (keyring != NULL)
        keyring_audit_mark(keyring, &mark, mark_hash);

    while (rc == COFFER_OK && audit_line_next(&log, &line)) {
        rc = entry_verify(&chain, line, err);
        if (rc == COFFER_OK && chain.count == mark &&
            memcmp(chain.head, mark_hash, sizeof mark_hash) != 0)
            rc = error_set(
                err, COFFER_E_TAMPERED,
                "audit log: entry %llu is not the one that the keyring has marked: the log "
                "was rewritten",
                (unsigned long long)mark);
    }
    if (count != NULL)
        *count = chain.count;
    if (rc != COFFER_OK)
        return rc;
    if (chain.count < mark)
        return error_set(
            err, COFFER_E_TAMPERED,
            "audit log: it ends after entry %llu, the keyring has marked %llu: it was cut; "
            "put the whole log back",
            (unsigned long long)chain.count, (unsigned long long)mark);
    if (log.len != 0)
        return error_set(
            err, COFFER_E_FORMAT,
            "audit log: after entry %llu comes a line without its end, as a crash leaves "
            "it; the next change removes it",
            (unsigned long long)chain.count);
    return COFFER_OK;
}
