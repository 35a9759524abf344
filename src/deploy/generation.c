/* SPDX-License-Identifier: Apache-2.0 */
/* A generation of a database from its folder to a server that answers: what creation and the rotations that build anew share. */
#include "deploy/generation.h"

#include "base/error.h"
#include "volume/lifecycle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int
folder(const char *path, mode_t mode, struct coffer_error *err)
{
    if (mkdir(path, mode) != 0 && errno != EEXIST)
        return error_set(err, COFFER_E_IO, "%s: %s", path, strerror(errno));
    return COFFER_OK;
}

/* Every folder above the volume must let the engine's account pass. */
static int
check_passable(const struct database_place *place, struct coffer_error *err)
{
    char path[DEPLOY_PATH_MAX];
    struct stat st;
    char *slash;

    if (place->place.uid == 0)
        return COFFER_OK;
    (void)snprintf(path, sizeof path, "%s", place->database.folder);
    while ((slash = strrchr(path, '/')) != NULL && slash != path) {
        if (stat(path, &st) == 0 && (st.st_mode & 0001) == 0)
            return error_set(err, COFFER_E_REFUSED,
                             "the account %s, as which %s runs, cannot pass %s: chmod o+x it, or "
                             "put the state folder elsewhere",
                             place->engine->account, place->engine->title, path);
        *slash = '\0';
    }
    return COFFER_OK;
}

int
generation_folder(struct deploy *deploy, const struct database_place *place,
                  struct coffer_error *err)
{
    mode_t pass = deploy->root ? 0711 : 0700;
    char path[DEPLOY_PATH_MAX + 16];
    int rc = folder(place->database.folder, pass, err);

    (void)snprintf(path, sizeof path, "%s/%u", place->database.folder, place->generation);
    if (rc == COFFER_OK)
        rc = folder(path, pass, err);
    if (rc == COFFER_OK)
        rc = folder(place->lower, 0700, err);
    if (rc == COFFER_OK && !run_mounted(place))
        rc = folder(place->mount, 0700, err);
    return rc == COFFER_OK ? check_passable(place, err) : rc;
}

/* ---- its volume ---- */

struct policy {
    const char *name; /* of the volume in the keyring */
    struct uuid id;
    bool found;
};

/* Of the lower folder nobody makes backups: those of databases are of what is inside.  So no promise outlives a proof. */
static int
change_policy(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct policy *policy = arg;

    policy->found = false;
    for (size_t i = 0; i < keyring_database_count(kr); i++) {
        struct keyring_database known = *keyring_database_at(kr, i);

        if (strcmp(known.name, policy->name) != 0)
            continue;
        policy->id = known.id;
        policy->found = true;
        known.keep_days = 0;
        return keyring_database_put(kr, &known, err);
    }
    return error_set(err, COFFER_E_NOTFOUND, "the keyring does not know %s", policy->name);
}

int
generation_volume(struct deploy *deploy, const struct database_place *place, const char *who,
                  struct coffer_error *err)
{
    struct volume_env env = {.store = deploy->store, .os = deploy->os, .who = who};
    struct volume_options options = {.key_bits = place->key_bits};
    char name[KEYRING_NAME_MAX], id[37];
    struct policy policy = {.name = name};
    int rc = COFFER_OK;

    if (place->volume[0] != '\0')
        return COFFER_OK;
    rc = volume_create(&env, place->lower, &options, err);
    if (rc == COFFER_E_EXISTS) /* by a run that died before it was written down */
        rc = COFFER_OK;
    (void)snprintf(name, sizeof name, "volume:%.180s", place->lower);
    if (rc == COFFER_OK)
        rc = keyring_store_edit(deploy->store, change_policy, &policy, NULL, err);
    if (rc != COFFER_OK)
        return rc;
    uuid_format(&policy.id, id);
    return state_run(deploy, err,
                     "UPDATE generations SET volume = ? WHERE database = ? AND generation = ?",
                     "ssi", id, place->database.id, (int64_t)place->generation);
}

/* ---- away with it ---- */

int
generation_remove(struct deploy *deploy, const struct database_place *place,
                  struct coffer_error *err)
{
    struct process_spec spec = {0};
    char path[DEPLOY_PATH_MAX + 16];
    struct stat st;
    int rc = run_stop_server(deploy, place, err);

    if (rc == COFFER_OK)
        rc = run_unmount(deploy, place, err);
    if (rc == COFFER_OK && run_mounted(place))
        rc = error_set(err, COFFER_E_CONFLICT, "%s is still mounted", place->mount);
    (void)snprintf(path, sizeof path, "%s/%u", place->database.folder, place->generation);
    if (rc != COFFER_OK || lstat(path, &st) != 0)
        return rc;
    process_spec_clear(&spec);
    rc = process_arg(&spec, err, "/bin/rm");
    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "-rf");
    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "--one-file-system");
    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "--");
    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "%s", path);
    if (rc == COFFER_OK)
        rc = process_run(&spec, bytes_of(NULL, 0), NULL, NULL, NULL, err);
    process_spec_clear(&spec);
    return rc;
}
