/* SPDX-License-Identifier: Apache-2.0 */
/* coffer status */
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/events.h"

#include <string.h>
#include <unistd.h>

static json_t *
column_json(const struct rotate_column_status *s)
{
    json_t *by_key = json_object(), *cells = json_array();

    for (size_t i = 0; i < s->cell_count; i++) {
        json_t *row = json_loads(s->cells[i].place, 0, NULL); /* a long one is cut off */

        json_array_append_new(cells, json_pack("{s:o,s:o,s:s}", "row", row != NULL ? row : json_string(s->cells[i].place), "key",
                                               out_key(s->cells[i].key_id), "reason", s->cells[i].reason));
    }
    for (size_t i = 0; i < s->key_count; i++) {
        char hex[9];

        json_object_set_new(by_key, key_hex(s->keys[i].key_id, hex), json_integer((json_int_t)s->keys[i].cells));
    }
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:o,s:I,s:I,s:o,s:b,s:s}", "table", s->column->table, "column",
                     s->column->name, "type", coffer_type_name(s->column->type), "phase",
                     coffer_phase_name(s->column->phase), "line", s->column->line, "rows", (json_int_t)s->rows,
                     "nulls", (json_int_t)s->nulls, "by_key", by_key, "plaintext", (json_int_t)s->plaintext,
                     "quarantine", (json_int_t)s->quarantine, "quarantined", cells, "exact", (int)s->exact, "plaintext_level", s->plaintext_level);
}

static json_t *
open_json(const struct rotate_open *o)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:o,s:o,s:b,s:b,s:I,s:I,s:o,s:s}", "id", o->id, "kind", o->kind, "step",
                     o->step, "line", o->line, "columns", o->columns, "from", out_key(o->from_key), "to", out_key(o->to_key), "paused",
                     (int)o->paused, "aborting", (int)o->aborting, "done", (json_int_t)o->done, "total",
                     (json_int_t)o->total, "started", out_time(o->started_us), "waiting", o->waiting);
}

static void
print_json(const struct rotate_status *s)
{
    json_t *columns = json_array(), *rotations = json_array(), *clients = json_array();

    for (size_t i = 0; i < s->column_count; i++)
        json_array_append_new(columns, column_json(&s->columns[i]));
    for (size_t i = 0; i < s->open_count; i++)
        json_array_append_new(rotations, open_json(&s->open[i]));
    for (size_t i = 0; i < s->client_count; i++)
        json_array_append_new(clients, json_pack("{s:s,s:s,s:I,s:o,s:b}", "client", s->clients[i].client, "role",
                                                 s->clients[i].role, "epoch", (json_int_t)s->clients[i].epoch, "seen",
                                                 out_time(s->clients[i].at_us), "left", (int)s->clients[i].leaving));
    out_json(json_pack("{s:o,s:o,s:o,s:I,s:I,s:b,s:b}", "columns", columns, "rotations", rotations, "clients", clients,
                       "epoch", (json_int_t)keyring_epoch(s->keyring), "tampered", (json_int_t)s->tampered, "restored", (int)s->restored,
                       "memory_locked", (int)secret_locked()));
}

