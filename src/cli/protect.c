/* SPDX-License-Identifier: Apache-2.0 */
/* coffer protect, coffer unprotect */
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/leak.h"
#include "cli/work.h"
#include "rotate/index.h"

#include <stdlib.h>
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

/* ---- what stands beside a column ---- */

static const struct {
    const char *name;
    int kind;
} searches[] = {{"eq", INDEX_EQUALITY}, {"text", INDEX_TEXT}, {"order", INDEX_OPE}, {"sum", INDEX_SUM}};

static int
search_parse(const char *option, const char *word, int *kind, struct coffer_error *err)
{
    for (size_t i = 0; i < sizeof searches / sizeof searches[0]; i++) {
        if (strcmp(searches[i].name, word) == 0) {
            *kind = searches[i].kind;
            return COFFER_OK;
        }
    }
    return error_set(err, COFFER_E_MISUSE, "--%s %s: eq, text, order or sum", option, word);
}

/* "eq,text" and repeated options alike; bits by kind. */
static int
searches_given(const struct args *args, const char *option, unsigned *kinds, struct coffer_error *err)
{
    const char *values[ARGS_MAX];
    size_t count = args_all(args, option, values, ARGS_MAX);
    int rc = COFFER_OK, kind = 0;

    for (size_t i = 0; i < count; i++) {
        const char *at = values[i];

        while (rc == COFFER_OK && *at != '\0') {
            char word[32];
            size_t len = strcspn(at, ",");

            (void)snprintf(word, sizeof word, "%.*s", (int)len, at);
            rc = search_parse(option, word, &kind, err);
            if (rc == COFFER_OK)
                *kinds |= 1u << kind;
            at += len + (at[len] == ',');
        }
    }
    return rc;
}

static int
index_options(const struct args *args, struct keyring_index *def, struct coffer_error *err)
{
    static const char *const normalisers[] = {"exact", "canonical", "caseless", "accentless", "digits"};
    const char *normalise = args_text(args, "normalise");
    double scale = 0, max = 0, padding = 0;
    int rc = COFFER_OK;

    def->normaliser = 2;
    if (normalise != NULL) {
        def->normaliser = 5;
        for (unsigned i = 0; i < 5; i++)
            if (strcmp(normalise, normalisers[i]) == 0)
                def->normaliser = i;
        if (def->normaliser == 5)
            return error_set(err, COFFER_E_MISUSE, "--normalise %s: exact, canonical, caseless, accentless or digits", normalise);
    }
    if (args_text(args, "scale") != NULL)
        rc = parse_number("scale", args_text(args, "scale"), 0, 38, &scale, err);
    if (rc == COFFER_OK && args_text(args, "max") != NULL)
        rc = parse_number("max", args_text(args, "max"), 1, 9e15, &max, err);
    if (rc == COFFER_OK && args_text(args, "token-padding") != NULL)
        rc = parse_number("token-padding", args_text(args, "token-padding"), 0, 64, &padding, err);
    def->scale = (unsigned)scale;
    def->max_abs = (uint64_t)max;
    def->padding = (unsigned)padding;
    def->words = args_flag(args, "words");
    def->unique = args_flag(args, "unique");
    def->tags = true;
    return rc;
}

/* Of "numeric(12,2)": how many digits, and how many after the point. */
static void
declared_digits(const char *sql_type, unsigned *precision, unsigned *scale)
{
    const char *open = strchr(sql_type, '(');

    *precision = 18;
    if (open == NULL)
        return;
    *precision = (unsigned)strtoul(open + 1, NULL, 10);
    if (strchr(open, ',') != NULL)
        *scale = (unsigned)strtoul(strchr(open, ',') + 1, NULL, 10);
}

/* What an index of this kind takes of the options, on this column. */
static int
index_for(const struct rotate_env *env, const char *name, int kind, const struct keyring_index *model, struct keyring_index *out,
          struct coffer_error *err)
{
    struct keyring *kr = NULL;
    int rc = env->store->load(env->store, &kr, err);
    int type = 0;

    *out = *model;
    out->kind = kind;
    for (size_t i = 0; rc == COFFER_OK && i < keyring_column_count(kr); i++) {
        const struct keyring_column *column = keyring_column_at(kr, i);
        char full[2 * KEYRING_NAME_MAX];
        size_t len;

        (void)snprintf(full, sizeof full, "%s.%s", column->table, column->name);
        len = strlen(full);
        if (column->retired || len < strlen(name) || strcmp(full + len - strlen(name), name) != 0)
            continue;
        type = column->type;
        if (type == COFFER_NUMERIC)
            declared_digits(column->sql_type, &out->precision, &out->scale);
    }
    keyring_free(kr);
    out->unique = model->unique && kind == INDEX_EQUALITY;
    out->words = model->words && kind == INDEX_TEXT;
    out->padding = kind == INDEX_TEXT ? model->padding : 0;
    out->tags = kind == INDEX_SUM;
    out->max_abs = kind == INDEX_SUM ? model->max_abs : 0;
    if (kind != INDEX_OPE)
        out->precision = 0;
    if (type != COFFER_NUMERIC || kind == INDEX_EQUALITY || kind == INDEX_TEXT)
        out->scale = 0;
    if (kind == INDEX_SUM || (type != COFFER_TEXT && type != 0))
        out->normaliser = 0;
    if (kind == INDEX_OPE && out->normaliser == 4)
        out->normaliser = 2;
    return rc;
}

