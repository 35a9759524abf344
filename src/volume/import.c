/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/import.h"

#include "volume/ecryptfs/ecryptfs.h"
#include "volume/fuse/mount.h"
#include "volume/record.h"
#include "volume/register.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct work {
    const struct volume_env *env;
    struct volume_import *import;
    struct keyring *keyring;
    struct volume_setup setup; /* of the volume; its keys end with those of the passphrase */
    struct volume *volume;
    int lock;
};

static void
say(const struct work *work, const char *step, const char *text)
{
    if (work->env->say != NULL)
        work->env->say(work->env->arg, step, text);
}

/* ---- the beginning ---- */

/* The forms come from what is there; then the keyring's part, then the record. */
static int
begin(struct work *work, const char *lower, struct coffer_error *err)
{
    const struct volume_env *env = work->env;
    const struct volume_import *import = work->import;
    struct volume_setup found;
    struct keyring *newest = NULL;
    char details[160];
    int rc = volume_setup_passphrase(lower, &volume_ecryptfs, import->passphrase, import->salt,
                                     &import->options, &found, err);

    if (rc != COFFER_OK)
        return rc;
    work->setup.options = found.options;
    work->setup.options.mixed_names = false;
    volume_setup_close(&found);
    work->setup.format = &volume_ecryptfs;
    snprintf(details, sizeof details, "{\"cipher\":\"aes-%u\",\"encrypt_names\":%s}", work->setup.options.key_bits,
             work->setup.options.encrypt_names ? "true" : "false");
    rc = volume_register(env, "volume.import", details, &work->setup, &newest, err);
    if (rc != COFFER_OK)
        return rc;
    keyring_free(work->keyring);
    work->keyring = newest;
    work->setup.importing = true;
    return volume_setup_save(&work->setup, work->keyring, err);
}

/* ---- keys ---- */

static int
add_key(const struct work *work, struct bytes salt, struct volume_key_set *to,
        struct coffer_error *err)
{
    struct coffer_error why = {0};
    struct volume_key key = {0};

    if (to->count == VOLUME_KEYS_MAX)
        return error_set(err, COFFER_E_LIMIT, "too many keys of one volume");
    if (volume_ecryptfs.key_set(work->import->passphrase, salt, &key, &why) != 0)
        return error_set(err, why.status != COFFER_OK ? why.status : COFFER_E_NOMEM, "%s",
                         why.message);
    to->keys[to->count++] = key;
    return COFFER_OK;
}

/* The keyring's keys, the active one first, then what the passphrase gives for files and for names. */
static int
open_both(struct work *work, struct coffer_error *err)
{
    struct volume_setup *setup = &work->setup;
    char lower[VOLUME_PATH_MAX];
    int rc;

    memcpy(lower, setup->lower, sizeof lower);
    volume_setup_close(setup);
    rc = volume_setup_load(lower, work->keyring, false, setup, err);
    if (rc == COFFER_OK)
        rc = add_key(work, work->import->salt, &setup->keys, err);
    if (rc == COFFER_OK)
        rc = add_key(work, work->import->salt, &setup->names, err);
    if (rc == COFFER_OK)
        rc = add_key(work, ecryptfs_name_salt(), &setup->names, err);
    /* A kernel shows names that are not encrypted among those that are; they come to be like the others. */
    setup->options.mixed_names = setup->options.encrypt_names;
    if (rc == COFFER_OK)
        rc = volume_lower_crashed(setup->lower, &setup->options.after_crash, err);
    if (rc == COFFER_OK)
        rc = volume_setup_open(setup, &work->volume, err);
    return rc == COFFER_OK ? volume_recover(setup->lower, setup->format, work->volume, err) : rc;
}

/* ---- the walk, and the end ---- */

