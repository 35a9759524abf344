/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/leak.h"

#include "base/mem.h"
#include "index/index.h"
#include "search/leakage.h"

#include <stdlib.h>
#include <string.h>

struct leak_sample {
    struct keyring_column column;
    struct coffer_value *values; /* borrow from their own copies */
    size_t count, room;
    /* while reading: */
    struct reader *reader;
    const struct coffer_column *handle;
    struct coffer_column_info info;
    const struct db_table *table;
    size_t parts;
    struct row_place place;
    struct buf space;
};

int
leak_sample_type(const struct leak_sample *sample)
{
    return sample->column.type;
}

void
leak_sample_free(struct leak_sample *sample)
{
    if (sample == NULL)
        return;
    for (size_t i = 0; i < sample->count; i++) {
        uint8_t *data = (uint8_t *)(uintptr_t)sample->values[i].data;

        if (data != NULL)
            wipe(data, sample->values[i].len);
        mem_free(data);
    }
    if (sample->values != NULL)
        wipe(sample->values, sample->room * sizeof *sample->values);
    mem_free(sample->values);
    buf_wipe(&sample->space);
    row_place_wipe(&sample->place);
    mem_free(sample);
}

static int
keep(struct leak_sample *s, const struct coffer_value *value, struct coffer_error *err)
{
    struct coffer_value *copy;

    if (s->count == s->room) {
        size_t room = s->room * 2 + 1024;
        struct coffer_value *more = mem_grow(s->values, room * sizeof *more);

        if (more == NULL)
            return error_nomem(err);
        s->values = more;
        s->room = room;
    }
    copy = &s->values[s->count];
    *copy = *value;
    copy->data = NULL;
    if (value->data != NULL) {
        uint8_t *data = mem_alloc(value->len + 1);

        if (data == NULL)
            return error_nomem(err);
        if (value->len > 0)
            memcpy(data, value->data, value->len);
        copy->data = data;
    }
    s->count++;
    return COFFER_OK;
}

/* The row's key, then the column, then its companion. */
static int
on_row(void *arg, const struct coffer_value *cells, size_t count, struct coffer_error *err)
{
    struct leak_sample *s = arg;
    struct coffer_value value;
    struct coffer_stored stored;
    int rc = COFFER_OK;

    if (s->count >= LEAK_ROWS)
        return COFFER_OK;
    s->place.count = 0;
    for (size_t i = 0; rc == COFFER_OK && i < s->parts; i++)
        for (size_t k = 0; rc == COFFER_OK && k < s->table->column_count; k++)
            if (s->table->columns[k].key_position == (int)i + 1)
                rc = row_place_add(&s->place, db_engine(s->reader->database->db), &s->table->columns[k], &cells[i], err);
    if (rc == COFFER_OK)
        rc = reader_cell(s->reader->coffer, s->handle, &s->info, (struct coffer_place){s->place.parts, s->place.count}, &cells[s->parts],
                         count > s->parts + 1 ? &cells[s->parts + 1] : NULL, &s->space, &stored, &value, err);
    return rc != COFFER_OK || value.type == COFFER_NULL ? rc : keep(s, &value, err);
}

static void
build(struct leak_sample *s, struct db *db, struct buf *sql)
{
    const char *dot = db_engine(db) == DB_SQLITE ? NULL : strchr(s->table->name, '.');

    buf_str(sql, "SELECT ");
    for (int position = 1; position <= DB_KEY_MAX; position++) {
        for (size_t i = 0; i < s->table->column_count; i++) {
            if (s->table->columns[i].key_position != position)
                continue;
            db_quote(db, s->table->columns[i].name, sql);
            buf_str(sql, ", ");
            s->parts++;
        }
    }
    db_quote(db, s->info.name, sql);
    if (strcmp(s->info.name, s->info.sealed_name) != 0) {
        buf_str(sql, ", ");
        db_quote(db, s->info.sealed_name, sql);
    }
    buf_str(sql, " FROM ");
    if (dot != NULL) {
        char schema[DB_NAME_MAX];

        (void)snprintf(schema, sizeof schema, "%.*s", (int)(dot - s->table->name), s->table->name);
        db_quote(db, schema, sql);
        buf_str(sql, ".");
    }
    db_quote(db, dot != NULL ? dot + 1 : s->table->name, sql);
}

int
leak_sample_open(struct reader *reader, const char *name, struct leak_sample **out, struct coffer_error *err)
{
    struct leak_sample *s = mem_alloc(sizeof *s);
    const struct keyring_column *record;
    struct db *db = reader->database->db;
    struct db_table *table = NULL;
    struct uuid id;
    struct buf sql;
    int rc;

    *out = NULL;
    if (s == NULL)
        return error_nomem(err);
    s->reader = reader;
    buf_init(&s->space, 96u << 20);
    row_place_init(&s->place);
    buf_init(&sql, 1 << 16);
    rc = coffer_column_find(reader->coffer, reader->database->id.b, name, &s->handle, err);
    if (rc == COFFER_OK) {
        coffer_column_info(s->handle, &s->info);
        memcpy(id.b, s->info.id, sizeof id.b);
        record = keyring_column_by_id(reader->keyring, &id);
        if (record != NULL)
            s->column = *record;
        rc = db_table_open(db, s->info.table, &table, err);
    }
    if (rc == COFFER_OK) {
        s->table = table;
        build(s, db, &sql);
        rc = buf_status(&sql, err);
    }
    if (rc == COFFER_OK)
        rc = db_stream(db, buf_cstr(&sql), NULL, 0, on_row, s, err);
    s->table = NULL;
    db_table_free(table);
    buf_wipe(&sql);
    if (rc != COFFER_OK) {
        leak_sample_free(s);
        return rc;
    }
    *out = s;
    return COFFER_OK;
}

