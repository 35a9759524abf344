/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/backup/archive.h"

#include "base/error.h"
#include "base/mem.h"
#include "crypto/crypto.h"
#include "deploy/backup/retention.h"
#include "deploy/backup/stream.h"
#include "ledger/audit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_S 2
#define SETTLE_US 1000000  /* clocks of filesystems are coarse */
#define RETENTION_LOOKS 15 /* one of so many looks also asks which backups are due */
#define PATH_LEN (DEPLOY_PATH_MAX + 160)
#define NAME_LEN 80

struct archiver {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool end;
};

/* Of a segment, a timeline's history or a backup's label: nothing hidden, nothing that leads elsewhere. */
static bool
name_good(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && len < NAME_LEN - 8 && name[0] != '.' &&
           strspn(name, "0123456789ABCDEFabcdefghijklmnopqrstuvwxyz.") == len;
}

static void
folder_of(const struct deploy *deploy, const char *database, char out[PATH_LEN])
{
    (void)snprintf(out, PATH_LEN, "%.500s/backups/%.36s.wal", deploy->dir, database);
}

static void
stream_name(const char *database, const char *segment, char out[160])
{
    (void)snprintf(out, 160, "wal/%.36s/%.79s", database, segment);
}

/* `fn` for each file of a folder, in no order; a missing folder has none. */
typedef int (*file_fn)(void *arg, int at, const char *name, struct coffer_error *err);
static int
each(const char *path, file_fn fn, void *arg, struct coffer_error *err)
{
    struct dirent *entry;
    DIR *folder = opendir(path);
    int rc = COFFER_OK;

    if (folder == NULL)
        return errno == ENOENT ? COFFER_OK
                               : error_set(err, COFFER_E_IO, "%s: %s", path, strerror(errno));
    while (rc == COFFER_OK && (entry = readdir(folder)) != NULL)
        if (name_good(entry->d_name))
            rc = fn(arg, dirfd(folder), entry->d_name, err);
    (void)closedir(folder);
    return rc;
}

/* ---- sealing ---- */

struct take {
    struct deploy *deploy;
    const struct database *database;
    char to[PATH_LEN];
    bool wanted; /* there is a backup from which the segments go on */
};

static bool
going_on(void *arg, uint64_t plain)
{
    (void)plain;
    return !atomic_load(&((struct deploy *)arg)->closing);
}

static int
seal_into(struct take *take, int in, int folder, const char *name, struct coffer_error *err)
{
    const struct keyring_key *key;
    struct snapshot *snapshot = NULL;
    struct stream_total total;
    char fresh[NAME_LEN + 8], stream[160];
    int out, rc = snapshot_take(take->deploy, &snapshot, err);

    if (rc != COFFER_OK)
        return rc;
    (void)snprintf(fresh, sizeof fresh, ".%.79s.new", name);
    stream_name(take->database->id, name, stream);
    key = keyring_active(snapshot_keyring(snapshot), KEY_BACKUP, "backup");
    out = openat(folder, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out < 0)
        rc = error_set(err, COFFER_E_IO, "%s/%s: %s", take->to, fresh, strerror(errno));
    if (rc == COFFER_OK && key == NULL)
        rc = error_set(err, COFFER_E_KEY, "the keyring has no active backup key");
    if (rc == COFFER_OK)
        rc = stream_seal(in, out, snapshot_keyring(snapshot), key->id, bytes_str(stream), going_on,
                         take->deploy, &total, err);
    if (rc == COFFER_OK &&
        (fsync(out) != 0 || renameat(folder, fresh, folder, name) != 0 || fsync(folder) != 0))
        rc = error_set(err, COFFER_E_IO, "%s/%s: %s", take->to, name, strerror(errno));
    if (out >= 0)
        close(out);
    if (rc != COFFER_OK)
        (void)unlinkat(folder, fresh, 0);
    snapshot_give(snapshot);
    return rc;
}

