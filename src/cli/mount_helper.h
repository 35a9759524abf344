/* SPDX-License-Identifier: Apache-2.0 */
/* mount.coffer: what mount(8) says, in the words of `coffer volume mount`.  It takes eCryptfs's names of options, too. */
#ifndef COFFER_CLI_MOUNT_HELPER_H
#define COFFER_CLI_MOUNT_HELPER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

#define MOUNT_WORDS_MAX 128

struct mount_words {
    const char *argv[MOUNT_WORDS_MAX]; /* [0] is the program; borrowed, and from `text` */
    int argc;
    char text[16384];
    size_t used;
    char kernel[2048];         /* options that are the kernel's business, comma separated */
    const char *cipher, *bits; /* of eCryptfs's options, while they are read */
    bool fake;                 /* -f: say whether it would be understood, and do nothing */
};

/* Is the program called by this name? */
bool mount_helper_name(const char *argv0);
/* `mount.coffer LOWER MOUNTPOINT [-sfnv] [-o OPTIONS]` as a command line of coffer.  MISUSE names what is not known. */
COFFER_MUST_CHECK int mount_helper_words(int argc, const char *const *argv, struct mount_words *out,
                                         struct coffer_error *err);

#endif
