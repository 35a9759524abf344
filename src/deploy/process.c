/* SPDX-License-Identifier: Apache-2.0 */
/* Programs that are waited for, and streams. */
#include "deploy/process.h"

#include "base/error.h"
#include "base/mem.h"
#include "deploy/process_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OUT_MAX (16u << 20)
#define ASK_EVERY_MS 250
#define TERM_WAIT_MS 10000

static int64_t
now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void
close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int
wait_for(pid_t pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

/* ---- run to the end ---- */

struct run {
    const struct process_spec *spec;
    struct bytes input;
    size_t written;
    struct buf *out;
    struct process_tail tail;
    int in, from, err_fd, ended; /* our ends, and the process */
    pid_t pid;
    bool too_much;
};

/* A write to a program that reads no further: the signal for it is taken back, whatever the process does about it. */
static void
feed(struct run *run)
{
    struct timespec at_once = {0, 0};
    sigset_t pipe_signal, before, waits;
    ssize_t n;

    (void)sigemptyset(&pipe_signal);
    (void)sigaddset(&pipe_signal, SIGPIPE);
    (void)sigpending(&waits);
    (void)pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    n = write(run->in, run->input.ptr + run->written, run->input.len - run->written);
    if (n > 0)
        run->written += (size_t)n;
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        run->written = run->input.len;
    if (n < 0 && errno == EPIPE && sigismember(&waits, SIGPIPE) == 0)
        (void)sigtimedwait(&pipe_signal, NULL, &at_once);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (run->written == run->input.len)
        close_fd(&run->in);
}

/* As process_tail_read(). */
static int
collect(struct run *run)
{
    uint8_t room[16384];
    ssize_t n = read(run->from, room, sizeof room);

    if (n <= 0)
        return n < 0 && (errno == EINTR || errno == EAGAIN) ? 0 : -1;
    if (run->out->len + (size_t)n > OUT_MAX)
        run->too_much = true;
    else
        buf_add(run->out, room, (size_t)n);
    return 1;
}

static int
open_pipes(struct run *run, struct spawn *how, struct coffer_error *err)
{
    int ends[2], rc = COFFER_OK;

    if (how->in < 0 && run->input.len > 0) {
        rc = process_pipe(ends, err);
        if (rc != COFFER_OK)
            return rc;
        how->in = ends[0];
        run->in = ends[1];
        (void)fcntl(run->in, F_SETFL, O_NONBLOCK);
    }
    if (how->out < 0 && run->out != NULL) {
        rc = process_pipe(ends, err);
        if (rc != COFFER_OK)
            return rc;
        how->out = ends[1];
        run->from = ends[0];
        (void)fcntl(run->from, F_SETFL, O_NONBLOCK);
    }
    if (how->err < 0) {
        rc = process_pipe(ends, err);
        if (rc != COFFER_OK)
            return rc;
        how->err = ends[1];
        run->err_fd = ends[0];
        (void)fcntl(run->err_fd, F_SETFL, O_NONBLOCK);
    }
    return rc;
}

static void
take(struct run *run, bool said, bool wrote, bool all)
{
    int got = 1;

    for (said = said && run->err_fd >= 0; said && got > 0; said = all)
        got = process_tail_read(&run->tail, run->err_fd);
    if (got < 0)
        close_fd(&run->err_fd);
    got = 1;
    for (wrote = wrote && run->from >= 0; wrote && got > 0; wrote = all)
        got = collect(run);
    if (got < 0)
        close_fd(&run->from);
}

/* Move bytes until it has ended.  Somebody that it left behind may hold its pipes open for ever: what is in them when it ends is
 * read, no more. */
static bool
attend(struct run *run, bool (*stop)(void *arg), void *arg)
{
    int64_t asked_ms = 0;
    bool asked = false, gone = false;

    while (!gone) {
        struct pollfd fds[4] = {{run->ended, POLLIN, 0},
                                {run->err_fd, POLLIN, 0},
                                {run->from, POLLIN, 0},
                                {run->in, POLLOUT, 0}};

        (void)poll(fds, 4, ASK_EVERY_MS);
        gone = fds[0].revents != 0;
        take(run, gone || fds[1].revents != 0, gone || fds[2].revents != 0, gone);
        if (run->in >= 0 && fds[3].revents != 0)
            feed(run);
        if (!asked && stop != NULL && !gone && stop(arg)) {
            asked = true;
            asked_ms = now_ms();
            (void)process_fd_signal(run->ended, SIGTERM);
        }
        if (asked && !gone && now_ms() - asked_ms > TERM_WAIT_MS)
            (void)process_fd_signal(run->ended, SIGKILL);
    }
    return asked;
}

int
process_run(const struct process_spec *spec, struct bytes input, struct buf *out,
            bool (*stop)(void *arg), void *arg, struct coffer_error *err)
{
    struct run run = {
        .spec = spec, .input = input, .out = out, .in = -1, .from = -1, .err_fd = -1, .ended = -1};
    struct spawn how = {.in = spec->in > 0 ? spec->in : -1,
                        .out = spec->out > 0 ? spec->out : -1,
                        .err = spec->err_fd > 0 ? spec->err_fd : -1,
                        .gate = -1};
    struct spawn lent = how;
    bool stopped = false;
    int rc = open_pipes(&run, &how, err), status;

    if (rc == COFFER_OK)
        rc = process_spawn(spec, &how, &run.pid, err);
    if (how.in != lent.in)
        close_fd(&how.in);
    if (how.out != lent.out)
        close_fd(&how.out);
    if (how.err != lent.err)
        close_fd(&how.err);
    if (rc == COFFER_OK) {
        run.ended = process_fd(run.pid);
        if (run.ended < 0) {
            rc = error_set(err, COFFER_E_UNSUPPORTED,
                           "this kernel has no pidfd_open: Linux 5.9 or later is needed");
            (void)kill(run.pid, SIGKILL);
        } else {
            stopped = attend(&run, stop, arg);
        }
        status = wait_for(run.pid);
        if (rc == COFFER_OK && stopped)
            rc = error_set(err, COFFER_E_CANCELLED, "%s was stopped, as asked", spec->argv[0]);
        else if (rc == COFFER_OK)
            rc = process_outcome(spec, status, &run.tail, err);
        if (rc == COFFER_OK && run.too_much)
            rc = error_set(err, COFFER_E_LIMIT, "%s wrote more than 16 MiB", spec->argv[0]);
        if (rc == COFFER_OK && out != NULL)
            rc = buf_status(out, err);
    }
    close_fd(&run.in);
    close_fd(&run.from);
    close_fd(&run.err_fd);
    close_fd(&run.ended);
    return rc;
}

/* ---- streams ---- */

struct process_stream {
    struct process_spec spec; /* argv[0] alone, for messages */
    pid_t pid;
    int fd, err_fd;
    bool listening;
    pthread_t listener;
    struct process_tail tail;
};

/* Somebody has to read what it says, or it stops when the pipe is full. */
static void *
listen_to(void *arg)
{
    struct process_stream *stream = arg;

    while (process_tail_read(&stream->tail, stream->err_fd) >= 0)
        ;
    return NULL;
}

static void
stream_free(struct process_stream *stream)
{
    close_fd(&stream->fd);
    close_fd(&stream->err_fd);
    process_spec_clear(&stream->spec);
    mem_free(stream);
}

int
process_stream_begin(const struct process_spec *spec, bool from_it, int *fd,
                     struct process_stream **out, struct coffer_error *err)
{
    struct spawn how = {.in = spec->in > 0 ? spec->in : -1,
                        .out = spec->out > 0 ? spec->out : -1,
                        .err = spec->err_fd > 0 ? spec->err_fd : -1,
                        .gate = -1};
    struct process_stream *stream = mem_alloc(sizeof *stream);
    int data[2] = {-1, -1}, said[2] = {-1, -1}, rc = COFFER_OK;

    *out = NULL;
    *fd = -1;
    if (stream == NULL)
        return error_nomem(err);
    stream->fd = stream->err_fd = -1;
    if (spec->argc > 0)
        rc = process_arg(&stream->spec, err, "%s", spec->argv[0]);
    if (rc == COFFER_OK)
        rc = process_pipe(data, err);
    if (rc == COFFER_OK && how.err < 0)
        rc = process_pipe(said, err);
    if (rc == COFFER_OK) {
        if (from_it)
            how.out = data[1];
        else
            how.in = data[0];
        if (how.err < 0)
            how.err = said[1];
        rc = process_spawn(spec, &how, &stream->pid, err);
    }
    close_fd(&said[1]);
    close_fd(&data[from_it ? 1 : 0]);
    stream->fd = data[from_it ? 0 : 1];
    stream->err_fd = said[0];
    if (rc == COFFER_OK && stream->err_fd >= 0) {
        stream->listening = pthread_create(&stream->listener, NULL, listen_to, stream) == 0;
        if (!stream->listening) {
            (void)kill(stream->pid, SIGKILL);
            (void)wait_for(stream->pid);
            rc = error_set(err, COFFER_E_NOMEM, "cannot start a thread");
        }
    }
    if (rc != COFFER_OK) {
        stream_free(stream);
        return rc;
    }
    *fd = stream->fd;
    *out = stream;
    return COFFER_OK;
}

int
process_stream_end(struct process_stream *stream, bool kill_it, struct coffer_error *err)
{
    int status, rc;

    if (stream == NULL)
        return COFFER_OK;
    close_fd(&stream->fd);
    if (kill_it) {
        int watch = process_fd(stream->pid);
        struct pollfd end = {watch, POLLIN, 0};

        (void)kill(stream->pid, SIGTERM);
        if (watch < 0 || poll(&end, 1, TERM_WAIT_MS) <= 0)
            (void)kill(stream->pid, SIGKILL);
        close_fd(&watch);
    }
    status = wait_for(stream->pid);
    if (stream->listening) {
        /* Whoever it left behind may keep the pipe open: its words are not waited for. */
        struct pollfd more = {stream->err_fd, POLLIN, 0};

        while (poll(&more, 1, 0) > 0 && (more.revents & POLLIN) != 0)
            (void)sched_yield();
        if ((more.revents & POLLHUP) == 0)
            (void)pthread_cancel(stream->listener);
        (void)pthread_join(stream->listener, NULL);
    }
    rc = kill_it
             ? error_set(err, COFFER_E_CANCELLED, "%s was stopped, as asked", stream->spec.argv[0])
             : process_outcome(&stream->spec, status, &stream->tail, err);
    stream_free(stream);
    return kill_it ? COFFER_OK : rc;
}
