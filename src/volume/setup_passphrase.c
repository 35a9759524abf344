/* SPDX-License-Identifier: Apache-2.0 */
/* A folder of eCryptfs from elsewhere: the keys that its passphrase gives. */
#include "base/mem.h"
#include "volume/ecryptfs/ecryptfs.h"
#include "volume/setup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_MAX 100000 /* entries looked at for an encrypted name */
#define DEPTH_MAX 64

/* The signature of the first encrypted name in the tree below `fd`, which is closed. */
static bool
find_signature(int fd, unsigned depth, unsigned *budget, char signature[VOLUME_KEY_NAME + 1])
{
    DIR *dir = fdopendir(fd);
    struct dirent *entry;
    bool found = false;

    if (dir == NULL) {
        close(fd);
        return false;
    }
    while (!found && *budget > 0 && (entry = readdir(dir)) != NULL) {
        (*budget)--;
        found = ecryptfs_name_signature(bytes_str(entry->d_name), signature);
    }
    rewinddir(dir);
    while (!found && depth > 0 && *budget > 0 && (entry = readdir(dir)) != NULL) {
        int sub;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            (entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN))
            continue;
        sub = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub >= 0)
            found = find_signature(sub, depth - 1, budget, signature);
    }
    closedir(dir);
    return found;
}

static int
key_make(const struct volume_format *format, struct bytes passphrase, struct bytes salt, struct volume_key_set *to,
         struct coffer_error *err)
{
    struct coffer_error why = {0};
    struct volume_key key = {0};

    if (format->key_set(passphrase, salt, &key, &why) != 0)
        return error_set(err, why.status != COFFER_OK ? why.status : COFFER_E_NOMEM, "%s", why.message);
    to->keys[to->count++] = key;
    return COFFER_OK;
}

/* Both keys that the utilities make names with; the one that the folder's names bear is first. */
static int
take_names(struct bytes passphrase, struct bytes salt, struct volume_setup *setup, struct coffer_error *err)
{
    char signature[VOLUME_KEY_NAME + 1] = "";
    unsigned budget = LOOK_MAX;
    int fd = open(setup->lower, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool found = fd >= 0 && find_signature(fd, DEPTH_MAX, &budget, signature);
    struct volume_key swap;
    int rc = key_make(setup->format, passphrase, salt, &setup->names, err);

    if (rc == COFFER_OK)
        rc = key_make(setup->format, passphrase, ecryptfs_name_salt(), &setup->names, err);
    if (rc != COFFER_OK || !found || strcmp(setup->names.keys[0].name, signature) == 0)
        return rc;
    if (strcmp(setup->names.keys[1].name, signature) != 0)
        return error_set(err, COFFER_E_KEY, "the names in %s are under key %s, which this passphrase does not give", setup->lower,
                         signature);
    swap = setup->names.keys[0];
    setup->names.keys[0] = setup->names.keys[1];
    setup->names.keys[1] = swap;
    return COFFER_OK;
}

int
volume_setup_passphrase(const char *lower, const struct volume_format *format, struct bytes passphrase, struct bytes salt,
                        const struct volume_options *options, struct volume_setup *out, struct coffer_error *err)
{
    char *path = realpath(lower, NULL);
    struct stat st;
    int rc = COFFER_OK;

    *out = (struct volume_setup){.format = format, .options = *options};
    if (path == NULL || stat(path, &st) != 0)
        rc = error_set(err, errno == ENOENT || errno == ENOTDIR ? COFFER_E_NOTFOUND : COFFER_E_IO, "%s: %s", lower,
                       strerror(errno));
    else if (!S_ISDIR(st.st_mode))
        rc = error_set(err, COFFER_E_NOTFOUND, "%s is no folder", lower);
    else if (strlen(path) >= VOLUME_PATH_MAX)
        rc = error_set(err, COFFER_E_LIMIT, "the path %.200s… is too long", path);
    else
        strcpy(out->lower, path);
    free(path);
    if (rc == COFFER_OK)
        rc = key_make(format, passphrase, salt, &out->keys, err);
    if (rc == COFFER_OK && options->encrypt_names)
        rc = take_names(passphrase, salt, out, err);
    if (rc != COFFER_OK)
        volume_setup_close(out);
    return rc;
}
