/* SPDX-License-Identifier: Apache-2.0 */
/* One command's view of a volume: keyring, record, and who serves it. */
#include "volume/lifecycle_internal.h"

#include "volume/fuse/control.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOCK_WAIT_MS 300

bool
life_stopped(const struct life *life)
{
    return life->env->stop != NULL && life->env->stop(life->env->arg);
}

void
life_say(const struct life *life, const char *step, const char *format, ...)
{
    char text[640];
    va_list args;

    if (life->env->say == NULL)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    life->env->say(life->env->arg, step, text);
}

/* ---- the mount ---- */

int
life_call(struct life *life, const char *command, json_t *request, json_t **reply,
          struct coffer_error *err)
{
    json_t *answer = NULL;
    int rc;

    if (request == NULL)
        request = json_object();
    if (request == NULL || json_object_set_new(request, "command", json_string(command)) != 0) {
        json_decref(request);
        return error_nomem(err);
    }
    rc = volume_control_call(life->path, request, &answer, err);
    json_decref(request);
    if (rc == COFFER_OK && reply != NULL)
        *reply = answer;
    else
        json_decref(answer);
    if (rc == COFFER_E_NOTFOUND && life->online)
        rc = error_set(err, COFFER_E_LOST,
                       "%s is not mounted any more; the same command goes on, on its files or on "
                       "the next mount",
                       life->path);
    return rc;
}

/* Who serves it: COFFER_OK and the lower folder; NOTFOUND: nobody. */
static int
ask_mount(struct life *life, char lower[VOLUME_PATH_MAX], struct coffer_error *err)
{
    json_t *reply = NULL;
    const char *text;
    int rc = life_call(life, "status", NULL, &reply, err);

    if (rc != COFFER_OK)
        return rc;
    text = json_string_value(json_object_get(reply, "lower"));
    if (text == NULL || strlen(text) >= VOLUME_PATH_MAX)
        rc = error_set(err, COFFER_E_FORMAT, "%s: the mount does not say of which folder it is",
                       life->path);
    else if (json_object_get(reply, "volume") == NULL)
        rc = error_set(err, COFFER_E_REFUSED,
                       "%s is mounted with a passphrase, of a folder outside the keyring; coffer "
                       "volume import brings it in",
                       life->path);
    else if (json_is_true(json_object_get(reply, "read_only")))
        rc = error_set(err, COFFER_E_REFUSED,
                       "%s is mounted read-only: unmount it, or mount it for writing", life->path);
    else
        memcpy(lower, text, strlen(text) + 1);
    json_decref(reply);
    return rc;
}

/* Until it is ours or somebody serves it. */
static int
find_site(struct life *life, char lower[VOLUME_PATH_MAX], struct coffer_error *err)
{
    bool said = false;

    for (;;) {
        char *absolute;
        int rc = ask_mount(life, lower, err);

        if (rc != COFFER_E_NOTFOUND) {
            life->online = rc == COFFER_OK;
            return rc;
        }
        absolute = realpath(life->path, NULL);
        if (absolute == NULL)
            return error_set(err,
                             errno == ENOENT || errno == ENOTDIR ? COFFER_E_NOTFOUND : COFFER_E_IO,
                             "%s: %s", life->path, strerror(errno));
        if (strlen(absolute) < VOLUME_PATH_MAX)
            memcpy(lower, absolute, strlen(absolute) + 1);
        else
            rc = error_set(err, COFFER_E_LIMIT, "%s: the path is too long", life->path);
        free(absolute);
        if (rc == COFFER_E_LIMIT)
            return rc;
        rc = volume_lower_lock(lower, &life->lock, err);
        if (rc != COFFER_E_CONFLICT)
            return rc;
        if (life->options == NULL || life->options->no_wait)
            return error_set(err, COFFER_E_NOTYET,
                             "another command works on %s, or it is being mounted", lower);
        if (!said)
            life_say(life, "wait", "another command works on %s, or it is being mounted", lower);
        said = true;
        if (life_stopped(life))
            return error_set(err, COFFER_E_CANCELLED,
                             "stopped while waiting for %s; nothing was done", lower);
        life->env->os->sleep_ms(life->env->os, LOCK_WAIT_MS);
    }
}

