/* SPDX-License-Identifier: Apache-2.0 */
/* The throttle: how long a worker waits after each batch.
 *
 *   duty, rows/s, WAL/s   a pause after each batch, in proportion; where nobody chose a duty, it is higher while the database is
 *                         not used by anybody else
 *   latency, sessions     slow: that pause is stretched, twice as long at every bad look, up to 32
 * times; it shrinks again when two looks in a row were good lag, dead tuples, window, flag file,
 * command hold: nothing is done until it is over; lag and dead tuples must fall to 0.7 of the limit
 * A look at the database is taken once a second, the command is run every 10 s.
 */
#include "base/mem.h"
#include "rotate/internal.h"

#include <jansson.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#define LOOK_MS 1000
#define COMMAND_MS 10000
#define COMMAND_TIME_MS 10000
#define STRETCH_MAX 32.0
#define PAUSE_MAX_MS 10000.0
#define RELEASE 0.7        /* of a limit: where a hold ends */
#define PROBE_FLOOR_MS 5.0 /* a probe below this is never slow */
#define PROBES 5
#define DUTY_ALONE 0.8 /* while nobody else is seen, unless somebody chose */

extern char **environ;

struct throttle {
    struct throttle_options options, given;
    struct host_database *database;
    const struct db_table *table;
    const struct os *os;
    char flag_file[1024], command[1024];
    char follow[KEYRING_NAME_MAX]; /* journal key of the settings; "" */
    uint64_t followed_epoch;
    int64_t look_at_ms, command_at_ms;
    bool command_holds, lag_holds, dead_holds;
    struct db_load load;
    bool duty_chosen;
    uint64_t wal_before;
    int64_t wal_at_ms;
    double wal_rate;
    double probes[PROBES], best_ms;
    unsigned probe_count, good_looks;
    double stretch;
    char reason[200], said[200];
};

/* ---- settings ---- */

static void
settle(struct throttle *t)
{
    struct throttle_options *o = &t->options;

    t->duty_chosen = o->duty > 0;
    if (!(o->duty > 0) || o->duty > 1)
        o->duty = o->duty > 1 ? 1 : DUTY_DEFAULT;
    if (!(o->lag_seconds_max > 0))
        o->lag_seconds_max = 10;
    if (!(o->latency_ratio_max > 0))
        o->latency_ratio_max = 2;
    if (o->flag_file != NULL)
        snprintf(t->flag_file, sizeof t->flag_file, "%s", o->flag_file);
    if (o->command != NULL)
        snprintf(t->command, sizeof t->command, "%s", o->command);
}

int
throttle_new(const struct throttle_options *options, struct host_database *database,
             const struct db_table *table, const struct os *os, struct throttle **out,
             struct coffer_error *err)
{
    struct throttle *t = mem_alloc(sizeof *t);

    *out = NULL;
    if (t == NULL)
        return error_nomem(err);
    t->options = t->given = *options;
    t->database = database;
    t->table = table;
    t->os = os;
    t->stretch = 1;
    settle(t);
    *out = t;
    return COFFER_OK;
}

void
throttle_free(struct throttle *throttle)
{
    mem_free(throttle);
}

void
throttle_follow(struct throttle *t, const char *rotation_id)
{
    snprintf(t->follow, sizeof t->follow, "%.100s.throttle", rotation_id);
}

static void
take_number(const json_t *json, const char *name, double *out)
{
    const json_t *value = json_object_get(json, name);

    if (json_is_number(value) && json_number_value(value) >= 0)
        *out = json_number_value(value);
}

static void
take_count(const json_t *json, const char *name, uint64_t *out)
{
    double value = (double)*out;

    take_number(json, name, &value);
    *out = (uint64_t)value;
}

static void
take_minute(const json_t *json, const char *name, int *out)
{
    double value = *out;

    take_number(json, name, &value);
    if (value < 24 * 60)
        *out = (int)value;
}

/* Numbers only: a flag file or a command is never taken from the database, which is not believed.
 */
