/* SPDX-License-Identifier: Apache-2.0 */
/* How many requests of which kind the kernel has sent: a round trip each, and what a filesystem's speed comes down to. */
#include "volume/fuse/internal.h"

#include <jansson.h>
#include <linux/fuse.h>

static const char *const names[REQUEST_KINDS] = {
    [FUSE_LOOKUP] = "lookup",
    [FUSE_FORGET] = "forget",
    [FUSE_GETATTR] = "getattr",
    [FUSE_SETATTR] = "setattr",
    [FUSE_READLINK] = "readlink",
    [FUSE_SYMLINK] = "symlink",
    [FUSE_MKNOD] = "mknod",
    [FUSE_MKDIR] = "mkdir",
    [FUSE_UNLINK] = "unlink",
    [FUSE_RMDIR] = "rmdir",
    [FUSE_RENAME] = "rename",
    [FUSE_LINK] = "link",
    [FUSE_OPEN] = "open",
    [FUSE_READ] = "read",
    [FUSE_WRITE] = "write",
    [FUSE_STATFS] = "statfs",
    [FUSE_RELEASE] = "release",
    [FUSE_FSYNC] = "fsync",
    [FUSE_SETXATTR] = "setxattr",
    [FUSE_GETXATTR] = "getxattr",
    [FUSE_LISTXATTR] = "listxattr",
    [FUSE_REMOVEXATTR] = "removexattr",
    [FUSE_FLUSH] = "flush",
    [FUSE_INIT] = "init",
    [FUSE_OPENDIR] = "opendir",
    [FUSE_READDIR] = "readdir",
    [FUSE_RELEASEDIR] = "releasedir",
    [FUSE_FSYNCDIR] = "fsyncdir",
    [FUSE_CREATE] = "create",
    [FUSE_INTERRUPT] = "interrupt",
    [FUSE_BATCH_FORGET] = "forget_multi",
    [FUSE_FALLOCATE] = "fallocate",
    [FUSE_READDIRPLUS] = "readdirplus",
    [FUSE_RENAME2] = "rename2",
    [FUSE_LSEEK] = "lseek",
    [FUSE_COPY_FILE_RANGE] = "copy_file_range",
};

void
requests_count(struct volume_fs *fs, uint32_t opcode)
{
    /* 0 is none of the kernel's: all that has no place of its own. */
    uint32_t kind = opcode < REQUEST_KINDS && names[opcode] != NULL ? opcode : 0;

    atomic_fetch_add_explicit(&fs->requests, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&fs->kinds[kind], 1, memory_order_relaxed);
}

json_t *
requests_by_kind(struct volume_fs *fs)
{
    json_t *out = json_object();
    int bad = out == NULL;

    for (size_t i = 0; i < REQUEST_KINDS && !bad; i++) {
        uint64_t count = atomic_load(&fs->kinds[i]);

        if (count > 0)
            bad = json_object_set_new(out, i == 0 ? "other" : names[i],
                                      json_integer((json_int_t)count));
    }
    if (bad) {
        json_decref(out);
        out = NULL;
    }
    return out;
}
