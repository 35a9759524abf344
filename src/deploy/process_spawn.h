/* SPDX-License-Identifier: Apache-2.0 */
/* The fork and exec under process.h, shared by programs that are waited for, streams, and servers. */
#ifndef COFFER_DEPLOY_PROCESS_SPAWN_H
#define COFFER_DEPLOY_PROCESS_SPAWN_H

#include "deploy/process.h"

#include <pthread.h>

struct spawn {
    int in, out, err; /* what becomes 0, 1, 2; borrowed; -1: /dev/null */
    int gate_ours;    /* with a gate: the end that the child must not keep open itself */
    int gate;         /* -1, or what the child reads one byte of before it runs the program: end of file, and it exits */
};
/* NOTFOUND: no such program; IO: it cannot be run, or not as that account.  With a gate the child has not tried yet. */
COFFER_MUST_CHECK int process_spawn(const struct process_spec *spec, const struct spawn *how, pid_t *pid, struct coffer_error *err);

/* The end of what a program said on its standard error. */
#define PROCESS_TAIL_MAX 4096
struct process_tail {
    char text[PROCESS_TAIL_MAX + 1];
    size_t len;
};
/* Read some of what is there: 1; 0: nothing now (a descriptor that does not block); -1: the end. */
int process_tail_read(struct process_tail *tail, int fd);
/* What became of a program, by its wait status. */
COFFER_MUST_CHECK int process_outcome(const struct process_spec *spec, int status, const struct process_tail *tail,
                                      struct coffer_error *err);

/* A pipe whose ends are closed at exec. */
COFFER_MUST_CHECK int process_pipe(int ends[2], struct coffer_error *err);
/* A descriptor that polls readable when the process ends; -1. */
int process_fd(pid_t pid);
int process_fd_signal(int fd, int signal);

#endif
