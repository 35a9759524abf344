/* SPDX-License-Identifier: Apache-2.0 */
#include "host/terminal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static int
read_line(int fd, struct secret **out, struct coffer_error *err)
{
    struct secret *line = NULL;
    struct bytes view;
    size_t len = 0;
    char c;
    int rc = secret_new(KEK_PASSPHRASE_MAX + 1, &line, err);

    while (rc == COFFER_OK) {
        ssize_t n = read(fd, &c, 1);

        if (n <= 0 || c == '\n')
            break;
        if (len > KEK_PASSPHRASE_MAX)
            rc = error_set(err, COFFER_E_LIMIT, "a passphrase has at most %d bytes",
                           KEK_PASSPHRASE_MAX);
        else
            secret_expose_mut(line)[len++] = (uint8_t)c;
    }
    wipe(&c, sizeof c);
    if (rc == COFFER_OK && len == 0)
        rc = error_set(err, COFFER_E_MISUSE, "no passphrase was given");
    if (rc == COFFER_OK) {
        view = secret_expose(line);
        view.len = len;
        rc = secret_copy(view, out, err);
    }
    secret_free(line);
    return rc;
}

int
terminal_prompt(void *arg, const char *question, bool confirm, struct secret **out,
                struct coffer_error *err)
{
    struct termios before, silent;
    int rc, fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

    *out = NULL;
    if (fd < 0 || tcgetattr(fd, &before) != 0) {
        if (fd >= 0)
            close(fd);
        return error_set(err, COFFER_E_REFUSED,
                         "there is no terminal to ask for the passphrase: use passphrase:FILE");
    }
    silent = before;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    (void)tcsetattr(fd, TCSAFLUSH, &silent);
    dprintf(fd, "%s: ", question);
    rc = read_line(fd, out, err);
    (void)tcsetattr(fd, TCSAFLUSH, &before);
    dprintf(fd, "\n");
    close(fd);
    return rc;
}
