/* SPDX-License-Identifier: Apache-2.0 */
/* The lifecycle of a key.
 *
 *   staged ──▶ active ──▶ draining ──▶ fenced ──▶ proven ──▶ escrowed ──▶ destroyed
 *
 *   staged ──▶ draining               never used after all
 *   draining ──▶ active               abort; never when compromised
 *   fenced, proven ──▶ draining       a restore, or an open was seen
 *   escrowed ──▶ draining             import (transfer.c); all others are keyring_key_move()
 *   proven ──▶ destroyed
 *
 * Material is there from staged to proven and nowhere else.  Only an active key seals, so a line
 * never has two: what becomes active sends the one before to draining in the same step.  What
 * leaves fenced or proven backwards was not free of data after all: its certificates are void.
 */
#include "keyring/internal.h"

#include <string.h>

#define TO(state) (1u << (state))

static const unsigned allowed[] = {
    [KEY_STAGED] = TO(KEY_ACTIVE) | TO(KEY_DRAINING),
    [KEY_ACTIVE] = TO(KEY_DRAINING),
    [KEY_DRAINING] = TO(KEY_ACTIVE) | TO(KEY_FENCED),
    [KEY_FENCED] = TO(KEY_DRAINING) | TO(KEY_PROVEN),
    [KEY_PROVEN] = TO(KEY_DRAINING) | TO(KEY_ESCROWED) | TO(KEY_DESTROYED),
    [KEY_ESCROWED] = TO(KEY_DESTROYED),
    [KEY_DESTROYED] = 0,
};

const char *
key_state_name(enum key_state state)
{
    switch (state) {
    case KEY_STAGED:
        return "staged";
    case KEY_ACTIVE:
        return "active";
    case KEY_DRAINING:
        return "draining";
    case KEY_FENCED:
        return "fenced";
    case KEY_PROVEN:
        return "proven";
    case KEY_ESCROWED:
        return "escrowed";
    case KEY_DESTROYED:
        return "destroyed";
    }
    return "?";
}

int
key_state_has_material(enum key_state state)
{
    if (state < KEY_STAGED || state > KEY_DESTROYED)
        return -1;
    return state <= KEY_PROVEN;
}

static void
enter(struct keyring_key *key, enum key_state state, int64_t now_us)
{
    key->state = state;
    key->entered_us[state] = now_us;
}

static int
refuse_move(const struct keyring_key *key, enum key_state state, struct coffer_error *err)
{
    if (key->state == KEY_ESCROWED && state == KEY_DRAINING)
        return error_set(err, COFFER_E_REFUSED,
                         "key %08x is escrowed: import its escrow file to use it again", key->id);
    return error_set(err, COFFER_E_REFUSED, "key %08x is %s and cannot become %s", key->id,
                     key_state_name(key->state), key_state_name(state));
}

int
keyring_key_move(struct keyring *kr, uint32_t id, enum key_state state, int64_t now_us,
                 struct coffer_error *err)
{
    struct key_entry *entry = keyring_entry(kr, id);
    struct keyring_key *key;

    if (entry == NULL)
        return error_set(err, COFFER_E_KEY, "no key %08x in the keyring", id);
    key = &entry->key;
    if (key_state_has_material(state) < 0)
        return error_set(err, COFFER_E_MISUSE, "no key state has the number %d", (int)state);
    if ((allowed[key->state] & TO(state)) == 0)
        return refuse_move(key, state, err);
    if (state == KEY_ACTIVE && key->compromised)
        return error_set(
            err, COFFER_E_REFUSED,
            "key %08x is marked compromised and never seals again: rotate to a new one", id);

    if (state == KEY_ACTIVE) {
        for (size_t i = 0; i < kr->keys.count; i++) {
            struct key_entry *other = list_at(&kr->keys, i);

            if (other->key.state == KEY_ACTIVE && other->key.purpose == key->purpose &&
                strcmp(other->key.line, key->line) == 0)
                enter(&other->key, KEY_DRAINING, now_us);
        }
    }
    enter(key, state, now_us);
    if (state == KEY_DRAINING)
        return keyring_certificate_drop(kr, id, err);
    if (key_state_has_material(state) == 0) {
        secret_free(entry->material);
        entry->material = NULL;
    }
    return COFFER_OK;
}

int
keyring_key_compromise(struct keyring *kr, uint32_t id, struct coffer_error *err)
{
    struct key_entry *entry = keyring_entry(kr, id);

    if (entry == NULL)
        return error_set(err, COFFER_E_KEY, "no key %08x in the keyring", id);
    entry->key.compromised = true;
    return COFFER_OK;
}
