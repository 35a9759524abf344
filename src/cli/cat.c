/* SPDX-License-Identifier: Apache-2.0 */
/* coffer cat: rows of a table, decrypted, streamed in the order of the primary key. */
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/reader.h"
#include "cli/where.h"
#include "field/field.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CELL_MAX (96u << 20)

struct cat_column {
    const struct db_column *column;
    const struct coffer_column *sealed; /* NULL: not protected */
    struct coffer_column_info info;
    bool hidden;      /* a companion: shown under its column's own name */
    size_t companion; /* index + 1 of the companion; 0: in place */
};

struct cat {
    struct cli *cli;
    struct coffer *coffer;
    const struct db_table *table;
    struct cat_column *columns;
    bool json;
    bool sqlite;
    struct buf line, value_text, open_space;
    struct row_place place;
    uint64_t auth, key, plaintext;
    const struct keyring *keyring; /* as it is: without what --escrow took */
    uint32_t missing[8];           /* keys that cells asked for in vain; the first few */
    size_t missing_count;
};

static int
find_columns(struct cat *c, const uint8_t *database, struct coffer_error *err)
{
    for (size_t i = 0; i < c->table->column_count; i++) {
        struct cat_column *column = &c->columns[i];
        char name[2 * DB_NAME_MAX + 2];
        int rc;

        column->column = &c->table->columns[i];
        (void)snprintf(name, sizeof name, "%s.%s", c->table->name, column->column->name);
        rc = coffer_column_find(c->coffer, database, name, &column->sealed, err);
        if (rc != COFFER_OK && rc != COFFER_E_NOTFOUND)
            return rc;
        if (rc == COFFER_OK)
            coffer_column_info(column->sealed, &column->info);
        else
            column->sealed = NULL;
    }
    for (size_t i = 0; i < c->table->column_count; i++) {
        struct cat_column *column = &c->columns[i];

        if (column->sealed == NULL || strcmp(column->info.sealed_name, column->info.name) == 0)
            continue;
        for (size_t j = 0; j < c->table->column_count; j++) {
            if (strcmp(c->columns[j].column->name, column->info.sealed_name) == 0) {
                column->companion = j + 1;
                c->columns[j].hidden = true;
            }
        }
        if (column->companion == 0 && column->info.phase != COFFER_OFF)
            return error_set(err, COFFER_E_NOTFOUND, "table %s: the companion %s of %s is not there", c->table->name,
                             column->info.sealed_name, column->info.name);
    }
    return COFFER_OK;
}

/* A real in its own fewest digits, laid out as PostgreSQL does: with an exponent from 1e6 on.  Reads only what is finite. */
static void
put_real(double value, struct buf *out)
{
    char digits[32];
    int precision, exponent;

    for (precision = 1; precision < 9; precision++) {
        (void)snprintf(digits, sizeof digits, "%.*e", precision - 1, value);
        if (strtof(digits, NULL) == (float)value)
            break;
    }
    if (precision == 9)
        (void)snprintf(digits, sizeof digits, "%.8e", value);
    exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent >= -4 && exponent < 6)
        (void)snprintf(digits, sizeof digits, "%.*f", precision - 1 > exponent ? precision - 1 - exponent : 0, value);
    buf_str(out, digits);
    wipe(digits, sizeof digits);
}

/* A value as PostgreSQL's text output would write it; nothing for NULL. */
static int
put_text(struct cat *c, const struct db_column *column, const struct coffer_value *value, struct coffer_error *err)
{
    struct coffer_value shown = *value;
    struct bytes text;
    bool before_christ;
    int rc;

    buf_clear(&c->value_text);
    if (shown.type == COFFER_INT64 && column->type == COFFER_BOOL && (shown.i64 == 0 || shown.i64 == 1))
        shown.type = COFFER_BOOL;
    if (shown.type == COFFER_FLOAT64 && !c->sqlite && strcmp(column->sql_type, "real") == 0 &&
        isfinite(shown.f64)) {
        put_real(shown.f64, &c->value_text);
        return buf_status(&c->value_text, err);
    }
    rc = value_format(&shown, &c->value_text, err);
    if (rc != COFFER_OK || c->sqlite || shown.type != COFFER_TIMESTAMP ||
        strstr(column->sql_type, "with time zone") == NULL)
        return rc;
    /* An instant is shown in UTC and says so, or reading it back would take the session's zone.
     * Infinity has none; the era comes after it. */
    text = buf_view(&c->value_text);
    if (text.ptr[text.len - 1] == 'y')
        return COFFER_OK;
    before_christ = text.ptr[text.len - 1] == 'C';
    if (before_christ)
        c->value_text.len -= strlen(" BC");
    buf_str(&c->value_text, before_christ ? "+00 BC" : "+00");
    return buf_status(&c->value_text, err);
}

