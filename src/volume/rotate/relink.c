/* SPDX-License-Identifier: Apache-2.0 */
/* All names of a file moved to another one together (docs/FORMAT.md, "A lower folder while its keys change").
 *
 *   the new file, synced ─▶ record, synced ─▶ each name, the hidden one last ─▶ sync of the folders ─▶ record removed
 *
 * Once the record is there, it is finished: by whoever made it, or by volume_recover().
 */
#include "volume/rotate/internal.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAGIC "coflink1"
#define STAND_IN VOLUME_COPY "link" /* a name made beside the one that it is renamed over */

int
relink_write(int root, const struct relink *relink, struct coffer_error *err)
{
    struct buf record;
    int rc;

    buf_init(&record, 64 << 20);
    buf_str(&record, MAGIC);
    buf_be64(&record, relink->old_dev);
    buf_be64(&record, relink->old_ino);
    buf_be64(&record, relink->new_dev);
    buf_be64(&record, relink->new_ino);
    buf_lp32(&record, relink->copy);
    buf_be32(&record, (uint32_t)relink->count);
    for (size_t i = 0; i < relink->count; i++)
        buf_lp32(&record, relink->names[i]);
    rc = kept_write(root, VOLUME_LINKS, &record, err);
    buf_wipe(&record);
    return rc;
}

static int
failed(struct coffer_error *err, const char *path, int error)
{
    return error_set(
        err, error == -ENOSPC ? COFFER_E_LIMIT : COFFER_E_IO,
        "%s: a name of a file with several cannot be moved to the new file: %s.  It is "
        "finished when the volume is next mounted or walked",
        path, strerror(-error));
}

/* The folder of a path on record and its last part; -1 if it is gone. */
static int
open_path(int root, struct bytes path, char **text, const char **name)
{
    *text = mem_strndup((const char *)path.ptr, path.len);
    return *text == NULL ? -ENOMEM : path_folder(root, *text, name);
}

/* Any name of the new file, from which others are made: its folder (to be closed) and name. */
static int
find_new(int root, const struct relink *relink, char **text, const char **name)
{
    for (size_t i = 0; i <= relink->count; i++) {
        struct bytes path = i == 0 ? relink->copy : relink->names[i - 1];
        struct stat st;
        int folder = open_path(root, path, text, name);

        if (folder >= 0 && fstatat(folder, *name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            st.st_ino == relink->new_ino)
            return folder;
        if (folder >= 0)
            close(folder);
        mem_free(*text);
        *text = NULL;
        if (folder == -ENOMEM)
            return folder;
    }
    return -ENOENT;
}

/* One name, if it is the old file's still. */
static int
move_name(int from, const char *from_name, int root, const struct relink *relink, struct bytes path,
          bool *begun)
{
    char *text;
    const char *name;
    struct stat st;
    int folder = open_path(root, path, &text, &name), rc = 0;

    if (folder >= 0 && fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        st.st_ino == relink->old_ino) {
        (void)unlinkat(folder, STAND_IN, 0);
        if (linkat(from, from_name, folder, STAND_IN, 0) != 0 ||
            renameat(folder, STAND_IN, folder, name) != 0)
            rc = -errno;
        else
            *begun = true;
        if (rc == 0 && fsync(folder) != 0)
            rc = -errno;
    }
    if (folder >= 0)
        close(folder);
    mem_free(text);
    return folder == -ENOMEM || folder == -EMFILE ? folder : rc;
}

static int
remove_copy(int root, struct bytes path)
{
    char *text;
    const char *name;
    int folder = open_path(root, path, &text, &name), rc = 0;

    if (folder >= 0) {
        if (unlinkat(folder, name, 0) != 0 && errno != ENOENT)
            rc = -errno;
        close(folder);
    }
    mem_free(text);
    return rc;
}

int
relink_apply(int root, const struct relink *relink, struct walk *walk, bool *begun,
             struct coffer_error *err)
{
    char *text = NULL;
    const char *name;
    struct bytes last = relink->copy;
    int from = find_new(root, relink, &text, &name), rc = from < 0 ? from : 0;

    if (from == -ENOENT)
        rc = 0; /* the new file never became durable, or is gone by now: the old one is complete */
    for (size_t i = 0; rc == 0 && from >= 0 && i < relink->count; i++) {
        last = relink->names[i];
        rc = move_name(from, name, root, relink, last, begun);
        if (walk != NULL)
            (void)walk_step(walk, 0); /* once begun, it is finished */
    }
    if (from >= 0)
        close(from);
    mem_free(text);
    if (rc == 0)
        rc = remove_copy(root, relink->copy);
    if (rc != 0) {
        char path[256];

        (void)snprintf(path, sizeof path, "%.*s", (int)(last.len < 255 ? last.len : 255),
                       (const char *)last.ptr);
        if (!*begun)
            (void)kept_remove(root, VOLUME_LINKS, NULL);
        return failed(err, path, rc);
    }
    if (kept_remove(root, VOLUME_LINKS, err) != COFFER_OK)
        return COFFER_E_IO;
    return fsync(root) == 0 ? COFFER_OK : failed(err, VOLUME_LINKS, -errno);
}

static int
parse(struct cursor c, struct relink *relink, struct coffer_error *err)
{
    uint32_t count;

    relink->old_dev = cursor_be64(&c);
    relink->old_ino = cursor_be64(&c);
    relink->new_dev = cursor_be64(&c);
    relink->new_ino = cursor_be64(&c);
    relink->copy = cursor_lp32(&c);
    count = cursor_be32(&c);
    if (c.bad || count > cursor_left(&c) / 4)
        return error_set(err, COFFER_E_FORMAT, VOLUME_LINKS " is damaged: it ends early");
    relink->names = mem_array(count, sizeof *relink->names);
    if (relink->names == NULL)
        return error_nomem(err);
    for (; relink->count < count; relink->count++)
        relink->names[relink->count] = cursor_lp32(&c);
    return c.bad || cursor_left(&c) > 0
               ? error_set(err, COFFER_E_FORMAT, VOLUME_LINKS " is damaged: it ends early")
               : COFFER_OK;
}

int
relink_recover(int root, struct coffer_error *err)
{
    struct coffer_error local = {0};
    struct relink relink = {0};
    struct buf content;
    bool begun = true; /* what is on record stays so until it is done */
    struct cursor c;
    int rc = kept_read(root, VOLUME_LINKS, MAGIC, &content, &c, &local);

    if (rc == COFFER_E_NOTFOUND) {
        rc = COFFER_OK;
    } else if (rc == COFFER_OK) {
        rc = parse(c, &relink, &local);
        if (rc == COFFER_OK)
            rc = relink_apply(root, &relink, NULL, &begun, &local);
    }
    if (rc != COFFER_OK && err != NULL)
        *err = local;
    mem_free(relink.names);
    buf_wipe(&content);
    return rc;
}
