/* SPDX-License-Identifier: Apache-2.0 */
/* A state folder opened and closed. */
#include "deploy/backup/archive.h"

#include "base/error.h"
#include "base/mem.h"
#include "deploy/engines/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

void
deploy_log(struct deploy *deploy, const char *format, ...)
{
    char line[700];
    va_list ap;

    if (deploy->log == NULL)
        return;
    va_start(ap, format);
    (void)vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    deploy->log(deploy->log_arg, line);
}

const char *
deploy_dir(const struct deploy *deploy)
{
    return deploy->dir;
}

/* ---- the folder ---- */

static int
make_folder(const char *dir, const char *name, mode_t mode, struct coffer_error *err)
{
    char path[DEPLOY_PATH_MAX + 32];

    (void)snprintf(path, sizeof path, "%s%s%s", dir, name[0] != '\0' ? "/" : "", name);
    if (mkdir(path, mode) != 0 && errno != EEXIST)
        return error_set(err, COFFER_E_IO, "%s: %s", path, strerror(errno));
    return COFFER_OK;
}

static int
check_owner(const char *dir, struct coffer_error *err)
{
    struct stat st;

    if (stat(dir, &st) != 0)
        return error_set(err, COFFER_E_IO, "%s: %s", dir, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return error_set(err, COFFER_E_REFUSED, "%s is no folder", dir);
    if (st.st_uid != geteuid())
        return error_set(err, COFFER_E_REFUSED,
                         "%s belongs to user %u, and this is user %u: run cofferd as its owner",
                         dir, (unsigned)st.st_uid, (unsigned)geteuid());
    if ((st.st_mode & 0022) != 0)
        return error_set(err, COFFER_E_REFUSED,
                         "others may write %s: chmod go-w it, and see that it is as you left it",
                         dir);
    return COFFER_OK;
}

/* As root the engines' accounts have to reach the volumes below, so that they may pass, not look. */
static int
open_folder(struct deploy *deploy, const char *dir, struct coffer_error *err)
{
    static const char *const inner[] = {"keyring", "tls", "backups"};
    mode_t pass = deploy->root ? 0711 : 0700;
    char *absolute;
    int rc = make_folder(dir, "", pass, err);

    if (rc != COFFER_OK)
        return rc;
    absolute = realpath(dir, NULL);
    if (absolute == NULL)
        return error_set(err, COFFER_E_IO, "%s: %s", dir, strerror(errno));
    /* The keyring knows volumes by paths of at most 184 bytes. */
    rc = strlen(absolute) > 140
             ? error_set(err, COFFER_E_LIMIT,
                         "the path of a state folder has at most 140 bytes: %.200s", absolute)
             : COFFER_OK;
    (void)snprintf(deploy->dir, sizeof deploy->dir, "%.500s", absolute);
    free(absolute);
    if (rc == COFFER_OK)
        rc = check_owner(deploy->dir, err);
    for (size_t i = 0; rc == COFFER_OK && i < sizeof inner / sizeof *inner; i++)
        rc = make_folder(deploy->dir, inner[i], 0700, err);
    return rc == COFFER_OK ? make_folder(deploy->dir, "databases", pass, err) : rc;
}

/* An ordinary user's mounts have their control sockets in $XDG_RUNTIME_DIR.  A session's goes with the session, and the mounts
 * outlive it: they, and who asks them, use a folder of this one. */
static int
control_folder(struct deploy *deploy, struct coffer_error *err)
{
    char path[DEPLOY_PATH_MAX + 8];
    int rc;

    if (deploy->root)
        return COFFER_OK;
    /* A Unix socket's name has at most 107 bytes: DIR/run/coffer/volume-0-9999.sock. */
    if (strlen(deploy->dir) > 76)
        return error_set(err, COFFER_E_LIMIT,
                         "the path of an ordinary user's state folder has at most 76 bytes, since "
                         "sockets are below it: %.200s",
                         deploy->dir);
    rc = make_folder(deploy->dir, "run", 0700, err);
    (void)snprintf(path, sizeof path, "%s/run", deploy->dir);
    if (rc == COFFER_OK && setenv("XDG_RUNTIME_DIR", path, 1) != 0)
        rc = error_nomem(err);
    return rc;
}

/* flock, so that the lock goes with the process whatever ends it; the number in it is for people. */
static int
take_lock(struct deploy *deploy, struct coffer_error *err)
{
    char path[DEPLOY_PATH_MAX + 8], text[32] = "";
    ssize_t n;

    (void)snprintf(path, sizeof path, "%s/lock", deploy->dir);
    deploy->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (deploy->lock_fd < 0)
        return error_set(err, COFFER_E_IO, "%s: %s", path, strerror(errno));
    if (flock(deploy->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        n = pread(deploy->lock_fd, text, sizeof text - 1, 0);
        text[n > 0 ? strcspn(text, "\n") : 0] = '\0';
        return error_set(err, COFFER_E_CONFLICT, "process %s serves %s already",
                         text[0] != '\0' ? text : "?", deploy->dir);
    }
    n = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(deploy->lock_fd, 0) != 0 || pwrite(deploy->lock_fd, text, (size_t)n, 0) != n)
        return error_set(err, COFFER_E_IO, "%s: %s", path, strerror(errno));
    return COFFER_OK;
}

/* ---- open ---- */

static void
init_locks(struct deploy *deploy)
{
    pthread_mutexattr_t recursive;

    (void)pthread_mutexattr_init(&recursive);
    (void)pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    (void)pthread_mutex_init(&deploy->lock, &recursive);
    (void)pthread_mutexattr_destroy(&recursive);
    (void)pthread_mutex_init(&deploy->keyring_lock, NULL);
    (void)pthread_mutex_init(&deploy->jobs_lock, NULL);
    (void)pthread_cond_init(&deploy->jobs_changed, NULL);
    (void)pthread_mutex_init(&deploy->watch_lock, NULL);
    (void)pthread_cond_init(&deploy->watch_changed, NULL);
}

static int
set_options(struct deploy *deploy, const struct deploy_options *options, struct coffer_error *err)
{
    char own[1024];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);

    own[n > 0 ? n : 0] = '\0';
    (void)snprintf(deploy->program, sizeof deploy->program, "%s",
                   options->program != NULL ? options->program : own);
    if (deploy->program[0] != '/')
        return error_set(err, COFFER_E_MISUSE, "the command is named by its absolute path");
    (void)snprintf(deploy->who, sizeof deploy->who, "%s",
                   options->who != NULL ? options->who : "cofferd");
    (void)snprintf(deploy->keyring_path, sizeof deploy->keyring_path,
                   "%.480s/keyring/keyring.coffer", deploy->dir);
    if (options->kek != NULL)
        (void)snprintf(deploy->kek, sizeof deploy->kek, "%s", options->kek);
    else
        (void)snprintf(deploy->kek, sizeof deploy->kek, "file:%.480s/keyring/kek.key", deploy->dir);
    return COFFER_OK;
}

