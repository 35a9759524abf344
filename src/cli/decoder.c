/* SPDX-License-Identifier: Apache-2.0 */
/* The decoder hook of protect: {"column":…,"value":…} to a child's input, {"value":…} from its output, a line each. */
#include "base/mem.h"
#include "cli/work.h"
#include "field/field.h"

#include <string.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define DECODER_LINE_MAX (96u << 20)

struct decoder {
    pid_t pid;
    const char *command;
    FILE *to, *from;
    char *line;
    size_t line_size;
};

int
decoder_start(const char *command, struct decoder **out, struct coffer_error *err)
{
    int in[2], back[2];
    struct decoder *d = mem_alloc(sizeof *d);

    *out = NULL;
    if (d == NULL)
        return error_nomem(err);
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(back, O_CLOEXEC) != 0) {
        mem_free(d);
        return error_set(err, COFFER_E_IO, "--decoder: no pipe to the command");
    }
    (void)signal(SIGPIPE, SIG_IGN); /* a decoder that died is an error of a write, not the end of us */
    d->pid = fork();
    if (d->pid == 0) {
        (void)dup2(in[0], STDIN_FILENO);
        (void)dup2(back[1], STDOUT_FILENO);
        (void)execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    (void)close(in[0]);
    (void)close(back[1]);
    d->command = command;
    d->to = fdopen(in[1], "w");
    d->from = fdopen(back[0], "r");
    if (d->pid < 0 || d->to == NULL || d->from == NULL) {
        mem_free(d);
        return error_set(err, COFFER_E_IO, "--decoder %s: cannot be started", command);
    }
    *out = d;
    return COFFER_OK;
}

void
decoder_stop(struct decoder *d)
{
    if (d == NULL)
        return;
    (void)fclose(d->to);
    (void)fclose(d->from);
    (void)waitpid(d->pid, NULL, 0);
    if (d->line != NULL)
        wipe(d->line, d->line_size);
    free(d->line);
    mem_free(d);
}

static int
ended(const struct decoder *d, struct coffer_error *err)
{
    return error_set(err, COFFER_E_IO, "'%s' ended without an answer", d->command);
}

static int
send_value(struct decoder *d, const struct keyring_column *column, const struct coffer_value *old,
           struct coffer_error *err)
{
    struct buf text;
    json_t *line;
    int rc;

    buf_init(&text, DECODER_LINE_MAX);
    rc = value_format(old, &text, err);
    if (rc == COFFER_OK) {
        line = json_pack("{s:s,s:s,s:s%}", "table", column->table, "column", column->name, "value",
                         buf_cstr(&text), text.len);
        if (line == NULL || json_dumpf(line, d->to, JSON_COMPACT) != 0 || fputc('\n', d->to) == EOF ||
            fflush(d->to) != 0)
            rc = ended(d, err);
        json_decref(line);
    }
    buf_wipe(&text);
    return rc;
}

int
decoder_decode(void *arg, const struct keyring_column *column, const struct coffer_value *old, struct buf *storage,
               struct coffer_value *out, struct coffer_error *err)
{
    struct decoder *d = arg;
    json_t *answer = NULL, *value;
    ssize_t len;
    int rc = send_value(d, column, old, err);

    if (rc != COFFER_OK)
        return rc;
    len = getline(&d->line, &d->line_size, d->from);
    if (len <= 0)
        return ended(d, err);
    answer = json_loadb(d->line, (size_t)len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    value = json_object_get(answer, "value");
    if (json_is_null(value))
        *out = (struct coffer_value){.type = COFFER_NULL};
    else if (json_is_string(value))
        rc = value_parse(column->type, bytes_of(json_string_value(value), json_string_length(value)), storage, out,
                         err);
    else
        rc = error_set(err, COFFER_E_FORMAT, "--decoder: the answer is not {\"value\":\"…\"} in one line");
    json_decref(answer);
    return rc;
}