static int
read_settings(struct throttle *t, struct coffer_error *err)
{
    struct buf content;
    uint64_t epoch = 0;
    json_t *json;
    int rc;

    if (t->follow[0] == '\0')
        return COFFER_OK;
    buf_init(&content, 1u << 16);
    rc = journal_get(&t->database->journal, "rotation", t->follow, &content, &epoch, err);
    if (rc == COFFER_E_NOTFOUND || rc == COFFER_E_TAMPERED || rc == COFFER_E_CONFLICT) {
        rc = COFFER_OK; /* as before */
    } else if (rc == COFFER_OK && epoch != t->followed_epoch) {
        json = json_loadb((const char *)content.ptr, content.len, 0, NULL);
        t->options = t->given;
        take_number(json, "rows_per_second", &t->options.rows_per_second);
        take_number(json, "duty", &t->options.duty);
        take_number(json, "lag_seconds_max", &t->options.lag_seconds_max);
        take_number(json, "sessions_max", &t->options.sessions_max);
        take_number(json, "latency_ratio_max", &t->options.latency_ratio_max);
        take_count(json, "wal_bytes_per_second", &t->options.wal_bytes_per_second);
        take_count(json, "dead_tuples_max", &t->options.dead_tuples_max);
        take_minute(json, "window_from_minute", &t->options.window_from_minute);
        take_minute(json, "window_to_minute", &t->options.window_to_minute);
        json_decref(json);
        settle(t);
        t->followed_epoch = epoch;
    }
    buf_wipe(&content);
    return rc;
}

/* ---- looking ---- */

/* The middle of the last five, so that one slow answer means nothing. */
static double
probe_middle(const struct throttle *t)
{
    double sorted[PROBES];
    unsigned n = t->probe_count < PROBES ? t->probe_count : PROBES;

    memcpy(sorted, t->probes, sizeof sorted);
    for (unsigned i = 1; i < n; i++)
        for (unsigned k = i; k > 0 && sorted[k] < sorted[k - 1]; k--) {
            double swap = sorted[k];

            sorted[k] = sorted[k - 1];
            sorted[k - 1] = swap;
        }
    return n != 0 ? sorted[n / 2] : 0;
}

static int
probe(struct throttle *t, struct coffer_error *err)
{
    char sql[120];
    int64_t begun = t->os->now_us(t->os);
    double ms;
    int rc;

    snprintf(sql, sizeof sql, "SELECT key FROM %s LIMIT 1",
             db_catalog_name(t->database->db, "meta"));
    rc = db_run(t->database->db, sql, NULL, 0, NULL, err);
    if (rc != COFFER_OK)
        return rc == COFFER_E_CONFLICT ? COFFER_OK : rc;
    ms = (double)(t->os->now_us(t->os) - begun) / 1000;
    if (ms < 0)
        return COFFER_OK; /* the clock was set */
    t->probes[t->probe_count++ % PROBES] = ms;
    if (t->best_ms <= 0 || ms < t->best_ms)
        t->best_ms = ms;
    return COFFER_OK;
}

static void
hold_by(bool *holds, double value, double limit)
{
    if (limit <= 0)
        *holds = false;
    else if (value > limit)
        *holds = true;
    else if (value < RELEASE * limit)
        *holds = false;
}

static bool
slow_now(const struct throttle *t)
{
    const struct throttle_options *o = &t->options;
    double middle = probe_middle(t);

    if (o->sessions_max > 0 && t->load.active_sessions > o->sessions_max)
        return true;
    return middle > PROBE_FLOOR_MS && middle > o->latency_ratio_max * t->best_ms;
}

static int
look(struct throttle *t, struct coffer_error *err)
{
    int64_t now = t->os->monotonic_ms(t->os);
    int rc = read_settings(t, err);

    if (rc == COFFER_OK)
        rc = probe(t, err);
    if (rc == COFFER_OK)
        rc = db_load(t->database->db, t->table, &t->load, err);
    if (rc != COFFER_OK)
        return rc == COFFER_E_CONFLICT ? COFFER_OK : rc;
    if (t->wal_at_ms != 0 && now > t->wal_at_ms && t->load.wal_bytes >= t->wal_before)
        t->wal_rate =
            (double)(t->load.wal_bytes - t->wal_before) * 1000 / (double)(now - t->wal_at_ms);
    t->wal_before = t->load.wal_bytes;
    t->wal_at_ms = now;
    hold_by(&t->lag_holds, t->load.replica_lag_seconds, t->options.lag_seconds_max);
    hold_by(&t->dead_holds, (double)t->load.dead_tuples, (double)t->options.dead_tuples_max);
    if (slow_now(t)) {
        t->good_looks = 0;
        t->stretch = t->stretch * 2 < STRETCH_MAX ? t->stretch * 2 : STRETCH_MAX;
    } else if (++t->good_looks >= 2) {
        t->stretch = t->stretch > 2 ? t->stretch / 2 : 1;
    }
    return COFFER_OK;
}

/* Run the operator's command; it says no by a status that is not zero, by dying, and by taking
 * longer than ten seconds. */
