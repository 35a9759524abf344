/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/process_spawn.h"

#include "base/error.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define GROUPS_MAX 64

/* ---- specifications ---- */

void
process_spec_clear(struct process_spec *spec)
{
    for (size_t i = 0; i < spec->argc; i++)
        mem_free(spec->argv[i]);
    for (size_t i = 0; i < spec->envc; i++)
        mem_free(spec->env[i]);
    memset(spec, 0, sizeof *spec);
    spec->in = spec->out = spec->err_fd = -1;
}

static int
append(char **list, size_t *count, const char *format, va_list ap, struct coffer_error *err)
{
    va_list again;
    char *text;
    int len;

    if (*count >= PROCESS_ARGS_MAX)
        return error_set(err, COFFER_E_LIMIT, "more than %d arguments for a program",
                         PROCESS_ARGS_MAX);
    va_copy(again, ap);
    len = vsnprintf(NULL, 0, format, again);
    va_end(again);
    text = len < 0 ? NULL : mem_alloc((size_t)len + 1);
    if (text == NULL)
        return error_nomem(err);
    (void)vsnprintf(text, (size_t)len + 1, format, ap);
    list[(*count)++] = text;
    list[*count] = NULL;
    return COFFER_OK;
}

int
process_arg(struct process_spec *spec, struct coffer_error *err, const char *format, ...)
{
    va_list ap;
    int rc;

    va_start(ap, format);
    rc = append(spec->argv, &spec->argc, format, ap, err);
    va_end(ap);
    return rc;
}

int
process_env(struct process_spec *spec, struct coffer_error *err, const char *format, ...)
{
    va_list ap;
    int rc;

    va_start(ap, format);
    rc = append(spec->env, &spec->envc, format, ap, err);
    va_end(ap);
    return rc;
}

/* ---- descriptors ---- */

int
process_pipe(int ends[2], struct coffer_error *err)
{
    if (pipe2(ends, O_CLOEXEC) == 0)
        return COFFER_OK;
    ends[0] = ends[1] = -1;
    return error_set(err, COFFER_E_IO, "cannot make a pipe: %s", strerror(errno));
}

int
process_fd(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

int
process_fd_signal(int fd, int signal)
{
    return (int)syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0);
}

/* ---- in the child: between fork and exec of a program with threads, only what may be called in a signal handler ---- */

struct child {
    const struct process_spec *spec;
    const struct spawn *how;
    char *const *env;
    gid_t groups[GROUPS_MAX];
    int group_count;
    bool switch_account;
    int report; /* a failure's errno goes here */
};

static bool
place_descriptors(const struct child *c)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int from[3] = {c->how->in, c->how->out, c->how->err};

    if (null < 0)
        return false;
    /* Out of the way of 0 to 2 first, so that none is overwritten before it is copied. */
    for (int i = 0; i < 3; i++) {
        from[i] = fcntl(from[i] < 0 ? null : from[i], F_DUPFD_CLOEXEC, 3);
        if (from[i] < 0)
            return false;
    }
    for (int i = 0; i < 3; i++)
        if (dup2(from[i], i) < 0)
            return false;
    return true;
}

static bool
become_account(const struct child *c)
{
    if (!c->switch_account)
        return true;
    return setgroups((size_t)c->group_count, c->groups) == 0 &&
           setresgid(c->spec->gid, c->spec->gid, c->spec->gid) == 0 &&
           setresuid(c->spec->uid, c->spec->uid, c->spec->uid) == 0;
}

static _Noreturn void
child_run(struct child *c)
{
    struct rlimit none = {0, 0};
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigset_t empty;
    char byte;
    int code;

    c->report = fcntl(c->report, F_DUPFD_CLOEXEC, 3);
    if (c->how->gate >= 0) {
        ssize_t n;

        close(c->how->gate_ours);
        do
            n = read(c->how->gate, &byte, 1);
        while (n < 0 && errno == EINTR);
        if (n != 1)
            _exit(127);
    }
    (void)setsid();
    for (int s = 1; s < NSIG; s++)
        (void)sigaction(s, &plain, NULL);
    (void)sigemptyset(&empty);
    (void)sigprocmask(SIG_SETMASK, &empty, NULL);
    (void)umask(0077);
    if (setrlimit(RLIMIT_CORE, &none) == 0 && place_descriptors(c)) {
        (void)close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
        if (become_account(c) && chdir(c->spec->cwd[0] != '\0' ? c->spec->cwd : "/") == 0)
            (void)execve(c->spec->argv[0], c->spec->argv, c->env);
    }
    code = errno;
    (void)!write(c->report, &code, sizeof code);
    _exit(127);
}

/* ---- in the parent ---- */

