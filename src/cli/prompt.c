/* SPDX-License-Identifier: Apache-2.0 */
/* Questions on the terminal: passphrases without echo, and yes or no. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define PASSPHRASE_MAX 1024

/* A line from the terminal, byte by byte: stdio would keep a copy in its buffer. */
static int
read_line(int fd, struct secret *into, size_t *len, struct coffer_error *err)
{
    uint8_t *p = secret_expose_mut(into);

    for (*len = 0;;) {
        uint8_t c = 0;
        ssize_t n = read(fd, &c, 1);

        if (n < 0 && errno == EINTR && !cli_stop)
            continue;
        if (n < 0 || cli_stop)
            return error_set(err, COFFER_E_CANCELLED, "no passphrase was given");
        if (n == 0 || c == '\n')
            return COFFER_OK;
        if (*len == PASSPHRASE_MAX)
            return error_set(err, COFFER_E_LIMIT, "a passphrase has at most %d bytes", PASSPHRASE_MAX);
        p[(*len)++] = c;
    }
}

static int
ask_once(int fd, const char *question, struct secret **out, struct coffer_error *err)
{
    struct termios before, quiet;
    struct secret *line = NULL;
    size_t len = 0;
    int rc;

    rc = secret_new(PASSPHRASE_MAX, &line, err);
    if (rc != COFFER_OK)
        return rc;
    if (tcgetattr(fd, &before) != 0) {
        secret_free(line);
        return error_set(err, COFFER_E_REFUSED, "the terminal cannot be asked without echo");
    }
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    (void)tcsetattr(fd, TCSAFLUSH, &quiet);
    (void)dprintf(fd, "%s ", question);
    rc = read_line(fd, line, &len, err);
    (void)tcsetattr(fd, TCSAFLUSH, &before);
    (void)dprintf(fd, "\n");
    if (rc == COFFER_OK && len == 0)
        rc = error_set(err, COFFER_E_MISUSE, "the passphrase is empty");
    if (rc == COFFER_OK)
        rc = secret_copy(bytes_of(secret_expose(line).ptr, len), out, err);
    secret_free(line);
    return rc;
}

int
prompt_secret(void *arg, const char *question, bool confirm, struct secret **out, struct coffer_error *err)
{
    struct secret *again = NULL;
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    int rc;

    *out = NULL;
    if (fd < 0)
        return error_set(err, COFFER_E_REFUSED,
                         "there is no terminal to ask for the passphrase; use --kek passphrase:FILE or file:PATH");
    rc = ask_once(fd, question, out, err);
    if (rc == COFFER_OK && confirm) {
        rc = ask_once(fd, "The same again, to be sure:", &again, err);
        if (rc == COFFER_OK && !secret_equal(secret_expose(*out), secret_expose(again)))
            rc = error_set(err, COFFER_E_MISUSE, "the two passphrases differ; nothing was made");
    }
    if (rc != COFFER_OK) {
        secret_free(*out);
        *out = NULL;
    }
    secret_free(again);
    (void)close(fd);
    return rc;
}

bool
prompt_yes(const char *question)
{
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    char answer[16] = "";
    ssize_t n;

    if (fd < 0)
        return false;
    (void)dprintf(fd, "%s [y/N] ", question);
    n = read(fd, answer, sizeof answer - 1);
    (void)close(fd);
    return n > 0 && (answer[0] == 'y' || answer[0] == 'Y');
}