static int
walk(struct work *work, struct coffer_error *err)
{
    const struct volume_env *env = work->env;
    struct volume_walk_options options = {.work = VOLUME_REWRAP,
                                          .names = true,
                                          .stop = env->stop,
                                          .progress = env->progress,
                                          .arg = env->arg};
    struct volume_progress *progress = &work->import->progress;
    int rc =
        volume_walk(work->setup.lower, work->setup.format, work->volume, &options, progress, err);

    if (rc == COFFER_OK && progress->failed > 0)
        rc = error_set(err, COFFER_E_REFUSED,
                       "%llu file%s could not be taken over: %.250s.  If this is not the passphrase "
                       "that the import was begun with, give that one: the files are as they were.  "
                       "Otherwise coffer volume check names what is damaged; the same command then "
                       "goes on",
                       (unsigned long long)progress->failed, progress->failed == 1 ? "" : "s",
                       progress->failure);
    return rc;
}

struct find {
    char path[400];
};

static void
on_find(void *arg, const char *path, const char *what)
{
    struct find *find = arg;

    (void)what;
    if (find->path[0] == '\0')
        (void)snprintf(find->path, sizeof find->path, "%s", path);
}

/* Nothing may be left under another key than the keyring's: only then does the passphrase cease to matter. */
static int
check_all(struct work *work, struct coffer_error *err)
{
    struct volume_count *count = &work->import->count;
    const char *ours = work->setup.keys.keys[0].name, *other = NULL;
    struct find find = {""};
    int rc = volume_scan(work->setup.lower, NULL, work->setup.format, work->volume, NULL, NULL,
                         NULL, count, err);

    for (size_t i = 0; rc == COFFER_OK && i < count->key_count; i++)
        if (strcmp(count->keys[i].key, ours) != 0)
            other = count->keys[i].key;
    if (rc != COFFER_OK || other == NULL)
        return rc;
    rc = volume_scan(work->setup.lower, NULL, work->setup.format, work->volume, other, on_find,
                     &find, count, err);
    return rc != COFFER_OK
               ? rc
               : error_set(
                     err, COFFER_E_REFUSED,
                     "%.300s is under key %s still, which is not the passphrase's: the folder is "
                     "under "
                     "several, and this can be taken over only with the others' files elsewhere",
                     find.path, other);
}

static int
run(struct work *work, const char *lower, struct coffer_error *err)
{
    const struct volume_env *env = work->env;
    struct coffer_error why = {0};
    int rc = env->store->load(env->store, &work->keyring, err);

    if (rc == COFFER_OK)
        rc = volume_lower_find(lower, work->setup.lower, err);
    if (rc == COFFER_OK)
        rc = volume_lower_lock(work->setup.lower, &work->lock, err);
    if (rc != COFFER_OK)
        return rc;
    rc = volume_record_read(work->setup.lower, work->keyring, &work->setup, &why);
    if (rc == COFFER_E_NOTFOUND) {
        rc = begin(work, lower, err);
        if (rc == COFFER_OK)
            say(work, "begin", "the keyring has a key for it; headers are moved to that one");
    } else if (rc != COFFER_OK) {
        rc = error_set(err, rc, "%s", why.message);
    } else if (!work->setup.importing) {
        rc = error_set(err, COFFER_E_EXISTS, "%s is a volume of this keyring already",
                       work->setup.lower);
    } else {
        work->import->resumed = true;
        say(work, "resume", "going on where an earlier run stopped");
    }
    if (rc == COFFER_OK)
        rc = open_both(work, err);
    if (rc == COFFER_OK)
        rc = walk(work, err);
    if (rc == COFFER_OK)
        rc = check_all(work, err);
    if (rc == COFFER_OK) {
        work->setup.importing = false;
        work->setup.options.mixed_names = false;
        rc = volume_setup_save(&work->setup, work->keyring, err);
    }
    return rc;
}

int
volume_import(const struct volume_env *env, const char *lower, struct volume_import *import,
              struct coffer_error *err)
{
    struct work work = {.env = env, .import = import, .lock = -1};
    int rc = run(&work, lower, err);

    if (work.volume != NULL)
        volume_ecryptfs.close(work.volume);
    volume_setup_close(&work.setup);
    keyring_free(work.keyring);
    if (work.lock >= 0)
        close(work.lock);
    return rc;
}
