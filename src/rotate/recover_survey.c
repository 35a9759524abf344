/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at a restored copy: which columns hold plaintext, under which keys the others are, and whose envelopes they
 * are when a column was protected more than once. */
#include "rotate/recover.h"

#include "base/mem.h"
#include "rotate/sample.h"

#include <string.h>

#define SAMPLE_ROWS 50

void
survey_free(struct survey *survey)
{
    size_t i;

    for (i = 0; i < survey->count; i++)
        mem_free((void *)survey->columns[i].retired);
    mem_free(survey->columns);
    mem_free(survey->keys);
    memset(survey, 0, sizeof *survey);
}

static int
add_key(struct survey *survey, uint32_t id, struct coffer_error *err)
{
    uint32_t *grown;
    size_t i;

    for (i = 0; i < survey->key_count; i++) {
        if (survey->keys[i] == id)
            return COFFER_OK;
    }
    grown = mem_grow(survey->keys, (survey->key_count + 1) * sizeof *grown);
    if (grown == NULL)
        return error_nomem(err);
    survey->keys = grown;
    survey->keys[survey->key_count++] = id;
    return COFFER_OK;
}

/* Each name once, with its records: the keyring lists them oldest first. */
static int
group_by_name(struct session *s, struct survey *out, struct coffer_error *err)
{
    size_t total = keyring_column_count(s->keyring), i, k;

    out->columns = mem_array(total + 1, sizeof *out->columns);
    if (out->columns == NULL)
        return error_nomem(err);
    for (i = 0; i < total; i++) {
        const struct keyring_column *column = keyring_column_at(s->keyring, i);
        struct found_column *found = NULL;

        if (!uuid_equal(&column->database, &s->database->id))
            continue;
        for (k = 0; k < out->count && found == NULL; k++) {
            const struct keyring_column *other = out->columns[k].current != NULL
                                                     ? out->columns[k].current
                                                     : out->columns[k].retired[0];

            if (strcmp(other->table, column->table) == 0 && strcmp(other->name, column->name) == 0)
                found = &out->columns[k];
        }
        if (found == NULL) {
            found = &out->columns[out->count];
            found->retired = mem_array(total + 1, sizeof *found->retired);
            if (found->retired == NULL)
                return error_nomem(err);
            out->count++;
        }
        if (column->retired)
            found->retired[found->retired_count++] = column;
        else
            found->current = column;
    }
    return COFFER_OK;
}

/* Bytes in place, and text in text form: SQL cannot tell an envelope from a value that looks like one. */
static bool
may_look_sealed(const struct keyring_column *column)
{
    return column->companion[0] == '\0' && (column->type == COFFER_BYTES || column->text_form);
}

static int
count_current(struct session *s, const struct db_table *table, bool lenient,
              struct found_column *found, struct survey *out, struct coffer_error *err)
{
    const struct keyring_column *column = found->current;
    struct db_count *count = NULL;
    struct db_cell_spec spec;
    size_t k;
    int rc;

    column_cell_spec(column, &spec);
    if (spec.sealed != NULL && db_table_column(table, spec.sealed) == NULL) {
        spec.sealed = NULL; /* from before the companion: whatever is there is plaintext */
        rc = db_count(s->database->db, table, &spec, &count, err);
        if (rc == COFFER_OK)
            found->plaintext = count->rows - count->nulls;
        db_count_free(count);
        return rc;
    }
    rc = db_count(s->database->db, table, &spec, &count, err);
    if (rc != COFFER_OK)
        return rc;
    found->plaintext = count->plaintext + count->both;
    for (k = 0; rc == COFFER_OK && k < count->key_count; k++) {
        uint32_t id = count->keys[k].key_id;

        if (lenient && may_look_sealed(column) && keyring_key(s->keyring, id) == NULL)
            found->plaintext += count->keys[k].cells;
        else
            rc = add_key(out, id, err);
    }
    db_count_free(count);
    return rc;
}

