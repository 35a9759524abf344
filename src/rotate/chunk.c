/* SPDX-License-Identifier: Apache-2.0 */
#include "rotate/chunk.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_TEXT_MAX (1u << 20)

void
chunk_init(struct chunk *chunk)
{
    memset(chunk, 0, sizeof *chunk);
}

void
chunk_wipe(struct chunk *chunk)
{
    row_key_wipe(&chunk->after);
    row_key_wipe(&chunk->until);
    chunk_init(chunk);
}

/* ---- names and JSON ---- */

static void
name_of(const struct chunks *chunks, const char *last, char out[KEYRING_NAME_MAX + 128])
{
    snprintf(out, KEYRING_NAME_MAX + 128, "%s/%" PRIu32 "/%s/%s", chunks->rotation->id,
             chunks->rotation->pass, chunks->table->name, last);
}

static int
chunk_name(const struct chunks *chunks, uint32_t number, char out[KEYRING_NAME_MAX],
           struct coffer_error *err)
{
    char whole[KEYRING_NAME_MAX + 128];
    char last[16] = "frontier";

    if (number != 0)
        snprintf(last, sizeof last, "%08" PRIu32, number);
    name_of(chunks, last, whole);
    if (strlen(whole) >= KEYRING_NAME_MAX)
        return error_set(err, COFFER_E_LIMIT, "table %s: its name is too long for the journal",
                         chunks->table->name);
    memcpy(out, whole, strlen(whole) + 1);
    return COFFER_OK;
}

static int
put(const struct chunks *chunks, uint32_t number, json_t *json, uint64_t expect,
    struct coffer_error *err)
{
    char name[KEYRING_NAME_MAX];
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    int rc;

    json_decref(json);
    if (text == NULL)
        return error_nomem(err);
    rc = chunk_name(chunks, number, name, err);
    if (rc == COFFER_OK)
        rc = journal_put(chunks->journal, "chunk", name, bytes_str(text), expect, err);
    free(text);
    return rc;
}

static json_t *
chunk_json(const struct chunk *c)
{
    return json_pack(
        "{s:o, s:o, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "after",
        row_key_to_json(c->after.values, c->after.count), "until",
        row_key_to_json(c->until.values, c->until.count), "state", c->done ? "done" : "open",
        "owner", c->owner, "lease_us", (json_int_t)c->lease_us, "rows_read",
        (json_int_t)c->stats.rows_read, "rows_done", (json_int_t)c->stats.rows_done, "moved",
        (json_int_t)c->stats.rows_moved, "quarantined", (json_int_t)c->stats.quarantined);
}

static int
chunk_parse(struct bytes content, struct chunk *c, struct coffer_error *err)
{
    json_t *json = json_loadb((const char *)content.ptr, content.len, JSON_ALLOW_NUL, NULL);
    const char *state = json_string_value(json_object_get(json, "state"));
    const char *owner = json_string_value(json_object_get(json, "owner"));
    int rc;

    if (state == NULL || owner == NULL) {
        json_decref(json);
        return error_set(err, COFFER_E_FORMAT, "a chunk in the journal is malformed");
    }
    c->done = strcmp(state, "done") == 0;
    snprintf(c->owner, sizeof c->owner, "%s", owner);
    c->lease_us = json_integer_value(json_object_get(json, "lease_us"));
    rc = row_key_from_json(&c->after, json_object_get(json, "after"), err);
    if (rc == COFFER_OK)
        rc = row_key_from_json(&c->until, json_object_get(json, "until"), err);
    json_decref(json);
    return rc;
}

static int
chunk_get(const struct chunks *chunks, uint32_t number, struct chunk *c, struct coffer_error *err)
{
    char name[KEYRING_NAME_MAX];
    struct buf content;
    int rc = chunk_name(chunks, number, name, err);

    buf_init(&content, CHUNK_TEXT_MAX);
    c->number = number;
    if (rc == COFFER_OK)
        rc = journal_get(chunks->journal, "chunk", name, &content, &c->epoch, err);
    if (rc == COFFER_OK)
        rc = chunk_parse(buf_view(&content), c, err);
    buf_wipe(&content);
    return rc;
}

/* ---- the frontier: how far the table has been cut ---- */

struct frontier {
    uint64_t epoch;
    uint32_t next; /* number of the next chunk, from 1 */
    struct row_key last;
    bool end; /* the last chunk, open to the end, has been cut */
};

