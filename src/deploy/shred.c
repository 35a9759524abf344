/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a volume's keys, once its lower folder is gone.
 *
 *   active or staged → draining → (certificate) fenced → proven → destroyed, or escrowed while a backup needs it
 *
 * Each step looks at what is so and may be repeated.
 */
#include "deploy/generation.h"

#include "base/error.h"
#include "crypto/crypto.h"
#include "ledger/audit.h"
#include "ledger/certificate.h"
#include "ledger/guard.h"
#include "ledger/retire.h"

#include <string.h>

struct end {
    struct deploy *deploy;
    const char *who;
    struct uuid volume;
    char line[KEYRING_NAME_MAX];
    uint32_t id;
    int64_t now_us;
};

static int
change_drain(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct end *end = arg;
    const struct keyring_key *key = keyring_key(kr, end->id);

    if (key == NULL || (key->state != KEY_ACTIVE && key->state != KEY_STAGED))
        return COFFER_OK;
    return keyring_key_move(kr, end->id, KEY_DRAINING, end->now_us, err);
}

static int
change_destroy(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct end *end = arg;

    return keyring_key_move(kr, end->id, KEY_DESTROYED, end->now_us, err);
}

static int
change_escrow(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct end *end = arg;

    return keyring_key_move(kr, end->id, KEY_ESCROWED, end->now_us, err);
}

static int
audited(struct end *end, const char *event, keyring_change change, void *arg,
        struct coffer_error *err)
{
    char details[96];

    (void)snprintf(details, sizeof details, "{\"key\":\"%08x\"}", (unsigned)end->id);
    return audit_change(end->deploy->store, end->deploy->os, end->who, event, details, change, arg,
                        NULL, err);
}

static int
write_certificate(struct end *end, const struct keyring *kr, const struct keyring_key *key,
                  struct buf *out, struct coffer_error *err)
{
    static const char *const notes[] = {
        "the lower folder of the volume was removed: no file is under any key of it"};
    const struct keyring_database *known = keyring_database(kr, &end->volume);
    struct certificate certificate = {.key_id = key->id,
                                      .keyring = keyring_id(kr),
                                      .database = end->volume,
                                      .proven_us = end->now_us,
                                      .notes = notes,
                                      .note_count = 1};

    memcpy(certificate.fingerprint, key->fingerprint, sizeof certificate.fingerprint);
    (void)snprintf(certificate.line, sizeof certificate.line, "%s", key->line);
    (void)snprintf(certificate.purpose, sizeof certificate.purpose, "%s",
                   key_purpose_name(key->purpose));
    if (known != NULL) {
        (void)snprintf(certificate.database_name, sizeof certificate.database_name, "%s",
                       known->name);
        (void)snprintf(certificate.engine, sizeof certificate.engine, "%s", known->engine);
    }
    keyring_audit_mark(kr, &certificate.audit_count, certificate.audit_hash);
    return certificate_write(&certificate, kr, out, err);
}

static int
certify(struct end *end, struct coffer_error *err)
{
    struct retire_certify change = {
        .certificate.key_id = end->id, .certificate.database = end->volume, .now_us = end->now_us};
    struct keyring_store *store = end->deploy->store;
    const struct keyring_key *key;
    struct keyring *kr = NULL;
    char name[RETIRE_NAME_LEN];
    struct buf file;
    int rc = store->load(store, &kr, err);

    buf_init(&file, 1u << 20);
    key = rc == COFFER_OK ? keyring_key(kr, end->id) : NULL;
    if (key == NULL || key->state >= KEY_PROVEN)
        goto out;
    rc = write_certificate(end, kr, key, &file, err);
    if (rc == COFFER_OK)
        rc = sha256(buf_view(&file), change.certificate.digest, err);
    change.certificate.proven_us = end->now_us;
    retire_certificate_name(end->id, &end->volume, name);
    if (rc == COFFER_OK)
        rc = store->certificate_put(store, name, buf_view(&file), err);
    if (rc == COFFER_OK)
        rc = audited(end, "key.prove", retire_change_certify, &change, err);
out:
    buf_wipe(&file);
    keyring_free(kr);
    return rc;
}

struct holders {
    char *out;
    size_t max, len;
};

static int
on_holder(void *arg, const struct guard_holder *holder, struct coffer_error *err)
{
    struct holders *h = arg;

    (void)err;
    if (!holder->waived && h->out != NULL && h->len < h->max)
        h->len += (size_t)snprintf(h->out + h->len, h->max - h->len, "%s%s", h->len > 0 ? "; " : "",
                                   holder->text);
    return COFFER_OK;
}

static int
finish(struct end *end, struct holders *holders, struct coffer_error *err)
{
    struct keyring_store *store = end->deploy->store;
    const struct keyring_key *key;
    struct keyring *kr = NULL;
    size_t count = 0;
    int rc = store->load(store, &kr, err);

    key = rc == COFFER_OK ? keyring_key(kr, end->id) : NULL;
    if (key == NULL || key->state == KEY_DESTROYED)
        goto out;
    rc = guard_why(kr, end->id, end->now_us, on_holder, holders, &count, err);
    if (rc == COFFER_OK && count == 0) {
        rc = audited(end, "key.destroy", change_destroy, end, err);
        if (rc == COFFER_OK)
            rc = store->escrow_remove(store, end->id, err);
    } else if (rc == COFFER_OK && key->state == KEY_PROVEN) {
        rc = retire_escrow_file(store, kr, end->id, err);
        if (rc == COFFER_OK)
            rc = audited(end, "key.escrow", change_escrow, end, err);
    }
out:
    keyring_free(kr);
    return rc;
}

int
volume_shred(struct deploy *deploy, const char *volume, const char *who, char *held, size_t max,
             struct coffer_error *err)
{
    struct end end = {.deploy = deploy, .who = who};
    struct holders holders = {held, max, 0};
    struct keyring *kr = NULL;
    uint32_t ids[64];
    size_t count = 0;
    int rc;

    if (held != NULL && max > 0)
        held[0] = '\0';
    if (volume[0] == '\0')
        return COFFER_OK;
    if (!uuid_parse(bytes_str(volume), &end.volume))
        return error_set(err, COFFER_E_FORMAT, "the id of a volume in state.db is no id");
    (void)snprintf(end.line, sizeof end.line, "volume/%s", volume);
    rc = deploy->store->load(deploy->store, &kr, err);
    if (rc != COFFER_OK)
        return rc;
    for (size_t i = 0; i < keyring_key_count(kr) && count < sizeof ids / sizeof *ids; i++) {
        const struct keyring_key *key = keyring_key_at(kr, i);

        if (key->purpose == KEY_VOLUME && strcmp(key->line, end.line) == 0 &&
            key->state != KEY_DESTROYED)
            ids[count++] = key->id;
    }
    keyring_free(kr);
    for (size_t i = 0; rc == COFFER_OK && i < count; i++) {
        end.id = ids[i];
        end.now_us = deploy->os->now_us(deploy->os);
        rc = audited(&end, "key.drain", change_drain, &end, err);
        if (rc == COFFER_OK)
            rc = certify(&end, err);
        if (rc == COFFER_OK)
            rc = finish(&end, &holders, err);
    }
    return rc;
}
