/* SPDX-License-Identifier: Apache-2.0 */
/* Changing the keyring and saying so.
 *
 * Order: entry (durable) → keyring with the new mark (durable).  A crash in between leaves an entry
 * beyond the mark: the log says what was begun, the keyring does not have it, and the chain goes
 * on.
 */
#include "crypto/crypto.h"
#include "ledger/audit_line.h"

#include <stdlib.h>
#include <string.h>

struct appending {
    const struct keyring *keyring;
    int64_t at_us;
    const char *who, *event;
    json_t *details;
    bool accept_loss; /* the log is not what the keyring has marked; said and accepted */
    uint64_t seq;
    uint8_t hash[32];
};

struct tail {
    uint64_t count;
    struct bytes last, at_mark;
};

static struct tail
log_tail(struct bytes log, uint64_t mark)
{
    struct tail tail = {0};
    struct bytes line;

    while (audit_line_next(&log, &line)) {
        tail.last = line;
        if (++tail.count == mark)
            tail.at_mark = line;
    }
    return tail;
}

/* The log must hold what the keyring has marked: no change is made behind a log that was cut. */
static int
mark_check(const struct keyring *keyring, const struct tail *tail, uint64_t mark,
           const uint8_t mark_hash[32], struct coffer_error *err)
{
    uint8_t hash[32];
    int rc;

    if (mark == 0)
        return COFFER_OK;
    if (tail->count < mark)
        return error_set(
            err, COFFER_E_TAMPERED,
            "the audit log ends after entry %llu, the keyring has marked %llu: it was cut. "
            "Put the whole log back, or accept the loss with: coffer audit --accept-loss",
            (unsigned long long)tail->count, (unsigned long long)mark);
    rc = sha256(tail->at_mark, hash, err);
    if (rc == COFFER_OK && memcmp(hash, mark_hash, sizeof hash) != 0)
        rc = error_set(
            err, COFFER_E_TAMPERED,
            "entry %llu of the audit log is not the one that the keyring has marked: the log "
            "was rewritten. Put the right one back, or move it away and accept the loss with: "
            "coffer audit --accept-loss",
            (unsigned long long)mark);
    return rc;
}

/* Called under the store's lock, with the whole log. */
static int
make_entry(void *arg, struct bytes log, struct buf *line, struct coffer_error *err)
{
    struct appending *a = arg;
    uint8_t signature[LEDGER_SIGNATURE_LEN], mark_hash[32], prev[32] = {0};
    struct audit_line last = {0};
    struct tail tail;
    uint64_t mark;
    int rc = COFFER_OK;

    keyring_audit_mark(a->keyring, &mark, mark_hash);
    tail = log_tail(log, mark);
    if (!a->accept_loss)
        rc = mark_check(a->keyring, &tail, mark, mark_hash, err);
    if (rc == COFFER_OK && tail.count != 0) {
        rc = audit_line_read(tail.last, &last, signature, err);
        if (rc == COFFER_OK)
            rc = audit_line_check(&last, signature, a->keyring, NULL, err);
        if (rc == COFFER_OK && last.seq != tail.count)
            rc = error_set(err, COFFER_E_TAMPERED, "it is numbered %llu",
                           (unsigned long long)last.seq);
        if (rc == COFFER_OK)
            rc = sha256(tail.last, prev, err);
        if (rc != COFFER_OK && rc != COFFER_E_NOMEM) {
            if (err != NULL) {
                error_prefix(err,
                             "the last entry (%llu) of the audit log was edited or is not ours: ",
                             (unsigned long long)tail.count);
                err->status = COFFER_E_TAMPERED;
            }
            rc = COFFER_E_TAMPERED;
        }
        audit_line_wipe(&last);
    }
    if (rc == COFFER_OK) {
        a->seq = tail.count + 1;
        rc = audit_line_write(a->keyring, a->seq, a->at_us, a->who, a->event, a->details, prev,
                              line, a->hash, err);
    }
    return rc;
}

struct marking {
    keyring_change change;
    void *arg;
    uint64_t seq;
    const uint8_t *hash;
    bool loss_accepted; /* of what stands at `marked`, the one time that a mark goes back */
    uint64_t marked;
};

