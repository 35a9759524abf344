/* SPDX-License-Identifier: Apache-2.0 */
#include "history.h"

#include "kek/kek_open.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIES                                                                                      \
    200 /* at 10 ms: within the limits of docs/ROTATION.md a request succeeds long before */

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
    struct coffer_error err = {0};
    unsigned tries = 0;

    for (;;) {
        struct history_row row;
        char ssn[48] = "";
        int64_t amount = 0;
        int rc = history_row_load(c->h, c->db, slot->id, &row, &err);

        if (rc == COFFER_E_NOTFOUND && !slot->alive)
            return;
        if (rc == COFFER_E_NOTFOUND || (rc == COFFER_OK && !slot->alive))
            broken("rows", slot->id, slot->alive ? "lost" : "came back");
        if (rc == COFFER_OK)
            rc = history_row_open(c->h, slot->id, &row, ssn, &amount, &err);
        history_row_free(&row);
        if (rc == COFFER_OK && strcmp(ssn, slot->ssn) != 0)
            broken("ssn is not what was written", slot->id, slot->ssn);
        if (rc == COFFER_OK && amount != slot->amount)
            broken("amount is not what was written", slot->id, "");
        if (rc == COFFER_OK)
            return;
        retry(c, &tries, "unreadable", slot->id, &err);
    }
}

static void
write_row(struct client *c, enum history_write what, const struct history_slot *slot,
          int64_t old_id)
{
    struct coffer_error err = {0};
    unsigned tries = 0;

    while (history_row_write(c->h, c->db, what, slot, old_id, &err) != COFFER_OK)
        retry(c, &tries, "a write was refused", slot->id, &err);
}

/* ---- what the application does; the slot's lock is held but for stale_write ---- */

static void
change(struct client *c, struct history_slot *slot)
{
    slot->version++;
    snprintf(slot->ssn, sizeof slot->ssn, "n° %lld/%llu", (long long)slot->id,
             (unsigned long long)slot->version);
    slot->amount = (int64_t)draw(c, UINT64_C(1) << 40) - 1000;
    write_row(c, HISTORY_CHANGE, slot, 0);
    count(&c->h->writes);
}

static void
change_amount(struct client *c, struct history_slot *slot)
{
    slot->version++;
    slot->amount = (int64_t)draw(c, UINT64_C(1) << 20);
    write_row(c, HISTORY_CHANGE_AMOUNT, slot, 0);
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
    write_row(c, HISTORY_INSERT, slot, 0);
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

static void
move_row(struct client *c, struct history_slot *slot)
{
    int64_t old = slot->id;

    slot->id = __atomic_add_fetch(&c->h->next_id, 1, __ATOMIC_RELAXED);
    slot->version++;
    write_row(c, HISTORY_MOVE, slot, old);
    count(&c->h->moves);
}

/* Load the row with its stored bytes, think, and write them all back: an old envelope can return by
 * this.  Refused by the fence, the row is loaded again, as the error says. */
static void
stale_write(struct client *c, struct history_slot *slot)
{
    struct coffer_error err = {0};

    for (unsigned tries = 0;;) {
        struct history_row row = {0};
        uint64_t version;
        int64_t id;
        int rc;

        pthread_mutex_lock(&slot->lock);
        version = slot->version;
        id = slot->id;
        rc = slot->alive ? history_row_load(c->h, c->db, id, &row, &err) : COFFER_OK;
        pthread_mutex_unlock(&slot->lock);
        nap((unsigned)draw(c, 30));
        pthread_mutex_lock(&slot->lock);
        if (rc == COFFER_OK && row.result != NULL && version == slot->version)
            rc = history_row_store(c->db, id, &row, &err);
        pthread_mutex_unlock(&slot->lock);
        history_row_free(&row);
        if (rc == COFFER_OK)
            break;
        retry(c, &tries, "a whole row was refused", id, &err);
    }
    count(&c->h->stale_writes);
}

static void
act(struct client *c, struct history_slot *slot, uint64_t what)
{
    bool quiet = slot < c->h->slots + HISTORY_QUIET;

    pthread_mutex_lock(&slot->lock);
    if (quiet)
        ;
    else if (!slot->alive)
        insert(c, slot);
    else if (what < 40)
        change(c, slot);
    else if (what < 60)
        change_amount(c, slot);
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

        if (what >= 90 && slot >= c.h->slots + HISTORY_QUIET)
            stale_write(&c, slot);
        else
            act(&c, slot, what);
        nap((unsigned)draw(&c, 4));
    }
    db_close(c.db);
    return NULL;
}

/* ---- bugs, planted ---- */

static const char *
ssn_now(struct history_slot *slot, char out[sizeof slot->ssn])
{
    pthread_mutex_lock(&slot->lock);
    memcpy(out, slot->ssn, sizeof slot->ssn);
    pthread_mutex_unlock(&slot->lock);
    return out;
}

