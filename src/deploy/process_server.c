/* SPDX-License-Identifier: Apache-2.0 */
/* Servers that outlive us, by their pid files.  docs/FORMAT.md "Pid file". */
#include "base/error.h"
#include "base/os.h"
#include "deploy/process_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILL_WAIT_MS 10000

/* State and start time of a process, from /proc/PID/stat. */
static bool
read_stat(pid_t pid, char *state, uint64_t *started)
{
    char path[64], text[2048], *p;
    ssize_t n;
    int fd;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    p = strrchr(text, ')'); /* the name before it may hold anything */
    if (p == NULL || p[1] != ' ')
        return false;
    *state = p[2];
    p += 2;
    for (int field = 3; field < 22; field++) {
        p = strchr(p, ' ');
        if (p == NULL)
            return false;
        p++;
    }
    *started = strtoull(p, NULL, 10);
    return true;
}

static void
read_boot(char out[37])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

    memset(out, 0, 37);
    if (fd < 0)
        return;
    if (read(fd, out, 36) != 36)
        out[0] = '\0';
    close(fd);
}

bool
process_alive(const struct process_id *id)
{
    uint64_t started;
    char state, boot[37];

    read_boot(boot);
    if (id->pid <= 0 || strcmp(boot, id->boot) != 0 || !read_stat(id->pid, &state, &started) ||
        started != id->started)
        return false;
    if (state == 'Z' || state == 'X') {
        (void)waitpid(id->pid, NULL, WNOHANG); /* if it is a child of ours */
        return false;
    }
    return true;
}

int
process_watch(const struct process_id *id)
{
    int fd = process_fd(id->pid);

    if (fd < 0)
        return -1;
    if (!process_alive(id)) { /* looked at after the descriptor names it: it is no other */
        close(fd);
        return -1;
    }
    return fd;
}

/* ---- pid files ---- */

static int
pid_write(const char *path, const struct process_id *id, struct coffer_error *err)
{
    char text[128];

    (void)snprintf(text, sizeof text, "%d %" PRIu64 " %s\n", (int)id->pid, id->started, id->boot);
    return os_real.write_file(&os_real, path, bytes_str(text), 0644, false, err);
}

int
process_find(const char *pid_file, struct process_id *out, struct coffer_error *err)
{
    struct buf text;
    int rc, pid = 0;

    memset(out, 0, sizeof *out);
    buf_init(&text, 256);
    rc = os_real.read_file(&os_real, pid_file, 256, &text, err);
    if (rc == COFFER_OK &&
        sscanf(buf_cstr(&text), "%d %" SCNu64 " %36s", &pid, &out->started, out->boot) != 3)
        rc = error_set(err, COFFER_E_NOTFOUND, "%s is no pid file", pid_file);
    out->pid = pid;
    buf_wipe(&text);
    if (rc == COFFER_OK && !process_alive(out))
        rc = error_set(err, COFFER_E_NOTFOUND, "process %d of %s has ended", pid, pid_file);
    if (rc != COFFER_OK)
        out->pid = 0;
    return rc;
}

/* ---- start and stop ---- */

static int
open_log(const struct process_spec *spec, const char *path, int *fd, struct coffer_error *err)
{
    /* Not through a link: the folder belongs to the account that the program runs as, and we may be root. */
    *fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0640);
    if (*fd < 0)
        return error_set(err, COFFER_E_IO, "%s: %s", path, strerror(errno));
    if (geteuid() == 0 && spec->uid != 0 && fchown(*fd, spec->uid, spec->gid) != 0) {
        int code = errno;

        close(*fd);
        *fd = -1;
        return error_set(err, COFFER_E_IO, "%s: %s", path, strerror(code));
    }
    return COFFER_OK;
}

/* One at a time: a child that waits at its gate must not hold another one's open. */
static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;

int
process_start(const struct process_spec *spec, const char *log, const char *pid_file,
              struct process_id *out, struct coffer_error *err)
{
    struct spawn how = {.in = spec->in > 0 ? spec->in : -1};
    int gate[2] = {-1, -1}, log_fd = -1, rc;
    pid_t pid = -1;
    char state;

    memset(out, 0, sizeof *out);
    if (spec->argc == 0 || access(spec->argv[0], X_OK) != 0)
        return error_set(err, COFFER_E_NOTFOUND, "there is no program %s",
                         spec->argc == 0 ? "" : spec->argv[0]);
    rc = open_log(spec, log, &log_fd, err);
    (void)pthread_mutex_lock(&starting);
    if (rc == COFFER_OK)
        rc = process_pipe(gate, err);
    how.out = how.err = log_fd;
    how.gate = gate[0];
    how.gate_ours = gate[1];
    if (rc == COFFER_OK)
        rc = process_spawn(spec, &how, &pid, err);
    if (gate[0] >= 0)
        close(gate[0]);
    if (log_fd >= 0)
        close(log_fd);
    if (rc == COFFER_OK) {
        out->pid = pid;
        read_boot(out->boot);
        rc = read_stat(pid, &state, &out->started)
                 ? pid_write(pid_file, out, err)
                 : error_set(err, COFFER_E_IO, "/proc/%d/stat cannot be read: is /proc mounted?",
                             (int)pid);
        /* From here on whoever comes after us finds it.  Without the byte it ends. */
        if (rc == COFFER_OK && write(gate[1], "g", 1) != 1)
            rc = error_set(err, COFFER_E_IO, "%s ended before it began", spec->argv[0]);
    }
    if (gate[1] >= 0)
        close(gate[1]);
    (void)pthread_mutex_unlock(&starting);
    if (rc != COFFER_OK && pid > 0) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        memset(out, 0, sizeof *out);
    }
    return rc;
}

int
process_stop(const struct process_id *id, int signal, unsigned wait_ms, struct coffer_error *err)
{
    int fd = process_watch(id);
    struct pollfd end = {fd, POLLIN, 0};
    int rc = COFFER_OK;

    if (fd < 0)
        return COFFER_OK;
    if (process_fd_signal(fd, signal) != 0 && errno != ESRCH) {
        rc =
            error_set(err, COFFER_E_IO, "cannot end process %d: %s", (int)id->pid, strerror(errno));
    } else if (poll(&end, 1, (int)wait_ms) <= 0) {
        (void)process_fd_signal(fd, SIGKILL);
        if (poll(&end, 1, KILL_WAIT_MS) <= 0)
            rc =
                error_set(err, COFFER_E_IO,
                          "process %d does not end, although it was killed: it hangs in the kernel",
                          (int)id->pid);
    }
    close(fd);
    (void)process_alive(id); /* takes the last of a child */
    return rc;
}