/* ---- measured ---- */

struct encodings {
    struct bytes *at;
    struct buf room;
    size_t count;
};

static int
encode(const struct leak_sample *s, const struct keyring_index *def, struct encodings *out, struct coffer_error *err)
{
    struct order_domain domain = {.type = s->column.type, .width = def->width, .precision = def->precision, .scale = def->scale,
                                  .normaliser = (int)def->normaliser};
    size_t *ends = mem_array(s->count + 1, sizeof *ends);
    int rc = ends == NULL ? error_nomem(err) : COFFER_OK;

    if (rc == COFFER_OK && def->kind != INDEX_EQUALITY)
        rc = order_domain_check(&domain, err);
    for (size_t i = 0; rc == COFFER_OK && i < s->count; i++) {
        uint8_t fixed[ORDER_WIDTH_MAX];

        if (def->kind == INDEX_EQUALITY) {
            rc = equality_encode(&s->values[i], s->column.type == COFFER_TEXT ? (int)def->normaliser : 0, &out->room, err);
        } else {
            rc = order_encode(&domain, &s->values[i], fixed, err);
            buf_add(&out->room, fixed, domain.width);
        }
        ends[i + 1] = out->room.len;
    }
    if (rc == COFFER_OK)
        rc = buf_status(&out->room, err);
    out->at = rc == COFFER_OK ? mem_array(s->count + 1, sizeof *out->at) : NULL;
    if (rc == COFFER_OK && out->at == NULL)
        rc = error_nomem(err);
    for (size_t i = 0; rc == COFFER_OK && i < s->count; i++)
        out->at[out->count++] = bytes_of(out->room.ptr + ends[i], ends[i + 1] - ends[i]);
    mem_free(ends);
    return rc;
}

static int
measure_equality(const struct encodings *e, struct leak *out, struct coffer_error *err)
{
    struct leakage_equality found;
    int rc = leakage_equality(e->at, e->count, 1, &found, err);

    if (rc != COFFER_OK)
        return rc;
    out->distinct = found.distinct;
    out->share = found.exact > found.similar ? found.exact : found.similar;
    out->who = found.exact >= found.similar ? "who knows how often each value occurs" : "who has similar data";
    return COFFER_OK;
}

static int
measure_order(const struct encodings *e, struct leak *out, struct coffer_error *err)
{
    struct leakage_order found;
    int rc = leakage_order(e->at, e->count, 0, 1, &found, err);

    if (rc != COFFER_OK)
        return rc;
    out->distinct = found.distinct;
    out->density = found.density;
    out->share = found.worst;
    out->who = "who has similar data, sorted";
    return COFFER_OK;
}

static int
measure_tokens(const struct leak_sample *s, const struct keyring_index *def, struct leak *out, struct coffer_error *err)
{
    static const uint8_t index_id[16] = {1};
    struct token_options options = {.normaliser = (int)def->normaliser, .words = def->words, .short_grams = def->short_grams, .edge = def->edge,
                                    .bits = def->bits != 0 ? def->bits : TERM8_BITS_MAX, .pad = def->padding};
    struct tokens *rows = mem_array(s->count + 1, sizeof *rows);
    struct text_key *key = NULL;
    struct secret *any = NULL;
    struct leakage_tokens found = {0};
    int rc = rows == NULL ? error_nomem(err) : secret_new(32, &any, err); /* any key: what is counted is which tokens are the same */

    if (rc == COFFER_OK)
        rc = text_key_new(any, index_id, 1, &key, err);
    for (size_t i = 0; rc == COFFER_OK && i < s->count; i++)
        rc = tokens_of_text(key, &options, bytes_of(s->values[i].data, s->values[i].len), &rows[i], err);
    if (rc == COFFER_OK)
        rc = leakage_tokens(rows, s->count, 1, &found, err);
    for (size_t i = 0; rows != NULL && i < s->count; i++)
        tokens_wipe(&rows[i]);
    mem_free(rows);
    text_key_free(key);
    secret_free(any);
    out->share = found.unique_counts;
    out->who = "who knows the lengths of the texts";
    return rc;
}

int
leak_measure(const struct leak_sample *s, const struct keyring_index *asked, struct leak *out, struct coffer_error *err)
{
    struct keyring_index def = *asked;
    struct encodings e = {0};
    int rc = index_def_check(&def, &s->column, err);

    memset(out, 0, sizeof *out);
    out->kind = def.kind;
    out->rows = s->count;
    out->who = "";
    out->advice = "";
    if (rc != COFFER_OK)
        return rc;
    buf_init(&e.room, 1u << 30);
    if (def.kind == INDEX_EQUALITY || def.kind == INDEX_OPE)
        rc = encode(s, &def, &e, err);
    if (rc == COFFER_OK && def.kind == INDEX_EQUALITY)
        rc = measure_equality(&e, out, err);
    else if (rc == COFFER_OK && def.kind == INDEX_OPE)
        rc = measure_order(&e, out, err);
    else if (rc == COFFER_OK && def.kind == INDEX_TEXT)
        rc = measure_tokens(s, &def, out, err);
    mem_free(e.at);
    buf_wipe(&e.room);
    out->grade = leakage_grade(out->share);
    if (def.kind == INDEX_SUM)
        out->who = "nobody: the rows' ids say who wrote them and when";
    if (out->grade >= 'C' && def.kind == INDEX_TEXT)
        out->advice = "--token-padding 8 hides lengths";
    else if (out->grade >= 'C' && def.kind == INDEX_EQUALITY)
        out->advice = "few values: leave it out, or make totals of it by --sum";
    else if (out->grade >= 'C' && def.kind == INDEX_OPE)
        out->advice = "dense values: leave the order to the client";
    return rc;
}
