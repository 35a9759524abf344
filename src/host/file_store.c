/* SPDX-License-Identifier: Apache-2.0 */
/* A commit, under the lock: is the file still what was loaded? → NAME.<old epoch> keeps it → NAME
 * is replaced → read back.  A crash anywhere leaves NAME whole, old or new; at worst a generation
 * equals the file.
 */
#include "host/file_store.h"

#include "base/mem.h"
#include "crypto/crypto.h"
#include "host/generations.h"
#include "host/host.h"
#include "ledger/audit.h"

#include <inttypes.h>
#include <string.h>

int
file_store_lock(const struct file_store *fs, int *handle, struct coffer_error *err)
{
    char *path = mem_format("%s.lock", fs->path);
    int rc =
        path == NULL ? error_nomem(err) : fs->os->lock(fs->os, path, LOCK_WAIT_MS, handle, err);

    if (rc == COFFER_E_CONFLICT)
        error_prefix(err, "keyring %s is being changed by another process: ", fs->path);
    mem_free(path);
    return rc;
}

int
file_store_write(const struct os *os, const char *path, struct bytes content, unsigned mode,
                 bool exclusive, struct coffer_error *err)
{
    struct buf again;
    int rc;

    rc = os->write_file(os, path, content, mode, exclusive, err);
    if (rc != COFFER_OK)
        return rc;
    buf_init(&again, content.len + 1);
    rc = os->read_file(os, path, content.len + 1, &again, err);
    if (rc == COFFER_E_LIMIT || (rc == COFFER_OK && !bytes_equal(buf_view(&again), content)))
        rc = error_set(err, COFFER_E_IO,
                       "%s: what was read back is not what was written: check the disk", path);
    buf_wipe(&again);
    return rc;
}

/* Name the newest generation that opens, which is what to put back. */
static int
damaged(struct file_store *fs, int status, const char *why, struct coffer_error *err)
{
    uint64_t epochs[64];
    size_t count;

    if (generations_find(fs->path, epochs, 64, &count, NULL) != COFFER_OK || count == 0)
        return error_set(err, status,
                         "keyring %s: %s. No kept generation is beside it: restore a copy",
                         fs->path, why);
    return error_set(
        err, status,
        "keyring %s: %s. Restore a copy of it; the newest kept generation is %s.%" PRIu64, fs->path,
        why, fs->path, epochs[0]);
}

static int
decode(struct file_store *fs, struct bytes raw, struct keyring **out, struct coffer_error *err)
{
    struct coffer_error why = {0};
    int rc;

    *out = NULL;
    if (fs->known != NULL) {
        rc = keyring_decode_again(raw, fs->known, out, &why);
        if (rc == COFFER_E_KEK) /* the KEK may have been changed meanwhile, to what `kek` gives */
            rc = keyring_decode(raw, fs->kek, out, &why);
    } else {
        rc = keyring_decode(raw, fs->kek, out, &why);
    }
    if (rc == COFFER_OK && keyring_is_escrow(*out)) {
        keyring_free(*out);
        *out = NULL;
        return error_set(
            err, COFFER_E_FORMAT,
            "%s is an escrow file, not a keyring: bring its key in with coffer keyring import",
            fs->path);
    }
    if (rc == COFFER_OK)
        return rc;
    if (rc == COFFER_E_FORMAT)
        return damaged(fs, rc, why.message, err);
    return error_set(err, rc, "keyring %s: %s", fs->path, why.message);
}

/* Never older than what was seen, and the same epoch never with another content. */
static int
not_older(const struct file_store *fs, const struct keyring *kr, const uint8_t hash[32],
          struct coffer_error *err)
{
    uint64_t now, seen;

    if (fs->known == NULL)
        return COFFER_OK;
    now = keyring_epoch(kr);
    seen = keyring_epoch(fs->known);
    if (now < seen)
        return error_set(err, COFFER_E_ROLLBACK,
                         "keyring %s is at epoch %" PRIu64 ", this process has seen %" PRIu64
                         ": an older file was put back. Restore the newest one",
                         fs->path, now, seen);
    if (now == seen && memcmp(hash, fs->known_hash, 32) != 0)
        return error_set(
            err, COFFER_E_ROLLBACK,
            "keyring %s is at epoch %" PRIu64
            " with another content than this process has seen at that epoch: two copies were "
            "changed apart. Restore the right one",
            fs->path, now);
    return COFFER_OK;
}

