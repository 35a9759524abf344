/* SPDX-License-Identifier: Apache-2.0 */
/* What a rotation changes in the keyring and in the record.  Each looks at what is already so and may be repeated. */
#include "volume/lifecycle_internal.h"

#include <stdio.h>
#include <string.h>

struct key_change {
    const struct life *life;
    const char *line, *who;
    const struct uuid *volume;
    uint32_t id;
    int64_t now_us;
};

static struct key_change
key_change(struct life *life, uint32_t id)
{
    return (struct key_change){.life = life,
                               .line = life->setup.line,
                               .who = life->env->who,
                               .volume = &life->setup.id,
                               .id = id,
                               .now_us = life->env->os->now_us(life->env->os)};
}

static const struct keyring_key *
newest_in(const struct keyring *kr, const char *line, enum key_state state)
{
    const struct keyring_key *found = NULL;
    size_t i;

    for (i = 0; i < keyring_key_count(kr); i++) {
        const struct keyring_key *key = keyring_key_at(kr, i);

        if (key->purpose == KEY_VOLUME && key->state == state && strcmp(key->line, line) == 0)
            found = key;
    }
    return found;
}

const struct keyring_key *
life_key_in(const struct life *life, enum key_state state)
{
    return newest_in(life->keyring, life->setup.line, state);
}

/* ---- names that files bear ---- */

static int
name_from(struct life *life, const struct secret *material, uint32_t id,
          char out[VOLUME_KEY_NAME + 1], struct coffer_error *err)
{
    struct volume_key key = {.id = id};
    struct secret *passphrase = NULL;
    int rc = volume_passphrase(material, id, &passphrase, err);

    if (rc == COFFER_OK &&
        life->setup.format->key_set(secret_expose(passphrase), (struct bytes){0}, &key, err) != 0)
        rc = error_set(err, COFFER_E_NOMEM, "key %08x cannot be derived", (unsigned)id);
    if (rc == COFFER_OK)
        memcpy(out, key.name, VOLUME_KEY_NAME + 1);
    secret_free(key.secret);
    secret_free(passphrase);
    return rc;
}

int
life_key_name(struct life *life, uint32_t id, char out[VOLUME_KEY_NAME + 1],
              struct coffer_error *err)
{
    const struct volume_key_set *keys = &life->setup.keys;
    const struct secret *material;
    struct keyring *escrowed = NULL;
    struct buf content;
    size_t i;
    int rc;

    for (i = 0; i < keys->count; i++) {
        if (keys->keys[i].id == id) {
            memcpy(out, keys->keys[i].name, VOLUME_KEY_NAME + 1);
            return COFFER_OK;
        }
    }
    material = keyring_material(life->keyring, id);
    if (material != NULL)
        return name_from(life, material, id, out, err);
    buf_init(&content, KEYRING_FILE_MAX);
    rc = life->env->store->escrow_get(life->env->store, id, &content, err);
    if (rc == COFFER_OK)
        rc = keyring_decode_again(buf_view(&content), life->keyring, &escrowed, err);
    if (rc == COFFER_OK && keyring_material(escrowed, id) == NULL)
        rc = error_set(err, COFFER_E_KEY, "the escrow file of key %08x does not hold it",
                       (unsigned)id);
    if (rc == COFFER_OK)
        rc = name_from(life, keyring_material(escrowed, id), id, out, err);
    keyring_free(escrowed);
    buf_wipe(&content);
    return rc;
}

int
life_retiring(struct life *life, struct coffer_error *err)
{
    size_t i, before = life->retiring_count, count = 0;
    struct retiring known[VOLUME_KEYS_MAX];
    int rc = COFFER_OK;

    memcpy(known, life->retiring, sizeof known);
    for (i = 0; rc == COFFER_OK && i < keyring_key_count(life->keyring); i++) {
        const struct keyring_key *key = keyring_key_at(life->keyring, i);
        struct retiring *r = &life->retiring[count];
        size_t k;

        if (key->purpose != KEY_VOLUME || strcmp(key->line, life->setup.line) != 0 ||
            key->state < KEY_DRAINING || key->state > KEY_PROVEN)
            continue;
        if (count == VOLUME_KEYS_MAX)
            return error_set(err, COFFER_E_LIMIT,
                             "more than %d former keys of %s are in the keyring", VOLUME_KEYS_MAX,
                             life->setup.lower);
        r->id = key->id;
        for (k = 0; k < before && known[k].id != key->id; k++)
            ;
        if (k < before)
            *r = known[k];
        else
            rc = life_key_name(life, key->id, r->name, err);
        count++;
    }
    life->retiring_count = count;
    return rc;
}

/* ---- stage, activate ---- */

