/* SPDX-License-Identifier: Apache-2.0 */
/* Walks until one finds nothing to move: in the mount's process if there is one, else here. */
#include "volume/lifecycle_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define POLL_MS 250
#define PASSES_MAX 1000 /* a volume in use is moved in two or three; more is an error of ours */

static enum volume_work
work_of(const struct life *life)
{
    return life->setup.rotation.work == VOLUME_REENCRYPT ? VOLUME_REENCRYPT : VOLUME_REWRAP;
}

/* Plain ones that stay so are under no key. */
static bool
names_move(const struct life *life)
{
    return life->setup.options.encrypt_names || life->setup.rotation.former_encrypt_names;
}

static void
show(const struct life *life, const struct volume_progress *progress)
{
    if (life->env->progress != NULL)
        life->env->progress(life->env->arg, progress);
}

/* ---- here ---- */

static bool
on_stop(void *arg)
{
    return life_stopped(arg);
}

static void
on_progress(void *arg, const struct volume_progress *progress)
{
    show(arg, progress);
}

static void
on_damage(void *arg, const char *path, const char *message)
{
    life_say(arg, "damage", "%s: %s", path, message);
}

static int
walk_here(struct life *life, struct volume_progress *progress, struct coffer_error *err)
{
    struct volume_walk_options options = {.work = work_of(life),
                                          .names = names_move(life),
                                          .pace = life->options->pace,
                                          .stop = on_stop,
                                          .progress = on_progress,
                                          .damage = on_damage,
                                          .arg = life};
    struct volume *volume;
    int rc = life_volume(life, &volume, err);

    return rc == COFFER_OK
               ? volume_walk(life->setup.lower, life->setup.format, volume, &options, progress, err)
               : rc;
}

/* ---- in the mount ---- */

static int
look(struct life *life, bool *known, struct volume_progress *progress, struct coffer_error *err)
{
    json_t *reply = NULL;
    const json_t *walk;
    int rc = life_call(life, "status", NULL, &reply, err);

    if (rc != COFFER_OK)
        return rc;
    walk = json_object_get(reply, "walk");
    *known = json_is_object(walk);
    if (*known)
        life_progress_read(walk, progress);
    json_decref(reply);
    return COFFER_OK;
}

static int
start_there(struct life *life, struct coffer_error *err)
{
    json_t *pace = life_pace_json(&life->options->pace);
    json_t *request = pace == NULL
                          ? NULL
                          : json_pack("{s:s,s:b,s:o}", "work",
                                      work_of(life) == VOLUME_REWRAP ? "rewrap" : "reencrypt",
                                      "names", (int)names_move(life), "pace", pace);

    return request == NULL ? error_nomem(err) : life_call(life, "walk", request, NULL, err);
}

static int
wait_there(struct life *life, struct volume_progress *progress, struct coffer_error *err)
{
    bool known = false, paused = false;
    int rc;

    for (;;) {
        rc = look(life, &known, progress, err);
        if (rc != COFFER_OK)
            return rc;
        if (!known) /* another mount than the one that was asked */
            return error_set(err, COFFER_E_LOST,
                             "%s was mounted anew meanwhile; the same command goes on", life->path);
        show(life, progress);
        if (progress->ended)
            return progress->status == COFFER_OK
                       ? COFFER_OK
                       : error_set(err, progress->status, "%s", progress->error.message);
        if (progress->paused && !paused) {
            if (life->options->no_wait)
                return error_set(err, COFFER_E_NOTYET,
                                 "the walk is paused; coffer volume rotate --resume %s",
                                 life->path);
            life_say(life, "wait", "the walk is paused; coffer volume rotate --resume %s",
                     life->path);
        }
        paused = progress->paused;
        if (life_stopped(life))
            return error_set(err, COFFER_E_CANCELLED,
                             "stopped waiting; the mount goes on moving files (--pause halts it).  "
                             "The same command waits for it "
                             "and ends the rotation");
        life->env->os->sleep_ms(life->env->os, POLL_MS);
    }
}