static void
note_missing(struct cat *c, const struct coffer_stored *stored)
{
    struct coffer_envelope_info info;
    size_t i;

    if (coffer_envelope_parse(stored->sealed, stored->sealed_len, &info) != COFFER_OK)
        return;
    for (i = 0; i < c->missing_count && c->missing[i] != info.key_id; i++)
        ;
    if (i == c->missing_count && i < sizeof c->missing / sizeof *c->missing)
        c->missing[c->missing_count++] = info.key_id;
}

static int
read_cell(struct cat *c, const struct cat_column *column, const struct coffer_value *cells, size_t index,
          struct coffer_value *value, struct coffer_error *err)
{
    const struct coffer_value *beside = column->companion != 0 ? &cells[column->companion - 1] : NULL;
    struct coffer_stored stored;
    int rc = reader_cell(c->coffer, column->sealed, &column->info, (struct coffer_place){c->place.parts, c->place.count}, &cells[index], beside,
                         &c->open_space, &stored, value, err);

    if (rc == COFFER_E_KEY)
        note_missing(c, &stored);
    return rc;
}

static const char *
mark_of(struct cat *c, int status)
{
    if (status == COFFER_E_KEY) {
        c->key++;
        return "!KEY";
    }
    if (status == COFFER_E_PLAINTEXT) {
        c->plaintext++;
        return "!PLAINTEXT";
    }
    c->auth++;
    return "!AUTH";
}

static void
json_text(struct buf *out, struct bytes text)
{
    json_t *string = json_stringn((const char *)text.ptr, text.len);
    char *dumped = string == NULL ? NULL : json_dumps(string, JSON_ENCODE_ANY);

    buf_str(out, dumped != NULL ? dumped : "null");
    free(dumped);
    json_decref(string);
}

static void
put_field(struct cat *c, const struct cat_column *column, bool null, int type, bool first)
{
    struct bytes text = buf_view(&c->value_text);

    if (!first)
        buf_u8(&c->line, ',');
    if (!c->json) {
        if (!null)
            csv_field(&c->line, text);
        return;
    }
    json_text(&c->line, bytes_str(column->column->name));
    buf_u8(&c->line, ':');
    if (null)
        buf_str(&c->line, "null");
    else if (type == COFFER_BOOL)
        buf_str(&c->line, text.len > 0 && text.ptr[0] == 't' ? "true" : "false");
    else if (type == COFFER_INT64 && text.len <= 15) /* beyond 2^53 a reader would round it */
        buf_bytes(&c->line, text);
    else
        json_text(&c->line, text);
}

static int
print_row(void *arg, const struct coffer_value *cells, size_t count, struct coffer_error *err)
{
    struct cat *c = arg;
    bool first = true;
    int rc = row_place_of(&c->place, c->sqlite ? DB_SQLITE : DB_POSTGRESQL, c->table, cells, err);

    (void)count;
    buf_clear(&c->line);
    if (c->json)
        buf_u8(&c->line, '{');
    for (size_t i = 0; i < c->table->column_count && rc == COFFER_OK; i++) {
        const struct cat_column *column = &c->columns[i];
        struct coffer_value value = cells[i];
        int opened = COFFER_OK;

        if (column->hidden)
            continue;
        if (column->sealed != NULL)
            opened = read_cell(c, column, cells, i, &value, err);
        if (opened == COFFER_E_NOMEM || opened == COFFER_E_LIMIT)
            return opened;
        buf_clear(&c->value_text);
        if (opened != COFFER_OK) {
            buf_str(&c->value_text, mark_of(c, opened));
            value.type = COFFER_TEXT;
        } else if (value.type != COFFER_NULL) {
            rc = put_text(c, column->column, &value, err);
        }
        put_field(c, column, value.type == COFFER_NULL, value.type, first);
        first = false;
    }
    if (rc != COFFER_OK)
        return rc;
    buf_str(&c->line, c->json ? "}\n" : "\n");
    rc = buf_status(&c->line, err);
    if (rc == COFFER_OK && fwrite(c->line.ptr, 1, c->line.len, stdout) != c->line.len)
        rc = error_set(err, COFFER_E_IO, "the output could not be written");
    if (rc == COFFER_OK && cli_stop)
        rc = error_set(err, COFFER_E_CANCELLED, "stopped");
    return rc;
}

