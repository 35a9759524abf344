/* SPDX-License-Identifier: Apache-2.0 */
/* Options that protect, unprotect and rotate share. */
#include "cli/work.h"

#include <string.h>

const struct arg_option options_work[] = {
    {"plan", NULL, "print the plan, change nothing"},
    {"settle", "TIME", "how long clients may still use what they hold, before the fence (5m; SQLite 0)"},
    {"grace", "TIME", "how long to wait between proof and escrow (1h; SQLite 0)"},
    {"rate", "N", "at most N rows a second"},
    {"duty", "SHARE", "share of the time that may be spent writing, 0.01 to 1 (0.1; 0.8 while nobody else is seen)"},
    {"lag-max", "TIME", "pause while a replica is further behind (10s)"},
    {"sessions-max", "N", "slow down above N active sessions"},
    {"latency-max", "RATIO", "slow down when the latency probe takes RATIO times its best (2)"},
    {"wal-rate", "BYTES", "at most so many bytes of WAL a second"},
    {"dead-tuples-max", "N", "pause above N dead tuples"},
    {"window", "HH:MM-HH:MM", "work only at this time of day, local"},
    {"flag-file", "FILE", "pause while FILE exists"},
    {"throttle-command", "CMD", "run every 10 s; pause while it exits non-zero"},
    {"batch", "ROWS", "rows in a batch (chosen while running)"},
    {"db-url", "URL", "the database, in place of the first word"},
    {"db-url-file", "FILE", "the database URL is the first line of FILE (may hold a password)"},
    {"db-url-env", "NAME", "the database URL is in the environment variable NAME (may hold a password)"},
    {NULL, NULL, NULL}};

static int
take_number(const struct args *args, const char *name, double min, double max, double *out,
            struct coffer_error *err)
{
    const char *text = args_text(args, name);

    return text == NULL ? COFFER_OK : parse_number(name, text, min, max, out, err);
}

static int
take_duration(const struct args *args, const char *name, unsigned *ms, bool *set, struct coffer_error *err)
{
    const char *text = args_text(args, name);
    int64_t value = 0;
    int rc;

    if (text == NULL)
        return COFFER_OK;
    rc = parse_duration(name, text, &value, err);
    if (rc != COFFER_OK)
        return rc;
    if (value > 30LL * 86400000)
        return error_set(err, COFFER_E_MISUSE, "--%s %s: at most 30d", name, text);
    *ms = (unsigned)value;
    *set = true;
    return COFFER_OK;
}

static int
take_throttle(const struct args *args, struct throttle_options *t, struct coffer_error *err)
{
    const char *window = args_text(args, "window");
    double wal = 0, dead = 0;
    unsigned lag_ms = 0;
    bool lag_set = false;
    int rc;

    rc = take_number(args, "rate", 1, 1e9, &t->rows_per_second, err);
    if (rc == COFFER_OK)
        rc = take_number(args, "duty", 0.01, 1, &t->duty, err);
    if (rc == COFFER_OK)
        rc = take_number(args, "sessions-max", 1, 1e6, &t->sessions_max, err);
    if (rc == COFFER_OK)
        rc = take_number(args, "latency-max", 1, 1000, &t->latency_ratio_max, err);
    if (rc == COFFER_OK)
        rc = take_number(args, "wal-rate", 1, 1e15, &wal, err);
    if (rc == COFFER_OK)
        rc = take_number(args, "dead-tuples-max", 1, 1e15, &dead, err);
    if (rc == COFFER_OK)
        rc = take_duration(args, "lag-max", &lag_ms, &lag_set, err);
    if (rc == COFFER_OK && window != NULL)
        rc = parse_window(window, &t->window_from_minute, &t->window_to_minute, err);
    t->wal_bytes_per_second = (uint64_t)wal;
    t->dead_tuples_max = (uint64_t)dead;
    t->lag_seconds_max = lag_ms / 1000.0;
    t->flag_file = args_text(args, "flag-file");
    t->command = args_text(args, "throttle-command");
    return rc;
}

int
work_options(const struct cli *cli, struct rotate_options *out, struct coffer_error *err)
{
    const struct args *args = cli->args;
    double batch = 0;
    int rc;

    out->plan_only = args_flag(args, "plan");
    out->yes = args_flag(args, "yes");
    out->no_wait = args_flag(args, "no-wait");
    rc = take_duration(args, "settle", &out->settle_ms, &out->settle_set, err);
    if (rc == COFFER_OK)
        rc = take_duration(args, "grace", &out->grace_ms, &out->grace_set, err);
    if (rc == COFFER_OK)
        rc = take_number(args, "batch", 1, 100000, &batch, err);
    out->batch_rows = (unsigned)batch;
    if (rc == COFFER_OK)
        rc = take_throttle(args, &out->throttle, err);
    return rc;
}

int
work_end(struct cli *cli, struct events *events, struct rotate_env *env, int rc, const char *what)
{
    events_resume_hint(events, rc);
    events_end(events, env);
    if (rc == COFFER_OK && cli->json)
        out_json(json_pack("{s:{s:s,s:b}}", "result", "command", what, "ok", 1));
    return rc;
}
