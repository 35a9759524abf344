/* SPDX-License-Identifier: Apache-2.0 */
/* What a caller sees of a format's failure, and the line about it in the log. */
#include "base/mem.h"
#include "volume/fuse/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void
fs_log(struct volume_fs *fs, const char *format, ...)
{
    char line[1024];
    va_list args;

    if (fs->options->log == NULL)
        return;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    fs->options->log(fs->options->log_arg, line);
}

void
report_path(struct volume_fs *fs, const char *lower, char *out, size_t size)
{
    char upper[VOLUME_NAME_MAX + 1];
    size_t used = 0;

    out[0] = 0;
    while (*lower != 0) {
        size_t len = strcspn(lower, "/");
        const char *name = lower;
        int wrote;

        if (len > 0) {
            if (fs->format->name_to_upper(fs->volume, bytes_of(lower, len), upper, NULL) == 0) {
                name = upper;
                wrote = snprintf(out + used, size - used, "%s%s", used > 0 ? "/" : "", name);
            } else {
                wrote = snprintf(out + used, size - used, "%s%.*s", used > 0 ? "/" : "", (int)len,
                                 name);
            }
            if (wrote < 0 || (size_t)wrote >= size - used)
                return;
            used += (size_t)wrote;
        }
        lower += len;
        lower += *lower == '/';
    }
}

/* Where the file is, found out only now: from the descriptor's name below the lower folder's. */
static void
describe(struct volume_fs *fs, struct inode *inode, char *out, size_t size)
{
    char path[32], base[4096], lower[4096];
    ssize_t base_len, len;
    struct stat st;

    (void)snprintf(out, size, "lower inode %llu", (unsigned long long)inode->ino);
    if (inode_pin(fs, inode, REACH_NODE, NULL) != 0)
        return;
    attr_path(inode, path);
    len = readlink(path, lower, sizeof lower - 1);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fs->root_fd);
    base_len = readlink(path, base, sizeof base - 1);
    if (len > base_len && base_len > 0 && memcmp(base, lower, (size_t)base_len) == 0 &&
        (lower[base_len] == '/' || base_len == 1)) {
        lower[len] = 0;
        /* A descriptor from a handle may not know its name ("/" or a deleted one): then the number has to do. */
        if (lstat(lower, &st) == 0 && st.st_ino == inode->ino)
            report_path(fs, lower + base_len, out, size);
        else if (fstatat(fs->root_fd, lower + base_len + 1, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                 st.st_ino == inode->ino)
            report_path(fs, lower + base_len, out, size);
    }
    inode_unpin(fs, inode);
}

int
report_failure(struct volume_fs *fs, struct inode *inode, int rc, const struct coffer_error *err)
{
    char where[4096];

    if (rc != -EBADMSG && rc != -EKEYREJECTED)
        return rc;
    if (!atomic_exchange(&inode->reported, true)) {
        describe(fs, inode, where, sizeof where);
        fs_log(fs, "%s: %s", where,
               err != NULL && err->message[0] != 0 ? err->message
               : rc == -EBADMSG                    ? "damaged"
                                                   : "sealed under a key that is not here");
    }
    return rc == -EBADMSG ? -EIO : -ENOKEY;
}