int
life_open(struct life *life, const struct volume_env *env,
          const struct volume_rotate_options *options, const char *path, struct coffer_error *err)
{
    char lower[VOLUME_PATH_MAX];
    int rc;

    memset(life, 0, sizeof *life);
    life->env = env;
    life->options = options;
    life->path = path;
    life->lock = -1;
    rc = find_site(life, lower, err);
    if (rc == COFFER_OK)
        rc = env->store->load(env->store, &life->keyring, err);
    if (rc == COFFER_OK)
        rc = volume_setup_load(lower, life->keyring, false, &life->setup, err);
    if (rc == COFFER_OK && life->setup.importing)
        rc = error_set(err, COFFER_E_REFUSED,
                       "the import of %s has not ended: files may be under a passphrase; coffer "
                       "volume import goes on",
                       lower);
    if (rc == COFFER_OK &&
        !life->online) { /* what a crash left is put right before anything is looked at */
        struct volume *volume;

        rc = life_volume(life, &volume, err);
        if (rc == COFFER_OK)
            rc = volume_recover(life->setup.lower, life->setup.format, volume, err);
    }
    if (rc != COFFER_OK)
        life_close(life);
    return rc;
}

void
life_close(struct life *life)
{
    life_volume_close(life);
    volume_setup_close(&life->setup);
    memset(&life->setup, 0, sizeof life->setup);
    keyring_free(life->keyring);
    life->keyring = NULL;
    if (life->lock >= 0)
        close(life->lock);
    life->lock = -1;
}

/* ---- changes ---- */

int
life_change(struct life *life, const char *event, uint32_t key_id, keyring_change change, void *arg,
            struct coffer_error *err)
{
    struct keyring *newest = NULL;
    char details[128], id[37], key[32] = "";
    int rc;

    uuid_format(&life->setup.id, id);
    if (key_id != 0)
        snprintf(key, sizeof key, "\"key\":\"%08x\",", (unsigned)key_id);
    snprintf(details, sizeof details, "{%s\"volume\":\"%s\"}", key, id);
    rc = audit_change(life->env->store, life->env->os, life->env->who, event, details, change, arg,
                      &newest, err);
    if (rc != COFFER_OK)
        return rc;
    keyring_free(life->keyring);
    life->keyring = newest;
    life_volume_close(life);
    return volume_setup_refresh(&life->setup, newest, err);
}

int
life_save(struct life *life, struct coffer_error *err)
{
    life_volume_close(life);
    return volume_setup_save(&life->setup, life->keyring, err);
}

static bool
listed(const json_t *list, const char *name)
{
    const json_t *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        if (json_is_string(item) && strcmp(json_string_value(item), name) == 0)
            return true;
    }
    return false;
}

/* What the mount now does must be what the keyring says: it could read another keyring file. */
static int
check_reloaded(struct life *life, const json_t *reply, struct coffer_error *err)
{
    const char *writes = json_string_value(json_object_get(reply, "writes"));
    const json_t *opens = json_object_get(reply, "opens");
    const struct volume_key_set *keys = &life->setup.keys;
    size_t i;

    for (i = 0; i < keys->count; i++) {
        if (!listed(opens, keys->keys[i].name))
            return error_set(
                err, COFFER_E_CONFLICT,
                "the mount of %s does not hold key %08x: does it read another keyring?",
                life->setup.lower, (unsigned)keys->keys[i].id);
    }
    if (keys->count > 0 && (writes == NULL || strcmp(writes, keys->keys[0].name) != 0))
        return error_set(err, COFFER_E_CONFLICT, "the mount of %s does not write under key %08x",
                         life->setup.lower, (unsigned)keys->keys[0].id);
    for (i = 0; i < life->retiring_count; i++) {
        const struct keyring_key *key = keyring_key(life->keyring, life->retiring[i].id);

        if (key != NULL && key->state >= KEY_FENCED && listed(opens, life->retiring[i].name))
            return error_set(err, COFFER_E_CONFLICT,
                             "the mount of %s still holds the fenced key %08x", life->setup.lower,
                             (unsigned)key->id);
    }
    return COFFER_OK;
}

int
life_reload(struct life *life, struct coffer_error *err)
{
    json_t *reply = NULL;
    int rc;

    if (!life->online)
        return COFFER_OK;
    rc = life_call(life, "reload", NULL, &reply, err);
    if (rc == COFFER_OK)
        rc = check_reloaded(life, reply, err);
    json_decref(reply);
    return rc;
}

int
life_volume(struct life *life, struct volume **out, struct coffer_error *err)
{
    int rc = COFFER_OK;

    if (life->volume == NULL)
        rc = volume_setup_open(&life->setup, &life->volume, err);
    *out = life->volume;
    return rc;
}

void
life_volume_close(struct life *life)
{
    if (life->volume != NULL)
        life->setup.format->close(life->volume);
    life->volume = NULL;
}
