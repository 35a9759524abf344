/* SPDX-License-Identifier: Apache-2.0 */
/* Read a .tar.xz, with the attributes in it, without unpacking it to a disk that may not take them. */
#ifndef COFFER_TESTS_TAR_H
#define COFFER_TESTS_TAR_H

#include "base/bytes.h"

enum tar_type { TAR_FILE = '0', TAR_HARD_LINK = '1', TAR_SYMLINK = '2', TAR_FOLDER = '5' };

struct tar_entry {
    enum tar_type type;
    char path[1024];
    char link[4200];
    struct bytes content; /* valid until the next */
    struct bytes xattr;   /* user.ecryptfs; ptr NULL: none */
};

/* Calls `each` for every entry; asserts on anything wrong. */
void tar_read(const char *path, void (*each)(void *arg, const struct tar_entry *entry), void *arg);

#endif
