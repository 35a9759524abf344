/* SPDX-License-Identifier: Apache-2.0 */
/* The proof: what every file, hidden file, name and link target is under.  Metadata alone are read, and nothing is kept but counts. */
#include "volume/rotate/internal.h"

#include "volume/ecryptfs/ecryptfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct scan {
    struct volume_fs *fs;
    const struct volume_format *format;
    struct volume *volume;
    const char *key;
    void (*find)(void *arg, const char *path, const char *what);
    void *arg;
    struct volume_count *out;
    struct coffer_error *err;
};

static void
tell(struct scan *scan, const char *key, const char *path, const char *what)
{
    if (scan->find != NULL && scan->key != NULL && strcmp(scan->key, key) == 0)
        scan->find(scan->arg, path, what);
}

static void
tell_damage(struct scan *scan, const char *path, const char *what)
{
    if (scan->find != NULL && scan->key == NULL)
        scan->find(scan->arg, path, what);
}

/* The row of a key, made if there is room; SIZE_MAX: there is none. */
static size_t
row_of(struct scan *scan, const char *key)
{
    struct volume_count *out = scan->out;

    for (size_t i = 0; i < out->key_count; i++)
        if (strcmp(out->keys[i].key, key) == 0)
            return i;
    if (out->key_count == sizeof out->keys / sizeof out->keys[0]) {
        out->other_keys++;
        return SIZE_MAX;
    }
    (void)snprintf(out->keys[out->key_count].key, sizeof out->keys[0].key, "%s", key);
    return out->key_count++;
}

static void
count_name(struct scan *scan, struct bytes lower, const char *path, const char *what)
{
    char key[VOLUME_KEY_NAME + 1];
    size_t i;

    if (!ecryptfs_name_signature(lower, key))
        return;
    if (strcmp(what, "name") == 0)
        scan->out->names++;
    i = row_of(scan, key);
    if (i != SIZE_MAX)
        scan->out->keys[i].names++;
    tell(scan, key, path, what);
}

static void
count_link(struct scan *scan, const struct tree_entry *entry)
{
    char target[VOLUME_TARGET_MAX + 1];
    ssize_t len = readlinkat(entry->folder, entry->name, target, sizeof target);

    scan->out->links++;
    if (len >= 0)
        count_name(scan, bytes_of(target, (size_t)len), entry->path, "link target");
}

/* ---- files ---- */

struct finding {
    char text[256];
};

static void
note(void *arg, enum volume_damage damage, const char *message)
{
    struct finding *finding = arg;

    if (finding->text[0] == 0)
        (void)snprintf(finding->text, sizeof finding->text, "%s", message);
}

static void
count_bad(struct scan *scan, const struct tree_entry *entry, struct lower *lower,
          const struct coffer_error *why)
{
    struct finding finding = {""};

    if (lower != NULL && scan->format->file_check != NULL &&
        scan->format->file_check(scan->volume, lower, false, note, &finding) == VOLUME_FOREIGN) {
        scan->out->plain++;
        tell_damage(scan, entry->path, finding.text[0] != 0 ? finding.text : why->message);
        return;
    }
    scan->out->damaged++;
    tell_damage(scan, entry->path, why->message);
}

static void
count_keys(struct scan *scan, const struct tree_entry *entry, const struct volume_file_info *info)
{
    bool copy = strncmp(entry->name, VOLUME_COPY, strlen(VOLUME_COPY)) == 0;
    unsigned most = sizeof info->keys / sizeof info->keys[0];

    scan->out->files++;
    scan->out->bytes += info->size;
    for (unsigned k = 0; k < info->key_count && k < most; k++) {
        size_t i = row_of(scan, info->keys[k]);

        if (i != SIZE_MAX) {
            scan->out->keys[i].files++;
            scan->out->keys[i].bytes += info->size;
        }
        tell(scan, info->keys[k], entry->path, copy ? "hidden copy" : "file");
    }
    if (info->key_count > most)
        scan->out->other_keys += info->key_count - most;
}