static int
frontier_get(const struct chunks *chunks, struct frontier *f, struct coffer_error *err)
{
    char name[KEYRING_NAME_MAX];
    struct buf content;
    json_t *json = NULL;
    int rc = chunk_name(chunks, 0, name, err);

    f->next = 1;
    buf_init(&content, CHUNK_TEXT_MAX);
    if (rc == COFFER_OK)
        rc = journal_get(chunks->journal, "chunk", name, &content, &f->epoch, err);
    if (rc == COFFER_E_NOTFOUND) {
        f->epoch = 0;
        rc = COFFER_OK;
    } else if (rc == COFFER_OK) {
        json = json_loadb((const char *)content.ptr, content.len, JSON_ALLOW_NUL, NULL);
        f->next = (uint32_t)json_integer_value(json_object_get(json, "next"));
        f->end = json_is_true(json_object_get(json, "end"));
        if (f->next == 0)
            rc = error_set(err, COFFER_E_FORMAT, "a frontier in the journal is malformed");
        else
            rc = row_key_from_json(&f->last, json_object_get(json, "last"), err);
    }
    json_decref(json);
    buf_wipe(&content);
    return rc;
}

/* Move the frontier past chunk `number`.  That somebody else did so first is as good. */
static int
frontier_pass(const struct chunks *chunks, const struct frontier *f, const struct row_key *until,
              struct coffer_error *err)
{
    json_t *json =
        json_pack("{s:I, s:o, s:b}", "next", (json_int_t)f->next + 1, "last",
                  row_key_to_json(until->values, until->count), "end", until->count == 0);
    int rc = put(chunks, 0, json, f->epoch, err);

    return rc == COFFER_E_CONFLICT ? COFFER_OK : rc;
}

static void
lease(const struct chunks *chunks, struct chunk *c)
{
    snprintf(c->owner, sizeof c->owner, "%s", chunks->owner);
    c->lease_us = chunks->os->now_us(chunks->os) + (int64_t)CHUNK_LEASE_MS * 1000;
}

/* Cut the next chunk.  The chunk is written before the frontier moves: a crash between the two
 * leaves a chunk that the next one finds there already, never a range that nobody walks. */
static int
cut(const struct chunks *chunks, struct db_walk *walk, struct chunk *c, bool *ours, bool *end,
    struct coffer_error *err)
{
    struct frontier f = {0};
    struct db_result *key = NULL;
    bool found = false;
    int rc = frontier_get(chunks, &f, err);

    *ours = false;
    *end = rc == COFFER_OK && f.end;
    if (rc != COFFER_OK || f.end)
        goto out;
    rc = db_walk_bound(walk, row_key_values(&f.last), chunks->rows, &key, &found, err);
    if (rc == COFFER_OK)
        rc = row_key_set(&c->after, f.last.values, f.last.count, err);
    if (rc == COFFER_OK && found)
        rc = row_key_set(&c->until, key->cells, key->columns, err);
    if (rc != COFFER_OK)
        goto out;
    c->number = f.next;
    lease(chunks, c);
    rc = put(chunks, f.next, chunk_json(c), 0, err);
    if (rc == COFFER_OK) {
        c->epoch = 1;
        *ours = true;
    } else if (rc == COFFER_E_CONFLICT) {
        chunk_wipe(c);
        rc = chunk_get(chunks, f.next, c, err);
        if (rc == COFFER_E_NOTFOUND) /* the database was busy, that was all */
            rc = error_set(err, COFFER_E_CONFLICT, "the journal is busy");
    }
    if (rc == COFFER_OK)
        rc = frontier_pass(chunks, &f, &c->until, err);

out:
    db_result_free(key);
    row_key_wipe(&f.last);
    return rc;
}

/* ---- what somebody dropped ---- */

/* Owners are "host:pid:random".  One on this host whose process is gone needs no waiting for. */
static bool
owner_gone(const char *owner, const char *ours)
{
    const char *pid = strchr(owner, ':');
    const char *our_pid = strchr(ours, ':');
    size_t host;
    long n;

    if (pid == NULL || our_pid == NULL)
        return false;
    host = (size_t)(pid - owner);
    if (host != (size_t)(our_pid - ours) || memcmp(owner, ours, host) != 0)
        return false;
    n = strtol(pid + 1, NULL, 10);
    return n > 0 && kill((pid_t)n, 0) != 0 && errno == ESRCH;
}

