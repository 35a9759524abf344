/* SPDX-License-Identifier: Apache-2.0 */
/* coffer report leakage: what the terms of protected columns reveal, or would, on the owner's own data. */
#include "cli/commands.h"
#include "cli/leak.h"

#include <string.h>

static int
show(struct cli *cli, struct table *table, const char *name, const struct leak *leak, bool there)
{
    char rows[32], distinct[32], share[32], grade[2] = {leak->grade, '\0'};
    const char *cells[] = {name, index_kind_name(leak->kind), there ? "there" : "not there", rows, distinct, share, grade, leak->who, leak->advice};

    if (cli->json) {
        out_json(json_pack("{s:s, s:s, s:b, s:I, s:I, s:f, s:f, s:s, s:s, s:s}", "column", name, "kind", index_kind_name(leak->kind), "there", there,
                           "rows", (json_int_t)leak->rows, "distinct", (json_int_t)leak->distinct, "recovered", leak->share, "density",
                           leak->density, "grade", grade, "against", leak->who, "advice", leak->advice));
        return COFFER_OK;
    }
    (void)snprintf(rows, sizeof rows, "%zu", leak->rows);
    (void)snprintf(distinct, sizeof distinct, "%zu", leak->distinct);
    (void)snprintf(share, sizeof share, "%.1f %%", 100 * leak->share);
    table_row(table, cells);
    return COFFER_OK;
}

static int
report_column(struct cli *cli, struct reader *reader, const struct keyring_column *column, struct table *table, struct coffer_error *err)
{
    static const int kinds[] = {INDEX_EQUALITY, INDEX_TEXT, INDEX_OPE, INDEX_SUM};
    struct leak_sample *sample = NULL;
    char name[2 * KEYRING_NAME_MAX];
    int rc;

    (void)snprintf(name, sizeof name, "%s.%s", column->table, column->name);
    rc = leak_sample_open(reader, name, &sample, err);
    for (size_t k = 0; rc == COFFER_OK && k < sizeof kinds / sizeof kinds[0]; k++) {
        struct keyring_index def = {.kind = kinds[k], .normaliser = kinds[k] != INDEX_SUM ? 2 : 0, .precision = 18, .scale = 2};
        struct coffer_error ignored = {0};
        struct leak leak;
        bool there = false;

        if (column->type != COFFER_NUMERIC)
            def.precision = def.scale = 0;
        for (size_t i = 0; i < keyring_index_count(reader->keyring); i++) {
            const struct keyring_index *index = keyring_index_at(reader->keyring, i);

            if (index->kind == kinds[k] && uuid_equal(&index->column, &column->id)) {
                def = *index;
                there = true;
            }
        }
        rc = leak_measure(sample, &def, &leak, &ignored);
        if (rc == COFFER_E_NOMEM)
            return error_nomem(err);
        if (rc == COFFER_OK) /* else there are no such terms of this type, or of these values */
            rc = show(cli, table, name, &leak, there);
        else
            rc = COFFER_OK;
    }
    leak_sample_free(sample);
    return rc;
}

static int
run_report(struct cli *cli, struct coffer_error *err)
{
    static const char *const headings[] = {"COLUMN", "TERMS", "NOW", ">ROWS", ">DISTINCT", ">RECOVERED", "GRADE", "AT LEAST, AGAINST", "BETTER"};
    struct reader reader = {0};
    struct table *table;
    struct cli_url url;
    size_t next = 0, shown = 0;
    int rc = cli_url(cli, &next, &url, err);

    if (rc == COFFER_OK)
        rc = reader_open(cli, &url, &reader, err);
    if (rc != COFFER_OK)
        return rc;
    table = table_new(headings, sizeof headings / sizeof headings[0]);
    if (table == NULL)
        rc = error_nomem(err);
    for (size_t i = 0; rc == COFFER_OK && i < keyring_column_count(reader.keyring); i++) {
        const struct keyring_column *column = keyring_column_at(reader.keyring, i);
        const char *wanted = cli->args->word_count > next ? cli->args->words[next] : NULL;
        char name[2 * KEYRING_NAME_MAX];
        size_t len;

        (void)snprintf(name, sizeof name, "%s.%s", column->table, column->name);
        len = strlen(name);
        if (column->retired || !uuid_equal(&column->database, &reader.database->id) ||
            (wanted != NULL && (len < strlen(wanted) || strcmp(name + len - strlen(wanted), wanted) != 0)))
            continue;
        shown++;
        rc = report_column(cli, &reader, column, table, err);
    }
    if (rc == COFFER_OK && shown == 0)
        rc = error_set(err, COFFER_E_NOTFOUND, "no such protected column in %s", reader.database->name);
    if (rc == COFFER_OK && !cli->json)
        table_print(table, stdout, cli->colour);
    table_free(table);
    reader_close(&reader);
    return rc;
}

const struct command command_report_leakage = {
    .name = "report leakage",
    .synopsis = "DBURL [TABLE.COLUMN]",
    .summary = "what search terms reveal, or would, on your own data",
    .details = "Opens the columns here and tries the published attacks on what a server would see.  RECOVERED is the share\n"
               "of rows that they give away at least; grades are A up to 1 %, B 5 %, C 20 %, D 50 %, F above.\n"
               "Nothing is written.\n\n"
               "  coffer report leakage sqlite:app.db\n"
               "  coffer report leakage --json postgresql://db/app patients.ssn\n",
    .options = options_none,
    .more_options = options_url,
    .words_max = 2,
    .run = run_report,
};