static int
change_and_mark(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct marking *m = arg;
    uint8_t hash[32];
    uint64_t count;
    int rc = m->change == NULL ? COFFER_OK : m->change(kr, m->arg, err);

    if (rc != COFFER_OK)
        return rc;
    /* Somebody who appended after us may have marked before us: the mark never goes back. */
    keyring_audit_mark(kr, &count, hash);
    if (count < m->seq || (m->loss_accepted && count == m->marked))
        keyring_audit_mark_set(kr, m->seq, m->hash);
    return COFFER_OK;
}

/* Best effort: what matters is the error of the change itself. */
static void
say_failed(struct keyring_store *store, struct appending *a, int status, const char *message)
{
    json_t *details = json_object();
    struct appending failed = *a;

    if (details != NULL &&
        json_put(details, "error", json_string(coffer_status_name(status)), NULL) == COFFER_OK &&
        json_put(details, "event", json_string(a->event), NULL) == COFFER_OK &&
        json_put(details, "message", json_string(message), NULL) == COFFER_OK &&
        json_put(details, "seq", json_count(a->seq), NULL) == COFFER_OK) {
        failed.event = "failed";
        failed.details = details;
        /* If this fails too, the log ends with an entry beyond the mark, as after a crash. */
        if (store->audit_append(store, make_entry, &failed, NULL) != COFFER_OK)
            json_object_clear(details);
    }
    json_decref(details);
}

static int
append_and_edit(struct keyring_store *store, struct appending *a, keyring_change change, void *arg,
                struct keyring **newest, struct coffer_error *err)
{
    struct coffer_error why = {0};
    struct marking marking = {.change = change, .arg = arg, .loss_accepted = a->accept_loss};
    uint8_t hash[32];
    int rc = store->audit_append(store, make_entry, a, err);

    keyring_audit_mark(a->keyring, &marking.marked, hash);
    if (rc != COFFER_OK)
        return rc;
    marking.seq = a->seq;
    marking.hash = a->hash;
    rc = keyring_store_edit(store, change_and_mark, &marking, newest, &why);
    if (rc != COFFER_OK) {
        a->accept_loss = false;
        say_failed(store, a, rc, why.message);
        return error_set(err, rc, "%s", why.message);
    }
    return COFFER_OK;
}

int
audit_change(struct keyring_store *store, const struct os *os, const char *who, const char *event,
             const char *details, keyring_change change, void *arg, struct keyring **newest_or_null,
             struct coffer_error *err)
{
    struct appending a = {.at_us = os->now_us(os), .who = who, .event = event};
    struct keyring *keyring = NULL;
    int rc;

    if (newest_or_null != NULL)
        *newest_or_null = NULL;
    if (!utf8_valid(bytes_str(who)) || !utf8_valid(bytes_str(event)))
        return error_set(err, COFFER_E_MISUSE, "audit entry: who and event are UTF-8");
    rc = json_parse(bytes_str(details != NULL ? details : "{}"), &a.details, err);
    if (rc != COFFER_OK) {
        if (rc == COFFER_E_FORMAT)
            rc = error_set(
                err, COFFER_E_MISUSE,
                "audit entry %s: details are not a JSON object of texts and whole numbers", event);
        return rc;
    }
    rc = store->load(store, &keyring, err);
    if (rc == COFFER_OK) {
        a.keyring = keyring;
        rc = append_and_edit(store, &a, change, arg, newest_or_null, err);
    }
    keyring_free(keyring);
    json_decref(a.details);
    return rc;
}

int
audit_accept_loss(struct keyring_store *store, const struct os *os, const char *who,
                  struct coffer_error *err)
{
    struct appending a = {
        .at_us = os->now_us(os), .who = who, .event = "audit.loss-accepted", .accept_loss = true};
    struct keyring *keyring = NULL;
    uint8_t hash[32];
    uint64_t mark;
    int rc;

    rc = store->load(store, &keyring, err);
    if (rc != COFFER_OK)
        return rc;
    a.keyring = keyring;
    keyring_audit_mark(keyring, &mark, hash);
    a.details = json_object();
    rc = a.details == NULL ? error_nomem(err) : COFFER_OK;
    if (rc == COFFER_OK)
        rc = json_put(a.details, "marked_count", json_count(mark), err);
    if (rc == COFFER_OK)
        rc = json_put(a.details, "marked_hash", json_hex(bytes_of(hash, sizeof hash)), err);
    if (rc == COFFER_OK)
        rc = append_and_edit(store, &a, NULL, NULL, NULL, err);
    json_decref(a.details);
    keyring_free(keyring);
    return rc;
}
