/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the eCryptfs format that a mount does not reach, as commands for tests:
 *
 *   ecryptfs_tool wrap FILE PASSPHRASE WRAPPING        writes a wrapped-passphrase file
 *   ecryptfs_tool unwrap FILE WRAPPING                 prints the passphrase of one
 *   ecryptfs_tool rewrap OLD NEW LOWER…                moves lower files to another passphrase
 *   ecryptfs_tool check BITS PASSPHRASE LOWER…         examines lower files; prints what it finds
 */
#include "volume/ecryptfs/ecryptfs.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
fail(const char *what, const struct coffer_error *err)
{
    fprintf(stderr, "ecryptfs_tool: %s: %s\n", what, err->message);
    return 1;
}

static int
wrap(const char *path, const char *passphrase, const char *wrapping)
{
    struct coffer_error err = {0};
    struct buf file;
    FILE *out;
    int rc = 1;

    buf_init(&file, ECRYPTFS_WRAPPED_MAX);
    if (ecryptfs_wrap(bytes_str(passphrase), bytes_str(wrapping), &file, &err) != COFFER_OK)
        rc = fail(path, &err);
    else if ((out = fopen(path, "wb")) != NULL) {
        rc = fwrite(file.ptr, 1, file.len, out) != file.len;
        rc |= fclose(out) != 0;
    }
    buf_wipe(&file);
    return rc;
}

static int
unwrap(const char *path, const char *wrapping)
{
    struct secret *passphrase = NULL;
    struct coffer_error err = {0};
    uint8_t file[ECRYPTFS_WRAPPED_MAX + 1];
    FILE *in = fopen(path, "rb");
    struct bytes text;
    size_t length;

    if (in == NULL)
        return 1;
    length = fread(file, 1, sizeof file, in);
    fclose(in);
    if (ecryptfs_unwrap(bytes_of(file, length), bytes_str(wrapping), (struct bytes){0}, &passphrase,
                        &err) != COFFER_OK)
        return fail(path, &err);
    text = secret_expose(passphrase);
    printf("%.*s\n", (int)text.len, (const char *)text.ptr);
    secret_free(passphrase);
    return 0;
}

static struct volume *
open_volume(const struct volume_options *options, char **passphrases, size_t count)
{
    struct volume_key keys[2] = {0};
    struct volume *volume = NULL;
    struct coffer_error err = {0};
    int rc = 0;

    for (size_t i = 0; i < count && rc == 0; i++)
        rc = volume_ecryptfs.key_set(bytes_str(passphrases[i]), (struct bytes){0}, &keys[i], &err);
    if (rc == 0)
        rc = volume_ecryptfs.open(options, keys, count, NULL, 0, &volume, &err);
    for (size_t i = 0; i < count; i++)
        secret_free(keys[i].secret);
    if (rc != 0)
        exit(fail("keys", &err));
    return volume;
}

static int
each_file(char **paths, int (*act)(struct volume *, struct lower *, const char *),
          struct volume *volume)
{
    struct coffer_error err = {0};
    struct lower *lower;
    int bad = 0;

    for (; *paths != NULL; paths++) {
        if (lower_fd_open(open(*paths, O_RDWR | O_CLOEXEC), &lower, &err) != 0) {
            bad |= fail(*paths, &err);
            continue;
        }
        bad |= act(volume, lower, *paths);
        lower->ops->close(lower);
    }
    volume_ecryptfs.close(volume);
    return bad;
}

static int
rewrap(struct volume *volume, struct lower *lower, const char *path)
{
    struct coffer_error err = {0};
    bool changed;

    if (volume_ecryptfs.file_rewrap(volume, lower, &changed, &err) != 0)
        return fail(path, &err);
    if (!changed) {
        fprintf(stderr, "ecryptfs_tool: %s: nothing to do\n", path);
        return 1;
    }
    return 0;
}

static void
report(void *arg, enum volume_damage damage, const char *message)
{
    printf("%s: %d: %s\n", (const char *)arg, (int)damage, message);
}

static int
check(struct volume *volume, struct lower *lower, const char *path)
{
    return volume_ecryptfs.file_check(volume, lower, true, report, (void *)(uintptr_t)path) !=
           VOLUME_OK;
}

int
main(int argc, char **argv)
{
    struct volume_options options = {.key_bits = 256};

    if (argc == 5 && strcmp(argv[1], "wrap") == 0)
        return wrap(argv[2], argv[3], argv[4]);
    if (argc == 4 && strcmp(argv[1], "unwrap") == 0)
        return unwrap(argv[2], argv[3]);
    if (argc >= 5 && strcmp(argv[1], "rewrap") == 0) {
        char *keys[] = {argv[3], argv[2]};

        return each_file(argv + 4, rewrap, open_volume(&options, keys, 2));
    }
    if (argc >= 5 && strcmp(argv[1], "check") == 0) {
        options.key_bits = (unsigned)atoi(argv[2]);
        return each_file(argv + 4, check, open_volume(&options, argv + 3, 1));
    }
    return 2;
}
