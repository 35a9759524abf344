/* SPDX-License-Identifier: Apache-2.0 */
/* A new volume: database record and key in the keyring, in one change, then the record in the folder.
 *
 * Who dies in between leaves a volume in the keyring that no folder bears; the same command, or any that makes a volume there,
 * takes it up again: the path tells.
 */
#include "volume/lifecycle_internal.h"
#include "volume/register.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int
check_empty(const char *lower, struct coffer_error *err)
{
    const struct dirent *entry;
    DIR *folder = opendir(lower);
    int rc = COFFER_OK;

    if (folder == NULL)
        return error_set(err, errno == ENOENT || errno == ENOTDIR ? COFFER_E_NOTFOUND : COFFER_E_IO,
                         "%s: %s", lower, strerror(errno));
    while (rc == COFFER_OK && (entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, VOLUME_RECORD) == 0)
            rc = error_set(err, COFFER_E_EXISTS, "%s is a volume already", lower);
    }
    rewinddir(folder);
    while (rc == COFFER_OK && (entry = readdir(folder)) != NULL) {
        /* Coffer's own are what an earlier try left. */
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            strncmp(entry->d_name, VOLUME_RECORD, strlen(VOLUME_RECORD)) != 0)
            rc = error_set(
                err, COFFER_E_REFUSED,
                "%s is not empty (%.100s): make a volume of an empty folder and copy the files "
                "into its mount, or bring an eCryptfs folder in with coffer volume import",
                lower, entry->d_name);
    }
    closedir(folder);
    return rc;
}

int
volume_create(const struct volume_env *env, const char *lower, const struct volume_options *options,
              struct coffer_error *err)
{
    struct volume_setup setup = {.format = &volume_ecryptfs, .options = *options};
    struct keyring *newest = NULL;
    char *absolute = realpath(lower, NULL);
    char details[160], id[37];
    int rc, lock = -1;

    if (absolute == NULL)
        return error_set(err, errno == ENOENT || errno == ENOTDIR ? COFFER_E_NOTFOUND : COFFER_E_IO,
                         "%s: %s", lower, strerror(errno));
    rc = check_empty(absolute, err);
    if (rc == COFFER_OK && strlen(absolute) >= sizeof setup.lower)
        rc = error_set(err, COFFER_E_LIMIT, "the path %.200s… is too long", absolute);
    if (rc == COFFER_OK)
        rc = volume_lower_lock(absolute, &lock, err);
    if (rc == COFFER_OK)
        rc = check_empty(absolute, err); /* under the lock: of two at once, one makes it */
    if (rc != COFFER_OK)
        goto out;
    if (setup.options.key_bits == 0)
        setup.options.key_bits = 256;
    snprintf(details, sizeof details, "{\"cipher\":\"aes-%u\",\"encrypt_names\":%s}",
             setup.options.key_bits, setup.options.encrypt_names ? "true" : "false");
    snprintf(setup.lower, sizeof setup.lower, "%s", absolute);
    rc = volume_register(env, "volume.create", details, &setup, &newest, err);
    if (rc == COFFER_OK)
        rc = volume_setup_save(&setup, newest, err);
    if (rc == COFFER_OK && env->say != NULL) {
        char text[96];

        uuid_format(&setup.id, id);
        snprintf(text, sizeof text, "volume %s, files under aes-%u", id, setup.options.key_bits);
        env->say(env->arg, "create", text);
    }
out:
    keyring_free(newest);
    free(absolute);
    if (lock >= 0)
        close(lock);
    return rc;
}