enum { JUDGED_ROWS = 100 }; /* fewer tell nothing about what is to come */

/* What the terms would reveal, before they are made: D and F want a reason. */
static int
judge_leak(struct cli *cli, const struct rotate_env *env, const struct cli_url *url, const char *name, struct keyring_index *def, struct coffer_error *err)
{
    const char *accepted = args_text(cli->args, "accept-leak");
    struct reader reader = {0};
    struct leak_sample *sample = NULL;
    struct leak leak = {0};
    int rc;

    if (accepted != NULL)
        (void)snprintf(def->accepted, sizeof def->accepted, "%s", accepted);
    if (def->kind == INDEX_SUM)
        return COFFER_OK;
    rc = reader_open(cli, url, &reader, err);
    if (rc == COFFER_OK)
        rc = leak_sample_open(&reader, name, &sample, err);
    if (rc == COFFER_OK)
        rc = leak_measure(sample, def, &leak, err);
    leak_sample_free(sample);
    reader_close(&reader);
    if (rc != COFFER_OK || leak.rows < JUDGED_ROWS || leak.grade <= 'B')
        return rc;
    if (leak.grade <= 'C' || def->kind == INDEX_TEXT || accepted != NULL) {
        struct rotate_event event = {.kind = ROTATE_WARN, .step = "index"};

        (void)snprintf(event.text, sizeof event.text, "%.200s: %s terms give away %.0f %% of the rows at least, to somebody %s (grade %c)", name,
                       index_kind_name(def->kind), 100 * leak.share, leak.who, leak.grade);
        env->say(env->arg, &event);
        return COFFER_OK;
    }
    return error_set(err, COFFER_E_REFUSED,
                     "%s: %s terms would give away %.0f %% of the rows at least, to somebody %s (grade %c; %zu values in %zu rows).  "
                     "coffer report leakage has more; --accept-leak \"reason\" makes them all the same, and is written down",
                     name, index_kind_name(def->kind), 100 * leak.share, leak.who, leak.grade, leak.distinct, leak.rows);
}

static int
protect_indexes(struct cli *cli, const struct rotate_env *env, const struct cli_url *url, const struct rotate_column *columns, size_t count, unsigned kinds,
                unsigned drop, const struct rotate_options *options, struct coffer_error *err)
{
    struct keyring_index model = {0};
    int rc = index_options(cli->args, &model, err);

    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; rc == COFFER_OK && k < sizeof searches / sizeof searches[0]; k++) {
            struct rotate_index index = {.column = columns[i].name};
            int kind = searches[k].kind;

            if (drop & 1u << kind)
                rc = rotate_index_drop(env, columns[i].name, kind, options, err);
            if (rc != COFFER_OK || !(kinds & 1u << kind))
                continue;
            rc = index_for(env, columns[i].name, kind, &model, &index.def, err);
            if (rc == COFFER_OK)
                rc = judge_leak(cli, env, url, columns[i].name, &index.def, err);
            if (rc == COFFER_OK)
                rc = rotate_index_add(env, &index, 1, options, err);
        }
    }
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
    unsigned kinds = 0, drop = 0;
    int rc;

    options.no_unaware_clients = args_flag(args, "no-unaware-clients");
    options.scrub = args_flag(args, "scrub");
    options.shadow_only = args_flag(args, "shadow-only");
    rc = column_options(args, &model, err);
    if (rc == COFFER_OK)
        rc = searches_given(args, "search", &kinds, err);
    if (rc == COFFER_OK)
        rc = searches_given(args, "drop-search", &drop, err);
    if (args_flag(args, "sum"))
        kinds |= 1u << INDEX_SUM;
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
    if (rc == COFFER_OK && drop == 0)
        rc = rotate_protect(&env, columns, count, &options, err);
    if (rc == COFFER_OK && !options.plan_only && !options.shadow_only && (kinds | drop) != 0)
        rc = protect_indexes(cli, &env, &events.url, columns, count, kinds, drop, &options, err);
    decoder_stop(decoder);
    return work_end(cli, &events, &env, rc, "protect");
}

static const struct arg_option options_protect[] = {
    {"bind", "none|column|row", "to what a value is bound; else the plan says which and why"},
    {"line", "NAME", "the key line (main)"},
    {"pad", "BYTES", "pad values to a multiple, so that a length says less"},
    {"suite", "1|2", "2 commits to its key, for several key holders"},
    {"in-place", NULL, "PostgreSQL: text form in the column itself, no companion"},
    {"search", "eq|text|order|sum", "what the server may find, sort or add the columns by; repeatable, or with commas"},
    {"sum", NULL, "the same as --search sum"},
    {"drop-search", "eq|text|order|sum", "take that away again"},
    {"normalise", "exact|canonical|caseless|accentless|digits", "what counts as the same text (caseless)"},
    {"unique", NULL, "eq: the database refuses a second row with an equal value"},
    {"accept-leak", "REASON", "make terms that reveal much all the same; the reason is kept in the keyring"},
    {"words", NULL, "text: whole words in place of parts of three characters"},
    {"token-padding", "N", "text: tokens up to a multiple, so that their number says less"},
    {"max", "N", "sum: the largest absolute value, in units of the last decimal place"},
    {"scale", "N", "sum of a numeric without declared decimal places"},
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
               "  coffer protect --plan postgresql://db/app patients.ssn\n"
               "  coffer protect --search eq,text sqlite:app.db patients.name\n\n"
               "What each kind of --search reveals is in docs/SEARCH.md.\n",
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