static void
print_columns(const struct cli *cli, const struct rotate_status *s)
{
    static const char *const headings[] = {"COLUMN", "TYPE", "PHASE", "LINE", ">ROWS", ">NULL", ">PLAIN", ">QUAR.",
                                           "UNDER KEY"};
    struct table *t = table_new(headings, 9);
    bool estimated = false;

    for (size_t i = 0; i < s->column_count; i++) {
        const struct rotate_column_status *c = &s->columns[i];
        char name[2 * KEYRING_NAME_MAX], rows[34], nulls[32], plain[32], quarantine[32], key[80];
        size_t first = 0;

        (void)snprintf(name, sizeof name, "%s.%s", c->column->table, c->column->name);
        rows[0] = '~';
        grouped(c->rows, rows + !c->exact);
        estimated = estimated || !c->exact;
        grouped(c->nulls, nulls);
        grouped(c->plaintext, plain);
        grouped(c->quarantine, quarantine);
        do { /* one line a key; the figures stand in the first */
            char hex[9], cells[32];
            bool more = first > 0;

            if (first < c->key_count) {
                grouped(c->keys[first].cells, cells);
                (void)snprintf(key, sizeof key, "%s %s", key_hex(c->keys[first].key_id, hex), cells);
            } else {
                (void)snprintf(key, sizeof key, "-");
            }
            table_row(t, (const char *const[]){more ? "" : name, more ? "" : coffer_type_name(c->column->type),
                                               more ? "" : coffer_phase_name(c->column->phase),
                                               more ? "" : c->column->line, more ? "" : rows, more ? "" : nulls,
                                               more ? "" : plain, more ? "" : quarantine, key});
        } while (++first < c->key_count);
    }
    table_print(t, stdout, cli->colour);
    table_free(t);
    if (estimated)
        (void)puts("~ estimated; --exact counts");
}

/* A level of rotate.h in plain words, and what goes further. */
static const char *
level_text(const char *level)
{
    static const char *const texts[][2] = {
        {"readable", "Still plaintext, or plaintext beside the sealed value, in: "},
        {"not selectable", "No query shows plaintext any more, but row versions not yet cleaned away hold it "
                           "(coffer protect with --scrub removes it): "},
        {"not in live tuples", "No row holds plaintext any more, but freed space in the database's files may "
                               "(coffer protect with --scrub rewrites them): "},
        {"not in the files", "No plaintext in rows, nor in the database's files: "},
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (strcmp(texts[i][0], level) == 0)
            return texts[i][1];
    }
    return level;
}

/* Where the cells are that no walk could move. */
static void
print_quarantine(const struct rotate_status *s)
{
    bool first = true;

    for (size_t i = 0; i < s->column_count; i++) {
        const struct rotate_column_status *c = &s->columns[i];

        for (size_t k = 0; k < c->cell_count; k++) {
            char hex[9];

            (void)printf("%squarantine %s.%s  row %s  %s%s  %s\n", first ? "\n" : "", c->column->table, c->column->name,
                         c->cells[k].place, c->cells[k].key_id != 0 ? "key " : "plaintext",
                         c->cells[k].key_id != 0 ? key_hex(c->cells[k].key_id, hex) : "", c->cells[k].reason);
            first = false;
        }
        if (c->quarantine > c->cell_count)
            (void)printf("quarantine %s.%s  and %llu more\n", c->column->table, c->column->name,
                         (unsigned long long)(c->quarantine - c->cell_count));
    }
}

/* How gone the plaintext is that was there before: one line a level, with its columns. */
static void
print_levels(const struct rotate_status *s)
{
    for (size_t i = 0; i < s->column_count; i++) {
        const char *level = s->columns[i].plaintext_level;
        size_t first = 0;
        struct buf line;

        while (strcmp(s->columns[first].plaintext_level, level) != 0)
            first++;
        if (first != i)
            continue;
        buf_init(&line, 1u << 20);
        buf_str(&line, level_text(level));
        for (size_t k = i; k < s->column_count; k++) {
            if (strcmp(s->columns[k].plaintext_level, level) == 0)
                buf_format(&line, "%s%s.%s", k > i ? ", " : "", s->columns[k].column->table, s->columns[k].column->name);
        }
        (void)fputs(i == 0 ? "\n" : "", stdout);
        print_wrapped(stdout, buf_cstr(&line), 0, terminal_width(STDOUT_FILENO));
        buf_wipe(&line);
    }
}

