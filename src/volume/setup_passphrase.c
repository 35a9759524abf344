/* SPDX-License-Identifier: Apache-2.0 */
/* A folder that a kernel wrote, or whoever else had a passphrase.  It says nothing of itself, so some of its files and names are
 * looked at: a wrong passphrase or cipher is refused here, instead of a mount that looks empty. */
#include "volume/ecryptfs/ecryptfs.h"
#include "volume/record.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOOK_ENTRIES                                                                               \
    20000 /* at most; a folder whose first names are all plain is taken for a plain one */
#define LOOK_FILES 16 /* with a header, that is enough */
#define LOOK_OPENED 256

/* What was found by looking. */
struct look {
    const struct volume_setup *setup;
    struct volume *volume;
    unsigned opened, files, ours;      /* files looked at; with a header; under the key */
    char plain[256];                   /* the first that is none of eCryptfs's */
    char foreign[VOLUME_KEY_NAME + 1]; /* the key of the first that is not ours */
    struct volume_file_info first;     /* file */
    char name_key[VOLUME_KEY_NAME + 1];
    char name[VOLUME_NAME_MAX + 1]; /* the first encrypted one */
};

static void
look_at_file(struct look *look, const char *path)
{
    struct volume_file_info info;
    struct lower *lower;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    bool ours = false;

    if (fd < 0)
        return;
    if (lower_fd_open(fd, &lower, NULL) != 0) {
        close(fd);
        return;
    }
    look->opened++;
    if (look->setup->format->file_info(look->volume, lower, &info, NULL) != 0) {
        if (look->plain[0] == '\0')
            (void)snprintf(look->plain, sizeof look->plain, "%s", path);
    } else if (!info.empty && info.key_count > 0) {
        for (unsigned i = 0; i < info.key_count && i < 4; i++)
            ours = ours || strcmp(info.keys[i], look->setup->keys.keys[0].name) == 0;
        if (look->files++ == 0)
            look->first = info;
        look->ours += ours;
        if (!ours && look->foreign[0] == '\0')
            memcpy(look->foreign, info.keys[0], sizeof look->foreign);
    }
    lower->ops->close(lower);
}

static int
look_around(struct look *look, struct coffer_error *err)
{
    char *const paths[] = {(char *)(uintptr_t)look->setup->lower, NULL};
    unsigned entries = 0;
    FTSENT *entry;
    FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);

    if (walk == NULL)
        return error_set(err, errno == ENOMEM ? COFFER_E_NOMEM : COFFER_E_IO, "%s: %s",
                         look->setup->lower, strerror(errno));
    while ((entry = fts_read(walk)) != NULL && entries++ < LOOK_ENTRIES) {
        if (entry->fts_level == 0 || entry->fts_info == FTS_DP)
            continue;
        if (look->name[0] == '\0' && strlen(entry->fts_name) <= VOLUME_NAME_MAX &&
            ecryptfs_name_signature(bytes_str(entry->fts_name), look->name_key))
            memcpy(look->name, entry->fts_name, strlen(entry->fts_name) + 1);
        if (entry->fts_info == FTS_F && look->files < LOOK_FILES && look->opened < LOOK_OPENED &&
            strncmp(entry->fts_name, ".coffer", 7) != 0)
            look_at_file(look, entry->fts_path);
        if (look->files >= LOOK_FILES && look->name[0] != '\0')
            break;
    }
    fts_close(walk);
    return COFFER_OK;
}

static int
add_key(const struct volume_format *format, struct bytes passphrase, struct bytes salt,
        struct volume_key_set *to, struct coffer_error *err)
{
    struct coffer_error why = {0};
    struct volume_key key = {0};

    if (format->key_set(passphrase, salt, &key, &why) != 0)
        return error_set(err, why.status != COFFER_OK ? why.status : COFFER_E_NOMEM, "%s",
                         why.message);
    to->keys[to->count++] = key;
    return COFFER_OK;
}

/* Both keys that the utilities make names with; the one that the names of the folder bear is first. */
static int
take_name_keys(struct volume_setup *setup, const struct look *look, struct bytes passphrase,
               struct bytes salt, struct coffer_error *err)
{
    struct volume_key *keys = setup->names.keys, swap;
    int rc = add_key(setup->format, passphrase, salt, &setup->names, err);