/* The account's own groups, looked up before the fork. */
static int
find_groups(const struct process_spec *spec, struct child *child, struct coffer_error *err)
{
    char room[4096];
    struct passwd entry, *found = NULL;

    child->switch_account = geteuid() == 0 && (spec->uid != 0 || spec->gid != 0);
    if (!child->switch_account) {
        if (spec->uid != 0 && spec->uid != geteuid())
            return error_set(err, COFFER_E_REFUSED, "only root runs a program as another account");
        return COFFER_OK;
    }
    child->group_count = 1;
    child->groups[0] = spec->gid;
    if (getpwuid_r(spec->uid, &entry, room, sizeof room, &found) == 0 && found != NULL) {
        child->group_count = GROUPS_MAX;
        if (getgrouplist(found->pw_name, spec->gid, child->groups, &child->group_count) < 0)
            child->group_count = GROUPS_MAX; /* more than that: the first ones */
    }
    return COFFER_OK;
}

static int
spawn_failed(const struct process_spec *spec, pid_t pid, int code, struct coffer_error *err)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (code == ENOENT && access(spec->argv[0], F_OK) != 0)
        return error_set(err, COFFER_E_NOTFOUND, "there is no program %s", spec->argv[0]);
    return error_set(err, COFFER_E_IO, "cannot run %s: %s", spec->argv[0], strerror(code));
}

int
process_spawn(const struct process_spec *spec, const struct spawn *how, pid_t *pid,
              struct coffer_error *err)
{
    static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    static char lang[] = "LANG=C.UTF-8", zone[] = "TZ=UTC";
    char *env[PROCESS_ARGS_MAX + 4];
    struct child child = {.spec = spec, .how = how, .env = env};
    sigset_t all, before;
    size_t n = 0;
    int report[2], code = 0, rc;
    ssize_t got;

    *pid = -1;
    if (spec->argc == 0 || spec->argv[0][0] != '/')
        return error_set(err, COFFER_E_MISUSE, "a program is named by its absolute path");
    rc = find_groups(spec, &child, err);
    if (rc != COFFER_OK)
        return rc;
    env[n++] = path;
    env[n++] = lang;
    env[n++] = zone;
    for (size_t i = 0; i < spec->envc; i++)
        env[n++] = spec->env[i];
    env[n] = NULL;
    rc = process_pipe(report, err);
    if (rc != COFFER_OK)
        return rc;
    child.report = report[1];
    /* No handler of ours may run in the child, where it would act on what both share. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    *pid = fork();
    if (*pid == 0)
        child_run(&child);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(report[1]);
    if (*pid < 0) {
        close(report[0]);
        return error_set(err, COFFER_E_IO, "cannot start %s: %s", spec->argv[0], strerror(errno));
    }
    if (how->gate >= 0) { /* it reports nothing before the gate opens, and that is later */
        close(report[0]);
        return COFFER_OK;
    }
    do
        got = read(report[0], &code, sizeof code);
    while (got < 0 && errno == EINTR);
    close(report[0]);
    return got == (ssize_t)sizeof code ? spawn_failed(spec, *pid, code, err) : COFFER_OK;
}

/* ---- what it said, and how it ended ---- */

int
process_tail_read(struct process_tail *tail, int fd)
{
    char room[4096];
    ssize_t n = read(fd, room, sizeof room);
    size_t got, keep;

    if (n <= 0)
        return n < 0 && (errno == EINTR || errno == EAGAIN) ? 0 : -1;
    got = (size_t)n;
    keep = tail->len;
    if (keep + got > PROCESS_TAIL_MAX)
        keep = PROCESS_TAIL_MAX - got;
    memmove(tail->text, tail->text + tail->len - keep, keep);
    memcpy(tail->text + keep, room, got);
    tail->len = keep + got;
    tail->text[tail->len] = '\0';
    return 1;
}

/* The last lines that fit in a message, as one line. */
static const char *
tail_words(const struct process_tail *tail, char *out, size_t max)
{
    size_t end, start, len = 0;

    if (tail == NULL)
        return "";
    for (end = tail->len; end > 0 && (unsigned char)tail->text[end - 1] <= ' '; end--)
        ;
    start = end > max - 1 ? end - (max - 1) : 0;
    if (start > 0) { /* from the beginning of a line, if there is one */
        const char *line = memchr(tail->text + start, '\n', end - start);

        if (line != NULL)
            start = (size_t)(line + 1 - tail->text);
    }
    for (size_t i = start; i < end; i++)
        out[len++] = tail->text[i] == '\n' ? ' ' : tail->text[i];
    out[len] = '\0';
    return out;
}

int
process_outcome(const struct process_spec *spec, int status, const struct process_tail *tail,
                struct coffer_error *err)
{
    const char *name = strrchr(spec->argv[0], '/') + 1;
    char words[380];
    const char *said = tail_words(tail, words, sizeof words);

    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return COFFER_OK;
    if (WIFSIGNALED(status))
        return error_set(err, COFFER_E_IO, "%s was ended by signal %d%s%s", name, WTERMSIG(status),
                         said[0] != '\0' ? ": " : "", said);
    return error_set(err, COFFER_E_IO, "%s failed with exit code %d%s%s", name, WEXITSTATUS(status),
                     said[0] != '\0' ? ": " : "", said);
}
