/* SPDX-License-Identifier: Apache-2.0 */
/* coffer protect, coffer unprotect */
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/work.h"

#include <string.h>

#define COLUMNS_MAX_GIVEN 64

/* "patients.born:date" */
static int
column_parse(const char *word, char *name, size_t name_max, struct rotate_column *out, struct coffer_error *err)
{
    const char *colon = strrchr(word, ':');
    size_t len = colon != NULL ? (size_t)(colon - word) : strlen(word);

    if (len >= name_max || memchr(word, '.', len) == NULL)
        return error_set(err, COFFER_E_MISUSE, "'%s': write a column as table.column or table.column:type", word);
    memcpy(name, word, len);
    name[len] = '\0';
    out->name = name;
    if (colon == NULL)
        return COFFER_OK;
    out->type = coffer_type_parse(colon + 1);
    if (out->type <= 0)
        return error_set(err, COFFER_E_MISUSE,
                         "'%s': there is no type %s; there are bytes, text, bool, int64, float64, numeric, date, "
                         "timestamp, uuid and json",
                         word, colon + 1);
    return COFFER_OK;
}

static int
column_options(const struct args *args, struct rotate_column *out, struct coffer_error *err)
{
    static const char *const bindings[] = {"none", "column", "row"};
    const char *bind = args_text(args, "bind");
    double pad = 0, suite = 0;
    int rc = COFFER_OK;

    out->binding = -1;
    out->line = args_text(args, "line");
    out->in_place = args_flag(args, "in-place");
    if (bind != NULL) {
        for (int i = 0; i < 3; i++) {
            if (strcmp(bindings[i], bind) == 0)
                out->binding = i;
        }
        if (out->binding < 0)
            return error_set(err, COFFER_E_MISUSE, "--bind %s: none, column or row", bind);
    }
    if (args_text(args, "pad") != NULL)
        rc = parse_number("pad", args_text(args, "pad"), 1, 65536, &pad, err);
    if (rc == COFFER_OK && args_text(args, "suite") != NULL)
        rc = parse_number("suite", args_text(args, "suite"), 1, 2, &suite, err);
    out->pad = (uint32_t)pad;
    out->suite = (int)suite;
    return rc;
}

static int
run_protect(struct cli *cli, struct coffer_error *err)
{
    static char names[COLUMNS_MAX_GIVEN][2 * DB_NAME_MAX];
    struct rotate_column columns[COLUMNS_MAX_GIVEN];
    struct rotate_column model = {0};
    struct rotate_options options = {0};
    struct decoder *decoder = NULL;
    struct events events;
    struct rotate_env env;
    const struct args *args = cli->args;
    size_t next = 0, count = 0;
    int rc;

    options.no_unaware_clients = args_flag(args, "no-unaware-clients");
    options.scrub = args_flag(args, "scrub");
    options.shadow_only = args_flag(args, "shadow-only");
    rc = column_options(args, &model, err);
    if (rc == COFFER_OK)
        rc = work_options(cli, &options, err);
    if (rc == COFFER_OK)
        rc = cli_url(cli, &next, &events.url, err); /* before the keyring is asked for: usage first */
    for (size_t i = next; i < args->word_count && rc == COFFER_OK; i++) {
        if (count == COLUMNS_MAX_GIVEN)
            return error_set(err, COFFER_E_LIMIT, "at most %d columns at once", COLUMNS_MAX_GIVEN);
        columns[count] = model;
        rc = column_parse(args->words[i], names[count], sizeof names[count], &columns[count], err);
        count++;
    }
    if (rc == COFFER_OK && count == 0)
        rc = error_set(err, COFFER_E_MISUSE, "which columns?  usage: coffer protect %s", cli->command->synopsis);
    next = 0;
    if (rc == COFFER_OK)
        rc = events_env(cli, &events, &next, &env, err);
    if (rc != COFFER_OK)
        return rc;
    if (args_text(args, "decoder") != NULL) {
        rc = decoder_start(args_text(args, "decoder"), &decoder, err);
        options.decode = decoder_decode;
        options.decode_arg = decoder;
    }
    if (rc == COFFER_OK)
        rc = rotate_protect(&env, columns, count, &options, err);
    decoder_stop(decoder);
    return work_end(cli, &events, &env, rc, "protect");
}

static const struct arg_option options_protect[] = {
    {"bind", "none|column|row", "to what a value is bound; else the plan says which and why"},
    {"line", "NAME", "the key line (main)"},
    {"pad", "BYTES", "pad values to a multiple, so that a length says less"},
    {"suite", "1|2", "2 commits to its key, for several key holders"},
    {"in-place", NULL, "PostgreSQL: text form in the column itself, no companion"},
    {"scrub", NULL, "rewrite the files too, so that no plaintext is left in them (needs a window)"},
    {"no-unaware-clients", NULL, "you state that no writer is left that knows nothing of Coffer"},
    {"shadow-only", NULL, "stop in phase shadow; the same command goes on later"},
    {"decoder", "CMD", "turn each old value into the plaintext: JSON lines to a child"},
    {NULL, NULL, NULL}};
const struct command command_protect = {
    .name = "protect",
    .synopsis = "DBURL TABLE.COLUMN[:TYPE]…",
    .summary = "encrypt columns, while in use",
    .details = "Prints its plan (obstacles, binding and why, rows, time) and asks.  The type comes from the schema\n"
               "unless given.  Phases: off, shadow, dual, sealed.  The same command goes on where it stopped.\n\n"
               "  coffer protect sqlite:app.db patients.ssn patients.born:date\n"
               "  coffer protect --plan postgresql://db/app patients.ssn\n",
    .options = options_protect,
    .more_options = options_work,
    .words_max = ARGS_MAX,
    .run = run_protect,
};

static int
run_unprotect(struct cli *cli, struct coffer_error *err)
{
    struct rotate_options options = {0};
    struct events events;
    struct rotate_env env;
    size_t next = 0;
    int rc = work_options(cli, &options, err);

    options.forget_gone = args_flag(cli->args, "gone");
    if (rc == COFFER_OK)
        rc = events_env(cli, &events, &next, &env, err);
    if (rc != COFFER_OK)
        return rc;
    if (next == cli->args->word_count)
        rc = error_set(err, COFFER_E_MISUSE, "which columns?  usage: coffer unprotect %s", cli->command->synopsis);
    else
        rc = rotate_unprotect(&env, cli->args->words + next, cli->args->word_count - next, &options, err);
    return work_end(cli, &events, &env, rc, "unprotect");
}

static const struct arg_option options_unprotect[] = {
    {"gone", NULL, "forget columns that were dropped from the database, or whose table was"}, {NULL, NULL, NULL}};
const struct command command_unprotect = {
    .name = "unprotect",
    .synopsis = "DBURL TABLE.COLUMN… [--gone]",
    .summary = "bring columns back to plaintext, while in use",
    .details = "  coffer unprotect sqlite:app.db patients.ssn\n",
    .options = options_unprotect,
    .more_options = options_work,
    .words_max = ARGS_MAX,
    .run = run_unprotect,
};