/* Seals what it read a while ago, whatever is there now: a worker without the conditional update. */
static void
lose_an_update(struct client *c)
{
    struct history_slot *slot = &c->h->slots[draw(c, HISTORY_SLOTS)], copy = {.id = 0};
    struct history_row row = {0};
    char now[sizeof copy.ssn];
    int64_t id;

    pthread_mutex_lock(&slot->lock);
    id = slot->id;
    pthread_mutex_unlock(&slot->lock);
    if (history_row_load(c->h, c->db, id, &row, NULL) == COFFER_OK &&
        history_row_open(c->h, id, &row, copy.ssn, &copy.amount, NULL) == COFFER_OK) {
        copy.id = id;
        for (unsigned i = 0; i < 500 && !c->h->stop && strcmp(ssn_now(slot, now), copy.ssn) == 0;
             i++)
            nap(2); /* until somebody has written it */
        (void)!history_row_write(c->h, c->db, HISTORY_CHANGE, &copy, 0, NULL);
    }
    history_row_free(&row);
}

/* Right under column binding, for whoever can write to the table; row binding is there to see it. */
static void
swap_cells(struct client *c)
{
    struct history_slot *one = &c->h->slots[0], *other = &c->h->slots[1];
    struct history_row row = {0};

    if (history_row_load(c->h, c->db, one->id, &row, NULL) == COFFER_OK)
        (void)!history_row_store(c->db, other->id, &row, NULL);
    history_row_free(&row);
}

static void *
bug_main(void *arg)
{
    struct client c = client_open(arg, 77);

    while (!c.h->stop) {
        if (c.h->bug == HISTORY_LOST_UPDATES)
            lose_an_update(&c);
        else
            swap_cells(&c);
        count(&c.h->bug_rounds);
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
    if (h->bug != HISTORY_NO_BUG)
        spawn(h, bug_main);
}

void
history_stop(struct history *h)
{
    h->stop = true;
    for (unsigned i = 0; i < h->thread_count; i++)
        pthread_join(h->threads[i], NULL);
    for (size_t i = 0; i < HISTORY_QUIET; i++)
        history_row_free(&h->kept[i]);
    coffer_free(h->coffer);
}

/* ---- whole rows, kept for long ---- */

void
history_keep(struct history *h)
{
    struct client c = client_open(h, 5);
    struct coffer_error err = {0};

    for (size_t i = 0; i < HISTORY_QUIET; i++) {
        history_row_free(&h->kept[i]);
        if (history_row_load(h, c.db, h->slots[i].id, &h->kept[i], &err) != COFFER_OK)
            broken("a row to keep", h->slots[i].id, err.message);
    }
    db_close(c.db);
}

unsigned
history_put_back(struct history *h, const char *refusal)
{
    struct client c = client_open(h, 6);
    unsigned taken = 0;

    for (size_t i = 0; i < HISTORY_QUIET; i++) {
        struct coffer_error err = {0};
        unsigned tries = 0;
        int rc;

        pthread_mutex_lock(&h->slots[i].lock);
        do {
            rc = history_row_store(c.db, h->slots[i].id, &h->kept[i], &err);
        } while (rc != COFFER_OK && strstr(err.message, refusal) == NULL &&
                 (retry(&c, &tries, "a kept row was refused otherwise", h->slots[i].id, &err), 1));
        pthread_mutex_unlock(&h->slots[i].lock);
        taken += rc == COFFER_OK;
    }
    db_close(c.db);
    return taken;
}

/* ---- at the end ---- */

static void
verify_column(const struct history_form *form, const struct coffer_value stored[2], int64_t id,
              bool sealed, uint32_t refused)
{
    const struct coffer_value *cell = form->companion != NULL ? &stored[1] : &stored[0];
    struct coffer_envelope_info info;
    bool envelope = cell->data != NULL &&
                    coffer_envelope_parse(cell->data, cell->len, &info) == COFFER_OK &&
                    info.text_form == form->text_form;

    if (sealed && !envelope)
        broken("no envelope", id, "after protect");
    if (sealed && form->companion != NULL && stored[0].type != COFFER_NULL)
        broken("plaintext", id, "beside its envelope, after protect");
    if (refused != 0 && envelope && info.key_id == refused)
        broken("key", id, "still under the old key");
}

void
history_verify(struct history *h, bool sealed, uint32_t refused)
{
    struct client c = client_open(h, 7);
    struct coffer_error err = {0};
    struct history_row all;

    if (history_row_load_all(h, c.db, &all, &err) != COFFER_OK)
        broken("all rows", 0, err.message);
    for (size_t i = 0; i < all.result->rows; i++) {
        int64_t id = history_row_at(&all, i);

        for (int column = 0; column < 2; column++)
            verify_column(&all.forms[column], all.stored[column], id, sealed, refused);
    }
    history_row_free(&all);
    for (size_t i = 0; i < HISTORY_SLOTS; i++) {
        pthread_mutex_lock(&h->slots[i].lock);
        read_row(&c, &h->slots[i]);
        pthread_mutex_unlock(&h->slots[i].lock);
    }
    db_close(c.db);
}
