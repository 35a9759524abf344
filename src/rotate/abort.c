/* SPDX-License-Identifier: Apache-2.0 */
/* Going back before the fence: the keys change places, and the abandoned one is drained, fenced and proven like any other. */
#include "rotate/machine.h"

struct reverse_arg {
    const struct rotation *rotation;
    int64_t now_us;
};

static int
change_reverse(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct reverse_arg *reverse = arg;
    const struct rotation *r = reverse->rotation;
    const struct keyring_key *to = keyring_key(kr, r->to_key), *from = keyring_key(kr, r->from_key);
    int rc = COFFER_OK;

    if (to == NULL || from == NULL)
        return error_set(err, COFFER_E_KEY, "the keyring holds a key of this rotation no more");
    if (to->state == KEY_STAGED || to->state == KEY_ACTIVE)
        rc = keyring_key_move(kr, r->to_key, KEY_DRAINING, reverse->now_us, err);
    from = keyring_key(kr, r->from_key);
    if (rc == COFFER_OK && from->state == KEY_DRAINING)
        rc = keyring_key_move(kr, r->from_key, KEY_ACTIVE, reverse->now_us, err);
    return rc;
}

/* A compromised key is never active again: forward to a third one. */
static int
go_forward(struct session *s, struct rotation *r, struct coffer_error *err)
{
    say(s->env, ROTATE_NOTE, "abort",
        "key %08x is marked compromised and is not used again: going forward to a third key",
        r->from_key);
    r->from_key = r->to_key;
    r->to_key = 0;
    r->reversed = true;
    return rotation_enter(s, r, STEP_STAGE, err);
}

int
step_reverse(struct session *s, struct rotation *r, struct coffer_error *err)
{
    struct reverse_arg arg = {.rotation = r, .now_us = s->env->os->now_us(s->env->os)};
    const struct keyring_key *from;
    uint32_t swap = r->from_key;
    int rc;

    if (r->to_key == 0) /* nothing was staged yet */
        return rotation_enter(s, r, STEP_ABORTED, err);
    rc = session_refresh(s, err); /* the key may have been marked since this rotation began */
    if (rc != COFFER_OK)
        return rc;
    from = keyring_key(s->keyring, r->from_key);
    if (from != NULL && from->compromised)
        return go_forward(s, r, err);
    rc = session_change(s, "rotation.abort", NULL, change_reverse, &arg, err);
    if (rc != COFFER_OK)
        return rc;
    r->from_key = r->to_key;
    r->to_key = swap;
    r->reversed = true;
    r->activate_epoch = keyring_epoch(s->keyring);
    r->pass++; /* the chunks of the other direction say nothing about this one */
    say(s->env, ROTATE_NOTE, "abort",
        "key %08x is active again; what is under %08x already is moved back", r->to_key,
        r->from_key);
    return rotation_enter(s, r, STEP_DRAIN, err);
}
