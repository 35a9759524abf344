/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/engines/account.h"

#include <pwd.h>
#include <string.h>
#include <sys/fsuid.h>
#include <unistd.h>

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

int
account_name(uid_t uid, char *out, size_t max, struct coffer_error *err)
{
    struct passwd entry, *found = NULL;
    char room[4096];

    if (uid == 0)
        uid = geteuid();
    if (getpwuid_r(uid, &entry, room, sizeof room, &found) != 0 || found == NULL ||
        strlen(found->pw_name) >= max)
        return error_set(err, COFFER_E_NOTFOUND,
                         "user %lu has no name here (/etc/passwd), and a database server needs one",
                         (unsigned long)uid);
    strcpy(out, found->pw_name);
    return COFFER_OK;
}