static bool
command_refuses(const struct throttle *t)
{
    char *argv[] = {(char[]){"sh"}, (char[]){"-c"}, NULL, NULL};
    char text[sizeof t->command];
    pid_t pid;
    int status = 0;

    memcpy(text, t->command, sizeof text);
    argv[2] = text;
    if (posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ) != 0)
        return true;
    for (unsigned waited = 0; waitpid(pid, &status, WNOHANG) == 0; waited += 10) {
        if (waited >= COMMAND_TIME_MS) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return true;
        }
        t->os->sleep_ms(t->os, 10);
    }
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static bool
outside_window(const struct throttle *t)
{
    int from = t->options.window_from_minute;
    int to = t->options.window_to_minute;
    time_t now = (time_t)(t->os->now_us(t->os) / 1000000);
    struct tm local;
    int minute;

    if (from == to || localtime_r(&now, &local) == NULL)
        return false;
    minute = local.tm_hour * 60 + local.tm_min;
    return from < to ? minute < from || minute >= to : minute < from && minute >= to;
}

/* Why nothing may be done now; false: go on. */
static bool
held(struct throttle *t)
{
    int64_t now = t->os->monotonic_ms(t->os);
    uint64_t stamp = 0;

    if (t->command[0] != '\0' && now >= t->command_at_ms) {
        t->command_holds = command_refuses(t);
        t->command_at_ms = t->os->monotonic_ms(t->os) + COMMAND_MS;
    }
    if (t->flag_file[0] != '\0' &&
        t->os->stamp_file(t->os, t->flag_file, &stamp, NULL) == COFFER_OK && stamp != 0)
        snprintf(t->reason, sizeof t->reason, "the flag file is there: %.150s", t->flag_file);
    else if (outside_window(t))
        snprintf(t->reason, sizeof t->reason, "outside the time window (%02d:%02d to %02d:%02d)",
                 t->options.window_from_minute / 60, t->options.window_from_minute % 60,
                 t->options.window_to_minute / 60, t->options.window_to_minute % 60);
    else if (t->command_holds)
        snprintf(t->reason, sizeof t->reason, "the throttle command says no: %.150s", t->command);
    else if (t->lag_holds)
        snprintf(t->reason, sizeof t->reason, "a replica is %.1f s behind (limit %.1f s)",
                 t->load.replica_lag_seconds, t->options.lag_seconds_max);
    else if (t->dead_holds)
        snprintf(t->reason, sizeof t->reason, "%llu dead rows wait for VACUUM (limit %llu)",
                 (unsigned long long)t->load.dead_tuples,
                 (unsigned long long)t->options.dead_tuples_max);
    else
        return false;
    return true;
}

/* ---- waiting ---- */

static void
pause_ms(const struct throttle *t, double ms, const struct rotate_env *env)
{
    while (ms >= 1 && !stopped(env)) {
        unsigned part = ms > 100 ? 100 : (unsigned)ms;

        t->os->sleep_ms(t->os, part);
        ms -= part;
    }
}

/* Some wait is needed for each limit; the longest meets them all. */
static double
pause_for(const struct throttle *t, uint64_t rows, double busy_ms)
{
    const struct throttle_options *o = &t->options;
    double duty = !t->duty_chosen && t->load.alone ? DUTY_ALONE : o->duty;
    double pause = busy_ms * (1 / duty - 1);
    double other;

    if (o->rows_per_second > 0) {
        other = (double)rows * 1000 / o->rows_per_second - busy_ms;
        pause = other > pause ? other : pause;
    }
    if (o->wal_bytes_per_second > 0 && t->wal_rate > (double)o->wal_bytes_per_second) {
        other = busy_ms * (t->wal_rate / (double)o->wal_bytes_per_second - 1) + pause;
        pause = other > pause ? other : pause;
    }
    if (t->stretch > 1)
        pause = (pause > busy_ms ? pause : busy_ms) * t->stretch;
    return pause < PAUSE_MAX_MS ? pause : PAUSE_MAX_MS;
}

static int
look_if_due(struct throttle *t, struct coffer_error *err)
{
    int64_t now = t->os->monotonic_ms(t->os);
    int rc;

    if (now < t->look_at_ms)
        return COFFER_OK;
    rc = look(t, err);
    t->look_at_ms = t->os->monotonic_ms(t->os) + LOOK_MS;
    return rc;
}

int
throttle_after(struct throttle *t, uint64_t rows, double busy_ms, const struct rotate_env *env,
               struct coffer_error *err)
{
    int rc = look_if_due(t, err);

    if (rc != COFFER_OK)
        return rc;
    pause_ms(t, pause_for(t, rows, busy_ms), env);
    while (rc == COFFER_OK && !stopped(env) && held(t)) {
        if (strcmp(t->reason, t->said) != 0)
            say(env, ROTATE_WAIT, "throttle", "waiting: %s", t->reason);
        snprintf(t->said, sizeof t->said, "%s", t->reason);
        pause_ms(t, 250, env);
        rc = look_if_due(t, err);
    }
    t->said[0] = '\0';
    return rc;
}
