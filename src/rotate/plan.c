/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of a protect: what each column becomes, what stands in the way, and one row tried. */
#include "base/mem.h"
#include "base/number.h"
#include "crypto/crypto.h"
#include "rotate/protect.h"

#include <stdio.h>
#include <string.h>

/* "table.column" or "schema.table.column" into table and column: the last dot decides. */
static int
split_name(const char *name, char table[KEYRING_NAME_MAX], char column[KEYRING_NAME_MAX],
           struct coffer_error *err)
{
    const char *dot = strrchr(name, '.');

    if (dot == NULL || dot == name || dot[1] == '\0' || (size_t)(dot - name) >= KEYRING_NAME_MAX ||
        strlen(dot + 1) >= KEYRING_NAME_MAX)
        return error_set(err, COFFER_E_MISUSE, "%s is no column name; write table.column", name);
    snprintf(table, KEYRING_NAME_MAX, "%.*s", (int)(dot - name), name);
    snprintf(column, KEYRING_NAME_MAX, "%s", dot + 1);
    return COFFER_OK;
}

/* How many letters to change, add or leave out, up to 3. */
static unsigned
distance(const char *a, const char *b, unsigned room)
{
    unsigned best;

    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    if (*a == '\0' && *b == '\0')
        return 0;
    if (room == 0)
        return 1;
    best = *a != '\0' ? distance(a + 1, b, room - 1) : room;
    if (*b != '\0' && best > 0) {
        unsigned other = distance(a, b + 1, room - 1);

        best = other < best ? other : best;
    }
    if (*a != '\0' && *b != '\0' && best > 0) {
        unsigned other = distance(a + 1, b + 1, room - 1);

        best = other < best ? other : best;
    }
    return best + 1;
}

static int
no_such_column(const struct db_table *table, const char *name, struct coffer_error *err)
{
    const char *nearest = NULL;
    size_t letters = strlen(name) / 2 + 1;
    unsigned nearest_distance = letters < 3 ? (unsigned)letters : 3; /* further away is no slip of the hand */
    struct buf list;
    size_t i;

    buf_init(&list, 64u << 10);
    for (i = 0; i < table->column_count; i++) {
        unsigned d = distance(name, table->columns[i].name, 2);

        buf_format(&list, "%s%s", i > 0 ? ", " : "", table->columns[i].name);
        if (d < nearest_distance) {
            nearest = table->columns[i].name;
            nearest_distance = d;
        }
    }
    if (nearest != NULL)
        error_set(err, COFFER_E_NOTFOUND, "table %s has no column %s; did you mean %s?", table->name, name, nearest);
    else
        error_set(err, COFFER_E_NOTFOUND, "table %s has no column %s; it has %.300s", table->name, name,
                  buf_cstr(&list));
    buf_wipe(&list);
    return COFFER_E_NOTFOUND;
}

int
plan_find(struct session *s, const struct rotate_column *asked, const struct keyring_column **record,
          struct coffer_error *err)
{
    char table_name[KEYRING_NAME_MAX], name[KEYRING_NAME_MAX];
    struct db_table *table = NULL;
    int rc = split_name(asked->name, table_name, name, err);

    *record = NULL;
    if (rc == COFFER_OK)
        rc = db_table_open(s->database->db, table_name, &table, err);
    if (rc != COFFER_OK)
        return rc;
    *record = keyring_column(s->keyring, &s->database->id, table->name, name);
    if (*record == NULL && db_table_column(table, name) == NULL)
        rc = no_such_column(table, name, err);
    db_table_free(table);
    return rc;
}

static const char *
binding_name(int binding)
{
    return binding == COFFER_BIND_ROW ? "row" : binding == COFFER_BIND_COLUMN ? "column" : "none";
}

/* SQLite keeps values of any class in a column.  A key part that is bound must be of the class that its type says, or an
 * application that goes by the type would name another place. */