static int
remember(struct file_store *fs, const struct keyring *kr, const uint8_t hash[32],
         struct coffer_error *err)
{
    struct keyring *copy;
    int rc = keyring_clone(kr, &copy, err);

    if (rc != COFFER_OK)
        return rc;
    keyring_free(fs->known);
    fs->known = copy;
    memcpy(fs->known_hash, hash, 32);
    return COFFER_OK;
}

int
file_store_load(struct file_store *fs, struct buf *raw, struct keyring **out,
                struct coffer_error *err)
{
    struct keyring *kr = NULL;
    struct buf own;
    uint8_t hash[32];
    int rc;

    if (out != NULL)
        *out = NULL;
    buf_init(&own, KEYRING_FILE_MAX);
    if (raw == NULL)
        raw = &own;
    buf_clear(raw);
    rc = fs->os->read_file(fs->os, fs->path, KEYRING_FILE_MAX, raw, err);
    if (rc == COFFER_E_NOTFOUND)
        rc = error_set(err, rc,
                       "keyring %s: no such file. A new one is made by: coffer keyring init",
                       fs->path);
    if (rc == COFFER_OK)
        rc = decode(fs, buf_view(raw), &kr, err);
    if (rc == COFFER_OK)
        rc = sha256(buf_view(raw), hash, err);
    if (rc == COFFER_OK)
        rc = not_older(fs, kr, hash, err);
    if (rc == COFFER_OK)
        rc = remember(fs, kr, hash, err);
    if (rc == COFFER_OK && out != NULL) {
        *out = kr;
        kr = NULL;
    }
    keyring_free(kr);
    buf_wipe(&own);
    return rc;
}

static int
file_load(struct keyring_store *store, struct keyring **out, struct coffer_error *err)
{
    return file_store_load((struct file_store *)store, NULL, out, err);
}

static int
keep_generation(const struct file_store *fs, uint64_t epoch, struct bytes content,
                struct coffer_error *err)
{
    char *name = mem_format("%s.%" PRIu64, fs->path, epoch);
    int rc = name == NULL ? error_nomem(err)
                          : fs->os->write_file(fs->os, name, content, 0600, false, err);

    mem_free(name);
    return rc;
}

/* A destroyed key's material must not live on in the generations that we keep. */
static int
forget_destroyed(struct file_store *fs, const struct keyring *before, const struct keyring *now,
                 struct coffer_error *err)
{
    int rc = COFFER_OK;
    size_t i;

    for (i = 0; rc == COFFER_OK && i < keyring_key_count(now); i++) {
        const struct keyring_key *key = keyring_key_at(now, i);
        const struct keyring_key *was = keyring_key(before, key->id);

        if (key->state == KEY_DESTROYED && was != NULL && was->state != KEY_DESTROYED)
            rc = generations_forget(fs->os, fs->path, now, key->id, err);
    }
    return rc;
}

static int
commit_locked(struct file_store *fs, struct keyring *kr, struct coffer_error *err)
{
    struct keyring *current = NULL;
    struct buf before, after;
    uint8_t hash[32];
    uint64_t loaded = keyring_epoch(kr);
    int rc;

    buf_init(&before, KEYRING_FILE_MAX);
    buf_init(&after, KEYRING_FILE_MAX);
    rc = file_store_load(fs, &before, &current, err);
    if (rc == COFFER_OK && keyring_epoch(current) != loaded)
        rc = error_set(err, COFFER_E_CONFLICT,
                       "keyring %s moved to epoch %" PRIu64
                       " while this change was made at %" PRIu64,
                       fs->path, keyring_epoch(current), loaded);
    if (rc == COFFER_OK)
        rc = keyring_encode(kr, &after, err);
    if (rc == COFFER_OK)
        rc = keep_generation(fs, loaded, buf_view(&before), err);
    if (rc == COFFER_OK)
        rc = file_store_write(fs->os, fs->path, buf_view(&after), 0600, false, err);
    if (rc == COFFER_OK)
        rc = sha256(buf_view(&after), hash, err);
    if (rc == COFFER_OK)
        rc = remember(fs, kr, hash, err);
    if (rc == COFFER_OK)
        rc = forget_destroyed(fs, current, kr, err);
    if (rc == COFFER_OK)
        generations_prune(fs->os, fs->path);
    keyring_free(current);
    buf_wipe(&before);
    buf_wipe(&after);
    return rc;
}