    if (rc == COFFER_OK)
        rc = add_key(setup->format, passphrase, ecryptfs_name_salt(), &setup->names, err);
    if (rc != COFFER_OK || look->name[0] == '\0' || strcmp(keys[0].name, look->name_key) == 0)
        return rc;
    if (strcmp(keys[1].name, look->name_key) != 0)
        return error_set(err, COFFER_E_KEY,
                         "the names in %s are under key %s, which this passphrase does not give "
                         "(it gives %s and %s)",
                         setup->lower, look->name_key, keys[0].name, keys[1].name);
    swap = keys[0];
    keys[0] = keys[1];
    keys[1] = swap;
    return COFFER_OK;
}

static int
take_forms(struct volume_setup *setup, const struct look *look, struct coffer_error *err)
{
    struct volume_options *options = &setup->options;
    bool aes = strncmp(look->first.cipher, "aes-", 4) == 0;
    const char *found;
    char wanted[16];

    if (look->name[0] != '\0' && !options->encrypt_names)
        return error_set(err, COFFER_E_REFUSED,
                         "names in %s are encrypted (%.40s…): say --encrypt-names", setup->lower,
                         look->name);
    found = look->name[0] == '\0'
                ? NULL
                : ecryptfs_name_cipher(bytes_str(look->name), look->first.key_bits);
    if (found != NULL && strncmp(found, "aes-", 4) == 0) {
        snprintf(wanted, sizeof wanted, "aes-%u", options->key_bits);
        if (options->key_bits != 0 && options->name_key_bits == 0 && strcmp(wanted, found) != 0)
            return error_set(err, COFFER_E_REFUSED,
                             "names in %s are under %s, not %s: say --cipher %s", setup->lower,
                             found, wanted, found);
        sscanf(found, "aes-%u", &options->name_key_bits);
    } else if (found != NULL && options->name_cipher == NULL) {
        options->name_cipher = found;
    }
    if (options->key_bits == 0)
        options->key_bits = aes ? look->first.key_bits : options->name_key_bits;
    if (options->key_bits == 0)
        options->key_bits = 256;
    /* A kernel shows names that are not encrypted as they are, among those that are. */
    options->mixed_names = options->encrypt_names;
    return COFFER_OK;
}

int
volume_setup_passphrase(const char *lower, const struct volume_format *format,
                        struct bytes passphrase, struct bytes salt,
                        const struct volume_options *options, struct volume_setup *out,
                        struct coffer_error *err)
{
    struct volume_options plain = {.key_bits = 256};
    struct look look = {.setup = out};
    int rc;

    memset(out, 0, sizeof *out);
    out->format = format;
    out->options = *options;
    rc = volume_lower_find(lower, out->lower, err);
    if (rc == COFFER_OK)
        rc = add_key(format, passphrase, salt, &out->keys, err);
    if (rc == COFFER_OK && format->open(&plain, out->keys.keys, 1, NULL, 0, &look.volume, err) != 0)
        rc = error_set(err, COFFER_E_NOMEM, "out of memory");
    if (rc == COFFER_OK)
        rc = look_around(&look, err);
    if (rc == COFFER_OK && look.files > 0 && look.ours == 0)
        rc = error_set(
            err, COFFER_E_KEY,
            "the files in %s are under key %s, which this passphrase does not give (it gives %s)",
            out->lower, look.foreign, out->keys.keys[0].name);
    if (rc == COFFER_OK && look.files == 0 && look.plain[0] != '\0' && !options->plain_passthrough)
        rc = error_set(err, COFFER_E_FORMAT,
                       "%s is no file of eCryptfs, and no other was found in %s: is it the lower "
                       "folder?  A copy without "
                       "extended attributes may have lost what --xattr-metadata had put there",
                       look.plain, out->lower);
    if (rc == COFFER_OK)
        rc = take_forms(out, &look, err);
    if (rc == COFFER_OK && out->options.encrypt_names)
        rc = take_name_keys(out, &look, passphrase, salt, err);
    if (look.volume != NULL)
        format->close(look.volume);
    if (rc != COFFER_OK)
        volume_setup_close(out);
    return rc;
}