static int
key_classes(struct session *s, const struct db_table *table, bool *hold, struct coffer_error *err)
{
    struct db_result *result = NULL;
    bool numeric = false;
    struct buf sql;
    size_t i;
    int rc;

    *hold = true;
    if (db_engine(s->database->db) != DB_SQLITE)
        return COFFER_OK;
    buf_init(&sql, 1u << 14);
    buf_str(&sql, "SELECT 1 FROM ");
    db_quote(s->database->db, table->name, &sql);
    for (i = 0; i < table->key_count; i++) {
        const struct db_column *column = db_table_column(table, table->key[i]);

        /* A number here is an integer, a real or text, as it comes. */
        numeric = numeric || (column != NULL && column->type == COFFER_NUMERIC);
        buf_str(&sql, i > 0 ? " OR typeof(" : " WHERE typeof(");
        db_quote(s->database->db, table->key[i], &sql);
        buf_format(&sql, ") <> '%s'",
                   table->key_types[i] == COFFER_INT64     ? "integer"
                   : table->key_types[i] == COFFER_FLOAT64 ? "real"
                   : table->key_types[i] == COFFER_BYTES   ? "blob"
                                                           : "text");
    }
    buf_str(&sql, " LIMIT 1");
    rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = db_run(s->database->db, buf_cstr(&sql), NULL, 0, &result, err);
    if (rc == COFFER_OK)
        *hold = result->rows == 0 && !numeric;
    db_result_free(result);
    buf_wipe(&sql);
    return rc;
}

/* Row binding where it can hold, else column; says why. */
static int
choose_binding(struct session *s, const struct rotate_column *asked, const struct db_table *table,
               int *binding, const char **why, struct coffer_error *err)
{
    bool classes = true;
    int rc = table->primary_not_null ? key_classes(s, table, &classes, err) : COFFER_OK;

    if (rc != COFFER_OK)
        return rc;
    if (asked->binding == COFFER_BIND_ROW && !classes)
        return error_set(err, COFFER_E_REFUSED,
                         "keys of table %s are not all of the storage class that their declared types say, so that "
                         "applications could not name the rows; use --bind column",
                         table->name);
    if (asked->binding == COFFER_BIND_ROW && !table->primary_not_null)
        return error_set(err, COFFER_E_REFUSED,
                         "table %s has no declared primary key of NOT NULL columns, so that its "
                         "cells cannot be bound to rows; add "
                         "one, or use --bind column",
                         table->name);
    if (asked->binding >= 0) {
        *binding = asked->binding;
        *why = "as asked";
    } else if (!table->primary_not_null) {
        *binding = COFFER_BIND_COLUMN;
        *why = "no declared NOT NULL primary key";
    } else if (!classes) {
        *binding = COFFER_BIND_COLUMN;
        *why = "keys of other storage classes than their types say";
    } else if (table->key_generated) {
        *binding = COFFER_BIND_COLUMN;
        *why = "the database makes the key, which is not known before an INSERT";
    } else if (table->key_cascades) {
        *binding = COFFER_BIND_COLUMN;
        *why = "a foreign key cascades into the key";
    } else {
        *binding = COFFER_BIND_ROW;
        *why = "the key is the application's own and never NULL";
    }
    return COFFER_OK;
}

static void
fill_parts(const struct db_table *table, struct keyring_column *column)
{
    size_t i;

    for (i = 0; column->binding == COFFER_BIND_ROW && i < table->key_count && i < KEYRING_PARTS_MAX;
         i++) {
        snprintf(column->parts[i].name, sizeof column->parts[i].name, "%s", table->key[i]);
        column->parts[i].type = table->key_types[i];
        column->part_count++;
    }
}

static int
choose_type(const struct rotate_column *asked, const struct db_table *table,
            const struct db_column *found, int *type, struct coffer_error *err)
{
    *type = asked->type != 0 ? asked->type : found->type;
    if (*type != 0)
        return COFFER_OK;
    return error_set(err, COFFER_E_REFUSED,
                     "%s.%s has type %s, which is none of: bytes, text, bool, int64, float64, "
                     "numeric, date, timestamp, uuid, json; "
                     "say which it is with %s.%s:TYPE",
                     table->name, found->name,
                     found->sql_type[0] != '\0' ? found->sql_type : "(none)", table->name,
                     found->name);
}

