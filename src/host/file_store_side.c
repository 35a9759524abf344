/* SPDX-License-Identifier: Apache-2.0 */
/* Beside the keyring: NAME.escrow/<8hex>.key (and .key.new), NAME.certificates/<name>, NAME.audit.  docs/FORMAT.md
 * "Files beside the keyring". */
#include "host/file_store.h"

#include "base/mem.h"
#include "host/generations.h"

#include <string.h>

/* Call `fn`-like operations with a formatted path and free it: one place for out-of-memory. */
static char *
side_path(const struct file_store *fs, const char *folder, const char *name)
{
    return mem_format("%s.%s/%s", fs->path, folder, name);
}

static char *
escrow_path(const struct file_store *fs, uint32_t key_id)
{
    return mem_format("%s.escrow/%08x.key", fs->path, (unsigned)key_id);
}

static char *
escrow_next_path(const struct file_store *fs, uint32_t key_id)
{
    return mem_format("%s.escrow/%08x.key.new", fs->path, (unsigned)key_id);
}

static int
make_side_folder(const struct file_store *fs, const char *folder, unsigned mode,
                 struct coffer_error *err)
{
    char *path = mem_format("%s.%s", fs->path, folder);
    int rc = path == NULL ? error_nomem(err) : fs->os->make_folder(fs->os, path, mode, err);

    mem_free(path);
    return rc;
}

/* Two commands that end one rotation together write the same file, each with content of its own. */
static int
write_locked(const struct file_store *fs, const char *path, struct bytes content, unsigned mode,
             struct coffer_error *err)
{
    int handle, rc = file_store_lock(fs, &handle, err);

    if (rc != COFFER_OK)
        return rc;
    rc = file_store_write(fs->os, path, content, mode, false, err);
    fs->os->unlock(fs->os, handle);
    return rc;
}

/* The material leaves the keyring once this returns: what is stored must be that key, and open. */
static int
escrow_check(struct file_store *fs, uint32_t key_id, struct bytes content, struct coffer_error *err)
{
    const struct keyring_key *mine, *theirs;
    struct keyring *escrow = NULL;
    int rc = COFFER_OK;

    if (fs->known == NULL)
        rc = file_store_load(fs, NULL, NULL, err);
    if (rc == COFFER_OK)
        rc = keyring_decode_again(content, fs->known, &escrow, err);
    if (rc != COFFER_OK)
        return rc;
    mine = keyring_key(fs->known, key_id);
    theirs = keyring_key(escrow, key_id);
    if (!keyring_is_escrow(escrow) || theirs == NULL || keyring_material(escrow, key_id) == NULL ||
        mine == NULL || memcmp(mine->fingerprint, theirs->fingerprint, 32) != 0)
        rc =
            error_set(err, COFFER_E_MISUSE, "this is no escrow file of key %08x", (unsigned)key_id);
    keyring_free(escrow);
    return rc;
}

int
file_escrow_put(struct keyring_store *store, uint32_t key_id, struct bytes content,
                struct coffer_error *err)
{
    struct file_store *fs = (struct file_store *)store;
    char *path = NULL;
    int rc = escrow_check(fs, key_id, content, err);

    if (rc == COFFER_OK)
        rc = make_side_folder(fs, "escrow", 0700, err);
    if (rc == COFFER_OK) {
        path = escrow_path(fs, key_id);
        rc = path == NULL ? error_nomem(err)
                          : write_locked(fs, path, content, 0600, err);
    }
    mem_free(path);
    return rc;
}

int
file_escrow_put_next(struct file_store *fs, uint32_t key_id, struct bytes content,
                     struct coffer_error *err)
{
    char *path = escrow_next_path(fs, key_id);
    int rc = path == NULL ? error_nomem(err)
                          : file_store_write(fs->os, path, content, 0600, false, err);

    mem_free(path);
    return rc;
}

static bool
opens(const struct file_store *fs, struct bytes content)
{
    struct keyring *escrow = NULL;
    bool ok = keyring_decode_again(content, fs->known, &escrow, NULL) == COFFER_OK;

    keyring_free(escrow);
    return ok;
}

/* A change of the KEK that was cut short has left the file for the new KEK beside the one for the
 * old (file_store_rewrap.c): the one that opens as the keyring does is the one that counts. */
static void
take_next(struct file_store *fs, uint32_t key_id, const char *path, struct buf *content)
{
    char *next = escrow_next_path(fs, key_id);
    struct buf other;

    buf_init(&other, KEYRING_FILE_MAX);
    if (next != NULL &&
        fs->os->read_file(fs->os, next, KEYRING_FILE_MAX, &other, NULL) == COFFER_OK &&
        opens(fs, buf_view(&other))) {
        buf_clear(content);
        buf_bytes(content, buf_view(&other));
        /* Who may only read reads all the same; the next who may write puts it in its place. */
        if (fs->os->rename_file(fs->os, next, path, NULL) != COFFER_OK)
            buf_clear(&other);
    }
    buf_wipe(&other);
    mem_free(next);
}

int
file_escrow_get(struct keyring_store *store, uint32_t key_id, struct buf *content,
                struct coffer_error *err)
{
    struct file_store *fs = (struct file_store *)store;
    char *path = escrow_path(fs, key_id);
    int rc;

    if (path == NULL)
        return error_nomem(err);
    buf_clear(content);
    rc = fs->os->read_file(fs->os, path, KEYRING_FILE_MAX, content, err);
    if (rc == COFFER_E_NOTFOUND)
        rc = error_set(err, rc,
                       "key %08x is not in escrow: no file %s; put it back from where you keep it",
                       (unsigned)key_id, path);
    if (rc == COFFER_OK && fs->known == NULL)
        rc = file_store_load(fs, NULL, NULL, err);
    if (rc == COFFER_OK && !opens(fs, buf_view(content))) {
        take_next(fs, key_id, path, content);
        rc = buf_status(content, err);
    }
    mem_free(path);
    return rc;
}

