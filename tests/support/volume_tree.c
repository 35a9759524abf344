/* SPDX-License-Identifier: Apache-2.0 */
#include "support/test.h"

#include "support/volume_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define F (&volume_ecryptfs)

void
tree_make(char path[64])
{
    const char *base = getenv("TMPDIR");

    (void)snprintf(path, 64, "%s/coffer-walk-XXXXXX",
                   base != NULL && strlen(base) < 40 ? base : "/tmp");
    assert_non_null(mkdtemp(path));
}

static int
remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    return remove(path);
}

void
tree_remove(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const struct volume_key *
tree_key(unsigned n)
{
    static struct volume_key keys[8];
    char passphrase[16];

    assert_true(n < 8);
    if (keys[n].secret == NULL) {
        (void)snprintf(passphrase, sizeof passphrase, "key %u", n);
        assert_int_equal(F->key_set(bytes_str(passphrase), (struct bytes){0}, &keys[n], NULL), 0);
    }
    return &keys[n];
}

struct volume *
tree_volume(const struct volume_options *options, const unsigned *numbers, size_t count)
{
    struct volume_key keys[8];
    struct volume *volume = NULL;
    struct coffer_error err = {0};

    for (size_t i = 0; i < count; i++)
        keys[i] = *tree_key(numbers[i]);
    if (F->open(options, keys, count, NULL, 0, &volume, &err) != 0)
        fail_msg("%s", err.message);
    return volume;
}

struct volume *
tree_volume1(unsigned key_bits, unsigned key)
{
    return tree_volume(&(struct volume_options){.key_bits = key_bits}, &key, 1);
}

struct volume *
tree_volume2(unsigned key_bits, unsigned key, unsigned former)
{
    return tree_volume(&(struct volume_options){.key_bits = key_bits},
                       (const unsigned[]){key, former}, 2);
}

static void
fill(uint8_t *out, size_t len, unsigned seed)
{
    uint32_t x = seed * 2654435761u + 1;

    for (size_t i = 0; i < len; i++) {
        x = x * 1664525u + 1013904223u;
        out[i] = (uint8_t)(x >> 24);
    }
}

static struct lower *
open_lower(const char *folder, const char *path, int flags)
{
    struct lower *lower = NULL;
    char full[512];
    int fd;

    (void)snprintf(full, sizeof full, "%s/%s", folder, path);
    fd = open(full, flags | O_CLOEXEC, 0644);
    if (fd < 0)
        return NULL;
    assert_int_equal(lower_fd_open(fd, &lower, NULL), 0);
    return lower;
}

void
tree_write(struct volume *volume, const char *folder, const char *path, size_t len, unsigned seed)
{
    struct lower *lower = open_lower(folder, path, O_RDWR | O_CREAT | O_TRUNC);
    struct volume_file *file = NULL;
    struct coffer_error err = {0};
    uint8_t *data = malloc(len + 1);

    fill(data, len, seed);
    assert_non_null(lower);
    if (F->file_create(volume, lower, &file, &err) != 0 ||
        F->file_write(file, data, len, 0, 0, &err) != 0)
        fail_msg("%s: %s", path, err.message);
    F->file_close(file);
    free(data);
}

int
tree_open_error(struct volume *volume, const char *folder, const char *path)
{
    struct lower *lower = open_lower(folder, path, O_RDONLY);
    struct volume_file *file = NULL;
    int rc;

    if (lower == NULL)
        return -errno;
    rc = F->file_open(volume, lower, &file, NULL);
    if (rc == 0)
        F->file_close(file);
    else
        lower->ops->close(lower);
    return rc;
}

void
tree_expect(struct volume *volume, const char *folder, const char *path, size_t len, unsigned seed)
{
    struct lower *lower = open_lower(folder, path, O_RDONLY);
    struct volume_file *file = NULL;
    struct coffer_error err = {0};
    uint8_t *expected = malloc(len + 1), *got = malloc(len + 1);

    fill(expected, len, seed);
    if (lower == NULL)
        fail_msg("%s/%s: %s", folder, path, strerror(errno));
    if (F->file_open(volume, lower, &file, &err) != 0)
        fail_msg("%s/%s: %s", folder, path, err.message);
    assert_int_equal(F->file_size(file), len);
    if (F->file_read(file, got, len + 1, 0, &err) != (ssize_t)len)
        fail_msg("%s/%s: %s", folder, path, err.message);
    if (memcmp(got, expected, len) != 0)
        fail_msg("%s/%s: other bytes than were written", folder, path);
    F->file_close(file);
    free(expected);
    free(got);
}
