/* SPDX-License-Identifier: Apache-2.0 */
/* Programs that cofferd starts: short ones, streams, and servers that outlive it.
 *
 * Every child gets: a clean environment (PATH, LANG=C.UTF-8, TZ=UTC, and what `env` says), stdin from /dev/null, no inherited descriptor, its
 * own session, core dumps off, and, as root, the account that it shall run as, with that account's groups only.
 * Secrets go by descriptor or by a file of mode 0600 inside the volume; never in argv or the environment.
 */
#ifndef COFFER_DEPLOY_PROCESS_H
#define COFFER_DEPLOY_PROCESS_H

#include "base/bytes.h"

#include <stdbool.h>
#include <sys/types.h>

#define PROCESS_ARGS_MAX 64

struct process_spec {
    char *argv[PROCESS_ARGS_MAX + 1]; /* owned; argv[0] an absolute path */
    char *env[PROCESS_ARGS_MAX + 1];  /* "NAME=value"; owned */
    size_t argc, envc;
    char cwd[4096];                   /* "": "/" */
    uid_t uid;                        /* with gid; as the caller when 0 */
    gid_t gid;
    int in, out, err_fd;              /* descriptors that become 0, 1, 2; -1: /dev/null (err_fd -1: collected) */
};
void process_spec_clear(struct process_spec *spec);
/* Append an argument, formatted.  NOMEM, LIMIT. */
COFFER_MUST_CHECK int process_arg(struct process_spec *spec, struct coffer_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
COFFER_MUST_CHECK int process_env(struct process_spec *spec, struct coffer_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Run to the end.  What it wrote to stderr (at most its last 4 KiB) becomes part of the message when it fails: IO, with program and exit
 * code or signal.  `out` (NULL: dropped) takes at most 16 MiB of stdout when spec->out is -1.  NOTFOUND: no such program.
 * CANCELLED: `stop` said so (it is asked 4 times a second; may be NULL); the program was ended by SIGTERM, after 10 s SIGKILL. */
COFFER_MUST_CHECK int process_run(const struct process_spec *spec, struct bytes input, struct buf *out, bool (*stop)(void *arg), void *arg,
                                  struct coffer_error *err);

/* A program whose output (or input) is a stream: `*fd` is our end of the pipe.  End it with process_stream_end(), which closes the
 * descriptor, waits, and gives the same errors as process_run(). */
struct process_stream;
COFFER_MUST_CHECK int process_stream_begin(const struct process_spec *spec, bool from_it, int *fd, struct process_stream **out,
                                           struct coffer_error *err);
COFFER_MUST_CHECK int process_stream_end(struct process_stream *stream, bool kill_it, struct coffer_error *err);

/* ---- servers that outlive us ---- */

struct process_id { /* a process, not mistaken for a later one of the same number */
    pid_t pid;
    uint64_t started; /* field 22 of /proc/PID/stat; with the boot id, so that nothing survives a reboot */
    char boot[37];
};
/* Start in the background; stdout and stderr to `log` (made 0640, appended), which lies inside the volume.  The id is written to `pid_file`,
 * synced, before the program runs. */
COFFER_MUST_CHECK int process_start(const struct process_spec *spec, const char *log, const char *pid_file, struct process_id *out,
                                    struct coffer_error *err);
/* The id in a pid file, if that very process is alive.  NOTFOUND. */
COFFER_MUST_CHECK int process_find(const char *pid_file, struct process_id *out, struct coffer_error *err);
bool process_alive(const struct process_id *id);
/* A descriptor that polls readable when the process ends (pidfd), child or not; -1 if it is gone already. */
int process_watch(const struct process_id *id);
/* Signal, wait up to `wait_ms`, then SIGKILL.  OK when it is gone (also before). */
COFFER_MUST_CHECK int process_stop(const struct process_id *id, int signal, unsigned wait_ms, struct coffer_error *err);

#endif
