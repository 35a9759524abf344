/* SPDX-License-Identifier: Apache-2.0 */
/* Three SQL functions that belong to one walk on one connection, so that a batch is one statement:
 *
 *   coffer_walk<N>_wants(columns…)        does this row need work?  The condition of the reading half.
 *   coffer_walk<N>_pick(keys…, columns…)  is this row in the batch, and still as it was read?
 *   coffer_walk<N>_put(slot, keys…)       the new value of one column of a row that was picked
 *
 * They see stored bytes and no key, keep no state between statements but the place in the batch, and
 * go with the walk.  DIRECTONLY: no view or trigger of the database can call them.
 */
#include "db/sqlite/internal.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define ENVELOPE_MIN 48
#define ENVELOPE_TEXT_MIN 78
#define LOOK_AHEAD 8

static atomic_uint walks;

static bool
value_is(sqlite3_value *stored, const struct coffer_value *value)
{
    int type = sqlite3_value_type(stored);
    double real;

    switch (value->type) {
    case COFFER_NULL:
        return type == SQLITE_NULL;
    case COFFER_INT64:
        return type == SQLITE_INTEGER && sqlite3_value_int64(stored) == value->i64;
    case COFFER_FLOAT64:
        real = sqlite3_value_double(stored);
        return type == SQLITE_FLOAT && memcmp(&real, &value->f64, sizeof real) == 0;
    case COFFER_TEXT:
        return type == SQLITE_TEXT && bytes_equal(bytes_of(sqlite3_value_text(stored),
                                                           (size_t)sqlite3_value_bytes(stored)),
                                                  bytes_of(value->data, value->len));
    case COFFER_BYTES:
        return type == SQLITE_BLOB && bytes_equal(bytes_of(sqlite3_value_blob(stored),
                                                           (size_t)sqlite3_value_bytes(stored)),
                                                  bytes_of(value->data, value->len));
    default:
        return false;
    }
}

/* ---- wants ---- */

/* Is it an envelope by its looks, and under this key? */
static bool
sealed_under(sqlite3_value *stored, const struct db_want *want)
{
    size_t len;
    const uint8_t *data;
    char digits[9];

    if (sqlite3_value_type(stored) != (want->cell.text_form ? SQLITE_TEXT : SQLITE_BLOB))
        return false;
    data = want->cell.text_form ? sqlite3_value_text(stored) : sqlite3_value_blob(stored);
    len = (size_t)sqlite3_value_bytes(stored);
    if (data == NULL)
        return false;
    if (!want->cell.text_form)
        return len >= ENVELOPE_MIN && data[0] == 0xf9 && get_be32(data + 4) == want->target_key;
    snprintf(digits, sizeof digits, "%08x", want->target_key);
    return len >= ENVELOPE_TEXT_MIN && memcmp(data, "cfr1.", 5) == 0 &&
           memcmp(data + 5, digits, 8) == 0;
}

static bool
wants_in_place(sqlite3_value *stored, const struct db_want *want)
{
    if (sqlite3_value_type(stored) == SQLITE_NULL)
        return false;
    if (want->examine_all)
        return true;
    if (want->goal == DB_GOAL_SEAL)
        return !sealed_under(stored, want);
    return want->cell.type == COFFER_BYTES ||
           sqlite3_value_type(stored) == (want->cell.text_form ? SQLITE_TEXT : SQLITE_BLOB);
}

static bool
wants_companion(sqlite3_value *plain, sqlite3_value *sealed, const struct db_want *want)
{
    bool has_plain = sqlite3_value_type(plain) != SQLITE_NULL;
    bool has_sealed = sqlite3_value_type(sealed) != SQLITE_NULL;

    switch (want->goal) {
    case DB_GOAL_SEAL:
        return has_plain || (has_sealed && !sealed_under(sealed, want));
    case DB_GOAL_SEAL_BESIDE:
        return has_sealed ? !sealed_under(sealed, want) : has_plain;
    case DB_GOAL_PLAIN_BESIDE:
        return has_sealed && !has_plain;
    default:
        return has_sealed;
    }
}

static void
wants(sqlite3_context *context, int count, sqlite3_value **values)
{
    const struct sqlite_walk *w = sqlite3_user_data(context);
    bool any = false;
    int at = 0;

    for (size_t i = 0; i < w->count && !any && at < count; i++) {
        const struct db_want *want = &w->wants[i];

        if (want->cell.sealed == NULL) {
            any = wants_in_place(values[at], want);
            at += 1;
        } else if (at + 1 < count) {
            any = wants_companion(values[at], values[at + 1], want);
            at += 2;
        }
    }
    sqlite3_result_int(context, any);
}

/* ---- pick and put ---- */

static bool
keys_are(const struct sqlite_walk *w, sqlite3_value **values, const struct db_row *row)
{
    for (size_t i = 0; i < w->table->key_count; i++)
        if (!value_is(values[i], &row->key[i]))
            return false;
    return true;
}

