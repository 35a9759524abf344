/* SPDX-License-Identifier: Apache-2.0 */
/* What a protect or a rotation will cost, from a few rows that are rewritten as they are and rolled back. */
#include "rotate/predict.h"

#include "base/mem.h"
#include "field/codec.h"
#include "field/field.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TRIAL_ROWS 100
#define WORK_RATIO 3.0 /* the work on a row, reading, opening and sealing included, to that of its UPDATE (docs/PERFORMANCE.md) */

struct cost { /* of one table */
    double duty; /* 0: the default */
    double rows, passes, seconds, wal, file_growth, dead, lag;
    uint64_t tried;
    uint64_t trial_microseconds;
};

/* "61 MB" */
static const char *
bytes_text(double bytes, char out[32])
{
    static const char *const UNITS[] = {"bytes", "kB", "MB", "GB", "TB"};
    size_t unit = 0;

    for (; bytes >= 1000 && unit + 1 < sizeof UNITS / sizeof *UNITS; unit++)
        bytes /= 1000;
    snprintf(out, 32, unit > 0 && bytes < 10 ? "%.1f %s" : "%.0f %s", bytes, UNITS[unit]);
    return out;
}

static const char *
time_text(double seconds, char out[32])
{
    if (seconds < 100)
        snprintf(out, 32, "%.*f s", seconds < 10 ? 1 : 0, seconds);
    else if (seconds < 7200)
        snprintf(out, 32, "%.0f min", seconds / 60);
    else
        snprintf(out, 32, "%.1f h", seconds / 3600);
    return out;
}

/* "2.4 s, or 24 s while others use the database" */
static const char *
duration_text(const struct cost *cost, char out[120])
{
    char least[32], most[32];

    if (cost->duty > 0)
        snprintf(out, 120, "%s", time_text(cost->seconds / cost->duty, least));
    else
        snprintf(out, 120, "%s of work, up to %s while others use the database (--duty)",
                 time_text(cost->seconds, least), time_text(cost->seconds / DUTY_DEFAULT, most));
    return out;
}

/* Bytes that a row grows by: the envelope, less the plaintext that it replaces. */
static double
growth(const struct keyring_column *column, uint64_t value_bytes)
{
    struct field_def def;
    double sealed;

    if (column->phase == COFFER_SEALED) /* one envelope for another of the same length */
        return 0;
    codec_def(column, &def);
    sealed = (double)field_sealed_max(&def, value_bytes);
    return sealed > (double)value_bytes ? sealed - (double)value_bytes : 0;
}

static int
table_cost(struct session *s, const struct keyring_column *columns, size_t count, const char *name,
           struct cost *out, struct coffer_error *err)
{
    double wider = 0;
    struct coffer_error reason = {0};
    struct db_trial trial = {0};
    struct db_table *table = NULL;
    struct db_load load;
    struct db_cell_spec cell;
    size_t i;
    int rc = db_table_open(s->database->db, name, &table, err);

    for (i = 0; rc == COFFER_OK && i < count; i++) {
        if (strcmp(columns[i].table, name) != 0)
            continue;
        column_cell_spec(&columns[i], &cell);
        /* Two passes where the plaintext stays until every client reads the companion. */
        if (columns[i].companion[0] != '\0' && columns[i].phase < COFFER_DUAL)
            out->passes = 2;
        rc = db_trial(s->database->db, table, &cell, out->tried == 0 ? TRIAL_ROWS : 0, &trial,
                      &reason);
        if (rc == COFFER_E_LOST || rc == COFFER_E_NOMEM) {
            rc = error_set(err, rc, "%s", reason.message);
        } else if (rc != COFFER_OK) {
            say(s->env, ROTATE_WARN, "plan",
                "%s: a few rows could not be rewritten as they are: %.300s", name, reason.message);
            rc = COFFER_OK;
        }
        if (out->tried == 0 && trial.rows > 0) {
            out->tried = trial.rows;
            out->seconds = trial.seconds / (double)trial.rows;
            out->wal = (double)trial.wal_bytes / (double)trial.rows;
        }
        wider += growth(&columns[i], trial.value_bytes);
    }
    if (rc == COFFER_OK)
        rc = db_load(s->database->db, table, &load, err);
    if (rc == COFFER_OK) {
        out->passes = out->passes > 0 ? out->passes : 1;
        out->rows = (double)table->estimate_rows;
        out->seconds *= out->rows * out->passes * WORK_RATIO;
        out->duty = s->options->throttle.duty;
        out->wal = (out->wal + wider) * out->rows * out->passes;
        out->file_growth = wider * out->rows;
        out->dead = ((double)trial.row_bytes + wider) * out->rows * out->passes;
        out->lag = load.replica_lag_seconds;
    }
    db_table_free(table);
    return rc;
}

static void
say_cost(struct session *s, const char *name, const struct cost *cost)
{
    char time[120], wal[32], file[32], dead[32], rate[32], server[280] = "";
    double lag_max =
        s->options->throttle.lag_seconds_max > 0 ? s->options->throttle.lag_seconds_max : 10;

    if (cost->tried == 0) {
        say(s->env, ROTATE_NOTE, "plan", "%s: no row could be tried, so that nothing is predicted",
            name);
        return;
    }
    if (db_engine(s->database->db) == DB_SQLITE)
        snprintf(server, sizeof server,
                 "; about %s go through its -wal or -journal file, which is used again and again",
                 bytes_text(cost->dead, wal));
    else
        snprintf(server, sizeof server,
                 "; about %s of WAL (%s/s: a replica that replays less falls behind; the lag is "
                 "%.1f s now, work pauses above "
                 "%.0f s); about %s of dead rows until VACUUM",
                 bytes_text(cost->wal, wal),
                 bytes_text(cost->seconds > 0 ? cost->wal / cost->seconds : 0, rate), cost->lag,
                 lag_max, bytes_text(cost->dead, dead));
    say(s->env, ROTATE_NOTE, "plan",
        "%s: %.0f rows, %.0f pass%s; %" PRIu64
        " were rewritten as they are and rolled back. From that: about %s by one worker; the "
        "table grows by %s%s",
        name, cost->rows, cost->passes, cost->passes > 1 ? "es" : "", cost->tried,
        duration_text(cost, time), bytes_text(cost->file_growth, file), server);
}

int
predict(struct session *s, const struct keyring_column *columns, size_t count,
        struct coffer_error *err)
{
    size_t i, k;
    int rc = COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < count; i++) {
        struct cost cost = {0};

        for (k = 0; k < i && strcmp(columns[k].table, columns[i].table) != 0; k++)
            ;
        if (k < i)
            continue;
        rc = table_cost(s, columns, count, columns[i].table, &cost, err);
        if (rc == COFFER_OK)
            say_cost(s, columns[i].table, &cost);
    }
    return rc;
}