static int
change_stage(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct key_change *c = arg;
    const struct keyring_key *staged = newest_in(kr, c->line, KEY_STAGED);
    int rc = COFFER_OK;

    c->id = staged != NULL ? staged->id : 0; /* a run that died left one */
    if (c->id == 0)
        rc = keyring_key_add(kr, KEY_VOLUME, c->line, c->who, c->now_us, &c->id, err);
    return rc == COFFER_OK ? keyring_key_used_in(kr, c->id, c->volume, err) : rc;
}

int
life_stage(struct life *life, struct coffer_error *err)
{
    const struct keyring_key *staged = life_key_in(life, KEY_STAGED);
    struct key_change c = key_change(life, 0);
    int rc = COFFER_OK;

    if (staged == NULL) {
        rc = life_change(life, "key.stage", 0, change_stage, &c, err);
        if (rc == COFFER_OK)
            life_say(life, "stage", "new key %08x is in the keyring", (unsigned)c.id);
    }
    return rc == COFFER_OK ? life_reload(life, err) : rc;
}

/* The key that the record names becomes active, and whatever else was staged is on its way out. */
static int
change_activate(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct key_change *c = arg;
    const struct keyring_key *key = keyring_key(kr, c->id), *staged;
    int rc = COFFER_OK;

    if (key == NULL)
        return error_set(err, COFFER_E_KEY,
                         "the keyring holds no key %08x, to which this rotation goes",
                         (unsigned)c->id);
    if (key->state != KEY_ACTIVE)
        rc = keyring_key_move(kr, c->id, KEY_ACTIVE, c->now_us, err);
    while (rc == COFFER_OK && (staged = newest_in(kr, c->line, KEY_STAGED)) != NULL)
        rc = keyring_key_move(kr, staged->id, KEY_DRAINING, c->now_us, err);
    return rc;
}

int
life_activate(struct life *life, struct coffer_error *err)
{
    const struct volume_rotation *rotation = &life->setup.rotation;
    const struct keyring_key *active = life_key_in(life, KEY_ACTIVE);
    struct key_change c = key_change(life, rotation->to_key);
    int rc = COFFER_OK;

    if (active == NULL || active->id != c.id || life_key_in(life, KEY_STAGED) != NULL) {
        rc = life_change(life, rotation->reversed ? "rotation.abort" : "key.activate", c.id,
                         change_activate, &c, err);
        if (rc == COFFER_OK)
            life_say(life, rotation->reversed ? "abort" : "activate",
                     "key %08x writes%s; what is under others is moved to it", (unsigned)c.id,
                     rotation->reversed ? " again" : "");
    }
    if (rc == COFFER_OK)
        rc = life_retiring(life, err);
    return rc == COFFER_OK ? life_reload(life, err) : rc;
}

/* ---- the record ---- */

/* Before a key is active: what is made under it shall have the wanted form at once. */
int
life_record_open(struct life *life, struct coffer_error *err)
{
    const struct volume_rotate_options *wanted = life->options;
    struct volume_options *form = &life->setup.options;
    struct volume_rotation *rotation = &life->setup.rotation;

    if (rotation->work != 0)
        return COFFER_OK;
    rotation->work = wanted->work;
    rotation->to_key = life_key_in(life, KEY_STAGED)->id;
    rotation->former_key_bits = form->key_bits;
    rotation->former_name_key_bits =
        form->name_key_bits != 0 ? form->name_key_bits : form->key_bits;
    rotation->former_encrypt_names = form->encrypt_names;
    if (wanted->key_bits != 0)
        form->key_bits = form->name_key_bits =
            wanted->key_bits; /* names are written anew in any case */
    if (wanted->encrypt_names >= 0)
        form->encrypt_names = wanted->encrypt_names != 0;
    return life_save(life, err);
}

int
life_record_close(struct life *life, struct coffer_error *err)
{
    int rc;

    if (life->setup.rotation.work == 0)
        return COFFER_OK;
    memset(&life->setup.rotation, 0, sizeof life->setup.rotation);
    rc = life_save(life, err);
    if (rc == COFFER_OK)
        rc = volume_setup_refresh(&life->setup, life->keyring, err);
    return rc == COFFER_OK ? life_reload(life, err) : rc;
}

/* ---- fence ---- */

static int
change_fence(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct key_change *c = arg;
    const struct keyring_key *key = keyring_key(kr, c->id);

    if (key != NULL && key->state >= KEY_FENCED)
        return COFFER_OK;
    return keyring_key_move(kr, c->id, KEY_FENCED, c->now_us, err);
}