int
file_escrow_remove(struct keyring_store *store, uint32_t key_id, struct coffer_error *err)
{
    struct file_store *fs = (struct file_store *)store;
    char *path = escrow_path(fs, key_id), *next = escrow_next_path(fs, key_id);
    int rc = path == NULL || next == NULL ? error_nomem(err) : COFFER_OK;

    if (rc == COFFER_OK && fs->known == NULL)
        rc = file_store_load(fs, NULL, NULL, err);
    if (rc == COFFER_OK)
        rc = fs->os->remove_file(fs->os, path, err);
    if (rc == COFFER_OK)
        rc = fs->os->remove_file(fs->os, next, err);
    if (rc == COFFER_OK)
        rc = generations_forget(fs->os, fs->path, fs->known, key_id, err);
    mem_free(next);
    mem_free(path);
    return rc;
}

static bool
certificate_name_valid(const char *name)
{
    size_t i;

    for (i = 0; name[i] != '\0'; i++) {
        if (strchr("abcdefghijklmnopqrstuvwxyz0123456789.-_", name[i]) == NULL)
            return false;
    }
    return i > 0 && i < 200 && name[0] != '.';
}

int
file_certificate_put(struct keyring_store *store, const char *name, struct bytes content,
                     struct coffer_error *err)
{
    struct file_store *fs = (struct file_store *)store;
    char *path = NULL;
    int rc;

    if (!certificate_name_valid(name))
        return error_set(err, COFFER_E_MISUSE, "\"%s\" is no name for a certificate", name);
    rc = make_side_folder(fs, "certificates", 0755, err);
    if (rc == COFFER_OK) {
        path = side_path(fs, "certificates", name);
        rc = path == NULL ? error_nomem(err)
                          : write_locked(fs, path, content, 0644, err);
    }
    mem_free(path);
    return rc;
}

int
file_certificate_get(struct keyring_store *store, const char *name, struct buf *content,
                     struct coffer_error *err)
{
    struct file_store *fs = (struct file_store *)store;
    char *path;
    int rc;

    if (!certificate_name_valid(name))
        return error_set(err, COFFER_E_MISUSE, "\"%s\" is no name for a certificate", name);
    path = side_path(fs, "certificates", name);
    buf_clear(content);
    rc = path == NULL ? error_nomem(err)
                      : fs->os->read_file(fs->os, path, SMALL_FILE_MAX, content, err);
    mem_free(path);
    return rc;
}

static int
read_log(const struct file_store *fs, const char *path, struct buf *out, struct coffer_error *err)
{
    struct coffer_error why = {0};
    int rc;

    buf_clear(out);
    rc = fs->os->read_file(fs->os, path, AUDIT_LOG_MAX, out, &why);
    if (rc == COFFER_E_NOTFOUND) { /* an empty log: the keyring's mark tells whether one was lost */
        buf_clear(out);
        return COFFER_OK;
    }
    return rc == COFFER_OK ? rc : error_set(err, rc, "%s", why.message);
}

int
file_audit_read(struct keyring_store *store, struct buf *out, struct coffer_error *err)
{
    struct file_store *fs = (struct file_store *)store;
    char *path = mem_format("%s.audit", fs->path);
    int rc = path == NULL ? error_nomem(err) : read_log(fs, path, out, err);

    mem_free(path);
    return rc;
}

/* A crash while a line was appended leaves a part of it, which nothing has marked: the next append
 * replaces the whole file without it. */
static size_t
whole_lines(struct bytes log)
{
    const uint8_t *end = log.len == 0 ? NULL : memrchr(log.ptr, '\n', log.len);

    return end == NULL ? 0 : (size_t)(end - log.ptr) + 1;
}

static int
append_locked(struct file_store *fs, const char *path,
              int (*make)(void *arg, struct bytes log, struct buf *line, struct coffer_error *err),
              void *arg, struct coffer_error *err)
{
    struct buf log, line;
    size_t whole;
    int rc;

    buf_init(&log, AUDIT_LOG_MAX);
    buf_init(&line, SMALL_FILE_MAX);
    rc = read_log(fs, path, &log, err);
    whole = whole_lines(buf_view(&log));
    if (rc == COFFER_OK)
        rc = make(arg, bytes_of(log.ptr, whole), &line, err);
    if (rc == COFFER_OK && whole == log.len) {
        rc = fs->os->append_file(fs->os, path, buf_view(&line), 0600, err);
    } else if (rc == COFFER_OK) {
        log.len = whole;
        buf_bytes(&log, buf_view(&line));
        rc = buf_status(&log, err);
        if (rc == COFFER_OK)
            rc = fs->os->write_file(fs->os, path, buf_view(&log), 0600, false, err);
    }
    buf_wipe(&log);
    buf_wipe(&line);
    return rc;
}

int
file_audit_append(struct keyring_store *store,
                  int (*make)(void *arg, struct bytes log, struct buf *line,
                              struct coffer_error *err),
                  void *arg, struct coffer_error *err)
{
    struct file_store *fs = (struct file_store *)store;
    char *path = mem_format("%s.audit", fs->path);
    int handle = -1;
    int rc = path == NULL ? error_nomem(err) : file_store_lock(fs, &handle, err);

    if (rc == COFFER_OK) {
        rc = append_locked(fs, path, make, arg, err);
        fs->os->unlock(fs->os, handle);
    }
    mem_free(path);
    return rc;
}