struct search {
    const struct chunks *chunks;
    int64_t now_us;
    size_t prefix_len;
    uint32_t free; /* the first chunk that may be taken; 0 none */
    bool busy;     /* some are leased by somebody alive */
};

static int
look(void *arg, const struct journal_row *row, struct coffer_error *err)
{
    struct search *s = arg;
    const char *last = row->key + s->prefix_len;
    struct chunk c;
    int rc;

    if (strcmp(last, "frontier") == 0 || s->free != 0)
        return COFFER_OK;
    chunk_init(&c);
    rc = chunk_parse(row->content, &c, err);
    if (rc == COFFER_OK && !c.done) {
        if (c.lease_us <= s->now_us || strcmp(c.owner, s->chunks->owner) == 0 ||
            owner_gone(c.owner, s->chunks->owner))
            s->free = (uint32_t)strtoul(last, NULL, 10);
        else
            s->busy = true;
    }
    chunk_wipe(&c);
    return rc;
}

static int
take_over(const struct chunks *chunks, struct chunk *c, enum chunk_found *found,
          struct coffer_error *err)
{
    struct search s = {.chunks = chunks, .now_us = chunks->os->now_us(chunks->os)};
    char prefix[KEYRING_NAME_MAX + 128];
    int rc;

    name_of(chunks, "", prefix);
    s.prefix_len = strlen(prefix);
    rc = journal_list(chunks->journal, "chunk", prefix, look, &s, NULL, err);
    if (rc != COFFER_OK)
        return rc;
    *found = s.busy ? CHUNK_BUSY : CHUNK_NONE;
    if (s.free == 0)
        return COFFER_OK;
    rc = chunk_get(chunks, s.free, c, err);
    if (rc == COFFER_OK)
        rc = chunk_renew(chunks, c, err);
    if (rc == COFFER_OK)
        *found = CHUNK_OURS;
    return rc;
}

/* ---- the calls ---- */

int
chunk_claim(const struct chunks *chunks, struct db_walk *walk, struct chunk *out,
            enum chunk_found *found, struct coffer_error *err)
{
    unsigned tries = 0;
    int rc;

    for (;;) {
        bool ours = false;
        bool end = false;

        chunk_wipe(out);
        *found = CHUNK_BUSY;
        rc = cut(chunks, walk, out, &ours, &end, err);
        if (rc == COFFER_OK && ours)
            *found = CHUNK_OURS;
        if (rc == COFFER_OK && end)
            rc = take_over(chunks, out, found, err);
        /* Another worker was quicker: look again. */
        if (rc == COFFER_E_CONFLICT && ++tries < 50) {
            chunks->os->sleep_ms(chunks->os, 5 + 5 * (tries % 7));
            continue;
        }
        if (rc != COFFER_OK || ours || end)
            return rc;
    }
}

/* The row is ours as long as nobody wrote it since; a busy database is told from that by reading it
 * again. */
static int
replace(const struct chunks *chunks, struct chunk *c, struct coffer_error *err)
{
    unsigned tries = 0;
    int rc;

    for (;;) {
        struct chunk now;
        uint64_t epoch = 0;

        rc = put(chunks, c->number, chunk_json(c), c->epoch, err);
        if (rc == COFFER_OK)
            c->epoch++;
        if (rc != COFFER_E_CONFLICT || ++tries > 50)
            return rc;
        chunk_init(&now);
        rc = chunk_get(chunks, c->number, &now, err);
        epoch = now.epoch;
        chunk_wipe(&now);
        if (rc == COFFER_OK && epoch != c->epoch)
            return error_set(err, COFFER_E_CONFLICT,
                             "chunk %" PRIu32 " of %s is another worker's now", c->number,
                             chunks->table->name);
        if (rc != COFFER_OK && rc != COFFER_E_CONFLICT)
            return rc;
        chunks->os->sleep_ms(chunks->os, 10 * (tries % 10 + 1));
    }
}

int
chunk_renew(const struct chunks *chunks, struct chunk *chunk, struct coffer_error *err)
{
    lease(chunks, chunk);
    return replace(chunks, chunk, err);
}

int
chunk_end(const struct chunks *chunks, struct chunk *chunk, bool done, struct coffer_error *err)
{
    chunk->done = done;
    chunk->lease_us = 0;
    return replace(chunks, chunk, err);
}