/* A walk that an earlier command began goes on at the pace that this one asks for, if it does. */
static int
take_over_pace(struct life *life, struct coffer_error *err)
{
    const struct volume_pace *pace = &life->options->pace;
    json_t *object, *request;
    int rc;

    if (pace->bytes_per_second == 0 && pace->duty == 0 && pace->latency_ratio == 0)
        return COFFER_OK;
    object = life_pace_json(pace);
    request = object == NULL ? NULL : json_pack("{s:o}", "pace", object);
    if (request == NULL)
        return error_nomem(err);
    rc = life_call(life, "throttle", request, NULL, err);
    return rc == COFFER_E_NOTFOUND ? COFFER_OK : rc; /* it has just ended */
}

static int
walk_there(struct life *life, bool *ours, struct volume_progress *progress,
           struct coffer_error *err)
{
    bool known = false;
    int rc = look(life, &known, progress, err);

    if (rc != COFFER_OK)
        return rc;
    *ours = !known || progress->ended;
    if (*ours) {
        rc = start_there(life, err);
    } else if (life->options->no_wait) {
        rc = error_set(err, COFFER_E_NOTYET, "a walk of %s is running already", life->path);
    } else {
        life_say(life, "drain", "a walk is running already; waiting for it");
        rc = take_over_pace(life, err);
    }
    if (rc == COFFER_E_CONFLICT) { /* started by somebody else just now */
        *ours = false;
        rc = COFFER_OK;
    }
    return rc == COFFER_OK ? wait_there(life, progress, err) : rc;
}

/* ---- until nothing is left ---- */

static void
say_moved(const struct life *life, const struct volume_progress *p, double seconds)
{
    char names[64] = "";

    if (p->names_done > 0)
        snprintf(names, sizeof names, " and %" PRIu64 " name%s", p->names_done,
                 p->names_done == 1 ? "" : "s");
    if (work_of(life) == VOLUME_REWRAP)
        life_say(life, "drain", "the headers of %" PRIu64 " file%s%s are under the new key, %.1f s",
                 p->files_done, p->files_done == 1 ? "" : "s", names, seconds);
    else
        life_say(life, "drain", "%" PRIu64 " file%s%s, %.1f MB, are written anew, %.1f s",
                 p->files_done, p->files_done == 1 ? "" : "s", names, (double)p->bytes_done / 1e6,
                 seconds);
}

int
life_drain(struct life *life, struct coffer_error *err)
{
    unsigned pass, failing = 0;
    int rc;

    for (pass = 0; pass < PASSES_MAX; pass++) {
        struct volume_progress progress = {0};
        int64_t began = life->env->os->monotonic_ms(life->env->os);
        bool ours = true;

        rc = life->online ? walk_there(life, &ours, &progress, err)
                          : walk_here(life, &progress, err);
        if (rc != COFFER_OK)
            return rc;
        if (progress.files_done + progress.names_done > 0)
            say_moved(life, &progress,
                      (double)(life->env->os->monotonic_ms(life->env->os) - began) / 1e3);
        failing = progress.failed > 0 ? failing + 1 : 0;
        /* Once more: a file may have been in somebody's way just then. */
        if (failing > 1)
            return error_set(err, COFFER_E_REFUSED,
                             "%" PRIu64 " file%s could not be moved: %.250s.  Files of an older "
                             "copy open once its key is back: coffer keyring import "
                             "KEYRING.escrow/KEY.key.  What is damaged or no file of the volume, "
                             "repair or move away (coffer volume check names it).  Then give the "
                             "same command again",
                             progress.failed, progress.failed == 1 ? "" : "s", progress.failure);
        if (ours && failing == 0 && progress.files_done + progress.names_done == 0)
            return COFFER_OK;
    }
    return error_set(err, COFFER_E_CONFLICT, "%s: after %u walks there is still something to move",
                     life->setup.lower, pass);
}
