/* SPDX-License-Identifier: Apache-2.0 */
#include "history.h"

#include "kek/kek_open.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIES                                                                                      \
    200 /* at 10 ms: within the limits of docs/ROTATION.md a request succeeds long before */

static const char *const NAMES[2] = {"ssn", "amount"};

/* cmocka's asserts belong to the main thread: the others end the process with a message. */
static void
broken(const char *what, int64_t id, const char *detail)
{
    fprintf(stderr, "history broken: row %lld: %s: %s\n", (long long)id, what, detail);
    abort();
}

static void
count(uint64_t *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* A thread of the application: its connection and its randomness. */
struct client {
    struct history *h;
    struct db *db;
    uint64_t seed;
};

static uint64_t
draw(struct client *c, uint64_t below)
{
    c->seed ^= c->seed << 13;
    c->seed ^= c->seed >> 7;
    c->seed ^= c->seed << 17;
    return c->seed % below;
}

static void
nap(unsigned ms)
{
    os_real.sleep_ms(&os_real, ms);
}

/* ---- cells through libcoffer ---- */

static const struct coffer_column *
column_of(struct history *h, int i)
{
    const struct coffer_column *column = NULL;
    char name[40];

    snprintf(name, sizeof name, "patients.%s", NAMES[i]);
    return coffer_column_find(h->coffer, NULL, name, &column, NULL) == COFFER_OK ? column : NULL;
}

static struct coffer_stored
stored_of(const struct coffer_value *cell)
{
    struct coffer_stored stored = {0};

    if (cell->type == COFFER_BYTES) {
        stored.sealed = cell->data;
        stored.sealed_len = cell->len;
    } else {
        stored.plain = *cell;
    }
    return stored;
}

static int
cell_read(struct history *h, int i, int64_t id, const struct coffer_value *cell, uint8_t *out,
          size_t out_max, struct coffer_value *value, struct coffer_error *err)
{
    const struct coffer_column *column = column_of(h, i);
    struct coffer_stored stored = stored_of(cell);
    struct coffer_value key = {.type = COFFER_INT64, .i64 = id};
    struct coffer_place place = {.parts = &key, .count = 1};

    if (column == NULL) {
        *value = *cell;
        return COFFER_OK;
    }
    return coffer_cell_read(h->coffer, column, place, &stored, out, out_max, value, err);
}

static int
cell_write(struct history *h, int i, int64_t id, const struct coffer_value *value, uint8_t *out,
           size_t out_max, struct coffer_value *cell, struct coffer_error *err)
{
    const struct coffer_column *column = column_of(h, i);
    struct coffer_stored stored = {0};
    struct coffer_value key = {.type = COFFER_INT64, .i64 = id};
    struct coffer_place place = {.parts = &key, .count = 1};
    int rc;

    *cell = *value;
    if (column == NULL)
        return COFFER_OK;
    rc = coffer_cell_write(h->coffer, column, place, value, out, out_max, &stored, err);
    if (rc == COFFER_OK && stored.sealed != NULL)
        *cell = (struct coffer_value){
            .type = COFFER_BYTES, .data = stored.sealed, .len = stored.sealed_len};
    return rc;
}

/* ---- statements; each is tried again after a conflict or the fence's "reload the row" ---- */

static void
retry(struct client *c, unsigned *tries, const char *what, int64_t id,
      const struct coffer_error *err)
{
    count(&c->h->retries);
    if (++*tries > TRIES)
        broken(what, id, err->message);
    nap(10);
}

/* Read a row and compare it with what was acknowledged; its lock is held. */
static void
read_row(struct client *c, const struct history_slot *slot)
{
    struct coffer_value param = {.type = COFFER_INT64, .i64 = slot->id};
    struct coffer_error err = {0};
    unsigned tries = 0;

    for (;;) {
        struct db_result *row = NULL;
        struct coffer_value ssn, amount;
        uint8_t out[2][400];
        int rc =
            db_run(c->db, "SELECT ssn, amount FROM patients WHERE id=$1", &param, 1, &row, &err);

        if (rc == COFFER_OK && row->rows != (slot->alive ? 1u : 0u))
            broken("rows", slot->id, slot->alive ? "lost" : "came back");
        if (rc == COFFER_OK && slot->alive) {
            rc = cell_read(c->h, 0, slot->id, &row->cells[0], out[0], sizeof out[0], &ssn, &err);
            if (rc == COFFER_OK)
                rc = cell_read(c->h, 1, slot->id, &row->cells[1], out[1], sizeof out[1], &amount,
                               &err);
            if (rc == COFFER_OK && !bytes_equal(bytes_of(ssn.data, ssn.len), bytes_str(slot->ssn)))
                broken("ssn is not what was written", slot->id, slot->ssn);
            if (rc == COFFER_OK && amount.i64 != slot->amount)
                broken("amount is not what was written", slot->id, "");
        }
        db_result_free(row);
        if (rc == COFFER_OK)
            return;
        retry(c, &tries, "unreadable", slot->id, &err);
    }
}

/* Run a statement whose $1 and $2 are the cells of the slot as they should be now, $3 its id, $4
 * `extra`. */
static void
write_row(struct client *c, const struct history_slot *slot, const char *sql, int64_t extra,
          size_t params)
{
    struct coffer_error err = {0};
    unsigned tries = 0;

    for (;;) {
        struct coffer_value ssn = {
            .type = COFFER_TEXT, .data = (const uint8_t *)slot->ssn, .len = strlen(slot->ssn)};
        struct coffer_value amount = {.type = COFFER_INT64, .i64 = slot->amount};
        struct coffer_value values[4] = {{0},
                                         {0},
                                         {.type = COFFER_INT64, .i64 = slot->id},
                                         {.type = COFFER_INT64, .i64 = extra}};
        uint8_t out[2][400];
        int rc = cell_write(c->h, 0, slot->id, &ssn, out[0], sizeof out[0], &values[0], &err);

        if (rc == COFFER_OK)
            rc = cell_write(c->h, 1, slot->id, &amount, out[1], sizeof out[1], &values[1], &err);
        if (rc == COFFER_OK)
            rc = db_run(c->db, sql, values, params, NULL, &err);
        if (rc == COFFER_OK)
            return;
        retry(c, &tries, "a write was refused", slot->id, &err);
    }
}

/* ---- what the application does; the slot's lock is held but for stale_write ---- */

static void
change(struct client *c, struct history_slot *slot)
{
    slot->version++;
    snprintf(slot->ssn, sizeof slot->ssn, "n° %lld/%llu", (long long)slot->id,
             (unsigned long long)slot->version);
    slot->amount = (int64_t)draw(c, UINT64_C(1) << 40) - 1000;
    write_row(c, slot, "UPDATE patients SET ssn=$1, amount=$2 WHERE id=$3", 0, 3);
    count(&c->h->writes);
}

static void
insert(struct client *c, struct history_slot *slot)
{
    slot->id = __atomic_add_fetch(&c->h->next_id, 1, __ATOMIC_RELAXED);
    slot->version++;
    slot->alive = true;
    snprintf(slot->ssn, sizeof slot->ssn, "new %lld", (long long)slot->id);
    slot->amount = slot->id;
    write_row(c, slot, "INSERT INTO patients (ssn, amount, id) VALUES ($1, $2, $3)", 0, 3);
    count(&c->h->writes);
}

static void
remove_row(struct client *c, struct history_slot *slot)
{
    struct coffer_value param = {.type = COFFER_INT64, .i64 = slot->id};
    struct coffer_error err = {0};
    unsigned tries = 0;

    while (db_run(c->db, "DELETE FROM patients WHERE id=$1", &param, 1, NULL, &err) != COFFER_OK)
        retry(c, &tries, "a delete was refused", slot->id, &err);
    slot->alive = false;
    slot->version++;
    count(&c->h->deletes);
}

/* Another primary key: the place is another, so the cells are sealed anew. */
static void
move_row(struct client *c, struct history_slot *slot)
{
    int64_t old = slot->id;

    slot->id = __atomic_add_fetch(&c->h->next_id, 1, __ATOMIC_RELAXED);
    slot->version++;
    write_row(c, slot, "UPDATE patients SET ssn=$1, amount=$2, id=$3 WHERE id=$4", old, 4);
    count(&c->h->moves);
}

/* Load the row with its stored bytes, think, and write them all back: an old envelope can return by
 * this.  Refused by the fence, the row is loaded again, as the error says. */
static void
stale_write(struct client *c, struct history_slot *slot)
{
    struct coffer_error err = {0};

    for (unsigned tries = 0;;) {
        struct coffer_value params[3] = {{0}, {0}, {.type = COFFER_INT64}};
        struct db_result *row = NULL;
        uint64_t version;
        int rc;

        pthread_mutex_lock(&slot->lock);
        version = slot->version;
        params[2].i64 = slot->id;
        rc = slot->alive ? db_run(c->db, "SELECT ssn, amount FROM patients WHERE id=$1", &params[2],
                                  1, &row, &err)
                         : COFFER_OK;
        pthread_mutex_unlock(&slot->lock);
        nap((unsigned)draw(c, 30));
        pthread_mutex_lock(&slot->lock);
        if (rc == COFFER_OK && row != NULL && version == slot->version) {
            params[0] = row->cells[0];
            params[1] = row->cells[1];
            rc = db_run(c->db, "UPDATE patients SET ssn=$1, amount=$2 WHERE id=$3", params, 3, NULL,
                        &err);
        }
        pthread_mutex_unlock(&slot->lock);
        db_result_free(row);
        if (rc == COFFER_OK)
            break;
        retry(c, &tries, "a whole row was refused", params[2].i64, &err);
    }
    count(&c->h->stale_writes);
}

static void
act(struct client *c, struct history_slot *slot, uint64_t what)
{
    pthread_mutex_lock(&slot->lock);
    if (!slot->alive)
        insert(c, slot);
    else if (what < 60)
        change(c, slot);
    else if (what < 70)
        remove_row(c, slot);
    else if (what < 80)
        move_row(c, slot);
    read_row(c, slot);
    pthread_mutex_unlock(&slot->lock);
    count(&c->h->reads);
}

static struct client
client_open(struct history *h, uint64_t seed)
{
    struct db_options options = {.busy_ms = 1000};
    struct client c = {.h = h, .seed = seed * UINT64_C(0x9e3779b97f4a7c15) + 1};
    struct coffer_error err = {0};

    if (db_open(h->url, true, &options, &c.db, &err) != COFFER_OK)
        broken("connecting", 0, err.message);
    return c;
}

static void *
worker_main(void *arg)
{
    static uint64_t seeds;
    struct client c = client_open(arg, __atomic_add_fetch(&seeds, 1, __ATOMIC_RELAXED));

    while (!c.h->stop) {
        struct history_slot *slot = &c.h->slots[draw(&c, HISTORY_SLOTS)];
        uint64_t what = draw(&c, 100);

        if (what >= 90)
            stale_write(&c, slot);
        else
            act(&c, slot, what);
        nap((unsigned)draw(&c, 4));
    }
    db_close(c.db);
    return NULL;
}

/* ---- the keyring, watched, and heartbeats ---- */

static int
load_keyring(struct history *h, struct buf *file)
{
    buf_clear(file);
    return os_real.read_file(&os_real, h->keyring_path, KEYRING_FILE_MAX, file, NULL);
}

static void
beat(struct history *h, const struct buf *file, const struct keyring **known, struct keyring **mine)
{
    struct heartbeat heartbeat = {
        .client = "app@test:1", .role = "app", .epoch = coffer_epoch(h->coffer)};
    struct host_database *database = NULL;
    struct keyring *fresh = NULL;

    if (keyring_decode_again(buf_view(file), *known, &fresh, NULL) == COFFER_OK) {
        if (*mine != NULL && *mine != *known)
            keyring_free(*mine);
        *mine = fresh;
    }
    heartbeat.at_us = os_real.now_us(&os_real);
    if (host_database_open(*mine != NULL ? *mine : *known, h->url, true, NULL, &database, NULL) ==
        COFFER_OK) {
        if (heartbeat_write(&database->journal, &heartbeat, NULL) == COFFER_OK)
            count(&h->beats);
        host_database_close(database);
    }
}

static void *
watch_main(void *arg)
{
    struct history *h = arg;
    struct kek *kek = NULL;
    struct keyring *first = NULL;
    struct keyring *mine = NULL;
    const struct keyring *known;
    struct buf file;

    buf_init(&file, KEYRING_FILE_MAX);
    if (load_keyring(h, &file) != COFFER_OK ||
        kek_key_new(bytes_of(h->root, sizeof h->root), &kek, NULL) != COFFER_OK ||
        keyring_decode(buf_view(&file), kek, &first, NULL) != COFFER_OK)
        broken("the keyring", 0, h->keyring_path);
    known = first;
    while (!h->stop) {
        if (load_keyring(h, &file) == COFFER_OK &&
            coffer_update(h->coffer, file.ptr, file.len, NULL) == COFFER_OK)
            beat(h, &file, &known, &mine);
        nap(50);
    }
    keyring_free(mine);
    keyring_free(first);
    kek_close(kek);
    buf_wipe(&file);
    return NULL;
}

/* ---- the calls ---- */

static void
spawn(struct history *h, void *(*run)(void *))
{
    assert_int_equal(pthread_create(&h->threads[h->thread_count++], NULL, run, h), 0);
}

void
history_start(struct history *h)
{
    struct client c;
    struct buf file;

    buf_init(&file, KEYRING_FILE_MAX);
    assert_int_equal(load_keyring(h, &file), COFFER_OK);
    assert_int_equal(
        coffer_new(file.ptr, file.len, COFFER_KEK_KEY, h->root, sizeof h->root, &h->coffer, NULL),
        COFFER_OK);
    buf_wipe(&file);
    h->next_id = 0;
    c = client_open(h, 99);
    for (size_t i = 0; i < HISTORY_SLOTS; i++) {
        assert_int_equal(pthread_mutex_init(&h->slots[i].lock, NULL), 0);
        insert(&c, &h->slots[i]);
    }
    db_close(c.db);
    spawn(h, watch_main);
    while (__atomic_load_n(&h->beats, __ATOMIC_RELAXED) == 0)
        nap(10);
    for (unsigned i = 0; i < 3; i++)
        spawn(h, worker_main);
}

void
history_stop(struct history *h)
{
    h->stop = true;
    for (unsigned i = 0; i < h->thread_count; i++)
        pthread_join(h->threads[i], NULL);
    coffer_free(h->coffer);
}

static void
verify_form(const struct coffer_value *cell, int64_t id, bool sealed, uint32_t refused)
{
    struct coffer_envelope_info info;

    if (sealed && cell->type != COFFER_BYTES)
        broken("plaintext", id, "after protect");
    if (cell->type == COFFER_BYTES &&
        coffer_envelope_parse(cell->data, cell->len, &info) != COFFER_OK)
        broken("form", id, "no envelope");
    if (refused != 0 && cell->type == COFFER_BYTES && info.key_id == refused)
        broken("key", id, "still under the old key");
}

void
history_verify(struct history *h, bool sealed, uint32_t refused)
{
    struct client c = client_open(h, 7);
    struct db_result *rows = NULL;

    for (size_t i = 0; i < HISTORY_SLOTS; i++) {
        pthread_mutex_lock(&h->slots[i].lock);
        if (h->slots[i].version != 0)
            read_row(&c, &h->slots[i]);
        pthread_mutex_unlock(&h->slots[i].lock);
    }
    assert_int_equal(db_run(c.db, "SELECT id, ssn, amount FROM patients", NULL, 0, &rows, NULL),
                     COFFER_OK);
    for (size_t i = 0; i < rows->rows; i++) {
        verify_form(&rows->cells[3 * i + 1], rows->cells[3 * i].i64, sealed, refused);
        verify_form(&rows->cells[3 * i + 2], rows->cells[3 * i].i64, sealed, refused);
    }
    db_result_free(rows);
    db_close(c.db);
}