/* What the rows say of the process before may have changed since. */
static int
begin_serving(struct deploy *deploy, struct coffer_error *err)
{
    int rc = state_run(
        deploy, err,
        "UPDATE databases SET state = CASE wanted WHEN 'running' THEN 'starting' ELSE 'stopped' END"
        " WHERE state IN ('running', 'starting', 'stopping', 'stopped')",
        "");

    if (rc == COFFER_OK)
        rc = supervise_start(deploy, err);
    if (rc == COFFER_OK)
        rc = archive_start(deploy, err);
    if (rc == COFFER_OK)
        jobs_resume(deploy);
    return rc;
}

int
deploy_open(const char *dir, const struct os *os, const struct deploy_options *options,
            struct deploy **out, struct coffer_error *err)
{
    struct deploy *deploy = mem_alloc(sizeof *deploy);
    char tls[DEPLOY_PATH_MAX + 8];
    int rc;

    *out = NULL;
    if (deploy == NULL)
        return error_nomem(err);
    deploy->os = os;
    deploy->log = options->log;
    deploy->log_arg = options->arg;
    deploy->serve = options->serve;
    deploy->root = geteuid() == 0;
    deploy->lock_fd = -1;
    deploy->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    init_locks(deploy);
    (void)signal(SIGPIPE,
                 SIG_IGN); /* a program that ends while it is written to is an error like others */
    rc = events_open(deploy, err);
    if (rc == COFFER_OK)
        rc = open_folder(deploy, dir, err);
    if (rc == COFFER_OK)
        rc = control_folder(deploy, err);
    if (rc == COFFER_OK)
        rc = set_options(deploy, options, err);
    if (rc == COFFER_OK)
        rc = take_lock(deploy, err);
    if (rc == COFFER_OK)
        rc = state_open(deploy, err);
    if (rc == COFFER_OK)
        rc = keys_open(deploy, err);
    (void)snprintf(tls, sizeof tls, "%s/tls", deploy->dir);
    if (rc == COFFER_OK)
        rc = tls_authority(os, tls, err);
    if (rc == COFFER_OK && deploy->serve)
        rc = begin_serving(deploy, err);
    if (rc != COFFER_OK) {
        deploy_close(deploy, false);
        return rc;
    }
    *out = deploy;
    return COFFER_OK;
}

/* ---- close ---- */

static int
halt_generation(void *arg, const struct database_place *place, struct coffer_error *err)
{
    int rc = run_stop_server(arg, place, err);

    return rc == COFFER_OK ? run_unmount(arg, place, err) : rc;
}

/* One that is being made, moved or destroyed, too: its job goes on at the next start, and finds what it has made. */
static int
stop_one(void *arg, const struct database *d, struct coffer_error *err)
{
    struct deploy *deploy = arg;
    struct coffer_error why = {0};

    (void)err;
    if (generations_each(deploy, d->id, halt_generation, deploy, &why) != COFFER_OK)
        deploy_log(deploy, "database %s could not be stopped: %s", d->name, why.message);
    else if (strcmp(d->state, "creating") != 0 && strcmp(d->state, "destroying") != 0)
        (void)!database_put_state(deploy, d->id, "stopped", NULL, NULL);
    return COFFER_OK;
}

void
deploy_close(struct deploy *deploy, bool stop_all)
{
    if (deploy == NULL)
        return;
    atomic_store(&deploy->closing, true);
    archive_stop(deploy); /* first: it begins jobs */
    jobs_stop(deploy);
    supervise_stop(deploy);
    if (stop_all && deploy->db != NULL)
        (void)!database_each(deploy, NULL, -1, stop_one, deploy, NULL);
    keys_close(deploy);
    if (deploy->db != NULL)
        state_close(deploy);
    events_close(deploy);
    if (deploy->wake_fd >= 0)
        close(deploy->wake_fd);
    if (deploy->lock_fd >= 0)
        close(deploy->lock_fd);
    (void)pthread_mutex_destroy(&deploy->lock);
    (void)pthread_mutex_destroy(&deploy->keyring_lock);
    (void)pthread_mutex_destroy(&deploy->jobs_lock);
    (void)pthread_cond_destroy(&deploy->jobs_changed);
    (void)pthread_mutex_destroy(&deploy->watch_lock);
    (void)pthread_cond_destroy(&deploy->watch_changed);
    mem_free(deploy);
}