static void
build_query(const struct cat *c, struct db *db, const char *where, struct buf *sql)
{
    const char *dot = c->sqlite ? NULL : strchr(c->table->name, '.');
    int keys = 0;

    buf_str(sql, "SELECT ");
    for (size_t i = 0; i < c->table->column_count; i++) {
        buf_str(sql, i > 0 ? ", " : "");
        db_quote(db, c->table->columns[i].name, sql);
    }
    buf_str(sql, " FROM ");
    if (dot != NULL) {
        char schema[DB_NAME_MAX];

        (void)snprintf(schema, sizeof schema, "%.*s", (int)(dot - c->table->name), c->table->name);
        db_quote(db, schema, sql);
        buf_u8(sql, '.');
    }
    db_quote(db, dot != NULL ? dot + 1 : c->table->name, sql);
    if (where != NULL)
        buf_format(sql, " WHERE (%s\n)", where); /* the line end keeps a comment from eating the rest */
    for (int position = 1; position <= DB_KEY_MAX; position++) {
        for (size_t i = 0; i < c->table->column_count; i++) {
            if (c->table->columns[i].key_position == position) {
                buf_str(sql, keys++ == 0 ? " ORDER BY " : ", ");
                db_quote(db, c->table->columns[i].name, sql);
            }
        }
    }
    for (size_t i = 0; keys == 0 && i < c->table->key_count; i++) { /* no primary key: as the worker walks */
        buf_str(sql, i == 0 ? " ORDER BY " : ", ");
        if (c->table->key_kind == DB_KEY_ROWID)
            buf_str(sql, c->table->key[i]);
        else
            db_quote(db, c->table->key[i], sql);
    }
}

/* What did not open, and what would open it. */
static void
print_failures(const struct cat *c)
{
    unsigned long long auth = c->auth, key = c->key, plaintext = c->plaintext, all = auth + key + plaintext;
    bool escrowed = false;
    char line[900];
    size_t at;

    at = (size_t)snprintf(line, sizeof line, "%llu cell%s did not open:", all, all == 1 ? "" : "s");
    if (auth > 0)
        at += (size_t)snprintf(line + at, sizeof line - at, " %llu !AUTH (sealed for another place, or changed)%s", auth,
                               key + plaintext > 0 ? "," : "");
    if (plaintext > 0)
        at += (size_t)snprintf(line + at, sizeof line - at, " %llu !PLAINTEXT (not sealed, in a sealed column)%s", plaintext,
                               key > 0 ? "," : "");
    if (key > 0)
        at += (size_t)snprintf(line + at, sizeof line - at, " %llu !KEY (", key);
    for (size_t i = 0; i < c->missing_count; i++) {
        const struct keyring_key *known = keyring_key(c->keyring, c->missing[i]);

        escrowed = escrowed || (known != NULL && known->state == KEY_ESCROWED);
        at += (size_t)snprintf(line + at, sizeof line - at, "%skey %08x %s", i > 0 ? ", " : "", (unsigned)c->missing[i],
                               known == NULL                       ? "is not in this keyring"
                               : known->state == KEY_DESTROYED     ? "was destroyed"
                               : known->state == KEY_ESCROWED      ? "is in escrow"
                                                                   : "has other material");
    }
    if (key > 0)
        at += (size_t)snprintf(line + at, sizeof line - at, "%s)", c->missing_count == 0 ? "keys unknown" : "");
    if (escrowed)
        (void)snprintf(line + at, sizeof line - at, ". This is data from before a rotation: --escrow reads it here, and "
                                                    "coffer rotate brings a restored database to the newest key");
    (void)fflush(stdout);
    (void)fputs("coffer: ", stderr);
    print_wrapped(stderr, line, 8, terminal_width(STDERR_FILENO));
}

/* Of a sealed column the database has ciphertext alone: a comparison would find nothing, or everything, and say so to nobody. */
static int
check_where(const struct cat *c, const char *where, struct coffer_error *err)
{
    for (size_t i = 0; where != NULL && i < c->table->column_count; i++) {
        const struct cat_column *column = &c->columns[i];

        if (column->sealed != NULL && column->info.phase >= COFFER_DUAL &&
            where_names(where, column->column->name, column->companion != 0))
            return error_set(err, COFFER_E_MISUSE,
                             "--where compares %s.%s, which is sealed: the database holds only ciphertext of it.  Compare other "
                             "columns there, and filter what is printed%s%s%s",
                             c->table->name, column->column->name, column->companion != 0 ? "; for NULL ask " : "",
                             column->companion != 0 ? column->info.sealed_name : "", column->companion != 0 ? " IS NULL" : "");
    }
    return COFFER_OK;
}