/* The row of the batch with these keys, searched from where the last one was: rows come in order.
 * Missing one costs time only, since what was not picked is written alone. */
static bool
find_row(struct sqlite_set *set, const struct sqlite_walk *w, sqlite3_value **values)
{
    const struct db_row *rows = set->batch->rows;
    size_t count = set->batch->count;

    if (w->table->key_count == 1 && sqlite3_value_type(values[0]) == SQLITE_INTEGER) {
        int64_t key = sqlite3_value_int64(values[0]);

        while (set->at < count &&
               (rows[set->at].key[0].type != COFFER_INT64 || rows[set->at].key[0].i64 < key))
            set->at++;
        return set->at < count && rows[set->at].key[0].i64 == key;
    }
    for (size_t i = set->at; i < count && i < set->at + LOOK_AHEAD; i++) {
        if (keys_are(w, values, &rows[i])) {
            set->at = i;
            return true;
        }
    }
    return false;
}

static void
pick(sqlite3_context *context, int count, sqlite3_value **values)
{
    struct sqlite_walk *w = sqlite3_user_data(context);
    struct sqlite_set *set = &w->set;
    struct db_row *row;
    bool same;

    sqlite3_result_int(context, 0);
    if (set->batch == NULL || !find_row(set, w, values))
        return;
    row = &set->batch->rows[set->at];
    same = sqlite_set_eligible(w, row);
    for (size_t i = 0; same && i < set->slot_count; i++) {
        struct coffer_value before, now;

        sqlite_set_values(row, &set->slots[i], &before, &now);
        same = value_is(values[w->table->key_count + i], &before);
    }
    if (same) {
        row->outcome = DB_ROW_DONE;
        sqlite3_result_int(context, 1);
    }
}

/* Right after the row was picked, or, where SQLite first collects the rows and then updates them, in
 * the same order once more. */
static const struct db_row *
picked(struct sqlite_walk *w, sqlite3_value **keys)
{
    struct sqlite_set *set = &w->set;
    size_t count = set->batch->count;

    if (set->at < count && keys_are(w, keys, &set->batch->rows[set->at]))
        return &set->batch->rows[set->at];
    for (size_t tried = 0; tried < count; tried++) {
        const struct db_row *row = &set->batch->rows[set->put_at % count];

        if (row->outcome == DB_ROW_DONE && keys_are(w, keys, row))
            return row;
        set->put_at++;
    }
    return NULL;
}

static void
put(sqlite3_context *context, int count, sqlite3_value **values)
{
    struct sqlite_walk *w = sqlite3_user_data(context);
    size_t slot = (size_t)sqlite3_value_int(values[0]);
    const struct db_row *row = w->set.batch != NULL ? picked(w, values + 1) : NULL;
    struct coffer_value before, now;

    if (row == NULL || slot >= w->set.slot_count) {
        sqlite3_result_error(context, "coffer: a row that is not in the batch", -1);
        return;
    }
    sqlite_set_values(row, &w->set.slots[slot], &before, &now);
    switch (now.type) {
    case COFFER_INT64:
        sqlite3_result_int64(context, now.i64);
        break;
    case COFFER_FLOAT64:
        sqlite3_result_double(context, now.f64);
        break;
    case COFFER_TEXT: /* the batch outlives the statement */
        sqlite3_result_text64(context, (const char *)now.data, now.len, SQLITE_STATIC, SQLITE_UTF8);
        break;
    case COFFER_BYTES:
        sqlite3_result_blob64(context, now.data, now.len, SQLITE_STATIC);
        break;
    default:
        sqlite3_result_null(context);
    }
}

/* ---- with the walk ---- */

static const struct {
    const char *name;
    void (*call)(sqlite3_context *, int, sqlite3_value **);
} functions[] = {{"wants", wants}, {"pick", pick}, {"put", put}};

int
walk_functions_add(struct sqlite_walk *w, struct coffer_error *err)
{
    char name[40];

    w->number = atomic_fetch_add(&walks, 1) + 1;
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        snprintf(name, sizeof name, "coffer_walk%u_%s", w->number, functions[i].name);
        if (sqlite3_create_function_v2(handle_of(w->walk.db), name, -1,
                                       SQLITE_UTF8 | SQLITE_DIRECTONLY, w, functions[i].call, NULL,
                                       NULL, NULL) != SQLITE_OK)
            return sqlite_failed(w->walk.db, err, "preparing a walk");
    }
    return COFFER_OK;
}

void
walk_functions_remove(struct sqlite_walk *w)
{
    char name[40];

    if (w->number == 0)
        return;
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        snprintf(name, sizeof name, "coffer_walk%u_%s", w->number, functions[i].name);
        (void)sqlite3_create_function_v2(handle_of(w->walk.db), name, -1, SQLITE_UTF8, NULL, NULL,
                                         NULL, NULL, NULL);
    }
}
