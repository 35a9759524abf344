/* SPDX-License-Identifier: Apache-2.0 */
/* Destroying a key: only when nothing needs it any more, or with every holder waived by name. */
#include "base/number.h"
#include "ledger/audit.h"
#include "ledger/guard.h"
#include "rotate/internal.h"

#include <stdio.h>
#include <string.h>

struct destroy {
    const struct rotate_env *env;
    const char *const *waive;
    size_t waive_count;
    struct buf names;
    size_t count;
    uint32_t key_id;
    const char *who;
    int64_t now_us;
};

static int
on_holder(void *arg, const struct guard_holder *holder, struct coffer_error *err)
{
    struct destroy *d = arg;
    size_t i;

    if (holder->waived)
        return COFFER_OK;
    for (i = 0; i < d->waive_count && strcmp(holder->kind, "state") != 0;
         i++) { /* a live state is never waived */
        if (strcmp(holder->name, d->waive[i]) == 0)
            return COFFER_OK;
    }
    buf_format(&d->names, "%s%s", d->count++ > 0 ? ", " : "", holder->name[0] != '\0' ? holder->name : holder->kind);
    say(d->env, ROTATE_MUST, holder->kind, "%s%s%s%s", holder->text, holder->name[0] != '\0' ? ". Waive it by name: --waive '" : "",
        holder->name, holder->name[0] != '\0' ? "'" : "");
    return COFFER_OK;
}

static int
change_destroy(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct destroy *d = arg;
    size_t i;
    int rc = COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < d->waive_count; i++) {
        struct keyring_waiver waiver = {.key_id = d->key_id, .at_us = d->now_us};

        snprintf(waiver.what, sizeof waiver.what, "%s", d->waive[i]);
        snprintf(waiver.by, sizeof waiver.by, "%s", d->who);
        rc = keyring_waiver_put(kr, &waiver, err);
    }
    return rc == COFFER_OK ? keyring_key_move(kr, d->key_id, KEY_DESTROYED, d->now_us, err) : rc;
}

int
rotate_destroy(const struct rotate_env *env, uint32_t key_id, const char *const *waive,
               size_t waive_count, struct coffer_error *err)
{
    struct destroy d = {
        .env = env, .waive = waive, .waive_count = waive_count, .key_id = key_id, .who = env->who};
    struct keyring *keyring = NULL;
    char details[64];
    size_t unwaived = 0;
    int rc = env->store->load(env->store, &keyring, err);

    if (rc != COFFER_OK)
        return rc;
    buf_init(&d.names, 64u << 10);
    d.now_us = env->os->now_us(env->os);
    rc = guard_why(keyring, key_id, d.now_us, on_holder, &d, &unwaived, err);
    if (rc == COFFER_OK && d.count > 0)
        rc = error_set(err, COFFER_E_REFUSED,
                       "key %08x is still needed by %s: %.250s; coffer key why %08x says how each is released", key_id,
                       counted(d.count, "thing").text, buf_cstr(&d.names), key_id);
    snprintf(details, sizeof details, "{\"key\":\"%08x\"}", key_id);
    if (rc == COFFER_OK)
        rc = audit_change(env->store, env->os, env->who, "key.destroy", details, change_destroy, &d,
                          NULL, err);
    if (rc == COFFER_OK) /* after the keyring: a crash in between leaves a file of no use, not a key
                            that cannot come back */
        rc = env->store->escrow_remove(env->store, key_id, err);
    buf_wipe(&d.names);
    keyring_free(keyring);
    return rc;
}