/* Does a CHECK (or STRICT) keep an envelope out of the column itself? */
static int
needs_companion(struct session *s, const struct db_table *table, const struct db_cell_spec *cell,
                bool *companion, struct coffer_error *err)
{
    struct db_obstacles found;
    size_t i;
    int rc;

    *companion = table->strict || db_engine(s->database->db) != DB_SQLITE;
    if (*companion)
        return COFFER_OK;
    rc = db_obstacles(s->database->db, table, cell, &found, err);
    for (i = 0; rc == COFFER_OK && i < found.count; i++)
        *companion = *companion || strcmp(found.items[i].kind, "check") == 0;
    if (rc == COFFER_OK)
        db_obstacles_free(&found);
    return rc;
}

/* True of every column alike: said once in a plan. */
static bool
is_of_all(const struct db_obstacle *o)
{
    return (strcmp(o->kind, "copy") == 0 && strcmp(o->object, "pg_statistic") == 0) ||
           (strcmp(o->kind, "statement") == 0 && o->severity == 'i');
}

static int
check_obstacles(struct session *s, const struct db_table *table,
                const struct keyring_column *column, struct plan_said *said, struct coffer_error *err)
{
    struct db_obstacles found;
    struct db_cell_spec cell;
    size_t i;
    int rc;

    column_cell_spec(column, &cell);
    rc = db_obstacles(s->database->db, table, &cell, &found, err);
    if (rc != COFFER_OK)
        return rc;
    for (i = 0; i < found.count; i++) {
        const struct db_obstacle *o = &found.items[i];

        said->refused += o->severity == 'r';
        if (is_of_all(o)) {
            bool *before = strcmp(o->kind, "copy") == 0 ? &said->planner : &said->unwatched;

            if (!*before)
                say(s->env, ROTATE_NOTE, "plan", "all columns: %s %s: %s", o->kind, o->object, o->text);
            *before = true;
            continue;
        }
        say(s->env,
            o->severity == 'i'   ? ROTATE_NOTE
            : o->severity == 'r' ? ROTATE_MUST
                                 : ROTATE_WARN,
            "plan", "%s.%s: %s %s: %s", column->table, column->name, o->kind, o->object, o->text);
    }
    db_obstacles_free(&found);
    return COFFER_OK;
}

static int
say_size(struct session *s, const struct db_table *table, const struct keyring_column *column,
         const char *why, struct coffer_error *err)
{
    struct db_cell_spec cell;
    struct db_count *count = NULL;
    char with[32];
    int rc;

    column_cell_spec(column, &cell);
    cell.sealed = NULL; /* a companion may not be there yet */
    rc = db_count_estimate(s->database->db, table, &cell, &count, err);
    if (rc != COFFER_OK)
        return rc;
    grouped(count->rows - count->nulls, with);
    say(s->env, ROTATE_NOTE, "plan",
        "%s.%s: %s, %s binding (%s), %s, line %s; about %s of %s "
        "with a value",
        column->table, column->name, coffer_type_name(column->type), binding_name(column->binding),
        why, column->companion[0] != '\0' ? column->companion : "in place", column->line,
        with, counted(count->rows, "row").text);
    db_count_free(count);
    return COFFER_OK;
}