int
life_fence(struct life *life, struct coffer_error *err)
{
    size_t i;
    int rc = COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < life->retiring_count; i++) {
        const struct keyring_key *key = keyring_key(life->keyring, life->retiring[i].id);
        struct key_change c = key_change(life, life->retiring[i].id);

        if (key == NULL || key->state != KEY_DRAINING)
            continue;
        rc = life_change(life, "key.fence", c.id, change_fence, &c, err);
        if (rc == COFFER_OK)
            life_say(life, "fence", "key %08x opens nothing any more%s", (unsigned)c.id,
                     life->online ? "; the mount has let go of it" : "");
    }
    return rc == COFFER_OK ? life_reload(life, err) : rc;
}

static int
change_reopen(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct key_change *c = arg;
    const struct keyring_key *key = keyring_key(kr, c->id);

    if (key == NULL || (key->state != KEY_FENCED && key->state != KEY_PROVEN))
        return COFFER_OK;
    return keyring_key_move(kr, c->id, KEY_DRAINING, c->now_us, err); /* voids its certificates */
}

/* The proof found units: the keys open again, and another walk moves them. */
int
life_reopen(struct life *life, struct coffer_error *err)
{
    size_t i;
    int rc = COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < life->retiring_count; i++) {
        struct key_change c = key_change(life, life->retiring[i].id);

        rc = life_change(life, "key.reopen", c.id, change_reopen, &c, err);
    }
    return rc == COFFER_OK ? life_reload(life, err) : rc;
}

/* ---- abort ---- */

static void
swap_form(struct volume_setup *setup)
{
    struct volume_rotation *rotation = &setup->rotation;
    struct volume_options *form = &setup->options;
    struct volume_rotation former = *rotation;

    rotation->former_key_bits = form->key_bits;
    rotation->former_name_key_bits =
        form->name_key_bits != 0 ? form->name_key_bits : form->key_bits;
    rotation->former_encrypt_names = form->encrypt_names;
    form->key_bits = former.former_key_bits;
    form->name_key_bits = former.former_name_key_bits;
    form->encrypt_names = former.former_encrypt_names;
}

/* Where an abort goes: to the key that the files came from, or to a third one if that has leaked. */
static int
way_back(struct life *life, uint32_t *to, struct coffer_error *err)
{
    const struct keyring_key *active = life_key_in(life, KEY_ACTIVE);
    const struct keyring_key *former = life_key_in(life, KEY_DRAINING);
    struct key_change c = key_change(life, 0);
    int rc = COFFER_OK;

    if (active != NULL && active->id != life->setup.rotation.to_key) { /* nothing was moved yet */
        *to = active->id;
    } else if (former != NULL && !former->compromised) {
        *to = former->id;
    } else {
        if (former != NULL)
            life_say(life, "abort",
                     "key %08x is marked compromised and is not used again: going forward to a "
                     "third key",
                     (unsigned)former->id);
        rc = life_change(life, "key.stage", 0, change_stage, &c, err);
        *to = c.id;
    }
    return rc;
}

static int
change_unstage(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct key_change *c = arg;
    const struct keyring_key *staged;
    int rc = COFFER_OK;

    while (rc == COFFER_OK && (staged = newest_in(kr, c->line, KEY_STAGED)) != NULL)
        rc = keyring_key_move(kr, staged->id, KEY_DRAINING, c->now_us, err);
    return rc;
}

int
life_reverse(struct life *life, struct coffer_error *err)
{
    struct volume_rotation *rotation = &life->setup.rotation;
    struct key_change c = key_change(life, 0);
    uint32_t to = 0;
    int rc;

    if (life_key_in(life, KEY_FENCED) != NULL || life_key_in(life, KEY_PROVEN) != NULL)
        return error_set(err, COFFER_E_REFUSED,
                         "the rotation of %s is past its fence: nothing is under the former key "
                         "any more; the same command "
                         "without --abort ends it",
                         life->setup.lower);
    if (rotation->work == 0 && life_key_in(life, KEY_STAGED) == NULL)
        return error_set(err, COFFER_E_NOTFOUND, "no rotation of %s is open", life->setup.lower);
    if (rotation->work ==
        0) { /* staged, and nothing more: retired as others are, which finds nothing under it */
        rc = life_change(life, "rotation.abort", 0, change_unstage, &c, err);
        return rc == COFFER_OK ? life_retiring(life, err) : rc;
    }
    if (rotation->reversed)
        return COFFER_OK; /* by an earlier run: it goes on */
    rc = way_back(life, &to, err);
    if (rc != COFFER_OK)
        return rc;
    swap_form(&life->setup);
    rotation->to_key = to;
    rotation->reversed = true;
    return life_save(life, err); /* the keys follow in life_activate() */
}