static int
print_table(struct cat *c, struct db *db, struct coffer_error *err)
{
    struct buf sql;
    bool first = true;
    int rc;

    buf_init(&sql, 1u << 20);
    build_query(c, db, args_text(c->cli->args, "where"), &sql);
    rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = check_where(c, args_text(c->cli->args, "where"), err);
    for (size_t i = 0; i < c->table->column_count && rc == COFFER_OK && !c->json; i++) {
        if (c->columns[i].hidden)
            continue;
        if (!first)
            buf_u8(&c->line, ',');
        csv_field(&c->line, bytes_str(c->columns[i].column->name));
        first = false;
    }
    if (rc == COFFER_OK && !c->json) {
        buf_u8(&c->line, '\n');
        (void)fwrite(c->line.ptr, 1, c->line.len, stdout);
    }
    if (rc == COFFER_OK)
        rc = db_stream(db, buf_cstr(&sql), NULL, 0, print_row, c, err);
    buf_wipe(&sql);
    if (rc == COFFER_OK && c->auth + c->key + c->plaintext > 0) {
        print_failures(c);
        c->cli->exit_code = 1;
    }
    return rc;
}

static int
run_cat(struct cli *cli, struct coffer_error *err)
{
    const char *format = args_text(cli->args, "format");
    struct cat c = {.cli = cli, .json = cli->json};
    struct reader reader = {0};
    struct db *db = NULL;
    struct db_table *table = NULL;
    struct cli_url url;
    size_t next = 0;
    int rc = cli_url(cli, &next, &url, err);

    if (rc == COFFER_OK && next + 1 != cli->args->word_count)
        rc = error_set(err, COFFER_E_MISUSE, "usage: coffer cat %s", cli->command->synopsis);
    if (rc == COFFER_OK && format != NULL && strcmp(format, "csv") != 0 && strcmp(format, "json") != 0)
        rc = error_set(err, COFFER_E_MISUSE, "--format %s: csv or json", format);
    if (rc != COFFER_OK)
        return rc;
    c.json = c.json || (format != NULL && strcmp(format, "json") == 0);
    buf_init(&c.line, CELL_MAX * 2);
    buf_init(&c.value_text, CELL_MAX * 2);
    buf_init(&c.open_space, CELL_MAX);
    row_place_init(&c.place);
    cli_catch_signals();
    rc = reader_open(cli, &url, &reader, err);
    if (rc == COFFER_OK)
        rc = db_open(url.text, url.allow_password, &(struct db_options){.read_only = true}, &db, err);
    if (rc == COFFER_OK)
        rc = db_table_open(db, cli->args->words[next], &table, err);
    if (rc == COFFER_OK) {
        c.coffer = reader.coffer;
        c.keyring = reader.keyring;
        c.table = table;
        c.sqlite = db_engine(db) == DB_SQLITE;
        c.columns = mem_array(table->column_count, sizeof *c.columns);
        rc = c.columns == NULL ? error_nomem(err) : find_columns(&c, reader.database->id.b, err);
    }
    if (rc == COFFER_OK)
        rc = print_table(&c, db, err);
    buf_wipe(&c.line);
    buf_wipe(&c.value_text);
    buf_wipe(&c.open_space);
    row_place_wipe(&c.place);
    mem_free(c.columns);
    db_table_free(table);
    db_close(db);
    reader_close(&reader);
    return rc;
}

static const struct arg_option options_cat[] = {
    {"where", "CONDITION", "SQL over unprotected columns, given to the database as it is"},
    {"escrow", NULL, "use escrowed keys too, in memory only: to read a restored backup; written to the audit log"},
    {"format", "csv|json", "csv (default) or JSON lines"},
    {NULL, NULL, NULL}};
const struct command command_cat = {
    .name = "cat",
    .synopsis = "DBURL TABLE [--where CONDITION] [--format csv|json] [--escrow]",
    .summary = "rows of a table, decrypted",
    .details = "Rows by primary key, columns in table order.  CSV as PostgreSQL writes it.  A cell that does not\n"
               "open prints !AUTH or !KEY, plaintext in a sealed column !PLAINTEXT; the exit code is then 1.\n\n"
               "  coffer cat sqlite:app.db patients --where 'id < 10'\n"
               "  coffer cat sqlite:restored.db patients --escrow\n",
    .options = options_cat,
    .more_options = options_url,
    .words_max = 2,
    .run = run_cat,
};