int
plan_column(struct session *s, const struct rotate_column *asked, struct keyring_column *out,
            bool *known, struct plan_said *said, struct coffer_error *err)
{
    char table_name[KEYRING_NAME_MAX], name[KEYRING_NAME_MAX];
    const struct keyring_column *record;
    const struct db_column *found;
    struct db_table *table = NULL;
    struct db_cell_spec cell;
    const char *why = "";
    size_t refused_before = said->refused;
    bool companion = false;
    int rc = split_name(asked->name, table_name, name, err);

    memset(out, 0, sizeof *out);
    *known = false;
    if (rc == COFFER_OK)
        rc = db_table_open(s->database->db, table_name, &table, err);
    if (rc != COFFER_OK)
        return rc;
    found = db_table_column(table, name);
    record = keyring_column(s->keyring, &s->database->id, table->name, name);
    if (record != NULL) {
        *out = *record;
        *known = true;
        goto out;
    }
    if (found == NULL) {
        rc = no_such_column(table, name, err);
        goto out;
    }
    snprintf(out->table, sizeof out->table, "%s", table->name);
    snprintf(out->name, sizeof out->name, "%s", name);
    snprintf(out->line, sizeof out->line, "%s", asked->line != NULL ? asked->line : "main");
    snprintf(out->sql_type, sizeof out->sql_type, "%s", found->sql_type);
    out->suite = asked->suite != 0 ? asked->suite : COFFER_SUITE_XAES;
    out->pad = asked->pad;
    rc = uuid_new(&out->id, err);
    if (rc == COFFER_OK)
        rc = choose_type(asked, table, found, &out->type, err);
    if (rc == COFFER_OK)
        rc = choose_binding(s, asked, table, &out->binding, &why, err);
    if (rc != COFFER_OK)
        goto out;
    fill_parts(table, out);
    column_cell_spec(out, &cell);
    rc = needs_companion(s, table, &cell, &companion, err);
    if (rc != COFFER_OK)
        goto out;
    if (asked->in_place && db_engine(s->database->db) != DB_SQLITE) {
        companion = false;
        out->text_form = true;
        if (out->type != COFFER_TEXT && out->type != COFFER_JSON)
            rc = error_set(err, COFFER_E_REFUSED,
                           "%s.%s is no text column: only those can hold envelopes in place",
                           table->name, name);
    }
    if (companion && snprintf(out->companion, sizeof out->companion, "%s_sealed", name) >=
                         (int)sizeof out->companion)
        rc = error_set(err, COFFER_E_LIMIT, "the name %s_sealed is too long", name);
    if (rc == COFFER_OK)
        rc = check_obstacles(s, table, out, said, err);
    /* What refuses the column may refuse to be counted as well, as hidden rows do. */
    if (rc == COFFER_OK && said->refused == refused_before)
        rc = say_size(s, table, out, why, err);
out:
    db_table_free(table);
    return rc;
}

/* ---- one row, tried and rolled back ---- */

static int
refuse_quarantine(void *arg, const struct walk_column *column, const struct db_row *row,
                  size_t place_count, const char *reason, struct coffer_error *err)
{
    return COFFER_OK; /* a cell that will not go is met again, and counted, by the walk */
}

static int
rehearse_table(struct session *s, const struct db_table *table, const struct walk_column *columns,
               size_t count, struct coffer_error *err)
{
    struct db_want *wants = mem_array(count + 1, sizeof *wants);
    struct db_guard guard = {.rehearse = true};
    struct db_walk *walk = NULL;
    struct db_batch *batch = NULL;
    struct codec *codec = NULL;
    struct cells *cells = NULL;
    struct buf storage;
    size_t i;
    int rc = session_codec(s, &codec, err);

    buf_init(&storage, 256u << 20);
    if (rc == COFFER_OK && wants == NULL)
        rc = error_nomem(err);
    for (i = 0; rc == COFFER_OK && i < count; i++)
        wants[i] = columns[i].want;
    if (rc == COFFER_OK)
        rc = db_walk_open(s->database->db, table, wants, count, &walk, err);
    if (rc == COFFER_OK)
        rc = db_walk_read(walk, NULL, NULL, 1, &batch, err);
    if (rc == COFFER_OK)
        rc = cells_new(codec, columns, count, s->options, &cells, err);
    if (rc == COFFER_OK && batch->count == 1)
        rc = cells_transform(cells, &batch->rows[0], batch->place_count, &storage,
                             refuse_quarantine, NULL, err);
    if (rc == COFFER_OK && batch->count == 1)
        rc = db_walk_write(walk, batch, &guard, 0, "rehearsal", err);
    cells_free(cells);
    db_batch_free(batch);
    db_walk_close(walk);
    buf_wipe(&storage);
    mem_free(wants);
    return rc;
}

int
plan_rehearse(struct session *s, const struct rotation *rotation, struct coffer_error *err)
{
    struct table_set set;
    size_t i;
    int rc = table_set_open(s, rotation, &set, err);

    for (i = 0; rc == COFFER_OK && i < set.count; i++)
        rc = rehearse_table(s, set.items[i].table, set.items[i].columns, set.items[i].count, err);
    if (rc == COFFER_OK && set.count > 0)
        say(s->env, ROTATE_NOTE, "try", "one row was sealed, stored, compared and rolled back");
    table_set_close(&set);
    return rc;
}