static int
count_retired(struct session *s, const struct db_table *table, const struct keyring_column *column,
              struct found_column *found, struct survey *out, struct coffer_error *err)
{
    struct db_count *count = NULL;
    struct db_cell_spec spec;
    size_t k;
    int rc;

    column_cell_spec(column, &spec);
    if (spec.sealed != NULL && db_table_column(table, spec.sealed) == NULL)
        return COFFER_OK;
    rc = db_count(s->database->db, table, &spec, &count, err);
    for (k = 0; rc == COFFER_OK && k < count->key_count; k++) {
        const struct keyring_key *key = keyring_key(s->keyring, count->keys[k].key_id);

        /* What names a key of nobody's is a value of an unprotected column, no envelope. */
        if (key == NULL || key->purpose != KEY_FIELD)
            continue;
        found->retired_envelopes = true;
        if (key->state != KEY_DESTROYED || found->current == NULL)
            rc = add_key(out, key->id, err);
    }
    db_count_free(count);
    return rc;
}

static int
count_found(struct session *s, struct found_column *found, bool lenient, struct survey *out,
            struct coffer_error *err)
{
    const struct keyring_column *any = found->current != NULL ? found->current : found->retired[0];
    bool wanted = found->current != NULL && found->current->phase != COFFER_OFF;
    struct coffer_error reason = {0};
    struct db_table *table = NULL;
    size_t i;
    int rc = db_table_open(s->database->db, any->table, &table, &reason);

    if (rc == COFFER_E_NOTFOUND && !wanted)
        return COFFER_OK;
    if (rc != COFFER_OK)
        return error_set(err, rc,
                         "protected column %s.%s: %.300s. If this copy is from before the table "
                         "was made, make it "
                         "empty, and run the command again",
                         any->table, any->name, reason.message);
    if (db_table_column(table, any->name) == NULL) {
        rc =
            wanted
                ? error_set(
                      err, COFFER_E_NOTFOUND,
                      "column %s.%s is protected, but this copy's table has no such column; add it "
                      "(it may be empty), and run the command again",
                      any->table, any->name)
                : COFFER_OK;
    } else {
        if (found->current != NULL)
            rc = count_current(s, table, lenient, found, out, err);
        for (i = 0; rc == COFFER_OK && i < found->retired_count; i++)
            rc = count_retired(s, table, found->retired[i], found, out, err);
    }
    db_table_free(table);
    return rc;
}

int
survey_count(struct session *s, bool lenient, struct survey *out, struct coffer_error *err)
{
    size_t i;
    int rc;

    memset(out, 0, sizeof *out);
    rc = group_by_name(s, out, err);
    for (i = 0; rc == COFFER_OK && i < out->count; i++)
        rc = count_found(s, &out->columns[i], lenient, out, err);
    if (rc != COFFER_OK)
        survey_free(out);
    return rc;
}

/* ---- whose envelopes ---- */

static int
it_opens(void *arg, const struct coffer_value *value, bool *more, struct coffer_error *err)
{
    *(bool *)arg = true;
    *more = false;
    return COFFER_OK;
}

int
survey_owners(struct session *s, struct survey *survey, struct coffer_error *err)
{
    size_t i, k;
    int rc = COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < survey->count; i++) {
        struct found_column *found = &survey->columns[i];
        bool opens = false;

        if (!found->retired_envelopes) {
            found->owner = found->current;
            continue;
        }
        if (found->current != NULL)
            rc = sample_column(s, found->current, 1, SAMPLE_ROWS, it_opens, &opens, err);
        if (opens)
            found->owner = found->current;
        for (k = found->retired_count; rc == COFFER_OK && !opens && k-- > 0;) { /* newest first */
            rc = sample_column(s, found->retired[k], 1, SAMPLE_ROWS, it_opens, &opens, err);
            if (opens)
                found->owner = found->retired[k];
        }
    }
    return rc;
}