static int
file_commit(struct keyring_store *store, struct keyring *kr, struct coffer_error *err)
{
    struct file_store *fs = (struct file_store *)store;
    int handle, rc;

    rc = file_store_lock(fs, &handle, err);
    if (rc != COFFER_OK)
        return rc;
    rc = commit_locked(fs, kr, err);
    fs->os->unlock(fs->os, handle);
    return rc;
}

int
file_store_open(const char *path, struct kek *kek, const struct os *os, struct keyring_store **out,
                struct coffer_error *err)
{
    struct file_store *fs = mem_alloc(sizeof *fs);

    *out = NULL;
    if (fs != NULL)
        fs->path = mem_strdup(path);
    if (fs == NULL || fs->path == NULL) {
        mem_free(fs);
        kek_close(kek);
        return error_nomem(err);
    }
    fs->os = os;
    fs->kek = kek;
    fs->store = (struct keyring_store){.load = file_load,
                                       .commit = file_commit,
                                       .escrow_put = file_escrow_put,
                                       .escrow_get = file_escrow_get,
                                       .escrow_remove = file_escrow_remove,
                                       .audit_append = file_audit_append,
                                       .audit_read = file_audit_read,
                                       .certificate_put = file_certificate_put,
                                       .certificate_get = file_certificate_get};
    *out = &fs->store;
    return COFFER_OK;
}

void
file_store_close(struct keyring_store *store)
{
    struct file_store *fs = (struct file_store *)store;

    if (fs == NULL)
        return;
    keyring_free(fs->known);
    kek_close(fs->kek);
    mem_free(fs->path);
    mem_free(fs);
}

/* ---- a new keyring ---- */

static int
refuse_existing(const struct file_store *fs, struct coffer_error *err)
{
    char *audit = mem_format("%s.audit", fs->path);
    uint64_t stamp = 0;
    int rc = audit == NULL ? error_nomem(err) : fs->os->stamp_file(fs->os, fs->path, &stamp, err);

    if (rc == COFFER_OK && stamp != 0)
        rc =
            error_set(err, COFFER_E_EXISTS, "keyring %s exists: it is never overwritten", fs->path);
    if (rc == COFFER_OK)
        rc = fs->os->stamp_file(fs->os, audit, &stamp, err);
    if (rc == COFFER_OK && stamp != 0)
        rc = error_set(
            err, COFFER_E_EXISTS,
            "%s is there without its keyring: put the keyring back, or move the log away", audit);
    mem_free(audit);
    return rc;
}

static int
init_locked(struct file_store *fs, const char *who, struct coffer_error *err)
{
    struct keyring *kr = NULL;
    struct buf file;
    int rc = refuse_existing(fs, err);

    buf_init(&file, KEYRING_FILE_MAX);
    if (rc == COFFER_OK)
        rc = keyring_new(fs->kek, who, fs->os->now_us(fs->os), &kr, err);
    if (rc == COFFER_OK)
        rc = keyring_encode(kr, &file, err);
    if (rc == COFFER_OK)
        rc = file_store_write(fs->os, fs->path, buf_view(&file), 0600, true, err);
    keyring_free(kr);
    buf_wipe(&file);
    return rc;
}

int
file_store_init(const char *path, struct kek *kek, const struct os *os, const char *who,
                struct coffer_error *err)
{
    struct keyring_store *store;
    struct file_store *fs;
    int handle, rc;

    rc = file_store_open(path, kek, os, &store, err);
    if (rc != COFFER_OK)
        return rc;
    fs = (struct file_store *)store;
    rc = file_store_lock(fs, &handle, err);
    if (rc == COFFER_OK) {
        rc = init_locked(fs, who, err);
        os->unlock(os, handle);
    }
    /* The log begins after the keyring: a crash in between leaves a whole keyring whose log is
     * empty and not marked. */
    if (rc == COFFER_OK)
        rc = audit_change(store, os, who, "keyring.init", NULL, NULL, NULL, NULL, err);
    file_store_close(store);
    return rc;
}
