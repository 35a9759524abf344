/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/events.h"

#include <string.h>
#include <unistd.h>

#define LINE_EVERY_MS 5000

void
time_left_text(double seconds, char *out, size_t max)
{
    unsigned long s = (unsigned long)(seconds + 0.5);

    if (!(seconds >= 0.5))
        out[0] = '\0';
    else if (s < 60)
        (void)snprintf(out, max, "  %lus left", s);
    else if (s < 3600)
        (void)snprintf(out, max, "  %lum%02lus left", s / 60, s % 60);
    else
        (void)snprintf(out, max, "  %luh%02lum left", s / 3600, s / 60 % 60);
}

void
progress_text(uint64_t done, uint64_t total, double rate, double left, size_t width, char *out, size_t out_max)
{
    char rows[32], speed[48], remaining[40], bar[64];
    unsigned percent = total == 0 ? 0 : (unsigned)(done >= total ? 100 : (double)done * 100.0 / (double)total);
    size_t cells = width > 60 ? (width > 100 ? 40 : 20) : 0;

    grouped(done, rows);
    grouped((uint64_t)(rate > 0 ? rate : 0), speed);
    (void)strcat(speed, " rows/s");
    time_left_text(left, remaining, sizeof remaining);
    for (size_t i = 0; i < cells; i++)
        bar[i] = i < cells * percent / 100 ? '#' : '.';
    bar[cells] = '\0';
    if (!(rate >= 1)) /* not known yet, or standing still */
        speed[0] = remaining[0] = '\0';
    if (total == 0)
        (void)snprintf(out, out_max, "%s row%s%s%s", rows, done == 1 ? "" : "s", speed[0] != '\0' ? "  " : "", speed);
    else
        (void)snprintf(out, out_max, "%s%s%s%3u%%  %s row%s%s%s%s", cells > 0 ? "[" : "", bar,
                       cells > 0 ? "] " : "", percent, rows, done == 1 ? "" : "s", speed[0] != '\0' ? "  " : "", speed, remaining);
}

static void
bar_clear(struct events *e)
{
    if (e->bar_shown)
        (void)fputs("\r\033[K", stderr);
    e->bar_shown = false;
}

static void
say_progress_line(struct events *e, const struct rotate_event *event)
{
    int64_t now = e->cli->os->monotonic_ms(e->cli->os);
    char text[200];

    progress_text(event->done, event->total, event->rows_per_second, event->seconds_left,
                  e->terminal ? terminal_width(STDERR_FILENO) - 10 : 80, text, sizeof text);
    if (e->terminal) {
        (void)fprintf(stderr, "\r\033[K%-8s %s", event->step, text);
        (void)fflush(stderr);
        e->bar_shown = true;
    } else if (e->line_ms == 0 || now - e->line_ms >= LINE_EVERY_MS) {
        (void)printf("%-8s %s\n", event->step, text);
        (void)fflush(stdout);
        e->line_ms = now == 0 ? 1 : now;
    }
}

static void
say_json(const struct rotate_event *event)
{
    static const char *const kinds[] = {"", "step", "progress", "wait", "note", "warn", "done", "must"};
    json_t *line = json_pack("{s:s,s:s,s:s}", "event", kinds[event->kind], "step",
                             event->step != NULL ? event->step : "", "text", event->text);

    if (event->kind == ROTATE_PROGRESS) {
        json_object_set_new(line, "done", json_integer((json_int_t)event->done));
        json_object_set_new(line, "total", json_integer((json_int_t)event->total));
        json_object_set_new(line, "rows_per_second", json_real(event->rows_per_second));
        json_object_set_new(line, "seconds_left", json_real(event->seconds_left));
    }
    out_json(line);
}

static void
say_event(void *arg, const struct rotate_event *event)
{
    struct events *e = arg;
    bool colour = e->cli->colour;
    const char *on = "", *off = colour ? "\033[0m" : "";
    char text[640];

    if (e->cli->json) {
        say_json(event);
        return;
    }
    if (event->kind == ROTATE_PROGRESS) {
        say_progress_line(e, event);
        return;
    }
    if (event->kind == ROTATE_WAIT) { /* repeated while nothing changes */
        if (strcmp(event->text, e->waiting) == 0)
            return;
        (void)snprintf(e->waiting, sizeof e->waiting, "%s", event->text);
    }
    /* Done as soon as begun: the evidence alone says it. */
    if (event->kind == ROTATE_STEP && (strcmp(event->step, "activate") == 0 || strcmp(event->step, "escrow") == 0))
        return;
    bar_clear(e);
    if (colour)
        on = event->kind == ROTATE_WARN || event->kind == ROTATE_MUST ? "\033[33m" : event->kind == ROTATE_STEP ? "\033[1m" : "";
    (void)snprintf(text, sizeof text, "%s%s",
                   event->kind == ROTATE_WARN   ? "warning: "
                   : event->kind == ROTATE_MUST ? "must be settled first: "
                   : event->kind == ROTATE_WAIT ? "waiting: "
                                                : "",
                   event->text);
    (void)printf("%s%-8s%s ", on, event->step != NULL ? event->step : "", off);
    print_wrapped(stdout, text, 9, terminal_width(STDOUT_FILENO));
    (void)fflush(stdout);
}

static bool
ask(void *arg, const char *question)
{
    struct events *e = arg;

    bar_clear(e);
    (void)fflush(stdout);
    return args_flag(e->cli->args, "yes") || prompt_yes(question);
}

int
events_env(struct cli *cli, struct events *events, size_t *next, struct rotate_env *env, struct coffer_error *err)
{
    int rc = COFFER_OK;

    *events = (struct events){.cli = cli};
    events->terminal = !cli->json && isatty(STDERR_FILENO) && isatty(STDOUT_FILENO);
    *env = (struct rotate_env){.os = cli->os, .who = cli->who, .say = say_event, .ask = ask, .arg = events,
                               .stop = &cli_stop};
    if (next != NULL)
        rc = cli_url(cli, next, &events->url, err);
    if (rc == COFFER_OK)
        rc = cli_store(cli, &env->store, err);
    if (rc != COFFER_OK)
        return rc;
    env->url = events->url.text;
    env->allow_password = events->url.allow_password;
    cli_catch_signals();
    return COFFER_OK;
}

void
events_end(struct events *events, struct rotate_env *env)
{
    bar_clear(events);
    file_store_close(env->store);
    env->store = NULL;
}

void
events_resume_hint(struct events *events, int status)
{
    bar_clear(events);
    if (status == COFFER_E_CANCELLED && cli_stop)
        (void)fputs("coffer: everything written so far is right\n", stderr);
}
