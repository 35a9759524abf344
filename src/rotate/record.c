/* SPDX-License-Identifier: Apache-2.0 */
/* The record of a rotation: journal table "rotation", JSON, docs/FORMAT.md "Working rows". */
#include "base/mem.h"
#include "rotate/internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_MAX (1u << 20)

static const char *const STEP_NAMES[] = {"",      "plan",   "stage",  "gate",   "activate",
                                         "drain", "sweep",  "settle", "fence",  "prove",
                                         "wait",  "escrow", "done",   "aborted"};
static const char *const KIND_NAMES[] = {"", "protect", "rotate", "unprotect", "recover"};

const char *
rotation_step_name(enum rotation_step step)
{
    return (unsigned)step < sizeof STEP_NAMES / sizeof *STEP_NAMES ? STEP_NAMES[step] : "?";
}

const char *
rotation_kind_name(enum rotation_kind kind)
{
    return (unsigned)kind < sizeof KIND_NAMES / sizeof *KIND_NAMES ? KIND_NAMES[kind] : "?";
}

void
rotation_free(struct rotation *rotation)
{
    if (rotation == NULL)
        return;
    mem_free(rotation->columns);
    memset(rotation, 0, sizeof *rotation);
}

static json_t *
key_json(uint32_t id)
{
    char hex[9];

    snprintf(hex, sizeof hex, "%08x", id);
    return json_string(hex);
}

static char *
record_write(const struct rotation *r)
{
    json_t *columns = json_array();
    json_t *root;
    char *text;
    size_t i;

    for (i = 0; i < r->column_count; i++) {
        char id[37];

        uuid_format(&r->columns[i], id);
        if (json_array_append_new(columns, json_string(id)) != 0) { /* a record without one of its columns would be believed */
            json_decref(columns);
            return NULL;
        }
    }
    root = json_pack("{s:s,s:s,s:s,s:o,s:o,s:o,s:i,s:b,s:b,s:b,s:I,s:I,s:I,s:I,s:s,s:I,s:I}", "kind",
                     rotation_kind_name(r->kind), "step", rotation_step_name(r->step), "line",
                     r->line, "from", key_json(r->from_key), "to", key_json(r->to_key), "columns",
                     columns, "pass", (int)r->pass, "paused", r->paused, "aborting", r->aborting,
                     "reversed", r->reversed, "begin_epoch", (json_int_t)r->begin_epoch, "activate_epoch", (json_int_t)r->activate_epoch,
                     "started_us", (json_int_t)r->started_us, "step_us", (json_int_t)r->step_us,
                     "position", r->mark.position, "xid", (json_int_t)r->mark.xid, "total_rows",
                     (json_int_t)r->total_rows);
    if (root == NULL)
        return NULL;
    text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(root);
    return text;
}

static int
name_index(const char *const *names, size_t count, const char *name)
{
    size_t i;

    for (i = 1; name != NULL && i < count; i++) {
        if (strcmp(names[i], name) == 0)
            return (int)i;
    }
    return 0;
}

static int
record_read(const char *id, struct bytes content, uint64_t epoch, struct rotation *r,
            struct coffer_error *err)
{
    const char *kind, *step, *line, *from, *to, *position;
    json_t *root, *columns;
    json_int_t begin = INT64_MAX, activate, started, entered, xid, total;
    int pass, paused, aborting, reversed, rc = COFFER_E_FORMAT;
    size_t i;