static void
count_file(struct scan *scan, const struct tree_entry *entry)
{
    struct coffer_error why = {0};
    struct volume_file_info info = {0};
    struct lower *lower = NULL;
    int fd = open_quietly(entry->folder, entry->name), rc;

    if (fd < 0 && (errno == ENOENT || errno == ELOOP))
        return;
    rc = fd < 0 ? volume_fail(&why, -errno, "cannot be opened: %s", strerror(errno))
                : lower_fd_open(fd, &lower, &why);
    if (rc == 0)
        rc = scan->format->file_info(scan->volume, lower, &info, &why);
    /* In use, it may be being written this very moment. */
    if (scan->fs != NULL && (rc != 0 || info.empty)) {
        memset(&why, 0, sizeof why);
        rc = online_info(scan->fs, entry, &info, &why);
    }
    if (rc == -ENOENT)
        rc = 0; /* removed meanwhile */
    else if (rc != 0)
        count_bad(scan, entry, lower, &why);
    else if (info.empty)
        scan->out->empty++;
    else if (info.key_count == 0)
        scan->out->plain++;
    else
        count_keys(scan, entry, &info);
    if (lower != NULL)
        lower->ops->close(lower);
    else if (fd >= 0)
        close(fd);
}

/* Old headers are on record only while a batch is under way, or since one was interrupted. */
static void
count_record(struct scan *scan, const struct tree_entry *entry)
{
    scan->out->other_keys++;
    if (scan->find != NULL)
        scan->find(scan->arg, entry->path, "headers as they were, of an interrupted walk");
}

static int
visit_scan(void *arg, const struct tree_entry *entry)
{
    struct scan *scan = arg;

    if (strncmp(entry->name, VOLUME_UNDO, strlen(VOLUME_UNDO)) == 0) {
        count_record(scan, entry);
        return COFFER_OK;
    }
    if (strncmp(entry->name, OWN_PREFIX, strlen(OWN_PREFIX)) == 0 &&
        strncmp(entry->name, VOLUME_COPY, strlen(VOLUME_COPY)) != 0)
        return COFFER_OK;
    count_name(scan, bytes_str(entry->name), entry->path, "name");
    if (S_ISREG(entry->st->st_mode))
        count_file(scan, entry);
    else if (S_ISLNK(entry->st->st_mode))
        count_link(scan, entry);
    else if (S_ISDIR(entry->st->st_mode))
        scan->out->folders++;
    return COFFER_OK;
}

static int
scan_trouble(void *arg, const char *path, int error)
{
    struct scan *scan = arg;

    scan->out->damaged++;
    tell_damage(scan, path, "the folder cannot be read");
    return COFFER_OK;
}

int
volume_scan(const char *lower, struct volume_fs *fs, const struct volume_format *format,
            struct volume *volume, const char *key,
            void (*find)(void *arg, const char *path, const char *what), void *arg,
            struct volume_count *out, struct coffer_error *err)
{
    struct scan scan = {fs, format, volume, key, find, arg, out, err};
    struct tree tree = {.own = true, .visit = visit_scan, .trouble = scan_trouble, .arg = &scan};
    int rc;

    memset(out, 0, sizeof *out);
    tree.root = open(lower, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (tree.root < 0)
        return error_set(err, errno == ENOENT ? COFFER_E_NOTFOUND : COFFER_E_IO, "%s: %s", lower,
                         strerror(errno));
    rc = fs != NULL ? online_scan(fs, &tree) : tree_walk(&tree, tree.root, "", "");
    close(tree.root);
    if (rc == -ENOMEM)
        return error_nomem(err);
    return rc < 0 ? error_set(err, COFFER_E_IO, "%s: cannot be looked through: %s", lower,
                              strerror(-rc))
                  : rc;
}