/* One that was sealed before a crash is sealed again: the server may have written more into it since. */
static int
take_segment(void *arg, int at, const char *name, struct coffer_error *err)
{
    struct take *take = arg;
    int in, folder, rc = COFFER_OK;

    if (atomic_load(&take->deploy->closing))
        return error_set(err, COFFER_E_CANCELLED, "stopped");
    if (take->wanted) {
        in = openat(at, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        folder = in < 0 ? -1 : open(take->to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        rc = folder < 0
                 ? error_set(err, COFFER_E_IO, "%s: %s", in < 0 ? name : take->to, strerror(errno))
                 : seal_into(take, in, folder, name, err);
        if (folder >= 0)
            close(folder);
        if (in >= 0)
            close(in);
    }
    if (rc == COFFER_OK && unlinkat(at, name, 0) != 0 && errno != ENOENT)
        rc = error_set(err, COFFER_E_IO, "%s: %s", name, strerror(errno));
    return rc;
}

/* ---- the keyring hears of the archive, and of where it begins ---- */

struct enter {
    struct keyring_backup backup;
    bool create;
    int64_t now_us;
};

static int
archive_id(const char *database, struct uuid *out, struct coffer_error *err)
{
    char text[48];
    uint8_t digest[32];
    int rc;

    (void)snprintf(text, sizeof text, "wal/%.36s", database);
    rc = sha256(bytes_str(text), digest, err);
    memcpy(out->b, digest, sizeof out->b);
    return rc;
}

static int
change_enter(struct keyring *kr, void *arg, struct coffer_error *err)
{
    return keyring_backup_put(kr, &((struct enter *)arg)->backup, err);
}

static int
change_expire(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct enter *enter = arg;

    for (size_t i = 0; i < keyring_backup_count(kr); i++) {
        struct keyring_backup b = *keyring_backup_at(kr, i);

        if (uuid_equal(&b.id, &enter->backup.id) && b.expired_us == 0) {
            b.expired_us = enter->now_us;
            return keyring_backup_put(kr, &b, err);
        }
    }
    return COFFER_OK;
}

static const struct keyring_backup *
entered(const struct keyring *kr, const struct uuid *id)
{
    for (size_t i = 0; i < keyring_backup_count(kr); i++) {
        const struct keyring_backup *b = keyring_backup_at(kr, i);

        if (uuid_equal(&b->id, id) && b->expired_us == 0)
            return b;
    }
    return NULL;
}

/* ---- what no backup goes on from any more ---- */

static int64_t
sealed_at(int at, const char *name)
{
    struct stat st;

    return fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0
               ? (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000
               : 0;
}

/* A segment that was whole and sealed before the oldest backup began has only what that backup holds.  Histories of timelines stay: every
 * recovery reads them. */
static int
drop_older(void *arg, int at, const char *name, struct coffer_error *err)
{
    const int64_t *start_us = arg;
    int64_t us = sealed_at(at, name);
    bool segment = strlen(name) == 24 && strspn(name, "0123456789ABCDEF") == 24;

    if (!segment || us == 0 || us >= *start_us - SETTLE_US || unlinkat(at, name, 0) == 0 ||
        errno == ENOENT)
        return COFFER_OK;
    return error_set(err, COFFER_E_IO, "%s: %s", name, strerror(errno));
}

static int
enter_archive(struct deploy *deploy, const struct database *d, int64_t start_us,
              struct coffer_error *err)
{
    struct enter enter = {.backup = {.start_us = start_us}};
    struct snapshot *snapshot = NULL;
    const struct keyring_backup *known;
    bool same, shorter;
    char path[PATH_LEN];
    int rc = archive_id(d->id, &enter.backup.id, err);

    if (rc == COFFER_OK)
        rc = snapshot_take(deploy, &snapshot, err);
    if (rc != COFFER_OK)
        return rc;
    if (!database_known_as(snapshot_keyring(snapshot), d, &enter.backup.database))
        (void)uuid_parse(bytes_str(d->id), &enter.backup.database);
    known = entered(snapshot_keyring(snapshot), &enter.backup.id);
    shorter = known != NULL && known->start_us < start_us;
    same = known != NULL && known->start_us == start_us &&
           uuid_equal(&known->database, &enter.backup.database);
    snapshot_give(snapshot);
    folder_of(deploy, d->id, path);
    if (shorter) /* files first: the keyring must not let go of a key that one of them needs */
        rc = each(path, drop_older, &start_us, err);
    if (rc != COFFER_OK)
        return rc;
    (void)snprintf(enter.backup.label, sizeof enter.backup.label, "%s log", d->name);
    return same ? COFFER_OK
                : audit_change(deploy_keyring(deploy), deploy->os, deploy->who, "backup.archive",
                               NULL, change_enter, &enter, NULL, err);
}

/* ---- the thread ---- */

static int
archive_one(void *arg, const struct database *d, struct coffer_error *err)
{
    struct take take = {.deploy = arg, .database = d};
    struct database_place place;
    struct coffer_error why = {0};
    char from[PATH_LEN];
    int64_t start = 0;
    bool found = false;
    int rc;

    (void)err;
    if (!d->archive || strcmp(d->state, "running") != 0 || atomic_load(&take.deploy->closing))
        return COFFER_OK;
    rc = database_place(take.deploy, d->id, 0, &place, &why);
    if (rc == COFFER_OK && run_mounted(&place)) {
        (void)snprintf(from, sizeof from, "%.500s/archive", place.mount);
        rc = state_number(take.deploy, &start, &found, &why,
                          "SELECT min(started) FROM backups WHERE database = ? AND kind = "
                          "'physical' AND state IN ('running', 'complete')",
                          "s", d->id);
        take.wanted = found && start > 0;
        folder_of(take.deploy, d->id, take.to);
        if (rc == COFFER_OK && take.wanted && mkdir(take.to, 0700) != 0 && errno != EEXIST)
            rc = error_set(&why, COFFER_E_IO, "%s: %s", take.to, strerror(errno));
        if (rc == COFFER_OK && take.wanted)
            rc = enter_archive(take.deploy, d, start, &why);
        if (rc == COFFER_OK)
            rc = each(from, take_segment, &take, &why);
    }
    database_place_wipe(&place);
    if (rc != COFFER_OK && rc != COFFER_E_CANCELLED)
        deploy_log(take.deploy, "the log of %s waits to be archived: %s", d->name, why.message);
    return COFFER_OK;
}

static void *
work(void *arg)
{
    struct deploy *deploy = arg;
    struct archiver *archiver = deploy->archiver;
    struct timespec until;
    unsigned looks = 0;

    pthread_mutex_lock(&archiver->lock);
    while (!archiver->end) {
        pthread_mutex_unlock(&archiver->lock);
        if (backup_table(deploy, NULL) == COFFER_OK)
            (void)!database_each(deploy, NULL, -1, archive_one, deploy, NULL);
        if (looks++ % RETENTION_LOOKS == 0)
            retention_look(deploy);
        pthread_mutex_lock(&archiver->lock);
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += LOOK_S;
        if (!archiver->end)
            (void)pthread_cond_timedwait(&archiver->changed, &archiver->lock, &until);
    }
    pthread_mutex_unlock(&archiver->lock);
    return NULL;
}

int
archive_start(struct deploy *deploy, struct coffer_error *err)
{
    struct archiver *archiver = mem_alloc(sizeof *archiver);

    if (archiver == NULL)
        return error_nomem(err);
    (void)pthread_mutex_init(&archiver->lock, NULL);
    (void)pthread_cond_init(&archiver->changed, NULL);
    deploy->archiver = archiver;
    if (pthread_create(&archiver->thread, NULL, work, deploy) == 0)
        return COFFER_OK;
    deploy->archiver = NULL;
    mem_free(archiver);
    return error_set(err, COFFER_E_NOMEM, "no thread for archives");
}

void
archive_stop(struct deploy *deploy)
{
    struct archiver *archiver = deploy->archiver;

    if (archiver == NULL)
        return;
    pthread_mutex_lock(&archiver->lock);
    archiver->end = true;
    pthread_cond_signal(&archiver->changed);
    pthread_mutex_unlock(&archiver->lock);
    pthread_join(archiver->thread, NULL);
    (void)pthread_cond_destroy(&archiver->changed);
    (void)pthread_mutex_destroy(&archiver->lock);
    mem_free(archiver);
    deploy->archiver = NULL;
}

/* ---- looking, opening, ending ---- */

static int
newest(void *arg, int at, const char *name, struct coffer_error *err)
{
    int64_t *us = arg, at_us = sealed_at(at, name);

    (void)err;
    *us = at_us > *us ? at_us : *us;
    return COFFER_OK;
}

int64_t
archive_until(const struct deploy *deploy, const char *database)
{
    char path[PATH_LEN];
    int64_t us = 0;

    folder_of(deploy, database, path);
    (void)!each(path, newest, &us, NULL);
    return us;
}

struct give {
    struct job *job;
    const char *database;
    const struct database_place *place;
    int to;
};

static bool
wanted_still(void *arg, uint64_t plain)
{
    (void)plain;
    return !job_cancelled(arg);
}

static int
give_segment(void *arg, int at, const char *name, struct coffer_error *err)
{
    struct give *give = arg;
    struct snapshot *snapshot = NULL;
    struct stream_total total;
    char stream[160];
    int in = openat(at, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), out;
    int rc = snapshot_take(give->job->deploy, &snapshot, err);

    out = openat(give->to, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    stream_name(give->database, name, stream);
    if (rc == COFFER_OK && (in < 0 || out < 0))
        rc = error_set(err, COFFER_E_IO, "%s: %s", name, strerror(errno));
    if (rc == COFFER_OK) {
        rc = stream_open(in, out, snapshot_keyring(snapshot), bytes_str(stream), wanted_still,
                         give->job, &total, err);
        if (rc != COFFER_OK && rc != COFFER_E_CANCELLED)
            (void)error_prefix(err, "segment %s of the log: ", name);
    }
    if (rc == COFFER_OK && give->place->place.uid != 0 &&
        fchown(out, give->place->place.uid, give->place->place.gid) != 0)
        rc = error_set(err, COFFER_E_IO, "%s: %s", name, strerror(errno));
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    snapshot_give(snapshot);
    return rc;
}

int
archive_unseal(struct job *job, const char *database, const struct database_place *place,
               struct coffer_error *err)
{
    struct give give = {.job = job, .database = database, .place = place, .to = -1};
    char from[PATH_LEN], to[PATH_LEN];
    int rc = COFFER_OK;

    folder_of(job->deploy, database, from);
    (void)snprintf(to, sizeof to, "%.500s/recover", place->mount);
    if ((mkdir(to, 0700) != 0 && errno != EEXIST) ||
        (give.to = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)) < 0)
        return error_set(err, COFFER_E_IO, "%s: %s", to, strerror(errno));
    if (place->place.uid != 0 && fchown(give.to, place->place.uid, place->place.gid) != 0)
        rc = error_set(err, COFFER_E_IO, "%s: %s", to, strerror(errno));
    if (rc == COFFER_OK)
        rc = each(from, give_segment, &give, err);
    close(give.to);
    return rc;
}

static int
remove_segment(void *arg, int at, const char *name, struct coffer_error *err)
{
    (void)arg;
    return unlinkat(at, name, 0) == 0 || errno == ENOENT
               ? COFFER_OK
               : error_set(err, COFFER_E_IO, "%s: %s", name, strerror(errno));
}

int
archive_expire(struct deploy *deploy, const struct backup *b, const char *who,
               struct coffer_error *err)
{
    struct enter enter = {.now_us = deploy->os->now_us(deploy->os)};
    char path[PATH_LEN];
    int64_t left = 0;
    int rc = state_number(deploy, &left, NULL, err,
                          "SELECT count(*) FROM backups WHERE database = ? AND kind = 'physical' "
                          "AND state IN ('running', 'complete')",
                          "s", b->database);

    folder_of(deploy, b->database, path);
    if (rc != COFFER_OK || left > 0 || access(path, F_OK) != 0)
        return rc;
    rc = each(path, remove_segment, NULL, err);
    if (rc == COFFER_OK && rmdir(path) != 0 && errno != ENOENT)
        rc = error_set(err, COFFER_E_IO, "%s: %s", path, strerror(errno));
    if (rc == COFFER_OK)
        rc = archive_id(b->database, &enter.backup.id, err);
    return rc == COFFER_OK
               ? audit_change(deploy_keyring(deploy), deploy->os, who, "backup.archive-expire",
                              NULL, change_expire, &enter, NULL, err)
               : rc;
}
