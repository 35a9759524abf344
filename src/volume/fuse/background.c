/* SPDX-License-Identifier: Apache-2.0 */
/* Going to the background: the parent waits until the child serves, and says what it said. */
#include "base/mem.h"
#include "volume/fuse/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct volume_background {
    int pipe; /* to the parent; -1 once reported */
};

/* The child's word is its struct coffer_error, status 0 for "it serves". */
static int
hear(int from, pid_t child, struct coffer_error *err)
{
    struct coffer_error word;
    size_t have = 0;
    ssize_t got;

    while (have < sizeof word) {
        got = read(from, (char *)&word + have, sizeof word - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        have += (size_t)got;
    }
    close(from);
    if (have < sizeof word) {
        (void)waitpid(child, NULL, 0);
        return error_set(err, COFFER_E_IO, "the process in the background ended without a word");
    }
    if (word.status != COFFER_OK) {
        (void)waitpid(child, NULL, 0);
        if (err != NULL)
            *err = word;
    }
    return word.status;
}

int
volume_background_start(struct volume_background **out, bool *parent, struct coffer_error *err)
{
    struct volume_background *background = mem_alloc(sizeof *background);
    int ends[2];
    pid_t pid;

    *out = NULL;
    *parent = true;
    if (background == NULL)
        return error_nomem(err);
    if (pipe2(ends, O_CLOEXEC) != 0) {
        mem_free(background);
        return error_set(err, COFFER_E_IO, "cannot make a pipe: %s", strerror(errno));
    }
    pid = fork();
    if (pid < 0) {
        close(ends[0]);
        close(ends[1]);
        mem_free(background);
        return error_set(err, COFFER_E_IO, "cannot start a process: %s", strerror(errno));
    }
    if (pid > 0) {
        close(ends[1]);
        mem_free(background);
        return hear(ends[0], pid, err);
    }
    close(ends[0]);
    background->pipe = ends[1];
    *parent = false;
    *out = background;
    return COFFER_OK;
}

/* Off the terminal: what is said from now on goes to the log. */
static void
leave_terminal(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    (void)setsid();
    (void)!chdir("/");
    if (null < 0)
        return;
    for (int fd = 0; fd <= 2; fd++)
        (void)dup2(null, fd);
    if (null > 2)
        close(null);
}

void
volume_background_report(struct volume_background *background, int status,
                         const struct coffer_error *err)
{
    struct coffer_error word = {0};

    if (background == NULL || background->pipe < 0)
        return;
    if (err != NULL)
        word = *err;
    word.status = status;
    if (status == COFFER_OK)
        leave_terminal();
    (void)!write(background->pipe, &word, sizeof word);
    close(background->pipe);
    background->pipe = -1;
}

void
volume_background_free(struct volume_background *background)
{
    if (background != NULL && background->pipe >= 0)
        close(background->pipe);
    mem_free(background);
}
