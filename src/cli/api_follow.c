/* SPDX-License-Identifier: Apache-2.0 */
/* A job of cofferd, followed to its end.  The job is cofferd's: Ctrl-C ends the following, not the work. */
#include "base/number.h"
#include "cli/api_client.h"
#include "cli/events.h"

#include <string.h>
#include <unistd.h>

struct follow {
    struct cli *cli;
    bool terminal, bar_shown, lines;
    size_t said; /* messages */
    json_int_t job;
    char step[64];
};

static void
bar_clear(struct follow *f)
{
    if (f->bar_shown)
        (void)fputs("\r\033[K", stderr);
    f->bar_shown = false;
}

static void
work_text(const json_t *job, char *out, size_t max)
{
    uint64_t done = (uint64_t)json_number_value(json_object_get(job, "done"));
    uint64_t total = (uint64_t)json_number_value(json_object_get(job, "total"));
    double rate = json_number_value(json_object_get(job, "rate"));
    double left = json_number_value(json_object_get(job, "seconds_left"));
    char size[32], speed[32], remaining[40];
    const char *unit = api_text(job, "unit");

    out[0] = '\0';
    if (done == 0 && total == 0)
        return;
    if (strcmp(unit, "rows") == 0) {
        progress_text(done, total, rate, left, terminal_width(STDERR_FILENO), out, max);
        return;
    }
    if (strcmp(unit, "bytes") == 0) {
        api_size(job, "done", size);
        api_size(job, "rate", speed);
    } else {
        grouped(done, size);
        grouped((uint64_t)(rate > 0 ? rate : 0), speed);
    }
    time_left_text(left, remaining, sizeof remaining);
    if (total > 0)
        (void)snprintf(out, max, "%3u%%  ", (unsigned)(done >= total ? 100 : (double)done * 100 / (double)total));
    (void)snprintf(out + strlen(out), max - strlen(out), "%s%s%s%s%s%s", size, strcmp(unit, "bytes") == 0 ? "" : " ",
                   strcmp(unit, "bytes") == 0 ? "" : unit, rate >= 1 ? "  " : "", rate >= 1 ? speed : "",
                   rate >= 1 ? "/s" : "");
    (void)snprintf(out + strlen(out), max - strlen(out), "%s", remaining);
}

static void
say(struct follow *f, const json_t *job)
{
    const json_t *messages = json_object_get(job, "messages");
    const char *step = api_text(job, "step");
    char text[200];

    if (f->cli->json) {
        if (f->lines)
            out_json(json_pack("{s:s,s:I,s:s,s:O?,s:O?,s:O?,s:O?}", "event", "progress", "job", f->job, "step", step, "done",
                               json_object_get(job, "done"), "total", json_object_get(job, "total"), "rate",
                               json_object_get(job, "rate"), "seconds_left", json_object_get(job, "seconds_left")));
        return;
    }
    for (; f->said < json_array_size(messages); f->said++) {
        bar_clear(f);
        (void)fprintf(stderr, "%-8s ", step);
        print_wrapped(stderr, api_text(json_array_get(messages, f->said), "text"), 9, terminal_width(STDERR_FILENO));
    }
    work_text(job, text, sizeof text);
    if (f->terminal) {
        (void)fprintf(stderr, "\r\033[K%-8s %s", step, text);
        (void)fflush(stderr);
        f->bar_shown = true;
    }
}

static int
stopped_following(struct follow *f, struct coffer_error *err)
{
    const char *state = args_text(f->cli->args, "state");
    char dir[1100] = "";

    if (state != NULL)
        (void)snprintf(dir, sizeof dir, " --state %s", state);
    return error_set(err, COFFER_E_CANCELLED,
                     "job %lld goes on without this command. Follow it with `coffer%s job show %lld --follow`, or stop it for now "
                     "with `coffer%s job pause %lld`",
                     (long long)f->job, dir, (long long)f->job, dir, (long long)f->job);
}

static int
ended(const struct follow *f, const char *state, const json_t *job, json_t **result, struct coffer_error *err)
{
    const json_t *error = json_object_get(job, "error");
    const char *text = json_is_object(error) ? api_text(error, "message") : api_text(job, "error");

    if (strcmp(state, "done") == 0) {
        *result = json_incref(json_object_get(job, "result"));
        return COFFER_OK;
    }
    if (strcmp(state, "paused") == 0)
        return error_set(err, COFFER_E_CANCELLED, "job %lld is paused; `coffer job resume %lld` goes on with it",
                         (long long)f->job, (long long)f->job);
    if (strcmp(state, "cancelled") == 0)
        return error_set(err, COFFER_E_CANCELLED, "job %lld was cancelled", (long long)f->job);
    return error_set(err, COFFER_E_IO, "job %lld failed in step %s: %s", (long long)f->job, api_text(job, "step"), text);
}

int
api_follow(struct cli *cli, json_int_t number, bool lines, json_t **result, struct coffer_error *err)
{
    struct follow f = {.cli = cli, .lines = lines, .job = number};
    char id[24];
    int rc = COFFER_OK;

    *result = NULL;
    f.terminal = !cli->json && isatty(STDERR_FILENO);
    (void)snprintf(id, sizeof id, "%lld", (long long)number);
    cli_catch_signals();
    while (rc == COFFER_OK) {
        json_t *job = NULL;
        const char *state;

        rc = api_call(cli, "GET", NULL, &job, err, f.terminal || lines ? "/jobs/%s?wait_ms=250" : "/jobs/%s?wait_ms=2000",
                      (const char *const[]){id});
        state = api_text(job, "state");
        if (rc == COFFER_OK)
            say(&f, job);
        if (rc == COFFER_OK && strcmp(state, "running") != 0) {
            bar_clear(&f);
            rc = ended(&f, state, job, result, err);
            json_decref(job);
            return rc;
        }
        json_decref(job);
        if (cli_stop) {
            bar_clear(&f);
            return stopped_following(&f, err);
        }
    }
    bar_clear(&f);
    return rc;
}

int
api_run(struct cli *cli, const char *method, json_t *body, json_t **reply, struct coffer_error *err, const char *path,
        const char *const *words)
{
    json_t *begun = NULL;
    const json_t *job;
    int rc = api_call(cli, method, body, reply, err, path, words);

    job = json_object_get(*reply, "job");
    if (rc != COFFER_OK || !json_is_integer(job) || json_object_size(*reply) != 1)
        return rc;
    begun = *reply;
    rc = api_follow(cli, json_integer_value(job), false, reply, err);
    json_decref(begun);
    return rc;
}