static void
print_text(const struct cli *cli, const struct rotate_status *s)
{
    if (s->column_count == 0)
        (void)puts("No column of this database is protected.  Begin with: coffer protect DBURL TABLE.COLUMN");
    else
        print_columns(cli, s);
    print_quarantine(s);
    print_levels(s);
    for (size_t i = 0; i < s->open_count; i++) {
        const struct rotate_open *o = &s->open[i];
        char from[9] = "plain", to[9] = "plain";

        if (o->from_key != 0)
            (void)key_hex(o->from_key, from);
        if (o->to_key != 0)
            (void)key_hex(o->to_key, to);
        if (o->columns[0] != '\0')
            (void)printf("\n%s of %s: %s%s\n", o->kind, o->columns, o->step, o->paused ? ", paused" : "");
        else
            (void)printf("\n%s of line %s, %s to %s: %s%s%s\n", o->kind, o->line, from, to, o->step,
                         o->paused ? ", paused" : "", o->aborting ? ", aborting" : "");
        if (o->total > 0) {
            char done[32], total[32];

            grouped(o->done, done);
            grouped(o->total, total);
            (void)printf("  %u%%: %s of %s cell%s\n", (unsigned)(o->done * 100 / o->total), done, total,
                         o->total == 1 ? "" : "s");
        }
        if (o->waiting[0] != '\0')
            (void)printf("  waiting: %s\n", o->waiting);
    }
    for (size_t i = 0; i < s->client_count; i++) {
        char at[32];

        time_text(s->clients[i].at_us, at);
        (void)printf("%sclient %s  epoch %llu  %s %s\n", i == 0 ? "\n" : "", s->clients[i].client,
                     (unsigned long long)s->clients[i].epoch, s->clients[i].leaving ? "left" : "seen", at);
    }
    if (s->restored)
        (void)puts("\nwarning: this database was restored or copied since the keyring saw it last, so that old keys may be\n"
                   "missing. coffer rotate recovers it; coffer cat --escrow only reads it");
    if (s->tampered > 0)
        (void)printf("\nwarning: %zu working row%s of this database were edited or moved; they are not believed\n",
                     s->tampered, s->tampered == 1 ? "" : "s");
    if (!secret_locked())
        (void)puts("\nnote: this system does not let Coffer lock its key memory (ulimit -l)");
}

static int
run_status(struct cli *cli, struct coffer_error *err)
{
    bool watch = args_flag(cli->args, "watch"), exact = args_flag(cli->args, "exact"), again = false;
    struct events events;
    struct rotate_env env;
    size_t next = 0;
    int rc = events_env(cli, &events, &next, &env, err);

    env.say = NULL;
    if (rc == COFFER_OK && next != cli->args->word_count)
        rc = error_set(err, COFFER_E_MISUSE, "'%s' is no database URL; usage: coffer status %s", cli->args->words[next],
                       cli->command->synopsis);
    while (rc == COFFER_OK) {
        struct rotate_status *status = NULL;

        rc = rotate_status(&env, exact, &status, err);
        if (rc != COFFER_OK)
            break;
        if (watch && events.terminal)
            (void)fputs("\033[H\033[2J", stdout);
        else if (watch && !cli->json) {
            char now[32];

            time_text(cli->os->now_us(cli->os), now);
            (void)printf("%s== %s\n", again ? "\n" : "", now);
        }
        again = true;
        if (cli->json)
            print_json(status);
        else
            print_text(cli, status);
        (void)fflush(stdout);
        rotate_status_free(status);
        if (!watch || cli_stop)
            break;
        cli->os->sleep_ms(cli->os, 2000);
        if (cli_stop)
            break;
    }
    if (env.store != NULL)
        events_end(&events, &env);
    return rc;
}

static const struct arg_option options_status[] = {{"watch", NULL, "again every two seconds, until Ctrl-C"},
                                                   {"exact", NULL, "count every cell in one snapshot"},
                                                   {NULL, NULL, NULL}};
const struct command command_status = {
    .name = "status",
    .synopsis = "DBURL [--watch] [--exact]",
    .summary = "columns, cells by key, rotations and clients",
    .details = "rows = nulls + by key + plaintext + quarantine.\n\n"
               "  coffer status sqlite:app.db\n  coffer status sqlite:app.db --json --exact\n",
    .options = options_status,
    .more_options = options_url,
    .words_max = 1,
    .run = run_status,
};