    memset(r, 0, sizeof *r);
    root = json_loadb((const char *)content.ptr, content.len, 0, NULL);
    if (root == NULL)
        return error_set(err, COFFER_E_FORMAT, "the record of rotation %s is no JSON", id);
    if (json_unpack(root, "{s:s,s:s,s:s,s:s,s:s,s:o,s:i,s:b,s:b,s:b,s?I,s:I,s:I,s:I,s:s,s:I,s:I}",
                    "kind", &kind, "step", &step, "line", &line, "from", &from, "to", &to,
                    "columns", &columns, "pass", &pass, "paused", &paused, "aborting", &aborting,
                    "reversed", &reversed, "begin_epoch", &begin, "activate_epoch", &activate, "started_us", &started,
                    "step_us", &entered, "position", &position, "xid", &xid, "total_rows",
                    &total) != 0) {
        error_set(err, rc, "the record of rotation %s lacks a member", id);
        goto out;
    }
    r->kind =
        (enum rotation_kind)name_index(KIND_NAMES, sizeof KIND_NAMES / sizeof *KIND_NAMES, kind);
    r->step =
        (enum rotation_step)name_index(STEP_NAMES, sizeof STEP_NAMES / sizeof *STEP_NAMES, step);
    if (r->kind == 0 || r->step == 0 || strlen(line) >= sizeof r->line ||
        strlen(position) >= sizeof r->mark.position || strlen(id) >= sizeof r->id ||
        !json_is_array(columns)) {
        error_set(err, rc, "the record of rotation %s is of a newer release or damaged", id);
        goto out;
    }
    strcpy(r->id, id);
    strcpy(r->line, line);
    strcpy(r->mark.position, position);
    r->from_key = (uint32_t)strtoul(from, NULL, 16);
    r->to_key = (uint32_t)strtoul(to, NULL, 16);
    r->pass = (uint32_t)pass;
    r->paused = paused != 0;
    r->aborting = aborting != 0;
    r->reversed = reversed != 0;
    r->begin_epoch = (uint64_t)begin; /* one of before there was the member: no waiver is later */
    r->activate_epoch = (uint64_t)activate;
    r->started_us = started;
    r->step_us = entered;
    r->mark.xid = (uint64_t)xid;
    r->total_rows = (uint64_t)total;
    r->epoch = epoch;
    r->column_count = json_array_size(columns);
    r->columns = mem_array(r->column_count + 1, sizeof *r->columns);
    if (r->columns == NULL) {
        rc = error_nomem(err);
        goto out;
    }
    for (i = 0; i < r->column_count; i++) {
        const char *text = json_string_value(json_array_get(columns, i));

        if (text == NULL || !uuid_parse(bytes_str(text), &r->columns[i])) {
            error_set(err, rc, "the record of rotation %s names a column that is no UUID", id);
            goto out;
        }
    }
    rc = COFFER_OK;
out:
    json_decref(root);
    if (rc != COFFER_OK)
        rotation_free(r);
    return rc;
}

int
rotation_save(struct journal *journal, struct rotation *rotation, struct coffer_error *err)
{
    char *text = record_write(rotation);
    int rc;

    if (text == NULL)
        return error_nomem(err);
    rc = journal_put(journal, "rotation", rotation->id, bytes_str(text), rotation->epoch, err);
    free(text);
    if (rc == COFFER_OK)
        rotation->epoch++;
    return rc;
}

int
rotation_load(struct journal *journal, const char *id, struct rotation *out,
              struct coffer_error *err)
{
    struct buf content;
    uint64_t epoch = 0;
    int rc;

    memset(out, 0, sizeof *out);
    buf_init(&content, RECORD_MAX);
    rc = journal_get(journal, "rotation", id, &content, &epoch, err);
    if (rc == COFFER_OK)
        rc = record_read(id, buf_view(&content), epoch, out, err);
    buf_wipe(&content);
    return rc;
}

struct find {
    const char *line;
    enum rotation_kind kind;
    struct rotation *out;
    bool found;
};

static int
find_row(void *arg, const struct journal_row *row, struct coffer_error *err)
{
    struct find *find = arg;
    struct rotation r;
    int rc;

    if (find->found || strchr(row->key, '.') != NULL) /* "<id>.throttle" */
        return COFFER_OK;
    rc = record_read(row->key, row->content, row->epoch, &r, err);
    if (rc != COFFER_OK)
        return rc;
    if (r.step < STEP_DONE && (find->kind == 0 || r.kind == find->kind) &&
        (find->line == NULL || strcmp(find->line, r.line) == 0)) {
        *find->out = r;
        find->found = true;
    } else {
        rotation_free(&r);
    }
    return COFFER_OK;
}

int
rotation_find_open(struct journal *journal, enum rotation_kind kind, const char *line,
                   struct rotation *out, struct coffer_error *err)
{
    struct find find = {.line = line, .kind = kind, .out = out};
    int rc;

    memset(out, 0, sizeof *out);
    rc = journal_list(journal, "rotation", "", find_row, &find, NULL, err);
    if (rc == COFFER_OK && !find.found)
        rc = error_set(err, COFFER_E_NOTFOUND, "no rotation is open in this database");
    return rc;
}
