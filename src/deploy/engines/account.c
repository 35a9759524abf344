/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/engines/account.h"

#include <sys/fsuid.h>

/* The user last on the way in and first on the way back: only root may change the group. */
void
account_enter(uid_t uid, gid_t gid, struct account *before)
{
    if (uid == 0 && gid == 0) {
        *before = (struct account){(uid_t)setfsuid((uid_t)-1),
                                   (gid_t)setfsgid((gid_t)-1)}; /* -1 only asks */
        return;
    }
    before->gid = (gid_t)setfsgid(gid);
    before->uid = (uid_t)setfsuid(uid);
}

void
account_leave(const struct account *before)
{
    (void)setfsuid(before->uid);
    (void)setfsgid(before->gid);
}
