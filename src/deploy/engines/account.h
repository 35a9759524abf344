/* SPDX-License-Identifier: Apache-2.0 */
/* Files as another account would touch them.
 *
 * cofferd may be root, while everything in a volume belongs to an engine's account.  Whoever has taken over that account can put a
 * symbolic link where root is about to write.  So between these two calls this thread opens, makes and renames files as the account: Linux keeps
 * a user for files apart for each thread, and takes root's rights over files from it.
 */
#ifndef COFFER_DEPLOY_ACCOUNT_H
#define COFFER_DEPLOY_ACCOUNT_H

#include "base/error.h"

#include <sys/types.h>

struct account {
    uid_t uid;
    gid_t gid;
};

void account_enter(uid_t uid, gid_t gid, struct account *before); /* 0 and 0: stays the caller */
void account_leave(const struct account *before);

/* Its name, as servers find it that ask the kernel who connects; 0 is the caller.  NOTFOUND: it has none here. */
COFFER_MUST_CHECK int account_name(uid_t uid, char *out, size_t max, struct coffer_error *err);

#endif
